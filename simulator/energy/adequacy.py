"""Adequacy of a site's connection: load that stays unserved whatever the schedule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tafukt.simulator.energy.flows import settle_flows
from tafukt.simulator.energy.ledger import ROUNDING, SiteLedger
from tafukt.simulator.scenario import Site


def unserved_without_jobs(site: Site, end_s: float) -> tuple[list[tuple[float, float]], float]:
    """Load that a site's import limit leaves unserved though no job runs and all nodes sleep, outages apart.

    The battery does what its strategy says.

    Returns
    -------
    spells : list of (float, float)
        Disjoint, in order [s].
    unserved : float
        In all of them together [J].
    """
    if not site.grid.is_limited:
        return [], 0.0
    node = site.node
    changes = {site.online_s: 0, **{at_s: 0 for at_s, _ in site.nodes_online if site.online_s < at_s < end_s}}
    least_w = {at_s: site.nodes_at(at_s) * min(node.sleep_w, node.idle_w) for at_s in changes}
    starts = np.arange(0.0, end_s, site.pv.step_s)
    most_w = max(least_w.values()) * (1.0 + site.overhead.values[: len(starts)]) + site.fixed_w
    need_w = most_w + site.other.values[: len(starts)] - site.pv.values[: len(starts)]
    if (need_w <= site.grid.import_limits_w(starts)).all():  # the common case, at no cost
        return [], 0.0
    ledger = SiteLedger(replace(site, grid=replace(site.grid, outages=(), events=())), end_s)
    for at_s in sorted(least_w):
        ledger.set_it(at_s, least_w[at_s])
    energy = settle_flows(ledger)
    lacking = energy.flows_w["unserved"] > ROUNDING * energy.site_w
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lacking, [False])).astype(np.int8)))
    spells = energy.edges_s[edges].reshape(-1, 2)
    return [(float(begin), float(end)) for begin, end in spells], energy.flow_j("unserved")
