"""Invariants of every run, whatever the input; a breach names the job, the site and the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

import numpy as np

from tafukt.simulator.engine import job_state as checkpoints
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.errors import BreachError
from tafukt.simulator.record import OCCUPANCY_CODES, Occupancy, Outcome, Outcomes
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import TICKS_PER_S, Floats, Ints
from tafukt.workloads.job import Ask, Checkpoint, Job
from tafukt.workloads.job_table import numbers_of, values_of

_RUN = OCCUPANCY_CODES["run"]
# What says where a job may run.
_BINDS = ("gpus", "gpus_min", "dataset.residency", "dataset.home", "tenant.region", "home")
# What work and running time may differ by, relative to the larger, beside the grid of event times.
_ROUNDING = 1e-9


def check_jobs(
    scenario: Scenario, jobs: Sequence[Job], outcomes: Sequence[Outcome], occupancy: Occupancy, settings: Settings
) -> None:
    """No GPU used twice, nothing before its submission or where it may not be, work neither lost nor made.

    Raises
    ------
    BreachError
        If one of these does not hold.
    """
    _check_times(scenario, jobs, outcomes, occupancy)
    for site, spec in enumerate(scenario.sites):
        mine = occupancy.site == site
        times = np.concatenate((occupancy.start_s[mine], occupancy.end_s[mine]))
        change = np.concatenate((occupancy.gpus[mine], -occupancy.gpus[mine]))
        if spec.nodes_online:  # what is withdrawn is held by nobody, and can be held by nobody else
            at_s, counts = zip(*spec.nodes_online, strict=True)
            times = np.concatenate((times, np.array(at_s)))
            change = np.concatenate((change, -np.diff((spec.nodes, *counts)) * spec.node.gpus))
        order = np.lexsort((change, times))  # at one instant GPUs are given back before they are taken
        held = np.cumsum(change[order])
        if len(held) and held.max() > spec.gpus:
            when = times[order][int(held.argmax())]
            raise BreachError(f"{spec.name} ran {int(held.max())} of its {spec.gpus} GPUs at {when} s")
    _check_places(scenario, jobs, occupancy)
    _check_work(scenario, jobs, outcomes, occupancy, settings)


def _check_places(scenario: Scenario, jobs: Sequence[Job], occupancy: Occupancy) -> None:
    """Every job ran where it may be: one of each kind that is bound alike is asked for each site."""
    known: dict[tuple[Any, ...], int] = {}
    bound = zip(*(values_of(jobs, name) for name in _BINDS), strict=True)
    kind = np.array([known.setdefault(each, index) for index, each in enumerate(bound)], dtype=np.int64)[occupancy.job]
    _, places = np.unique(kind * len(scenario.sites) + occupancy.site, return_index=True)
    for job, site in zip(occupancy.job[places].tolist(), occupancy.site[places].tolist(), strict=True):
        ask, spec = jobs[job].ask, scenario.sites[site]
        if not scenario.may_run(ask, spec):
            raise BreachError(f"job {ask.job_id!r} ran on {spec.name}, where its data may not be")
        if scenario.coordination == "regional" and spec.name != ask.home:
            raise BreachError(f"job {ask.job_id!r} ran on {spec.name}, not at home as `regional` has it")


def _check_times(scenario: Scenario, jobs: Sequence[Job], outcomes: Sequence[Outcome], occupancy: Occupancy) -> None:
    """Every occupancy lies after its job's submission, while its site is online, in the window, after the last one."""
    if not len(occupancy.job):
        return
    ends = Outcomes.of(outcomes).column("end_s")
    ends = np.where(np.isnan(ends), scenario.end_s, ends)
    submits = numbers_of(jobs, "submit_s")
    online = np.array([site.online_s for site in scenario.sites])
    tick = 1.0 / TICKS_PER_S
    order = np.lexsort((occupancy.start_s, occupancy.job))
    same = np.diff(occupancy.job[order]) == 0
    twice = np.zeros(len(order), dtype=bool)
    twice[order[1:]] = same & (occupancy.start_s[order][1:] < occupancy.end_s[order][:-1])
    for what, wrong in (
        ("before its submission", occupancy.start_s < submits[occupancy.job] - tick),
        ("before its site was online", occupancy.start_s < online[occupancy.site] - tick),
        ("backwards in time", occupancy.end_s < occupancy.start_s),
        ("beyond the window", occupancy.end_s > scenario.end_s),
        ("after its own end", occupancy.end_s > ends[occupancy.job]),
        ("twice at once", twice),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            name, site = jobs[int(occupancy.job[row])].ask.job_id, scenario.sites[int(occupancy.site[row])].name
            raise BreachError(f"job {name!r} ran on {site} at {occupancy.start_s[row]} s, {what}")


def check_ends(jobs: Sequence[Job], outcomes: Sequence[Outcome], left: Iterable[JobState], end_s: float) -> None:
    """Every submitted job has ended once, or is in exactly one of the places `left` where jobs wait, run or move.

    Raises
    ------
    BreachError
        If a job is nowhere, in two places, or both ended and somewhere.
    """
    open_jobs: set[int] = set()
    for state in left:
        if state.index in open_jobs:
            raise BreachError(f"job {state.ask.job_id!r} is in two places at the end")
        open_jobs.add(state.index)
    columns = Outcomes.of(outcomes)
    state, ended_s = columns.column("state"), columns.column("end_s")
    there, left_over = np.zeros(len(jobs), dtype=bool), state == "left"
    there[[*open_jobs]] = True
    submitted = numbers_of(jobs, "submit_s") <= end_s
    finished = np.isin(state, ("done", "cancelled"))
    for said, wrong in (
        ("is nowhere at the end", submitted & left_over & ~there),
        ("is {state} and still under way at the end", submitted & ~left_over & there),
        ("is {state}, but its end is {end_s} s", left_over != np.isnan(ended_s)),
        ("is {state} with work left", finished & (columns.column("work_left_gpu_s") != 0.0)),
        ("was rejected, but held GPUs", (state == "rejected") & (columns.column("busy_gpu_s") != 0.0)),
    ):
        if wrong.any():
            index = int(wrong.argmax())
            told = said.format(state=state[index], end_s=ended_s[index])
            raise BreachError(f"job {jobs[index].ask.job_id!r} {told}")


def check_cluster(cluster: Cluster, held: Iterable[JobState], name: str, now_s: float) -> None:
    """Check that the nodes of a site hold what its jobs hold, and none more than it has.

    Raises
    ------
    BreachError
        If it is not.
    """
    taken = [0] * cluster.count
    for job in held:
        for node, gpus in job.allocation:
            taken[node] += gpus
    for node, gpus in enumerate(taken):
        free = cluster.free[node] if not cluster.down >> node & 1 else cluster.per_node
        if gpus + free != cluster.per_node:
            raise BreachError(f"{name}: at {now_s} s node {node} counts {free} GPUs free, but its jobs hold {gpus}")


def _check_work(
    scenario: Scenario, jobs: Sequence[Job], outcomes: Sequence[Outcome], occupancy: Occupancy, settings: Settings
) -> None:
    """The work that a job has done is the time that it ran times its speed, what kills undid taken off.

    For a rigid job that is an equation; in an elastic one the speed, and under periodic checkpoints the time
    spent on writing them, are known within limits only.
    """
    if not len(jobs):
        return
    due = numbers_of(jobs, "due_gpu_s")
    left = Outcomes.of(outcomes).column("work_left_gpu_s")
    done = due - left
    if settings.overrun == "kill":  # whoever is killed at the limit of its estimate leaves nothing to be done
        done = np.where(left > 0, done, np.minimum(due, numbers_of(jobs, "estimate_s") * numbers_of(jobs, "gpus")))
    ran = occupancy.kind == _RUN
    job, site, held = occupancy.job[ran], occupancy.site[ran], occupancy.gpus[ran]
    duration = occupancy.end_s[ran] - occupancy.start_s[ran]
    slow, fast = _speeds(scenario, jobs, settings, job, site, held, occupancy.power_w[ran])
    least_s = duration - np.minimum(_writing_s(jobs, settings, job, duration), duration)
    fastest = max(spec.node.speed for spec in scenario.sites)
    tick_gpu_s = np.maximum(numbers_of(jobs, "gpus"), numbers_of(jobs, "gpus_max")) * fastest / TICKS_PER_S
    slack = tick_gpu_s * (1.0 + np.bincount(job, minlength=len(jobs)))
    least = np.bincount(job, least_s * slow, len(jobs))
    most = np.bincount(job, duration * fast, len(jobs))
    slack += _ROUNDING * np.maximum(np.maximum(most, due), 1.0)
    wrong = (done < least - slack) | (done > most + slack) | np.isnan(done)
    wrong &= Outcomes.of(outcomes).column("state") != "rejected"
    if wrong.any():
        index = int(wrong.argmax())
        span = f"{least[index]:g} to {most[index]:g}"
        name = jobs[index].ask.job_id
        raise BreachError(f"job {name!r} has done {done[index]:g} GPU-s of work, but ran for {span}")


def _speeds(
    scenario: Scenario, jobs: Sequence[Job], settings: Settings, job: Ints, site: Ints, held: Ints, power_w: Floats
) -> tuple[Floats, Floats]:
    """The least and the greatest speed of every run [reference GPU-s per s], read from what it held and drew."""
    gpus, intensity = numbers_of(jobs, "gpus")[job], numbers_of(jobs, "intensity")[job]
    slow, fast = gpus.copy(), gpus.copy()
    curve, curves = np.empty(0), []
    if any(spec.node.caps for spec in scenario.sites):
        of_each = np.array(values_of(jobs, "power_curve"))
        curve, curves = of_each[job], sorted(set(of_each.tolist()))
    for index, spec in enumerate(scenario.sites):
        mine, node = site == index, spec.node
        slow[mine] *= node.speed
        fast[mine] *= node.speed
        for name in curves if node.caps else ():
            caps, those = dict(node.other_caps).get(name, node.caps), mine & (curve == name)
            idle_w = held[those] * node.idle_w / node.gpus
            full_w = gpus[those] * intensity[those] * node.dynamic_w
            share = np.divide(power_w[those] - idle_w, full_w, out=np.ones_like(full_w), where=full_w > 0)
            at, does = (np.array(column) for column in zip(*caps, strict=True))
            slow[those] *= np.where(full_w > 0, np.interp(share, at, does), does[0])
            fast[those] *= np.where(full_w > 0, np.interp(share, at, does), 1.0)
    elastic = np.array([curve is not None for curve in values_of(jobs, "speedup")], dtype=bool)[job]
    for row in np.flatnonzero(elastic).tolist():
        node, ask = scenario.sites[int(site[row])].node, jobs[int(job[row])].ask
        low, high = _elastic(ask, int(held[row]), node.gpus if settings.remainder == "whole" else 1)
        caps = node.caps_of(ask)
        slow[row], fast[row] = low * node.speed * (caps[0][1] if caps else 1.0), high * node.speed
    return slow, fast


def _elastic(ask: Ask, held: int, grain: int) -> tuple[float, float]:
    """The least and the greatest speed of an elastic job that holds so many GPUs, in nodes of `grain`."""
    most = min(held, ask.gpus_max or ask.gpus)
    rates = [ask.rate(gpus) for gpus in range(max(held - grain + 1, ask.gpus_min or ask.gpus), most + 1)]
    return min(rates, default=0.0), max(rates, default=0.0)


def _writing_s(jobs: Sequence[Job], settings: Settings, job: Ints, duration_s: Floats) -> Floats:
    """The longest that each run can have spent on periodic checkpoints [s]."""
    fails = settings.faults.rate_per_s(1) > 0  # where nothing does, only who asks for checkpoints writes any
    saves: list[Checkpoint] = values_of(jobs, "checkpoint")
    write = np.array([save.write_s if fails or save.interval_s is not None else 0.0 for save in saves])
    if not write.any():
        return np.zeros(len(job))
    interval = np.full(len(jobs), inf)
    for index in np.flatnonzero(write).tolist():
        ask = jobs[index].ask  # more nodes fail more often: as if each GPU had one of its own
        rate = settings.faults.rate_per_s(max(ask.gpus, ask.gpus_max))
        interval[index] = checkpoints.interval_s(ask.checkpoint, rate)
    write = np.where(interval < inf, write, 0.0)[job]
    return np.asarray(write * (np.floor(duration_s / (interval[job] + write)) + 1.0))


def recorded_it_j(cluster: Cluster, occupancy: Occupancy, site: int, end_s: float) -> float:
    """The IT energy of a site from the records of its jobs and nodes, not from its ledger [J]."""
    cluster.tally(end_s)
    mine = occupancy.site == site
    duration = occupancy.end_s[mine] - occupancy.start_s[mine]
    node = cluster.node
    jobs_j = float(np.sum(occupancy.power_w[mine] * duration))
    idle_gpu_s = cluster.awake_node_s * node.gpus - float(np.sum(occupancy.gpus[mine] * duration))
    return jobs_j + idle_gpu_s * node.idle_w / node.gpus + cluster.asleep_node_s * node.sleep_w
