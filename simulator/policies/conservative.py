"""Conservative backfilling: everybody who waits has a reservation, and nobody's is ever put off.

A job gets the earliest start that delays no reservation made before its own. When something ends early,
those who could start earlier are moved forward, in the order of their starts (Mu'alem and Feitelson 2001,
10.1109/71.932708); all others stay where they are, so that a round costs what it changes. Reservations
hold real nodes. The promise holds as long as nobody exceeds an estimate and no node fails; what then no
longer fits is reserved anew, and so is a job whose data would now travel for longer or shorter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from operator import itemgetter
from typing import NamedTuple

from simulator.actions import Start
from simulator.clock import TICKS_PER_S
from simulator.cluster import Allocation
from simulator.life import Life
from simulator.policies.gaps import Gaps
from simulator.policies.place import Place
from simulator.policies.queue import Key
from simulator.policies.reserve import ends_s
from simulator.policies.timeline import SiteLine
from simulator.view import View


@dataclass(frozen=True, slots=True)
class Promise:
    """A reservation: these nodes of this site, from `start_s` to at most `end_s` [s].

    `durations` is what it would take on each site that may have it [s].
    """

    key: Key
    job: Life
    site: int
    start_s: float
    end_s: float
    nodes: Allocation
    durations: Mapping[int, float]


class Held(NamedTuple):
    """What a running job holds by the timelines: these nodes of this site until `end_s` [s]."""

    site: int
    nodes: Allocation
    end_s: float


class Conservative:
    """The reservations of everybody who waits."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.promises: dict[int, Promise] = {}
        self._order: list[tuple[float, Key, int]] = []  # of the promises: start, key, job
        self._homeless: dict[int, tuple[Key, Life]] = {}  # who fits nowhere as things stand
        self._lines: list[SiteLine] = []
        self._held: dict[int, Held] = {}
        self._out: list[int] = []  # for each site, the nodes that are down or offline (a set of bits)
        # What has been given back since everybody was last placed, or after the look at some of them.
        self._freed: list[tuple[int, Allocation, float, float]] = []
        self._crowded: set[tuple[int, int]] = set()  # nodes of which more than before has been taken
        self._stale = True
        self._first_end_s = inf  # when the first of those who run is expected to end

    def freed(self) -> None:
        """Something has ended, failed or come back: all may move forward."""
        self._stale = True

    def forget(self, index: int) -> None:
        """A job no longer waits here."""
        self._homeless.pop(index, None)
        promise = self.promises.get(index)
        if promise is not None:
            self._withdraw(promise)
            self._give(promise.site, promise.nodes, promise.start_s, promise.end_s)
            self._stale = True

    def round(self, new: Sequence[tuple[Key, Life]], view: View) -> Iterator[Start]:
        """Promise the newcomers a start, and start whoever's time has come."""
        now = view.now_s
        if self._stale or now >= self._first_end_s:  # somebody has not ended when expected
            self._plan_again(view)
        for key, job in new:
            self._promise(key, job, view)
        due = bisect_right(self._order, now, key=itemgetter(0))
        for _, _, index in self._order[:due]:
            promise = self.promises.get(index)
            if promise is None or promise.site not in view.fitting(promise.job, (promise.site,), promise.job.ask.gpus):
                continue  # a quota or a shortage stands in the way: a new promise is made when something ends
            self._withdraw(promise)
            self._held[index] = Held(promise.site, promise.nodes, promise.end_s)
            self._first_end_s = min(self._first_end_s, promise.end_s)
            yield Start(promise.job, promise.site, nodes=promise.nodes, reason="conservative")

    # --- after something has ended ---------------------------------------------------------------

    def _plan_again(self, view: View) -> None:
        """Bring the timelines up to date, and move every promise as far forward as it goes."""
        now = view.now_s
        self._stale = False
        if not self._lines:
            self._lines = [SiteLine(site.nodes, now) for site in view.sites]
            self._out = [0] * len(self._lines)
        for line in self._lines:
            for node in line.nodes:
                node.forget_before(now)
        self._follow_nodes(view)
        self._follow_running(view)
        broken = self._broken(now)
        self._move_forward(view)
        homeless = sorted(self._homeless.values(), key=itemgetter(0))
        self._homeless.clear()
        for key, job in broken + homeless:
            self._promise(key, job, view)

    def _follow_nodes(self, view: View) -> None:
        """Take nodes that have failed off the timelines, and put those that are back on them."""
        now = view.now_s
        for site, line in enumerate(self._lines):
            cluster = line.cluster
            out = (1 << cluster.count) - 1 if cluster.offline else cluster.down
            changed, self._out[site] = self._out[site] ^ out, out
            while changed:
                node = changed.bit_length() - 1
                changed ^= 1 << node
                change = self._take if out >> node & 1 else self._give
                change(site, ((node, cluster.per_node),), now, inf)

    def _follow_running(self, view: View) -> None:
        """Put right what the timelines say of the running jobs, and when the first will end."""
        now, self._first_end_s = view.now_s, inf
        for index in [index for index in self._held if index not in view.running]:
            gone = self._held.pop(index)
            self._give(gone.site, gone.nodes, now, gone.end_s)
        for index, life in view.running.items():
            # One that is late may end at any moment.
            end = max(_up(ends_s(life, now)), now + 1.0 / TICKS_PER_S)
            self._first_end_s = min(self._first_end_s, end)
            held = self._held.get(index)
            if held is not None and (held.nodes != life.allocation or held.site != life.site):
                self._give(held.site, held.nodes, now, held.end_s)
                held = None
            before = now if held is None else max(held.end_s, now)
            if end == before:
                continue
            if end > before:
                self._take(life.site, life.allocation, before, end)
            else:
                self._give(life.site, life.allocation, end, before)
            self._held[index] = Held(life.site, life.allocation, end)

    def _broken(self, now: float) -> list[tuple[Key, Life]]:
        """Withdraw the promises that can no longer be kept: their time has passed, or their nodes are taken."""
        lines = self._lines
        crowded = {(site, node) for site, node in self._crowded if min(lines[site].nodes[node].free) < 0}
        self._crowded.clear()
        if not crowded and not (self._order and self._order[0][0] < now):
            return []
        doubtful = [
            promise
            for promise in (self.promises[index] for _, _, index in self._order)
            if promise.start_s < now or any((promise.site, node) in crowded for node, _ in promise.nodes)
        ]
        for promise in doubtful:
            self._give(promise.site, promise.nodes, promise.start_s, promise.end_s)
        broken = []
        for promise in doubtful:  # what is left goes to those who are to start first
            line = lines[promise.site]
            if promise.start_s >= now and line.is_free(promise.nodes, promise.start_s, promise.end_s):
                line.book(promise.nodes, promise.start_s, promise.end_s)
            else:
                self._withdraw(promise)
                broken.append((promise.key, promise.job))
        return broken

    def _move_forward(self, view: View) -> None:
        """In the order of their starts, move the promises that can begin earlier.

        What a move leaves free is for those after it in this order; those before it have it the next time.
        """
        gaps = Gaps(self._lines)
        for freed in self._freed:
            gaps.add(*freed)
        self._freed.clear()
        links = bool(view.scenario.links)
        if not (gaps or links):
            return
        for _, _, index in self._order.copy():
            promise = self.promises[index]
            job, site, durations = promise.job, promise.site, promise.durations
            if links and view.duration_s(job, site) != durations[site]:  # what is on the links has changed
                self._withdraw(promise)
                self._give(site, promise.nodes, promise.start_s, promise.end_s)
                gaps.add(*self._freed[-1])
                self._promise(promise.key, job, view)
            else:
                hints = gaps.worth_a_look(job.ask.gpus, durations, site, promise.nodes, promise.start_s)
                if not hints or not self._move(promise, hints, view):
                    continue
                gaps.add(*self._freed[-1])
            now_at = self.promises.get(index)
            if now_at is not None:
                gaps.taken(now_at.site, now_at.nodes, now_at.start_s, now_at.end_s)

    def _move(self, promise: Promise, hints: list[tuple[float, int]], view: View) -> bool:
        """Look for an earlier start at some sites from some times on, and take it; whether there was one."""
        old = (promise.site, promise.nodes, promise.start_s, promise.end_s)
        self._lines[promise.site].book(*old[1:], 1)
        gpus, best = promise.job.ask.gpus, promise.start_s
        found: dict[int, tuple[float, Allocation]] = {}
        for from_s, site in hints:
            duration = promise.durations[site]
            start, nodes = self._lines[site].earliest(gpus, duration, from_s, best)
            if start < best:
                best, found = start, {}
            if start == best < promise.start_s:
                found[site] = (_up(start + duration), nodes)
        if not found:
            self._lines[promise.site].book(*old[1:])
            return False
        self._withdraw(promise)
        self._freed.append(old)
        self._settle(promise.key, promise.job, best, found, promise.durations, view)
        return True

    # --- one job ---------------------------------------------------------------------------------

    def _promise(self, key: Key, job: Life, view: View) -> None:
        """The earliest start on any site that may have the job."""
        best, now = inf, view.now_s
        found: dict[int, tuple[float, Allocation]] = {}
        durations: dict[int, float] = {}
        for site in view.sites_for(job):
            duration = view.duration_s(job, site)
            if duration == inf:
                continue
            durations[site] = duration
            start, nodes = self._lines[site].earliest(job.ask.gpus, duration, now, best)
            if start < best:
                best, found = start, {}
            if start == best < inf:
                found[site] = (_up(start + duration), nodes)
        if found:
            self._settle(key, job, best, found, durations, view)
        else:
            self._homeless[job.index] = (key, job)

    def _settle(
        self,
        key: Key,
        job: Life,
        start_s: float,
        found: Mapping[int, tuple[float, Allocation]],
        durations: Mapping[int, float],
        view: View,
    ) -> None:
        """Make the promise at one of the sites that can have the job at this time; `found` has ends and nodes."""
        chosen = list(self.place(job, tuple(found), view)) if start_s <= view.now_s else []
        site = chosen[0] if chosen else min(found, key=lambda i: (view.sites[i].name != job.ask.home, i))
        end, nodes = found[site]
        self._lines[site].book(nodes, start_s, end)
        self.promises[job.index] = Promise(key, job, site, start_s, end, nodes, durations)
        insort(self._order, (start_s, key, job.index))

    def _withdraw(self, promise: Promise) -> None:
        """The job has its GPUs, or is to be promised others; the timelines are not changed."""
        index = promise.job.index
        del self.promises[index]
        del self._order[bisect_left(self._order, (promise.start_s, promise.key, index))]

    def _give(self, site: int, nodes: Allocation, start_s: float, end_s: float) -> None:
        """Put GPUs back on a timeline, where others may now have them."""
        self._lines[site].book(nodes, start_s, end_s, 1)
        self._freed.append((site, nodes, start_s, end_s))

    def _take(self, site: int, nodes: Allocation, start_s: float, end_s: float) -> None:
        """Take GPUs off a timeline, whoever has been promised them."""
        self._lines[site].book(nodes, start_s, end_s)
        self._crowded.update((site, node) for node, _ in nodes)


def _up(time_s: float) -> float:
    """The next time on the grid on which events lie [s]."""
    return ceil(time_s * TICKS_PER_S) / TICKS_PER_S if time_s < inf else inf
