"""The answer in a sentence: what is saved, at what lateness, never averaged over an axis, never minus zero."""

from __future__ import annotations

from typing import Any

import pytest

from tafukt.experiments.results.answer import answer
from tafukt.experiments.results.numbers import number_text


def row(policy: str, draw_kwh: float, base_kwh: float = 100.0, **more: Any) -> dict[str, Any]:
    whole = {
        "status": "complete",
        "policy": policy,
        "seed": 1,
        "draw_kwh": draw_kwh,
        "grid_cut": 1 - draw_kwh / base_kwh,
        "captured": None,
        "wait_mean_h": 1.0,
        "deadline_miss_rate": 0.0,
        "jobs_left": 0,
        "jobs_rejected": 0,
    }
    return whole | more


def test_the_cut_is_told_with_its_lateness_and_the_best_that_is_punctual() -> None:
    rows = [row("fifo", 100.0), row("greedy", 74.0, deadline_miss_rate=0.09), row("careful", 86.0)]
    first, second = answer(rows, "fifo")
    assert "greedy draws 26.0% less grid electricity than fifo: 74 instead of 100 kWh" in first
    assert "9.0% of the deadlines are missed instead of none" in first
    assert second == "Of those that miss no more deadlines than fifo, careful draws 14.0% less."
    assert answer(rows[:2], "fifo")[1] == "Every policy that draws less misses more deadlines than fifo."


def test_an_axis_is_never_pooled() -> None:
    """A mean over both would be 25 % for the first policy."""
    rows = [row("fifo", 100.0, **{"sites.all.battery.kwh": kwh}) for kwh in (0, 50)]
    rows += [row("solar", 90.0, **{"sites.all.battery.kwh": 0}), row("solar", 60.0, **{"sites.all.battery.kwh": 50})]
    said = " ".join(answer(rows, "fifo", ["sites.all.battery.kwh"]))
    assert "10.0% to 40.0% less" in said
    assert "largest at battery 50 kWh (solar), smallest at battery 0 kWh (solar)" in said
    assert "25" not in said
    alone = " ".join(answer([r for r in rows if r["policy"] == "solar"], "fifo", ["sites.all.battery.kwh"]))
    assert "ranges from 60 kWh (solar at battery 50 kWh) to 90 kWh (solar at battery 0 kWh)" in alone


def test_work_left_undone_and_jobs_refused_are_told() -> None:
    rows = [row("fifo", 100.0), row("lazy", 10.0, jobs_left=3, grid_cut=None), row("solar", 90.0, jobs_rejected=1)]
    said = answer(rows, "fifo")
    assert said[0].startswith("solar draws 10.0% less")
    assert said[1] == "1 job was refused, because no allowed site can hold it; it draws nothing."
    assert said[2] == "lazy left jobs undone and cannot be compared."


@pytest.mark.parametrize("more", [0.0, 1e-9, 4e-5])
def test_nobody_draws_minus_zero_more(more: float) -> None:
    said = answer([row("fifo", 100.0), row("easy", 100.0 * (1 + more))], "fifo")[0]
    assert said == "No policy draws less grid electricity than fifo; the closest, easy, draws as much."
    assert "30.0% more" in answer([row("fifo", 100.0), row("easy", 130.0)], "fifo")[0]


@pytest.mark.parametrize(
    ("pattern", "value", "text"),
    [
        ("{:.1%}", -0.0, "0.0%"),
        ("{:.1%}", -0.0004, "0.0%"),
        ("{:.1%}", -0.0006, "-0.1%"),
        ("{:+,.2f}", -0.001, "0.00"),
        ("{:+,.2f}", 1.5, "+1.50"),
        ("{:,.0f}", -1234.0, "-1,234"),
    ],
)
def test_what_rounds_to_zero_has_no_sign(pattern: str, value: float, text: str) -> None:
    assert number_text(pattern, value) == text


def test_jobs_that_a_policy_refuses_are_told_with_the_cut_for_the_work_done() -> None:
    rows = [row("fifo", 100.0), row("picky", 60.0, jobs_refused=3, grid_cut_per_work=0.05)]
    told = answer(rows, "fifo")
    assert "picky refuses 3 jobs, which draw nothing: 40.0% less in all, for the work done 5.0% less." in told
    rows[1]["grid_cut_per_work"] = -0.2
    assert "picky refuses 3 jobs, which draw nothing: 40.0% less in all, for the work done 20.0% more." in answer(
        rows, "fifo"
    )
