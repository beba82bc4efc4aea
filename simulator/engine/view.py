"""What a policy sees: a live, read-only window on the engine. No true runtime, nothing of the future."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING

from tafukt.simulator.engine.forecast import Forecast
from tafukt.simulator.engine.job_state import JobState, interval_s
from tafukt.simulator.power_caps import speed
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.scenario import Site as SiteSpec
from tafukt.workloads.job import Ask

if TYPE_CHECKING:
    from tafukt.simulator.energy.ledger import SiteLedger
    from tafukt.simulator.engine.cluster import Cluster
    from tafukt.simulator.engine.engine import Engine


class SiteView:
    """One site now: its nodes, its sun, its battery."""

    __slots__ = ("_clock", "_cluster", "_engine", "_ledger", "gpus", "index", "spec")

    def __init__(self, index: int, spec: SiteSpec, cluster: Cluster, ledger: SiteLedger, engine: Engine) -> None:
        self.index = index
        self.spec = spec
        self.gpus = spec.gpus
        self._cluster = cluster
        self._ledger = ledger
        self._clock = engine.clock
        self._engine = engine

    @property
    def name(self) -> str:
        """The site's name."""
        return self.spec.name

    @property
    def free_gpus(self) -> int:
        """GPUs that no job holds."""
        return 0 if self._cluster.offline else self._cluster.free_gpus

    @property
    def nodes(self) -> Cluster:
        """The nodes; reservations look at which are free, and change nothing."""
        return self._cluster

    def fits(self, gpus: int) -> bool:
        """Whether a gang of this size could start now: there is room, and the site is not short of supply."""
        guard = self._engine.guard
        return gpus <= self._engine.room[self.index] and (guard is None or guard.accepts(self.index, gpus))

    def draws_w(self, ask: Ask, gpus: int = 0, cap: float = 1.0) -> float:
        """What a job would draw at the meter here [W], overhead at its present value included."""
        it_w = self._cluster.draws_w(gpus or ask.gpus, ask.intensity * cap)
        return it_w * self._ledger.per_it(self._clock.now)

    @property
    def it_w(self) -> float:
        """IT power now [W]."""
        return self._ledger.it_w

    @property
    def surplus_w(self) -> float:
        """Sun less load now [W]; negative where the load is larger."""
        return self._ledger.surplus_w(self._clock.now)

    @property
    def stored_j(self) -> float:
        """Energy in the battery now [J]."""
        self._ledger.settle(self._clock.now)
        return self._ledger.stored_j

    @property
    def usable_j(self) -> float:
        """Energy that the battery could deliver now [J, at its terminals]."""
        battery = self.spec.battery
        if battery is None:
            return 0.0
        stored_j = self.stored_j  # brings the books up to now, and with them the capacity
        return max(stored_j - battery.soc_min * self._ledger.capacity_j, 0.0) * battery.eta_discharge


class View:
    """The whole system now. `waiting` and `running` map a job's index to its `JobState`."""

    def __init__(self, engine: Engine, forecast: Forecast) -> None:
        self._engine = engine
        self.scenario: Scenario = engine.scenario
        self.sites = tuple(
            SiteView(i, spec, engine.clusters[i], engine.ledgers[i], engine)
            for i, spec in enumerate(engine.scenario.sites)
        )
        self.forecast = forecast
        self._room = engine.room
        # Whether anything but room can keep a job from a site that may have it.
        self._bound = engine.guard is not None or engine.rules.has_quotas or bool(engine.scenario.links)

    @property
    def now_s(self) -> float:
        """Simulation time [s]."""
        return self._engine.clock.now

    @property
    def waiting(self) -> Mapping[int, JobState]:
        """Jobs that wait to start or to go on, by index."""
        return self._engine.waiting

    @property
    def running(self) -> Mapping[int, JobState]:
        """Jobs that hold GPUs, by index."""
        return self._engine.running

    def running_at(self, site: int) -> Iterable[JobState]:
        """The jobs that hold GPUs at one site."""
        return self._engine.running_at[site].values()

    def fitting(self, job: JobState, sites: Iterable[int], gpus: int) -> list[int]:
        """Those of the sites where a job could start now on so many GPUs: room, supply, quota and links allow it."""
        engine, room = self._engine, self._room
        found = [i for i in sites if room[i] >= gpus]
        if not self._bound:
            return found
        guard, rules = engine.guard, engine.rules
        if guard is not None:
            found = [i for i in found if guard.accepts(i, gpus, job.ask.intensity)]
        if rules.has_quotas:
            found = [i for i in found if rules.within_quota(job.ask, i, gpus)]
        if self.scenario.links:
            found = [i for i in found if engine.network.transfer_s(job, i) < inf]
        return found

    def room(self, site: int) -> int:
        """The largest gang that a site has room for now."""
        return self._room[site]

    @property
    def most_room(self) -> int:
        """The largest gang that any site has room for now."""
        return max(self._room)

    def duration_s(self, job: JobState, site: int, gpus: int = 0, cap: float = 1.0) -> float:
        """How long a job would hold its GPUs on a site at the most, by its user's estimate [s].

        Waking, fetching what it lacks there, restarting, and periodic checkpoints are included.
        """
        ask, node = job.ask, self.sites[site].spec.node
        gpus = gpus or ask.gpus
        rate = ask.rate(gpus) * node.speed * speed(node.caps, cap)
        worked = max(ask.estimate_s * ask.gpus - job.done_gpu_s, 0.0) / rate
        nodes = -(-gpus // node.gpus)
        interval = interval_s(ask.checkpoint, self._engine.settings.faults.rate_per_s(nodes))
        if interval < inf:
            worked += (worked // interval) * ask.checkpoint.write_s
        restart = ask.checkpoint.restart_s if job.saved else 0.0
        return max(node.wake_s if node.can_sleep else 0.0, self.transfer_s(job, site)) + restart + worked

    def transfer_s(self, job: JobState, site: int) -> float:
        """How long what a job lacks on a site would travel if it set out now [s]; infinite without a route."""
        return self._engine.network.transfer_s(job, site) if self.scenario.links else 0.0

    def move_s(self, job: JobState, site: int) -> float:
        """What a move would cost a running job in time [s]: checkpoint, transfer, restart.

        Its GPUs are held and powered for the first and the last of the three.
        """
        checkpoint, transfer = job.ask.checkpoint, 0.0
        if self.scenario.links:
            transfer = self._engine.network.transfer_s(job, site, saved_at=job.site)
        return job.write_s + transfer + checkpoint.restart_s

    def allowed(self, ask: Ask) -> tuple[int, ...]:
        """Indices of the sites that may ever have this job."""
        return self._engine.rules.allowed(ask)

    def sites_for(self, job: JobState) -> tuple[int, ...]:
        """Indices of the sites on which this job may start now; under `federated` its institute's alone."""
        return self._engine.rules.sites_for(job)

    def quota_of(self, ask: Ask) -> str:
        """The region whose quota a job counts against; empty where none applies."""
        rules = self._engine.rules
        return rules.quota_of(ask) if rules.has_quotas else ""
