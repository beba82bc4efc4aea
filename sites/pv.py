"""Weather and a PV array make AC power, by pvlib: transposition, cell temperature, PVWatts DC and AC.

References
----------
.. [1] Dobos (2014), PVWatts version 5 manual, NREL/TP-6A20-62641, doi:10.2172/1158421
.. [2] Hay and Davies (1980); see Loutzenhiser et al. (2007), Solar Energy 81, 254-267,
   doi:10.1016/j.solener.2006.03.009
.. [3] King, Boyson and Kratochvil (2004), SAND2004-3535, doi:10.2172/919131
.. [4] Anderson and Mikofski (2020), slope-aware backtracking, NREL/TP-5K00-76626, doi:10.2172/1660126
"""

from __future__ import annotations

import numpy as np
import pvlib

from tafukt.sites.profile import Floats
from tafukt.sites.schema.equipment import AccumulatingSoiling, ConstantSoiling, PVModel
from tafukt.sites.time_grid import DAY_S, Ints, months_of, stream, years_of
from tafukt.sites.weather.clearsky import Sky
from tafukt.sites.weather.climatology import Place, daily_index, place_key
from tafukt.sites.weather.model import Irradiance


def surface(pv: PVModel, sky: Sky) -> tuple[Floats, Floats]:
    """Tilt and azimuth of the modules on each daylight row [deg]; trackers at rest lie flat."""
    if pv.mount == "fixed":
        azimuth_deg = 180.0 if pv.azimuth_deg is None else pv.azimuth_deg  # a site sets it by its hemisphere
        return np.full(len(sky.rows), pv.tilt_deg), np.full(len(sky.rows), azimuth_deg)
    turned = pvlib.tracking.singleaxis(
        sky.apparent_zenith,
        sky.azimuth,
        axis_tilt=0.0,
        axis_azimuth=pv.axis_azimuth_deg,
        max_angle=pv.max_angle_deg,
        backtrack=pv.backtrack,
        gcr=pv.ground_cover,
    )
    tilt, azimuth = np.asarray(turned["surface_tilt"]), np.asarray(turned["surface_azimuth"])
    rest = np.isnan(tilt)
    return np.where(rest, 0.0, tilt), np.where(rest, pv.axis_azimuth_deg, azimuth)


def poa_global(pv: PVModel, sky: Sky, sun: Irradiance) -> Floats:
    """Irradiance in the plane of the modules [W/m2], Hay and Davies [2]_."""
    tilt, azimuth = surface(pv, sky)
    poa = pvlib.irradiance.get_total_irradiance(
        tilt,
        azimuth,
        sky.apparent_zenith,
        sky.azimuth,
        sun.dni,
        sun.ghi,
        sun.dhi,
        dni_extra=sky.dni_extra,
        albedo=pv.albedo,
        model="haydavies",
    )
    return np.maximum(np.asarray(poa["poa_global"], dtype=np.float64), 0.0)


def derate_factor(pv: PVModel) -> float:
    """Share of the power left by the named system losses: the product of one minus each."""
    return float(np.prod([1.0 - loss for loss in pv.losses.model_dump().values()]))


def ac_power(pv: PVModel, kwp: float, sky: Sky, sun: Irradiance, clean: Floats | float = 1.0) -> Floats:
    """AC power on daylight rows [W].

    Parameters
    ----------
    pv : PVModel
    kwp : float
        Size of the array [kW at standard conditions].
    clean : array or float
        Share of the light left by soiling and age, 0 to 1.
    """
    if kwp <= 0.0:
        return np.zeros(len(sky.rows))
    poa = poa_global(pv, sky, sun)
    heat = pvlib.temperature.TEMPERATURE_MODEL_PARAMETERS["sapm"][pv.temp_model]
    temp_cell = pvlib.temperature.sapm_cell(poa, sun.temp_air, sun.wind_speed, **heat)
    pdc0 = kwp * 1000.0
    pdc = pvlib.pvsystem.pvwatts_dc(poa * clean, temp_cell, pdc0, pv.temp_coeff_per_c) * derate_factor(pv)
    inverter_dc = pdc0 / pv.dc_ac_ratio / pv.inverter_efficiency
    ac = pvlib.inverter.pvwatts(np.maximum(pdc, 0.0), inverter_dc, eta_inv_nom=pv.inverter_efficiency)
    return np.maximum(np.nan_to_num(np.asarray(ac, dtype=np.float64)), 0.0)


# --- Soiling and age of a PV array, day by day


LONGEST_MEMORY_DAYS = 400


def soiling_loss(
    model: ConstantSoiling | AccumulatingSoiling,
    days: Ints,
    index: Floats,
    lat: float,
    lon: float,
    seed: int,
    past: Place | None,
) -> Floats:
    """Share of the light lost to soiling on each day, shape (n,).

    Dust gathers at a rate; a day of rain (a dark day: `rain_index`) or a cleaning takes all of it off; a
    dust storm adds to it at once. The days before the first are walked too, back to the last cleaning, so that a
    day's loss does not depend on where the run starts.

    Parameters
    ----------
    days : array of int, shape (n,)
        Consecutive days since 1970.
    index : array, shape (n,)
        Their clear-sky index.
    past : Place, optional
        Gives the sky of the days before; without it they are dry.
    """
    if isinstance(model, ConstantSoiling):
        return np.full(len(days), model.loss)
    back = model.cleaning_days or LONGEST_MEMORY_DAYS
    before = np.arange(days[0] - back, days[0])
    earlier = np.ones(back) if past is None else daily_index(past, seed, before)
    walk = np.concatenate([before, days])
    rain = np.concatenate([earlier, index]) < model.rain_index
    added = np.full(len(walk), model.rate_per_day) + _storms(model, walk, lat, lon, seed)
    cleaned = walk % model.cleaning_days == 0 if model.cleaning_days else np.zeros(len(walk), dtype=bool)
    losses, loss = np.empty(len(walk)), 0.0
    for i, (gain, reset) in enumerate(zip(added.tolist(), (rain | cleaned).tolist(), strict=True)):
        loss = 0.0 if reset else min(loss + gain, model.max_loss)
        losses[i] = loss
    return losses[back:]


def _storms(model: AccumulatingSoiling, days: Ints, lat: float, lon: float, seed: int) -> Floats:
    added = np.zeros(len(days))
    for storm in model.storms:
        at = int(storm.date.timestamp() // DAY_S) - int(days[0])
        if 0 <= at < len(days):
            added[at] += storm.loss
    if model.storms_per_year > 0:
        numbers = years_of(days) * 12 + months_of(days) - 1
        of_month = days.astype("datetime64[D]")
        offset = (of_month - of_month.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
        for number in range(int(numbers[0]), int(numbers[-1]) + 1):
            rng = stream(seed, f"dust/{place_key(lat, lon)}/{number // 12}-{number % 12 + 1}")
            struck = rng.random(31) < model.storms_per_year / 365.25
            rows = np.flatnonzero(numbers == number)
            added[rows] += model.storm_loss * struck[offset[rows]]
    return added


def age_factor(pv: PVModel, days: Ints, first_day: int) -> Floats:
    """Share of the power left by age on each day: (1 - d) to the power of the years, shape (n,)."""
    years = pv.age_years + np.maximum(days - first_day, 0) / 365.25
    return np.asarray((1.0 - pv.degradation_per_year) ** years)
