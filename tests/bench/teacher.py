"""Where the choices of a policy differ from those of the best schedule that a search has found.

    python -m tests.bench.teacher [--start DATE] [--seed N] [--steps N] [--policy NAME] [--found FILE]

Both run the same jobs of the Morocco week under the same sky. Told apart by class of job, by size and by hour
(UTC): how much grid energy the jobs cause, how long they wait, how often they stop, and when they run; and for the
sites, what nodes draw that no job causes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.results.attribution import books_of, jobs_columns
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record
from tafukt.simulator.search.best import carried_out
from tafukt.simulator.search.search import Found, SearchSettings, search
from tafukt.simulator.units import HOUR_S
from tafukt.workloads.job import Job

WEEK = Path(str(files("tafukt.experiments") / "bundled" / "morocco_week.toml"))
RUN = 0  # the kind of occupancy that is work


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def by_kind(records: Sequence[Record], kind: Callable[[Job], str]) -> str:
    """Grid energy, waits and stops of the jobs of each kind under both."""
    kinds = np.array([kind(job) for job in records[0].jobs])
    submits = np.array([job.ask.submit_s for job in records[0].jobs])
    grid = [jobs_columns(record)["grid_kwh"] for record in records]
    waits = [np.array([outcome.start_s for outcome in record.outcomes]) - submits for record in records]
    stops = [np.array([outcome.pauses + outcome.moves for outcome in record.outcomes]) for record in records]
    rows = []
    for name in sorted(set(kinds)):
        mine = kinds == name
        kwh = [each[mine].sum() for each in grid]
        cells = [f"{kwh[0]:,.0f}", f"{kwh[1]:,.0f}", f"{kwh[0] - kwh[1]:,.0f}"]
        cells += [f"{each[mine].mean() / HOUR_S:.1f}" for each in waits]
        rows.append([name, str(mine.sum()), *cells, *(f"{each[mine].mean():.2f}" for each in stops)])
    names = [record.policy for record in records]
    head = ["", "jobs", *(f"grid kWh, {n}" for n in names), "difference"]
    return table([*head, *(f"wait h, {n}" for n in names), *(f"stops, {n}" for n in names)], rows)


def by_hour(records: Sequence[Record]) -> str:
    """GPU-hours that run in each hour of the day under both, and starts."""
    rows = []
    shares = []
    for record in records:
        busy = np.zeros(24)
        occupancy = record.occupancy
        run = occupancy.kind == RUN
        for begin, end, gpus in zip(occupancy.start_s[run], occupancy.end_s[run], occupancy.gpus[run], strict=True):
            edges = np.arange(begin // HOUR_S, end // HOUR_S + 2) * HOUR_S
            overlap = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin), 0.0, None)
            np.add.at(busy, ((edges[:-1] // HOUR_S) % 24).astype(int), overlap * gpus / HOUR_S)
        shares.append(busy)
    for hour in range(0, 24, 3):
        both = [each[hour : hour + 3].sum() for each in shares]
        rows.append([f"{hour}-{hour + 3}", f"{both[0]:,.0f}", f"{both[1]:,.0f}", f"{both[1] - both[0]:+,.0f}"])
    return table(["hour (UTC)", *(f"GPU-h, {record.policy}" for record in records), "difference"], rows)


def beside_jobs(records: Sequence[Record]) -> str:
    """Energy that no job causes: nodes awake and empty, asleep, and GPUs idle beside a job."""
    rows = []
    for record in records:
        rest = grid = 0.0
        for books in books_of(record):
            rest += books.energy.total_j(books.rest_rate("energy_kwh"))
            grid += books.energy.total_j(books.rest_rate("grid_kwh"))
        kinds = record.occupancy
        lost = [(kinds.power_w * (kinds.end_s - kinds.start_s))[kinds.kind == i].sum() / 3.6e6 for i in (1, 2, 3)]
        rows.append([record.policy, f"{rest:,.0f}", f"{grid:,.0f}", *(f"{each:,.0f}" for each in lost)])
    return table(["", "kWh beside jobs", "of it grid", "waking", "restarts", "checkpoints"], rows)


def teacher(inputs: Inputs, seed: int, how: SearchSettings, name: str, found: Found | None) -> list[Record]:
    """The record of the policy, and that of the best schedule."""
    given = inputs.scenario, inputs.jobs
    for step in search(*given, seed, how, found):
        found = step
        print(f"{found.steps:,} steps: {found.least_kwh:,.0f} kWh", flush=True)
    assert found is not None
    mine = simulate(*given, policy(name), seed=seed, settings=inputs.settings)
    return [mine, carried_out(*given, inputs.settings, seed, found, how)]


def main() -> None:
    """Search, run the policy, and print the tables."""
    parser = argparse.ArgumentParser(description="Where a policy chooses otherwise than the best schedule found.")
    parser.add_argument("--start", default="2025-12-01")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=SearchSettings.steps)
    parser.add_argument("--policy", default="planner")
    parser.add_argument("--found", type=Path, help="an earlier search, a .search.npz of a result folder")
    asked = parser.parse_args()
    inputs = build(load_experiment(WEEK, [f"start={asked.start}T00:00:00Z"]), asked.seed)
    begun = Found.from_bytes(asked.found.read_bytes()) if asked.found else None
    steps = begun.steps if begun else asked.steps
    records = teacher(inputs, asked.seed, SearchSettings(steps), asked.policy, begun)
    print(f"\n## By class\n\n{by_kind(records, lambda job: job.ask.job_class)}")
    print(f"\n## By size\n\n{by_kind(records, lambda job: f'{job.ask.gpus:2d} GPUs')}")
    may = {True: "may stop", False: "may not"}
    print(f"\n## By freedom\n\n{by_kind(records, lambda job: may[job.ask.interruptible])}")
    print(f"\n## By hour\n\n{by_hour(records)}\n\n## Beside jobs\n\n{beside_jobs(records)}")


if __name__ == "__main__":
    main()
