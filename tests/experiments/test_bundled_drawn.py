"""Every bundled experiment is run, reported and plotted with its real length, its sites and their time zones.

The runs are made cheap by their grain, not by their length: hourly steps, few jobs, few sites, two policies, one seed,
two values of one axis. With `-m slow` they are drawn as they stand.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders.experiments import run

from tafukt.experiments.errors import InputError
from tafukt.experiments.figures.catalogue import FigureWarning, draw, plan, save_all
from tafukt.experiments.report.report import write_report
from tafukt.experiments.results.load import load

BUNDLED = {path.stem: path for path in Path(str(files("tafukt.experiments") / "bundled")).glob("*.toml")}
UNLIKE = ("dakhla_year", "forecast_value", "heat_wave", "philly_week", "rollout_2030", "solar_share", "sovereignty")
"""Those that differ in length, sites, zones or axes; the others are weeks like one of these."""

FEW_SITES = ("rabat", "dakhla")
TORINO = """
name = "torino"
start = 2026-03-10T00:00:00Z
days = 28
step_min = 60
bound = false
policies = ["fifo", "solar"]
[sites.own.torino]
like = "rabat"
lat = 45.07
lon = 7.69
tz = "Europe/Rome"
weather = "clear-sky"
[workload]
load = 0.05
"""


def cheap(document: dict[str, Any]) -> dict[str, Any]:
    """The experiment with the same days, sites and zones, but few jobs and coarse steps."""
    made = document | {"step_min": 60, "policies": ["fifo", "solar"], "baseline": "fifo", "seeds": [1], "bound": False}
    made.pop("best_known", None)
    work = document.get("workload", {})
    if work.get("kind") == "trace":  # what feeds it makes no difference to a figure
        made["workload"] = {"kind": "generator", "mix": "institutes", "load": 0.02}
        made["matrix"] = {"workload.load": [0.01, 0.02]}
    else:
        made["workload"] = work | {"load": 0.02}
        axes = list(flat(document.get("matrix", {})).items())[-1:]
        made["matrix"] = {key: values[:2] for key, values in axes}
    return made | {"sites": few_sites(document["sites"])}


def few_sites(sites: dict[str, Any]) -> dict[str, Any]:
    """Two of the catalogue's sites and all own ones."""
    use = sites.get("use", [])
    use = list(FEW_SITES) if use == "morocco" else [use] if isinstance(use, str) else use[:2]
    change = {name: table for name, table in sites.get("change", {}).items() if name in use}
    return sites | {"use": use, "change": change}


def flat(table: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The keys of a matrix, dotted."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def drawn(folder: Path) -> None:
    """Report and plot a folder; no figure may be left out."""
    results = load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FigureWarning)
        page = write_report(folder).read_text(encoding="utf-8")
        paths = save_all(results, kind="png")
    assert len(re.findall("<figure", page)) >= 8
    assert "could not be drawn" not in page
    assert len(paths) >= 8
    assert all(path.stat().st_size > 3000 for path in paths)


def test_report_and_plot_draw_a_month_elsewhere(tmp_path: Path) -> None:
    """The pages as a user gets them: 28 days by a clock that changes within them, at one site in Torino."""
    path = tmp_path / "e.toml"
    path.write_text(TORINO, encoding="utf-8")
    assert run(path, tmp_path / "out").ok
    drawn(tmp_path / "out")


@pytest.mark.parametrize(
    "name", [name if name in UNLIKE else pytest.param(name, marks=pytest.mark.slow) for name in sorted(BUNDLED)]
)
def test_bundled_experiment_is_drawn_at_its_real_length(name: str, tmp_path: Path) -> None:
    document = cheap(tomllib.loads(BUNDLED[name].read_text(encoding="utf-8")))
    path = tmp_path / f"{name}.toml"
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    assert run(path, tmp_path / "out").ok
    results = load(tmp_path / "out")
    planned = plan(results)
    assert len({item.figure for item in planned}) >= 9
    for item in {item.figure: item for item in planned}.values():  # one of each kind
        draw(item).draw_without_rendering()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_experiment_is_drawn_as_it_stands(name: str, tmp_path: Path) -> None:
    try:
        assert run(BUNDLED[name], tmp_path / "out", 'policies=["fifo", "wait-for-sun"]', "best_known=false").ok
    except InputError as error:
        pytest.skip(str(error))  # a trace that is not here
    drawn(tmp_path / "out")
