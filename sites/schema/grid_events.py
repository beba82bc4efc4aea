"""Requests from the grid that a site draw less for a while: listed, read from a file, or random."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tafukt.sites.schema.fields import FilePath, Instant, NotNegative, Section, Share

Month = Annotated[int, Field(ge=1, le=12)]


class GridEventModel(Section):
    """One request, or many: with `start` it is listed, with `per_year` drawn, with `file` read from a CSV file.

    All times but `start` and `hours` are in minutes. What it costs and earns is nothing unless it is said.
    """

    start: Instant | None = Field(None, description="when the draw begins to fall, with a time zone")
    file: FilePath | None = Field(
        None, description="CSV file with the columns start and hours, and any of cut, to_kw and notice_min"
    )
    per_year: float | None = Field(None, ge=1e-9, le=1e5, description="mean number of random requests per year")
    between: str = Field("0-24", description="local clock hours in which random requests start: '17-21', '7-9; 18-22'")
    months: tuple[Month, ...] = Field(tuple(range(1, 13)), min_length=1, description="months with random requests")
    weekdays_only: bool = Field(False, description="whether random requests start only from Monday to Friday")
    hours: float | None = Field(None, ge=1e-3, le=8784, description="how long it lasts, from `start` on [h]")
    cut: Share | None = Field(None, description="share of the baseline by which to reduce the import")
    to_kw: NotNegative | None = Field(None, description="or the largest import during the request [kW]")
    baseline: Literal["before", "days"] = Field(
        "before",
        description="what `cut` refers to, mean load minus sun: in the 15 minutes before, or at the same hours "
        "of up to 10 earlier days",
    )
    notice_min: float = Field(15.0, ge=0, le=1e6, description="how long in advance it is announced [min]: CHOICE")
    ramp_down_min: float = Field(5.0, ge=1e-3, le=1440, description="time that the draw may take to fall [min]: CHOICE")
    ramp_up_min: float = Field(
        15.0, ge=1e-3, le=1440, description="time over which the draw comes back afterwards [min]: CHOICE"
    )
    shared: str = Field(
        "",
        max_length=60,
        description="name of a request that all sites naming it answer together: cut and to_kw then refer to the "
        "sum of their imports, and `between` is in UTC",
    )
    pay_mad_per_kwh: NotNegative = Field(
        0.0, description="payment for each kWh below the baseline, up to what was asked"
    )
    penalty_mad_per_kwh: NotNegative = Field(0.0, description="penalty for each kWh above what was asked")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        ways = [name for name in ("start", "file", "per_year") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"give one of start, file and per_year, not {' and '.join(ways) or 'none'}")
        if self.file is None and (self.cut is None) == (self.to_kw is None):
            raise ValueError("give either cut (share of the baseline) or to_kw")
        if self.file is None and self.hours is None:
            raise ValueError("give hours, how long it lasts")
        if self.hours is not None and self.ramp_down_min >= 60.0 * self.hours:
            raise ValueError(f"ramp_down_min = {self.ramp_down_min:g} is as long as hours = {self.hours:g}")
        return self
