"""How far a policy that waits looks: its slack whole, and as far as the forecast goes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.config.load import check
from tafukt.experiments.config.notes import _not_looked_at
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile

HOUR_S, DAY_S = 3600.0, 86_400.0
AWAKE = NodeType("awake", 8, 1000.0, 8000.0, 100.0)
SLEEPY = NodeType("sleepy", 8, 1000.0, 8000.0, 100.0, wake_s=180.0, sleep_after_s=600.0)

WAITING = ["carbon-slot", "carbon-window", "carbon-time", "sun-slot", "sun-window", "sun-per-wait", "wait-for-sun"]
WAITING += ["sun-slots", "wait-awhile", "planner", "cheap-window"]


def best_at(hours: range, days: int = 4, node: NodeType = AWAKE) -> Scenario:
    """A site whose carbon is low, and whose sun carries it, in these hours alone."""
    n = days * 24
    good = np.isin(np.arange(n), hours)
    flat = StepProfile.constant(0.0, n * HOUR_S, HOUR_S)
    carbon = StepProfile(np.where(good, 100.0, 500.0) / 3.6e6, HOUR_S)
    price = StepProfile(np.where(good, 0.5, 1.0) / 3.6e6, HOUR_S)
    sun = StepProfile(np.where(good, 20_000.0, 0.0), HOUR_S)
    return Scenario((Site("s0", "r0", node, 1, sun, flat, flat, Grid(price, carbon, flat)),), n * HOUR_S, HOUR_S)


def start_s(name: str, where: Scenario, slack_h: float, horizon_h: int = 72, **job: Any) -> float:
    work = kit.job("j", 0, 8, 2 * HOUR_S, slack_s=slack_h * HOUR_S, **job)
    foresight = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect", horizon_h=horizon_h)
    record = kit.run([work], where, policy(name), forecast=foresight)
    assert record.outcomes[0].end_s <= work.ask.deadline_s + 0.002
    return float(record.outcomes[0].start_s)


@pytest.mark.parametrize("name", WAITING)
def test_slack_is_used_whole(name: str) -> None:
    """The best hours begin with the latest start, on nodes that never sleep: nothing is to be taken off."""
    assert start_s(name, best_at(range(6, 8)), 6.0) == 6 * HOUR_S
    assert start_s(name, best_at(range(6, 8)), 5.99) < 6 * HOUR_S


@pytest.mark.parametrize("name", WAITING)
def test_of_slack_a_job_gives_up_what_its_node_needs_to_wake(name: str) -> None:
    where = best_at(range(6, 8), node=SLEEPY)
    assert start_s(name, where, 6.05) == 6 * HOUR_S  # three minutes to wake
    assert start_s(name, where, 6.04) < 6 * HOUR_S


@pytest.mark.parametrize("name", sorted(set(WAITING) - {"planner"}))  # its horizon is a key of its own
def test_starts_are_sought_as_far_as_the_forecast_goes(name: str) -> None:
    """The only good hours lie five days ahead, which a forecast of a week shows and one of three days does not."""
    where = best_at(range(120, 122), days=9)
    assert start_s(name, where, 150.0, horizon_h=168) == 120 * HOUR_S
    assert start_s(name, where, 150.0, horizon_h=72) <= 72 * HOUR_S


@pytest.mark.parametrize(
    ("policies", "horizon_h", "told"),
    [
        (["fifo"], 72, ["forecast.horizon_h: jobs may wait for up to 150 h, and forecasts show 72 h"]),
        (["planner"], 168, ["planner plans 48 h ahead of the forecast's 168"]),
        ([{"name": "mine", "like": "planner", "horizon_h": 100}], 168, ["mine plans 100 h ahead"]),
        ([{"name": "mine", "like": "planner", "horizon_h": 150}, "wait-for-sun"], 168, []),
    ],
)
def test_what_limits_the_horizon_is_said(policies: list[Any], horizon_h: int, told: list[str]) -> None:
    job = kit.job("j", 0, 1, 100, slack_s=150 * HOUR_S)
    loaded = check(
        {"name": "x", "start": "2025-12-01T00:00:00Z", "days": 1, "policies": policies, "baseline": "fifo"},
        "x.toml", Path(),
    )  # fmt: skip
    settings = SimpleNamespace(forecast=ForecastSettings(horizon_h=horizon_h))
    found = _not_looked_at(loaded, SimpleNamespace(jobs=[job], settings=settings))  # type: ignore[arg-type]
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))
