"""Import limits that change with time: kept by the engine, foreseen, no tighter than a number where they are one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import case, lives_of
from builders.jobs import AWAKE, job, run, scenario, site

from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.bound.supply import supply_of
from tafukt.simulator.energy.adequacy import unserved_without_jobs
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Checkpoint

HOUR, KWH = 3600.0, 3.6e6
# A node sleeps at 100 W, idles at 1 kW, draws 5 kW with all eight GPUs busy.
SLEEPY = NodeType("n", 8, 1000.0, 5000.0, 100.0, wake_s=60.0, sleep_after_s=0.0)
SAVING = Checkpoint(10.0, 120.0, 60.0)


def place(limits_kw: list[float] | float, nodes: int = 2, node: NodeType = SLEEPY, **other: object) -> Site:
    """A site of 24 h whose limit is given hour by hour, the last one to the end."""
    limits_w = [1000.0 * kw for kw in limits_kw] if isinstance(limits_kw, list) else 1000.0 * limits_kw
    return site("s0", nodes, node, import_limit_w=limits_w, **other)


def imports_kw(record: Record) -> np.ndarray:
    flows = record.energy[0].flows_w
    return (flows["import_to_load"] + flows["import_to_battery"]) / 1000.0


def told(record: Record, *kinds: str) -> list[tuple[str, float]]:
    return [(event.kind, event.time_s) for event in record.events if event.kind in kinds]


def test_a_job_gives_way_before_the_limit_falls_and_goes_on_when_it_rises() -> None:
    """Two nodes at 5 kW fit below 12 kW, one below 6 from 2 to 4 h; the second is saved and loses nothing."""
    jobs = [job(name, 0.0, 8, 5 * HOUR, checkpoint=SAVING, interruptible=True, slack_s=math.inf) for name in ("a", "b")]
    record = run(jobs, scenario([place([12, 12, 6, 6, 12])]))
    assert told(record, "pause", "kill") == [("pause", 2 * HOUR - 120.0)]
    again = [time for kind, time in told(record, "start")][2:]
    assert again == [4 * HOUR], "the first step in which both fit again"
    assert sum(outcome.lost_gpu_s for outcome in record.outcomes) == 0.0
    assert record.energy[0].flow_j("unserved") == 0.0
    assert imports_kw(record).max() <= 12.0
    during = (record.energy[0].edges_s[:-1] >= 2 * HOUR) & (record.energy[0].edges_s[:-1] < 4 * HOUR)
    assert imports_kw(record)[during].max() <= 6.0


def test_nobody_is_let_in_for_less_than_the_site_holds_on() -> None:
    """Half an hour is what a site must be able to carry: a job that comes ten minutes before the limit falls waits."""
    jobs = [job("early", 1.4 * HOUR, 8, 600.0), job("late", 2 * HOUR - 600.0, 8, 600.0, slack_s=math.inf)]
    record = run(jobs, scenario([place([12, 12, 1, 1, 12])]))
    assert told(record, "start") == [("start", 1.4 * HOUR), ("start", 4 * HOUR)]


def test_caps_are_lifted_when_the_limit_rises() -> None:
    """At 4 kW of idle and load the cap leaves 1 kW + 4 kW x cap <= 4.5 kW: 0.875 is 7/8 of the power above idle."""
    node = replace(AWAKE, caps=MEASURED)
    record = run([job("a", 0.0, 8, 6 * HOUR, slack_s=math.inf)], scenario([place([9, 4.5, 4.5, 9], 1, node)]))
    caps = [(event.time_s, event.detail["cap"]) for event in record.events if event.kind == "cap"]
    assert [time for time, _ in caps] == [HOUR, 3 * HOUR]
    assert 1.0 + 4.0 * caps[0][1] <= 4.5
    assert caps[1][1] == 1.0


def test_a_battery_carries_what_the_limit_leaves_open() -> None:
    """8 kW beyond a limit of 2 kW for two hours: 16 kWh out of a battery that has 20."""
    battery = Battery(20 * KWH, 40e3, 40e3, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=1.0)
    where = place([10, 10, 2, 2, 10], battery=battery)
    hold = replace(where, battery=replace(battery, discharge_w=8000.0))
    jobs = [job(name, 2 * HOUR, 8, 2 * HOUR, slack_s=0.0, estimate_s=2 * HOUR) for name in ("a", "b")]
    record = run(jobs, Scenario((hold,), 86_400.0, HOUR, hold_min_s=0.0))
    energy = record.energy[0]
    assert energy.flow_j("unserved") == 0.0
    assert record.balance_residual < 1e-9
    assert imports_kw(record)[(energy.edges_s[:-1] >= 2 * HOUR) & (energy.edges_s[:-1] < 4 * HOUR)].max() <= 2.0 + 1e-9


def test_what_no_schedule_can_keep_is_unserved_to_the_watt_hour() -> None:
    """5 kW are drawn always, 3 kW may be imported from 17 to 21 h: 8 kWh stay unserved, and nothing breaks."""
    where = place([9] * 17 + [3] * 4 + [9] * 3, 1, AWAKE, fixed_w=4900.0)
    record = run([job("j", 16.9 * HOUR, 8, 6 * HOUR, slack_s=math.inf)], scenario([where]))
    assert record.energy[0].flow_j("unserved") == pytest.approx(4 * 2.0 * KWH, rel=1e-12)
    assert unserved_without_jobs(where, 86_400.0) == ([(17 * HOUR, 21 * HOUR)], pytest.approx(8 * KWH, rel=1e-12))


def test_a_limit_that_can_be_kept_is_not_told() -> None:
    assert unserved_without_jobs(place([9, 5, 9], 1, AWAKE, fixed_w=4900.0), 86_400.0) == ([], 0.0)
    assert unserved_without_jobs(place(math.inf, 1, AWAKE, fixed_w=4900.0), 86_400.0) == ([], 0.0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["fifo", "wait-for-sun"])
def test_a_limit_that_never_changes_is_a_number(seed: int, name: str) -> None:
    """With outages, batteries, strategies and all else: the same to the last bit."""
    plain = case(seed, weak=True, faults=bool(seed % 2))
    steps = math.ceil(plain.scenario.end_s / plain.scenario.step_s)

    def stepped(where: Site) -> Site:
        limit = StepProfile(np.full(steps, where.grid.import_limit_w), plain.scenario.step_s)
        return replace(where, grid=replace(where.grid, import_limit_w=limit))

    number, profile = plain.run(name), plain.with_sites([*map(stepped, plain.scenario.sites)]).run(name)
    assert lives_of(number) == lives_of(profile)
    for one, other in zip(number.energy, profile.energy, strict=True):
        assert np.array_equal(one.edges_s, other.edges_s)
        assert all(np.array_equal(one.flows_w[flow], other.flows_w[flow]) for flow in one.flows_w)


@pytest.mark.parametrize("seed", range(20))
def test_random_limits_are_kept_and_books_balance(seed: int) -> None:
    """The engine checks both in every run; here limits are drawn anew every few hours, with outages and all else."""
    plain = case(seed, weak=bool(seed % 2), faults=bool(seed % 3))
    rng = np.random.default_rng(seed)
    steps = math.ceil(plain.scenario.end_s / plain.scenario.step_s)

    def stepped(where: Site) -> Site:
        full_w = where.nodes * where.node.loaded_w
        each = max(round(rng.uniform(0.5, 6.0) * HOUR / plain.scenario.step_s), 1)
        drawn = np.repeat(rng.uniform(0.0, 1.5, steps // each + 1) * full_w, each)[:steps]
        return replace(where, grid=replace(where.grid, import_limit_w=StepProfile(drawn, plain.scenario.step_s)))

    made = plain.with_sites([*map(stepped, plain.scenario.sites)])
    record = made.run(("fifo", "wait-for-sun", "planner")[seed % 3])
    assert record.balance_residual < 1e-9
    if all(outcome.state != "left" for outcome in record.outcomes):
        ends = [outcome.end_s for outcome in record.outcomes]
        skip = [outcome.state in ("failed", "rejected") for outcome in record.outcomes]
        bound = lower_bound(
            made.scenario, made.jobs, deadlines_s=ends, skip=skip, settings=made.settings, seed=made.seed
        )
        draw_j = sum(
            sum(energy.flow_j(flow) for flow in ("import_to_load", "import_to_battery", "unserved"))
            + max(0.0, energy.stored_j[0] - energy.stored_j[-1]) / (where.battery.eta_charge if where.battery else 1.0)
            for energy, where in zip(record.energy, made.scenario.sites, strict=True)
        )
        assert bound.draw_j <= draw_j * (1.0 + 1e-9)


def test_the_bound_has_the_mean_limit_of_each_slot_without_the_outages() -> None:
    """Slots of two hours: 12 and 6 kW are 9 on the mean; half an hour without grid takes 6 kW x 0.5 h off 18 kWh."""
    where = place([12, 6, 8, 8])
    edges = np.array([0.0, 2.0, 4.0, 24.0]) * HOUR
    mean = supply_of(scenario([where]), edges, "draw").import_w
    assert mean.tolist() == [[9000.0, 8000.0, 8000.0]]
    out = replace(where, grid=replace(where.grid, outages=((1.25 * HOUR, 1.75 * HOUR),)))
    assert supply_of(scenario([out]), edges, "draw").import_w[0, 0] == pytest.approx(7500.0, rel=1e-12)
