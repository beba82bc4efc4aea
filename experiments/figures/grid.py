"""Import of a site against what the grid asks of it in one request, and against the limit of its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tafukt.experiments.figures.style import (
    BOUND,
    FLOWS,
    GRID,
    INK,
    MUTED,
    axes_or_new,
    dates,
    day_numbers,
    finish,
    local_axis,
    under,
    zone_of,
)
from tafukt.experiments.figures.window import Window, cut, shade, told, window_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE_H, AFTER_H = 1.0, 2.5
"""What is shown before a request and after it; the rebound is counted over two hours."""


def largest_request(requests: pd.DataFrame) -> tuple[str, int]:
    """The site and number of the request that asked for most energy."""
    row = requests.iloc[int(requests["asked_kwh"].to_numpy().argmax())]
    return str(row["site"]), int(row["event"])


def grid_request(
    data: Any,
    ax: Axes | None = None,
    *,
    request: tuple[str, int] | None = None,
    tz: str = "",
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Import of a site over a request of the grid, beside its load, the baseline and the target.

    `request` is the site and the number of the request; the one that asked for most where it is not given. Each
    value is the mean of an output step, so that what lies above the target for a minute may not show.

    Raises
    ------
    FolderError
        If the grid asked for nothing in this run.
    ValueError
        If there is no such request.
    """
    requests, zone = data.grid_events, zone_of(data, tz)
    site, number = largest_request(requests) if request is None else request
    found = requests[(requests["site"] == site) & (requests["event"] == number)]
    if found.empty:
        raise ValueError(f"no request {number} at a site called {site!r}")
    row = found.iloc[0]
    energy = data.energy
    ends_h = energy["time_h"] + energy["step_h"]
    shown = (ends_h > row["start_h"] - BEFORE_H) & (energy["time_h"] < row["end_h"] + AFTER_H)
    here = _together(energy[shown], str(row["members"]).split(";") if row["members"] else [site])
    ax = axes_or_new(ax, height=3.4)
    _powers(ax, here)
    _asked(ax, row)
    local_axis(ax, [*here["time_utc"], _end(here)], zone)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.1 * row["baseline_kw"]))
    ax.set_ylabel("power [kW]")
    day = f"{row['start_utc'].tz_convert(zone):%-d %b %Y}"
    met = "met" if row["met"] else f"{row['minutes_above']} min above it"
    return finish(ax, title, f"Request of the grid at {site} on {day}{under(data)}: {met}", legend)


def _together(energy: pd.DataFrame, sites: list[str]) -> pd.DataFrame:
    """The energy of all these sites in each step."""
    here = energy[energy["site"].isin(sites)]
    if len(sites) == 1:
        return here
    sums = here.groupby("time_utc", as_index=False)[["grid_import_kwh", "site_kwh"]].sum()
    return sums.merge(here[["time_utc", "step_h"]].drop_duplicates("time_utc"), on="time_utc")


def _end(here: pd.DataFrame) -> pd.Timestamp:
    last = here.iloc[-1]
    end: pd.Timestamp = last["time_utc"] + pd.Timedelta(hours=float(last["step_h"]))
    return end


def _powers(ax: Axes, here: pd.DataFrame) -> None:
    """Mean import and load of each step; the last holds to the end of its step."""
    times = day_numbers([*here["time_utc"], _end(here)])
    bought, load = ((here[name] / here["step_h"]).to_numpy() for name in ("grid_import_kwh", "site_kwh"))
    ax.stairs(bought, times, fill=True, color=GRID, alpha=0.75, label="grid import")
    ax.stairs(load, times, color=INK, linewidth=1.2, label="load", baseline=None)


def _asked(ax: Axes, row: pd.Series[Any]) -> None:
    """The baseline, and the target: down to it over the ramp, then held to the end."""
    less_kw = row["baseline_kw"] - row["target_kw"]
    held_h = row["asked_kwh"] / less_kw if less_kw > 0 else 0.0
    start, number = row["start_utc"], dates().date2num
    end = start + pd.Timedelta(hours=float(row["end_h"] - row["start_h"]))
    held = end - pd.Timedelta(hours=float(held_h))
    ax.axvspan(number(start), number(end), color=MUTED, alpha=0.10, linewidth=0, zorder=0.5)
    ax.hlines(row["baseline_kw"], number(start), number(end), colors=MUTED, linestyles=":", label="baseline")
    levels = [row["baseline_kw"], row["target_kw"], row["target_kw"]]
    ax.plot([number(start), number(held), number(end)], levels, "--", color=BOUND, linewidth=1.6, label="target")


def nearest_limit(run: Any) -> str:
    """The site whose import comes nearest to its limit in any step; empty where none is limited."""
    shares = {}
    for name, here in run.energy.groupby("site"):
        limit_kw = limits_kw(run.limits, str(name), here["time_h"].to_numpy())
        if np.isfinite(limit_kw).any():
            import_kw = (here["grid_import_kwh"] + here["unserved_kwh"]).to_numpy() / here["step_h"].to_numpy()
            shares[str(name)] = float(np.nanmax(import_kw / np.maximum(limit_kw, 1e-9)))
    return max(shares, key=lambda name: shares[name]) if shares else ""


def limits_kw(limits: pd.DataFrame, site: str, times_h: Any) -> Any:
    """The import limit of a site at some times [kW], from its table of changes."""
    here = limits[limits["site"] == site].sort_values("time_h")
    at = np.searchsorted(here["time_h"].to_numpy(), times_h, side="right") - 1
    return here["import_limit_kw"].to_numpy()[np.maximum(at, 0)]


def import_limit(
    data: Any,
    ax: Axes | None = None,
    *,
    site: str = "",
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Import of a site over time, what went unserved above it, and the limit of its connection.

    `site` is the one that comes nearest to its limit where it is not given. Each value is the mean of an output step.

    Raises
    ------
    FolderError
        If no import is limited in this run.
    ValueError
        If that site's is not.
    """
    site = site or nearest_limit(data)
    zone = zone_of(data, tz)
    whole = data.energy[data.energy["site"] == site]
    shown = window or window_of(data, zone)
    here = cut(whole, shown)
    limit_kw = limits_kw(data.limits, site, here["time_h"].to_numpy())
    if not np.isfinite(limit_kw).any():
        raise ValueError(f"the import of {site!r} is not limited in this run")
    ax = axes_or_new(ax)
    ends = [*here["time_utc"], _end(here)]
    times = day_numbers(ends)
    bought, lacking = ((here[name] / here["step_h"]).to_numpy() for name in ("grid_import_kwh", "unserved_kwh"))
    ax.stairs(bought, times, fill=True, color=GRID, alpha=0.75, label="grid import")
    if lacking.sum() > 0:
        look = FLOWS["unserved"]
        ax.stairs(bought + lacking, times, baseline=bought, fill=True, color=look.colour, label=look.label)
    ax.stairs(limit_kw, times, color=BOUND, linewidth=1.4, linestyle="--", label="import limit", baseline=None)
    ax.set_ylim(0, 1.05 * max(float(np.nanmax(limit_kw)), float((bought + lacking).max()), 1e-9))
    ax.set_ylabel("power [kW]")
    local_axis(ax, ends, zone, told(shown, whole, zone))
    shade(ax, shown, ends[-1])
    return finish(ax, title, f"Import of {site} below its limit{under(data)}", legend)
