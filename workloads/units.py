"""Seconds in the units of time that files use, and the array types of this package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S = 3600.0
DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S

# Drawn times are whole ticks of the clock that the simulator keeps, drawn shares whole parts of a million or so: both
# powers of two, so that sums are exact and the last bit of a library's logarithm reaches no decision.
TICK_S = 2.0**-10
SHARE_STEP = 2.0**-20


def whole(values: Floats, step: float, least: float = 0.0) -> Floats:
    """Values rounded to whole steps, and to no fewer than `least`."""
    return np.asarray(np.maximum(np.round(values / step) * step, least))
