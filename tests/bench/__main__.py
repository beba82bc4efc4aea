"""`make bench`: every figure of speed in one run, as a table, and docs/performance.md with it.

Usage: python -m bench [--quick] [DATA]. What it measures is added to `history.csv` beside it; `--quick` measures a few
ratios within one run, writes nothing, and fails where one is far beyond its limit.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import energy, history, jobs, planner, scale, whole
from bench.jobs import Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"

QUICK_LEEWAY = 1.5
"""How many times its limit a quick figure may be before it fails: a machine's noise never makes it so."""

HEAD = """# Performance

Measured by `make bench`, which writes this page. U is the processor time of a million bare SimPy timeouts from
twelve processes in the same process, measured before and after each figure: ratios to it hold when the machine's
speed drifts. Other figures are processor time in seconds, unless they say wall time.

"""

TAIL = """
## What costs what

- **Energy** costs one closed-form move of the battery per supply step and site; stretches in which an empty battery
  sees no sun are one move. All other flows come from numpy afterwards. It grows with sites x steps.
- **Jobs** cost a start and an end each, and one change of load at their site. A round looks only at the newcomer, or,
  after GPUs have come free, at the head of each group of equal size; so the queue's length does not matter.
- **Holding** (`wait-for-sun`) costs some numpy over sites x hours for each job that may wait; the planner does that
  every hour for each job that is alive; `budget-planner` solves a programme of some two thousand variables before
  that. Of what a job costs under `wait-for-sun` half is its decision, and of a full decision, some 30 calls of numpy in
  50 microseconds, a third is making and taking back promises. It does not grow with the length of the run.
- **The bound** is one solve by dual simplex per scenario and seed; a long window is solved in blocks. From a hundred
  sites on, two samples of 24 of them give prices, and each site is solved by itself at these (18 ms a site and
  month). Where all sites differ, a month of 100 takes 11 s instead of 15.
- **Memory** of a million jobs under `fifo` is two fifths books of twelve sites, a quarter jobs and their outcomes, in
  columns, and a sixth events and intervals on GPUs. Who makes many jobs by hand should give `simulate` a `JobTable`: a
  list of a million jobs holds half a gigabyte by itself.
- **A report** of a month of forty runs costs a second of imports, two of data for the explorer, and the rest for some
  twenty figures, each in equal parts for preparing, laying out and drawing.
- **Supply** is pvlib on daylight rows; the second time it is read from disk, as are series from CSV files, which are
  kept on the steps of the run under a hash of the file's content.
- **A year of energy alone** from CSV files costs most in what it loads: pandas, scipy and pvlib take some two seconds
  and 150 MB the first time, and are not loaded again; another second goes into the hash of the source, once for each
  version of it. Of the second time, half is the ledger (a move of the battery for each of 1.26 million steps), a
  quarter tables and metrics, the rest the start of the command and reading profiles. One site's books are
  held at a time.

## Where a limit is not met

What the profile shows, and what it would take:

- **A year under `wait-for-sun`** is 110,000 times the cost of a job; nothing in it grows. At 10 U some 20
  microseconds a job are left beyond `fifo`, and three jobs in five need a full decision of 50: that takes a
  compiled one.
- **`pai_100k`**: a quarter is the settling of the books; the rest is spread over some forty functions of less than
  4 % each, under `easy` a seventh over reservations.
- **`budget-planner`'s longest round**: 95 jobs planned one by one take half of it, the interior point most of the
  rest. A simplex that goes on from the last hour's basis saves a quarter, but draws 0.8 % more.
- **Overhead of a run**: the columns of energy.parquet 18 ms, writing three Parquet files 25, flushing them to the
  disk 7, attribution 6. A third of the columns of energy.parquet are constant in most runs; leaving them out would
  change the format.
- **Two workers on runs of two days**: half a second of the 4 is the start of the command, mostly the models of the
  experiment file; 1.8 times would allow 0.47 s of all that cannot be shared.
- **Energy alone, the first time**: 2.3 s are sun and sky with the imports of pvlib and scipy, 1.1 s the hash of the
  source, half a second the two files.
- **Reports**: 22 figures take half of a month's: text as paths, PNGs for tables of many cells, and two passes of
  layout.
"""


def collect(data: Path, quick: bool) -> list[Row]:
    """All rows, each printed as soon as it is there."""
    if quick:
        measures = (lambda: energy.rows(2), lambda: whole.month_rows(1), scale.quick_rows)
        return [_told(row) for measure in measures for row in measure()]
    repeats = 3
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        ("energy", lambda: energy.rows(repeats)),
        ("jobs", lambda: jobs.rows(data, repeats)),
        ("supply", whole.supply_rows),
        ("start", whole.start_rows),
        ("month", whole.month_rows),
        ("matrix", whole.matrix_rows),
        ("growth", whole.growth_rows),
        ("planner", planner.rows),
        ("year", whole.year_rows),
        ("bound", whole.bound_rows),
        ("scale", scale.rows),
    ]
    return [_told(row) for _, measure in parts for row in measure()]


def _told(row: Row) -> Row:
    print(_line(row), flush=True)
    return row


def _line(row: Row) -> str:
    mark = "" if row.met else "  MISSED"
    return f"{row.name:45s} {row.value:10.3f} {row.unit:7s} limit {row.limit:8.3f}{mark}  {row.note}"


def page(rows: list[Row]) -> str:
    """The page, with the machine's description."""
    machine = (
        f"{datetime.now(UTC):%d %B %Y}, {platform.system()} on {platform.machine()}, {os.cpu_count()} processors,"
        f" Python {platform.python_version()}.\n\n"
    )
    table = "| what | measured | at most | met | |\n|---|---|---|---|---|\n"
    for row in rows:
        met = "yes" if row.met else "**no**"
        table += f"| {row.name} | {row.value:.3g} {row.unit} | {row.limit:.3g} | {met} | {row.note} |\n"
    return HEAD + machine + table + TAIL


def main(arguments: list[str]) -> int:
    """Measure, print and compare with the last figures; write page and history unless a quick look was asked for."""
    quick = "--quick" in arguments
    places = [word for word in arguments if not word.startswith("-")]
    data = Path(places[0] if places else os.environ.get("TAFUKT_DATA", ROOT.parent / "shared" / "data"))
    rows = collect(data, quick)
    for change in history.changes(rows):
        if change.ratio > history.SEEN:
            print(f"slower: {change}")
    if quick:
        beyond = [row for row in rows if row.value > QUICK_LEEWAY * row.limit]
        for row in beyond:
            print(f"more than {QUICK_LEEWAY:g} times what is allowed: {row.name}")
        return 1 if beyond else 0
    history.append(rows)
    PAGE.write_text(page(rows))
    print(f"Wrote {PAGE} and {history.FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
