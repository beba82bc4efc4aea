"""How a battery's capacity shrinks: by cycles, by age, and faster where it is warm.

A linear model, as planning studies use it (a choice; cells age faster at first and at the very end):

    fade = fade_per_cycle * cycles + fade_per_s * integral of 2 ** ((T - 25 degC) / doubling) dt

Cycles are the energy taken out of the store over the usable capacity when new. The factor of temperature
is Arrhenius' law written as the warming that doubles the rate; ten degrees correspond to an activation
energy near 0.55 eV around 25 degC. T is the ambient temperature: a battery room is not modelled. What is
left is never less than a hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.scenario import Battery
from sites.profile import StepProfile

REFERENCE_C = 25.0
LEAST_SHARE = 0.01


def ageing_s(battery: Battery, temp_air: StepProfile | None, times_s: Sequence[float]) -> list[float]:
    """Time from the start to each of `times_s`, weighted by temperature [s]; 25 degC without a profile."""
    if temp_air is None:
        return list(times_s)
    factor = np.exp2((temp_air.values - REFERENCE_C) / battery.fade_doubling_c)
    weighted = StepProfile(factor, temp_air.step_s, temp_air.start_s)
    return [float(x) for x in weighted.integral(0.0, np.asarray(times_s, dtype=np.float64))]


def usable_j(battery: Battery) -> float:
    """Energy between the ends of the window when new [J]."""
    return (battery.soc_max - battery.soc_min) * battery.capacity_j


def faded_j(battery: Battery, taken_j: float, aged_s: float) -> tuple[float, float]:
    """Capacity lost by cycles and by age [J].

    Parameters
    ----------
    taken_j : float
        Energy taken out of the store so far, losses of discharging included [J].
    aged_s : float
        Age, weighted by temperature [s].
    """
    usable = usable_j(battery)
    cycles = taken_j / usable if usable > 0 else 0.0
    return battery.fade_per_cycle * cycles * battery.capacity_j, battery.fade_per_s * aged_s * battery.capacity_j


def capacity_j(battery: Battery, taken_j: float, aged_s: float) -> float:
    """What is left of the capacity [J]."""
    return max(battery.capacity_j - sum(faded_j(battery, taken_j, aged_s)), LEAST_SHARE * battery.capacity_j)
