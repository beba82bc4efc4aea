"""A CSV column, or any regular source, onto the steps of a run; energy is kept."""

from __future__ import annotations

from math import gcd

import numpy as np
import pandas as pd
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import SeriesModel
from tafukt.sites.time_grid import DAY_S, Ints, Span
from tafukt.sites.weather.readers import LABEL_SHIFT, opened, seconds, table, times_of
from tafukt.sites.weather.source import Source, regular, stamp

_COMMON_YEAR_BEGIN = np.datetime64("2023-01-01")


def _slot_of_year(days: Ints) -> Ints:
    """Place in a common year of days since 1970; 29 February takes the place of the 28th."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    day = (dates - months.astype("datetime64[D]")).astype(np.int64)
    day = np.where((month == 1) & (day == 28), 27, day)
    begins = (_COMMON_YEAR_BEGIN.astype("datetime64[M]") + np.arange(12)).astype("datetime64[D]")
    return np.asarray((begins - _COMMON_YEAR_BEGIN).astype(np.int64)[month] + day)


def rows_at(source: Source, times: Floats, repeat: bool, where: str) -> Ints:
    """Which row of a source holds at each time [s since 1970].

    With `repeat`, a year of data stands for every year.

    Raises
    ------
    SiteError
        If the source does not reach so far.
    """
    place = np.floor((times - source.begin_unix) / source.step_s).astype(np.int64)
    if not repeat:
        if place.min() < 0 or place.max() >= source.size:
            end = source.begin_unix + source.size * source.step_s
            raise SiteError(
                f"{where}: {source.where} covers {stamp(source.begin_unix)} to {stamp(end)} UTC, the run "
                f"{stamp(times.min())} to {stamp(times.max())}; set repeat = true to use its year for every year"
            )
        return place
    phase = source.begin_unix % source.step_s
    per_day = DAY_S // source.step_s
    if per_day < 1:
        raise SiteError(f"{where}: {source.where}: rows a day or more apart cannot be repeated")

    def slots(unix: Floats) -> Ints:
        cell = np.floor((unix - phase) / source.step_s).astype(np.int64)
        return _slot_of_year(cell // per_day) * per_day + cell % per_day

    table_of = np.full(365 * per_day, -1, dtype=np.int64)
    table_of[slots(source.mids)[::-1]] = np.arange(source.size)[::-1]
    if (table_of < 0).mean() > 0.02:
        raise SiteError(f"{where}: {source.where}: {source.size} rows of {source.step_s} s are not a year to repeat")
    holes = np.flatnonzero(table_of < 0)
    for hole in holes:  # a last or first day that is cut off takes the day before
        table_of[hole] = table_of[hole - per_day]
    return table_of[slots(times)]


def on_span(values: Floats, source: Source, span: Span, repeat: bool, where: str) -> Floats:
    """Means over the steps of a span of a quantity that holds over each interval of a source.

    A step that an interval's edge cuts, where the two grids are shifted, takes what holds at its middle.
    """
    fine = gcd(span.step_s, source.step_s)
    parts = span.step_s // fine
    times: Floats = span.start_unix + fine * (np.arange(span.steps * parts, dtype=np.float64) + 0.5)
    return np.asarray(values[rows_at(source, times, repeat, where)].reshape(span.steps, parts).mean(axis=1))


def series(model: SeriesModel, span: Span, where: str) -> Floats:
    """The values of a CSV column on the steps of a span.

    Raises
    ------
    SiteError
        If the file is missing, a column is not there, or values are missing and are not to be filled.
    """
    with opened(model.file, f"{where}.file") as path:
        data = table(path, where, {"time": model.time, "column": model.column})
        times = seconds(times_of(data[model.time], None, model.tz, f"{where}: {path.name}"))
        values = pd.to_numeric(data[model.column], errors="coerce").to_numpy(dtype=np.float64) * model.scale
    gaps = np.diff(np.sort(times[~np.isnan(times)]))
    step = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0
    source = regular(times + LABEL_SHIFT[model.label] * step, {"value": values}, model.file.name)
    return on_span(_whole(source, model, where), source, span, model.repeat, where)


def _whole(source: Source, model: SeriesModel, where: str) -> Floats:
    values = source.columns["value"]
    missing = np.isnan(values)
    faults = [f"{int(missing.sum())} missing, first {stamp(source.mids[missing][0])}"] if missing.any() else []
    if len(source.duplicates):
        faults.append(f"{len(source.duplicates)} doubled, first {stamp(source.duplicates[0])}")
    if not faults:
        return values
    if model.fill in ("refuse", "clear-sky") or missing.all():
        raise SiteError(
            f"{where}: {source.where}: rows of {model.column!r}: {'; '.join(faults)}. "
            f"Set {where}.fill; allowed: interpolate, previous-day"
        )
    rows = np.arange(len(values))
    if model.fill == "previous-day":
        per_day = max(1, round(DAY_S / source.step_s))
        for row in np.flatnonzero(missing):
            if row >= per_day:
                values[row] = values[row - per_day]
        missing = np.isnan(values)
    return np.where(missing, np.interp(rows, rows[~missing], values[~missing]), values)
