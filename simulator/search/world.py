"""Arrays that the search works on, made from a scenario and its jobs, and the cases for which they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf

import numpy as np

from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.scenario import Battery, Scenario
from tafukt.simulator.search.course import REMOVED, SEGMENTS, SLOTS, Course, Jobs, Segments, Sites, World
from tafukt.simulator.units import KWH_J
from tafukt.workloads.job import Job

MARGIN_MIN = 4.0
"""How long before its deadline a job is planned to end, where its slack allows that [min]."""
NO_BATTERY = Battery(0.0, 0.0, 0.0)


def obstacle(scenario: Scenario, jobs: Sequence[Job], settings: Settings) -> str:
    """Obstacle to a search: what it leaves out of account, and so cannot be trusted with; empty if there is none."""
    sites, faults = scenario.sites, settings.faults
    weak = any(site.grid.outages or site.grid.is_limited for site in sites)
    found = {
        "the institutes decide for themselves": scenario.coordination == "federated",
        "data travel over links": bool(scenario.links),
        "there are quotas": bool(scenario.quotas),
        "the grid is limited or fails": weak,
        "the import may move only so fast": any(site.grid.has_ramp_limit for site in sites),
        "the grid asks for less": any(site.grid.events for site in sites),
        "a battery follows a strategy": any(site.battery and site.battery.strategy for site in sites),
        "a site comes later": any(site.online_s > 0 for site in sites),
        "nodes are withdrawn": any(site.nodes_online for site in sites),
        "things break": faults.node_mtbf_s < inf or faults.hazard_per_s > 0,
        "jobs are killed at their estimate": settings.overrun == "kill",
        "jobs save themselves periodically": any(job.ask.checkpoint.interval_s for job in jobs),
    }
    return next((what for what, holds in found.items() if holds), "")


def world_of(scenario: Scenario, jobs: Sequence[Job], margins_min: Mapping[int, float] | None = None) -> World:
    """The search's arrays, without any plan; `margins_min` are longer margins before some jobs' deadlines [min]."""
    sites, asked = _sites(scenario), _jobs(scenario, jobs, margins_min or {})
    return World(sites, asked, _course(sites), no_segments(len(jobs) + 3 + REMOVED))


def no_segments(rows: int) -> Segments:
    """An empty plan."""
    site, a, b, slot = (np.zeros((rows, SEGMENTS), np.int64) for _ in range(4))
    return Segments(np.zeros(rows, np.int64), site, a, b, slot, np.zeros((rows, SEGMENTS)))


def _sites(scenario: Scenario) -> Sites:
    sites, step_s = scenario.sites, scenario.step_s
    bins = int(scenario.end_s // step_s)
    nodes = [site.node for site in sites]
    batteries = [site.battery if site.battery and site.battery.capacity_j > 0 else NO_BATTERY for site in sites]
    per_it = np.array([1.0 + site.overhead.values[:bins] for site in sites])
    free = np.array([site.pv.values[:bins] - site.other.values[:bins] - site.fixed_w for site in sites])
    empty_w = np.array([site.node.empty_w * site.nodes for site in sites])
    minutes = int(bins * step_s // 60)
    tails = [ceil(node.sleep_after_s / 60) if node.can_sleep else minutes for node in nodes]
    return Sites(
        minutes=minutes,
        bin_min=int(step_s // 60),
        free_kw=(free - empty_w[:, None] * per_it) / 1e3,
        per_it=per_it,
        nodes=np.array([site.nodes for site in sites], np.int64),
        per_node=np.array([node.gpus for node in nodes], np.int64),
        rise_kw=np.array([node.idle_w - node.empty_w for node in nodes]) / 1e3,
        gpu_kw=np.array([node.dynamic_w for node in nodes]) / 1e3,
        speed=np.array([node.speed for node in nodes]),
        wake=np.array([ceil(node.wake_s / 60) if node.can_sleep else 0 for node in nodes], np.int64),
        tail=np.array([min(tail, minutes) for tail in tails], np.int64),
        charge_kw=np.array([battery.charge_w for battery in batteries]) / 1e3,
        discharge_kw=np.array([battery.discharge_w for battery in batteries]) / 1e3,
        eta_charge=np.array([battery.eta_charge for battery in batteries]),
        eta_discharge=np.array([battery.eta_discharge for battery in batteries]),
        low=np.array([battery.soc_min * battery.capacity_j for battery in batteries]) / KWH_J,
        high=np.array([battery.soc_max * battery.capacity_j for battery in batteries]) / KWH_J,
        start=np.array([battery.soc_start * battery.capacity_j for battery in batteries]) / KWH_J,
        band=np.array([battery.taper_soc * battery.capacity_j for battery in batteries]) / KWH_J,
        keep=np.exp([-battery.self_discharge_per_s * step_s for battery in batteries]),
    )


def _jobs(scenario: Scenario, jobs: Sequence[Job], margins_min: Mapping[int, float]) -> Jobs:
    rules, nodes = Eligibility(scenario), [site.node for site in scenario.sites]
    allowed = np.zeros((len(jobs), len(nodes)), np.bool_)
    for row, job in zip(allowed, jobs, strict=True):
        row[[i for i in rules.allowed(job.ask) if job.ask.gpus <= scenario.sites[i].gpus]] = True
    gpus = np.array([job.ask.gpus for job in jobs], np.int64)
    work_min = np.array([job.runtime_s / 60 for job in jobs])
    node = nodes[0]
    kw = gpus * (node.idle_w / node.gpus + np.array([job.ask.intensity for job in jobs]) * node.dynamic_w)
    speed, wake_min = min(node.speed for node in nodes), ceil(max(node.wake_s for node in nodes) / 60)
    whole = max(node.gpus for node in nodes)
    margins = [margins_min.get(i, MARGIN_MIN) for i in range(len(jobs))]
    return Jobs(
        gpus=gpus,
        submit=np.array([ceil(job.ask.submit_s / 60 - 1e-9) for job in jobs], np.int64),
        deadline=np.array(
            [_deadline_min(job, scenario.end_s, speed, wake_min, m) for job, m in zip(jobs, margins, strict=True)],
            np.int64,
        ),
        work=work_min,
        stops=np.array([job.ask.interruptible and job.ask.gpus >= whole for job in jobs], np.bool_),
        restart=np.array([job.ask.checkpoint.restart_s / 60 for job in jobs]),
        write=np.array([job.ask.checkpoint.write_s / 60 for job in jobs]),
        intensity=np.array([job.ask.intensity for job in jobs]),
        sites=allowed,
        weight=np.sqrt(work_min * kw / 1e3) + 2.0,
    )


def _deadline_min(job: Job, end_s: float, speed: float, wake_min: int, margin_min: float) -> int:
    """Until when a job is to be done in the plan [min]: some minutes early, but never before it could be."""
    ask = job.ask
    need = ceil(job.runtime_s / 60 / speed) + wake_min
    possible = ceil(ask.submit_s / 60) + need + min(margin_min, ask.slack_s / 60)
    return int(min(max(min(ask.deadline_s, end_s) / 60 - margin_min, possible), end_s / 60))


def _course(sites: Sites) -> Course:
    number, bins = sites.free_kw.shape
    by_minute, by_bin = (number, sites.minutes), (number, bins)
    return Course(
        busy=np.zeros(by_minute, np.int64),
        awake=np.zeros(by_minute, np.int64),
        held=np.zeros((number, SLOTS, sites.minutes), np.uint8),
        gpus_kw=np.zeros(by_bin),
        load_kw=np.zeros(by_bin),
        stored=np.zeros((number, bins + 1)),
        drawn=np.zeros(by_bin),
        spare_kw=np.zeros(by_bin),
        taken_kw=np.zeros(by_bin),
        worth=np.zeros(by_bin),
        limit=np.zeros(by_bin, np.uint8),
        total=np.zeros(number),
        stale=np.ones(number, np.bool_),
    )
