"""Who may run where: residency, size, coordination and quotas. The engine refuses what breaks them."""

from __future__ import annotations

from math import inf
from typing import Any

from simulator.life import Life
from simulator.scenario import Quota, Scenario
from workloads.job import Ask

_FREE = Quota()


class Rules:
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

    def sites_for(self, life: Life) -> tuple[int, ...]:
        """Indices of the sites on which its policy may start this job now.

        Under `federated` that is the one institute in whose queue it waits: its own, or the one to which
        the root has sent it. A job that its own institute can never have is the root's to place.
        """
        allowed = life.sites
        if not self.federated:
            return allowed
        if life.post < 0:
            own = self.scenario.site_index(life.ask.home)
            if own not in allowed:
                return allowed
            life.post = own
        return (life.post,)

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
