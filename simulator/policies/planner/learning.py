"""Learning of planners: how long jobs really take against their users' estimates, and how much work comes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import exp

import numpy as np

from tafukt.simulator.units import Floats

BINS = 20
EDGES: Floats = np.linspace(0.0, 1.0, BINS + 1)


class Survival:
    """The chance that a job is still running at a share of its estimate, by class, from what was seen so far.

    Kaplan and Meier (1958), https://doi.org/10.1080/01621459.1958.10501452, in bins of a twentieth of the
    estimate: jobs still running count as far as they have come.

    Parameters
    ----------
    prior : float
        With how many jobs that run to their estimate each class begins (a choice: 2).
    """

    def __init__(self, prior: float = 2.0) -> None:
        self._prior = prior
        self._seen: defaultdict[str, Floats] = defaultdict(lambda: np.full(BINS, float(prior)))
        self._ends: defaultdict[str, Floats] = defaultdict(lambda: np.zeros(BINS))
        self._curves: dict[str, Floats] = {}

    def passed(self, kind: str, before: float, share: float) -> None:
        """A running job has got from one share of its estimate to another."""
        first, last = min(int(before * BINS), BINS), min(int(share * BINS), BINS)
        if last > first:
            self._seen[kind][first:last] += 1.0
            self._curves.pop(kind, None)

    def ended(self, kind: str, share: float) -> None:
        """A job has ended at this share of its estimate."""
        at = min(int(share * BINS), BINS - 1)
        self._seen[kind][at] += 1.0
        self._ends[kind][at] += 1.0
        self._curves.pop(kind, None)

    def at(self, kind: str, shares: Floats) -> Floats:
        """The chance to be still running at these shares of the estimate; never quite 0."""
        curve = self._curves.get(kind)
        if curve is None:
            lives = 1.0 - self._ends[kind] / np.maximum(self._seen[kind], 1.0)
            curve = np.maximum(np.concatenate(([1.0], np.cumprod(lives))), 1e-3)
            self._curves[kind] = curve
        return np.asarray(np.interp(shares, EDGES, curve))


@dataclass(frozen=True)
class Mean:
    """The mean of what comes: work by the hour [GPU-h/h], how long its jobs run and may wait [h], their intensity."""

    gpus: float
    run_h: float
    slack_h: float
    intensity: float


class Arrivals:
    """Expected work of an hour to come, from what has come; newer hours count more.

    Parameters
    ----------
    memory_h : float
        The age at which an hour counts for 1/e (a choice: 24) [h].
    least_h : float
        Expectations grow to their full size over so many first hours (a choice: 12) [h].
    """

    def __init__(self, memory_h: float = 24.0, least_h: float = 12.0) -> None:
        self._keep = exp(-1.0 / memory_h)
        self._least_h = least_h
        self._hours = 0
        self._weight = 0.0
        self._sums = np.zeros(4)
        self._now = np.zeros(4)

    def came(self, gpu_h: float, run_h: float, slack_h: float, intensity: float) -> None:
        """A job has come; its work weighs in all means."""
        self._now += gpu_h * np.array([1.0, run_h, slack_h, intensity])

    def hour_over(self) -> None:
        """An hour has passed."""
        self._hours += 1
        self._weight = self._keep * self._weight + 1.0
        self._sums = self._keep * self._sums + self._now
        self._now = np.zeros(4)

    def mean(self) -> Mean | None:
        """Expectation of the hours to come; `None` where nothing has come."""
        work, run, slack, intensity = self._sums.tolist()
        if work <= 0.0:
            return None
        certain = min(1.0, self._hours / self._least_h)
        return Mean(certain * work / self._weight, run / work, slack / work, intensity / work)
