"""Sizing: targets, prices, scaling, and a search whose every point is a simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.experiments import tiny as text

from tafukt.experiments.cli.run import size_command
from tafukt.experiments.config.load import Loaded, load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.experiments.results.metrics import summary
from tafukt.experiments.runs import sizing
from tafukt.experiments.runs import sizing as sizing_results
from tafukt.simulator.engine.engine import simulate

TINY = text(step_min=30)


@pytest.fixture
def tiny(tmp_path: Path) -> Loaded:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return load_experiment(path)


def test_targets_are_read_with_their_direction() -> None:
    share = sizing.parse_target("renewable_fraction = 0.8")
    assert share.met(0.8)
    assert not share.met(0.79)
    assert str(share) == "renewable_fraction >= 0.8"
    draw = sizing.parse_target("draw_kwh=100")
    assert draw.met(99.0)
    assert not draw.met(101.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("renewable_fraction", "METRIC=VALUE"),
        ("renewable_fracton=0.8", "did you mean 'renewable_fraction'"),
        ("grid_cut=0.2", "that can be a target"),
        ("draw_kwh=little", "is not a number"),
        ("draw_kwh=nan", "must be finite"),
        ("renewable_fraction=80", "from 0 to 1"),
    ],
)
def test_bad_targets_are_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        sizing.parse_target(text)


def test_the_price_of_pv_has_a_source() -> None:
    price = sizing.pv_price()
    assert price["mad_per_kwp"] > 0
    assert price["source"]


def test_a_scaled_scenario_is_that_of_scaled_sites(tiny: Loaded) -> None:
    """The array's output and the battery's limits go with the size, as if the sites had been built so."""
    base = build(tiny, 1).scenario
    doubled = sizing.scaled(base, 2.0, 3.0)
    point = sizing.Point(2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0)
    document = sizing_results.sized_document(tiny, point)
    from tafukt.experiments.config.load import check

    rebuilt = build(check(document, "sized", tiny.folder), 1).scenario
    for one, two in zip(doubled.sites, rebuilt.sites, strict=True):
        # supply enters on a grid of 2**-10 W: before it is scaled here, after it there
        assert np.allclose(one.pv.values, two.pv.values, rtol=1e-9, atol=2**-8)
        assert one.battery is not None
        assert two.battery is not None
        assert one.battery.capacity_j == pytest.approx(two.battery.capacity_j)
        assert one.battery.charge_w == pytest.approx(two.battery.charge_w)
    assert sizing.scaled(base, 1.0, 0.0).sites[0].battery is None


def test_the_cheapest_is_found_and_every_point_is_a_run(tiny: Loaded) -> None:
    target = sizing.parse_target("renewable_fraction=0.5")
    found = sizing.search(tiny, target, "fifo")
    best = found.chosen
    assert best is not None
    assert best in found.points
    met = [point for point in found.points if point.jobs_left == 0 and target.met(point.value)]
    assert best.capital_mad == min(point.capital_mad for point in met)
    inputs = build(tiny, 1)
    policy = next(ref for ref in tiny.policies if ref.label == "fifo").load()
    scenario = sizing.scaled(inputs.scenario, best.pv_factor, best.battery_factor)
    record = simulate(scenario, inputs.jobs, policy, seed=1, settings=inputs.settings)
    assert summary(record)["renewable_fraction"] == best.value
    less = [p for p in found.points if p.battery_factor == best.battery_factor and p.pv_factor < best.pv_factor]
    assert all(not target.met(point.value) for point in less)
    finest = best.pv_factor <= sizing.PV_LADDER[0] / 4 * sizing.PV_STEP
    assert finest or max(point.pv_factor for point in less) > best.pv_factor / sizing.PV_STEP / 1.001
    batteries = [point.battery_factor for point in found.front]
    assert batteries == sorted(batteries)
    assert sizing.search(tiny, target, "fifo", workers=2) == found


def test_a_target_out_of_reach_is_said(tiny: Loaded) -> None:
    found = sizing.search(tiny, sizing.Target("draw_kwh", -1.0), "fifo")
    assert found.chosen is None
    assert "the best reached" in sizing_results.sizing_lines(found)[1]


def test_a_target_that_holds_already_costs_nothing(tiny: Loaded) -> None:
    found = sizing.search(tiny, sizing.Target("draw_kwh", 1e9))
    assert found.policy == "solar"
    assert found.chosen is not None
    assert found.chosen.capital_mad == 0
    assert len(found.points) == 1


def test_bad_choices_are_told(tiny: Loaded, tmp_path: Path) -> None:
    target = sizing.parse_target("draw_kwh=10")
    with pytest.raises(InputError, match="did you mean 'solar'"):
        sizing.search(tiny, target, "solr")
    path = tmp_path / "matrix.toml"
    path.write_text(TINY + "\n[matrix]\nworkload.load = [0.2, 0.3]\n")
    with pytest.raises(InputError, match="cannot be sized"):
        sizing.search(load_experiment(path), target)


def test_sites_without_sun_get_some_to_size(tiny: Loaded) -> None:
    bare = {name: site.model_copy(update={"pv": None, "battery": None}) for name, site in tiny.sites.items()}
    found = sizing.search(replace(tiny, sites=bare), sizing.parse_target("renewable_fraction=0.2"), "fifo")
    assert found.chosen is not None
    assert found.chosen.pv_kwp > 0


def test_the_command_writes_points_front_and_experiment(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    code = size_command(str(path), "renewable_fraction=0.4", [], "fifo", 5000.0, tmp_path / "out")
    assert code == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"sizes.csv", "front.png", "sized.toml"}
    sized = load_experiment(tmp_path / "out" / "sized.toml")
    assert sized.experiment.name == "tiny_sized"
    header = (tmp_path / "out" / "sizes.csv").read_text().splitlines()[0]
    assert "renewable_fraction" in header
