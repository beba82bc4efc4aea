"""Start times of rigid jobs in the bound: lone jobs against every start, and the law that the extra draws rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.bound import starts
from tafukt.simulator.bound.jobs import demand_of
from tafukt.simulator.bound.lower_bound import Bound, lower_bound
from tafukt.simulator.bound.supply import supply_of
from tafukt.simulator.engine.actions import Start, Wake
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.view import View
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.scenario import Battery, NodeType, Scenario, Site
from tafukt.workloads.job import Job

H = 3600.0
KWH = 3.6e6
DAYS = 3


class At:
    """Starts every job at a set time on a set site."""

    name = "at"

    def __init__(self, plan: dict[str, tuple[int, float]]) -> None:
        self.plan = plan

    def begin(self, view: View) -> None:
        """Nothing to prepare."""

    def waiting(self, job: object) -> None:
        """Seen in the view."""

    def freed(self, job: object, site: int) -> None:
        """Seen in the view."""

    def round(self, view: View) -> Iterator[Start | Wake]:
        """Whoever is due begins."""
        for job in list(view.waiting.values()):
            site, at_s = self.plan[job.ask.job_id]
            if at_s <= view.now_s:
                yield Start(job, site)
            else:
                yield Wake(at_s)


def sunny(name: str, rng: np.random.Generator, peak_w: float = 6e3, step_s: float = 900.0) -> Site:
    """A site of four nodes that draw nothing while they are empty; cloudy days, now and then a battery."""
    n = int(DAYS * 24 * H / step_s)
    hour = (np.arange(n) + 0.5) * step_s / H
    clear = np.repeat(rng.choice([0.3, 1.0], DAYS), n // DAYS)
    pv = np.clip(np.sin((hour % 24 - 6) / 12 * np.pi), 0, None) * clear * rng.uniform(0.4, 1.0) * peak_w
    battery = None
    if rng.random() < 0.7:
        battery = Battery(10 * KWH * rng.uniform(0.3, 2.0), 5e3, 5e3, 0.95, 0.95, 1e-7, 0.1, 0.9, 0.1, 0.0)
    node = NodeType("n", 8, 1000.0, 4000.0, 0.0, wake_s=0.0, sleep_after_s=0.0)
    made: Site = kit.site(
        name, 4, node, n * step_s, step_s=step_s, region="north", pv=pv, overhead=rng.uniform(0.1, 0.3, n),
        price=1 / KWH, carbon=500 / KWH, battery=battery,
    )  # fmt: skip
    return made


def gang(gpus: int, hours: float, slack_h: float, name: str = "gang", submit_h: float = 0.0) -> Job:
    made: Job = kit.job(
        name, submit_h * H, gpus, hours * H, slack_s=slack_h * H, home="a", region="north", residency="open",
        interruptible=False,
    )  # fmt: skip
    return made


def drawn_j(there: Scenario, jobs: tuple[Job, ...], plan: dict[str, tuple[int, float]]) -> float:
    record = simulate(there, jobs, At(plan))  # type: ignore[arg-type]
    assert all(outcome.state == "done" for outcome in record.outcomes)
    return sum(e.flow_j("import_to_load") + e.flow_j("import_to_battery") for e in record.energy)


def bound_of(there: Scenario, *jobs: Job, **changes: object) -> Bound:
    return lower_bound(there, jobs, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_a_lone_rigid_job_is_bounded_by_nearly_its_optimum(seed: int) -> None:
    """Every start in steps of half an hour on each site: the least of their draws, and the bound below."""
    rng = np.random.default_rng(seed)
    one = gang(int(rng.choice([8, 16, 24])), float(rng.uniform(2, 12)), float(rng.uniform(20, 50)))
    peak_w = 500.0 * one.ask.gpus
    there = Scenario((sunny("a", rng, peak_w), sunny("b", rng, peak_w)), DAYS * 24 * H, 900.0)
    times = np.arange(0.0, one.ask.slack_s, 1800.0)
    best = min(drawn_j(there, (one,), {"gang": (site, at)}) for site in (0, 1) for at in times)
    assert best > KWH, "there is something to bound"
    assert 0.9 * best < bound_of(there, one).draw_j <= best + 1.0


def test_without_start_times_the_same_bound_is_far_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above measures is theirs: a job at a small part of its power lives on the sun of many hours."""
    rng = np.random.default_rng(1)
    there = Scenario((sunny("a", rng), sunny("b", rng)), DAYS * 24 * H, 900.0)
    one = gang(24, 5.0, 40.0)
    with_starts = bound_of(there, one).draw_j
    monkeypatch.setattr(starts, "LEAST_SHARE", 2.0)
    assert bound_of(there, one).draw_j < 0.1 * with_starts


@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_of_three_rigid_jobs_is_below_the_bound(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    there = Scenario((sunny("a", rng),), DAYS * 24 * H, 900.0)
    jobs = tuple(gang(8, float(rng.uniform(1, 5)), 30.0, f"g{i}", 4.0 * i) for i in range(3))
    least = bound_of(there, *jobs).draw_j
    for _ in range(40):
        plan = {job.ask.job_id: (0, job.ask.submit_s + float(rng.uniform(0, 30 * H))) for job in jobs}
        assert least <= drawn_j(there, jobs, plan) + 1.0


@pytest.mark.parametrize("seed", range(20))
def test_a_load_never_draws_less_beside_others_than_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = Scenario((sunny("a", rng),), DAYS * 24 * H, 900.0)
    edges = starts._fine_edges(there)

    def draw(load_w: np.ndarray) -> float:
        supply = supply_of(there, edges, "draw")
        storage = starts._Storage(replace(supply, free_w=supply.free_w - load_w), edges)
        return float(storage.drawn_w.sum())

    for _ in range(10):
        one, other = (np.repeat(rng.uniform(0, 9e3, 12) * (rng.random(12) < 0.4), 24) for _ in range(2))
        assert draw(one + other) - draw(one) >= draw(other) - draw(0.0 * one) - 1e-6


def test_starts_serve_where_jobs_are_few_and_nothing_disturbs_them() -> None:
    rng = np.random.default_rng(0)
    there = Scenario((sunny("a", rng),), DAYS * 24 * H, 900.0)
    edges = np.arange(DAYS * 24 + 1) * H

    def found(where: Scenario, *jobs: Job, faults: FaultSettings | None = None) -> int:
        made = starts.starts_of(where, jobs, demand_of(where, jobs), edges, faults)
        return 0 if made is None else len(made.row)

    one = gang(8, 3.0, 20.0)
    assert found(there, one) == 1
    assert found(there, replace(one, ask=replace(one.ask, interruptible=True))) == 0
    assert found(there, *(gang(8, 3.0, 60.0, str(i)) for i in range(3000))) == 0
    assert found(there, one, faults=FaultSettings(node_mtbf_s=1e6)) == 0
    weak = replace(there.sites[0], grid=replace(there.sites[0].grid, import_limit_w=1e4))
    assert found(replace(there, sites=(weak,)), one) == 0
    capped = replace(there.sites[0], node=replace(there.sites[0].node, caps=((0.6, 0.85), (1.0, 1.0))))
    assert found(replace(there, sites=(capped,)), one) == 0
