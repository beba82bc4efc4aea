"""A trace as a table of numbers, whatever its format, and the report of what was left out or mended in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import Ending
from tafukt.workloads.units import DAY_S, HOUR_S, Floats, Ints

MAX_RUNTIME_S = 10 * 366 * DAY_S
MAX_GPUS = 1_000_000
STATUS: tuple[Ending, ...] = ("done", "failed", "cancelled")
UNFINISHED = len(STATUS)
"""Code of a job that had not ended when the log was written."""
SHOWN_ROWS = 5
# Half of the jobs of no log run for less than this or for longer: then it is the unit that is wrong.
MEDIAN_RUNTIME_S = (1.0, 366 * DAY_S)
LONG_MEDIAN_S = 30 * DAY_S
# No log with times since its start covers more: the longest of the Parallel Workloads Archive cover some four years.
LONGEST_LOG_S = 25 * 366 * DAY_S
UNITS = (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", HOUR_S), ("d", DAY_S))


@dataclass(frozen=True)
class Clock:
    """The clock of a log: whether it shows dates, how far it is ahead of UTC [s], and how that is known."""

    dated: bool = False
    offset_s: float = 0.0
    said: str = "times count from the start of the log, whose time of day is not known: midnight is assumed"


@dataclass(frozen=True)
class Names:
    """A column of names, as indices into the different ones; the empty name means none."""

    code: Ints
    names: tuple[str, ...]

    @classmethod
    def of(cls, column: NDArray[Any]) -> Names:
        """A column of text."""
        names, code = np.unique(column.astype(str), return_inverse=True)
        return cls(code.astype(np.int64), tuple(str(name) for name in names))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Mask of the rows that have a name."""
        return np.array([bool(name) for name in self.names], dtype=bool)[self.code]


@dataclass(frozen=True)
class TraceTable:
    """A trace as it was read, rows in the file's order.

    `submit_s`, `start_s` and `deadline_s` count from midnight, on the log's own clock, of the day of the first
    submission [s]; `units` are the GPUs or processors asked for; numbers are NaN where there is none; `status`
    indexes `STATUS`; `interruptible` is 1, 0, or -1 where unknown; `row` is the line number in the file. `epoch_day`
    is the first day, counted from 1970-01-01, where the trace has dates. A column that the file lacks is `None`.
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
    clock: Clock = Clock()
    start_s: Floats | None = None
    slack_s: Floats | None = None
    deadline_s: Floats | None = None
    interruptible: NDArray[np.int8] | None = None
    priority: Floats | None = None
    checkpoint_gb: Floats | None = None
    dataset_gb: Floats | None = None
    tier: Names | None = None
    home: Names | None = None
    dataset: Names | None = None
    place: Names | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def days(self) -> float:
        """From the first midnight to the last submission [days]."""
        return float(self.submit_s.max(initial=0.0)) / DAY_S

    @property
    def midnight_utc_s(self) -> float | None:
        """The first midnight [s since 1970 in UTC], where the trace has dates."""
        return None if self.epoch_day is None else self.epoch_day * DAY_S - self.clock.offset_s


def table_of(data: dict[str, Any], report: Integrity, zero_gpus: str, clock: Clock | None = None) -> TraceTable:
    """Check parsed columns, and put what makes sense into a table.

    `data` holds `row submit gpus runtime` and, where the file has them, `estimate status cluster kind id start slack
    deadline interruptible priority checkpoint dataset_gb tier home dataset place`. All times are on the log's own
    clock.
    """
    clock = clock or Clock()
    row = data["row"]
    keep = np.ones(len(row), dtype=bool)
    work = gpu_hours(data["gpus"], data["runtime"])
    if "status" in data:
        running = (data["status"] == UNFINISHED) & keep
        report.drop("had not ended when the log was written", row[running], gpu_h=work[running])
        keep = keep & ~running
    checks = (
        ("negative submission time", data["submit"] < 0),
        ("negative runtime", data["runtime"] < 0),
        ("runtime of more than ten years", data["runtime"] > MAX_RUNTIME_S),
        ("negative GPUs", data["gpus"] < 0),
        ("more than a million GPUs", data["gpus"] > MAX_GPUS),
    )
    for reason, wrong in checks:
        report.reject(reason, row[wrong & keep], gpu_h=work[wrong & keep])
        keep = keep & ~wrong
    without = (data["gpus"] == 0) & keep
    (report.drop if zero_gpus == "drop" else report.reject)("no GPUs", row[without])
    keep = keep & ~without
    if "id" in data:
        _, first = np.unique(data["id"].astype(str), return_index=True)
        again = np.ones(len(row), dtype=bool)
        again[first] = False
        again &= keep & (data["id"] != "")
        if again.any():
            example = repr(str(data["id"][int(np.argmax(again))]))
            report.reject("duplicate id", row[again], example, gpu_h=work[again])
        keep = keep & ~again
    instant = (data["runtime"] == 0) & keep
    report.repair("runtime of 0, set to 1 s", row[instant])
    _check_units({name: values[keep] for name, values in data.items()}, report, clock)
    return _selected(data, keep, clock)


def gpu_hours(gpus: Floats, runtime_s: Floats) -> Floats:
    """GPU-hours of rows, 0 where they cannot be told."""
    with np.errstate(over="ignore", invalid="ignore"):
        hours = np.maximum(gpus, 0.0) * np.clip(runtime_s, 0.0, MAX_RUNTIME_S) / HOUR_S
    return np.where(np.isfinite(hours), hours, 0.0)


def _check_units(data: dict[str, Any], report: Integrity, clock: Clock) -> None:
    """Refuse a table whose times cannot be in the unit that its format says.

    Raises
    ------
    WorkloadError
        Naming the unit that would fit.
    """
    runtime = data["runtime"][data["runtime"] > 0]
    span = float(np.ptp(data["submit"])) if len(data["submit"]) else 0.0
    if len(runtime):
        median = float(np.median(runtime))
        least, most = MEDIAN_RUNTIME_S
        if median < least or median > most or (len(runtime) >= 10 and median > max(LONG_MEDIAN_S, span)):
            raise WorkloadError(
                f"{report.file}: half of the jobs {_than(median)}, so column {report.column('runtime')} is in another "
                f"unit than the format says{_instead(report.unit('runtime'), median)}"
            )
    if not clock.dated and span > LONGEST_LOG_S:
        raise WorkloadError(
            f"{report.file}: submissions span {span / DAY_S / 365.25:,.0f} years, so column "
            f"{report.column('submit')} is in another unit than the format says"
            f"{_instead(report.unit('submit'), span / max(len(data['submit']), 1))}"
        )


def _than(median_s: float) -> str:
    if median_s < 1.0:
        return f"run for less than {median_s:.3g} s"
    return f"run for more than {median_s / DAY_S:,.0f} days"


def _instead(unit: str, value_s: float) -> str:
    """The other unit that would give a plausible time: the one that comes nearest to half an hour."""
    factors = dict(UNITS)
    if unit not in factors:
        return ""
    number = value_s / factors[unit]
    nearest = min(factors, key=lambda name: abs(np.log(max(number * factors[name], 1e-12) / 1800.0)))
    where = 'a column map of your own (format = "mine.toml") can say so'
    return f' ("{unit}"; is it "{nearest}"? {where})' if nearest != unit else ""


def _selected(data: dict[str, Any], keep: NDArray[np.bool_], clock: Clock) -> TraceTable:
    n = int(keep.sum())
    submit = data["submit"][keep]
    midnight = DAY_S * np.floor(submit.min() / DAY_S) if n else 0.0
    nothing = Names(np.zeros(n, dtype=np.int64), ("",))
    texts = [role for role in ("cluster", "kind", "tier", "home", "dataset", "place") if role in data]
    names = {role: Names.of(data[role][keep]) for role in texts}
    cluster, kind = names.get("cluster", nothing), names.get("kind", nothing)

    def number(role: str, less: float = 0.0) -> Floats | None:
        return data[role][keep] - less if role in data else None

    estimate = number("estimate")
    flag = data["interruptible"][keep] if "interruptible" in data else None
    return TraceTable(
        row=data["row"][keep],
        submit_s=submit - midnight,
        runtime_s=np.where(data["runtime"][keep] == 0, 1.0, data["runtime"][keep]),
        units=data["gpus"][keep],
        estimate_s=np.full(n, np.nan) if estimate is None else estimate,
        status=data["status"][keep].astype(np.int8) if "status" in data else np.zeros(n, dtype=np.int8),
        cluster=cluster.code,
        clusters=cluster.names,
        kind=kind.code,
        kinds=kind.names,
        ids=_ids(data["id"][keep], data["row"][keep]) if "id" in data else None,
        epoch_day=int(midnight // DAY_S) if clock.dated else None,
        clock=clock,
        start_s=number("start", midnight),
        slack_s=number("slack"),
        deadline_s=number("deadline", midnight),
        interruptible=None if flag is None else np.where(np.isnan(flag), -1, flag).astype(np.int8),
        priority=number("priority"),
        checkpoint_gb=number("checkpoint"),
        dataset_gb=number("dataset_gb"),
        tier=names.get("tier"),
        home=names.get("home"),
        dataset=names.get("dataset"),
        place=names.get("place"),
    )


def _ids(column: NDArray[Any], row: Ints) -> tuple[str, ...]:
    """Ids, a row that has none called by its number."""
    return tuple(str(name) or f"r{at}" for name, at in zip(column, row.tolist(), strict=True))


# --- What was read, left out and mended in a trace: counted, with row numbers, so that no job goes silently


def rows_shown(rows: Iterable[int], count: int) -> str:
    """The first of some row numbers."""
    first: Sequence[int] = list(rows)[:SHOWN_ROWS]
    return ", ".join(str(row) for row in first) + (" ..." if count > len(first) else "")


@dataclass
class _Tally:
    count: int = 0
    rows: list[int] = field(default_factory=list)
    example: str = ""
    gpu_h: float = 0.0

    def add(self, rows: NDArray[np.int64], example: str, gpu_h: float) -> None:
        self.count += len(rows)
        self.rows += [int(row) for row in rows[: SHOWN_ROWS - len(self.rows)]]
        self.example = self.example or example
        self.gpu_h += gpu_h

    def text(self) -> str:
        noun = "row" if self.count == 1 else "rows"
        hours = f"{self.gpu_h:.2g}" if self.gpu_h < 10 else f"{self.gpu_h:,.0f}"
        work = f"; {hours} GPU-hours" if self.gpu_h > 0 else ""
        return f"{self.count} {noun} ({rows_shown(self.rows, self.count)}){self.example}{work}"


@dataclass
class Integrity:
    """The report of one reading. Row numbers are line numbers in the unpacked file, from 1.

    `columns` are the names and units of the file's columns by role. GPU-hours count the log's own units as GPUs.
    """

    file: str
    read: int = 0
    dropped: dict[str, _Tally] = field(default_factory=dict)
    bad: dict[str, _Tally] = field(default_factory=dict)
    repaired: dict[str, _Tally] = field(default_factory=dict)
    remarks: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)

    def column(self, role: str) -> str:
        """The name of a column, as a message says it."""
        return repr(self.columns[role][0]) if role in self.columns else f"of the {role}"

    def unit(self, role: str) -> str:
        """The unit of a column; empty where it has none."""
        return self.columns[role][1] if role in self.columns else ""

    def drop(self, reason: str, rows: NDArray[np.int64], gpu_h: Floats | None = None) -> None:
        """Rows that are left out by a rule that the format or the experiment states."""
        if len(rows):
            self.dropped.setdefault(reason, _Tally()).add(rows, "", _sum(gpu_h))

    def reject(self, reason: str, rows: NDArray[np.int64], example: str = "", gpu_h: Floats | None = None) -> None:
        """Rows that make no sense: an error, or left out, as the experiment says."""
        if len(rows):
            self.bad.setdefault(reason, _Tally()).add(rows, f": {example}" if example else "", _sum(gpu_h))

    def repair(self, how: str, rows: NDArray[np.int64]) -> None:
        """Rows that were changed, and how."""
        if len(rows):
            self.repaired.setdefault(how, _Tally()).add(rows, "", 0.0)

    def settle(self, bad_rows: str) -> None:
        """Refuse the bad rows, or count them as dropped.

        Raises
        ------
        WorkloadError
            One line per kind of mistake, with row numbers, if `bad_rows` is `refuse`.
        """
        if self.bad and bad_rows == "refuse":
            lines = [f"{self.file}: {reason}: {tally.text()}" for reason, tally in self.bad.items()]
            lines.append('to leave such rows out, set workload.bad_rows = "drop"')
            raise WorkloadError(lines)
        self.dropped |= self.bad
        self.bad = {}

    @property
    def rows_dropped(self) -> int:
        """Number of rows that were left out."""
        return sum(tally.count for tally in self.dropped.values())

    @property
    def gpu_hours_dropped(self) -> float:
        """GPU-hours of the rows that were left out, as far as they can be told."""
        return sum(tally.gpu_h for tally in self.dropped.values())

    def notes(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "file": self.file,
            "rows_read": self.read,
            "rows_dropped": self.rows_dropped,
            "gpu_hours_dropped": round(self.gpu_hours_dropped, 3),
            "dropped": {reason: tally.text() for reason, tally in self.dropped.items()},
            "repaired": {how: tally.text() for how, tally in self.repaired.items()},
            **self.remarks,
        }


def _sum(values: Floats | None) -> float:
    return 0.0 if values is None else float(values.sum())
