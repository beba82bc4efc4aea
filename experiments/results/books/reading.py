"""Reading of the books of a run: metrics and tables take their part of each site, and nobody keeps the books.

The books of a year are larger than all else that a run leaves behind; what is read from them is a few numbers of each
site, what each occupancy caused, and the rows of the tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tafukt.experiments.results.attribution import G_PER_KG, Caused, SiteBooks, caused_at, jobs_columns, rest_draw_kwh
from tafukt.experiments.results.books.energy_table import EnergyTable
from tafukt.experiments.results.books.ramps import RampBreaches, ramp_breaches
from tafukt.experiments.results.costs import SiteCosts
from tafukt.experiments.results.grid_events import ImportMeter
from tafukt.experiments.results.meter import Meter, measured_columns
from tafukt.simulator.record import Record, SiteEnergy
from tafukt.simulator.scenario import Battery, Site
from tafukt.simulator.units import DAY_S, KWH_J, MINUTE_S, Floats

QUARTER_S = 900.0
"""Mean import over each stretch of so long is what a connection's peak is measured by."""


@dataclass(frozen=True)
class SiteTotals:
    """Totals of the books of one site.

    Attributes
    ----------
    site : Site
    powers_j : mapping
        Every flow, and `pv it site other from_sun`, integrated over the window [J].
    stored_j : tuple
        What the battery holds at the start and at the end [J].
    capacity_j : float
        Capacity of the battery at the end [J].
    emissions_kg, charge_mad, income_mad, demand_mad, wear_mad : float
        Emissions of the import; its price, what export earns, demand charge and battery wear.
    rest_draw_kwh : float
        Draw beside all jobs in the account of the steady state.
    """

    site: Site
    powers_j: Mapping[str, float]
    stored_j: tuple[float, float]
    capacity_j: float
    emissions_kg: float
    charge_mad: float
    income_mad: float
    demand_mad: float
    wear_mad: float
    rest_draw_kwh: float


class Reading:
    """All that is read from the books of a run, in the order of its sites.

    Parameters
    ----------
    costs : mapping of site name to SiteCosts, optional
        Demand charge and battery replacement; without it both are zero.
    account_s : tuple, optional
        From when to when the account of the steady state lasts [s].
    table : EnergyTable, optional
        Takes the rows of each site.
    meters : mapping of site name to Meter, optional
        What the sites' meters showed.
    """

    def __init__(
        self,
        costs: Mapping[str, SiteCosts] | None = None,
        account_s: tuple[float, float] | None = None,
        table: EnergyTable | None = None,
        meters: Mapping[str, Meter] | None = None,
    ) -> None:
        self.costs, self.account_s, self.table, self.meters = costs or {}, account_s, table, meters or {}
        self.sites: list[SiteTotals] = []
        self.ramps: list[RampBreaches] = []
        self.measured: list[dict[str, Any]] = []
        self.import_meters: dict[int, ImportMeter] = {}
        self._caused: list[Caused] = []
        self._imports: ImportMeans | None = None
        self._attributed: dict[str, Floats] | None = None

    def read(self, record: Record, index: int, energy: SiteEnergy) -> None:
        """Read the books of one site; `record` needs none, and comes before the next site's."""
        books, scenario = SiteBooks(record, index, energy), record.scenario
        self.sites.append(self._totals(books))
        self._caused.append(caused_at(books))
        self._imports = self._imports or ImportMeans(scenario.end_s, QUARTER_S, MINUTE_S)
        self._imports.add(books)
        if books.site.grid.events:
            self.import_meters[index] = ImportMeter(energy.edges_s, books.import_meter_j)
        if books.site.grid.has_ramp_limit:
            self.ramps.append(ramp_breaches(books))
        if (meter := self.meters.get(books.site.name)) is not None and self.table is not None:
            self.measured.append(measured_columns(books, scenario.end_s, scenario.step_s, self.table.step_s, meter))
        if self.table is not None:
            self.table.add(books)

    def of(self, record: Record) -> Reading:
        """This, after all books of a record that holds them have been read."""
        for index, energy in enumerate(record.energy):
            self.read(record, index, energy)
        return self

    def attributed(self, record: Record) -> dict[str, Floats]:
        """Columns of what each job caused, see `jobs_columns`."""
        self._attributed = self._attributed or jobs_columns(record, self._caused)
        return self._attributed

    def import_means_kw(self) -> list[Floats]:
        """Means of the import of all sites together over each quarter of an hour and over each minute, in kW."""
        assert self._imports is not None, "every scenario has a site"
        return self._imports.means_kw()

    def _totals(self, books: SiteBooks) -> SiteTotals:
        site, energy, costs = books.site, books.energy, self.costs.get(books.site.name)
        powers = energy.flows_w | {"pv": energy.pv_w, "it": energy.it_w, "site": energy.site_w, "other": energy.other_w}
        powers["from_sun"] = books.from_sun_w
        powers_j = {name: energy.total_j(power_w) for name, power_w in powers.items()}
        return SiteTotals(
            site=site,
            powers_j=powers_j,
            stored_j=(float(energy.stored_j[0]), float(energy.stored_j[-1])),
            capacity_j=energy.capacity_j,
            emissions_kg=energy.total_j(books.imported_w * energy.carbon) / G_PER_KG,
            charge_mad=energy.total_j(books.charge_rate),
            income_mad=energy.total_j(books.income_rate),
            demand_mad=demand_charge_mad(books, costs) if costs else 0.0,
            wear_mad=battery_wear_mad(powers_j["discharge"], site.battery, costs, energy.edges_s[-1]) if costs else 0.0,
            rest_draw_kwh=rest_draw_kwh(books, *self.account_s) if self.account_s else math.nan,
        )


class ImportMeans:
    """Means of the import of all sites together over bins of each of some lengths [s], up to the window's end."""

    def __init__(self, end_s: float, *bins_s: float) -> None:
        self._edges = [np.append(np.arange(0.0, end_s, bin_s), end_s) for bin_s in bins_s]
        self._joules = [np.zeros(len(edges)) for edges in self._edges]

    def add(self, books: SiteBooks) -> None:
        """Take the import of one more site."""
        for joules, at_s in zip(self._joules, self._edges, strict=True):
            joules += np.interp(at_s, books.energy.edges_s, books.import_meter_j)

    def means_kw(self) -> list[Floats]:
        """The means of each length [kW]."""
        return [np.diff(j) / np.diff(at_s) / 1000.0 for j, at_s in zip(self._joules, self._edges, strict=True)]


# --- Money beyond the energy charge: what a peak costs, and what a battery loses by use


def demand_charge_mad(books: SiteBooks, costs: SiteCosts) -> float:
    """Demand charge of one site: its largest 15-minute mean in each month, at the rate, pro-rated [MAD]."""
    if costs.demand_mad_per_kw_month <= 0:
        return 0.0
    total = 0.0
    for t0, t1, share in costs.months:
        edges = np.append(np.arange(t0, t1, QUARTER_S), t1)
        joules = np.diff(np.interp(edges, books.energy.edges_s, books.import_meter_j))
        peak_kw = float(np.max(joules / np.diff(edges))) / 1000.0
        total += peak_kw * costs.demand_mad_per_kw_month * share
    return total


def battery_wear_mad(discharged_j: float, battery: Battery | None, costs: SiteCosts, window_s: float) -> float:
    """Replacement cost times the share of the battery's life that was used: by cycles or by age [MAD].

    Whichever of the two ends the life first counts; they are not added.
    """
    if battery is None or battery.capacity_j <= 0:
        return 0.0
    cycles = discharged_j / battery.eta_discharge / battery.usable_j
    years = float(window_s) / (365.25 * DAY_S)
    used = max(cycles / costs.battery_life_cycles, years / costs.battery_life_years)
    return used * costs.battery_mad_per_kwh * battery.capacity_j / KWH_J
