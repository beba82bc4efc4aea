"""Jobs of a workload, whatever its kind.

Errors:

    ValueError
    +-- WorkloadError      anything wrong in a description or a file
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job_table import numbers_of
from tafukt.workloads.schema import Demand, GeneratorModel, NoJobsModel, Place, TraceModel
from tafukt.workloads.units import DAY_S


def build(
    model: GeneratorModel | TraceModel | NoJobsModel,
    places: Sequence[Place],
    start: datetime,
    days: float,
    seed: int,
    folder: Path,
) -> Demand:
    """The jobs of a workload.

    Parameters
    ----------
    model : GeneratorModel, TraceModel or NoJobsModel
    places : sequence of Place
        Every site, also those not yet online.
    start : datetime
        Start of the experiment, with a time zone.
    days : float
        How long jobs are submitted [days].
    seed : int
    folder : Path
        What relative paths in the model are relative to.

    Raises
    ------
    WorkloadError
        If the model, its files or the places do not fit together.
    """
    if start.tzinfo is None:
        raise WorkloadError(f"start: {start.isoformat()} has no time zone")
    if not (days > 0 and math.isfinite(days)):
        raise WorkloadError(f"days: must be above zero, got {days}")
    if isinstance(model, NoJobsModel):
        return Demand((), {"kind": "none"})
    if not any(place.population > 0 for place in places):
        raise WorkloadError("no site has any inhabitants, so nobody submits jobs; give at least one a population")
    if isinstance(model, GeneratorModel):
        from tafukt.workloads.generator import generate

        demand = generate(model, places, start, days, seed, folder)
        _refuse_overload(model, demand, places, days)
    else:
        from tafukt.workloads.traces.replay import replay

        try:
            demand = replay(model, places, start, days, seed, folder)
        except WorkloadError as error:
            raise WorkloadError([*error.problems, *_also_asked(model, folder, str(error))]) from None
        if model.load_factor is not None and model.load_factor > 1:  # a log as it is may ask for what it did
            _refuse_overload(model, demand, places, days)
    return replace(demand, told=(*demand.told, *_load(demand, places, days), *_too_large(demand, places)))


def _also_asked(model: TraceModel, folder: Path, told: str) -> list[str]:
    """Problems with what else the rows of a log ask for, where one thing that they ask for is missing."""
    if "workload.over_cap" not in told and "workload.slack_h" not in told:
        return []
    from tafukt.workloads.traces.asked import asked_by_rows

    wanted = asked_by_rows(model.model_dump(exclude_none=True), folder)
    return [f"workload.{key}: {text}" for key, text in wanted.items() if f"workload.{key}" not in told]


LOAD_MOST = 100.0
"""Nothing drawn or copied is to offer more times the work that the GPUs can do: years of queue, which nobody means."""


def _refuse_overload(model: GeneratorModel | TraceModel, demand: Demand, places: Sequence[Place], days: float) -> None:
    load = _offered(demand, places, days)
    if load > LOAD_MOST:
        other = "load_factor" if isinstance(model, TraceModel) else "jobs_per_day_per_million"
        key = "load" if model.load is not None else other
        raise WorkloadError(
            f"workload.{key} = {getattr(model, key):g}: the {len(demand.jobs):,} jobs ask for {load:,.0f} times what "
            f"the GPUs can do in {days:g} days; at most {LOAD_MOST:g} times is allowed"
        )


def _offered(demand: Demand, places: Sequence[Place], days: float) -> float:
    """Work offered over what the GPUs can do in the time that jobs are submitted; 0 where there are none."""
    capacity = sum(place.gpus * place.speed for place in places) * days * DAY_S
    return sum(numbers_of(demand.jobs, "due_gpu_s").tolist()) / capacity if capacity else 0.0


def _load(demand: Demand, places: Sequence[Place], days: float) -> list[str]:
    if not any(place.gpus for place in places):
        return []
    load = _offered(demand, places, days)
    over = "; more than they can do, so jobs will wait or be late" if load > 1 else ""
    return [f"load: the jobs ask for {load:.1%} of the GPU time available in {days:g} days{over}"]


def _too_large(demand: Demand, places: Sequence[Place]) -> list[str]:
    """Jobs that no site can hold, at their smallest size."""
    most = max(place.gpus for place in places)
    least = numbers_of(demand.jobs, "gpus_min")
    least = np.where(least > 0, least, numbers_of(demand.jobs, "gpus"))
    large = np.flatnonzero(least > most).tolist()
    if not large:
        return []
    due = numbers_of(demand.jobs, "due_gpu_s").tolist()
    work = sum(due)
    share = sum(due[place] for place in large) / work if work else 0.0
    verb = "asks" if len(large) == 1 else "ask"
    names = ", ".join(demand.jobs[place].ask.job_id for place in large[:5]) + (" ..." if len(large) > 5 else "")
    return [
        f"{len(large):,} of {len(least):,} jobs ({share:.1%} of the work) {verb} for up to "
        f"{int(least.max())} GPUs and no site has more than {most}: they are rejected ({names})"
    ]
