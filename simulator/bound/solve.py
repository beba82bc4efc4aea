"""Solves a programme by HiGHS and computes a dual bound that rounding cannot break."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

import highspy
import numpy as np

from tafukt.simulator.bound.program import LinearProgram
from tafukt.simulator.units import Floats, Ints

UNIT_ROUNDOFF = 2.0**-53

# The solver itself. Its wrapper `highspy.Highs` turns callbacks on as it is made, upon which 1.16 prints a banner on
# stdout before any option can be set; its base class has all that is used here and says nothing.
_CORE = highspy.Highs.__base__

# The dual simplex method takes half the time of the interior point on these programmes, and by so many of its steps per
# row for each iteration that the latter may take.
STEPS_PER_ROW = 0.02

# Costs are perturbed by more than the solver would of itself: in June most kilowatt-hours cost nothing, so that its
# dual simplex method walks among ties. So a month takes 3 s in June as in December; otherwise, up to 35 s in June.
COST_PERTURBATION = 100.0

# From so many rows on (some two hundred sites in blocks) the first attempt has no presolve: it leaves the steps as many
# as they are, and takes 8 % of the time.
ROWS_WITHOUT_PRESOLVE = 100_000

# A gap between primal value and safe dual bound up to this share counts as solved.
SOLVED_GAP = 1e-5


@dataclass(frozen=True)
class Solution:
    """Solution of a programme: primal values, row duals, whether they agree, iterations.

    `estimate` is what the optimum is taken to be where `x` is no feasible point.
    """

    x: Floats
    y: Floats
    optimal: bool
    iterations: int
    estimate: float | None = None


def solve(programme: LinearProgram, iterations: int, tolerance: float = 1e-8) -> Solution:
    """Solve by dual simplex, or else by interior point without crossover, on one thread, within a number of iterations.

    Whether that has succeeded is judged by the gap that the safe dual bound leaves, not by what the
    solver says of itself: its presolve now and then hands back a wrong dual, and then it solves again
    without.
    """
    tried: list[Solution] = []
    first = len(programme.row_low) < ROWS_WITHOUT_PRESOLVE
    methods: tuple[tuple[Literal["simplex", "ipx"], bool], ...] = (("simplex", first), ("ipx", True), ("ipx", False))
    for method, presolve in methods:
        tried.append(attempt(programme, iterations, tolerance, presolve, method))
        if tried[-1].optimal:
            break
    best = max(tried, key=lambda one: safe_dual(programme, one.y)) if len(tried) > 1 else tried[0]
    return replace(best, iterations=sum(one.iterations for one in tried))


def attempt(
    programme: LinearProgram,
    iterations: int,
    tolerance: float,
    presolve: bool,
    method: Literal["ipx", "simplex"] = "ipx",
) -> Solution:
    """Solve once, whatever comes of it."""
    return _solution(_solver(programme, iterations, tolerance, presolve, method), programme)


def _solver(
    programme: LinearProgram, iterations: int, tolerance: float, presolve: bool, method: Literal["ipx", "simplex"]
) -> Any:
    """HiGHS with its options and the programme."""
    solver = _CORE()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("solver", method),
        ("presolve", "on" if presolve else "off"),
        ("run_crossover", "off"),
        ("ipm_iteration_limit", iterations),
        ("simplex_iteration_limit", ceil(iterations * STEPS_PER_ROW * len(programme.row_low))),
        ("dual_simplex_cost_perturbation_multiplier", COST_PERTURBATION),
        ("ipm_optimality_tolerance", tolerance),
    ):
        solver.setOptionValue(name, value)
    _pass(solver, programme)
    return solver


def _solution(solver: Any, programme: LinearProgram) -> Solution:
    """Solution by HiGHS, and whether it is as good as optimal."""
    solver.run()
    info, found = solver.getInfo(), solver.getSolution()
    used = max(int(info.ipm_iteration_count), int(info.simplex_iteration_count), 0)
    x = np.array(found.col_value, dtype=np.float64)
    y = np.array(found.row_dual, dtype=np.float64)
    if len(x) != len(programme.cost) or len(y) != len(programme.row_low):
        return Solution(np.zeros(len(programme.cost)), np.zeros(len(programme.row_low)), False, used)
    primal = float(programme.cost @ x)
    gap = primal - safe_dual(programme, y)
    feasible = 0.0 <= info.max_primal_infeasibility <= 1e-5
    return Solution(x, y, feasible and gap <= SOLVED_GAP * max(abs(primal), 1.0), used)


def _pass(solver: Any, programme: LinearProgram) -> None:
    """Hand the programme to HiGHS, as arrays: a `HighsLp` would be filled number by number, in 20 times as long."""
    matrix = programme.matrix
    solver.passModel(
        len(programme.cost),
        len(programme.row_low),
        matrix.nnz,
        int(highspy.MatrixFormat.kColwise),
        int(highspy.ObjSense.kMinimize),
        0.0,
        programme.cost,
        programme.low,
        programme.high,
        programme.row_low,
        programme.row_high,
        matrix.indptr,
        matrix.indices,
        matrix.data,
        np.zeros(len(programme.cost), dtype=np.int32),  # no variable need be a whole number
    )


def safe_dual(programme: LinearProgram, y: Floats) -> float:
    """A value that no feasible point lies below, whatever the duals `y`, in the programme's unit.

    For any y whose signs fit the rows' sides,

        c x >= sum_i min(y_i row_i) + sum_j min over the box of (c - A'y)_j x_j,

    Neumaier & Shcherbina (2004), doi:10.1007/s10107-003-0433-3. Rounding in the evaluation itself is
    taken off by its a-priori bound.
    """
    y = np.where(np.isfinite(y), y, 0.0)
    y = np.where((y > 0) & ~np.isfinite(programme.row_low), 0.0, y)
    y = np.where((y < 0) & ~np.isfinite(programme.row_high), 0.0, y)
    side = np.where(y > 0, programme.row_low, programme.row_high)
    rows = y * np.where(y != 0, side, 0.0)
    reduced = programme.cost - programme.matrix.T @ y
    boxes = np.where(reduced > 0, reduced * programme.low, reduced * programme.high)
    largest = np.maximum(np.abs(programme.low), np.abs(programme.high))
    gross = np.abs(programme.cost) + abs(programme.matrix).T @ np.abs(y)
    entries = np.diff(programme.matrix.indptr) + 4
    error = UNIT_ROUNDOFF * float(np.dot(2.0 * entries * gross, largest))
    terms = np.concatenate((rows, boxes))
    error += 2.0 * UNIT_ROUNDOFF * float(np.abs(terms).sum()) * 64.0  # numpy sums in pairs
    return float(terms.sum()) - error


# --- Long programmes block by block, and duals mended between blocks
# Any duals give a bound, so a long programme need not be solved as a whole: blocks of days that look
# ahead over their end hand on what is stored and what is done, their duals are strung together, and the
# bound is computed on the whole programme from them. What the seams cost is the difference between that
# bound and the primal value, which is known.


def sweep(programme: LinearProgram, cuts: list[tuple[int, int]], iterations: int) -> Solution:
    """Solve block by block.

    Parameters
    ----------
    programme : LinearProgram
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


def _part(programme: LinearProgram, columns: Ints, done: Floats, ahead: int) -> tuple[LinearProgram, Ints]:
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


SITE_ROWS = ("bus", "room", "motion", "refill", "gpus", "load", "within")


def carried_over(known: LinearProgram, y: Floats, programme: LinearProgram, steps: tuple[Ints, Ints]) -> Floats | None:
    """The duals of one programme for another of the same sites and slots; `None` where their rows do not match.

    `steps` are codes of the steps of their groups, by which the rows of these are matched; the duals of large jobs are
    worked out anew. Where only few windows differ, they are nearly as good as the optimum's.
    """
    found = np.zeros(len(programme.row_low))
    for name in SITE_ROWS:
        old, new = known.rows.get(name), programme.rows.get(name)
        if old is None or new is None:
            if old is not new:
                return None
            continue
        if old.shape != new.shape:
            return None
        both = (old >= 0) & (new >= 0)
        found[new[both]] = y[old[both]]
    if "rate" in known.rows and "rate" in programme.rows:
        _, old_at, new_at = np.intersect1d(*steps, assume_unique=True, return_indices=True)
        found[programme.rows["rate"][new_at]] = y[known.rows["rate"][old_at]]
    return mended(programme, found)


def mended(programme: LinearProgram, y: Floats) -> Floats:
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
