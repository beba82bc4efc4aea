"""Weather tables as their publishers write them: names of columns, units, zone, what a time names.

Sources: the publishers' own pages, and the readers of pvlib.iotools, which describe the same files.

- NSRDB (PSM 3 and 4) and SAM: two lines of place above the header, dates in parts, local standard time; a time is
  the middle of its interval (hourly files say 30 minutes past).
- SolarAnywhere: one line of place; `ObservationTime(LST)`; the middle of the interval unless the line says
  "Averaging Method: End of Period".
- NASA POWER: a header between -BEGIN HEADER- and -END HEADER-; YEAR, MO, DY, HR; hour from its begin; UTC, or local
  solar time where the header says LST.
- Open-Meteo: place and offset in two lines; irradiance is the mean of the hour before.
- ERA5 (point series of the Copernicus store as CSV): sums over the hour before in J/m2, kelvin, wind as two components.
- Solcast: `period_end` in UTC (`PeriodEnd` in older files).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import Label
from tafukt.sites.weather.source import IRRADIANCES, Station
from tafukt.sites.weather.tables import Table

_KELVIN_C = 273.15


@dataclass(frozen=True)
class Publisher:
    """A publisher's table.

    Attributes
    ----------
    name : str
    columns : mapping of str to tuple of str
        Names of each quantity's column, any case, without the unit in brackets.
    label : {"left", "mid", "right"}
        Which part of its interval a time names.
    time : str
        Column of the times; `time` where it is a usual name or dates in parts.
    form : str, optional
        strptime format of the times.
    irradiance_scale : float
        W/m2 in one unit of the file.
    kelvin : bool
        Whether temperatures are in kelvin.
    typical : bool
        Whether its months may come from different years.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    label: Label
    time: str = "time"
    form: str | None = None
    irradiance_scale: float = 1.0
    kelvin: bool = False
    typical: bool = False

    def value(self, key: str, values: Floats, column: str) -> Floats:
        """A column in W/m2, degC, m/s."""
        if key in IRRADIANCES:
            if "mj/" in column.lower():
                return np.asarray(values * 1e6 / 3600.0)
            return np.asarray(values * self.irradiance_scale)
        if key == "temp_air" and self.kelvin:
            return np.asarray(values - _KELVIN_C)
        if key == "wind_speed" and "km/h" in column.lower():
            return np.asarray(values / 3.6)
        return values

    def offset_h(self, table: Table) -> float:
        """Local time of the table minus UTC [h]."""
        if self.name == "NASA POWER":
            station = self.station(table)
            local = station is not None and any(re.search(r"\bLST\b", line) for line in table.above)
            return float(round(station.lon / 15.0)) if station is not None and local else 0.0
        if self.name == "SolarAnywhere":
            return float(_first_row(table)[3])
        facts = _facts(table.above)
        if "utc_offset_seconds" in facts:
            return float(facts["utc_offset_seconds"]) / 3600.0
        return float(facts.get("local time zone") or facts.get("time zone") or 0.0)

    def zone(self, table: Table) -> str:
        """The same as text, `+01:00`."""
        hours = self.offset_h(table)
        minutes = round(abs(hours) * 60) if abs(hours) <= 15 else 0
        return "UTC" if not minutes else f"{'-' if hours < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"

    def label_of(self, table: Table) -> Label:
        """Part of its interval that a time of the table names."""
        if any("averaging method: end of period" in line.lower() for line in table.above):
            return "right"
        return self.label

    def station(self, table: Table) -> Station | None:
        """The place that the lines above the header give."""
        if self.name == "SolarAnywhere":
            row = _first_row(table)
            return Station(row[1].strip(), float(row[4]), float(row[5]), float(row[6]))
        facts = _facts(table.above)
        if self.name == "NASA POWER":
            text = "\n".join(table.above)
            match = re.search(r"latitude\s+(-?[\d.]+)\s+longitude\s+(-?[\d.]+)", text, re.IGNORECASE)
            return None if match is None else Station(self.name, float(match[1]), float(match[2]))
        if "latitude" in table.numbers and "longitude" in table.numbers:
            lat, lon = (float(np.nanmedian(table.numbers[name])) for name in ("latitude", "longitude"))
            return Station(self.name, lat, lon)
        try:
            altitude = facts.get("elevation")
            name = facts.get("location id") or self.name
            return Station(name, float(facts["latitude"]), float(facts["longitude"]), float(altitude or 0.0))
        except (KeyError, ValueError):
            return None


def _first_row(table: Table) -> list[str]:
    return next(csv.reader(table.above[:1]), [""] * 7)


def _facts(above: tuple[str, ...]) -> dict[str, str]:
    """Facts from two lines above a header, the first with names, the second with values."""
    for names, values in pairwise(above):
        keys, items = next(csv.reader([names]), []), next(csv.reader([values]), [])
        found = {key.strip().lower(): item.strip() for key, item in zip(keys, items, strict=False)}
        if "latitude" in found:
            return found
    return {}


PUBLISHERS: dict[str, Publisher] = {
    "nsrdb": Publisher(
        "NSRDB",
        {
            "ghi": ("GHI",),
            "dni": ("DNI",),
            "dhi": ("DHI",),
            "temp_air": ("Temperature", "Tdry", "Dry-bulb"),
            "wind_speed": ("Wind Speed", "Wspd"),
        },
        "mid",
        typical=True,
    ),
    "solaranywhere": Publisher(
        "SolarAnywhere",
        {
            "ghi": ("Global Horizontal Irradiance", "GlobalHorizontalIrradiance_WattsPerMeterSquared"),
            "dni": ("Direct Normal Irradiance", "DirectNormalIrradiance_WattsPerMeterSquared"),
            "dhi": ("Diffuse Horizontal Irradiance", "DiffuseHorizontalIrradiance_WattsPerMeterSquared"),
            "temp_air": ("AmbientTemperature", "AmbientTemperature_DegreesC"),
            "wind_speed": ("WindSpeed", "WindSpeed_MetersPerSecond"),
        },
        "mid",
        time="ObservationTime(LST)",
        form="%m/%d/%Y %H:%M",
        typical=True,
    ),
    "nasa-power": Publisher(
        "NASA POWER",
        {
            "ghi": ("ALLSKY_SFC_SW_DWN",),
            "dni": ("ALLSKY_SFC_SW_DNI",),
            "dhi": ("ALLSKY_SFC_SW_DIFF",),
            "temp_air": ("T2M",),
            "wind_speed": ("WS10M",),
        },
        "left",
    ),
    "open-meteo": Publisher(
        "Open-Meteo",
        {
            "ghi": ("shortwave_radiation",),
            "dni": ("direct_normal_irradiance",),
            "dhi": ("diffuse_radiation",),
            "temp_air": ("temperature_2m",),
            "wind_speed": ("wind_speed_10m", "windspeed_10m"),
        },
        "right",
    ),
    "era5": Publisher(
        "ERA5",
        {"ghi": ("ssrd",), "temp_air": ("t2m",), "wind_speed": ("si10",)},
        "right",
        irradiance_scale=1.0 / 3600.0,
        kelvin=True,
    ),
    "solcast": Publisher(
        "Solcast",
        {
            "ghi": ("ghi",),
            "dni": ("dni",),
            "dhi": ("dhi",),
            "temp_air": ("air_temp", "AirTemp"),
            "wind_speed": ("wind_speed_10m", "WindSpeed10m"),
        },
        "right",
    ),
}


def publisher_of(table: Table) -> Publisher | None:
    """The publisher of a table, if its columns or the lines above its header tell."""
    text = "\n".join(table.above).lower()
    names = {re.sub(r"\s*[\(\[].*$", "", name).lower() for name in table.numbers}
    if "-begin header-" in text and "allsky_sfc_sw_dwn" in names:
        return PUBLISHERS["nasa-power"]
    if "utc_offset_seconds" in text and "shortwave_radiation" in names:
        return PUBLISHERS["open-meteo"]
    if "location id" in text and "latitude" in text and "ghi" in names:
        return PUBLISHERS["nsrdb"]
    if "solaranywhere" in text or "latlon resolution" in text:
        return PUBLISHERS["solaranywhere"]
    if "ssrd" in names:
        return PUBLISHERS["era5"]
    if {"ghi", "period_end", "air_temp"} <= names or {"ghi", "periodend", "airtemp"} <= names:
        return PUBLISHERS["solcast"]
    return None
