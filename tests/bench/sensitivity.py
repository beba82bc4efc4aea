"""How sure the answer is: what moves it by chance, by rounding, and by what had to be chosen.

    python -m bench.sensitivity [--seeds 1 2 ...] [--start DATE ...] [--kept DIR] [--write docs/sensitivity.md]

Three kinds of uncertainty, each measured by itself on `morocco_month`. *Numerical*: the same seeds with panels larger
by a few parts in ten million, which means nothing to an engineer but sends decisions at a tie another way. *Seeds*:
other jobs and another sky from the same mix and climate. *Parameters*: choices for want of a published value.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

import tafukt
from tafukt.experiments.results.statistics import mean_interval

POLICY, AS_IT_IS = "wait-for-sun", "as it is"
KWP, KWH = "sites.all.pv.kwp_per_node", "sites.all.battery.kwh_per_node"
HAIRS = tuple(12.0 * (1.0 + 1e-7 * k) for k in range(1, 5))
"""Panels a hair larger: by more than the grid on which supply enters (a milliwatt), by less than anybody can know."""


SETTINGS: dict[str, Mapping[str, Any]] = {
    AS_IT_IS: {},
    "panels: 6 kWp a node instead of 12": {KWP: 6},
    "panels: 9 kWp": {KWP: 9},
    "panels: 18 kWp": {KWP: 18},
    "panels: 24 kWp": {KWP: 24},
    "no battery instead of 10 kWh a node": {KWH: 0},
    "battery: 5 kWh": {KWH: 5},
    "battery: 20 kWh": {KWH: 20},
    "battery: 40 kWh": {KWH: 40},
    "load: 40 % instead of 55 %": {"workload.load": 0.40},
    "load: 70 %": {"workload.load": 0.70},
    "continued pre-training: median of 4 h instead of 12 h": {
        "workload.classes.continued_pretraining.runtime_median_h": 4
    },
    "continued pre-training: 24 h": {"workload.classes.continued_pretraining.runtime_median_h": 24},
    "continued pre-training: 48 h": {"workload.classes.continued_pretraining.runtime_median_h": 48},
    "users ask for 1 to 2 times the runtime, rounded up, instead of 1 to 1.2": {"workload.estimates": "limits"},
    "the sun of the day ahead is known instead of an error of 10 %": {"forecast.error": 0.0},
    "an error of 20 %": {"forecast.error": 0.2},
    "an error of 40 %": {"forecast.error": 0.4},
}


@dataclass(frozen=True)
class Case:
    """A setting over the seeds: the draw under `fifo` and under the policy [kWh] and the cut, one value a seed."""

    fifo_kwh: np.ndarray
    draw_kwh: np.ndarray

    @property
    def cut(self) -> np.ndarray:
        """The share of fifo's draw that the policy saves."""
        return 1.0 - self.draw_kwh / self.fifo_kwh


def case(change: Mapping[str, Any], start: str, seeds: Sequence[int], kept: Path, name: str) -> Case:
    """Run what is missing of a setting."""
    given = {"start": f"{start}T00:00:00Z", "seeds": list(seeds), "policies": ["fifo", POLICY], "bound": False}
    results = tafukt.run("morocco_month", set={**given, **change}, output=kept / start / name, workers=1)
    drawn = {name: rows.sort_values("seed").draw_kwh.to_numpy() for name, rows in results.complete.groupby("policy")}
    return Case(drawn["fifo"], drawn[POLICY])


def numerical(start: str, seeds: Sequence[int], kept: Path) -> tuple[list[float], list[float]]:
    """Standard deviations over the hairs, one a seed: of the draw, as a share of its mean, and of the cut."""
    cases = [case({KWP: kwp}, start, seeds, kept, f"hair-{k}") for k, kwp in enumerate(HAIRS)]
    draws, cuts = np.array([one.draw_kwh for one in cases]), np.array([one.cut for one in cases])
    return list(draws.std(axis=0, ddof=1) / draws.mean(axis=0)), list(cuts.std(axis=0, ddof=1))


HEAD = """# How sure the answer is

The cut of `{policy}` in `morocco_month`, seeds {seeds}. Three kinds of uncertainty, each measured by itself:

- **Numerical.** At a tie, the last digits of an input decide. The same seeds are run four more times with panels
  larger by one to four parts in ten million: an engineer could not tell the difference, so whatever moves is noise of
  the method. (Another version of a library does not do this: inputs enter on grids coarser than its last bits.)
- **Seeds.** Other jobs and another sky, drawn from the same mix and the same climate. This is what the 95 % intervals
  in `tafukt compare` and in all our tables cover (Student's t over seeds). They contain the numerical kind.
- **Parameters.** What had to be chosen because nobody has published it. No interval covers this; the second table
  shows how far each choice moves the answer.

"""
Cases = dict[str, dict[str, Case]]
"""Every setting's case, by start and name."""


def _percent(value: float, half: float = nan, sign: str = "") -> str:
    text = f"{100 * value:{sign}.1f}"
    return text + (" %" if isnan(half) else f" ± {100 * half:.1f} %")


def kinds(cases: Cases, hairs: Mapping[str, tuple[list[float], list[float]]]) -> str:
    """The three kinds of uncertainty beside one another, as a Markdown table."""
    base = [found[AS_IT_IS].cut for found in cases.values()]
    means = [[float(one.cut.mean()) for one in found.values()] for found in cases.values()]
    rows = [
        ("numerical", "one seed's draw, standard deviation", [_percent(float(np.mean(h[0]))) for h in hairs.values()]),
        ("", "one seed's cut, in points", [f"{100 * float(np.mean(h[1])):.2f}" for h in hairs.values()]),
        ("seeds", "the cut from seed to seed, in points", [f"{100 * cut.std(ddof=1):.2f}" for cut in base]),
        ("", f"the cut, mean of {len(base[0])} seeds", [_percent(*mean_interval(cut)[:2]) for cut in base]),
        ("parameters", "the cut, over all choices below", [f"{_percent(min(m))} to {_percent(max(m))}" for m in means]),
    ]
    lines = [
        "| kind | what moves |" + "".join(f" from {start} |" for start in cases),
        "|---|---|" + "--:|" * len(cases),
    ]
    lines += [f"| {kind} | {what} | {' | '.join(values)} |" for kind, what, values in rows]
    return "\n".join(lines)


def choices(cases: Cases) -> str:
    """The cut under each choice, and how far that is from things as they are, as a Markdown table."""
    head = "| what is changed |" + "".join(f" cut from {start} | difference, in points |" for start in cases)
    lines = [head, "|---|" + "--:|--:|" * len(cases)]
    for name in SETTINGS:
        cells = []
        for found in cases.values():
            cut = found[name].cut
            apart = _percent(*mean_interval(cut - found[AS_IT_IS].cut)[:2], sign="+").removesuffix(" %")
            cells += [_percent(*mean_interval(cut)[:2]), "" if name == AS_IT_IS else apart]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(cases: Cases, path: Path) -> None:
    """Draw the cut under each choice, one panel for each start; the band is the interval of things as they are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from tafukt.experiments.figures.style import GRID, INK, style

    with style():
        places, size = np.arange(len(SETTINGS)), (4.6 + 3.0 * len(cases), 0.8 + 0.27 * len(SETTINGS))
        figure, axes = plt.subplots(1, len(cases), figsize=size, sharey=True, layout="constrained", squeeze=False)
        for ax, (start, found) in zip(axes[0], cases.items(), strict=True):
            means, halves = 100 * np.array([mean_interval(found[name].cut)[:2] for name in SETTINGS]).T
            halves = np.nan_to_num(halves)
            ax.axvspan(means[0] - halves[0], means[0] + halves[0], color=GRID, alpha=0.35, lw=0)
            ax.axvline(means[0], color=INK, lw=0.8)
            ax.errorbar(means, places, xerr=halves, fmt="o", color=INK, capsize=2.5, ms=4)
            ax.set_yticks(places, list(SETTINGS))
            ax.set_title(f"from {start}", loc="left")
            ax.set_xlabel(f"cut of {POLICY} [%]")
        axes[0][0].invert_yaxis()
        figure.savefig(path, dpi=110)
        plt.close(figure)


def main() -> None:
    """Run what is missing, and print or write the page."""
    parser = argparse.ArgumentParser(description="How sure the answer is: rounding, seeds, and choices.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--start", nargs="+", default=["2025-12-01", "2025-06-02"])
    parser.add_argument("--kept", type=Path, default=Path("build/sensitivity"))
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    cases: Cases = {start: {} for start in asked.start}
    for at, (name, change) in enumerate(SETTINGS.items()):
        for start in asked.start:
            cases[start][name] = case(change, start, asked.seeds, asked.kept, f"setting-{at:02d}")
            print(f"{start}: {name}: {_percent(float(cases[start][name].cut.mean()))}", flush=True)
    hairs = {start: numerical(start, asked.seeds, asked.kept) for start in asked.start}
    seeds = " ".join(map(str, asked.seeds))
    command = f"python -m bench.sensitivity --seeds {seeds} --start {' '.join(asked.start)} --write docs/sensitivity.md"
    text = HEAD.format(policy=POLICY, seeds=seeds) + kinds(cases, hairs)
    text += "\n\n## One choice at a time\n\nDifferences are taken seed by seed, so their intervals are narrower.\n\n"
    text += "![The cut under each choice, with intervals over seeds](sensitivity.png)\n\n"
    text += f"{choices(cases)}\n\nMade by `{command}`.\n"
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")
        picture(cases, asked.write.with_suffix(".png"))
    else:
        print(text)


if __name__ == "__main__":
    main()
