"""The baseline of whoever has a log: every job starts when and where the log says that it did.

Nobody is started before the log did, whatever its slack; where there is no room then, as on fewer nodes than the log
was recorded on, it starts as soon as there is, in the order of the log's starts. A job of which the log says no start
starts when it can, and one of which it says no place at home, or where the largest share of GPUs is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from tafukt.simulator.engine.actions import Action, Hold, Start
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.place import home
from tafukt.simulator.units import on_grid


class AsLogged:
    """Replays the log's own schedule."""

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        self._at = {site.name: index for index, site in enumerate(view.sites)}
        self._new: list[JobState] = []
        self._held: list[tuple[float, int, JobState]] = []
        self._ready: dict[int, JobState] = {}

    def waiting(self, job: JobState) -> None:
        """A job has arrived, or is back among the waiting."""
        self._new.append(job)

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free: the next round looks for itself."""

    def round(self, view: View) -> Iterator[Action]:
        """Hold whose time has not come, start the others where the log has them."""
        now = view.now_s
        newcomers, self._new = self._new, []
        for job in newcomers:
            start = _start_s(job)
            if start > now:
                heappush(self._held, (start, job.index, job))
                yield Hold(job, start, self._place(job), "as-logged", {"logged_start_s": start})
            else:
                self._ready[job.index] = job
        while self._held and self._held[0][0] <= now:
            _, index, job = heappop(self._held)
            if index in view.waiting:
                self._ready[index] = job
        for job in sorted(self._ready.values(), key=lambda job: (_start_s(job), job.index)):
            if job.ask.gpus > view.most_room:
                continue
            site = self._site(job, view)
            if site >= 0:
                del self._ready[job.index]
                yield Start(job, site, reason="as-logged", detail={"late_s": max(now - _start_s(job), 0.0)})

    def _place(self, job: JobState) -> int:
        """The site where the log has a job, as far as that is a site here where it may run; else -1."""
        index = self._at.get(job.ask.logged_site, -1)
        return index if index in job.sites else -1

    def _site(self, job: JobState, view: View) -> int:
        """The site where a job starts now; -1 where it has to wait."""
        logged = self._place(job)
        if logged >= 0 and view.sites[logged].gpus >= job.ask.gpus:
            return logged if view.fitting(job, (logged,), job.ask.gpus) else -1
        fitting = view.fitting(job, view.sites_for(job), job.ask.gpus)
        return home(job, fitting, view)[0] if fitting else -1


def _start_s(job: JobState) -> float:
    """Start of a job by the log; its submission where it does not say [s]."""
    logged = job.ask.logged_start_s
    return job.ask.submit_s if logged is None else on_grid(max(logged, job.ask.submit_s))
