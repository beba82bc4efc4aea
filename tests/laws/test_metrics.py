"""Metrics from the records themselves: changes of these lines that the other tests of metrics do not notice."""

from __future__ import annotations

import builders.cases as kit
import numpy as np
import pytest

from tafukt.experiments.results import metrics


def test_waits_and_what_is_stored_come_from_the_records() -> None:
    record = kit.case(3).run("wait-for-sun")
    run = metrics.summary(record)
    waits = [
        o.start_s - job.ask.submit_s for job, o in zip(record.jobs, record.outcomes, strict=True) if o.start_s >= 0
    ]
    assert max(waits) > kit.HOUR
    assert run["wait_p95_h"] == pytest.approx(np.percentile(waits, 95) / kit.HOUR)
    first, before, last = (sum(float(e.stored_j[i]) for e in record.energy) / kit.KWH for i in (0, -2, -1))
    assert len({first, before, last}) == 3
    assert run["stored_start_kwh"] == pytest.approx(first, rel=1e-12)
    assert run["stored_end_kwh"] == pytest.approx(last, rel=1e-12)


@pytest.mark.parametrize(("bound", "captured"), [(99.0, 0.5), (99.5, np.nan), (0.0, 0.005)])
def test_captured_of_a_possible_hundredth_is_told_and_of_less_is_not(bound: float, captured: float) -> None:
    run, base = (of_draw(draw) for draw in (99.5, 100.0))
    assert metrics.comparison(run, base, bound)["captured"] == pytest.approx(captured, nan_ok=True)


def test_a_small_baseline_is_a_baseline() -> None:
    found = metrics.comparison(of_draw(0.25), of_draw(0.5), 0.0)
    assert (found["grid_cut"], found["captured"]) == (0.5, 0.5)


def of_draw(draw_kwh: float) -> dict[str, float]:
    return {"draw_kwh": draw_kwh, "jobs_left": 0, "work_left_gpu_hours": 0.0}
