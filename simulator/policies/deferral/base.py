"""Deferral: what a part is that decides when, what it has promised, and how late a job may start where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.lookahead.hour_table import GPU_ROUNDING, HourTable, Promise, Span, added_w, plannable
from tafukt.simulator.policies.lookahead.offered_power import OfferedPower
from tafukt.simulator.policies.runtime_prediction import Duration
from tafukt.simulator.units import HOUR_S, TICK_S, Floats

# A time that was rounded up to the grid of events may lie this much after the one that was meant [s].
ROUNDED_UP_S = 2.0 * TICK_S
# The share of a site's GPUs that jobs with a choice of sites do not plan to take (a choice: two of eighty).
SPARE_SHARE = 0.025
# The share of its slack that a job keeps for requests of the grid, where there have been any: a choice.
KEPT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Delay:
    """A plan for one job: start at `until_s` [s] on `site`; the reason and the numbers it rests on.

    `again_s` is when the job is to be looked at again, where that is before its start [s].
    """

    job: JobState
    until_s: float
    site: int
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)
    again_s: float = inf


class When(Protocol):
    """A part that decides when a job starts; told of every start and end, so that it can keep its promises."""

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The plan for a job whose latest start lies ahead; `None` to let it start as soon as it fits."""

    def keeps(self, job: JobState, sites: Sequence[int], view: View) -> Sequence[int]:
        """Those of some sites where a run that begins now breaks no promise to another job."""

    def started(self, job: JobState, site: int, view: View) -> None:
        """A job has started."""

    def ended(self, job: JobState) -> None:
        """A job has left its site."""


@runtime_checkable
class SizingWhen(When, Protocol):
    """A size part that also decides when; those whom it leaves are decided by the other part.

    Attributes
    ----------
    otherwise : When, optional
        The policy's `when` part, put in by the scheduler.
    """

    otherwise: When | None


class Promising:
    """The memory that all parts that decide when have in common: what they promised, and how long jobs will run.

    Parameters
    ----------
    duration : Duration
        How long jobs are expected to run.
    """

    def __init__(self, duration: Duration) -> None:
        self.duration = duration
        self._table: HourTable | None = None
        self.offered = OfferedPower()

    def promises(self, view: View) -> HourTable:
        """The table of this run's promises, in the slots in which its policies plan."""
        if self._table is None:
            self._table = HourTable([site.spec for site in view.sites], view.slots.hours, view.slots.slot_s)
            self.duration.know(dict(view.forecast.settings.class_mean_s))
        return self._table

    def promise(
        self, job: JobState, site: int, spans: Sequence[Span], view: View, gpus: int = 0, left_s: float | None = None
    ) -> None:
        """Promise a job these spans [slots] on a site, in place of what it was promised before.

        `left_s` is how long it is expected to run, where the caller has asked already [s].
        """
        gpus, node = gpus or job.ask.gpus, view.sites[site].spec.node
        unused_s = job.left_s(view.now_s) - (self.duration.left_s(job, view.now_s) if left_s is None else left_s)
        begin, end = spans[-1]
        held = (*spans[:-1], (begin, end + max(unused_s, 0.0) / node.speed / view.slots.slot_s))
        watts = added_w(node, gpus, job.ask.intensity)
        self.promises(view).book(job.index, Promise(site, spans, held, watts, gpus))

    def promise_rest(self, job: JobState, site: int, view: View) -> None:
        """Promise a running job what it is expected to hold until it ends."""
        slot_s = view.slots.slot_s
        begin = view.now_s / slot_s
        left_s = self.duration.left_s(job, view.now_s) / view.sites[site].spec.node.speed
        self.promise(job, site, ((begin, begin + left_s / slot_s),), view, job.gpus)

    def keeps(self, job: JobState, sites: Sequence[int], view: View) -> Sequence[int]:
        """Those of some sites where a run that begins now breaks no promise to another job."""
        table, gpus, slot_s = self.promises(view), job.ask.gpus, view.slots.slot_s
        first = int(view.now_s / slot_s)
        spare = SPARE_SHARE if len(job.sites) > 1 else 0.0
        sizes = np.array([float(site.gpus) for site in view.sites])
        room = (plannable(sizes, gpus, spare) - gpus + GPU_ROUNDING).tolist()
        most: dict[float, list[float]] = {}  # by speed, what is promised away at most at each site while it would run
        kept = []
        for site in sites:
            speed = view.sites[site].spec.node.speed
            if speed not in most:
                last = int((view.now_s + job.left_s(view.now_s, speed)) / slot_s)
                most[speed] = table.gpus[first : last + 1].max(axis=0, initial=0.0).tolist()
            if most[speed][site] <= room[site]:
                kept.append(site)
        return kept

    def withdraw(self, index: int) -> None:
        """Nothing more is promised to a job."""
        if self._table is not None:
            self._table.withdraw(index)


def latest_starts_s(job: JobState, sites: Sequence[int], view: View) -> tuple[float, Floats | None]:
    """The latest start at any of some sites, as far as forecasts go, and at each of them where they differ [s]."""
    now = view.now_s
    horizon_s = now + view.forecast.settings.horizon_h * HOUR_S
    late = [min(latest_start_s(job, lead, now), horizon_s) for lead in leads_s(job, sites, view)]
    latest = max(late)
    return latest, np.array(late) if min(late) < latest else None


def lead_s(job: JobState, site: int, view: View) -> float:
    """Time for which a job holds its GPUs at a site beside its work, by its own numbers [s].

    Waking a node that can sleep, fetching what it lacks there, restarting, its periodic checkpoints, and what it keeps
    for requests of the grid.
    """
    own_s = view.duration_s(job, site) - job.left_s(view.now_s, view.sites[site].spec.node.speed)
    return own_s + kept_for_requests_s(job, view)


def kept_for_requests_s(job: JobState, view: View) -> float:
    """Slack that a job does not plan with where the grid asks for less: a part of it, no more than a request lasts [s].

    Jobs that a request displaces hold GPUs that others were to have, at other sites and after it is over. Whoever then
    finds no room at its latest start is late. How long requests are is learned from those announced so far.
    """
    longest_s = view.longest_request_s
    return min(longest_s, KEPT_SHARE * job.ask.slack_s) if longest_s > 0.0 else 0.0


def latest_start_s(job: JobState, lead_s: float, now_s: float) -> float:
    """The latest time at which a waiting job can start or go on and meet its deadline [s].

    Its slack is used whole: the deadline less what is left by its user's estimate, and less what it needs at the site
    beside its work.
    """
    return job.ask.deadline_s - job.left_s(now_s) - lead_s


def leads_s(job: JobState, sites: Sequence[int], view: View) -> list[float]:
    """`lead_s` of a job at each of some sites [s]; without links sites with the same nodes are alike."""
    if view.scenario.links:
        return [lead_s(job, site, view) for site in sites]
    if view.one_kind:
        return [lead_s(job, site, view) for site in sites[:1]] * len(sites)
    known: dict[int, float] = {}
    found, kinds = [], view.node_kinds
    for site in sites:
        kind = kinds[site]
        if kind not in known:
            known[kind] = lead_s(job, site, view)
        found.append(known[kind])
    return found
