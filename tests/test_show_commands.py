"""The commands on results: what they print, and that names of policies and scenarios are never read as markup."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from experiments import cli_results
from experiments.cli_text import console


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = _load("show_records").write_folder(
        tmp_path_factory.mktemp("folder"), policies=("fifo", "[red]solar"), seeds=(1, 2, 3), count=6, days=1.0
    )
    return made


@pytest.fixture(autouse=True)
def _fresh_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    console.cache_clear()


def test_compare_tells_means_differences_and_notes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_results.compare_command([folder, folder]) == 0
    said = capsys.readouterr().out
    assert "means over 3 seeds" in said
    assert "[red]solar" in said
    assert "against fifo, seed by seed" in said
    assert "Note: only 3 seeds" in said
    assert f"{folder} against {folder}" in said.replace("\n", "")


def test_plot_draws_what_is_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_results.plot_command(folder, "day", "svg") == 0
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"day_fifo.svg", "day_red-solar.svg"}
    assert "day_fifo.svg" in capsys.readouterr().out


def test_explain_prints_the_story(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_results.explain_command(folder, "job-003", "fifo", 2) == 0
    said = capsys.readouterr().out
    assert "under fifo, seed 2" in said
    assert "[red]solar: on site" in said
