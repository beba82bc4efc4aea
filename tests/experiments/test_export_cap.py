"""The law's cap on paid export is one of a year: a shorter run has none, and what holds is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from tafukt.experiments.cli.text import scenario_lines
from tafukt.experiments.config.load import load
from tafukt.experiments.config.scenario import build


@pytest.mark.parametrize(
    ("key", "days", "share", "said"),
    [
        ("", 2, 1.0, "all of it is paid"),
        ("", 365, 0.2, "paid up to 20% of the window's generation; what is above it is exported unpaid"),
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
    inputs = build(load(file), 1)
    assert [site.grid.export_cap_share for site in inputs.scenario.sites] == [share]
    told = [line for line in scenario_lines(inputs) if line.startswith("export: ")]
    assert (said in told[0]) if said else not told
