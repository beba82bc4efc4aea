"""Result folders from Python: tables, metadata, choosing runs, and what is said when a folder is none."""

from __future__ import annotations

from pathlib import Path

import builders.records as records_of
import pytest

import tafukt
from tafukt.experiments.errors import FolderError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = records_of.write_folder(
        tmp_path_factory.mktemp("folder"),
        axis={"workload.load": [0.3, 0.5]},
        seeds=(1,),
        count=6,
        question="<b>why</b>",
    )
    return made


def test_runs_are_chosen_by_policy_and_seed(folder: Path) -> None:
    results = tafukt.load(folder)
    assert results.axes == ["workload.load"]
    run = results["solar"]
    assert run.row["policy"] == "solar"
    assert len(run.jobs) == 6
    assert set(run) == {"jobs", "energy", "events"}
    assert run["energy"] is run.energy
    assert run.tz == "Africa/Casablanca"
    assert run.metadata["policy"] == "solar"
    with pytest.raises(FolderError, match="no complete run of policy 'easy'"):
        results.run(policy="easy")
    with pytest.raises(KeyError, match="a run has jobs"):
        run["summary"]


def test_it_shows_itself(folder: Path) -> None:
    results = tafukt.load(folder)
    assert "6 of 6 runs complete" in repr(results)
    page = results._repr_html_()
    assert "&lt;b&gt;why" in page
    assert "<b>why" not in page


def test_what_is_no_folder_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        tafukt.load(tmp_path / "none")
    with pytest.raises(FolderError, match="no manifest"):
        tafukt.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FolderError, match="cannot be read"):
        tafukt.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"runs": {}}')
    with pytest.raises(FolderError, match="nothing has run"):
        _ = tafukt.load(tmp_path).summary
    (tmp_path / "summary.csv").write_text("run,status\n")
    with pytest.raises(FolderError, match="no column policy, seed"):
        _ = tafukt.load(tmp_path).summary


def test_a_broken_table_is_told(folder: Path) -> None:
    run = tafukt.load(folder)["fifo"]
    path = run.folder / "events.parquet"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FolderError, match="cannot be read"):
            _ = run.events
        path.unlink()
        with pytest.raises(FolderError, match="not complete"):
            _ = run.events
    finally:
        path.write_bytes(whole)


def test_an_axis_is_named_by_its_key_its_end_or_a_word(tmp_path: Path) -> None:
    axis = {"sites.all.battery.kwh": [0.0, 10.0], "workload.load": [0.3, 0.5]}
    folder = records_of.write_folder(tmp_path, seeds=(1, 2), axis=axis, count=4, days=1.0)
    results = tafukt.load(folder)
    for name in ("sites.all.battery.kwh", "battery.kwh", "kwh", "battery"):
        some = results.only([f"{name}=10", "load=0.5"], ["solar"], 2).complete
        assert some[["policy", "seed", *axis]].to_numpy().tolist() == [["solar", 2, 10.0, 0.5]]
    with pytest.raises(FolderError, match="there is no axis 'batery'; axes: kwh, load"):
        results.only(["batery=10"])
    with pytest.raises(FolderError, match="should be AXIS=VALUE; axes: kwh, load"):
        results.only(["battery"])


def test_of_axes_with_one_label_the_value_decides(tmp_path: Path) -> None:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "sites.all.pv.kw": [7.0, 8.0]}
    folder = records_of.write_folder(tmp_path, seeds=(1,), axis=axis, count=4, days=1.0)
    results = tafukt.load(folder)
    some = results.only(["PV=8", "PV=2"]).complete
    assert some[list(axis)].drop_duplicates().to_numpy().tolist() == [[2.0, 8.0]]
    with pytest.raises(FolderError, match="'PV' could mean kwp or kw; say which"):
        results.only(["PV=9"])
