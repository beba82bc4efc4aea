"""How large: GPUs and power cap for a job that is about to start on a site.

A part that is `moldable` may give an elastic job any size between its least and its largest; the others
give every job what it asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View

# size(job, site, view) -> (GPUs, share of the power above idle)
Size = Callable[[JobState, int, View], tuple[int, float]]


def asked(job: JobState, site: int, view: View) -> tuple[int, float]:
    """What the user asked for, at full power."""
    return job.ask.gpus, 1.0


def largest(job: JobState, site: int, view: View) -> tuple[int, float]:
    """The most GPUs that are free and that an elastic job can use, at full power."""
    ask = job.ask
    return max(min(ask.gpus_max or ask.gpus, view.room(site)), ask.gpus_min or ask.gpus), 1.0


largest.moldable = True  # type: ignore[attr-defined]


def least_gpus(size: Size, job: JobState, sites: tuple[int, ...], view: View) -> int:
    """The fewest GPUs with which a part would let a job start: what decides whether it fits."""
    ask = job.ask
    if not ask.gpus_min:
        return ask.gpus
    if getattr(size, "moldable", False) or all(view.sites[i].spec.gpus < ask.gpus for i in sites):
        return ask.gpus_min
    return ask.gpus


SIZES: dict[str, Size] = {"rigid": asked, "largest": largest}
