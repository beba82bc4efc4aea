"""Figures that set runs against one another: policies, trade-offs, axes of a matrix, and sites on a map.

Each takes rows of `summary.csv`; runs of one policy that differ in seed alone are one point, with a bar for
the 95 % confidence interval of its mean (Student t) from three seeds on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tafukt.experiments.figures.style import (
    BOUND,
    GRID,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    STROKES,
    axes_or_new,
    legend_above,
    title_above_legend,
)
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.statistics import FEWEST_SEEDS, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

TITLES = {
    "draw_kwh": "grid draw",
    "wait_mean_h": "mean wait",
    "cost_mad": "cost",
    "emissions_kg": "emissions",
    "renewable_fraction": "share of the sun in the load",
    "grid_cut": "cut in grid draw",
    "captured": "captured share of the possible saving",
    "jct_mean_h": "mean time from submission to end",
}


def label_of(metric: str) -> str:
    """An axis label: what the metric is, and its unit."""
    unit = column("summary", metric).unit
    name = TITLES.get(metric, metric.rsplit("_", 1)[0].replace("_", " ") if unit not in ("", "1") else metric)
    return f"{name} [{unit}]" if unit not in ("", "1") else name.replace("_", " ")


def policies(summary: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Grid draw of each policy, most first, with the clairvoyant bound as a line and the cut beside each bar.

    Takes the rows of one scenario (all axes fixed).
    """
    groups = _by_policy(summary, "draw_kwh").sort_values("mean", ascending=False, kind="stable")
    ax = axes_or_new(ax, height=1.1 + 0.36 * len(groups))
    names, means = groups.index.tolist(), groups["mean"].to_numpy()
    errors = groups["half"].fillna(0.0).to_numpy()
    bars = ax.barh(names, means, color=GRID, height=0.66, zorder=2)
    if (errors > 0).any():
        ax.errorbar(means, range(len(names)), xerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=3, zorder=3)
    limits = _limits(summary)
    for kwh, label, stroke in limits:
        ax.axvline(kwh, color=BOUND, linewidth=1.6, linestyle=stroke, zorder=4, label=label)
    cuts = summary.groupby("policy")["grid_cut"].mean()
    waits = summary.groupby("policy")["wait_mean_h"].mean()
    for bar, name, mean, error in zip(bars, names, means, errors, strict=True):
        cut = cuts.get(name, math.nan)
        parts = [] if math.isnan(cut) or abs(cut) < 5e-5 else [f"{-cut:+.1%}"]
        parts += [] if math.isnan(waits[name]) else [f"waits {waits[name]:.1f} h"]
        text = ", ".join(parts)
        y = bar.get_y() + bar.get_height() / 2
        ax.annotate(text.replace("-", "−"), (mean + error, y), xytext=(5, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    ax.set_xlim(0, float((means + errors).max()) * 1.24 or 1.0)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(label_of("draw_kwh") + _seeds(summary))
    if limits:
        legend_above(ax, columns=1)
    title_above_legend(ax, "Grid draw of each policy", rows=len(limits))
    return ax


def _limits(summary: pd.DataFrame) -> list[tuple[float, str, str]]:
    """Between what the least possible draw lies, as a mean over seeds [kWh], with label and line style."""
    found = []
    for name, label, stroke in (
        ("bound_draw_kwh", "lower bound: nobody can draw less", "--"),
        ("best_known_draw_kwh", "best known schedule: knows all, and is possible", ":"),
    ):
        if name in summary and summary[name].notna().any():
            found.append((float(summary.groupby("seed")[name].max().mean()), label, stroke))
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


def pareto(summary: pd.DataFrame, ax: Axes | None = None, *, x: str = "wait_mean_h", y: str = "draw_kwh") -> Axes:
    """Grid draw against mean waiting (or any two metrics), with the policies that no other beats in both."""
    ax = axes_or_new(ax, width=5.4, height=4.0)
    across, up = _by_policy(summary, x), _by_policy(summary, y)
    xs, ys = across["mean"].to_numpy(), up["mean"].to_numpy()
    front = [i for i in range(len(xs)) if not np.any((xs <= xs[i]) & (ys <= ys[i]) & ((xs < xs[i]) | (ys < ys[i])))]
    front.sort(key=lambda i: (xs[i], -ys[i]))
    if len(front) > 1:
        ax.step(xs[front], ys[front], where="post", color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    for index, name in enumerate(across.index):
        colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
        ax.errorbar(
            xs[index],
            ys[index],
            xerr=_half(across["half"].iloc[index]),
            yerr=_half(up["half"].iloc[index]),
            fmt=marker,
            color=colour,
            markersize=6,
            elinewidth=0.9,
            capsize=2,
            label=name,
            zorder=3,
            markerfacecolor=colour if index in front else "white",
        )
    for kwh, label, stroke in _limits(summary) if y == "draw_kwh" else ():
        ax.axhline(kwh, color=BOUND, linewidth=1.4, linestyle=stroke, label=label.partition(":")[0])
    ax.grid(True)
    ax.margins(0.08)
    for axis, metric in ((ax.xaxis, x), (ax.yaxis, y)):
        if metric.endswith(("_kwh", "_mad", "_kg")):
            axis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(label_of(x))
    ax.set_ylabel(label_of(y))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title("What a lower draw costs; filled where none is better in both")
    return ax


def _half(value: float) -> float | None:
    return None if math.isnan(value) else value


def matrix_heatmap(
    summary: pd.DataFrame, ax: Axes | None = None, *, x: str, y: str, metric: str = "draw_kwh", policy: str = ""
) -> Axes:
    """A metric over two axes of the matrix, for one policy (the last where none is named), mean over seeds."""
    ax = axes_or_new(ax, width=5.4, height=4.0)
    name = policy or str(summary["policy"].iloc[-1])
    rows = summary[summary["policy"] == name]
    table = rows.pivot_table(index=y, columns=x, values=metric, aggfunc="mean", sort=False)
    mesh = ax.imshow(table.to_numpy(), cmap="cividis", aspect="auto", origin="lower")
    ax.set_xticks(range(table.shape[1]), [_short(value) for value in table.columns])
    ax.set_yticks(range(table.shape[0]), [_short(value) for value in table.index])
    ratio = column("summary", metric).unit == "1"
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        text = "" if np.isnan(value) else f"{value:.2f}" if ratio else f"{value:,.0f}"
        red, green, blue = mesh.cmap(mesh.norm(value))[:3]
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ax.figure.colorbar(mesh, ax=ax, label=label_of(metric), pad=0.02)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(f"{label_of(metric).split(' [')[0].capitalize()} under {name}")
    return ax


def matrix_lines(summary: pd.DataFrame, ax: Axes | None = None, *, x: str, metric: str = "draw_kwh") -> Axes:
    """A metric along one axis of the matrix, a line for each policy, with 95 % intervals over seeds."""
    ax = axes_or_new(ax, width=5.6, height=3.6)
    values = list(dict.fromkeys(summary[x]))
    numeric = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numeric else values
    places = np.array(values, dtype=float) if numeric else np.arange(len(values), dtype=float)
    for index, (name, part) in enumerate(summary.groupby("policy", sort=False)):
        found = [mean_interval(part.loc[part[x] == value, metric].to_numpy()) for value in values]
        means = np.array([item[0] for item in found])
        halves = np.nan_to_num(np.array([item[1] for item in found]))
        ax.errorbar(
            places,
            means,
            yerr=halves if halves.any() else None,
            color=SERIES[index % len(SERIES)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=STROKES[index % len(STROKES)],
            markersize=4,
            capsize=2,
            elinewidth=0.9,
            label=name,
        )
    if metric == "draw_kwh" and summary["bound_draw_kwh"].notna().any():
        least = summary.groupby([x, "seed"])["bound_draw_kwh"].max().groupby(level=0).mean()
        ax.plot(places, [least.get(value, np.nan) for value in values], "--", color=BOUND, label="lower bound")
    if not numeric:
        ax.set_xticks(places, [_short(value) for value in values])
    ax.grid(True)
    ax.set_xlabel(x)
    ax.set_ylabel(label_of(metric))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title(f"{label_of(metric).split(' [')[0].capitalize()} along {x}")
    return ax


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 18 else text[:17] + "…"


def size_front(points: pd.DataFrame, ax: Axes | None = None, *, metric: str, target: float) -> Axes:
    """The sizes of PV and battery that were simulated, which meet the target, and what is the cheapest of them.

    `points` is the table of `sizing_results.table`. The line is the least PV for each battery; dotted lines are of one
    price.
    """
    ax = axes_or_new(ax, width=5.8, height=3.8)
    near = points[points["pv_kwp"] <= _top(points)]
    for meets, marker, label in ((True, "o", "meets the target"), (False, "X", "does not")):
        part = near[near["meets"] == meets]
        shades = ax.scatter(
            part["battery_kwh"],
            part["pv_kwp"],
            c=part[metric],
            cmap="cividis",
            vmin=near[metric].min(),
            vmax=near[metric].max(),
            marker=marker,
            s=28,
            edgecolors=INK,
            linewidths=0.4,
            zorder=3,
            label=label,
        )
    front = points[points["front"]].sort_values("battery_kwh")
    ax.plot(front["battery_kwh"], front["pv_kwp"], color=MUTED, linewidth=1.0, zorder=2, label="least PV")
    chosen = points[points["chosen"]]
    if len(chosen):
        ring: dict[str, Any] = {"s": 140, "facecolors": "none", "edgecolors": BOUND, "linewidths": 2, "zorder": 4}
        text = f"cheapest: {chosen['capital_mad'].iloc[0] / 1e6:.2f} million MAD"
        ax.scatter(chosen["battery_kwh"], chosen["pv_kwp"], label=text, **ring)
    _price_lines(ax, near)
    ax.figure.colorbar(shades, ax=ax, label=label_of(metric), pad=0.02)
    ax.grid(True)
    ax.set_xlabel("battery capacity of all sites [kWh]")
    ax.set_ylabel("PV of all sites [kWp]")
    legend_above(ax, columns=4)
    title_above_legend(ax, f"Sizes for {metric} of {target:g}", rows=1)
    return ax


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
