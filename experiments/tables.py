"""From the record of a simulation to the columns of `jobs.parquet`, `energy.parquet` and `events.parquet`.

Each function returns the columns of the data dictionary, in its order, as arrays of one length. Seconds,
watts and joules become h, kW and kWh here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments import dictionary
from experiments.attribution import (
    G_PER_KG,
    KWH_J,
    held,
    jobs_columns,
    online_gpus,
    pool_columns,
    rest_columns,
)
from experiments.metrics import HOUR_S, job_times
from simulator.record import FLOWS, Record
from sites.profile import StepProfile

Columns = dict[str, NDArray[Any]]

CHANGES = ("reject", "start", "pause", "move", "resize", "kill", "end", "outage", "repair")


def jobs_table(
    record: Record, start: datetime, attributed: Mapping[str, NDArray[np.float64]] | None = None
) -> Columns:
    """One row per job, by submission, then by id; `start` is when the experiment begins, with a time zone."""
    times = job_times(record)
    asks = [job.ask for job in record.jobs]
    outcomes = record.outcomes
    names = [site.name for site in record.scenario.sites]
    columns: Columns = {
        "job": _text(ask.job_id for ask in asks),
        "region": _text(ask.tenant.region for ask in asks),
        "function": _text(ask.tenant.function for ask in asks),
        "programme": _text(ask.tenant.programme for ask in asks),
        "dataset": _text(ask.dataset.name for ask in asks),
        "dataset_gb": np.array([ask.dataset.size_gb for ask in asks], dtype=np.float64),
        "residency": _text(ask.dataset.residency for ask in asks),
        "site": _text(names[outcome.site] if outcome.site >= 0 else "" for outcome in outcomes),
        "state": times["state"].astype(object),
        "wait_h": times["wait_s"] / HOUR_S,
        "jct_h": times["jct_s"] / HOUR_S,
        "bounded_slowdown": times["slowdown"],
        "deadline_missed": times["missed"],
        "interruptible": np.array([ask.interruptible for ask in asks], dtype=bool),
    }
    for name in ("job_class", "home", "elasticity"):
        columns[name] = _text(getattr(ask, name) for ask in asks)
    for name in ("gpus", "priority"):
        columns[name] = np.array([getattr(ask, name) for ask in asks], dtype=np.int64)
    for name in ("estimate", "slack"):
        columns[f"{name}_h"] = (
            np.array([getattr(ask, f"{name}_s") for ask in asks], dtype=np.float64) / HOUR_S
        )
    for name in ("submit", "start", "end", "deadline", "runtime"):
        columns[f"{name}_h"] = times[f"{name}_s"] / HOUR_S
    for name in ("submit", "start", "end"):
        columns[f"{name}_utc"] = utc(start, times[f"{name}_s"])
    for name, field in (
        ("gpu_hours", "busy"),
        ("gpu_hours_lost", "lost"),
        ("work_left_gpu_hours", "work_left"),
    ):
        seconds = np.array([getattr(outcome, f"{field}_gpu_s") for outcome in outcomes], dtype=np.float64)
        columns[name] = seconds / HOUR_S
    for name in ("pauses", "moves", "kills", "resizes"):
        columns[name] = np.array([getattr(outcome, name) for outcome in outcomes], dtype=np.int64)
    columns |= attributed if attributed is not None else jobs_columns(record)
    return _ordered("jobs", columns)


def energy_table(
    record: Record,
    start: datetime,
    step_s: float,
    temp_air_c: Mapping[str, StepProfile] | None = None,
) -> Columns:
    """The ledger by site and output step of `step_s` [s]; `temp_air_c` holds outdoor temperatures by site."""
    end_s = record.scenario.end_s
    edges = np.append(np.arange(0.0, end_s - 1e-6, step_s), end_s)
    parts: list[Columns] = []
    for index in range(len(record.scenario.sites)):
        columns = _site_columns(
            record, index, edges, (temp_air_c or {}).get(record.scenario.sites[index].name)
        )
        columns["time_utc"] = utc(start, edges[:-1])
        parts.append(_ordered("energy", columns))
    return {name: np.concatenate([part[name] for part in parts]) for name in dictionary.names("energy")}


def _site_columns(
    record: Record, index: int, edges: NDArray[np.float64], temp: StepProfile | None
) -> Columns:
    """The energy columns of one site, but for the clock."""
    site, energy = record.scenario.sites[index], record.energy[index]
    n, step = len(edges) - 1, np.diff(edges)
    flows = energy.flows_w
    grid = flows["import_to_load"] + flows["import_to_battery"]

    def kwh(power: NDArray[np.float64]) -> NDArray[np.float64]:
        return energy.binned_j(power, edges) / KWH_J

    def mean(profile: StepProfile) -> NDArray[np.float64]:
        return profile.integral(edges[:-1], edges[1:]) / step

    columns: Columns = {f"{name}_kwh": kwh(flows[name]) for name in FLOWS}
    columns |= {
        "site": np.full(n, site.name, dtype=object),
        "time_h": edges[:-1] / HOUR_S,
        "step_h": step / HOUR_S,
        "pv_available_kwh": kwh(energy.pv_w),
        "discharge_pv_kwh": kwh(flows["discharge"] * energy.pool_solar),
        "grid_import_kwh": kwh(grid),
        "it_kwh": kwh(energy.it_w),
        "jobs_it_kwh": kwh(held(record, index, record.stints.power_w)),
        "other_kwh": kwh(energy.other_w),
        "site_kwh": kwh(energy.site_w),
        "stored_kwh": np.interp(edges[1:], energy.edges_s, energy.stored_j) / KWH_J,
        "overhead": mean(site.overhead),
        "temp_air_c": np.full(n, np.nan) if temp is None else mean(temp),
        "price_mad_per_kwh": mean(site.grid.price) * KWH_J,
        "carbon_g_per_kwh": mean(site.grid.carbon) * KWH_J,
        "cost_mad": energy.binned_j(grid * energy.price - flows["export"] * energy.export_price, edges),
        "emissions_kg": energy.binned_j(grid * energy.carbon, edges) / G_PER_KG,
        "busy_gpus": energy.binned_j(held(record, index, record.stints.gpus), edges) / step,
        "online_gpus": online_gpus(site, edges),
    }
    return columns | rest_columns(record, index, edges) | pool_columns(record, index, edges)


def events_table(record: Record, start: datetime, which: str = "all") -> Columns:
    """What happened, in order: `which` is `all`, `changes` (no submissions, no holds) or `none`."""
    names = [site.name for site in record.scenario.sites]
    wanted = {"all": None, "changes": CHANGES, "none": ()}[which]
    events = [event for event in record.events if wanted is None or event.kind in wanted]
    seconds = np.array([event.time_s for event in events], dtype=np.float64)
    return _ordered(
        "events",
        {
            "time_h": seconds / HOUR_S,
            "time_utc": utc(start, seconds),
            "kind": _text(event.kind for event in events),
            "job": _text(record.jobs[event.job].ask.job_id if event.job >= 0 else "" for event in events),
            "site": _text(names[event.site] if event.site >= 0 else "" for event in events),
            "reason": _text(event.reason for event in events),
            "detail": _text(json.dumps(_plain(event.detail), sort_keys=True) for event in events),
        },
    )


def utc(start: datetime, seconds: NDArray[np.float64]) -> NDArray[Any]:
    """Times as UTC `datetime64[ms]`; NaT where the seconds are NaN or infinite."""
    finite = np.isfinite(seconds)
    millis = np.round(np.where(finite, seconds, 0.0) * 1000.0).astype("timedelta64[ms]")
    epoch = np.datetime64(0, "ms") + np.timedelta64(round(start.timestamp() * 1000), "ms")
    return np.where(finite, epoch + millis, np.datetime64("NaT", "ms"))


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy numbers become plain ones, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(values: Any) -> NDArray[Any]:
    found = list(values)
    column = np.empty(len(found), dtype=object)
    column[:] = found
    return column


def _ordered(table: str, columns: Columns) -> Columns:
    """The columns in the dictionary's order.

    Raises
    ------
    KeyError
        If one is missing.
    """
    return {name: columns[name] for name in dictionary.names(table)}
