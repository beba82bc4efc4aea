"""Statistics: intervals and tests against scipy and by hand, pairing by seed, and the warnings."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tafukt.experiments.results import statistics

VALUES = [10.0, 12.0, 9.0, 11.5, 10.7]


def test_interval_is_student_t() -> None:
    mean, half, n = statistics.mean_interval([*VALUES, math.nan])
    low, high = stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (n, mean) == (5, pytest.approx(np.mean(VALUES)))
    assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    mean, half, n = statistics.mean_interval([3.0])
    assert (mean, n) == (3.0, 1)
    assert math.isnan(half)
    assert math.isnan(statistics.mean_interval([])[0])


def test_p_is_that_of_the_paired_test() -> None:
    other = [9.0, 11.0, 9.5, 10.0, 10.1]
    expected = stats.ttest_rel(VALUES, other).pvalue
    assert statistics.paired_p(np.array(VALUES) - np.array(other)) == pytest.approx(expected)
    assert statistics.paired_p(np.array([1.0, 1.0, 1.0])) == 0.0
    assert statistics.paired_p(np.array([0.0, 0.0, 0.0])) == 1.0
    assert math.isnan(statistics.paired_p(np.array([1.0])))


def test_holm_by_hand() -> None:
    """Holm (1979): the smallest of four times 4, the next times 3, ... and never falling."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = statistics.holm([0.9, math.nan, 0.8])
    assert corrected[0] == 1.0
    assert math.isnan(corrected[1])


def _summary(spread: float = 20.0, gap: float = 10.0, seeds: int = 6) -> pd.DataFrame:
    """Seeds differ widely, the policies differ by nearly the same within each seed."""
    rng = np.random.default_rng(1)
    rows = []
    for axis in (1.0, 2.0):
        for seed in range(seeds):
            base = 100.0 + spread * rng.standard_normal()
            for policy, less in (("fifo", 0.0), ("solar", gap), ("none", 0.0)):
                noise = 0.5 * rng.standard_normal() if policy == "solar" else rng.standard_normal()
                draw = base - less + (noise if policy != "fifo" else 0.0)
                rows.append((axis, policy, seed, draw, 0.1, 0))
    return pd.DataFrame(rows, columns=["axis", "policy", "seed", "draw_kwh", "wait_mean_h", "jobs_left"])


def test_pairing_sees_what_the_spread_between_seeds_hides() -> None:
    summary = _summary()
    pairs = statistics.paired_differences(summary, ["axis"], "fifo", ["draw_kwh"])
    assert [(pair.group, pair.policy) for pair in pairs] == [
        ("axis 1", "solar"),
        ("axis 1", "none"),
        ("axis 2", "solar"),
        ("axis 2", "none"),
    ]
    solar, none = pairs[0], pairs[1]
    assert solar.seeds == 6
    assert solar.high < 0
    assert solar.p < solar.p_holm < 0.001
    assert none.includes_zero
    fifo = statistics.mean_interval(summary.loc[summary["policy"] == "fifo", "draw_kwh"].to_numpy())
    assert fifo[1] > abs(solar.difference) / 2  # unpaired, the intervals overlap


def test_only_shared_seeds_are_paired() -> None:
    summary = _summary()
    summary = summary[~((summary["policy"] == "solar") & (summary["seed"] == 0))]
    pairs = statistics.paired_differences(summary, ["axis"], "fifo", ["draw_kwh"])
    assert [(pair.policy, pair.seeds) for pair in pairs[:2]] == [("none", 6), ("solar", 5)]


def test_means_have_a_row_per_scenario_and_policy() -> None:
    table = statistics.means(_summary(), ["axis"], ["draw_kwh"])
    assert len(table) == 6
    assert table["seeds"].tolist() == [6] * 6
    assert (table["draw_kwh_half"] > 0).all()


def test_warnings() -> None:
    few = _summary(seeds=2)
    pairs = statistics.paired_differences(few, ["axis"], "fifo", ["draw_kwh"])
    assert all(math.isnan(pair.low) and math.isnan(pair.p) for pair in pairs)  # as in the report: none from two seeds
    said = "\n".join(statistics.warnings(few, ["axis"], pairs))
    assert "only 2 seeds" in said
    assert "includes zero" not in said
    many = _summary()
    pairs = statistics.paired_differences(many, ["axis"], "fifo", ["draw_kwh"])
    said = "\n".join(statistics.warnings(many, ["axis"], pairs))
    assert "only" not in said
    assert "includes zero" in said
    assert "draw_kwh of none at axis 1" in said
    assert "solar at" not in said
    assert "empty sites" in said
    left = many.assign(jobs_left=np.where(many["policy"] == "none", 3, 0))
    assert "12 runs left work undone (none)" in "\n".join(statistics.warnings(left, ["axis"], []))
