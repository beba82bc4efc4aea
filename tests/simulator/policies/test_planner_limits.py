"""Planners and policies that defer see import limits and announced requests hour by hour, and plan around them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders.jobs import AWAKE, Script, job, run, scenario, site, starts, sun_between

from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import GridEvent, Scenario, Site
from tafukt.sites.profile import StepProfile

HOUR = 3600.0


def place(limit: StepProfile | float, events: tuple[GridEvent, ...] = (), sun_w: float = 0.0) -> Site:
    """One node of 1 to 5 kW; sun from 6 to 9 h alone."""
    return site("s0", 1, AWAKE, pv=sun_between(6, 9, sun_w), import_limit_w=limit, events=events)


def test_the_view_has_the_least_limit_of_each_hour_or_half_and_requests_from_their_notice_on() -> None:
    """Half-hours of 8 and 6 kW, then 9; a request for 3 kW from 4 h to 5.5 h is told at 2 h."""
    where = place(StepProfile(np.array([8e3, 6e3] * 4 + [9e3] * 40), 1800.0))
    fine = replace(
        where, pv=StepProfile(np.zeros(48), 1800.0), overhead=StepProfile(np.zeros(48), 1800.0),
        other=StepProfile(np.zeros(48), 1800.0),
        grid=replace(where.grid, events=(GridEvent(4 * HOUR, 5.5 * HOUR, 2 * HOUR, to_w=3e3),)),
    )  # fmt: skip
    seen: dict[float, list[float]] = {}
    halves: dict[float, list[float]] = {}

    def look(view):  # type: ignore[no-untyped-def]
        seen[view.now_s] = view.import_limits_w(int(view.now_s // HOUR), 7)[0].tolist()
        halves[view.now_s] = view.import_limits_w(int(view.now_s // 1800.0), 9, 1800.0)[0].tolist()
        return []

    script = Script({HOUR: look, 2 * HOUR: look, 20 * HOUR: look})
    run([job("first", 0.0, 1, 60.0)], Scenario((fine,), 86_400.0, 1800.0), script)
    assert seen[HOUR] == [6e3, 6e3, 6e3, 9e3, 9e3, 9e3, 9e3]
    assert seen[2 * HOUR] == [6e3, 6e3, 3e3, 3e3, 9e3, 9e3, 9e3]
    assert seen[20 * HOUR] == [9e3] * 7, "beyond the window as at its end"
    assert halves[2 * HOUR] == [8e3, 6e3, 8e3, 6e3, 3e3, 3e3, 3e3, 9e3, 9e3]


@pytest.mark.parametrize("name", ["planner", "budget-planner", "wait-for-sun", "sun-window", "sun-slots"])
@pytest.mark.parametrize(("least_kw", "hour"), [(9.0, 6), (0.0, 0)])
def test_a_job_is_not_planned_into_hours_that_have_no_power(name: str, least_kw: float, hour: int) -> None:
    """Sun of 4 kW for a load of 5 tempts to 6 h; where nothing may be imported then, any other hour is as good."""
    limits = np.full(24, 9e3)
    limits[6:9] = 1e3 * least_kw
    where = scenario([place(StepProfile(limits, HOUR), sun_w=4e3)])
    begun = starts(run([job("a", 0.0, 8, HOUR, slack_s=10 * HOUR)], where, policy(name)))["a"]
    assert hour * HOUR <= begun < 9 * HOUR if hour else begun < 6 * HOUR or begun >= 9 * HOUR
    assert math.isfinite(begun)


@pytest.mark.parametrize("name", ["planner", "wait-for-sun", "sun-window", "cheap-window"])
@pytest.mark.parametrize(("asked", "begun"), [(False, 0), (True, 1)])
def test_a_job_goes_where_the_grid_asks_for_nothing(name: str, asked: bool, begun: int) -> None:
    """Two sites alike but for a request at the job's home, told a quarter of an hour before it comes."""
    event = GridEvent(2 * HOUR, 5 * HOUR, notice_s=1.7 * HOUR, to_w=2e3)
    sites = [replace(place(math.inf, (event,) if asked else ()), name="s0"), replace(place(math.inf), name="s1")]
    late = job("a", 1.75 * HOUR, 8, 2 * HOUR, slack_s=0.5 * HOUR, home="s0")
    record = run([job("first", 0.0, 1, 60.0), late], scenario(sites), policy(name))
    assert record.outcomes[1].site == begun
