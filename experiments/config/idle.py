"""Keys that are given and have no effect, since another key says otherwise: told, never passed over in silence.

They are not refused: an axis of a matrix may well give `battery.peak_kw` a meaning at one of its values alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.schema import Experiment
from tafukt.experiments.errors import listed
from tafukt.sites.site import SiteModel


@dataclass(frozen=True)
class Need:
    """Keys that act only together with another: whether they do, and with what; the other key stands in the words."""

    keys: tuple[str, ...]
    acts: Callable[[Any], bool]
    goes_with: str

    def hangs_on(self, varied: Collection[str]) -> bool:
        """Whether an axis of the matrix decides it: at one of its values the keys may act."""
        return any(re.search(rf"(?<![\w.]){re.escape(_of_site(key))}(?!\w)", self.goes_with) for key in varied)


def _elastic(experiment: Experiment) -> Any:
    return experiment.workload.elastic if experiment.workload.kind == "generator" else None


def _moves_data(experiment: Experiment) -> bool:
    return experiment.network.star_gbit_s is not None or bool(experiment.network.links)


def _errs(experiment: Experiment) -> bool:
    forecast = experiment.forecast
    return not {"noisy", "white"}.isdisjoint((forecast.sun, forecast.load, forecast.carbon, forecast.price))


def _fails(experiment: Experiment) -> bool:
    return experiment.faults.preset != "none" or experiment.faults.node_mtbf_days is not None


def _law(name: str) -> Callable[[Experiment], bool]:
    return lambda e: (elastic := _elastic(e)) is None or not elastic.share or elastic.law == name


NEEDS = (
    Need(
        ("workload.estimate_factor",),
        lambda e: e.workload.kind != "generator" or e.workload.estimates == "factor",
        "workload.estimates = 'factor'",
    ),
    Need(
        tuple(
            f"workload.elastic.{name}"
            for name in ("kind", "least", "most", "law", "serial", "exponent", "gpus", "throughput")
        ),
        lambda e: (elastic := _elastic(e)) is None or elastic.share > 0,
        "workload.elastic.share above 0",
    ),
    Need(("workload.elastic.serial",), _law("amdahl"), "workload.elastic.law = 'amdahl'"),
    Need(("workload.elastic.exponent",), _law("power"), "workload.elastic.law = 'power'"),
    Need(("workload.elastic.gpus", "workload.elastic.throughput"), _law("table"), "workload.elastic.law = 'table'"),
    Need(("engine.information_age_min",), lambda e: e.coordination == "federated", "coordination = 'federated'"),
    Need(("faults.repair_h",), _fails, "faults.node_mtbf_days or a faults.preset"),
    Need(
        ("faults.retries",),
        lambda e: _fails(e) or bool(e.faults.hazard_per_day),
        "faults.node_mtbf_days, faults.hazard_per_day or a faults.preset",
    ),
    Need(("network.kwh_per_gb",), _moves_data, "network.star_gbit_s or network.links"),
    Need(
        ("forecast.error", "forecast.autocorrelation"),
        _errs,
        "a noisy or white forecast: forecast.sun, forecast.load, forecast.carbon, forecast.price",
    ),
    Need(
        ("best_known.steps",),
        lambda e: isinstance(e.best_known, bool) or e.best_known.search,
        "best_known.search = true",
    ),
)
"""Of the experiment itself."""

_TRACKER = ("pv.axis_azimuth_deg", "pv.max_angle_deg", "pv.ground_cover", "pv.backtrack")

SITE_NEEDS = (
    Need(("pv.tilt_deg", "pv.azimuth_deg"), lambda s: s.pv is None or s.pv.mount == "fixed", "pv.mount = 'fixed'"),
    Need(_TRACKER, lambda s: s.pv is None or s.pv.mount == "tracking", "pv.mount = 'tracking'"),
    Need(("pv.kwp_per_node",), lambda s: s.pv is None or s.pv.kwp is None, "no pv.kwp, which overrides it"),
    Need(("pv.degradation_per_year",), lambda s: s.pv is None or s.pv.age_years > 0, "pv.age_years above 0"),
    Need(
        ("pv.soiling.storm_loss",),
        lambda s: s.pv is None or s.pv.soiling.kind == "constant" or s.pv.soiling.storms_per_year > 0,
        "pv.soiling.storms_per_year above 0",
    ),
    Need(
        ("battery.kwh_per_node",),
        lambda s: s.battery is None or s.battery.kwh is None,
        "no battery.kwh, which overrides it",
    ),
    Need(
        ("battery.c_rate",),
        lambda s: s.battery is None or s.battery.charge_kw is None or s.battery.discharge_kw is None,
        "no battery.charge_kw and discharge_kw, which override it",
    ),
    Need(
        ("battery.peak_kw",),
        lambda s: s.battery is None or s.battery.strategy == "peak-shaving",
        "battery.strategy = 'peak-shaving'",
    ),
    Need(
        ("battery.charge_below_mad_per_kwh", "battery.discharge_above_mad_per_kwh"),
        lambda s: s.battery is None or s.battery.strategy == "tariff",
        "battery.strategy = 'tariff'",
    ),
    Need(
        ("battery.charge_below_g_per_kwh", "battery.discharge_above_g_per_kwh"),
        lambda s: s.battery is None or s.battery.strategy == "carbon",
        "battery.strategy = 'carbon'",
    ),
    Need(
        ("weather.temp_air_c",),
        lambda s: s.weather.kind != "clear-sky" or s.climate is None,
        "no climate, whose temperatures override it",
    ),
    Need(("grid.outages.mean_hours",), lambda s: s.grid.outages.per_year > 0, "grid.outages.per_year above 0"),
    Need(("other.kw",), lambda s: s.other.kind in ("constant", "shape"), "other.kind = 'constant' or 'shape'"),
    Need(("other.shape",), lambda s: s.other.kind == "shape", "other.kind = 'shape'"),
    Need(("other.series",), lambda s: s.other.kind == "csv", "other.kind = 'csv'"),
)
"""Of a site; a table of the file may stand for many sites, and a key of it is idle where it is at all of them."""


def idle(loaded: Loaded, varied: Collection[str] = ()) -> list[str]:
    """One line for every key that is given and has no effect; `varied` are the axes of the matrix."""
    given = {key for key, _ in toml.flat(_tables(loaded.raw, "sites", "matrix"))}
    told = [
        _told(key, need)
        for need in NEEDS
        for key in need.keys
        if _stands(key, given) and not need.acts(loaded.experiment) and not need.hangs_on(varied)
    ]
    for where, table, sites in _site_tables(loaded):
        keys = {key for key, _ in toml.flat(table)}
        for need in SITE_NEEDS:
            idle_at = [name for name, site in sites.items() if not need.acts(site)]
            if sites and len(idle_at) == len(sites) and not need.hangs_on(varied):
                told += [_told(f"{where}.{key}", need) for key in need.keys if _stands(key, keys)]
    told += [line for name, site in loaded.sites.items() for line in _of_requests(name, site)]
    return list(dict.fromkeys(told))


def _told(key: str, need: Need) -> str:
    return f"{key} has no effect here: it goes with {need.goes_with}"


def _stands(key: str, given: set[str]) -> bool:
    return any(one == key or one.startswith(f"{key}.") for one in given)


def _of_site(key: str) -> str:
    """The key within the table of a site: of `sites.change.fes.pv.mount` it is `pv.mount`."""
    section, _, rest = key.partition(".")
    if section != "sites":
        return key
    table, _, rest = rest.partition(".")
    return rest if table == "all" else rest.partition(".")[2]


def _tables(document: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in without}


def _site_tables(loaded: Loaded) -> Iterator[tuple[str, dict[str, Any], dict[str, SiteModel]]]:
    """Each table of a file that says something of sites: its key, what it says, and of which sites."""
    sites = loaded.raw.get("sites", {})
    yield "sites.all", sites.get("all", {}), loaded.sites
    for section in ("own", "change"):
        for name, table in sites.get(section, {}).items():
            if name in loaded.sites:
                yield f"sites.{section}.{name}", table, {name: loaded.sites[name]}


def _of_requests(name: str, site: SiteModel) -> Iterator[str]:
    """Keys of drawn requests of the grid, where one is listed or read from a file."""
    for number, event in enumerate(site.grid.events):
        drawn = [key for key in ("between", "months", "weekdays_only") if key in event.model_fields_set]
        if drawn and event.per_year is None:
            yield f"{name}: grid.events[{number}]: no effect of {listed(drawn)}: they go with per_year"
