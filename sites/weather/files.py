"""Weather from a file or a download, brought onto a run's own steps."""

from __future__ import annotations

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tafukt.sites.cache import default_folder
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.weather import PublisherFile, PVGISDownload, WeatherColumns, WeatherCSV, WeatherFile
from tafukt.sites.site import SiteModel
from tafukt.sites.time_grid import Span, day_of_year
from tafukt.sites.weather.clearsky import Sky
from tafukt.sites.weather.climatology import SolarDays, air_temperature
from tafukt.sites.weather.model import Irradiance, Weather, assembled, place_of, split
from tafukt.sites.weather.quality import checked
from tafukt.sites.weather.readers import pvgis_record, read
from tafukt.sites.weather.series import fine_times, on_span, rows_at
from tafukt.sites.weather.source import QUANTITIES, Source, placed, stamp

WEATHER_KEY = "weather"
FILE_KINDS = (
    "epw",
    "tmy3",
    "pvgis",
    "csv",
    "pvgis-download",
    "nsrdb",
    "solaranywhere",
    "nasa-power",
    "open-meteo",
    "era5",
    "solcast",
)
MOST_OVER_CLEAR = 1.5  # cloud edges; beyond it an hour at sunrise says little about its minutes


def source_of(site: SiteModel, cache: Path | None, span: Span | None = None) -> tuple[Source, bool]:
    """The site's weather data, checked and filled, and whether its year stands for every year.

    Parameters
    ----------
    span : Span, optional
        The run's steps; faults elsewhere in the file are no concern of it. Default: the whole file.
    """
    model = site.weather
    if isinstance(model, PVGISDownload):
        model = downloaded(site, model, cache)
    if not isinstance(model, WeatherFile | WeatherCSV | PublisherFile):
        raise SiteError(f"{WEATHER_KEY}.kind: {model.kind!r} does not read a file")
    source = read(model, site.lat, site.lon, site.altitude_m, cache)
    repeat = model.repeat
    if source.typical and not repeat:
        raise SiteError(
            f"{WEATHER_KEY}.repeat: false: {source.where} is a typical year, with months of different years, "
            "that stands in for any year: leave repeat out"
        )
    used = None
    if span is not None:
        used = np.zeros(source.size, dtype=bool)
        used[rows_at(source, fine_times(source, span), repeat, WEATHER_KEY)] = True
    source = checked(source, model.fill, site.lat, site.lon, site.altitude_m, used)
    return source, repeat


def from_file(site: SiteModel, span: Span, part: Sky, grid: SolarDays, cache: Path | None) -> Weather:
    """A site's weather on a span, from its file.

    Where the file is coarser than the run, the sun between is the clear sky's, scaled so that each of the
    file's intervals keeps its energy.
    """
    source, repeat = source_of(site, cache, span)
    ghi, diffuse, note = _horizontal(source, span, part, repeat)
    note += _elsewhere(source, span)
    doy = day_of_year((span.start_unix + span.step_s * part.rows) // 86_400)
    if diffuse is None:
        dni, dhi = split(ghi, part, doy)
    else:
        dhi = np.minimum(diffuse, 1.0) * ghi
        cosine = np.cos(np.radians(part.zenith))
        beam = np.where(part.zenith < 87.0, (ghi - dhi) / np.maximum(cosine, 0.05), 0.0)
        dni = np.minimum(beam, np.maximum(1.1 * part.dni_clear, 0.0))
        dhi = ghi - dni * np.maximum(cosine, 0.0)
    temp = _temperature(site, source, span, grid, repeat)
    if "wind_speed" in source.columns:
        wind = on_span(source.columns["wind_speed"], source, span, repeat, WEATHER_KEY)[part.rows]
    else:
        mean = 3.0 if site.climate is None else site.climate.wind_speed_ms
        wind = np.full(len(part.rows), mean)
    sun = Irradiance(ghi, dni, dhi, temp[part.rows], wind)
    return assembled(part, sun, temp, grid, (*source.notes, *note))


def _elsewhere(source: Source, span: Span) -> tuple[str, ...]:
    """Note on steps for which the file's year stands without covering them."""
    outside = (span.mids < source.begin_unix) | (span.mids >= source.end_unix)
    if source.typical or not outside.any() or outside.all():
        return ()
    first = stamp(span.begins[outside][0])
    return (
        f"{source.where}: {int(outside.sum())} steps from {first} on lie outside the file and use its year instead",
    )


def _horizontal(source: Source, span: Span, part: Sky, repeat: bool) -> tuple[Floats, Floats | None, tuple[str, ...]]:
    """Global irradiance [W/m2] and its diffuse share on daylight rows; the share where the file has one."""
    columns = source.columns
    given = on_span(columns["ghi"], source, span, repeat, WEATHER_KEY)
    coarse = source.step_s > span.step_s
    note: tuple[str, ...] = ()
    if coarse:
        middles = span.mids[part.rows]
        group = np.floor((middles - source.begin_unix) / source.step_s).astype(np.int64)
        group -= group.min() if len(group) else 0
        parts = source.step_s / span.step_s
        clear = np.bincount(group, part.ghi_clear) / parts
        ratio = given[part.rows] / np.maximum(clear[group], 1.0)
        ghi = np.minimum(ratio, MOST_OVER_CLEAR) * part.ghi_clear
        inner = given[part.rows[0] : part.rows[-1] + 1].sum() if len(part.rows) else 0.0
        if inner > 0 and abs(ghi.sum() / inner - 1.0) > 0.01:
            note = (
                f"{source.where}: {100 * (ghi.sum() / inner - 1):+.1f} % of its sun after interpolation to the "
                "run's steps",
            )
    else:
        ghi = given[part.rows]
    share: Floats | None = None
    if "dhi" in columns or "dni" in columns:
        diffuse = columns["dhi"] if "dhi" in columns else _diffuse(source, span, part, repeat)
        with np.errstate(invalid="ignore", divide="ignore"):
            whole = np.where(columns["ghi"] > 1.0, diffuse / columns["ghi"], 1.0) if coarse else diffuse
        share = on_span(np.clip(whole, 0.0, None), source, span, repeat, WEATHER_KEY)[part.rows]
        if not coarse:
            share = np.divide(share, ghi, out=np.ones(len(ghi)), where=ghi > 1.0)
        share = np.minimum(share, 1.0)
    return ghi, share, note


def _diffuse(source: Source, span: Span, part: Sky, repeat: bool) -> Floats:
    """Diffuse irradiance of each of a source's intervals from the global and the beam [W/m2]."""
    cosine = part.full(np.maximum(np.cos(np.radians(part.zenith)), 0.0))
    rows = rows_at(source, span.mids, repeat, WEATHER_KEY)
    total = np.bincount(rows, cosine, source.size)
    mean = total / np.maximum(np.bincount(rows, minlength=source.size), 1)
    return np.asarray(np.maximum(source.columns["ghi"] - source.columns["dni"] * mean, 0.0))


def _temperature(site: SiteModel, source: Source, span: Span, grid: SolarDays, repeat: bool) -> Floats:
    """Air temperature of every step, linear between the middles of the file's intervals [degC]."""
    if "temp_air" not in source.columns:
        if site.climate is None:
            return np.full(span.steps, 20.0)
        return air_temperature(place_of(site), 0, grid, anomalies=False)[grid.lead : grid.lead + span.steps]
    values = source.columns["temp_air"]
    if source.step_s <= span.step_s:
        return on_span(values, source, span, repeat, WEATHER_KEY)
    half = source.step_s / 2
    first, last = source.begin_unix, source.begin_unix + source.size * source.step_s
    before, after = span.mids - half, span.mids + half
    if not repeat or (span.mids[0] >= first and span.mids[-1] < last):
        before, after = np.clip(before, first, None), np.clip(after, None, last - 1.0)
    weight = ((span.mids - half - first) / source.step_s) % 1.0
    low, high = (values[rows_at(source, times, repeat, WEATHER_KEY)] for times in (before, after))
    return np.asarray((1.0 - weight) * low + weight * high)


def downloaded(site: SiteModel, model: PVGISDownload, cache: Path | None) -> WeatherCSV:
    """A typical year of PVGIS at a site, as a CSV file in the cache; fetched from each server only once.

    Raises
    ------
    SiteError
        If PVGIS cannot be reached.
    """
    folder = (default_folder() if cache is None else cache) / "pvgis"
    usual = model.url == PVGISDownload.model_fields["url"].default
    server = "" if usual else f"_{hashlib.sha256(model.url.encode()).hexdigest()[:8]}"
    path = folder / f"tmy_{site.lat:.3f}_{site.lon:.3f}{server}.csv"
    if not path.is_file():
        source = _fetched(model.url, site.lat, site.lon)
        times = [datetime.fromtimestamp(t, UTC).isoformat() for t in source.mids.tolist()]
        names = list(source.columns)
        rows = zip(times, *(source.columns[name].tolist() for name in names), strict=True)
        text = "\n".join([",".join(["time", *names]), *(",".join(map(str, row)) for row in rows)]) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    columns = WeatherColumns(dhi="dhi", dni="dni", temp_air="temp_air", wind_speed="wind_speed")
    keys = {"kind": "csv", "file": path, "columns": columns, "label": "mid", "fill": model.fill}
    return WeatherCSV.model_validate(keys)


def _fetched(url: str, lat: float, lon: float) -> Source:
    import requests
    from pvlib import iotools

    try:
        answer = iotools.get_pvgis_tmy(lat, lon, outputformat="csv", url=url, timeout=60, coerce_year=None)
    except (requests.RequestException, ValueError, OSError) as error:
        raise SiteError(
            f"{WEATHER_KEY}.kind: 'pvgis-download': {url} gave no typical year ({type(error).__name__}: {error}); "
            "download one by hand and use kind = 'pvgis' with file = its path"
        ) from error
    data, meta = answer[0], answer[-1] if len(answer) == 2 else {"inputs": answer[2]}  # pvlib before 0.13 gave four
    return placed(pvgis_record(*_as_file(data, meta), "PVGIS"))


def _as_file(data: pd.DataFrame, meta: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A typical year from pvlib, as the file has it."""
    names = dict(zip(QUANTITIES, ("G(h)", "Gb(n)", "Gd(h)", "T2m", "WS10m"), strict=True))
    table = data.rename(columns=names).reset_index(drop=True)
    index = pd.DatetimeIndex(data.index)
    table["time"] = index.strftime("%Y%m%d:%H%M")
    inputs = meta.get("inputs", {}) if isinstance(meta, dict) else {}
    place = inputs.get("location", {})
    offset = inputs.get("irradiance time offset", inputs.get("irradiance_time_offset"))
    return table, {"offset_h": place.get("irradiance_time_offset", offset) if isinstance(place, dict) else offset}
