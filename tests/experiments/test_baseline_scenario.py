"""Scenarios against a baseline scenario: the difference of each policy and seed, and a year's worth of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.experiments import run, tiny
from tafukt.experiments.config.load import load
from tafukt.experiments.errors import InputError

MATRIX = """
[matrix]
zip = [{{ sites.all.battery.kwh = [5, 40], sites.all.battery.c_rate = [0.25, 0.5] }}]
workload.load = [0.2, 0.4]
[baseline_scenario]
{base}
"""
BASE = "sites.all.battery.kwh = 5"


def written(folder: Path, base: str = BASE) -> Path:
    """The tiny experiment with two axes and a baseline scenario."""
    path = folder / "tiny.toml"
    path.write_text(tiny(seeds=(1, 2)) + MATRIX.format(base=base), encoding="utf-8")
    return path


def test_each_run_is_held_against_its_own_policy_seed_and_other_axes(tmp_path: Path) -> None:
    outcome = run(written(tmp_path), tmp_path / "out", "bound=false")
    assert outcome.ok
    assert len(outcome.rows) == 16
    battery, demand = "sites.all.battery.kwh", "workload.load"
    place = {(row["policy"], row["seed"], row[demand], row[battery]): row for row in outcome.rows}
    less = 0
    for (policy, seed, load_, _), row in place.items():
        base = place[policy, seed, load_, 5]
        for column, metric in (
            ("draw_against_base_kwh", "draw_kwh"),
            ("cost_against_base_mad", "cost_mad"),
            ("emissions_against_base_kg", "emissions_kg"),
        ):
            assert row[column] == pytest.approx(row[metric] - base[metric], abs=1e-9)
            assert row[f"{column}_per_year"] == pytest.approx(row[column] * 365.25 * 24 / row["window_h"])
            less += row[column] < -0.1
    assert less > 8  # the larger battery saves


def test_without_a_baseline_scenario_the_columns_are_blank(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny(), encoding="utf-8")
    for row in run(path, tmp_path / "out", "bound=false").rows:
        assert row["draw_against_base_kwh"] is None
        assert row["cost_against_base_mad_per_year"] is None


@pytest.mark.parametrize(
    ("base", "key", "words"),
    [
        ("sites.all.battery.kwh = 7", "sites.all.battery.kwh", "none of the values of the matrix: 5, 40"),
        ("workload.laod = 0.2", "workload.laod", "did you mean 'workload.load'"),
    ],
)
def test_a_baseline_scenario_that_is_not_there_is_told(base: str, key: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(written(tmp_path, base))
    assert words in {problem.key: str(problem) for problem in caught.value.problems}[f"baseline_scenario.{key}"]
