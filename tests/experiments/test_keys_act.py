"""Every key of an experiment file changes what a run starts from, or is refused; which only speak is listed with why.

Where a key acts only together with others (a tracker's angle, the share of elastic jobs), `WITH` puts those in first.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pvlib
import pytest
from builders.schema_keys import Key, every_key, put
from builders.weather_files import begins, clear, epw

from tafukt.experiments.config.idle import NEEDS, SITE_NEEDS, idle
from tafukt.experiments.config.load import Loaded, check
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.experiments.runs import session
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import StepProfile
from tafukt.workloads.errors import WorkloadError

Table = dict[str, Any]
START = datetime(2025, 6, 1, tzinfo=UTC)

SPEAKS = {
    "name": "the name of the result folder",
    "question": "stands in the report",
    "currency": "names the unit of all prices; nothing is converted",
    "sites.own.x.title": "stands in lists and figures",
    "sites.own.x.region_title": "stands in lists and figures",
    "sites.own.x.status": "stands in lists",
    "sites.own.x.climate.ghi_kwh_m2_y": "published, for comparison in lists",
    "sites.own.x.climate.pv_yield_kwh_kwp_y": "published, for comparison in lists and in the figure of a site",
    "sites.own.x.cluster.node.title": "stands in lists",
    "sites.own.x.grid.tariff.title": "stands in lists",
    "sites.own.x.grid.tariff.bands[0].name": "stands in messages",
    "sites.own.x.grid.import_limit_kw.bands[0].name": "stands in messages",
    "service.title": "stands in lists",
    "workload.classes.fine_tuning.title": "stands in lists",
}
"""Keys that change no result, and what they are for."""
BY_CHANCE = {
    "workload.elastic.share generator",
    "workload.runtime_cap_h generator",
    "workload.segments_max generator",
    "workload.growth_per_year generator",
    "workload.before_online generator",
    "sites.own.x.pv.soiling.max_loss accumulating",
    "sites.own.x.pv.soiling.storms_per_year accumulating",
    "sites.own.x.pv.soiling.storm_loss accumulating",
    "sites.own.x.grid.outages.per_year",
    "sites.own.x.other.kind",
}
"""Keys that act where the days, jobs and draws are such that they do."""
ORIGIN = re.compile(r"(\.|_)(source|confidence|basis)$")
"""Keys that say where a figure comes from."""


def base() -> Table:
    """One day on four nodes in Dakhla and a root hub, so that residency, quotas and the network matter."""
    return {
        "name": "keys",
        "start": "2025-06-01T00:00:00Z",
        "days": 1,
        "drain_days": 0,
        "step_min": 60,
        "policies": ["fifo"],
        "workload": {"load": 0.3},
        "sites": {"use": ["rabat"], "own": {"x": {"like": "dakhla", "cluster": {"nodes": 4}}}},
    }


WEATHER = {"pv": {"kwp": 1.0}, "lat": 33.0, "lon": -7.0}
SERIES_TABLE = {"file": "series.csv", "column": "a"}
DAY = {"name": "day", "mad_per_kwh": 1.0, "winter": "7-22", "summer": "8-22"}
NIGHT = {"name": "night", "mad_per_kwh": 0.5, "winter": "22-7", "summer": "22-8"}
REQUEST = {"start": "2025-06-01T06:00:00Z", "hours": 2.0, "cut": 0.2}
DRAWN = {"per_year": 5000.0, "hours": 1.0, "cut": 0.2}


def site(**table: Any) -> Table:
    """A change of the site of one's own."""
    return {"sites": {"own": {"x": table}}}


WITH: list[tuple[str, Table]] = [
    (r"workload\.(segments_max|runtime_cap_h) generator", {"workload": {"load": 3.0, "runtime_cap_h": 2.0}}),
    (r"workload\.estimate_factor generator", {"workload": {"estimates": "factor"}}),
    (r"workload\.jobs_per_day_per_million", {"workload": {"load": None}}),
    (r"workload\.elastic\.", {"workload": {"load": 1.0, "elastic": {"share": 1.0}}}),
    (r"workload\.elastic\.serial", {"workload": {"elastic": {"law": "amdahl"}}}),
    (
        r"workload\.elastic\.(gpus|throughput)",
        {"workload": {"elastic": {"law": "table", "gpus": [1, 2, 4], "throughput": [1.0, 1.5, 2.0]}}},
    ),
    (r"workload\.growth_per_year", {"days": 30, "workload": {"draws": "independent"}}),
    (r"workload\.before_online", site(online="2025-06-01T12:00:00Z", population=5_000_000)),
    (
        r"workload\..* trace$",
        {
            "workload": {
                "load": None,
                "kind": "trace",
                "file": "log.csv",
                "format": "own",
                "start_day": 0,
                "gpu_cap": 8,
                "over_cap": "cut",
                "load_factor": 1,
                "slack_h": 6,
                "estimates": "exact",
            }
        },
    ),
    (r"workload\.over_cap trace", {"workload": {"gpu_cap": 2}}),
    (r"workload\.tz trace", {"workload": {"align": "dates", "start_day": None}}),
    (r"workload\.align trace", {"workload": {"align": "dates", "start_day": None, "tz": "UTC"}}),
    (r"workload\.repeat trace", {"days": 14}),
    (r"workload\.load trace", {"workload": {"load_factor": None}}),
    (r"workload\.slack_factor trace", {"workload": {"slack_h": None}}),
    (r"workload\.estimate_factor trace", {"workload": {"estimates": "factor", "estimate_factor": 1.5}}),
    (r"workload\.bad_rows trace", {"workload": {"file": "bad.csv"}}),
    (r"workload\..* none", {"workload": {"load": None}}),
    (r"network\.links", {"sites": {"use": ["rabat", "fes"]}}),
    (r"network\.links", {"network": {"links": [{"a": "rabat", "b": "x", "gbit_s": 10.0}]}}),
    (r"network\.kwh", {"network": {"star_gbit_s": 10.0}}),
    (r"faults\.(repair_h|retries)", {"faults": {"preset": "rsc-1"}}),
    (r"engine\.information_age_min", {"coordination": "federated"}),
    (r"account", {"days": 3, "account": {"warm_up_days": 0.5}}),
    (r"best_known\.", {"best_known": {"search": True, "steps": 10}}),
    (r"baseline_scenario", {"matrix": {"workload.load": [0.2, 0.3]}}),
    (r"weather\.temp_air_c", site(like=None, lat=33.0, lon=-7.0)),
    (r"weather\..* (epw|nsrdb|csv|pvgis-download)", site(**WEATHER)),
    (r"weather\..* epw", site(weather={"kind": "epw", "file": "w.epw"})),
    (r"weather\..* nsrdb", site(weather={"kind": "nsrdb", "file": "w_nsrdb.csv"})),
    (r"weather\..* csv", site(weather={"kind": "csv", "file": "weather.csv"})),
    (r"weather\.tz csv", site(weather={"columns": {"time": "bare"}})),
    (r"weather\.time_format csv", site(weather={"columns": {"time": "odd"}})),
    (r"weather\.(columns\.wind_speed|wind_scale) csv", site(weather={"columns": {"wind_speed": "wind"}})),
    (r"weather\.fill epw", site(weather={"file": "hole.epw"})),
    (r"weather\.fill nsrdb", site(weather={"file": "hole_nsrdb.csv"})),
    (r"weather\.fill csv", site(weather={"columns": {"ghi": "hole"}})),
    (r"repeat", {"start": "2026-06-01T00:00:00Z"}),
    (r"weather\.fill pvgis", site(weather={"url": "https://example.org/hole/"})),
    (r"weather\.repeat epw", site(weather={"file": "year.epw"})),
    (r"weather\.repeat nsrdb", site(weather={"file": "year_nsrdb.csv"})),
    (r"weather\.repeat csv", site(weather={"file": "year.csv", "columns": {"ghi": "a"}})),
    (
        r"heat_waves\.one",
        site(heat_waves={"one": {"start": "2025-06-01T00:00:00Z", "days": 0.5, "warmer_c": 8.0}}),
    ),
    (r"pv\.(axis_azimuth_deg|max_angle_deg|ground_cover|backtrack)", site(pv={"mount": "tracking"})),
    (r"pv\.soiling\.max_loss", site(pv={"soiling": {"storms": [{"date": "2025-06-01T00:00:00Z", "loss": 0.5}]}})),
    (r"pv\.soiling\.storms\[0\]", site(pv={"soiling": {"storms": [{"date": "2025-06-01T00:00:00Z", "loss": 0.1}]}})),
    (r"pv\.soiling\.storm(s_per_year|_loss)", {"days": 20, **site(pv={"soiling": {"storms_per_year": 100.0}})}),
    (r"pv\.soiling\.(rain_index|cleaning_days)", {"days": 40}),
    (r"pv\.degradation_per_year", site(pv={"age_years": 3.0})),
    (r"pv\.series", site(pv={"series": SERIES_TABLE})),
    (r"battery\.peak_kw", site(battery={"strategy": "peak-shaving", "peak_kw": 10.0})),
    (r"battery\.(charge_below|discharge_above)_mad", site(battery={"strategy": "tariff"})),
    (r"battery\.(charge_below|discharge_above)_g", site(battery={"strategy": "carbon"})),
    (
        r"cluster\.node\.",
        site(cluster={"node": {"idle_kw": 1.0, "loaded_kw": 5.0, "sleep_kw": 0.1, "sleep_after_min": 5.0}}),
    ),
    (r"cluster\.nodes_online", site(cluster={"nodes": 30, "nodes_online": SERIES_TABLE})),
    (r"cluster\.withdrawn", site(cluster={"withdrawn": [{"start": "2025-06-01T06:00:00Z", "hours": 2.0}]})),
    (r"grid\.tariff\.", site(grid={"tariff": {"bands": [DAY, NIGHT]}})),
    (r"grid\.tariff\.bands\[0\]\.winter", {"start": "2025-12-01T00:00:00Z"}),
    (
        r"grid\.tariff\.(holidays|bands\[0\]\.holiday)",
        site(grid={"tariff": {"holidays": ["06-01"], "bands": [DAY | {"holiday": "7-8"}, NIGHT | {"holiday": "8-7"}]}}),
    ),
    (
        r"grid\.tariff\.bands\[0\]\.weekend",
        site(grid={"tariff": {"bands": [DAY | {"weekend": "7-8"}, NIGHT | {"weekend": "8-7"}]}}),
    ),
    (
        r"grid\.tariff\.bands\[0\]\.sunday",
        site(grid={"tariff": {"bands": [DAY | {"sunday": "7-8"}, NIGHT | {"sunday": "8-7"}]}}),
    ),
    (
        r"grid\.tariff\.bands\[0\]\.saturday",
        {
            "start": "2025-06-07T00:00:00Z",
            **site(grid={"tariff": {"bands": [DAY | {"saturday": "7-8"}, NIGHT | {"saturday": "8-7"}]}}),
        },
    ),
    (r"grid\.price_mad_per_kwh\.", site(grid={"price_mad_per_kwh": SERIES_TABLE})),
    (r"grid\.export_mad_per_kwh\.", site(grid={"export_mad_per_kwh": SERIES_TABLE})),
    (r"grid\.carbon\..* csv", site(grid={"carbon": {"kind": "csv", "series": SERIES_TABLE}})),
    (r"grid\.carbon\..* electricity-maps", site(grid={"carbon": {"kind": "electricity-maps", "file": "maps.csv"}})),
    (r"grid\.carbon\..* watttime", site(grid={"carbon": {"kind": "watttime", "file": "watttime.csv"}})),
    (r"grid\.carbon\.fill electricity-maps", site(grid={"carbon": {"file": "maps_hole.csv"}})),
    (r"grid\.carbon\.fill watttime", site(grid={"carbon": {"file": "watttime_hole.csv"}})),
    (r"grid\.carbon\.repeat electricity-maps", site(grid={"carbon": {"file": "maps_year.csv"}})),
    (r"grid\.carbon\.repeat watttime", site(grid={"carbon": {"file": "watttime_year.csv"}})),
    (r"grid\.outages\.listed", site(grid={"outages": {"listed": [{"start": "2025-06-01T06:00:00Z", "hours": 2.0}]}})),
    (r"grid\.outages\.(per_year|mean_hours)", {"days": 10, **site(grid={"outages": {"per_year": 500.0}})}),
    (r"grid\.events\[0\]", site(grid={"events": [REQUEST]})),
    (r"grid\.events\[0\]\.(per_year|between|months|weekdays_only)", site(grid={"events": [DRAWN]})),
    (r"grid\.events\[0\]\.file", site(grid={"events": [{"file": "events.csv"}]})),
    (r"grid\.events\[0\]\.to_kw", site(grid={"events": [{k: v for k, v in REQUEST.items() if k != "cut"}]})),
    (r"other\.series", site(other={"kind": "csv", "series": SERIES_TABLE})),
    (r"other\.kw", site(other={"kind": "constant"})),
    (r"other\.shape", site(other={"kind": "shape", "kw": 10.0})),
    (r"other\.kind", site(other={"kw": 10.0})),
    (r"meter\.", site(meter=SERIES_TABLE)),
    (r"sources\.one", site(sources={"one": {"source": "a", "confidence": "high"}})),
    (r"service\.", {"service": {"use": "citizens"}}),
    (r"service\.growth", {"days": 30}),
]
"""Keys without which others have no effect; the first that fits comes first, later ones change it."""


def series(path: str, **table: Any) -> Table:
    """A change of a series of the site of one's own."""
    change: Table = table
    for part in reversed(path.split(".")):
        change = {part: change}
    return site(**change)


def as_limit(change: Table) -> Table:
    """What is said of a tariff, said of an import limit by the clock."""
    text = json.dumps(change).replace('"tariff"', '"import_limit_kw"').replace('"mad_per_kwh"', '"kw"')
    limit: Table = json.loads(text)
    return limit


_CLOCK = r"(summer_months|holidays|bands)"
WITH += [
    (pattern.replace(r"grid\.tariff\.", rf"grid\.import_limit_kw\.(?={_CLOCK})"), as_limit(change))
    for pattern, change in WITH
    if pattern.startswith(r"grid\.tariff\.")
]
WITH.append((rf"grid\.import_limit_kw\.(?!{_CLOCK})", site(grid={"import_limit_kw": SERIES_TABLE})))
for _path in (
    "pv.series",
    "grid.import_limit_kw",
    "cluster.nodes_online",
    "grid.price_mad_per_kwh",
    "grid.export_mad_per_kwh",
    "grid.carbon.series",
    "other.series",
    "meter",
):
    _key = re.escape(_path)
    WITH += [
        (rf"{_key}\.fill", series(_path, column="hole")),
        (rf"{_key}\.tz", series(_path, time="bare")),
        (rf"{_key}\.time_format", series(_path, time="odd")),
        (rf"{_key}\.repeat", series(_path, file="year.csv", scale=0.001)),
    ]

OTHER: list[tuple[str, Any]] = [
    (r"^start$", "2025-06-02T00:00:00Z"),
    (r"^seeds$", [2]),
    (r"^policies$", ["easy"]),
    (r"^baseline$", "easy"),
    (r"^baseline_scenario$", {"workload.load": 0.3}),
    (r"^matrix\.zip$", [{"workload.load": [0.2, 0.3]}]),
    (r"^sites\.use$", ["fes"]),
    (r"^sites\.all$", {"fixed_kw": 1.0}),
    (r"^sites\.own$", {"y": {"like": "fes"}}),
    (r"^sites\.change$", {"rabat": {"fixed_kw": 1.0}}),
    (r"^service$", {"use": "citizens"}),
    (r"^workload\.kind (generator|trace)", "none"),
    (r"^workload\.kind none", "generator"),
    (r"^workload\.trace trace", "nasa"),
    (r"^faults\.retries", 3),
    (r"^workload\.mix ", "philly-like"),
    (r"meter\.of$", "site"),
    (r"^workload\.include ", ["pretraining"]),
    (r"^workload\.leave_out ", ["fine_tuning"]),
    (r"^workload\.classes generator", {"fine_tuning": {"gpus": [1], "gpus_weights": [1.0]}}),
    (r"^workload\.jobs_per_day", 5.0),
    (r"^workload\.elastic\.gpus", [1, 2, 8]),
    (r"^workload\.elastic\.throughput", [1.0, 1.4, 2.0]),
    (r"^workload\.file trace", "other.csv"),
    (r"^workload\.format trace", "pai"),
    (r"^workload\.tz trace", "Europe/Rome"),
    (r"^workload\.align trace", "first midnight"),
    (r"^workload\.start_day trace", 0.5),
    (r"^workload\.recorded_on trace", 2.0),
    (r"^workload\.gpu_cap trace", 2),
    (r"^workload\.over_cap trace", "spread"),
    (r"^workload\.gpus_per_unit trace", 2.0),
    (r"^workload\.load trace", 0.5),
    (r"^workload\.homes trace", "jobs"),
    (r"^workload\.estimates trace", "column"),
    (r"^workload\.runtime_cap_h trace", 0.5),
    (r"^workload\.dataset_gb trace", 5.0),
    (r"^workload\.bad_rows trace", "drop"),
    (r"^engine\.power_caps", "a100-inference"),
    (r"^network\.links\[0\]\.[ab]", "fes"),
    (r"^quotas\.", 5),
    (r"^forecast\.class_mean_h", "workload"),
    (r"^account\.", 0.25),
    (r"^output\.step_min", 120),
    (r"^best_known\.steps", 20),
    (r"x\.name$", "y"),
    (r"x\.country$", "FR"),
    (r"x\.region$", "ELSEWHERE"),
    (r"x\.tz$", "UTC"),
    (r"x\.online$", "2025-06-01T12:00:00Z"),
    (r"x\.islandable$", False),
    (r"weather\.kind (clear-sky)", "climatology"),
    (r"weather\.kind climatology", "clear-sky"),
    (r"weather\.kind (epw|nsrdb|csv)", "climatology"),
    (r"weather\.file epw", "other.epw"),
    (r"weather\.file nsrdb", "other_nsrdb.csv"),
    (r"weather\.file csv", "other_weather.csv"),
    (r"weather\.columns\.time csv", "early"),
    (r"weather\.columns\.ghi csv", "less"),
    (r"weather\.columns\.dhi csv", "dhi"),
    (r"weather\.columns\.dni csv", "dni"),
    (r"weather\.columns\.temp_air csv", "warm"),
    (r"weather\.columns\.wind_speed csv", "storm"),
    (r"weather\.time_format csv", "%Y|%m|%d %H:%M%z"),
    (r"weather\.tz csv", "+01:00"),
    (r"weather\.temp_unit csv", "degF"),
    (r"weather\.repeat", False),
    (r"weather\.kind pvgis", "climatology"),
    (r"weather\.url", "https://example.org/less/"),
    (r"weather\.fill", "interpolate"),
    (r"pv\.soiling\.kind constant", "accumulating"),
    (r"pv\.soiling\.kind accumulating", "constant"),
    (r"pv\.soiling\.storms\[0\]\.date", "2025-06-03T00:00:00Z"),
    (r"pv\.soiling\.cleaning_days", 2),
    (r"pv\.soiling\.rain_index", 0.99),
    (r"(withdrawn\[0\]\.start|events\[0\]\.start|listed\[0\]\.start|heat_waves\.one\.start)", "2025-06-01T09:00:00Z"),
    (r"\.kwh$|\.charge_kw$|\.discharge_kw$|\.kwp$|_limit_kw$", 7.0),
    (r"battery\.(soc_start|peak_kw|charge_below_mad|charge_below_g)", 0.5),
    (r"battery\.discharge_above", 300.0),
    (r"battery\.strategy", "tariff"),
    (r"cooling\.kind constant", "chiller"),
    (r"cooling\.kind (piecewise|chiller)", "constant"),
    (r"cluster\.node\.gpus", 4),
    (r"cluster\.node\.idle_kw", 1.5),
    (r"cluster\.node\.loaded_kw", 6.0),
    (r"cluster\.node\.sleep_kw", 0.2),
    (r"cluster\.node\.(wake_s|sleep_after_min)", 77.0),
    (r"cluster\.node\.can_sleep", False),
    (r"cluster\.node\.speed", 2.0),
    (r"grid\.export_cap_share|events\[0\]\.cut", 0.4),
    (r"cluster\.withdrawn\[0\]\.nodes", 2),
    (r"cluster\.withdrawn\[0\]\.hours", 3.0),
    (r"grid\.(tariff|import_limit_kw)\.summer_months", [1, 2]),
    (r"grid\.(tariff|import_limit_kw)\.holidays", ["06-02"]),
    (r"grid\.(tariff\.)?demand_mad", 33.0),
    (r"grid\.tariff\.bands\[0\]\.(export_)?mad_per_kwh", 2.0),
    (r"grid\.import_limit_kw\.bands\[0\]\.kw", 2.0),
    (r"grid\.(tariff|import_limit_kw)\.bands\[0\]\.", "0-24"),
    (r"grid\.export_mad_per_kwh$", 0.3),
    (r"grid\.carbon\.kind constant", "hourly"),
    (r"grid\.carbon\.kind (hourly|csv|electricity-maps|watttime)", "constant"),
    (r"grid\.carbon\.table", "another"),
    (r"grid\.carbon\.file electricity-maps", "maps_other.csv"),
    (r"grid\.carbon\.file watttime", "watttime_other.csv"),
    (r"grid\.carbon\.scope", "direct"),
    (r"grid\.carbon\.fill", "interpolate"),
    (r"events\[0\]\.file", "other_events.csv"),
    (r"events\[0\]\.to_kw", 5.0),
    (r"events\[0\]\.per_year", 8000.0),
    (r"events\[0\]\.between", "10-12"),
    (r"events\[0\]\.months", [1]),
    (r"events\[0\]\.weekdays_only", True),
    (r"events\[0\]\.hours", 1.5),
    (r"events\[0\]\.baseline", "days"),
    (r"other\.kind", "constant"),
    (r"other\.shape", "city"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.file", "other_series.csv"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.time$|(series)\.time csv", "early"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.column", "b"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.scale", 0.5),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.time_format", "%Y|%m|%d %H:%M%z"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.tz", "+05:00"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.label", "right"),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.repeat", True),
    (r"(series|mad_per_kwh|nodes_online|meter|import_limit_kw)\.fill", "interpolate"),
    (r"service\.timezone", "Asia/Tokyo"),
    (r"service\.weekday", [1, 1, 1, 1, 1, 1, 9]),
    (r"service\.hour_(winter|summer)", list(range(1, 25))),
    (r"service\.(users_share|requests|wh_per|base_share|growth)", 0.77),
    (r"fine_tuning\.code", "zz"),
    (r"fine_tuning\.gpus$", [1, 2, 4]),
    (r"fine_tuning\.gpus_weights", [1.0, 2.0, 3.0]),
    (r"fine_tuning\.runtime_quantiles_h", [[0.0, 1.0], [1.0, 5.0]]),
    (r"fine_tuning\.slack_h", [1.0, 2.0]),
    (r"(fine_tuning|one)\.flexibility", "0.5"),
    (r"(fine_tuning|one)\.power_curve", "inference"),
    (r"fine_tuning\.(title|basis)", "other"),
    (r"fine_tuning\.", 0.33),
]
"""Other values, where none can be guessed from what stands there."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files that experiments name: a log, weather and series, each with a twin that says something else."""
    path = tmp_path_factory.mktemp("files")
    times, year = begins(START, 96), begins(datetime(2025, 1, 1, tzinfo=UTC), 8760)
    ghi, dni, dhi, _ = clear(START, 4)
    ghi_of_year = np.maximum(np.tile(ghi[:24], 365), 0.0)

    def write(name: str, head: str, rows: list[str]) -> None:
        (path / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")

    stamps = [
        f"{t:%Y-%m-%dT%H:%MZ},{t:%Y-%m-%dT%H:%M},{t:%Y|%m|%d %H:%M}+0000,{early:%Y-%m-%dT%H:%MZ}"
        for t, early in zip(times, begins(START - timedelta(hours=1), 96), strict=True)
    ]
    for name, factor in (("weather.csv", 1.0), ("other_weather.csv", 0.7)):
        head = "time,bare,odd,early,ghi,less,hole,dni,dhi,temp_air,warm,wind,storm"
        rows = [f"{g * factor:.1f},{g * 0.8:.1f},{'' if i == 12 else g:.5}" for i, g in enumerate(ghi)]
        rows = [f"{row},{b:.1f},{d:.1f},20,30,2,9" for row, b, d in zip(rows, dni, dhi, strict=True)]
        write(name, head, [f"{stamp},{row}" for stamp, row in zip(stamps, rows, strict=True)])
    for name, factor in (("series.csv", 1.0), ("other_series.csv", 0.7)):
        rows = [f"{factor * (1 + i % 24):.2f},{2 + i % 5},{'' if i == 10 else 3}" for i in range(96)]
        write(name, "time,bare,odd,early,a,b,hole", [f"{stamp},{row}" for stamp, row in zip(stamps, rows, strict=True)])
    write("year.csv", "time,a", [f"{t:%Y-%m-%dT%H:%MZ},{g:.1f}" for t, g in zip(year, ghi_of_year, strict=True)])
    for name, begin, values in (
        ("w", START, ghi),
        ("other", START, ghi * 0.7),
        ("hole", START, np.where(np.arange(96) == 12, 9999.0, ghi)),
        ("year", year[0], ghi_of_year),
    ):
        epw(path / f"{name}.epw", begin, values)
        rows = [
            f"{t:%Y,%m,%d,%H,%M},{f'{g:.1f},0,{g:.1f}' if g < 2000 else ',,'},20,3.6"
            for t, g in zip(begins(begin, len(values)), values, strict=True)
        ]
        place = "Source,Location ID,City,Latitude,Longitude,Time Zone,Elevation\nNSRDB,1,-,33.0,-7.0,0,0\n"
        write(f"{name}_nsrdb.csv", place + "Year,Month,Day,Hour,Minute,GHI,DNI,DHI,Temperature,Wind Speed", rows)
    for name, hours, shift in (("", times, 0), ("_other", times, 50), ("_hole", times, 0), ("_year", year, 0)):
        cells = ["" if name == "_hole" and i == 12 else str(300 + shift + i % 24) for i in range(len(hours))]
        rows = [f"{t:%Y-%m-%d %H:%M},{c},{c and int(c) - 90}" for t, c in zip(hours, cells, strict=True)]
        scopes = ("Life cycle", "direct")
        head = ",".join(["Datetime (UTC)", *(f"Carbon intensity gCO2eq/kWh ({scope})" for scope in scopes)])
        write(f"maps{name}.csv", head, rows)
        rows = [f"{t:%Y-%m-%dT%H:%MZ},{c}" for t, c in zip(hours, cells, strict=True)]
        write(f"watttime{name}.csv", "timestamp,MOER", rows)
    for name, gpus in (("log.csv", 4), ("other.csv", 3), ("bad.csv", 2)):
        runs = [(i, -5 if gpus == 2 and i == 3 else 3600 + 600 * i) for i in range(12)]
        rows = [f"j{i},2025-06-01T{2 * i:02}:00,{s},{gpus},{5000 + 700 * i},team{i % 2},one" for i, s in runs]
        write(name, "job_id,submit,runtime_s,gpus,estimate_s,cluster,class", rows)
    write("events.csv", "start,hours,cut", ["2025-06-01T06:00:00Z,2,0.2"])
    write("other_events.csv", "start,hours,cut", ["2025-06-01T07:00:00Z,2,0.2"])
    return path


def merged(document: Table, change: Mapping[str, Any]) -> Table:
    """A document with a change put in, table by table, lists position by position; `None` takes a key out."""
    result = dict(document)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def plain(value: Any) -> Any:
    """All that a value holds, for comparison: names of nodes apart, which no result follows from."""
    if isinstance(value, StepProfile):
        return value.values.tobytes(), value.step_s, value.start_s
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f.name for f in fields(value) if f.compare and (type(value).__name__, f.name) != ("NodeType", "name")]
        return type(value).__name__, *((name, plain(getattr(value, name))) for name in kept)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, Mapping):
        return sorted((str(key), plain(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return repr(value)


def session_of(loaded: Loaded) -> Any:
    """What a session does with an experiment beside its scenarios."""
    plan, experiment = session.plan_runs(loaded, Path("/nowhere")), loaded.experiment
    runs = [(run.cell.seed, run.cell.axes, run.policy.written) for run in plan.runs]
    wanted = [kind for _, kind, _ in plan.wanted]
    own = experiment.objective, experiment.best_known, experiment.account_s, experiment.output_step_s
    return runs, loaded.baseline.written, loaded.base, wanted, own


@lru_cache(maxsize=512)
def outcome(text: str, folder: Path) -> tuple[bool, Any]:
    """Whether a document is accepted, and what a run of it starts from, or else what is told."""
    try:
        loaded = check(json.loads(text), "keys.toml", folder)
        found = build(loaded.at({key: axis.rows[0][0] for axis in loaded.axes for key in axis.keys}), 1)
    except (InputError, SiteError, WorkloadError) as error:
        return False, str(error)
    given = (found.scenario, tuple(found.jobs), found.settings, found.costs, found.temp_air_c, found.meters)
    return True, plain((given, session_of(loaded)))


def guessed(key: Key, document: Table, folder: Path) -> Iterator[Any]:
    """Other values than the one in force."""
    annotation = key.model.model_fields[[part for part in key.path if isinstance(part, str)][-1]].annotation
    now = in_force(key, document, folder)
    yield from (value for value in _options(annotation) if value != now)
    if isinstance(now, bool):
        yield not now
    elif isinstance(now, int | float):
        yield from (type(now)(value) for value in (now / 2, now * 2, now + 1, now + 0.01) if type(now)(value) != now)
    elif isinstance(now, tuple) and now and isinstance(now[0], float):
        yield [value * 0.9 for value in now]
        yield [value * 1.1 for value in now]
    else:
        yield from ("other", 1.0)


def _options(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [option for inner in get_args(annotation) for option in _options(inner)]


def in_force(key: Key, document: Table, folder: Path) -> Any:
    """The value of a key in a document, its default where it is not given; `None` where nothing is."""
    try:
        loaded = check(copy.deepcopy(document), "keys.toml", folder)
    except InputError:
        return None
    value: Any = loaded.experiment
    path = key.path
    if path[:3] == ("sites", "own", "x"):
        value, path = loaded.sites["x"], path[3:]
    for part in path:
        if isinstance(part, int):
            value = value[part] if value and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


@pytest.fixture(autouse=True)
def pvgis(monkeypatch: pytest.MonkeyPatch) -> None:
    """PVGIS without a network: its answer follows from the address."""
    ghi = np.tile(clear(START, 1)[0], 365)

    def answer(lat: float, lon: float, url: str, **_: Any) -> tuple[pd.DataFrame, Table]:
        values = ghi * (0.6 if "less" in url else 0.8)
        values[(np.arange(8760) == 3636) & ("hole" in url)] = np.nan
        table = {"ghi": values, "dni": 0.0 * values, "dhi": values, "temp_air": 20.0, "wind_speed": 2.0}
        return pd.DataFrame(table, index=pd.DatetimeIndex(begins(datetime(2005, 1, 1, tzinfo=UTC), 8760))), {}

    monkeypatch.setattr(pvlib.iotools, "get_pvgis_tmy", answer)


KEYS = [replace(key, path=("quotas", "RSK", *key.path[2:])) if key.path[0] == "quotas" else key for key in every_key()]


def document_of(key: Key) -> Table:
    """A document in which a key can act."""
    document = base()
    for pattern, change in WITH:
        if re.search(pattern, key.title):
            document = merged(document, change)
    for place, kind in key.kinds:
        document = put(document, replace(key, path=(*place, "kind"), kinds=()), kind)
    return document


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.title)
def test_a_key_changes_what_a_run_starts_from(key: Key, folder: Path) -> None:
    document = document_of(key)
    before = outcome(json.dumps(document), folder)
    values = [value for pattern, value in OTHER if re.search(pattern, key.title)][:1]
    quiet = key.title in SPEAKS or bool(ORIGIN.search(key.title))
    told = []
    for value in values or guessed(key, document, folder):
        after = outcome(json.dumps(put(copy.deepcopy(document), replace(key, kinds=()), value)), folder)
        if not before[0] and not after[0]:
            told.append(f"refused with and without {value!r}: {before[1]} / {after[1]}")
        elif after == before:
            told.append(f"no effect of {value!r}")
        elif after[0] or (values and not quiet):
            assert not quiet, f"{value!r} has an effect"
            return
        else:
            told.append(f"{value!r} is refused: {after[1]}")
    assert quiet, "\n".join(told) or "no value to try"


ALONE = [key for key in KEYS if any(re.search(pattern, key.title) for pattern, _ in WITH)]
IDLE = {key for need in (*NEEDS, *SITE_NEEDS) for key in need.keys}


def notes_on(document: Table, folder: Path) -> list[str]:
    """What is told of keys without effect."""
    return idle(check(copy.deepcopy(document), "keys.toml", folder))


@pytest.mark.parametrize("key", ALONE, ids=lambda key: key.title)
def test_a_key_without_what_it_needs_is_refused_or_told(key: Key, folder: Path) -> None:
    document = base()
    for place, kind in key.kinds:
        document = put(document, replace(key, path=(*place, "kind"), kinds=()), kind)
    before = outcome(json.dumps(document), folder)
    for value in [v for pattern, v in OTHER if re.search(pattern, key.title)][:1] or guessed(key, document, folder):
        changed = put(copy.deepcopy(document), replace(key, kinds=()), value)
        if before[0] and outcome(json.dumps(changed), folder) == before and key.title not in SPEAKS:
            told = [line for line in notes_on(changed, folder) if key.dotted in line]
            assert told or key.title in BY_CHANCE or ORIGIN.search(key.title), f"nothing is said of {value!r}"
            return


def test_where_a_key_has_what_it_needs_nothing_is_told(folder: Path) -> None:
    known = {key.dotted.removeprefix("sites.own.x."): key for key in KEYS}
    assert known.keys() - {"other.series"} >= IDLE - {"other.series"}, "there is no such key"
    for name in IDLE - {"other.series"}:
        document = document_of(known[name])
        value = [v for pattern, v in OTHER if re.search(pattern, known[name].title)] or [
            in_force(known[name], document, folder)
        ]
        changed = put(document, replace(known[name], kinds=()), value[0])
        try:
            told = notes_on(changed, folder)
        except InputError:
            continue
        assert not [line for line in told if line.startswith(known[name].dotted)], name


def test_a_key_that_an_axis_gives_its_meaning_is_not_told_of() -> None:
    document = merged(base(), {"workload": {"elastic": {"kind": "moldable"}}})
    assert len(notes_on(document, Path("/nowhere"))) == 1
    loaded = check(document | {"matrix": {"workload.elastic.share": [0.0, 0.5]}}, "keys.toml", Path("/nowhere"))
    assert not idle(loaded, loaded.axis_keys)
    assert not idle(loaded.at({"workload.elastic.share": 0.0}), loaded.axis_keys)


def test_a_table_for_all_sites_is_told_of_only_where_it_is_idle_at_all(folder: Path) -> None:
    document = merged(base(), {"sites": {"all": {"battery": {"peak_kw": 5.0}}}})
    assert notes_on(document, folder) == [
        "sites.all.battery.peak_kw has no effect here: it goes with battery.strategy = 'peak-shaving'"
    ]
    assert not notes_on(merged(document, site(battery={"strategy": "peak-shaving"})), folder)
