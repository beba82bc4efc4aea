"""EASY's reservation: when and on which nodes the job at the head of the queue will start.

EASY backfilling lets a later job go ahead if it does not delay that start (Mu'alem and Feitelson 2001,
10.1109/71.932708). The reservation holds real nodes: a later job may use all others for as long as it
likes, and these only if its estimate ends in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from simulator.cluster import Cluster
from simulator.life import Life
from simulator.policies.queue import Group
from simulator.view import View


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

    def renew(self, now_s: float) -> None:
        """A new pass: the head of the queue is to be found again."""
        self.current = None
        for site in [s for s, (time, _) in self._found.items() if time <= now_s]:
            del self._found[site]

    def make(self, job: Life, group: Group, now_s: float, view: View) -> None:
        """Reserve for a job that does not fit now: the site and nodes that are free first."""
        if job is not self._job:
            self._job = job
            self._found.clear()
        best = (inf, -1, 0)
        for site in group[1]:
            if site not in self._found:
                cluster = view.sites[site].nodes
                self._found[site] = earliest_fit(cluster, view.running_at(site), group[0], now_s)
            time, nodes = self._found[site]
            best = min(best, (time, site, nodes))
        if best[1] >= 0:
            self.current = Reservation(job, best[1], best[0], best[2])

    def longest_estimate_s(self, site: int, now_s: float, view: View) -> float:
        """The longest estimate with which a job at the reserved site ends in time [s on the reference GPU]."""
        assert self.current is not None
        node = view.sites[site].spec.node
        return (self.current.time_s - now_s - node.wake_s) * node.speed

    def avoid(self, job: Life, gpus: int, now_s: float, view: View) -> int:
        """The nodes that this job must leave alone at the reserved site; -1 if it may not start there."""
        assert self.current is not None
        site = self.current.site
        if job.ask.estimate_s + job.ask.checkpoint.restart_s <= self.longest_estimate_s(site, now_s, view):
            return 0
        if view.sites[site].nodes.place(gpus, self.current.nodes) is not None:
            return self.current.nodes
        return -1


def earliest_fit(cluster: Cluster, running: Iterable[Life], gpus: int, now_s: float) -> tuple[float, int]:
    """When, by the estimates of what runs, a gang would fit, and on which nodes (a set of bits).

    A job past its estimate is taken to end in a minute.
    """
    if cluster.offline:
        return inf, 0
    n = cluster.per_node
    free = list(cluster.free)
    whole, rest = (0, gpus) if gpus <= n else divmod(cluster.held_for(gpus), n)
    ends = sorted((max(life.expected_end_s(now_s), now_s + 60.0), life.index, life) for life in running)
    for time, _, life in ends:
        for node, held in life.allocation:
            free[node] += held
        found = _nodes_for(free, n, whole, rest)
        if found:
            return time, found
    return inf, 0


def _nodes_for(free: list[int], per_node: int, whole: int, rest: int) -> int:
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
