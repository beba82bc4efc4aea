"""The life of a job on a site: how its phases follow one another, and what each costs.

A stay begins with fetching and waking, goes on with a restart where there is a checkpoint, and runs. It
ends when the job does, when it has been saved on purpose (pause, move, resize), or when it is killed.
Periodic checkpoints are computed, not scheduled: they are part of how long work takes (`simulator.life`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, get_args

from tafukt.simulator import power_caps as caps
from tafukt.simulator.engine import job_state as checkpoints
from tafukt.simulator.engine.event_log import CODE_OF, KINDS
from tafukt.simulator.engine.event_queue import TICKS_PER_S, Kind, cancel, on_grid
from tafukt.simulator.engine.job_state import JobState, Phase
from tafukt.simulator.errors import BreachError
from tafukt.simulator.record import State

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent
    from tafukt.simulator.engine.cluster import Allocation
    from tafukt.simulator.engine.engine import Engine

_RUN = KINDS["run"]
# What the last event of a job carries; one for all jobs, since there may be a million.
_ENDED: dict[str, Mapping[str, str]] = {state: {"state": state} for state in get_args(State)}


class JobPhases:
    """Carries jobs from phase to phase."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = engine.clock
        self.jobs = engine.jobs
        self.journal = engine.journal
        # What each job will do, which is the truth: before anything happens, all of it is left.
        self._due_gpu_s = [outcome.work_left_gpu_s for outcome in self.journal.outcomes]
        self.clusters = engine.clusters
        self.network = engine.network
        self.faults = engine.settings.faults
        self._kill_at_limit = engine.settings.overrun == "kill"
        self._fail = self.faults.rate_per_s(1) > 0

    # --- a stay begins ---------------------------------------------------------------------------

    def start(self, life: JobState, site: int, allocation: Allocation, gpus: int, cap: float) -> None:
        """Take GPUs for a waiting job, and set it going."""
        engine, now = self.engine, self.clock.now
        del engine.waiting[life.index]
        engine.running[life.index] = engine.running_at[site][life.index] = life
        up_s = self.clusters[site].take(allocation, now)
        if up_s > now:
            up_s = on_grid(up_s)
        life.site, life.started_s, life.until_s = site, now, up_s
        self._equip(life, allocation, gpus, cap)
        outcome = self.journal.outcomes[life.index]
        outcome.site = site
        if life.first_start_s < 0:
            life.first_start_s = outcome.start_s = now
        if self.network.links and self.network.fetch(life, site, self._fetched):
            self._enter(life, "fetching", inf)
        elif up_s > now:
            self._enter(life, "waking", up_s)
        elif life.saved_at < 0:
            self._run(life)
        else:
            self._restart(life)

    def _equip(self, life: JobState, allocation: Allocation, gpus: int, cap: float) -> None:
        """What follows from the GPUs that a job holds: its speed and its checkpoints."""
        ask, node = life.ask, self.clusters[life.site].node
        life.allocation, life.gpus, life.cap = allocation, gpus, cap
        life.held = gpus if len(allocation) == 1 else sum(held for _, held in allocation)
        life.rate = node.speed * (gpus if gpus == ask.gpus else ask.rate(gpus))
        if cap != 1.0:
            life.rate *= caps.speed(node.caps, cap)
        if self._fail or ask.checkpoint.interval_s is not None:
            life.interval_s = checkpoints.interval_s(ask.checkpoint, self.faults.rate_per_s(len(allocation)))
        if self.engine.rules.has_quotas:
            self.engine.rules.count(ask, life.site, gpus)

    def _fetched(self, life: JobState) -> None:
        self._stint(life)
        up_s = life.until_s = on_grid(self.clusters[life.site].up_s(life.allocation))
        if up_s > self.clock.now:
            self._enter(life, "waking", up_s)
        else:
            self._restart(life)

    def _restart(self, life: JobState) -> None:
        restart_s = life.ask.checkpoint.restart_s if life.saved else 0.0
        if restart_s > 0:
            self._enter(life, "restarting", on_grid(self.clock.now + restart_s))
        else:
            self._run(life)

    def _enter(self, life: JobState, phase: Phase, until_s: float) -> None:
        """Begin a phase that holds GPUs and ends at a known time, or when something has arrived."""
        life.phase, life.since_s = phase, self.clock.now
        self._draw(life, phase not in ("waking", "fetching"))
        if until_s < inf:
            life.until_s = until_s
            life.event = self.clock.at(until_s, Kind.PHASE, life.index, self._phase_over, life)

    def _draw(self, life: JobState, works: bool) -> None:
        """Set what a job draws; while it waits with GPUs in hand they only idle."""
        cluster = self.clusters[life.site]
        intensity = life.ask.intensity * life.cap if works else 0.0
        life.power_w = cluster.draws_w(life.gpus, intensity, life.held)
        active = intensity * life.gpus
        cluster.active += active - life.active
        life.active = active
        self.engine.power_changed(life.site)

    def _phase_over(self, event: SimEvent) -> None:
        life: JobState = event._value
        self._stint(life)
        if life.phase == "waking":
            self._restart(life)
        elif life.phase == "restarting":
            self._run(life)
        else:
            self._saved(life)

    # --- it runs ---------------------------------------------------------------------------------

    def _run(self, life: JobState) -> None:
        """Work until the job's own end, its limit, or the next software fault, whichever comes first."""
        now = self.clock.now
        life.phase, life.since_s, life.expected_s = "running", now, -1.0
        self._draw(life, True)
        due = self._due_gpu_s[life.index]
        if self._kill_at_limit:
            due = min(due, life.ask.estimate_s * life.ask.gpus)
        left = due - life.done_gpu_s
        end = max(on_grid(now + life.time_for_s(left)), now) if left > 0.0 else now
        if self.faults.hazard_per_s > 0:
            if life.fault_s < 0:
                life.fault_s = self.engine.faults.until_next_s(life.index)
            if now + life.fault_s < end:
                at = max(on_grid(now + life.fault_s), now)
                life.event = self.clock.at(at, Kind.FAULT, life.index, self._software_fault, life)
                return
        life.event = self.clock.at(end, Kind.END, life.index, self._finished, life)

    def _finished(self, event: SimEvent) -> None:
        life: JobState = event._value
        now, due = self.clock.now, self._due_gpu_s[life.index]
        done = life.progress_gpu_s(now)
        self.journal.stint(life, now, _RUN)
        self.leave(life)
        tolerance = life.rate / TICKS_PER_S + 1e-9 * due
        self.journal.outcomes[life.index].work_left_gpu_s = 0.0
        if done < due - tolerance:
            if not self._kill_at_limit:
                raise BreachError(f"job {life.ask.job_id!r} ended with {due - done} GPU-s of its work left")
            self.end(life, "failed", "killed at the limit of its estimate")
            return
        if done > due + tolerance:
            raise BreachError(f"job {life.ask.job_id!r} did {done} GPU-s at {now} s, due {due}")
        life.done_gpu_s = due
        self.end(life, self.jobs[life.index].truth.ending)

    def _bank(self, life: JobState) -> None:
        """Write down a run that is cut here: what checkpoints hold of it, and what they do not hold yet."""
        now = self.clock.now
        done, safe, saved_s = life.progress_gpu_s(now), life.saved_gpu_s(now), life.checkpoint_s(now)
        elapsed = now - life.since_s
        if saved_s >= 0:
            life.at_risk.clear()
            life.saved_at = life.site
            if saved_s > life.since_s:
                self.journal.stint(life, saved_s, _RUN)
                life.since_s = saved_s
        if now > life.since_s:
            self._stint(life)
            if life.phase == "running":
                self.journal.at_risk(life)
        if life.interval_s < inf:
            life.into_s = (life.into_s + elapsed) % (life.interval_s + life.write_s)
        life.done_gpu_s, life.safe_gpu_s, life.since_s = done, safe, now
        if life.fault_s >= 0:
            life.fault_s = max(life.fault_s - elapsed, 0.0)

    def set_power_cap(self, life: JobState, cap: float) -> None:
        """Let a running job go on under another power cap; that costs nothing."""
        self._bank(life)
        cancel(life.event)
        life.rate *= caps.speed(self.clusters[life.site].node.caps, cap) / self._cap_speed(life)
        life.cap = cap
        self._run(life)

    def _cap_speed(self, life: JobState) -> float:
        return caps.speed(self.clusters[life.site].node.caps, life.cap)

    # --- it stops --------------------------------------------------------------------------------

    def save(self, life: JobState, target: int = -1) -> None:
        """Stop working and write a checkpoint; the GPUs are held until it is written.

        `target` is the site where a move is to end, or the new size where a resize is under way.
        """
        self._bank(life)
        cancel(life.event)
        life.target = target
        self._enter(life, "saving", on_grid(self.clock.now + life.write_s))

    def _saved(self, life: JobState) -> None:
        life.safe_gpu_s = life.done_gpu_s
        life.saved_at = life.site
        life.into_s = 0.0
        life.at_risk.clear()
        target, life.target = life.target, -1
        if life.resizing:
            life.resizing = False
            self._resize(life, target)
            return
        self.leave(life)
        if target < 0:
            self.requeue(life)
        elif self.network.fetch(life, target, self._moved):
            life.phase, life.since_s, life.target = "moving", self.clock.now, target
            self.engine.moving[life.index] = life
        else:
            life.target = target
            self._moved(life)

    def _moved(self, life: JobState) -> None:
        self.engine.moving.pop(life.index, None)
        life.site = life.post = life.saved_at = life.target
        life.target = -1
        self.requeue(life)

    def _resize(self, life: JobState, gpus: int) -> None:
        """Restart at once on another number of GPUs; on as many as before if somebody has taken the room."""
        cluster = self.clusters[life.site]
        old, before = life.allocation, life.gpus
        self._let_go(life)
        allocation = cluster.place(gpus)
        if allocation is None:
            allocation, gpus = old, before
        life.until_s = on_grid(cluster.take(allocation, self.clock.now))
        self._equip(life, allocation, gpus, life.cap)
        self.engine.policy.freed(None, life.site)
        self.engine.ask_for_round()
        if life.until_s > self.clock.now:
            self._enter(life, "waking", life.until_s)
        else:
            self._restart(life)

    def _software_fault(self, event: SimEvent) -> None:
        life: JobState = event._value
        life.fault_s = -1.0
        self.kill(life, "software fault", fault=True)

    def kill(self, life: JobState, reason: str, fault: bool = False) -> None:
        """Stop a job at once; work since its last checkpoint is lost, and it waits again."""
        cancel(life.event)
        if life.phase == "running":
            self._bank(life)
        else:
            self._stint(life)
        self.network.abandon(life)
        lost_gpu_s = self.journal.lose(life)
        life.done_gpu_s, life.into_s, life.target, life.resizing = life.safe_gpu_s, 0.0, -1, False
        self.journal.outcomes[life.index].kills += 1
        if self.journal.changes:
            self.engine.note("kill", life, reason, {"lost_gpu_s": lost_gpu_s})
        self.leave(life)
        life.faults += fault
        if fault and self.faults.retries is not None and life.faults > self.faults.retries:
            left = self._due_gpu_s[life.index] - life.safe_gpu_s
            self.journal.outcomes[life.index].work_left_gpu_s = left
            self.end(life, "failed", f"given up after {life.faults} faults")
        else:
            self.requeue(life)

    def leave(self, life: JobState) -> None:
        """Give back what the job holds."""
        engine = self.engine
        self._let_go(life)
        del engine.running[life.index], engine.running_at[life.site][life.index]
        life.event = None
        engine.power_changed(life.site)
        engine.policy.freed(life, life.site)
        engine.ask_for_round()

    def _let_go(self, life: JobState) -> None:
        cluster, now = self.clusters[life.site], self.clock.now
        emptied = cluster.release(life.allocation)
        cluster.active -= life.active
        life.active = 0.0
        if not cluster.busy_gpus:
            cluster.active = 0.0  # rounding must not outlive the jobs
        life.allocation = ()
        if self.engine.rules.has_quotas:
            self.engine.rules.count(life.ask, life.site, -life.gpus)
        if emptied and cluster.node.can_sleep:
            self.engine.let_sleep(life.site, emptied, now)

    def requeue(self, life: JobState) -> None:
        """Back among the waiting."""
        life.phase, life.since_s, life.held_until_s = "queued", self.clock.now, -1.0
        self.engine.waiting[life.index] = life
        self.engine.policy.waiting(life)
        self.engine.ask_for_round()

    def end(self, life: JobState, state: State, reason: str = "") -> None:
        """The one end of a job."""
        outcome = self.journal.outcomes[life.index]
        if outcome.state != "left":
            raise BreachError(f"job {life.ask.job_id!r} ended as {outcome.state} and then as {state}")
        outcome.state, outcome.end_s = state, self.clock.now
        life.phase = "ended"
        if self.journal.changes:
            kind = "reject" if state == "rejected" else "end"
            self.journal.note(self.clock.now, kind, life.index, life.site, reason, _ENDED[state])

    def close(self, end_s: float) -> None:
        """Write down what is still under way when the window closes."""
        for life in self.engine.running.values():
            left = self._due_gpu_s[life.index] - life.progress_gpu_s(end_s)
            self.journal.outcomes[life.index].work_left_gpu_s = max(left, 0.0)
            self.journal.stint(life, end_s, CODE_OF[life.phase])
        for life in (*self.engine.waiting.values(), *self.engine.moving.values()):
            left = self._due_gpu_s[life.index] - life.done_gpu_s
            self.journal.outcomes[life.index].work_left_gpu_s = left

    def _stint(self, life: JobState) -> None:
        """Write down the phase that ends now."""
        self.journal.stint(life, self.clock.now, CODE_OF[life.phase])
