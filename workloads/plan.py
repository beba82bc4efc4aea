"""The plan of a generated workload: a mix made absolute, with what arrives where on an average day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tafukt.problems import hint
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.mix import ClassModel, MixModel, load_mix
from tafukt.workloads.schema import GeneratorModel, Place
from tafukt.workloads.units import DAY_S, Floats

MIN_RUNTIME_S = 1.0
# Failures come early (the square of a uniform draw), cancellations at any time; choices.
FAIL_POWER, CANCEL_POWER = 2.0, 1.0


@dataclass(frozen=True)
class Plan:
    """A mix made absolute: what arrives where, on an average day."""

    mix: MixModel
    classes: dict[str, ClassModel]
    class_share: dict[str, float]
    function_share: dict[str, tuple[tuple[str, ...], Floats]]
    mean_work_gpu_s: dict[str, float]
    jobs_per_day: float
    home_share: dict[str, float]
    gang_cap: int
    gpus: float

    @property
    def mean_job_gpu_s(self) -> float:
        """Expected work of one arrival, early ends and caps counted [GPU-s]."""
        return sum(share * self.mean_work_gpu_s[name] for name, share in self.class_share.items())

    @property
    def load(self) -> float:
        """Work offered over the capacity of the mix's country, on an average day."""
        return self.jobs_per_day * self.mean_job_gpu_s / (self.gpus * DAY_S)


def power_of_two_within(limit: float) -> int:
    """The largest power of two that is at most `limit`, at least 1."""
    return 1 << max(0, math.floor(math.log2(max(limit, 1.0))))


def gang_weights(model: ClassModel, cap: int) -> tuple[NDArray[np.int64], Floats]:
    """Sizes and their probabilities, sizes above the cap cut to it."""
    sizes = np.minimum(np.array(model.gpus, dtype=np.int64), cap)
    weights = np.array(model.gpus_weights)
    return sizes, weights / weights.sum()


def mean_share_done(model: ClassModel) -> float:
    """Expected share of a job's work that is done before it ends of itself."""
    lost_fail = 1 - 1 / (1 + FAIL_POWER)
    lost_cancel = 1 - 1 / (1 + CANCEL_POWER)
    return 1 - model.fail_prob * lost_fail - model.cancel_prob * lost_cancel


def chosen_classes(model: GeneratorModel, mix: MixModel) -> dict[str, ClassModel]:
    """The classes that take part, after `include` and `leave_out`.

    Raises
    ------
    WorkloadError
        If a name is unknown or nothing is left.
    """
    for option, words in (("include", model.include), ("leave_out", model.leave_out)):
        for word in words:
            if word not in mix.classes:
                raise WorkloadError(f"workload.{option}: no class {word!r}; {hint(word, mix.classes)}")
    out = (set(mix.left_out) - set(model.include)) | set(model.leave_out)
    chosen = {name: value for name, value in mix.classes.items() if name not in out}
    if not any(function.classes.get(name, 0) > 0 for function in mix.functions.values() for name in chosen):
        raise WorkloadError("workload.leave_out: leaves no class that anybody submits")
    return chosen


def _shares(mix: MixModel, classes: dict[str, ClassModel]) -> dict[str, dict[str, float]]:
    """Share of all jobs by class and function."""
    joint: dict[str, dict[str, float]] = {name: {} for name in classes}
    for function_name, function in mix.functions.items():
        total = sum(weight for name, weight in function.classes.items() if name in classes)
        for name, weight in function.classes.items():
            if name in classes and weight > 0:
                joint[name][function_name] = function.share * weight / total
    everything = sum(sum(by.values()) for by in joint.values())
    return {name: {f: s / everything for f, s in by.items()} for name, by in joint.items() if by}


def plan(model: GeneratorModel, places: Sequence[Place], folder: Path, mix: MixModel | None = None) -> Plan:
    """Make a mix absolute for these places: the one that the model names, or the one given.

    Raises
    ------
    WorkloadError
        If the mix cannot be read, or there is no GPU in its country for a load to refer to.
    """
    mix = mix or load_mix(model.mix, folder, model.classes)
    classes = chosen_classes(model, mix)
    joint = _shares(mix, classes)
    own = _submitting(places, mix)
    gpus = sum(place.gpus * place.speed for place in own)
    if not gpus:
        raise WorkloadError(
            f"workload.load: is a share of the GPUs in {mix.country}, the mix's country, and there are none; "
            "give a site there some nodes, or a site elsewhere a population"
        )
    cap = model.gang_cap or power_of_two_within(min(place.gpus for place in own if place.gpus) / 2)
    most_s = model.runtime_cap_h * 3600.0 * model.segments_max
    work = {}
    for name in joint:
        sizes, weights = gang_weights(classes[name], cap)
        runtime = classes[name].mean_runtime_s(MIN_RUNTIME_S, most_s)
        work[name] = float(sizes @ weights) * runtime * mean_share_done(classes[name])
    home_share, people = _home_shares(places)
    class_share = {name: sum(by.values()) for name, by in joint.items()}
    draft = Plan(
        mix=mix,
        classes={name: classes[name] for name in joint},
        class_share=class_share,
        function_share={
            name: (tuple(by), np.cumsum(np.array(list(by.values()))) / class_share[name]) for name, by in joint.items()
        },
        mean_work_gpu_s=work,
        jobs_per_day=1.0,
        home_share=home_share,
        gang_cap=cap,
        gpus=gpus,
    )
    if model.load is not None:
        return replace(draft, jobs_per_day=model.load * gpus * DAY_S / draft.mean_job_gpu_s)
    assert model.jobs_per_day_per_million is not None
    return replace(draft, jobs_per_day=model.jobs_per_day_per_million * people / 1e6)


def _submitting(places: Sequence[Place], mix: MixModel) -> list[Place]:
    """The places whose GPUs a load refers to: those in the mix's country; where all are abroad, those with people."""
    here = [place for place in places if place.country == mix.country]
    return here or [place for place in places if place.population > 0]


def _home_shares(places: Sequence[Place]) -> tuple[dict[str, float], float]:
    """Share of the demand by site, and the people: regions by population, sites of one region by GPUs."""
    people = {place.region: 0.0 for place in places}
    gpus = dict.fromkeys(people, 0)
    for place in places:
        people[place.region] = max(people[place.region], place.population)
        gpus[place.region] += place.gpus if place.population > 0 else 0
    total = sum(people.values())
    shares = {}
    for place in places:
        if place.population > 0:
            within = place.gpus / gpus[place.region] if gpus[place.region] else 1.0
            shares[place.site] = people[place.region] / total * within
    return shares, total
