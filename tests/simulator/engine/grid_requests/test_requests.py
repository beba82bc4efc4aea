"""Requests of the grid on scenarios that a page of arithmetic answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders.jobs import flat, run, scenario, site
from builders.jobs import job as make_job

from tafukt.simulator.power_caps import MEASURED, power_for, speed
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Grid, GridEvent, NodeType, Scenario

HOUR, KWH = 3600.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)  # 500 W above idle for each GPU
EVENT = GridEvent(2 * HOUR, 5 * HOUR, notice_s=2 * HOUR - 900.0, cut=0.25)


def where(*events: GridEvent, battery: Battery | None = None, node: NodeType = NODE, nodes: int = 1) -> Scenario:
    end_s = 86_400.0
    zero = flat(0.0, end_s)
    grid = Grid(zero, zero, zero, events=events)
    return scenario([replace(site("s0", nodes, node, end_s), battery=battery, grid=grid)])


def jobs(floors: Any, runtime_h: float = 10.0) -> list[Any]:
    return [make_job(f"j{i}", 0.0, 1, runtime_h * HOUR, event_floor=floor) for i, floor in enumerate(floors)]


def import_w(record: Record, time_s: float) -> float:
    energy = record.energy[0]
    at = int(np.searchsorted(energy.edges_s, time_s, side="right")) - 1
    return float(energy.flows_w["import_to_load"][at] + energy.flows_w["import_to_battery"][at])


def test_a_cut_by_hand() -> None:
    """Six jobs of one GPU: 1000 + 6 * 500 = 4000 W. A quarter less is 3000 W: 1000 W to find for three hours.

    The flat piece of the speed curve gives 0.19 * 500 = 95 W a job, 570 W in all; the steeper one 0.21 * 500 = 105 W:
    four jobs give it whole, 420 W, and the fifth the 10 W that are left.
    """
    record = run(jobs([0.75] * 6), where(EVENT), respond="least-loss")
    (request,) = record.requests
    assert (request.baseline_w, request.target_w) == (4000.0, 3000.0)
    assert import_w(record, 2 * HOUR - 1.0) == 4000.0
    for time in (2 * HOUR, 3.5 * HOUR, 5 * HOUR - 1.0):
        assert import_w(record, time) == pytest.approx(3000.0, rel=1e-12)
    assert import_w(record, 5 * HOUR) == 4000.0
    caps = sorted(event.detail["cap"] for event in record.events if event.kind == "cap" and event.time_s == 2 * HOUR)
    assert caps == pytest.approx([0.6] * 4 + [0.81 - 10.0 / 500.0, 0.81], rel=1e-12)
    # Each job does three hours of work at its own speed, and is late by what is missing.
    speeds = [0.85] * 4 + [0.936 - 0.02 * 0.086 / 0.21, 0.936]
    ends = sorted(outcome.end_s for outcome in record.outcomes)
    assert ends == pytest.approx(sorted(10 * HOUR + 3 * HOUR * (1.0 - s) for s in speeds), abs=2.0 / 1024.0)


def test_firm_jobs_are_not_touched_and_the_shortfall_shows() -> None:
    record = run(jobs([1.0] * 6), where(EVENT))
    assert import_w(record, 3 * HOUR) == 4000.0
    assert not [event for event in record.events if event.kind in ("cap", "pause", "kill")]
    assert all(outcome.end_s == 10 * HOUR for outcome in record.outcomes)
    assert record.energy[0].flow_j("unserved") == 0.0


@pytest.mark.parametrize("respond", ["least-loss", "caps-first", "pause-first", "battery-first"])
def test_every_answer_keeps_request_and_floors(respond: str) -> None:
    floors = [1.0, 0.9, 0.9, 0.75, 0.5, 0.0]
    record = run(jobs(floors), where(EVENT), respond=respond)
    grid = np.arange(2 * HOUR + 60.0, 5 * HOUR, 60.0)
    assert max(import_w(record, float(time)) for time in grid) <= 3000.0 * (1 + 1e-9)
    for event in record.events:
        if event.kind == "cap":
            assert speed(MEASURED, event.detail["cap"]) >= floors[event.job] - 1e-9
        if event.kind == "pause":
            assert floors[event.job] == 0.0
    assert all(outcome.state == "done" for outcome in record.outcomes)
    assert not [event for event in record.events if event.kind == "kill"]


def test_pause_first_pauses_and_caps_first_caps() -> None:
    floors = [0.0] * 6
    paused = run(jobs(floors), where(EVENT), respond="pause-first")
    capped = run(jobs(floors), where(EVENT), respond="caps-first")
    assert sum(outcome.pauses for outcome in paused.outcomes) == 2  # 2 * 500 W
    assert sum(outcome.pauses for outcome in capped.outcomes) == 0
    levels = {
        round(event.detail["cap"], 6) for event in capped.events if event.kind == "cap" and event.time_s < 3 * HOUR
    }
    assert len(levels) == 1
    assert levels.pop() == pytest.approx(1.0 - 1000.0 / 3000.0, abs=1e-3)


def test_a_ramp_is_followed_minute_by_minute() -> None:
    event = replace(EVENT, ramp_down_s=600.0, ramp_up_s=1200.0)
    record = run(jobs([0.5] * 6), where(event))
    for minute in range(1, 11):
        allowed = 4000.0 - 1000.0 * minute / 10
        assert import_w(record, 2 * HOUR + 60.0 * minute + 1.0) <= allowed * (1 + 1e-9)
    for minute in range(20):
        assert import_w(record, 5 * HOUR + 60.0 * minute + 1.0) <= 3000.0 + 1000.0 * minute / 20 + 1e-6
    assert import_w(record, 5 * HOUR + 1201.0) == pytest.approx(4000.0, rel=1e-12)


def test_a_request_to_a_power_and_a_baseline_of_days() -> None:
    to = run(jobs([0.5] * 6), where(replace(EVENT, to_w=3500.0)))
    assert import_w(to, 3 * HOUR) == pytest.approx(3500.0, rel=1e-12)
    # 26 h to 27 h; a day before, the same hour, one job of ten hours ran: 1500 W
    days = GridEvent(26 * HOUR, 27 * HOUR, 25 * HOUR, cut=0.5, baseline="days")
    end_s = 172_800.0
    zero = flat(0.0, end_s)
    place = replace(site("s0", 1, NODE, end_s), grid=Grid(zero, zero, zero, events=(days,)))
    record = run(jobs([1.0]), scenario([place], end_s))
    assert record.requests[0].baseline_w == pytest.approx(1500.0)


def test_the_battery_carries_what_it_can() -> None:
    """A battery with 1.5 kWh at 1000 W: it covers the gap for an hour and a half; only then are jobs capped."""
    battery = Battery(1.5 * KWH, 5000.0, 5000.0, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=1.0)
    # kept full until the request: the sun covers the load to the watt before
    end_s = 86_400.0
    sun = flat(0.0, end_s)
    sun = type(sun)(np.where(np.arange(24) < 2, 4000.0, 0.0), HOUR)
    zero = flat(0.0, end_s)
    event = replace(EVENT, to_w=3000.0)
    place = replace(site("s0", 1, NODE, end_s), pv=sun, battery=battery, grid=Grid(zero, zero, zero, events=(event,)))
    record = run(jobs([0.5] * 6), scenario([place], end_s), respond="battery-first")
    caps = [event.time_s for event in record.events if event.kind == "cap" and event.detail["cap"] < 1.0]
    assert min(caps) > 2 * HOUR
    grid = np.arange(2 * HOUR, 5 * HOUR, 60.0)
    assert max(import_w(record, float(time)) for time in grid) <= 3000.0 * (1 + 1e-9)


def test_policies_learn_of_a_request_at_its_notice() -> None:
    seen: list[tuple[float, int]] = []

    class Looks:
        name = "looks"

        def begin(self, view: Any) -> None:
            assert all(place.spec.grid.events == () for place in view.sites)

        def waiting(self, job: Any) -> None: ...

        def freed(self, job: Any, site: int) -> None: ...

        def round(self, view: Any) -> Any:
            from tafukt.simulator.engine.actions import Start

            seen.append((view.now_s, len(view.sites[0].requests)))
            for job in list(view.waiting.values()):
                if view.fitting(job, [0], job.ask.gpus):
                    yield Start(job, 0)

    run(jobs([0.5]), where(EVENT), policy=Looks())
    assert all(count == 0 for time, count in seen if time < EVENT.notice_s)
    assert (EVENT.notice_s, 1) in seen
    assert seen[-1][1] == 0


def test_the_cap_for_a_speed_is_the_inverse_of_the_speed_under_a_cap() -> None:
    for share in np.linspace(0.85, 1.0, 50):
        assert speed(MEASURED, power_for(MEASURED, float(share))) == pytest.approx(float(share), rel=1e-12)
    assert power_for(MEASURED, 0.1) == 0.6
    assert power_for((), 0.1) == 1.0
