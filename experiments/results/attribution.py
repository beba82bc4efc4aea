"""Attribution to jobs: flows, carbon and cost of each site, shared out by IT power.

At each instant a job's share of its site's data centre is its IT power over the site's IT power. With the
running meter of a flow f,

    K(t) = integral from 0 to t of f(u) / it(u) du,

a job that holds a constant power p from t0 to t1 is charged p (K(t1) - K(t0)): one subtraction per occupancy.
While the IT power is zero the meter stands still. What no job causes (idle GPUs, hours without jobs, and
the load that is not the data centre's) stays with the site, so that for each quantity

    jobs + rest of the sites + change of what the batteries carry = total.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results.dictionary import ATTRIBUTED
from tafukt.simulator.record import OCCUPANCY_CODES, Record, SiteEnergy
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import KWH_J, Floats
from tafukt.workloads.job_table import numbers_of

G_PER_KG = 1000.0
_LOST = OCCUPANCY_CODES["lost"]


def rates(energy: SiteEnergy) -> dict[str, Floats]:
    """Rates at which the site's load draws, in each segment [kWh/s, kg/s, MAD/s].

    The keys are those of `dictionary.ATTRIBUTED`. What is put into the battery is not in it: the battery
    carries it until it is discharged.
    """
    flows = energy.flows_w
    grid, battery = flows["import_to_load"], flows["discharge"]
    return {
        "energy_kwh": energy.site_w / KWH_J,
        "pv_kwh": flows["pv_to_load"] / KWH_J,
        "battery_kwh": battery / KWH_J,
        "battery_pv_kwh": battery * energy.mix_solar / KWH_J,
        "grid_kwh": grid / KWH_J,
        "unserved_kwh": flows["unserved"] / KWH_J,
        "emissions_kg": (grid * energy.carbon + battery * energy.mix_carbon) / G_PER_KG,
        "cost_mad": grid * energy.price + battery * energy.mix_cost,
    }


def _per_it(energy: SiteEnergy) -> Floats:
    """The data centre's part of the load per watt of IT power, relative to the whole load [1/W]."""
    own = np.zeros_like(energy.site_w)
    np.divide(energy.site_w - energy.other_w, energy.site_w, out=own, where=energy.site_w > 0)
    per_it = np.zeros_like(own)
    np.divide(own, energy.it_w, out=per_it, where=energy.it_w > 0)
    return per_it


def held(record: Record, site: int, values: NDArray[Any]) -> Floats:
    """A column of the occupancy (power, GPUs), summed over the jobs at a site, as the mean of each segment.

    A job may follow another of the same power without an edge of the ledger between them, so the sum is
    integrated over its own steps and read at the ledger's edges.
    """
    energy, occupancy = record.energy[site], record.occupancy
    mask = occupancy.site == site
    times = np.concatenate((occupancy.start_s[mask], occupancy.end_s[mask]))
    if not len(times):
        return np.zeros(len(energy.edges_s) - 1)
    steps = np.concatenate((values[mask], -values[mask])).astype(np.float64)
    order = np.argsort(times, kind="stable")
    level = np.cumsum(steps[order])
    integral = np.concatenate(([0.0], np.cumsum(level[:-1] * np.diff(times[order]))))
    return np.asarray(np.diff(np.interp(energy.edges_s, times[order], integral)) / energy.duration_s)


def jobs_columns(record: Record) -> dict[str, Floats]:
    """Columns of what each job caused, in order of the jobs: `dictionary.ATTRIBUTED`, `it_kwh`, `energy_lost_kwh`."""
    occupancy, names = record.occupancy, [column.name for column in ATTRIBUTED]
    caused = np.empty((len(names), len(occupancy.job)))
    for index, energy in enumerate(record.energy):
        mine = np.flatnonzero(occupancy.site == index)
        if not len(mine):
            continue
        found, per_it = rates(energy), _per_it(energy) * energy.duration_s
        meters = np.zeros((len(names), len(per_it) + 1))
        for name, meter in zip(names, meters, strict=True):
            np.cumsum(found[name] * per_it, out=meter[1:])
        begin, end = (_read(meters, energy.edges_s, times_s[mine]) for times_s in (occupancy.start_s, occupancy.end_s))
        caused[:, mine] = (end - begin) * occupancy.power_w[mine]
    each = dict(zip(names, caused, strict=True))
    each["it_kwh"] = occupancy.power_w * (occupancy.end_s - occupancy.start_s) / KWH_J
    each["energy_lost_kwh"] = np.where(occupancy.kind == _LOST, each["energy_kwh"], 0.0)
    number = len(record.jobs)
    return {name: np.asarray(np.bincount(occupancy.job, it, minlength=number), float) for name, it in each.items()}


def _read(meters: Floats, edges_s: Floats, times_s: Floats) -> Floats:
    """Meters known at edges, shape (k, n + 1), at other times in between, shape (k, len(times_s))."""
    left = np.clip(np.searchsorted(edges_s, times_s, side="right") - 1, 0, len(edges_s) - 2)
    share = (times_s - edges_s[left]) / (edges_s[left + 1] - edges_s[left])
    low = meters[:, left]
    return np.asarray(low + share * (meters[:, left + 1] - low))


def rest_rates(energy: SiteEnergy, jobs_w: Floats) -> dict[str, Floats]:
    """Rates at a site that no job causes, in each segment, named `rest_...`; its jobs hold `jobs_w` [W]."""
    own = 1.0 - jobs_w * _per_it(energy)
    return {f"rest_{name}": rate * own for name, rate in rates(energy).items()}


def pool_rates(energy: SiteEnergy) -> dict[str, Floats]:
    """Rates of change of what the battery carries: grid carbon [kg/s] and grid cost [MAD/s].

    All that is charged, less all that is discharged; nothing is lost on the way, so that what is lost as
    heat weighs on the joules that come out.
    """
    put_in, taken = energy.flows_w["import_to_battery"], energy.flows_w["discharge"]
    return {
        "pool_emissions_kg": (put_in * energy.carbon - taken * energy.mix_carbon) / G_PER_KG,
        "pool_cost_mad": put_in * energy.price - taken * energy.mix_cost,
    }


def online_gpus(site: Site, edges_s: Floats) -> Floats:
    """GPUs of the site that are online and in service in each bin, as a mean over the bin, shape (n,)."""
    begins, ends = edges_s[:-1], edges_s[1:]
    share = np.clip((ends - site.online_s) / (ends - begins), 0.0, 1.0)
    gpus = site.gpus * share
    return np.asarray(gpus - np.diff(site.withdrawn_gpu_s(edges_s)) / (ends - begins) if site.nodes_online else gpus)


# --- The draw in steady state: an account that begins after a warm-up and ends before the drain
# Sites fill from empty, and drain without arrivals; a short experiment is full of both. Over a part of the arrivals,
# each job that arrives in it is charged the grid energy that it causes whenever it runs, also after its end; jobs of
# before are charged nothing. So work carried in and out weighs alike under every policy. What no job causes (idle
# nodes, other load, charging from the grid) is charged as it is drawn.


DRAWN = ("grid_kwh", "unserved_kwh")


def account_draw_kwh(record: Record, attributed: Mapping[str, Floats], begin_s: float, end_s: float) -> float:
    """Draw of the jobs that arrive from `begin_s` to `end_s` [s], and of the sites beside all jobs in that time [kWh].

    Parameters
    ----------
    record : Record
    attributed : mapping
        The result of `attribution.jobs_columns`.
    """
    submits_s = numbers_of(record.jobs, "submit_s")
    mine = (submits_s >= begin_s) & (submits_s < end_s)
    total = float(sum(attributed[name][mine].sum() for name in DRAWN))
    for site, energy in enumerate(record.energy):
        rest = rest_rates(energy, held(record, site, record.occupancy.power_w))
        rate = energy.flows_w["import_to_battery"] / KWH_J + sum(rest[f"rest_{name}"] for name in DRAWN)
        meter = np.concatenate(([0.0], np.cumsum(rate * energy.duration_s)))
        total += float(np.diff(np.interp((begin_s, end_s), energy.edges_s, meter))[0])
    return total
