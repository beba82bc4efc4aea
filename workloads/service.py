"""Services that answer citizens: power that each region's site draws by hour, weekday and season, and cannot wait."""

import math
import tomllib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, ValidationError, model_validator

from tafukt.problems import hint
from tafukt.strict import Strict, Zone, problems_of
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.schema import Place
from tafukt.workloads.units import DAY_S, Floats

Rate = Annotated[float, Field(ge=0, le=1e6)]

YEAR_DAYS = 365.25
# The coldest part of the year is mid-January, the hottest mid-July: the two hourly shapes blend between them.
MIDWINTER_DAY = 15.0


class ServiceModel(Strict):
    """A service: how many people use it, how often, and what an answer takes."""

    title: str = Field("", description="its name in tables and figures")
    timezone: Zone = Field(description="time zone of the hours")
    users_share: float = Field(ge=0, le=1, description="share of the population that uses it")
    requests_per_user_day: Rate = Field(description="requests per user and day")
    wh_per_request: Rate = Field(description="energy per request, including cooling [Wh]")
    base_share: float = Field(ge=0, le=1, description="share of the mean power that is drawn around the clock")
    growth_per_year: float = Field(gt=-1, le=10, description="share by which requests grow each year")
    weekday: tuple[Rate, ...] = Field(
        min_length=7, max_length=7, description="relative rate on each day of the week, Monday first"
    )
    hour_winter: tuple[Rate, ...] = Field(
        min_length=24, max_length=24, description="relative rate in each local hour of a winter day"
    )
    hour_summer: tuple[Rate, ...] = Field(
        min_length=24, max_length=24, description="relative rate in each local hour of a summer day"
    )
    basis: dict[str, str] = Field(default_factory=dict, description="where each number comes from, by key")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        for name in ("weekday", "hour_winter", "hour_summer"):
            if not sum(getattr(self, name)) > 0:
                raise ValueError(f"{name} needs a value above zero")
        return self

    @property
    def mean_w_per_person(self) -> float:
        """Power per inhabitant on an average day [W]."""
        return self.users_share * self.requests_per_user_day * self.wh_per_request / 24.0


def service_from(table: dict[str, Any], where: str = "service") -> ServiceModel:
    """A service's table: changes over a bundled one, `use = "citizens"` where none is named.

    Raises
    ------
    WorkloadError
        One line per mistake.
    """
    changes = dict(table)
    name = str(changes.pop("use", "citizens"))
    known = bundled("services")
    if name not in known:
        raise WorkloadError(f"{where}.use: no service {name!r}; {hint(name, known)}")
    base = tomllib.loads(known[name].read_text(encoding="utf-8"))
    try:
        return ServiceModel.model_validate(base | changes)
    except ValidationError as error:
        raise WorkloadError(problems_of(error, ServiceModel, where)) from None


def service_load(
    model: ServiceModel, places: Sequence[Place], start: datetime, days: float, step_s: float
) -> dict[str, Floats]:
    """The power of the service at each site [W], one value per step.

    A region is served at its own sites, in proportion to their GPUs, from the day that they come online;
    the power at a step is that at its middle. There is no chance in it.

    Parameters
    ----------
    model : ServiceModel
    places : sequence of Place
    start : datetime
        Start of the experiment, with a time zone.
    days, step_s : float
        How far the series reaches [days], and its step [s].

    Raises
    ------
    WorkloadError
        If the start has no time zone.
    """
    if start.tzinfo is None:
        raise WorkloadError(f"start: {start.isoformat()} has no time zone")
    n = math.ceil(days * DAY_S / step_s - 1e-9)
    middle = np.asarray((np.arange(n) + 0.5) * step_s, dtype=np.float64)
    shape = model.base_share + (1 - model.base_share) * _shape(model, start, middle)
    shape = shape * (1 + model.growth_per_year) ** (middle / (YEAR_DAYS * DAY_S))
    gpus: dict[str, int] = {}
    for place in places:
        gpus[place.region] = gpus.get(place.region, 0) + place.gpus
    load = {}
    for place in places:
        share = place.gpus / gpus[place.region] if gpus[place.region] else 0.0
        mean_w = model.mean_w_per_person * place.population * share
        load[place.site] = np.where(middle >= place.online_s, mean_w * shape, 0.0)
    return load


def _shape(model: ServiceModel, start: datetime, time_s: Floats) -> Floats:
    """Relative demand at each time, by local hour, weekday and season; mean 1 over a week."""
    zone = ZoneInfo(model.timezone)
    hours = np.floor(time_s / 3600.0).astype(np.int64)
    first = start.timestamp()
    # The offset from UTC changes at whole hours, so one look-up an hour is exact enough for any start.
    unique, where = np.unique(hours, return_inverse=True)
    offsets = np.array([_offset_s(datetime.fromtimestamp(first + 3600.0 * hour, tz=zone)) for hour in unique.tolist()])
    local = first + time_s + offsets[where]
    hour = (local / 3600.0) % 24.0
    weekday = ((local // DAY_S).astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    season = 0.5 + 0.5 * np.cos(2 * np.pi * ((local / DAY_S) % YEAR_DAYS - MIDWINTER_DAY) / YEAR_DAYS)
    shapes = [_hourly(np.array(values), hour) for values in (model.hour_winter, model.hour_summer)]
    by_day = np.array(model.weekday) * 7.0 / sum(model.weekday)
    return np.asarray((season * shapes[0] + (1 - season) * shapes[1]) * by_day[weekday])


def _offset_s(local: datetime) -> float:
    offset = local.utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def _hourly(values: Floats, hour: Floats) -> Floats:
    """Values of mean 1, linear between the middles of the hours."""
    centres = np.arange(-1, 25) + 0.5
    return np.asarray(np.interp(hour, centres, np.concatenate(([values[-1]], values, [values[0]])) / values.mean()))
