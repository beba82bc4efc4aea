"""What has been promised: which site will run whom in which hour, so that the next plan counts on what is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.units import HOUR_S, Floats

Span = tuple[float, float]
"""A stretch of running: from, to [slots of simulation time]."""

BEYOND_H = 24 * 21  # how far past the end of the window promises are kept


class HourTable:
    """IT power and GPUs promised, by site and slot, which is an hour or a part of one.

    Sleeping nodes are part of the power from the start.

    `changes` counts, for every site, how often its row has changed.
    """

    def __init__(self, view: View) -> None:
        self.slot_s = view.slots.slot_s
        hours = view.slots.hours + round(BEYOND_H * HOUR_S / self.slot_s)
        self.watts: Floats = np.zeros((len(view.sites), hours))
        self.gpus: Floats = np.zeros((len(view.sites), hours))
        self.changes = [0] * len(view.sites)
        self._booked: dict[int, tuple[int, tuple[Span, ...], float, int]] = {}
        for i, site in enumerate(view.sites):
            self.watts[i] = site.spec.node.sleep_w * site.spec.nodes

    def book(self, job: JobState, site: int, spans: Sequence[Span], view: View, gpus: int = 0) -> None:
        """Promise a job these spans on a site, in place of what it was promised before."""
        self.withdraw(job.index)
        gpus = gpus or job.ask.gpus
        watts = view.sites[site].nodes.draws_w(gpus, job.ask.intensity)
        last = self.watts.shape[1] - 1.0
        kept = tuple((begin, min(end, last)) for begin, end in spans if begin < min(end, last))
        self._booked[job.index] = (site, kept, watts, gpus)
        self._add(site, kept, watts, gpus)

    def start(self, job: JobState, site: int, left_s: float, view: View) -> None:
        """What a running job is expected to hold until it ends."""
        begin = view.now_s / self.slot_s
        self.book(job, site, ((begin, begin + left_s / self.slot_s),), view, job.gpus)

    def withdraw(self, index: int) -> None:
        """Nothing more is promised to a job."""
        booked = self._booked.pop(index, None)
        if booked is not None:
            site, spans, watts, gpus = booked
            self._add(site, spans, -watts, -gpus)

    def free(self, rows: Sequence[int], hours: slice, gpus: int, view: View, spare: float = 0.0) -> Floats:
        """For every site and hour, how many GPUs a job that asks for so many may still plan with.

        `spare` is the share of each site that is left for others; a gang that needs nearly
        the whole of a site may have it all.
        """
        size = np.array([float(view.sites[i].spec.gpus) for i in rows])[:, None]
        size = np.maximum(size * (1.0 - spare), np.minimum(size, gpus))
        # What was promised and taken back leaves a little rounding behind.
        return np.asarray(size - self.gpus[np.asarray(rows), hours] + 1e-6)

    def _add(self, site: int, spans: Sequence[Span], watts: float, gpus: int) -> None:
        self.changes[site] += 1
        for begin, end in spans:
            first, last = int(begin), int(end)
            for table, value in ((self.watts, watts), (self.gpus, gpus)):
                row = table[site]
                row[first : last + 1] += value
                row[first] -= value * (begin - first)
                row[last] -= value * (last + 1 - end)
