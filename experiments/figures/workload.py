"""One page of six figures about a workload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tafukt.experiments.figures.style import FAINT, INK, SUN
from tafukt.workloads.describe import Workload, arrivals_by_hour, arrivals_by_weekday, facts
from tafukt.workloads.units import Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def workload_page(workload: Workload) -> Figure:
    """One page of six figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.7, 7.4), layout="constrained")
    axes = figure.subplots(2, 3)
    numbers = facts(workload)
    head = f"{workload.title}: {numbers['jobs']:,} jobs"
    if numbers["jobs"]:
        head += f", {numbers['gpu_hours']:,.0f} GPU-hours, {numbers['days']:.1f} days"
        _durations(axes[0, 0], workload)
        _sizes(axes[0, 1], workload)
        _bars(axes[0, 2], "GPU time by class", workload, workload.kind, workload.kinds)
        _hours(axes[1, 0], workload)
        _weekdays(axes[1, 1], workload)
        _bars(axes[1, 2], "GPU time by region or cluster", workload, workload.region, workload.regions)
    figure.suptitle(head, fontsize=13, color=INK, x=0.01, ha="left")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure


def save_page(workload: Workload, path: Path) -> Path:
    """Write the page of figures to a PNG, SVG or PDF file, by its ending."""
    workload_page(workload).savefig(path, dpi=130)
    return path


def _title(axis: Axes, title: str, x: str, y: str = "") -> None:
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)


def _durations(axis: Axes, workload: Workload) -> None:
    """Cumulative shares of jobs and of GPU time over the duration."""
    order = np.argsort(workload.duration_s, kind="stable")
    hours = np.maximum(workload.duration_s[order], 1.0) / 3600.0
    share = np.arange(1, len(hours) + 1) / len(hours)
    work = np.cumsum(workload.work_gpu_h[order])
    axis.step(hours, 100 * share, color=INK, where="post", label="jobs")
    axis.step(hours, 100 * work / work[-1], color=SUN, where="post", label="GPU time")
    axis.set_xscale("log")
    ticks = [
        (1 / 3600, "1 s"),
        (1 / 60, "1 min"),
        (1 / 6, "10 min"),
        (1.0, "1 h"),
        (6.0, "6 h"),
        (24.0, "1 d"),
        (720.0, "30 d"),
    ]
    shown = [(at, label) for at, label in ticks if hours[0] / 3 <= at <= hours[-1] * 3]
    axis.set_xticks([at for at, _ in shown], [label for _, label in shown])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8)
    _title(axis, "Duration", "up to", "cumulative share [%]")


def _sizes(axis: Axes, workload: Workload) -> None:
    """Shares of jobs and of GPU time by gang size, in powers of two."""
    bucket = np.ceil(np.log2(np.maximum(workload.gpus, 1.0))).astype(np.int64)
    jobs = np.bincount(bucket)
    work = np.bincount(bucket, weights=workload.work_gpu_h)
    at = np.arange(len(jobs))
    axis.bar(at - 0.2, 100 * jobs / jobs.sum(), 0.4, color=INK, label="jobs")
    axis.bar(at + 0.2, 100 * work / work.sum(), 0.4, color=SUN, label="GPU time")
    labels = ["1", "2"] + [f"{2 ** (i - 1) + 1}-{2**i}" for i in range(2, len(jobs))]
    axis.set_xticks(at, labels[: len(jobs)], rotation=45 if len(jobs) > 6 else 0)
    axis.legend(frameon=False, fontsize=8)
    _title(axis, "Gang size", "GPUs", "share [%]")


def _bars(axis: Axes, title: str, workload: Workload, codes: Ints, names: tuple[str, ...]) -> None:
    """Share of GPU time by name, largest first, at most twelve."""
    work = np.bincount(codes, weights=workload.work_gpu_h, minlength=len(names))
    order = np.argsort(-work, kind="stable")[:12]
    share = 100 * work[order] / work.sum()
    axis.barh(np.arange(len(order)), share, color=SUN, height=0.7)
    axis.set_yticks(np.arange(len(order)), [(names[i] or "all").replace("_", " ") for i in order])
    axis.set_ylim(max(len(order), 4) - 0.5, -0.5)
    axis.set_xlim(0, max(share) * 1.15)
    for i, value in enumerate(share):
        axis.text(value + max(share) * 0.01, i, f"{value:.1f}", va="center", fontsize=7, color=INK)
    _title(axis, title, "share [%]")


def _hours(axis: Axes, workload: Workload) -> None:
    axis.bar(np.arange(24), 100 * arrivals_by_hour(workload), color=INK, width=0.8)
    axis.axhline(100 / 24, color=FAINT, linewidth=1)
    axis.set_xticks(range(0, 24, 3))
    _title(axis, "Arrivals by hour", "local hour", "share of jobs [%]")


def _weekdays(axis: Axes, workload: Workload) -> None:
    known = workload.weekday >= 0
    axis.bar(np.arange(7), 100 * arrivals_by_weekday(workload), color=INK, width=0.7)
    axis.axhline(100 / 7, color=FAINT, linewidth=1)
    axis.set_xticks(range(7), WEEKDAYS if known else [str(n + 1) for n in range(7)])
    _title(
        axis,
        "Arrivals by weekday",
        "" if known else "day of the trace, modulo 7 (it has no dates)",
        "share of jobs [%]",
    )
