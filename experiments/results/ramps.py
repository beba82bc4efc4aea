"""Breaches of ramp limits: minutes whose mean import differs from that of the minute before by more than it may."""

from __future__ import annotations

import math

import numpy as np

from tafukt.simulator.record import Record, SiteEnergy
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import KW_W, KWH_J, MINUTE_S, Floats

# A minute counts where it is beyond the limit by more than this share of the limit: rounding.
BEYOND = 1e-6


def ramp_metrics(record: Record) -> dict[str, float | int]:
    """The columns `dictionary.RAMP_METRICS` of a run; blank where no site has a ramp limit."""
    found = [
        ramp_excess_w(site, energy)
        for site, energy in zip(record.scenario.sites, record.energy, strict=True)
        if site.grid.has_ramp_limit
    ]
    if not found:
        return {"ramp_breach_min": 0, "ramp_breach_kwh": math.nan, "ramp_breach_most_kw": math.nan}
    return {
        "ramp_breach_min": int(sum(np.count_nonzero(excess) for excess in found)),
        "ramp_breach_kwh": float(sum(excess.sum() for excess in found)) * MINUTE_S / KWH_J,
        "ramp_breach_most_kw": float(max(excess.max(initial=0.0) for excess in found)) / KW_W,
    }


def ramp_excess_w(site: Site, energy: SiteEnergy) -> Floats:
    """By how much each minute of the window but the first moves faster than the limit, up or down [W].

    A fall counts for nothing in minutes in which the grid is out: that is none of the site's doing.
    """
    edges = np.arange(0.0, float(energy.edges_s[-1]) + 1e-6, MINUTE_S)
    power_w = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
    change_w = np.diff(energy.binned_j(power_w, edges) / MINUTE_S)
    begins, ends = edges[1:-1], edges[2:]
    out = np.zeros(len(begins), dtype=bool)
    for start, end in site.grid.outages:
        out |= (begins < end) & (ends > start)
    up, down = site.grid.ramp_up_w, site.grid.ramp_down_w
    over = np.maximum(change_w - up, 0.0) if up < math.inf else np.zeros(len(change_w))
    under = np.maximum(-change_w - down, 0.0) if down < math.inf else np.zeros(len(change_w))
    over[over <= BEYOND * up] = 0.0
    under[(under <= BEYOND * down) | out] = 0.0
    return np.asarray(over + under)
