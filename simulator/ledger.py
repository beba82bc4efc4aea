"""Who fed whom at one site: settles sun, battery and grid between events, exactly, and checks the sum.

Inside the run only what depends on the past is decided: the battery's power, one number per segment.
Every other flow follows from it and is computed afterwards with numpy (`simulator.settle`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from math import exp, inf

import numpy as np

from simulator.battery import Advance, stepper
from simulator.scenario import Site

# offer(step, surplus_w, stored_j, limit_w) -> what the battery is offered (> 0) or asked for (< 0) [W]
Strategy = Callable[[int, float, float, float], float]


class SiteLedger:
    """The running books of one site.

    The engine tells it every change of the IT power and of the import limit, in order of time; supply
    steps are walked when it is asked. `it_w` is the IT power now [W], `limit_w` the import limit now [W].

    Parameters
    ----------
    site : Site
    end_s : float
        End of the accounting window [s].
    strategy : callable or None
        When the battery charges and discharges; `None` for self-consumption, which charges with what the
        sun leaves over and discharges into what it leaves open.
    marks_s : sequence of float
        Times at which `on_mark` is to be called (local midnights, for fade), ascending.
    """

    def __init__(
        self,
        site: Site,
        end_s: float,
        strategy: Strategy | None = None,
        marks_s: tuple[float, ...] = (),
        on_mark: Callable[[SiteLedger, float], None] | None = None,
    ) -> None:
        self.site = site
        self.end_s = end_s
        self.step_s = site.pv.step_s
        n = int(np.ceil(end_s / self.step_s - 1e-9))
        pv, other = site.pv.values[:n], site.other.values[:n]
        # What is left of the sun before IT, and what a watt of IT draws; plain floats are what a Python
        # loop reads fastest.
        free = pv - other - site.fixed_w
        self._free: list[float] = free.tolist()
        self._per_it: list[float] = (1.0 + site.overhead.values[:n]).tolist()
        # From each step, the next one in which the sun could exceed the load at all: through the others
        # an empty battery may sleep.
        positive = np.where(free > 0, np.arange(n), n)
        self._next_sun: list[int] = np.minimum.accumulate(positive[::-1])[::-1].tolist()
        self.strategy = strategy
        self.now_s = 0.0
        self.it_w = 0.0
        self.limit_w = site.grid.import_limit_w
        self._it_times, self._it_values = array("d", [0.0]), array("d", [0.0])
        self._limit_times, self._limit_values = array("d", [0.0]), array("d", [self.limit_w])
        self._ends, self._powers, self._stored = array("d"), array("d"), array("d")
        # What a shrinking capacity took out of the battery, and when.
        self.loss_times, self.losses_j = array("d"), array("d")
        self._marks = [*marks_s, inf]
        self._next_mark = 0
        self._on_mark = on_mark
        self.capacity_j = site.battery.capacity_j if site.battery else 0.0
        self.stored_j = site.battery.soc_start * self.capacity_j if site.battery else 0.0
        self.stored_start_j = self.stored_j
        self._advance: Advance | None = None
        self.set_capacity(self.capacity_j)

    # --- what the engine tells -------------------------------------------------------------------

    def set_it(self, time_s: float, it_w: float) -> None:
        """The IT power is `it_w` [W] from `time_s` [s] on."""
        if it_w == self.it_w:
            return
        if self._advance is not None:
            self.settle(time_s)
        self.it_w = it_w
        if self._it_times[-1] == time_s:
            self._it_values[-1] = it_w
        else:
            self._it_times.append(time_s)
            self._it_values.append(it_w)

    def set_limit(self, time_s: float, limit_w: float) -> None:
        """The grid gives at most `limit_w` [W] from `time_s` [s] on; 0 in an outage."""
        self.settle(time_s)
        self.limit_w = limit_w
        if self._limit_times[-1] == time_s:
            self._limit_values[-1] = limit_w
        else:
            self._limit_times.append(time_s)
            self._limit_values.append(limit_w)

    def set_capacity(self, capacity_j: float) -> None:
        """The battery holds `capacity_j` from now on [J]; what is stored above its window is lost."""
        battery = self.site.battery
        if battery is None or capacity_j <= 0:
            return
        self.capacity_j = capacity_j
        self._advance = stepper(battery, capacity_j)
        self._low_j = battery.soc_min * capacity_j
        high_j = battery.soc_max * capacity_j
        if self.stored_j > high_j:
            self.loss_times.append(self.now_s)
            self.losses_j.append(self.stored_j - high_j)
            self.stored_j = high_j
            if self._stored:
                self._stored[-1] = high_j

    # --- what it answers -------------------------------------------------------------------------

    def surplus_w(self, time_s: float) -> float:
        """Sun less load at `time_s` [W]; negative where the load is larger."""
        index = self._step_at(time_s)
        return self._free[index] - self.it_w * self._per_it[index]

    def free_w(self, time_s: float) -> float:
        """Sun less all load but IT at `time_s` [W]."""
        return self._free[self._step_at(time_s)]

    def per_it(self, time_s: float) -> float:
        """Watts drawn at the meter per watt of IT at `time_s`."""
        return self._per_it[self._step_at(time_s)]

    def _step_at(self, time_s: float) -> int:
        return min(int(time_s // self.step_s), len(self._free) - 1)

    def settle(self, until_s: float) -> None:
        """Walk the battery forward to `until_s` [s]."""
        if self._advance is None:
            self.now_s = until_s
            return
        while self.now_s < until_s:
            mark = self._marks[self._next_mark]
            if mark < until_s:
                self._walk(mark)
                self._next_mark += 1
                if self._on_mark is not None:
                    self._on_mark(self, mark)
            else:
                self._walk(until_s)

    def _walk(self, until_s: float) -> None:
        """The inner loop: one closed-form move of the battery per segment."""
        advance = self._advance
        assert advance is not None
        step_s, free, per_it, next_sun = self.step_s, self._free, self._per_it, self._next_sun
        it_w, limit_w, strategy, low_j = self.it_w, self.limit_w, self.strategy, self._low_j
        add_end, add_power, add_stored = self._ends.append, self._powers.append, self._stored.append
        now, stored = self.now_s, self.stored_j
        index = int(now // step_s)
        edge = (index + 1) * step_s
        k = self.site.battery.self_discharge_per_s if self.site.battery else 0.0
        while now < until_s:
            net = free[index] - it_w * per_it[index]
            if strategy is not None:
                net = strategy(index, net, stored, limit_w)
            elif net <= 0.0 and stored <= low_j:
                # Empty, and no sun to come before `next_sun`: one segment for all of it.
                index = max(next_sun[index], index + 1)
                edge = index * step_s
                end = edge if edge < until_s else until_s
                if k:
                    stored *= exp(-k * (end - now))
                now = end
                add_end(now)
                add_power(0.0)
                add_stored(stored)
                if now == edge:
                    edge += step_s
                continue
            end = edge if edge < until_s else until_s
            power, stored, used = advance(stored, net, end - now)
            now = end if used == end - now else now + used
            add_end(now)
            add_power(power)
            add_stored(stored)
            if now >= edge:
                index += 1
                edge = (index + 1) * step_s
        self.now_s, self.stored_j = now, stored
