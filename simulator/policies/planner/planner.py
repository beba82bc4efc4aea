"""The rolling planner: every hour each job looks again for its cheapest hours, given what all others plan.

A job's hours and sites are chosen by dynamic programming against the grid energy that it would add to what
everybody else has planned, stops and moves at what checkpoint and restart cost; so nobody is stopped or
moved where that does not pay. Its estimate must fit before its deadline; what it will really need is learned
from jobs that have ended. Plans stay in the book from round to round: each is the others' future. Where forecasts
come in slots shorter than an hour (`forecast.slot_min`), what is called an hour here is a slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from tafukt.simulator.engine.actions import Action, Hold, Move, Pause, Start, Wake
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.deferral.base import leads_s
from tafukt.simulator.policies.lookahead.hour_table import added_w
from tafukt.simulator.policies.lookahead.windows import cheapest_hours, cheapest_window
from tafukt.simulator.policies.place import has_open_node, home_first
from tafukt.simulator.policies.planner.learning import Survival
from tafukt.simulator.policies.planner.plan_table import JobPlan, PlanTable
from tafukt.simulator.scenario import NodeType
from tafukt.simulator.units import DAY_H, HOUR_S, KWH_J, Floats, Ints

# How often an hour of a lone job's plan is moved at the most (a choice).
MOVES_MOST = 24

# Phases in which a job keeps its site.
STAYS = ("fetching", "waking", "restarting", "running")


@dataclass(frozen=True)
class PlannerSettings:
    """Settings of the planner; all of them choices.

    Attributes
    ----------
    horizon_h : int
        How far ahead a job without a nearer deadline is planned [h].
    sites : int
        How many sites, the cheapest first, are looked at for a job that may stop and move.
    margin_s : float
        How long before its deadline a job's estimate must be over, beside what it needs to wake, fetch and restart [s].
    scarcity : float
        What sun a day ahead counts as, as a share of grid energy, once a second job has come: others who have not yet
        come will want it.
    refill : int
        How many waiting jobs are asked again where GPUs have become free within the hour.
    small_gpu_h : float
        Jobs smaller than this by their estimates are planned once [GPU-hours].
    every_h : int
        How often those are planned again who are not to start soon [h].
    least_stay_s : float
        A job is not stopped sooner after its start [s].
    moves : bool
        Whether a job that has begun may go on elsewhere.
    cycle : float
        How much of the energy that a job's nodes take to wake, and draw before they sleep again, counts for each time
        that it is stopped, as if none of it came from the sun.
    """

    horizon_h: int = 48
    sites: int = 3
    margin_s: float = 0.0
    scarcity: float = 0.3
    refill: int = 6
    small_gpu_h: float = 6.0
    every_h: int = 3
    least_stay_s: float = 900.0
    moves: bool = True
    cycle: float = 0.5


# With a budget those who have not come are in the programme, so that sun a day ahead is less scarce than without.
BUDGET_SETTINGS = PlannerSettings(scarcity=0.1)


@dataclass(frozen=True)
class Need:
    """Remaining work of a job: hours on its slowest site, one value per hour where an array.

    `lives` is the chance to live through an hour once begun, `share` how much of it is then run, `chance`
    that it is begun at all.
    """

    hours: float
    lives: Floats
    share: Floats
    chance: Floats

    @property
    def n(self) -> int:
        """Whole hours, rounded up."""
        return len(self.lives)


class _Nodes:
    """The nodes of every site as columns: what a job adds there is worked out for all sites at once.

    `idle_w` is what a node draws idle beyond what it draws empty, `gpu_w` what a job of intensity 0 adds by GPU, and
    `cycle_s` how long a node is awake for nothing when it wakes and until it sleeps again.
    """

    def __init__(self, nodes: Sequence[NodeType]) -> None:
        self.speed = np.array([node.speed for node in nodes])
        self.gpus = np.array([node.gpus for node in nodes])
        self.idle_w = np.array([node.idle_w - node.empty_w for node in nodes])
        self.gpu_w = np.array([added_w(node, 1, 0.0) for node in nodes])
        self.dynamic_w = np.array([node.dynamic_w for node in nodes])
        self.cycle_s = np.array([node.wake_s + node.sleep_after_s if node.can_sleep else 0.0 for node in nodes])

    def added_w(self, rows: Ints, gpus: int, intensity: float) -> Floats:
        """The same as `hour_table.added_w` for many sites [W]."""
        return np.asarray(gpus * (self.gpu_w[rows] + intensity * self.dynamic_w[rows]))


class Planner:
    """The best policy there is here; see the module. Its plans end up as starts, pauses and moves."""

    def __init__(self, name: str = "planner", settings: PlannerSettings = PlannerSettings()) -> None:
        self.name = name
        self.settings = settings

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        self._view = view
        self._slot_s = view.slots.slot_s
        self._book = PlanTable(view, self.settings.horizon_h + DAY_H)
        self._nodes = _Nodes([site.spec.node for site in view.sites])
        self._survival = Survival()
        self._new: list[JobState] = []
        self._left: list[JobState] = []
        self._freed: set[int] = set()
        self._share: dict[int, float] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._hour = -1
        self._first_come, self._alone = -1, True

    def waiting(self, job: JobState) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""
        self._new.append(job)
        if self._first_come < 0:
            self._first_come = job.index
        self._alone = self._alone and job.index == self._first_come

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free at a site, by a job's leaving or otherwise."""
        self._freed.add(site)
        if job is not None:
            self._observe(job, job.done_gpu_s)
            self._left.append(job)

    def round(self, view: View) -> Iterator[Action]:
        """One scheduling round."""
        hour = int(view.now_s // self._slot_s)
        self._learn()
        if hour != self._hour:
            self._hour = hour
            yield Wake((hour + 1) * self._slot_s)
            self._plan_all(view)
            yield from self._interrupt(view, hour)
        else:
            for job in sorted(self._new, key=lambda job: job.index):
                if job.phase == "queued":
                    self._plan(job)
            if self._freed:
                self._refill(view, hour)
        self._new.clear()
        self._freed.clear()
        yield from self._start(view, hour)

    # --- what is learned -------------------------------------------------------------------------

    def _observe(self, job: JobState, done_gpu_s: float) -> None:
        share = min(done_gpu_s / (job.ask.estimate_s * job.ask.gpus), 1.0)
        self._survival.passed(job.ask.job_class, self._share.get(job.index, 0.0), share)
        self._share[job.index] = share

    def _learn(self) -> None:
        """Those who have left since the last round have ended, or wait again."""
        for job in self._left:
            if job.phase == "ended":
                self._survival.ended(job.ask.job_class, self._share.pop(job.index))
                self._told.pop(job.index, None)
            if job.phase in ("ended", "moving"):
                self._book.withdraw(job.index)
        self._left.clear()

    # --- who is planned when ---------------------------------------------------------------------

    def _plan_all(self, view: View) -> None:
        """At the turn of an hour: new forecast, and everybody again whom it may concern, large ones first."""
        self._book.begin_hour()
        for job in self._by_size(view):
            if self._is_due(job):
                self._plan(job)

    def _by_size(self, view: View) -> list[JobState]:
        """Everybody whose plan may change, the largest first; what has been done by now is taken note of."""
        for job in view.running.values():
            self._observe(job, job.progress_gpu_s(view.now_s))
        alive = [*view.waiting.values(), *view.running.values()]
        jobs = [(-self._energy_kwh(job), job.index, job) for job in alive if job.phase != "saving"]
        return [job for _, _, job in sorted(jobs)]

    def _is_due(self, job: JobState) -> bool:
        """True when it is time to look at a job's plan again."""
        plan = self._book.plans.get(job.index)
        soon = plan is None or int(plan.hours[0]) <= self._hour + 1
        every = round(self.settings.every_h * HOUR_S / self._slot_s)
        turn = (self._hour - int(job.ask.submit_s // self._slot_s)) % every == 0
        return soon or (turn and not self._is_small(job))

    def _refill(self, view: View, hour: int) -> None:
        """Offer GPUs that have become free to those who would run later at the most cost."""
        found = []
        for job in view.waiting.values():
            plan = self._book.plans.get(job.index)
            if plan is None or plan.hours[0] <= hour or self._is_small(job):
                continue
            if any(site in job.sites and view.sites[site].fits(self._gpus(job)) for site in self._freed):
                found.append((-plan.detail["cost_kwh"], job.index, job))
        for _, _, job in sorted(found)[: self.settings.refill]:
            self._plan(job)

    def _energy_kwh(self, job: JobState) -> float:
        """Roughly what a job still needs, by its estimate."""
        it_w = self._view.sites[job.sites[0]].nodes.draws_w(job.ask.gpus, job.ask.intensity)
        return it_w * job.left_s(self._view.now_s) / HOUR_S / 1e3

    def _is_small(self, job: JobState) -> bool:
        return job.ask.gpus * job.left_s(self._view.now_s) <= self.settings.small_gpu_h * HOUR_S

    # --- plans into actions ----------------------------------------------------------------------

    def _interrupt(self, view: View, hour: int) -> Iterator[Action]:
        now = view.now_s
        for _, job in sorted(view.running.items()):
            plan = self._book.plans.get(job.index)
            if plan is None or job.phase != "running" or not job.ask.interruptible:
                continue
            if now - job.started_s < self.settings.least_stay_s:
                continue
            if plan.hours[0] > hour:
                yield Pause(job, "waits for cheaper hours", {**plan.detail, "until_s": plan.hours[0] * self._slot_s})
            elif plan.sites[0] != job.site:
                yield Move(job, int(plan.sites[0]), "cheaper elsewhere", plan.detail)

    def _start(self, view: View, hour: int) -> Iterator[Action]:
        """Start those whose hour has come, the most urgent first; say of the others until when they wait."""
        due, later = [], []
        for _, job in sorted(view.waiting.items()):
            if job.index not in self._book.plans:
                self._plan(job)
            plan = self._book.plans.get(job.index)
            if plan is None:
                continue
            if plan.hours[0] <= hour:
                due.append((job.ask.latest_start_s, job.index, job))
            else:
                later.append(job)
        for _, _, job in sorted(due):
            plan = self._book.plans[job.index]
            site, gpus = int(plan.sites[0]), plan.gpus
            if not view.fitting(job, [site], gpus):
                if self._being_saved(view, site, gpus):
                    continue
                self._plan(job, fitting=True)
                plan = self._book.plans[job.index]
                site = int(plan.sites[0])
                if plan.hours[0] > hour or not view.fitting(job, [site], gpus):
                    later.append(job)
                    continue
            yield Start(job, site, gpus, reason="cheapest hours", detail=plan.detail)
        for job in later:
            plan = self._book.plans[job.index]
            told = int(plan.hours[0]), int(plan.sites[0])
            if told[0] > hour and self._told.get(job.index) != told and job.phase == "queued":
                self._told[job.index] = told
                yield Hold(job, told[0] * self._slot_s, told[1], "waits for cheaper hours", plan.detail)

    def _being_saved(self, view: View, site: int, gpus: int) -> bool:
        """True if there will be room in a moment, once checkpoints are written."""
        held = sum(job.held for job in view.running_at(site) if job.phase == "saving")
        return held > 0 and view.sites[site].free_gpus + held >= gpus

    # --- the plan of one job ---------------------------------------------------------------------

    def _gpus(self, job: JobState) -> int:
        """GPUs for a job: as asked, or what the largest of its sites has; 0 where none has what it needs at least."""
        ask = job.ask
        most = max((int(self._book.capacity[site]) for site in self._view.sites_for(job)), default=0)
        return min(ask.gpus, most) if most >= (ask.gpus_min or ask.gpus) else 0

    def left_h(self, job: JobState, speed: float) -> float:
        """For how long it must be able to run yet [h]: by its estimate."""
        return job.left_s(self._view.now_s, speed) / HOUR_S

    def chances(self, job: JobState, hours: Floats, speed: float) -> Floats:
        """The chance that a job is still running after so many hours more; with the last its estimate is over."""
        total = job.ask.estimate_s / HOUR_S / speed
        shares = np.minimum(np.maximum(1.0 - (hours[-1] - hours) / total, 0.0), 1.0)
        chance = self._survival.at(job.ask.job_class, shares)
        return np.asarray(chance / chance[0])

    def _need(self, job: JobState, speed: float) -> Need:
        slot_h = self._slot_s / HOUR_S
        hours = max(self.left_h(job, speed), 60.0 / HOUR_S) / slot_h
        whole = max(ceil(hours - 1e-6), 1)
        until = np.arange(whole + 1.0)
        until[-1] = hours
        chance = self.chances(job, until * slot_h, speed)
        lives = chance[1:] / chance[:-1]
        share = 0.5 * (1.0 + lives)
        share[-1] *= min(max(hours - (whole - 1), 0.05), 1.0)
        span = self._book.span
        return Need(hours, lives[:span], share[:span], chance[:-1][:span])

    def _plan(self, job: JobState, fitting: bool = False) -> None:
        """Look for a job's cheapest hours and write them down; with `fitting`, now only where it fits now."""
        view, book, ask = self._view, self._book, job.ask
        stays = job.phase in STAYS
        kept = None if fitting else book.keep_prices(book.plans.get(job.index))
        old = book.withdraw(job.index)
        gpus = job.gpus if stays else self._gpus(job)
        if not gpus:
            return
        bound = stays and (not ask.interruptible or job.phase != "running" or not self.settings.moves)
        sites = [job.site] if bound else home_first(job, view.sites_for(job), view)
        if stays and job.site not in sites:
            sites = [job.site, *sites]
        rows = np.array(sites, dtype=np.int64)
        rows = rows[book.capacity[rows] >= gpus]
        rate = ask.rate(gpus) / ask.gpus
        speed = self._nodes.speed[rows] * rate
        it_w = self._nodes.added_w(rows, gpus, ask.intensity)
        need = self._need(job, float(speed.min()))
        n = need.n
        fixed = stays and (not ask.interruptible or job.phase != "running")
        span = n if fixed else max(self._span(job, need.hours), n)
        power_w = self._beside_others(rows, span, gpus, it_w, stays)
        grid, energy = book.cost_kwh(rows, span, power_w, gpus)
        soon = np.minimum(np.arange(span) * (self._slot_s / HOUR_S) / DAY_H, 1.0)
        per_work = (speed.min() / speed)[:, None]
        scarcity = 0.0 if self._alone else self.settings.scarcity  # nobody else has come who might want the sun
        cost = (grid + scarcity * soon * np.maximum(energy - grid, 0.0)) * per_work
        if fitting:
            away = ~np.isin(rows, view.fitting(job, rows.tolist(), gpus))
            cost[away, 0] += (100.0 if span == n else 3.0) * energy[away, 0]
        here = int(np.flatnonzero(rows == job.site)[0]) if stays else -1
        # A job that is known before it comes begins with its first whole hour.
        begin = min(max(ceil((ask.submit_s - view.now_s) / self._slot_s), 0), span - n)
        stop_kwh = self._stop_kwh(job, rows, gpus, energy.max(axis=1))
        hours, at, total = self._search(job, need, cost[:, begin:], stop_kwh, here)
        # Where nobody else is planned what each choice draws is known exactly.
        if here < 0 and not fitting and not book.plans:
            alone_w = power_w.max(axis=1)
            hours, at = self._alone_at(job, need, rows, alone_w, stop_kwh, span - begin, (hours, at))
        hours = hours + begin
        now_kwh = float((cost[:, :n] @ (need.share * need.chance))[here if stays else slice(None)].min())
        detail = {"cost_kwh": total, "cost_now_kwh": now_kwh, "hours": need.hours * self._slot_s / HOUR_S}
        watts = power_w[at, hours] * need.share * need.chance
        plan = JobPlan(hours + book.first, rows[at], watts, gpus, detail)
        book.enter(job.index, plan)
        if kept is not None and old is not None:
            book.restore(old, plan, kept)

    def _alone_at(
        self,
        job: JobState,
        need: Need,
        rows: Ints,
        it_w: Floats,
        stop_kwh: Floats,
        span: int,
        found: tuple[Ints, Ints],
    ) -> tuple[Ints, Ints]:
        """The hours and rows of a job beside whom nobody is planned, by walking each site's battery for every choice.

        Every run in one piece is tried; one that may stop then has single hours moved for as long as that saves, each
        stop at what it costs. `found` is what `_search` has found, which is where that begins if it is better.
        """
        book, n, weights = self._book, need.n, need.share * need.chance
        base = [float(book.drawn_kwh(int(site), np.zeros((1, book.span)))[0]) for site in rows]

        def costs(row: int, chosen: Ints) -> Floats:
            """Costs of choices of hours, shape (choices, n), at a site."""
            loads = np.zeros((len(chosen), book.span))
            np.put_along_axis(loads, chosen, np.broadcast_to(it_w[row] * weights, chosen.shape), axis=1)
            stops = (np.diff(chosen, axis=1) > 1).sum(axis=1)
            return np.asarray(book.drawn_kwh(int(rows[row]), loads) - base[row] + stops * stop_kwh[row])

        windows = np.arange(span - n + 1)[:, None] + np.arange(n)
        by_row = np.array([costs(row, windows) for row in range(len(rows))])
        start, row = divmod(int(np.argmin(by_row.T)), len(rows))
        best, hours = float(by_row[row, start]), windows[start]
        if not job.ask.interruptible or span == n:
            return hours, np.full(n, row)
        if (found[1] == found[1][0]).all() and (cost := costs(int(found[1][0]), found[0][None])[0]) < best:
            best, hours, row = float(cost), found[0], int(found[1][0])
        for _ in range(MOVES_MOST):
            others = np.setdiff1d(np.arange(span), hours)
            moved = np.repeat(hours[None], n * len(others), axis=0)
            moved[np.arange(len(moved)), np.repeat(np.arange(n), len(others))] = np.tile(others, n)
            moved.sort(axis=1)
            cost = costs(row, moved)
            at = int(np.argmin(cost))
            if cost[at] >= best - 1e-9:
                break
            best, hours = float(cost[at]), moved[at]
        return hours, np.full(n, row)

    def _beside_others(self, rows: Ints, span: int, gpus: int, it_w: Floats, stays: bool) -> Floats:
        """IT power that a job adds at each row in each of the next hours [W].

        One of less than a node shares nodes with others of its kind: it bears the whole of a node's idle power where it
        opens one, and nothing of it where one is open already, by the plans or, now, to be seen.
        """
        size = self._nodes.gpus[rows]
        power_w = np.repeat(it_w[:, None], span, axis=1)
        if gpus >= size.min():
            return power_w
        idle_w = self._nodes.idle_w[rows]
        opened = self._book.opened(rows, span, gpus)
        if not stays:
            opened[:, 0] *= [not has_open_node(self._view.sites[site].nodes, gpus) for site in rows.tolist()]
        return power_w + idle_w[:, None] * (opened - gpus / size[:, None])

    def _stop_kwh(self, job: JobState, rows: Ints, gpus: int, energy: Floats) -> Floats:
        """Cost of a stop at each row [kWh]: writing, restarting, and in part the cycle of the nodes that it empties.

        `energy` is what an hour of the job draws at each row [kWh].
        """
        idle_w = self._nodes.idle_w[rows] * np.maximum(gpus / self._nodes.gpus[rows], 1.0)
        checkpoint = job.ask.checkpoint
        # The hair lets a run in one piece win among equals.
        write_h = (checkpoint.write_s + checkpoint.restart_s) / self._slot_s + 1e-6
        return np.asarray(write_h * energy + self.settings.cycle * idle_w * self._nodes.cycle_s[rows] / KWH_J)

    def _span(self, job: JobState, hours: float) -> int:
        """Hours from the present one on in which the job must be done."""
        now, ask = self._view.now_s, job.ask
        margin = self.settings.margin_s + max(leads_s(job, job.sites, self._view))
        margin = min(margin, max(ask.slack_s, 0.0))
        end_s = min(ask.deadline_s - margin, now + self.settings.horizon_h * HOUR_S + ceil(hours) * self._slot_s)
        return min(floor(end_s / self._slot_s) - self._book.first, self._book.span)

    def _search(self, job: JobState, need: Need, cost: Floats, stop_kwh: Floats, here: int) -> tuple[Ints, Ints, float]:
        """Hours from now on, rows of `cost`, and what they cost [kWh]; `stop_kwh` is what a stop costs at each row."""
        n, span = need.n, cost.shape[1]
        weights = need.share * need.chance
        if span == n and here >= 0:  # no time to stop
            return np.arange(n), np.full(n, here), float(cost[here] @ weights)
        if span == n or not job.ask.interruptible:
            start, row, total = cheapest_window(cost, weights)
            return start + np.arange(n), np.full(n, row), total
        best = np.sort(cost, axis=1)[:, :n].sum(axis=1)
        if here >= 0:
            best[here] = -1.0
        order = np.argsort(best, kind="stable")[: self.settings.sites]
        runs_at = 0 if here >= 0 else -1
        hours, rows, total = cheapest_hours(cost[order], need.share, need.lives, stop_kwh[order], runs_at)
        return hours, order[rows], total
