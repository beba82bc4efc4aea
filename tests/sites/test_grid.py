"""Tariffs by the local clock, carbon, outages, other load; cooling; dust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tafukt.sites.cooling import overhead
from tafukt.sites.grid import outages
from tafukt.sites.pv import age_factor, soiling_loss
from tafukt.sites.schema.equipment import (
    AccumulatingSoiling,
    ChillerCooling,
    ConstantCooling,
    ConstantSoiling,
    PiecewiseCooling,
    PVModel,
)
from tafukt.sites.schema.grid import TariffModel, band_table, hours
from tafukt.sites.site import SiteError, catalogue, site_from
from tafukt.sites.supply import SiteSupply, supply
from tafukt.sites.time_grid import span, utc_offsets

CASABLANCA = ZoneInfo("Africa/Casablanca")


def found(table: dict[str, Any], start: datetime, days: float, folder: Path, step_s: int = 900) -> SiteSupply:
    site = site_from({"weather": {"kind": "clear-sky"}} | table, "rabat", "t")
    return supply([site], start, days, step_s, 1, folder)["rabat"]


def price_at(profile: SiteSupply, start: datetime, moment: datetime) -> float:
    return profile.price_mad_per_kwh.at((moment - start).total_seconds())


@pytest.mark.parametrize(
    ("day", "peak_hours"),
    [
        (datetime(2025, 1, 15, tzinfo=UTC), (17, 21)),  # winter hours, clock at UTC+1
        (datetime(2025, 3, 15, tzinfo=UTC), (17, 21)),  # Ramadan, clock at UTC+0
        (datetime(2025, 7, 15, tzinfo=UTC), (18, 22)),  # summer hours
        (datetime(2025, 4, 3, tzinfo=UTC), (18, 22)),  # summer hours and still Ramadan's clock
    ],
)
def test_the_peak_follows_the_local_clock(day: datetime, peak_hours: tuple[int, int], tmp_path: Path) -> None:
    profile = found({}, day - timedelta(days=1), 3, tmp_path)
    for quarter in range(96):
        moment = day + timedelta(minutes=15 * quarter)
        hour = moment.astimezone(CASABLANCA).hour
        peak = peak_hours[0] <= hour < peak_hours[1]
        price = price_at(profile, day - timedelta(days=1), moment)
        assert (price == 1.22005) == peak, moment
        if hour < 7:
            assert price == 0.73294
        export = profile.export_price_mad_per_kwh.at((moment - day + timedelta(days=1)).total_seconds())
        assert export == (0.21 if peak else 0.18)


@pytest.mark.parametrize("year", [2025, 2026, 2027])
def test_ramadans_clock_changes_are_found(year: int) -> None:
    grid = span(datetime(year, 1, 1, tzinfo=UTC), 365, 3600)
    mine = utc_offsets("Africa/Casablanca", grid.begins)
    true = [datetime.fromtimestamp(int(t), CASABLANCA).utcoffset() for t in grid.begins]
    assert mine.tolist() == [0 if t is None else int(t.total_seconds()) for t in true]
    assert 0.05 < (mine == 0).mean() < 0.15


def test_bands_must_cover_the_day_once() -> None:
    tariff = TariffModel.model_validate({"bands": tariff_rows("22-7", "7-22")})
    assert (band_table(tariff)[0] == 0).sum() == 9 * 4
    assert hours("7-17; 21-22", "t") == [(7.0, 17.0), (21.0, 22.0)]
    wrong = [
        (tariff_rows("22-7", "7-21"), "no band covers 21 h"),
        (tariff_rows("22-8", "7-22"), "overlaps"),
        (tariff_rows("0-24", "from 7 to 8"), "is not a range of clock hours; allowed"),
    ]
    for bands, words in wrong:
        with pytest.raises(SiteError, match=words) as caught:
            site_from({"grid": {"tariff": {"bands": bands}}}, "rabat", "week.toml: sites.x")
        assert "week.toml: sites.x: grid.tariff" in str(caught.value)


def tariff_rows(*spans: str) -> list[dict[str, Any]]:
    return [{"name": f"b{i}", "mad_per_kwh": 1.0, "winter": text, "summer": text} for i, text in enumerate(spans)]


def test_a_tariff_carbon_and_load_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("time,g\n" + "".join(f"2025-01-{d:02d}T00:00:00Z,{d}\n" for d in range(1, 9)))
    grid = {
        "tariff": {"bands": [{"name": "flat", "mad_per_kwh": 1.0, "winter": "0-24", "summer": "0-24"}]},
        "carbon": {"kind": "csv", "series": {"file": str(tmp_path / "g.csv"), "column": "g", "scale": 10.0}},
        "export_mad_per_kwh": 0.5,
        "demand_mad_per_kw_month": 12.0,
    }
    other = {"kind": "shape", "kw": 5.0, "shape": "office"}
    start = datetime(2025, 1, 2, tzinfo=UTC)
    profile = found({"grid": grid, "other": other}, start, 4, tmp_path)
    assert set(profile.price_mad_per_kwh.values) == {1.0}
    assert set(profile.export_price_mad_per_kwh.values) == {0.5}
    assert profile.carbon_g_per_kwh.at(0.0) == 20.0
    assert profile.carbon_g_per_kwh.at(86_400.0) == 30.0
    assert profile.other_w.values.mean() == pytest.approx(5000.0)
    assert profile.other_w.at(11 * 3600.0) > 2 * profile.other_w.at(3600.0)
    constant = found({"grid": {"carbon": {"kind": "constant", "g_per_kwh": 551}}}, start, 1, tmp_path)
    assert set(constant.carbon_g_per_kwh.values) == {551.0}
    assert catalogue()["rabat"].demand_mad_per_kw_month == 37.46
    assert site_from({"grid": grid}, "rabat", "t").demand_mad_per_kw_month == 12.0


def test_the_carbon_table_is_local_and_seasonal(tmp_path: Path) -> None:
    start = datetime(2025, 1, 10, tzinfo=UTC)
    profile = found({}, start, 1, tmp_path)
    assert profile.carbon_g_per_kwh.at(13 * 3600.0) == 523.0  # 14 h local, winter
    start = datetime(2025, 7, 10, tzinfo=UTC)
    assert found({}, start, 1, tmp_path).carbon_g_per_kwh.at(13 * 3600.0) == 554.0


def test_listed_outages_are_clipped_merged_and_ordered() -> None:
    def at(hour: float, length: float) -> dict[str, Any]:
        return {"start": datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hour), "hours": length}

    model = site_from(
        {"grid": {"outages": {"listed": [at(20, 1), at(-1, 2), at(5, 2), at(6, 3), at(23.5, 9)]}}}, "rabat", "t"
    ).grid.outages
    grid = span(datetime(2025, 1, 1, tzinfo=UTC), 1, 900)
    hour = 3600.0
    expected = ((0.0, hour), (5 * hour, 9 * hour), (20 * hour, 21 * hour), (23.5 * hour, 24 * hour))
    assert outages(model, "rabat", grid, 1) == expected


def test_drawn_outages_have_their_rate_and_keep_their_dates() -> None:
    model = site_from({"grid": {"outages": {"per_year": 12.0, "mean_hours": 2.0}}}, "rabat", "t").grid.outages
    start = datetime(2020, 1, 1, tzinfo=UTC)
    long = outages(model, "rabat", span(start, 3650, 3600), 1)
    assert 90 < len(long) < 150
    assert np.mean([b - a for a, b in long]) / 3600 == pytest.approx(2.0, rel=0.3)
    short = outages(model, "rabat", span(start, 365, 3600), 1)
    assert short == long[: len(short)]
    assert outages(model, "fes", span(start, 365, 3600), 1) != short


@pytest.mark.parametrize(
    "model",
    [
        ConstantCooling(overhead=0.3),
        PiecewiseCooling.model_validate({}),
        PiecewiseCooling(temp_c=(0.0, 10.0, 11.0), pue=(1.0, 1.0, 1.5)),
        ChillerCooling.model_validate({}),
        ChillerCooling.model_validate({"approach_c": 0.0, "free_below_c": 5.0, "chiller_above_c": 12.0}),
    ],
)
def test_cooling_never_takes_less_when_it_is_hotter(model: Any) -> None:
    found = overhead(model, np.linspace(-30.0, 60.0, 2001))
    assert (np.diff(found) >= -1e-12).all()
    assert (found >= 0.0).all()


def test_the_cooling_curves_go_through_their_points() -> None:
    usual = overhead(PiecewiseCooling.model_validate({}), np.array([0.0, 18.0, 24.0, 30.0, 40.0, 45.0]))
    assert usual == pytest.approx([0.12, 0.12, 0.195, 0.27, 0.47, 0.57])
    chiller = ChillerCooling.model_validate({"base": 0.1, "supply_c": 18.0, "approach_c": 10.0})
    hot = 0.1 + 1.1 / (0.45 * 291.15 / (40.0 + 10.0 - 18.0))
    assert overhead(chiller, np.array([10.0, 40.0])) == pytest.approx([0.1, hot])


def dust(model: Any, days: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    sky = np.ones(len(days)) if index is None else index
    return soiling_loss(model, days, sky, 30.0, -8.0, 1, None)


def test_dust_gathers_until_it_is_brushed_or_washed_off() -> None:
    days = np.arange(20_006, 20_006 + 60)
    model = AccumulatingSoiling.model_validate({"rate_per_day": 0.01, "cleaning_days": 10})
    loss = dust(model, days)
    assert loss.max() == pytest.approx(0.09)
    assert np.array_equal(np.flatnonzero(loss == 0.0), np.flatnonzero(days % 10 == 0))
    sky = np.ones(60)
    sky[25] = 0.2
    rained = dust(model, days, sky)
    assert rained[25] == 0.0
    assert rained[26] == pytest.approx(0.01)
    never = AccumulatingSoiling.model_validate({"rate_per_day": 0.01, "cleaning_days": 0, "max_loss": 0.25})
    assert dust(never, days).max() == 0.25
    assert np.array_equal(dust(model, days[20:]), loss[20:])
    assert set(dust(ConstantSoiling(loss=0.04), days)) == {0.04}


def test_a_dust_storm_is_an_event() -> None:
    days = np.arange(20_006, 20_036)
    storm = {"date": datetime(2024, 10, 20, 12, tzinfo=UTC), "loss": 0.15}
    model = AccumulatingSoiling.model_validate({"rate_per_day": 0.0, "cleaning_days": 0, "storms": [storm]})
    loss = dust(model, days)
    at = int(storm["date"].timestamp() // 86_400) - days[0]  # type: ignore[attr-defined]
    assert loss[at - 1] == 0.0
    assert (loss[at:] == 0.15).all()
    drawn = AccumulatingSoiling.model_validate(
        {"rate_per_day": 0.0, "cleaning_days": 1, "storms_per_year": 6.0, "storm_loss": 0.1}
    )
    ten_years = dust(drawn.model_copy(update={"cleaning_days": 0, "max_loss": 1.0}), np.arange(18_262, 18_262 + 1000))
    struck = (np.diff(ten_years) > 0.05).sum()
    assert 6 <= struck <= 30


def test_age_takes_its_share_each_year() -> None:
    pv = PVModel.model_validate({"degradation_per_year": 0.01, "age_years": 5.0})
    left = age_factor(pv, np.array([0, 365, 731]), 0)
    assert left[0] == pytest.approx(0.99**5)
    assert left[2] == pytest.approx(0.99**7, rel=1e-4)
