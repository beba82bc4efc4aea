"""The map of the sites, before a schematic outline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import GRID, MUTED, SUN, axes_or_new, energy_of, finish, under
from tafukt.simulator.units import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


OUTLINE = (
    # the Mediterranean coast, from east to west
    (-2.2, 35.1), (-2.9, 35.2), (-3.0, 35.4), (-3.3, 35.2), (-3.9, 35.2), (-4.6, 35.2), (-5.1, 35.4), (-5.3, 35.9),
    # the Atlantic coast, from north to south
    (-5.9, 35.8), (-6.2, 35.2), (-6.6, 34.3), (-6.9, 34.0), (-7.6, 33.6), (-8.5, 33.3), (-9.0, 32.7), (-9.3, 32.3),
    (-9.8, 31.5), (-9.9, 30.6), (-9.6, 30.4), (-9.8, 29.8), (-10.2, 29.4), (-11.1, 28.8), (-11.5, 28.3), (-12.1, 28.1),
    (-12.9, 27.9), (-13.2, 27.6), (-13.5, 26.7), (-14.5, 26.1), (-14.8, 25.3), (-15.1, 24.6), (-15.6, 24.0),
    (-15.8, 23.9), (-16.0, 23.6), (-15.8, 23.7), (-16.2, 23.0), (-16.3, 22.6), (-16.7, 22.3), (-16.9, 21.9),
    (-17.0, 21.4), (-17.1, 20.8),
    # inland, from south to north
    (-16.9, 21.3), (-13.0, 21.3), (-13.1, 22.8), (-12.9, 23.4), (-12.0, 23.5), (-12.0, 26.0), (-8.7, 26.0),
    (-8.7, 27.7), (-8.7, 28.8), (-7.1, 29.6), (-6.1, 29.7), (-5.2, 30.0), (-4.9, 30.5), (-3.7, 30.9), (-3.6, 31.6),
    (-3.1, 31.7), (-2.6, 32.1), (-1.3, 32.3), (-1.1, 32.7), (-1.4, 32.9), (-1.7, 33.9), (-1.8, 34.5), (-2.2, 35.1),
)  # fmt: skip
"""Longitude and latitude, to a tenth of a degree: enough to see where a site lies, and a claim to nothing."""


def site_map(
    data: Any,
    ax: Axes | None = None,
    *,
    places: Mapping[str, Mapping[str, Any]],
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """The sites where they lie: the disc is as large as the load, its filled part is the share of the sun.

    `places` has `lat`, `lon` [degrees] and maybe `title` of each site by name.
    """
    from matplotlib.patches import Circle, Wedge

    energy = energy_of(data)
    missing = sorted(set(energy["site"].unique()) - {name for name, place in places.items() if "lat" in place})
    if missing:
        raise ValueError(f"no coordinates of {', '.join(missing)}")
    ax = axes_or_new(ax, width=6.0, height=6.0)
    table = energy.groupby("site")[["site_kwh", "pv_to_load_kwh", "discharge_pv_kwh"]].sum()
    lats = np.array([float(places[name]["lat"]) for name in table.index])
    lons = np.array([float(places[name]["lon"]) for name in table.index])
    squeeze = math.cos(math.radians(float(lats.mean())))
    xs = lons * squeeze
    span = max(float(np.ptp(xs)), float(np.ptp(lats)), 1.0)
    largest = table["site_kwh"].max() or 1.0
    radii = 0.034 * span * np.sqrt(table["site_kwh"].to_numpy() / largest)
    shares = (table["pv_to_load_kwh"] + table["discharge_pv_kwh"]) / table["site_kwh"].where(table["site_kwh"] > 0)
    for radius, share, x, y in zip(radii, shares.fillna(0.0), xs, lats, strict=True):
        ax.add_patch(Circle((x, y), radius, facecolor=GRID, edgecolor="white", linewidth=0.8, zorder=2))
        if share > 0:
            ax.add_patch(Wedge((x, y), radius, 90 - 360 * min(share, 1), 90, facecolor=SUN, linewidth=0, zorder=3))
    names = [f"{places[str(name)].get('title') or name} {share:.0%}" for name, share in shares.fillna(0.0).items()]
    for name, x, y, (dx, dy, across) in zip(names, xs, lats, _beside(xs, lats, radii, names, span), strict=True):
        ax.text(x + dx, y + dy, name, ha=across, va="center", fontsize=8, zorder=4)
    if any(-18 < place["lon"] < 0 and 20 < place["lat"] < 37 for place in (places[str(name)] for name in table.index)):
        _draw_outline(ax, squeeze)
    pad = 0.09 * span
    ax.set_aspect("equal")
    ax.grid(True)
    degrees = np.arange(math.floor(lons.min()) - 2, math.ceil(lons.max()) + 6)
    ax.set_xticks(degrees[degrees % 2 == 0] * squeeze, [f"{value}°" for value in degrees[degrees % 2 == 0]])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}°")
    ax.set_xlim(float(xs.min()) - pad, float(xs.max()) + 2.6 * pad)
    ax.set_ylim(float(lats.min()) - pad, float(lats.max()) + pad)
    ax.set_xlabel("longitude")
    ax.set_ylabel("latitude")
    handles = [
        Circle((0, 0), facecolor=SUN, label="sun, also through the battery"),
        Circle((0, 0), facecolor=GRID, label="grid"),
    ]
    return finish(ax, title, f"Share of the sun in each site's load{under(data)}", legend, handles)


def _draw_outline(ax: Axes, squeeze: float) -> None:
    """Put the outline behind the sites; what of it lies outside the map is cut off."""
    lons, lats = np.array(OUTLINE).T
    ax.fill(lons * squeeze, lats, facecolor=MUTED, alpha=0.08, linewidth=0, zorder=0)
    ax.plot(lons * squeeze, lats, color=MUTED, linewidth=0.8, zorder=1)
    ax.text(0.99, 0.01, "schematic outline", transform=ax.transAxes, ha="right", va="bottom", fontsize=7, color=MUTED)


def _beside(xs: Floats, ys: Floats, radii: Floats, names: Sequence[str], span: float) -> list[tuple[float, float, str]]:
    """Offset and alignment of each label: the first side of its disc where it covers nothing."""
    high, wide = 0.026 * span, 0.0158 * span
    taken = [(x - r, x + r, y - r, y + r) for x, y, r in zip(xs, ys, radii, strict=True)]
    found = []
    for x, y, radius, name in zip(xs, ys, radii, names, strict=True):
        gap, length = radius + 0.3 * high, wide * len(name)
        sides = [
            (gap, 0.0, "left"),
            (-gap, 0.0, "right"),
            (0.0, gap + high / 2, "center"),
            (0.0, -gap - high / 2, "center"),
        ]
        boxes = []
        for dx, dy, across in sides:
            left = x + dx - {"left": 0.0, "right": 1.0, "center": 0.5}[across] * length
            boxes.append((left, left + length, y + dy - high / 2, y + dy + high / 2))
        crossed = [sum(_cross(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(crossed))
        taken.append(boxes[best])
        found.append(sides[best])
    return found


def _cross(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return one[0] < two[1] and two[0] < one[1] and one[2] < two[3] and two[2] < one[3]
