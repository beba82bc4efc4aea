"""Requests of the grid in the Morocco month: how many are met, what they cost, and what a clairvoyant answer costs.

    python -m bench.requests [--policies fifo wait-for-sun ...] [--respond least-loss ...]

The clairvoyant answer knows from the first minute which jobs will run how long, may vary every cap from slot to slot,
needs to keep a job's floor in the mean alone, and pauses and restarts for nothing. It is the optimum of a linear
programme for each request: no answer loses less work on the same jobs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.results.grid_events import grid_event_metrics, grid_event_rows
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.power_caps import Caps
from tafukt.simulator.record import GridRequest, Occupancy, Record
from tafukt.simulator.scenario import Scenario

EXPERIMENT = Path(str(files("tafukt.experiments") / "bundled" / "demand_response.toml"))
RUN = Occupancy.KINDS.index("run")
# A watt that is missing costs so many times the work of the dearest that could be given [GPU-s/J]: never worth it.
MISSING = 1.0


class Stay(NamedTuple):
    """A stretch in which a job ran at a site during a request: what it drew, and what it would have drawn [W]."""

    job: int
    start_s: float
    end_s: float
    given_w: float
    full_w: float
    lost_gpu_s: float


@dataclass(frozen=True)
class Account:
    """One policy under one answer, with requests and without."""

    policy: str
    respond: str
    requests: int
    met: float
    broken: int
    late: int
    late_without: int
    delayed_gpu_h: float
    saving_gpu_h: float
    shed_kwh: float
    least_gpu_h: float


def without_requests(scenario: Scenario) -> Scenario:
    """The same scenario in which the grid asks for nothing."""
    return replace(scenario, sites=tuple(replace(s, grid=replace(s.grid, events=())) for s in scenario.sites))


def late_jobs(record: Record) -> int:
    """Jobs that ended after their deadline, or never."""
    pairs = zip(record.jobs, record.outcomes, strict=True)
    return sum(not outcome.end_s <= job.ask.deadline_s + 1.0 for job, outcome in pairs if outcome.state != "rejected")


def stays(record: Record, site: int, begin_s: float, end_s: float) -> Iterator[Stay]:
    """Who ran at a site from `begin_s` to `end_s`, firm jobs left out."""
    rows, node = record.occupancy, record.scenario.sites[site].node
    here = (rows.site == site) & (rows.kind == RUN) & (rows.end_s > begin_s) & (rows.start_s < end_s)
    for at in np.flatnonzero(here).tolist():
        ask = record.jobs[int(rows.job[at])].ask
        full_w = node.dynamic_w * ask.intensity * ask.gpus
        if ask.event_floor < 1.0 and full_w > 0.0:
            start, stop = max(rows.start_s[at], begin_s), min(rows.end_s[at], end_s)
            share = (rows.power_w[at] - rows.gpus[at] * node.idle_w / node.gpus) / full_w
            caps = node.caps_of(ask)
            lost = 1.0 - float(np.interp(share, *zip(*caps, strict=True)))
            lost_gpu_s = lost * (stop - start) * ask.gpus
            yield Stay(int(rows.job[at]), float(start), float(stop), (1.0 - share) * full_w, full_w, lost_gpu_s)


def pieces(caps: Caps, may_pause: bool) -> list[tuple[float, float]]:
    """The lower hull of lost speed over spared power, as (share of power, loss per share of power), flattest first."""
    points = [(1.0 - power, 1.0 - does) for power, does in reversed(caps)] + ([(1.0, 1.0)] if may_pause else [])
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-1][0]) > (y - hull[-1][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    return [(b[0] - a[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(hull)]


def least_loss_gpu_s(record: Record, request: GridRequest) -> tuple[float, float]:
    """Work lost by the jobs that were capped in the run, and the least that anybody could have lost on them [GPU-s].

    Who was paused counts as having left: what its pause gave is not asked of the others, in either figure.
    """
    site = record.scenario.sites[request.site]
    event, energy = site.grid.events[request.number], record.energy[request.site]
    begin_s, end_s = event.start_s + event.ramp_down_s, min(event.end_s, record.scenario.end_s)
    found = list(stays(record, request.site, begin_s, end_s))
    lost = sum(stay.lost_gpu_s for stay in found)
    inner = energy.edges_s[(energy.edges_s > begin_s) & (energy.edges_s < end_s)]
    edges = np.unique(np.concatenate(((begin_s, end_s), inner, [s.start_s for s in found], [s.end_s for s in found])))
    import_w = energy.binned_j(energy.flows_w["import_to_load"], edges) / np.diff(edges)
    per_it = 1.0 + site.overhead.values[np.minimum((edges[:-1] // site.pv.step_s).astype(int), len(site.pv.values) - 1)]
    need_w = (import_w - request.target_w) / per_it
    rows: list[tuple[int, int, float]] = []  # (constraint, variable, coefficient)
    cost: list[float] = []
    most: list[float] = []
    floors: list[float] = []
    slots = len(edges) - 1
    for stay in found:
        ask = record.jobs[stay.job].ask
        inside = np.flatnonzero((edges[:-1] >= stay.start_s) & (edges[1:] <= stay.end_s))
        need_w[inside] += stay.given_w
        hull = pieces(site.node.caps_of(ask), ask.event_floor == 0.0 and ask.interruptible)
        for slot in inside.tolist():
            lasts_s = edges[slot + 1] - edges[slot]
            for share, loss in hull:
                rows += [(slot, len(cost), -stay.full_w), (slots + len(floors), len(cost), loss * lasts_s)]
                cost.append(loss * lasts_s * ask.gpus)
                most.append(share)
        floors.append((1.0 - ask.event_floor) * (stay.end_s - stay.start_s))
    for slot in range(slots):
        rows.append((slot, len(cost), -1.0))
        cost.append(MISSING * (edges[slot + 1] - edges[slot]))
        most.append(max(float(need_w[slot]), 0.0))
    i, j, value = zip(*rows, strict=True)
    matrix = coo_array((value, (i, j)), shape=(slots + len(floors), len(cost))).tocsr()
    answer = linprog(
        cost,
        matrix,
        np.concatenate((-np.maximum(need_w, 0.0), floors)),
        bounds=list(zip([0.0] * len(cost), most, strict=True)),
    )
    shares = np.asarray(answer.x)[: len(cost) - slots]
    return lost, float(np.dot(np.asarray(cost)[: len(cost) - slots], shares))


def account(inputs: Inputs, name: str, respond: str) -> Account:
    """Run a policy with the requests and without, and set its loss beside the least."""
    settings = replace(inputs.settings, respond=respond)  # type: ignore[arg-type]
    record = simulate(inputs.scenario, inputs.jobs, policy(name), seed=1, settings=settings)
    plain = simulate(without_requests(inputs.scenario), inputs.jobs, policy(name), seed=1, settings=settings)
    found = grid_event_metrics(record)
    rows = grid_event_rows(record, inputs.experiment.start)
    pairs = [least_loss_gpu_s(record, request) for request in record.requests]
    return Account(
        name, respond, int(found["grid_events"]), found["grid_events_met"], int(found["floors_broken"]),
        late_jobs(record), late_jobs(plain), sum(lost for lost, _ in pairs) / 3600.0,
        sum(row["gpu_hours_saving"] for row in rows), found["grid_shed_kwh"], sum(least for _, least in pairs) / 3600.0,
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", default=["fifo", "easy", "wait-for-sun"])
    parser.add_argument("--respond", nargs="+", default=["least-loss"])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    inputs = build(load_experiment(EXPERIMENT), given.seed)
    heads = (
        "policy | answer | requests | met | floors broken | late (without) | capped GPU-h | least | saving GPU-h | kWh"
    )
    print(f"| {heads} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for respond in given.respond:
        for name in given.policies:
            row = account(inputs, name, respond)
            cells = (
                name, respond, row.requests, f"{row.met:.1%}", row.broken, f"{row.late} ({row.late_without})",
                f"{row.delayed_gpu_h:.1f}", f"{row.least_gpu_h:.1f}", f"{row.saving_gpu_h:.1f}", f"{row.shed_kwh:.0f}",
            )  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
