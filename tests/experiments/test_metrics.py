"""Metrics and attribution: against figures worked out by hand, and against the totals they must add up to."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import builders.records as records_of
import numpy as np
import pytest

from tafukt.experiments.results import attribution, dictionary, metrics
from tafukt.experiments.results import costs as given
from tafukt.experiments.results.books import reading
from tafukt.simulator.record import OCCUPANCY_CODES, Outcome, Record, SiteEnergy, Transfer
from tafukt.simulator.scenario import Battery
from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth


@pytest.fixture(scope="module")
def record() -> Record:
    return records_of.record(unserved_from_s=0.9 * 86_400)


def test_summary_has_exactly_the_metrics_of_the_dictionary(record: Record) -> None:
    run = metrics.summary(record)
    run |= metrics.comparison(run, None, None) | metrics.against_base(run, None)
    assert sorted(run) == sorted(column.name for column in dictionary.METRICS)


def test_integers_are_integers(record: Record) -> None:
    run = metrics.summary(record)
    for column in dictionary.METRICS:
        if column.name in run:
            assert isinstance(run[column.name], int if column.dtype == "int64" else float), column.name


def test_every_job_is_in_one_state(record: Record) -> None:
    run = metrics.summary(record)
    states = ("done", "failed", "cancelled", "rejected", "refused", "left")
    assert sum(run[f"jobs_{state}"] for state in states) == run["jobs_submitted"] == 24
    assert run["jobs_rejected"] == 1
    assert run["jobs_left"] >= 1


def test_draw_counts_import_unserved_and_what_the_battery_gave_up(record: Record) -> None:
    run = metrics.summary(record)
    energy = record.energy[0]
    given = (energy.stored_j[0] - energy.stored_j[-1]) / 0.95 / 3.6e6
    assert given > 0
    assert run["unserved_kwh"] > 0
    assert run["draw_kwh"] == pytest.approx(run["grid_import_kwh"] + run["unserved_kwh"] + given, rel=1e-12)


def test_energy_left_at_the_end_earns_nothing(record: Record) -> None:
    energy = record.energy[0]
    full = replace(energy, stored_j=np.append(energy.stored_j[:-1], 1e9))
    run = metrics.summary(replace(record, energy=[full, record.energy[1]]))
    assert run["draw_kwh"] == pytest.approx(run["grid_import_kwh"] + run["unserved_kwh"], rel=1e-12)


def test_balances_of_the_summary(record: Record) -> None:
    run = metrics.summary(record)
    assert run["pv_available_kwh"] == pytest.approx(
        run["pv_used_kwh"] + run["curtailed_kwh"] + run["export_kwh"], rel=1e-12
    )
    assert run["self_consumption"] == pytest.approx(run["pv_used_kwh"] / run["pv_available_kwh"])
    assert run["cost_mad"] == pytest.approx(run["energy_charge_mad"] - run["export_income_mad"])
    assert 0 < run["renewable_fraction"] < 1
    assert run["pue"] > 1.15


def _one_site(power_w: list[float], step_s: float = 60.0) -> attribution.SiteBooks:
    """The books of a site that only imports, a constant power in each step."""
    power = np.array(power_w)
    zero = np.zeros(len(power))
    flows = dict.fromkeys(records_of.FLOWS, zero) | {"import_to_load": power}
    energy = SiteEnergy(
        edges_s=np.arange(len(power) + 1) * step_s,
        it_w=power,
        site_w=power,
        other_w=zero,
        pv_w=zero,
        flows_w=flows,
        stored_j=np.zeros(len(power) + 1),
        price=zero,
        export_price=zero,
        carbon=zero,
        mix_solar=zero,
        mix_carbon=zero,
        mix_cost=zero,
    )
    return attribution.SiteBooks(records_of.record(), 0, energy)


def test_peak_is_a_quarter_hour_mean_of_all_sites_and_ramps_are_changes_of_means() -> None:
    first = _one_site([0.0] * 15 + [30_000.0] * 5 + [0.0] * 10)
    second = _one_site([6_000.0] * 15 + [0.0] * 15)
    imports = reading.ImportMeans(1800.0, 900.0, 60.0)
    imports.add(first)
    imports.add(second)
    quarter, minute = imports.means_kw()
    assert quarter == pytest.approx([6.0, 10.0])
    assert np.abs(np.diff(minute)).max() == pytest.approx(30.0)


def _job(name: str, region: str, submit: float, runtime: float, slack: float, gpus: int = 1) -> Job:
    ask = Ask(name, submit, gpus, runtime, slack, Tenant(region), "site0", Dataset("d", 1.0, "site0"))
    return Job(ask, Truth(runtime * gpus))


def test_job_metrics_by_hand() -> None:
    base = records_of.record(count=3)
    jobs = (
        _job("a", "R0", 0.0, 3600.0, 0.0),  # waits an hour and misses its deadline
        _job("b", "R0", 0.0, 2.0, math.inf),  # two seconds: the threshold of 10 s binds
        _job("c", "R1", 3600.0, 3600.0, 7200.0),  # on time
    )
    outcomes = [
        Outcome("done", 0, 3600.0, 7200.0, busy_gpu_s=3600.0),
        Outcome("done", 0, 18.0, 20.0, busy_gpu_s=2.0),
        Outcome("done", 1, 3600.0, 7200.0, busy_gpu_s=3600.0),
    ]
    run = metrics.job_metrics(replace(base, jobs=jobs, outcomes=outcomes))
    assert run["wait_mean_h"] == pytest.approx((3600 + 18) / 3 / 3600)
    assert run["jct_mean_h"] == pytest.approx((7200 + 20 + 3600) / 3 / 3600)
    assert run["bounded_slowdown_mean"] == pytest.approx((2 + 2 + 1) / 3)
    assert run["deadline_miss_rate"] == 0.5
    assert run["makespan_h"] == 2.0
    first, second = (0.5 + 0.1) / 2, 1.0
    assert run["fairness_jain"] == pytest.approx((first + second) ** 2 / (2 * (first**2 + second**2)))


def test_utilisation_stops_at_the_last_arrival_and_counts_sites_once_online() -> None:
    base = records_of.record(count=1)
    late = replace(base.scenario.sites[1], online_s=1800.0)
    scenario = replace(base.scenario, sites=(base.scenario.sites[0], late))
    occupancy = replace(
        base.occupancy,
        job=np.array([0]),
        site=np.array([0]),
        start_s=np.array([1800.0]),
        end_s=np.array([9000.0]),
        gpus=np.array([8]),
        power_w=np.array([1.0]),
        kind=np.array([0]),
    )
    jobs = (_job("a", "R0", 3600.0, 7200.0, 0.0, gpus=8),)
    got = metrics.job_metrics(replace(base, scenario=scenario, occupancy=occupancy, jobs=jobs))["utilisation"]
    assert got == pytest.approx(8 * 1800 / (32 * 3600 + 32 * 1800))


@pytest.mark.parametrize(
    ("draw", "base", "bound", "cut", "captured"),
    [
        (80.0, 100.0, 60.0, 0.2, 0.5),
        (110.0, 100.0, 60.0, -0.1, -0.25),  # never clipped
        (50.0, 100.0, 60.0, 0.5, 1.25),
        (80.0, 100.0, 99.5, 0.2, None),  # the room is under 1 % of the baseline
        (80.0, 100.0, None, 0.2, None),
        (0.0, 0.0, 0.0, None, None),
    ],
)
def test_comparison(draw: float, base: float, bound: float | None, cut: float | None, captured: float | None) -> None:
    done = {"jobs_left": 0, "work_left_gpu_hours": 0.0}
    got = metrics.comparison(done | {"draw_kwh": draw}, done | {"draw_kwh": base}, bound)
    for value, expected in ((got["grid_cut"], cut), (got["captured"], captured)):
        assert math.isnan(value) if expected is None else value == pytest.approx(expected)


def test_work_left_undone_earns_no_cut() -> None:
    done = {"jobs_left": 0, "work_left_gpu_hours": 0.0, "draw_kwh": 100.0}
    left = {"jobs_left": 1, "work_left_gpu_hours": 3.0, "draw_kwh": 50.0}
    assert math.isnan(metrics.comparison(left, done, 10.0)["grid_cut"])
    assert math.isnan(metrics.comparison(done, left, 10.0)["captured"])


# --- attribution -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_jobs_and_rest_and_pool_add_up_to_the_total(seed: int) -> None:
    record = records_of.record(seed=seed, unserved_from_s=0.9 * 86_400)
    jobs = attribution.jobs_columns(record)
    rest: dict[str, float] = {}
    pool: dict[str, float] = {}
    for books in attribution.books_of(record):
        for name in books.rates:
            rest[name] = rest.get(name, 0.0) + books.energy.total_j(books.rest_rate(name))
        for name, rate in books.pool_rates.items():
            pool[name] = pool.get(name, 0.0) + books.energy.total_j(rate)
    run = metrics.summary(record)
    import_to_battery = sum(energy.flow_j("import_to_battery") for energy in record.energy) / 3.6e6
    totals = {
        "energy_kwh": (run["site_kwh"], 0.0),
        "grid_kwh": (run["grid_import_kwh"], import_to_battery),
        "unserved_kwh": (run["unserved_kwh"], 0.0),
        "emissions_kg": (run["emissions_kg"], pool["pool_emissions_kg"]),
        "cost_mad": (run["energy_charge_mad"], pool["pool_cost_mad"]),
    }
    assert import_to_battery > 0
    assert run["unserved_kwh"] > 0
    for name, (total, carried) in totals.items():
        assert jobs[name].sum() > 0, name
        assert jobs[name].sum() + rest[name] + carried == pytest.approx(total, rel=1e-9), name
    parts = sum(jobs[name] for name in ("pv_kwh", "battery_kwh", "grid_kwh", "unserved_kwh"))
    assert jobs["energy_kwh"] == pytest.approx(parts, rel=1e-9)


def test_what_the_pool_carries_is_what_is_mixed_into_it() -> None:
    record = records_of.record()
    energy, battery = record.energy[0], record.scenario.sites[0].battery
    assert isinstance(battery, Battery)
    carried = energy.total_j(next(attribution.books_of(record)).pool_rates["pool_emissions_kg"])
    mixed = energy.mix_carbon[-1] * battery.eta_discharge * energy.stored_j[-1] / 1000
    assert carried == pytest.approx(mixed, rel=1e-6, abs=1e-9)


def test_a_lone_job_carries_its_data_centre_but_not_the_offices() -> None:
    """Site 1 has 1 kW of offices: they stay with the site."""
    record = records_of.record(count=24)
    _, books = attribution.books_of(record)
    energy, share = books.energy, books.jobs_w / books.energy.it_w
    busy = int(np.argmax(share))
    rest = books.rest_rate("energy_kwh")[busy]
    own = (energy.site_w[busy] - 1000.0) * (1 - share[busy]) + 1000.0
    assert rest == pytest.approx(own / 3.6e6, rel=1e-9)


def test_an_occupancy_inside_a_segment_is_shared_exactly() -> None:
    """A job that hands over to one of the same power leaves no edge in the ledger."""
    base = records_of.record(count=1, sites=1)
    energy = base.energy[0]
    whole = attribution.jobs_columns(base)["energy_kwh"][0]
    occupancy = base.occupancy
    cut = float(occupancy.start_s[0] + 137.25)
    assert cut not in energy.edges_s
    halves = replace(
        occupancy,
        job=np.append(0, occupancy.job),
        site=np.append(0, occupancy.site),
        start_s=np.append(occupancy.start_s[0], np.append(cut, occupancy.start_s[1:])),
        end_s=np.append(cut, occupancy.end_s),
        gpus=np.append(occupancy.gpus[0], occupancy.gpus),
        power_w=np.append(occupancy.power_w[0], occupancy.power_w),
        kind=np.append(0, occupancy.kind),
    )
    split = replace(base, occupancy=halves)
    assert attribution.jobs_columns(split)["energy_kwh"][0] == pytest.approx(whole, rel=1e-12)
    once, twice = (next(attribution.books_of(each)).jobs_w for each in (base, split))
    assert twice == pytest.approx(once, rel=1e-9, abs=1e-6)


# --- costs -------------------------------------------------------------------------------------------


def test_billing_months_are_local_and_pro_rated() -> None:
    start = datetime(2025, 12, 31, 0, 0, tzinfo=UTC)
    months = given.billing_months(start, 2 * 86_400.0, "Africa/Casablanca")
    # Morocco's clock is one hour ahead: its new year begins at 23:00 UTC.
    assert [m[:2] for m in months] == [(0.0, 23 * 3600.0), (23 * 3600.0, 2 * 86_400.0)]
    assert months[0][2] == pytest.approx(23 / (31 * 24))
    assert months[1][2] == pytest.approx(25 / (31 * 24))


def test_demand_charge_is_the_peak_of_each_month() -> None:
    books = _one_site([1000.0] * 15 + [4000.0] * 15)
    site = given.SiteCosts(demand_mad_per_kw_month=50.0, months=((0.0, 900.0, 0.5), (900.0, 1800.0, 0.1)))
    assert reading.demand_charge_mad(books, site) == pytest.approx(50 * (1 * 0.5 + 4 * 0.1))


def test_battery_wear_is_the_larger_of_use_and_age(record: Record) -> None:
    energy, battery = record.energy[0], record.scenario.sites[0].battery
    given_j, window_s = energy.flow_j("discharge"), energy.edges_s[-1]
    cycles = metrics.summary(replace(record, scenario=record.scenario))["battery_cycles"]
    used = given.SiteCosts(battery_mad_per_kwh=1000.0, battery_life_cycles=6000.0)
    assert reading.battery_wear_mad(given_j, battery, used, window_s) == pytest.approx(cycles / 6000 * 1000 * 50)
    aged = replace(used, battery_life_years=0.001)
    assert reading.battery_wear_mad(given_j, battery, aged, window_s) == pytest.approx(2 / 0.36525 * 1000 * 50)
    assert reading.battery_wear_mad(given_j, None, used, window_s) == 0.0


def test_energy_lost_is_that_of_the_runs_that_kills_undid(record: Record) -> None:
    jobs = attribution.jobs_columns(record)
    held = record.occupancy
    lost = {int(j) for j, kind in zip(held.job, held.kind, strict=True) if kind == OCCUPANCY_CODES["lost"]}
    assert lost
    assert set(np.flatnonzero(jobs["energy_lost_kwh"])) == lost
    kept = record.occupancy.kind != OCCUPANCY_CODES["lost"]
    columns = ("job", "site", "start_s", "end_s", "gpus", "power_w", "kind")
    occupancy = replace(record.occupancy, **{name: getattr(record.occupancy, name)[kept] for name in columns})
    without = attribution.jobs_columns(replace(record, occupancy=occupancy))["energy_kwh"]
    assert jobs["energy_kwh"] - jobs["energy_lost_kwh"] == pytest.approx(without, rel=1e-9)


def test_what_travels_is_counted_beside_the_books(record: Record) -> None:
    transfers = (
        Transfer(0.0, 1.0, "dataset", "d", 0, 0, 1, 50.0, 3.6e6),
        Transfer(0.0, 1.0, "c", "d", 0, 1, 0, 10.0, 0.0),
    )
    before, after = metrics.summary(record), metrics.summary(replace(record, transfers=transfers))
    assert (after["network_kwh"], after["network_gb"]) == (1.0, 60.0)
    assert after["draw_kwh"] == before["draw_kwh"]
