"""Costs of a site beside its energy, as an experiment gives them; `metrics.py` applies them to what was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from tafukt.sites.time_grid import zone_of


@dataclass(frozen=True)
class SiteCosts:
    """A site's costs beside its energy.

    Attributes
    ----------
    demand_mad_per_kw_month : float
        Charge on the largest 15-minute mean of the import in a local calendar month [MAD/kW].
    months : tuple of (start_s, end_s, share)
        The billing months that the window touches, in simulation time [s], and the share of each month
        that the window covers: the charge is pro-rated by it. See `billing_months`.
    battery_mad_per_kwh : float
        Price of replacing the battery [MAD/kWh of capacity].
    battery_life_cycles : float
        Cycles of its usable window after which it is replaced.
    battery_life_years : float
        Years after which it is replaced however little it was used.
    """

    demand_mad_per_kw_month: float = 0.0
    months: tuple[tuple[float, float, float], ...] = ()
    battery_mad_per_kwh: float = 0.0
    battery_life_cycles: float = math.inf
    battery_life_years: float = math.inf


def billing_months(start: datetime, end_s: float, tz: str) -> tuple[tuple[float, float, float], ...]:
    """The local calendar months that a window touches: start [s], end [s], and the share that it covers.

    Parameters
    ----------
    start : datetime
        When the experiment begins, with a time zone.
    end_s : float
        End of the window, in seconds from `start`.
    tz : str
        Time zone of the bill.
    """
    zone = zone_of(tz)
    local = start.astimezone(zone)
    begin = datetime(local.year, local.month, 1, tzinfo=zone)
    months = []
    while True:
        following = (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
        t0, t1 = (moment.timestamp() - start.timestamp() for moment in (begin, following))
        covered = min(t1, end_s) - max(t0, 0.0)
        if covered > 0:
            months.append((max(t0, 0.0), min(t1, end_s), covered / (t1 - t0)))
        if t1 >= end_s:
            return tuple(months)
        begin = following
