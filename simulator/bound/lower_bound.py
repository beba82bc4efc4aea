"""The clairvoyant lower bound: what no schedule of these jobs on these sites can draw less than.

A linear relaxation with everything known in advance: see `relaxation` for the programme,
`slots` and `work` for what goes into it, `solve` for the number that is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from tafukt.simulator.bound.jobs import Demand, demand_of, work_of
from tafukt.simulator.bound.prices import samples_of, solve_by_prices
from tafukt.simulator.bound.program import (
    J_PER_KWH,
    W_PER_KW,
    Bools,
    LinearProgram,
    SlotSupply,
    Starts,
    Work,
    build,
    intensity_range,
)
from tafukt.simulator.bound.solve import Solution, carried_over, safe_dual, solve, sweep
from tafukt.simulator.bound.starts import starts_of
from tafukt.simulator.bound.supply import Objective, Resolution, block_cuts, default_grain, slot_edges, supply_of
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import DAY_S, HOUR_S, Floats, Ints
from tafukt.workloads.job import Job

if TYPE_CHECKING:
    from tafukt.simulator.engine.settings import Settings

# Share of the work that may count as fitting its windows although GPUs that do not exist did it: what
# the solver's tolerance leaves.
OVERFLOW_TOLERANCE = 1e-6

# A bound that lies further below the primal value than this share is worth a second, coarser problem.
LOOSE_GAP = 5e-3

# How often a problem that leaves a gap is put otherwise.
MORE_ATTEMPTS = 3

Status = Literal["optimal", "coarse", "stretched", "limit", "carried", "priced"]

# Duals of the bound without longer windows serve a bound with them where they lose at most this share of it.
CARRIED_GAP = 1e-4


@dataclass(frozen=True)
class Bound:
    """A lower bound and how it came about.

    Attributes
    ----------
    objective : {'draw', 'cost', 'emissions'}
    value : float
        The safe dual bound: draw [J], cost [MAD] or emissions [g].
    primal : float
        The objective at the solver's primal point, which estimates the programme's optimum. Where the bound
        is `priced`, the optimum of the sample: some per cent off, on either side.
    status : {'optimal', 'coarse', 'stretched', 'limit', 'carried', 'priced'}
        `coarse`: a coarser problem had to serve; `stretched`: no schedule meets all windows, and they were
        lengthened by `stretched_s` until one could; `limit`: no problem was solved to optimality, and the
        value, though valid, may be loose; `carried`: computed from the duals of the bound without late jobs;
        `priced`: of many sites, at prices of GPU time that a sample of them gives, a few tenths of a per cent lower.
    iterations, columns, rows, slots : int
        Of the solver, and of the programme that gave the value.
    plan : Plan
    solved : Attempt
        The programme that gave the value, with its solution.
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
    plan: RelaxedPlan
    solved: Attempt = field(repr=False, compare=False)

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
    skip: ArrayLike | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    grain: Resolution | None = None,
    known: Bound | None = None,
) -> Bound:
    """Lower bound on the draw, cost or emissions of every schedule that completes the jobs within their windows.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
    deadlines_s : array, shape (jobs,), optional
        When a run ended each job [s], NaN where it does not matter: a window ends at the job's deadline or
        at this time, whichever is later.
    objective : {'draw', 'cost', 'emissions'}
        Import, unserved load and energy missing from the battery at the end; import at its price less
        what export earns, without a charge on peaks, which is never negative; or the emissions of import.
    skip : array of bool, shape (jobs,), optional
        Jobs that the run gave up, by a policy's choice or after too many faults.
    settings : Settings, optional
        The engine's: what becomes of jobs past their estimate, and what breaks.
    seed : int
        Names the random streams of the faults.
    grain : Resolution, optional
        How coarse; by default by the length of the window.
    known : Bound, optional
        That of the same scenario, jobs, objective and seed without `deadlines_s` and `skip`: where few windows are
        longer its duals serve, and no programme is solved.
    """
    grain = grain or default_grain(scenario.end_s)
    demand = demand_of(scenario, jobs, deadlines_s, skip, settings.overrun if settings else "extend")
    case = _Case(scenario, tuple(jobs), objective, settings, seed)
    carried = _carried(case, demand, known) if known else None
    if carried is not None:
        return carried
    too_long = _reaches_beyond(demand, grain)
    attempts = _attempts(case, demand, grain.whole() if too_long else grain)
    best = max(attempts, key=lambda attempt: attempt.value)  # each of them is a bound
    plain = best is attempts[0] and not too_long and not best.coarsened
    status: Status = "priced" if best.priced else "optimal" if plain else "coarse"
    stretched_s = 0.0
    while best.overflows and stretched_s < scenario.end_s:
        status, stretched_s = "stretched", max(6 * HOUR_S, 2.0 * stretched_s)
        longer = replace(demand, end_s=np.minimum(demand.end_s + stretched_s, scenario.end_s))
        best = _attempt(case, longer, attempts[-1].grain, beyond=True)
        attempts.append(best)
    iterations = sum(attempt.solution.iterations for attempt in attempts)
    return _report(best, objective, "limit" if best.loose else status, iterations, stretched_s)


def _attempts(case: _Case, demand: Demand, grain: Resolution) -> list[Attempt]:
    """Attempts until one is tight, the later ones at a coarser grain."""
    attempts = [_attempt(case, demand, grain)]
    if not attempts[-1].solution.optimal:
        again = _attempt(case, demand, grain, beyond=True)
        # Too much work made the first one infeasible, and its value means nothing.
        attempts = [again] if again.overflows else [*attempts, again]
    while attempts[-1].loose and len(attempts) <= MORE_ATTEMPTS + 1:
        grain = grain.next()
        attempts.append(_attempt(case, demand, grain))
    return attempts


def _report(best: Attempt, objective: Objective, status: Status, iterations: int, stretched_s: float) -> Bound:
    """The bound of one attempt."""
    programme = best.programme
    return Bound(
        objective=objective,
        # A draw is never negative; what import costs less what export earns can be.
        value=max(best.value, 0.0 if objective == "draw" else -np.inf),
        primal=best.primal,
        status=status,
        iterations=iterations,
        columns=len(programme.cost),
        rows=len(programme.row_low),
        slots=len(best.edges_s) - 1,
        stretched_s=stretched_s,
        solved=best,
        plan=relaxed_plan(programme, best.supply, best.work, best.solution.x, best.edges_s, best.own),
    )


def _carried(case: _Case, demand: Demand, known: Bound) -> Bound | None:
    """The bound by the duals of a known one; `None` where these do not fit or lose too much.

    Longer windows and fewer jobs never raise a bound, so that what is lost is at most what it lies below the known one.
    """
    base = known.solved
    if known.status not in ("optimal", "coarse", "priced") or base.work.starts is not None:
        return None
    work, own = work_of(demand, base.edges_s, _own_cells(case.scenario, base.grain))
    if not np.array_equal(work.allowed, base.work.allowed):
        return None
    programme = build(base.supply, work)
    steps = base.work.step_codes, work.step_codes
    y = carried_over(base.programme, base.solution.y, programme, steps)
    if y is None:
        return None
    value = safe_dual(programme, y) * programme.unit
    if known.value - value > CARRIED_GAP * abs(known.value):
        return None
    solved = replace(base, work=work, own=demand.job[own], programme=programme)
    return replace(
        known,
        value=min(value, known.value),
        status="carried",
        iterations=0,
        columns=len(programme.cost),
        rows=len(programme.row_low),
        solved=solved,
    )


def _own_cells(scenario: Scenario, grain: Resolution) -> int:
    """Most variables of large jobs."""
    return int(grain.own_cells_per_day * max(scenario.end_s / DAY_S, 1.0))


def _reaches_beyond(demand: Demand, grain: Resolution) -> bool:
    """Whether much of the work has windows far longer than a block looks ahead: blocks cannot place it."""
    long = demand.end_s - demand.submit_s > 2.0 * (grain.block_s + grain.ahead_s)
    return float(demand.gpu_s[long].sum()) > 0.02 * float(demand.gpu_s.sum())


@dataclass(frozen=True)
class _Case:
    """The case of a bound: all that does not change from one attempt to the next."""

    scenario: Scenario
    jobs: tuple[Job, ...]
    objective: Objective
    settings: Settings | None
    seed: int

    @property
    def faults(self) -> FaultSettings | None:
        """Rates of failures."""
        return self.settings.faults if self.settings else None

    def starts(self, demand: Demand, edges_s: Floats, grain: Resolution) -> Starts | None:
        """Start times of rigid jobs, where these are few, nothing disturbs them, and the programme is of one piece."""
        kills = self.settings is not None and self.settings.overrun == "kill"
        if self.objective != "draw" or kills or np.isfinite(grain.block_s):
            return None
        return starts_of(self.scenario, self.jobs, demand, edges_s, self.faults)


@dataclass(frozen=True)
class Attempt:
    """One programme, solved; `own` are the jobs with variables of their own, as given."""

    grain: Resolution
    edges_s: Floats
    supply: SlotSupply
    work: Work
    own: Ints
    programme: LinearProgram
    solution: Solution
    coarsened: bool

    @property
    def value(self) -> float:
        """The safe dual bound [J, MAD or g]."""
        return safe_dual(self.programme, self.solution.y) * self.programme.unit

    @property
    def primal(self) -> float:
        """The objective at the primal point, or an estimate of its optimum [J, MAD or g]."""
        estimate = self.solution.estimate
        return (float(self.programme.cost @ self.solution.x) if estimate is None else estimate) * self.programme.unit

    @property
    def priced(self) -> bool:
        """Whether prices from a sample of the sites served."""
        return self.solution.estimate is not None

    @property
    def loose(self) -> bool:
        """Whether the solver did not converge, or the bound lies far below the primal value."""
        gap = 0.0 if self.priced else self.primal - self.value
        return not self.solution.optimal or gap > LOOSE_GAP * max(abs(self.primal), self.programme.unit)

    @property
    def overflows(self) -> bool:
        """Whether work that fits no window had to be done by GPUs that do not exist."""
        over = values(self.programme, "overflow", self.solution.x)
        amount = float(np.sum(over * self.supply.duration_s * self.supply.speed[:, None]))
        total = float(self.work.own_gpu_s.sum() + self.work.group_gpu_s.sum())
        total += float(self.work.starts.gpu_s.sum()) if self.work.starts else 0.0
        return self.solution.optimal and amount > OVERFLOW_TOLERANCE * total


def _attempt(case: _Case, demand: Demand, grain: Resolution, beyond: bool = False) -> Attempt:
    """Build and solve the programme of one grain, or of a coarser one where it is too large for one piece.

    `beyond` is as for `program.build`.
    """
    scenario = case.scenario
    span = (float(demand.intensity.min()), float(demand.intensity.max())) if len(demand.job) else (0.0, 1.0)
    coarsened = False
    while True:
        edges_s = slot_edges(scenario, case.objective, grain)
        supply = supply_of(scenario, edges_s, case.objective, span, case.faults, case.seed)
        cells = _own_cells(scenario, grain)
        starts = case.starts(demand, edges_s, grain)
        rest = demand if starts is None else demand.without(starts.row)
        work, own = work_of(rest, edges_s, cells)
        work = replace(work, starts=starts)
        programme = build(supply, work, beyond)
        small = len(programme.cost) <= grain.whole_columns or grain.slot_s > DAY_S
        samples = [] if small or starts is not None else samples_of(supply, work)
        if small or samples or np.isfinite(grain.block_s):
            break
        grain, coarsened = grain.whole(), True
    cuts = [] if small or np.isinf(grain.block_s) else block_cuts(edges_s, grain)
    if samples:
        solution = solve_by_prices(programme, supply, work, samples, cuts, grain.iterations, beyond)
    else:
        solution = solve(programme, grain.iterations) if len(cuts) <= 1 else sweep(programme, cuts, grain.iterations)
    return Attempt(grain, edges_s, supply, work, rest.job[own], programme, solution, coarsened)


# --- What a programme's optimum says in the terms of sites and jobs


@dataclass(frozen=True)
class RelaxedPlan:
    """The optimum, for a planner or a reader; means over slots.

    Attributes
    ----------
    edges_s : array, shape (slots + 1,)
        Times between slots [s].
    allowed : array of bool, shape (classes, sites)
        Where the jobs of a class may run.
    gpus : array, shape (classes, sites, slots)
        Busy GPUs.
    it_w, import_w, stored_j : array, shape (sites, slots)
        IT power of busy GPUs above the base load; import [W]; energy above the battery's floor at the
        end of the slot [J].
    job, job_slot, job_gpus : array
        Index of a job as given, slot, and the reference GPUs that it keeps busy; grouped jobs do not appear.
    """

    edges_s: Floats
    allowed: Bools
    gpus: Floats
    it_w: Floats
    import_w: Floats
    stored_j: Floats
    job: Ints
    job_slot: Ints
    job_gpus: Floats


def values(programme: LinearProgram, name: str, x: Floats) -> Floats:
    """A block of columns at a primal point, 0 where a column does not exist."""
    number = programme.columns.get(name, np.full(1, -1))
    return np.where(number >= 0, x[number], 0.0)


def relaxed_plan(
    programme: LinearProgram, supply: SlotSupply, work: Work, x: Floats, edges_s: Floats, jobs: Ints
) -> RelaxedPlan:
    """The plan at a primal point; `jobs` are the indices of the jobs that have variables of their own."""
    least, _ = intensity_range(work)
    gpus = values(programme, "gpus", x)
    load = values(programme, "load", x) + least[:, None, None] * gpus
    own = values(programme, "own", x)
    done = values(programme, "group", x) if len(work.step_group) else np.zeros(0)
    before = np.where(np.diff(work.step_group, prepend=-1) == 0, np.roll(done, 1), 0.0)
    rate = (done - before) * HOUR_S / supply.duration_s[work.step_slot]
    pinned = work.allowed.sum(axis=1) == 1
    site = work.allowed.argmax(axis=1)
    for kind, slot, intensity, busy in (
        (work.own_class[work.cell_own], work.cell_slot, work.own_intensity[work.cell_own], own),
        (work.group_class[work.step_group], work.step_slot, work.group_intensity[work.step_group], rate),
    ):
        here = pinned[kind]
        k, t = kind[here], slot[here]
        count = busy[here] / supply.speed[site[k]]
        np.add.at(gpus, (k, site[k], t), count)
        np.add.at(load, (k, site[k], t), count * intensity[here])
    it_w = supply.gpu_w[:, None] * gpus.sum(axis=0) + supply.dynamic_w[:, None] * load.sum(axis=0)
    stored = values(programme, "stored", x) * J_PER_KWH
    return RelaxedPlan(
        edges_s=edges_s,
        allowed=work.allowed,
        gpus=gpus,
        it_w=it_w,
        import_w=values(programme, "import", x) * W_PER_KW,
        stored_j=np.broadcast_to(stored, supply.free_w.shape),
        job=jobs[work.cell_own],
        job_slot=work.cell_slot,
        job_gpus=own,
    )
