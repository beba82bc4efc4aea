"""The account of the grid's requests: what was asked of each site, what came of it, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from tafukt.experiments.results.attribution import books_of
from tafukt.simulator.engine.grid_requests.control import HOLD_S
from tafukt.simulator.power_caps import speed
from tafukt.simulator.record import OCCUPANCY_CODES, GridRequest, Record
from tafukt.simulator.scenario import GridEvent
from tafukt.simulator.units import KWH_J, Floats, Ints

HOUR_S, MINUTE_S, KW_W, GPU_H = 3600.0, 60.0, 1000.0, 3600.0
TIERS = {"firm": 1.0, "90": 0.9, "75": 0.75, "50": 0.5, "pausable": 0.0}
# A minute counts as above the request where its mean exceeds it by more than this share of the baseline: rounding.
ABOVE = 1e-6
# How long after a request more import than the baseline is counted as its rebound [s]: a choice.
REBOUND_S = 2 * HOUR_S
_RUN, _LOST, _SAVE, _RESTART = (OCCUPANCY_CODES[kind] for kind in ("run", "lost", "checkpoint", "restart"))


class ImportMeter(NamedTuple):
    """The import of a site from the start of the window to each edge of its books [s, J]."""

    edges_s: Floats
    joules: Floats


def grid_event_rows(
    record: Record, start: datetime, imports: Mapping[int, ImportMeter] | None = None
) -> list[dict[str, Any]]:
    """One row for each request at each site, with the columns of `dictionary.GRID_EVENTS`.

    `imports` is that of each site that was asked, where the record holds its books no longer.
    """
    if not record.requests:
        return []
    if imports is None:
        imports = {books.index: ImportMeter(books.energy.edges_s, books.import_meter_j) for books in books_of(record)}
    books = _Books(record, imports)
    return [row for asked in _together(record) if (row := _row(books, asked, start)) is not None]


def _together(record: Record) -> list[list[GridRequest]]:
    """The requests, each alone or with those at other sites that share it."""
    found: dict[tuple[str, float] | tuple[int, int], list[GridRequest]] = {}
    for request in record.requests:
        event = _event(record, request)
        key = (event.shared, event.start_s) if event.shared else (request.site, request.number)
        found.setdefault(key, []).append(request)
    return list(found.values())


def _event(record: Record, request: GridRequest) -> GridEvent:
    return record.scenario.sites[request.site].grid.events[request.number]


def grid_event_metrics(record: Record, imports: Mapping[int, ImportMeter] | None = None) -> dict[str, float]:
    """The columns `dictionary.GRID_METRICS` of a run; blank where the grid asked for nothing."""
    rows = grid_event_rows(record, datetime(2000, 1, 1), imports)
    if not rows:
        blank = ("grid_events_met", "grid_shed_kwh", "grid_shortfall_kwh", "grid_income_mad")
        return dict.fromkeys(blank, math.nan) | {"grid_events": 0, "floors_broken": 0}
    return {
        "grid_events": len(rows),
        "grid_events_met": float(np.mean([row["met"] for row in rows])),
        "grid_shed_kwh": float(sum(row["delivered_kwh"] for row in rows)),
        "grid_shortfall_kwh": float(sum(row["shortfall_kwh"] for row in rows)),
        "grid_income_mad": float(sum(row["income_mad"] for row in rows)),
        "floors_broken": int(sum(row["floors_broken"] for row in rows)),
    }


class _Books:
    """Books that every request looks at: import summed up over time, and who held GPUs when, found without a search."""

    def __init__(self, record: Record, imports: Mapping[int, ImportMeter]) -> None:
        self.record, self._imports = record, imports
        rows = record.occupancy
        self._order = np.argsort(rows.job, kind="stable")
        self._first = np.searchsorted(rows.job[self._order], np.arange(len(record.jobs) + 1))
        self._running = (rows.kind == _RUN) | (rows.kind == _LOST)
        self._at = [np.flatnonzero(self._running & (rows.site == site)) for site in range(len(record.scenario.sites))]

    def minutes_w(self, asked: list[GridRequest], begin_s: float, end_s: float) -> Floats:
        """Mean import of each whole minute of a stretch, of all sites that were asked together [W]."""
        return np.asarray(sum(self._minutes_w(request.site, begin_s, end_s) for request in asked))

    def _minutes_w(self, site: int, begin_s: float, end_s: float) -> Floats:
        edges = np.arange(begin_s, end_s + 1e-6, MINUTE_S)
        if len(edges) < 2:
            return np.zeros(0)
        return np.asarray(np.diff(np.interp(edges, *self._imports[site])) / MINUTE_S)

    def there(self, site: int, begin_s: float) -> list[int]:
        """The jobs that ran at a site when a request began, and those that had saved themselves for it just before."""
        rows, at = self.record.occupancy, self._at[site]
        held = at[(rows.start_s[at] <= begin_s) & (rows.end_s[at] > begin_s - HOLD_S)]
        return sorted(
            {
                index
                for index, end_s in zip(rows.job[held].tolist(), rows.end_s[held].tolist(), strict=True)
                if end_s > begin_s or self.record.jobs[index].ask.event_floor == 0.0
            }
        )

    def of(self, job: int) -> Ints:
        """The rows of one job, in order of time."""
        return self._order[self._first[job] : self._first[job + 1]]

    def share(self, job: int, begin_s: float, end_s: float) -> float:
        """Work done from `begin_s` to `end_s` over that at full speed; a paused job does none until it runs again."""
        rows, mine = self.record.occupancy, self.of(job)
        mine = mine[self._running[mine] & (rows.end_s[mine] > begin_s) & (rows.start_s[mine] < end_s)]
        done_s = sum(
            (min(stop, end_s) - max(first, begin_s)) * _speed(self.record, job, int(place), gpus, power)
            for first, stop, place, gpus, power in zip(
                rows.start_s[mine], rows.end_s[mine], rows.site[mine], rows.gpus[mine], rows.power_w[mine], strict=True
            )
        )
        return float(done_s / (end_s - begin_s))

    def saving_gpu_s(self, job: int, begin_s: float, end_s: float) -> float:
        """Powered time on the checkpoints written from `begin_s` to `end_s`, and on the restart after each [GPU-s]."""
        rows, mine = self.record.occupancy, self.of(job)
        starts = rows.start_s[mine]
        saves = mine[(rows.kind[mine] == _SAVE) & (starts >= begin_s) & (starts < end_s)]
        restarts = mine[(rows.kind[mine] == _RESTART) & (starts >= begin_s)][: len(saves)]
        both = np.concatenate((saves, restarts))
        return float(np.sum(rows.gpus[both] * (rows.end_s[both] - rows.start_s[both])))


def _row(books: _Books, asked: list[GridRequest], start: datetime) -> dict[str, Any] | None:
    record = books.record
    event, names = _event(record, asked[0]), [record.scenario.sites[request.site].name for request in asked]
    baseline_w = sum(request.baseline_w for request in asked)
    target_w = asked[0].target_w
    if event.shared:
        target_w = event.to_w if event.to_w is not None else baseline_w * (1.0 - event.cut)
    held_from_s = event.start_s + event.ramp_down_s
    if held_from_s >= record.scenario.end_s:
        return None
    end_s = min(event.end_s, record.scenario.end_s)
    over_s = min(event.end_s + event.ramp_up_s, record.scenario.end_s)
    during = books.minutes_w(asked, held_from_s, end_s)
    whole = books.minutes_w(asked, event.start_s, end_s)
    after = books.minutes_w(asked, over_s, min(over_s + REBOUND_S, record.scenario.end_s))
    above = np.maximum(during - target_w, 0.0)
    missed = above > ABOVE * max(baseline_w, KW_W)
    reached = np.flatnonzero(whole <= target_w + ABOVE * max(baseline_w, KW_W))
    asked_w = max(baseline_w - target_w, 0.0)
    delivered_j = float(np.sum(np.maximum(baseline_w - during, 0.0))) * MINUTE_S
    paid_j = float(np.sum(np.clip(baseline_w - during, 0.0, asked_w))) * MINUTE_S
    shortfall_j = float(np.sum(np.where(missed, above, 0.0))) * MINUTE_S
    return {
        "site": event.shared or names[0],
        "event": asked[0].number,
        "members": ";".join(names) if event.shared else "",
        "notice_h": event.notice_s / HOUR_S,
        "start_h": event.start_s / HOUR_S,
        "end_h": end_s / HOUR_S,
        "start_utc": (start + timedelta(seconds=event.start_s)).replace(tzinfo=None),
        "baseline_kw": baseline_w / KW_W,
        "target_kw": target_w / KW_W,
        "asked_kwh": asked_w * (end_s - held_from_s) / KWH_J,
        "delivered_kwh": delivered_j / KWH_J,
        "shortfall_kwh": shortfall_j / KWH_J,
        "met": not bool(missed.any()),
        "minutes_above": int(missed.sum()),
        "held_h": (int(missed.argmax()) * MINUTE_S if missed.any() else end_s - held_from_s) / HOUR_S,
        "tracking_error_kw": float(np.sqrt(np.mean(np.square(during - target_w)))) / KW_W,
        "reached_min": float(reached[0]) if len(reached) else math.nan,
        "overshoot_kw": float(np.max(after, initial=baseline_w) - baseline_w) / KW_W,
        "rebound_kwh": float(np.sum(np.maximum(after - baseline_w, 0.0))) * MINUTE_S / KWH_J,
        "income_mad": paid_j * event.pay_per_j - shortfall_j * event.penalty_per_j,
        **_cost(books, asked, event, end_s, delivered_j / KWH_J),
    }


def _cost(
    books: _Books, asked: list[GridRequest], event: GridEvent, end_s: float, delivered_kwh: float
) -> dict[str, Any]:
    """Mean throughput by tier of the jobs that ran when it began, floors that were broken, and what it cost."""
    record = books.record
    found: dict[str, list[tuple[float, int]]] = {tier: [] for tier in TIERS}
    broken = late = 0
    delayed_gpu_s = saving_gpu_s = late_s = 0.0
    for index in sorted({index for request in asked for index in books.there(request.site, event.start_s)}):
        ask, ended_s = record.jobs[index].ask, record.outcomes[index].end_s
        until_s = min(end_s, ended_s) if not math.isnan(ended_s) else end_s
        if until_s <= event.start_s:
            continue
        share = books.share(index, event.start_s, until_s)
        found[min(TIERS, key=lambda name: abs(TIERS[name] - ask.event_floor))].append((share, ask.gpus))
        broken += share < ask.event_floor - 1e-6
        delayed_gpu_s += (1.0 - share) * (until_s - event.start_s) * ask.gpus
        if share < 1.0 - 1e-9:
            saving_gpu_s += books.saving_gpu_s(index, event.start_s - HOLD_S, end_s)
            over_s = max(ended_s - ask.deadline_s, 0.0) if not math.isnan(ended_s) else 0.0
            late, late_s = late + (over_s > 0.0), late_s + over_s
    means = {
        f"throughput_{tier}": sum(s * g for s, g in rows) / sum(g for _, g in rows) if rows else math.nan
        for tier, rows in found.items()
    }
    spent = (delayed_gpu_s + saving_gpu_s) / GPU_H
    return {
        **means,
        "floors_broken": broken,
        "gpu_hours_delayed": delayed_gpu_s / GPU_H,
        "gpu_hours_saving": saving_gpu_s / GPU_H,
        "cost_gpu_hours_per_kwh": spent / delivered_kwh if delivered_kwh > 0.0 else math.nan,
        "late_jobs": late,
        "late_h": late_s / HOUR_S,
    }


def _speed(record: Record, index: int, site: int, gpus: float, power_w: float) -> float:
    """Share of the full speed at which a job ran, from the power that it drew."""
    node, ask = record.scenario.sites[site].node, record.jobs[index].ask
    full_w = node.dynamic_w * ask.intensity * ask.gpus
    caps = node.caps_of(ask)
    if full_w <= 0.0 or not caps:
        return 1.0
    cap = (power_w - gpus * node.idle_w / node.gpus) / full_w
    return speed(caps, min(max(cap, caps[0][0]), 1.0))
