"""One site of an experiment as the simulator takes it: kW, kWh, g/kWh and MAD/kWh become W, J, g/J and MAD/J."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from experiments.costs import SiteCosts, billing_months
from simulator.scenario import Battery, Grid, NodeType, Site
from simulator.strategies import Carbon, PeakShaving, Strategy, Tariff
from sites.equipment import BatteryModel, NodeModel
from sites.profile import StepProfile
from sites.site import SiteModel
from sites.supply import SiteSupply

KW_W = 1000.0
KWH_J = 3.6e6
MINUTE_S = 60.0
DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S


def online_s(site: SiteModel, start: datetime) -> float:
    """When a site comes online [s from the start]."""
    return max(0.0, (site.online - start).total_seconds()) if site.online is not None else 0.0


def site_of(
    site: SiteModel,
    given: SiteSupply,
    start: datetime,
    end_s: float,
    caps: Sequence[tuple[float, float]],
    service_w: NDArray[np.float64] | None = None,
) -> Site:
    """The simulator's site.

    Parameters
    ----------
    site : SiteModel
    given : SiteSupply
    start : datetime
    end_s : float
        End of the accounting window [s].
    caps : sequence of (share of power, share of speed)
        Of its GPUs under a power cap.
    service_w : array, optional
        What a service for citizens draws here beside all else, per supply step [W].
    """
    grid = Grid(
        price=_scaled(given.price_mad_per_kwh, 1.0 / KWH_J),
        carbon=_scaled(given.carbon_g_per_kwh, 1.0 / KWH_J),
        export_price=_scaled(given.export_price_mad_per_kwh, 1.0 / KWH_J),
        import_limit_w=_limit_w(site.grid.import_limit_kw),
        export_limit_w=_limit_w(site.grid.export_limit_kw),
        export_cap_share=site.grid.export_cap_share,
        outages=given.outages,
    )
    return Site(
        name=site.name,
        region=site.region,
        node=_node(site.node, caps),
        nodes=site.cluster.nodes,
        pv=given.pv_w,
        overhead=given.overhead,
        other=_with_service(given.other_w, service_w),
        grid=grid,
        battery=_battery(site.battery, site.battery_kwh),
        fixed_w=site.fixed_kw * KW_W,
        country=site.country,
        is_root=site.is_root,
        islandable=site.is_islandable,
        online_s=online_s(site, start),
        temp_air=given.temp_air_c,
        midnights_s=midnights_s(start, end_s, site.tz),
    )


def _scaled(profile: StepProfile, factor: float) -> StepProfile:
    return StepProfile(np.asarray(profile.values * factor), profile.step_s, profile.start_s)


def _with_service(other: StepProfile, service_w: NDArray[np.float64] | None) -> StepProfile:
    if service_w is None:
        return other
    return StepProfile(other.values + service_w[: len(other.values)], other.step_s, other.start_s)


def _limit_w(limit_kw: float | None) -> float:
    return math.inf if limit_kw is None else limit_kw * KW_W


def _node(node: NodeModel, caps: Sequence[tuple[float, float]]) -> NodeType:
    never = not node.can_sleep or node.sleep_after_min is None
    return NodeType(
        name=node.title,
        gpus=node.gpus,
        idle_w=node.idle_kw * KW_W,
        loaded_w=node.loaded_kw * KW_W,
        sleep_w=node.sleep_kw * KW_W,
        wake_s=node.wake_s,
        sleep_after_s=math.inf if never else (node.sleep_after_min or 0.0) * MINUTE_S,
        speed=node.speed,
        caps=tuple((float(power), float(speed)) for power, speed in caps),
    )


def _battery(model: BatteryModel | None, kwh: float) -> Battery | None:
    if model is None or kwh <= 0:
        return None
    charge = model.c_rate * kwh if model.charge_kw is None else model.charge_kw
    discharge = model.c_rate * kwh if model.discharge_kw is None else model.discharge_kw
    return Battery(
        capacity_j=kwh * KWH_J,
        charge_w=charge * KW_W,
        discharge_w=discharge * KW_W,
        eta_charge=model.eta_charge,
        eta_discharge=model.eta_discharge,
        # exp(-k day) is what is left of the stored energy after a day
        self_discharge_per_s=-math.log1p(-model.self_discharge_per_day) / DAY_S,
        soc_min=model.soc_min,
        soc_max=model.soc_max,
        soc_start=model.soc_min if model.soc_start is None else model.soc_start,
        taper_soc=model.taper_soc,
        strategy=_strategy(model),
        fade_per_cycle=model.fade_per_cycle,
        fade_per_s=model.fade_per_year / YEAR_S,
        fade_doubling_c=model.fade_doubling_c,
    )


def _strategy(model: BatteryModel) -> Strategy | None:
    match model.strategy:
        case "self-consumption":
            return None
        case "peak-shaving":
            return PeakShaving((model.peak_kw or 0.0) * KW_W)
        case "tariff":
            below, above = model.charge_below_mad_per_kwh, model.discharge_above_mad_per_kwh
            return Tariff(_per_joule(below), _per_joule(above))
        case "carbon":
            return Carbon(_per_joule(model.charge_below_g_per_kwh), _per_joule(model.discharge_above_g_per_kwh))


def _per_joule(per_kwh: float | None) -> float | None:
    return None if per_kwh is None else per_kwh / KWH_J


def midnights_s(start: datetime, end_s: float, tz: str) -> tuple[float, ...]:
    """Every local midnight inside a window, in seconds from its start."""
    zone = ZoneInfo(tz)
    day = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    found: list[float] = []
    while True:
        day += timedelta(days=1)
        at = day.replace(tzinfo=zone).timestamp() - start.timestamp()
        if at >= end_s:
            return tuple(found)
        if at > 0:
            found.append(at)


def costs_of(site: SiteModel, start: datetime, end_s: float) -> SiteCosts:
    """What a site pays beside its energy: demand charge and battery wear."""
    battery = site.battery
    return SiteCosts(
        demand_mad_per_kw_month=site.demand_mad_per_kw_month,
        months=billing_months(start, end_s, site.tz),
        battery_mad_per_kwh=battery.replacement_mad_per_kwh if battery else 0.0,
        battery_life_cycles=_life(1.0 - battery.end_of_life, battery.fade_per_cycle) if battery else math.inf,
        battery_life_years=_life(1.0 - battery.end_of_life, battery.fade_per_year) if battery else math.inf,
    )


def _life(fade: float, fade_per_use: float) -> float:
    return fade / fade_per_use if fade_per_use > 0 else math.inf
