"""Outcomes in columns: the same as a list of them, and a few dozen bytes each."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import builders.jobs as kit
import pytest

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import END_STATES, Outcome, Outcomes

LISTED = [
    Outcome(state, place - 1, 10.0 * place, 20.0 * place, 30.0, 4.0 * place, 5.0, 1, 2, 3, place)
    for place, state in enumerate(END_STATES)
]


def test_columns_are_what_they_were_made_of() -> None:
    columns = Outcomes.of(LISTED)
    assert columns == LISTED
    assert [*columns] == LISTED
    assert columns[1:4] == LISTED[1:4]
    assert columns[-1] == LISTED[-1]
    assert Outcomes.of(columns) is columns
    assert pickle.loads(pickle.dumps(columns)) == LISTED
    with pytest.raises(IndexError):
        columns[len(LISTED)]
    for item in fields(Outcome):
        assert columns.column(item.name).tolist() == [getattr(outcome, item.name) for outcome in LISTED]


def test_nothing_has_happened_at_first() -> None:
    (outcome,) = Outcomes(1)
    assert replace(outcome, start_s=0.0, end_s=0.0) == Outcome(start_s=0.0, end_s=0.0)
    assert math.isnan(outcome.start_s)
    assert math.isnan(outcome.end_s)


def test_a_million_are_70_megabytes() -> None:
    columns = Outcomes(1000)
    assert sum(len(getattr(columns, name).tobytes()) for name in columns.__slots__) <= 70_000


def test_an_outcome_is_read_and_not_written() -> None:
    with pytest.raises(FrozenInstanceError):
        LISTED[0].kills = 1  # type: ignore[misc]


def test_sites_in_another_order_are_named_by_their_new_places() -> None:
    sites = [kit.site("s1", 2), kit.site("s0", 2)]
    record = simulate(kit.scenario(sites), [kit.job("x", 0.0, 8, 3600.0, home="s1")], policy("fifo"))
    (outcome,) = record.outcomes
    assert record.scenario.sites[outcome.site].name == "s1"
    assert outcome.site == 0 == record.occupancy.site[0]
