"""Laws that hold whatever the sites, the jobs and the policy; the invariants are checked by every run of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import builders.cases as kit
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tafukt.experiments.runs.selftest import attribution_gap, gpu_gap
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.engine.actions import Wake
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.record import FLOWS, Record
from tafukt.simulator.scenario import PeakShaving, Site
from tafukt.sites.profile import StepProfile

WEEK = 7 * kit.DAY
FORESIGHT = ForecastSettings(sun="perfect", load="perfect", carbon="perfect", price="perfect")
SEEDS = st.integers(0, 1_000_000)
NAMES = st.sampled_from(sorted(PRESETS))
# One programme for all sites, solved to a tolerance, is not solved alike with one site more, or with all power twice.
APART = st.sampled_from(sorted(set(PRESETS) - {"budget-planner"}))
WEEKLY = st.sampled_from(sorted(set(PRESETS) - {"f1"}))
# Presets that look at no energy: their schedule does not depend on the sun, nor on how often they are asked.
BLIND = st.sampled_from(["fifo", "easy", "fcfs", "sjf", "edf", "srtf"])


def examples(few: int, many: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A law as two tests: `few` examples always, `many` among the slow ones; the same ones on every machine."""

    def both(law: Callable[..., None]) -> Callable[..., None]:
        frame = sys._getframe(1).f_globals
        name = law.__name__.removeprefix("law_")
        for count, prefix, marks in ((few, "test_", []), (many, "test_often_", [pytest.mark.slow])):
            quiet = settings(
                max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
                phases=(Phase.generate,),  # a seed does not shrink
            )  # fmt: skip

            def test(*args: Any, **kwargs: Any) -> None:
                law(*args, **kwargs)

            test.__name__ = test.__qualname__ = prefix + name
            test.__doc__ = law.__doc__
            wrapped = quiet(law.given(test))  # type: ignore[attr-defined]
            for mark in marks:
                wrapped = mark(wrapped)
            frame[prefix + name] = wrapped
        return law

    return both


def over(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What a law is to be tried on."""

    def remember(law: Callable[..., None]) -> Callable[..., None]:
        law.given = given(**strategies)  # type: ignore[attr-defined]
        return law

    return remember


# --- what every run must keep ---------------------------------------------------------------------------


@examples(25, 1500)
@over(seed=SEEDS, name=NAMES, weak=st.booleans(), faults=st.booleans(), links=st.booleans())
def law_books_and_lives_are_whole(seed: int, name: str, weak: bool, faults: bool, links: bool) -> None:
    """The engine's own checks pass, and so do these, which take another way to the same numbers."""
    case = kit.case(seed, weak=weak, faults=faults, links=links)
    record = case.run(name)
    assert record.balance_residual < 1e-9
    assert attribution_gap(record) < 1e-9
    assert gpu_gap(record) < 1e-9
    assert len(record.outcomes) == len(case.jobs)
    ended = [event for event in record.events if event.kind in ("end", "reject")]
    assert len({event.job for event in ended}) == len(ended), "nobody ends twice"
    for index, outcome in enumerate(record.outcomes):
        assert (outcome.state == "left") == (index not in {event.job for event in ended})
    for index, site in enumerate(case.scenario.sites):
        assert_exact_between_events(record, index, site)


def assert_exact_between_events(record: Record, index: int, site: Site) -> None:
    """IT power at sampled instants, from who held what at that instant, is that of the ledger."""
    energy, occupancy = record.energy[index], record.occupancy
    mine = occupancy.site == index
    for time in np.random.default_rng(7).uniform(0.0, record.scenario.end_s, 20):
        here = mine & (occupancy.start_s <= time) & (time < occupancy.end_s)
        it_w = float(energy.it_w[np.searchsorted(energy.edges_s, time, side="right") - 1])
        jobs_w, busy = float(occupancy.power_w[here].sum()), int(occupancy.gpus[here].sum())
        rest = it_w - jobs_w
        assert rest > -1e-6
        assert rest <= (site.gpus - busy) * site.node.idle_w / site.node.gpus + 1e-6


@examples(6, 150)
@over(seed=SEEDS, name=NAMES, weak=st.booleans())
def law_nobody_draws_less_than_the_bound(seed: int, name: str, weak: bool) -> None:
    case = kit.case(seed, sites=2, jobs=8, days=4.0, weak=weak)
    record = case.run(name)
    assume(all(outcome.state != "left" for outcome in record.outcomes))
    ends = [outcome.end_s for outcome in record.outcomes]
    given_up = [
        outcome.state == "rejected" or (outcome.state == "failed" and job.truth.ending != "failed")
        for outcome, job in zip(record.outcomes, record.jobs, strict=True)
    ]
    bound = lower_bound(
        case.scenario, record.jobs, deadlines_s=ends, skip=given_up, settings=case.settings, seed=case.seed
    )
    drawn = sum(kit.draw_j(record, index) for index in range(len(case.scenario.sites)))
    assert bound.draw_j <= drawn * (1 + 1e-9) + 1e-3


# --- nothing depends on how the input is written down ------------------------------------------------


@examples(8, 300)
@over(seed=SEEDS, name=NAMES, order=st.randoms(use_true_random=False))
def law_order_of_jobs_in_the_input_changes_nothing(seed: int, name: str, order: Any) -> None:
    case = kit.case(seed, weak=seed % 2 == 0, faults=seed % 3 == 0)
    shuffled = list(case.jobs)
    order.shuffle(shuffled)
    one, two = case.run(name), replace(case, jobs=tuple(shuffled)).run(name)
    assert_same(one, two)
    assert one.events == two.events


@examples(8, 300)
@over(seed=SEEDS, name=APART, order=st.permutations(range(3)))
def law_order_of_independent_sites_in_the_input_changes_nothing(seed: int, name: str, order: list[int]) -> None:
    """Ties between sites go by their order in the input, a written rule; where none can arise order is nothing."""
    case = kit.case(seed, coordination="regional", weak=seed % 2 == 0, faults=seed % 3 == 0)
    one = case.run(name)
    two = case.with_sites([case.scenario.sites[i] for i in order]).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    for index, old in enumerate(order):
        assert_same_energy(one, old, two, index)


@examples(8, 300)
@over(seed=SEEDS, name=APART)
def law_under_regional_a_site_without_jobs_changes_no_other(seed: int, name: str) -> None:
    case = kit.case(seed, coordination="regional", weak=seed % 2 == 0, faults=seed % 3 == 0)
    empty = replace(case.scenario.sites[1], name="empty", region="elsewhere")
    one, two = case.run(name), case.with_sites([*case.scenario.sites, empty]).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    assert_close(one, replace(two, energy=two.energy[:3]))  # further rounds cut time, and change nothing


def assert_same(one: Record, two: Record) -> None:
    assert kit.lives_of(one) == kit.lives_of(two)
    for index in range(len(one.energy)):
        assert_same_energy(one, index, two, index)


def assert_same_energy(one: Record, i: int, two: Record, j: int) -> None:
    assert np.array_equal(one.energy[i].edges_s, two.energy[j].edges_s)
    assert np.array_equal(one.energy[i].stored_j, two.energy[j].stored_j)
    for flow in FLOWS:
        assert np.array_equal(one.energy[i].flows_w[flow], two.energy[j].flows_w[flow]), flow


# --- how time is cut ------------------------------------------------------------------------------------


@examples(8, 300)
@over(seed=SEEDS, name=BLIND, parts=st.sampled_from([2, 3, 10]))
def law_finer_steps_change_nothing(seed: int, name: str, parts: int) -> None:
    """Under a policy that is blind to energy; one that looks at the sun may look at each step."""
    case = kit.case(seed)
    finer = replace(
        case.scenario,
        step_s=case.scenario.step_s / parts,
        sites=tuple(refined(site, parts) for site in case.scenario.sites),
    )
    one, two = case.run(name), replace(case, scenario=finer).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    assert_close(one, two)


@examples(8, 300)
@over(seed=SEEDS, name=BLIND, weak=st.booleans(), cuts=st.lists(st.floats(0.0, 3 * kit.DAY - 1.0), max_size=30))
def law_cutting_intervals_changes_nothing(seed: int, name: str, weak: bool, cuts: list[float]) -> None:
    """Rounds in which nothing is to do, and books settled in between."""
    case = kit.case(seed, weak=weak)
    one = case.run(name)
    restless = Restless(policy(name), cuts)
    two = simulate(case.scenario, case.jobs, restless, seed=case.seed, settings=case.settings)
    assert all(cut <= restless.asked_s for cut in restless.cuts), "every cut after its first round was made"
    assert kit.lives_of(one) == kit.lives_of(two)
    assert_close(one, two)


class Restless:
    """A policy that is woken at further times, and has all books settled then."""

    def __init__(self, inner: Any, cuts: list[float]) -> None:
        self.inner, self.name = inner, inner.name
        self.begin, self.waiting, self.freed = inner.begin, inner.waiting, inner.freed
        self.cuts, self.asked_s = {math.ceil(cut * 1024) / 1024 for cut in cuts}, math.inf

    def round(self, view: Any) -> Iterator[Any]:
        if self.asked_s == math.inf:
            self.asked_s = view.now_s
            for time in self.cuts:
                yield Wake(time)
        if view.now_s in self.cuts:
            self.cuts.discard(view.now_s)
            for site in view.sites:
                assert site.stored_j >= 0.0  # looking brings its books up to now
        yield from self.inner.round(view)


def assert_close(one: Record, two: Record, factor: float = 1.0) -> None:
    for first, second in zip(one.energy, two.energy, strict=True):
        scale = factor * max(first.total_j(first.site_w), first.total_j(first.pv_w), 1.0)
        for flow in FLOWS:
            assert abs(second.flow_j(flow) - factor * first.flow_j(flow)) <= 1e-9 * scale, flow
        assert abs(second.stored_j[-1] - factor * first.stored_j[-1]) <= 1e-9 * scale


def refined(site: Site, parts: int) -> Site:
    def finer(profile: StepProfile) -> StepProfile:
        return StepProfile(np.repeat(profile.values, parts), profile.step_s / parts)

    grid = replace(site.grid, **{name: finer(getattr(site.grid, name)) for name in ("price", "carbon", "export_price")})
    return replace(site, grid=grid, **{name: finer(getattr(site, name)) for name in ("pv", "overhead", "other")})


# --- what must grow with what ---------------------------------------------------------------------------


@examples(8, 300)
@over(seed=SEEDS, name=BLIND, more=st.floats(0.0, 3.0), share=st.floats(0.0, 1.0))
def law_more_sun_never_draws_more(seed: int, name: str, more: float, share: float) -> None:
    """Under one schedule, with batteries that serve self-consumption and do not fade."""
    case = kit.case(seed, steered=False)
    rng = np.random.default_rng(seed)
    sunnier = []
    for site in case.scenario.sites:
        lit = rng.random(len(site.pv.values)) < share
        added = more * site.node.loaded_w * lit * rng.random(len(lit))
        sunnier.append(replace(site, pv=StepProfile(site.pv.values + added, site.pv.step_s)))
    one, two = case.run(name), case.with_sites(sunnier).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    for index in range(len(sunnier)):
        assert kit.draw_j(two, index) <= kit.draw_j(one, index) * (1 + 1e-9) + 1e-3


@examples(8, 300)
@over(seed=SEEDS, name=BLIND, hotter=st.floats(0.0, 1.0), share=st.floats(0.0, 1.0))
def law_more_cooling_never_draws_less(seed: int, name: str, hotter: float, share: float) -> None:
    """Cooling never takes less when it is hotter (tested where cooling is); what follows of it for the meter."""
    case = kit.case(seed, steered=False)
    rng = np.random.default_rng(seed)
    hot = []
    for site in case.scenario.sites:
        values = site.overhead.values
        added = hotter * (rng.random(len(values)) < share)
        hot.append(replace(site, overhead=StepProfile(values + added, site.overhead.step_s)))
    one, two = case.run(name), case.with_sites(hot).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    for index in range(len(hot)):
        assert kit.draw_j(two, index) >= kit.draw_j(one, index) * (1 - 1e-9) - 1e-3
        assert two.energy[index].total_j(two.energy[index].site_w) >= one.energy[index].total_j(
            one.energy[index].site_w
        )


@examples(8, 300)
@over(seed=SEEDS, name=APART, weak=st.booleans())
def law_twice_the_power_is_twice_the_energy(seed: int, name: str, weak: bool) -> None:
    case = kit.case(seed, weak=weak)
    one, two = case.run(name), case.with_sites([doubled(site) for site in case.scenario.sites]).run(name)
    assert kit.lives_of(one) == kit.lives_of(two)
    assert_close(one, two, 2.0)


def doubled(site: Site) -> Site:
    def double(profile: StepProfile) -> StepProfile:
        return StepProfile(2.0 * profile.values, profile.step_s)

    node, battery, grid = site.node, site.battery, site.grid
    node = replace(node, idle_w=2 * node.idle_w, loaded_w=2 * node.loaded_w, sleep_w=2 * node.sleep_w)
    grid = replace(grid, import_limit_w=2 * grid.import_limit_w, export_limit_w=2 * grid.export_limit_w)
    if battery is not None:
        strategy = battery.strategy
        if isinstance(strategy, PeakShaving):
            strategy = PeakShaving(2 * strategy.peak_w)
        battery = replace(
            battery, capacity_j=2 * battery.capacity_j, charge_w=2 * battery.charge_w,
            discharge_w=2 * battery.discharge_w, strategy=strategy,
        )  # fmt: skip
    return replace(
        site, node=node, grid=grid, battery=battery, fixed_w=2 * site.fixed_w, pv=double(site.pv),
        other=double(site.other),
    )  # fmt: skip


# --- when it happens ------------------------------------------------------------------------------------


@examples(6, 200)
@over(seed=SEEDS, name=WEEKLY, weeks=st.sampled_from([1, 2]))
def law_whole_weeks_later_is_the_same(seed: int, name: str, weeks: int) -> None:
    """On a sky that repeats every week and is foreseen; each week ends in a dark day in which every battery runs empty.

    `f1` is left out: its formula reads the time of submission itself.
    """
    case = periodic(kit.case(seed, steered=False), 1 + weeks)
    shift = weeks * WEEK
    first = replace(case, scenario=replace(case.scenario, end_s=WEEK))
    later = replace(
        case,
        jobs=tuple(replace(job, ask=replace(job.ask, submit_s=job.ask.submit_s + shift)) for job in case.jobs),
    )
    one, two = first.run(name), later.run(name)
    assume(all(outcome.state != "left" for outcome in one.outcomes))
    tick = 2.0 / 1024  # a submission is put on the grid of event times after it has been shifted
    for a, b in zip(one.outcomes, two.outcomes, strict=True):
        assert (a.state, a.site, a.pauses, a.kills) == (b.state, b.site, b.pauses, b.kills)
        assert np.array_equal(np.array([a.start_s, a.end_s]) + shift, [b.start_s, b.end_s], equal_nan=True) or (
            np.abs(np.array([a.start_s, a.end_s]) + shift - [b.start_s, b.end_s]).max() <= tick
        )
    for x, y in zip(one.energy, two.energy, strict=True):
        assert y.stored_j[0] == pytest.approx(np.interp(shift, y.edges_s, y.stored_j), rel=1e-9)
        for flow in FLOWS:
            (mine,) = x.binned_j(x.flows_w[flow], np.array([0.0, WEEK]))
            (its,) = y.binned_j(y.flows_w[flow], np.array([shift, shift + WEEK]))
            assert its == pytest.approx(mine, rel=1e-6, abs=1e4), flow


@pytest.mark.filterwarnings("ignore:Using `assume`")  # where it does not hold the test fails, as it should
@pytest.mark.parametrize(
    ("law", "seed", "name", "how"),
    [
        (law_twice_the_power_is_twice_the_energy, 455, "carbon-scaler", False),
        (law_twice_the_power_is_twice_the_energy, 50, "planner", True),
        (law_twice_the_power_is_twice_the_energy, 1253, "planner", False),
        (law_whole_weeks_later_is_the_same, 63261, "carbon-scaler", 1),
        (law_whole_weeks_later_is_the_same, 1, "carbon-scaler", 2),
        (law_whole_weeks_later_is_the_same, 2343, "carbon-time", 2),
    ],
)
def test_where_rounding_or_a_unit_once_chose(law: Callable[..., None], seed: int, name: str, how: Any) -> None:
    law(seed, name, how)


def periodic(case: Any, weeks: int) -> Any:
    """The case with its days of sky repeated to weeks with a dark last day, and batteries that start empty."""

    rng = np.random.default_rng(case.seed)

    def week(profile: StepProfile, dark: bool) -> StepProfile:
        per_day = round(kit.DAY / profile.step_s)
        values = np.tile(profile.values, 3)[: 7 * per_day] * (1.0 + 0.05 * rng.random(7 * per_day))  # no two days alike
        if dark:
            values[6 * per_day :] = 0.0
        return StepProfile(np.tile(values, weeks), profile.step_s)

    sites = []
    for site in case.scenario.sites:
        grid = replace(site.grid, export_cap_share=1.0, **{
            name: week(getattr(site.grid, name), False) for name in ("price", "carbon", "export_price")
        })  # fmt: skip
        battery = site.battery and replace(
            site.battery, capacity_j=min(site.battery.capacity_j, 400.0 * kit.HOUR), self_discharge_per_s=0.0,
            soc_start=0.05, taper_soc=0.0,
        )  # fmt: skip
        sites.append(replace(
            site, pv=week(site.pv, True), overhead=week(site.overhead, False), other=week(site.other, False),
            grid=grid, battery=battery, online_s=0.0, fixed_w=500.0,
        ))  # fmt: skip
    scenario = replace(case.scenario, sites=tuple(sites), end_s=weeks * WEEK)
    return replace(case, scenario=scenario, settings=replace(case.settings, forecast=FORESIGHT))
