"""The account of the grid's requests, on the case that `tests/simulator/grid_requests` works out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders.jobs import flat, job, run, scenario, site
from tafukt.experiments.results.grid_events import grid_event_metrics, grid_event_rows
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.scenario import Grid, GridEvent, NodeType

import tafukt

HOUR, KWH = 3600.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)
EVENT = GridEvent(2 * HOUR, 5 * HOUR, 2 * HOUR - 900.0, cut=0.25, pay_per_j=2.0 / KWH, penalty_per_j=5.0 / KWH)


def record(floors: list[float], event: GridEvent = EVENT):  # type: ignore[no-untyped-def]
    zero = flat(0.0, 86_400.0)
    place = replace(site("s0", 1, NODE), grid=Grid(zero, zero, zero, events=(event,)))
    jobs = [job(f"j{i}", 0.0, 1, 10 * HOUR, event_floor=floor) for i, floor in enumerate(floors)]
    return run(jobs, scenario([place]))


def test_the_account_by_hand() -> None:
    """4000 W less 1000 W for three hours: 3 kWh asked and delivered, 6 MAD; speeds as worked out there."""
    (row,) = grid_event_rows(record([0.75] * 6), datetime(2025, 1, 1, tzinfo=UTC))
    assert row["asked_kwh"] == pytest.approx(3.0, rel=1e-12)
    assert row["delivered_kwh"] == pytest.approx(3.0, rel=1e-9)
    assert (row["met"], row["minutes_above"], row["shortfall_kwh"], row["reached_min"]) == (True, 0, 0.0, 0.0)
    assert row["income_mad"] == pytest.approx(6.0, rel=1e-9)
    speeds = [0.85] * 4 + [0.936 - 0.02 * 0.086 / 0.21, 0.936]
    assert row["throughput_75"] == pytest.approx(float(np.mean(speeds)), rel=1e-9)
    assert np.isnan(row["throughput_firm"])
    assert row["gpu_hours_delayed"] == pytest.approx(3.0 * sum(1.0 - s for s in speeds), rel=1e-9)
    assert row["floors_broken"] == 0


def test_a_shortfall_is_counted_and_owed() -> None:
    found = grid_event_metrics(record([1.0] * 6))
    assert found["grid_events_met"] == 0.0
    assert found["grid_shortfall_kwh"] == pytest.approx(3.0, rel=1e-9)
    assert found["grid_income_mad"] == pytest.approx(-15.0, rel=1e-9)


def test_a_run_without_requests_has_a_blank_account() -> None:
    zero = flat(0.0, 86_400.0)
    plain = run([job("j", 0.0, 1, HOUR)], scenario([replace(site("s0", 1, NODE), grid=Grid(zero, zero, zero))]))
    found = grid_event_metrics(plain)
    assert found["grid_events"] == 0
    assert np.isnan(found["grid_events_met"])


def test_an_experiment_with_requests_keeps_most_of_them(tmp_path: Path) -> None:
    results = tafukt.run(
        "demand_response",
        set={"days": 3, "policies": ["fifo"], "sites.use": ["rabat", "dakhla", "fes"], "sites.all.grid.events": [
            {"per_year": 730.0, "between": "19-21", "hours": 3.0, "cut": 0.25, "ramp_down_min": 15.0}
        ]},
        output=tmp_path / "out",
        workers=1,
    )  # fmt: skip
    row = results.complete.iloc[0]
    events = results["fifo"].grid_events
    assert len(events) == row["grid_events"] >= 3
    assert row["grid_events_met"] == pytest.approx(events["met"].mean())
    assert row["grid_events_met"] >= 0.9
    assert row["floors_broken"] == 0
    assert row["balance_residual_kwh"] < 1e-6
