"""The planner with a budget: each hour a linear programme gives every site power to spend on every job, hour by hour.

Jobs are then fitted in one after another, the largest first: each gives back its own share and takes the
hours and the site that are cheapest beside the shares of those who are still to be fitted and the plans of
those who have been. So stopping and moving still have to pay for themselves, and what a job has done or been
denied is in what it still needs when the next hour's programme is made. A job that is to start
later than in the next hour keeps its plan until its turn comes, every third hour, as without a budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tafukt.simulator.bound.jobs import Demand, work_of
from tafukt.simulator.bound.lower_bound import relaxed_plan
from tafukt.simulator.bound.program import SlotSupply, build
from tafukt.simulator.bound.solve import attempt
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.lookahead.hour_table import added_w
from tafukt.simulator.policies.planner.learning import Arrivals
from tafukt.simulator.policies.planner.plan_table import PlanTable
from tafukt.simulator.policies.planner.planner import BUDGET_SETTINGS, STAYS, Need, Planner, PlannerSettings
from tafukt.simulator.units import HOUR_S, Floats, Ints

# How many jobs, the largest first, the programme shares the hours out to (a choice).
JOBS_MOST = 150

# Expected work is entered in lots of so many hours (a choice).
LOT_H = 3


class BudgetPlanner(Planner):
    """A rolling linear programme over known jobs and expected arrivals; the planner's own search fills it."""

    def __init__(self, name: str = "budget-planner", settings: PlannerSettings = BUDGET_SETTINGS) -> None:
        super().__init__(name, settings)

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        super().begin(view)
        self._arrivals = Arrivals()
        self._known = 0
        self._places: set[int] = set()
        self._others: list[tuple[int, PowerBudget]] = []

    def waiting(self, job: JobState) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""
        super().waiting(job)
        if job.index >= self._known:
            self._known = job.index + 1
            run_h = _slots_left(self._need(job, 1.0)) * (self._slot_s / HOUR_S)
            self._places.update(job.sites)
            # Who may wait forever says nothing of when others will have to be done.
            slack_h = min(job.ask.slack_s / HOUR_S, self.settings.horizon_h / 2)
            self._arrivals.came(run_h * job.ask.gpus, run_h, slack_h, job.ask.intensity)

    def _plan_all(self, view: View) -> None:
        """Share the hours out, then fit everybody in."""
        book = self._book
        book.begin_hour()
        for first, share in self._others:
            book.earmark(share.sites, share.watts, -1.0, first)
        self._others.clear()
        self._arrivals.hour_over()
        jobs = self._by_size(view)
        free = [job for job in jobs if self._is_free(job) and self._is_due(job)][:JOBS_MOST]
        chosen = {job.index for job in free}
        for job in free:
            book.withdraw(job.index)
        wishes = [*map(self._wish, free), *self._expected()]
        given = shares(view, book, wishes) if wishes else []
        for share in given:
            book.earmark(share.sites, share.watts, 1.0)
        self._others = [(book.first, share) for share in given[len(free) :]]
        for job in jobs:
            if job.index not in chosen and self._is_due(job):
                self._plan(job)
        for job, share in zip(free, given, strict=False):
            book.earmark(share.sites, share.watts, -1.0)
            book.reprice()
            self._plan(job)

    def _is_free(self, job: JobState) -> bool:
        """True for a job about which there is anything to decide that is worth it."""
        may_stop = job.phase == "running" and job.ask.interruptible and self.settings.moves
        return (job.phase == "queued" or may_stop) and not self._is_small(job) and self._gpus(job) > 0

    def _wish(self, job: JobState) -> LoadRequest:
        """A job's needs by expectation, within the time in which its estimate must fit; it stays where it runs."""
        stays = job.phase in STAYS
        sites = (job.site,) if stays else tuple(self._view.sites_for(job))
        gpus = job.gpus if stays else self._gpus(job)
        need = self._need(job, 1.0)
        end_s = max(self._span(job, need.hours), need.n) * self._slot_s
        work = min(_slots_left(need), 0.999 * end_s / self._slot_s) * self._slot_s * gpus
        return LoadRequest(sites, 0.0, end_s, work, gpus, job.ask.intensity)

    def _expected(self) -> list[LoadRequest]:
        """The work that is to be expected as far ahead as the book goes, wherever any has come for so far."""
        mean = self._arrivals.mean()
        if mean is None:
            return []
        places, lots = tuple(sorted(self._places)), []
        window_h = mean.run_h + mean.slack_h
        for hour in range(0, int(self._book.span * self._slot_s / HOUR_S - window_h - LOT_H), LOT_H):
            release_s = (hour + LOT_H / 2) * HOUR_S
            gpu_s = mean.gpus * LOT_H * HOUR_S
            gpus = gpu_s / (mean.run_h * HOUR_S)
            lots.append(LoadRequest(places, release_s, release_s + window_h * HOUR_S, gpu_s, gpus, mean.intensity))
        return lots


def _slots_left(need: Need) -> float:
    """For how long a job can be expected to run yet [slots]."""
    return float(need.share @ need.chance)


# --- What a rolling planner shares the hours out by: the bound's linear programme, on forecasts in place of the truth
# Jobs that could run at several times or sites, and the work that is expected yet to come, are spread over
# sites and slots such that least is drawn from the grid. Parts of jobs may run anywhere in it, so its plan is
# no schedule; it says how much power each site should spend on whom in which hour.


# Slots of the programme: until so many hours from now each is so many hours long, and the last ones to the end
# (choices). What is far ahead is planned again before it comes.
SLOTS_H = ((6, 1), (18, 2), (36, 3), (math.inf, 6))

# Weight of load that goes unserved against that of import (a choice).
UNSERVED = 10.0

# A plan that is made anew in an hour need not be exact.
ITERATIONS, OPTIMALITY_GAP = 60, 1e-3


@dataclass(frozen=True)
class LoadRequest:
    """Work that may be done at any of some sites, at any time within a window counted from now.

    Attributes
    ----------
    sites : tuple of int
    release_s, end_s : float
        The window [s from now].
    gpu_s, gpus : float
        Work, and the most GPUs that it keeps busy, of the reference type.
    intensity : float
    """

    sites: tuple[int, ...]
    release_s: float
    end_s: float
    gpu_s: float
    gpus: float
    intensity: float


@dataclass(frozen=True)
class PowerBudget:
    """The power that a wish is to have: IT power [W], shape (sites, hours of the book's span)."""

    sites: Ints
    watts: Floats


def shares(view: View, book: PlanTable, wishes: Sequence[LoadRequest]) -> list[PowerBudget]:
    """The share of each wish in the power of sites and hours that the plans in the book leave."""
    slot_s = view.slots.slot_s
    edges = _edges(book.span, round(HOUR_S / slot_s))
    supply = _supply(view, book, edges)
    demand = _demand(wishes, supply.speed)
    edges_s: Floats = edges.astype(np.float64) * slot_s
    work, own = work_of(demand, edges_s, len(wishes) * len(edges))
    programme = build(supply, work)
    found = attempt(programme, ITERATIONS, OPTIMALITY_GAP, presolve=True)
    plan = relaxed_plan(programme, supply, work, found.x, edges_s, own)
    busy = np.zeros((len(wishes), len(edges) - 1))
    np.add.at(busy, (plan.job, plan.job_slot), np.maximum(plan.job_gpus, 0.0))
    at = np.maximum(plan.gpus, 0.0) * supply.speed[None, :, None]
    split = at / np.maximum(at.sum(axis=1, keepdims=True), 1e-9) / supply.speed[None, :, None]
    made = []
    for row, wish in enumerate(wishes):
        sites = np.array(wish.sites, dtype=np.int64)
        per_gpu = np.array([added_w(view.sites[site].spec.node, 1, wish.intensity) for site in wish.sites])
        watts = split[demand.kind[row]][sites] * busy[row] * per_gpu[:, None]
        made.append(PowerBudget(sites, np.repeat(watts, np.diff(edges), axis=1)))
    return made


def _edges(span: int, of_hour: int) -> Ints:
    """Edges of the programme's slots, in the book's, of which an hour has so many."""
    edges, begin = [], 0
    for until_h, length_h in SLOTS_H:
        until = int(min(until_h * of_hour, span))
        edges.append(np.arange(begin, until, length_h * of_hour))
        begin = until
    return np.concatenate((*edges, [span])).astype(np.int64)


def _demand(wishes: Sequence[LoadRequest], speed: Floats) -> Demand:
    """The wishes as the bound's programme takes them.

    All that may run at the same sites has one intensity, their mean: to tell them apart in every site and slot would
    take half as many columns again, and two thirds as long.
    """
    kinds: dict[tuple[int, ...], int] = {}
    kind = np.array([kinds.setdefault(wish.sites, len(kinds)) for wish in wishes], dtype=np.int64)
    allowed = np.zeros((len(kinds), len(speed)), dtype=bool)
    for sites, row in kinds.items():
        allowed[row, list(sites)] = True
    columns = [(wish.release_s, wish.end_s, wish.gpu_s, wish.gpus, wish.intensity) for wish in wishes]
    release, end, gpu_s, gpus, intensity = np.array(columns, dtype=np.float64).T
    mean = np.bincount(kind, gpu_s * intensity) / np.bincount(kind, gpu_s)
    return Demand(np.arange(len(wishes)), kind, release, end, gpu_s, gpus, mean[kind], allowed, gpus)


def _supply(view: View, book: PlanTable, edges: Ints) -> SlotSupply:
    """Sun, GPUs and battery that are left at every site, slot by slot."""
    slots = np.diff(edges).astype(np.float64)

    def mean(hourly: Floats) -> Floats:
        return np.asarray(np.add.reduceat(hourly, edges[:-1], axis=1) / slots)

    free_w, gpus, stored_j = book.left()
    none = np.zeros((len(free_w), len(slots)))
    import_w = np.full_like(free_w, np.inf) if book.limits_w is None else book.limits_w
    nodes = [site.spec.node for site in view.sites]
    batteries = [site.spec.battery for site in view.sites]

    def of(name: str, without: float) -> Floats:
        return np.array([float(getattr(battery, name)) if battery else without for battery in batteries])

    high_j = of("usable_j", 0.0)
    return SlotSupply(
        duration_s=slots * view.slots.slot_s,
        free_w=mean(free_w),
        import_w=mean(import_w),
        most_load_w=none,
        # What a limit leaves open of the loads that no plan can change goes unserved, at more than any import costs.
        shed_w=np.where(np.isfinite(mean(import_w)), np.maximum(-mean(free_w), 0.0), 0.0),
        export_w=none,
        import_weight=none + 1.0,
        unserved_weight=none + UNSERVED,
        export_weight=none,
        per_it=mean(book.per_it),
        gpus=np.maximum(mean(gpus), 0.0),
        off_nodes=none,
        off_w=none,
        node_gpus=np.array([float(node.gpus) for node in nodes]),
        gpu_w=np.array([added_w(node, 1, 0.0) for node in nodes]),
        dynamic_w=np.array([node.dynamic_w for node in nodes]),
        speed=np.array([node.speed for node in nodes]),
        high_j=high_j,
        start_j=np.minimum(stored_j, high_j),
        charge_w=of("charge_w", 0.0),
        discharge_w=of("discharge_w", 0.0),
        eta_charge=of("eta_charge", 1.0),
        eta_discharge=of("eta_discharge", 1.0),
        leak_per_s=of("self_discharge_per_s", 0.0),
        missing_weight=0.0,
    )
