"""The quantile of the normal distribution.

`scipy.special` has it, too, but importing that takes 0.17 s, more than all else that it takes to draw a week's jobs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAREST = 1e-13
"""No quantile is taken as nearer to 0 or 1 than this: the tails that Cephes fits apart are left out."""
TAIL = 0.13533528323661269189  # exp(-2)
SQRT_2PI = 2.50662827463100050242
# fmt: off
MIDDLE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1,
     -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2,
     2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0),
)
OUTER = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.40805073893200834700e1,
     1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2,
     -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1, 1.50425385692907503408e1,
     2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)
# fmt: on
"""Numerator and denominator of a rational function each, highest power first."""


def normal_quantile(quantile: Floats) -> Floats:
    """What a standard normal variable stays below with the given probabilities in (0, 1).

    The rational functions of Cephes [1]_, in its order of operations, so that the bits are those of
    `scipy.special.ndtri`.

    References
    ----------
    .. [1] S. L. Moshier, Cephes Mathematical Library, `ndtri.c`, https://www.netlib.org/cephes/
    """
    upper = quantile > 1.0 - TAIL
    low = np.clip(np.where(upper, 1.0 - quantile, quantile), NEAREST, None)
    found = np.empty(len(quantile))
    middle = low > TAIL
    y = low[middle] - 0.5
    square = y * y
    found[middle] = (y + y * (square * _horner(square, MIDDLE[0]) / _horner(square, MIDDLE[1]))) * SQRT_2PI
    x = np.sqrt(-2.0 * _log(low[~middle]))
    inverse = 1.0 / x
    beyond = x - _log(x) / x - inverse * _horner(inverse, OUTER[0]) / _horner(inverse, OUTER[1])
    found[~middle] = np.where(upper[~middle], beyond, -beyond)
    return found


def _horner(x: Floats, coefficients: Sequence[float]) -> Floats:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _log(values: Floats) -> Floats:
    """By the C library: numpy's own differs from it in the last bit, and from one processor to another."""
    return np.fromiter(map(math.log, values.tolist()), np.float64, len(values))
