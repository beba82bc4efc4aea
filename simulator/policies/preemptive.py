"""Policies that pause running jobs for others: whoever ranks first has the GPUs.

A waiting job starts where it fits. Where it fits nowhere, the jobs that rank after it are paused, last
first, at the site where that costs the fewest GPUs; the nodes are kept for it until the checkpoints are
written. Jobs that cannot be interrupted are never paused.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Protocol

from tafukt.simulator.engine.actions import Action, Pause, Start, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.easy import nodes_for
from tafukt.simulator.policies.place import Place, home, home_first


class Rank(Protocol):
    """A rank of running and waiting jobs: least first."""

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """The rank of a job now."""

    def falls_at_s(self, job: JobState, view: View) -> float:
        """Time at which a running job will next fall behind others [s]; infinite if never."""


class ShortestRemaining:
    """Least remaining time by the user's estimate first (SRTF; Schrage 1968, 10.1287/opre.16.3.687)."""

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """Remaining time by the user's estimate."""
        return (job.left_s(view.now_s),)

    def falls_at_s(self, job: JobState, view: View) -> float:
        """Never: what runs gets shorter."""
        return inf


class LeastAttained:
    """Two-dimensional, discretised least attained service (Tiresias-L; Gu et al. 2019, NSDI, pp. 485-500).

    A job that has had less than `threshold_gpu_s` goes before all that have had more; within the two
    queues in order of arrival. An hour of a GPU as the threshold is a choice: the paper tunes it to its
    trace. Nothing is asked of the user.
    """

    def __init__(self, threshold_gpu_s: float = 3600.0) -> None:
        self.threshold_gpu_s = threshold_gpu_s

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """Queue, then submission."""
        return (float(job.progress_gpu_s(view.now_s) >= self.threshold_gpu_s - 1e-6), job.ask.submit_s)

    def falls_at_s(self, job: JobState, view: View) -> float:
        """Time at which it will have had the threshold [s]."""
        left = self.threshold_gpu_s - job.progress_gpu_s(view.now_s)
        return view.now_s + max(left / job.rate, 0.01) if job.running and left > 1e-6 else inf


class Preemptive:
    """A policy by one rank over waiting and running jobs."""

    def __init__(self, name: str, rank: Rank, place: Place = home) -> None:
        self.name = name
        self.rank = rank
        self.place = place

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        self._kept: dict[int, tuple[int, int]] = {}  # waiting job -> (site, nodes) that are being cleared for it
        self._changed = True

    def waiting(self, job: JobState) -> None:
        """A job has arrived or is back among the waiting."""
        self._changed = True

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free."""
        self._changed = True

    def round(self, view: View) -> Iterator[Action]:
        """Start, in order of rank, whoever fits; make room for whoever ranks before somebody that runs."""
        self._kept = {index: kept for index, kept in self._kept.items() if index in view.waiting}
        ranked = sorted(view.waiting.values(), key=lambda job: (self.rank(job, view), job.index))
        for job in ranked:
            start = self._start(job, view)
            if start is not None:
                self._kept.pop(job.index, None)
                yield start
            elif job.index not in self._kept:
                yield from self._make_room(job, view)
        if view.waiting:
            falls = min((self.rank.falls_at_s(job, view) for job in view.running.values()), default=inf)
            if falls < inf:
                yield Wake(falls)

    def _cleared(self, site: int, but: int) -> int:
        """The nodes of a site that are being cleared for others than this job."""
        bits = 0
        for index, (where, nodes) in self._kept.items():
            if where == site and index != but:
                bits |= nodes
        return bits

    def _start(self, job: JobState, view: View) -> Start | None:
        gpus = job.ask.gpus
        fitting = []
        for site in view.fitting(job, view.sites_for(job), gpus):
            others = self._cleared(site, job.index)
            if not others or view.sites[site].nodes.place(gpus, others) is not None:
                fitting.append(site)
        if not fitting:
            return None
        if job.saved_at in fitting:
            site = job.saved_at
        else:
            chosen = self.place(job, fitting, view)
            if not chosen:
                return None
            site = chosen[0]
        return Start(job, site, gpus, avoid=self._cleared(site, job.index), reason=type(self.rank).__name__)

    def _make_room(self, job: JobState, view: View) -> Iterator[Action]:
        """Pause those who rank after this job, at the site where the fewest GPUs are taken away."""
        mine = (self.rank(job, view), job.index)
        best: tuple[int, int, int, list[JobState]] | None = None
        for site in home_first(job, view.sites_for(job), view):
            nodes, victims = self._victims(job, site, mine, view)
            if nodes:
                taken = sum(victim.held for victim in victims)
                if best is None or taken < best[0]:
                    best = (taken, site, nodes, victims)
        if best is None:
            return
        _, site, nodes, victims = best
        self._kept[job.index] = (site, nodes)
        for victim in victims:
            yield Pause(victim, f"makes room for {job.ask.job_id}")

    def _victims(
        self, job: JobState, site: int, mine: tuple[tuple[float, ...], int], view: View
    ) -> tuple[int, list[JobState]]:
        """Nodes that this job could have, and who would have to go; no nodes if it cannot be done."""
        cluster = view.sites[site].nodes
        if cluster.offline:
            return 0, []
        others, n, gpus = self._cleared(site, job.index), cluster.per_node, job.ask.gpus
        free = [0 if others >> node & 1 else held for node, held in enumerate(cluster.free)]
        whole, rest = (0, gpus) if gpus <= n else divmod(cluster.held_for(gpus), n)
        after = [
            ((self.rank(v, view), v.index), v)
            for v in view.running_at(site)
            if v.running and v.ask.interruptible and self.rank(v, view) > mine[0]
        ]
        victims: list[JobState] = []
        for _, victim in sorted(after, key=lambda entry: entry[0], reverse=True):
            victims.append(victim)
            for node, held in victim.allocation:
                if not others >> node & 1:
                    free[node] += held
            nodes = nodes_for(free, n, whole, rest)
            if nodes:
                # Only those who are in the way.
                return nodes, [v for v in victims if any(nodes >> node & 1 for node, _ in v.allocation)]
        return 0, []
