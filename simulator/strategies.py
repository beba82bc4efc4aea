"""When a battery charges and discharges: each strategy is the import that it steers the site towards.

A strategy gives, for every supply step, a band of grid import [W]. Below the band the battery charges with
what is missing, above it the battery discharges what is too much, and inside it rests. What the sun leaves
over is charged whatever the band, and the battery never gives more than the load takes, so it does not
export. From the grid it charges only where the band's lower edge is above zero. A band changes with the
supply step alone, so that the battery's motion between events stays a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from simulator.scenario import Grid
    from sites.profile import StepProfile

Floats = NDArray[np.float64]
Band = tuple[Floats, Floats]


@dataclass(frozen=True)
class PeakShaving:
    """Import is held at `peak_w` [W]: what exceeds it is discharged, what it leaves open recharges."""

    peak_w: float


@dataclass(frozen=True)
class Tariff:
    """Charge from the grid at a low price, discharge at a high one, and hold in between [MAD/J].

    Without thresholds: the lowest and the highest price of the window.
    """

    charge_below: float | None = None
    discharge_above: float | None = None


@dataclass(frozen=True)
class Carbon:
    """Charge from the grid at a low carbon intensity, discharge at a high one, hold in between [g/J].

    Without thresholds: the lower and the upper quartile of the window.
    """

    charge_below: float | None = None
    discharge_above: float | None = None


Strategy = PeakShaving | Tariff | Carbon


def import_band(strategy: Strategy | None, grid: Grid, starts_s: Floats) -> Band | None:
    """The import band of every supply step [W], given where the steps start [s].

    `None` for self-consumption, whose band is zero everywhere.

    Raises
    ------
    ValueError
        If a strategy would charge and discharge at the same signal.
    """
    match strategy:
        case None:
            return None
        case PeakShaving(peak_w):
            return np.full(len(starts_s), peak_w), np.full(len(starts_s), peak_w)
        case Tariff(below, above):
            return by_signal(_sampled(grid.price, starts_s), below, above, (0.0, 1.0))
        case Carbon(below, above):
            return by_signal(_sampled(grid.carbon, starts_s), below, above, (0.25, 0.75))


def by_signal(signal: Floats, below: float | None, above: float | None, quantiles: tuple[float, float]) -> Band | None:
    """The band of a strategy that buys at a low signal and saves for a high one.

    At or under `below` the battery charges all it can, at or over `above` it takes over all load, in
    between it keeps what it has and takes only surplus sun. A threshold that is not given is that quantile
    of the signal; a signal that never changes leaves nothing to gain: self-consumption, `None`.
    """
    low = float(np.quantile(signal, quantiles[0])) if below is None else below
    high = float(np.quantile(signal, quantiles[1])) if above is None else above
    if low >= high:
        if below is None and above is None:
            return None
        raise ValueError(f"the battery would charge at {low:g} and below, and discharge at {high:g} and above")
    charging, discharging = signal <= low, signal >= high
    return np.where(charging, inf, 0.0), np.where(discharging, 0.0, inf)


def _sampled(profile: StepProfile, times_s: Floats) -> Floats:
    index = np.floor((times_s - profile.start_s) / profile.step_s + 1e-9).astype(np.int64)
    return np.asarray(profile.values[index])
