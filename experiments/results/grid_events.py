"""The account of the grid's requests: what was asked of each site, what came of it, and what it cost."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tafukt.simulator.power_caps import speed
from tafukt.simulator.record import GridRequest, Occupancy, Record
from tafukt.simulator.scenario import GridEvent
from tafukt.simulator.units import KWH_J, Floats

HOUR_S, MINUTE_S, KW_W, GPU_H = 3600.0, 60.0, 1000.0, 3600.0
TIERS = {"firm": 1.0, "90": 0.9, "75": 0.75, "50": 0.5, "pausable": 0.0}
# A minute counts as above the request where its mean exceeds it by more than this share of the baseline: rounding.
ABOVE = 1e-6
# How long after a request more import than the baseline is counted as its rebound [s]: a choice.
REBOUND_S = 2 * HOUR_S


def grid_event_rows(record: Record, start: datetime) -> list[dict[str, Any]]:
    """One row for each request at each site, with the columns of `dictionary.GRID_EVENTS`."""
    return [row for request in record.requests if (row := _row(record, request, start)) is not None]


def grid_event_metrics(record: Record) -> dict[str, float]:
    """The columns `dictionary.GRID_METRICS` of a run; blank where the grid asked for nothing."""
    rows = grid_event_rows(record, datetime(2000, 1, 1))
    if not rows:
        return dict.fromkeys(
            ("grid_events_met", "grid_shed_kwh", "grid_shortfall_kwh", "grid_income_mad"), math.nan
        ) | {
            "grid_events": 0,
            "floors_broken": 0,
        }
    return {
        "grid_events": len(rows),
        "grid_events_met": float(np.mean([row["met"] for row in rows])),
        "grid_shed_kwh": float(sum(row["delivered_kwh"] for row in rows)),
        "grid_shortfall_kwh": float(sum(row["shortfall_kwh"] for row in rows)),
        "grid_income_mad": float(sum(row["income_mad"] for row in rows)),
        "floors_broken": int(sum(row["floors_broken"] for row in rows)),
    }


def _row(record: Record, request: GridRequest, start: datetime) -> dict[str, Any] | None:
    site = record.scenario.sites[request.site]
    event = site.grid.events[request.number]
    held_from_s = event.start_s + event.ramp_down_s
    if held_from_s >= record.scenario.end_s:
        return None
    end_s = min(event.end_s, record.scenario.end_s)
    over_s = min(event.end_s + event.ramp_up_s, record.scenario.end_s)
    during = _minutes_w(record, request.site, held_from_s, end_s)
    whole = _minutes_w(record, request.site, event.start_s, end_s)
    after = _minutes_w(record, request.site, over_s, min(over_s + REBOUND_S, record.scenario.end_s))
    above = np.maximum(during - request.target_w, 0.0)
    missed = above > ABOVE * max(request.baseline_w, KW_W)
    reached = np.flatnonzero(whole <= request.target_w + ABOVE * max(request.baseline_w, KW_W))
    asked_w = max(request.baseline_w - request.target_w, 0.0)
    delivered_j = float(np.sum(np.maximum(request.baseline_w - during, 0.0))) * MINUTE_S
    paid_j = float(np.sum(np.clip(request.baseline_w - during, 0.0, asked_w))) * MINUTE_S
    shortfall_j = float(np.sum(np.where(missed, above, 0.0))) * MINUTE_S
    return {
        "site": site.name,
        "event": request.number,
        "notice_h": event.notice_s / HOUR_S,
        "start_h": event.start_s / HOUR_S,
        "end_h": end_s / HOUR_S,
        "start_utc": (start + timedelta(seconds=event.start_s)).replace(tzinfo=None),
        "baseline_kw": request.baseline_w / KW_W,
        "target_kw": request.target_w / KW_W,
        "asked_kwh": asked_w * (end_s - held_from_s) / KWH_J,
        "delivered_kwh": delivered_j / KWH_J,
        "shortfall_kwh": shortfall_j / KWH_J,
        "met": not bool(missed.any()),
        "minutes_above": int(missed.sum()),
        "tracking_error_kw": float(np.sqrt(np.mean(np.square(during - request.target_w)))) / KW_W,
        "reached_min": float(reached[0]) if len(reached) else math.nan,
        "overshoot_kw": float(np.max(after, initial=request.baseline_w) - request.baseline_w) / KW_W,
        "rebound_kwh": float(np.sum(np.maximum(after - request.baseline_w, 0.0))) * MINUTE_S / KWH_J,
        "income_mad": paid_j * event.pay_per_j - shortfall_j * event.penalty_per_j,
        **_throughput(record, request, event, end_s),
    }


def _minutes_w(record: Record, site: int, begin_s: float, end_s: float) -> Floats:
    """Mean import of each whole minute of a stretch [W]."""
    energy = record.energy[site]
    edges = np.arange(begin_s, end_s + 1e-6, MINUTE_S)
    if len(edges) < 2:
        return np.zeros(0)
    flows = energy.flows_w
    return np.asarray(energy.binned_j(flows["import_to_load"] + flows["import_to_battery"], edges) / MINUTE_S)


def _throughput(record: Record, request: GridRequest, event: GridEvent, end_s: float) -> dict[str, Any]:
    """Mean throughput by tier of the jobs that ran when the request began, floors that were broken, work delayed."""
    shares = _shares(record, request.site, event.start_s, end_s)
    found: dict[str, list[tuple[float, int]]] = {tier: [] for tier in TIERS}
    broken, delayed_gpu_s = 0, 0.0
    for index, (share, lasted_s) in shares.items():
        ask = record.jobs[index].ask
        tier = min(TIERS, key=lambda name: abs(TIERS[name] - ask.event_floor))
        found[tier].append((share, ask.gpus))
        broken += share < ask.event_floor - 1e-6
        delayed_gpu_s += (1.0 - share) * lasted_s * ask.gpus
    means = {
        f"throughput_{tier}": sum(s * g for s, g in rows) / sum(g for _, g in rows) if rows else math.nan
        for tier, rows in found.items()
    }
    late = sum(
        record.outcomes[index].end_s > record.jobs[index].ask.deadline_s and share < 1.0 - 1e-9
        for index, (share, _) in shares.items()
    )
    return {**means, "floors_broken": broken, "gpu_hours_delayed": delayed_gpu_s / GPU_H, "late_jobs": late}


def _shares(record: Record, site: int, begin_s: float, end_s: float) -> dict[int, tuple[float, float]]:
    """Work done from `begin_s` to `end_s` over that at full speed, and for how long [s], by job.

    A job that ends on the way counts up to its end; one that is paused does nothing until it runs again, anywhere.
    """
    rows = record.occupancy
    running = (rows.kind == Occupancy.KINDS.index("run")) | (rows.kind == Occupancy.KINDS.index("lost"))
    there = running & (rows.site == site) & (rows.start_s <= begin_s) & (rows.end_s > begin_s)
    shares: dict[int, tuple[float, float]] = {}
    for index in rows.job[there].tolist():
        mine = running & (rows.job == index) & (rows.end_s > begin_s) & (rows.start_s < end_s)
        ended_s = record.outcomes[index].end_s
        until_s = min(end_s, ended_s) if not math.isnan(ended_s) else end_s
        done_s = sum(
            (min(stop, end_s) - max(first, begin_s)) * _speed(record, index, int(place), gpus, power)
            for first, stop, place, gpus, power in zip(
                rows.start_s[mine], rows.end_s[mine], rows.site[mine], rows.gpus[mine], rows.power_w[mine], strict=True
            )
        )
        if until_s > begin_s:
            shares[index] = (done_s / (until_s - begin_s), until_s - begin_s)
    return shares


def _speed(record: Record, index: int, site: int, gpus: float, power_w: float) -> float:
    """Share of the full speed at which a job ran, from the power that it drew."""
    node, ask = record.scenario.sites[site].node, record.jobs[index].ask
    full_w = node.dynamic_w * ask.intensity * ask.gpus
    caps = node.caps_of(ask)
    if full_w <= 0.0 or not caps:
        return 1.0
    cap = (power_w - gpus * node.idle_w / node.gpus) / full_w
    return speed(caps, min(max(cap, caps[0][0]), 1.0))
