"""The bundled experiment on ramp limits, shortened; how the key is written, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from builders.experiments import tiny

import tafukt
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError


def test_the_bundled_experiment_breaches_less_with_a_battery_and_a_wider_limit(tmp_path: Path) -> None:
    limit, battery = "sites.all.grid.ramp_limit_kw_per_min", "sites.all.battery.kwh_per_node"
    results = tafukt.run(
        "ramp_limit",
        set={"days": 2, "policies": ["fifo"], "sites.use": ["rabat", "dakhla", "fes"], f"matrix.{limit}": [2, 20]},
        output=tmp_path / "out",
        workers=1,
    )
    rows = results.complete.set_index([limit, battery])
    assert len(rows) == 4
    assert (rows["jobs_left"] == 0).all()
    breaches = rows["ramp_breach_min"].unstack()
    assert breaches.loc[2, 0] > breaches.loc[2, 10]
    assert breaches.loc[2, 0] > breaches.loc[20, 0]
    assert breaches.loc[20, 10] == 0
    assert (rows["balance_residual_kwh"] < 1e-6).all()
    # Two sites may move together: over all three the largest change is at most three times the limit.
    assert rows.loc[(20, 10), "import_ramp_1min_kw"] <= 3 * 20 + 1e-6


def written(folder: Path, limit: Any) -> Path:
    grid = {"sites": {"all": {"grid": {"ramp_limit_kw_per_min": limit}}}}
    (folder / "e.toml").write_text(tiny() + "\n" + tomli_w.dumps(grid))
    return folder / "e.toml"


@pytest.mark.parametrize(
    ("limit", "up_w", "down_w"),
    [(5, 5e3, 5e3), ({"up": 2.5}, 2.5e3, np.inf), ({"up": 2, "down": 8}, 2e3, 8e3)],
)
def test_one_number_or_two(tmp_path: Path, limit: Any, up_w: float, down_w: float) -> None:
    grid = build(load_experiment(written(tmp_path, limit)), 1).scenario.sites[0].grid
    assert (grid.ramp_up_w, grid.ramp_down_w) == (up_w, down_w)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (0, "0 is not allowed"),
        (-3.0, "-3.0 is not allowed"),
        ({"up": 0}, "0 is not allowed"),
        ({"upp": 3}, "unknown key"),
        ("fast", "should be a number"),
        (5e7, "is not plausible"),
    ],
)
def test_a_ramp_of_zero_and_other_mistakes_are_told(tmp_path: Path, limit: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(written(tmp_path, limit))
    assert said in str(error.value)
    assert "sites.all.grid.ramp_limit_kw_per_min" in str(error.value)
