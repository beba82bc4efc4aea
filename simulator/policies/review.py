"""What becomes of jobs that run: a part looks at them in every round and may pause, move or resize them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Protocol

from simulator.actions import Action, Pause, Wake
from simulator.forecast import HOUR_S
from simulator.life import Life
from simulator.view import SiteView, View


class Review(Protocol):
    """A part that looks after running jobs; one object for each run."""

    def review(self, view: View) -> Iterator[Action]:
        """What to do with running jobs now, and when to be asked again."""


class PauseAtSunset:
    """Pauses jobs where the battery will soon be empty, if they have the slack to wait for the sun.

    A site that draws more than its sun gives lives on its battery. Once the minutes that the battery still
    lasts are no more than the longest checkpoint there needs, the jobs that can be interrupted are saved, so
    that not even the checkpoint draws from the grid; the job that draws most goes first, until what is
    left is carried by the sun. A job is paused only if it would meet its deadline by going on at the next
    hour in which the forecast sun carries it, if that is some hours away, and if more is left of it than
    saving and restarting take. When it goes on is for the `when` part to say.

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

    def review(self, view: View) -> Iterator[Action]:
        """Look at every site that lives on its battery."""
        wake_s = inf
        for site in view.sites:
            if site.spec.battery is None or site.surplus_w >= 0.0:
                continue
            saving_s = max((job.write_s for job in view.running_at(site.index)), default=0.0) + self.margin_s
            lasts_s = site.usable_j / -site.surplus_w
            if lasts_s > saving_s:
                wake_s = min(wake_s, view.now_s + max(lasts_s - saving_s, 60.0))
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
            late = back_s + job.ask.checkpoint.restart_s + left_s > job.ask.deadline_s
            if late or left_s <= costs_s or back_s - view.now_s < max(self.dark_h * HOUR_S, costs_s):
                continue
            lacking_w -= site.draws_w(job.ask, job.gpus, job.cap)
            numbers = {
                "battery_lasts_s": lasts_s,
                "checkpoint_s": job.write_s,
                "sun_again_in_h": (back_s - view.now_s) / HOUR_S,
            }
            yield Pause(job, "the battery is running out", {**numbers, "left_h": left_s / HOUR_S})


def _sun_s(job: Life, site: SiteView, view: View) -> float:
    """When the forecast sun will carry the job here [s]; infinite if not within the horizon."""
    hour, free = view.forecast.free_w(view.now_s)
    power_w = site.draws_w(job.ask, job.gpus, job.cap)
    now = int(view.now_s // HOUR_S) - hour
    for ahead, watts in enumerate(free[site.index, now + 1 :].tolist(), start=now + 1):
        if watts >= power_w:
            return (hour + ahead) * HOUR_S
    return inf


REVIEWS: dict[str, type[Review]] = {"sunset": PauseAtSunset}
