"""Deferral by a signal: the frame around the strategies of `slots`, which plans, holds, pauses and resumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil, inf
from typing import Any

import numpy as np

from tafukt.simulator.engine.actions import Action, Pause, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.deferral.base import (
    SPARE_SHARE,
    Delay,
    Promising,
    latest_start_s,
    latest_starts_s,
    lead_s,
)
from tafukt.simulator.policies.deferral.signals import UNITS, Asked, Expected, Signal
from tafukt.simulator.policies.deferral.slots import TIE, StartOptions, StartRule
from tafukt.simulator.policies.lookahead.hour_table import GPU_ROUNDING, Span, added_w, plannable
from tafukt.simulator.policies.place import home_first
from tafukt.simulator.policies.runtime_prediction import Duration, Estimate
from tafukt.simulator.units import HOUR_S, MINUTE_S, Floats, on_grid


class BySignal(Promising):
    """Plans each job once, when it is submitted, by one strategy and one signal; pauses it where the plan says so.

    Parameters
    ----------
    part : StartRule
        Which hours to take.
    signal : Signal
        What they cost.
    duration : Duration
        How long the job will run.
    """

    def __init__(self, part: StartRule, signal: Signal, duration: Duration | None = None) -> None:
        super().__init__(duration or Estimate())
        self.part = part
        self.signal = signal
        self.reason = _name(part).replace("_", "-")
        self._expected = Expected()
        self._plans: dict[int, tuple[Delay, tuple[Span, ...]]] = {}
        self._due: dict[int, float] = {}

    # --- what the scheduler asks -----------------------------------------------------------------

    def decide(self, job: JobState, sites: Sequence[int], view: View) -> Delay | None:
        """The plan of a waiting job, to start or to go on; `None` for one that should not wait."""
        if not job.ask.deferrable:
            return None
        slot_s = view.slots.slot_s
        now_h = view.now_s / slot_s
        delay, spans = self._plans.get(job.index, (None, ()))
        if delay is None:
            return self._plan(job, sites, view)
        if not job.saved:
            no_room = delay.until_s <= view.now_s and view.room(delay.site) < job.ask.gpus
            return self._plan(job, sites, view) if no_room else delay
        rest = tuple(span for span in spans if span[1] > now_h + MINUTE_S / slot_s)
        if len(rest) == len(spans) and spans[0][0] < now_h:  # stopped by somebody else: a new plan
            return self._plan(job, sites, view)
        if len(rest) < len(spans):  # back from a pause: the next span
            if not rest:
                return None
            delay = Delay(job, max(clock_s(slot_s, rest[0][0]), view.now_s), job.saved_at, delay.reason, delay.detail)
            self._plans[job.index] = delay, rest
        return delay

    def started(self, job: JobState, site: int, view: View) -> None:
        """A promise becomes what is expected of the running job."""
        slot_s = view.slots.slot_s
        now_h = view.now_s / slot_s
        _, spans = self._plans.get(job.index, (None, ()))
        spans = tuple(span for span in spans if span[1] > now_h)
        if (
            len(spans) < 2
            or not job.ask.interruptible
            or latest_start_s(job, lead_s(job, site, view), view.now_s) <= view.now_s
        ):
            self.promise_rest(job, site, view)
            return
        # What it lost by starting late it makes up for at the end.
        late_h = max(now_h - spans[0][0], 0.0)
        kept = ((now_h, max(spans[0][1], now_h)), *spans[1:-1], (spans[-1][0], spans[-1][1] + late_h))
        self.promise(job, site, kept, view, job.gpus)
        self._due[job.index] = clock_s(slot_s, spans[0][1])

    def ended(self, job: JobState) -> None:
        """A job has left its site."""
        self._due.pop(job.index, None)
        self.duration.freed(job)
        self.withdraw(job.index)

    def review(self, view: View) -> Iterator[Action]:
        """Pause whoever has come to the end of a span, and ask to be woken at the next such end."""
        now, slot_s = view.now_s, view.slots.slot_s
        for index, due_s in sorted(self._due.items()):
            job = view.running.get(index)
            if job is None or due_s > now + 1e-6:
                continue
            if job.phase != "running":
                self._due[index] = now + 60.0  # still waking or restarting
                continue
            del self._due[index]
            delay, spans = self._plans[index]
            rest = tuple(span for span in spans if clock_s(slot_s, span[0]) > now)
            left_s = self.duration.left_s(job, now) / view.sites[job.site].spec.node.speed
            if (
                rest
                and left_s > job.write_s + job.ask.checkpoint.restart_s
                and in_time(job, clock_s(slot_s, rest[0][0]), view)
            ):
                until_s = clock_s(slot_s, rest[0][0])
                yield Pause(job, self.reason, {"until_s": until_s, "left_h": left_s / HOUR_S, **_numbers(delay)})
        if self._due:
            yield Wake(max(min(self._due.values()), now + 0.01))

    # --- planning --------------------------------------------------------------------------------

    def _plan(self, job: JobState, sites: Sequence[int], view: View) -> Delay:
        slot_s = view.slots.slot_s
        self.withdraw(job.index)
        rows = home_first(job, sites, view)
        outlook = self._outlook(job, rows, view)
        row, spans = self.part(outlook)
        site, start_s = rows[row], clock_s(slot_s, spans[0][0])
        self.promise(job, site, spans, view)
        unit = UNITS.get(self.signal, "cost")
        detail: dict[str, Any] = {
            unit: outlook.cost_of(row, spans),
            f"{unit}_now": float(outlook.costs(outlook.starts[:1]).min()),
            "expected_run_h": float(outlook.left_h[row]) * slot_s / HOUR_S,
        }
        if len(spans) > 1:
            detail["pauses"] = len(spans) - 1
        delay = Delay(job, max(start_s, view.now_s), site, self.reason, detail)
        self._plans[job.index] = delay, spans
        return delay

    def _outlook(self, job: JobState, rows: Sequence[int], view: View) -> StartOptions:
        now, ask, slot_s, promises = view.now_s, job.ask, view.slots.slot_s, self.promises(view)
        nodes = [view.sites[i].spec.node for i in rows]
        speed = np.array([node.speed for node in nodes])
        left_h = np.maximum(self.duration.left_s(job, now), 60.0) / slot_s / speed
        latest_s, late_s = latest_starts_s(job, rows, view)
        hour = view.slots.issue_hour(now)
        # The last run begins at the latest start, and the day after now is looked at in any case.
        hours = ceil(max(latest_s, now + 24 * HOUR_S) / slot_s + left_h.max()) - hour + 2
        it_w = np.array([view.sites[i].nodes.draws_w(ask.gpus, ask.intensity) for i in rows])
        more_w = np.array([added_w(node, ask.gpus, ask.intensity) for node in nodes])
        rate = self.signal(Asked(it_w, more_w, left_h, rows, hours, view, promises, self._expected))
        most = float(np.abs(rate).max()) or 1.0
        full = self.free(rows, slice(hour, hour + hours), ask.gpus, view) < ask.gpus
        full[[view.room(i) < ask.gpus for i in rows], int(now / slot_s) - hour] = True  # nobody can start there now
        offered_w = self.offered.of(view, hours)
        if offered_w is not None:
            full |= promises.watts[hour : hour + hours, rows].T + more_w[:, None] > offered_w[rows, :hours]
        if full.any():
            rate = np.where(full, 2.0 * most, rate)
        rate = np.round(rate / (TIE * most)) * (TIE * most)  # hours that are alike but for rounding become alike
        wake_s = max(node.wake_s if node.can_sleep else 0.0 for node in nodes)
        checkpoint = ask.checkpoint
        pause_h = (checkpoint.write_s + wake_s + checkpoint.restart_s) / slot_s if ask.interruptible else inf
        late_h = None if late_s is None else late_s / slot_s
        return StartOptions(
            now / slot_s, max(latest_s, now) / slot_s, left_h, hour, rate, pause_h, late_h, view.slots.day
        )

    def free(self, rows: Sequence[int], hours: slice, gpus: int, view: View) -> Floats:
        """GPUs that a job asking for so many may still plan with, for each site and hour; shape (rows, hours)."""
        size = plannable(np.array([float(view.sites[i].spec.gpus) for i in rows]), gpus, spare(rows))
        return np.asarray(size[:, None] - self.promises(view).gpus[hours, rows].T + GPU_ROUNDING)


def clock_s(slot_s: float, time_h: float) -> float:
    """A planned time as the clock has it [s]: a start planned for now is now, not a rounding later."""
    return on_grid(time_h * slot_s)


def in_time(job: JobState, until_s: float, view: View) -> bool:
    """True if a running job could be paused until then and still meet its deadline, by its user's estimate."""
    node = view.sites[job.site].spec.node
    lead_s = job.ask.checkpoint.restart_s + (node.wake_s if node.can_sleep else 0.0)
    return until_s <= latest_start_s(job, lead_s, view.now_s) + 1e-6


def spare(rows: Sequence[int]) -> float:
    """The share of each site that a job leaves for those who are bound to one; none where it is bound itself."""
    return SPARE_SHARE if len(rows) > 1 else 0.0


def _numbers(delay: Delay) -> dict[str, Any]:
    return {key: value for key, value in delay.detail.items() if key not in ("expected_run_h", "pauses")}


def _name(strategy: StartRule) -> str:
    bare: Any = strategy.func if isinstance(strategy, partial) else strategy
    return str(getattr(bare, "__name__", type(bare).__name__))
