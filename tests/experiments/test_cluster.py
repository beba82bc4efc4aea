"""A real Dask scheduler with two workers on the loopback address: the same bytes as in one process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builders.experiments import contents, tiny

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.runs import session
from tafukt.sites.site import catalogue

TINY = tiny(policies=("fifo", "mine.py:lazy", "mine.py:broken"), seeds=(1, 2))
POLICY = """
from tafukt.simulator.policies.list_scheduler import Parts
lazy = Parts()
def broken(view):
    raise RuntimeError("no idea")
"""


def test_a_cluster_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "mine.py").write_text(POLICY)
    loaded = load_experiment(tmp_path / "tiny.toml")
    calm = session.carry_out(session.plan_runs(loaded, tmp_path / "calm"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        seen: list[tuple[float, ...]] = []
        plan = session.plan_runs(loaded, tmp_path / "dask")
        outcome = session.carry_out(plan, cluster=cluster.scheduler_address, progress=lambda *n: seen.append(n))
        monkeypatch.setattr("tafukt.experiments.runs.session.CELL_S", 0.0)  # as if the runs were long: each goes alone
        session.carry_out(session.plan_runs(loaded, tmp_path / "alone"), cluster=cluster.scheduler_address)
    told = [row.get("reason", row["status"]) for row in outcome.rows]
    assert [reason.split(" at ")[0] for reason in told] == [
        "complete",
        "complete",
        "PolicyCrash: policy 'mine:broken'",
    ] * 2
    assert told[2].endswith("its round fails with RuntimeError: no idea")
    assert seen[-1] == (6, 6, 1.0)
    assert [row["status"] for row in calm.rows] == [row["status"] for row in outcome.rows]
    assert contents(tmp_path / "dask") == contents(tmp_path / "alone") == contents(tmp_path / "calm")


MANY_SITES = """
name = "many_sites"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 60
seeds = [1, 2]
policies = ["fifo"]
bound = false
drain_days = 1
[sites]
use = []
[sites.all]
cluster.nodes = 1
[workload]
load = 0.02
runtime_cap_h = 4
gang_cap = 8
"""


@pytest.mark.slow
def test_a_thousand_sites_on_a_cluster_give_the_same_bytes(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    base = list(catalogue())
    places = (f'[sites.own.place{i:04d}]\nlike = "{base[i % len(base)]}"\n' for i in range(1000))
    (tmp_path / "many.toml").write_text(MANY_SITES + "".join(places), encoding="utf-8")
    loaded = load_experiment(tmp_path / "many.toml")
    calm = session.carry_out(session.plan_runs(loaded, tmp_path / "calm"))
    assert len(loaded.sites) == 1000
    assert [row["status"] for row in calm.rows] == ["complete"] * 2
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        session.carry_out(session.plan_runs(loaded, tmp_path / "dask"), cluster=cluster.scheduler_address)
    assert contents(tmp_path / "dask") == contents(tmp_path / "calm")


def test_a_worker_of_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    (tmp_path / "tiny.toml").write_text(tiny())
    plan = session.plan_runs(load_experiment(tmp_path / "tiny.toml"), tmp_path / "out")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        monkeypatch.setattr("tafukt.experiments.runs.workers.source_digest", lambda: "0" * 64)  # this side is the other
        with pytest.raises(InputError, match=r"runs other code than this process: source \w{8} \(here 00000000\)"):
            session.carry_out(plan, cluster=cluster.scheduler_address)
    assert not list((tmp_path / "out").glob("runs/*"))


def test_no_scheduler_and_no_package_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "mine.py").write_text(POLICY)
    plan = session.plan_runs(load_experiment(tmp_path / "tiny.toml"), tmp_path / "out")
    pytest.importorskip("distributed")
    monkeypatch.setattr("tafukt.experiments.runs.workers.CONNECT_S", 0.5)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        session.carry_out(plan, cluster="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"tafukt\[cluster\]"):
        session.carry_out(plan, cluster="tcp://127.0.0.1:1")
