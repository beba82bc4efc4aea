"""A job: the `ask`, which is all that a policy sees, and the `truth`, which only the engine knows; tables of jobs."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter, eq
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.units import Floats, Ints

Residency = Literal["regional", "national", "open"]
Ending = Literal["done", "failed", "cancelled"]
Elasticity = Literal["rigid", "moldable", "malleable"]
PowerCurve = Literal["pre-training", "fine-tuning", "inference"]
"""What a job does, as far as its speed under a power cap depends on it."""
Tier = Literal["firm", "0.9", "0.75", "0.5", "pausable"]
"""What the grid may ask of a job: nothing, a minimum mean throughput during a request, or that it pauses."""
TIERS: dict[Tier, float] = {"firm": 1.0, "0.9": 0.9, "0.75": 0.75, "0.5": 0.5, "pausable": 0.0}
"""The least mean throughput of each tier while the grid asks for less, as a share of the full speed."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Tenant of a job: a region's code, an institute's function, a programme."""

    region: str
    function: str = "research"
    programme: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Named data that a job reads: size [GB], the site where it lives, and how far it may travel.

    `regional` data stays in its home's region, `national` data in its home's country, `open` data may
    go to a partner abroad.
    """

    name: str
    size_gb: float
    home: str
    residency: Residency = "national"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Costs of saving and restoring a job.

    `size_gb` is what a move transfers; `write_s` and `restart_s` are powered time [s]; `interval_s` is
    the running time between periodic checkpoints [s], `None` for Young's and Daly's optimum.
    """

    size_gb: float = 0.0
    write_s: float = 0.0
    restart_s: float = 0.0
    interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """Throughput against GPUs, as strictly increasing `gpus` and the throughput at each, relative to one GPU.

    Between the points it is linear.
    """

    gpus: tuple[int, ...]
    throughput: tuple[float, ...]

    def at(self, gpus: int) -> float:
        """Throughput on this many GPUs, relative to one.

        Raises
        ------
        ValueError
            If the curve does not reach so far.
        """
        if gpus in self.gpus:
            return self.throughput[self.gpus.index(gpus)]
        for (g0, g1), (y0, y1) in zip(
            zip(self.gpus, self.gpus[1:], strict=False),
            zip(self.throughput, self.throughput[1:], strict=False),
            strict=True,
        ):
            if g0 < gpus < g1:
                return y0 + (y1 - y0) * (gpus - g0) / (g1 - g0)
        raise ValueError(f"the speed-up curve covers {self.gpus[0]} to {self.gpus[-1]} GPUs, not {gpus}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A job as its user states it, and all that a policy ever sees.

    Attributes
    ----------
    job_id : str
        Unique in the workload.
    submit_s : float
        Submission, in simulation time [s].
    gpus : int
        GPUs asked for, taken as a whole gang.
    estimate_s : float
        The user's estimate of the runtime on `gpus` GPUs of the reference type (A100) [s].
    slack_s : float
        How long the start may be put off [s]; infinite where there is no deadline.
    home : str
        The site of the tenant's own institute.
    intensity : float
        Power drawn, as a share of the loaded power of its part of the node [0..1].
    event_floor : float
        Least mean throughput while the grid asks for less, as a share of the full speed: 1 firm, 0 may be paused.
    power_curve : str
        Whose speed under a power cap it has: `pre-training`, `fine-tuning` or `inference`.
    elasticity, gpus_min, gpus_max, speedup
        For elastic jobs: the sizes it can take and the throughput at each. `gpus_min` and `gpus_max` of
        0 mean `gpus`.
    logged_start_s, logged_site
        When and where a replayed log says that it ran [s]; `None` and empty where it does not say.
    """

    job_id: str
    submit_s: float
    gpus: int
    estimate_s: float
    slack_s: float
    tenant: Tenant
    home: str
    dataset: Dataset
    checkpoint: Checkpoint = Checkpoint()
    interruptible: bool = True
    priority: int = 0
    intensity: float = 1.0
    job_class: str = ""
    event_floor: float = 1.0
    power_curve: PowerCurve = "pre-training"
    elasticity: Elasticity = "rigid"
    gpus_min: int = 0
    gpus_max: int = 0
    speedup: SpeedUp | None = None
    logged_start_s: float | None = None
    logged_site: str = ""

    @property
    def latest_start_s(self) -> float:
        """Submission plus slack [s]."""
        return self.submit_s + self.slack_s

    @property
    def deadline_s(self) -> float:
        """Latest start plus estimate [s]; infinite where there is none."""
        return self.submit_s + self.slack_s + self.estimate_s

    @property
    def deferrable(self) -> bool:
        """Whether the start may be put off at all."""
        return self.slack_s > 0

    def rate(self, gpus: int) -> float:
        """Work done per second on `gpus` reference GPUs [reference GPU-seconds per s]."""
        if gpus == self.gpus or self.speedup is None:
            return float(gpus)
        return self.gpus * self.speedup.at(gpus) / self.speedup.at(self.gpus)


@dataclass(frozen=True, slots=True)
class Truth:
    """Truth about a job that only the engine knows: the whole work, and how far it gets.

    Attributes
    ----------
    work_gpu_s : float
        GPU-seconds on the reference GPU at the asked size, if nothing cuts the job short.
    ending : {'done', 'failed', 'cancelled'}
        How the job ends of itself; drawn once, so that every policy does the same work.
    ends_at : float
        The share of `work_gpu_s` after which it ends so; 1 for `done`.
    """

    work_gpu_s: float
    ending: Ending = "done"
    ends_at: float = 1.0

    @property
    def due_gpu_s(self) -> float:
        """The work that will be done before the job ends of itself [GPU-s]."""
        return self.work_gpu_s * self.ends_at


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what was asked, and what is true."""

    ask: Ask
    truth: Truth

    @property
    def runtime_s(self) -> float:
        """True runtime at the asked size on the reference GPU, up to the job's own end [s]."""
        return self.truth.due_gpu_s / self.ask.gpus


# --- Many jobs: in columns, which take a sixth of the memory of the objects


class Texts(Sequence[str]):
    """Texts one after another in one run of bytes, and where each ends: beside its bytes a text takes eight."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._bytes, ends = bytearray(), array("q", [0])
        for text in texts:
            self._bytes += text.encode("utf-8", "surrogatepass")
            ends.append(len(self._bytes))
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        here = range(len(self))[place]
        return self._text(here) if isinstance(here, int) else [self._text(one) for one in here]

    def _text(self, place: int) -> str:
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogatepass")

    @property
    def distinct(self) -> bool:
        """Whether no two are alike; hashes tell it, and the texts themselves where two of these agree."""
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        hashes.sort()
        return not (hashes[1:] == hashes[:-1]).any() or len(set(self)) == len(self)


class Shared(NamedTuple):
    """Everything about a job that many have in common: the fields of `Ask` and `Truth` that `JobTable` keeps once."""

    tenant: Tenant
    home: str
    dataset: Dataset
    checkpoint: Checkpoint
    interruptible: bool
    priority: int
    intensity: float
    job_class: str
    event_floor: float
    power_curve: PowerCurve
    elasticity: Elasticity
    gpus_min: int
    gpus_max: int
    speedup: SpeedUp | None
    logged_site: str
    ending: Ending


_SHARED_OF_ASK = attrgetter(*Shared._fields[:-1])
_TIMES_OF_ASK, _TIMES_OF_TRUTH = ("submit_s", "estimate_s", "slack_s"), ("work_gpu_s", "ends_at")
JOBS_AT_ONCE = 10_000
"""Jobs that are made of their columns at once."""


@dataclass(frozen=True, eq=False)
class JobTable(Sequence[Job]):
    """Jobs in columns of one length; a `Job` is made when it is asked for, and kept by nobody else.

    Attributes
    ----------
    job_id : Texts
    submit_s, gpus, estimate_s, slack_s, work_gpu_s, ends_at : array
        As in `Ask` and `Truth`.
    logged_start_s : array
        As in `Ask`; NaN where the log does not say.
    kind : array of int
        Places in `kinds`.
    kinds : sequence of Shared
        The rest, once for all jobs that have it in common.
    """

    job_id: Texts
    submit_s: Floats
    gpus: Ints
    estimate_s: Floats
    slack_s: Floats
    work_gpu_s: Floats
    ends_at: Floats
    logged_start_s: Floats
    kind: NDArray[np.int32]
    kinds: Sequence[Shared]

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> JobTable:
        """Jobs in columns, one after another: they need not all be there at once."""
        if isinstance(jobs, JobTable):
            return jobs
        times = {name: array("d") for name in _TIMES_OF_ASK + _TIMES_OF_TRUTH}
        gpus, logged_start_s = array("q"), array("d")

        def each() -> Iterator[tuple[str, Shared]]:
            for job in jobs:
                ask, truth = job.ask, job.truth
                for name in _TIMES_OF_ASK:
                    times[name].append(getattr(ask, name))
                for name in _TIMES_OF_TRUTH:
                    times[name].append(getattr(truth, name))
                gpus.append(ask.gpus)
                logged_start_s.append(math.nan if ask.logged_start_s is None else ask.logged_start_s)
                yield ask.job_id, Shared._make((*_SHARED_OF_ASK(ask), truth.ending))

        job_id, kind, kinds = named(each())
        return cls(
            job_id=job_id,
            gpus=np.frombuffer(gpus, np.int64),
            logged_start_s=np.frombuffer(logged_start_s),
            kind=kind,
            kinds=kinds,
            **{name: np.frombuffer(column) for name, column in times.items()},
        )

    def __len__(self) -> int:
        return len(self.submit_s)

    @overload
    def __getitem__(self, place: int) -> Job: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Job, ...]: ...

    def __getitem__(self, place: int | slice) -> Job | tuple[Job, ...]:
        here = range(len(self))[place]
        if not isinstance(here, int):
            return tuple(map(self.__getitem__, here))
        return next(self._made(here, here + 1))

    def __iter__(self) -> Iterator[Job]:
        for begin in range(0, len(self), JOBS_AT_ONCE):
            yield from self._made(begin, begin + JOBS_AT_ONCE)

    def _made(self, begin: int, end: int) -> Iterator[Job]:
        numbers = (
            self.submit_s, self.gpus, self.estimate_s, self.slack_s, self.work_gpu_s, self.ends_at,
            self.logged_start_s, self.kind,
        )  # fmt: skip
        rows = zip(self.job_id[begin:end], *(column[begin:end].tolist() for column in numbers), strict=True)
        kinds = self.kinds
        for job_id, submit_s, gpus, estimate_s, slack_s, work_gpu_s, ends_at, logged_s, kind in rows:
            shared = kinds[kind]
            asked: tuple[Any, ...] = (*shared[:-2], logged_s if logged_s == logged_s else None, shared.logged_site)
            ask = Ask(job_id, submit_s, gpus, estimate_s, slack_s, *asked)
            yield Job(ask, Truth(work_gpu_s, shared.ending, ends_at))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def values(self, name: str) -> Any:
        """As the function `values_of`."""
        match name:
            case "due_gpu_s":
                return self.work_gpu_s * self.ends_at
            case "runtime_s":
                return self.work_gpu_s * self.ends_at / self.gpus
            case "latest_start_s":
                return self.submit_s + self.slack_s
            case "deadline_s":
                return self.submit_s + self.slack_s + self.estimate_s
        if name.split(".")[0] not in Shared._fields:
            return getattr(self, name)
        get = attrgetter(name)
        known = [get(kind) for kind in self.kinds]
        return [known[kind] for kind in self.kind.tolist()]

    def take(self, order: Ints) -> JobTable:
        """The jobs in another order, or some of them."""
        columns = {item.name: getattr(self, item.name)[order] for item in fields(self)[1:-1]}
        return replace(self, job_id=Texts(self.job_id[place] for place in order.tolist()), **columns)


def named(each: Iterable[tuple[str, Shared]]) -> tuple[Texts, NDArray[np.int32], Sequence[Shared]]:
    """Names and kinds of jobs as a table has them, from the name of each and what it has in common with others."""
    known: dict[Shared, int] = {}
    kind = array("i")

    def names() -> Iterator[str]:
        for name, shared in each:
            kind.append(known.setdefault(shared, len(known)))
            yield name

    return Texts(names()), np.frombuffer(kind, np.int32), [*known]


def values_of(jobs: Sequence[Job], name: str) -> Any:
    """One value of every job, as an array or a list: a field of `Ask` or `Truth`, or what is worked out from them.

    A name with a point goes further, as in `tenant.region`. Of a table they are had without making its jobs.
    """
    if isinstance(jobs, JobTable):
        return jobs.values(name)
    own = name if hasattr(Job, name) else f"truth.{name}" if hasattr(Truth, name.split(".")[0]) else f"ask.{name}"
    return [*map(attrgetter(own), jobs)]


def numbers_of(jobs: Sequence[Job], name: str) -> Floats:
    """Those values as an array of floats."""
    return np.asarray(values_of(jobs, name), dtype=np.float64)


def in_order(jobs: Iterable[Job]) -> Sequence[Job]:
    """The jobs by submission, of one instant as they are given: the one order that everything else is indexed by.

    Raises
    ------
    ValueError
        If two jobs share an id.
    """
    if isinstance(jobs, JobTable):
        sorted_already = bool(np.all(jobs.submit_s[1:] >= jobs.submit_s[:-1]))
        ordered: Sequence[Job] = jobs if sorted_already else jobs.take(np.argsort(jobs.submit_s, kind="stable"))
        if jobs.job_id.distinct:
            return ordered
    else:
        ordered = tuple(sorted(jobs, key=lambda job: job.ask.submit_s))
    seen: set[str] = set()
    for name in values_of(ordered, "job_id"):
        if name in seen:
            raise ValueError(f"two jobs are called {name!r}")
        seen.add(name)
    return ordered


def accounting_end_s(jobs: Sequence[Job], gpu_speed: float) -> float:
    """The end of the accounting window, computed from the jobs alone [s].

    The first whole day after max(submit + slack + 2 x true runtime), and no earlier than
    1.5 x total work / total speed. A job without a deadline counts with a slack of a day.

    Parameters
    ----------
    jobs : sequence of Job
    gpu_speed : float
        Sum over all GPUs of their speed relative to the reference GPU.
    """
    day = 86_400.0
    submit_s, slack_s, runtime_s = (numbers_of(jobs, name) for name in ("submit_s", "slack_s", "runtime_s"))
    ends_s = submit_s + np.where(np.isfinite(slack_s), slack_s, day) + 2.0 * runtime_s
    work = sum(numbers_of(jobs, "due_gpu_s").tolist())
    last = max(float(np.max(ends_s, initial=0.0)), 1.5 * work / gpu_speed)
    return float(day * (math.floor(last / day) + 1))
