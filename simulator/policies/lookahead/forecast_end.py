"""A forecast beyond its end: its last day comes again."""

from __future__ import annotations

import numpy as np

from tafukt.simulator.units import DAY_H, Floats


def ahead_of(values: Floats, hours: int, day: int = DAY_H, first: int = 0) -> Floats:
    """A forecast, shape (sites, hours), for `hours` hours from the `first` on; past its end its last day again.

    Parameters
    ----------
    values : array, shape (sites, known hours, ...)
    hours : int
        How many hours are wanted.
    day : int
        Hours of a day, or the slots of one.
    first : int
        The first hour that is wanted.
    """
    known = values.shape[1]
    if first + hours <= known:
        return values[:, first : first + hours]
    index = np.arange(first, first + hours)
    index = np.where(index < known, index, known - day + (index - known) % day)
    return values[:, np.clip(index, 0, known - 1)]
