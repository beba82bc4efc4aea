"""Pictures of single pages: `python docs/make_pictures.py` draws them from what the pages themselves say.

`pictures/length.png` shows the table of `length.md`, `pictures/torino.png` the experiment of the engineer's tutorial.
Each file notes what it shows, by which a test finds it stale.
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from PIL import Image, PngImagePlugin

import tafukt
from tafukt.experiments.figures import style

DOCS = Path(__file__).resolve().parent
OUT = DOCS / "pictures"


def length_rows() -> list[tuple[int, int, float, float]]:
    """Days, seed, cut over the whole window [%] and cut of the account [%], as `length.md` has them."""
    page = (DOCS / "length.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) % \|.*\| ([\d.]+) % \|$", page, flags=re.M)
    return [(int(days), int(seed), float(whole), float(part)) for days, seed, whole, part in found]


def length(ax: Any) -> str:
    """Draw the cuts along the days; returns the note on what is shown."""
    rows = length_rows()
    for column, name, mark in ((2, "whole window", "o"), (3, "account only", "s")):
        means = {days: [row[column] for row in rows if row[0] == days] for days in sorted({row[0] for row in rows})}
        line = ax.plot(list(means), [sum(each) / len(each) for each in means.values()], label=f"{name}, mean")[0]
        ax.plot([row[0] for row in rows], [row[column] for row in rows], mark, color=line.get_color(), alpha=0.6)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted({row[0] for row in rows}), [str(days) for days in sorted({row[0] for row in rows})])
    ax.set_xlabel("days of arrivals; each point is one seed")
    ax.set_ylabel("cut of wait-for-sun [%]")
    ax.set_ylim(0, None)
    ax.legend(frameon=False)
    return repr(rows)


def tutorial_results(folder: Path) -> Any:
    """Results of the engineer's tutorial, from the files on its page."""
    page = (DOCS / "tutorials" / "engineer.md").read_text(encoding="utf-8")
    for kind, name in (("csv", "log.csv"), ("toml", "torino.toml")):
        text = re.search(rf"```{kind}\n(.*?)```", page, flags=re.S)
        assert text is not None
        (folder / name).write_text(text[1], encoding="utf-8")
    return tafukt.run(folder / "torino.toml", output=folder / "out", workers=1)


def torino_note(results: Any) -> str:
    """The draws that the picture of the tutorial shows."""
    draws = results.complete.groupby(["policy", *results.axes], sort=False)["draw_kwh"].mean()
    return ", ".join(f"{value:.1f}" for value in draws)


def torino(ax: Any) -> str:
    """Draw the grid draw along the size of the battery, with fixed modules; returns the note on what is shown."""
    with tempfile.TemporaryDirectory() as folder:
        results = tutorial_results(Path(folder))
        rows = results.complete[results.complete["sites.own.torino.pv.mount"] == "fixed"]
        tafukt.figures.matrix_lines(rows, ax, x="sites.own.torino.battery.kwh", title="")
        return torino_note(results)


def main() -> None:
    """Draw both."""
    OUT.mkdir(exist_ok=True)
    for draw in (length, torino):
        drawn = io.BytesIO()
        with style.style():
            figure, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
            note = PngImagePlugin.PngInfo()
            note.add_text("Comment", draw(ax))
            style.save(figure, drawn, "png", dpi=110)
            plt.close(figure)
        few = Image.open(drawn).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(OUT / f"{draw.__name__}.png", optimize=True, pnginfo=note)


if __name__ == "__main__":
    main()
