"""A policy that carries out a schedule made beforehand."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from heapq import heappop, heappush

from tafukt.simulator.engine.actions import Action, Hold, Pause, Start, Wake
from tafukt.simulator.engine.cluster import Allocation, Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.search.search import Placements, Stay


class Follow:
    """Starts and pauses jobs as the schedule says, as soon as there is room; one without a plan starts anywhere."""

    def __init__(self, name: str, schedule: Placements, sites: Sequence[str]) -> None:
        self.name = name
        self._made = schedule
        self._sites = sites  # the names that the schedule's indices stand for

    def begin(self, view: View) -> None:
        """Nothing has been started yet; the engine may have its sites in another order."""
        at = [view.scenario.site_index(name) for name in self._sites]
        self._schedule = [tuple(replace(stay, site=at[stay.site]) for stay in stays) for stays in self._made]
        self._next = [0] * len(self._schedule)  # the stay that each job is in, or waits for
        self._new: list[JobState] = []
        self._due: list[tuple[float, int, int]] = []  # a heap: planned start, size (large first), index
        self._parted: dict[int, JobState] = {}  # those that run and are to be paused
        # The node that stands for each virtual one, and whom it carries.
        self._nodes: dict[tuple[int, int], int] = {}
        self._on: dict[tuple[int, int], set[int]] = {}

    def waiting(self, job: JobState) -> None:
        """It will be told its start in the next round."""
        self._new.append(job)

    def freed(self, job: JobState | None, site: int) -> None:
        """A virtual node that nobody is on any more stands for no node."""
        if job is None:
            return
        self._parted.pop(job.index, None)
        stay = self._stay(job.index)
        for key in [(stay.site, stay.slot)] if stay else []:
            carried = self._on.get(key, set())
            carried.discard(job.index)
            if not carried:
                self._nodes.pop(key, None)

    def round(self, view: View) -> Iterator[Action]:
        """Pause what has done its share; then start what is due, in the order planned, large before small."""
        for job in list(self._parted.values()):
            yield from self._paused(job, view.now_s)
        for job in self._new:
            stay = self._stay(job.index)
            start_s = stay.start_s if stay else view.now_s
            heappush(self._due, (start_s, -job.ask.gpus, job.index))
            if start_s > view.now_s:
                yield Hold(job, start_s, stay.site if stay else -1, "held as the search found best")
        self._new.clear()
        blocked = []
        while self._due and self._due[0][0] <= view.now_s:
            entry = heappop(self._due)
            if not (yield from self._started(view.waiting[entry[2]], view)):
                blocked.append(entry)
        for entry in blocked:
            heappush(self._due, entry)

    def _stay(self, index: int) -> Stay | None:
        stays = self._schedule[index]
        return stays[min(self._next[index], len(stays) - 1)] if stays else None

    def _paused(self, job: JobState, now_s: float) -> Iterator[Action]:
        """Pause a job that has done what it was to do in this stay; else look again when it will have."""
        stays, at = self._schedule[job.index], self._next[job.index]
        if not job.running:
            if job.until_s > now_s:
                yield Wake(job.until_s)
            return
        goal_gpu_s = sum(stay.work_s for stay in stays[: at + 1]) * job.ask.gpus
        left_s = (goal_gpu_s - job.progress_gpu_s(now_s)) / job.rate
        if left_s > 0.5:
            yield Wake(now_s + left_s)
            return
        del self._parted[job.index]
        self._next[job.index] = at + 1
        yield Pause(job, "paused as the search found best", {"until_s": stays[at + 1].start_s})

    def _started(self, job: JobState, view: View) -> Generator[Action, None, bool]:
        """Start a job where it is to run, or anywhere once it is too late for that; whether it could."""
        stay = self._stay(job.index)
        late_s = view.now_s - stay.start_s if stay else 0.0
        if stay is not None:
            nodes = self._nodes_for(job, stay, view.sites[stay.site].nodes)
            if nodes:
                detail = {"planned_s": stay.start_s, "late_s": late_s}
                yield Start(job, stay.site, nodes=nodes, reason="started as the search found best", detail=detail)
                yield from self._watched(job, view.now_s)
                return True
        if stay is None or view.now_s > job.ask.latest_start_s:
            for site in view.fitting(job, job.sites, job.ask.gpus)[:1]:
                yield Start(job, site, reason="started where there was room", detail={"late_s": late_s})
                yield from self._watched(job, view.now_s)
                return True
        elif late_s == 0.0:
            yield Wake(max(job.ask.latest_start_s, view.now_s) + 1.0)
        return False

    def _watched(self, job: JobState, now_s: float) -> Iterator[Action]:
        if self._next[job.index] < len(self._schedule[job.index]) - 1:
            self._parted[job.index] = job
            yield from self._paused(job, now_s)

    def _nodes_for(self, job: JobState, stay: Stay, cluster: Cluster) -> Allocation:
        """The nodes of a job: the one that stands for its virtual node, or empty ones; none where it must wait."""
        gpus, n = job.ask.gpus, cluster.per_node
        if gpus >= n:
            fresh = _fresh(cluster, -(-gpus // n))
            rest = gpus % n
            return tuple((node, rest if rest and i == len(fresh) - 1 else n) for i, node in enumerate(fresh))
        key = (stay.site, stay.slot)
        node = self._nodes.get(key, -1)
        if node < 0:
            fresh = _fresh(cluster, 1)
            if not fresh:
                return ()
            node = self._nodes[key] = fresh[0]
        if gpus > cluster.free[node]:
            return ()
        self._on.setdefault(key, set()).add(job.index)
        return ((node, gpus),)


def _fresh(cluster: Cluster, count: int) -> list[int]:
    """So many empty nodes, awake ones first and among them those last in use; none where there are not so many."""
    empty = [i for i in range(cluster.count) if cluster.free[i] == cluster.per_node and not cluster.down >> i & 1]
    empty.sort(key=lambda i: (cluster.asleep >> i & 1, -cluster.empty_since[i], i))
    return empty[:count] if len(empty) >= count else []
