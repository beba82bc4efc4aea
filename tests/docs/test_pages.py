"""The site of pages: its navigation, what is made from the code, and the two examples that are promised whole."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from builders.pages import ROOT, blocks

import tafukt


def test_the_page_on_python_shows_the_example_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/tutorials/python.md", "python")
    assert code.text == (ROOT / "examples" / "one_site_ten_jobs.py").read_text(encoding="utf-8")


def test_reference_pages_are_made_from_the_code() -> None:
    pages = dict(runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]())
    assert "| `step_min` |" in pages["experiment.md"]
    assert "| `import_limit_kw` |" in pages["sites.md"]
    assert all(f"`{name}`" in pages["policies.md"] for name in tafukt.policies())
    assert "## morocco_week" in pages["gallery.md"]
    assert "::: tafukt.simulate" in pages["api.md"]


def test_the_navigation_names_every_page() -> None:
    named = set(re.findall(r": ([\w/]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    made = set(dict(runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]()))
    assert named == {name for name in there if not name.startswith("reference/")} | {
        f"reference/{name}" for name in made
    }


def test_the_engineer_has_an_answer_in_ten_commands_and_edits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files saved, one line edited, and the page's own commands: own log, tariff and weather."""
    from datetime import UTC, datetime

    import builders.weather_files as weather

    from tafukt.experiments.cli.app import app, guarded

    monkeypatch.chdir(tmp_path)
    (log,) = blocks("docs/tutorials/engineer.md", "csv")
    experiment, own_weather, *_ = (block.text for block in blocks("docs/tutorials/engineer.md", "toml"))
    page = (ROOT / "docs" / "tutorials" / "engineer.md").read_text(encoding="utf-8")
    lines = re.findall(r"^tafukt .*$", page, flags=re.MULTILINE)
    assert 3 + len(lines) <= 10
    start = datetime(2025, 1, 1, tzinfo=UTC)
    ghi, dni, dhi, _ = weather.clear(start, 365, lat=45.07, lon=7.69) * 0.7
    file = weather.epw(tmp_path / "torino.epw", start, ghi, lat=45.07, dni=dni, dhi=dhi)
    file.write_text(file.read_text().replace(f"45.07,{weather.LON}", "45.07,7.69"))
    Path("log.csv").write_text(log.text)
    edited = experiment.replace('weather = { kind = "clear-sky" }', own_weather.strip())
    assert edited != experiment
    Path("torino.toml").write_text(edited)
    said = {}
    for line in lines:
        name, *rest = line.split()
        assert name == "tafukt"
        assert guarded(lambda rest=rest: app(rest, standalone_mode=False)) == 0, capsys.readouterr().err
        said[rest[0]] = capsys.readouterr().out
    assert "battery 120 kWh, PV tracking" in said["run"]
    assert "submitted at torino" in said["explain"]
    rows = tafukt.load("results/torino").complete
    assert len(rows) == 8
    sun = rows.groupby("sites.own.torino.pv.mount")["pv_available_kwh"].min()
    assert sun["tracking"] > 1.1 * sun["fixed"], "in June, who follows the sun has more of it"
