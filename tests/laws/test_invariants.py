"""Every invariant can fail: a good run is spoilt in one place, and the check names the job, the site and the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.engine.checks.invariants import check_cluster, check_ends, check_jobs
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.engine import Engine
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.errors import BreachError
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Record
from tafukt.workloads.job import Checkpoint, SpeedUp

SAVING = Checkpoint(1.0, 30.0, 30.0, 600.0)
CURVE = SpeedUp((1, 2, 8), (1.0, 1.9, 6.0))


def good() -> Record:
    """Two sites; a plain job, one with periodic checkpoints, a regional one, an elastic one, and one that is left."""
    sites = [kit.site("s0", 2), kit.site("s1", 1, online_s=50.0)]
    jobs = [
        kit.job("plain", 60.0, 8, 3600.0),
        kit.job("saved", 100.0, 4, 3600.0, checkpoint=SAVING),
        kit.job("bound", 200.0, 4, 1800.0, residency="regional"),
        kit.job("elastic", 300.0, 2, 1800.0, home="s1", elasticity="moldable", gpus_min=1, gpus_max=8, speedup=CURVE),
        kit.job("left", 80_000.0, 4, 36_000.0),
    ]
    return kit.run(jobs, kit.scenario(sites))


def index(record: Record, name: str) -> int:
    return next(i for i, job in enumerate(record.jobs) if job.ask.job_id == name)


def spoil(column: str, name: str, change: Callable[[Any], Any]) -> Callable[[Record], Record]:
    """Change one cell of a job's first occupancy."""

    def spoilt(record: Record) -> Record:
        values = getattr(record.occupancy, column).copy()
        row = int(np.flatnonzero(record.occupancy.job == index(record, name))[0])
        values[row] = change(values[row])
        return replace(record, occupancy=replace(record.occupancy, **{column: values}))

    return spoilt


def outcome(name: str, **values: Any) -> Callable[[Record], Record]:
    """Change what became of a job."""

    def spoilt(record: Record) -> Record:
        outcomes, place = [*record.outcomes], index(record, name)
        outcomes[place] = replace(outcomes[place], **values)
        return replace(record, outcomes=outcomes)

    return spoilt


def twice(record: Record) -> Record:
    """The first occupancy of `plain`, once more on the other site."""
    row = int(np.flatnonzero(record.occupancy.job == index(record, "plain"))[0])
    occupancy = {
        name: np.append(column, 1 if name == "site" else column[row])
        for name in ("job", "site", "start_s", "end_s", "gpus", "power_w", "kind")
        for column in [getattr(record.occupancy, name)]
    }
    return replace(record, occupancy=replace(record.occupancy, **occupancy))


def regional(record: Record) -> Record:
    return spoil("site", "saved", lambda _: 1)(
        replace(record, scenario=replace(record.scenario, coordination="regional"))
    )


BREACHES: dict[str, tuple[Callable[[Record], Record], str]] = {
    "before submission": (spoil("start_s", "saved", lambda t: t - 1.0), "'saved' ran on s0 at 99.0 s, before its sub"),
    "before online": (
        lambda r: replace(r, scenario=kit.scenario([kit.site("s0", 2, online_s=70.0), r.scenario.sites[1]])),
        "'plain' ran on s0 at 60.0 s, before its site was online",
    ),
    "backwards": (spoil("end_s", "plain", lambda _: -1.0), "backwards"),
    "beyond the window": (spoil("end_s", "left", lambda t: t + 1.0), "beyond the window"),
    "after its end": (spoil("end_s", "plain", lambda t: t + 1.0), "after its own end"),
    "in two places": (twice, "'plain' ran on .* twice at once"),
    "too many GPUs": (spoil("gpus", "plain", lambda _: 17), "s0 ran 25 of its 16 GPUs at 200.0 s"),
    "wrong region": (spoil("site", "bound", lambda _: 1), "'bound' ran on s1, where its data may not be"),
    "not at home": (regional, "'saved' ran on s1, not at home"),
    "work made": (
        spoil("end_s", "plain", lambda t: t - 1.0),
        "'plain' has done 28800 GPU-s of work, but ran for 28792",
    ),
    "work made while saving": (spoil("end_s", "saved", lambda t: t - 200.0), "'saved' has done"),
    "work lost": (outcome("plain", work_left_gpu_s=100.0), "'plain' has done 28700"),
    "work lost while saving": (outcome("saved", work_left_gpu_s=2000.0), "'saved' has done"),
    "work made by resizing": (spoil("gpus", "elastic", lambda _: 1), "'elastic' has done"),
    "nobody knows the work": (outcome("left", work_left_gpu_s=math.nan), "'left' has done nan"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_spoilt_run_is_noticed(name: str) -> None:
    record, (spoilt, said) = good(), BREACHES[name]
    check_jobs(record.scenario, record.jobs, record.outcomes, record.occupancy, Settings())
    bad = spoilt(record)
    with pytest.raises(BreachError, match=said):
        check_jobs(bad.scenario, bad.jobs, bad.outcomes, bad.occupancy, Settings())


ENDS: dict[str, tuple[Callable[[Record], Record], str]] = {
    "nowhere": (outcome("plain", state="left", end_s=math.nan), "'plain' is nowhere"),
    "ended and there": (outcome("left", state="done", end_s=5.0, work_left_gpu_s=0.0), "'left' is done and still"),
    "ended never": (outcome("plain", end_s=math.nan), "'plain' is done, but its end is nan"),
    "left, with an end": (outcome("left", end_s=5.0), "'left' is left, but its end is 5"),
    "done with work left": (outcome("plain", work_left_gpu_s=1e-3), "'plain' is done with work left"),
    "refused without end": (
        outcome("plain", state="refused", end_s=math.nan),
        "'plain' is refused, but its end is",
    ),
    "rejected at work": (outcome("plain", state="rejected"), "'plain' was rejected, but held GPUs"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_job_that_is_lost_is_noticed(name: str) -> None:
    record, (spoilt, said) = good(), ENDS[name]
    left = [JobState(index(record, "left"), record.jobs[index(record, "left")].ask)]
    end_s = record.scenario.end_s
    check_ends(record.jobs, record.outcomes, left, end_s)
    bad = spoilt(record)
    with pytest.raises(BreachError, match=said):
        check_ends(bad.jobs, bad.outcomes, left, end_s)
    with pytest.raises(BreachError, match="two places"):
        check_ends(record.jobs, record.outcomes, left * 2, end_s)


def test_a_node_that_forgets_a_job_is_noticed() -> None:
    cluster, life = Cluster(kit.AWAKE, 2), JobState(0, kit.job("a", 0, 4, 1).ask)
    life.allocation = cluster.place(4) or ()
    cluster.take(life.allocation, 0.0)
    check_cluster(cluster, [life], "s0", 5.0)
    with pytest.raises(BreachError, match=r"s0: at 5.0 s node 0 counts 4 GPUs free, but its jobs hold 0"):
        check_cluster(cluster, [], "s0", 5.0)
    cluster.release(life.allocation)
    with pytest.raises(BreachError, match="node 0 counts 8 GPUs free, but its jobs hold 4"):
        check_cluster(cluster, [life], "s0", 5.0)


@pytest.mark.parametrize("what", ["lost", "cluster", "job", "energy"])
def test_the_engine_stops_a_run_that_breaks_them(what: str) -> None:
    """The checks are asked: a fault inside the engine does not leave it as a result."""
    jobs = [kit.job("a", 0.0, 8, 3600.0), kit.job("left", 80_000.0, 4, 36_000.0)]
    engine = Engine(kit.scenario(), jobs, policy("fifo"), 1, Settings())
    close = engine.phases.close

    def spoilt(end_s: float) -> None:
        close(end_s)
        if what == "lost":
            engine.state.running.clear()
        elif what == "cluster":
            engine.state.clusters[0].free[0] += 1
        elif what == "job":
            engine.state.log.outcomes.work_left_gpu_s[1] += 100.0
        else:
            engine.state.ledgers[0].it_values[1] += 1.0

    engine.phases.close = spoilt  # type: ignore[method-assign]
    with pytest.raises(BreachError):
        engine.run()
