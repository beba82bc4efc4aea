"""Where the saving goes that the bound allows and a policy does not reach, one step at a time.

    python -m bench.saving_breakdown [--seeds 1 2 ...] [--start DATE ...] [--write docs/ladder.md]

Each step takes away one freedom or one piece of knowledge from the step before it. All steps run the same
jobs under the same sky, in the simulator; `captured` is each one's share of what the bound allows over fifo.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from math import ceil
from pathlib import Path

import numpy as np

from tafukt.experiments.config.load import load
from tafukt.experiments.config.scenario import build
from tafukt.experiments.results.metrics import draw_kwh
from tafukt.simulator.bound.jobs import demand_of
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.bound.supply import gpu_power_w, node_base_w
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.planner.clairvoyant import Clairvoyant, Known
from tafukt.simulator.policies.planner.planner import PlannerSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import HOUR_S
from tafukt.workloads.job import Checkpoint, Job

J_PER_KWH = 3.6e6
HEAD = """# Where the saving goes

The Morocco week, means over the seeds {seeds}; every step takes one freedom or one piece of knowledge from the one
before it. The row without a loss stands beside the one above it: the same knowledge, another method. The last column
is the IT energy beyond what the bound charges, which lets jobs be parted over sites and nodes at will, and wakes nodes
for nothing: here are nodes partly full, awake and empty, waking, saving and restarting.
Made by `{command} --write docs/ladder.md`.

"""
EXPERIMENT = Path(str(files("tafukt.experiments") / "bundled" / "morocco_week.toml"))


@dataclass(frozen=True)
class Row:
    """One step of the ladder: what is known and free in it, and what it draws; or what stands `beside` a step.

    `more_it_kwh` is the IT energy beyond what the bound charges: nodes partly full, awake and empty, waking, and work
    on checkpoints and restarts.
    """

    step: str
    draw_kwh: float
    captured: float
    misses: int
    more_it_kwh: float
    beside: bool = False


def free_moves(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, all of which may stop and move at no cost."""
    return [replace(j, ask=replace(j.ask, interruptible=True, checkpoint=Checkpoint())) for j in jobs]


def free_restarts(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs; those that may stop do so at no cost."""
    return [replace(j, ask=replace(j.ask, checkpoint=Checkpoint())) for j in jobs]


def stay_put(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, none of which may stop or move."""
    return [replace(j, ask=replace(j.ask, interruptible=False)) for j in jobs]


def ladder(scenario: Scenario, jobs: Sequence[Job], settings: Settings, seed: int) -> Iterator[Row]:
    """All steps, from the bound down to the policies; the first run is the baseline."""
    hours = ceil(scenario.end_s / HOUR_S)
    perfect = replace(settings, forecast=ForecastSettings(sun="perfect", horizon_h=hours))
    sun = replace(settings, forecast=replace(settings.forecast, sun="perfect"))
    all_known = PlannerSettings(horizon_h=hours, scarcity=0.0, margin_s=600.0, sites=4)
    energy_blind = simulate(scenario, jobs, policy("fifo"), seed=seed, settings=settings)
    base, least_it_kwh = draw_kwh(energy_blind), work_kwh(scenario, jobs)
    least = lower_bound(scenario, jobs, settings=settings, seed=seed).draw_j / J_PER_KWH

    def row(step: str, what: Sequence[Job], known: Known | str, how: PlannerSettings, with_: Settings) -> Row:
        chosen = policy(known) if isinstance(known, str) else Clairvoyant(step, how, known)
        record = simulate(scenario, what, chosen, seed=seed, settings=with_)
        drawn = draw_kwh(record)
        late = sum(o.end_s > j.ask.deadline_s + 1.0 for o, j in zip(record.outcomes, record.jobs, strict=True))
        return Row(step, drawn, (base - drawn) / (base - least), late, it_kwh(record) - least_it_kwh)

    yield Row("bound", least, 1.0, 0, 0.0)
    for step, change in (
        ("best known schedule: all known, every job moves freely", free_moves),
        ("30 % of the jobs stay put", free_restarts),
        ("checkpoints and restarts cost what they do", list),
    ):
        changed: list[Job] = change(jobs)
        yield row(step, changed, Known(tuple(changed)), all_known, perfect)
    jobs = tuple(jobs)
    yield row("who will come is not known", jobs, Known(jobs, arrivals=False), PlannerSettings(), sun)
    yield row("nor how long they run", jobs, Known(jobs, durations=False, arrivals=False), PlannerSettings(), sun)
    yield row("nor the sun, but for its forecast: planner", jobs, "planner", PlannerSettings(), settings)
    yield replace(
        row("the same by a programme: budget-planner", jobs, "budget-planner", PlannerSettings(), settings), beside=True
    )
    yield row("nobody stops or moves: planner", stay_put(jobs), "planner", PlannerSettings(), settings)
    yield row("planned once, at submission: wait-for-sun", jobs, "wait-for-sun", PlannerSettings(), settings)
    yield Row("fifo", base, 0.0, 0, it_kwh(energy_blind) - least_it_kwh)


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


def table(start: str, seeds: Sequence[int], say: Callable[[str], None] = print) -> str:
    """The ladder of the Morocco week that starts on a date, means over seeds, as a Markdown table."""
    rows: dict[str, list[Row]] = {}
    for seed in seeds:
        inputs = build(load(EXPERIMENT, [f"start={start}T00:00:00Z"]), seed)
        for row in ladder(inputs.scenario, inputs.jobs, inputs.settings, seed):
            rows.setdefault(row.step, []).append(row)
            say(f"{start} seed {seed}: {row.step}: {row.draw_kwh:,.0f} kWh, captured {row.captured:.3f}")
    columns = ("step", "draw [kWh]", "captured", "lost in this step", "deadlines missed", "more IT energy [kWh]")
    lines = [f"| {' | '.join(columns)} |", "|---|" + "--:|" * (len(columns) - 1)]
    before = 1.0
    for step, found in rows.items():
        captured = float(np.mean([row.captured for row in found]))
        drawn, late = np.mean([row.draw_kwh for row in found]), np.mean([row.misses for row in found])
        more = np.mean([row.more_it_kwh for row in found])
        lost = "" if found[0].beside else f"{before - captured:.3f}"
        lines.append(f"| {step} | {drawn:,.0f} | {captured:.3f} | {lost} | {late:.1f} | {more:,.0f} |")
        before = before if found[0].beside else captured
    return "\n".join(lines)


def main() -> None:
    """Make the ladder and print it, or write it to a file."""
    parser = argparse.ArgumentParser(description="Where the saving goes that the bound allows, step by step.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--start", nargs="+", default=["2025-12-01", "2025-06-02"])
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    parts = [f"## Week from {start}\n\n{table(start, asked.seeds)}\n" for start in asked.start]
    seeds = " ".join(map(str, asked.seeds))
    command = f"python -m bench.saving_breakdown --seeds {seeds} --start {' '.join(asked.start)}"
    text = HEAD.format(seeds=seeds, command=command) + "\n".join(parts)
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
