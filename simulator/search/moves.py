"""Moves of the search: jobs taken out and put back, acceptance, and cooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tafukt.simulator.search.compiled import compiled
from tafukt.simulator.search.course import (
    FAR,
    REMOVED,
    UNPLACED_KWH,
    apply,
    bring_up,
    copy_plan,
    course_change,
    retime,
    trial,
)
from tafukt.simulator.search.places import best
from tafukt.simulator.units import Floats, Ints


@compiled
def _below(rng: np.random.Generator, n: int) -> int:
    return min(int(rng.random() * n), n - 1)


@compiled
def _nudged(w: Any, j: int, row: int, rng: np.random.Generator) -> bool:
    """Change a plan a little: a start, the share of two stays, a site, or one stay more or less."""
    p, n = w.plan, w.plan.number[row]
    i, dice = _below(rng, n), rng.random()
    if dice < (0.8 if n == 1 else 0.35):
        span = 15.0 if rng.random() < 0.5 else 90.0
        step = int((rng.random() - 0.5) * 2.0 * span)
        p.a[row, i] += step if step else 1
    elif n > 1 and dice < 0.75:
        other = (i + 1 + _below(rng, n - 1)) % n
        span = 20.0 if rng.random() < 0.5 else 120.0
        less = min(math.floor(rng.random() * span) + 1.0, p.work[row, i] - 1.0)
        if less <= 0.0:
            return False
        p.work[row, i] -= less
        p.work[row, other] += less
        if rng.random() < 0.5:
            p.a[row, i] += int(less)
        if rng.random() < 0.5:
            p.a[row, other] -= int(less)
    elif n == 1 or dice < 0.9:
        p.site[row, i] = _below(rng, w.jobs.sites.shape[1])
        if i + 1 < n and rng.random() < 0.3:
            p.site[row, i + 1] = p.site[row, i]
    else:
        i = min(i, n - 2)
        if rng.random() < 0.5:
            p.work[row, i] += p.work[row, i + 1]
            gone = i + 1
        else:
            p.a[row, i + 1] -= int(p.work[row, i])
            p.work[row, i + 1] += p.work[row, i]
            gone = i
        for q in range(gone, n - 1):
            p.site[row, q], p.a[row, q], p.slot[row, q] = p.site[row, q + 1], p.a[row, q + 1], p.slot[row, q + 1]
            p.work[row, q] = p.work[row, q + 1]
        p.number[row] = n - 1
    return True


@compiled
def _some_sites(w: Any, j: int, rng: np.random.Generator) -> Any:
    """Some of the sites that may have a job, so that not all are looked at each time."""
    allowed = w.jobs.sites[j].copy()
    if rng.random() < 0.4:
        return allowed
    for s in range(len(allowed)):
        allowed[s] = allowed[s] and rng.random() < 0.4
    return allowed if allowed.any() else w.jobs.sites[j].copy()


@compiled
def one(w: Any, heat: float, rng: np.random.Generator, sums: Floats) -> None:
    """Move one job, drawn by its weight: nudge its plan, or take the best there is for it."""
    p = w.plan
    count = len(w.jobs.gpus)
    j = min(np.searchsorted(sums, rng.random() * sums[-1]), count - 1)
    if p.number[j] == 0:
        return
    old, new, spare = count, count + 1, count + 2
    copy_plan(p, j, p, old)
    before = -apply(w, j, old, -1)
    after = FAR
    if rng.random() < 0.6:
        copy_plan(p, old, p, new)
        if _nudged(w, j, new, rng) and retime(w, j, new):
            after = trial(w, j, new)
    else:
        after = best(w, j, _some_sites(w, j, rng), 8 if w.jobs.gpus[j] < 8 else 12, heat, rng, new, spare)
    if after < FAR and (after <= before or rng.random() < math.exp((before - after) / heat)):
        copy_plan(p, new, p, j)
        apply(w, j, j, 1)
    else:
        apply(w, j, old, 1)


@compiled
def _overlaps(w: Any, j: int, s: int, m0: int, m1: int) -> bool:
    """Whether a job runs between two minutes, on site `s` or (-1) anywhere."""
    p = w.plan
    found = False
    for i in range(p.number[j]):
        found = found or ((s < 0 or p.site[j, i] == s) and p.a[j, i] < m1 and p.b[j, i] > m0)
    return found


@compiled
def _neighbours(w: Any, rng: np.random.Generator, sums: Floats, chosen: Ints) -> int:
    """Jobs to take out together: of a site and day, of the same hours, large ones, or any; how many.

    A job without a place, if there is one, is chosen first, with jobs that stand in its way.
    """
    count, n = len(w.jobs.gpus), 0
    most = 2 + _below(rng, len(chosen) - 1)
    s, m0 = _below(rng, w.jobs.sites.shape[1]), _below(rng, w.sites.minutes)
    m1, kind = m0 + 1440, rng.random()
    begin = _below(rng, count)
    for i in range(count):
        j = (begin + i) % count
        if w.plan.number[j] == 0:
            chosen[0], n = j, 1
            m0, m1, kind = w.jobs.submit[j], w.jobs.deadline[j], 0.0
            places = np.flatnonzero(w.jobs.sites[j])
            s = places[_below(rng, len(places))]
            break
    if kind < 0.7:
        if kind >= 0.4:
            s, m1 = -1, m0 + 60
        begin = _below(rng, count)
        for i in range(count):
            j = (begin + i) % count
            if n < most and w.plan.number[j] and (kind >= 0.4 or rng.random() < 0.5) and _overlaps(w, j, s, m0, m1):
                chosen[n] = j
                n += 1
        return n
    for _ in range(most):
        drawn = np.searchsorted(sums, rng.random() * sums[-1]) if kind < 0.9 else _below(rng, count)
        j = min(drawn, count - 1)
        fresh = w.plan.number[j] > 0
        for i in range(n):
            fresh = fresh and chosen[i] != j
        if fresh:
            chosen[n] = j
            n += 1
    return n


@compiled
def several(w: Any, heat: float, rng: np.random.Generator, sums: Floats) -> None:
    """Take several jobs out and put each back at its cheapest place; all as before where that is worse."""
    p, jobs, count = w.plan, w.jobs, len(w.jobs.gpus)
    chosen = np.zeros(REMOVED, np.int64)
    n = _neighbours(w, rng, sums, chosen)
    saved, new, spare = count + 3, count + 1, count + 2
    change = 0.0
    order = np.zeros(n)
    for i in range(n):
        j = chosen[i]
        copy_plan(p, j, p, saved + i)
        change += apply(w, j, j, -1) - (0.0 if p.number[j] else UNPLACED_KWH)
        order[i] = -jobs.weight[j] * (0.5 + rng.random()) - (0.0 if p.number[j] else FAR)
        p.number[j] = 0
    for i in np.argsort(order):
        j = chosen[i]
        if best(w, j, jobs.sites[j], 8, heat if rng.random() < 0.5 else 0.0, rng, new, spare) < FAR:
            copy_plan(p, new, p, j)
            change += apply(w, j, j, 1)
        else:
            change += UNPLACED_KWH
    if change <= 0.0 or rng.random() < math.exp(-change / heat):
        return
    for i in range(n):
        apply(w, chosen[i], chosen[i], -1)
    for i in range(n):
        copy_plan(p, saved + i, p, chosen[i])
        apply(w, chosen[i], chosen[i], 1)


# --- the search ------------------------------------------------------------------------------------


@compiled
def clear(w: Any) -> None:
    """The course without any job."""
    c = w.course
    c.busy[:] = 0
    c.held[:] = 0
    c.gpus_kw[:] = 0.0
    c.drawn[:] = 0.0
    c.total[:] = 0.0
    bins = c.drawn.shape[1]
    for s in range(len(c.total)):
        c.stored[s, :] = w.sites.start[s]
        bring_up(w, s, 0, w.sites.minutes)
        course_change(w, s, 0, bins + 1, True)


@compiled
def rebuild(w: Any, by_weight: Ints, rng: np.random.Generator) -> None:
    """Put all plans into an empty course; jobs without a plan then go to their cheapest place, in this order."""
    p, count = w.plan, len(w.jobs.gpus)
    clear(w)
    for j in range(count):
        apply(w, j, j, 1)
    for j in by_weight:
        if p.number[j] == 0 and best(w, j, w.jobs.sites[j], 20, 0.0, rng, count + 1, count + 2) < FAR:
            copy_plan(p, count + 1, p, j)
            apply(w, j, j, 1)


@compiled
def objective(w: Any) -> float:
    """Draw of the plan, jobs without a place counted [kWh]."""
    total = w.course.total.sum()
    for j in range(len(w.jobs.gpus)):
        if w.plan.number[j] == 0:
            total += UNPLACED_KWH
    return float(total)


@compiled
def anneal(w: Any, kept: Any, least: float, steps: int, hot: float, cold: float, rng: np.random.Generator) -> float:
    """Some steps of the search at a heat that falls from `hot` to `cold` [kWh]; the best plan goes into `kept`."""
    sums = np.cumsum(w.jobs.weight)
    for step in range(steps):
        heat = hot * (cold / hot) ** (step / steps)
        if step % 20 == 0:
            several(w, heat, rng, sums)
        else:
            one(w, heat, rng, sums)
        if step % 500 == 499 or step == steps - 1:
            now = objective(w)
            if now < least - 0.01:
                least = now
                for j in range(len(w.jobs.gpus)):
                    copy_plan(w.plan, j, kept, j)
    return least
