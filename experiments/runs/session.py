"""An experiment from its file to a result folder: what is missing is run, what is complete is left.

What simulates and measures is loaded where something is run, before processes are started: `validate` needs none of it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.policies import PolicyRef
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.errors import InputError, Problem
from tafukt.experiments.results.stored import Row
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.matrix import Case, Run, inputs_of, runs_of

RunProgress = Callable[[int, int, float], None]
"""Told how many runs are done, of how many, and which share of the estimated time all that is done takes."""

# The work that is worth one more process [s].
WORTH_S = 1.0
# What a stop may lose of each worker of a cluster, where that makes a cell's inputs once for all its runs [s].
CELL_S = 30.0
# How often the summary is brought up to date while runs go on [s].
REFRESH_S = 30.0


@dataclass(frozen=True)
class RunPlan:
    """An experiment's runs, which of them are chosen, and which of those are missing in a folder.

    Each of `wanted`, which is what cells lack, is a file of the folder, its kind (`bound` or `best`), and a run of the
    cell. `damaged` are runs that were complete and whose files do not hold any more, with what is wrong; they are
    missing, too.
    """

    loaded: Loaded
    folder: Folder
    runs: tuple[Run, ...]
    chosen: tuple[Run, ...]
    missing: tuple[Run, ...]
    wanted: tuple[tuple[str, str, Run], ...]
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """Scenarios and seeds."""
        return len({run.cell.key for run in self.runs})


@dataclass(frozen=True)
class SessionOutcome:
    """Outcome of a session: the rows of the summary, and faults that belong to no row."""

    plan: RunPlan
    rows: list[Row]
    faults: list[str]

    @property
    def failed(self) -> list[Row]:
        """The rows of runs that failed."""
        from tafukt.experiments.results.summary import failed

        return failed(self.rows)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.faults and not self.failed


def plan_runs(loaded: Loaded, path: Path, index: int | None = None, verify: bool = False) -> RunPlan:
    """Plan of a session: everything that is not complete, or the run at `index` alone.

    Of what is complete the sizes of all files are looked at, with `verify` their hashes, too.

    Raises
    ------
    InputError
        If there is no such index, or the values of a cell do not go together.
    """
    folder, runs = Folder(path), tuple(runs_of(loaded))
    if index is not None and not 0 <= index < len(runs):
        raise InputError(Problem("--index", str(index), f"there are {len(runs)} runs: 0 to {len(runs) - 1}"))
    chosen = runs if index is None else (runs[index],)
    faults = {run.run_id: folder.fault_of(run.run_id, verify) for run in chosen if folder.is_complete(run.run_id)}
    missing = tuple(run for run in chosen if faults.get(run.run_id, "not there"))
    first = {run.cell.key: run for run in reversed(chosen)}
    kinds = [kind for kind, on in (("bound", loaded.experiment.bound), ("best", loaded.experiment.best_known)) if on]
    wanted = tuple(
        (name, kind, first[key])
        for key in dict.fromkeys(run.cell.key for run in chosen)
        for kind in kinds
        if folder.json(name := f"cells/{key[:16]}.{kind}.json") is None
    )
    damaged = {run: fault for run, fault in faults.items() if fault}
    return RunPlan(loaded, folder, runs, chosen, missing, wanted, damaged)


def check_inputs(plan: RunPlan) -> Inputs:
    """Make the inputs of the first cell, and of each cell with files of its own, so that bad ones are told.

    Policies of the user's own are read, too.

    Raises
    ------
    SiteError, WorkloadError, InputError
        If a file or a policy cannot be used.
    """
    for policy in plan.loaded.policies:
        policy.load()
    wanted: dict[str, Case] = {}
    for run in plan.missing or plan.runs[:1]:
        files = str([value for key, value in run.cell.axes.items() if key.rpartition(".")[2] in _FILE_KEYS])
        wanted.setdefault(files, run.cell)
    *_, inputs = [inputs_of(cell) for cell in reversed(wanted.values())]
    return inputs


_FILE_KEYS = ("file", "format", "mix", "kind")


def check_plan(plan: RunPlan) -> Inputs | None:
    """Make sure that a plan can be carried out; the inputs of its first run, `None` where nothing is to do.

    Raises
    ------
    FolderError
        If the folder belongs to another experiment.
    SiteError, WorkloadError, InputError
        If an input cannot be used.
    """
    from tafukt.experiments.runs.manifest import refuse_other

    refuse_other(plan.folder, plan.loaded)
    return check_inputs(plan) if plan.missing or plan.wanted else None


def processors() -> int:
    """Number of processors that this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(plan: RunPlan, estimated_s: float, processors: int) -> int:
    """Number of processes that are worth their start for a plan."""
    pieces = len(plan.missing) + len(plan.wanted)
    return max(1, min(processors, pieces, round(estimated_s / WORTH_S)))


def carry_out(
    plan: RunPlan, workers: int = 1, cluster: str = "", progress: RunProgress | None = None
) -> SessionOutcome:
    """Run what is missing and bring the folder up to date.

    Raises
    ------
    FolderError
        If the folder belongs to another experiment.
    SiteError, WorkloadError, InputError
        If an input cannot be used; nothing has been written then.
    """
    from tafukt.experiments.runs import workers as work
    from tafukt.experiments.runs.manifest import begin

    folder, loaded = plan.folder, plan.loaded
    inputs = check_plan(plan)
    begin(folder, loaded, plan.runs)
    for run_id in plan.damaged:
        folder.discard(run_id)
    runs, wanted = plan.missing, [(kind, run.cell) for _, kind, run in plan.wanted]
    total = len(runs) + len(wanted)
    costs = costs_s(plan, inputs) if inputs else {}
    report = _reporter(plan, progress, costs)
    faults: list[str] = []
    try:
        if total and cluster:
            whole = sum(costs.values()) < CELL_S * plan.cells
            faults = work.on_cluster(folder, runs, wanted, cluster, report, whole)
        elif total > 1 and workers > 1:
            faults = work.in_processes(folder, work.pieces_of(runs, wanted, workers), workers, report)
        elif total:
            faults = work.here(folder, work.pieces_of(runs, wanted, 1), report)
    finally:
        try:
            rows = refresh(plan)
        finally:
            folder.sweep()
    return SessionOutcome(plan, rows, faults + _vanished(plan, rows, faults))


def _vanished(plan: RunPlan, rows: Sequence[Row], faults: Sequence[str]) -> list[str]:
    """Chosen runs that are not there in the end, though nothing is said of them."""
    there, told = {row["run"] for row in rows}, "\n".join(faults)
    gone = [run.run_id for run in plan.chosen if run.run_id not in there and run.run_id not in told]
    return [f"{name}: is not in the folder any more, though it was done" for name in gone]


def refresh(plan: RunPlan) -> list[Row]:
    """Bring summary and manifest up to date with the runs that are there."""
    from tafukt.experiments.runs.manifest import rebuild

    return rebuild(plan.folder, plan.loaded, plan.runs)


def _reporter(plan: RunPlan, progress: RunProgress | None, costs: Mapping[str, float]) -> Callable[[], None]:
    """Callback that counts what is there by now, tells, and now and then brings the summary up to date."""
    left = dict(costs)
    refreshed_s = time.monotonic()

    def report() -> None:
        """Say how far it is."""
        nonlocal refreshed_s
        if time.monotonic() - refreshed_s > REFRESH_S:
            refresh(plan)
            refreshed_s = time.monotonic()
        if progress is None:
            return
        for name in [name for name in left if (plan.folder.path / name).exists()]:
            del left[name]
        done = len(plan.missing) - sum(name.startswith("runs/") for name in left)
        progress(done, len(plan.missing), 1.0 - sum(left.values()) / sum(costs.values()))

    return report


def default_folder(loaded: Loaded) -> Path:
    """`results/NAME` in the current folder."""
    return Path("results") / loaded.experiment.name


# --- How long a plan will take: the processor time of its runs by policy, jobs and supply steps
# The figures are of one machine; while runs go on, what is done of the estimate says how long the rest will take.


# Processor time as measured on one machine, rounded: of a run, of each supply step, and of each job under a policy that
# solves programmes, that plans, that looks for the right hour, and that starts jobs as they come [s].
RUN_S, STEP_S = 0.05, 1.5e-6
SOLVES_S, PLANS_S, WAITS_S, STARTS_S = 1e-2, 6e-3, 8e-4, 1.2e-4
# Of a bound, and of a best schedule, which is planned several times over [s].
BOUND_S, BOUND_JOB_S, BEST_JOB_S = 0.1, 2.5e-4, 1e-2
# Of a step of the search for one, with twelve sites [s].
SEARCH_STEP_S = 4.5e-4


def costs_s(plan: RunPlan, inputs: Inputs) -> dict[str, float]:
    """Roughly the processor time of each thing that a plan lacks, by where it will stand, going by its first cell [s].

    A run that is late needs a bound of its own, which takes little once that of its cell is known.
    """
    jobs = len(inputs.jobs)
    bound = BOUND_S + BOUND_JOB_S * jobs
    late = bound / 20 if plan.loaded.experiment.bound else 0.0
    a_run = {policy: run_s(policy, inputs) for policy in plan.loaded.policies}
    costs = {f"runs/{run.run_id}": late + a_run[run.policy] for run in plan.missing}
    wanted = plan.loaded.experiment.best_known
    steps_wanted = 0 if isinstance(wanted, bool) or not wanted.search else wanted.steps
    best = BEST_JOB_S * jobs + SEARCH_STEP_S * steps_wanted
    return costs | {name: bound if kind == "bound" else best for name, kind, _ in plan.wanted}


def _steps(inputs: Inputs) -> float:
    return len(inputs.scenario.sites) * inputs.scenario.end_s / inputs.scenario.step_s


def run_s(policy: PolicyRef, inputs: Inputs) -> float:
    """Roughly the processor time of one run of a policy, without any bound [s]."""
    return RUN_S + STEP_S * _steps(inputs) + _job_s(policy) * len(inputs.jobs)


def _job_s(ref: PolicyRef) -> float:
    """Processor time of a job under a policy, by what kind it is [s]."""
    from tafukt.simulator.policies.list_scheduler import ListScheduler
    from tafukt.simulator.policies.planner.planner import Planner

    policy = ref.load()
    if isinstance(policy, Planner):
        return PLANS_S if type(policy) is Planner else SOLVES_S
    simple = isinstance(policy, ListScheduler) and policy.parts.when is None and policy.parts.review is None
    return STARTS_S if simple else WAITS_S
