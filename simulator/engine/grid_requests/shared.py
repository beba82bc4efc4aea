"""Division of a request that several sites answer together, by the least loss of work.

What each could give is put side by side: the battery's even share, which costs no work; moving a job to where the sun
leaves enough over for it; lower caps; pauses. The cheapest are taken until all sites together keep the request, and
what is left of each site's load is its part. Within its part every site then answers as it does alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from tafukt.simulator.engine.grid_requests.respond import Offer, Situation, pauses, pieces, situation
from tafukt.simulator.engine.power_shortage import ShortageControl, jobs_at

# A request that is shared is divided anew while it holds, at steps of the supply, and no more often than so [s]: a
# choice.
DIVIDE_AGAIN_S = 300.0
SUN = "a shared request: there is sun"


class Share(NamedTuple):
    """Offer of a site: loss of work per watt at the meter [GPU-s/W], watts at the meter, and who gives it."""

    price: float
    watts: float
    site: int
    offer: Offer | None  # nobody where it is the battery


def divide(control: ShortageControl, sites: Sequence[int], total_w: float) -> dict[int, float]:
    """Part of each site in what they may import together [W]; jobs that go to where the sun is are moved at once."""
    found = {site: situation(control, site) for site in sites}
    net_w = {site: _net_w(found[site]) for site in sites}
    missing_w = sum(net_w.values()) - total_w
    if control.state.settings.respond == "none":
        whole_w = max(sum(net_w.values()), 1.0)
        return {site: net_w[site] * min(total_w / whole_w, 1.0) for site in sites}
    if missing_w <= 0.0:
        return {site: net_w[site] - missing_w / len(sites) for site in sites}
    given_w = dict.fromkeys(sites, 0.0)
    for share in _taken(_shares(control, found, net_w), missing_w):
        given_w[share.site] += share.watts
        if share.offer is not None and share.offer.target >= 0:
            told = {"to_give_w": missing_w, "price_gpu_s_per_w": share.price}
            control.phases.move(share.offer.job, share.offer.target, SUN, told, at_once=True)
    return {site: max(net_w[site] - given_w[site], 0.0) for site in sites}


def _net_w(found: Situation) -> float:
    """Load of a site that the sun does not carry, as if nothing had given way yet [W]."""
    control, site = found.control, found.site
    ledger, now = control.state.ledgers[site], control.clock.now
    saving = (job for job in jobs_at(control.state, site) if job.phase == "saving")
    it_w = ledger.it_w - sum(found.watts(job, job.cap) for job in saving)
    it_w += sum(found.watts(job, found.top(job) - job.cap) for job in found.jobs)
    return max(it_w * ledger.per_it(now) - ledger.free_w(now), 0.0)


def _shares(control: ShortageControl, found: Mapping[int, Situation], net_w: Mapping[int, float]) -> list[Share]:
    """Offers of all sites, the cheapest first."""
    shares: list[Share] = []
    for site, here in found.items():
        ledger, now = control.state.ledgers[site], control.clock.now
        battery_w = _evenly_w(here)
        if battery_w > 0.0:
            shares.append(Share(0.0, min(battery_w, net_w[site]), site, None))
        per_it = ledger.per_it(now)
        for offer in (*pieces(here), *pauses(here)):
            shares.append(Share(offer.price / per_it, offer.watts * per_it, site, offer))
    shares += _to_the_sun(control, found, net_w)
    return sorted(shares, key=lambda share: (share.price, share.site, share.offer.job.index if share.offer else -1))


def _evenly_w(found: Situation) -> float:
    """Power that the battery of a site can give until the request ends [W]."""
    ledger = found.control.state.ledgers[found.site]
    battery = ledger.battery
    if battery is None or not ledger.answers:
        return 0.0
    spare_j = max(ledger.stored_j - battery.soc_min * ledger.capacity_j, 0.0) * battery.eta_discharge
    return min(spare_j / found.rest_s, battery.discharge_w)


def _to_the_sun(
    control: ShortageControl, found: Mapping[int, Situation], net_w: Mapping[int, float]
) -> Iterator[Share]:
    """Moving jobs to sites where the sun leaves enough over for them, within their floors; by the root alone."""
    state, network, now = control.state, control.phases.network, control.clock.now
    if state.scenario.coordination != "root":
        return
    spare_w = [ledger.surplus_w(now) for ledger in state.ledgers]
    sunny = sorted((site for site, watts in enumerate(spare_w) if watts > 0.0), key=lambda site: (-spare_w[site], site))
    free = [cluster.free_gpus for cluster in state.clusters]
    for site, here in found.items():
        per_it = state.ledgers[site].per_it(now)
        for job in here.jobs if net_w[site] > 0.0 else ():
            watts = here.watts(job, here.top(job)) * per_it
            for target in sunny if job.ask.interruptible and watts > 0.0 else ():
                added_w = control.added_w(target, job.gpus, job.ask.intensity) * state.ledgers[target].per_it(now)
                if target not in job.sites or target == site or added_w > spare_w[target]:
                    continue
                if min(free[target], state.room[target]) < job.gpus or not control.accepts(
                    target, job.gpus, job.ask.intensity
                ):
                    continue
                under_way_s = network.transfer_s(job, target, saved_at=site) if network.links else 0.0
                lost_s = job.write_s + under_way_s + job.ask.checkpoint.restart_s
                if lost_s == inf or lost_s > (1.0 - job.ask.event_floor) * here.rest_s:
                    continue
                free[target] -= job.gpus
                spare_w[target] -= added_w
                price = here.weight(job, lost_s) * lost_s * job.gpus / watts
                yield Share(price, watts, site, Offer(price, watts / per_it, job, 0.0, target))
                break


def _taken(shares: Sequence[Share], missing_w: float) -> Iterator[Share]:
    """The cheapest that make up for what is missing; a job that goes gives no more than all its power."""
    capped: dict[int, float] = {}
    gone: set[int] = set()
    for share in shares:
        if missing_w <= 0.0:
            return
        watts, offer = share.watts, share.offer
        if offer is not None:
            index = offer.job.index
            if index in gone:
                continue
            if offer.cap == 0.0:
                gone.add(index)
                watts -= capped.get(index, 0.0)
            else:
                watts = min(watts, missing_w)
                capped[index] = capped.get(index, 0.0) + watts
        else:
            watts = min(watts, missing_w)
        missing_w -= watts
        yield share._replace(watts=watts)
