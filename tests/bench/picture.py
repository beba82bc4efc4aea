"""The pictures of README: the same week under two policies, and policies compared.

Usage: python tests/bench/picture.py WEEK_FOLDER [POLICY]; python tests/bench/picture.py --compared COMPARED_FOLDER
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
from tafukt.experiments.figures.window import shared

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
    if sys.argv[1] == "--compared":
        compared(sys.argv[2])
    else:
        main(*sys.argv[1:])
