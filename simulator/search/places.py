"""Cheapest places of a job: contiguous windows by price, and sets of half hours for one that may stop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tafukt.simulator.search.compiled import compiled
from tafukt.simulator.search.course import (
    EPS,
    FAR,
    SEGMENTS,
    SLOTS,
    copy_plan,
    costs_kw,
    fits,
    full_from,
    retime,
    trial,
    whole_nodes,
)
from tafukt.simulator.units import Floats, Ints


@compiled
def _windows(w: Any, j: int, allowed: Any, costs: Floats, where: Ints) -> int:
    """The cheapest contiguous windows of a job by price, as (cost; site, slot, start); how many were found."""
    found = 0
    for s in range(len(allowed)):
        if not allowed[s]:
            continue
        slots, empty = (1 if whole_nodes(w, j, s) else SLOTS), False
        for slot in range(slots):
            if slots > 1:
                used = False
                for m in range(w.jobs.submit[j], min(w.jobs.deadline[j], w.sites.minutes)):
                    if w.course.held[s, slot, m]:
                        used = True
                        break
                if not used and empty:
                    continue  # one virtual node that nobody uses is like another
                empty = empty or not used
            found = _windows_of(w, j, s, slot, costs, where, found)
    return found


@compiled
def _windows_of(w: Any, j: int, s: int, slot: int, costs: Floats, where: Ints, found: int) -> int:
    """The windows of a job on one node or site, kept where they are among the cheapest."""
    t = w.sites
    need = max(1, math.ceil(t.wake[s] + w.jobs.work[j] / t.speed[s] - 1e-6))
    a0, last, size = w.jobs.submit[j], min(w.jobs.deadline[j], t.minutes), t.bin_min
    if last - a0 < need:
        return found
    gpus, nodes, most, per_node = w.jobs.gpus[j], whole_nodes(w, j, s), t.nodes[s], t.per_node[s]
    busy, held = w.course.busy[s], w.course.held[s, slot]
    dynamic, k0, k1 = gpus * w.jobs.intensity[j] * t.gpu_kw[s], a0 // size, (last - 1) // size + 1
    alone = costs_kw(w, s, k0, k1, dynamic + max(nodes, 1) * t.rise_kw[s])
    beside = alone if nodes else costs_kw(w, s, k0, k1, dynamic)
    cost = np.zeros(last - a0 + 1)
    for m in range(a0, last):
        i = m // size - k0
        cost[m - a0 + 1] = cost[m - a0] + (alone[i] if nodes or held[m] == 0 else beside[i]) / 60.0
    stride = 1 if need < 30 and not nodes else 5
    a, free = a0, a0  # there is room from `a` up to `free`
    while a + need <= last:
        b = a + need
        if free < b:
            free = full_from(busy, held, max(a, free), b, nodes, gpus, most, per_node)
        if free >= b:
            found = _keep(costs, where, found, cost[b - a0] - cost[a - a0], s, slot, a)
        else:
            free += 1  # no start up to the minute without room
            a = free - 1
        following = (a // stride + 1) * stride
        a = following if following + need <= last or a + need >= last else last - need
    return found


@compiled
def _keep(costs: Floats, where: Ints, found: int, cost: float, s: int, slot: int, a: int) -> int:
    """Keep a window if it is among the cheapest so far; how many are kept."""
    at = found
    if found == len(costs):
        at = 0
        for i in range(1, found):
            if costs[i] > costs[at]:
                at = i
        if cost >= costs[at]:
            return found
    else:
        found += 1
    costs[at] = cost
    where[at, 0], where[at, 1], where[at, 2] = s, slot, a
    return found


@compiled
def _one_stay(w: Any, j: int, row: int, s: int, slot: int, a: int) -> None:
    """Write a plan of one stay."""
    p = w.plan
    p.number[row] = 1
    p.site[row, 0], p.slot[row, 0], p.a[row, 0], p.work[row, 0] = s, slot, a, w.jobs.work[j]


@compiled
def _hours(w: Any, j: int, allowed: Any, scale: float, row: int) -> bool:
    """The cheapest set of half hours on whole nodes by price, by dynamic programming; whether there is one.

    A start costs the nodes' tail, and one that is not the first a restart and a checkpoint; both times `scale`.
    `value[i, u]` is the least cost from a slot on with `u` slots of work done, running on the i-th site or (last)
    on none.
    """
    d = max(30, w.sites.bin_min)
    s0 = (w.jobs.submit[j] + d - 1) // d
    n = min(w.jobs.deadline[j], w.sites.minutes) // d - s0
    places = np.flatnonzero(allowed)
    m = len(places)
    if n < 3 or m == 0:
        return False
    pace = w.sites.speed[places[0]]
    u1 = math.ceil((w.jobs.work[j] / pace + w.sites.wake[places[0]]) / d - 1e-6)
    if u1 < 2 or u1 >= n:
        return False
    cost, first, again = np.empty((m, n)), np.empty((m, n)), np.empty((m, n))
    for i in range(m):
        _half_hours(w, j, places[i], s0 * d, d, scale, cost[i], first[i], again[i])
    value = np.full((m + 1, u1 + 1), FAR)
    value[:, u1] = 0.0
    stays, enters = np.zeros((n, m, u1), np.bool_), np.full((n, u1), -1, np.int64)
    for t in range(n - 1, -1, -1):
        for u in range(max(0, u1 - n + t), u1):
            best = value[m, u]
            for i in range(m):
                going = cost[i, t] + value[i, u + 1] + (again[i, t] if u else first[i, t])
                if going < best:
                    best, enters[t, u] = going, i
            for i in range(m):
                going = cost[i, t] + value[i, u + 1]
                stays[t, i, u] = going <= best
                value[i, u] = min(going, best)
            value[m, u] = best
    return value[m, 0] < FAR / 2 and _stays_of(w, j, places, stays, enters, s0 * d, d, row)


@compiled
def _half_hours(
    w: Any, j: int, s: int, m0: int, d: int, scale: float, cost: Floats, first: Floats, again: Floats
) -> None:
    """Cost of each slot of `d` minutes for a job on a site, and of a start in it [kWh]."""
    t, nodes, n = w.sites, whole_nodes(w, j, s), len(cost)
    size = t.bin_min
    busy, most = w.course.busy[s], t.nodes[s]
    idle = nodes * t.rise_kw[s]
    power = w.jobs.gpus[j] * w.jobs.intensity[j] * t.gpu_kw[s] + idle
    prices = costs_kw(w, s, m0 // size, (m0 + n * d) // size, power)
    switch = (w.jobs.restart[j] + w.jobs.write[j]) / d
    begin = scale * idle * (min(t.tail[s], 60) + t.wake[s]) / (power * d)
    for i in range(n):
        kwh = 0.0
        for m in range(m0 + i * d, m0 + (i + 1) * d):
            if busy[m] + nodes > most:
                kwh = FAR
                break
        if kwh == 0.0:
            for k in range(i * d // size, (i + 1) * d // size):
                kwh += prices[k] * size / 60.0
        cost[i], first[i] = kwh, begin * kwh
        again[i] = first[i] + scale * switch * kwh


@compiled
def _stays_of(w: Any, j: int, places: Any, stays: Any, enters: Any, m0: int, d: int, row: int) -> bool:
    """Write the plan that a dynamic programme has found; whether it can be carried out."""
    p = w.plan
    n, at, u, last = 0, -1, 0, -1
    for t in range(len(stays)):
        if u == stays.shape[2]:
            break
        fresh = at < 0 or not stays[t, at, u]
        if fresh:
            at = enters[t, u]
        if at >= 0:
            a = m0 + t * d
            if n and last == t - 1 and p.site[row, n - 1] == places[at]:
                p.b[row, n - 1] = a + d
            else:
                if n == SEGMENTS:
                    return False
                p.site[row, n], p.slot[row, n], p.a[row, n], p.b[row, n] = places[at], 0, a, a + d
                n += 1
            last, u = t, u + 1
    p.number[row] = n
    if n == 0 or u < stays.shape[2]:
        return False
    return _fit_work(w, j, row) and retime(w, j, row)


@compiled
def _fit_work(w: Any, j: int, row: int) -> bool:
    """Spread a job's work over the stays of a plan: longer ones where it lacks time, dear edges off where not."""
    p, n, size = w.plan, w.plan.number[row], w.sites.bin_min
    spare = -w.jobs.work[j]
    for i in range(n):
        s = p.site[row, i]
        stay = p.b[row, i] - p.a[row, i] - w.sites.wake[s]
        stay -= (w.jobs.restart[j] if i > 0 else 0.0) + (w.jobs.write[j] if i < n - 1 else 0.0)
        p.work[row, i] = stay * w.sites.speed[s]
        spare += p.work[row, i]
        if p.work[row, i] < 2.0:
            return False
    for i in range(n - 1, -1, -1):  # what lacks is added at the end of a stay, then at its beginning
        s, pace = p.site[row, i], w.sites.speed[p.site[row, i]]
        while (
            spare < -EPS
            and (i == n - 1 or p.b[row, i] < p.a[row, i + 1])
            and fits(w, j, s, 0, p.b[row, i], p.b[row, i] + 1)
        ):
            p.b[row, i] += 1
            spare += pace
            p.work[row, i] += pace
        while (
            spare < -EPS
            and (i == 0 or p.a[row, i] > p.b[row, i - 1])
            and fits(w, j, s, 0, p.a[row, i] - 1, p.a[row, i])
        ):
            p.a[row, i] -= 1
            spare += pace
            p.work[row, i] += pace
    while spare > EPS:
        dear, at, end = -1.0, -1, False
        for i in range(n):
            s = p.site[row, i]
            if p.work[row, i] > 2.0:
                begin_kw = costs_kw(w, s, p.a[row, i] // size, p.a[row, i] // size + 1, 10.0)[0]
                end_kw = costs_kw(w, s, (p.b[row, i] - 1) // size, (p.b[row, i] - 1) // size + 1, 10.0)[0]
                if max(begin_kw, end_kw) > dear:
                    dear, at, end = max(begin_kw, end_kw), i, end_kw >= begin_kw
        if at < 0:
            return False
        less = min(spare, w.sites.speed[p.site[row, at]])
        p.work[row, at] -= less
        spare -= less
        if less >= w.sites.speed[p.site[row, at]] - EPS and not end:
            p.a[row, at] += 1
        elif less >= w.sites.speed[p.site[row, at]] - EPS:
            p.b[row, at] -= 1
    return bool(spare > -1e-6)


@compiled
def best(w: Any, j: int, allowed: Any, most: int, heat: float, rng: np.random.Generator, row: int, spare: int) -> float:
    """The plan that costs a job least among the best by price, into `row`; its cost [kWh], `FAR` if there is none.

    With some `heat` [kWh] costs are judged with an error, so that the search does not always see the same.
    """
    p = w.plan
    costs, where = np.full(most, FAR), np.zeros((most, 3), np.int64)
    least, told = FAR, FAR
    p.number[row] = 0
    for i in range(_windows(w, j, allowed, costs, where)):
        _one_stay(w, j, spare, where[i, 0], where[i, 1], where[i, 2])
        if retime(w, j, spare):
            cost = trial(w, j, spare)
            judged = cost - heat * 0.3 * math.log(max(rng.random(), 1e-12))
            if judged < least:
                least, told = judged, cost
                copy_plan(p, spare, p, row)
    if w.jobs.stops[j] and w.jobs.work[j] > 30.0:
        dice = rng.random()
        scale = 1.0 if dice < 0.5 else 0.5 if dice < 0.75 else 2.5
        if _hours(w, j, allowed, scale, spare) and p.number[spare] > 1:
            cost = trial(w, j, spare)
            judged = cost - heat * 0.3 * math.log(max(rng.random(), 1e-12))
            if judged < least:
                told = cost
                copy_plan(p, spare, p, row)
    return told
