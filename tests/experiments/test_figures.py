"""Figures: every one is drawn from a folder, says its units and its clock, and is the same bytes each time."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import show_records
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.figures.jobs import _lanes, stays
from tafukt.experiments.figures.style import FLOWS, FORMATS, new_figure
from tafukt.experiments.results import load as loading


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> loading.Results:
    folder = show_records.write_folder(tmp_path_factory.mktemp("plain"), seeds=(1, 2, 3), count=16)
    return loading.load(folder)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> loading.Results:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "workload.load": [0.3, 0.5]}
    folder = show_records.write_folder(
        tmp_path_factory.mktemp("matrix"), policies=("fifo", "solar"), seeds=(1,), axis=axis, count=6
    )
    return loading.load(folder)


def _texts(axes: Any) -> str:
    legend = axes.get_legend()
    entries = [text.get_text() for text in legend.get_texts()] if legend else []
    return " | ".join([axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel(), *entries])


def test_every_figure_has_data_in_one_folder_or_the_other(results: loading.Results, matrix: loading.Results) -> None:
    drawn = {item.figure for item in figures.plan(results)} | {item.figure for item in figures.plan(matrix)}
    assert drawn == set(figures.FIGURES)
    names = [item.name for item in figures.plan(results)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if name not in ("lines", "heatmap")])
def test_figure_is_drawn_with_title_and_units(results: loading.Results, name: str) -> None:
    item = figures.plan(results, [name])[-1]
    axes = figures.draw(item).axes[0]
    assert axes.get_title(loc="left")
    assert axes.get_xlabel()
    if name not in ("site_map", "waiting_cdf"):
        everything = " ".join(f"{a.get_xlabel()} {a.get_ylabel()}" for a in axes.figure.axes)
        assert "[" in everything or "share" in everything, everything
    if name in ("network", "site", "gantt", "day", "heat", "battery"):
        assert "local" in _texts(axes)
        assert "Africa/Casablanca" in _texts(axes)


@pytest.mark.parametrize("name", ["lines", "heatmap"])
def test_matrix_figures(matrix: loading.Results, name: str) -> None:
    axes = figures.draw(figures.plan(matrix, [name])[0]).axes[0]
    assert axes.get_xlabel() == "sites.all.pv.kwp"


@pytest.mark.parametrize("kind", FORMATS)
def test_same_bytes_each_time(results: loading.Results, kind: str) -> None:
    item = figures.plan(results, ["policies"])[0]
    found = []
    for _ in range(2):
        buffer = io.BytesIO()
        figures.save(figures.draw(item), buffer, kind)
        found.append(buffer.getvalue())
    assert found[0] == found[1]
    assert b"Matplotlib" not in found[0][:400] or kind == "pdf"


def test_figures_are_saved_by_name(results: loading.Results, tmp_path: Path) -> None:
    paths = figures.save_all(results, ["day"], "svg", tmp_path)
    assert [path.name for path in paths] == ["day_fifo.svg", "day_wait-for-sun.svg"]
    assert paths[0].read_text().startswith("<?xml")


def test_unknown_names_are_told(results: loading.Results) -> None:
    with pytest.raises(InputError, match="did you mean 'gantt'"):
        figures.plan(results, ["gant"])
    with pytest.raises(InputError, match="no data for the figure 'heatmap'"):
        figures.plan(results, ["heatmap"])
    with pytest.raises(InputError, match="no format 'jpg'"):
        figures.save_all(results, ["day"], "jpg")
    with pytest.raises(ValueError, match="no site called 'dakhla'"):
        figures.power_balance(results["fifo"].energy, site="dakhla")


def test_balance_stacks_up_to_sun_and_import(results: loading.Results) -> None:
    """The top of the stack at each step is all that feeds the site plus what the sun has left over."""
    energy = results["fifo"].energy
    axes = figures.network_balance(energy, new_figure()[1])
    top = max(float(path.vertices[:, 1].max()) for patch in axes.collections for path in patch.get_paths())
    step = energy.groupby("time_utc")[["pv_available_kwh", "discharge_kwh", "grid_import_kwh", "unserved_kwh"]].sum()
    assert top == pytest.approx(float(step.sum(axis=1).max()) / 0.25, rel=1e-6)


def test_figures_go_into_given_axes(results: loading.Results) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    assert figures.battery_state(results["fifo"].energy, axes) is axes
    plt.close(figure)
    made = figures.waiting_cdf({"fifo": results["fifo"].jobs})
    assert made.figure.number in plt.get_fignums()  # so that a notebook shows it
    plt.close(made.figure)


def test_a_cdf_ends_at_one_and_a_policy_is_one_line(results: loading.Results) -> None:
    axes = figures.waiting_cdf({name: results[name].jobs for name in ("fifo", "solar")})
    assert [line.get_label() for line in axes.lines] == ["fifo", "solar"]
    assert axes.lines[0].get_ydata()[-1] == 1.0


def test_pareto_front_holds_whom_nobody_beats() -> None:
    rows = pd.DataFrame(
        {
            "policy": ["a", "b", "c"],
            "seed": 1,
            "draw_kwh": [100.0, 80.0, 90.0],
            "wait_mean_h": [0.0, 2.0, 3.0],
            "bound_draw_kwh": np.nan,
        }
    )
    axes = figures.pareto(rows)
    filled = {box.get_label(): box.lines[0].get_markerfacecolor() != "white" for box in axes.containers}
    assert filled == {"a": True, "b": True, "c": False}


def test_flows_can_be_told_apart_in_grey() -> None:
    """Neighbours in the stack differ in lightness, or one of them is hatched."""
    from matplotlib.colors import to_rgb

    def lightness(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return 116 * y ** (1 / 3) - 16

    plain = [lightness(FLOWS[name].colour) for name in ("pv_to_load", "discharge", "import_to_load")]
    assert plain == sorted(plain, reverse=True)
    assert min(a - b for a, b in pairwise(plain)) > 12
    assert all(FLOWS[name].hatch for name in ("unserved", "pv_to_battery", "export", "curtailed"))


def test_stays_follow_the_events() -> None:
    at = pd.Timestamp("2025-12-01T00:00:00Z")
    hour = pd.Timedelta(hours=1)
    events = pd.DataFrame(
        [
            (at, "start", "j", "a"),
            (at + hour, "pause", "j", "a"),
            (at + 2 * hour, "start", "j", "b"),
            (at + 3 * hour, "end", "j", "b"),
            (at + 3 * hour, "start", "k", "a"),
        ],
        columns=["time_utc", "kind", "job", "site"],
    )
    jobs = pd.DataFrame(
        {
            "job": ["j", "k"],
            "gpus": [2, 1],
            "site": ["b", "a"],
            "pv_kwh": [1.0, 0.0],
            "battery_pv_kwh": [1.0, 0.0],
            "energy_kwh": [4.0, 0.0],
            "start_utc": [at, at + 3 * hour],
            "end_utc": [at + 3 * hour, pd.NaT],
        }
    )
    found = stays(jobs, events)
    assert found[["site", "begin"]].to_numpy().tolist() == [["a", at], ["b", at + 2 * hour], ["a", at + 3 * hour]]
    assert found["end"].isna().tolist() == [False, False, True]
    assert found["solar"].tolist() == [0.5, 0.5, 0.0]
    without = stays(jobs, events.iloc[:0])
    assert without["site"].tolist() == ["b", "a"]


def test_lanes_never_hold_two_jobs_at_once() -> None:
    rng = np.random.default_rng(3)
    at = pd.Timestamp("2025-12-01T00:00:00Z")
    begins = np.sort(rng.uniform(0, 100, 200))
    rows = pd.DataFrame(
        {
            "begin": [at + pd.Timedelta(hours=h) for h in begins],
            "end": [at + pd.Timedelta(hours=h + d) for h, d in zip(begins, rng.uniform(0.1, 2, 200), strict=True)],
            "gpus": rng.integers(1, 4, 200),
            "solar": 0.0,
        }
    )
    taken: dict[int, float] = {}
    lanes = 0
    for begin, end, low, high, _ in _lanes(rows, 40):
        for lane in range(low, high):
            assert taken.get(lane, -1.0) <= begin + 1e-9
            taken[lane] = end
            lanes += 1
    assert lanes == rows["gpus"].sum()


def test_the_least_possible_draw_lies_between_two_lines(results: loading.Results, matrix: loading.Results) -> None:
    axes = figures.policies(results.complete)
    both = ["lower bound: nobody can draw less", "best known schedule: knows all, and is possible"]
    places = {str(line.get_label()): float(line.get_xdata()[0]) for line in axes.lines if line.get_label() in both}
    assert list(places) == both
    assert places[both[0]] == pytest.approx(0.9 * places[both[1]])
    without = results.complete.assign(best_known_draw_kwh=np.nan)
    assert both[1] not in _texts(figures.policies(without))


def test_the_map_shows_where_in_the_country_a_site_lies(results: loading.Results) -> None:
    run, places = results["fifo"], results.sites
    axes = figures.site_map(run.energy, places=places)
    assert "schematic outline" in [text.get_text() for text in axes.texts]
    away = {name: {**place, "lon": 20.0} for name, place in places.items()}
    assert "schematic outline" not in [text.get_text() for text in figures.site_map(run.energy, places=away).texts]


@pytest.mark.parametrize("tz", ["Europe/Rome", "Asia/Kathmandu", "America/Asuncion", "Pacific/Auckland"])
@pytest.mark.parametrize("days", [1, 10, 20, 120])
def test_any_zone_and_length_is_drawn(tz: str, days: int) -> None:
    """Clocks that change at midnight or stand at quarters of an hour; means by day or week where it is long."""
    from tafukt.experiments.results.dictionary import names

    times = pd.date_range("2026-03-01", periods=24 * days, freq="h", tz="UTC")
    sun = np.clip(np.sin((times.hour - 6) / 12 * np.pi), 0, None) * 10.0
    energy = pd.DataFrame(0.0, index=range(len(times)), columns=names("energy"))
    energy = energy.assign(site="here", time_utc=times, time_h=np.arange(len(times), dtype=float), step_h=1.0)
    energy = energy.assign(pv_available_kwh=sun, pv_to_load_kwh=sun, import_to_load_kwh=10 - sun, site_kwh=10.0)
    energy = energy.assign(grid_import_kwh=10 - sun, stored_kwh=5.0, busy_gpus=1.0, online_gpus=8.0)
    for function in (figures.network_balance, figures.battery_state, figures.grid_heatmap, figures.sun_and_load):
        function(energy, new_figure()[1], tz=tz).figure.draw_without_rendering()


def test_a_figure_that_fails_is_told_and_costs_no_other(
    results: loading.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: loading.Results) -> Any:
        raise RuntimeError("no ink")

    monkeypatch.setitem(figures.FIGURES, "day", figures.Figure("the mean day", broken))
    with pytest.warns(figures.FigureWarning, match="'day' could not be drawn: RuntimeError: no ink"):
        paths = figures.save_all(results, ["day", "policies"], folder=tmp_path)
    assert [path.name for path in paths] == ["policies.png"]


def test_a_figure_without_data_is_told_and_costs_no_other(results: loading.Results, tmp_path: Path) -> None:
    with pytest.warns(figures.FigureWarning, match="no data for the figure 'heatmap'"):
        paths = figures.save_all(results, ["heatmap", "policies"], folder=tmp_path)
    assert [path.name for path in paths] == ["policies.png"]
