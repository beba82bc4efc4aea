"""A site's connection to the grid, and its other load: every key with its unit, default and origin."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sites.fields import Instant, NotNegative, Positive, Section, SeriesModel, Share


class ConstantCarbon(Section):
    """One carbon intensity at all times."""

    kind: Literal["constant"] = "constant"
    g_per_kwh: NotNegative = Field(604.0, description="CHOICE inside the published 551-710 gCO2e/kWh")
    accounting: Literal["average", "marginal"] = "average"


class HourlyCarbon(Section):
    """Carbon intensity by season and local hour."""

    kind: Literal["hourly"] = "hourly"
    table: str = Field("morocco", description="a table of the catalogue")
    accounting: Literal["average", "marginal"] = "average"


class SeriesCarbon(Section):
    """Carbon intensity from a CSV file [g/kWh]."""

    kind: Literal["csv"] = "csv"
    series: SeriesModel
    accounting: Literal["average", "marginal"] = "average"


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


class OutageModel(Section):
    """The grid is gone from `start` for some hours."""

    start: Instant
    hours: Positive


class OutagesModel(Section):
    """Outages on given dates, and outages drawn at a rate; none unless asked for."""

    listed: tuple[OutageModel, ...] = ()
    per_year: NotNegative = Field(0.0, description="mean number per year; Morocco's SAIDI: 1 h/yr, BACKGROUND, low")
    mean_hours: Positive = Field(1.0, description="mean length of a drawn outage, exponential [h]: CHOICE")


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
    """What else the site runs: nothing, a constant, a shape by hour and month, or a CSV series [kW]."""

    kind: Literal["none", "constant", "shape", "csv"] = "none"
    kw: NotNegative = Field(0.0, description="power, or its yearly mean under a shape [kW]")
    shape: str = Field("office", description="a shape of the catalogue")
    series: SeriesModel | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "csv" and self.series is None:
            raise ValueError("other.kind 'csv' needs other.series")
        return self
