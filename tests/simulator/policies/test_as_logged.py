"""The policy that replays a log's own schedule."""

from __future__ import annotations

from dataclasses import replace

import builders.jobs as kit

from tafukt.simulator.policies.presets import policy
from tafukt.workloads.job import Job


def logged(name: str, submit_s: float, gpus: int, runtime_s: float, start_s: float | None, site: str = "") -> Job:
    job = kit.job(name, submit_s, gpus, runtime_s, slack_s=60.0)
    return Job(replace(job.ask, logged_start_s=start_s, logged_site=site), job.truth)


def test_starts_and_places_are_the_logs_own() -> None:
    jobs = [
        logged("a", 0, 8, 600, 100, "s1"),
        logged("b", 0, 8, 600, 7200.5, "s0"),  # beyond its slack of a minute
        logged("c", 10, 8, 600, 10, "s0"),
        logged("d", 20, 1, 60, None),
    ]
    record = kit.run(jobs, kit.scenario(2), policy("as-logged"))
    starts = {job.ask.job_id: o.start_s for job, o in zip(record.jobs, record.outcomes, strict=True)}
    sites = {job.ask.job_id: o.site for job, o in zip(record.jobs, record.outcomes, strict=True)}
    assert starts == {"a": 100.0, "b": 7200.5, "c": 10.0, "d": 20.0}
    assert sites == {"a": 1, "b": 0, "c": 0, "d": 1}


def test_on_fewer_nodes_the_log_is_followed_as_soon_as_there_is_room() -> None:
    jobs = [logged("a", 0, 8, 600, 0, "s0"), logged("b", 0, 8, 600, 30, "s0"), logged("c", 0, 8, 600, 20, "s0")]
    record = kit.run(jobs, kit.scenario(1), policy("as-logged"))
    starts = {job.ask.job_id: o.start_s for job, o in zip(record.jobs, record.outcomes, strict=True)}
    assert starts == {"a": 0.0, "c": 600.0, "b": 1200.0}


def test_without_a_log_it_does_what_fifo_does() -> None:
    import numpy as np

    jobs = kit.random_jobs(np.random.default_rng(4), 60, 16, True, span_s=4000)
    by = [kit.run(jobs, kit.scenario(2), policy(name)) for name in ("as-logged", "fifo")]
    assert [o.start_s for o in by[0].outcomes] == [o.start_s for o in by[1].outcomes]
