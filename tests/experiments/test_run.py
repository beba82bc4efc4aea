"""Running: complete or absent, resumed, never mixed, the same bytes on one worker or many."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from builders.experiments import contents, run, tiny

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import FolderError, InputError
from tafukt.experiments.results.dictionary import METRICS, names
from tafukt.experiments.results.summary import _best_known, least_possible
from tafukt.experiments.runs import session
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.replay import replay
from tafukt.experiments.runs.run import execute
from tafukt.experiments.runs.session import costs_s
from tafukt.experiments.runs.workers import pieces_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The tiny experiment as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny())
    return path


def test_a_run_leaves_a_whole_folder(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(experiment, out)
    assert outcome.ok
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    with (out / "summary.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == names("summary")
    assert [row["policy"] for row in rows] == ["fifo", "solar"]
    for row in rows:
        folder = out / "runs" / row["run"]
        files = {"summary.json", "jobs.parquet", "energy.parquet", "events.parquet", "files.json"}
        assert {path.name for path in folder.iterdir()} == files
        summary = json.loads((folder / "summary.json").read_text())
        assert list(summary) == list(rows[0])
        assert [float(row[c.name]) for c in METRICS if row[c.name]] == [
            summary[c.name] for c in METRICS if summary[c.name] is not None
        ]
        assert float(row["bound_draw_kwh"]) <= float(row["draw_kwh"]) + 1e-6
    assert float(rows[0]["grid_cut"]) == 0.0
    assert load_experiment(out / "experiment.toml").document() == load_experiment(experiment).document()
    assert not (out / ".tmp").exists()


def test_the_same_bytes_twice_and_on_many_workers(experiment: Path, tmp_path: Path) -> None:
    settings = ("matrix.workload.load=[0.2, 0.3]", "policies=['fifo', 'wait-for-sun']")
    run(experiment, tmp_path / "one", *settings)
    run(experiment, tmp_path / "two", *settings)
    run(experiment, tmp_path / "many", *settings, workers=2)
    one = contents(tmp_path / "one")
    assert len(one) > 16
    assert contents(tmp_path / "two") == one
    assert contents(tmp_path / "many") == one


def test_a_finished_experiment_costs_nothing(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(experiment, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr("tafukt.experiments.runs.run.simulate", lambda *a, **k: pytest.fail("simulated again"))
    monkeypatch.setattr("tafukt.experiments.runs.session.check_inputs", lambda plan: pytest.fail("built again"))
    assert run(experiment, tmp_path / "out").ok
    assert contents(tmp_path / "out") == before


def test_policies_seeds_and_axis_values_extend_a_folder(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    axis = "matrix.workload.load="
    run(experiment, out, axis + "[0.3]")
    first = contents(out / "runs")
    run(experiment, out, axis + "[0.2, 0.3]", "seeds=[1, 2]", "policies=['fifo', 'easy', 'solar']")
    extended = contents(out / "runs")
    assert len(list((out / "runs").iterdir())) == 12
    for name, data in first.items():
        assert extended[name] == data
    run(experiment, tmp_path / "new", axis + "[0.2, 0.3]", "seeds=[1, 2]", "policies=['fifo', 'easy', 'solar']")
    assert contents(out) == contents(tmp_path / "new")


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("days=2", "days"),
        ("name=other", "name"),
        ("workload.load=0.31", "workload.load"),
        ("sites.change.rabat.pv.kwp=5", "sites.own.rabat.pv.kwp"),
        ("seeds=[2]", "seeds"),
        ("policies=['fifo']", "policies"),
        ("baseline=solar", "baseline"),
        ("matrix.workload.load=[0.3]", "matrix.workload.load"),
        ("output.events=none", "output.events"),
    ],
)
def test_any_other_change_is_refused_with_its_key(
    experiment: Path, tmp_path_factory: pytest.TempPathFactory, setting: str, key: str
) -> None:
    out = tmp_path_factory.getbasetemp() / "refusals"
    run(experiment, out)
    before = contents(out)
    with pytest.raises(FolderError) as caught:
        run(experiment, out, setting)
    assert key in {problem.key for problem in caught.value.problems}, str(caught.value)
    assert contents(out) == before


def test_other_code_and_other_files_are_refused(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(POLICY)
    setting = "policies=['fifo', 'mine.py:lazy']"
    run(experiment, tmp_path / "out", setting)
    (tmp_path / "mine.py").write_text(POLICY + "\n# changed\n")
    with pytest.raises(FolderError, match="source of 'mine:lazy' has changed"):
        run(experiment, tmp_path / "out", setting)
    (tmp_path / "mine.py").write_text(POLICY)
    monkeypatch.setattr("tafukt.experiments.runs.manifest.source_digest", lambda: "0" * 64)
    with pytest.raises(FolderError, match="other code"):
        run(experiment, tmp_path / "out", setting)


def test_a_folder_of_something_else_is_left_alone(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match="not a result folder"):
        run(experiment, tmp_path / "out")
    with pytest.raises(FolderError, match="is a file"):
        run(experiment, experiment)
    assert contents(tmp_path / "out") == {"thesis.txt": b"years of work"}


POLICY = """
from tafukt.simulator.policies.list_scheduler import Parts

lazy = Parts()

def broken(view):
    raise RuntimeError("no idea")
"""


SCRIBE = """
def scribe(view):
    for job in view.waiting.values():
        object.__setattr__(job.ask, "gpus", 1)
    return ()
"""


def test_a_policy_that_writes_into_its_jobs_harms_no_other(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIBE)
    (alone,) = run(experiment, tmp_path / "alone", "policies=['fifo']").rows
    scribe, fifo = run(experiment, tmp_path / "out", "policies=['mine.py:scribe', 'fifo']").rows
    assert scribe["status"] == "failed"
    assert "has written into" in scribe["reason"]
    assert fifo["draw_kwh"] == alone["draw_kwh"]


def test_a_run_that_fails_does_not_stop_the_others(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(POLICY)
    out = tmp_path / "out"
    settings = "policies=['mine.py:broken', 'fifo', 'mine.py:lazy']"
    outcome = run(experiment, out, settings)
    assert not outcome.ok
    failed, fifo, lazy = outcome.rows
    assert failed["status"] == "failed"
    assert failed["reason"].endswith("its round fails with RuntimeError: no idea")
    assert fifo["status"] == lazy["status"] == "complete"
    assert lazy["draw_kwh"] == fifo["draw_kwh"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert manifest["runs"][failed["run"]]["reason"] == failed["reason"]
    with (out / "summary.csv").open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["failed", "complete", "complete"]
    again = replay(out)
    assert again.agrees
    assert not again.close


def test_a_policy_that_cannot_be_read_is_told_before_anything_is_written(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(view):\n    return 1 +\n")
    with pytest.raises(InputError, match="line 2: SyntaxError"):
        run(experiment, tmp_path / "out", "policies=['mine.py:f']")
    (tmp_path / "mine.py").write_text("import math\nx = math.nothing\n")
    with pytest.raises(InputError, match="line 2: AttributeError"):
        run(experiment, tmp_path / "out", "policies=['mine.py:f']")
    (tmp_path / "mine.py").write_text("def first(view): ...\n")
    with pytest.raises(InputError, match="did you mean 'first'"):
        run(experiment, tmp_path / "out", "policies=['mine.py:fist']")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_half_run(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tafukt.experiments.runs.folder as folder

    real, written = folder._write_synced, []

    def full(path: Path, data: bytes) -> None:
        if path.name == "energy.parquet" and len(written) < 1:
            written.append(path)
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(folder, "_write_synced", full)
    out = tmp_path / "out"
    outcome = run(experiment, out)
    assert not outcome.ok
    assert any("No space left" in fault for fault in outcome.faults)
    assert len(list((out / "runs").iterdir())) == len(outcome.rows) < 2
    assert run(experiment, out).ok
    monkeypatch.undo()
    run(experiment, tmp_path / "calm")
    assert contents(out) == contents(tmp_path / "calm")


SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STOPS = int(os.environ.get("TAFUKT_STOPS", "40"))
"""How often the slow form of the test stops its matrix."""


@pytest.mark.parametrize("stops", [2, pytest.param(STOPS, marks=pytest.mark.slow)])
def test_stopped_at_any_moment_it_is_resumed_to_the_same_bytes(experiment: Path, tmp_path: Path, stops: int) -> None:
    """Stopped while it starts, while it runs, while it writes; one in two stops is a kill -9."""
    settings = ["--set", f"seeds={list(range(1, stops + 2))}", "--set", "policies=['fifo', 'solar', 'wait-for-sun']"]
    out = tmp_path / "stopped"
    command = [
        sys.executable,
        "-m",
        "tafukt.experiments.cli.app",
        "run",
        str(experiment),
        "-o",
        str(out),
        "--workers",
        "2",
    ]
    rng, stopped = random.Random(stops), 0
    for turn in range(stops):
        process = subprocess.Popen(
            [*command, *settings], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seen = len(list(out.glob("runs/*")))
        begin = time.monotonic()
        patience_s = rng.random() if turn % 5 == 4 else 60.0
        while process.poll() is None and time.monotonic() - begin < patience_s:
            if len(list(out.glob("runs/*"))) > seen + rng.randrange(2):
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.1)
        stopped += process.poll() is None
        workers = _children_or_none(process.pid)
        if turn % 6 == 5 and workers:  # a worker dies first; its parent is stopped while it mends that
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.random() * 0.3)
        process.send_signal(rng.choice(SIGNALS) if turn else signal.SIGKILL)
        process.wait()
        assert _all_gone(workers), "orphans"
        for run_folder in out.glob("runs/*"):
            assert Folder(out).is_complete(run_folder.name)
    print(f"{stopped} of {stops} stops found it running, {len(list(out.glob('runs/*')))} runs done by then")
    assert stopped > 0.8 * stops, "the matrix was done before it could be stopped"
    done = subprocess.run([*command, *settings], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run(experiment, tmp_path / "calm", *settings[1::2])
    assert not (out / ".tmp").exists(), "scratch is swept by the next start"
    assert contents(out) == contents(tmp_path / "calm")


def test_workers_die_with_their_parent(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import time\ndef slow(view):\n    time.sleep(60)\n    return ()\n")
    command = [sys.executable, "-m", "tafukt", "run", str(experiment), "-o", str(tmp_path / "out")]
    command += ["--workers", "2", "--set", "policies=['mine.py:slow', 'fifo']", "--set", "bound=false"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("runs/fifo*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = _children(process.pid)
    assert workers
    process.kill()
    process.wait()
    while any(_runs(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if _runs(pid)]


def _children(pid: int) -> list[int]:
    task = Path(f"/proc/{pid}/task/{pid}/children")
    if not task.exists():
        pytest.skip("no /proc here")
    return [int(child) for child in task.read_text().split()]


def _children_or_none(pid: int) -> list[int]:
    """The children of a process that may have ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _all_gone(pids: list[int], patience_s: float = 5.0) -> bool:
    deadline = time.monotonic() + patience_s
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_worker_that_dies_costs_its_run_only(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\ndef deadly(view):\n    os._exit(9)\n")
    outcome = run(experiment, tmp_path / "out", "policies=['mine.py:deadly', 'fifo', 'solar']", workers=2)
    assert {row["policy"]: row["status"] for row in outcome.rows} == {"fifo": "complete", "solar": "complete"}
    assert len(outcome.faults) == 1
    assert "died twice" in outcome.faults[0]


def test_the_root_of_scratch_may_vanish_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, vanished = os.mkdir, []

    def mkdir(path: Any, *more: Any) -> None:
        if len(vanished) < 2 and str(path).endswith(".tmp"):  # there, and gone by the time one looks what it is
            vanished.append(path)
            raise FileExistsError(17, "File exists", str(path))
        real(path, *more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    Folder(tmp_path / "a").write("a.json", b"{}")
    assert len(vanished) == 2
    assert contents(tmp_path / "a") == {"a.json": b"{}"}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".tmp").write_text("not ours")
    with pytest.raises(FileExistsError):
        Folder(tmp_path / "b").write("b.json", b"{}")


def test_last_cells_are_taken_apart_so_that_no_worker_stands_idle(experiment: Path, tmp_path: Path) -> None:
    settings = ["seeds=[1, 2, 3]", "policies=['fifo', 'easy', 'solar']"]
    plan = session.plan_runs(load_experiment(experiment, settings), tmp_path)
    tasks, wanted = plan.runs, [(kind, run.cell) for _, kind, run in plan.wanted]

    def said(workers: int) -> list[str]:
        pieces = pieces_of(tasks, wanted, workers)
        assert sorted(run.run_id for piece in pieces for run in piece.runs) == sorted(task.run_id for task in tasks)
        labels = [" ".join(run.policy.label for run in piece.runs) or piece.wanted for piece in pieces]
        return [f"{label} {piece.cell.seed}" for label, piece in zip(labels, pieces, strict=True)]

    assert said(1) == [f"{what} {seed}" for seed in (1, 2, 3) for what in ("bound", "fifo easy solar")]
    apart = [f"{label} {seed}" for label in ("solar", "easy", "fifo") for seed in (2, 3)]
    assert said(2) == ["bound 1", "fifo easy solar 1", "bound 2", "bound 3", *apart]
    assert len(said(8)) == 12


def test_single_runs_by_index_make_the_same_folder(experiment: Path, tmp_path: Path) -> None:
    loaded = load_experiment(experiment)
    for index in (1, 0):
        session.carry_out(session.plan_runs(loaded, tmp_path / "array", index))
    run(experiment, tmp_path / "whole")
    assert contents(tmp_path / "array") == contents(tmp_path / "whole")
    with pytest.raises(InputError, match="0 to 1"):
        session.plan_runs(loaded, tmp_path / "array", 2)


def test_without_baseline_or_bound_the_comparisons_are_blank(experiment: Path, tmp_path: Path) -> None:
    rows = run(experiment, tmp_path / "out", "policies=['solar']", "bound=false").rows
    assert [rows[0][name] for name in ("grid_cut", "bound_draw_kwh", "captured")] == [None, None, None]
    assert not list((tmp_path / "out" / "cells").glob("*.bound.json"))


def test_replay_says_where_results_first_differ(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(experiment, out)
    found = replay(out)
    assert found.agrees
    assert found.identical == 2 * 4 + 1
    assert not found.close
    path = out / "runs" / outcome.rows[1]["run"] / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text())
    summary["draw_kwh"] *= 1 + 1e-12
    path.write_text(json.dumps(summary))
    assert replay(out).agrees
    summary["draw_kwh"] *= 1.001
    path.write_text(json.dumps(summary))
    found = replay(out)
    assert not found.agrees
    assert "draw_kwh" in found.different[0]


def test_reporting_in_other_steps_changes_no_energy(experiment: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def totals(*settings: str) -> dict[str, float]:
        run = session.plan_runs(load_experiment(experiment, ["step_min=30", *settings]), tmp_path).runs[0]
        (tmp_path / "energy.parquet").write_bytes(execute(run)["energy.parquet"])
        table = pq.read_table(tmp_path / "energy.parquet")
        return {
            name: sum(table[name].to_pylist())
            for name in table.column_names
            if name.endswith("_kwh") and "_per_" not in name
        }

    fine, coarse = totals(), totals("output.step_min=120")
    for name, value in fine.items():
        if name != "stored_kwh":
            assert coarse[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def test_a_job_longer_than_any_file_name_is_harmless(experiment: Path, tmp_path: Path) -> None:
    document = toml.read(experiment)
    document["sites"]["own"] = {"a" * 64: {"like": "fes"}}
    path = tmp_path / "long.toml"
    path.write_text(toml.text(document))
    assert run(path, tmp_path / "long", "policies=['fifo']").ok
    assert os.listdir(tmp_path / "long" / "runs")


def test_the_best_known_schedule_stands_above_the_bound(experiment: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", ("best_known=true", "seeds=[1, 2]", "policies=['fifo', 'wait-for-sun']")
    outcome = run(experiment, out, *settings, workers=2)
    assert outcome.ok
    for seed in (1, 2):
        rows = [row for row in outcome.rows if row["seed"] == seed]
        cell = json.loads((out / "manifest.json").read_text())["runs"][rows[0]["run"]]["cell"]
        made = json.loads((out / "cells" / f"{cell}.best.json").read_text())
        assert made["jobs_left"] == made["deadline_miss_rate"] == 0
        possible = [made["draw_kwh"], *(row["draw_kwh"] for row in rows if not row["deadline_miss_rate"])]
        for row in rows:
            assert row["best_known_draw_kwh"] == min(possible)
            assert row["bound_draw_kwh"] <= row["best_known_draw_kwh"]
    said = least_possible(outcome.rows)
    assert re.search(r"between \d+ kWh \(bound\) and \d+ kWh \(best known schedule\)", said), said
    before = contents(out)
    assert session.plan_runs(load_experiment(experiment, settings), out).wanted == ()
    assert run(experiment, tmp_path / "again", *settings).ok
    assert contents(tmp_path / "again") == before
    plain = run(experiment, tmp_path / "plain", *settings[1:])
    assert {row["best_known_draw_kwh"] for row in plain.rows} == {None}
    assert least_possible(plain.rows) == ""


def test_a_searched_schedule_is_a_run_like_any_other(experiment: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    out, settings = tmp_path / "out", ("best_known={search=true, steps=4}", "policies=['fifo']")
    assert run(experiment, out, *settings).ok
    (made,) = (out / "cells").glob("*.best.json")
    told, tables = json.loads(made.read_text()), made.with_suffix("")
    assert told["how"] in ("searched in 4 steps", "planned knowing all; what was searched is no better")
    assert told["why_not_searched"] == ""
    assert {path.name for path in tables.iterdir()} == {"jobs.parquet", "energy.parquet", "events.parquet"}
    begun = next((out / "cells").glob("*.search.npz")).read_bytes()
    made.unlink()  # as if it had been stopped after the search: nothing is searched again
    assert run(experiment, out, *settings).ok
    assert json.loads(made.read_text()) == told
    assert next((out / "cells").glob("*.search.npz")).read_bytes() == begun


def test_where_nothing_can_be_searched_for_the_planned_schedule_stands(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ("best_known={search=true, steps=2}", "policies=['fifo']", "coordination=federated")
    assert run(experiment, out, *settings).ok
    told = json.loads(next((out / "cells").glob("*.best.json")).read_text())
    assert told["how"] == "planned knowing all"
    assert "decide for themselves" in told["why_not_searched"]


def test_a_run_that_was_late_is_no_best_known_schedule(tmp_path: Path) -> None:
    folder, whole = Folder(tmp_path), {"status": "complete", "jobs_left": 0, "work_left_gpu_hours": 0.0}
    folder.write("cells/a.best.json", json.dumps({**whole, "draw_kwh": 10.0, "deadline_miss_rate": 0.0}).encode())
    rows = [
        {**whole, "draw_kwh": 8.0, "deadline_miss_rate": 0.1},
        {**whole, "draw_kwh": 9.0, "deadline_miss_rate": None},
    ]
    assert _best_known(folder, "a", rows) == 9.0
    assert _best_known(folder, "a", rows[:1]) == 10.0
    assert _best_known(folder, "b", rows) is None


def test_what_is_left_is_estimated_by_the_kind_of_policy(experiment: Path, tmp_path: Path) -> None:
    settings = ("policies=['fifo', 'wait-for-sun', 'planner']", "best_known=true")
    plan = session.plan_runs(load_experiment(experiment, settings), tmp_path / "out")
    costs = costs_s(plan, session.check_inputs(plan))
    fifo, waits, plans = (costs[f"runs/{run.run_id}"] for run in plan.runs)
    assert fifo < waits < plans
    assert len(costs) == 5
    told: list[tuple[int, int, float]] = []
    session.carry_out(plan, 1, progress=lambda done, total, share: told.append((done, total, share)))
    assert told[-1] == (3, 3, pytest.approx(1.0)), "three runs, and two things for their cell that are no runs"
    assert [share for *_, share in told] == sorted(share for *_, share in told)
