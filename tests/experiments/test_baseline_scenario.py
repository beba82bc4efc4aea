"""Scenarios against a baseline scenario: the difference of each policy and seed, and a year's worth of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from builders.experiments import run, tiny

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
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
        ("sites.all.battery.kwh = 7", "sites.all.battery.kwh", "not one of the values in the matrix: 5, 40"),
        ("workload.laod = 0.2", "workload.laod", "did you mean 'workload.load'"),
    ],
)
def test_a_baseline_scenario_that_is_not_there_is_told(base: str, key: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_experiment(written(tmp_path, base))
    assert words in {problem.key: str(problem) for problem in caught.value.problems}[f"baseline_scenario.{key}"]


def test_run_compare_and_report_say_it_policy_by_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand from the draws, costs and emissions of summary.csv: means over the seeds, and 8766 h a year."""
    path, out = tmp_path / "tiny.toml", tmp_path / "out"
    text = "[matrix]\nsites.all.battery.kwh = [5, 7.5]\n[baseline_scenario]\nsites.all.battery.kwh = 5\n"
    path.write_text(tiny(seeds=(1, 2)) + text, encoding="utf-8")
    shown = {}
    for words in (["run", str(path), "-o", str(out), "--workers", "1", "--set", "bound=false"], ["compare", str(out)]):
        assert guarded(lambda words=words: app(words, standalone_mode=False)) == 0  # type: ignore[misc]
        shown[words[0]] = capsys.readouterr().out
    assert guarded(lambda: app(["report", str(out)], standalone_mode=False)) == 0
    shown["report"] = (out / "report.html").read_text(encoding="utf-8")
    rows = list(csv.DictReader((out / "summary.csv").open(encoding="utf-8")))
    for policy in ("fifo", "solar"):
        small, large = (
            [row for row in rows if row["policy"] == policy and row["sites.all.battery.kwh"] == kwh]
            for kwh in ("5", "7.5")
        )
        assert [row["seed"] for row in small] == [row["seed"] for row in large] == ["1", "2"]
        years = [
            sum(
                (float(more[metric]) - float(less[metric])) * 8766.0 / float(more["window_h"])
                for less, more in zip(small, large, strict=True)
            )
            / 2
            for metric in ("draw_kwh", "cost_mad", "emissions_kg")
        ]
        kwh, mad, kg = (f"{year:+,.0f}" for year in years)
        days = sum(float(row["window_h"]) for row in large) / 2 / 24
        year = f"a year, from a window of {days:.0f} days."
        sentence = f"battery 7.5 kWh against battery 5 kWh under {policy}: {kwh} kWh, {mad} MAD and {kg} kg CO2e {year}"
        assert years[0] < -1.0
        for command, told in shown.items():
            assert sentence in told, command
        for command in ("run", "compare"):
            line = next(line for line in shown[command].split("battery 7.5 kWh")[1].splitlines() if policy in line)
            assert kwh in line.split(), command
        assert kwh.replace("-", "−") in shown["report"], "the row of the table"
    assert "battery 5 kWh against" not in shown["run"] + shown["compare"] + shown["report"]
