"""What the battery holds, by origin: one well-mixed pool that carries solar, grid, carbon and cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.record import Floats
from simulator.scenario import Battery

# Less stored energy than this is none [J]: shares of it would be rounding.
NOTHING_J = 1e-6


class Contents(NamedTuple):
    """Of each discharged joule: its solar share, its carbon [g/J], its cost [MAD/J]."""

    solar: Floats
    carbon: Floats
    cost: Floats


def pool_contents(
    battery: Battery,
    edges: Floats,
    before: Floats,
    after: Floats,
    flows: dict[str, Floats],
    price: Floats,
    carbon: Floats,
) -> Contents:
    """What each discharged joule carries, in every segment, given what is stored before and after it.

    Energy that is lost inside takes its share of solar along, as it does of the rest; carbon and cost stay
    and weigh on what comes out, so that all that went in comes out or is still there. What the battery
    starts with counts as neither solar nor bought: it has no share, no carbon and no cost, and by default
    lies below the window.
    """
    n = len(edges) - 1
    duration = np.diff(edges)
    sun_w, grid_w = flows["pv_to_battery"], flows["import_to_battery"]
    leak = battery.self_discharge_per_s * duration
    solar = _solar(leak, before, after, sun_w, grid_w, battery.eta_charge * duration)
    if not grid_w.any():
        return Contents(solar, np.zeros(n), np.zeros(n))
    drained = flows["discharge"] * duration / battery.eta_discharge
    left = _left(leak, before, after, drained)
    active = np.flatnonzero((grid_w > 0) | (drained > 0))
    bought, out = grid_w[active] * duration[active], (drained * battery.eta_discharge)[active]
    columns = (bought * carbon[active], bought * price[active], left[active], out)
    carried = np.zeros((2, n))
    carried[:, active] = _carried(*(column.tolist() for column in columns))
    return Contents(solar, carried[0], carried[1])


def _solar(leak: Floats, before: Floats, after: Floats, sun_w: Floats, grid_w: Floats, per_w: Floats) -> Floats:
    """Solar share of what is stored when each segment begins; `per_w` is what a watt of charging stores [J]."""
    charging = (sun_w > 0) | (grid_w > 0)
    where = np.flatnonzero(charging)
    kept = before[where] * np.exp(-leak[where])
    old = np.minimum(np.divide(kept, after[where], out=np.zeros(len(where)), where=after[where] > NOTHING_J), 1.0)
    last = np.concatenate(([0], np.cumsum(charging)[:-1]))  # of each segment, the charging ones before it
    if not grid_w.any():  # what is not solar is what the battery started with
        share = np.concatenate(([1.0], np.cumprod(old)))
        return np.asarray(1.0 - share[last])
    # Where sun and grid charge together the sun's power is constant, whether or not the battery tapers.
    x = leak[where]
    remaining = np.divide(-np.expm1(-x), x, out=np.ones(len(where)), where=x > 0)
    solar_j = sun_w[where] * per_w[where] * remaining
    part = np.divide(solar_j, after[where], out=np.zeros(len(where)), where=after[where] > NOTHING_J)
    fresh = np.where(grid_w[where] > 0, np.minimum(part, 1.0 - old), 1.0 - old)
    shares, share_now = [0.0], 0.0
    for kept_share, fresh_share in zip(old.tolist(), fresh.tolist(), strict=True):
        share_now = share_now * kept_share + fresh_share
        shares.append(share_now)
    return np.asarray(shares)[last]


def _left(leak: Floats, before: Floats, after: Floats, drained: Floats) -> Floats:
    """Share of the carbon in the pool that a segment leaves in it.

    With d drained, ds/dt = -d - k s and dG/dt = -d G / s, so G1 / G0 = s1 / s0 exp(k dt).
    """
    share = np.divide(after, before, out=np.zeros(len(leak)), where=before > NOTHING_J) * np.exp(leak)
    small = drained < 1e-6 * before  # where the difference of two equals would be rounding
    share = np.where(small, 1.0 - np.divide(drained, before, out=np.zeros(len(leak)), where=before > NOTHING_J), share)
    return np.asarray(np.where(drained > 0, np.minimum(share, 1.0), 1.0))


def _carried(
    carbon: list[float], cost: list[float], left: list[float], out_j: list[float]
) -> tuple[list[float], list[float]]:
    """Carbon and cost of each joule that a segment discharges; 0 where it discharges none."""
    grams = money = 0.0
    carbon_out, cost_out = [], []
    for carbon_in, cost_in, share, energy in zip(carbon, cost, left, out_j, strict=True):
        grams += carbon_in
        money += cost_in
        if energy:
            per_j = (1.0 - share) / energy
            carbon_out.append(grams * per_j)
            cost_out.append(money * per_j)
            grams *= share
            money *= share
        else:
            carbon_out.append(0.0)
            cost_out.append(0.0)
    return carbon_out, cost_out
