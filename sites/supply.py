"""Sites become supply over time: profiles of sun, overhead, other load, price and carbon on one grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tafukt.sites.cache import Entry, default_folder, file_hash, kept, key_of
from tafukt.sites.capacity import nodes_online
from tafukt.sites.errors import SiteError
from tafukt.sites.grid import carbon, export_prices, import_limits, other_kw, outages, prices
from tafukt.sites.grid_events import PlannedEvent, grid_events
from tafukt.sites.inherited import inherited
from tafukt.sites.profile import Floats, StepProfile
from tafukt.sites.schema.ranges import NET_KW, POWER_KW
from tafukt.sites.site import SiteModel
from tafukt.sites.time_grid import Span
from tafukt.sites.time_grid import span as span_of

_CACHED = ("pv_w", "overhead", "temp_air_c", "ghi")


@dataclass(frozen=True)
class SiteSupply:
    """Supply of a site along a run. All profiles share one grid that starts at 0 s.

    Attributes
    ----------
    pv_w : StepProfile
        AC power that the PV array could give [W].
    overhead : StepProfile
        Power for cooling and conversion per watt of IT load.
    other_w : StepProfile
        What else the site runs [W].
    temp_air_c, ghi : StepProfile
        Outdoor air [degC]; global horizontal irradiance [W/m2].
    price_mad_per_kwh, export_price_mad_per_kwh, carbon_g_per_kwh : StepProfile
        Of the grid.
    import_limit_kw : StepProfile, optional
        Where the limit of the connection changes.
    outages : tuple of (float, float)
        Disjoint, in order: start and end [s].
    events : tuple of PlannedEvent
        Requests of the grid to draw less, in order.
    nodes_online : tuple of (float, int)
        From when [s] how many nodes are in service, in order; empty where that is always all of them.
    notes : tuple of str
        What was filled, repaired or inherited.
    meter_kw : array, optional
        What the site's meter showed in each step [kW]; not-a-number where it showed nothing.
    """

    pv_w: StepProfile
    overhead: StepProfile
    other_w: StepProfile
    temp_air_c: StepProfile
    ghi: StepProfile
    price_mad_per_kwh: StepProfile
    export_price_mad_per_kwh: StepProfile
    carbon_g_per_kwh: StepProfile
    import_limit_kw: StepProfile | None = None
    outages: tuple[tuple[float, float], ...] = ()
    events: tuple[PlannedEvent, ...] = ()
    nodes_online: tuple[tuple[float, int], ...] = ()
    notes: tuple[str, ...] = ()
    meter_kw: Floats | None = None


def supply(
    sites: Sequence[SiteModel], start: datetime, days: float, step_s: float, seed: int, cache: Path | None = None
) -> dict[str, SiteSupply]:
    """The supply of some sites along a run.

    What takes long, sun and weather, is kept on disk under a hash of its inputs.

    Parameters
    ----------
    sites : sequence of SiteModel
    start : datetime
        With a time zone, on a whole step.
    days : float
    step_s : float
        Length of a step; divides an hour [s].
    seed : int
        Of the sky, dust storms and drawn outages.
    cache : Path, optional
        Folder of the cache; default: `TAFUKT_CACHE`, else the user's cache folder.

    Returns
    -------
    dict of str to SiteSupply
        By the sites' names, in their order.

    Raises
    ------
    SiteError
        If an input file or a setting cannot be used.
    """
    return dict(supplies(sites, start, days, step_s, seed, cache))


def supplies(
    sites: Sequence[SiteModel], start: datetime, days: float, step_s: float, seed: int, cache: Path | None = None
) -> Iterator[tuple[str, SiteSupply]]:
    """The same one after another, with the site's name; profiles that sites share live until all have been made."""
    span = span_of(start, days, step_s)
    folder = default_folder() if cache is None else cache
    skies = _Skies(span, seed, folder)
    shared: dict[Any, _Told] = {}
    for site in sites:
        try:
            found = _one(site, span, seed, skies, shared)
        except SiteError as error:
            raise SiteError([f"site {site.name}: {line}" for line in error.problems]) from error
        yield site.name, found
        del found  # before the next one is made: what is nobody's by now need not be held


_Told = tuple[StepProfile, tuple[str, ...]]


def _one(site: SiteModel, span: Span, seed: int, skies: _Skies, shared: dict[Any, _Told]) -> SiteSupply:
    notes = [*inherited(site)]
    step = float(span.step_s)

    def profile(name: str, inputs: Any, values: Callable[[], tuple[Floats, tuple[str, ...]]]) -> StepProfile:
        """Sites with the same tariff and the same clock share their profiles."""
        key = (name, inputs)
        if key not in shared:
            found, told = values()
            shared[key] = StepProfile(found, step), told
        notes.extend(shared[key][1])
        return shared[key][0]

    made = skies.of(site)
    notes.extend(made.notes)
    pv_w, overhead, temp_air, ghi = made.values
    grid, cache = site.grid, skies.folder
    money = (grid.model_dump_json(exclude={"outages", "events"}), site.tariff.model_dump_json(), site.tz)
    price = profile("price", money, lambda: prices(grid, site.tariff, site.tz, span, cache))
    export = profile("export", money, lambda: export_prices(grid, site.tariff, site.tz, span, cache))
    green = profile("carbon", (grid.carbon.model_dump_json(), site.tz), lambda: carbon(grid, site.tz, span, cache))
    limits = import_limits(grid, site.tz, span, cache)
    notes.extend(limits[1] if limits else ())
    online, told = nodes_online(site.cluster, span, cache)
    notes.extend(told)
    other = profile("other", (site.other.model_dump_json(), site.tz), lambda: _watts(site, span, cache))
    meter_kw, told = _metered(site, span, cache)
    notes.extend(told)
    return SiteSupply(
        pv_w=StepProfile(pv_w, step),
        overhead=StepProfile(overhead, step),
        other_w=other,
        temp_air_c=StepProfile(temp_air, step),
        ghi=StepProfile(ghi, step),
        price_mad_per_kwh=price,
        export_price_mad_per_kwh=export,
        carbon_g_per_kwh=green,
        import_limit_kw=None if limits is None else StepProfile(limits[0], step),
        outages=outages(grid.outages, site.name, span, seed),
        events=grid_events(grid.events, site.name, site.least_kw, site.tz, span, seed),
        nodes_online=online,
        notes=tuple(dict.fromkeys(notes)),
        meter_kw=meter_kw,
    )


def _watts(site: SiteModel, span: Span, cache: Path) -> tuple[Floats, tuple[str, ...]]:
    kilowatts, notes = other_kw(site.other, site.tz, span, cache)
    return 1000.0 * kilowatts, notes


def _metered(site: SiteModel, span: Span, cache: Path) -> tuple[Floats | None, tuple[str, ...]]:
    if site.meter is None:
        return None, ()
    from tafukt.sites.weather.series import measured  # what reads series is loaded for a file only

    found = measured(site.meter, span, "meter", NET_KW if site.meter.of == "net" else POWER_KW, cache)
    return found.values, found.notes


class _Skies:
    """Sun and weather of sites on one span, from the cache where it has them."""

    def __init__(self, span: Span, seed: int, folder: Path) -> None:
        self.span, self.seed, self.folder = span, seed, folder
        self._table: Any = None

    def of(self, site: SiteModel) -> Entry:
        """Power, overhead, temperature and irradiance, shape (4, steps), and what is told of the weather."""
        return kept(self.folder / "supply", self._key(site), (len(_CACHED), self.span.steps), lambda: self._make(site))

    def _key(self, site: SiteModel) -> str:
        keys = {"lat", "lon", "altitude_m", "climate", "weather", "heat_waves", "pv", "cooling"}
        inputs = site.model_dump(mode="json", include=keys)
        files = [getattr(site.weather, "file", None)]
        if site.pv is not None and site.pv.series is not None:
            files.append(site.pv.series.file)
        span = (self.span.start_unix, self.span.step_s, self.span.steps)
        return key_of([inputs, site.pv_kwp, [file_hash(f) for f in files if f], span, self.seed])

    def _make(self, site: SiteModel) -> Entry:
        from tafukt.sites.modelled import modelled
        from tafukt.sites.weather.weather import sun_table

        if self._table is None:
            self._table = sun_table(self.span)
        made = modelled(site, self.span, self.seed, self._table, self.folder)
        return Entry(np.stack([made.pv_w, made.overhead, made.temp_air_c, made.ghi]), made.notes)
