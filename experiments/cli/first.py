"""`tafukt init`: a commented first experiment, of one's own log, weather and place where they are given."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
from importlib.resources import files
from pathlib import Path

from tafukt.experiments.cli.text import console
from tafukt.experiments.errors import InputError, Problem, listed

TEMPLATE = "first_experiment.toml"
HEAD_BYTES = 65_536
FAR_KM = 100.0
"""From here on the climate of a site of the catalogue is not that of the place."""


def init_command(file: Path, trace: Path | None = None, weather: Path | None = None, at: str = "") -> int:
    """Write a commented first experiment; an existing file is never overwritten."""
    text = (files("tafukt.experiments") / "templates" / TEMPLATE).read_text(encoding="utf-8")
    if file.is_dir():
        file = file / "experiment.toml"
    lines: list[str] = []
    if weather and not weather.is_file():
        raise InputError(Problem(str(weather), "", "no such file"))
    if at or weather:
        text = _with_site(text, place_of(at) if at else None, weather, file)
    if trace:
        form = format_of(trace)
        lines.append(f"{trace} is read as format {form!r}")
        text = _with_trace(text, trace, form, file)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(Problem(str(file), "", "already exists; choose another file")) from None
    except OSError as error:
        raise InputError(Problem(str(file), "", f"cannot be written: {error.strerror}")) from None
    for line in lines:
        console().print(line)
    console().print(f"Wrote {file}. Next: tafukt validate {file}, then tafukt run {file}")
    return 0


def place_of(text: str) -> tuple[float, float]:
    """Latitude and longitude [degrees] from `LAT,LON`.

    Raises
    ------
    InputError
        If they are no such pair.
    """
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(Problem("--at", text, "should be LAT,LON in degrees, for example 45.07,7.69")) from None
    if not (math.isfinite(lat) and math.isfinite(lon) and -90 <= lat <= 90 and -180 <= lon <= 180):
        raise InputError(Problem("--at", text, "latitude lies from -90 to 90, longitude from -180 to 180 degrees"))
    return lat, lon


def _nearest(place: tuple[float, float]) -> tuple[str, float]:
    """The site of the catalogue that is nearest to a place, and how far away it is [km]."""
    from tafukt.sites.distance import distance_km
    from tafukt.sites.site import catalogue

    apart = {name: float(distance_km(*place, site.lat, site.lon)) for name, site in catalogue().items()}
    name = min(apart, key=lambda each: apart[each])
    return name, apart[name]


def format_of(trace: Path) -> str:
    """The trace format whose columns a log has.

    Raises
    ------
    InputError
        If it cannot be read, or has the columns of none.
    """
    from tafukt.workloads.bundled import bundled
    from tafukt.workloads.traces.column_map import ColumnModel, column_map

    header = _header(trace)
    if trace.name.removesuffix(".gz").endswith(".swf"):
        return "swf"
    if {"jobid", "submit", "alloctres"} <= {name.lower() for name in header}:
        return "sacct"
    for name in ("own", *bundled("traces")):
        columns = column_map(name, Path())
        models = [getattr(columns, role) for role in type(columns).model_fields]
        needed = {m.column for m in models if isinstance(m, ColumnModel) and not m.optional}
        if needed and needed <= set(header):
            return name
    message = f"has the columns {listed(header, 12)}, which match no known format; `tafukt workloads own` lists the"
    raise InputError(Problem(str(trace), "", f"{message} columns of one's own logs, and a column map renames others"))


def _header(trace: Path) -> list[str]:
    """The names in the first line of a log."""
    try:
        with gzip.open(trace) if trace.suffix == ".gz" else trace.open("rb") as stream:
            head = stream.read(HEAD_BYTES).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(Problem(str(trace), "", f"cannot be read: {error.strerror or error}")) from None
    line = head.splitlines()[0] if head.strip() else ""
    mark = max(",;\t|", key=line.count)
    return [name.strip() for name in next(csv.reader([line], delimiter=mark), [])]


def _with_site(text: str, place: tuple[float, float] | None, weather: Path | None, file: Path) -> str:
    """The experiment at one site of one's own."""
    like, km = _nearest(place) if place else ("rabat", 0.0)
    lines = [f"[sites.own.here]                    # what is not set here is taken from {like}; validate says what"]
    lines += [f'like = "{like}"']
    if place:
        lines += [f"lat = {place[0]:g}", f"lon = {place[1]:g}"]
        lines += ['tz = "Africa/Casablanca"            # change to the zone of the place, as "Europe/Rome"']
        lines += ['cluster = { node = "a100", nodes = 6 }']
    if km > FAR_KM and not weather:
        lines += ['weather = "clear-sky"               # no clouds: better { kind = "epw", file = "my_year.epw" }']
    if weather:
        from tafukt.sites.weather.readers import kind_of

        kind = kind_of(weather) or {".epw": "epw", ".json": "pvgis"}.get(weather.suffix.lower(), "csv")
        lines += [f"weather = {{ kind = {json.dumps(kind)}, file = {json.dumps(_relative(weather, file))} }}"]
    start, end = text.index("[sites]"), text.index("[workload]")
    return f"{text[:start]}{chr(10).join(lines)}\n\n{text[end:]}"


def _with_trace(text: str, trace: Path, form: str, file: Path) -> str:
    """The experiment with a log in place of made-up jobs."""
    table = f"""[workload]
kind = "trace"
file = {json.dumps(_relative(trace, file))}
format = "{form}"                      # tafukt workloads {form} lists its columns
start_day = 0                       # days after the log's first midnight
gpu_cap = 64                        # the largest gang that is kept as it is
load_factor = 1                     # 2 doubles the load
slack_h = 6                         # how long a start may be put off, where the log does not say
estimates = "exact"                 # or "factor", "column"
# recorded_on = "h100"              # the node that it ran on, where nodes here are no A100

"""
    start = text.index("[workload]")
    found = re.search(r"^# \[matrix\]", text[start:], re.MULTILINE)
    rest = text[start + found.start() :] if found else ""
    return text[:start] + table + rest.replace('"workload.load" = [0.4, 0.5, 0.6]', '"workload.load_factor" = [1, 2]')


def _relative(path: Path, file: Path) -> str:
    """A path as it reads from the experiment's folder."""
    return Path(os.path.relpath(path.resolve(), file.resolve().parent)).as_posix()
