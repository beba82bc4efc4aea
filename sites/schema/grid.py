"""A site's connection to the grid, and its other load: every key with its unit, default and origin."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from tafukt.sites.errors import SiteError
from tafukt.sites.schema.fields import Instant, NotNegative, Positive, Section, SeriesModel, Share

_RANGE = re.compile(r"^(\d{1,2}(?:\.\d+)?)\s*-\s*(\d{1,2}(?:\.\d+)?)$")
RESOLUTION_H = 0.25  # clock hours in a tariff are whole quarters of an hour


class ConstantCarbon(Section):
    """One carbon intensity at all times."""

    kind: Literal["constant"] = "constant"
    g_per_kwh: NotNegative = Field(604.0, description="CHOICE inside the published 551-710 gCO2e/kWh")


class HourlyCarbon(Section):
    """Carbon intensity by season and local hour."""

    kind: Literal["hourly"] = "hourly"
    table: str = Field("morocco", description="a table of the catalogue")


class SeriesCarbon(Section):
    """Carbon intensity from a CSV file [g/kWh]."""

    kind: Literal["csv"] = "csv"
    series: SeriesModel


Carbon = Annotated[ConstantCarbon | HourlyCarbon | SeriesCarbon, Field(discriminator="kind")]


class Band(Section):
    """Clock hours with one price: `"17-21"`, `"22-7"` (over midnight), several divided by `;`."""

    name: str
    mad_per_kwh: NotNegative
    export_mad_per_kwh: NotNegative = 0.0
    winter: str
    summer: str


class TariffModel(Section):
    """A time-of-use tariff in local clock hours."""

    title: str = ""
    summer_months: tuple[int, ...] = Field((4, 5, 6, 7, 8, 9), description="months with summer hours")
    demand_mad_per_kw_month: NotNegative = Field(0.0, description="on the largest 15-minute mean of a month")
    bands: tuple[Band, ...] = Field(min_length=1)
    source: str = ""
    confidence: str = ""
    demand_source: str = ""
    demand_confidence: str = ""
    export_source: str = ""
    export_confidence: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        band_table(self)
        return self


class OutageModel(Section):
    """The grid is gone from `start` for some hours."""

    start: Instant
    hours: Positive = Field(le=87_600)


class OutagesModel(Section):
    """Outages on given dates, and outages drawn at a rate; none unless asked for."""

    listed: tuple[OutageModel, ...] = ()
    per_year: NotNegative = Field(
        0.0, le=8766, description="mean number per year; Morocco's SAIDI: 1 h/yr, BACKGROUND, low"
    )
    mean_hours: Positive = Field(1.0, le=8766, description="mean length of a drawn outage, exponential [h]: CHOICE")


class GridModel(Section):
    """The connection: limits, tariff, carbon, outages."""

    import_limit_kw: NotNegative | None = Field(None, description="none: unlimited")
    export_limit_kw: NotNegative | None = Field(None, description="none: unlimited; 0: no export")
    export_cap_share: Share = Field(0.2, description="export over generation that is paid; law 82-21, pv-magazine")
    tariff: str | TariffModel = Field("mv_default", description="a tariff of the catalogue, or one's own")
    price_mad_per_kwh: SeriesModel | None = Field(None, description="a price series in place of the bands")
    export_mad_per_kwh: NotNegative | None = Field(None, description="one export price in place of the bands'")
    demand_mad_per_kw_month: NotNegative | None = Field(None, description="in place of the tariff's")
    carbon: Carbon = Field(default_factory=HourlyCarbon)  # type: ignore[arg-type]
    outages: OutagesModel = Field(default_factory=OutagesModel)  # type: ignore[arg-type]


class OtherModel(Section):
    """Load other than the cluster's: none, a constant, a shape by hour and month, or a CSV series [kW]."""

    kind: Literal["none", "constant", "shape", "csv"] = "none"
    kw: NotNegative = Field(0.0, description="power, or its yearly mean under a shape [kW]")
    shape: str = Field("office", description="a shape of the catalogue")
    series: SeriesModel | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "csv" and self.series is None:
            raise ValueError("other.kind 'csv' needs other.series")
        return self


def hours(text: str, where: str) -> list[tuple[float, float]]:
    """Clock hours such as `"7-17; 21-22"` or `"22-7"` as (from, to) pairs within a day.

    Raises
    ------
    SiteError
        If the text is something else.
    """
    pairs: list[tuple[float, float]] = []
    for part in text.split(";"):
        match = _RANGE.match(part.strip())
        first, last = (float(x) for x in match.groups()) if match else (-1.0, -1.0)
        whole = all((x / RESOLUTION_H).is_integer() for x in (first, last))
        if not (match and whole and 0 <= first <= 24 and 0 <= last <= 24 and first != last):
            raise SiteError(f"{where}: {text!r} are not clock hours; allowed: '17-21', '22-7', '7-17; 21-22'")
        pairs += [(first, last)] if first < last else [(first, 24.0), (0.0, last)]
    return [pair for pair in pairs if pair[0] < pair[1]]


def band_table(tariff: TariffModel) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Index of the band in force in each quarter-hour of a day, in winter and in summer, shape (2, 96).

    Raises
    ------
    SiteError
        If the bands leave a gap or overlap.
    """
    per_day = round(24 / RESOLUTION_H)
    table = np.full((2, per_day), -1, dtype=np.int64)
    for number, band in enumerate(tariff.bands):
        for season, text in enumerate((band.winter, band.summer)):
            where = f"band {band.name!r}, {('winter', 'summer')[season]}"
            for first, last in hours(text, where):
                cells = table[season, round(first / RESOLUTION_H) : round(last / RESOLUTION_H)]
                if (cells >= 0).any():
                    raise SiteError(f"{where}: {text!r} overlaps {tariff.bands[cells.max()].name!r}")
                cells[:] = number
    for season in range(2):
        if (table[season] < 0).any():
            hour = float(np.flatnonzero(table[season] < 0)[0]) * RESOLUTION_H
            raise SiteError(f"no band holds at {hour:g} h in {('winter', 'summer')[season]}")
    return table
