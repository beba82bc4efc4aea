"""Size: GPUs and power cap for a job that is about to start on a site.

A `Moldable` part may give an elastic job any size between its least and its largest; the others give every job
what it asked for. A part that remembers is made `fresh` for every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View

# size(job, site, view) -> (GPUs, share of the power above idle)
Size = Callable[[JobState, int, View], tuple[int, float]]


class Moldable:
    """A size part that may give an elastic job any size between its least and its largest."""


@runtime_checkable
class Remembers(Protocol):
    """A size part that remembers: each run gets one of its own."""

    def fresh(self) -> Size:
        """One like this for another run."""


def asked(job: JobState, site: int, view: View) -> tuple[int, float]:
    """As many GPUs as the user asked for, at full power."""
    return job.ask.gpus, 1.0


class Largest(Moldable):
    """The most GPUs that are free and that an elastic job can use, at full power."""

    def __call__(self, job: JobState, site: int, view: View) -> tuple[int, float]:
        """GPUs and cap of a job that is about to start."""
        ask = job.ask
        return max(min(ask.gpus_max or ask.gpus, view.room(site)), ask.gpus_min or ask.gpus), 1.0


def least_gpus(size: Size, job: JobState, sites: tuple[int, ...], view: View) -> int:
    """The fewest GPUs with which a part would let a job start: what decides whether it fits."""
    ask = job.ask
    if not ask.gpus_min:
        return ask.gpus
    if isinstance(size, Moldable) or all(view.sites[i].spec.gpus < ask.gpus for i in sites):
        return ask.gpus_min
    return ask.gpus


SIZES: dict[str, Size] = {"rigid": asked, "largest": Largest()}
