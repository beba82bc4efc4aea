"""Costs of runs over hours that cost differently: of every start, the cheapest window, the cheapest hours."""

from __future__ import annotations

import numpy as np

from tafukt.simulator.units import Floats, Ints

NEVER = 1e12


class RunCosts:
    """Costs of runs in one piece at each site, from the cost of every hour.

    The cost of a run is the integral of the rate over it, looked up in the sums of the hours before: no run is added
    up hour by hour.

    Parameters
    ----------
    rate : array, shape (hours, sites)
        Cost per hour in each hour; what comes after the last is like the last.
    """

    def __init__(self, rate: Floats) -> None:
        self._rate = rate
        self._total = np.zeros((len(rate) + 1, rate.shape[1]))
        np.add.accumulate(rate, 0, None, self._total[1:])

    def every_hour(self, begin_h: float, starts: int, left_h: float) -> Floats:
        """Runs of `left_h` hours begun at `begin_h` and at every whole hour after it, shape (starts, sites).

        All must end before the last known hour is over.
        """
        total, rate = self._total, self._rate
        end_h = begin_h + left_h
        first, last = int(begin_h), int(end_h)
        ends = slice(last, last + starts)
        cost = total[ends] - total[first : first + starts]
        cost += (end_h - last) * rate[ends]
        if begin_h > first:
            cost -= (begin_h - first) * rate[first : first + starts]
        return cost

    def from_now_on(self, begin_h: float, starts: int, left_h: float) -> Floats:
        """Runs begun at `begin_h` and at the whole hours after it, shape (starts, sites)."""
        total, rate, whole = self._total, self._rate, int(begin_h)
        cost = self.every_hour(whole, starts, left_h)
        if begin_h > whole:
            end_h = begin_h + left_h
            last = int(end_h)
            cost[0] = total[last] - total[whole] + (end_h - last) * rate[last] - (begin_h - whole) * rate[whole]
        return cost

    def until(self, times_h: Floats) -> Floats:
        """The cost of running from the first hour until each of some times, shape (times, sites) as the times have."""
        whole = np.minimum(times_h.astype(np.int64), len(self._rate) - 1)
        sites = np.arange(self._rate.shape[1])
        return np.asarray(self._total[whole, sites] + (times_h - whole) * self._rate[whole, sites])


def cheapest_window(cost: Floats, weights: Floats) -> tuple[int, int, float]:
    """The start and site of the cheapest run in one piece.

    Parameters
    ----------
    cost : array, shape (sites, hours)
        What running in each hour costs.
    weights : array, shape (hours of the run,)
        Share of each hour of the run that is expected to be run.

    Returns
    -------
    hour, site : int
        The first hour wins among equals, then the first site.
    cost : float
    """
    n = len(weights)
    windows = np.lib.stride_tricks.sliding_window_view(cost, n, axis=1) @ weights
    hour, site = divmod(int(np.argmin(windows.T)), len(cost))
    return hour, site, float(windows[site, hour])


def cheapest_hours(cost: Floats, weights: Floats, lives: Floats, switch: Floats, here: int) -> tuple[Ints, Ints, float]:
    """The cheapest hours and sites for a job that may stop and go on elsewhere, by dynamic programming.

    Parameters
    ----------
    cost : array, shape (sites, hours)
        What running in each hour costs; the job must be done by the last.
    weights : array, shape (n,)
        Share of each hour of work that is run if the job lives to begin it.
    lives : array, shape (n,)
        Chance that it lives through each hour of work, once begun.
    switch : array, shape (sites,)
        What starting, or going on after a stop, costs at each site.
    here : int
        The row on which it runs now, -1 for none.

    Returns
    -------
    hours, sites : array of int
        Hours from the first on, and rows of `cost`.
    cost : float
    """
    sites, span = cost.shape
    n = len(weights)
    # Column u of `value` is the cost to come with u hours of work done; the last row is "not running".
    value = np.full((sites + 1, n + 1), NEVER)
    value[:, n] = 0.0
    runs = np.empty((span, sites, n), dtype=bool)
    goes = np.empty((span, n), dtype=bool)
    where = np.empty((span, n), dtype=np.int64)
    column = np.arange(n)
    for hour in range(span - 1, -1, -1):
        run = value[:sites, 1:] * lives
        run += cost[:, hour, None] * weights
        begun = run + switch[:, None]
        best = begun.argmin(axis=0)
        begin = begun[best, column]
        off = value[sites, :n]
        goes[hour] = begin <= off  # the earlier among equals
        where[hour] = best
        stop = np.minimum(off, begin)
        runs[hour] = run <= stop
        value[:sites, :n] = np.minimum(run, stop)
        value[sites, :n] = stop
    state, done = (here if here >= 0 else sites), 0
    total = float(value[state, 0])
    hours, rows = [], []
    for hour in range(span):
        if done == n:
            break
        if state == sites or not runs[hour, state, done]:
            state = int(where[hour, done]) if goes[hour, done] else sites
        if state < sites:
            hours.append(hour)
            rows.append(state)
            done += 1
    return np.array(hours, dtype=np.int64), np.array(rows, dtype=np.int64), total
