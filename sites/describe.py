"""Sites in words and numbers: the listing, and one site with every value and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tafukt.sites.schema.fields import SourceModel
from tafukt.sites.site import SiteModel, carbon_tables, catalogue, load_shapes

COLUMNS = (
    "name",
    "region",
    "lat",
    "lon",
    "population",
    "gpus",
    "pv_kwp",
    "battery_kwh",
    "ghi_kwh_m2_y",
    "pv_yield_kwh_kwp_y",
    "status",
)


def listing(sites: Iterable[SiteModel] | None = None) -> list[dict[str, Any]]:
    """One row per site, with the columns `COLUMNS`; the root hub's name carries a star."""
    rows = []
    for site in catalogue().values() if sites is None else sites:
        climate = site.climate
        rows.append(
            {
                "name": site.name + (" *" if site.is_root else ""),
                "region": site.region_title or site.region,
                "lat": site.lat,
                "lon": site.lon,
                "population": site.population,
                "gpus": site.gpus,
                "pv_kwp": site.pv_kwp,
                "battery_kwh": site.battery_kwh,
                "ghi_kwh_m2_y": climate.ghi_kwh_m2_y if climate else None,
                "pv_yield_kwh_kwp_y": climate.pv_yield_kwh_kwp_y if climate else None,
                "status": site.status,
            }
        )
    return rows


@dataclass(frozen=True)
class Fact:
    """One value of a site: dotted key, value, what it means, where it comes from, how far to trust it."""

    key: str
    value: str
    meaning: str
    source: str
    confidence: str


def facts(site: SiteModel) -> list[Fact]:
    """Every value of a site, with the source that its file or its default gives."""
    known = {key.strip(): source for keys, source in site.sources.items() for key in keys.split(",")}
    rows = []
    for key, value, field in _walk(site, ""):
        source = known.get(key)
        meaning, origin = _parted(field.description or "")
        if source is None and origin and value == field.default:
            source = SourceModel(source=origin, confidence="")
        rows.append(
            Fact(key, _shown(value), meaning, source.source if source else "", source.confidence if source else "")
        )
    return rows + _referred(site)


def _parted(description: str) -> tuple[str, str]:
    """Meaning of a key and the origin of its default, which its description says last."""
    for mark in (": CHOICE", ": MODELLING CHOICE"):
        if description.endswith(mark):
            return description.removesuffix(mark), "MODELLING CHOICE"
    meaning, _, origin = description.partition("; ")
    return (description, "") if origin.startswith("default") else (meaning, origin)


def _walk(model: BaseModel, prefix: str) -> Iterable[tuple[str, Any, FieldInfo]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name == "sources":
            continue
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value, field


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(item) for item in value) or "none"
    if isinstance(value, BaseModel):
        return "; ".join(f"{k} {v}" for k, v in value.model_dump(mode="json").items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _referred(site: SiteModel) -> list[Fact]:
    """Values that the site takes from the shared tables of the catalogue, with their sources."""
    node, tariff = site.node, site.tariff
    rows = [
        Fact(
            "cluster.node",
            f"{node.title or site.cluster.node}: idle {node.idle_kw:g}, loaded {node.loaded_kw:g} kW",
            "power of a node",
            node.source,
            node.confidence,
        )
    ]
    for band in tariff.bands:
        hours = f"{band.mad_per_kwh:g} MAD/kWh, winter {band.winter} h, summer {band.summer} h"
        rows.append(Fact(f"tariff {band.name}", hours, "local clock hours", tariff.source, tariff.confidence))
    demand = f"{site.demand_mad_per_kw_month:g} MAD/kW/month"
    rows.append(Fact("tariff demand", demand, "largest 15-minute mean", tariff.demand_source, tariff.demand_confidence))
    export = ", ".join(f"{band.name} {band.export_mad_per_kwh:g}" for band in tariff.bands)
    rows.append(Fact("tariff export", f"{export} MAD/kWh", "surplus", tariff.export_source, tariff.export_confidence))
    table = carbon_tables().get(getattr(site.grid.carbon, "table", ""))
    if table is not None:
        rows.append(Fact("carbon table", table.title, "by season and local hour", table.source, table.confidence))
    if site.other.kind == "shape":
        shape = load_shapes()[site.other.shape]
        rows.append(Fact("other shape", shape.title, "by hour and month", shape.source, shape.confidence))
    return rows


def weather_report(site: SiteModel) -> list[str]:
    """Faults found in the whole of a site's weather file and filled, with counts and dates; empty where it reads none.

    What concerns one run stands in the notes of its `SiteSupply`.

    Raises
    ------
    SiteError
        If the file cannot be used as it is.
    """
    from tafukt.sites.weather.files import FILE_KINDS, source_of

    if site.weather.kind not in FILE_KINDS or site.weather.kind == "pvgis-download":
        return []
    return list(source_of(site, None)[0].notes)
