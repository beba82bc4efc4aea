"""The conformance kit: policies that are bad on purpose are caught, each for what it does; ours pass."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tafukt.simulator.conformance import CHECKS, cases, check, other_future, renamed
from tafukt.simulator.engine.actions import Action, Hold, Pause, Resize, Start, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.policies.registry import FunctionPolicy
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import in_order

Rounds = Callable[[View], Iterable[Action] | None]


def greedy(view: View, order: Iterable[JobState] | None = None) -> Iterator[Action]:
    """What is good about all of them: whoever fits starts."""
    jobs = sorted(view.waiting.values(), key=lambda job: job.index) if order is None else order
    for job in list(jobs):
        gpus = job.ask.gpus_min or job.ask.gpus
        for site in view.fitting(job, view.sites_for(job), gpus)[:1]:
            yield Start(job, site, gpus, reason="it fits")


def found(function: Rounds) -> dict[str, str]:
    return {finding.check: finding.message for finding in check(lambda: FunctionPolicy("mine", function))}


def test_a_good_policy_of_a_few_lines_breaks_nothing() -> None:
    assert found(greedy) == {}


def test_starting_where_there_is_no_room_is_told() -> None:
    def crowds(view: View) -> Iterator[Action]:
        for job in list(view.waiting.values()):
            yield Start(job, view.sites_for(job)[0])

    assert "has no room for" in found(crowds)["impossible"]


def test_taking_data_abroad_is_told() -> None:
    def exports(view: View) -> Iterator[Action]:
        for job in list(view.waiting.values()):
            if view.room(2) >= job.ask.gpus:
                yield Start(job, 2)

    assert "may not run on" in found(exports)["residency"]


def test_pausing_what_cannot_be_paused_and_resizing_what_is_rigid_are_told() -> None:
    def pauses(view: View) -> Iterator[Action]:
        yield from (Pause(job) for job in list(view.running.values()) if job.running and job.started_s < view.now_s)
        yield from greedy(view)

    def resizes(view: View) -> Iterator[Action]:
        yield from (Resize(job, 1) for job in list(view.running.values()) if job.running and job.gpus > 1)
        yield from greedy(view)

    assert "not interruptible" in found(pauses)["impossible"]
    assert found(resizes)["impossible"]


def test_a_hold_that_ends_in_the_past_is_told() -> None:
    def holds(view: View) -> Iterator[Action]:
        yield from (Hold(job, view.now_s) for job in view.waiting.values())

    assert "must end in the future" in found(holds)["impossible"]


def later_w(view: View) -> float:
    """The sun of tomorrow, which nobody can know."""
    tomorrow = min(view.now_s + 86_400.0, view.scenario.end_s - 1.0)
    return view.scenario.sites[0].pv.at(tomorrow)


def test_looking_at_tomorrows_sun_is_told() -> None:
    def prophet(view: View) -> Iterator[Action]:
        if later_w(view) < 4000.0:
            yield from greedy(view)
        yield Wake(view.now_s + 3600.0)

    assert "with another future from 30 h on, it parts at" in found(prophet)["future"]


def test_looking_at_true_runtimes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    truth: list[Job] = []

    def leaking(jobs: Sequence[Job]) -> tuple[Job, ...]:
        truth[:] = in_order(jobs)
        return tuple(truth)

    monkeypatch.setattr("tafukt.simulator.engine.engine.in_order", leaking)

    def knows(view: View) -> Iterator[Action]:
        yield from greedy(view, sorted(view.waiting.values(), key=lambda job: truth[job.index].truth.work_gpu_s))

    messages = found(knows)
    assert set(messages) == {"future"}


def test_taking_whom_the_dictionary_gives_first_is_told() -> None:
    def first(view: View) -> Iterator[Action]:
        yield from greedy(view, view.waiting.values())

    assert set(found(first)) == {"order"}


def test_going_by_the_names_of_jobs_is_told() -> None:
    def by_name(view: View) -> Iterator[Action]:
        yield from greedy(view, sorted(view.waiting.values(), key=lambda job: job.ask.job_id))

    assert set(found(by_name)) == {"ids"}


def test_throwing_dice_is_told() -> None:
    dice = random.Random(1)

    def dicey(view: View) -> Iterator[Action]:
        yield from greedy(view, sorted(view.waiting.values(), key=lambda job: (dice.random(), job.index)))

    assert "chance" in found(dicey)


def test_remembering_an_earlier_run_is_told() -> None:
    class Twice(FunctionPolicy):
        runs: itertools.count[int]

        def __init__(self) -> None:
            super().__init__("mine", self.decide)
            self.runs = itertools.count()

        def begin(self, view: View) -> None:
            self.backwards = next(self.runs) % 2 == 1

        def decide(self, view: View) -> Iterator[Action]:
            sign = -1 if self.backwards else 1
            yield from greedy(view, sorted(view.waiting.values(), key=lambda job: sign * job.index))

    assert {finding.check for finding in check(Twice)} == {"memory"}


def test_never_starting_large_jobs_is_told() -> None:
    def small_only(view: View) -> Iterator[Action]:
        jobs = sorted(view.waiting.values(), key=lambda job: job.index)
        yield from greedy(view, [job for job in jobs if job.ask.gpus < 8])

    message = found(small_only)["starvation"]
    assert "had never started" in message
    assert "for 8 GPUs" in message


def test_starting_nobody_at_all_is_told() -> None:
    assert "starvation" in found(lambda view: None)


def test_asking_for_rounds_without_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tafukt.simulator.conformance.ROUNDS_MOST", 2000)

    def restless(view: View) -> Iterator[Action]:
        yield from greedy(view)
        yield Wake(view.now_s + 1.0)

    messages = found(restless)
    assert set(messages) == {"endless"}
    assert "2,000 rounds by" in messages["endless"]


def test_an_error_of_the_policys_own_is_told_with_its_name() -> None:
    def clumsy(view: View) -> Any:
        return [Start(job, 7) for job in view.waiting.values()] if view.now_s < 0 else 1 // 0

    (message,) = found(clumsy).values()
    assert "policy 'mine' at" in message
    assert message.endswith("its round fails with ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.parametrize("name", ["fifo", "conservative", "wait-for-sun", "sun-slots", "sun-elastic", "las"])
def test_ours_break_nothing(name: str) -> None:
    assert check(lambda: policy(name)) == []


def test_every_check_has_words() -> None:
    for function in (lambda view: None, lambda view: 1 // 0):
        assert set(found(function)) <= set(CHECKS)


def test_two_futures_are_one_until_they_part() -> None:
    case, after_s = cases()[0], 30 * 3600.0
    other = other_future(case, after_s, frozenset())
    parts = round(after_s / case.scenario.step_s)
    for mine, theirs in zip(case.scenario.sites, other.scenario.sites, strict=True):
        for here, there in ((mine.pv, theirs.pv), (mine.grid.carbon, theirs.grid.carbon)):
            assert np.array_equal(here.values[:parts], there.values[:parts])
            assert not np.array_equal(here.values[parts:], there.values[parts:])
    early = [job for job in case.jobs if job.ask.submit_s < after_s]
    assert [job for job in other.jobs if job.ask.submit_s < after_s] == early
    assert {job.ask.job_id for job in other.jobs} - {job.ask.job_id for job in case.jobs}


def test_renamed_jobs_are_the_same_jobs_in_another_order_of_names() -> None:
    case = cases()[0]
    other, names = renamed(case)
    assert [names[job.ask.job_id] for job in other.jobs] == [job.ask.job_id for job in case.jobs]
    new = [job.ask.job_id for job in other.jobs]
    assert sorted(new) != new
