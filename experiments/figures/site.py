"""A site's year in one figure: sun by hour and day, yield by month, temperature and PUE, the tariff clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import COOL, FAINT, INK, SUN, WARM
from tafukt.sites.profile import Floats
from tafukt.sites.schema.grid import band_table
from tafukt.sites.site import SiteModel
from tafukt.sites.supply import supply
from tafukt.sites.time_grid import DAY_S, months_of, utc_offsets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEP_S = 900
_BANDS = (COOL, "#edc35a", WARM, "#6a994e", "#8d6a9f", "#5c8f94")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STYLE: Any = {
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Year:
    """A year of a site by local day and hour.

    `ghi` and `temp_air` have shape (days, steps of a day); `yield_kwh_kwp` and `pue` are by month and by day.
    """

    days: Floats
    ghi: Floats
    temp_air: Floats
    pue: Floats
    yield_kwh_kwp: Floats


def year_of(site: SiteModel, year: int, seed: int = 1, cache: Path | None = None) -> Year:
    """A site's calendar year, by its own clock."""
    start = datetime(year, 1, 1, tzinfo=UTC) - timedelta(days=1)
    count = 365 + (year % 4 == 0)
    found = supply([site], start, count + 2, _STEP_S, seed, cache)[site.name]
    begins = np.arange(len(found.ghi.values), dtype=np.int64) * _STEP_S + int(start.timestamp())
    local = begins + utc_offsets(site.tz, begins)
    first = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // DAY_S
    per_day = DAY_S // _STEP_S
    cell = local // _STEP_S - first * per_day
    inside = (cell >= 0) & (cell < count * per_day)
    grids = []
    for values in (found.ghi.values, found.temp_air_c.values, found.overhead.values, found.pv_w.values):
        # an hour that the clock skips keeps the value before it
        grid = np.full(count * per_day, np.nan)
        grid[cell[inside]] = values[inside]
        for hole in np.flatnonzero(np.isnan(grid)):
            grid[hole] = grid[hole - 1]
        grids.append(grid.reshape(count, per_day))
    ghi, temp, overhead, pv_w = grids
    months = months_of(np.arange(first, first + count))
    daily = pv_w.sum(axis=1) * _STEP_S / 3.6e6 / max(site.pv_kwp, 1e-9)
    monthly = np.bincount(months - 1, daily, 12) if site.pv_kwp > 0 else np.zeros(12)
    days = np.arange(first, first + count).astype(np.float64)
    return Year(days, ghi, temp, 1.0 + overhead.mean(axis=1), np.asarray(monthly, dtype=np.float64))


def figure(site: SiteModel, year: int = 2025, seed: int = 1, cache: Path | None = None) -> Figure:
    """A figure of a site's year."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    data = year_of(site, year, seed, cache)
    with mpl.rc_context(_STYLE):
        canvas = NewFigure(figsize=(12.0, 8.2), facecolor="white")
        _sun(canvas.add_axes((0.06, 0.535, 0.86, 0.345)), canvas.add_axes((0.935, 0.535, 0.012, 0.345)), data, site)
        _yield(canvas.add_axes((0.06, 0.07, 0.25, 0.325)), data, site)
        _heat(canvas.add_axes((0.385, 0.07, 0.29, 0.325)), data)
        _clock(canvas.add_axes((0.745, 0.088, 0.235, 0.285), projection="polar"), site, data)
        north, east = ("N" if site.lat >= 0 else "S"), ("E" if site.lon >= 0 else "W")
        place = f"{abs(site.lat):.2f}° {north}, {abs(site.lon):.2f}° {east}"
        size = f"{site.pv_kwp:g} kWp for {site.gpus} GPUs"
        canvas.text(0.06, 0.955, site.title or site.name, fontsize=19, fontweight="bold")
        canvas.text(0.947, 0.955, f"{place}  ·  {size}  ·  {year}", fontsize=10.5, color=FAINT, ha="right")
    return canvas


def _titled(axes: Any, title: str, note: str) -> None:
    """A title with a fainter line below it, both above the axes, in points so that panels match."""
    for text, lift, style in ((title, 21, {"fontsize": 11, "fontweight": "bold"}), (note, 8, {"color": FAINT})):
        axes.annotate(
            text,
            (0.0, 1.0),
            xytext=(0, lift),
            xycoords="axes fraction",
            textcoords="offset points",
            **({"fontsize": 8.5} | style),
        )


def _month_middles(days: Floats) -> Floats:
    months = months_of(days.astype(np.int64))
    return np.array([np.flatnonzero(months == month).mean() + 0.5 for month in range(1, 13)])


def _sun(axes: Any, bar_axes: Any, data: Year, site: SiteModel) -> None:
    image = axes.imshow(
        data.ghi.T,
        origin="lower",
        aspect="auto",
        cmap="inferno",
        vmin=0,
        vmax=1050,
        extent=(0, len(data.days), 0, 24),
        interpolation="nearest",
    )
    axes.set_xticks(_month_middles(data.days), _MONTHS)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks(range(0, 25, 6))
    axes.set_ylabel("local hour")
    axes.spines[:].set_visible(False)
    _titled(axes, "Sun on the horizontal, by day and hour", f"GHI [W/m²], {site.weather.kind}, {site.tz}")
    offsets = utc_offsets(site.tz, (data.days * DAY_S).astype(np.int64) + DAY_S // 2)
    usual = np.bincount(offsets - offsets.min()).argmax() + offsets.min()
    other = np.flatnonzero(offsets != usual)
    if len(other):
        middle, hours = (other[0] + other[-1]) / 2, int(offsets[other[0]]) / 3600
        axes.text(middle, 1.2, f"clock at UTC{hours:+g}", color="white", alpha=0.75, ha="center", fontsize=8.5)
    bar = axes.figure.colorbar(image, cax=bar_axes)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 500, 1000])


def _yield(axes: Any, data: Year, site: SiteModel) -> None:
    axes.bar(range(12), data.yield_kwh_kwp, color=SUN, width=0.78)
    axes.set_xticks(range(12), [name[0] for name in _MONTHS])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("AC yield [kWh/kWp]")
    published = site.climate.pv_yield_kwh_kwp_y if site.climate else None
    note = f"{data.yield_kwh_kwp.sum():,.0f} kWh/kWp in the year"
    if published:
        axes.axhline(published / 12, color=INK, lw=1, ls=(0, (4, 3)))
        note += f"; published {published:,.0f} (dashed / 12)"
    axes.set_ylim(0, 1.08 * max(1.0, data.yield_kwh_kwp.max(), (published or 0) / 12))
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= axes.get_ylim()[1]])
    _titled(axes, "Yield by month", note)


def _heat(axes: Any, data: Year) -> None:
    day = np.arange(len(data.days))
    low, high, mean = data.temp_air.min(axis=1), data.temp_air.max(axis=1), data.temp_air.mean(axis=1)
    axes.fill_between(day, low, high, color=WARM, alpha=0.25, lw=0)
    axes.plot(day, mean, color=WARM, lw=1.0)
    axes.set_xticks(_month_middles(data.days), [name[0] for name in _MONTHS])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(0, len(day))
    axes.set_ylabel("outdoor air [°C]", color=WARM, loc="top")
    span = high.max() - low.min()
    axes.set_ylim(low.min() - 0.75 * span, high.max() + 0.03 * span)
    axes.set_yticks([tick for tick in range(-30, 60, 10) if low.min() - 4 <= tick <= high.max() + 3])
    other = axes.twinx()
    other.spines[:].set_visible(False)
    reach = max(data.pue.max() - 1.0, 0.04)
    other.fill_between(day, 1.0, data.pue, color=COOL, alpha=0.18, lw=0)
    other.plot(day, data.pue, color=COOL, lw=1.0)
    other.set_ylim(1.0, 1.0 + 2.6 * reach)
    other.set_yticks(np.arange(1.0, 1.0 + 1.2 * reach, 0.1 if reach > 0.12 else 0.05).tolist())
    other.set_ylabel("PUE", color=COOL, loc="bottom")
    note = f"{mean.mean():.1f} °C on average, daily range shaded; PUE {data.pue.mean():.3f}"
    _titled(axes, "Heat, and what cooling takes", note)


def _clock(axes: Any, site: SiteModel, data: Year) -> None:
    """Tariff bands around a 24-hour dial, winter inside, summer outside; the sun of both in the middle."""
    tariff = site.tariff
    table = band_table(tariff)
    order = np.argsort(np.argsort([band.mad_per_kwh for band in tariff.bands]))
    colour = [_BANDS[int(place) % len(_BANDS)] for place in order]
    turn = 2 * np.pi / table.shape[1]
    for season, bottom in ((0, 0.70), (1, 0.865)):
        edges = np.append(np.flatnonzero(np.diff(table[season], prepend=-1)), table.shape[1])
        for first, last in pairwise(edges):
            paint, width = colour[int(table[season, first])], (last - first) * turn
            axes.bar((first + last) / 2 * turn, 0.15, width=width, bottom=bottom, color=paint, lw=0)
    months = months_of(data.days.astype(np.int64))
    dial = np.linspace(0, 2 * np.pi, data.ghi.shape[1] + 1)
    top = max(data.ghi[months == 6].mean(axis=0).max(), data.ghi[months == 12].mean(axis=0).max(), 1.0)
    for month, alpha in ((6, 0.40), (12, 0.85)):
        sun = np.convolve(data.ghi[months == month].mean(axis=0), np.full(5, 0.2), mode="same")  # five quarters
        shape = sun / top * 0.62
        axes.fill(dial, np.append(shape, shape[0]), color=SUN, alpha=alpha, lw=0)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(np.arange(0, 24, 3) / 24 * 2 * np.pi, [f"{hour}" for hour in range(0, 24, 3)])
    axes.tick_params(axis="x", pad=-1)
    axes.set_yticks([])
    axes.set_ylim(0, 1.02)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    canvas = axes.figure
    canvas.text(0.735, 0.4306, "Tariff clock", fontsize=11, fontweight="bold")
    canvas.text(0.735, 0.4086, "rings: winter, summer; core: sun, Jun and Dec", fontsize=8.5, color=FAINT)
    dearest_first = sorted(range(len(colour)), key=lambda b: -tariff.bands[b].mad_per_kwh)
    for place, number in enumerate(dearest_first[:4]):
        band = tariff.bands[number]
        text = f"{band.name} {band.mad_per_kwh:.2f}"
        style = {"color": colour[number], "fontsize": 9, "fontweight": "bold"}
        canvas.text(0.735 + 0.0875 * place, 0.035, text, **style)
    canvas.text(0.735, 0.012, "MAD/kWh", fontsize=8.5, color=FAINT)
