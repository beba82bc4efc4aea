"""Speed under a power cap: the tables against what was measured, and each job by its own curve."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.jobs import Script, job, lives, run, scenario, site

from tafukt.experiments.config.schema import EngineTable
from tafukt.simulator.bound.supply import gpu_power_w
from tafukt.simulator.engine.actions import Cap
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.power_caps import A100, A100_IDLE_W, MEASURED, speed
from tafukt.simulator.scenario import NodeType, Scenario

HOUR = 3600.0
CURVES = {"pre-training": "pt_", "fine-tuning": "ft_", "inference": "infer_"}
PLAIN = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)
OWN = replace(
    PLAIN, caps=A100["pre-training"], other_caps=tuple((n, c) for n, c in A100.items() if n != "pre-training")
)


@pytest.mark.parametrize("curve", CURVES)
def test_the_tables_are_means_of_what_was_measured(shared_data: Path, curve: str) -> None:
    """Power above idle over that without a cap, throughput over that without a cap, mean over the workloads."""
    rows: dict[str, dict[float, tuple[float, float]]] = defaultdict(dict)
    with (shared_data / "a100_power_cap_sweep.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["Workload"].startswith(CURVES[curve]):
                power_w = float(row["power per GPU"]) - A100_IDLE_W
                rows[row["Workload"]][float(row["GPU power cap"])] = power_w, float(row["throughput"])
    assert rows
    caps_w = sorted(next(iter(rows.values())))
    for cap_w, (power, does) in zip(caps_w, A100[curve], strict=True):  # type: ignore[index]
        shares = [(found[cap_w][0] / found[400.0][0], found[cap_w][1] / found[400.0][1]) for found in rows.values()]
        assert (power, does) == pytest.approx(tuple(np.mean(shares, axis=0)), abs=6e-4)
    assert A100[curve][0][0] <= 0.3, "down to 0.3 of the power above idle at least"  # type: ignore[index]


def where(node: NodeType, **other: object) -> Scenario:
    return scenario([site("s0", 1, node, **other)])


def sunny(node: NodeType, limit_w: float) -> Scenario:
    """Sun of 3 kW for an hour, and then the grid alone, up to a limit."""
    return where(node, pv=[3000.0, 0.0], import_limit_w=limit_w)


def test_jobs_under_one_cap_run_at_the_speed_of_their_own_curve() -> None:
    """At 0.5 of the power above idle, an hour of work takes 1 / speed hours, by the table of each."""

    def capped(view):  # type: ignore[no-untyped-def]
        return [Cap(each, 0.5) for each in lives(view).values()]

    jobs = [job(name, 0.0, 1, HOUR, power_curve=name) for name in A100]
    record = run(jobs, where(OWN), Script({0.0: lambda view: [], 1.0 / 1024: capped}))
    for name, outcome in zip(A100, record.outcomes, strict=True):
        (x0, y0), (x1, y1) = next(p for p in zip(A100[name], A100[name][1:], strict=False) if p[1][0] >= 0.5)
        does = y0 + (y1 - y0) * (0.5 - x0) / (x1 - x0)
        assert outcome.end_s == pytest.approx(HOUR / does, abs=3.0 / 1024)
    assert len({outcome.end_s for outcome in record.outcomes}) == 3


def test_one_curve_for_all_is_what_it_was() -> None:
    """A table for all jobs, and the same table given to each curve by name, are one thing."""
    same = replace(PLAIN, other_caps=tuple((name, MEASURED) for name in A100))
    jobs = [job(f"j{i}", 0.0, 1, 3 * HOUR, power_curve=name) for i, name in enumerate(A100)]
    one, other = (run(jobs, sunny(node, 2200.0)) for node in (PLAIN, same))
    assert [o.end_s for o in one.outcomes] == [o.end_s for o in other.outcomes]
    assert any(event.kind == "cap" for event in one.events)


def test_a_shortage_caps_none_below_its_own_lowest() -> None:
    """Three GPUs of 500 W above 1 kW and a limit of 1.2 kW: all go to the lowest point of their own curve."""
    record = run([job(name, 0.0, 1, 2 * HOUR, power_curve=name) for name in A100], sunny(OWN, 1200.0))
    caps = {record.jobs[e.job].ask.power_curve: e.detail["cap"] for e in record.events if e.kind == "cap"}
    assert caps == {name: table[0][0] for name, table in A100.items()}


def test_a_cap_below_a_jobs_own_curve_is_refused() -> None:
    lowest = A100["inference"][0][0]
    step = {1.0: lambda view: [Cap(lives(view)["a"], lowest)]}
    run([job("a", 0.0, 1, HOUR, power_curve="inference")], where(OWN), Script(step))
    with pytest.raises(PolicyError, match=r"must lie in \[0\.155, 1\] here"):
        run([job("a", 0.0, 1, HOUR, power_curve="fine-tuning")], where(OWN), Script(step))


def test_the_bound_knows_the_cheapest_curve() -> None:
    """Least power for the work of a GPU at full intensity over all curves: by hand, at the points of the tables."""
    place = where(OWN).sites[0]
    still, dynamic = gpu_power_w(place, (0.0, 1.0))
    least = min(500.0 * share / does for table in A100.values() for share, does in table)
    assert still + dynamic == pytest.approx(least)


@pytest.mark.parametrize("name", ["a100", "a100-inference", "v100"])
def test_tables_by_name(name: str) -> None:
    engine = EngineTable.model_validate({"power_caps": name})
    assert engine.caps == {"a100": A100["pre-training"], "a100-inference": A100["inference"], "v100": MEASURED}[name]
    assert {curve for curve, _ in engine.other_caps} == ({"fine-tuning", "inference"} if name == "a100" else set())
    assert speed(engine.caps, 1.0) == 1.0
