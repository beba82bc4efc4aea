"""Coordination `federated`: institutes schedule alone; the root sends on what they cannot start.

The root decides on how things stood `information_age_s` ago: the free GPUs of every site as they were then,
less what it has sent there since. It looks at a job when the job has not started in the round in which it
came to its institute's queue, and again each time that span has passed; what a policy holds on purpose it
leaves alone.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from simulator.clock import Kind, on_grid
from simulator.life import Life

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

    from simulator.engine import Engine


class Federation:
    """The root's knowledge, and its decisions."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.age_s = engine.scenario.information_age_s
        sites = len(engine.scenario.sites)
        # For each site, when its room changed and to what: (largest gang, free GPUs).
        self._times: list[list[float]] = [[] for _ in range(sites)]
        self._rooms: list[list[tuple[int, int]]] = [[] for _ in range(sites)]
        self._sent: list[tuple[float, int, int]] = []  # (time, site, GPUs), not yet visible in what is known
        self._seen: dict[int, float] = {}  # when the root last looked at a job
        self._review_due = False

    def changed(self, site: int) -> None:
        """The room at a site has changed."""
        engine = self.engine
        cluster, times = engine.clusters[site], self._times[site]
        room = (engine.room[site], 0 if cluster.offline else cluster.free_gpus)
        if times and times[-1] == engine.clock.now:
            self._rooms[site][-1] = room
        elif not times or self._rooms[site][-1] != room:
            times.append(engine.clock.now)
            self._rooms[site].append(room)

    def known(self, site: int) -> tuple[int, int]:
        """The largest gang and the free GPUs at a site, as far as the root knows."""
        at = bisect_right(self._times[site], self.engine.clock.now - self.age_s) - 1
        largest, free = self._rooms[site][max(at, 0)]
        sent = sum(gpus for _, where, gpus in self._sent if where == site)
        return largest - sent, free - sent

    def offload(self) -> None:
        """After a round: send on whoever waits, is not held, and has not been looked at for a while."""
        engine, now = self.engine, self.engine.clock.now
        self._sent = [entry for entry in self._sent if entry[0] > now - self.age_s]
        self._seen = {index: time for index, time in self._seen.items() if index in engine.waiting}
        open_ = [life for life in engine.waiting.values() if life.post >= 0 and life.held_until_s <= now]
        for life in open_:
            if now - self._seen.get(life.index, -self.age_s) >= self.age_s:
                self._seen[life.index] = now
                self._send(life)
        if open_ and self.age_s > 0 and not self._review_due:
            self._review_due = True
            engine.clock.at(on_grid(now + self.age_s), Kind.TIMER, 0, self._review)

    def _review(self, _: SimEvent) -> None:
        self._review_due = False
        self.engine.ask_for_round()

    def _send(self, life: Life) -> None:
        """Where the largest share of GPUs is known to be free, if the job would fit there and may go."""
        engine, ask = self.engine, life.ask
        least = ask.gpus_min or ask.gpus
        best, share = -1, 0.0
        for site in engine.rules.allowed(ask):
            largest, free = self.known(site)
            total = engine.scenario.sites[site].gpus
            if site == life.post or largest < least or free / total <= share:
                continue
            if engine.network.transfer_s(life, site) < float("inf"):
                best, share = site, free / total
        if best < 0:
            return
        life.post = best
        self._sent.append((engine.clock.now, best, least))
        if engine.journal.all:
            detail = {"known_free_share": share, "age_s": self.age_s}
            engine.journal.note(engine.clock.now, "offload", life.index, best, "overflow", detail)
        engine.policy.waiting(life)
        engine.ask_for_round()
