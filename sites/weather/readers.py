"""Weather files by format, each read into one shape: columns on a regular UTC grid, values on mid-intervals.

What a time stands for differs by format, and is the usual way to shift the sun by half an hour:

- EPW: pvlib gives the begin of the hour, local standard time; the middle is half an hour later.
- EPW written by PVGIS: hours are instants, shifted by its "Irradiance Time Offset"; the whole hours are
  settled by the sun itself, because its header's time zone does not hold for its rows.
- TMY3: the end of the hour, local standard time; the middle is half an hour earlier.
- PVGIS hourly and typical year: instants in UTC, the latter with an irradiance time offset.
- CSV: as its description says: left, mid or right of the interval.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta, timezone
from datetime import tzinfo as TzInfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pvlib import iotools
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.weather import WeatherCSV, WeatherFile
from tafukt.sites.time_grid import HOUR_S
from tafukt.sites.weather.quality import noon_error_min
from tafukt.sites.weather.source import IRRADIANCES, Source, regular

from tafukt.problems import hint

TYPICAL_YEAR = 2023
# A year of measurements by the minute has some 50 MB; what unpacks to more is no weather.
MAX_UNPACKED_BYTES = 500_000_000


@contextmanager
def opened(path: Path, where: str) -> Iterator[Path]:
    """The path of a readable file; a `.gz` is unpacked into a temporary one. Mistakes become messages."""
    if not path.is_file():
        folder = path.parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        others = f"; {hint(path.name, names[:20])}" if names else f"; there is no folder {folder}"
        raise SiteError(f"{where}: {path}: no such file{others}")
    try:
        if path.suffix == ".gz":
            with tempfile.TemporaryDirectory() as folder_name:
                plain = Path(folder_name) / path.stem
                _unpack(path, plain, where)
                yield plain
        else:
            yield path
    except SiteError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, zlib.error) as error:
        raise SiteError(f"{where}: {path}: cannot be read: {type(error).__name__}: {error}") from error


def _unpack(path: Path, plain: Path, where: str) -> None:
    """Write out a packed file piece by piece, so that one that swells without end costs neither memory nor disk."""
    with gzip.open(path) as packed, plain.open("wb") as out:
        while piece := packed.read(1 << 20):
            if out.tell() + len(piece) > MAX_UNPACKED_BYTES:
                raise SiteError(f"{where}: {path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            out.write(piece)


def seconds(index: pd.DatetimeIndex) -> Floats:
    """Times in seconds since 1970, missing ones as not-a-number."""
    values = index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def _columns(data: pd.DataFrame, ceiling: Mapping[str, float]) -> dict[str, Floats]:
    """The columns we use, with a format's codes for missing values blanked."""
    found = {}
    for name in (*IRRADIANCES, "temp_air", "wind_speed"):
        if name in data:
            values = data[name].to_numpy(dtype=np.float64, na_value=np.nan).copy()
            values[(values >= ceiling.get(name, np.inf)) | (values <= -900.0)] = np.nan
            found[name] = values
    return found


def read(model: WeatherFile | WeatherCSV, lat: float, lon: float, altitude_m: float) -> Source:
    """Read a weather file.

    Raises
    ------
    SiteError
        If it is missing or not what its kind says.
    """
    where = "weather.file"
    with opened(model.file, where) as path:
        if isinstance(model, WeatherCSV):
            return _csv(model, path)
        if model.kind == "tmy3":
            return _tmy3(path)
        if model.kind == "epw" or path.suffix.lower() == ".epw":
            return _epw(path, lat, lon, altitude_m)
        return _pvgis(path)


def _epw(path: Path, lat: float, lon: float, altitude_m: float) -> Source:
    data, meta = iotools.read_epw(str(path), coerce_year=TYPICAL_YEAR)
    codes = {"ghi": 9999.0, "dni": 9999.0, "dhi": 9999.0, "temp_air": 99.0, "wind_speed": 999.0}
    columns = _columns(data, codes)
    head = path.read_text(errors="ignore")[:4000]
    match = re.search(r"Irradiance Time Offset \(h\):\s*(-?[\d.]+)", head)
    if match is None:
        return regular(seconds(data.index) + HOUR_S / 2, columns, f"{path.name} (EPW)")
    past_hour = float(match.group(1)) % 1.0
    rows = seconds(data.index) + meta["TZ"] * HOUR_S  # the rows' own hours, read as UTC
    found = regular(rows + past_hour * HOUR_S, columns, f"{path.name} (EPW of PVGIS)")
    error = noon_error_min(found, lat, lon, altitude_m)
    whole = -round(error / 60.0) * HOUR_S
    notes = (f"{path.name}: hours taken as UTC{whole / HOUR_S:+.0f}, as the sun says",) if whole else ()
    return Source(found.begin_unix + whole, found.step_s, columns, found.where, found.duplicates, notes)


def _tmy3(path: Path) -> Source:
    data, _ = iotools.read_tmy3(str(path), coerce_year=TYPICAL_YEAR, map_variables=True)
    return regular(seconds(data.index) - HOUR_S / 2, _columns(data, {}), f"{path.name} (TMY3)")


def _pvgis(path: Path) -> Source:
    if path.suffix.lower() == ".json":
        typical = "tmy_hourly" in json.loads(path.read_text()).get("outputs", {})
    else:
        typical = "month,year" in path.read_text(errors="ignore")[:2000]
    if not typical:
        data, meta = iotools.read_pvgis_hourly(str(path), map_variables=True)[:2]
        slope = re.search(r"slope\W+(?:value\W+)?(\d+(?:\.\d+)?)", repr(meta.get("inputs", {})), re.IGNORECASE)
        if slope and float(slope[1]) > 0.0:
            raise SiteError(f"weather.file: {path}: it is for a plane of {slope[1]} deg; ask PVGIS for a slope of 0")
        columns = _columns(data, {})
        if "ghi" not in columns:
            whole = [c for c in ("poa_global",) if c in data]
            parts = whole or [c for c in ("poa_direct", "poa_sky_diffuse", "poa_ground_diffuse") if c in data]
            if not parts:
                raise SiteError(f"weather.file: {path}: no horizontal irradiance among {list(data.columns)}")
            columns["ghi"] = data[parts].sum(axis=1).to_numpy(dtype=np.float64)
            if "poa_sky_diffuse" in data:
                columns["dhi"] = data["poa_sky_diffuse"].to_numpy(dtype=np.float64)
        return regular(seconds(data.index), columns, f"{path.name} (PVGIS hourly)")
    data, meta = iotools.read_pvgis_tmy(str(path), map_variables=True)[:2]
    return typical_pvgis(data, meta, path.name)


def typical_pvgis(data: pd.DataFrame, meta: Any, name: str) -> Source:
    """A typical year of PVGIS, whose months come from different years, on one year."""
    inputs = meta.get("inputs", {}) if isinstance(meta, dict) else {}
    offset = float(inputs.get("irradiance time offset", 0.0) or 0.0)
    index = pd.DatetimeIndex([t.replace(year=TYPICAL_YEAR) for t in data.index])
    return regular(seconds(index) + offset * HOUR_S, _columns(data, {}), f"{name} (PVGIS typical year)")


def zone_of(text: str, where: str) -> TzInfo:
    """A time zone from an IANA name, `UTC`, or an offset such as `+01:00`.

    Raises
    ------
    SiteError
        If it is none of these.
    """
    match = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", text.strip())
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise SiteError(f"{where}: no time zone {text!r}; allowed: UTC, +01:00, Africa/Casablanca") from error


def times_of(column: pd.Series[Any], form: str | None, tz: str, where: str) -> pd.DatetimeIndex:
    """The times of a CSV column in UTC; what cannot be read, or does not exist on the clock, is missing."""
    parsed = pd.DatetimeIndex(pd.to_datetime(column.astype(str), format=form or "ISO8601", errors="coerce", utc=False))
    if float(np.mean(np.asarray(parsed.isna()))) > 0.5:
        first = column.iloc[0] if len(column) else ""
        raise SiteError(f"{where}: {first!r} is not a time; allowed: ISO 8601, or give time_format")
    if parsed.tz is not None:
        return parsed.tz_convert("UTC")
    zone = zone_of(tz, f"{where} tz")
    try:
        return parsed.tz_localize(zone, ambiguous="infer", nonexistent="NaT").tz_convert("UTC")
    except ValueError:
        return parsed.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC")


LABEL_SHIFT = {"left": 0.5, "mid": 0.0, "right": -0.5}


def table(path: Path, where: str, wanted: Mapping[str, str]) -> pd.DataFrame:
    """A CSV file that has the wanted columns (key of the description to column).

    Raises
    ------
    SiteError
        If a column is not there.
    """
    data = pd.read_csv(path, skipinitialspace=True)
    for key, column in wanted.items():
        if column not in data:
            known = [str(name) for name in data.columns]
            raise SiteError(f"{where}: {path.name}: {key} = {column!r} is no column; {hint(column, known)}")
    return data


def _csv(model: WeatherCSV, path: Path) -> Source:
    wanted = {f"columns.{key}": name for key, name in model.columns.model_dump().items() if name is not None}
    optional = {"columns.temp_air"} - {f"columns.{key}" for key in model.columns.model_fields_set}
    data = table(path, "weather", {k: v for k, v in wanted.items() if k not in optional})
    times = seconds(times_of(data[model.columns.time], model.time_format, model.tz, f"weather: {path.name}"))
    columns = {}
    for key in (*IRRADIANCES, "temp_air", "wind_speed"):
        name = getattr(model.columns, key)
        if name is not None and name in data:
            values = pd.to_numeric(data[name], errors="coerce").to_numpy(dtype=np.float64)
            columns[key] = values * model.ghi_scale if key in IRRADIANCES else values
    steps = np.diff(np.sort(times[~np.isnan(times)]))
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    return regular(times + LABEL_SHIFT[model.label] * step, columns, path.name)
