"""Signals: what an hour of running a job would cost at each site, in the hours to come.

Each is a plain function of the job's IT power and the sites. `carbon` and `price` take all that a job draws
as grid electricity, as the papers do that plan by them; `grid`, `grid-carbon` and `grid-price` first take off
what sun and battery are expected to give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.forecast import DAY_H, HOUR_S
from simulator.policies.signals_supply import Expected
from simulator.policies.when_promises import Promises
from simulator.record import Floats
from simulator.view import View

KWH_J = 3.6e6


@dataclass(frozen=True)
class Asked:
    """What a signal is asked: a job's IT power on each of some sites [W], for `hours` hours from that of issue.

    `run_h` is how long it is expected to run on each [h].
    """

    it_w: Floats
    run_h: Floats
    rows: Sequence[int]
    hours: int
    view: View
    promises: Promises
    expected: Expected


Signal = Callable[[Asked], Floats]
"""Cost per hour of running in each hour, shape (sites, hours), in the unit of the signal."""


def grid(asked: Asked) -> Floats:
    """Grid energy that the job would add, after sun and battery [kWh per h]."""
    return _grid_w(asked) * HOUR_S / KWH_J


def carbon(asked: Asked) -> Floats:
    """Carbon of all that the job would draw, at the grid's expected intensity [kg CO2e per h]."""
    return _all_w(asked) * _ahead(asked, asked.view.forecast.carbon(asked.view.now_s)) * HOUR_S / 1000.0


def price(asked: Asked) -> Floats:
    """Price of all that the job would draw, at the grid's tariff [MAD per h]."""
    return _all_w(asked) * _ahead(asked, asked.view.forecast.price(asked.view.now_s)) * HOUR_S


def grid_carbon(asked: Asked) -> Floats:
    """Carbon of the grid energy that the job would add, after sun and battery [kg CO2e per h]."""
    return _grid_w(asked) * _ahead(asked, asked.view.forecast.carbon(asked.view.now_s)) * HOUR_S / 1000.0


def grid_price(asked: Asked) -> Floats:
    """Price of the grid energy that the job would add, after sun and battery [MAD per h]."""
    return _grid_w(asked) * _ahead(asked, asked.view.forecast.price(asked.view.now_s)) * HOUR_S


SIGNALS: dict[str, Signal] = {
    "grid": grid,
    "carbon": carbon,
    "price": price,
    "grid-carbon": grid_carbon,
    "grid-price": grid_price,
}
UNITS = {
    "grid": "grid_kwh",
    "carbon": "emissions_kg",
    "price": "cost_mad",
    "grid_carbon": "emissions_kg",
    "grid_price": "cost_mad",
}
"""What the sum of each signal over a run is called, by the name of its function."""


def ahead_of(values: Floats, hours: int) -> Floats:
    """A forecast for `hours` hours: beyond its end its last day is taken to come again."""
    known = values.shape[1]
    index = np.arange(hours)
    index = np.where(index < known, index, known - DAY_H + (index - known) % DAY_H)
    return values[:, np.clip(index, 0, known - 1)]


def _ahead(asked: Asked, values: Floats) -> Floats:
    return ahead_of(values[np.asarray(asked.rows)], asked.hours)


def _all_w(asked: Asked) -> Floats:
    """What the job would draw at the meter [W]."""
    return asked.it_w[:, None] * _ahead(asked, asked.view.forecast.per_it(asked.view.now_s))


def _grid_w(asked: Asked) -> Floats:
    """What of it would come from the grid in the end [W]."""
    return asked.expected.grid_w(_all_w(asked), asked.run_h, asked.rows, asked.view, asked.promises)
