"""Money beyond the energy charge: what a peak costs, and what a battery loses by use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from simulator.record import SiteEnergy
from simulator.scenario import Battery

DAY_S = 86_400.0
QUARTER_S = 900.0
KWH_J = 3.6e6


@dataclass(frozen=True)
class SiteCosts:
    """What a site pays beside its energy.

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
    zone = ZoneInfo(tz)
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


def demand_charge_mad(energy: SiteEnergy, costs: SiteCosts) -> float:
    """Demand charge of one site: its largest 15-minute mean in each month, at the rate, pro-rated [MAD]."""
    if costs.demand_mad_per_kw_month <= 0:
        return 0.0
    power = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
    total = 0.0
    for t0, t1, share in costs.months:
        edges = np.append(np.arange(t0, t1, QUARTER_S), t1)
        peak_kw = float(np.max(energy.binned_j(power, edges) / np.diff(edges))) / 1000.0
        total += peak_kw * costs.demand_mad_per_kw_month * share
    return total


def battery_wear_mad(energy: SiteEnergy, battery: Battery | None, costs: SiteCosts) -> float:
    """Replacement cost times the share of the battery's life that was used: by cycles or by age [MAD].

    Whichever of the two ends the life first counts; they are not added.
    """
    if battery is None or battery.capacity_j <= 0:
        return 0.0
    usable = (battery.soc_max - battery.soc_min) * battery.capacity_j
    cycles = energy.flow_j("discharge") / battery.eta_discharge / usable
    years = float(energy.edges_s[-1]) / (365.25 * DAY_S)
    used = max(cycles / costs.battery_life_cycles, years / costs.battery_life_years)
    return used * costs.battery_mad_per_kwh * battery.capacity_j / KWH_J
