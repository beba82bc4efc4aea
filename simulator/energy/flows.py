"""Closing the books: every flow of a site, by numpy, over the segments that the run left behind."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tafukt.simulator.energy.battery import stepper
from tafukt.simulator.energy.ledger import SiteLedger, Supply, step_index
from tafukt.simulator.record import FLOWS, PerStep, SiteEnergy, in_pieces
from tafukt.simulator.scenario import Battery
from tafukt.simulator.units import Floats, Ints
from tafukt.sites.profile import StepProfile

# What two ways of computing one power may differ by, relative to it.
POWER_ROUNDING = 1e-12


@dataclass(frozen=True)
class _Segments:
    """Segments of a site's books: powers [W], and stored energy at the edges [J]."""

    edges_s: Floats
    it_w: Floats
    load_w: Floats
    pv_w: Floats
    stored_j: Floats
    flows_w: dict[str, Floats]
    step: NDArray[np.int32]


def settle_flows(ledger: SiteLedger) -> SiteEnergy:
    """All flows of one site over the accounting window.

    The segments are the union of supply steps, changes of load or supply, and the battery's own edges;
    in each, every flow is constant or is given as its mean.
    """
    ledger.advance_to(ledger.end_s)
    segments, paid_until_s = _segments(ledger), inf
    if ledger.site.grid.export_cap_share < 1.0:
        segments, paid_until_s = _paid(ledger, segments)
    grid, edges, flows = ledger.site.grid, segments.edges_s, segments.flows_w
    price, carbon = (_sampled(profile, ledger, segments) for profile in (grid.price, grid.carbon))
    fed_in = _sampled(grid.export_price, ledger, segments)
    export_price: Floats | PerStep = fed_in
    if paid_until_s < inf:
        paid = fed_in.values[fed_in.step]
        export_price = np.where(edges[:-1] >= paid_until_s, np.minimum(paid, 0.0), paid)
    n = len(edges) - 1
    if ledger.battery is not None:
        after = ledger.unclipped_j(edges, segments.stored_j)
        contents = battery_mix(ledger.battery, edges, segments.stored_j[:-1], after, flows, price, carbon)
    else:
        contents = Contents(*(_same(0.0, n) for _ in range(3)))
    return SiteEnergy(
        edges_s=edges,
        it_w=segments.it_w,
        site_w=segments.load_w,
        other_w=PerStep(ledger.site.other.values, segments.step),
        pv_w=PerStep(ledger.site.pv.values, segments.step),
        flows_w=flows,
        stored_j=segments.stored_j,
        price=price,
        export_price=export_price,
        carbon=carbon,
        mix_solar=contents.solar,
        mix_carbon=contents.carbon,
        mix_cost=contents.cost,
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
    edges, step, segment = _edges(ledger, cuts)
    starts = edges[:-1]
    it = _held(ledger.it_times, ledger.it_values, starts)
    pv, other = site.pv.values[step], site.other.values[step]
    load = it * (1.0 + site.overhead.values[step]) + site.fixed_w + other
    if len(ledger.ends):
        power = np.asarray(ledger.powers)[segment[:-1]]
        stored = _stored(ledger, edges, segment)
    else:
        power, stored = _same(0.0, len(starts)), _same(ledger.stored_j, len(edges))
    flows = _flows(ledger, starts, step, pv, load, power)
    return _Segments(edges, it, load, pv, stored, flows, step.astype(np.int32))


def _flows(
    ledger: SiteLedger, starts: Floats, step: Ints, pv: Floats, load: Floats, power: Floats
) -> dict[str, Floats]:
    """Flows of some segments, by what is connected when they start."""
    grid = ledger.site.grid
    limit = grid.import_limits_w(np.asarray(step * ledger.step_s, dtype=np.float64) if ledger.varies else starts)
    if list(ledger.supply_values) == [Supply.GRID]:  # never an outage: what holds everywhere needs no column
        return split(pv, load, power, limit, grid.export_limit_w)
    supply = _held(ledger.supply_times, ledger.supply_values, starts)
    on, dead = supply == Supply.GRID, supply == Supply.NONE
    limits = (np.where(on, most, 0.0) for most in (limit, grid.export_limit_w))
    flows = split(np.where(dead, 0.0, pv), load, power, *limits)
    flows["curtailed"] = np.where(dead, pv, flows["curtailed"])
    return flows


def split(
    pv: Floats, load: Floats, battery: Floats, limit: Floats | float, export_limit: Floats | float
) -> dict[str, Floats]:
    """The eight flows of the ledger [W] from sun, load and battery power (> 0 charging).

    Piece by piece: what lies in between then stays in the processor's cache and takes no fresh memory, which would cost
    several times the sums; and what a site never does takes none at all.
    """
    flows = dict.fromkeys(FLOWS, _same(0.0, len(pv)))
    for piece in in_pieces(len(pv)):
        limits = (each if np.ndim(each) == 0 else np.asarray(each)[piece] for each in (limit, export_limit))
        for name, values in _split(pv[piece], load[piece], battery[piece], *limits).items():
            if not flows[name].flags.writeable:
                if not values.any() and not np.signbit(values).any():
                    continue
                flows[name] = np.zeros(len(pv))
            flows[name][piece] = values
    return flows


def _split(
    pv: Floats, load: Floats, battery: Floats, limit: Floats | float, export_limit: Floats | float
) -> dict[str, Floats]:
    """The flows of some segments: the sun feeds load, then battery; the rest is exported up to the limit, else lost."""
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
    np.copyto(difference, 0.0, where=difference <= POWER_ROUNDING * of)
    return difference


def _edges(ledger: SiteLedger, cuts: Sequence[float]) -> tuple[Floats, Ints, Ints]:
    """Edges of the segments [s], the step of each segment, and how many of the battery's have ended by each edge.

    Nearly every edge is one of the supply steps: only the others have to be sorted and put in among them.
    """
    end_s, n = ledger.end_s, ledger.steps
    others: list[Floats] = [np.asarray(times) for times in (ledger.it_times, ledger.supply_times, cuts)]
    for profile in (ledger.site.grid.price, ledger.site.grid.export_price, ledger.site.grid.carbon):
        if profile.step_s != ledger.step_s or profile.start_s:
            others.append(profile.start_s + np.arange(len(profile.values), dtype=np.float64) * profile.step_s)
    base = np.append(np.arange(n, dtype=np.float64) * ledger.step_s, end_s)
    ends = np.asarray(ledger.ends)
    place = _place(base, ends, ledger.step_s)
    times = np.concatenate(others)
    times = times[(times >= 0.0) & (times <= end_s)]
    off = np.unique(np.concatenate((times[_place(base, times, ledger.step_s) < 0], ends[place < 0])))
    before = np.searchsorted(base, off)
    edges = np.insert(base, before, off)
    step = np.insert(np.arange(n + 1), before, before - 1)[:-1]
    # The edge at which each of the battery's segments ends: a step's is as many places on as others lie before it.
    at = place + np.cumsum(np.bincount(before, minlength=len(base)))[place]
    at[place < 0] = np.searchsorted(edges, ends[place < 0])
    return edges, step, np.cumsum(np.bincount(at, minlength=len(edges)))


def _place(base: Floats, times: Floats, step_s: float) -> Ints:
    """Place of each time among the edges of the supply steps, the last of which is the window's end; -1 for none."""
    place = np.minimum(np.rint(times / step_s).astype(np.int64), len(base) - 1)
    return np.where(base[place] == times, place, np.where(times == base[-1], len(base) - 1, -1))


def _taken_j(ledger: SiteLedger, edges: Floats, discharge_w: Floats) -> float:
    """Energy taken out of the store, losses of discharging included: over the usable capacity, its cycles [J]."""
    return float(np.sum(discharge_w * np.diff(edges))) / ledger.battery.eta_discharge if ledger.battery else 0.0


def _held(times: Sequence[float], values: Sequence[float], at: Floats) -> Floats:
    """The value that holds at each of `at`, given the times of change."""
    if len(times) == 1:
        return _same(values[0], len(at))
    return np.asarray(np.asarray(values)[np.searchsorted(times, at, side="right") - 1])


def _same(value: float, size: int) -> Floats:
    """A column of one value, which takes no more room than that."""
    return np.broadcast_to(np.float64(value), size)


def _sampled(profile: StepProfile, ledger: SiteLedger, segments: _Segments) -> PerStep:
    """A profile in every segment; one on another grid than the supply has put its own edges among them."""
    index, at = segments.step, segments.edges_s[:-1]
    if profile.step_s != ledger.step_s or profile.start_s:
        index = step_index(at - profile.start_s, profile.step_s).astype(np.int32)
    if index[0] < 0 or index[-1] >= len(profile.values):
        raise profile._range_error(float(at[-1]))
    return PerStep(profile.values, index)


def _stored(ledger: SiteLedger, edges: Floats, segment: Ints) -> Floats:
    """Stored energy at every edge [J]; inside a battery segment (which is then idle) it decays."""
    values = np.concatenate(([ledger.stored_start_j], ledger.stored))
    stored: Floats = values[segment]
    k = ledger.battery.self_discharge_per_s if ledger.battery else 0.0
    if k:
        times = np.concatenate(([0.0], ledger.ends))
        for piece in in_pieces(len(edges)):
            stored[piece] *= np.exp(-k * (edges[piece] - times[segment[piece]]))
    return stored


# --- The export cap: a share of the window's own generation that is paid, split exactly where it is reached
# Morocco's law 82-21 lets a producer for own use sell at most 20 % of a year's generation. What goes beyond it is
# still fed in, up to the connection's limit, and earns nothing; a price below zero is still charged.


HALVINGS = 100


def _paid(ledger: SiteLedger, segments: _Segments) -> tuple[_Segments, float]:
    """The same, cut where export reaches its paid share of the window's generation, and that moment [s]."""
    time_s = reached_s(ledger, segments.edges_s, segments.pv_w, segments.flows_w)
    if time_s is None:
        return segments, inf
    edges, battery = segments.edges_s, _motion_span(ledger, time_s)
    place = int(np.searchsorted(edges, time_s))
    split_segment(ledger, time_s)
    if edges[place - 1] < time_s < edges[place] and battery in (None, (edges[place - 1], edges[place])):
        return _cut(ledger, segments, place, time_s), time_s
    return _segments(ledger, (time_s,)), time_s


def _motion_span(ledger: SiteLedger, time_s: float) -> tuple[float, float] | None:
    """Begin and end of the battery's segment that holds `time_s` [s]; nothing without a battery."""
    index = bisect_left(ledger.ends, time_s)
    return (ledger.ends[index - 1] if index else 0.0, ledger.ends[index]) if index < len(ledger.ends) else None


def _put_in(column: Any, place: int, value: float) -> Any:
    """A column with one more value; a column of one value stays one."""
    if column.strides == (0,) and value == column[0]:
        return np.broadcast_to(column[0], len(column) + 1)
    return np.insert(column, place, value)


def _cut(ledger: SiteLedger, segments: _Segments, place: int, time_s: float) -> _Segments:
    """The same with one more edge, the battery's segment having been cut there: all else takes as long as anew."""
    edges, before = np.insert(segments.edges_s, place, time_s), place - 1
    columns = (segments.it_w, segments.load_w, segments.pv_w, segments.step)
    it_w, load_w, pv_w, step = (_put_in(column, place, column[before]) for column in columns)
    both, after = slice(before, place + 1), bisect_left(ledger.ends, time_s)
    power, stored_j = np.zeros(2), segments.stored_j[before]
    if len(ledger.ends):
        power, stored_j = np.array(ledger.powers[after : after + 2]), ledger.stored[after]
    flows = _flows(ledger, edges[both], step[both], pv_w[both], load_w[both], power)
    whole = {name: _put_in(column, place, 0.0) for name, column in segments.flows_w.items()}
    for name, values in flows.items():
        if values.flags.writeable:  # else it is none, and the column's zero is right
            whole[name] = np.array(whole[name])
        if whole[name].flags.writeable:
            whole[name][both] = values
    return _Segments(edges, it_w, load_w, pv_w, _put_in(segments.stored_j, place, stored_j), whole, step)


def reached_s(ledger: SiteLedger, edges: Floats, pv: Floats, flows: dict[str, Floats]) -> float | None:
    """Time at which export reaches its share of the generation [s]; `None` if it never does."""
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


# --- What the battery holds, by origin: one well-mixed store that carries solar, grid, carbon and cost


# Less stored energy than this is none [J]: shares of it would be rounding.
NOTHING_J = 1e-6


class Contents(NamedTuple):
    """Of each discharged joule: its solar share, its carbon [g/J], its cost [MAD/J]."""

    solar: Floats
    carbon: Floats
    cost: Floats


def battery_mix(
    battery: Battery,
    edges: Floats,
    before: Floats,
    after: Floats,
    flows: dict[str, Floats],
    price: PerStep,
    carbon: PerStep,
) -> Contents:
    """Content of each discharged joule, in every segment, given what is stored before and after it.

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
        return Contents(solar, _same(0.0, n), _same(0.0, n))
    drained = flows["discharge"] * duration / battery.eta_discharge
    left = _left(leak, before, after, drained)
    active = np.flatnonzero((grid_w > 0) | (drained > 0))
    bought, out = grid_w[active] * duration[active], (drained * battery.eta_discharge)[active]
    grams, money = (each.values[each.step[active]] for each in (carbon, price))
    columns = (bought * grams, bought * money, left[active], out)
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
    """Share of the carbon in the battery that a segment leaves in it.

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
