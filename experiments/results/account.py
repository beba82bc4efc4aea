"""The draw in steady state: an account that begins after a warm-up and ends before the drain.

Sites fill from empty, and drain without arrivals; a short experiment is full of both. Over a part of the arrivals,
each job that arrives in it is charged the grid energy that it causes whenever it runs, also after its end; jobs of
before are charged nothing. So work carried in and out weighs alike under every policy. What no job causes (idle
nodes, other load, charging from the grid) is charged as it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tafukt.experiments.results.attribution import held, rest_rates
from tafukt.simulator.record import Record
from tafukt.simulator.units import KWH_J, Floats

DRAWN = ("grid_kwh", "unserved_kwh")


def account_draw_kwh(record: Record, attributed: Mapping[str, Floats], begin_s: float, end_s: float) -> float:
    """Draw of the jobs that arrive from `begin_s` to `end_s` [s], and of the sites beside all jobs in that time [kWh].

    Parameters
    ----------
    record : Record
    attributed : mapping
        The result of `attribution.jobs_columns`.
    """
    submits_s = np.array([job.ask.submit_s for job in record.jobs])
    mine = (submits_s >= begin_s) & (submits_s < end_s)
    total = float(sum(attributed[name][mine].sum() for name in DRAWN))
    for site, energy in enumerate(record.energy):
        rest = rest_rates(energy, held(record, site, record.occupancy.power_w))
        rate = energy.flows_w["import_to_battery"] / KWH_J + sum(rest[f"rest_{name}"] for name in DRAWN)
        meter = np.concatenate(([0.0], np.cumsum(rate * energy.duration_s)))
        total += float(np.diff(np.interp((begin_s, end_s), energy.edges_s, meter))[0])
    return total
