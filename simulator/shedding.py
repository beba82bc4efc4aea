"""Who gives way when supply falls short: cap, then pause what can still be saved, then kill, nodes off.

Among jobs the one of least priority goes first, then the one that started last: it has least to lose.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from simulator.clock import TICKS_PER_S
from simulator.life import Life
from simulator.scenario import NodeType
from simulator.walk import Supply

if TYPE_CHECKING:
    from simulator.engine import Engine
    from simulator.shortage import Guard

TICK_S = 1.0 / TICKS_PER_S


def jobs_at(engine: Engine, site: int) -> list[Life]:
    """The jobs that hold GPUs at a site."""
    return [job for job in engine.running.values() if job.site == site]


def dynamic_w(node: NodeType, active: float) -> float:
    """IT power above idle of `active` GPUs times intensity [W]."""
    return active * (node.loaded_w - node.idle_w) / node.gpus


def shed(guard: Guard, site: int) -> None:
    """Give way until what is left can be fed for `hold_min_s`, or nothing is left to give."""
    engine, ledger, now = guard.engine, guard.engine.ledgers[site], guard.clock.now
    outlook = guard.outlooks[site]
    longest_s = max((job.write_s for job in jobs_at(engine, site)), default=0.0)
    until_s = now + max(guard.hold_s, 2.0 * longest_s)

    def short_s(it_w: float) -> float:
        return outlook.falls_short_s(it_w, until_s)

    _cap(guard, site, until_s)
    if short_s(ledger.it_w) == inf:
        return
    switch_off(guard, site)
    for job in sorted(jobs_at(engine, site), key=lambda job: (job.ask.priority, -job.started_s, -job.index)):
        at_s = short_s(ledger.it_w)
        stay = [other for other in jobs_at(engine, site) if other.phase != "saving"]
        saving_s = max((other.until_s for other in jobs_at(engine, site) if other.phase == "saving"), default=now)
        if at_s == inf or (saving_s <= at_s and short_s(_it_w(engine, site, stay)) == inf):
            return
        if job.running and job.ask.interruptible and now + job.write_s <= at_s:
            engine.pause(job, _reason(guard, site), {"short_s": at_s, "write_s": job.write_s})
        elif at_s < now + TICK_S and job.phase != "saving":
            engine.kill(job, _reason(guard, site))
            switch_off(guard, site)
    for job in jobs_at(engine, site):  # what is being saved is the last to go
        if short_s(ledger.it_w) >= now + TICK_S:
            return
        engine.kill(job, _reason(guard, site))
        switch_off(guard, site)


def switch_off(guard: Guard, site: int) -> None:
    """Send the empty nodes of a site to sleep at once."""
    cluster = guard.engine.clusters[site]
    empty = cluster.level[cluster.per_node]
    if not empty or cluster.offline:
        return
    while empty:
        low = empty & -empty
        cluster.sleep(low.bit_length() - 1)
        empty ^= low
    guard.engine.power_changed(site)


def _cap(guard: Guard, site: int, until_s: float) -> None:
    """Cap all running jobs alike: no lower than is enough, and as low as it goes where nothing is."""
    engine, ledger = guard.engine, guard.engine.ledgers[site]
    node, watch = engine.clusters[site].node, guard.watches[site]
    assert watch is not None
    jobs = [job for job in jobs_at(engine, site) if job.running]
    if not node.caps or ledger.supply is Supply.NONE:
        return
    for cap in sorted((share for share, _ in node.caps if share < 1.0), reverse=True):
        spared = sum(max(job.cap - cap, 0.0) * job.ask.intensity * job.gpus for job in jobs)
        enough = guard.outlooks[site].falls_short_s(ledger.it_w - dynamic_w(node, spared), until_s) == inf
        if enough or cap == node.caps[0][0]:
            for job in jobs:
                if job.cap > cap:
                    watch.capped.setdefault(job.index, job.cap)
                    engine.recap(job, cap, _reason(guard, site))
            return


def _it_w(engine: Engine, site: int, jobs: Iterable[Life]) -> float:
    """IT power with these jobs alone, all other nodes off [W]."""
    cluster, active = engine.clusters[site], 0.0
    awake: set[int] = set()
    for job in jobs:
        awake.update(node for node, _ in job.allocation)
        active += job.ask.intensity * job.cap * job.gpus
    off = cluster.count - len(awake) - cluster.down.bit_count()
    return len(awake) * cluster.node.idle_w + off * cluster.node.sleep_w + dynamic_w(cluster.node, active)


def _reason(guard: Guard, site: int) -> str:
    on_grid = guard.engine.ledgers[site].supply is Supply.GRID
    return "shortage: the import limit" if on_grid else "shortage: the grid is out"
