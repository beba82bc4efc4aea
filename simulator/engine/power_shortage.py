"""Shortage of supply: outages and import limits, who may start, and when a site takes up work again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import floor, inf
from typing import TYPE_CHECKING

from tafukt.simulator.energy.adequacy import SupplyAdequacy
from tafukt.simulator.energy.ledger import ROUNDING, Supply
from tafukt.simulator.engine.event_queue import Kind, cancel
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.state import State
from tafukt.simulator.units import DAY_S, HOUR_S, TICK_S, TICKS_PER_S, on_grid

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

# How far ahead a shortage is looked for while the battery is in use, and while it is not needed [s].
NEAR_S, FAR_S = 3 * HOUR_S, DAY_S
# A site is looked at again no sooner than so, where nothing is foreseen by then [s].
AGAIN_S = 1.0


class SiteShortage:
    """Memory of the guard of one site.

    `short` from the first measure against a shortage until the site takes up work again; `shed_s` when the
    last measure was taken; `capped` the jobs that were capped, with the cap that they had; `refused_w` the
    least IT power that was refused [W]; `safe` while not even all nodes together could come short. `by_request`
    where a request of the grid was the cause. Before a request nothing starts until `holds_until_s`, and after it
    only what keeps the import within `recovery_w` [W] until `recovers_until_s`.
    """

    __slots__ = (
        "asked",
        "by_request",
        "capped",
        "due",
        "event",
        "holds_until_s",
        "recovers_until_s",
        "recovery_w",
        "refused_w",
        "safe",
        "shed_s",
        "short",
        "ticking",
    )

    def __init__(self) -> None:
        self.short = self.safe = self.by_request = False
        self.holds_until_s = self.recovers_until_s = -inf
        self.recovery_w = inf
        self.shed_s = -inf
        self.capped: dict[int, float] = {}
        self.refused_w = inf
        self.asked: tuple[float, float, float] = (-1.0, 0.0, 0.0)  # time, IT power, and what was refused then
        self.event: SimEvent | None = None  # when supply will fall short, or is to be looked at again
        self.due = False
        self.ticking = False


class ShortageControl:
    """Watches every site whose grid is limited or fails, so that no policy has to.

    The guard is the engine's: a site that is short starts nothing, whatever the policy. For `hold_min_s`
    after the last measure it takes up only what the grid alone carries, so that clouds do not make it start
    and stop; from then on what sun and grid carry now, or the battery for `hold_min_s`.
    """

    def __init__(self, state: State, phases: JobPhases) -> None:
        self.state = state
        self.phases = phases
        self.clock = state.clock
        self.hold_s = state.scenario.hold_min_s
        self.watches: list[SiteShortage | None] = [
            SiteShortage() if site.grid.outages or site.grid.is_limited or site.grid.events else None
            for site in state.scenario.sites
        ]
        # The battery answers a request: first of all, or evenly for as long as one holds.
        self.spreads = state.settings.respond == "least-loss"
        by_battery = self.spreads or state.settings.respond == "battery-first"
        for ledger in state.ledgers:
            ledger.answers = by_battery
        self.outlooks = [SupplyAdequacy(ledger, by_battery) for ledger in state.ledgers]
        self._at_work = False
        self._at_limit = state.settings.at_limit == "bend"
        # The answer to a request of the grid, which is no shortage: set by who brings the requests.
        self.respond: Callable[[ShortageControl, int], None] = shed
        # By how much jobs may still give way to one, without any pause [W].
        self.bendable_w: Callable[[ShortageControl, int], float] = lambda control, site: 0.0
        # Whether a ramp limit leaves room for so much IT power at a site, beside what is to come: set likewise.
        self.ramp_allows: Callable[[int, float, float], bool] | None = None

    def begin(self) -> None:
        """Put the outages among the events."""
        for index, site in enumerate(self.state.scenario.sites):
            self._judge(index)
            out = Supply.ISLAND if site.islandable else Supply.NONE
            for start, end in site.grid.outages:
                for time, supply in ((start, out), (end, Supply.GRID)):
                    self.clock.at(on_grid(time), Kind.FAULT, index, self._supply, (index, supply))

    def _supply(self, event: SimEvent) -> None:
        site, supply = event._value
        state, now = self.state, self.clock.now
        state.ledgers[site].set_supply(now, supply)
        if state.log.changes:
            name = {Supply.GRID: "the grid is back", Supply.ISLAND: "the grid is out: sun and battery serve"}
            reason = name.get(supply, "the grid is out, and with it the site")
            state.log.note(now, "repair" if supply is Supply.GRID else "outage", -1, site, reason)
        self._judge(site)
        self._review_now(site)
        watch = self.watches[site]
        if supply is Supply.GRID and watch is not None:
            watch.shed_s = -inf
            self._take_up_if_possible(site)

    def ceiling_changed(self, site: int) -> None:
        """The grid asks for less than before, or for nothing more: answer, or take up work again."""
        self._judge(site)
        self._review_now(site)
        watch = self.watches[site]
        if watch is not None and (watch.short or watch.refused_w < inf):
            self._tick_later(site)

    def request_over(self, site: int) -> None:
        """No request binds any more: lift what was done for it as soon as supply carries that."""
        watch = self.watches[site]
        assert watch is not None
        watch.shed_s = -inf
        self.ceiling_changed(site)
        self._take_up_if_possible(site)

    def _judge(self, site: int) -> None:
        """Whether a site can come short at all while its supply is as it is."""
        watch, ledger, spec = self.watches[site], self.state.ledgers[site], self.state.scenario.sites[site]
        if watch is not None:
            most_w = spec.nodes * max(spec.node.loaded_w, spec.node.sleep_w)
            least_w = self.outlooks[site].carried_w(self.clock.now)[1]
            watch.safe = ledger.supply is Supply.GRID and most_w <= least_w

    # --- foreseeing --------------------------------------------------------------------------------

    def load_changed(self, site: int) -> None:
        """The load of a site has changed: what was foreseen no longer holds."""
        watch = self.watches[site]
        if watch is None or (watch.safe and not watch.short) or watch.due or self._at_work:
            return
        ledger = self.state.ledgers[site]
        safe_w = self.outlooks[site].carried_w(self.clock.now)[1]
        if ledger.it_w <= safe_w and not watch.short and ledger.supply is not Supply.NONE:
            cancel(watch.event)
            watch.event = None
            return
        self._review_now(site)

    def _review_now(self, site: int) -> None:
        watch = self.watches[site]
        if watch is not None and not watch.due:
            watch.due = True
            self._plan(site, self.clock.now)

    def _plan(self, site: int, time_s: float) -> None:
        """Look at a site again at `time_s`, and not when it was planned before."""
        watch = self.watches[site]
        assert watch is not None
        cancel(watch.event)
        at = max(floor(time_s * TICKS_PER_S) / TICKS_PER_S, self.clock.now)
        watch.event = self.clock.at(at, Kind.SUPPLY, site, self._review, site)

    def _review(self, event: SimEvent) -> None:
        """Find the next shortage; act if it is here, or so near that no more than checkpoints fit in before."""
        site: int = event._value
        watch, ledger, now = self.watches[site], self.state.ledgers[site], self.clock.now
        assert watch is not None
        watch.due, watch.event = False, None
        ledger.advance_to(now)
        if watch.short:
            self._act(site, switch_off)
        if watch.capped and self.bends(site):
            self._act(site, self.respond)  # where there is room again, caps are lifted as far as it goes
        lead_s = self._lead_s(site)
        short_s, again_s = self._foresee(site, lead_s)
        if short_s - lead_s < now + TICK_S or short_s < self._spread_until_s(site):
            watch.short, watch.shed_s = True, now
            self._act(site, _give_way)
            self._tick_later(site)
            short_s = self.outlooks[site].falls_short_s(ledger.it_w, now + NEAR_S)
            if now + TICK_S <= short_s < inf:
                self._plan(site, short_s)
            elif short_s == inf:
                self._plan(site, now + NEAR_S)
        elif short_s < inf:
            self._plan(site, short_s - lead_s)
        elif again_s < inf:
            self._plan(site, again_s)

    def _act(self, site: int, measure: Callable[[ShortageControl, int], None]) -> None:
        """Take a measure whose own changes of the load are no news."""
        self._at_work = True
        try:
            measure(self, site)
        finally:
            self._at_work = False

    def _lead_s(self, site: int) -> float:
        """The longest checkpoint that would have to be written before a shortage [s]."""
        jobs = jobs_at(self.state, site)
        return max((job.write_s for job in jobs if job.running and job.ask.interruptible), default=0.0)

    def _foresee(self, site: int, lead_s: float) -> tuple[float, float]:
        """The next shortage, and else when to look again [s]; both infinite where there is none to come."""
        now, ledger, outlook = self.clock.now, self.state.ledgers[site], self.outlooks[site]
        it_w = ledger.it_w
        strained_s = outlook.strained_s(it_w, now + FAR_S)
        if strained_s == inf:
            return inf, inf if it_w <= outlook.carried_w(now)[1] else now + FAR_S
        near_s = max(NEAR_S, 2.0 * lead_s, self._spread_until_s(site) - now)
        if strained_s > now + near_s:
            return inf, strained_s - lead_s
        # Capacity shrinks at midnight: beyond it nothing is certain.
        until_s = min(now + near_s, max(ledger.next_midnight_s, now + lead_s + AGAIN_S))
        return outlook.falls_short_s(it_w, until_s), max(until_s - lead_s, now + AGAIN_S)

    # --- who may start -------------------------------------------------------------------------------

    def accepts(
        self, site: int, gpus: int, intensity: float = 1.0, latest_s: float = inf, has_run: bool = True
    ) -> bool:
        """Whether a site takes a new job now.

        Only if sun and import limit cover it, with all that is under way, or the battery can carry it for
        `hold_min_s` as things are now. What is refused is remembered: a round follows when it could start.
        """
        watch, now = self.watches[site], self.clock.now
        if self.ramp_allows is not None and not self.ramp_allows(
            site, self.added_w(site, gpus, intensity), self.to_come_w(site)
        ):
            return False
        if watch is None or (
            watch.safe and not watch.short and now >= max(watch.holds_until_s, watch.recovers_until_s)
        ):
            return True
        pressing = self._is_pressing(site, latest_s, has_run)
        if ((pressing and not has_run) or self._at_limit) and self._others_make_room(site, gpus, intensity):
            return True
        if watch.short or (now < watch.holds_until_s and not pressing):
            return False
        added_w, it_w = self.added_w(site, gpus, intensity), self.state.ledgers[site].it_w
        asked_s, asked_it_w, too_much_w = watch.asked
        if asked_s == now and asked_it_w == it_w and added_w >= too_much_w:
            return False
        if self._covers(site, added_w, pressing):
            return True
        watch.asked = (now, it_w, added_w)
        watch.refused_w = min(watch.refused_w, added_w)
        self._tick_later(site)
        return False

    def bends(self, site: int) -> bool:
        """Whether jobs of a site bend within their floors for what binds its import now: a request, or a limit too."""
        ledger, limit_w = self.state.ledgers[site], self.state.ledgers[site].limit_at(self.clock.now)
        return ledger.request_w < limit_w or (self._at_limit and ledger.supply is Supply.GRID and limit_w < inf)

    def _asks(self, site: int) -> bool:
        """Whether a request binds the import, and not the connection's own limit."""
        ledger = self.state.ledgers[site]
        return ledger.request_w < ledger.limit_at(self.clock.now)

    def _spread_until_s(self, site: int) -> float:
        """Until when the battery's energy is to last under a request that holds [s]."""
        asked = self.state.announced[site]
        return asked[0].end_s if self.spreads and asked and self._asks(site) else -inf

    def _is_pressing(self, site: int, latest_s: float, has_run: bool) -> bool:
        """Whether a job would be late if it waited until a request of the grid, and what follows it, is over.

        One that has run, and may have been paused for the request, presses only when that is over.
        """
        watch, asked = self.watches[site], self.state.announced[site]
        assert watch is not None
        if has_run and self.clock.now < max(watch.holds_until_s, asked[0].end_s if asked else -inf):
            return False
        over_s = max(asked[0].end_s + asked[0].ramp_up_s if asked else -inf, watch.recovers_until_s)
        return latest_s < over_s and (watch.by_request or not watch.short)

    def _others_make_room(self, site: int, gpus: int, intensity: float) -> bool:
        """Whether a site that is asked for less could take a job if the others were capped down to their floors."""
        ledger, now = self.state.ledgers[site], self.clock.now
        if not self.bends(site):
            return False
        ledger.advance_to(now)
        it_w = ledger.it_w + self.to_come_w(site) + self.added_w(site, gpus, intensity)
        least_w = it_w - self.bendable_w(self, site)
        asked = self.state.announced[site]
        until_s = max(asked[0].end_s if asked else now, now + 1.0)
        return self.outlooks[site].most_it_w(until_s, least_w) >= least_w

    def added_w(self, site: int, gpus: int, intensity: float) -> float:
        """The most that a new job adds to the IT power, nodes that it may have to wake included [W]."""
        cluster = self.state.clusters[site]
        node = cluster.node
        whole, rest = divmod(cluster.held_for(gpus), node.gpus)
        woken = max(whole - cluster.level[node.gpus].bit_count(), 0)
        if rest and not any(cluster.level[free] for free in range(rest, node.gpus)):
            woken = max(whole + 1 - cluster.level[node.gpus].bit_count(), 0)
        return woken * (node.idle_w - node.sleep_w) + gpus * intensity * node.dynamic_w

    def _covers(self, site: int, added_w: float, pressing: bool = False) -> bool:
        ledger, cluster, now = self.state.ledgers[site], self.state.clusters[site], self.clock.now
        watch = self.watches[site]
        assert watch is not None
        if ledger.supply is Supply.NONE:
            return False
        if (
            now < watch.recovers_until_s and not pressing
        ):  # the import is not to come back higher than it was before the request
            drawn_w = (ledger.it_w + self.to_come_w(site) + added_w) * ledger.per_it(now) - ledger.free_w(now)
            if drawn_w > watch.recovery_w:
                return False
        if now < watch.shed_s + self.hold_s:  # so soon after a shortage, sun and battery are not relied upon
            ceiling_w = ledger.ceiling_ahead_w(now, now + self.hold_s)
            return ledger.load_w(now, ledger.it_w + self.to_come_w(site) + added_w) <= ceiling_w
        carried_w = self.outlooks[site].carried_for_w(now, self.hold_s)
        # First as if everybody who holds GPUs drew all that they can: cheap, and mostly enough.
        most_w = ledger.it_w + (cluster.busy_gpus - cluster.active) * cluster.node.dynamic_w + added_w
        if most_w <= carried_w:
            return True
        it_w = ledger.it_w + self.to_come_w(site) + added_w
        if it_w <= carried_w:
            return True
        ledger.advance_to(now)
        if self.spreads and self._asks(site):  # what those who are there leave of it until the request ends
            until_s = max(self._spread_until_s(site), now + self.hold_s)
            return self.outlooks[site].most_it_w(until_s, it_w) >= it_w
        return self.outlooks[site].carries_s(it_w, self.hold_s) >= self.hold_s * (1.0 - ROUNDING)

    def to_come_w(self, site: int) -> float:
        """Power that jobs with GPUs in hand will draw more once they run [W]."""
        cluster = self.state.clusters[site]
        node = cluster.node
        if cluster.busy_gpus - cluster.active < 1e-9:
            return 0.0
        waiting = (job for job in jobs_at(self.state, site) if job.phase in ("waking", "fetching"))
        return sum(job.ask.intensity * job.cap * job.gpus * node.dynamic_w for job in waiting)

    # --- taking up work again ------------------------------------------------------------------------

    def _tick_later(self, site: int) -> None:
        """Look at a site that is short, or has refused somebody, when its supply changes next."""
        watch, ledger = self.watches[site], self.state.ledgers[site]
        assert watch is not None
        if not watch.ticking:
            edge_s = (ledger.step_at(self.clock.now) + 1) * ledger.step_s
            at = max(on_grid(edge_s), self.clock.now + TICK_S)
            if at >= self.state.scenario.end_s:
                return
            watch.ticking = True
            self.clock.at(at, Kind.SUPPLY, site, self._tick, site)

    def _tick(self, event: SimEvent) -> None:
        site: int = event._value
        watch = self.watches[site]
        assert watch is not None
        watch.ticking = False
        self._take_up_if_possible(site)
        if watch.short or watch.refused_w < inf:
            self._tick_later(site)

    def _take_up_if_possible(self, site: int) -> None:
        watch = self.watches[site]
        assert watch is not None
        if watch.short:
            if not self._recovered(site):
                return
            self._recover(site)
        elif not self._covers(site, watch.refused_w):
            return
        watch.refused_w = inf
        self.state.policy.freed(None, site)
        self.state.ask_for_round()

    def _recovered(self, site: int) -> bool:
        watch, ledger, now = self.watches[site], self.state.ledgers[site], self.clock.now
        assert watch is not None
        if ledger.supply is Supply.NONE:
            return False
        node = self.state.clusters[site].node
        uncapped = sum(
            (watch.capped[job.index] - job.cap) * job.ask.intensity * job.gpus * node.dynamic_w
            for job in jobs_at(self.state, site) if job.index in watch.capped
        )  # fmt: skip
        it_w = ledger.it_w + self.to_come_w(site) + uncapped
        if ledger.load_w(now, it_w) <= ledger.ceiling_ahead_w(now, now + self.hold_s):
            return True
        if now < watch.shed_s + self.hold_s or self._asks(site):
            return False
        ledger.advance_to(now)
        return self.outlooks[site].carries_s(it_w, self.hold_s) >= self.hold_s * (1.0 - ROUNDING)

    def _recover(self, site: int) -> None:
        """Lift the caps, and let nodes that never sleep boot again."""
        watch, state, cluster = self.watches[site], self.state, self.state.clusters[site]
        assert watch is not None
        reason = "the grid's request has ended" if watch.by_request else "supply has recovered"
        watch.short = watch.by_request = False
        for job in jobs_at(state, site):
            if job.running and watch.capped.get(job.index, job.cap) > job.cap:
                self.phases.set_power_cap(job, watch.capped[job.index], reason)
        watch.capped.clear()
        if not cluster.node.can_sleep and cluster.asleep:
            for node in range(cluster.count):
                if cluster.asleep >> node & 1:
                    cluster.take(((node, cluster.per_node),), self.clock.now)
                    cluster.release(((node, cluster.per_node),))
        state.power_changed(site)


# --- Who gives way when supply falls short: cap, then pause what can still be saved, then kill, nodes off
# Among jobs the one of least priority goes first, then the one that started last: it has least to lose.


def jobs_at(state: State, site: int) -> list[JobState]:
    """The jobs that hold GPUs at a site."""
    return list(state.running_at[site].values())


def _give_way(guard: ShortageControl, site: int) -> None:
    """Answer what binds: the grid's request, which jobs' floors limit, or a shortage, which nothing does."""
    ledger = guard.state.ledgers[site]
    if not guard.bends(site):
        shed(guard, site)
        return
    watch = guard.watches[site]
    assert watch is not None
    watch.by_request = ledger.request_w < ledger.limit_at(guard.clock.now)
    guard.respond(guard, site)
    asked_w, ledger.request_w = ledger.request_w, inf
    try:
        if guard.outlooks[site].falls_short_s(ledger.it_w, guard.clock.now + guard.hold_s) < inf:
            shed(guard, site)
    finally:
        ledger.request_w = asked_w


def shed(guard: ShortageControl, site: int) -> None:
    """Give way until what is left can be fed for `hold_min_s`, or nothing is left to give."""
    state, ledger, now = guard.state, guard.state.ledgers[site], guard.clock.now
    outlook = guard.outlooks[site]
    longest_s = max((job.write_s for job in jobs_at(state, site)), default=0.0)
    until_s = now + max(guard.hold_s, 2.0 * longest_s)

    def short_s(it_w: float) -> float:
        return outlook.falls_short_s(it_w, until_s)

    _cap(guard, site, until_s)
    if short_s(ledger.it_w) == inf:
        return
    switch_off(guard, site)
    for job in sorted(jobs_at(state, site), key=lambda job: (job.ask.priority, -job.started_s, -job.index)):
        at_s = short_s(ledger.it_w)
        stay = [other for other in jobs_at(state, site) if other.phase != "saving"]
        saving_s = max((other.until_s for other in jobs_at(state, site) if other.phase == "saving"), default=now)
        if at_s == inf or (saving_s <= at_s and short_s(_it_w(state, site, stay)) == inf):
            return
        if job.running and job.ask.interruptible and now + job.write_s <= at_s:
            guard.phases.pause(job, _reason(guard, site), {"short_s": at_s, "write_s": job.write_s})
        elif at_s < now + TICK_S and job.phase != "saving":
            guard.phases.kill(job, _reason(guard, site))
            switch_off(guard, site)
    for job in jobs_at(state, site):  # what is being saved is the last to go
        if short_s(ledger.it_w) >= now + TICK_S:
            return
        guard.phases.kill(job, _reason(guard, site))
        switch_off(guard, site)


def switch_off(guard: ShortageControl, site: int) -> None:
    """Send the empty nodes of a site to sleep at once."""
    cluster = guard.state.clusters[site]
    empty = cluster.level[cluster.per_node]
    if not empty or cluster.offline:
        return
    while empty:
        low = empty & -empty
        cluster.sleep(low.bit_length() - 1)
        empty ^= low
    guard.state.power_changed(site)


def _cap(guard: ShortageControl, site: int, until_s: float) -> None:
    """Cap all running jobs alike: no lower than is enough, and as low as it goes where nothing is."""
    state, ledger = guard.state, guard.state.ledgers[site]
    node, watch = state.clusters[site].node, guard.watches[site]
    assert watch is not None
    jobs = [job for job in jobs_at(state, site) if job.running]
    if not node.caps or ledger.supply is Supply.NONE:
        return
    levels = sorted({share for job in jobs for share, _ in job.caps if share < 1.0}, reverse=True)
    for level in levels:  # none is capped below what its own curve allows
        caps = [max(level, job.caps[0][0]) for job in jobs]
        spared = sum(
            max(job.cap - cap, 0.0) * job.ask.intensity * job.gpus for job, cap in zip(jobs, caps, strict=True)
        )
        enough = guard.outlooks[site].falls_short_s(ledger.it_w - spared * node.dynamic_w, until_s) == inf
        if enough or level == levels[-1]:
            for job, cap in zip(jobs, caps, strict=True):
                if job.cap > cap:
                    watch.capped.setdefault(job.index, job.cap)
                    guard.phases.set_power_cap(job, cap, _reason(guard, site))
            return


def _it_w(state: State, site: int, jobs: Iterable[JobState]) -> float:
    """IT power with these jobs alone, all other nodes off [W]."""
    cluster, active = state.clusters[site], 0.0
    awake: set[int] = set()
    for job in jobs:
        awake.update(node for node, _ in job.allocation)
        active += job.ask.intensity * job.cap * job.gpus
    off = cluster.count - len(awake) - cluster.down.bit_count()
    return len(awake) * cluster.node.idle_w + off * cluster.node.sleep_w + active * cluster.node.dynamic_w


def _reason(guard: ShortageControl, site: int) -> str:
    on_grid = guard.state.ledgers[site].supply is Supply.GRID
    return "shortage: the import limit" if on_grid else "shortage: the grid is out"
