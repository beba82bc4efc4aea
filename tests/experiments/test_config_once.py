"""A setting goes one way: validated once, handed on as it is, written and never read back."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders.experiments import contents, run, tiny

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.config.schema import Experiment, SitesTable
from tafukt.experiments.runs import session
from tafukt.sites import site as sites
from tafukt.sites.site import SiteModel


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a document is parsed or written, and a model is validated, by its name."""
    calls: Counter[str] = Counter()
    sites.catalogue()  # our own sites are validated once a process, whatever the experiment

    def count(owner: Any, name: str, label: str) -> None:
        real = getattr(owner, name)

        def call(*given: Any, **more: Any) -> Any:
            calls[label] += 1
            return real(*given, **more)

        monkeypatch.setattr(owner, name, call)

    for model in (Experiment, SitesTable, SiteModel):
        count(model, "model_validate", model.__name__)
    count(toml, "parse", "parsed")
    return calls


def experiment(folder: Path, more: str = "", seeds: tuple[int, ...] = (1,)) -> Path:
    """The tiny experiment in a file."""
    path = folder / "tiny.toml"
    path.write_text(tiny(seeds=seeds) + more, encoding="utf-8")
    return path


def test_a_plain_experiment_is_validated_once_from_file_to_results(counted: Counter[str], tmp_path: Path) -> None:
    outcome = run(experiment(tmp_path), tmp_path / "out")
    assert outcome.ok
    assert len(outcome.rows) == 2
    assert counted == {"parsed": 1, "Experiment": 1, "SiteModel": 2}  # Rabat and Dakhla


def test_fifteen_cells_are_validated_once_per_scenario(counted: Counter[str], tmp_path: Path) -> None:
    path = experiment(tmp_path, "[matrix]\nforecast.error = [0.05, 0.1, 0.2, 0.3, 0.4]\n", seeds=(1, 2, 3))
    plan = session.plan_runs(load_experiment(path), tmp_path / "out")
    assert plan.cells == 15
    session.carry_out(session.plan_runs(load_experiment(path, ["policies=['fifo']", "bound=false"]), tmp_path / "out"))
    assert counted["Experiment"] == 2 * (1 + 5)  # loaded twice here: the file itself, and five values
    assert counted["SiteModel"] == 2 * 2  # no site is touched


def test_only_the_site_that_an_axis_changes_is_validated_again(counted: Counter[str], tmp_path: Path) -> None:
    path = experiment(tmp_path, "[matrix]\nsites.change.dakhla.pv.kwp = [10, 20, 30]\n")
    plan = session.plan_runs(load_experiment(path), tmp_path / "out")
    assert [run.cell.loaded.sites["dakhla"].pv_kwp for run in plan.runs[::2]] == [10, 20, 30]
    assert len({id(run.cell.loaded.sites["rabat"]) for run in plan.runs}) == 1
    assert counted["SiteModel"] == 2 + 3


def test_what_goes_to_a_worker_is_not_validated_there(counted: Counter[str], tmp_path: Path) -> None:
    here = session.plan_runs(load_experiment(experiment(tmp_path)), tmp_path / "out").runs[0]
    before = dict(counted)
    there = pickle.loads(pickle.dumps(here))
    assert there.cell == here.cell
    assert build(there.cell.loaded, 1).jobs == build(here.cell.loaded, 1).jobs
    assert dict(counted) == before


def test_a_value_of_an_axis_gives_what_it_gives_written_in_the_file(tmp_path: Path) -> None:
    """What is taken over from the base changes nothing: tables are those of a file that says the value itself."""
    matrix = experiment(tmp_path, "[matrix]\nsites.change.dakhla.pv.kwp = [10, 20]\n")
    assert run(matrix, tmp_path / "matrix").ok
    plain = tmp_path / "plain.toml"
    plain.write_text(tiny() + "[sites.change.dakhla]\npv.kwp = 20\n", encoding="utf-8")
    assert run(plain, tmp_path / "plain").ok
    tables = [{name: data for name, data in contents(tmp_path / out).items() if name.endswith(".parquet")}
              for out in ("matrix", "plain")]  # fmt: skip
    assert len(tables[1]) == 6
    assert tables[1].items() <= tables[0].items()
