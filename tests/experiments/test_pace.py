"""Progress between two runs: by the clock, never to the end."""

from __future__ import annotations

import pytest

from tafukt.experiments.cli.pace import Pace


def test_a_long_run_moves_the_bar_before_anything_is_done() -> None:
    pace = Pace(estimated_s=100.0)
    pace.told(0.0, 1000.0)
    assert pace.now(1025.0) == (pytest.approx(0.25), pytest.approx(75.0))
    share, left_s = pace.now(5000.0)
    assert share == pytest.approx(0.95)
    assert left_s == pytest.approx(5.0)


def test_the_pace_is_that_of_what_is_done() -> None:
    pace = Pace(estimated_s=100.0)
    pace.told(0.0, 0.0)
    pace.told(0.5, 20.0)  # half took 20 s: the whole takes 40
    assert pace.now(20.0) == (pytest.approx(0.5), pytest.approx(20.0))
    assert pace.now(30.0) == (pytest.approx(0.75), pytest.approx(10.0))


def test_nobody_knows() -> None:
    assert Pace().now(1.0) == (0.0, 0.0)
    pace = Pace()
    pace.told(0.0, 0.0)
    assert pace.now(9.0) == (0.0, 0.0)
