"""Records out: seconds, watts and joules become h, kW and kWh, as the tables of the data dictionary."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from tafukt.experiments.results.books.energy_table import EnergyTable
from tafukt.experiments.results.books.parquet import Taken, moments, parquet
from tafukt.experiments.results.books.reading import Reading
from tafukt.experiments.results.dictionary import METRICS, names
from tafukt.experiments.results.grid_events import grid_event_rows
from tafukt.experiments.results.meter import meter_columns
from tafukt.experiments.results.metrics import COUNTS, GPU_HOURS, Times, job_times
from tafukt.simulator.record import Events, Outcomes, Record
from tafukt.simulator.units import HOUR_S, Floats
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job_table import numbers_of, values_of

Columns = dict[str, Any]

OF_A_JOB = {
    "job": "job_id",
    "job_class": "job_class",
    "region": "tenant.region",
    "function": "tenant.function",
    "programme": "tenant.programme",
    "home": "home",
    "dataset": "dataset.name",
    "dataset_gb": "dataset.size_gb",
    "residency": "dataset.residency",
    "gpus": "gpus",
    "priority": "priority",
    "interruptible": "interruptible",
    "elasticity": "elasticity",
}
"""Columns of jobs.parquet that are told as they were asked, and by what name."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet would run."""
CHANGES = (
    "start",
    "cap",
    "pause",
    "move",
    "resize",
    "kill",
    "end",
    "outage",
    "repair",
    "reject",
    "notice",
    "request",
    "request_over",
)


def table_files(
    record: Record,
    start: datetime,
    step_s: float,
    temp_air_c: Mapping[str, StepProfile],
    events: str = "all",
    times: Times | None = None,
    about: Mapping[str, str] | None = None,
    reading: Reading | None = None,
) -> dict[str, bytes]:
    """The tables of a run as files, by name.

    `reading` is what was read from the books of the sites as they were settled, with a table of their energy; without
    one it is read from the record now.
    """
    about = about or {}
    reading = reading or Reading(table=EnergyTable(record.scenario.end_s, start, step_s, temp_air_c, about)).of(record)
    assert reading.table is not None, "it was read for tables"
    tables = {
        "jobs": job_columns(record, start, reading.attributed(record), times),
        "events": event_columns(record, start, events),
    }
    if record.requests:
        rows = grid_event_rows(record, start, reading.import_meters)
        tables["grid_events"] = {name: [row[name] for row in rows] for name in names("grid_events")}
    if reading.measured:
        tables["meter"] = meter_columns(reading.measured, start)
    if any(site.grid.is_limited or site.nodes_online for site in record.scenario.sites):
        tables["limits"] = limit_columns(record, start)
    files = {f"{name}.parquet": parquet(name, columns, about) for name, columns in tables.items()}
    return files | {"energy.parquet": reading.table.close()}


def job_columns(
    record: Record, start: datetime, attributed: Mapping[str, Floats], times: Times | None = None
) -> Columns:
    """The columns of jobs.parquet, by name."""
    jobs, times = record.jobs, times or job_times(record)
    sites = [*(site.name for site in record.scenario.sites), ""]  # the last is that of index -1: none
    columns: Columns = {column: values_of(jobs, name) for column, name in OF_A_JOB.items()}
    columns |= {
        "estimate_h": numbers_of(jobs, "estimate_s") / HOUR_S,
        "slack_h": numbers_of(jobs, "slack_s") / HOUR_S,
        "state": times["state"].tolist(),
        "site": Taken(sites, Outcomes.of(record.outcomes).column("site")),
        "bounded_slowdown": times["slowdown"],
        "deadline_missed": times["missed"],
    }
    for name in COUNTS:
        columns[name] = times[name]
    for name in ("submit", "start", "end", "wait", "jct", "runtime", "deadline"):
        columns[f"{name}_h"] = times[f"{name}_s"] / HOUR_S
    for name in ("submit", "start", "end"):
        columns[f"{name}_utc"] = moments(start, times[f"{name}_s"])
    for column, name in GPU_HOURS.items():
        columns[column] = times[name] / HOUR_S
    return columns | dict(attributed)


def limit_columns(record: Record, start: datetime) -> Columns:
    """The columns of limits.parquet, by name: one row per site and change."""
    rows: list[tuple[str, float, float, int]] = []
    for site in record.scenario.sites:
        steps = np.arange(0.0, record.scenario.end_s, record.scenario.step_s)
        limits = np.broadcast_to(site.grid.import_limits_w(steps), len(steps))
        changes = steps[1:][limits[1:] != limits[:-1]]  # no differences: infinite less infinite is none
        times = np.unique(np.concatenate((changes, [at_s for at_s, _ in site.nodes_online], [0.0])))
        for at_s in times[times < record.scenario.end_s].tolist():
            limit_w = float(limits[min(int(at_s // record.scenario.step_s), len(limits) - 1)])
            rows.append((site.name, at_s, limit_w / 1000.0 if limit_w < math.inf else math.nan, site.nodes_at(at_s)))
    names, times_s, limits_kw, nodes = zip(*rows, strict=True)
    seconds = np.array(times_s)
    return {
        "site": names,
        "time_h": seconds / HOUR_S,
        "time_utc": moments(start, seconds),
        "import_limit_kw": np.array(limits_kw),
        "nodes_online": np.array(nodes),
    }


def event_columns(record: Record, start: datetime, which: str) -> Columns:
    """The columns of events.parquet, by name; `which` is `all`, `changes` or `none`."""
    kept = {"all": None, "changes": CHANGES, "none": ()}[which]
    events = Events.of(record.events)
    events = events if kept is None else events.only(kept)
    sites = [*(site.name for site in record.scenario.sites), ""]  # the last one is that of index -1: none
    seconds, names = events.column("time_s"), [*values_of(record.jobs, "job_id"), ""]
    told, of_event = np.unique(events.column("detail"), return_inverse=True)
    texts = {
        "kind": events.kinds,
        "job": names,
        "site": sites,
        "reason": events.reasons,
    }
    return {
        "time_h": seconds / HOUR_S,
        "time_utc": moments(start, seconds),
        **{name: Taken(known, events.column(name)) for name, known in texts.items()},
        "detail": Taken(_details([events.details[place] for place in told.tolist()]), of_event),
    }


_ENCODE = json.JSONEncoder(sort_keys=True, default=float, separators=(", \n", ": ")).encode


def _details(details: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each as JSON: encoded all at once, since there are many, and taken apart at the breaks between objects.

    JSON keeps line breaks and null characters out of its texts, so a break stands only where two values meet.
    """
    texts = _ENCODE(details)[1:-1].replace("}, \n{", "}\0{").replace("\n", "").split("\0")
    if len(texts) != len(details):  # there are none, or objects stand in a list within one
        texts = [_ENCODE(detail).replace("\n", "") for detail in details]
    return texts


def metric_values(values: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Every metric of the dictionary, in order, blank (`None`) where it has no value."""
    return {column.name: _value(values.get(column.name), column.dtype) for column in METRICS}


def _value(value: Any, dtype: str) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if dtype == "int64" else float(value)


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A value as readable JSON, in the order of its keys."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_as_json) + "\n").encode()


def _as_json(value: Any) -> Any:
    """A moment as its text; numpy's numbers and arrays as Python's."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a result file")


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as CSV: numbers by their shortest exact text, blanks for `None`."""
    import csv

    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if value is None else _cell(value) for value in row] for row in rows])
    return sink.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        return json.dumps(value, sort_keys=True, default=str)
    if isinstance(value, str) and value.lstrip("'").startswith(FORMULAS):
        return f"'{value}"  # a spreadsheet would run it as a formula
    return repr(value) if isinstance(value, float) else str(value)


def unguarded(value: Any) -> Any:
    """A cell of a CSV as it was before it was kept from being a formula."""
    guarded = isinstance(value, str) and value.startswith("'") and value.lstrip("'").startswith(FORMULAS)
    return value[1:] if guarded else value
