"""The law's cap on paid export is one of a year: a shorter run has none, and what holds is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.experiments import tiny

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.scenario import build
from tafukt.experiments.report.report import template_variables


@pytest.mark.parametrize(
    ("key", "days", "share", "said"),
    [
        ("", 2, 1.0, "all of it is paid"),
        ("", 365, 0.2, "paid up to 20% of the window's generation; anything above that earns nothing"),
        ("grid.export_cap_share = 0.5", 2, 0.5, "paid up to 50%"),
        ("grid.export_limit_kw = 0", 2, 1.0, ""),
    ],
)
def test_the_cap_on_paid_export_is_said(tmp_path: Path, key: str, days: int, share: float, said: str) -> None:
    file = tmp_path / "e.toml"
    file.write_text(
        f"""name = "cap"
start = 2026-01-01T00:00:00Z
days = {days}
drain_days = 0
step_min = 60
policies = ["fifo"]
[sites]
use = ["agadir"]
[sites.all]
{key}
[workload]
mix = "institutes"
load = 0.1
"""
    )
    loaded = load_experiment(file)
    inputs = build(loaded, 1)
    assert [site.grid.export_cap_share for site in inputs.scenario.sites] == [share]
    told = [line for line in notes(loaded, inputs) if line.startswith("export: ")]
    assert (said in told[0]) if said else not told


def test_run_manifest_and_report_say_all_that_validate_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "tiny.toml", tmp_path / "out"
    file.write_text(tiny())
    said = []
    for words in (["validate", str(file)], ["run", str(file), "-o", str(out), "--workers", "1"]):
        assert guarded(lambda words=words: app(words, standalone_mode=False)) == 0  # type: ignore[misc]
        both = capsys.readouterr()
        lines = (both.out + both.err).splitlines()
        said.append({line.split("Note: ")[1] for line in lines if "Note: " in line})
    assert any(note.startswith("export: ") for note in said[0])
    results = tafukt.load(out)
    assert said[0] == said[1] == set(results.manifest["notes"])
    assert said[0] <= set(template_variables(results)["warnings"])
