"""Review of jobs that run: a part looks at them in every round and may pause, move or resize them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Protocol, runtime_checkable

import numpy as np

from tafukt.simulator.engine.actions import Action, Pause, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import SiteView, View
from tafukt.simulator.policies.lookahead.windows import RunCosts
from tafukt.simulator.units import HOUR_S

LOOK_S = 900.0  # how often a site with a battery is looked at while it runs jobs (a choice)


@runtime_checkable
class Review(Protocol):
    """A part that looks after running jobs; one object for each run."""

    def review(self, view: View) -> Iterator[Action]:
        """Actions on running jobs, and a wish to be asked again."""


class PauseAtSunset:
    """Pauses jobs where the battery will soon be empty, if they have the slack to wait for the sun.

    A site that draws more than its sun gives lives on its battery. Once the minutes that the battery still
    lasts are no more than the longest checkpoint there needs, the jobs that can be interrupted are saved, so
    that not even the checkpoint draws from the grid; the job that draws most goes first, until what is
    left is carried by the sun. A job is paused only if it would meet its deadline by going on at the next
    hour in which the forecast sun carries it, if that is some hours away, and if it then draws less beyond
    the sun than by running on, saving and restarting included; and once a night. When it goes on is for the
    `when` part to say.

    Parameters
    ----------
    margin_s : float
        How much sooner than needed a checkpoint begins (a choice: 120 s).
    dark_h : float
        For how long at least the sun must be away (a choice: 2 h).
    """

    def __init__(self, margin_s: float = 120.0, dark_h: float = 2.0) -> None:
        self.margin_s = margin_s
        self.dark_h = dark_h
        self._paused_until_s: dict[int, float] = {}

    def review(self, view: View) -> Iterator[Action]:
        """Look at every site that lives on its battery."""
        now, wake_s = view.now_s, inf
        longest_s: dict[int, float] = {}  # the longest checkpoint of each site where somebody could be paused
        for job in view.running.values():
            if job.ask.interruptible and job.write_s >= longest_s.get(job.site, 0.0):
                longest_s[job.site] = job.write_s
        for index in sorted(longest_s):
            site = view.sites[index]
            if site.spec.battery is None:
                continue
            # On a grid: a look in every round must not breed ever more rounds.
            wake_s = min(wake_s, (now // LOOK_S + 1.0) * LOOK_S)
            if site.surplus_w >= 0.0:
                continue
            saving_s = longest_s[index] + self.margin_s
            lasts_s = site.usable_j / -site.surplus_w
            if lasts_s > saving_s:
                wake_s = min(wake_s, now + max(lasts_s - saving_s, 60.0))
            elif lasts_s > 0.0:
                yield from self._pause(site, lasts_s, view)
        if wake_s < inf:
            yield Wake(wake_s)

    def _pause(self, site: SiteView, lasts_s: float, view: View) -> Iterator[Action]:
        lacking_w = -site.surplus_w
        jobs = [job for job in view.running_at(site.index) if job.running and job.ask.interruptible]
        for job in sorted(jobs, key=lambda job: (-job.power_w, job.index)):
            if lacking_w <= 0.0:
                return
            back_s = _sun_s(job, site, view)
            left_s = job.left_s(view.now_s, site.spec.node.speed)
            costs_s = job.write_s + job.ask.checkpoint.restart_s
            late = back_s == inf or back_s + job.ask.checkpoint.restart_s + left_s > job.ask.deadline_s
            too_soon = back_s - view.now_s < self.dark_h * HOUR_S
            if late or too_soon or self._paused_until_s.get(job.index, 0.0) > view.now_s:
                continue
            on_kwh = _beyond_sun_kwh(job, site, view, view.now_s, left_s)
            after_kwh = _beyond_sun_kwh(job, site, view, back_s, left_s + costs_s)
            if after_kwh >= on_kwh:
                continue
            self._paused_until_s[job.index] = back_s
            lacking_w -= site.draws_w(job.ask, job.gpus, job.cap)
            numbers = {"battery_lasts_s": lasts_s, "checkpoint_s": job.write_s, "left_h": left_s / HOUR_S}
            more = {"sun_again_in_h": (back_s - view.now_s) / HOUR_S, "grid_kwh": after_kwh, "grid_kwh_on": on_kwh}
            yield Pause(job, "the battery is running out", {**numbers, **more})


def _beyond_sun_kwh(job: JobState, site: SiteView, view: View, start_s: float, run_s: float) -> float:
    """Energy that a run of the job here would draw beyond the forecast sun [kWh]."""
    hour, free = view.forecast.free_w(view.now_s)
    power_w, sun = site.draws_w(job.ask, job.gpus, job.cap), free[site.index]
    # Past the forecast nothing is known of the sun.
    lacking_w = np.append(np.maximum(power_w - np.maximum(sun, 0.0), 0.0), power_w)
    edges_h = np.array([start_s, start_s + run_s]) / HOUR_S - hour
    begin, end = RunCosts(lacking_w[:, None]).until(edges_h[:, None])[:, 0]
    return float(end - begin) / 1000.0


def _sun_s(job: JobState, site: SiteView, view: View) -> float:
    """Time from which the forecast sun will carry the job here [s]; infinite if not within the horizon."""
    hour, free = view.forecast.free_w(view.now_s)
    power_w = site.draws_w(job.ask, job.gpus, job.cap)
    now = int(view.now_s // HOUR_S) - hour
    for ahead, watts in enumerate(free[site.index, now + 1 :].tolist(), start=now + 1):
        if watts >= power_w:
            return (hour + ahead) * HOUR_S
    return inf


REVIEWS: dict[str, type[Review]] = {"sunset": PauseAtSunset}
