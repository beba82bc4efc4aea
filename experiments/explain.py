"""The story of one job, from the events of a run: where and when it ran, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

WIDTH = 60
WORDS = {
    "submit": "was submitted",
    "reject": "was rejected",
    "hold": "was held",
    "start": "started",
    "pause": "was paused",
    "move": "was moved",
    "resize": "was resized",
    "kill": "was killed",
    "end": "ended",
}
HIDDEN = ("state",)


@dataclass(frozen=True)
class Story:
    """A job under one policy: who it was, what happened, one line for each event, and a timeline."""

    headline: str
    lines: tuple[str, ...]
    timeline: tuple[str, ...]


def story(job: Mapping[str, Any], events: list[Mapping[str, Any]], tz: str) -> Story:
    """A job's story.

    Parameters
    ----------
    job : mapping
        Its row of jobs.parquet.
    events : list of mapping
        Its rows of events.parquet, in order.
    tz : str
        Time zone in which times are told.
    """
    zone = ZoneInfo(tz)
    deadline = f", deadline {job['deadline_h'] - job['submit_h']:.1f} h after submission" if _finite(job) else ""
    headline = (
        f"{job['job']}: {job['job_class'] or 'a job'} of {job['region']} ({job['home']}), {job['gpus']} GPUs, "
        f"estimated {job['estimate_h']:.1f} h{deadline}; {job['residency']} data; {job['state']}"
    )
    lines = [_line(event, zone) for event in events]
    return Story(headline, tuple(lines), tuple(_timeline(job, events, zone)))


def _finite(job: Mapping[str, Any]) -> bool:
    return bool(job["deadline_h"] < float("inf"))


def _line(event: Mapping[str, Any], zone: ZoneInfo) -> str:
    detail = json.loads(event["detail"] or "{}")
    at = f" at {event['site']}" if event["site"] else ""
    reason = f": {event['reason']}" if event["reason"] else ""
    start = event["time_utc"] - timedelta(hours=event["time_h"])
    numbers = ", ".join(_number(key, value, start, zone) for key, value in detail.items() if key not in HIDDEN)
    state = f" ({detail['state']})" if "state" in detail else ""
    words = WORDS.get(event["kind"], event["kind"])
    return f"{_when(event['time_utc'], zone)}  {words}{state}{at}{reason}" + (f" [{numbers}]" if numbers else "")


def _when(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%a %d %b %H:%M")


def _number(key: str, value: Any, start: datetime, zone: ZoneInfo) -> str:
    """A number that a decision rested on: simulation time as a clock shows it, spans in hours."""
    if key == "until_s":
        return f"until {_when(start + timedelta(seconds=value), zone)}"
    if key.endswith("_s") and isinstance(value, int | float):
        return f"{key[:-2]} {value / 3600.0:.2f} h"
    return f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"


def _timeline(job: Mapping[str, Any], events: list[Mapping[str, Any]], zone: ZoneInfo) -> list[str]:
    """A bar from submission to end: dots while it waits, blocks while it runs; below, the hours of the clock."""
    if not events:
        return []
    first = float(job["submit_h"])
    last = max(float(events[-1]["time_h"]), first + 1.0 / 60.0)
    marks = [(float(event["time_h"]), event["kind"]) for event in events]
    running, bar = False, ""
    for column in range(WIDTH):
        until = first + (last - first) * (column + 1) / WIDTH
        started = False
        while marks and marks[0][0] <= until:
            kind = marks.pop(0)[1]
            running = kind in ("start", "resize") or (running and kind in ("hold", "submit"))
            started = started or running
        bar += "█" if running or started else "·"
    left, right = _when(events[0]["time_utc"], zone), _when(events[-1]["time_utc"], zone)
    return [bar, f"{left}{right:>{WIDTH - len(left)}}"]
