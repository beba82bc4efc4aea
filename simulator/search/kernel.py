"""The search's inner loops: what a plan draws, where a job goes at the least cost, and which jobs are moved.

Time runs in minutes for nodes and in bins of one supply step for energy; powers are kW, energies kWh. A plan
is a row of segments for each job: a stay on one site from `a` to `b` [min], of which `work` minutes are work
at the job's full size and the rest waking, restarting and writing. Jobs smaller than a node share the site's
virtual nodes (`slot`); larger ones take whole nodes. A node stays awake for `tail` minutes after its last job.

A change is priced first by what one kW more costs in each bin on the battery's present course: nothing where
sun is spilled, later discharge where it charges, import where the battery is empty. The best few by price are
then walked exactly, from the first bin changed to where the course meets the old one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tafukt.simulator.search.compiled import compiled

F = NDArray[np.float64]
Int = NDArray[np.int64]

SLOTS = 8
"""Virtual nodes of a site that part-node jobs may share at once."""
SEGMENTS = 24
"""Stays that a plan may part a job into."""
REMOVED = 12
"""Jobs that one step may take out."""
UNPLACED_KWH = 1e5
"""What a job without a place counts, so that any place is better."""
EPS = 1e-9
FAR = 1e18


class Sites(NamedTuple):
    """What does not change at the sites: a row for each, over bins where there are two axes."""

    minutes: int
    bin_min: int
    free_kw: F
    per_it: F
    nodes: Int
    per_node: Int
    rise_kw: F
    gpu_kw: F
    speed: F
    wake: Int
    tail: Int
    charge_kw: F
    discharge_kw: F
    eta_charge: F
    eta_discharge: F
    low: F
    high: F
    start: F
    band: F
    keep: F


class Jobs(NamedTuple):
    """What is asked and true of each job; times in minutes."""

    gpus: Int
    submit: Int
    deadline: Int
    work: F
    stops: NDArray[np.bool_]
    restart: F
    write: F
    intensity: F
    sites: NDArray[np.bool_]
    weight: F


class Course(NamedTuple):
    """How things stand under the present plan: nodes by the minute, power and stored energy by the bin."""

    busy: Int
    awake: Int
    held: NDArray[np.uint8]
    gpus_kw: F
    load_kw: F
    stored: F
    drawn: F
    spare_kw: F
    taken_kw: F
    worth: F
    limit: NDArray[np.uint8]
    total: F
    stale: NDArray[np.bool_]


class Plan(NamedTuple):
    """Segments of each job, and of a few rows more to try things in."""

    number: Int
    site: Int
    a: Int
    b: Int
    slot: Int
    wake: Int
    work: F


class World(NamedTuple):
    """All that the search holds."""

    sites: Sites
    jobs: Jobs
    course: Course
    plan: Plan


# --- the battery -----------------------------------------------------------------------------------
# What runs once a bin or a minute takes plain numbers and single rows: handing over the whole world costs more.


class Store(NamedTuple):
    """A site's battery, as plain numbers; `h` is the length of a bin [h]."""

    h: float
    keep: float
    low: float
    high: float
    charge_kw: float
    discharge_kw: float
    eta_charge: float
    eta_discharge: float
    up: float
    down: float


@compiled
def _store(w: Any, s: int) -> Store:
    """The battery of a site; `up` and `down` are its taper bands for each kW [kWh/kW]."""
    t = w.sites
    up = t.band[s] / t.charge_kw[s] if t.charge_kw[s] > 0.0 else 0.0
    down = t.band[s] / t.discharge_kw[s] if t.discharge_kw[s] > 0.0 else 0.0
    limits = t.charge_kw[s], t.discharge_kw[s], t.eta_charge[s], t.eta_discharge[s]
    return Store(t.bin_min / 60.0, t.keep[s], t.low[s], t.high[s], limits[0], limits[1], limits[2], limits[3], up, down)


@compiled
def _after(b: Store, offer: float, stored: float) -> tuple[float, float]:
    """Stored energy after a bin with `offer` [kW] of sun left over (below zero: lacking), and what is drawn [kWh]."""
    kept = stored * b.keep
    if offer > 0.0:
        p = min(offer, b.charge_kw)
        after = kept + p * b.h * b.eta_charge
        limit = b.high - p * b.up
        if p <= 0.0 or after <= limit:
            return after, 0.0
        rest = b.h
        if kept < limit:
            rest, kept = b.h - (limit - kept) / (b.eta_charge * p), limit
        if b.up <= 0.0 or kept > b.high:
            return max(b.high, kept), 0.0
        return b.high - (b.high - kept) * math.exp(-rest * b.eta_charge / b.up), 0.0
    p = min(-offer, b.discharge_kw)
    if p <= 0.0 or kept <= b.low:
        return kept, -offer * b.h
    limit = b.low + p * b.down
    after = kept - p * b.h / b.eta_discharge
    if after >= limit:
        return after, (-offer - p) * b.h
    given, rest, at = 0.0, b.h, kept
    if kept > limit:
        given = (kept - limit) * b.eta_discharge
        rest, at = b.h - given / p, limit
    end = b.low
    if b.down > 0.0:
        end += (at - b.low) * math.exp(-rest / (b.down * b.eta_discharge))
    return end, max(-offer * b.h - given - (at - end) * b.eta_discharge, 0.0)


@compiled
def _short(w: Any, s: int, stored: float) -> float:
    """What it takes to put back what a battery lacks at the end [kWh]."""
    return max(w.sites.start[s] - stored, 0.0) / w.sites.eta_charge[s]


@compiled
def _walk(w: Any, s: int, k0: int, k1: int, commit: bool) -> float:
    """Walk a battery from bin `k0` until, after `k1`, it meets its old course; the change of what is drawn."""
    b, free, per_it, load = _store(w, s), w.sites.free_kw[s], w.sites.per_it[s], w.course.load_kw[s]
    drawn, course = w.course.drawn[s], w.course.stored[s]
    bins = len(drawn)
    stored, change = course[k0], 0.0
    for k in range(k0, bins):
        stored, now = _after(b, free[k] - load[k] * per_it[k], stored)
        change += now - drawn[k]
        old = course[k + 1]
        if commit:
            drawn[k], course[k + 1] = now, stored
        if k + 1 >= k1 and abs(stored - old) < EPS:
            break
        if k + 1 == bins:
            change += _short(w, s, stored) - _short(w, s, old)
    if commit:
        w.course.total[s] += change
        w.course.stale[s] = True
    return change


@compiled
def _price(w: Any, s: int) -> None:
    """What is spare, what the battery takes, and what a stored kWh saves later, for each bin of a site."""
    c = w.course
    if not c.stale[s]:
        return
    c.stale[s] = False
    b, free, per_it, load = _store(w, s), w.sites.free_kw[s], w.sites.per_it[s], c.load_kw[s]
    stored, drawn, spare, take, limit, worths = c.stored[s], c.drawn[s], c.spare_kw[s], c.taken_kw[s], c.limit[s], c.worth[s]
    bins = len(drawn)
    for k in range(bins):
        offer = free[k] - load[k] * per_it[k]
        moved = stored[k + 1] - stored[k] * b.keep
        spare[k] = take[k] = 0.0
        limit[k] = 0
        if offer > 0.0:
            take[k] = max(moved / (b.eta_charge * b.h), 0.0)
            spare[k] = max(offer - take[k], 0.0)
            if spare[k] > EPS and take[k] < b.charge_kw - EPS:
                limit[k] = 1
        elif drawn[k] > EPS:
            limit[k] = 2 if -moved * b.eta_discharge / b.h < b.discharge_kw - EPS else 3
    worth = 1.0 / b.eta_charge if stored[bins] < w.sites.start[s] - EPS else 0.0
    for k in range(bins - 1, -1, -1):
        worths[k] = worth
        if limit[k] == 1:
            worth = 0.0
        elif limit[k] == 2:
            worth = b.eta_discharge


@compiled
def _cost_kw(b: Store, offer: float, limit: int, spare: float, take: float, worth: float, after: float, power: float) -> float:
    """What `power` more at the meter draws from the grid, now or later, while it lasts [kW]."""
    if limit >= 2:
        return power
    if offer <= 0.0:
        return min(power * worth / b.eta_discharge, power)
    rest = power - spare
    if rest <= 0.0:
        return 0.0
    first = min(rest, take)
    later = rest - first
    cost = first * b.eta_charge * worth
    if later > 0.0:
        cost += later * (worth / b.eta_discharge if after > b.low + EPS else 1.0)
    return cost


@compiled
def _costs_kw(w: Any, s: int, k0: int, k1: int, it_kw: float) -> F:
    """What `it_kw` more of IT draws from the grid in each bin from `k0` to `k1` [kW]."""
    _price(w, s)
    c = w.course
    b, free, per_it, load = _store(w, s), w.sites.free_kw[s], w.sites.per_it[s], c.load_kw[s]
    limit, spare, take, worth, stored = c.limit[s], c.spare_kw[s], c.taken_kw[s], c.worth[s], c.stored[s]
    costs = np.empty(k1 - k0)
    for k in range(k0, k1):
        offer = free[k] - load[k] * per_it[k]
        costs[k - k0] = _cost_kw(b, offer, limit[k], spare[k], take[k], worth[k], stored[k + 1], it_kw * per_it[k])
    return costs


# --- a job on its site -----------------------------------------------------------------------------


@compiled
def _whole(w: Any, j: int, s: int) -> int:
    """Whole nodes that a job takes on a site; 0 where it takes part of one."""
    gpus, per_node = w.jobs.gpus[j], w.sites.per_node[s]
    return 0 if gpus < per_node else (gpus + per_node - 1) // per_node


@compiled
def _put(w: Any, j: int, row: int, sign: int) -> None:
    """Add a plan's segments to the course, or take them out; nodes awake and loads are not yet brought up to date."""
    p, gpus, size = w.plan, w.jobs.gpus[j], w.sites.bin_min
    for i in range(p.number[row]):
        s, a, b = p.site[row, i], p.a[row, i], p.b[row, i]
        busy, gpus_kw = w.course.busy[s], w.course.gpus_kw[s]
        nodes = _whole(w, j, s)
        if nodes:
            busy[a:b] += sign * nodes
        else:
            _put_part(busy, w.course.held[s, p.slot[row, i]], a, b, gpus, sign)
        power = sign * gpus * w.jobs.intensity[j] * w.sites.gpu_kw[s] / size
        begin = a + p.wake[row, i]
        for k in range(begin // size, (b - 1) // size + 1):
            overlap = min(b, (k + 1) * size) - max(begin, k * size)
            if overlap > 0:
                gpus_kw[k] += power * overlap


@compiled
def _put_part(busy: Int, held: Any, a: int, b: int, gpus: int, sign: int) -> None:
    """Add GPUs to a virtual node, which is busy while any are held, or take them away."""
    for m in range(a, b):
        before = held[m]
        held[m] = before + sign * gpus
        if sign > 0 and before == 0:
            busy[m] += 1
        elif sign < 0 and before == gpus:
            busy[m] -= 1


@compiled
def _bring_up(w: Any, s: int, m0: int, m1: int) -> tuple[int, int]:
    """Nodes awake and load of a site after a change within these minutes; returns the bins that may differ."""
    size, tail, minutes, nodes, rise = w.sites.bin_min, w.sites.tail[s], w.sites.minutes, w.sites.nodes[s], w.sites.rise_kw[s]
    busy, awake, load, gpus_kw = w.course.busy[s], w.course.awake[s], w.course.load_kw[s], w.course.gpus_kw[s]
    m1 = min(m1 + min(tail, minutes), minutes)
    most, at = -1, -1  # the most nodes busy within the tail, and the last minute at which so many were
    for m in range(m0, m1):
        if tail >= minutes:
            awake[m] = nodes
            continue
        if at < m - tail:
            at = max(0, m - tail)
            most = busy[at]
            for q in range(at + 1, m):
                if busy[q] >= most:
                    most, at = busy[q], q
        if busy[m] >= most:
            most, at = busy[m], m
        awake[m] = most
    k0, k1 = m0 // size, (m1 + size - 1) // size
    for k in range(k0, k1):
        total = 0
        for q in range(k * size, (k + 1) * size):
            total += awake[q]
        load[k] = rise * total / size + gpus_kw[k]
    return k0, k1


@compiled
def _settle(w: Any, row: int, walk: bool, commit: bool) -> float:
    """Bring every site of a plan up to date, and walk its battery; the change of what is drawn [kWh]."""
    p = w.plan
    change = 0.0
    for i in range(p.number[row]):
        s, m0, m1, first = p.site[row, i], p.a[row, i], p.b[row, i], True
        for q in range(p.number[row]):
            if p.site[row, q] == s:
                first = first and q >= i
                m0, m1 = min(m0, p.a[row, q]), max(m1, p.b[row, q])
        if first:
            k0, k1 = _bring_up(w, s, m0, m1)
            if walk:
                change += _walk(w, s, k0, k1, commit)
    return change


@compiled
def _apply(w: Any, j: int, row: int, sign: int) -> float:
    """Put a plan into the course, or take it out, for good; the change of what is drawn [kWh]."""
    _put(w, j, row, sign)
    return _settle(w, row, True, True)


@compiled
def _try(w: Any, j: int, row: int) -> float:
    """The change of what is drawn if a plan were put into the course [kWh]; all is left as it was."""
    _put(w, j, row, 1)
    change = _settle(w, row, True, False)
    _put(w, j, row, -1)
    _settle(w, row, False, False)
    return change


@compiled
def _copy(w: Any, source: int, target: int) -> None:
    """Copy a plan from one row to another."""
    p = w.plan
    n = p.number[source]
    p.number[target] = n
    for i in range(n):
        p.site[target, i], p.a[target, i], p.b[target, i] = p.site[source, i], p.a[source, i], p.b[source, i]
        p.slot[target, i], p.wake[target, i], p.work[target, i] = p.slot[source, i], p.wake[source, i], p.work[source, i]


@compiled
def _fits(w: Any, j: int, s: int, slot: int, a: int, b: int) -> bool:
    """Whether a site has room for a job from `a` to `b`, within its window."""
    if a < w.jobs.submit[j] or b > min(w.jobs.deadline[j], w.sites.minutes):
        return False
    nodes, gpus = _whole(w, j, s), w.jobs.gpus[j]
    return _full_from(w.course.busy[s], w.course.held[s, slot], a, b, nodes, gpus, w.sites.nodes[s], w.sites.per_node[s]) == b


@compiled
def _full_from(busy: Int, held: Any, a: int, b: int, nodes: int, gpus: int, most: int, per_node: int) -> int:
    """The first minute from `a` on without room for whole nodes, or for GPUs on a virtual one; `b` for none."""
    for m in range(a, b):
        if nodes:
            if busy[m] + nodes > most:
                return m
        elif held[m] + gpus > per_node or (held[m] == 0 and busy[m] >= most):
            return m
    return b


@compiled
def _wake_min(w: Any, j: int, s: int, slot: int, a: int) -> int:
    """How long a job that starts at `a` waits for nodes to wake [min]; a node just going to sleep counts as asleep."""
    tail = w.sites.tail[s]
    if tail >= w.sites.minutes:
        return 0
    asleep = _sleeps(w.course.busy[s], w.course.held[s, slot], a, _whole(w, j, s), tail)
    return w.sites.wake[s] if asleep else 0


@compiled
def _sleeps(busy: Int, held: Any, a: int, nodes: int, tail: int) -> bool:
    """Whether a start at `a` needs more nodes than have been awake until then."""
    if nodes == 0:
        if held[a] > 0:
            return False
        nodes = 1
    need = busy[a] + nodes
    for m in range(a - 1, max(0, a - tail + 1) - 1, -1):
        if busy[m] >= need:
            return False
    return True


@compiled
def retime(w: Any, j: int, row: int) -> bool:
    """Work out waking and ends of a plan from its starts and its work; whether it fits."""
    p = w.plan
    n = p.number[row]
    for i in range(n):
        s, a = p.site[row, i], p.a[row, i]
        if a < w.jobs.submit[j] or a >= w.sites.minutes or not w.jobs.sites[j, s]:
            return False
        wake = _wake_min(w, j, s, p.slot[row, i], a)
        stay = wake + p.work[row, i] / w.sites.speed[s]
        stay += (w.jobs.restart[j] if i > 0 else 0.0) + (w.jobs.write[j] if i < n - 1 else 0.0)
        b = a + max(1, int(math.ceil(stay - 1e-6)))
        p.wake[row, i], p.b[row, i] = wake, b
        if (i > 0 and p.b[row, i - 1] > a) or not _fits(w, j, s, p.slot[row, i], a, b):
            return False
    return True


# --- where a job goes ------------------------------------------------------------------------------


@compiled
def _windows(w: Any, j: int, allowed: Any, costs: F, where: Int) -> int:
    """The cheapest contiguous windows of a job by price, as (cost; site, slot, start); how many were found."""
    found = 0
    for s in range(len(allowed)):
        if not allowed[s]:
            continue
        slots, empty = (1 if _whole(w, j, s) else SLOTS), False
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
def _windows_of(w: Any, j: int, s: int, slot: int, costs: F, where: Int, found: int) -> int:
    """The windows of a job on one node or site, kept where they are among the cheapest."""
    t = w.sites
    need = max(1, int(math.ceil(w.jobs.work[j] / t.speed[s] - 1e-6)))
    a0, last, size = w.jobs.submit[j], min(w.jobs.deadline[j], t.minutes), t.bin_min
    if last - a0 < need:
        return found
    gpus, nodes, most, per_node, tail = w.jobs.gpus[j], _whole(w, j, s), t.nodes[s], t.per_node[s], t.tail[s]
    busy, held = w.course.busy[s], w.course.held[s, slot]
    dynamic, k0, k1 = gpus * w.jobs.intensity[j] * t.gpu_kw[s], a0 // size, (last - 1) // size + 1
    alone = _costs_kw(w, s, k0, k1, dynamic + max(nodes, 1) * t.rise_kw[s])
    beside = alone if nodes else _costs_kw(w, s, k0, k1, dynamic)
    cost = np.zeros(last - a0 + 1)
    for m in range(a0, last):
        i = m // size - k0
        cost[m - a0 + 1] = cost[m - a0] + (alone[i] if nodes or held[m] == 0 else beside[i]) / 60.0
    stride, wake = 1 if need < 30 and not nodes else 5, t.wake[s] if tail < t.minutes else 0
    a, free = a0, a0  # there is room from `a` up to `free`
    while a + need <= last:
        b = a + need + (wake if wake and _sleeps(busy, held, a, nodes, tail) else 0)
        if b <= last:
            if free < b:
                free = _full_from(busy, held, max(a, free), b, nodes, gpus, most, per_node)
            if free >= b:
                found = _keep(costs, where, found, cost[b - a0] - cost[a - a0], s, slot, a)
            else:
                a = free  # no start up to the minute without room
                free += 1
        following = (a // stride + 1) * stride
        a = following if following + need <= last or a + need >= last else last - need
    return found


@compiled
def _keep(costs: F, where: Int, found: int, cost: float, s: int, slot: int, a: int) -> int:
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
    u1 = int(math.ceil((w.jobs.work[j] / pace + w.sites.wake[places[0]]) / d - 1e-6))
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
def _half_hours(w: Any, j: int, s: int, m0: int, d: int, scale: float, cost: F, first: F, again: F) -> None:
    """What each slot of `d` minutes costs a job on a site, and what it costs more to start in it [kWh]."""
    t, nodes, n = w.sites, _whole(w, j, s), len(cost)
    size = t.bin_min
    busy, most = w.course.busy[s], t.nodes[s]
    idle = nodes * t.rise_kw[s]
    power = w.jobs.gpus[j] * w.jobs.intensity[j] * t.gpu_kw[s] + idle
    prices = _costs_kw(w, s, m0 // size, (m0 + n * d) // size, power)
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
        stay = p.b[row, i] - p.a[row, i] - _wake_min(w, j, s, 0, p.a[row, i])
        stay -= (w.jobs.restart[j] if i > 0 else 0.0) + (w.jobs.write[j] if i < n - 1 else 0.0)
        p.work[row, i] = stay * w.sites.speed[s]
        spare += p.work[row, i]
        if p.work[row, i] < 2.0:
            return False
    for i in range(n - 1, -1, -1):  # what lacks is added at the end of a stay, then at its beginning
        s, pace = p.site[row, i], w.sites.speed[p.site[row, i]]
        while spare < -EPS and (i == n - 1 or p.b[row, i] < p.a[row, i + 1]) and _fits(w, j, s, 0, p.b[row, i], p.b[row, i] + 1):
            p.b[row, i] += 1
            spare += pace
            p.work[row, i] += pace
        while spare < -EPS and (i == 0 or p.a[row, i] > p.b[row, i - 1]) and _fits(w, j, s, 0, p.a[row, i] - 1, p.a[row, i]):
            p.a[row, i] -= 1
            spare += pace
            p.work[row, i] += pace
    while spare > EPS:
        dear, at, end = -1.0, -1, False
        for i in range(n):
            s = p.site[row, i]
            if p.work[row, i] > 2.0:
                begin_kw = _costs_kw(w, s, p.a[row, i] // size, p.a[row, i] // size + 1, 10.0)[0]
                end_kw = _costs_kw(w, s, (p.b[row, i] - 1) // size, (p.b[row, i] - 1) // size + 1, 10.0)[0]
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
    return spare > -1e-6


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
            cost = _try(w, j, spare)
            judged = cost - heat * 0.3 * math.log(max(rng.random(), 1e-12))
            if judged < least:
                least, told = judged, cost
                _copy(w, spare, row)
    if w.jobs.stops[j] and w.jobs.work[j] > 30.0:
        dice = rng.random()
        scale = 1.0 if dice < 0.5 else 0.5 if dice < 0.75 else 2.5
        if _hours(w, j, allowed, scale, spare) and p.number[spare] > 1:
            cost = _try(w, j, spare)
            judged = cost - heat * 0.3 * math.log(max(rng.random(), 1e-12))
            if judged < least:
                told = cost
                _copy(w, spare, row)
    return told


# --- how a plan is changed -------------------------------------------------------------------------


@compiled
def _below(rng: np.random.Generator, n: int) -> int:
    return min(int(rng.random() * n), n - 1)


@compiled
def _nudged(w: Any, j: int, row: int, rng: np.random.Generator) -> bool:
    """Change a plan a little: a start, the share of two stays, a site, or one stay more or less."""
    p, n = w.plan, w.plan.number[row]
    i, dice = _below(rng, n), rng.random()
    if dice < 0.35 or n == 1 and dice < 0.8:
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
def one(w: Any, heat: float, rng: np.random.Generator, sums: F) -> None:
    """Move one job, drawn by its weight: nudge its plan, or take the best there is for it."""
    p = w.plan
    count = len(w.jobs.gpus)
    j = min(np.searchsorted(sums, rng.random() * sums[-1]), count - 1)
    if p.number[j] == 0:
        return
    old, new, spare = count, count + 1, count + 2
    _copy(w, j, old)
    before = -_apply(w, j, old, -1)
    after = FAR
    if rng.random() < 0.6:
        _copy(w, old, new)
        if _nudged(w, j, new, rng) and retime(w, j, new):
            after = _try(w, j, new)
    else:
        after = best(w, j, _some_sites(w, j, rng), 8 if w.jobs.gpus[j] < 8 else 12, heat, rng, new, spare)
    if after < FAR and (after <= before or rng.random() < math.exp((before - after) / heat)):
        _copy(w, new, j)
        _apply(w, j, j, 1)
    else:
        _apply(w, j, old, 1)


@compiled
def _overlaps(w: Any, j: int, s: int, m0: int, m1: int) -> bool:
    """Whether a job runs between two minutes, on site `s` or (-1) anywhere."""
    p = w.plan
    for i in range(p.number[j]):
        if (s < 0 or p.site[j, i] == s) and p.a[j, i] < m1 and p.b[j, i] > m0:
            return True
    return False


@compiled
def _neighbours(w: Any, rng: np.random.Generator, sums: F, chosen: Int) -> int:
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
def several(w: Any, heat: float, rng: np.random.Generator, sums: F) -> None:
    """Take several jobs out and put each back at its cheapest place; all as before where that is worse."""
    p, jobs, count = w.plan, w.jobs, len(w.jobs.gpus)
    chosen = np.zeros(REMOVED, np.int64)
    n = _neighbours(w, rng, sums, chosen)
    saved, new, spare = count + 3, count + 1, count + 2
    change = 0.0
    order = np.zeros(n)
    for i in range(n):
        j = chosen[i]
        _copy(w, j, saved + i)
        change += _apply(w, j, j, -1) - (0.0 if p.number[j] else UNPLACED_KWH)
        order[i] = -jobs.weight[j] * (0.5 + rng.random()) - (0.0 if p.number[j] else FAR)
        p.number[j] = 0
    for i in np.argsort(order):
        j = chosen[i]
        if best(w, j, jobs.sites[j], 8, heat if rng.random() < 0.5 else 0.0, rng, new, spare) < FAR:
            _copy(w, new, j)
            change += _apply(w, j, j, 1)
        else:
            change += UNPLACED_KWH
    if change <= 0.0 or rng.random() < math.exp(-change / heat):
        return
    for i in range(n):
        _apply(w, chosen[i], chosen[i], -1)
    for i in range(n):
        _copy(w, saved + i, chosen[i])
        _apply(w, chosen[i], chosen[i], 1)


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
        _bring_up(w, s, 0, w.sites.minutes)
        _walk(w, s, 0, bins + 1, True)


@compiled
def rebuild(w: Any, by_start: Int, by_weight: Int, strict: bool, rng: np.random.Generator) -> int:
    """Put all plans into an empty course and work out anew who wakes a node; how many jobs had no place of their own.

    A plan that does not fit with the waking in it is given up where it is to be `strict`; else it stays, and will be
    some minutes late. Jobs without a plan then go to their cheapest place.
    """
    p, count = w.plan, len(w.jobs.gpus)
    clear(w)
    for j in by_start:
        _apply(w, j, j, 1)
    for j in by_start:
        _copy(w, j, count)
        _apply(w, j, j, -1)
        if not retime(w, j, j):
            _copy(w, count, j)
            if strict:
                p.number[j] = 0
        _apply(w, j, j, 1)
    moved = 0
    for j in by_weight:
        if p.number[j] == 0:
            moved += 1
            if best(w, j, w.jobs.sites[j], 20, 0.0, rng, count + 1, count + 2) < FAR:
                _copy(w, count + 1, j)
                _apply(w, j, j, 1)
    return moved


@compiled
def objective(w: Any) -> float:
    """What the plan draws, jobs without a place counted [kWh]."""
    total = w.course.total.sum()
    for j in range(len(w.jobs.gpus)):
        if w.plan.number[j] == 0:
            total += UNPLACED_KWH
    return total


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
                    _copy_to(w, kept, j)
    return least


@compiled
def _copy_to(w: Any, kept: Any, j: int) -> None:
    """Copy a job's plan into another table of plans."""
    p = w.plan
    n = p.number[j]
    kept.number[j] = n
    for i in range(n):
        kept.site[j, i], kept.a[j, i], kept.b[j, i] = p.site[j, i], p.a[j, i], p.b[j, i]
        kept.slot[j, i], kept.wake[j, i], kept.work[j, i] = p.slot[j, i], p.wake[j, i], p.work[j, i]
