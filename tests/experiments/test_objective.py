"""Bound, best known value and captured saving speak of the experiment's objective, wherever they are shown."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.figures import compare
from tafukt.experiments.results import metrics
from tafukt.experiments.results.answer import answer
from tafukt.experiments.results.load import load as load_results
from tafukt.experiments.results.objective import COST, EMISSIONS, OBJECTIVE_LIMITS, OBJECTIVES
from tafukt.experiments.results.summary import least_possible
from tafukt.experiments.runs import session

DONE = {"jobs_left": 0, "work_left_gpu_hours": 0.0}
TEXT = """
name = "tiny"
start = 2025-06-02T00:00:00Z
days = 0.5
step_min = 60
policies = ["fifo", "wait-for-sun"]
best_known = true
[sites]
use = ["rabat", "dakhla"]
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small experiment, run for each objective."""
    base = tmp_path_factory.mktemp("objective")
    (base / "tiny.toml").write_text(TEXT)
    for name in OBJECTIVES:
        loaded = load_experiment(base / "tiny.toml", [f"objective={name!r}"])
        assert session.carry_out(session.plan_runs(loaded, base / name)).ok
    return {name: base / name for name in OBJECTIVES}


def test_captured_is_of_the_objective() -> None:
    run, base = ({"draw_kwh": d, "emissions_kg": e, "cost_mad": c} | DONE for d, e, c in ((90, 60, -5), (100, 80, 5)))
    found = metrics.comparison(run, base, 40.0, 50.0, EMISSIONS)
    assert found["captured"] == pytest.approx(20 / 40)
    assert (found["grid_cut"], found["emissions_cut"]) == (pytest.approx(0.1), pytest.approx(0.25))
    assert (found["bound_emissions_kg"], found["best_known_emissions_kg"]) == (40.0, 50.0)
    assert all(math.isnan(found[name]) for name in OBJECTIVE_LIMITS if "emissions" not in name)


def test_a_cost_below_zero_is_captured_and_cut_like_any_other() -> None:
    run, base = ({"draw_kwh": 1.0, "emissions_kg": 1.0, "cost_mad": cost} | DONE for cost in (-5.0, 5.0))
    found = metrics.comparison(run, base, -15.0, None, COST)
    assert (found["captured"], found["cost_cut"]) == (0.5, 2.0)
    earning = metrics.comparison(run, base | {"cost_mad": -1.0}, -15.0, None, COST)
    assert earning["captured"] == pytest.approx(4 / 14)
    assert math.isnan(earning["cost_cut"])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_run_is_below_the_bound_of_its_objective(folders: dict[str, Path], name: str) -> None:
    objective, rows = OBJECTIVES[name], load_results(folders[name]).complete
    assert (rows[objective.bound] <= rows[objective.best_known] + 1e-6).all()
    assert (rows[objective.best_known] <= rows[objective.metric] + 1e-6).all()
    assert rows[[limit for limit in OBJECTIVE_LIMITS if limit not in objective.limits]].isna().all().all()
    base, other = rows[objective.metric]
    bound = rows[objective.bound].iloc[1]
    assert rows["captured"].iloc[1] == pytest.approx((base - other) / (base - bound))


def test_what_is_compared_is_part_of_a_run(folders: dict[str, Path]) -> None:
    """A bound on one thing never stands beside runs that were compared by another."""
    runs = {name: {path.name for path in (folder / "runs").iterdir()} for name, folder in folders.items()}
    assert not runs["draw"] & runs["emissions"]


def test_sentences_and_figures_speak_of_the_objective(folders: dict[str, Path]) -> None:
    results = load_results(folders["emissions"])
    rows = results.complete.to_dict("records")
    said = " ".join(answer(rows, "fifo"))
    assert re.search(r"wait-for-sun has the lowest emissions: [\d,]+ instead of [\d,]+ kg, which captures \d+%", said)
    assert "captures" not in said.partition("has the lowest")[0]
    assert re.search(r"emit lies between [\d,]+ kg \(bound\) and [\d,]+ kg \(best", least_possible(rows))
    ax = compare.policies(results)
    assert ax.get_xlabel().startswith("emissions [kg]")
    assert sorted(bar.get_width() for bar in ax.patches) == pytest.approx(sorted(results.complete["emissions_kg"]))
    assert results.complete["bound_emissions_kg"].iloc[0] in [line.get_xdata()[0] for line in ax.lines]
