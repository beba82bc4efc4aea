"""Actions that a policy may ask for; each carries its reason and the numbers it rested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from tafukt.simulator.engine.cluster import Allocation, Cluster
from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.faults import NodeCapacity
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.state import State
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.units import TICKS_PER_S

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent


@dataclass(slots=True)
class Start:
    """Start a waiting job on a site now, on `gpus` GPUs (0: as asked), at `cap` of its power above idle.

    `avoid` is a set of node bits that must be left alone (another job's reservation); `nodes` says which
    nodes to take, and how many GPUs of each, where the policy has planned that itself.
    """

    job: JobState
    site: int
    gpus: int = 0
    cap: float = 1.0
    avoid: int = 0
    nodes: Allocation = ()
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Hold:
    """Leave a waiting job alone until `until_s` [s]; a round is promised at that time."""

    job: JobState
    until_s: float
    site: int = -1
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pause:
    """Checkpoint a running job and put it back among the waiting."""

    job: JobState
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Move:
    """Checkpoint a running job, carry the checkpoint to another site, and let it wait there."""

    job: JobState
    site: int
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Resize:
    """Checkpoint a running malleable job and restart it at once on the same site with `gpus` GPUs."""

    job: JobState
    gpus: int
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Cap:
    """Let a running job draw `cap` of its power above idle from now on; needs no checkpoint."""

    job: JobState
    cap: float
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Refuse:
    """Turn a waiting job away for good; its work is not done, and is told apart from work left undone."""

    job: JobState
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Wake:
    """Ask for a round at `until_s` [s]."""

    until_s: float


Action = Start | Hold | Pause | Move | Resize | Cap | Refuse | Wake


# --- What a policy may ask for: every action is checked, then carried out; none is silently repaired


class ActionExecutor:
    """Checks actions against the rules and the state of things."""

    def __init__(
        self,
        state: State,
        eligibility: Eligibility,
        network: Network,
        phases: JobPhases,
        shortage: ShortageControl | None,
        capacity: NodeCapacity | None = None,
    ) -> None:
        self.state = state
        self.scenario = state.scenario
        self.clock = state.clock
        self.clusters = state.clusters
        self.log = state.log
        self.eligibility = eligibility
        self.network = network
        self.phases = phases
        self.shortage = shortage
        self.capacity = capacity
        self._wakes: set[float] = set()
        self._holds: dict[int, tuple[float, int, str]] = {}  # what was last told of each job's hold

    def execute(self, action: Action) -> None:
        """Carry out one action.

        Raises
        ------
        PolicyError
            If it is impossible; the message names the policy, the job, and why.
        """
        match action:
            case Start():
                self._start(action)
            case Hold():
                self._hold(action)
            case Wake():
                if not abs(action.until_s) < inf:
                    raise PolicyError(f"policy {self.state.policy.name!r} asks for a round at {action.until_s} s")
                self.wake_at(action.until_s)
            case Pause() | Move() | Resize() | Cap():
                self._interrupt(action)
            case Refuse():
                self._refuse(action)
            case _:
                raise PolicyError(f"policy {self.state.policy.name!r} asked for {action!r}, which is not an action")

    def wake_at(self, time_s: float) -> None:
        """Promise a round at a time [s]; one event serves everybody who asks for the same time."""
        time_s = max(ceil(time_s * TICKS_PER_S) / TICKS_PER_S, self.clock.now)
        if time_s not in self._wakes:
            self._wakes.add(time_s)
            self.clock.at(time_s, Kind.TIMER, 0, self._wake, time_s)

    def _wake(self, event: SimEvent) -> None:
        self._wakes.discard(event._value)
        self.state.ask_for_round()

    def _start(self, action: Start) -> None:
        job, ask, site = action.job, action.job.ask, action.site
        gpus, shortage = action.gpus or ask.gpus, self.shortage
        if job.phase != "queued" or job.index not in self.state.waiting:
            raise self._refusal(action, f"it is {job.phase}, not waiting")
        if not 0 <= site < len(self.clusters):
            raise self._refusal(action, f"there is no site {site}")
        cluster, name = self.clusters[site], self.scenario.sites[site].name
        if site not in self.eligibility.sites_for(job):
            raise self._refusal(action, f"it may not run on {name}")
        if not (ask.gpus_min or ask.gpus) <= gpus <= (ask.gpus_max or ask.gpus):
            raise self._refusal(action, f"it cannot run on {gpus} GPUs")
        if action.cap != 1.0:
            self._check_cap(action, site)
        if self.eligibility.has_quotas and not self.eligibility.within_quota(ask, site, gpus):
            raise self._refusal(action, f"the quota of {ask.tenant.region} is used up")
        intensity = ask.intensity * action.cap
        if shortage is not None and not shortage.accepts(site, gpus, intensity, job.must_start_s, job.has_run):
            raise self._refusal(action, f"{name} is short of supply and accepts no starts")
        if self.network.links and self.network.transfer_s(job, site) == inf:
            raise self._refusal(action, f"no link carries its data to {name}")
        if action.nodes:
            allocation = cluster.as_asked(action.nodes, gpus)
        else:
            allocation = None if cluster.offline else self._placed(action, cluster, gpus)
        if allocation is None:
            raise self._refusal(action, f"{name} has no room for {gpus} GPUs")
        self.phases.start(job, site, allocation, gpus, action.cap)
        if self.log.changes:
            self.log.note(self.clock.now, "start", job.index, site, action.reason, action.detail)

    def _placed(self, action: Start, cluster: Cluster, gpus: int) -> Allocation | None:
        """The nodes that a job takes: for whom no pause is possible, such as stay in service for so long."""
        ask = action.job.ask
        if self.capacity is not None and not ask.interruptible:
            until_s = self.clock.now + ask.estimate_s * ask.gpus / (ask.rate(gpus) * cluster.node.speed)
            leaving = self.capacity.leaving(action.site, until_s)
            found = cluster.place(gpus, action.avoid | leaving) if leaving else None
            if found is not None:
                return found
        return cluster.place(gpus, action.avoid)

    def _refuse(self, action: Refuse) -> None:
        job = action.job
        if job.phase != "queued" or job.index not in self.state.waiting:
            raise self._refusal(action, f"it is {job.phase}, not waiting")
        if not action.reason:
            raise self._refusal(action, "it says no reason")
        self.phases.refuse(job, action.reason, action.detail)

    def _hold(self, action: Hold) -> None:
        if not self.clock.now < action.until_s < inf:
            raise self._refusal(action, f"a hold must end in the future, not at {action.until_s} s")
        action.job.held_until_s = action.until_s
        self.wake_at(action.until_s)
        told = (action.until_s, action.site, action.reason)
        if self.log.all and self._holds.get(action.job.index) != told:  # told again only where it changes
            self._holds[action.job.index] = told
            detail = {"until_s": action.until_s, **action.detail}
            self.log.note(self.clock.now, "hold", action.job.index, action.site, action.reason, detail)

    def _interrupt(self, action: Pause | Move | Resize | Cap) -> None:
        job = action.job
        if job.phase != "running":
            raise self._refusal(action, f"it is {job.phase}, not running")
        if isinstance(action, Cap):
            self._check_cap(action, job.site)
            self.phases.set_power_cap(job, action.cap, action.reason, action.detail)
            return
        if not job.ask.interruptible:
            raise self._refusal(action, "it is not interruptible")
        if isinstance(action, Pause):
            self.phases.pause(job, action.reason, action.detail)
        elif isinstance(action, Move):
            self._move(action)
        else:
            self._resize(action)

    def _move(self, action: Move) -> None:
        job = action.job
        if action.site not in job.sites or action.site == job.site:
            raise self._refusal(action, f"it cannot move to site {action.site}")
        if self.eligibility.federated:
            raise self._refusal(action, "its institute does not decide for others")
        if self.network.links and self.network.transfer_s(job, action.site, saved_at=job.site) == inf:
            raise self._refusal(action, f"no link carries its data to site {action.site}")
        self.phases.move(job, action.site, action.reason, action.detail)

    def _resize(self, action: Resize) -> None:
        job, ask = action.job, action.job.ask
        if ask.elasticity != "malleable":
            raise self._refusal(action, f"it is {ask.elasticity}, not malleable")
        if not (ask.gpus_min or ask.gpus) <= action.gpus <= (ask.gpus_max or ask.gpus) or action.gpus == job.gpus:
            raise self._refusal(action, f"it cannot go from {job.gpus} to {action.gpus} GPUs")
        more = action.gpus - job.gpus
        if self.eligibility.has_quotas and more > 0 and not self.eligibility.within_quota(ask, job.site, more):
            raise self._refusal(action, f"the quota of {ask.tenant.region} is used up")
        self.log.outcomes.resizes[job.index] += 1
        if self.log.changes:
            self.phases.note("resize", job, action.reason, {"gpus": action.gpus, **action.detail})
        job.resizing = True
        self.phases.save(job, action.gpus)

    def _check_cap(self, action: Start | Cap, site: int) -> None:
        caps = self.scenario.sites[site].node.caps_of(action.job.ask)
        lowest = caps[0][0] if caps else 1.0
        if not lowest <= action.cap <= 1:
            raise self._refusal(action, f"a power cap must lie in [{lowest:g}, 1] here, not {action.cap}")

    def _refusal(self, action: Start | Hold | Pause | Move | Resize | Cap | Refuse, why: str) -> PolicyError:
        what, when = type(action).__name__.lower(), f"{self.clock.now:.0f} s"
        who = f"policy {self.state.policy.name!r}: {what} of job {action.job.ask.job_id!r}"
        return PolicyError(f"{who} at {when}: {why}")
