"""Ramp limits on the import: starts one after another, caps lifted minute by minute, the battery, and what is a breach.

Minutes are counted again here from the settled flows, apart from the engine's own count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import Case, case
from builders.jobs import AWAKE, job, run, scenario, site, starts

from tafukt.experiments.results.metrics import summary as ramp_metrics
from tafukt.simulator.bound.starts import _undisturbed
from tafukt.simulator.energy.ledger import SiteLedger
from tafukt.simulator.energy.ramp import RampedLedger, ledger_of
from tafukt.simulator.record import Occupancy, Record
from tafukt.simulator.scenario import Battery, Site

KWH = 3.6e6
CAPS = ((0.25, 0.5), (1.0, 1.0))
WORKS = [Occupancy.KINDS.index(kind) for kind in ("run", "lost")]


def place(up_kw: float = math.inf, down_kw: float = math.inf, caps: tuple = (), **other: object) -> Site:  # type: ignore[type-arg]
    """One node that never sleeps: 1 kW idle, half a kilowatt more for each of its eight GPUs."""
    return site("s0", 1, replace(AWAKE, caps=caps), ramp_up_w=1000.0 * up_kw, ramp_down_w=1000.0 * down_kw, **other)


def minutes_kw(record: Record, index: int = 0) -> np.ndarray:
    energy = record.energy[index]
    edges = np.arange(0.0, energy.edges_s[-1] + 1e-6, 60.0)
    flows = energy.flows_w
    return energy.binned_j(flows["import_to_load"] + flows["import_to_battery"], edges) / 60.0 / 1000.0


def told(record: Record, kind: str) -> list[tuple[float, float]]:
    return [(event.time_s, event.detail["cap"]) for event in record.events if event.kind == kind]


def test_starts_are_staggered() -> None:
    """Half a kilowatt each below 0.6 kW a minute: one job a minute."""
    record = run([job(name, 600.0, 1, 3600.0, slack_s=math.inf) for name in "abc"], scenario([place(0.6)]))
    assert starts(record) == {"a": 600.0, "b": 660.0, "c": 720.0}
    assert np.diff(minutes_kw(record)).max() == pytest.approx(0.5, rel=1e-9)
    assert ramp_metrics(record)["ramp_breach_min"] == 0


def test_a_job_too_large_for_a_minute_begins_under_a_cap_that_is_lifted_minute_by_minute() -> None:
    """4 kW of load below 1 kW a minute: a quarter of it, a half, three quarters, all."""
    record = run([job("a", 600.0, 8, 3600.0)], scenario([place(1.0, caps=CAPS)]))
    assert starts(record) == {"a": 600.0}
    assert told(record, "cap") == [(600.0, 0.25), (660.0, 0.5), (720.0, 0.75), (780.0, 1.0)]
    assert minutes_kw(record)[9:15] == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0, 5.0], rel=1e-9)
    assert ramp_metrics(record)["ramp_breach_min"] == 0


def test_a_load_that_cannot_bend_is_a_breach_by_the_minute() -> None:
    """4 kW at once at 630 s: 2 kW in each of two minutes, 1 kW of it too much; it ends on a minute: 3 kW too much."""
    record = run([job("a", 630.0, 8, 3570.0)], scenario([place(1.0, 1.0)]))
    assert minutes_kw(record)[9:12] == pytest.approx([1.0, 3.0, 5.0], rel=1e-9)
    found = ramp_metrics(record)
    assert found["ramp_breach_min"] == 3
    assert found["ramp_breach_kwh"] == pytest.approx((1.0 + 1.0 + 3.0) / 60.0, rel=1e-9)
    assert found["ramp_breach_most_kw"] == pytest.approx(3.0, rel=1e-9)
    upwards = ramp_metrics(run([job("a", 630.0, 8, 3570.0)], scenario([place(1.0)])))
    assert (upwards["ramp_breach_min"], upwards["ramp_breach_most_kw"]) == (2, pytest.approx(1.0, rel=1e-9))


def test_a_fall_is_carried_by_a_battery_that_charges() -> None:
    """The same job ends beside a battery that has room: a fall of 1 kW a minute, the rest is stored and used."""
    battery = Battery(10 * KWH, 8e3, 8e3, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=0.0)
    record = run([job("a", 600.0, 8, 3600.0)], scenario([place(4.0, 1.0, battery=battery)]))
    assert minutes_kw(record)[69:76] == pytest.approx([5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0], rel=1e-9)
    assert record.energy[0].flow_j("import_to_battery") == pytest.approx((3.0 + 2.0 + 1.0) * 60e3, rel=1e-9)
    assert ramp_metrics(record)["ramp_breach_min"] == 0


def test_a_battery_hands_its_load_over_before_it_is_empty() -> None:
    """6 kW of load on a battery of 1 kWh below 1 kW a minute: six equal steps, and never a larger one."""
    battery = Battery(KWH, 8e3, 8e3, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=1.0)
    record = run([], scenario([place(1.0, battery=battery, fixed_w=5000.0)]))
    kw = minutes_kw(record)
    assert kw[0] == 0.0
    assert kw[-1] == pytest.approx(6.0, rel=1e-9)
    rises = np.diff(kw)
    assert rises.max() <= 1.0 + 1e-9
    assert np.count_nonzero(rises > 1e-9) <= 7, "it does not take up and let go in turn"
    assert record.energy[0].stored_j.min() >= -1e-6


def test_the_import_comes_back_from_an_outage_no_faster_than_it_may() -> None:
    battery = Battery(20 * KWH, 8e3, 8e3, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=0.5)
    where = place(0.5, 0.5, battery=battery, fixed_w=3000.0, islandable=True)
    where = replace(where, grid=replace(where.grid, outages=((3600.0, 5400.0),)))
    record = run([], scenario([where]))
    assert ramp_metrics(record)["ramp_breach_min"] == 0
    assert record.energy[0].flow_j("unserved") == 0.0


def test_without_a_ramp_limit_the_ledger_is_the_plain_one() -> None:
    assert type(ledger_of(place(), 86_400.0)) is SiteLedger
    assert type(ledger_of(place(down_kw=1.0), 86_400.0)) is RampedLedger
    assert ramp_metrics(run([], scenario([place()])))["ramp_breach_min"] == 0
    assert math.isnan(ramp_metrics(run([], scenario([place()])))["ramp_breach_kwh"])


def test_the_bound_takes_no_start_times_where_a_ramp_may_hold_a_job() -> None:
    assert _undisturbed(scenario([place()]), None)
    assert not _undisturbed(scenario([place(1.0)]), None)


# --- a thousand random scenarios: where a minute moves faster than the limit, neither load nor battery could bend


def ramped(seed: int, weak: bool) -> Case:
    plain = case(seed, weak=weak, faults=weak and bool(seed % 2))
    rng = np.random.default_rng(seed + 10_000)

    def limited(where: Site) -> Site:
        up_w, down_w = (where.nodes * where.node.loaded_w * rng.uniform(0.02, 0.5, 2)).tolist()
        kind = rng.random()
        grid = replace(
            where.grid, ramp_up_w=math.inf if kind < 0.1 else up_w, ramp_down_w=math.inf if kind > 0.9 else down_w
        )
        return replace(where, grid=grid)

    return plain.with_sites([limited(where) for where in plain.scenario.sites])


def too_fast(record: Record, index: int) -> Iterator[tuple[int, bool]]:
    """The minutes that move faster than the limit, and whether upwards."""
    grid, change_w = record.scenario.sites[index].grid, np.diff(minutes_kw(record, index)) * 1000.0
    for minute in np.flatnonzero((change_w > grid.ramp_up_w * 1.000001) | (-change_w > grid.ramp_down_w * 1.000001)):
        yield int(minute) + 1, bool(change_w[minute] > 0)


def battery_is_at_its_end(record: Record, index: int, minute: int, upwards: bool) -> bool:
    """Whether the battery of a site could give (or take) no more in a minute: rated power, or the end of its window."""
    battery, energy = record.scenario.sites[index].battery, record.energy[index]
    if battery is None or battery.capacity_j <= 0.0:
        return True
    first = int(np.searchsorted(energy.edges_s, 60.0 * minute, side="right")) - 1
    last = int(np.searchsorted(energy.edges_s, 60.0 * minute + 60.0, side="left"))
    flows = energy.flows_w
    soc = energy.stored_j[last] / energy.capacity_j  # of what fade has left at the end: hence the half of a percent
    if upwards:
        full = bool((flows["discharge"][first:last] >= 0.999 * battery.discharge_w).any())
        return full or bool(soc <= battery.soc_min + battery.taper_soc + 0.005)
    charge_w = (flows["pv_to_battery"] + flows["import_to_battery"])[first:last]
    return bool((charge_w >= 0.999 * battery.charge_w).any() or soc >= battery.soc_max - battery.taper_soc - 0.005)


def nobody_could_be_capped(record: Record, index: int, minute: int) -> bool:
    """Whether at the largest import of a minute every job that works was under its lowest cap, or takes none."""
    where, energy, rows = record.scenario.sites[index], record.energy[index], record.occupancy
    begin_s, end_s = 60.0 * minute, 60.0 * minute + 60.0
    inside = np.flatnonzero((energy.edges_s[1:] > begin_s) & (energy.edges_s[:-1] < end_s))
    import_w = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
    top = inside[int(import_w[inside].argmax())]
    at_s = 0.5 * (max(energy.edges_s[top], begin_s) + min(energy.edges_s[top + 1], end_s))
    there = (rows.site == index) & (rows.start_s <= at_s) & (rows.end_s > at_s) & np.isin(rows.kind, WORKS)
    for row in np.flatnonzero(there):
        full_w = rows.gpus[row] * record.jobs[rows.job[row]].ask.intensity * where.node.dynamic_w
        above_w = rows.power_w[row] - rows.gpus[row] * where.node.idle_w / where.node.gpus
        if where.node.caps and full_w > 0.0 and above_w > (where.node.caps[0][0] + 1e-6) * full_w:
            return False
    return True


def check(seed: int) -> int:
    record = ramped(seed, weak=False).run(("fifo", "wait-for-sun", "easy")[seed % 3])
    assert record.balance_residual < 1e-9
    found = 0
    for index in range(len(record.scenario.sites)):
        for minute, upwards in too_fast(record, index):
            found += 1
            assert battery_is_at_its_end(record, index, minute, upwards), (seed, index, minute)
            assert not upwards or nobody_could_be_capped(record, index, minute), (seed, index, minute)
    assert ramp_metrics(record)["ramp_breach_min"] == found, "what is too fast is booked, all of it"
    return found


@pytest.mark.parametrize("seed", range(30))
def test_no_minute_moves_faster_unless_neither_load_nor_battery_can_bend(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_no_minute_moves_faster_in_a_thousand_scenarios() -> None:
    assert sum(check(seed) for seed in range(1000)) > 0


@pytest.mark.parametrize("seed", range(15))
def test_books_balance_with_outages_limits_and_failures_and_nothing_hangs(seed: int) -> None:
    record = ramped(1000 + 7 * seed, weak=True).run(("fifo", "wait-for-sun", "planner")[seed % 3])
    assert record.balance_residual < 1e-9
