"""The catalogue, changes over it, and what is said about mistakes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tafukt.sites.describe import COLUMNS, facts, listing
from tafukt.sites.site import SiteError, catalogue, node_types, site_from


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_twelve_sites_one_root_one_per_region() -> None:
    sites = catalogue()
    assert len(sites) == 12
    assert [name for name, site in sites.items() if site.is_root] == ["rabat"]
    assert len({site.region for site in sites.values()}) == 12
    assert "dakhla" in sites


def test_the_catalogue_says_what_the_tables_say(shared_data: Path) -> None:
    sites = catalogue()
    for row in rows(shared_data / "regions.csv"):
        site = sites[row["site_id"]]
        assert (site.lat, site.lon, site.altitude_m) == (float(row["lat"]), float(row["lon"]), float(row["alt_m"]))
        assert (site.region, site.population, site.tz) == (row["region_id"], int(row["population_2024"]), row["tz"])
    by_title = {site.title: site for site in sites.values()}
    seen = 0
    for row in rows(shared_data / "climate_monthly.csv"):
        if row["site"] in by_title:
            climate, month = by_title[row["site"]].climate, int(row["month"]) - 1
            assert climate is not None
            assert climate.ghi_kwh_m2_d[month] == float(row["ghi_kwh_m2_d"])
            assert climate.tmax_c[month] == float(row["tmax_c"])
            assert climate.tmin_c[month] == float(row["tmin_c"])
            seen += 1
    assert seen == 144


def test_every_figure_of_a_site_has_its_source() -> None:
    for site in catalogue().values():
        sourced = {key.strip() for keys in site.sources for key in keys.split(",")}
        assert {"population", "lat", "climate.ghi_kwh_m2_d", "climate.tmax_c", "climate.pv_yield_kwh_kwp_y"} <= sourced
        assert all(source.source and source.confidence for source in site.sources.values())
        own = [fact for fact in facts(site) if fact.key == "climate.ghi_kwh_m2_d"]
        assert own[0].source
        assert own[0].confidence
        for fact in facts(site):
            if fact.key.startswith(("pv.losses", "battery.eta", "battery.fade", "pv.temp_coeff")):
                assert fact.source, fact.key


def test_nodes_are_ordered_and_sourced() -> None:
    assert set(node_types()) == {"a100", "h100", "h200", "b200"}
    for node in node_types().values():
        assert node.sleep_kw < node.idle_kw < node.loaded_kw
        assert node.source
    assert (node_types()["a100"].idle_kw, node_types()["a100"].loaded_kw) == (1.51, 5.04)


def test_listing_has_a_row_per_site() -> None:
    table = listing()
    assert len(table) == 12
    assert tuple(table[0]) == COLUMNS
    assert table[0]["name"] == "rabat *"


def test_sizes_follow_the_nodes_unless_given() -> None:
    site = site_from({"cluster": {"nodes": 3}}, "dakhla", "t")
    assert (site.pv_kwp, site.battery_kwh, site.gpus) == (36.0, 30.0, 24)
    assert site_from({"pv": {"kwp": 5.0}}, "dakhla", "t").pv_kwp == 5.0
    assert site_from({"battery": False}, "dakhla", "t").battery_kwh == 0.0
    assert not site_from({"battery": False}, "dakhla", "t").is_islandable
    assert site_from({}, "dakhla", "t").is_islandable


def test_changes_merge_below_and_a_new_kind_replaces() -> None:
    site = site_from({"pv": {"soiling": {"cleaning_days": 7}}}, "dakhla", "t")
    assert site.pv is not None
    assert site.pv.soiling.kind == "accumulating"
    assert site.pv.soiling.cleaning_days == 7
    assert site.pv.soiling.rate_per_day == 0.003  # of Dakhla, kept
    other = site_from({"pv": {"soiling": {"kind": "constant", "loss": 0.1}}}, "dakhla", "t")
    assert other.pv is not None
    assert other.pv.soiling.kind == "constant"
    assert site_from({"cooling": {"kind": "chiller"}}, "dakhla", "t").cooling.kind == "chiller"


def test_a_site_of_ones_own_like_another() -> None:
    site = site_from({"like": "rabat", "lat": 34.1}, None, "t", name="mine")
    assert (site.name, site.title, site.lat, site.is_root) == ("mine", "mine", 34.1, False)
    assert site.climate == catalogue()["rabat"].climate


@pytest.mark.parametrize(
    ("table", "base", "words"),
    [
        ({"pv": {"kwpp": 3}}, "dakhla", ["f.toml: sites.x: pv.kwpp", "unknown key", "did you mean 'kwp'?"]),
        ({"lat": 200}, "dakhla", ["lat", "200", "90"]),
        ({"pv": {"kwp": -1}}, "dakhla", ["pv.kwp", "-1", "greater than or equal to 0"]),
        ({"like": "dakla"}, None, ["'dakla'", "did you mean 'dakhla'?"]),
        ({"cluster": {"node": "h1000"}}, "dakhla", ["cluster.node", "'h1000'", "h100"]),
        ({"grid": {"tariff": "mv_defaul"}}, "dakhla", ["grid.tariff", "did you mean 'mv_default'?"]),
        ({"weather": {"kind": "epww"}}, "dakhla", ['"epww" is not allowed', "did you mean 'epw'?", "tmy3"]),
        ({"weather": {"kind": "epw"}}, "dakhla", ["weather.file", "missing"]),
        ({"tz": "Africa/Dakhla"}, "dakhla", ["tz", "Africa/Dakhla"]),
        ({"online": "2025-01-01T00:00:00"}, "dakhla", ["online", "zone"]),
        ({"battery": {"soc_min": 0.9, "soc_max": 0.2}}, "dakhla", ["battery", "soc_min 0.9"]),
        ({"battery": {"strategy": "peak-shaving"}}, "dakhla", ["peak_kw"]),
        ({"cooling": {"kind": "piecewise", "temp_c": [10, 20], "pue": [1.3, 1.2]}}, "dakhla", ["must not fall"]),
        ({"lat": 30.0, "lon": 1.0, "name": "a"}, None, ["climatology", "climate.ghi_kwh_m2_d", "like"]),
        ({"pv": 3}, "dakhla", ["pv", "3"]),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(table: dict[str, Any], base: str | None, words: list[str]) -> None:
    with pytest.raises(SiteError) as caught:
        site_from(table, base, "f.toml: sites.x")
    for word in words:
        assert word in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SiteError) as caught:
        site_from({"lat": 100, "pv": {"kwpp": 1}, "battery": {"c_rate": 0}}, "dakhla", "f")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"pv": {"kwp": 1.2e8}}, "pv.kwp.*as W it would be 120000 kW"),
        ({"fixed_kw": 2e6}, "fixed_kw.*as W it would be 2000 kW"),
        ({"battery": {"kwh": 5e8}}, "battery.kwh.*as Wh it would be 500000 kWh"),
        ({"cluster": {"node": {"like": "a100", "loaded_kw": 6500.0}}}, "loaded_kw.*as W it would be 6.5 kW"),
        ({"grid": {"import_limit_kw": 5e8}}, "import_limit_kw.*as W it would be 500000 kW"),
        ({"grid": {"demand_mad_per_kw_month": 40000.0}}, "as MAD/MW it would be 40 MAD/kW"),
        ({"grid": {"export_mad_per_kwh": 180.0}}, "as MAD/MWh it would be 0.18 MAD/kWh"),
        ({"grid": {"carbon": {"kind": "constant", "g_per_kwh": 0.6}}}, "as kg/kWh it would be 600 g/kWh"),
        ({"grid": {"carbon": {"kind": "constant", "g_per_kwh": 604000.0}}}, "as g/MWh it would be 604 g/kWh"),
        ({"pv": {"temp_coeff_per_c": -0.37}}, "temp_coeff_per_c.*as %/degC it would be -0.0037"),
        ({"pv": {"soiling": {"kind": "accumulating", "rate_per_day": 0.3}}}, "rate_per_day.*as % it would be 0.003"),
        ({"pv": {"degradation_per_year": 0.5}}, "degradation_per_year.*as % it would be 0.005"),
        ({"cooling": {"kind": "constant", "overhead": 20.0}}, "overhead.*as % it would be 0.2"),
        ({"climate": {"wind_speed_ms": 108.0}}, "wind_speed_ms.*as km/h it would be 30 m/s"),
        ({"climate": {"ghi_kwh_m2_d": [18.0] * 12}}, "as MJ/m2/day it would be 5"),
        ({"climate": {"tmax_c": [303.15] * 12, "tmin_c": [290.0] * 12}}, "as kelvin it would be 30"),
    ],
)
def test_a_value_in_another_unit_is_refused_with_the_unit_that_would_fit(table: dict[str, Any], words: str) -> None:
    with pytest.raises(SiteError, match=words):
        site_from({"like": "dakhla", "name": "x"} | table, None, "t")
