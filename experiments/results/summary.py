"""The summary: one row per run, made from the runs that are there, with its comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from tafukt.experiments.results.dictionary import METRICS
from tafukt.experiments.results.metrics import AGAINST_BASE as against
from tafukt.experiments.results.metrics import against_base, comparison
from tafukt.experiments.results.objective import DRAW, OBJECTIVES, Objective, objective_of
from tafukt.experiments.results.stored import COMPARED_COLUMNS, Row, StoredResults
from tafukt.experiments.results.tables import metric_values

AGAINST_BASE_COLUMNS = tuple(f"{name}{of}" for of in ("", "_per_year") for name in against)
"""Columns against the same policy and seed in the baseline scenario."""


def run_rows(folder: StoredResults, manifest: Mapping[str, Any] | None = None) -> list[Row]:
    """A row for every run of a folder that is complete or failed, in the order of the manifest.

    Raises
    ------
    FolderError
        If it is no result folder.
    """
    manifest = manifest or folder.manifest()
    rows = {run_id: row for run_id in manifest["runs"] if (row := folder.run_summary(run_id)) is not None}
    baselines = {
        manifest["runs"][run_id]["cell"]: row
        for run_id, row in rows.items()
        if row["policy"] == manifest["baseline"] and row["status"] == "complete"
    }
    cell_of = {run_id: manifest["runs"][run_id]["cell"] for run_id in rows}
    cells: dict[str, list[Row]] = {}
    for run_id, row in rows.items():
        cells.setdefault(cell_of[run_id], []).append(row)
    objective = {cell: _objective(members[0], manifest) for cell, members in cells.items()}
    best = {cell: _best_known(folder, cell, members, objective[cell]) for cell, members in cells.items()}
    base_of = _bases(rows, manifest)
    return [
        _compared(row, cell := cell_of[run_id], baselines.get(cell), best[cell], folder, base_of(row), objective[cell])
        for run_id, row in rows.items()
    ]


def _objective(row: Row, manifest: Mapping[str, Any]) -> Objective:
    """Objective of the runs of a cell; folders of earlier versions know the draw only."""
    return OBJECTIVES[row.get("objective") or manifest.get("objective") or "draw"]


def _bases(rows: Mapping[str, Row], manifest: Mapping[str, Any]) -> Callable[[Row], Row | None]:
    """Look-up of the run of the baseline scenario that a row is held against: of its policy, seed and other axes."""
    settled: Mapping[str, Any] = manifest.get("baseline_scenario") or {}
    axes = [key for keys in manifest.get("axes", ()) for key in keys]

    def place(row: Row, values: Mapping[str, Any]) -> tuple[str, ...]:
        return (row["policy"], str(row["seed"]), *(repr(values.get(axis, row.get(axis))) for axis in axes))

    done = {place(row, {}): row for row in rows.values() if row["status"] == "complete"} if settled else {}
    return lambda row: done.get(place(row, settled))


def _best_known(folder: StoredResults, cell: str, rows: Sequence[Row], objective: Objective = DRAW) -> float | None:
    """The least of a cell that is known to be possible: its best schedule's, or that of a run which beats it.

    Neither may miss deadlines more often than `fifo`, where that has been run, or at all.
    """
    found = folder.json(f"cells/{cell}.best.json")
    if found is None:
        return None
    done = [row for row in rows if row["status"] == "complete"]
    missed = max((row["deadline_miss_rate"] or 0.0 for row in done if row.get("policy") == "fifo"), default=0.0)
    kept = ("jobs_left", "jobs_refused", "work_left_gpu_hours")
    able = [row for row in [*done, found] if not any(row.get(name) for name in kept)]
    return min((row[objective.metric] for row in able if (row["deadline_miss_rate"] or 0.0) <= missed), default=None)


def _compared(
    row: Row,
    cell: str,
    baseline: Row | None,
    best: float | None,
    folder: StoredResults,
    base: Row | None,
    objective: Objective,
) -> Row:
    """A row with its comparisons: with the baseline and the best of its cell, and the bound of its cell or its own."""
    if row["status"] != "complete":
        return row
    bound = folder.json(f"runs/{row['run']}/bound.json") or folder.json(f"cells/{cell}.bound.json") or {}
    found = comparison(row, baseline, bound.get(objective.bound), best, objective) | against_base(row, base)
    values = metric_values({**row, **found})
    return {key: values[key] if key in COMPARED_COLUMNS else value for key, value in row.items()}


def header(manifest: Mapping[str, Any]) -> list[str]:
    """The columns of summary.csv: keys, axes, metrics."""
    axes = [key for keys in manifest.get("axes", ()) for key in keys]
    return ["run", "status", "policy", "seed", *axes, *(column.name for column in METRICS)]


def least_possible(rows: Sequence[Mapping[Any, Any]], axes: Sequence[str] = ()) -> str:
    """Between what the least of one scenario lies, in a sentence; empty where no best schedule was asked for."""
    limits = []
    objective = objective_of(rows)
    for name in objective.limits:
        known = [row for row in rows if row.get(name) is not None and row[name] == row[name]]
        # a run that was late has a lower bound of its own
        each = {row["seed"]: max(other[name] for other in known if other["seed"] == row["seed"]) for row in known}
        limits.append(fmean(each.values()) if each else None)
    low, high = limits
    if high is None or len({tuple(row[axis] for axis in axes) for row in rows}) > 1:
        return ""
    unit = objective.unit
    between = (
        f"at most {high:,.0f} {unit}" if low is None else f"between {low:,.0f} {unit} (bound) and {high:,.0f} {unit}"
    )
    return f"{objective.least} lies {between} (best known schedule)."


def failed(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs that failed."""
    return [row for row in rows if row["status"] == "failed"]
