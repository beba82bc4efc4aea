"""The picture of README shows what the code computes today."""

from __future__ import annotations

import runpy
from pathlib import Path

import tafukt

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
    """The table of `length.md`, and the tutorial's own experiment as it runs now. If this fails, run `make gallery`."""
    from PIL import Image

    making = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))
    rows = making["length_rows"]()
    assert len(rows) == 8
    notes = {"length": repr(rows), "torino": making["torino_note"](making["tutorial_results"](tmp_path))}
    for name, note in notes.items():
        with Image.open(ROOT / "docs" / "pictures" / f"{name}.png") as picture:
            assert picture.info["Comment"] == note
