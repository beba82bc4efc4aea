"""The planner and nodes that sleep: jobs of less than a node share one, and a stop costs the nodes' cycle."""

from __future__ import annotations

from dataclasses import replace

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.planner.plan_table import JobPlan, PlanTable
from tafukt.simulator.policies.planner.planner import Planner, PlannerSettings
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Scenario
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Job

H = 3600.0
PERFECT = ForecastSettings(sun="perfect")


def two_sites() -> Scenario:
    made: Scenario = kit.scenario([kit.site(f"s{i}", 1, kit.SLEEPY) for i in range(2)])
    return made


def planned(jobs: list[Job], where: Scenario, **settings: float) -> Record:
    record: Record = kit.run(jobs, where, Planner(settings=PlannerSettings(**settings)), forecast=PERFECT)  # type: ignore[arg-type]
    return record


def begun(record: Record, name: str) -> tuple[float, int]:
    """When and where a job was started."""
    index = [job.ask.job_id for job in record.jobs].index(name)
    rows = record.occupancy.job == index
    return kit.outcome(record, name).start_s, int(record.occupancy.site[rows][0])


@pytest.mark.parametrize(("gpus", "site"), [(4, 0), (5, 1)])
def test_a_job_of_less_than_a_node_goes_where_one_is_open_and_has_room(gpus: int, site: int) -> None:
    first = kit.job("a", 0.0, 4, 3 * H)
    second = kit.job("b", 600.0, gpus, H, home="s1")
    assert begun(planned([first, second], two_sites()), "b") == (600.0, site)


@pytest.mark.parametrize(("gpus", "start"), [(4, (H, 0)), (5, (300.0, 1))])
def test_an_arrival_wakes_no_node_that_an_hours_wait_spares(gpus: int, start: tuple[float, int]) -> None:
    """All energy is the grid's at any hour. From one on c keeps half a node of s0 awake for b, if that has room."""
    jobs = [
        kit.job("a", 0.0, 8, H - 180.0, residency="regional"),
        kit.job("c", 0.0, 4, 2 * H, residency="regional", slack_s=3 * H),
        kit.job("b", 300.0, gpus, H, home="s1", slack_s=6 * H),
    ]
    record = planned(jobs, two_sites())
    assert begun(record, "c") == (H, 0)
    assert begun(record, "b") == start


def test_nodes_that_are_opened_are_counted_by_the_gpus_that_plans_leave() -> None:
    """Plans of 5 and 6 GPUs leave 5 of two nodes in the first hour, of 6 alone 2 in the second; 16 fill whole nodes."""
    seen: list[list[list[float]]] = []

    class Looks(Planner):
        def begin(self, view: object) -> None:
            super().begin(view)  # type: ignore[arg-type]
            book = PlanTable(self._view, 24)
            none, watts = np.zeros(2, np.int64), np.zeros(2)
            book.enter(0, JobPlan(np.array([0]), none[:1], watts[:1], 5))
            book.enter(1, JobPlan(np.array([0, 1]), none, watts, 6))
            book.enter(2, JobPlan(np.array([0, 1]), none, watts, 16))
            seen.extend(book.opened(np.array([0]), 3, gpus).tolist() for gpus in (2, 5, 6))
            book.withdraw(1)
            seen.append(book.opened(np.array([0]), 3, 3).tolist())

    kit.run([kit.job("a", 0.0, 8, H)], two_sites(), Looks())
    assert seen == [[[0.0, 0.0, 1.0]], [[0.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]]


@pytest.mark.parametrize(("cycle", "pauses"), [(0.0, 1), (0.5, 1), (40.0, 0)])
def test_a_stop_costs_the_cycle_of_the_nodes_that_it_empties(cycle: float, pauses: int) -> None:
    """An hour without sun amid four with it: a node of 5 kW waits for it, unless waking costs more than its 4.9 kWh.

    The cycle is 13 minutes of 0.9 kW, 0.195 kWh; forty of them are 7.8 kWh.
    """
    sun = np.zeros(24)
    sun[[9, 10, 12, 13]] = 20e3
    sites = [replace(kit.site("s0", 1, kit.SLEEPY), pv=StepProfile(sun, H))]
    job = kit.job("a", 9 * H, 8, 3 * H, slack_s=4 * H)
    record = planned([job], kit.scenario(sites), cycle=cycle, scarcity=0.0)
    assert record.outcomes[0].pauses == pauses
