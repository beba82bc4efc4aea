"""The planners with one job and a perfect forecast, against every choice that there is, simulated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import builders.cases as cases_of
import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.actions import Action, Pause, Start, Wake
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, NodeType, Scenario, Site
from tafukt.workloads.job import Checkpoint, Job

PLANNERS = ["planner", pytest.param("budget-planner", marks=pytest.mark.slow)]
HOUR_S, HOURS = 3600.0, 72
NODE = NodeType("n", 8, 1000.0, 8000.0, 0.0)
FORESIGHT = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect")


def place(rng: Any, name: str) -> Site:
    """A site with sun that changes from hour to hour and a battery that is empty in the beginning."""
    hour = np.arange(HOURS) % 24
    sun = np.clip(np.sin((hour - 5.5) / 13 * np.pi), 0.0, None) * rng.uniform(4000.0, 16_000.0)
    sun *= rng.uniform(0.2, 1.0, HOURS)
    size_j = rng.uniform(8.0, 40.0) * 3.6e6
    battery = Battery(size_j, size_j / 7200, size_j / 7200, 0.95, 0.95, soc_min=0.05, soc_max=0.95, soc_start=0.05)
    made: Site = kit.site(name, 1, NODE, HOURS * HOUR_S, pv=sun, battery=battery)
    return made


class Hours:
    """Runs its one job at one site in these hours alone."""

    name = "hours"

    def __init__(self, site: int, hours: set[int]) -> None:
        self.site, self.hours = site, hours

    def begin(self, view: Any) -> None: ...

    def waiting(self, job: Any) -> None: ...

    def freed(self, job: Any, site: int) -> None: ...

    def round(self, view: Any) -> Iterator[Action]:
        hour = int(view.now_s // HOUR_S)
        yield Wake((hour + 1) * HOUR_S)
        if hour in self.hours:
            yield from [Start(job, self.site) for job in list(view.waiting.values())]
        else:
            yield from [Pause(job) for job in list(view.running.values())]


def draw_kwh(record: Record) -> float:
    return sum(cases_of.draw_j(record, index) for index in range(len(record.scenario.sites))) / 3.6e6


def run_kwh(job: Job, where: Scenario, one: Any) -> float:
    return draw_kwh(kit.run([job], where, one, forecast=FORESIGHT))


@pytest.mark.parametrize("name", PLANNERS)
def test_a_lone_job_in_one_piece_draws_no_more_than_half_a_percent_over_the_best_start(name: str) -> None:
    drawn = best = 0.0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        where = Scenario((place(rng, "s0"), place(rng, "s1")), HOURS * HOUR_S, HOUR_S)
        begin, run, slack = (int(rng.integers(*ends)) for ends in ((0, 20), (2, 5), (4, 30)))
        job = kit.job("j", begin * HOUR_S, 8, run * HOUR_S, slack_s=slack * HOUR_S, interruptible=False)
        starts = [(site, begin + wait) for site in range(2) for wait in range(slack + 1)]
        best += min(run_kwh(job, where, Hours(site, set(range(at, at + run)))) for site, at in starts)
        drawn += run_kwh(job, where, policy(name))
    assert drawn == pytest.approx(best, rel=0.005)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_lone_job_that_may_stop_draws_no_more_than_half_a_percent_over_the_best_hours(name: str) -> None:
    drawn = best = 0.0
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        where = Scenario((place(rng, "s0"),), HOURS * HOUR_S, HOUR_S)
        begin, run, slack = int(rng.integers(0, 20)), int(rng.integers(2, 4)), int(rng.integers(3, 7))
        job = kit.job("j", begin * HOUR_S, 8, run * HOUR_S, slack_s=slack * HOUR_S, checkpoint=Checkpoint())
        choices = combinations(range(begin, begin + run + slack), run)
        best += min(run_kwh(job, where, Hours(0, set(hours))) for hours in choices)
        drawn += run_kwh(job, where, policy(name))
    assert drawn == pytest.approx(best, rel=0.005)
