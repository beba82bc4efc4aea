"""What gives way to a request of the grid, within the floors that jobs were promised.

`least-loss` takes, watt by watt, what costs the least work: the slope of the speed curve of a job that is capped a
little more, or all that a pause loses (the work of the rest of the event, writing, restarting). On the
concave hull of the speed curves taking the flattest slopes first is the optimum of the linear programme with one row.
`caps-first` caps all jobs alike before it pauses any; `pause-first` pauses before it caps; `battery-first` is
`least-loss` for what the battery does not carry. A firm job (`event_floor` 1) is never touched; what is then still
missing stays a shortfall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.power_shortage import ShortageControl, jobs_at, switch_off
from tafukt.simulator.power_caps import Caps, power_for, speed

# Delay of a job with no slack left costs so many times the delay of another: a choice.
LATE_WEIGHT = 10.0
# Caps are raised or lowered by no less than this share; bisection of the common cap ends there.
CAP_STEP = 1e-3


@dataclass(frozen=True)
class Offer:
    """Something that a job can give: watts of IT power, and the work that it costs per watt [GPU-s/W]."""

    price: float
    watts: float
    job: JobState
    cap: float  # the cap that is then reached; 0 for a pause


def respond(control: ShortageControl, site: int) -> None:
    """Lower the IT power of a site until its import keeps the request, or nothing is left that may give way."""
    state, now = control.state, control.clock.now
    how = state.settings.respond
    if how == "none":
        return
    switch_off(control, site)
    until_s = max((asked.end_s for asked in state.announced[site] if asked.start_s <= now), default=now)
    missing_w = _missing_w(control, site, until_s)
    jobs = [job for job in jobs_at(state, site) if job.running and job.ask.event_floor < 1.0]
    caps = state.clusters[site].node.caps
    if missing_w <= 0.0 or not jobs:
        return
    if how == "caps-first":
        chosen = _alike(control, site, jobs, missing_w)
        left_w = missing_w - sum(offer.watts for offer in chosen)
        chosen += _taken(sorted(_pauses(control, site, jobs, until_s), key=_order), left_w)
    elif how == "pause-first":
        chosen = _taken(sorted(_pauses(control, site, jobs, until_s), key=_order), missing_w)
        paused = {offer.job.index for offer in chosen}
        left_w = missing_w - sum(offer.watts for offer in chosen)
        others = [job for job in jobs if job.index not in paused]
        chosen += _taken(sorted(_pieces(control, site, others, caps, until_s), key=_order), left_w)
    else:
        offers = [*_pieces(control, site, jobs, caps, until_s), *_pauses(control, site, jobs, until_s)]
        chosen = _taken(sorted(offers, key=_order), missing_w)
    _carry_out(control, site, chosen, missing_w)


def _order(offer: Offer) -> tuple[float, int, float, int]:
    return offer.price, offer.job.ask.priority, -offer.cap, -offer.job.index


def _missing_w(control: ShortageControl, site: int, until_s: float) -> float:
    """By how much the IT power is too high, jobs that are being saved left out [W]."""
    ledger, now = control.state.ledgers[site], control.clock.now
    going = (job for job in jobs_at(control.state, site) if job.phase == "saving")
    it_w = ledger.it_w - sum(_power_w(control, site, job) for job in going)
    return it_w - control.outlooks[site].most_it_w(max(min(until_s, now + control.hold_s), now + 1.0), it_w)


def _power_w(control: ShortageControl, site: int, job: JobState) -> float:
    return control.state.clusters[site].node.dynamic_w * job.ask.intensity * job.cap * job.gpus


def _floor_cap(job: JobState, caps: Caps) -> float:
    """The lowest cap under which a job keeps its floor."""
    return power_for(caps, job.ask.event_floor) if caps else 1.0


def _weight(job: JobState, now_s: float, until_s: float) -> float:
    """How much a lost GPU-second of a job counts: more where the delay can make it late."""
    room_s = job.ask.deadline_s - now_s - job.ask.estimate_s
    return LATE_WEIGHT if room_s < until_s - now_s else 1.0


def _pieces(
    control: ShortageControl, site: int, jobs: Sequence[JobState], caps: Caps, until_s: float
) -> Iterator[Offer]:
    """The linear pieces of each job's speed curve, from its present cap down to its floor."""
    node, now = control.state.clusters[site].node, control.clock.now
    rest_s = max(until_s - now, 1.0)
    if not caps:
        return
    for job in jobs:
        floor = max(_floor_cap(job, caps), caps[0][0])
        points = sorted({floor, job.cap, *(share for share, _ in caps if floor < share < job.cap)}, reverse=True)
        weight, hull = _weight(job, now, until_s), list[Offer]()
        for high, low in pairwise(point for point in points if point <= job.cap):
            watts = node.dynamic_w * (high - low) * job.ask.intensity * job.gpus
            lost_gpu_s = (speed(caps, high) - speed(caps, low)) * job.gpus * rest_s
            if watts <= 0.0:
                continue
            hull.append(Offer(weight * lost_gpu_s / watts, watts, job, low))
            while len(hull) > 1 and hull[-1].price < hull[-2].price:  # measured curves are not concave everywhere
                second, first = hull.pop(), hull.pop()
                both = first.watts + second.watts
                hull.append(Offer((first.price * first.watts + second.price * second.watts) / both, both, job, low))
        yield from hull


def _pauses(control: ShortageControl, site: int, jobs: Sequence[JobState], until_s: float) -> Iterator[Offer]:
    """Pausing those that may be paused: all their power, for all their work of the rest of the event."""
    now, caps = control.clock.now, control.state.clusters[site].node.caps
    for job in jobs:
        if job.ask.event_floor == 0.0 and job.ask.interruptible:
            watts = _power_w(control, site, job)
            rest_s = max(until_s - now, 1.0) * (speed(caps, job.cap) if caps else 1.0)
            lost_gpu_s = (rest_s + job.write_s + job.ask.checkpoint.restart_s) * job.gpus
            if watts > 0.0:
                yield Offer(_weight(job, now, until_s) * lost_gpu_s / watts, watts, job, 0.0)


def _taken(offers: Sequence[Offer], missing_w: float) -> list[Offer]:
    """The cheapest offers that make up for what is missing; the last piece of a curve only as far as it is needed."""
    chosen: list[Offer] = []
    caps: dict[int, float] = {}
    left_w, gone = missing_w, set[int]()
    for offer in offers:
        if left_w <= 0.0:
            break
        index = offer.job.index
        if index in gone:
            continue
        if offer.cap == 0.0:  # what its caps have given already is part of what the pause gives
            given = sum(each.watts for each in chosen if each.job.index == index)
            chosen = [each for each in chosen if each.job.index != index] + [offer]
            gone.add(index)
            left_w -= offer.watts - given
            continue
        begin = caps.get(index, offer.job.cap)
        share = min(1.0, left_w / offer.watts)
        cap = offer.cap if share == 1.0 else max(begin + (offer.cap - begin) * share, offer.cap)
        chosen.append(Offer(offer.price, offer.watts * share, offer.job, cap))
        caps[index] = cap
        left_w -= offer.watts * share
    return chosen


def _alike(control: ShortageControl, site: int, jobs: Sequence[JobState], missing_w: float) -> list[Offer]:
    """One cap for all, none below its floor: no lower than is enough."""
    node = control.state.clusters[site].node
    if not node.caps:
        return []

    def given(level: float) -> list[Offer]:
        found = []
        for job in jobs:
            cap = max(level, _floor_cap(job, node.caps))
            watts = node.dynamic_w * (job.cap - cap) * job.ask.intensity * job.gpus
            if watts > 0.0:
                found.append(Offer(0.0, watts, job, cap))
        return found

    low, high = node.caps[0][0], 1.0
    if sum(offer.watts for offer in given(low)) <= missing_w:
        return given(low)
    while high - low > CAP_STEP:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sum(offer.watts for offer in given(middle)) >= missing_w else (low, middle)
    return given(low)


def _carry_out(control: ShortageControl, site: int, chosen: Sequence[Offer], missing_w: float) -> None:
    watch = control.watches[site]
    assert watch is not None
    detail = {"missing_w": missing_w}
    last = {offer.job.index: offer for offer in chosen}  # of several pieces of a curve the last one holds
    for offer in last.values():
        job = offer.job
        if offer.cap == 0.0:
            control.phases.pause(job, "the grid asks for less", detail)
        elif offer.cap < job.cap:
            watch.capped.setdefault(job.index, job.cap)
            control.phases.set_power_cap(job, offer.cap, "the grid asks for less", detail)
