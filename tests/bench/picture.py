"""The picture of README: the same week under two policies.

Usage: python tests/bench/picture.py WEEK_FOLDER [POLICY]; `make gallery` does it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

import tafukt
from tafukt.experiments.figures.energy import network_balance
from tafukt.experiments.figures.window import shared

WORDS = {"fifo": "Jobs start as they come", "wait-for-sun": "Jobs wait for the sun", "planner": "Jobs are planned"}


def main(folder: str, policy: str = "wait-for-sun") -> None:
    """Draw the network's power under `fifo` and `policy`, first seed, to docs/week.png."""
    results = tafukt.load(folder)
    summary = results.summary[results.summary["seed"] == results.summary["seed"].min()].set_index("policy")
    figure, axes = plt.subplots(2, 1, figsize=(9, 7.2), sharex=True, sharey=True, layout="constrained")
    handles: list[object] = []
    runs = [results.run(str(summary.loc[name, "run"])) for name in ("fifo", policy)]
    window = shared(runs)
    for ax, name, run in zip(axes, ("fifo", policy), runs, strict=True):
        draw = float(summary.loc[name, "draw_kwh"])
        network_balance(run, ax, window=window, title=f"{WORDS[name]} ({name}): {draw:,.0f} kWh from the grid")
        ax.spines[["top", "right"]].set_visible(False)
        legend = ax.get_legend()
        handles, words = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
    axes[0].set_xlabel("")
    figure.legend(handles, words, loc="outside lower center", ncols=4, frameon=False)
    metadata = {"Software": "", "Comment": drawn(summary["draw_kwh"].to_dict(), policy)}
    figure.savefig(Path(__file__).resolve().parents[2] / "docs" / "week.png", dpi=110, metadata=metadata)


def drawn(draws: dict[str, float], policy: str = "wait-for-sun") -> str:
    """Note in the picture's file on what it shows, by which a test finds it stale."""
    return ", ".join(f"{name} {draws[name]:.0f} kWh" for name in ("fifo", policy))


if __name__ == "__main__":
    main(*sys.argv[1:])
