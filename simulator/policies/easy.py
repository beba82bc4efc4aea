"""EASY's reservation: when and on which nodes the job at the head of the queue will start.

EASY backfilling lets a later job go ahead if it does not delay that start (Mu'alem and Feitelson 2001,
10.1109/71.932708). The reservation holds real nodes: a later job may use all others for as long as it
likes, and these only if by its user's estimate it has given them back in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.queue import Group

# A job past its estimate is taken to end in a minute (a choice).
OVERDUE_S = 60.0


class Reservation(NamedTuple):
    """A promise to one job: so many GPUs of this site, from this time [s], on these nodes (a set of bits)."""

    job: JobState
    gpus: int
    site: int
    time_s: float
    nodes: int


class Reservations:
    """The reservation of the one job that heads the queue, and what it was computed from."""

    def __init__(self) -> None:
        self.current: Reservation | None = None
        self._stale = True
        # For each size of gang, what was found at each site: heads of one size share it.
        self._found: dict[int, list[tuple[float, int] | None]] = {}

    def forget(self, site: int) -> None:
        """Something changed at a site: what was found there no longer holds."""
        self._stale = True
        for found in self._found.values():
            found[site] = None

    def started(self, site: int) -> None:
        """A job has started beside the reservation: on any other site it may stand in a later head's way."""
        kept = self.current
        if kept is None or kept.site != site:
            self.forget(site)
        else:
            for gpus, found in self._found.items():
                if gpus != kept.gpus:
                    found[site] = None

    def make(self, job: JobState, group: Group, now_s: float, view: View) -> bool:
        """Reserve for the job at the head, where it can start first; whether that changed anything."""
        before = self.current
        if before is not None and before.job is job and not self._stale and before.time_s > now_s:
            return False
        gpus, best, nodes, time_s = group[0], -1, 0, inf
        found = self._found.get(gpus)
        if found is None:
            found = self._found[gpus] = [None] * len(view.sites)
        for site in group[1]:
            fit = found[site]
            if fit is None or fit[0] <= now_s:
                fit = found[site] = earliest_fit(view.sites[site].nodes, view.running_at(site), gpus, now_s)
            if fit[0] < time_s:
                time_s, nodes = fit
                best = site
        self.current = Reservation(job, gpus, best, time_s, nodes) if best >= 0 else None
        self._stale = False
        return self.current != before

    def drop(self) -> None:
        """Nobody waits at the head."""
        self.current = None

    def longest_estimate_s(self, now_s: float, view: View) -> float:
        """No job with a longer estimate ends in time at the reserved site [s on the reference GPU]."""
        assert self.current is not None
        return (self.current.time_s - now_s) * view.sites[self.current.site].spec.node.speed

    def avoid(self, job: JobState, gpus: int, now_s: float, view: View) -> int:
        """The nodes that this job must leave alone at the reserved site; -1 if it may not start there."""
        assert self.current is not None
        site = self.current.site
        if now_s + view.duration_s(job, site, gpus) <= self.current.time_s:
            return 0
        if view.sites[site].nodes.place(gpus, self.current.nodes) is not None:
            return self.current.nodes
        return -1


def earliest_fit(cluster: Cluster, running: Iterable[JobState], gpus: int, now_s: float) -> tuple[float, int]:
    """When, by the estimates of what runs, a gang would fit, and on which nodes (a set of bits)."""
    if cluster.offline:
        return inf, 0
    n, free = cluster.per_node, list(cluster.free)
    ends = sorted([(ends_s(life, now_s), life.index, life.allocation) for life in running])
    if gpus <= n:
        for time, _, allocation in ends:
            if len(allocation) == 1:  # nearly always
                ((node, held),) = allocation
                free[node] += held
                if free[node] >= gpus:
                    return time, 1 << node
                continue
            for node, held in allocation:
                free[node] += held
            fitting = [(free[node], node) for node, _ in allocation if free[node] >= gpus]
            if fitting:
                return time, 1 << min(fitting)[1]
        return inf, 0
    whole, rest = divmod(cluster.held_for(gpus), n)
    for time, _, allocation in ends:
        for node, held in allocation:
            free[node] += held
        found = nodes_for(free, n, whole, rest)
        if found:
            return time, found
    return inf, 0


def ends_s(life: JobState, now_s: float) -> float:
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
