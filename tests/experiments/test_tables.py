"""The tables of a run: exactly the dictionary's columns, and sums that agree with the summary."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import builders.jobs as kit
import builders.records as records_of
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tafukt.experiments.results import dictionary, metrics
from tafukt.experiments.results import tables as results
from tafukt.experiments.results.books import energy_table, parquet
from tafukt.experiments.results.books.reading import Reading
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record

START = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def record() -> Record:
    return records_of.record(unserved_from_s=0.9 * 86_400)


def _frames(record: Record, step_s: float = 3600.0, events: str = "all") -> dict[str, pd.DataFrame]:
    """The tables, written as Parquet and read back."""
    files = results.table_files(record, START, step_s, {}, events)
    return {name.removesuffix(".parquet"): pd.read_parquet(io.BytesIO(data)) for name, data in files.items()}


def test_columns_are_the_dictionary_and_blank_only_where_it_says_so(record: Record) -> None:
    for table, frame in _frames(record).items():
        assert list(frame) == dictionary.names(table)
        for column in dictionary.TABLES[table]:
            assert column.nullable or not frame[column.name].isna().any(), column.name


def test_fields_carry_their_units(record: Record) -> None:
    files = results.table_files(record, START, 3600.0, {}, about={"start": "2025"})
    back = pq.read_table(io.BytesIO(files["energy.parquet"]))
    assert back.schema.field("stored_kwh").metadata[b"unit"] == b"kWh"
    assert back.to_pandas()["time_utc"].iloc[1].isoformat() == "2025-12-01T01:00:00+00:00"


@pytest.mark.parametrize("number", [0, 1, 8, 100])
def test_arrays_are_those_that_pyarrow_would_make(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(number)
    gaps = rng.random(number) < 0.3
    values: dict[str, Any] = {
        "float64": np.where(gaps, np.nan, rng.normal(size=number)),
        "int64": rng.integers(-9, 9, number).tolist(),
        "bool": rng.random(number) < 0.5,
        "timestamp": np.where(gaps, np.datetime64("NaT"), rng.integers(0, 10**12, number).astype("datetime64[ms]")),
        "string": rng.choice(["", "a", "Fès", "مراكش", "\U0001f31e"], number).tolist(),
    }
    for column in (c for columns in dictionary.TABLES.values() for c in columns):
        kind = dictionary.arrow_schema("jobs").field({"timestamp": "end_utc"}.get(column.dtype, "job")).type
        kind = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}.get(column.dtype, kind)
        blank = column.nullable and column.dtype == "float64"
        wanted = pa.array(values[column.dtype], type=kind, from_pandas=blank)
        made = parquet._array(column, values[column.dtype], kind)
        made.validate(full=True)
        assert made.null_count == wanted.null_count
        assert str(made.to_pylist()) == str(wanted.to_pylist())  # nan is not nan
    monkeypatch.setattr(parquet, "TEXT_MOST", 16)
    texts = parquet._array(dictionary.column("jobs", "job"), values["string"], pa.string())
    assert texts.to_pylist() == values["string"]


@pytest.mark.parametrize("step_s", [60.0, 300.0, 3600.0, 7000.0])
def test_energy_is_the_same_at_every_output_step(record: Record, step_s: float) -> None:
    energy = _frames(record, step_s)["energy"]
    run = metrics.summary(record)
    for name in ("grid_import_kwh", "pv_available_kwh", "site_kwh", "it_kwh", "unserved_kwh", "emissions_kg"):
        assert energy[name].sum() == pytest.approx(run[name], rel=1e-9), name
    used = energy["pv_to_load_kwh"] + energy["discharge_kwh"] + energy["import_to_load_kwh"]
    assert (used + energy["unserved_kwh"]).to_numpy() == pytest.approx(energy["site_kwh"].to_numpy(), rel=1e-9)


def test_groups_of_rows_change_no_value(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = results.table_files(record, START, 3600.0, {})["energy.parquet"]
    monkeypatch.setattr(energy_table, "ROWS_AT_ONCE", 1)
    parted = results.table_files(record, START, 3600.0, {})["energy.parquet"]
    groups = [pq.ParquetFile(io.BytesIO(data)).num_row_groups for data in (whole, parted)]
    assert groups == [1, len(record.scenario.sites)]
    assert pq.read_table(io.BytesIO(parted)).equals(pq.read_table(io.BytesIO(whole)))


def test_books_read_while_they_are_settled_give_the_tables_of_the_whole_record() -> None:
    jobs = [kit.job(f"j{i}", i * 3600.0, 4 + 4 * (i % 2), 7200.0, home=f"s{i % 2}") for i in range(6)]
    where = kit.scenario(2)
    backwards = replace(where, sites=where.sites[::-1])
    whole = simulate(backwards, jobs, policy("fifo"))
    reading = Reading(table=energy_table.EnergyTable(where.end_s, START, 3600.0, {}, {}))
    record = simulate(backwards, jobs, policy("fifo"), read=reading.read)
    assert not record.energy, "nobody keeps the books"
    assert record.balance_residual == whole.balance_residual
    assert metrics.summary(record, reading=reading) == pytest.approx(metrics.summary(whole), abs=0, rel=0, nan_ok=True)
    assert results.table_files(record, START, 3600.0, {}, reading=reading) == results.table_files(
        whole, START, 3600.0, {}
    )


def test_attribution_can_be_added_up_from_the_files_alone(record: Record) -> None:
    frames = _frames(record)
    jobs, energy = frames["jobs"], frames["energy"]
    pool = energy.groupby("site").last()["pool_emissions_kg"].sum()
    total = jobs["emissions_kg"].sum() + energy["rest_emissions_kg"].sum() + pool
    assert total == pytest.approx(energy["emissions_kg"].sum(), rel=1e-9)


def test_jobs_say_what_became_of_them(record: Record) -> None:
    jobs = _frames(record)["jobs"]
    rejected = jobs[jobs["state"] == "rejected"]
    assert rejected["site"].tolist() == [""]
    assert rejected["start_utc"].isna().all()
    assert jobs.loc[jobs["state"] == "left", "jct_h"].isna().all()
    assert np.isinf(jobs["deadline_h"]).any()
    assert not jobs.loc[np.isinf(jobs["deadline_h"]), "deadline_missed"].any()


def test_events_can_be_thinned(record: Record) -> None:
    everything = _frames(record)["events"]
    changes = _frames(record, events="changes")["events"]
    assert "submit" in set(everything["kind"])
    assert "submit" not in set(changes["kind"])
    assert len(_frames(record, events="none")["events"]) == 0
    assert '"surplus_kw": 3.5' in changes.loc[changes["kind"] == "start", "detail"].iloc[0]


TINY = """
name = "tiny"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 30
policies = ["fifo"]
[sites]
use = ["rabat", "dakhla"]
[sites.all]
cluster.nodes = 2
pv.kwp_per_node = 8
battery.self_discharge_per_day = 0.05
[workload]
kind = "generator"
load = 0.5
"""


def test_a_real_run_adds_up_from_its_files_alone(tmp_path: Path) -> None:
    """Jobs + the sites' own part + what the batteries carry = total, for energy, carbon and money."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.scenario import build
    from tafukt.simulator.engine.engine import simulate

    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    loaded = load_experiment(path)
    inputs = build(loaded, 1)
    real = simulate(inputs.scenario, inputs.jobs, loaded.policies[0].load(), seed=1, settings=inputs.settings)
    frames = _frames(real, step_s=1800.0)
    jobs, energy, run = frames["jobs"], frames["energy"], metrics.summary(real, inputs.costs)
    pool = energy.groupby("site").last()
    assert energy["discharge_kwh"].sum() > 0
    to_battery = energy["import_to_battery_kwh"].sum()
    for name, total, carried in (
        ("energy_kwh", run["site_kwh"], 0.0),
        ("grid_kwh", run["grid_import_kwh"], to_battery),
        ("pv_kwh", energy["pv_to_load_kwh"].sum(), 0.0),
        ("battery_kwh", energy["discharge_kwh"].sum(), 0.0),
        ("emissions_kg", run["emissions_kg"], pool["pool_emissions_kg"].sum()),
        ("cost_mad", run["energy_charge_mad"], pool["pool_cost_mad"].sum()),
    ):
        assert jobs[name].sum() > 0, name
        assert jobs[name].sum() + energy[f"rest_{name}"].sum() + carried == pytest.approx(total, rel=1e-9), name
    assert run["balance_residual_kwh"] < 1e-9 * run["site_kwh"]
    assert energy["busy_gpus"].max() <= energy["online_gpus"].max()
