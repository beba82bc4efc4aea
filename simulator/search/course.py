"""Draw of a plan: nodes by the minute, the battery walked bin by bin, and the price of one kW more in each.

Time runs in minutes for nodes and in bins of one supply step for energy; powers are kW, energies kWh. A plan
is a row of segments for each job: a stay on one site from `a` to `b` [min], of which `work` minutes are work
at the job's full size and the rest waking, restarting and writing. Jobs smaller than a node share the site's
virtual nodes (`slot`); larger ones take whole nodes. A node stays awake for `tail` minutes after its last job; a
plan leaves time to wake for every start, though one that finds its nodes awake will end so much earlier.

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
from tafukt.simulator.units import Floats, Ints

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
    """Constants of the sites: a row for each, over bins if there are two axes."""

    minutes: int
    bin_min: int
    free_kw: Floats
    per_it: Floats
    nodes: Ints
    per_node: Ints
    rise_kw: Floats
    gpu_kw: Floats
    speed: Floats
    wake: Ints
    tail: Ints
    charge_kw: Floats
    discharge_kw: Floats
    eta_charge: Floats
    eta_discharge: Floats
    low: Floats
    high: Floats
    start: Floats
    band: Floats
    keep: Floats


class Jobs(NamedTuple):
    """Requests and truth of each job; times in minutes."""

    gpus: Ints
    submit: Ints
    deadline: Ints
    work: Floats
    stops: NDArray[np.bool_]
    restart: Floats
    write: Floats
    intensity: Floats
    sites: NDArray[np.bool_]
    weight: Floats


class Course(NamedTuple):
    """State under the present plan: nodes by the minute, power and stored energy by the bin."""

    busy: Ints
    awake: Ints
    held: NDArray[np.uint8]
    gpus_kw: Floats
    load_kw: Floats
    stored: Floats
    drawn: Floats
    spare_kw: Floats
    taken_kw: Floats
    worth: Floats
    limit: NDArray[np.uint8]
    total: Floats
    stale: NDArray[np.bool_]


class Segments(NamedTuple):
    """Segments of each job, and of a few rows more to try things in."""

    number: Ints
    site: Ints
    a: Ints
    b: Ints
    slot: Ints
    work: Floats


class World(NamedTuple):
    """All that the search holds."""

    sites: Sites
    jobs: Jobs
    course: Course
    plan: Segments


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
    """Energy that puts back what a battery lacks at the end [kWh]."""
    return float(max(w.sites.start[s] - stored, 0.0) / w.sites.eta_charge[s])


@compiled
def course_change(w: Any, s: int, k0: int, k1: int, commit: bool) -> float:
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
    """Spare sun, charging power, and what a stored kWh saves later, for each bin of a site."""
    c = w.course
    if not c.stale[s]:
        return
    c.stale[s] = False
    b, free, per_it, load = _store(w, s), w.sites.free_kw[s], w.sites.per_it[s], c.load_kw[s]
    stored, drawn, spare, take, limit, worths = (
        c.stored[s],
        c.drawn[s],
        c.spare_kw[s],
        c.taken_kw[s],
        c.limit[s],
        c.worth[s],
    )
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
def _cost_kw(
    b: Store, offer: float, limit: int, spare: float, take: float, worth: float, after: float, power: float
) -> float:
    """Grid draw, now or later, of `power` more at the meter, while it lasts [kW]."""
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
def costs_kw(w: Any, s: int, k0: int, k1: int, it_kw: float) -> Floats:
    """Grid draw of `it_kw` more of IT in each bin from `k0` to `k1` [kW]."""
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
def whole_nodes(w: Any, j: int, s: int) -> int:
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
        nodes = whole_nodes(w, j, s)
        if nodes:
            busy[a:b] += sign * nodes
        else:
            _put_part(busy, w.course.held[s, p.slot[row, i]], a, b, gpus, sign)
        power = sign * gpus * w.jobs.intensity[j] * w.sites.gpu_kw[s] / size
        begin = a + w.sites.wake[s]
        for k in range(begin // size, (b - 1) // size + 1):
            overlap = min(b, (k + 1) * size) - max(begin, k * size)
            if overlap > 0:
                gpus_kw[k] += power * overlap


@compiled
def _put_part(busy: Ints, held: Any, a: int, b: int, gpus: int, sign: int) -> None:
    """Add GPUs to a virtual node, which is busy while any are held, or take them away."""
    for m in range(a, b):
        before = held[m]
        held[m] = before + sign * gpus
        if sign > 0 and before == 0:
            busy[m] += 1
        elif sign < 0 and before == gpus:
            busy[m] -= 1


@compiled
def bring_up(w: Any, s: int, m0: int, m1: int) -> tuple[int, int]:
    """Nodes awake and load of a site after a change within these minutes; returns the bins that may differ."""
    size, tail, minutes, nodes, rise = (
        w.sites.bin_min,
        w.sites.tail[s],
        w.sites.minutes,
        w.sites.nodes[s],
        w.sites.rise_kw[s],
    )
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
def _settle(w: Any, row: int, walked: bool, commit: bool) -> float:
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
            k0, k1 = bring_up(w, s, m0, m1)
            if walked:
                change += course_change(w, s, k0, k1, commit)
    return change


@compiled
def apply(w: Any, j: int, row: int, sign: int) -> float:
    """Put a plan into the course, or take it out, for good; the change of what is drawn [kWh]."""
    _put(w, j, row, sign)
    return _settle(w, row, True, True)


@compiled
def trial(w: Any, j: int, row: int) -> float:
    """The change of what is drawn if a plan were put into the course [kWh]; all is left as it was."""
    _put(w, j, row, 1)
    change = _settle(w, row, True, False)
    _put(w, j, row, -1)
    _settle(w, row, False, False)
    return change


@compiled
def copy_plan(source: Any, row: int, target: Any, to: int) -> None:
    """Copy a job's plan from a row of one table of plans to a row of another, or of the same."""
    n = source.number[row]
    target.number[to] = n
    for i in range(n):
        target.site[to, i], target.slot[to, i] = source.site[row, i], source.slot[row, i]
        target.a[to, i], target.b[to, i], target.work[to, i] = source.a[row, i], source.b[row, i], source.work[row, i]


@compiled
def fits(w: Any, j: int, s: int, slot: int, a: int, b: int) -> bool:
    """Whether a site has room for a job from `a` to `b`, within its window."""
    if a < w.jobs.submit[j] or b > min(w.jobs.deadline[j], w.sites.minutes):
        return False
    nodes, gpus, most, per_node = whole_nodes(w, j, s), w.jobs.gpus[j], w.sites.nodes[s], w.sites.per_node[s]
    return full_from(w.course.busy[s], w.course.held[s, slot], a, b, nodes, gpus, most, per_node) == b


@compiled
def full_from(busy: Ints, held: Any, a: int, b: int, nodes: int, gpus: int, most: int, per_node: int) -> int:
    """The first minute from `a` on without room for whole nodes, or for GPUs on a virtual one; `b` for none."""
    for m in range(a, b):
        if nodes:
            if busy[m] + nodes > most:
                return m
        elif held[m] + gpus > per_node or (held[m] == 0 and busy[m] >= most):
            return m
    return b


@compiled
def retime(w: Any, j: int, row: int) -> bool:
    """Work out the ends of a plan's segments from its starts and its work; whether it fits."""
    p = w.plan
    n = p.number[row]
    for i in range(n):
        s, a = p.site[row, i], p.a[row, i]
        if a < w.jobs.submit[j] or a >= w.sites.minutes or not w.jobs.sites[j, s]:
            return False
        stay = w.sites.wake[s] + p.work[row, i] / w.sites.speed[s]
        stay += (w.jobs.restart[j] if i > 0 else 0.0) + (w.jobs.write[j] if i < n - 1 else 0.0)
        b = a + max(1, math.ceil(stay - 1e-6))
        p.b[row, i] = b
        if (i > 0 and p.b[row, i - 1] > a) or not fits(w, j, s, p.slot[row, i], a, b):
            return False
    return True
