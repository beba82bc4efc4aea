"""The life of a job on a site: how its phases follow one another, and what each costs.

A stay begins with fetching and waking, goes on with a restart where there is a checkpoint, and runs. It
ends when the job does, when it has been saved on purpose (pause, move, resize), or when it is killed.
Periodic checkpoints are computed, not scheduled: they are part of how long work takes (`simulator.life`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, get_args

from tafukt.simulator import power_caps as caps
from tafukt.simulator.engine import job_state as checkpoints
from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.engine.event_log import CODE_OF, KINDS
from tafukt.simulator.engine.event_queue import Kind, cancel
from tafukt.simulator.engine.job_state import JobState, Phase
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.state import State
from tafukt.simulator.errors import BreachError
from tafukt.simulator.failures import software_faults
from tafukt.simulator.record import NOTHING, EndState
from tafukt.simulator.units import TICKS_PER_S, on_grid

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent
    from tafukt.simulator.engine.cluster import Allocation

_RUN = KINDS["run"]
# What the last event of a job carries; one for all jobs, since there may be a million.
_ENDED: dict[str, Mapping[str, str]] = {state: {"state": state} for state in get_args(EndState)}


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
        self._due_gpu_s = [outcome.work_left_gpu_s for outcome in state.log.outcomes]
        self._seed = seed
        self._software: dict[int, Iterator[float]] = {}
        self._kill_at_limit = state.settings.overrun == "kill"
        self._fail = self.faults.rate_per_s(1) > 0

    # --- a stay begins ---------------------------------------------------------------------------

    def start(self, life: JobState, site: int, allocation: Allocation, gpus: int, cap: float) -> None:
        """Take GPUs for a waiting job, and set it going."""
        state, now = self.state, self.clock.now
        del state.waiting[life.index]
        state.running[life.index] = state.running_at[site][life.index] = life
        up_s = self.clusters[site].take(allocation, now)
        if up_s > now:
            up_s = on_grid(up_s)
        life.site, life.started_s, life.until_s = site, now, up_s
        self._equip(life, allocation, gpus, cap)
        outcome = self.log.outcomes[life.index]
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
        if self.eligibility.has_quotas:
            self.eligibility.count(ask, life.site, gpus)

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
        self.state.power_changed(life.site)

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
                life.fault_s = self._until_fault_s(life)
            if now + life.fault_s < end:
                at = max(on_grid(now + life.fault_s), now)
                life.event = self.clock.at(at, Kind.FAULT, life.index, self._software_fault, life)
                return
        life.event = self.clock.at(end, Kind.END, life.index, self._finished, life)

    def _finished(self, event: SimEvent) -> None:
        life: JobState = event._value
        now, due = self.clock.now, self._due_gpu_s[life.index]
        done = life.progress_gpu_s(now)
        self.log.stint(life, now, _RUN)
        self.leave(life)
        tolerance = life.rate / TICKS_PER_S + 1e-9 * due
        self.log.outcomes[life.index].work_left_gpu_s = 0.0
        if done < due - tolerance:
            if not self._kill_at_limit:
                raise BreachError(f"job {life.ask.job_id!r} ended with {due - done} GPU-s of its work left")
            self.end(life, "failed", "killed at the limit of its estimate")
            return
        if done > due + tolerance:
            raise BreachError(f"job {life.ask.job_id!r} did {done} GPU-s at {now} s, due {due}")
        life.done_gpu_s = due
        self.end(life, self.state.jobs[life.index].truth.ending)

    def _bank(self, life: JobState) -> None:
        """Write down a run that is cut here: what checkpoints hold of it, and what they do not hold yet."""
        now = self.clock.now
        done, safe, saved_s = life.progress_gpu_s(now), life.saved_gpu_s(now), life.checkpoint_s(now)
        elapsed = now - life.since_s
        if saved_s >= 0:
            life.at_risk.clear()
            life.saved_at = life.site
            if saved_s > life.since_s:
                self.log.stint(life, saved_s, _RUN)
                life.since_s = saved_s
        if now > life.since_s:
            self._stint(life)
            if life.phase == "running":
                self.log.at_risk(life)
        if life.interval_s < inf:
            life.into_s = (life.into_s + elapsed) % (life.interval_s + life.write_s)
        life.done_gpu_s, life.safe_gpu_s, life.since_s = done, safe, now
        if life.fault_s >= 0:
            life.fault_s = max(life.fault_s - elapsed, 0.0)

    def set_power_cap(self, life: JobState, cap: float, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Let a running job draw another share of its power above idle from now on; that costs nothing."""
        if self.log.changes:
            self.note("cap", life, reason, {"cap": cap, **detail})
        self._bank(life)
        cancel(life.event)
        life.rate *= caps.speed(self.clusters[life.site].node.caps, cap) / self._cap_speed(life)
        life.cap = cap
        self._run(life)

    def _cap_speed(self, life: JobState) -> float:
        return caps.speed(self.clusters[life.site].node.caps, life.cap)

    def _until_fault_s(self, life: JobState) -> float:
        """Running time to the next software fault of a job [s]."""
        draws = self._software.get(life.index)
        if draws is None:
            draws = self._software[life.index] = software_faults(self.faults, self._seed, life.ask.job_id)
        return next(draws)

    # --- it stops --------------------------------------------------------------------------------

    def pause(self, life: JobState, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Checkpoint a running job; it waits again once that is written, and its GPUs are free."""
        self.log.outcomes[life.index].pauses += 1
        if self.log.changes:
            self.note("pause", life, reason, detail)
        self.save(life)

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
            self.state.moving[life.index] = life
        else:
            life.target = target
            self._moved(life)

    def _moved(self, life: JobState) -> None:
        self.state.moving.pop(life.index, None)
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
        self.state.policy.freed(None, life.site)
        self.state.ask_for_round()
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
        lost_gpu_s = self.log.lose(life)
        life.done_gpu_s, life.into_s, life.target, life.resizing = life.safe_gpu_s, 0.0, -1, False
        self.log.outcomes[life.index].kills += 1
        if self.log.changes:
            self.note("kill", life, reason, {"lost_gpu_s": lost_gpu_s})
        self.leave(life)
        life.faults += fault
        if fault and self.faults.retries is not None and life.faults > self.faults.retries:
            left = self._due_gpu_s[life.index] - life.safe_gpu_s
            self.log.outcomes[life.index].work_left_gpu_s = left
            self.end(life, "failed", f"given up after {life.faults} faults")
        else:
            self.requeue(life)

    def leave(self, life: JobState) -> None:
        """Give back what the job holds."""
        state = self.state
        self._let_go(life)
        del state.running[life.index], state.running_at[life.site][life.index]
        life.event = None
        state.power_changed(life.site)
        state.policy.freed(life, life.site)
        state.ask_for_round()

    def _let_go(self, life: JobState) -> None:
        cluster = self.clusters[life.site]
        emptied = cluster.release(life.allocation)
        cluster.active -= life.active
        life.active = 0.0
        if not cluster.busy_gpus:
            cluster.active = 0.0  # rounding must not outlive the jobs
        life.allocation = ()
        if self.eligibility.has_quotas:
            self.eligibility.count(life.ask, life.site, -life.gpus)
        if emptied and cluster.node.can_sleep:
            self._let_sleep(life.site, emptied)

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

    def requeue(self, life: JobState) -> None:
        """Back among the waiting."""
        life.phase, life.since_s, life.held_until_s = "queued", self.clock.now, -1.0
        self.state.waiting[life.index] = life
        self.state.policy.waiting(life)
        self.state.ask_for_round()

    def end(self, life: JobState, state: EndState, reason: str = "") -> None:
        """The one end of a job."""
        outcome = self.log.outcomes[life.index]
        if outcome.state != "left":
            raise BreachError(f"job {life.ask.job_id!r} ended as {outcome.state} and then as {state}")
        outcome.state, outcome.end_s = state, self.clock.now
        life.phase = "ended"
        if self.log.changes:
            kind = "reject" if state == "rejected" else "end"
            self.log.note(self.clock.now, kind, life.index, life.site, reason, _ENDED[state])

    def close(self, end_s: float) -> None:
        """Write down what is still under way when the window closes."""
        for life in self.state.running.values():
            left = self._due_gpu_s[life.index] - life.progress_gpu_s(end_s)
            self.log.outcomes[life.index].work_left_gpu_s = max(left, 0.0)
            self.log.stint(life, end_s, CODE_OF[life.phase])
        for life in (*self.state.waiting.values(), *self.state.moving.values()):
            left = self._due_gpu_s[life.index] - life.done_gpu_s
            self.log.outcomes[life.index].work_left_gpu_s = left

    def note(self, kind: str, life: JobState, reason: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Write down an event in the life of a job."""
        self.log.note(self.clock.now, kind, life.index, life.site, reason, detail)

    def _stint(self, life: JobState) -> None:
        """Write down the phase that ends now."""
        self.log.stint(life, self.clock.now, CODE_OF[life.phase])
