"""The tables of a run: exactly the dictionary's columns, and sums that agree with the summary."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from experiments import dictionary, metrics, tables
from simulator.record import Record

START = datetime(2025, 12, 1, tzinfo=UTC)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record() -> Record:
    return _load("show_records").record(unserved_from_s=0.9 * 86_400)


def test_columns_are_the_dictionary(record: Record) -> None:
    got = {
        "jobs": tables.jobs_table(record, START),
        "energy": tables.energy_table(record, START, 3600.0),
        "events": tables.events_table(record, START),
    }
    kinds = {"float64": "f", "int64": "i", "bool": "b", "string": "O", "timestamp": "M"}
    for table, columns in got.items():
        assert list(columns) == dictionary.names(table)
        assert len({len(values) for values in columns.values()}) == 1
        for column in dictionary.TABLES[table]:
            values = columns[column.name]
            assert values.dtype.kind == kinds[column.dtype], column.name
            if not column.nullable:
                blank = np.isnat if column.dtype == "timestamp" else np.isnan
                assert column.dtype in ("string", "bool") or not blank(values).any(), column.name


def test_tables_are_written_and_read_back(record: Record, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = tables.energy_table(record, START, 3600.0)
    table = pa.table(columns, schema=dictionary.arrow_schema("energy", {"start": START.isoformat()}))
    pq.write_table(table, tmp_path / "energy.parquet")
    back = pq.read_table(tmp_path / "energy.parquet")
    assert back.schema.field("stored_kwh").metadata[b"unit"] == b"kWh"
    assert back.to_pandas()["time_utc"].iloc[1].isoformat() == "2025-12-01T01:00:00+00:00"


@pytest.mark.parametrize("step_s", [60.0, 300.0, 3600.0, 7000.0])
def test_energy_is_the_same_at_every_output_step(record: Record, step_s: float) -> None:
    energy = tables.energy_table(record, START, step_s)
    run = metrics.summary(record)
    for name in ("grid_import_kwh", "pv_available_kwh", "site_kwh", "it_kwh", "unserved_kwh", "emissions_kg"):
        assert energy[name].sum() == pytest.approx(run[name], rel=1e-9), name
    used = energy["pv_to_load_kwh"] + energy["discharge_kwh"] + energy["import_to_load_kwh"]
    assert used + energy["unserved_kwh"] == pytest.approx(energy["site_kwh"], rel=1e-9)


def test_attribution_can_be_added_up_from_the_files_alone(record: Record) -> None:
    jobs = tables.jobs_table(record, START)
    energy = tables.energy_table(record, START, 3600.0)
    last = {site: np.flatnonzero(energy["site"] == site)[-1] for site in ("site0", "site1")}
    pool = sum(energy["pool_emissions_kg"][row] for row in last.values())
    total = jobs["emissions_kg"].sum() + energy["rest_emissions_kg"].sum() + pool
    assert total == pytest.approx(energy["emissions_kg"].sum(), rel=1e-9)


def test_jobs_say_what_became_of_them(record: Record) -> None:
    jobs = tables.jobs_table(record, START)
    rejected = jobs["state"] == "rejected"
    assert jobs["site"][rejected].tolist() == [""]
    assert np.isnat(jobs["start_utc"][rejected]).all()
    assert np.isnan(jobs["jct_h"][jobs["state"] == "left"]).all()
    assert np.isinf(jobs["deadline_h"]).any()
    assert not jobs["deadline_missed"][np.isinf(jobs["deadline_h"])].any()


def test_events_can_be_thinned(record: Record) -> None:
    everything = tables.events_table(record, START)
    changes = tables.events_table(record, START, "changes")
    assert "submit" in everything["kind"]
    assert "submit" not in changes["kind"]
    assert len(tables.events_table(record, START, "none")["kind"]) == 0
    assert '"surplus_kw": 3.5' in changes["detail"][changes["kind"] == "start"][0]


def test_detail_is_valid_json() -> None:
    plain = tables._plain({"a": np.float64(1.5), "b": [np.int64(2), float("inf")], "c": np.arange(2)})
    assert plain == {"a": 1.5, "b": [2, None], "c": [0, 1]}
