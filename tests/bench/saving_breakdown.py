"""Where the saving goes that the bound allows and a policy does not reach: one cause after another, with intervals.

    python -m bench.saving_breakdown [--experiment NAME] [--seeds 1 2 ...] [--start DATE ...] [--steps N]
                                     [--kept DIR] [--write docs/ladder.md]

Each step takes away one freedom or one piece of knowledge from the step before it. All steps run the same
jobs under the same sky, in the simulator; `captured` is each one's share of what the bound allows over fifo.
What is done is kept in a folder, so that a stop loses one step, and more seeds may follow.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.resources import files
from math import isnan, nan
from pathlib import Path

import numpy as np

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.results.metrics import draw_kwh
from tafukt.experiments.results.statistics import mean_interval
from tafukt.simulator.bound.jobs import demand_of
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.bound.supply import gpu_power_w, node_base_w
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.planner.clairvoyant import Clairvoyant, Known
from tafukt.simulator.policies.planner.planner import PlannerSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.search.best import carried_out
from tafukt.simulator.search.search import Found, SearchSettings, search
from tafukt.workloads.job import Job

J_PER_KWH = 3.6e6
BEST = 1
"""The place of the best known schedule among the steps."""
HEAD = """# Where the saving goes

`{experiment}`, means over seeds {seeds} with 95 % intervals (Student's t over seeds; none for fewer than five).
Each row takes away one freedom or one piece of knowledge from the row above it; "lost" is what that costs of the saving
that the bound allows over fifo. The last column is the IT energy beyond what the bound charges: the bound may split
jobs across sites and nodes at will, and wakes nodes for free, whereas here nodes are partly full, awake and empty,
waking, saving checkpoints and restarting. The best known schedule was found by a search of {steps:,} steps.

Made by `{command} --write docs/ladder.md`.

![What each cause costs, between the bound and fifo](ladder.png)

"""
TAIL = (Path(__file__).parent / "saving_breakdown_tail.md").read_text(encoding="utf-8")
BUNDLED = Path(str(files("tafukt.experiments") / "bundled"))


@dataclass(frozen=True)
class Row:
    """One step of the ladder: what is known and free in it, and what it draws.

    `more_it_kwh` is the IT energy beyond what the bound charges: nodes partly full, awake and empty, waking, and work
    on checkpoints and restarts.
    """

    step: str
    draw_kwh: float
    misses: int
    more_it_kwh: float


def stay_put(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, none of which may stop or move."""
    return [replace(j, ask=replace(j.ask, interruptible=False)) for j in jobs]


class Ladder:
    """The steps of one scenario and seed, from the bound down to fifo."""

    def __init__(self, inputs: Inputs, seed: int, steps: int) -> None:
        self.scenario, self.jobs, self.settings = inputs.scenario, tuple(inputs.jobs), inputs.settings
        self.seed, self.search_steps = seed, steps

    @property
    def steps(self) -> dict[str, Callable[[], Row]]:
        """What makes the row of each step, in order."""
        jobs, sun = self.jobs, replace(self.settings.forecast, sun="perfect")
        clear = replace(self.settings, forecast=sun)

        def planned(known: Known) -> Callable[[str], Record]:
            return lambda step: self.run(Clairvoyant(step, PlannerSettings(), known), jobs, clear)

        ours = self.settings
        made: dict[str, Callable[[str], Record]] = {
            "whole gangs, nodes and restarts: best known schedule": lambda _: self.searched(),
            "planned job by job, not knowing who will come": planned(Known(jobs, arrivals=False)),
            "nor how long they run": planned(Known(jobs, durations=False, arrivals=False)),
            "nor the sun, but for its forecast: planner": lambda _: self.run(policy("planner"), jobs, ours),
            "nobody stops or moves: planner": lambda _: self.run(policy("planner"), stay_put(jobs), ours),
            "planned once, at submission: wait-for-sun": lambda _: self.run(policy("wait-for-sun"), jobs, ours),
            "nobody waits: fifo": lambda _: self.run(policy("fifo"), jobs, ours),
        }
        rows = {step: lambda step=step, make=make: self.row(step, make(step)) for step, make in made.items()}  # type: ignore[misc]
        return {"bound": self.bound, **rows}

    def run(self, chosen: object, jobs: Sequence[Job], settings: Settings) -> Record:
        """A simulation."""
        return simulate(self.scenario, jobs, chosen, seed=self.seed, settings=settings)  # type: ignore[arg-type]

    def searched(self) -> Record:
        """The best schedule that a search finds."""
        how, found = SearchSettings(self.search_steps), None
        for step in search(self.scenario, self.jobs, self.seed, how):
            found = step
        assert isinstance(found, Found)
        return carried_out(self.scenario, self.jobs, self.settings, self.seed, found, how)

    def bound(self) -> Row:
        """The bound."""
        least = lower_bound(self.scenario, self.jobs, settings=self.settings, seed=self.seed)
        return Row("bound", least.draw_j / J_PER_KWH, 0, 0.0)

    @cached_property
    def least_it_kwh(self) -> float:
        """The IT energy that the bound charges [kWh]."""
        return work_kwh(self.scenario, self.jobs)

    def row(self, step: str, record: Record) -> Row:
        """What a run shows."""
        late = sum(o.end_s > j.ask.deadline_s + 1.0 for o, j in zip(record.outcomes, record.jobs, strict=True))
        return Row(step, draw_kwh(record), late, it_kwh(record) - self.least_it_kwh)


def it_kwh(record: Record) -> float:
    """IT energy of all sites [kWh]."""
    return sum(energy.total_j(energy.it_w) for energy in record.energy) / J_PER_KWH


def work_kwh(scenario: Scenario, jobs: Sequence[Job]) -> float:
    """The IT energy that the bound charges for the jobs and for nodes that sleep whenever they can [kWh]."""
    demand = demand_of(scenario, jobs)
    powers = [gpu_power_w(site) for site in scenario.sites]
    still_w, dynamic_w = min(still for still, _ in powers), min(dynamic for _, dynamic in powers)
    busy_j = float(demand.gpu_s @ (still_w + demand.intensity * dynamic_w))
    return (busy_j + sum(node_base_w(site) * site.nodes * scenario.end_s for site in scenario.sites)) / J_PER_KWH


def rows_of(experiment: str, start: str, seed: int, steps: int, kept: Path | None) -> Iterator[Row]:
    """The rows of one scenario and seed; those that are kept are read, the others are kept."""
    path = kept / f"{experiment}-{start}-{seed}-{steps}.json" if kept else None
    known = json.loads(path.read_text()) if path and path.is_file() else {}
    inputs = build(load_experiment(BUNDLED / f"{experiment}.toml", [f"start={start}T00:00:00Z"]), seed)
    for step, make in Ladder(inputs, seed, steps).steps.items():
        if step not in known:
            known[step] = asdict(make())
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(known, indent=1))
        yield Row(**known[step])


# --- the table and the picture -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """A step over all seeds: draw [kWh], what it loses of the draw [kWh] and of the saving, and what it still saves.

    `captured` is its share of what the bound allows over fifo, `of_best` of what the best known schedule saves; each
    `_half` is the half-width of an interval.
    """

    step: str
    draw_kwh: float
    lost_kwh: float
    lost_half_kwh: float
    lost: float
    lost_half: float
    captured: float
    captured_half: float
    of_best: float
    of_best_half: float
    misses: float
    more_it_kwh: float


def causes(ladders: Sequence[Sequence[Row]]) -> list[Cause]:
    """The steps of all seeds, each against the step before it, seed by seed."""
    draws = np.array([[row.draw_kwh for row in rows] for rows in ladders])
    room = draws[:, -1:] - draws[:, :1]
    saved = draws[:, -1:] - draws
    lost_kwh = np.diff(draws, axis=1, prepend=draws[:, :1])
    found = []
    for at, row in enumerate(ladders[0]):
        shares = (
            lost_kwh[:, at],
            lost_kwh[:, at] / room[:, 0],
            saved[:, at] / room[:, 0],
            saved[:, at] / saved[:, BEST],
        )
        intervals = [value for share in shares for value in mean_interval(share)[:2]]
        misses, more = (
            float(np.mean([getattr(rows[at], name) for rows in ladders])) for name in ("misses", "more_it_kwh")
        )
        found.append(Cause(row.step, float(draws[:, at].mean()), *intervals, misses, more))
    return found


def table(found: Sequence[Cause]) -> str:
    """The ladder as a Markdown table."""

    def with_half(value: float, half: float, text: str) -> str:
        return f"{value:{text}}" + ("" if isnan(half) else f" ± {half:{text}}")

    columns = ("cause", "draw [kWh]", "lost [kWh]", "lost of the saving", "captured")
    columns += ("of what the best known saves", "late", "more IT energy [kWh]")
    lines = [f"| {' | '.join(columns)} |", "|---|" + "--:|" * (len(columns) - 1)]
    for at, one in enumerate(found):
        lost = with_half(one.lost_kwh, one.lost_half_kwh, ",.0f") if at else ""
        share = with_half(one.lost, one.lost_half, ".3f") if at else ""
        captured = with_half(one.captured, one.captured_half if 0 < at < len(found) - 1 else nan, ".3f")
        of_best = with_half(one.of_best, one.of_best_half if BEST < at < len(found) - 1 else nan, ".3f")
        cells = (f"{one.draw_kwh:,.0f}", lost, share, captured, of_best if at >= BEST else "")
        cells += (f"{one.misses:.1f}", f"{one.more_it_kwh:,.0f}")
        lines.append(f"| {one.step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(found: dict[str, list[Cause]], path: Path) -> None:
    """Draw what each cause costs, from the bound on the left to fifo on the right, one panel for each start."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    from tafukt.experiments.figures.style import BOUND, GRID, INK, style

    with style():
        height = 1.2 + 0.34 * len(next(iter(found.values())))
        figure, axes = plt.subplots(
            1, len(found), figsize=(4.6 + 3.2 * len(found), height), sharey=True, layout="constrained", squeeze=False
        )
        for ax, (start, rows) in zip(axes[0], found.items(), strict=True):
            begins = [0.0] + [one.draw_kwh for one in rows[:-1]]
            lengths = [rows[0].draw_kwh] + [one.lost_kwh for one in rows[1:]]
            halves = np.nan_to_num([0.0] + [one.lost_half_kwh for one in rows[1:]])
            places = np.arange(len(rows))
            ax.barh(places, lengths, left=begins, color=[BOUND] + [GRID] * (len(rows) - 1), height=0.66)
            ax.errorbar([one.draw_kwh for one in rows], places, xerr=halves, fmt="none", ecolor=INK, capsize=2.5)
            for place, one in enumerate(rows):
                text = f"{one.draw_kwh:,.0f}" if not place else f"{one.lost:+.1%}".replace("-", "−")
                right = max(one.draw_kwh, begins[place]) + halves[place]
                ax.annotate(text, (right, place), xytext=(4, 0), textcoords="offset points", va="center")
            ax.set_yticks(places, [one.step for one in rows])
            ax.set_xlim(0, rows[-1].draw_kwh * 1.2)
            ax.set_title(f"from {start}", loc="left")
            ax.set_xlabel("grid draw [kWh]")
            ax.xaxis.set_major_locator(MaxNLocator(5))
            ax.xaxis.set_major_formatter("{x:,.0f}")
        axes[0][0].invert_yaxis()
        figure.savefig(path, dpi=110)
        plt.close(figure)


def main() -> None:
    """Make the ladder and print it, or write it to a file, with a picture beside it."""
    parser = argparse.ArgumentParser(description="Where the saving goes that the bound allows, cause by cause.")
    parser.add_argument("--experiment", default="morocco_month")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--start", nargs="+", default=["2025-12-01", "2025-06-02"])
    parser.add_argument("--steps", type=int, default=SearchSettings.steps)
    parser.add_argument("--kept", type=Path, help="a folder that keeps what is done")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    ladders: dict[str, list[list[Row]]] = {start: [] for start in asked.start}
    for seed in asked.seeds:
        for start in asked.start:
            rows = []
            for row in rows_of(asked.experiment, start, seed, asked.steps, asked.kept):
                print(f"{start} seed {seed}: {row.step}: {row.draw_kwh:,.0f} kWh", flush=True)
                rows.append(row)
            ladders[start].append(rows)
    found = {start: causes(members) for start, members in ladders.items()}
    seeds = " ".join(map(str, asked.seeds))
    command = f"python -m bench.saving_breakdown --experiment {asked.experiment} --seeds {seeds}"
    command += f" --start {' '.join(asked.start)} --steps {asked.steps}"
    text = HEAD.format(experiment=asked.experiment, seeds=seeds, steps=asked.steps, command=command)
    text += "\n".join(f"## From {start}\n\n{table(rows)}\n" for start, rows in found.items()) + "\n" + TAIL
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")
        picture(found, asked.write.with_suffix(".png"))
    else:
        print(text)


if __name__ == "__main__":
    main()
