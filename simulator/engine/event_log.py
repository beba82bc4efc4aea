"""Log of a running simulation: occupancy, events and outcomes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import fields
from struct import Struct
from typing import Any

import numpy as np

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.record import EVENT_PACK, EVENT_ROW, NOTHING, OCCUPANCY_CODES, Events, Occupancy, Outcomes
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import numbers_of

_KIND_OF = {"running": "run", "fetching": "wake", "waking": "wake", "restarting": "restart", "saving": "checkpoint"}
CODE_OF = {phase: OCCUPANCY_CODES[kind] for phase, kind in _KIND_OF.items()}
# A stretch as it is written down; packed by hand it is written three times as fast as numbers are added to an array.
_ROW = Struct("<iiddidb")
_ROW_TYPE = np.dtype([*zip((item.name for item in fields(Occupancy)), _ROW.format[1:], strict=True)])
_WIDE = {"f": np.float64, "i": np.int64}
_KIND_BYTE = _ROW.size - 1


class Journal:
    """Collects the rows of a run; `level` says which events are kept."""

    def __init__(self, jobs: Sequence[Job], level: str) -> None:
        self.outcomes = Outcomes(len(jobs))
        self.outcomes.work_left_gpu_s = array("d", numbers_of(jobs, "due_gpu_s").tobytes())
        # What is told beside most events is one of few mappings.
        self._events = bytearray()
        self._kinds: dict[str, int] = {}
        self._reasons: dict[str, int] = {}
        self._details: list[Mapping[str, Any]] = [NOTHING]
        self._shared: dict[int, int] = {id(NOTHING): 0}
        self.all = level == "all"
        self.changes = level != "none"
        self._rows = bytearray()

    def occupy(self, job: JobState, until_s: float, kind: int) -> None:
        """Write down that a job held its GPUs from `since_s` to `until_s` [s] at its present power."""
        if until_s > job.since_s:
            self._rows += _pack(job.index, job.site, job.since_s, until_s, job.held, job.power_w, kind)

    def at_risk(self, job: JobState) -> None:
        """The row just written is work that no checkpoint holds yet."""
        job.at_risk.append(len(self._rows) - _ROW.size)

    def lose(self, job: JobState) -> float:
        """Book the work at risk as lost; returns the GPU-seconds."""
        lost = 0.0
        for row in job.at_risk:
            _, _, start, end, gpus, _, _ = _ROW.unpack_from(self._rows, row)
            self._rows[row + _KIND_BYTE] = OCCUPANCY_CODES["lost"]
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
        self._events += _pack_event(time_s, kinds[kind], job, site, reasons[reason], told)

    def share(self, detail: Mapping[str, Any]) -> None:
        """Keep what many events carry once; it must live as long as the log."""
        self._shared[id(detail)] = len(self._details)
        self._details.append(detail)

    @property
    def events(self) -> Events:
        """The events so far."""
        return Events(np.frombuffer(self._events, EVENT_ROW), [*self._kinds], [*self._reasons], self._details)

    def close(self) -> Occupancy:
        """The occupancy as columns, and each job's GPU-seconds added up from them."""
        occupancy = _columns(self._rows)
        self._rows = bytearray()  # they are in the columns now
        held = occupancy.gpus * (occupancy.end_s - occupancy.start_s)
        outcomes, lost = self.outcomes, held * (occupancy.kind == OCCUPANCY_CODES["lost"])
        for column, gpu_s in ((outcomes.busy_gpu_s, held), (outcomes.lost_gpu_s, lost)):
            np.frombuffer(column)[:] = np.bincount(occupancy.job, gpu_s, minlength=len(column))
        return occupancy


def _columns(packed: bytearray) -> Occupancy:
    rows = np.frombuffer(packed, _ROW_TYPE)
    columns: dict[str, Any] = {item.name: rows[item.name] for item in fields(Occupancy)}
    return Occupancy(**{name: column.astype(_WIDE[column.dtype.kind]) for name, column in columns.items()})


_pack, _pack_event = _ROW.pack, EVENT_PACK.pack
