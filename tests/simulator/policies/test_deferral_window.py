"""wait-for-sun's own part: the window that draws least, looked up in a table, against trying every start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.jobs import AWAKE, STEP_S, job, scenario, site

from tafukt.experiments.config.load import check
from tafukt.experiments.config.scenario import build
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.lookahead.windows import RunCosts
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.policies.registry import maker_of
from tafukt.simulator.scenario import Grid, Scenario
from tafukt.simulator.units import HOUR_S
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Job


@pytest.mark.parametrize("left_h", [0.05, 1.0, 2.7, 11.25])
@pytest.mark.parametrize("begin_h", [0.0, 0.4, 0.999])
def test_windows_are_what_adding_up_every_run_gives(begin_h: float, left_h: float) -> None:
    draw = np.random.default_rng(3).uniform(0.0, 5.0, (40, 4))
    found = RunCosts(draw).from_now_on(begin_h, 20, left_h)
    starts = [begin_h, *range(1, 20)]
    assert found.shape == (len(starts), 4)
    edges = np.arange(41.0)
    for row, start in zip(found, starts, strict=True):
        overlap = np.minimum(edges[1:], start + left_h) - np.maximum(edges[:-1], start)
        assert row == pytest.approx(np.maximum(overlap, 0.0) @ draw, abs=1e-9)


def sunny_from(hour: int, end_s: float) -> StepProfile:
    values = np.zeros(int(end_s // STEP_S))
    values[hour : hour + 6] = 20_000.0
    return StepProfile(values, STEP_S)


def starts_of(jobs: list[Job], hour: int = 10) -> list[float]:
    """When wait-for-sun starts these jobs at one site with sun for six hours from `hour` on, well forecast."""
    place = replace(site(nodes=2), pv=sunny_from(hour, 86_400.0))
    perfect = Settings(forecast=ForecastSettings(sun="perfect"))
    record = simulate(scenario([place]), jobs, policy("wait-for-sun"), settings=perfect)
    return [outcome.start_s for outcome in record.outcomes]


def test_a_job_waits_for_the_sun_as_far_as_its_slack_allows() -> None:
    long = job("long", 0.0, 8, 4 * HOUR_S, slack_s=14 * HOUR_S)
    assert starts_of([long]) == [10 * HOUR_S]
    assert starts_of([replace(long, ask=replace(long.ask, slack_s=3 * HOUR_S))]) == [0.0]


def test_a_small_job_waits_for_no_more_than_the_first_light() -> None:
    small = job("small", 0.0, 1, 600.0, slack_s=14 * HOUR_S)
    assert starts_of([small]) == [10 * HOUR_S]
    assert starts_of([replace(small, ask=replace(small.ask, slack_s=2 * HOUR_S))]) == [0.0]
    assert starts_of([replace(small, ask=replace(small.ask, submit_s=12 * HOUR_S))]) == [12 * HOUR_S]


def test_sites_of_other_nodes_are_compared_by_what_the_same_work_draws_there() -> None:
    """Nodes of twice the speed at the same power, without sun, run a job for half the energy."""
    fast = replace(AWAKE, name="fast", speed=2.0)
    places = [site("s0", 2), site("s1", 2, node=fast)]
    places = [replace(place, pv=sunny_from(10, 86_400.0)) for place in places]
    record = simulate(
        scenario(places),
        [job("j", 0.0, 8, 12 * HOUR_S, slack_s=4 * HOUR_S, residency="national")],
        policy("wait-for-sun"),
        settings=Settings(forecast=ForecastSettings(sun="perfect")),
    )
    assert record.occupancy.site.tolist() == [1]


def test_a_gang_of_a_whole_site_waits_for_the_sun_too() -> None:
    """What others leave for jobs that are bound to a site, a gang that needs all of one cannot leave."""
    places = [replace(site(name, nodes=2), pv=sunny_from(10, 86_400.0)) for name in ("s0", "s1")]
    gang = job("gang", 0.0, 16, 4 * HOUR_S, slack_s=14 * HOUR_S)
    perfect = Settings(forecast=ForecastSettings(sun="perfect"))
    record = simulate(scenario(places), [gang], policy("wait-for-sun"), settings=perfect)
    assert record.outcomes[0].start_s == 10 * HOUR_S


def test_windows_are_as_long_as_jobs_usually_run() -> None:
    """Who has seen all jobs end at half of their estimates plans for half: four hours of sun, not four more before."""
    end_s = 4 * 86_400.0
    sun = np.zeros(int(end_s // STEP_S))
    sun[58:62] = 80_000.0
    place = replace(site(nodes=4, end_s=end_s), pv=StepProfile(sun, STEP_S))
    taught = [job(f"t{i:02d}", i * 60.0, 1, 2 * HOUR_S, estimate_s=4 * HOUR_S, slack_s=0.0) for i in range(24)]
    waits = job("waits", 30 * HOUR_S, 8, 4 * HOUR_S, estimate_s=8 * HOUR_S, slack_s=30 * HOUR_S)
    perfect = Settings(forecast=ForecastSettings(sun="perfect"))
    where = scenario([place], end_s=end_s)
    for jobs, start_h in (([*taught, waits], 58), ([waits], 54)):
        record = simulate(where, jobs, policy("wait-for-sun"), settings=perfect)
        started = record.outcomes[-1].start_s / HOUR_S
        assert started == pytest.approx(start_h, abs=0.1)


@pytest.mark.parametrize("name", ["wait-for-sun", "sun-window"])
def test_who_finds_no_room_where_it_planned_takes_nobodys_promised_gpus(name: str) -> None:
    """`free` has planned s0 for ten o'clock, where `comes` holds the node by then; s1 is promised to `bound`."""
    sun = np.zeros(24)
    sun[10:18] = 20_000.0
    places = [replace(site(each), pv=StepProfile(sun, STEP_S)) for each in ("s0", "s1")]
    jobs = [
        job("free", 0.0, 8, 4 * HOUR_S, slack_s=15 * HOUR_S),
        job("bound", 600.0, 8, 4 * HOUR_S, slack_s=10 * HOUR_S, home="s1", residency="regional"),
        job("comes", 9.5 * HOUR_S, 8, 2 * HOUR_S, residency="regional"),
    ]
    perfect = Settings(forecast=ForecastSettings(sun="perfect", load="perfect"))
    record = simulate(scenario(places), jobs, policy(name), settings=perfect)
    free, bound, _ = record.outcomes
    assert (bound.site, bound.start_s) == (1, 10 * HOUR_S)
    assert (free.site, free.start_s) == (0, 12 * HOUR_S)


def test_a_gang_past_its_latest_start_is_not_passed_for_ever() -> None:
    """One of the two nodes is always busy, since a job of half the site comes every hour and runs for two."""
    place = replace(site(nodes=2, end_s=2 * 86_400.0), pv=sunny_from(3, 2 * 86_400.0))
    gang = job("gang", 0.0, 16, 2 * HOUR_S, slack_s=3 * HOUR_S)
    others = [job(f"x{i:02d}", (i + 0.5) * HOUR_S, 8, 2 * HOUR_S) for i in range(20)]
    perfect = Settings(forecast=ForecastSettings(sun="perfect", load="perfect"))
    record = simulate(scenario([place], 2 * 86_400.0), [gang, *others], policy("wait-for-sun"), settings=perfect)
    assert record.outcomes[0].start_s == 4.5 * HOUR_S  # when those who ran at three o'clock have ended


def test_half_an_hour_of_sun_is_found_in_half_hours_and_missed_in_hours() -> None:
    half_s = HOUR_S / 2
    sun = np.zeros(48)
    sun[21] = 20_000.0  # from 10:30 on
    dark = StepProfile.constant(0.0, 48 * half_s, half_s)
    grid = Grid(dark, dark, dark)
    place = replace(site(), pv=StepProfile(sun, half_s), other=dark, overhead=dark, grid=grid)
    work = job("j", 0.0, 8, half_s, estimate_s=half_s, slack_s=14 * HOUR_S)
    begun = []
    for slot_s in (half_s, HOUR_S):
        foresight = ForecastSettings(sun="perfect", load="perfect", slot_s=slot_s)
        where = Scenario((place,), 86_400.0, half_s)
        record = simulate(where, [work], policy("wait-for-sun"), settings=Settings(forecast=foresight))
        begun.append(record.outcomes[0].start_s)
    assert begun == [10.5 * HOUR_S, 10 * HOUR_S]


def test_held_jobs_may_be_looked_at_again_with_every_forecast() -> None:
    """A gang that had the node promised fails at six: who looks again moves up into the sun of the early hours."""
    place = replace(site(), pv=sunny_from(6, 86_400.0))  # until noon
    gang = job("gang", 0.0, 8, 4 * HOUR_S, slack_s=7 * HOUR_S, ending="failed", ends_at=0.02)
    waits = job("waits", 600.0, 8, 2 * HOUR_S, slack_s=14 * HOUR_S)
    perfect = Settings(forecast=ForecastSettings(sun="perfect", load="perfect"))
    begun = []
    for again in (False, True):
        made = maker_of({"name": "x", "like": "wait-for-sun", "when": {"part": "wait-for-sun", "replan": again}})
        record = simulate(scenario([place]), [gang, waits], made("x"), settings=perfect)
        assert record.outcomes[0].start_s == 6 * HOUR_S
        begun.append(record.outcomes[1].start_s)
    assert begun == [10 * HOUR_S, 7 * HOUR_S]


def test_a_job_that_found_no_room_and_is_sent_elsewhere_is_asked_once(tmp_path: Path) -> None:
    """Under `federated` the root may send a job on in the very instant in which it found no room."""
    loaded = check(
        {
            "name": "x", "start": "2025-12-01T00:00:00Z", "days": 3, "policies": ["wait-for-sun"], "seeds": [1],
            "baseline": "fifo", "coordination": "federated", "bound": False, "workload": {"load": 0.9},
        },
        "x.toml", tmp_path,
    )  # fmt: skip
    inputs = build(loaded, 1)
    record = simulate(
        inputs.scenario, inputs.jobs, policy("wait-for-sun"), settings=inputs.settings, check_handed=False
    )
    assert all(outcome.state != "left" for outcome in record.outcomes)
