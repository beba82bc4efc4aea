"""The bound where the answer is known: closed forms, brute force, and one test for each way to get it wrong."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import builders.jobs as kit
import numpy as np
import pytest
from builders.jobs import profile
from hypothesis import given, settings
from hypothesis import strategies as st

from tafukt.simulator.bound.jobs import demand_of, work_of
from tafukt.simulator.bound.lower_bound import Bound, lower_bound
from tafukt.simulator.bound.program import build
from tafukt.simulator.bound.solve import safe_dual, solve
from tafukt.simulator.bound.supply import Resolution, down_s, gpu_power_w, least, most, slot_edges, supply_of
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.scenario import Battery, Grid, NodeType, Quota, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Job, SpeedUp, Truth

H = 3600.0
KWH = 3.6e6
IDLE, LOADED, SLEEP = 100.0, 500.0, 20.0  # W per GPU
# A sleeping GPU that works for an hour draws so much more [kWh].
EXTRA = (LOADED - SLEEP) / 1e3


def site(
    pv_w: list[float], *, gpus: int = 1, nodes: int = 1, sleeps: bool = True, name: str = "a", **changes: object
) -> Site:
    """A site with nodes of `gpus` GPUs; nothing but nodes and sun unless said otherwise."""
    node = NodeType("n", gpus, gpus * IDLE, gpus * LOADED, gpus * SLEEP, sleep_after_s=0.0 if sleeps else math.inf)
    given = {"region": "north", "price": 1.0 / KWH, "carbon": 500.0 / KWH, **changes}
    made: Site = kit.site(name, nodes, node, len(pv_w) * H, pv=pv_w, **given)
    return made


def scenario(*sites: Site, **changes: object) -> Scenario:
    return Scenario(sites, sites[0].pv.end_s, H, **changes)  # type: ignore[arg-type]


def job(submit_h: float, gpus: int, hours: float, slack_h: float, *, home: str = "a", residency: str = "open",
        intensity: float = 1.0, name: str = "", **changes: object) -> Job:  # fmt: skip
    name = name or f"{submit_h}/{gpus}/{hours}/{slack_h}/{home}/{intensity}"
    given = {"slack_s": slack_h * H, "region": "north", "residency": residency, "intensity": intensity}
    made: Job = kit.job(name, submit_h * H, gpus, hours * H, home=home, **given, **changes)
    return made


def kwh(bound: Bound) -> float:
    assert bound.status == "optimal"
    assert bound.primal == pytest.approx(bound.draw_j, rel=1e-4, abs=1e-4 * KWH)
    return bound.draw_j / KWH


def drawn(*args: object, **changes: object) -> float:
    """The bound of one scenario and its jobs [kWh]."""
    return kwh(lower_bound(*args, **changes))  # type: ignore[arg-type]


DARK = [0.0] * 24
NOON = [0.0] * 12 + [600.0] + [0.0] * 11  # one hour of sun
BASE = 24 * SLEEP / 1e3
HOURLY = Resolution(night_blocks=24)  # nights not merged


# --- closed forms --------------------------------------------------------------------------------------


def test_without_jobs_only_the_base_load_is_drawn() -> None:
    assert drawn(scenario(site(DARK)), []) == pytest.approx(BASE, rel=1e-6)
    assert drawn(scenario(site(DARK, sleeps=False)), []) == pytest.approx(24 * IDLE / 1e3, rel=1e-6)


def test_a_job_in_the_dark_draws_its_energy() -> None:
    assert drawn(scenario(site(DARK)), [job(2, 1, 3, 5)]) == pytest.approx(BASE + 3 * EXTRA, rel=1e-6)


def test_a_job_that_can_wait_for_the_sun_draws_nothing_and_one_that_cannot_does() -> None:
    sunny = scenario(site(NOON))
    night = BASE - SLEEP / 1e3
    assert drawn(sunny, [job(0, 1, 1, 12)]) == pytest.approx(night, rel=1e-6)
    assert drawn(sunny, [job(0, 1, 1, 10)]) == pytest.approx(night + EXTRA, rel=1e-6)
    # Half of its window's last hour lies in the sun.
    assert drawn(sunny, [job(0, 1, 1, 11.5)]) == pytest.approx(night + EXTRA / 2, rel=1e-3)


def test_only_as_many_gpus_as_there_are_share_the_sun() -> None:
    wide = scenario(site([10 * v for v in NOON], nodes=2))
    jobs = [job(0, 1, 1, 20, name=str(i)) for i in range(3)]
    assert drawn(wide, jobs) == pytest.approx(2 * (BASE - SLEEP / 1e3) + EXTRA, rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.integers(0, 4)), min_size=1, max_size=3),
    st.integers(0, 63),
)
def test_brute_force_agrees_where_the_relaxation_is_exact(asked: list[tuple[int, int, int]], sun: int) -> None:
    """Single-GPU jobs in whole hours, hours of full sun or none, a GPU for everyone: nothing is relaxed."""
    pv = [1e4 if sun >> hour & 1 else 0.0 for hour in range(6)] + [0.0] * 6
    jobs = [job(s, 1, length, slack, name=str(i)) for i, (s, length, slack) in enumerate(asked)]
    best = 0.0
    for one in jobs:  # each may be paused, so any of its hours will do
        first, last = round(one.ask.submit_s / H), min(round(one.ask.deadline_s / H), 12)
        hours = itertools.combinations(range(first, last), round(one.runtime_s / H))
        best += min(sum(EXTRA for hour in chosen if not pv[hour]) for chosen in hours)
    best += sum(len(jobs) * SLEEP / 1e3 for hour in range(12) if not pv[hour])
    assert drawn(scenario(site(pv, nodes=len(jobs))), jobs) == pytest.approx(best, rel=1e-5, abs=1e-6)


# --- the ways to get it wrong --------------------------------------------------------------------------


def test_sleeping_nodes_are_relaxed_to_a_line_and_idle_ones_are_exact() -> None:
    """One busy GPU of eight: a node that could sleep is charged an eighth of waking it, never more."""
    one = [job(0, 1, 1, 0)]
    base = 8 * BASE
    assert drawn(scenario(site(DARK, gpus=8)), one) == pytest.approx(base + EXTRA, rel=1e-5)
    truth = base + (8 * IDLE - 8 * SLEEP + LOADED - IDLE) / 1e3
    assert base + EXTRA < truth
    awake = scenario(site(DARK, gpus=8, sleeps=False))
    assert drawn(awake, one) == pytest.approx(24 * 8 * IDLE / 1e3 + (LOADED - IDLE) / 1e3, rel=1e-5)
    full = [job(0, 8, 1, 0)]  # a full node is exact in both
    assert drawn(scenario(site(DARK, gpus=8)), full) == pytest.approx(base + 8 * EXTRA, rel=1e-5)


def test_intensity_counts_above_idle_only() -> None:
    half = [job(0, 1, 1, 0, intensity=0.5)]
    assert drawn(scenario(site(DARK, sleeps=False)), half) == pytest.approx(2.4 + 0.2, rel=1e-5)
    assert drawn(scenario(site(DARK)), half) == pytest.approx(BASE + (IDLE - SLEEP) / 1e3 + 0.2, rel=1e-5)


def test_mixed_intensities_keep_their_energy_when_sites_share_them() -> None:
    """Two sites, so that work has no site index; in the dark every split draws the same."""
    two = scenario(site(DARK, nodes=2), site(DARK, nodes=2, name="b"))
    jobs = [job(0, 1, 2, 5, intensity=i, name=str(i)) for i in (0.2, 0.5, 1.0)]
    extra = sum(2 * (IDLE - SLEEP + i * (LOADED - IDLE)) for i in (0.2, 0.5, 1.0)) / 1e3
    assert drawn(two, jobs) == pytest.approx(4 * BASE + extra, rel=1e-5)


def test_the_whole_window_is_accounted_and_a_site_draws_from_its_opening_on() -> None:
    late = site(DARK, online_s=6 * H, fixed_w=50.0, nodes=4)
    assert drawn(scenario(late), []) == pytest.approx(24 * 0.05 + 18 * 4 * SLEEP / 1e3, rel=1e-6)
    # Work cannot be done there before: the sun of the first hours is no use to it.
    early = replace(late, pv=profile([1e4] * 6 + [0.0] * 18))
    assert drawn(scenario(early), [job(0, 1, 2, 20)]) == pytest.approx(
        18 * 0.05 + 18 * 4 * SLEEP / 1e3 + 2 * EXTRA, rel=1e-4
    )


def test_a_late_run_is_held_against_windows_stretched_to_its_ends() -> None:
    sunny, one = scenario(site(NOON)), [job(0, 1, 1, 5)]
    strict = drawn(sunny, one)
    assert drawn(sunny, one, deadlines_s=[math.nan]) == strict
    assert drawn(sunny, one, deadlines_s=[3 * H]) == strict  # an early end shortens nothing
    assert drawn(sunny, one, deadlines_s=[13 * H]) == pytest.approx(strict - EXTRA, rel=1e-5)
    with pytest.raises(ValueError, match="one value for each of 1 jobs"):
        lower_bound(sunny, one, deadlines_s=[1.0, 2.0])


def test_impossible_windows_are_stretched_and_said_to_be() -> None:
    crowded = lower_bound(scenario(site(DARK)), [job(0, 1, 2, 0, name=n) for n in "xy"], grain=HOURLY)
    assert crowded.status == "stretched"
    assert crowded.stretched_s > 0
    assert crowded.draw_j / KWH == pytest.approx(BASE + 4 * EXTRA, rel=1e-5)
    # A job that its estimate undersells: the window ends when it can be done at best.
    short = replace(job(0, 1, 2, 0), truth=Truth(3 * H))
    assert drawn(scenario(site(DARK)), [short]) == pytest.approx(BASE + 3 * EXTRA, rel=1e-3)


def test_more_work_than_several_sites_can_do_stretches_its_windows_too() -> None:
    """Each of two sites has one GPU: of three jobs that all want the same two hours one has to wait."""
    both = scenario(site(DARK), site(DARK, name="b"))
    crowded = lower_bound(both, [job(0, 1, 2, 0, name=n) for n in "xyz"], grain=HOURLY)
    assert crowded.status == "stretched"
    assert crowded.draw_j / KWH == pytest.approx(2 * BASE + 6 * EXTRA, rel=1e-5)


def test_work_is_the_truth_and_not_the_estimate() -> None:
    sure = job(0, 1, 4, 0)
    cut = replace(sure, truth=Truth(4 * H, "failed", 0.25))
    assert drawn(scenario(site(DARK)), [cut]) == pytest.approx(BASE + EXTRA, rel=1e-4)
    long = replace(sure, truth=Truth(8 * H))
    kill = Settings(overrun="kill")
    assert drawn(scenario(site(DARK)), [long], settings=kill) == pytest.approx(BASE + 4 * EXTRA, rel=1e-4)


@pytest.mark.parametrize("cells", [0, 3000])
def test_pools_of_small_jobs_are_a_relaxation_of_the_jobs(cells: int) -> None:
    rng = np.random.default_rng(5)
    sunny = scenario(site([0.0] * 8 + [900.0] * 4 + [0.0] * 12, nodes=4), site(NOON, name="b", nodes=2))
    jobs = [
        job(float(rng.uniform(0, 12)), int(rng.integers(1, 3)), float(rng.uniform(0.1, 3.0)),
            float(rng.uniform(0.0, 8.0)), intensity=float(rng.uniform(0.3, 1.0)), name=str(i),
            home=str(rng.choice(["a", "b"])))
        for i in range(25)
    ]  # fmt: skip
    exact = lower_bound(sunny, jobs, grain=Resolution(own_cells_per_day=10**6))
    bound = lower_bound(sunny, jobs, grain=Resolution(own_cells_per_day=cells))
    assert bound.draw_j <= exact.draw_j * (1 + 1e-6)
    assert bound.draw_j >= 0.8 * exact.draw_j
    assert (len(bound.plan.job) > 0) == (cells > 0)


def test_a_pool_of_jobs_without_slack_must_run_at_once() -> None:
    """Cumulative work has to follow what is due: no pool may drift into the sun."""
    jobs = [job(h, 1, 1, 0, name=str(h)) for h in range(6)]
    pooled = lower_bound(scenario(site(NOON)), jobs, grain=Resolution(own_cells_per_day=0))
    assert pooled.draw_j / KWH == pytest.approx(BASE - SLEEP / 1e3 + 6 * EXTRA, rel=1e-3)


def test_an_elastic_job_counts_at_its_best_size() -> None:
    curve = SpeedUp((1, 2, 4), (1.0, 1.6, 2.4))
    elastic = job(0, 4, 1, 20, elasticity="malleable", gpus_min=1, gpus_max=4, speedup=curve)
    # Four GPU-hours as asked are worth 2.4 at the speed of one GPU, which does them without loss.
    assert drawn(scenario(site(DARK, nodes=4)), [elastic]) == pytest.approx(4 * BASE + 2.4 * EXTRA, rel=1e-4)
    # Its rate is that of its largest size: in one hour of sun all of it fits.
    at_noon = drawn(scenario(site([10 * v for v in NOON], nodes=4)), [elastic])
    assert at_noon == pytest.approx(4 * (BASE - SLEEP / 1e3), rel=1e-4)


def test_overhead_is_exact_on_the_base_load_and_least_on_the_jobs() -> None:
    step = 900.0
    hot = StepProfile(np.tile([0.1, 0.2, 0.3, 0.4], 24), step)
    plain = site(DARK)
    spread = {name: StepProfile(np.repeat(getattr(plain, name).values, 4), step) for name in ("pv", "other")}
    there = Scenario((replace(plain, overhead=hot, **spread),), 24 * H, step)
    expected = BASE * 1.25 + 2 * EXTRA * 1.1
    assert drawn(there, [job(0, 1, 2, 20)]) == pytest.approx(expected, rel=1e-4)
    # Taken as one mean factor it would be more than a job that keeps to the cool quarters draws.
    assert expected < BASE * 1.25 + 2 * EXTRA * 1.25


def test_sun_counts_by_its_mean_although_clouds_come_and_go() -> None:
    step = 900.0
    flicker = StepProfile(np.tile([2 * LOADED, 0.0, 2 * LOADED, 0.0], 24), step)
    plain = site(DARK)
    spread = {name: StepProfile(np.repeat(getattr(plain, name).values, 4), step) for name in ("overhead", "other")}
    there = Scenario((replace(plain, pv=flicker, **spread),), 24 * H, step)
    assert drawn(there, [job(0, 1, 2, 20)]) == pytest.approx(0.0, abs=1e-4)


BATTERY = Battery(1.0 * KWH, 1e3, 1e3, 0.9, 0.8, soc_min=0.0, soc_max=1.0, soc_start=0.0)


def test_the_battery_carries_the_sun_at_its_losses_and_within_its_power() -> None:
    stored = scenario(site([400.0] + [0.0] * 23, battery=BATTERY))
    spare = (400.0 - SLEEP) / 1e3
    assert drawn(stored, []) == pytest.approx(max(23 * SLEEP / 1e3 - spare * 0.9 * 0.8, 0.0), rel=1e-4)
    weak = replace(BATTERY, charge_w=100.0)
    assert drawn(scenario(site([400.0] + [0.0] * 23, battery=weak)), []) == pytest.approx(0.46 - 0.072, rel=1e-4)


def test_what_the_battery_lacks_at_the_end_is_charged_and_what_it_has_more_earns_nothing() -> None:
    full = replace(BATTERY, soc_start=0.5)
    # Using half a kWh saves 0.4 and costs 0.5 / 0.9: the best schedule leaves it alone.
    assert drawn(scenario(site(DARK, battery=full)), []) == pytest.approx(BASE, rel=1e-5)
    bright = scenario(site([2000.0] + [0.0] * 23, battery=replace(BATTERY, discharge_w=1.0)))
    assert drawn(bright, []) == pytest.approx(23 * (SLEEP - 1.0) / 1e3, rel=1e-4)


def test_self_discharge_at_the_floor_forces_no_charging() -> None:
    """A leaking battery that starts at its floor sinks below it; that is no reason to draw."""
    leaking = replace(BATTERY, self_discharge_per_s=1e-5, soc_min=0.3, soc_start=0.3)
    assert drawn(scenario(site(DARK, battery=leaking)), []) == pytest.approx(BASE, rel=1e-5)


def test_fade_lowers_the_floor() -> None:
    """What lay under the old floor may serve for a while, and is missing at the end."""
    fading = replace(BATTERY, soc_min=0.5, soc_start=0.5, fade_per_s=0.8 / (24 * H))
    with_sun = [0.0] * 12 + [1000.0] * 6 + [0.0] * 6
    firm = drawn(scenario(site(with_sun, battery=replace(fading, fade_per_s=0.0))), [])
    assert drawn(scenario(site(with_sun, battery=fading)), []) < firm - 0.1


def test_an_import_limit_leaves_jobs_undone_or_load_unserved_but_never_free() -> None:
    """Under a limit base load may go unserved, at its price; jobs must be fed."""
    base = [job(0, 1, 4, 10)]
    tight = replace(site(DARK).grid, import_limit_w=260.0)
    bound = lower_bound(scenario(site(DARK, grid=tight)), base)
    assert bound.draw_j / KWH == pytest.approx(BASE + 4 * EXTRA, rel=1e-4)  # spread over eight hours
    blocked = lower_bound(scenario(site(DARK, grid=replace(tight, import_limit_w=0.0))), [])
    assert blocked.draw_j / KWH == pytest.approx(BASE, rel=1e-5)


def test_the_battery_may_charge_from_the_grid_where_that_serves_a_limit() -> None:
    """A job that needs more than the limit is fed from a battery charged at night: forbidding it is wrong."""
    tight = replace(site(DARK).grid, import_limit_w=300.0)
    fed = scenario(site(DARK, grid=tight, battery=BATTERY))
    bound = lower_bound(fed, [job(10, 1, 1, 0)], grain=HOURLY)
    # 500 W: the limit's 300, the base load's 20 unserved at the price of import, and 180 from the battery.
    assert kwh(bound) == pytest.approx(23 * 0.02 + 0.3 + 0.02 + 0.18 / 0.72, rel=1e-3)


def test_an_outage_stops_import_and_counts_what_goes_unserved() -> None:
    out = replace(site(DARK).grid, outages=((0.0, 12 * H),))
    there = scenario(site(DARK, grid=out))
    assert drawn(there, []) == pytest.approx(BASE, rel=1e-5)
    stretched = lower_bound(there, [job(0, 1, 4, 2)])  # all of its window lies in the dark
    assert stretched.status == "stretched"
    assert drawn(there, [job(0, 1, 4, 12)]) == pytest.approx(BASE + 4 * EXTRA, rel=1e-4)


def test_nodes_that_never_sleep_do_so_in_a_shortage() -> None:
    out = replace(site(DARK).grid, outages=((0.0, 12 * H),))
    there = scenario(site(DARK, grid=out, sleeps=False))
    assert drawn(there, []) == pytest.approx((12 * SLEEP + 12 * IDLE) / 1e3, rel=1e-4)


@pytest.mark.parametrize(("residency", "coordination", "moves"), [
    ("open", "root", True), ("national", "root", False), ("regional", "root", False),
    ("open", "federated", True), ("open", "regional", False),
])  # fmt: skip
def test_residency_and_coordination_restrict_where_they_restrict_the_run(
    residency: str, coordination: str, moves: bool
) -> None:
    abroad = site([1e3] * 24, name="b", region="far", country="XX")
    there = scenario(site(DARK), abroad, coordination=coordination)
    expected = BASE + (0.0 if moves else 2 * EXTRA)
    assert drawn(there, [job(0, 1, 2, 0, residency=residency)]) == pytest.approx(expected, rel=1e-4)


def test_jobs_that_every_run_rejects_or_that_a_run_gave_up_are_left_out() -> None:
    there = scenario(site(DARK))
    assert drawn(there, [job(0, 2, 1, 5)]) == pytest.approx(BASE, rel=1e-6)
    assert drawn(there, [job(0, 1, 1, 5)], skip=[True]) == pytest.approx(BASE, rel=1e-6)
    none = scenario(site(DARK), quotas={"north": Quota(0.0)})
    assert drawn(none, [job(0, 1, 1, 5)]) == pytest.approx(BASE, rel=1e-6)


def test_power_caps_do_the_same_work_for_less() -> None:
    caps = ((0.5, 0.8), (1.0, 1.0))
    plain = site(DARK, sleeps=False, nodes=4)
    capped = replace(plain, node=replace(plain.node, caps=caps))
    one = [job(0, 1, 2, 20)]
    saved = drawn(scenario(plain), one) - drawn(scenario(capped), one)
    assert saved == pytest.approx(2 * 0.4 * (1 - 0.5 / 0.8), rel=1e-3)
    # With idle power in play slower is not always cheaper; the line through both ends stays below.
    sleepy = replace(site(DARK), node=replace(site(DARK).node, caps=caps))
    a, b = gpu_power_w(sleepy, (0.2, 1.0))
    for intensity in np.linspace(0.2, 1.0, 9):
        least_w = min(((IDLE - SLEEP) + c * intensity * (LOADED - IDLE)) / f for c, f in caps)
        assert a + b * intensity <= least_w + 1e-9


def test_faster_gpus_do_more_per_hour() -> None:
    plain = site(DARK, name="b")
    fast = replace(plain, node=replace(plain.node, speed=2.0))
    there = scenario(site(DARK), fast)
    assert drawn(there, [job(0, 1, 2, 20)]) == pytest.approx(2 * BASE + EXTRA, rel=1e-4)


def test_nodes_that_are_down_draw_nothing_and_do_nothing() -> None:
    faults = FaultSettings(node_mtbf_s=6 * H, repair_s=6 * H)
    there = scenario(site(DARK, nodes=3))
    down = down_s(there.sites[0], 24 * H, faults, 7)
    assert down
    lost = sum(stop - start for start, stop in down)
    expected = (3 * 24 * H - lost) * SLEEP / KWH
    bound = lower_bound(there, [], settings=Settings(faults=faults), seed=7)
    assert bound.draw_j / KWH == pytest.approx(expected, rel=1e-6)


# --- cost and carbon -----------------------------------------------------------------------------------


def test_cost_and_carbon_follow_their_own_signal() -> None:
    n = 24
    price = [1.0] * 12 + [0.25] + [1.0] * 11
    carbon = [500.0] * 4 + [100.0] + [500.0] * 19
    grid = Grid(profile([p / KWH for p in price]), profile([c / KWH for c in carbon]), profile([0.0] * n))
    there = scenario(site(DARK, grid=grid))
    one = [job(0, 1, 1, 20)]
    cost = lower_bound(there, one, objective="cost")
    assert cost.value == pytest.approx(23 * 0.02 + 0.25 * 0.5, rel=1e-4)
    assert math.isnan(cost.draw_j)
    assert lower_bound(there, one, objective="emissions").value == pytest.approx(23 * 10.0 + 100 * 0.5, rel=1e-4)


def test_where_import_earns_money_no_wasted_kwh_is_below_the_bound() -> None:
    """A run that leaves every node awake while the price is below zero earns more than the least load would."""
    hours = [1.0] * 12 + [-2.0] * 2 + [1.0] * 10
    grid = Grid(profile([price / KWH for price in hours]), profile([0.5 / KWH] * 24), profile([0.0] * 24))
    least = lower_bound(scenario(site(DARK, nodes=4, grid=grid)), [], objective="cost").value
    asleep, loaded = 4 * SLEEP / 1e3, 4 * LOADED / 1e3
    assert least <= 22 * asleep - 2 * 2.0 * loaded  # what a run costs whose nodes are all loaded in those two hours
    assert least == pytest.approx(22 * asleep - 4.0 * loaded, rel=1e-4)


def test_export_earns_what_the_sun_leaves_over_and_the_battery_may_trade_hours() -> None:
    grid = Grid(profile([1.0 / KWH] * 24), profile([0.0] * 24), profile([0.5 / KWH] * 24), export_limit_w=300.0)
    bright = scenario(site([1000.0] + [0.0] * 23, grid=grid))
    assert lower_bound(bright, [], objective="cost").value == pytest.approx(23 * 0.02 - 0.15, rel=1e-4)
    assert lower_bound(bright, [], objective="emissions").value == pytest.approx(0.0, abs=1e-6)


# --- monotonicity --------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_more_sun_longer_windows_and_more_places_never_raise_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pv = (rng.uniform(0.0, 900.0, 24) * (rng.random(24) < 0.5)).tolist()
    here = site(pv, nodes=3, battery=replace(BATTERY, soc_start=0.3) if rng.random() < 0.5 else None)
    jobs = [job(float(rng.uniform(0, 12)), int(rng.integers(1, 3)), float(rng.uniform(0.2, 3.0)),
                float(rng.uniform(2.0, 8.0)), name=str(i), intensity=float(rng.uniform(0.2, 1.0)))
            for i in range(5)]  # fmt: skip
    before = lower_bound(scenario(here), jobs)
    if before.status != "optimal":
        return
    sunnier = replace(here, pv=profile([v + float(rng.uniform(0.0, 200.0)) for v in pv]))
    looser = [replace(j, ask=replace(j.ask, slack_s=j.ask.slack_s + 2 * H)) for j in jobs]
    other = site(DARK, name="b")
    # With whole-hour slots throughout, so that only what is meant changes.
    grain = HOURLY
    base = lower_bound(scenario(here), jobs, grain=grain).draw_j
    slop = 1e-5 * base + 1e-4 * KWH
    assert lower_bound(scenario(sunnier), jobs, grain=grain).draw_j <= base + slop
    assert lower_bound(scenario(here), looser, grain=grain).draw_j <= base + slop
    # A second site draws its own base load and lends its GPUs.
    assert lower_bound(scenario(here, other), jobs, grain=grain).draw_j <= base + BASE * KWH + slop


# --- the machinery -------------------------------------------------------------------------------------


def _programme(seed: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    there = scenario(site(NOON, nodes=3, battery=BATTERY), site(DARK, nodes=2, name="b"))
    jobs = [
        job(float(rng.uniform(0, 8)), 1, float(rng.uniform(0.5, 3)), float(rng.uniform(1, 9)), name=str(i))
        for i in range(6)
    ]
    edges = slot_edges(there, "draw", Resolution())
    return build(supply_of(there, edges, "draw"), work_of(demand_of(there, jobs), edges, 10**6)[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_any_duals_give_a_bound(seed: int, noise: float) -> None:
    """However wrong the solver's duals are, the safe value never exceeds the optimum."""
    programme = _programme(seed % 7)
    good = solve(programme, 100)
    optimum = float(programme.cost @ good.x)
    rng = np.random.default_rng(seed)
    wrong = good.y + noise * rng.normal(0.0, 1.0, len(good.y))
    assert safe_dual(programme, wrong) <= optimum + 1e-6 * abs(optimum)
    assert safe_dual(programme, np.full(len(good.y), np.nan)) <= optimum
    assert safe_dual(programme, good.y) == pytest.approx(optimum, rel=1e-5)


def test_a_stopped_solve_still_gives_a_bound_and_says_so() -> None:
    there = scenario(site(NOON, nodes=3), site(DARK, nodes=2, name="b"))
    jobs = [job(i / 4, 1, 1.5 + i / 100, 6, name=str(i)) for i in range(40)]
    full = lower_bound(there, jobs)
    cut = lower_bound(there, jobs, grain=Resolution(iterations=2))
    assert full.status == "optimal"
    assert cut.status in ("limit", "coarse")
    assert cut.draw_j <= full.draw_j * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_late_jobs_are_bounded_by_the_duals_of_the_bound_without_them(seed: int) -> None:
    """The same number as by solving anew, and never more; where much has changed, it is solved anew."""
    rng = np.random.default_rng(seed)
    sun = np.clip(np.sin(np.arange(72) / 24 * 2 * np.pi), 0, None) * 6e3
    there = scenario(site(list(sun), nodes=6), site(list(sun[::-1]), nodes=4, name="b"))
    jobs = [
        job(float(rng.uniform(0, 40)), int(rng.integers(1, 3)), float(rng.uniform(0.3, 4)), float(rng.uniform(0, 9)),
            intensity=float(rng.choice([0.5, 1.0])), name=str(i))
        for i in range(60)
    ]  # fmt: skip
    known = lower_bound(there, jobs, grain=Resolution(own_cells_per_day=60))
    late = np.full(60, np.nan)
    late[7] = jobs[7].ask.deadline_s + 2 * H
    anew = lower_bound(there, jobs, deadlines_s=late, grain=known.solved.grain)
    carried = lower_bound(there, jobs, deadlines_s=late, known=known)
    assert carried.status in ("carried", "optimal")
    assert carried.draw_j <= anew.draw_j * (1 + 1e-7)
    assert carried.draw_j == pytest.approx(anew.draw_j, rel=2e-4)
    skipped = lower_bound(there, jobs, skip=np.arange(60) < 30, known=known, grain=known.solved.grain)
    assert skipped.status == "optimal"
    assert skipped.draw_j < 0.9 * known.draw_j


def test_blocks_give_nearly_the_bound_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    days = 12
    pv = np.tile([0.0] * 7 + [1500.0] * 8 + [0.0] * 9, days) * np.repeat(rng.uniform(0.2, 1.0, days), 24)
    there = scenario(site(pv.tolist(), nodes=4, battery=BATTERY), site((0.5 * pv).tolist(), name="b", nodes=3))
    jobs = [job(float(rng.uniform(0, 24 * days - 40)), int(rng.integers(1, 4)), float(rng.uniform(0.5, 9)),
                float(rng.uniform(0, 16)), name=str(i)) for i in range(120)]  # fmt: skip
    whole = lower_bound(there, jobs)
    for cells in (0, 3000):
        pieces = Resolution(own_cells_per_day=cells, block_s=3 * 24 * H, ahead_s=36 * H, whole_columns=0)
        blocks = lower_bound(there, jobs, grain=pieces)
        assert blocks.status == "optimal"
        same = lower_bound(there, jobs, grain=Resolution(own_cells_per_day=cells))
        assert blocks.draw_j <= whole.draw_j * (1 + 1e-6)
        assert blocks.draw_j == pytest.approx(same.draw_j, rel=2e-3)
    # A primal value of blocks is a feasible point of the whole: never below its optimum.
    assert lower_bound(there, jobs, grain=pieces).primal >= whole.draw_j * (1 - 1e-6)


def test_the_plan_does_the_work_where_and_when_it_may() -> None:
    there = scenario(site(NOON, nodes=3), site(DARK, nodes=2, name="b"))
    jobs = [job(float(i), 1, 1.5, 6, name=str(i), residency="regional" if i % 2 else "open") for i in range(6)]
    plan = lower_bound(there, jobs).plan
    hours = np.diff(plan.edges_s) / H
    for index, one in enumerate(jobs):
        mine = plan.job == index
        done = float(np.dot(plan.job_gpus[mine], hours[plan.job_slot[mine]]))
        assert done == pytest.approx(1.5, rel=1e-3)
        assert plan.edges_s[plan.job_slot[mine].min() + 1] > one.ask.submit_s
        assert plan.edges_s[plan.job_slot[mine].max()] <= one.ask.deadline_s
    # Where the sun is to spare the optimum may keep more GPUs busy than it needs; never fewer.
    assert float((plan.gpus.sum(axis=(0, 1)) * hours).sum()) >= 6 * 1.5 * (1 - 1e-3)
    assert plan.gpus[~plan.allowed].sum() == 0.0
    assert plan.it_w.shape == plan.import_w.shape == plan.stored_j.shape == (2, len(hours))
    assert float((plan.it_w * hours).sum()) / 1e3 >= 6 * 1.5 * EXTRA * (1 - 1e-3)
    assert float((plan.import_w * hours).sum()) / 1e3 == pytest.approx(drawn(there, jobs), rel=1e-3)


def test_slots_take_extremes_outward() -> None:
    waves = StepProfile(np.array([3.0, 1.0, 2.0, 5.0]), 900.0)
    edges = np.array([0.0, 1800.0, 3600.0])
    assert least(waves, edges).tolist() == [1.0, 2.0]
    assert most(waves, edges).tolist() == [3.0, 5.0]
    assert least(waves, np.array([0.0, 1000.0, 3600.0])).tolist() == [1.0, 1.0]  # a cut step counts in both


def test_nights_are_merged_and_prices_keep_them_apart() -> None:
    grid = replace(site(NOON).grid, price=profile([1.0] * 20 + [2.0] * 4))
    there = scenario(site(NOON, grid=grid))
    assert slot_edges(there, "draw", Resolution()).tolist() == [0.0, 6 * H, 12 * H, 13 * H, 18 * H, 24 * H]
    assert 20 * H in slot_edges(there, "cost", Resolution())
