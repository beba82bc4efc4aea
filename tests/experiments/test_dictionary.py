"""The data dictionary: its page is up to date, its names follow the rules, its schemas carry units."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tafukt.experiments.results import dictionary

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {
    "_kwh": "kWh",
    "_kw": "kW",
    "_h": "h",
    "_mad": "MAD",
    "_kg": "kg",
    "_gpu_hours": "GPU-h",
    "_gpu_hours_per_kwh": "GPU-h/kWh",
    "_mad_per_kwh": "MAD/kWh",
    "_g_per_kwh": "g/kWh",
    "_gb": "GB",
    "_c": "°C",
    "_utc": "UTC",
}

PROMISED = """
grid_import_kwh draw_kwh pv_available_kwh pv_used_kwh curtailed_kwh export_kwh
unserved_kwh it_kwh site_kwh stored_start_kwh stored_end_kwh battery_cycles
peak_import_kw pue renewable_fraction self_consumption grid_cut bound_draw_kwh captured
emissions_kg cost_mad battery_wear_mad jobs_submitted jobs_done jobs_failed
jobs_cancelled jobs_rejected jobs_left work_left_gpu_hours wait_mean_h jct_mean_h
jct_p95_h bounded_slowdown_mean makespan_h gpu_hours gpu_hours_lost deadline_miss_rate
utilisation fairness_jain balance_residual_kwh
"""


def test_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "data_dictionary.md").read_text(encoding="utf-8")
    assert page == dictionary.dictionary_page(), (
        "run: python -m tafukt.experiments.results.dictionary > docs/data_dictionary.md"
    )


@pytest.mark.parametrize("table", dictionary.TABLES)
def test_names_are_unique_and_end_in_their_unit(table: str) -> None:
    names = dictionary.names(table)
    assert len(set(names)) == len(names)
    for column in dictionary.TABLES[table]:
        suffix = max((s for s in SUFFIXES if column.name.endswith(s)), key=len, default="")
        if suffix:
            assert column.unit == SUFFIXES[suffix], column.name
        else:
            assert column.unit not in set(SUFFIXES.values()) - {"GPU-h"}, column.name


def test_summary_has_every_metric_that_the_documentation_promises() -> None:
    promised = set(re.findall(r"\w+", PROMISED))
    assert promised <= set(dictionary.names("summary"))
    assert dictionary.names("summary")[:4] == ["run", "status", "policy", "seed"]


def test_schema_carries_units() -> None:
    schema = dictionary.arrow_schema("energy", {"start": "2025-12-01T00:00:00+00:00"})
    assert schema.names == dictionary.names("energy")
    assert schema.field("grid_import_kwh").metadata[b"unit"] == b"kWh"
    assert schema.metadata[b"start"].startswith(b"2025")
    assert not schema.field("site").nullable
    assert schema.field("temp_air_c").nullable


def test_unknown_column_is_named() -> None:
    with pytest.raises(KeyError, match="grid_imprt"):
        dictionary.column("energy", "grid_imprt")


def test_a_heading_is_short_and_has_the_unit() -> None:
    assert dictionary.column("summary", "draw_kwh").heading == "draw\nkWh"
    assert dictionary.column("summary", "grid_cut").heading == "grid\ncut"
    assert dictionary.column("summary", "makespan_h").heading == "makespan\nh"
    assert not {
        name
        for name in (*dictionary.LABELS, *dictionary.HEADINGS)
        if not any(name == c.name for t in dictionary.TABLES.values() for c in t)
    }
    assert max(len(line) for c in dictionary.SUMMARY for line in c.heading.split("\n")) <= 20
