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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results.dictionary import ATTRIBUTED
from tafukt.simulator.record import OCCUPANCY_CODES, Record, SiteEnergy
from tafukt.simulator.scenario import Site
from tafukt.simulator.units import KWH_J, Floats, Ints
from tafukt.workloads.job_table import numbers_of

G_PER_KG = 1000.0
_LOST = OCCUPANCY_CODES["lost"]


class SiteBooks:
    """The settled books of one site, and what several tables and metrics take from them, each made once.

    `energy` has every column as an array; `index` is the site's place in the scenario.
    """

    def __init__(self, record: Record, index: int, energy: SiteEnergy) -> None:
        self.index = index
        self.site = record.scenario.sites[index]
        self.energy = replace(energy)  # what hangs on the supply step becomes an array in a copy
        self.occupancy = record.occupancy

    @cached_property
    def imported_w(self) -> Floats:
        """Power drawn from the grid, by load and battery [W]."""
        flows = self.energy.flows_w
        return flows["import_to_load"] + flows["import_to_battery"]

    @cached_property
    def import_meter_j(self) -> Floats:
        """The same from the start of the window to each edge [J]."""
        return np.concatenate(([0.0], np.cumsum(self.imported_w * self.energy.duration_s)))

    @cached_property
    def from_sun_w(self) -> Floats:
        """Power discharged that came from the sun [W]."""
        return self.energy.flows_w["discharge"] * self.energy.mix_solar

    @cached_property
    def charge_rate(self) -> Floats:
        """Price of the import [MAD/s]."""
        return self.imported_w * self.energy.price

    @cached_property
    def income_rate(self) -> Floats:
        """Income from the export [MAD/s]."""
        return self.energy.flows_w["export"] * self.energy.export_price

    @cached_property
    def jobs_w(self) -> Floats:
        """IT power of the jobs, as the mean of each segment [W]."""
        return held(self, self.occupancy.power_w)

    @cached_property
    def rates(self) -> dict[str, Floats]:
        """Rates at which the site's load draws, in each segment [kWh/s, kg/s, MAD/s].

        The keys are those of `dictionary.ATTRIBUTED`. What is put into the battery is not in it: the battery
        carries it until it is discharged.
        """
        energy, flows = self.energy, self.energy.flows_w
        grid, battery = flows["import_to_load"], flows["discharge"]
        return {
            "energy_kwh": energy.site_w / KWH_J,
            "pv_kwh": flows["pv_to_load"] / KWH_J,
            "battery_kwh": battery / KWH_J,
            "battery_pv_kwh": self.from_sun_w / KWH_J,
            "grid_kwh": grid / KWH_J,
            "unserved_kwh": flows["unserved"] / KWH_J,
            "emissions_kg": (grid * energy.carbon + battery * energy.mix_carbon) / G_PER_KG,
            "cost_mad": grid * energy.price + battery * energy.mix_cost,
        }

    @cached_property
    def per_it(self) -> Floats:
        """The data centre's part of the load per watt of IT power, relative to the whole load [1/W]."""
        energy = self.energy
        own = np.zeros_like(energy.site_w)
        np.divide(energy.site_w - energy.other_w, energy.site_w, out=own, where=energy.site_w > 0)
        per_it = np.zeros_like(own)
        np.divide(own, energy.it_w, out=per_it, where=energy.it_w > 0)
        return per_it

    @cached_property
    def rest_share(self) -> Floats:
        """Share of the load that no job causes, in each segment."""
        return 1.0 - self.jobs_w * self.per_it

    def rest_rate(self, name: str) -> Floats:
        """The part of one of `rates` that no job causes."""
        return self.rates[name] * self.rest_share

    @cached_property
    def pool_rates(self) -> dict[str, Floats]:
        """Rates of change of what the battery carries: grid carbon [kg/s] and grid cost [MAD/s].

        All that is charged, less all that is discharged; nothing is lost on the way, so that what is lost as
        heat weighs on the joules that come out.
        """
        energy = self.energy
        put_in, taken = energy.flows_w["import_to_battery"], energy.flows_w["discharge"]
        return {
            "pool_emissions_kg": (put_in * energy.carbon - taken * energy.mix_carbon) / G_PER_KG,
            "pool_cost_mad": put_in * energy.price - taken * energy.mix_cost,
        }


def books_of(record: Record) -> Iterator[SiteBooks]:
    """The books of a record that holds them, site by site."""
    for index, energy in enumerate(record.energy):
        yield SiteBooks(record, index, energy)


def held(books: SiteBooks, values: NDArray[Any]) -> Floats:
    """A column of the occupancy (power, GPUs), summed over the jobs at a site, as the mean of each segment.

    A job may follow another of the same power without an edge of the ledger between them, so the sum is
    integrated over its own steps and read at the ledger's edges.
    """
    energy, occupancy = books.energy, books.occupancy
    mask = occupancy.site == books.index
    times = np.concatenate((occupancy.start_s[mask], occupancy.end_s[mask]))
    if not len(times):
        return np.zeros(len(energy.edges_s) - 1)
    steps = np.concatenate((values[mask], -values[mask])).astype(np.float64)
    order = np.argsort(times, kind="stable")
    level = np.cumsum(steps[order])
    integral = np.concatenate(([0.0], np.cumsum(level[:-1] * np.diff(times[order]))))
    return np.asarray(np.diff(np.interp(energy.edges_s, times[order], integral)) / energy.duration_s)


class Caused(NamedTuple):
    """Flows that each occupancy of a site caused, shape (attributed columns, places), and the places of those."""

    places: Ints
    values: Floats


def caused_at(books: SiteBooks) -> Caused:
    """Flows that each occupancy of a site caused there."""
    energy, occupancy = books.energy, books.occupancy
    mine = np.flatnonzero(occupancy.site == books.index)
    if not len(mine):
        return Caused(mine, np.empty((len(ATTRIBUTED), 0)))
    per_it = books.per_it * energy.duration_s
    meters = np.zeros((len(ATTRIBUTED), len(per_it) + 1))
    for column, meter in zip(ATTRIBUTED, meters, strict=True):
        np.cumsum(books.rates[column.name] * per_it, out=meter[1:])
    begin, end = (_read(meters, energy.edges_s, times_s[mine]) for times_s in (occupancy.start_s, occupancy.end_s))
    return Caused(mine, (end - begin) * occupancy.power_w[mine])


def jobs_columns(record: Record, by_site: Iterable[Caused] | None = None) -> dict[str, Floats]:
    """Columns of what each job caused, in order of the jobs: `dictionary.ATTRIBUTED`, `it_kwh`, `energy_lost_kwh`.

    `by_site` is what was read from the books of each site, where the record holds them no longer.
    """
    occupancy, names = record.occupancy, [column.name for column in ATTRIBUTED]
    caused = np.empty((len(names), len(occupancy.job)))
    for places, values in map(caused_at, books_of(record)) if by_site is None else by_site:
        caused[:, places] = values
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


def rest_draw_kwh(books: SiteBooks, begin_s: float, end_s: float) -> float:
    """Draw of a site beside all jobs from `begin_s` to `end_s` [s], in kWh."""
    energy = books.energy
    rate = energy.flows_w["import_to_battery"] / KWH_J + sum(books.rest_rate(name) for name in DRAWN)
    meter = np.concatenate(([0.0], np.cumsum(rate * energy.duration_s)))
    return float(np.diff(np.interp((begin_s, end_s), energy.edges_s, meter))[0])


def jobs_draw_kwh(record: Record, attributed: Mapping[str, Floats], begin_s: float, end_s: float) -> float:
    """Draw of the jobs that arrive from `begin_s` to `end_s` [s], in kWh; `attributed` is what each job caused."""
    submits_s = numbers_of(record.jobs, "submit_s")
    mine = (submits_s >= begin_s) & (submits_s < end_s)
    return float(sum(attributed[name][mine].sum() for name in DRAWN))
