"""Orders of the queue: each part gives the key by which waiting jobs are sorted, least first.

A key is a tuple; the scheduler appends the job's index, so that no two are equal. An order whose keys change
while a job waits is a `Changing` one. An order that must remember something is a class; each run gets a fresh
object of it, which is told of starts and ends where it `Counts` them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log2, log10
from typing import Protocol, runtime_checkable

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View

Order = Callable[[JobState, View], tuple[float, ...]]


class Changing:
    """An order whose keys change while jobs wait: asked again in every round in which anybody could start."""


@runtime_checkable
class Counts(Protocol):
    """An order that counts who holds GPUs."""

    def started(self, job: JobState, view: View) -> None:
        """A job holds GPUs from now on."""

    def ended(self, job: JobState, view: View) -> None:
        """A job has given its GPUs back."""


def arrival(job: JobState, view: View) -> tuple[float, ...]:
    """First come, first served."""
    return (job.ask.submit_s,)


def shortest(job: JobState, view: View) -> tuple[float, ...]:
    """Shortest estimated runtime first (SJF)."""
    return (job.ask.estimate_s,)


def longest(job: JobState, view: View) -> tuple[float, ...]:
    """Longest estimated runtime first (LJF)."""
    return (-job.ask.estimate_s,)


def deadline(job: JobState, view: View) -> tuple[float, ...]:
    """Earliest deadline first (EDF; Liu and Layland 1973, 10.1145/321738.321743)."""
    return (job.ask.deadline_s, job.ask.submit_s)


class WFP3(Changing):
    """WFP3: largest (wait / estimate)^3 x GPUs first (Tang et al. 2009, 10.1109/CLUSTR.2009.5289206)."""

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """The key of a job that waits."""
        return (-((_wait_s(job, view) / _runtime_s(job)) ** 3) * job.ask.gpus,)


class UNICEP(Changing):
    """UNICEP: largest wait / (log2(GPUs) x estimate) first (Tang et al. 2009, 10.1109/CLUSTR.2009.5289206).

    One GPU counts as two in the logarithm, which would else be zero (a choice).
    """

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """The key of a job that waits."""
        return (-_wait_s(job, view) / (log2(max(job.ask.gpus, 2)) * _runtime_s(job)),)


def f1(job: JobState, view: View) -> tuple[float, ...]:
    """F1: least log10(estimate) x GPUs + 870 log10(submission) first.

    Carastan-Santos and de Camargo 2017, 10.1145/3126908.3126955, table 3; times in s, those under one
    second count as one.
    """
    ask = job.ask
    return (log10(_runtime_s(job)) * ask.gpus + 870.0 * log10(max(ask.submit_s, 1.0)),)


class FairShare(Changing):
    """The region that has used least of late goes first; among its jobs, arrival.

    Usage is GPU-seconds held, halved with every `half_life_s` that passes (a week, the default of Slurm's
    multifactor priority plug-in); all regions have equal shares.
    """

    def __init__(self, half_life_s: float = 7 * 86_400.0) -> None:
        self._decay = 0.693147180559945 / half_life_s
        self._used: dict[str, float] = {}
        self._held: dict[str, int] = {}
        self._of_job: dict[int, int] = {}
        self._now_s = 0.0

    def __call__(self, job: JobState, view: View) -> tuple[float, ...]:
        """Decayed usage of the job's region, then submission."""
        self._advance(view.now_s)
        return (self._used.get(job.ask.tenant.region, 0.0), job.ask.submit_s)

    def started(self, job: JobState, view: View) -> None:
        """A job holds GPUs from now on."""
        self._of_job[job.index] = job.held
        self._count(job, job.held, view)

    def ended(self, job: JobState, view: View) -> None:
        """A job has given its GPUs back."""
        self._count(job, -self._of_job.pop(job.index), view)

    def _count(self, job: JobState, gpus: int, view: View) -> None:
        self._advance(view.now_s)
        region = job.ask.tenant.region
        self._held[region] = self._held.get(region, 0) + gpus

    def _advance(self, now_s: float) -> None:
        """Let usage decay and grow up to now: u' = held - decay x u, solved in closed form."""
        if now_s <= self._now_s:
            return
        keep = exp(-self._decay * (now_s - self._now_s))
        self._now_s = now_s
        for region in self._used.keys() | self._held.keys():
            level = self._held.get(region, 0) / self._decay
            self._used[region] = level + (self._used.get(region, 0.0) - level) * keep


def _wait_s(job: JobState, view: View) -> float:
    return view.now_s - job.ask.submit_s


def _runtime_s(job: JobState) -> float:
    return max(job.ask.estimate_s, 1.0)
