"""Long programmes block by block, and duals mended between blocks.

Any duals give a bound, so a long programme need not be solved as a whole: blocks of days that look
ahead over their end hand on what is stored and what is done, their duals are strung together, and the
bound is computed on the whole programme from them. What the seams cost is the difference between that
bound and the primal value, which is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.bound.matrix import Programme
from simulator.bound.solve import Solution, safe_dual, solve
from simulator.record import Floats, Ints


def sweep(programme: Programme, cuts: list[tuple[int, int]], iterations: int) -> Solution:
    """Solve block by block.

    Parameters
    ----------
    programme : Programme
    cuts : list of (int, int)
        Per block the first slot after it and the first after what it looks ahead to.
    iterations : int
        Limit for each block.
    """
    x, y = np.zeros(len(programme.cost)), np.zeros(len(programme.row_low))
    done = np.zeros(len(programme.row_low))  # what the columns of past blocks add to each row
    first, used, optimal = 0, 0, True
    for end, ahead in cuts:
        columns = np.flatnonzero((programme.column_slot >= first) & (programme.column_slot < ahead))
        part, rows = _part(programme, columns, done, ahead)
        found = solve(part, iterations)
        used += found.iterations
        optimal = optimal and found.optimal
        kept = programme.column_slot[columns] < end
        x[columns] = np.clip(found.x, part.low, part.high)
        done += programme.matrix[:, columns[kept]] @ x[columns[kept]]
        own = programme.row_slot[rows] >= first
        y[rows[own]] = found.y[own]
        first = end
    return Solution(x, mended(programme, y), optimal, used)


def _part(programme: Programme, columns: Ints, done: Floats, ahead: int) -> tuple[Programme, Ints]:
    """The programme over some columns, past ones fixed; work that reaches beyond is asked for by its share."""
    block = programme.matrix[:, columns]
    rows = np.unique(block.indices)
    # A job's work may be done later; every other row of a later slot waits for its own block.
    rows = rows[(programme.row_slot[rows] < ahead) | np.isin(rows, programme.rows["work"])]
    low, high = programme.row_low - done, programme.row_high - done
    work = programme.rows["work"]
    most = programme.matrix @ np.where(programme.column_slot >= ahead, programme.high, 0.0)
    here = block @ programme.high[columns]
    share = here[work] / np.maximum(here[work] + most[work], 1e-300)
    low[work] = np.minimum(low[work] * share, here[work])
    part = replace(
        programme,
        cost=programme.cost[columns],
        low=programme.low[columns],
        high=programme.high[columns],
        matrix=block[rows].tocsc(),
        row_low=low[rows],
        row_high=high[rows],
    )
    return part, rows


def mended(programme: Programme, y: Floats) -> Floats:
    """The duals with those of the jobs' work replaced by the best for the prices that the others set.

    Given the price of a GPU-hour in each slot, a job's dual is the price at which its work is done if it
    takes the cheapest slots first: one sort instead of a programme.
    """
    rows, columns = programme.rows["work"], programme.columns["own"]
    if not len(rows):
        return y
    others = y.copy()
    others[rows] = 0.0
    price = (programme.cost - programme.matrix.T @ others)[columns]
    work = programme.matrix[rows][:, columns].tocoo()
    order = np.argsort(work.col)
    job, hours = work.row[order], work.data[order]
    price = price / hours
    room = hours * programme.high[columns]
    order = np.lexsort((price, job))
    job, price, room = job[order], price[order], room[order]
    filled = np.cumsum(room)
    start = np.searchsorted(job, np.arange(len(rows)))
    before = np.concatenate(([0.0], filled))[start]
    stop = np.searchsorted(job, np.arange(len(rows)), side="right") - 1
    # The first slot by which the work fits; sums are monotone, so one search serves all jobs.
    reached = np.searchsorted(filled, before + programme.row_low[rows] * (1.0 - 1e-12))
    better = others
    better[rows] = np.maximum(price[np.clip(reached, start, stop)], 0.0)
    return better if safe_dual(programme, better) >= safe_dual(programme, y) else y
