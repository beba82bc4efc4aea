"""Admission control: a policy may refuse a job, says why, and what that saves is never taken for a better schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import builders.jobs as kit
import pytest

from tafukt.experiments.results import metrics
from tafukt.simulator.engine.actions import Action, Pause, Refuse, Start
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.policies.registry import FunctionPolicy
from tafukt.workloads.job import Checkpoint

HOUR = 3600.0


def picky(view: Any) -> Iterator[Action]:
    """Refuses whoever asks for more than four GPUs."""
    for job in list(view.waiting.values()):
        if job.ask.gpus > 4:
            yield Refuse(job, "too large for us", {"most_gpus": 4})
        elif view.fitting(job, [0], job.ask.gpus):
            yield Start(job, 0)


def jobs() -> list[Any]:
    return [kit.job("small", 0.0, 4, 2 * HOUR), kit.job("large", 600.0, 8, HOUR)]


def test_a_refused_job_has_an_end_of_its_own_with_its_reason() -> None:
    record = kit.run(jobs(), policy=FunctionPolicy("picky", picky))
    outcome = kit.outcome(record, "large")
    assert (outcome.state, outcome.end_s, outcome.busy_gpu_s) == ("refused", 600.0, 0.0)
    assert outcome.work_left_gpu_s == 8 * HOUR
    assert kit.outcome(record, "small").state == "done"
    event = next(e for e in record.events if e.kind == "refuse")
    assert (event.time_s, event.job, event.reason) == (600.0, 1, "too large for us")
    assert event.detail == {"state": "refused", "most_gpus": 4}


def test_grid_cut_is_shown_beside_the_cut_for_the_work_done() -> None:
    """Half the work refused, 8 of 16 GPU-hours: the node's idle power is then all for the other half."""
    base = metrics.summary(kit.run(jobs()))
    run = metrics.summary(kit.run(jobs(), policy=FunctionPolicy("picky", picky)))
    assert (run["jobs_refused"], run["jobs_left"], run["jobs_done"]) == (1, 0, 1)
    assert (run["work_refused_gpu_hours"], run["work_left_gpu_hours"]) == (8.0, 0.0)
    assert (run["work_done_gpu_hours"], base["work_done_gpu_hours"]) == (8.0, 16.0)
    found = metrics.comparison(run, base, bound=20.0)
    # A node of 1 kW idle for a day, and 0.5 kW for each GPU at work.
    assert base["draw_kwh"] == pytest.approx(24 + 16 * 0.5)
    assert run["draw_kwh"] == pytest.approx(24 + 8 * 0.5)
    assert found["grid_cut"] == pytest.approx(1 - 28 / 32)
    assert found["grid_cut_per_work"] == pytest.approx(1 - (28 / 8) / (32 / 16))
    assert found["captured"] != found["captured"], "a bound of other work measures nothing"


def test_a_job_that_no_site_can_hold_blanks_no_cut() -> None:
    """Every policy leaves it alone, so their draws compare."""
    huge = [*jobs(), kit.job("huge", 0.0, 99, HOUR)]
    run = metrics.summary(kit.run(huge))
    assert (run["jobs_rejected"], run["work_refused_gpu_hours"], run["work_left_gpu_hours"]) == (1, 99.0, 0.0)
    assert metrics.comparison(run, run, None)["grid_cut"] == 0.0


def test_a_paused_job_may_be_refused_and_keeps_what_it_has_done() -> None:
    def refuse(view: Any) -> list[Action]:
        return [Refuse(job, "enough") for job in view.waiting.values()]

    saving = Checkpoint(1.0, 60.0, 60.0)
    steps = {900.0: lambda view: [Pause(kit.lives(view)["a"])], 960.0: refuse}
    record = kit.run([kit.job("a", 0.0, 8, HOUR, checkpoint=saving)], policy=kit.Script(steps))
    outcome = kit.outcome(record, "a")
    assert (outcome.state, outcome.work_left_gpu_s, outcome.lost_gpu_s) == ("refused", 8 * 2700.0, 0.0)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (lambda job: Refuse(job, ""), "it says no reason"),
        (lambda job: [Refuse(job, "no"), Refuse(job, "no")], "it is ended, not waiting"),
        (lambda job: [Start(job, 0), Refuse(job, "no")], "it is running, not waiting"),
        (lambda job: [Refuse(job, "no"), Start(job, 0)], "it is ended, not waiting"),
    ],
)
def test_an_impossible_refusal_names_policy_and_job(action: Any, said: str) -> None:
    def asks(view: Any) -> Iterator[Action]:
        for job in list(view.waiting.values()):
            asked = action(job)
            yield from asked if isinstance(asked, list) else [asked]

    with pytest.raises(PolicyError, match=f"'mine'.*'small'.*{said}"):
        kit.run(jobs(), policy=FunctionPolicy("mine", asks))
