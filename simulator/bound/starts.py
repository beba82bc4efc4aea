"""Start times of few large rigid jobs: where each may begin, and what it draws at least by itself from there.

A job that may neither pause nor shrink runs through at full power once it has begun. In each slot its mean power is
a piecewise linear function of its start, with kinks where its start or its end crosses the limit of a slot; so the
convex combinations of its runs from these *vertices* hold every run that is possible.

What such a mixture draws would still be too little, since half a job on each of two days may live on sun that a whole
one on either day exceeds. Therefore each site draws at least

    alone + sum over jobs and vertices of share x extra,

where `alone` is what its base load draws and `extra` what that job draws more there from that vertex if nobody else
comes. This is valid because the draw of a site with a battery is the value of a flow through time: in the dual, loads
and prices complement each other, so that the extra draw of a load never falls as others are added (Topkis 1998,
Supermodularity and Complementarity, 2.7). `extra` is the least over all starts between the neighbouring vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

import numpy as np

from tafukt.simulator.bound.jobs import WORK_ROUNDING, Demand
from tafukt.simulator.bound.program import SlotSupply, Starts
from tafukt.simulator.bound.supply import supply_of
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import DAY_S, Floats, Ints
from tafukt.workloads.job import Ask, Job

# A start is known to so much of a job's length: the draw of what surely runs is counted (a choice: the bound of a
# lone job lies so far below its optimum).
PER_JOB = 256

# At most so many bins in which a site's battery is walked for one job, and entries in the programme for all of them;
# where the jobs that fit do less than this share of the work, they are many, and none has start times (choices).
WALKED_CELLS = 6_000_000
ENTRIES = 40_000
LEAST_SHARE = 0.1
MOST_BINS = 4000
SHORTEST_S = 60.0


def starts_of(
    scenario: Scenario, jobs: Sequence[Job], demand: Demand, edges_s: Floats, faults: FaultSettings | None
) -> Starts | None:
    """The start times of the largest rigid jobs; `None` where these are many or may be disturbed.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
        As given; `demand` says which of them count.
    demand : Demand
    edges_s : array, shape (slots + 1,)
    faults : FaultSettings or None
    """
    if not _undisturbed(scenario, faults):
        return None
    rigid = np.array([_rigid(jobs[index].ask) for index in demand.job], dtype=bool)
    fine_s = _fine_edges(scenario)
    chosen = _largest(scenario, demand, np.flatnonzero(rigid), edges_s, float(fine_s[1]))
    if not len(chosen) or demand.gpu_s[chosen].sum() < LEAST_SHARE * demand.gpu_s.sum():
        return None
    sites = _Storage(supply_of(scenario, fine_s, "draw"), fine_s)
    runs = [
        (job, place, *_runs(sites, demand, int(row), place, edges_s))
        for job, row in enumerate(chosen)
        for place in np.flatnonzero(demand.allowed[demand.kind[row]]).tolist()
    ]
    counts = np.array([len(extra_j) for _, _, extra_j, *_ in runs])
    first = np.cumsum(counts) - counts
    return Starts(
        alone_j=_outward(sites.drawn_w.sum(axis=1) * sites.step_s),
        row=chosen,
        gpu_s=demand.gpu_s[chosen],
        intensity=demand.intensity[chosen],
        job=np.repeat([job for job, *_ in runs], counts),
        site=np.repeat([place for _, place, *_ in runs], counts),
        extra_j=np.concatenate([extra_j for _, _, extra_j, *_ in runs]),
        cell_column=np.concatenate([at + run[3] for at, run in zip(first, runs, strict=True)]),
        cell_slot=np.concatenate([run[4] for run in runs]),
        cell_gpus=np.concatenate([run[5] for run in runs]),
    )


def _undisturbed(scenario: Scenario, faults: FaultSettings | None) -> bool:
    """Whether nothing but a policy stops or slows a job, and import is never short."""
    broken = faults is not None and (isfinite(faults.node_mtbf_s) or faults.hazard_per_s > 0)
    return not broken and not any(
        site.grid.is_limited
        or site.grid.has_ramp_limit
        or site.grid.outages
        or site.grid.events
        or site.nodes_online
        or site.node.caps
        for site in scenario.sites
    )


def _rigid(ask: Ask) -> bool:
    """Whether a job runs through at one size once it has begun."""
    sizes = {ask.gpus, ask.gpus_min or ask.gpus, ask.gpus_max or ask.gpus}
    return not ask.interruptible and ask.elasticity == "rigid" and len(sizes) == 1 and not ask.checkpoint.interval_s


def _fine_edges(scenario: Scenario) -> Floats:
    """Equal bins in which batteries are walked: supply steps, or several at once in a long window [s]."""
    steps = max(1, ceil(scenario.end_s / scenario.step_s / MOST_BINS))
    bin_s = steps * scenario.step_s
    return np.asarray(np.arange(int(scenario.end_s / bin_s + 1e-9) + 1) * bin_s, dtype=np.float64)


def _largest(scenario: Scenario, demand: Demand, rows: Ints, edges_s: Floats, bin_s: float) -> Ints:
    """The rows with most work for which what there is to compute stays within its limits, in order."""
    rows = rows[demand.gpu_s[rows] > SHORTEST_S * demand.gpus[rows]]
    lasts_s = demand.gpu_s[rows] / demand.gpus[rows]
    slack_s = np.maximum(demand.end_s[rows] - demand.submit_s[rows] - lasts_s, 0.0)
    places = demand.allowed[demand.kind[rows]].sum(axis=1)
    # A battery is back on its course within a day or so of a job's end.
    cells = places * (1.0 + PER_JOB * slack_s / lasts_s) * (lasts_s + DAY_S) / bin_s
    slot_s = scenario.end_s / (len(edges_s) - 1)
    entries = places * (2.0 + 2.0 * slack_s / slot_s) * (2.0 + lasts_s / slot_s)
    order = np.argsort(-demand.gpu_s[rows], kind="stable")
    fits = (np.cumsum(cells[order]) <= WALKED_CELLS) & (np.cumsum(entries[order]) <= ENTRIES)
    return np.sort(rows[order[fits]])


class _Storage:
    """Sites with their batteries in equal bins: what they draw under their base load alone, and under one job more.

    Sun goes to the load, then to the battery; what is lacking comes from there, then from the grid. Where import has
    no limit, no other course draws less.
    """

    def __init__(self, supply: SlotSupply, edges_s: Floats) -> None:
        self.supply, self.step_s = supply, float(edges_s[1])
        self.keep = np.exp(-supply.leak_per_s * self.step_s)
        everywhere = np.arange(supply.sites)
        self.stored_j = np.zeros((supply.sites, supply.slots + 1))
        self.drawn_w = np.zeros((supply.sites, supply.slots))
        self.stored_j[:, 0] = supply.start_j
        for at in range(supply.slots):
            after = self._step(everywhere, supply.free_w[:, at], self.stored_j[:, at])
            self.stored_j[:, at + 1], self.drawn_w[:, at] = after

    def _step(self, site: Ints, free_w: Floats, stored_j: Floats) -> tuple[Floats, Floats]:
        """Stored energy after a bin, and what is drawn in it [W]; self-discharge spares what comes and goes in it."""
        s, h = self.supply, self.step_s
        taken_w = np.minimum(np.maximum(free_w, 0.0), s.charge_w[site])
        lacking_w = np.maximum(-free_w, 0.0)
        given_w = np.minimum(np.minimum(lacking_w, s.discharge_w[site]), stored_j * s.eta_discharge[site] / h)
        left_j = np.maximum(stored_j - given_w * h / s.eta_discharge[site], 0.0) * self.keep[site]
        return np.minimum(left_j + taken_w * h * s.eta_charge[site], s.high_j[site]), lacking_w - given_w

    def extra_j(self, site: int, power_w: float, begin_s: Floats, end_s: Floats) -> Floats:
        """Draw above the base load of so much IT power from `begin_s` to `end_s`, each load alone [J]."""
        s, h = self.supply, self.step_s
        here = np.full(len(begin_s), site)
        at = np.minimum((begin_s / h).astype(np.int64), s.slots - 1)
        stored = self.stored_j[site, at]
        extra = np.zeros(len(begin_s))
        active = np.flatnonzero(end_s > begin_s)
        while len(active):
            k = at[active]
            share = np.clip(np.minimum(end_s[active], (k + 1) * h) - np.maximum(begin_s[active], k * h), 0.0, None) / h
            free = s.free_w[site, k] - power_w * s.per_it[site, k] * share
            stored[active], drawn = self._step(here[active], free, stored[active])
            extra[active] += (drawn - self.drawn_w[site, k]) * h
            at[active] = k + 1
            going = (k + 1) * h < end_s[active]
            going |= stored[active] < self.stored_j[site, k + 1] - 1e-6
            active = active[going & (k + 1 < s.slots)]
        return extra


def _runs(sites: _Storage, demand: Demand, row: int, site: int, edges_s: Floats) -> tuple[Floats, Ints, Ints, Floats]:
    """Least draw of a job by itself from each vertex on a site [J], and the GPUs that it keeps busy from there.

    The latter by vertex and slot, as a mean over the slot, in three columns.
    """
    supply, gpus = sites.supply, float(demand.asked[row])
    lasts_s = float(demand.gpu_s[row]) / (gpus * float(supply.speed[site]))
    first = float(demand.submit_s[row])
    last = max(float(demand.end_s[row]) - lasts_s, first)
    kinks = np.concatenate((edges_s, edges_s - lasts_s, [first, last]))
    vertices = np.unique(kinks[(kinks >= first) & (kinks <= last)])
    starts = np.linspace(first, last, max(1, ceil((last - first) / lasts_s * PER_JOB)) + 1)
    power_w = gpus * float(supply.gpu_w[site] + demand.intensity[row] * supply.dynamic_w[site])
    # Whenever it starts within a step, it runs from the step's end on until what began with the step ends.
    extra_j = sites.extra_j(site, power_w, starts[1:], starts[:-1] + lasts_s)
    return _least_beside(_outward(extra_j), starts, vertices), *_profile(vertices, lasts_s, edges_s, gpus)


def _outward(energy_j: Floats) -> Floats:
    """A little less energy, by what rounding can have added."""
    return np.maximum(energy_j * (1.0 - WORK_ROUNDING) - 1e-3, 0.0)


def _least_beside(extra_j: Floats, starts: Floats, vertices: Floats) -> Floats:
    """The least over all steps that touch the stretches before and after each vertex."""
    before, after = np.append(vertices[:1], vertices[:-1]), np.append(vertices[1:], vertices[-1:])
    low = np.clip(np.searchsorted(starts, before, side="left") - 1, 0, len(extra_j) - 1)
    high = np.clip(np.searchsorted(starts, after, side="right"), low + 1, len(extra_j))
    return np.array([extra_j[a:b].min() for a, b in zip(low, high, strict=True)])


def _profile(vertices: Floats, lasts_s: float, edges_s: Floats, gpus: float) -> tuple[Ints, Ints, Floats]:
    """Vertex, slot and mean number of busy GPUs, wherever there are any."""
    begin, end = vertices[:, None], vertices[:, None] + lasts_s
    shared = np.clip(np.minimum(edges_s[None, 1:], end) - np.maximum(edges_s[None, :-1], begin), 0.0, None)
    vertex, slot = np.nonzero(shared)
    return vertex, slot, gpus * shared[vertex, slot] / np.diff(edges_s)[slot]
