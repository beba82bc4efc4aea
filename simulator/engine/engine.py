"""The only SimPy code: arrivals, scheduling rounds, what policies ask for, faults.

At one instant come first ends of jobs, then phases, faults and supply, then arrivals, and last one
scheduling round; within a kind the lower index goes first.
"""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from simpy.events import Event as SimEvent

from tafukt.simulator.energy.balance import residual
from tafukt.simulator.energy.flows import settle_flows
from tafukt.simulator.engine.actions import ActionExecutor
from tafukt.simulator.engine.checks.guarded import GuardedCluster, GuardedJob, GuardedPolicy, Hands
from tafukt.simulator.engine.checks.handed import check_untouched, prints_of
from tafukt.simulator.engine.checks.invariants import check_cluster, check_ends, check_jobs, recorded_it_j
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.eligibility import Eligibility, Federation
from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.faults import NodeCapacity, NodeFaults
from tafukt.simulator.engine.forecast import Forecast
from tafukt.simulator.engine.grid_requests.control import GridRequests
from tafukt.simulator.engine.grid_requests.ramp import RampControl
from tafukt.simulator.engine.grid_requests.respond import bendable_w, respond
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.engine.state import State
from tafukt.simulator.engine.view import Institutes, Policy, View
from tafukt.simulator.errors import PolicyCrash, PolicyEndless, SimulationError
from tafukt.simulator.record import BooksReader, Occupancy, Record
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import TICKS_PER_S, on_grid
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import asks_of, in_order, numbers_of

# What a policy may do before it is taken to be without end: rounds at one instant, rounds in a row in which nothing
# begins, ends or changes its power (every minute for 138 days), and actions in one round.
ROUNDS_AT_ONCE_MOST, IDLE_ROUNDS_MOST, ACTIONS_MOST = 1_000, 200_000, 2_000_000


class Engine:
    """One simulation; `run` returns its record.

    `state` is what all its parts share; `phases` and `faults` are the parts through which anything that is not
    the policy's doing can be brought about: a kill, the failure of a node.
    """

    def __init__(
        self,
        scenario: Scenario,
        jobs: Sequence[Job],
        policy: Policy,
        seed: int,
        settings: Settings,
        guarded: bool = False,
    ) -> None:
        if scenario.coordination == "regional" and len(scenario.sites) > 1:
            policy = Institutes(policy, len(scenario.sites), settings.forecast, seed)
        self._new_job: Callable[..., JobState] = JobState
        new_cluster: Callable[..., Cluster] = Cluster
        if guarded:
            hands = Hands(policy.name)
            policy = GuardedPolicy(policy, hands)
            self._new_job, new_cluster = partial(GuardedJob, hands), partial(GuardedCluster, hands)
        self.policy = policy
        self.state = state = State(
            scenario, in_order(jobs), settings, policy, self._power_changed, self._ask_for_round, new_cluster
        )
        self.eligibility = Eligibility(scenario)
        self.network = Network(scenario, state.clock)
        self.phases = JobPhases(state, self.eligibility, self.network, seed)
        self.faults = NodeFaults(state, self.phases, seed)
        planned = any(s.nodes_online for s in scenario.sites)
        self.capacity = NodeCapacity(state, self.phases, self.faults) if planned else None
        self.federation = Federation(state, self.eligibility, self.network) if self.eligibility.federated else None
        # A grid that never fails nor runs short needs no watching.
        asked = any(s.grid.events for s in scenario.sites)
        ramped = any(s.grid.has_ramp_limit for s in scenario.sites)
        weak = asked or ramped or any(s.grid.outages or s.grid.is_limited for s in scenario.sites)
        self.shortage = ShortageControl(state, self.phases) if weak else None
        self.ramps = RampControl(state, self.phases, self.shortage) if ramped and self.shortage is not None else None
        if self.shortage is not None:
            self.shortage.respond, self.shortage.bendable_w = respond, bendable_w
        self.requests = GridRequests(state, self.shortage) if asked and self.shortage is not None else None
        self.executor = ActionExecutor(state, self.eligibility, self.network, self.phases, self.shortage, self.capacity)
        forecast = Forecast(scenario, settings.forecast, seed)
        self.view = View(state, self.eligibility, self.network, self.shortage, forecast)
        ticks = np.rint(numbers_of(state.jobs, "submit_s") * TICKS_PER_S)
        self._submits_s = array("d", (ticks / TICKS_PER_S).tobytes())
        self._arrivals = asks_of(state.jobs)
        self._rounds = 0
        self._round_due = False
        # For the watchdog: rounds since anything but a round happened, and when the last ones were.
        self._idle_rounds = self._rounds_now = 0
        self._last_round_s = -1.0

    # --- running ---------------------------------------------------------------------------------

    def run(self, arranged: Scenario | None = None, read: BooksReader | None = None) -> Record:
        """Simulate to the end of the accounting window, close the books, and return the record.

        Its sites stand as in `arranged`, which has the same ones in another order; see `simulate` for `read`.
        """
        state = self.state
        clock, end_s = state.clock, state.scenario.end_s
        for site, spec in enumerate(state.scenario.sites):
            if spec.online_s > 0:
                state.clusters[site].offline = True
                clock.at(on_grid(spec.online_s), Kind.FAULT, site, self._online, site)
            self._power_changed(site)
        if self.shortage is not None:
            self.shortage.begin()
        if self.requests is not None:
            self.requests.begin()
        self.faults.begin()
        if self.capacity is not None:
            self.capacity.begin()
        self._begin_policy()
        if state.jobs:
            self._feed(0)
        queue, step = clock._queue, clock.step
        while queue and queue[0][0] <= end_s:
            time_s = queue[0][0]
            step()
            # A round follows when nothing else is to happen at this instant; at the very end nothing is left to decide.
            while self._round_due and time_s < end_s and (not queue or queue[0][0] > time_s):
                self._round()
        return self._record(arranged or state.scenario, read)

    def _feed(self, index: int) -> None:
        """Put only the next arrival among the events: a heap of all of them would be slow."""
        self.state.clock.at(self._submits_s[index], Kind.ARRIVAL, index, self._arrive, index)

    def _arrive(self, event: SimEvent) -> None:
        index: int = event._value
        state, ask = self.state, next(self._arrivals)
        self._idle_rounds = 0
        if index + 1 < len(state.jobs):
            self._feed(index + 1)
        job = self._new_job(index, ask, self.eligibility.allowed(ask))
        if state.log.all:
            state.log.note(state.clock.now, "submit", index, job.site)
        if not job.sites:
            self.phases.end(job, "rejected", "no site may have it or is large enough")
            return
        if self.eligibility.has_quotas and not self.eligibility.ever_within_quota(ask):
            self.phases.end(job, "rejected", f"the quota of {ask.tenant.region} is smaller")
            return
        self.phases.requeue(job)

    def _record(self, arranged: Scenario, read: BooksReader | None) -> Record:
        state, scenario, end_s = self.state, self.state.scenario, self.state.scenario.end_s
        self.phases.close(end_s)
        occupancy, outcomes = state.log.close(), state.log.outcomes
        check_jobs(scenario, state.jobs, outcomes, occupancy, state.settings)
        left = (*state.waiting.values(), *state.running.values(), *state.moving.values())
        check_ends(state.jobs, outcomes, left, end_s)
        for index, cluster in enumerate(state.clusters):
            held = [job for job in state.running.values() if job.site == index]
            check_cluster(cluster, held, scenario.sites[index].name, end_s)
        record = Record(
            scenario,
            self.policy.name,
            state.jobs,
            outcomes,
            occupancy,
            (),
            state.log.events,
            math.nan,
            self._rounds,
            self.network.done,
            self.requests.made if self.requests is not None else (),
        )
        return self._settled(record if arranged is scenario else record.arranged_as(arranged), occupancy, read)

    def _settled(self, record: Record, occupancy: Occupancy, read: BooksReader | None) -> Record:
        """The record with its books, or without them where somebody reads them one after another."""
        state, end_s = self.state, record.scenario.end_s
        ledgers, energy, worst = dict(enumerate(state.ledgers)), [], 0.0
        state.ledgers.clear()  # not held any longer: the books of all sites are large enough
        for place, site in enumerate(record.scenario.sites):
            index = state.scenario.site_index(site.name)
            ledger = ledgers.pop(index)
            books = settle_flows(ledger)
            it_j = recorded_it_j(state.clusters[index], occupancy, index, end_s)
            worst = max(worst, residual(ledger, books, it_j))
            if read is None:
                energy.append(books)
            else:
                read(record, place, books)
            del ledger, books  # before the next ones are made
        return replace(record, energy=energy, balance_residual=worst)

    # --- sites -----------------------------------------------------------------------------------

    def _power_changed(self, site: int) -> None:
        """Tell a site's books that what runs there, or may run there, has changed."""
        state = self.state
        self._idle_rounds = 0
        cluster, now = state.clusters[site], state.clock.now
        state.room[site] = cluster.largest()
        state.ledgers[site].set_it(now, cluster.changed(now))
        if self.shortage is not None:
            self.shortage.load_changed(site)
        if self.ramps is not None:
            self.ramps.load_changed(site)
        if self.federation is not None:
            self.federation.changed(site)

    def _online(self, event: SimEvent) -> None:
        site: int = event._value
        self.state.clusters[site].offline = False
        self.state.more_room(site)

    # --- rounds ----------------------------------------------------------------------------------

    def _ask_for_round(self) -> None:
        """Let a round follow when everything else at this instant has happened."""
        self._round_due = True

    def _round(self) -> None:
        self._round_due = False
        self._rounds += 1
        self._watch_rounds()
        execute, given, ours = self.executor.execute, 0, False
        try:
            for action in self.policy.round(self.view):
                ours, given = True, given + 1
                execute(action)
                ours = False
                if given > ACTIONS_MOST:
                    raise PolicyEndless(f"{self._told()}: it gives more than {ACTIONS_MOST:,} actions in one round")
        except SimulationError:
            raise
        except Exception as error:
            if ours:  # the engine's own fault
                raise
            raise self._crash("round", error) from error
        if self.federation is not None:
            self.federation.offload()

    def _begin_policy(self) -> None:
        try:
            self.policy.begin(self.view)
        except SimulationError:
            raise
        except Exception as error:
            raise self._crash("begin", error) from error

    def _crash(self, where: str, error: Exception) -> PolicyCrash:
        return PolicyCrash(f"{self._told()}: its {where} fails with {type(error).__name__}: {error}")

    def _told(self) -> str:
        return f"policy {self.policy.name!r} at {self.state.clock.now:g} s"

    def _watch_rounds(self) -> None:
        """The watchdog: a policy may wake itself, but not for ever.

        Raises
        ------
        PolicyEndless
            After too many rounds at one instant, or in a row in which nothing else happened.
        """
        now = self.state.clock.now
        if now != self._last_round_s:
            self._last_round_s, self._rounds_now = now, 0
        self._rounds_now += 1
        self._idle_rounds += 1
        if self._rounds_now > ROUNDS_AT_ONCE_MOST:
            raise PolicyEndless(f"{self._told()}: it asks for round after round at this instant")
        if self._idle_rounds > IDLE_ROUNDS_MOST:
            said = f"{IDLE_ROUNDS_MOST:,} rounds in a row have changed nothing; it wakes itself too often"
            raise PolicyEndless(f"{self._told()}: {said}")


def simulate(
    scenario: Scenario,
    jobs: Sequence[Job],
    policy: Policy,
    *,
    seed: int = 0,
    settings: Settings | None = None,
    check_handed: bool = True,
    read: BooksReader | None = None,
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
    check_handed : bool
        Whether the policy is kept from writing into jobs and nodes, and jobs and scenario are compared before and after
        the run.
    read : callable, optional
        Is handed the record without its books, the place of a site, and that site's books, before those of the next
        one are settled; the record that is returned has none then. The books of a year are larger than all else.

    Raises
    ------
    PolicyError
        If the policy asks for something impossible.
    BreachError
        If an invariant does not hold; a fault of Tafukt, never of the input.
    """
    # A run makes many small objects and no cycles worth looking for: a seventh of its time would go there.
    if check_handed:
        jobs = tuple(jobs)  # the very objects that the policy is handed; of a table it would be others
    before = prints_of(jobs, scenario) if check_handed else None
    collecting = gc.isenabled()
    gc.disable()
    try:
        # In the order of their names, so that no tie falls by where a site stands in the input.
        sites = sorted(scenario.sites, key=lambda site: site.name)
        if all(one is other for one, other in zip(sites, scenario.sites, strict=True)):
            return Engine(scenario, jobs, policy, seed, settings or Settings(), check_handed).run(read=read)
        by_name = replace(scenario, sites=tuple(sites))
        return Engine(by_name, jobs, policy, seed, settings or Settings(), check_handed).run(scenario, read)
    finally:
        if before is not None:
            check_untouched(before, jobs, scenario, policy.name)
        if collecting:
            gc.enable()
