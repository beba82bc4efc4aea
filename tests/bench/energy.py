"""How fast the energy half is: twelve site-years of sun, battery and grid against as many bare timeouts.

The unit is the processor time of 1.26 million bare SimPy timeouts from twelve processes in the same
process, which is what twelve years of five-minute steps would cost if every step were an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bench.jobs import Row, in_units
from tafukt.simulator.energy.balance import residual
from tafukt.simulator.energy.flows import settle_flows
from tafukt.simulator.energy.ledger import SiteLedger
from tafukt.simulator.scenario import Battery, Grid, NodeType, Site, Tariff
from tafukt.sites.profile import StepProfile

SITES, DAYS, STEP_S, DAY_S = 12, 365, 300.0, 86_400.0
KWH_J = 3.6e6
# The bare timeouts of `in_units` are a million.
STEPS_U = SITES * DAYS * DAY_S / STEP_S / 1e6
BATTERY = Battery(
    100 * KWH_J, 50e3, 50e3, 0.922, 0.922, self_discharge_per_s=5.8e-9, taper_soc=0.05, fade_per_cycle=3.33e-5
)


def site(index: int, battery: Battery) -> Site:
    """A site of ten nodes with clouds of its own, a price by the hour, and a battery that tapers, leaks and fades."""
    rng = np.random.default_rng(index)
    n = round(DAYS * DAY_S / STEP_S)
    hour = (np.arange(n) + 0.5) * STEP_S / 3600.0
    sky = np.repeat(rng.uniform(0.3, 1.0, DAYS), n // DAYS) * rng.uniform(0.8, 1.0, n)
    sun = 96e3 * np.maximum(np.sin((hour / 24 - 0.25) * 2 * np.pi), 0.0) * sky

    def profile(values: np.ndarray[tuple[int], np.dtype[np.float64]] | float) -> StepProfile:
        return StepProfile(np.broadcast_to(values, n).astype(np.float64), STEP_S)

    price = np.where(hour % 24 < 7, 0.7, np.where((hour % 24 > 17) & (hour % 24 < 22), 1.4, 1.0)) / KWH_J
    return Site(
        name=f"s{index}",
        region=f"r{index}",
        node=NodeType("a100", 8, 1510.0, 5040.0, 150.0),
        nodes=10,
        pv=profile(sun),
        overhead=profile(0.12 + 0.05 * np.sin(hour / 24 * 2 * np.pi)),
        other=profile(np.where(np.abs(hour % 24 - 13) < 5, 10e3, 2e3)),
        grid=Grid(profile(price), profile(600.0 / KWH_J), profile(0.2 / KWH_J), export_limit_w=50e3),
        battery=battery,
        midnights_s=tuple(day * DAY_S for day in range(DAYS)),
    )


def year(sites: list[Site]) -> None:
    """BatteryMotion, settle and check a year of every site under a constant IT load; offices make the rest."""
    for place in sites:
        ledger = SiteLedger(place, DAYS * DAY_S)
        ledger.set_it(0.0, 20e3)
        energy = settle_flows(ledger)
        residual(ledger, energy, energy.total_j(energy.it_w))


def rows(repeats: int = 5) -> list[Row]:
    """The ratio for self-consumption, which has to stay under one, and for a tariff that charges from the grid."""
    found = []
    for name, battery in (("self-consumption", BATTERY), ("tariff", replace(BATTERY, strategy=Tariff()))):
        sites = [site(index, battery) for index in range(SITES)]
        work: Callable[[], None] = lambda sites=sites: year(sites)  # type: ignore[misc]  # noqa: E731
        ratio, (low, high) = in_units(work, repeats)
        limit = 1.0 if name == "self-consumption" else 1.5
        note = f"1.26 M timeouts: {low * STEPS_U:.2f} to {high * STEPS_U:.2f} s"
        found.append(Row(f"12 site-years, {name}", ratio / STEPS_U, "timeouts", limit, note))
    return found


if __name__ == "__main__":
    for row in rows():
        print(f"{row.name}: {row.value:.2f} (limit {row.limit}) {row.note}")
