"""The sun's place and the PV chain, against pvlib's own functions written out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pvlib
import pytest

from tafukt.sites.pv import Irradiance, ac_power, derate_factor, poa_global
from tafukt.sites.schema.equipment import PVModel
from tafukt.sites.site import catalogue, site_from
from tafukt.sites.supply import supply
from tafukt.sites.time_grid import span
from tafukt.sites.weather.clearsky import Sky, sky

START = datetime(2025, 1, 1, tzinfo=UTC)
BARE = {"soiling": {"kind": "constant", "loss": 0.0}, "degradation_per_year": 0.0}


def year(step_s: int = 3600, days: int = 365) -> tuple[Sky, pd.DatetimeIndex]:
    site = catalogue()["dakhla"]
    grid = span(START, days, step_s)
    times = pd.DatetimeIndex(grid.mids.astype("datetime64[s]"), tz="UTC")
    return sky(site.lat, site.lon, site.altitude_m, grid.mids), times


@pytest.mark.parametrize(
    ("lat", "lon", "alt"), [(23.71, -15.94, 11.0), (34.02, -6.84, 75.0), (-33.9, 151.2, 50.0), (68.0, 100.0, 200.0)]
)
def test_the_suns_place_is_nrels(lat: float, lon: float, alt: float) -> None:
    grid = span(datetime(2028, 2, 20, tzinfo=UTC), 20, 300)
    found = sky(lat, lon, alt, grid.mids)
    times = pd.DatetimeIndex(grid.mids.astype("datetime64[s]"), tz="UTC")
    true = pvlib.solarposition.get_solarposition(times, lat, lon, altitude=alt)
    up = np.flatnonzero(true["apparent_zenith"].to_numpy() < 90.0)
    assert np.array_equal(found.rows, up)
    for name in ("zenith", "apparent_zenith", "azimuth"):
        assert np.abs(getattr(found, name) - true[name].to_numpy()[up]).max() < 1e-3


def test_the_clear_sky_is_ineichens_with_pvlibs_turbidity() -> None:
    found, times = year()
    site = catalogue()["dakhla"]
    place = pvlib.location.Location(site.lat, site.lon, altitude=site.altitude_m)
    true = place.get_clearsky(times)
    for name, mine in (("ghi", found.ghi_clear), ("dni", found.dni_clear), ("dhi", found.dhi_clear)):
        assert np.allclose(found.full(mine), true[name].to_numpy(), atol=0.05)


def test_a_year_of_clear_sky_power_is_the_formula_chain(tmp_path: Path) -> None:
    site = site_from({"weather": {"kind": "clear-sky"}, "pv": {"kwp": 10.0} | BARE}, "dakhla", "t")
    mine = supply([site], START, 365, 3600, 1, tmp_path)["dakhla"]
    times = pd.DatetimeIndex(span(START, 365, 3600).mids.astype("datetime64[s]"), tz="UTC")
    sun = pvlib.solarposition.get_solarposition(times, site.lat, site.lon, altitude=site.altitude_m)
    clear = pvlib.location.Location(site.lat, site.lon, altitude=site.altitude_m).get_clearsky(times)
    extra = pvlib.irradiance.get_extra_radiation(times)
    assert site.pv is not None
    tilt = site.pv.tilt_deg
    cos_aoi = np.maximum(pvlib.irradiance.aoi_projection(tilt, 180.0, sun["apparent_zenith"], sun["azimuth"]), 0.0)
    beam_ratio = cos_aoi / np.maximum(np.cos(np.radians(sun["apparent_zenith"])), 0.01745)
    share = clear["dni"] / extra
    flat = (1.0 + np.cos(np.radians(tilt))) / 2.0
    diffuse = clear["dhi"] * (share * beam_ratio + (1.0 - share) * flat)
    ground = clear["ghi"] * 0.3 * (1.0 - np.cos(np.radians(tilt))) / 2.0
    poa = (clear["dni"] * cos_aoi + diffuse + ground).clip(lower=0.0)
    assert site.climate is not None
    air = mine.temp_air_c.values
    cell = air + poa * np.exp(-3.56 - 0.075 * site.climate.wind_speed_ms) + poa / 1000.0 * 3.0
    left = 0.97 * 0.98 * 0.98 * 0.995 * 0.985 * 0.99 * 0.97
    dc = 10_000.0 * poa / 1000.0 * (1.0 - 0.0037 * (cell - 25.0)) * left
    limit = 10_000.0 / 1.2
    zeta = dc / (limit / 0.98)
    eta = 0.98 / 0.9637 * (-0.0162 * zeta - 0.0059 / zeta.where(zeta > 0, 1.0) + 0.9858)
    ac = (eta * dc).clip(lower=0.0, upper=limit).fillna(0.0)
    assert np.allclose(mine.pv_w.values, ac.to_numpy(), atol=0.5)
    assert mine.pv_w.values.sum() == pytest.approx(float(ac.sum()), rel=1e-5)


def irradiance(found: Sky, temp: float = 20.0) -> Irradiance:
    many = np.ones(len(found.rows))
    return Irradiance(found.ghi_clear, found.dni_clear, found.dhi_clear, temp * many, 2.0 * many)


def energy(**changes: Any) -> float:
    found, _ = year()
    temp = float(changes.pop("temp", 20.0))
    return float(ac_power(PVModel.model_validate(changes), 10.0, found, irradiance(found, temp)).sum())


def test_the_inverter_clips_at_its_size() -> None:
    found, _ = year()
    power = ac_power(PVModel.model_validate({"dc_ac_ratio": 2.0}), 10.0, found, irradiance(found))
    assert power.max() == pytest.approx(5000.0, rel=1e-9)
    assert (power == power.max()).sum() > 500
    assert energy(dc_ac_ratio=2.0) < energy(dc_ac_ratio=1.2)


def test_heat_losses_and_tilt_act_as_they_should() -> None:
    assert energy(temp=40.0) < energy(temp=10.0)
    assert energy(temp_coeff_per_c=0.0, temp=45.0) > energy(temp=45.0)
    assert energy(azimuth_deg=0.0) < 0.9 * energy(azimuth_deg=180.0)
    assert energy(losses={"shading": 0.5}, dc_ac_ratio=1.0) < 0.55 * energy(losses={"shading": 0.0}, dc_ac_ratio=1.0)
    expected = 0.97 * 0.98**2 * 0.995 * 0.985 * 0.99 * 0.97
    assert derate_factor(PVModel.model_validate({})) == pytest.approx(expected)


def test_tracking_gains_and_backtracking_keeps_rows_apart() -> None:
    found, _ = year()
    fixed = energy()
    tracked = energy(mount="tracking")
    assert 1.1 < tracked / fixed < 1.45
    tight = PVModel.model_validate({"mount": "tracking", "ground_cover": 0.6})
    free = PVModel.model_validate({"mount": "tracking", "ground_cover": 0.6, "backtrack": False})
    sun = irradiance(found)
    low = found.apparent_zenith > 80.0
    assert poa_global(tight, found, sun)[low].sum() < poa_global(free, found, sun)[low].sum()
    high = found.apparent_zenith < 40.0
    assert np.allclose(poa_global(tight, found, sun)[high], poa_global(free, found, sun)[high])


def test_polar_night_has_no_rows_and_no_power() -> None:
    grid = span(datetime(2025, 12, 15, tzinfo=UTC), 5, 3600)
    found = sky(78.0, 15.0, 10.0, grid.mids)
    assert len(found.rows) == 0
    assert found.full(found.ghi_clear).sum() == 0.0
