"""Log of a running simulation: occupancy, events and outcomes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.record import EVENT_COLUMNS, NOTHING, OCCUPANCY_CODES, Events, Occupancy, Outcome
from tafukt.workloads.job import Job

_KIND_OF = {"running": "run", "fetching": "wake", "waking": "wake", "restarting": "restart", "saving": "checkpoint"}
CODE_OF = {phase: OCCUPANCY_CODES[kind] for phase, kind in _KIND_OF.items()}
_COLUMNS = 7


class Journal:
    """Collects the rows of a run; `level` says which events are kept."""

    def __init__(self, jobs: Sequence[Job], level: str) -> None:
        self.outcomes = [Outcome(work_left_gpu_s=job.truth.due_gpu_s) for job in jobs]
        # Rows of six doubles, as `record.Events` has them; what is told beside most events is one of few mappings.
        self._events = array("d")
        self._kinds: dict[str, int] = {}
        self._reasons: dict[str, int] = {}
        self._details: list[Mapping[str, Any]] = [NOTHING]
        self._shared: dict[int, int] = {id(NOTHING): 0}
        self.all = level == "all"
        self.changes = level != "none"
        # Rows of seven doubles: extending one array is what Python does fastest, and indices stay exact.
        self._rows = array("d")

    def occupy(self, job: JobState, until_s: float, kind: int) -> None:
        """Write down that a job held its GPUs from `since_s` to `until_s` [s] at its present power."""
        if until_s > job.since_s:
            self._rows.extend((job.index, job.site, job.since_s, until_s, job.held, job.power_w, kind))

    def at_risk(self, job: JobState) -> None:
        """The row just written is work that no checkpoint holds yet."""
        job.at_risk.append(len(self._rows) - _COLUMNS)

    def lose(self, job: JobState) -> float:
        """Book the work at risk as lost; returns the GPU-seconds."""
        lost = 0.0
        for row in job.at_risk:
            _, _, start, end, gpus, _, _ = self._rows[row : row + _COLUMNS]
            self._rows[row + _COLUMNS - 1] = OCCUPANCY_CODES["lost"]
            lost += gpus * (end - start)
        job.at_risk.clear()
        return lost

    def note(
        self, time_s: float, kind: str, job: int, site: int, reason: str = "", detail: Mapping[str, Any] = NOTHING
    ) -> None:
        """Write down an event."""
        kinds, reasons = self._kinds, self._reasons
        told = self._shared.get(id(detail))
        if told is None:
            told = len(self._details)
            self._details.append(detail)
        if kind not in kinds:
            kinds[kind] = len(kinds)
        if reason not in reasons:
            reasons[reason] = len(reasons)
        self._events.extend((time_s, kinds[kind], job, site, reasons[reason], told))

    def share(self, detail: Mapping[str, Any]) -> None:
        """Keep what many events carry once; it must live as long as the log."""
        self._shared[id(detail)] = len(self._details)
        self._details.append(detail)

    @property
    def events(self) -> Events:
        """The events so far."""
        rows = np.frombuffer(self._events, dtype=np.float64).reshape(-1, EVENT_COLUMNS)
        return Events(rows, [*self._kinds], [*self._reasons], self._details)

    def close(self) -> Occupancy:
        """The occupancy as columns, and each job's GPU-seconds added up from them."""
        table = np.frombuffer(self._rows, dtype=np.float64).reshape(-1, _COLUMNS)
        job, site, start, end, gpus, power, kind = table.T
        whole = [column.astype(np.int64) for column in (job, site, gpus, kind)]
        occupancy = Occupancy(whole[0], whole[1], start.copy(), end.copy(), whole[2], power.copy(), whole[3])
        held = occupancy.gpus * (occupancy.end_s - occupancy.start_s)
        n = len(self.outcomes)
        busy = np.bincount(occupancy.job, held, minlength=n)
        lost = np.bincount(occupancy.job, held * (occupancy.kind == OCCUPANCY_CODES["lost"]), minlength=n)
        for outcome, busy_gpu_s, lost_gpu_s in zip(self.outcomes, busy.tolist(), lost.tolist(), strict=True):
            outcome.busy_gpu_s, outcome.lost_gpu_s = busy_gpu_s, lost_gpu_s or 0.0  # one zero for all that lost nothing
        self._rows = array("d")  # they are in the columns now
        return occupancy
