"""What dust and age leave of a PV array's power, day by day."""

from __future__ import annotations

import numpy as np

from sites.climatology import Place, daily_index
from sites.clock import DAY_S, Ints, months_of, stream, years_of
from sites.equipment import AccumulatingSoiling, ConstantSoiling, PVModel
from sites.profile import Floats
from sites.sky_draws import place_key

LONGEST_MEMORY_DAYS = 400


def soiling_loss(
    model: ConstantSoiling | AccumulatingSoiling,
    days: Ints,
    index: Floats,
    lat: float,
    lon: float,
    seed: int,
    past: Place | None,
) -> Floats:
    """Share of the light that dust takes on each day, shape (n,).

    Dust gathers at a rate; a day of rain (a dark day: `rain_index`) or a cleaning takes all of it off; a
    dust storm adds to it at once. The days before the first are walked too, back to the last cleaning, so that a
    day's loss does not depend on where the run starts.

    Parameters
    ----------
    days : array of int, shape (n,)
        Consecutive days since 1970.
    index : array, shape (n,)
        Their clear-sky index.
    past : Place, optional
        Gives the sky of the days before; without it they are dry.
    """
    if isinstance(model, ConstantSoiling):
        return np.full(len(days), model.loss)
    back = model.cleaning_days or LONGEST_MEMORY_DAYS
    before = np.arange(days[0] - back, days[0])
    earlier = np.ones(back) if past is None else daily_index(past, seed, before)
    walk = np.concatenate([before, days])
    rain = np.concatenate([earlier, index]) < model.rain_index
    added = np.full(len(walk), model.rate_per_day) + _storms(model, walk, lat, lon, seed)
    cleaned = walk % model.cleaning_days == 0 if model.cleaning_days else np.zeros(len(walk), dtype=bool)
    losses, loss = np.empty(len(walk)), 0.0
    for i, (gain, reset) in enumerate(zip(added.tolist(), (rain | cleaned).tolist(), strict=True)):
        loss = 0.0 if reset else min(loss + gain, model.max_loss)
        losses[i] = loss
    return losses[back:]


def _storms(model: AccumulatingSoiling, days: Ints, lat: float, lon: float, seed: int) -> Floats:
    added = np.zeros(len(days))
    for storm in model.storms:
        at = int(storm.date.timestamp() // DAY_S) - int(days[0])
        if 0 <= at < len(days):
            added[at] += storm.loss
    if model.storms_per_year > 0:
        numbers = years_of(days) * 12 + months_of(days) - 1
        of_month = days.astype("datetime64[D]")
        offset = (of_month - of_month.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
        for number in range(int(numbers[0]), int(numbers[-1]) + 1):
            rng = stream(seed, f"dust/{place_key(lat, lon)}/{number // 12}-{number % 12 + 1}")
            struck = rng.random(31) < model.storms_per_year / 365.25
            rows = np.flatnonzero(numbers == number)
            added[rows] += model.storm_loss * struck[offset[rows]]
    return added


def age_factor(pv: PVModel, days: Ints, first_day: int) -> Floats:
    """What age leaves of the power on each day: (1 - d) to the power of the years, shape (n,)."""
    years = pv.age_years + np.maximum(days - first_day, 0) / 365.25
    return np.asarray((1.0 - pv.degradation_per_year) ** years)
