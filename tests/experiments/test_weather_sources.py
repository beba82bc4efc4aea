"""What a weather file lacked is told before a run and kept with its results."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.scenario import build
from tafukt.experiments.runs.run import cell_notes
from tafukt.experiments.runs.session import default_folder, plan_runs

FILE = """
name = "gaps"
start = 2025-01-02T00:00:00Z
days = 1
step_min = 60
policies = ["fifo"]
[sites.own.mine]
like = "rabat"
weather = { kind = "csv", file = "w.csv", fill = "previous-day" }
"""


def test_filled_hours_are_told_and_kept(tmp_path: Path) -> None:
    times = pd.date_range("2025-01-01", "2025-12-31 23:00", freq="h", tz="UTC").delete([34, 35])
    table = pd.DataFrame({"time": times.strftime("%Y-%m-%dT%H:%M:%SZ"), "ghi": 0.0, "temp_air": 15.0})
    table.to_csv(tmp_path / "w.csv", index=False)
    (tmp_path / "gaps.toml").write_text(FILE)
    loaded = load_experiment(tmp_path / "gaps.toml")
    told = [line for line in notes(loaded, build(loaded, 1)) if line.startswith("mine: ")]
    assert any("2 missing rows" in line and "2025-01-02" in line and "previous-day" in line for line in told)
    kept = json.loads(cell_notes(plan_runs(loaded, default_folder(loaded)).runs[0].cell))
    assert any("2 missing rows" in note for note in kept["weather"]["mine"])
