"""A scenario's supply over slots, every rounding in the schedule's favour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from tafukt.simulator.bound.program import SlotSupply
from tafukt.simulator.energy import battery as fade
from tafukt.simulator.failures import FaultSettings, node_outages
from tafukt.simulator.scenario import Battery, Scenario, Site
from tafukt.simulator.units import DAY_S, HOUR_S, Floats
from tafukt.sites.profile import StepProfile

BATTERY = ("high_j", "start_j", "charge_w", "discharge_w", "eta_charge", "eta_discharge", "leak_per_s")

Interval = tuple[float, float]


def supply_of(
    scenario: Scenario,
    edges_s: Floats,
    objective: Objective,
    intensities: Interval = (0.0, 1.0),
    faults: FaultSettings | None = None,
    seed: int = 0,
) -> SlotSupply:
    """The scenario's supply over the slots.

    Mean sun; base load by its mean, since it is known; what jobs add by the least overhead; no taper, no
    fade of what can be stored, a floor as low as fade can make it; least price and carbon. Node failures
    are known, as they come in absolute time.

    Parameters
    ----------
    intensities : (float, float)
        The least and the largest intensity of the jobs.
    """
    columns = [
        _site_rows(site, edges_s, scenario.end_s, down_s(site, scenario.end_s, faults, seed)) for site in scenario.sites
    ]
    stacked = {name: np.array([column[name] for column in columns]) for name in columns[0]}
    bought, unserved, sold = weights(scenario, objective, edges_s)
    batteries = zip(*(_battery(site, scenario.end_s) for site in scenario.sites), strict=True)
    power = [gpu_power_w(site, intensities) for site in scenario.sites]
    return SlotSupply(
        duration_s=np.diff(edges_s),
        import_weight=bought,
        unserved_weight=unserved,
        export_weight=sold,
        node_gpus=np.array([float(site.node.gpus) for site in scenario.sites]),
        gpu_w=np.array([still for still, _ in power]),
        dynamic_w=np.array([dynamic for _, dynamic in power]),
        speed=np.array([site.node.speed for site in scenario.sites]),
        missing_weight=1.0 if objective == "draw" else 0.0,
        **stacked,
        **{name: np.array(values) for name, values in zip(BATTERY, batteries, strict=True)},
    )


def node_base_w(site: Site) -> float:
    """Least power of an empty node: what it draws asleep or idle, whichever is less [W]."""
    node = site.node
    return min(node.empty_w, node.idle_w)


def gpu_power_w(site: Site, intensities: Interval = (0.0, 1.0)) -> tuple[float, float]:
    """Coefficients a, b such that a busy GPU at full speed adds at least a + b intensity to the base load [W].

    A node that hosts a job draws its whole idle power; sharing that out by GPU is exact for a full node
    and too little for others, so it is a bound. Nodes that never sleep add nothing at intensity 0. Where
    nodes take power caps, the same work may be done by more GPUs at less power: the least over all caps is
    concave in the intensity, and so nowhere below the chord between the least and the largest.
    """
    node = site.node
    still = max(0.0, node.idle_w - node_base_w(site)) / node.gpus if node.can_sleep else 0.0
    dynamic = node.dynamic_w
    if not node.caps:
        return still, dynamic
    points = {(1.0, 1.0), *node.caps, *(point for _, caps in node.other_caps for point in caps)}
    low, high = intensities if intensities[1] > intensities[0] else (0.0, max(intensities[1], 1.0))

    def cheapest(intensity: float) -> float:
        # Between two points of the table power over speed is a ratio of linear functions, hence monotone.
        return min((still + share * intensity * dynamic) / speed for share, speed in points)

    slope = (cheapest(high) - cheapest(low)) / (high - low)
    return cheapest(low) - slope * low, slope


def down_s(site: Site, end_s: float, faults: FaultSettings | None, seed: int) -> list[Interval]:
    """Times at which each node is down, by the engine's own draws and as planned, nodes one after the other [s]."""
    intervals: list[Interval] = []
    least = min((count for _, count in site.nodes_online), default=site.nodes)
    for node in range(0 if faults else least, site.nodes):
        down = site.withdrawn(node, end_s)
        for failed_s, repaired_s in node_outages(faults or FaultSettings(), seed, site.name, node):
            if failed_s >= end_s:
                break
            down.append((failed_s, min(repaired_s, end_s)))
        intervals += _union(down)
    return intervals


def _union(intervals: Sequence[Interval]) -> list[Interval]:
    """The same times without overlaps."""
    found: list[Interval] = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _site_rows(site: Site, edges_s: Floats, end_s: float, down: Sequence[Interval]) -> dict[str, Floats]:
    """Supply and needs of one site in each slot, by field of `SlotSupply`."""
    duration = np.diff(edges_s)
    pv = spans(site.pv, edges_s)
    nodes, metered = _nodes_up(site, edges_s, end_s, down)
    base_w = node_base_w(site)
    steady = site.fixed_w + spans(site.other, edges_s)
    outage = sum((overlap(start, end, edges_s) for start, end in site.grid.outages), np.zeros(len(duration)))
    outage = np.minimum(outage / duration, 1.0)
    limited = site.grid.is_limited
    highest = 1.0 + most(site.overhead, edges_s)
    most_node_w = max(site.node.loaded_w, site.node.idle_w, site.node.empty_w)
    # A shortage stops jobs before it leaves load unserved: what can go unserved is what no job causes.
    can_lack = site.fixed_w + most(site.other, edges_s) + nodes * base_w * highest
    short = np.ones(len(duration)) if limited else outage
    return {
        "free_w": pv - steady - base_w * metered,
        "import_w": _import_w(site, edges_s, outage) if limited else np.where(outage < 1.0, np.inf, 0.0),
        "most_load_w": site.fixed_w + most(site.other, edges_s) + site.nodes * most_node_w * highest,
        "shed_w": can_lack * short,
        "export_w": np.minimum(pv, site.grid.export_limit_w),
        "per_it": 1.0 + least(site.overhead, edges_s),
        "gpus": nodes * site.node.gpus,
        # In a shortage empty nodes sleep, also those that else never do, until supply has recovered: when
        # the grid is back, or nobody knows when under an import limit.
        "off_nodes": nodes * (0.0 if site.node.can_sleep else short),
        "off_w": max(0.0, site.node.idle_w - site.node.sleep_w) * highest,
    }


def _import_w(site: Site, edges_s: Floats, outage: Floats) -> Floats:
    """Largest mean import in each slot under its limits, while the grid is there [W]; `outage` is its share."""
    limit = site.grid.import_limit_w
    if not isinstance(limit, StepProfile):
        return np.asarray(limit * (1.0 - outage))
    total = np.diff(limit.integral_to(np.minimum(edges_s, limit.end_s)))
    for start, end in site.grid.outages:
        out = np.clip(edges_s, start, min(end, limit.end_s))
        total -= np.diff(limit.integral_to(np.maximum(out, limit.start_s)))
    return np.asarray(np.maximum(total, 0.0) / np.diff(edges_s))


def _nodes_up(site: Site, edges_s: Floats, end_s: float, down: Sequence[Interval]) -> tuple[Floats, Floats]:
    """Mean number of nodes that are online and not down, and the same times one plus the overhead."""

    def over(start_s: float, stop_s: float) -> tuple[Floats, Floats]:
        times = np.clip(edges_s, min(start_s, end_s), min(stop_s, end_s))
        lasted = np.diff(times)
        return lasted, lasted + np.diff(site.overhead.integral_to(times))

    up, metered = over(site.online_s, end_s)
    up, metered = site.nodes * up, site.nodes * metered
    for start, stop in down:
        if stop > site.online_s:
            lasted, more = over(max(start, site.online_s), stop)
            up, metered = up - lasted, metered - more
    duration = np.diff(edges_s)
    return np.maximum(up, 0.0) / duration, np.maximum(metered, 0.0) / duration


def _battery(site: Site, end_s: float) -> tuple[float, float, float, float, float, float, float]:
    """The battery by the fields of `BATTERY`, energies above the lowest floor that it may have."""
    battery = site.battery
    if battery is None or battery.capacity_j <= 0:
        return 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0
    start_j = battery.soc_start * battery.capacity_j
    floor_j = min(battery.soc_min * _least_capacity_j(battery, site, end_s), start_j)
    return (
        max(battery.soc_max * battery.capacity_j, start_j) - floor_j,
        start_j - floor_j,
        battery.charge_w,
        battery.discharge_w,
        battery.eta_charge,
        battery.eta_discharge,
        battery.self_discharge_per_s,
    )


def _least_capacity_j(battery: Battery, site: Site, end_s: float) -> float:
    """Capacity that fade leaves if the battery does nothing but charge and discharge [J].

    Fade lowers the floor of the window with its ceiling, and what lies between the old floor and the new
    one can then be taken out.
    """
    taken_j = min(battery.discharge_w / battery.eta_discharge, battery.charge_w * battery.eta_charge) * end_s
    taken_j += battery.capacity_j
    aged_s = fade.ageing_s(battery, site.temp_air, [end_s])[0]
    return fade.capacity_j(battery, taken_j, aged_s)


# --- Slots for the bound, and a scenario's supply averaged over them, rounded in the schedule's favour


Objective = Literal["draw", "cost", "emissions"]


# A slot in which all sites together have less than this share of their highest sun counts as night [-]
# (a choice: where a slot begins never makes the bound false, only looser).
NIGHT_SUN = 0.01


@dataclass(frozen=True)
class Resolution:
    """Resolution of the programme in time and jobs.

    Attributes
    ----------
    slot_s : float
        Length of a slot by day, rounded to whole supply steps [s].
    night_blocks : int
        Slots that a night is cut into, as far as prices or carbon allow.
    weight_change : float
        A slot by night ends where a weight of the objective has changed by more than this share.
    own_cells_per_day : int
        Largest number of (job, slot) variables of jobs that are not grouped, per day of the window.
    block_s, ahead_s : float
        A larger programme is solved in blocks of this length, each of which looks ahead so far [s].
    whole_columns : int
        Up to so many variables a programme is solved as a whole; without blocks a larger one is coarsened.
    iterations : int
        Limit on the solver's iterations.
    """

    slot_s: float = HOUR_S
    night_blocks: int = 2
    weight_change: float = 0.01
    own_cells_per_day: int = 3000
    block_s: float = math.inf
    ahead_s: float = 0.0
    whole_columns: int = 120_000
    iterations: int = 150

    def next(self) -> Resolution:
        """Next resolution to try if this one left a gap: blocks that look further ahead, then a coarser whole."""
        if math.isfinite(self.block_s) and self.ahead_s < 8.0 * DAY_S:
            return replace(self, block_s=2.0 * self.block_s, ahead_s=3.0 * self.ahead_s)
        return self.whole()

    def whole(self) -> Resolution:
        """A coarser problem without blocks."""
        return replace(
            self,
            slot_s=(2.0 if math.isinf(self.block_s) else 3.0) * self.slot_s,
            night_blocks=1,
            weight_change=5.0 * self.weight_change,
            own_cells_per_day=self.own_cells_per_day // 8,
            block_s=math.inf,
        )


def default_grain(end_s: float) -> Resolution:
    """Hours and half nights for some weeks; hours and whole nights, in blocks, for longer windows."""
    if end_s <= 25.0 * DAY_S:
        return Resolution()
    slot_s = HOUR_S if end_s <= 500.0 * DAY_S else 2 * HOUR_S
    return Resolution(slot_s, night_blocks=1, weight_change=0.05, block_s=10.0 * DAY_S, ahead_s=3.0 * DAY_S)


def block_cuts(edges_s: Floats, grain: Resolution) -> list[tuple[int, int]]:
    """Per block the first slot after it, and the first after what it looks ahead to."""
    last = len(edges_s) - 1
    cuts, begin_s = [], float(edges_s[0])
    while begin_s + grain.block_s + grain.ahead_s < edges_s[-1]:
        begin_s += grain.block_s
        end, ahead = np.searchsorted(edges_s, (begin_s, begin_s + grain.ahead_s))
        cuts.append((int(end), int(ahead)))
    return [*cuts, (last, last)]


def spans(profile: StepProfile, edges_s: Floats) -> Floats:
    """Means over the slots, shape (slots,)."""
    total = np.diff(profile.integral_to(np.minimum(edges_s, profile.end_s)))
    return np.asarray(total / np.diff(edges_s))


def least(profile: StepProfile, edges_s: Floats) -> Floats:
    """The least value that a profile takes in each slot, shape (slots,)."""
    first = np.floor((edges_s[:-1] - profile.start_s) / profile.step_s + 1e-9).astype(np.int64)
    last = np.ceil((edges_s[1:] - profile.start_s) / profile.step_s - 1e-9).astype(np.int64)
    last = np.minimum(np.maximum(last, first + 1), len(profile.values))
    first = np.minimum(first, last - 1)
    # reduceat takes pairs of limits; an infinite last value keeps the closing limit inside the array.
    values = np.append(profile.values, np.inf)
    pairs: Floats = np.minimum.reduceat(values, np.stack((first, last), axis=1).ravel())
    return np.asarray(pairs[::2], dtype=np.float64)


def most(profile: StepProfile, edges_s: Floats) -> Floats:
    """The largest value that a profile takes in each slot, shape (slots,)."""
    negative = StepProfile(-profile.values, profile.step_s, profile.start_s)
    return np.asarray(-least(negative, edges_s))


def overlap(start_s: float, end_s: float, edges_s: Floats) -> Floats:
    """Time that the interval from `start_s` to `end_s` shares with each slot [s], shape (slots,)."""
    shared = np.minimum(edges_s[1:], end_s) - np.maximum(edges_s[:-1], start_s)
    return np.asarray(np.maximum(shared, 0.0), dtype=np.float64)


def weights(scenario: Scenario, objective: Objective, edges_s: Floats) -> tuple[Floats, Floats, Floats]:
    """The objective's weight of a joule of import, unserved load and export, each (sites, slots)."""
    shape = (len(scenario.sites), len(edges_s) - 1)
    none = np.zeros(shape)
    if objective == "draw":
        return np.ones(shape), np.ones(shape), none
    if objective == "emissions":
        return np.array([least(site.grid.carbon, edges_s) for site in scenario.sites]), none, none
    sold = np.array([np.maximum(0.0, most(site.grid.export_price, edges_s)) for site in scenario.sites])
    return np.array([least(site.grid.price, edges_s) for site in scenario.sites]), none, sold


def slot_edges(scenario: Scenario, objective: Objective, grain: Resolution) -> Floats:
    """The times between slots [s]: even by day, a few blocks by night, the end of the window last."""
    steps = max(1, round(grain.slot_s / scenario.step_s))
    even = np.arange(0.0, scenario.end_s, steps * scenario.step_s)
    edges = np.append(even, scenario.end_s)
    sun = np.sum([spans(site.pv, edges) for site in scenario.sites], axis=0)
    night = sun <= NIGHT_SUN * sun.max()
    bought, _, sold = weights(scenario, objective, edges)
    weight = np.concatenate((bought, sold))
    tolerance = grain.weight_change * max(float(np.abs(weight).max()), 1e-300)
    longest = max(1, round(12 * HOUR_S / (steps * scenario.step_s)))  # where the sun never shines
    keep = [0]
    for begin, end in _runs(night, longest):
        cuts = np.linspace(begin, end, grain.night_blocks + 1).round().astype(int)[1:-1]
        for slot in range(begin, end):
            changed = np.max(np.abs(weight[:, slot] - weight[:, keep[-1]])) > tolerance
            if not night[slot] or slot == begin or slot in cuts or changed:
                keep.append(slot)
    return np.append(edges[np.unique(keep)], scenario.end_s)


def _runs(night: np.ndarray[tuple[int], np.dtype[np.bool_]], longest: int) -> list[tuple[int, int]]:
    """Maximal runs of slots that are all night or all day, nights cut at `longest` slots."""
    change = np.flatnonzero(np.diff(night.astype(np.int8))) + 1
    limits = [0, *change.tolist(), len(night)]
    runs = []
    for begin, end in pairwise(limits):
        step = longest if night[begin] else end - begin
        runs += [(at, min(at + step, end)) for at in range(begin, end, step)]
    return runs
