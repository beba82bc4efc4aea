"""Scenarios of a large matrix are resolved once; identity is still checked where one of them is run."""

from __future__ import annotations

import json
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from builders.experiments import contents, run, tiny

from tafukt.experiments.config.load import Loaded, load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.runs import session
from tafukt.experiments.runs.matrix import runs_of
from tafukt.sites.cache import default_folder
from tafukt.sites.site import SiteModel, catalogue

SIZES = [10, 20, 30, 40, 50, 60]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment of six scenarios, which count as many."""
    monkeypatch.setattr("tafukt.experiments.config.load.SCENARIOS_LEAST", len(SIZES))
    path = tmp_path / "many.toml"
    path.write_text(tiny(policies=("fifo",)) + f"[matrix]\nsites.all.pv.kwp = {SIZES}\n", encoding="utf-8")
    return path


def validated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows by one with every site that is validated from now on."""
    catalogue()
    calls: list[Any] = []
    real = SiteModel.model_validate
    monkeypatch.setattr(
        SiteModel, "model_validate", lambda *given, **more: (calls.append(given), real(*given, **more))[1]
    )
    return calls


def newest() -> Path:
    """The entry of the cache that was written last."""
    return max((default_folder() / "matrices").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def identities(loaded: Loaded) -> list[tuple[str, dict[str, Any]]]:
    return [(run.run_id, run.cell.axes) for run in runs_of(loaded)]


def test_runs_are_the_same_whether_their_scenarios_are_known_or_not(file: Path) -> None:
    fresh = load_experiment(file)
    first = identities(fresh)
    again = load_experiment(file)
    assert fresh.known is None
    assert again.known is not None
    assert identities(again) == first
    assert len({run_id for run_id, _ in first}) == len(SIZES)
    assert again.input_files == fresh.input_files


def test_one_run_of_a_known_matrix_resolves_one_scenario(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_of(load_experiment(file, ["bound=false"]))
    calls = validated(monkeypatch)
    outcome = session.carry_out(session.plan_runs(load_experiment(file, ["bound=false"]), tmp_path / "out", index=4))
    assert outcome.ok
    assert len(calls) == 2 + 2  # Rabat and Dakhla as in the file, and in the one scenario
    assert outcome.rows[0]["sites.all.pv.kwp"] == SIZES[4]


def test_tables_are_those_of_a_run_whose_scenarios_were_not_known(file: Path, tmp_path: Path) -> None:
    for out in ("cold", "known"):
        session.carry_out(session.plan_runs(load_experiment(file, ["bound=false"]), tmp_path / out, index=3))
    assert contents(tmp_path / "cold") == contents(tmp_path / "known")


def test_an_input_file_that_has_changed_makes_all_that_is_known_void(file: Path, tmp_path: Path) -> None:
    mix = tmp_path / "mine.toml"
    ours = Path(str(files("tafukt.workloads"))) / "catalogue" / "mixes" / "institutes.toml"
    mix.write_bytes(ours.read_bytes())
    first = identities(load_experiment(file, ["workload.mix=mine.toml"]))
    assert load_experiment(file, ["workload.mix=mine.toml"]).known is not None
    mix.write_bytes(ours.read_bytes() + b"# a word\n")
    changed = load_experiment(file, ["workload.mix=mine.toml"])
    assert changed.known is None
    assert not {run_id for run_id, _ in identities(changed)} & {run_id for run_id, _ in first}


def test_a_wrong_key_in_the_cache_is_found_where_its_scenario_is_resolved(file: Path, tmp_path: Path) -> None:
    first = identities(load_experiment(file))
    kept = newest()
    content = json.loads(kept.read_text())
    content["cells"][5] = "0" * 64
    kept.write_text(json.dumps(content))
    with pytest.raises(InputError, match="are not what they were"):
        session.check_plan(session.plan_runs(load_experiment(file), tmp_path / "out", index=5))
    assert identities(load_experiment(file)) == first


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"cells": 3, "files": {}}', b'{"cells": [1], "files": {"a": "b"}}'])
def test_a_damaged_entry_is_made_again(file: Path, tmp_path: Path, damage: bytes) -> None:
    first = identities(load_experiment(file))
    kept = newest()
    kept.write_bytes(damage)
    assert load_experiment(file).known is None
    assert identities(load_experiment(file)) == first


def test_a_mistake_in_one_value_is_told_each_time(file: Path) -> None:
    wrong = [f"matrix.sites.all.pv.kwp={[*SIZES, -1]}"]
    for _ in range(2):
        with pytest.raises(InputError, match="kwp"):
            load_experiment(file, wrong)


def test_what_goes_to_another_process_is_one_scenario(file: Path) -> None:
    runs_of(load_experiment(file))
    runs = runs_of(load_experiment(file))
    there = pickle.loads(pickle.dumps(runs[4]))
    assert there.cell.whole is None
    assert there.cell.loaded.sites == runs[4].cell.loaded.sites
    assert (
        len(pickle.dumps(runs[4])) < 1.2 * len(pickle.dumps(runs_of(load_experiment(file, ["matrix={}"]))[0])) + 20_000
    )


def test_two_processes_give_what_one_gives_on_known_scenarios(file: Path, tmp_path: Path) -> None:
    runs_of(load_experiment(file, ["bound=false"]))
    assert run(file, tmp_path / "one", "bound=false").ok
    assert run(file, tmp_path / "two", "bound=false", workers=2).ok
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
