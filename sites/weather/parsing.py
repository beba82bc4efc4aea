"""Tables of text as people and publishers write them: encodings, separators, decimal commas, lines above the
header, dates in one column or in parts, 24:00, and more than one offset; read into numbers and UTC times."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tafukt.problems import hint
from tafukt.sites.cache import Entry
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.time_grid import zone_of
from tafukt.sites.weather.tables import Times, column_named, moments, opened

_SEPARATORS = ",;\t|"
_HEAD_LINES = 80  # no publisher's preamble is longer
_NUMBER = re.compile(r"^[+-]?\d*[.,]?\d+(?:[eE][+-]?\d+)?$")
_CIVIL = re.compile(r"^\d{1,2}([/.-])\d{1,2}[/.-](\d{4}|\d{2})(?:([ T])\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?)?$")
DIGITS_MOST = 300
"""No float holds a whole number of more."""
_COMMA_NUMBER = re.compile(r"^[+-]?\d+,\d+$")

# Names of time columns in the files of publishers, in lower case.
TIME_NAMES = (
    "time",
    "timestamp",
    "datetime",
    "date_time",
    "date",
    "datetime (utc)",
    "date/time",
    "valid_time",
    "point_time",
    "time(utc)",
    "period_end",
    "periodend",
    "period_start",
    "periodstart",
    "observationtime(gmt)",
)
_PARTS = {
    "year": ("year", "yr", "yyyy"),
    "month": ("month", "mo", "mm"),
    "day": ("day", "dy", "dd"),
    "hour": ("hour", "hr", "hh"),
    "minute": ("minute", "min", "mi"),
}


def encoding_of(path: Path) -> str:
    """UTF-16 where a byte-order mark says so, UTF-8 where the bytes are that, else Latin-1."""
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def text_of(path: Path) -> str:
    """The text of a file, whatever its encoding."""
    return path.read_text(encoding=encoding_of(path))


@dataclass(frozen=True)
class Layout:
    """Lines above the header, separator and decimal mark of a table of text."""

    skip: int
    separator: str
    decimal: str


def layout_of(lines: list[str], wanted: Iterable[str], where: str) -> Layout:
    """Find the header among the first lines of a file.

    The header is the first line that names something wanted, or else the first whose fields are as many as most
    lines' and are not numbers, while those of the next line hold one.

    Raises
    ------
    SiteError
        If no line looks like a header.
    """
    names = {name.strip().lower() for name in wanted}
    usual = {mark: sorted(line.count(mark) for line in lines)[len(lines) // 2] for mark in _SEPARATORS}
    for separator in sorted(_SEPARATORS, key=lambda mark: -usual[mark]):
        fields = [_fields(line, separator) for line in lines]
        head = _header(fields, names)
        if head is not None:
            return Layout(head, separator, _decimal_mark(fields[head + 1 :]) if separator != "," else ".")
    raise SiteError(
        f"{where}: no header in its first {len(lines)} lines; columns should be divided by commas, semicolons or tabs"
    )


def _header(fields: list[list[str]], names: set[str]) -> int | None:
    named = [i for i, row in enumerate(fields) if len(row) > 1 and names & {field.lower() for field in row}]
    if named:
        return named[0]
    likely = [
        i
        for i, (row, below) in enumerate(pairwise(fields))
        if len(row) == len(below) > 1 and not any(map(_NUMBER.match, row)) and any(map(_NUMBER.match, below))
    ]
    widths = sorted(len(row) for row in fields)
    usual = [i for i in likely if len(fields[i]) == widths[len(widths) // 2]]
    chosen = usual or likely
    return chosen[0] if chosen else None


def _decimal_mark(rows: list[list[str]]) -> str:
    cells = [cell for row in rows for cell in row]
    points = any(re.match(r"^[+-]?\d+\.\d+$", cell) for cell in cells)
    return "," if any(map(_COMMA_NUMBER.match, cells)) and not points else "."


def _fields(line: str, separator: str) -> list[str]:
    return [field.strip().strip('"') for field in line.rstrip("\r\n").split(separator)]


_BINARY = {
    b"\x89HDF": "a NetCDF or HDF5 file",
    b"CDF\x01": "a NetCDF file",
    b"CDF\x02": "a NetCDF file",
    b"PK\x03\x04": "an Excel or zip file",
}
"""Kinds of file that people try, by their first four bytes: the HDF5, netCDF and PKZIP specifications."""


def _refuse_binary(path: Path, where: str) -> None:
    with path.open("rb") as file:
        kind = _BINARY.get(file.read(4))
    if kind:
        raise SiteError(f"{where}: {path.name}: is {kind}, which is not read; save the site's series as CSV")


def frame(path: Path, where: str, wanted: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """A table of text, and the lines above its header."""
    _refuse_binary(path, where)
    encoding = encoding_of(path)
    with path.open(encoding=encoding, newline="") as file:
        lines = [line for line, _ in zip(file, range(_HEAD_LINES), strict=False)]
    if not lines:
        raise SiteError(f"{where}: {path.name}: the file is empty")
    layout = layout_of(lines, wanted, f"{where}: {path.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            data = pd.read_csv(
                path,
                sep=layout.separator,
                decimal=layout.decimal,
                skiprows=layout.skip,
                skip_blank_lines=False,
                skipinitialspace=True,
                encoding=encoding,
                index_col=False,
                low_memory=False,
            )
        except pd.errors.ParserWarning as error:
            head = lines[layout.skip].strip()[:80]
            raise SiteError(
                f"{where}: {path.name}: its rows have more fields than its header ({head}); numbers with decimal "
                "commas need semicolons between columns"
            ) from error
    data.columns = [str(name).strip() for name in data.columns]
    return data.dropna(how="all"), lines[: layout.skip]


def seconds(index: pd.DatetimeIndex) -> Floats:
    """Times in seconds since 1970, missing ones as not-a-number."""
    values = index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def times_of(column: pd.Series[Any], form: str | None, tz: str, where: str) -> Times:
    """The times of a column.

    A time at 24:00 is 00:00 of the next day. Texts that carry an offset keep it, each its own. Dates such as
    05/31/2025 are read where a day above 12 tells day from month.

    Raises
    ------
    SiteError
        If most of them cannot be read.
    """
    text = column.astype("string").str.strip()
    late = text.str.contains(r"(?:^|[ T])24:00(?::00)?", regex=True).fillna(False).to_numpy(dtype=bool)
    if late.any():
        text = text.mask(late, text.str.replace("24:00", "00:00", n=1, regex=False))
    offsets = text.str.contains(r"\d[ ]?(?:Z|UTC|[+-]\d{2}:?\d{2})$", regex=True).fillna(False)
    fixed = bool(offsets.mean() > 0.5)
    parsed = pd.DatetimeIndex(pd.to_datetime(text, format=_form(text, form, where), errors="coerce", utc=fixed))
    parsed = parsed + pd.to_timedelta(np.where(late, 1, 0), unit="D")
    unread = np.asarray(parsed.isna())
    if float(unread.mean() if len(unread) else 1.0) > 0.5:
        first = column.iloc[0] if len(column) else ""
        raise SiteError(f"{where}: {first!r} is not a time; allowed: ISO 8601, or dates such as 31.05.2025 00:00")
    if parsed.tz is None:
        zone = zone_of(tz, f"{where} tz")
        try:
            parsed = parsed.tz_localize(zone, ambiguous="infer", nonexistent="NaT")
        except ValueError:
            parsed = parsed.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    unix = seconds(parsed)
    bad = np.flatnonzero(np.isnan(unix))
    example = f"{column.iloc[int(bad[0])]!r} (row {int(bad[0]) + 1})" if len(bad) else ""
    return Times(unix, len(bad), example)


def _form(text: pd.Series[Any], form: str | None, where: str) -> str:
    """The format of some texts: ISO 8601, or day, month and year in the order that the texts themselves settle."""
    if form:
        return form
    first = text.dropna()
    sample = str(first.iloc[0]) if len(first) else ""
    compact = re.match(r"^\d{8}:?(\d{4})?$", sample)
    if compact:
        return "%Y%m%d:%H%M" if ":" in sample else "%Y%m%d%H%M" if compact[1] else "%Y%m%d"
    match = _CIVIL.match(sample)
    if match is None:
        return "ISO8601"
    mark = match[1]
    parts = text.str.extract(rf"^(\d{{1,2}})[{re.escape(mark)}](\d{{1,2}})").astype("Float64")
    day_first, month_first = bool((parts[0] > 12).any()), bool((parts[1] > 12).any())
    if day_first == month_first:
        raise SiteError(
            f"{where}: does {sample!r} begin with the day or the month? give time_format, such as "
            f"'%d{mark}%m{mark}%Y %H:%M'"
        )
    date = f"%d{mark}%m{mark}" if day_first else f"%m{mark}%d{mark}"
    clock = "%I:%M" if match[5] else "%H:%M"
    after = (":%S" if match[4] else "") + (" %p" if match[5] and " " in match[5] else "%p" if match[5] else "")
    year = "%Y" if len(match[2]) == 4 else "%y"
    return date + year + (f"{match[3]}{clock}{after}" if match[3] else "")


def parts_of_time(data: pd.DataFrame, tz: str, where: str) -> Times | None:
    """The times of a table whose dates stand in columns of their own; nothing where they do not."""
    found = {part: column_named(data.columns, names) for part, names in _PARTS.items()}
    if found["year"] is None or found["month"] is None or found["day"] is None:
        return None
    numbers = {
        part: np.where(np.isfinite(values := _numbers(data[name])), values, np.nan)
        for part, name in found.items()
        if name is not None
    }
    empty = np.zeros(len(data))
    hour, minute = numbers.get("hour", empty), numbers.get("minute", empty)
    if "minute" not in numbers and np.nanmax(hour, initial=0.0) > 24.0:
        hour, minute = hour // 100, hour % 100  # 2330 for half past eleven
    local = moments(numbers["year"], numbers["month"], numbers["day"], hour + minute / 60.0)
    wrong = np.isnan(local)
    index = pd.DatetimeIndex((np.where(wrong, 0.0, local) * 1e6).astype(np.int64).astype("datetime64[us]"))
    zone = zone_of(tz, f"{where} tz")
    unix = seconds(index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT"))
    unix[wrong] = np.nan
    missing = np.flatnonzero(np.isnan(unix))
    return Times(unix, len(missing), f"row {int(missing[0]) + 1}" if len(missing) else "")


def entry_of(file: Path, time: str, form: str | None, tz: str, wanted: tuple[str, ...]) -> Entry:
    """A file's times and every column as numbers, with their names, the lines above the header, and unread times."""
    with opened(file, ".file") as path:
        data, above = frame(path, "", (time, *wanted))
        times = _times(data, time, form, tz, f": {path.name}")
        names = [name for name in data.columns if name != time]
        numbers = [_numbers(data[name]) for name in names]
    about = json.dumps([names, above, times.unread, times.example])
    return Entry(np.stack([times.unix, *numbers]), (about,))


def plain_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """The numbers of a column; what is no number is not-a-number.

    Nor is one of hundreds of digits, which some versions of pandas refuse and others leave out.
    """
    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:
        return pd.to_numeric(column.where(column.astype(str).str.len() < DIGITS_MOST), errors="coerce")


def _numbers(column: pd.Series[Any]) -> Floats:
    """The numbers of a column, with decimal commas where it has those; what is no number is not-a-number."""
    values = plain_numbers(column)
    if column.dtype == object and values.isna().any():
        commas = column.astype("string").str.strip().str.fullmatch(_COMMA_NUMBER.pattern).fillna(False)
        texts = column.astype("string").str.replace(",", ".", n=1, regex=False)
        values = values.mask(commas.to_numpy(dtype=bool), pd.to_numeric(texts, errors="coerce"))
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def _times(data: pd.DataFrame, time: str, form: str | None, tz: str, where: str) -> Times:
    if time in data:
        return times_of(data[time], form, tz, where)
    if time == "time":
        parts = parts_of_time(data, tz, where)
        if parts is not None:
            return parts
        named = column_named(data.columns, TIME_NAMES)
        if named is not None:
            return times_of(data[named], form, tz, where)
    known = [str(name) for name in data.columns]
    raise SiteError(f"{where}: time = {time!r} is not a column; {hint(time, known)}")
