"""Fits a trace to a scenario, by what the experiment states and nothing else, and says what it did.

The steps, in this order: the time window, the gang cap, the homes, the load factor, the estimates and
slack, the chaining of long jobs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from tafukt.workloads import streams
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.generator import paused_collection
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Ending, Job, Tenant, Truth, in_order
from tafukt.workloads.schema import Demand, Place, TraceModel
from tafukt.workloads.traces.readers import column_map, read_table
from tafukt.workloads.traces.table import SHOWN_ROWS, STATUS, Integrity, TraceTable
from tafukt.workloads.units import DAY_S, Floats, Ints

from tafukt.problems import hint

# A copied job is submitted within this time of its original [s]; a choice that keeps the shape of the day.
COPY_SPREAD_S = 3600.0


@dataclass(frozen=True)
class _Picked:
    """Rows of the table that are replayed (a row may come twice), and what became of them."""

    index: Ints
    copy: Ints
    submit_s: Floats
    runtime_s: Floats
    gpus: Ints
    home: Ints


def load_table(file: str, format_name: str, folder: Path) -> tuple[TraceTable, Integrity]:
    """Read a trace in any known format.

    Raises
    ------
    WorkloadError
        If the format is unknown or the file cannot be read.
    """
    path = folder / file
    if format_name == "swf":
        from tafukt.workloads.traces.readers import read_swf

        return read_swf(path)
    return read_table(path, column_map(format_name, folder))


def replay(model: TraceModel, places: Sequence[Place], start: datetime, days: float, seed: int, folder: Path) -> Demand:
    """The jobs of a trace's window (see `workloads.build.build`); `start` is its first midnight."""
    table, report = load_table(model.file, model.format, folder)
    report.settle(model.bad_rows)
    if not len(table):
        raise WorkloadError(f"{report.file}: no row is left of {report.read}: {report.notes()['dropped']}")
    inside, scale = _window(model, table, days, report)
    gpus, runtime = _gangs(model, table, inside, report)
    if model.over_cap == "drop":
        kept = gpus <= model.gpu_cap
        inside, gpus, runtime = inside[kept], gpus[kept], runtime[kept]
    capacity = sum(place.gpus * place.speed for place in places) * days * DAY_S
    if model.load_factor is not None:
        factor = model.load_factor
    else:
        assert model.load is not None
        parts = _parts(model, runtime)
        fits = np.ceil(((model.start_day + days) * DAY_S - table.submit_s[inside]) / (runtime / parts))
        factor = model.load * capacity / float(gpus @ (runtime * np.minimum(fits, parts) / parts))
    picked = _copies(model, table, inside, gpus, runtime, factor, days, seed)
    picked, mapping = _homes(model, table, picked, places)
    with paused_collection():
        jobs, beyond = _jobs(model, table, picked, places, days, seed, report)
    work = sum(job.truth.due_gpu_s for job in jobs)
    scale |= {
        "window_start_day": model.start_day,
        "window_days": days,
        "load_factor": round(factor, 6),
        "gpu_cap": model.gpu_cap,
        "over_cap": model.over_cap,
        "runtime_cap_h": model.runtime_cap_h,
        "segments_submitted_after_the_window": beyond,
        "homes": mapping,
        "jobs": len(jobs),
        "load_offered": round(work / capacity, 6) if capacity else None,
    }
    return Demand(jobs, {"kind": "trace", "format": model.format, **report.notes(), "scaling": scale})


def _window(model: TraceModel, table: TraceTable, days: float, report: Integrity) -> tuple[Ints, dict[str, Any]]:
    """The rows whose submission lies in the window, and how many lie outside."""
    first, last = model.start_day * DAY_S, (model.start_day + days) * DAY_S
    before, after = table.submit_s < first, table.submit_s >= last
    inside = np.flatnonzero(~before & ~after)
    if not len(inside):
        raise WorkloadError(
            f"workload.start_day: no job of {report.file} is submitted from day {model.start_day:g} to "
            f"{model.start_day + days:g}; it covers day {table.submit_s.min() / DAY_S:.2f} to {table.days:.2f}"
        )
    scale: dict[str, Any] = {
        "trace_days": round(table.days, 3),
        "rows_before_window": int(before.sum()),
        "rows_after_window": int(after.sum()),
        "rows_in_window": len(inside),
    }
    if model.start_day + days > math.ceil(table.days):
        scale["remark"] = "the trace ends before the window does"
    return inside, scale


def _gangs(model: TraceModel, table: TraceTable, inside: Ints, report: Integrity) -> tuple[Ints, Floats]:
    """GPUs and runtimes after rounding and the cap; jobs to be dropped keep their size."""
    exact = table.units[inside] * model.gpus_per_unit
    gpus = np.ceil(exact - 1e-9).astype(np.int64)
    runtime = table.runtime_s[inside].copy()
    report.repair("GPUs rounded up to a whole number", table.row[inside][gpus > exact + 1e-9])
    over = gpus > model.gpu_cap
    if not over.any():
        return gpus, runtime
    rows = table.row[inside][over]
    if model.over_cap is None:
        shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS])
        raise WorkloadError(
            f"workload.over_cap: {int(over.sum())} jobs of {report.file} ask for more than gpu_cap = {model.gpu_cap} "
            f"GPUs (rows {shown}{' ...' if len(rows) > SHOWN_ROWS else ''}; the largest for {int(gpus.max())}): "
            "say 'cut', 'spread' or 'drop'"
        )
    if model.over_cap == "drop":
        report.drop(f"more than {model.gpu_cap} GPUs (over_cap = drop)", rows)
        if over.all():
            raise WorkloadError(f"workload.gpu_cap: every job in the window asks for more than {model.gpu_cap} GPUs")
        return gpus, runtime
    if model.over_cap == "spread":
        runtime[over] *= gpus[over] / model.gpu_cap
    what = "runtime kept" if model.over_cap == "cut" else "work kept"
    report.repair(f"GPUs cut to {model.gpu_cap}, {what} (over_cap = {model.over_cap})", rows)
    return np.minimum(gpus, model.gpu_cap), runtime


def _draws(seed: int, name: str, table: TraceTable) -> Floats:
    """One uniform draw for every row of the trace, whatever the window is."""
    return streams.stream(streams.key(seed, f"workload/trace/{name}")).random(len(table))


def _copies(
    model: TraceModel,
    table: TraceTable,
    inside: Ints,
    gpus: Ints,
    runtime: Floats,
    factor: float,
    days: float,
    seed: int,
) -> _Picked:
    """Each job floor(factor) times, and once more with the remaining probability; copies lie near by in time."""
    count = np.floor(factor + _draws(seed, "copies", table)[inside]).astype(np.int64)
    if count.sum() > 5_000_000:
        raise WorkloadError(f"workload: a load factor of {factor:.3g} would make {int(count.sum())} jobs")
    at = np.repeat(np.arange(len(inside)), count)
    copy = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    submit = table.submit_s[inside][at] - model.start_day * DAY_S
    shift = streams.stream(streams.key(seed, "workload/trace/shift")).random(len(table))[inside][at]
    moved = submit + COPY_SPREAD_S * (2.0 * ((shift + 0.6180339887498949 * copy) % 1.0) - 1.0)
    end = days * DAY_S
    moved = np.abs(moved)
    moved = np.where(moved >= end, np.maximum(2.0 * end - moved - 1.0, 0.0), moved)
    submit = np.where(copy > 0, moved, submit)
    if not len(at):
        raise WorkloadError(f"workload: a load factor of {factor:.3g} leaves none of {len(inside)} jobs")
    return _Picked(inside[at], copy, submit, runtime[at], gpus[at], np.zeros(len(at), dtype=np.int64))


def _homes(
    model: TraceModel, table: TraceTable, picked: _Picked, places: Sequence[Place]
) -> tuple[_Picked, dict[str, str] | str]:
    """Give every job a home site.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998, doi 10.1109/90.663936): of all sites the one with
    the least -ln(u) / population, u a hash of cluster and site; so a new site takes jobs only to itself.
    """
    sites = [place.site for place in places]
    if model.homes == "jobs" or (model.homes == "population" and table.clusters == ("",)):
        best = np.full(len(picked.index), np.inf)
        home = np.zeros(len(picked.index), dtype=np.int64)
        for i, place in enumerate(places):
            if place.population > 0:
                u = 1.0 - _draws(0, f"home/{place.site}", table)[picked.index]
                u = (u + 0.6180339887498949 * picked.copy) % 1.0
                score = -np.log(np.maximum(u, 1e-300)) / place.population
                home, best = np.where(score < best, i, home), np.minimum(score, best)
        return _with_home(picked, home), "each job by population"
    if model.homes == "population":
        chosen = {name: _home_of(name, places) for name in table.clusters}
    else:
        chosen = model.homes
        for name, site in chosen.items():
            if site not in sites:
                raise WorkloadError(f"workload.homes: {name!r}: no site {site!r}; {hint(site, sites)}")
            if name not in table.clusters:
                raise WorkloadError(f"workload.homes: no virtual cluster {name!r}; {hint(name, table.clusters)}")
        lacking = [table.clusters[i] for i in np.unique(table.cluster[picked.index]) if table.clusters[i] not in chosen]
        if lacking:
            raise WorkloadError(f"workload.homes: no home for virtual cluster {', '.join(map(repr, lacking[:8]))}")
    index = np.array([sites.index(chosen[name]) if name in chosen else -1 for name in table.clusters])
    return _with_home(picked, index[table.cluster[picked.index]]), dict(chosen)


def _with_home(picked: _Picked, home: Ints) -> _Picked:
    return _Picked(picked.index, picked.copy, picked.submit_s, picked.runtime_s, picked.gpus, home)


def _home_of(cluster: str, places: Sequence[Place]) -> str:
    scores = {
        place.site: -math.log(1.0 - streams.uniform(0, f"home/{cluster}/{place.site}")) / place.population
        for place in places
        if place.population > 0
    }
    return min(scores, key=lambda site: (scores[site], site))


def _estimate(model: TraceModel, table: TraceTable, picked: _Picked, report: Integrity) -> Floats:
    if model.estimates == "exact":
        return picked.runtime_s
    if model.estimates == "factor":
        assert model.estimate_factor is not None
        return picked.runtime_s * model.estimate_factor
    estimate = table.estimate_s[picked.index]
    missing = ~(estimate > 0)
    if missing.any():
        rows = np.unique(table.row[picked.index][missing])
        shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS])
        raise WorkloadError(
            f"workload.estimates: 'column', but {len(rows)} rows of {report.file} have no estimate (rows {shown}"
            f"{' ...' if len(rows) > SHOWN_ROWS else ''}); say 'exact' or 'factor'"
        )
    # A gang spread over fewer GPUs runs longer than its user thought, in proportion.
    estimate = estimate * picked.runtime_s / table.runtime_s[picked.index]
    below = np.unique(table.row[picked.index][estimate < picked.runtime_s])
    report.remarks["estimates_below_runtime"] = len(below)
    return np.asarray(estimate)


def _parts(model: TraceModel, runtime: Floats) -> Ints:
    """In how many segments each job comes."""
    cap_s = 3600.0 * model.runtime_cap_h if model.runtime_cap_h else math.inf
    return np.maximum(1, np.ceil(runtime / cap_s - 1e-9)).astype(np.int64)


def _slack_s(model: TraceModel, estimate_s: float) -> float:
    return 3600.0 * model.slack_h if model.slack_h is not None else (model.slack_factor or 0.0) * estimate_s


def _jobs(
    model: TraceModel,
    table: TraceTable,
    picked: _Picked,
    places: Sequence[Place],
    days: float,
    seed: int,
    report: Integrity,
) -> tuple[tuple[Job, ...], int]:
    """The job objects, and how many segments of chains would be submitted after the window."""
    estimate = _estimate(model, table, picked, report)
    parts = _parts(model, picked.runtime_s)
    report.repair(
        f"chained as segments of at most {model.runtime_cap_h} h", np.unique(table.row[picked.index][parts > 1])
    )
    interruptible = _draws(seed, "interruptible", table) < model.interruptible_share
    checkpoint = Checkpoint(model.checkpoint_gb, model.checkpoint_write_s, model.restart_s)
    trace = model.format.removesuffix(".toml")
    datasets = [Dataset(f"{trace}@{place.site}", model.dataset_gb, place.site, model.residency) for place in places]
    tenants: dict[tuple[int, int], Tenant] = {}
    jobs: list[Job] = []
    beyond = 0
    columns = (
        picked.index, picked.copy, picked.submit_s, picked.runtime_s / parts, picked.gpus, picked.home,
        estimate / parts, parts, table.cluster[picked.index], table.kind[picked.index], table.status[picked.index],
        interruptible[picked.index], table.row[picked.index],
    )  # fmt: skip
    for index, copy, submit, runtime, gpus, home, wanted, chain, cluster, kind, status, may_stop, row in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        who = tenants.get((home, cluster))
        if who is None:
            who = tenants[home, cluster] = Tenant(places[home].region, "trace", table.clusters[cluster])
        name = table.ids[index] if table.ids else f"r{row}"
        name = f"{name}~{copy + 1}" if copy else name
        slack = _slack_s(model, wanted)
        for part in range(chain):
            at = submit + part * runtime
            if at >= days * DAY_S:
                beyond += chain - part
                break
            ask = Ask(
                job_id=f"{name}.{part + 1}" if chain > 1 else name,
                submit_s=at,
                gpus=gpus,
                estimate_s=wanted,
                slack_s=slack,
                tenant=who,
                home=places[home].site,
                dataset=datasets[home],
                checkpoint=checkpoint,
                interruptible=may_stop,
                intensity=model.intensity,
                job_class=table.kinds[kind] or "trace",
            )
            ending: Ending = STATUS[status] if part == chain - 1 else "done"
            jobs.append(Job(ask, Truth(gpus * runtime, ending)))
    try:
        return in_order(jobs), beyond
    except ValueError as error:
        raise WorkloadError(f"{report.file}: {error}, after copies and segments were named") from None
