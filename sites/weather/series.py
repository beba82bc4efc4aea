"""CSV series, or any regular source, on the steps of a run: rows that hold, means over steps, gaps filled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path

import numpy as np

from tafukt.sites.cache import Entry, default_folder, file_hash, kept, key_of
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import ColumnModel, SeriesModel
from tafukt.sites.schema.ranges import Range
from tafukt.sites.time_grid import DAY_S, Ints, Span
from tafukt.sites.weather.source import Record, Source, placed, placing_of, stamp
from tafukt.sites.weather.table_cache import read_table

_LEAP_YEAR_BEGIN = np.datetime64("2024-01-01")
_LEAP_DAY = 59  # its place in a leap year


def _slot_of_year(days: Ints) -> Ints:
    """Place in a leap year of days since 1970."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    day = (dates - months.astype("datetime64[D]")).astype(np.int64)
    begins = (_LEAP_YEAR_BEGIN.astype("datetime64[M]") + np.arange(12)).astype("datetime64[D]")
    return np.asarray((begins - _LEAP_YEAR_BEGIN).astype(np.int64)[months.astype(np.int64) % 12] + day)


def rows_at(source: Source, times: Floats, repeat: bool, where: str) -> Ints:
    """Row of a source that holds at each time [s since 1970].

    Where the source covers a time its own row holds. With `repeat`, its year stands for the rest.

    Raises
    ------
    SiteError
        If the source does not reach so far.
    """
    place = np.floor((times - source.begin_unix) / source.step_s).astype(np.int64)
    outside = (place < 0) | (place >= source.size)
    if not outside.any():
        return place
    covers = f"{where}: {source.where} covers {stamp(source.begin_unix)} to {stamp(source.end_unix)} UTC"
    run = f"the run {stamp(times.min())} to {stamp(times.max())}"
    if not repeat:
        raise SiteError(f"{covers}, {run}; set repeat = true to use its year in place of others")
    if DAY_S // source.step_s < 1:
        raise SiteError(f"{where}: {source.where}: rows a day or more apart cannot stand in for other years")
    year = _year_of_rows(source)
    if year is None:
        raise SiteError(f"{covers}, which is neither {run} nor a full year that could stand in for it")
    place[outside] = year.rows[year.slots(times[outside])]
    return place


@dataclass(frozen=True)
class _Year:
    """Rows of a source by their place in a leap year."""

    rows: Ints
    phase: float
    step_s: int

    def slots(self, unix: Floats) -> Ints:
        per_day = DAY_S // self.step_s
        cell = np.floor((unix - self.phase) / self.step_s).astype(np.int64)
        return _slot_of_year(cell // per_day) * per_day + cell % per_day


def _year_of_rows(source: Source) -> _Year | None:
    """The year that a source's first rows of each date make; nothing where it has no whole year.

    A 29 February that it lacks takes the day before.
    """
    per_day = DAY_S // source.step_s
    year = _Year(np.full(366 * per_day, -1, dtype=np.int64), source.begin_unix % source.step_s, source.step_s)
    rows = year.rows
    rows[year.slots(source.mids)[::-1]] = np.arange(source.size)[::-1]
    empty = rows < 0
    empty[_LEAP_DAY * per_day : (_LEAP_DAY + 1) * per_day] = False
    if empty.mean() > 0.02:
        return None
    for hole in np.flatnonzero(rows < 0):  # the leap day, and a last or first day that is cut off
        rows[hole] = rows[hole - per_day]
    return year


def fine_times(source: Source, span: Span) -> Floats:
    """Middles of the parts that the steps of a span and the intervals of a source have in common."""
    fine = gcd(span.step_s, source.step_s)
    parts = span.step_s // fine
    return np.asarray(span.start_unix + fine * (np.arange(span.steps * parts, dtype=np.float64) + 0.5))


def on_span(values: Floats, source: Source, span: Span, repeat: bool, where: str) -> Floats:
    """Means over the steps of a span of a quantity that holds over each interval of a source.

    A step that an interval's edge cuts, where the two grids are shifted, takes what holds at its middle.
    """
    rows = rows_at(source, fine_times(source, span), repeat, where)
    return np.asarray(values[rows].reshape(span.steps, -1).mean(axis=1))


@dataclass(frozen=True)
class Series:
    """A CSV column on the steps of a run, and what is told of it."""

    values: Floats
    notes: tuple[str, ...] = ()


def series(model: SeriesModel, span: Span, where: str, allowed: Range, cache: Path | None = None) -> Series:
    """The values of a CSV column on the steps of a span, kept under a hash of the file's content.

    Parameters
    ----------
    where : str
        The key it stands under.
    allowed : Range
        What its values may be.
    cache : Path, optional
        Folder of the cache.

    Raises
    ------
    SiteError
        If the file is missing, a column is not there, values are missing and are not to be filled, or lie outside of
        what is allowed.
    """
    folder = default_folder() if cache is None else cache
    read_as = model.model_dump(mode="json", exclude={"file"})
    inputs = [file_hash(model.file), model.file.name, read_as, span.start_unix, span.step_s, span.steps]
    key = key_of(["series", *inputs, where, asdict(allowed)])
    entry = kept(folder / "series", key, (span.steps,), lambda: _resampled(model, span, where, allowed, folder))
    return Series(entry.values, entry.notes)


def _resampled(model: SeriesModel, span: Span, where: str, allowed: Range, cache: Path) -> Entry:
    """The same, read from the file."""
    source, notes = _read(model, where, cache)
    rows = rows_at(source, fine_times(source, span), model.repeat, where)
    filled, told = _whole(source, rows, model, where)
    notes += told + allowed.checked(filled[rows], source.mids[rows], f"{where}: {source.where}", where)
    outside = int((span.mids >= source.end_unix).sum() + (span.mids < source.begin_unix).sum())
    if outside:
        notes += (f"{where}: {source.where}: {outside} of {span.steps} steps use another year of the file (repeat)",)
    parts = len(rows) // span.steps
    return Entry(np.asarray(filled[rows].reshape(span.steps, parts).mean(axis=1)), notes)


def measured(model: ColumnModel, span: Span, where: str, allowed: Range, cache: Path | None = None) -> Series:
    """Means of a CSV column over the steps of a span; not-a-number where it does not speak of a whole step.

    Raises
    ------
    SiteError
        As `series`, but for values that are missing; or if it says nothing of the span.
    """
    source, notes = _read(model, where, cache)
    times = fine_times(source, span)
    place = np.floor((times - source.begin_unix) / source.step_s).astype(np.int64)
    inside = (place >= 0) & (place < source.size)
    rows = np.clip(place, 0, source.size - 1)
    values = np.where(inside, source.columns["value"][rows], np.nan)
    known = np.isfinite(values)
    notes += allowed.checked(values[known], source.mids[rows][known], f"{where}: {source.where}", where)
    means = np.where(known, values, np.nan).reshape(span.steps, -1).mean(axis=1)
    lacking = int(np.isnan(means).sum())
    if lacking == span.steps:
        covers = f"covers {stamp(source.begin_unix)} to {stamp(source.end_unix)} UTC"
        run = f"{stamp(times.min())} to {stamp(times.max())}"
        raise SiteError(f"{where}: {source.where}: {covers}, no part of {run}")
    if len(source.duplicates):
        notes += (
            f"{where}: {source.where}: {len(source.duplicates)} times occur twice; the first row of each is used",
        )
    if lacking:
        notes += (f"{where}: {source.where}: {lacking} of {span.steps} steps have no measurement",)
    return Series(means, notes)


def _read(model: ColumnModel, where: str, cache: Path | None) -> tuple[Source, tuple[str, ...]]:
    """The column as a regular source, and what is told of it."""
    table = read_table(model.file, where, model.time, model.time_format, model.tz, (model.column,), cache)
    values = table.column("column", model.column, where) * model.scale
    record = Record(table.name, table.times.unix, {"value": values}, model.label)
    try:
        if model.label not in table.placings:
            table.placings[model.label] = placing_of(record)
        source = placed(record, table.placings[model.label])
    except SiteError as error:
        raise SiteError([f"{where}: {problem}" for problem in error.problems]) from error
    return source, tuple(f"{where}: {note}" for note in (*table.times.note(table.name), *source.notes))


def _whole(source: Source, rows: Ints, model: SeriesModel, where: str) -> tuple[Floats, tuple[str, ...]]:
    """The values without a gap in the rows that are used, and what was filled."""
    values = source.columns["value"]
    missing = ~np.isfinite(values)
    used = np.zeros(len(values), dtype=bool)
    used[rows] = True
    gaps = np.flatnonzero(missing & used)
    row_of = ((source.duplicates - source.begin_unix) // source.step_s).astype(np.int64)
    doubled = source.duplicates[used[np.clip(row_of, 0, len(used) - 1)]]
    faults = [f"{len(gaps)} missing, the first at {stamp(source.mids[gaps[0]])}"] if len(gaps) else []
    if len(doubled):
        faults.append(f"{len(doubled)} duplicate, the first at {stamp(doubled[0])}")
    if not faults:
        return np.where(missing, 0.0, values), ()
    if model.fill in ("refuse", "clear-sky") or missing.all():
        raise SiteError(
            f"{where}: {source.where}: column {model.column!r}: {'; '.join(faults)}. "
            f"To fill them, set {where}.fill to interpolate or previous-day"
        )
    filled = np.where(missing, np.nan, values)
    if model.fill == "previous-day":
        per_day = max(1, round(DAY_S / source.step_s))
        for row in np.flatnonzero(missing):
            if row >= per_day:
                filled[row] = filled[row - per_day]
        missing = np.isnan(filled)
    order = np.arange(len(filled))
    whole = np.where(missing, np.interp(order, order[~missing], filled[~missing]), filled)
    return whole, (f"{where}: {source.where}: column {model.column!r}: {'; '.join(faults)}, filled: {model.fill}",)
