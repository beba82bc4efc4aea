"""View of the system for a policy: a live, read-only window on the engine. No true runtime, nothing of the future."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from heapq import heappop, heappush
from math import ceil, inf
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from tafukt.simulator.engine.actions import Action, Hold, Move, Start, Wake
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.eligibility import Eligibility
from tafukt.simulator.engine.forecast import Forecast, ForecastSettings
from tafukt.simulator.engine.job_state import JobState, interval_s
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.state import Listener, State
from tafukt.simulator.errors import PolicyError
from tafukt.simulator.power_caps import speed
from tafukt.simulator.scenario import GridEvent, NodeType, Scenario, part_w
from tafukt.simulator.scenario import Site as SiteSpec
from tafukt.simulator.units import HOUR_S, Floats
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask


class SiteView:
    """One site now: its nodes, its sun, its battery."""

    __slots__ = ("_announced", "_clock", "_cluster", "_ledger", "_room", "_shortage", "gpus", "index", "spec")

    def __init__(self, index: int, state: State, shortage: ShortageControl | None) -> None:
        self.index = index
        self.spec: SiteSpec = _without_future(state.scenario.sites[index])
        self.gpus = self.spec.gpus
        self._cluster = state.clusters[index]
        self._ledger = state.ledgers[index]
        self._clock = state.clock
        self._room = state.room
        self._shortage = shortage
        self._announced = state.announced[index]

    @property
    def requests(self) -> tuple[GridEvent, ...]:
        """The grid's requests to draw less that have been announced and are not over, earliest first.

        One that has begun says what it comes to by `to_w`, whatever share it asked for.
        """
        return tuple(self._announced)

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
        shortage = self._shortage
        return gpus <= self._room[self.index] and (shortage is None or shortage.accepts(self.index, gpus))

    def draws_w(self, ask: Ask, gpus: int = 0, cap: float = 1.0) -> float:
        """Power of a job at the meter here [W], overhead at its present value included."""
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
        self._ledger.advance_to(self._clock.now)
        return self._ledger.stored_j

    @property
    def usable_j(self) -> float:
        """Energy that the battery could deliver now [J, at its terminals]."""
        battery = self.spec.battery
        if battery is None:
            return 0.0
        stored_j = self.stored_j  # brings the books up to now, and with them the capacity
        return max(stored_j - battery.soc_min * self._ledger.capacity_j, 0.0) * battery.eta_discharge


def _without_future(spec: SiteSpec) -> SiteSpec:
    """A site without the grid's requests, of which nobody knows before their notice."""
    return replace(spec, grid=replace(spec.grid, events=())) if spec.grid.events else spec


def _node_kinds(sites: Sequence[SiteView]) -> tuple[int, ...]:
    """For each site the first that has the same nodes: what goes by the nodes alone is worked out once for all."""
    first: dict[NodeType, int] = {}
    return tuple(first.setdefault(site.spec.node, index) for index, site in enumerate(sites))


class View:
    """The whole system now. `waiting` and `running` map a job's index to its `JobState`."""

    def __init__(
        self,
        state: State,
        eligibility: Eligibility,
        network: Network,
        shortage: ShortageControl | None,
        forecast: Forecast,
    ) -> None:
        self._state = state
        self._eligibility = eligibility
        self._network = network
        self._shortage = shortage
        self.scenario: Scenario = state.scenario
        self.sites = tuple(SiteView(index, state, shortage) for index in range(len(state.scenario.sites)))
        self.node_kinds = _node_kinds(self.sites)
        self.one_kind = not any(self.node_kinds)  # whether all sites have the same nodes
        self.forecast = forecast
        # The same in the slots in which policies that plan ahead do so.
        self.slots = forecast.in_slots()
        self.waiting: Mapping[int, JobState] = MappingProxyType(state.waiting)
        self.running: Mapping[int, JobState] = MappingProxyType(state.running)
        self._clock = state.clock
        self._room = state.room
        self._fault_rate_per_s = state.settings.faults.rate_per_s
        self._may_fail = self._fault_rate_per_s(1) > 0.0
        # Whether anything but room can keep a job from a site that may have it.
        self._bound = shortage is not None or eligibility.has_quotas or bool(state.scenario.links)
        self._limited = any(site.grid.is_limited for site in state.scenario.sites)

    def reordered(self, order: Callable[[Mapping[int, JobState]], Mapping[int, JobState]]) -> View:
        """The same window, with waiting and running jobs in another order: it finds out who goes by that."""
        other = copy(self)
        other.waiting, other.running = order(self.waiting), order(self.running)
        return other

    @property
    def now_s(self) -> float:
        """Simulation time [s]."""
        return self._clock.now

    def running_at(self, site: int) -> Iterable[JobState]:
        """The jobs that hold GPUs at one site."""
        return self._state.running_at[site].values()

    @property
    def room_decides(self) -> bool:
        """Whether nothing but room decides where a job can start: no shortage, quota or link."""
        return not self._bound

    def fitting(self, job: JobState, sites: Iterable[int], gpus: int) -> list[int]:
        """Those of the sites where a job could start now on so many GPUs: room, supply, quota and links allow it."""
        room = self._room
        found = [i for i in sites if room[i] >= gpus]
        if not self._bound:
            return found
        shortage, eligibility = self._shortage, self._eligibility
        if shortage is not None:
            found = [i for i in found if shortage.accepts(i, gpus, job.ask.intensity, job.must_start_s, job.has_run)]
        if eligibility.has_quotas:
            found = [i for i in found if eligibility.within_quota(job.ask, i, gpus)]
        if self.scenario.links:
            found = [i for i in found if self._network.transfer_s(job, i) < inf]
        return found

    def room(self, site: int) -> int:
        """The largest gang that a site has room for now."""
        return self._room[site]

    def crowded(self, sites: Sequence[int], gpus: int) -> list[int]:
        """Places among some sites of those that have no room for so many GPUs now."""
        room = self._room
        return [place for place, site in enumerate(sites) if room[site] < gpus]

    @property
    def most_room(self) -> int:
        """The largest gang that any site has room for now."""
        return max(self._room)

    def duration_s(self, job: JobState, site: int, gpus: int = 0, cap: float = 1.0) -> float:
        """Longest time for which a job would hold its GPUs on a site, by its user's estimate [s].

        Waking, fetching what it lacks there, restarting, and periodic checkpoints are included.
        """
        ask, node = job.ask, self.sites[site].spec.node
        gpus = gpus or ask.gpus
        rate = ask.rate(gpus) * node.speed
        if cap != 1.0:
            rate *= speed(node.caps_of(ask), cap)
        worked = max(ask.estimate_s * ask.gpus - job.done_gpu_s, 0.0) / rate
        if self._may_fail or ask.checkpoint.interval_s is not None:
            interval = interval_s(ask.checkpoint, self._fault_rate_per_s(-(-gpus // node.gpus)))
            if interval < inf:
                worked += (worked // interval) * ask.checkpoint.write_s
        ready_s = node.wake_s if node.can_sleep else 0.0
        if self.scenario.links:
            ready_s = max(ready_s, self.transfer_s(job, site))
        return ready_s + (ask.checkpoint.restart_s if job.saved else 0.0) + worked

    def transfer_s(self, job: JobState, site: int) -> float:
        """Travel time of what a job lacks on a site, if it set out now [s]; infinite without a route."""
        return self._network.transfer_s(job, site) if self.scenario.links else 0.0

    def move_s(self, job: JobState, site: int) -> float:
        """Time that a move would cost a running job [s]: checkpoint, transfer, restart.

        Its GPUs are held and powered for the first and the last of the three.
        """
        checkpoint, transfer = job.ask.checkpoint, 0.0
        if self.scenario.links:
            transfer = self._network.transfer_s(job, site, saved_at=job.site)
        return job.write_s + transfer + checkpoint.restart_s

    def allowed(self, ask: Ask) -> tuple[int, ...]:
        """Indices of the sites that may ever have this job."""
        return self._eligibility.allowed(ask)

    def sites_for(self, job: JobState) -> tuple[int, ...]:
        """Indices of the sites on which this job may start now; under `federated` its institute's alone."""
        return self._eligibility.sites_for(job)

    def quota_of(self, ask: Ask) -> str:
        """The region whose quota a job counts against; empty where none applies."""
        return self._eligibility.quota_of(ask) if self._eligibility.has_quotas else ""

    @property
    def limits_told(self) -> int:
        """Count of requests announced, begun or over so far: -1 where no import is limited at all."""
        if not self._limited and not any(self._state.announced):
            return -1
        return self._state.requests_told

    @property
    def longest_request_s(self) -> float:
        """The longest request to draw less that has been announced so far, at any site [s]; 0 before the first."""
        return self._state.longest_request_s

    def import_limits_w(self, first: int, slots: int, slot_s: float = HOUR_S) -> Floats:
        """Import that each site may draw from slot `first` on: its limits, and requests that are announced [W].

        Slots are of `slot_s` seconds, counted from the experiment's start. Of one that a limit or a request touches in
        part the least counts; a request for a share is taken of the present load net of the sun until it begins and its
        baseline is known, and one to several sites together is parted by it. Infinite where nothing is limited.

        Returns
        -------
        array, shape (sites, slots)
        """
        found = np.full((len(self.sites), slots), inf)
        for row, site in zip(found, self.sites, strict=True):
            limit = site.spec.grid.import_limit_w
            if isinstance(limit, StepProfile):
                edges_s = np.minimum((first + np.arange(slots + 1)) * slot_s, limit.end_s)
                begins = np.minimum((edges_s[:-1] // limit.step_s).astype(np.int64), len(limit.values) - 1)
                row[:] = np.minimum.reduceat(limit.values, begins)
                row[-1] = limit.values[begins[-1] : begins[-1] + max(round(slot_s / limit.step_s), 1)].min()
            else:
                row[:] = limit
            for asked in site.requests:
                target_w = self._target_w(site, asked)
                part = slice(max(int(asked.start_s // slot_s) - first, 0), max(ceil(asked.end_s / slot_s) - first, 0))
                row[part] = np.minimum(row[part], target_w)
        return found

    def _target_w(self, site: SiteView, asked: GridEvent) -> float:
        """The import that a request comes to at a site, as far as that is known now [W]."""
        if asked.to_w is not None and (not asked.shared or asked.start_s <= self.now_s):
            return asked.to_w
        own_w = max(-site.surplus_w, 0.0)
        if asked.to_w is None:
            return (1.0 - asked.cut) * own_w
        key = asked.shared, asked.start_s
        members = [each for each in self.sites if key in ((other.shared, other.start_s) for other in each.requests)]
        return part_w(asked.to_w, own_w, [max(-each.surplus_w, 0.0) for each in members])


class Policy(Listener, Protocol):
    """Protocol of a policy: all that the engine needs of one; see `simulator.policies`."""

    def begin(self, view: View) -> None:
        """Called once, before anything happens."""

    def round(self, view: View) -> Any:
        """The actions of one scheduling round; a generator sees the effect of each before the next."""


# --- Coordination `regional`: every institute is run by a policy of its own, which sees nothing beyond it
# The policy is copied once for each site before anything happens, and each copy is given a view in which its
# site is the only one, at position 0. So there is one queue, one reservation and one memory for each
# institute, whatever the policy keeps; and it is asked for a round only when something has happened at its own
# site, or at a time that it has asked for itself.


class InstituteJob(JobState):
    """A job as its institute sees it: all is as it is, but for the institute's own position, which is 0."""

    __slots__ = ("actual",)
    actual: JobState

    def __init__(self, actual: JobState) -> None:
        for name, value in (("actual", actual), ("index", actual.index), ("ask", actual.ask), ("sites", (0,))):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} of a job is there to be read")

    def progress_gpu_s(self, now_s: float) -> float:
        """Work done by now [reference GPU-s]."""
        return self.actual.progress_gpu_s(now_s)

    def left_s(self, now_s: float, speed: float = 1.0) -> float:
        """Time left by the user's estimate on the asked size [s]."""
        return self.actual.left_s(now_s, speed)

    def expected_end_s(self, now_s: float) -> float:
        """Expected end by the user's estimate [s]."""
        return self.actual.expected_end_s(now_s)


for _name in set(JobState.__slots__) - {"index", "ask", "sites"}:
    setattr(InstituteJob, _name, property(attrgetter(f"actual.{_name}")))


def _own_position(name: str) -> property:
    """A position among the sites as the institute knows it: 0 for its own, -1 for none."""
    of = attrgetter(f"actual.{name}")
    return property(lambda self: min(of(self), 0))


for _name in ("site", "saved_at", "post"):
    setattr(InstituteJob, _name, _own_position(_name))


class InstituteSite(SiteView):
    """The one site of an institute, at position 0."""

    __slots__ = ("_actual",)

    def __init__(self, actual: SiteView) -> None:
        for name in SiteView.__slots__:
            setattr(self, name, getattr(actual, name))
        self._actual = actual
        self.index = 0

    def fits(self, gpus: int) -> bool:
        """Whether a gang of this size could start now."""
        return self._actual.fits(gpus)


class OwnJobs(Mapping[int, JobState]):
    """Those of some jobs that are an institute's own, as they are now."""

    def __init__(self, jobs: Mapping[int, JobState], site: int, seen: Callable[[JobState], JobState]) -> None:
        self._jobs, self._site, self._seen = jobs, site, seen

    def __getitem__(self, index: int) -> JobState:
        job = self._jobs[index]
        if job.sites[0] != self._site:
            raise KeyError(index)
        return self._seen(job)

    def __iter__(self) -> Iterator[int]:
        return iter([index for index, job in self._jobs.items() if job.sites[0] == self._site])

    def __len__(self) -> int:
        return sum(job.sites[0] == self._site for job in self._jobs.values())


class InstituteView(View):
    """View of one institute's policy: a system of one site."""

    def __init__(self, whole: View, site: int, forecast: Forecast) -> None:
        self.__dict__.update(vars(whole))
        self._whole, self._site = whole, site
        self._lives: dict[int, InstituteJob] = {}
        self.scenario = replace(whole.scenario, sites=(whole.scenario.sites[site],))
        self.sites = (InstituteSite(whole.sites[site]),)
        self.node_kinds, self.one_kind = (0,), True
        self.forecast = forecast
        self.slots = forecast.in_slots()
        self.waiting = OwnJobs(whole.waiting, site, self.seen)
        self.running = OwnJobs(whole.running, site, self.seen)

    def seen(self, job: JobState) -> InstituteJob:
        """A job as the institute sees it, the same object every time."""
        found = self._lives.get(job.index)
        if found is None:
            found = self._lives[job.index] = InstituteJob(job)
        return found

    def running_at(self, site: int) -> Iterable[JobState]:
        """The jobs that hold GPUs at the site."""
        return map(self.seen, self._whole.running_at(self._site))

    def fitting(self, job: JobState, sites: Iterable[int], gpus: int) -> list[int]:
        """The site, if a job could start now on so many GPUs."""
        if 0 not in sites or self._room[self._site] < gpus:
            return []
        return [0] if not self._bound or self._whole.fitting(job, (self._site,), gpus) else []

    def room(self, site: int) -> int:
        """The largest gang that the site has room for now."""
        return self._room[self._site]

    def crowded(self, sites: Sequence[int], gpus: int) -> list[int]:
        """The site's place, if it has no room for so many GPUs now."""
        return [0] if self._room[self._site] < gpus else []

    @property
    def most_room(self) -> int:
        """The largest gang that the site has room for now."""
        return self._room[self._site]

    def transfer_s(self, job: JobState, site: int) -> float:
        """Travel time of what a job lacks here, if it set out now [s]."""
        return self._whole.transfer_s(_actual(job), self._site)

    def move_s(self, job: JobState, site: int) -> float:
        """Time that a move would cost a running job [s]."""
        return self._whole.move_s(_actual(job), self._site)

    def allowed(self, ask: Ask) -> tuple[int, ...]:
        """The site, if it may ever have this job."""
        return (0,) if self._site in self._whole.allowed(ask) else ()

    def sites_for(self, job: JobState) -> tuple[int, ...]:
        """The site."""
        return job.sites


def _actual(job: JobState) -> JobState:
    return job.actual if isinstance(job, InstituteJob) else job


class Institutes:
    """A policy for every institute, and who of them is to be asked.

    Raises
    ------
    PolicyError
        If the policy cannot be copied.
    """

    def __init__(self, policy: Policy, sites: int, settings: ForecastSettings, seed: int) -> None:
        self.name = policy.name
        self._settings, self._seed = settings, seed
        try:
            self._policies = [deepcopy(policy) for _ in range(sites)]
        except Exception as error:
            why = f"under regional coordination every institute has its own, and it cannot be copied: {error}"
            raise PolicyError(f"policy {policy.name!r}: {why}") from error
        self._views: list[InstituteView] = []
        self._due: set[int] = set()
        self._wakes: list[tuple[float, int]] = []

    def begin(self, view: View) -> None:
        """Begin them all."""
        for site, policy in enumerate(self._policies):
            alone = replace(view.scenario, sites=(view.scenario.sites[site],))
            self._views.append(InstituteView(view, site, Forecast(alone, self._settings, self._seed)))
            policy.begin(self._views[site])

    def waiting(self, job: JobState) -> None:
        """A job has arrived, or is back among the waiting."""
        site = job.sites[0]
        self._due.add(site)
        self._policies[site].waiting(self._views[site].seen(job))

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free at a site."""
        self._due.add(site)
        self._policies[site].freed(self._views[site].seen(job) if job is not None else None, 0)

    def round(self, view: View) -> Iterator[Action]:
        """The rounds of all institutes that have cause for one."""
        now, wakes = view.now_s, self._wakes
        while wakes and wakes[0][0] <= now:
            self._due.add(heappop(wakes)[1])
        due, self._due = sorted(self._due), set()
        for site in due:
            for action in self._policies[site].round(self._views[site]):
                yield self._translated(action, site)

    def _translated(self, action: Action, site: int) -> Action:
        """The same action with the job and the position that the engine knows; the policy keeps its own."""
        if isinstance(action, Wake | Hold):
            heappush(self._wakes, (action.until_s, site))
        job = getattr(action, "job", None)
        if not isinstance(job, InstituteJob):
            return action
        action = copy(action)
        if isinstance(action, Start | Hold | Move):
            if action.site > 0:
                what = f"policy {self.name!r}: {type(action).__name__.lower()} of job {job.ask.job_id!r}"
                why = "under regional coordination an institute sees its own alone, which is site 0"
                raise PolicyError(f"{what}: it may not run on site {action.site}; {why}")
            action.site = site
        if not isinstance(action, Wake):
            action.job = job.actual
        return action
