"""Plausible ranges of physical inputs, and the unit that a value outside of them would fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats


@dataclass(frozen=True)
class Range:
    """Range of the values of a key.

    Attributes
    ----------
    unit : str
        Of the key.
    low, high : float
        Values outside of these are refused.
    others : mapping of str to float
        Units that people write instead, with what one is in the key's unit.
    least : float
        A value nearer to zero than this, other than zero itself, is none.
    """

    unit: str
    low: float
    high: float
    others: Mapping[str, float]
    least: float = 0.0

    def one(self, value: float) -> float:
        """A single value of a key, if it is plausible.

        Raises
        ------
        ValueError
            If it is not, with the unit that would fit.
        """
        if value == 0.0 or (self.low <= value <= self.high and abs(value) >= self.least):
            return value
        fits = [
            f"; as {unit} it would be {value * factor:g} {self.unit}"
            for unit, factor in self.others.items()
            if self.low <= value * factor <= self.high and abs(value * factor) >= self.least
        ]
        raise ValueError(
            f"{value:g} {self.unit} is not plausible; expected {self.least or self.low:g} to {self.high:g}"
            + "".join(fits[:1])
        )

    def fitting(self, value: float) -> str:
        """The unit that a value outside would fit, as advice; empty where none does."""
        for unit, factor in self.others.items():
            if self.low <= value * factor <= self.high:
                return f"; is it in {unit}? then set scale = {factor:g}"
        return ""

    def checked(self, values: Floats, times: Floats, what: str, key: str) -> tuple[str, ...]:
        """Notes on the values of a series that stand at some times [s since 1970].

        Raises
        ------
        SiteError
            If some lie outside.
        """
        below, above = values < self.low, values > self.high
        if below.any():
            first = datetime.fromtimestamp(float(times[below][0]), UTC).strftime("%Y-%m-%d %H:%M")
            least = float(values.min())
            raise SiteError(
                f"{what}: {_rows(times[below])} values below {self.low:g} {self.unit}, the first at {first}, the "
                f"lowest {least:g}; the lowest allowed is {self.low:g}{self.fitting(least)}"
            )
        if above.any():
            most = float(values.max())
            raise SiteError(
                f"{what}: {_rows(times[above])} values above {self.high:g} {self.unit}, the highest {most:g}"
                f"{self.fitting(most)}"
            )
        return ()


def _rows(times: Floats) -> int:
    return len(np.unique(times))


PRICE = Range("MAD/kWh", -100.0, 200.0, {"MAD/MWh": 0.001})
CARBON = Range("g/kWh", 0.0, 3000.0, {"mg/kWh": 0.001, "g/MWh": 0.001})
POWER_KW = Range("kW", 0.0, 5e6, {"W": 0.001})
NET_KW = Range("kW", -5e6, 5e6, {"W": 0.001})
PV_KW = Range("kW", -5e6, 5e6, {"W": 0.001})


def _plausible(
    unit: str, high: float, others: Mapping[str, float], least: float = 0.0, low: float = 0.0
) -> AfterValidator:
    return AfterValidator(Range(unit, low, high, others, least).one)


SitePower = Annotated[float, Field(ge=0.0), _plausible("kW", 1e6, {"W": 0.001}, 1e-6)]
RampPower = Annotated[float, Field(gt=0.0), _plausible("kW", 1e6, {"W": 0.001})]
NodePower = Annotated[float, Field(ge=0.0), _plausible("kW", 250.0, {"W": 0.001}, 1e-6)]
Capacity = Annotated[float, Field(ge=0.0), _plausible("kWh", 1e7, {"Wh": 0.001}, 1e-6)]
Price = Annotated[float, Field(ge=0.0), _plausible("MAD/kWh", 100.0, {"MAD/MWh": 0.001})]
DemandCharge = Annotated[float, Field(ge=0.0), _plausible("MAD/kW", 5000.0, {"MAD/MW": 0.001})]
Intensity = Annotated[float, Field(ge=0.0), _plausible("g/kWh", 3000.0, {"kg/kWh": 1000.0, "g/MWh": 0.001}, 1.0)]
TempCoefficient = Annotated[float, Field(le=0.0), _plausible("1/degC", 0.0, {"%/degC": 0.01}, low=-0.02)]
DailyLoss = Annotated[float, Field(ge=0.0, le=1.0), _plausible("a day", 0.1, {"%": 0.01})]
YearlyLoss = Annotated[float, Field(ge=0.0, le=1.0), _plausible("a year", 0.2, {"%": 0.01})]
Overhead = Annotated[float, Field(ge=0.0), _plausible("W/W", 5.0, {"%": 0.01})]
Wind = Annotated[float, Field(ge=0.0), _plausible("m/s", 40.0, {"km/h": 1 / 3.6})]
