"""EASY's reservation: when the job at the head of the queue will start, and what is free beside it then.

EASY backfilling (Mu'alem and Feitelson 2001, 10.1109/71.932708) lets a later job go ahead if it does not delay
that start: because by its user's estimate it has given its GPUs back in time, or because the head still fits
beside it. Whether the head fits is counted in GPUs on nodes as the site packs them; no node is kept for it by
number, so that every idle one can be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from tafukt.simulator.engine.cluster import Allocation, Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.queue import Group

# A job past its estimate is taken to end in a minute (a choice).
OVERDUE_S = 60.0


@dataclass(slots=True)
class Fit:
    """Time at which a gang would fit at a site [s], and what is free there then.

    Attributes
    ----------
    time_s : float
    free : list of int
        Free GPUs of every node at that time.
    spare : list of tuple of int
        For each of the gang's needs, (GPUs on one node, nodes that have as many beyond those that it takes).
    """

    time_s: float
    free: list[int] = field(default_factory=list)
    spare: list[tuple[int, int]] = field(default_factory=list)

    def beside(self, allocation: Allocation) -> list[tuple[int, int]] | None:
        """Nodes left to spare if these GPUs stay taken; `None` if the gang would not fit then."""
        left = []
        for level, nodes in self.spare:
            for node, held in allocation:
                if self.free[node] >= level > self.free[node] - held:
                    nodes -= 1
            if nodes < 0:
                return None
            left.append((level, nodes))
        return left

    def take(self, allocation: Allocation) -> None:
        """These GPUs will still be taken at that time."""
        self.spare = self.beside(allocation) or self.spare
        for node, held in allocation:
            self.free[node] -= held


_NEVER = Fit(inf)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A promise to one job: so many GPUs of this site, when `fit` says."""

    job: JobState
    gpus: int
    site: int
    fit: Fit

    @property
    def time_s(self) -> float:
        """Latest start of the job, by the estimates of those who run [s]."""
        return self.fit.time_s


class Reservations:
    """The reservation of the one job that heads the queue, and what it was computed from."""

    def __init__(self) -> None:
        self.current: Reservation | None = None
        self._stale = True
        # For each size of gang, what was found at each site: heads of one size share it.
        self._found: dict[int, list[Fit | None]] = {}
        self._outlasts: JobState | None = None  # who was last let by although it outlasts the reserved time

    def forget(self, site: int) -> None:
        """Something changed at a site: what was found there no longer holds."""
        self._stale = True
        for found in self._found.values():
            found[site] = None

    def started(self, job: JobState, site: int) -> None:
        """A job has started beside the reservation: on any other site it may stand in a later head's way."""
        kept = self.current
        if kept is None or kept.site != site:
            self.forget(site)
            return
        if self._outlasts is job:
            kept.fit.take(job.allocation)
        for gpus, found in self._found.items():
            if gpus != kept.gpus:
                found[site] = None

    def make(self, job: JobState, group: Group, now_s: float, view: View) -> bool:
        """Reserve for the job at the head, where it can start first; whether that changed anything."""
        before = self.current
        if before is not None and before.job is job and not self._stale and before.time_s > now_s:
            return False
        gpus, best, first, first_s, own = group[0], -1, _NEVER, inf, view.scenario.site_index(job.ask.home)
        found = self._found.get(gpus)
        if found is None:
            found = self._found[gpus] = [None] * len(view.sites)
        for site in group[1]:
            fit = found[site]
            if fit is None or fit.time_s <= now_s:
                fit = found[site] = earliest_fit(view.sites[site].nodes, view.running_at(site), gpus, now_s)
            time_s = fit.time_s
            if time_s < first_s or (time_s == first_s and site == own):
                best, first, first_s = site, fit, time_s
        self.current = Reservation(job, gpus, best, first) if first_s < inf else None
        self._stale = False
        return before is None or self.current is None or before.job is not job or before.fit is not first

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
        site, fit = self.current.site, self.current.fit
        self._outlasts = None
        if now_s + view.duration_s(job, site, gpus) <= fit.time_s:
            return 0
        cluster = view.sites[site].nodes
        avoid, n = 0, cluster.per_node
        while (nodes := cluster.place(gpus, avoid)) is not None:
            if fit.beside(nodes) is not None:
                self._outlasts = job
                return avoid
            node, held = nodes[-1]
            if held == n or cluster.free[node] == n:  # nodes that are empty now are alike, and empty then as well
                return -1
            # A part of a node may yet go to one that the head leaves.
            avoid |= sum(1 << i for i, free in enumerate(fit.free) if free == fit.free[node] and cluster.free[i] < n)
        return -1


def earliest_fit(cluster: Cluster, running: Iterable[JobState], gpus: int, now_s: float) -> Fit:
    """First time, by the estimates of what runs, at which a gang would fit, and what else is free then."""
    if cluster.offline:
        return Fit(inf)
    free, needs = list(cluster.free), _needs(cluster, gpus)
    # The last need is met by any node that meets one before it; nearly always it is the only one.
    level, count = needs[-1]
    whole, wholes = needs[0]
    several = len(needs) > 1
    lacking = count - sum([f >= level for f in free])
    lacking_wholes = wholes - sum([f >= whole for f in free]) if several else 0
    time_s = inf
    for end, _, allocation in sorted([(ends_s(life, now_s), life.index, life.allocation) for life in running]):
        if end > time_s:
            break
        for node, held in allocation:
            before = free[node]
            free[node] = after = before + held
            if before < level <= after:
                lacking -= 1
            if several and before < whole <= after:
                lacking_wholes -= 1
        if lacking <= 0 and lacking_wholes <= 0:
            time_s = end
    if time_s == inf:
        return Fit(inf)
    spare = [(level, -lacking)]
    return Fit(time_s, free, [(whole, -lacking_wholes), *spare] if several else spare)


def _needs(cluster: Cluster, gpus: int) -> list[tuple[int, int]]:
    """Needs of a gang: (GPUs on one node, how many such nodes); an empty node also has room for a part."""
    n = cluster.per_node
    if gpus <= n:
        return [(gpus, 1)]
    whole, rest = divmod(cluster.held_for(gpus), n)
    return [(n, whole), (rest, whole + 1)] if rest else [(n, whole)]


def ends_s(life: JobState, now_s: float) -> float:
    """Expected end of a running job [s], after now."""
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
