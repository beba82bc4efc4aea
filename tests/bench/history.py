"""What the figures of speed were at earlier commits, so that a change which costs a tenth is seen.

`history.csv` has one line a commit and figure. Only ratios within one run (to a million bare timeouts, or of two
commands) can be compared between machines; seconds are kept beside them for whoever knows the machine.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.jobs import Row

FILE = Path(__file__).with_name("history.csv")
COLUMNS = ("date", "commit", "figure", "value", "unit")
COMPARED = ("U", "timeouts", "ratio", "times")
SEEN = 1.1
"""From what ratio on to the last figure it is said."""


@dataclass(frozen=True)
class Change:
    """A figure beside what it was at the last commit that measured it."""

    row: Row
    before: float
    commit: str

    @property
    def ratio(self) -> float:
        """How many times as much it is now."""
        return self.row.value / self.before

    def __str__(self) -> str:
        """One line on it."""
        return f"{self.row.name}: {self.before:.3g} at {self.commit}, {self.row.value:.3g} now, {self.ratio:.2f} times"


def last(file: Path = FILE) -> dict[str, tuple[float, str]]:
    """The newest value and its commit, by figure."""
    if not file.is_file():
        return {}
    with file.open(newline="") as lines:
        return {line["figure"]: (float(line["value"]), line["commit"]) for line in csv.DictReader(lines)}


def changes(rows: Sequence[Row], file: Path = FILE) -> list[Change]:
    """The figures that can be compared, beside their last ones."""
    before = last(file)
    return [Change(row, *before[row.name]) for row in rows if row.unit in COMPARED and row.name in before]


def append(rows: Sequence[Row], file: Path = FILE) -> None:
    """Write the figures down as those of the commit that is checked out."""
    new = not file.is_file()
    with file.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        date, at = f"{datetime.now(UTC):%Y-%m-%d}", commit()
        writer.writerows((date, at, row.name, f"{row.value:.4g}", row.unit) for row in rows)


def commit() -> str:
    """The commit that is checked out, with a plus where files differ from it; `unknown` outside of a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    said = subprocess.run(command, cwd=FILE.parent, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"
