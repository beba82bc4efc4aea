"""Balance of the books of a site, checked after every run."""

from __future__ import annotations

import numpy as np

from tafukt.simulator.energy.ledger import SiteLedger
from tafukt.simulator.errors import BreachError
from tafukt.simulator.record import FLOWS, SiteEnergy, in_pieces
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import Floats, Ints

# The books must close to this share of the energy that passed through them.
TOLERANCE = 1e-9


def residual(ledger: SiteLedger, energy: SiteEnergy, it_j: float) -> float:
    """The largest relative gap between the two sides of every balance of a site.

    One side comes from the settled flows, the other from elsewhere: the sun and the loads from their
    profiles, the IT load from the nodes' own records (`it_j` [J]), the battery from its state. Sun and
    load are held against each other in every segment and over the whole window.

    Raises
    ------
    BreachError
        If a gap exceeds 1e-9 of the energy that went through the site, a flow is negative, or two flows
        exclude one another.
    """
    site, end_s = ledger.site, ledger.end_s
    _check_signs(site.name, energy)
    # No run asks for these again, and the sums of a year of all sites fill tens of megabytes.
    sun = float(site.pv.integral_to(end_s, keep=False))
    fixed = site.fixed_w * end_s + float(site.other.integral_to(end_s, keep=False))
    middle = 0.5 * (energy.edges_s[:-1] + energy.edges_s[1:])
    step = np.minimum((middle / ledger.step_s).astype(np.int64), ledger.steps - 1)
    overhead = site.overhead.values[step]
    duration = energy.duration_s
    load = it_j + float(np.sum(energy.it_w * overhead * duration)) + fixed
    scale = max(sun, load, 1.0)
    flow = {name: float(np.sum(energy.flows_w[name] * duration)) for name in FLOWS}
    gaps = {
        "sun": sun - flow["pv_to_load"] - flow["pv_to_battery"] - flow["export"] - flow["curtailed"],
        "load": load - flow["pv_to_load"] - flow["discharge"] - flow["import_to_load"] - flow["unserved"],
    }
    if ledger.battery is not None:
        gaps["battery"] = _battery_gap(ledger, energy)
    worst = max(gaps, key=lambda name: abs(gaps[name]))
    gap = abs(gaps[worst]) / scale
    if gap > TOLERANCE or not gap >= 0:
        raise BreachError(f"{site.name}: the books of the {worst} do not close: {gaps[worst]:g} J of {scale:g} J")
    if site.grid.is_limited:
        _check_limit(site, energy, middle)
    return max(gap, _check_segments(site, energy, step, overhead))


def _check_segments(site: Site, energy: SiteEnergy, step: Ints, overhead: Floats) -> float:
    """Sun and load of every segment against its flows; returns the largest relative gap.

    Piece by piece, as flows are split: columns of ten years would all take fresh memory.
    """
    scale, largest = 1e-6, dict[str, list[tuple[float, int]]](sun=[], load=[])
    for piece in in_pieces(len(step)):
        flow = {name: power_w[piece] for name, power_w in energy.flows_w.items()}
        sun_w, other_w = site.pv.values[step[piece]], site.other.values[step[piece]]
        load_w = energy.it_w[piece] * (1.0 + overhead[piece]) + site.fixed_w + other_w
        scale = max(scale, float(sun_w.max()), float(load_w.max()))
        sun = flow["pv_to_load"] + flow["pv_to_battery"] + flow["export"] + flow["curtailed"] - sun_w
        load = flow["pv_to_load"] + flow["discharge"] + flow["import_to_load"] + flow["unserved"] - load_w
        for what, gaps in (("sun", sun), ("load", load)):
            index = int(np.abs(gaps).argmax())
            largest[what].append((float(gaps[index]), piece.start + index))
    worst = 0.0
    for what, found in largest.items():
        gap_w, index = found[int(np.abs([each for each, _ in found]).argmax())]
        gap = abs(gap_w) / scale
        if gap > TOLERANCE or not gap >= 0:
            when = energy.edges_s[index]
            raise BreachError(f"{site.name}: the books of the {what} do not close at {when:g} s: {gap_w:g} W")
        worst = max(worst, gap)
    return worst


def _check_limit(site: Site, energy: SiteEnergy, middle_s: Floats) -> None:
    """No segment imports more than the limit that holds in its middle."""
    flow = energy.flows_w
    over = flow["import_to_load"] + flow["import_to_battery"] - site.grid.import_limits_w(middle_s)
    index = int(over.argmax())
    if not over[index] <= TOLERANCE * max(float(energy.site_w.max()), 1.0):
        when = energy.edges_s[index]
        raise BreachError(f"{site.name}: the import is {over[index]:g} W above its limit at {when:g} s")


def _check_signs(name: str, energy: SiteEnergy) -> None:
    """No flow is negative; no charging while discharging, no import while exporting."""
    for which, power in energy.flows_w.items():
        if power.min() < 0.0:
            raise BreachError(f"{name}: {which} is negative at {energy.edges_s[int(power.argmin())]:g} s")
    for piece in in_pieces(len(energy.it_w)):
        flow = {which: power[piece] for which, power in energy.flows_w.items()}
        charge = flow["pv_to_battery"] + flow["import_to_battery"]
        imported = flow["import_to_load"] + flow["import_to_battery"]
        for what, both in (
            ("charges and discharges", np.minimum(charge, flow["discharge"])),
            ("imports and exports", np.minimum(imported, flow["export"])),
        ):
            if both.max() > 0.0:
                when = energy.edges_s[piece.start + int(both.argmax())]
                raise BreachError(f"{name}: {what} at once at {when:g} s")


def _battery_gap(ledger: SiteLedger, energy: SiteEnergy) -> float:
    """Change of the battery's energy beyond what flows, losses and self-discharge explain [J].

    What leaks in a segment is k dt times the mean of what is stored. Under a constant power, with
    x = k dt, that mean is s0 + (s1 - s0) (1/2 + x/12 - x^3/720 + ...); in a taper band it follows from the
    mean power, which is linear in what is stored. Each segment must agree with one of the two.
    """
    battery = ledger.battery
    assert battery is not None
    dt, stored = energy.duration_s, energy.stored_j
    charge = energy.flows_w["pv_to_battery"] + energy.flows_w["import_to_battery"]
    drive = battery.eta_charge * charge - energy.flows_w["discharge"] / battery.eta_discharge
    gained = ledger.unclipped_j(energy.edges_s, stored) - stored[:-1]
    leaked = drive * dt - gained
    x = battery.self_discharge_per_s * dt
    if not battery.self_discharge_per_s:
        return float(np.sum(np.abs(leaked)))
    constant = stored[:-1] + gained * (0.5 + x / 12.0 - x * x * x / 720.0)
    gaps = np.abs(leaked - x * constant)
    if battery.taper_soc:
        capacity = ledger.capacities_at(energy.edges_s[:-1])
        band = battery.taper_soc * capacity
        full = battery.soc_max * capacity - charge * band / max(battery.charge_w, 1e-9)
        empty = battery.soc_min * capacity + energy.flows_w["discharge"] * band / max(battery.discharge_w, 1e-9)
        gaps = np.minimum(gaps, np.abs(leaked - x * np.where(charge > 0, full, empty)))
    return float(np.sum(gaps))
