"""What the ledger answers when asked, by hand: changes of these lines that the tests of its books do not notice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tafukt.simulator.energy.ledger import SiteLedger, Supply, step_index
from tafukt.simulator.scenario import Battery, Grid, NodeType, PeakShaving, Site, Strategy
from tafukt.sites.profile import StepProfile

HOUR, KWH = 3600.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0)


def profile(*values: float) -> StepProfile:
    return StepProfile(np.array(values, dtype=np.float64), HOUR)


def ledger(strategy: Strategy | None = None, battery: bool = True) -> SiteLedger:
    """Sun of 10, 20 and 0 kW by the hour; 1 kW fixed, 2 kW other load; half a watt of overhead per watt."""
    zero = profile(0.0, 0.0, 0.0)
    cell = Battery(20 * KWH, 8e3, 8e3, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.0, strategy)
    site = Site(
        "s", "r", NODE, 2, profile(10e3, 20e3, 0.0), profile(0.5, 0.5, 0.5), profile(2e3, 2e3, 2e3),
        Grid(zero, zero, zero), cell if battery else None, fixed_w=1e3, islandable=True,
    )  # fmt: skip
    return SiteLedger(site, 3 * HOUR)


def test_surplus_and_load_now() -> None:
    found = ledger()
    assert found.surplus_w(0.0) == pytest.approx(7e3)
    found.set_it(600.0, 6e3)
    assert found.surplus_w(700.0) == pytest.approx(10e3 - 3e3 - 9e3)
    assert found.surplus_w(HOUR) == pytest.approx(20e3 - 3e3 - 9e3), "at an edge, of the step that begins there"
    assert found.load_w(700.0, 4e3) == pytest.approx(4e3 * 1.5 + 3e3)
    assert (found.free_w(700.0), found.per_it(700.0)) == (7e3, 1.5)


def test_what_the_battery_was_offered_in_the_past() -> None:
    found = ledger()
    found.set_it(600.0, 6e3)
    found.set_it(1200.0, 2e3)
    found.advance_to(2 * HOUR)
    assert found.offer_at(300.0) == pytest.approx(7e3)
    assert found.offer_at(600.0) == pytest.approx(7e3 - 9e3), "just after the change"
    assert found.offer_at(900.0) == pytest.approx(7e3 - 9e3)
    assert found.offer_at(1500.0) == pytest.approx(7e3 - 3e3)
    assert found.offer_at(1.5 * HOUR) == pytest.approx(17e3 - 3e3)


def test_a_strategy_steers_the_offer_only_while_there_is_a_grid() -> None:
    found = ledger(PeakShaving(5e3))
    found.set_it(0.0, 12e3)  # 18 kW at the meter against 7 kW of sun: 11 kW missing, 6 more than the peak
    found.set_supply(1000.0, Supply.ISLAND)
    found.set_supply(2000.0, Supply.GRID)
    found.advance_to(HOUR)
    assert found.offer_at(500.0) == pytest.approx(-6e3)
    assert found.offer_at(1000.0) == found.offer_at(1500.0) == pytest.approx(-11e3)
    assert found.offer_at(2000.0) == found.offer_at(2500.0) == pytest.approx(-6e3)


def test_a_battery_that_saw_no_midnight_has_lost_nothing() -> None:
    found = ledger()
    found.advance_to(3 * HOUR)
    assert found.faded_j == (0.0, 0.0)
    assert found.next_midnight_s == math.inf
    site = found.site
    fading = replace(site, battery=replace(site.battery, fade_per_s=1e-6), midnights_s=(HOUR, 2 * HOUR))  # type: ignore[arg-type]
    aged = SiteLedger(fading, 3 * HOUR)
    aged.advance_to(HOUR - 1.0)
    assert aged.faded_j == (0.0, 0.0)
    assert aged.next_midnight_s == HOUR
    aged.advance_to(HOUR)
    first = aged.faded_j[1]
    assert aged.faded_j[0] == 0.0
    assert first > 0.0
    assert aged.next_midnight_s == 2 * HOUR
    aged.advance_to(3 * HOUR)
    assert aged.faded_j[1] > first
    assert aged.next_midnight_s == math.inf
    assert aged.capacities_at(np.array([0.5, 1.5, 2.5]) * HOUR) == pytest.approx(
        [20 * KWH, 20 * KWH - first, 20 * KWH - aged.faded_j[1]]
    )


def test_how_long_a_battery_carries_a_load() -> None:
    assert ledger(battery=False).holds_s(1.0, 600.0) == 0.0
    found = ledger()  # 10 kWh at up to 8 kW
    assert found.holds_s(5e3, 3 * HOUR) == pytest.approx(2 * HOUR)
    assert found.holds_s(5e3, 600.0) == 600.0
    assert found.holds_s(9e3, 600.0) == 0.0


def test_less_than_a_watt_charges_like_any_other() -> None:
    zero, cell = profile(0.0), Battery(20 * KWH, 8e3, 8e3, 0.9, 0.8, 0.0, 0.0, 1.0, 0.5, 0.0)
    site = Site("s", "r", NODE, 2, profile(0.4), zero, zero, Grid(zero, zero, zero), cell)
    found = SiteLedger(site, HOUR)
    found.advance_to(HOUR)
    assert found.stored_j - 10 * KWH == pytest.approx(0.4 * HOUR * 0.9, abs=1e-6)


@pytest.mark.parametrize("step_s", [0.1, 0.3, 700.0 / 3.0])
def test_an_edge_belongs_to_the_step_that_begins_there_whatever_division_says(step_s: float) -> None:
    edges = np.arange(2000) * step_s
    assert step_index(edges, step_s).tolist() == list(range(2000))
    zero = StepProfile(np.zeros(2000), step_s)
    found = SiteLedger(Site("s", "r", NODE, 2, zero, zero, zero, Grid(zero, zero, zero)), 2000 * step_s)
    assert [found.step_at(edge) for edge in edges.tolist()] == list(range(2000))
