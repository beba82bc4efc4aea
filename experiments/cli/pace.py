"""Progress of long work, estimated between the moments at which it is known."""

from __future__ import annotations

AHEAD = 0.95
"""How far the clock may run ahead towards the end of what is under way."""


class Pace:
    """The share of work that is done: what was told last, and on from there by the pace so far.

    Before anything is done the pace is that of the estimate.

    Parameters
    ----------
    estimated_s : float
        How long all of it will take, roughly [s]; 0 where nobody knows.
    """

    def __init__(self, estimated_s: float = 0.0) -> None:
        self._estimated_s = estimated_s
        self._begun_s: float | None = None
        self._share = 0.0
        self._told_s = 0.0

    def told(self, share: float, at_s: float) -> None:
        """Hear that so large a share is done."""
        if self._begun_s is None:
            self._begun_s = self._told_s = at_s
        if share > self._share:
            self._share, self._told_s = share, at_s

    def now(self, at_s: float) -> tuple[float, float]:
        """The share that is done by now, and how long the rest will take [s]; 0 where that is not known."""
        if self._begun_s is None:
            return 0.0, 0.0
        took_s = self._told_s - self._begun_s
        whole_s = took_s / self._share if self._share > 0 and took_s > 0 else self._estimated_s
        if whole_s <= 0:
            return self._share, 0.0
        most = self._share + AHEAD * (1.0 - self._share)
        share = min(self._share + (at_s - self._told_s) / whole_s, most)
        return share, max(0.0, (1.0 - share) * whole_s)
