"""Conservative backfilling: everybody who waits has a reservation, and nobody's is ever put off.

A job gets the earliest start that delays no reservation made before its own. When something ends early,
those who could start earlier are moved forward, in the order of their starts (Mu'alem and Feitelson 2001,
10.1109/71.932708); all others stay where they are, so that a round costs what it changes. Reservations
hold real nodes, or, where every node has a single GPU and any will do, a number of them. The promise
holds as long as nobody exceeds an estimate and no node fails; what then no longer fits is reserved anew,
and so is a job whose data would now travel for longer or shorter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from operator import itemgetter
from typing import NamedTuple

from tafukt.simulator.engine.actions import Start
from tafukt.simulator.engine.cluster import Allocation, Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.easy import ends_s, nodes_for
from tafukt.simulator.policies.place import Place
from tafukt.simulator.policies.queue import Key
from tafukt.simulator.units import TICKS_PER_S


@dataclass(frozen=True, slots=True)
class NodeReservation:
    """A reservation: these nodes of this site, from `start_s` to at most `end_s` [s].

    `durations` is what it would take on each site that may have it [s].
    """

    key: Key
    job: JobState
    site: int
    start_s: float
    end_s: float
    nodes: Allocation
    durations: Mapping[int, float]


class Held(NamedTuple):
    """Hold of a running job in the timelines: these nodes of this site until `end_s` [s]."""

    site: int
    nodes: Allocation
    end_s: float


class Conservative:
    """The reservations of everybody who waits."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.promises: dict[int, NodeReservation] = {}
        self._order: list[tuple[float, Key, int]] = []  # of the promises: start, key, job
        self._homeless: dict[int, tuple[Key, JobState]] = {}  # who fits nowhere as things stand
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

    def round(self, new: Sequence[tuple[Key, JobState]], view: View) -> Iterator[Start]:
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
            nodes = () if self._lines[promise.site].is_pool else promise.nodes
            yield Start(promise.job, promise.site, nodes=nodes, reason="conservative")

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
                change(site, line.booked(((node, cluster.per_node),)), now, inf)

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
            held, nodes = self._held.get(index), self._lines[life.site].booked(life.allocation)
            if held is not None and (held.nodes != nodes or held.site != life.site):
                self._give(held.site, held.nodes, now, held.end_s)
                held = None
            before = now if held is None else max(held.end_s, now)
            if end == before:
                continue
            if end > before:
                self._take(life.site, nodes, before, end)
            else:
                self._give(life.site, nodes, end, before)
            self._held[index] = Held(life.site, nodes, end)

    def _broken(self, now: float) -> list[tuple[Key, JobState]]:
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

    def _move(self, promise: NodeReservation, hints: list[tuple[float, int]], view: View) -> bool:
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

    def _promise(self, key: Key, job: JobState, view: View) -> None:
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
        job: JobState,
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
        self.promises[job.index] = NodeReservation(key, job, site, start_s, end, nodes, durations)
        insort(self._order, (start_s, key, job.index))

    def _withdraw(self, promise: NodeReservation) -> None:
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


# --- Where reservations may move to: what has become free since everybody was placed


class _Gap:
    """The runs of one node that reach into what has become free there, by the number of GPUs."""

    __slots__ = ("_changed", "_line", "_runs", "_seen")

    def __init__(self, line: NodeLine) -> None:
        self._line = line
        self._changed: list[Run] = []
        self._runs: dict[int, list[Run]] = {}
        self._seen: dict[int, int] = {}  # for each number of GPUs, how many of the changes its runs know

    def changed(self, start_s: float, end_s: float) -> None:
        """GPUs have been taken or given back from `start_s` to `end_s` [s]."""
        self._changed.append((start_s, end_s))

    def runs(self, gpus: int) -> list[Run]:
        """The runs in order; brought up to date when they are asked for."""
        seen = self._seen.get(gpus, 0)
        if seen == len(self._changed):
            return self._runs[gpus]
        runs = self._runs.setdefault(gpus, [])
        for start, end in _joined(self._changed[seen:]):
            first = bisect_left(runs, (start,))
            if first and runs[first - 1][1] >= start:
                first -= 1
                start = runs[first][0]
            last = first
            while last < len(runs) and runs[last][0] <= end:
                last += 1
            runs[first:last] = self._line.runs(gpus, start, end)
        self._seen[gpus] = len(self._changed)
        return runs


def _joined(spans: list[Run]) -> list[Run]:
    """The same spans in order, those that meet or overlap made one."""
    if len(spans) == 1:
        return spans
    joined: list[Run] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


class Gaps:
    """Holes that have opened since everybody was placed: only there can anybody start earlier than promised."""

    def __init__(self, lines: Sequence[SiteLine]) -> None:
        self._lines = lines
        self._gaps: dict[int, dict[int, _Gap]] = {}

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def add(self, site: int, nodes: Allocation, start_s: float, end_s: float) -> None:
        """These GPUs have been given back from `start_s` to `end_s` [s]."""
        at_site = self._gaps.setdefault(site, {})
        for node, _ in nodes:
            if node not in at_site:
                at_site[node] = _Gap(self._lines[site].nodes[node])
            at_site[node].changed(start_s, end_s)

    def taken(self, site: int, nodes: Allocation, start_s: float, end_s: float) -> None:
        """Some of them have been taken again."""
        for node, _ in nodes:
            gap = self._gaps.get(site, {}).get(node)
            if gap is not None:
                gap.changed(start_s, end_s)

    def worth_a_look(
        self, gpus: int, durations: Mapping[int, float], site: int, nodes: Allocation, promised_s: float
    ) -> list[tuple[float, int]]:
        """From when on [s] and at which sites a job might start before the time that it has been promised.

        Nothing is missed. For a gang of more than one node it may turn out that there is no such start.
        """
        found = []
        for at, gaps in self._gaps.items():
            duration = durations.get(at)
            if duration is None:
                continue
            line, first = self._lines[at], promised_s
            least = gpus if gpus <= line.per_node else line.parts(gpus)[1] or line.per_node
            for node, gap in gaps.items():
                for begin, end in gap.runs(least):
                    if begin >= first:
                        break
                    # On a node of its own, what is free up to its own start goes on through what it holds there.
                    if begin + duration <= end or (
                        end >= promised_s and at == site and any(node == i for i, _ in nodes)
                    ):
                        first = begin
                        break
            if first < promised_s:
                found.append((first, at))
        return found


# --- The free GPUs of nodes now and in the future, and where a gang would fit first


Run = tuple[float, float]  # from when to when [s] a node has so many GPUs free, as long as can be


class NodeLine:
    """The free GPUs of one node as steps, each unlike the one before it; the last goes on for ever."""

    __slots__ = ("free", "times")

    def __init__(self, gpus: int, now_s: float) -> None:
        self.times = [now_s]
        self.free = [gpus]

    def add(self, gpus: int, start_s: float, end_s: float) -> None:
        """Give so many GPUs back from `start_s` to `end_s` [s]; take them where the number is negative."""
        times, free = self.times, self.free
        start_s = max(start_s, times[0])
        if end_s <= start_s:
            return
        first, last = self._edge(start_s), self._edge(end_s)
        for k in range(first, last):
            free[k] += gpus
        for k in (last, first):
            if 0 < k < len(times) and free[k] == free[k - 1]:
                del times[k], free[k]

    def least(self, start_s: float, end_s: float) -> int:
        """The fewest GPUs that are free at any time from `start_s` to `end_s` [s]."""
        first = bisect_right(self.times, start_s) - 1
        return min(self.free[first : max(bisect_left(self.times, end_s), first + 1)])

    def earliest(self, gpus: int, duration_s: float, from_s: float, latest_s: float) -> float:
        """The first start in [from_s, latest_s] with so many GPUs for so long [s]; infinite if there is none."""
        times, free = self.times, self.free
        steps = len(times)
        k, start = bisect_right(times, from_s) - 1, from_s
        while start <= latest_s:
            end = start + duration_s
            while free[k] >= gpus:
                k += 1
                if k == steps or times[k] >= end:
                    return start
            while free[k] < gpus:  # whoever starts before the end of what is in the way meets it as well
                k += 1
                if k == steps:
                    return inf
            start = times[k]
        return inf

    def runs(self, gpus: int, from_s: float, to_s: float) -> list[Run]:
        """The runs with so many GPUs free that meet or touch [from_s, to_s], in order."""
        times, free = self.times, self.free
        steps, found = len(times), []
        k = max(bisect_right(times, from_s) - 1, 0)
        while k and free[k] >= gpus and free[k - 1] >= gpus:
            k -= 1
        while k < steps and times[k] <= to_s:
            start = times[k]
            if free[k] < gpus:
                k += 1
                continue
            while k < steps and free[k] >= gpus:
                k += 1
            found.append((start, times[k] if k < steps else inf))
        return found

    def forget_before(self, now_s: float) -> None:
        """Drop what is past."""
        past = bisect_right(self.times, now_s) - 1
        if past > 0:
            del self.times[:past], self.free[:past]
        self.times[0] = now_s

    def _edge(self, time_s: float) -> int:
        """The step that begins at `time_s`, made where there is none."""
        if time_s == inf:
            return len(self.times)
        at = bisect_left(self.times, time_s)
        if at == len(self.times) or self.times[at] != time_s:
            self.times.insert(at, time_s)
            self.free.insert(at, self.free[at - 1])
        return at


class SiteLine:
    """The nodes of one site, in time; all are up and free until one says otherwise.

    Nodes of a single GPU are alike to every gang: they are one pool, in which a reservation is a number of GPUs.
    """

    def __init__(self, cluster: Cluster, now_s: float) -> None:
        self.cluster = cluster
        self.is_pool = cluster.per_node == 1
        self.per_node, count = (cluster.count, 1) if self.is_pool else (cluster.per_node, cluster.count)
        self.nodes = [NodeLine(self.per_node, now_s) for _ in range(count)]

    def booked(self, nodes: Allocation) -> Allocation:
        """These nodes of the cluster as this line books them."""
        return ((0, len(nodes)),) if self.is_pool else nodes

    def parts(self, gpus: int) -> tuple[int, int]:
        """Whole nodes that a gang takes, and GPUs of one more."""
        n = self.per_node
        return (0, gpus) if gpus <= n else divmod(self.cluster.held_for(gpus), n)

    def book(self, nodes: Allocation, start_s: float, end_s: float, sign: int = -1) -> None:
        """Take these GPUs from `start_s` to `end_s` [s]; give them back with a `sign` of 1."""
        for node, gpus in nodes:
            self.nodes[node].add(sign * gpus, start_s, end_s)

    def is_free(self, nodes: Allocation, start_s: float, end_s: float) -> bool:
        """True if these GPUs are free all the time from `start_s` to `end_s` [s]."""
        return all(self.nodes[node].least(start_s, end_s) >= gpus for node, gpus in nodes)

    def earliest(self, gpus: int, duration_s: float, from_s: float, latest_s: float = inf) -> tuple[float, Allocation]:
        """The first start in [from_s, latest_s] at which a gang has its GPUs for so long, and which; infinite if none.

        A part of a node goes to the node on which it leaves least free, whole nodes are the lowest ones.
        """
        whole, rest = self.parts(gpus)
        if whole:
            return self._earliest_gang(whole, rest, duration_s, from_s, latest_s)
        first, fitting = inf, [0]
        for number, node in enumerate(self.nodes):
            start = node.earliest(gpus, duration_s, from_s, min(first, latest_s))
            if start < first:
                first, fitting = start, [number]
            elif start == first:
                fitting.append(number)
        if first == inf:
            return inf, ()
        end = first + duration_s
        return first, ((min(fitting, key=lambda number: self.nodes[number].least(first, end)), gpus),)

    def _earliest_gang(
        self, whole: int, rest: int, duration_s: float, from_s: float, latest_s: float
    ) -> tuple[float, Allocation]:
        """The same for a gang of more than one node: leaps to the first time at which each count could be met."""
        n, nodes, start = self.per_node, self.nodes, from_s
        # An empty node has room for the part as well. For each count, when each node is first free for long enough.
        counts = [(n, whole), (rest, whole + 1)] if rest else [(n, whole)]
        firsts = [[-inf] * len(nodes) for _ in counts]
        if counts[-1][1] > len(nodes):
            return inf, ()
        tried = -inf
        while start > tried:
            tried = start
            for (level, count), first in zip(counts, firsts, strict=True):
                for number, time in enumerate(first):
                    if time < start:
                        first[number] = nodes[number].earliest(level, duration_s, start, latest_s)
                start = sorted(first)[count - 1]
                if start == inf:
                    return inf, ()
        least = [node.least(start, start + duration_s) for node in nodes]
        return start, _allocation(nodes_for(least, n, whole, rest), least, n, whole, rest)


def _allocation(bits: int, free: Sequence[int], per_node: int, whole: int, rest: int) -> Allocation:
    """Whole nodes and one part, on the nodes that `nodes_for` has chosen."""
    nodes = [node for node in range(bits.bit_length()) if bits >> node & 1]
    if not rest:
        return tuple((node, per_node) for node in nodes)
    # The part went to the fullest node that could take it, after the lowest empty ones.
    empty = [node for node in nodes if free[node] == per_node][:whole]
    part = next(node for node in nodes if node not in empty)
    return (*((node, per_node) for node in empty), (part, rest))
