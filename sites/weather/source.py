"""A weather source: columns of values on a regular UTC grid of intervals, whatever file they come from.

Every reader hands on its rows as a `Record`: times, what they name, place and plane. From there on there is one
path: step, label, offset, year, grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import Label
from tafukt.sites.time_grid import DAY_S, HOUR_S, Ints

IRRADIANCES = ("ghi", "dni", "dhi")
QUANTITIES = (*IRRADIANCES, "temp_air", "wind_speed")
TYPICAL_YEAR = 2023
_RUN = 6  # so many equal gaps in a row are a step, fewer are missing rows


@dataclass(frozen=True)
class Station:
    """The place a file is of: name, latitude and longitude [deg], altitude [m] where the file gives it."""

    name: str
    lat: float
    lon: float
    altitude_m: float | None = None


@dataclass(frozen=True)
class Record:
    """Rows of a file as it gives them.

    Attributes
    ----------
    where : str
        The file, for messages.
    times : array, shape (n,)
        Of the rows [s since 1970, UTC]; not-a-number where a time cannot be read.
    columns : mapping of str to array, shape (n,)
        Values by quantity.
    label : {"left", "mid", "right"}
        Which part of its interval a time names.
    offset_s : float
        What the moment of the values lies after the time [s].
    typical : bool
        Whether its months come from different years, so that its year stands for any.
    station : Station, optional
        The place it is of.
    notes : tuple of str
    """

    where: str
    times: Floats
    columns: Mapping[str, Floats]
    label: Label = "mid"
    offset_s: float = 0.0
    typical: bool = False
    station: Station | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Columns on a regular grid: `begin_unix` is where the first interval begins [s since 1970].

    Missing values are not-a-number. `duplicates` are times that came more than once.
    """

    begin_unix: float
    step_s: int
    columns: Mapping[str, Floats]
    where: str
    duplicates: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    notes: tuple[str, ...] = ()
    typical: bool = False
    station: Station | None = None

    @property
    def size(self) -> int:
        """Number of intervals."""
        return len(next(iter(self.columns.values())))

    @property
    def mids(self) -> Floats:
        """Middles of the intervals [s since 1970]."""
        return np.asarray(self.begin_unix + self.step_s * (np.arange(self.size) + 0.5), dtype=np.float64)

    @property
    def end_unix(self) -> float:
        """End of the last interval [s since 1970]."""
        return self.begin_unix + self.step_s * self.size


def one_year(clock: Floats) -> tuple[Floats, bool]:
    """The rows' times by the local clock, on one year where months come from different ones, and whether they do.

    Where the dates rise through the file the years are its own. Else all are put on one year, a leap year if the file
    has a 29 February.
    """
    known = ~np.isnan(clock)
    dates = clock[known].astype(np.int64).astype("datetime64[s]")
    months = dates.astype("datetime64[M]").astype(np.int64)
    ahead = np.diff(months)
    skipped = (ahead > 1) & ((ahead - 1) % 12 == 0)  # the next month, of a later year
    if (ahead >= 0).all() and not skipped.any():
        return clock, False
    days = (dates.astype("datetime64[D]") - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    leap = bool(((months % 12 == 1) & (days == 28)).any())
    moved = (TYPICAL_YEAR + leap - 1970) * 12 + months % 12
    begin = moved.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + days
    result = np.full(len(clock), np.nan)
    result[known] = begin * float(DAY_S) + clock[known] % DAY_S
    return result, True


def cadence(times: Floats) -> Ints:
    """Length of the interval of each row [s], where rows are at rising times: the gap to the next row.

    A gap that comes `_RUN` times in a row is a step; any other gap hides missing rows, and the step before it, or
    else the one after it, goes on. So a file may change from hours to quarters of an hour.
    """
    gaps = np.diff(times)
    unit = 60.0 if np.median(gaps) >= 600.0 else 1.0
    rounded = np.maximum(np.rint(gaps / unit), 1).astype(np.int64) * int(unit)
    edges = np.flatnonzero(np.diff(rounded, prepend=-1, append=-1))
    lengths = np.diff(edges)
    steady = np.repeat(lengths >= _RUN, lengths)
    if not steady.any():
        return np.full(len(times), round(float(np.median(gaps))), dtype=np.int64)
    known = np.append(np.where(steady, rounded, 0), 0)
    last = np.maximum.accumulate(np.where(known > 0, np.arange(len(known)), -1))
    first = int(np.flatnonzero(known)[0])
    return np.take(known, np.where(last < 0, first, last))


@dataclass(frozen=True, eq=False)
class Placing:
    """Places of a file's rows on the regular grid of their times: the same for each of its columns.

    Attributes
    ----------
    begin_unix, step_s, size
        Of the grid: where its first interval begins [s since 1970], their length [s], and how many there are.
    order : array of int, shape (n,)
        Rows of the file that count, by time.
    count : array of int, shape (n,)
        Cells of the grid that each of them fills.
    cells : array of int, shape (sum of `count`,)
        These cells, row by row.
    duplicates : array of int
        Times that came more than once [s since 1970].
    notes : tuple of str
    """

    begin_unix: float
    step_s: int
    size: int
    order: Ints
    count: Ints
    cells: Ints
    duplicates: Ints
    notes: tuple[str, ...]

    def filled(self, values: Floats) -> Floats:
        """A column of the file on the grid; not-a-number where no row speaks."""
        full = np.full(self.size, np.nan)
        full[self.cells] = np.repeat(values[self.order], self.count)
        return full


def placing_of(record: Record) -> Placing:
    """The regular grid that a record's times lie on, and where on it each row lies.

    Where the step changes the grid has the finest, and a coarser row's values hold for all of its interval.

    Raises
    ------
    SiteError
        If there is no such grid.
    """
    times = record.times
    known = ~np.isnan(times)
    if known.sum() < 2:
        raise SiteError(f"{record.where}: fewer than two rows have a valid time")
    order = np.flatnonzero(known)[np.argsort(times[known], kind="stable")]
    fresh = np.diff(times[order], prepend=-np.inf) > 0
    repeated, order = times[order[~fresh]], order[fresh]
    if len(order) < 2:
        raise SiteError(f"{record.where}: all its rows have the same time")
    rows = times[order]
    lengths = cadence(rows)
    step = int(np.gcd.reduce(lengths))
    if step <= 0 or (HOUR_S % step and step % HOUR_S):
        raise SiteError(f"{record.where}: rows are {step} s apart; allowed: an hour, or a fraction or multiple of one")
    if record.label == "right":  # the row's interval lies before it
        lengths = np.concatenate([lengths[:1], lengths[:-1]])
        begins = rows - lengths
    else:
        begins = rows - (lengths / 2 if record.label == "mid" else 0.0)
    index = _on_grid(begins, step, record)
    count = np.minimum(np.rint(lengths / step).astype(np.int64), np.diff(index, append=index[-1] + lengths[-1] // step))
    cells = np.repeat(index, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return Placing(
        float(begins[0] + record.offset_s),
        step,
        int(index[-1] + count[-1]),
        order,
        count,
        cells,
        repeated.astype(np.int64),
        _changes(rows, lengths, record.where),
    )


def placed(record: Record, placing: Placing | None = None) -> Source:
    """A record's rows on the regular grid that its times lie on; `placing` where that is known already.

    Raises
    ------
    SiteError
        If there is no such grid.
    """
    on = placing_of(record) if placing is None else placing
    return Source(
        on.begin_unix,
        on.step_s,
        {name: on.filled(values) for name, values in record.columns.items()},
        record.where,
        on.duplicates,
        record.notes + on.notes,
        record.typical,
        record.station,
    )


def _on_grid(begins: Floats, step: int, record: Record) -> Ints:
    place = (begins - begins[0]) / step
    off = np.abs(place - np.rint(place)) > 0.1
    if off.any():
        first = stamp(begins[off][0])
        raise SiteError(f"{record.where}: {int(off.sum())} rows are off the grid of {step} s, the first at {first}")
    index: Ints = np.rint(place).astype(np.int64)
    if index[-1] > 200 * len(index):
        raise SiteError(
            f"{record.where}: {len(index)} rows from {stamp(begins[0])} to {stamp(begins[-1])}: is a date wrong?"
        )
    return index


def _changes(rows: Floats, lengths: Ints, where: str) -> tuple[str, ...]:
    turns = np.flatnonzero(np.diff(lengths)) + 1
    return tuple(
        f"{where}: its step changes from {lengths[i - 1] // 60} to {lengths[i] // 60} min at {stamp(rows[i])}"
        for i in turns[:3]
    )


def stamp(unix: float) -> str:
    """A time as people write it, UTC."""
    return str(np.datetime64(int(unix // 60), "m")).replace("T", " ")
