"""Requests that several sites answer together, on scenarios that a page of arithmetic answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from builders.jobs import flat, run, scenario, site
from builders.jobs import job as make_job

from tafukt.experiments.results.grid_events import grid_event_metrics, grid_event_rows
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Grid, GridEvent, NodeType, Scenario, part_w
from tafukt.sites.profile import StepProfile

HOUR = 3600.0
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)  # 500 W above idle for each GPU
EVENT = GridEvent(2 * HOUR, 5 * HOUR, notice_s=2 * HOUR - 900.0, cut=0.25, shared="both")


def two_sites(event: GridEvent, sun_w: float = 0.0) -> Scenario:
    zero = flat(0.0, 86_400.0)
    grid = Grid(zero, zero, zero, events=(event,))
    sun = StepProfile(np.full(24, sun_w), HOUR)
    return scenario([replace(site("s0", 1, NODE), grid=grid), replace(site("s1", 1, NODE), grid=grid, pv=sun)])


def jobs(home: str, floors: list[float], **other: Any) -> list[Any]:
    return [make_job(f"{home}-{i}", 0.0, 1, 10 * HOUR, event_floor=f, home=home, **other) for i, f in enumerate(floors)]


def import_w(record: Record, time_s: float) -> float:
    found = 0.0
    for energy in record.energy:
        at = int(np.searchsorted(energy.edges_s, time_s, side="right")) - 1
        found += float(energy.flows_w["import_to_load"][at] + energy.flows_w["import_to_battery"][at])
    return found


def test_the_site_whose_jobs_can_bend_gives_for_both() -> None:
    """4 kW and 2 kW, of which 0.15 are 0.9 kW. Firm jobs at one site give nothing; six of 0.5 give up to 1.2 kW."""
    record = run([*jobs("s0", [0.5] * 6), *jobs("s1", [1.0] * 2)], two_sites(replace(EVENT, cut=0.15)))
    for time in (2 * HOUR + 1.0, 3.5 * HOUR, 5 * HOUR - 1.0):
        assert import_w(record, time) == pytest.approx(5100.0, rel=1e-9)
    assert {event.site for event in record.events if event.kind == "cap"} == {0}
    assert [request.target_w for request in record.requests] == pytest.approx([3100.0, 2000.0])


def test_the_account_has_one_row_for_both() -> None:
    record = run([*jobs("s0", [0.5] * 6), *jobs("s1", [1.0] * 2)], two_sites(replace(EVENT, cut=0.15)))
    (row,) = grid_event_rows(record, datetime(2025, 1, 1, tzinfo=UTC))
    assert (row["site"], row["members"], row["met"]) == ("both", "s0;s1", True)
    assert (row["baseline_kw"], row["target_kw"]) == pytest.approx((6.0, 5.1))
    assert row["asked_kwh"] == pytest.approx(2.7)
    assert row["delivered_kwh"] == pytest.approx(2.7, rel=1e-9)
    assert row["throughput_firm"] == pytest.approx(1.0)
    assert grid_event_metrics(record)["grid_events"] == 1


def test_a_share_is_what_both_take_alike_where_their_jobs_are_alike() -> None:
    """Six jobs each: 8 kW less 2 kW, and each job gives the same watt for the same loss: 1 kW a site."""
    record = run([*jobs("s0", [0.5] * 6), *jobs("s1", [0.5] * 6)], two_sites(EVENT))
    assert import_w(record, 3 * HOUR) == pytest.approx(6000.0, rel=1e-9)
    lost = [outcome.end_s - 10 * HOUR for outcome in record.outcomes]
    # 2 kW: the flat piece of all twelve gives 12 * 95 W, the steeper one 105 W each of eight, and 20 W of a ninth.
    speeds = [0.85] * 8 + [0.936 - 20.0 / 500.0 * 0.086 / 0.21] + [0.936] * 3
    assert sum(lost) == pytest.approx(sum(3 * HOUR * (1.0 - speed) for speed in speeds), rel=1e-4)


def test_work_moves_to_where_there_is_sun() -> None:
    """Sun of 4 kW at an idle node of 1 kW has room for all six; two moved for nothing are 1 kW of the 4 kW asked."""
    record = run(jobs("s0", [0.5] * 6), two_sites(EVENT, sun_w=4000.0))
    moves = [event for event in record.events if event.kind == "move"]
    assert len(moves) == 2
    assert all(event.time_s == 2 * HOUR and "sun" in event.reason for event in moves)
    assert import_w(record, 3 * HOUR) == pytest.approx(3000.0, rel=1e-9)
    assert not [event for event in record.events if event.kind == "cap"]
    assert all(outcome.end_s == 10 * HOUR for outcome in record.outcomes), "nobody has lost anything"


def test_a_power_is_that_of_the_sum() -> None:
    record = run([*jobs("s0", [0.5] * 6), *jobs("s1", [0.5] * 6)], two_sites(replace(EVENT, to_w=7000.0)))
    assert import_w(record, 3 * HOUR) == pytest.approx(7000.0, rel=1e-9)


def test_before_it_begins_a_power_is_parted_by_what_each_site_draws() -> None:
    """Of 4.8 kW a site of 4 kW gets 3.2 kW and one of 2 kW gets 1.6 kW; 9 kW would leave 1.5 kW over for each."""
    assert part_w(9000.0, 4000.0, [4000.0, 2000.0]) == 5500.0
    seen: dict[float, list[float]] = {}

    class Looks(ListScheduler):
        def round(self, view: View) -> Any:
            seen[view.now_s] = view.import_limits_w(2, 1)[:, 0].tolist()
            return super().round(view)

    event = replace(EVENT, cut=0.0, to_w=4800.0)
    run([*jobs("s0", [0.5] * 6), *jobs("s1", [0.5] * 2)], two_sites(event), Looks("looks", Parts()))
    assert seen[0.0] == [np.inf, np.inf]
    assert seen[event.notice_s] == pytest.approx([3200.0, 1600.0])
    assert sum(seen[event.start_s]) == pytest.approx(4800.0)


def test_what_nobody_can_give_is_booked_as_missed() -> None:
    """Eight firm jobs draw 6 kW, of which 3 are asked for three hours: each site keeps what it draws."""
    firm = [*jobs("s0", [1.0] * 6), *jobs("s1", [1.0] * 2)]
    record = run(firm, two_sites(replace(EVENT, cut=0.0, to_w=3000.0)))
    (row,) = grid_event_rows(record, datetime(2025, 1, 1, tzinfo=UTC))
    assert not row["met"]
    assert (row["target_kw"], row["delivered_kwh"], row["shortfall_kwh"]) == pytest.approx((3.0, 0.0, 9.0))
    assert row["floors_broken"] == 0
