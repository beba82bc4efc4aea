"""Promised watts and GPUs of every site, hour by hour, so that the next plan counts on what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tafukt.simulator.scenario import NodeType, Site
from tafukt.simulator.units import HOUR_S, Floats, Ints

Span = tuple[float, float]
"""A stretch of running: from, to [slots of simulation time]."""

BEYOND_H = 24 * 30  # how far past the end of the window promises are kept

# What was promised and taken back leaves a little rounding behind [GPUs].
GPU_ROUNDING = 1e-6


class Promise(NamedTuple):
    """A site's promise to a job.

    `spans` are when it is expected to draw `watts`, `held` when it may hold its `gpus`: by its user's estimate, which
    most jobs do not use up. Whoever plans on more than that might find no room.
    """

    site: int
    spans: Sequence[Span]
    held: Sequence[Span]
    watts: float
    gpus: int


class HourTable:
    """IT power and GPUs promised, by slot, which is an hour or a part of one, and site.

    Empty nodes are part of the power from the start, and nodes that are out of service by plan count as taken.

    Parameters
    ----------
    sites : sequence of Site
    slots : int
        How many slots there are up to the end of the window.
    slot_s : float
        Their length [s].

    Attributes
    ----------
    watts, gpus : array, shape (slots, sites)
        Slots come first: those that one decision looks at lie side by side.
    changes : list of int
        How often anything promised at each site has changed.
    """

    def __init__(self, sites: Sequence[Site], slots: int, slot_s: float = HOUR_S) -> None:
        self.slot_s = slot_s
        shape = slots + round(BEYOND_H * HOUR_S / slot_s), len(sites)
        self.watts: Floats = np.zeros(shape)
        self.watts += [site.node.empty_w * site.nodes for site in sites]
        self.gpus: Floats = np.zeros(shape)
        self.changes = [0] * len(sites)
        self._columns = list(zip(self.watts.T, self.gpus.T, strict=True))
        self._booked: dict[int, Promise] = {}
        for i, site in enumerate(sites):
            for spans, nodes in _out_of_service(site, shape[0] * slot_s, slot_s):
                self._add(Promise(i, spans, spans, -nodes * site.node.empty_w, nodes * site.node.gpus), 1.0)

    def book(self, index: int, promise: Promise) -> None:
        """Promise a job these spans on a site, in place of what it was promised before."""
        self.withdraw(index)
        self._booked[index] = promise
        self._add(promise, 1.0)

    def withdraw(self, index: int) -> None:
        """Nothing more is promised to a job."""
        booked = self._booked.pop(index, None)
        if booked is not None:
            self._add(booked, -1.0)

    def booked(self, index: int) -> Promise | None:
        """The promise to a job."""
        return self._booked.get(index)

    def add(self, sites: Ints, slots: Ints, watts: Floats, gpus: float) -> None:
        """Promise whole slots, each on a site of its own."""
        self.watts[slots, sites] += watts
        self.gpus[slots, sites] += gpus

    def _add(self, promise: Promise, sign: float) -> None:
        self.changes[promise.site] += 1
        watts, gpus = self._columns[promise.site]
        _spread(watts, promise.spans, sign * promise.watts)
        _spread(gpus, promise.held, sign * promise.gpus)


def _spread(column: Floats, spans: Sequence[Span], value: float) -> None:
    """Add a value to the slots of some spans, in part to those that they cover in part."""
    end = len(column) - 1.0
    for begin, until in spans:
        until = min(until, end)
        first, last = int(begin), int(until)
        if first == last:
            column[first] += value * (until - begin)
        elif first < last:
            part = column[first : last + 1]
            part += value
            if begin > first:
                part[0] -= value * (begin - first)
            part[-1] -= value * (last + 1 - until)


def _out_of_service(site: Site, end_s: float, slot_s: float) -> list[tuple[list[Span], int]]:
    """Spans [slots] in which nodes of a site are not there by plan, and how many of them."""
    found = []
    begin_s = min(site.online_s, end_s)
    if begin_s > 0.0:
        found.append(([(0.0, begin_s / slot_s)], site.nodes))
    for node in range(min((count for _, count in site.nodes_online), default=site.nodes), site.nodes):
        spans = [(max(out_s, begin_s), back_s) for out_s, back_s in site.withdrawn(node, end_s)]
        found.append(([(out_s / slot_s, back_s / slot_s) for out_s, back_s in spans if out_s < back_s], 1))
    return found


def added_w(node: NodeType, gpus: int, intensity: float) -> float:
    """IT power that a job adds to a site whose nodes would else be empty [W].

    Idle power counts in so far as the node would not draw it anyway: all but sleep power where nodes sleep, nothing
    where they never do. A gang takes whole nodes; of a node that it shares, it bears its part.
    """
    return gpus * ((node.idle_w - node.empty_w) / node.gpus + intensity * node.dynamic_w)


def plannable(size: Floats | float, gpus: int, spare: float) -> Floats:
    """GPUs of each site that a job asking for so many may plan with.

    `spare` is the share of a site that whoever may go elsewhere leaves for those whose data keep them there; a gang
    that needs nearly all of a site may have it all.
    """
    return np.maximum(size * (1.0 - spare), np.minimum(size, gpus))
