"""The bound against runs: on small random scenarios, whatever a policy does, it never draws less."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from tafukt.simulator.bound import lower_bound as whole
from tafukt.simulator.bound import prices
from tafukt.simulator.bound.lower_bound import Bound, lower_bound
from tafukt.simulator.bound.supply import Resolution
from tafukt.simulator.engine.actions import Cap, Move, Pause, Start, Wake
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.policies.presets import PRESETS, policy
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
    Tariff,
)
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, SpeedUp, Tenant, Truth
from tafukt.workloads.job_table import accounting_end_s, in_order

H = 3600.0
KWH = 3.6e6
REGIONS = ("north", "south")


def profile(values: object, step_s: float = H) -> StepProfile:
    """A profile of plain numbers."""
    return StepProfile(np.asarray(values, dtype=np.float64), step_s)


@dataclass(frozen=True)
class Traits:
    """What a random case may contain."""

    outages: bool = False
    limits: bool = False
    caps: bool = False
    negative: bool = False
    elastic: bool = True


def case(seed: int, traits: Traits = Traits()) -> tuple[Scenario, tuple[Job, ...]]:
    """A scenario of one to three sites and a dozen jobs, everything drawn from the seed."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    names = [f"s{i}" for i in range(count)]
    nodes = [_node(rng, traits) for _ in range(count)]
    sizes = [int(rng.integers(1, 4)) for _ in range(count)]
    largest = max(n.gpus * k for n, k in zip(nodes, sizes, strict=True))
    jobs = in_order(_job(rng, i, names, largest, traits) for i in range(int(rng.integers(1, 14))))
    end_s = accounting_end_s(jobs, sum(n.gpus * k * n.speed for n, k in zip(nodes, sizes, strict=True)))
    step_s = float(rng.choice([300.0, 900.0, 1800.0, 3600.0]))
    sites = tuple(
        _site(rng, name, node, size, end_s, step_s, i, traits)
        for i, (name, node, size) in enumerate(zip(names, nodes, sizes, strict=True))
    )
    modes: list[Coordination] = ["root", "root", "root", "federated", "regional"]
    mode = modes[int(rng.integers(len(modes)))]
    links = tuple(Link(a, b, float(rng.choice([0.1, 1e3]))) for a, b in combinations(names, 2))
    quotas = {"north": Quota(2.0 * largest, 1.0)} if rng.random() < 0.2 else {}
    return Scenario(sites, end_s, step_s, coordination=mode, links=links, quotas=quotas), jobs


def _node(rng: np.random.Generator, traits: Traits) -> NodeType:
    gpus = int(rng.choice([1, 2, 4, 8]))
    idle = 100.0 * gpus * rng.uniform(0.5, 2.0)
    caps = ((0.6, 0.85), (0.81, 0.936), (1.0, 1.0)) if traits.caps else ()
    return NodeType(
        "n", gpus, idle, idle + 300.0 * gpus * rng.uniform(0.5, 1.5), idle * rng.uniform(0.05, 0.5),
        wake_s=float(rng.choice([0.0, 120.0])), sleep_after_s=float(rng.choice([0.0, 600.0, math.inf])),
        speed=float(rng.choice([1.0, 1.0, 2.0])), caps=caps,
    )  # fmt: skip


def _site(
    rng: np.random.Generator, name: str, node: NodeType, nodes: int, end_s: float, step_s: float, i: int, traits: Traits
) -> Site:
    n = math.ceil(end_s / step_s - 1e-9)
    hour = (np.arange(n) + 0.5) * step_s / H % 24.0
    full = nodes * node.loaded_w
    sun = np.clip(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0, None) * full * rng.uniform(0.0, 2.5)
    sun *= np.clip(rng.normal(0.8, 0.3, n), 0.0, 1.2)
    battery = None
    strategies = (None, None, Tariff(), Carbon(), PeakShaving(0.3 * full))
    if rng.random() < 0.7:
        size = full * H * rng.uniform(0.2, 3.0)
        battery = Battery(
            size, size / H * rng.uniform(0.2, 1.0), size / H * rng.uniform(0.2, 1.0), rng.uniform(0.8, 1.0),
            rng.uniform(0.8, 1.0), float(rng.choice([0.0, 1e-6])), 0.05, 0.95, rng.uniform(0.05, 0.95),
            float(rng.choice([0.0, 0.1])), strategies[int(rng.integers(len(strategies)))],
            *((2e-3, 1e-7) if rng.random() < 0.3 else (0.0, 0.0)),
        )  # fmt: skip
    outages: list[tuple[float, float]] = []
    if traits.outages:
        outages = [(a, a + float(rng.uniform(600.0, 4 * H))) for a in sorted(rng.uniform(0.0, 86400.0, 3)) if a < end_s]
        outages = [o for o, later in zip(outages, [*outages[1:], (math.inf, 0.0)], strict=True) if o[1] < later[0]]
    grid = Grid(
        profile(rng.choice([-0.8, 0.2, 1.5] if traits.negative else [0.5, 1.0, 1.5], n) / KWH, step_s),
        profile(rng.uniform(400.0, 700.0, n) / KWH, step_s),
        profile(np.full(n, float(rng.choice([0.0, 0.3])) / KWH), step_s),
        import_limit_w=full * rng.uniform(0.3, 1.5) if traits.limits else math.inf,
        outages=tuple(outages),
    )
    return Site(
        name, REGIONS[i % 2], node, nodes, profile(sun, step_s), profile(rng.uniform(0.0, 0.4, n), step_s),
        profile(rng.uniform(0.0, 0.2, n) * full, step_s), grid, battery, fixed_w=full * float(rng.choice([0.0, 0.05])),
        islandable=battery is not None,
        online_s=float(rng.choice([0.0, 0.0, 5 * H + 100.0])),
    )  # fmt: skip


def _job(rng: np.random.Generator, i: int, names: list[str], largest: int, traits: Traits) -> Job:
    gpus = int(rng.integers(1, largest + 1))
    runtime = float(rng.lognormal(np.log(1.5 * H), 1.0))
    home = str(rng.choice(names))
    region = REGIONS[names.index(home) % 2]
    ask = Ask(
        f"j{i}", float(rng.uniform(0.0, 20 * H)), gpus, runtime * rng.uniform(0.8, 1.5),
        float(rng.choice([0.0, rng.uniform(0.0, 20 * H), math.inf], p=[0.2, 0.7, 0.1])), Tenant(region), home,
        Dataset(f"d{i}", 1.0, home, str(rng.choice(["open", "national", "regional"]))),  # type: ignore[arg-type]
        Checkpoint(1.0, 30.0, 60.0), bool(rng.random() < 0.7),
        intensity=float(rng.choice([1.0, 0.6, rng.uniform(0.1, 1.0)])),
    )  # fmt: skip
    if traits.elastic and rng.random() < 0.3:
        sizes = tuple(sorted({1, gpus, 2 * gpus}))
        curve = SpeedUp(sizes, tuple(float(s) ** 0.8 for s in sizes))
        ask = replace(ask, elasticity="malleable", gpus_min=1, gpus_max=min(2 * gpus, largest), speedup=curve)
    ends_at = float(rng.choice([1.0, 1.0, rng.uniform(0.1, 1.0)]))
    return Job(ask, Truth(gpus * runtime, "done" if ends_at == 1.0 else "failed", ends_at))


class Wanderer:
    """Starts, holds, pauses, moves and caps at random: bad at scheduling, good at finding gaps in a bound."""

    name = "wanderer"

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.awake_s = 0.0
        self.patience = float(self.rng.choice([0.0, 0.5, 0.9]))

    def begin(self, view: object) -> None:
        """Nothing to prepare."""

    def waiting(self, job: object) -> None:
        """Seen in the view."""

    def freed(self, job: object, site: int) -> None:
        """Seen in the view."""

    def round(self, view: object):  # type: ignore[no-untyped-def]
        """Something for everybody, or nothing."""
        rng = self.rng
        for life in list(view.waiting.values()):  # type: ignore[attr-defined]
            late = view.now_s >= min(life.ask.latest_start_s, 1.5 * 86400.0)  # type: ignore[attr-defined]
            if not late and rng.random() < self.patience:
                continue
            gpus = int(rng.integers(life.ask.gpus_min or life.ask.gpus, (life.ask.gpus_max or life.ask.gpus) + 1))
            if fitting := view.fitting(life, view.sites_for(life), gpus):  # type: ignore[attr-defined]
                site = int(rng.choice(fitting))
                yield Start(life, site, gpus, cap=self.cap(view, site))
        decides = view.scenario.coordination != "federated"  # type: ignore[attr-defined]
        for life in list(view.running.values()):  # type: ignore[attr-defined]
            if life.phase != "running" or rng.random() < 0.8 or view.now_s > 1.5 * 86400.0:  # type: ignore[attr-defined]
                continue
            if rng.random() < 0.3 and (cap := self.cap(view, life.site)) != life.cap:
                yield Cap(life, cap)
            elif life.ask.interruptible:
                others = [s for s in view.sites_for(life) if s != life.site and view.transfer_s(life, s) < math.inf]  # type: ignore[attr-defined]
                yield Move(life, int(rng.choice(others))) if decides and others and rng.random() < 0.5 else Pause(life)
        if view.now_s >= self.awake_s:  # type: ignore[attr-defined]
            self.awake_s = view.now_s + float(rng.uniform(600.0, 3 * H))  # type: ignore[attr-defined]
            yield Wake(self.awake_s)

    def cap(self, view: object, site: int) -> float:
        """A cap that the site's nodes take."""
        caps = view.sites[site].nodes.node.caps  # type: ignore[attr-defined]
        return float(self.rng.choice([1.0, self.rng.uniform(caps[0][0], 1.0)])) if caps else 1.0


def scores(record: Record) -> dict[str, float]:
    """What a run drew [J], paid [MAD] and emitted [g]."""
    draw = cost = carbon = 0.0
    for site, energy in zip(record.scenario.sites, record.energy, strict=True):
        bought = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
        draw += energy.total_j(bought) + energy.flow_j("unserved")
        if site.battery is not None:
            draw += max(0.0, energy.stored_j[0] - energy.stored_j[-1]) / site.battery.eta_charge
        cost += energy.total_j(bought * energy.price)
        cost -= energy.total_j(energy.flows_w["export"] * energy.export_price)
        carbon += energy.total_j(bought * energy.carbon)
    return {"draw": draw, "cost": cost, "emissions": carbon}


def bound_of(record: Record, objective: str, settings: Settings, seed: int) -> Bound:
    """The bound that a run is held against: windows stretched to its own ends, jobs given up left out."""
    ends = [outcome.end_s for outcome in record.outcomes]
    given_up = [
        outcome.state == "rejected" or (outcome.state == "failed" and job.truth.ending != "failed")
        for outcome, job in zip(record.outcomes, record.jobs, strict=True)
    ]
    return lower_bound(
        record.scenario, record.jobs, deadlines_s=ends, skip=given_up,
        objective=objective, settings=settings, seed=seed,  # type: ignore[arg-type]
    )  # fmt: skip


PLAIN = Settings()


def check(seed: int, policy: object, traits: Traits, settings: Settings = PLAIN) -> bool:
    """Hold a run against its bounds; whether there was a complete run to hold."""
    scenario, jobs = case(seed, traits)
    record = simulate(scenario, jobs, policy, seed=seed, settings=settings)  # type: ignore[arg-type]
    if any(outcome.state == "left" for outcome in record.outcomes):
        return False
    for objective, score in scores(record).items():
        bound = bound_of(record, objective, settings, seed)
        assert bound.value <= score + 1e-9 * abs(score) + 1e-3, (seed, objective, bound.value, score)
        assert bound.status in ("optimal", "coarse"), (seed, objective, bound.status)
    return True


FRAGILE = Settings(faults=FaultSettings(node_mtbf_s=1.5 * 86400.0, repair_s=2e4, hazard_per_s=1e-5, retries=3))

KINDS = {
    "plain": (Traits(), Settings()),
    "outages": (Traits(outages=True), Settings()),
    "limits": (Traits(limits=True), Settings()),
    "caps": (Traits(caps=True), Settings()),
    "faults": (Traits(), FRAGILE),
    "prices below zero": (Traits(negative=True), Settings()),
    "killed at the estimate": (Traits(), Settings(overrun="kill", remainder="whole")),
    "all at once": (Traits(outages=True, limits=True, caps=True, negative=True), FRAGILE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_random_run_is_below_the_bound(kind: str) -> None:
    traits, settings = KINDS[kind]
    assert sum(check(seed, Wanderer(seed), traits, settings) for seed in range(12)) >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_prices_bound_random_cases_with_outages_limits_and_faults(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random cases of the runs, each of their one to three sites standing in a sample of at most all of them."""
    monkeypatch.setattr(prices, "MOST_SAMPLED", 1.0)
    monkeypatch.setattr(prices, "SAMPLED_SITES", 1)
    monkeypatch.setattr(prices, "LEAST_OF_STRATUM", 1)
    monkeypatch.setattr(whole, "starts_of", lambda *_: None)
    traits, settings = KINDS[kind]
    priced = 0
    for seed in range(5):
        where, jobs = case(seed, traits)
        for objective in ("draw", "cost", "emissions"):
            given = {"objective": objective, "settings": settings, "seed": seed}
            exact = lower_bound(where, jobs, **given)  # type: ignore[arg-type]
            found = lower_bound(where, jobs, grain=Resolution(whole_columns=0), **given)  # type: ignore[arg-type]
            if found.status == "priced" and exact.status == "optimal":
                priced += 1
                assert found.value <= exact.primal + 1e-7 * abs(exact.primal) + 1e-3, (seed, objective)
    assert priced >= 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_random_run_is_below_the_bound_thousands(kind: str) -> None:
    traits, settings = KINDS[kind]
    assert sum(check(seed, Wanderer(seed), traits, settings) for seed in range(1000, 1400)) >= 200


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_is_below_the_bound(name: str) -> None:
    assert sum(check(seed, policy(name), Traits(outages=seed % 2 == 0)) for seed in range(2010, 2014)) >= 2


def test_the_bound_is_near_good_runs() -> None:
    """A bound of zero would pass all of the above: on one site without choices it must come close."""
    shares = []
    for seed in range(40):
        scenario, jobs = case(seed, Traits(elastic=False))
        record = simulate(scenario, jobs, policy("fifo"), seed=seed)
        drawn = scores(record)["draw"]
        if drawn > 0:
            shares.append(bound_of(record, "draw", Settings(), seed).draw_j / drawn)
    assert np.median(shares) > 0.7
