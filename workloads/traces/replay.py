"""Fits a trace to a scenario, by what the experiment states and nothing else, and says what it did.

The steps, in this order: the time window, the gang cap, the homes, the load factor, the estimates and
slack, the chaining of long jobs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from tafukt.problems import hint
from tafukt.workloads import streams
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.generator import paused_collection
from tafukt.workloads.job import TIERS, Checkpoint, Dataset, Job, PowerCurve, Tenant, Tier
from tafukt.workloads.job_table import JOBS_AT_ONCE, JobTable, Shared, in_order, named, numbers_of
from tafukt.workloads.schema import Demand, Place, TraceModel
from tafukt.workloads.traces.formats import load_table
from tafukt.workloads.traces.table import STATUS, Integrity, TraceTable, gpu_hours, rows_shown
from tafukt.workloads.traces.told import told
from tafukt.workloads.units import DAY_S, HOUR_S, Floats, Ints

# A copied job is submitted within this time of its original [s]; a choice that keeps the shape of the day.
COPY_SPREAD_S = 3600.0
MAX_JOBS = 5_000_000


@dataclass(frozen=True)
class _Rows:
    """Rows of the table in the window, with submission from its start [s]; `turn` counts a trace that begins again."""

    index: Ints
    turn: Ints
    submit_s: Floats

    def take(self, keep: Any) -> _Rows:
        return _Rows(self.index[keep], self.turn[keep], self.submit_s[keep])


@dataclass(frozen=True)
class _Picked:
    """Rows of the table that are replayed (a row may come twice), and what became of them."""

    rows: _Rows
    copy: Ints
    runtime_s: Floats
    gpus: Ints
    home: Ints

    @property
    def index(self) -> Ints:
        return self.rows.index


def replay(model: TraceModel, places: Sequence[Place], start: datetime, days: float, seed: int, folder: Path) -> Demand:
    """The jobs of a trace's window (see `workloads.build.build`)."""
    table, report = load_table(model.file, model.format, folder, model.tz)
    report.settle(model.bad_rows)
    if not len(table):
        raise WorkloadError(f"{report.file}: none of its {report.read} rows can be used: {report.notes()['dropped']}")
    table = _on_reference(model, table)
    first_day = _first_day(model, table, start, days, report)
    rows, scale = _window(model, table, first_day, days, report)
    gpus, runtime = _gangs(model, table, rows, report)
    if model.over_cap == "drop":
        kept = gpus <= model.gpu_cap
        rows, gpus, runtime = rows.take(kept), gpus[kept], runtime[kept]
    capacity = sum(place.gpus * place.speed for place in places) * days * DAY_S
    factor = _factor(model, rows, gpus, runtime, capacity, days)
    picked = _copies(table, rows, gpus, runtime, factor, days, seed)
    picked, mapping = _homes(model, table, picked, places)
    with paused_collection():
        jobs, beyond = _jobs(model, table, picked, places, days, seed, report)
    work = sum(numbers_of(jobs, "due_gpu_s").tolist())
    scale |= {
        "window_start_day": round(first_day, 6),
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
    notes = {
        "kind": "trace",
        "format": Path(model.format).name,
        "clock": table.clock.said,
        **report.notes(),
        "scaling": scale,
    }
    return Demand(jobs, notes, told(table, report, first_day, start, days, scale))


def _on_reference(model: TraceModel, table: TraceTable) -> TraceTable:
    """The table with runtimes as on the reference GPU."""
    speed = model.recorded_on if isinstance(model.recorded_on, float) else 1.0
    if speed == 1.0:
        return table
    return replace(table, runtime_s=table.runtime_s * speed, estimate_s=table.estimate_s * speed)


def _first_day(model: TraceModel, table: TraceTable, start: datetime, days: float, report: Integrity) -> float:
    """Day of the trace, from its first midnight, that the run begins with."""
    if model.align == "first midnight":
        assert model.start_day is not None
        return model.start_day
    midnight = table.midnight_utc_s
    if midnight is None:
        raise WorkloadError(f"workload.align: 'dates', but {report.file} has no dates: {table.clock.said}")
    first = (start.timestamp() - midnight) / DAY_S
    if first + days <= float(table.submit_s.min()) / DAY_S or first > table.days:
        begin, end = (_utc(midnight + seconds) for seconds in (float(table.submit_s.min()), table.days * DAY_S))
        raise WorkloadError(
            f"workload.align: 'dates', but {report.file} has no jobs in the {days:g} days from "
            f"{start.isoformat()}: it covers {begin} to {end}"
        )
    return first


def _utc(epoch_s: float) -> str:
    return datetime.fromtimestamp(round(epoch_s), tz=UTC).strftime("%Y-%m-%dT%H:%MZ")


def _window(
    model: TraceModel, table: TraceTable, first_day: float, days: float, report: Integrity
) -> tuple[_Rows, dict[str, Any]]:
    """The rows whose submission lies in the window, and how many lie outside."""
    first, last = first_day * DAY_S, (first_day + days) * DAY_S
    before, after = table.submit_s < first, table.submit_s >= last
    inside = np.flatnonzero(~before & ~after)
    if not len(inside):
        raise WorkloadError(
            f"workload.start_day: {report.file} has no jobs from day {first_day:g} to "
            f"{first_day + days:g}; it covers day {table.submit_s.min() / DAY_S:.2f} to {table.days:.2f}"
        )
    scale: dict[str, Any] = {
        "trace_days": round(table.days, 3),
        "rows_before_window": int(before.sum()),
        "rows_after_window": int(after.sum()),
        "rows_in_window": len(inside),
    }
    rows = _Rows(inside, np.zeros(len(inside), dtype=np.int64), table.submit_s[inside] - first)
    if first_day + days <= math.ceil(table.days):
        return rows, scale
    if not model.repeat:
        scale["remark"] = "the trace ends before the window does"
        return rows, scale
    length = math.ceil(table.days) - first_day
    period = 7.0 * math.floor(length / 7.0) if length >= 7.0 else max(length, 1.0)
    turns = math.ceil(days / period)
    scale |= {"repeated_days": period, "turns": turns}
    rows = rows.take(rows.submit_s < period * DAY_S)
    if len(rows.index) * turns > MAX_JOBS:
        raise WorkloadError(f"workload.repeat: would make {len(rows.index) * turns:,} jobs; at most {MAX_JOBS:,}")
    turn = np.repeat(np.arange(turns), len(rows.index))
    repeated = _Rows(np.tile(rows.index, turns), turn, np.tile(rows.submit_s, turns) + turn * (period * DAY_S))
    return repeated.take(repeated.submit_s < days * DAY_S), scale


def _factor(model: TraceModel, rows: _Rows, gpus: Ints, runtime: Floats, capacity: float, days: float) -> float:
    """Rate at which each row is replayed, so that the window offers the load that is asked for."""
    if model.load_factor is not None:
        return model.load_factor
    assert model.load is not None
    parts = _parts(model, runtime)
    fits = np.ceil((days * DAY_S - rows.submit_s) / (runtime / parts))
    return model.load * capacity / float(gpus @ (runtime * np.minimum(fits, parts) / parts))


def _gangs(model: TraceModel, table: TraceTable, rows: _Rows, report: Integrity) -> tuple[Ints, Floats]:
    """GPUs and runtimes after rounding and the cap; jobs to be dropped keep their size."""
    exact = table.units[rows.index] * model.gpus_per_unit
    gpus = np.ceil(exact - 1e-9).astype(np.int64)
    line = table.row[rows.index]
    runtime = table.runtime_s[rows.index].copy()
    report.repair("GPUs rounded up to a whole number", np.unique(line[gpus > exact + 1e-9]))
    over = gpus > model.gpu_cap
    if not over.any():
        return gpus, runtime
    lines, work = np.unique(line[over]), gpu_hours(exact, runtime)[over]
    if model.over_cap is None:
        raise WorkloadError(
            f"workload.over_cap: {int(over.sum())} jobs of {report.file} ask for more than gpu_cap = {model.gpu_cap} "
            f"GPUs (rows {rows_shown(lines, len(lines))}; the largest for {int(gpus.max())}): "
            "say 'cut', 'spread' or 'drop'"
        )
    if model.over_cap == "drop":
        report.drop(f"more than {model.gpu_cap} GPUs (over_cap = drop)", lines, gpu_h=work)
        if over.all():
            raise WorkloadError(f"workload.gpu_cap: every job in the window asks for more than {model.gpu_cap} GPUs")
        return gpus, runtime
    if model.over_cap == "spread":
        runtime[over] *= gpus[over] / model.gpu_cap
    what = "runtime kept" if model.over_cap == "cut" else "work kept"
    report.repair(f"GPUs cut to {model.gpu_cap}, {what} (over_cap = {model.over_cap})", lines)
    return np.minimum(gpus, model.gpu_cap), runtime


def _draws(seed: int, name: str, table: TraceTable) -> Floats:
    """One uniform draw for every row of the trace, whatever the window is."""
    return streams.stream(streams.key(seed, f"workload/trace/{name}")).random(len(table))


def _copies(
    table: TraceTable, rows: _Rows, gpus: Ints, runtime: Floats, factor: float, days: float, seed: int
) -> _Picked:
    """Each job floor(factor) times, and once more with the remaining probability; copies lie near by in time."""
    count = np.floor(factor + _draws(seed, "copies", table)[rows.index]).astype(np.int64)
    if count.sum() > MAX_JOBS:
        raise WorkloadError(f"workload: a load factor of {factor:.3g} would make {int(count.sum())} jobs")
    at = np.repeat(np.arange(len(rows.index)), count)
    if not len(at):
        raise WorkloadError(f"workload: a load factor of {factor:.3g} leaves none of the {len(rows.index)} jobs")
    copy = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    chosen = rows.take(at)
    shift = streams.stream(streams.key(seed, "workload/trace/shift")).random(len(table))[chosen.index]
    moved = chosen.submit_s + COPY_SPREAD_S * (2.0 * ((shift + 0.6180339887498949 * copy) % 1.0) - 1.0)
    end = days * DAY_S
    moved = np.abs(moved)
    moved = np.where(moved >= end, np.maximum(2.0 * end - moved - 1.0, 0.0), moved)
    submit = np.where(copy > 0, moved, chosen.submit_s)
    nowhere = np.zeros(len(at), dtype=np.int64)
    return _Picked(_Rows(chosen.index, chosen.turn, submit), copy, runtime[at], gpus[at], nowhere)


def _homes(
    model: TraceModel, table: TraceTable, picked: _Picked, places: Sequence[Place]
) -> tuple[_Picked, dict[str, str] | str]:
    """Give every job a home site: the one that its row names, else the one that `homes` says."""
    choice = model.homes or ("column" if table.home is not None else "population")
    if choice != "column":
        return _homes_by(choice, table, picked, places)
    if table.home is None:
        raise WorkloadError("workload.homes: 'column', but the trace has no column for the home site")
    sites = [place.site for place in places]
    used = np.unique(table.home.code[picked.index])
    for name in (table.home.names[i] for i in used):
        if name and name not in sites:
            raise WorkloadError(
                f"workload.homes: the trace names a home {name!r}, but there is no such site; {hint(name, sites)}; "
                "or assign homes in another way, such as homes = 'population'"
            )
    filled, mapping = _homes_by("population", table, picked, places)
    index = np.array([sites.index(name) if name in sites else -1 for name in table.home.names])
    named = index[table.home.code[picked.index]]
    lacking = int((named < 0).sum())
    said = f"the trace's column; {lacking} jobs that have none: {mapping}" if lacking else "the trace's column"
    return replace(picked, home=np.where(named >= 0, named, filled.home)), said


def _homes_by(
    choice: str | dict[str, str], table: TraceTable, picked: _Picked, places: Sequence[Place]
) -> tuple[_Picked, dict[str, str] | str]:
    """Home sites by population or by a table.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998, doi 10.1109/90.663936): of all sites the one with
    the least -ln(u) / population, u a hash of cluster and site; so a new site takes jobs only to itself.
    """
    sites = [place.site for place in places]
    if choice == "jobs" or (choice == "population" and table.clusters == ("",)):
        best = np.full(len(picked.index), np.inf)
        home = np.zeros(len(picked.index), dtype=np.int64)
        for i, place in enumerate(places):
            if place.population > 0:
                u = 1.0 - _draws(0, f"home/{place.site}", table)[picked.index]
                u = (u + 0.6180339887498949 * picked.copy) % 1.0
                score = -np.log(np.maximum(u, 1e-300)) / place.population
                home, best = np.where(score < best, i, home), np.minimum(score, best)
        return replace(picked, home=home), "each job by population"
    if isinstance(choice, str):
        chosen = {name: _home_of(name, places) for name in table.clusters}
    else:
        chosen = choice
        for name, site in chosen.items():
            if site not in sites:
                raise WorkloadError(f"workload.homes: {name!r}: no site {site!r}; {hint(site, sites)}")
            if name not in table.clusters:
                raise WorkloadError(f"workload.homes: no virtual cluster {name!r}; {hint(name, table.clusters)}")
        lacking = [table.clusters[i] for i in np.unique(table.cluster[picked.index]) if table.clusters[i] not in chosen]
        if lacking:
            raise WorkloadError(f"workload.homes: no home for virtual cluster {', '.join(map(repr, lacking[:8]))}")
    index = np.array([sites.index(chosen[name]) if name in chosen else -1 for name in table.clusters])
    return replace(picked, home=index[table.cluster[picked.index]]), dict(chosen)


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
    # A gang spread over fewer GPUs runs longer than its user thought, in proportion.
    estimate = table.estimate_s[picked.index] * picked.runtime_s / table.runtime_s[picked.index]
    missing = ~(estimate > 0)
    if missing.any():
        lines = np.unique(table.row[picked.index][missing])
        if model.estimate_factor is None:
            raise WorkloadError(
                f"workload.estimates: 'column', but {len(lines)} rows of {report.file} have no estimate (rows "
                f"{rows_shown(lines, len(lines))}); say 'exact' or 'factor', or beside 'column' an estimate_factor "
                "for these rows"
            )
        report.repair(f"no estimate: {model.estimate_factor:g} times the runtime", lines)
        estimate = np.where(missing, picked.runtime_s * model.estimate_factor, estimate)
    below = np.unique(table.row[picked.index][estimate < picked.runtime_s])
    report.remarks["estimates_below_runtime"] = len(below)
    return np.asarray(estimate)


def _parts(model: TraceModel, runtime: Floats) -> Ints:
    """In how many segments each job comes."""
    cap_s = 3600.0 * model.runtime_cap_h if model.runtime_cap_h else math.inf
    return np.maximum(1, np.ceil(runtime / cap_s - 1e-9)).astype(np.int64)


def _slack_s(model: TraceModel, table: TraceTable, picked: _Picked, estimate_s: Floats, report: Integrity) -> Floats:
    """Slack of every job [s]: what the trace says, else what the experiment does.

    A deadline leaves as slack what remains of the time from submission once the estimate is taken off.
    """
    line = table.row[picked.index]
    slack = np.full(len(line), np.nan) if table.slack_s is None else table.slack_s[picked.index]
    if table.deadline_s is not None:
        speed = model.recorded_on if isinstance(model.recorded_on, float) else 1.0
        left = (table.deadline_s - table.submit_s)[picked.index] - estimate_s / speed
        late = np.isnan(slack) & (left < 0)
        report.repair("deadline too early even for a start at submission: no slack", np.unique(line[late]))
        slack = np.where(np.isnan(slack), np.maximum(left, 0.0), slack)
    negative = slack < 0
    report.repair("negative slack, set to 0", np.unique(line[negative]))
    slack = np.where(negative, 0.0, slack)
    missing = np.isnan(slack)
    if not missing.any():
        return slack
    lines = np.unique(line[missing])
    if model.slack_h is None and model.slack_factor is None:
        raise WorkloadError(
            f"workload.slack_h: {len(lines)} rows of {report.file} give neither slack nor deadline (rows "
            f"{rows_shown(lines, len(lines))}): give slack_h or slack_factor for them"
        )
    if not missing.all():
        report.repair("no slack or deadline: the experiment's is used", lines)
    given = HOUR_S * model.slack_h if model.slack_h is not None else (model.slack_factor or 0.0) * estimate_s
    return np.where(missing, given, slack)


@dataclass(frozen=True)
class _Asked:
    """Requests of users beside GPUs and time, row by row of what was picked."""

    slack_s: Floats
    interruptible: Any
    priority: Ints
    checkpoints: list[Checkpoint]
    datasets: list[Dataset]
    start_s: Floats
    places: list[str]
    floors: list[float]
    curves: list[PowerCurve]


def _asked(
    model: TraceModel,
    table: TraceTable,
    picked: _Picked,
    sites: Sequence[Place],
    estimate_s: Floats,
    seed: int,
    report: Integrity,
) -> _Asked:
    at = picked.index
    interruptible = (_draws(seed, "interruptible", table) < model.interruptible_share)[at]
    if table.interruptible is not None:
        said = table.interruptible[at]
        interruptible = np.where(said >= 0, said == 1, interruptible)
    priority = np.zeros(len(at), dtype=np.int64)
    if table.priority is not None:
        priority = np.nan_to_num(np.clip(table.priority[at], -1e9, 1e9)).astype(np.int64)
    sizes = np.full(len(at), model.checkpoint_gb)
    if table.checkpoint_gb is not None:
        sizes = np.where(table.checkpoint_gb[at] >= 0, table.checkpoint_gb[at], model.checkpoint_gb)
    kinds = {size: Checkpoint(size, model.checkpoint_write_s, model.restart_s) for size in np.unique(sizes).tolist()}
    curves = _curves(model, table)
    start = np.full(len(at), np.nan)
    if table.start_s is not None:
        start = picked.rows.submit_s + (table.start_s - table.submit_s)[at]
    return _Asked(
        slack_s=_slack_s(model, table, picked, estimate_s, report),
        interruptible=interruptible,
        priority=priority,
        checkpoints=[kinds[size] for size in sizes.tolist()],
        datasets=_datasets(model, table, picked, sites),
        start_s=start,
        places=_places(table, picked, sites),
        floors=_floors(model, table, picked),
        curves=[curves[kind] for kind in table.kind[at].tolist()],
    )


def _curves(model: TraceModel, table: TraceTable) -> list[PowerCurve]:
    """The power curve of each class of the trace.

    Raises
    ------
    WorkloadError
        If the experiment speaks of a class that the trace does not have.
    """
    for name in model.classes:
        if name not in table.kinds:
            known = [kind for kind in table.kinds if kind]
            has = hint(name, known) if known else "it has no column of classes"
            raise WorkloadError(f"workload.classes: the trace has no class {name!r}; {has}")
    given = (model.classes.get(name) for name in table.kinds)
    return [(one and one.power_curve) or model.power_curve for one in given]


def _floors(model: TraceModel, table: TraceTable, picked: _Picked) -> list[float]:
    """The least throughput of each job while the grid asks for less: by its row, its class, or that of all jobs."""
    given = (model.classes.get(name) for name in table.kinds)
    by_class = np.array([TIERS[(one and one.flexibility) or model.flexibility] for one in given])
    floors = by_class[table.kind[picked.index]]
    if table.tier is not None:
        said = np.array([TIERS.get(cast(Tier, name), np.nan) for name in table.tier.names])[
            table.tier.code[picked.index]
        ]
        floors = np.where(np.isnan(said), floors, said)
    return [float(floor) for floor in floors]


def _datasets(model: TraceModel, table: TraceTable, picked: _Picked, sites: Sequence[Place]) -> list[Dataset]:
    """The data of each job: named data lives at the home of the first job that reads it, other data at its job's."""
    trace = Path(model.format).name.removesuffix(".toml")
    own = [Dataset(f"{trace}@{place.site}", model.dataset_gb, place.site, model.residency) for place in sites]
    homes = picked.home.tolist()
    if table.dataset is None:
        return [own[home] for home in homes]
    size = np.full(len(table), np.nan) if table.dataset_gb is None else table.dataset_gb
    named: dict[str, Dataset] = {}
    found = []
    names = (table.dataset.names[code] for code in table.dataset.code[picked.index].tolist())
    for name, home, gb in zip(names, homes, size[picked.index].tolist(), strict=True):
        if name and name not in named:
            named[name] = Dataset(name, gb if gb >= 0 else model.dataset_gb, sites[home].site, model.residency)
        found.append(named[name] if name else own[home])
    return found


def _places(table: TraceTable, picked: _Picked, sites: Sequence[Place]) -> list[str]:
    """Site at which each job ran, as far as the trace says it by the name of a site here; else a lone site."""
    if len(sites) == 1:
        return [sites[0].site] * len(picked.index)
    known = {place.site for place in sites}
    column = table.place or table.home
    if column is None:
        return [""] * len(picked.index)
    names = [name if name in known else "" for name in column.names]
    return [names[code] for code in column.code[picked.index].tolist()]


def _jobs(
    model: TraceModel,
    table: TraceTable,
    picked: _Picked,
    places: Sequence[Place],
    days: float,
    seed: int,
    report: Integrity,
) -> tuple[Sequence[Job], int]:
    """The jobs, and how many segments of chains would be submitted after the window."""
    estimate = _estimate(model, table, picked, report)
    parts = _parts(model, picked.runtime_s)
    repaired = np.unique(table.row[picked.index][parts > 1])
    report.repair(f"split into chained segments of at most {model.runtime_cap_h} h", repaired)
    asked = _asked(model, table, picked, places, estimate / parts, seed, report)
    # Every segment: the row picked that it is of, and which of its segments it is, by submission.
    row = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    runtime = picked.runtime_s / parts
    submit = picked.rows.submit_s[row] + part * runtime[row]
    order = np.argsort(submit, kind="stable")
    order = order[submit[order] < days * DAY_S]
    beyond, row, part = len(row) - len(order), row[order], part[order]
    job_id, kind, kinds = named(_each(model, table, picked, places, asked, row, part, parts))
    jobs = JobTable(
        job_id=job_id,
        submit_s=submit[order],
        gpus=picked.gpus[row],
        estimate_s=(estimate / parts)[row],
        slack_s=np.asarray(asked.slack_s, dtype=np.float64)[row],
        work_gpu_s=picked.gpus[row] * runtime[row],
        ends_at=np.ones(len(row)),
        logged_start_s=asked.start_s[row] + part * runtime[row],
        kind=kind,
        kinds=kinds,
    )
    try:
        return in_order(jobs), beyond
    except ValueError as error:
        raise WorkloadError(f"{report.file}: {error}, after copies and segments were named") from None


def _each(
    model: TraceModel,
    table: TraceTable,
    picked: _Picked,
    places: Sequence[Place],
    asked: _Asked,
    row: Ints,
    part: Ints,
    parts: Ints,
) -> Iterator[tuple[str, Shared]]:
    """The name of every segment, and what it has in common with others."""
    tenants: dict[tuple[int, int], Tenant] = {}
    at = picked.index
    columns = (
        at, picked.copy, picked.rows.turn, picked.home, parts, table.cluster[at], table.kind[at], table.status[at],
        table.row[at], asked.interruptible, asked.priority,
    )  # fmt: skip
    for begin in range(0, len(row), JOBS_AT_ONCE):
        rows, these = row[begin : begin + JOBS_AT_ONCE], part[begin : begin + JOBS_AT_ONCE]
        values = (column[rows].tolist() for column in columns)
        for place, segment, index, copy, turn, home, chain, cluster, kind, status, line, may_stop, priority in zip(
            rows.tolist(), these.tolist(), *values, strict=True
        ):
            who = tenants.get((home, cluster))
            if who is None:
                who = tenants[home, cluster] = Tenant(places[home].region, "trace", table.clusters[cluster])
            name = _name(table.ids[index] if table.ids else f"r{line}", turn, copy)
            yield (
                f"{name}.{segment + 1}" if chain > 1 else name,
                Shared(
                    tenant=who,
                    home=places[home].site,
                    dataset=asked.datasets[place],
                    checkpoint=asked.checkpoints[place],
                    interruptible=may_stop,
                    priority=priority,
                    intensity=model.intensity,
                    job_class=table.kinds[kind] or "trace",
                    event_floor=asked.floors[place],
                    power_curve=asked.curves[place],
                    elasticity="rigid",
                    gpus_min=0,
                    gpus_max=0,
                    speedup=None,
                    logged_site=asked.places[place],
                    ending=STATUS[status] if segment == chain - 1 else "done",
                ),
            )


def _name(job_id: str, turn: int, copy: int) -> str:
    """Name of a job's copy in a turn of the trace, both counted from 0, the first of which need no mark."""
    name = f"{job_id}@{turn + 1}" if turn else job_id
    return f"{name}~{copy + 1}" if copy else name
