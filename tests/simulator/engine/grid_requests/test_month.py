"""Requests in the Morocco month: most are met, no floor is broken, and frequent short ones cost little time."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import pytest

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.config.toml import find
from tafukt.experiments.results.grid_events import grid_event_metrics
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy

# Some 200 in four weeks over twelve sites, within 30 s.
SHORT = "[{per_year=217.0,hours=0.25,cut=0.3,notice_min=0.0,ramp_down_min=0.5,ramp_up_min=1.0}]"


def month(*changes: str) -> Inputs:
    return build(load_experiment(find("demand_response"), changes), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fifo", "wait-for-sun"])
def test_nineteen_of_twenty_requests_are_met_and_every_floor_is_kept(name: str) -> None:
    inputs = month()
    found = grid_event_metrics(simulate(inputs.scenario, inputs.jobs, policy(name), seed=1, settings=inputs.settings))
    assert found["grid_events"] >= 60
    assert found["grid_events_met"] >= 0.95
    assert found["floors_broken"] == 0


@pytest.mark.slow
def test_two_hundred_short_requests_cost_at_most_half_as_much_time_again() -> None:
    inputs = month(f"sites.all.grid.events={SHORT}")
    sites = tuple(replace(site, grid=replace(site.grid, events=())) for site in inputs.scenario.sites)
    plain = replace(inputs.scenario, sites=sites)
    ratios = []
    for _ in range(5):
        times = []
        for scenario in (plain, inputs.scenario):
            begun = time.process_time()
            record = simulate(scenario, inputs.jobs, policy("fifo"), seed=1, settings=inputs.settings)
            times.append(time.process_time() - begun)
        ratios.append(times[1] / times[0])
    assert len(record.requests) >= 200
    assert median(ratios) <= 1.5
