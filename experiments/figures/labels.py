"""Names beside what they name: beside points, where they cover nothing, and at the ends of lines, spread apart.

Positions are found in points on the laid-out figure, with widths of text estimated from the number of letters, so
that the result is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import MUTED
from tafukt.simulator.units import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RADII = (6.0, 10.0, 15.0, 21.0, 28.0, 36.0, 46.0, 58.0, 72.0, 90.0, 110.0, 135.0, 165.0)
DIRECTIONS = np.deg2rad(
    [0, 180, *(side + sign * lift for lift in (15, 30, 45, 60, 75) for side in (0, 180) for sign in (1, -1)), 90, -90]
)
LETTER = 0.58
"""Width of a letter over the font's size."""


def beside_points(ax: Axes, points: Floats, names: Sequence[str], colours: Sequence[str], size: float = 7.5) -> None:
    """Write a name beside each point, first come first served: the nearest place where it covers nothing.

    `points` are data coordinates, shape (n, 2); a thin line leads to the point from a name further off.
    """
    scale = 72.0 / ax.figure.dpi
    _place(ax)
    at = ax.transData.transform(points) * scale
    box = ax.get_window_extent()
    frame = np.array([box.x0, box.x1, box.y0, box.y1]) * scale
    taken = [(x - 3.5, x + 3.5, y - 3.5, y + 3.5) for x, y in at]
    for (x, y), place, name, colour in zip(at, points, names, colours, strict=True):
        if not np.isfinite([x, y]).all():
            continue
        boxes, offsets = _candidates(x, y, LETTER * size * len(name), 1.1 * size)
        chosen = int(np.argmin(_covered(boxes, np.array(taken), frame) + 0.004 * np.hypot(*offsets.T)))
        taken.append(tuple(boxes[chosen]))
        dx, dy = offsets[chosen]
        across = "center" if abs(dx) < 1e-6 else "left" if dx > 0 else "right"
        far = float(np.hypot(dx, dy)) > RADII[1]
        ax.annotate(
            name,
            (float(place[0]), float(place[1])),
            xytext=(float(dx), float(dy)),
            textcoords="offset points",
            ha=across,
            va="center",
            fontsize=size,
            color=colour,
            parse_math=False,
            zorder=5,
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.4, "shrinkA": 0, "shrinkB": 3} if far else None,
        ).set_in_layout(False)


def _candidates(x: float, y: float, width: float, height: float) -> tuple[Floats, Floats]:
    """Boxes (left, right, bottom, top) around a point, nearest first, and the offsets of their anchors."""
    offsets = np.array([(r * np.cos(a), r * np.sin(a)) for r in RADII for a in DIRECTIONS])
    offsets[np.abs(offsets) < 1e-6] = 0.0
    dx, dy = offsets.T
    left = np.where(dx > 0, x + dx, np.where(dx < 0, x + dx - width, x - width / 2))
    return np.column_stack((left, left + width, y + dy - height / 2, y + dy + height / 2)), offsets


def _covered(boxes: Floats, taken: Floats, frame: Floats) -> Floats:
    """The area [points^2] that each box shares with what is there, and ten times what of it lies outside."""
    wide = np.minimum(boxes[:, None, 1], taken[None, :, 1]) - np.maximum(boxes[:, None, 0], taken[None, :, 0])
    high = np.minimum(boxes[:, None, 3], taken[None, :, 3]) - np.maximum(boxes[:, None, 2], taken[None, :, 2])
    shared: Floats = (np.clip(wide, 0, None) * np.clip(high, 0, None)).sum(axis=1)
    inside_x = np.minimum(boxes[:, 1], frame[1]) - np.maximum(boxes[:, 0], frame[0])
    inside_y = np.minimum(boxes[:, 3], frame[3]) - np.maximum(boxes[:, 2], frame[2])
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    total: Floats = shared + 10.0 * (area - np.clip(inside_x, 0, None) * np.clip(inside_y, 0, None))
    return total


def at_line_ends(
    ax: Axes, ends: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str], size: float = 7.5
) -> None:
    """Write a name to the right of the plot for each line, at the height of its end or as near as others leave room."""
    if len(ends) > 1:  # a name alone needs no room, and so no layout
        _place(ax)
    ax.autoscale_view()
    height = ax.get_window_extent().height * 72.0 / ax.figure.dpi
    fractions = [float(ax.transAxes.inverted().transform(ax.transData.transform(end))[1]) for end in ends]
    for end, name, colour, y in zip(ends, names, colours, spread(fractions, 1.15 * size / height), strict=True):
        ax.annotate(
            name,
            end,
            xytext=(1.03, y),
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=colour,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "shrinkA": 0, "shrinkB": 2},
        )


def _place(ax: Axes) -> None:
    """Put the axes where the layout wants them: to draw the figure for that, without ink, takes twice as long."""
    figure: Any = ax.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    else:
        figure.draw_without_rendering()


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places moved apart until neighbours keep a gap, each as near to where it was as the others allow.

    Neighbours that are too near are pooled into a block whose middle is the mean of where they want to be.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[int]] = []

    def low(block: list[int]) -> float:
        return sum(places[index] for index in block) / len(block) - gap * (len(block) - 1) / 2

    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and low(blocks[-2]) + gap * len(blocks[-2]) > low(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    found = list(places)
    for block in blocks:
        for rank, index in enumerate(block):
            found[index] = low(block) + gap * rank
    return found
