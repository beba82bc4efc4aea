"""The planner on small sites: it waits for the sun, pauses where that pays, and is never late for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.planner.budget import BudgetPlanner
from tafukt.simulator.policies.planner.clairvoyant import best_known
from tafukt.simulator.policies.planner.planner import Planner, PlannerSettings
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Scenario
from tafukt.workloads.job import Checkpoint, Job

job, run, scenario, site = kit.job, kit.run, kit.scenario, kit.site

H = 3600.0
DAYS = 3
PERFECT = ForecastSettings(sun="perfect")


def sunny(names: int = 1, battery: Battery | None = None, nodes: int = 1) -> Scenario:
    """Sites with 20 kW of sun from 9 to 15 o'clock."""
    sun, end_s = kit.sun_between(9, 15, 20e3, DAYS), DAYS * 24 * H
    sites = [site(f"s{i}", nodes, end_s=end_s, pv=sun, battery=battery) for i in range(names)]
    made: Scenario = scenario(sites, end_s=end_s)
    return made


def import_kwh(record: Record) -> float:
    return float(sum(e.flow_j("import_to_load") for e in record.energy) / 3.6e6)


def planned(jobs: list[Job], where: Scenario, kind: type[Planner] = Planner, **settings: Any) -> Record:
    record: Record = run(jobs, where, kind(settings=PlannerSettings(**settings)), forecast=PERFECT)
    return record


both = pytest.mark.parametrize("kind", [Planner, BudgetPlanner])


@both
def test_a_job_that_may_wait_runs_in_the_sun(kind: type[Planner]) -> None:
    record = planned([job("a", 0.0, 8, 4 * H, slack_s=20 * H, interruptible=False)], sunny(), kind)
    assert 9 * H <= record.outcomes[0].start_s <= 11 * H
    hold = next(e for e in record.events if e.kind == "hold")
    assert hold.detail["cost_kwh"] < hold.detail["cost_now_kwh"]


@both
def test_a_job_pauses_overnight_where_restarts_are_cheap_and_not_where_they_are_dear(kind: type[Planner]) -> None:
    """Ten hours of work from 10 o'clock: five in the sun, then a night, then five in the next day's sun."""

    def record(restart_s: float) -> Record:
        checkpoint = Checkpoint(0.0, 30.0, restart_s, None)
        return planned([job("a", 10 * H, 8, 10 * H, slack_s=30 * H, checkpoint=checkpoint)], sunny(), kind)

    cheap, dear = record(120.0), record(20 * H)
    assert cheap.outcomes[0].pauses >= 1
    assert dear.outcomes[0].pauses == 0
    pause = next(e for e in cheap.events if e.kind == "pause")
    assert pause.detail["until_s"] == 33 * H
    assert import_kwh(cheap) < import_kwh(dear)


@pytest.mark.parametrize("write_s", [0.0, 30.0])
def test_checkpoints_that_take_no_time_end_no_run_in_a_loop(write_s: float) -> None:
    checkpoint = Checkpoint(0.0, write_s, 0.0, None)
    jobs = [job(f"j{i}", i * 1800.0, 4, 3 * H, slack_s=12 * H, checkpoint=checkpoint) for i in range(12)]
    record = planned(jobs, sunny(2))
    assert all(o.state == "done" for o in record.outcomes)
    assert record.rounds < 400


@both
def test_no_deadline_is_missed_where_there_is_room(kind: type[Planner]) -> None:
    jobs = [
        job(f"j{i}", i * 3000.0, 1 + i % 4, 2 * H, estimate_s=2.5 * H, slack_s=(i % 7) * H,
            interruptible=i % 3 > 0, checkpoint=Checkpoint(0.0, 40.0, 200.0, None))
        for i in range(30)
    ]  # fmt: skip
    record = planned(jobs, sunny(3, nodes=2), kind)
    assert all(o.end_s <= j.ask.deadline_s + 1.0 for o, j in zip(record.outcomes, record.jobs, strict=True))


def test_energy_that_the_battery_can_lend_is_used_at_night() -> None:
    """Two jobs at night, two sites, one with a full battery: the battery's site gets them."""
    battery = Battery(100 * 3.6e6, 50e3, 50e3, soc_start=0.95)
    where = sunny(2)
    where = replace(where, sites=(where.sites[0], replace(where.sites[1], battery=battery)))
    record = planned([job("a", 0.0, 8, 2 * H, interruptible=False)], where)
    assert record.outcomes[0].site == 1


def test_who_knows_more_draws_less() -> None:
    """With all known in advance the same jobs draw no more than the planner makes them draw."""
    rng = np.random.default_rng(3)
    jobs = [
        job(f"j{i}", float(rng.integers(0, 40)) * H, 4, 3 * H, estimate_s=5 * H, slack_s=14 * H,
            checkpoint=Checkpoint(0.0, 30.0, 120.0, None))
        for i in range(16)
    ]  # fmt: skip
    where = sunny(2)
    known = best_known(where, jobs, Settings())
    assert import_kwh(known) <= import_kwh(planned(jobs, where)) + 1e-6
    assert all(o.state == "done" for o in known.outcomes)
