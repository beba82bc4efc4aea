"""Distances on the globe."""

from __future__ import annotations

import numpy as np

from tafukt.sites.profile import Floats

EARTH_RADIUS_KM = 6371.0


def distance_km(lat0: Floats | float, lon0: Floats | float, lat1: Floats | float, lon1: Floats | float) -> Floats:
    """Great-circle distance [km] between places given in degrees, by the haversine formula."""
    p0, p1 = np.radians(lat0), np.radians(lat1)
    east = np.radians(np.subtract(lon1, lon0))
    half = np.sin((p1 - p0) / 2) ** 2 + np.cos(p0) * np.cos(p1) * np.sin(east / 2) ** 2
    return np.asarray(2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half)))
