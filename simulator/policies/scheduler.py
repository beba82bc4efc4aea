"""The list scheduler: combines who next, where, when and how large with one backfilling rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from math import isfinite
from typing import Literal

from simulator.actions import Action, Hold, Start, Wake
from simulator.life import Life
from simulator.policies.order import Order, arrival
from simulator.policies.place import Place, home
from simulator.policies.queue import Group, Key, ReadyQueue
from simulator.policies.reserve import Reservations
from simulator.policies.when import Delay, When
from simulator.view import View

Backfill = Literal["none", "first-fit", "easy"]


@dataclass(frozen=True)
class Parts:
    """What a list scheduler is made of; see the modules of the same names.

    `when` makes a fresh object for each run, because what has been promised to others is part of it.
    """

    order: Order = arrival
    place: Place = home
    when: Callable[[], When] | None = None
    backfill: Backfill = "first-fit"


class ListScheduler:
    """A policy that starts waiting jobs in an order, where they fit, when they should.

    A held job sleeps until its time: it is neither scanned nor in anyone's way. One that was let in but
    found no room goes to the front of the queue at its latest start.
    """

    def __init__(self, name: str, parts: Parts) -> None:
        self.name = name
        self.parts = parts
        self._dynamic: bool = getattr(parts.order, "dynamic", False)

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        self._ready = ReadyQueue()
        self._new: list[Life] = []
        self._held: list[tuple[float, int, Life]] = []
        self._latest: list[tuple[float, int, Life]] = []
        self._plans: dict[int, Delay] = {}
        self._when = self.parts.when() if self.parts.when else None
        self._reservations = Reservations()
        # Groups that are known not to fit until something is given back.
        self._blocked: set[Group] = set()

    def waiting(self, job: Life) -> None:
        """A job has arrived or is back among the waiting."""
        self._new.append(job)

    def freed(self, job: Life | None, site: int) -> None:
        """GPUs have become free at a site, by the end of a job or by its coming online."""
        self._blocked.clear()
        self._reservations.forget(site)
        if self._when is not None and job is not None:
            self._when.ended(job)

    def round(self, view: View) -> Iterator[Action]:
        """One scheduling round."""
        now = view.now_s
        if self._when is None:
            for job in self._new:
                self._let_in(job, view)
        else:
            yield from self._let_in_or_hold(self._when, now, view)
        self._new.clear()
        if self._dynamic:
            self._sort_again(view)
        yield from self._start_what_fits(now, view)
        if self._when is not None:
            yield from self._remember_latest_starts(now)

    # --- when ------------------------------------------------------------------------------------

    def _let_in_or_hold(self, when: When, now: float, view: View) -> Iterator[Action]:
        while self._latest and self._latest[0][0] <= now:
            job = heappop(self._latest)[2]
            if job.index in self._ready:
                self._ready.remove(job.index)
                self._let_in(job, view, urgent=True)
        due = []
        while self._held and self._held[0][0] <= now:
            due.append(heappop(self._held)[2])
        for job in (*due, *self._new):
            latest = job.ask.latest_start_s
            plan = when.decide(job, view.sites_for(job), view) if latest > now else None
            if plan is None:
                self._plans.pop(job.index, None)
                self._let_in(job, view, urgent=latest <= now < latest + job.ask.slack_s)
            elif plan.until_s <= now:
                self._plans[job.index] = plan
                self._let_in(job, view)
            else:
                until = min(plan.until_s, latest)
                heappush(self._held, (until, job.index, job))
                yield Hold(job, until, plan.site, plan.reason, plan.detail)

    def _remember_latest_starts(self, now: float) -> Iterator[Action]:
        """Whoever was let in and found no room is woken at its latest start, to go to the front."""
        for index, plan in list(self._plans.items()):
            job = plan.job
            if index in self._ready and now < job.ask.latest_start_s < float("inf"):
                heappush(self._latest, (job.ask.latest_start_s, index, job))
                yield Wake(job.ask.latest_start_s)
            del self._plans[index]

    def _let_in(self, job: Life, view: View, urgent: bool = False) -> None:
        if urgent:
            key: Key = (0, job.ask.latest_start_s, job.index)
        else:
            key = (1, *self.parts.order(job, view), job.index)
        group = (job.ask.gpus_min or job.ask.gpus, view.sites_for(job))
        self._ready.add(key, job, group)
        if self.parts.backfill == "easy":
            self._blocked.discard(group)  # it may be short enough to go ahead

    def _sort_again(self, view: View) -> None:
        for key, job in self._ready.in_order():
            if key[0]:
                self._ready.remove(job.index)
                self._let_in(job, view)

    # --- who fits --------------------------------------------------------------------------------

    def _start_what_fits(self, now: float, view: View) -> Iterator[Action]:
        backfill, ready, blocked = self.parts.backfill, self._ready, self._blocked
        groups = ready.groups
        if backfill == "none":
            heads = [(jobs.head(), group) for group, jobs in groups.items()]
        else:
            heads = [(jobs.head(), group) for group, jobs in groups.items() if group not in blocked]
        queue = [(key, group, job) for (key, job), group in heads]
        heapify(queue)
        self._reservations.renew(now)
        while queue:
            key, group, job = queue[0]
            start = None if group in blocked else self._try(job, group, now, view)
            if start is not None:
                yield start
                ready.remove(job.index)
                if self._when is not None:
                    self._when.started(job, start.site, view)
                following = groups[group].head() if group in groups else None
            elif group in blocked or not self._declined:
                if backfill == "none":
                    blocked.add(group)
                    return
                if backfill == "easy":
                    following = self._first_to_backfill(job, key, group, now, view)
                    if following is None:
                        blocked.add(group)
                else:
                    blocked.add(group)
                    following = None
            else:
                following = groups[group].first_within(float("inf"), after=key)
            if following is None:
                heappop(queue)
            else:
                heapreplace(queue, (following[0], group, following[1]))

    def _try(self, job: Life, group: Group, now: float, view: View) -> Start | None:
        """Where the job could start now; sets whether it would fit but its policy declines."""
        least, sites = group
        self._declined = False
        reserved = self._reservations.current
        fitting = view.fitting(job, sites, least)
        avoid = 0
        if reserved is not None and reserved.job is not job and reserved.site in fitting:
            avoid = self._reservations.avoid(job, least, now, view)
            if avoid < 0:
                fitting.remove(reserved.site)
        if not fitting:
            return None
        plan = self._plans.get(job.index)
        chosen = [plan.site] if plan is not None and plan.site in fitting else self.parts.place(job, fitting, view)
        if not chosen:
            self._declined = True
            return None
        site = chosen[0]
        reason, detail = (plan.reason, plan.detail) if plan is not None else (self.parts.place.__name__, {})
        return Start(job, site, avoid=avoid if reserved and site == reserved.site else 0, reason=reason, detail=detail)

    def _first_to_backfill(self, job: Life, key: Key, group: Group, now: float, view: View) -> tuple[Key, Life] | None:
        """Reserve for the head of the queue; of anyone else's group, the next that is short enough."""
        reservations = self._reservations
        if reservations.current is None:
            reservations.make(job, group, now, view)
        reserved = reservations.current
        if reserved is None or reserved.site not in group[1] or not view.sites[reserved.site].fits(group[0]):
            return None
        if isfinite(reserved.time_s):
            longest = reservations.longest_estimate_s(reserved.site, now, view)
            return self._ready.groups[group].first_within(longest, after=key)
        return None
