"""Ledger of one site: sun, battery and grid between events, exactly.

Inside the run only what depends on the past is decided: the battery's power, one number per segment.
Every other flow follows from it and is computed afterwards with numpy (`flows.py`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import MutableSequence
from enum import IntEnum
from functools import lru_cache
from math import exp, expm1, inf
from typing import Any, TypeVar

import numpy as np

from tafukt.simulator.energy import battery as fade
from tafukt.simulator.energy.battery import Advance, law, stepper
from tafukt.simulator.scenario import Battery, Site, import_band
from tafukt.simulator.units import Floats, Ints

T = TypeVar("T")

# --- How the battery of one site moves through a run: one closed-form move per segment, none before it is asked for
# A segment ends with its supply step, where the load changes, or where the battery reaches a limit. Changes of
# the load are only written down; whoever wants to know what is stored has the battery walked up to then.


class Supply(IntEnum):
    """Supply of the site: the grid with all else, sun and battery alone, or nothing at all."""

    GRID = 0
    ISLAND = 1
    NONE = 2


class BatteryMotion:
    """The battery of one site up to `now_s`, and every segment that it has gone through."""

    def __init__(self, site: Site, end_s: float) -> None:
        self.site = site
        self.end_s = end_s
        self.step_s = site.pv.step_s
        n = int(np.ceil(end_s / self.step_s - 1e-9))
        self.steps = n
        pv, other = site.pv.values[:n], site.other.values[:n]
        # What is left of the sun before IT, and what a watt of IT draws. Lists of floats would be read no faster than
        # they take to make, at four times the memory.
        free, per_it = pv - other - site.fixed_w, 1.0 + site.overhead.values[:n]
        self._free, self._per_it = array("d", free.tobytes()), array("d", per_it.tobytes())
        # From each step, the last one before the sun could exceed the load at all: up to there an empty
        # battery may sleep.
        bright = np.where(free > 0, np.arange(n), n)
        dark = np.maximum(np.minimum.accumulate(bright[::-1])[::-1] - 1, np.arange(n))
        self._last_dark = array("i", dark.astype(np.int32).tobytes())
        self._edges = _step_edges(n, self.step_s)
        self.now_s = 0.0
        self.supply = Supply.GRID
        limit = site.grid.import_limits_w(np.arange(n, dtype=np.float64) * self.step_s)
        # The import limit, of each step where it changes.
        self._limits_w: list[float] = limit.tolist() if isinstance(limit, np.ndarray) else []
        self._limit_w: float = inf if isinstance(limit, np.ndarray) else limit
        self.request_w = inf  # what the grid asks the import not to exceed, which is no limit of any wire
        # Whether the battery gives what exceeds a request and nothing else while one holds; and the import up to which
        # it charges before one [W], at 0 from the sun alone, while it gives nothing.
        self.answers = False
        self.keep_w: float | None = None
        self._kept_times, self._kept_bands = array("d", [0.0]), [NO_BAND]
        self.it_times: MutableSequence[float] = array("d", [0.0])
        self.it_values: MutableSequence[float] = array("d", [0.0])
        self._told = 0  # index of the change of load that holds at `now_s`
        # The battery's segments: where each ends [s], its mean power [W], and what is then stored [J].
        self.ends, self.powers, self.stored = array("d"), array("d"), array("d")
        self._begin_battery()

    @property
    def varies(self) -> bool:
        """Whether the import limit changes with time."""
        return bool(self._limits_w)

    def limit_at(self, time_s: float) -> float:
        """The import limit at `time_s` as the supply now is [W]: none is imported while the grid is out."""
        if self.supply is not Supply.GRID:
            return 0.0
        return self._limits_w[self.step_at(time_s)] if self._limits_w else self._limit_w

    def ceiling_at(self, time_s: float) -> float:
        """Ceiling of the import, by the connection's limit or at the grid's present request [W]."""
        return min(self.limit_at(time_s), self.request_w)

    def ceiling_ahead_w(self, begin_s: float, end_s: float) -> float:
        """The least of that at any time from `begin_s` up to `end_s` [W]."""
        if not self._limits_w or self.supply is not Supply.GRID:
            return self.ceiling_at(begin_s)
        first, last = self.step_at(begin_s), self.step_at(end_s)
        ahead = self._limits_w[first : max(last + (last * self.step_s < end_s), first + 1)]
        return min(min(ahead), self.request_w)

    def ceilings_w(self) -> Floats | float:
        """The same for every step: one number where none changes [W]."""
        if not self._limits_w or self.supply is not Supply.GRID:
            return self.ceiling_at(0.0)
        return np.asarray(np.minimum(self._limits_w, self.request_w))

    def _begin_battery(self) -> None:
        site = self.site
        battery = site.battery if site.battery and site.battery.capacity_j > 0 else None
        self.battery = battery
        self.capacity_j = battery.capacity_j if battery else 0.0
        self.stored_j = battery.soc_start * self.capacity_j if battery else 0.0
        self.stored_start_j = self.stored_j
        self._advance: Advance
        # Between which powers import has to stay in each step [W]; nothing where no strategy says so.
        self._band: tuple[list[float], list[float]] = [], []
        self._watched = False
        if battery is None:
            return
        self._set_law(battery)
        limit, export = self._limits_w or self._limit_w, site.grid.export_limit_w
        band = import_band(battery.strategy, site.grid, np.arange(self.steps, dtype=np.float64) * self.step_s)
        if band is not None:
            self._band = np.minimum(band[0], limit).tolist(), np.minimum(band[1], limit).tolist()
        # Only a power that tapers can pass a limit inside a segment.
        asked = bool(site.grid.events)
        limited = site.grid.is_limited
        self._watched = battery.taper_soc > 0 and (limited or 0 < export < inf or band is not None or asked)
        # What every walk reads; up to an export limit no flow begins or ends while the battery tapers.
        self._columns = (self._free, self._per_it, self._edges, self._last_dark, export, self.step_s)

    def _set_law(self, battery: Battery) -> None:
        """Make the battery's law of motion anew, after its capacity has changed."""
        self._advance = stepper(battery, self.capacity_j)
        self._law, self._taper = law(battery, self.capacity_j, self.step_s)
        self._leak = battery.self_discharge_per_s

    def step_at(self, time_s: float) -> int:
        """Index of the supply step that holds `time_s`; at an edge, of the one that begins there."""
        index = int(time_s // self.step_s)
        if (index + 1) * self.step_s <= time_s:  # division may fall short of an edge that it stands on
            index += 1
        return index if index < self.steps else self.steps - 1

    def advance_battery(self, until_s: float, skip: bool = True) -> None:
        """Move the battery up to `until_s` [s], through every change of the load that has been told.

        Most segments are a few lines of arithmetic, done in place: this is where a year is spent, and a call
        for each would double it. With `skip`, an empty battery sleeps through the steps without sun at once.
        """
        if self.supply is Supply.NONE and until_s > self.now_s:
            self._idle(until_s)
        now, stored, leak, told = self.now_s, self.stored_j, self._leak, self._told
        free, per_it, edges, last_dark, smooth_w, step_s = self._columns
        step_keep, step_span, eta_c, eta_d, charge_w, discharge_w, low, high, knee_up, knee_down = self._law
        goal, remain, hold_w, per_j = self._taper
        add_end, add_power, add_stored = self.ends.append, self.powers.append, self.stored.append
        (lows, highs), steered, index = self._bands(), self._steers(), self.step_at(now)
        while now < until_s:
            told, it_w, stop = self._stretch(told, now, until_s)
            while now < stop:
                edge = end = edges[index + 1]
                if end > stop:
                    end = stop
                dt = end - now
                if dt == step_s:
                    keep, span = step_keep, step_span
                elif leak:
                    keep, span = exp(-leak * dt), -expm1(-leak * dt) / leak
                else:
                    keep, span = 1.0, dt
                power = offer = surplus = free[index] - it_w * per_it[index]
                if steered:
                    power = offer = surplus + lows[index]
                    if power <= 0.0:
                        power = offer = min(surplus + highs[index], 0.0)
                if power > 0.0:
                    if power > charge_w:
                        power = charge_w
                    limit, after = high - power * knee_up, stored * keep + power * span * eta_c
                    if after >= limit or stored >= limit:
                        after, full = goal + (stored - goal) * remain, stored == limit == goal and power >= hold_w
                        smooth = dt == step_s and not 0.0 < surplus < power and surplus <= smooth_w
                        if full or (smooth and limit < stored <= high and limit < after):
                            power = hold_w - (stored - goal) * per_j
                        else:
                            power, after, end = self._near_limit(now, end, stored, surplus, offer)
                elif stored > low:
                    if power < -discharge_w:
                        power = -discharge_w
                    limit, after = low - power * knee_down, stored * keep + power * span / eta_d
                    if after <= limit or stored <= limit:
                        power, after, end = self._near_limit(now, end, stored, surplus, offer)
                elif steered or not skip or last_dark[index] == index:
                    power, after = 0.0, stored * keep
                else:
                    power, (after, end, edge, index) = 0.0, self._asleep(now, stop, until_s, stored, index)
                add_end(end)
                add_power(power)
                add_stored(after)
                now, stored = end, after
                if end == edge:
                    index += 1
        self.now_s, self.stored_j, self._told = now, stored, told

    def _near_limit(
        self, now_s: float, end_s: float, stored: float, surplus_w: float, offer_w: float
    ) -> tuple[float, float, float]:
        """One move that meets a limit or tapers: mean power [W], what is then stored [J], and when it ends [s]."""
        kinks = self._kinks(now_s, surplus_w, offer_w) if self._watched else ()
        power, after, used = self._advance(stored, offer_w, end_s - now_s, kinks)
        return power, after, end_s if used == end_s - now_s else now_s + used

    def _asleep(
        self, now_s: float, stop_s: float, until_s: float, stored: float, step: int
    ) -> tuple[float, float, float, int]:
        """An empty battery: through all steps without sun, whatever the load, or through one up to `stop_s`.

        Returns
        -------
        what is then stored [J], when that is [s], up to which edge it could sleep [s], and the step that it is in
        """
        last = self._last_dark[step]
        edge, end = self._edges[last + 1], until_s if last > step else stop_s
        if end < edge:
            return stored * exp(-self._leak * (end - now_s)), end, edge, self.step_at(end)
        return stored * exp(-self._leak * (edge - now_s)), edge, edge, last

    def _idle(self, until_s: float) -> None:
        """Nothing flows, and what is stored leaks."""
        self.stored_j *= exp(-self._leak * (until_s - self.now_s))
        self.now_s = until_s
        self.ends.append(until_s)
        self.powers.append(0.0)
        self.stored.append(self.stored_j)

    def _stretch(self, told: int, now_s: float, until_s: float) -> tuple[int, float, float]:
        """The change of the load that holds at `now_s`, its IT power [W], and up to when that lasts [s]."""
        times, last = self.it_times, len(self.it_times) - 1
        while told < last and times[told + 1] <= now_s:
            told += 1
        stop = times[told + 1] if told < last and times[told + 1] < until_s else until_s
        return told, self.it_values[told], stop

    def _steers(self) -> bool:
        """Whether a strategy or a request rules the battery now: only while there is a grid to follow it with."""
        return self.supply is Supply.GRID and (bool(self._band[0]) or self._kept_band() is not None)

    def _kept_band(self) -> tuple[float, float] | None:
        """The import that the battery keeps for a request, whatever its own strategy [W]."""
        if not self.answers:
            return None
        if self.request_w < inf:
            return 0.0, self.request_w
        return None if self.keep_w is None else (self.keep_w, inf)

    def _bands(self) -> tuple[list[float], list[float]]:
        """The band that rules the battery, by step [W]."""
        kept = self._kept_band()
        return self._band if kept is None else (_Same(kept[0]), _Same(kept[1]))

    def _band_at(self, step: int) -> tuple[float, float]:
        """The band of a step while something rules the battery [W]."""
        return self._kept_band() or (self._band[0][step], self._band[1][step])

    def _kinks(self, now_s: float, surplus_w: float, offer_w: float) -> tuple[float, ...]:
        """Battery powers at which, while it tapers, a flow of the site begins, ends or meets its limit [W]."""
        if offer_w > 0.0:
            export = self.site.grid.export_limit_w if self.supply is Supply.GRID else 0.0
            found = []
            if 0.0 < surplus_w < offer_w:  # the grid has charged along, and stops
                found.append(surplus_w)
            if surplus_w > export > 0.0:  # what the battery leaves meets the export limit
                found.append(surplus_w - export)
            return tuple(found)
        short = -surplus_w - self.ceiling_at(now_s)
        return (short,) if short > 0.0 else ()


@lru_cache(maxsize=4)
def _step_edges(steps: int, step_s: float) -> array[float]:
    """Edges of the supply steps [s], shared by all sites; nobody writes to them."""
    return array("d", (np.arange(steps + 1) * step_s).tobytes())


NO_BAND = (0.0, -1.0)


class _Same(list[float]):
    """A column that has one value in every step."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def __getitem__(self, step: Any) -> Any:
        return self._value


def steered_w(surplus_w: float, low_w: float, high_w: float) -> float:
    """Power offered to the battery (> 0) or asked of it (< 0) so that import stays in its band [W]."""
    if surplus_w + low_w > 0.0:
        return surplus_w + low_w
    return min(surplus_w + high_w, 0.0)


# --- The ledger of one site


# A shortage smaller than this share of the load is rounding.
ROUNDING = 1e-9


class SiteLedger(BatteryMotion):
    """The running books of one site.

    The engine tells it every change of the IT power and of the supply, in order of time; the battery is
    walked when it is asked for. `it_w` is the IT power now [W], `supply` what feeds the site now.

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
        """Set the supply of the site from `time_s` [s] on: it changes with an outage and its repair."""
        self.advance_to(time_s)
        self.supply = supply
        _note(self.supply_times, self.supply_values, time_s, supply)

    # --- what it answers -------------------------------------------------------------------------

    def mean_net_load_w(self, begin_s: float, end_s: float) -> float:
        """Mean of the load that the sun did not carry over a stretch of the past, whatever the battery gave [W]."""
        times, values, edges = self.it_times, self.it_values, self._edges
        told, step = bisect_right(times, begin_s) - 1, self.step_at(begin_s)
        at_s, total_j = begin_s, 0.0
        while at_s < end_s:
            stop_s = min(end_s, edges[step + 1], times[told + 1] if told + 1 < len(times) else inf)
            surplus_w = self._free[step] - values[told] * self._per_it[step]
            total_j += max(-surplus_w, 0.0) * (stop_s - at_s)
            at_s = stop_s
            step += stop_s == edges[step + 1]
            told += told + 1 < len(times) and stop_s == times[told + 1]
        return total_j / (end_s - begin_s)

    def net_rises_w(self, first: int, last: int) -> Floats:
        """By how much the load that the sun does not carry rises from step to step at the present IT power [W]."""
        steps = slice(first, last + 1)
        net_w = self.it_w * np.asarray(self._per_it[steps]) - np.asarray(self._free[steps])
        return np.diff(np.maximum(net_w, 0.0))

    def surplus_w(self, time_s: float) -> float:
        """Sun less load at `time_s` [W]; negative where the load is larger."""
        index = self.step_at(time_s)
        return self._free[index] - self.it_w * self._per_it[index]

    def load_w(self, time_s: float, it_w: float) -> float:
        """Load of the site in all at an IT power of `it_w`, at `time_s` [W]."""
        step = self.step_at(time_s)
        return it_w * self._per_it[step] + float(self.site.other.values[step]) + self.site.fixed_w

    @property
    def next_midnight_s(self) -> float:
        """Time at which the battery's capacity shrinks next [s]; infinite if it does not."""
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
        """Stored energy at the end of every segment, before a shrinking window took its part [J]."""
        after = stored_j[1:].copy()
        np.add.at(after, np.searchsorted(edges_s, self.loss_times) - 1, self.losses_j)
        return after

    def offer_at(self, time_s: float) -> float:
        """Power offered to the battery (> 0) or asked of it (< 0) just after `time_s`, in the past [W]."""
        step = self.step_at(time_s)
        it_w = self.it_values[bisect_right(self.it_times, time_s) - 1]
        surplus = self._free[step] - it_w * self._per_it[step]
        if self.supply_values[bisect_right(self.supply_times, time_s) - 1] != Supply.GRID:
            return surplus
        kept = self._kept_bands[bisect_right(self._kept_times, time_s) - 1]
        if kept is not NO_BAND:
            return steered_w(surplus, *kept)
        return steered_w(surplus, self._band[0][step], self._band[1][step]) if self._band[0] else surplus

    def advance_to(self, until_s: float) -> None:
        """Move the battery forward to `until_s` [s]."""
        if self.battery is None:
            self.now_s = until_s
            return
        if self.answers and self.now_s < until_s:
            kept = self._kept_band() or NO_BAND
            if kept != self._kept_bands[-1]:
                _note(self._kept_times, self._kept_bands, self.now_s, kept)
        while self._marks[self._next_mark] <= until_s:
            self.advance_battery(self._marks[self._next_mark])
            self._fade()
        if self.now_s < until_s:
            self.advance_battery(until_s)

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
        """The battery's move from now to `until_s` under an IT power of `it_w`; nothing is changed.

        Returns
        -------
        list of (start_s, end_s, power_w), each within one supply step
        """
        kept = self.now_s, self.stored_j, self._told, self.it_times, self.it_values
        mark = len(self.ends)
        self._told, self.it_times, self.it_values = 0, [self.now_s], [it_w]
        self.advance_battery(until_s, skip=False)
        ends, powers = self.ends[mark:], self.powers[mark:]
        for column in (self.ends, self.powers, self.stored):
            del column[mark:]
        self.now_s, self.stored_j, self._told, self.it_times, self.it_values = kept
        return list(zip([kept[0], *ends[:-1]], ends, powers, strict=True))

    def holds_s(self, lacking_w: float, at_most_s: float) -> float:
        """Time for which the battery could give `lacking_w` [W] from what it holds now [s]."""
        if self.battery is None:
            return 0.0
        stored, held = self.stored_j, 0.0
        while held < at_most_s:
            power, stored, used = self._advance(stored, -lacking_w, at_most_s - held, (lacking_w,))
            if -power < lacking_w * (1.0 - ROUNDING):
                break
            held += used
        return held


def _note(times: MutableSequence[float], values: MutableSequence[T], time_s: float, value: T) -> None:
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
