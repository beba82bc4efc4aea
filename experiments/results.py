"""Records out: seconds, watts and joules become h, kW and kWh, as the tables of the data dictionary."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments import attribution
from experiments.attribution import G_PER_KG, KWH_J
from experiments.dictionary import METRICS, TABLES, arrow_schema
from experiments.metrics import HOUR_S, job_times
from simulator.record import Record, SiteEnergy
from sites.profile import StepProfile

Floats = NDArray[np.float64]
Columns = dict[str, Any]

CHANGES = ("start", "cap", "pause", "move", "resize", "kill", "end", "outage", "repair", "reject")


def job_columns(record: Record, start: datetime, attributed: Mapping[str, Floats]) -> Columns:
    """The columns of jobs.parquet, by name."""
    jobs, outcomes, times = record.jobs, record.outcomes, job_times(record)
    asks = [job.ask for job in jobs]
    sites = [site.name for site in record.scenario.sites]
    columns: Columns = {
        "job": [ask.job_id for ask in asks],
        "job_class": [ask.job_class for ask in asks],
        "region": [ask.tenant.region for ask in asks],
        "function": [ask.tenant.function for ask in asks],
        "programme": [ask.tenant.programme for ask in asks],
        "home": [ask.home for ask in asks],
        "dataset": [ask.dataset.name for ask in asks],
        "dataset_gb": [ask.dataset.size_gb for ask in asks],
        "residency": [ask.dataset.residency for ask in asks],
        "estimate_h": np.array([ask.estimate_s for ask in asks], dtype=float) / HOUR_S,
        "slack_h": np.array([ask.slack_s for ask in asks], dtype=float) / HOUR_S,
        "state": times["state"].tolist(),
        "site": [sites[outcome.site] if outcome.site >= 0 else "" for outcome in outcomes],
        "bounded_slowdown": times["slowdown"],
        "deadline_missed": times["missed"],
    }
    for name in ("gpus", "priority", "interruptible", "elasticity"):
        columns[name] = [getattr(ask, name) for ask in asks]
    for name in ("pauses", "moves", "kills", "resizes"):
        columns[name] = [getattr(outcome, name) for outcome in outcomes]
    for name in ("submit", "start", "end", "wait", "jct", "runtime", "deadline"):
        columns[f"{name}_h"] = times[f"{name}_s"] / HOUR_S
    for name in ("submit", "start", "end"):
        columns[f"{name}_utc"] = _moments(start, times[f"{name}_s"])
    for column, name in (
        ("gpu_hours", "busy_gpu_s"),
        ("gpu_hours_lost", "lost_gpu_s"),
        ("work_left_gpu_hours", "work_left_gpu_s"),
    ):
        columns[column] = np.array([getattr(outcome, name) for outcome in outcomes], dtype=float) / HOUR_S
    return columns | dict(attributed)


def energy_columns(record: Record, start: datetime, step_s: float, temp_air_c: Mapping[str, StepProfile]) -> Columns:
    """The columns of energy.parquet, by name: one row per site and output step of `step_s` [s]."""
    end_s = record.scenario.end_s
    edges = np.append(np.arange(0.0, end_s - 1e-6, step_s), end_s)
    parts = [_site_energy(record, index, edges, temp_air_c) for index in range(len(record.scenario.sites))]
    columns: Columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = len(edges) - 1
    columns["site"] = [site.name for site in record.scenario.sites for _ in range(rows)]
    columns["time_utc"] = _moments(start, np.tile(edges[:-1], len(parts)))
    return columns


def _site_energy(record: Record, index: int, edges: Floats, temp_air_c: Mapping[str, StepProfile]) -> dict[str, Floats]:
    site, books = record.scenario.sites[index], record.energy[index]
    lengths = np.diff(edges)

    total = _sums(books, edges)

    def kwh(power_w: Floats) -> Floats:
        return total(power_w) / KWH_J

    def mean(profile: StepProfile) -> Floats:
        return profile.integral(edges[:-1], edges[1:]) / lengths

    flows = books.flows_w
    imported = flows["import_to_load"] + flows["import_to_battery"]
    spent = imported * books.price - flows["export"] * books.export_price
    columns = {
        "time_h": edges[:-1] / HOUR_S,
        "step_h": lengths / HOUR_S,
        "pv_available_kwh": kwh(books.pv_w),
        **{f"{name}_kwh": kwh(power_w) for name, power_w in flows.items()},
        "discharge_pv_kwh": kwh(flows["discharge"] * books.pool_solar),
        "grid_import_kwh": kwh(imported),
        "it_kwh": kwh(books.it_w),
        "jobs_it_kwh": kwh(attribution.held(record, index, record.stints.power_w)),
        "other_kwh": kwh(books.other_w),
        "site_kwh": kwh(books.site_w),
        "stored_kwh": np.interp(edges[1:], books.edges_s, books.stored_j) / KWH_J,
        "overhead": mean(site.overhead),
        "temp_air_c": mean(temp_air_c[site.name]) if site.name in temp_air_c else np.full(len(lengths), np.nan),
        "price_mad_per_kwh": mean(site.grid.price) * KWH_J,
        "carbon_g_per_kwh": mean(site.grid.carbon) * KWH_J,
        "cost_mad": total(spent),
        "emissions_kg": total(imported * books.carbon) / G_PER_KG,
        "busy_gpus": total(attribution.held(record, index, record.stints.gpus)) / lengths,
        "online_gpus": attribution.online_gpus(site, edges),
    }
    columns |= attribution.rest_columns(record, index, edges)
    return columns | attribution.pool_columns(record, index, edges)


_ENCODE = json.JSONEncoder(sort_keys=True, default=float).encode  # made once: there are many events


def _sums(books: SiteEnergy, edges: Floats) -> Callable[[Floats], Floats]:
    """What integrates a column of powers over each bin: sums of whole segments where the ledger has all edges."""
    first = np.searchsorted(books.edges_s, edges[:-1])
    if np.array_equal(books.edges_s[first], edges[:-1]) and books.edges_s[-1] == edges[-1]:
        duration_s = books.duration_s
        return lambda power_w: np.add.reduceat(power_w * duration_s, first)
    return lambda power_w: books.binned_j(power_w, edges)


def event_columns(record: Record, start: datetime, which: str) -> Columns:
    """The columns of events.parquet, by name; `which` is `all`, `changes` or `none`."""
    kept = {"all": None, "changes": CHANGES, "none": ()}[which]
    events = [event for event in record.events if kept is None or event.kind in kept]
    sites = [site.name for site in record.scenario.sites]
    seconds = np.array([event.time_s for event in events], dtype=float)
    return {
        "time_h": seconds / HOUR_S,
        "time_utc": _moments(start, seconds),
        "kind": [event.kind for event in events],
        "job": [record.jobs[event.job].ask.job_id if event.job >= 0 else "" for event in events],
        "site": [sites[event.site] if event.site >= 0 else "" for event in events],
        "reason": [event.reason for event in events],
        "detail": [_ENCODE(event.detail) if event.detail else "{}" for event in events],
    }


def _moments(start: datetime, seconds: Floats) -> NDArray[np.datetime64]:
    """Moments in UTC, to the millisecond, where a time is NaN none."""
    origin = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "ms")
    moments = np.full(len(seconds), np.datetime64("NaT"), dtype="datetime64[ms]")
    known = np.isfinite(seconds)
    moments[known] = origin + np.round(seconds[known] * 1000.0).astype("timedelta64[ms]")
    return moments


def parquet(table: str, columns: Columns, metadata: Mapping[str, str]) -> bytes:
    """A table of the data dictionary as Parquet bytes: its columns in order, NaN as null where it may be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table, metadata)
    arrays = []
    for column, field in zip(TABLES[table], schema, strict=True):
        values = columns[column.name]
        nan_is_null = column.nullable and column.dtype == "float64"
        arrays.append(pa.array(values, type=field.type, from_pandas=nan_is_null))
    sink = io.BytesIO()
    words = [column.name for column in TABLES[table] if column.dtype == "string"]
    # a dictionary of measured values costs more time and space than it saves
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd", use_dictionary=words)
    return sink.getvalue()


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
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return f"'{value}"  # a spreadsheet would run it as a formula
    return repr(value) if isinstance(value, float) else str(value)
