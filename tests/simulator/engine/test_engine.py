"""The engine: what happens first, what it refuses, and what every pause, kill and checkpoint costs."""

from __future__ import annotations

import math
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine import job_state as checkpoints
from tafukt.simulator.engine.actions import Hold, Move, Pause, Resize, Start
from tafukt.simulator.engine.event_queue import Clock, Kind, cancel
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.record import Occupancy
from tafukt.simulator.units import on_grid
from tafukt.workloads.job import Checkpoint

# --- order of things -----------------------------------------------------------------------------


def test_at_one_instant_ends_come_first_and_the_round_last() -> None:
    clock, seen = Clock(), []
    for kind, index in [(Kind.TIMER, 0), (Kind.ARRIVAL, 1), (Kind.ARRIVAL, 0), (Kind.FAULT, 3), (Kind.END, 7)]:
        clock.at(5.0, kind, index, lambda event: seen.append(event._value), (kind, index))
    dropped = clock.at(5.0, Kind.END, 0, lambda event: seen.append("cancelled"))
    cancel(dropped)
    while clock.peek() < math.inf:
        clock.step()
    assert seen == [(Kind.END, 7), (Kind.FAULT, 3), (Kind.ARRIVAL, 0), (Kind.ARRIVAL, 1), (Kind.TIMER, 0)]
    assert clock.now == 5.0


def test_times_on_the_grid_add_up_exactly() -> None:
    rng = np.random.default_rng(3)
    for now, then in rng.uniform(0, 1e7, (2000, 2)):
        a, b = on_grid(now), on_grid(now + then)
        assert a + (b - a) == b


def test_gpus_freed_at_an_instant_serve_who_arrives_at_that_instant_in_order_of_arrival() -> None:
    jobs = [kit.job("a", 0, 8, 100), kit.job("c", 100, 8, 10), kit.job("b", 100, 8, 10)]
    record = kit.run(jobs)
    assert kit.starts(record) == {"a": 0.0, "c": 100.0, "b": 110.0}
    # Rounds: at 0, 100 (an end and two arrivals), 110, 120.
    assert record.rounds == 4


def test_a_job_of_no_length_ends_where_it_starts() -> None:
    record = kit.run([kit.job("a", 10, 8, 0.0001), kit.job("b", 10, 8, 5)])
    assert kit.ends(record) == {"a": 10.0, "b": 15.0}


# --- energy of nodes -----------------------------------------------------------------------------


def test_energy_of_idle_and_loaded_nodes() -> None:
    where = kit.scenario([kit.site(nodes=2)])
    record = kit.run([kit.job("a", 3600, 4, 7200, intensity=0.5)], where)
    # Two nodes idle all day; half a node at half its power above idle for two hours.
    assert kit.it_j(record) == pytest.approx(2 * 1000.0 * 86_400 + 0.5 * 0.5 * 4000.0 * 7200, rel=1e-12)
    assert record.occupancy.power_w.tolist() == [500.0 + 0.25 * 4000.0]


def test_energy_of_a_node_that_sleeps_and_wakes() -> None:
    where = kit.scenario([kit.site(nodes=2, node=kit.SLEEPY)])
    record = kit.run([kit.job("a", 1000, 8, 3600)], where)
    assert kit.ends(record)["a"] == 1000 + 180 + 3600
    # Awake from 1000 to the end of the job and 600 s more, loaded for an hour of that.
    awake = 180 + 3600 + 600
    expected = 100.0 * (2 * 86_400 - awake) + 1000.0 * awake + 4000.0 * 3600
    assert kit.it_j(record) == pytest.approx(expected, rel=1e-12)
    kinds = [Occupancy.KINDS[kind] for kind in record.occupancy.kind]
    assert kinds == ["wake", "run"]


def test_a_job_that_comes_before_a_node_sleeps_does_not_wait() -> None:
    where = kit.scenario([kit.site(node=kit.SLEEPY)])
    record = kit.run([kit.job("a", 0, 8, 100), kit.job("b", 800, 8, 100), kit.job("c", 1700, 8, 100)], where)
    assert kit.ends(record) == {"a": 280.0, "b": 900.0, "c": 1980.0}


def test_gpus_lost_beside_a_gang_idle() -> None:
    where = kit.scenario([kit.site(nodes=2)])
    record = kit.run([kit.job("a", 0, 12, 3600)], where, remainder="whole")
    assert record.occupancy.gpus.tolist() == [16]
    assert kit.it_j(record) == pytest.approx(2000.0 * 86_400 + 1.5 * 4000.0 * 3600, rel=1e-12)
    assert kit.outcome(record, "a").busy_gpu_s == 16 * 3600


# --- the truth about a job -----------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "share"), [("failed", 0.25), ("cancelled", 0.5)])
def test_a_job_that_ends_early_of_itself_does_that_much_work(ending: str, share: float) -> None:
    record = kit.run([kit.job("a", 0, 4, 1000, ending=ending, ends_at=share)])
    outcome = kit.outcome(record, "a")
    assert (outcome.state, outcome.end_s, outcome.work_left_gpu_s) == (ending, 1000 * share, 0.0)


def test_past_its_estimate_a_job_is_extended_or_killed() -> None:
    jobs = [kit.job("a", 0, 8, 1000, estimate_s=600.0), kit.job("b", 0, 8, 50)]
    assert kit.ends(kit.run(jobs)) == {"a": 1000.0, "b": 1050.0}
    record = kit.run(jobs, overrun="kill")
    assert kit.ends(record) == {"a": 600.0, "b": 650.0}
    assert kit.outcome(record, "a").state == "failed"
    assert "limit" in next(e.reason for e in record.events if e.kind == "end" and e.job == 0)


def test_a_job_larger_than_any_site_is_rejected_and_said() -> None:
    record = kit.run([kit.job("big", 5, 9, 100), kit.job("a", 6, 8, 100)])
    assert kit.outcome(record, "big").state == "rejected"
    assert kit.outcome(record, "a").state == "done"
    assert [e.kind for e in record.events if e.job == 0] == ["submit", "reject"]


def test_work_under_way_and_work_not_begun_at_the_end_are_left() -> None:
    where = kit.scenario(end_s=7200.0)
    record = kit.run([kit.job("a", 0, 8, 10_000), kit.job("b", 0, 8, 100), kit.job("c", 9000, 8, 100)], where)
    assert [o.state for o in record.outcomes] == ["left"] * 3
    assert [o.work_left_gpu_s for o in record.outcomes] == [8 * 2800.0, 800.0, 800.0]


# --- pause, move, kill ---------------------------------------------------------------------------

SAVING = Checkpoint(size_gb=10.0, write_s=60.0, restart_s=240.0)


def pause(name: str) -> Any:
    return lambda view: [Pause(kit.lives(view)[name], "test")]


def test_a_pause_costs_one_checkpoint_and_one_restart_powered_and_no_work() -> None:
    record = kit.run([kit.job("a", 0, 8, 3600, checkpoint=SAVING)], policy=kit.Script({1000.0: pause("a")}))
    assert kit.ends(record)["a"] == 3600 + 60 + 240
    kinds = [Occupancy.KINDS[kind] for kind in record.occupancy.kind]
    assert kinds == ["run", "checkpoint", "restart", "run"]
    assert record.occupancy.power_w.tolist() == [5000.0] * 4
    outcome = kit.outcome(record, "a")
    assert (outcome.pauses, outcome.lost_gpu_s, outcome.busy_gpu_s) == (1, 0.0, 8 * 3900.0)
    assert kit.it_j(record) == pytest.approx(1000.0 * 86_400 + 4000.0 * 3900, rel=1e-12)


def test_a_kill_without_checkpoints_loses_everything() -> None:
    record = kit.run([kit.job("a", 0, 8, 3600, checkpoint=SAVING)], policy=kit.Script({}), kills={"a": 1000.0})
    outcome = kit.outcome(record, "a")
    assert kit.ends(record)["a"] == 1000 + 3600, "nothing to restart from, so no restart is paid"
    assert (outcome.kills, outcome.lost_gpu_s) == (1, 8000.0)
    lost = record.occupancy.kind == Occupancy.KINDS.index("lost")
    assert (record.occupancy.end_s - record.occupancy.start_s)[lost].tolist() == [1000.0]


def test_a_kill_loses_what_came_after_the_last_periodic_checkpoint() -> None:
    saving = Checkpoint(write_s=60.0, restart_s=240.0, interval_s=300.0)
    record = kit.run([kit.job("a", 0, 8, 3600, checkpoint=saving)], policy=kit.Script({}), kills={"a": 1000.0})
    # Two intervals of 300 + 60 s are safe at 720 s; 280 s are lost. Left: 3000 s in ten intervals, nine writes.
    outcome = kit.outcome(record, "a")
    assert outcome.lost_gpu_s == 8 * 280.0
    assert kit.ends(record)["a"] == 1000 + 240 + 3000 + 9 * 60
    kill = next(e for e in record.events if e.kind == "kill")
    assert kill.detail == {"lost_gpu_s": 8 * 280.0}
    assert np.sum(record.occupancy.gpus * (record.occupancy.end_s - record.occupancy.start_s)) == outcome.busy_gpu_s


def test_a_kill_while_the_checkpoint_is_being_written_loses_it_too() -> None:
    policy = kit.Script({1000.0: pause("a")})
    record = kit.run([kit.job("a", 0, 8, 3600, checkpoint=SAVING)], policy=policy, kills={"a": 1030.0})
    assert kit.ends(record)["a"] == 1030 + 3600
    assert kit.outcome(record, "a").lost_gpu_s == 8000.0


def test_periodic_checkpoints_take_their_time_but_none_at_the_very_end() -> None:
    saving = Checkpoint(write_s=60.0, interval_s=300.0)
    for runtime, writes in [(300, 0), (301, 1), (600, 1), (900, 2), (3600, 11)]:
        record = kit.run([kit.job("a", 0, 8, runtime, checkpoint=saving)])
        assert kit.ends(record)["a"] == runtime + 60 * writes


def test_interval_of_young_and_daly() -> None:
    saving = Checkpoint(write_s=50.0)
    assert checkpoints.interval_s(saving, 1.0 / 10_000.0) == pytest.approx(1000.0)
    assert checkpoints.interval_s(saving, 0.0) == math.inf
    assert checkpoints.interval_s(Checkpoint(), 1e-3) == math.inf
    assert checkpoints.interval_s(Checkpoint(write_s=50.0, interval_s=77.0), 1e-3) == 77.0
    assert checkpoints.interval_s(saving, 1.0) == 50.0


def test_the_interval_of_young_and_daly_is_near_the_best() -> None:
    """Expected time per unit of work under Poisson failures (Daly 2006, eq. 13), by a fine grid."""
    write, mtbf, restart = 60.0, 40_000.0, 240.0
    grid = np.arange(100.0, 10_000.0, 5.0)

    def cost(interval: Any) -> Any:
        return mtbf * np.exp(restart / mtbf) * np.expm1((interval + write) / mtbf) / interval

    ours = checkpoints.interval_s(Checkpoint(write_s=write), 1 / mtbf)
    assert cost(ours) < 1.001 * cost(grid).min()


def test_a_move_carries_the_job_and_leaves_its_gpus() -> None:
    steps = {1000.0: lambda view: [Move(kit.lives(view)["a"], 1, "test")]}
    jobs = [kit.job("a", 0, 8, 3600, checkpoint=SAVING), kit.job("b", 10, 8, 100)]
    record = kit.run(jobs, kit.scenario([kit.site("s0"), kit.site("s1", nodes=2)]), kit.Script(steps))
    occupancy = record.occupancy
    assert occupancy.site[occupancy.job == 0].tolist() == [0, 0, 1, 1]
    assert kit.outcome(record, "a").moves == 1
    assert kit.ends(record)["a"] == 3600 + 60 + 240


# --- what is refused -----------------------------------------------------------------------------


def refused(action: Any, jobs: Any = None, where: Any = None, start: bool = True, **settings: Any) -> str:
    jobs = jobs or [kit.job("a", 0, 8, 3600, interruptible=False), kit.job("b", 0, 8, 10)]
    script = kit.Script({100.0: action}, start=start)
    with pytest.raises(PolicyError) as caught:
        kit.run(jobs, where, script, **settings)
    assert "'script'" in str(caught.value), "the message names the policy"
    return str(caught.value)


def test_impossible_actions_are_errors() -> None:
    a, b = (lambda view: kit.lives(view)["a"]), (lambda view: kit.lives(view)["b"])
    assert "'b'" in refused(lambda view: [Start(b(view), 0)])
    assert "no room for 8" in refused(lambda view: [Start(b(view), 0)])
    assert "running, not waiting" in refused(lambda view: [Start(a(view), 0)])
    assert "no site 7" in refused(lambda view: [Start(b(view), 7)])
    assert "cannot run on 4 GPUs" in refused(lambda view: [Start(b(view), 0, 4)])
    assert "power cap" in refused(lambda view: [Start(b(view), 0, cap=0.5)])
    assert "not interruptible" in refused(lambda view: [Pause(a(view))])
    assert "queued, not running" in refused(lambda view: [Pause(b(view))])
    assert "in the future" in refused(lambda view: [Hold(b(view), view.now_s)])
    assert "not an action" in refused(lambda view: ["go"])
    flexible = [kit.job("a", 0, 8, 3600), kit.job("b", 0, 8, 10)]
    assert "cannot move to site 0" in refused(lambda view: [Move(a(view), 0)], flexible)
    assert "rigid" in refused(lambda view: [Resize(a(view), 4)], flexible)


def test_residency_and_coordination_are_the_engines_to_keep() -> None:
    abroad = kit.scenario([kit.site("s0"), kit.site("s1", country="FR")])
    go = lambda view: [Start(kit.lives(view)["a"], 1)]  # noqa: E731
    assert "may not run on s1" in refused(go, [kit.job("a", 0, 8, 60)], abroad, start=False)
    assert "may not run on s1" in refused(go, [kit.job("a", 0, 8, 60, residency="regional")], kit.scenario(2), False)
    alone = kit.scenario(2, coordination="regional")
    assert "it may not run on site 1" in refused(go, [kit.job("a", 0, 8, 60)], alone, start=False)
    record = kit.run([kit.job("a", 0, 8, 60, residency="open"), kit.job("b", 0, 8, 60, residency="open")], abroad)
    assert sorted(o.site for o in record.outcomes) == [0, 1]


def test_a_site_that_is_not_online_yet_takes_nobody_and_draws_nothing() -> None:
    where = kit.scenario([kit.site("s0", online_s=5000.0)])
    record = kit.run([kit.job("a", 0, 8, 100)], where)
    assert kit.starts(record) == {"a": 5000.0}
    assert kit.it_j(record) == pytest.approx(1000.0 * (86_400 - 5000) + 4000.0 * 100, rel=1e-12)
