"""The planner's book: what running and planned jobs are expected to draw, hour by hour, and what more would cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tafukt.simulator.engine.view import SiteView, View
from tafukt.simulator.policies.lookahead.battery_course import battery_flows, imports_kwh, stored_after
from tafukt.simulator.policies.lookahead.forecast_end import ahead_of
from tafukt.simulator.policies.lookahead.hour_table import HourTable
from tafukt.simulator.units import HOUR_S, Floats, Ints

# How many hours of a night the energy left in a battery is spread over at the most (a choice).
NIGHT_H = 8

# What an hour without free GPUs costs against one in which all comes from the grid: more than any saving.
FULL = 3.0

# Prices of so many sites are worked out one after another as fast as those of all at once.
FEW = 3

# A plan whose expected power has changed by less than this share is not worth new prices (a choice).
ALIKE = 0.1


@dataclass(frozen=True)
class JobPlan:
    """Hours and sites of a job's run.

    Attributes
    ----------
    hours, sites : array of int
        Hours from the experiment's start, ascending, and the site in each.
    watts : array
        IT power [W], weighted by the chance that the job still runs then.
    gpus : int
    detail : dict
        The numbers that the plan rests on.
    """

    hours: Ints
    sites: Ints
    watts: Floats
    gpus: int
    detail: dict[str, Any] = field(default_factory=dict)


class PlanTable:
    """All plans, and the price of more load that follows from them, the sun's forecast and the batteries.

    Of a further watt in some hour at some site, what the battery could not have taken is free; then comes
    what charges the battery, free as far as the sun will fill it anyway before it runs empty; the rest is
    taken from the battery or the grid, a stored joule at what it would have replaced later.
    """

    def __init__(self, view: View, span_h: int) -> None:
        n, slot_s = len(view.sites), view.slots.slot_s
        self._slot_s, self._slots_h = slot_s, round(HOUR_S / slot_s)
        self._per_kwh = 1e3 * self._slots_h  # watts times slots
        self.span = span_h * self._slots_h
        self.first = 0
        self.plans: dict[int, JobPlan] = {}
        self.capacity = np.array([float(site.spec.gpus) for site in view.sites])
        self.per_it: Floats = np.ones((n, self.span))
        self._promised = HourTable([site.spec for site in view.sites], view.slots.hours + 2 * self.span, slot_s)
        self._watts, self._gpus = self._promised.watts.T, self._promised.gpus.T
        self._view = view
        self._per_node = np.array([site.spec.node.gpus for site in view.sites])
        # GPUs that are planned to take part of a node, by site and hour.
        self._parts: Ints = np.zeros(self._gpus.shape, np.int64)
        batteries = [site.spec.battery for site in view.sites]
        self._batteries = batteries
        self._size = np.array([b.usable_j / slot_s if b else 0.0 for b in batteries])
        self._charge_w = np.array([b.charge_w if b else 0.0 for b in batteries])
        self._eta_in = np.array([b.eta_charge if b else 1.0 for b in batteries])[:, None]
        self._eta_out = np.array([b.eta_discharge if b else 1.0 for b in batteries])[:, None]
        self._free: Floats = np.zeros((n, self.span))
        self._stored = [0.0] * n
        self._told = -1
        self.limits_w: Floats | None = None  # of the import, by site and hour; nothing where no site has any
        self._give_w = np.array([b.discharge_w if b else 0.0 for b in batteries])
        # Per site and hour: power that would be thrown away, that charges, that the battery can lend [W].
        self._prices: Floats = np.zeros((3, n, self.span))
        self._stale: set[int] = set()

    def begin_hour(self) -> None:
        """Take up the present forecast, and what the batteries hold now."""
        view = self._view
        now = view.now_s
        self.first = int(now // self._slot_s)
        forecast = view.slots
        issued, free = forecast.free_w(now)
        per_it = forecast.per_it(now)
        if free.shape[1]:
            self.per_it = ahead_of(per_it, self.span, forecast.day, self.first - issued)
            self._free = ahead_of(free, self.span, forecast.day, self.first - issued)
        self._see_limits()
        # Counted from the floor of the window, inside the battery.
        self._stored = [site.usable_j / float(eta) for site, eta in zip(view.sites, self._eta_out[:, 0], strict=True)]
        self._stale = set(range(len(view.sites)))

    def _see_limits(self) -> None:
        """Take up the limits of the import, and the requests that are announced by now."""
        self._told = self._view.limits_told
        limits_w = self._view.import_limits_w(self.first, self.span, self._slot_s)
        self.limits_w = limits_w if np.isfinite(limits_w).any() else None

    def withdraw(self, index: int) -> JobPlan | None:
        """Take back what was planned for a job, and return it."""
        plan = self.plans.pop(index, None)
        if plan is not None:
            self._promised.add(plan.sites, plan.hours, -plan.watts, -plan.gpus)
            self._add_parts(plan, -1)
            self._stale.update(plan.sites.tolist())
        return plan

    def enter(self, index: int, plan: JobPlan) -> None:
        """Write down a job's plan."""
        self.plans[index] = plan
        self._promised.add(plan.sites, plan.hours, plan.watts, plan.gpus)
        self._add_parts(plan, 1)
        self._stale.update(plan.sites.tolist())

    def _add_parts(self, plan: JobPlan, sign: int) -> None:
        self._parts[plan.sites, plan.hours] += sign * (plan.gpus % self._per_node[plan.sites])

    def opened(self, rows: Ints, span: int, gpus: int) -> Floats:
        """Nodes that a job of less than a node opens at each row in each of the next hours, by the plans.

        None where those planned leave room on one, packed as tightly as may be; else one. Shape (rows, span).
        """
        free = -self._parts[rows, self.first : self.first + span] % self._per_node[rows][:, None]
        return np.where(free >= gpus, 0.0, 1.0)

    def earmark(self, sites: Ints, watts: Floats, sign: float, first: int = -1) -> None:
        """Put power of no plan into the book, shape (sites, hours from `first` or now on), or take it out."""
        first = self.first if first < 0 else first
        self._watts[sites, first : first + watts.shape[1]] += sign * watts
        self._stale.update(sites.tolist())

    def left(self) -> tuple[Floats, Floats, Floats]:
        """Left by all plans: sun [W] and GPUs, shape (sites, span), and what the batteries hold now [J]."""
        hours = slice(self.first, self.first + self.span)
        free = self._free - self._watts[:, hours] * self.per_it
        return free, self.capacity[:, None] - self._gpus[:, hours], np.array(self._stored)

    def keep_prices(self, plan: JobPlan | None) -> tuple[Ints, Floats] | None:
        """The prices with this plan in the book, to be put back by `restore` if it stays as it was."""
        if plan is None or not len(plan.hours):
            return None
        self._refresh()
        sites = np.unique(plan.sites)
        return sites, self._prices[:, sites].copy()

    def restore(self, old: JobPlan, new: JobPlan, kept: tuple[Ints, Floats]) -> None:
        """Put old prices back where the plan just entered is like the one withdrawn before it."""
        left = old.hours >= self.first
        where = old.hours[left], old.sites[left]
        if not (np.array_equal(where[0], new.hours) and np.array_equal(where[1], new.sites)):
            return
        if np.all(np.abs(old.watts[left] - new.watts) <= ALIKE * new.watts):
            self._prices[:, kept[0]] = kept[1]
            self._stale.difference_update(kept[0].tolist())

    def cost_kwh(self, rows: Ints, span: int, it_w: Floats, gpus: int) -> tuple[Floats, Floats]:
        """Grid energy that so much more IT power would draw in each of the next hours.

        Parameters
        ----------
        rows : array of int
            Sites.
        span : int
            How many hours are looked at.
        it_w : array, shape (rows, span)
        gpus : int

        Returns
        -------
        grid_kwh : array, shape (rows, span)
            More than all of it in an hour in which the site's GPUs are promised away.
        energy_kwh : array, shape (rows, span)
            All of it.
        """
        self._refresh()
        power = it_w * self.per_it[rows, :span]
        spare, charging, lent = self._prices[:, rows, :span]
        beyond = np.maximum(power - spare, 0.0)
        uncharged = np.minimum(beyond, charging)
        stored = uncharged * self._eta_in[rows] + (beyond - uncharged) / self._eta_out[rows]
        drawn = np.maximum(stored - lent, 0.0) * self._eta_out[rows]
        taken = self._gpus[rows, self.first : self.first + span]
        full = taken + gpus > self.capacity[rows][:, None] + 1e-6
        if self.limits_w is not None:  # beyond sun, battery and what may be imported no hour has power
            used = self._watts[rows, self.first : self.first + span] * self.per_it[rows, :span]
            lacking = power + used - self._free[rows, :span] - self._give_w[rows][:, None]
            full |= lacking > self.limits_w[rows, :span]
        return np.where(full, FULL * power, drawn) / self._per_kwh, power / self._per_kwh

    def drawn_kwh(self, site: int, loads_w: Floats) -> Floats:
        """Grid energy of a site over the span with more IT power, its battery walked exactly, shape (candidates,).

        `loads_w` is of shape (candidates, span). What the battery holds in the end is taken off, as the load that it
        will carry [kWh].
        """
        hours = slice(self.first, self.first + self.span)
        net = self._free[site] - (self._watts[site, hours] + loads_w) * self.per_it[site]
        drawn_kwh = imports_kwh(net, self._view.sites[site].spec.battery, self._stored[site], self._slot_s)
        if self.limits_w is None:
            return drawn_kwh
        too_much = -net - self._give_w[site] > self.limits_w[site]
        unserved_w = np.where(too_much, loads_w * self.per_it[site], 0.0).sum(axis=-1)
        return np.asarray(drawn_kwh + FULL * unserved_w / self._per_kwh)

    def _refresh(self) -> None:
        if self._view.limits_told != self._told:
            self._see_limits()
        for site in self._stale:
            self._price(self._view.sites[site])
        self._stale.clear()

    def reprice(self) -> None:
        """Bring the prices of all sites up to date at once, unless only a few have changed.

        The same as `_price` site by site but for the last digits, and in a third of the time where all have changed.
        """
        if len(self._stale) <= FEW:
            return
        self._stale.clear()
        net = self._free - self._watts[:, self.first : self.first + self.span] * self.per_it
        before, after = stored_after(net, self._batteries, self._stored, self._slot_s)
        sun, size = np.maximum(net, 0.0), self._size[:, None]
        most = np.minimum(sun, self._charge_w[:, None])
        charged = np.where(net >= 0.0, np.minimum(most, (size - before) / self._eta_in), 0.0)
        makes_up = (most - charged) * self._eta_in
        # From the last hour back: what may be missing after an hour is no more than is stored then, and what the
        # hours after it make up for.
        later = np.cumsum(makes_up[:, ::-1], axis=1)[:, ::-1] - makes_up
        least = np.minimum.accumulate(np.minimum(after - later, 0.0)[:, ::-1], axis=1)[:, ::-1]
        hour = np.arange(self.span)
        makes = np.where(makes_up > 0.0, hour, self.span - 1)
        since = np.minimum.accumulate(makes[:, ::-1], axis=1)[:, ::-1] - hour + 1
        room = np.maximum(least + later, 0.0)
        self._prices[:] = sun - charged, charged, room / np.minimum(since, NIGHT_H * self._slots_h)

    def _price(self, site: SiteView) -> None:
        """Walk the battery through the span, and see what more load would meet in each hour.

        Energy that is missing in the battery after some hour costs nothing if it is made up for by what
        would have been thrown away, before the battery runs empty.
        """
        i, n = site.index, self.span
        net = (self._free[i] - self._watts[i, self.first : self.first + n] * self.per_it[i]).tolist()
        battery = site.spec.battery
        if battery is None:
            self._prices[0, i] = np.maximum(net, 0.0)
            return
        charged, _, after = battery_flows(net, battery, self._stored[i], self._slot_s)
        spare = [max(power, 0.0) - taken for power, taken in zip(net, charged, strict=True)]
        eta_in, most_in = battery.eta_charge, battery.charge_w
        lent, room, since, night = [0.0] * n, 0.0, 0, NIGHT_H * self._slots_h
        for h in range(n - 1, -1, -1):
            if room > after[h]:
                room = after[h]
            makes_up = min(net[h], most_in) * eta_in - charged[h] * eta_in if net[h] >= 0.0 else 0.0
            since = 1 if makes_up > 0.0 else since + 1
            lent[h] = room / min(since, night)
            room += makes_up
        self._prices[:, i] = spare, charged, lent
