"""What published baselines are given beforehand: the mean runtime of a class, and a forecast with white noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.config.load import check
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.simulator.engine.forecast import Forecast, ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import NodeType, Scenario, Site

HOUR_S = 3600.0
N = 24 * 60


def site(name: str = "s0", country: str = "MA", carbon: Any = 500.0) -> Site:
    """Sun in the second half of every day; the carbon intensity of every hour [g/kWh]."""
    node, sun = NodeType("n", 8, 1000.0, 8000.0, 100.0), kit.sun_between(12, 24, 1000.0, N // 24)
    given: Site = kit.site(name, 1, node, N * HOUR_S, pv=sun, carbon=np.divide(carbon, 3.6e6), country=country)
    return given


def white(seed: int, error: float, *sites: Site) -> Forecast:
    return Forecast(
        Scenario(sites or (site(),), N * HOUR_S, HOUR_S), ForecastSettings("white", error, carbon="white"), seed
    )


def test_white_noise_is_independent_from_slot_to_slot_and_has_its_spread() -> None:
    """An error of 5 % of the mean: 1,440 slots tell its spread to some 2 %, and their correlation to some 0.03."""
    seen = white(1, 0.05).issued("carbon", 0, N)[0] * 3.6e6
    errors = seen / 500.0 - 1.0
    assert abs(errors.mean()) < 4 * 0.05 / np.sqrt(N)
    assert errors.std() == pytest.approx(0.05, rel=0.08)
    assert abs(np.corrcoef(errors[1:], errors[:-1])[0, 1]) < 0.1


def test_white_noise_is_the_same_whenever_it_is_issued_and_how_far_ahead() -> None:
    forecast = white(2, 0.1)
    assert np.array_equal(forecast.issued("carbon", 0, 72)[:, 48:], forecast.issued("carbon", 48, 72))
    assert not np.array_equal(white(3, 0.1).issued("carbon", 0, 72), forecast.issued("carbon", 0, 72))


def test_white_noise_makes_no_sun_at_night_and_nothing_less_than_none() -> None:
    sun = white(1, 3.0).issued("sun", 0, N)[0]
    assert (sun[np.arange(N) % 24 < 12] == 0.0).all()
    assert (sun >= 0.0).all()
    assert (sun > 1000.0).any()


def test_sites_of_one_grid_share_its_error() -> None:
    carbon = white(1, 0.1, site("a"), site("b"), site("c", "FR")).issued("carbon", 0, 72)
    assert np.array_equal(carbon[0], carbon[1])
    assert not np.array_equal(carbon[0], carbon[2])


def start_h(name: str, known: tuple[tuple[str, float], ...]) -> float:
    """Carbon is least in hour 3, and in the four hours from hour 10 on; the user's estimate is one hour."""
    carbon = np.full(N, 500.0)
    carbon[3], carbon[10:14] = 50.0, 100.0
    where = Scenario((site(carbon=carbon),), N * HOUR_S, HOUR_S)
    work = kit.job("j", 0, 8, HOUR_S, slack_s=20 * HOUR_S, job_class="long")
    foresight = ForecastSettings("perfect", carbon="perfect", class_mean_s=known)
    return float(kit.run([work], where, policy(name), forecast=foresight).outcomes[0].start_s) / HOUR_S


def test_a_class_mean_that_is_known_beforehand_counts_from_the_first_job_on() -> None:
    """GAIA knows the means of its queues: by a mean of four hours the window is another than by the user's hour."""
    assert start_h("carbon-time", ()) == 3.0
    assert start_h("carbon-time", (("other", 4 * HOUR_S),)) == 3.0
    # An hour: 450 saved in four hours from hour 3 on, 400 in eleven from hour 10 on. Four hours, which cost 1,550 now:
    # nothing saved from hour 3 on, 1,150 from hour 10 on.
    assert start_h("carbon-time", (("long", 4 * HOUR_S),)) == 10.0
    assert start_h("carbon-window", (("long", 4 * HOUR_S),)) == 3.0, "which goes by estimates"


def document(**forecast: Any) -> dict[str, Any]:
    workload = {"kind": "generator", "mix": "institutes", "load": 0.3}
    base = {"name": "x", "start": "2025-12-01T00:00:00Z", "days": 2, "step_min": 60, "workload": workload}
    return base | {"policies": ["carbon-time"], "forecast": forecast}


def test_class_means_are_given_in_the_experiment_or_taken_from_the_workload(tmp_path: Path) -> None:
    inputs = build(check(document(class_mean_h="workload"), "x.toml", tmp_path), 1)
    means = dict(inputs.settings.forecast.class_mean_s)
    for name in {job.ask.job_class for job in inputs.jobs}:
        runtimes = [job.runtime_s for job in inputs.jobs if job.ask.job_class == name]
        assert means[name] == pytest.approx(sum(runtimes) / len(runtimes), rel=1e-12)
    given = build(check(document(class_mean_h={"evaluation": 0.5}), "x.toml", tmp_path), 1)
    assert given.settings.forecast.class_mean_s == (("evaluation", 1800.0),)
    assert build(check(document(), "x.toml", tmp_path), 1).settings.forecast.class_mean_s == ()
    with pytest.raises(InputError, match="class_mean_h"):
        check(document(class_mean_h={"evaluation": -1.0}), "x.toml", tmp_path)
