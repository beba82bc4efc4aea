"""Nodes and queues against models that are too simple to be wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.policies.queue import ReadyQueue, SortedJobs
from tafukt.simulator.scenario import NodeType

AWAKE = NodeType("awake", 8, 1000.0, 5000.0, 100.0)
SLEEPY = NodeType("sleepy", 8, 1000.0, 5000.0, 100.0, wake_s=180.0, sleep_after_s=600.0)


def brute_fits(cluster: Cluster, gpus: int) -> bool:
    """A gang of a node or less in one node; a larger one on whole nodes and at most one part."""
    n = cluster.per_node
    if gpus <= n:
        return any(free >= gpus for free in cluster.free)
    whole, rest = divmod(gpus, n)
    if rest and cluster.remainder == "whole":
        whole, rest = whole + 1, 0
    empty = sum(free == n for free in cluster.free)
    if empty < whole:
        return False
    return not rest or empty > whole or any(rest <= free < n for free in cluster.free)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([AWAKE, SLEEPY]),
    st.integers(1, 5),
    st.sampled_from(["share", "whole"]),
    st.lists(st.one_of(st.integers(1, 40), st.integers(-9, -1), st.just(0)), max_size=40),
)
def test_nodes_hold_no_gpu_twice(node: NodeType, count: int, remainder: Any, steps: list[int]) -> None:
    """Starts (a size), ends (minus the position of a running gang) and failures or repairs (0) in any order."""
    cluster = Cluster(node, count, remainder)
    running: list[Any] = []
    for now, step in enumerate(steps):
        if step > 0:
            place = cluster.place(step)
            assert (place is not None) == brute_fits(cluster, step)
            if place is not None:
                assert sum(held for _, held in place) == cluster.held_for(step)
                cluster.take(place, float(now))
                running.append(place)
        elif step < 0 and running:
            cluster.release(running.pop(step % len(running)))
        elif step == 0:
            empty = next((k for k in range(count) if cluster.free[k] == 8), -1)
            if cluster.down:
                cluster.repair(cluster.down.bit_length() - 1)
            elif empty >= 0:
                cluster.fail(empty)
        held = [0] * count
        for place in running:
            for k, gpus in place:
                held[k] += gpus
        free = [0 if cluster.down >> k & 1 else 8 - held[k] for k in range(count)]
        assert cluster.free == free
        assert cluster.free_gpus == sum(free)
        assert cluster.busy_gpus == sum(held)
        largest = max((g for g in range(1, 8 * count + 1) if brute_fits(cluster, g)), default=0)
        assert cluster.largest() == largest


def test_small_gang_goes_to_the_fullest_node_that_takes_it() -> None:
    cluster = Cluster(AWAKE, 3)
    cluster.take(((1, 5),), 0.0)
    cluster.take(((2, 2),), 0.0)
    assert cluster.place(3) == ((1, 3),)
    assert cluster.place(4) == ((2, 4),)
    assert cluster.place(8) == ((0, 8),)
    assert cluster.place(14) == ((0, 8), (2, 6))
    assert cluster.place(15) is None


def test_large_gang_takes_whole_nodes_and_one_part() -> None:
    cluster = Cluster(AWAKE, 4)
    cluster.take(((3, 5),), 0.0)
    assert cluster.place(18) == ((0, 8), (1, 8), (3, 2))
    assert cluster.place(20) == ((0, 8), (1, 8), (2, 4))
    assert Cluster(AWAKE, 4, "whole").held_for(18) == 24


def test_nodes_awake_go_before_nodes_asleep() -> None:
    cluster = Cluster(SLEEPY, 3)
    assert cluster.take(((2, 1),), 100.0) == 280.0
    assert cluster.place(4) == ((2, 4),)
    assert cluster.take(((2, 4),), 150.0) == 280.0, "a second job waits for the node that is waking already"
    assert cluster.place(4) == ((0, 4),)


def test_planned_nodes_are_taken_as_asked_or_not_at_all() -> None:
    cluster = Cluster(AWAKE, 3)
    assert cluster.as_asked(((2, 8), (0, 3)), 11) == ((2, 8), (0, 3))
    assert cluster.as_asked(((2, 8), (0, 3)), 12) is None
    assert cluster.as_asked(((2, 4), (0, 4)), 8) is None, "a gang of a node goes into one node"
    cluster.take(((0, 6),), 0.0)
    assert cluster.as_asked(((2, 8), (0, 3)), 11) is None


def life(index: int, estimate_s: float) -> Any:
    return SimpleNamespace(index=index, ask=SimpleNamespace(estimate_s=estimate_s))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30), st.booleans()), max_size=120), st.integers(1, 30))
def test_sorted_jobs_against_a_sorted_list(steps: list[tuple[int, int, bool]], limit: int) -> None:
    import tafukt.simulator.policies.queue as queue

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "_BLOCK", 4)  # many blocks from few jobs
        jobs, model = SortedJobs(), []
        for index, (rank, estimate, add) in enumerate(steps):
            if add or not model:
                jobs.add((rank, index), life(index, float(estimate)))
                model.append(((rank, index), float(estimate)))
                model.sort()
            else:
                key = model.pop(rank % len(model))[0]
                jobs.remove(key)
            assert [key for key, _ in jobs] == [key for key, _ in model]
            assert len(jobs) == len(model)
            assert bool(jobs) == bool(model)
            for after in (None, *(key for key, _ in model[:3])):
                expected = next((k for k, e in model if e <= limit and (after is None or k > after)), None)
                found = jobs.first_within(float(limit), after)
                assert (found[0] if found else None) == expected


def test_ready_queue_keeps_groups_apart_and_forgets_empty_ones() -> None:
    ready = ReadyQueue()
    for index, group in enumerate([(1, (0,), ""), (8, (0,), ""), (1, (0,), "")]):
        ready.add((index,), life(index, 10.0), group)
    assert [key for key, _ in ready.in_order()] == [(0,), (1,), (2,)]
    assert ready.remove(1) == (8, (0,), "")
    assert set(ready.groups) == {(1, (0,), "")}
    assert len(ready) == 2
    assert 1 not in ready
