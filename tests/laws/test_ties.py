"""Ties fall by stable rules: between sites by home and name, between jobs of one instant by the order of the file."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import builders.cases as kit
import builders.jobs as build
import numpy as np
import pytest

from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.record import FLOWS
from tafukt.simulator.scenario import NodeType
from tafukt.workloads.job_table import in_order

ORDERS = list(permutations(range(3)))[1:]


def twins(seed: int) -> kit.Case:
    """Three sites that differ by their names alone: whatever is measured of them is a tie."""
    case = kit.case(seed, coordination="root", links=False)
    first = next(site for site in case.scenario.sites if site.gpus == max(s.gpus for s in case.scenario.sites))
    sites = [replace(first, name=site.name, region=site.region) for site in case.scenario.sites]
    return case.with_sites(sites)


def assert_order_of_sites_is_nothing(case: kit.Case, name: str, order: tuple[int, ...]) -> None:
    one = case.run(name)
    two = case.with_sites([case.scenario.sites[i] for i in order]).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    for index, old in enumerate(order):
        for flow in FLOWS:
            assert np.array_equal(one.energy[old].flows_w[flow], two.energy[index].flows_w[flow]), flow
    said = [
        [(e.time_s, e.kind, e.job, r.scenario.sites[e.site].name if e.site >= 0 else "", e.reason) for e in r.events]
        for r in (one, two)
    ]
    assert said[0] == said[1]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_order_of_sites_in_the_file_changes_nothing(name: str) -> None:
    for seed in range(1 if name == "budget-planner" else 3):
        assert_order_of_sites_is_nothing(twins(seed), name, ORDERS[seed])
        if name != "budget-planner":  # a case takes its programmes seconds
            assert_order_of_sites_is_nothing(kit.case(seed, coordination="root"), name, ORDERS[-1 - seed])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_often_the_order_of_sites_in_the_file_changes_nothing(name: str) -> None:
    for seed in range(100, 103 if name == "budget-planner" else 130):
        assert_order_of_sites_is_nothing(twins(seed), name, ORDERS[seed % 5])
        assert_order_of_sites_is_nothing(
            kit.case(seed, weak=True, faults=True, links=seed % 2 == 0), name, ORDERS[seed % 4]
        )


SINGLE = NodeType("single", 1, 0.0, 1000.0, 0.0)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"carbon-scaler", "sun-elastic"}))
def test_among_equal_sites_a_job_goes_home(name: str) -> None:
    sites = [build.site(f"s{i}", 2, SINGLE) for i in range(3)]
    jobs = [build.job("j", 0, 1, 600, home="s1", slack_s=7200.0)]
    record = build.run(jobs, build.scenario(sites), policy(name))
    assert record.scenario.sites[record.outcomes[0].site].name == "s1"


@pytest.mark.parametrize("name", ["fcfs", "fifo", "easy", "easy-sjbf", "conservative", "sjf", "edf", "las", "srtf"])
def test_jobs_of_one_second_go_in_the_order_of_the_file(name: str) -> None:
    """9 stands before 10, though "10" comes before "9" as a text."""
    jobs = [build.job("8", 0, 1, 100), build.job("9", 5, 1, 100), build.job("10", 5, 1, 100)]
    one = build.scenario([build.site(nodes=1, node=SINGLE)])
    assert build.starts(build.run(jobs, one, policy(name))) == {"8": 0.0, "9": 100.0, "10": 200.0}


def test_the_order_of_jobs_is_that_of_submission_and_then_of_the_file() -> None:
    jobs = [build.job(name, time, 1, 1) for name, time in (("b", 7.0), ("z", 3.0), ("a", 7.0), ("10", 3.0))]
    assert [job.ask.job_id for job in in_order(jobs)] == ["z", "10", "b", "a"]
