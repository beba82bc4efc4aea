"""Closing the books: every flow of a site, by numpy, over the segments that the run left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.export_cap import reached_s, split_segment
from simulator.ledger import SiteLedger, step_index
from simulator.pool import Contents, pool_contents
from simulator.record import FLOWS, Floats, Ints, SiteEnergy
from simulator.walk import Supply
from sites.profile import StepProfile

# What two ways of computing one power may differ by, relative to it.
ROUNDING = 1e-12


@dataclass(frozen=True)
class _Segments:
    """What is known of every segment: powers [W], and what is stored at the edges [J]."""

    edges_s: Floats
    it_w: Floats
    load_w: Floats
    other_w: Floats
    pv_w: Floats
    stored_j: Floats
    flows_w: dict[str, Floats]
    step: Ints


def close(ledger: SiteLedger) -> SiteEnergy:
    """All flows of one site over the accounting window.

    The segments are the union of supply steps, changes of load or supply, and the battery's own edges;
    in each, every flow is constant or is given as its mean.
    """
    ledger.settle(ledger.end_s)
    segments = _segments(ledger)
    if ledger.site.grid.export_cap_share < 1.0:
        segments = _capped(ledger, segments)
    grid, edges, flows = ledger.site.grid, segments.edges_s, segments.flows_w
    price, carbon = (_sampled(profile, ledger, segments) for profile in (grid.price, grid.carbon))
    n = len(edges) - 1
    if ledger.battery is not None:
        after = ledger.unclipped_j(edges, segments.stored_j)
        contents = pool_contents(ledger.battery, edges, segments.stored_j[:-1], after, flows, price, carbon)
    else:
        contents = Contents(*(np.zeros(n) for _ in range(3)))
    return SiteEnergy(
        edges_s=edges,
        it_w=segments.it_w,
        site_w=segments.load_w,
        other_w=segments.other_w,
        pv_w=segments.pv_w,
        flows_w=flows,
        stored_j=segments.stored_j,
        price=price,
        export_price=_sampled(grid.export_price, ledger, segments),
        carbon=carbon,
        pool_solar=contents.solar,
        pool_carbon=contents.carbon,
        pool_cost=contents.cost,
        capacity_j=ledger.capacity_j,
        extra_j={
            "battery_taken": _taken_j(ledger, edges, flows["discharge"]),
            "battery_lost": float(sum(ledger.losses_j)),
            "faded_by_cycles": ledger.faded_j[0],
            "faded_by_age": ledger.faded_j[1],
        },
    )


def _segments(ledger: SiteLedger, cuts: Sequence[float] = ()) -> _Segments:
    """Every segment of the window, with further edges at `cuts` [s]."""
    site = ledger.site
    edges = _edges(ledger, cuts)
    starts = edges[:-1]
    step = np.minimum(step_index(starts, ledger.step_s), ledger.steps - 1)
    it = _held(ledger.it_times, ledger.it_values, starts)
    pv, other = site.pv.values[step], site.other.values[step]
    load = it * (1.0 + site.overhead.values[step]) + site.fixed_w + other
    if len(ledger.ends):
        segment = np.searchsorted(ledger.ends, edges, side="right")
        power = np.asarray(ledger.powers)[segment[:-1]]
        stored = _stored(ledger, edges, segment)
    else:
        power, stored = np.zeros(len(starts)), np.full(len(edges), ledger.stored_j)
    if list(ledger.supply_values) == [Supply.GRID]:  # never an outage: what holds everywhere needs no column
        flows = split(pv, load, power, site.grid.import_limit_w, site.grid.export_limit_w)
    else:
        supply = _held(ledger.supply_times, ledger.supply_values, starts)
        on, dead = supply == Supply.GRID, supply == Supply.NONE
        limits = (np.where(on, limit, 0.0) for limit in (site.grid.import_limit_w, site.grid.export_limit_w))
        flows = split(np.where(dead, 0.0, pv), load, power, *limits)
        flows["curtailed"] = np.where(dead, pv, flows["curtailed"])
    return _Segments(edges, it, load, other, pv, stored, flows, step)


def split(
    pv: Floats, load: Floats, battery: Floats, limit: Floats | float, export_limit: Floats | float
) -> dict[str, Floats]:
    """The eight flows of the ledger [W] from sun, load and battery power (> 0 charging).

    The sun feeds the load first, then the battery; the rest is exported up to the limit, else curtailed.
    Where a column is done with, the next takes its place: fetching fresh memory costs as much as the sums.
    """
    pv_to_load = np.minimum(pv, load)
    left = pv - pv_to_load
    charge = np.maximum(battery, 0.0)
    pv_to_battery = np.minimum(charge, left)
    left -= pv_to_battery
    export = np.minimum(left, export_limit)
    left -= export
    open_load = load - pv_to_load
    discharge = np.minimum(charge - battery, open_load)
    open_load -= discharge
    import_to_battery = _no_rounding(charge - pv_to_battery, charge)
    _no_rounding(open_load, load)
    import_to_load = np.minimum(open_load, np.maximum(limit - import_to_battery, 0.0))
    open_load -= import_to_load
    parts = (
        pv_to_load, pv_to_battery, export, left,
        discharge, import_to_load, import_to_battery, _no_rounding(open_load, load),
    )  # fmt: skip
    return dict(zip(FLOWS, parts, strict=True))


def _no_rounding(difference: Floats, of: Floats) -> Floats:
    """A difference of two powers that were computed in two ways, now zero where it is nothing but rounding."""
    difference[difference <= ROUNDING * of] = 0.0
    return difference


def _capped(ledger: SiteLedger, segments: _Segments) -> _Segments:
    """The same with export ended where it reaches its share of the window's generation; the rest is curtailed."""
    time_s = reached_s(ledger, segments.edges_s, segments.pv_w, segments.flows_w)
    if time_s is None:
        return segments
    split_segment(ledger, time_s)
    segments = _segments(ledger, (time_s,))
    flows, over = segments.flows_w, segments.edges_s[:-1] >= time_s
    flows["curtailed"] = np.where(over, flows["curtailed"] + flows["export"], flows["curtailed"])
    flows["export"] = np.where(over, 0.0, flows["export"])
    return segments


def _edges(ledger: SiteLedger, cuts: Sequence[float]) -> Floats:
    end_s = ledger.end_s
    changes = (ledger.it_times, ledger.supply_times, ledger.ends, cuts)
    steps = np.arange(ledger.steps, dtype=np.float64) * ledger.step_s
    parts: list[Floats] = [steps, *(np.asarray(times) for times in changes)]
    for profile in (ledger.site.grid.price, ledger.site.grid.export_price, ledger.site.grid.carbon):
        if profile.step_s != ledger.step_s or profile.start_s:
            parts.append(profile.start_s + np.arange(len(profile.values), dtype=np.float64) * profile.step_s)
    # Runs that are sorted already are what a stable sort merges fastest.
    edges = np.sort(np.concatenate((*parts, [end_s])), kind="stable")
    edges = edges[(edges >= 0.0) & (edges <= end_s)]
    first = np.concatenate(([True], edges[1:] != edges[:-1]))
    return np.asarray(edges[first])


def _taken_j(ledger: SiteLedger, edges: Floats, discharge_w: Floats) -> float:
    """Energy taken out of the store, losses of discharging included: over the usable capacity, its cycles [J]."""
    return float(np.sum(discharge_w * np.diff(edges))) / ledger.battery.eta_discharge if ledger.battery else 0.0


def _held(times: Sequence[float], values: Sequence[float], at: Floats) -> Floats:
    """The value that holds at each of `at`, given the times of change."""
    if len(times) == 1:
        return np.full(len(at), values[0])
    return np.asarray(np.asarray(values)[np.searchsorted(times, at, side="right") - 1])


def _sampled(profile: StepProfile, ledger: SiteLedger, segments: _Segments) -> Floats:
    """A profile in every segment; one on another grid than the supply has put its own edges among them."""
    index, at = segments.step, segments.edges_s[:-1]
    if profile.step_s != ledger.step_s or profile.start_s:
        index = step_index(at - profile.start_s, profile.step_s)
    if index[0] < 0 or index[-1] >= len(profile.values):
        raise profile._range_error(float(at[-1]))
    return np.asarray(profile.values[index])


def _stored(ledger: SiteLedger, edges: Floats, segment: Ints) -> Floats:
    """What is stored at every edge [J]; inside a battery segment (which is then idle) it decays."""
    values = np.concatenate(([ledger.stored_start_j], ledger.stored))
    stored: Floats = values[segment]
    k = ledger.battery.self_discharge_per_s if ledger.battery else 0.0
    if k:
        times = np.concatenate(([0.0], ledger.ends))
        stored = stored * np.exp(-k * (edges - times[segment]))
    return stored
