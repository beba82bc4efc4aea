"""Outages and import limits: who gives way, in what order, who may start again, and that nothing thrashes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, NodeType, PeakShaving, Scenario
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Checkpoint, Job

HOUR = 3600.0
KWH = 3.6e6
STEP = 300.0
# One node idles at 2 kW, sleeps at 100 W, and draws 10 kW with all GPUs busy: 1 kW more per GPU.
NODE = NodeType("n", 8, 2000.0, 10_000.0, 100.0, wake_s=60.0, sleep_after_s=600.0)
BATTERY = Battery(20 * KWH, 40e3, 40e3, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=1.0)


def scenario(
    sun_w: np.ndarray | float = 0.0,
    *,
    hours: float = 24.0,
    nodes: int = 2,
    battery: Battery | None = None,
    islandable: bool = False,
    node: NodeType = NODE,
    **grid: object,
) -> Scenario:
    site = kit.site(
        "rabat", nodes, node, hours * HOUR, step_s=STEP, pv=sun_w, price=1.0 / KWH, carbon=600.0 / KWH, region="RSK",
        battery=battery, fixed_w=500.0, islandable=islandable, **grid,
    )  # fmt: skip
    return Scenario((site,), hours * HOUR, STEP)


def job(name: str, submit_s: float = 0.0, gpus: int = 8, hours: float = 4.0, **other: object) -> Job:
    """A job that does not mind how late it starts."""
    given = {"checkpoint": Checkpoint(1.0, 120.0, 60.0, inf), "slack_s": inf, **other}
    made: Job = kit.job(name, submit_s, gpus, hours * HOUR, home="rabat", region="RSK", **given)
    return made


def run(what: Scenario, jobs: list[Job], name: str = "fifo") -> Record:
    return simulate(what, jobs, policy(name), settings=Settings())


def kinds(record: Record) -> list[str]:
    return [event.kind for event in record.events if event.kind not in ("submit", "hold")]


def times(record: Record, kind: str) -> list[float]:
    return [event.time_s for event in record.events if event.kind == kind]


def unserved_kwh(record: Record) -> float:
    return record.energy[0].flow_j("unserved") / KWH


def test_an_outage_of_a_site_that_cannot_island() -> None:
    """Sun and battery do not serve; the job is killed, loses its work, and starts again with the repair."""
    what = scenario(50e3, battery=BATTERY, outages=((2 * HOUR, 3 * HOUR),))
    record = run(what, [job("a")])
    assert kinds(record) == ["start", "outage", "kill", "repair", "start", "end"]
    assert times(record, "kill") == [2 * HOUR]
    assert times(record, "start") == [0.0, 3 * HOUR]
    assert record.outcomes[0].state == "done"
    assert record.outcomes[0].end_s == 3 * HOUR + 60 + 4 * HOUR
    assert record.outcomes[0].lost_gpu_s == pytest.approx(8 * (2 * HOUR - 60))
    # two sleeping nodes and what is fixed go unserved for an hour, while the sun is thrown away
    assert unserved_kwh(record) == pytest.approx(0.7, rel=1e-6)
    out = (record.energy[0].edges_s[:-1] >= 2 * HOUR) & (record.energy[0].edges_s[:-1] < 3 * HOUR)
    assert record.energy[0].flows_w["curtailed"][out] == pytest.approx(50e3)


def test_an_island_carries_a_short_outage_without_touching_anybody() -> None:
    record = run(scenario(battery=BATTERY, islandable=True, outages=((600.0, HOUR),)), [job("a")])
    assert kinds(record) == ["start", "outage", "repair", "end"]
    assert unserved_kwh(record) == 0.0


def test_cap_then_pause_then_nodes_off_before_the_battery_is_empty() -> None:
    """20 kWh carry 10.6 kW for less than two hours of an outage of four."""
    capped = replace(NODE, caps=MEASURED)
    what = scenario(battery=BATTERY, islandable=True, node=capped, outages=((HOUR, 5 * HOUR),))
    record = run(what, [job("a")])
    assert kinds(record) == ["start", "outage", "cap", "pause", "repair", "start", "end"]
    cap, pause = times(record, "cap")[0], times(record, "pause")[0]
    # The battery serves from the start and would be empty after 20 / 10.6 h; one checkpoint before that a cap
    # would stretch it by less than half an hour, so the pause follows at once.
    assert cap == pause == pytest.approx(60 + (20 * KWH - 60 * 2600) / 10_600 - 120, abs=0.01)
    assert record.outcomes[0].lost_gpu_s == 0.0
    assert record.outcomes[0].state == "done"
    energy = record.energy[0]
    assert energy.it_w[energy.flows_w["unserved"] > 1.0] == pytest.approx(200.0)  # two nodes asleep


def test_a_cap_that_is_enough_is_all_and_is_lifted_again() -> None:
    """Sun of 5 kW goes for an hour; 9 kW of grid carry the job at 60 % of its power above idle."""
    sun = np.where((np.arange(288) >= 12) & (np.arange(288) < 24), 0.0, 5e3)
    what = scenario(sun, node=replace(NODE, caps=MEASURED), import_limit_w=9e3)
    record = run(what, [job("a")])
    assert kinds(record) == ["start", "cap", "cap", "end"]
    # the measure is taken one checkpoint ahead
    assert times(record, "cap") == [HOUR - 120, 2 * HOUR]
    assert [event.detail["cap"] for event in record.events if event.kind == "cap"] == [0.6, 1.0]
    assert record.outcomes[0].end_s == pytest.approx(60 + 4 * HOUR + 0.15 * (HOUR + 120), abs=0.1)
    assert unserved_kwh(record) == 0.0


def test_the_pause_comes_just_in_time() -> None:
    """Without caps: the checkpoint is complete at the very moment at which the battery would be empty."""
    battery = replace(BATTERY, soc_start=1.0)
    what = scenario(battery=battery, islandable=True, outages=((0.0, 20 * HOUR),))
    record = run(what, [job("a", hours=10.0)])
    # 60 s of waking at idle power, then 10.6 kW
    empty_s = 60 + (20 * KWH - 60 * 2600) / 10_600
    assert times(record, "pause") == [pytest.approx(empty_s - 120, abs=0.01)]
    after = np.searchsorted(record.energy[0].edges_s, empty_s + 1.0)
    assert record.energy[0].stored_j[after] == pytest.approx(0.0, abs=1e4)
    assert times(record, "kill") == []


def test_who_cannot_be_saved_runs_to_the_last_joule_and_is_killed() -> None:
    what = scenario(battery=BATTERY, islandable=True, outages=((0.0, 20 * HOUR),))
    record = run(what, [job("a", hours=10.0, interruptible=False)])
    empty_s = 60 + (20 * KWH - 60 * 2600) / 10_600
    assert times(record, "kill") == [pytest.approx(empty_s, abs=0.01)]
    assert "pause" not in kinds(record)


def test_a_checkpoint_that_does_not_fit_is_not_begun() -> None:
    """Without a battery nothing can be saved when the grid fails."""
    what = scenario(islandable=True, outages=((HOUR, 2 * HOUR),))
    assert kinds(run(what, [job("a")])) == ["start", "outage", "kill", "repair", "start", "end"]


def test_least_priority_and_last_start_give_way_first() -> None:
    jobs = [job("a", 0.0, 4, 10.0), job("b", 600.0, 4, 10.0), job("c", 1200.0, 4, 10.0, priority=5)]
    what = scenario(10_000.0 * (np.arange(288) * STEP < 2 * HOUR), nodes=2, import_limit_w=11e3)
    record = run(what, jobs)
    first = next(event for event in record.events if event.kind == "pause")
    assert record.jobs[first.job].ask.job_id == "b"
    assert first.reason == "shortage: the import limit"
    assert unserved_kwh(record) == pytest.approx(0.0, abs=1e-9)


def test_an_import_limit_lets_jobs_in_one_after_the_other() -> None:
    """11 kW carry one full node and one asleep, not two."""
    record = run(scenario(import_limit_w=11e3), [job("a"), job("b")])
    assert kinds(record) == ["start", "end", "start", "end"]
    assert unserved_kwh(record) == 0.0
    assert record.energy[0].flows_w["import_to_load"].max() <= 11e3


def test_the_battery_lets_a_job_in_only_if_it_carries_it_long_enough() -> None:
    """9.6 kW are lacking for the second job: 4.8 kWh for half an hour."""

    def second_start(kwh: float) -> float:
        battery = replace(BATTERY, soc_start=kwh / 20)
        return times(run(scenario(battery=battery, import_limit_w=11e3), [job("a"), job("b", 10.0)]), "start")[1]

    # self-consumption has the battery serve the first job as well, so look at the moment of asking
    assert second_start(5.5) == 10.0
    assert second_start(4.5) > HOUR


def test_two_starts_in_one_round_do_not_count_on_the_same_power() -> None:
    """A job that still wakes its node will draw more; the second must not take that for free."""
    record = run(scenario(import_limit_w=15e3), [job("a"), job("b")])
    assert times(record, "start")[1] > HOUR
    assert unserved_kwh(record) == 0.0


def test_the_evening_pauses_and_the_morning_takes_up_again() -> None:
    hour = (np.arange(288) + 0.5) * STEP / HOUR
    sun = 30e3 * np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None)
    what = scenario(np.tile(sun, 2), hours=48.0, import_limit_w=5e3)
    record = run(what, [job("a", 8 * HOUR, hours=14.0)])
    assert Counter(kinds(record)) == {"start": 2, "pause": 1, "end": 1}
    assert 16 * HOUR < times(record, "pause")[0] < 18 * HOUR
    assert 30 * HOUR < times(record, "start")[1] < 34 * HOUR
    assert unserved_kwh(record) == 0.0


def test_flickering_sun_does_not_thrash() -> None:
    """Sun that comes and goes every five minutes must not start and stop a job every five minutes."""
    sun = 20e3 * (np.arange(288) % 2)
    record = run(scenario(sun, import_limit_w=5e3), [job("a", hours=3.0)])
    begun = times(record, "start")
    assert len(begun) > 1
    assert np.diff(begun).min() >= 1800.0
    assert unserved_kwh(record) == pytest.approx(0.0, abs=1e-3)


def test_nodes_that_never_sleep_boot_again_after_an_outage() -> None:
    node = replace(NODE, sleep_after_s=inf)
    record = run(scenario(node=node, outages=((HOUR, 2 * HOUR),)), [])
    energy = record.energy[0]
    it = energy.it_w[np.searchsorted(energy.edges_s, [0.5 * HOUR, 1.5 * HOUR, 2.5 * HOUR], side="right") - 1]
    assert it.tolist() == [4000.0, 200.0, 4000.0]


def test_a_limit_that_never_binds_changes_nothing() -> None:
    jobs = [job(f"j{i:02d}", 600.0 * i, 1 + i % 8, 1.0) for i in range(40)]
    free, limited = (run(scenario(8e3, import_limit_w=limit), jobs) for limit in (inf, 1e6))
    assert [o.end_s for o in free.outcomes] == [o.end_s for o in limited.outcomes]
    assert free.rounds == limited.rounds
    for name, power in free.energy[0].flows_w.items():
        assert np.array_equal(power, limited.energy[0].flows_w[name])


def weak_network(seed: int) -> tuple[Scenario, list[Job]]:
    """Three sites with outages, limits, clouds, batteries of every kind; jobs of every size."""
    rng = np.random.default_rng(seed)
    base = scenario(hours=72.0)
    n = len(base.sites[0].pv.values)
    hour = (np.arange(n) + 0.5) * STEP / HOUR % 24
    sites = []
    for i in range(3):
        sun = 60e3 * np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None) * rng.uniform(0.2, 1.0, n)
        marks = np.sort(rng.uniform(0, 72 * HOUR, 4))
        grid = replace(
            base.sites[0].grid,
            import_limit_w=float(rng.choice([inf, 4e3, 15e3, 30e3])),
            export_limit_w=float(rng.choice([inf, 5e3])),
            outages=((float(marks[0]), float(marks[1])), (float(marks[2]), float(marks[3]))),
        )
        battery = replace(
            BATTERY, eta_charge=0.9, taper_soc=float(rng.choice([0.0, 0.05])), soc_start=float(rng.uniform(0, 1)),
            self_discharge_per_s=float(rng.choice([0.0, 6e-9])), fade_per_cycle=1e-3,
            strategy=(None, PeakShaving(12e3), None)[i],
        )  # fmt: skip
        node = replace(NODE, caps=MEASURED if rng.random() < 0.5 else ())
        sites.append(replace(
            base.sites[0], name=("rabat", "fes", "dakhla")[i], nodes=3, node=node, grid=grid, pv=StepProfile(sun, STEP),
            battery=battery if rng.random() < 0.7 else None, islandable=bool(rng.random() < 0.6),
            midnights_s=(23 * HOUR, 47 * HOUR),
        ))  # fmt: skip
    jobs = [
        job(
            f"j{i:03d}", float(rng.uniform(0, 40 * HOUR)), int(rng.choice([1, 2, 4, 8, 16])),
            float(rng.uniform(0.2, 6)), slack_s=12 * HOUR,
            interruptible=bool(rng.random() < 0.7), priority=int(rng.integers(3)),
            checkpoint=Checkpoint(1.0, float(rng.uniform(10, 900)), 60.0, 1800.0),
        )
        for i in range(80)
    ]  # fmt: skip
    return replace(base, sites=tuple(sites)), jobs


@pytest.mark.parametrize("name", ["fifo", "easy", "solar", "wait-for-sun", "conservative"])
@pytest.mark.parametrize("seed", [1, 2])
def test_nobody_runs_on_power_that_is_not_there(name: str, seed: int) -> None:
    """In every segment with load unserved no node is awake; no job is lost; imports keep to their limits."""
    what, jobs = weak_network(seed)
    record = run(what, jobs, name)
    assert record.balance_residual < 1e-9
    assert Counter(event.kind for event in record.events)["outage"] == 6
    assert {outcome.state for outcome in record.outcomes} <= {"done", "left"}
    for site, energy in zip(what.sites, record.energy, strict=True):
        long = energy.duration_s > 2 / 1024
        short = (energy.flows_w["unserved"] > 1e-6 * energy.site_w) & long
        assert energy.it_w[short] == pytest.approx(3 * NODE.sleep_w)
        imported = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
        assert imported.max() <= site.grid.import_limit_w * (1 + 1e-12)
