"""Long series thinned to what can be seen of them: points are left out, none is ever a mean.

A series is cut into stretches of equal length, of each of which those points are kept at which it is least or
largest. So every peak and trough stays where it was, whatever the number of pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tafukt.simulator.units import Floats

POINTS_MOST = 1400
"""Of a line or an outline in a figure: two for each pixel of a page's width."""


def extremes(columns: Floats, stretches: int) -> NDArray[np.intp]:
    """First and last row, and of each stretch of rows those at which a column is least or largest."""
    count, width = columns.shape
    each, longer = divmod(count, min(stretches, count))
    found = [np.array([0, count - 1])]
    edge = longer * (each + 1)  # the first stretches have a row more where they do not come out even
    for first, last, length in ((0, edge, each + 1), (edge, count, each)):
        parts = columns[first:last].reshape(-1, length, width)
        begins = np.arange(first, last, length)[:, None]
        found += [(begins + parts.argmin(axis=1)).ravel(), (begins + parts.argmax(axis=1)).ravel()]
    return np.unique(np.concatenate(found))


def seen(values: Floats, most: int = POINTS_MOST) -> NDArray[np.intp]:
    """The points worth drawing of a line or of steps: at most about `most`, and none amid others of the same value."""
    rows = np.arange(len(values)) if len(values) <= most else extremes(values[:, None], most // 2)
    kept = values[rows]
    amid = np.zeros(len(rows), dtype=bool)
    amid[1:-1] = (kept[1:-1] == kept[:-2]) & (kept[1:-1] == kept[2:])
    return rows[~amid]
