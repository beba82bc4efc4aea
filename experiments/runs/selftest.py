"""`tafukt selftest`: conservation, determinism and faults, checked on the user's own experiment.

Its first scenario is taken, cut to a length that simulates in seconds, and run under each of its policies:
as it is, again with the jobs in another order, and with what may go wrong going wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.policies import PolicyRef
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.results import tables as results
from tafukt.experiments.results.attribution import books_of, jobs_columns
from tafukt.experiments.results.metrics import summary
from tafukt.experiments.results.objective import OBJECTIVES, Objective
from tafukt.experiments.runs.run import bound_of
from tafukt.simulator.energy.balance import TOLERANCE
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.record import Record
from tafukt.simulator.units import HOUR_S

DAYS = 2
MANY = 12  # of more policies each is checked on one day, so that all take less than a minute


@dataclass(frozen=True)
class Check:
    """One check under one policy: what was asked, whether it holds, and the measure of it."""

    policy: str
    name: str
    holds: bool
    measure: str


def days_checked(loaded: Loaded) -> int:
    """Most days of an experiment that are checked."""
    return 1 if len(loaded.policies) > MANY else DAYS


def shortened(loaded: Loaded, days: int = DAYS) -> Loaded:
    """The experiment's first scenario, at most so many days long."""
    values = {key: value for axis in loaded.axes for key, value in zip(axis.keys, axis.rows[0], strict=True)}
    return loaded.at(values | {"days": min(days, loaded.experiment.days)})


def checks(loaded: Loaded, told: Callable[[str], None] = lambda _: None) -> Iterator[Check]:
    """Every check of an experiment, one after another; `told` hears what is being run.

    Raises
    ------
    InputError, SiteError, WorkloadError
        If the experiment's inputs cannot be used.
    """
    short = shortened(loaded, days_checked(loaded))
    seed = short.experiment.seeds[0]
    told("inputs")
    inputs = build(short, seed)
    objective = OBJECTIVES[loaded.experiment.objective]
    least = bound_of(inputs, seed).value / objective.per_unit if loaded.experiment.bound else -math.inf
    for policy in loaded.policies:
        told(policy.label)
        yield from _of_policy(inputs, policy, seed, objective, least)


def _of_policy(inputs: Inputs, policy: PolicyRef, seed: int, objective: Objective, least: float) -> Iterator[Check]:
    def say(name: str, holds: bool, measure: str) -> Check:
        return Check(policy.label, name, holds, measure)

    try:
        record = simulate(inputs.scenario, inputs.jobs, policy.load(), seed=seed, settings=inputs.settings)
    except Exception as error:
        yield say("it runs", False, f"{type(error).__name__}: {error}")
        return
    yield say("the ledger closes", record.balance_residual <= TOLERANCE, f"residual {record.balance_residual:.1e}")
    gap = attribution_gap(record)
    yield say("jobs and sites add up to the load", gap <= TOLERANCE, f"gap {gap:.1e}")
    states = {outcome.state for outcome in record.outcomes}
    known = len(record.outcomes) == len(inputs.jobs)
    yield say("every job is in one end state", known, f"{len(record.outcomes)} jobs: {', '.join(sorted(states))}")
    gap = gpu_gap(record)
    yield say("GPU time adds up", gap <= TOLERANCE, f"gap {gap:.1e}")
    if "left" not in states and not _late(record):
        measured = summary(record, inputs.costs)[objective.metric]
        holds = least <= measured + TOLERANCE * abs(measured)
        yield say(
            f"the bound lies below the {objective.name}", holds, f"{least:,.1f} <= {measured:,.1f} {objective.unit}"
        )
    first = _tables(inputs, record)
    again = simulate(inputs.scenario, inputs.jobs, policy.load(), seed=seed, settings=inputs.settings)
    size = sum(map(len, first.values()))
    yield say("the same again, to the byte", _tables(inputs, again) == first, f"{size:,} bytes")
    turned = simulate(inputs.scenario, inputs.jobs[::-1], policy.load(), seed=seed, settings=inputs.settings)
    yield say("the order of the jobs in the list does not matter", _tables(inputs, turned) == first, "reversed")
    yield _faults(inputs, policy, seed)


def _faults(inputs: Inputs, policy: PolicyRef, seed: int) -> Check:
    """The engine checks itself in every run; here nodes fail every few hours, and the grid goes every day."""
    scenario = inputs.scenario
    outages = tuple((t, t + 2 * HOUR_S) for t in np.arange(10 * HOUR_S, scenario.end_s - 3 * HOUR_S, 25 * HOUR_S))
    sites = tuple(replace(site, grid=replace(site.grid, outages=outages)) for site in scenario.sites)
    breaking = FaultSettings(node_mtbf_s=12 * HOUR_S, repair_s=HOUR_S, hazard_per_s=1.0 / (24 * HOUR_S))
    settings = replace(inputs.settings, faults=breaking)
    name = "it holds when nodes and grid fail"
    try:
        record = simulate(replace(scenario, sites=sites), inputs.jobs, policy.load(), seed=seed, settings=settings)
    except Exception as error:
        return Check(policy.label, name, False, f"{type(error).__name__}: {error}")
    kills = sum(outcome.kills for outcome in record.outcomes)
    gap = max(record.balance_residual, attribution_gap(record), gpu_gap(record))
    return Check(policy.label, name, gap <= TOLERANCE, f"{kills} jobs killed, gap {gap:.1e}")


def _late(record: Record) -> bool:
    ends = zip(record.jobs, record.outcomes, strict=True)
    return any(outcome.end_s > job.ask.deadline_s for job, outcome in ends)


def attribution_gap(record: Record) -> float:
    """Gap between jobs + rest of the sites and the load, relative to the load."""
    given = float(jobs_columns(record)["energy_kwh"].sum())
    for books in books_of(record):
        given += books.energy.total_j(books.rest_rate("energy_kwh"))
    load = sum(energy.total_j(energy.site_w) for energy in record.energy) / 3.6e6
    return abs(given - load) / load if load > 0 else abs(given)


def gpu_gap(record: Record) -> float:
    """Gap between the GPU-seconds of the occupancy and those of the jobs, relative to them."""
    occupancy = record.occupancy
    held = float(np.sum(occupancy.gpus * (occupancy.end_s - occupancy.start_s)))
    told = math.fsum(outcome.busy_gpu_s for outcome in record.outcomes)
    return abs(held - told) / told if told > 0 else held


def _tables(inputs: Inputs, record: Record) -> dict[str, bytes]:
    return results.table_files(record, inputs.experiment.start, inputs.experiment.output_step_s, inputs.temp_air_c)


def default_experiment() -> Path:
    """The experiment that is checked if the user names none: the bundled Morocco week."""
    return toml.bundled()["morocco_week"]
