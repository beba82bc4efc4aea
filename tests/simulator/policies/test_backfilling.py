"""Backfilling as published (Mu'alem and Feitelson 2001, 10.1109/71.932708), held against the algorithm by itself."""

from __future__ import annotations

from pathlib import Path

import builders.jobs as kit
import numpy as np
import pytest
from builders.backfilling import ConservativeProfile, Row, easy, figures, ours, replayed, swf

from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import NodeType


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
def test_conservative_starts_every_job_when_the_published_algorithm_does(node_gpus: int) -> None:
    waited = 0
    for seed in range(20):
        rows = whole(random_rows(seed, 60, 16, exact=seed % 2 == 0))
        starts = ours(rows, 16, "conservative", node_gpus)
        assert starts == replayed(rows, 16, ConservativeProfile()), seed
        waited += sum(start > row.submit for start, row in zip(starts, rows, strict=True))
    assert waited > 200


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
    starts = replayed(rows, 128, ConservativeProfile())
    assert figures(rows, starts)[0] > 60.0, "a queue worth the name"
    assert ours(rows, 128, "conservative", node_gpus) == starts
