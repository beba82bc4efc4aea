"""Keys that a log of one's own cannot do without: asked for together, those that follow from its rows among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.formats import load_table

PLAIN: Mapping[str, Any] = {"gpu_cap": 1_000_000, "estimates": "exact", "load_factor": 1, "start_day": 0}
"""Values that stand for missing keys while the rest is looked at; no log is ever read with them."""


def asked(table: Mapping[str, Any]) -> dict[str, str]:
    """Keys that a trace's table lacks, with what each is to say."""
    found = {}
    if "gpu_cap" not in table:
        found["gpu_cap"] = "is missing: the largest gang that is kept as it is [GPUs]"
    if "load_factor" not in table and "load" not in table:
        found["load_factor"] = "is missing, and so is load (load_factor = 1 keeps the trace as it is)"
    if table.get("align", "first midnight") == "first midnight" and "start_day" not in table:
        what = "the day of the trace that is the experiment's first, counted from 0"
        found["start_day"] = f'is missing: {what}; or set align = "dates" to go by its dates'
    if "estimates" not in table:
        found["estimates"] = 'is missing: where runtime estimates come from, "exact", "factor" or "column"'
    if table.get("estimates") == "factor" and "estimate_factor" not in table:
        found["estimate_factor"] = "is missing: estimates = 'factor' needs it"
    return found


def asked_by_rows(table: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Keys that a trace's table lacks and rows of its file need; none where the file cannot be read as it is."""
    file, format_name = table.get("file"), table.get("format")
    if not isinstance(file, str) or not isinstance(format_name, str) or not file or not format_name:
        return {}
    try:
        trace, _ = load_table(file, format_name, folder, str(table.get("tz") or ""))
    except WorkloadError:
        return {}
    found = {}
    cap, units = table.get("gpu_cap"), table.get("gpus_per_unit", 1.0)
    if isinstance(cap, int) and isinstance(units, int | float) and table.get("over_cap") is None:
        over = int((np.ceil(trace.units * units - 1e-9) > cap).sum())
        if over:
            found["over_cap"] = f"is missing: {over} jobs ask for more than {cap} GPUs; say 'cut', 'spread' or 'drop'"
    if table.get("slack_h") is None and table.get("slack_factor") is None:
        said = np.zeros(len(trace), dtype=bool)
        for column in (trace.slack_s, trace.deadline_s):
            said |= np.isfinite(column) if column is not None else False
        silent = int((~said).sum())
        if silent:
            found["slack_h"] = f"is missing, and so is slack_factor: {silent} rows give neither slack nor deadline"
    return found
