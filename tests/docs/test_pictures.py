"""The picture of README shows what the code computes today."""

from __future__ import annotations

import runpy
from pathlib import Path

import tafukt
from tafukt.experiments.runs import flexibility

ROOT = Path(__file__).resolve().parents[2]


def test_the_picture_of_the_week_is_of_this_code(tmp_path: Path) -> None:
    """Its file notes the draws it shows; they are those of the bundled week as it runs now.

    If this fails, run `make gallery`.
    """
    from bench.picture import drawn
    from PIL import Image

    less = {"policies": ["fifo", "wait-for-sun"], "seeds": [1], "bound": False}
    results = tafukt.run("morocco_week", set=less, output=tmp_path / "week", workers=1)
    draws = results.complete.set_index("policy")["draw_kwh"].to_dict()
    with Image.open(ROOT / "docs" / "week.png") as picture:
        assert picture.info["Comment"] == drawn(draws)


def test_pictures_of_pages_show_what_the_pages_say(tmp_path: Path) -> None:
    """Tables and formulas of pages, and experiments of pages as they run now. If this fails, run `make gallery`."""
    from PIL import Image

    making = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))
    assert len(making["length_rows"]()) == 10
    assert len(making["validation_rows"]()) == 15
    for name in ("torino", "policy"):
        (tmp_path / name).mkdir()
    notes = {
        "length": repr(making["length_rows"]()),
        "validation": repr(making["validation_rows"]()),
        "cluster": repr(making["cluster_constants"]()),
        "torino": making["torino_note"](making["tutorial_results"](tmp_path / "torino")),
        "own_policy": making["own_policy_note"](making["own_policy_results"](tmp_path / "policy")),
        "ten_jobs": making["ten_jobs_note"](making["ten_jobs_records"]()),
        "flexibility": making["flexibility_note"](flexibility.probe_table(making["probed"]())),
    }
    for name, note in notes.items():
        with Image.open(ROOT / "docs" / "pictures" / f"{name}.png") as picture:
            assert picture.info["Comment"] == note, name
    assert {path.stem for path in (ROOT / "docs" / "pictures").glob("*.png")} == notes.keys()
