"""Strategies of deferral: each chooses, from what a job's hours would cost, when and on which site it runs.

A strategy is one plain function of a `StartOptions`, which holds what the job's hours would cost on every site; it
gives the row of a site and the spans in which the job is to run there. The papers know one place and plan
once, at submission, in slots of an hour; here every strategy also chooses the site where its own measure is
best. Ties go to the earliest start, then home, then the lowest site.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from tafukt.simulator.policies.lookahead.hour_table import Span
from tafukt.simulator.policies.lookahead.windows import RunCosts
from tafukt.simulator.units import DAY_H, Floats

Choice = tuple[int, tuple[Span, ...]]
EPS_H = 1e-9
# What differs by no more than this share of the dearest hour is a tie, or rounding would choose; no unit of a signal
# has a least amount of its own.
TIE = 1e-9


@dataclass(frozen=True)
class StartOptions:
    """Cost of a job's hours; where slots are shorter than an hour, what is called an hour is a slot.

    Attributes
    ----------
    day : int
        Slots of a day.
    now_h, latest_h : float
        Now, and the latest start that meets the deadline on any site [h of simulation time].
    left_h : array, shape (sites,)
        How long the job is expected to run on each site [h].
    hour : int
        The hour of the first column of `rate`.
    rate : array, shape (sites, hours)
        What running in an hour costs per hour; hours whose GPUs are promised away cost twice the dearest.
    pause_h : float
        What each pause costs in time with GPUs held: checkpoint, waking, restart [h]; infinite where the job
        cannot pause.
    late_h : array, shape (sites,), optional
        The latest start on each site, where they differ: by waking, fetching and restarting [h of simulation time].
    """

    now_h: float
    latest_h: float
    left_h: Floats
    hour: int
    rate: Floats
    pause_h: float
    late_h: Floats | None = None
    day: int = DAY_H

    def late(self, row: int) -> float:
        """The latest start on one site [h of simulation time]."""
        return self.latest_h if self.late_h is None else max(float(self.late_h[row]), self.now_h)

    def _in_time(self, values: Floats, starts_h: Floats) -> Floats:
        """The values of starts at each site, shape (sites, starts), infinite where a start is too late."""
        if self.late_h is None:
            return values
        return np.where(starts_h[None, :] > self.late_h[:, None] + EPS_H, np.inf, values)

    @property
    def tie_rate(self) -> float:
        """Difference up to which two rates count as equal."""
        return TIE * float(np.abs(self.rate).max())

    @property
    def tie_cost(self) -> float:
        """Difference up to which the costs of two runs count as equal."""
        return self.tie_rate * float(self.left_h.max())

    @property
    def starts(self) -> Floats:
        """Times at which a start is considered: whole hours of the clock, and whole hours after now [h].

        One of the two holds a start at which a window costs least wherever its length is a whole number of hours.
        """
        whole = np.arange(np.floor(self.now_h) + 1.0, self.latest_h + EPS_H)
        after = np.arange(self.now_h, self.latest_h + EPS_H)
        if abs(self.now_h - round(self.now_h)) < EPS_H or not len(after):
            return np.concatenate(([self.now_h], whole))
        return np.sort(np.concatenate((after, whole)))

    def rate_at(self, times_h: Floats) -> Floats:
        """Cost per hour of running at each of some times, shape (sites, times)."""
        columns = np.minimum((times_h - self.hour + EPS_H).astype(np.int64), self.rate.shape[1] - 1)
        return self._in_time(np.asarray(self.rate[:, columns]), times_h)

    def costs(self, starts_h: Floats) -> Floats:
        """Cost of the whole run, begun at each of some times, shape (sites, starts)."""
        begin = (starts_h - self.hour)[:, None]
        sums = RunCosts(self.rate.T)
        return self._in_time((sums.until(begin + self.left_h) - sums.until(begin)).T, starts_h)

    def cost_of(self, row: int, spans: tuple[Span, ...]) -> float:
        """Cost of running in these spans on one site."""
        edges = np.array(spans).T[:, :, None] - self.hour
        sums = RunCosts(self.rate[row : row + 1].T)
        return float((sums.until(edges[1]) - sums.until(edges[0])).sum())

    def run_from(self, row: int, start_h: float) -> Choice:
        """The whole run in one go."""
        return row, ((start_h, start_h + float(self.left_h[row])),)


StartRule = Callable[[StartOptions], Choice]


def now(outlook: StartOptions) -> Choice:
    """Start as soon as possible, where the run costs least from now on."""
    _, row = _least(outlook.costs(outlook.starts[:1]), outlook.tie_cost)
    return outlook.run_from(row, outlook.now_h)


def lowest_slot(outlook: StartOptions) -> Choice:
    """Start in the hour with the lowest signal: GAIA's Lowest-Slot.

    Hanafy et al. 2024, 10.1145/3620666.3651374. It knows nothing of how long jobs run.
    """
    starts = outlook.starts
    slot, row = _least(outlook.rate_at(starts), outlook.tie_rate)
    return outlook.run_from(row, float(starts[slot]))


def lowest_window(outlook: StartOptions) -> Choice:
    """Start so that the whole run costs least: Let's Wait Awhile without interruptions.

    Wiesner et al. 2021, 10.1145/3464298.3493399.
    """
    starts = outlook.starts
    slot, row = _least(outlook.costs(starts), outlook.tie_cost)
    return outlook.run_from(row, float(starts[slot]))


def threshold(outlook: StartOptions, quantile: float = 0.3) -> Choice:
    """Start in the first hour whose signal is among the lowest of the next day, at the latest in time.

    The quantile of 0.3 is the one that GAIA gives Ecovisor's policy (Hanafy et al. 2024, 10.1145/3620666.3651374).
    """
    starts = outlook.starts
    rate = outlook.rate_at(starts)
    low = rate <= _day_quantile(outlook, quantile)[:, None]
    slots = np.flatnonzero(low.any(axis=0))
    slot = int(slots[0]) if len(slots) else len(starts) - 1
    _, row = _least(np.where(low[:, slot] | (not len(slots)), rate[:, slot], np.inf)[:, None], outlook.tie_rate)
    start = float(starts[slot]) if len(slots) else outlook.latest_h
    return outlook.run_from(row, start)


def budget_threshold(outlook: StartOptions, quantile: float = 0.3) -> Choice:
    """Run while the signal is below a threshold, else pause, until the slack is used up: Ecovisor's policy.

    Souza et al. 2023, 10.1145/3575693.3575709, as GAIA restates it: the threshold is the 30th percentile of
    the next 24 hours, and once the allowed waiting is spent the job runs through.
    """
    best: tuple[float, Choice] | None = None
    limits = _day_quantile(outlook, quantile)
    for row in range(len(outlook.rate)):
        spans = _below(outlook, row, float(limits[row]))
        cost = outlook.cost_of(row, spans)
        if best is None or cost < best[0] - outlook.tie_cost:
            best = cost, (row, spans)
    assert best is not None
    return best[1]


def lowest_slots(outlook: StartOptions, pay: bool = True) -> Choice:
    """Run in the hours with the lowest signal before the deadline, pausing in between.

    The interrupting strategy of Let's Wait Awhile, Wiesner et al. 2021, 10.1145/3464298.3493399. As
    published, without `pay`, pauses are thought to be free; with it, each costs a checkpoint and a restart,
    and the job runs in one go where that is cheaper. Jobs that cannot pause take the lowest window.
    """
    whole = lowest_window(outlook)
    if outlook.pause_h == np.inf:
        return whole
    best: tuple[float, Choice] | None = (outlook.cost_of(*whole), whole) if pay else None
    for row in range(len(outlook.rate)):
        spans = _cheapest_hours(outlook, row, outlook.pause_h if pay else 0.0)
        cost = outlook.cost_of(row, spans)
        if best is None or cost < best[0] - outlook.tie_cost:
            best = cost, (row, spans)
    assert best is not None
    return best[1]


def saving_per_wait(outlook: StartOptions) -> Choice:
    """Start where the saving per hour from submission to completion is largest: GAIA's Carbon-Time.

    Hanafy et al. 2024, 10.1145/3620666.3651374: the saving against starting now, over waiting plus run.
    """
    starts = outlook.starts
    costs = outlook.costs(starts)
    rate = (costs[:, 0].min() - costs) / (starts[None, :] - outlook.now_h + outlook.left_h[:, None])
    slot, row = _least(-rate, outlook.tie_rate)
    return outlook.run_from(row, float(starts[slot]))


WHEN: dict[str, StartRule] = {
    "now": now,
    "threshold": threshold,
    "lowest-slot": lowest_slot,
    "lowest-window": lowest_window,
    "lowest-slots": lowest_slots,
    "budget-threshold": budget_threshold,
    "saving-per-wait": saving_per_wait,
}


def _least(values: Floats, tie: float) -> tuple[int, int]:
    """Time and row of the least value; the earliest, then the first row, of those that are no more than a tie above."""
    table = values.T
    slot, row = divmod(int(np.argmax(table <= table.min() + tie)), table.shape[1])
    return slot, row


def _day_quantile(outlook: StartOptions, quantile: float) -> Floats:
    """The quantile of the next day's rates, for every site."""
    first = int(outlook.now_h) - outlook.hour
    return np.asarray(np.quantile(outlook.rate[:, first : first + outlook.day], quantile, axis=1))


def _below(outlook: StartOptions, row: int, limit: float) -> tuple[Span, ...]:
    """Spans below a limit, hour by hour; above it while no waiting is left, or where the job cannot pause."""
    left, waiting = float(outlook.left_h[row]), outlook.late(row) - outlook.now_h
    time, spans = outlook.now_h, list[Span]()
    while left > EPS_H:
        end = ceil(time + EPS_H) if time < ceil(time) else time + 1.0
        rate = outlook.rate[row, min(int(time + EPS_H) - outlook.hour, outlook.rate.shape[1] - 1)]
        stuck = bool(spans) and outlook.pause_h == np.inf
        if rate <= limit or waiting <= EPS_H or stuck:
            end = min(end, time + left)
            if spans and spans[-1][1] >= time - EPS_H:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((time, end))
            left -= end - time
        else:
            end = min(end, time + waiting)
            waiting -= end - time
            if spans and spans[-1][1] >= time - EPS_H:  # this is a pause: its cost comes out of the slack
                left += outlook.pause_h
                waiting -= outlook.pause_h
        time = end
    return tuple(spans)


def _cheapest_hours(outlook: StartOptions, row: int, pause_h: float) -> tuple[Span, ...]:
    """The cheapest hours up to the deadline that together hold the run and what its pauses cost."""
    run, end = float(outlook.left_h[row]), outlook.late(row) + float(outlook.left_h[row])
    edges = np.concatenate(([outlook.now_h], np.arange(np.floor(outlook.now_h) + 1.0, end), [end]))
    width = np.diff(edges)
    columns = np.minimum((edges[:-1] - outlook.hour + EPS_H).astype(np.int64), outlook.rate.shape[1] - 1)
    order = np.lexsort((edges[:-1], outlook.rate[row, columns]))
    need = run
    for _ in range(4):
        filled = np.cumsum(width[order])
        count = int(np.searchsorted(filled, need - EPS_H)) + 1
        chosen = np.zeros(len(width), bool)
        chosen[order[:count]] = True
        last = int(order[min(count, len(order)) - 1])
        spans = _merged(edges, chosen, last, float(filled[min(count, len(order)) - 1]) - need)
        more = run + (len(spans) - 1) * pause_h
        if more <= need + EPS_H:
            return spans
        need = more
    return spans


def _merged(edges: Floats, chosen: np.ndarray, last: int, over: float) -> tuple[Span, ...]:
    """Chosen hours as spans; of the `last` one taken, the part that is not needed is left out."""
    spans = list[Span]()
    for i in np.flatnonzero(chosen).tolist():
        begin, end = float(edges[i]), float(edges[i + 1])
        if i == last and over > EPS_H:
            follows = i + 1 < len(chosen) and chosen[i + 1] and not (i > 0 and chosen[i - 1])
            begin, end = (begin + over, end) if follows else (begin, end - over)
        if spans and begin - spans[-1][1] < EPS_H:
            spans[-1] = (spans[-1][0], end)
        elif end > begin:
            spans.append((begin, end))
    return tuple(spans)
