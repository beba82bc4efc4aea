"""Reader of the Standard Workload Format of the Parallel Workloads Archive.

Chapin et al. 1999, doi 10.1007/3-540-47954-6_4: comment lines start with a semicolon; 18 fields a line, -1 where
unknown. The requested processors count (the allocated ones where none were requested), the requested
time is the estimate, the queue is the virtual cluster.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.files import opened
from tafukt.workloads.traces.table import Clock, Integrity, TraceTable, gpu_hours, table_of

CHECK_EVERY = 20_000
FIELDS = 18
# Fields that are read, by their number in the format, from 1.
JOB, SUBMIT, WAIT, RUNTIME, ALLOCATED, REQUESTED, REQUESTED_TIME, STATUS_FIELD, GROUP, QUEUE = (
    1, 2, 3, 4, 5, 8, 9, 11, 13, 15,
)  # fmt: skip
USED = (JOB, SUBMIT, WAIT, RUNTIME, ALLOCATED, REQUESTED, REQUESTED_TIME, STATUS_FIELD, GROUP, QUEUE)
CANCELLED, FAILED, PARTIAL = 5, 0, (2, 3, 4)


def read_swf(path: Path) -> tuple[TraceTable, Integrity]:
    """Read an SWF file, gzipped or not (see `workloads.traces.readers.read_table`).

    Raises
    ------
    WorkloadError
        If the file cannot be read or holds no job.
    """
    report = Integrity(path.name)
    header: dict[str, str] = {}
    rows, values = array("q"), array("d")
    short, wrong = array("q"), array("q")
    with opened(path) as stream:
        for number, raw in enumerate(stream, 1):
            if raw.startswith(b";"):
                key, colon, text = raw[1:].decode("utf-8", errors="replace").partition(":")
                if colon and len(header) < 64:
                    header.setdefault(key.strip(), text.strip()[:200])
                continue
            parts = raw.split()
            if not parts:
                continue
            report.read += 1
            if report.read % CHECK_EVERY == 0:
                stream.check_rows(report.read)
            if len(parts) != FIELDS:
                short.append(number)
                continue
            try:
                values.extend([float(parts[field - 1]) for field in USED])
            except ValueError:
                wrong.append(number)
                del values[len(rows) * len(USED) :]
                continue
            rows.append(number)
    report.reject(f"not {FIELDS} fields", np.array(short, dtype=np.int64))
    report.reject("a field is not a number", np.array(wrong, dtype=np.int64))
    if not report.read:
        raise WorkloadError(f"{path}: there are no jobs in it")
    report.remarks["header"] = header
    columns = np.array(values).reshape(-1, len(USED)).T
    row = np.array(rows, dtype=np.int64)
    finite = np.isfinite(columns).all(axis=0)
    report.reject("a field is not a finite number", row[~finite])
    return _table(row[finite], dict(zip(USED, columns[:, finite], strict=True)), report, clock_of(header)), report


def clock_of(header: dict[str, str]) -> Clock:
    """The clock that submission times count on: `UnixStartTime` is their zero in UTC, `TimeZoneString` the zone.

    `TimeZone`, seconds ahead of UTC, is what older logs have instead. A start of 0 stands for one that is not known.
    """
    try:
        begun = int(float(header.get("UnixStartTime", "0")))
        at = datetime.fromtimestamp(begun, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return Clock()
    if begun <= 0:
        return Clock()
    name = header.get("TimeZoneString", "")
    try:
        offset = at.astimezone(ZoneInfo(name)).utcoffset() if name else None
    except (KeyError, ValueError, OSError):
        offset = None
    if offset is not None:
        return Clock(True, offset.total_seconds(), f"local time of {name}, as its header says")
    try:
        return Clock(True, float(int(header["TimeZone"])), "local time, by TimeZone in its header")
    except (KeyError, ValueError):
        return Clock(True, 0.0, "UTC, since its header names no known time zone")


def _begun(header: dict[str, str], clock: Clock) -> float:
    """Instant that submission times count from, on the log's own clock [s since 1970]."""
    return float(header["UnixStartTime"]) + clock.offset_s if clock.dated else 0.0


def _table(row: Any, field: dict[int, Any], report: Integrity, clock: Clock) -> TraceTable:
    """Give the fields their meaning."""
    status = field[STATUS_FIELD]
    never = (field[RUNTIME] <= 0) & (status == CANCELLED)
    report.drop("cancelled before it started", row[never])
    partial = np.isin(status, PARTIAL) & ~never
    report.drop("part of a job that has a summary line, too", row[partial])
    unknown = (field[RUNTIME] == -1) & ~never & ~partial
    report.reject("runtime unknown (-1)", row[unknown])
    early = (field[SUBMIT] < 0) & ~(never | partial | unknown)
    report.reject("negative submission time", row[early], gpu_h=gpu_hours(field[ALLOCATED], field[RUNTIME])[early])
    keep = ~(never | partial | unknown | early)
    requested = field[REQUESTED]
    processors = np.where(requested > 0, requested, field[ALLOCATED])
    report.repair(
        "processors requested are not given, those allocated are used", row[keep & (requested <= 0) & (processors > 0)]
    )
    nobody = keep & (processors < 0)
    report.reject("processors unknown (-1)", row[nobody])
    keep &= ~nobody
    queue = field[QUEUE].astype(np.int64)
    begun = _begun(report.remarks["header"], clock)
    submit = begun + field[SUBMIT]
    data = {
        "row": row,
        "submit": submit,
        "start": np.where(field[WAIT] >= 0, submit + field[WAIT], np.nan),
        "gpus": processors,
        "runtime": field[RUNTIME],
        "estimate": np.where(field[REQUESTED_TIME] > 0, field[REQUESTED_TIME], np.nan),
        "status": np.where(status == FAILED, 1, np.where(status == CANCELLED, 2, 0)).astype(np.int8),
        "cluster": np.array([f"queue {n}" if n >= 0 else "" for n in queue.tolist()], dtype=object),
        "id": np.array([str(int(n)) if n.is_integer() else str(n) for n in field[JOB].tolist()], dtype=object),
    }
    return table_of({name: values[keep] for name, values in data.items()}, report, "refuse", clock)
