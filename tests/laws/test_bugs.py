"""Mistakes that other simulators, papers and data loggers have made: one small test each, down to the metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.config.load import check
from tafukt.experiments.errors import InputError
from tafukt.experiments.results.attribution import jobs_columns
from tafukt.experiments.results.costs import SiteCosts
from tafukt.experiments.results.metrics import comparison, summary
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, NodeType, Scenario
from tafukt.sites.cooling import overhead
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import ProfileRangeError, StepProfile
from tafukt.sites.site import catalogue, site_from
from tafukt.sites.supply import supply
from tafukt.workloads.job import Checkpoint

HOUR, DAY, KWH = 3600.0, 86_400.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0)
SLEEPY = replace(NODE, wake_s=1800.0, sleep_after_s=600.0)
TANK = Battery(10 * KWH, 5e3, 5e3, 0.8, 0.8, soc_min=0.0, soc_max=1.0, soc_start=0.0)


def place(
    sun_w: float | list[float] = 0.0, battery: Battery | None = None, node: NodeType = NODE, **other: Any
) -> Scenario:
    """One node for a day in steps of an hour: constant overhead, price 1 MAD and carbon 600 g per kWh."""
    more = other.pop("pue", 1.0) - 1.0
    site = kit.site(
        "s0", 1, node, pv=np.resize(sun_w, 24), overhead=more, price=1 / KWH, carbon=600 / KWH, battery=battery, **other
    )
    return kit.scenario([site])


def kwh(record: Record, name: str) -> float:
    return float(summary(record)[name])


# --- energy -------------------------------------------------------------------------------------------


def test_energy_at_two_step_sizes_is_the_same() -> None:
    """Others integrate power at the reporting step, and miss a job that starts between two of them."""
    jobs = [kit.job("a", 1003.0, 4, 2711.0), kit.job("b", 5555.0, 8, 77.0)]
    coarse = place(3000.0, replace(TANK, soc_start=0.3))
    site = coarse.sites[0]

    def finer(profile: StepProfile) -> StepProfile:
        return StepProfile(np.repeat(profile.values, 60), 60.0)

    grid = replace(site.grid, **{n: finer(getattr(site.grid, n)) for n in ("price", "carbon", "export_price")})
    parts = {name: finer(getattr(site, name)) for name in ("pv", "overhead", "other")}
    fine = replace(coarse, step_s=60.0, sites=(replace(site, grid=grid, **parts),))
    one, two = summary(kit.run(jobs, coarse)), summary(kit.run(jobs, fine))
    for name in one:
        if name.endswith(("_kwh", "_kg", "_mad")):
            assert two[name] == pytest.approx(one[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def test_idle_power_counts_from_the_first_second() -> None:
    assert kwh(kit.run([kit.job("a", 12 * HOUR, 8, HOUR)], place()), "it_kwh") == pytest.approx(23 * 1 + 5)


def test_idle_power_counts_while_a_node_wakes_and_before_it_sleeps() -> None:
    record = kit.run([kit.job("a", HOUR, 8, HOUR)], place(node=SLEEPY))
    assert kit.starts(record)["a"] == HOUR
    assert kit.ends(record)["a"] == 2.5 * HOUR
    awake = 0.5 * 1.0 + 1.0 * 5.0 + 600 / HOUR * 1.0
    assert kwh(record, "it_kwh") == pytest.approx(awake + (24 - 1.5 - 1 / 6) * 0.1)


def test_energy_of_a_killed_job_is_not_forgotten() -> None:
    """Half an hour of work is lost to an outage of ten minutes, and done again."""
    where = place()
    site = where.sites[0]
    where = replace(where, sites=(replace(site, grid=replace(site.grid, outages=((1800.0, 2400.0),))),))
    record = kit.run([kit.job("a", 0.0, 8, HOUR)], where)
    assert record.outcomes[0].kills == 1
    assert record.outcomes[0].lost_gpu_s == 8 * 1800.0
    found = summary(record)
    assert found["energy_lost_kwh"] == pytest.approx(2.5)
    assert float(jobs_columns(record)["energy_kwh"][0]) == pytest.approx(2.5 + 5.0)


def test_jobs_that_share_a_node_share_its_power() -> None:
    """Others bill each of them the whole node."""
    record = kit.run([kit.job("a", 0.0, 2, HOUR), kit.job("b", 0.0, 6, HOUR)], place(pue=1.5))
    billed = jobs_columns(record)["energy_kwh"]
    assert billed == pytest.approx([5.0 * 1.5 * 0.25, 5.0 * 1.5 * 0.75])


def test_pue_is_applied_once() -> None:
    record = kit.run([kit.job("a", 0.0, 8, HOUR)], place(pue=1.4))
    found = summary(record)
    assert found["it_kwh"] == pytest.approx(5 + 23)
    assert found["site_kwh"] == found["grid_import_kwh"] == pytest.approx(1.4 * 28)
    assert found["pue"] == pytest.approx(1.4)


def test_surplus_does_not_vanish_when_the_battery_is_full() -> None:
    """24 h x 4 kW of sun, 1 kW of load; 10 kWh fit into the battery, for which 12.5 are taken."""
    for limit, name in ((np.inf, "export_kwh"), (0.0, "curtailed_kwh")):
        where = place(4000.0, TANK)
        site = where.sites[0]
        where = replace(where, sites=(replace(site, grid=replace(site.grid, export_limit_w=limit)),))
        found = summary(kit.run([], where))
        assert found["pv_used_kwh"] == pytest.approx(24 + 12.5)
        assert found[name] == pytest.approx(96 - 24 - 12.5)


def test_energy_in_the_battery_at_the_start_is_not_free() -> None:
    """10 kWh stored feed the load with 8; to put them there took 12.5."""
    full, empty = (summary(kit.run([], place(0.0, replace(TANK, soc_start=soc)))) for soc in (1.0, 0.0))
    assert full["grid_import_kwh"] == pytest.approx(24 - 8)
    assert full["draw_kwh"] == pytest.approx(24 - 8 + 12.5)
    assert empty["draw_kwh"] == pytest.approx(24)


def test_an_empty_battery_does_not_oversleep() -> None:
    """Two bright hours in the morning and two in the evening: 4 kW of each are left over, and stored."""
    sun = [0.0] * 5 + [5e3] * 2 + [0.0] * 13 + [5e3] * 2 + [0.0] * 2
    record = kit.run([], place(sun, TANK))
    stored = record.energy[0].binned_j(record.energy[0].flows_w["pv_to_battery"], np.arange(0.0, DAY + 1, 12 * HOUR))
    assert stored / KWH == pytest.approx([8.0, 8.0])


def test_a_tapering_battery_at_an_import_limit_is_exact() -> None:
    """Load 1 kW, limit 0.6: what the fading battery no longer gives is unserved from the very instant on.

    With a band of 5 kWh and 2 kW, the power falls as 2 exp(-t / 2.5 h) from 1 kW, and passes 0.4 after 2.29 h.
    """
    cell = replace(TANK, discharge_w=2e3, eta_discharge=1.0, soc_start=0.25, taper_soc=0.5)
    where = place(0.0, cell, NodeType("n", 8, 0.0, 5000.0, 0.0), fixed_w=1000.0)
    site = where.sites[0]
    where = replace(where, sites=(replace(site, grid=replace(site.grid, import_limit_w=600.0)),))
    passed_h = 2.5 * np.log(1.0 / 0.4)
    last_h = 24.0
    unserved = 0.4 * (last_h - passed_h) - 2.5 * (0.4 - np.exp(-last_h / 2.5))
    found = summary(kit.run([], where))
    assert found["unserved_kwh"] == pytest.approx(unserved, rel=1e-9)
    assert found["peak_import_kw"] == pytest.approx(0.6)


def test_energy_left_in_the_battery_is_not_sold() -> None:
    sun = [0.0] * 22 + [20e3] * 2
    assert kwh(kit.run([], place(sun, TANK)), "draw_kwh") == pytest.approx(22)


def test_emissions_are_divided_by_an_efficiency_once() -> None:
    """What is imported is emitted, once, whether or not it goes through a battery; losses show in the import."""
    from tafukt.simulator.scenario import Tariff

    where = place(0.0, replace(TANK, strategy=Tariff(0.6 / KWH, 1.9 / KWH)))
    site = where.sites[0]
    price = StepProfile(np.repeat([0.5, 2.0], 12) / KWH, HOUR)
    where = replace(where, sites=(replace(site, grid=replace(site.grid, price=price)),))
    record = kit.run([], where)
    found, energy = summary(record), record.energy[0]
    assert found["grid_import_kwh"] == pytest.approx(24 - 8 + 12.5)
    assert found["emissions_kg"] == pytest.approx(0.6 * (24 - 8 + 12.5))
    carried = energy.mix_carbon[energy.flows_w["discharge"] > 0]
    assert carried == pytest.approx(600 / KWH / (0.8 * 0.8))


# --- time and sky -----------------------------------------------------------------------------------------


def test_a_profile_ends_where_it_ends() -> None:
    """Others repeat the last value, or wrap around to the first."""
    profile = StepProfile(np.array([1.0, 2.0]), HOUR)
    for read in (lambda: profile.at(2 * HOUR), lambda: profile.integral(0.0, 2 * HOUR + 1), lambda: profile.at(-1.0)):
        with pytest.raises(ProfileRangeError):
            read()
    with pytest.raises(ValueError, match="does not cover the window"):
        kit.scenario([kit.site(end_s=DAY)], end_s=DAY + HOUR)


@pytest.mark.parametrize("day", ["2025-03-15", "2025-07-15"])  # Casablanca's clock stands at UTC+0, then at UTC+1
@pytest.mark.parametrize("step_s", [300.0, 1800.0, 3600.0])
def test_the_sun_stands_highest_at_solar_noon(day: str, step_s: float, tmp_path: Path) -> None:
    """A shift by half a step or by a time zone moves the middle of a clear day's generation."""
    table = {"weather": {"kind": "clear-sky"}, "pv": {"azimuth_deg": 180.0}}
    model = site_from(table, "rabat", "t")
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    pv = supply([model], start, 1, step_s, 1, tmp_path)["rabat"].pv_w.values
    middles_h = (np.arange(len(pv)) + 0.5) * step_s / HOUR
    centre_h = float(np.sum(middles_h * pv) / np.sum(pv))
    days = (start - datetime(start.year, 1, 1, tzinfo=UTC)) / timedelta(days=1) + 0.5
    angle = 2 * np.pi * (days - 81) / 364
    equation_h = (9.87 * np.sin(2 * angle) - 7.53 * np.cos(angle) - 1.5 * np.sin(angle)) / 60
    noon_h = 12.0 - model.lon / 15.0 - equation_h
    # Warm afternoons cost some of the power, and so move its centre; half a step of an hour is thirty minutes.
    assert centre_h == pytest.approx(noon_h, abs=4 / 60)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_no_cooling_gains_efficiency_in_heat(name: str) -> None:
    found = overhead(catalogue()[name].cooling, np.linspace(-10.0, 60.0, 701))
    assert (np.diff(found) >= -1e-12).all()
    assert found[-1] > found[0]


# --- input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["stepmin", "sites.all.battery.kwh_per_nod", "sites.all.grid.import_limitkw", "workload.slak_h",
     "forecast.eror", "engine.hold_mins", "output.event", "faults.presets"],
)  # fmt: skip
def test_a_misspelt_key_is_no_silent_default(key: str) -> None:
    document: dict[str, Any] = {
        "name": "x", "start": "2025-06-01T00:00:00Z", "days": 1, "policies": ["fifo"],
        "sites": {"use": ["rabat"], "all": {}}, "workload": {"kind": "generator", "load": 0.3},
    }  # fmt: skip
    check(document, "x.toml", Path())
    table = document
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = 1
    with pytest.raises(InputError, match=last):
        check(document, "x.toml", Path())


@pytest.mark.parametrize("broken", ["nan", "", "-9999", "ERR"])
def test_a_failed_meter_is_not_read_as_zero(broken: str, tmp_path: Path) -> None:
    """Nights are zero; a noon without a number is not."""
    rows = [f"2025-06-01T{hour:02d}:00:00Z,{500 if 6 <= hour < 18 else 0},20" for hour in range(24)]
    rows[12] = rows[12].replace(",500,", f",{broken},")
    (tmp_path / "w.csv").write_text("time,ghi,temp_air\n" + "\n".join(rows) + "\n")
    table = {"name": "x", "lat": 34.0, "lon": -6.8, "tz": "UTC", "pv": {"kwp": 1.0}}
    model = site_from(table | {"weather": {"kind": "csv", "file": str(tmp_path / "w.csv")}}, None, "t")
    with pytest.raises(SiteError, match=r"w\.csv"):
        supply([model], datetime(2025, 6, 1, tzinfo=UTC), 1, HOUR, 1, tmp_path)
    with pytest.raises(ValueError, match="finite"):
        StepProfile(np.array([1.0, np.nan]), HOUR)


# --- schedules: what was found while these tests were written -----------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_job_that_runs_past_its_estimate_holds_its_gpus(name: str) -> None:
    """A plan made of estimates must not hand out what a late job still holds."""
    jobs = [kit.job("late", 0.0, 8, 1000.0, estimate_s=100.0), kit.job("next", 500.0, 1, 10.0)]
    jobs += [kit.job(f"j{i}", 100.0 * i, 1 + i % 9, 500.0, estimate_s=50.0 + 40 * i) for i in range(12)]
    record = kit.run(jobs, kit.scenario([kit.site("s0", 2)]), policy(name))
    assert {outcome.state for outcome in record.outcomes} == {"done"}


def test_a_job_that_ends_with_the_window_is_done() -> None:
    record = kit.run([kit.job("a", DAY - HOUR, 8, HOUR)])
    assert record.outcomes[0].state == "done"
    assert record.outcomes[0].end_s == DAY


def test_what_befalls_a_node_befalls_no_job_by_name() -> None:
    from tafukt.simulator.failures import FaultSettings

    record = kit.run([], faults=FaultSettings(node_mtbf_s=2 * HOUR, repair_s=HOUR))
    broken = [event for event in record.events if event.kind in ("outage", "repair")]
    assert broken
    assert {event.job for event in broken} == {-1}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_was_planned_on_a_node_that_breaks_is_planned_anew(name: str) -> None:
    from tafukt.simulator.failures import FaultSettings

    saving = Checkpoint(1.0, 10.0, 10.0, 300.0)
    jobs = [kit.job(f"j{i:02d}", 50.0 * i, 1 + (5 * i) % 16, 900.0, checkpoint=saving) for i in range(30)]
    faults = FaultSettings(node_mtbf_s=HOUR, repair_s=HOUR / 2)
    record = kit.run(jobs, kit.scenario([kit.site("s0", 3)]), policy(name), faults=faults)
    assert sum(outcome.kills for outcome in record.outcomes) > 0
    assert {outcome.state for outcome in record.outcomes} == {"done"}


# --- metrics: what a change of one operator would not have been noticed by ----------------------------------


@pytest.mark.parametrize("left", [{"jobs_left": 1}, {"work_left_gpu_hours": 1e-3}])
def test_either_kind_of_work_left_undone_earns_no_cut(left: dict[str, float]) -> None:
    done = {"jobs_left": 0, "work_left_gpu_hours": 0.0, "draw_kwh": 100.0}
    for run, baseline in (({**done, **left, "draw_kwh": 50.0}, done), ({**done, "draw_kwh": 50.0}, {**done, **left})):
        assert np.isnan(comparison(run, baseline, 10.0)["grid_cut"])
        assert np.isnan(comparison(run, baseline, 10.0)["captured"])


def test_demand_charges_of_all_sites_are_added_to_the_cost() -> None:
    """1 kW all day, 5 kW in an hour, at each of two sites, for 10 MAD per kW, on top of 28 kWh at 1 MAD each."""
    one = place().sites[0]
    where = kit.scenario([one, replace(one, name="s1", region="r1")])
    record = kit.run([kit.job("a", HOUR, 8, HOUR), kit.job("b", HOUR, 8, HOUR, home="s1")], where)
    costs = SiteCosts(demand_mad_per_kw_month=10.0, months=((0.0, DAY, 1.0),))
    found = summary(record, {"s0": costs, "s1": costs})
    assert found["demand_charge_mad"] == pytest.approx(2 * 50.0)
    assert found["cost_mad"] == pytest.approx(2 * (50.0 + 28.0))


def test_one_change_between_two_quarters_is_a_ramp() -> None:
    where = kit.scenario([kit.site("s0", end_s=HOUR)], end_s=1800.0)
    record = kit.run([kit.job("a", 900.0, 8, 900.0)], where)
    ramps = {name: value for name, value in summary(record).items() if "ramp" in name and "breach" not in name}
    assert ramps
    assert list(ramps.values()) == pytest.approx([4.0] * len(ramps))


def test_fairness_by_hand() -> None:
    """Two regions: one waits for nothing, the other as long again as it runs; Jain's index of 1 and 1/2 is 0.9."""
    jobs = [kit.job("a", 0.0, 8, HOUR), kit.job("b", 0.0, 8, HOUR, home="s1")]
    assert kwh(kit.run(jobs), "fairness_jain") == pytest.approx(1.5**2 / (2 * 1.25))
    assert np.isnan(kwh(kit.run([]), "fairness_jain"))
    whole = kit.run([*jobs[:1], kit.job("c", 0.0, 99, HOUR, region="r9")])  # a region whose only job is rejected
    assert kwh(whole, "fairness_jain") == pytest.approx(1.0)


def test_utilisation_is_of_the_time_to_the_last_arrival() -> None:
    """Half of the GPUs for an hour of two; nothing of what comes after, and no site without its time online."""
    jobs = [kit.job("a", 0.0, 4, HOUR), kit.job("last", 2 * HOUR, 8, HOUR)]
    assert kwh(kit.run(jobs), "utilisation") == pytest.approx(4 / 16)
    assert np.isnan(kwh(kit.run([kit.job("a", 0.0, 4, HOUR)]), "utilisation"))
    assert np.isnan(kwh(kit.run([]), "utilisation"))
    late = kit.scenario([kit.site("s0"), kit.site("s1", online_s=DAY)])
    assert kwh(kit.run(jobs, late), "utilisation") == pytest.approx(4 / 16)
