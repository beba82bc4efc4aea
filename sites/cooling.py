"""Overhead power per watt of IT load against outdoor temperature; never less when it is hotter."""

from __future__ import annotations

import numpy as np

from tafukt.sites.profile import Floats
from tafukt.sites.schema.equipment import ChillerCooling, ConstantCooling, PiecewiseCooling

_ZERO_C_IN_K = 273.15


def overhead(model: ConstantCooling | PiecewiseCooling | ChillerCooling, temp_air_c: Floats) -> Floats:
    """Overhead power per watt of IT load.

    Parameters
    ----------
    model : ConstantCooling, PiecewiseCooling or ChillerCooling
    temp_air_c : array
        Outdoor air temperature [degC].
    """
    temp = np.asarray(temp_air_c, dtype=np.float64)
    if isinstance(model, ConstantCooling):
        return np.full(temp.shape, model.overhead)
    if isinstance(model, PiecewiseCooling):
        return _piecewise(model, temp)
    return _chiller(model, temp)


def _piecewise(model: PiecewiseCooling, temp: Floats) -> Floats:
    pue = np.interp(temp, model.temp_c, model.pue)
    slope = (model.pue[-1] - model.pue[-2]) / (model.temp_c[-1] - model.temp_c[-2])
    return np.asarray(pue - 1.0 + slope * np.maximum(temp - model.temp_c[-1], 0.0))


def _chiller(model: ChillerCooling, temp: Floats) -> Floats:
    """base + (share of heat that the chiller takes) / COP, with COP = share of Carnot's, capped.

    Carnot: T_cold / (T_hot - T_cold) in kelvin, with T_hot = outdoor + approach.
    """
    lift = np.maximum(temp + model.approach_c - model.supply_c, 1e-3)
    cop = np.minimum(model.carnot_share * (model.supply_c + _ZERO_C_IN_K) / lift, model.cop_max)
    span = model.chiller_above_c - model.free_below_c
    share = np.clip((temp - model.free_below_c) / span, 0.0, 1.0)
    return np.asarray(model.base + share * (1.0 + model.base) / cop)
