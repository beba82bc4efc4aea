"""A site's connection to the grid, and its other load: every key with its unit, default and origin."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from tafukt.sites.errors import SiteError
from tafukt.sites.schema.fields import ColumnModel, FilePath, Fill, Instant, Section, SeriesModel, Share
from tafukt.sites.schema.grid_events import GridEventModel
from tafukt.sites.schema.ranges import DemandCharge, Intensity, Price, RampPower, SitePower

_RANGE = re.compile(r"^(\d{1,2})(?::(\d{2})|(\.\d+))?\s*[-\u2013]\s*(\d{1,2})(?::(\d{2})|(\.\d+))?$")
_HOLIDAY = re.compile(r"^(\d{4}-)?\d{2}-\d{2}$")
DAYS = ("weekday", "saturday", "sunday", "holiday")
RESOLUTION_H = 0.25  # clock hours in a tariff are whole quarters of an hour


class ConstantCarbon(Section):
    """One carbon intensity at all times."""

    kind: Literal["constant"] = "constant"
    g_per_kwh: Intensity = Field(
        604.0, description="carbon intensity [gCO2e/kWh], within the published 551-710: CHOICE"
    )


class HourlyCarbon(Section):
    """Carbon intensity by season and local hour."""

    kind: Literal["hourly"] = "hourly"
    table: str = Field("morocco", description="a table of the catalogue")


class ElectricityMapsCarbon(Section):
    """Carbon intensity from a CSV file of Electricity Maps, as downloaded."""

    kind: Literal["electricity-maps"] = "electricity-maps"
    file: FilePath = Field(description="the file, relative to the experiment file")
    scope: Literal["lifecycle", "direct"] = Field(
        "lifecycle", description="emissions over the life cycle, or those of the power plants alone"
    )
    repeat: bool = Field(False, description="whether its year stands in for times that it does not cover")
    fill: Fill = Field("refuse", description="what to do about missing values")


class WattTimeCarbon(Section):
    """Marginal carbon intensity from a CSV file of WattTime, as downloaded [lb/MWh in the file]."""

    kind: Literal["watttime"] = "watttime"
    file: FilePath = Field(description="the file, relative to the experiment file")
    repeat: bool = Field(False, description="whether its year stands in for times that it does not cover")
    fill: Fill = Field("refuse", description="what to do about missing values")


class SeriesCarbon(Section):
    """Carbon intensity from a CSV file [g/kWh]."""

    kind: Literal["csv"] = "csv"
    series: SeriesModel = Field(description="the file and its column")


Carbon = Annotated[
    ConstantCarbon | HourlyCarbon | SeriesCarbon | ElectricityMapsCarbon | WattTimeCarbon, Field(discriminator="kind")
]


class ClockHours(Section):
    """Clock hours: `"17-21"`, `"17:30-21:00"`, `"22-7"` (over midnight), several separated by `;`.

    As soon as one band of a table has hours for a kind of day, only such hours count on those days: a band without any
    does not apply on them. Holidays are like Sundays unless a band says otherwise.
    """

    name: str = Field(description="name of the band")
    winter: str = Field(description="hours on winter weekdays")
    summer: str = Field(description="hours on summer weekdays")
    weekend: str | None = Field(None, description="hours on Saturdays and Sundays, in both seasons")
    saturday: str | None = Field(None, description="hours on Saturdays, instead of weekend")
    sunday: str | None = Field(None, description="hours on Sundays, instead of weekend")
    holiday: str | None = Field(None, description="hours on holidays")

    def hours_on(self, day: str, season: int) -> str | None:
        """Its hours on a kind of day of `DAYS`, in winter (0) or summer (1); nothing where it says none."""
        if day == "weekday":
            return (self.winter, self.summer)[season]
        own = getattr(self, day)
        return self.weekend if own is None and day != "holiday" else own


class Band(ClockHours):
    """Clock hours with one price."""

    mad_per_kwh: Price = Field(description="price of imported energy [MAD/kWh]")
    export_mad_per_kwh: Price = Field(0.0, description="price of exported energy [MAD/kWh]")


class LimitBand(ClockHours):
    """Clock hours with one import limit."""

    kw: SitePower = Field(description="largest import [kW]")


class ClockTable(Section):
    """A table by season, kind of day and local clock hour, in bands that together cover every hour."""

    summer_months: tuple[int, ...] = Field((4, 5, 6, 7, 8, 9), description="months with summer hours")
    holidays: tuple[str, ...] = Field((), description="local dates of holidays: 2025-01-01, or 01-01 for every year")
    bands: tuple[ClockHours, ...] = Field(min_length=1, description="the bands")

    @field_validator("holidays", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        return (
            [day.isoformat() if isinstance(day, date) else day for day in value] if isinstance(value, list) else value
        )

    @field_validator("holidays")
    @classmethod
    def _dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for day in value:
            try:
                date.fromisoformat(day if len(day) > 5 else f"2024-{day}")
            except ValueError as error:
                raise ValueError(f"{day!r} is not a date; allowed: 2025-01-01, or 01-01 for every year") from error
            if not _HOLIDAY.match(day):
                raise ValueError(f"{day!r} is not a date; allowed: 2025-01-01, or 01-01 for every year")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        day_tables(self)
        return self


class TariffModel(ClockTable):
    """A time-of-use tariff in local clock hours."""

    title: str = Field("", description="its name in tables and figures")
    demand_mad_per_kw_month: DemandCharge = Field(
        0.0, description="demand charge on the largest 15-minute mean of each month [MAD/kW]"
    )
    bands: tuple[Band, ...] = Field(min_length=1, description="hours and their prices")
    source: str = Field("", description="where the prices come from")
    confidence: str = Field("", description="how far to trust them")
    demand_source: str = Field("", description="where the demand charge comes from")
    demand_confidence: str = Field("", description="how far to trust it")
    export_source: str = Field("", description="where the export prices come from")
    export_confidence: str = Field("", description="how far to trust them")


class LimitTable(ClockTable):
    """An import limit by season, kind of day and local clock hour."""

    bands: tuple[LimitBand, ...] = Field(min_length=1, description="hours and their limits")


class RampLimitModel(Section):
    """Limits on how fast the import may rise and fall, from the mean of one minute to that of the next."""

    up: RampPower | None = Field(None, description="largest rise in a minute [kW]; default: no limit")
    down: RampPower | None = Field(None, description="largest fall in a minute [kW]; default: no limit")


class OutageModel(Section):
    """The grid fails at `start` for some hours."""

    start: Instant = Field(description="when it fails, with a time zone")
    hours: float = Field(ge=1e-3, le=87_600, description="how long it lasts [h]")


class OutagesModel(Section):
    """Outages on given dates, and random outages; none by default."""

    listed: tuple[OutageModel, ...] = Field((), description="outages on given dates")
    per_year: float = Field(
        0.0,
        ge=0,
        le=8766,
        description="mean number of random outages per year; Morocco's SAIDI: 1 h/yr, BACKGROUND, low",
    )
    mean_hours: float = Field(
        1.0, ge=1e-3, le=8766, description="mean length of random outages, exponential [h]: CHOICE"
    )


# Of a year's generation, what a producer for own use may sell: law 82-21, pv-magazine.
PAID_EXPORT_SHARE = 0.2


class GridModel(Section):
    """The connection: limits, tariff, carbon, outages."""

    import_limit_kw: SitePower | LimitTable | SeriesModel | None = Field(
        None,
        description="largest import [kW]: a number, a table of clock hours like that of a tariff, or a series; "
        "default: no limit",
    )
    ramp_limit_kw_per_min: RampPower | RampLimitModel | None = Field(
        None,
        description="largest change of the import, from the mean of one minute to that of the next [kW]; "
        "default: no limit",
    )
    export_limit_kw: SitePower | None = Field(None, description="largest export [kW], 0: none; default: no limit")
    export_cap_share: Share | None = Field(
        None,
        description="largest share of the generation whose export is paid for; default: 0.2 in runs of a year or more "
        "(law 82-21, pv-magazine), no limit in shorter ones",
    )
    tariff: str | TariffModel = Field("mv_default", description="a tariff of the catalogue, or your own")
    price_mad_per_kwh: SeriesModel | None = Field(None, description="a price series, instead of the tariff's bands")
    export_mad_per_kwh: Price | SeriesModel | None = Field(
        None, description="one export price, or a series, instead of the tariff's"
    )
    demand_mad_per_kw_month: DemandCharge | None = Field(
        None, description="demand charge [MAD/kW per month], instead of the tariff's"
    )
    carbon: Carbon = Field(default_factory=HourlyCarbon, description="carbon intensity")  # type: ignore[arg-type]
    outages: OutagesModel = Field(default_factory=OutagesModel, description="outages")  # type: ignore[arg-type]
    events: tuple[GridEventModel, ...] = Field((), description="requests from the grid to draw less")


Metered = Literal["import", "net", "site", "it"]


class MeterModel(ColumnModel):
    """Readings of a meter [kW], to compare the model with; they have no effect on a run."""

    of: Metered = Field(
        "import",
        description="what it measures: import alone, net of export, the whole load of the site whatever supplies it, "
        "or the IT equipment (it) alone",
    )


class OtherModel(Section):
    """Load other than the cluster: none, constant, a shape by hour and month, or a CSV series [kW]."""

    kind: Literal["none", "constant", "shape", "csv"] = "none"
    kw: SitePower = Field(0.0, description="power [kW], or with a shape its annual mean")
    shape: str = Field("office", description="shape: a shape of the catalogue")
    series: SeriesModel | None = Field(None, description="csv: the file and its column")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "csv" and self.series is None:
            raise ValueError("other.kind 'csv' needs other.series")
        return self


def hours(text: str, where: str) -> list[tuple[float, float]]:
    """Clock hours such as `"7-17; 21-22"` or `"22:30-7"` as (from, to) pairs within a day.

    Raises
    ------
    SiteError
        If the text is something else.
    """
    pairs: list[tuple[float, float]] = []
    for part in filter(None, (each.strip() for each in re.split("[;,]", text))):
        match = _RANGE.match(part)
        first, last = _clock(match.groups()[:3]) if match else -1.0, _clock(match.groups()[3:]) if match else -1.0
        whole = all((x / RESOLUTION_H).is_integer() for x in (first, last))
        if not (match and whole and 0 <= first <= 24 and 0 <= last <= 24 and first != last):
            raise SiteError(
                f"{where}: {text!r} is not a range of clock hours; allowed: '17-21', '17:30-21:00', '22-7', "
                f"'7-17; 21-22'"
            )
        pairs += [(first, last)] if first < last else [(first, 24.0), (0.0, last)]
    return [pair for pair in pairs if pair[0] < pair[1]]


def _clock(parts: Sequence[str | None]) -> float:
    """Hours of an hour, its minutes, or its decimal part."""
    hour, minutes, decimal = parts
    if minutes is not None and int(minutes) > 59:
        return -1.0
    return int(hour or 0) + int(minutes or 0) / 60.0 + float(decimal or 0.0)


BandTable = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def band_table(tariff: ClockTable) -> BandTable:
    """Index of the band in force in each quarter-hour of a weekday, in winter and in summer, shape (2, 96).

    Raises
    ------
    SiteError
        If the bands leave a gap or overlap.
    """
    return day_tables(tariff)[:, 0]


def day_tables(tariff: ClockTable) -> BandTable:
    """Index of the band in force by season, kind of day of `DAYS` and quarter-hour, shape (2, 4, 96).

    Raises
    ------
    SiteError
        If the bands leave a gap or overlap.
    """
    tables = np.empty((2, len(DAYS), round(24 / RESOLUTION_H)), dtype=np.int64)
    for season in range(2):
        for kind, day in enumerate(DAYS):
            given = [band.hours_on(day, season) for band in tariff.bands]
            if any(text is not None for text in given):
                tables[season, kind] = _day(tariff, [text or "" for text in given], season, day)
            else:  # Saturdays and Sundays are like weekdays, holidays like Sundays, where nothing else is said
                tables[season, kind] = tables[season, 2 if day == "holiday" else 0]
    return tables


def _day(tariff: ClockTable, texts: list[str], season: int, day: str) -> BandTable:
    row = np.full(round(24 / RESOLUTION_H), -1, dtype=np.int64)
    name = ("winter", "summer")[season] if day == "weekday" else day
    for number, (band, text) in enumerate(zip(tariff.bands, texts, strict=True)):
        where = f"band {band.name!r}, {name}"
        for first, last in hours(text, where):
            cells = row[round(first / RESOLUTION_H) : round(last / RESOLUTION_H)]
            if (cells >= 0).any():
                raise SiteError(f"{where}: {text!r} overlaps {tariff.bands[cells.max()].name!r}")
            cells[:] = number
    if (row < 0).any():
        hour = float(np.flatnonzero(row < 0)[0]) * RESOLUTION_H
        raise SiteError(
            f"no band covers {hour:g} h in {name}" if day == "weekday" else f"no band covers {hour:g} h on a {name}"
        )
    return row
