"""A resolved experiment in; h, kW and kWh become seconds, watts and joules here.

The jobs come first, since the accounting window follows from them; then the supply for that window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.config.load import Loaded, too_many_steps
from tafukt.experiments.config.rounding import STEPS, rounded, rounded_jobs, rounded_supplies
from tafukt.experiments.config.schema import EngineTable, Experiment, FaultsTable, NetworkTable, QuotaTable
from tafukt.experiments.errors import InputError, Problem, listed, nearest, shown
from tafukt.experiments.results.costs import SiteCosts, billing_months
from tafukt.experiments.results.meter import Meter
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FAULT_PRESETS, FaultSettings
from tafukt.simulator.scenario import (
    Battery,
    Carbon,
    Grid,
    GridEvent,
    Link,
    NodeType,
    PeakShaving,
    Quota,
    Scenario,
    Site,
    Strategy,
    Tariff,
)
from tafukt.simulator.units import DAY_S, HOUR_S, KW_W, KWH_J, MINUTE_S, YEAR_S, on_grid
from tafukt.sites.grid_events import PlannedEvent
from tafukt.sites.profile import StepProfile
from tafukt.sites.schema.equipment import BatteryModel, NodeModel
from tafukt.sites.schema.grid import PAID_EXPORT_SHARE
from tafukt.sites.site import SiteModel, node_types
from tafukt.sites.supply import SiteSupply, supplies
from tafukt.sites.time_grid import zone_of
from tafukt.workloads.build import build as build_jobs
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import accounting_end_s, numbers_of, values_of
from tafukt.workloads.schema import Place, WorkloadModel

BITS = 8.0  # of a byte: Gbit/s to GB/s
WINDOW_LIMIT_DAYS = 40_000


@dataclass(frozen=True)
class Inputs:
    """All that the runs of one cell share."""

    experiment: Experiment
    scenario: Scenario
    jobs: Sequence[Job]
    settings: Settings
    costs: Mapping[str, SiteCosts]
    temp_air_c: Mapping[str, StepProfile]
    notes: Mapping[str, Any]
    tz: str
    weather_notes: Mapping[str, list[str]]
    meters: Mapping[str, Meter]


def build(loaded: Loaded, seed: int) -> Inputs:
    """Jobs, accounting window and supply of one cell.

    Raises
    ------
    SiteError, WorkloadError, InputError
        If a file that the experiment names cannot be used, or its parts do not fit together.
    """
    try:
        return _built(loaded, seed)
    except MemoryError:
        message = "jobs and supply of this experiment need more memory than there is"
        raise InputError(Problem(loaded.file, "days", message)) from None


def _built(loaded: Loaded, seed: int) -> Inputs:
    experiment, sites = loaded.experiment, list(loaded.sites.values())
    start = experiment.start
    places = _places(sites, start)
    workload = _recorded(_with_its_file(experiment.workload), sites, loaded.file)
    demand = build_jobs(workload, places, start, experiment.days, seed, loaded.folder)
    jobs = rounded_jobs(demand.jobs)
    speed = sum(site.gpus * site.node.speed for site in sites)
    if speed <= 0 and jobs:
        raise InputError(Problem(loaded.file, "sites", "no site has any nodes, so no job can run"))
    end_s = _window_s(experiment, jobs, speed)
    if end_s > WINDOW_LIMIT_DAYS * DAY_S:
        message = f"the jobs need an accounting window of {end_s / DAY_S:.0f} days on these sites"
        raise InputError(Problem(loaded.file, "workload", f"{message}; at most {WINDOW_LIMIT_DAYS} are allowed"))
    if problem := too_many_steps(loaded, end_s / DAY_S):
        raise InputError(problem)
    supplied = _supplied(experiment, sites, places, end_s, seed)
    scenario = Scenario(
        sites=tuple(supplied.sites),
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
        jobs=jobs,
        settings=_settings(experiment, jobs, scenario.sites),
        costs={site.name: costs_of(site, start, end_s) for site in sites},
        temp_air_c=supplied.temp_air_c,
        notes=demand.notes | {"told": list(demand.told)},
        tz=sites[0].tz,
        weather_notes=supplied.notes,
        meters=supplied.meters,
    )


@dataclass(frozen=True)
class _Supplied:
    """The sites of a scenario, and what their supply tells beside them, by site.

    Readings of meters are for results alone, so that no policy sees any of them.
    """

    sites: list[Site] = field(default_factory=list)
    temp_air_c: dict[str, StepProfile] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)


def _supplied(
    experiment: Experiment, sites: Sequence[SiteModel], places: list[Place], end_s: float, seed: int
) -> _Supplied:
    """The supply of the sites, taken one after another, so that only what a run needs of it is held."""
    start, service, made, all_of = experiment.start, _service(experiment, places, end_s), SharedProfiles(), _Supplied()
    given = supplies(sites, start, end_s / DAY_S, experiment.step_s, seed)
    for site, (name, found) in zip(sites, rounded_supplies(given), strict=True):
        all_of.sites.append(site_of(site, found, start, end_s, experiment.engine, service.get(name), made))
        all_of.temp_air_c[name] = found.temp_air_c
        if found.notes:
            all_of.notes[name] = list(found.notes)
        if site.meter is not None and found.meter_kw is not None:
            all_of.meters[name] = Meter(site.meter.of, found.meter_kw)
        del found  # before the next one is made
    return all_of


def _with_its_file(workload: WorkloadModel) -> WorkloadModel:
    if workload.kind != "trace" or not workload.trace:
        return workload
    from tafukt.experiments.config.traces import with_its_file

    return with_its_file(workload)


def _recorded(workload: WorkloadModel, sites: list[SiteModel], file: str) -> WorkloadModel:
    """The workload with the speed of the nodes that its log was recorded on, in place of their name.

    Raises
    ------
    InputError
        If there is no such node, or nodes here have another speed than an A100 and the log does not say what it ran on.
    """
    if workload.kind != "trace" or isinstance(workload.recorded_on, float):
        return workload
    key, known = "workload.recorded_on", node_types()
    if workload.recorded_on is not None:
        if workload.recorded_on not in known:
            message = f"no node {shown(workload.recorded_on)} in the catalogue; known: {listed(known)}; or a speed"
            raise InputError(Problem(file, key, message, nearest(workload.recorded_on, known)))
        return workload.model_copy(update={"recorded_on": known[workload.recorded_on].speed})
    other = next((site for site in sites if site.gpus and site.node.speed != 1.0), None)
    if other is not None:
        message = (
            f"is needed: a GPU of {other.name} does {other.node.speed:g} times the work of an A100, and without this "
            f"the log's runtimes would be taken as those of an A100; say the node that it was recorded on "
            f"({listed(known)}), or its speed"
        )
        raise InputError(Problem(file, key, message))
    return workload


def _window_s(experiment: Experiment, jobs: Sequence[Job], gpu_speed: float) -> float:
    if experiment.drain_days is not None:
        return (experiment.days + experiment.drain_days) * DAY_S
    return max(accounting_end_s(jobs, gpu_speed) if jobs else 0.0, experiment.days * DAY_S)


def _class_means_s(
    given: Literal["learned", "workload"] | dict[str, float], jobs: Sequence[Job]
) -> tuple[tuple[str, float], ...]:
    """Mean runtime of each class of jobs, as far as it is to be known beforehand [s]."""
    if isinstance(given, dict):
        return tuple((name, hours * HOUR_S) for name, hours in sorted(given.items()))
    runtimes: dict[str, list[float]] = {}
    if given == "workload":
        for name, runtime_s in zip(values_of(jobs, "job_class"), numbers_of(jobs, "runtime_s").tolist(), strict=True):
            runtimes.setdefault(name, []).append(runtime_s)
    return tuple((name, math.fsum(times) / len(times)) for name, times in sorted(runtimes.items()))


def _slot_s(experiment: Experiment, sites: Sequence[Site]) -> float:
    """The slot in which policies that plan ahead do so [s].

    Steps of less than a quarter of an hour are taken together as far as price and carbon are the same in them: the sun
    of five minutes saves nothing more (tried on the bundled week), and a slot for each costs five times the time.
    """
    given = experiment.forecast.slot_min
    if given != "auto":
        return given * MINUTE_S
    if experiment.step_min >= FINE_MIN:
        return min(experiment.step_min, 60) * MINUTE_S
    signals = [signal for site in sites for signal in (site.grid.price, site.grid.carbon)]
    slots = [minutes for minutes in (60, 30, 20, 15) if minutes % experiment.step_min == 0]
    return next((m * MINUTE_S for m in slots if all(_steady(signal, m) for signal in signals)), experiment.step_s)


def _steady(signal: StepProfile, minutes: int) -> bool:
    """Whether a signal never changes but at whole slots of so many minutes."""
    changes = np.flatnonzero(np.diff(signal.values)) + 1
    return not np.any((signal.start_s + changes * signal.step_s) % (minutes * MINUTE_S))


# Steps shorter than this are looked at, whether a policy has to plan in them [min].
FINE_MIN = 15


def _settings(experiment: Experiment, jobs: Sequence[Job], sites: Sequence[Site]) -> Settings:
    forecast = experiment.forecast
    return Settings(
        remainder=experiment.engine.remainder,
        overrun=experiment.engine.overrun,
        respond=experiment.engine.respond,
        at_limit=experiment.engine.at_limit,
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
            slot_s=_slot_s(experiment, sites),
            class_mean_s=_class_means_s(forecast.class_mean_h, jobs),
        ),
    )


def _country(sites: list[SiteModel]) -> str:
    """The country of the root hub; where there is none, that of the first site."""
    return next((site.country for site in sites if site.is_root), sites[0].country)


def _places(sites: list[SiteModel], start: datetime) -> list[Place]:
    """Places of submission; all of a lone site's demand is its own, whatever lives there."""
    places = [_place(site, start) for site in sites]
    return [replace(places[0], population=1.0)] if len(places) == 1 and not places[0].population else places


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
    settings = FAULT_PRESETS[table.preset]
    if table.node_mtbf_days is not None:
        settings = replace(settings, node_mtbf_s=table.node_mtbf_days * DAY_S)
    if table.repair_h is not None:
        settings = replace(settings, repair_s=table.repair_h * HOUR_S)
    if table.hazard_per_day is not None:
        settings = replace(settings, hazard_per_s=table.hazard_per_day / DAY_S)
    return replace(settings, retries=table.retries)


def _service(experiment: Experiment, places: list[Place], end_s: float) -> dict[str, NDArray[np.float64]]:
    """Power of the service for citizens at each site, per supply step [W]; empty without one."""
    if experiment.service is None:
        return {}
    from tafukt.workloads.service import service_from, service_load

    model = service_from(experiment.service)
    return service_load(model, places, experiment.start, end_s / DAY_S, experiment.step_s)


# --- One site of an experiment as the simulator takes it: kW, kWh, g/kWh and MAD/kWh become W, J, g/J and MAD/J


def online_s(site: SiteModel, start: datetime) -> float:
    """Time at which a site comes online [s from the start]."""
    return max(0.0, (site.online - start).total_seconds()) if site.online is not None else 0.0


def site_of(
    site: SiteModel,
    given: SiteSupply,
    start: datetime,
    end_s: float,
    engine: EngineTable,
    service_w: NDArray[np.float64] | None = None,
    made: SharedProfiles | None = None,
) -> Site:
    """The simulator's site.

    Parameters
    ----------
    site : SiteModel
    given : SiteSupply
    start : datetime
    end_s : float
        End of the accounting window [s].
    engine : EngineTable
        Says how fast its GPUs are under a power cap.
    service_w : array, optional
        What a service for citizens draws here beside all else, per supply step [W].
    made : SharedProfiles, optional
        What the sites before it share with it.
    """
    made = SharedProfiles() if made is None else made
    grid = Grid(
        price=made.per_joule(given.price_mad_per_kwh),
        carbon=made.per_joule(given.carbon_g_per_kwh),
        export_price=made.per_joule(given.export_price_mad_per_kwh),
        import_limit_w=_import_limit_w(site, given),
        export_limit_w=_limit_w(site.grid.export_limit_kw),
        export_cap_share=_paid_export_share(site, end_s),
        outages=given.outages,
        events=tuple(_event(event) for event in given.events),
        ramp_up_w=_ramp_w(site, "up"),
        ramp_down_w=_ramp_w(site, "down"),
    )
    return Site(
        name=site.name,
        region=site.region,
        node=_node(site.node, engine),
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
        nodes_online=tuple((on_grid(at_s), count) for at_s, count in given.nodes_online),
        temp_air=given.temp_air_c,
        midnights_s=made.midnights_s(start, end_s, site.tz),
    )


def _event(event: PlannedEvent) -> GridEvent:
    """A request of the grid in the simulator's terms."""
    terms = event.terms
    return GridEvent(
        start_s=event.start_s,
        end_s=event.end_s,
        notice_s=event.notice_s,
        ramp_down_s=terms.ramp_down_min * MINUTE_S,
        ramp_up_s=terms.ramp_up_min * MINUTE_S,
        to_w=None if event.to_kw is None else event.to_kw * KW_W,
        cut=event.cut or 0.0,
        baseline=terms.baseline,
        pay_per_j=terms.pay_mad_per_kwh / KWH_J,
        penalty_per_j=terms.penalty_mad_per_kwh / KWH_J,
        shared=terms.shared,
    )


def _paid_export_share(site: SiteModel, end_s: float) -> float:
    """The share of generation whose export is paid: the law's is of a year, so a shorter run has no cap of its own."""
    if site.grid.export_cap_share is not None:
        return site.grid.export_cap_share
    return PAID_EXPORT_SHARE if end_s >= 365.0 * DAY_S else 1.0


class SharedProfiles:
    """Profiles and midnights that several sites of a scenario have in common: made once, held once."""

    def __init__(self) -> None:
        self._profiles: dict[int, tuple[StepProfile, StepProfile]] = {}
        self._midnights: dict[tuple[datetime, float, str], tuple[float, ...]] = {}

    def per_joule(self, per_kwh: StepProfile) -> StepProfile:
        """A profile of something a kWh, as that of a joule."""
        if id(per_kwh) not in self._profiles:  # the profile itself is kept beside it, or its id could come again
            self._profiles[id(per_kwh)] = per_kwh, _scaled(per_kwh, 1.0 / KWH_J)
        return self._profiles[id(per_kwh)][1]

    def midnights_s(self, start: datetime, end_s: float, tz: str) -> tuple[float, ...]:
        """`midnights_s`, worked out once for a time zone."""
        key = (start, end_s, tz)
        if key not in self._midnights:
            self._midnights[key] = midnights_s(start, end_s, tz)
        return self._midnights[key]


def _scaled(profile: StepProfile, factor: float) -> StepProfile:
    return StepProfile(np.asarray(profile.values * factor), profile.step_s, profile.start_s)


def _with_service(other: StepProfile, service_w: NDArray[np.float64] | None) -> StepProfile:
    if service_w is None:
        return other
    total = StepProfile(other.values + service_w[: len(other.values)], other.step_s, other.start_s)
    return rounded(total, STEPS["other_w"])


def _limit_w(limit_kw: float | None) -> float:
    return math.inf if limit_kw is None else limit_kw * KW_W


def _import_limit_w(site: SiteModel, given: SiteSupply) -> float | StepProfile:
    limit_kw = site.grid.import_limit_kw
    if given.import_limit_kw is not None:
        return rounded(_scaled(given.import_limit_kw, KW_W), STEPS["pv_w"])
    return _limit_w(limit_kw if isinstance(limit_kw, float) else None)


def _ramp_w(site: SiteModel, way: Literal["up", "down"]) -> float:
    """Ramp limit of the import upwards or downwards, from minute to minute [W]."""
    limit = site.grid.ramp_limit_kw_per_min
    return _limit_w(limit if limit is None or isinstance(limit, float) else getattr(limit, way))


def _node(node: NodeModel, engine: EngineTable) -> NodeType:
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
        caps=engine.caps,
        other_caps=engine.other_caps,
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
    zone = zone_of(tz)
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
    """A site's costs beside its energy: demand charge and battery wear."""
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
