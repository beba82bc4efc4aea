"""A trace as a table of numbers, whatever its format: what is checked in every one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import Ending
from tafukt.workloads.units import DAY_S, Floats, Ints

MAX_RUNTIME_S = 10 * 366 * DAY_S
MAX_GPUS = 1_000_000
STATUS: tuple[Ending, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class TraceTable:
    """A trace as it was read, rows in the file's order.

    `submit_s` counts from midnight of the day of the first submission [s]; `units` are the GPUs or
    processors asked for; `estimate_s` is NaN where there is none; `status` indexes `STATUS`; `cluster` and
    `kind` index their names; `row` is the line number in the file. `epoch_day` is the first day, counted from
    1970-01-01, where the trace has dates.
    """

    row: Ints
    submit_s: Floats
    runtime_s: Floats
    units: Floats
    estimate_s: Floats
    status: NDArray[np.int8]
    cluster: Ints
    clusters: tuple[str, ...]
    kind: Ints
    kinds: tuple[str, ...]
    ids: tuple[str, ...] | None
    epoch_day: int | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def days(self) -> float:
        """From the first midnight to the last submission [days]."""
        return float(self.submit_s.max(initial=0.0)) / DAY_S


def table_of(data: dict[str, Any], report: Integrity, zero_gpus: str, dated: bool = False) -> TraceTable:
    """Check parsed columns, and put what makes sense into a table.

    `data` holds `row submit gpus runtime` and, where the file has them, `estimate status cluster kind id`.
    """
    row = data["row"]
    keep = np.ones(len(row), dtype=bool)
    checks = (
        ("negative submission time", data["submit"] < 0),
        ("negative runtime", data["runtime"] < 0),
        ("runtime of more than ten years", data["runtime"] > MAX_RUNTIME_S),
        ("negative GPUs", data["gpus"] < 0),
        ("more than a million GPUs", data["gpus"] > MAX_GPUS),
    )
    for reason, wrong in checks:
        report.reject(reason, row[wrong & keep])
        keep = keep & ~wrong
    without = (data["gpus"] == 0) & keep
    (report.drop if zero_gpus == "drop" else report.reject)("no GPUs", row[without])
    keep = keep & ~without
    if "id" in data:
        _, first = np.unique(data["id"].astype(str), return_index=True)
        again = np.ones(len(row), dtype=bool)
        again[first] = False
        again &= keep
        if again.any():
            report.reject("duplicate id", row[again], repr(str(data["id"][int(np.argmax(again))])))
        keep = keep & ~again
    instant = (data["runtime"] == 0) & keep
    report.repair("runtime of 0, below the log's resolution, set to 1 s", row[instant])
    return _selected(data, keep, dated)


def _selected(data: dict[str, Any], keep: NDArray[np.bool_], dated: bool) -> TraceTable:
    n = int(keep.sum())
    submit = data["submit"][keep]
    midnight = DAY_S * np.floor(submit.min() / DAY_S) if n else 0.0
    names: dict[str, tuple[str, ...]] = {}
    codes: dict[str, Ints] = {}
    for role in ("cluster", "kind"):
        if role in data:
            unique, inverse = np.unique(data[role][keep].astype(str), return_inverse=True)
            names[role], codes[role] = tuple(str(name) for name in unique), inverse.astype(np.int64)
        else:
            names[role], codes[role] = ("",), np.zeros(n, dtype=np.int64)
    return TraceTable(
        row=data["row"][keep],
        submit_s=submit - midnight,
        runtime_s=np.where(data["runtime"][keep] == 0, 1.0, data["runtime"][keep]),
        units=data["gpus"][keep],
        estimate_s=data["estimate"][keep] if "estimate" in data else np.full(n, np.nan),
        status=data["status"][keep].astype(np.int8) if "status" in data else np.zeros(n, dtype=np.int8),
        cluster=codes["cluster"],
        clusters=names["cluster"],
        kind=codes["kind"],
        kinds=names["kind"],
        ids=tuple(str(name) for name in data["id"][keep]) if "id" in data else None,
        epoch_day=int(midnight // DAY_S) if dated else None,
    )


# --- What was read, left out and mended in a trace: counted, with row numbers, so that no job goes silently


SHOWN_ROWS = 5


@dataclass
class _Tally:
    count: int = 0
    rows: list[int] = field(default_factory=list)
    example: str = ""

    def add(self, rows: NDArray[np.int64], example: str) -> None:
        self.count += len(rows)
        self.rows += [int(row) for row in rows[: SHOWN_ROWS - len(self.rows)]]
        self.example = self.example or example

    def text(self) -> str:
        rows = ", ".join(str(row) for row in self.rows) + (" ..." if self.count > len(self.rows) else "")
        noun = "row" if self.count == 1 else "rows"
        return f"{self.count} {noun} ({rows}){self.example}"


@dataclass
class Integrity:
    """The report of one reading. Row numbers are line numbers in the unpacked file, from 1."""

    file: str
    read: int = 0
    dropped: dict[str, _Tally] = field(default_factory=dict)
    bad: dict[str, _Tally] = field(default_factory=dict)
    repaired: dict[str, _Tally] = field(default_factory=dict)
    remarks: dict[str, Any] = field(default_factory=dict)

    def drop(self, reason: str, rows: NDArray[np.int64]) -> None:
        """Rows that are left out by a rule that the format or the experiment states."""
        if len(rows):
            self.dropped.setdefault(reason, _Tally()).add(rows, "")

    def reject(self, reason: str, rows: NDArray[np.int64], example: str = "") -> None:
        """Rows that make no sense: an error, or left out, as the experiment says."""
        if len(rows):
            self.bad.setdefault(reason, _Tally()).add(rows, f": {example}" if example else "")

    def repair(self, how: str, rows: NDArray[np.int64]) -> None:
        """Rows that were changed, and how."""
        if len(rows):
            self.repaired.setdefault(how, _Tally()).add(rows, "")

    def settle(self, bad_rows: str) -> None:
        """Refuse the bad rows, or count them as dropped.

        Raises
        ------
        WorkloadError
            One line per kind of mistake, with row numbers, if `bad_rows` is `refuse`.
        """
        if self.bad and bad_rows == "refuse":
            lines = [f"{self.file}: {reason}: {tally.text()}" for reason, tally in self.bad.items()]
            lines.append('to leave such rows out, counted, set workload.bad_rows = "drop"')
            raise WorkloadError(lines)
        self.dropped |= self.bad
        self.bad = {}

    def notes(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "file": self.file,
            "rows_read": self.read,
            "rows_dropped": sum(tally.count for tally in self.dropped.values()),
            "dropped": {reason: tally.text() for reason, tally in self.dropped.items()},
            "repaired": {how: tally.text() for how, tally in self.repaired.items()},
            **self.remarks,
        }
