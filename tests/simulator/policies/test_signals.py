"""Parts that decide by a signal, against results worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.conformance import cases
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.deferral import signals
from tafukt.simulator.policies.deferral.elastic import Elastic, Stretch, stepwise
from tafukt.simulator.policies.deferral.signals import course
from tafukt.simulator.policies.deferral.slots import (
    StartOptions,
    budget_threshold,
    lowest_slot,
    lowest_slots,
    lowest_window,
    now,
    saving_per_wait,
    threshold,
)
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.presets import defer_by, policy
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, NodeType, Scenario, Site
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, SpeedUp, Tenant, Truth

NODE = NodeType("n", 8, 0.0, 8000.0, 0.0)
HOUR_S = 3600.0
PERFECT = Settings(forecast=ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect"))


def outlook(
    *rates: list[float], left: float = 2.0, slack: float = 6.0, pause: float = inf, at: float = 0.0
) -> StartOptions:
    table = np.array([rate + [9.0] * (40 - len(rate)) for rate in rates])
    return StartOptions(at, at + slack, np.full(len(rates), left), 0, table, pause)


# --- choices, by hand -----------------------------------------------------------------------------------


def test_the_lowest_slot_knows_no_duration_and_the_lowest_window_does() -> None:
    rates = [5.0, 4.0, 1.0, 9.0, 3.0, 3.0, 8.0]
    assert lowest_slot(outlook(rates)) == (0, ((2.0, 4.0),))
    assert lowest_window(outlook(rates)) == (0, ((1.0, 3.0),))
    assert lowest_window(outlook([5.0, 4.0, 4.0, 9.0, 3.0, 3.0])) == (0, ((4.0, 6.0),))
    assert now(outlook(rates, [4.0, 4.0])) == (1, ((0.0, 2.0),))


def test_parts_of_hours_count_as_parts() -> None:
    view = outlook([4.0, 2.0, 1.0, 5.0], left=1.5, at=0.5, slack=3.0)
    assert view.costs(np.array([0.5, 1.0, 2.0]))[0] == pytest.approx([0.5 * 4 + 2, 2 + 0.5, 1 + 2.5])
    # Beside hours of the clock a start in whole hours from now is looked at: half of the hour at 2, all of that at 1.
    assert lowest_window(view) == (0, ((1.5, 3.0),))


def test_no_start_lies_after_the_latest_one_and_ties_go_to_the_earliest_then_the_first_row() -> None:
    assert lowest_window(outlook([5.0, 5.0, 5.0, 1.0, 1.0], slack=2.0)) == (0, ((2.0, 4.0),))
    assert lowest_window(outlook([5.0] * 9, [5.0] * 9)) == (0, ((0.0, 2.0),))
    assert lowest_window(outlook([5.0] * 9, [6.0, 5.0, 5.0] + [6.0] * 6)) == (0, ((0.0, 2.0),))


def test_a_threshold_takes_the_first_low_hour_of_any_site_and_else_the_latest_start() -> None:
    dips = [5.0, 5.0, 5.0, 1.0, 0.5] + [5.0] * 19
    assert threshold(outlook(dips, left=1.0), quantile=0.05) == (0, ((3.0, 4.0),))
    late = [5.0 - 0.01 * i for i in range(24)]
    assert threshold(outlook(late, slack=3.5), quantile=0.3) == (0, ((3.5, 5.5),))


def test_saving_per_wait_is_the_saving_over_waiting_and_running() -> None:
    rates = [6.0, 5.0, 4.0, 3.9, 3.9, 3.8, 1.0]
    # Saved by waiting w hours for one hour of running, per hour until the end: (6 - rate) / (w + 1).
    assert saving_per_wait(outlook(rates, left=1.0, slack=5.0)) == (0, ((2.0, 3.0),))
    assert lowest_window(outlook(rates, left=1.0, slack=5.0)) == (0, ((5.0, 6.0),))
    assert saving_per_wait(outlook([1.0, 2.0, 2.0], left=1.0, slack=2.0)) == (0, ((0.0, 1.0),))


def test_a_budget_pauses_above_the_threshold_until_the_slack_is_spent() -> None:
    rates = [1.0, 9.0, 9.0, 9.0, 1.0, 1.0] + [9.0] * 18
    spans = budget_threshold(outlook(rates, left=3.0, slack=4.0, pause=0.0), quantile=0.1)[1]
    assert spans == ((0.0, 1.0), (4.0, 6.0))
    spans = budget_threshold(outlook(rates, left=3.0, slack=2.0, pause=0.0), quantile=0.1)[1]
    assert spans == ((0.0, 1.0), (3.0, 5.0))
    # Who cannot pause runs through once begun.
    assert budget_threshold(outlook(rates, left=3.0, slack=4.0), quantile=0.1)[1] == ((0.0, 3.0),)


def test_the_lowest_slots_are_the_cheapest_hours_before_the_deadline() -> None:
    rates = [3.0, 9.0, 1.0, 9.0, 2.0, 9.0, 0.5]
    free = outlook(rates, left=2.0, slack=3.0, pause=0.0)
    assert lowest_slots(free) == (0, ((2.0, 3.0), (4.0, 5.0)))
    assert lowest_slots(replace(free, pause_h=inf)) == lowest_window(free)
    rng = np.random.default_rng(1)
    for _ in range(50):
        rate = rng.uniform(1.0, 9.0, 8).round(1).tolist()
        view = outlook(rate, left=3.0, slack=5.0, pause=0.0)
        assert view.cost_of(*lowest_slots(view)) == pytest.approx(sum(sorted(rate)[:3]))


def test_a_pause_that_costs_more_than_it_saves_is_not_planned() -> None:
    rates = [2.0, 3.0, 2.0, 9.0]
    cheap, dear = (outlook(rates, left=2.0, slack=2.0, pause=pause) for pause in (0.01, 0.6))
    assert len(lowest_slots(cheap)[1]) == 2
    assert len(lowest_slots(dear)[1]) == 1
    assert len(lowest_slots(dear, pay=False)[1]) == 2
    # What a pause costs is run for as well.
    spans = lowest_slots(cheap)[1]
    assert sum(end - begin for begin, end in spans) == pytest.approx(2.01)


# --- sun and battery ------------------------------------------------------------------------------------

BATTERY = Battery(
    10 * 3.6e6, 5000.0, 5000.0, eta_charge=0.9, eta_discharge=0.8, soc_min=0.0, soc_max=1.0, soc_start=0.0
)


def test_what_the_battery_gives_is_worth_what_it_saves_later() -> None:
    # It charges 2 kW for an hour, then the night takes more than that.
    day, night = course([2000.0, -9000.0], BATTERY, 0.0)
    assert day[:3] == pytest.approx((0.0, 2000.0, 0.9 * 0.8))
    assert night[4] == pytest.approx(1.0)


def test_what_would_be_fed_in_costs_nothing_and_neither_does_what_is_full_again_before_it_is_empty() -> None:
    full = course([9000.0, -1000.0, 9000.0, 9000.0], BATTERY, 10 * 3.6e6)
    assert full[0][:3] == (9000.0, 0.0, 0.0)
    free, _, _, more, cost, spare, hours = full[1]
    assert (free, more, cost) == (0.0, 4000.0, 0.0)
    assert spare == pytest.approx((10 * 3.6e6 - 1000.0 * HOUR_S / 0.8) * 0.8)
    assert hours == 1.0


# --- whole runs, by hand --------------------------------------------------------------------------------


def site(name: str, pv: list[float], carbon: list[float], price: list[float]) -> Site:
    """Values of every hour, the last one to the end of the third day."""
    quarters = {key: np.repeat(values, 4) for key, values in (("pv", pv), ("carbon", carbon), ("price", price))}
    made: Site = kit.site(name, 1, NODE, 72 * HOUR_S, step_s=900.0, region="R", **quarters)
    return made


def job(name: str = "j", **changes: Any) -> Job:
    ask = Ask(
        job_id=name,
        submit_s=0.0,
        gpus=8,
        estimate_s=2 * HOUR_S,
        slack_s=10 * HOUR_S,
        tenant=Tenant("R"),
        home="a",
        dataset=Dataset("d", 1.0, "a"),
        checkpoint=Checkpoint(1.0, 60.0, 120.0, inf),
    )
    ask = replace(ask, **changes)
    return Job(ask, Truth(ask.estimate_s * ask.gpus))


def run(jobs: list[Job], parts: Parts, *sites: Site) -> Record:
    return simulate(Scenario(sites, 72 * HOUR_S, 900.0), jobs, ListScheduler("mine", parts), settings=PERFECT)


@pytest.mark.parametrize(
    ("signal", "start_h", "place"),
    [("grid", 6.0, "b"), ("carbon", 3.0, "a"), ("price", 8.0, "a"), ("grid-carbon", 6.0, "b")],
)
def test_each_signal_finds_its_own_window(signal: str, start_h: float, place: str) -> None:
    carbon = [5e-4] * 3 + [1e-4] * 2 + [5e-4]
    price = [5e-7] * 8 + [1e-7] * 2 + [5e-7]
    here = site("a", [0.0], carbon, price)
    there = site("b", [0.0] * 6 + [9000.0] * 2 + [0.0], [5e-4], [5e-7])
    record = run([job()], Parts(when=defer_by(lowest_window, signals.SIGNALS[signal])), here, there)
    outcome = record.outcomes[0]
    assert outcome.start_s / HOUR_S == pytest.approx(start_h)
    assert record.scenario.sites[outcome.site].name == place


def test_two_jobs_do_not_both_count_on_one_sun() -> None:
    sunny = site("a", [0.0] * 3 + [8000.0] * 4 + [0.0], [1e-4], [1e-7])
    record = run([job("one"), job("two")], Parts(when=defer_by(lowest_window)), sunny)
    assert sorted(outcome.start_s / HOUR_S for outcome in record.outcomes) == pytest.approx([3.0, 5.0])


def test_waiting_with_pauses_runs_in_the_low_hours_and_says_so() -> None:
    carbon = [5e-4, 5e-4, 1e-4, 5e-4, 5e-4, 1e-4, 5e-4]
    record = run([job()], policy("wait-awhile").parts, site("a", [0.0], carbon, [1e-7]))
    kinds = [(event.kind, round(event.time_s / HOUR_S, 2)) for event in record.events if event.kind != "submit"]
    assert kinds[:5] == [("hold", 0.0), ("start", 2.0), ("pause", 3.0), ("hold", 3.02), ("start", 5.0)]
    pause = next(event for event in record.events if event.kind == "pause")
    assert pause.reason == "lowest-slots"
    assert pause.detail["until_s"] == 5 * HOUR_S
    assert pause.detail["left_h"] == pytest.approx(1.0)
    assert record.outcomes[0].state == "done"


def test_a_hold_is_told_once() -> None:
    case = cases()[1]
    for name in ("sun-window", "wait-for-sun"):
        events = simulate(case.scenario, case.jobs, policy(name), settings=case.settings).events
        holds = [
            (event.job, event.site, event.reason, event.detail["until_s"]) for event in events if event.kind == "hold"
        ]
        assert holds
        assert len(holds) == len(set(holds))


# --- elastic --------------------------------------------------------------------------------------------

CURVE = SpeedUp((1, 2, 4), (1.0, 1.8, 3.0))


def elastic_ask(**changes: Any) -> Ask:
    base = {"gpus": 2, "elasticity": "malleable", "gpus_min": 1, "gpus_max": 4, "speedup": CURVE}
    return job(**(base | changes)).ask


def test_the_greedy_schedule_is_the_best_of_all_for_a_concave_curve() -> None:
    ask = elastic_ask()
    rng = np.random.default_rng(3)
    for _ in range(15):
        rate = rng.uniform(1.0, 9.0, 4).tolist()
        view = StartOptions(0.0, 2.0, np.array([2.0]), 0, np.array([[*rate, 99.0]]), 0.0)
        cost, schedule = stepwise(ask, view, 0, np.full(50, 8.0))
        done = sum((s.end_h - s.begin_h) * ask.rate(s.gpus) / 2 for s in schedule)
        assert done >= 2.0 - 1e-9
        # No choice of sizes that does as much work costs less.
        for sizes in product((0, 1, 2, 4), repeat=4):
            work = sum(ask.rate(n) / 2 for n in sizes if n)
            if work >= done - 1e-9:
                assert sum(n / 2 * r for n, r in zip(sizes, rate, strict=True)) >= cost - 1e-9


def test_more_gpus_are_taken_in_the_low_hours_within_the_room() -> None:
    view = StartOptions(0.0, 4.0, np.array([2.0]), 0, np.array([[9.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0]]), 0.0)
    _, schedule = stepwise(elastic_ask(), view, 0, np.full(50, 8.0))
    assert Stretch(1.0, 2.0, 4) in schedule
    _, schedule = stepwise(elastic_ask(), view, 0, np.full(50, 2.0))
    assert max(stretch.gpus for stretch in schedule) == 2
    assert stepwise(elastic_ask(), view, 0, np.full(50, 0.0)) == (inf, ())


def test_an_elastic_job_is_resized_along_its_schedule() -> None:
    asked = elastic_ask(estimate_s=3 * HOUR_S, slack_s=4 * HOUR_S)
    mine = Job(asked, Truth(asked.estimate_s * asked.gpus))
    carbon = [5e-4, 5e-4, 1e-5, 5e-4, 5e-4, 5e-4, 5e-4, 5e-4]
    record = run([mine], Parts(size=Elastic(signals.carbon)), site("a", [0.0], carbon, [1e-7]))
    outcome = record.outcomes[0]
    assert outcome.state == "done"
    assert outcome.resizes >= 1
    assert outcome.end_s <= asked.deadline_s + 600.0
    busiest = record.occupancy.start_s[np.argmax(record.occupancy.gpus)]
    assert busiest / HOUR_S == pytest.approx(2.0, abs=0.1)
    resize = next(event for event in record.events if event.kind == "resize")
    assert {"from_gpus", "gpus", "left_h", "emissions_kg"} <= resize.detail.keys()


def test_a_moldable_job_takes_one_size_and_keeps_it() -> None:
    asked = elastic_ask(elasticity="moldable", slack_s=4 * HOUR_S)
    carbon = [5e-4, 5e-4, 1e-5, 5e-4, 5e-4, 5e-4, 5e-4, 5e-4]
    record = run(
        [Job(asked, Truth(asked.estimate_s * 2))], Parts(size=Elastic(signals.carbon)), site("a", [0.0], carbon, [1e-7])
    )
    assert record.outcomes[0].resizes == 0
    assert record.outcomes[0].start_s == 2 * HOUR_S
    assert set(record.occupancy.gpus.tolist()) == {4}


@pytest.mark.parametrize("name", ["sun-slots", "sun-budget", "wait-awhile"])
def test_who_is_late_is_not_paused_over_and_over(name: str) -> None:
    case = cases()[1]
    jobs = []
    for short in case.jobs[:130]:  # long jobs on crowded sites: plans cannot be kept
        longer = replace(short.ask, estimate_s=6 * short.ask.estimate_s, slack_s=12 * HOUR_S, interruptible=True)
        jobs.append(Job(longer, Truth(6 * short.truth.work_gpu_s)))
    record = simulate(case.scenario, jobs, policy(name), settings=case.settings)
    assert any(outcome.end_s > job.ask.deadline_s for job, outcome in zip(record.jobs, record.outcomes, strict=True))
    pauses = [event for event in record.events if event.kind == "pause"]
    assert pauses
    assert max(outcome.pauses for outcome in record.outcomes) <= 8
    for event in pauses:  # never past the time at which it must go on
        ask = record.jobs[event.job].ask
        assert event.detail["until_s"] + ask.checkpoint.restart_s < ask.deadline_s
