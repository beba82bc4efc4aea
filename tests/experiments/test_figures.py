"""Figures: every one is drawn from a folder, says its units and its clock, and is the same bytes each time."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import builders.records as records_of
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from tafukt.experiments import figures as drawing
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.figures.jobs import Stay, lanes, stays
from tafukt.experiments.figures.style import (
    FIGURE_FORMATS,
    FLOWS,
    day_numbers,
    lay_out,
    measured_once,
    new_figure,
    save,
    style,
)
from tafukt.experiments.figures.thinning import seen
from tafukt.experiments.results import load as loading


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> loading.Results:
    folder = records_of.write_folder(tmp_path_factory.mktemp("plain"), seeds=(1, 2, 3), count=16)
    return loading.load(folder)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> loading.Results:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "workload.load": [0.3, 0.5]}
    folder = records_of.write_folder(
        tmp_path_factory.mktemp("matrix"), policies=("fifo", "solar"), seeds=(1,), axis=axis, count=6
    )
    return loading.load(folder)


def _texts(axes: Any) -> str:
    legend = axes.get_legend()
    entries = [text.get_text() for text in legend.get_texts()] if legend else []
    return " | ".join([axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel(), *entries])


def test_every_figure_has_data_in_one_folder_or_the_other(results: loading.Results, matrix: loading.Results) -> None:
    drawn = {item.figure for item in figures.plan(results)} | {item.figure for item in figures.plan(matrix)}
    assert drawn == set(figures.FIGURES) - {"grid_requests", "meter", "import_limit"}, "no request, no meter, no limit"
    names = [item.name for item in figures.plan(results)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name",
    [name for name in figures.FIGURES if name not in ("lines", "heatmap", "grid_requests", "meter", "import_limit")],
)
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
    assert axes.get_xlabel().startswith("PV [kWp]")


@pytest.mark.parametrize("kind", [kind for kind in FIGURE_FORMATS if kind != "pgf"])
def test_same_bytes_each_time(results: loading.Results, kind: str) -> None:
    item = figures.plan(results, ["policies"])[0]
    found = []
    for _ in range(2):
        buffer = io.BytesIO()
        drawing.save(figures.draw(item), buffer, kind)
        found.append(buffer.getvalue())
    assert found[0] == found[1]
    assert b"Matplotlib" not in found[0][:400] or kind == "pdf"


def test_figures_are_saved_by_name(results: loading.Results, tmp_path: Path) -> None:
    paths = figures.save_all(results, ["day"], "svg", tmp_path)
    assert [path.name for path in paths] == ["day_fifo_s1.svg", "day_wait-for-sun_s1.svg"]
    assert paths[0].read_text().startswith("<?xml")


def test_unknown_names_are_told(results: loading.Results) -> None:
    with pytest.raises(InputError, match="did you mean 'gantt'"):
        figures.plan(results, ["gant"])
    with pytest.raises(InputError, match="no data for the figure 'heatmap'"):
        figures.plan(results, ["heatmap"])
    with pytest.raises(InputError, match="no format 'jpg'"):
        figures.save_all(results, ["day"], "jpg")
    with pytest.raises(ValueError, match="no site called 'dakhla'"):
        drawing.power_balance(results["fifo"].energy, site="dakhla")


def test_balance_stacks_up_to_sun_and_import(results: loading.Results) -> None:
    """The top of the stack at each step is all that feeds the site plus what the sun has left over."""
    energy = results["fifo"].energy
    axes = drawing.network_balance(energy, new_figure()[1])
    top = max(float(path.vertices[:, 1].max()) for patch in axes.collections for path in patch.get_paths())
    step = energy.groupby("time_utc")[["pv_available_kwh", "discharge_kwh", "grid_import_kwh", "unserved_kwh"]].sum()
    assert top == pytest.approx(float(step.sum(axis=1).max()) / 0.25, rel=1e-6)


def test_figures_go_into_given_axes(results: loading.Results) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    assert drawing.battery_state(results["fifo"].energy, axes) is axes
    plt.close(figure)
    made = drawing.waiting_cdf({"fifo": results["fifo"].jobs})
    assert made.figure.number in plt.get_fignums()  # so that a notebook shows it
    plt.close(made.figure)


def test_a_cdf_ends_at_one_and_a_policy_is_one_line(results: loading.Results) -> None:
    axes = drawing.waiting_cdf({name: results[name].jobs for name in ("fifo", "solar")})
    assert [line.get_label() for line in axes.lines] == ["fifo", "solar"]
    assert axes.lines[0].get_ydata()[-1] == 1.0


def test_pareto_front_holds_whom_nobody_beats() -> None:
    rows = pd.DataFrame(
        {
            "policy": ["a", "b", "c"],
            "seed": 1,
            "draw_kwh": [100.0, 80.0, 90.0],
            "wait_mean_h": [0.0, 2.0, 3.0],
            "deadline_miss_rate": 0.0,
            "bound_draw_kwh": np.nan,
        }
    )
    axes = drawing.pareto(rows)
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
    begins = day_numbers([at + count * hour for count in range(5)])
    found = stays(jobs, events, at + 4 * hour)
    assert [(stay.site, stay.begin) for stay in found] == [("a", begins[0]), ("b", begins[2]), ("a", begins[3])]
    assert [stay.end for stay in found] == [begins[1], begins[3], begins[4]]
    assert [stay.solar for stay in found] == [0.5, 0.5, 0.0]
    without = stays(jobs, events.iloc[:0], at + 4 * hour)
    assert [(stay.site, stay.end) for stay in without] == [("b", begins[3]), ("a", begins[4])]
    assert [stay.site for stay in stays(jobs, events, at + 2 * hour)] == ["a", "b"]


def test_lanes_never_hold_two_jobs_at_once() -> None:
    rng = np.random.default_rng(3)
    begins = np.sort(rng.uniform(20_000, 20_004, 200)).tolist()
    lasting, needs = rng.uniform(0.004, 0.08, 200).tolist(), rng.integers(1, 4, 200).tolist()
    rows = [
        Stay(begin, f"job-{index}", begin + lasting[index], "a", needs[index], 0.0)
        for index, begin in enumerate(begins)
    ]
    taken: dict[int, float] = {}
    count = 0
    for _, begin, end, low, high, _ in lanes(rows, 40):
        for lane in range(low, high):
            assert taken.get(lane, -1.0) <= begin + 1e-9
            taken[lane] = end
            count += 1
    assert count == sum(needs)


def test_jobs_that_were_given_fewer_gpus_share_lanes() -> None:
    rows = [Stay(0.0, "a", 4.0, "s", 3, 0.0), Stay(1.0, "b", 2.0, "s", 2, 0.0), Stay(3.0, "c", 5.0, "s", 2, 0.0)]
    boxes = [(job, low, high) for job, _, _, low, high, _ in lanes(rows, 4)]
    # b takes the one that is free and one of a's; when b has ended both are free, though a runs on
    assert boxes == [("a", 0, 3), ("b", 0, 1), ("b", 3, 4), ("c", 0, 1), ("c", 3, 4)]


def test_the_least_possible_draw_lies_between_two_lines(results: loading.Results, matrix: loading.Results) -> None:
    axes = drawing.policies(results.complete)
    both = ["lower bound: no schedule can draw less", "best known schedule, found with perfect knowledge"]
    places = {str(line.get_label()): float(line.get_xdata()[0]) for line in axes.lines if line.get_label() in both}
    assert list(places) == both
    assert places[both[0]] == pytest.approx(0.9 * places[both[1]])
    without = results.complete.assign(best_known_draw_kwh=np.nan)
    assert both[1] not in _texts(drawing.policies(without))


def test_the_map_shows_where_in_the_country_a_site_lies(results: loading.Results) -> None:
    run, places = results["fifo"], results.sites
    axes = drawing.site_map(run.energy, places=places)
    assert "schematic outline" in [text.get_text() for text in axes.texts]
    away = {name: {**place, "lon": 20.0} for name, place in places.items()}
    assert "schematic outline" not in [text.get_text() for text in drawing.site_map(run.energy, places=away).texts]


@pytest.mark.parametrize("tz", ["Europe/Rome", "Asia/Kathmandu", "America/Asuncion", "+05:45"])
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
    for function in (drawing.network_balance, drawing.battery_state, drawing.grid_heatmap, drawing.sun_and_load):
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


def test_no_axis_is_pooled_in_silence(matrix: loading.Results) -> None:
    """Two axes of two values: what shows one or none of them refuses rows of both, and says how one is chosen."""
    rows = matrix.complete
    for draw in (drawing.policies, drawing.pareto):
        with pytest.raises(ValueError, match=r"several values of .sites\.all\.pv\.kwp."):
            draw(rows)
    with pytest.raises(ValueError, match=r"several values of 'workload.load' \(0.3, 0.5\).*choose one"):
        drawing.matrix_lines(rows, x="sites.all.pv.kwp")
    one = rows[rows["workload.load"] == 0.5]
    line = drawing.matrix_lines(one, new_figure()[1], x="sites.all.pv.kwp").lines[0]
    expected = one[one["policy"] == "fifo"].sort_values("sites.all.pv.kwp")["draw_kwh"].tolist()
    assert list(line.get_ydata()) == pytest.approx(expected)


def test_a_third_axis_makes_panels(tmp_path: Path) -> None:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "workload.load": [0.3, 0.5], "workload.slack_h": [0.0, 6.0]}
    folder = records_of.write_folder(tmp_path, policies=("fifo", "solar"), seeds=(1,), axis=axis, count=3, days=1.0)
    results = loading.load(folder)
    planned = [item for item in figures.plan(results, ["heatmap"]) if "draw_kwh" in item.name]
    assert len(planned) == 6  # three pairs, two panels each
    assert "Grid draw under solar, at slack 0 h, seed 1" in {item.caption for item in planned}
    axes = figures.draw(next(item for item in planned if item.caption.endswith("at slack 6 h, seed 1"))).axes[0]
    rows = results.complete
    here = rows[(rows["policy"] == "solar") & (rows["workload.slack_h"] == 6.0)]
    table = here.pivot(index="workload.load", columns="sites.all.pv.kwp", values="draw_kwh")
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(table.to_numpy())


def test_axes_that_go_along_span_no_plane(matrix: loading.Results) -> None:
    from tafukt.experiments.results.axes import pooled

    rows = matrix.complete
    linked = rows[rows["sites.all.pv.kwp"] * 0.2 + 0.1 == rows["workload.load"]]
    assert pooled(linked, ("workload.load",)) == []
    assert pooled(rows, ("workload.load",)) == ["sites.all.pv.kwp"]


def test_no_two_of_many_policies_look_alike() -> None:
    from tafukt.experiments.figures.style import series

    looks = [series(index) for index in range(72)]
    assert len({(look.colour, str(look.stroke)) for look in looks}) == 72
    assert len({(look.colour, look.marker) for look in looks}) == 72


def test_forty_policies_are_all_named_beside_their_points() -> None:
    rng = np.random.default_rng(1)
    names = [f"policy-{index}" for index in range(40)]
    rows = pd.DataFrame({"policy": names, "seed": 1, "grid_cut": 0.1, "deadline_miss_rate": 0.0})
    rows = rows.assign(draw_kwh=rng.uniform(500, 900, 40), wait_mean_h=rng.uniform(0, 9, 40), bound_draw_kwh=np.nan)
    figure, axes = new_figure(9, 7)
    drawing.pareto(rows, axes)
    assert {text.get_text() for text in axes.texts} == set(names)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without the line that leads to it
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in boxes)
    assert not any(one.shrunk(0.9, 0.7).overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])


def test_names_at_line_ends_keep_apart_and_in_order() -> None:
    from tafukt.experiments.figures.labels import spread

    assert spread([0.1, 0.9], 0.1) == [0.1, 0.9]
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    found = spread([0.2, 0.21, 0.9, 0.22, 0.5], 0.05)
    assert np.diff(np.sort(found)).min() >= 0.05 - 1e-12
    assert np.argsort(found).tolist() == [0, 1, 3, 4, 2]


def test_pairs_of_figures_share_their_axes(results: loading.Results) -> None:
    drawn = [figure for item, figure in figures.draw_all(figures.plan(results, ["network"])) if figure is not None]
    assert len(drawn) == 2
    assert drawn[0].axes[0].get_xlim() == drawn[1].axes[0].get_xlim()
    assert drawn[0].axes[0].get_ylim() == drawn[1].axes[0].get_ylim()


def test_time_ends_with_the_last_job_and_the_rest_is_told(results: loading.Results) -> None:
    run = results["fifo"]
    busy = run.energy[run.energy["busy_gpus"] > 0]["time_utc"].max()
    longer = pd.concat(
        [run.energy, *(run.energy.assign(time_utc=run.energy["time_utc"] + pd.Timedelta(days=2 * k), busy_gpus=0.0)
        for k in (1, 2, 3))]
    )  # fmt: skip
    axes = drawing.network_balance(longer, new_figure()[1])
    from matplotlib.dates import num2date

    assert busy < num2date(axes.get_xlim()[1]) <= busy + pd.Timedelta(days=1, minutes=15)
    assert "idle from there to 9 Dec 2025" in axes.get_xlabel()


def test_title_and_legend_may_be_left_to_the_caller(results: loading.Results) -> None:
    axes = drawing.network_balance(results["fifo"], new_figure()[1], title="Mine", legend=False)
    assert axes.get_title(loc="left") == "Mine"
    assert axes.get_legend() is None
    axes = drawing.battery_state(results["fifo"], new_figure()[1], title="")
    assert axes.get_title(loc="left") == ""


@pytest.mark.parametrize(("columns", "inch"), [(1, 3.35), (2, 7.0)])
def test_figures_in_the_size_of_a_paper(results: loading.Results, columns: int, inch: float, tmp_path: Path) -> None:
    path = figures.save_all(results, ["policies"], "pdf", tmp_path, columns, "serif")[0]
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes())
    assert box is not None
    assert float(box.group(1)) == pytest.approx(72 * inch, abs=1)
    with pytest.raises(ValueError, match="paper is 0, 1 or 2"), drawing.paper(3):
        pass


def test_legend_stands_under_the_title_in_axes_of_ones_own(results: loading.Results) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
    drawing.network_balance(results["fifo"], axes)
    figure.draw_without_rendering()
    title, legend = axes._left_title, axes.get_legend()
    assert title.get_window_extent().y0 >= legend.get_window_extent().y1 - 3
    plt.close(figure)


@pytest.mark.parametrize("fonts", ["sans", "serif", "latex"])
def test_letters_are_letters_whatever_a_policy_is_called(results: loading.Results, fonts: str) -> None:
    """Dollars, carets and underscores are what they are, no formulas; and no number is printed as one."""
    import warnings

    rows = results.complete.replace({"policy": {"solar": "$x^$", "wait-for-sun": "a_b%"}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing.paper(1, fonts):
            figure, axes = new_figure(3.35, 3)
            drawing.pareto(rows, axes)
            figure.draw_without_rendering()
    assert {"$x^$", "a_b%"} <= {text.get_text() for text in axes.texts}
    assert not any("mathdefault" in text.get_text() for text in axes.get_xticklabels())


def test_dates_leave_room_for_one_another_in_one_column(results: loading.Results) -> None:
    with drawing.paper(1):
        figure, axes = new_figure(3.35, 2.2)
        drawing.network_balance(results["fifo"], axes)
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert len(boxes) >= 2
    assert not any(one.overlaps(two) for one, two in pairwise(boxes))


def test_every_figure_takes_a_title_and_a_legend() -> None:
    import inspect

    for name in set(drawing.__all__) - {"FigureWarning", "draw", "paper", "plan", "save", "save_all"}:
        taken = inspect.signature(getattr(drawing, name)).parameters
        assert {"ax", "title", "legend"} <= set(taken), name
    for name in ("policies", "pareto", "matrix_lines", "waiting_cdf", "waiting_rows"):
        assert "policies" in inspect.signature(getattr(drawing, name)).parameters


def test_one_site_and_a_stretch_of_time(results: loading.Results, tmp_path: Path) -> None:
    """By the local clock, which is an hour ahead of UTC here; the last day is whole."""
    part = results.only(policies=["fifo", "solar"], seed=2, site="site1", begin="2025-12-01", end="2025-12-01")
    energy, whole = part["solar"].energy, results.run(policy="solar", seed=2).energy
    assert set(energy["site"]) == {"site1"}
    assert energy["time_utc"].max() == pd.Timestamp("2025-12-01T22:45Z")
    mine = whole[(whole["site"] == "site1") & (whole["time_utc"] < pd.Timestamp("2025-12-01T23:00Z"))]
    assert energy["grid_import_kwh"].tolist() == mine["grid_import_kwh"].tolist()
    paths = figures.save_all(part, ["site", "battery"], folder=tmp_path)
    stretch = "site1_from-2025-12-01-to-2025-12-01.png"
    assert [path.name for path in paths] == [
        f"{f}_{p}_{stretch}" for f in ("site", "battery") for p in ("fifo", "solar")
    ]
    captions = [item.caption for item in figures.plan(part, ["battery"])]
    assert captions[0] == "Battery state at site1, under fifo, seed 2, from 2025-12-01 to 2025-12-01"
    assert {item.figure for item in figures.plan(part)} == {"site", "gantt", "day", "heat", "battery"}
    for item in figures.plan(results.only(begin="2025-12-02T12:00", end="2025-12-02T12:15")):
        figures.draw(item).draw_without_rendering()  # a single step


def test_what_is_no_part_of_a_run_is_told(results: loading.Results) -> None:
    for part, told in (
        ({"site": "site7"}, "--site: no site called 'site7'; there are site0, site1"),
        ({"begin": "2026-01-01"}, "the run goes from 2025-12-01 01:00 to 2025-12-03 00:45"),
        ({"end": "tomorrow"}, "--to: tomorrow: should be a day or a moment"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            figures.plan(results.only(**part))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pareto: is of whole runs"):
        figures.plan(results.only(site="site0"), ["pareto"])


def test_a_heatmap_tells_small_values_apart() -> None:
    """Waits of 0.21 and 0.34 h are not both 0, and kilowatt-hours have no decimals."""
    rows = pd.DataFrame(
        {
            "policy": "fifo",
            "seed": 1,
            "workload.load": [0.4, 0.7],
            "days": 7,
            "wait_mean_h": [0.21, 0.34],
            "draw_kwh": 1234.6,
        }
    )
    how = {"x": "workload.load", "y": "days"}
    waits = drawing.matrix_heatmap(rows, new_figure()[1], metric="wait_mean_h", **how)
    assert [text.get_text() for text in waits.texts] == ["0.21", "0.34"]
    draws = drawing.matrix_heatmap(rows, new_figure()[1], metric="draw_kwh", **how)
    assert [text.get_text() for text in draws.texts] == ["1,235", "1,235"]


def test_texts_that_are_measured_once_are_drawn_as_ever(results: loading.Results) -> None:
    def drawn() -> bytes:
        buffer = io.BytesIO()
        figure = figures.draw(figures.plan(results, ["network"])[0])
        lay_out(figure)
        save(figure, buffer, "svg")
        return buffer.getvalue()

    before = drawn()
    with measured_once():
        assert drawn() == before
        assert drawn() == before  # what is remembered is what was measured
    assert drawn() == before


def test_ticks_that_are_found_once_follow_what_is_shown() -> None:
    with measured_once(), style():
        figure, ax = new_figure()
        ax.plot([0, 10], [0, 1])
        figure.draw_without_rendering()
        assert "10" in [label.get_text() for label in ax.get_xticklabels()]
        ax.set_xlim(0, 1000)
        assert "1000" in [label.get_text() for label in ax.get_xticklabels()]
        ax.set_xticks([0, 500], ["none", "half"])
        assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "half"]
        figure.set_size_inches(1.5, 3.6)
        ax.set_xlim(0, 1000)
        ax.xaxis.set_major_locator(MaxNLocator("auto"))
        ax.xaxis.set_major_formatter("{x:.0f}")
        few = len(ax.get_xticklabels())
        figure.set_size_inches(12, 3.6)
        assert len(ax.get_xticklabels()) > few


def test_thinning_leaves_out_no_peak_and_nothing_of_a_short_series() -> None:
    values = np.sin(np.arange(50_000) / 300.0)
    values[31_234], values[7] = 9.0, -9.0  # one step each
    rows = seen(values, 1000)
    assert len(rows) <= 1002
    assert {0, 7, 31_234, 49_999} <= set(rows.tolist())
    for part in np.array_split(np.arange(len(values)), 100):  # to a tenth of what it spans, everywhere
        here = rows[(rows >= part[0]) & (rows <= part[-1])]
        assert np.ptp(values[here]) >= 0.9 * np.ptp(values[part])
    assert seen(np.array([1.0, 2.0, 2.0, 2.0, 3.0]), 1000).tolist() == [0, 1, 3, 4]


def test_of_many_panels_first_middle_and_last_are_drawn(tmp_path: Path) -> None:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "workload.slack_h": [float(hour) for hour in range(9)]}
    folder = records_of.write_folder(tmp_path, policies=("fifo", "solar"), seeds=(1,), axis=axis, count=2, days=1.0)
    planned = figures.plan(loading.load(folder), ["lines"])
    along = [item.caption for item in planned if "draw_kwh" in item.name and "along PV" in item.caption]
    assert len(along) == 3
    for caption, slack in zip(along, ("0 h", "4 h", "8 h"), strict=True):
        assert f"at slack {slack} (6 more in the table)" in caption


def test_a_figure_that_would_be_a_flat_line_is_left_out(tmp_path: Path) -> None:
    axis = {"sites.all.pv.kwp": [1.0, 2.0], "workload.load": [0.3, 0.5]}
    folder = records_of.write_folder(tmp_path, policies=("fifo",), seeds=(1,), axis=axis, count=3, days=1.0)
    results = loading.load(folder)
    assert (results.complete["grid_cut"].dropna() == 0).all()  # the baseline against itself
    names = [item.name for item in figures.plan(results, ["lines", "heatmap"])]
    assert any("draw_kwh" in name for name in names)
    assert not any("grid_cut" in name for name in names)
