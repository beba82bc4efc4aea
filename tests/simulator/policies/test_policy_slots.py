"""Policies that go by a signal plan in slots that follow the step, and count them from submission as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.config.load import check
from tafukt.experiments.config.scenario import _steady, build
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile

HOUR_S, HALF_S = 3600.0, 1800.0
N = 48 * 3
NODE = NodeType("n", 8, 1000.0, 8000.0, 100.0)


def where(carbon: Any) -> Scenario:
    """A site on the grid, with a carbon intensity for every half hour, and a price that follows it."""
    values, end_s = np.divide(carbon, 3.6e6), N * HALF_S
    return Scenario((kit.site("s0", 1, NODE, end_s, step_s=HALF_S, carbon=values, price=values),), end_s, HALF_S)


def start_s(name: str, carbon: Any, slot_s: float, submit_s: float, run_s: float, slack_s: float) -> float:
    work = kit.job("j", submit_s, 8, run_s, slack_s=slack_s, interruptible=False)
    foresight = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect", slot_s=slot_s)
    return float(kit.run([work], where(carbon), policy(name), forecast=foresight).outcomes[0].start_s)


def emitted(carbon: Any, start: float, run_s: float) -> float:
    """Carbon over a run, per watt."""
    edges = np.arange(N + 1) * HALF_S
    total = np.concatenate(([0.0], np.cumsum(carbon * HALF_S)))
    begin, end = np.interp([start, start + run_s], edges, total)
    return float(end - begin)


BY_WINDOW = ["carbon-window", "cheap-window", "wait-awhile", "sun-window"]


@pytest.mark.parametrize("name", ["carbon-slot", *BY_WINDOW[:3]])
def test_a_half_hour_of_low_carbon_is_found_in_half_hours_and_missed_in_hours(name: str) -> None:
    carbon = np.full(N, 500.0)
    carbon[5] = 50.0  # from 2:30 on
    assert start_s(name, carbon, HALF_S, 0.0, HALF_S, 6 * HOUR_S) == 2.5 * HOUR_S
    assert start_s(name, carbon, HOUR_S, 0.0, HALF_S, 6 * HOUR_S) == 2.0 * HOUR_S


@pytest.mark.parametrize("name", BY_WINDOW[:3])
def test_half_an_hour_of_slack_is_used_as_published(name: str) -> None:
    """Of all starts in half hours within half an hour from submission the best is taken, at any time of the day."""
    rng = np.random.default_rng(5)
    carbon = rng.uniform(100.0, 600.0, N)
    for submit in (0.0, 7 * HALF_S, 20 * HALF_S, 31 * HALF_S):
        begun = start_s(name, carbon, HALF_S, submit, HOUR_S, HALF_S)
        best = min((submit, submit + HALF_S), key=lambda start: emitted(carbon, start, HOUR_S))
        assert begun == best


def test_starts_are_sought_in_whole_slots_from_submission_as_well() -> None:
    """Ten past, slack of two hours: the last start is two hours after submission, which no clock hour is."""
    carbon = np.linspace(600.0, 100.0, N)  # the later the better
    begun = start_s("carbon-window", carbon, HOUR_S, 600.0, HOUR_S, 2 * HOUR_S)
    assert begun == 600.0 + 2 * HOUR_S
    assert start_s("carbon-window", carbon, HALF_S, 600.0, HOUR_S, HALF_S) == 600.0 + HALF_S


def sunlit(sun: Any) -> Scenario:
    """A site with a value of sun [W] for every half hour, and no battery."""
    flat = StepProfile.constant(0.0, N * HALF_S, HALF_S)
    site = Site("s0", "r0", NODE, 1, StepProfile(sun, HALF_S), flat, flat, Grid(flat, flat, flat))
    return Scenario((site,), N * HALF_S, HALF_S)


def planned_s(name: str, sun: Any, slot_s: float, run_s: float, slack_s: float) -> list[float]:
    """When a job that may not stop, and comes at 1:00, starts."""
    work = kit.job("j", HOUR_S, 8, run_s, slack_s=slack_s, interruptible=False)
    foresight = ForecastSettings("perfect", load="perfect", slot_s=slot_s)
    return [outcome.start_s for outcome in kit.run([work], sunlit(sun), policy(name), forecast=foresight).outcomes]


PLANNERS = ["planner", pytest.param("budget-planner", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", PLANNERS)
def test_planners_find_half_an_hour_of_sun_in_half_hours_and_miss_it_in_hours(name: str) -> None:
    sun = np.zeros(N)
    sun[7] = 8000.0  # from 3:30 on
    assert planned_s(name, sun, HALF_S, HALF_S, 6 * HOUR_S) == [3.5 * HOUR_S]
    assert planned_s(name, sun, HOUR_S, HALF_S, 6 * HOUR_S) == [3 * HOUR_S]


@pytest.mark.parametrize("name", PLANNERS)
def test_half_an_hour_of_slack_is_used_by_planners(name: str) -> None:
    """An hour's work from 1:00 or from 1:30: the better of two starts is taken, whichever it is."""
    rng = np.random.default_rng(7)
    for _ in range(6):
        sun = rng.uniform(0.0, 8000.0, N)
        # The half hour from 1:30 on is in both: the run is at 1:00 or at 2:00 besides.
        expected = HOUR_S if sun[2] >= sun[4] else HOUR_S + HALF_S
        assert planned_s(name, sun, HALF_S, HOUR_S, HALF_S) == [expected]


@pytest.mark.parametrize("slot_s", [900.0, HALF_S, HOUR_S])
@pytest.mark.parametrize("name", ["carbon-window", "sun-slots", "ecovisor", "carbon-scaler", "sunset", "carbon-time"])
def test_where_hours_are_all_that_there_is_slots_change_nothing(name: str, slot_s: float) -> None:
    """Values that change with the hour, jobs of whole hours that come on the hour."""
    rng = np.random.default_rng(3)
    carbon = np.repeat(rng.uniform(100.0, 600.0, N // 2), 2)
    work = [
        kit.job(f"j{i}", float(rng.integers(0, 20)) * HOUR_S, 4, float(rng.integers(1, 4)) * HOUR_S,
                slack_s=float(rng.integers(0, 12)) * HOUR_S)
        for i in range(8)
    ]  # fmt: skip
    foresight = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect", slot_s=slot_s)
    begun = kit.starts(kit.run(work, where(carbon), policy(name), forecast=foresight))
    hourly = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect")
    assert begun == kit.starts(kit.run(work, where(carbon), policy(name), forecast=hourly))


@pytest.mark.parametrize(
    ("step_min", "more", "slot_min"),
    [(60, {}, 60), (30, {}, 30), (15, {}, 15), (5, {}, 60), (5, {"slot_min": 10}, 10), (30, {"slot_min": 60}, 60)],
)
def test_slots_follow_the_step_of_the_experiment(
    step_min: int, more: dict[str, Any], slot_min: int, tmp_path: Path
) -> None:
    workload = {"kind": "generator", "mix": "institutes", "load": 0.3}
    document = {
        "name": "x", "start": "2025-12-01T00:00:00Z", "days": 1, "step_min": step_min, "workload": workload,
        "policies": ["fifo"], "forecast": more,
    }  # fmt: skip
    inputs = build(check(document, "x.toml", tmp_path), 1)
    assert inputs.settings.forecast.slot_s == slot_min * 60.0


@pytest.mark.parametrize(("carbon_min", "slot_min"), [(60, 60), (30, 30), (20, 20), (5, 5), (25, 5)])
def test_short_steps_are_taken_together_as_far_as_the_grid_is_the_same_in_them(carbon_min: int, slot_min: int) -> None:
    values = np.repeat(np.random.default_rng(1).uniform(size=60), carbon_min // 5)
    signal = StepProfile(values, 300.0)
    steady = [minutes for minutes in (60, 30, 20, 15) if _steady(signal, minutes)]
    assert max(steady, default=5) == slot_min
