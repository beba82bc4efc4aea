"""Results on the terminal: 80 columns, chosen scenarios and metrics, tables for a paper, lists, exports, keys."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from builders.experiments import run, tiny

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.cli.keys import key_lines
from tafukt.experiments.errors import FolderError, InputError
from tafukt.experiments.results.dictionary import METRICS

ROOT = Path(__file__).resolve().parents[2]
AXIS = "\n[matrix]\nsites.all.battery.kwh = [0, 1000]\n"


def command(*words: str) -> int:
    """Run a command in this process; its exit code."""
    return guarded(lambda: app(list(words), standalone_mode=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenarios, two seeds, two policies."""
    base = tmp_path_factory.mktemp("shown")
    (base / "tiny.toml").write_text(tiny(policies=("fifo", "wait-for-sun"), seeds=(1, 2)) + AXIS)
    run(base / "tiny.toml", base / "out", "bound=false")
    return base / "out"


def said(*words: str) -> str:
    """What a command prints into a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "tafukt", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "80"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "colours belong on a terminal"
    return done.stdout


def tables(text: str) -> list[str]:
    """The lines of tables, which are not wrapped as sentences are."""
    return [line for line in text.splitlines() if line.startswith(" ")]


def test_tables_fit_80_columns(folder: Path) -> None:
    shown = [
        said("run", str(folder.parent / "tiny.toml"), "-o", str(folder), "--set", "bound=false"),
        said("compare", str(folder)),
    ]
    for text in shown:
        assert tables(text)
        assert max(map(len, tables(text))) <= 80
        assert sum("wait-for-sun" in line for line in tables(text)) >= 2, "one for each scenario"


def test_a_choice_of_scenarios_metrics_and_baseline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--where", "battery.kwh=1000", "--metric", "cost_mad", "--against", "wait-for-sun"]
    assert command("compare", str(folder), *words) == 0
    text = capsys.readouterr().out
    assert "cost_mad, against wait-for-sun" in text
    assert "1000" in text
    assert "draw_kwh" not in text
    for bad, told in (
        (["--where", "battery.kwh=5"], "there are 0, 1000"),
        (["--where", "nothing"], "should be AXIS=VALUE; axes: kwh"),
        (["--metric", "drow_kwh"], "did you mean 'draw_kwh'"),
        (["--against", "fofo"], "did you mean 'fifo'"),
        (["--format", "html"], "there are text, markdown, latex, csv"),
    ):
        assert command("compare", str(folder), *bad) == 2
        assert told in capsys.readouterr().err


def test_only_some_runs(folder: Path) -> None:
    whole = tafukt.load(folder)
    part = whole.only(["kwh=1000"], ["fifo"], 2)
    assert len(part.summary) == 1
    assert len(whole.summary) == 8
    row = part.run().row
    assert (row["policy"], row["seed"], row["sites.all.battery.kwh"]) == ("fifo", 2, 1000)
    with pytest.raises(FolderError, match="no run of seed = 9; there are 1, 2"):
        whole.only(seed=9)


def test_tables_for_a_paper(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", str(folder), "--format", "latex", "--metric", "grid_cut") == 0
    latex = capsys.readouterr().out
    assert latex.count(r"\\") == 5  # a heading and four rows
    assert r"grid\_cut" in latex
    assert command("compare", str(folder), "--format", "markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert len({line.count("|") for line in lines}) == 1
    assert command("compare", str(folder), "--format", "csv", "--metric", "draw_kwh") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    mine = tafukt.load(folder).only(["kwh=0"], ["fifo"]).summary["draw_kwh"].mean()
    assert float(rows[0]["draw_kwh"]) == pytest.approx(mine)


def test_any_table_as_csv_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = tafukt.load(folder)["fifo"].jobs
    assert command("export", str(folder), "jobs", "--policy", "fifo") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["job"] for row in rows] == jobs["job"].tolist()
    assert [float(row["submit_h"]) for row in rows] == jobs["submit_h"].tolist()
    assert command("export", str(folder), "--format", "json", "--where", "kwh=0") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 4
    assert command("export", str(folder), "jbos") == 2
    assert "did you mean 'jobs'" in capsys.readouterr().err


def test_times_of_a_table_in_the_zone_of_the_site(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Morocco keeps UTC+1: the same moments, an hour later by the clock; what has not happened has no time."""
    assert command("export", str(folder), "jobs", "--policy", "fifo", "--local") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    submitted = tafukt.load(folder)["fifo"].jobs["submit_utc"]
    assert "submit_utc" not in rows[0]
    assert [datetime.fromisoformat(row["submit_local"]) for row in rows] == submitted.tolist()
    assert {row["submit_local"][-6:] for row in rows} == {"+01:00"}
    assert command("export", str(folder), "energy", "--policy", "fifo", "--local", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["time_local"].endswith("+01:00")
    assert command("export", str(folder), "meter", "--policy", "fifo") == 2
    assert "no site has a meter in this run" in capsys.readouterr().err


def test_folders_are_listed_with_their_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("ls", str(folder.parent)) == 0
    text = capsys.readouterr().out
    assert f"{folder}  20" in text
    assert "8 of 8 runs" in text
    assert "Over 2 scenarios" in text
    assert command("ls", str(folder / "runs")) == 0
    assert "No result folder" in capsys.readouterr().out


def test_explain_says_whom_to_ask_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("explain", str(folder), "--where", "kwh=1000", "--policy", "wait-for-sun") == 0
    text = capsys.readouterr().out
    jobs = tafukt.load(folder).only(["kwh=1000"])["wait-for-sun"].jobs
    assert f"waited longest: {jobs.loc[jobs['wait_h'].idxmax(), 'job']} ({jobs['wait_h'].max():.1f} h)" in text


def test_keys_are_explained_as_text() -> None:
    text = "\n".join(key_lines("workload.trace"))
    assert "  file: text" in text
    assert "(required)" in text
    assert "align:" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "kwh" in "\n".join(key_lines("sites.own.anything.battery"))
    assert key_lines("days")[0].startswith("  days: ")
    with pytest.raises(InputError, match="did you mean 'workload'"):
        key_lines("worklod")


def test_a_dry_run_simulates_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, new = str(folder.parent / "tiny.toml"), folder.parent / "new"
    assert command("run", experiment, "-o", str(new), "--dry-run", "--set", "bound=false") == 0
    text = capsys.readouterr().out
    assert "8 runs" in text
    assert "Nothing was run." in text
    assert not new.exists()
    assert command("run", experiment, "-o", str(folder), "--dry-run", "--set", "bound=false") == 0
    assert "Nothing is missing." in capsys.readouterr().out


def test_a_first_experiment_of_ones_own_log_weather_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tafukt.experiments.config.load import load_experiment

    rows = [f"j{hour},2025-06-01T{hour:02d}:00:00Z,3600,4" for hour in range(8)]
    log = tmp_path / "logs" / "mine.csv"
    log.parent.mkdir()
    log.write_text("job_id,submit,runtime_s,gpus\n" + "\n".join(rows) + "\n")
    new = tmp_path / "e.toml"
    assert command("init", str(new), "--trace", str(log), "--at", "33.9,-6.8") == 0
    loaded = load_experiment(new)
    assert (loaded.sites["here"].lat, loaded.sites["here"].lon) == (33.9, -6.8)
    workload = loaded.experiment.workload
    assert workload.kind == "trace"
    assert (workload.file, workload.format) == ("logs/mine.csv", "own")
    assert command("run", str(new), "-o", str(tmp_path / "out"), "--quiet", "--set", "bound=false") == 0
    far = tmp_path / "torino.toml"
    assert command("init", str(far), "--trace", str(log), "--at", "45.07,7.69") == 0
    assert command("validate", str(far)) == 0, "the climate of Morocco has more sun than a clear sky in Torino"
    assert load_experiment(far).sites["here"].weather.kind == "clear-sky"
    log.write_text("job,when,gpus\n")
    assert command("init", str(tmp_path / "f.toml"), "--trace", str(log)) == 2
    assert "has the columns job, when, gpus, which match no known format" in capsys.readouterr().err
    (tmp_path / "year.csv").write_text("valid_time,ssrd,t2m\n2025-06-01 01:00:00,0,290\n2025-06-01 02:00:00,0,290\n")
    era5 = tmp_path / "era5.toml"
    assert command("init", str(era5), "--weather", str(tmp_path / "year.csv"), "--at", "33.9,-6.8") == 0
    assert load_experiment(era5).sites["here"].weather.kind == "era5"
    assert command("init", str(tmp_path / "f.toml"), "--weather", str(tmp_path / "none.csv")) == 2
    assert "none.csv: no such file" in capsys.readouterr().err
    for at in ("91,0", "north", "1,2,3", "nan,0"):
        assert command("init", str(tmp_path / "f.toml"), "--at", at) == 2
    assert not (tmp_path / "f.toml").exists()


def test_the_columns_of_a_format_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("workloads", "own") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["runtime_s", "s"] for line in lines)
    assert any(line.split()[0] == "deadline" and "may be missing" in line for line in lines)


@pytest.mark.parametrize(("policies", "said"), [(61, ""), (62, "and 2 more rows in summary.csv")])
def test_a_table_of_one_block_says_how_many_rows_it_lacks(
    policies: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sixty rows are shown, and a sixty-first, whose place the count would take."""
    from tafukt.experiments.cli.comparison import print_comparison
    from tafukt.experiments.config.load import load_experiment

    (tmp_path / "tiny.toml").write_text(tiny())
    metrics = dict.fromkeys((column.name for column in METRICS), 0.0)
    given = {"status": "complete", "seed": 1, **metrics, "jobs_left": 0}
    print_comparison([given | {"policy": f"p{n}"} for n in range(policies)], load_experiment(tmp_path / "tiny.toml"))
    told = capsys.readouterr().out
    assert f" p{60 if not said else 59} " in told
    assert ("more rows" in told) == bool(said)
    assert said in told
