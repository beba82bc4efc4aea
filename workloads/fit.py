"""Fits a mix to a trace or to published tables, and says by KS distances how well jobs drawn from it agree."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tafukt.problems import hint
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.generator import generate
from tafukt.workloads.job_table import numbers_of
from tafukt.workloads.mix import ArrivalModel, ClassModel, DatasetModel, FunctionModel, MixModel, load_mix
from tafukt.workloads.schema import GeneratorModel, Place
from tafukt.workloads.traces.table import TraceTable
from tafukt.workloads.units import DAY_S, Floats

# Gangs are grouped into classes by these lower bounds: runtimes differ with size.
SIZE_BOUNDS = (1, 2, 5, 9, 33)
QUANTILES = 64
MONDAY_EPOCH_DAY = 4  # 1970-01-05
TABLES = ("trace_duration_cdf_pct.csv", "trace_gpu_count_cdf_pct.csv")


@dataclass(frozen=True)
class Fit:
    """A fitted mix, the jobs a day that go with it, and the distances to what it was fitted to."""

    mix: MixModel
    jobs_per_day: float
    quality: dict[str, Any]

    def toml(self) -> str:
        """The mix as a file that `workload.mix` can name."""
        import tomli_w

        table = self.mix.model_dump(mode="json", exclude_none=True)
        return str(tomli_w.dumps(table))


def _quantile_pairs(runtime_s: Floats) -> tuple[tuple[float, float], ...]:
    """(probability, runtime [h]) pairs that follow the sample, denser where the tail is."""
    low = np.linspace(0.0, 0.96, QUANTILES * 3 // 4)
    high = 1.0 - 0.04 * np.geomspace(1.0, 0.002, QUANTILES // 4)[1:]
    p = np.concatenate((low, high, [1.0]))
    hours = np.maximum.accumulate(np.maximum(np.quantile(runtime_s, p), 1.0)) / 3600.0
    return tuple((float(a), float(b)) for a, b in zip(p, hours, strict=True))


def _class(code: str, gpus: Floats, runtime_s: Floats) -> ClassModel:
    sizes, counts = np.unique(gpus.astype(np.int64), return_counts=True)
    return ClassModel.model_validate(
        {
            "title": f"{sizes[0]} to {sizes[-1]} GPUs" if len(sizes) > 1 else f"{sizes[0]} GPUs",
            "code": code,
            "gpus": sizes.tolist(),
            "gpus_weights": counts.astype(float).tolist(),
            "runtime_quantiles_h": _quantile_pairs(runtime_s),
            "slack_h": (0.0, 0.0),
            "interruptible_share": 0.7,
            "basis": {
                "gpus": "fitted",
                "runtime": "fitted: observed runtimes include jobs that ended early, so no others fail or are "
                "cancelled",
                "slack_h": "choice: traces do not say; set it in workload.classes",
                "interruptible_share": "choice",
            },
        }
    )


def _mix(title: str, arrival: ArrivalModel, classes: dict[str, ClassModel], counts: dict[str, float]) -> MixModel:
    function = FunctionModel.model_validate(
        {"title": title, "share": 1.0, "classes": counts, "datasets": {"data": 1.0}, "basis": "fitted"}
    )
    data = DatasetModel.model_validate({"size_gb": 0.0, "basis": "choice: traces do not say"})
    return MixModel.model_validate(
        {
            "title": title,
            "arrival": arrival.model_dump(),
            "datasets": {"data": data.model_dump()},
            "functions": {"trace": function.model_dump()},
            "classes": {name: model.model_dump() for name, model in classes.items()},
        }
    )


def fit_trace(table: TraceTable, title: str = "trace", seed: int = 1) -> Fit:
    """Fit a mix to a trace: sizes and runtimes by size class, arrivals by hour and weekday.

    The quality compares as many days of drawn jobs with the trace (two-sample Kolmogorov-Smirnov distances
    of duration, GPUs and time between arrivals).
    """
    if len(table) < 2:
        raise WorkloadError(f"{title}: a fit needs at least two jobs, got {len(table)}")
    gpus = np.ceil(table.units)
    bucket = np.searchsorted(np.array(SIZE_BOUNDS), gpus, side="right") - 1
    classes, counts = {}, {}
    for index in np.unique(bucket).tolist():
        chosen = bucket == index
        name = f"from_{SIZE_BOUNDS[index]}_gpus"
        classes[name] = _class(f"g{SIZE_BOUNDS[index]}", gpus[chosen], table.runtime_s[chosen])
        counts[name] = float(chosen.sum())
    mix = _mix(title, _arrival(table, title), classes, counts)
    days = float(np.ceil(table.days + 1e-9))
    jobs_per_day = len(table) / days
    first = (table.epoch_day if table.epoch_day is not None else MONDAY_EPOCH_DAY) * DAY_S
    drawn = _draw(mix, jobs_per_day, datetime.fromtimestamp(first, tz=UTC), days, seed)
    return Fit(mix, jobs_per_day, _distances(table, drawn))


def _arrival(table: TraceTable, title: str) -> ArrivalModel:
    """Hourly and weekly shape of a trace; flat by weekday where it has no dates or is shorter than two weeks."""
    hour = np.bincount(((table.submit_s % DAY_S) // 3600.0).astype(np.int64), minlength=24) + 1e-9
    week = np.ones(7)
    if table.epoch_day is not None and table.days >= 14:
        day = (table.submit_s // DAY_S).astype(np.int64)
        weekday = (np.arange(day.max() + 1) + table.epoch_day - MONDAY_EPOCH_DAY) % 7
        per_day = np.bincount(day, minlength=len(weekday))
        week = np.array([per_day[weekday == n].mean() for n in range(7)]) + 1e-9
    return ArrivalModel.model_validate(
        {"timezone": "UTC", "hour": hour.tolist(), "weekday": week.tolist(), "source": f"fitted to {title}"}
    )


def _draw(mix: MixModel, jobs_per_day: float, start: datetime, days: float, seed: int) -> dict[str, Floats]:
    """Durations, GPUs and submissions of drawn jobs, nothing capped."""
    biggest = max(size for model in mix.classes.values() for size in model.gpus)
    model = GeneratorModel.model_validate(
        {
            "jobs_per_day_per_million": jobs_per_day,
            "gang_cap": biggest,
            "runtime_cap_h": 87_600.0,
            "estimates": "exact",
            "draws": "independent",
        }
    )
    place = Place("fit", "FIT", 1e6, 2 * biggest, mix.country)
    jobs = generate(model, [place], start, days, seed, Path(), mix).jobs
    return {
        "duration": numbers_of(jobs, "runtime_s"),
        "gpus": numbers_of(jobs, "gpus"),
        "submit": numbers_of(jobs, "submit_s"),
    }


def _distances(table: TraceTable, drawn: dict[str, Floats]) -> dict[str, Any]:
    from scipy.stats import ks_2samp

    pairs = {
        "duration": (table.runtime_s, drawn["duration"]),
        "gpus": (np.ceil(table.units), drawn["gpus"]),
        "inter_arrival": (np.diff(np.sort(table.submit_s)), np.diff(np.sort(drawn["submit"]))),
    }
    quality: dict[str, Any] = {
        f"ks_{name}": round(float(ks_2samp(a, b, method="asymp").statistic), 4) for name, (a, b) in pairs.items()
    }
    work = float((np.ceil(table.units) * table.runtime_s).sum())
    quality["gpu_hours_ratio"] = round(float(drawn["gpus"] @ drawn["duration"]) / work, 4)
    return quality | {"jobs_trace": len(table), "jobs_drawn": len(drawn["duration"])}


def fit_tables(folder: Path, cluster: str, jobs_per_day: float = 1000.0, seed: int = 1) -> Fit:
    """Fit a mix to tables of cumulative shares: durations and GPU counts of one cluster, taken as independent.

    Parameters
    ----------
    folder : Path
        Holds `trace_duration_cdf_pct.csv` and `trace_gpu_count_cdf_pct.csv`: values, then per cluster the
        share of jobs up to that value [%].
    cluster : str
        A column of both.

    Raises
    ------
    WorkloadError
        If a table or the column is missing.
    """
    (seconds, duration_cdf), (sizes, gpu_cdf) = (_cdf(folder / name, cluster) for name in TABLES)
    rising = np.diff(duration_cdf, prepend=-1.0) > 1e-9
    p = np.concatenate(([0.0], duration_cdf[rising][duration_cdf[rising] > 0]))
    values = np.concatenate(([0.5], seconds[rising][duration_cdf[rising] > 0]))
    p[-1] = 1.0
    weights = np.diff(gpu_cdf, prepend=0.0)
    model = ClassModel.model_validate(
        {
            **_class("tb", np.ones(2), np.ones(2)).model_dump(),
            "title": f"jobs of {cluster}",
            "gpus": sizes[weights > 0].astype(int).tolist(),
            "gpus_weights": weights[weights > 0].tolist(),
            "runtime_quantiles_h": [(float(a), float(b) / 3600.0) for a, b in zip(p, values, strict=True)],
        }
    )
    arrival = load_mix("institutes", Path()).arrival
    mix = _mix(f"tables of {cluster}", arrival, {"jobs": model}, {"jobs": 1.0})
    drawn = _draw(mix, jobs_per_day, datetime(2026, 1, 5, tzinfo=UTC), 28.0, seed)
    quality = {
        f"ks_{name}": round(float(np.abs(_share_up_to(drawn[name], at) - cdf).max()), 4)
        for name, at, cdf in (("duration", seconds, duration_cdf), ("gpus", sizes, gpu_cdf))
    }
    return Fit(mix, jobs_per_day, quality | {"jobs_drawn": len(drawn["gpus"])})


# Sizes that people ask for; what a table gives in between is where its figure was sampled.
USUAL_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GPU_TIME_TABLE = "trace_gpu_time_by_gpu_count_cdf_pct.csv"
ROUNDS = 400


def fit_tables_by_size(folder: Path, cluster: str, jobs_per_day: float = 1000.0, seed: int = 1) -> Fit:
    """Fit a mix to the tables of `fit_tables` and to the share of GPU time by size: a class for each size.

    Of all joint distributions of size and runtime that have both tables as margins and each size's mean runtime as its
    share of GPU time says, the one of the largest entropy: within a size, runtimes are those of all jobs, weighted by a
    power of the runtime.

    Raises
    ------
    WorkloadError
        If a table or the column is missing.
    """
    (seconds, duration_cdf), (sizes, gpu_cdf) = (_cdf(folder / name, cluster) for name in TABLES)
    time_sizes, time_cdf = _cdf(folder / GPU_TIME_TABLE, cluster)
    gangs = np.array([g for g in USUAL_SIZES if g <= sizes[np.diff(gpu_cdf, prepend=0.0) > 5e-4].max() * 1.1], float)
    weight = np.diff(_at(gangs, sizes, gpu_cdf), prepend=0.0)
    share = np.diff(_at(gangs, time_sizes, time_cdf), prepend=0.0)
    edges = np.concatenate(([0.5 * seconds[0]], seconds))
    mass = np.diff(np.concatenate(([0.0], duration_cdf)))
    keep = mass > 0
    low, high, mass = edges[:-1][keep], edges[1:][keep], mass[keep]
    middle = (high - low) / np.log(high / low)  # mean of a bin in which the logarithm is uniform
    mean = share / (weight * gangs) * float(mass @ middle) / float((share / gangs).sum())
    joint = _joint(mass, weight, np.log(middle), middle, mean)
    classes = {}
    for column, gang in enumerate(gangs.astype(int).tolist()):
        cumulative = np.concatenate(([0.0], np.cumsum(joint[:, column]) / joint[:, column].sum()))
        pairs = [
            (float(p), float(h)) for p, h in zip(cumulative, np.concatenate((low[:1], high)) / 3600.0, strict=True)
        ]
        rising = [pair for i, pair in enumerate(pairs) if i == 0 or pair[0] > pairs[i - 1][0] + 1e-9]
        rising[-1] = (1.0, rising[-1][1])
        base = _class(f"g{gang}"[:4], np.array([gang]), np.ones(2)).model_dump()
        classes[f"gpus_{gang}"] = ClassModel.model_validate({**base, "runtime_quantiles_h": rising})
    counts = {f"gpus_{int(gang)}": float(part) for gang, part in zip(gangs, weight, strict=True)}
    mix = _mix(f"tables of {cluster}, by size", load_mix("institutes", Path()).arrival, classes, counts)
    drawn = _draw(mix, jobs_per_day, datetime(2026, 1, 5, tzinfo=UTC), 28.0, seed)
    work = drawn["gpus"] * drawn["duration"]
    of_time = np.array([float(work[drawn["gpus"] <= gang].sum() / work.sum()) for gang in gangs])
    quality = {
        "ks_duration": round(float(np.abs(_share_up_to(drawn["duration"], seconds) - duration_cdf).max()), 4),
        "ks_gpus": round(float(np.abs(_share_up_to(drawn["gpus"], gangs) - _at(gangs, sizes, gpu_cdf)).max()), 4),
        "ks_gpu_time": round(float(np.abs(of_time - np.cumsum(share)).max()), 4),
        "mean_runtime_s": round(float(drawn["duration"].mean())),
        "jobs_drawn": len(drawn["gpus"]),
    }
    return Fit(mix, jobs_per_day, quality)


def _at(gangs: Floats, sizes: Floats, cdf: Floats) -> Floats:
    """The share up to each gang; all of what is larger counts to the largest."""
    values = cdf[np.searchsorted(sizes, gangs, side="right") - 1].copy()
    values[-1] = 1.0
    return np.asarray(values)


def _joint(mass: Floats, weight: Floats, log_s: Floats, middle_s: Floats, mean_s: Floats) -> Floats:
    """Joint shares of runtime bins (rows) and sizes (columns) by iterative scaling of a tilted product."""
    bins = np.ones(len(mass))
    joint = np.outer(mass, weight)
    for _ in range(ROUNDS):
        columns = []
        for part, wanted in zip(weight, mean_s, strict=True):
            tilt = _tilt(mass * bins, log_s, middle_s, wanted)
            shape = mass * bins * np.exp(tilt * (log_s - log_s.mean()))
            columns.append(part * shape / shape.sum())
        joint = np.array(columns).T
        bins *= mass / joint.sum(axis=1)
    return np.asarray(joint)


def _tilt(base: Floats, log_s: Floats, middle_s: Floats, wanted_s: float) -> float:
    """The power of the runtime by which shares are weighted so that their mean is as wanted, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(60):
        tilt = (low + high) / 2.0
        shape = base * np.exp(tilt * (log_s - log_s.mean()))
        low, high = (tilt, high) if float(shape @ middle_s / shape.sum()) < wanted_s else (low, tilt)
    return tilt


def _share_up_to(sample: Floats, at: Floats) -> Floats:
    return np.asarray(np.searchsorted(np.sort(sample), at, side="right") / len(sample))


def _cdf(path: Path, cluster: str) -> tuple[Floats, Floats]:
    if not path.is_file():
        raise WorkloadError(f"no table {path}")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    if cluster not in rows[0][1:]:
        raise WorkloadError(f"{path.name}: no cluster {cluster!r}; {hint(cluster, rows[0][1:])}")
    column = rows[0].index(cluster)
    try:
        data = np.array([(float(row[0]), float(row[column])) for row in rows[1:]])
    except (ValueError, IndexError) as error:
        raise WorkloadError(f"{path.name}: not a table of numbers: {error}") from None
    return data[:, 0], np.clip(data[:, 1] / data[-1, 1], 0.0, 1.0)
