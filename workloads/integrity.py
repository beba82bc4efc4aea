"""What was read, left out and mended in a trace: counted, with row numbers, so that no job goes silently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import WorkloadError

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
            raise WorkloadError("\n".join(lines))
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
