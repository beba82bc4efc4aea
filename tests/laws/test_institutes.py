"""Under `regional` coordination every institute is on its own: one queue, one reservation, one memory each."""

from __future__ import annotations

from dataclasses import replace

import builders.cases as kit
import builders.jobs as build
import pytest

from tafukt.simulator.engine.actions import Start
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.order import shortest
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.policies.registry import FunctionPolicy
from tafukt.simulator.scenario import NodeType

# The programmes of the budget planner take seconds for each case.
SEEDS = {"budget-planner": range(1)}
MANY = {"budget-planner": range(100, 106)}


def assert_each_is_as_if_alone(seed: int, name: str, weak: bool) -> None:
    case = kit.case(seed, coordination="regional", jobs=10 if name == "budget-planner" else 24, weak=weak)
    together = {life[0]: life for life in kit.lives_of(case.run(name))}
    draws = case.run(name).energy
    for index, site in enumerate(case.scenario.sites):
        mine = tuple(job for job in case.jobs if job.ask.home == site.name)
        alone = replace(case.with_sites([site]), jobs=mine).run(name)
        assert kit.lives_of(alone) == sorted(together[job.ask.job_id] for job in mine), (seed, site.name)
        for flow in ("pv_to_load", "import_to_load", "unserved"):
            assert draws[index].flow_j(flow) == pytest.approx(alone.energy[0].flow_j(flow), rel=1e-9, abs=1.0)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_happens_at_an_institute_is_what_happens_if_it_is_alone(name: str) -> None:
    for seed in SEEDS.get(name, range(5)):
        assert_each_is_as_if_alone(seed, name, weak=seed % 2 == 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_often_what_happens_at_an_institute_is_what_happens_if_it_is_alone(name: str) -> None:
    for seed in MANY.get(name, range(100, 160)):
        assert_each_is_as_if_alone(seed, name, weak=seed % 2 == 1)


SINGLE = NodeType("single", 1, 0.0, 1000.0, 0.0)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_an_empty_institute_starts_its_job_at_once(name: str) -> None:
    """A full site elsewhere is no concern of the one at which nobody waits."""
    jobs = [build.job("A1", 0, 1, 100), build.job("A2", 1, 1, 100), build.job("B1", 2, 1, 100, home="s1")]
    sites = [build.site(f"s{i}", 1, SINGLE) for i in range(2)]
    record = build.run(jobs, build.scenario(sites, coordination="regional"), policy(name))
    assert build.starts(record)["B1"] == 2.0


def test_each_institute_has_its_own_reservation() -> None:
    """The head of one site is no reason to keep the head of another waiting."""
    jobs = [
        build.job("A1", 0, 4, 5000), build.job("A2", 1, 4, 100), build.job("B1", 2, 2, 100, home="s1"),
        build.job("B2", 3, 4, 100, home="s1"), build.job("B3", 4, 2, 3000, home="s1"),
    ]  # fmt: skip
    sites = [build.site(f"s{i}", 4, SINGLE) for i in range(2)]
    where = build.scenario(sites, coordination="regional")
    strict = ListScheduler("sjf-strict", Parts(order=shortest, backfill="none"))
    for one in (policy("easy"), policy("conservative"), policy("fcfs"), strict):
        begun = build.starts(build.run(jobs, where, one))
        assert (begun["B2"], begun["B3"]) == (102.0, 202.0), one.name


def test_a_function_of_the_users_own_sees_one_institute_at_a_time() -> None:
    """Its site is the only one, at position 0; who waits, runs and fits elsewhere is not in its view."""
    seen: set[tuple[str, ...]] = set()

    def own(view):  # type: ignore[no-untyped-def]
        (site,) = view.sites
        seen.add((site.name, *(job.ask.job_id for job in view.waiting.values())))
        assert all(job.ask.home == site.name for job in [*view.waiting.values(), *view.running.values()])
        assert all(job.site == 0 for job in view.running_at(0))
        assert view.forecast.free_w(view.now_s)[1].shape[0] == 1
        for job in list(view.waiting.values()):
            if view.fitting(job, view.sites_for(job), job.ask.gpus):
                yield Start(job, 0)

    jobs = [build.job("A1", 0, 1, 100), build.job("A2", 1, 1, 100), build.job("B1", 2, 1, 100, home="s1")]
    sites = [build.site(f"s{i}", 1, SINGLE) for i in range(2)]
    record = build.run(jobs, build.scenario(sites, coordination="regional"), FunctionPolicy("own", own))
    assert build.starts(record) == {"A1": 0.0, "A2": 100.0, "B1": 2.0}
    assert seen == {("s0", "A1"), ("s0", "A2"), ("s1", "B1"), ("s0",), ("s1",)}
