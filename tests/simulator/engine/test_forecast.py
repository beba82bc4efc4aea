"""Forecasts: what each kind says, when it was issued, and that none but a stated one knows what comes after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.forecast import Forecast, ForecastKind, ForecastSettings, Quantity
from tafukt.simulator.scenario import NodeType, Scenario, Site

NODE = NodeType("n", 8, 100.0, 1000.0, 50.0)
STEP_S = 300.0
DAYS = 4
HOURS = 24 * DAYS
QUANTITIES = get_args(Quantity)


def site(name: str, values: dict[str, np.ndarray], country: str = "MA") -> Site:
    given = {{"sun": "pv"}.get(key, key): profile for key, profile in values.items()}
    made: Site = kit.site(name, 1, NODE, HOURS * 3600.0, step_s=STEP_S, fixed_w=7.0, country=country, **given)
    return made


def profiles(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.uniform(1.0, 2.0, HOURS * 12) for key in QUANTITIES}


def scenario(*values: dict[str, np.ndarray], countries: str = "") -> Scenario:
    sites = [site(f"s{i}", v, (countries or "M" * len(values))[i]) for i, v in enumerate(values)]
    return Scenario(tuple(sites), HOURS * 3600.0, STEP_S)


def all_of(kind: ForecastKind, **more: Any) -> ForecastSettings:
    return ForecastSettings(sun=kind, load=kind, carbon=kind, price=kind, **more)


def hourly(values: np.ndarray, quantity: str) -> np.ndarray:
    return values.reshape(-1, 12).mean(axis=1) + (quantity == "overhead")


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("kind", ["persistence", "climatology"])
@pytest.mark.parametrize("hour", [0, 1, 13, 24, 30, 71])
def test_another_future_changes_no_forecast(quantity: Quantity, kind: ForecastKind, hour: int) -> None:
    past = profiles(1)
    future = {key: value.copy() for key, value in past.items()}
    # Only the step that begins at the moment of issue can be measured then.
    for key, values in profiles(2).items():
        future[key][hour * 12 + 1 :] = values[hour * 12 + 1 :]
    one, other = (Forecast(scenario(v), all_of(kind), 1) for v in (past, future))
    now = hour * 3600.0 + 1234.0
    assert one.ahead(quantity, now).shape == (1, min(72, HOURS - hour))
    assert np.array_equal(one.ahead(quantity, now), other.ahead(quantity, now))
    later = now + 2 * 3600.0
    assert not np.array_equal(one.ahead(quantity, later), other.ahead(quantity, later))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_perfect_forecast_is_the_truth_and_a_noisy_one_the_truth_with_an_error(quantity: Quantity) -> None:
    values = profiles(1)
    truth = hourly(values[quantity], quantity)
    perfect = Forecast(scenario(values), all_of("perfect"), 1)
    assert perfect.ahead(quantity, 5 * 3600.0)[0] == pytest.approx(truth[5:77])
    noisy = Forecast(scenario(values), all_of("noisy", error=0.1), 1).ahead(quantity, 5 * 3600.0)[0]
    assert 0.001 < np.abs(noisy / truth[5:77] - 1.0).mean() < 0.3
    assert Forecast(scenario(values), all_of("noisy", error=0.0), 1).ahead(quantity, 0.0)[0] == pytest.approx(
        truth[:72]
    )


def test_persistence_is_the_last_day_seen_and_climatology_the_mean_of_the_days_seen() -> None:
    values = profiles(3)
    truth = hourly(values["sun"], "sun")
    yesterday = Forecast(scenario(values), all_of("persistence"), 1).ahead("sun", 50 * 3600.0)[0]
    assert yesterday[:46] == pytest.approx(np.concatenate((truth[26:50], truth[26:48])))
    mean = Forecast(scenario(values), all_of("climatology"), 1).ahead("sun", 50 * 3600.0)[0]
    assert mean[0] == pytest.approx((truth[26] + truth[2]) / 2)
    assert mean[23] == pytest.approx((truth[49] + truth[25] + truth[1]) / 3)


def test_with_nothing_seen_yet_it_is_what_is_measured_at_the_moment_of_issue() -> None:
    values = profiles(4)
    for kind in ("persistence", "climatology"):
        forecast = Forecast(scenario(values), all_of(kind), 1)  # type: ignore[arg-type]
        assert forecast.ahead("carbon", 10.0)[0] == pytest.approx(np.full(72, values["carbon"][0]))


def test_a_forecast_knows_when_it_was_issued_and_does_not_change_until_the_next() -> None:
    forecast = Forecast(scenario(profiles(1)), all_of("noisy", issue_h=6), 1)
    first = forecast.ahead("sun", 6 * 3600.0).copy()
    assert np.array_equal(forecast.ahead("sun", 12 * 3600.0 - 1), first)
    assert forecast.issued_s(12 * 3600.0 - 1) == 6 * 3600.0
    assert forecast.free_w(12 * 3600.0 - 1)[0] == 6
    assert forecast.issued_s(12 * 3600.0) == 12 * 3600.0
    assert not np.array_equal(forecast.ahead("sun", 12 * 3600.0)[:, :66], first[:, 6:])


def test_who_asks_and_how_often_changes_nothing_and_neither_does_another_site() -> None:
    values = profiles(1)
    alone = Forecast(scenario(values), all_of("noisy"), 9)
    both = Forecast(scenario(values, profiles(2)), all_of("noisy"), 9)
    for hour in (3, 1, 3):
        both.ahead("carbon", hour * 3600.0)
    for quantity in QUANTITIES:
        assert np.array_equal(alone.ahead(quantity, 3 * 3600.0)[0], both.ahead(quantity, 3 * 3600.0)[0])
    other_seed = Forecast(scenario(values), all_of("noisy"), 10)
    assert not np.array_equal(other_seed.ahead("sun", 0.0), alone.ahead("sun", 0.0))


def test_one_grid_has_one_carbon_forecast() -> None:
    values = profiles(1)
    forecast = Forecast(scenario(values, values, values, countries="MME"), all_of("noisy"), 1)
    carbon, sun = forecast.carbon(0.0), forecast.ahead("sun", 0.0)
    assert np.array_equal(carbon[0], carbon[1])
    assert not np.array_equal(carbon[0], carbon[2])
    assert not np.array_equal(sun[0], sun[1])


def test_the_error_grows_with_the_lead_time_and_goes_on_from_hour_to_hour() -> None:
    flat = {key: np.ones(HOURS * 12) for key in QUANTITIES}
    base = scenario(flat)
    errors = np.array(
        [Forecast(base, all_of("noisy", error=0.05), seed).issued("sun", 0, 72)[0] for seed in range(400)]
    )
    spread = errors.std(axis=0)
    assert spread[23] == pytest.approx(0.05, rel=0.15)
    assert spread[5] < 0.7 * spread[23] < spread[23] < 0.75 * spread[70]
    scaled = (errors - 1.0) / spread
    assert (scaled[:, 20] * scaled[:, 21]).mean() == pytest.approx(0.8, abs=0.1)
    assert abs((scaled[:, 20] * scaled[:, 50]).mean()) < 0.15


def test_what_is_free_is_the_sun_less_all_load_but_the_jobs() -> None:
    values = profiles(1)
    forecast = Forecast(scenario(values), all_of("perfect"), 1)
    free = forecast.free_w(7200.0)[1][0]
    expected = hourly(values["sun"], "sun") - hourly(values["load"], "load") - 7.0
    assert free == pytest.approx(expected[2:74])
    assert forecast.per_it(7200.0)[0] == pytest.approx(hourly(values["overhead"], "overhead")[2:74])


def test_the_window_need_not_end_with_a_whole_hour() -> None:
    values = {key: value[: 12 * 30 + 6] for key, value in profiles(1).items()}
    base = replace(scenario(profiles(1)), end_s=30.5 * 3600.0)
    forecast = Forecast(base, all_of("perfect"), 1)
    assert forecast.hours == 31
    assert forecast.ahead("price", 30 * 3600.0)[0] == pytest.approx([values["price"][-6:].mean()])
