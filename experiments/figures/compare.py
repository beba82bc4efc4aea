"""Figures that set runs against one another: policies, trade-offs, axes of a matrix, sizes.

Each takes rows of `summary.csv`, or a result folder's `Results`; runs of one policy that differ in seed alone are one
point, with a bar for the 95 % confidence interval of its mean (Student t) from three seeds on. Rows that differ in an
axis which the figure does not show are refused: nothing is averaged over in silence. `policies` are those in colour;
where there are more than the eye can match to a legend, names stand beside what they name and most are grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.labels import at_line_ends, beside_points
from tafukt.experiments.figures.style import (
    BOUND,
    GREYED,
    GRID,
    INK,
    MOST_IN_COLOUR,
    MUTED,
    axes_or_new,
    finish,
    series,
)
from tafukt.experiments.results.axes import (
    axis_label,
    axis_values,
    currency_of,
    label,
    refuse_pooling,
    value_text,
    with_name,
)
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.numbers import in_currency
from tafukt.experiments.results.objective import OBJECTIVES, Objective, objective_of
from tafukt.experiments.results.statistics import FEWEST_SEEDS, mean_interval
from tafukt.simulator.units import Floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def label_of(metric: str, summary: pd.DataFrame) -> str:
    """An axis label: what the metric is, and its unit."""
    return in_currency(column("summary", metric).axis_label, currency_of(summary))


def rows_of(data: Any) -> pd.DataFrame:
    """The complete rows of a result folder, or the rows themselves."""
    rows: pd.DataFrame = data if hasattr(data, "columns") else data.complete
    return rows


def _shown(values: Any, metric: str) -> Any:
    """Values in the unit in which the metric is shown."""
    return values * 100.0 if column("summary", metric).percent else values


def highlighted(rows: pd.DataFrame, names: Sequence[str], policies: Sequence[str] | None) -> set[str]:
    """The policies in colour: those asked for, else all; of many, those that no other beats in draw and waiting."""
    if policies is not None:
        return set(policies)
    if len(names) <= MOST_IN_COLOUR:
        return set(names)
    means = rows.groupby("policy", sort=False)[["wait_mean_h", "draw_kwh"]].mean()
    front = [str(means.index[i]) for i in _front(*means.to_numpy().T)]
    return {names[0], *front}


def _front(xs: Floats, ys: Floats) -> list[int]:
    """Those that none other beats in both, by the first."""
    found = [i for i in range(len(xs)) if not np.any((xs <= xs[i]) & (ys <= ys[i]) & ((xs < xs[i]) | (ys < ys[i])))]
    return sorted(found, key=lambda i: (xs[i], -ys[i]))


def policies(
    data: Any,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    legend: bool = True,
    policies: Sequence[str] | None = None,
) -> Axes:
    """The objective of each policy, most first, with the clairvoyant bound as a line and the cut beside each bar.

    The objective is the grid draw where the rows have no bound on emissions or cost.

    Raises
    ------
    ValueError
        If the rows are of more than one scenario.
    """
    summary = rows_of(data)
    refuse_pooling(summary)
    objective = objective_of(summary.to_dict("records"))
    groups = _by_policy(summary, objective.metric).sort_values("mean", ascending=False, kind="stable")
    ax = axes_or_new(ax, height=1.1 + 0.36 * len(groups))
    names, means = groups.index.tolist(), groups["mean"].to_numpy()
    errors = groups["half"].fillna(0.0).to_numpy()
    colours = [GRID if policies is None or name in policies else GREYED for name in names]
    bars = ax.barh(names, means, color=colours, height=0.66, zorder=2)
    if (errors > 0).any():
        ax.errorbar(means, range(len(names)), xerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=3, zorder=3)
    limits = _limits(summary, objective)
    lines = [
        ax.axvline(least, color=BOUND, linewidth=1.6, linestyle=stroke, zorder=4, label=text)
        for least, text, stroke in limits
    ]
    for bar, name, mean, error in zip(bars, names, means, errors, strict=True):
        y = bar.get_y() + bar.get_height() / 2
        text = _beside_bar(summary[summary["policy"] == name], objective)
        ax.annotate(text, (max(mean + error, 0.0), y), xytext=(5, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    # Draw and emissions begin at zero; a cost may lie below it, with its bound.
    low = min(0.0, float((means - errors).min()) * 1.05, *(least * 1.05 for least, *_ in limits))
    ax.set_xlim(low, float((means + errors).max()) * 1.34 - 0.34 * low or 1.0)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(label_of(objective.metric, summary) + _seeds(summary))
    default = f"{_capital(column('summary', objective.metric).label)} of each policy"
    return finish(ax, title, default, legend and bool(lines), lines)


def _beside_bar(rows: pd.DataFrame, objective: Objective) -> str:
    """Text beside a policy's bar: its saving, and the price of it in waiting and lateness."""
    cut, wait = rows[objective.cut].mean(), rows["wait_mean_h"].mean()
    late = rows["deadline_miss_rate"].mean()
    parts = [] if math.isnan(cut) or abs(cut) < 5e-4 else [f"{-cut:+.1%}"]
    parts += [] if math.isnan(wait) else [f"waits {wait:.1f} h"]
    parts += [f"{late:.1%} late"] if late >= 5e-4 else []
    return ", ".join(parts).replace("-", "−")


def _limits(summary: pd.DataFrame, objective: Objective) -> list[tuple[float, str, str]]:
    """Between what the least possible lies, as a mean over seeds, with label and line style."""
    found = []
    for name, text, stroke in (
        (objective.bound, objective.bounded, "--"),
        (objective.best_known, objective.known, ":"),
    ):
        if name in summary and summary[name].notna().any():
            found.append((float(summary.groupby("seed")[name].max().mean()), text, stroke))
    return found


def _seeds(summary: pd.DataFrame) -> str:
    count = summary["seed"].nunique()
    if count < FEWEST_SEEDS:
        return ", one seed" if count == 1 else f", mean of {count} seeds"
    return f", mean of {count} seeds and its 95 % interval"


def _by_policy(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and half-width of its interval for each policy, in order of appearance."""
    import pandas as pd

    rows = {name: mean_interval(part[metric].to_numpy())[:2] for name, part in summary.groupby("policy", sort=False)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "half"])


def pareto(
    data: Any,
    ax: Axes | None = None,
    *,
    x: str = "wait_mean_h",
    y: str = "draw_kwh",
    title: str | None = None,
    legend: bool = True,
    policies: Sequence[str] | None = None,
) -> Axes:
    """Grid draw against mean waiting (or any two metrics), with the policies that no other beats in both.

    Raises
    ------
    ValueError
        If the rows are of more than one scenario.
    """
    summary = rows_of(data)
    refuse_pooling(summary)
    ax = axes_or_new(ax, width=6.4, height=4.4)
    across, up = _shown(_by_policy(summary, x), x), _shown(_by_policy(summary, y), y)
    xs, ys, names = across["mean"].to_numpy(), up["mean"].to_numpy(), [str(name) for name in across.index]
    front = _front(xs, ys)
    bright = set(policies) if policies is not None else _bright(names, front)
    if len(front) > 1:
        ax.step(xs[front], ys[front], where="post", color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    colours = []
    for index, name in enumerate(names):
        look = series(index)
        colours.append(look.colour if name in bright else MUTED)
        ax.errorbar(
            xs[index],
            ys[index],
            xerr=_half(across["half"].iloc[index]) if name in bright else None,
            yerr=_half(up["half"].iloc[index]) if name in bright else None,
            fmt=look.marker,
            color=look.colour if name in bright else GREYED,
            markersize=6 if name in bright else 4.5,
            elinewidth=0.9,
            capsize=2,
            label=name,
            zorder=3,
            markerfacecolor=(look.colour if name in bright else GREYED) if index in front else "white",
        )
    objective = objective_of(summary.to_dict("records"))
    lines = [
        ax.axhline(least, color=BOUND, linewidth=1.4, linestyle=stroke, label=text.partition(":")[0])
        for least, text, stroke in (_limits(summary, objective) if y == objective.metric else ())
    ]
    _pareto_axes(ax, x, y, summary)
    finish(ax, title, "What a lower draw costs; filled points are Pareto-optimal", legend and bool(lines), lines)
    if legend:
        order = sorted(range(len(names)), key=lambda i: (names[i] not in bright, i not in front))
        size = 7.5 if len(names) <= 16 else 6.5
        picked = [[names[i] for i in order], [colours[i] for i in order]]
        beside_points(ax, np.column_stack((xs, ys))[order], picked[0], picked[1], size)
    return ax


def _bright(names: Sequence[str], front: Sequence[int]) -> set[str]:
    """All, or of many those on the front and the first, which is the baseline."""
    return set(names) if len(names) <= MOST_IN_COLOUR else {names[0], *(names[i] for i in front)}


def _pareto_axes(ax: Axes, x: str, y: str, summary: pd.DataFrame) -> None:
    ax.grid(True)
    ax.margins(0.12, 0.08)
    for axis, metric in ((ax.xaxis, x), (ax.yaxis, y)):
        if metric.endswith(("_kwh", "_mad", "_kg")):
            axis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(label_of(x, summary))
    ax.set_ylabel(label_of(y, summary))


def _half(value: float) -> float | None:
    return None if math.isnan(value) else value


NUMBERED, TICKS = 150, (14, 20)
"""Of a heat map: cells that have their number written into them, and values that are named along each side."""


def matrix_heatmap(
    data: Any,
    ax: Axes | None = None,
    *,
    x: str,
    y: str,
    metric: str = "draw_kwh",
    policy: str = "",
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """A metric over two axes of the matrix, for one policy (the last where none is named), mean over seeds.

    `limits` are the values of the lightest and darkest shade, so that panels can be set side by side.

    Raises
    ------
    ValueError
        If the rows differ in a third axis.
    """
    summary = rows_of(data)
    ax = axes_or_new(ax, width=5.4, height=4.0)
    name = policy or str(summary["policy"].iloc[-1])
    rows = summary[summary["policy"] == name]
    refuse_pooling(rows, (x, y))
    table = rows.pivot_table(index=y, columns=x, values=metric, aggfunc="mean", sort=False)
    table = _shown(table.reindex(index=axis_values(rows[y]), columns=axis_values(rows[x])), metric)
    mesh = ax.imshow(table.to_numpy(), cmap="cividis", aspect="auto", origin="lower")
    if limits is not None and limits[0] < limits[1]:
        mesh.set_clim(*limits)
    every_x, every_y = (max(1, math.ceil(count / most)) for count, most in zip(table.shape[::-1], TICKS, strict=True))
    ax.set_xticks(range(0, table.shape[1], every_x), [_short(value) for value in table.columns[::every_x]])
    ax.set_yticks(range(0, table.shape[0], every_y), [_short(value) for value in table.index[::every_y]])
    decimals = 1 if column("summary", metric).percent else _decimals(table.to_numpy())
    for (i, j), value in np.ndenumerate(table.to_numpy()) if table.size <= NUMBERED else ():
        text = "" if np.isnan(value) else f"{value:,.{decimals}f}"
        red, green, blue = mesh.cmap(mesh.norm(value))[:3]
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    if legend:
        ax.figure.colorbar(mesh, ax=ax, label=label_of(metric, summary), pad=0.02)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xlabel(axis_label(with_name(x, summary)))
    ax.set_ylabel(axis_label(with_name(y, summary)))
    return finish(ax, title, f"{_capital(column('summary', metric).label)} under {name}{_seeds(rows)}", False)


def _decimals(values: Floats) -> int:
    """As many as three digits of the largest value need."""
    largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def matrix_lines(
    data: Any,
    ax: Axes | None = None,
    *,
    x: str,
    metric: str = "draw_kwh",
    title: str | None = None,
    legend: bool = True,
    policies: Sequence[str] | None = None,
) -> Axes:
    """A metric along one axis of the matrix, a line for each policy, with 95 % intervals over seeds.

    Raises
    ------
    ValueError
        If the rows differ in another axis.
    """
    summary = rows_of(data)
    refuse_pooling(summary, (x,))
    ax = axes_or_new(ax, width=6.2, height=3.6)
    values = axis_values(summary[x])
    numeric = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)
    places = np.array(values, dtype=float) if numeric else np.arange(len(values), dtype=float)
    names = [str(name) for name in dict.fromkeys(summary["policy"])]
    bright = highlighted(summary, names, policies)
    ends, drawn, colours = [], [], []
    for index, name in enumerate(names):
        part, look = summary[summary["policy"] == name], series(index)
        found = [mean_interval(part.loc[part[x] == value, metric].to_numpy()) for value in values]
        means = _shown(np.array([item[0] for item in found]), metric)
        halves = _shown(np.nan_to_num(np.array([item[1] for item in found])), metric)
        _line(ax, places, means, halves, look, name, name in bright)
        known = np.flatnonzero(np.isfinite(means))
        if len(known):
            ends.append((float(places[known[-1]]), float(means[known[-1]])))
            drawn.append(name)
            colours.append(look.colour if name in bright else MUTED)
    lines = _bound_along(ax, summary, x, metric, values, places)
    if (numeric and len(values) <= 12) or not numeric:
        ax.set_xticks(places, [_short(value) for value in values])
    if metric.endswith(("_kwh", "_mad", "_kg")):
        ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.grid(True)
    ax.set_xlabel(axis_label(with_name(x, summary)) + _seeds(summary))
    ax.set_ylabel(label_of(metric, summary))
    default = f"{_capital(column('summary', metric).label)} along {label(with_name(x, summary))}"
    finish(ax, title, default, legend and bool(lines), lines)
    if legend:
        at_line_ends(ax, ends, drawn, colours, 7.5 if len(drawn) <= 16 else 6.5)
    return ax


def _line(ax: Axes, places: Any, means: Any, halves: Any, look: Any, name: str, bright: bool) -> None:
    """A policy's line with its intervals; those that are not told apart step back in grey."""
    ax.errorbar(
        places,
        means,
        yerr=halves if halves.any() else None,
        color=look.colour if bright else GREYED,
        marker=look.marker,
        linestyle=look.stroke,
        markersize=4,
        linewidth=None if bright else 0.8,
        zorder=3 if bright else 2,
        capsize=2,
        elinewidth=0.9,
        label=name,
    )


def _bound_along(
    ax: Axes, summary: pd.DataFrame, x: str, metric: str, values: Sequence[Any], places: Floats
) -> list[Line2D]:
    """The lower bound on a metric along an axis of the matrix, as a line; none where it has no bound."""
    bound = next((one.bound for one in OBJECTIVES.values() if one.metric == metric), "")
    if bound not in summary or not summary[bound].notna().any():
        return []
    least = summary.groupby([x, "seed"])[bound].max().groupby(level=0).mean()
    return ax.plot(places, [least.get(value, np.nan) for value in values], "--", color=BOUND, label="lower bound")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(value: Any) -> str:
    text = value_text(value)
    return text if len(text) <= 18 else text[:17] + "…"


def size_front(
    points: pd.DataFrame,
    ax: Axes | None = None,
    *,
    metric: str,
    target: float,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """The sizes of PV and battery that were simulated, which meet the target, and what is the cheapest of them.

    `points` is the table of `sizing_results.table`. The line is the least PV for each battery; dotted lines are of one
    price.
    """
    ax = axes_or_new(ax, width=5.8, height=3.8)
    near = points[points["pv_kwp"] <= _top(points)]
    for meets, marker, text in ((True, "o", "meets the target"), (False, "X", "does not")):
        part = near[near["meets"] == meets]
        shades = ax.scatter(
            part["battery_kwh"],
            part["pv_kwp"],
            c=_shown(part[metric], metric),
            cmap="cividis",
            vmin=_shown(near[metric].min(), metric),
            vmax=_shown(near[metric].max(), metric),
            marker=marker,
            s=28,
            edgecolors=INK,
            linewidths=0.4,
            zorder=3,
            label=text,
        )
    front = points[points["front"]].sort_values("battery_kwh")
    ax.plot(front["battery_kwh"], front["pv_kwp"], color=MUTED, linewidth=1.0, zorder=2, label="least PV")
    chosen = points[points["chosen"]]
    if len(chosen):
        ring: dict[str, Any] = {"s": 140, "facecolors": "none", "edgecolors": BOUND, "linewidths": 2, "zorder": 4}
        text = f"cheapest: {chosen['capital_mad'].iloc[0] / 1e6:.2f} million {currency_of(points)}"
        ax.scatter(chosen["battery_kwh"], chosen["pv_kwp"], label=text, **ring)
    _price_lines(ax, near)
    ax.figure.colorbar(shades, ax=ax, label=label_of(metric, points), pad=0.02)
    ax.grid(True)
    ax.set_xlabel("battery capacity of all sites [kWh]")
    ax.set_ylabel("PV of all sites [kWp]")
    goal = f"{target:.0%}" if column("summary", metric).percent else f"{target:g}"
    return finish(ax, title, f"Sizes for {column('summary', metric).label} of {goal}", legend)


def _top(points: pd.DataFrame) -> float:
    """The largest PV that is drawn: beyond the front only what brackets it."""
    front = points.loc[points["front"], "pv_kwp"]
    return float(1.3 * front.max()) if len(front) else float(points["pv_kwp"].max())


def _price_lines(ax: Axes, points: pd.DataFrame) -> None:
    """Lines of equal price, from the prices that the points imply."""
    sizes = points[["pv_kwp", "battery_kwh"]].to_numpy()
    if len(sizes) < 2 or np.linalg.matrix_rank(sizes) < 2:
        return
    pv, battery = np.linalg.lstsq(sizes, points["capital_mad"].to_numpy(), rcond=None)[0]
    if not (pv > 0 and battery > 0):
        return
    width, height = float(sizes[:, 1].max()) * 1.05, float(sizes[:, 0].max()) * 1.05
    for price in np.linspace(0, pv * height + battery * width, 7)[1:-1]:
        x = np.array([0.0, width])
        ax.plot(x, (price - battery * x) / pv, color=MUTED, linewidth=0.6, linestyle=":", zorder=1)
    ax.set_xlim(-0.03 * width, width)
    ax.set_ylim(-0.03 * height, height)
