"""The slow part of a site's supply: its weather, then PV power and cooling overhead from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tafukt.sites.cooling import overhead
from tafukt.sites.profile import Floats
from tafukt.sites.pv import ac_power, age_factor, soiling_loss
from tafukt.sites.schema.fields import SeriesModel
from tafukt.sites.schema.ranges import PV_KW
from tafukt.sites.schema.weather import HeatWave
from tafukt.sites.site import SiteModel
from tafukt.sites.time_grid import DAY_S, Span
from tafukt.sites.weather.model import Weather, place_of
from tafukt.sites.weather.series import Series, series
from tafukt.sites.weather.weather import SunTable, weather


@dataclass(frozen=True)
class Modelled:
    """AC power [W], overhead per watt of IT load, air temperature [degC] and GHI [W/m2] of each step; notes."""

    pv_w: Floats
    overhead: Floats
    temp_air_c: Floats
    ghi: Floats
    notes: tuple[str, ...]


def modelled(site: SiteModel, span: Span, seed: int, table: SunTable, cache: Path | None) -> Modelled:
    """The slow part of a site's supply on a span.

    Raises
    ------
    SiteError
        If an input file or a setting cannot be used.
    """
    found = warmed(weather(site, span, seed, table, cache), list(site.heat_waves.values()), span)
    power = pv_power(site, span, seed, found, cache)
    heat = overhead(site.cooling, found.temp_air)
    notes = (*found.notes, *power.notes)
    return Modelled(power.values, heat, found.temp_air, found.sky.full(found.sun.ghi), notes)


def warmed(found: Weather, waves: Sequence[HeatWave], span: Span) -> Weather:
    """The weather with its heat waves: warmer air, which modules and cooling feel, under the same sky."""
    if not waves:
        return found
    middle = span.start_unix + (np.arange(span.steps) + 0.5) * span.step_s
    temp = found.temp_air.copy()
    for wave in waves:
        begin = wave.start.timestamp()
        temp[(middle >= begin) & (middle < begin + wave.days * DAY_S)] += wave.warmer_c
    return replace(found, temp_air=temp, sun=replace(found.sun, temp_air=temp[found.sky.rows]))


def pv_power(site: SiteModel, span: Span, seed: int, found: Weather, cache: Path | None) -> Series:
    """AC power of a site's PV array in each step [W], with soiling and age, or from a series of its own."""
    pv = site.pv
    if pv is None:
        return Series(np.zeros(span.steps))
    if pv.series is not None:
        return _from_series(site, pv.series, span, cache)
    past = place_of(site) if site.weather.kind == "climatology" else None
    loss = soiling_loss(pv.soiling, found.days, found.daily_index, site.lat, site.lon, seed, past)
    clean = (1.0 - loss) * age_factor(pv, found.days, span.start_unix // DAY_S)
    return Series(found.sky.full(ac_power(pv, site.pv_kwp, found.sky, found.sun, clean[found.day_of_row])))


def _from_series(site: SiteModel, model: SeriesModel, span: Span, cache: Path | None) -> Series:
    """A ready power series; what an inverter draws at night counts as nothing."""
    found = series(model, span, "pv.series", PV_KW, cache)
    notes = list(found.notes)
    below = int((found.values < 0).sum())
    if below:
        notes.append(
            f"pv.series: {model.file.name}: {below} steps below 0, the lowest {found.values.min():g} kW, are taken as 0"
        )
    most = float(found.values.max())
    if "kwp" in (site.pv.model_fields_set if site.pv else ()) and most > 3.0 * max(site.pv_kwp, 1e-9):
        notes.append(
            f"pv.series: {model.file.name}: it reaches {most:g} kW on an array of {site.pv_kwp:g} kWp: "
            "is it in W? then scale = 0.001"
        )
    return Series(np.maximum(found.values, 0.0) * 1000.0, tuple(notes))
