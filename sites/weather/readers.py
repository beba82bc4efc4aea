"""Weather files by format, each read into a `Record`: rows with times, what the times name, place and plane.

What a time stands for differs by format, and is the usual way to shift the sun by half an hour:

- EPW: the end of the interval, local standard time; so many records an hour as DATA PERIODS says.
- EPW written by PVGIS: hours are instants, shifted by its "Irradiance Time Offset"; the whole hours are
  settled by the sun itself, because its header's time zone does not hold for its rows.
- TMY3: the end of the interval, local standard time.
- PVGIS hourly and typical year: instants in UTC, the latter with an irradiance time offset.
- CSV: as its description says: left, mid or right of the interval; publishers' files: see `publishers`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.weather import PublisherFile, WeatherCSV, WeatherFile
from tafukt.sites.time_grid import HOUR_S
from tafukt.sites.weather.parsing import plain_numbers, text_of, times_of
from tafukt.sites.weather.publishers import PUBLISHERS, Publisher, publisher_of
from tafukt.sites.weather.quality import blanked, noon_error_min
from tafukt.sites.weather.source import IRRADIANCES, QUANTITIES, Record, Source, Station, one_year, placed
from tafukt.sites.weather.table_cache import read_table
from tafukt.sites.weather.tables import Table, column_named, moments, opened

FILE_KEY = "weather.file"
_EPW_COLUMNS = {6: "temp_air", 13: "ghi", 14: "dni", 15: "dhi", 21: "wind_speed"}
_TMY3_COLUMNS = {
    "ghi": "GHI (W/m^2)",
    "dni": "DNI (W/m^2)",
    "dhi": "DHI (W/m^2)",
    "temp_air": "Dry-bulb (C)",
    "wind_speed": "Wspd (m/s)",
}
_PVGIS_COLUMNS = {"ghi": "G(h)", "dni": "Gb(n)", "dhi": "Gd(h)", "temp_air": "T2m", "wind_speed": "WS10m"}
_PVGIS_HEAD = re.compile(r"^time(?:\(UTC\))?,.*\bG[bd]?\([hin]\)|\"tmy_hourly\":|\"G\(i\)\":", re.MULTILINE)
_TMY3_DATE = "Date (MM/DD/YYYY)"
_TRACKING = ("vertical_axis", "inclined_axis", "two_axis", "vertical axis", "inclined axis", "two-axis", "two axis")


def read(
    model: WeatherFile | WeatherCSV | PublisherFile,
    lat: float,
    lon: float,
    altitude_m: float,
    cache: Path | None = None,
) -> Source:
    """Read a weather file.

    Raises
    ------
    SiteError
        If it is missing, or not of the kind that the site says; then with the kind that it looks like.
    """
    try:
        return _read(model, lat, lon, altitude_m, cache)
    except SiteError as error:
        kind = kind_of(model.file, cache)
        if kind is None or kind == model.kind:
            raise
        told = [
            f"{problem}; it looks like a file of another kind: set weather.kind = {kind!r}"
            for problem in error.problems
        ]
        raise SiteError(told) from error


def kind_of(file: Path, cache: Path | None = None) -> str | None:
    """The kind of weather file that a file looks like, if its header says."""
    if not file.is_file():
        return None
    try:
        with opened(file, FILE_KEY) as path:
            text = text_of(path)
        first, second = (*text.splitlines()[:2], "", "")[:2]
        if first.upper().startswith("LOCATION,"):
            return "epw"
        if _TMY3_DATE in second:
            return "tmy3"
        if _PVGIS_HEAD.search(text):
            return "pvgis"
        known = publisher_of(read_table(file, "weather", cache=cache))
    except SiteError:
        return None
    return next((kind for kind, each in PUBLISHERS.items() if each is known), None)


def _read(
    model: WeatherFile | WeatherCSV | PublisherFile, lat: float, lon: float, altitude_m: float, cache: Path | None
) -> Source:
    if isinstance(model, WeatherCSV):
        return placed(_clean(_csv(model, cache)))
    if isinstance(model, PublisherFile):
        return placed(_clean(_published(model, PUBLISHERS[model.kind], cache)))
    with opened(model.file, FILE_KEY) as path:
        if model.kind == "tmy3":
            return placed(_clean(_tmy3(path)))
        if model.kind == "epw" or path.suffix.lower() == ".epw":
            record, settle = _epw(path)
            source = placed(_clean(record))
            return _settled_by_sun(source, path, lat, lon, altitude_m) if settle else source
        return placed(_clean(_pvgis(path)))


def _clean(record: Record) -> Record:
    """The record with codes for missing values blanked, in every column."""
    return replace(record, columns={name: blanked(name, values) for name, values in record.columns.items()})


def _numbers(column: pd.Series[Any]) -> Floats:
    return np.asarray(plain_numbers(column).to_numpy(dtype=np.float64, na_value=np.nan))


def _epw(path: Path) -> tuple[Record, bool]:
    """An EPW file, and whether its whole hours are to be settled by the sun."""
    lines = text_of(path).splitlines()
    place = next(csv.reader(lines[:1]), [""])
    if len(lines) < 10 or place[0].strip().upper() != "LOCATION":
        raise SiteError(f"{FILE_KEY}: {path}: cannot be read: it does not begin with LOCATION, as EPW files do")
    lat, lon, zone, altitude = (float(text) for text in place[6:10])
    begin = next((i for i, line in enumerate(lines) if line.upper().startswith("DATA PERIODS")), 7) + 1
    records = int(lines[begin - 1].split(",")[2])
    data = pd.read_csv(io.StringIO("\n".join(lines[begin:])), header=None, usecols=[0, 1, 2, 3, *_EPW_COLUMNS])
    years, months, days, hours = (_numbers(data[i]) for i in range(4))
    first = np.nanmin(hours, initial=24.0)  # some count their hours from 0
    clock, typical = one_year(moments(years, months, days, hours - (1.0 if first > 0 else 0.0)))
    turns = np.flatnonzero(np.diff(clock, prepend=np.nan) != 0)  # the first record of each hour
    rank = np.arange(len(clock)) - np.repeat(turns, np.diff(np.append(turns, len(clock))))
    columns = {name: _numbers(data[i]) for i, name in _EPW_COLUMNS.items()}
    station = Station(place[1].strip(), lat, lon, altitude)
    offset = re.search(r"Irradiance Time Offset \(h\):\s*(-?[\d.]+)", "\n".join(lines[:begin]))
    if offset is not None:  # its rows' own hours, read as UTC
        name = f"{path.name} (EPW of PVGIS)"
        past_hour = float(offset.group(1)) % 1.0 * HOUR_S
        return Record(name, clock, columns, "mid", past_hour, typical, station), True
    ends = clock + (rank + 1) * HOUR_S / records - zone * HOUR_S
    return Record(f"{path.name} (EPW)", ends, columns, "right", 0.0, typical, station), False


def _settled_by_sun(source: Source, path: Path, lat: float, lon: float, altitude_m: float) -> Source:
    """The source moved by whole hours to where its noon is the sun's."""
    error = noon_error_min(source, lat, lon, altitude_m)
    whole = 0 if np.isnan(error) else -round(error / 60.0)
    notes = (f"{path.name}: its hours are UTC{whole:+d}, by the position of the sun",) if whole else ()
    return replace(source, begin_unix=source.begin_unix + whole * HOUR_S, notes=source.notes + notes)


def _tmy3(path: Path) -> Record:
    text = text_of(path)
    first, _, rest = text.partition("\n")
    head = next(csv.reader([first]), [])
    if len(head) < 7 or _TMY3_DATE not in rest[:2000]:
        raise SiteError(
            f"{FILE_KEY}: {path}: cannot be read: a TMY3 file gives its place in the first line and begins the second "
            f"with {_TMY3_DATE!r}"
        )
    zone, lat, lon, altitude = (float(field) for field in head[3:7])
    data = pd.read_csv(io.StringIO(rest), index_col=False)
    date = data[_TMY3_DATE].astype(str).str.split("/", expand=True)
    time = data["Time (HH:MM)"].astype(str).str.split(":", expand=True)
    month, day, year, hour, minute = (_numbers(part) for part in (date[0], date[1], date[2], time[0], time[1]))
    begins, typical = one_year(moments(year, month, day, hour + minute / 60.0 - 1.0))
    times = begins + (1.0 - zone) * HOUR_S
    columns = {name: _numbers(data[column]) for name, column in _TMY3_COLUMNS.items() if column in data}
    station = Station(head[1].strip(), lat, lon, altitude)
    return Record(f"{path.name} (TMY3)", times, columns, "right", 0.0, typical, station)


def _pvgis(path: Path) -> Record:
    if path.suffix.lower() == ".json":
        data, meta = _pvgis_json(path)
    else:
        data, meta = _pvgis_csv(path)
    return pvgis_record(data, meta, path.name)


def pvgis_record(data: pd.DataFrame, meta: Mapping[str, Any], name: str) -> Record:
    """The rows of PVGIS, hourly or of a typical year.

    Parameters
    ----------
    data : DataFrame
        PVGIS's own columns, with its times as text in `time`.
    meta : mapping
        `lat`, `lon`, `altitude_m`, `offset_h`, and `plane`, what the file says of the modules.

    Raises
    ------
    SiteError
        If the irradiance is not that of the horizontal.
    """
    plane = str(meta.get("plane", ""))
    if any(word in plane.lower() for word in _TRACKING):
        raise SiteError(f"{FILE_KEY}: {name}: it is for modules that track the sun; request a slope of 0 from PVGIS")
    slope = re.search(r"slope\W+(?:value\W+)?(-?\d+(?:\.\d+)?)", plane, re.IGNORECASE)
    if slope and float(slope[1]) > 0.0:
        raise SiteError(f"{FILE_KEY}: {name}: it is for a slope of {slope[1]} deg; request a slope of 0 from PVGIS")
    columns = {key: _numbers(data[column]) for key, column in _PVGIS_COLUMNS.items() if column in data}
    if "ghi" not in columns:
        parts = ["G(i)"] if "G(i)" in data else [c for c in ("Gb(i)", "Gd(i)", "Gr(i)") if c in data]
        if not parts:
            raise SiteError(
                f"{FILE_KEY}: {name}: no horizontal irradiance among its columns: {', '.join(map(str, data.columns))}"
            )
        columns["ghi"] = np.sum([_numbers(data[part]) for part in parts], axis=0)
        if "Gd(i)" in data:
            columns["dhi"] = _numbers(data["Gd(i)"])
    times = times_of(data["time"], None, "UTC", f"{FILE_KEY}: {name}").unix
    kind = "typical year" if "G(h)" in data else "hourly"
    typical = False
    if "G(h)" in data:
        times, typical = one_year(times)
    station = None
    if "lat" in meta and "lon" in meta:
        station = Station("PVGIS", float(meta["lat"]), float(meta["lon"]), meta.get("altitude_m"))
    offset = float(meta.get("offset_h") or 0.0) * HOUR_S
    return Record(f"{name} (PVGIS {kind})", times, columns, "mid", offset, typical, station)


def _pvgis_json(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    content = json.loads(text_of(path))
    inputs, outputs = content.get("inputs", {}), content["outputs"]
    rows = outputs.get("tmy_hourly") or outputs["hourly"]
    data = pd.DataFrame([{key: None if isinstance(v, bool) else v for key, v in row.items()} for row in rows])
    place = inputs.get("location", {})
    system = inputs.get("mounting_system", {})
    meta = {
        "lat": place.get("latitude"),
        "lon": place.get("longitude"),
        "altitude_m": place.get("elevation"),
        "offset_h": place.get("irradiance_time_offset", inputs.get("irradiance_time_offset", 0.0)),
        "plane": json.dumps(system),
    }
    return data.rename(columns={"time(UTC)": "time"}), {key: value for key, value in meta.items() if value is not None}


def _pvgis_csv(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    lines = text_of(path).splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith("time")), None)
    if head is None:
        raise SiteError(f"{FILE_KEY}: {path}: cannot be read: no line begins with 'time', as in a PVGIS file")
    end = next((i for i in range(head + 1, len(lines)) if not lines[i][:1].isdigit()), len(lines))
    data = pd.read_csv(io.StringIO("\n".join(lines[head:end])), dtype={0: str})
    data = data.rename(columns={data.columns[0]: "time"})
    above = "\n".join(lines[:head])
    meta: dict[str, Any] = {"plane": above}
    for key, words in (
        ("lat", r"Latitude \(decimal degrees\)"),
        ("lon", r"Longitude \(decimal degrees\)"),
        ("altitude_m", r"Elevation \(m\)"),
        ("offset_h", r"Irradiance Time Offset \(h\)"),
    ):
        match = re.search(rf"{words}\W*?\s(-?[\d.]+)", above)
        if match:
            meta[key] = float(match[1])
    return data, meta


def _csv(model: WeatherCSV, cache: Path | None) -> Record:
    given = model.columns.model_fields_set
    wanted = {key: name for key, name in model.columns.model_dump().items() if name is not None and key != "time"}
    table = read_table(
        model.file, "weather", model.columns.time, model.time_format, model.tz, tuple(wanted.values()), cache
    )
    known = publisher_of(table)
    if known is not None and not given & set(QUANTITIES) and "label" not in model.model_fields_set:
        record = _published(model, known, cache)
        return replace(record, notes=(f"{table.name}: read as a file from {known.name}", *record.notes))
    optional = {key for key in ("temp_air",) if key not in given}
    beam_and_diffuse = model.columns.dni is not None and model.columns.dhi is not None
    if beam_and_diffuse and "ghi" not in given and "ghi" not in table.numbers:
        optional.add("ghi")
    columns = {}
    for key, name in wanted.items():
        if key in optional and name not in table.numbers:
            continue
        values = table.column(f"columns.{key}", name, "weather")
        columns[key] = _in_our_units(key, values, model)
    notes = table.times.note(table.name)
    return Record(table.name, table.times.unix, columns, model.label, notes=notes)


def _in_our_units(key: str, values: Floats, model: WeatherCSV | PublisherFile) -> Floats:
    """Values of a column in W/m2, degC, m/s."""
    if not isinstance(model, WeatherCSV):
        return values
    if key in IRRADIANCES:
        return values * model.ghi_scale
    if key == "wind_speed":
        return values * model.wind_scale
    return celsius(values, model.temp_unit)


def celsius(values: Floats, unit: str) -> Floats:
    """Temperatures in degC, from degC, kelvin or degF."""
    if unit == "K":
        return np.asarray(values - 273.15)
    return np.asarray((values - 32.0) / 1.8) if unit == "degF" else values


def _published(model: WeatherCSV | PublisherFile, publisher: Publisher, cache: Path | None) -> Record:
    """A publisher's table: its own names, units, zone and label."""
    wanted = tuple(name for names in publisher.columns.values() for name in names)
    where = "weather"
    plain = read_table(model.file, where, publisher.time, publisher.form, "UTC", wanted, cache)
    try:
        zone, station = publisher.zone(plain), publisher.station(plain)
    except (ValueError, IndexError) as error:
        raise SiteError(
            f"{FILE_KEY}: {plain.name}: the lines above its header do not give place and time zone as "
            f"{publisher.name} files do: {error}"
        ) from error
    table = (
        read_table(model.file, where, publisher.time, publisher.form, zone, wanted, cache) if zone != "UTC" else plain
    )
    columns = {}
    for key, names in publisher.columns.items():
        found = column_named(table.numbers, names) or _without_unit(table, names)
        if found is not None:
            columns[key] = publisher.value(key, table.numbers[found], found)
    if "wind_speed" not in columns and {"u10", "v10"} <= set(table.numbers):  # eastward and northward
        columns["wind_speed"] = np.hypot(table.numbers["u10"], table.numbers["v10"])
    if not columns:
        raise SiteError(
            f"{FILE_KEY}: {table.name}: has none of the columns of {publisher.name} files: {', '.join(table.numbers)}"
        )
    name = f"{table.name} ({publisher.name})"
    times, typical = table.times.unix, False
    if publisher.typical:
        offset_s = publisher.offset_h(plain) * HOUR_S
        clock, typical = one_year(times + offset_s)
        times = clock - offset_s
    return Record(name, times, columns, publisher.label_of(table), 0.0, typical, station, table.times.note(table.name))


def _without_unit(table: Table, names: tuple[str, ...]) -> str | None:
    """The column whose name, without the unit in brackets, is one of some names."""
    bare = {re.sub(r"\s*[\(\[].*$", "", name): name for name in reversed(list(table.numbers))}
    found = column_named(bare, names)
    return None if found is None else bare[found]
