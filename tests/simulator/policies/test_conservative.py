"""Conservative backfilling against a loop without structure: every job's start, whatever ends early, late or breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tafukt.simulator.engine.actions import Start
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.policies import list_scheduler
from tafukt.simulator.policies.conservative import Conservative, Gaps, SiteLine
from tafukt.simulator.policies.easy import ends_s
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.scenario import NodeType

TICK_S = 1.0 / 1024.0
Booking = tuple[int, Any, float, float]  # site, allocation, start and end [s]


def grid_up(time_s: float) -> float:
    return math.ceil(time_s / TICK_S) * TICK_S


class Plain:
    """The same rules with lists of bookings and no timeline: after every end everybody is tried everywhere again."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.promises: dict[int, Any] = {}  # index: key, job, booking
        self.homeless: dict[int, Any] = {}
        self.stale, self.first_end = True, math.inf

    def freed(self) -> None:
        self.stale = True

    def forget(self, index: int) -> None:
        self.homeless.pop(index, None)
        self.stale |= self.promises.pop(index, None) is not None

    def round(self, new: Any, view: Any) -> Iterator[Start]:
        now = view.now_s
        if self.stale or now >= self.first_end:
            self.again(view)
        for key, job in new:
            self.promise(key, job, view)
        for start, key, index in sorted((p[2][2], p[0], i) for i, p in self.promises.items()):
            _, job, booking = self.promises[index]
            if start <= now and booking[0] in view.fitting(job, (booking[0],), job.ask.gpus):
                del self.promises[index]
                self.held.append(booking)
                self.first_end = min(self.first_end, booking[3])
                yield Start(job, booking[0], nodes=booking[1], reason="plain")
            assert key[-1] == index

    def again(self, view: Any) -> None:
        now = view.now_s
        self.stale = False
        self.held: list[Booking] = [
            (life.site, life.allocation, now, max(grid_up(ends_s(life, now)), now + TICK_S))
            for life in view.running.values()
        ]
        self.first_end = min((end for *_, end in self.held), default=math.inf)
        kept, broken = sorted(self.promises.items(), key=lambda item: (item[1][2][2], item[1][0])), []
        self.promises = {}
        for index, (key, job, booking) in kept:
            site, nodes, start, end = booking
            least = self.least(site, start, end, view)
            if start >= now and all(least[node] >= gpus for node, gpus in nodes):
                self.promises[index] = (key, job, booking)
            else:
                broken.append((key, job))
        for index, (key, job, booking) in kept:
            if index in self.promises:
                del self.promises[index]
                self.promise(key, job, view)
                if self.promises[index][2][2] >= booking[2]:
                    self.promises[index] = (key, job, booking)  # it stays where it was
        homeless = sorted(self.homeless.values(), key=lambda entry: entry[0])
        self.homeless.clear()
        for key, job in broken + homeless:
            self.promise(key, job, view)

    def bookings(self, site: int) -> list[Booking]:
        return [b for b in (*self.held, *(p[2] for p in self.promises.values())) if b[0] == site]

    def least(self, site: int, start: float, end: float, view: Any) -> list[int]:
        cluster, booked = view.sites[site].nodes, self.bookings(site)
        least = [cluster.per_node] * cluster.count
        for time in [start] + [b[2] for b in booked if start < b[2] < end]:
            free = [0 if cluster.offline or cluster.down >> n & 1 else cluster.per_node for n in range(cluster.count)]
            for _, nodes, begin, until in booked:
                for node, gpus in nodes if begin <= time < until else ():
                    free[node] -= gpus
            least = [min(pair) for pair in zip(least, free, strict=True)]
        return least

    def promise(self, key: Any, job: Any, view: Any) -> None:
        now, found = view.now_s, {}
        for site in view.sites_for(job):
            duration, cluster = view.duration_s(job, site), view.sites[site].nodes
            for start in sorted({now} | {b[3] for b in self.bookings(site) if b[3] > now}):
                empty = Cluster(kit.AWAKE if cluster.per_node == 8 else SMALL, cluster.count, cluster.remainder)
                for node, free in enumerate(self.least(site, start, start + duration, view)):
                    if free < cluster.per_node:
                        empty.take(((node, cluster.per_node - free),), 0.0)
                nodes = empty.place(job.ask.gpus)
                if nodes is not None:
                    found[site] = (site, nodes, start, grid_up(start + duration))
                    break
        if not found:
            self.homeless[job.index] = (key, job)
            return
        best = min(start for _, _, start, _ in found.values())
        tied = [site for site, booking in found.items() if booking[2] == best]
        chosen = self.place(job, tied, view) if best <= now else ()
        site = chosen[0] if chosen else min(tied, key=lambda i: (view.sites[i].name != job.ask.home, i))
        self.promises[job.index] = (key, job, found[site])


SMALL = NodeType("small", 4, 100.0, 200.0, 10.0)
NAPPER = NodeType("napper", 4, 100.0, 200.0, 10.0, wake_s=30.0, sleep_after_s=60.0)
KINDS: list[dict[str, Any]] = [
    {},
    {"overrun": "extend"},
    {"faults": FaultSettings(node_mtbf_s=1500.0, repair_s=400.0), "overrun": "extend"},
    {"remainder": "whole"},
]


def outcomes(seed: int, implementation: Any, jobs: int) -> list[Any]:
    """Sites of one to four nodes of three kinds, jobs of up to the largest site, and what may go wrong by turns."""
    rng, kind = np.random.default_rng(seed), KINDS[seed % len(KINDS)]
    nodes = [(SMALL, NAPPER, kit.AWAKE)[int(rng.integers(3))] for _ in range(int(rng.integers(1, 4)))]
    sites = [kit.site(f"s{i}", int(rng.integers(1, 5)), node) for i, node in enumerate(nodes)]
    work = kit.random_jobs(rng, jobs, max(s.gpus for s in sites), exact=False, span_s=int(rng.choice([300, 3000])))
    low = 0.5 if "overrun" in kind else 1.0
    for i, job in enumerate(work):
        estimate = float(math.ceil(job.ask.estimate_s * rng.uniform(low, 1.0))) if low < 1.0 else job.ask.estimate_s
        work[i] = replace(job, ask=replace(job.ask, home=f"s{i % len(sites)}", estimate_s=estimate))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_scheduler, "Conservative", implementation)
        policy = ListScheduler("conservative", Parts(backfill="conservative"))
        record = kit.run(work, kit.scenario(sites), policy, events="none", **kind)
    return [(o.start_s, o.end_s, o.state, o.kills) for o in record.outcomes] + list(record.occupancy.site)


def test_starts_are_those_of_a_loop_without_any_structure() -> None:
    # Beside the first: where a stale run, a move for nothing or a forgotten gap once made a difference.
    for seed in (*range(20), 32, 46, 94, 149, 400, 449):
        assert outcomes(seed, Conservative, 22) == outcomes(seed, Plain, 22), seed


@pytest.mark.slow
def test_starts_are_those_of_a_loop_on_hundreds_of_workloads() -> None:
    for seed in range(100, 600):
        assert outcomes(seed, Conservative, 12 + seed % 30) == outcomes(seed, Plain, 12 + seed % 30), seed


# --- a round costs what it changes ---------------------------------------------------------------


class Counted(ListScheduler):
    """Counts, for each round, how often anybody's place on any timeline is looked for."""

    looks: dict[float, int]

    def round(self, view: Any) -> Any:
        found, real = 0, SiteLine.earliest

        def earliest(*args: Any) -> Any:
            nonlocal found
            found += 1
            return real(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SiteLine, "earliest", earliest)
            yield from super().round(view)
        self.looks[view.now_s] = self.looks.get(view.now_s, 0) + found


def test_a_newcomer_is_only_inserted_and_an_end_is_looked_at_only_by_those_who_could_use_it() -> None:
    where = kit.scenario(3)
    filler = [kit.job(f"a{i}", 0, 8, 1000, home=f"s{i}", residency="local") for i in range(3)]
    filler[0] = kit.job("a0", 0, 6, 1000, home="s0", residency="local")
    tiny = kit.job("tiny", 0, 2, 400, home="s0", estimate_s=900.0, residency="local")
    big = [kit.job(f"b{i}", 10 + i, 8, 100, home=f"s{i % 3}") for i in range(30)]
    small = [kit.job("small", 100, 1, 700), kit.job("late", 200, 1, 100)]
    counted = Counted("counted", Parts(backfill="conservative"))
    counted.looks = {}
    record = kit.run([*filler, tiny, *big, *small], where, counted)
    begun = kit.starts(record)
    assert counted.looks[10.0] == 3, "one look at each site"
    assert counted.looks[200.0] == 3, "with thirty waiting as with none"
    # tiny's two GPUs come back 500 s early: eight GPUs fit nowhere, and of the small ones `late` alone ends in time.
    assert counted.looks[400.0] == 1
    assert begun["late"] == 400.0
    assert begun["small"] >= 1000.0


def test_what_a_move_leaves_free_goes_to_the_next() -> None:
    """One GPU, estimates twice the truth: at every end all who wait move up, in their order."""
    jobs = [kit.job(f"j{i}", i, 8, 100, estimate_s=200.0) for i in range(6)]
    assert list(kit.starts(kit.run(jobs, policy=kit.fifo(backfill="conservative"))).values()) == [
        100.0 * i for i in range(6)
    ]


# --- timelines -----------------------------------------------------------------------------------

BOOKINGS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 30), st.integers(1, 12)), max_size=25
)


def filled(bookings: list[tuple[int, int, int, int]]) -> tuple[SiteLine, Any, list[tuple[int, int, int, int]]]:
    """A site of three nodes of four GPUs, the same as free GPUs second by second, and the bookings that fitted."""
    line, free, taken = SiteLine(Cluster(SMALL, 3), 0.0), np.full((3, 200), 4), []
    for node, gpus, start, length in bookings:
        fits = bool((free[node, start : start + length] >= gpus).all())
        assert line.is_free(((node, gpus),), float(start), float(start + length)) == fits
        if fits:
            line.book(((node, gpus),), float(start), float(start + length))
            free[node, start : start + length] -= gpus
            taken.append((node, gpus, start, length))
    return line, free, taken


@settings(max_examples=150, deadline=None)
@given(BOOKINGS, st.integers(1, 12), st.integers(1, 15), st.integers(0, 20), st.integers(0, 45))
def test_earliest_place_on_a_timeline_against_every_second(
    bookings: list[Any], gpus: int, length: int, from_s: int, latest_s: int
) -> None:
    line, free, taken = filled(bookings)
    expected: tuple[float, Any] = (math.inf, ())
    for start in range(from_s, latest_s + 1):
        cluster = Cluster(SMALL, 3)
        for node, least in enumerate(free[:, start : start + length].min(axis=1)):
            if least < 4:
                cluster.take(((node, 4 - int(least)),), 0.0)
        nodes = cluster.place(gpus)
        if nodes is not None:
            expected = float(start), nodes
            break
    assert line.earliest(gpus, float(length), float(from_s), float(latest_s)) == expected
    for node, held, start, many in taken:
        line.book(((node, held),), float(start), float(start + many), 1)
    assert all(node.times == [0.0] and node.free == [4] for node in line.nodes), "no step outlives its reason"


@settings(max_examples=300, deadline=None)
@given(
    BOOKINGS, st.lists(st.one_of(st.integers(0, 24), BOOKINGS.filter(bool)), max_size=12), st.data(), st.integers(1, 15)
)
def test_gaps_miss_nobody_who_could_start_earlier(
    bookings: list[Any], steps: list[Any], data: Any, length: int
) -> None:
    """Whoever had the earliest start, and has an earlier one now, is told of a time not after that one."""
    line, free, taken = filled(bookings)
    gaps = Gaps([line])
    waiting = []
    for gpus in data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)):
        promised, nodes = line.earliest(gpus, float(length), 0.0)
        waiting.append((gpus, promised, nodes))
        line.book(nodes, promised, promised + length)
        for node, held in nodes:
            free[node, int(promised) : int(promised) + length] -= held
    for step in steps:
        if isinstance(step, int):  # the end of one of those who were there
            if step >= len(taken):
                continue
            node, held, start, many = taken.pop(step)
            change, sign = gaps.add, 1
        else:  # somebody else takes what is free, where it is
            node, held, start, many = step[0]
            if (free[node, start : start + many] < held).any():
                continue
            change, sign = gaps.taken, -1
        line.book(((node, held),), float(start), float(start + many), sign)
        free[node, start : start + many] += sign * held
        change(0, ((node, held),), float(start), float(start + many))
        for gpus, promised, nodes in waiting:
            hints = gaps.worth_a_look(gpus, {0: float(length)}, 0, nodes, promised)
            line.book(nodes, promised, promised + length, 1)
            best, _ = line.earliest(gpus, float(length), 0.0)
            line.book(nodes, promised, promised + length)
            assert best == promised or (hints and hints[0][0] <= best)
            assert gpus > 4 or not hints or hints[0][0] == best < promised, "one node: told only if it is so"
