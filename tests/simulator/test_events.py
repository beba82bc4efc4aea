"""Events in columns are the events that were noted, in order, with what was told of them."""

from __future__ import annotations

import numpy as np
import pytest

from tafukt.simulator.engine.event_log import Journal
from tafukt.simulator.record import NOTHING, Event, Events

NOTED = [
    Event(0.0, "submit", 0),
    Event(0.5, "hold", 0, 1, "the sun comes", {"until_s": 7.25}),
    Event(0.5, "outage", -1, 2, "", {"node": 3}),
    Event(7.25, "start", 0, 1),
    Event(9.0, "end", 0, 1, "done", {"state": "done"}),
]


def noted() -> Events:
    """The events as a run notes them."""
    log = Journal([], "all")
    for event in NOTED:
        log.note(*event)
    return log.events


def test_events_come_out_as_they_went_in() -> None:
    events = noted()
    assert [*events] == NOTED
    assert len(events) == len(NOTED)
    assert events[1] == NOTED[1]
    assert events[-1] == NOTED[-1]
    assert events[1:3] == NOTED[1:3]
    assert events == NOTED
    assert events == Events.of(NOTED)
    assert events != NOTED[:-1]
    with pytest.raises(IndexError):
        events[len(NOTED)]


def test_some_kinds_of_events() -> None:
    assert [*noted().only(("start", "end", "kill"))] == NOTED[3:]
    assert [*noted().only(())] == []


def test_sites_in_another_order() -> None:
    moved = noted().at_other_places(np.array([2, 0, 1, -1]))
    assert [event.site for event in moved] == [-1, 0, 1, 0, 0]
    assert moved.column("site").tolist() == [-1, 0, 1, 0, 0]
    assert [event.site for event in moved.only(("hold", "outage"))] == [0, 1]
    assert [event.site for event in moved.at_other_places(np.array([5, 6, 7, -1]))] == [-1, 5, 6, 5, 5]
    assert [event.site for event in noted()] == [-1, 1, 2, 1, 1]


def test_what_many_events_carry_is_kept_once() -> None:
    log, shared = Journal([], "all"), {"state": "done"}
    log.share(shared)
    for number in range(5):
        log.note(float(number), "end", number, 0, "", shared)
        log.note(float(number), "submit", number, -1, "", NOTHING)
    assert len(log.events.details) == 2
    assert all(event.detail is shared for event in log.events if event.kind == "end")
