"""Who fed whom at one site: settles sun, battery and grid between events, exactly.

Inside the run only what depends on the past is decided: the battery's power, one number per segment.
Every other flow follows from it and is computed afterwards with numpy (`simulator.settle`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import MutableSequence
from math import inf

import numpy as np

from simulator import fade
from simulator.record import Floats, Ints
from simulator.scenario import Site
from simulator.walk import Supply, Walk

# A shortage smaller than this share of the load is rounding.
ROUNDING = 1e-9


class SiteLedger(Walk):
    """The running books of one site.

    The engine tells it every change of the IT power and of the supply, in order of time; the battery is
    walked when it is asked for. `it_w` is the IT power now [W], `supply` what feeds the site now, `limit_w`
    the import limit that follows from it [W].

    Parameters
    ----------
    site : Site
    end_s : float
        End of the accounting window [s].
    """

    def __init__(self, site: Site, end_s: float) -> None:
        super().__init__(site, end_s)
        self.it_w = 0.0
        self.supply_times, self.supply_values = array("d", [0.0]), array("d", [Supply.GRID])
        # What a shrinking window took out of the battery, and when.
        self.loss_times, self.losses_j = array("d"), array("d")
        self._capacities: list[tuple[float, float]] = []
        self.faded_j = (0.0, 0.0)
        self._delivered_j, self._counted = 0.0, 0  # up to the last midnight, and how many segments that were
        self._next_mark = 0
        self._marks, self._aged_s = [inf], [0.0]
        battery = self.battery
        if battery is not None and (battery.fade_per_cycle or battery.fade_per_s):
            marks = [mark for mark in site.midnights_s if 0.0 < mark <= end_s]
            self._marks, self._aged_s = [*marks, inf], fade.ageing_s(battery, site.temp_air, marks)

    # --- what the engine tells -------------------------------------------------------------------

    def set_it(self, time_s: float, it_w: float) -> None:
        """The IT power is `it_w` [W] from `time_s` [s] on."""
        if it_w == self.it_w:
            return
        self.it_w = it_w
        _note(self.it_times, self.it_values, time_s, it_w)

    def set_supply(self, time_s: float, supply: Supply) -> None:
        """What feeds the site from `time_s` [s] on: changes with an outage and its repair."""
        self.settle(time_s)
        self.supply = supply
        self.limit_w = self.site.grid.import_limit_w if supply is Supply.GRID else 0.0
        _note(self.supply_times, self.supply_values, time_s, supply)

    # --- what it answers -------------------------------------------------------------------------

    def surplus_w(self, time_s: float) -> float:
        """Sun less load at `time_s` [W]; negative where the load is larger."""
        index = self.step_at(time_s)
        return self._free[index] - self.it_w * self._per_it[index]

    def load_w(self, time_s: float, it_w: float) -> float:
        """What the site would draw in all at an IT power of `it_w`, at `time_s` [W]."""
        step = self.step_at(time_s)
        return it_w * self._per_it[step] + float(self.site.other.values[step]) + self.site.fixed_w

    @property
    def next_midnight_s(self) -> float:
        """When the battery's capacity shrinks next [s]; infinite where it does not."""
        return self._marks[self._next_mark]

    def free_w(self, time_s: float) -> float:
        """Sun less all load but IT at `time_s` [W]."""
        return self._free[self.step_at(time_s)]

    def per_it(self, time_s: float) -> float:
        """Watts drawn at the meter per watt of IT at `time_s`."""
        return self._per_it[self.step_at(time_s)]

    def capacities_at(self, times_s: Floats) -> Floats:
        """The battery's capacity just after each of `times_s`, which may lie in the past [J]."""
        until, before = ([row[i] for row in self._capacities] for i in (0, 1))
        return np.array([*before, self.capacity_j])[np.searchsorted(until, times_s, side="right")]

    def unclipped_j(self, edges_s: Floats, stored_j: Floats) -> Floats:
        """What is stored at the end of every segment, before a shrinking window took its part [J]."""
        after = stored_j[1:].copy()
        np.add.at(after, np.searchsorted(edges_s, self.loss_times) - 1, self.losses_j)
        return after

    def offer_at(self, time_s: float) -> float:
        """What the battery was offered (> 0) or asked for (< 0) just after `time_s`, in the past [W]."""
        step = self.step_at(time_s)
        it_w = self.it_values[bisect_right(self.it_times, time_s) - 1]
        surplus = self._free[step] - it_w * self._per_it[step]
        on_grid = self.supply_values[bisect_right(self.supply_times, time_s) - 1] == Supply.GRID
        return self.steered_w(surplus, step) if self._band[0] and on_grid else surplus

    def settle(self, until_s: float) -> None:
        """Walk the battery forward to `until_s` [s]."""
        if self.battery is None:
            self.now_s = until_s
            return
        while self._marks[self._next_mark] <= until_s:
            self.walk(self._marks[self._next_mark])
            self._fade()
        if self.now_s < until_s:
            self.walk(until_s)

    def _fade(self) -> None:
        """Shrink the battery at local midnight; what is then stored above its window is lost."""
        battery = self.battery
        assert battery is not None
        counted, self._counted = self._counted, len(self.ends)
        durations = np.diff(np.array([0.0, *self.ends] if not counted else self.ends[counted - 1 :]))
        self._delivered_j -= float(np.sum(np.minimum(self.powers[counted:], 0.0) * durations))
        taken_j = self._delivered_j / battery.eta_discharge
        self._capacities.append((self.now_s, self.capacity_j))
        aged_s = self._aged_s[self._next_mark]
        self._next_mark += 1
        self.faded_j = fade.faded_j(battery, taken_j, aged_s)
        self.capacity_j = fade.capacity_j(battery, taken_j, aged_s)
        self._set_law(battery)
        high_j = battery.soc_max * self.capacity_j
        if self.stored_j > high_j:
            self.loss_times.append(self.now_s)
            self.losses_j.append(self.stored_j - high_j)
            self.stored_j = self.stored[-1] = high_j

    def peek(self, it_w: float, until_s: float) -> list[tuple[float, float, float]]:
        """What the battery would do from now to `until_s` under an IT power of `it_w`; nothing is changed.

        Returns
        -------
        list of (start_s, end_s, power_w), each within one supply step
        """
        kept = self.now_s, self.stored_j, self._told, self.it_times, self.it_values
        mark = len(self.ends)
        self._told, self.it_times, self.it_values = 0, [self.now_s], [it_w]
        self.walk(until_s, skip=False)
        ends, powers = self.ends[mark:], self.powers[mark:]
        for column in (self.ends, self.powers, self.stored):
            del column[mark:]
        self.now_s, self.stored_j, self._told, self.it_times, self.it_values = kept
        return list(zip([kept[0], *ends[:-1]], ends, powers, strict=True))

    def holds_s(self, lacking_w: float, at_most_s: float) -> float:
        """How long the battery could give `lacking_w` [W] from what it holds now [s]."""
        if self.battery is None:
            return 0.0
        stored, held = self.stored_j, 0.0
        while held < at_most_s:
            power, stored, used = self._advance(stored, -lacking_w, at_most_s - held, (lacking_w,))
            if -power < lacking_w * (1.0 - ROUNDING):
                break
            held += used
        return held


def _note(times: MutableSequence[float], values: MutableSequence[float], time_s: float, value: float) -> None:
    """Write down a change; of several at one instant the last one counts."""
    if times[-1] == time_s:
        values[-1] = value
    else:
        times.append(time_s)
        values.append(value)


def step_index(times_s: Floats, step_s: float) -> Ints:
    """Index of the supply step that holds each time; at an edge, of the one that begins there."""
    index = np.floor_divide(times_s, step_s).astype(np.int64)
    return np.asarray(index + ((index + 1) * step_s <= times_s))
