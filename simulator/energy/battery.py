"""Battery state equation in closed form, so that cutting an interval in two changes nothing.

While a power p is constant at the AC terminals, the stored energy s obeys

    ds/dt = eta_charge p_charge - p_discharge / eta_discharge - k s

and within a taper band p itself is linear in s; both are linear equations with exponential solutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, expm1, log1p
from typing import NamedTuple

import numpy as np

from tafukt.simulator.scenario import Battery
from tafukt.sites.profile import StepProfile

Advance = Callable[[float, float, float, tuple[float, ...]], tuple[float, float, float]]


def stepper(battery: Battery, capacity_j: float) -> Advance:
    """The battery's motion as a function of its present capacity [J].

    Returns
    -------
    advance(stored_j, offer_w, dt_s, kinks_w) -> (power_w, stored_j, used_s)
        `offer_w` > 0 is what the battery may charge with, < 0 what it is asked to deliver [W, AC]. The
        result is the mean power over the first `used_s` <= `dt_s` seconds (> 0 charging, < 0
        discharging; the one signed power of the code, because it is one number per segment), and what
        is stored after them. `used_s` < `dt_s` where the law of motion changes, or where a tapering
        power passes one of `kinks_w` [W, > 0]: the powers at which a flow of the site begins or ends.
        A limit that is reached is stored exactly, so that the next call takes up from there.
    """
    may_charge, may_discharge = battery.charge_w > 0.0, battery.discharge_w > 0.0
    k = battery.self_discharge_per_s
    charge, discharge = _charging(battery, capacity_j), _discharging(battery, capacity_j)

    def advance(stored: float, offer: float, dt: float, kinks: tuple[float, ...] = ()) -> tuple[float, float, float]:
        """One move, up to where its law changes; see above."""
        if offer > 0.0 and may_charge:
            return charge(stored, offer, dt, kinks)
        if offer < 0.0 and may_discharge:
            return discharge(stored, -offer, dt, kinks)
        return _idle(stored, k, dt)

    return advance


def _charging(battery: Battery, capacity_j: float) -> Advance:
    """Motion under an offer of power, at the present capacity [J]."""
    eta, k, p_max = battery.eta_charge, battery.self_discharge_per_s, battery.charge_w
    high, band = battery.soc_max * capacity_j, battery.taper_soc * capacity_j
    taper = _taper(eta, p_max / band, k, high) if band and p_max else None

    def charge(stored: float, offer: float, dt: float, kinks: tuple[float, ...]) -> tuple[float, float, float]:
        """At the offer or the rated power [W], until it tapers or the battery is full; `kinks` as for `advance`."""
        power = offer if offer < p_max else p_max
        if stored > high:  # above the window nothing goes in; self-discharge may lead back into it
            used = log1p((stored - high) / high) / k if k and high else dt
            return _idle(stored, k, dt) if used >= dt else (0.0, high, used)
        if taper is not None:
            limit = high - power * band / p_max
            # At the knee itself, self-discharge may outweigh a weak offer: then the battery sinks from it.
            if stored > limit or (stored == limit and eta * power >= k * limit):
                return taper(stored, limit, dt, kinks)
        else:
            limit = high
            if stored >= high:
                hold = k * high / eta  # just enough to stay full
                if power >= hold:
                    return hold, high, dt
        drive = eta * power
        if k:
            goal = drive / k
            after = stored - (goal - stored) * expm1(-k * dt)
            if after < limit:
                return power, after, dt
            return power, limit, _not_over(dt, log1p((limit - stored) / (goal - limit)) / k if goal > limit else dt)
        after = stored + drive * dt
        if after < limit:
            return power, after, dt
        return power, limit, _not_over(dt, (limit - stored) / drive)

    return charge


def _discharging(battery: Battery, capacity_j: float) -> Advance:
    """Motion while power is asked for, at the present capacity [J]."""
    eta, k, p_max = battery.eta_discharge, battery.self_discharge_per_s, battery.discharge_w
    low, band = battery.soc_min * capacity_j, battery.taper_soc * capacity_j
    taper = _taper(-1.0 / eta, -p_max / band, k, low) if band and p_max else None

    def discharge(stored: float, asked: float, dt: float, kinks: tuple[float, ...]) -> tuple[float, float, float]:
        """At what is asked or the rated power [W], until it tapers or the battery is empty; the power is negative."""
        if stored <= low:
            return _idle(stored, k, dt)
        power = asked if asked < p_max else p_max
        limit = low
        if taper is not None:
            limit = low + power * band / p_max
            if stored <= limit:
                mean, after, used = taper(stored, limit, dt, kinks)
                return -mean, after, used
        drive = power / eta
        if k:
            goal = -drive / k
            after = stored - (goal - stored) * expm1(-k * dt)
            if after > limit:
                return -power, after, dt
            return -power, limit, _not_over(dt, log1p((stored - limit) / (limit - goal)) / k)
        after = stored - drive * dt
        if after > limit:
            return -power, after, dt
        return -power, limit, _not_over(dt, (stored - limit) / drive)

    return discharge


def _taper(eta: float, slope: float, k: float, end: float) -> Advance:
    """Motion inside a taper band, where the power is slope (end - s) [W].

    Then ds/dt = rate (goal - s). `eta` is what is stored of a joule at the terminals, and `slope` [1/s]
    is negative at the lower end, like `eta`, so that one law serves both ends.
    """
    rate = eta * slope + k
    goal = eta * slope * end / rate
    below = end - goal

    def taper(stored: float, knee: float, dt: float, kinks: tuple[float, ...]) -> tuple[float, float, float]:
        """Between `knee` and `end` [J], until one of them or a power of `kinks` [W] is met; the power is a mean."""
        x = rate * dt
        shrink = -expm1(-x)
        after = goal + (stored - goal) * (1.0 - shrink)  # never past the goal, whatever rounding does
        first, last = slope * (end - stored), slope * (end - after)
        used = dt
        # The band ends at `knee`, and at `end` where self-discharge leads out of it.
        if kinks or stored < knee < after or stored > knee > after or stored < end < after or stored > end > after:
            for bound in (knee, end, *[end - kink / slope for kink in kinks]):
                if stored < bound < after or stored > bound > after:
                    after, used = bound, _not_over(dt, log1p((stored - bound) / (bound - goal)) / rate)
            x = rate * used
            shrink, last = -expm1(-x), slope * (end - after)
        if not x:
            return first, after, used
        # The mean of s over the interval is goal + (stored - goal) shrink / x; rounding must not carry the
        # mean power beyond its ends.
        mean = slope * (below - (stored - goal) * shrink / x)
        if first > last:
            first, last = last, first
        return (first if mean < first else last if mean > last else mean), after, used

    return taper


class Law(NamedTuple):
    """Law of motion of a battery at its present capacity, while no limit is met on the way.

    Under a power p over a time dt what is stored becomes `keep` s + `span` eta_charge p, or `keep` s - `span`
    p / eta_discharge; `keep` = exp(-k dt) and `span` = (1 - keep) / k are those of a whole supply step. A power
    is tapered from `knee_up` p below `high`, and from `knee_down` p above `low` [J/W].
    """

    keep: float
    span: float
    eta_charge: float
    eta_discharge: float
    charge_w: float
    discharge_w: float
    low: float
    high: float
    knee_up: float
    knee_down: float


class TaperStep(NamedTuple):
    """A whole supply step in the upper taper band.

    What is stored becomes `goal` + (s - `goal`) `remain`, at a mean power of `hold_w` - (s - `goal`) `per_j`.
    Without a band the goal is the upper end, and `hold_w` is what keeps a full battery full.
    """

    goal: float
    remain: float
    hold_w: float
    per_j: float


def law(battery: Battery, capacity_j: float, step_s: float) -> tuple[Law, TaperStep]:
    """The constants of a step of `step_s` [s] at the present capacity [J]."""
    k, band = battery.self_discharge_per_s, battery.taper_soc * capacity_j
    charge_w, discharge_w = battery.charge_w, battery.discharge_w
    low, high = battery.soc_min * capacity_j, battery.soc_max * capacity_j
    taper = TaperStep(high, 1.0, k * high / battery.eta_charge, 0.0)
    if band and charge_w:
        slope = charge_w / band
        rate = battery.eta_charge * slope + k
        goal = battery.eta_charge * slope * high / rate
        per_j = slope * -expm1(-rate * step_s) / (rate * step_s)
        taper = TaperStep(goal, exp(-rate * step_s), slope * (high - goal), per_j)
    constants = Law(
        keep=exp(-k * step_s),
        span=-expm1(-k * step_s) / k if k else step_s,
        eta_charge=battery.eta_charge,
        eta_discharge=battery.eta_discharge,
        charge_w=charge_w,
        discharge_w=discharge_w,
        low=low,
        high=high,
        knee_up=band / charge_w if charge_w else 0.0,
        knee_down=band / discharge_w if discharge_w else 0.0,
    )
    return constants, taper


def _idle(stored: float, k: float, dt: float) -> tuple[float, float, float]:
    """Motion without any power for `dt` [s]: self-discharge of `k` [1/s] alone."""
    return 0.0, (stored * exp(-k * dt) if k else stored), dt


def _not_over(dt: float, time: float) -> float:
    """`time`, which rounding must not carry past the end of the interval or before its beginning."""
    return dt if time > dt else (time if time > 0.0 else 0.0)


# --- How a battery's capacity shrinks: by cycles, by age, and faster where it is warm
# A linear model, as planning studies use it (a choice; cells age faster at first and at the very end):
# fade = fade_per_cycle * cycles + fade_per_s * integral of 2 ** ((T - 25 degC) / doubling) dt
# Cycles are the energy taken out of the store over the usable capacity when new. The factor of temperature
# is Arrhenius' law written as the warming that doubles the rate; ten degrees correspond to an activation
# energy near 0.55 eV around 25 degC. T is the ambient temperature: a battery room is not modelled. What is
# left is never less than a hundredth.


REFERENCE_C = 25.0
LEAST_CAPACITY_SHARE = 0.01


def ageing_s(battery: Battery, temp_air: StepProfile | None, times_s: Sequence[float]) -> list[float]:
    """Time from the start to each of `times_s`, weighted by temperature [s]; 25 degC without a profile."""
    if temp_air is None:
        return list(times_s)
    factor = np.exp2((temp_air.values - REFERENCE_C) / battery.fade_doubling_c)
    weighted = StepProfile(factor, temp_air.step_s, temp_air.start_s)
    return [float(x) for x in weighted.integral(0.0, np.asarray(times_s, dtype=np.float64))]


def faded_j(battery: Battery, taken_j: float, aged_s: float) -> tuple[float, float]:
    """Capacity lost by cycles and by age [J].

    Parameters
    ----------
    taken_j : float
        Energy taken out of the store so far, losses of discharging included [J].
    aged_s : float
        Age, weighted by temperature [s].
    """
    cycles = taken_j / battery.usable_j if battery.usable_j > 0 else 0.0
    return battery.fade_per_cycle * cycles * battery.capacity_j, battery.fade_per_s * aged_s * battery.capacity_j


def capacity_j(battery: Battery, taken_j: float, aged_s: float) -> float:
    """Capacity that is left [J]."""
    return max(battery.capacity_j - sum(faded_j(battery, taken_j, aged_s)), LEAST_CAPACITY_SHARE * battery.capacity_j)
