"""When: whether a job that may wait should, until what time, and for which site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, inf

import numpy as np
from numpy.typing import NDArray

from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.deferral.base import Delay, latest_start_s, leads_s
from tafukt.simulator.policies.deferral.signals import ahead_of
from tafukt.simulator.policies.runtime_prediction import Duration, UsualShare
from tafukt.simulator.scenario import NodeType
from tafukt.simulator.units import HOUR_S, TICKS_PER_S, Floats, Ints
from tafukt.workloads.job import Ask

# A time that was rounded up to the grid of events may lie this much after the one that was meant [h].
TICK_H = 2.0 / TICKS_PER_S / HOUR_S

# No more of a run is looked at (a choice) [h].
RUN_H = 24.0 * 14

# How far past the end of the accounting window promises are kept [h].
BEYOND_H = 24 * 21

NOTHING_W = np.zeros(())

# The share of a site's GPUs that jobs with a choice of sites do not plan to take (a choice: two of eighty).
SPARE_SHARE = 0.025


@dataclass(frozen=True, slots=True)
class _Part:
    """Sites of one kind of node among those that a job may choose from.

    `columns` are the same sites as an index into the tables, `gpus` what each has, `free` whether the
    job may go elsewhere. `away` is what a start at one that
    is not the job's home counts more, `waits` what every hour until it counts, both as shares of the job's energy, of
    shape (starts, sites). `gangs` keeps what has been worked out for gangs of one size and intensity.
    """

    sites: list[int]
    columns: slice | Ints
    nodes: Cluster
    speed: float
    gpus: Floats
    free: bool
    away: Floats
    waits: Floats
    gangs: dict[tuple[int, float], _Gang] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Gang:
    """What a gang draws at the sites of a part: what it would, and where there is no room for it [W of IT load].

    `room` is up to how many GPUs promised to others it may come to each site. Numbers stand as arrays, which is how
    numpy takes them fastest.
    """

    it_w: Floats
    full_w: Floats
    room: Floats


class LowestGridWindow:
    """Hold a job for the window, within its slack, in which it is expected to draw least from the grid.

    For every site and every hour of the forecast, the grid power that the job would add is its own power
    less the sun that is still free then, after everybody who runs or has been promised a start. The
    window is as long as the share of their estimates that jobs usually run; among equals the earliest wins,
    then home, then the lowest site. A window in which GPUs are promised away counts as all grid.

    Parameters
    ----------
    per_hour : float
        What an hour of waiting must save, as a share of the job's energy (a choice: 0.002).
    least_gpu_h : float
        Jobs that are to run for fewer GPU-hours wait for no more than the first light, and no window is looked
        for: they are most of the jobs and next to nothing of the energy (a choice: 1).
    duration : Duration, optional
        How long jobs are expected to run; the usual share of their estimates where none is given.
    """

    def __init__(self, per_hour: float = 0.002, least_gpu_h: float = 1.0, duration: Duration | None = None) -> None:
        self.per_hour = per_hour
        self.least_gpu_h = least_gpu_h
        self._duration = duration or UsualShare()
        self._promised: dict[int, tuple[int, float, float, complex]] = {}
        self._parts: dict[tuple[tuple[int, ...], str], tuple[_Part, ...]] = {}
        self._hour, self._valid_s = -1, 0.0  # of the forecast at hand: its hour of issue, and until when it holds
        # What is promised to others, by hour and site: watts, and as the imaginary part GPUs, so that one sum books
        # both. By hour from that of issue on and site, the sun that is left before jobs [W of IT load] and the watts
        # drawn at the meter by one of IT load. Hours come first: those that a decision looks at lie side by side.
        self._booked: NDArray[np.complex128] = np.zeros((0, 0), dtype=np.complex128)
        self._of_site: list[NDArray[np.complex128]] = []
        self._watts: Floats = self._booked.real
        self._gpus: Floats = self._booked.imag
        self._sun: Floats = np.zeros((0, 0))
        self._per_it: Floats = np.zeros((0, 0))
        self._mean_per_it = 1.0
        # For so long there is no sun to spare at any site [h after the hour of issue].
        self._dark_h = 0.0

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The window with the least expected grid energy; none for a job that no sun can reach."""
        ask, now = job.ask, view.now_s
        if ask.slack_s <= 0:
            return None
        if self._is_small(job):
            return self._at_first_light(job, sites, now, view)
        self._prepare(view)
        self._withdraw(job.index)
        parts = self._parts_of(sites, ask.home, view)
        ahead = [self._ahead_h(job, part, view) for part in parts]
        latest_h = max(0.0, *(hours for hours, _ in ahead))
        left_s = self._duration.left_s(job, now)
        longest_h = max(min(left_s / HOUR_S / parts[0].speed, RUN_H), 1e-9)
        hour, begin_h = self._renew(view, now, latest_h + longest_h)
        if len(parts) == 1 and begin_h + latest_h + longest_h <= self._dark_h:
            return None
        # Waiting and being away from home count as shares of what the job draws on its slowest nodes.
        whole_wh = parts[0].nodes.draws_w(ask.gpus, ask.intensity) * self._mean_per_it * longest_h
        best, now_wh = (inf, 0, 0, 0.0), inf
        for part, (latest_h, late) in zip(parts, ahead, strict=True):
            if latest_h < -TICK_H:
                continue
            latest_h = max(latest_h, 0.0)
            # The first start is now, then come whole hours, counted from the hour of issue.
            starts = floor(begin_h + latest_h) - int(begin_h) + 1
            left_h = max(min(left_s / HOUR_S / part.speed, RUN_H), 1e-9)
            span = int(begin_h + latest_h + left_h) + 2
            cost = _windows(self._draw(part, hour, span, ask), begin_h, starts, left_h)
            score = cost / whole_wh
            score += part.away[:starts]
            score += self._waiting(part, begin_h, starts)
            if late is not None:
                score[1:][np.arange(int(begin_h) + 1, int(begin_h) + starts)[:, None] > begin_h + late] = inf
            slot, at = divmod(int(score.argmin()), len(part.sites))
            best = min(best, (score.item(slot, at), slot, part.sites[at], cost.item(slot, at)))
            now_wh = min(now_wh, *cost[0].tolist())
        _, slot, site, grid_wh = best
        start_s = now if slot == 0 else (hour + int(begin_h) + slot) * HOUR_S
        self._promise(job, site, start_s, left_s, view)
        detail = {"grid_kwh": grid_wh / 1000.0, "grid_kwh_now": now_wh / 1000.0, "until_s": start_s}
        return Delay(job, start_s, site, "lowest-grid-window", detail)

    def _ahead_h(self, job: JobState, part: _Part, view: View) -> tuple[float, Floats | None]:
        """How far ahead a start at a part's sites may lie: at any of them, and at each where they differ [h]."""
        horizon_h, now = float(view.forecast.settings.horizon_h), view.now_s
        if not view.scenario.links:
            (lead,) = leads_s(job, part.sites[:1], view)
            return min((latest_start_s(job, lead, now) - now) / HOUR_S, horizon_h), None
        leads = leads_s(job, part.sites, view)
        late = np.array([min((latest_start_s(job, lead, now) - now) / HOUR_S, horizon_h) for lead in leads])
        return float(late.max()), late

    def started(self, job: JobState, site: int, view: View) -> None:
        """What was promised becomes what is expected of the running job."""
        promise = self._promised.get(job.index)
        if promise is not None and promise[0] == site and promise[1] == view.now_s / HOUR_S:
            return
        self._withdraw(job.index)
        if not self._is_small(job):
            now = view.now_s
            self._promise(job, site, now, self._duration.left_s(job, now), view)

    def ended(self, job: JobState) -> None:
        """Nothing more is promised to it."""
        self._withdraw(job.index)
        if not self._is_small(job):
            self._duration.freed(job)

    # --- small jobs ------------------------------------------------------------------------------

    def _is_small(self, job: JobState) -> bool:
        return job.ask.gpus * job.ask.estimate_s < self.least_gpu_h * HOUR_S

    def _at_first_light(self, job: JobState, sites: Sequence[int], now_s: float, view: View) -> Delay | None:
        """Hold a job until the sun leaves something over anywhere, if it may wait so long."""
        hour, begin_h = self._renew(view, now_s, 0.0)
        if self._dark_h <= begin_h:
            return None
        until_s = (hour + self._dark_h) * HOUR_S
        if not now_s < until_s < latest_start_s(job, max(leads_s(job, sites, view)), now_s):
            return None
        return Delay(job, until_s, sites[0], "waits for first light", {"until_s": until_s})

    # --- what the hours hold ---------------------------------------------------------------------

    def _parts_of(self, sites: Sequence[int], home: str, view: View) -> tuple[_Part, ...]:
        """The sites by kind of node, the slowest first; the same for all jobs that have these sites and this home."""
        key = (tuple(sites), home)
        parts = self._parts.get(key)
        if parts is None:
            kinds: dict[NodeType, list[int]] = {}
            for site in sites:
                kinds.setdefault(view.sites[site].spec.node, []).append(site)
            found = [self._part(rows, home, len(sites) > 1, view) for rows in kinds.values()]
            parts = self._parts[key] = tuple(sorted(found, key=lambda part: part.speed))
        return parts

    def _part(self, sites: list[int], home: str, free: bool, view: View) -> _Part:
        views = [view.sites[site] for site in sites]
        away = np.array([0.0 if site.name == home else 1e-3 for site in views])
        waits = self.per_hour * np.arange(view.forecast.settings.horizon_h + 2.0)
        return _Part(
            sites,
            _picked(sites),
            views[0].nodes,
            views[0].spec.node.speed,
            np.array([float(site.gpus) for site in views]),
            free,
            np.tile(away, (len(waits), 1)),
            np.tile(waits[:, None], len(sites)),
        )

    def _waiting(self, part: _Part, begin_h: float, starts: int) -> Floats:
        """What waiting until each start counts, as a share of the job's energy, shape (starts, sites)."""
        waited = part.waits[:starts]
        past = begin_h % 1.0
        if past:
            waited = waited - self.per_hour * past
            waited[0] = 0.0
        return waited

    def _renew(self, view: View, now_s: float, hours: float) -> tuple[int, float]:
        """The hour of issue, and now [h after it]; the forecast is at hand for so many hours from now on."""
        hour = self._hour if now_s < self._valid_s else view.forecast.issue_hour(now_s)
        begin_h = now_s / HOUR_S - hour
        span = int(begin_h + hours) + 3
        if hour != self._hour or span > len(self._sun):
            self._prepare(view)
            self._hour, self._valid_s = hour, (hour + view.forecast.settings.issue_h) * HOUR_S
            free, per_it = view.forecast.free_w(now_s)[1], view.forecast.per_it(now_s)
            if span > free.shape[1]:
                free, per_it = ahead_of(free, span), ahead_of(per_it, span)
            self._mean_per_it = float(per_it.mean())
            self._per_it = per_it.T.copy()
            self._sun = free.T / self._per_it
            sunny = np.logical_or.reduce(self._sun > self._watts[hour : hour + len(self._sun)], axis=1)
            dark = int(sunny.argmax())
            self._dark_h = float(dark) if sunny[dark] else inf
        return hour, begin_h

    def _draw(self, part: _Part, hour: int, span: int, ask: Ask) -> Floats:
        """Grid power that a job would add in each hour at each site of a part, at the meter [W], (hours, sites)."""
        gang = part.gangs.get((ask.gpus, ask.intensity)) or _gang(part, ask)
        hours, columns = slice(hour, hour + span), part.columns
        draw = self._watts[hours, columns] - self._sun[:span, columns]
        draw += gang.it_w
        np.maximum(draw, NOTHING_W, out=draw)
        np.minimum(draw, gang.it_w, out=draw)
        np.putmask(draw, self._gpus[hours, columns] > gang.room, gang.full_w)
        draw *= self._per_it[:span, columns]
        return draw

    # --- promises --------------------------------------------------------------------------------

    def _prepare(self, view: View) -> None:
        if not len(self._watts):
            nodes = [site.spec.node.sleep_w * site.spec.nodes for site in view.sites]
            self._booked = np.tile(np.array(nodes, dtype=np.complex128), (view.forecast.hours + BEYOND_H, 1))
            self._of_site = list(self._booked.T)
            self._watts, self._gpus = self._booked.real, self._booked.imag
            self._duration.know(dict(view.forecast.settings.class_mean_s))

    def _promise(self, job: JobState, site: int, start_s: float, left_s: float, view: View) -> None:
        self._prepare(view)
        spec = view.sites[site]
        begin = start_s / HOUR_S
        end = min(begin + left_s / spec.spec.node.speed / HOUR_S, len(self._watts) - 1.0)
        promise = (site, begin, end, complex(spec.nodes.draws_w(job.ask.gpus, job.ask.intensity), job.ask.gpus))
        self._promised[job.index] = promise
        self._book(*promise)

    def _withdraw(self, index: int) -> None:
        promise = self._promised.pop(index, None)
        if promise is not None:
            site, begin, end, amount = promise
            self._book(site, begin, end, -amount)

    def _book(self, site: int, begin: float, end: float, amount: complex) -> None:
        column, first, last = self._of_site[site], int(begin), int(end)
        if first == last:
            column[first] += amount * (end - begin)
            return
        hours = column[first : last + 1]
        hours += amount
        if begin > first:
            column[first] -= amount * (begin - first)
        column[last] -= amount * (last + 1 - end)


def _windows(draw: Floats, begin_h: float, starts: int, left_h: float) -> Floats:
    """What runs of `left_h` hours draw at each site: begun at `begin_h`, and at the whole hours after it [Wh].

    Parameters
    ----------
    draw : array, shape (hours, sites)

    Returns
    -------
    array, shape (starts, sites)
    """
    total = np.zeros((len(draw) + 1, draw.shape[1]))
    np.add.accumulate(draw, axis=0, out=total[1:])
    first, whole = int(begin_h), int(left_h)
    ends = slice(first + whole, first + whole + starts)
    # All starts as if at whole hours, the first of them moved to where it belongs.
    cost = total[ends] - total[first : first + starts]
    cost += (left_h - whole) * draw[ends]
    end = begin_h + left_h
    last = int(end)
    if begin_h:
        cost[0] = total[last] + (end - last) * draw[last] - total[first] - (begin_h - first) * draw[first]
    return cost


def _gang(part: _Part, ask: Ask) -> _Gang:
    """Works out what a part keeps for gangs like this one."""
    it_w = part.nodes.draws_w(ask.gpus, ask.intensity)
    room = part.gpus - ask.gpus
    if part.free:
        # Whoever may go elsewhere leaves some room for those whose data keep them at one site, but for a gang that
        # needs nearly all of it.
        room = np.maximum((1.0 - SPARE_SHARE) * part.gpus - ask.gpus, 0.0)
    room += 1e-6
    alike = bool((room == room[0]).all())
    gang = _Gang(np.array(it_w), np.array(2.0 * it_w), np.array(room[0]) if alike else room)
    part.gangs[ask.gpus, ask.intensity] = gang
    return gang


def _picked(positions: list[int]) -> slice | Ints:
    """The same positions as a slice where they follow one another."""
    first, last = positions[0], positions[-1] + 1
    return slice(first, last) if positions == list(range(first, last)) else np.array(positions, dtype=np.int64)
