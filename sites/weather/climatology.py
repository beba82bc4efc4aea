"""The seeded sky: a clear-sky-index process that reproduces a climate's monthly means, and air temperature.

Each day has an index K, Beta-distributed between 0 and an upper bound, whose mean follows the month and whose
spread follows the season; days hang together in time and space (`sites.sky_draws`). Within the day the index
wanders by a first-order autoregressive process in its logit, and is scaled so that the day keeps its K.
Months differ from year to year by two fifths of what independent draws of such days would give (a choice: nothing
is published for these sites), and are drawn to that mean exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import lfilter
from scipy.special import betaincinv, ndtr

from tafukt.sites.distance import distance_km
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.site import sky_facts
from tafukt.sites.time_grid import DAY_S, Ints, Span, months_of, season_of, stream, years_of
from tafukt.sites.weather.clearsky import Sky, sky

# Drawing months to their mean takes a little off the spread and memory of days: both are put back, as measured.
_WIDER, _LONGER = 1.06, 1.06
YEAR_TO_YEAR = 0.4  # share of the year-to-year spread of independent draws: choice
WITHIN_DAY_SD = 1.0  # of the index's logit: choice
WITHIN_DAY_MEMORY_S = 2700.0  # of the autoregressive process: choice
TEMP_SD_C = 2.5  # of the daily temperature about its month: choice
TEMP_LAG1 = 0.7  # of the same, from day to day: choice
_COOLEST_H, _HOTTEST_H = 6.0, 15.0  # mean solar time of the daily extremes: choice


@dataclass(frozen=True)
class Place:
    """Coordinates and monthly climate of a site."""

    lat: float
    lon: float
    altitude_m: float
    ghi_kwh_m2_d: tuple[float, ...]
    tmax_c: tuple[float, ...]
    tmin_c: tuple[float, ...]

    @property
    def shift_s(self) -> float:
        """Mean solar time minus UTC [s]."""
        return self.lon * 240.0


@lru_cache(maxsize=64)
def _clear_by_day(lat: float, lon: float, altitude_m: float) -> Floats:
    """Clear-sky irradiation of each day of a common year [kWh/m2], shape (365,), from every sixth day."""
    step = 900
    first = 19_358  # 1 January 2023
    days = np.arange(first, first + 365, 6)
    begins = days * DAY_S - round(lon * 240.0 / step) * step
    mids = np.asarray(begins[:, None] + step * np.arange(DAY_S // step) + step / 2, dtype=np.float64).ravel()
    clear = sky(lat, lon, altitude_m, mids)
    energy = clear.full(clear.ghi_clear).reshape(len(days), -1).sum(axis=1) * step / 3.6e6
    return np.asarray(np.interp(np.arange(365), days - first, energy, period=365))


def _month_of_common_year() -> Ints:
    return months_of(np.arange(19_358, 19_358 + 365))


def clear_by_month(place: Place) -> Floats:
    """Mean daily irradiation under a clear sky, by month [kWh/m2/day], shape (12,)."""
    energy = _clear_by_day(place.lat, place.lon, place.altitude_m)
    months = _month_of_common_year()
    return np.array([energy[months == m].mean() for m in range(1, 13)])


def refuse_more_than_clear(place: Place) -> None:
    """Refuse a climate with more sun than a clear sky has.

    Raises
    ------
    SiteError
        If a month's mean is above that of a clear sky by more than a tenth.
    """
    clear = clear_by_month(place)
    over = np.array(place.ghi_kwh_m2_d) - (1.1 * clear + 0.1)
    month = int(np.argmax(over))
    if over[month] <= 0:
        return
    given = place.ghi_kwh_m2_d[month]
    raise SiteError(
        f"climate.ghi_kwh_m2_d: {given:g} in month {month + 1} is more than under a clear sky at {place.lat:g} N, "
        f"{place.lon:g} E, {clear[month]:.2f} kWh/m2/day: is it the climate of another place? give that of this "
        "one, or weather = 'clear-sky', or a weather file"
    )


def _bounds(place: Place) -> tuple[Floats, Floats]:
    """Mean index and its upper bound by month, shapes (12,)."""
    mean = np.array(place.ghi_kwh_m2_d) / clear_by_month(place)
    return mean, np.maximum(spread().upper, mean / 0.94)


def daily_index(place: Place, seed: int, days: Ints) -> Floats:
    """The clear-sky index of each of some consecutive days (mean solar days since 1970), shape (n,).

    Whole months are drawn, so that the result for a date does not depend on which days are asked for.
    """
    whole = _whole_months(days)
    months, years = months_of(whole), years_of(whole)
    season = season_of(months)
    facts = spread()
    mean, upper = _bounds(place)
    z = daily_normals(seed, "index", place.lat, place.lon, whole, latent(_LONGER * facts.lag1)[season])
    index = np.empty(len(whole))
    clear = _clear_by_day(place.lat, place.lon, place.altitude_m)
    weights = np.interp(whole - _year_begin(whole), np.arange(365), clear)
    numbers = years * 12 + months - 1
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    goals = np.array([_goal(place, seed, int(years[i]), int(months[i]), mean, upper) for i in starts])
    lengths = np.diff(np.append(starts, len(whole)))
    goal, bound = np.repeat(goals, lengths), upper[months - 1]
    dispersion = facts.dispersion[season] * _WIDER
    month = _Months(starts, lengths, weights)
    index = _drawn_to(goals, bound, lambda shift: bound * beta_index(z + shift, goal / bound, dispersion), month)
    first = int(days[0] - whole[0])
    return index[first : first + len(days)]


@dataclass(frozen=True)
class _Months:
    """First day and length of each month among some days, and the weight of each day."""

    starts: Ints
    lengths: Ints
    weights: Floats

    def mean(self, values: Floats) -> Floats:
        total = np.add.reduceat(values * self.weights, self.starts)
        return np.asarray(total / np.add.reduceat(self.weights, self.starts))

    def spread(self, values: Floats) -> Floats:
        return np.repeat(values, self.lengths)


def _drawn_to(goals: Floats, bound: Floats, index: Callable[[Floats], Floats], months: _Months) -> Floats:
    """Shift the normals of each month until its mean index is its goal.

    A few steps of regula falsi; what little is left then goes into the days themselves: darker, all days
    alike; brighter, what each day lacks, alike; so that no day leaves its bounds.
    """
    low, high = np.full(len(goals), -2.5), np.full(len(goals), 2.5)
    miss_low, miss_high = (months.mean(index(months.spread(x))) - goals for x in (low, high))
    shift = np.zeros(len(goals))
    for _ in range(6):
        miss = months.mean(index(months.spread(shift))) - goals
        above = miss > 0
        low, miss_low = np.where(above, low, shift), np.where(above, miss_low / 2, miss)
        high, miss_high = np.where(above, shift, high), np.where(above, miss, miss_high / 2)
        shift = np.clip(low - miss_low * (high - low) / (miss_high - miss_low), low, high)
    values = index(months.spread(shift))
    got, goal = months.spread(months.mean(values)), months.spread(goals)
    brighter = bound - (bound - values) * (bound - goal) / (bound - got)
    return np.where(got > goal, values * goal / got, brighter)


def _goal(place: Place, seed: int, year: int, month: int, mean: Floats, upper: Floats) -> float:
    """The mean index of a month of a year."""
    facts, season = spread(), int(season_of(np.array([month]))[0])
    middle, bound = float(mean[month - 1]), float(upper[month - 1])
    share = middle / bound
    daily_sd = bound * np.sqrt(facts.dispersion[season] * share * (1.0 - share))
    lag1 = facts.lag1[season]
    monthly_sd = YEAR_TO_YEAR * daily_sd * np.sqrt((1.0 + lag1) / (1.0 - lag1) / 30.0)
    reach = 3.0 * monthly_sd  # symmetric, so that cutting at the bounds leaves the mean
    reach = min(reach, 0.985 * bound - middle, middle)
    z = yearly_normal(seed, place.lat, place.lon, year, month)
    return middle + float(np.clip(monthly_sd * z, -reach, reach))


def _year_begin(days: Ints) -> Ints:
    return np.asarray(days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64))


def _whole_months(days: Ints) -> Ints:
    ends = np.array([days[0], days[-1]]).astype("datetime64[D]").astype("datetime64[M]")
    first = int(ends[0].astype("datetime64[D]").astype(np.int64))
    last = int((ends[1] + 1).astype("datetime64[D]").astype(np.int64))
    return np.arange(first, last)


@dataclass(frozen=True)
class SolarDays:
    """A span widened to whole mean solar days: `per_day` rows each, the span's own rows from `lead` on."""

    days: Ints
    per_day: int
    lead: int
    mids: Floats


def solar_days(place_shift_s: float, span: Span) -> SolarDays:
    """The whole mean solar days that a span touches."""
    per_day = DAY_S // span.step_s
    solar = span.start_unix + place_shift_s
    first = int(solar // DAY_S)
    lead = int((solar - first * DAY_S) // span.step_s)
    count = -(-(lead + span.steps) // per_day)
    begin = span.start_unix - lead * span.step_s
    mids = begin + span.step_s * (np.arange(count * per_day, dtype=np.float64) + 0.5)
    return SolarDays(np.arange(first, first + count), per_day, lead, mids)


def cloud_index(place: Place, seed: int, grid: SolarDays, clear: Sky) -> Floats:
    """The clear-sky index on the daylight rows of whole days.

    Parameters
    ----------
    grid : SolarDays
        From `solar_days`.
    clear : Sky
        Of the same rows.
    """
    count, per_day = len(grid.days), grid.per_day
    daily = daily_index(place, seed, grid.days)
    bound = _bounds(place)[1][months_of(grid.days) - 1]
    share = np.clip(daily / bound, 1e-4, 1.0 - 1e-4)
    wander = _within_day(place, seed, grid.days, per_day)
    day_of_row = clear.rows // per_day
    logit = np.log(share / (1.0 - share))[day_of_row] + WITHIN_DAY_SD * wander.ravel()[clear.rows]
    index = bound[day_of_row] / (1.0 + np.exp(-logit))
    have = np.bincount(day_of_row, index * clear.ghi_clear, count)
    want = daily * np.bincount(day_of_row, clear.ghi_clear, count)
    scale = np.divide(want, have, out=np.ones(count), where=have > 0)
    return np.asarray(index * scale[day_of_row])


def _within_day(place: Place, seed: int, days: Ints, per_day: int) -> Floats:
    """A standard first-order autoregressive process within each day, shape (days, per_day)."""
    rho = float(np.exp(-DAY_S / per_day / WITHIN_DAY_MEMORY_S))
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    day_of_month = (days.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    drawn = np.empty((len(days), per_day))
    for month in np.unique(months):
        rows = np.flatnonzero(months == month)
        name = f"sky/day/{place_key(place.lat, place.lon)}/{month}/{per_day}"
        drawn[rows] = stream(seed, name).standard_normal((31, per_day))[day_of_month[rows]]
    drawn[:, 1:] *= np.sqrt(1.0 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], drawn, axis=1))


def _monthly_to_daily(monthly: tuple[float, ...]) -> Floats:
    """A smooth year of daily values whose monthly means are the given ones, shape (365,).

    Linear between the middles of the months; the values there are solved for.
    """
    months = _month_of_common_year()
    middles = np.array([np.flatnonzero(months == m).mean() for m in range(1, 13)])
    shapes = np.stack([np.interp(np.arange(365), middles, np.eye(12)[m], period=365) for m in range(12)])
    means = np.stack([shapes[:, months == m].mean(axis=1) for m in range(1, 13)])
    return np.asarray(np.linalg.solve(means, np.array(monthly)) @ shapes)


def air_temperature(place: Place, seed: int, grid: SolarDays, anomalies: bool = True) -> Floats:
    """Outdoor air temperature on every row of whole days [degC].

    A cosine from the daily minimum to the maximum and back, on which warmer and colder days ride.
    """
    in_year = np.minimum(grid.days - _year_begin(grid.days), 364)
    low, high = _monthly_to_daily(place.tmin_c)[in_year], _monthly_to_daily(place.tmax_c)[in_year]
    hour = 24.0 * (np.arange(grid.per_day) + 0.5) / grid.per_day
    rise = _HOTTEST_H - _COOLEST_H
    since = (hour - _COOLEST_H) % 24.0
    shape = np.where(
        since < rise,
        0.5 - 0.5 * np.cos(np.pi * since / rise),
        0.5 + 0.5 * np.cos(np.pi * (since - rise) / (24.0 - rise)),
    )
    temperature = (low[:, None] + (high - low)[:, None] * shape).ravel()
    if anomalies:
        longer = np.arange(grid.days[0] - 1, grid.days[-1] + 2)
        z = daily_normals(seed, "temp", place.lat, place.lon, longer, np.full(len(longer), TEMP_LAG1))
        along = np.arange(len(temperature)) / grid.per_day + 0.5 / grid.per_day + 0.5
        temperature += TEMP_SD_C * np.interp(along, np.arange(len(longer)), z)
    return np.asarray(temperature)


# --- The random fields behind the seeded sky: one normal number per place and day, correlated in space and time
# Every draw is keyed by seed, date and node, so that a longer run keeps its earlier days, another start
# gives the same day for the same date, and a site of one's own changes nobody else's sky: it hangs on fixed
# national nodes (kriging), with a part of its own for what they leave open.


MEMORY_DAYS = 32


@dataclass(frozen=True)
class Spread:
    """Spread of the daily clear-sky index by season: the mean of the catalogue's data sets.

    `dispersion` is variance over m (1 - m), with m the mean over the upper bound; `lag1` is the
    correlation from day to day; both have shape (4,).
    """

    upper: float
    dispersion: Floats
    lag1: Floats


@lru_cache(maxsize=1)
def spread() -> Spread:
    """The spread from the catalogue; each data set's level is set by the clearest season's 95th percentile."""
    dispersion, lag1, upper = [], [], 0.0
    for data in sky_facts()["daily_index"]:
        bound = max(data["p95"]) * 1.005
        mean, sd = np.array(data["mean"]) / bound, np.array(data["sd"]) / bound
        dispersion.append(sd**2 / (mean * (1.0 - mean)))
        lag1.append(data["lag1_autocorr"])
        upper = max(upper, bound)
    return Spread(upper, np.mean(dispersion, axis=0), np.mean(lag1, axis=0))


def beta_index(z: Floats, mean: Floats, dispersion: Floats) -> Floats:
    """Turn normal numbers into Beta-distributed ones of a given mean, with variance dispersion x m (1 - m)."""
    size = 1.0 / dispersion - 1.0
    return np.asarray(betaincinv(mean * size, (1.0 - mean) * size, ndtr(z)))


@lru_cache(maxsize=1)
def _hermite_shares() -> Floats:
    """Shares of the daily index's variance by the order of the Hermite polynomial, 1 to 12.

    The correlation of two indices whose normals correlate by r is the sum of share_n r^n.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    facts = spread()
    value = beta_index(z, np.full(z.shape, 0.8), np.full(z.shape, float(facts.dispersion.mean())))
    shares = []
    for order in range(1, 13):
        basis = np.polynomial.hermite_e.HermiteE.basis(order)(z)
        shares.append(float(np.sum(weight * value * basis)) ** 2 / math.factorial(order))
    return np.array(shares) / sum(shares)


def latent(correlation: Floats) -> Floats:
    """The correlation of the normals that gives daily indices this correlation."""
    r = np.linspace(0.0, 1.0, 2001)
    index = sum(share * r**n for n, share in enumerate(_hermite_shares(), 1))
    return np.interp(correlation, np.asarray(index), r)


@dataclass(frozen=True)
class Nodes:
    """The fixed national nodes: coordinates [deg], correlation of their normals, its Cholesky factor."""

    lat: Floats
    lon: Floats
    factor: Floats
    length_km: float


@lru_cache(maxsize=1)
def nodes() -> Nodes:
    """The catalogue's nodes."""
    facts = sky_facts()
    place = np.array(list(facts["nodes"].values()), dtype=np.float64)
    lat, lon, length = place[:, 0], place[:, 1], float(facts["correlation_length_km"])
    apart = distance_km(lat[:, None], lon[:, None], lat[None, :], lon[None, :])
    matrix = latent(np.exp(-apart / length))
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.maximum(values, 1e-6)) @ vectors.T  # the nearest that is a correlation at all
    scale = np.sqrt(np.diag(matrix))
    return Nodes(lat, lon, np.linalg.cholesky(matrix / np.outer(scale, scale)), length)


@lru_cache(maxsize=256)
def _weights(lat: float, lon: float) -> tuple[Floats, float]:
    """A place's weights on the nodes' independent draws, and the weight of its own."""
    base = nodes()
    apart = distance_km(base.lat, base.lon, np.array(lat), np.array(lon))
    near = int(np.argmin(apart))
    if apart[near] < 1.0:
        return np.asarray(base.factor[near]), 0.0
    weights = np.asarray(np.linalg.solve(base.factor, latent(np.exp(-apart / base.length_km))), dtype=np.float64)
    left = 1.0 - float(weights @ weights)
    return (weights, math.sqrt(left)) if left > 0 else (weights / np.linalg.norm(weights), 0.0)


def place_key(lat: float, lon: float) -> str:
    """Name of a place's random draws: sites in one place share one sky, whatever they are called."""
    return f"{lat:.2f},{lon:.2f}"


@lru_cache(maxsize=4096)
def _month_draws(seed: int, what: str, year: int, month: int) -> Floats:
    """Independent normals of the nodes on the 31 days of a month, shape (31, nodes)."""
    return stream(seed, f"sky/{what}/{year}-{month}").standard_normal((31, len(nodes().lat)))


def _place_month(seed: int, what: str, lat: float, lon: float, year: int, month: int) -> Floats:
    weights, own = _weights(lat, lon)
    values = (_month_draws(seed, what, year, month) * weights).sum(axis=1)
    if own:
        values = values + own * stream(seed, f"sky/{what}/{place_key(lat, lon)}/{year}-{month}").standard_normal(31)
    return np.asarray(values)


def daily_normals(seed: int, what: str, lat: float, lon: float, days: Ints, lag1: Floats) -> Floats:
    """A place's normal number on each of some consecutive days.

    Parameters
    ----------
    seed : int
    what : str
        Name of the field: `index`, `temp`.
    days : array of int, shape (n,)
        Consecutive days since 1970.
    lag1 : array, shape (n,)
        Correlation with the day before. The sum over the last `MEMORY_DAYS` draws is a finite one, so that
        a day's value does not depend on where the run starts.
    """
    longer = np.arange(days[0] - MEMORY_DAYS, days[-1] + 1)
    years, months = years_of(longer), months_of(longer)
    month_number = years * 12 + months - 1
    drawn = np.empty(len(longer))
    day_of_month = longer - longer.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(
        np.int64
    )
    for number in range(int(month_number[0]), int(month_number[-1]) + 1):
        rows = np.flatnonzero(month_number == number)
        values = _place_month(seed, what, lat, lon, number // 12, number % 12 + 1)
        drawn[rows] = values[day_of_month[rows]]
    total, norm, weight = np.zeros(len(days)), np.zeros(len(days)), np.ones(len(days))
    for back in range(MEMORY_DAYS + 1):
        total += weight * drawn[MEMORY_DAYS - back : len(longer) - back]
        norm += weight**2
        weight = weight * lag1
    return total / np.sqrt(norm)


def yearly_normal(seed: int, lat: float, lon: float, year: int, month: int) -> float:
    """Brightness of a month of a year at a place, against the same month of other years.

    It is the difference of two neighbouring draws over root two: normal, correlated in space like the
    days, and its sum over many years stays bounded, so that the monthly means settle fast.
    """
    weights, own = _weights(lat, lon)
    values = []
    for each in (year, year - 1):
        value = float(_month_draws(seed, "year", each, month)[0] @ weights)
        if own:
            name = f"sky/year/{place_key(lat, lon)}/{each}-{month}"
            value += own * float(stream(seed, name).standard_normal())
        values.append(value)
    return (values[0] - values[1]) / math.sqrt(2.0)
