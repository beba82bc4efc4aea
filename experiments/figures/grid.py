"""The figure of one request of the grid: the import of a site against what was asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tafukt.experiments.figures.style import (
    BOUND,
    GRID,
    INK,
    MUTED,
    axes_or_new,
    dates,
    finish,
    local_axis,
    under,
    zone_of,
)

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
    here = energy[shown & (energy["site"] == site)]
    ax = axes_or_new(ax, height=3.4)
    _powers(ax, here)
    _asked(ax, row)
    local_axis(ax, [*here["time_utc"], _end(here)], zone)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.1 * row["baseline_kw"]))
    ax.set_ylabel("power [kW]")
    day = f"{row['start_utc'].tz_convert(zone):%-d %b %Y}"
    met = "met" if row["met"] else f"{row['minutes_above']} min above it"
    return finish(ax, title, f"Request of the grid at {site} on {day}{under(data)}: {met}", legend)


def _end(here: pd.DataFrame) -> pd.Timestamp:
    last = here.iloc[-1]
    end: pd.Timestamp = last["time_utc"] + pd.Timedelta(hours=float(last["step_h"]))
    return end


def _powers(ax: Axes, here: pd.DataFrame) -> None:
    """Mean import and load of each step; the last holds to the end of its step."""
    times = dates().date2num([*here["time_utc"], _end(here)])
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
