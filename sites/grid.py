"""The grid along a run: price, export price, carbon intensity, outages; and other load, which shares its clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import SeriesModel
from tafukt.sites.schema.grid import (
    DAYS,
    RESOLUTION_H,
    ClockTable,
    ConstantCarbon,
    GridModel,
    HourlyCarbon,
    LimitTable,
    OtherModel,
    OutagesModel,
    SeriesCarbon,
    TariffModel,
    day_tables,
)
from tafukt.sites.schema.ranges import CARBON, POWER_KW, PRICE, Range
from tafukt.sites.site import carbon_tables, load_shapes
from tafukt.sites.time_grid import DAY_S, SEASONS, Ints, Span, local_hour_and_month, season_of, stream, utc_offsets


def bands(tariff: ClockTable, tz: str, span: Span) -> Ints:
    """Number of the band of a table that holds in each step, by the local clock; the band at a step's begin."""
    hour, month = local_hour_and_month(tz, span.begins)
    summer = np.isin(np.arange(13), tariff.summer_months).astype(np.int64)[month]
    day = (span.begins + utc_offsets(tz, span.begins)) // DAY_S
    kind = kind_of_day(tariff, np.arange(day[0], day[-1] + 1))[day - day[0]]
    return np.asarray(day_tables(tariff)[summer, kind, (hour / RESOLUTION_H).astype(np.int64)])


def kind_of_day(tariff: ClockTable, days: Ints) -> Ints:
    """Index into `DAYS` of some local days since 1970."""
    weekday = (days + 3) % 7  # 1 January 1970 was a Thursday; Monday is 0
    kind = np.where(weekday < 5, 0, weekday - 4)
    if tariff.holidays:
        dates = np.datetime_as_string(days.astype("datetime64[D]"))
        free = set(tariff.holidays)
        off = [str(date) in free or str(date)[5:] in free for date in dates]
        kind = np.where(off, DAYS.index("holiday"), kind)
    return np.asarray(kind, dtype=np.int64)


Told = tuple[Floats, tuple[str, ...]]
"""Values of each step, and what is told of them."""


def _from_file(model: SeriesModel, span: Span, where: str, allowed: Range, cache: Path | None) -> Told:
    from tafukt.sites.weather.series import series  # pandas is loaded for a file only

    found = series(model, span, where, allowed, cache)
    return found.values, found.notes


def prices(model: GridModel, tariff: TariffModel, tz: str, span: Span, cache: Path | None = None) -> Told:
    """Price of an imported kilowatt-hour in each step [MAD/kWh], shape (steps,), and notes."""
    if model.price_mad_per_kwh is not None:
        return _from_file(model.price_mad_per_kwh, span, "grid.price_mad_per_kwh", PRICE, cache)
    return np.array([band.mad_per_kwh for band in tariff.bands])[bands(tariff, tz, span)], ()


def export_prices(model: GridModel, tariff: TariffModel, tz: str, span: Span, cache: Path | None = None) -> Told:
    """Price of an exported kilowatt-hour in each step [MAD/kWh], shape (steps,), and notes."""
    own = model.export_mad_per_kwh
    if isinstance(own, SeriesModel):
        return _from_file(own, span, "grid.export_mad_per_kwh", PRICE, cache)
    if own is not None:
        return np.full(span.steps, own), ()
    return np.array([band.export_mad_per_kwh for band in tariff.bands])[bands(tariff, tz, span)], ()


def import_limits(model: GridModel, tz: str, span: Span, cache: Path | None = None) -> Told | None:
    """The import limit in each step [kW], shape (steps,), and notes; `None` where it never changes or there is none.

    Of a series that is finer than the steps of the run the mean of each step is taken.
    """
    limit = model.import_limit_kw
    if isinstance(limit, LimitTable):
        return np.array([band.kw for band in limit.bands])[bands(limit, tz, span)], ()
    if isinstance(limit, SeriesModel):
        return _from_file(limit, span, "grid.import_limit_kw", POWER_KW, cache)
    return None


def carbon(model: GridModel, tz: str, span: Span, cache: Path | None = None) -> Told:
    """Carbon intensity of the grid in each step [g/kWh], shape (steps,), and notes."""
    if isinstance(model.carbon, ConstantCarbon):
        return np.full(span.steps, model.carbon.g_per_kwh), ()
    if isinstance(model.carbon, HourlyCarbon):
        table = carbon_tables()[model.carbon.table]
        hour, month = local_hour_and_month(tz, span.begins)
        values = np.array([getattr(table, season) for season in SEASONS])
        return np.asarray(values[season_of(month), hour.astype(np.int64)]), ()
    if isinstance(model.carbon, SeriesCarbon):
        return _from_file(model.carbon.series, span, "grid.carbon.series", CARBON, cache)
    from tafukt.sites.weather.carbon_files import series_of

    return _from_file(series_of(model.carbon, cache), span, "grid.carbon", CARBON, cache)


def other_kw(model: OtherModel, tz: str, span: Span, cache: Path | None = None) -> Told:
    """Other load of a site in each step [kW], shape (steps,), and notes."""
    if model.kind == "none":
        return np.zeros(span.steps), ()
    if model.kind == "constant":
        return np.full(span.steps, model.kw), ()
    if model.kind == "shape":
        shape = load_shapes()[model.shape]
        hour, month = local_hour_and_month(tz, span.begins)
        # April to September is summer, as in the tariff
        daily = np.array([shape.hourly_winter, shape.hourly_summer])
        daily = daily / daily.mean(axis=1, keepdims=True)
        monthly = np.array(shape.monthly) / np.mean(shape.monthly)
        summer = ((month >= 4) & (month <= 9)).astype(np.int64)
        return np.asarray(model.kw * daily[summer, hour.astype(np.int64)] * monthly[month - 1]), ()
    assert model.series is not None
    return _from_file(model.series, span, "other.series", POWER_KW, cache)


def outages(model: OutagesModel, name: str, span: Span, seed: int) -> tuple[tuple[float, float], ...]:
    """Outages that touch the span, merged and in order, as (start, end) from its start [s].

    Drawn ones are keyed by site and month, so that a longer run keeps its earlier outages.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    found = [((each.start - epoch).total_seconds(), each.hours * 3600.0) for each in model.listed]
    if model.per_year > 0:
        months = np.arange(
            np.datetime64(span.start_unix - 31 * DAY_S, "s").astype("datetime64[M]"),
            np.datetime64(span.end_unix, "s").astype("datetime64[M]") + 1,
        )
        for month in months:
            begin, end = (float((month + k).astype("datetime64[s]").astype(np.int64)) for k in (0, 1))
            rng = stream(seed, f"outages/{name}/{month}")
            count = int(rng.poisson(model.per_year * (end - begin) / (365.25 * DAY_S)))
            found += [
                (begin + float(share) * (end - begin), float(length) * model.mean_hours * 3600.0)
                for share, length in zip(rng.random(count), rng.exponential(size=count), strict=True)
            ]
    return _merged(found, span)


def _merged(found: list[tuple[float, float]], span: Span) -> tuple[tuple[float, float], ...]:
    result: list[tuple[float, float]] = []
    for begin, length in sorted(found):
        first = max(begin - span.start_unix, 0.0)
        last = min(begin + length - span.start_unix, float(span.end_unix - span.start_unix))
        if last <= first:
            continue
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)
