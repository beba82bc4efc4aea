"""A mix of job classes, as its TOML file states it: who submits what, when, and what it asks for."""

import functools
import math
import tomllib
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from tafukt.problems import hint
from tafukt.strict import Strict, Zone, problems_of
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import PowerCurve, Residency, Tier
from tafukt.workloads.units import Floats

Share = Annotated[float, Field(ge=0, le=1)]

# No quantile is taken as nearer to 0 or 1, where the normal distribution is infinite.
EDGE = 1e-15


class ArrivalModel(Strict):
    """Arrival pattern of jobs: relative rates by local hour and by weekday, each with mean 1."""

    timezone: Zone = Field("Africa/Casablanca", description="time zone of the hours")
    hour: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        description="relative rate in each local hour, from midnight on"
    )
    weekday: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        description="relative rate on each day of the week, Monday first"
    )
    source: str = Field("", description="where the pattern comes from")

    @field_validator("hour", "weekday")
    @classmethod
    def _mean_one(cls, values: tuple[float, ...], info: Any) -> tuple[float, ...]:
        wanted = 24 if info.field_name == "hour" else 7
        if len(values) != wanted or not sum(values) > 0:
            raise ValueError(f"needs {wanted} values that are not all zero, got {len(values)}")
        mean = sum(values) / wanted
        return tuple(value / mean for value in values)


class DatasetModel(Strict):
    """Named data: its size, how far it may travel, and where it lives (`own`: at the tenant's own site)."""

    size_gb: float = Field(ge=0, le=1e9, description="its size [GB]")
    residency: Residency = Field("national", description="how far it may travel")
    home: str = Field("own", description="a site's name, or `own`: a copy at every site, for its own tenants")
    basis: str = Field("", description="where the numbers come from")


class FunctionModel(Strict):
    """One of an institute's functions: its share of the jobs, split over the classes."""

    title: str = Field("", description="its name in tables and figures")
    share: Annotated[float, Field(gt=0)] = Field(description="share of all jobs")
    classes: dict[str, Annotated[float, Field(ge=0)]] = Field(description="its jobs by class, as relative weights")
    programmes: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"": 1.0}, description="programmes that its jobs belong to, as relative weights"
    )
    datasets: dict[str, Annotated[float, Field(ge=0)]] = Field(
        description="data sets that its jobs read, as relative weights"
    )
    priority: int = Field(0, description="priority of its jobs")
    basis: str = Field("", description="where the numbers come from")


class ClassModel(Strict):
    """One class of jobs: its sizes, runtimes, slack, and what becomes of it."""

    title: str = Field("", description="its name in tables and figures")
    code: str = Field(min_length=1, max_length=4, description="short name, used in the names of jobs")
    gpus: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(description="sizes requested [GPUs]")
    gpus_weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        description="how often each is requested, as relative weights"
    )
    runtime_median_h: float | None = Field(
        None, ge=1e-6, le=87_600, description="median of the lognormal distribution of runtimes [h]"
    )
    runtime_sigma: float | None = Field(
        None, ge=0, le=10, description="standard deviation of the logarithm of the runtime"
    )
    runtime_quantiles_h: tuple[tuple[float, float], ...] | None = Field(
        None, description="instead of the two above: pairs of probability and runtime [h], log-linear in between"
    )
    slack_h: tuple[Annotated[float, Field(ge=0, le=87_600)], Annotated[float, Field(ge=0, le=87_600)]] = Field(
        description="how long the start may be put off: least and most, uniform in between [h]"
    )
    interruptible_share: Share = Field(description="share of the jobs that may be paused and moved")
    flexibility: Tier = Field(
        "firm",
        description="what the grid may ask of it: nothing (firm), slowing to a mean throughput of 0.9, 0.75 or "
        "0.5, or pausing",
    )
    power_curve: PowerCurve = Field(
        "pre-training", description="the curve of its speed under a power cap, if `engine.power_caps` has several"
    )
    checkpoint_gb: float = Field(0.0, ge=0, le=1e9, description="data transferred when a job moves [GB]")
    checkpoint_write_s: float = Field(0.0, ge=0, le=1e6, description="time to write a checkpoint [s]")
    restart_s: float = Field(0.0, ge=0, le=1e6, description="time to start again from a checkpoint [s]")
    checkpoint_interval_s: float | None = Field(
        None, ge=1, le=1e9, description="time between checkpoints [s]; default: the optimum of Young and Daly"
    )
    fail_prob: Share = Field(0.0, description="share of the jobs that fail")
    cancel_prob: Share = Field(0.0, description="share of the jobs that their users cancel")
    intensity: float = Field(1.0, ge=0, le=1.5, description="power above idle, as a share of that of a busy GPU")
    basis: dict[str, str] = Field(default_factory=dict, description="where each number comes from, by key")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.gpus) != len(self.gpus_weights) or not sum(self.gpus_weights) > 0:
            raise ValueError("gpus and gpus_weights must have the same length, with a weight above zero")
        if self.slack_h[0] > self.slack_h[1]:
            raise ValueError(f"slack_h must be [least, most], got {list(self.slack_h)}")
        if self.fail_prob + self.cancel_prob > 1:
            raise ValueError("fail_prob and cancel_prob add up to more than 1")
        lognormal = self.runtime_median_h is not None and self.runtime_sigma is not None
        if lognormal == (self.runtime_quantiles_h is not None):
            raise ValueError("give runtime_median_h and runtime_sigma, or else runtime_quantiles_h")
        if self.runtime_quantiles_h is not None:
            p, h = np.array(self.runtime_quantiles_h).T
            if len(p) < 2 or p[0] != 0 or p[-1] != 1 or (np.diff(p) <= 0).any() or (np.diff(h) < 0).any() or h[0] <= 0:
                raise ValueError("runtime_quantiles_h must rise from probability 0 to 1, with runtimes above zero")
        return self

    def runtime_s(self, quantile: Floats) -> Floats:
        """Runtimes at the given quantiles in (0, 1) [s]."""
        if self.runtime_quantiles_h is not None:
            p, h = np.array(self.runtime_quantiles_h).T
            return np.asarray(3600.0 * np.exp(np.interp(quantile, p, np.log(h))))
        assert self.runtime_median_h is not None
        assert self.runtime_sigma is not None
        # The standard library's: importing scipy.special takes longer than drawing all jobs of a year.
        inside = np.clip(quantile, EDGE, 1.0 - EDGE).tolist()
        normal = np.fromiter(map(NormalDist().inv_cdf, inside), np.float64, len(inside))
        return np.asarray(3600.0 * self.runtime_median_h * np.exp(self.runtime_sigma * normal))

    def mean_runtime_s(self, least_s: float, most_s: float) -> float:
        """Mean of the runtime, cut to [least, most] [s]; exact for the lognormal, else the midpoint rule."""
        if self.runtime_quantiles_h is not None or not self.runtime_sigma:
            quantiles = (np.arange(100_000) + 0.5) / 100_000
            return float(np.clip(self.runtime_s(quantiles), least_s, most_s).mean())
        assert self.runtime_median_h is not None
        median_s, sigma = 3600.0 * self.runtime_median_h, self.runtime_sigma
        low, high = (math.log(bound / median_s) / sigma for bound in (least_s, most_s))
        between = median_s * math.exp(sigma**2 / 2) * (_normal_cdf(high - sigma) - _normal_cdf(low - sigma))
        return least_s * _normal_cdf(low) + between + most_s * (1.0 - _normal_cdf(high))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


class MixModel(Strict):
    """All of a mix: arrivals, data, functions, classes."""

    title: str = Field("", description="its name in tables and figures")
    country: str = Field("MA", description="country whose GPUs `load` refers to")
    arrival: ArrivalModel = Field(description="when jobs are submitted")
    datasets: dict[str, DatasetModel] = Field(description="data sets by name")
    functions: dict[str, FunctionModel] = Field(description="functions of an institute by name")
    classes: dict[str, ClassModel] = Field(description="classes of jobs by name")
    left_out: tuple[str, ...] = Field((), description="classes that are left out unless `include` names them")

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for name, function in self.functions.items():
            for kind, used, known in (
                ("class", function.classes, self.classes),
                ("data set", function.datasets, self.datasets),
            ):
                for word in used:
                    if word not in known:
                        raise ValueError(f"functions.{name}: unknown {kind} {word!r}; {hint(word, known)}")
            if not sum(function.datasets.values()) > 0 or not sum(function.programmes.values()) > 0:
                raise ValueError(f"functions.{name}: data sets and programmes need a weight above zero")
        for word in self.left_out:
            if word not in self.classes:
                raise ValueError(f"left_out: unknown class {word!r}; {hint(word, self.classes)}")
        return self


@functools.lru_cache(maxsize=32)
def _parsed(path: Path, _changed_ns: int) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a TOML file: {error}") from None


def mix_path(name: str, folder: Path) -> Path:
    """The file of a mix: a catalogue name, or a path (`.toml`) relative to the experiment's folder.

    Raises
    ------
    WorkloadError
        If there is none.
    """
    if name.endswith(".toml"):
        path = folder / name
        if not path.is_file():
            raise WorkloadError(f"workload.mix: no file {path}")
        return path
    known = bundled("mixes")
    if name not in known:
        raise WorkloadError(f"workload.mix: no mix {name!r}; {hint(name, known)}; or a path that ends in .toml")
    return known[name]


def load_mix(name: str, folder: Path, changes: dict[str, dict[str, Any]] | None = None) -> MixModel:
    """Read a mix, with changes to its classes merged over it.

    Parameters
    ----------
    name : str
        A catalogue name, or a path to a TOML file relative to `folder`.
    changes : dict of dict, optional
        Class name -> keys that replace those of the file.

    Raises
    ------
    WorkloadError
        If there is no such mix or class, or a value is wrong.
    """
    path = mix_path(name, folder)
    table = dict(_parsed(path, path.stat().st_mtime_ns))
    classes = {key: dict(value) for key, value in table.get("classes", {}).items()}
    for word, keys in (changes or {}).items():
        if word not in classes:
            raise WorkloadError(f"workload.classes: no class {word!r}; {hint(word, classes)}")
        for option in keys:
            if option not in ClassModel.model_fields:
                known = hint(option, ClassModel.model_fields)
                raise WorkloadError(f"workload.classes.{word}: no key {option!r}; {known}")
        classes[word] |= keys
    table["classes"] = classes
    try:
        return MixModel.model_validate(table)
    except ValidationError as error:
        where = f"mix {path.name}" if not changes else f"mix {path.name} with workload.classes"
        raise WorkloadError(problems_of(error, MixModel, where)) from None
