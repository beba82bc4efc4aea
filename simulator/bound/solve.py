"""Solves a programme by HiGHS's interior point and computes a dual bound that rounding cannot break."""

from __future__ import annotations

from dataclasses import dataclass, replace

import highspy
import numpy as np

from simulator.bound.matrix import Programme
from simulator.record import Floats

UNIT_ROUNDOFF = 2.0**-53


# A gap between primal value and safe dual bound up to this share counts as solved.
SOLVED_GAP = 1e-5


@dataclass(frozen=True)
class Solution:
    """What the solver left: primal values, row duals, whether they agree, iterations."""

    x: Floats
    y: Floats
    optimal: bool
    iterations: int


def solve(programme: Programme, iterations: int, tolerance: float = 1e-8) -> Solution:
    """Solve by interior point, without crossover, on one thread, within a number of iterations.

    Whether that has succeeded is judged by the gap that the safe dual bound leaves, not by what the
    solver says of itself: its presolve now and then hands back a wrong dual, and then it solves again
    without.
    """
    first = attempt(programme, iterations, tolerance, presolve=True)
    if first.optimal:
        return first
    second = attempt(programme, iterations, tolerance, presolve=False)
    better = second if safe_dual(programme, second.y) >= safe_dual(programme, first.y) else first
    return replace(better, iterations=first.iterations + second.iterations)


def attempt(programme: Programme, iterations: int, tolerance: float, presolve: bool) -> Solution:
    """Solve once, whatever comes of it."""
    solver = highspy.Highs()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("solver", "ipx"),
        ("presolve", "on" if presolve else "off"),
        ("run_crossover", "off"),
        ("ipm_iteration_limit", iterations),
        ("ipm_optimality_tolerance", tolerance),
    ):
        solver.setOptionValue(name, value)
    solver.passModel(_model(programme))
    solver.run()
    info, found = solver.getInfo(), solver.getSolution()
    used = max(int(info.ipm_iteration_count), 0)
    x = np.array(found.col_value, dtype=np.float64)
    y = np.array(found.row_dual, dtype=np.float64)
    if len(x) != len(programme.cost) or len(y) != len(programme.row_low):
        return Solution(np.zeros(len(programme.cost)), np.zeros(len(programme.row_low)), False, used)
    primal = float(programme.cost @ x)
    gap = primal - safe_dual(programme, y)
    feasible = 0.0 <= info.max_primal_infeasibility <= 1e-5
    return Solution(x, y, feasible and gap <= SOLVED_GAP * max(abs(primal), 1.0), used)


def _model(programme: Programme) -> highspy.HighsLp:
    """The programme in HiGHS's own form."""
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(programme.cost), len(programme.row_low)
    model.col_cost_, model.col_lower_, model.col_upper_ = programme.cost, programme.low, programme.high
    model.row_lower_, model.row_upper_ = programme.row_low, programme.row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = programme.matrix.indptr
    model.a_matrix_.index_ = programme.matrix.indices
    model.a_matrix_.value_ = programme.matrix.data
    return model


def safe_dual(programme: Programme, y: Floats) -> float:
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
