"""Ledger of a site whose import may not move faster than so much a minute: the battery carries the difference.

Within a minute the import is held between the mean of the minute before less what it may fall and that mean plus what
it may rise, as far as the battery can take or give the rest; so the means of two minutes never differ by more. Before
the battery is empty it hands its load over, at the rate at which the import may rise: it keeps for that what the whole
load would need were the sun to go. Between such moments nothing ticks: a move lasts as long as its powers do.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import exp, inf, sqrt

from tafukt.simulator.energy.ledger import SiteLedger, Supply
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import MINUTE_S

# A battery that has handed its load over discharges again once it holds so many times what handing over takes, so that
# it does not take up and let go in turn (a choice).
FREE_AGAIN_FACTOR = 2.0
# By how much more than the present load it keeps energy for, since load may rise while it is handed over (a choice).
MARGIN = 1.1


class RampedLedger(SiteLedger):
    """The books of a site with a ramp limit on its import.

    `before_w` is the mean import of the last whole minute, below zero before there was any; `import_w` that of the last
    move [W].
    """

    def __init__(self, site: Site, end_s: float) -> None:
        super().__init__(site, end_s)
        self.up_w, self.down_w = site.grid.ramp_up_w, site.grid.ramp_down_w
        self.before_w = -1.0
        self.import_w = 0.0
        self._minute_j = 0.0  # imported since the minute began
        self._keeps = True  # whether the battery rests on what handing over takes
        self.offers = array("d")  # of each of the battery's segments
        self._sun: list[float] = site.pv.values[: self.steps].tolist()

    # --- what the engine asks --------------------------------------------------------------------

    def feedable_w(self, time_s: float) -> float:
        """The largest load net of the sun from `time_s` on for which the import rises no faster than it may [W]."""
        self.advance_to(time_s)
        if self.before_w < 0.0 or self.supply is not Supply.GRID:
            return inf
        return self.before_w + self.up_w + self._hand_over_w()

    def feedable_next_w(self, net_w: float) -> float:
        """The same in the minute that follows, if the load net of the sun stays at `net_w` from now on [W].

        It is less where this minute began with a smaller import than it ends with.
        """
        if self.before_w < 0.0 or self.supply is not Supply.GRID:
            return inf
        given_w = self._hand_over_w()
        import_w = max(net_w - given_w, 0.0)
        mean_w = (self._minute_j + import_w * (self._minute_end_s() - self.now_s)) / MINUTE_S
        return mean_w + self.up_w + given_w

    def _hand_over_w(self) -> float:
        """The power that the battery could give now and hand over to the grid before it is empty [W]."""
        if self.battery is None:
            return 0.0
        spare_j = self.stored_j * exp(-self._leak * MINUTE_S) - self._law.low  # what leaks meanwhile carries nothing
        if spare_j <= 0.0:
            return 0.0
        square, linear = self._reserve_terms()
        # The positive root of square p^2 + linear p = spare, in the form that holds without a square, too.
        found_w = 2.0 * spare_j / (linear + sqrt(linear**2 + 4.0 * square * spare_j))
        return min(found_w / MARGIN, self._law.discharge_w)

    def _reserve_j(self, power_w: float) -> float:
        """Energy above the floor that it takes to hand so much power over to the grid [J]."""
        square, linear = self._reserve_terms()
        return (square * MARGIN * power_w + linear) * MARGIN * power_w

    def _reserve_terms(self) -> tuple[float, float]:
        """Terms of that: a minute at full power, then less by what the import may rise in each; the taper's band.

        In n = floor(p / up) minutes p - up, p - 2 up ... are given, in all no more than p^2 / (2 up) minutes' watts.
        """
        eta = self._law.eta_discharge
        return MINUTE_S / (2.0 * self.up_w * eta), MINUTE_S / eta + self._law.knee_down

    # --- the battery's motion --------------------------------------------------------------------

    def advance_to(self, until_s: float) -> None:
        """Move battery and import forward to `until_s` [s]."""
        if self.battery is not None:
            super().advance_to(until_s)
        elif self.now_s < until_s:
            self.advance_battery(until_s)

    def advance_battery(self, until_s: float, skip: bool = True) -> None:
        """Move up to `until_s` [s], through every change of the load that has been told."""
        if self.supply is Supply.NONE and until_s > self.now_s:
            self._count(0.0, until_s)
            if self.battery is not None:
                self.offers.append(0.0)
                self._idle(until_s)
            self.now_s = until_s
        while self.now_s < until_s:
            self._told, it_w, stop_s = self._stretch(self._told, self.now_s, until_s)
            index = self.step_at(self.now_s)
            self._move(index, it_w, min(self._edges[index + 1], stop_s))

    def _move(self, index: int, it_w: float, end_s: float) -> None:
        """One move under a constant load, as long as its law holds."""
        now, limit_w = self.now_s, self.limit_at(self.now_s)
        net_w, power_w = it_w * self._per_it[index] - self._free[index], 0.0
        if self.battery is not None:
            wanted_w, end_s = self._wanted(index, net_w, end_s)
            target_w = min(wanted_w, limit_w)
            if self.before_w >= 0.0 and self.supply is Supply.GRID:
                target_w = min(max(wanted_w, self.before_w - self.down_w), self.before_w + self.up_w, limit_w)
            if target_w != min(wanted_w, limit_w) or not self._may_last(target_w):
                end_s = min(end_s, self._minute_end_s())
            offer_w, dt = target_w - net_w, end_s - now
            kinks = self._kinks(now, -net_w, offer_w) if self._watched else ()
            power_w, self.stored_j, used_s = self._advance(self.stored_j, offer_w, dt, kinks)
            end_s = end_s if used_s == dt else now + used_s
            self.ends.append(end_s)
            self.powers.append(power_w)
            self.stored.append(self.stored_j)
            self.offers.append(offer_w)
        self._count(min(max(net_w + power_w, 0.0), limit_w), end_s)
        self.now_s = end_s

    def _may_last(self, import_w: float) -> bool:
        """Whether an import may go on beyond this minute, which may have begun with another [W]."""
        mean_w = (self._minute_j + import_w * (self._minute_end_s() - self.now_s)) / MINUTE_S
        return mean_w - self.down_w <= import_w <= mean_w + self.up_w

    def _wanted(self, index: int, net_w: float, end_s: float) -> tuple[float, float]:
        """The import that the battery's strategy aims at [W], and until when it may [s]."""
        steered = self._steers()
        low_w, high_w = self._band_at(index) if steered else (0.0, 0.0)
        wanted_w = min(max(net_w, low_w), high_w) if low_w <= high_w else low_w
        if wanted_w >= net_w or self.supply is not Supply.GRID or self.up_w == inf:
            return wanted_w, end_s
        given_w = min(net_w - wanted_w, self._law.discharge_w)
        wanted_w = net_w - given_w
        reserve_j = self._reserve_j(max(net_w + self._sun[index] - wanted_w, given_w))
        spare_j = self.stored_j - self._law.low - reserve_j
        if self._keeps and spare_j < (FREE_AGAIN_FACTOR - 1.0) * reserve_j:
            return net_w, end_s
        lasts_s = spare_j / (given_w / self._law.eta_discharge + self._leak * self.stored_j)
        self._keeps = lasts_s < MINUTE_S
        return (net_w, end_s) if self._keeps else (wanted_w, min(end_s, self.now_s + lasts_s))

    def _minute_end_s(self) -> float:
        """The end of the minute that holds this moment [s]."""
        return (self.now_s // MINUTE_S + 1.0) * MINUTE_S

    def _count(self, import_w: float, end_s: float) -> None:
        """Keep the means of whole minutes up to `end_s` [s], under a constant import [W]."""
        now, self.import_w = self.now_s, import_w
        minute_s = self._minute_end_s()
        if end_s < minute_s:
            self._minute_j += import_w * (end_s - now)
            return
        self.before_w = (self._minute_j + import_w * (minute_s - now)) / MINUTE_S
        whole, rest_s = divmod(end_s - minute_s, MINUTE_S)
        if whole:
            self.before_w = import_w
        self._minute_j = import_w * rest_s

    # --- looking ahead and back ------------------------------------------------------------------

    def peek(self, it_w: float, until_s: float) -> list[tuple[float, float, float]]:
        """Battery powers from now to `until_s` under an IT power of `it_w`, as (start_s, end_s, power_w)."""
        kept = self.before_w, self.import_w, self._minute_j, self._keeps
        mark = len(self.offers)
        found = super().peek(it_w, until_s)
        del self.offers[mark:]
        self.before_w, self.import_w, self._minute_j, self._keeps = kept
        return found

    def offer_at(self, time_s: float) -> float:
        """Power offered to the battery (> 0) or asked of it (< 0) just after `time_s`, in the past [W]."""
        index = bisect_left(self.ends, time_s)
        if index < len(self.ends) and self.ends[index] == time_s:
            index += 1
        return self.offers[min(index, len(self.offers) - 1)] if self.offers else 0.0


def ledger_of(site: Site, end_s: float) -> SiteLedger:
    """The books of a site up to `end_s` [s]."""
    return RampedLedger(site, end_s) if site.grid.has_ramp_limit else SiteLedger(site, end_s)
