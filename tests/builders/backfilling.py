"""Backfilling as published (Mu'alem and Feitelson 2001, 10.1109/71.932708), on one pool of processors that are alike.

Written from the paper, as a loop without structure, for Tafukt's own to be held against.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import builders.jobs as kit
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import NodeType


@dataclass
class Row:
    """A job of a log: submission [s], processors, runtime and estimate [s]."""

    submit: float
    procs: int
    runtime: float
    estimate: float
    start: float = -1.0


Round = Callable[[list[Row], list[Row], float, int], list[Row]]


def replayed(rows: Sequence[Row], size: int, schedule: Round) -> list[float]:
    """The start of every job: at each arrival and each end, `schedule` says who of the queue starts."""
    rows = [Row(r.submit, r.procs, r.runtime, r.estimate) for r in rows]
    todo, queue, running = list(rows)[::-1], list[Row](), list[Row]()
    while todo or queue:
        now = min([r.start + r.runtime for r in running] + [r.submit for r in todo[-1:]])
        running = [r for r in running if r.start + r.runtime > now]
        while todo and todo[-1].submit <= now:
            queue.append(todo.pop())
        for row in schedule(queue, running, now, size):
            row.start = now
            queue.remove(row)
            running.append(row)
    return [row.start for row in rows]


def easy(queue: list[Row], running: list[Row], now: float, size: int) -> list[Row]:
    """EASY: shadow time and extra processors of the head, then whoever ends before the one or takes of the other."""
    begun: list[Row] = []
    free = size - sum(r.procs for r in running)
    waiting = list(queue)
    while waiting and waiting[0].procs <= free:
        begun.append(waiting.pop(0))
        free -= begun[-1].procs
    if not waiting:
        return begun
    head = waiting.pop(0)
    ends = [(r.start + r.estimate, r.procs) for r in running] + [(now + r.estimate, r.procs) for r in begun]
    extra = size
    shadow, room = math.inf, free
    for end, procs in sorted(ends):
        if end > shadow:
            break
        room += procs
        if room >= head.procs:
            shadow, extra = end, room - head.procs
    for row in waiting:
        in_time = now + row.estimate <= shadow
        if row.procs <= free and (in_time or row.procs <= extra):
            begun.append(row)
            free -= row.procs
            extra -= 0 if in_time else row.procs
    return begun


class Profile:
    """Free processors in time: the profile in which conservative backfilling makes its reservations."""

    def __init__(self, size: int, now: float) -> None:
        self.times, self.free = [now], [size]

    def take(self, start: float, end: float, procs: int) -> None:
        for time in (start, end):
            at = int(np.searchsorted(self.times, time))
            if at == len(self.times) or self.times[at] != time:
                self.times.insert(at, time)
                self.free.insert(at, self.free[at - 1])
        for k, time in enumerate(self.times):
            if start <= time < end:
                self.free[k] -= procs

    def first(self, procs: int, span: float) -> float:
        start = self.times[0]
        for k, free in enumerate(self.free):
            if self.times[k] >= start + span:
                break
            if free < procs:
                start = self.times[k + 1]
        return start


class ConservativeProfile:
    """Reservations in order of arrival; when a job ends early they are compressed, each to its earliest place."""

    def __init__(self) -> None:
        self.promised: dict[int, float] = {}

    def __call__(self, queue: list[Row], running: list[Row], now: float, size: int) -> list[Row]:
        promised, line = self.promised, Profile(size, now)
        for row in running:
            line.take(now, row.start + row.estimate, row.procs)
        for row in queue:
            if id(row) in promised:
                line.take(promised[id(row)], promised[id(row)] + row.estimate, row.procs)
        for row in sorted(queue, key=lambda row: promised.get(id(row), math.inf)):
            if id(row) in promised:
                line.take(promised[id(row)], promised[id(row)] + row.estimate, -row.procs)
            promised[id(row)] = start = line.first(row.procs, row.estimate)
            line.take(start, start + row.estimate, row.procs)
        return [row for row in queue if promised[id(row)] <= now]


def swf(path: Path, count: int, first: int = 0, squeeze: float = 1.0, seed: int = 0) -> list[Row]:
    """A piece of a log in the standard workload format; its estimates are runtimes times 1 to 4 where it has none."""
    with gzip.open(path, "rt") as file:
        fields = [line.split() for line in file if not line.startswith(";")]
    rows = [(float(f[1]), int(f[4]), float(f[3])) for f in fields if float(f[3]) > 0 and int(f[4]) > 0]
    rows = sorted(rows, key=lambda row: row[0])[first : first + count]
    factors = np.random.default_rng(seed).integers(1, 5, len(rows)).tolist()
    begin = rows[0][0]
    return [
        Row(float(round((submit - begin) * squeeze)), procs, runtime, runtime * factor)
        for (submit, procs, runtime), factor in zip(rows, factors, strict=True)
    ]


# --- the same jobs under a policy of Tafukt


def pool(procs: int, end_s: float, node_gpus: int) -> Any:
    """So many processors, on nodes of this size; nodes never sleep."""
    node = NodeType("pool", node_gpus, 100.0, 200.0, 10.0)
    return kit.scenario([kit.site("s0", procs // node_gpus, node, end_s)], end_s)


def ours(rows: Sequence[Row], procs: int, name: str, node_gpus: int) -> list[float]:
    jobs = [kit.job(f"{i:06d}", r.submit, r.procs, r.runtime, estimate_s=r.estimate) for i, r in enumerate(rows)]
    end = math.ceil((rows[-1].submit + 3.0 * sum(r.procs * r.runtime for r in rows) / procs) / 86_400 + 9) * 86_400.0
    record = kit.run(jobs, pool(procs, end, node_gpus), policy(name), events="none")
    return [o.start_s for o in record.outcomes]


def figures(rows: Sequence[Row], starts: Sequence[float]) -> tuple[float, float]:
    """Mean wait [s] and mean bounded slowdown, with the usual threshold of 10 s."""
    waits = np.array(starts) - np.array([r.submit for r in rows])
    runtimes = np.array([r.runtime for r in rows])
    slowdowns = np.maximum((waits + runtimes) / np.maximum(runtimes, 10.0), 1.0)
    return float(waits.mean()), float(slowdowns.mean())
