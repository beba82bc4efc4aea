"""A site's weather along a run, as data: sun on daylight rows, air temperature, the index of each day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pvlib

from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.site import SiteModel
from tafukt.sites.time_grid import Ints
from tafukt.sites.weather.clearsky import Sky
from tafukt.sites.weather.climatology import Place, SolarDays


@dataclass(frozen=True)
class Irradiance:
    """Sun on the horizontal and air about the modules, on a sky's daylight rows.

    `ghi`, `dni`, `dhi` in W/m2, `temp_air` in degC, `wind_speed` in m/s at 10 m; arrays of shape (m,).
    """

    ghi: Floats
    dni: Floats
    dhi: Floats
    temp_air: Floats
    wind_speed: Floats


@dataclass(frozen=True)
class Weather:
    """A site's weather along a span.

    Attributes
    ----------
    sky : Sky
        Sun and clear sky on the span's daylight rows.
    sun : Irradiance
        On the same rows.
    temp_air : array, shape (steps,)
        Outdoor air temperature of every step [degC].
    days, daily_index, day_of_row
        Mean solar days since 1970 that the span touches, the clear-sky index of each, and which of them
        each daylight row belongs to.
    notes : tuple of str
        What was found and filled in the data.
    """

    sky: Sky
    sun: Irradiance
    temp_air: Floats
    days: Ints
    daily_index: Floats
    day_of_row: Ints
    notes: tuple[str, ...] = ()


def place_of(site: SiteModel) -> Place:
    """Coordinates and monthly climate of a site, for the seeded sky."""
    climate = site.climate
    if climate is None:
        raise SiteError(f"{site.name}: climate: is missing, and weather.kind 'climatology' needs it")
    return Place(site.lat, site.lon, site.altitude_m, climate.ghi_kwh_m2_d, climate.tmax_c, climate.tmin_c)


def split(ghi: Floats, part: Sky, doy: Ints) -> tuple[Floats, Floats]:
    """Direct normal and diffuse irradiance from the global [W/m2].

    Erbs, Klein and Duffie (1982), doi:10.1016/0038-092X(82)90302-4.
    """
    both = pvlib.irradiance.erbs(ghi, part.zenith, doy)
    return np.asarray(both["dni"], dtype=np.float64), np.asarray(both["dhi"], dtype=np.float64)


def assembled(part: Sky, sun: Irradiance, temp: Floats, grid: SolarDays, notes: tuple[str, ...] = ()) -> Weather:
    """Put a weather together and work out its daily clear-sky index."""
    day_of_row = (part.rows + grid.lead) // grid.per_day
    count = len(grid.days)
    have = np.bincount(day_of_row, sun.ghi, count)
    clear = np.bincount(day_of_row, part.ghi_clear, count)
    index = np.divide(have, clear, out=np.ones(count), where=clear > 0)
    return Weather(part, sun, temp, grid.days, index, day_of_row, notes)
