"""How long jobs really take against their users' estimates, learned from those that have ended."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from simulator.record import Floats

BINS = 20


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
        return np.asarray(np.interp(shares, np.linspace(0.0, 1.0, BINS + 1), curve))
