"""What a bad policy can do: not harm others, not run for ever, not end in a riddle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import builders.cases as cases
import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.conformance import check
from tafukt.simulator.engine.actions import Hold, Start, Wake
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.errors import PolicyCrash, PolicyEndless, PolicyError, PolicyWrote
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.policies.registry import FunctionPolicy
from tafukt.simulator.scenario import Quota


def starts_all(view: Any) -> Iterator[Any]:
    for job in sorted(view.waiting.values(), key=lambda job: job.index):
        if fitting := view.fitting(job, view.sites_for(job), job.ask.gpus):
            yield Start(job, fitting[0])


def after(write: Callable[[Any], Any]) -> FunctionPolicy:
    """Writes once into what it is handed, then starts everybody."""
    done: list[bool] = []

    def policy(view: Any) -> Iterator[Any]:
        if view.waiting and not done:
            done.append(True)
            write(view)
        yield from starts_all(view)

    return FunctionPolicy("scribe", policy)


def first(view: Any) -> Any:
    return next(iter(view.waiting.values()))


JOBS = [kit.job("a", 0.0, 4, 600.0), kit.job("b", 60.0, 4, 600.0)]
WRITES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "ask": (lambda view: object.__setattr__(first(view).ask, "gpus", 1), "1 of the jobs, 'a' first"),
    "inside an ask": (lambda view: object.__setattr__(first(view).ask.tenant, "region", "x"), "the jobs, 'a' first"),
    "site": (lambda view: object.__setattr__(view.scenario.sites[0], "fixed_w", 5.0), "the scenario"),
    "node": (lambda view: object.__setattr__(view.sites[0].spec.node, "idle_w", 0.0), "the scenario"),
    "quotas": (lambda view: view.scenario.quotas.update(r0=Quota(1.0)), "the scenario"),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_policy_that_writes_into_jobs_or_scenario_is_named(what: str) -> None:
    write, said = WRITES[what]
    jobs = [replace(job, ask=replace(job.ask, tenant=replace(job.ask.tenant))) for job in JOBS]
    where = kit.scenario([kit.site(node=replace(kit.AWAKE))], quotas={"r9": Quota(4.0)})
    with pytest.raises(PolicyWrote, match=f"'scribe' has written into .*{said}"):
        simulate(where, jobs, after(write))
    assert simulate(kit.scenario(), JOBS, FunctionPolicy("mine", starts_all)).outcomes[1].state == "done"


@pytest.mark.parametrize(
    "write",
    [
        lambda view: view.waiting.clear(),
        lambda view: view.running.pop(0),
        lambda view: np.add(view.forecast.free_w(view.now_s)[1], 1.0, out=view.forecast.free_w(view.now_s)[1]),
        lambda view: view.forecast.carbon(view.now_s).fill(0.0),
        lambda view: view.scenario.sites[0].pv.values.fill(1e9),
        lambda view: setattr(first(view).ask, "slack_s", 0.0),
    ],
)
def test_what_is_handed_cannot_be_written_by_honest_means(write: Callable[[Any], Any]) -> None:
    with pytest.raises(PolicyCrash, match="policy 'scribe' at 0 s: its round fails with"):
        simulate(kit.scenario(), JOBS, after(write))


OWN_STATE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "work done": (lambda view: setattr(first(view), "done_gpu_s", 1e9), "job 'a': its done_gpu_s"),
    "phase": (lambda view: setattr(first(view), "phase", "ended"), "job 'a': its phase"),
    "another ask": (lambda view: setattr(first(view), "ask", JOBS[1].ask), "job 'a': its ask"),
    "work at risk": (lambda view: first(view).at_risk.append(3), "job 'a': its at_risk"),
    "taking nodes": (lambda view: view.sites[0].nodes.take(((0, 1),), view.now_s), "nodes: their"),
    "waking nodes": (lambda view: setattr(view.sites[0].nodes, "asleep", 0), "nodes: their asleep"),
    "free GPUs": (lambda view: view.sites[0].nodes.free.__setitem__(0, 100), "nodes: their free"),
    "levels": (lambda view: view.sites[0].nodes.level.clear(), "nodes: their level"),
}


@pytest.mark.parametrize("what", OWN_STATE)
@pytest.mark.parametrize("coordination", ["root", "federated"])
def test_the_state_of_jobs_and_nodes_is_there_to_be_read(what: str, coordination: Any) -> None:
    write, said = OWN_STATE[what]
    with pytest.raises(PolicyWrote, match=f"'scribe' has written into {said}"):
        simulate(kit.scenario(2, coordination=coordination), JOBS, after(write))


def test_an_institute_cannot_write_into_jobs_either() -> None:
    for name in ("phase", "index", "ask"):
        with pytest.raises(PolicyCrash, match=name):
            simulate(
                kit.scenario(2, coordination="regional"), JOBS, after(lambda view, n=name: setattr(first(view), n, 0))
            )


def test_a_callback_that_writes_is_named() -> None:
    class Scribbler(FunctionPolicy):
        def waiting(self, job: Any) -> None:
            job.gpus = 1

    with pytest.raises(PolicyWrote, match="'mine' has written into job 'a': its gpus"):
        simulate(kit.scenario(), JOBS, Scribbler("mine", starts_all))


@pytest.mark.parametrize("name", ["easy", "planner", "wait-for-sun", "srtf", "ecovisor"])
@pytest.mark.parametrize("seed", [1, 2])
def test_guarded_and_unguarded_runs_are_the_same(name: str, seed: int) -> None:
    """Also where reading writes what is kept for the next reader, and where the engine acts on its own."""
    where = cases.case(seed, weak=True, faults=True, links=True)
    given = where.scenario, where.jobs
    one, other = (
        simulate(*given, policy(name), seed=seed, settings=where.settings, check_handed=guarded)
        for guarded in (False, True)
    )
    assert cases.lives_of(one) == cases.lives_of(other)
    assert cases.draw_j(one, 0) == cases.draw_j(other, 0)


@pytest.mark.parametrize(
    "write",
    [
        lambda view: setattr(first(view), "done_gpu_s", 1e9),
        lambda view: setattr(first(view), "phase", "ended"),
        lambda view: view.sites[0].nodes.take(((0, 1),), view.now_s),
        lambda view: object.__setattr__(first(view).ask, "gpus", 1),
    ],
)
def test_the_kit_finds_who_writes_into_jobs_or_nodes(write: Callable[[Any], Any]) -> None:
    assert "writes" in {finding.check for finding in check(lambda: after(write))}


@pytest.mark.parametrize(
    "when",
    [
        lambda view: bool(view.scenario.links),
        lambda view: bool(view.scenario.quotas),
        lambda view: any(site.spec.grid.outages for site in view.sites),
        lambda view: any(job.ask.gpus_max for job in view.waiting.values()),
        lambda view: len(view.waiting) > 20,
    ],
)
def test_the_kit_looks_in_every_case(when: Callable[[Any], bool]) -> None:
    """Also at who writes past all guards, and only where something is at hand."""

    def sly(view: Any) -> Iterator[Any]:
        if view.waiting and when(view):
            object.__setattr__(first(view), "safe_gpu_s", 1.0)
        yield from starts_all(view)

    assert [finding.check for finding in check(lambda: FunctionPolicy("sly", sly))] == ["writes"]


def test_a_policy_that_wakes_itself_for_ever_is_stopped() -> None:
    def at_once(view: Any) -> Iterator[Any]:
        yield Wake(view.now_s)

    def ever_again(view: Any) -> Iterator[Any]:
        yield Wake(view.now_s + 1 / 1024)

    def without_end(view: Any) -> Iterator[Any]:
        while True:
            yield Wake(60.0)

    for endless, said in (
        (at_once, "'mine' at 0 s: it asks for round after round at this instant"),
        (ever_again, "rounds in a row have changed nothing"),
        (without_end, "actions in one round"),
    ):
        with pytest.raises(PolicyEndless, match=said):
            simulate(kit.scenario(), JOBS[:1], FunctionPolicy("mine", endless))


def test_who_wakes_each_minute_is_left_alone() -> None:
    def minutely(view: Any) -> Iterator[Any]:
        yield Wake(view.now_s + 60.0)

    record = simulate(kit.scenario(), JOBS[:1], FunctionPolicy("mine", minutely))
    assert record.rounds == 1440
    assert record.outcomes[0].state == "left"


@pytest.mark.parametrize("time_s", [math.inf, math.nan])
def test_a_time_that_is_none_is_a_clear_error(time_s: float) -> None:
    for action in (lambda view: Wake(time_s), lambda view: Hold(first(view), time_s)):
        with pytest.raises(PolicyError, match=r"policy 'mine'.*(inf|nan) s"):
            simulate(kit.scenario(), JOBS[:1], FunctionPolicy("mine", lambda view, act=action: [act(view)]))


def test_a_policy_that_fails_in_begin_is_one_clear_error() -> None:
    class Unready(FunctionPolicy):
        def begin(self, view: Any) -> None:
            raise KeyError("gpus")

    with pytest.raises(PolicyCrash, match="policy 'mine' at 0 s: its begin fails with KeyError: 'gpus'") as caught:
        simulate(kit.scenario(), JOBS, Unready("mine", starts_all))
    assert isinstance(caught.value.__cause__, KeyError)
