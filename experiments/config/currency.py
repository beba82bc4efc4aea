"""One currency for all prices of an experiment: prices of the catalogue are in MAD, and are refused beside another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tafukt.experiments.errors import Problem
from tafukt.sites.site import SiteModel

CATALOGUE = "MAD"


def foreign_prices(currency: str, sites: Mapping[str, SiteModel], file: str) -> list[Problem]:
    """Prices that sites take from the catalogue although the experiment reckons in another currency."""
    if currency == CATALOGUE:
        return []
    return [
        Problem(file, key, f"is in {CATALOGUE}, but this experiment is in {currency}; give {remedy}")
        for name, site in sites.items()
        for key, remedy in _taken_over(f"sites.own.{name}", site)
    ]


def _taken_over(name: str, site: SiteModel) -> Iterator[tuple[str, str]]:
    grid, battery = site.grid, site.battery
    own = (grid.price_mad_per_kwh, grid.export_mad_per_kwh, grid.demand_mad_per_kw_month)
    if isinstance(grid.tariff, str) and any(price is None for price in own):
        yield f"{name}.grid.tariff", "a tariff of your own, [sites.own.NAME.grid.tariff]"
    if battery is not None and "replacement_mad_per_kwh" not in battery.model_fields_set:
        yield f"{name}.battery.replacement_mad_per_kwh", "the price of a new battery"
