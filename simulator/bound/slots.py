"""Slots for the bound, and a scenario's supply averaged over them, rounded in the schedule's favour."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from simulator.record import Floats
from simulator.scenario import Scenario
from sites.profile import StepProfile

Objective = Literal["draw", "cost", "carbon"]

DAY_S = 86_400.0

# A slot in which all sites together have less than this share of their highest sun counts as night [-]
# (a choice: where a slot begins never makes the bound false, only looser).
NIGHT_SUN = 0.01


@dataclass(frozen=True)
class Grain:
    """How coarse the programme is.

    Attributes
    ----------
    slot_s : float
        Length of a slot by day, rounded to whole supply steps [s].
    night_blocks : int
        Slots that a night is cut into, as far as prices or carbon allow.
    weight_change : float
        A slot by night ends where a weight of the objective has changed by more than this share.
    own_cells_per_day : int
        Largest number of (job, slot) variables of jobs that are not pooled, per day of the window.
    block_s, ahead_s : float
        A larger programme is solved in blocks of this length, each of which looks ahead so far [s].
    whole_columns : int
        Up to so many variables a programme is solved as a whole; without blocks a larger one is coarsened.
    iterations : int
        Limit on the solver's iterations.
    """

    slot_s: float = 3600.0
    night_blocks: int = 2
    weight_change: float = 0.01
    own_cells_per_day: int = 3000
    block_s: float = math.inf
    ahead_s: float = 0.0
    whole_columns: int = 120_000
    iterations: int = 150

    def next(self) -> Grain:
        """What to try where this one left a gap: blocks that look further ahead, then a coarser whole."""
        if math.isfinite(self.block_s) and self.ahead_s < 8.0 * DAY_S:
            return replace(self, block_s=2.0 * self.block_s, ahead_s=3.0 * self.ahead_s)
        return self.whole()

    def whole(self) -> Grain:
        """A coarser problem without blocks."""
        return replace(
            self,
            slot_s=(2.0 if math.isinf(self.block_s) else 3.0) * self.slot_s,
            night_blocks=1,
            weight_change=5.0 * self.weight_change,
            own_cells_per_day=self.own_cells_per_day // 8,
            block_s=math.inf,
        )


def default_grain(end_s: float) -> Grain:
    """Hours and half nights for some weeks; hours and whole nights, in blocks, for longer windows."""
    if end_s <= 25.0 * DAY_S:
        return Grain()
    slot_s = 3600.0 if end_s <= 500.0 * DAY_S else 7200.0
    return Grain(slot_s, night_blocks=1, weight_change=0.05, block_s=10.0 * DAY_S, ahead_s=3.0 * DAY_S)


def block_cuts(edges_s: Floats, grain: Grain) -> list[tuple[int, int]]:
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
    if objective == "carbon":
        return np.array([least(site.grid.carbon, edges_s) for site in scenario.sites]), none, none
    sold = np.array([np.maximum(0.0, most(site.grid.export_price, edges_s)) for site in scenario.sites])
    return np.array([least(site.grid.price, edges_s) for site in scenario.sites]), none, sold


def slot_edges(scenario: Scenario, objective: Objective, grain: Grain) -> Floats:
    """The times between slots [s]: even by day, a few blocks by night, the end of the window last."""
    steps = max(1, round(grain.slot_s / scenario.step_s))
    even = np.arange(0.0, scenario.end_s, steps * scenario.step_s)
    edges = np.append(even, scenario.end_s)
    sun = np.sum([spans(site.pv, edges) for site in scenario.sites], axis=0)
    night = sun <= NIGHT_SUN * sun.max()
    bought, _, sold = weights(scenario, objective, edges)
    weight = np.concatenate((bought, sold))
    tolerance = grain.weight_change * max(float(np.abs(weight).max()), 1e-300)
    longest = max(1, round(12 * 3600.0 / (steps * scenario.step_s)))  # where the sun never shines
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
