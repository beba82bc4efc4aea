"""Random small cases in which everything may happen, for the tests of laws that always hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import (
    Battery,
    Carbon,
    Coordination,
    Grid,
    Link,
    NodeType,
    PeakShaving,
    Quota,
    Scenario,
    Site,
    Strategy,
    Tariff,
)
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, SpeedUp, Tenant, Truth

HOUR, DAY, KWH = 3600.0, 86_400.0, 3.6e6
Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """One scenario with its jobs, and how the engine goes about it."""

    scenario: Scenario
    jobs: tuple[Job, ...]
    settings: Settings = field(default_factory=Settings)
    seed: int = 1

    def run(self, name: str) -> Record:
        """Simulate under the preset of this name."""
        return simulate(self.scenario, self.jobs, policy(name), seed=self.seed, settings=self.settings)

    def with_sites(self, sites: Sequence[Site]) -> Case:
        """The same with other sites."""
        return replace(self, scenario=replace(self.scenario, sites=tuple(sites)))


def case(
    seed: int,
    *,
    sites: int = 3,
    jobs: int = 14,
    days: float = 3.0,
    weak: bool = False,
    faults: bool = False,
    links: bool = False,
    steered: bool = True,
    coordination: Coordination | None = None,
) -> Case:
    """Everything drawn from the seed: sites with and without battery, sleep and caps; jobs with every feature.

    `weak` adds outages and import limits, `faults` failures, `links` a slow network; `steered` allows
    battery strategies that follow price, carbon or a peak, and fade.
    """
    rng = np.random.default_rng(seed)
    end_s, step_s = days * DAY, float(rng.choice([300.0, 900.0, 3600.0]))
    names = [f"s{i}" for i in range(sites)]
    places = tuple(_site(rng, name, end_s, step_s, weak, steered) for name in names)
    modes: tuple[Coordination, ...] = ("root", "root", "federated", "regional")
    scenario = Scenario(
        places,
        end_s,
        step_s,
        coordination=coordination or modes[int(rng.integers(len(modes)))],
        hold_min_s=float(rng.choice([0.0, 1800.0])),
        links=tuple(Link(a, b, float(rng.choice([0.01, 1.0]))) for a, b in combinations(names, 2)) if links else (),
        network_j_per_gb=1000.0,
        quotas={"r0": Quota(12.0, 8.0)} if rng.random() < 0.2 else {},
    )
    largest = max(place.gpus for place in places)
    asked = [_job(rng, index, places, largest) for index in range(jobs)]
    settings = Settings(
        remainder="share" if rng.random() < 0.7 else "whole",
        overrun="extend" if rng.random() < 0.8 else "kill",
        forecast=ForecastSettings(sun="perfect" if rng.random() < 0.5 else "noisy"),
        faults=FaultSettings(2 * DAY, 2 * HOUR, 1e-5, retries=None if rng.random() < 0.5 else 2)
        if faults
        else FaultSettings(),
    )
    return Case(scenario, tuple(asked), settings, seed)


def profile(values: object, step_s: float) -> StepProfile:
    return StepProfile(np.asarray(values, dtype=np.float64), step_s)


def _site(rng: Rng, name: str, end_s: float, step_s: float, weak: bool, steered: bool) -> Site:
    node = NodeType(
        "n", int(rng.choice([1, 4, 8])), 1000.0, float(rng.choice([3000.0, 6000.0])), 100.0,
        wake_s=float(rng.choice([0.0, 180.0])), sleep_after_s=float(rng.choice([0.0, 600.0, math.inf])),
        speed=float(rng.choice([1.0, 1.0, 2.5])), caps=MEASURED if rng.random() < 0.5 else (),
    )  # fmt: skip
    nodes = int(rng.integers(1, 4))
    n = math.ceil(end_s / step_s)
    hour = (np.arange(n) + 0.5) * step_s / HOUR % 24.0
    full_w = nodes * node.loaded_w
    sun = np.clip(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0, None) * full_w * rng.uniform(0.0, 2.5)
    sun *= rng.uniform(0.2, 1.0, n)
    grid = Grid(
        profile(rng.choice([0.5, 1.0, 1.5], n) / KWH, step_s),
        profile(rng.uniform(400.0, 700.0, n) / KWH, step_s),
        profile(np.full(n, 0.3 / KWH), step_s),
        export_limit_w=float(rng.choice([math.inf, 0.1 * full_w])),
        export_cap_share=float(rng.choice([1.0, 0.2])),
    )
    battery = _battery(rng, full_w, steered) if rng.random() < 0.7 else None
    if weak:
        begin = np.sort(rng.uniform(0.0, end_s, 4))
        outages = ((float(begin[0]), float(begin[1])), (float(begin[2]), float(begin[3])))
        grid = replace(grid, import_limit_w=full_w * float(rng.uniform(0.2, 1.5)), outages=outages)
    return Site(
        name, name.replace("s", "r"), node, nodes, profile(sun, step_s), profile(rng.uniform(0.0, 0.5, n), step_s),
        profile(rng.uniform(0.0, 0.2, n) * full_w, step_s), grid, battery, fixed_w=float(rng.choice([0.0, 500.0])),
        islandable=battery is not None, online_s=float(rng.choice([0.0, 0.0, 0.0, 4 * HOUR + 100.0])),
        midnights_s=tuple(np.arange(DAY, end_s, DAY).tolist()),
    )  # fmt: skip


def _battery(rng: Rng, full_w: float, steered: bool) -> Battery:
    strategies: tuple[Strategy | None, ...] = (None, None, Tariff(), Carbon(), PeakShaving(0.3 * full_w))
    size_j = full_w * HOUR * float(rng.uniform(0.2, 3.0))
    return Battery(
        size_j, size_j / HOUR * float(rng.uniform(0.2, 1.0)), size_j / HOUR * float(rng.uniform(0.2, 1.0)),
        float(rng.choice([1.0, 0.9])), float(rng.choice([1.0, 0.9])), float(rng.choice([0.0, 1e-6])), 0.05, 0.95,
        float(rng.uniform(0.05, 0.95)), float(rng.choice([0.0, 0.1])),
        strategies[int(rng.integers(len(strategies)))] if steered else None,
        *((2e-3, 1e-7) if steered and rng.random() < 0.3 else (0.0, 0.0)),
    )  # fmt: skip


def _job(rng: Rng, index: int, places: Sequence[Site], largest: int) -> Job:
    place = places[int(rng.integers(len(places)))]
    gpus = int(rng.choice([1, 2, max(largest // 2, 1), largest, largest + 1], p=[0.35, 0.3, 0.2, 0.13, 0.02]))
    runtime_s = float(rng.lognormal(np.log(HOUR), 1.0))
    ask = Ask(
        f"j{index:02d}",
        float(rng.uniform(0.0, 1.2 * DAY)),
        gpus,
        runtime_s * float(rng.choice([0.7, 1.0, 1.5])),
        float(rng.choice([0.0, rng.uniform(0.0, 20 * HOUR), math.inf])),
        Tenant(place.region),
        place.name,
        Dataset(f"d{int(rng.integers(4))}", float(rng.choice([0.0, 50.0])), place.name, str(rng.choice(_RESIDENCIES))),  # type: ignore[arg-type]
        Checkpoint(5.0, float(rng.choice([0.0, 45.0])), float(rng.choice([0.0, 60.0])), _interval(rng)),
        interruptible=bool(rng.random() < 0.7),
        priority=int(rng.integers(3)),
        intensity=float(rng.choice([1.0, 0.5, 0.0])),
    )
    if rng.random() < 0.3:
        sizes = tuple(sorted({1, gpus, 2 * gpus}))
        ask = replace(
            ask, elasticity=str(rng.choice(["moldable", "malleable"])), gpus_min=1, gpus_max=2 * gpus,
            speedup=SpeedUp(sizes, tuple(float(s) ** 0.8 for s in sizes)),
        )  # type: ignore[arg-type]  # fmt: skip
    ending = str(rng.choice(["done", "done", "failed", "cancelled"]))
    share = 1.0 if ending == "done" else float(rng.uniform(0.0, 1.0))
    return Job(ask, Truth(gpus * runtime_s, ending, share))  # type: ignore[arg-type]


_RESIDENCIES = ("open", "national", "national", "regional")


def _interval(rng: Rng) -> float | None:
    return (None, math.inf, 900.0)[int(rng.integers(3))]


def draw_j(record: Record, index: int) -> float:
    """Import, unserved load, and what the battery gave beyond what it got, at one site [J]."""
    energy, battery = record.energy[index], record.scenario.sites[index].battery
    given = max(0.0, float(energy.stored_j[0] - energy.stored_j[-1])) / battery.eta_charge if battery else 0.0
    return sum(energy.flow_j(name) for name in ("import_to_load", "import_to_battery", "unserved")) + given


def lives_of(record: Record) -> list[tuple[object, ...]]:
    """What became of every job, by name of job and site, ready to be compared with `==`."""
    names = [site.name for site in record.scenario.sites]
    return sorted(
        (
            job.ask.job_id, o.state, names[o.site] if o.site >= 0 else "", str(o.start_s), str(o.end_s), o.busy_gpu_s,
            o.lost_gpu_s, o.work_left_gpu_s, o.pauses, o.moves, o.kills, o.resizes,
        )
        for job, o in zip(record.jobs, record.outcomes, strict=True)
    )  # fmt: skip
