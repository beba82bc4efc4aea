"""Who of the waiting starts now: first fit, strictly in order, or EASY backfilling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import inf
from typing import Any, Literal

from simulator.actions import Action, Start
from simulator.life import Life
from simulator.policies.order import Order, arrival
from simulator.policies.place import Place, home
from simulator.policies.queue import Group, Key, ReadyQueue
from simulator.policies.reserve import Reservations
from simulator.policies.review import Review
from simulator.policies.size import Size, asked
from simulator.policies.when import Delay, When
from simulator.record import NOTHING
from simulator.view import View

Backfill = Literal["none", "first-fit", "easy", "conservative"]


@dataclass(frozen=True)
class Parts:
    """What a list scheduler is made of; see the modules of the same names.

    `when`, and `order` where it is a class, make a fresh object for each run, because what has been
    promised or used is part of them; so do `review`, and `size` where it has `fresh`. `ahead` is the order
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
        self._first: tuple[Key, Life, Group] | None = None  # the head of the queue, where it is known
        # Groups of the queue that are known not to fit until something is given back.
        self._blocked: set[Group] = set()
        self._reservations = Reservations()
        self._plans: dict[int, Delay] = {}
        self._when: When | None = parts.when() if parts.when else None
        size: Any = parts.size
        self._size: Any = size.fresh() if hasattr(size, "fresh") else size
        if hasattr(self._size, "decide"):  # a size that also says when, and asks the other part of whom it leaves
            self._size.otherwise, self._when = self._when, self._size
        self._order: Any = parts.order() if isinstance(parts.order, type) else parts.order
        self._counts: Any = self._order if hasattr(self._order, "started") else None

    def _start_those_who_may(self, now: float, view: View) -> Iterator[Action]:
        match self.parts.backfill:
            case "first-fit":
                return self._first_fit(now, view)
            case "easy":
                return self._easy(now, view)
            case _:
                return self._in_order(now, view)

    def _forget(self, job: Life) -> None:
        """A job leaves the queue, by its start or otherwise."""
        group = self._ready.remove(job.index)
        if self._first is not None and self._first[1] is job:
            self._first = None
        if self._ahead is not self._ready:
            self._ahead.remove(job.index)
        if group not in self._ready.groups:
            self._blocked.discard(group)

    def _candidates(self, ready: ReadyQueue, view: View) -> list[tuple[Key, Life, Group]]:
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
        """Start from the head; reserve for the first who does not fit; let others by who do not delay it."""
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
        if reservations.make(job, group, now, view):
            blocked.clear()
        yield from self._let_others_by(job, now, view)

    def _head(self, after: Key | None = None) -> tuple[Key, Life, Group] | None:
        """The first of all who are ready, or the first after a key."""
        groups = self._ready.groups
        if after is not None:
            later = [(jobs.first_within(inf, after), group) for group, jobs in groups.items()]
            return min([(*head, group) for head, group in later if head is not None], default=None)
        if self._first is None:
            self._first = min([(*jobs.head(), group) for group, jobs in groups.items()], default=None)
        return self._first

    def _let_others_by(self, head: Life, now: float, view: View) -> Iterator[Action]:
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

    def _next_short(self, group: Group, key: Key, now: float, view: View) -> tuple[Key, Life] | None:
        """Of a group that does not fit beside the reservation, the next that might end before it."""
        reserved = self._reservations.current
        jobs = self._ahead.groups.get(group)
        if reserved is None or jobs is None or reserved.site not in group[1] or view.room(reserved.site) < group[0]:
            return None
        return jobs.first_within(self._reservations.longest_estimate_s(now, view), after=key)

    def _try(self, job: Life, group: Group, now: float, view: View, reserved: bool = True) -> Start | None:
        """Where the job could start now; sets whether there would be room but it may or will not take it."""
        least, sites, _ = group
        self._declined = False
        fitting = view.fitting(job, sites, least)
        kept = self._reservations.current if reserved else None
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

    def _started(self, job: Life, site: int, view: View) -> None:
        """What a start changes; asked for after the engine has carried it out."""
        self._forget(job)
        self._reservations.started(site)
        self._tell_started(job, site, view)

    def _tell_started(self, job: Life, site: int, view: View) -> None:
        if self._when is not None:
            self._when.started(job, site, view)
        if self._counts is not None:
            self._counts.started(job, view)
