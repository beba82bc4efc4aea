"""Draws jobs from a mix: how many arrive each day at each site, and what each of them is.

Every draw belongs to one (site, class, local day) and, within it, to one position, so that a site more,
a longer run or another rate leaves all other jobs as they were. `stratified` draws (a choice) keep weeks
alike although few large jobs hold most of the work: the number of jobs of a class, site and day is its
expectation rounded up or down at random, and sizes and runtimes follow a randomly shifted Kronecker
sequence over the days (Cranley and Patterson 1976, doi 10.1137/0713071), so each job's own distribution is
exactly that of the mix. `independent` draws are Poisson arrivals of independent jobs.
"""

from __future__ import annotations

import gc
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads import streams
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import TIERS, Checkpoint, Dataset, Ending, Job, SpeedUp, Tenant
from tafukt.workloads.job_table import JOBS_AT_ONCE, JobTable, Shared, in_order, named
from tafukt.workloads.mix import ClassModel, MixModel
from tafukt.workloads.plan import CANCEL_POWER, FAIL_POWER, MIN_RUNTIME_S, Plan, gang_weights, plan
from tafukt.workloads.schema import Demand, ElasticModel, GeneratorModel, Place
from tafukt.workloads.units import DAY_S, SHARE_STEP, TICK_S, YEAR_S, Floats, Ints, whole

# Steps of the evenly spread sequences of (runtime, size): from day to day powers of the plastic number's
# inverse, from job to job within a day the fractions of the roots of 2 and 3.
DAY_STEP = (0.7548776662466927, 0.5698402909980532)
JOB_STEP = (0.41421356237309515, 0.7320508075688772)
MARKS = (
    "time",
    "function",
    "data",
    "slack",
    "interruptible",
    "ending",
    "ends_at",
    "estimate",
    "elastic",
    "runtime",
    "gpus",
)


def generate(
    model: GeneratorModel,
    places: Sequence[Place],
    start: datetime,
    days: float,
    seed: int,
    folder: Path,
    mix: MixModel | None = None,
) -> Demand:
    """Draw the jobs that are submitted in [0, days) (see `workloads.build.build`).

    `mix` takes the place of the one that the model names.
    """
    scheme = plan(model, places, folder, mix)
    zone = ZoneInfo(scheme.mix.arrival.timezone)
    first = start.astimezone(zone).date() - timedelta(days=_carry_in_days(model, scheme))
    last = (start + timedelta(days=days)).astimezone(zone).date()
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    midnights = np.array([datetime(d.year, d.month, d.day, tzinfo=zone).timestamp() for d in dates]) - start.timestamp()
    _refuse_flood(model, scheme, dates, midnights)
    blocks = []
    for place in places:
        share = scheme.home_share.get(place.site, 0.0)
        if share <= 0:
            continue
        for name in scheme.classes:
            daily = scheme.jobs_per_day * share * scheme.class_share[name] * _rates(model, scheme, dates, midnights)
            blocks.append(_draw(model, scheme, place, name, daily, dates, midnights, seed))
    columns = Columns.concatenate(blocks)
    online = {place.site: place.online_s if model.before_online == "none" else -math.inf for place in places}
    opened = np.array([online[home] for home in columns.homes])[columns.home] if len(columns) else np.empty(0)
    columns = columns.take((columns.submit_s >= np.maximum(opened, 0.0)) & (columns.submit_s < days * DAY_S))
    columns = columns.on_clock()
    jobs = assemble(columns, scheme.mix, scheme.classes, model.elastic, scheme.gang_cap, {p.site: p for p in places})
    return Demand(jobs, _notes(model, scheme, dates, midnights, days, columns))


JOBS_MOST = 20_000_000


def _refuse_flood(model: GeneratorModel, scheme: Plan, dates: Sequence[date], midnights: Floats) -> None:
    """Refuse a demand before it is drawn that no memory would hold."""
    expected = float(scheme.jobs_per_day * _rates(model, scheme, dates, midnights).sum())
    if not expected <= JOBS_MOST:
        key = "load" if model.load is not None else "jobs_per_day_per_million"
        raise WorkloadError(
            f"workload.{key} = {getattr(model, key):g}: makes about {expected:.3g} jobs in {len(dates)} days on these "
            f"sites; at most {JOBS_MOST} are allowed"
        )


def _carry_in_days(model: GeneratorModel, scheme: Plan) -> int:
    """Days before the start whose chains may still submit segments after it."""
    longest = max(float(c.runtime_s(np.array([1 - 1e-9]))[0]) for c in scheme.classes.values())
    cap_s = model.runtime_cap_h * 3600.0
    return 1 + math.ceil(min(longest, cap_s * model.segments_max) / DAY_S) if longest > cap_s else 1


def _rates(model: GeneratorModel, scheme: Plan, dates: Sequence[date], midnights: Floats) -> Floats:
    """Demand on each local day, relative to an average day at the start."""
    weekday = np.array([scheme.mix.arrival.weekday[d.weekday()] for d in dates])
    return np.asarray(weekday * (1 + model.growth_per_year) ** (np.maximum(midnights, 0.0) / YEAR_S))


def _draw(
    model: GeneratorModel,
    scheme: Plan,
    place: Place,
    name: str,
    daily: Floats,
    dates: Sequence[date],
    midnights: Floats,
    seed: int,
) -> Columns:
    """All jobs of one class at one site, days in order."""
    path = f"workload/{place.site}/{name}"
    key = streams.key(seed, path)
    shift = [streams.uniform(seed, f"{path}/{what}") for what in ("runtime", "gpus")]
    stratified = model.draws == "stratified"
    rows, day_index, position = [], [], []
    for index, (day, mean) in enumerate(zip(dates, daily, strict=True)):
        rng = streams.stream(key, day.toordinal())
        u = float(rng.random())
        count = int(mean + u) if stratified else _poisson_quantile(u, mean)
        if count:
            rows.append(rng.random((count, len(MARKS))))
            day_index.append(np.full(count, index))
            position.append(np.arange(count))
    if not rows:
        return Columns.empty(place.site, name)
    marks = dict(zip(MARKS, np.concatenate(rows).T, strict=True))
    index_of = np.concatenate(day_index)
    within = np.concatenate(position)
    ordinal = np.array([d.toordinal() for d in dates])[index_of]
    if stratified:
        for what, phase, by_day, by_job in zip(("runtime", "gpus"), shift, DAY_STEP, JOB_STEP, strict=True):
            # Ordinals stay below 2**20, so the sums keep ten digits after the point.
            marks[what] = (phase + by_day * ordinal + by_job * within) % 1.0
    marks["runtime"] = np.clip(marks["runtime"], 1e-12, 1 - 1e-12)
    hours = np.concatenate(([0.0], np.cumsum(scheme.mix.arrival.hour))) / 24.0
    submit = np.floor(midnights[index_of] + np.interp(marks["time"], hours, np.arange(25) * 3600.0))
    return _segments(model, scheme, place, name, submit, marks, ordinal, within)


def _poisson_quantile(u: float, mean: float) -> int:
    """The Poisson quantile of `u`: by inversion, so that a larger mean never takes a job away."""
    from scipy.special import pdtrik

    count = max(0, math.ceil(float(pdtrik(u, mean)))) if mean > 0 else 0
    return count if u > math.exp(-mean) else 0


def _segments(
    model: GeneratorModel,
    scheme: Plan,
    place: Place,
    name: str,
    submit: Floats,
    marks: dict[str, Floats],
    ordinal: NDArray[np.int64],
    within: NDArray[np.int64],
) -> Columns:
    """Turn draws into jobs, splitting what is longer than the cap into a chain of equal segments.

    A chain is several jobs: each is submitted when its predecessor would end if it started at once. What
    comes after the point at which the whole fails or is cancelled is never submitted.
    """
    kind = scheme.classes[name]
    cap_s = model.runtime_cap_h * 3600.0
    total = np.clip(kind.runtime_s(marks["runtime"]), MIN_RUNTIME_S, cap_s * model.segments_max)
    sizes, weights = gang_weights(kind, scheme.gang_cap)
    gpus = sizes[np.minimum(np.searchsorted(np.cumsum(weights), marks["gpus"], side="right"), len(sizes) - 1)]
    failed = marks["ending"] < kind.fail_prob
    cancelled = ~failed & (marks["ending"] < kind.fail_prob + kind.cancel_prob)
    ends_at = np.where(
        failed, marks["ends_at"] ** FAIL_POWER, np.where(cancelled, marks["ends_at"] ** CANCEL_POWER, 1.0)
    )
    parts = np.maximum(1, np.ceil(total / cap_s - 1e-9)).astype(np.int64)
    submitted = np.clip(np.ceil(ends_at * parts), 1, parts).astype(np.int64)
    row = np.repeat(np.arange(len(total)), submitted)
    segment = np.arange(len(row)) - np.repeat(np.cumsum(submitted) - submitted, submitted)
    runtime = np.maximum(total / parts, MIN_RUNTIME_S)[row]
    is_last = segment == submitted[row] - 1
    ending = np.where(is_last, np.where(failed, 1, np.where(cancelled, 2, 0))[row], 0).astype(np.int8)
    share = np.where(is_last, np.clip(ends_at * parts - (submitted - 1), 1e-6, 1.0)[row], 1.0)
    names, cumulative = scheme.function_share[name]
    function = np.minimum(np.searchsorted(cumulative, marks["function"], side="right"), len(names) - 1)
    low, high = (3600.0 * hours for hours in kind.slack_h)
    return Columns(
        homes=(place.site,),
        classes=(name,),
        functions=names,
        home=np.zeros(len(row), dtype=np.int16),
        kind=np.zeros(len(row), dtype=np.int16),
        function=function[row].astype(np.int16),
        data=marks["data"][row],
        ordinal=ordinal[row],
        position=within[row],
        segment=np.where(parts[row] > 1, segment, -1),
        submit_s=np.floor(submit[row] + segment * runtime),
        gpus=gpus[row],
        runtime_s=runtime,
        ending=ending,
        ends_at=share,
        slack_s=np.rint(low + (high - low) * marks["slack"])[row],
        interruptible=(marks["interruptible"] < kind.interruptible_share)[row],
        estimate_s=_estimates(model, runtime, marks["estimate"][row], cap_s),
        elastic=((marks["elastic"] < model.elastic.share) & (gpus > 1))[row],
    )


# Limits that users type, up to a day by the hour [s]; a choice after the modal estimates that
# Tsafrir, Etsion and Feitelson (2005, doi 10.1007/11605300_1) found.
USUAL_LIMITS_S = np.array([5, 10, 15, 30, 60, 90, 120, 180, 240, 360, 480, 600, 720, 960, 1200, 1440]) * 60.0


def _estimates(model: GeneratorModel, runtime: Floats, u: Floats, cap_s: float) -> Floats:
    """Users' estimates for the whole job, never below the truth unless a factor says so.

    `steps` multiplies the runtime by a factor uniform in [1, 1.2]: who trains knows the number of steps and,
    from a trial, the seconds of each (the margin is a choice). `limits` is what batch systems see: the
    runtime times a factor uniform in [1, 2] (the f-model with f = 1 of Mu'alem and Feitelson 2001, doi
    10.1109/71.932708), rounded up to a usual limit, above a day to the next six hours; no more than the
    cap on runtimes.
    """
    if model.estimates == "exact":
        return runtime
    if model.estimates == "factor":
        return np.asarray(runtime * model.estimate_factor)
    if model.estimates == "steps":
        return np.asarray(runtime * (1.0 + 0.2 * u))
    wanted = runtime * (1.0 + u)
    short = USUAL_LIMITS_S[np.minimum(np.searchsorted(USUAL_LIMITS_S, wanted), len(USUAL_LIMITS_S) - 1)]
    long = np.ceil(wanted / 21_600.0) * 21_600.0
    return np.asarray(np.maximum(np.minimum(np.where(wanted <= USUAL_LIMITS_S[-1], short, long), cap_s), runtime))


def _notes(
    model: GeneratorModel, scheme: Plan, dates: Sequence[date], midnights: Floats, days: float, columns: Columns
) -> dict[str, Any]:
    """Notes of the manifest about this workload."""
    due = columns.gpus * columns.runtime_s * columns.ends_at
    capacity = scheme.gpus * days * DAY_S
    edges = np.append(midnights, midnights[-1] + DAY_S)
    covered = np.clip(np.minimum(edges[1:], days * DAY_S) - np.maximum(edges[:-1], 0.0), 0.0, None) / DAY_S
    rates = _rates(model, scheme, dates, midnights)
    return {
        "kind": "generator",
        "mix": Path(model.mix).name,  # a path is no part of a result
        "classes": list(scheme.classes),
        "draws": model.draws,
        "gang_cap_gpus": scheme.gang_cap,
        "jobs_per_day": round(scheme.jobs_per_day, 6),
        "load_weekly_mean": round(scheme.load, 6),
        "load_expected_on_these_days": round(scheme.load * float(rates @ covered) / days, 6),
        "load_offered": round(float(due.sum()) / capacity, 6),
        "jobs": len(columns),
        "chained_segments": int((columns.segment >= 0).sum()),
        "gpu_hours_by_class": {
            name: round(float(due[columns.kind == i].sum()) / 3600.0, 3) for i, name in enumerate(columns.classes)
        },
    }


# --- Columns of drawn numbers -> jobs that share their tenants, data sets, checkpoints and curves


Small = NDArray[np.int16]

ENDINGS: tuple[Ending, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Columns:
    """Jobs as columns of one length; `home`, `kind` and `function` are indices into the three name lists.

    `ordinal` and `position` name the draw (local day, place within it), `segment` the place in a chain
    (-1 for none); `data` is the draw that decides programme and data set; `ending` indexes `ENDINGS`.
    """

    homes: tuple[str, ...]
    classes: tuple[str, ...]
    functions: tuple[str, ...]
    home: Small
    kind: Small
    function: Small
    data: Floats
    ordinal: Ints
    position: Ints
    segment: Ints
    submit_s: Floats
    gpus: Ints
    runtime_s: Floats
    ending: NDArray[np.int8]
    ends_at: Floats
    slack_s: Floats
    interruptible: NDArray[np.bool_]
    estimate_s: Floats
    elastic: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.submit_s)

    def on_clock(self) -> Columns:
        """The same jobs with times and shares in whole steps."""
        return replace(
            self,
            submit_s=np.floor(self.submit_s / TICK_S) * TICK_S,  # never past the window's end
            runtime_s=whole(self.runtime_s, TICK_S, TICK_S),
            slack_s=whole(self.slack_s, TICK_S),
            estimate_s=whole(self.estimate_s, TICK_S, TICK_S),
            ends_at=whole(self.ends_at, SHARE_STEP, SHARE_STEP),
        )

    @classmethod
    def empty(cls, home: str, kind: str) -> Columns:
        """No jobs, of one site and class."""
        return cls((home,), (kind,), (), *(np.empty(0, dtype=np.int64) for _ in fields(cls)[3:]))  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, blocks: Sequence[Columns]) -> Columns:
        """All blocks in one, their name lists united."""
        united: dict[str, tuple[str, ...]] = {}
        for names in ("homes", "classes", "functions"):
            united[names] = tuple(dict.fromkeys(name for block in blocks for name in getattr(block, names)))
        data: dict[str, Any] = dict(united)
        indices = {"home": "homes", "kind": "classes", "function": "functions"}
        for item in fields(cls)[3:]:
            parts = []
            for block in blocks:
                values = getattr(block, item.name)
                if len(values) and item.name in indices:
                    names = indices[item.name]
                    index = np.array([united[names].index(name) for name in getattr(block, names)], dtype=np.int16)
                    values = index[values]
                parts.append(values)
            data[item.name] = np.concatenate([part for part in parts if len(part)] or parts[:1])
        return cls(**data)

    def rows(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some columns as plain values, row by row."""
        for begin in range(0, len(self), JOBS_AT_ONCE):
            part = slice(begin, begin + JOBS_AT_ONCE)
            yield from zip(*(getattr(self, name)[part].tolist() for name in names), strict=True)

    def take(self, keep: NDArray[Any]) -> Columns:
        """The rows where `keep` is true, or those that it names, in its order."""
        return Columns(
            self.homes, self.classes, self.functions, *(getattr(self, item.name)[keep] for item in fields(self)[3:])
        )


def speed_up(model: ElasticModel, most: int) -> SpeedUp:
    """The throughput curve of a law up to `most` GPUs, exact at every size up to 64, then at powers of two."""
    if model.law == "table":
        return SpeedUp(model.gpus, model.throughput)
    sizes = list(range(1, min(most, 64) + 1))
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    if model.law == "amdahl":
        return SpeedUp(tuple(sizes), tuple(1.0 / (model.serial + (1.0 - model.serial) / n) for n in sizes))
    return SpeedUp(tuple(sizes), tuple(float(n) ** model.exponent for n in sizes))


@contextmanager
def paused_collection() -> Iterator[None]:
    """No cyclic garbage collection meanwhile: a million jobs hold no cycles, yet walking them is most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Common:
    """Instances that many jobs have in common."""

    def __init__(self, mix: MixModel, places: Mapping[str, Place]) -> None:
        self.mix = mix
        self.places = places
        self.tenants: dict[tuple[str, str, str], Tenant] = {}
        self.datasets: dict[tuple[str, str], Dataset] = {}
        self.cuts: dict[str, tuple[list[str], list[float], list[str], list[float]]] = {}
        for name, function in mix.functions.items():
            cut: list[Any] = []
            for table in (function.programmes, function.datasets):
                weights = np.array(list(table.values()))
                cut += [list(table), (np.cumsum(weights) / weights.sum()).tolist()]
            self.cuts[name] = (cut[0], cut[1], cut[2], cut[3])

    def tenant_and_data(self, home: str, function: str, u: float) -> tuple[Tenant, Dataset]:
        """Tenant and data set of a job: one draw decides both."""
        programmes, programme_cut, datasets, dataset_cut = self.cuts[function]
        programme = programmes[min(bisect_right(programme_cut, u), len(programmes) - 1)]
        dataset = datasets[min(bisect_right(dataset_cut, u), len(datasets) - 1)]
        place = self.places[home]
        who = (place.region, function, programme)
        if who not in self.tenants:
            self.tenants[who] = Tenant(*who)
        return self.tenants[who], self.dataset(dataset, home)

    def dataset(self, name: str, home: str) -> Dataset:
        """A data set of the mix; one that has no site of its own in this scenario lives with its tenant."""
        model = self.mix.datasets[name]
        where = model.home if model.home in self.places else home
        if (name, where) not in self.datasets:
            label = name if model.home == where else f"{name}@{where}"
            self.datasets[name, where] = Dataset(label, model.size_gb, where, model.residency)
        return self.datasets[name, where]


def _checkpoint(model: ClassModel) -> Checkpoint:
    return Checkpoint(model.checkpoint_gb, model.checkpoint_write_s, model.restart_s, model.checkpoint_interval_s)


def elastic_range(model: ElasticModel, gpus: int, cap: int) -> tuple[int, int]:
    """Smallest and largest size of an elastic job that asks for `gpus`."""
    most = max(gpus, min(int(gpus * model.most), cap))
    if model.law == "table":
        most = max(gpus, min(most, model.gpus[-1]))
    return max(1, int(np.ceil(gpus * model.least))), most


def assemble(
    columns: Columns,
    mix: MixModel,
    classes: Mapping[str, ClassModel],
    elastic: ElasticModel,
    gang_cap: int,
    places: Mapping[str, Place],
) -> Sequence[Job]:
    """The jobs of a table of columns, by submission."""
    with paused_collection():
        columns = columns.take(np.argsort(columns.submit_s, kind="stable"))
        job_id, kind, kinds = named(_each(columns, mix, classes, elastic, gang_cap, places))
        jobs = JobTable(
            job_id=job_id,
            submit_s=columns.submit_s.astype(np.float64),
            gpus=columns.gpus,
            estimate_s=columns.estimate_s,
            slack_s=columns.slack_s,
            work_gpu_s=columns.gpus * columns.runtime_s,
            ends_at=columns.ends_at,
            logged_start_s=np.full(len(columns), np.nan),
            kind=kind,
            kinds=kinds,
        )
        return in_order(jobs)


def _each(
    columns: Columns,
    mix: MixModel,
    classes: Mapping[str, ClassModel],
    elastic: ElasticModel,
    gang_cap: int,
    places: Mapping[str, Place],
) -> Iterator[tuple[str, Shared]]:
    """The name of every job, and what it has in common with others."""
    common = _Common(mix, places)
    checkpoints = [_checkpoint(classes[name]) for name in columns.classes]
    curve = speed_up(elastic, max(gang_cap, int(columns.gpus.max(initial=1)))) if elastic.share > 0 else None
    codes = [classes[name].code for name in columns.classes]
    stamps = {n: date.fromordinal(n).strftime("%y%m%d") for n in sorted(set(columns.ordinal.tolist()))}
    wanted = ("home", "kind", "function", "data", "ordinal", "position", "segment", "gpus", "ending", "interruptible",
              "elastic")  # fmt: skip
    for (
        home, kind, function, data, ordinal, position, segment, gpus, ending, interruptible, stretches,
    ) in columns.rows(*wanted):  # fmt: skip
        site, name = columns.homes[home], columns.classes[kind]
        tenant, dataset = common.tenant_and_data(site, columns.functions[function], data)
        tail = f".{segment + 1}" if segment >= 0 else ""
        least, most = elastic_range(elastic, gpus, gang_cap) if stretches else (0, 0)
        yield (
            f"{site}-{stamps[ordinal]}-{codes[kind]}{position:03d}{tail}",
            Shared(
                tenant=tenant,
                home=site,
                dataset=dataset,
                checkpoint=checkpoints[kind],
                interruptible=interruptible,
                priority=mix.functions[tenant.function].priority,
                intensity=classes[name].intensity,
                job_class=name,
                event_floor=TIERS[classes[name].flexibility],
                power_curve=classes[name].power_curve,
                elasticity=elastic.kind if stretches else "rigid",
                gpus_min=least,
                gpus_max=most,
                speedup=curve if stretches else None,
                logged_site="",
                ending=ENDINGS[ending],
            ),
        )
