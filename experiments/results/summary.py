"""The summary: one row per run, made from the runs that are there, with its comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from tafukt.experiments.results.dictionary import COMPARISON_METRICS, METRICS
from tafukt.experiments.results.metrics import AGAINST_BASE as against
from tafukt.experiments.results.metrics import against_base, comparison
from tafukt.experiments.results.stored import StoredResults
from tafukt.experiments.results.tables import metric_values

Row = dict[str, Any]
LIMITS = ("bound_draw_kwh", "best_known_draw_kwh")
"""Between which the least possible draw lies."""
AGAINST_BASE = tuple(f"{name}{of}" for of in ("", "_per_year") for name in against)
"""Columns against the same policy and seed in the baseline scenario."""
COMPARED = tuple(column.name for column in COMPARISON_METRICS)


def rows_of(folder: StoredResults, manifest: Mapping[str, Any] | None = None) -> list[Row]:
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
    best = {cell: _best_known(folder, cell, members) for cell, members in cells.items()}
    base_of = _bases(rows, manifest)
    return [
        _compared(row, cell := cell_of[run_id], baselines.get(cell), best[cell], folder, base_of(row))
        for run_id, row in rows.items()
    ]


def _bases(rows: Mapping[str, Row], manifest: Mapping[str, Any]) -> Callable[[Row], Row | None]:
    """What finds the run of the baseline scenario that a row is held against: of its policy, seed and other axes."""
    settled: Mapping[str, Any] = manifest.get("baseline_scenario") or {}
    axes = [key for keys in manifest.get("axes", ()) for key in keys]

    def place(row: Row, values: Mapping[str, Any]) -> tuple[str, ...]:
        return (row["policy"], str(row["seed"]), *(repr(values.get(axis, row.get(axis))) for axis in axes))

    done = {place(row, {}): row for row in rows.values() if row["status"] == "complete"} if settled else {}
    return lambda row: done.get(place(row, settled))


def _best_known(folder: StoredResults, cell: str, rows: Sequence[Row]) -> float | None:
    """The least draw of a cell that is known to be possible: its best schedule's, or that of a run which beats it.

    Neither may miss deadlines more often than `fifo`, where that has been run, or at all.
    """
    found = folder.json(f"cells/{cell}.best.json")
    if found is None:
        return None
    done = [row for row in rows if row["status"] == "complete"]
    missed = max((row["deadline_miss_rate"] or 0.0 for row in done if row.get("policy") == "fifo"), default=0.0)
    kept = ("jobs_left", "jobs_refused", "work_left_gpu_hours")
    able = [row for row in [*done, found] if not any(row.get(name) for name in kept)]
    return min((row["draw_kwh"] for row in able if (row["deadline_miss_rate"] or 0.0) <= missed), default=None)


def _compared(
    row: Row, cell: str, baseline: Row | None, best_kwh: float | None, folder: StoredResults, base: Row | None
) -> Row:
    """A row with its comparisons: with the baseline and the best of its cell, and the bound of its cell or its own."""
    if row["status"] != "complete":
        return row
    bound = folder.json(f"runs/{row['run']}/bound.json") or folder.json(f"cells/{cell}.bound.json") or {}
    found = comparison(row, baseline, bound.get("bound_draw_kwh"), best_kwh) | against_base(row, base)
    values = metric_values({**row, **found})
    return {key: values[key] if key in COMPARED else value for key, value in row.items()}


def header(manifest: Mapping[str, Any]) -> list[str]:
    """The columns of summary.csv: keys, axes, metrics."""
    axes = [key for keys in manifest.get("axes", ()) for key in keys]
    return ["run", "status", "policy", "seed", *axes, *(column.name for column in METRICS)]


def least_possible(rows: Sequence[Mapping[Any, Any]], axes: Sequence[str] = ()) -> str:
    """Between what the least draw of one scenario lies, in a sentence; empty where no best schedule was asked for."""
    limits = []
    for name in LIMITS:
        known = [row for row in rows if row.get(name) is not None and row[name] == row[name]]
        # a run that was late has a lower bound of its own
        each = {row["seed"]: max(other[name] for other in known if other["seed"] == row["seed"]) for row in known}
        limits.append(fmean(each.values()) if each else None)
    low, high = limits
    if high is None or len({tuple(row[axis] for axis in axes) for row in rows}) > 1:
        return ""
    between = f"at most {high:,.0f} kWh" if low is None else f"between {low:,.0f} kWh (bound) and {high:,.0f} kWh"
    return f"The least that any schedule could draw lies {between} (best known schedule)."


def failed(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs that failed."""
    return [row for row in rows if row["status"] == "failed"]
