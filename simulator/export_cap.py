"""The yearly export cap: a share of the window's own generation, split exactly where it is reached.

Morocco's law 82-21 lets a producer for own use sell at most 20 % of a year's generation.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np

from simulator.battery import stepper
from simulator.ledger import SiteLedger
from simulator.record import Floats

HALVINGS = 100


def reached_s(ledger: SiteLedger, edges: Floats, pv: Floats, flows: dict[str, Floats]) -> float | None:
    """When export reaches its share of the generation [s]; `None` if it never does."""
    duration = np.diff(edges)
    allowed = ledger.site.grid.export_cap_share * float(np.sum(pv * duration))
    exported = np.concatenate(([0.0], np.cumsum(flows["export"] * duration)))
    if exported[-1] <= allowed:
        return None
    index = int(np.searchsorted(exported, allowed, side="right")) - 1
    start, rest = float(edges[index]), allowed - float(exported[index])
    low, high = 0.0, float(duration[index])
    export, left = (float(flows[name][index]) for name in ("export", "pv_to_battery"))
    if export >= ledger.site.grid.export_limit_w or left == 0.0:
        return start + rest / export
    surplus, charged_j = export + left + float(flows["curtailed"][index]), _charging(ledger, start)
    for _ in range(HALVINGS):  # while the battery tapers, export grows as the battery takes less
        middle = 0.5 * (low + high)
        if surplus * middle - charged_j(middle) < rest:
            low = middle
        else:
            high = middle
    return start + low


def split_segment(ledger: SiteLedger, time_s: float) -> None:
    """Cut the battery's segment that holds `time_s` [s] in two, as if the walk had stopped there."""
    index = bisect_left(ledger.ends, time_s)
    if index >= len(ledger.ends) or ledger.ends[index] == time_s:
        return
    start = ledger.ends[index - 1] if index else 0.0
    if time_s <= start:
        return
    whole_j = ledger.powers[index] * (ledger.ends[index] - start)
    first_j, stored = _motion(ledger, index, start)(time_s - start)
    ledger.powers[index] = (whole_j - first_j) / (ledger.ends[index] - time_s)
    ledger.ends = _inserted(ledger.ends, index, time_s)
    ledger.powers = _inserted(ledger.powers, index, first_j / (time_s - start))
    ledger.stored = _inserted(ledger.stored, index, stored)


def _inserted(values: array[float], index: int, value: float) -> array[float]:
    """A new array: an old one cannot grow while something looks at it, as a profiler does that holds our frame."""
    return values[:index] + array("d", [value]) + values[index:]


def _charging(ledger: SiteLedger, from_s: float) -> Callable[[float], float]:
    """Energy into the battery from an edge on, inside one of its segments, by duration [s] [J, at the terminals]."""
    index = bisect_right(ledger.ends, from_s)
    start = ledger.ends[index - 1] if index else 0.0
    moved = _motion(ledger, index, start)
    before = moved(from_s - start)[0] if from_s > start else 0.0
    return lambda duration_s: moved(from_s - start + duration_s)[0] - before


def _motion(ledger: SiteLedger, index: int, start_s: float) -> Callable[[float], tuple[float, float]]:
    """Energy [J] and state [J] after a part of the battery's segment `index`, by its duration [s]."""
    battery = ledger.battery
    assert battery is not None
    stored = ledger.stored[index - 1] if index else ledger.stored_start_j
    if ledger.powers[index] == 0.0:
        return lambda duration_s: (0.0, float(stored * np.exp(-battery.self_discharge_per_s * duration_s)))
    advance = stepper(battery, float(ledger.capacities_at(np.array([start_s]))[0]))
    offer = ledger.offer_at(start_s)

    def moved(duration_s: float) -> tuple[float, float]:
        power, after, _ = advance(stored, offer, duration_s, ())
        return power * duration_s, after

    return moved
