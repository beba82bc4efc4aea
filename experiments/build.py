"""A resolved experiment in; h, kW and kWh become seconds, watts and joules here.

The jobs come first, since the accounting window follows from them; then the supply for that window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from experiments.config import Experiment
from experiments.config_load import Loaded
from experiments.costs import SiteCosts, billing_months
from experiments.errors import InputError, Problem
from simulator.engine import Settings
from simulator.forecast import ForecastSettings
from simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from sites.equipment import BatteryModel, NodeModel
from sites.profile import StepProfile
from sites.site import SiteModel
from sites.supply import SiteSupply, supply
from workloads.job import Job, accounting_end_s
from workloads.workload import Place
from workloads.workload import build as build_jobs

KW_W = 1000.0
KWH_J = 3.6e6
MINUTE_S = 60.0
DAY_S = 86_400.0
WINDOW_LIMIT_DAYS = 40_000


@dataclass(frozen=True)
class Inputs:
    """All that the runs of one cell share."""

    experiment: Experiment
    scenario: Scenario
    jobs: tuple[Job, ...]
    settings: Settings
    costs: Mapping[str, SiteCosts]
    temp_air_c: Mapping[str, StepProfile]
    notes: Mapping[str, Any]
    tz: str


def build(loaded: Loaded, seed: int) -> Inputs:
    """Jobs, accounting window and supply of one cell.

    Raises
    ------
    SiteError, WorkloadError, InputError
        If a file that the experiment names cannot be used, or its parts do not fit together.
    """
    experiment, sites = loaded.experiment, list(loaded.sites.values())
    start = experiment.start
    places = [_place(site, start) for site in sites]
    try:
        demand = build_jobs(experiment.workload, places, start, experiment.days, seed, loaded.folder)
    except MemoryError:
        raise InputError(Problem(loaded.file, "workload", "makes more jobs than there is memory for")) from None
    speed = sum(site.gpus * site.node.speed for site in sites)
    if speed <= 0:
        raise InputError(Problem(loaded.file, "sites", "no site has a node, so no job can run"))
    end_s = _window_s(experiment, demand.jobs, speed)
    if end_s > WINDOW_LIMIT_DAYS * DAY_S:
        message = f"the jobs need an accounting window of {end_s / DAY_S:.0f} days on these sites"
        raise InputError(Problem(loaded.file, "workload", f"{message}; at most {WINDOW_LIMIT_DAYS} are allowed"))
    given = supply(sites, start, round(end_s / DAY_S), experiment.step_s, seed)
    scenario = Scenario(
        sites=tuple(_site(site, given[site.name], start) for site in sites),
        end_s=end_s,
        step_s=experiment.step_s,
        country=_country(sites),
        coordination=experiment.coordination,
        hold_min_s=experiment.engine.hold_min * MINUTE_S,
    )
    return Inputs(
        experiment=experiment,
        scenario=scenario,
        jobs=demand.jobs,
        settings=_settings(experiment),
        costs={site.name: _costs(site, start, end_s) for site in sites},
        temp_air_c={site.name: given[site.name].temp_air_c for site in sites},
        notes=demand.notes,
        tz=sites[0].tz,
    )


def _window_s(experiment: Experiment, jobs: tuple[Job, ...], gpu_speed: float) -> float:
    if experiment.drain_days is not None:
        return (experiment.days + experiment.drain_days) * DAY_S
    return max(accounting_end_s(jobs, gpu_speed), experiment.days * DAY_S)


def _settings(experiment: Experiment) -> Settings:
    forecast = experiment.forecast
    return Settings(
        remainder=experiment.engine.remainder,
        overrun=experiment.engine.overrun,
        events=experiment.output.events,
        forecast=ForecastSettings(
            sun=forecast.sun,
            error=forecast.error,
            autocorrelation=forecast.autocorrelation,
            horizon_h=forecast.horizon_h,
            issue_h=forecast.issue_h,
        ),
    )


def _country(sites: list[SiteModel]) -> str:
    """The country of the root hub; where there is none, that of the first site."""
    return next((site.country for site in sites if site.is_root), sites[0].country)


def _online_s(site: SiteModel, start: datetime) -> float:
    return max(0.0, (site.online - start).total_seconds()) if site.online is not None else 0.0


def _place(site: SiteModel, start: datetime) -> Place:
    return Place(site.name, site.region, site.population, site.gpus, site.country, _online_s(site, start))


def _site(site: SiteModel, given: SiteSupply, start: datetime) -> Site:
    grid = Grid(
        price=_scaled(given.price_mad_per_kwh, 1.0 / KWH_J),
        carbon=_scaled(given.carbon_g_per_kwh, 1.0 / KWH_J),
        export_price=_scaled(given.export_price_mad_per_kwh, 1.0 / KWH_J),
        import_limit_w=_limit_w(site.grid.import_limit_kw),
        export_limit_w=_limit_w(site.grid.export_limit_kw),
        outages=given.outages,
    )
    return Site(
        name=site.name,
        region=site.region,
        node=_node(site.node),
        nodes=site.cluster.nodes,
        pv=given.pv_w,
        overhead=given.overhead,
        other=given.other_w,
        grid=grid,
        battery=_battery(site.battery, site.battery_kwh),
        fixed_w=site.fixed_kw * KW_W,
        country=site.country,
        is_root=site.is_root,
        islandable=site.is_islandable,
        online_s=_online_s(site, start),
    )


def _scaled(profile: StepProfile, factor: float) -> StepProfile:
    return StepProfile(np.asarray(profile.values * factor), profile.step_s, profile.start_s)


def _limit_w(limit_kw: float | None) -> float:
    return math.inf if limit_kw is None else limit_kw * KW_W


def _node(node: NodeModel) -> NodeType:
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
    )


def _costs(site: SiteModel, start: datetime, end_s: float) -> SiteCosts:
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
