"""Kill any node, link, site or grid connection at any event of a small scenario: nothing is lost, the books close.

Not a sample: every victim is killed at every instant at which anything happens in the undisturbed run, and half way
between any two of them. Every run checks its own invariants, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import builders.jobs as kit
import pytest

from tafukt.simulator.engine.engine import Engine
from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Link, NodeType, Scenario
from tafukt.simulator.units import on_grid
from tafukt.workloads.job import Checkpoint, Dataset, Job

HOUR, DAY, KWH = 3600.0, 86_400.0, 3.6e6
NODES, OUT_S = 2, 2 * HOUR
NODE = NodeType("n", 4, 1000.0, 5000.0, 100.0, wake_s=120.0, sleep_after_s=600.0, caps=MEASURED)
SAVING = Checkpoint(2.0, 60.0, 90.0, 1200.0)
VICTIMS = [("node", site, node) for site in range(2) for node in range(NODES)]
VICTIMS += [("site", 0, 0), ("site", 1, 0), ("grid", 0, 0), ("grid", 1, 0), ("link", 0, 1)]


def small() -> tuple[Scenario, list[Job]]:
    """Two sites, one with a battery, a slow link, and six jobs that sleep, wake, fetch, save, fail and move."""
    end_s = 3 * DAY
    battery = Battery(6 * KWH, 6e3, 6e3, 0.9, 0.9, 1e-6, soc_start=0.5, taper_soc=0.1)
    sites = [
        kit.site("s0", NODES, NODE, end_s, battery=battery, islandable=True, fixed_w=200.0),
        kit.site("s1", NODES, NODE, end_s, fixed_w=200.0),
    ]
    sun = [3000.0 * max(0.0, 6.0 - abs(hour % 24 - 12.0)) for hour in range(int(end_s / HOUR))]
    sites[0] = replace(sites[0], pv=replace(sites[0].pv, values=sun))
    where = kit.scenario(sites, end_s, links=(Link("s0", "s1", 0.02),), network_j_per_gb=5e3)
    jobs = [
        kit.job("a", 0.0, 4, HOUR, checkpoint=SAVING, slack_s=DAY),
        kit.job("b", 600.0, 8, 2 * HOUR, checkpoint=SAVING, slack_s=DAY),
        kit.job("c", 900.0, 2, 1800.0, interruptible=False),
        kit.job("d", 1200.0, 6, HOUR, home="s1", checkpoint=SAVING, dataset=Dataset("x", 20.0, "s0")),
        kit.job("e", 2000.0, 4, HOUR, home="s1", ending="failed", ends_at=0.5, priority=1),
        kit.job("f", 9000.0, 1, 900.0, home="s1", ending="cancelled", ends_at=0.9, dataset=Dataset("x", 20.0, "s0")),
    ]
    return where, jobs


class Moving:
    """A policy of presets, which besides pauses, moves and caps jobs at set times."""

    def __init__(self, name: str) -> None:
        from tafukt.simulator.engine.actions import Cap, Move, Pause

        def act(view: Any) -> Iterator[Any]:
            for life in list(view.running.values()):
                if life.phase == "running" and view.now_s == 3000.0:
                    yield Cap(life, 0.8)
                elif life.phase == "running" and life.ask.interruptible and life.ask.checkpoint is SAVING:
                    yield Move(life, 1 - life.site) if life.ask.job_id == "a" else Pause(life)

        self.inner, self.act, self.name = policy(name), act, name
        self.begin, self.waiting, self.freed = self.inner.begin, self.inner.waiting, self.inner.freed
        self.times = {2700.0, 3000.0, 4500.0}
        self.asked = False

    def round(self, view: Any) -> Iterator[Any]:
        from tafukt.simulator.engine.actions import Wake

        if not self.asked:
            self.asked = True
            for time in self.times:
                yield Wake(time)
        if view.now_s in self.times:
            yield from self.act(view)
        yield from self.inner.round(view)


def simulate(name: str, victim: tuple[str, int, int] | None = None, at_s: float = 0.0) -> Record:
    """One run in which something is taken away at `at_s`, and comes back two hours later."""
    where, jobs = small()
    kind = victim[0] if victim else ""
    if victim and kind in ("grid", "site"):
        site = where.sites[victim[1]]
        site = replace(
            site,
            grid=replace(site.grid, outages=((at_s, at_s + OUT_S),)),
            islandable=site.islandable and kind == "grid",
        )
        where = replace(where, sites=tuple(site if s.name == site.name else s for s in where.sites))
    engine = Engine(where, jobs, Moving(name), 1, Settings())
    if victim and kind in ("node", "site"):
        nodes = range(NODES) if kind == "site" else [victim[2]]
        for call, time in ((engine.faults.fail, at_s), (engine.faults.repair, at_s + OUT_S)):
            for node in nodes:
                engine.state.clock.at(
                    time, Kind.FAULT, node, lambda event: event._value[0](*event._value[1:]), (call, victim[1], node)
                )
    if victim and kind == "link":
        for speed, time in ((1e-9, at_s), (0.02, at_s + OUT_S)):
            engine.state.clock.at(time, Kind.FAULT, 0, _relink, (engine.network, victim[1:], speed))
    return engine.run()


def _relink(event: Any) -> None:
    """Links do not fail in the model; a dead one is one that carries next to nothing."""
    network, (a, b), speed = event._value
    network._settle()
    for line in ((a, b), (b, a)):
        network._gb_per_s[line] = speed
    network._share()


@cache
def instants(name: str) -> tuple[float, ...]:
    """Every time at which anything happens in the undisturbed run, and the middle of all gaps [s]."""
    record = simulate(name)
    times = {event.time_s for event in record.events} | {*record.occupancy.start_s, *record.occupancy.end_s}
    times |= {t for transfer in record.transfers for t in (transfer.start_s, transfer.end_s)}
    for energy in record.energy:
        times |= {on_grid(t) for t in energy.edges_s[1:-1][energy.it_w[1:] != energy.it_w[:-1]]}
    exact = sorted(float(time) for time in times if time < DAY)
    return tuple(sorted({*exact, *(on_grid((a + b) / 2) for a, b in pairwise(exact))}))


def assert_whole(record: Record, states: list[str], what: object) -> None:
    assert [outcome.state for outcome in record.outcomes] == states, what
    assert record.balance_residual < 1e-9, what
    for job, outcome in zip(record.jobs, record.outcomes, strict=True):
        needed = job.truth.due_gpu_s
        assert outcome.busy_gpu_s - outcome.lost_gpu_s >= needed * (1 - 1e-9) - 1.0, (what, job.ask.job_id)
        assert (outcome.lost_gpu_s > 0) <= (outcome.kills > 0), (what, job.ask.job_id)


STATES = ["done", "done", "done", "done", "failed", "cancelled"]


def kill_everything(name: str, every: int = 1) -> int:
    """Each victim at each instant (or each so-manieth); how often somebody was hurt."""
    hurt = 0
    whole = simulate(name)
    assert_whole(whole, STATES, name)
    ends = [outcome.end_s for outcome in whole.outcomes]
    for offset, victim in enumerate(VICTIMS):
        for at_s in instants(name)[offset % every :: every]:
            record = simulate(name, victim, at_s)
            assert_whole(record, STATES, (name, victim, at_s))
            hurt += [outcome.end_s for outcome in record.outcomes] != ends
    return hurt


def test_the_small_scenario_is_eventful() -> None:
    record = simulate("fifo")
    kinds = {event.kind for event in record.events}
    assert {"submit", "start", "pause", "move", "cap", "end"} <= kinds
    assert {transfer.kind for transfer in record.transfers} == {"data", "checkpoint"}
    assert {*record.occupancy.kind} == {0, 1, 2, 3}
    assert len(instants("fifo")) > 60


def test_anything_may_die_at_any_instant() -> None:
    assert kill_everything("fifo") > 200


SOLVES = pytest.param("budget-planner", marks=pytest.mark.slow)  # a programme each hour: a minute


@pytest.mark.parametrize("name", [*sorted(set(PRESETS) - {"fifo", "budget-planner"}), SOLVES])
def test_anything_may_die_under_any_policy(name: str) -> None:
    """A systematic tenth of all instants; all of them in the slow run."""
    assert kill_everything(name, 23) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"fifo"}))
def test_anything_may_die_at_any_instant_under_any_policy(name: str) -> None:
    assert kill_everything(name) > 100
