"""Jobs for the bound: their windows, their classes, variables of their own or a place in a group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tafukt.simulator.bound.program import Bools, Work
from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import HOUR_S, TICK_S, Floats, Ints
from tafukt.workloads.job import Ask, Job

# The engine's clock ticks in 1/1024 s and ends a job at the nearest tick, with its work done to 1e-9:
# windows are wider and work is less by that much, or a job without slack could miss its window.
WORK_ROUNDING = 1e-9


@dataclass(frozen=True)
class Demand:
    """The jobs that some site may run, as columns of one length.

    `job` is the index into the jobs as given. Work is at the best size of an elastic job: `gpu_s` are the
    fewest GPU-seconds of the reference GPU that can do it, `gpus` the most reference GPUs that it keeps busy;
    `asked` GPUs are asked for, of whatever type. `kind` is its row in `allowed`, shape (classes, sites). A window
    goes from `submit_s` to `end_s`.
    """

    job: Ints
    kind: Ints
    submit_s: Floats
    end_s: Floats
    gpu_s: Floats
    gpus: Floats
    intensity: Floats
    allowed: Bools
    asked: Floats

    def without(self, rows: Ints) -> Demand:
        """All but some rows."""
        kept = np.setdiff1d(np.arange(len(self.job)), rows)
        names = ("job", "kind", "submit_s", "end_s", "gpu_s", "gpus", "intensity", "asked")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def demand_of(
    scenario: Scenario,
    jobs: Sequence[Job],
    ends_s: ArrayLike | None = None,
    skip: ArrayLike | None = None,
    overrun: Literal["extend", "kill"] = "extend",
) -> Demand:
    """Demand of the jobs: the least that they need, and when.

    A window ends at the deadline, or with the accounting window for a job that has none; where `ends_s`
    (per job [s], NaN for none) is later, it ends then. A window too short for the job even at its largest
    size on the fastest GPUs ends when that could be done. Jobs that no site may have are left out, as every
    run rejects them, and so are those that `skip` marks.

    Raises
    ------
    ValueError
        If `ends_s` or `skip` has not one value per job.
    """
    late = _per_job(ends_s, jobs, "ends_s", math.nan)
    left_out = _per_job(skip, jobs, "skip", 0.0)
    rules = Eligibility(scenario)
    kinds: dict[tuple[int, ...], int] = {}
    known: dict[int, int] = {}  # by identity: a thousand sites take long to hash, and jobs share theirs
    rows: list[tuple[float, ...]] = []
    for index, job in enumerate(jobs):
        ask = job.ask
        sites = rules.allowed(ask)
        work = job.truth.due_gpu_s
        if overrun == "kill":
            work = min(work, ask.estimate_s * ask.gpus)
        if left_out[index] or not sites or work <= 0:
            continue
        if rules.has_quotas and not rules.ever_within_quota(ask):
            continue
        per_work, rate = _best(ask)
        end = float(np.fmax(ask.deadline_s, late[index]))
        kind = known.get(id(sites), -1)
        if kind < 0:
            kind = known[id(sites)] = kinds.setdefault(sites, len(kinds))
        rows.append((index, kind, ask.submit_s, end, work * per_work, rate * per_work, ask.intensity, ask.gpus))
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 8)
    allowed = np.zeros((len(kinds), len(scenario.sites)), dtype=bool)
    for sites, kind in kinds.items():
        allowed[kind, list(sites)] = True
    return _widened(scenario, table, allowed)


def _per_job(values: ArrayLike | None, jobs: Sequence[Job], name: str, default: float) -> Floats:
    """One value per job."""
    if values is None:
        return np.full(len(jobs), default)
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(jobs),):
        raise ValueError(f"{name} must have one value for each of {len(jobs)} jobs, not shape {array.shape}")
    return array


def _widened(scenario: Scenario, table: Floats, allowed: Bools) -> Demand:
    """The columns, with windows and work relaxed by the clock's tick."""
    job, kind = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    speed = np.array([site.node.speed for site in scenario.sites])
    fastest = np.max(np.where(allowed, speed, 0.0), axis=1, initial=0.0)
    gpus = table[:, 5] * fastest[kind]
    gpu_s = np.maximum(table[:, 4] * (1.0 - WORK_ROUNDING) - gpus * TICK_S, 0.0)
    submit = np.clip(table[:, 2] - TICK_S, 0.0, scenario.end_s)
    soonest = submit + gpu_s / gpus + TICK_S
    end = np.minimum(np.maximum(table[:, 3] + TICK_S, soonest), scenario.end_s)
    # What cannot be done by the end of the window is not work that a complete run does.
    gpu_s = np.minimum(gpu_s, gpus * (end - submit))
    return Demand(job, kind, submit, end, gpu_s, gpus, table[:, 6], allowed, table[:, 7])


def _best(ask: Ask) -> tuple[float, float]:
    """Fewest GPU-seconds per unit of work over the sizes that a job can take, and its largest rate."""
    sizes = range(ask.gpus_min or ask.gpus, (ask.gpus_max or ask.gpus) + 1)
    if ask.speedup is None:
        return 1.0, float(ask.gpus if len(sizes) == 1 else max(ask.rate(size) for size in sizes))
    # A curve linear between its points has its best ratio and its best rate at points or limits.
    tried = {sizes[0], sizes[-1], ask.gpus} | {size for size in ask.speedup.gpus if size in sizes}
    rates = {size: ask.rate(size) for size in tried}
    return min(size / rate for size, rate in rates.items()), max(rates.values())


def work_of(demand: Demand, edges_s: Floats, own_cells: int) -> tuple[Work, Ints]:
    """The demand over slots: own variables for the largest jobs, at most `own_cells`, groups for the others.

    Returns
    -------
    work : Work
    own : array
        Row in `demand` of each job with variables of its own.
    """
    first = np.searchsorted(edges_s, demand.submit_s, side="right") - 1
    first = np.clip(first, 0, len(edges_s) - 2)
    last = np.maximum(np.searchsorted(edges_s, demand.end_s, side="left"), first + 1)  # exclusive
    last = np.minimum(last, len(edges_s) - 1)
    cells = last - first
    by_work = np.argsort(-demand.gpu_s, kind="stable")
    many = by_work[np.cumsum(cells[by_work]) <= own_cells]
    own = np.sort(many)
    grouped = np.setdiff1d(np.arange(len(demand.job)), own)
    cell_own = np.repeat(np.arange(len(own)), cells[own])
    cell_slot = _ranges(first[own], cells[own])
    groups = _job_groups(demand, grouped, edges_s)
    work = Work(
        allowed=demand.allowed,
        own_class=demand.kind[own],
        own_gpu_s=demand.gpu_s[own],
        own_intensity=demand.intensity[own],
        cell_own=cell_own,
        cell_slot=cell_slot,
        cell_gpus=demand.gpus[own][cell_own] * _share(demand, own[cell_own], cell_slot, edges_s),
        group_class=groups.kind,
        group_gpu_s=groups.gpu_s,
        group_intensity=groups.intensity,
        group_code=groups.code,
        step_group=groups.group,
        step_slot=groups.slot,
        step_low_gpu_s=groups.low_gpu_s,
        step_high_gpu_s=groups.high_gpu_s,
        step_gpus=groups.gpus,
    )
    return work, own


def _ranges(first: Ints, count: Ints) -> Ints:
    """first[i], first[i] + 1, ... `count[i]` of them, one after the other."""
    start = np.cumsum(count) - count
    return np.arange(int(count.sum())) - np.repeat(start, count) + np.repeat(first, count)


def _share(demand: Demand, row: Ints, slot: Ints, edges_s: Floats) -> Floats:
    """Share of the slot that lies in the job's window."""
    begin = np.maximum(edges_s[slot], demand.submit_s[row])
    end = np.minimum(edges_s[slot + 1], demand.end_s[row])
    return np.asarray(np.maximum(end - begin, 0.0) / (edges_s[slot + 1] - edges_s[slot]))


# Bins of slack and of intensity that jobs are grouped by, at most.
_SLACKS, _BINS = 32, 4


@dataclass(frozen=True)
class _JobGroups:
    """Job groups by field of `Work`: four columns per group, five per step of a group."""

    kind: Ints
    gpu_s: Floats
    intensity: Floats
    code: Ints
    group: Ints
    slot: Ints
    low_gpu_s: Floats
    high_gpu_s: Floats
    gpus: Floats


def _job_groups(demand: Demand, rows: Ints, edges_s: Floats) -> _JobGroups:
    """Small jobs of one class, of like slack and like intensity, as cumulative work.

    By the end of a slot a job has done no more than its largest size can since its submission, and no
    less than leaves it a chance to meet the end of its window.
    """
    slack_h = (demand.end_s - demand.submit_s - demand.gpu_s / demand.gpus)[rows] / HOUR_S
    # Slacks alike within a factor of two; above some five days they are all alike.
    length = np.floor(np.log2(np.clip(slack_h, 0.25, 128.0)) + 0.5).astype(np.int64)
    bins = _intensity_bins(demand.intensity[rows])
    keys = np.stack((demand.kind[rows], length, bins), axis=1)
    kinds, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.ravel()
    parts = [_job_group(demand, rows[which == group], edges_s, group) for group in range(len(kinds))]
    least, total = np.full(len(kinds), np.inf), np.zeros(len(kinds))
    np.minimum.at(least, which, demand.intensity[rows])
    np.add.at(total, which, demand.gpu_s[rows])
    none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
    group, slot, low, high, gpus = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    code = (kinds[:, 0] * _SLACKS + kinds[:, 1] + _SLACKS // 2) * _BINS + kinds[:, 2]
    return _JobGroups(kinds[:, 0].astype(np.int64), total, least, code, group, slot, low, high, gpus)


def _intensity_bins(intensity: Floats, most: int = _BINS) -> Ints:
    """A bin per distinct value, or equal-sized bins where there are more than `most`."""
    values = np.unique(intensity)
    if len(values) <= most:
        return np.searchsorted(values, intensity).astype(np.int64)
    limits = np.quantile(intensity, np.linspace(0, 1, most + 1)[1:-1])
    return np.searchsorted(limits, intensity, side="right").astype(np.int64)


def _job_group(demand: Demand, rows: Ints, edges_s: Floats, group: int) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """One group: its slots, the work due and possible by the end of each, and the most GPUs in each."""
    submit, end = demand.submit_s[rows], demand.end_s[rows]
    gpu_s, gpus = demand.gpu_s[rows], demand.gpus[rows]
    # Each job's limits are ramps in time; a sum of ramps is two cumulative sums over their knees.
    high = _ramps(edges_s, submit, submit + gpu_s / gpus, gpus)
    low = _ramps(edges_s, end - gpu_s / gpus, end, gpus)
    rate = np.diff(_ramps(edges_s, submit, end, gpus)) / np.diff(edges_s)
    low, high = np.minimum(low, high)[1:], high[1:]
    slots = np.flatnonzero(rate > 0)
    slots = np.arange(slots[0], slots[-1] + 1)
    total = float(gpu_s.sum())
    slack = WORK_ROUNDING * total
    low, high = np.maximum(low[slots] - slack, 0.0), np.minimum(high[slots], total) + slack
    return np.full(len(slots), group), slots, low, high, rate[slots] + slack / np.diff(edges_s)[slots]


def _ramps(times_s: Floats, start_s: Floats, stop_s: Floats, slope: Floats) -> Floats:
    """Sum of ramps that rise by `slope` from `start_s` to `stop_s` and stay, at `times_s`."""
    knees = np.concatenate((start_s, stop_s))
    change = np.concatenate((slope, -slope))
    order = np.argsort(knees, kind="stable")
    knees, change = knees[order], change[order]
    slope_after = np.concatenate(([0.0], np.cumsum(change)))
    moment = np.concatenate(([0.0], np.cumsum(change * knees)))
    passed = np.searchsorted(knees, times_s, side="right")
    return np.asarray(np.maximum(times_s * slope_after[passed] - moment[passed], 0.0))
