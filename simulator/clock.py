"""Simulated time: SimPy's environment, told absolute times and one integer that breaks every tie."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import Event

# Event times lie on a grid of 1/1024 s: sums of such times are exact in binary, so that two things
# meant for one instant do happen at one instant.
TICKS_PER_S = 1024.0


def on_grid(time_s: float) -> float:
    """The nearest time on the grid of 1/1024 s [s]."""
    return round(time_s * TICKS_PER_S) / TICKS_PER_S


class Kind(IntEnum):
    """What happens first at one instant: ends, then outages and repairs, arrivals, last the round."""

    END = 0
    PHASE = 1
    FAULT = 2
    SUPPLY = 3
    TRANSFER = 4
    ARRIVAL = 5
    TIMER = 6
    ROUND = 7


class Clock(simpy.Environment):
    """An environment in which a callback is put at an absolute time with a written tie rule."""

    def at(self, time_s: float, kind: Kind, index: int, call: Callable[[Event], None], value: Any = None) -> Event:
        """Call `call(event)` at `time_s` [s]; ties go by kind, then by index, then by order of asking.

        SimPy's own `schedule` takes a delay, and `now + (t - now)` is not always `t`.
        """
        event = Event(self)
        event._ok = True
        event._value = value
        event.callbacks = [call]
        # SimPy types the second entry as one of its own two priorities; any integer sorts.
        heappush(self._queue, (time_s, (kind << 32) + index, next(self._eid), event))  # type: ignore[misc]
        return event

    def step(self) -> None:
        """Let the next event happen; none of ours ever fails, so there is nothing to look after."""
        self._now, _, _, event = heappop(self._queue)
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for call in callbacks:
            call(event)


def cancel(event: Event | None) -> None:
    """Let an event that has not happened yet pass without effect."""
    if event is not None and event.callbacks is not None:
        event.callbacks.clear()
