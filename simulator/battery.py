"""How a battery fills and empties: closed forms, so that cutting an interval in two changes nothing.

While a power p is constant at the AC terminals, the stored energy s obeys

    ds/dt = eta_charge p_charge - p_discharge / eta_discharge - k s

and within a taper band p itself is linear in s; both are linear equations with exponential solutions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

from simulator.scenario import Battery

Advance = Callable[[float, float, float], tuple[float, float, float]]

# An interval shorter than this [s] is taken as none, so that a limit that is met by rounding is met.
TINY_S = 1e-7


def stepper(battery: Battery, capacity_j: float) -> Advance:
    """The battery's motion as a function of its present capacity [J].

    Returns
    -------
    advance(stored_j, offer_w, dt_s) -> (power_w, stored_j, used_s)
        `offer_w` > 0 is what the battery may charge with, < 0 what it is asked to deliver [W, AC]. The
        result is the mean power over the first `used_s` <= `dt_s` seconds (> 0 charging, < 0
        discharging; the one signed power of the code, because it is one number per segment), and what
        is stored after them. `used_s` < `dt_s` where the law of motion changes: a limit is reached.
    """
    eta_c, eta_d, k = battery.eta_charge, battery.eta_discharge, battery.self_discharge_per_s
    p_c, p_d = battery.charge_w, battery.discharge_w
    low, high = battery.soc_min * capacity_j, battery.soc_max * capacity_j
    band = battery.taper_soc * capacity_j
    slope_c = p_c / band if band else 0.0
    slope_d = p_d / band if band else 0.0

    def charge(stored: float, offer: float, dt: float) -> tuple[float, float, float]:
        power = offer if offer < p_c else p_c
        if stored >= high:
            if stored > high or not k:
                return 0.0, _decayed(stored, k, dt), dt
            hold = k * high / eta_c  # just enough to stay full
            if power >= hold:
                return hold, high, dt
        if band:
            knee = high - power / slope_c
            if stored >= knee:
                return _taper_charge(stored, power, dt)
            used = _time_to(stored, knee, eta_c * power, k, dt)
            if used <= TINY_S:
                return _taper_charge(knee, power, dt)
            return power, (knee if used < dt else _driven(stored, eta_c * power, k, dt)), used
        used = _time_to(stored, high, eta_c * power, k, dt)
        if used >= dt:
            return power, min(_driven(stored, eta_c * power, k, dt), high), dt
        if used <= TINY_S:
            return charge(high, offer, dt)
        return power, high, used

    def _taper_charge(stored: float, power: float, dt: float) -> tuple[float, float, float]:
        # p = slope (high - s), so ds/dt = rate (goal - s)
        rate = eta_c * slope_c + k
        goal = eta_c * slope_c * high / rate
        knee = high - power / slope_c
        used = dt
        if goal < knee:  # self-discharge outweighs so weak an offer: the battery sinks to the knee and past it
            if stored <= knee:
                return power, _driven(stored, eta_c * power, k, dt), dt
            used = min(dt, log((stored - goal) / (knee - goal)) / rate)
        after = goal + (stored - goal) * exp(-rate * used)
        mean_stored = goal + (stored - after) / (rate * used)
        return slope_c * (high - mean_stored), (after if used == dt else knee), used

    def discharge(stored: float, asked: float, dt: float) -> tuple[float, float, float]:
        if stored <= low:
            return 0.0, _decayed(stored, k, dt), dt
        power = asked if asked < p_d else p_d
        if band:
            knee = low + power / slope_d
            if stored <= knee:
                rate = slope_d / eta_d + k
                goal = slope_d / eta_d * low / rate
                used = dt
                if k:  # self-discharge reaches the floor in finite time
                    used = min(dt, log((stored - goal) / (low - goal)) / rate)
                if used <= TINY_S:
                    return 0.0, _decayed(low, k, dt), dt
                after = goal + (stored - goal) * exp(-rate * used)
                mean_stored = goal + (stored - after) / (rate * used)
                return -slope_d * (mean_stored - low), (after if used == dt else low), used
            used = _time_to(stored, knee, -power / eta_d, k, dt)
            if used <= TINY_S:
                return discharge(knee, asked, dt)
            return -power, (knee if used < dt else _driven(stored, -power / eta_d, k, dt)), used
        used = _time_to(stored, low, -power / eta_d, k, dt)
        if used >= dt:
            return -power, max(_driven(stored, -power / eta_d, k, dt), low), dt
        if used <= TINY_S:
            return 0.0, _decayed(low, k, dt), dt
        return -power, low, used

    def advance(stored: float, offer: float, dt: float) -> tuple[float, float, float]:
        if offer > 0.0:
            return charge(stored, offer, dt)
        if offer < 0.0:
            return discharge(stored, -offer, dt)
        return 0.0, _decayed(stored, k, dt), dt

    return advance


def _decayed(stored: float, k: float, dt: float) -> float:
    """What self-discharge leaves after `dt` [s]."""
    return stored * exp(-k * dt) if k else stored


def _driven(stored: float, drive: float, k: float, dt: float) -> float:
    """Stored energy after `dt` under a constant drive [W] and self-discharge."""
    if not k:
        return stored + drive * dt
    goal = drive / k
    return goal + (stored - goal) * exp(-k * dt)


def _time_to(stored: float, target: float, drive: float, k: float, dt: float) -> float:
    """The time after which `target` is reached under a constant drive, at most `dt` [s]."""
    if not k:
        time = (target - stored) / drive
        return time if time < dt else dt
    goal = drive / k
    if (goal - target) * (target - stored) <= 0.0:  # the motion settles before it gets there
        return dt
    time = log((stored - goal) / (target - goal)) / k
    return time if time < dt else dt
