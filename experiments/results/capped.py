"""Power caps over a run: for how long sites held jobs back, and the work that this delayed."""

from __future__ import annotations

import numpy as np

from tafukt.simulator.record import Occupancy, Record
from tafukt.simulator.units import HOUR_S, Floats

RUN = Occupancy.KINDS.index("run")
# A job is capped where it draws less than this share of what it draws without a cap: rounding.
WHOLE = 1.0 - 1e-6


def capped_metrics(record: Record) -> dict[str, float]:
    """Site-hours in which a job ran under a power cap, and the work of the reference GPU that caps delayed."""
    rows, held_s, delayed_gpu_s = record.occupancy, 0.0, 0.0
    for index, site in enumerate(record.scenario.sites):
        node = site.node
        if not node.caps:
            continue
        mine = np.flatnonzero((rows.site == index) & (rows.kind == RUN))
        asks = [record.jobs[job].ask for job in rows.job[mine].tolist()]
        gpus = np.array([ask.gpus for ask in asks], dtype=np.float64)
        full_w = gpus * np.array([ask.intensity for ask in asks]) * node.dynamic_w
        above_w = rows.power_w[mine] - rows.gpus[mine] * node.idle_w / node.gpus
        rigid = np.array([ask.speedup is None for ask in asks], dtype=bool)  # a resized job draws less, too
        capped = (above_w < WHOLE * full_w) & (full_w > 0.0) & rigid
        starts, ends = rows.start_s[mine][capped], rows.end_s[mine][capped]
        held_s += _covered_s(starts, ends)
        for at, lasted_s in zip(np.flatnonzero(capped).tolist(), (ends - starts).tolist(), strict=True):
            power, does = zip(*node.caps_of(asks[at]), strict=True)
            speed = float(np.interp(above_w[at] / full_w[at], power, does))
            delayed_gpu_s += (1.0 - speed) * asks[at].gpus * lasted_s
    return {"capped_h": held_s / HOUR_S, "capped_gpu_hours": delayed_gpu_s / HOUR_S}


def _covered_s(starts_s: Floats, ends_s: Floats) -> float:
    """Time that intervals cover together [s]."""
    if not len(starts_s):
        return 0.0
    order = np.argsort(starts_s, kind="stable")
    starts, reach = starts_s[order], np.maximum.accumulate(ends_s[order])
    before = np.concatenate(([-np.inf], reach[:-1]))
    return float(np.sum(np.maximum(reach - np.maximum(starts, before), 0.0)))
