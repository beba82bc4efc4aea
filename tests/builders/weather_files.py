"""Weather files of a clear sky, as publishers write them, for the tests that read such files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tafukt.sites.time_grid import span
from tafukt.sites.weather.clearsky import sky

LAT, LON = 33.0, -7.0


def clear(start: datetime, days: int, minutes: int = 60, lat: float = LAT, lon: float = LON) -> np.ndarray:
    """Mean clear-sky GHI, DNI and DHI in each interval, shape (3, n), and mean cosine of the zenith as a fourth row."""
    grid = span(start, days, 300)
    found = sky(lat, lon, 0.0, grid.mids)
    cosine = np.maximum(np.cos(np.radians(found.apparent_zenith)), 0.0)
    rows = [found.full(each) for each in (found.ghi_clear, found.dni_clear, found.dhi_clear, cosine)]
    return np.array(rows).reshape(4, -1, minutes // 5).mean(axis=2)


def begins(start: datetime, count: int, minutes: int = 60) -> list[datetime]:
    return [start + timedelta(minutes=minutes * i) for i in range(count)]


def epw(path: Path, start: datetime, ghi: np.ndarray, records: int = 1, lat: float = LAT, **head: Any) -> Path:
    """An EPW file in UTC: `ghi` is the mean over each interval, written at its end."""
    name, encoding = head.get("name", "Here"), head.get("encoding", "utf-8")
    lines = [f"LOCATION,{name},-,ITA,TEST,0,{lat},{LON},0.0,0.0"] + ["X"] * 6
    lines.append(f"DATA PERIODS,1,{records},Data,Sunday, 1/ 1,12/31")
    for i, value in enumerate(ghi):
        day = start + timedelta(hours=i // records)
        minute = 60 * (i % records + 1) // records
        fields = [day.year, day.month, day.day, day.hour + 1, minute, "?", 20.0, 10.0, 50, 100000, 0, 0, 300]
        dni, dhi = (head["dni"][i], head["dhi"][i]) if "dni" in head else (0.0, value)
        fields += [f"{value:.2f}", f"{dni:.2f}", f"{dhi:.2f}", 0, 0, 0, 0, 180, 2.0, *[0] * 13]
        lines.append(",".join(map(str, fields)))
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path
