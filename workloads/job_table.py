"""Tables of jobs: many of them in columns, which take a sixth of the memory of the objects."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from itertools import pairwise
from operator import attrgetter, eq
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.job import Ask, Checkpoint, Dataset, Elasticity, Ending, Job, PowerCurve, SpeedUp, Tenant, Truth
from tafukt.workloads.units import Floats, Ints


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
        if isinstance(here, int):
            return next(self._texts(here, here + 1))
        if here.step == 1:
            return [*self._texts(here.start, here.stop)]
        return [self[one] for one in here]

    def __iter__(self) -> Iterator[str]:
        return self._texts(0, len(self))

    def _texts(self, begin: int, end: int) -> Iterator[str]:
        ends = self._ends[begin : max(begin, end) + 1]
        first, packed = ends[0], self._bytes[ends[0] : ends[-1]]
        joined = packed.decode("utf-8", "surrogatepass")
        if len(joined) == len(packed):  # a byte a letter: to part it once decoded takes a third of the time
            return (joined[here - first : there - first] for here, there in pairwise(ends))
        return (packed[here - first : there - first].decode("utf-8", "surrogatepass") for here, there in pairwise(ends))

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
# A frozen object sets its twenty fields by a call each. One that is not, and becomes an `Ask` once they are set, is
# made in a seventh of the time: a tenth of a run under `fifo` went there.
_Draft: Any = make_dataclass("_Draft", [item.name for item in fields(Ask)], slots=True)


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

        def _each() -> Iterator[tuple[str, Shared]]:
            for job in jobs:
                ask, truth = job.ask, job.truth
                for name in _TIMES_OF_ASK:
                    times[name].append(getattr(ask, name))
                for name in _TIMES_OF_TRUTH:
                    times[name].append(getattr(truth, name))
                gpus.append(ask.gpus)
                logged_start_s.append(math.nan if ask.logged_start_s is None else ask.logged_start_s)
                yield ask.job_id, Shared._make((*_SHARED_OF_ASK(ask), truth.ending))

        job_id, kind, kinds = named(_each())
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
        columns = (self.work_gpu_s, self.ends_at, self.kind)
        truths = zip(*(column[begin:end].tolist() for column in columns), strict=True)
        for ask, (work_gpu_s, ends_at, kind) in zip(self._asks(begin, end), truths, strict=True):
            yield Job(ask, Truth(work_gpu_s, self.kinds[kind].ending, ends_at))

    def asks(self) -> Iterator[Ask]:
        """The `ask` of each job, without the rest of it."""
        for begin in range(0, len(self), JOBS_AT_ONCE):
            yield from self._asks(begin, begin + JOBS_AT_ONCE)

    def _asks(self, begin: int, end: int) -> Iterator[Ask]:
        numbers = (self.submit_s, self.gpus, self.estimate_s, self.slack_s, self.logged_start_s, self.kind)
        rows = zip(self.job_id[begin:end], *(column[begin:end].tolist() for column in numbers), strict=True)
        kinds = self.kinds
        for job_id, submit_s, gpus, estimate_s, slack_s, logged_s, kind in rows:
            shared = kinds[kind]
            logged = logged_s if logged_s == logged_s else None
            ask = _Draft(job_id, submit_s, gpus, estimate_s, slack_s, *shared[:-2], logged, shared.logged_site)
            ask.__class__ = Ask
            yield ask

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


def asks_of(jobs: Sequence[Job]) -> Iterator[Ask]:
    """The `ask` of every job; of a table they are had without making its jobs."""
    return jobs.asks() if isinstance(jobs, JobTable) else (job.ask for job in jobs)


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
