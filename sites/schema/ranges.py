"""Plausible ranges of physical inputs, and the unit that a value outside of them would fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from tafukt.sites.errors import SiteError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """What the values of a key may be.

    Attributes
    ----------
    unit : str
        Of the key.
    low, high : float
        Values outside of these are refused.
    others : mapping of str to float
        Units that people write instead, with what one is in the key's unit.
    """

    unit: str
    low: float
    high: float
    others: Mapping[str, float]

    def fitting(self, value: float) -> str:
        """The unit that a value outside would fit, as advice; empty where none does."""
        for unit, factor in self.others.items():
            if self.low <= value * factor <= self.high:
                return f"; is it in {unit}? then scale = {factor:g}"
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
                f"{what}: {_rows(times[below])} values below {self.low:g} {self.unit}, least {least:g}, first {first}; "
                f"the least allowed is {self.low:g}{self.fitting(least)}"
            )
        if above.any():
            most = float(values.max())
            raise SiteError(
                f"{what}: {_rows(times[above])} values above {self.high:g} {self.unit}, most {most:g}"
                f"{self.fitting(most)}"
            )
        return ()


def _rows(times: Floats) -> int:
    return len(np.unique(times))


PRICE = Range("MAD/kWh", -100.0, 200.0, {"MAD/MWh": 0.001})
CARBON = Range("g/kWh", 0.0, 3000.0, {"mg/kWh": 0.001, "g/MWh": 0.001})
POWER_KW = Range("kW", 0.0, 5e6, {"W": 0.001})
PV_KW = Range("kW", -5e6, 5e6, {"W": 0.001})
