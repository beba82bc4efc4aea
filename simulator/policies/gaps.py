"""Where reservations may move to: what has become free since everybody was placed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from simulator.cluster import Allocation
from simulator.policies.timeline import NodeLine, Run, SiteLine


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
    """What has become free since everybody was placed: only there can anybody start earlier than promised."""

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
            least = gpus if gpus <= line.cluster.per_node else line.parts(gpus)[1] or line.cluster.per_node
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
