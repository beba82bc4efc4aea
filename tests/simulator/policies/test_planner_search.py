"""The planner's searches against brute force, and what it learns of durations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tafukt.simulator.policies.lookahead.windows import cheapest_hours, cheapest_window
from tafukt.simulator.policies.planner.learning import Survival


def brute_force(cost: np.ndarray, share: np.ndarray, lives: np.ndarray, switch: np.ndarray, here: int) -> float:
    """The least expected cost over all choices of hours and sites."""
    sites, span = cost.shape
    best = np.inf
    for choice in itertools.product(range(-1, sites), repeat=span):
        if sum(site >= 0 for site in choice) != len(share):
            continue
        total, chance, done, before = 0.0, 1.0, 0, here
        for hour, site in enumerate(choice):
            if site >= 0:
                total += chance * (cost[site, hour] * share[done] + (switch[site] if site != before else 0.0))
                chance *= lives[done]
                done += 1
            before = site
        best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_hours_found_are_the_cheapest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sites, n = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    span = int(rng.integers(n + 1, 7))
    cost, switch = rng.uniform(0, 3, (sites, span)), rng.uniform(0, 1, sites)
    share, lives = rng.uniform(0.3, 1, n), rng.uniform(0.5, 1, n)
    here = int(rng.integers(-1, sites))
    hours, rows, total = cheapest_hours(cost, share, lives, switch, here)
    assert total == pytest.approx(brute_force(cost, share, lives, switch, here))
    assert len(hours) == n
    assert np.all(np.diff(hours) > 0)
    again, chance, before = 0.0, 1.0, (-1 if here < 0 else here, -1)
    for k, (hour, row) in enumerate(zip(hours, rows, strict=True)):
        stayed = before == (row, hour - 1)
        again += chance * (cost[row, hour] * share[k] + (0.0 if stayed else switch[row]))
        chance *= lives[k]
        before = (row, hour)
    assert again == pytest.approx(total)


@pytest.mark.parametrize("seed", range(10))
def test_the_window_found_is_the_cheapest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost, weights = rng.uniform(0, 3, (3, 9)), rng.uniform(0, 1, 4)
    hour, site, total = cheapest_window(cost, weights)
    costs = {(s, h): float(cost[s, h : h + 4] @ weights) for s in range(3) for h in range(6)}
    assert total == pytest.approx(min(costs.values()))
    assert costs[site, hour] == pytest.approx(total)


def test_where_stopping_is_dear_nobody_stops() -> None:
    cost = np.array([[0.0, 1.0, 1.0, 0.0, 0.0]])
    cheap = cheapest_hours(cost, np.ones(2), np.ones(2), np.array([0.1]), 0)
    dear = cheapest_hours(cost, np.ones(2), np.ones(2), np.array([5.0]), 0)
    assert cheap[0].tolist() == [0, 3]
    assert dear[0].tolist() == [0, 1]


def test_durations_are_learned_by_class() -> None:
    survival = Survival(prior=2.0)
    for _ in range(30):
        survival.passed("short", 0.0, 0.5)
        survival.ended("short", 0.5)
    survival.passed("long", 0.0, 1.0)
    shares = np.array([0.0, 0.45, 0.6, 1.0])
    assert survival.at("long", shares).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert survival.at("new", shares).tolist() == [1.0, 1.0, 1.0, 1.0]
    short = survival.at("short", shares)
    assert short[1] == 1.0
    assert short[2] < 0.1
    assert short[3] <= short[2]
