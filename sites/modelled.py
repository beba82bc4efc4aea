"""The slow part of a site's supply: weather, then PV power and cooling overhead from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sites.clock import DAY_S, Span
from sites.cooling import overhead
from sites.dust import age_factor, soiling_loss
from sites.profile import Floats
from sites.site import SiteModel
from sites.solar import ac_power
from sites.weather import SunTable, Weather, place_of, weather


def modelled(
    site: SiteModel, span: Span, seed: int, table: SunTable, cache: Path | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """AC power [W], overhead per watt of IT load, air temperature [degC] and GHI [W/m2] of each step."""
    sky = weather(site, span, seed, table, cache)
    power = pv_power(site, span, seed, sky)
    return power, overhead(site.cooling, sky.temp_air), sky.temp_air, sky.sky.full(sky.sun.ghi)


def pv_power(site: SiteModel, span: Span, seed: int, found: Weather) -> Floats:
    """AC power of a site's PV array in each step [W], with dust and age."""
    pv = site.pv
    if pv is None:
        return np.zeros(span.steps)
    if pv.series is not None:
        from sites.series import series

        return np.maximum(series(pv.series, span, "pv.series"), 0.0) * 1000.0
    past = place_of(site) if site.weather.kind == "climatology" else None
    loss = soiling_loss(pv.soiling, found.days, found.daily_index, site.lat, site.lon, seed, past)
    clean = (1.0 - loss) * age_factor(pv, found.days, span.start_unix // DAY_S)
    return found.sky.full(ac_power(pv, site.pv_kwp, found.sky, found.sun, clean[found.day_of_row]))
