"""Quality of weather data: missing, doubled and impossible values, counted, dated, and filled if asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tafukt.sites.distance import distance_km
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import Fill
from tafukt.sites.time_grid import DAY_S
from tafukt.sites.weather.clearsky import sky
from tafukt.sites.weather.source import IRRADIANCES, Source, stamp

FINE_S = 600
HEADROOM_W = 30.0  # what a sensor, and an instant for an hour, may read above the sun
NIGHT_W = 20.0
PLACE_KM = 50.0  # a file of a place farther away, or this much higher or lower, is told
PLACE_M = 300.0

# Codes that publishers and loggers write for a missing value. Each is one only where it cannot be a value.
CODES = (99.0, 99.9, 999.0, 999.9, 9999.0, 9999.9, 99999.0, 999999.0, 32767.0, 65535.0, 1e20)
RANGES = {
    "ghi": (-90.0, 1900.0),
    "dni": (-90.0, 1500.0),
    "dhi": (-90.0, 1300.0),
    "temp_air": (-60.0, 60.0),
    "wind_speed": (0.0, 75.0),
}
UNITS = {"temp_air": "degC", "wind_speed": "m/s"}


def blanked(name: str, values: Floats) -> Floats:
    """The values of a quantity without codes for missing ones, and without what is not finite."""
    low, high = RANGES[name]
    with np.errstate(invalid="ignore"):
        beyond = (values < low) | (values > high)
        code = np.isin(np.abs(values), CODES) | (np.abs(values) > 1e7)
    return np.where((beyond & code) | ~np.isfinite(values), np.nan, values)


@dataclass(frozen=True)
class Finding:
    """One kind of fault: what it is, in how many rows, and on which dates first."""

    what: str
    count: int
    dates: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.dates) else ""
        return f"{self.count} {self.what} ({', '.join(self.dates)}{more})"


@dataclass(frozen=True)
class Bounds:
    """Over each interval of a source: peak of the sun beyond the atmosphere and mean of a clear sky [W/m2], and the
    mean cosine of the zenith, zero below the horizon."""

    peak: Floats
    clear: Floats
    cosine: Floats


def bounds(source: Source, lat: float, lon: float, altitude_m: float) -> Bounds:
    """The most that the sun could give in each interval of a source."""
    parts = max(1, source.step_s // FINE_S)
    fine = (source.mids[:, None] + source.step_s * ((np.arange(parts) + 0.5) / parts - 0.5)).ravel()
    found = sky(lat, lon, altitude_m, fine)
    cosine = np.maximum(np.cos(np.radians(found.apparent_zenith)), 0.0)
    over = found.full(found.dni_extra * cosine).reshape(-1, parts)
    clear = found.full(found.ghi_clear).reshape(-1, parts).mean(axis=1)
    return Bounds(over.max(axis=1), clear, found.full(cosine).reshape(-1, parts).mean(axis=1))


def noon_error_min(source: Source, lat: float, lon: float, altitude_m: float) -> float:
    """Delay of the data's noon against the sun's [min], by the day's centre of gravity.

    The median over the brighter third of the days; not-a-number where no day is whole.
    """
    ghi = np.nan_to_num(np.maximum(source.columns["ghi"], 0.0))
    clear = bounds(source, lat, lon, altitude_m).clear
    solar = source.mids + lon * 240.0
    # the days are cut at midnight where the data seem to have it, for they may be hours off
    middle = np.angle(np.sum(ghi * np.exp(2j * np.pi * (solar % DAY_S) / DAY_S))) / (2 * np.pi) * DAY_S
    turn = middle % DAY_S - DAY_S / 2
    day_data = np.floor((solar - turn) / DAY_S).astype(np.int64)
    day_sun = np.floor(solar / DAY_S).astype(np.int64)
    first, count = int(min(day_data[0], day_sun[0])), 2 + int(source.size * source.step_s // DAY_S) + 2
    centre = []
    for day, weights in ((day_data - first, ghi), (day_sun - first, clear)):
        total = np.bincount(day, weights, count)
        moment = np.bincount(day, weights * (solar - (day + first) * DAY_S), count)
        centre.append(np.divide(moment, total, out=np.full(count, np.nan), where=total > 0))
    whole = np.bincount(day_sun - first, minlength=count) == round(DAY_S / source.step_s)
    energy = np.bincount(day_data - first, ghi, count) / np.maximum(np.bincount(day_sun - first, clear, count), 1.0)
    good = whole & np.isfinite(centre[0]) & np.isfinite(centre[1])
    if not good.any():
        return float("nan")
    bright = good & (energy >= np.quantile(energy[good], 0.66))
    return float(np.median((centre[0] - centre[1])[bright]) / 60.0)


def findings(
    source: Source, limits: Bounds, used: np.ndarray | None = None
) -> tuple[list[Finding], dict[str, np.ndarray]]:
    """Every kind of fault in the rows that are used, and by column which rows are unusable.

    Parameters
    ----------
    used : array of bool, optional
        Rows that a run needs; default: all.
    """
    mids = source.mids
    wanted = np.ones(source.size, dtype=bool) if used is None else used
    found, bad = [], {name: np.isnan(values) for name, values in source.columns.items()}
    doubled = np.zeros(len(source.duplicates), dtype=bool)
    if len(doubled):
        rows = np.clip(((source.duplicates - source.begin_unix) / source.step_s).astype(np.int64), 0, source.size - 1)
        doubled = wanted[rows]
    if doubled.any():
        found.append(_finding("rows with a time that was there before", source.duplicates[doubled].astype(np.float64)))
    all_missing = np.logical_and.reduce(list(bad.values()))
    if (all_missing & wanted).any():
        found.append(_finding("missing rows", mids[all_missing & wanted]))
    for name, rows in bad.items():
        alone = rows & ~all_missing & wanted
        if alone.any():
            found.append(_finding(f"missing values of {name}", mids[alone]))
    for what, (name, rows) in _faults(source, limits).items():
        if (rows & wanted).any():
            found.append(_finding(what, mids[rows & wanted]))
        bad[name] |= rows
    return found, bad


def _faults(source: Source, limits: Bounds) -> dict[str, tuple[str, np.ndarray]]:
    """Values that cannot be, by what is wrong with them."""
    columns = source.columns
    ghi = columns["ghi"]
    dark = limits.peak <= 0.0
    faults = {}
    with np.errstate(invalid="ignore"):
        faults["values of ghi above the extraterrestrial irradiance"] = (
            "ghi",
            ~dark & (ghi > limits.peak + HEADROOM_W),
        )
        for name in IRRADIANCES:
            if name in columns:
                night = dark & (columns[name] > NIGHT_W)
                faults[f"values of {name} with the sun below the horizon"] = (name, night)
                faults[f"negative values of {name}"] = (name, columns[name] < -10.0)
        if "dhi" in columns:
            over = ~dark & (columns["dhi"] > 1.1 * np.maximum(ghi, 0.0) + HEADROOM_W)
            faults["values of dhi above ghi"] = ("dhi", over)
        if "dni" in columns:
            faults["values of dni above the extraterrestrial irradiance"] = ("dni", columns["dni"] > RANGES["dni"][1])
        if "temp_air" in columns:
            low, high = RANGES["temp_air"]
            beyond = (columns["temp_air"] < low) | (columns["temp_air"] > high)
            faults["air temperatures outside -60 to 60 degC"] = ("temp_air", beyond)
        if "wind_speed" in columns:
            low, high = RANGES["wind_speed"]
            wind = (columns["wind_speed"] < low) | (columns["wind_speed"] > high)
            faults["wind speeds outside 0 to 75 m/s"] = ("wind_speed", wind)
    return faults


def _finding(what: str, times: Floats) -> Finding:
    dates = list(dict.fromkeys(stamp(t)[:10] for t in times[:2000]))[:3]
    return Finding(what, len(times), tuple(dates))


def checked(
    source: Source, fill: Fill, lat: float, lon: float, altitude_m: float, used: np.ndarray | None = None
) -> Source:
    """The source without a gap in the rows that are used, or a refusal that says what is wrong with it.

    Raises
    ------
    SiteError
        If there are faults and `fill` is `refuse`, if values are in another unit, or nothing is left to fill from.
    """
    limits = bounds(source, lat, lon, altitude_m)
    source = with_ghi(source, limits)
    problems = units_problems(source, limits)
    if problems:
        raise SiteError([f"weather.file: {source.where}: {problem}" for problem in problems])
    found, bad = findings(source, limits, used)
    notes = [*source.notes, *place_notes(source, lat, lon, altitude_m)]
    shift = noon_error_min(source, lat, lon, altitude_m)
    if abs(shift) > 20.0:
        side = "late" if shift > 0 else "early"
        notes.append(f"{source.where}: noon is {abs(shift):.0f} min {side}: are time zone, label and place right?")
    if found and fill == "refuse":
        listed = "; ".join(str(f) for f in found)
        raise SiteError(
            f"weather.file: {source.where}: {listed}. "
            "To fill them, set weather.fill to interpolate, previous-day or clear-sky"
            + "".join(f". {note}" for note in notes)
        )
    notes += [f"{source.where}: {f}, filled: {fill}" for f in found]
    how: Fill = "interpolate" if fill == "refuse" else fill  # what no step of the run reads
    columns = {name: _filled(name, values, bad[name], how, source, limits) for name, values in source.columns.items()}
    for name in IRRADIANCES:
        if name in columns:
            columns[name] = np.maximum(columns[name], 0.0)
    return replace(source, columns=columns, notes=tuple(notes))


def with_ghi(source: Source, limits: Bounds) -> Source:
    """The source with its global irradiance worked out from beam and diffuse where it has none.

    Raises
    ------
    SiteError
        If it has neither.
    """
    columns = source.columns
    ghi = columns.get("ghi", np.full(source.size, np.nan))
    if "dni" in columns and "dhi" in columns:
        summed = columns["dhi"] + columns["dni"] * limits.cosine
        rows = np.isnan(ghi) & np.isfinite(summed)
        if rows.any():
            note = f"{source.where}: ghi of {int(rows.sum())} rows is computed as dhi + dni x cosine of the zenith"
            ghi = np.where(rows, summed, ghi)
            return replace(source, columns={"ghi": ghi, **_without(columns, "ghi")}, notes=(*source.notes, note))
    if "ghi" not in columns:
        raise SiteError(
            f"weather.file: {source.where}: it has neither global horizontal irradiance nor both dni and dhi to "
            "compute it"
        )
    return source


def _without(columns: Mapping[str, Floats], name: str) -> dict[str, Floats]:
    return {key: values for key, values in columns.items() if key != name}


def units_problems(source: Source, limits: Bounds) -> list[str]:
    """Columns that are in another unit than they should be, with the key that would mend it."""
    found = []
    ghi = np.nan_to_num(source.columns["ghi"])
    light = limits.clear > 200.0
    share = float(np.maximum(ghi, 0.0)[light].sum() / limits.clear[light].sum()) if light.any() else 0.7
    if 0.0 < share < 0.03 or share > 2.0:
        step = source.step_s
        factors = {
            "kW/m2": 1000.0,
            "MJ/m2 per step": 1e6 / step,
            "kJ/m2 per step": 1000.0 / step,
            "J/m2 per step": 1.0 / step,
            "Wh/m2 per step": 3600.0 / step,
            "kWh/m2 per step": 3.6e6 / step,
        }
        unit = min(factors, key=lambda name: abs(np.log(share * factors[name] / 0.7)))
        found.append(
            f"ghi reaches {ghi.max():g}, where a clear sky gives {limits.clear.max():.0f} W/m2: it seems to be in "
            f"{unit}; set weather.ghi_scale = {factors[unit]:g} (kind = 'csv')"
        )
    temp = source.columns.get("temp_air", np.zeros(0))
    temp = temp[np.isfinite(temp)]
    if len(temp):
        middle = float(np.median(temp))
        if 200.0 < middle < 340.0:
            found.append(
                f"the median of temp_air is {middle:.0f}: it seems to be in kelvin; set weather.temp_unit = 'K'"
            )
        elif middle > 42.0 and temp.max() > 60.0:
            found.append(
                f"the median of temp_air is {middle:.0f}: it seems to be in degF; set weather.temp_unit = 'degF'"
            )
    wind = source.columns.get("wind_speed", np.zeros(0))
    wind = wind[np.isfinite(wind)]
    if len(wind) and float(np.median(wind)) > 20.0:
        found.append(
            f"the median of wind_speed is {np.median(wind):.0f}: it seems to be in km/h; set weather.wind_scale "
            "= 0.2778"
        )
    return found


def place_notes(source: Source, lat: float, lon: float, altitude_m: float) -> tuple[str, ...]:
    """Notes on a file of another place than the site."""
    station = source.station
    if station is None:
        return ()
    apart = float(distance_km(lat, lon, station.lat, station.lon))
    if apart > PLACE_KM:
        there, here = _degrees(station.lat, station.lon), _degrees(lat, lon)
        return (f"{source.where} is for {station.name} ({there}), {apart:.0f} km from the site ({here})",)
    if station.altitude_m is not None and abs(station.altitude_m - altitude_m) > PLACE_M:
        return (f"{source.where} is for {station.altitude_m:.0f} m above sea level, the site is at {altitude_m:.0f} m",)
    return ()


def _degrees(lat: float, lon: float) -> str:
    return f"{abs(lat):.1f} {'S' if lat < 0 else 'N'}, {abs(lon):.1f} {'W' if lon < 0 else 'E'}"


def _filled(name: str, values: Floats, bad: np.ndarray, fill: Fill, source: Source, limits: Bounds) -> Floats:
    if not bad.any():
        return values
    if bad.all() and name in ("dni", "dhi"):
        raise SiteError(f"weather.file: {source.where}: no usable value of {name}; leave the column out")
    if bad.all():
        raise SiteError(f"weather.file: {source.where}: no usable value of {name}")
    result = np.where(bad, np.nan, values)
    rows = np.arange(len(values))
    if fill == "previous-day":
        per_day = max(1, round(DAY_S / source.step_s))
        for shift in (per_day, -per_day):
            for _ in range(len(values) // per_day):
                gap = np.flatnonzero(np.isnan(result))
                origin = gap - shift
                inside = (origin >= 0) & (origin < len(values))
                if not len(gap) or not np.isfinite(result[origin[inside]]).any():
                    break
                result[gap[inside]] = result[origin[inside]]
    gap = np.isnan(result)
    if name in IRRADIANCES:
        light = limits.clear > NIGHT_W
        share = np.ones(len(values))
        good = light & ~gap
        if good.any() and (fill != "clear-sky" or name != "ghi"):
            ratio = result[good] / limits.clear[good]
            share = np.interp(rows, rows[good], ratio)
        result[gap] = np.where(light, share * limits.clear, 0.0)[gap]
    else:
        result[gap] = np.interp(rows[gap], rows[~gap], result[~gap])
    return result
