"""Cells of a log as numbers: seconds, counts, instants on the log's own clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.traces.column_map import SIZES_GB, UNIT_S, ColumnModel
from tafukt.workloads.traces.table import Clock
from tafukt.workloads.units import DAY_S, Floats

if TYPE_CHECKING:
    import pandas as pd

# Years outside of these stand for "never" or "not yet", as 9999 does, or are mistakes.
YEARS = (1970, 2199)
OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
FLAGS = dict.fromkeys(("1", "true", "yes", "y", "t"), 1.0) | dict.fromkeys(("0", "false", "no", "n", "f"), 0.0)


@dataclass
class LogClock:
    """The clock of a log as it is found out while it is read: that of its first time with an offset from UTC.

    A time without an offset is taken as what that clock shows, as if every time had been written by the same wall
    clock; where no time has one, `zone` is what the experiment says.
    """

    zone: str = ""
    offset_s: float | None = None
    zone_offset_s: float | None = None
    dated: bool = False

    def instants(self, column: pd.Series[Any], time_format: str) -> Floats:
        """Times on the log's own clock [s since 1970]; NaN where a cell is missing or wrong."""
        import pandas as pd

        self.dated = True
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            return self._with_offset(_seconds(column.dt.tz_convert("UTC")), column.dropna().head(1))
        if pd.api.types.is_datetime64_dtype(column.dtype):
            return self._without(_seconds(column))
        text = column.astype("object").where(column.notna(), "").astype(str).str.strip()
        late = text.str.contains(r"[T ]24:00(?::00)?(?:\.0+)?(?=$|Z|[+-])", regex=True)
        if late.any():  # the end of a day, which is the beginning of the next
            text = text.where(~late, text.str.replace(r"([T ])24:00", r"\g<1>00:00", regex=True))
        if not time_format:
            year = pd.to_numeric(text.str.slice(0, 4), errors="coerce")
            text = text.where(year.between(*YEARS), "")
        parsed = pd.to_datetime(text, errors="coerce", format=time_format or "ISO8601", utc=True)
        values = _seconds(parsed) + DAY_S * late.to_numpy(dtype=float)
        written = text.str.contains(OFFSET, regex=True).to_numpy(dtype=bool) & np.isfinite(values)
        if time_format and "%z" not in time_format:
            written[:] = False
        if not written.any():
            return self._without(values)
        first = text[written].head(1)
        aware = self._with_offset(values, pd.to_datetime(first, format=time_format or "ISO8601"))
        return np.where(written, aware, values)

    def _with_offset(self, utc_s: Floats, first: pd.Series[Any]) -> Floats:
        if self.offset_s is None and len(first):
            offset = first.iloc[0].utcoffset()
            self.offset_s = offset.total_seconds() if offset is not None else 0.0
        return np.asarray(utc_s + (self.offset_s or 0.0))

    def _without(self, wall_s: Floats) -> Floats:
        """Wall-clock times; where a zone is given they pass as if the clock had never been changed since the first."""
        if not self.zone:
            return wall_s
        import pandas as pd

        wall = pd.Series(pd.to_datetime(wall_s, unit="s"))
        summer = np.ones(len(wall), dtype=bool)  # of an hour that comes twice, the first
        local = wall.dt.tz_localize(ZoneInfo(self.zone), ambiguous=summer, nonexistent="shift_forward")
        utc_s = _seconds(local.dt.tz_convert("UTC"))
        known = np.flatnonzero(np.isfinite(utc_s))
        if self.zone_offset_s is None and len(known):
            self.zone_offset_s = float(np.round(wall_s[known[0]] - utc_s[known[0]]))
        return np.asarray(utc_s + (self.zone_offset_s or 0.0))

    def clock(self) -> Clock:
        """The clock that was found."""
        if not self.dated:
            return Clock()
        if self.offset_s is not None:
            return Clock(True, self.offset_s, f"{_utc(self.offset_s)}, as in its first time")
        if self.zone:
            return Clock(True, self.zone_offset_s or 0.0, f"local time of {self.zone} (workload.tz)")
        return Clock(True, 0.0, "times have no time zone, so UTC is assumed where it matters; workload.tz sets another")


def _utc(offset_s: float) -> str:
    minutes = round(abs(offset_s) / 60.0)
    return f"UTC{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _seconds(times: pd.Series[Any]) -> Floats:
    import pandas as pd

    zero = pd.Timestamp(0, tz="UTC") if isinstance(times.dtype, pd.DatetimeTZDtype) else pd.Timestamp(0)
    return np.asarray(((times - zero) / pd.Timedelta(seconds=1)).to_numpy(np.float64))


def text_of(column: pd.Series[Any], pattern: str = "") -> NDArray[Any]:
    """A column as text, without blanks at the ends; of a pattern what its first group, or all of it, finds."""
    words = column.astype("object").where(column.notna(), "").astype(str).str.strip().to_numpy(dtype=object)
    if not pattern:
        return words
    search = re.compile(pattern).search
    found = (search(word) for word in words.tolist())
    return np.array([_value(match) for match in found], dtype=object)


def _value(match: re.Match[str] | None) -> str:
    if match is None:
        return ""
    return (match.group(1) if match.re.groups else match.group(0)) or ""


def numbers(column: pd.Series[Any], model: ColumnModel, clock: LogClock, decimal_comma: bool) -> Floats:
    """A column in seconds, GB or as counts; NaN where a cell is missing, wrong or infinite."""
    import pandas as pd

    if model.pattern:
        column = pd.Series(text_of(column, model.pattern))
    if model.unit == "datetime":
        values = clock.instants(column, model.time_format)
    elif model.unit == "hms":
        values = elapsed_s(text_of(column))
    elif model.unit == "flag":
        values = np.array([FLAGS.get(word.lower(), np.nan) for word in text_of(column).tolist()])
    else:
        values = _plain(column, decimal_comma)
        values = values * UNIT_S.get(model.unit, SIZES_GB.get(model.unit, 1.0))
        clock.dated = clock.dated or model.unit == "unix"
    if model.default is not None:
        values = np.where(text_of(column) == "", model.default, values)
    return np.where(np.isfinite(values), values, np.nan)


def _plain(column: pd.Series[Any], decimal_comma: bool) -> Floats:
    import pandas as pd

    if decimal_comma:
        column = pd.Series(text_of(column)).str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    short = column.where(column.astype(str).str.len() < 40)  # a number of hundreds of digits is none
    return np.asarray(pd.to_numeric(short, errors="coerce").to_numpy(np.float64, na_value=np.nan))


_ELAPSED = re.compile(r"(?:\d{1,6}-)?\d{1,7}(?::\d{1,7}){0,2}(?:\.\d+)?")


def elapsed_s(words: NDArray[Any]) -> Floats:
    """Times as Slurm writes them, `[days-]hours:minutes:seconds` and its short forms [s]; NaN where they are not."""
    return np.array([_elapsed(word) for word in words.tolist()], dtype=np.float64)


def _elapsed(word: str) -> float:
    if not _ELAPSED.fullmatch(word):
        return np.nan
    days, dash, rest = word.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    # days-hours[:minutes[:seconds]], else [hours:]minutes:seconds or minutes
    weights = (60.0, 1.0) if not dash and len(parts) < 3 else (3600.0, 60.0, 1.0)
    return 86_400.0 * int(days or 0) + sum(w * part for w, part in zip(weights, parts, strict=False))
