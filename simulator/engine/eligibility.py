"""Eligibility of jobs for sites: residency, size, coordination and quotas. The engine refuses what breaks them."""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import TYPE_CHECKING, Any

from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.network import Network
from tafukt.simulator.engine.state import State
from tafukt.simulator.scenario import Quota, Scenario
from tafukt.simulator.units import on_grid
from tafukt.workloads.job import Ask

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

_FREE = Quota()


class Eligibility:
    """Answers for every job and site whether the two may come together."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.federated = scenario.coordination == "federated"
        self.has_quotas = bool(scenario.quotas)
        self._allowed: dict[tuple[Any, ...], tuple[int, ...]] = {}
        # GPUs that the tenants of a region hold: in all, and outside their own region.
        self._held: dict[str, list[int]] = {}

    def allowed(self, ask: Ask) -> tuple[int, ...]:
        """Indices of the sites that may ever have this job: by residency, by coordination, by size."""
        scenario = self.scenario
        only = ask.home if scenario.coordination == "regional" else ""
        # Jobs of a thousand homes share what they may have, or the sites would be gone through for each of them.
        key = (ask.gpus_min or ask.gpus, ask.dataset.residency, scenario.data_area(ask), only)
        found = self._allowed.get(key)
        if found is None:
            found = tuple(
                i for i, site in enumerate(scenario.sites)
                if scenario.may_run(ask, site) and (not only or site.name == only)
            )  # fmt: skip
            self._allowed[key] = found
        return found

    def sites_for(self, job: JobState) -> tuple[int, ...]:
        """Indices of the sites on which its policy may start this job now.

        Under `federated` that is the one institute in whose queue it waits: its own, or the one to which
        the root has sent it. A job that its own institute can never have is the root's to place.
        """
        allowed = job.sites
        if not self.federated:
            return allowed
        if job.queued_at < 0:
            own = self.scenario.site_index(job.ask.home)
            if own not in allowed:
                return allowed
            object.__setattr__(job, "queued_at", own)  # the engine's own note, past the guard
        return (job.queued_at,)

    def within_quota(self, ask: Ask, site: int, gpus: int) -> bool:
        """Whether the region of this job's tenant may hold so many GPUs more on this site."""
        quota = self.scenario.quotas.get(ask.tenant.region, _FREE)
        total, outside = self._held.get(ask.tenant.region, (0, 0))
        if total + gpus > quota.gpus:
            return False
        return self._at_home(ask, site) or outside + gpus <= quota.gpus_outside

    def ever_within_quota(self, ask: Ask) -> bool:
        """Whether the quota of its region lets this job run at all."""
        quota = self.scenario.quotas.get(ask.tenant.region, _FREE)
        least = ask.gpus_min or ask.gpus
        if least > quota.gpus:
            return False
        return least <= quota.gpus_outside or any(self._at_home(ask, site) for site in self.allowed(ask))

    def count(self, ask: Ask, site: int, gpus: int) -> None:
        """The tenants of a region hold so many GPUs more (or, below zero, fewer) on a site."""
        held = self._held.setdefault(ask.tenant.region, [0, 0])
        held[0] += gpus
        if not self._at_home(ask, site):
            held[1] += gpus

    def quota_of(self, ask: Ask) -> str:
        """The region whose quota this job counts against; empty where none applies."""
        quota = self.scenario.quotas.get(ask.tenant.region, _FREE)
        return ask.tenant.region if min(quota.gpus, quota.gpus_outside) < inf else ""

    def _at_home(self, ask: Ask, site: int) -> bool:
        return self.scenario.sites[site].region == ask.tenant.region


# --- Coordination `federated`: institutes schedule alone; the root sends on what they cannot start
# The root decides on how things stood `information_age_s` ago: the free GPUs of every site as they were then,
# less what it has sent there since. It looks at a job when the job has not started in the round in which it
# came to its institute's queue, and again each time that span has passed; what a policy holds on purpose it
# leaves alone.


class Federation:
    """The root's knowledge, and its decisions."""

    def __init__(self, state: State, eligibility: Eligibility, network: Network) -> None:
        self.state = state
        self.eligibility = eligibility
        self.network = network
        self.age_s = state.scenario.information_age_s
        sites = len(state.scenario.sites)
        # For each site, when its room changed and to what: (largest gang, free GPUs).
        self._times: list[list[float]] = [[] for _ in range(sites)]
        self._rooms: list[list[tuple[int, int]]] = [[] for _ in range(sites)]
        self._sent: list[tuple[float, int, int]] = []  # (time, site, GPUs), not yet visible in what is known
        self._seen: dict[int, float] = {}  # when the root last looked at a job
        self._review_due = False

    def changed(self, site: int) -> None:
        """The room at a site has changed."""
        state = self.state
        cluster, times = state.clusters[site], self._times[site]
        room = (state.room[site], 0 if cluster.offline else cluster.free_gpus)
        if times and times[-1] == state.clock.now:
            self._rooms[site][-1] = room
        elif not times or self._rooms[site][-1] != room:
            times.append(state.clock.now)
            self._rooms[site].append(room)

    def known(self, site: int) -> tuple[int, int]:
        """The largest gang and the free GPUs at a site, as far as the root knows."""
        at = bisect_right(self._times[site], self.state.clock.now - self.age_s) - 1
        largest, free = self._rooms[site][max(at, 0)]
        sent = sum(gpus for _, where, gpus in self._sent if where == site)
        return largest - sent, free - sent

    def offload(self) -> None:
        """After a round: send on whoever waits, is not held, and has not been looked at for a while."""
        state, now = self.state, self.state.clock.now
        self._sent = [entry for entry in self._sent if entry[0] > now - self.age_s]
        self._seen = {index: time for index, time in self._seen.items() if index in state.waiting}
        open_ = [job for job in state.waiting.values() if job.queued_at >= 0 and job.held_until_s <= now]
        for job in open_:
            if now - self._seen.get(job.index, -self.age_s) >= self.age_s:
                self._seen[job.index] = now
                self._send(job)
        if open_ and self.age_s > 0 and not self._review_due:
            self._review_due = True
            state.clock.at(on_grid(now + self.age_s), Kind.TIMER, 0, self._review)

    def _review(self, _: SimEvent) -> None:
        self._review_due = False
        self.state.ask_for_round()

    def _send(self, job: JobState) -> None:
        """The site at which the largest share of GPUs is known to be free, if the job would fit there and may go."""
        state, ask = self.state, job.ask
        least = ask.gpus_min or ask.gpus
        best, share = -1, 0.0
        for site in self.eligibility.allowed(ask):
            largest, free = self.known(site)
            total = state.scenario.sites[site].gpus
            if site == job.queued_at or largest < least or free / total <= share:
                continue
            if self.network.transfer_s(job, site) < inf:
                best, share = site, free / total
        if best < 0:
            return
        job.queued_at = best
        self._sent.append((state.clock.now, best, least))
        if state.log.all:
            detail = {"known_free_share": share, "age_s": self.age_s}
            state.log.note(state.clock.now, "offload", job.index, best, "overflow", detail)
        state.policy.waiting(job)
        state.ask_for_round()
