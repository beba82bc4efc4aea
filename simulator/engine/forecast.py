"""Forecasts, which are all that a policy knows of the future, and which know when they were issued.

A forecast issued at the beginning of an hour rests on the hours before it, on what is measured at that very
moment, and, for the kinds `perfect`, `noisy` and `white` alone, on the truth: there the truth is what the forecast is
by definition, or what the error is put on. Persistence and climatology never read what came after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tafukt.simulator.random_streams import stream
from tafukt.simulator.scenario import Scenario, Site
from tafukt.simulator.units import DAY_H, HOUR_S, Floats
from tafukt.sites.profile import StepProfile

SEEN_DAYS = 30  # how far back climatology looks
ForecastKind = Literal["perfect", "persistence", "climatology", "noisy", "white"]
Quantity = Literal["sun", "load", "overhead", "carbon", "price"]


@dataclass(frozen=True)
class ForecastSettings:
    """Kinds of the forecasts, and how good they are.

    `sun`, `load`, `carbon` and `price` each have a kind; `load` is what a site draws beside its jobs, and its
    overhead. A tariff is published, so prices are known unless an experiment says otherwise.

    `error` is the relative standard error of an hourly value a day ahead, of every noisy forecast; it grows
    with the square root of the lead time and is capped at twice that. `autocorrelation` is that of the error
    from one hour of the target to the next. A white forecast has an error of its own in every slot, independent of
    all others and the same whenever it is issued, of standard deviation `error` times the mean of what is forecast
    (as Wiesner et al. 2021, 10.1145/3464298.3493399, put it on carbon intensity); where there is nothing, as at night,
    nothing is forecast, and never less than nothing. `horizon_h` is how far forecasts look, `issue_h` how often they
    are renewed [h].

    `slot_s` is the length of the slots in which policies that plan ahead do so [s], an hour or a whole part of one.
    `class_mean_s` is how long the jobs of a class run on the mean, by name, where that is known beforehand [s].
    """

    sun: ForecastKind = "noisy"
    error: float = 0.1
    autocorrelation: float = 0.8
    horizon_h: int = 72
    issue_h: int = 1
    slot_s: float = HOUR_S
    load: ForecastKind = "persistence"
    carbon: ForecastKind = "noisy"
    price: ForecastKind = "perfect"
    class_mean_s: tuple[tuple[str, float], ...] = ()


class Forecast:
    """Forecasts of every site, hourly or in slots of another length, from the hour of issue on.

    What is called an hour below is a slot where slots are shorter. All of them are pure functions of the seed, the
    site, the hour of issue and the target hour: who asks, and how often, changes nothing. Sites of one country share
    the error of carbon and of price, because they share its grid.
    """

    def __init__(self, scenario: Scenario, settings: ForecastSettings, seed: int, slot_s: float = HOUR_S) -> None:
        self.settings = settings
        self.slot_s = slot_s
        self.day = round(DAY_H * HOUR_S / slot_s)  # slots of a day
        self._scenario = scenario
        self._issue = round(HOUR_S / slot_s)  # slots of an hour: errors are drawn for every hour of issue
        self._horizon = round(settings.horizon_h * HOUR_S / slot_s)
        self._step = round(settings.issue_h * HOUR_S / slot_s)  # slots from one issue to the next
        self.hours = int(np.ceil(scenario.end_s / slot_s))
        self._seed = seed
        self._sites = scenario.sites
        self._edges = np.minimum(np.arange(self.hours + 1) * slot_s, scenario.end_s)
        self._truths: dict[Quantity, Floats] = {}
        self._whites: dict[Quantity, Floats] = {}
        self._steady: dict[Quantity, bool] = {}
        self._issued = -1
        self._now: dict[Quantity, Floats] = {}
        self._noises: dict[Quantity, tuple[int, Floats]] = {}
        lead_h = (np.arange(self._horizon) + 0.5) * (slot_s / HOUR_S)
        self._spread = settings.error * np.minimum(np.sqrt(lead_h / DAY_H), 2.0)
        self._free: Floats = np.zeros((len(scenario.sites), 0))
        self._fixed = np.array([site.fixed_w for site in scenario.sites])[:, None]

    # --- what policies ask ---------------------------------------------------------------------------

    def in_slots(self) -> Forecast:
        """The same in the slots in which policies that plan ahead do so."""
        settings = self.settings
        if settings.slot_s == self.slot_s:
            return self
        return Forecast(self._scenario, settings, self._seed, settings.slot_s)

    def issue_hour(self, now_s: float) -> int:
        """The hour at which the forecast that is valid now was issued."""
        return int(now_s // self.slot_s) // self._step * self._step

    def issued_s(self, now_s: float) -> float:
        """Time at which the forecast that is valid now was issued [s]."""
        return self.issue_hour(now_s) * self.slot_s

    def free_w(self, now_s: float) -> tuple[int, Floats]:
        """Sun less all load but IT, from the hour of issue on [W].

        Returns
        -------
        hour : int
            The first hour.
        values : array, shape (sites, hours)
        """
        self._renew(now_s)
        if not self._free.shape[1]:
            self._free = self.ahead("sun", now_s) - self.ahead("load", now_s) - self._fixed
            self._free.flags.writeable = False
        return self._issued, self._free

    def per_it(self, now_s: float) -> Floats:
        """Watts at the meter per watt of IT, expected for the same hours, shape (sites, hours)."""
        return self.ahead("overhead", now_s)

    def carbon(self, now_s: float) -> Floats:
        """Carbon intensity of every site's grid, expected for the same hours [g/J], shape (sites, hours)."""
        return self.ahead("carbon", now_s)

    def price(self, now_s: float) -> Floats:
        """Price of grid electricity, expected for the same hours [MAD/J], shape (sites, hours)."""
        return self.ahead("price", now_s)

    def ahead(self, quantity: Quantity, now_s: float) -> Floats:
        """One quantity as the forecast that is valid now has it, from its hour of issue on."""
        self._renew(now_s)
        values = self._now.get(quantity)
        if values is None:
            hour = self._issued
            values = self.issued(quantity, hour, min(hour + self._horizon, self.hours))
            values.flags.writeable = False  # all who ask are handed the same
            self._now[quantity] = values
        return values

    def sun_w(self, hour: int, end: int) -> Floats:
        """The sun expected at `hour` for the hours up to `end` [W], shape (sites, end - hour)."""
        return self.issued("sun", hour, end)

    def issued(self, quantity: Quantity, hour: int, end: int) -> Floats:
        """The forecast issued at the beginning of `hour` for the hours up to `end`, shape (sites, end - hour)."""
        match self.kind(quantity):
            case "perfect":
                return self._truth(quantity)[:, hour:end]
            case "persistence":
                return self._yesterday(quantity, hour, end)
            case "climatology":
                return self._mean_day(quantity, hour, end)
            case "noisy":
                return self._truth(quantity)[:, hour:end] * self._noise(quantity, hour, end)
            case "white":
                return self._white(quantity)[:, hour:end]

    def kind(self, quantity: Quantity) -> ForecastKind:
        """Kind of the forecast of a quantity."""
        settings = self.settings
        match quantity:
            case "sun":
                return settings.sun
            case "carbon":
                return settings.carbon
            case "price":
                return settings.price
            case _:
                return settings.load

    # --- how each comes about ------------------------------------------------------------------------

    def _renew(self, now_s: float) -> None:
        hour = self.issue_hour(now_s)
        if hour != self._issued:
            self._issued = hour
            self._now.clear()
            self._free = self._free[:, :0]

    def _truth(self, quantity: Quantity) -> Floats:
        """Hourly means as they will be, of every site."""
        values = self._truths.get(quantity)
        if values is None:
            begin, end = self._edges[:-1], self._edges[1:]
            values = np.array([_profile(site, quantity).integral(begin, end) / (end - begin) for site in self._sites])
            if quantity == "overhead":
                values += 1.0
            self._truths[quantity] = values
            self._steady[quantity] = bool((values == values[:, :1]).all())
        return values

    def _measured(self, quantity: Quantity, hour: int) -> Floats:
        """Measurement at the beginning of `hour`, shape (sites, 1)."""
        moment = min(hour * self.slot_s, float(self._edges[-2]))
        return np.array([[_profile(site, quantity).at(moment)] for site in self._sites]) + (quantity == "overhead")

    def _yesterday(self, quantity: Quantity, hour: int, end: int) -> Floats:
        """Every hour as the last one of the same time of day; where none has been seen, as measured at issue."""
        truth = self._truth(quantity)
        if self._steady[quantity]:  # most sites' other load and overhead; any hours will do
            return truth[:, hour:end]
        past = hour - self.day + np.arange(end - hour) % self.day
        if hour >= self.day:
            return truth[:, past]
        return np.where(past >= 0, truth[:, np.maximum(past, 0)], self._measured(quantity, hour))

    def _mean_day(self, quantity: Quantity, hour: int, end: int) -> Floats:
        """Every hour as the mean of the same time of day over the last days; where none was seen, as measured."""
        target = np.arange(hour, end)
        values = self._truth(quantity)
        result = np.empty((len(self._sites), len(target)))
        day = self.day
        for phase in range(day):
            seen = np.arange(hour - day + (phase - hour) % day, max(hour - SEEN_DAYS * day - 1, -1), -day)
            source = values[:, seen] if len(seen) else self._measured(quantity, hour)
            result[:, target % day == phase] = source.mean(axis=1)[:, None]
        return result

    def _white(self, quantity: Quantity) -> Floats:
        """The truth with an independent error in every slot."""
        values = self._whites.get(quantity)
        if values is None:
            truth = self._truth(quantity)
            names = [_stream_name(site, quantity) for site in self._sites]
            errors = {
                name: stream(self._seed, f"forecast/{name}/white").standard_normal(truth.shape[1])
                for name in dict.fromkeys(names)
            }
            spread = self.settings.error * truth.mean(axis=1, keepdims=True)
            found = np.maximum(truth + spread * np.array([errors[name] for name in names]), 0.0)
            values = self._whites[quantity] = np.where(truth > 0.0, found, truth)
        return values

    def _noise(self, quantity: Quantity, hour: int, end: int) -> Floats:
        """Factors around one: an autoregressive error over the target hours, growing with lead time."""
        day, slot = divmod(hour, self.day)
        known = self._noises.get(quantity)
        if known is None or known[0] != day:
            factors = np.maximum(1.0 + self._spread * self._errors_of(quantity, day), 0.0)
            known = self._noises[quantity] = day, factors
        return known[1][:, slot // self._issue, : end - hour]

    def _errors_of(self, quantity: Quantity, day: int) -> Floats:
        """Errors of unit variance of all that is issued in a day, shape (sites, hours of issue, horizon).

        They are drawn by the day: a stream for every hour and site would cost more than all that uses them.
        """
        names = [_stream_name(site, quantity) for site in self._sites]
        shape = (self.day // self._issue, self._horizon)
        white = {
            name: stream(self._seed, f"forecast/{name}/{day}").standard_normal(shape) for name in dict.fromkeys(names)
        }
        rho = self.settings.autocorrelation ** (self.slot_s / HOUR_S)
        return _correlated(np.array([white[name] for name in names]), rho)


def _profile(site: Site, quantity: Quantity) -> StepProfile:
    match quantity:
        case "sun":
            return site.pv
        case "load":
            return site.other
        case "overhead":
            return site.overhead
        case "carbon":
            return site.grid.carbon
        case "price":
            return site.grid.price


def _stream_name(site: Site, quantity: Quantity) -> str:
    """Name of the stream of an error: the site's own, or that of the grid that it shares."""
    if quantity == "sun":
        return site.name
    return f"{site.country if quantity in ('carbon', 'price') else site.name}/{quantity}"


def _correlated(white: Floats, rho: float) -> Floats:
    """Stationary autoregressive series of order one along the last axis, from white noise of unit variance."""
    series: Floats = white * np.sqrt(1.0 - rho * rho)
    series[..., :1] = white[..., :1]
    for at in range(1, series.shape[-1]):
        series[..., at] += rho * series[..., at - 1]
    return series
