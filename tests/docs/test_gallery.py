"""Pictures and answers of the gallery are those of today's code. Where a test here fails: `make gallery`."""

from __future__ import annotations

import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from builders.pages import ROOT
from PIL import Image

import tafukt

GALLERY = ROOT / "docs" / "gallery"
BUNDLED = sorted(path.stem for path in (ROOT / "experiments" / "bundled").glob("*.toml"))
QUICK = ("grid_outage", "microgrid")
"""Those that take two seconds; the others are run again by `make test-slow`."""


@cache
def making() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_gallery.py"))


@cache
def answers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GALLERY / "answers.json").read_text(encoding="utf-8"))
    return found


def test_every_bundled_experiment_has_a_picture_and_an_answer() -> None:
    assert sorted(answers()) == sorted(making()["PICTURES"]) == BUNDLED
    assert sorted(path.stem for path in GALLERY.glob("*.png")) == BUNDLED
    for name in BUNDLED:
        picture = making()["PICTURES"][name]
        assert answers()[name]["changed"] == dict(picture.less)
        with Image.open(GALLERY / f"{name}.png") as drawn:
            assert drawn.info["Description"] == picture.caption
            assert len(drawn.getcolors(256) or ()) > 5, "an empty picture"
    assert sum(path.stat().st_size for path in GALLERY.iterdir()) < 3_000_000


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUNDLED]
)
def test_an_answer_is_what_the_code_finds_today(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = making()["PICTURES"][name]
    try:
        results = tafukt.run(name, set=dict(picture.less), output=tmp_path / name, workers=1)
    except tafukt.InputError as error:
        if "fetch" not in str(error):
            raise
        pytest.skip(str(error))  # a trace that is not here
    found = making()["entry"](name, results)
    assert {key: answers()[name][key] for key in found} == found
