"""Phases of a job on a site: how they follow one another, and what each costs.

A stay begins with fetching and waking, goes on with a restart where there is a checkpoint, and runs. It
ends when the job does, when it has been saved on purpose (pause, move, resize), or when it is killed.
Periodic checkpoints are computed, not scheduled: they are part of how long work takes (`job_state`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from tafukt.simulator.engine import job_state as checkpoints
from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.engine.event_log import CODE_OF
from tafukt.simulator.engine.event_queue import Kind, cancel
from tafukt.simulator.engine.job_state import JobState, Phase
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.state import State
from tafukt.simulator.errors import BreachError
from tafukt.simulator.failures import software_faults
from tafukt.simulator.power_caps import speed
from tafukt.simulator.record import END_STATES, LEFT, NOTHING, OCCUPANCY_CODES, EndState
from tafukt.simulator.units import TICKS_PER_S, on_grid
from tafukt.workloads.job import Ending
from tafukt.workloads.job_table import values_of

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

    from tafukt.simulator.engine.cluster import Allocation

_RUN = OCCUPANCY_CODES["run"]
# What the last event of a job carries; one for all jobs, since there may be a million.
_ENDED: dict[str, Mapping[str, str]] = {state: {"state": state} for state in END_STATES}
_END_CODES: dict[str, int] = {state: code for code, state in enumerate(END_STATES)}
_END_EVENTS = {"rejected": "reject", "refused": "refuse"}


class JobPhases:
    """Carries jobs from phase to phase."""

    def __init__(self, state: State, eligibility: Eligibility, network: Network, seed: int) -> None:
        self.state = state
        self.clock = state.clock
        self.clusters = state.clusters
        self.log = state.log
        self.eligibility = eligibility
        self.network = network
        self.faults = state.settings.faults
        # What each job will do, which is the truth: before anything happens, all of it is left.
        for ended in _ENDED.values():
            state.log.share(ended)
        self.outcomes = state.log.outcomes
        self._endings: list[Ending] = values_of(state.jobs, "ending")
        self._due_gpu_s = self.outcomes.work_left_gpu_s[:]
        self._seed = seed
        self._software: dict[int, Iterator[float]] = {}
        self._kill_at_limit = state.settings.overrun == "kill"
        self._fail = self.faults.rate_per_s(1) > 0

    # --- a stay begins ---------------------------------------------------------------------------

    def start(self, job: JobState, site: int, allocation: Allocation, gpus: int, cap: float) -> None:
        """Take GPUs for a waiting job, and set it going."""
        state, now = self.state, self.clock.now
        del state.waiting[job.index]
        state.running[job.index] = state.running_at[site][job.index] = job
        up_s = self.clusters[site].take(allocation, now)
        if up_s > now:
            up_s = on_grid(up_s)
        job.site, job.started_s, job.until_s = site, now, up_s
        self._equip(job, allocation, gpus, cap)
        self.outcomes.site[job.index] = site
        if job.first_start_s < 0:
            job.first_start_s = self.outcomes.start_s[job.index] = now
        if self.network.links and self.network.fetch(job, site, self._fetched):
            self._enter(job, "fetching", inf)
        elif up_s > now:
            self._enter(job, "waking", up_s)
        elif job.saved_at < 0:
            self._run(job)
        else:
            self._restart(job)

    def _equip(self, job: JobState, allocation: Allocation, gpus: int, cap: float) -> None:
        """Set what follows from the GPUs that a job holds: its speed and its checkpoints."""
        ask, node = job.ask, self.clusters[job.site].node
        job.allocation, job.gpus, job.cap = allocation, gpus, cap
        job.held = gpus if len(allocation) == 1 else sum(held for _, held in allocation)
        job.rate = node.speed * (gpus if gpus == ask.gpus else ask.rate(gpus))
        job.caps = node.caps_of(ask) if node.other_caps else node.caps
        if cap != 1.0:
            job.rate *= speed(job.caps, cap)
        if self._fail or ask.checkpoint.interval_s is not None:
            job.interval_s = checkpoints.interval_s(ask.checkpoint, self.faults.rate_per_s(len(allocation)))
        if self.eligibility.has_quotas:
            self.eligibility.count(ask, job.site, gpus)

    def _fetched(self, job: JobState) -> None:
        self._occupied(job)
        up_s = job.until_s = on_grid(self.clusters[job.site].up_s(job.allocation))
        if up_s > self.clock.now:
            self._enter(job, "waking", up_s)
        else:
            self._restart(job)

    def _restart(self, job: JobState) -> None:
        restart_s = job.ask.checkpoint.restart_s if job.saved else 0.0
        if restart_s > 0:
            self._enter(job, "restarting", on_grid(self.clock.now + restart_s))
        else:
            self._run(job)

    def _enter(self, job: JobState, phase: Phase, until_s: float) -> None:
        """Begin a phase that holds GPUs and ends at a known time, or when something has arrived."""
        job.phase, job.since_s = phase, self.clock.now
        self._draw(job, phase not in ("waking", "fetching"))
        if until_s < inf:
            job.until_s = until_s
            job.event = self.clock.at(until_s, Kind.PHASE, job.index, self._phase_over, job)

    def _draw(self, job: JobState, works: bool) -> None:
        """Set what a job draws; while it waits with GPUs in hand they only idle."""
        cluster = self.clusters[job.site]
        intensity = job.ask.intensity * job.cap if works else 0.0
        job.power_w = cluster.draws_w(job.gpus, intensity, job.held)
        active = intensity * job.gpus
        cluster.active += active - job.active
        job.active = active
        self.state.power_changed(job.site)

    def _phase_over(self, event: SimEvent) -> None:
        job: JobState = event._value
        self._occupied(job)
        if job.phase == "waking":
            self._restart(job)
        elif job.phase == "restarting":
            self._run(job)
        else:
            self._saved(job)

    # --- it runs ---------------------------------------------------------------------------------

    def _run(self, job: JobState) -> None:
        """Work until the job's own end, its limit, or the next software fault, whichever comes first."""
        now = self.clock.now
        job.phase, job.since_s, job.expected_s = "running", now, -1.0
        self._draw(job, True)
        due = self._due_gpu_s[job.index]
        if self._kill_at_limit:
            due = min(due, job.ask.estimate_s * job.ask.gpus)
        left = due - job.done_gpu_s
        end = max(on_grid(now + job.time_for_s(left)), now) if left > 0.0 else now
        if self.faults.hazard_per_s > 0:
            if job.fault_s < 0:
                job.fault_s = self._until_fault_s(job)
            if now + job.fault_s < end:
                at = max(on_grid(now + job.fault_s), now)
                job.event = self.clock.at(at, Kind.FAULT, job.index, self._software_fault, job)
                return
        job.event = self.clock.at(end, Kind.END, job.index, self._finished, job)

    def _finished(self, event: SimEvent) -> None:
        job: JobState = event._value
        now, due = self.clock.now, self._due_gpu_s[job.index]
        done = job.progress_gpu_s(now)
        self.log.occupy(job, now, _RUN)
        self.leave(job)
        tolerance = job.rate / TICKS_PER_S + 1e-9 * due
        self.outcomes.work_left_gpu_s[job.index] = 0.0
        if done < due - tolerance:
            if not self._kill_at_limit:
                raise BreachError(f"job {job.ask.job_id!r} ended with {due - done} GPU-s of its work left")
            self.end(job, "failed", "killed at the limit of its estimate")
            return
        if done > due + tolerance:
            raise BreachError(f"job {job.ask.job_id!r} did {done} GPU-s at {now} s, due {due}")
        job.done_gpu_s = due
        self.end(job, self._endings[job.index])

    def _bank(self, job: JobState) -> None:
        """Write down a run that is cut here: what checkpoints hold of it, and what they do not hold yet."""
        now = self.clock.now
        done, safe, saved_s = job.progress_gpu_s(now), job.saved_gpu_s(now), job.checkpoint_s(now)
        elapsed = now - job.since_s
        if saved_s >= 0:
            job.at_risk.clear()
            job.saved_at = job.site
            if saved_s > job.since_s:
                self.log.occupy(job, saved_s, _RUN)
                job.since_s = saved_s
        if now > job.since_s:
            self._occupied(job)
            if job.phase == "running":
                self.log.at_risk(job)
        if job.interval_s < inf:
            job.into_s = (job.into_s + elapsed) % (job.interval_s + job.write_s)
        job.done_gpu_s, job.safe_gpu_s, job.since_s = done, safe, now
        if job.fault_s >= 0:
            job.fault_s = max(job.fault_s - elapsed, 0.0)

    def set_power_cap(self, job: JobState, cap: float, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Let a running job draw another share of its power above idle from now on; that costs nothing."""
        if self.log.changes:
            self.note("cap", job, reason, {"cap": cap, **detail})
        self._bank(job)
        cancel(job.event)
        job.rate *= speed(job.caps, cap) / speed(job.caps, job.cap)
        job.cap = cap
        self._run(job)

    def _until_fault_s(self, job: JobState) -> float:
        """Running time to the next software fault of a job [s]."""
        draws = self._software.get(job.index)
        if draws is None:
            draws = self._software[job.index] = software_faults(self.faults, self._seed, job.ask.job_id)
        return next(draws)

    # --- it stops --------------------------------------------------------------------------------

    def pause(self, job: JobState, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Checkpoint a running job; it waits again once that is written, and its GPUs are free."""
        self.outcomes.pauses[job.index] += 1
        if self.log.changes:
            self.note("pause", job, reason, detail)
        self.save(job)

    def move(
        self, job: JobState, site: int, reason: str = "", detail: Mapping[str, Any] = NOTHING, at_once: bool = False
    ) -> None:
        """Checkpoint a running job and carry it to another site, where it waits.

        Where it is `at_once`, it starts on its arrival if there is still room, whoever else waits.
        """
        self.outcomes.moves[job.index] += 1
        if self.log.changes:
            self.note("move", job, reason, {"to": self.state.scenario.sites[site].name, **detail})
        job.arrives = at_once
        self.save(job, site)

    def save(self, job: JobState, target: int = -1) -> None:
        """Stop working and write a checkpoint; the GPUs are held until it is written.

        `target` is the site where a move is to end, or the new size where a resize is under way.
        """
        self._bank(job)
        cancel(job.event)
        job.target = target
        self._enter(job, "saving", on_grid(self.clock.now + job.write_s))

    def _saved(self, job: JobState) -> None:
        job.safe_gpu_s = job.done_gpu_s
        job.saved_at = job.site
        job.into_s = 0.0
        job.at_risk.clear()
        target, job.target = job.target, -1
        if job.resizing:
            job.resizing = False
            self._resize(job, target)
            return
        self.leave(job)
        if target < 0:
            self.requeue(job)
        elif self.network.fetch(job, target, self._moved):
            job.phase, job.since_s, job.target = "moving", self.clock.now, target
            self.state.moving[job.index] = job
        else:
            job.target = target
            self._moved(job)

    def _moved(self, job: JobState) -> None:
        self.state.moving.pop(job.index, None)
        job.site = job.queued_at = job.saved_at = job.target
        job.target = -1
        arrives, job.arrives = job.arrives, False
        allocation = self.clusters[job.site].place(job.ask.gpus) if arrives else None
        if allocation is None:
            self.requeue(job)
            return
        self.state.waiting[job.index] = job
        if self.log.changes:
            self.note("start", job, "it goes on where it was moved to")
        self.start(job, job.site, allocation, job.ask.gpus, 1.0)

    def _resize(self, job: JobState, gpus: int) -> None:
        """Restart at once on another number of GPUs; on as many as before if somebody has taken the room."""
        cluster = self.clusters[job.site]
        old, before = job.allocation, job.gpus
        self._let_go(job)
        allocation = cluster.place(gpus)
        if allocation is None:
            allocation, gpus = old, before
        job.until_s = on_grid(cluster.take(allocation, self.clock.now))
        self._equip(job, allocation, gpus, job.cap)
        self.state.policy.freed(None, job.site)
        self.state.ask_for_round()
        if job.until_s > self.clock.now:
            self._enter(job, "waking", job.until_s)
        else:
            self._restart(job)

    def _software_fault(self, event: SimEvent) -> None:
        job: JobState = event._value
        job.fault_s = -1.0
        self.kill(job, "software fault", fault=True)

    def kill(self, job: JobState, reason: str, fault: bool = False) -> None:
        """Stop a job at once; work since its last checkpoint is lost, and it waits again."""
        cancel(job.event)
        if job.phase == "running":
            self._bank(job)
        else:
            self._occupied(job)
        self.network.abandon(job)
        lost_gpu_s = self.log.lose(job)
        job.done_gpu_s, job.into_s, job.target, job.resizing = job.safe_gpu_s, 0.0, -1, False
        self.outcomes.kills[job.index] += 1
        if self.log.changes:
            self.note("kill", job, reason, {"lost_gpu_s": lost_gpu_s})
        self.leave(job)
        job.faults += fault
        if fault and self.faults.retries is not None and job.faults > self.faults.retries:
            left = self._due_gpu_s[job.index] - job.safe_gpu_s
            self.outcomes.work_left_gpu_s[job.index] = left
            self.end(job, "failed", f"given up after {job.faults} faults")
        else:
            self.requeue(job)

    def leave(self, job: JobState) -> None:
        """Give back what the job holds."""
        state = self.state
        self._let_go(job)
        del state.running[job.index], state.running_at[job.site][job.index]
        job.event = None
        state.power_changed(job.site)
        state.policy.freed(job, job.site)
        state.ask_for_round()

    def _let_go(self, job: JobState) -> None:
        cluster = self.clusters[job.site]
        emptied = cluster.release(job.allocation)
        cluster.active -= job.active
        job.active = 0.0
        if not cluster.busy_gpus:
            cluster.active = 0.0  # rounding must not outlive the jobs
        job.allocation = ()
        if self.eligibility.has_quotas:
            self.eligibility.count(job.ask, job.site, -job.gpus)
        if emptied and cluster.node.can_sleep:
            self._let_sleep(job.site, emptied)

    def _let_sleep(self, site: int, nodes: Sequence[int]) -> None:
        """Send these nodes to sleep if they are still empty when their time has come."""
        cluster, now = self.clusters[site], self.clock.now
        at = on_grid(now + cluster.node.sleep_after_s)
        for node in nodes:
            cluster.empty_since[node] = now
            self.clock.at(at, Kind.TIMER, site, self._sleep, (site, node, now))

    def _sleep(self, event: SimEvent) -> None:
        site, node, since = event._value
        cluster = self.clusters[site]
        if cluster.empty_since[node] == since and cluster.sleep(node):
            self.state.power_changed(site)

    def requeue(self, job: JobState) -> None:
        """Back among the waiting."""
        job.phase, job.since_s, job.held_until_s = "queued", self.clock.now, -1.0
        self.state.waiting[job.index] = job
        self.state.policy.waiting(job)
        self.state.ask_for_round()

    def refuse(self, job: JobState, reason: str, detail: Mapping[str, Any] = NOTHING) -> None:
        """Turn a waiting job away; what it has done so far stays done, the rest is nobody's."""
        del self.state.waiting[job.index]
        self.outcomes.work_left_gpu_s[job.index] = self._due_gpu_s[job.index] - job.done_gpu_s
        self.end(job, "refused", reason, detail)

    def end(self, job: JobState, state: EndState, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """The one end of a job."""
        outcomes, index, now = self.outcomes, job.index, self.clock.now
        before = outcomes.state[index]
        if before != LEFT:
            raise BreachError(f"job {job.ask.job_id!r} ended as {END_STATES[before]} and then as {state}")
        outcomes.state[index], outcomes.end_s[index] = _END_CODES[state], now
        job.phase = "ended"
        if self.log.changes:
            kind = _END_EVENTS.get(state, "end")
            told = {**_ENDED[state], **detail} if detail else _ENDED[state]
            self.log.note(now, kind, index, job.site, reason, told)

    def close(self, end_s: float) -> None:
        """Write down what is still under way when the window closes."""
        for job in self.state.running.values():
            left = self._due_gpu_s[job.index] - job.progress_gpu_s(end_s)
            self.outcomes.work_left_gpu_s[job.index] = max(left, 0.0)
            self.log.occupy(job, end_s, CODE_OF[job.phase])
        for job in (*self.state.waiting.values(), *self.state.moving.values()):
            left = self._due_gpu_s[job.index] - job.done_gpu_s
            self.outcomes.work_left_gpu_s[job.index] = left

    def note(self, kind: str, job: JobState, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Write down an event of a job."""
        self.log.note(self.clock.now, kind, job.index, job.site, reason, detail)

    def _occupied(self, job: JobState) -> None:
        """Write down the phase that ends now."""
        self.log.occupy(job, self.clock.now, CODE_OF[job.phase])
