"""Records out: seconds, watts and joules become h, kW and kWh, as the tables of the data dictionary."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results import attribution
from tafukt.experiments.results.attribution import G_PER_KG
from tafukt.experiments.results.dictionary import METRICS, TABLES, Column, arrow_schema, names
from tafukt.experiments.results.grid_events import grid_event_rows
from tafukt.experiments.results.meter import Meter, meter_columns
from tafukt.experiments.results.metrics import COUNTS, GPU_HOURS, Times, job_times
from tafukt.simulator.record import Events, Outcomes, Record, SiteEnergy
from tafukt.simulator.units import HOUR_S, KWH_J, Floats, Ints
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
SEGMENTS_MOST = 50
"""In one step of energy.parquet, that are worth adding up one after another."""
VALUES_AT_ONCE = 1 << 17
"""Values of the ledger that are added up at once: a week has all of its columns in them, a year one."""
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
    attributed: Mapping[str, Floats] | None = None,
    times: Times | None = None,
    about: Mapping[str, str] | None = None,
    meters: Mapping[str, Meter] | None = None,
) -> dict[str, bytes]:
    """The tables of a run as files, by name; `attributed` and `times` where they are at hand already."""
    tables = {
        "jobs": job_columns(record, start, attributed or attribution.jobs_columns(record), times),
        "energy": energy_columns(record, start, step_s, temp_air_c),
        "events": event_columns(record, start, events),
    }
    if record.requests:
        rows = grid_event_rows(record, start)
        tables["grid_events"] = {name: [row[name] for row in rows] for name in names("grid_events")}
    if meters:
        tables["meter"] = meter_columns(record, start, step_s, meters)
    if any(site.grid.is_limited or site.nodes_online for site in record.scenario.sites):
        tables["limits"] = limit_columns(record, start)
    return {f"{name}.parquet": parquet(name, columns, about or {}) for name, columns in tables.items()}


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
        "site": _taken(sites, Outcomes.of(record.outcomes).column("site")),
        "bounded_slowdown": times["slowdown"],
        "deadline_missed": times["missed"],
    }
    for name in COUNTS:
        columns[name] = times[name]
    for name in ("submit", "start", "end", "wait", "jct", "runtime", "deadline"):
        columns[f"{name}_h"] = times[f"{name}_s"] / HOUR_S
    for name in ("submit", "start", "end"):
        columns[f"{name}_utc"] = _moments(start, times[f"{name}_s"])
    for column, name in GPU_HOURS.items():
        columns[column] = times[name] / HOUR_S
    return columns | dict(attributed)


def energy_columns(record: Record, start: datetime, step_s: float, temp_air_c: Mapping[str, StepProfile]) -> Columns:
    """The columns of energy.parquet, by name: one row per site and output step of `step_s` [s]."""
    end_s = record.scenario.end_s
    edges = np.append(np.arange(0.0, end_s - 1e-6, step_s), end_s)
    rows, sites = len(edges) - 1, record.scenario.sites
    names = [c.name for c in TABLES["energy"] if c.dtype == "float64"]
    block = np.empty((len(names), len(sites), rows))  # at once: asking for memory takes as long as filling it
    for index in range(len(sites)):
        values = _site_energy(record, index, edges, temp_air_c)
        for place, name in enumerate(names):
            block[place, index] = values[name]
    columns: Columns = {name: block[place].ravel() for place, name in enumerate(names)}
    columns["site"] = [site.name for site in sites for _ in range(rows)]
    columns["time_utc"] = np.tile(_moments(start, edges[:-1]), len(sites))
    return columns


def _site_energy(record: Record, index: int, edges: Floats, temp_air_c: Mapping[str, StepProfile]) -> dict[str, Floats]:
    site, books = record.scenario.sites[index], record.energy[index]
    lengths = np.diff(edges)
    nowhere = np.full(len(lengths), np.nan)

    def mean(profile: StepProfile) -> Floats:
        if profile.start_s == 0 and np.all(lengths == profile.step_s):
            return profile.values[: len(lengths)]
        return np.diff(profile.integral_to(edges)) / lengths

    flows = books.flows_w
    imported = flows["import_to_load"] + flows["import_to_battery"]
    jobs_w = attribution.held(record, index, record.occupancy.power_w)
    kilowatts = {
        "pv_available_kwh": books.pv_w,
        **{f"{name}_kwh": power_w for name, power_w in flows.items()},
        "discharge_pv_kwh": flows["discharge"] * books.mix_solar,
        "grid_import_kwh": imported,
        "it_kwh": books.it_w,
        "jobs_it_kwh": jobs_w,
        "other_kwh": books.other_w,
        "site_kwh": books.site_w,
    }
    rates = {name: power_w / KWH_J for name, power_w in kilowatts.items()} | {
        "cost_mad": imported * books.price - flows["export"] * books.export_price,
        "emissions_kg": imported * books.carbon / G_PER_KG,
        "busy_gpus": attribution.held(record, index, record.occupancy.gpus),
        **attribution.rest_rates(books, jobs_w),
        **attribution.pool_rates(books),
    }
    totals = dict(zip(rates, _binned(books, list(rates.values()), edges), strict=True))
    return totals | {
        "time_h": edges[:-1] / HOUR_S,
        "step_h": lengths / HOUR_S,
        "stored_kwh": np.interp(edges[1:], books.edges_s, books.stored_j) / KWH_J,
        "overhead": mean(site.overhead),
        "temp_air_c": mean(temp_air_c[site.name]) if site.name in temp_air_c else nowhere,
        "price_mad_per_kwh": mean(site.grid.price) * KWH_J,
        "carbon_g_per_kwh": mean(site.grid.carbon) * KWH_J,
        "busy_gpus": totals["busy_gpus"] / lengths,
        "online_gpus": attribution.online_gpus(site, edges),
        **{name: np.cumsum(totals[name]) for name in ("pool_emissions_kg", "pool_cost_mad")},
    }


def _binned(books: SiteEnergy, rates: Sequence[Floats], edges: Floats) -> Floats:
    """Columns of the ledger, integrated over each bin, shape (k, bins).

    Nearly every bin is one segment: all first segments are taken at once, then all second ones, and so on.
    """
    first = np.searchsorted(books.edges_s, edges[:-1])
    counts = np.diff(np.append(first, len(books.it_w)))
    whole = np.array_equal(books.edges_s[first], edges[:-1]) and books.edges_s[-1] == edges[-1]
    if not whole or counts.max() > SEGMENTS_MOST:
        return np.array([books.binned_j(rate, edges) for rate in rates])
    # The bins with a second segment and where it stands, those with a third one, and so on; most bins have all of them.
    later: list[tuple[Ints | slice, Ints]] = []
    for place in range(1, counts.max()):
        more = np.flatnonzero(counts > place)
        later.append((slice(None) if len(more) == len(first) else more, first[more] + place))
    binned = np.zeros((len(rates), len(first)))
    # A third of the columns is zero where no job runs. As many others at a time as the processor's cache holds.
    busy = [place for place, rate in enumerate(rates) if rate.any() or np.signbit(rate).any()]
    at_once = max(1, VALUES_AT_ONCE // len(books.it_w))
    for begin in range(0, len(busy), at_once):
        some = busy[begin : begin + at_once]
        joules = np.array([rates[place] for place in some]) * books.duration_s
        sums = joules.take(first, axis=1)
        for bins, segments in later:
            sums[:, bins] += joules.take(segments, axis=1)
        binned[some] = sums
    return binned


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
        "time_utc": _moments(start, seconds),
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
        "time_utc": _moments(start, seconds),
        **{name: _taken(known, events.column(name)) for name, known in texts.items()},
        "detail": _taken(_details([events.details[place] for place in told.tolist()]), of_event),
    }


def _taken(texts: Sequence[str], places: NDArray[np.int64]) -> list[str]:
    """The texts at some places."""
    return [texts[place] for place in places.tolist()]


_ENCODE = json.JSONEncoder(sort_keys=True, default=float, separators=(", \n", ": ")).encode


def _details(details: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each as JSON: encoded all at once, since there are many, and taken apart at the breaks between objects.

    JSON keeps line breaks and null characters out of its texts, so a break stands only where two values meet.
    """
    texts = _ENCODE(details)[1:-1].replace("}, \n{", "}\0{").replace("\n", "").split("\0")
    if len(texts) != len(details):  # there are none, or objects stand in a list within one
        texts = [_ENCODE(detail).replace("\n", "") for detail in details]
    return texts


def _moments(start: datetime, seconds: Floats) -> NDArray[np.datetime64]:
    """Moments in UTC, to the millisecond, where a time is NaN none."""
    origin = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "ms")
    moments = np.full(len(seconds), np.datetime64("NaT"), dtype="datetime64[ms]")
    known = np.isfinite(seconds)
    moments[known] = origin + np.round(seconds[known] * 1000.0).astype("timedelta64[ms]")
    return moments


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


# --- Columns as Parquet bytes
# Arrow's arrays are made from their buffers here: `pyarrow.array` would import pandas to see whether it was given
# something of it, a quarter of a second in every process.


TEXT_MOST = 2**31 - 1
"""Bytes of text that one array of Arrow's strings holds."""


def parquet(table: str, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """A table of the data dictionary as Parquet bytes: its columns in order, NaN as null where it may be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table, metadata)
    arrays = [_array(c, columns[c.name], field.type) for c, field in zip(TABLES[table], schema, strict=True)]
    words = [column.name for column in TABLES[table] if column.dtype == "string"]
    # A dictionary of measured values costs more time and space than it saves, statistics of one row group serve
    # nobody, and LZ4 takes an eighth more space than Zstandard but half the time.
    whole, sink = pa.Table.from_arrays(arrays, schema=schema), pa.BufferOutputStream()
    pq.write_table(whole, sink, compression="lz4", use_dictionary=words, write_statistics=False)
    return bytes(sink.getvalue().to_pybytes())


def _array(column: Column, values: Any, kind: Any) -> Any:
    """A column's values as an array of Arrow's type `kind`."""
    if column.dtype == "string":
        return _texts(values, kind)
    known: NDArray[np.bool_] | None = None
    if column.dtype == "timestamp":
        values = np.asarray(values, dtype="datetime64[ms]")
        known, values = ~np.isnat(values), values.view(np.int64)
    else:
        values = np.asarray(values, dtype=column.dtype)
        if column.dtype == "float64" and column.nullable:
            known = ~np.isnan(values)
    number = len(values)
    if column.dtype == "bool":
        values = _bits(values)
    bits = None if known is None or known.all() else _buffer(_bits(known))
    return _made(kind, number, [bits, _buffer(values)])


def _texts(values: Sequence[str], kind: Any) -> Any:
    """Texts one after another, and where each begins."""
    import pyarrow as pa

    joined = "".join(values)
    data, pieces = joined.encode(), values
    if len(data) > TEXT_MOST:
        half = len(values) // 2
        return pa.chunked_array([_texts(values[:half], kind), _texts(values[half:], kind)])
    if len(data) != len(joined):
        pieces = [value.encode() for value in values]  # type: ignore[misc]
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, pieces), np.int32, len(values)), out=offsets[1:])
    return _made(kind, len(values), [None, _buffer(offsets), pa.py_buffer(data)])


def _bits(values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(values, bitorder="little")


def _buffer(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.ascontiguousarray(values))


def _made(kind: Any, number: int, buffers: list[Any]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(kind, number, buffers)
