"""Course of a battery through hours of expected surplus and lack, under self-consumption.

What is stored is counted from the floor of the battery's window, in watts times a slot. There is no taper and no
self-discharge in it: it is a forecast's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tafukt.simulator.scenario import Battery
from tafukt.simulator.units import HOUR_S, Floats


def battery_flows(
    net_w: Sequence[float], battery: Battery, stored_j: float, slot_s: float = HOUR_S
) -> tuple[list[float], list[float], list[float]]:
    """Charging and discharging power in each slot [W], and what is stored after it [W x slot].

    Parameters
    ----------
    net_w : sequence of float
        Sun less load of each slot [W].
    battery : Battery
    stored_j : float
        Energy above the floor of its window at the beginning [J].
    slot_s : float
        Length of a slot [s].
    """
    size = battery.usable_j / slot_s
    into, out, most_in, most_out = battery.eta_charge, battery.eta_discharge, battery.charge_w, battery.discharge_w
    stored = min(stored_j / slot_s, size)
    charged, given, after = [0.0] * len(net_w), [0.0] * len(net_w), [0.0] * len(net_w)
    for slot, power in enumerate(net_w):
        if power >= 0.0:
            charged[slot] = taken = min(power, most_in, (size - stored) / into)
            stored += taken * into
        else:
            given[slot] = lent = min(-power, most_out, stored * out)
            stored -= lent / out
        after[slot] = stored
    return charged, given, after


def stored_after(
    net_w: Floats, batteries: Sequence[Battery | None], stored_j: Sequence[float], slot_s: float = HOUR_S
) -> tuple[Floats, Floats]:
    """Energy in many batteries before and after each slot [W x slot], each shape (sites, slots); 0 where there is none.

    Parameters
    ----------
    net_w : array, shape (sites, slots)
        Sun less load [W].
    batteries : sequence of Battery or None
    stored_j : sequence of float
        Energy above the floor of each window at the beginning [J].
    slot_s : float
        Length of a slot [s].
    """

    def of(name: str, without: float) -> Floats:
        return np.array([[float(getattr(battery, name)) if battery else without] for battery in batteries])

    into, out = of("eta_charge", 1.0), of("eta_discharge", 1.0)
    moved = np.where(
        net_w >= 0.0,
        np.minimum(net_w, of("charge_w", 0.0)) * into,
        np.maximum(net_w, -of("discharge_w", 0.0)) / out,
    )
    size = of("usable_j", 0.0)[:, 0] / slot_s
    course = np.empty((net_w.shape[1] + 1, len(net_w)))  # slots first: each step works on neighbours
    np.minimum(np.array(stored_j) / slot_s, size, out=course[0])
    for held, after, change in zip(course[:-1], course[1:], moved.T.copy(), strict=True):
        np.add(held, change, out=after)
        np.maximum(after, 0.0, out=after)
        np.minimum(after, size, out=after)
    return course[:-1].T, course[1:].T


def imports_kwh(net_w: Floats, battery: Battery | None, stored_j: float, slot_s: float = HOUR_S) -> Floats:
    """Energy from the grid in slots of surplus and lack, less what the battery can give in the end [kWh].

    Parameters
    ----------
    net_w : array, shape (candidates, slots)
        Sun less load [W].
    battery : Battery, optional
    stored_j : float
        Energy above the floor of its window at the beginning [J].
    slot_s : float
        Length of a slot [s].

    Returns
    -------
    array, shape (candidates,)
    """
    per_kwh = 1e3 * (HOUR_S / slot_s)
    if battery is None:
        return np.asarray(np.maximum(-net_w, 0.0).sum(axis=1) / per_kwh)
    size = battery.usable_j / slot_s
    stored = np.full(len(net_w), min(stored_j / slot_s, size))
    drawn = np.zeros(len(net_w))
    for power in net_w.T:
        lacking = np.maximum(-power, 0.0)
        charged = np.minimum(np.minimum(np.maximum(power, 0.0), battery.charge_w), (size - stored) / battery.eta_charge)
        given = np.minimum(np.minimum(lacking, battery.discharge_w), stored * battery.eta_discharge)
        stored = stored + charged * battery.eta_charge - given / battery.eta_discharge
        drawn += lacking - given
    return np.asarray((drawn - stored * battery.eta_discharge) / per_kwh)
