"""Nodes in service along a run: all of a site's, less those that are withdrawn as planned."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tafukt.sites.errors import SiteError
from tafukt.sites.schema.equipment import ClusterModel
from tafukt.sites.schema.ranges import Range
from tafukt.sites.time_grid import HOUR_S, Span

Changes = tuple[tuple[float, int], ...]
"""From when [s from the start] how many nodes are in service; nothing where that is always all of them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nodes_online(model: ClusterModel, span: Span, cache: Path | None = None) -> tuple[Changes, tuple[str, ...]]:
    """Times at which the number of nodes in service changes, and notes.

    Spells that overlap add up. A series holds for whole steps of the run; of a mean that is no whole number the part
    of a node is left out.

    Raises
    ------
    SiteError
        If more nodes are withdrawn at the same time than there are, or the series cannot be used.
    """
    if model.nodes_online is not None:
        from tafukt.sites.weather.series import series  # pandas is loaded for a file only

        allowed = Range("nodes", 0.0, float(model.nodes), {})
        found = series(model.nodes_online, span, "cluster.nodes_online", allowed, cache)
        counts = np.floor(found.values + 1e-9).astype(np.int64)
        rows = [(float(step * span.step_s), int(count)) for step, count in enumerate(counts)]
        return _without_repeats(rows, model.nodes), found.notes
    return _without_repeats(_spells(model, span), model.nodes), ()


def _spells(model: ClusterModel, span: Span) -> list[tuple[float, int]]:
    edges: list[tuple[float, int]] = []
    for each in model.withdrawn:
        begin_s = (each.start - EPOCH).total_seconds() - span.start_unix
        count = model.nodes if each.nodes is None else each.nodes
        edges += [(begin_s, -count), (begin_s + each.hours * HOUR_S, count)]
    online, rows = model.nodes, list[tuple[float, int]]()
    for at_s, change in sorted(edges, key=lambda edge: (edge[0], -edge[1])):  # what comes back does so first
        online += change
        if online < 0:
            when = datetime.fromtimestamp(span.start_unix + at_s, UTC)
            raise SiteError(
                f"cluster.withdrawn: {model.nodes - online} of {model.nodes} nodes are withdrawn at "
                f"{when:%Y-%m-%d %H:%M} UTC; withdraw fewer, or not all at the same time"
            )
        rows.append((max(at_s, 0.0), online))
    return [row for row in rows if row[0] < span.end_unix - span.start_unix]


def _without_repeats(rows: list[tuple[float, int]], nodes: int) -> Changes:
    """The last of several changes at one time, where it changes anything."""
    last = dict(rows)
    kept: list[tuple[float, int]] = []
    for at_s in sorted(last):
        if last[at_s] != (kept[-1][1] if kept else nodes):
            kept.append((at_s, last[at_s]))
    return tuple(kept)
