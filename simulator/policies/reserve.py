"""EASY's reservation: when and on which nodes the job at the head of the queue will start.

EASY backfilling lets a later job go ahead if it does not delay that start (Mu'alem and Feitelson 2001,
10.1109/71.932708). The reservation holds real nodes: a later job may use all others for as long as it
likes, and these only if by its user's estimate it has given them back in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from simulator.cluster import Cluster
from simulator.life import Life
from simulator.policies.queue import Group
from simulator.view import View

# A job past its estimate is taken to end in a minute (a choice).
OVERDUE_S = 60.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A promise to one job: this site, from this time [s], these nodes (a set of bits)."""

    job: Life
    site: int
    time_s: float
    nodes: int


class Reservations:
    """The reservation of the one job that heads the queue, and what it was computed from."""

    def __init__(self) -> None:
        self.current: Reservation | None = None
        self._job: Life | None = None
        self._found: dict[int, tuple[float, int]] = {}

    def forget(self, site: int) -> None:
        """Something changed at a site: what was found there no longer holds."""
        self._found.pop(site, None)

    def started(self, site: int) -> None:
        """A job has started at a site: where nothing is reserved, it may stand in the way."""
        if self.current is None or self.current.site != site:
            self._found.pop(site, None)

    def make(self, job: Life, group: Group, now_s: float, view: View) -> bool:
        """Reserve for the job at the head, where it can start first; whether that changed anything."""
        if job is not self._job:
            self._job = job
            self._found.clear()
        best = (inf, -1, 0)
        for site in group[1]:
            found = self._found.get(site)
            if found is None or found[0] <= now_s:
                cluster = view.sites[site].nodes
                found = earliest_fit(cluster, view.running_at(site), group[0], now_s)
                self._found[site] = found
            best = min(best, (found[0], site, found[1]))
        before = self.current
        self.current = Reservation(job, best[1], best[0], best[2]) if best[1] >= 0 else None
        return self.current != before

    def drop(self) -> None:
        """Nobody waits at the head."""
        self.current = self._job = None
        self._found.clear()

    def longest_estimate_s(self, now_s: float, view: View) -> float:
        """No job with a longer estimate ends in time at the reserved site [s on the reference GPU]."""
        assert self.current is not None
        return (self.current.time_s - now_s) * view.sites[self.current.site].spec.node.speed

    def avoid(self, job: Life, gpus: int, now_s: float, view: View) -> int:
        """The nodes that this job must leave alone at the reserved site; -1 if it may not start there."""
        assert self.current is not None
        site = self.current.site
        if now_s + view.duration_s(job, site, gpus) <= self.current.time_s:
            return 0
        if view.sites[site].nodes.place(gpus, self.current.nodes) is not None:
            return self.current.nodes
        return -1


def earliest_fit(cluster: Cluster, running: Iterable[Life], gpus: int, now_s: float) -> tuple[float, int]:
    """When, by the estimates of what runs, a gang would fit, and on which nodes (a set of bits)."""
    if cluster.offline:
        return inf, 0
    n = cluster.per_node
    free = list(cluster.free)
    whole, rest = (0, gpus) if gpus <= n else divmod(cluster.held_for(gpus), n)
    for time, _, life in sorted((ends_s(life, now_s), life.index, life) for life in running):
        for node, held in life.allocation:
            free[node] += held
        found = nodes_for(free, n, whole, rest)
        if found:
            return time, found
    return inf, 0


def ends_s(life: Life, now_s: float) -> float:
    """When a running job is expected to end [s], after now."""
    expected_s = life.expected_end_s(now_s)
    return expected_s if expected_s > now_s else now_s + OVERDUE_S


def nodes_for(free: list[int], per_node: int, whole: int, rest: int) -> int:
    """Nodes that would take `whole` whole nodes and `rest` GPUs of one more, 0 if there are none."""
    empty = [node for node, f in enumerate(free) if f == per_node]
    if len(empty) < whole:
        return 0
    bits = 0
    for node in empty[:whole]:
        bits |= 1 << node
    if rest:
        part = min(((f, node) for node, f in enumerate(free) if f >= rest and not bits >> node & 1), default=None)
        if part is None:
            return 0
        bits |= 1 << part[1]
    return bits
