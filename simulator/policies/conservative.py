"""Conservative backfilling: everybody who waits has a reservation, and nobody's is ever put off.

A job gets the earliest start that delays no reservation made before its own; when something ends early,
all are moved forward where they can be, in the order of their starts (Mu'alem and Feitelson 2001,
10.1109/71.932708). Reservations hold real nodes. The promise holds as long as nobody exceeds an estimate
and no node fails; what then no longer fits is reserved anew.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf

from simulator.actions import Start
from simulator.clock import TICKS_PER_S
from simulator.cluster import Allocation, Cluster
from simulator.life import Life
from simulator.policies.place import Place
from simulator.policies.queue import Key
from simulator.policies.reserve import ends_s, nodes_for
from simulator.view import View


class Timeline:
    """The free GPUs of every node of one site, now and in the future, as steps."""

    def __init__(self, cluster: Cluster, now_s: float) -> None:
        self.cluster = cluster
        self.times = [now_s]
        self.free = [[0] * cluster.count if cluster.offline else list(cluster.free)]

    def book(self, nodes: Allocation, start_s: float, end_s: float, sign: int = -1) -> None:
        """Take these GPUs from `start_s` to `end_s` [s]; give them back with a `sign` of 1."""
        first, last = self._edge(start_s), self._edge(end_s)
        for row in self.free[first:last]:
            for node, gpus in nodes:
                row[node] += sign * gpus

    def is_free(self, nodes: Allocation, start_s: float, end_s: float) -> bool:
        """Whether these GPUs are free all the time from `start_s` to `end_s` [s]."""
        first = max(bisect_right(self.times, start_s) - 1, 0)
        last = bisect_left(self.times, end_s)
        return all(row[node] >= gpus for row in self.free[first:last] for node, gpus in nodes)

    def earliest(self, gpus: int, duration_s: float, now_s: float) -> tuple[float, Allocation]:
        """The first time at which a gang could have its GPUs for so long, and which; infinite if never."""
        cluster = self.cluster
        n = cluster.per_node
        whole, rest = (0, gpus) if gpus <= n else divmod(cluster.held_for(gpus), n)
        for first, time in enumerate(self.times):
            if first + 1 < len(self.times) and self.times[first + 1] <= now_s:
                continue
            start = max(time, now_s)
            last = bisect_left(self.times, start + duration_s)
            least = [min(column) for column in zip(*self.free[first : max(last, first + 1)], strict=True)]
            bits = nodes_for(least, n, whole, rest)
            if bits:
                return start, _allocation(bits, least, n, whole, rest)
        return inf, ()

    def _edge(self, time_s: float) -> int:
        """The step that begins at `time_s`, made where there is none."""
        if time_s == inf:
            return len(self.times)
        at = bisect_left(self.times, time_s)
        if at == len(self.times) or self.times[at] != time_s:
            self.times.insert(at, time_s)
            self.free.insert(at, list(self.free[max(at - 1, 0)]))
        return at


def _allocation(bits: int, free: Sequence[int], per_node: int, whole: int, rest: int) -> Allocation:
    """Whole nodes and one part, on the nodes that `nodes_for` has chosen."""
    nodes = [node for node in range(bits.bit_length()) if bits >> node & 1]
    if not rest:
        return tuple((node, per_node) for node in nodes)
    if not whole:
        return ((nodes[0], rest),)
    # The part went to the fullest node that could take it, after the lowest empty ones.
    empty = [node for node in nodes if free[node] == per_node][:whole]
    part = next(node for node in nodes if node not in empty)
    return (*((node, per_node) for node in empty), (part, rest))


@dataclass(frozen=True, slots=True)
class Promise:
    """A reservation: these nodes of this site, from `start_s` to at most `end_s` [s]."""

    key: Key
    job: Life
    site: int
    start_s: float
    end_s: float
    nodes: Allocation


class Conservative:
    """The reservations of everybody who waits."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.promises: dict[int, Promise] = {}
        self._lines: dict[int, Timeline] = {}
        self._homeless: dict[int, tuple[Key, Life]] = {}  # who fits nowhere as things stand
        self._stale = True
        self._first_end_s = inf  # when the first of those who run is expected to end

    def freed(self) -> None:
        """Something has ended, failed or come back: all may move forward."""
        self._stale = True

    def forget(self, index: int) -> None:
        """A job no longer waits here."""
        self._homeless.pop(index, None)
        if self.promises.pop(index, None) is not None:
            self._stale = True

    def round(self, new: Sequence[tuple[Key, Life]], view: View) -> Iterator[Start]:
        """Promise the newcomers a start, and start whoever's time has come."""
        now = view.now_s
        if self._stale or now >= self._first_end_s:  # somebody has not ended when expected
            self._plan_again(view)
        for key, job in sorted(new, key=lambda entry: entry[0]):
            self._promise(key, job, now, view)
        for promise in sorted(self.promises.values(), key=lambda p: (p.start_s, p.key)):
            if promise.start_s > now:
                break
            if promise.site not in view.fitting(promise.job, (promise.site,), promise.job.ask.gpus):
                continue  # a quota or a shortage stands in the way: a new promise is made when something ends
            del self.promises[promise.job.index]
            self._first_end_s = min(self._first_end_s, promise.end_s)
            yield Start(promise.job, promise.site, nodes=promise.nodes, reason="conservative")

    def _plan_again(self, view: View) -> None:
        """Lay out what runs, put every promise back, then move each forward as far as it goes."""
        now = view.now_s
        self._stale, self._first_end_s = False, inf
        self._lines = {site.index: Timeline(site.nodes, now) for site in view.sites}
        for life in view.running.values():
            # It is taken off what is free now, so it gives its GPUs back where it ends: any moment, if it is late.
            end = max(_up(ends_s(life, now)), now + 1.0 / TICKS_PER_S)
            self._lines[life.site].book(life.allocation, end, inf, 1)
            self._first_end_s = min(self._first_end_s, end)
        kept = sorted(self.promises.values(), key=lambda p: (p.start_s, p.key))
        self.promises.clear()
        broken = []
        for promise in kept:
            line = self._lines[promise.site]
            if promise.start_s >= now and line.is_free(promise.nodes, promise.start_s, promise.end_s):
                line.book(promise.nodes, promise.start_s, promise.end_s)
                self.promises[promise.job.index] = promise
            else:
                broken.append(promise)
        for promise in kept:
            if promise.job.index in self.promises:
                self._lines[promise.site].book(promise.nodes, promise.start_s, promise.end_s, 1)
                self._promise(promise.key, promise.job, now, view)
        homeless = sorted(self._homeless.values(), key=lambda entry: entry[0])
        self._homeless.clear()
        for key, job in [(promise.key, promise.job) for promise in broken] + homeless:
            self._promise(key, job, now, view)

    def _promise(self, key: Key, job: Life, now: float, view: View) -> None:
        """The earliest start on any site that may have the job; among equals the place part's choice."""
        best = inf
        found: dict[int, tuple[float, Allocation]] = {}
        for site in view.sites_for(job):
            duration = view.duration_s(job, site)
            if duration == inf:
                continue
            start, nodes = self._lines[site].earliest(job.ask.gpus, duration, now)
            if start < best:
                best, found = start, {}
            if start == best < inf:
                found[site] = (_up(start + duration), nodes)
        if not found:
            self._homeless[job.index] = (key, job)
            return
        chosen = list(self.place(job, tuple(found), view)) if best <= now else []
        site = chosen[0] if chosen else min(found, key=lambda i: (view.sites[i].name != job.ask.home, i))
        end, nodes = found[site]
        self._lines[site].book(nodes, best, end)
        self.promises[job.index] = Promise(key, job, site, best, end, nodes)


def _up(time_s: float) -> float:
    """The next time on the grid on which events lie [s]."""
    return ceil(time_s * TICKS_PER_S) / TICKS_PER_S if time_s < inf else inf
