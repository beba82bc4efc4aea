"""Signals: what an hour of running a job would cost at each site, in the hours to come.

Each is a plain function of the job's IT power and the sites. `carbon` and `price` take all that a job draws
as grid electricity, as the papers do that plan by them; `grid`, `grid-carbon` and `grid-price` first take off
what sun and battery are expected to give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.lookahead.battery_course import battery_flows
from tafukt.simulator.policies.lookahead.forecast_end import ahead_of
from tafukt.simulator.policies.lookahead.hour_table import HourTable
from tafukt.simulator.scenario import Battery
from tafukt.simulator.units import HOUR_S, KWH_J, Floats


@dataclass(frozen=True)
class Asked:
    """A question to a signal: a job's IT power on each of some sites [W], for `hours` hours from that of issue.

    `added_w` is the part of it that nodes would not draw without the job [W], `run_h` how long it is expected to run
    on each [h].
    """

    it_w: Floats
    added_w: Floats
    run_h: Floats
    rows: Sequence[int]
    hours: int
    view: View
    promises: HourTable
    expected: Expected

    @property
    def slot_s(self) -> float:
        """The length of an hour here, which is that of a slot [s]."""
        return self.view.slots.slot_s


Signal = Callable[[Asked], Floats]
"""Cost per hour of running in each hour, shape (sites, hours), in the unit of the signal."""


def grid(asked: Asked) -> Floats:
    """Grid energy that the job would add, after sun and battery [kWh per h]."""
    return _grid_w(asked) * asked.slot_s / KWH_J


def carbon(asked: Asked) -> Floats:
    """Carbon of all that the job would draw, at the grid's expected intensity [kg CO2e per h]."""
    return _all_w(asked) * _ahead(asked, asked.view.slots.carbon(asked.view.now_s)) * asked.slot_s / 1000.0


def price(asked: Asked) -> Floats:
    """Price of all that the job would draw, at the grid's tariff [MAD per h]."""
    return _all_w(asked) * _ahead(asked, asked.view.slots.price(asked.view.now_s)) * asked.slot_s


def grid_carbon(asked: Asked) -> Floats:
    """Carbon of the grid energy that the job would add, after sun and battery [kg CO2e per h]."""
    return _grid_w(asked) * _ahead(asked, asked.view.slots.carbon(asked.view.now_s)) * asked.slot_s / 1000.0


def grid_price(asked: Asked) -> Floats:
    """Price of the grid energy that the job would add, after sun and battery [MAD per h]."""
    return _grid_w(asked) * _ahead(asked, asked.view.slots.price(asked.view.now_s)) * asked.slot_s


SIGNALS: dict[str, Signal] = {
    "grid": grid,
    "carbon": carbon,
    "price": price,
    "grid-carbon": grid_carbon,
    "grid-price": grid_price,
}
UNITS: dict[Signal, str] = {
    grid: "grid_kwh",
    carbon: "emissions_kg",
    price: "cost_mad",
    grid_carbon: "emissions_kg",
    grid_price: "cost_mad",
}
"""Names of the sums of signals over a run."""


def _ahead(asked: Asked, values: Floats) -> Floats:
    return ahead_of(values[np.asarray(asked.rows)], asked.hours, asked.view.slots.day)


def _all_w(asked: Asked) -> Floats:
    """Power of the job at the meter [W]."""
    return asked.it_w[:, None] * _per_it(asked)


def _per_it(asked: Asked) -> Floats:
    return _ahead(asked, asked.view.slots.per_it(asked.view.now_s))


def _grid_w(asked: Asked) -> Floats:
    """Power that the job would add to the draw from the grid in the end [W]."""
    more_w = asked.added_w[:, None] * _per_it(asked)
    return asked.expected.grid_w(more_w, asked.run_h, asked.rows, asked.view, asked.promises)


# --- What sun and battery are expected to give one job more, after everybody who runs or has been promised a start
# The battery's course is followed hour by hour from what is stored now. A watt more in an hour costs nothing
# where sun would be fed in; what the battery would have stored, or gives, costs as much as that energy would
# save from the grid later, which is nothing where the battery will be full again before it is empty. What is
# to spare until then is there once: it is spread over the job's run. What is stored at the end of the forecast
# is taken to be of use later.


# For every hour: [W] that cost nothing; [W] that would have been stored, and their cost; [W] that the battery
# could give besides, their cost, the energy to spare [J], and for how many hours it must do. All further
# watts come from the grid.
SupplyRow = list[tuple[float, float, float, float, float, float, float]]


class Expected:
    """The tiers of supply of every site, kept up to date with forecast and promises."""

    def __init__(self) -> None:
        self._hour = -1
        self._tiers: Floats = np.zeros((0, 0, 7))
        self._changes: list[int] = []

    def grid_w(self, power_w: Floats, run_h: Floats, rows: Sequence[int], view: View, promises: HourTable) -> Floats:
        """The part of a job's power, shape (rows, hours), that would come from the grid in the end [W].

        `run_h` is how long it is to run on each of the sites [h].
        """
        self._update(rows, view, promises)
        tiers = ahead_of(self._tiers[np.asarray(rows)], power_w.shape[1], view.slots.day)
        tiers = np.moveaxis(tiers, 2, 0)
        free, stored, stored_cost, given, given_cost, spare, until = tiers
        given = np.minimum(given, spare / (np.clip(run_h[:, None], 1.0, until) * view.slots.slot_s))
        rest = np.maximum(power_w - free, 0.0)
        from_sun = np.minimum(rest, stored)
        rest = rest - from_sun
        from_battery = np.minimum(rest, given)
        return np.asarray(from_sun * stored_cost + from_battery * given_cost + rest - from_battery)

    def _update(self, rows: Sequence[int], view: View, promises: HourTable) -> None:
        hour, free = view.slots.free_w(view.now_s)
        if hour != self._hour:
            self._hour = hour
            self._tiers = np.zeros((*free.shape, 7))
            self._changes = [-1] * len(free)
        for i in rows:
            if self._changes[i] != promises.changes[i]:
                self._changes[i] = promises.changes[i]
                load = promises.watts[hour : hour + free.shape[1], i] * view.slots.per_it(view.now_s)[i]
                net = (free[i] - load).tolist()
                battery = view.sites[i].spec.battery
                self._tiers[i] = (
                    course(net, battery, view.sites[i].stored_j, view.slots.slot_s) if battery else _without(net)
                )


def _without(net_w: list[float]) -> SupplyRow:
    return [(max(net, 0.0), 0.0, 0.0, 0.0, 1.0, 0.0, 1.0) for net in net_w]


def course(net_w: list[float], battery: Battery, stored_j: float, slot_s: float = HOUR_S) -> SupplyRow:
    """The tiers of a site with a battery, given what sun leaves over in each hour (< 0: what is missing) [W]."""
    size_j, low_j = battery.usable_j, battery.soc_min * battery.capacity_j
    into, out = battery.eta_charge, battery.eta_discharge
    charged_w, given_w, after = battery_flows(net_w, battery, max(stored_j - low_j, 0.0), slot_s)
    tiers: SupplyRow = []
    worth = out  # grid energy that a joule in the battery at the end of this hour will save
    spare, until = size_j * out, 0.0  # what may be taken until the battery is full again
    tiny = 1e-6 * battery.capacity_j
    for net, charged, given, stored in zip(*map(reversed, (net_w, charged_w, given_w, after)), strict=True):
        stored_j = stored * slot_s
        full = stored_j > size_j - tiny
        if full:
            worth, spare = 0.0, size_j * out
        spare, until = min(spare, stored_j * out), 1.0 if full else until + 1.0
        cost = min(worth / out, 1.0)
        more = battery.discharge_w - given
        if net > 0:
            tiers.append((net - charged, charged, min(worth * into, 1.0), more, cost, spare, until))
        else:
            tiers.append((0.0, 0.0, 0.0, more, cost, spare, until))
            if given < -net and stored_j < tiny:
                worth = out
        if full:
            until = 0.0
    tiers.reverse()
    return tiers
