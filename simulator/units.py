"""Units and the time grid: what turns seconds, joules and watts into what people write, defined once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S
DAY_H = 24
KW_W = 1000.0
KWH_J = 3.6e6

# Event times lie on a grid of 1/1024 s: sums of such times are exact in binary, so that two things
# meant for one instant do happen at one instant.
TICKS_PER_S = 1024.0
TICK_S = 1.0 / TICKS_PER_S


def on_grid(time_s: float) -> float:
    """The nearest time on the grid of 1/1024 s [s]."""
    return round(time_s * TICKS_PER_S) / TICKS_PER_S
