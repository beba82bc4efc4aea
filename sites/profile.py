"""A quantity over time on a uniform grid of steps; reading past its end is an error, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class ProfileRangeError(LookupError):
    """A profile was read outside the time that it covers."""


@dataclass(frozen=True)
class StepProfile:
    """Values that hold for one step each, from `start_s` on.

    Parameters
    ----------
    values : array, shape (n,)
        The value during each step, in the unit that the owner's name states.
    step_s : float
        Length of a step [s].
    start_s : float
        Simulation time at which the first step begins [s].

    Raises
    ------
    ValueError
        If there is no value, a value is not finite, or the step is not positive.
    """

    values: Floats
    step_s: float
    start_s: float = 0.0

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float64)
        if values.ndim != 1 or not len(values):
            raise ValueError("a profile needs at least one value")
        if not np.isfinite(values).all():
            raise ValueError("a profile's values must be finite")
        if not self.step_s > 0:
            raise ValueError(f"a profile's step must be positive, got {self.step_s}")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @cached_property
    def _cumulative(self) -> Floats:
        """Sum of the values before each edge: most profiles are never integrated, and need none."""
        return self._sums()

    def _sums(self) -> Floats:
        return np.concatenate(([0.0], np.cumsum(self.values)))

    @classmethod
    def constant(cls, value: float, duration_s: float, step_s: float) -> StepProfile:
        """A profile that holds one value for `duration_s` [s], in whole steps."""
        return cls(np.full(int(np.ceil(duration_s / step_s - 1e-9)), float(value)), step_s)

    @property
    def end_s(self) -> float:
        """The time at which the last step ends [s]."""
        return self.start_s + len(self.values) * self.step_s

    def at(self, time_s: float) -> float:
        """The value at a time [s]; at an edge, that of the step that begins there."""
        index = int((time_s - self.start_s) // self.step_s)
        if not 0 <= index < len(self.values):
            raise self._range_error(time_s)
        return float(self.values[index])

    def integral(self, t0_s: ArrayLike, t1_s: ArrayLike) -> Floats:
        """The integral from `t0_s` to `t1_s` [unit x s], exact; takes scalars or arrays of times."""
        return self.integral_to(t1_s) - self.integral_to(t0_s)

    def integral_to(self, time_s: ArrayLike, keep: bool = True) -> Floats:
        """The integral from the profile's start to `time_s` [unit x s].

        Unless told not to `keep` them, for a profile that is asked but once, it holds the sums that this takes.
        """
        times = np.asarray(time_s, dtype=np.float64)
        position = (times - self.start_s) / self.step_s
        n = len(self.values)
        if np.any(position < 0) or np.any(position > n):
            bad = times[(position < 0) | (position > n)] if times.ndim else times
            raise self._range_error(float(np.ravel(bad)[0]))
        index = np.minimum(position.astype(np.int64), n - 1)
        sums = self._cumulative if keep or "_cumulative" in vars(self) else self._sums()
        whole = sums[index] + (position - index) * self.values[index]
        return np.asarray(whole * self.step_s)

    def _range_error(self, time_s: float) -> ProfileRangeError:
        return ProfileRangeError(
            f"read at {time_s:.0f} s, but the profile covers {self.start_s:.0f} s to {self.end_s:.0f} s"
        )
