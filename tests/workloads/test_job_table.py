"""Jobs in columns: the same jobs as a list of them, in a sixth of the memory."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.workloads.job import Checkpoint, Job, SpeedUp, Tenant
from tafukt.workloads.job_table import JobTable, Texts, accounting_end_s, in_order, numbers_of, values_of


def jobs() -> list[Job]:
    """Every field differs between some of them; names are of several alphabets."""
    curve = SpeedUp((1, 2, 4), (1.0, 1.9, 3.5))
    plain = [kit.job(f"plain {n}", 50.0 * n, 2, 600.0 + n, slack_s=10.0 * n) for n in range(5)]
    late = kit.job("sans échéance", 5.0, 1, 100.0, slack_s=math.inf, ending="failed", ends_at=0.25)
    many = kit.job("ⵜⴰⴼⵓⴽⵜ", 70.0, 4, 300.0, speedup=curve, elasticity="malleable", gpus_min=2, gpus_max=4)
    logged = kit.job("log", 0.0, 8, 60.0, logged_start_s=40.0, logged_site="s1", interruptible=False, priority=3)
    saves = kit.job("saves", 9.0, 1, 900.0, checkpoint=Checkpoint(1.0, 2.0, 3.0, 4.0), intensity=0.5, job_class="x")
    power = kit.job("", 11.0, 1, 900.0, event_floor=0.75, power_curve="inference")
    return [*plain, late, many, logged, saves, power]


def test_a_table_holds_the_jobs_it_was_made_of() -> None:
    listed = jobs()
    table = JobTable.of(iter(listed))
    assert table == listed
    assert [*table] == listed
    assert [table[place] for place in range(-len(listed), len(listed))] == listed + listed
    assert table[::-2] == tuple(listed[::-2])
    assert JobTable.of(table) is table
    assert pickle.loads(pickle.dumps(table)) == listed
    assert table.take(np.array([3, 0])) == [listed[3], listed[0]]
    with pytest.raises(IndexError):
        table[len(listed)]
    assert not JobTable.of([])
    assert len(table.kinds) < len(listed)


NAMES = (
    "job_id", "submit_s", "gpus", "estimate_s", "slack_s", "logged_site", "ending", "ends_at", "work_gpu_s",
    "due_gpu_s", "runtime_s", "deadline_s", "latest_start_s", "tenant", "tenant.region", "dataset.size_gb",
    "checkpoint.write_s", "speedup", "intensity", "interruptible", "priority", "gpus_min", "gpus_max",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_values_of_a_table_are_those_of_its_jobs(name: str) -> None:
    listed = jobs()
    assert [*values_of(JobTable.of(listed), name)] == values_of(listed, name)


def test_a_value_is_looked_for_where_it_is_kept() -> None:
    (one,) = [kit.job("a", 5.0, 2, 100.0, slack_s=7.0, ends_at=0.5, region="r9")]
    assert numbers_of([one], "due_gpu_s").tolist() == [100.0]
    assert numbers_of([one], "runtime_s").tolist() == [50.0]
    assert numbers_of([one], "deadline_s").tolist() == [112.0]
    assert values_of([one], "tenant.region") == ["r9"]


def test_a_table_and_a_list_have_one_order() -> None:
    listed = [replace(job, ask=replace(job.ask, submit_s=job.ask.submit_s // 60)) for job in jobs()]
    assert in_order(JobTable.of(listed)) == in_order(listed)
    assert accounting_end_s(JobTable.of(listed), 8.0) == accounting_end_s(listed, 8.0)


def test_two_jobs_of_one_name_are_refused() -> None:
    twice = [kit.job("a", 0.0, 1, 10.0), kit.job("b", 1.0, 1, 10.0), kit.job("a", 2.0, 1, 10.0)]
    for given in (twice, JobTable.of(twice)):
        with pytest.raises(ValueError, match="two jobs are called 'a'"):
            in_order(given)


def test_names_of_one_hash_are_no_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tafukt.workloads.job_table.hash", lambda _: 1, raising=False)
    assert Texts(["a", "b"]).distinct
    assert not Texts(["a", "b", "a"]).distinct


def test_a_run_of_a_table_is_that_of_the_list() -> None:
    listed = [kit.job(f"j{n}", 100.0 * (n % 7), 1 + n % 4, 500.0 + n, home=f"s{n % 2}") for n in range(40)]
    one, other = (
        simulate(kit.scenario(2), given, policy("easy"), check_handed=False) for given in (listed, JobTable.of(listed))
    )
    assert one.outcomes == other.outcomes
    assert one.jobs == other.jobs
    assert [*one.events] == [*other.events]


def test_a_policy_that_writes_into_a_job_of_a_table_is_found_out() -> None:
    from tafukt.simulator.errors import PolicyWrote

    class Writes:
        name = "writes"

        def __init__(self) -> None:
            self.inner = policy("fifo")
            self.begin, self.freed, self.round = self.inner.begin, self.inner.freed, self.inner.round

        def waiting(self, job: object) -> None:
            object.__setattr__(job.ask, "tenant", Tenant("elsewhere"))  # type: ignore[attr-defined]
            self.inner.waiting(job)

    with pytest.raises(PolicyWrote, match="'writes' has written into 1 of the jobs"):
        simulate(kit.scenario(), JobTable.of([kit.job("a", 0.0, 1, 10.0)]), Writes())


def test_ten_thousand_jobs_are_a_megabyte() -> None:
    table = JobTable.of(kit.job(f"m{n:07d}", float(n), 1, 10.0) for n in range(10_000))
    assert len(pickle.dumps(table)) < 1_000_000
