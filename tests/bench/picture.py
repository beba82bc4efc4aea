"""The pictures of README: the same week under two policies, and policies compared.

Usage: python docs/picture.py WEEK_FOLDER [POLICY]; python docs/picture.py --compared COMPARED_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

import tafukt
from tafukt.experiments.figures.compare import pareto
from tafukt.experiments.figures.energy import network_balance

WORDS = {"fifo": "Jobs start as they come", "wait-for-sun": "Jobs wait for the sun", "planner": "Jobs are planned"}


# Those worth telling apart; all others lie near fifo.
SHOWN = (
    "fifo", "solar", "wait-for-sun", "planner", "budget-planner", "sun-threshold", "sun-slot", "sun-slots",
    "wait-awhile",
)  # fmt: skip


def compared(folder: str) -> None:
    """Draw grid draw against mean waiting to docs/compared.png."""
    summary = tafukt.load(folder).complete
    figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    pareto(summary[summary["policy"].isin(SHOWN)], ax)
    figure.savefig(Path(__file__).resolve().parents[2] / "docs" / "compared.png", dpi=110)


def main(folder: str, policy: str = "wait-for-sun") -> None:
    """Draw the network's power under `fifo` and `policy`, first seed, to docs/week.png."""
    results = tafukt.load(folder)
    summary = results.summary[results.summary["seed"] == results.summary["seed"].min()].set_index("policy")
    figure, axes = plt.subplots(2, 1, figsize=(9, 7.2), sharex=True, sharey=True, layout="constrained")
    handles: list[object] = []
    for ax, name in zip(axes, ("fifo", policy), strict=True):
        run = results.run(str(summary.loc[name, "run"]))
        network_balance(run.energy, ax)
        draw = float(summary.loc[name, "draw_kwh"])
        ax.set_title(f"{WORDS[name]} ({name}): {draw:,.0f} kWh from the grid", loc="left", fontweight="bold")
        ax.set_title("")
        ax.spines[["top", "right"]].set_visible(False)
        legend = ax.get_legend()
        handles, words = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
    axes[0].set_xlabel("")
    figure.legend(handles, words, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(Path(__file__).resolve().parents[2] / "docs" / "week.png", dpi=110)


if __name__ == "__main__":
    if sys.argv[1] == "--compared":
        compared(sys.argv[2])
    else:
        main(*sys.argv[1:])
