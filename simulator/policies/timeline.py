"""The free GPUs of nodes now and in the future, and where a gang would fit first."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf

from simulator.cluster import Allocation, Cluster
from simulator.policies.reserve import nodes_for

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
    """The nodes of one site, in time; all are up and free until one says otherwise."""

    def __init__(self, cluster: Cluster, now_s: float) -> None:
        self.cluster = cluster
        self.nodes = [NodeLine(cluster.per_node, now_s) for _ in range(cluster.count)]

    def parts(self, gpus: int) -> tuple[int, int]:
        """How many whole nodes a gang takes, and how many GPUs of one more."""
        n = self.cluster.per_node
        return (0, gpus) if gpus <= n else divmod(self.cluster.held_for(gpus), n)

    def book(self, nodes: Allocation, start_s: float, end_s: float, sign: int = -1) -> None:
        """Take these GPUs from `start_s` to `end_s` [s]; give them back with a `sign` of 1."""
        for node, gpus in nodes:
            self.nodes[node].add(sign * gpus, start_s, end_s)

    def is_free(self, nodes: Allocation, start_s: float, end_s: float) -> bool:
        """Whether these GPUs are free all the time from `start_s` to `end_s` [s]."""
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
        n, nodes, start = self.cluster.per_node, self.nodes, from_s
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
