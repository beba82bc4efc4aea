"""Backfilling as published (Mu'alem and Feitelson 2001, 10.1109/71.932708), held against the algorithm by itself."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import NodeType

# --- the published algorithms, on one pool of processors that are all alike ----------------------


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


# --- against them --------------------------------------------------------------------------------


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


def random_rows(seed: int, count: int, procs: int, exact: bool) -> list[Row]:
    """Jobs on whole seconds, more than there is room for now and then."""
    rng = np.random.default_rng(seed)
    submits = np.sort(rng.integers(0, 40 * count, count)).astype(float)
    sizes = np.minimum(2 ** rng.integers(0, 5, count) + rng.integers(0, 2, count), procs)
    runtimes = rng.integers(1, 400, count).astype(float)
    factor = np.ones(count) if exact else rng.integers(1, 5, count)
    return [Row(*map(float, v)) for v in zip(submits, sizes, runtimes, runtimes * factor, strict=True)]


def whole(rows: list[Row]) -> list[Row]:
    return [Row(r.submit, int(r.procs), r.runtime, r.estimate) for r in rows]


@pytest.mark.parametrize("node_gpus", [1, 16])
def test_easy_starts_every_job_when_the_published_algorithm_does(node_gpus: int) -> None:
    """On single-GPU nodes, and on one node for all, packing is counting: not one job may differ."""
    waited = 0
    for seed in range(40):
        rows = whole(random_rows(seed, 60, 16, exact=seed % 2 == 0))
        starts = ours(rows, 16, "easy", node_gpus)
        assert starts == replayed(rows, 16, easy), seed
        waited += sum(start > row.submit for start, row in zip(starts, rows, strict=True))
    assert waited > 400


@pytest.mark.parametrize("node_gpus", [1, 16])
def test_conservative_waits_as_the_published_algorithm_lets_it(node_gpus: int) -> None:
    mine, theirs = np.zeros(2), np.zeros(2)
    for seed in range(12):
        rows = whole(random_rows(seed, 60, 16, exact=seed % 2 == 0))
        expected = replayed(rows, 16, ConservativeProfile())
        mine += figures(rows, ours(rows, 16, "conservative", node_gpus))
        theirs += figures(rows, expected)
    assert mine == pytest.approx(theirs, rel=0.03)


@pytest.mark.parametrize("name", ["easy", "easy-sjbf"])
def test_beside_the_head_whatever_is_free_at_its_time_can_be_used(name: str) -> None:
    # Two GPUs free again at 10 s, two more at 100 s; the head takes three of the four, the fourth is anybody's.
    nodes = [kit.job("Z", 0, 2, 10), kit.job("A", 1, 2, 99), kit.job("H", 11, 3, 50), kit.job("B", 12, 1, 1000)]
    single = NodeType("single", 1, 0.0, 1000.0, 0.0)
    record = kit.run(nodes, kit.scenario([kit.site(nodes=4, node=single)]), policy(name))
    assert kit.starts(record) == {"Z": 0.0, "A": 1.0, "H": 100.0, "B": 12.0}
    # Six of a node's eight until 100 s; the head takes four of the eight, two more are anybody's.
    parts = [kit.job("A", 0, 6, 100), kit.job("H", 11, 4, 50), kit.job("B", 12, 2, 1000)]
    assert kit.starts(kit.run(parts, policy=policy(name))) == {"A": 0.0, "H": 100.0, "B": 12.0}


def test_a_part_of_a_node_goes_where_the_head_leaves_room() -> None:
    """The fullest node is the one that the head needs, so the later job takes the other, and the head is on time."""
    node = NodeType("four", 4, 0.0, 1000.0, 0.0)
    jobs = [
        kit.job("a", 0, 3, 100), kit.job("b", 0, 2, 5000), kit.job("head", 1, 4, 50), kit.job("late", 2, 1, 900),
    ]  # fmt: skip
    begun = kit.starts(kit.run(jobs, kit.scenario([kit.site(nodes=2, node=node)]), policy("easy")))
    assert begun == {"a": 0.0, "b": 0.0, "late": 2.0, "head": 100.0}


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


def held_against_the_log(rows: list[Row], node_gpus: int) -> None:
    wait, slowdown = figures(rows, ours(rows, 128, "easy", node_gpus))
    expected_wait, expected_slowdown = figures(rows, replayed(rows, 128, easy))
    assert expected_wait > 300.0, "a queue worth the name"
    assert wait == pytest.approx(expected_wait, rel=0.001)
    assert slowdown == pytest.approx(expected_slowdown, rel=0.01)


@pytest.mark.parametrize("node_gpus", [1, 128])
def test_easy_on_a_piece_of_a_published_log(shared_data: Path, node_gpus: int) -> None:
    held_against_the_log(
        swf(shared_data / "traces" / "nasa_ipsc_1993.swf.gz", 1500, first=9000, squeeze=0.5), node_gpus
    )


@pytest.mark.slow
@pytest.mark.parametrize("node_gpus", [1, 128])
def test_easy_on_a_whole_published_log(shared_data: Path, node_gpus: int) -> None:
    held_against_the_log(swf(shared_data / "traces" / "nasa_ipsc_1993.swf.gz", 20_000, squeeze=0.6), node_gpus)


@pytest.mark.parametrize("node_gpus", [1, 128])
def test_conservative_on_a_piece_of_a_published_log(shared_data: Path, node_gpus: int) -> None:
    rows = swf(shared_data / "traces" / "nasa_ipsc_1993.swf.gz", 600, first=9000, squeeze=0.45)
    wait, _ = figures(rows, ours(rows, 128, "conservative", node_gpus))
    expected, _ = figures(rows, replayed(rows, 128, ConservativeProfile()))
    assert expected > 60.0
    assert wait == pytest.approx(expected, rel=0.03)
