"""What the battery holds, by origin: one well-mixed pool that carries solar, grid, carbon and cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.record import Floats
from simulator.scenario import Battery


class Contents(NamedTuple):
    """Of each discharged joule: its solar share, its carbon [g/J], its cost [MAD/J]."""

    solar: Floats
    carbon: Floats
    cost: Floats


def pool_contents(
    battery: Battery, edges: Floats, stored: Floats, flows: dict[str, Floats], price: Floats, carbon: Floats
) -> Contents:
    """What each discharged joule carries, in every segment.

    Losses are borne by what comes out: a joule delivered carries what 1 / eta_discharge joules of the
    pool hold. What the battery starts with counts as neither solar nor bought: it has no share, no
    carbon and no cost, and by default lies below the window.
    """
    n = len(edges) - 1
    duration = np.diff(edges)
    sun_w, grid_w = flows["pv_to_battery"], flows["import_to_battery"]
    # Outflows leave the mixture as it is, so only the segments that charge change it.
    charging = np.flatnonzero((sun_w > 0) | (grid_w > 0))
    if not len(charging):
        return Contents(np.zeros(n), np.zeros(n), np.zeros(n))
    into = battery.eta_charge * duration[charging]
    sun, grid = into * sun_w[charging], into * grid_w[charging]
    old = stored[charging] * np.exp(-battery.self_discharge_per_s * duration[charging])
    total = old + sun + grid
    # From each segment, the last charging one before it.
    last = np.concatenate(([0], np.cumsum((sun_w > 0) | (grid_w > 0))[:-1]))
    if not grid.any():  # what is not solar is what the battery started with
        solar = np.concatenate(([0.0], 1.0 - np.cumprod(old / total)))
        return Contents(solar[last], np.zeros(n), np.zeros(n))
    solar_c, carbon_c, cost_c = [0.0], [0.0], [0.0]  # per stored joule
    c_solar = c_carbon = c_cost = 0.0
    bought = grid / battery.eta_charge
    columns = (old / total, sun / total, bought * carbon[charging] / total, bought * price[charging] / total)
    for kept, solar_in, carbon_in, cost_in in zip(*(column.tolist() for column in columns), strict=True):
        c_solar = c_solar * kept + solar_in
        c_carbon = c_carbon * kept + carbon_in
        c_cost = c_cost * kept + cost_in
        solar_c.append(c_solar)
        carbon_c.append(c_carbon)
        cost_c.append(c_cost)
    return Contents(
        np.asarray(solar_c)[last],
        np.asarray(carbon_c)[last] / battery.eta_discharge,
        np.asarray(cost_c)[last] / battery.eta_discharge,
    )
