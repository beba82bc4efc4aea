"""Nodes in service over time: who leaves, who is saved, what is drawn, and what the bound knows; by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from builders.jobs import AWAKE, ends, it_j, job, outcome, run, scenario, site, starts

from tafukt.experiments.results.attribution import online_gpus
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.bound.supply import down_s
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FaultSettings, node_outages
from tafukt.simulator.record import Record
from tafukt.workloads.job import Checkpoint

HOUR = 3600.0
SAVING = Checkpoint(10.0, 120.0, 60.0)


def told(record: Record, kind: str) -> list[tuple[float, str]]:
    return [(event.time_s, event.reason) for event in record.events if event.kind == kind]


def two_nodes(*changes: tuple[float, int]):  # type: ignore[no-untyped-def]
    return scenario([site("s0", 2, AWAKE, nodes_online=changes)])


def test_a_job_that_may_stop_is_saved_when_its_node_goes_and_loses_nothing() -> None:
    """Both nodes are busy; the second goes at 2 h and is back at 3 h: b runs 2 h - 120 s, then from 3 h + 60 s on."""
    jobs = [job(name, 0.0, 8, 4 * HOUR, checkpoint=SAVING, interruptible=True) for name in ("a", "b")]
    record = run(jobs, two_nodes((2 * HOUR, 1), (3 * HOUR, 2)))
    assert told(record, "pause") == [(2 * HOUR - 120.0, "its nodes will be withdrawn")]
    assert ends(record) == {"a": 4 * HOUR, "b": 3 * HOUR + 60.0 + 4 * HOUR - (2 * HOUR - 120.0)}
    assert outcome(record, "b").kills == 0
    assert outcome(record, "b").lost_gpu_s == 0.0


def test_a_job_that_may_not_stop_is_stopped_with_its_node_and_begins_anew() -> None:
    jobs = [job(name, 0.0, 8, 4 * HOUR, interruptible=False) for name in ("a", "b")]
    record = run(jobs, two_nodes((2 * HOUR, 1), (3 * HOUR, 2)))
    assert told(record, "kill") == [(2 * HOUR, "its nodes are withdrawn")]
    assert outcome(record, "b").lost_gpu_s == 8 * 2 * HOUR
    assert ends(record) == {"a": 4 * HOUR, "b": 7 * HOUR}


@pytest.mark.parametrize("may_stop", [True, False])
def test_a_job_that_may_not_stop_is_put_on_nodes_that_stay(may_stop: bool) -> None:
    """The fullest node with room is the one that goes at 2 h; only who can be saved there is put on it."""
    jobs = [
        job("first", 0.0, 8, HOUR, interruptible=True),
        job("there", 0.0, 4, 1.9 * HOUR, interruptible=True),
        job("asked", 1.5 * HOUR, 2, 4 * HOUR, interruptible=may_stop, checkpoint=SAVING),
    ]
    record = run(jobs, two_nodes((2 * HOUR, 1)))
    assert starts(record)["asked"] == 1.5 * HOUR
    assert outcome(record, "asked").pauses == may_stop
    assert outcome(record, "asked").kills == 0


def test_withdrawn_nodes_draw_nothing_and_nobody_starts_on_them() -> None:
    """Two idle nodes of 1 kW, one withdrawn for 3 h of 24: 48 - 3 kWh; a job of both nodes waits for both."""
    record = run([job("wide", HOUR, 16, 60.0)], two_nodes((1800.0, 1), (1800.0 + 3 * HOUR, 2)))
    assert starts(record) == {"wide": 1800.0 + 3 * HOUR}
    busy_j = 16 * AWAKE.dynamic_w * 60.0
    assert it_j(record) == pytest.approx(45.0 * 3.6e6 + busy_j, rel=1e-12)
    assert record.balance_residual < 1e-9


def test_a_node_that_breaks_while_it_is_withdrawn_stays_down_until_both_are_over() -> None:
    breaking = FaultSettings(node_mtbf_s=5 * HOUR, repair_s=3 * HOUR)
    failed_s, repaired_s = next(node_outages(breaking, 1, "s0", 0))
    middle_s = 0.5 * (failed_s + repaired_s)
    place = site("s0", 1, AWAKE, nodes_online=((failed_s - 100.0, 0), (middle_s, 1)))
    record = run([job("j", failed_s, 1, 60.0)], scenario([place]), faults=breaking)
    assert starts(record)["j"] == repaired_s


def test_the_bound_has_the_nodes_that_are_in_service_and_counts_none_twice() -> None:
    breaking = FaultSettings(node_mtbf_s=5 * HOUR, repair_s=3 * HOUR)
    failed_s, repaired_s = next(node_outages(breaking, 1, "s0", 0))
    place = site("s0", 1, AWAKE, nodes_online=((failed_s - 100.0, 0), (repaired_s - 50.0, 1)))
    assert down_s(place, repaired_s, breaking, 1)[0] == (failed_s - 100.0, repaired_s)
    # A job of 2 h on both nodes, one of which is away until 10 h: the other draws 24 h, this one 14, of 1 kW each.
    away = scenario([site("s0", 2, AWAKE, nodes_online=((0.0, 1), (10 * HOUR, 2)))])
    bound = lower_bound(away, [job("j", 0.0, 16, 2 * HOUR, slack_s=20 * HOUR)], settings=Settings())
    least_j = (24.0 + 14.0) * 3.6e6 + 16 * AWAKE.dynamic_w * 2 * HOUR
    assert bound.draw_j == pytest.approx(least_j, rel=1e-6)
    run_j = it_j(run([job("j", 0.0, 16, 2 * HOUR, slack_s=20 * HOUR)], away))
    assert bound.draw_j <= run_j * (1.0 + 1e-9)


def test_gpus_online_count_what_is_in_service() -> None:
    place = site("s0", 2, AWAKE, nodes_online=((HOUR, 0), (3 * HOUR, 2)), online_s=2 * HOUR)
    assert online_gpus(place, np.arange(6) * HOUR).tolist() == [0.0, 0.0, 0.0, 16.0, 16.0]


def test_a_policy_sees_what_is_planned() -> None:
    place = site("s0", 4, AWAKE, nodes_online=((HOUR, 1), (3 * HOUR, 3)))
    assert [place.nodes_at(t) for t in (0.0, HOUR - 1, HOUR, 3 * HOUR)] == [4, 4, 1, 3]
    assert place.least_nodes(0.0, 2 * HOUR) == 1
    assert place.least_nodes(3 * HOUR, 9 * HOUR) == 3
    assert [place.withdrawn(node, 5 * HOUR) for node in range(4)] == [
        [], [(HOUR, 3 * HOUR)], [(HOUR, 3 * HOUR)], [(HOUR, 5 * HOUR)],
    ]  # fmt: skip
