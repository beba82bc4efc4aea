"""Requests of the grid that a site draw less for a while: listed, read from a file, or drawn."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tafukt.sites.schema.fields import FilePath, Instant, NotNegative, Section, Share

Month = Annotated[int, Field(ge=1, le=12)]


class GridEventModel(Section):
    """One request, or many: with `start` it is listed, with `per_year` drawn, with `file` read from a CSV file.

    All times but `start` and `hours` are in minutes. What it costs and earns is nothing unless it is said.
    """

    start: Instant | None = Field(None, description="when the draw begins to fall")
    file: FilePath | None = Field(
        None, description="CSV with the columns start and hours, and any of cut, to_kw, notice_min"
    )
    per_year: float | None = Field(None, ge=1e-9, le=1e5, description="mean number drawn per year")
    between: str = Field("0-24", description="local clock hours in which drawn requests start: '17-21', '7-9; 18-22'")
    months: tuple[Month, ...] = Field(tuple(range(1, 13)), min_length=1, description="months of drawn requests")
    weekdays_only: bool = Field(False, description="whether drawn requests start from Monday to Friday alone")
    hours: float | None = Field(None, ge=1e-3, le=8784, description="how long it holds, from `start` on [h]")
    cut: Share | None = Field(None, description="share of the baseline by which the import is to fall")
    to_kw: NotNegative | None = Field(None, description="or the import that is not to be exceeded [kW]")
    baseline: Literal["before", "days"] = Field(
        "before",
        description="mean load net of the sun, 15 minutes before, or in the same hours of up to 10 days before",
    )
    notice_min: float = Field(15.0, ge=0, le=1e6, description="how long before its start it is announced: CHOICE")
    ramp_down_min: float = Field(5.0, ge=1e-3, le=1440, description="how long the draw may take to fall: CHOICE")
    ramp_up_min: float = Field(15.0, ge=1e-3, le=1440, description="how slowly the draw comes back afterwards: CHOICE")
    shared: str = Field(
        "",
        max_length=60,
        description="name of a request that all sites with it answer together: cut and to_kw are of the sum of their "
        "imports, and `between` is in UTC",
    )
    pay_mad_per_kwh: NotNegative = Field(0.0, description="paid for each kWh below the baseline, as far as asked")
    penalty_mad_per_kwh: NotNegative = Field(0.0, description="owed for each kWh above the request")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        ways = [name for name in ("start", "file", "per_year") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"give one of start, file and per_year, not {' and '.join(ways) or 'none'}")
        if self.file is None and (self.cut is None) == (self.to_kw is None):
            raise ValueError("give either cut (share of the baseline) or to_kw")
        if self.file is None and self.hours is None:
            raise ValueError("give hours, the time that it holds")
        if self.hours is not None and self.ramp_down_min >= 60.0 * self.hours:
            raise ValueError(f"ramp_down_min = {self.ramp_down_min:g} leaves nothing of hours = {self.hours:g}")
        return self
