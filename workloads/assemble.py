"""Columns of drawn numbers -> `Job` objects that share their tenants, data sets, checkpoints and curves."""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.job import Ask, Checkpoint, Dataset, Ending, Job, SpeedUp, Tenant, Truth, in_order
from workloads.mix import ClassModel, MixModel
from workloads.workload import ElasticModel, Place

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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

    def take(self, keep: NDArray[np.bool_]) -> Columns:
        """The rows where `keep` is true."""
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


class _Shared:
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
        """Who asks, and what is read: one draw decides both."""
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
) -> tuple[Job, ...]:
    """The jobs of a table of columns, by submission."""
    with paused_collection():
        return _assembled(columns, mix, classes, elastic, gang_cap, places)


def _assembled(
    columns: Columns,
    mix: MixModel,
    classes: Mapping[str, ClassModel],
    elastic: ElasticModel,
    gang_cap: int,
    places: Mapping[str, Place],
) -> tuple[Job, ...]:
    shared = _Shared(mix, places)
    checkpoints = [_checkpoint(classes[name]) for name in columns.classes]
    curve = speed_up(elastic, max(gang_cap, int(columns.gpus.max(initial=1)))) if elastic.share > 0 else None
    codes = [classes[name].code for name in columns.classes]
    stamps = {int(n): date.fromordinal(int(n)).strftime("%y%m%d") for n in np.unique(columns.ordinal)}
    rows = zip(
        *(getattr(columns, item.name).tolist() for item in fields(columns)[3:]),
        strict=True,
    )
    jobs = []
    for (
        home, kind, function, data, ordinal, position, segment, submit, gpus, runtime,
        ending, ends_at, slack, interruptible, estimate, stretches,
    ) in rows:  # fmt: skip
        site, name = columns.homes[home], columns.classes[kind]
        tenant, dataset = shared.tenant_and_data(site, columns.functions[function], data)
        tail = f".{segment + 1}" if segment >= 0 else ""
        least, most = elastic_range(elastic, gpus, gang_cap) if stretches else (0, 0)
        ask = Ask(
            job_id=f"{site}-{stamps[ordinal]}-{codes[kind]}{position:03d}{tail}",
            submit_s=submit,
            gpus=gpus,
            estimate_s=estimate,
            slack_s=slack,
            tenant=tenant,
            home=site,
            dataset=dataset,
            checkpoint=checkpoints[kind],
            interruptible=interruptible,
            priority=mix.functions[tenant.function].priority,
            intensity=classes[name].intensity,
            job_class=name,
            elasticity=elastic.kind if stretches else "rigid",
            gpus_min=least,
            gpus_max=most,
            speedup=curve if stretches else None,
        )
        jobs.append(Job(ask, Truth(gpus * runtime, ENDINGS[ending], ends_at)))
    return in_order(jobs)
