"""Requests of the grid from their notice to their end: baseline, ramp, target, and what the site's books are told."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, inf
from typing import TYPE_CHECKING

from tafukt.simulator.energy.ledger import Supply
from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.grid_requests.respond import RECOVERY_S, lacks_w, pause_ahead
from tafukt.simulator.engine.grid_requests.shared import DIVIDE_AGAIN_S, divide
from tafukt.simulator.engine.power_shortage import ShortageControl
from tafukt.simulator.engine.state import State
from tafukt.simulator.record import GridRequest
from tafukt.simulator.scenario import GridEvent, part_w
from tafukt.simulator.units import DAY_S, HOUR_S, on_grid

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

# The baseline `before` is the mean of the last quarter of an hour, `days` that of the same hours of up to ten days.
# Both are choices: programmes of network operators differ.
BEFORE_S, DAYS_MOST = 900.0, 10
# A ramp is followed in steps of this length, each at the value that it has at its stricter end [s].
RAMP_STEP_S = 60.0
# No job starts for so long before a request, and a battery that answers it keeps what it has for so long at most [s]:
# choices.
HOLD_S, KEEP_S = 900.0, 4 * HOUR_S


class GridRequests:
    """Brings each request when its time has come, and lowers and lifts the ceiling of a site's import."""

    def __init__(self, state: State, shortage: ShortageControl) -> None:
        self.state = state
        self.shortage = shortage
        self.made: list[GridRequest] = []
        self._before_w: dict[int, float] = {}
        # By name and start of a request that is shared: its sites, and their parts of what they may import [W].
        self._members: dict[tuple[str, float], list[tuple[int, GridEvent]]] = {}
        self._parts: dict[tuple[str, float], dict[int, tuple[float, float]]] = {}

    def begin(self) -> None:
        """Put notices, starts and ends among the events."""
        clock = self.state.clock
        for site, spec in enumerate(self.state.scenario.sites):
            for number, event in enumerate(spec.grid.events):
                if event.shared:
                    self._members.setdefault((event.shared, event.start_s), []).append((site, event))
                clock.at(on_grid(max(event.notice_s, 0.0)), Kind.SUPPLY, site, self._notice, (site, event))
                clock.at(on_grid(event.start_s), Kind.SUPPLY, site, self._start, (site, number, event))

    def _notice(self, event: SimEvent) -> None:
        site, asked = event._value
        self.state.longest_request_s = max(self.state.longest_request_s, asked.end_s - asked.start_s)
        self._announce(site, [*self.state.announced[site], asked])
        self._note(site, "notice", "the grid will ask for less", {"start_s": asked.start_s, "end_s": asked.end_s})
        self.state.ask_for_round()
        if self.state.settings.respond == "none":
            return
        clock = self.state.clock
        clock.at(on_grid(max(asked.start_s - HOLD_S, clock.now)), Kind.SUPPLY, site, self._hold, (site, asked))
        ledger = self.state.ledgers[site]
        if ledger.battery is not None and ledger.answers:
            clock.at(on_grid(max(asked.start_s - KEEP_S, clock.now)), Kind.SUPPLY, site, self._keep, (site, asked))

    def _keep(self, event: SimEvent) -> None:
        """Let the battery keep what it has, and buy what would else be missing, if that is worth its price."""
        site, asked = event._value
        ledger, clock = self.state.ledgers[site], self.state.clock
        ledger.advance_to(clock.now)
        missing_j = self._worth_buying_j(site, asked)
        law = self.state.scenario.sites[site].battery
        assert law is not None
        ledger.keep_w = 0.0
        if missing_j <= 0.0 or law.charge_w <= 0.0:
            return
        ledger.keep_w = ledger.ceiling_ahead_w(clock.now, asked.start_s)
        bought_s = clock.now + missing_j / (law.charge_w * law.eta_charge)
        self._note(site, "charge", "the battery charges for the grid's request", {"missing_j": missing_j})
        if bought_s < asked.start_s:
            clock.at(on_grid(bought_s), Kind.SUPPLY, site, self._bought, site)

    def _bought(self, event: SimEvent) -> None:
        ledger = self.state.ledgers[event._value]
        ledger.advance_to(self.state.clock.now)
        ledger.keep_w = 0.0 if ledger.keep_w is not None else None

    def _worth_buying_j(self, site: int, asked: GridEvent) -> float:
        """Energy to be bought for what jobs cannot give; none where its price is above what it saves [J]."""
        ledger, spec = self.state.ledgers[site], self.state.scenario.sites[site]
        assert spec.battery is not None
        battery, now = spec.battery, self.state.clock.now
        price = float(spec.grid.price.at(now)) / (battery.eta_charge * battery.eta_discharge)
        if price >= asked.pay_per_j + asked.penalty_per_j:
            return 0.0
        lacking_w = lacks_w(self.shortage, site, self._target_w(site, asked))
        lasts_s = asked.end_s - asked.start_s - asked.ramp_down_s
        given_w = min(lacking_w * ledger.per_it(now), battery.discharge_w)
        high_j, low_j = battery.soc_max * ledger.capacity_j, battery.soc_min * ledger.capacity_j
        needed_j = min(low_j + given_w * lasts_s / battery.eta_discharge, high_j)
        return max(needed_j - ledger.stored_j, 0.0) if given_w > 0.0 else 0.0

    def _target_w(self, site: int, asked: GridEvent) -> float:
        """The import that a request comes to, as far as that can be told now [W].

        One that is shared is parted by what each site draws until it begins, and then by the least loss of work.
        """
        baseline_w = self._baseline_w(site, asked)
        if asked.to_w is None:
            return baseline_w * (1.0 - asked.cut)
        if not asked.shared:
            return asked.to_w
        members = self._members[asked.shared, asked.start_s]
        return part_w(asked.to_w, baseline_w, [self._baseline_w(place, event) for place, event in members])

    def _announce(self, site: int, requests: list[GridEvent]) -> None:
        """Let policies know of these requests at a site, and of no others."""
        self.state.announced[site][:] = sorted(requests, key=lambda each: each.start_s)
        self.state.requests_told += 1

    def _hold(self, event: SimEvent) -> None:
        """Let nothing start any more, and see when those that will be paused have to begin to save themselves."""
        site, asked = event._value
        watch, clock = self.shortage.watches[site], self.state.clock
        assert watch is not None
        watch.holds_until_s = asked.start_s
        running = self.state.running_at[site].values()
        longest_s = max((job.write_s for job in running if job.ask.event_floor == 0.0), default=0.0)
        begin_s = max(asked.start_s + asked.ramp_down_s - longest_s, clock.now)
        clock.at(on_grid(begin_s), Kind.SUPPLY, site, self._ahead, (site, asked))

    def _ahead(self, event: SimEvent) -> None:
        site, asked = event._value
        pause_ahead(self.shortage, site, self._target_w(site, asked))

    def _start(self, event: SimEvent) -> None:
        site, number, asked = event._value
        if asked.shared:
            baseline_w, target_w = self._part(site, asked)
        else:
            baseline_w = self._baseline_w(site, asked)
            target_w = asked.to_w if asked.to_w is not None else baseline_w * (1.0 - asked.cut)
        self.made.append(GridRequest(site, number, baseline_w, target_w))
        others = [each for each in self.state.announced[site] if each.start_s != asked.start_s]
        self._announce(site, [*others, replace(asked, to_w=target_w)])
        detail = {"baseline_w": baseline_w, "target_w": target_w, "until_s": asked.end_s}
        self._note(site, "request", "the grid asks for less", detail)
        self.state.policy.freed(None, site)
        self.state.ask_for_round()
        begin_w = self._before_w[site] = max(baseline_w, target_w)
        steps = ceil(asked.ramp_down_s / RAMP_STEP_S)
        for k in range(1, steps):
            ceiling_w = begin_w + (target_w - begin_w) * k / steps
            self._at(asked.start_s + asked.ramp_down_s * k / steps, site, ceiling_w)
        self._at(asked.start_s + asked.ramp_down_s, site, target_w)
        steps = ceil(asked.ramp_up_s / RAMP_STEP_S)
        for k in range(1, steps):
            self._at(asked.end_s + asked.ramp_up_s * k / steps, site, target_w + (begin_w - target_w) * k / steps)
        over_s = on_grid(asked.end_s + asked.ramp_up_s)
        self.state.clock.at(over_s, Kind.SUPPLY, site, self._over, (site, asked))

    def _part(self, site: int, asked: GridEvent) -> tuple[float, float]:
        """The baseline of a site, and its part of a request that is divided when the first of its sites begins [W]."""
        key = asked.shared, asked.start_s
        if key not in self._parts:
            members = self._members[key]
            baselines_w = {place: self._baseline_w(place, event) for place, event in members}
            whole_w = sum(baselines_w.values())
            total_w = asked.to_w if asked.to_w is not None else whole_w * (1.0 - asked.cut)
            parts_w = divide(self.shortage, list(baselines_w), total_w)
            self._parts[key] = {place: (baselines_w[place], parts_w[place]) for place in parts_w}
            # Where the sun changes, at the edges of supply steps.
            each_s = ceil(DIVIDE_AGAIN_S / self.state.scenario.step_s) * self.state.scenario.step_s
            again_s = ((asked.start_s + asked.ramp_down_s) // each_s + 1.0) * each_s
            while again_s < asked.end_s:
                self.state.clock.at(on_grid(again_s), Kind.SUPPLY, site, self._divide, (key, total_w))
                again_s += each_s
        return self._parts[key][site]

    def _divide(self, event: SimEvent) -> None:
        """Divide a request that is shared anew, by what runs and shines now."""
        key, total_w = event._value
        for site, own_w in divide(self.shortage, list(self._parts[key]), total_w).items():
            requests = self.state.announced[site]
            now = self.state.clock.now
            self._announce(site, [replace(r, to_w=own_w) if r.start_s <= now < r.end_s else r for r in requests])
            self._lower_to(site, own_w)

    def _baseline_w(self, site: int, asked: GridEvent) -> float:
        """Mean load net of the sun that the request refers to; what a battery gives is part of the answer [W]."""
        ledger, now = self.state.ledgers[site], self.state.clock.now
        if asked.baseline == "days":
            lags = [k * DAY_S for k in range(1, DAYS_MOST + 1) if asked.start_s - k * DAY_S >= 0.0]
            found = [ledger.mean_net_load_w(asked.start_s - lag, min(asked.end_s - lag, now)) for lag in lags]
            if found:
                return sum(found) / len(found)
        begin_s = max(now - BEFORE_S, 0.0)
        if begin_s < now:
            return ledger.mean_net_load_w(begin_s, now)
        return max(-ledger.surplus_w(now), 0.0)

    def _at(self, time_s: float, site: int, ceiling_w: float) -> None:
        self.state.clock.at(on_grid(time_s), Kind.SUPPLY, site, self._lower, (site, ceiling_w))

    def _lower(self, event: SimEvent) -> None:
        self._lower_to(*event._value)

    def _lower_to(self, site: int, ceiling_w: float) -> None:
        ledger = self.state.ledgers[site]
        ledger.advance_to(self.state.clock.now)
        ledger.request_w = ceiling_w
        if ledger.supply is Supply.GRID:
            self.shortage.ceiling_changed(site)

    def _over(self, event: SimEvent) -> None:
        site, asked = event._value
        ledger = self.state.ledgers[site]
        ledger.advance_to(self.state.clock.now)
        ledger.request_w = inf
        now = self.state.clock.now
        coming = any(each.start_s > now >= each.start_s - KEEP_S for each in self.state.announced[site])
        ledger.keep_w = 0.0 if coming and ledger.answers else None
        self._announce(site, [each for each in self.state.announced[site] if each.start_s != asked.start_s])
        self._note(site, "request_over", "the grid's request is over", {})
        watch = self.shortage.watches[site]
        assert watch is not None
        if self.state.settings.respond != "none":
            watch.recovery_w, watch.recovers_until_s = (
                self._before_w[site],
                now + min(asked.end_s - asked.start_s, RECOVERY_S),
            )
            self.state.clock.at(on_grid(watch.recovers_until_s), Kind.SUPPLY, site, self._as_before, site)
        self.shortage.request_over(site)
        self.state.ask_for_round()

    def _as_before(self, event: SimEvent) -> None:
        """End the time after a request, too: whoever waits may start."""
        self.state.policy.freed(None, event._value)
        self.state.ask_for_round()

    def _note(self, site: int, kind: str, reason: str, detail: dict[str, float]) -> None:
        if self.state.log.changes:
            self.state.log.note(self.state.clock.now, kind, -1, site, reason, detail)
