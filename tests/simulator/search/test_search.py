"""The clairvoyant search on cases small enough to know what is right; its loops run uncompiled here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.energy.battery import stepper
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Carbon, Link, Quota, Scenario
from tafukt.simulator.search import best, course, search, world
from tafukt.simulator.search.follow import Follow
from tafukt.simulator.search.search import Found, Placements, SearchSettings, Stay, schedule_of
from tafukt.workloads.job import Checkpoint, Job

job = kit.job
H, DAYS, END_S = 3600.0, 3, 3 * 86_400.0
SUN_KW = 20.0


def sunny(names: int = 1, battery: Battery | None = None, nodes: int = 1, **other: Any) -> Scenario:
    """Sites whose nodes sleep, with 20 kW of sun from 9 to 15 o'clock."""
    sun = kit.sun_between(9, 15, SUN_KW * 1e3, DAYS)
    sites = [kit.site(f"s{i}", nodes, kit.SLEEPY, END_S, pv=sun, battery=battery) for i in range(names)]
    made: Scenario = kit.scenario(sites, END_S, **other)
    return made


def follow(schedule: Placements) -> Follow:
    return Follow("x", schedule, ["s0", "s1"])


def searched(where: Scenario, jobs: list[Job], steps: int = 100) -> tuple[Found, Record]:
    *_, found = search.search(where, jobs, 1, SearchSettings(steps))
    return found, kit.run(jobs, where, follow(schedule_of(found)))


def drawn_kwh(record: Record) -> float:
    return best.Carried(record).draw_j / 3.6e6


ASLEEP_KWH = (24 - 6) * DAYS * 0.1  # a sleeping node's 100 W whenever there is no sun


def test_a_job_that_may_wait_goes_into_the_sun() -> None:
    """Two hours of work fit between 9 and 15 o'clock: what is drawn is what a sleeping node draws at night."""
    found, record = searched(sunny(), [job("a", 0.0, 8, 2 * H, slack_s=20 * H, interruptible=False)])
    assert 9 * H <= record.outcomes[0].start_s <= 13 * H
    assert drawn_kwh(record) == pytest.approx(ASLEEP_KWH, abs=1e-6)
    assert found.least_kwh == pytest.approx(ASLEEP_KWH, abs=1e-6)


@pytest.mark.parametrize(("restart_s", "paused"), [(120.0, True), (20 * H, False)])
def test_a_job_pauses_overnight_where_restarts_are_cheap(restart_s: float, paused: bool) -> None:
    """Ten hours of work from 10 o'clock with 30 hours of slack: in one piece at least four of them are dark."""
    checkpoint = Checkpoint(0.0, 30.0, restart_s, None)
    jobs = [job("a", 10 * H, 8, 10 * H, slack_s=30 * H, checkpoint=checkpoint)]
    _, record = searched(sunny(), jobs)
    assert (record.outcomes[0].pauses > 0) == paused
    if paused:  # of nearly ten hours in the sun of two days, all but some minutes
        assert drawn_kwh(record) < ASLEEP_KWH + 1.0
    assert record.outcomes[0].end_s <= jobs[0].ask.deadline_s


def test_part_node_jobs_share_a_node_and_never_overlap_a_full_one() -> None:
    jobs = [job(f"j{i}", 0.0, 4, 2 * H, slack_s=24 * H, interruptible=False) for i in range(4)]
    _, record = searched(sunny(nodes=2), jobs)
    starts = sorted(record.outcomes[i].start_s for i in range(4))
    assert all(o.state == "done" for o in record.outcomes)
    # 6 h of sun hold three rounds of two hours on one node, of two jobs each: one node is enough
    busy = max(sum(o.start_s <= t < o.end_s for o in record.outcomes) for t in starts)
    assert busy == 2 or drawn_kwh(record) == pytest.approx(2 * ASLEEP_KWH, abs=0.2)


def test_no_start_of_one_job_is_better_than_the_one_found() -> None:
    """Brute force over every quarter of an hour, with a small battery and a job longer than the sun."""
    battery = Battery(8 * 3.6e6, 4e3, 4e3, 0.9, 0.9, soc_min=0.0, soc_max=1.0, soc_start=0.0)
    where, jobs = sunny(battery=battery), [job("a", 0.0, 8, 9 * H, slack_s=30 * H, interruptible=False)]
    _, record = searched(where, jobs)
    every = [
        drawn_kwh(kit.run(jobs, where, follow(((Stay(0, 0, minute * 60.0, 9 * H),),))))
        for minute in range(0, 30 * 60 + 1, 15)
    ]
    assert drawn_kwh(record) <= min(every) + 0.5  # within an hour, the search's bin here, it takes means
    assert max(every) > min(every) + 5.0


@pytest.mark.parametrize("taper", [0.0, 0.1])
@pytest.mark.parametrize("leak", [0.0, 1e-7])
def test_the_battery_is_that_of_the_ledger(taper: float, leak: float) -> None:
    """Step by step with the closed form that the ledger walks, through limits and taper bands."""
    battery = Battery(100 * 3.6e6, 50e3, 40e3, 0.9, 0.92, leak, 0.05, 0.95, 0.5, taper)
    where = sunny(battery=battery)
    made = course._store(world.world_of(where, []), 0)
    law, rng = stepper(battery, battery.capacity_j), np.random.default_rng(1)
    stored_kwh, stored_j = 50.0, 50.0 * 3.6e6
    for offer_kw in rng.uniform(-80.0, 80.0, 200):
        stored_kwh, drawn_kwh = course._after(made, offer_kw, stored_kwh)
        given_j, left_s = 0.0, H
        while left_s > 0.0:
            power_w, stored_j, used_s = law(stored_j, offer_kw * 1e3, left_s, ())
            given_j, left_s = given_j - min(power_w, 0.0) * used_s, left_s - used_s
        assert stored_kwh == pytest.approx(stored_j / 3.6e6, abs=0.05 if leak else 1e-6)
        assert drawn_kwh == pytest.approx(max(-offer_kw, 0.0) - given_j / 3.6e6, abs=0.05 if leak else 1e-6)
        stored_kwh = stored_j / 3.6e6


def many() -> tuple[Scenario, list[Job]]:
    battery = Battery(20 * 3.6e6, 10e3, 10e3, soc_min=0.0, soc_max=1.0, soc_start=0.0)
    rng = np.random.default_rng(2)
    checkpoint = Checkpoint(0.0, 40.0, 200.0, None)
    jobs = [
        job(f"j{i}", float(rng.integers(0, 30)) * H, int(rng.choice([2, 4, 8, 16])), float(rng.integers(1, 5)) * H,
            slack_s=float(rng.integers(2, 20)) * H, interruptible=i % 3 > 0, checkpoint=checkpoint)
        for i in range(16)
    ]  # fmt: skip
    return sunny(2, battery, 3), jobs


def test_what_the_search_says_is_what_the_simulator_measures() -> None:
    """With gangs, shared nodes, pauses and batteries; nobody is late, and fifo draws more."""
    where, jobs = many()
    found, record = searched(where, jobs, 150)
    assert found.least_kwh == pytest.approx(drawn_kwh(record), rel=0.02)
    assert best.Carried(record).late == 0
    assert drawn_kwh(record) < 0.8 * drawn_kwh(kit.run(jobs, where))
    told = {event.kind: event.reason for event in record.events if event.reason}
    assert told["start"] == "started as the search found best"


def test_a_search_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    where, jobs = many()
    monkeypatch.setattr(search, "CHUNK", 20)
    whole = list(search.search(where, jobs, 1, SearchSettings(60)))
    assert [found.steps for found in whole] == [20, 40, 60]
    begun = Found.from_bytes(whole[0].to_bytes())
    *_, last = search.search(where, jobs, 1, SearchSettings(60), begun)
    assert last.to_bytes() == whole[-1].to_bytes()
    *_, other = search.search(where, jobs, 2, SearchSettings(60))
    assert other.to_bytes() != last.to_bytes()


def test_late_jobs_are_mended() -> None:
    """A plan that ends a job after its deadline is not kept as it is."""
    where, jobs = sunny(), [job("a", 0.0, 8, 2 * H, slack_s=20 * H, interruptible=False)]
    found, _ = searched(where, jobs)
    found.best.a[0, 0] = 40 * 60
    found.best.b[0, 0] = 42 * 60 + 3
    record = best.carried_out(where, jobs, Settings(), 1, found, SearchSettings(100))
    assert best.Carried(record).late == 0


def test_the_better_of_two_is_the_more_punctual() -> None:
    where, jobs = sunny(), [job("a", 0.0, 8, 2 * H, slack_s=20 * H, interruptible=False)]
    found, record = searched(where, jobs)
    night = kit.run(jobs, where, follow(((Stay(0, 0, 0.0, 2 * H),),)))
    chosen, how = best.better(night, where, jobs, Settings(), 1, found, SearchSettings(100))
    assert drawn_kwh(chosen) == drawn_kwh(record)
    assert how == "searched in 100 steps"
    late = kit.run(jobs, where, follow(((Stay(0, 0, 33 * H, 2 * H),),)))
    assert best.Carried(late).late == 1


def test_what_the_search_leaves_out_of_account_is_said() -> None:
    where, jobs = many()
    assert world.obstacle(where, jobs, Settings()) == ""
    sites = where.sites
    limited = replace(sites[0], grid=replace(sites[0].grid, import_limit_w=1e3))
    battery = sites[0].battery
    assert battery is not None
    steered = replace(sites[0], battery=replace(battery, strategy=Carbon()))
    cases = {
        "the grid is limited or fails": replace(where, sites=(limited, sites[1])),
        "a battery follows a strategy": replace(where, sites=(steered, sites[1])),
        "data travel over links": replace(where, links=(Link("s0", "s1", 1.0),)),
        "there are quotas": replace(where, quotas={"r0": Quota(8)}),
        "the institutes decide for themselves": replace(where, coordination="federated"),
        "a site comes later": replace(where, sites=(replace(sites[0], online_s=H), sites[1])),
    }
    for words, case in cases.items():
        assert world.obstacle(case, jobs, Settings()) == words
    broken = Settings(faults=FaultSettings(node_mtbf_s=86_400.0, repair_s=H))
    assert world.obstacle(where, jobs, broken) == "things break"


def test_without_a_compiler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best, "AVAILABLE", False)
    assert "tafukt[search]" in best.why_not(*many(), Settings())


@pytest.mark.slow
def test_compiled_and_plain_find_the_same() -> None:
    pytest.importorskip("numba")
    code = "import test_search as t; print(t.searched(*t.many(), 40)[0].least_kwh)"
    said = []
    for plain in ("1", ""):
        there = os.environ | {"TAFUKT_PLAIN_SEARCH": plain, "PYTHONPATH": os.pathsep.join(sys.path)}
        there["PYTHONPATH"] += os.pathsep + os.path.dirname(__file__)
        done = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, check=True)
        said.append(float(done.stdout))
    assert said[0] == pytest.approx(said[1], rel=1e-9)


def test_who_has_little_room_is_placed_before_who_has_more() -> None:
    """By weight the long job would take the sunny hours, in which alone the short one may run."""
    long = job("long", 0.0, 8, 12 * H, slack_s=40 * H, interruptible=False)
    short = job("short", 9 * H, 8, 5 * H, slack_s=H, interruptible=False)
    here = world.world_of(sunny(), [long, short])
    assert here.jobs.weight[0] > here.jobs.weight[1]
    search._rebuild(here, world.no_segments(2), np.random.default_rng(1))
    assert list(here.plan.number[:2]) == [1, 1]
