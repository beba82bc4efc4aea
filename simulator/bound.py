"""The clairvoyant lower bound: what no schedule of these jobs on these sites can draw less than.

A linear relaxation with everything known in advance: see `simulator.relaxation` for the programme,
`bound_slots` and `bound_work` for what goes into it, `bound_solve` for the number that is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from simulator.bound_plan import Plan, plan_of, values
from simulator.bound_slots import Grain, Objective, slot_edges, supply_of
from simulator.bound_solve import Solution, safe_dual, solve
from simulator.bound_work import Demand, demand_of, work_of
from simulator.relaxation import S_PER_H, Supply, Work, build
from simulator.relaxation_matrix import Floats, Ints, Programme
from simulator.scenario import Scenario
from workloads.job import Job

DAY_S = 86_400.0

# Windows up to this long are cut into hours and half nights, longer ones into hours and nights [s].
LONG_S = 45 * DAY_S

# Share of the work that may count as fitting its windows although GPUs that do not exist did it: what
# the solver's tolerance leaves.
OVERFLOW_TOLERANCE = 1e-6

# How often a problem that does not converge is made coarser.
COARSER_ATTEMPTS = 3

Status = Literal["optimal", "coarse", "stretched", "limit"]


@dataclass(frozen=True)
class Bound:
    """A lower bound and how it came about.

    Attributes
    ----------
    objective : {'draw', 'cost', 'carbon'}
    value : float
        The safe dual bound: draw [J], cost [MAD] or carbon [g].
    primal : float
        The objective at the solver's primal point, which estimates the programme's optimum.
    status : {'optimal', 'coarse', 'stretched', 'limit'}
        `coarse`: a coarser problem had to serve; `stretched`: no schedule meets all windows, and they were
        lengthened by `stretched_s` until one could; `limit`: no problem was solved to optimality, and the
        value, though valid, may be loose.
    iterations, columns, rows, slots : int
        Of the solver, and of the programme that gave the value.
    plan : Plan
    """

    objective: Objective
    value: float
    primal: float
    status: Status
    iterations: int
    columns: int
    rows: int
    slots: int
    stretched_s: float
    plan: Plan

    @property
    def draw_j(self) -> float:
        """The bound on the draw [J]; NaN if it speaks of something else."""
        return self.value if self.objective == "draw" else float("nan")


def lower_bound(
    scenario: Scenario,
    jobs: Sequence[Job],
    *,
    deadlines_s: ArrayLike | None = None,
    objective: Objective = "draw",
    overrun: Literal["extend", "kill"] = "extend",
    capacity_left: float = 1.0,
    grain: Grain | None = None,
) -> Bound:
    """What every schedule that completes the jobs within their windows draws, costs or emits at least.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
    deadlines_s : array, shape (jobs,), optional
        When a run ended each job [s], NaN where it does not matter: a window ends at the job's deadline or
        at this time, whichever is later.
    objective : {'draw', 'cost', 'carbon'}
        Import, unserved load and energy missing from the battery at the end; import at its price less
        what export earns; or the carbon of import.
    overrun : {'extend', 'kill'}
        What the run does with a job past its estimate.
    capacity_left : float
        Share of the batteries' capacity that fade leaves at most gone by the end: it lowers the floor.
    grain : Grain, optional
        How coarse; by default by the length of the window.
    """
    grain = grain or (Grain() if scenario.end_s <= LONG_S else Grain(night_blocks=1, weight_change=0.05))
    demand = demand_of(scenario, jobs, deadlines_s, overrun)
    attempts = [_attempt(scenario, demand, objective, capacity_left, grain)]
    while not attempts[-1].solution.optimal and len(attempts) <= COARSER_ATTEMPTS:
        grain = grain.coarser()
        attempts.append(_attempt(scenario, demand, objective, capacity_left, grain))
    status: Status = "optimal" if len(attempts) == 1 else "coarse"
    stretched_s = 0.0
    while attempts[-1].overflows and stretched_s < scenario.end_s:
        status, stretched_s = "stretched", max(6 * S_PER_H, 2.0 * stretched_s)
        longer = replace(demand, end_s=np.minimum(demand.end_s + stretched_s, scenario.end_s))
        attempts.append(_attempt(scenario, longer, objective, capacity_left, grain))
    last = attempts[-1]
    programme, solution = last.programme, last.solution
    return Bound(
        objective=objective,
        # A draw is never negative; what import costs less what export earns can be.
        value=max(safe_dual(programme, solution.y) * programme.unit, 0.0 if objective == "draw" else -np.inf),
        primal=float(programme.cost @ solution.x) * programme.unit,
        status=status if solution.optimal else "limit",
        iterations=sum(attempt.solution.iterations for attempt in attempts),
        columns=len(programme.cost),
        rows=len(programme.row_low),
        slots=len(last.edges_s) - 1,
        stretched_s=stretched_s,
        plan=plan_of(programme, last.supply, last.work, solution.x, last.edges_s, demand.job[last.own]),
    )


@dataclass(frozen=True)
class _Attempt:
    """One programme, solved; `own` are the rows of the demand with variables of their own."""

    edges_s: Floats
    supply: Supply
    work: Work
    own: Ints
    programme: Programme
    solution: Solution

    @property
    def overflows(self) -> bool:
        """Whether work that fits no window had to be done by GPUs that do not exist."""
        over = values(self.programme, "overflow", self.solution.x)
        amount = float(np.sum(over * self.supply.duration_s * self.supply.speed[:, None]))
        total = float(self.work.own_gpu_s.sum() + self.work.pool_gpu_s.sum())
        return self.solution.optimal and amount > OVERFLOW_TOLERANCE * total


def _attempt(scenario: Scenario, demand: Demand, objective: Objective, capacity_left: float, grain: Grain) -> _Attempt:
    """Build and solve the programme of one grain."""
    edges_s = slot_edges(scenario, objective, grain)
    supply = supply_of(scenario, edges_s, objective, capacity_left)
    work, own = work_of(demand, edges_s, grain.own_cells)
    programme = build(supply, work)
    return _Attempt(edges_s, supply, work, own, programme, solve(programme, grain.iterations))
