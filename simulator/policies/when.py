"""When: whether a job that may wait should, until what time, and for which site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from simulator.forecast import HOUR_S
from simulator.life import Life
from simulator.record import Floats
from simulator.view import View


@dataclass(frozen=True, slots=True)
class Delay:
    """A plan for one job: start at `until_s` [s] on `site`; the reason and the numbers it rests on."""

    job: Life
    until_s: float
    site: int
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)


class When(Protocol):
    """A part that decides when; it is told of every start and end, so that it can keep its promises."""

    def decide(self, job: Life, sites: Sequence[int], view: View) -> Delay | None:
        """The plan for a job whose latest start lies ahead; `None` to let it start as soon as it fits."""

    def started(self, job: Life, site: int, view: View) -> None:
        """A job has started."""

    def ended(self, job: Life) -> None:
        """A job has left its site."""


# Waking nodes, fetching data and waiting for a checkpoint to be written take minutes: whoever is held is let go
# that much before its latest start, though never more than a quarter of its slack before (a choice).
MARGIN_S = 1200.0

# The share of a site's GPUs that jobs with a choice of sites do not plan to take (a choice: two of eighty).
SPARE_SHARE = 0.025


def latest_start_s(job: Life, now_s: float) -> float:
    """The latest time at which a waiting job should start or go on to meet its deadline [s].

    For one that has not run yet that is submission plus slack, less a margin; for one that has, what is left
    and its restart are taken off the deadline, by the user's estimate.
    """
    ask = job.ask
    if job.done_gpu_s <= 0.0:
        return ask.latest_start_s - min(MARGIN_S, ask.slack_s / 4.0)
    restart_s = ask.checkpoint.restart_s if job.saved else 0.0
    return ask.deadline_s - job.left_s(now_s) - restart_s


class LowestGridWindow:
    """Hold a job for the window, within its slack, in which it is expected to draw least from the grid.

    For every site and every hour of the forecast, the grid power that the job would add is its own power
    less the sun that is still free then, after everybody who runs or has been promised a start. The
    window is as long as the user's estimate; among equals the earliest wins, then home, then the lowest
    site. A window in which GPUs are promised away counts as all grid.

    Parameters
    ----------
    per_hour : float
        What an hour of waiting must save, as a share of the job's energy (a choice: 0.002).
    """

    def __init__(self, per_hour: float = 0.002) -> None:
        self.per_hour = per_hour
        self._promised: dict[int, tuple[int, float, float, float, int]] = {}
        self._watts: Floats = np.zeros((0, 0))
        self._gpus: Floats = np.zeros((0, 0))

    def decide(self, job: Life, sites: Sequence[int], view: View) -> Delay | None:
        """The window with the least expected grid energy."""
        self._prepare(view)
        self._withdraw(job.index)
        ask, now = job.ask, view.now_s
        if ask.slack_s <= 0:
            return None
        rows = np.asarray(sites)
        speed = np.array([view.sites[i].spec.node.speed for i in sites])
        hour, free = view.forecast.free_w(now)
        per_it = view.forecast.per_it(now)
        left_h = job.left_s(now) / HOUR_S / speed
        latest = min(latest_start_s(job, now), now + 72 * HOUR_S)
        span = int(np.ceil((latest - hour * HOUR_S) / HOUR_S + left_h.max())) + 2
        index = np.arange(span)
        index = np.where(index < free.shape[1], index, free.shape[1] - 24 + (index - free.shape[1]) % 24)
        index = np.clip(index, 0, free.shape[1] - 1)
        per_it = per_it[rows][:, index]
        power = np.array([view.sites[i].nodes.draws_w(ask.gpus, ask.intensity) for i in sites])[:, None] * per_it
        at = slice(hour, hour + span)
        surplus = free[rows][:, index] - self._watts[rows, at] * per_it
        draw = power - np.clip(surplus, 0.0, power)
        gpus = np.array([view.sites[i].spec.gpus for i in sites])[:, None]
        room = gpus - self._gpus[rows, at]
        # Whoever may go elsewhere leaves some room for those whose data keep them at one site.
        spare = SPARE_SHARE * gpus if len(sites) > 1 else 0.0
        full = room < ask.gpus + spare - 1e-6
        draw = np.where(full, 2.0 * power, draw)

        starts = np.concatenate(([now], np.arange(np.floor(now / HOUR_S) + 1, latest / HOUR_S) * HOUR_S))
        begin = starts / HOUR_S - hour
        cumulative = np.concatenate((np.zeros((len(rows), 1)), np.cumsum(draw, axis=1)), axis=1)
        cost = _at(cumulative, draw, begin[None, :] + left_h[:, None]) - _at(
            cumulative, draw, np.tile(begin, (len(rows), 1))
        )
        whole = power.mean(axis=1) * left_h
        waited = (starts - now) / HOUR_S
        own = np.array([0.0 if view.sites[i].name == ask.home else 1e-3 for i in sites])
        score = (cost / whole[:, None] + own[:, None]).T + self.per_hour * waited[:, None]
        best = int(np.argmin(score))
        slot, row = divmod(best, len(rows))
        site, start = int(rows[row]), float(starts[slot])
        self._promise(job, site, start, float(left_h[row]), view)
        detail = {
            "grid_kwh": float(cost[row, slot]) / 1000.0,
            "grid_kwh_now": float(cost[:, 0].min()) / 1000.0,
            "until_s": start,
        }
        return Delay(job, start, site, "lowest-grid-window", detail)

    def started(self, job: Life, site: int, view: View) -> None:
        """What was promised becomes what is expected of the running job."""
        self._prepare(view)
        self._withdraw(job.index)
        speed = view.sites[site].spec.node.speed
        self._promise(job, site, view.now_s, job.left_s(view.now_s, speed) / HOUR_S, view)

    def ended(self, job: Life) -> None:
        """Nothing more is promised to it."""
        self._withdraw(job.index)

    # --- promises --------------------------------------------------------------------------------

    def _prepare(self, view: View) -> None:
        if not len(self._watts):
            hours = view.forecast.hours + 24 * 21
            self._watts = np.zeros((len(view.sites), hours))
            self._gpus = np.zeros((len(view.sites), hours))
            for i, site in enumerate(view.sites):
                self._watts[i] = site.spec.node.sleep_w * site.spec.nodes

    def _promise(self, job: Life, site: int, start_s: float, hours: float, view: View) -> None:
        watts = view.sites[site].nodes.draws_w(job.ask.gpus, job.ask.intensity)
        begin = start_s / HOUR_S
        end = min(begin + hours, self._watts.shape[1] - 1.0)
        self._promised[job.index] = (site, begin, end, watts, job.ask.gpus)
        self._book(site, begin, end, watts, job.ask.gpus)

    def _withdraw(self, index: int) -> None:
        promise = self._promised.pop(index, None)
        if promise is not None:
            site, begin, end, watts, gpus = promise
            self._book(site, begin, end, -watts, -gpus)

    def _book(self, site: int, begin: float, end: float, watts: float, gpus: int) -> None:
        first, last = int(begin), int(end)
        for table, value in ((self._watts, watts), (self._gpus, gpus)):
            row = table[site]
            row[first : last + 1] += value
            row[first] -= value * (begin - first)
            row[last] -= value * (last + 1 - end)


def _at(cumulative: Floats, values: Floats, position: Floats) -> Floats:
    """The running integral of hourly `values` at fractional positions, row by row."""
    whole = np.minimum(position.astype(np.int64), values.shape[1] - 1)
    rows = np.arange(len(values))[:, None]
    return np.asarray(cumulative[rows, whole] + (position - whole) * values[rows, whole])
