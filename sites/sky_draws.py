"""The random fields behind the seeded sky: one normal number per place and day, correlated in space and time.

Every draw is keyed by seed, date and node, so that a longer run keeps its earlier days, another start
gives the same day for the same date, and a site of one's own changes nobody else's sky: it hangs on fixed
national nodes (kriging), with a part of its own for what they leave open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betaincinv, ndtr

from sites.clock import Ints, months_of, stream, years_of
from sites.profile import Floats
from sites.site import sky_facts

EARTH_RADIUS_KM = 6371.0
MEMORY_DAYS = 32


@dataclass(frozen=True)
class Spread:
    """How the daily clear-sky index spreads, by season: the mean of the catalogue's data sets.

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


def distance_km(lat0: Floats, lon0: Floats, lat1: Floats, lon1: Floats) -> Floats:
    """Great-circle distance [km] between places given in degrees."""
    p0, p1 = np.radians(lat0), np.radians(lat1)
    half = np.sin((p1 - p0) / 2) ** 2 + np.cos(p0) * np.cos(p1) * np.sin(np.radians(lon1 - lon0) / 2) ** 2
    return np.asarray(2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half)))


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
    """What the draws of a place are named by: sites in one place share one sky, whatever they are called."""
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
    """How bright a month of a year is at a place, against the same month of other years.

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
