"""Every code block of the tutorials and guides does what the page says, from the page's own text."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import tafukt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT / "docs"))
    for name in ("tutorials", "guides")
    for path in (ROOT / "docs" / name).glob("*.md")
)
SHORT = {"days": 1, "step_min": 60, "sites.all.cluster.nodes": 2, "workload.gang_cap": 8, "workload.runtime_cap_h": 6}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_experiments_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "csv"):
        (tmp_path / "log.csv").write_text(text)
    for text in blocks(page, "python"):
        (tmp_path / "my_policy.py").write_text(text)
    for number, text in enumerate(blocks(page, "toml")):
        table = tomllib.loads(text)
        if "name" not in table:
            continue
        (tmp_path / "e.toml").write_text(text)
        drawn = table.get("workload", {}).get("kind") != "trace"
        less = {**(SHORT if drawn else {}), "seeds": [1], "bound": False}
        results = tafukt.run("e.toml", set=less, output=tmp_path / f"out{number}", workers=1)
        assert len(results.complete) == len(results.summary) > 0


def test_the_page_on_python_shows_the_example_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("tutorials/python.md", "python")
    assert code == (ROOT / "examples" / "one_site_ten_jobs.py").read_text(encoding="utf-8")


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
    (log,) = blocks("tutorials/engineer.md", "csv")
    experiment, own_weather, *_ = blocks("tutorials/engineer.md", "toml")
    page = (ROOT / "docs" / "tutorials" / "engineer.md").read_text(encoding="utf-8")
    lines = re.findall(r"^tafukt .*$", page, flags=re.MULTILINE)
    assert 3 + len(lines) <= 10
    start = datetime(2025, 1, 1, tzinfo=UTC)
    ghi, dni, dhi, _ = weather.clear(start, 365, lat=45.07, lon=7.69) * 0.7
    file = weather.epw(tmp_path / "torino.epw", start, ghi, lat=45.07, dni=dni, dhi=dhi)
    file.write_text(file.read_text().replace(f"45.07,{weather.LON}", "45.07,7.69"))
    Path("log.csv").write_text(log)
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
