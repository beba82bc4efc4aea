"""Requests of the grid on scenarios that a page of arithmetic answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders.jobs import flat, run, scenario, site
from builders.jobs import job as make_job

from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.power_caps import MEASURED, power_for, speed
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Grid, GridEvent, NodeType, Scenario
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Checkpoint

HOUR, KWH = 3600.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)  # 500 W above idle for each GPU
EVENT = GridEvent(2 * HOUR, 5 * HOUR, notice_s=2 * HOUR - 900.0, cut=0.25)


def where(*events: GridEvent, battery: Battery | None = None, node: NodeType = NODE, nodes: int = 1) -> Scenario:
    return scenario([site("s0", nodes, node, battery=battery, events=events)])


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


@pytest.mark.parametrize("respond", ["least-loss", "caps-first", "pause-first", "battery-first", "move-first"])
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


# --- from the notice to the recovery


def kinds(record: Record, kind: str) -> list[tuple[float, int, str]]:
    return [(event.time_s, event.job, event.reason) for event in record.events if event.kind == kind]


def test_the_probe_by_hand_gives_cut_throughput_and_energy() -> None:
    """Six jobs: 4000 W, a cut of 1000 W for three hours, so 3 kWh less; speeds as in `test_a_cut_by_hand`.

    What is delayed is done afterwards at full power: job i lasts 10 h + 3 h (1 - s_i), all but the time of the request
    at 500 W; the site idles at 1 kW until the last is done. To 1e-9, but for the grid of 1/1024 s on which jobs end.
    """
    record = run(jobs([0.75] * 6), where(EVENT), respond="least-loss")
    speeds = [0.85] * 4 + [0.936 - 0.02 * 0.086 / 0.21, 0.936]
    caps = [0.6] * 4 + [0.79, 0.81]
    energy = record.energy[0]
    power = energy.flows_w["import_to_load"]
    (during,) = energy.binned_j(power, np.array([2 * HOUR, 5 * HOUR]))
    assert during == pytest.approx(3 * HOUR * 3000.0, rel=1e-9)
    first, last = ({e.job: e.detail["cap"] for e in record.events if e.kind == "cap" and e.time_s == t}
                   for t in (2 * HOUR, 5 * HOUR))  # fmt: skip
    assert sorted(first.values()) == pytest.approx(caps, rel=1e-9)
    assert set(last.values()) == {1.0}
    for index, cap in first.items():
        does = speed(MEASURED, cap)
        assert min(abs(does - s) for s in speeds) < 1e-9
        assert record.outcomes[index].end_s == pytest.approx(10 * HOUR + 3 * HOUR * (1.0 - does), abs=1.5 / 1024)
    end_s = 10 * HOUR + 3 * HOUR * (1.0 - 0.85)
    hours = [10.0 + 3.0 * (1.0 - s) - 3.0 * (1.0 - c) for s, c in zip(speeds, caps, strict=True)]
    (spent,) = energy.binned_j(power, np.array([0.0, end_s]))
    assert spent == pytest.approx(1000.0 * end_s + 500.0 * HOUR * sum(hours), abs=4000.0 * 6 * 1.5 / 1024)


def test_no_job_starts_in_the_quarter_of_an_hour_before() -> None:
    """Two jobs are submitted ten minutes before: they would only have to give way, and they can wait."""
    told: dict[str, Any] = {"event_floor": 0.5, "slack_s": 8 * HOUR}
    late = [make_job(f"late{i}", 2 * HOUR - 600.0, 1, HOUR, **told) for i in range(2)]
    early = make_job("early", 2 * HOUR - 1000.0, 1, HOUR, **told)
    record = run([*jobs([0.5] * 2), early, *late], where(EVENT))
    assert record.outcomes[2].start_s == 2 * HOUR - 1000.0
    assert all(outcome.start_s >= record.outcomes[2].end_s > 2 * HOUR for outcome in record.outcomes[3:])
    assert [o.start_s for o in run([*jobs([0.5] * 2), *late], where(EVENT), respond="none").outcomes[2:]] == [
        6600.0
    ] * 2


def test_caps_are_lifted_where_a_job_that_ends_makes_room() -> None:
    """At three hours one of six ends: 3500 W without caps, so 500 W to find among five: 95 W each and 25 W more."""
    six = [*jobs([0.75] * 5), make_job("short", 0.0, 1, 2.9 * HOUR, event_floor=1.0)]
    record = run(six, where(EVENT))
    assert import_w(record, 4 * HOUR) == pytest.approx(3000.0, rel=1e-9)
    caps: dict[int, float] = {}
    for event in record.events:
        if event.kind == "cap" and event.time_s < 4 * HOUR:
            caps[event.job] = event.detail["cap"]
    assert sorted(caps.values()) == pytest.approx([0.76, *[0.81] * 4], abs=1.1e-3)
    assert "the grid's request leaves room again" in {reason for _, _, reason in kinds(record, "cap")}


def test_the_end_is_a_ramp_that_does_not_overshoot() -> None:
    """Four jobs, 3000 W; four more come during the request. Caps are lifted as the ramp allows, the others wait."""
    event = replace(EVENT, ramp_up_s=1200.0)
    more = [make_job(f"more{i}", 3 * HOUR, 1, HOUR, event_floor=0.5, slack_s=10 * HOUR) for i in range(4)]
    record = run([*jobs([0.5] * 4), *more], where(event))
    lifted = [time for time, _, _ in kinds(record, "cap") if time > 5 * HOUR]
    assert len(set(lifted)) > 3, "step by step"
    for minute in range(1, 140):
        allowed = min(2250.0 + 750.0 * minute / 20, 3000.0)
        assert import_w(record, 5 * HOUR + 60.0 * minute - 1.0) <= allowed * (1 + 1e-9)
    assert import_w(record, 5 * HOUR + 1201.0) == pytest.approx(3000.0, rel=1e-9)
    starts = [outcome.start_s for outcome in record.outcomes[4:]]
    assert starts == [5 * HOUR + 1200.0 + 2 * HOUR] * 4


def test_a_job_that_cannot_wait_starts_where_others_make_room() -> None:
    """Four jobs at 0.5 have 0.4 of 2 kW to give: 800 W, of which the request takes 750. An urgent job of 500 W waits.

    Six jobs have 1200 W to give, and the request takes 1000. With a cut of 0.1 it takes 400, and there is room.
    """
    urgent = make_job("urgent", 3 * HOUR, 1, HOUR, event_floor=1.0, slack_s=HOUR)
    kept = run([*jobs([0.5] * 4), urgent], where(EVENT))
    assert kept.outcomes[4].start_s == 5 * HOUR
    room = run([*jobs([0.5] * 6), urgent], where(replace(EVENT, cut=0.1)))
    assert room.outcomes[6].start_s == 3 * HOUR
    assert import_w(room, 3 * HOUR + 1.0) == pytest.approx(3600.0, rel=1e-9)
    patient = replace(urgent, ask=replace(urgent.ask, slack_s=4 * HOUR))
    assert run([*jobs([0.5] * 6), patient], where(replace(EVENT, cut=0.1))).outcomes[6].start_s >= 5 * HOUR


def test_whom_a_request_will_pause_has_saved_itself_by_then() -> None:
    saves = Checkpoint(1.0, 120.0, 60.0, None)
    node = replace(NODE, caps=())
    firm, bends = (make_job(f"j{f}", 0.0, 1, 10 * HOUR, event_floor=f, checkpoint=saves) for f in (1.0, 0.0))
    record = run([firm, bends], where(replace(EVENT, cut=0.2), node=node))
    assert kinds(record, "pause") == [(2 * HOUR - 120.0, 1, "the grid asks for less")]
    assert import_w(record, 2 * HOUR - 1.0) == 2000.0
    assert import_w(record, 2 * HOUR) == 1500.0


def test_caps_are_lifted_since_the_request_has_ended() -> None:
    record = run(jobs([0.75] * 6), where(EVENT))
    reasons = {reason for time, _, reason in kinds(record, "cap") if time == 5 * HOUR}
    assert reasons == {"the grid's request has ended"}


def two_sites(sun_w: float, **other: Any) -> Scenario:
    end_s = 86_400.0
    zero = flat(0.0, end_s)
    asked = replace(site("s0", 1, NODE, end_s), grid=Grid(zero, zero, zero, events=(EVENT,)))
    dark, sunny = (replace(site(name, 1, NODE, end_s), pv=flat(w, end_s)) for name, w in (("s1", 0.0), ("s2", sun_w)))
    return scenario([asked, dark, sunny], end_s, **other)


def test_move_first_goes_to_the_sun_and_starts_at_once() -> None:
    """1500 W less 375 W: one job of 500 W leaves; it saves for 40 s, restarts for 60 s, and does the rest there."""
    saves = Checkpoint(1.0, 40.0, 60.0, None)
    one = make_job("j", 0.0, 1, 10 * HOUR, event_floor=0.75, checkpoint=saves)
    record = run([one], two_sites(8000.0), respond="move-first")
    assert kinds(record, "move") == [(2 * HOUR, 0, "the grid asks for less")]
    assert (record.outcomes[0].site, record.outcomes[0].moves) == (2, 1)
    assert record.outcomes[0].end_s == pytest.approx(10 * HOUR + 100.0, abs=2 / 1024)
    assert import_w(record, 2 * HOUR + 41.0) < 1125.0


@pytest.mark.parametrize(
    "change", [{"event_floor": 1.0}, {"interruptible": False}, {"checkpoint": Checkpoint(1.0, 40.0, 3000.0, None)}]
)
def test_nobody_is_moved_who_may_not_be_or_would_fall_below_its_floor(change: dict[str, Any]) -> None:
    """A restart of 3000 s of the three hours leaves less than 0.75 of them."""
    told = {"event_floor": 0.75, "checkpoint": Checkpoint(1.0, 40.0, 60.0, None)} | change
    record = run([make_job("j", 0.0, 1, 10 * HOUR, **told)], two_sites(8000.0), respond="move-first")
    assert not kinds(record, "move")
    assert record.outcomes[0].site == 0


def test_nobody_is_moved_where_institutes_decide_alone() -> None:
    told = {"event_floor": 0.75, "checkpoint": Checkpoint(1.0, 40.0, 60.0, None)}
    where_ = two_sites(8000.0, coordination="federated")
    assert not kinds(run([make_job("j", 0.0, 1, 10 * HOUR, **told)], where_, respond="move-first"), "move")


# --- an import limit that jobs bend for


def test_jobs_bend_for_one_more_behind_the_same_connection() -> None:
    """Four jobs draw 3000 W, which is the limit; a fifth needs 500 W: 95 W each of five, and 25 W of one more.

    So four run at 0.81 and one at 0.76 of their power until the first ends; without bending the fifth waits for that.
    """
    place = where()
    limited = replace(place, sites=(replace(place.sites[0], grid=replace(place.sites[0].grid, import_limit_w=3000.0)),))
    five = [*jobs([0.5] * 4, runtime_h=4.0), make_job("fifth", HOUR, 1, 4 * HOUR, event_floor=0.5)]
    waits = run(five, limited)
    assert waits.outcomes[4].start_s == 4 * HOUR
    bends = run(five, limited, at_limit="bend")
    assert bends.outcomes[4].start_s == HOUR
    assert import_w(bends, 2 * HOUR) == pytest.approx(3000.0, rel=1e-9)
    caps = sorted({e.job: e.detail["cap"] for e in bends.events if e.kind == "cap" and e.time_s <= HOUR}.values())
    assert caps == pytest.approx([0.76, *[0.81] * 4], rel=1e-9)
    assert {reason for _, _, reason in kinds(bends, "cap")} <= {
        "the import limit",
        "the import limit leaves room again",
        "supply has recovered",
    }
    assert max(outcome.end_s for outcome in bends.outcomes) < max(outcome.end_s for outcome in waits.outcomes)


def test_firm_jobs_make_no_room_behind_a_limit() -> None:
    place = where()
    limited = replace(place, sites=(replace(place.sites[0], grid=replace(place.sites[0].grid, import_limit_w=3000.0)),))
    five = [*jobs([1.0] * 4, runtime_h=4.0), make_job("fifth", HOUR, 1, 4 * HOUR, event_floor=0.5)]
    assert run(five, limited, at_limit="bend").outcomes[4].start_s == 4 * HOUR


def with_battery(event: GridEvent, stored_kwh: float, price: float = 0.0) -> Scenario:
    """Six jobs draw 4 kW; a battery without losses holds so much, and gave nothing before since the sun was enough."""
    end_s = 86_400.0
    zero, before = flat(0.0, end_s), int((event.start_s - 900.0) // 900.0)
    steps = np.arange(96)
    sun = StepProfile(np.where(steps < before, 4000.0, 0.0), 900.0)
    none = StepProfile(np.zeros(96), 900.0)
    battery = Battery(10.0 * KWH, 5000.0, 5000.0, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=stored_kwh / 10.0)
    grid = Grid(flat(price / KWH, end_s), zero, zero, events=(event,))
    place = replace(site("s0", 1, NODE, end_s), pv=sun, overhead=none, other=none, battery=battery, grid=grid)
    return Scenario((place,), end_s, 900.0)


def test_a_battery_is_kept_at_the_notice_and_gives_evenly() -> None:
    """It holds 1.5 kWh and keeps them from the notice on; 500 W for three hours are half of what is asked.

    The other 500 W come from caps, all on the flat piece of the speed curve, which has 570 W to give.
    """
    event = replace(EVENT, to_w=3000.0)
    record = run(jobs([0.75] * 6), with_battery(event, 1.5))
    energy = record.energy[0]
    assert energy.stored_j[np.searchsorted(energy.edges_s, 2 * HOUR)] == pytest.approx(1.5 * KWH)
    for time in (2 * HOUR + 1.0, 3.5 * HOUR, 5 * HOUR - 1.0):
        assert import_w(record, time) == pytest.approx(3000.0, rel=1e-6)
        at = int(np.searchsorted(energy.edges_s, time, side="right")) - 1
        assert energy.flows_w["discharge"][at] == pytest.approx(500.0, rel=1e-6)
    assert energy.stored_j[np.searchsorted(energy.edges_s, 5 * HOUR)] == pytest.approx(0.0, abs=10.0)
    caps = [each.detail["cap"] for each in record.events if each.kind == "cap"]
    lowest = min(caps)
    assert lowest == pytest.approx(0.81, rel=1e-6)


@pytest.mark.parametrize(("penalty", "bought_kwh"), [(0.0, 0.0), (0.9, 0.0), (1.1, 1.25)])
def test_a_battery_charges_before_a_request_that_jobs_cannot_answer(penalty: float, bought_kwh: float) -> None:
    """Firm jobs leave 1 kW missing for three hours; a quarter of an hour at 5 kW stores 1.25 kWh, for 1 a kWh."""
    event = replace(EVENT, to_w=3000.0, penalty_per_j=penalty / KWH)
    record = run(jobs([1.0] * 6), with_battery(event, 0.0, price=1.0))
    energy = record.energy[0]
    bought_j = float(np.sum(energy.flows_w["import_to_battery"] * np.diff(energy.edges_s)))
    assert bought_j == pytest.approx(bought_kwh * KWH, rel=1e-9)
    assert import_w(record, 2 * HOUR + 60.0) == pytest.approx(3000.0 if bought_kwh else 4000.0)


def test_a_battery_charges_for_jobs_whose_nodes_are_waking() -> None:
    """At the notice 4 kW run and a node wakes at 1 kW; with its gang it is 9 kW, 1 kW above the request, for 3 h."""
    event = replace(EVENT, to_w=8000.0, penalty_per_j=1.1 / KWH)
    where = with_battery(event, 0.0, price=1.0)
    two = replace(where.sites[0], nodes=2, node=replace(NODE, wake_s=180.0, sleep_after_s=600.0))
    gang = make_job("gang", event.notice_s - 60.0, 8, 10 * HOUR)
    energy = run([*jobs([1.0] * 6), gang], replace(where, sites=(two,))).energy[0]
    bought_j = float(np.sum(energy.flows_w["import_to_battery"] * np.diff(energy.edges_s)))
    assert bought_j == pytest.approx(1.25 * KWH, rel=1e-6)


@pytest.mark.parametrize("slack_h", [1.0, 10.0])
@pytest.mark.parametrize(("stored_kwh", "start_h"), [(2.6, 3.0), (2.4, 3.25)])
def test_one_more_starts_where_the_battery_carries_all_to_the_end(
    slack_h: float, stored_kwh: float, start_h: float
) -> None:
    """Six firm jobs lack 500 W from 2:00 to 5:00, with a seventh it is 1 kW.

    Of S kWh there are S - 0.5 (t - 2) left at t, and 5 - t are needed: enough from 8 - 2 S on, which is 2:48 and 3:12.
    A site is asked again every quarter of an hour.
    """
    seventh = make_job("seventh", 3 * HOUR, 1, HOUR, event_floor=1.0, slack_s=slack_h * HOUR)
    record = run([*jobs([1.0] * 6), seventh], with_battery(replace(EVENT, to_w=3500.0), stored_kwh))
    assert record.outcomes[6].start_s == start_h * HOUR
    for hour in (3.1, 3.9, 4.9):
        assert import_w(record, hour * HOUR) == pytest.approx(3500.0, rel=1e-6)


@pytest.mark.parametrize(("asked_h", "starts_h"), [(0.0, (9.0, 9.0)), (1.0, (9.0, 9.0)), (3.0, (0.0, 7.5))])
def test_who_waits_for_sun_keeps_slack_once_a_request_is_known(asked_h: float, starts_h: tuple[float, float]) -> None:
    """The sun comes at 9:00. With 10 h of slack a job can wait until 10:00, and keeps 1 h of it or 2.5 h, a quarter."""
    sun = [9000.0 if hour >= 9 else 0.0 for hour in range(24)]
    asked = (GridEvent(600.0, 600.0 + asked_h * HOUR, notice_s=0.0, cut=0.25),) if asked_h else ()
    places = scenario([site("s0", 1, NODE, pv=sun), site("s1", 1, NODE, pv=sun, events=asked)])
    waits = make_job("waits", 0.0, 8, 2 * HOUR, slack_s=10 * HOUR)
    (outcome,) = run([waits], places, policy("wait-for-sun"), forecast=ForecastSettings("perfect")).outcomes
    assert starts_h[0] <= outcome.start_s / HOUR <= starts_h[1]


@pytest.mark.parametrize("respond", ["least-loss", "caps-first", "pause-first", "battery-first", "move-first"])
def test_a_job_that_adds_no_power_gives_none(respond: str) -> None:
    """Three idle jobs that may pause: 1000 W that cannot be shed, 250 W short of the request."""
    idle = [make_job(f"i{i}", 0.0, 1, 10 * HOUR, intensity=0.0, event_floor=0.0) for i in range(3)]
    record = run(idle, where(EVENT), respond=respond)
    assert import_w(record, 3 * HOUR) == 1000.0
    assert all(outcome.end_s == 10 * HOUR for outcome in record.outcomes)
