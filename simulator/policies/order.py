"""Who next: each part gives the key by which waiting jobs are sorted, least first.

A key is a tuple; the scheduler appends the job's index, so that no two are equal. A part whose keys
change while a job waits says so with `dynamic`, and is asked again in every round.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.life import Life
from simulator.view import View

Order = Callable[[Life, View], tuple[float, ...]]


def arrival(job: Life, view: View) -> tuple[float, ...]:
    """First come, first served."""
    return (job.ask.submit_s,)


def shortest(job: Life, view: View) -> tuple[float, ...]:
    """Shortest estimated runtime first (SJF)."""
    return (job.ask.estimate_s,)


def longest(job: Life, view: View) -> tuple[float, ...]:
    """Longest estimated runtime first (LJF)."""
    return (-job.ask.estimate_s,)


def deadline(job: Life, view: View) -> tuple[float, ...]:
    """Earliest deadline first (EDF; Liu and Layland 1973, 10.1145/321738.321743)."""
    return (job.ask.deadline_s, job.ask.submit_s)
