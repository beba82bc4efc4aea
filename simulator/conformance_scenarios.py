"""Small scenarios for the conformance kit: a few sites, three days, every kind of job and of limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from simulator.engine import Settings
from simulator.forecast import ForecastSettings
from simulator.record import Floats
from simulator.scenario import Battery, Grid, Link, NodeType, Quota, Scenario, Site
from sites.profile import StepProfile
from workloads.job import Ask, Checkpoint, Dataset, Elasticity, Job, Residency, SpeedUp, Tenant, Truth, in_order

HOUR_S = 3600.0
STEP_S = 900.0
DAYS = 4
ARRIVE_H = 40.0  # jobs come for so long; then the queue must drain
NODE = NodeType("node", 4, 400.0, 3000.0, 50.0, wake_s=120.0, sleep_after_s=600.0)
REGIONS = ("north", "south", "abroad")
# Nothing but the past: whoever looks further than these forecasts has looked into the future.
_PAST = ForecastSettings(sun="persistence", load="persistence", carbon="persistence", price="persistence")
HONEST = Settings(forecast=_PAST)


@dataclass(frozen=True)
class Case:
    """A scenario with its jobs, by a name that says what is in it."""

    name: str
    scenario: Scenario
    jobs: tuple[Job, ...]
    settings: Settings = field(default=HONEST)


def cases() -> list[Case]:
    """Everything that a policy is run through."""
    plain = Case("three sites with sun", Scenario(_sites(1), DAYS * 86_400.0, STEP_S), _jobs(1, 60))
    crowded = replace(plain, name="more jobs than room", jobs=_jobs(2, 340, bursts_h=5.0))
    links = (Link("a", "b", 0.1), Link("a", "c", 0.02))
    linked = replace(plain.scenario, links=links, network_j_per_gb=1000.0)
    limited = _sites(3, import_limit_w=9000.0, outages=((30 * HOUR_S, 31 * HOUR_S),), online_s=10 * HOUR_S)
    return [
        plain,
        crowded,
        replace(plain, name="elastic jobs", jobs=_jobs(3, 50, elastic=True)),
        Case("data on the way", linked, _jobs(4, 40)),
        Case("short of supply", replace(plain.scenario, sites=limited), _jobs(5, 40)),
        Case("quotas", replace(plain.scenario, quotas={"north": Quota(gpus=10, gpus_outside=4)}), _jobs(6, 40)),
        Case("every institute for itself", replace(plain.scenario, coordination="regional"), _jobs(7, 40)),
    ]


def other_future(case: Case, after_s: float, running: frozenset[str]) -> Case:
    """The same until `after_s` [s], and other sun, carbon, prices, arrivals and runtimes from then on.

    `running` are the ids of the jobs that have not ended by then: only their truth may change unseen, and
    they run longer, so that nobody ends sooner than before.
    """
    sites = []
    for i, (mine, other) in enumerate(zip(case.scenario.sites, _sites(99), strict=True)):
        grid = replace(
            mine.grid,
            carbon=_spliced(mine.grid.carbon, other.grid.carbon, after_s),
            price=_spliced(mine.grid.price, other.grid.price, after_s),
        )
        sites.append(replace(mine, pv=_spliced(mine.pv, other.pv, after_s, 0.2 + i), grid=grid))
    jobs = []
    for number, job in enumerate(case.jobs):
        if job.ask.submit_s < after_s:
            factor = (1.1, 4.0)[number % 2] if job.ask.job_id in running else 1.0
            jobs.append(replace(job, truth=replace(job.truth, work_gpu_s=job.truth.work_gpu_s * factor)))
    later = [job for job in _jobs(98, len(case.jobs)) if job.ask.submit_s >= after_s]
    jobs += [replace(job, ask=replace(job.ask, job_id=f"later {job.ask.job_id}")) for job in later]
    return replace(case, scenario=replace(case.scenario, sites=tuple(sites)), jobs=in_order(jobs))


def renamed(case: Case) -> tuple[Case, Mapping[str, str]]:
    """The same jobs under other ids; no two are submitted at one time, so that ids decide nothing."""
    ids = [job.ask.job_id for job in case.jobs]
    order = np.random.default_rng(5).permutation(len(ids)).tolist()
    new = {name: f"renamed-{number * 7919 % 1000:03d}-{number}" for name, number in zip(ids, order, strict=True)}
    jobs = [replace(job, ask=replace(job.ask, job_id=new[job.ask.job_id])) for job in case.jobs]
    return replace(case, jobs=in_order(jobs)), {there: here for here, there in new.items()}


def _spliced(mine: StepProfile, other: StepProfile, after_s: float, factor: float = 1.0) -> StepProfile:
    first = round(after_s / mine.step_s)
    return StepProfile(np.concatenate((mine.values[:first], factor * other.values[first:])), mine.step_s)


def _sites(
    seed: int,
    import_limit_w: float = float("inf"),
    outages: tuple[tuple[float, float], ...] = (),
    online_s: float = 0.0,
) -> tuple[Site, ...]:
    """Two sites in the country and one abroad; the second is limited where limits are given."""
    rng = np.random.default_rng(seed)
    steps = int(DAYS * 86_400 / STEP_S)
    hour = np.arange(steps) * STEP_S / HOUR_S % 24
    found = []
    for i, region in enumerate(REGIONS):
        clouds = np.repeat(rng.uniform(0.2, 1.0, DAYS * 24), steps // (DAYS * 24))
        sun = np.maximum(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0) * clouds * (9000.0 + 3000.0 * i)
        grid = Grid(
            price=_profile(np.where((hour >= 17) & (hour < 22), 4e-7, 2e-7)),
            carbon=_profile(1.6e-4 + 2e-5 * np.cos(hour / 24 * 2 * np.pi) + 1e-6 * rng.standard_normal(steps)),
            export_price=_profile(np.full(steps, 5e-8)),
            import_limit_w=import_limit_w if i == 1 else float("inf"),
            outages=outages if i == 1 else (),
        )
        found.append(
            Site(
                name="abc"[i],
                region=region,
                node=NODE,
                nodes=3 + i,
                pv=_profile(sun),
                overhead=_profile(np.full(steps, 0.2 + 0.02 * i)),
                other=_profile(np.full(steps, 100.0)),
                grid=grid,
                battery=Battery(5e7, 3000.0, 3000.0) if i != 2 else None,
                fixed_w=50.0,
                country="XX" if region == "abroad" else "MA",
                is_root=i == 0,
                islandable=True,
                online_s=online_s if i == 1 else 0.0,
            )
        )
    return tuple(found)


def _profile(values: Floats) -> StepProfile:
    return StepProfile(np.asarray(values, dtype=np.float64), STEP_S)


def _jobs(seed: int, count: int, bursts_h: float = 0.0, elastic: bool = False) -> tuple[Job, ...]:
    """Jobs of every kind: any residency, with and without slack, that can and cannot be interrupted.

    With `bursts_h` they all come shortly before every so many hours are full.
    """
    rng = np.random.default_rng(seed)
    hours = rng.uniform(0.0, ARRIVE_H, count)
    if bursts_h:
        hours = np.ceil(hours / bursts_h) * bursts_h - rng.uniform(0.8, 1.6, count)
    submits = np.sort(hours * HOUR_S).round(2) + np.arange(count) * 0.01
    return in_order(_job(rng, float(submit), i, elastic) for i, submit in enumerate(submits))


def _job(rng: np.random.Generator, submit_s: float, number: int, elastic: bool) -> Job:
    home = int(rng.integers(0, 2))
    gpus = int(rng.choice([1, 2, 4, 8], p=[0.5, 0.25, 0.15, 0.1]))
    runtime_s = float(rng.lognormal(np.log(2400.0), 0.8))
    residencies: tuple[Residency, ...] = ("regional", "national", "open")
    residency = residencies[int(rng.integers(0, 3))]
    slack_s = float(rng.choice([0.0, 2.0, 8.0, 24.0])) * HOUR_S
    ask = Ask(
        job_id=f"job-{number:03d}",
        submit_s=submit_s,
        gpus=gpus,
        estimate_s=runtime_s * float(rng.uniform(1.0, 1.6)),
        slack_s=slack_s,
        tenant=Tenant(REGIONS[home]),
        home="ab"[home],
        dataset=Dataset(f"data-{number % 7}", 5.0, "ab"[home], residency),
        checkpoint=Checkpoint(2.0, 20.0, 60.0, 1800.0),
        interruptible=bool(rng.uniform() < 0.7),
        intensity=0.9,
        job_class=("short", "long")[runtime_s > 2400.0],
    )
    if elastic and gpus in (2, 4) and number % 3:
        sizes = (1, 2, 4, 8)
        curve = SpeedUp(sizes, tuple(n**0.9 for n in sizes))
        kind: Elasticity = "malleable" if number % 2 else "moldable"
        ask = replace(ask, elasticity=kind, gpus_min=1, gpus_max=2 * gpus, speedup=curve)
    return Job(ask, Truth(runtime_s * gpus))
