"""Inputs that differ in their last bits give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.experiments import contents, run, tiny

from tafukt.experiments.config import scenario
from tafukt.experiments.config.load import check
from tafukt.experiments.config.rounding import STEPS, rounded_jobs
from tafukt.experiments.config.toml import parse
from tafukt.sites.profile import StepProfile
from tafukt.sites.supply import SiteSupply
from tafukt.workloads.job import Job
from tafukt.workloads.schema import Demand

NEAR = 1e-14


def perturbed(values: Any, rng: np.random.Generator) -> Any:
    """Values changed by up to 1e-14 of themselves."""
    return values * (1.0 + NEAR * rng.uniform(-1.0, 1.0, np.shape(values)))


def perturb(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Perturb what sites and workloads hand on, as another version of a library would."""
    rng = np.random.default_rng(seed)
    supplies, jobs_of = scenario.supplies, scenario.build_jobs

    def other_supplies(*given: Any) -> Iterator[tuple[str, SiteSupply]]:
        def of(profile: StepProfile) -> StepProfile:
            return StepProfile(perturbed(profile.values, rng), profile.step_s, profile.start_s)

        for name, found in supplies(*given):
            yield name, replace(found, **{key: of(getattr(found, key)) for key in STEPS})

    def other_jobs(*given: Any) -> Demand:
        def of(job: Job) -> Job:
            times = {key: float(perturbed(getattr(job.ask, key), rng)) for key in ("submit_s", "estimate_s", "slack_s")}
            work = float(perturbed(job.truth.work_gpu_s, rng))
            return Job(replace(job.ask, **times), replace(job.truth, work_gpu_s=work))

        demand = jobs_of(*given)
        return replace(demand, jobs=tuple(of(job) for job in demand.jobs))

    monkeypatch.setattr(scenario, "supplies", other_supplies)
    monkeypatch.setattr(scenario, "build_jobs", other_jobs)


def test_inputs_that_differ_in_their_last_bits_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tafukt.experiments.runs.run import inputs_of

    policies = ("fifo", "easy", "solar", "wait-for-sun")
    path = tmp_path / "tiny.toml"
    path.write_text(tiny(policies), encoding="utf-8")
    folders = []
    for seed in range(3):
        inputs_of.cache_clear()
        with monkeypatch.context() as patch:
            if seed:
                perturb(patch, seed)
            assert run(path, tmp_path / str(seed)).ok
        folders.append(contents(tmp_path / str(seed)))
    inputs_of.cache_clear()
    assert sum(name.endswith(".parquet") for name in folders[0]) == 3 * len(policies)
    for other in folders[1:]:
        assert [name for name in folders[0] if folders[0][name] != other.get(name)] == []


def test_times_and_powers_lie_on_their_grids() -> None:
    inputs = scenario.build(check(parse(tiny().encode(), "a"), "a", Path()), 1)
    assert rounded_jobs(inputs.jobs) == inputs.jobs
    for job in inputs.jobs:
        for time_s in (job.ask.submit_s, job.ask.estimate_s, job.ask.slack_s, job.truth.work_gpu_s / job.ask.gpus):
            assert (1024.0 * time_s).is_integer()
        assert job.ask.estimate_s > 0
    for site in inputs.scenario.sites:
        assert (site.pv.values * 2**20 % 1 == 0).all()
        assert site.pv.values.max() > 1000.0
        assert (site.other.values * 2**20 % 1 == 0).all()


def test_the_generator_draws_on_the_clock_of_the_simulator() -> None:
    """What two packages that do not see each other hold to be the clock's tick is one: rounding is for free."""
    loaded = check(parse(tiny().encode(), "a"), "a", Path())
    places = [scenario._place(site, loaded.experiment.start) for site in loaded.sites.values()]
    jobs = scenario.build_jobs(loaded.experiment.workload, places, loaded.experiment.start, 1, 1, Path()).jobs
    assert len(jobs) > 5
    assert rounded_jobs(jobs) == jobs
