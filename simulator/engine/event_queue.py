"""Simulated time: SimPy's environment, told absolute times and one integer that breaks every tie."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import Event

new_event = Event.__new__


class Kind:
    """Order of events at one instant: ends, then outages and repairs, arrivals, last timers.

    Each is the upper half of the integer that breaks a tie; the lower half is an index. Plain integers,
    because arithmetic on an enumeration costs as much as the event itself.
    """

    END = 0 << 32
    PHASE = 1 << 32
    FAULT = 2 << 32
    SUPPLY = 3 << 32
    TRANSFER = 4 << 32
    ARRIVAL = 5 << 32
    TIMER = 6 << 32


class Clock(simpy.Environment):
    """An environment in which a callback is put at an absolute time with a written tie rule."""

    now: float = 0.0  # a plain attribute, read more often than anything else

    def at(self, time_s: float, kind: int, index: int, call: Callable[[Event], None], value: Any = None) -> Event:
        """Call `call(event)` at `time_s` [s]; ties go by kind, then by index, then by order of asking.

        SimPy's own `schedule` takes a delay, and `now + (t - now)` is not always `t`.
        """
        event = new_event(Event)  # as `Event(self)`, without what no process will ever ask for
        event._value, event.callbacks = value, [call]
        # SimPy types the second entry as one of its own two priorities; any integer sorts.
        heappush(self._queue, (time_s, kind + index, next(self._eid), event))  # type: ignore[misc]
        return event

    def step(self) -> None:
        """Let the next event happen; none of ours ever fails, so there is nothing to look after."""
        self.now, _, _, event = heappop(self._queue)
        self._now = self.now
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for call in callbacks:
            call(event)


def cancel(event: Event | None) -> None:
    """Let an event that has not happened yet pass without effect."""
    if event is not None and event.callbacks is not None:
        event.callbacks.clear()
