"""Draw against waiting as points that a page can highlight: plain numbers for an inline SVG, scenario by scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import SERIES, series

if TYPE_CHECKING:
    import pandas as pd

WIDTH_PX, HEIGHT_PX = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 150, 44, 62
"""Room for the words around the plot, which are half as large again on a phone."""


def points(means: pd.DataFrame) -> dict[str, Any] | None:
    """Points of a table of means in the picture, with the ticks of both axes.

    `means` has the columns `group`, `policy`, `wait_mean_h` and `draw_kwh`; `None` where fewer than two can be drawn.
    """
    known = means[means["wait_mean_h"].notna() & means["draw_kwh"].notna()]
    if known["policy"].nunique() < 2:
        return None
    across = _ticks(float(known["wait_mean_h"].min()), float(known["wait_mean_h"].max()))
    up = _ticks(float(known["draw_kwh"].min()), float(known["draw_kwh"].max()))
    names = list(dict.fromkeys(known["policy"]))
    found = []
    for _, row in known.iterrows():
        found.append(
            {
                "group": row["group"],
                "policy": row["policy"],
                "x": round(_along(float(row["wait_mean_h"]), across, LEFT, WIDTH_PX - RIGHT), 1),
                "y": round(_along(float(row["draw_kwh"]), up, HEIGHT_PX - BOTTOM, TOP), 1),
                "colour": _colour(names.index(row["policy"])),
                "said": f"{row['policy']}: {row['draw_kwh']:,.0f} kWh, waits {row['wait_mean_h']:.2f} h",
            }
        )
    for point, height in zip(found, _label_heights(found), strict=True):
        point["label_y"] = height
    return {
        "points": found,
        "across": [{"at": round(_along(t, across, LEFT, WIDTH_PX - RIGHT), 1), "text": f"{t:g}"} for t in across],
        "up": [{"at": round(_along(t, up, HEIGHT_PX - BOTTOM, TOP), 1), "text": f"{t:,.0f}"} for t in up],
        "width": WIDTH_PX,
        "height": HEIGHT_PX,
        "left": LEFT,
        "right": WIDTH_PX - RIGHT,
        "top": TOP,
        "bottom": HEIGHT_PX - BOTTOM,
    }


LETTER_PX, LINE_PX = 6.6, 13.0
"""Width of a letter and height of a line in the picture, of letters of 12 px."""


def _label_heights(found: Sequence[Mapping[str, Any]]) -> list[float]:
    """Heights of the names' baselines: beside their points, or the next line up or down that is free."""
    taken: list[tuple[float, float, float]] = []
    heights = []
    for point in found:
        left, right = point["x"] + 10, point["x"] + 10 + LETTER_PX * len(point["policy"])
        for lines in (0, 1, -1, 2, -2, 3, -3, 0):
            height = point["y"] + 4 + lines * LINE_PX
            if not any(left < end and right > begin and abs(height - y) < LINE_PX - 0.5 for begin, end, y in taken):
                break
        taken.append((left, right, height))
        heights.append(round(height, 1))
    return heights


def _colour(index: int) -> str:
    """The colour of the series of this number; what is black on paper is the ink of the page, dark or light."""
    return "var(--ink)" if index % len(SERIES) == 0 else series(index).colour


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers around a range, first and last outside of it."""
    span = high - low or abs(high) or 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step - 0.05), math.ceil(high / step + 0.05)
    first = max(first, 0) if low >= 0 else first
    return [round(float(step * number), 10) for number in np.arange(first, last + 1)]


def _along(value: float, ticks: list[float], begin: float, end: float) -> float:
    return begin + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (end - begin)
