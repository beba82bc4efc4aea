"""What travels between sites, and who decides where a job goes."""

from __future__ import annotations

import math
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.actions import Move, Pause, Start
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Link, Quota
from tafukt.workloads.job import Checkpoint, Dataset

STAR = (Link("s0", "s1", 1.0), Link("s0", "s2", 1.0), Link("s0", "s3", 0.5))


def network(sites: int = 4, links: Any = STAR, **other: Any) -> Any:
    where = [kit.site(f"s{i}", is_root=i == 0) for i in range(sites)]
    return kit.scenario(where, links=links, network_j_per_gb=5400.0, **other)


def data(name: str, size_gb: float, home: str = "s0") -> Dataset:
    return Dataset(name, size_gb, home)


def on(sites: dict[str, int]) -> Any:
    """A policy that starts each job on its site."""

    def go(view: Any) -> Any:
        for life in list(view.waiting.values()):
            site = sites[life.ask.job_id]
            if site in view.fitting(life, (site,), life.ask.gpus):
                yield Start(life, site)

    class On(kit.Script):
        def round(self, view: Any) -> Any:
            yield from go(view)

    return On({})


# --- links ---------------------------------------------------------------------------------------


def test_a_data_set_travels_once_per_site_and_stays() -> None:
    jobs = [kit.job(f"j{i}", 1000.0 * i, 8, 100, dataset=data("corpus", 200.0)) for i in range(3)]
    record = kit.run(jobs, network(), on({"j0": 1, "j1": 1, "j2": 0}))
    assert kit.ends(record) == {"j0": 300.0, "j1": 1100.0, "j2": 2100.0}
    assert [(t.kind, t.name, t.source, t.target, t.start_s, t.end_s) for t in record.transfers] == [
        ("data", "corpus", 0, 1, 0.0, 200.0)
    ]
    assert record.network_j == 200.0 * 5400.0
    assert record.balance_residual < 1e-9, "the network is beside the sites' books"
    assert record.occupancy.power_w.tolist()[:2] == [1000.0, 5000.0], "GPUs in hand idle while data come"


def test_two_jobs_that_wait_for_one_data_set_wait_for_one_transfer() -> None:
    jobs = [kit.job(f"j{i}", 50.0 * i, 4, 100, dataset=data("corpus", 200.0)) for i in range(2)]
    record = kit.run(jobs, network(), on({"j0": 1, "j1": 1}))
    assert kit.ends(record) == {"j0": 300.0, "j1": 300.0}
    assert len(record.transfers) == 1


def test_bandwidth_is_shared_max_min_fairly() -> None:
    """From s1 to the root: a to s2, b to s3. Both cross s1's link; s3's own holds b at a half, so a has a half too."""
    jobs = [
        kit.job("a", 0, 8, 10, dataset=data("x", 100.0, "s1")),
        kit.job("b", 0, 8, 10, dataset=data("y", 100.0, "s1")),
        kit.job("c", 0, 8, 10, dataset=data("z", 100.0, "s2")),
    ]
    record = kit.run(jobs, network(), on({"a": 2, "b": 3, "c": 0}))
    done = {t.name: t.end_s for t in record.transfers}
    # a and b share s1's line: 0.5 each, so both arrive at 200 s. c has its line from s2 alone.
    assert done == {"x": 200.0, "y": 200.0, "z": 100.0}
    narrow = (Link("s0", "s1", 1.0), Link("s0", "s2", 1.0), Link("s0", "s3", 0.2))
    done = {t.name: t.end_s for t in kit.run(jobs, network(links=narrow), on({"a": 2, "b": 3, "c": 0})).transfers}
    assert done["y"] == 500.0
    assert done["x"] == 125.0, "what b cannot use is a's"


def test_rates_change_when_a_transfer_begins_or_ends() -> None:
    jobs = [
        kit.job("a", 0, 8, 10, dataset=data("x", 100.0)),
        kit.job("b", 50, 4, 10, dataset=data("y", 25.0)),
        kit.job("c", 50, 4, 10, dataset=data("y", 25.0)),
    ]
    two = (Link("s0", "s1", 1.0), Link("s1", "s2", 1.0))
    record = kit.run(jobs, network(3, two), on({"a": 2, "b": 1, "c": 1}))
    # a alone for 50 s, then half each until b's 25 GB are there at 100 s; a's last 25 GB take 25 s.
    assert {t.name: t.end_s for t in record.transfers} == {"y": 100.0, "x": 125.0}


def test_a_move_carries_the_checkpoint_and_can_be_judged_beforehand() -> None:
    saving = Checkpoint(size_gb=100.0, write_s=60.0, restart_s=240.0)
    seen: dict[str, float] = {}

    def move(view: Any) -> Any:
        life = kit.lives(view)["a"]
        seen.update(near=view.move_s(life, 1), far=view.move_s(life, 3), stay=view.transfer_s(life, 0))
        yield Move(life, 3, "test")

    steps = {1000.0: move}
    jobs = [kit.job("a", 0, 8, 3600, checkpoint=saving)]
    record = kit.run(jobs, network(), kit.Script(steps))
    assert seen == {"near": 60 + 100 + 240, "far": 60 + 200 + 240, "stay": 0.0}
    assert kit.ends(record)["a"] == 3600 + seen["far"]
    assert record.occupancy.site.tolist() == [0, 0, 3, 3]
    gap = record.occupancy.start_s[2] - record.occupancy.end_s[1]
    assert gap == 200.0, "its GPUs are free while it travels"


def test_a_paused_job_that_goes_on_elsewhere_brings_its_checkpoint() -> None:
    saving = Checkpoint(size_gb=50.0, write_s=10.0, restart_s=20.0)
    where = {"a": 0}
    script = on(where)
    plain = type(script).round

    def round_(self: Any, view: Any) -> Any:
        life = kit.lives(view).get("a")
        if life is not None and life.running and view.now_s == 100.0:
            where["a"] = 1
            yield Pause(life)
        yield from plain(self, view)

    type(script).round = round_
    where["b"] = 2
    jobs = [kit.job("a", 0, 8, 200, checkpoint=saving), kit.job("b", 100, 8, 5)]
    record = kit.run(jobs, network(), script)
    assert kit.ends(record)["a"] == 100 + 10 + 50 + 20 + 100
    assert [(t.kind, t.source, t.target) for t in record.transfers] == [("checkpoint", 0, 1)]


def test_a_site_without_a_link_is_out_of_reach() -> None:
    jobs = [kit.job("a", 0, 8, 100, dataset=data("x", 10.0))]
    where = network(links=STAR[:2])
    go = lambda view: [Start(view.waiting[0], 3)]  # noqa: E731
    with pytest.raises(PolicyError, match="no link carries"):
        kit.run(jobs, where, kit.Script({0.0: go}, start=False))
    assert kit.outcome(kit.run(jobs, where), "a").site == 0
    away = lambda view: [Move(kit.lives(view)["b"], 3)]  # noqa: E731
    saving = Checkpoint(size_gb=1.0)
    with pytest.raises(PolicyError, match="no link carries"):
        kit.run([kit.job("b", 0, 8, 100, checkpoint=saving)], where, kit.Script({50.0: away}))
    with pytest.raises(ValueError, match="joins no two sites"):
        kit.run(jobs, network(links=(Link("s0", "nowhere", 1.0),)))


def test_a_job_killed_while_its_data_travel_lets_them_arrive() -> None:
    jobs = [kit.job("a", 0, 8, 100, dataset=data("x", 100.0, "s1"))]
    record = kit.run(jobs, network(), kit.Script({}), kills={"a": 40.0})
    # It starts again at once, on the same site, and waits for the same transfer.
    assert kit.ends(record)["a"] == 200.0
    assert [t.end_s for t in record.transfers] == [100.0]
    assert kit.outcome(record, "a").lost_gpu_s == 0.0


# --- who decides ---------------------------------------------------------------------------------


def crowd() -> list[Any]:
    """Eight node-sized jobs at s0, none elsewhere."""
    return [kit.job(f"j{i}", i, 8, 1000, home="s0") for i in range(8)]


def waits(record: Any) -> float:
    return float(np.mean([o.start_s - j.ask.submit_s for j, o in zip(record.jobs, record.outcomes, strict=True)]))


def test_the_worth_of_a_hub() -> None:
    """Alone they queue; with the root's help they do not; in between it depends on how old its news is."""
    alone = kit.run(crowd(), kit.scenario(4, coordination="regional"))
    fresh = kit.run(crowd(), kit.scenario(4, coordination="federated", information_age_s=0.0))
    stale = kit.run(crowd(), kit.scenario(4, coordination="federated", information_age_s=1800.0))
    hub = kit.run(crowd(), kit.scenario(4))
    assert {o.site for o in alone.outcomes} == {0}
    assert waits(hub) <= waits(fresh) < waits(stale) <= waits(alone)


def test_the_root_acts_on_what_it_knew_then() -> None:
    """s1 is busy until 500 s. The root hears of it 300 s late, so it sends a job there only from 800 s on."""
    jobs = [
        kit.job("busy", 0, 8, 500, home="s1", residency="regional", region="r1"),
        kit.job("first", 10, 8, 5000, home="s0"),
        kit.job("second", 320, 8, 100, home="s0"),
    ]
    record = kit.run(jobs, kit.scenario(2, coordination="federated", information_age_s=300.0))
    sent = [(e.time_s, e.job, e.site) for e in record.events if e.kind == "offload"]
    # Looked at when it came (320 s: then s1 was known as of 20 s, busy), at 620 s (as of 320 s), at 920 s.
    assert sent == [(920.0, 2, 1)]
    assert kit.starts(record)["second"] == 920.0


def test_under_federated_a_policy_sees_its_own_institute_only() -> None:
    where = kit.scenario(2, coordination="federated", information_age_s=300.0)
    go = lambda view: [Start(view.waiting[0], 1)]  # noqa: E731
    with pytest.raises(PolicyError, match="may not run on s1"):
        kit.run([kit.job("a", 0, 8, 10)], where, kit.Script({0.0: go}, start=False))
    move = lambda view: [Move(kit.lives(view)["a"], 1)]  # noqa: E731
    with pytest.raises(PolicyError, match="does not decide for others"):
        kit.run([kit.job("a", 0, 8, 100)], where, kit.Script({10.0: move}))


def test_what_is_held_on_purpose_is_not_sent_away() -> None:
    where = kit.scenario(2, coordination="federated", information_age_s=60.0)
    jobs = [kit.job("a", 0, 8, 3600, slack_s=20_000.0)]
    record = kit.run(jobs, where, policy("wait-for-sun"))
    assert all(e.kind != "offload" for e in record.events)
    assert kit.outcome(record, "a").state == "done"


@pytest.mark.parametrize("name", ["fifo", "easy", "conservative", "srtf", "wait-for-sun"])
def test_federated_loses_nobody(name: str) -> None:
    rng = np.random.default_rng(2)
    jobs = kit.random_jobs(rng, 60, 8, span_s=6000)
    for age in (0.0, 600.0):
        where = kit.scenario(3, coordination="federated", information_age_s=age)
        record = kit.run(jobs, where, policy(name))
        assert all(o.state == "done" for o in record.outcomes)
        assert {o.site for o in record.outcomes} == {0, 1, 2}


def test_a_job_beyond_its_regions_quota_is_rejected_and_said() -> None:
    where = kit.scenario(2, quotas={"r0": Quota(gpus=4)})
    record = kit.run([kit.job("a", 0, 8, 10), kit.job("b", 0, 8, 10, home="s1")], where)
    assert kit.outcome(record, "a").state == "rejected"
    assert "quota of r0" in next(e.reason for e in record.events if e.kind == "reject")
    assert kit.outcome(record, "b").state == "done"


def test_partner_abroad_takes_open_jobs_only() -> None:
    where = kit.scenario([kit.site("s0"), kit.site("abroad", country="ES", region="ES")])
    jobs = [kit.job(f"n{i}", i, 8, 100) for i in range(3)] + [kit.job("o", 3, 8, 100, residency="open")]
    record = kit.run(jobs, where)
    assert kit.outcome(record, "o").site == 1
    assert all(kit.outcome(record, f"n{i}").site == 0 for i in range(3))
    assert math.isfinite(kit.ends(record)["n2"])
