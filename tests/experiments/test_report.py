"""The report: one page that needs no network, sorts its tables, and runs nothing that a user wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import builders.records as records_of
import numpy as np
import pytest

from tafukt.experiments.errors import FolderError
from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.report import report
from tafukt.experiments.report.sources import assumptions
from tafukt.experiments.results import load as loading
from tafukt.simulator.record import Occupancy

EVIL = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = records_of.write_folder(
        tmp_path_factory.mktemp("report"), seeds=(1, 2, 3), count=10, days=1.0, name=f"evil {EVIL}", question=EVIL
    )
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report.write_report(folder).read_text(encoding="utf-8")


def test_the_least_possible_draw_is_told_and_stands_in_the_table(page: str) -> None:
    assert re.search(r"between [\d,]+ kWh \(bound\) and [\d,]+ kWh \(best known schedule\)", page)
    table = page[page.index('<h2 id="comparison"') : page.index('<h2 id="figures"')]
    assert "least possible" in table
    assert "best known" in table


def test_the_answer_comes_first(page: str) -> None:
    answer = page.index('id="answer"')
    sections = [
        page.index(f'<h2 id="{name}"') for name in ("comparison", "figures", "sites", "assumptions", "provenance")
    ]
    assert [answer, *sections] == sorted([answer, *sections])
    text = re.search(r'id="answer">\s*<p>(.*?)</p>', page, re.DOTALL)
    assert text is not None
    assert re.search(r"draws \d+\.\d% \(± \d+\.\d points, 95 %\) less grid electricity than fifo", text.group(1))


def test_nothing_comes_from_elsewhere(page: str) -> None:
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page
    assert "url(" not in re.sub(r'src="data:[^"]*"', "", page)


def test_text_of_the_user_is_escaped(page: str) -> None:
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert page.count("<script>") == 1
    assert "script-src &#39;sha256-" not in page
    assert "script-src 'sha256-" in page


def test_every_figure_is_a_picture_with_a_caption(page: str) -> None:
    figures = re.findall(r'<figure.*?<img src="data:image/(svg\+xml|png);base64,[^"]{1000,}" alt="([^"]+)"', page)
    assert len(figures) > 12
    assert "Grid draw of each policy" in {caption for _, caption in figures}


def test_same_page_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: figures.FIGURES[name] for name in ("policies", "gantt")}
    monkeypatch.setattr(figures, "FIGURES", few)
    assert report.page(loading.load(folder)) == report.page(loading.load(folder))


def test_numbers_are_given_with_their_worth() -> None:
    assert report._number("draw_kwh", 12345.6) == "12,346"
    assert report._number("grid_cut", -0.0512) == "−5.1"
    assert report._number("wait_mean_h", 1.234, like=200.0) == "1"
    assert report._measured("draw_kwh", float("nan"), 1.0)["text"] == ""
    assert report._measured("draw_kwh", 1000.0, 55.5)["text"] == "1,000"
    assert report._measured("draw_kwh", 1000.0, 55.5)["spread"] == "± 56"
    assert report._number("grid_cut", -0.0001) == "0.0"
    assert report._measured("draw_kwh", 0.001, float("nan"), sign=True)["text"] == "0.00"


def test_a_site_without_jobs_is_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A microgrid: no job, no waiting, no utilisation; its energy is told all the same."""
    columns = [np.zeros(0, np.float64 if i in (2, 3, 5) else np.int64) for i in range(7)]
    monkeypatch.setattr(records_of, "jobs_and_occupancy", lambda *_: ((), [], Occupancy(*columns)))
    folder = records_of.write_folder(tmp_path, policies=("fifo", "solar"), seeds=(1,), count=0, days=1.0)
    monkeypatch.setattr(figures, "FIGURES", {n: f for n, f in figures.FIGURES.items() if n not in ("site", "network")})
    page = report.page(loading.load(folder))
    assert "less grid electricity than fifo" in page
    assert not re.search(r"\bnan\b", re.sub(r"data:image[^\"]*", "", page))


def test_a_folder_without_a_complete_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"runs": {}}')
    (tmp_path / "summary.csv").write_text("run,status,policy,seed\na,failed,fifo,1\n")
    with pytest.raises(ValueError, match="no run is complete"):
        report.write_report(tmp_path)
    with pytest.raises(FolderError, match="no such folder"):
        report.write_report(tmp_path / "none")


def test_assumptions_are_gathered_and_merged() -> None:
    site = {
        "lat": 34.0,
        "lon": -6.8,
        "sources": {"lat, lon": {"source": "a map", "confidence": "high"}},
        "grid": {
            "tariff": {"title": "MV", "mad_per_kwh": 1.2, "source": "a bill", "demand_mad": 37.0, "demand_source": "b"}
        },
        "cluster": {"node": {"idle_kw": 1.5, "source": "MODELLING CHOICE", "confidence": "low"}},
    }
    found = assumptions({"sites": {"own": {"a": site, "b": site | {"lat": 35.0}}}, "workload": {"kind": "trace"}})
    by_key = {item.key: item for item in found}
    assert by_key["lat, lon"].value == "34; -6.8; 35; -6.8"
    assert by_key["lat, lon"].where == "all sites"
    node = by_key["cluster.node"]
    assert (node.value, node.where, node.choice, node.confidence) == ("idle_kw = 1.5", "all sites", True, "low")
    assert by_key["grid.tariff.demand"].source == "b"
    assert not by_key["lat, lon"].choice


def test_defaults_of_sites_and_mix_say_where_they_come_from(tmp_path: Path) -> None:
    from tafukt.experiments.config.load import load_experiment

    path = tmp_path / "tiny.toml"
    path.write_text(
        'name = "t"\nstart = 2025-06-01T00:00:00Z\ndays = 1\npolicies = ["fifo"]\n[sites]\nuse = ["rabat", "dakhla"]\n'
        '[workload]\nkind = "generator"\n'
    )
    loaded = load_experiment(path)
    found = {item.key.split(" (")[0]: item for item in assumptions(loaded.document(), loaded.sites)}
    assert found["battery.kwh_per_node"].choice
    assert found["battery.kwh_per_node"].where == "all sites"
    assert found["population"].value == "219965 to 5132639"
    assert any(key.startswith("institutes.") for key in found)


def _browse(page: Path, tmp_path: Path, *more: str) -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    command = [browser, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", *more, f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def test_no_script_of_the_user_runs_in_a_browser(folder: Path, page: str, tmp_path: Path) -> None:
    dom = _browse(folder / "report.html", tmp_path, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    assert title.group(1).startswith("evil")
    assert 'title="Sort by this column"' in dom  # our own script ran


def test_tables_sort_by_number_and_back(page: str, tmp_path: Path) -> None:
    """A copy with the policy lifted, so that a click can be made: first up, then down."""
    click = """<script>
      const heads = document.querySelectorAll("table.sortable thead th");
      const order = () => [...document.querySelectorAll("table.sortable")[0].tBodies[0].rows]
        .map((row) => row.cells[0].textContent).join(",");
      heads[1].click(); const up = order(); heads[1].click(); const down = order();
      document.title = "sorted " + up + " | " + down;
    </script></body>"""
    copy = tmp_path / "copy.html"
    lifted = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    copy.write_text(lifted.replace("</body>", click), encoding="utf-8")
    dom = _browse(copy, tmp_path, "--dump-dom")
    title = re.search(r"<title>sorted (.*?) \| (.*?)</title>", dom)
    assert title is not None
    rising = title.group(1).split(",")
    assert rising == title.group(2).split(",")[::-1]
    assert rising[-1] == "fifo"


def test_a_figure_that_fails_is_said_in_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: loading.Results) -> object:
        raise RuntimeError("no ink")

    few = {"policies": figures.FIGURES["policies"], "day": figures.Figure("the mean day", broken)}
    monkeypatch.setattr(figures, "FIGURES", few)
    with pytest.warns(figures.FigureWarning, match="no ink"):
        page = report.page(loading.load(folder))
    assert "This figure could not be drawn" in page
    assert page.count("<img") == 1


def test_keys_between_backticks_are_set_as_code() -> None:
    assert report.code("add `seeds = [1, 2]`, not <b>") == "add <code>seeds = [1, 2]</code>, not &lt;b&gt;"
