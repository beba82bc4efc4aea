"""Solar position and clear-sky irradiance on daylight rows, for many sites at once.

The sun's place comes from pvlib's NREL algorithm [1]_ every three hours. Turned back with the Earth's mean
rotation, the vector from the Earth's centre to the sun moves so slowly that a cubic spline holds it to
far below a second of arc; parallax and refraction are put back for each site.

References
----------
.. [1] Reda and Andreas (2004), Solar Energy 76, 577-589, doi:10.1016/j.solener.2003.12.003
.. [2] Ineichen and Perez (2002), Solar Energy 73, 151-157, doi:10.1016/S0038-092X(02)00045-2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pvlib
from scipy.interpolate import CubicSpline

from tafukt.sites.profile import Floats
from tafukt.sites.time_grid import DAY_S, HOUR_S, Ints, day_of_year, years_of

_EARTH_RADIUS_AU = 4.26352e-5
_NODE_S = 3 * HOUR_S
_AIR_TEMP_C = 12.0  # what pvlib takes for refraction


_ROW_FIELDS = ("zenith", "apparent_zenith", "azimuth", "dni_extra", "ghi_clear", "dni_clear", "dhi_clear")


@dataclass(frozen=True)
class Sky:
    """The sun and the clear sky of one place, on the rows of a grid that have daylight.

    Attributes
    ----------
    rows : array of int, shape (m,)
        Which of the grid's rows these are.
    zenith, apparent_zenith, azimuth : array, shape (m,)
        Of the sun, true and refracted, azimuth clockwise from north [deg].
    dni_extra, ghi_clear, dni_clear, dhi_clear : array, shape (m,)
        Beyond the atmosphere, and under a clear sky [W/m2].
    size : int
        Rows of the whole grid.
    """

    rows: Ints
    zenith: Floats
    apparent_zenith: Floats
    azimuth: Floats
    dni_extra: Floats
    ghi_clear: Floats
    dni_clear: Floats
    dhi_clear: Floats
    size: int

    def part(self, first: int, size: int) -> Sky:
        """The same for `size` of the grid's rows from `first` on."""
        low, high = np.searchsorted(self.rows, [first, first + size])
        cut = {name: getattr(self, name)[low:high] for name in _ROW_FIELDS}
        return Sky(rows=self.rows[low:high] - first, size=size, **cut)

    def full(self, values: Floats) -> Floats:
        """Daylight values spread over the whole grid, zero at night."""
        result = np.zeros(self.size)
        result[self.rows] = values
        return result


@lru_cache(maxsize=8)
def _sun_spline(first_day: int, last_day: int) -> CubicSpline:
    """Sun's position from the Earth's centre [AU], in axes that turn back 15 degrees an hour."""
    nodes = np.arange((first_day - 4) * DAY_S, (last_day + 5) * DAY_S, _NODE_S, dtype=np.int64)
    times = pd.DatetimeIndex(nodes.astype("datetime64[s]"), tz="UTC")
    place = pvlib.solarposition.get_solarposition(times, 0.0, 0.0, altitude=0.0)
    elevation = np.radians(place["elevation"].to_numpy())
    azimuth = np.radians(place["azimuth"].to_numpy())
    distance = pvlib.solarposition.nrel_earthsun_distance(times).to_numpy()
    # at 0 N 0 E the axes of the Earth are up, east, north
    x = distance * np.sin(elevation) + _EARTH_RADIUS_AU
    y = distance * np.cos(elevation) * np.sin(azimuth)
    z = distance * np.cos(elevation) * np.cos(azimuth)
    turn = 2.0 * np.pi * (nodes % DAY_S) / DAY_S
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z])
    return CubicSpline(nodes.astype(np.float64), turned, axis=1)


def sun_vectors(mids: Floats) -> Floats:
    """Vector from the Earth's centre to the sun at some times [AU], Earth-fixed axes, shape (3, n)."""
    spline = _sun_spline(int(mids[0] // DAY_S), int(mids[-1] // DAY_S))
    u, v, z = spline(mids)
    turn = 2.0 * np.pi * (mids % DAY_S) / DAY_S
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([u * cos + v * sin, v * cos - u * sin, z])


@lru_cache(maxsize=64)
def _linke_by_day(lat: float, lon: float, leap: bool) -> Floats:
    """Linke turbidity of each day of a common or leap year, pvlib's own table, shape (365 or 366,)."""
    days = pd.date_range("2024-01-01" if leap else "2023-01-01", periods=365 + leap, tz="UTC")
    return np.asarray(pvlib.clearsky.lookup_linke_turbidity(days, lat, lon).to_numpy(), dtype=np.float64)


@lru_cache(maxsize=1)
def _extra_by_day() -> Floats:
    """Irradiance beyond the atmosphere on each day of a year, Spencer's formula [W/m2], shape (366,)."""
    return np.asarray(pvlib.irradiance.get_extra_radiation(np.arange(1, 367)), dtype=np.float64)


def _by_day(days: Ints, table: Callable[[bool], Floats]) -> Floats:
    """Look up a value by day of the year for rising days since 1970, from a table for each kind of year."""
    if not len(days):  # polar night
        return np.zeros(0)
    first, last = int(days[0]), int(days[-1])
    each = np.arange(first, last + 1)
    leap = years_of(each) % 4 == 0
    place = day_of_year(each) - 1
    values = np.where(leap, table(True)[place], table(False)[np.minimum(place, 364)])
    return np.asarray(values[days - first])


def sky(lat: float, lon: float, altitude_m: float, mids: Floats, sun: Floats | None = None) -> Sky:
    """Sun and clear sky of a place.

    Parameters
    ----------
    lat, lon : float
        [deg], north and east positive.
    altitude_m : float
        [m]
    mids : array, shape (n,)
        Rising times, the middles of the steps [s since 1970].
    sun : array, shape (3, n), optional
        `sun_vectors(mids)`, where several places share them.
    """
    position = sun_vectors(mids) if sun is None else sun
    phi, lam = np.radians(lat), np.radians(lon)
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    height = up @ position - _EARTH_RADIUS_AU
    day_rows = np.flatnonzero(height > -0.025)  # 1.4 degrees below the horizon: before any refraction
    part = position[:, day_rows]
    height = height[day_rows]
    east = -np.sin(lam) * part[0] + np.cos(lam) * part[1]
    toward_axis = np.cos(lam) * part[0] + np.sin(lam) * part[1]
    north = -np.sin(phi) * toward_axis + np.cos(phi) * part[2]
    elevation = np.degrees(np.arctan2(height, np.hypot(east, north)))
    pressure = float(pvlib.atmosphere.alt2pres(altitude_m))
    lifted = elevation + pvlib.spa.atmospheric_refraction_correction(pressure / 100.0, _AIR_TEMP_C, elevation, 0.5667)
    seen = lifted > 0.0
    rows, apparent = day_rows[seen], 90.0 - lifted[seen]
    azimuth = np.degrees(np.arctan2(east[seen], north[seen])) % 360.0
    days = (mids[rows] // DAY_S).astype(np.int64)
    extra = _by_day(days, lambda leap: _extra_by_day())
    linke = _by_day(days, lambda leap: _linke_by_day(lat, lon, leap))
    airmass = pvlib.atmosphere.get_absolute_airmass(pvlib.atmosphere.get_relative_airmass(apparent), pressure)
    clear = pvlib.clearsky.ineichen(apparent, airmass, linke, altitude_m, extra)
    return Sky(
        rows=rows,
        zenith=90.0 - elevation[seen],
        apparent_zenith=apparent,
        azimuth=azimuth,
        dni_extra=extra,
        ghi_clear=np.asarray(clear["ghi"]),
        dni_clear=np.asarray(clear["dni"]),
        dhi_clear=np.asarray(clear["dhi"]),
        size=len(mids),
    )
