"""The list scheduler: combines who next, where, when and how large with one backfilling rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any

from simulator.actions import Action, Hold, Wake
from simulator.life import Life
from simulator.policies.backfill import Backfilling
from simulator.policies.backfill import Parts as Parts
from simulator.policies.conservative import Conservative
from simulator.policies.queue import Group, Key
from simulator.policies.review import Review
from simulator.policies.size import least_gpus
from simulator.policies.when import When, latest_start_s
from simulator.view import View


class ListScheduler(Backfilling):
    """A policy that starts waiting jobs in an order, where they fit, when they should.

    A held job sleeps until its time: it is neither scanned nor in anyone's way. One that was let in but
    found no room goes to the front of the queue at its latest start.
    """

    def __init__(self, name: str, parts: Parts) -> None:
        super().__init__(parts)
        self.name = name

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        super().begin(view)
        parts = self.parts
        self._view = view
        self._new: list[Life] = []
        self._held: list[tuple[float, int, Life]] = []
        self._latest: list[tuple[float, int, Life]] = []
        reviews: list[Any] = [parts.review() if parts.review else None, self._when]
        self._reviews: list[Review] = [part for part in reviews if hasattr(part, "review")]
        self._dynamic: bool = getattr(self._order, "dynamic", False)
        self._conservative = Conservative(parts.place) if parts.backfill == "conservative" else None
        # Whether a round is no more than letting newcomers in and starting whoever may.
        self._plain = not (self._when or self._reviews or self._conservative or self._dynamic)
        # Whether only newcomers need a look where nobody who waited already could start.
        self._quick = parts.backfill == "first-fit" and not self._dynamic
        self._urgent: set[int] = set()  # newcomers past their latest start
        self._quotas = bool(view.scenario.quotas)

    def waiting(self, job: Life) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""
        self._new.append(job)
        if job.index in self._ready:
            self._forget(job)
        elif self._conservative is not None:
            self._conservative.forget(job.index)

    def freed(self, job: Life | None, site: int) -> None:
        """GPUs have become free at a site, by the end of a job or by its coming online."""
        self._blocked.clear()
        self._reservations.forget(site)
        if self._conservative is not None:
            self._conservative.freed()
        if job is not None:
            if self._when is not None:
                self._when.ended(job)
            if self._counts is not None:
                self._counts.ended(job, self._view)

    def round(self, view: View) -> Iterable[Action]:
        """One scheduling round."""
        if not self._plain:
            return () if self._is_idle(view.now_s) else self._whole_round(view)
        if len(self._blocked) >= len(self._ready.groups):
            if not self._new:
                return ()
            if self._quick:
                return self._newcomers(view.now_s, view)
        self._let_in(view)
        return self._start_those_who_may(view.now_s, view)

    def _is_idle(self, now: float) -> bool:
        """Whether nobody is new, nobody is due, and nobody who is ready could start."""
        held, latest = self._held, self._latest
        return not (
            self._new
            or len(self._blocked) < len(self._ready.groups)
            or (held and held[0][0] <= now)
            or (latest and latest[0][0] <= now)
            or self._reviews
            or self._conservative is not None
        )

    def _whole_round(self, view: View) -> Iterator[Action]:
        now = view.now_s
        if self._when is not None:
            yield from self._held_back(self._when, now, view)
        if self._conservative is not None:
            self._let_in(view)
            yield from self._keep_promises(self._conservative, view)
        elif self._quick and len(self._blocked) >= len(self._ready.groups):
            if self._new:
                yield from self._newcomers(now, view)
        else:
            self._let_in(view)
            if len(self._blocked) < len(self._ready.groups):
                if self._dynamic:
                    self._sort_again(view)
                yield from self._start_those_who_may(now, view)
        if self._plans:
            yield from self._remember_latest_starts(now)
        for part in self._reviews:  # last, so that they see who has just started
            yield from part.review(view)

    def _newcomers(self, now: float, view: View) -> Iterator[Action]:
        """First fit where nobody who waited already could start: only the newcomers need a look."""
        new = self._new
        if len(new) > 1:
            new.sort(key=lambda job: self._key(job, view))
        for job in new:
            group = self._group(job, view)
            start = None if group in self._blocked else self._try(job, group, now, view)
            if start is not None:
                yield start
                self._tell_started(job, start.site, view)
            else:
                self._ready.add(self._key(job, view), job, group)
                if not self._declined:
                    self._blocked.add(group)
        new.clear()
        self._urgent.clear()

    # --- when ------------------------------------------------------------------------------------

    def _held_back(self, when: When, now: float, view: View) -> list[Hold]:
        """Holds for those whose time has not come; leaves among the newcomers whoever may start now."""
        urgent, come, holds = self._urgent, list[Life](), list[Hold]()
        while self._latest and self._latest[0][0] <= now:
            job = heappop(self._latest)[2]
            if job.index in self._ready:
                self._forget(job)
                urgent.add(job.index)
                come.append(job)
        due = []
        while self._held and self._held[0][0] <= now:
            due.append(heappop(self._held)[2])
        for job in (*due, *self._new):
            latest = latest_start_s(job, now)
            plan = when.decide(job, view.sites_for(job), view) if latest > now else None
            if plan is None:
                self._plans.pop(job.index, None)
                if latest <= now < latest + job.ask.slack_s:
                    urgent.add(job.index)
                come.append(job)
            elif plan.until_s <= now:
                self._plans[job.index] = plan
                come.append(job)
            else:
                until = min(plan.until_s, latest)
                heappush(self._held, (until, job.index, job))
                holds.append(Hold(job, until, plan.site, plan.reason, plan.detail))
        self._new = come
        return holds

    def _remember_latest_starts(self, now: float) -> Iterator[Action]:
        """Whoever was let in and found no room is woken at its latest start, to go to the front."""
        for index, plan in self._plans.items():
            if index in self._ready:
                latest = latest_start_s(plan.job, now)
                if now < latest < inf:
                    heappush(self._latest, (latest, index, plan.job))
                    yield Wake(latest)
        self._plans.clear()

    # --- the queue -------------------------------------------------------------------------------

    def _let_in(self, view: View) -> None:
        """Put the newcomers among those who may start."""
        for job in self._new:
            key, group = self._key(job, view), self._group(job, view)
            self._ready.add(key, job, group)
            if self._first is not None and key < self._first[0]:
                self._first = (key, job, group)
            if self.parts.ahead is not None:
                self._ahead.add((*self.parts.ahead(job, view), job.index), job, group)
            if self.parts.backfill != "first-fit":
                self._blocked.discard(group)  # it may be short enough to go ahead, or the new head
        self._new.clear()
        self._urgent.clear()

    def _key(self, job: Life, view: View) -> Key:
        """The place of a newcomer in the queue."""
        if job.index in self._urgent:
            return 0, latest_start_s(job, view.now_s), job.index
        return 1, *self._order(job, view), job.index

    def _group(self, job: Life, view: View) -> Group:
        sites, ask = view.sites_for(job), job.ask
        gpus = least_gpus(self._size, job, sites, view) if ask.gpus_min else ask.gpus
        return gpus, sites, view.quota_of(ask) if self._quotas else ""

    def _sort_again(self, view: View) -> None:
        self._first, order = None, self._order
        self._ready.sort_again(lambda key, job: (1, *order(job, view), job.index) if key[0] else key)

    def _keep_promises(self, conservative: Conservative, view: View) -> Iterator[Action]:
        new = self._ready.in_order()
        for _, job in new:
            self._forget(job)
        for start in conservative.round(new, view):
            yield start
            self._tell_started(start.job, start.site, view)
