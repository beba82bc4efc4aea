"""Elastic sizes as CarbonScaler schedules them: more GPUs while the signal is low, fewer or none while it is high."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

import numpy as np

from tafukt.simulator.engine.actions import Action, Pause, Resize, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.deferral.base import Delay, When
from tafukt.simulator.policies.deferral.by_signal import BySignal, clock_s, in_time
from tafukt.simulator.policies.deferral.signals import UNITS, Signal
from tafukt.simulator.policies.deferral.slots import EPS_H, StartOptions, now
from tafukt.simulator.policies.place import home_first
from tafukt.simulator.policies.review import Review
from tafukt.simulator.policies.runtime_prediction import Duration
from tafukt.simulator.policies.size import Moldable
from tafukt.simulator.units import HOUR_S, MINUTE_S, Floats
from tafukt.workloads.job import Ask

LISTED_MOST = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """Run from `begin_h` to `end_h` [h of simulation time] on `gpus` GPUs."""

    begin_h: float
    end_h: float
    gpus: int


Schedule = tuple[Stretch, ...]


class Elastic(BySignal, Moldable):
    """Gives each hour the GPUs whose marginal work costs least, until the run is done in time: CarbonScaler.

    Hanafy et al. 2023, 10.1145/3626788: of all (hour, GPUs) the step with the most marginal throughput per
    unit of the signal is taken first, until the steps taken hold the job's work. A malleable job is resized
    and paused along this schedule; a moldable one, or one that cannot be interrupted, takes the one size and
    window that cost least. Jobs of one size are left to the `when` part. The throughput is that of the job's
    own speed-up curve, at the sizes that the curve lists.

    Attributes
    ----------
    otherwise : When, optional
        The `when` part, asked for jobs of one size; put in by the scheduler.
    """

    def __init__(self, signal: Signal, duration: Duration | None = None) -> None:
        super().__init__(now, signal, duration)
        self.reason = "elastic"
        self.otherwise: When | None = None
        self._schedules: dict[int, tuple[Delay, Schedule]] = {}

    def fresh(self) -> Elastic:
        """One like this for another run."""
        return Elastic(self.signal, type(self.duration)())

    def __call__(self, job: JobState, site: int, view: View) -> tuple[int, float]:
        """The GPUs of the present hour, as far as there is room."""
        ask = job.ask
        _, schedule = self._schedules.get(job.index, (None, ()))
        slot_s = view.slots.slot_s
        wanted = _at(schedule, (view.now_s + MINUTE_S) / slot_s) if schedule else ask.gpus
        return max(min(wanted, view.room(site)), ask.gpus_min or ask.gpus), 1.0

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The plan of a waiting job: its next stretch."""
        if not _sizes(job.ask):
            return self.otherwise.decide(job, sites, view) if self.otherwise is not None else None
        slot_s = view.slots.slot_s
        now_h = view.now_s / slot_s
        if job.index not in self._schedules:
            return self._draw_up(job, sites, view)
        delay, schedule = self._schedules[job.index]
        rest = tuple(stretch for stretch in schedule if stretch.end_h > now_h + MINUTE_S / slot_s)
        if not rest:
            return None
        site = job.saved_at if job.saved else delay.site
        delay = Delay(job, max(clock_s(slot_s, rest[0].begin_h), view.now_s), site, delay.reason, delay.detail)
        self._schedules[job.index] = delay, rest
        return delay

    def started(self, job: JobState, site: int, view: View) -> None:
        """Follow the schedule from here on."""
        if not _sizes(job.ask):
            if self.otherwise is not None:
                self.otherwise.started(job, site, view)
            return
        slot_s = view.slots.slot_s
        now_h = view.now_s / slot_s
        _, schedule = self._schedules.get(job.index, (None, ()))
        rest = tuple(stretch for stretch in schedule if stretch.end_h > now_h)
        if not rest:
            self.promise_rest(job, site, view)
            return
        self._promise(job, site, (replace(rest[0], begin_h=now_h), *rest[1:]), view)
        if job.ask.elasticity == "malleable" and job.ask.interruptible:
            smaller = job.gpus < rest[0].gpus
            self._due[job.index] = clock_s(slot_s, min(rest[0].end_h, now_h + 1.0) if smaller else rest[0].end_h)

    def ended(self, job: JobState) -> None:
        """A job has left its site."""
        super().ended(job)
        if self.otherwise is not None:
            self.otherwise.ended(job)

    def review(self, view: View) -> Iterator[Action]:
        """Resize or pause whoever has come to the end of a stretch."""
        if isinstance(self.otherwise, Review):
            yield from self.otherwise.review(view)
        now_s = view.now_s
        for index, due_s in sorted(self._due.items()):
            job = view.running.get(index)
            if job is None or due_s > now_s + 1e-6:
                continue
            if job.phase != "running":
                self._due[index] = now_s + 60.0  # still waking or restarting
                continue
            yield from self._next(job, view)
        if self._due:
            yield Wake(max(min(self._due.values()), now_s + 0.01))

    def _next(self, job: JobState, view: View) -> Iterator[Action]:
        """The end of a stretch: the job goes on, on as many GPUs or others, or pauses."""
        slot_s = view.slots.slot_s
        now_h = view.now_s / slot_s
        del self._due[job.index]
        delay, schedule = self._schedules[job.index]
        rest = [stretch for stretch in schedule if stretch.end_h > now_h + MINUTE_S / slot_s]
        if not rest:
            return
        checkpoint, following = job.ask.checkpoint, rest[0]
        costs_h = (job.write_s + checkpoint.restart_s) / slot_s
        numbers = {"left_h": self.duration.left_s(job, view.now_s) / HOUR_S, **delay.detail}
        if following.begin_h > now_h + MINUTE_S / slot_s and not in_time(job, clock_s(slot_s, following.begin_h), view):
            following = replace(following, begin_h=now_h)  # too late to pause: on with the next size
        if following.begin_h > now_h + MINUTE_S / slot_s:
            yield Pause(job, self.reason, {"until_s": clock_s(slot_s, following.begin_h), **numbers})
            return
        self._due[job.index] = clock_s(slot_s, following.end_h)
        more = following.gpus - job.gpus
        if more > 0 and job.site not in view.fitting(job, (job.site,), more):  # asked again in an hour
            self._due[job.index] = clock_s(slot_s, min(following.end_h, now_h + 1.0))
        elif more and following.end_h - now_h > 2.0 * costs_h:  # not for less than the change itself takes
            yield Resize(job, following.gpus, self.reason, {"from_gpus": job.gpus, **numbers})

    # --- planning --------------------------------------------------------------------------------

    def _draw_up(self, job: JobState, sites: Sequence[int], view: View) -> Delay:
        slot_s = view.slots.slot_s
        rows = home_first(job, sites, view)
        outlook = self._outlook(job, rows, view)
        flexible = job.ask.elasticity == "malleable" and job.ask.interruptible
        best: tuple[float, int, Schedule] = (inf, 0, ())
        for row, free in enumerate(self.free(rows, slice(None), job.ask.gpus, view)):
            options = [stepwise(job.ask, outlook, row, free)] if flexible else []
            options += [(cost, (stretch,)) for cost, stretch in _one_size(job.ask, outlook, row, free)]
            for cost, schedule in options:
                if cost < best[0] - outlook.tie_cost:
                    best = cost, row, schedule
        cost, row, schedule = best
        if not schedule:  # it fits nowhere by the promises: as soon as there is room
            schedule = (Stretch(outlook.now_h, outlook.now_h + float(outlook.left_h[0]), job.ask.gpus),)
            cost = outlook.cost_of(0, ((schedule[0].begin_h, schedule[0].end_h),))
        self._promise(job, rows[row], schedule, view)
        unit = UNITS.get(self.signal, "cost")
        detail: dict[str, Any] = {
            unit: cost,
            f"{unit}_now": float(outlook.costs(outlook.starts[:1]).min()),
            "most_gpus": max(stretch.gpus for stretch in schedule),
            "stretches": len(schedule),
        }
        delay = Delay(job, max(clock_s(slot_s, schedule[0].begin_h), view.now_s), rows[row], self.reason, detail)
        self._schedules[job.index] = delay, schedule
        return delay

    def _promise(self, job: JobState, site: int, schedule: Schedule, view: View) -> None:
        """Promise the whole schedule at its mean size, since promises know one size for each job."""
        hours = sum(stretch.end_h - stretch.begin_h for stretch in schedule)
        mean = sum((stretch.end_h - stretch.begin_h) * stretch.gpus for stretch in schedule) / hours
        spans = tuple((stretch.begin_h, stretch.end_h) for stretch in schedule)
        self.promise(job, site, spans, view, max(round(mean), 1))


def stepwise(ask: Ask, outlook: StartOptions, row: int, free: Floats) -> tuple[float, Schedule]:
    """CarbonScaler's greedy schedule on one site, and its cost; infinite where the work does not fit in."""
    end_h = outlook.late(row) + float(outlook.left_h[row])
    edges = np.concatenate(([outlook.now_h], np.arange(np.floor(outlook.now_h) + 1.0, end_h), [end_h]))
    hours = (edges[:-1] + EPS_H).astype(np.int64)
    rate = (outlook.rate[row, np.minimum(hours - outlook.hour, outlook.rate.shape[1] - 1)] / ask.gpus).tolist()
    width, room = np.diff(edges).tolist(), free[hours].tolist()
    steps = []  # (marginal GPUs, marginal work per hour relative to the asked size, GPUs after it)
    for fewer, more in zip((0, *_sizes(ask)), _sizes(ask), strict=False):
        gain = (ask.rate(more) - (ask.rate(fewer) if fewer else 0.0)) / ask.gpus
        if gain > 0:
            steps.append((more - fewer, gain, more))
    first = steps[0]
    # The best step of each hour that follows on what the hour already has; ties go to the earliest hour.
    heap = [(rate[i] * first[0] / first[1], i, 0) for i in range(len(rate)) if room[i] >= first[2]]
    heapify(heap)
    taken: dict[int, int] = {}
    done = total = 0.0
    need = float(outlook.left_h[row])
    while True:
        if done >= need - EPS_H:
            schedule = _stretches(taken, edges)
            changes = len(schedule) - 1
            if done >= float(outlook.left_h[row]) + (changes * outlook.pause_h if changes else 0.0) - EPS_H:
                return total, schedule
        if not heap:
            return inf, ()
        _, i, step = heappop(heap)
        gpus, gain, taken[i] = steps[step]
        done, total = done + gain * width[i], total + rate[i] * gpus * width[i]
        if step + 1 < len(steps) and room[i] >= steps[step + 1][2]:
            gpus, gain, _ = steps[step + 1]
            heappush(heap, (rate[i] * gpus / gain, i, step + 1))


def _stretches(taken: dict[int, int], edges: Floats) -> Schedule:
    """GPUs by hour as stretches of equal size."""
    found: list[Stretch] = []
    for i in sorted(taken):
        begin, end, gpus = float(edges[i]), float(edges[i + 1]), taken[i]
        if found and found[-1].gpus == gpus and abs(found[-1].end_h - begin) < EPS_H:
            found[-1] = Stretch(found[-1].begin_h, end, gpus)
        else:
            found.append(Stretch(begin, end, gpus))
    return tuple(found)


def _one_size(ask: Ask, outlook: StartOptions, row: int, free: Floats) -> Iterator[tuple[float, Stretch]]:
    """The cheapest window of every size, on one site, that ends by the deadline."""
    deadline_h = outlook.late(row) + float(outlook.left_h[row])
    hours = slice(outlook.hour, outlook.hour + outlook.rate.shape[1])
    for gpus in _sizes(ask):
        run_h = float(outlook.left_h[row]) * ask.rate(ask.gpus) / ask.rate(gpus)
        if outlook.now_h + run_h > deadline_h + EPS_H:
            continue
        rate = np.array([outlook.rate[row] * (gpus / ask.gpus), free[hours] < gpus])
        window = StartOptions(outlook.now_h, deadline_h - run_h, np.array([run_h, run_h]), outlook.hour, rate, inf)
        cost, lacking = window.costs(window.starts)
        cost = np.where(lacking > EPS_H, inf, cost)
        best = int(np.argmax(cost <= cost.min() + outlook.tie_rate * run_h))  # the earliest of equals
        if cost[best] < inf:
            start = float(window.starts[best])
            yield float(cost[best]), Stretch(start, start + run_h, gpus)


def _at(schedule: Schedule, time_h: float) -> int:
    """The GPUs of the stretch that holds a time, or of the next one."""
    return next((s.gpus for s in schedule if s.end_h > time_h), schedule[-1].gpus)


@lru_cache(maxsize=4096)
def _sizes(ask: Ask) -> tuple[int, ...]:
    """The sizes that are considered for an elastic job; none for a job of one size.

    Those that its speed-up curve lists; of a long list the powers of two, the ends and the asked (a choice).
    """
    least, most = ask.gpus_min, ask.gpus_max or ask.gpus
    if ask.elasticity == "rigid" or ask.speedup is None or not 0 < least < most:
        return ()
    listed = {gpus for gpus in ask.speedup.gpus if least <= gpus <= most} | {least}
    if len(listed) > LISTED_MOST:
        listed = {gpus for gpus in listed if gpus.bit_count() == 1 or gpus in (least, ask.gpus, most)}
    return tuple(sorted(listed))
