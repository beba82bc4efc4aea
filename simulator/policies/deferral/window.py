"""Deferral by the sun: the window, within a job's slack, in which it is expected to draw least from the grid.

It stands beside the strategies of `slots` because it has one fixed measure, sun that is left over, and is asked for
every job of long traces: what a signal works out anew for each job (a row for every site, the battery's course) is
here kept by kind of node and size of gang. What is promised, how late a job may start, what a run costs and what a
site has room for are the same functions for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, inf

import numpy as np

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.deferral.base import (
    ROUNDED_UP_S,
    SPARE_SHARE,
    Delay,
    Promising,
    latest_start_s,
    latest_starts_s,
    leads_s,
)
from tafukt.simulator.policies.lookahead.forecast_end import ahead_of
from tafukt.simulator.policies.lookahead.hour_table import GPU_ROUNDING, added_w, plannable
from tafukt.simulator.policies.lookahead.windows import RunCosts
from tafukt.simulator.policies.runtime_prediction import Duration, UsualShare
from tafukt.simulator.scenario import NodeType
from tafukt.simulator.units import HOUR_S, Floats, Ints
from tafukt.workloads.job import Ask

# No more of a run is looked at (a choice) [h].
RUN_H = 24.0 * 14

# A start where there is no room counts more than any that draws all from the grid.
NO_ROOM = 1e6

NOTHING_W = np.zeros(())


@dataclass(frozen=True, slots=True)
class _Part:
    """Sites of one kind of node among those that a job may choose from.

    `columns` are the same sites as an index into the tables, `gpus` what each has, `free` whether the job may go
    elsewhere. `away` is what a start at one that is not the job's home counts more, `waits` what every hour until it
    counts, both as shares of the job's energy, of shape (starts, sites). `gangs` keeps what has been worked out for
    gangs of one size and intensity.
    """

    sites: list[int]
    columns: slice | Ints
    node: NodeType
    gpus: Floats
    free: bool
    away: Floats
    waits: Floats
    gangs: dict[tuple[int, float], _Gang] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Gang:
    """Power of a gang at the sites of a part: what it draws, and what counts where there is no room [W of IT load].

    `room` is up to how many GPUs promised to others it may come to each site. Numbers stand as arrays, which is how
    numpy takes them fastest.
    """

    it_w: Floats
    full_w: Floats
    room: Floats


class LowestGridWindow(Promising):
    """Hold a job for the window, within its slack, in which it is expected to draw least from the grid.

    For every site and every hour of the forecast, the grid power that the job would add is its own power
    less the sun that is still free then, after everybody who runs or has been promised a start. The
    window is as long as the share of their estimates that jobs usually run; among equals the earliest wins,
    then home, then the lowest site. An hour in which GPUs are promised away, or for which sun and import limits or
    requests of the grid leave too little power, counts more than all grid. Where the forecast comes in slots shorter
    than an hour, what is called an hour here is a slot.

    Parameters
    ----------
    per_hour : float
        What an hour of waiting must save, as a share of the job's energy (a choice: 0.002).
    least_gpu_h : float
        Jobs that are to run for fewer GPU-hours wait for no more than the first light, and no window is looked
        for: they are most of the jobs and next to nothing of the energy (a choice: 1).
    duration : Duration, optional
        How long jobs are expected to run; the usual share of their estimates where none is given.
    replan : bool
        Whether held jobs are looked at again with every new forecast.
    """

    def __init__(
        self,
        per_hour: float = 0.002,
        least_gpu_h: float = 1.0,
        duration: Duration | None = None,
        replan: bool = False,
    ) -> None:
        super().__init__(duration or UsualShare())
        self.replan = replan
        self.per_hour = per_hour
        self.least_gpu_h = least_gpu_h
        self._parts: dict[tuple[tuple[int, ...], str], tuple[_Part, ...]] = {}
        self._hour, self._valid_s = -1, 0.0  # of the forecast at hand: its hour of issue, and until when it holds
        # By hour from that of issue on and site, the sun that is left before jobs [W of IT load], and the watts drawn
        # at the meter by one of IT load. Hours come first: those that a decision looks at lie side by side.
        self._sun: Floats = np.zeros((0, 0))
        self._per_it: Floats = np.zeros((0, 0))
        self._mean_per_it = 1.0
        # For so long there is no sun to spare at any site [h after the hour of issue].
        self._dark_h = 0.0

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The window with the least expected grid energy; none for a job that no sun can reach."""
        ask, now, slot_s = job.ask, view.now_s, view.slots.slot_s
        if ask.slack_s <= 0:
            return None
        if self._is_small(job):
            return self._at_first_light(job, sites, now, view)
        self.withdraw(job.index)
        parts = self._parts_of(sites, ask.home, view)
        # Without links a latest start goes by the node alone: the first site of a part speaks for all.
        most = None if view.scenario.links else 1
        late = [latest_starts_s(job, part.sites[:most], view) for part in parts]
        latest_h = max(0.0, *((latest - now) / slot_s for latest, _ in late))
        left_s = self.duration.left_s(job, now)
        longest_h = _run_h(left_s, parts[0], slot_s)
        hour, begin_h = self._renew(view, now, latest_h + longest_h)
        offered_w = self.offered.of(view, len(self._sun))
        if len(parts) == 1 and offered_w is None and begin_h + latest_h + longest_h <= self._dark_h:
            return None
        # Waiting and being away from home count as shares of what the job draws on its slowest nodes.
        whole_w = added_w(parts[0].node, ask.gpus, ask.intensity) * self._mean_per_it * longest_h
        whole_w = whole_w or 1.0  # a job that adds no watt costs nothing, of whatever
        best, now_w = (inf, 0, 0, 0.0), inf
        for part, (latest_s, each_s) in zip(parts, late, strict=True):
            if latest_s < now - ROUNDED_UP_S:
                continue
            latest_h = max((latest_s - now) / slot_s, 0.0)
            # The first start is now, then come whole hours, counted from the hour of issue.
            starts = floor(begin_h + latest_h) - int(begin_h) + 1
            left_h = _run_h(left_s, part, slot_s)
            span = int(begin_h + latest_h + left_h) + 2
            rate = self._draw(part, hour, span, ask, offered_w)
            cost = RunCosts(rate).from_now_on(begin_h, starts, left_h)
            score = cost / whole_w
            score += part.away[:starts]
            score += self._waiting(part, begin_h, starts, slot_s)
            now_score = score[0]
            for place in view.crowded(part.sites, ask.gpus):  # nobody can start there now
                now_score[place] = NO_ROOM
            if each_s is not None:
                clock_s = (hour + np.arange(int(begin_h) + 1, int(begin_h) + starts)) * slot_s
                score[1:][clock_s[:, None] > each_s] = inf
            slot, at = divmod(int(score.argmin()), len(part.sites))
            best = min(best, (score.item(slot, at), slot, part.sites[at], cost.item(slot, at)))
            now_w = min(now_w, *cost[0].tolist())
        _, slot, site, grid_w = best
        start_s = now if slot == 0 else (hour + int(begin_h) + slot) * slot_s
        self._promise_from(job, site, start_s, left_s, view)
        kwh = slot_s / HOUR_S / 1000.0
        detail = {"grid_kwh": grid_w * kwh, "grid_kwh_now": now_w * kwh, "until_s": start_s}
        again_s = self._valid_s if self.replan else inf
        return Delay(job, start_s, site, "lowest-grid-window", detail, again_s)

    def keeps(self, job: JobState, sites: Sequence[int], view: View) -> Sequence[int]:
        """Those of some sites where a run that begins now breaks no promise to another job; all for a small job."""
        return sites if self._is_small(job) else super().keeps(job, sites, view)

    def started(self, job: JobState, site: int, view: View) -> None:
        """A promise becomes what is expected of the running job."""
        promised = self.promises(view).booked(job.index)
        if promised is not None and promised.site == site and promised.spans[0][0] == view.now_s / view.slots.slot_s:
            return
        self.withdraw(job.index)
        if not self._is_small(job):
            self._promise_from(job, site, view.now_s, self.duration.left_s(job, view.now_s), view)

    def ended(self, job: JobState) -> None:
        """Nothing more is promised to it."""
        self.withdraw(job.index)
        if not self._is_small(job):
            self.duration.freed(job)

    # --- small jobs ------------------------------------------------------------------------------

    def _is_small(self, job: JobState) -> bool:
        return job.ask.gpus * job.ask.estimate_s < self.least_gpu_h * HOUR_S

    def _at_first_light(self, job: JobState, sites: Sequence[int], now_s: float, view: View) -> Delay | None:
        """Hold a job until the sun leaves something over anywhere, if it may wait so long."""
        hour, begin_h = self._renew(view, now_s, 0.0)
        if self._dark_h <= begin_h:
            return None
        until_s = (hour + self._dark_h) * view.slots.slot_s
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
            parts = self._parts[key] = tuple(sorted(found, key=lambda part: part.node.speed))
        return parts

    def _part(self, sites: list[int], home: str, free: bool, view: View) -> _Part:
        views, slot_s = [view.sites[site] for site in sites], view.slots.slot_s
        away = np.array([0.0 if site.name == home else 1e-3 for site in views])
        slots = view.forecast.settings.horizon_h * HOUR_S / slot_s + 2.0
        waits = self.per_hour * slot_s / HOUR_S * np.arange(slots)
        return _Part(
            sites,
            _picked(sites),
            views[0].spec.node,
            np.array([float(site.gpus) for site in views]),
            free,
            np.tile(away, (len(waits), 1)),
            np.tile(waits[:, None], len(sites)),
        )

    def _waiting(self, part: _Part, begin_h: float, starts: int, slot_s: float) -> Floats:
        """Waiting until each start as a share of the job's energy, shape (starts, sites)."""
        waited = part.waits[:starts]
        past = begin_h % 1.0
        if past:
            waited = waited - self.per_hour * slot_s / HOUR_S * past
            waited[0] = 0.0
        return waited

    def _renew(self, view: View, now_s: float, hours: float) -> tuple[int, float]:
        """The hour of issue, and now [h after it]; the forecast is at hand for so many hours from now on."""
        slots = view.slots
        hour = self._hour if now_s < self._valid_s else slots.issue_hour(now_s)
        begin_h = now_s / slots.slot_s - hour
        span = int(begin_h + hours) + 3
        if hour != self._hour or span > len(self._sun):
            self._hour, self._valid_s = hour, hour * slots.slot_s + view.forecast.settings.issue_h * HOUR_S
            free, per_it = slots.free_w(now_s)[1], slots.per_it(now_s)
            if span > free.shape[1]:
                free, per_it = ahead_of(free, span, slots.day), ahead_of(per_it, span, slots.day)
            self._mean_per_it = float(per_it.mean())
            self._per_it = per_it.T.copy()
            self._sun = free.T / self._per_it
            promised = self.promises(view).watts[hour : hour + len(self._sun)]
            sunny = np.logical_or.reduce(self._sun > promised, axis=1)
            dark = int(sunny.argmax())
            self._dark_h = float(dark) if sunny[dark] else inf
            self._watts, self._gpus = self.promises(view).watts, self.promises(view).gpus
        return hour, begin_h

    def _draw(self, part: _Part, hour: int, span: int, ask: Ask, offered_w: Floats | None) -> Floats:
        """Grid power that a job would add in each hour at each site of a part, at the meter [W], (hours, sites)."""
        gang = part.gangs.get((ask.gpus, ask.intensity)) or _gang(part, ask)
        hours, columns = slice(hour, hour + span), part.columns
        draw = self._watts[hours, columns] - self._sun[:span, columns]
        draw += gang.it_w
        np.maximum(draw, NOTHING_W, out=draw)
        np.minimum(draw, gang.it_w, out=draw)
        np.putmask(draw, self._gpus[hours, columns] > gang.room, gang.full_w)
        if offered_w is not None:
            lacking = self._watts[hours, columns] + gang.it_w > offered_w.T[:span, columns]
            np.putmask(draw, lacking, gang.full_w)
        draw *= self._per_it[:span, columns]
        return draw

    def _promise_from(self, job: JobState, site: int, start_s: float, left_s: float, view: View) -> None:
        slot_s, begin = view.slots.slot_s, start_s / view.slots.slot_s
        end = begin + left_s / view.sites[site].spec.node.speed / slot_s
        self.promise(job, site, ((begin, end),), view, left_s=left_s)


def _run_h(left_s: float, part: _Part, slot_s: float) -> float:
    return max(min(left_s / part.node.speed, RUN_H * HOUR_S) / slot_s, 1e-9)


def _gang(part: _Part, ask: Ask) -> _Gang:
    """Works out what a part keeps for gangs like this one."""
    it_w = added_w(part.node, ask.gpus, ask.intensity)
    room = plannable(part.gpus, ask.gpus, SPARE_SHARE if part.free else 0.0) - ask.gpus + GPU_ROUNDING
    alike = bool((room == room[0]).all())
    gang = _Gang(np.array(it_w), np.array(2.0 * it_w), np.array(room[0]) if alike else room)
    part.gangs[ask.gpus, ask.intensity] = gang
    return gang


def _picked(positions: list[int]) -> slice | Ints:
    """The same positions as a slice where they follow one another."""
    first, last = positions[0], positions[-1] + 1
    return slice(first, last) if positions == list(range(first, last)) else np.array(positions, dtype=np.int64)
