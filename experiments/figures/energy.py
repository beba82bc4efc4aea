"""Figures of where the energy comes from: balances, the battery, and the hours in which the grid is drawn on.

Each takes a run, or its energy table as it is read from its folder; what is in kWh per step is drawn as mean power in
kW. `tz` is the run's own time zone where it is not given, `window` what of the time is shown (`figures.window`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import (
    BATTERY,
    FLOWS,
    INK,
    MUTED,
    SUN,
    axes_or_new,
    dates,
    day_numbers,
    energy_of,
    finish,
    local_axis,
    plot_inches,
    under,
    wrapped,
    zone_of,
)
from tafukt.experiments.figures.thinning import seen
from tafukt.experiments.figures.window import Window, cut, shade, told, window_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STACK = (
    "pv_to_load",
    "discharge",
    "import_to_load",
    "unserved",
    "import_to_battery",
    "pv_to_battery",
    "export",
    "curtailed",
)
BALANCE_COLUMNS = ("site", "time_h", "time_utc", "step_h", "site_kwh", *(f"{name}_kwh" for name in STACK))
LONG_DAYS, VERY_LONG_DAYS = 15.0, 100.0


def power_balance(
    data: Any,
    ax: Axes | None = None,
    *,
    site: str = "",
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Power balance of one site over time: sun, battery and grid stacked up to its load, surplus above.

    `site` is the one that has drawn most from the sun where it is not given. Over more than 15 days each
    value is the mean of a local day, over more than 100 that of a week.
    """
    energy = energy_of(data)
    if not site:
        site = str(energy.groupby("site")["pv_to_load_kwh"].sum().idxmax())
    here = energy[energy["site"] == site]
    if here.empty:
        raise ValueError(f"no site called {site!r}; there are {', '.join(sorted(energy['site'].unique()))}")
    zone = zone_of(data, tz)
    ax = _balance(here, ax, zone, window or window_of(data, zone))
    return finish(ax, title, f"Power balance of {site}{under(data, place=False)}", legend)


def network_balance(
    data: Any,
    ax: Axes | None = None,
    *,
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Power balance of all sites together over time: sun, battery and grid stacked up to their load."""
    energy = energy_of(data)
    count = energy["site"].nunique()
    zone = zone_of(data, tz)
    ax = _balance(energy, ax, zone, window or window_of(data, zone))
    default = f"Power balance of all {count} sites" if count > 1 else "Power balance"
    return finish(ax, title, default + under(data), legend)


def _powers(energy: pd.DataFrame, tz: str) -> tuple[pd.DataFrame, str]:
    """Mean powers [kW] over time, summed over sites, and what each value is the mean of."""
    import pandas as pd

    columns = [f"{name}_kwh" for name in STACK] + ["site_kwh"]
    summed = energy.groupby("time_utc")[columns].sum()
    hours = energy.groupby("time_utc")["step_h"].first()
    days = float(hours.sum()) / 24
    what = "power [kW]"
    if days > LONG_DAYS:
        local = pd.DatetimeIndex(summed.index).tz_convert(tz).tz_localize(None).normalize()
        if days > VERY_LONG_DAYS:
            local = local - pd.to_timedelta((local - local[0]).days % 7, unit="D")
        # in UTC again, or the axis would mix two zones where the site's is not UTC
        local = local.tz_localize(tz, nonexistent="shift_forward", ambiguous=False).tz_convert("UTC")
        summed, hours = summed.groupby(local).sum(), hours.groupby(local).sum()
        what = f"mean power of each {'week' if days > VERY_LONG_DAYS else 'day'} [kW]"
    return summed.div(hours, axis=0), what


def _balance(whole: pd.DataFrame, ax: Axes | None, tz: str, window: Window) -> Axes:
    """The stack of flows and the line of the load."""
    import pandas as pd

    ax = axes_or_new(ax)
    energy = cut(whole, window, BALANCE_COLUMNS)
    powers, what = _powers(energy, tz)
    # The last value holds to the end of its step, which an axis of starts does not show.
    powers = pd.concat([powers, powers.tail(1).set_axis([_end_of(energy)])])
    times = powers.index
    days = day_numbers(times)
    bottom = np.zeros(len(powers))
    shown = [name for name in STACK if powers[f"{name}_kwh"].sum() > 1e-6 * powers["site_kwh"].sum()]
    for name in shown:
        look, height = FLOWS[name], powers[f"{name}_kwh"].to_numpy()
        ax.fill_between(
            days,
            bottom,
            bottom + height,
            step="post",
            facecolor=look.colour,
            hatch=look.hatch or None,
            edgecolor=MUTED if look.hatch else "none",
            linewidth=0.0,
            label=look.label,
        )
        bottom = bottom + height
    ax.step(days, powers["site_kwh"], where="post", color=INK, linewidth=1.1, label="load")
    ax.set_ylim(0, max(float(bottom.max()), 1e-9) * 1.03)
    ax.set_ylabel(what)
    local_axis(ax, times, tz, told(window, whole, tz))
    shade(ax, window, times[-1])
    return ax


def _end_of(energy: pd.DataFrame) -> pd.Timestamp:
    """End of the last step of a table."""
    import pandas as pd

    last = int(energy["time_h"].to_numpy().argmax())
    end: pd.Timestamp = energy["time_utc"].iloc[last] + pd.Timedelta(hours=float(energy["step_h"].iloc[last]))
    return end


def battery_state(
    data: Any,
    ax: Axes | None = None,
    *,
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Stored energy over time: each site as a thin line, all together as the filled area.

    Over more than 31 days it is the range of each local day, and its mean.
    """
    import pandas as pd

    whole, zone = energy_of(data), zone_of(data, tz)
    window = window or window_of(data, zone)
    energy = cut(whole, window, ("site", "time_utc", "step_h", "stored_kwh"))
    ax = axes_or_new(ax, height=3.2)
    stored = energy.pivot(index="time_utc", columns="site", values="stored_kwh")
    total = stored.sum(axis=1)
    times = pd.DatetimeIndex(stored.index)
    if (times[-1] - times[0]).days > 31:
        local = times.tz_convert(zone).floor("D", nonexistent="shift_forward", ambiguous=True).tz_convert("UTC")
        days = total.groupby(local).agg(["min", "mean", "max"])
        times = pd.DatetimeIndex(days.index)
        at = day_numbers(times)
        ax.fill_between(
            at, days["min"], days["max"], color=BATTERY, alpha=0.35, linewidth=0, label="range over the day"
        )
        ax.plot(at, days["mean"], color=BATTERY, linewidth=1.2, label="mean over the day")
    else:
        at, stack = day_numbers(times), total.to_numpy()
        kept = seen(stack)
        label = "all sites" if stored.shape[1] > 1 else "stored"
        ax.fill_between(at[kept], stack[kept], color=BATTERY, alpha=0.35, linewidth=0, label=label)
        ax.plot(at[kept], stack[kept], color=BATTERY, linewidth=1.2)
        for column, values in enumerate(stored.to_numpy().T if 1 < stored.shape[1] <= 40 else ()):
            kept = seen(values)
            label = "" if column else "each site"
            ax.plot(at[kept], values[kept], color=INK, linewidth=0.5, alpha=0.55, label=label)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("energy in batteries [kWh]")
    local_axis(ax, times, zone, told(window, whole, zone))
    shade(ax, window, times[-1])
    return finish(ax, title, f"Battery state{under(data)}", legend)


def import_by_hour(energy: pd.DataFrame, tz: str) -> pd.DataFrame:
    """Grid import of all sites [kWh], a row for each local hour, a column for each local day."""
    local = energy["time_utc"].dt.tz_convert(tz).dt.tz_localize(None)
    keyed = energy.assign(day=local.dt.normalize(), hour=local.dt.hour)
    table: pd.DataFrame = keyed.groupby(["hour", "day"])["grid_import_kwh"].sum().unstack("day").reindex(range(24))
    return table


def grid_heatmap(
    data: Any,
    ax: Axes | None = None,
    *,
    tz: str = "",
    darkest_kwh: float | None = None,
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Grid import of all sites by local hour and day: dark is where the sun does not reach.

    `darkest_kwh` is what the darkest shade stands for, so that two runs can be set side by side.
    """
    zone = zone_of(data, tz)
    window = window or window_of(data, zone)
    energy = cut(energy_of(data), window, ("site", "time_utc", "step_h", "grid_import_kwh"))
    mdates = dates()
    ax = axes_or_new(ax, height=3.4)
    table = import_by_hour(energy, zone)
    days = mdates.date2num(table.columns.to_numpy())
    edges = np.append(days, days[-1] + 1)
    mesh = ax.pcolormesh(
        edges,
        np.arange(25),
        np.ma.masked_invalid(table.to_numpy()),
        cmap="Blues",
        vmin=0,
        vmax=darkest_kwh,
        rasterized=True,
    )
    ax.xaxis_date()
    ax.set_yticks(range(0, 25, 6), [f"{hour:02d}:00" for hour in range(0, 25, 6)])
    ax.invert_yaxis()
    span = len(days)
    most = max(3, int(plot_inches(ax) / 0.6))
    locator: Any = mdates.DayLocator() if span <= min(10, most) else mdates.AutoDateLocator(minticks=3, maxticks=most)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.DateFormatter("%-d %b" if span < 300 else "%b %Y"))
    ax.set_xlabel(wrapped("local day" + told(window, energy_of(data), zone), ax, "axes.labelsize"))
    ax.set_ylabel(f"local hour ({zone})")
    if legend:
        ax.figure.colorbar(mesh, ax=ax, label="grid import [kWh/h]", pad=0.01)
    return finish(ax, title, f"When grid electricity is drawn{under(data)}", False)


def energy_by_site(data: Any, ax: Axes | None = None, *, title: str | None = None, legend: bool = True) -> Axes:
    """Sources of each site's load over the whole window, as stacked bars with the solar share at their end."""
    energy = energy_of(data)
    ax = axes_or_new(ax, height=0.8 + 0.28 * energy["site"].nunique())
    feeds = ("pv_to_load", "discharge", "import_to_load", "unserved")
    table = energy.groupby("site")[[f"{name}_kwh" for name in feeds] + ["discharge_pv_kwh", "site_kwh"]].sum()
    table = table.sort_values("site_kwh")
    left = np.zeros(len(table))
    for name in feeds:
        width = table[f"{name}_kwh"].to_numpy()
        if width.sum() <= 0:
            continue
        look = FLOWS[name]
        ax.barh(
            table.index, width, left=left, color=look.colour, hatch=look.hatch or None, label=look.label, height=0.72
        )
        left = left + width
    share = (table["pv_to_load_kwh"] + table["discharge_pv_kwh"]) / table["site_kwh"]
    for row, (end, value) in enumerate(zip(left, share, strict=True)):
        ax.annotate(
            f"{value:.0%}", (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    ax.margins(x=0.08, y=0.01)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("energy of the load [kWh]; at the end of each bar, the share of the sun")
    return finish(ax, title, f"Where each site's energy came from{under(data)}", legend)


def sun_and_load(
    data: Any,
    ax: Axes | None = None,
    *,
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """The mean local day of all sites, to the last job: the sun that there is, and the load that follows it or not."""
    zone = zone_of(data, tz)
    columns = ("site", "time_utc", "step_h", "pv_available_kwh", "site_kwh", "grid_import_kwh")
    energy = cut(energy_of(data), window or window_of(data, zone), columns)
    ax = axes_or_new(ax, height=3.2)
    local = energy["time_utc"].dt.tz_convert(zone)
    days = energy["step_h"].sum() / energy["site"].nunique() / 24
    hourly = energy.groupby(local.dt.hour)[["pv_available_kwh", "site_kwh", "grid_import_kwh"]].sum() / days
    hourly = hourly.reindex(range(24)).fillna(0.0)
    edges = np.arange(25)
    ax.stairs(hourly["pv_available_kwh"], edges, fill=True, color=SUN, alpha=0.6, label="PV available")
    ax.stairs(hourly["site_kwh"], edges, color=INK, linewidth=1.4, label="load")
    ax.stairs(
        hourly["grid_import_kwh"],
        edges,
        fill=True,
        color=FLOWS["import_to_load"].colour,
        alpha=0.85,
        label="grid import",
    )
    ax.set_xlim(0, 24)
    ax.set_xticks(range(0, 25, 3), [f"{hour:02d}:00" for hour in range(0, 25, 3)])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"local hour ({zone})")
    ax.set_ylabel("mean power [kW]")
    whose = " of all sites" if energy["site"].nunique() > 1 else ""
    return finish(ax, title, f"The mean day{whose}{under(data)}", legend)
