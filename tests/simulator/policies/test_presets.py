"""Classic policies against formulas, reference loops and their own promises."""

from __future__ import annotations

import gzip
import heapq
import math
from pathlib import Path
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.actions import Start
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.scenario import NodeType, Quota
from tafukt.workloads.job import Checkpoint


def pool(gpus: int, end_s: float, sites: int = 1) -> Any:
    """One node of so many GPUs: a pool without fragmentation."""
    node = NodeType("pool", gpus, 100.0, 200.0, 10.0)
    return kit.scenario([kit.site(f"s{i}", 1, node, end_s) for i in range(sites)], end_s)


# --- queueing theory -----------------------------------------------------------------------------


def waits(record: Any, skip: int) -> Any:
    pairs = zip(record.jobs, record.outcomes, strict=True)
    return np.array([o.start_s - j.ask.submit_s for j, o in pairs])[skip:]


def batch_means(values: Any, batches: int = 20) -> tuple[float, float]:
    """Mean and half-width of its 99.9 % confidence interval from means of batches."""
    means = np.array([part.mean() for part in np.array_split(values, batches)])
    return float(means.mean()), 3.883 * float(means.std(ddof=1)) / math.sqrt(batches)  # t, 19 degrees


def erlang_c_wait_s(arrivals_per_s: float, mean_s: float, servers: int) -> float:
    load = arrivals_per_s * mean_s
    head = sum(load**k / math.factorial(k) for k in range(servers))
    tail = load**servers / math.factorial(servers) * servers / (servers - load)
    return tail / (head + tail) * mean_s / (servers - load)


@pytest.mark.parametrize("servers", [1, 4])
def test_waits_of_m_m_c(servers: int) -> None:
    rng = np.random.default_rng(11 + servers)
    n, mean = 20_000, 100.0
    rate = 0.7 * servers / mean
    submits, runtimes = np.cumsum(rng.exponential(1 / rate, n)), rng.exponential(mean, n)
    jobs = [kit.job(f"{i:06d}", t, 1, r) for i, (t, r) in enumerate(zip(submits, runtimes, strict=True))]
    end = float(np.ceil(submits[-1] / 3600 + 10) * 3600)
    record = kit.run(jobs, pool(servers, end), policy("fcfs"), events="none")
    mean_wait, half = batch_means(waits(record, 1000))
    assert abs(mean_wait - erlang_c_wait_s(rate, mean, servers)) < half


def test_waits_of_m_g_1_by_pollaczek_and_khinchine() -> None:
    rng = np.random.default_rng(5)
    n = 20_000
    runtimes = np.where(rng.random(n) < 0.9, 50.0, 550.0)  # mean 100, squared coefficient of variation 2.25
    rate = 0.6 / 100.0
    submits = np.cumsum(rng.exponential(1 / rate, n))
    jobs = [kit.job(f"{i:06d}", t, 1, float(r)) for i, (t, r) in enumerate(zip(submits, runtimes, strict=True))]
    end = float(np.ceil(submits[-1] / 3600 + 10) * 3600)
    record = kit.run(jobs, pool(1, end), policy("fcfs"), events="none")
    mean_wait, half = batch_means(waits(record, 1000))
    second_moment = 0.9 * 50.0**2 + 0.1 * 550.0**2
    assert abs(mean_wait - rate * second_moment / (2 * (1 - 0.6))) < half


# --- first come, first served, on a real log -----------------------------------------------------


def reference_fcfs(rows: list[tuple[float, int, float]], size: int) -> list[float]:
    """The ten lines that strict FCFS on one pool amounts to."""
    free, now, running, starts = size, 0.0, [], []
    for submit, procs, runtime in rows:
        now = max(now, submit)
        while running and running[0][0] <= now:
            free += heapq.heappop(running)[1]
        while free < procs:
            now, given = heapq.heappop(running)
            free += given
        free -= procs
        heapq.heappush(running, (now + runtime, procs))
        starts.append(now)
    return starts


def swf_rows(path: Path) -> list[tuple[float, int, float]]:
    with gzip.open(path, "rt") as file:
        fields = [line.split() for line in file if not line.startswith(";")]
    rows = [(float(f[1]), int(f[4]), float(f[3])) for f in fields if float(f[3]) > 0 and int(f[4]) > 0]
    return sorted(rows, key=lambda row: row[0])


def test_fcfs_on_the_whole_nasa_log_job_for_job(shared_data: Path) -> None:
    rows = swf_rows(shared_data / "traces" / "nasa_ipsc_1993.swf.gz")
    assert len(rows) > 18_000
    jobs = [kit.job(f"{i:06d}", t, procs, runtime) for i, (t, procs, runtime) in enumerate(rows)]
    end = math.ceil(rows[-1][0] / 86_400 + 30) * 86_400.0
    record = kit.run(jobs, pool(128, end), policy("fcfs"), events="none")
    assert [o.start_s for o in record.outcomes] == reference_fcfs(rows, 128)


def test_a_trace_with_its_own_start_times_is_reproduced_to_the_second(shared_data: Path) -> None:
    """What was recorded is feasible, so a policy that only looks up the start meets it."""
    rows = swf_rows(shared_data / "traces" / "nasa_ipsc_1993.swf.gz")[:5000]
    starts = reference_fcfs(rows, 128)
    jobs = [kit.job(f"{i:06d}", t, procs, runtime) for i, (t, procs, runtime) in enumerate(rows)]
    steps: dict[float, Any] = {}
    for index, start in enumerate(starts):
        steps.setdefault(start, []).append(index)
    script = kit.Script(
        {time: lambda view, who=who: [Start(view.waiting[i], 0) for i in who] for time, who in steps.items()}, False
    )
    record = kit.run(jobs, pool(128, math.ceil(starts[-1] / 86_400 + 30) * 86_400.0), script, events="none")
    assert [o.start_s for o in record.outcomes] == starts


def test_the_whole_nasa_log_keeps_its_own_start_times(shared_data: Path) -> None:
    """Its submissions are starts, as its header says: on as many processors as ever ran at once nobody waits."""
    rows = swf_rows(shared_data / "traces" / "nasa_ipsc_1993.swf.gz")
    changes = sorted([(t, procs) for t, procs, _ in rows] + [(t + runtime, -procs) for t, procs, runtime in rows])
    most = int(np.cumsum([procs for _, procs in changes]).max())
    jobs = [kit.job(f"{i:06d}", t, procs, runtime) for i, (t, procs, runtime) in enumerate(rows)]
    end = math.ceil(max(t + runtime for t, _, runtime in rows) / 86_400 + 1) * 86_400.0
    record = kit.run(jobs, pool(most, end), policy("fcfs"), events="none")
    assert [o.start_s for o in record.outcomes] == [t for t, _, _ in rows]
    assert [o.end_s for o in record.outcomes] == [t + runtime for t, _, runtime in rows]
    crowded = kit.run(jobs, pool(most - 1, end), policy("fcfs"), events="none")
    assert any(o.start_s > t for o, (t, _, _) in zip(crowded.outcomes, rows, strict=True)), "the last one counts"


# --- promises ------------------------------------------------------------------------------------


class Watched(ListScheduler):
    """Remembers the first promise that every job got."""

    def begin(self, view: Any) -> None:
        super().begin(view)
        self.promised: dict[int, float] = {}

    def round(self, view: Any) -> Any:
        yield from super().round(view)
        current = self._reservations.current
        if current is not None and current.job.index in view.waiting:
            self.promised[current.job.index] = min(self.promised.get(current.job.index, math.inf), current.time_s)
        if self._conservative is not None:
            for index, promise in self._conservative.promises.items():
                self.promised.setdefault(index, promise.start_s)
                assert promise.start_s <= self.promised[index] + 1e-9, "a promise was put off"
                self.promised[index] = promise.start_s


def promise_kept(seed: int, backfill: Any, exact: bool, node: NodeType, nodes: int, sites: int, jobs: int = 25) -> int:
    rng = np.random.default_rng(seed)
    where = kit.scenario([kit.site(f"s{i}", nodes, node) for i in range(sites)])
    watched = Watched("watched", Parts(backfill=backfill))
    saving = Checkpoint(write_s=5.0, restart_s=10.0, interval_s=100.0) if seed % 3 == 0 else Checkpoint()
    work = [
        kit.job(j.ask.job_id, j.ask.submit_s, j.ask.gpus, j.truth.work_gpu_s / j.ask.gpus,
                estimate_s=j.ask.estimate_s, checkpoint=saving)
        for j in kit.random_jobs(rng, jobs, nodes * node.gpus, exact, span_s=2000)
    ]  # fmt: skip
    record = kit.run(work, where, watched, overrun="kill", events="none")
    for index, time in watched.promised.items():
        assert record.outcomes[index].start_s <= time + 1e-9, (seed, index)
    return len(watched.promised)


SMALL = NodeType("small", 4, 100.0, 200.0, 10.0)
NAPPER = NodeType("napper", 4, 100.0, 200.0, 10.0, wake_s=30.0, sleep_after_s=60.0)


@pytest.mark.parametrize("backfill", ["easy", "conservative"])
def test_backfilling_keeps_its_promises(backfill: str) -> None:
    promises = 0
    for seed in range(60):
        node = NAPPER if seed % 4 == 3 else SMALL
        promises += promise_kept(seed, backfill, seed % 2 == 0, node, 1 + seed % 3, 1 + seed % 2)
    assert promises > 200


@pytest.mark.slow
@pytest.mark.parametrize("backfill", ["easy", "conservative"])
def test_backfilling_keeps_its_promises_on_thousands_of_workloads(backfill: str) -> None:
    for seed in range(1000, 4000):
        node = NAPPER if seed % 4 == 3 else SMALL
        promise_kept(seed, backfill, seed % 2 == 0, node, 1 + seed % 3, 1 + seed % 2, jobs=12 + seed % 20)


# --- orders --------------------------------------------------------------------------------------


def order_of(name: str, jobs: list[Any]) -> list[str]:
    """Who starts after a blocker has gone, one at a time on one GPU."""
    blocker = kit.job("blocker", 0, 1, 1000)
    record = kit.run([blocker, *jobs], pool(1, 86_400.0), policy(name))
    begun = kit.starts(record)
    return sorted((n for n in begun if n != "blocker"), key=lambda n: begun[n])


def test_orders_of_the_classic_policies() -> None:
    jobs = [
        kit.job("a", 10, 1, 300, slack_s=9000.0),
        kit.job("b", 20, 1, 100, slack_s=20_000.0),
        kit.job("c", 30, 1, 200, slack_s=100.0),
    ]
    assert order_of("fcfs", jobs) == ["a", "b", "c"]
    assert order_of("sjf", jobs) == ["b", "c", "a"]
    assert order_of("ljf", jobs) == ["a", "c", "b"]
    assert order_of("edf", jobs) == ["c", "a", "b"]
    assert order_of("wfp3", jobs) == ["b", "c", "a"]  # wait / estimate: 3.3, 9.8, 4.9
    assert order_of("unicep", jobs) == ["b", "c", "a"]
    # F1: log10(r) n + 870 log10(s): submission rules at one GPU.
    assert order_of("f1", jobs) == ["a", "b", "c"]


def test_wfp3_lets_a_long_wait_win() -> None:
    jobs = [kit.job("old", 1, 1, 300), kit.job("new", 950, 1, 100)]
    assert order_of("wfp3", jobs) == ["old", "new"]
    assert order_of("sjf", jobs) == ["new", "old"]


def test_fair_share_turns_to_the_region_that_has_used_least() -> None:
    jobs = [kit.job(f"a{i}", 1 + i, 1, 100, region="A") for i in range(4)]
    jobs += [kit.job(f"b{i}", 10 + i, 1, 100, region="B") for i in range(2)]
    blocker = [kit.job("blocker", 0, 1, 50, region="A")]
    begun = kit.starts(kit.run(blocker + jobs, pool(1, 86_400.0), policy("fair")))
    order = sorted(begun, key=lambda n: begun[n])
    assert order == ["blocker", "b0", "a0", "b1", "a1", "a2", "a3"]


def test_strict_fcfs_lets_nobody_by_and_first_fit_does() -> None:
    jobs = [kit.job("a", 0, 6, 100), kit.job("big", 1, 8, 100), kit.job("small", 2, 2, 10)]
    assert kit.starts(kit.run(jobs, policy=policy("fcfs")))["small"] == 200.0
    assert kit.starts(kit.run(jobs, policy=policy("fifo")))["small"] == 2.0
    assert kit.starts(kit.run(jobs, policy=policy("easy")))["small"] == 2.0
    longer = [*jobs[:2], kit.job("small", 2, 2, 500)]
    assert kit.starts(kit.run(longer, policy=policy("easy")))["small"] == 200.0
    assert kit.starts(kit.run(longer, policy=policy("fifo")))["big"] == 502.0


def test_easy_with_shortest_first_lets_the_shortest_by() -> None:
    jobs = [
        kit.job("a", 0, 6, 100), kit.job("big", 1, 8, 100), kit.job("x", 2, 1, 90),
        kit.job("blocker", 0, 1, 5), kit.job("y", 3, 1, 20), kit.job("z", 4, 1, 10),
    ]  # fmt: skip
    # At 2 s one GPU is free: x takes it. At 5 s another: y comes before z, but z is shorter.
    assert kit.starts(kit.run(jobs, policy=policy("easy")))["y"] == 5.0
    assert kit.starts(kit.run(jobs, policy=policy("easy-sjbf")))["z"] == 5.0


def test_srtf_pauses_the_longer_job_and_nobody_loses_work() -> None:
    saving = Checkpoint(write_s=10.0, restart_s=20.0)
    jobs = [kit.job("long", 0, 8, 1000, checkpoint=saving), kit.job("short", 100, 8, 50, checkpoint=saving)]
    record = kit.run(jobs, policy=policy("srtf"))
    assert kit.starts(record) == {"long": 0.0, "short": 110.0}
    assert kit.ends(record) == {"long": 160 + 20 + 900, "short": 160.0}
    assert kit.outcome(record, "long").pauses == 1


def test_srtf_is_optimal_on_one_server_without_costs() -> None:
    """With free pauses on one server it has the least mean completion time, so less than any other."""
    for seed in range(8):
        jobs = kit.random_jobs(np.random.default_rng(seed), 30, 1, span_s=6000)
        means = {}
        for name in ("srtf", "sjf", "fcfs", "las", "ljf"):
            done = kit.ends(kit.run(jobs, pool(1, 86_400.0), policy(name), events="none"))
            means[name] = np.mean([done[j.ask.job_id] - j.ask.submit_s for j in jobs])
        assert min(means, key=lambda name: means[name]) == "srtf", means


def test_las_lets_the_new_go_before_those_who_have_had_their_hour() -> None:
    jobs = [kit.job("old", 0, 4, 2000), kit.job("new", 100, 4, 300)]
    record = kit.run(jobs, pool(4, 86_400.0), policy("las"))
    # An hour of a GPU on four GPUs is 900 s: then the newcomer has its turn.
    assert kit.starts(record)["new"] == pytest.approx(900.0, abs=0.01)
    assert kit.ends(record)["old"] == pytest.approx(2300.0, abs=0.01)


# --- every preset --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_finishes_all_jobs_on_a_busy_network(name: str) -> None:
    """Deterministic, complete, and no work lost: GPU-seconds of running equal the work."""
    where = kit.scenario([kit.site(f"s{i}", 2, kit.SLEEPY) for i in range(3)])
    rng = np.random.default_rng(4)
    jobs = kit.random_jobs(rng, 80, 16, exact=False, span_s=8000)
    first = kit.run(jobs, where, policy(name))
    again = kit.run(list(reversed(jobs)), where, policy(name))
    assert all(o.state == "done" for o in first.outcomes)
    assert kit.ends(first) == kit.ends(again)
    run = first.occupancy.kind == 0
    worked = np.sum((first.occupancy.gpus * (first.occupancy.end_s - first.occupancy.start_s))[run])
    assert worked == pytest.approx(sum(j.truth.work_gpu_s for j in jobs), rel=1e-9)
    assert first.balance_residual < 1e-9


@pytest.mark.parametrize("name", ["fifo", "easy", "conservative", "srtf"])
def test_quotas_hold_under_every_kind_of_policy(name: str) -> None:
    """Region r0 may hold four GPUs elsewhere; at no time does it hold more."""
    where = kit.scenario(3, quotas={"r0": Quota(gpus=10, gpus_outside=4)})
    jobs = [kit.job(f"j{i}", i, 2, 500, home="s0") for i in range(12)]
    record = kit.run(jobs, where, policy(name))
    assert all(o.state == "done" for o in record.outcomes)
    times = np.unique(record.occupancy.start_s)
    for time in times:
        on = (record.occupancy.start_s <= time) & (time < record.occupancy.end_s)
        assert record.occupancy.gpus[on].sum() <= 10
        assert record.occupancy.gpus[on & (record.occupancy.site != 0)].sum() <= 4
