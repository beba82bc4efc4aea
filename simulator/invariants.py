"""What must hold after every run, whatever the input; a breach names the job and the site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.cluster import Cluster
from simulator.errors import BreachError
from simulator.record import Outcome, Stints
from simulator.scenario import Scenario
from workloads.job import Job


def check_jobs(scenario: Scenario, jobs: Sequence[Job], outcomes: Sequence[Outcome], stints: Stints) -> None:
    """No GPU used twice, nothing before its submission or where it may not be, work neither lost nor made.

    Raises
    ------
    BreachError
        If one of these does not hold.
    """
    submits = np.array([job.ask.submit_s for job in jobs])
    early = stints.start_s < submits[stints.job] - 1e-3 if len(jobs) else np.zeros(0, dtype=bool)
    if early.any():
        row = int(early.argmax())
        raise BreachError(f"job {_name(jobs, stints, row)!r} ran at {stints.start_s[row]} s, before its submission")
    for site, spec in enumerate(scenario.sites):
        mine = stints.site == site
        times = np.concatenate((stints.start_s[mine], stints.end_s[mine]))
        change = np.concatenate((stints.gpus[mine], -stints.gpus[mine]))
        order = np.lexsort((change, times))  # at one instant GPUs are given back before they are taken
        held = np.cumsum(change[order])
        if len(held) and held.max() > spec.gpus:
            when = times[order][int(held.argmax())]
            raise BreachError(f"{spec.name} ran {int(held.max())} of its {spec.gpus} GPUs at {when} s")
    for pair in np.unique(np.stack((stints.job, stints.site)), axis=1).T.tolist():
        ask, spec = jobs[pair[0]].ask, scenario.sites[pair[1]]
        if not scenario.may_run(ask, spec):
            raise BreachError(f"job {ask.job_id!r} ran on {spec.name}, where its data may not be")
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.state in ("done", "cancelled") and outcome.work_left_gpu_s:
            raise BreachError(f"job {job.ask.job_id!r} is {outcome.state} with work left")


def recorded_it_j(cluster: Cluster, stints: Stints, site: int, end_s: float) -> float:
    """The IT energy of a site from the records of its jobs and nodes, not from its ledger [J]."""
    cluster.tally(end_s)
    mine = stints.site == site
    duration = stints.end_s[mine] - stints.start_s[mine]
    node = cluster.node
    jobs_j = float(np.dot(stints.power_w[mine], duration))
    idle_gpu_s = cluster.awake_node_s * node.gpus - float(np.dot(stints.gpus[mine], duration))
    return jobs_j + idle_gpu_s * node.idle_w / node.gpus + cluster.asleep_node_s * node.sleep_w


def _name(jobs: Sequence[Job], stints: Stints, row: int) -> str:
    return jobs[int(stints.job[row])].ask.job_id
