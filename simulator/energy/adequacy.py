"""Adequacy of a site's supply: when it falls short of a load, and load that stays unserved whatever the schedule."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf

import numpy as np

from tafukt.simulator.energy.flows import settle_flows
from tafukt.simulator.energy.ledger import ROUNDING, SiteLedger, Supply
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import Floats

# How many import limits a site keeps its table for.
TABLES_KEPT = 4
# Newton's steps on a function of straight pieces: there are hardly more pieces than supply steps in a request.
NEWTON_MOST = 64


def unserved_without_jobs(site: Site, end_s: float) -> tuple[list[tuple[float, float]], float]:
    """Load that a site's import limit leaves unserved though no job runs and all nodes sleep, outages apart.

    The battery does what its strategy says.

    Returns
    -------
    spells : list of (float, float)
        Disjoint, in order [s].
    unserved : float
        In all of them together [J].
    """
    if not site.grid.is_limited:
        return [], 0.0
    node = site.node
    changes = {site.online_s: 0, **{at_s: 0 for at_s, _ in site.nodes_online if site.online_s < at_s < end_s}}
    least_w = {at_s: site.nodes_at(at_s) * min(node.sleep_w, node.idle_w) for at_s in changes}
    starts = np.arange(0.0, end_s, site.pv.step_s)
    most_w = max(least_w.values()) * (1.0 + site.overhead.values[: len(starts)]) + site.fixed_w
    need_w = most_w + site.other.values[: len(starts)] - site.pv.values[: len(starts)]
    if (need_w <= site.grid.import_limits_w(starts)).all():  # the common case, at no cost
        return [], 0.0
    ledger = SiteLedger(replace(site, grid=replace(site.grid, outages=(), events=())), end_s)
    for at_s in sorted(least_w):
        ledger.set_it(at_s, least_w[at_s])
    energy = settle_flows(ledger)
    lacking = energy.flows_w["unserved"] > ROUNDING * energy.site_w
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lacking, [False])).astype(np.int8)))
    spells = energy.edges_s[edges].reshape(-1, 2)
    return [(float(begin), float(end)) for begin, end in spells], energy.flow_j("unserved")


class SupplyAdequacy:
    """Looks ahead in the books of one site, settled up to now, and leaves them as they are.

    The engine's guard foresees with it, and no policy does: it knows the sun to come. The present supply
    is taken to last, since nobody knows when an outage ends. The battery is walked only where sun and
    grid alone do not carry the load; whether they do is one comparison, so that a limit which never binds
    costs next to nothing.
    """

    def __init__(self, ledger: SiteLedger, battery_answers: bool = True) -> None:
        self.ledger = ledger
        self.battery_answers = battery_answers
        site, n = ledger.site, ledger.steps
        self._free_w = site.pv.values[:n] - site.other.values[:n] - site.fixed_w
        self._per_it = 1.0 + site.overhead.values[:n]
        self._carried: dict[float | tuple[Supply, float], tuple[Floats, list[float]]] = {}

    def carried_w(self, time_s: float) -> tuple[float, float]:
        """IT power that sun and grid carry without the battery, at `time_s` and from then on always [W]."""
        carried, least = self._table()
        step = self.ledger.step_at(time_s)
        return float(carried[step]), least[step]

    def carried_for_w(self, time_s: float, hold_s: float) -> float:
        """IT power that the sun at `time_s` and the least limit of the `hold_s` after it carry [W]."""
        ledger, step = self.ledger, self.ledger.step_at(time_s)
        if not ledger.varies:
            return float(self._table()[0][step])
        return (ledger.free_w(time_s) + ledger.ceiling_ahead_w(time_s, time_s + hold_s)) / ledger.per_it(time_s)

    def strained_s(self, it_w: float, until_s: float) -> float:
        """Time, from now up to `until_s`, at which an IT power of `it_w` first needs the battery [s].

        Infinite where it never does.
        """
        ledger = self.ledger
        if ledger.supply is Supply.NONE:
            return ledger.now_s
        carried, least = self._table()
        first = ledger.step_at(ledger.now_s)
        if it_w <= least[first] or until_s <= ledger.now_s:
            return inf
        short = carried[first : ledger.step_at(until_s) + 1] < it_w * (1.0 - ROUNDING)
        begin_s = max((first + int(short.argmax())) * ledger.step_s, ledger.now_s)
        return begin_s if short.any() and begin_s < until_s else inf

    def falls_short_s(self, it_w: float, until_s: float) -> float:
        """The first instant from now up to `until_s` at which an IT power of `it_w` cannot be fed [s].

        Infinite where there is none. Fade at a midnight on the way is not foreseen.
        """
        ledger = self.ledger
        until_s = min(until_s, ledger.end_s)
        strained_s = self.strained_s(it_w, until_s)
        spared = not self.battery_answers and ledger.request_w < ledger.limit_at(ledger.now_s)
        if ledger.battery is None or strained_s == inf or ledger.supply is Supply.NONE or spared:
            return strained_s
        for start, end, power in ledger.peek(it_w, until_s):
            step = ledger.step_at(start)
            load_w = it_w * self._per_it[step]
            if load_w - self._free_w[step] - ledger.ceiling_at(start) + power > ROUNDING * load_w and end > start:
                return start
        return inf

    def most_it_w(self, until_s: float, at_most_w: float) -> float:
        """The largest IT power up to `at_most_w` that can be fed from now up to `until_s` [W].

        What the battery holds now counts, as far as it answers, and is spread evenly; sun that it might still store,
        and the self-discharge that it will be spared, are left out, so that the figure is on the safe side.
        """
        ledger = self.ledger
        now, first, last = ledger.now_s, ledger.step_at(ledger.now_s), ledger.step_at(until_s)
        steps = slice(first, max(last, first) + (last * ledger.step_s < until_s or last == first))
        carried = self._table()[0][steps]
        least_w = min(max(float(carried.min()), 0.0), at_most_w)
        battery, asks = ledger.battery, ledger.request_w < ledger.limit_at(now)
        if battery is None or least_w == at_most_w or (asks and not self.battery_answers):
            return least_w
        spare_j = ledger.stored_j * exp(-battery.self_discharge_per_s * (until_s - now))
        spare_j -= battery.soc_min * ledger.capacity_j
        if spare_j <= 0.0 or battery.discharge_w <= 0.0:
            return least_w
        edges_s = np.clip(np.arange(steps.start, steps.stop + 1) * ledger.step_s, now, max(until_s, now))
        per_it = self._per_it[steps]
        per_w = per_it * np.diff(edges_s) / battery.eta_discharge
        # Of a tapering battery so much must be left for its last watt [J/W].
        left = battery.taper_soc * ledger.capacity_j / battery.discharge_w
        most_w = min(at_most_w, float((carried + battery.discharge_w / per_it).min()))
        for _ in range(NEWTON_MOST):  # the energy needed is convex in the power: from above, Newton's steps stay above
            given = np.maximum(most_w - carried, 0.0)
            last_step = int((given * per_it).argmax())
            over_j = float(given @ per_w) + left * float(given[last_step] * per_it[last_step]) - spare_j
            if over_j <= ROUNDING * spare_j:
                break
            slope = float(per_w[given > 0.0].sum()) + left * float(per_it[last_step])
            most_w -= over_j / slope
        return at_most_w if most_w == at_most_w else max(most_w * (1.0 - ROUNDING), least_w)

    def carries_s(self, it_w: float, hold_s: float) -> float:
        """Time for which an IT power of `it_w` could be fed if sun and grid stayed as they are now [s].

        At most `hold_s`. This looks at the present alone, as whoever lets a job in has to, and at the limits to come,
        which are known.
        """
        ledger = self.ledger
        if ledger.supply is Supply.NONE:
            return 0.0
        step = ledger.step_at(ledger.now_s)
        ceiling_w = ledger.ceiling_ahead_w(ledger.now_s, ledger.now_s + hold_s)
        lacking_w = it_w * float(self._per_it[step]) - float(self._free_w[step]) - ceiling_w
        return hold_s if lacking_w <= 0.0 else ledger.holds_s(lacking_w, hold_s)

    def _table(self) -> tuple[Floats, list[float]]:
        """IT power carried without the battery [W]: in each step, and in every step from it on."""
        ledger = self.ledger
        key = (ledger.supply, ledger.request_w) if ledger.varies else ledger.ceiling_at(0.0)
        found = self._carried.get(key)
        if found is None:
            if len(self._carried) > TABLES_KEPT:  # a ramp of the grid's requests has a ceiling for each of its minutes
                self._carried.clear()
            carried = (self._free_w + ledger.ceilings_w()) / self._per_it
            least = np.minimum.accumulate(carried[::-1])[::-1]
            found = self._carried[key] = carried, least.tolist()
        return found
