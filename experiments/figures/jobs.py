"""Figures of the jobs: where and when they ran, how long they waited, what energy they were given."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tafukt.experiments.figures.style import (
    FLOWS,
    GREYED,
    INK,
    MOST_IN_COLOUR,
    MUTED,
    SUN,
    axes_or_new,
    day_numbers,
    finish,
    local_axis,
    named,
    series,
    under,
    zone_of,
)
from tafukt.experiments.figures.thinning import POINTS_MOST, seen
from tafukt.experiments.figures.window import Window, cut, shade, told, window_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ENDS = ("pause", "move", "kill", "end", "resize")
GANTT_LIMIT = 40_000
GANTT_DAYS = 31.0
GANTT_PART = 14
GANTT_COLUMNS = ("site", "time_h", "time_utc", "step_h", "pv_available_kwh", "online_gpus")
BAND, STRIP = 0.66, 0.2


class Stay(NamedTuple):
    """A stay of a job on a site: begin and end are days of matplotlib, `solar` is the sun's share of its energy."""

    begin: float
    job: str
    end: float
    site: str
    gpus: int
    solar: float


def stays(jobs: pd.DataFrame, events: pd.DataFrame, last: Any) -> list[Stay]:
    """Every stay of a job on a site that begins no later than `last`, by begin; what has no end ends there.

    From the events where they were written, else from first start to end, with pauses and moves lost. Plain lists,
    since a page asks for those of up to two dozen runs: by way of data frames it takes four times as long.
    """
    energy = jobs["energy_kwh"].to_numpy(np.float64)
    sunny = (jobs["pv_kwh"] + jobs["battery_pv_kwh"]).to_numpy(np.float64)
    solar = np.divide(sunny, energy, out=np.zeros(len(energy)), where=energy > 0).tolist()
    names, gpus = _texts(jobs["job"]), jobs["gpus"].tolist()
    known = dict(zip(names, zip(gpus, solar, strict=True), strict=True))
    moved = events[events["kind"].isin(("start", *ENDS))]
    found = list(_from_events(*(_texts(moved[name]) for name in ("kind", "job", "site"))))
    until = float(day_numbers([last])[0])
    if found:
        times = [*day_numbers(moved["time_utc"]).tolist(), until]  # the place -1 is no event
        made = [Stay(times[begin], job, times[end], site, *known[job]) for job, site, begin, end in found]
    else:
        begins, ends = day_numbers(jobs["start_utc"]).tolist(), day_numbers(jobs["end_utc"].fillna(last)).tolist()
        rows = zip(begins, names, ends, _texts(jobs["site"]), gpus, solar, strict=True)
        made = [Stay(*row) for row in rows if not math.isnan(row[0])]
    return sorted(stay for stay in made if stay.begin <= until)


def _texts(column: pd.Series[str]) -> list[str]:
    texts: list[str] = column.to_numpy(dtype=object).tolist()
    return texts


def _from_events(
    kinds: Sequence[str], jobs: Sequence[str], sites: Sequence[str]
) -> Iterator[tuple[str, str, int, int]]:
    """Pairs of a begin and the next end of the same job, as places of events; -1 is an end that the window cuts off."""
    running: dict[str, tuple[str, int]] = {}
    for place, (kind, job, site) in enumerate(zip(kinds, jobs, sites, strict=True)):
        if not job:
            continue
        if kind == "start":
            running[job] = (site, place)
        elif job in running:
            where, begin = running.pop(job)
            yield job, where, begin, place
            if kind == "resize":
                running[job] = (where, place)
    for job, (where, begin) in running.items():
        yield job, where, begin, -1


def by_site(found: Sequence[Stay], most: int = GANTT_LIMIT) -> dict[str, list[Stay]]:
    """The first so many stays, by site."""
    here: dict[str, list[Stay]] = {}
    for stay in found[:most]:
        here.setdefault(stay.site, []).append(stay)
    return here


def gantt(
    run: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    tz: str = "",
    window: Window | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Jobs on the GPUs of each site over time, coloured by the sun's share of their energy, beside its sun.

    `run` holds the tables `jobs`, `events` and `energy`. Each site is a band as high as its GPUs, with its
    sun as a strip above; lanes within it are chosen for the eye, they are not the nodes.
    """
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.collections import PolyCollection

    zone = zone_of(run, tz)
    window = window or window_of(run, zone)
    whole = run["energy"]
    energy, part = _first_part(cut(whole, window, GANTT_COLUMNS))
    sites = energy["site"].unique().tolist()
    ax = axes_or_new(ax, height=1.2 + 0.5 * len(sites))
    last = energy["time_utc"].max() + pd.Timedelta(hours=float(energy["step_h"].iloc[-1]))
    right = float(day_numbers([last])[0])
    most = energy.groupby("site")["online_gpus"].max()
    found = by_site(stays(run["jobs"], run["events"], last))
    boxes: list[tuple[float, ...]] = []
    peak = energy["pv_available_kwh"].max() or 1.0
    for row, (site, here) in enumerate(energy.groupby("site", sort=False)):
        base = len(sites) - 1 - row
        step: Any = "post" if len(here) <= POINTS_MOST else None  # steps between what is left of them would look rough
        here = here.iloc[seen(here["pv_available_kwh"].to_numpy())]
        sun = base + BAND + here["pv_available_kwh"].to_numpy() / peak * STRIP
        ax.fill_between(day_numbers(here["time_utc"]), base + BAND, sun, step=step, color=SUN, linewidth=0)
        ax.axhspan(base, base + BAND, color="#F4F4F4", zorder=0, linewidth=0)
        gpus = max(int(most[site]), 1)
        for _, x0, x1, low, high, share in lanes(found.get(str(site), ()), gpus):
            boxes.append((x0, min(x1, right), base + low / gpus * BAND, base + high / gpus * BAND, share))
    left, end, bottom, top, shares = np.array(boxes, dtype=np.float64).reshape(-1, 5).T
    corners: Any = np.stack([[left, left, end, end], [bottom, top, top, bottom]]).transpose(2, 1, 0)
    shades = mpl.colormaps["cividis"]
    bars = PolyCollection(
        corners, array=shares, cmap=shades, clim=(0, 1), edgecolors="white", linewidths=0.15, zorder=2
    )
    bars.set_rasterized(len(boxes) > 1500)
    ax.add_collection(bars, autolim=False)
    ax.set_yticks([len(sites) - 1 - row + BAND / 2 for row in range(len(sites))], sites)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.08, len(sites))
    local_axis(ax, energy["time_utc"], zone, "" if part else told(window, whole, zone))
    shade(ax, window, last)
    if legend:
        ax.figure.colorbar(bars, ax=ax, label="sun share of a job's energy", pad=0.01, aspect=40)
    of_each = " of each site" if len(sites) > 1 else ""
    return finish(ax, title, f"Jobs on the GPUs{of_each}, and the sun{under(run)}{part}", False)


def _first_part(energy: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The first two weeks of a run of more than a month, which would be a blur; and what the title says of it."""
    times = energy["time_utc"]
    if (times.max() - times.min()).total_seconds() <= GANTT_DAYS * 86_400:
        return energy, ""
    first = energy[energy["time_h"] < energy["time_h"].min() + GANTT_PART * 24]
    return first, f": the first {GANTT_PART} days"


def lanes(stays_here: Iterable[Stay], gpus: int) -> Iterator[tuple[str, float, float, int, int, float]]:
    """Boxes (job, begin, end, lowest lane, one past the highest, solar share) of the stays of one site, by begin.

    A job whose lanes do not lie together has several boxes; begin and end are days of matplotlib.
    """
    free_at = [-math.inf] * gpus
    free = (1 << gpus) - 1  # a bit for each lane: side by side is found by shifts, whatever the number of lanes
    ending: list[tuple[float, int]] = []
    shared = False
    for begin, job, end, _, need, share in stays_here:
        while ending and ending[0][0] <= begin + 1e-9:
            ended, over = heapq.heappop(ending)
            free |= over if not shared else sum(1 << lane for lane in _bits(over) if free_at[lane] == ended)
        if free.bit_count() < need:  # the job was given fewer GPUs than it asked for
            shared = True
            taken = _spans(sorted(sorted(range(gpus), key=free_at.__getitem__)[: int(need)]))
        else:
            taken = _together(free, int(need))
        held = 0
        for low, high in taken:
            free_at[low:high] = [end] * (high - low)
            held |= (1 << high) - (1 << low)
            yield job, begin, end, low, high, share
        free &= ~held
        heapq.heappush(ending, (end, held))


def _together(free: int, need: int) -> list[tuple[int, int]]:
    """Lanes side by side where there are, else the lowest ones, as (first, one past the last)."""
    starts, length = free, 1
    while length < need:
        more = min(length, need - length)
        starts &= starts >> more
        length += more
    if starts and need:
        first = (starts & -starts).bit_length() - 1
        return [(first, first + need)]
    return _spans(list(islice(_bits(free), need)))


def _bits(lanes: int) -> Iterator[int]:
    """The lanes that have a bit, the lowest first."""
    while lanes:
        yield (lanes & -lanes).bit_length() - 1
        lanes &= lanes - 1


def _spans(lanes: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring lanes, as (first, one past the last)."""
    found: list[tuple[int, int]] = []
    for lane in lanes:
        if found and found[-1][1] == lane:
            found[-1] = (found[-1][0], lane + 1)
        else:
            found.append((lane, lane + 1))
    return found


def waiting_cdf(
    runs: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    title: str | None = None,
    legend: bool = True,
    policies: Sequence[str] | None = None,
) -> Axes:
    """The share of jobs that waited no longer than so many hours, one line per run (name -> jobs table).

    `policies` are those in colour, the others are grey; more than eight are better told apart by `waiting_rows`.
    """
    ax = axes_or_new(ax, width=5.0, height=3.4)
    longest = 0.0
    for index, (name, jobs) in enumerate(runs.items()):
        wait = np.sort(jobs["wait_h"].dropna().to_numpy())
        if not len(wait):
            continue
        longest = max(longest, float(wait[-1]))
        look, grey = series(index), policies is not None and name not in policies
        ax.step(
            np.concatenate(([0.0], wait)),
            np.concatenate(([0.0], np.arange(1, len(wait) + 1) / len(wait))),
            where="post",
            color=GREYED if grey else look.colour,
            linestyle=look.stroke,
            linewidth=0.7 if grey else None,
            label=named(str(name)),
        )
    _waiting_axis(ax, longest)
    ax.set_ylim(0, 1.005)
    ax.set_ylabel("share of jobs")
    if legend and ax.lines:
        ax.legend(loc="lower right", fontsize="small", frameon=False, ncols=1 + len(ax.lines) // (MOST_IN_COLOUR + 1))
    return finish(ax, title, "How long jobs wait", False)


def waiting_rows(
    runs: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    title: str | None = None,
    legend: bool = True,
    policies: Sequence[str] | None = None,
) -> Axes:
    """Waiting times under many policies, a row each: median, mean, and from the 5th to the 95th percentile.

    `policies` are those in full colour, the others are grey.
    """
    found = {name: jobs["wait_h"].dropna().to_numpy() for name, jobs in runs.items()}
    found = dict(sorted(((n, w) for n, w in found.items() if len(w)), key=lambda item: float(np.mean(item[1]))))
    ax = axes_or_new(ax, width=6.0, height=0.9 + 0.17 * len(found))
    longest = 0.0
    for row, (name, waits) in enumerate(found.items()):
        low, middle, high = np.percentile(waits, (5, 50, 95))
        longest = max(longest, float(high), float(np.mean(waits)))
        colour = INK if policies is None or name in policies else GREYED
        said = legend and row == 0
        ax.plot((low, high), (row, row), color=colour, linewidth=1.2, label="5th to 95th percentile" if said else "")
        ax.plot(middle, row, "|", color=colour, markersize=8, label="median" if said else "")
        ax.plot(np.mean(waits), row, "D", color=SUN, markeredgecolor=colour, markersize=4, label="mean" if said else "")
    _waiting_axis(ax, longest)
    ax.set_yticks(range(len(found)), list(found))
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set_ylim(len(found) - 0.4, -0.6)
    return finish(ax, title, "How long jobs wait", legend)


def _waiting_axis(ax: Axes, longest: float) -> None:
    """Hours from submission to first start, minutes and weeks alike."""
    ax.set_xscale("symlog", linthresh=0.1, linscale=0.4)
    ticks = [0, 0.1, 0.5, 1, 2, 6, 12, 24, 48, 96, 168, 336]
    ax.set_xticks([tick for tick in ticks if tick <= max(longest, 0.1)])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.minorticks_off()
    ax.set_xlim(0, max(longest, 0.1) * 1.05)
    ax.grid(True)
    ax.set_xlabel("time from submission to first start [h]")


def attribution(
    run: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    by: str = "job_class",
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Sources of the jobs' energy, by a column of the jobs table, and of what the sites keep themselves.

    `run` holds the tables `jobs` and `energy`. At its end each bar says grams of CO2 per kWh.
    """
    jobs, energy = run["jobs"], run["energy"]
    parts = {
        "pv_to_load": "pv_kwh",
        "discharge": "battery_kwh",
        "import_to_load": "grid_kwh",
        "unserved": "unserved_kwh",
    }
    columns = [*parts.values(), "energy_kwh", "emissions_kg"]
    table = jobs.groupby(jobs[by].replace("", "(none)"))[columns].sum().sort_values("energy_kwh")
    table = table.tail(16)
    own = energy[[f"rest_{name}" for name in columns]].sum()
    own.index = columns
    table.loc["idle and base load"] = own
    table = table.iloc[[-1, *range(len(table) - 1)]]
    ax = axes_or_new(ax, height=1.0 + 0.3 * len(table))
    left = np.zeros(len(table))
    for flow, column in parts.items():
        width = table[column].to_numpy()
        if width.sum() <= 0:
            continue
        look = FLOWS[flow]
        ax.barh(
            table.index, width, left=left, color=look.colour, hatch=look.hatch or None, label=look.label, height=0.72
        )
        left = left + width
    for row, (end, grams, kwh) in enumerate(zip(left, table["emissions_kg"] * 1000, table["energy_kwh"], strict=True)):
        text = f"{grams / kwh:.0f} g/kWh" if kwh > 0 else ""
        ax.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    ax.axhline(0.5, color=MUTED, linewidth=0.7, linestyle=":")
    ax.margins(x=0.14, y=0.01)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("energy attributed [kWh]; at the end of each bar, its emissions")
    return finish(ax, title, f"Energy attributed, by {by.replace('_', ' ')}{under(run)}", legend)
