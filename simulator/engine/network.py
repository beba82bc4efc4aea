"""Transfers between sites: data sets, once per site, and checkpoints, over links that transfers share.

Bandwidth is shared max-min fairly (progressive filling; Bertsekas and Gallager, Data Networks, 1992, section
6.5.2): all transfers grow alike until a link is full, those on it stay, the others go on. Rates change, and
progress is written down, only when a transfer begins or ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from tafukt.simulator.engine.event_queue import Clock, Kind, cancel
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.record import Transfer
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import TICKS_PER_S

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

Line = tuple[int, int]  # from one site to a neighbour: each direction of a link is a line of its own


@dataclass(eq=False, slots=True)
class _Going:
    """A transfer under way."""

    kind: str
    name: str
    job: int
    source: int
    target: int
    size_gb: float
    left_gb: float
    route: tuple[Line, ...]
    start_s: float
    waiting: dict[int, Callable[[JobState], None]]
    rate: float = 0.0


class Network:
    """Links, what is on them, and where data lie. Without links everything is everywhere at once."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        self.scenario = scenario
        self.clock = clock
        self.links = bool(scenario.links)
        self.done: list[Transfer] = []
        self._gb_per_s: dict[Line, float] = {}
        self._near: dict[int, list[int]] = {}
        for link in scenario.links:
            a, b = scenario.site_index(link.a), scenario.site_index(link.b)
            if a < 0 or b < 0 or not link.gb_per_s > 0:
                raise ValueError(f"the link {link.a} to {link.b} at {link.gb_per_s} GB/s joins no two sites")
            for line in ((a, b), (b, a)):
                self._gb_per_s[line] = link.gb_per_s
                self._near.setdefault(line[0], []).append(line[1])
        self._routes: dict[Line, tuple[Line, ...] | None] = {}
        self._going: list[_Going] = []
        self._settled_s = 0.0
        self._next: SimEvent | None = None
        # Which data sets have come to which site, beside those at home there.
        self._copies: set[tuple[str, int]] = set()
        self._lives: dict[int, tuple[JobState, set[int]]] = {}
        self._root = next((i for i, site in enumerate(scenario.sites) if site.is_root), -1)

    # --- what policies may ask -------------------------------------------------------------------

    def transfer_s(self, job: JobState, site: int, saved_at: int = -1) -> float:
        """Travel time of what a job lacks on a site, if it set out now [s]; infinite without a route.

        Each link is taken at an equal share between it and what is on it already. `saved_at` is where the
        job's checkpoint lies; -1 for where it lies now.
        """
        longest = 0.0
        for _, _, source, size in self._missing(job, site, saved_at):
            route = self._route(source, site)
            if route is None:
                return inf
            speeds = [self._gb_per_s[line] / (1 + sum(line in t.route for t in self._going)) for line in route]
            longest = max(longest, size / min(speeds))
        return longest

    # --- what the engine asks --------------------------------------------------------------------

    def fetch(self, job: JobState, site: int, then: Callable[[JobState], None]) -> bool:
        """Bring what this job needs to a site, and call `then(job)` when it is there; whether it takes time."""
        missing = self._missing(job, site) if self.links else None
        if not missing:
            return False
        awaited: set[int] = set()
        self._settle()
        for kind, name, source, size in missing:
            going = self._under_way(kind, name, site)
            if going is None:
                route = self._route(source, site)
                assert route is not None
                going = _Going(kind, name, job.index, source, site, size, size, route, self.clock.now, {})
                self._going.append(going)
            going.waiting[job.index] = then
            awaited.add(id(going))
        self._lives[job.index] = (job, awaited)
        self._share()
        return True

    def abandon(self, job: JobState) -> None:
        """The job no longer waits for anything; a data set goes on to where it was going."""
        if self._lives.pop(job.index, None) is None:
            return
        self._settle()
        for going in self._going:
            going.waiting.pop(job.index, None)
        self._going = [t for t in self._going if t.waiting or t.kind == "data"]
        self._share()

    # --- inside ----------------------------------------------------------------------------------

    def _missing(self, job: JobState, site: int, saved_at: int = -1) -> list[tuple[str, str, int, float]]:
        """(kind, name, source, size [GB]) of what this job lacks on this site."""
        missing = []
        data, checkpoint = job.ask.dataset, job.ask.checkpoint
        home = self.scenario.site_index(data.home)
        source = home if home >= 0 else self._root
        if data.size_gb > 0 and source not in (site, -1) and (data.name, site) not in self._copies:
            missing.append(("data", data.name, source, data.size_gb))
        saved_at = job.saved_at if saved_at < 0 else saved_at
        if checkpoint.size_gb > 0 and saved_at not in (site, -1):
            missing.append(("checkpoint", job.ask.job_id, saved_at, checkpoint.size_gb))
        return missing

    def _under_way(self, kind: str, name: str, site: int) -> _Going | None:
        return next((t for t in self._going if t.kind == kind and t.name == name and t.target == site), None)

    def _route(self, source: int, target: int) -> tuple[Line, ...] | None:
        """The lines of a route with the fewest hops, neighbours tried in order; `None` if there is none."""
        key = (source, target)
        if key not in self._routes:
            came: dict[int, int] = {source: source}
            edge = [source]
            while edge and target not in came:
                edge = [b for a in edge for b in self._near.get(a, ()) if came.setdefault(b, a) == a and b != source]
            route: list[Line] = []
            at = target
            while at in came and at != source:
                route.append((came[at], at))
                at = came[at]
            self._routes[key] = tuple(reversed(route)) if target in came else None
        return self._routes[key]

    def _settle(self) -> None:
        """Write down the progress made since rates last changed."""
        elapsed = self.clock.now - self._settled_s
        self._settled_s = self.clock.now
        for going in self._going:
            going.left_gb -= going.rate * elapsed

    def _share(self) -> None:
        """Max-min fair rates, and an event at the first end."""
        cancel(self._next)
        self._next = None
        room = dict(self._gb_per_s)
        open_ = list(self._going)
        while open_:
            users: dict[Line, int] = {}
            for going in open_:
                for line in going.route:
                    users[line] = users.get(line, 0) + 1
            tightest = min(users, key=lambda line: (room[line] / users[line], line))
            rate = room[tightest] / users[tightest]
            for going in [t for t in open_ if tightest in t.route]:
                going.rate = rate
                open_.remove(going)
                for line in going.route:
                    room[line] = max(room[line] - rate, 0.0)
        if self._going:
            after = min(max(t.left_gb, 0.0) / t.rate for t in self._going)
            # Rounded up, so that whoever is done first is done by then.
            time = ceil((self.clock.now + after) * TICKS_PER_S) / TICKS_PER_S
            self._next = self.clock.at(time, Kind.TRANSFER, 0, self._arrived)

    def _arrived(self, _: SimEvent) -> None:
        self._settle()
        arrived = [t for t in self._going if t.left_gb <= t.rate / TICKS_PER_S]
        self._going = [t for t in self._going if t not in arrived]
        for going in arrived:
            energy_j = going.size_gb * self.scenario.network_j_per_gb
            row = (going.start_s, self.clock.now, going.kind, going.name, going.job, going.source, going.target)
            self.done.append(Transfer(*row, size_gb=going.size_gb, energy_j=energy_j))
            if going.kind == "data":
                self._copies.add((going.name, going.target))
        self._share()
        for going in arrived:
            for index in sorted(going.waiting):
                job, awaited = self._lives[index]
                if going.kind == "checkpoint":
                    job.saved_at = going.target
                awaited.discard(id(going))
                if not awaited:
                    del self._lives[index]
                    going.waiting[index](job)
