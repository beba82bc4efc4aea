"""The programme that shares hours out, what it is told of arrivals, and that its book closes."""

from __future__ import annotations

from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.engine import Engine
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.planner.budget import (
    BudgetPlanner,
    LoadRequest,
    PowerBudget,
    _edges,
    shares,
)
from tafukt.simulator.policies.planner.learning import Arrivals
from tafukt.simulator.policies.planner.plan_table import PlanTable
from tafukt.simulator.scenario import Battery, Scenario
from tafukt.workloads.job import Checkpoint, Job

H = 3600.0
EVERYWHERE = (0, 1)


def sunny(days: int = 4) -> Scenario:
    """Two sites of one node: at the first the sun shines from 8 to 12 o'clock, at the second from 12 to 16."""
    end_s, suns = days * 24 * H, [kit.sun_between(begin, begin + 4, 20e3, days) for begin in (8, 12)]
    where: Scenario = kit.scenario([kit.site(f"s{i}", end_s=end_s, pv=sun) for i, sun in enumerate(suns)], end_s=end_s)
    return where


def told(wishes: list[LoadRequest], span_h: int = 48) -> tuple[View, PlanTable, list[PowerBudget]]:
    """Shares before anything has happened."""
    settings = Settings(forecast=ForecastSettings(sun="perfect"))
    view = Engine(sunny(), [], BudgetPlanner(), 0, settings).view
    book = PlanTable(view, span_h)
    book.begin_hour()
    return view, book, shares(view, book, wishes)


def gpu_h(share: PowerBudget, intensity: float) -> Any:
    """GPUs by site and hour, on nodes that never sleep: a busy GPU adds 500 W."""
    return share.watts / (500.0 * intensity)


def test_work_is_shared_out_to_the_sites_and_hours_of_sun_and_all_of_it() -> None:
    wish = LoadRequest(EVERYWHERE, 0.0, 24 * H, 4 * 8 * H, 4.0, 1.0)
    _, _, (share,) = told([wish])
    gpus = gpu_h(share, 1.0)
    assert gpus.sum() == pytest.approx(32.0, rel=1e-3)
    assert gpus[0, 8:12] == pytest.approx(4.0, rel=1e-2)
    assert gpus[1, 12:16] == pytest.approx(4.0, rel=1e-2)


def test_windows_sites_and_gpus_are_kept() -> None:
    wishes = [
        LoadRequest((0,), 0.0, 8 * H, 8 * 5 * H, 8.0, 0.5),
        LoadRequest((0,), 2 * H, 12 * H, 8 * 4 * H, 8.0, 0.5),
        LoadRequest((1,), 30 * H, 40 * H, 2 * 3 * H, 2.0, 1.0),
    ]
    _, _, given = told(wishes)
    used = [gpu_h(share, wish.intensity) for share, wish in zip(given, wishes, strict=True)]
    for gpus, wish in zip(used, wishes, strict=True):
        assert gpus.sum() >= (1.0 - 1e-3) * wish.gpu_s / H  # where more costs nothing, a solver may give more
        assert gpus.max() <= wish.gpus + 1e-3
        assert gpus[:, : int(wish.release_s / H)].max(initial=0.0) == pytest.approx(0.0, abs=1e-3)
    assert (used[0] + used[1]).max() <= 8.0 + 1e-3
    assert used[0][:, 8:].max() == pytest.approx(0.0, abs=1e-3)


def test_what_others_have_planned_is_not_given_out_again() -> None:
    wish = LoadRequest((0,), 0.0, 24 * H, 8 * 4 * H, 8.0, 1.0)
    view, book, (alone,) = told([wish])
    assert alone.watts[0, 8:12].sum() == pytest.approx(alone.watts.sum(), rel=1e-2)
    book.earmark(np.array([0]), np.full((1, 48), 20e3), 1.0)
    (beside,) = shares(view, book, [wish, wish])[:1]
    assert beside.watts[0, 8:12].sum() < 0.9 * beside.watts.sum()


@pytest.mark.parametrize(("span_h", "of_hour"), [(72, 1), (72, 4), (30, 1), (4, 2)])
def test_slots_of_the_programme_are_whole_hours_and_cover_the_span(span_h: int, of_hour: int) -> None:
    edges = _edges(span_h * of_hour, of_hour)
    assert (edges[0], edges[-1]) == (0, span_h * of_hour)
    lengths = np.diff(edges)
    assert lengths.min() == of_hour
    assert (lengths % of_hour == 0).all()
    assert (np.diff(lengths[:-1]) >= 0).all()  # the nearer, the finer; the last may be cut off
    assert len(edges) - 1 == {72: 24, 30: 16, 4: 4}[span_h]


def test_prices_of_all_sites_at_once_are_those_of_each() -> None:
    """Batteries of different sizes and two sites without one; the sun is over before the last evening."""
    end_s, rng = 72 * H, np.random.default_rng(3)
    batteries = [Battery(10 * 3.6e6, 8e3, 6e3, 0.9, 0.8), None, Battery(4 * 3.6e6, 2e3, 9e3, 0.95, 0.9), None]
    sites = [kit.site(f"s{i}", 2, end_s=end_s, pv=kit.sun_between(8, 16, 6e3 * (i + 1), 3), battery=battery)
             for i, battery in enumerate(batteries)]  # fmt: skip
    settings = Settings(forecast=ForecastSettings(sun="perfect"))
    view = Engine(kit.scenario(sites, end_s=end_s), [], BudgetPlanner(), 0, settings).view
    book = PlanTable(view, 48)
    book.begin_hour()
    for _ in range(10):
        book._stored = rng.uniform(0.0, 10 * 3.6e6, 4).tolist()
        loads_w = rng.uniform(0.0, 9e3, (4, 48)) * (rng.uniform(size=(4, 48)) < 0.6)
        book.earmark(np.arange(4), loads_w, 1.0)
        book._refresh()
        each = book._prices.copy()
        book._stale.update(range(4))
        book.reprice()
        assert book._prices == pytest.approx(each, abs=1e-6)
        assert not book._stale
        book.earmark(np.arange(4), loads_w, -1.0)
    assert each[2].max() > 0.0


def test_arrivals_are_expected_as_they_have_come() -> None:
    arrivals = Arrivals(memory_h=1e9, least_h=2.0)
    assert arrivals.mean() is None
    for _ in range(4):
        arrivals.came(6.0, 2.0, 10.0, 1.0)
        arrivals.came(2.0, 6.0, 2.0, 0.2)
        arrivals.hour_over()
    mean = arrivals.mean()
    assert mean is not None
    assert mean.gpus == pytest.approx(8.0, rel=1e-6)
    assert (mean.run_h, mean.slack_h, mean.intensity) == pytest.approx((3.0, 8.0, 0.8))


def test_newer_hours_count_more() -> None:
    arrivals = Arrivals(memory_h=3.0, least_h=1.0)
    for work in [10.0] * 12 + [0.0] * 12:
        arrivals.came(work, 1.0, 1.0, 1.0)
        arrivals.hour_over()
    mean = arrivals.mean()
    assert mean is not None
    assert mean.gpus < 0.5


def jobs(count: int) -> list[Job]:
    checkpoint = Checkpoint(0.0, 30.0, 120.0, None)
    return [
        kit.job(f"j{i}", i * 2.5 * H, 2 + i % 3, 4 * H, estimate_s=5 * H, slack_s=(4 + i % 9) * H,
                interruptible=i % 3 > 0, checkpoint=checkpoint)
        for i in range(count)
    ]  # fmt: skip


def test_all_that_was_set_aside_is_given_back() -> None:
    """What remains in the book at the end is what is expected of those who have not come; without them nothing."""
    policy = BudgetPlanner()
    record = kit.run(jobs(16), sunny(), policy, forecast=ForecastSettings(sun="perfect"))
    assert all(outcome.state == "done" for outcome in record.outcomes)
    for first, share in policy._others:
        policy._book.earmark(share.sites, share.watts, -1.0, first)
    for index in list(policy._book.plans):
        policy._book.withdraw(index)
    assert policy._book._watts == pytest.approx(1000.0, abs=1e-6)  # an empty node that never sleeps
    assert np.abs(policy._book._gpus).max() == pytest.approx(0.0, abs=1e-9)


def test_work_that_is_expected_is_set_aside_as_far_as_the_book_goes() -> None:
    seen: list[list[LoadRequest]] = []

    class Watched(BudgetPlanner):
        def _expected(self) -> list[LoadRequest]:
            seen.append(super()._expected())
            return seen[-1]

    made = jobs(6)
    policy = Watched()
    kit.run(made, sunny(), policy, forecast=ForecastSettings(sun="perfect"))
    lots = max(seen, key=len)
    span_s = policy._book.span * H
    assert len(lots) > 5
    assert all(0.0 < lot.release_s < lot.end_s <= span_s for lot in lots)
    assert np.diff([lot.release_s for lot in lots]) == pytest.approx(3 * H)
    # So far as they have come, no more than came in the busiest of hours is expected of any other.
    busiest = max(job.ask.estimate_s * job.ask.gpus for job in made)
    assert 0.0 < lots[0].gpu_s <= 3 * busiest


def test_who_is_to_start_later_is_looked_at_every_third_hour() -> None:
    """One job that came at midnight and waits for the sun of 8 o'clock: at 7 it is to start soon."""
    seen: list[int] = []

    class Watched(BudgetPlanner):
        def _wish(self, job: JobState) -> LoadRequest:
            seen.append(self._hour)
            return super()._wish(job)

    job = kit.job("j0", 0.0, 8, 4 * H, estimate_s=4 * H, slack_s=18 * H)
    record = kit.run([job], sunny(2), Watched(), forecast=ForecastSettings(sun="perfect"))
    assert record.outcomes[0].start_s == 8 * H
    assert seen[:4] == [0, 3, 6, 7]
