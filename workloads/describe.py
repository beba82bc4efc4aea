"""Facts of a workload, for jobs of any origin and for raw traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.job import Job
from tafukt.workloads.job_table import numbers_of, values_of
from tafukt.workloads.traces.formats import load_table, sniff
from tafukt.workloads.traces.table import STATUS, TraceTable
from tafukt.workloads.units import DAY_S, Floats, Ints

PERCENTILES = (5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Workload:
    """Jobs as columns: what facts and figures need. `local_s` counts from a local midnight.

    `weekday` is that of the first day (0 is Monday), -1 where it is unknown.
    """

    title: str
    local_s: Floats
    duration_s: Floats
    gpus: Floats
    ending: Ints
    kind: Ints
    kinds: tuple[str, ...]
    region: Ints
    regions: tuple[str, ...]
    weekday: int
    slack_s: Floats | None = None
    estimate_s: Floats | None = None
    interruptible: NDArray[np.bool_] | None = None

    @property
    def work_gpu_h(self) -> Floats:
        """GPU-hours of each job."""
        return self.gpus * self.duration_s / 3600.0


def _codes(words: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    names, codes = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)
    return codes.astype(np.int64), tuple(str(name) for name in names)


def of_jobs(jobs: Sequence[Job], start: datetime, title: str = "workload", zone: str = "Africa/Casablanca") -> Workload:
    """The columns of a workload's jobs; `start` is the time of second 0, with its time zone."""
    local = start.astimezone(ZoneInfo(zone))
    offset = local.hour * 3600.0 + local.minute * 60.0 + local.second
    kind, kinds = _codes(values_of(jobs, "job_class"))
    region, regions = _codes(values_of(jobs, "tenant.region"))
    return Workload(
        title=title,
        local_s=numbers_of(jobs, "submit_s") + offset,
        duration_s=numbers_of(jobs, "runtime_s"),
        gpus=numbers_of(jobs, "gpus"),
        ending=np.array([STATUS.index(ending) for ending in values_of(jobs, "ending")], dtype=np.int64),
        kind=kind,
        kinds=kinds,
        region=region,
        regions=regions,
        weekday=local.weekday(),
        slack_s=numbers_of(jobs, "slack_s"),
        estimate_s=numbers_of(jobs, "estimate_s"),
        interruptible=np.array(values_of(jobs, "interruptible"), dtype=bool),
    )


def of_table(table: TraceTable, title: str = "trace") -> Workload:
    """The columns of a raw trace; its virtual clusters take the place of regions."""
    known = np.isfinite(table.estimate_s).all() and len(table) > 0
    return Workload(
        title=title,
        local_s=table.submit_s,
        duration_s=table.runtime_s,
        gpus=table.units,
        ending=table.status.astype(np.int64),
        kind=table.kind,
        kinds=table.kinds,
        region=table.cluster,
        regions=table.clusters,
        weekday=(table.epoch_day + 3) % 7 if table.epoch_day is not None else -1,
        estimate_s=table.estimate_s if known else None,
    )


def facts(workload: Workload) -> dict[str, Any]:
    """The numbers of a workload, as plain data; units are in the names."""
    n = len(workload.local_s)
    if not n:
        return {"title": workload.title, "jobs": 0}
    work = workload.work_gpu_h
    by_size = np.unique(workload.gpus, return_counts=True)
    table: dict[str, Any] = {
        "title": workload.title,
        "jobs": n,
        "days": round(float(np.ptp(workload.local_s)) / DAY_S, 3),
        "gpu_hours": round(float(work.sum()), 3),
        "duration_mean_s": round(float(workload.duration_s.mean()), 3),
        "duration_percentiles_s": _percentiles(workload.duration_s),
        "gpus_mean": round(float(workload.gpus.mean()), 4),
        "gpus_max": float(workload.gpus.max()),
        "jobs_by_gpus": {f"{size:g}": int(count) for size, count in zip(*by_size, strict=True)},
        "jobs_by_ending": {name: int((workload.ending == i).sum()) for i, name in enumerate(STATUS)},
        "by_class": _grouped(workload, workload.kind, workload.kinds),
        "by_region": _grouped(workload, workload.region, workload.regions),
        "gpu_hours_share_of_largest_tenth": round(float(np.sort(work)[-max(1, n // 10) :].sum() / work.sum()), 4),
    }
    if n > 1:
        table["inter_arrival_percentiles_s"] = _percentiles(np.diff(np.sort(workload.local_s)))
    if workload.slack_s is not None:
        finite = workload.slack_s[np.isfinite(workload.slack_s)]
        table["slack_mean_h"] = round(float(finite.mean()) / 3600.0, 3) if len(finite) else None
        table["jobs_without_deadline"] = n - len(finite)
    if workload.estimate_s is not None:
        ratio = workload.estimate_s / np.maximum(workload.duration_s, 1.0)
        table["estimate_over_runtime_median"] = round(float(np.median(ratio)), 3)
        table["estimates_below_runtime"] = int((ratio < 1 - 1e-9).sum())
    if workload.interruptible is not None:
        table["interruptible_share"] = round(float(workload.interruptible.mean()), 4)
    return table


def _percentiles(values: Floats) -> dict[str, float]:
    return {
        f"p{p:02d}": round(float(v), 3) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
    }


def _grouped(workload: Workload, codes: Ints, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    jobs = np.bincount(codes, minlength=len(names))
    hours = np.bincount(codes, weights=workload.work_gpu_h, minlength=len(names))
    return {
        name or "(none)": {"jobs": int(jobs[i]), "gpu_hours": round(float(hours[i]), 3)} for i, name in enumerate(names)
    }


def arrivals_by_hour(workload: Workload) -> Floats:
    """Share of the jobs submitted in each local hour, shape (24,)."""
    hour = ((workload.local_s % DAY_S) // 3600.0).astype(np.int64)
    return np.asarray(np.bincount(hour, minlength=24) / max(1, len(hour)))


def arrivals_by_weekday(workload: Workload) -> Floats:
    """Share of the jobs submitted on each weekday, Monday first (first day first if unknown), shape (7,)."""
    day = ((workload.local_s // DAY_S).astype(np.int64) + max(workload.weekday, 0)) % 7
    return np.asarray(np.bincount(day, minlength=7) / max(1, len(day)))


def of_file(path: Path) -> tuple[Workload, dict[str, Any]]:
    """A trace file's columns and its integrity report; the format is found from its name and columns.

    Raises
    ------
    WorkloadError
        If the file cannot be read, or no bundled format fits it.
    """
    format_name = sniff(path)
    table, report = load_table(path.name, format_name, path.parent)
    report.settle("drop")
    return of_table(table, path.name), {"format": format_name, **report.notes()}
