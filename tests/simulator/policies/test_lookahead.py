"""What deferral and planners share of the hours to come: each against arithmetic, and no two ways apart."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.deferral.by_signal import BySignal
from tafukt.simulator.policies.deferral.signals import course, grid
from tafukt.simulator.policies.deferral.slots import StartOptions, lowest_slots, lowest_window
from tafukt.simulator.policies.deferral.window import LowestGridWindow
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.lookahead.battery_course import battery_flows, imports_kwh, stored_after
from tafukt.simulator.policies.lookahead.forecast_end import ahead_of
from tafukt.simulator.policies.lookahead.hour_table import HourTable, Promise, Span, added_w, plannable
from tafukt.simulator.policies.lookahead.windows import RunCosts, cheapest_hours, cheapest_window
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.policies.runtime_prediction import Estimate
from tafukt.simulator.scenario import Battery, NodeType
from tafukt.simulator.units import HOUR_S
from tafukt.sites.profile import StepProfile

SITES = [kit.site("s0", 2), kit.site("s1", 3)]
FORESIGHT = ForecastSettings("perfect", load="perfect")
BATTERY = Battery(40 * 3.6e6, 8000.0, 6000.0, 0.9, 0.8, soc_min=0.1, soc_max=0.9)


def promise(table: HourTable, index: int, site: int, spans: list[Span], watts: float, gpus: int) -> None:
    """A promise to a job that uses up its estimate."""
    table.book(index, Promise(site, spans, spans, watts, gpus))


def test_promises_by_parts_of_hours_and_by_whole_hours_add_up_alike() -> None:
    table = HourTable(SITES, 48)
    promise(table, 7, 1, [(2.25, 2.75), (3.5, 6.25)], 1000.0, 8)
    table.add(np.array([1, 1, 0]), np.array([4, 5, 4]), np.array([10.0, 20.0, 40.0]), 2)
    by_hour = [0.0, 0.0, 500.0, 500.0, 1010.0, 1020.0, 250.0, 0.0]
    assert (table.watts[:8, 1] - 3000.0).tolist() == by_hour
    assert table.watts[:6, 0].tolist() == [2000.0, 2000.0, 2000.0, 2000.0, 2040.0, 2000.0]
    assert table.gpus[:8, 1].tolist() == [0.0, 0.0, 4.0, 4.0, 10.0, 10.0, 2.0, 0.0]
    whole = HourTable(SITES, 48)
    whole.add(np.ones(3, dtype=np.int64), np.arange(4, 7), np.full(3, 1000.0), 8)
    spans = HourTable(SITES, 48)
    promise(spans, 1, 1, [(4.0, 7.0)], 1000.0, 8)
    assert np.array_equal(whole.watts, spans.watts)
    assert np.array_equal(whole.gpus, spans.gpus)


@pytest.mark.parametrize("node", [kit.AWAKE, kit.SLEEPY])
@pytest.mark.parametrize("gpus", [8, 16])
def test_promised_power_is_what_the_site_draws(node: NodeType, gpus: int) -> None:
    """By arithmetic, for three nodes of 1 kW idle, 100 W asleep and 500 W for each GPU that computes."""
    place = kit.site(nodes=3, node=node)
    table = HourTable([place], 24)
    empty = 100.0 if node.can_sleep else 1000.0
    assert table.watts[5, 0] == 3 * empty
    promise(table, 0, 0, [(2.0, 6.0)], added_w(node, gpus, 0.5), gpus)
    nodes = gpus // 8
    assert table.watts[5, 0] == nodes * 1000.0 + (3 - nodes) * empty + gpus * 0.5 * 500.0
    record = kit.run([kit.job("a", 0.0, gpus, 4 * HOUR_S, intensity=0.5)], kit.scenario([place]))
    energy = record.energy[0]
    running = np.searchsorted(energy.edges_s, 3 * HOUR_S, side="right") - 1
    assert table.watts[5, 0] == energy.it_w[running]


def test_gpus_are_promised_for_as_long_as_a_job_may_hold_them() -> None:
    """Power for as long as the job is expected to run; GPUs by its estimate, which it might yet need."""
    table = HourTable([kit.site(nodes=2)], 24)
    table.book(0, Promise(0, [(2.0, 4.0)], [(2.0, 6.0)], 500.0, 8))
    assert (table.watts[:7, 0] - 2000.0).tolist() == [0.0, 0.0, 500.0, 500.0, 0.0, 0.0, 0.0]
    assert table.gpus[:7, 0].tolist() == [0.0, 0.0, 8.0, 8.0, 8.0, 8.0, 0.0]
    table.withdraw(0)
    assert not table.gpus.any()


def test_nodes_that_are_not_in_service_by_plan_are_taken() -> None:
    place = replace(kit.site(nodes=3), online_s=2 * HOUR_S, nodes_online=((4.5 * HOUR_S, 1), (6 * HOUR_S, 3)))
    table = HourTable([place], 24)
    assert table.gpus[:8, 0].tolist() == [24.0, 24.0, 0.0, 0.0, 8.0, 16.0, 0.0, 0.0]
    assert table.watts[:8, 0].tolist() == [0.0, 0.0, 3000.0, 3000.0, 2000.0, 1000.0, 3000.0, 3000.0]
    assert not table.gpus[8:].any()


@pytest.mark.parametrize("name", ["wait-for-sun", "sun-window", "planner"])
def test_nodes_that_never_sleep_draw_their_idle_power_anyway(name: str) -> None:
    """4.9 kW carry an idle node of 1 kW and a job that adds 3.9; there is no need to wait for the 6 kW at noon."""
    node = replace(kit.AWAKE, loaded_w=4900.0)
    sun = np.zeros(24)
    sun[3:6], sun[12:15] = 4900.0, 6000.0
    place = replace(kit.site(node=node), pv=StepProfile(sun, HOUR_S))
    work = kit.job("j", 0.0, 8, 3 * HOUR_S, slack_s=14 * HOUR_S)
    record = kit.run([work], kit.scenario([place]), policy(name), forecast=FORESIGHT)
    assert record.outcomes[0].start_s == 3 * HOUR_S


@pytest.mark.parametrize("name", ["wait-for-sun", "sun-window", "planner"])
def test_nobody_plans_on_nodes_that_are_away_by_plan(name: str) -> None:
    """The sun is best from 10 to 13, while one of two nodes is away; a gang of both takes the next best hours."""
    sun = np.zeros(24)
    sun[10:13], sun[15:18] = 20_000.0, 9000.0
    away = ((9 * HOUR_S, 1), (14 * HOUR_S, 2))
    place = replace(kit.site(nodes=2), pv=StepProfile(sun, HOUR_S), nodes_online=away)
    work = kit.job("j", 0.0, 16, 3 * HOUR_S, slack_s=18 * HOUR_S, interruptible=False)
    record = kit.run([work], kit.scenario([place]), policy(name), forecast=FORESIGHT)
    assert record.outcomes[0].start_s == 15 * HOUR_S


def test_a_promise_is_replaced_and_taken_back_whole() -> None:
    table = HourTable(SITES, 24)
    promise(table, 3, 0, [(1.5, 4.0)], 500.0, 4)
    promise(table, 3, 1, [(2.0, 3.0)], 500.0, 4)
    assert (table.watts[:, 0] == 2000.0).all()
    assert table.booked(3) == Promise(1, [(2.0, 3.0)], [(2.0, 3.0)], 500.0, 4)
    table.withdraw(3)
    table.withdraw(3)
    assert (table.watts == [2000.0, 3000.0]).all()
    assert not table.gpus.any()
    assert table.booked(3) is None
    assert table.changes == [2, 2]


def test_a_promise_past_the_end_of_the_table_is_cut_there() -> None:
    table = HourTable(SITES, 24)
    hours = len(table.watts)
    promise(table, 0, 0, [(hours - 3.0, hours + 50.0), (hours + 60.0, hours + 70.0)], 100.0, 1)
    assert table.watts[-4:, 0].tolist() == [2000.0, 2100.0, 2100.0, 2000.0]


@pytest.mark.parametrize(("gpus", "spare", "left"), [(8, 0.1, 36.0), (38, 0.1, 38.0), (50, 0.1, 40.0), (8, 0.0, 40.0)])
def test_what_is_left_to_others_a_gang_of_nearly_a_site_need_not_leave(gpus: int, spare: float, left: float) -> None:
    assert plannable(np.array([40.0]), gpus, spare).tolist() == pytest.approx([left])


def test_past_its_end_a_forecast_repeats_its_last_day() -> None:
    values = np.arange(60.0)[None, :] * np.array([[1.0], [2.0]])
    ahead = ahead_of(values, 100, first=10)
    assert ahead[0, :50].tolist() == list(range(10, 60))
    assert ahead[0, 50:74].tolist() == list(range(36, 60))
    assert ahead[1, 74:].tolist() == [2.0 * v for v in (*range(36, 60), 36, 37)]
    assert np.array_equal(ahead, ahead_of(values, 110)[:, 10:])
    assert ahead_of(values[:, :5], 8)[0].tolist() == [
        0.0,
        1.0,
        2.0,
        3.0,
        4.0,
        0.0,
        0.0,
        0.0,
    ]  # less than a day is known


@pytest.mark.parametrize("left_h", [0.05, 1.0, 2.7, 11.25])
@pytest.mark.parametrize("begin_h", [0.0, 3.4, 4.999])
def test_a_run_costs_the_same_however_it_is_looked_up(begin_h: float, left_h: float) -> None:
    rate = np.random.default_rng(3).uniform(0.0, 5.0, (40, 4))
    starts = begin_h + np.arange(15)
    sums, edges = RunCosts(rate), np.arange(41.0)
    overlap = np.minimum(edges[None, 1:], starts[:, None] + left_h) - np.maximum(edges[None, :-1], starts[:, None])
    added_up = np.maximum(overlap, 0.0) @ rate
    assert sums.every_hour(begin_h, 15, left_h) == pytest.approx(added_up, abs=1e-9)
    assert sums.until(starts[:, None] + left_h) - sums.until(starts[:, None]) == pytest.approx(added_up, abs=1e-9)
    options = StartOptions(begin_h, begin_h + 14, np.full(4, left_h), 0, rate.T, np.inf)
    assert pytest.approx(added_up, abs=1e-9) == options.costs(starts).T
    assert options.cost_of(2, ((begin_h, begin_h + left_h),)) == pytest.approx(added_up[0, 2])


def test_the_cheapest_window_of_deferral_and_planner_is_one() -> None:
    rng = np.random.default_rng(8)
    for run in (1, 3, 7):
        rate = rng.uniform(0.0, 5.0, (3, 40))
        options = StartOptions(0.0, 40.0 - run, np.full(3, float(run)), 0, rate, np.inf)
        row, ((start, _),) = lowest_window(options)
        hour, site, cost = cheapest_window(rate, np.ones(run))
        assert (hour, site) == (start, row)
        known = np.vstack((rate.T, np.zeros(3)))
        assert cost == pytest.approx(RunCosts(known).every_hour(0, 41 - run, run).min())


def test_the_cheapest_hours_of_deferral_and_planner_are_the_same() -> None:
    """Where stopping is free and a job is sure to run on, a table of all choices finds what sorting the hours does."""
    rng = np.random.default_rng(9)
    for run in (1, 4, 9):
        rate = rng.uniform(0.0, 5.0, (1, 30))
        options = StartOptions(0.0, 30.0 - run, np.array([float(run)]), 0, rate, 0.0)
        _, spans = lowest_slots(options, pay=False)
        hours, rows, cost = cheapest_hours(rate, np.ones(run), np.ones(run), np.zeros(1), -1)
        assert hours.tolist() == [h for begin, end in spans for h in range(round(begin), round(end))]
        assert not rows.any()
        assert cost == pytest.approx(options.cost_of(0, spans))


def test_a_battery_walked_for_one_course_and_for_many_is_the_same() -> None:
    rng = np.random.default_rng(4)
    net = rng.uniform(-9000.0, 12_000.0, (6, 50))
    many = imports_kwh(net, BATTERY, 5 * 3.6e6)
    for row, found in zip(net, many, strict=True):
        charged, given, after = battery_flows(row.tolist(), BATTERY, 5 * 3.6e6)
        drawn = np.maximum(-row, 0.0).sum() - sum(given)
        assert found == pytest.approx((drawn - after[-1] * 0.8) / 1e3)
        change = np.array(charged) * 0.9 - np.array(given) / 0.8
        assert after == pytest.approx(5000.0 + np.cumsum(change))
        assert min(after) >= -1e-9
        assert max(after) <= 32_000.0 + 1e-9


def test_batteries_of_several_sites_walked_together_hold_what_each_holds_alone() -> None:
    rng = np.random.default_rng(5)
    batteries = [BATTERY, None, replace(BATTERY, capacity_j=9 * 3.6e6, eta_discharge=0.95), BATTERY]
    stored_j = [5 * 3.6e6, 0.0, 0.0, 40 * 3.6e6]  # the last is told of more than its window holds
    net = rng.uniform(-9000.0, 12_000.0, (4, 60))
    for slot_s in (HOUR_S, HOUR_S / 4):
        before, after = stored_after(net, batteries, stored_j, slot_s)
        for site, battery in enumerate(batteries):
            alone = battery_flows(net[site].tolist(), battery, stored_j[site], slot_s)[2] if battery else [0.0] * 60
            assert after[site] == pytest.approx(alone, abs=1e-8)
        assert np.array_equal(before[:, 1:], after[:, :-1])
        assert before[:, 0] == pytest.approx([5000.0 * HOUR_S / slot_s, 0.0, 0.0, 32_000.0 * HOUR_S / slot_s])


def test_a_battery_by_arithmetic() -> None:
    """32 kWh of window, 8 kW in at 0.9, 6 kW out at 0.8: full in the fifth hour; then 25.6 kWh come out."""
    charged, given, after = battery_flows([10_000.0] * 5 + [-4000.0] * 8, BATTERY, 0.0)
    assert charged == pytest.approx([8000.0] * 4 + [(32_000 - 28_800) / 0.9] + [0.0] * 8)
    assert after[4] == pytest.approx(32_000.0)
    assert given[5:] == pytest.approx([4000.0] * 6 + [1600.0, 0.0])
    halves = battery_flows([10_000.0] * 10, BATTERY, 0.0, HOUR_S / 2)
    assert halves[2][1] == pytest.approx(2 * after[0])  # watts times a slot of half the length
    assert course([10_000.0], BATTERY, 0.1 * 40 * 3.6e6)[0][:2] == pytest.approx((2000.0, 8000.0))


@pytest.mark.parametrize("slack_h", [0.5, 3.0, 9.0, 30.0])
def test_both_kinds_of_deferral_find_the_same_start(slack_h: float) -> None:
    """One site without a battery and one job, whose waiting costs nothing: then both measure the same."""
    end_s = 96 * HOUR_S
    sun = np.clip(np.random.default_rng(2).uniform(-4000.0, 6000.0, 96), 0.0, None)
    place = replace(kit.site(nodes=2, end_s=end_s), pv=StepProfile(sun, HOUR_S))
    work = kit.job("j", 5 * HOUR_S, 8, 2.5 * HOUR_S, slack_s=slack_h * HOUR_S)
    by_sun = partial(LowestGridWindow, 0.0, duration=Estimate())
    found = [
        kit.run([work], kit.scenario([place], end_s), ListScheduler("x", Parts(when=when)), forecast=FORESIGHT)
        for when in (by_sun, lambda: BySignal(lowest_window, grid))
    ]
    first, second = (record.outcomes[0].start_s for record in found)
    assert first == second
