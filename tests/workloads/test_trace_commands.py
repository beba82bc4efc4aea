"""Commands about logs: a mix fitted to one."""

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
    assert "is there already" in capsys.readouterr().err
    assert tafukt("workloads", "nothing.csv", "--fit") == 2
