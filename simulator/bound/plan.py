"""What a programme's optimum says in the terms of sites and jobs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.bound.matrix import Bools, Programme
from simulator.bound.relaxation import J_PER_KWH, S_PER_H, W_PER_KW, Supply, Work, intensity_range
from simulator.record import Floats, Ints


@dataclass(frozen=True)
class Plan:
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
        Index of a job as given, slot, and the reference GPUs that it keeps busy; pooled jobs do not appear.
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


def values(programme: Programme, name: str, x: Floats) -> Floats:
    """A block of columns at a primal point, 0 where a column does not exist."""
    number = programme.columns.get(name, np.full(1, -1))
    return np.where(number >= 0, x[number], 0.0)


def plan_of(programme: Programme, supply: Supply, work: Work, x: Floats, edges_s: Floats, jobs: Ints) -> Plan:
    """The plan at a primal point; `jobs` are the indices of the jobs that have variables of their own."""
    least, _ = intensity_range(work)
    gpus = values(programme, "gpus", x)
    load = values(programme, "load", x) + least[:, None, None] * gpus
    own = values(programme, "own", x)
    done = values(programme, "pool", x) if len(work.step_pool) else np.zeros(0)
    before = np.where(np.diff(work.step_pool, prepend=-1) == 0, np.roll(done, 1), 0.0)
    rate = (done - before) * S_PER_H / supply.duration_s[work.step_slot]
    pinned = work.allowed.sum(axis=1) == 1
    site = work.allowed.argmax(axis=1)
    for kind, slot, intensity, busy in (
        (work.own_class[work.cell_own], work.cell_slot, work.own_intensity[work.cell_own], own),
        (work.pool_class[work.step_pool], work.step_slot, work.pool_intensity[work.step_pool], rate),
    ):
        here = pinned[kind]
        k, t = kind[here], slot[here]
        count = busy[here] / supply.speed[site[k]]
        np.add.at(gpus, (k, site[k], t), count)
        np.add.at(load, (k, site[k], t), count * intensity[here])
    it_w = supply.gpu_w[:, None] * gpus.sum(axis=0) + supply.dynamic_w[:, None] * load.sum(axis=0)
    stored = values(programme, "stored", x) * J_PER_KWH
    return Plan(
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
