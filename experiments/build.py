"""A resolved experiment in; h, kW and kWh become seconds, watts and joules here.

The jobs come first, since the accounting window follows from them; then the supply for that window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.build_sites import DAY_S, KWH_J, MINUTE_S, costs_of, online_s, site_of
from experiments.config import Experiment, FaultsTable, NetworkTable, QuotaTable
from experiments.config_load import Loaded
from experiments.costs import SiteCosts
from experiments.errors import InputError, Problem
from simulator.engine import Settings
from simulator.faults import PRESETS, FaultSettings
from simulator.forecast import ForecastSettings
from simulator.scenario import Link, Quota, Scenario
from sites.describe import weather_report
from sites.profile import StepProfile
from sites.site import SiteModel
from sites.supply import supply
from workloads.job import Job, accounting_end_s
from workloads.service import service_from, service_load
from workloads.workload import Place
from workloads.workload import build as build_jobs

HOUR_S = 3600.0
BITS = 8.0  # of a byte: Gbit/s to GB/s
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
    weather_notes: Mapping[str, list[str]]


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
    service = _service(experiment, places, end_s)
    caps = experiment.engine.power_caps
    scenario = Scenario(
        sites=tuple(site_of(s, given[s.name], start, end_s, caps, service.get(s.name)) for s in sites),
        end_s=end_s,
        step_s=experiment.step_s,
        country=_country(sites),
        coordination=experiment.coordination,
        hold_min_s=experiment.engine.hold_min * MINUTE_S,
        links=_links(experiment.network, sites),
        network_j_per_gb=experiment.network.kwh_per_gb * KWH_J,
        information_age_s=experiment.engine.information_age_min * MINUTE_S,
        quotas={region: _quota(table) for region, table in experiment.quotas.items()},
    )
    return Inputs(
        experiment=experiment,
        scenario=scenario,
        jobs=demand.jobs,
        settings=_settings(experiment),
        costs={site.name: costs_of(site, start, end_s) for site in sites},
        temp_air_c={site.name: given[site.name].temp_air_c for site in sites},
        notes=demand.notes,
        tz=sites[0].tz,
        weather_notes={site.name: found for site in sites if (found := weather_report(site))},
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
        faults=_faults(experiment.faults),
        forecast=ForecastSettings(
            sun=forecast.sun,
            load=forecast.load,
            carbon=forecast.carbon,
            price=forecast.price,
            error=forecast.error,
            autocorrelation=forecast.autocorrelation,
            horizon_h=forecast.horizon_h,
            issue_h=forecast.issue_h,
        ),
    )


def _country(sites: list[SiteModel]) -> str:
    """The country of the root hub; where there is none, that of the first site."""
    return next((site.country for site in sites if site.is_root), sites[0].country)


def _place(site: SiteModel, start: datetime) -> Place:
    return Place(
        site.name, site.region, site.population, site.gpus, site.country, online_s(site, start), site.node.speed
    )


def _links(network: NetworkTable, sites: list[SiteModel]) -> tuple[Link, ...]:
    """The lines of the star around the root hub, and the others."""
    root = next((site.name for site in sites if site.is_root), "")
    star = network.star_gbit_s if root else None
    links = [Link(root, site.name, star / BITS) for site in sites if star and site.name != root]
    return (*links, *(Link(link.a, link.b, link.gbit_s / BITS) for link in network.links))


def _quota(table: QuotaTable) -> Quota:
    total = math.inf if table.gpus is None else float(table.gpus)
    return Quota(total, math.inf if table.gpus_outside is None else float(table.gpus_outside))


def _faults(table: FaultsTable) -> FaultSettings:
    """The rates of a preset, with what the experiment changes on them."""
    settings = PRESETS[table.preset]
    if table.node_mtbf_days is not None:
        settings = replace(settings, node_mtbf_s=table.node_mtbf_days * DAY_S)
    if table.repair_h is not None:
        settings = replace(settings, repair_s=table.repair_h * HOUR_S)
    if table.hazard_per_day is not None:
        settings = replace(settings, hazard_per_s=table.hazard_per_day / DAY_S)
    return replace(settings, retries=table.retries)


def _service(experiment: Experiment, places: list[Place], end_s: float) -> dict[str, NDArray[np.float64]]:
    """What the service for citizens draws at each site, per supply step [W]; nothing where there is none."""
    if experiment.service is None:
        return {}
    model = service_from(experiment.service)
    return service_load(model, places, experiment.start, end_s / DAY_S, experiment.step_s)
