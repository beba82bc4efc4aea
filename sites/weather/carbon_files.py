"""Carbon files of Electricity Maps and WattTime, told as the series that they hold.

- Electricity Maps, yearly CSV (`ZONE_YEAR_hourly.csv`): `Datetime (UTC)` and, in files of 2021 to 2023,
  `Carbon Intensity gCO₂eq/kWh (direct)` and `(LCA)`, in later ones `Carbon intensity gCO₂eq/kWh (direct)` and
  `(Life cycle)`, as public code that reads both has them; a time is the begin of its hour.
- WattTime, historical CSV: `timestamp` and `MOER` of API version 2, `point_time` and `value` as WattTime's own client
  (`get_historical_csv` of WattTime/watttime-python-client) writes them, in pounds of CO2 per MWh.
"""

from __future__ import annotations

from pathlib import Path

from tafukt.sites.errors import SiteError
from tafukt.sites.schema.fields import SeriesModel
from tafukt.sites.schema.grid import ElectricityMapsCarbon, WattTimeCarbon
from tafukt.sites.weather.table_cache import read_table
from tafukt.sites.weather.tables import column_named

G_PER_LB = 453.59237
CARBON_KEY = "grid.carbon"
_SCOPES = {"lifecycle": ("life cycle", "lca"), "direct": ("direct",)}


def series_of(model: ElectricityMapsCarbon | WattTimeCarbon, cache: Path | None) -> SeriesModel:
    """The series in a provider's file.

    Raises
    ------
    SiteError
        If the file has not that provider's columns.
    """
    if isinstance(model, WattTimeCarbon):
        table = read_table(model.file, CARBON_KEY, wanted=("MOER", "value"), cache=cache)
        column, scale = column_named(table.numbers, ("MOER", "value")), G_PER_LB / 1000.0
    else:
        table = read_table(model.file, CARBON_KEY, wanted=("Datetime (UTC)",), cache=cache)
        column, scale = _intensity(list(table.numbers), _SCOPES[model.scope]), 1.0
    if column is None:
        known = ", ".join(table.numbers)
        raise SiteError(f"{CARBON_KEY}: {table.name}: has no column of kind {model.kind!r} among {known}")
    keys = {"file": model.file, "column": column, "scale": scale, "repeat": model.repeat, "fill": model.fill}
    return SeriesModel.model_validate(keys)


def _intensity(names: list[str], scope: tuple[str, ...]) -> str | None:
    found = [name for name in names if "carbon intensity" in name.lower()]
    return next((name for word in scope for name in found if f"({word}" in name.lower()), None)
