"""Ramp limits on a site's import: starts one after another, and jobs capped while the import may rise no faster.

A job starts only when the import, the battery and what is under way leave room for it in this minute; who is
refused is asked again in the next. Where load or sun move nevertheless, as when jobs that wait for data begin or a
cloud comes, the jobs that started last are capped at once, and their caps are lifted minute by minute as far as the
import may rise. A job that alone takes more than a minute allows begins alone, under its lowest cap; what even that
cannot keep is left to happen, and counted as a breach. No job is paused or stopped for it, and load that ends cannot be
kept up.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from tafukt.simulator.energy.ledger import ROUNDING
from tafukt.simulator.energy.ramp import RampedLedger
from tafukt.simulator.engine.event_queue import Kind, cancel
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.state import State
from tafukt.simulator.power_caps import CAP_STEP
from tafukt.simulator.units import DAY_S, MINUTE_S, on_grid

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

FASTER, AGAIN = "the import may rise no faster", "the import may rise further"


class SiteRamp:
    """Memory of one site: caps that jobs had before, who was refused, and when to look at it again."""

    __slots__ = ("capped", "due", "event", "ledger", "refused")

    def __init__(self, ledger: RampedLedger) -> None:
        self.ledger = ledger
        self.capped: dict[int, float] = {}
        self.refused = self.due = False
        self.event: SimEvent | None = None


class RampControl:
    """Keeps the import of every site with a ramp limit from rising faster than it may, as far as its load can bend."""

    def __init__(self, state: State, phases: JobPhases, shortage: ShortageControl) -> None:
        self.state = state
        self.phases = phases
        self.shortage = shortage
        shortage.ramp_allows = self.allows
        self.clock = state.clock
        self.sites = [SiteRamp(led) if isinstance(led, RampedLedger) else None for led in state.ledgers]
        self._at_work = False

    # --- who may start ---------------------------------------------------------------------------

    def allows(self, site: int, added_w: float, to_come_w: float) -> bool:
        """Whether a site takes a job of so much IT power now, beside what jobs under way will draw more [W]."""
        ramp = self.sites[site]
        if ramp is None:
            return True
        ledger, now = ramp.ledger, self.clock.now
        room_w = ledger.feedable_w(now)
        it_w = ledger.it_w + to_come_w + added_w
        if it_w * ledger.per_it(now) - ledger.free_w(now) <= room_w * (1.0 + ROUNDING):
            return True
        alone = not ramp.capped and to_come_w == 0.0 and ledger.import_w <= ledger.before_w * (1.0 + ROUNDING)
        if alone and added_w * ledger.per_it(now) > ledger.up_w and ledger.it_times[-1] < now - MINUTE_S:
            return True
        if not ramp.refused:
            ramp.refused = True
            self._look(site, self._next_minute_s())
        return False

    # --- load that moves nevertheless ------------------------------------------------------------

    def load_changed(self, site: int) -> None:
        """The load of a site has changed, or what may feed it."""
        ramp = self.sites[site]
        if ramp is not None and not ramp.due and not self._at_work:
            self._look(site, self.clock.now)

    def _look(self, site: int, time_s: float) -> None:
        """Look at a site at `time_s`, and not when it was planned before, if that is later."""
        ramp = self.sites[site]
        assert ramp is not None
        if ramp.due:
            return
        cancel(ramp.event)
        ramp.due = time_s == self.clock.now
        ramp.event = self.clock.at(time_s, Kind.SUPPLY, site, self._review, site)

    def _next_minute_s(self) -> float:
        return (self.clock.now // MINUTE_S + 1.0) * MINUTE_S

    def _review(self, event: SimEvent) -> None:
        """Cap, or lift caps, as this minute allows; then find out when to look again."""
        site: int = event._value
        ramp, now = self.sites[site], self.clock.now
        assert ramp is not None
        ramp.due, ramp.event = False, None
        ledger = ramp.ledger
        room_w = ledger.feedable_w(now)
        net_w = -ledger.surplus_w(now)
        if room_w < inf or ramp.capped:
            spare_w = (room_w - net_w) / ledger.per_it(now)
            self._at_work = True
            try:
                if spare_w < -ROUNDING * max(abs(net_w), 1.0):
                    self._cap(site, ramp, -spare_w)
                elif ramp.capped and not self._is_short(site):
                    self._lift(site, ramp, spare_w)
            finally:
                self._at_work = False
        if ramp.refused:
            ramp.refused = False
            self.state.policy.freed(None, site)
            self.state.ask_for_round()
        net_w = -ledger.surplus_w(now)
        soon = ramp.capped or max(net_w, self._next_net_w(ledger, net_w)) > ledger.feedable_next_w(net_w)
        again_s = self._next_minute_s() if soon else self._next_rise_s(ramp)
        if again_s < self.state.scenario.end_s:
            self._look(site, again_s)

    def _next_net_w(self, ledger: RampedLedger, net_w: float) -> float:
        """The load net of the sun where sun or other load change in this minute or the next; else `net_w` [W]."""
        step = ledger.step_at(self.clock.now)
        if (step + 1) * ledger.step_s >= self._next_minute_s() + MINUTE_S:
            return net_w
        return max(net_w, 0.0) + float(ledger.net_rises_w(step, step + 1).sum())

    def _is_short(self, site: int) -> bool:
        """Whether jobs of a site give way to a shortage or a request, which has the say over their caps then."""
        watch = self.shortage.watches[site]
        return watch is not None and (watch.short or bool(watch.capped))

    def _next_rise_s(self, ramp: SiteRamp) -> float:
        """The next supply step in which the load net of the sun rises faster than the import may [s]."""
        ledger, now = ramp.ledger, self.clock.now
        first = ledger.step_at(now)
        rises = ledger.net_rises_w(first, ledger.step_at(min(now + DAY_S, ledger.end_s)))
        found = np.flatnonzero(rises > ledger.up_w)
        step = first + 1 + int(found[0]) if len(found) else first + max(len(rises), 1)
        return on_grid(step * ledger.step_s)

    def _running(self, site: int) -> list[JobState]:
        """The jobs that work at a site, who began first in front."""
        jobs = [job for job in self.state.running_at[site].values() if job.running and job.caps]
        return sorted(jobs, key=lambda job: (-job.ask.priority, job.started_s, job.index))

    def _watts(self, site: int, job: JobState) -> float:
        """Power above idle of a job without a cap [W]."""
        return self.state.clusters[site].node.dynamic_w * job.ask.intensity * job.gpus

    def _cap(self, site: int, ramp: SiteRamp, over_w: float) -> None:
        """Take so much IT power from the jobs that began last."""
        for job in reversed(self._running(site)):
            full_w, lowest = self._watts(site, job), job.caps[0][0]
            if over_w <= 0.0:
                return
            if job.cap <= lowest or full_w <= 0.0:
                continue
            cap = max(job.cap - over_w / full_w, lowest)
            over_w -= (job.cap - cap) * full_w
            ramp.capped[job.index] = max(ramp.capped.get(job.index, 0.0), job.cap)
            self.phases.set_power_cap(job, cap, FASTER, {"over_w": over_w})

    def _lift(self, site: int, ramp: SiteRamp, room_w: float) -> None:
        """Give so much IT power back to the jobs that are capped, who began first in front."""
        running = {job.index: job for job in self._running(site)}
        ramp.capped = {index: cap for index, cap in ramp.capped.items() if index in running}
        for index in [index for index in running if index in ramp.capped]:
            job, top, full_w = running[index], ramp.capped[index], self._watts(site, running[index])
            cap = min(top, job.cap + room_w / full_w) if full_w > 0.0 else top
            if cap < top and cap < job.cap + CAP_STEP:
                return
            room_w -= max(cap - job.cap, 0.0) * full_w
            if cap > job.cap:
                self.phases.set_power_cap(job, cap, AGAIN)
            if cap >= top:
                del ramp.capped[index]
