"""Every figure by name, and drawing all that a result folder has data for.

The figures themselves are functions `(data, ax=None) -> Axes` on the tables of a result folder:

>>> import experiments
>>> from experiments.figures import power_balance
>>> results = experiments.load("results/morocco_week")        # doctest: +SKIP
>>> power_balance(results["wait-for-sun"].energy, site="dakhla")  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.figures.compare import matrix_heatmap, matrix_lines, pareto, policies, size_front
from tafukt.experiments.figures.energy import (
    battery_state,
    energy_by_site,
    grid_heatmap,
    import_by_hour,
    network_balance,
    power_balance,
    sun_and_load,
)
from tafukt.experiments.figures.jobs import attribution, gantt, waiting_cdf
from tafukt.experiments.figures.map import site_map
from tafukt.experiments.figures.style import FORMATS, new_figure, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from tafukt.experiments.results.load import Results, RunData

__all__ = [
    "FIGURES",
    "attribution",
    "battery_state",
    "draw",
    "energy_by_site",
    "example_runs",
    "gantt",
    "grid_heatmap",
    "matrix_heatmap",
    "matrix_lines",
    "network_balance",
    "pareto",
    "plan",
    "policies",
    "power_balance",
    "save",
    "save_all",
    "site_map",
    "size_front",
    "sun_and_load",
    "waiting_cdf",
]

Drawer = Callable[["Axes"], Any]


@dataclass(frozen=True)
class Planned:
    """One figure that a folder has data for: the name of its file, its caption, its size, how to draw it."""

    figure: str
    name: str
    caption: str
    size: tuple[float, float]
    drawer: Drawer


@dataclass(frozen=True)
class Figure:
    """A kind of figure: what it shows, and what of it a folder has data for."""

    description: str
    planned: Callable[[Results], Iterator[Planned]]


def plan(results: Results, names: Sequence[str] = ()) -> list[Planned]:
    """Every figure that the folder has data for, or those called `names`.

    What keeps a figure from being planned is told when it is drawn, so that it does not cost the others.

    Raises
    ------
    InputError
        If there is no figure of one of the names, no run is complete, or the folder has data for none of them.
    """
    for name in names:
        if name not in FIGURES:
            message = f"no figure called {name!r}; there are {', '.join(FIGURES)}"
            raise InputError(Problem("", "--figure", message, nearest(name, FIGURES)))
    first_scenario(results)
    found = [item for name in names or FIGURES for item in _planned(name, results)]
    if not found:
        raise InputError([Problem("", "--figure", text) for text in without_data(results, names, found)])
    return found


def _planned(name: str, results: Results) -> list[Planned]:
    """The figures of one kind; one that cannot be planned is drawn by raising what was raised here."""
    try:
        return list(FIGURES[name].planned(results))
    except Exception as error:  # a figure never costs the page
        caught = error

        def fail(_: Axes) -> None:
            raise caught

        return [Planned(name, name, FIGURES[name].description, (1.0, 1.0), fail)]


def without_data(results: Results, names: Sequence[str], planned: Sequence[Planned]) -> list[str]:
    """What to say of the figures that were asked for and of which the folder has no data."""
    there = {item.figure for item in planned}
    return [f"{results.folder} has no data for the figure {name!r}" for name in names if name not in there]


def draw(planned: Planned) -> Any:
    """The drawn `matplotlib.figure.Figure`."""
    with style():
        figure, ax = new_figure(*planned.size)
        planned.drawer(ax)
        return figure


class FigureWarning(UserWarning):
    """A figure that was left out: the folder has no data for it, or drawing it failed."""


def save_all(results: Results, names: Sequence[str] = (), kind: str = "png", folder: Path | None = None) -> list[Path]:
    """Draw figures into `DIR/figures`, the same bytes each time; returns their paths.

    Warns with `FigureWarning` of each that is asked for without data, and of each that fails; the others are drawn.

    Raises
    ------
    InputError
        If a name or format is unknown, or there is data for none of the names.
    """
    if kind not in FORMATS:
        message = f"no format {kind!r}; there are {', '.join(FORMATS)}"
        raise InputError(Problem("", "--format", message, nearest(kind, FORMATS)))
    target = folder or results.folder / "figures"
    planned = plan(results, names)
    for text in without_data(results, names, planned):
        warnings.warn(text, FigureWarning, stacklevel=2)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for item in planned:
        path = target / f"{item.name}.{kind}"
        figure = draw_or_warn(item)
        if figure is not None:
            save(figure, path, kind)
            paths.append(path)
    return paths


def draw_or_warn(planned: Planned) -> Any | None:
    """The drawn figure; `None`, and a `FigureWarning`, where drawing it fails."""
    try:
        figure = draw(planned)
        figure.draw_without_rendering()  # what is laid out only now may fail, too
    except Exception as error:  # one figure never costs the others
        text = f"the figure {planned.name!r} could not be drawn: {type(error).__name__}: {error}"
        warnings.warn(text, FigureWarning, stacklevel=2)
        return None
    return figure


# --- what a folder has data for ------------------------------------------------------------------------


def example_runs(results: Results) -> list[RunData]:
    """The runs whose insides are shown: of the baseline and of the policy that draws least, first seed."""
    rows = first_scenario(results)
    seed = int(rows["seed"].iloc[0])
    done = rows[(rows["jobs_left"] == 0) & (rows["seed"] == seed)]
    done = done if len(done) else rows[rows["seed"] == seed]
    chosen = [str(done.sort_values("draw_kwh", kind="stable")["run"].iloc[0])]
    base = done.loc[done["policy"] == results.baseline, "run"]
    if len(base) and str(base.iloc[0]) != chosen[0]:
        chosen.insert(0, str(base.iloc[0]))
    return [results.run(run) for run in chosen]


def first_scenario(results: Results) -> Any:
    """The complete rows of the first combination of the axes."""
    rows = results.complete
    if rows.empty:
        raise InputError(Problem(str(results.folder), "", "no run is complete, so there is nothing to draw"))
    for axis in results.axes:
        rows = rows[rows[axis] == rows[axis].iloc[0]]
    return rows


def _at(results: Results) -> str:
    """The scenario that is shown where there are several."""
    rows = first_scenario(results)
    return "".join(f", at {axis} = {rows[axis].iloc[0]}" for axis in results.axes)


def _slug(policy: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in policy.lower()).strip("-")


def _for_runs(
    name: str, caption: str, size: Callable[[RunData], tuple[float, float]], function: Callable[[RunData, Axes], Any]
) -> Callable[[Results], Iterator[Planned]]:
    """A figure of one run, drawn for each of the example runs."""

    def planned(results: Results) -> Iterator[Planned]:
        for run in example_runs(results):
            policy = str(run.row["policy"])
            text = f"{caption}, under {policy}, seed {run.row['seed']}{_at(results)}"
            yield Planned(name, f"{name}_{_slug(policy)}", text, size(run), _bind(function, run))

    return planned


def _bind(function: Callable[[RunData, Axes], Any], run: RunData) -> Drawer:
    return lambda ax: function(run, ax)


def _wide(_: RunData) -> tuple[float, float]:
    return 7.2, 3.6


def _by_sites(base: float, each: float) -> Callable[[RunData], tuple[float, float]]:
    return lambda run: (7.2, base + each * min(run.energy["site"].nunique(), 40))


def _plan_policies(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results)
    height = 1.2 + 0.36 * rows["policy"].nunique()
    caption = f"Grid draw of each policy{_at(results)}"
    yield Planned("policies", "policies", caption, (7.2, height), lambda ax: policies(rows, ax))


def _plan_site(results: Results) -> Iterator[Planned]:
    runs = example_runs(results)
    if _one_site(runs[-1]):  # the network is the site
        return
    site = str(runs[-1].energy.groupby("site")["pv_to_load_kwh"].sum().idxmax())
    for run in runs:
        policy = str(run.row["policy"])
        caption = f"Power balance of {site}, under {policy}, seed {run.row['seed']}{_at(results)}"
        yield Planned("site", f"site_{_slug(policy)}", caption, _wide(run), _balance(run, site))


def _one_site(run: RunData) -> bool:
    return bool(run.energy["site"].nunique() == 1)


def _plan_sites(results: Results) -> Iterator[Planned]:
    for run in example_runs(results):
        if not _one_site(run):
            policy = str(run.row["policy"])
            caption = f"What fed each site, under {policy}, seed {run.row['seed']}{_at(results)}"
            yield Planned("sites", f"sites_{_slug(policy)}", caption, _by_sites(1.1, 0.28)(run), _sites(run))


def _sites(run: RunData) -> Drawer:
    return lambda ax: energy_by_site(run.energy, ax)


def _plan_heat(results: Results) -> Iterator[Planned]:
    """Grid import by hour and day, all runs in the same shades."""
    runs = example_runs(results)
    darkest = max(float(import_by_hour(run.energy, run.tz).max().max()) for run in runs)
    for run in runs:
        policy = str(run.row["policy"])
        caption = f"Grid import by hour and day, under {policy}, seed {run.row['seed']}{_at(results)}"
        yield Planned("heat", f"heat_{_slug(policy)}", caption, _wide(run), _heat(run, darkest or 1.0))


def _heat(run: RunData, darkest: float) -> Drawer:
    return lambda ax: grid_heatmap(run.energy, ax, tz=run.tz, darkest_kwh=darkest)


def _balance(run: RunData, site: str) -> Drawer:
    return lambda ax: power_balance(run.energy, ax, site=site, tz=run.tz)


def _plan_pareto(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results)
    if rows["policy"].nunique() < 2:
        return
    for metric, what in (("wait_mean_h", "mean waiting"), ("cost_mad", "cost")):
        caption = f"Grid draw against {what}{_at(results)}"
        yield Planned("pareto", f"pareto_{metric}", caption, (6.4, 3.8), _pareto(rows, metric))


def _pareto(rows: Any, metric: str) -> Drawer:
    return lambda ax: pareto(rows, ax, x=metric)


def _plan_cdf(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results).drop_duplicates("policy")
    runs = {str(row["policy"]): results.run(str(row["run"])) for _, row in rows.iterrows()}
    caption = f"Waiting times, seed {rows['seed'].iloc[0]}{_at(results)}"
    yield Planned(
        "waiting_cdf",
        "waiting_cdf",
        caption,
        (5.6, 3.6),
        lambda ax: waiting_cdf({name: run.jobs for name, run in runs.items()}, ax),
    )


def _plan_map(results: Results) -> Iterator[Planned]:
    places = results.sites
    for run in example_runs(results):
        if _one_site(run) or not all("lat" in places.get(name, {}) for name in set(run.energy["site"])):
            continue
        policy = str(run.row["policy"])
        caption = f"Share of the sun in each site's load, under {policy}, seed {run.row['seed']}{_at(results)}"
        yield Planned("site_map", f"site_map_{_slug(policy)}", caption, (5.6, 6.2), _map(run, places))


def _map(run: RunData, places: Any) -> Drawer:
    return lambda ax: site_map(run.energy, ax, places=places)


def _plan_lines(results: Results) -> Iterator[Planned]:
    axes = results.axes
    rows = results.complete
    for axis in axes:
        here = rows
        for other in axes:
            if other != axis:
                here = here[here[other] == here[other].iloc[0]]
        fixed = "".join(f", {other} = {here[other].iloc[0]}" for other in axes if other != axis)
        for metric in ("draw_kwh", "grid_cut", "captured"):
            if here[metric].notna().any() and here[axis].nunique() > 1:
                name = f"lines_{_slug(axis)}_{metric}"
                yield Planned("lines", name, f"{metric} along {axis}{fixed}", (6.6, 3.6), _lines(here, axis, metric))


def _lines(rows: Any, axis: str, metric: str) -> Drawer:
    return lambda ax: matrix_lines(rows, ax, x=axis, metric=metric)


def _plan_heatmaps(results: Results) -> Iterator[Planned]:
    axes, rows = results.axes, results.complete
    pairs = [(x, y) for i, x in enumerate(axes) for y in axes[i + 1 :] if rows[x].nunique() > 1 < rows[y].nunique()]
    least = rows.groupby("policy")["draw_kwh"].mean()
    best = str(least.index[int(np.argmin(least.to_numpy()))]) if len(least) else ""
    for x, y in pairs:
        for metric in ("draw_kwh", "renewable_fraction", "grid_cut"):
            here = rows[rows["policy"] == best]
            if here[metric].notna().any():
                name = f"heatmap_{_slug(x)}_{_slug(y)}_{metric}"
                caption = f"{metric} over {x} and {y}, under {best}, mean over seeds"
                yield Planned("heatmap", name, caption, (5.8, 4.2), _cells(here, x, y, metric, best))


def _cells(rows: Any, x: str, y: str, metric: str, policy: str) -> Drawer:
    return lambda ax: matrix_heatmap(rows, ax, x=x, y=y, metric=metric, policy=policy)


def _classes(run: RunData) -> tuple[float, float]:
    return 7.2, 1.4 + 0.3 * min(run.jobs["job_class"].nunique() + 1, 17)


FIGURES: dict[str, Figure] = {
    "policies": Figure("grid draw of each policy, with intervals over seeds and the bound", _plan_policies),
    "pareto": Figure("grid draw against mean waiting, and against cost", _plan_pareto),
    "network": Figure(
        "power balance of all sites over time",
        _for_runs(
            "network", "Power balance of all sites", _wide, lambda run, ax: network_balance(run.energy, ax, tz=run.tz)
        ),
    ),
    "site": Figure("power balance of the site that used most sun", _plan_site),
    "gantt": Figure(
        "jobs on the GPUs of each site over time, beside its sun",
        _for_runs("gantt", "Jobs on the sites", _by_sites(1.7, 0.52), lambda run, ax: gantt(run, ax, tz=run.tz)),
    ),
    "day": Figure(
        "the mean day: sun, load and grid import by local hour",
        _for_runs("day", "The mean day", _wide, lambda run, ax: sun_and_load(run.energy, ax, tz=run.tz)),
    ),
    "heat": Figure("grid import by local hour and day", _plan_heat),
    "battery": Figure(
        "what the batteries hold over time",
        _for_runs("battery", "Battery state", _wide, lambda run, ax: battery_state(run.energy, ax, tz=run.tz)),
    ),
    "sites": Figure("what fed each site's load", _plan_sites),
    "site_map": Figure("the sites on a map, with the share of the sun", _plan_map),
    "attribution": Figure(
        "where the energy of each class of jobs came from",
        _for_runs("attribution", "Energy attributed to jobs", _classes, lambda run, ax: attribution(run, ax)),
    ),
    "waiting_cdf": Figure("how long jobs wait under each policy", _plan_cdf),
    "lines": Figure("metrics along each axis of the matrix", _plan_lines),
    "heatmap": Figure("metrics over each pair of axes of the matrix", _plan_heatmaps),
}
