"""When supply will fall short at one site, and how long it would carry a load."""

from __future__ import annotations

from math import inf

import numpy as np

from simulator.ledger import ROUNDING, SiteLedger
from simulator.record import Floats
from simulator.walk import Supply


class Outlook:
    """Looks ahead in the books of one site, settled up to now, and leaves them as they are.

    The engine's guard foresees with it, and no policy does: it knows the sun to come. The present supply
    is taken to last, since nobody knows when an outage ends. The battery is walked only where sun and
    grid alone do not carry the load; whether they do is one comparison, so that a limit which never binds
    costs next to nothing.
    """

    def __init__(self, ledger: SiteLedger) -> None:
        self.ledger = ledger
        site, n = ledger.site, ledger.steps
        self._free_w = site.pv.values[:n] - site.other.values[:n] - site.fixed_w
        self._per_it = 1.0 + site.overhead.values[:n]
        self._carried: dict[float, tuple[Floats, list[float]]] = {}

    def carried_w(self, time_s: float) -> tuple[float, float]:
        """IT power that sun and grid carry without the battery, at `time_s` and from then on always [W]."""
        carried, least = self._table()
        step = self.ledger.step_at(time_s)
        return float(carried[step]), least[step]

    def strained_s(self, it_w: float, until_s: float) -> float:
        """When, from now up to `until_s`, an IT power of `it_w` first needs the battery to be fed [s].

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
        if ledger.battery is None or strained_s == inf or ledger.supply is Supply.NONE:
            return strained_s
        for start, end, power in ledger.peek(it_w, until_s):
            step = ledger.step_at(start)
            load_w = it_w * self._per_it[step]
            if load_w - self._free_w[step] - ledger.limit_w + power > ROUNDING * load_w and end > start:
                return start
        return inf

    def carries_s(self, it_w: float, hold_s: float) -> float:
        """How long an IT power of `it_w` could be fed if sun and grid stayed as they are now [s].

        At most `hold_s`. This looks at the present alone, as whoever lets a job in has to.
        """
        ledger = self.ledger
        if ledger.supply is Supply.NONE:
            return 0.0
        step = ledger.step_at(ledger.now_s)
        lacking_w = it_w * float(self._per_it[step]) - float(self._free_w[step]) - ledger.limit_w
        return hold_s if lacking_w <= 0.0 else ledger.holds_s(lacking_w, hold_s)

    def _table(self) -> tuple[Floats, list[float]]:
        """IT power carried without the battery [W]: in each step, and in every step from it on."""
        limit_w = self.ledger.limit_w
        found = self._carried.get(limit_w)
        if found is None:
            carried = (self._free_w + limit_w) / self._per_it
            least = np.minimum.accumulate(carried[::-1])[::-1]
            found = self._carried[limit_w] = carried, least.tolist()
        return found
