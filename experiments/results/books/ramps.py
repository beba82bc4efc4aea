"""Breaches of ramp limits: minutes whose mean import differs from that of the minute before by more than it may."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tafukt.experiments.results.attribution import SiteBooks
from tafukt.simulator.units import KW_W, KWH_J, MINUTE_S, Floats

# A minute counts where it is beyond the limit by more than this share of the limit: rounding.
BEYOND = 1e-6


class RampBreaches(NamedTuple):
    """Breaches of one site: minutes that are beyond its limits, by how much in all, and by how much at most [W]."""

    minutes: int
    sum_w: float
    most_w: float


def ramp_metrics(sites: Sequence[RampBreaches]) -> dict[str, float | int]:
    """The columns `dictionary.RAMP_METRICS` of a run, from those of its sites that have a limit; blank for none."""
    if not sites:
        return {"ramp_breach_min": 0, "ramp_breach_kwh": math.nan, "ramp_breach_most_kw": math.nan}
    return {
        "ramp_breach_min": sum(site.minutes for site in sites),
        "ramp_breach_kwh": sum(site.sum_w for site in sites) * MINUTE_S / KWH_J,
        "ramp_breach_most_kw": max(site.most_w for site in sites) / KW_W,
    }


def ramp_breaches(books: SiteBooks) -> RampBreaches:
    """The breaches of a site."""
    excess = _excess_w(books)
    return RampBreaches(int(np.count_nonzero(excess)), float(excess.sum()), float(excess.max(initial=0.0)))


def _excess_w(books: SiteBooks) -> Floats:
    """By how much each minute of the window but the first moves faster than the limit, up or down [W].

    A fall counts for nothing in minutes in which the grid is out: that is none of the site's doing.
    """
    site, energy = books.site, books.energy
    edges = np.arange(0.0, float(energy.edges_s[-1]) + 1e-6, MINUTE_S)
    change_w = np.diff(np.diff(np.interp(edges, energy.edges_s, books.import_meter_j)) / MINUTE_S)
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
