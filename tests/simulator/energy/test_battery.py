"""The battery's closed forms: by hand, against an integrator, and however an interval is cut."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from tafukt.simulator.energy.battery import stepper
from tafukt.simulator.scenario import Battery

KWH = 3.6e6
PLAIN = Battery(100 * KWH, 50e3, 40e3, eta_charge=1.0, eta_discharge=1.0, soc_min=0.1, soc_max=0.9, soc_start=0.1)
LOSSY = replace(PLAIN, eta_charge=0.9, eta_discharge=0.8)
TAPER = replace(LOSSY, taper_soc=0.1)
LEAKY = replace(LOSSY, self_discharge_per_s=1e-5)
ALL = replace(TAPER, self_discharge_per_s=1e-5)
LOW, HIGH = 10 * KWH, 90 * KWH


def run(battery: Battery, stored: float, offer: float, cuts: list[float], kinks: tuple[float, ...] = ()):
    """Energy through the terminals [J], what is stored, and the time of every edge, over cut intervals."""
    advance = stepper(battery, battery.capacity_j)
    energy, now, edges = 0.0, 0.0, []
    for dt in cuts:
        left = dt
        for _ in range(12):
            power, stored, used = advance(stored, offer, left, kinks)
            energy += power * used
            if used == left:
                break
            left -= used
            edges.append(now + dt - left)
        else:
            raise AssertionError("the battery does not come to the end of the interval")
        now += dt
    return energy, stored, edges


def integrated(battery: Battery, stored: float, offer: float, duration: float) -> tuple[float, float]:
    """The same by an integrator that knows nothing of closed forms."""
    low, high = battery.soc_min * battery.capacity_j, battery.soc_max * battery.capacity_j
    band = battery.taper_soc * battery.capacity_j

    def power(s: float) -> float:
        if offer > 0:
            limit = battery.charge_w * min(1.0, max(high - s, 0.0) / band)
            return min(offer, limit)
        limit = battery.discharge_w * min(1.0, max(s - low, 0.0) / band)
        return -min(-offer, limit)

    def slope(_: float, y: np.ndarray) -> list[float]:
        p = power(y[0])
        into = battery.eta_charge * p if p > 0 else p / battery.eta_discharge
        return [into - battery.self_discharge_per_s * y[0], p]

    found = solve_ivp(slope, (0.0, duration), [stored, 0.0], rtol=1e-10, atol=1.0, max_step=duration / 25)
    return float(found.y[1, -1]), float(found.y[0, -1])


# --- by hand -----------------------------------------------------------------------------------------


def test_lossless_battery_stores_what_it_is_given() -> None:
    energy, stored, edges = run(PLAIN, LOW, 20e3, [3600.0])
    assert (energy, stored, edges) == (20 * KWH, LOW + 20 * KWH, [])


def test_lossy_battery_by_hand() -> None:
    energy, stored, _ = run(LOSSY, LOW, 20e3, [3600.0])
    assert energy == 20 * KWH
    assert stored == pytest.approx(LOW + 0.9 * 20 * KWH, rel=1e-14)
    energy, stored, _ = run(LOSSY, 50 * KWH, -20e3, [3600.0])
    assert energy == -20 * KWH
    assert stored == pytest.approx(50 * KWH - 20 * KWH / 0.8, rel=1e-14)


def test_power_limits_hold() -> None:
    assert run(PLAIN, LOW, 1e9, [3600.0])[0] == 50 * KWH
    assert run(PLAIN, HIGH, -1e9, [3600.0])[0] == -40 * KWH


def test_full_and_empty_are_reached_exactly_and_at_the_right_moment() -> None:
    energy, stored, edges = run(LOSSY, LOW, 40e3, [3 * 3600.0])
    assert stored == HIGH
    assert energy == pytest.approx(80 / 0.9 * KWH, rel=1e-14)
    assert edges == pytest.approx([80 / 0.9 / 40 * 3600])
    energy, stored, edges = run(LOSSY, HIGH, -32e3, [3 * 3600.0])
    assert stored == LOW
    assert energy == pytest.approx(-80 * 0.8 * KWH, rel=1e-14)
    assert edges == pytest.approx([80 * 0.8 / 32 * 3600])


def test_self_discharge_halves_in_its_half_life() -> None:
    _, stored, _ = run(LEAKY, 60 * KWH, 0.0, [log(2) / 1e-5])
    assert stored == pytest.approx(30 * KWH, rel=1e-14)


def test_charging_against_self_discharge() -> None:
    # ds/dt = 0.9 * 1000 - 1e-5 s settles at 90 MJ
    _, stored, _ = run(LEAKY, 50 * KWH, 1e3, [1e5])
    assert stored == pytest.approx(9e7 + (50 * KWH - 9e7) * exp(-1), rel=1e-14)


def test_a_full_leaky_battery_takes_just_what_it_leaks() -> None:
    energy, stored, edges = run(LEAKY, HIGH, 40e3, [3600.0])
    assert stored == HIGH
    assert energy == pytest.approx(1e-5 * HIGH / 0.9 * 3600)
    assert edges == []


def test_taper_by_hand() -> None:
    # In the band p = 50 kW (90 - s) / 10 kWh, so 90 - s shrinks by exp(-0.9 * 5 / h * t).
    energy, stored, edges = run(TAPER, 80 * KWH, 1e9, [0.2 * 3600])
    left = 10 * exp(-0.9 * 5 * 0.2)
    assert stored == pytest.approx((90 - left) * KWH, rel=1e-13)
    assert energy == pytest.approx((10 - left) / 0.9 * KWH, rel=1e-13)
    assert edges == []
    energy, stored, _ = run(TAPER, 20 * KWH, -1e9, [0.2 * 3600])
    left = 10 * exp(-4 / 0.8 * 0.2)
    assert stored == pytest.approx((10 + left) * KWH, rel=1e-13)
    assert energy == pytest.approx(-(10 - left) * 0.8 * KWH, rel=1e-13)


def test_taper_begins_where_the_limit_meets_the_offer() -> None:
    # 25 kW meets the limit at 85 kWh, five kWh above 80: 5 / (0.9 * 25) h
    _, _, edges = run(TAPER, 80 * KWH, 25e3, [3600.0])
    assert edges == pytest.approx([5 / (0.9 * 25) * 3600])


def test_a_weak_offer_cannot_hold_a_leaky_battery_in_its_band() -> None:
    leaky = replace(TAPER, self_discharge_per_s=1e-4)
    energy, stored, edges = run(leaky, HIGH, 30e3, [36_000.0])
    assert len(edges) == 1  # out of the band, then 30 kW all along
    assert stored == pytest.approx(0.9 * 30e3 / 1e-4, rel=1e-2)
    again = run(leaky, HIGH, 30e3, [edges[0], 36_000.0 - edges[0]])
    assert again[:2] == pytest.approx((energy, stored), rel=1e-12)


def test_stored_above_the_window_waits_until_it_is_inside() -> None:
    assert run(LOSSY, 95 * KWH, 40e3, [3600.0])[:2] == (0.0, 95 * KWH)
    _, stored, edges = run(LEAKY, 95 * KWH, 40e3, [36_000.0])
    assert edges == pytest.approx([log(95 / 90) / 1e-5])
    assert stored == HIGH


def test_below_the_floor_nothing_comes_out() -> None:
    energy, stored, _ = run(LEAKY, 5 * KWH, -40e3, [3600.0])
    assert energy == 0.0
    assert stored == pytest.approx(5 * KWH * exp(-0.036), rel=1e-14)


@pytest.mark.parametrize("name", ["charge_w", "discharge_w"])
def test_a_side_without_power_stays_idle(name: str) -> None:
    for battery in (PLAIN, TAPER):
        offer = 1e3 if name == "charge_w" else -1e3
        assert run(replace(battery, **{name: 0.0}), 85 * KWH, offer, [3600.0]) == (0.0, 85 * KWH, [])


# --- against an integrator -----------------------------------------------------------------------------


@pytest.mark.parametrize("battery", [TAPER, ALL, replace(ALL, self_discharge_per_s=1e-4)])
@pytest.mark.parametrize("stored", [12, 18, 45, 75, 84, 89.9])
@pytest.mark.parametrize("offer", [60e3, 7e3, -60e3, -5e3])
def test_agrees_with_an_integrator(battery: Battery, stored: float, offer: float) -> None:
    duration = 7200.0
    energy, after, _ = run(battery, stored * KWH, offer, [duration])
    assert (energy, after) == pytest.approx(integrated(battery, stored * KWH, offer, duration), rel=1e-6, abs=500.0)


# --- however it is cut ---------------------------------------------------------------------------------

batteries = st.builds(
    Battery,
    capacity_j=st.just(100 * KWH),
    charge_w=st.sampled_from([10e3, 50e3]),
    discharge_w=st.sampled_from([10e3, 50e3]),
    eta_charge=st.sampled_from([1.0, 0.9]),
    eta_discharge=st.sampled_from([1.0, 0.85]),
    self_discharge_per_s=st.sampled_from([0.0, 5.8e-9, 1e-5, 1e-3]),
    soc_min=st.sampled_from([0.0, 0.1]),
    soc_max=st.sampled_from([0.9, 1.0]),
    taper_soc=st.sampled_from([0.0, 0.05, 0.4]),
)


@given(
    battery=batteries,
    soc=st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.1, 0.15, 0.85, 0.9, 1.0])),
    offer=st.one_of(st.floats(-80e3, 80e3), st.sampled_from([1e-9, -1e-9, 1e3, -1e3])),
    cuts=st.lists(st.one_of(st.floats(0.001, 20_000.0), st.sampled_from([1e-9, 1e-6])), min_size=1, max_size=6),
    kink=st.one_of(st.none(), st.floats(1.0, 50e3)),
)
@settings(max_examples=250, deadline=None)
def test_cutting_changes_nothing(
    battery: Battery, soc: float, offer: float, cuts: list[float], kink: float | None
) -> None:
    stored = soc * battery.capacity_j
    whole = run(battery, stored, offer, [sum(cuts)])
    cut = run(battery, stored, offer, cuts, () if kink is None else (kink,))
    assert cut[0] == pytest.approx(whole[0], rel=1e-9, abs=1e-3)
    assert cut[1] == pytest.approx(whole[1], rel=1e-11, abs=1e-3)


@given(battery=batteries, soc=st.floats(0.0, 1.0), offer=st.floats(-80e3, 80e3), dt=st.floats(1e-6, 1e5))
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out_or_is_lost(battery: Battery, soc: float, offer: float, dt: float) -> None:
    """The balance of one move, its limits, and its direction."""
    advance = stepper(battery, battery.capacity_j)
    stored = soc * battery.capacity_j
    power, after, used = advance(stored, offer, dt, ())
    assert 0.0 <= used <= dt
    assert power * offer >= 0.0
    assert abs(power) <= abs(offer)
    into = battery.eta_charge * power if power > 0 else power / battery.eta_discharge
    leaked = into * used - (after - stored)
    k = battery.self_discharge_per_s * used
    if k < 0.1:  # else the stored energy may turn around within the move
        assert leaked >= k * min(stored, after) - 1e-3
        assert leaked <= k * max(stored, after) + 1e-3
    low, high = battery.soc_min * battery.capacity_j, battery.soc_max * battery.capacity_j
    if power > 0:
        assert after <= high
    if power < 0:
        assert after >= low
    assert used < inf


def test_kinks_put_an_edge_where_the_power_passes_them() -> None:
    _, _, edges = run(TAPER, 80 * KWH, 1e9, [3600.0], kinks=(20e3,))
    # the limit falls from 50 to 20 kW while 90 - s falls from 10 to 4 kWh
    assert edges == pytest.approx([log(10 / 4) / (0.9 * 5) * 3600])
    _, _, edges = run(TAPER, 20 * KWH, -1e9, [3600.0], kinks=(30e3, 10e3))
    assert edges == pytest.approx([log(4 / 3) / 5 * 3600, log(4) / 5 * 3600])
