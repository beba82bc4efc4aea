"""The model's power against a meter's: a row for each step that was measured, and how far the two lie apart.

Mean bias and root mean square error are those of ASHRAE Guideline 14 (NMBE and CV(RMSE)), with no degree of freedom
taken off, since nothing is fitted to the meter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.results.attribution import SiteBooks
from tafukt.simulator.units import HOUR_S, KWH_J, Floats

if TYPE_CHECKING:
    import pandas as pd

WHAT = {"import": "grid import", "net": "import less export", "site": "site power", "it": "IT power"}
"""Quantities of a meter, in words."""


@dataclass(frozen=True, eq=False)
class Meter:
    """A meter: its quantity, one of `import net site it`, and its mean over each supply step [kW]; NaN for unknown."""

    of: str
    kw: Floats


MODELLED_W: Mapping[str, Callable[[SiteBooks], Floats]] = {
    "import": lambda books: books.imported_w,
    "net": lambda books: books.imported_w - books.energy.flows_w["export"],
    "site": lambda books: books.energy.site_w,
    "it": lambda books: books.energy.it_w,
}
"""The model's power [W] over each segment of the ledger, by what a meter measures."""


def meter_columns(parts: Sequence[Mapping[str, Any]], start: datetime) -> dict[str, Any]:
    """The columns of meter.parquet, by name, from those of each site that has a meter."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seconds = np.round(columns["time_h"] * HOUR_S * 1000.0).astype("timedelta64[ms]")
    return columns | {"time_utc": np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "ms") + seconds}


def measured_columns(books: SiteBooks, end_s: float, supply_s: float, step_s: float, meter: Meter) -> dict[str, Any]:
    """The rows of a site with a meter, without their moments: one per output step that was measured."""
    edges = np.minimum(np.arange(len(meter.kw) + 1) * supply_s, end_s)
    lengths = np.diff(edges)
    known = np.isfinite(meter.kw) & (lengths > 0)
    modelled_j = books.energy.binned_j(MODELLED_W[meter.of](books), edges)
    row = np.floor(edges[:-1] / step_s + 1e-9).astype(np.int64)

    def summed(values: Floats) -> Floats:
        return np.asarray(np.bincount(row, np.where(known, values, 0.0)), dtype=np.float64)

    measured_s = summed(lengths)
    shown = measured_s > 0
    measured_kwh = summed(np.where(known, meter.kw, 0.0) * lengths / HOUR_S)[shown]
    modelled_kwh = summed(modelled_j / KWH_J)[shown]
    return {
        "time_h": np.flatnonzero(shown) * step_s / HOUR_S,
        "site": np.full(int(shown.sum()), books.site.name),
        "of": np.full(int(shown.sum()), meter.of),
        "measured_h": measured_s[shown] / HOUR_S,
        "measured_kwh": measured_kwh,
        "modelled_kwh": modelled_kwh,
        "difference_kwh": modelled_kwh - measured_kwh,
    }


@dataclass(frozen=True)
class Agreement:
    """Distance of the model from a site's meter.

    Attributes
    ----------
    hours, measured_kwh, modelled_kwh : float
        Time that was measured [h], and both energies in it [kWh].
    bias_kw, bias : float
        Mean of modelled less measured [kW], and over the mean measured.
    rmse_kw, rmse : float
        Root mean square of the same over output steps, weighed by their length [kW], and over the mean measured.
    """

    site: str
    of: str
    hours: float
    measured_kwh: float
    modelled_kwh: float
    bias_kw: float
    bias: float
    rmse_kw: float
    rmse: float


def agreements(table: pd.DataFrame) -> list[Agreement]:
    """One for each site of a run's meter.parquet, in its order."""
    found = []
    for (site, of), rows in table.groupby(["site", "of"], sort=False):
        hours = float(rows["measured_h"].sum())
        measured, modelled = (float(rows[name].sum()) for name in ("measured_kwh", "modelled_kwh"))
        bias_kw = (modelled - measured) / hours
        apart_kw = (rows["difference_kwh"] / rows["measured_h"]).to_numpy()
        rmse_kw = float(np.sqrt((apart_kw**2 * rows["measured_h"].to_numpy()).sum() / hours))
        mean_kw = measured / hours
        shares = (bias_kw / mean_kw, rmse_kw / mean_kw) if mean_kw else (np.nan, np.nan)
        found.append(Agreement(str(site), str(of), hours, measured, modelled, bias_kw, shares[0], rmse_kw, shares[1]))
    return found
