"""The list scheduler: combines who next, where, when and how large with one backfilling rule."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, Literal

from tafukt.simulator.engine.actions import Action, Hold, Start, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.conservative import Conservative
from tafukt.simulator.policies.deferral.base import (
    ROUNDED_UP_S,
    Delay,
    SizingWhen,
    When,
    latest_start_s,
    lead_s,
    leads_s,
)
from tafukt.simulator.policies.easy import Reservation, Reservations
from tafukt.simulator.policies.order import Changing, Counts, Order, arrival
from tafukt.simulator.policies.place import Place, home
from tafukt.simulator.policies.queue import Group, Key, ReadyQueue
from tafukt.simulator.policies.review import Review
from tafukt.simulator.policies.size import Remembers, Size, asked, least_gpus
from tafukt.simulator.record import NOTHING

# --- Who of the waiting starts now: first fit, strictly in order, or EASY backfilling


# What keys of the queue begin with: those past their latest start go before all others.
URGENT, IN_TURN = 0, 1

Backfill = Literal["none", "first-fit", "easy", "conservative"]


@dataclass(frozen=True)
class Parts:
    """Parts of a list scheduler; see the modules of the same names.

    `when`, and `order` where it is a class, make a fresh object for each run, because what has been
    promised or used is part of them; so do `review`, and `size` where it `Remembers`. `ahead` is the order
    in which EASY lets others by, where it is not that of the queue.
    """

    order: Order | type[Any] = arrival
    place: Place = home
    when: Callable[[], When] | None = None
    backfill: Backfill = "first-fit"
    size: Size = asked
    ahead: Order | None = None
    review: Callable[[], Review] | None = None


class Backfilling:
    """The queue of those who may start, and the rules by which one goes ahead of another."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        parts = self.parts
        self._ready = ReadyQueue()
        # The same jobs in the order in which they may go ahead of the head.
        self._ahead = ReadyQueue() if parts.ahead else self._ready
        self._first: tuple[Key, JobState, Group] | None = None  # the head of the queue, where it is known
        # Groups of the queue that are known not to fit until something is given back.
        self._blocked: set[Group] = set()
        self._reservations = Reservations()
        self._plans: dict[int, Delay] = {}
        self._when: When | None = parts.when() if parts.when else None
        self._size: Size = parts.size.fresh() if isinstance(parts.size, Remembers) else parts.size
        if isinstance(self._size, SizingWhen):
            self._size.otherwise, self._when = self._when, self._size
        self._order: Order = parts.order() if isinstance(parts.order, type) else parts.order
        self._counts = self._order if isinstance(self._order, Counts) else None

    def _start_those_who_may(self, now: float, view: View) -> Iterator[Action]:
        match self.parts.backfill:
            case "first-fit":
                return self._easy(now, view) if self._is_pressed() else self._first_fit(now, view)
            case "easy":
                return self._easy(now, view)
            case _:
                return self._in_order(now, view)

    def _is_pressed(self) -> bool:
        """True if somebody is past the latest start that meets its deadline, or was, and something is kept for it."""
        head = self._head()
        return self._reservations.current is not None or (head is not None and head[0][0] == URGENT)

    def _forget(self, job: JobState) -> None:
        """A job leaves the queue, by its start or otherwise."""
        group = self._ready.remove(job.index)
        if self._first is not None and self._first[1] is job:
            self._first = None
        if self._ahead is not self._ready:
            self._ahead.remove(job.index)
        if group not in self._ready.groups:
            self._blocked.discard(group)

    def _candidates(self, ready: ReadyQueue, view: View) -> list[tuple[Key, JobState, Group]]:
        """A heap of the heads of all groups that might fit; those for which no site has room are blocked."""
        blocked, most, heads = self._blocked, view.most_room, []
        for group, jobs in ready.groups.items():
            if group[0] > most:
                blocked.add(group)
            elif group not in blocked:
                heads.append((*jobs.head(), group))
        heapify(heads)
        return heads

    def _first_fit(self, now: float, view: View) -> Iterator[Action]:
        """Start everybody who fits, in order; nothing is kept for those who do not."""
        groups, blocked = self._ready.groups, self._blocked
        queue = self._candidates(self._ready, view)
        while queue:
            key, job, group = queue[0]
            start = self._try(job, group, now, view)
            if start is not None:
                yield start
                self._started(job, start.site, view)
                following = groups[group].head() if group in groups else None
            elif self._declined:
                following = groups[group].first_within(inf, after=key)
            else:
                blocked.add(group)
                following = None
            if following is None:
                heappop(queue)
            else:
                heapreplace(queue, (*following, group))

    def _in_order(self, now: float, view: View) -> Iterator[Action]:
        """Start from the head until somebody does not fit: nobody overtakes anybody."""
        groups = self._ready.groups
        while (head := self._head()) is not None:
            _, job, group = head
            start = None if group in self._blocked else self._try(job, group, now, view)
            if start is None:
                self._blocked.update(groups)
                return
            yield start
            self._started(job, start.site, view)

    def _easy(self, now: float, view: View) -> Iterator[Action]:
        """Start from the head; reserve for the first who does not fit; let others by who do not delay it.

        Under first fit something is reserved for those alone who are past their latest start.
        """
        blocked, reservations = self._blocked, self._reservations
        skipped: Key | None = None
        while True:
            head = self._head(skipped)
            if head is None:
                reservations.drop()
                return
            key, job, group = head
            kept = reservations.current
            known = group[0] > view.most_room or (kept is not None and kept.job is job and group in blocked)
            start = None if known else self._try(job, group, now, view, reserved=False)
            if start is not None:
                yield start
                self._started(job, start.site, view)
                reservations.forget(start.site)
                blocked.clear()
            elif not known and self._declined:
                skipped = key
            else:
                break
        if self.parts.backfill == "first-fit" and key[0] != URGENT:
            reservations.drop()
            blocked.clear()
            yield from self._first_fit(now, view)
            return
        if reservations.make(job, group, now, view):
            blocked.clear()
        yield from self._let_others_by(job, now, view)

    def _head(self, after: Key | None = None) -> tuple[Key, JobState, Group] | None:
        """The first of all who are ready, or the first after a key."""
        groups = self._ready.groups
        if after is not None:
            later = [(jobs.first_within(inf, after), group) for group, jobs in groups.items()]
            return min([(*head, group) for head, group in later if head is not None], default=None)
        if self._first is None:
            self._first = min([(*jobs.head(), group) for group, jobs in groups.items()], default=None)
        return self._first

    def _let_others_by(self, head: JobState, now: float, view: View) -> Iterator[Action]:
        """EASY's second half: start whoever does not delay the head's reservation."""
        groups, blocked = self._ahead.groups, self._blocked
        queue = self._candidates(self._ahead, view)
        while queue:
            key, job, group = queue[0]
            start = None if job is head else self._try(job, group, now, view)
            if start is not None:
                yield start
                self._started(job, start.site, view)
                following = groups[group].first_within(inf, key) if group in groups else None
            elif job is not head and self._declined:
                following = groups[group].first_within(inf, after=key)
            else:
                following = self._next_short(group, key, now, view)
            if following is not None:
                heapreplace(queue, (*following, group))
            else:
                heappop(queue)
                if group in groups:
                    blocked.add(group)

    def _next_short(self, group: Group, key: Key, now: float, view: View) -> tuple[Key, JobState] | None:
        """Of a group that does not fit beside the reservation, the next that might end before it."""
        reserved = self._reservations.current
        jobs = self._ahead.groups.get(group)
        if reserved is None or jobs is None or reserved.site not in group[1] or view.room(reserved.site) < group[0]:
            return None
        return jobs.first_within(self._reservations.longest_estimate_s(now, view), after=key)

    def _home_first(
        self, job: JobState, sites: tuple[int, ...], gpus: int, kept: Reservation | None, view: View
    ) -> list[int]:
        """The job's home, if it fits there and would be placed there whatever else fits; looks at no other site."""
        if self.parts.place is not home or self._when is not None or job.saved_at >= 0 or not view.room_decides:
            return []
        own = view.scenario.site_index(job.ask.home)
        at = bisect_left(sites, own)  # indices are in order
        if at == len(sites) or sites[at] != own or (kept is not None and kept.site == own):
            return []
        return view.fitting(job, (own,), gpus)

    def _try(self, job: JobState, group: Group, now: float, view: View, reserved: bool = True) -> Start | None:
        """Start of the job where it fits now; sets whether there would be room but it may or will not take it."""
        least, sites, _ = group
        self._declined = False
        kept = self._reservations.current if reserved else None
        fitting = self._home_first(job, sites, least, kept, view) or view.fitting(job, sites, least)
        avoid = 0
        if kept is not None and kept.site in fitting:
            avoid = self._reservations.avoid(job, least, now, view)
            if avoid < 0:
                fitting.remove(kept.site)
        if not fitting:
            self._declined = bool(group[2]) and any(view.room(i) >= least for i in sites)
            return None
        plan = self._plans.get(job.index)
        detail: Mapping[str, Any] = NOTHING
        if self._when is not None and not (plan is not None and plan.site in fitting):
            kept_to = self._when.keeps(job, fitting, view)
            if plan is not None and not kept_to and _may_wait(plan, now, view):
                self._declined = True
                return None
            fitting = list(kept_to) or fitting
        if plan is not None and plan.site in fitting:
            site, reason, detail = plan.site, plan.reason, plan.detail
        elif job.saved_at in fitting:  # where its checkpoint lies
            site, reason = job.saved_at, "goes on where it was saved"
        else:
            chosen = self.parts.place(job, fitting, view)
            if not chosen:
                self._declined = True
                return None
            site, reason = chosen[0], self.parts.place.__name__
        if kept is not None and site == kept.site:
            return Start(job, site, least, 1.0, avoid, (), reason, detail)
        gpus, cap = (least, 1.0) if self._size is asked else self._size(job, site, view)
        if gpus > least and site not in view.fitting(job, (site,), gpus):  # a quota or the supply allows no more
            gpus = least
        return Start(job, site, gpus, cap, 0, (), reason, detail)

    def _started(self, job: JobState, site: int, view: View) -> None:
        """Take note of a start that the engine has carried out."""
        self._forget(job)
        self._reservations.started(job, site)
        self._tell_started(job, site, view)

    def _tell_started(self, job: JobState, site: int, view: View) -> None:
        if self._when is not None:
            self._when.started(job, site, view)
        if self._counts is not None:
            self._counts.started(job, view)


def _may_wait(plan: Delay, now: float, view: View) -> bool:
    """True before the latest start that meets the deadline of the plan's job on the plan's site."""
    return now < latest_start_s(plan.job, lead_s(plan.job, plan.site, view), now)


# --- The list scheduler


class ListScheduler(Backfilling):
    """A policy that starts waiting jobs in an order, where they fit, when they should.

    A held job sleeps until its time: it is neither scanned nor in anyone's way. One that was let in but
    found no room is asked again in the next round, and goes to the front of the queue at its latest start.
    """

    def __init__(self, name: str, parts: Parts) -> None:
        super().__init__(parts)
        self.name = name

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        super().begin(view)
        parts = self.parts
        self._view = view
        self._new: list[JobState] = []
        self._held: list[tuple[float, int, JobState]] = []
        own = [parts.review()] if parts.review else []
        self._reviews: list[Review] = [*own, self._when] if isinstance(self._when, Review) else own
        self._dynamic = isinstance(self._order, Changing)
        self._conservative = Conservative(parts.place) if parts.backfill == "conservative" else None
        # Whether a round is no more than letting newcomers in and starting whoever may.
        self._plain = not (self._when or self._reviews or self._conservative or self._dynamic)
        # Whether only newcomers need a look where nobody who waited already could start.
        self._quick = parts.backfill == "first-fit" and not self._dynamic
        self._told: dict[int, tuple[float, int]] = {}  # until when, and for which site, a job has been told to wait
        self._urgent: set[int] = set()  # newcomers past their latest start
        self._quotas = bool(view.scenario.quotas)

    def waiting(self, job: JobState) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""
        if self._when is None or job not in self._new:  # who found no room where planned is there to be asked again
            self._new.append(job)
        if job.index in self._ready:
            self._forget(job)
        elif self._conservative is not None:
            self._conservative.forget(job.index)

    def freed(self, job: JobState | None, site: int) -> None:
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
        """True if nobody is new, nobody is due, and nobody who is ready could start."""
        held = self._held
        return not (
            self._new
            or len(self._blocked) < len(self._ready.groups)
            or (held and held[0][0] <= now)
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
        elif self._quick and not self._urgent and len(self._blocked) >= len(self._ready.groups):
            if self._new:
                yield from self._newcomers(now, view)
        else:
            self._let_in(view)
            if len(self._blocked) < len(self._ready.groups):
                if self._dynamic:
                    self._sort_again(view)
                yield from self._start_those_who_may(now, view)
        if self._plans:
            yield from self._remember_latest_starts(now, view)
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
                self._reservations.started(job, start.site)
                self._tell_started(job, start.site, view)
            else:
                self._ready.add(self._key(job, view), job, group)
                if not self._declined:
                    self._blocked.add(group)
        new.clear()
        self._urgent.clear()

    # --- when ------------------------------------------------------------------------------------

    def _held_back(self, when: When, now: float, view: View) -> list[Action]:
        """Holds for those whose time has not come; leaves among the newcomers whoever may start now."""
        urgent, come, holds, asked = self._urgent, list[JobState](), list[Action](), set[float]()
        due = []
        while self._held and self._held[0][0] <= now:
            due.append(heappop(self._held)[2])
        for job in (*due, *self._new):
            sites = view.sites_for(job)
            leads = leads_s(job, sites, view)
            latest = latest_start_s(job, min(leads), now) if job.ask.deferrable else now
            plan = when.decide(job, sites, view) if latest > now - ROUNDED_UP_S else None
            if latest <= now < latest + job.ask.slack_s:
                urgent.add(job.index)
            if plan is None:
                self._plans.pop(job.index, None)
                come.append(job)
                continue
            until = min(plan.until_s, latest_start_s(job, leads[sites.index(plan.site)], now))
            if until <= now:
                self._plans[job.index] = plan
                come.append(job)
            else:
                heappush(self._held, (min(until, plan.again_s), job.index, job))
                if plan.again_s < until:
                    asked.add(plan.again_s)
                if self._told.get(job.index) != (until, plan.site):
                    self._told[job.index] = until, plan.site
                    holds.append(Hold(job, until, plan.site, plan.reason, plan.detail))
        self._new = come
        return [*holds, *map(Wake, sorted(asked))]

    def _remember_latest_starts(self, now: float, view: View) -> Iterator[Action]:
        """Whoever was let in and found no room is asked again in the next round, and at its latest start."""
        for index, plan in self._plans.items():
            if index in self._ready and _may_wait(plan, now, view):
                self._forget(plan.job)
                self._new.append(plan.job)
                latest = latest_start_s(plan.job, lead_s(plan.job, plan.site, view), now)
                if latest < inf:
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

    def _key(self, job: JobState, view: View) -> Key:
        """The place of a newcomer in the queue."""
        if job.index in self._urgent:
            return URGENT, latest_start_s(job, 0.0, view.now_s), job.index
        return IN_TURN, *self._order(job, view), job.index

    def _group(self, job: JobState, view: View) -> Group:
        sites, ask = view.sites_for(job), job.ask
        gpus = least_gpus(self._size, job, sites, view) if ask.gpus_min else ask.gpus
        return gpus, sites, view.quota_of(ask) if self._quotas else ""

    def _sort_again(self, view: View) -> None:
        self._first, order = None, self._order
        self._ready.sort_again(lambda key, job: (IN_TURN, *order(job, view), job.index) if key[0] else key)

    def _keep_promises(self, conservative: Conservative, view: View) -> Iterator[Action]:
        new = self._ready.in_order()
        for _, job in new:
            self._forget(job)
        for start in conservative.round(new, view):
            yield start
            self._tell_started(start.job, start.site, view)
