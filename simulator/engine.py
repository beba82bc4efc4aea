"""The only SimPy code: arrivals, scheduling rounds, the lives of jobs, faults.

At one instant come first ends of jobs, then phases, faults and supply, then arrivals, and last one
scheduling round; within a kind the lower index goes first.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal, Protocol

import numpy as np
from simpy.events import Event as SimEvent

from simulator.actions import Action, Hold, Move, Pause, Resize, Start, Wake
from simulator.balance import residual
from simulator.clock import TICKS_PER_S, Clock, Kind, cancel, on_grid
from simulator.cluster import Cluster, Remainder
from simulator.errors import BreachError, PolicyError
from simulator.forecast import Forecast, ForecastSettings
from simulator.invariants import check_jobs, recorded_it_j
from simulator.ledger import SiteLedger
from simulator.life import Life, Phase
from simulator.record import Event, Outcome, Record, State, Stints
from simulator.scenario import Scenario
from simulator.settle import close
from simulator.shortage import Guard
from simulator.view import View
from workloads.job import Ask, Job, in_order


class Policy(Protocol):
    """What the engine needs of a policy; see `simulator.policies`."""

    name: str

    def begin(self, view: View) -> None:
        """Called once, before anything happens."""

    def waiting(self, job: Life) -> None:
        """A job has arrived, or is back among the waiting."""

    def freed(self, job: Life | None, site: int) -> None:
        """GPUs have become free at a site, by a job's leaving or otherwise."""

    def round(self, view: View) -> Any:
        """The actions of one scheduling round; a generator sees the effect of each before the next."""


@dataclass(frozen=True)
class Settings:
    """How the engine goes about it.

    `remainder` says what a gang larger than a node does with a part of a node; `overrun` what happens
    to a job past its estimate; `events` how much is written down.
    """

    remainder: Remainder = "share"
    overrun: Literal["extend", "kill"] = "extend"
    events: Literal["all", "changes", "none"] = "all"
    forecast: ForecastSettings = field(default_factory=ForecastSettings)


_KIND_OF = {"running": 0, "waking": 1, "restarting": 2, "saving": 3}


class Engine:
    """One simulation; `run` returns its record."""

    def __init__(self, scenario: Scenario, jobs: Sequence[Job], policy: Policy, seed: int, settings: Settings) -> None:
        self.scenario = scenario
        self.jobs = in_order(jobs)
        self.policy = policy
        self.settings = settings
        self.clock = Clock()
        self.clusters = [Cluster(s.node, s.nodes, settings.remainder) for s in scenario.sites]
        self.ledgers = [SiteLedger(s, scenario.end_s) for s in scenario.sites]
        self.outcomes = [Outcome(work_left_gpu_s=job.truth.due_gpu_s) for job in self.jobs]
        self.waiting: dict[int, Life] = {}
        self.running: dict[int, Life] = {}
        self.alive = len(self.jobs)
        self.events: list[Event] = []
        self.rounds = 0
        self._round_due = False
        self._wakes: set[float] = set()
        self._stints: tuple[array[Any], ...] = tuple(array(kind) for kind in "qqddqdq")
        self._log_all = settings.events == "all"
        self._log = settings.events != "none"
        self._allowed: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self.view = View(self, Forecast(scenario, settings.forecast, seed))
        # A grid that never fails nor runs short needs no watching.
        weak = any(s.grid.outages or s.grid.import_limit_w < inf for s in scenario.sites)
        self.guard = Guard(self) if weak else None

    # --- running ---------------------------------------------------------------------------------

    def run(self) -> Record:
        """Simulate to the end of the accounting window, close the books, and return the record."""
        clock, end_s = self.clock, self.scenario.end_s
        for site, cluster in enumerate(self.clusters):
            self._power_changed(site)
            if self.scenario.sites[site].online_s > 0:
                cluster.offline = True
                self._power_changed(site)
                clock.at(on_grid(self.scenario.sites[site].online_s), Kind.FAULT, site, self._online, site)
        if self.guard is not None:
            self.guard.begin()
        self.policy.begin(self.view)
        if self.jobs:
            self._feed(0)
        while clock.peek() <= end_s:
            clock.step()
        return self._record()

    def _feed(self, index: int) -> None:
        """Put only the next arrival among the events: a heap of all of them would be slow."""
        self.clock.at(on_grid(self.jobs[index].ask.submit_s), Kind.ARRIVAL, index, self._arrive, index)

    def _arrive(self, event: SimEvent) -> None:
        index: int = event._value
        ask = self.jobs[index].ask
        if index + 1 < len(self.jobs):
            self._feed(index + 1)
        life = Life(index, ask)
        if self._log_all:
            self._note("submit", life)
        if not self.allowed(ask):
            self._end(life, "rejected", "no site may have it or is large enough")
            return
        self.waiting[index] = life
        self.policy.waiting(life)
        self._ask_for_round()

    def _online(self, event: SimEvent) -> None:
        site: int = event._value
        self.clusters[site].offline = False
        self._power_changed(site)
        self.policy.freed(None, site)
        self._ask_for_round()

    def allowed(self, ask: Ask) -> tuple[int, ...]:
        """Indices of the sites that may have this job: by residency, by coordination, by size."""
        key = (ask.gpus_min or ask.gpus, ask.dataset.residency, ask.dataset.home, ask.tenant.region, ask.home)
        found = self._allowed.get(key)
        if found is None:
            scenario = self.scenario
            found = tuple(
                i for i, site in enumerate(scenario.sites)
                if scenario.may_run(ask, site) and (scenario.coordination != "regional" or site.name == ask.home)
            )  # fmt: skip
            self._allowed[key] = found
        return found

    # --- rounds ----------------------------------------------------------------------------------

    def _ask_for_round(self) -> None:
        if not self._round_due:
            self._round_due = True
            self.clock.at(self.clock.now, Kind.ROUND, 0, self._round)

    def _round(self, _: SimEvent) -> None:
        self._round_due = False
        self.rounds += 1
        for action in self.policy.round(self.view):
            self._do(action)

    def _wake(self, event: SimEvent) -> None:
        self._wakes.discard(event._value)
        self._ask_for_round()

    def wake_at(self, time_s: float) -> None:
        """Promise a round at a time [s]; one event serves everybody who asks for the same time."""
        time_s = max(ceil(time_s * TICKS_PER_S) / TICKS_PER_S, self.clock.now)
        if time_s not in self._wakes:
            self._wakes.add(time_s)
            self.clock.at(time_s, Kind.TIMER, 0, self._wake, time_s)

    def _do(self, action: Action) -> None:
        """Carry out one action, or say why it is impossible."""
        match action:
            case Start():
                self._start(action)
            case Hold():
                if action.until_s <= self.clock.now:
                    raise self._refusal(action, "a hold must end in the future")
                self.wake_at(action.until_s)
                if self._log_all:
                    self._note(
                        "hold",
                        action.job,
                        action.reason,
                        {"until_s": action.until_s, **action.detail},
                        action.site,
                    )
            case Wake():
                self.wake_at(action.until_s)
            case Pause() | Move() | Resize():
                self._interrupt(action)
            case _:
                raise PolicyError(f"policy {self.policy.name!r} asked for {action!r}, which is not an action")

    def _refusal(self, action: Start | Hold | Pause | Move | Resize, why: str) -> PolicyError:
        what, name = type(action).__name__.lower(), action.job.ask.job_id
        return PolicyError(f"policy {self.policy.name!r}: {what} of job {name!r} at {self.clock.now:.0f} s: {why}")

    # --- the life of a job -----------------------------------------------------------------------

    def _start(self, action: Start) -> None:
        life, ask = action.job, action.job.ask
        gpus = action.gpus or ask.gpus
        if life.phase != "queued" or life.index not in self.waiting:
            raise self._refusal(action, f"it is {life.phase}, not waiting")
        if not 0 <= action.site < len(self.clusters):
            raise self._refusal(action, f"there is no site {action.site}")
        site, cluster = self.scenario.sites[action.site], self.clusters[action.site]
        if action.site not in self.allowed(ask):
            raise self._refusal(action, f"it may not run on {site.name}")
        if not (ask.gpus_min or ask.gpus) <= gpus <= (ask.gpus_max or ask.gpus):
            raise self._refusal(action, f"it cannot run on {gpus} GPUs")
        if not 0 < action.cap <= 1:
            raise self._refusal(action, f"a power cap must lie in (0, 1], not {action.cap}")
        if self.guard is not None and not self.guard.accepts(action.site):
            raise self._refusal(action, f"{site.name} is short of supply and accepts no starts")
        allocation = None if cluster.offline else cluster.place(gpus, action.avoid)
        if allocation is None:
            raise self._refusal(action, f"{site.name} has no room for {gpus} GPUs")
        now = self.clock.now
        del self.waiting[life.index]
        self.running[life.index] = life
        life.up_s = on_grid(cluster.take(allocation, now))
        life.allocation, life.site, life.gpus, life.cap = allocation, action.site, gpus, action.cap
        life.rate = ask.rate(gpus) * site.node.speed
        life.started_s = now
        outcome = self.outcomes[life.index]
        if life.first_start_s < 0:
            life.first_start_s = outcome.start_s = now
        outcome.site = action.site
        if self._log:
            self._note("start", life, action.reason, action.detail)
        self._enter(life, "waking" if life.up_s > now else "restarting", life.up_s)

    def _enter(self, life: Life, phase: Phase, until_s: float) -> None:
        """Begin a phase that holds GPUs; at its end the next one follows."""
        now, ask = self.clock.now, life.ask
        if phase == "restarting":
            restart = ask.checkpoint.restart_s if life.saved else 0.0
            if restart <= 0.0:
                phase = "running"
            until_s = on_grid(now + restart)
        cluster = self.clusters[life.site]
        draws = phase != "waking"
        life.phase, life.since_s = phase, now
        life.power_w = cluster.draws_w(sum(g for _, g in life.allocation), ask.intensity * life.cap if draws else 0.0)
        if draws and not life.draws:
            cluster.active += ask.intensity * life.cap * life.gpus
            life.draws = True
        self._power_changed(life.site)
        if phase == "running":
            due = self.jobs[life.index].truth.due_gpu_s - life.done_gpu_s
            end = max(on_grid(now + life.time_for_s(max(due, 0.0))), now)
            if self.settings.overrun == "kill":
                limit = ask.estimate_s * ask.gpus - life.done_gpu_s
                end = min(end, on_grid(now + life.time_for_s(max(limit, 0.0))))
            life.event = self.clock.at(end, Kind.END, life.index, self._finished, life)
        else:
            life.event = self.clock.at(until_s, Kind.PHASE, life.index, self._phase_over, life)

    def _phase_over(self, event: SimEvent) -> None:
        life: Life = event._value
        self._stint(life, self.clock.now)
        if life.phase == "waking":
            self._enter(life, "restarting", self.clock.now)
        elif life.phase == "restarting":
            self._enter(life, "running", self.clock.now)
        else:  # saving: the checkpoint is written
            life.saved = True
            self._leave(life)
            if life.target >= 0:
                life.site = life.target
            self._requeue(life)

    def _finished(self, event: SimEvent) -> None:
        life: Life = event._value
        truth = self.jobs[life.index].truth
        done = life.progress_gpu_s(self.clock.now)
        self._stint(life, self.clock.now)
        self._leave(life)
        tolerance = life.rate / TICKS_PER_S + 1e-9 * truth.due_gpu_s
        if done < truth.due_gpu_s - tolerance:
            self.outcomes[life.index].work_left_gpu_s = 0.0
            self._end(life, "failed", "killed at the limit of its estimate")
            return
        if done > truth.due_gpu_s + tolerance:
            raise BreachError(f"job {life.ask.job_id!r} did {done} GPU-s at {self.clock.now} s, due {truth.due_gpu_s}")
        life.done_gpu_s = truth.due_gpu_s
        self.outcomes[life.index].work_left_gpu_s = 0.0
        self._end(life, truth.ending)

    def _interrupt(self, action: Pause | Move | Resize) -> None:
        life, now = action.job, self.clock.now
        if life.phase != "running":
            raise self._refusal(action, f"it is {life.phase}, not running")
        if not life.ask.interruptible:
            raise self._refusal(action, "it is not interruptible")
        outcome = self.outcomes[life.index]
        life.target = -1
        if isinstance(action, Move):
            if action.site not in self.allowed(life.ask) or action.site == life.site:
                raise self._refusal(action, f"it cannot move to site {action.site}")
            life.target = action.site
            outcome.moves += 1
        elif isinstance(action, Pause):
            outcome.pauses += 1
        else:
            outcome.resizes += 1
        if self._log:
            self._note(type(action).__name__.lower(), life, action.reason, action.detail)
        self._save(life, now)

    def _save(self, life: Life, now: float) -> None:
        """Stop working and write a checkpoint; the GPUs are held until it is written."""
        done = life.progress_gpu_s(now)
        self._stint(life, self.clock.now)
        cancel(life.event)
        life.done_gpu_s = done
        self._enter(life, "saving", on_grid(now + life.write_s))

    def kill(self, life: Life, reason: str) -> None:
        """Stop a job at once; work since its last checkpoint is lost, and it waits again."""
        now = self.clock.now
        kept = life.saved_gpu_s(now)
        lost = life.progress_gpu_s(now) - kept
        cancel(life.event)
        self._stint(life, self.clock.now)
        outcome = self.outcomes[life.index]
        outcome.kills += 1
        outcome.lost_gpu_s += lost * life.gpus / life.rate if life.rate else 0.0
        life.saved = life.saved or kept > 0
        life.done_gpu_s = kept
        if self._log:
            self._note("kill", life, reason, {"lost_gpu_s": lost})
        self._leave(life)
        self._requeue(life)

    def _leave(self, life: Life) -> None:
        """Give back what the job holds."""
        cluster = self.clusters[life.site]
        emptied = cluster.release(life.allocation)
        if life.draws:
            cluster.active -= life.ask.intensity * life.cap * life.gpus
            if not cluster.busy_gpus:
                cluster.active = 0.0  # rounding must not outlive the jobs
            life.draws = False
        life.allocation = ()
        life.event = None
        del self.running[life.index]
        if cluster.node.can_sleep:
            after = self.clock.now + cluster.node.sleep_after_s
            for node in emptied:
                cluster.empty_since[node] = self.clock.now
                self.clock.at(on_grid(after), Kind.TIMER, life.site, self._sleep, (life.site, node, self.clock.now))
        self._power_changed(life.site)
        self.policy.freed(life, life.site)
        self._ask_for_round()

    def _sleep(self, event: SimEvent) -> None:
        site, node, since = event._value
        cluster = self.clusters[site]
        if cluster.empty_since[node] == since and cluster.sleep(node):
            self._power_changed(site)

    def _requeue(self, life: Life) -> None:
        life.phase, life.since_s = "queued", self.clock.now
        self.waiting[life.index] = life
        self.policy.waiting(life)
        self._ask_for_round()

    def _end(self, life: Life, state: State, reason: str = "") -> None:
        outcome = self.outcomes[life.index]
        if outcome.state != "left":
            raise BreachError(f"job {life.ask.job_id!r} ended as {outcome.state} and then as {state}")
        outcome.state, outcome.end_s = state, self.clock.now
        life.phase = "ended"
        self.alive -= 1
        if self._log:
            self._note("reject" if state == "rejected" else "end", life, reason, {"state": state})

    # --- writing down ----------------------------------------------------------------------------

    def _power_changed(self, site: int) -> None:
        cluster = self.clusters[site]
        cluster.tally(self.clock.now)
        self.ledgers[site].set_it(self.clock.now, cluster.it_w())
        if self.guard is not None:
            self.guard.load_changed(site)

    def _stint(self, life: Life, until_s: float) -> None:
        """Write down the phase that ends at `until_s` [s]."""
        if until_s <= life.since_s:
            return
        held = sum(g for _, g in life.allocation)
        row = (life.index, life.site, life.since_s, until_s, held, life.power_w, _KIND_OF[life.phase])
        for column, value in zip(self._stints, row, strict=True):
            column.append(value)
        self.outcomes[life.index].busy_gpu_s += held * (until_s - life.since_s)

    def _note(
        self, kind: str, life: Life, reason: str = "", detail: dict[str, Any] | None = None, site: int = -2
    ) -> None:
        where = life.site if site == -2 else site
        self.events.append(Event(self.clock.now, kind, life.index, where, reason, detail or {}))

    def _record(self) -> Record:
        end_s = self.scenario.end_s
        for life in self.running.values():  # work still under way when the window closes
            done = life.progress_gpu_s(end_s)
            self.outcomes[life.index].work_left_gpu_s = max(self.jobs[life.index].truth.due_gpu_s - done, 0.0)
            self._stint(life, end_s)
        for life in self.waiting.values():
            due = self.jobs[life.index].truth.due_gpu_s
            self.outcomes[life.index].work_left_gpu_s = due - life.done_gpu_s
        names = ("job", "site", "start_s", "end_s", "gpus", "power_w", "kind")
        stints = Stints(**{n: np.asarray(c) for n, c in zip(names, self._stints, strict=True)})
        check_jobs(self.scenario, self.jobs, self.outcomes, stints)
        energy, worst = [], 0.0
        for index, ledger in enumerate(self.ledgers):
            energy.append(close(ledger))
            it_j = recorded_it_j(self.clusters[index], stints, index, end_s)
            worst = max(worst, residual(ledger, energy[-1], it_j))
        return Record(
            self.scenario,
            self.policy.name,
            self.jobs,
            self.outcomes,
            stints,
            energy,
            self.events,
            worst,
            self.rounds,
        )


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
    return Engine(scenario, jobs, policy, seed, settings or Settings()).run()
