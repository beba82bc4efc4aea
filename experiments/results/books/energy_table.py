"""energy.parquet: every flow of each site by output step, written as the books of the sites are settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import numpy as np

from tafukt.experiments.results.attribution import G_PER_KG, SiteBooks, held, online_gpus
from tafukt.experiments.results.books.parquet import ParquetTable, Repeated, moments
from tafukt.experiments.results.dictionary import ATTRIBUTED, TABLES
from tafukt.simulator.record import SiteEnergy
from tafukt.simulator.units import HOUR_S, KWH_J, Floats, Ints
from tafukt.sites.profile import StepProfile

SEGMENTS_MOST = 50
"""In one step of energy.parquet, that are worth adding up one after another."""
VALUES_AT_ONCE = 1 << 17
"""Values of the ledger that are added up at once: a week has all of its columns in them, a year one."""
ROWS_AT_ONCE = 1 << 16
"""Rows that are written together: the table of a week takes a fifth longer in two groups than in one."""


class EnergyTable:
    """The table of a run as it grows: one row per site and output step, the sites in the order in which they come.

    Parameters
    ----------
    end_s : float
        End of the accounting window [s].
    start : datetime
    step_s : float
        Length of a row [s]; the last one ends with the window.
    temp_air_c : mapping
        Outdoor air of the sites of which it is known [degC].
    about : mapping of str to str
        Goes into the file.
    """

    def __init__(
        self,
        end_s: float,
        start: datetime,
        step_s: float,
        temp_air_c: Mapping[str, StepProfile],
        about: Mapping[str, str],
    ) -> None:
        self.step_s = step_s
        self._edges = np.append(np.arange(0.0, end_s - 1e-6, step_s), end_s)
        self._rows, self._moments = len(self._edges) - 1, moments(start, self._edges[:-1])
        self._temp_air_c = temp_air_c
        self._file = ParquetTable("energy", about)
        self._names = [column.name for column in TABLES["energy"] if column.dtype == "float64"]
        # At once, and for one group after another: asking for memory takes as long as filling it.
        self._block = np.empty((len(self._names), max(ROWS_AT_ONCE // self._rows, 1), self._rows))
        self._sites: list[str] = []

    def add(self, books: SiteBooks) -> None:
        """Take the books of one more site."""
        values = site_energy(books, self._edges, self._temp_air_c)
        for place, name in enumerate(self._names):
            self._block[place, len(self._sites)] = values[name]
        self._sites.append(books.site.name)
        if len(self._sites) == self._block.shape[1]:
            self._write()

    def _write(self) -> None:
        sites = len(self._sites)
        columns = {name: self._block[place, :sites].reshape(-1) for place, name in enumerate(self._names)}
        moments = np.tile(self._moments, sites)
        self._file.add({**columns, "site": Repeated(self._sites, self._rows), "time_utc": moments})
        self._sites = []

    def close(self) -> bytes:
        """The bytes of the file."""
        if self._sites:
            self._write()
        return self._file.close()


def site_energy(books: SiteBooks, edges: Floats, temp_air_c: Mapping[str, StepProfile]) -> dict[str, Floats]:
    """The columns of numbers of one site, by name: one row for each bin of `edges` [s]."""
    site, energy = books.site, books.energy
    lengths = np.diff(edges)
    nowhere = np.full(len(lengths), np.nan)

    def mean(profile: StepProfile) -> Floats:
        if profile.start_s == 0 and np.all(lengths == profile.step_s):
            return profile.values[: len(lengths)]
        return np.diff(profile.integral_to(edges, keep=False)) / lengths

    totals = _binned(energy, _rates(books), edges)
    return totals | {
        "time_h": edges[:-1] / HOUR_S,
        "step_h": lengths / HOUR_S,
        "stored_kwh": np.interp(edges[1:], energy.edges_s, energy.stored_j) / KWH_J,
        "overhead": mean(site.overhead),
        "temp_air_c": mean(temp_air_c[site.name]) if site.name in temp_air_c else nowhere,
        "price_mad_per_kwh": mean(site.grid.price) * KWH_J,
        "carbon_g_per_kwh": mean(site.grid.carbon) * KWH_J,
        "busy_gpus": totals["busy_gpus"] / lengths,
        "online_gpus": online_gpus(site, edges),
        **{name: np.cumsum(totals[name]) for name in ("pool_emissions_kg", "pool_cost_mad")},
    }


def _rates(books: SiteBooks) -> Iterator[tuple[str, Floats]]:
    """Rates of the columns that are integrated, each made when it is its turn: together they are half of the books."""
    energy = books.energy
    powers = {
        "pv_available_kwh": energy.pv_w,
        **{f"{name}_kwh": power_w for name, power_w in energy.flows_w.items()},
        "discharge_pv_kwh": books.from_sun_w,
        "grid_import_kwh": books.imported_w,
        "it_kwh": energy.it_w,
        "jobs_it_kwh": books.jobs_w,
        "other_kwh": energy.other_w,
        "site_kwh": energy.site_w,
    }
    for name, power_w in powers.items():
        yield name, power_w / KWH_J
    yield "cost_mad", books.charge_rate - books.income_rate
    yield "emissions_kg", books.imported_w * energy.carbon / G_PER_KG
    yield "busy_gpus", held(books, books.occupancy.gpus)
    for column in ATTRIBUTED:
        yield f"rest_{column.name}", books.rest_rate(column.name)
    yield from books.pool_rates.items()


def _binned(energy: SiteEnergy, rates: Iterable[tuple[str, Floats]], edges: Floats) -> dict[str, Floats]:
    """Columns of the ledger, integrated over each bin.

    Nearly every bin is one segment: all first segments are taken at once, then all second ones, and so on.
    """
    first = np.searchsorted(energy.edges_s, edges[:-1])
    counts = np.diff(np.append(first, len(energy.it_w)))
    whole = np.array_equal(energy.edges_s[first], edges[:-1]) and energy.edges_s[-1] == edges[-1]
    if not whole or counts.max() > SEGMENTS_MOST:
        return {name: energy.binned_j(rate, edges) for name, rate in rates}
    # The bins with a second segment and where it stands, those with a third one, and so on; most bins have all of them.
    later: list[tuple[Ints | slice, Ints]] = []
    for place in range(1, counts.max()):
        more = np.flatnonzero(counts > place)
        later.append((slice(None) if len(more) == len(first) else more, first[more] + place))
    # As many columns at a time as the processor's cache holds.
    joules = np.empty((max(1, VALUES_AT_ONCE // len(energy.it_w)), len(energy.it_w)))
    binned: dict[str, Floats] = {}
    waiting: list[str] = []

    def add_up() -> None:
        sums = joules[: len(waiting)].take(first, axis=1)
        for bins, segments in later:
            sums[:, bins] += joules[: len(waiting)].take(segments, axis=1)
        binned.update(zip(waiting, sums, strict=True))
        waiting.clear()

    for name, rate in rates:
        if not rate.any() and not np.signbit(rate).any():  # a third of them, where no job runs
            binned[name] = np.zeros(len(first))
            continue
        np.multiply(rate, energy.duration_s, out=joules[len(waiting)])
        waiting.append(name)
        if len(waiting) == len(joules):
            add_up()
    add_up()
    return binned
