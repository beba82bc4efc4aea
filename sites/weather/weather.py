"""One weather for a site along a run, whatever it comes from: UTC, on the middles of the run's own steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tafukt.sites.profile import Floats
from tafukt.sites.site import SiteModel
from tafukt.sites.time_grid import DAY_S, Ints, Span, day_of_year
from tafukt.sites.weather.clearsky import Sky, sky, sun_vectors
from tafukt.sites.weather.climatology import air_temperature, cloud_index, refuse_more_than_clear, solar_days
from tafukt.sites.weather.files import FILE_KINDS, from_file
from tafukt.sites.weather.model import Irradiance, Weather, assembled, place_of, split


@dataclass(frozen=True)
class SunTable:
    """The sun's vectors on a grid that covers the solar days of every site, worked out once for all."""

    begin_unix: int
    step_s: int
    vectors: Floats

    def slice(self, mids: Floats) -> Floats:
        """The vectors at some of the grid's own middles [AU], shape (3, n)."""
        first = round((mids[0] - self.step_s / 2 - self.begin_unix) / self.step_s)
        return self.vectors[:, first : first + len(mids)]


def sun_table(span: Span) -> SunTable:
    """The sun from a day before a span to a day after it."""
    wide = Span(span.start_unix - DAY_S, span.step_s, span.steps + 2 * DAY_S // span.step_s)
    return SunTable(wide.start_unix, wide.step_s, sun_vectors(wide.mids))


def weather(site: SiteModel, span: Span, seed: int, table: SunTable, cache: Path | None = None) -> Weather:
    """The weather of a site along a span.

    Parameters
    ----------
    table : SunTable
        `sun_table(span)`.
    cache : Path, optional
        Where downloads are kept.

    Raises
    ------
    SiteError
        If a file is missing or holds what cannot be used.
    """
    grid = solar_days(site.lon * 240.0, span)
    whole = sky(site.lat, site.lon, site.altitude_m, grid.mids, table.slice(grid.mids))
    if site.weather.kind in FILE_KINDS:
        return from_file(site, span, whole.part(grid.lead, span.steps), grid, cache)
    clouds = site.weather.kind == "climatology"
    if clouds:
        refuse_more_than_clear(place_of(site))
    if site.climate is None:
        temp = np.full(len(grid.mids), getattr(site.weather, "temp_air_c", 20.0))
    else:
        temp = air_temperature(place_of(site), seed, grid, anomalies=clouds)
    temp = temp[grid.lead : grid.lead + span.steps]
    part = whole.part(grid.lead, span.steps)
    if clouds:
        low = int(np.searchsorted(whole.rows, grid.lead))
        index = cloud_index(place_of(site), seed, grid, whole)[low : low + len(part.rows)]
        ghi = index * part.ghi_clear
        dni, dhi = split(ghi, part, _days_of_year(span, part))
    else:
        ghi, dni, dhi = part.ghi_clear, part.dni_clear, part.dhi_clear
    wind = 3.0 if site.climate is None else site.climate.wind_speed_ms
    sun = Irradiance(ghi, dni, dhi, temp[part.rows], np.full(len(part.rows), wind))
    return assembled(part, sun, temp, grid)


def _days_of_year(span: Span, part: Sky) -> Ints:
    return day_of_year((span.start_unix + span.step_s * part.rows) // DAY_S)
