"""How long a plan will take: the processor time of its runs by policy, jobs and supply steps.

The figures are of one machine; while runs go on, what is done of the estimate says how long the rest will take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.policy import PolicyRef

if TYPE_CHECKING:
    from experiments.build import Inputs
    from experiments.session import Plan

# Processor time as measured on one machine, rounded: of a run, of each supply step, and of each job under a policy that
# solves programmes, that plans, that looks for the right hour, and that starts jobs as they come [s].
RUN_S, STEP_S = 0.05, 1.5e-6
SOLVES_S, PLANS_S, WAITS_S, STARTS_S = 1.5e-2, 6e-3, 8e-4, 1.2e-4
# Of a bound, and of a best schedule, which is planned several times over [s].
BOUND_S, BOUND_JOB_S, BEST_JOB_S = 0.1, 4e-4, 1e-2


def costs_s(plan: Plan, inputs: Inputs) -> dict[str, float]:
    """Roughly the processor time of each thing that a plan lacks, by where it will stand, going by its first cell [s].

    A run that is late needs a bound of its own: half of one is counted for each.
    """
    jobs, scenario = len(inputs.jobs), inputs.scenario
    steps = len(scenario.sites) * scenario.end_s / scenario.step_s
    bound = BOUND_S + BOUND_JOB_S * jobs
    base = RUN_S + STEP_S * steps + (bound / 2 if plan.loaded.experiment.bound else 0.0)
    a_job = {policy: _job_s(policy) for policy in plan.loaded.policies}
    costs = {f"runs/{run.run_id}": base + a_job[run.policy] * jobs for run in plan.missing}
    return costs | {name: bound if kind == "bound" else BEST_JOB_S * jobs for name, kind, _ in plan.wanted}


def _job_s(ref: PolicyRef) -> float:
    """Processor time of a job under a policy, by what kind it is [s]."""
    from simulator.policies.planner import Planner
    from simulator.policies.scheduler import ListScheduler

    policy = ref.load()
    if isinstance(policy, Planner):
        return PLANS_S if type(policy) is Planner else SOLVES_S
    simple = isinstance(policy, ListScheduler) and policy.parts.when is None and policy.parts.review is None
    return STARTS_S if simple else WAITS_S
