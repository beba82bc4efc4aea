"""Notes on a replayed trace for its user: the alignment of its days, rows left out or repaired, and its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tafukt.workloads.traces.table import Integrity, TraceTable, gpu_hours


def told(
    table: TraceTable, report: Integrity, first_day: float, start: datetime, days: float, scale: dict[str, Any]
) -> tuple[str, ...]:
    """Sentences on a replayed trace: how its days lie, what was left out or repaired, and where it ends."""
    lines = [_aligned(table, report, first_day, start)]
    if report.dropped:
        reasons = "; ".join(f"{reason}: {tally.text()}" for reason, tally in report.dropped.items())
        total = report.gpu_hours_dropped
        whole = total + float(gpu_hours(table.units, table.runtime_s).sum())
        share = f", {total:,.1f} GPU-hours ({total / whole:.1%} of all)" if total > 0 else ""
        lines.append(f"{report.file}: {report.rows_dropped:,} of {report.read:,} rows left out{share}: {reasons}")
    lines += [f"{report.file}: {how}: {tally.text()}" for how, tally in report.repaired.items()]
    if "encoding" in report.remarks:
        lines.append(f"{report.file}: {report.remarks['encoding']}")
    if "turns" in scale:
        lines.append(
            f"{report.file}: its {scale['repeated_days']:g} days are repeated {scale['turns']} times to fill {days:g} "
            "days, so the demand has neither seasons nor growth"
        )
    elif "remark" in scale:
        lines.append(
            f"{report.file}: ends after {max(table.days - first_day, 0):.1f} of the {days:g} days, and no jobs are "
            "submitted after that; workload.repeat = true starts it over"
        )
    return tuple(lines)


def _aligned(table: TraceTable, report: Integrity, first_day: float, start: datetime) -> str:
    """Alignment of the trace's days in words."""
    run = f"the run's start, {start.strftime('%Y-%m-%dT%H:%M%z')}"
    if table.epoch_day is None:
        return f"{report.file}: day {first_day:g} is {run}; {table.clock.said}"
    at = datetime.fromtimestamp(0, tz=UTC) + timedelta(days=table.epoch_day + first_day)
    return f"{report.file}: {at.strftime('%A %Y-%m-%d %H:%M')} there is {run}; its clock: {table.clock.said}"
