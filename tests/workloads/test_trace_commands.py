"""Commands about logs: a mix fitted to one, an experiment made from one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tafukt.experiments.cli.app import app, guarded
from tafukt.workloads.mix import MixModel


def tafukt(*words: str) -> int:
    """Run a command in this process; its exit code."""
    return guarded(lambda: app(list(words), standalone_mode=False))


def hourly_log(path: Path, jobs: int = 400) -> Path:
    """A log of jobs that come every hour, of 1 and 4 GPUs and 1,000 to 1,999 s."""
    rows = [
        f"j{i},2024-05-{6 + i // 24:02d}T{i % 24:02d}:00:00,{1000 + (37 * i) % 1000},{1 if i % 2 else 4}"
        for i in range(jobs)
    ]
    path.write_text("job_id,submit,runtime_s,gpus\n" + "\n".join(rows) + "\n")
    return path


def test_a_mix_is_fitted_to_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = hourly_log(tmp_path / "log.csv")
    monkeypatch.chdir(tmp_path)
    assert tafukt("workloads", str(log), "--fit") == 0
    mix = MixModel.model_validate(tomllib.loads((tmp_path / "log_mix.toml").read_text()))
    assert sorted(size for model in mix.classes.values() for size in model.gpus) == [1, 4]
    assert mix.functions["trace"].classes == {"from_1_gpus": 200.0, "from_2_gpus": 200.0}
    assert "runtime: 0." in capsys.readouterr().out
    assert tafukt("workloads", str(log), "--fit") == 2
    assert "already exists" in capsys.readouterr().err
    assert tafukt("workloads", "nothing.csv", "--fit") == 2


SACCT = """JobID|Submit|Start|Elapsed|Timelimit|AllocTRES|NodeList|State
1|2024-06-03T10:00:00|2024-06-03T10:05:00|02:00:00|04:00:00|gres/gpu:h100=16,gres/gpu=16,node=2|gpu[01-02]|COMPLETED
2|2024-06-04T11:00:00|2024-06-04T12:00:00|01:00:00|UNLIMITED|gres/gpu:h100=8,gres/gpu=8,node=1|gpu07|FAILED
3|2024-06-04T12:00:00|2024-06-04T12:00:00|01:00:00|02:00:00|cpu=4,node=1|cpu01|COMPLETED
"""


def test_a_first_experiment_is_made_from_what_sacct_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "june.txt").write_text(SACCT)
    monkeypatch.chdir(tmp_path)
    assert tafukt("import", "sacct", "logs/june.txt", "--tz", "Europe/Rome") == 0
    document = tomllib.loads((tmp_path / "june.toml").read_text())
    assert document["sites"]["own"]["june"]["cluster"] == {"nodes": 3, "node": "h100"}
    assert document["start"].isoformat() == "2024-06-03T00:00:00+02:00"
    assert document["days"] == 2
    assert document["workload"]["file"] == "logs/june.txt"
    assert document["workload"]["recorded_on"] == "h100"
    assert "load: 3.5% of these GPUs" in capsys.readouterr().out  # 40 of 3 x 8 x 48 GPU-hours
    keys = ["--quiet", "--set", "bound=false", "--set", "step_min=60", "--set", 'policies=["as-logged"]']
    assert tafukt("run", "june.toml", "--workers", "1", *keys) == 0
    import pandas as pd

    jobs = pd.read_parquet(next((tmp_path / "results" / "june").glob("runs/*/jobs.parquet")))
    ran = jobs.set_index("job")
    assert str(ran.loc["1", "start_utc"]) == "2024-06-03 08:05:00+00:00"  # 10:05 in Rome
    assert str(ran.loc["2", "start_utc"]) == "2024-06-04 10:00:00+00:00"
    took = ran.loc["1", "end_utc"] - ran.loc["1", "start_utc"]
    assert 7200 <= took.total_seconds() <= 7200 + 180  # as on the nodes that it ran on, and until they are awake
    assert tafukt("import", "sacct", "logs/june.txt") == 2
    assert tafukt("import", "pbs", "logs/june.txt") == 2
    assert tafukt("import", "sacct", "logs/june.txt", "-o", "x.toml", "--like", "rabatt") == 2
    assert "rabat" in capsys.readouterr().err
