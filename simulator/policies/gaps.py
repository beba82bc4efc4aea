"""Where reservations may move to: what has become free since everybody was placed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from simulator.cluster import Allocation
from simulator.policies.timeline import NodeLine, Run, SiteLine


class _Gap:
    """The runs of one node that reach into what has become free there, by the number of GPUs."""

    __slots__ = ("_freed", "_line", "_runs")

    def __init__(self, line: NodeLine) -> None:
        self._line = line
        self._freed: list[Run] = []
        self._runs: dict[int, list[Run]] = {}

    def runs(self, gpus: int) -> list[Run]:
        """The runs in order; found when they are first asked for, and kept up to date from then on."""
        found = self._runs.get(gpus)
        if found is None:
            runs = self._line.runs
            found = self._runs[gpus] = sorted({run for span in self._freed for run in runs(gpus, *span)})
        return found

    def changed(self, start_s: float, end_s: float) -> None:
        """GPUs have been taken or given back from `start_s` to `end_s` [s]."""
        self._freed.append((start_s, end_s))
        for gpus, runs in self._runs.items():
            first = bisect_left(runs, (start_s,))
            if first and runs[first - 1][1] >= start_s:
                first -= 1
            last = first
            while last < len(runs) and runs[last][0] <= end_s:
                last += 1
            if first < last:
                runs[first:last] = self._line.runs(gpus, min(start_s, runs[first][0]), max(end_s, runs[last - 1][1]))
            else:
                runs[first:last] = self._line.runs(gpus, start_s, end_s)


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
            _, rest = self._lines[at].parts(gpus)
            least = rest or self._lines[at].cluster.per_node
            held = [node for node, _ in nodes] if at == site else ()
            first = promised_s
            for node, gap in gaps.items():
                for begin, end in gap.runs(least):
                    if begin >= first:
                        break
                    # On a node of its own, what is free up to its own start goes on through what it holds there.
                    if begin + duration <= end or (end >= promised_s and node in held):
                        first = begin
                        break
            if first < promised_s:
                found.append((first, at))
        return found
