"""Response to a request of the grid: caps and pauses within the floors that jobs were promised.

`least-loss` lets the battery give evenly what it holds, for as long as the request lasts, and takes the rest, watt by
watt, where it costs the least work: the slope of the speed curve of a job that is capped a
little more, or all that a pause loses (the work of the rest of the event, writing, restarting). On the
concave hull of the speed curves taking the flattest slopes first is the optimum of the linear programme with one row.
`caps-first` caps all jobs alike before it pauses any; `pause-first` pauses before it caps; `move-first` moves to where
no request is announced, most sun first, before either; `battery-first` is `least-loss` for what the battery does not
carry. A firm job (`event_floor` 1) is never touched; what is then still missing stays a shortfall.

The answer is found anew whenever load, sun or request change: what was capped is capped less where there is room again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.power_shortage import ShortageControl, jobs_at, switch_off
from tafukt.simulator.power_caps import CAP_STEP, power_for, speed
from tafukt.simulator.scenario import GridEvent

# Delay of a job that may become late by it costs so many times the delay of another, so that it bends last: a choice.
LATE_WEIGHT = 1000.0
# For as long as a request held, at most so long, none starts after it that would bring the import above the baseline
# [s]: a choice.
RECOVERY_S = 7200.0
ASKED, EASED = "the grid asks for less", "the grid's request leaves room again"
LIMITED, LESS_LIMITED = "the import limit", "the import limit leaves room again"


@dataclass(frozen=True)
class Offer:
    """Something that a job can give: watts of IT power, and the work that it costs per watt [GPU-s/W]."""

    price: float
    watts: float
    job: JobState
    cap: float  # the cap that is then reached; 0 for a pause or a move
    target: int = -1  # the site that it moves to


@dataclass(frozen=True)
class Situation:
    """The jobs of a site that may give way, how long for, and by how much in all [W]; as if none were capped yet."""

    control: ShortageControl
    site: int
    jobs: Sequence[JobState]
    rest_s: float
    missing_w: float
    back_s: float = 0.0  # how long a job that is paused may have to wait until it can go on

    def top(self, job: JobState) -> float:
        """The cap of a job before the request."""
        watch = self.control.watches[self.site]
        assert watch is not None
        return watch.capped.get(job.index, job.cap)

    def watts(self, job: JobState, share: float) -> float:
        """A share of a job's power above idle [W]."""
        return self.control.state.clusters[self.site].node.dynamic_w * share * job.ask.intensity * job.gpus

    @property
    def asked(self) -> bool:
        """Whether it is a request that binds, and not the connection's own limit."""
        ledger = self.control.state.ledgers[self.site]
        return ledger.request_w < ledger.limit_at(self.control.clock.now)

    def slack_s(self, job: JobState) -> float:
        """Time that a job can still lose without being late, by its user's estimate [s]."""
        now = self.control.clock.now
        return job.ask.deadline_s - now - job.left_s(now, self.control.state.clusters[self.site].node.speed)

    def in_time(self, job: JobState) -> float:
        """The lowest cap, not below its floor, under which a job can be until the request ends without being late."""
        floor = power_for(job.caps, job.ask.event_floor)
        return max(power_for(job.caps, 1.0 - max(self.slack_s(job), 0.0) / self.rest_s), floor)

    def weight(self, job: JobState, lost_s: float) -> float:
        """Weight of a lost GPU-second of a job: larger where the loss of so much time [s] can make it late."""
        return LATE_WEIGHT if self.slack_s(job) < lost_s else 1.0

    def order(self, offer: Offer) -> tuple[float, int, float, int]:
        """Cheapest first; of equal price the job of least priority, the smaller step, the later job."""
        return offer.price, offer.job.ask.priority, -offer.cap, -offer.job.index


def respond(control: ShortageControl, site: int) -> None:
    """Set the IT power of a site so that its import keeps the request, as far as anything may give way."""
    how = control.state.settings.respond
    if how == "none":
        return
    switch_off(control, site)
    found = situation(control, site)
    chosen = _chosen(found, how) if found.missing_w > 0.0 and found.jobs else []
    _carry_out(found, chosen)


def pause_ahead(control: ShortageControl, site: int, target_w: float) -> None:
    """Let jobs that a request will pause write their checkpoints before the import has to be at `target_w` [W]."""
    ledger, how = control.state.ledgers[site], control.state.settings.respond
    if how == "none" or target_w >= ledger.ceiling_at(control.clock.now):
        return
    ledger.advance_to(control.clock.now)
    asked_w, ledger.request_w = ledger.request_w, target_w
    try:
        found = situation(control, site)
        chosen = _chosen(found, how) if found.missing_w > 0.0 and found.jobs else []
        _carry_out(found, [offer for offer in chosen if offer.cap == 0.0], ease=False)
    finally:
        ledger.request_w = asked_w


def lacks_w(control: ShortageControl, site: int, target_w: float) -> float:
    """IT power that nobody could give under a request for `target_w` if it came now and had no battery [W].

    Jobs whose nodes wake or whose data are under way count as if they ran: they will by then.
    """
    ledger, now = control.state.ledgers[site], control.clock.now
    carried_w = (ledger.free_w(now) + target_w) / ledger.per_it(now)
    jobs = [job for job in jobs_at(control.state, site) if job.phase in ("running", "waking", "fetching")]
    node = control.state.clusters[site].node
    stops = (job for job in jobs if job.ask.event_floor == 0.0 and job.ask.interruptible)
    caps = (job for job in jobs if job.caps and not (job.ask.event_floor == 0.0 and job.ask.interruptible))
    shares = [(job, job.cap) for job in stops]
    shares += [(job, max(job.cap - power_for(job.caps, job.ask.event_floor), 0.0)) for job in caps]
    given_w = sum(node.dynamic_w * share * job.ask.intensity * job.gpus for job, share in shares)
    return max(ledger.it_w + control.to_come_w(site) - carried_w - given_w, 0.0)


def bendable_w(control: ShortageControl, site: int) -> float:
    """By how much the caps of a site's jobs may still be lowered, down to their floors [W]."""
    if control.state.settings.respond == "none":
        return 0.0
    jobs = (job for job in jobs_at(control.state, site) if job.running and job.caps and job.ask.event_floor < 1.0)
    shares = ((job, max(job.cap - power_for(job.caps, job.ask.event_floor), 0.0)) for job in jobs)
    node = control.state.clusters[site].node
    return sum(node.dynamic_w * share * job.ask.intensity * job.gpus for job, share in shares)


def situation(control: ShortageControl, site: int) -> Situation:
    """Situation that a request finds at a site now."""
    state, now = control.state, control.clock.now
    ledger = state.ledgers[site]
    ledger.advance_to(now)
    coming = [asked for asked in state.announced[site] if asked.start_s - control.hold_s <= now]
    until_s = max(
        (asked.end_s if now < asked.end_s else asked.end_s + asked.ramp_up_s for asked in coming), default=now
    )
    back_s = max((_back_s(asked) for asked in coming), default=now) - now
    jobs = [job for job in jobs_at(state, site) if job.running and job.ask.event_floor < 1.0]
    found = Situation(control, site, jobs, max(until_s - now, 1.0), 0.0)
    going = (job for job in jobs_at(state, site) if job.phase == "saving")
    it_w = ledger.it_w - sum(found.watts(job, job.cap) for job in going)
    it_w += sum(found.watts(job, found.top(job) - job.cap) for job in jobs)
    # Caps follow at once, so that only those who write a checkpoint first, and a battery, have to look ahead: where it
    # gives evenly, to the end.
    first_s = control.hold_s if state.settings.respond == "battery-first" else _longest_write_s(jobs)
    ahead_s = found.rest_s if control.spreads and coming else first_s
    missing_w = it_w - control.outlooks[site].most_it_w(max(min(until_s, now + ahead_s), now + 1.0), it_w)
    return Situation(control, site, jobs, found.rest_s, missing_w, back_s)


def _back_s(asked: GridEvent) -> float:
    """Latest time at which a job paused for a request can go on, as far as the request goes [s]."""
    return asked.end_s + asked.ramp_up_s + min(asked.end_s - asked.start_s, RECOVERY_S)


def _longest_write_s(jobs: Sequence[JobState]) -> float:
    return max((job.write_s for job in jobs if job.ask.interruptible and job.ask.event_floor == 0.0), default=0.0)


def _chosen(found: Situation, how: str) -> list[Offer]:
    """Shares of the response, by the order that was asked for; what one kind does not give, the next does."""
    if how == "caps-first":
        chosen = _alike(found)
        if sum(offer.watts for offer in chosen) >= found.missing_w * (1.0 - CAP_STEP):
            return chosen
        paused = _whole(sorted(pauses(found), key=found.order), found.missing_w, chosen)
        gone = {offer.job.index for offer in paused}
        return [offer for offer in chosen if offer.job.index not in gone] + paused
    if how == "move-first":
        whole = _whole(sorted(_moves(found), key=found.order), found.missing_w)
    elif how == "pause-first":
        whole = _whole(sorted(pauses(found), key=found.order), found.missing_w)
    else:
        whole = []
    gone = {offer.job.index for offer in whole}
    jobs = [job for job in found.jobs if job.index not in gone]
    left = replace(found, jobs=jobs, missing_w=found.missing_w - sum(o.watts for o in whole))
    stops = () if how == "pause-first" else pauses(left)
    return whole + _cheapest(left, sorted([*pieces(left), *stops], key=left.order))


def pieces(found: Situation) -> Iterator[Offer]:
    """The linear pieces of each job's speed curve, from the cap that it had down to its floor.

    The curve is cut where the job would have lost all its slack by the end: what lies below weighs as lateness does.
    """
    for job in found.jobs:
        if not job.caps:
            continue
        top, floor = found.top(job), power_for(job.caps, job.ask.event_floor)
        late = found.in_time(job)
        points = sorted({floor, top, late, *(share for share, _ in job.caps if floor < share < top)}, reverse=True)
        hull = list[Offer]()
        for high, low in pairwise(point for point in points if point <= top):
            watts = found.watts(job, high - low)
            lost_gpu_s = (speed(job.caps, high) - speed(job.caps, low)) * job.gpus * found.rest_s
            if watts <= 0.0:
                continue
            weight = 1.0 if low >= late else LATE_WEIGHT
            hull.append(Offer(weight * lost_gpu_s / watts, watts, job, low))
            while len(hull) > 1 and hull[-1].price < hull[-2].price:  # measured curves are not concave everywhere
                second, first = hull.pop(), hull.pop()
                both = first.watts + second.watts
                hull.append(Offer((first.price * first.watts + second.price * second.watts) / both, both, job, low))
        yield from hull


def pauses(found: Situation) -> Iterator[Offer]:
    """Pausing those that may be paused: all their power, for all their work of the rest of the event."""
    for job in found.jobs:
        if job.ask.event_floor == 0.0 and job.ask.interruptible:
            top = found.top(job)
            watts = found.watts(job, top)
            lost_s = found.rest_s * (speed(job.caps, top) if job.caps else 1.0) + job.write_s
            lost_s += job.ask.checkpoint.restart_s
            if watts > 0.0:
                weight = found.weight(job, lost_s + found.back_s - found.rest_s)
                yield Offer(weight * lost_s * job.gpus / watts, watts, job, 0.0)


def _moves(found: Situation) -> Iterator[Offer]:
    """Moving to a site that was asked for nothing and has room, most sun to spare first; within the job's floor.

    Who decides for all sites is the root: under other kinds of coordination nobody is moved.
    """
    control, state = found.control, found.control.state
    if state.scenario.coordination != "root":
        return
    network, now = control.phases.network, control.clock.now
    free = [0 if asked else state.clusters[site].free_gpus for site, asked in enumerate(state.announced)]
    for job in found.jobs:
        if not job.ask.interruptible:
            continue
        for target in sorted(job.sites, key=lambda place: (-state.ledgers[place].surplus_w(now), place)):
            if target == found.site or free[target] < job.gpus or state.room[target] < job.gpus:
                continue
            under_way_s = network.transfer_s(job, target, saved_at=found.site) if network.links else 0.0
            lost_s = job.write_s + under_way_s + job.ask.checkpoint.restart_s
            within = lost_s <= (1.0 - job.ask.event_floor) * found.rest_s
            if within and control.accepts(target, job.gpus, job.ask.intensity):
                free[target] -= job.gpus
                watts = found.watts(job, found.top(job))
                if watts > 0.0:
                    yield Offer(found.weight(job, lost_s) * lost_s * job.gpus / watts, watts, job, 0.0, target)
                break


def _whole(offers: Sequence[Offer], missing_w: float, given: Sequence[Offer] = ()) -> list[Offer]:
    """Pauses or moves, the cheapest first, until they make up for what is missing.

    `given` is what caps give already: for a job that is paused after all it is part of what the pause gives.
    """
    caps = {offer.job.index: offer.watts for offer in given}
    chosen, left_w = list[Offer](), missing_w - sum(caps.values())
    for offer in offers:
        if left_w <= 0.0:
            break
        chosen.append(offer)
        left_w -= offer.watts - caps.get(offer.job.index, 0.0)
    return chosen


def _cheapest(found: Situation, offers: Sequence[Offer]) -> list[Offer]:
    """The cheapest offers that make up for what is missing; the last piece of a curve only as far as it is needed."""
    taken = _taken(found, offers)
    paused = [offer for offer in taken if offer.cap == 0.0]
    if not paused:
        return taken
    # A pause gives all or nothing: what it gives too much, caps need not.
    gone = {offer.job.index for offer in paused}
    left_w = found.missing_w - sum(offer.watts for offer in paused)
    rest = replace(found, missing_w=left_w)
    return paused + _taken(rest, [offer for offer in offers if offer.cap > 0.0 and offer.job.index not in gone])


def _taken(found: Situation, offers: Sequence[Offer]) -> list[Offer]:
    given: dict[int, float] = {}
    chosen: dict[int, Offer] = {}
    left_w = found.missing_w
    for offer in offers:
        index = offer.job.index
        if left_w <= 0.0:
            break
        if index in chosen and chosen[index].cap == 0.0:
            continue
        if offer.cap == 0.0:  # what its caps have given already is part of what the pause gives
            left_w -= offer.watts - given.get(index, 0.0)
            chosen[index] = offer
            continue
        begin = chosen[index].cap if index in chosen else found.top(offer.job)
        share = min(1.0, left_w / offer.watts)
        cap = offer.cap if share == 1.0 else max(begin + (offer.cap - begin) * share, offer.cap)
        given[index] = given.get(index, 0.0) + offer.watts * share
        chosen[index] = Offer(offer.price, given[index], offer.job, cap)
        left_w -= offer.watts * share
    return list(chosen.values())


def _alike(found: Situation) -> list[Offer]:
    """One cap for all, none below its floor: no lower than is enough."""
    floors = {job.index: power_for(job.caps, job.ask.event_floor) for job in found.jobs if job.caps}

    def given(level: float) -> list[Offer]:
        wanted = ((job, max(level, floors[job.index])) for job in found.jobs if job.caps)
        offers = [Offer(0.0, found.watts(job, found.top(job) - cap), job, cap) for job, cap in wanted]
        return [offer for offer in offers if offer.watts > 0.0]

    low, high = min(floors.values(), default=1.0), 1.0
    if sum(offer.watts for offer in given(low)) <= found.missing_w:
        return given(low)
    while high - low > CAP_STEP:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sum(o.watts for o in given(middle)) >= found.missing_w else (low, middle)
    return given(low)


def _carry_out(found: Situation, chosen: Sequence[Offer], ease: bool = True) -> None:
    """Pause, move, cap, and lift the caps of those that need give less than before."""
    control, watch = found.control, found.control.watches[found.site]
    assert watch is not None
    phases, detail = control.phases, {"missing_w": found.missing_w}
    why, eased = (ASKED, EASED) if found.asked else (LIMITED, LESS_LIMITED)
    by_job = {offer.job.index: offer for offer in chosen}
    for job in found.jobs:
        offer, top = by_job.get(job.index), found.top(job)
        told = {**detail, "price_gpu_s_per_w": offer.price} if offer is not None else detail
        if offer is not None and offer.cap == 0.0:
            watch.capped.pop(job.index, None)
            if offer.target < 0:
                phases.pause(job, why, told)
            else:
                phases.move(job, offer.target, why, told, at_once=True)
            continue
        cap = offer.cap if offer is not None else top
        if cap < job.cap:
            watch.capped.setdefault(job.index, job.cap)
            phases.set_power_cap(job, cap, why, told)
        elif ease and (cap > job.cap + CAP_STEP or (cap == top and cap > job.cap)):
            if cap == top:
                del watch.capped[job.index]
            phases.set_power_cap(job, cap, eased, {})
