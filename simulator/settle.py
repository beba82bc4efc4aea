"""Closing the books: every flow of a site, by numpy, over the segments that the run left behind."""

from __future__ import annotations

import numpy as np

from simulator.errors import BreachError
from simulator.ledger import SiteLedger
from simulator.record import FLOWS, Floats, SiteEnergy
from sites.profile import StepProfile

# The books must close to this share of the energy that passed through them.
TOLERANCE = 1e-9


def close(ledger: SiteLedger) -> SiteEnergy:
    """All flows of one site over the accounting window.

    The segments are the union of supply steps, changes of load or limit, and the battery's own edges;
    in each, every flow is constant or is given as its mean.
    """
    ledger.settle(ledger.end_s)
    site, end_s = ledger.site, ledger.end_s
    it_times, limit_times = np.asarray(ledger._it_times), np.asarray(ledger._limit_times)
    battery_ends = np.asarray(ledger._ends)
    steps = np.arange(0.0, np.ceil(end_s / ledger.step_s - 1e-9)) * ledger.step_s
    edges = np.unique(np.concatenate((steps, it_times, limit_times, battery_ends, [end_s])))
    edges = edges[edges <= end_s]
    starts = edges[:-1]

    step = np.minimum((starts // ledger.step_s).astype(np.int64), len(steps) - 1)
    it = _held(np.asarray(ledger._it_values), it_times, starts)
    limit = _held(np.asarray(ledger._limit_values), limit_times, starts)
    if len(battery_ends):
        segment = np.searchsorted(battery_ends, starts, side="right")
        battery = np.asarray(ledger._powers)[segment]
        stored = _stored(ledger, edges)
    else:
        battery = np.zeros(len(starts))
        stored = np.full(len(edges), ledger.stored_j)

    pv, other = site.pv.values[step], site.other.values[step]
    load = it * (1.0 + site.overhead.values[step]) + site.fixed_w + other
    flows = split(pv, load, battery, limit, site.grid.export_limit_w)
    price, carbon = _sampled(site.grid.price, starts), _sampled(site.grid.carbon, starts)
    pool = _pool(ledger, edges, stored, flows, price, carbon)
    return SiteEnergy(
        edges_s=edges,
        it_w=it,
        site_w=load,
        other_w=other,
        pv_w=pv,
        flows_w=flows,
        stored_j=stored,
        price=price,
        export_price=_sampled(site.grid.export_price, starts),
        carbon=carbon,
        pool_solar=pool[0],
        pool_carbon=pool[1],
        pool_cost=pool[2],
        capacity_j=ledger.capacity_j,
        extra_j={"battery_lost": float(sum(ledger.losses_j))},
    )


def split(pv: Floats, load: Floats, battery: Floats, limit: Floats, export_limit: float) -> dict[str, Floats]:
    """The eight flows of the ledger [W] from sun, load and battery power (> 0 charging).

    The sun feeds the load first, then the battery; the rest is exported up to the limit, else curtailed.
    """
    charge, discharge = np.maximum(battery, 0.0), np.maximum(-battery, 0.0)
    pv_to_load = np.minimum(pv, load)
    left = pv - pv_to_load
    pv_to_battery = np.minimum(charge, left)
    left = left - pv_to_battery
    export = np.minimum(left, export_limit)
    open_load = load - pv_to_load
    discharge = np.minimum(discharge, open_load)
    open_load = open_load - discharge
    import_to_battery = charge - pv_to_battery
    import_to_load = np.minimum(open_load, np.maximum(limit - import_to_battery, 0.0))
    return dict(
        zip(
            FLOWS,
            (
                pv_to_load,
                pv_to_battery,
                export,
                left - export,
                discharge,
                import_to_load,
                import_to_battery,
                open_load - import_to_load,
            ),
            strict=True,
        )
    )


def _held(values: Floats, times: Floats, at: Floats) -> Floats:
    """The value that holds at each of `at`, given the times of change."""
    return np.asarray(values[np.searchsorted(times, at, side="right") - 1])


def _sampled(profile: StepProfile, at: Floats) -> Floats:
    index = np.floor((at - profile.start_s) / profile.step_s).astype(np.int64)
    if index[0] < 0 or index[-1] >= len(profile.values):
        raise profile._range_error(float(at[-1]))
    return np.asarray(profile.values[index])


def _stored(ledger: SiteLedger, edges: Floats) -> Floats:
    """What is stored at every edge [J]; inside a battery segment (which is then idle) it decays."""
    times = np.concatenate(([0.0], ledger._ends))
    values = np.concatenate(([ledger.stored_start_j], ledger._stored))
    index = np.searchsorted(times, edges, side="right") - 1
    k = ledger.site.battery.self_discharge_per_s if ledger.site.battery else 0.0
    return np.asarray(values[index] * np.exp(-k * (edges - times[index])))


def _pool(
    ledger: SiteLedger, edges: Floats, stored: Floats, flows: dict[str, Floats], price: Floats, carbon: Floats
) -> tuple[Floats, Floats, Floats]:
    """Solar share, carbon [g/J] and cost [MAD/J] of each discharged joule, from one well-mixed pool.

    Losses are borne by what comes out: a joule delivered carries what 1 / eta_discharge joules of the
    pool hold. What the battery starts with counts as neither solar nor bought: it has no share, no
    carbon and no cost, and by default lies below the window.
    """
    n = len(edges) - 1
    zero = np.zeros(n)
    battery = ledger.site.battery
    if battery is None or not len(ledger._ends):
        return zero, zero, zero
    duration = np.diff(edges)
    from_pv = battery.eta_charge * flows["pv_to_battery"] * duration
    from_grid = battery.eta_charge * flows["import_to_battery"] * duration
    solar, grams, cost = zero.copy(), zero.copy(), zero.copy()
    k = battery.self_discharge_per_s
    c_solar = c_grams = c_cost = 0.0  # per stored joule
    # Outflows leave the mixture as it is, so only the segments that charge need a step of the loop.
    charging = np.flatnonzero((from_pv > 0) | (from_grid > 0))
    previous = 0
    keep = np.exp(-k * duration[charging]) if k else np.ones(len(charging))
    for i, share, sun, grid, before in zip(
        charging.tolist(), keep.tolist(), from_pv[charging].tolist(), from_grid[charging].tolist(),
        stored[charging].tolist(), strict=True,
    ):  # fmt: skip
        solar[previous:i] = c_solar
        grams[previous:i] = c_grams
        cost[previous:i] = c_cost
        old = before * share
        total = old + sun + grid
        c_solar = (c_solar * old + sun) / total
        c_grams = (c_grams * old + grid * carbon[i] / battery.eta_charge) / total
        c_cost = (c_cost * old + grid * price[i] / battery.eta_charge) / total
        previous = i
    solar[previous:], grams[previous:], cost[previous:] = c_solar, c_grams, c_cost
    return solar, grams / battery.eta_discharge, cost / battery.eta_discharge


def residual(ledger: SiteLedger, energy: SiteEnergy, it_j: float) -> float:
    """The largest relative gap between the two sides of every balance of a site.

    One side comes from the settled flows, the other from elsewhere: the sun and the loads from their
    profiles' integrals, the IT load from the nodes' own records (`it_j` [J]), the battery from its state.

    Raises
    ------
    BreachError
        If a gap exceeds 1e-9 of the energy that went through the site.
    """
    site, end_s = ledger.site, ledger.end_s
    flow = {name: energy.flow_j(name) for name in FLOWS}
    sun = float(site.pv.integral(0.0, end_s))
    fixed = site.fixed_w * end_s + float(site.other.integral(0.0, end_s))
    overhead = energy.total_j(energy.it_w * site.overhead.values[_step(ledger, energy)])
    load = it_j + overhead + fixed
    scale = max(sun, load, 1.0)
    gaps = {
        "sun": sun - flow["pv_to_load"] - flow["pv_to_battery"] - flow["export"] - flow["curtailed"],
        "load": load - flow["pv_to_load"] - flow["discharge"] - flow["import_to_load"] - flow["unserved"],
    }
    if site.battery is not None:
        gaps["battery"] = _battery_gap(ledger, energy)
    worst = max(gaps, key=lambda name: abs(gaps[name]))
    gap = abs(gaps[worst]) / scale
    if gap > TOLERANCE or not gap >= 0:
        raise BreachError(f"{site.name}: the books of the {worst} do not close: {gaps[worst]:g} J of {scale:g} J")
    return gap


def _step(ledger: SiteLedger, energy: SiteEnergy) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (energy.edges_s[:-1] // ledger.step_s).astype(np.int64)


def _battery_gap(ledger: SiteLedger, energy: SiteEnergy) -> float:
    """What the battery's energy changed by, beyond what flows, losses and self-discharge explain [J].

    Inside a segment the stored energy moves one way only, so what leaks there lies between k times its
    two ends; without self-discharge both are zero and the check is an equality.
    """
    battery = ledger.site.battery
    assert battery is not None
    dt, stored = energy.duration_s, energy.stored_j
    charge = energy.flows_w["pv_to_battery"] + energy.flows_w["import_to_battery"]
    drive = battery.eta_charge * charge - energy.flows_w["discharge"] / battery.eta_discharge
    leaked = drive * dt - np.diff(stored)
    for time_s, loss_j in zip(ledger.loss_times, ledger.losses_j, strict=True):
        leaked[max(int(np.searchsorted(energy.edges_s, time_s)) - 1, 0)] -= loss_j
    k = battery.self_discharge_per_s * dt
    least, most = k * np.minimum(stored[:-1], stored[1:]), k * np.maximum(stored[:-1], stored[1:])
    return float(np.sum(np.maximum(leaked - most, 0.0) + np.maximum(least - leaked, 0.0)))
