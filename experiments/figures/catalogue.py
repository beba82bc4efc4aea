"""Every figure by name, and drawing all that a result folder has data for.

The figures themselves are functions `(data, ax=None, *, title=None, legend=True) -> Axes`:

>>> import tafukt
>>> results = tafukt.load("results/morocco_week")        # doctest: +SKIP
>>> tafukt.figures.power_balance(results["wait-for-sun"], site="dakhla")  # doctest: +SKIP
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

import numpy as np

import tafukt.experiments.figures.compare as compare
import tafukt.experiments.figures.energy as energy
import tafukt.experiments.figures.grid as grid
import tafukt.experiments.figures.jobs as jobs
import tafukt.experiments.figures.meters as meters
from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.figures.map import site_map
from tafukt.experiments.figures.style import (
    FIGURE_FORMATS,
    MOST_IN_COLOUR,
    measured_once,
    new_figure,
    paper_size,
    save,
    style,
)
from tafukt.experiments.figures.window import shared
from tafukt.experiments.results import axes as words
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.objective import objective_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tafukt.experiments.results.load import Results, RunData

Drawer = Callable[["Axes"], Any]


@dataclass(frozen=True)
class Planned:
    """One figure that a folder has data for: the name of its file, its caption, its size, how to draw it.

    Figures of one kind share the limits of the axes named in `same`, so that they can be set side by side.
    """

    figure: str
    name: str
    caption: str
    size: tuple[float, float]
    drawer: Drawer
    same: str = ""
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A kind of figure: what it shows, and what of it a folder has data for.

    `of_parts` figures can be drawn of one site or a stretch of time; all others are of whole runs.
    """

    description: str
    planned: Callable[[Results], Iterator[Planned]]
    of_parts: bool = False


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
        if results.part.within_runs and not FIGURES[name].of_parts:
            message = "is of whole runs; those of one site or a stretch of time are " + ", ".join(_possible(results))
            raise InputError(Problem("--figure", name, message))
    first_scenario(results)
    example_runs(results)[-1].energy  # noqa: B018 - a site or stretch that is not there is told once
    found = [item for name in names or _possible(results) for item in _planned(name, results)]
    if not found:
        raise InputError([Problem("", "--figure", text) for text in without_data(results, names, found)])
    return found


def _possible(results: Results) -> list[str]:
    """The names of the figures that can be drawn of a folder, or of the part of it that is asked for."""
    return [name for name, figure in FIGURES.items() if figure.of_parts or not results.part.within_runs]


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
    """Message on figures that were asked for and of which the folder has no data."""
    there = {item.figure for item in planned}
    return [f"{results.folder} has no data for the figure {name!r}" for name in names if name not in there]


def draw(planned: Planned, paper: int = 0, fonts: str = "sans") -> Any:
    """The drawn `matplotlib.figure.Figure`, for the screen or so many columns of a paper (`figures.style`)."""
    with style(paper, fonts):
        figure, ax = new_figure(*paper_size(planned.size, paper))
        planned.drawer(ax)
        return figure


def draw_all(planned: Sequence[Planned], paper: int = 0, fonts: str = "sans") -> Iterator[tuple[Planned, Any | None]]:
    """Each figure drawn, those of a kind on the same axes; `None`, and a `FigureWarning`, for one that fails."""
    with measured_once():
        for _, kind in groupby(planned, key=lambda item: item.figure):
            found = [(item, draw_or_warn(item, paper, fonts)) for item in kind]
            for name in found[0][0].same:
                axes = [figure.axes[0] for _, figure in found if figure is not None]
                ends = np.array([getattr(ax, f"get_{name}lim")() for ax in axes])
                for ax in axes:
                    getattr(ax, f"set_{name}lim")(ends[:, 0].min(), ends[:, 1].max())
            yield from found


class FigureWarning(UserWarning):
    """A figure that was left out: the folder has no data for it, or drawing it failed."""


def save_all(
    results: Results,
    names: Sequence[str] = (),
    kind: str = "png",
    folder: Path | None = None,
    paper: int = 0,
    fonts: str = "sans",
) -> list[Path]:
    """Draw figures into `DIR/figures`, the same bytes each time; returns their paths.

    `paper` 1 or 2 draws them for so many columns of a paper, `fonts` in sans, serif or LaTeX's own letters.

    Warns with `FigureWarning` of each that is asked for without data, and of each that fails; the others are drawn.

    Raises
    ------
    InputError
        If a name or format is unknown, or there is data for none of the names.
    """
    if kind not in FIGURE_FORMATS:
        message = f"no format {kind!r}; there are {', '.join(FIGURE_FORMATS)}"
        raise InputError(Problem("", "--format", message, nearest(kind, FIGURE_FORMATS)))
    if kind == "pgf" and shutil.which("xelatex") is None:
        raise InputError(Problem("", "--format", "pgf needs xelatex, which measures text: install it, or use pdf"))
    target = folder or results.folder / "figures"
    planned = plan(results, names)
    for text in without_data(results, names, planned):
        warnings.warn(text, FigureWarning, stacklevel=2)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for item, figure in draw_all(planned, paper, fonts):
        if figure is None:
            continue
        path = target / f"{item.name}.{kind}"
        try:
            save(figure, path, kind, paper, fonts)
        except Exception as error:  # what is laid out only now may fail, too
            warn_of(item, error)
            path.unlink(missing_ok=True)
        else:
            paths.append(path)
    return paths


def draw_or_warn(planned: Planned, paper: int = 0, fonts: str = "sans") -> Any | None:
    """The drawn figure; `None`, and a `FigureWarning`, where drawing it fails."""
    try:
        return draw(planned, paper, fonts)
    except Exception as error:  # one figure never costs the others
        warn_of(planned, error)
        return None


def warn_of(planned: Planned, error: Exception) -> None:
    """Say in a `FigureWarning` that a figure could not be drawn, and why."""
    text = f"the figure {planned.name!r} could not be drawn: {type(error).__name__}: {error}"
    warnings.warn(text, FigureWarning, stacklevel=3)


# --- what a folder has data for ------------------------------------------------------------------------


def example_runs(results: Results) -> list[RunData]:
    """The runs whose insides are shown: of the baseline and of the policy that draws least, first seed.

    Where policies were asked for, all of these.
    """
    rows = first_scenario(results)
    seed = int(rows["seed"].iloc[0])
    if results.part.policies:
        mine = rows[rows["seed"] == seed].drop_duplicates("policy")
        return [results.run(str(run)) for run in mine["run"]]
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
    """The scenario that is shown where there are several, and the stretch of time, in words."""
    text = words.of_row(first_scenario(results).iloc[0].to_dict(), results.axes) if results.axes else ""
    stretch = "".join(
        f" {word} {value}" for word, value in zip(("from", "to"), _stretch(results), strict=True) if value
    )
    return (f", at {text}" if text else "") + (f",{stretch}" if stretch else "")


def _stretch(results: Results) -> tuple[str, str]:
    return results.part.begin, results.part.end


def _slug(text: str) -> str:
    """A part of a file's name: letters of any script with their marks, and digits."""
    kept = (c if c.isalnum() or category(c).startswith("M") else " " for c in text.lower())
    return "-".join("".join(kept).split())


def _named(figure: str, results: Results, run: RunData | None = None) -> str:
    """A file name that says figure, policy, site, scenario and stretch, and the seed where there are several."""
    policy = _slug(str(run.row["policy"])) if run else ""
    parts = [figure, policy, _slug(results.part.site), _slug(_at(results).removeprefix(", at"))]
    if run is not None and results.complete["seed"].nunique() > 1:
        parts.append(f"s{run.row['seed']}")
    return "_".join(part for part in parts if part)


FigureSize = Callable[["RunData"], tuple[float, float]]
RunDrawer = Callable[["RunData", "Axes", dict[str, Any]], Any]


def _for_runs(
    name: str, caption: str, size: FigureSize, function: RunDrawer, same: str = "", several_sites: bool = False
) -> Callable[[Results], Iterator[Planned]]:
    """A figure of one run, drawn for each of the example runs, over the same stretch of time."""

    def planned(results: Results) -> Iterator[Planned]:
        """The figure of each example run, where it says something."""
        runs = example_runs(results)
        if several_sites and _one_site(runs[-1]) and not (name == "site" and results.part.site):
            return  # the network is the site
        if name == "network" and results.part.site:
            return  # the site is drawn
        window = shared(runs)
        for run in runs:
            policy = str(run.row["policy"])
            where = f" at {results.part.site}" if results.part.site and name != "site" else ""
            text = f"{caption}{where}, under {policy}, seed {run.row['seed']}{_at(results)}"
            drawer = _bind(function, run, {"window": window})
            about = {"policy": policy, "run": run.name}
            yield Planned(name, _named(name, results, run), text, size(run), drawer, same, about)

    return planned


def _bind(function: RunDrawer, run: RunData, more: dict[str, Any]) -> Drawer:
    return lambda ax: function(run, ax, more)


def _wide(_: RunData) -> tuple[float, float]:
    return 7.2, 3.6


def _by_sites(base: float, each: float) -> FigureSize:
    return lambda run: (7.2, base + each * min(run.energy["site"].nunique(), 40))


def _one_site(run: RunData) -> bool:
    return bool(run.energy["site"].nunique() == 1)


def _plan_policies(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results)
    height = 1.2 + 0.36 * rows["policy"].nunique()
    caption = f"Grid draw of each policy{_at(results)}"
    yield Planned(
        "policies", _named("policies", results), caption, (7.2, height), lambda ax: compare.policies(rows, ax)
    )


def _plan_site(results: Results) -> Iterator[Planned]:
    """The site that used most sun under the last of the example runs, under each of them."""
    site = str(example_runs(results)[-1].energy.groupby("site")["pv_to_load_kwh"].sum().idxmax())
    yield from _for_runs(
        "site",
        f"Power balance of {site}",
        _wide,
        lambda run, ax, more: energy.power_balance(run, ax, site=site, **more),
        "y",
        several_sites=True,
    )(results)


def _plan_heat(results: Results) -> Iterator[Planned]:
    """Grid import by hour and day, all runs in the same shades."""
    darkest = max(float(energy.import_by_hour(run.energy, run.tz).max().max()) for run in example_runs(results)) or 1.0
    yield from _for_runs(
        "heat",
        "Grid import by hour and day",
        _wide,
        lambda run, ax, more: energy.grid_heatmap(run, ax, darkest_kwh=darkest, **more),
    )(results)


def _plan_pareto(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results)
    many = rows["policy"].nunique()
    if many < 2:
        return
    size = (6.8, 4.2) if many <= MOST_IN_COLOUR else (9.0, min(4.2 + 0.1 * many, 9.0))
    for metric in ("wait_mean_h", "cost_mad"):
        caption = f"Grid draw against {column('summary', metric).label}{_at(results)}"
        yield Planned("pareto", _named(f"pareto_{metric}", results), caption, size, _pareto(rows, metric))


def _pareto(rows: Any, metric: str) -> Drawer:
    return lambda ax: compare.pareto(rows, ax, x=metric)


def _plan_waiting(results: Results) -> Iterator[Planned]:
    rows = first_scenario(results).drop_duplicates("policy")
    tables = {
        str(row["policy"]): results.run(str(row["run"])).some_columns("jobs", ["wait_h"]) for _, row in rows.iterrows()
    }
    caption = f"Waiting times, seed {rows['seed'].iloc[0]}{_at(results)}"
    many = len(tables) > MOST_IN_COLOUR
    function: Any = jobs.waiting_rows if many else jobs.waiting_cdf
    size = (7.2, 1.0 + 0.17 * len(tables)) if many else (6.0, 3.6)
    yield Planned("waiting_cdf", _named("waiting_cdf", results), caption, size, lambda ax: function(tables, ax))


def _plan_grid_requests(results: Results) -> Iterator[Planned]:
    """The largest request that the baseline met with, under each of the example runs."""
    runs = example_runs(results)
    if not runs[0].grid_asked or runs[0].grid_events.empty:
        return
    request = grid.largest_request(runs[0].grid_events)
    yield from _for_runs(
        "grid_requests",
        f"Import of {request[0]} over a request of the grid",
        _wide,
        lambda run, ax, _: grid.grid_request(run, ax, request=request),
        "y",
    )(results)


def metered_runs(results: Results) -> list[RunData]:
    """The runs that are held against a meter: what did as the log, or else the example runs."""
    rows = first_scenario(results)
    logged = rows.loc[rows["policy"] == "as-logged", "run"]
    runs = [results.run(str(logged.iloc[0]))] if len(logged) else example_runs(results)
    return [run for run in runs if run.metered]


METERS_MOST = 6
"""Sites with a meter that are drawn."""


def _plan_meter(results: Results) -> Iterator[Planned]:
    for run in metered_runs(results):
        policy = str(run.row["policy"])
        for site in run.meter["site"].unique().tolist()[:METERS_MOST]:
            text = f"Power of {site} by meter and model, under {policy}, seed {run.row['seed']}{_at(results)}"
            about = {"policy": policy, "run": run.name}
            name = f"{_named('meter', results, run)}_{_slug(site)}"
            yield Planned("meter", name, text, _wide(run), _meter(run, site), about=about)


def _meter(run: RunData, site: str) -> Drawer:
    return lambda ax: meters.meter(run, ax, site=site)


def _plan_limits(results: Results) -> Iterator[Planned]:
    """The site that comes nearest to its limit under the baseline, under each of the example runs."""
    runs = example_runs(results)
    site = grid.nearest_limit(runs[0]) if runs[0].limited else ""
    if site:
        yield from _for_runs(
            "import_limit",
            f"Import of {site} below its limit",
            _wide,
            lambda run, ax, more: grid.import_limit(run, ax, site=site, **more),
            "y",
        )(results)


def _plan_map(results: Results) -> Iterator[Planned]:
    places = results.sites
    if not all("lat" in places.get(name, {}) for name in example_runs(results)[-1].energy["site"].unique()):
        return
    yield from _for_runs(
        "site_map",
        "Share of the sun in each site's load",
        lambda _: (5.6, 6.2),
        lambda run, ax, _: site_map(run, ax, places=places),
        several_sites=True,
    )(results)


MOST_PANELS, SPREAD_PANELS = 6, 3
"""Of a matrix with more axes than a figure shows, so many panels are drawn, or of more the first, middle and last."""


def _panels(results: Results, shown: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Rows of each combination of the axes that are not shown, and its name in words; a few of many."""
    rows = results.complete
    pooled = words.pooled(rows, shown)
    choices = list(product(*(words.axis_values(rows[axis]) for axis in pooled)))
    shown_places: Sequence[int] = range(len(choices))
    if len(choices) > MOST_PANELS:
        shown_places = [round(place) for place in np.linspace(0, len(choices) - 1, SPREAD_PANELS)]
    more = f" ({left} more in the table)" if (left := len(choices) - len(shown_places)) else ""
    for values in (choices[place] for place in shown_places):
        here = rows
        for axis, value in zip(pooled, values, strict=True):
            here = here[here[axis] == value]
        if len(here):
            yield words.scenario(pooled, values) + more, here


def _plan_lines(results: Results) -> Iterator[Planned]:
    many = results.complete["policy"].nunique()
    height = max(3.6, 0.8 + 0.125 * many)
    for axis in results.axes:
        for at, rows in _panels(results, (axis,)):
            objective = objective_of(rows.to_dict("records")).metric
            for metric in dict.fromkeys(("draw_kwh", "grid_cut", objective, "captured")):
                if rows[axis].nunique() > 1 and _says_something(rows[metric]):
                    title = f"{column('summary', metric).label} along {words.label(axis)}{', at ' + at if at else ''}"
                    name = "_".join(filter(None, ("lines", _slug(words.label(axis)), metric, _slug(at))))
                    yield Planned("lines", name, _capital(title), (6.6, height), _lines(rows, axis, metric, title))


def _says_something(values: Any) -> bool:
    """Whether a figure of these values would be no flat line, as of the baseline's cut against itself."""
    return bool(values.nunique() > 1)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lines(rows: Any, axis: str, metric: str, title: str) -> Drawer:
    return lambda ax: compare.matrix_lines(rows, ax, x=axis, metric=metric, title=_capital(title))


def _plan_heatmaps(results: Results) -> Iterator[Planned]:
    axes, rows = results.axes, results.complete
    pairs = [(x, y) for i, x in enumerate(axes) for y in axes[i + 1 :]]
    # axes that go along with one another span no plane
    pairs = [(x, y) for x, y in pairs if y in words.pooled(rows, (x,)) and x in words.pooled(rows, (y,))]
    for x, y in pairs:
        panels = list(_panels(results, (x, y)))
        for metric in ("draw_kwh", "renewable_fraction", "grid_cut"):
            best = _least_drawing(rows)
            shown = rows.loc[rows["policy"] == best, metric] * (100 if column("summary", metric).percent else 1)
            limits = (float(shown.min()), float(shown.max()))
            for at, part in panels if _says_something(shown) else ():
                if part.loc[part["policy"] == best, metric].notna().any():
                    text = f"{column('summary', metric).label} under {best}{', at ' + at if at else ''}"
                    parts = ("heatmap", _slug(words.label(x)), _slug(words.label(y)), metric, _slug(best), _slug(at))
                    drawer = _cells(part, {"x": x, "y": y, "metric": metric, "policy": best, "limits": limits}, text)
                    seeds = int(part["seed"].nunique())
                    over = f", mean over {seeds} seeds" if seeds > 1 else f", seed {part['seed'].iloc[0]}"
                    yield Planned("heatmap", "_".join(filter(None, parts)), _capital(text + over), (5.8, 4.2), drawer)


def _least_drawing(rows: Any) -> str:
    """The policy that draws least in most scenarios and seeds; of several, the first."""
    keys = [*words.axis_columns(rows), "seed"]
    winners = rows.loc[rows.groupby(keys, dropna=False)["draw_kwh"].idxmin(), "policy"]
    return str(winners.value_counts(sort=False).idxmax())


def _cells(rows: Any, how: dict[str, Any], title: str) -> Drawer:
    return lambda ax: compare.matrix_heatmap(rows, ax, **how, title=_capital(title))


def _classes(run: RunData) -> tuple[float, float]:
    return 7.2, 1.4 + 0.3 * min(run.jobs["job_class"].nunique() + 1, 17)


FIGURES: dict[str, Figure] = {
    "policies": Figure("grid draw of each policy, with intervals over seeds and the bound", _plan_policies),
    "pareto": Figure("grid draw against mean waiting, and against cost", _plan_pareto),
    "network": Figure(
        "power balance of all sites over time",
        _for_runs(
            "network",
            "Power balance of all sites",
            _wide,
            lambda run, ax, more: energy.network_balance(run, ax, **more),
            "y",
        ),
        True,
    ),
    "site": Figure("power balance of the site that used most sun", _plan_site, True),
    "gantt": Figure(
        "jobs on the GPUs of each site over time, beside its sun",
        _for_runs(
            "gantt", "Jobs on the sites", _by_sites(1.7, 0.52), lambda run, ax, more: jobs.gantt(run, ax, **more)
        ),
        True,
    ),
    "day": Figure(
        "the mean day: sun, load and grid import by local hour",
        _for_runs("day", "The mean day", _wide, lambda run, ax, more: energy.sun_and_load(run, ax, **more), "y"),
        True,
    ),
    "heat": Figure("grid import by local hour and day", _plan_heat, True),
    "battery": Figure(
        "energy in the batteries over time",
        _for_runs("battery", "Battery state", _wide, lambda run, ax, more: energy.battery_state(run, ax, **more), "y"),
        True,
    ),
    "sites": Figure(
        "where each site's energy came from",
        _for_runs(
            "sites",
            "Where each site's energy came from",
            _by_sites(1.1, 0.28),
            lambda run, ax, _: energy.energy_by_site(run, ax),
            "x",
            several_sites=True,
        ),
        True,
    ),
    "site_map": Figure("the sites on a map, with the share of the sun", _plan_map, True),
    "attribution": Figure(
        "where the energy of each class of jobs came from",
        _for_runs(
            "attribution", "Energy attributed to jobs", _classes, lambda run, ax, _: jobs.attribution(run, ax), "x"
        ),
    ),
    "waiting_cdf": Figure("how long jobs wait under each policy", _plan_waiting),
    "meter": Figure("power of a site by the model and by its meter", _plan_meter),
    "grid_requests": Figure("import against target and baseline over the largest request", _plan_grid_requests, True),
    "import_limit": Figure("import of a site against its limit, hour by hour", _plan_limits, True),
    "lines": Figure("metrics along each axis of the matrix", _plan_lines),
    "heatmap": Figure("metrics over each pair of axes of the matrix", _plan_heatmaps),
}
