"""Small scenarios and jobs for the tests of the job half; every number an exact multiple of the time grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tafukt.simulator.engine.engine import Engine
from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, Tenant, Truth

STEP_S = 3600.0
Given = float | Sequence[float] | NDArray[np.float64] | StepProfile
GRID_KEYS = {field.name for field in fields(Grid)}
AWAKE = NodeType("plain", 8, 1000.0, 5000.0, 100.0)
SLEEPY = NodeType("sleepy", 8, 1000.0, 5000.0, 100.0, wake_s=180.0, sleep_after_s=600.0)


def flat(value: float, end_s: float) -> StepProfile:
    return StepProfile.constant(value, end_s, STEP_S)


def profile(given: Given, end_s: float = 0.0, step_s: float = STEP_S) -> StepProfile:
    """A value for each step, the last one to the end where that is later."""
    if isinstance(given, StepProfile):
        return given
    values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    return StepProfile(np.pad(values, (0, max(round(end_s / step_s) - len(values), 0)), mode="edge"), step_s)


def site(
    name: str = "s0",
    nodes: int = 1,
    node: NodeType = AWAKE,
    end_s: float = 86_400.0,
    *,
    step_s: float = STEP_S,
    pv: Given = 0.0,
    overhead: Given = 0.0,
    load: Given = 0.0,
    price: Given = 0.0,
    carbon: Given = 0.0,
    export_price: Given = 0.0,
    **other: Any,
) -> Site:
    """A site on the grid alone, without sun, battery and overhead, unless said otherwise [W, 1, MAD/J, g/J].

    What else is given goes to its connection to the grid where that has such a key, else to the site; a list of import
    limits holds for a step each.
    """
    limit = other.get("import_limit_w")
    if isinstance(limit, list):
        other["import_limit_w"] = profile(limit, end_s, step_s)
    of_grid = {key: other.pop(key) for key in GRID_KEYS & other.keys()}
    plain = Grid(*(profile(given, end_s, step_s) for given in (price, carbon, export_price)), **of_grid)
    sun, more, rest = (profile(given, end_s, step_s) for given in (pv, overhead, load))
    place, grid = other.pop("region", name.replace("s", "r")), other.pop("grid", plain)
    return Site(name, place, node, nodes, sun, more, rest, grid, **other)


def sun_between(begin_h: int, end_h: int, power_w: float, days: int = 1) -> StepProfile:
    """So much sun from one hour of every day to another [W]."""
    hours = np.arange(24)
    return StepProfile(np.tile(np.where((hours >= begin_h) & (hours < end_h), power_w, 0.0), days), STEP_S)


def scenario(sites: Sequence[Site] | int = 1, end_s: float = 86_400.0, **other: Any) -> Scenario:
    """Sites as given, or so many of one plain node each."""
    if isinstance(sites, int):
        sites = [site(f"s{i}", end_s=end_s) for i in range(sites)]
    return Scenario(tuple(sites), end_s, STEP_S, **other)


def job(name: str, submit_s: float, gpus: int, runtime_s: float, **other: Any) -> Job:
    """A job that does what its user says, unless `estimate_s`, `ending` or `ends_at` say otherwise."""
    home = other.pop("home", "s0")
    truth = Truth(runtime_s * gpus, other.pop("ending", "done"), other.pop("ends_at", 1.0))
    data = other.pop("dataset", Dataset(f"d-{home}", 0.0, home, other.pop("residency", "national")))
    tenant = Tenant(other.pop("region", home.replace("s", "r")))
    ask = Ask(
        name,
        submit_s,
        gpus,
        other.pop("estimate_s", runtime_s),
        other.pop("slack_s", 0.0),
        tenant,
        home,
        data,
        other.pop("checkpoint", Checkpoint()),
        **other,
    )
    return Job(ask, truth)


def fifo(**parts: Any) -> ListScheduler:
    return ListScheduler("test", Parts(**parts))


def run(
    jobs: Sequence[Job],
    where: Scenario | None = None,
    policy: Any = None,
    *,
    seed: int = 1,
    kills: Mapping[str, float] | None = None,
    **settings: Any,
) -> Record:
    """Simulate; each job in `kills` is killed at its time, as an outage would do it."""
    engine = Engine(where or scenario(), jobs, policy or fifo(), seed, Settings(**settings))

    def kill(event: Any) -> None:
        running = {job.ask.job_id: job for job in engine.state.running.values()}
        engine.phases.kill(running[event._value], "test")

    for name, time_s in (kills or {}).items():
        engine.state.clock.at(time_s, Kind.FAULT, 0, kill, name)
    return engine.run()


def starts(record: Record) -> dict[str, float]:
    return {j.ask.job_id: o.start_s for j, o in zip(record.jobs, record.outcomes, strict=True)}


def ends(record: Record) -> dict[str, float]:
    return {j.ask.job_id: o.end_s for j, o in zip(record.jobs, record.outcomes, strict=True)}


def outcome(record: Record, name: str) -> Any:
    return next(o for j, o in zip(record.jobs, record.outcomes, strict=True) if j.ask.job_id == name)


def it_j(record: Record, index: int = 0) -> float:
    """IT energy of a site by its ledger [J]."""
    return record.energy[index].total_j(record.energy[index].it_w)


class Script:
    """A policy that does at given times what it is told: {time: function(view) -> actions}; starts whom it can."""

    def __init__(self, steps: dict[float, Any], start: bool = True) -> None:
        self.name = "script"
        self.steps = steps
        self.start = start

    def begin(self, view: Any) -> None:
        self.left = dict(sorted(self.steps.items()))
        self.asked = False

    def waiting(self, job: Any) -> None: ...

    def freed(self, job: Any, site: int) -> None: ...

    def round(self, view: Any) -> Any:
        from tafukt.simulator.engine.actions import Start, Wake

        if not self.asked:
            self.asked = True
            for time in self.left:
                yield Wake(time)
        for time in [t for t in self.left if t <= view.now_s]:
            yield from self.left.pop(time)(view)
        if self.start:
            for life in list(view.waiting.values()):
                where = view.fitting(life, view.sites_for(life), life.ask.gpus)
                if where:
                    yield Start(life, life.saved_at if life.saved_at in where else where[0])


def lives(view: Any) -> dict[str, Any]:
    """Everybody who waits or runs, by name."""
    return {life.ask.job_id: life for life in (*view.waiting.values(), *view.running.values())}


def random_jobs(rng: np.random.Generator, count: int, gpus: int, exact: bool = True, span_s: int = 4000) -> list[Job]:
    """Jobs with whole seconds; estimates exact, or up to three times the truth."""
    jobs = []
    for index in range(count):
        runtime = float(rng.integers(1, 600))
        estimate = runtime if exact else math.ceil(runtime * rng.uniform(1.0, 3.0))
        size = int(rng.integers(1, gpus + 1))
        submit = float(rng.integers(0, span_s))
        jobs.append(job(f"j{index:03d}", submit, size, runtime, estimate_s=float(estimate)))
    return jobs
