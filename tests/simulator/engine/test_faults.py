"""Nodes and software that break, jobs that change size, power caps, and whatever a policy may think of."""

from __future__ import annotations

import math
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tafukt.simulator import power_caps as caps
from tafukt.simulator.engine.actions import Cap, Move, Pause, Resize, Start
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.failures import FAULT_PRESETS, FaultSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.policies.size import Largest
from tafukt.simulator.record import Occupancy
from tafukt.simulator.scenario import Link, NodeType
from tafukt.workloads.job import Checkpoint, SpeedUp

DAY_S = 86_400.0


def failures(record: Any) -> list[tuple[float, int, int]]:
    return [(e.time_s, e.site, e.detail["node"]) for e in record.events if e.kind == "outage"]


# --- nodes ---------------------------------------------------------------------------------------


def test_node_failures_follow_their_rate_in_absolute_time() -> None:
    where = kit.scenario([kit.site("s0", nodes=40, end_s=100 * DAY_S)], 100 * DAY_S)
    record = kit.run([], where, faults=FaultSettings(node_mtbf_s=10 * DAY_S, repair_s=DAY_S))
    count = len(failures(record))
    expected = 40 * 100 / 11.0  # up for ten days, down for one
    assert abs(count - expected) < 4 * math.sqrt(expected)
    down = 1 - kit.it_j(record) / (40 * 1000.0 * 100 * DAY_S)
    assert down == pytest.approx(1 / 11, abs=0.02), "a node that is down draws nothing"


def test_failures_do_not_depend_on_policy_load_or_other_sites() -> None:
    faults = FaultSettings(node_mtbf_s=DAY_S / 4, repair_s=3600.0)
    jobs = kit.random_jobs(np.random.default_rng(1), 60, 16, span_s=40_000)
    two = [kit.site("s0", nodes=2), kit.site("s1", nodes=2)]
    alone = failures(kit.run([], kit.scenario(two[:1]), faults=faults))
    busy = failures(kit.run(jobs, kit.scenario(two), policy("sjf"), faults=faults))
    assert alone == [f for f in busy if f[1] == 0]
    assert len(alone) > 2
    assert failures(kit.run([], kit.scenario(two[:1]), faults=faults, seed=2)) != alone


def test_who_is_on_a_failing_node_is_killed_and_its_neighbours_are_not() -> None:
    faults = FaultSettings(node_mtbf_s=DAY_S / 4, repair_s=3600.0)
    where = kit.scenario([kit.site("s0", nodes=2)])
    time, _, node = failures(kit.run([], where, faults=faults))[0]
    jobs = [kit.job("a", 0, 8, time + 5000), kit.job("b", 0, 8, time + 5000)]
    record = kit.run(jobs, where, faults=faults)
    kills = [(e.time_s, e.job) for e in record.events if e.kind == "kill"]
    assert kills[0] == (time, node), "a went to node 0, b to node 1"
    assert kit.outcome(record, "ab"[node]).lost_gpu_s >= 8 * time - 1e-6


def test_retries_are_counted_and_then_the_job_is_given_up() -> None:
    faults = FaultSettings(hazard_per_s=1 / 600.0, retries=2)
    record = kit.run([kit.job("a", 0, 8, 40_000)], faults=faults)
    outcome = kit.outcome(record, "a")
    assert (outcome.state, outcome.kills) == ("failed", 3)
    assert outcome.work_left_gpu_s > 0, "work undone is never a saving"


# --- software ------------------------------------------------------------------------------------


def test_software_faults_come_at_their_rate_whatever_the_size() -> None:
    faults = FaultSettings(hazard_per_s=1 / 1000.0)
    saving = Checkpoint(interval_s=1.0)  # loses next to nothing, so running time is nearly the work
    where = kit.scenario([kit.site("s0", nodes=50)])
    for gpus in (1, 8):
        jobs = [kit.job(f"j{i:02d}", 0, gpus, 20_000, checkpoint=saving) for i in range(50)]
        record = kit.run(jobs, where, faults=faults)
        kills = sum(o.kills for o in record.outcomes)
        assert abs(kills - 50 * 20) < 4 * math.sqrt(50 * 20)


def test_software_faults_belong_to_the_job() -> None:
    """The same job breaks at the same points of its running time, whoever else is there."""
    faults = FaultSettings(hazard_per_s=1 / 500.0)
    alone = kit.run([kit.job("a", 0, 8, 3000, checkpoint=Checkpoint(interval_s=100.0))], faults=faults)
    jobs = [kit.job("0", 0, 8, 700), kit.job("a", 0, 8, 3000, checkpoint=Checkpoint(interval_s=100.0))]
    late = kit.run(jobs, faults=faults, policy=policy("fcfs"))
    ran = [[e - s for j, s, e in zip(r.occupancy.job, r.occupancy.start_s, r.occupancy.end_s, strict=True) if j == k]
           for r, k in ((alone, 0), (late, 1))]  # fmt: skip
    kills = kit.outcome(alone, "a").kills
    assert kills == kit.outcome(late, "a").kills > 0
    assert sum(ran[0]) == pytest.approx(sum(ran[1]), abs=0.01 * (kills + 1))


def test_where_something_may_fail_jobs_save_themselves_at_youngs_interval() -> None:
    faults = FaultSettings(hazard_per_s=1e-9, node_mtbf_s=1e9)
    saving = Checkpoint(write_s=50.0)
    record = kit.run([kit.job("a", 0, 16, 80_000, checkpoint=saving)], kit.scenario([kit.site(nodes=2)]), faults=faults)
    interval = math.sqrt(2 * 50.0 / (1e-9 + 2 / 1e9))
    writes = math.ceil(80_000 / interval) - 1
    assert kit.ends(record)["a"] == pytest.approx(80_000 + 50 * writes, abs=0.01)


def test_presets_say_where_they_come_from() -> None:
    for preset in FAULT_PRESETS.values():
        assert preset.source
        assert preset.confidence
    # Kokolis et al.: 6.50 failures per 1000 node-days; a 16,384-GPU job lives 1.8 h.
    assert FAULT_PRESETS["rsc-1"].rate_per_s(2048) ** -1 / 3600 == pytest.approx(1.8, abs=0.05)
    # And one of 8 GPUs 47.7 days.
    assert FAULT_PRESETS["rsc-1"].rate_per_s(1) ** -1 / DAY_S == pytest.approx(47.7, abs=0.01)
    # The Llama team: 419 unexpected interruptions in 54 days on 2048 nodes.
    assert FAULT_PRESETS["llama-3"].rate_per_s(2048) * 54 * DAY_S == pytest.approx(419)


# --- size ----------------------------------------------------------------------------------------

CURVE = SpeedUp((1, 2, 4, 8), (1.0, 1.9, 3.4, 5.6))


def elastic(name: str, runtime: float, **other: Any) -> Any:
    sizes = {"gpus_min": 1, "gpus_max": 8, "speedup": CURVE, "elasticity": "moldable"}
    return kit.job(name, other.pop("submit_s", 0), 4, runtime, **{**sizes, **other})


def test_speed_follows_the_curve_relative_to_the_asked_size() -> None:
    for gpus in (1, 2, 4, 8):
        script = kit.Script({0.0: lambda view, gpus=gpus: [Start(view.waiting[0], 0, gpus)]}, start=False)
        record = kit.run([elastic("a", 1000)], policy=script)
        assert kit.ends(record)["a"] == pytest.approx(1000 * 3.4 / CURVE.at(gpus), abs=0.001)


def test_moldable_jobs_take_what_is_free() -> None:
    jobs = [kit.job("rigid", 0, 6, 5000), elastic("a", 1000, submit_s=1)]
    record = kit.run(jobs, policy=kit.fifo(size=Largest()))
    assert record.occupancy.gpus.tolist().count(2) == 1
    assert kit.starts(record)["a"] == 1.0
    assert kit.starts(kit.run(jobs))["a"] == 5000.0, "as asked: four GPUs"


def test_an_elastic_job_too_large_for_every_site_as_asked_still_runs() -> None:
    jobs = [kit.job("a", 0, 16, 100, gpus_min=4, gpus_max=16, elasticity="moldable",
                    speedup=SpeedUp((4, 16), (4.0, 16.0)))]  # fmt: skip
    record = kit.run(jobs)
    assert kit.outcome(record, "a").state == "done"
    assert kit.ends(record)["a"] == 400.0


def resize(gpus: int) -> Any:
    return lambda view: [Resize(kit.lives(view)["a"], gpus)]


def test_resizing_costs_a_checkpoint_and_a_restart() -> None:
    saving = Checkpoint(write_s=30.0, restart_s=70.0)
    job = elastic("a", 1000, checkpoint=saving, elasticity="malleable")
    record = kit.run([job], policy=kit.Script({500.0: resize(8)}))
    left = 500 * 3.4 / 5.6
    assert kit.ends(record)["a"] == pytest.approx(500 + 30 + 70 + left, abs=0.001)
    assert kit.outcome(record, "a").resizes == 1
    assert record.occupancy.gpus.tolist() == [4, 4, 8, 8]
    assert [Occupancy.KINDS[k] for k in record.occupancy.kind] == ["run", "checkpoint", "restart", "run"]


def test_a_resize_for_which_somebody_took_the_room_keeps_the_old_size() -> None:
    saving = Checkpoint(write_s=30.0, restart_s=70.0)
    jobs = [elastic("a", 1000, checkpoint=saving, elasticity="malleable"), kit.job("b", 510, 4, 2000)]
    record = kit.run(jobs, policy=kit.Script({500.0: resize(8)}))
    assert kit.ends(record)["a"] == 1100.0
    assert kit.starts(record)["b"] == 510.0


# --- power caps ----------------------------------------------------------------------------------


def capped() -> Any:
    node = NodeType("capped", 8, 1000.0, 5000.0, 100.0, caps=caps.MEASURED)
    return kit.scenario([kit.site("s0", node=node)])


def test_a_cap_costs_speed_by_the_table_and_saves_power() -> None:
    script = kit.Script({0.0: lambda view: [Start(view.waiting[0], 0, cap=0.81)]}, start=False)
    record = kit.run([kit.job("a", 0, 8, 3600)], capped(), script)
    assert kit.ends(record)["a"] == pytest.approx(3600 / 0.936, abs=0.001)
    assert record.occupancy.power_w.tolist() == [1000.0 + 0.81 * 4000.0]


def test_a_cap_that_changes_on_the_way_loses_nothing() -> None:
    saving = Checkpoint(write_s=60.0, interval_s=1000.0)
    policy = kit.Script({500.0: lambda view: [Cap(kit.lives(view)["a"], 0.81)]})
    record = kit.run([kit.job("a", 0, 8, 3600, checkpoint=saving)], capped(), policy, kills={"a": 2500.0})
    # Checkpoints complete at 1060 and 2120 s; the second holds 500 + 0.936 x (500 + 1000) s of work.
    kept = 500 + 0.936 * 1500
    assert kit.outcome(record, "a").lost_gpu_s == pytest.approx(8 * 380.0, abs=0.01)
    assert kit.ends(record)["a"] == pytest.approx(2500 + (3600 - kept) + 60, abs=0.01)


def test_the_table_is_read_linearly_and_not_below_its_end() -> None:
    assert caps.speed(caps.MEASURED, 1.0) == 1.0
    assert caps.speed(caps.MEASURED, 0.905) == pytest.approx((0.936 + 1.0) / 2)
    with pytest.raises(ValueError, match=r"must lie in \[0.6, 1\]"):
        caps.speed(caps.MEASURED, 0.5)
    for cap, speed in caps.MEASURED:
        assert speed >= cap, "a cap never makes work dearer"
    script = kit.Script({0.0: lambda view: [Start(view.waiting[0], 0, cap=0.3)]}, start=False)
    with pytest.raises(PolicyError, match=r"\[0.6, 1\]"):
        kit.run([kit.job("a", 0, 8, 3600)], capped(), script)


def test_faster_gpus_finish_sooner() -> None:
    fast = NodeType("fast", 8, 1000.0, 9000.0, 100.0, speed=2.5)
    record = kit.run([kit.job("a", 0, 8, 3600)], kit.scenario([kit.site("s0", node=fast)]))
    assert kit.ends(record)["a"] == 3600 / 2.5


# --- whatever a policy may think of --------------------------------------------------------------


class Anything:
    """Does at random whatever is possible."""

    name = "anything"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def begin(self, view: Any) -> None:
        self.rng = np.random.default_rng(self.seed)

    def waiting(self, job: Any) -> None: ...

    def freed(self, job: Any, site: int) -> None: ...

    def round(self, view: Any) -> Any:
        from tafukt.simulator.engine.actions import Wake

        rng = self.rng
        for life in list(view.waiting.values()):
            both = (life.ask.gpus_min or life.ask.gpus, life.ask.gpus)
            sizes = [gpus for gpus in both if view.fitting(life, life.sites, gpus)]
            if sizes and rng.random() < 0.8:
                gpus = int(rng.choice(sizes))
                site = int(rng.choice(view.fitting(life, life.sites, gpus)))
                yield Start(life, site, gpus, float(rng.choice([1, 0.7])))
        for life in list(view.running.values()):
            if not life.running or rng.random() < 0.6:
                continue
            kind, others = rng.integers(5), [s for s in life.sites if s != life.site]
            if kind == 0 and life.ask.interruptible:
                yield Pause(life)
            elif kind == 1 and life.ask.interruptible and others:
                yield Move(life, int(rng.choice(others)))
            elif kind == 2 and life.ask.interruptible and life.ask.elasticity == "malleable":
                yield Resize(life, life.ask.gpus if life.gpus != life.ask.gpus else life.ask.gpus_min)
            elif kind == 3:
                yield Cap(life, float(rng.choice([1.0, 0.6, 0.81])))
        if view.waiting:
            yield Wake(view.now_s + float(rng.integers(10, 400)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_no_job_is_lost_and_no_work_made_whatever_happens(seed: int) -> None:
    """Random policy, faults, caps, sizes, links: all jobs end once, and what they ran adds up to their work."""
    rng = np.random.default_rng(seed)
    node = NodeType("n", 4, 1000.0, 5000.0, 100.0, 30.0, 200.0, 1.0 + seed % 2, caps.MEASURED)
    sites = [kit.site(f"s{i}", 2, node, 40 * DAY_S) for i in range(3)]
    links = (Link("s0", "s1", 0.1), Link("s1", "s2", 0.05)) if seed % 3 else ()
    where = kit.scenario(sites, 40 * DAY_S, links=links, network_j_per_gb=5400.0)
    curve = SpeedUp((1, 2, 8), (1.0, 1.8, 5.0))
    jobs = []
    for i in range(15):
        gpus = int(rng.choice([2, 8]))
        interval = None if rng.random() < 0.5 else float(rng.integers(50, 300))
        saving = Checkpoint(float(rng.integers(0, 9)), float(rng.integers(0, 20)), float(rng.integers(0, 40)), interval)
        kind = rng.choice(["rigid", "moldable", "malleable"])
        more: dict[str, Any] = {}
        if kind != "rigid":
            more = {"gpus_min": 1, "gpus_max": 8, "speedup": curve, "elasticity": str(kind)}
        more |= {"checkpoint": saving, "interruptible": bool(rng.random() < 0.8), "home": f"s{i % 3}"}
        jobs.append(kit.job(f"j{i:02d}", float(rng.integers(0, 3000)), gpus, float(rng.integers(1, 2000)), **more))
    faults = FaultSettings(node_mtbf_s=20_000.0, repair_s=500.0, hazard_per_s=1 / 3000.0)
    record = kit.run(jobs, where, Anything(seed), faults=faults, seed=seed)
    assert [o.state for o in record.outcomes] == ["done"] * len(jobs)
    assert record.balance_residual < 1e-9
    occupancy = record.occupancy
    for index, outcome in enumerate(record.outcomes):
        mine = occupancy.job == index
        held = (occupancy.gpus * (occupancy.end_s - occupancy.start_s))[mine]
        assert outcome.busy_gpu_s == pytest.approx(held.sum(), rel=1e-12)
        assert outcome.lost_gpu_s == pytest.approx(held[occupancy.kind[mine] == 4].sum(), rel=1e-12)
        assert np.all(np.diff(np.sort(occupancy.start_s[mine])) > 0), "never in two places at once"
        order = np.argsort(occupancy.start_s[mine])
        assert np.all(occupancy.start_s[mine][order][1:] >= occupancy.end_s[mine][order][:-1])
    for transfer in record.transfers:
        assert transfer.end_s - transfer.start_s >= transfer.size_gb / 0.1 - 0.01
