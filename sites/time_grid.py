"""The uniform UTC grid that a run's supply lives on, and local clock time along it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats

MINUTE_S = 60.0
DAY_S = 86_400
YEAR_S = 365.25 * DAY_S
HOUR_S = 3_600
SEASONS = ("DJF", "MAM", "JJA", "SON")
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Steps of equal length from a start on.

    Attributes
    ----------
    start_unix : int
        Begin of the first step, in seconds since 1970-01-01T00:00Z; a multiple of the step.
    step_s : int
        Length of a step [s]; it divides an hour.
    steps : int
        How many there are.
    """

    start_unix: int
    step_s: int
    steps: int

    @property
    def end_unix(self) -> int:
        """End of the last step [s since 1970]."""
        return self.start_unix + self.step_s * self.steps

    @property
    def begins(self) -> Ints:
        """Begin of each step [s since 1970], shape (steps,)."""
        return self.start_unix + self.step_s * np.arange(self.steps, dtype=np.int64)

    @property
    def mids(self) -> Floats:
        """Middle of each step [s since 1970], shape (steps,)."""
        return np.asarray(self.begins + 0.5 * self.step_s, dtype=np.float64)


def span(start: datetime, days: float, step_s: float) -> Span:
    """The grid of a run.

    Raises
    ------
    SiteError
        If the start has no zone or is not on the grid, or the step does not divide an hour.
    """
    if start.tzinfo is None:
        raise SiteError(f"start: {start.isoformat()} has no time zone; write it as {start.isoformat()}Z")
    step = round(step_s)
    if step != step_s or step < 1 or HOUR_S % step:
        raise SiteError(f"step: {step_s} s does not divide an hour; allowed: 1, 5, 10, 15, 30 or 60 min, for example")
    seconds = (start - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    if seconds != int(seconds) or int(seconds) % step:
        raise SiteError(f"start: {start.isoformat()} is not a whole number of steps of {step} s after midnight")
    steps = -int(-days * DAY_S // step)
    if steps < 1:
        raise SiteError(f"days: {days} is not a positive number of days")
    return Span(int(seconds), step, steps)


def zone_of(text: str, where: str = "tz") -> tzinfo:
    """A time zone from an IANA name, `UTC`, or an offset such as `+01:00`.

    Raises
    ------
    SiteError
        If it is none of these.
    """
    match = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", text.strip())
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        if minutes <= 15 * 60:
            return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise SiteError(f"{where}: no time zone {text!r}; allowed: UTC, +01:00, Africa/Casablanca") from error


@lru_cache(maxsize=16384)
def _offset(tz: str, hour: int) -> int:
    offset = datetime.fromtimestamp(hour * HOUR_S, zone_of(tz)).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def utc_offsets(tz: str, times_unix: Ints) -> Ints:
    """Local time minus UTC at each time [s]; clocks change on full hours UTC only.

    Parameters
    ----------
    tz : str
        IANA name.
    times_unix : array of int
        Rising times [s since 1970].
    """
    hours = times_unix // HOUR_S
    days = np.arange(hours[0] // 24, hours[-1] // 24 + 2)
    at_days = [_offset(tz, int(day) * 24) for day in days]
    edges, values = [int(days[0]) * 24], [at_days[0]]
    for day, before, after in zip(days, at_days, at_days[1:], strict=False):
        if before == after:
            continue
        for hour in range(int(day) * 24 + 1, int(day) * 24 + 25):
            now = _offset(tz, hour)
            if now != values[-1]:
                edges.append(hour)
                values.append(now)
    return np.asarray(values, dtype=np.int64)[np.searchsorted(edges, hours, side="right") - 1]


def local_hour_and_month(tz: str, times_unix: Ints) -> tuple[Floats, Ints]:
    """Local clock hour [0, 24) and month 1..12 at each of some rising times [s since 1970]."""
    local = times_unix + utc_offsets(tz, times_unix)
    days = local // DAY_S
    months = months_of(np.arange(days[0], days[-1] + 1))[days - days[0]]
    return (local % DAY_S) / HOUR_S, months


def months_of(days: Ints) -> Ints:
    """Month 1..12 of days counted from 1970-01-01."""
    return np.asarray(days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1)


def years_of(days: Ints) -> Ints:
    """Year of days counted from 1970-01-01."""
    return np.asarray(days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970)


def day_of_year(days: Ints) -> Ints:
    """Day 1..366 of the year, of days counted from 1970-01-01."""
    dates = days.astype("datetime64[D]")
    return np.asarray((dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1)


def season_of(months: Ints) -> Ints:
    """Index into `SEASONS` of months 1..12."""
    return (months % 12) // 3


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for a seed and a name, the same on every machine."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))
