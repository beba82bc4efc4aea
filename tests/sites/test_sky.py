"""The seeded sky: monthly means, daily spread, correlation, and draws that belong to their date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tafukt.sites.distance import distance_km
from tafukt.sites.profile import Floats
from tafukt.sites.site import catalogue, site_from, sky_facts
from tafukt.sites.supply import supply
from tafukt.sites.time_grid import months_of, season_of, span
from tafukt.sites.weather.climatology import (
    Place,
    air_temperature,
    clear_by_month,
    daily_index,
    solar_days,
    spread,
)
from tafukt.sites.weather.weather import place_of, sun_table, weather

NAMES = ("rabat", "tanger", "casablanca", "fes", "marrakech", "dakhla")
FIRST = 18_262  # 1 January 2020
DAYS = np.arange(FIRST, FIRST + 7305)


@pytest.fixture(scope="module")
def twenty_years() -> dict[str, Floats]:
    sites = catalogue()
    return {name: daily_index(place_of(sites[name]), 7, DAYS) for name in NAMES}


def clear_weights(place: Place, days: np.ndarray) -> Floats:
    """Roughly the clear-sky energy of each day, smooth from month to month."""
    monthly = clear_by_month(place)
    fraction = (days - FIRST) % 365.25 / 365.25 * 12.0 - 0.5
    return np.interp(fraction, np.arange(12), monthly, period=12)


def test_twenty_years_give_the_months_of_the_table(twenty_years: dict[str, Floats]) -> None:
    months = months_of(DAYS)
    for name, index in twenty_years.items():
        place = place_of(catalogue()[name])
        clear, weights = clear_by_month(place), clear_weights(place, DAYS)
        for month in range(1, 13):
            rows = months == month
            mean = np.average(index[rows], weights=weights[rows]) * clear[month - 1]
            assert mean == pytest.approx(place.ghi_kwh_m2_d[month - 1], rel=0.01), (name, month)


def test_supply_itself_gives_the_months_of_the_table(tmp_path: Path) -> None:
    """The same through the whole chain, in steps of an hour, over eight years of one site."""
    site = catalogue()["agadir"]
    grid = span(datetime(2020, 1, 1, tzinfo=UTC), 2922, 3600)
    ghi = supply([site], datetime(2020, 1, 1, tzinfo=UTC), 2922, 3600, 3, tmp_path)["agadir"].ghi.values
    months = months_of(grid.begins // 86_400)
    assert site.climate is not None
    for month in range(1, 13):
        rows = months == month
        daily = ghi[rows].sum() / 1000.0 / (rows.sum() / 24)
        assert daily == pytest.approx(site.climate.ghi_kwh_m2_d[month - 1], rel=0.015), month


def test_the_daily_spread_lies_with_the_measured_ones(twenty_years: dict[str, Floats]) -> None:
    """At a place as cloudy as those of the data, each season's spread is that of the data, 15 % either way."""
    data, season = sky_facts()["daily_index"], season_of(months_of(DAYS))
    bound = spread().upper
    for name in ("tanger", "fes"):
        for s in range(4):
            index = twenty_years[name][season == s]
            share = index.mean() / bound
            expected = bound * np.sqrt(spread().dispersion[s] * share * (1 - share))
            assert index.std() == pytest.approx(expected, rel=0.08), (name, s)
            low, high = sorted(d["sd"][s] for d in data)
            assert 0.85 * low < index.std() < 1.15 * high, (name, s)


def test_clear_days_are_common_and_dark_ones_rare(twenty_years: dict[str, Floats]) -> None:
    winter = twenty_years["tanger"][season_of(months_of(DAYS)) == 0]
    p05, p50, p95 = np.quantile(winter, (0.05, 0.5, 0.95))
    assert 0.2 < p05 < 0.45
    assert 0.82 < p50 < 0.97
    assert 1.0 < p95 < 1.1


def test_days_remember_the_day_before(twenty_years: dict[str, Floats]) -> None:
    season, facts = season_of(months_of(DAYS)), spread()
    for s in range(4):
        rows = np.flatnonzero(season[1:] == s) + 1
        index = twenty_years["tanger"]
        assert np.corrcoef(index[rows], index[rows - 1])[0, 1] == pytest.approx(facts.lag1[s], abs=0.09)


def test_skies_correlate_with_distance(twenty_years: dict[str, Floats]) -> None:
    months = months_of(DAYS)
    standard = {}
    for name, index in twenty_years.items():
        parts = [(index[months == m] - index[months == m].mean()) / index[months == m].std() for m in range(1, 13)]
        standard[name] = np.concatenate(parts)
    sites = catalogue()
    for i, a in enumerate(NAMES):
        for b in NAMES[i + 1 :]:
            apart = distance_km(sites[a].lat, sites[a].lon, sites[b].lat, sites[b].lon)
            found = float(np.mean(standard[a] * standard[b]))
            assert found == pytest.approx(np.exp(-apart / 400.0), abs=0.06), (a, b)


def test_a_place_between_the_nodes_correlates_too() -> None:
    near = place_of(site_from({"like": "rabat", "lat": 33.8, "lon": -7.2}, None, "t", name="between"))
    days = DAYS[:3650]
    months = months_of(days)
    index, other = daily_index(near, 7, days), daily_index(place_of(catalogue()["rabat"]), 7, days)
    pairs = [np.corrcoef(index[months == m], other[months == m])[0, 1] for m in range(1, 13)]
    apart = distance_km(33.8, -7.2, 34.02, -6.84)
    assert np.mean(pairs) == pytest.approx(np.exp(-apart / 400.0), abs=0.06)


def test_a_day_belongs_to_its_date() -> None:
    place = place_of(catalogue()["fes"])
    long = daily_index(place, 5, DAYS[:400])
    assert np.array_equal(daily_index(place, 5, DAYS[100:130]), long[100:130])
    assert np.array_equal(daily_index(place, 5, DAYS[:10]), long[:10])
    assert not np.allclose(daily_index(place, 6, DAYS[:10]), long[:10])


def test_a_longer_run_or_another_start_keeps_the_days(tmp_path: Path) -> None:
    ageless = {"pv": {"degradation_per_year": 0.0}}  # age counts from the start of the run
    sites = [site_from(ageless, name, "t") for name in ("rabat", "dakhla")]
    start = datetime(2025, 12, 1, tzinfo=UTC)
    long = supply(sites, start, 9, 900, 4, tmp_path)
    short = supply(sites, start, 4, 900, 4, tmp_path)
    later = supply(sites, datetime(2025, 12, 4, 6, 0, tzinfo=UTC), 2, 900, 4, tmp_path)
    first = (3 * 24 + 6) * 4
    for name in ("rabat", "dakhla"):
        for field in ("pv_w", "ghi", "temp_air_c", "overhead", "price_mad_per_kwh"):
            whole = getattr(long[name], field).values
            assert np.allclose(getattr(short[name], field).values, whole[: 4 * 96], rtol=1e-9, atol=1e-6), field
            assert np.allclose(getattr(later[name], field).values, whole[first : first + 192], rtol=1e-6, atol=1e-3)


def test_one_more_site_changes_no_other(tmp_path: Path) -> None:
    start, sites = datetime(2025, 6, 1, tzinfo=UTC), catalogue()
    alone = supply([sites["fes"]], start, 3, 900, 1, tmp_path / "a")["fes"]
    mine = site_from({"like": "fes", "lat": 34.1}, None, "t", name="mine")
    beside = supply([mine, sites["rabat"], sites["fes"]], start, 3, 900, 1, tmp_path / "b")["fes"]
    assert np.array_equal(alone.pv_w.values, beside.pv_w.values)


def test_two_sites_in_one_place_share_their_sky(tmp_path: Path) -> None:
    twin = site_from({"like": "fes"}, None, "t", name="twin")
    found = supply([catalogue()["fes"], twin], datetime(2025, 6, 1, tzinfo=UTC), 2, 900, 1, tmp_path)
    assert np.array_equal(found["fes"].ghi.values, found["twin"].ghi.values)


def test_within_the_day_the_index_wanders_and_keeps_its_mean() -> None:
    site = catalogue()["rabat"]
    grid = span(datetime(2025, 12, 1, tzinfo=UTC), 30, 300)
    found = weather(site, grid, 2, sun_table(grid))
    place = place_of(site)
    index = found.sun.ghi / np.maximum(found.sky.ghi_clear, 1.0)
    whole = slice(1, len(found.days) - 1)  # the first and the last are cut off by the span
    assert np.allclose(found.daily_index[whole], daily_index(place, 2, found.days)[whole], rtol=1e-9)
    changes, daily = [], found.daily_index
    for day in range(2, 28):
        rows = (found.day_of_row == day) & (found.sky.ghi_clear > 100)
        changes.append(index[rows].std())
    middling = np.array(changes)[np.abs(daily[2:28] - 0.6) < 0.2]
    clear = np.array(changes)[daily[2:28] > 1.04]
    assert middling.mean() > 3 * clear.mean()
    dark = found.sky.full(found.sun.ghi)[: 5 * 12]
    assert dark.sum() == 0.0


def test_the_air_follows_its_months() -> None:
    site = catalogue()["marrakech"]
    place = place_of(site)
    grid = solar_days(place.shift_s, span(datetime(2025, 1, 1, tzinfo=UTC), 365, 3600))
    temp = air_temperature(place, 1, grid, anomalies=False).reshape(-1, 24)
    months = months_of(grid.days)
    for month in range(1, 13):
        rows = (months == month) & (grid.days >= 20_089) & (grid.days < 20_454)
        assert temp[rows].max(axis=1).mean() == pytest.approx(place.tmax_c[month - 1], abs=0.35)
        assert temp[rows].min(axis=1).mean() == pytest.approx(place.tmin_c[month - 1], abs=0.35)
    assert 13 <= temp.mean(axis=0).argmax() <= 16
    with_days = air_temperature(place, 1, grid).reshape(-1, 24)
    assert 1.5 < (with_days - temp).mean(axis=1).std() < 3.5


@pytest.mark.parametrize("seed", [1, 2])
def test_every_sites_yearly_yield_is_near_the_published_one(seed: int, tmp_path: Path) -> None:
    sites = list(catalogue().values())
    found = supply(sites, datetime(2025, 1, 1, tzinfo=UTC), 365, 1800, seed, tmp_path)
    for site in sites:
        assert site.climate is not None
        mine = found[site.name].pv_w.values.sum() * 0.5 / 1000.0 / site.pv_kwp
        assert mine == pytest.approx(site.climate.pv_yield_kwh_kwp_y, rel=0.06), site.name


@pytest.mark.slow
def test_ten_years_of_yield_of_every_site_are_near_the_published_one(tmp_path: Path) -> None:
    sites = list(catalogue().values())
    new = [site_from({"pv": {"degradation_per_year": 0.0}}, site.name, "t") for site in sites]
    found = supply(new, datetime(2020, 1, 1, tzinfo=UTC), 3653, 3600, 1, tmp_path)
    for site in sites:
        assert site.climate is not None
        mine = found[site.name].pv_w.values.sum() / 1000.0 / site.pv_kwp / 10.0
        assert mine == pytest.approx(site.climate.pv_yield_kwh_kwp_y, rel=0.06), site.name
        ghi = found[site.name].ghi.values.sum() / 1000.0 / 10.0
        assert ghi == pytest.approx(365.25 / 12 * np.mean(site.climate.ghi_kwh_m2_d) * 12, rel=0.015), site.name
