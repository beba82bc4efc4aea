"""Who fed whom at one site: settles sun, battery and grid between events, exactly.

Inside the run only what depends on the past is decided: the battery's power, one number per segment.
Every other flow follows from it and is computed afterwards with numpy (`simulator.settle`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from enum import IntEnum
from math import exp, inf

import numpy as np

from simulator import fade
from simulator.battery import Advance, WholeStep, stepper, whole_step
from simulator.record import Floats, Ints
from simulator.scenario import Battery, Site
from simulator.strategies import import_band

# A shortage smaller than this share of the load is rounding.
ROUNDING = 1e-9


class Supply(IntEnum):
    """What feeds the site: the grid with all else, sun and battery alone, or nothing at all."""

    GRID = 0
    ISLAND = 1
    NONE = 2


class SiteLedger:
    """The running books of one site.

    The engine tells it every change of the IT power and of the supply, in order of time; supply steps are
    walked when it is asked. `it_w` is the IT power now [W], `supply` what feeds the site now, `limit_w`
    the import limit that follows from it [W].

    Parameters
    ----------
    site : Site
    end_s : float
        End of the accounting window [s].
    """

    def __init__(self, site: Site, end_s: float) -> None:
        self.site = site
        self.end_s = end_s
        self.step_s = site.pv.step_s
        n = int(np.ceil(end_s / self.step_s - 1e-9))
        self.steps = n
        pv, other = site.pv.values[:n], site.other.values[:n]
        # What is left of the sun before IT, and what a watt of IT draws; plain floats are what a Python
        # loop reads fastest.
        free, per_it = pv - other - site.fixed_w, 1.0 + site.overhead.values[:n]
        self._free: list[float] = free.tolist()
        self._per_it: list[float] = per_it.tolist()
        # From each step, the next one in which the sun could exceed the load at all: through the others
        # an empty battery may sleep.
        positive = np.where(free > 0, np.arange(n), n)
        self._next_sun = array("q", np.minimum.accumulate(positive[::-1])[::-1].astype(np.int64).tobytes())
        self._edges = array("d", (np.arange(n + 1) * self.step_s).tobytes())
        self.now_s = 0.0
        self.it_w = 0.0
        self.supply = Supply.GRID
        self.limit_w = site.grid.import_limit_w
        self.it_times, self.it_values = array("d", [0.0]), array("d", [0.0])
        self.supply_times, self.supply_values = array("d", [0.0]), array("d", [Supply.GRID])
        # The battery's segments: where each ends [s], its mean power [W], and what is then stored [J].
        self.ends, self.powers, self.stored = array("d"), array("d"), array("d")
        # What a shrinking window took out of the battery, and when.
        self.loss_times, self.losses_j = array("d"), array("d")
        self._capacities: list[tuple[float, float]] = []
        self._begin_battery(n)

    def _begin_battery(self, n: int) -> None:
        site = self.site
        battery = site.battery if site.battery and site.battery.capacity_j > 0 else None
        self.battery = battery
        self.capacity_j = battery.capacity_j if battery else 0.0
        self.stored_j = battery.soc_start * self.capacity_j if battery else 0.0
        self.stored_start_j = self.stored_j
        self.faded_j = (0.0, 0.0)
        self._advance: Advance | None = None
        self._band: tuple[list[float], list[float]] | None = None
        self._whole: WholeStep | None = None
        self._delivered_j = 0.0
        self._next_mark = 0
        self._marks, self._aged_s = [inf], [0.0]
        self._watched = False
        if battery is None:
            return
        self._set_law(battery)
        limit, export = site.grid.import_limit_w, site.grid.export_limit_w
        band = import_band(battery.strategy, site.grid, np.arange(n, dtype=np.float64) * self.step_s)
        if band is not None:
            self._band = np.minimum(band[0], limit).tolist(), np.minimum(band[1], limit).tolist()
        # Only a power that tapers can pass a limit inside a segment.
        self._watched = battery.taper_soc > 0 and (limit < inf or 0 < export < inf or band is not None)
        if battery.fade_per_cycle or battery.fade_per_s:
            marks = [mark for mark in site.midnights_s if 0.0 < mark <= self.end_s]
            self._marks, self._aged_s = [*marks, inf], fade.ageing_s(battery, site.temp_air, marks)

    def _set_law(self, battery: Battery) -> None:
        """How the battery moves follows from its capacity."""
        self._advance = stepper(battery, self.capacity_j)
        self._whole = whole_step(battery, self.capacity_j, self.step_s)
        self._leak = battery.self_discharge_per_s

    # --- what the engine tells -------------------------------------------------------------------

    def set_it(self, time_s: float, it_w: float) -> None:
        """The IT power is `it_w` [W] from `time_s` [s] on."""
        if it_w == self.it_w:
            return
        if self._advance is not None:
            self.settle(time_s)
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
        return self._steered(surplus, step) if self._band is not None and on_grid else surplus

    def step_at(self, time_s: float) -> int:
        """Index of the supply step that holds `time_s`; at an edge, of the one that begins there."""
        index = int(time_s // self.step_s)
        if (index + 1) * self.step_s <= time_s:  # division may fall short of an edge that it stands on
            index += 1
        return index if index < self.steps else self.steps - 1

    def settle(self, until_s: float) -> None:
        """Walk the battery forward to `until_s` [s]."""
        if self._advance is None:
            self.now_s = until_s
            return
        while self._marks[self._next_mark] <= until_s:
            self._walk(self._marks[self._next_mark])
            self._fade()
        self._walk(until_s)

    def _fade(self) -> None:
        """Shrink the battery at local midnight; what is then stored above its window is lost."""
        battery = self.battery
        assert battery is not None
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

    # --- the walk ----------------------------------------------------------------------------------

    def _walk(self, until_s: float, skip: bool = True) -> None:
        """One closed-form move of the battery per segment, up to `until_s` [s].

        With `skip`, an empty battery sleeps through the steps without sun in one segment.
        """
        if self.supply is Supply.NONE and until_s > self.now_s:
            self._record(until_s, 0.0, self.stored_j * exp(-self._leak * (until_s - self.now_s)))
        last = self.step_at(until_s) if until_s < self.end_s else int(until_s // self.step_s)
        while self.now_s < until_s:
            index = self.step_at(self.now_s)
            if index < last and self.now_s == index * self.step_s:
                index = self._stride(index, last)
            if self.now_s < until_s:
                self._move(index, until_s, skip)

    def _stride(self, begin: int, last: int) -> int:
        """Take whole steps from `begin` up to `last` while each is one line of arithmetic; the first that is not.

        This is where a year is spent. A step is simple if no limit is met and no flow begins or ends in it.
        """
        whole = self._whole
        assert whole is not None
        keep, gain, drain, charge_w, discharge_w, low, high, knee_up, knee_down, goal, remain, hold_w, per_j = whole
        free, per_it, next_sun, it_w = self._free, self._per_it, self._next_sun, self.it_w
        lows, highs = self._band if self._band and self.supply is Supply.GRID else (None, None)
        # Up to this surplus no flow begins or ends while the battery tapers, unless the grid charges along.
        smooth_w = self.site.grid.export_limit_w
        add_power, add_stored = self.powers.append, self.stored.append
        stored, delivered_w, index = self.stored_j, 0.0, begin
        for index in range(begin, last):
            power = surplus = free[index] - it_w * per_it[index]
            if lows is not None and highs is not None:
                power = surplus + lows[index]
                if power <= 0.0:
                    power = surplus + highs[index]
                    if power > 0.0:
                        power = 0.0
            if power > 0.0:
                if power > charge_w:
                    power = charge_w
                limit = high - power * knee_up
                after = stored * keep + power * gain
                if after >= limit or stored >= limit:
                    after = goal + (stored - goal) * remain
                    if (lows is not None and 0.0 < surplus < power) or surplus > smooth_w:
                        break
                    if not limit < stored <= high or after <= limit or not per_j:
                        break
                    power = hold_w - (stored - goal) * per_j
            elif stored <= low:
                if lows is None and next_sun[index] > index + 1:
                    break
                power, after = 0.0, stored * keep
            else:
                if power < -discharge_w:
                    power = -discharge_w
                limit = low - power * knee_down
                after = stored * keep + power * drain
                if after <= limit or stored <= limit:
                    break
                delivered_w -= power
            stored = after
            add_power(power)
            add_stored(stored)
        else:
            index = last
        if index > begin:
            self.ends.extend(self._edges[begin + 1 : index + 1])
            self.now_s, self.stored_j = index * self.step_s, stored
            self._delivered_j += delivered_w * self.step_s
        return index

    def _move(self, index: int, until_s: float, skip: bool) -> None:
        """One move inside the step `index`, or through a night with an empty battery."""
        advance, battery, now, stored = self._advance, self.battery, self.now_s, self.stored_j
        assert advance is not None
        assert battery is not None
        surplus = offer = self._free[index] - self.it_w * self._per_it[index]
        end = min((index + 1) * self.step_s, until_s)
        if self._band is not None and self.supply is Supply.GRID:
            offer = self._steered(surplus, index)
        elif offer <= 0.0 and skip and stored <= battery.soc_min * self.capacity_j:
            end = min(max(self._next_sun[index], index + 1) * self.step_s, until_s)
            self._record(end, 0.0, stored * exp(-self._leak * (end - now)))
            return
        kinks = self._kinks(surplus, offer) if self._watched else ()
        power, stored, used = advance(stored, offer, end - now, kinks)
        self._record(end if used == end - now else now + used, power, stored)

    def _record(self, end_s: float, power_w: float, stored_j: float) -> None:
        """Write down a segment of the battery."""
        if power_w < 0.0:
            self._delivered_j -= power_w * (end_s - self.now_s)
        self.now_s, self.stored_j = end_s, stored_j
        self.ends.append(end_s)
        self.powers.append(power_w)
        self.stored.append(stored_j)

    def _steered(self, surplus_w: float, step: int) -> float:
        """What the battery is offered (> 0) or asked for (< 0) so that import stays in its band [W]."""
        assert self._band is not None
        missing = surplus_w + self._band[0][step]
        if missing > 0.0:
            return missing
        too_much = surplus_w + self._band[1][step]
        return too_much if too_much < 0.0 else 0.0

    def _kinks(self, surplus_w: float, offer_w: float) -> tuple[float, ...]:
        """Battery powers at which, while it tapers, a flow of the site begins, ends or meets its limit [W]."""
        if offer_w > 0.0:
            export = self.site.grid.export_limit_w if self.supply is Supply.GRID else 0.0
            found = []
            if 0.0 < surplus_w < offer_w:  # the grid has charged along, and stops
                found.append(surplus_w)
            if surplus_w > export > 0.0:  # what the battery leaves meets the export limit
                found.append(surplus_w - export)
            return tuple(found)
        short = -surplus_w - self.limit_w
        return (short,) if short > 0.0 else ()

    def peek(self, it_w: float, until_s: float) -> list[tuple[float, float, float]]:
        """What the battery would do from now to `until_s` under an IT power of `it_w`; nothing is changed.

        Returns
        -------
        list of (start_s, end_s, power_w), each within one supply step
        """
        kept = self.now_s, self.stored_j, self.it_w, self._delivered_j
        mark = len(self.ends)
        self.it_w = it_w
        self._walk(until_s, skip=False)
        ends, powers = self.ends[mark:], self.powers[mark:]
        for column in (self.ends, self.powers, self.stored):
            del column[mark:]
        self.now_s, self.stored_j, self.it_w, self._delivered_j = kept
        return list(zip([kept[0], *ends[:-1]], ends, powers, strict=True))

    def holds_s(self, lacking_w: float, at_most_s: float) -> float:
        """How long the battery could give `lacking_w` [W] from what it holds now [s]."""
        if self._advance is None:
            return 0.0
        stored, held = self.stored_j, 0.0
        while held < at_most_s:
            power, stored, used = self._advance(stored, -lacking_w, at_most_s - held, (lacking_w,))
            if -power < lacking_w * (1.0 - ROUNDING):
                break
            held += used
        return held


def _note(times: array[float], values: array[float], time_s: float, value: float) -> None:
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
