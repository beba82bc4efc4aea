"""A weather source: columns of values on a regular UTC grid of intervals, whatever file they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.time_grid import HOUR_S, Ints

IRRADIANCES = ("ghi", "dni", "dhi")


@dataclass(frozen=True)
class Source:
    """Columns on a regular grid: `begin_unix` is where the first interval begins [s since 1970].

    Missing values are not-a-number. `duplicates` are times that came more than once.
    """

    begin_unix: float
    step_s: int
    columns: Mapping[str, Floats]
    where: str
    duplicates: Ints
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of intervals."""
        return len(next(iter(self.columns.values())))

    @property
    def mids(self) -> Floats:
        """Middles of the intervals [s since 1970]."""
        return np.asarray(self.begin_unix + self.step_s * (np.arange(self.size) + 0.5), dtype=np.float64)


def regular(mids: Floats, columns: Mapping[str, Floats], where: str) -> Source:
    """Put values at some times on the regular grid that the times lie on.

    Raises
    ------
    SiteError
        If there is no such grid.
    """
    known = ~np.isnan(mids)
    if known.sum() < 2:
        raise SiteError(f"{where}: fewer than two rows have a time")
    order = np.flatnonzero(known)[np.argsort(mids[known], kind="stable")]
    times = mids[order]
    gaps = np.diff(times)
    step = round(float(np.median(gaps[gaps > 0]))) if (gaps > 0).any() else 0
    if step <= 0 or (HOUR_S % step and step % HOUR_S):
        raise SiteError(f"{where}: rows are {step} s apart; allowed: an hour, a part or a multiple of it")
    place = (times - times[0]) / step
    off = np.abs(place - np.rint(place)) > 0.1
    if off.any():
        first = stamp(times[off][0])
        raise SiteError(f"{where}: {int(off.sum())} rows are not on a grid of {step} s, the first at {first}")
    index = np.rint(place).astype(np.int64)
    if index[-1] > 200 * len(index):
        last = stamp(times[-1])
        raise SiteError(f"{where}: {len(index)} rows from {stamp(times[0])} to {last}: is a date wrong?")
    unique, first_of = np.unique(index, return_index=True)
    repeated = np.setdiff1d(np.arange(len(index)), first_of)
    filled = {}
    for name, values in columns.items():
        full = np.full(int(index[-1]) + 1, np.nan)
        full[unique] = values[order][first_of]
        filled[name] = full
    return Source(float(times[0] - step / 2), step, filled, where, times[repeated].astype(np.int64))


def stamp(unix: float) -> str:
    """A time as people write it, UTC."""
    return datetime.fromtimestamp(float(unix), UTC).strftime("%Y-%m-%d %H:%M")
