"""Deferral: what a part is that decides when, and how late a job may start where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View


@dataclass(frozen=True, slots=True)
class Delay:
    """A plan for one job: start at `until_s` [s] on `site`; the reason and the numbers it rests on."""

    job: JobState
    until_s: float
    site: int
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)


class When(Protocol):
    """A part that decides when; it is told of every start and end, so that it can keep its promises."""

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The plan for a job whose latest start lies ahead; `None` to let it start as soon as it fits."""

    def started(self, job: JobState, site: int, view: View) -> None:
        """A job has started."""

    def ended(self, job: JobState) -> None:
        """A job has left its site."""


def lead_s(job: JobState, site: int, view: View) -> float:
    """What a job holds its GPUs for at a site beside its work, by its own numbers [s].

    Waking a node that can sleep, fetching what it lacks there, restarting, and its periodic checkpoints.
    """
    return view.duration_s(job, site) - job.left_s(view.now_s, view.sites[site].spec.node.speed)


def latest_start_s(job: JobState, lead_s: float, now_s: float) -> float:
    """The latest time at which a waiting job can start or go on and meet its deadline [s].

    Its slack is used whole: the deadline less what is left by its user's estimate, and less what it needs at the site
    beside its work.
    """
    return job.ask.deadline_s - job.left_s(now_s) - lead_s


def leads_s(job: JobState, sites: Iterable[int], view: View) -> list[float]:
    """What a job needs beside its work at each of some sites [s]; without links sites with the same nodes are alike."""
    if view.scenario.links:
        return [lead_s(job, site, view) for site in sites]
    known: dict[int, float] = {}
    found, kinds = [], view.node_kinds
    for site in sites:
        kind = kinds[site]
        if kind not in known:
            known[kind] = lead_s(job, site, view)
        found.append(known[kind])
    return found
