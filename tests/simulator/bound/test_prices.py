"""The bound of many sites by prices from a sample of them: never above that of the whole, and close to it."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import builders.jobs as kit
import numpy as np
import pytest
from builders.jobs import profile

from tafukt.simulator.bound import lower_bound as whole
from tafukt.simulator.bound import prices
from tafukt.simulator.bound.lower_bound import Bound, lower_bound
from tafukt.simulator.bound.program import SlotSupply
from tafukt.simulator.bound.supply import Resolution
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.workloads.job import Job

H, KWH = 3600.0, 3.6e6
HOURS = 48
WHOLE = Resolution()
# Any programme counts as too large for one piece.
MANY = Resolution(whole_columns=0)
NODE = NodeType("n", 4, 400.0, 2000.0, 80.0)
FAST = replace(NODE, speed=2.0, loaded_w=3000.0)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Samples of eight sites, so that some dozen are many; the looseness is tested as it is."""
    if "nearly" not in request.node.name:
        monkeypatch.setattr(prices, "SAMPLED_SITES", 8)


def cloudy_sites(rng: np.random.Generator, count: int, node: NodeType = NODE, first: int = 0) -> tuple[Site, ...]:
    """Sites that differ in sky, battery, overhead, nodes and price."""
    hour = np.arange(HOURS) % 24
    noon = np.maximum(np.sin((hour - 5.5) / 12 * np.pi), 0.0)
    sites = []
    for index in range(first, first + count):
        sun_w = noon * rng.uniform(1e3, 1.2e4) * np.repeat(rng.uniform(0.2, 1.0, HOURS // 24), 24)
        nodes, size_j = int(rng.integers(1, 4)), rng.uniform(0.0, 20.0) * KWH
        prices_kwh = np.repeat(rng.uniform(0.5, 1.5, HOURS // 12), 12)
        flat = profile([0.0] * HOURS)
        sites.append(
            kit.site(
                f"s{index:03d}", nodes, node, HOURS * H, pv=sun_w.tolist(), region="north",
                grid=Grid(profile((prices_kwh / KWH).tolist()), profile([500.0 / KWH] * HOURS), flat),
                battery=Battery(size_j, size_j / H / 2, size_j / H / 2, soc_start=float(rng.uniform(0.0, 1.0))),
                overhead=profile([float(rng.uniform(0.05, 0.4))] * HOURS),
            )
        )  # fmt: skip
    return tuple(sites)


def some_jobs(rng: np.random.Generator, sites: tuple[Site, ...], count: int) -> list[Job]:
    """Jobs at random, of up to four GPUs; the longest may wait for twelve hours."""
    return [
        kit.job(
            f"j{index:04d}", float(rng.uniform(0.0, 30.0)) * H, int(rng.integers(1, 5)),
            float(rng.uniform(0.2, 6.0)) * H, home=sites[index % len(sites)].name, region="north",
            slack_s=float(rng.uniform(0.0, 12.0)) * H, intensity=float(rng.uniform(0.4, 1.0)),
        )
        for index in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("objective", ["draw", "cost", "emissions"])
def test_prices_of_a_sample_give_nearly_the_bound_of_the_whole(objective: str) -> None:
    rng = np.random.default_rng(1)
    sites = cloudy_sites(rng, 100)
    jobs = some_jobs(rng, sites, 800)
    exact = lower_bound(Scenario(sites, HOURS * H, H), jobs, objective=objective, grain=WHOLE)  # type: ignore[arg-type]
    priced = lower_bound(Scenario(sites, HOURS * H, H), jobs, objective=objective, grain=MANY)  # type: ignore[arg-type]
    assert (exact.status, priced.status) == ("optimal", "priced")
    assert exact.primal * 0.99 <= priced.value <= exact.primal * (1 + 1e-9)
    assert priced.primal == pytest.approx(exact.primal, rel=0.1)


def both(sites: tuple[Site, ...], jobs: list[Job]) -> tuple[Bound, Bound]:
    """The bound of the whole, and that by prices."""
    where = Scenario(sites, HOURS * H, H)
    return lower_bound(where, jobs, grain=WHOLE), lower_bound(where, jobs, grain=MANY)


def test_prices_of_few_sites_are_no_less_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the prices: from four sites, and from four whose sun is not that of the others."""
    monkeypatch.setattr(prices, "SAMPLED_SITES", 1)  # four, the least of a stratum
    rng = np.random.default_rng(2)
    sites = cloudy_sites(rng, 16)
    jobs = some_jobs(rng, sites, 100)
    exact, priced = both(sites, jobs)
    assert priced.status == "priced"
    assert priced.value <= exact.value * (1 + 1e-9)
    monkeypatch.setattr(prices, "scaled_up", lambda supply, *_: _part_of(supply, np.arange(4)))
    monkeypatch.setattr(whole, "samples_of", lambda *_: [np.arange(4)])
    poor = lower_bound(Scenario(sites, HOURS * H, H), jobs, grain=MANY)
    assert 0.0 <= poor.value <= exact.value * (1 + 1e-9)
    assert poor.value < priced.value  # a quarter of the GPUs, and all the work: their prices are too high


def _part_of(supply: SlotSupply, sites: np.ndarray) -> SlotSupply:
    """The sites alone, not scaled."""
    own = ("duration_s", "missing_weight")
    fields = {field.name: getattr(supply, field.name) for field in dataclasses.fields(supply)}
    return SlotSupply(**{name: value if name in own else value[sites] for name, value in fields.items()})


def test_sites_of_two_speeds_and_a_closed_one_give_nearly_the_bound_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    many, fast = cloudy_sites(rng, 60), cloudy_sites(rng, 40, FAST, first=60)
    lone = replace(cloudy_sites(rng, 1, first=100)[0], region="south")
    jobs = some_jobs(rng, (*many, *fast), 500)
    jobs += [
        kit.job(f"k{index}", index * H, 2, 2 * H, home=lone.name, slack_s=6 * H, region="south", residency="regional")
        for index in range(12)
    ]
    exact, priced = both((*many, *fast, lone), jobs)
    assert (exact.status, priced.status) == ("optimal", "priced")
    assert exact.primal * 0.96 <= priced.value <= exact.primal * (1 + 1e-9)
    done_h = priced.plan.job_gpus @ (np.diff(priced.plan.edges_s) / H)[priced.plan.job_slot]
    assert done_h == pytest.approx(sum(job.truth.due_gpu_s for job in jobs) / H, rel=1e-3)


def test_work_of_one_site_each_is_left_to_the_whole() -> None:
    rng = np.random.default_rng(4)
    sites = tuple(replace(site, region=site.name) for site in cloudy_sites(rng, 40))
    jobs = [
        kit.job(f"j{i}", i * H / 4, 1, H, home=site.name, slack_s=6 * H, region=site.name, residency="regional")
        for i, site in enumerate(sites)
    ]
    assert both(sites, jobs)[1].status == "coarse"


def test_work_that_fits_nowhere_stretches_its_windows() -> None:
    rng = np.random.default_rng(5)
    sites = cloudy_sites(rng, 32)
    gpus = sum(site.gpus for site in sites)
    jobs = [kit.job(f"j{i:04d}", 0.0, 1, 4 * H, home="s000", region="north") for i in range(gpus + 20)]
    exact, priced = both(sites, jobs)
    print(exact.status, priced.status, exact.stretched_s, priced.stretched_s, exact.value, priced.value)
    assert exact.status == priced.status == "stretched"
    assert exact.stretched_s == priced.stretched_s > 0
    assert priced.value <= exact.value * (1 + 1e-9)


def test_the_same_sample_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(6)
    sites = cloudy_sites(rng, 40)
    jobs = some_jobs(rng, sites, 150)
    one, two = both(sites, jobs)[1], both(sites, jobs)[1]
    assert (one.status, one.value) == ("priced", two.value)
    assert one.plan.gpus.tobytes() == two.plan.gpus.tobytes()


def test_late_jobs_are_carried_over_from_prices() -> None:
    rng = np.random.default_rng(7)
    sites = cloudy_sites(rng, 40)
    jobs = some_jobs(rng, sites, 200)
    where = Scenario(sites, HOURS * H, H)
    known = lower_bound(where, jobs, grain=MANY)
    ends_s = np.full(len(jobs), np.nan)
    ends_s[3] = jobs[3].ask.deadline_s + 600.0
    late = lower_bound(where, jobs, deadlines_s=ends_s, grain=MANY, known=known)
    assert late.status == "carried"
    assert known.value * (1 - 1e-4) <= late.value <= known.value


@pytest.mark.parametrize("name", ["fifo", "wait-for-sun"])
def test_no_run_draws_less_than_the_bound_by_prices(name: str) -> None:
    rng = np.random.default_rng(8)
    sites = cloudy_sites(rng, 40)
    jobs = some_jobs(rng, sites, 200)
    record = simulate(Scenario(sites, HOURS * H, H), jobs, policy(name))
    ends_s = [outcome.end_s for outcome in record.outcomes]
    bound = lower_bound(record.scenario, record.jobs, deadlines_s=ends_s, grain=MANY)
    drawn_j = 0.0
    for energy, site in zip(record.energy, record.scenario.sites, strict=True):
        assert site.battery is not None
        drawn_j += sum(energy.flow_j(name) for name in ("import_to_load", "import_to_battery", "unserved"))
        drawn_j += max(0.0, energy.stored_j[0] - energy.stored_j[-1]) / site.battery.eta_charge
    assert bound.status == "priced"
    assert 0.0 < bound.value <= drawn_j * (1 + 1e-9)
