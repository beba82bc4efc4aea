"""Places: each part orders the sites that could take a job now, best first; it may leave some out.

Ties go to the job's home, then to the first site; sites stand in the order of their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View

Place = Callable[[JobState, Sequence[int], View], Sequence[int]]


def home(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """At the tenant's own institute if it fits, else where the largest share of GPUs is free."""
    own = view.scenario.site_index(job.ask.home)
    return (own,) if own in fitting else least_loaded(job, fitting, view)


def least_loaded(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """The site with the largest share of GPUs free."""
    best, most, sites, own = -1, -1.0, view.sites, view.scenario.site_index(job.ask.home)
    for i in fitting:
        site = sites[i]
        share = site.free_gpus / site.gpus
        if share > most or (share == most and i == own):
            best, most = i, share
    return (best,)


def sunniest(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """The site where the sun leaves most over now; without any surplus as `home` does."""
    own = view.scenario.site_index(job.ask.home)
    surplus, _, _, best = max((view.sites[i].surplus_w, i == own, -i, i) for i in fitting)
    return (best,) if surplus > 0 else home(job, fitting, view)


def greenest(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """The site where the job would emit least now: what it draws beyond the surplus of sun, times the grid's carbon.

    After geographical load balancing, Liu et al. 2011 (10.1145/1993744.1993767). Ties as `home`.
    """
    return _least(job, fitting, view, lambda i: view.sites[i].spec.grid.carbon.at(view.now_s))


def cheapest(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """The site where the job would cost least now: what it draws beyond the surplus of sun, times the price.

    After Qureshi et al. 2009 (10.1145/1594977.1592584). Ties as `home`.
    """
    return _least(job, fitting, view, lambda i: view.sites[i].spec.grid.price.at(view.now_s))


def nearest_data(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """The site where what the job lacks arrives soonest, its data set's home if it fits there; ties as `home`."""
    data = view.scenario.site_index(job.ask.dataset.home)
    if data in fitting:
        return (data,)
    times = {i: view.transfer_s(job, i) for i in fitting}
    soonest = min(times.values())
    return home(job, [i for i in fitting if times[i] <= soonest], view)


def open_nodes(job: JobState, fitting: Sequence[int], view: View) -> Sequence[int]:
    """A site where a job of less than a node finds room on a node that others keep awake; of several as `home`.

    A node that is woken for one small job draws its whole idle power for it. Where there is no such site, or data would
    have to travel, as `home`.
    """
    if view.scenario.links:
        return home(job, fitting, view)
    gpus, own = job.ask.gpus, view.scenario.site_index(job.ask.home)
    if own in fitting and has_open_node(view.sites[own].nodes, gpus):
        return (own,)
    found = [i for i in fitting if has_open_node(view.sites[i].nodes, gpus)]
    return home(job, found or fitting, view)


def has_open_node(nodes: Cluster, gpus: int) -> bool:
    """Whether a node that others keep awake has room for so many GPUs."""
    return any(nodes.level[gpus : nodes.per_node])


def _least(job: JobState, fitting: Sequence[int], view: View, rate: Callable[[int], float]) -> Sequence[int]:
    """The sites where the job's grid draw now, times a rate, is least; of several as `home` chooses."""

    def cost(i: int) -> float:
        site = view.sites[i]
        return max(site.draws_w(job.ask) - max(site.surplus_w, 0.0), 0.0) * rate(i)

    costs = {i: cost(i) for i in fitting}
    least = min(costs.values())
    return home(job, [i for i in fitting if costs[i] <= least * (1.0 + 1e-9)], view)


def home_first(job: JobState, sites: Sequence[int], view: View) -> list[int]:
    """The sites in the order in which ties go: home, then by name."""
    own = view.scenario.site_index(job.ask.home)
    return sorted(sites, key=lambda i: (i != own, i))


PLACES: dict[str, Place] = {
    "home": home,
    "least-loaded": least_loaded,
    "sunniest": sunniest,
    "greenest": greenest,
    "cheapest": cheapest,
    "nearest-data": nearest_data,
    "open-nodes": open_nodes,
}
