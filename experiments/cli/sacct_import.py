"""A first experiment from what `sacct` printed: the cluster from what ran on it, the load, the dates."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from tafukt.simulator.units import DAY_H
from tafukt.sites.site import node_types
from tafukt.workloads.traces.sacct import gpu_types, gpus_of, nodes_of, read_sacct, sacct_log
from tafukt.workloads.traces.table import Integrity, TraceTable, gpu_hours


@dataclass(frozen=True)
class FoundCluster:
    """The cluster that a log was recorded on, as far as the log shows it; `kind` is a node of the catalogue."""

    nodes: int
    gpus_per_node: int
    kind: str
    how: str

    @property
    def gpus(self) -> int:
        """All GPUs that ran something."""
        return self.nodes * self.gpus_per_node


def first_experiment(path: Path, output: Path, like: str, zone: str) -> tuple[str, list[str]]:
    """The text of an experiment that replays a log on the cluster that it shows, and what was found, in lines.

    Raises
    ------
    WorkloadError
        If the log cannot be read.
    """
    table, report = read_sacct(path, zone)
    report.settle("drop")
    cluster = found_cluster(path, table)
    first, days = _window(table, zone)
    work = float(gpu_hours(table.units, table.runtime_s).sum())
    load = work / (cluster.gpus * days * DAY_H)
    lines = [
        f"{path.name}: {len(table):,} jobs with GPUs of {report.read:,} rows; {work:,.0f} GPU-hours in {days} days",
        f"cluster: {cluster.nodes} nodes of {cluster.gpus_per_node} GPUs ({cluster.kind}), {cluster.how}",
        f"load: {load:.1%} of these GPUs",
        *(f"left out: {reason}: {tally.text()}" for reason, tally in report.dropped.items()),
    ]
    return _text(path, output, table, report, cluster, like, zone, first, days), lines


def found_cluster(path: Path, table: TraceTable) -> FoundCluster:
    """Nodes by their names where the log lists them, else as many as the most GPUs at once need."""
    log = sacct_log(path)
    gpus = gpus_of(log)
    lists = [nodes_of(words) for words in log.first_of("NodeList").tolist()]
    with_gpus = [(names, int(count)) for names, count in zip(lists, gpus.tolist(), strict=True) if count > 0 and names]
    kind, known = _kind(gpu_types(log))
    if with_gpus:
        per_node = max(math.ceil(count / len(names)) for names, count in with_gpus)
        nodes = len({name for names, _ in with_gpus for name in names})
        how = "by the nodes that jobs with GPUs ran on"
    else:
        per_node = node_types()[kind].gpus
        nodes = max(1, math.ceil(_most_at_once(table) / per_node))
        how = "by the most GPUs in use at once; the log has no NodeList"
    return FoundCluster(nodes, per_node, kind, how + ("" if known else "; their type is a guess"))


def _kind(types: dict[str, int]) -> tuple[str, bool]:
    """The node of the catalogue whose name is in that of most GPUs."""
    for name in sorted(types, key=lambda name: -types[name]):
        for kind in node_types():
            if kind in name.lower():
                return kind, True
    return "a100", False


def _most_at_once(table: TraceTable) -> float:
    start = (
        table.submit_s if table.start_s is None else np.where(np.isnan(table.start_s), table.submit_s, table.start_s)
    )
    times = np.concatenate((start + table.runtime_s, start))
    change = np.concatenate((-table.units, table.units))
    return float(np.cumsum(change[np.argsort(times, kind="stable")]).max(initial=0.0))


def _window(table: TraceTable, zone: str) -> tuple[datetime, int]:
    """The first midnight of the log, and the days to its last submission."""
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=table.epoch_day or 0)
    first = day.replace(tzinfo=ZoneInfo(zone)) if zone else day - timedelta(seconds=table.clock.offset_s)
    return first, max(1, math.ceil(table.days + 1e-9))


def _node(cluster: FoundCluster) -> str:
    """The nodes as TOML: one of the catalogue, or scaled from it by GPUs."""
    model = node_types()[cluster.kind]
    if cluster.gpus_per_node == model.gpus:
        return f'"{cluster.kind}"'
    part = cluster.gpus_per_node / model.gpus
    power = ", ".join(f"{key} = {getattr(model, key) * part:.4g}" for key in ("idle_kw", "loaded_kw", "sleep_kw"))
    return (
        f"{{ gpus = {cluster.gpus_per_node}, {power}, wake_s = {model.wake_s:g}, "
        f"sleep_after_min = {model.sleep_after_min or 0.0:g}, speed = {model.speed:g} }}  "
        f"# {model.title}, scaled by GPUs: a guess"
    )


def _text(
    path: Path, output: Path, table: TraceTable, report: Integrity, cluster: FoundCluster, like: str, zone: str,
    first: datetime, days: int,
) -> str:  # fmt: skip
    name = "".join(c if c.isalnum() else "_" for c in path.name.partition(".")[0]).strip("_") or "cluster"
    file = os.path.relpath(path.resolve(), output.resolve().parent)
    limits = bool((table.estimate_s > 0).any())
    estimates = 'estimates = "column"    # the time limits' if limits else 'estimates = "factor"'
    clock = f'tz = "{zone}"' if zone else '# tz = "Europe/Rome"  # of the cluster: sacct prints local time'
    return f"""# Made from {path.name}: {len(table):,} jobs with GPUs of {report.read:,} rows.
# What the log does not know is marked CHOICE: look at it before you believe a result.

name = "{name}"
question = "What would {name} have drawn from the grid if its jobs had waited for the sun?"
start = {first.isoformat()}
days = {days}
policies = ["as-logged", "fifo", "wait-for-sun"]
baseline = "as-logged"

[sites.own.{name}]
like = "{like}"    # CHOICE: the log does not say where its cluster stands; give lat, lon and tz
cluster.nodes = {cluster.nodes}    # {cluster.how}
cluster.node = {_node(cluster)}

[workload]
kind = "trace"
file = "{file}"
format = "sacct"
align = "dates"
{clock}
recorded_on = "{cluster.kind}"
gpu_cap = {int(table.units.max())}
load_factor = 1
slack_h = 6    # CHOICE: how long every start may be put off
{estimates}
estimate_factor = 1.5    # CHOICE: for jobs without a time limit
bad_rows = "drop"
"""
