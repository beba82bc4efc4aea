"""The only SimPy code: arrivals, scheduling rounds, what policies ask for, faults.

At one instant come first ends of jobs, then phases, faults and supply, then arrivals, and last one
scheduling round; within a kind the lower index goes first.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal, Protocol

import numpy as np
from simpy.events import Event as SimEvent
from tafukt.simulator.energy.balance import residual
from tafukt.simulator.energy.flows import close
from tafukt.simulator.energy.ledger import SiteLedger
from tafukt.simulator.engine.actions import ActionExecutor
from tafukt.simulator.engine.cluster import Cluster, Remainder
from tafukt.simulator.engine.eligibility import Eligibility, Federation
from tafukt.simulator.engine.event_log import Journal
from tafukt.simulator.engine.event_queue import TICKS_PER_S, Clock, Kind, on_grid
from tafukt.simulator.engine.faults import Faults, FaultSettings
from tafukt.simulator.engine.forecast import Forecast, ForecastSettings
from tafukt.simulator.engine.invariants import check_cluster, check_ends, check_jobs, recorded_it_j
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.view import View
from tafukt.simulator.record import NOTHING, Record
from tafukt.simulator.scenario import Scenario
from tafukt.workloads.job import Job, in_order


class Policy(Protocol):
    """What the engine needs of a policy; see `simulator.policies`."""

    name: str

    def begin(self, view: View) -> None:
        """Called once, before anything happens."""

    def waiting(self, job: JobState) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free at a site, by a job's leaving or otherwise."""

    def round(self, view: View) -> Any:
        """The actions of one scheduling round; a generator sees the effect of each before the next."""


@dataclass(frozen=True)
class Settings:
    """How the engine goes about it.

    `remainder` says what a gang larger than a node does with a part of a node; `overrun` what happens
    to a job past its estimate; `events` how much is written down; `faults` what breaks and how often.
    """

    remainder: Remainder = "share"
    overrun: Literal["extend", "kill"] = "extend"
    events: Literal["all", "changes", "none"] = "all"
    forecast: ForecastSettings = field(default_factory=ForecastSettings)
    faults: FaultSettings = field(default_factory=FaultSettings)


class Engine:
    """One simulation; `run` returns its record."""

    def __init__(self, scenario: Scenario, jobs: Sequence[Job], policy: Policy, seed: int, settings: Settings) -> None:
        self.scenario = scenario
        self.jobs = in_order(jobs)
        self.policy = policy
        self.settings = settings
        self._submits_s: list[float] = (
            np.rint([job.ask.submit_s * TICKS_PER_S for job in self.jobs]) / TICKS_PER_S
        ).tolist()
        self.clock = Clock()
        self.rules = Eligibility(scenario)
        self.network = Network(scenario, self.clock)
        self.clusters = [Cluster(s.node, s.nodes, settings.remainder) for s in scenario.sites]
        self.ledgers = [SiteLedger(s, scenario.end_s) for s in scenario.sites]
        self.room = [0] * len(scenario.sites)  # the largest gang that each site has room for now
        self.journal = Journal(self.jobs, settings.events)
        self.faults = Faults(self, settings.faults, seed)
        self.lives = JobPhases(self)
        self.requests = ActionExecutor(self)
        self.waiting: dict[int, JobState] = {}
        self.running: dict[int, JobState] = {}
        self.running_at: list[dict[int, JobState]] = [{} for _ in scenario.sites]
        self.moving: dict[int, JobState] = {}
        self.rounds = 0
        self._round_due = False
        self._wakes: set[float] = set()
        self.federation = Federation(self) if self.rules.federated else None
        # A grid that never fails nor runs short needs no watching.
        weak = any(s.grid.outages or s.grid.import_limit_w < inf for s in scenario.sites)
        self.guard = ShortageControl(self) if weak else None
        self.view = View(self, Forecast(scenario, settings.forecast, seed))

    # --- running ---------------------------------------------------------------------------------

    def run(self) -> Record:
        """Simulate to the end of the accounting window, close the books, and return the record."""
        clock, end_s = self.clock, self.scenario.end_s
        for site, spec in enumerate(self.scenario.sites):
            if spec.online_s > 0:
                self.clusters[site].offline = True
                clock.at(on_grid(spec.online_s), Kind.FAULT, site, self._online, site)
            self.power_changed(site)
        if self.guard is not None:
            self.guard.begin()
        self.faults.begin()
        self.policy.begin(self.view)
        if self.jobs:
            self._feed(0)
        queue, step = clock._queue, clock.step
        while queue and queue[0][0] <= end_s:
            time_s = queue[0][0]
            step()
            # A round follows when nothing else is to happen at this instant; at the very end nothing is left to decide.
            while self._round_due and time_s < end_s and (not queue or queue[0][0] > time_s):
                self._round()
        return self._record()

    def _feed(self, index: int) -> None:
        """Put only the next arrival among the events: a heap of all of them would be slow."""
        self.clock.at(self._submits_s[index], Kind.ARRIVAL, index, self._arrive, index)

    def _arrive(self, event: SimEvent) -> None:
        index: int = event._value
        ask = self.jobs[index].ask
        if index + 1 < len(self.jobs):
            self._feed(index + 1)
        life = JobState(index, ask, self.rules.allowed(ask))
        if self.journal.all:
            self.journal.note(self.clock.now, "submit", index, life.site)
        if not life.sites:
            self.lives.end(life, "rejected", "no site may have it or is large enough")
            return
        if self.rules.has_quotas and not self.rules.ever_within_quota(ask):
            self.lives.end(life, "rejected", f"the quota of {ask.tenant.region} is smaller")
            return
        self.lives.requeue(life)

    def _record(self) -> Record:
        end_s, scenario = self.scenario.end_s, self.scenario
        self.lives.close(end_s)
        stints, outcomes = self.journal.close(), self.journal.outcomes
        check_jobs(scenario, self.jobs, outcomes, stints, self.settings)
        left = (*self.waiting.values(), *self.running.values(), *self.moving.values())
        check_ends(self.jobs, outcomes, left, end_s)
        for index, cluster in enumerate(self.clusters):
            held = [life for life in self.running.values() if life.site == index]
            check_cluster(cluster, held, scenario.sites[index].name, end_s)
        energy, worst = [], 0.0
        for index, ledger in enumerate(self.ledgers):
            energy.append(close(ledger))
            it_j = recorded_it_j(self.clusters[index], stints, index, end_s)
            worst = max(worst, residual(ledger, energy[-1], it_j))
        return Record(
            scenario,
            self.policy.name,
            self.jobs,
            outcomes,
            stints,
            energy,
            self.journal.events,
            worst,
            self.rounds,
            self.network.done,
        )

    # --- sites -----------------------------------------------------------------------------------

    def power_changed(self, site: int) -> None:
        """What runs at a site, or what may run there, has changed: tell the books."""
        cluster, now = self.clusters[site], self.clock.now
        self.room[site] = cluster.largest()
        self.ledgers[site].set_it(now, cluster.changed(now))
        if self.guard is not None:
            self.guard.load_changed(site)
        if self.federation is not None:
            self.federation.changed(site)

    def _online(self, event: SimEvent) -> None:
        site: int = event._value
        self.clusters[site].offline = False
        self._more_room(site)

    def _more_room(self, site: int) -> None:
        self.power_changed(site)
        self.policy.freed(None, site)
        self.ask_for_round()

    def let_sleep(self, site: int, nodes: Sequence[int], since_s: float) -> None:
        """Send these nodes to sleep if they are still empty when their time has come."""
        cluster = self.clusters[site]
        at = on_grid(since_s + cluster.node.sleep_after_s)
        for node in nodes:
            cluster.empty_since[node] = since_s
            self.clock.at(at, Kind.TIMER, site, self._sleep, (site, node, since_s))

    def _sleep(self, event: SimEvent) -> None:
        site, node, since = event._value
        cluster = self.clusters[site]
        if cluster.empty_since[node] == since and cluster.sleep(node):
            self.power_changed(site)

    def node_fails(self, site: int, node: int) -> None:
        """A node breaks: whoever holds GPUs on it is killed, and it is down until it is repaired."""
        for life in [v for v in self.running_at[site].values() if any(n == node for n, _ in v.allocation)]:
            self.lives.kill(life, f"failure of node {node}", fault=True)
        self.clusters[site].fail(node)
        self.power_changed(site)
        self.policy.freed(None, site)  # what it has planned on this node no longer holds
        if self.journal.changes:
            self.journal.note(self.clock.now, "outage", -1, site, "node failure", {"node": node})

    def node_repaired(self, site: int, node: int) -> None:
        """A node is back, empty."""
        self.clusters[site].repair(node)
        if self.journal.changes:
            self.journal.note(self.clock.now, "repair", -1, site, "node repaired", {"node": node})
        self._more_room(site)

    # --- rounds ----------------------------------------------------------------------------------

    def ask_for_round(self) -> None:
        """Let a round follow when everything else at this instant has happened."""
        self._round_due = True

    def _round(self) -> None:
        self._round_due = False
        self.rounds += 1
        execute = self.requests.execute
        for action in self.policy.round(self.view):
            execute(action)
        if self.federation is not None:
            self.federation.offload()

    def _wake(self, event: SimEvent) -> None:
        self._wakes.discard(event._value)
        self.ask_for_round()

    def wake_at(self, time_s: float) -> None:
        """Promise a round at a time [s]; one event serves everybody who asks for the same time."""
        time_s = max(ceil(time_s * TICKS_PER_S) / TICKS_PER_S, self.clock.now)
        if time_s not in self._wakes:
            self._wakes.add(time_s)
            self.clock.at(time_s, Kind.TIMER, 0, self._wake, time_s)

    # --- what happens to running jobs, whoever asks ----------------------------------------------

    def pause(self, life: JobState, reason: str = "", detail: Any = NOTHING) -> None:
        """Checkpoint a running job; it waits again once that is written, and its GPUs are free."""
        self.journal.outcomes[life.index].pauses += 1
        if self.journal.changes:
            self.note("pause", life, reason, detail)
        self.lives.save(life)

    def set_power_cap(self, life: JobState, cap: float, reason: str = "", detail: Any = NOTHING) -> None:
        """Let a running job draw another share of its power above idle from now on."""
        if self.journal.changes:
            self.note("cap", life, reason, {"cap": cap, **detail})
        self.lives.set_power_cap(life, cap)

    def kill(self, life: JobState, reason: str) -> None:
        """Stop a job at once; work since its last checkpoint is lost, and it waits again."""
        self.lives.kill(life, reason)

    def note(self, kind: str, life: JobState, reason: str = "", detail: Any = NOTHING) -> None:
        """Write down an event in the life of a job."""
        self.journal.note(self.clock.now, kind, life.index, life.site, reason, detail)


def simulate(
    scenario: Scenario,
    jobs: Sequence[Job],
    policy: Policy,
    *,
    seed: int = 0,
    settings: Settings | None = None,
) -> Record:
    """Run one policy on one scenario.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
        In any order.
    policy : Policy
    seed : int
        Names the random streams of forecasts and faults; jobs and sky have been drawn already.
    settings : Settings, optional

    Raises
    ------
    PolicyError
        If the policy asks for something impossible.
    BreachError
        If an invariant does not hold; a fault of Tafukt, never of the input.
    """
    # A run makes many small objects and no cycles worth looking for: a seventh of its time would go there.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return Engine(scenario, jobs, policy, seed, settings or Settings()).run()
    finally:
        if collecting:
            gc.enable()
