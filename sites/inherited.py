"""Notes on what a site's description takes from another climate, country or hemisphere."""

from __future__ import annotations

import math

from tafukt.sites.distance import distance_km
from tafukt.sites.schema.grid import ConstantCarbon, HourlyCarbon
from tafukt.sites.site import SiteModel, catalogue

FAR_KM = 100.0
_MOROCCAN_ZONES = ("Africa/Casablanca", "Africa/El_Aaiun")


def inherited(site: SiteModel) -> tuple[str, ...]:
    """Features of a site that are another place's, one line for each.

    The catalogue's climates, tariffs and carbon tables are Morocco's. A site elsewhere that keeps them, by `like` or
    by default, is told so.
    """
    return (*_climate(site), *_country(site), *_facing(site))


def _climate(site: SiteModel) -> tuple[str, ...]:
    climate = site.climate
    if climate is None or site.weather.kind not in ("climatology", "clear-sky"):
        return ()
    same = [other for other in catalogue().values() if other.climate == climate]
    apart = [(float(distance_km(site.lat, site.lon, other.lat, other.lon)), other.name) for other in same]
    if not apart or min(apart)[0] <= FAR_KM:
        return ()
    km, name = min(apart)
    return (f"climate: taken from {name}, {km:.0f} km away; give the site its own climate, or a weather file",)


def _country(site: SiteModel) -> tuple[str, ...]:
    if site.tz in _MOROCCAN_ZONES:
        return ()
    found = []
    grid = site.grid
    if isinstance(grid.tariff, str) and grid.price_mad_per_kwh is None:
        found.append(
            f"grid.tariff: {grid.tariff!r} is Moroccan; give the site its own tariff, or grid.price_mad_per_kwh"
        )
    if isinstance(grid.carbon, HourlyCarbon):
        found.append(f"grid.carbon: the table {grid.carbon.table!r} describes Morocco; give one for this site")
    elif isinstance(grid.carbon, ConstantCarbon) and "g_per_kwh" not in grid.carbon.model_fields_set:
        found.append(f"grid.carbon: {grid.carbon.g_per_kwh:g} g/kWh is for Morocco; give g_per_kwh")
    if site.country == "MA":
        found.append(f"country: 'MA', although its time zone is {site.tz}; data residency depends on the country")
    return tuple(found)


def _facing(site: SiteModel) -> tuple[str, ...]:
    pv = site.pv
    if pv is None or pv.mount != "fixed" or pv.azimuth_deg is None or pv.tilt_deg < 5.0 or pv.series is not None:
        return ()
    toward_equator = -math.cos(math.radians(pv.azimuth_deg)) * (1.0 if site.lat >= 0 else -1.0)
    if toward_equator > -0.5 or abs(site.lat) < 10.0:
        return ()
    return (
        f"pv.azimuth_deg: {pv.azimuth_deg:g} at latitude {site.lat:g} faces away from the sun; 0 is north, 180 south",
    )
