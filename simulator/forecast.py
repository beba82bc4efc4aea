"""What a policy may know of the future: forecasts that know when they were issued."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator.record import Floats
from simulator.scenario import Scenario

HOUR_S = 3600.0
SunForecast = Literal["perfect", "persistence", "climatology", "noisy"]


@dataclass(frozen=True)
class ForecastSettings:
    """Which forecast, and how good it is.

    `error` is the relative standard error of the hourly sun a day ahead; it grows with the square root
    of the lead time and is capped at twice that. `autocorrelation` is that of the error from one hour of
    the target to the next. `horizon_h` is how far it looks, `issue_h` how often it is renewed [h].
    """

    sun: SunForecast = "noisy"
    error: float = 0.1
    autocorrelation: float = 0.8
    horizon_h: int = 72
    issue_h: int = 1


class Forecast:
    """Hourly forecasts of every site, for the hours from the one of issue on.

    All of them are pure functions of the seed, the site, the hour of issue and the target hour: who asks,
    and how often, changes nothing.
    """

    def __init__(self, scenario: Scenario, settings: ForecastSettings, seed: int) -> None:
        self.settings = settings
        self._seed = seed
        self._names = [site.name for site in scenario.sites]
        hours = int(np.ceil(scenario.end_s / HOUR_S))
        edges = np.minimum(np.arange(hours + 1) * HOUR_S, scenario.end_s)
        width = np.diff(edges)
        self.hours = hours
        self._pv = np.array([s.pv.integral(edges[:-1], edges[1:]) / width for s in scenario.sites])
        self._other = np.array([s.other.integral(edges[:-1], edges[1:]) / width for s in scenario.sites])
        self._per_it = 1.0 + np.array([s.overhead.integral(edges[:-1], edges[1:]) / width for s in scenario.sites])
        self._fixed = np.array([site.fixed_w for site in scenario.sites])[:, None]
        self._issued = -1
        self._free: Floats = np.zeros((len(scenario.sites), 0))
        self._load: Floats = self._free

    def issue_hour(self, now_s: float) -> int:
        """The hour at which the forecast that is valid now was issued."""
        step = self.settings.issue_h
        return int(now_s // HOUR_S) // step * step

    def free_w(self, now_s: float) -> tuple[int, Floats]:
        """Sun less all load but IT, from the hour of issue on [W].

        Returns
        -------
        hour : int
            The first hour.
        values : array, shape (sites, hours)
        """
        self._renew(now_s)
        return self._issued, self._free

    def per_it(self, now_s: float) -> Floats:
        """Watts at the meter per watt of IT, expected for the same hours, shape (sites, hours)."""
        self._renew(now_s)
        return self._load

    def _renew(self, now_s: float) -> None:
        hour = self.issue_hour(now_s)
        if hour == self._issued:
            return
        self._issued = hour
        end = min(hour + self.settings.horizon_h, self.hours)
        other, self._load = (self._yesterday(values, hour, end) for values in (self._other, self._per_it))
        self._free = self.sun_w(hour, end) - other - self._fixed

    def sun_w(self, hour: int, end: int) -> Floats:
        """The sun expected at `hour` for the hours up to `end` [W], shape (sites, end - hour)."""
        match self.settings.sun:
            case "perfect":
                return self._pv[:, hour:end]
            case "persistence":
                return self._yesterday(self._pv, hour, end)
            case "climatology":
                return self._mean_day(hour, end)
            case "noisy":
                return self._pv[:, hour:end] * self._noise(hour, end)

    def _yesterday(self, values: Floats, hour: int, end: int) -> Floats:
        """Every hour as the last one of the same time of day that lies in the past; at first, as now."""
        target = np.arange(hour, end)
        past = target - 24 * ((target - hour) // 24 + 1)
        return values[:, np.where(past >= 0, past, min(hour, self.hours - 1))]

    def _mean_day(self, hour: int, end: int) -> Floats:
        """Every hour as the mean of the same time of day over the last thirty days seen so far."""
        target = np.arange(hour, end)
        result = np.empty((len(self._names), len(target)))
        for phase in range(24):
            seen = np.arange(hour - 24 + (phase - hour) % 24, max(hour - 721, -1), -24)
            column = target % 24 == phase
            source = self._pv[:, seen] if len(seen) else self._pv[:, [min(hour, self.hours - 1)]]
            result[:, column] = source.mean(axis=1)[:, None]
        return result

    def _noise(self, hour: int, end: int) -> Floats:
        """Factors around one: an autoregressive error over the target hours, growing with lead time."""
        lead = np.arange(end - hour)
        spread = self.settings.error * np.minimum(np.sqrt((lead + 0.5) / 24.0), 2.0)
        rows = [_correlated(self._draw(name, hour, end - hour), self.settings.autocorrelation) for name in self._names]
        return np.asarray(np.maximum(1.0 + spread * np.array(rows), 0.0))

    def _draw(self, name: str, hour: int, n: int) -> Floats:
        key = hashlib.sha256(f"{self._seed}/forecast/{name}/{hour}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
        return generator.standard_normal(n)


def _correlated(white: Floats, rho: float) -> Floats:
    """A stationary autoregressive series of order one from white noise of unit variance."""
    from scipy.signal import lfilter

    scaled = white * np.sqrt(1.0 - rho * rho)
    if len(scaled):
        scaled[0] = white[0]
    return np.asarray(lfilter([1.0], [1.0, -rho], scaled))
