"""One run: a cell of the matrix under one policy, from its resolved inputs to the files of its folder."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.config.notes import notes as all_notes
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.results import tables as results
from tafukt.experiments.results.books.energy_table import EnergyTable
from tafukt.experiments.results.books.reading import Reading
from tafukt.experiments.results.metrics import Times, job_times, summary
from tafukt.experiments.results.objective import OBJECTIVES
from tafukt.experiments.results.stored import RUN_SUMMARY
from tafukt.experiments.results.tables import json_bytes
from tafukt.experiments.runs.matrix import Case, Run, axis_value, inputs_of
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.record import Record
from tafukt.simulator.units import HOUR_S

if TYPE_CHECKING:
    from tafukt.simulator.bound.lower_bound import Bound

Files = dict[str, bytes]


def head(run: Run, status: str) -> dict[str, Any]:
    """The columns of a summary that come before its metrics."""
    return {
        "run": run.run_id,
        "status": status,
        "policy": run.policy.label,
        "seed": run.cell.seed,
        **{key: axis_value(value) for key, value in run.cell.axes.items()},
    }


def execute(run: Run) -> Files:
    """Simulate one run; returns the files of its folder, by name. A failure is a result of its own."""
    try:
        return _simulated(run)
    except (Exception, SystemExit) as error:
        shared_bound.cache_clear()
        inputs_of.cache_clear()  # lest what a bad policy wrote into is handed to the next one
        return failure(run, f"{type(error).__name__}: {error}", traceback.format_exc())


def failure(run: Run, reason: str, details: str = "") -> Files:
    """The files of a run that failed."""
    files = {RUN_SUMMARY: json_bytes({**head(run, "failed"), "reason": reason[:2000]})}
    return files | ({"error.txt": details.encode()} if details else {})


def _simulated(run: Run) -> Files:
    inputs, seed = inputs_of(run.cell), run.cell.seed
    policy, guarded = run.policy.load(), not run.policy.is_ours
    reading = _reading(inputs, run.policy.label, seed)
    record = simulate(
        inputs.scenario,
        inputs.jobs,
        policy,
        seed=seed,
        settings=inputs.settings,
        check_handed=guarded,
        read=reading.read,
    )
    times = job_times(record)
    measured = summary(record, reading=reading, times=times)
    row = {**head(run, "complete"), **results.metric_values(measured)}
    files = _tables(record, inputs, run.policy.label, seed, reading, times)
    if (
        run.cell.loaded.experiment.bound
        and row["jobs_left"] == 0
        and (bound := own_bound(record, run.cell, times)) is not None
    ):
        files["bound.json"] = bound_bytes(bound)
    return files | {RUN_SUMMARY: json_bytes(row)}


def _about(inputs: Inputs, label: str, seed: int) -> dict[str, str]:
    """Metadata of the tables of a run."""
    return {"policy": label, "seed": str(seed), "start": inputs.experiment.start.isoformat(), "tz": inputs.tz}


def _reading(inputs: Inputs, label: str, seed: int) -> Reading:
    """A reading of the books of a run, for its metrics and tables."""
    experiment, about = inputs.experiment, _about(inputs, label, seed)
    given = inputs.scenario.end_s, experiment.start, experiment.output_step_s, inputs.temp_air_c
    return Reading(inputs.costs, experiment.account_s, EnergyTable(*given, about), inputs.meters)


def _tables(record: Record, inputs: Inputs, label: str, seed: int, reading: Reading, times: Times) -> Files:
    """The tables of a run."""
    experiment, about = inputs.experiment, _about(inputs, label, seed)
    given = experiment.start, experiment.output_step_s, inputs.temp_air_c, experiment.output.events
    return results.table_files(record, *given, times, about, reading)


@lru_cache(maxsize=2)
def shared_bound(cell: Case) -> Bound:
    """The bound of a cell's runs that miss no deadline; kept, since those that do are held against one like it."""
    return bound_of(inputs_of(cell), cell.seed)


def own_bound(record: Record, cell: Case, times: Times) -> Bound | None:
    """The bound of a run that missed deadlines or gave jobs up; `None` where the cell's bound serves it.

    Windows of late jobs are stretched to their actual ends, and jobs given up need not be done.
    """
    late = times["missed"] & times["ended"]
    given_up = (times["state"] != "left") & (times["work_left_gpu_s"] > 0)
    if not late.any() and not given_up.any():
        return None
    ends_s = np.where(late, times["end_s"], np.nan)
    return bound_of(inputs_of(cell), cell.seed, ends_s, given_up, shared_bound(cell))


def bound_of(
    inputs: Inputs,
    seed: int,
    ends_s: NDArray[np.float64] | None = None,
    skip: NDArray[np.bool_] | None = None,
    known: Bound | None = None,
) -> Bound:
    """The lower bound on the objective of a cell."""
    from tafukt.simulator.bound.lower_bound import lower_bound

    return lower_bound(
        inputs.scenario,
        inputs.jobs,
        deadlines_s=ends_s,
        objective=inputs.experiment.objective,
        skip=skip,
        settings=inputs.settings,
        seed=seed,
        known=known,
    )


def cell_notes(cell: Case) -> bytes:
    """Notes on a cell's inputs, as JSON: how its jobs came about, what its weather files lacked."""
    inputs = inputs_of(cell)
    notes = {"seed": cell.seed, "axes": cell.axes, "jobs": len(inputs.jobs)}
    notes |= {"window_h": inputs.scenario.end_s / HOUR_S, "workload": inputs.notes, "weather": inputs.weather_notes}
    notes |= {"notes": all_notes(cell.loaded, inputs, cell.axes)}
    return json_bytes(notes)


def cell_bound(cell: Case) -> bytes:
    """The bound that the runs of a cell share where they miss no deadline, as JSON."""
    return bound_bytes(shared_bound(cell))


def cell_best(cell: Case, begun: bytes = b"") -> Iterator[Files]:
    """The best schedule known of a cell, by name of file: how far its search is, and at last its tables and metrics.

    `begun` is what an earlier search has left to go on from.
    """
    from tafukt.simulator.policies.planner.clairvoyant import best_known

    # What a cell's kept inputs say of the best schedule may be another experiment's: it is no part of the cell.
    inputs, wanted = inputs_of(cell), cell.loaded.experiment.best_known
    given = inputs.scenario, inputs.jobs, inputs.settings
    record, about = best_known(*given, cell.seed), {"how": "planned knowing all"}
    if not isinstance(wanted, bool) and wanted.search:
        from tafukt.simulator.search.best import better, why_not
        from tafukt.simulator.search.search import Found, SearchSettings, search

        how = SearchSettings(wanted.steps)
        about["why_not_searched"] = why_not(*given)
        if not about["why_not_searched"]:
            found = Found.from_bytes(begun) if begun else None
            for step in search(inputs.scenario, inputs.jobs, cell.seed, how, found):
                found = step
                yield {"search.npz": found.to_bytes()}
            if found is not None:
                record, about["how"] = better(record, *given, cell.seed, found, how)
    reading, times = _reading(inputs, "best-known", cell.seed).of(record), job_times(record)
    tables = _tables(record, inputs, "best-known", cell.seed, reading, times)
    yield {f"best/{name}": data for name, data in tables.items()}
    measured = summary(record, reading=reading, times=times)
    yield {"best.json": json_bytes({**about, **results.metric_values(measured)})}


def bound_bytes(bound: Bound) -> bytes:
    """A bound as JSON, with how it came about."""
    objective = OBJECTIVES[bound.objective]
    estimate = "estimate_" + objective.metric.rpartition("_")[2]
    values = {objective.bound: bound.value / objective.per_unit, estimate: bound.primal / objective.per_unit}
    about = {name: getattr(bound, name) for name in ("status", "iterations", "columns", "rows", "slots")}
    return json_bytes({**values, **about, "stretched_h": bound.stretched_s / HOUR_S})
