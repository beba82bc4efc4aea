"""What is wrong with weather data: missing, doubled and impossible values, counted, dated, and filled if asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import Fill
from tafukt.sites.time_grid import DAY_S
from tafukt.sites.weather.clearsky import sky
from tafukt.sites.weather.source import IRRADIANCES, Source, stamp

FINE_S = 600
HEADROOM_W = 30.0  # what a sensor, and an instant for an hour, may read above the sun
NIGHT_W = 20.0


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
    """Over each interval of a source: sun's mean and peak beyond the atmosphere, and a clear sky [W/m2]."""

    peak: Floats
    clear: Floats


def bounds(source: Source, lat: float, lon: float, altitude_m: float) -> Bounds:
    """What the sun could give in each interval of a source."""
    parts = max(1, source.step_s // FINE_S)
    fine = (source.mids[:, None] + source.step_s * ((np.arange(parts) + 0.5) / parts - 0.5)).ravel()
    found = sky(lat, lon, altitude_m, fine)
    cosine = np.maximum(np.cos(np.radians(found.apparent_zenith)), 0.0)
    over = found.full(found.dni_extra * cosine).reshape(-1, parts)
    return Bounds(over.max(axis=1), found.full(found.ghi_clear).reshape(-1, parts).mean(axis=1))


def noon_error_min(source: Source, lat: float, lon: float, altitude_m: float) -> float:
    """How much later than the sun's the data's noon lies [min], by the day's centre of gravity.

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


def findings(source: Source, limits: Bounds) -> tuple[list[Finding], dict[str, np.ndarray]]:
    """Every kind of fault, and by column which rows are unusable."""
    mids = source.mids
    ghi = source.columns["ghi"]
    dark = limits.peak <= 0.0
    with np.errstate(invalid="ignore"):
        faults = {
            "values of ghi above the extraterrestrial": ("ghi", ~dark & (ghi > limits.peak + HEADROOM_W)),
            "values of ghi with the sun below the horizon": ("ghi", dark & (ghi > NIGHT_W)),
            "negative values of ghi": ("ghi", ghi < -10.0),
        }
        if "dhi" in source.columns:
            dhi = source.columns["dhi"]
            faults["values of dhi above ghi"] = ("dhi", dhi > 1.1 * np.maximum(ghi, 0.0) + HEADROOM_W)
        if "temp_air" in source.columns:
            temp = source.columns["temp_air"]
            faults["air temperatures outside -60 to 60 degC"] = ("temp_air", (temp < -60.0) | (temp > 60.0))
    found, bad = [], {name: np.isnan(values) for name, values in source.columns.items()}
    if len(source.duplicates):
        found.append(_finding("rows with a time that came before", source.duplicates.astype(np.float64)))
    all_missing = np.logical_and.reduce(list(bad.values()))
    if all_missing.any():
        found.append(_finding("missing rows", mids[all_missing]))
    for name, rows in bad.items():
        alone = rows & ~all_missing
        if alone.any():
            found.append(_finding(f"missing values of {name}", mids[alone]))
    for what, (name, rows) in faults.items():
        if rows.any():
            found.append(_finding(what, mids[rows]))
            bad[name] |= rows
    return found, bad


def _finding(what: str, times: Floats) -> Finding:
    dates = list(dict.fromkeys(stamp(t)[:10] for t in times[:2000]))[:3]
    return Finding(what, len(times), tuple(dates))


def checked(source: Source, fill: Fill, lat: float, lon: float, altitude_m: float) -> Source:
    """The source without a gap, or a refusal that says what is wrong with it.

    Raises
    ------
    SiteError
        If there are faults and `fill` is `refuse`, or nothing is left to fill from.
    """
    if "ghi" not in source.columns:
        raise SiteError(f"weather.file: {source.where}: it has no global horizontal irradiance")
    limits = bounds(source, lat, lon, altitude_m)
    found, bad = findings(source, limits)
    notes = list(source.notes)
    shift = noon_error_min(source, lat, lon, altitude_m)
    if abs(shift) > 20.0:
        side = "late" if shift > 0 else "early"
        notes.append(f"{source.where}: noon lies {abs(shift):.0f} min {side}: are zone, label and place right?")
    if found and fill == "refuse":
        listed = "; ".join(str(f) for f in found)
        raise SiteError(
            f"weather.file: {source.where}: {listed}. "
            "Set weather.fill to say how to fill them; allowed: interpolate, previous-day, clear-sky"
            + "".join(f". {note}" for note in notes)
        )
    notes += [f"{source.where}: {f}, filled: {fill}" for f in found]
    columns = {name: _filled(name, values, bad[name], fill, source, limits) for name, values in source.columns.items()}
    for name in IRRADIANCES:
        if name in columns:
            columns[name] = np.maximum(columns[name], 0.0)
    return replace(source, columns=columns, notes=tuple(notes))


def _filled(name: str, values: Floats, bad: np.ndarray, fill: Fill, source: Source, limits: Bounds) -> Floats:
    if not bad.any():
        return values
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
