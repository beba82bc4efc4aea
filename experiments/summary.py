"""summary.csv: one row per run, rebuilt from the runs that are there; the comparisons are made here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.dictionary import COMPARISON_METRICS, METRICS
from experiments.folder import MANIFEST, SUMMARY, Folder
from experiments.metrics import comparison
from experiments.results import csv_bytes, json_bytes, metric_values

Row = dict[str, Any]
COMPARED = tuple(column.name for column in COMPARISON_METRICS)


def rows_of(folder: Folder, manifest: Mapping[str, Any] | None = None) -> list[Row]:
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
    return [_compared(row, manifest["runs"][run_id]["cell"], baselines, folder) for run_id, row in rows.items()]


def _compared(row: Row, cell: str, baselines: Mapping[str, Row], folder: Folder) -> Row:
    """A row with its comparisons: against the baseline of its cell, and the bound of its cell or its own."""
    if row["status"] != "complete":
        return row
    bound = folder.json(f"runs/{row['run']}/bound.json") or folder.json(f"cells/{cell}.bound.json") or {}
    found = comparison(row, baselines.get(cell), bound.get("bound_draw_kwh"))
    values = metric_values({**row, **found})
    return {key: values[key] if key in COMPARED else value for key, value in row.items()}


def header(manifest: Mapping[str, Any]) -> list[str]:
    """The columns of summary.csv: keys, axes, metrics."""
    axes = [key for keys in manifest["axes"] for key in keys]
    return ["run", "status", "policy", "seed", *axes, *(column.name for column in METRICS)]


def rebuild(folder: Folder, manifest_now: Callable[[], Mapping[str, Any]]) -> list[Row]:
    """Write summary.csv, each run's comparisons and the manifest anew; returns the rows.

    `manifest_now` is called once the folder is locked, so that of several processes the last one to write
    knows of all runs.
    """
    with folder.locked():
        manifest = manifest_now()
        rows = rows_of(folder, manifest)
        for row in rows:
            if row["status"] == "complete":
                folder.write(f"runs/{row['run']}/summary.json", json_bytes(row))
        columns = header(manifest)
        folder.write(SUMMARY, csv_bytes(columns, [[row.get(name) for name in columns] for row in rows]))
        folder.write(MANIFEST, json_bytes(manifest))
    return rows


def failed(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs that failed."""
    return [row for row in rows if row["status"] == "failed"]
