"""Figures at ten times the size: many sites, one large site, many years, many runs, and what whole commands hold."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.jobs import COMMAND, DAY_S, HOUR_S, Row, apart, small_sites
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Scenario
from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth

MONTH = 30


def child(arguments: Sequence[str], cache: str, more: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Processor time [s] and peak memory [GB] of a command as a process of its own.

    Python keeps what it compiles beside the cache, as it does of an installed package.
    """
    compiled = {"PYTHONPYCACHEPREFIX": f"{cache}-compiled", "PYTHONDONTWRITEBYTECODE": ""}
    return apart(COMMAND, arguments, {"TAFUKT_CACHE": cache, **compiled, **(more or {})})


def many_sites(count: int, days: float, nodes: int = 1) -> Scenario:
    """So many sites of the benchmark's kind, each under a name of its own, sharing their profiles."""
    kit = small_sites(days * DAY_S, nodes)
    sites = tuple(replace(kit.sites[i % len(kit.sites)], name=f"s{i:04d}", region=f"r{i:04d}") for i in range(count))
    return replace(kit, sites=sites)


def jobs_for(scenario: Scenario, count: int, days: float, load: float = 0.55) -> list[Job]:
    """So many jobs over so many days, submitted round the sites; `load` is their share of all GPU time."""
    rng = np.random.default_rng(1)
    names = [site.name for site in scenario.sites]
    gpus = sum(site.gpus for site in scenario.sites)
    mean_s = load * gpus * days * DAY_S / count / 2
    tenants = [Tenant(site.region) for site in scenario.sites]
    data = [Dataset("d", 0.0, name) for name in names]
    draws = zip(
        np.sort(rng.uniform(0, days * DAY_S, count)).tolist(), rng.exponential(mean_s, count).tolist(), strict=True
    )
    jobs = []
    for index, (submit_s, runtime_s) in enumerate(draws):
        home = index % len(names)
        ask = Ask(
            f"j{index:07d}", submit_s, 2, runtime_s, 12 * HOUR_S, tenants[home], names[home], data[home]
        )  # fmt: skip
        jobs.append(Job(ask, Truth(2 * runtime_s)))
    return jobs


def _spent_s(scenario: Scenario, jobs: Sequence[Job], bound: bool = False) -> float:
    """Processor time of `fifo` with its books, and of the bound where it is wanted [s]."""
    begin = time.process_time()
    simulate(scenario, jobs, policy("fifo"), check_handed=False)
    if bound:
        lower_bound(scenario, jobs)
    return time.process_time() - begin


def _site_run(count: int, place: str) -> None:
    """What a subprocess of `site_rows` does: a month of so many sites; its processor time goes to a file [s]."""
    scenario = many_sites(count, MONTH + 10)
    Path(place).write_text(str(_spent_s(scenario, jobs_for(scenario, 200 * count, MONTH), bound=True)))


def site_rows(counts: Sequence[int] = (10, 100, 1000)) -> list[Row]:
    """A month of 10, 100 and 1,000 sites with 200 jobs each, under `fifo` with ledger and bound; growth in n log n."""
    spent, peak_gb, rows = {}, {}, []
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            code = f"from bench.scale import _site_run; _site_run({count}, {f'{place}/spent_s'!r})"
            _, peak_gb[count] = apart(code)
            spent[count] = float(Path(f"{place}/spent_s").read_text())
    most = counts[-1]
    what = f"{most:,} sites, a month, {200 * most:,} jobs, fifo and bound"
    rows += [Row(what, spent[most], "s", 120.0), Row(f"{what}, peak memory", peak_gb[most], "GB", 4.0)]
    for few, many in pairwise(counts):
        limit = many / few * math.log(200 * many) / math.log(200 * few)
        note = f"{spent[few]:.1f} s to {spent[many]:.1f} s with ledger and bound; the limit is n log n"
        rows.append(Row(f"growth, {few} to {many} sites", spent[many] / spent[few], "times", limit, note))
    return rows


def one_large_site_row(nodes: int = 10_000, jobs: int = 100_000) -> Row:
    """One site of so many nodes against twelve that have as many between them."""
    times = []
    for count, each in ((1, nodes), (12, nodes // 12)):
        scenario = many_sites(count, MONTH + 10, each)
        times.append(_spent_s(scenario, jobs_for(scenario, jobs, MONTH)))
    note = f"{times[0]:.1f} s against {times[1]:.1f} s"
    return Row(f"one site of {nodes:,} nodes against 12 x {nodes // 12:,}", times[0] / times[1], "ratio", 1.5, note)


def years_row(days: int = 365) -> Row:
    """Ten years of twelve sites without jobs against one year; 10 is linear."""
    times = [_spent_s(many_sites(12, days * years), []) for years in (1, 10)]
    return Row("10 years of 12 sites against 1", times[1] / times[0], "times", 11.0, f"{times[1]:.1f} s")


ENERGY_ONLY = """
name = "energy"
start = 2025-01-01T00:00:00Z
days = {days}
step_min = 5
workload = "none"
policies = ["fifo"]
bound = false
"""
ENERGY_SITE = """
[sites.own.site_{index}]
like = "rabat"
lat = 34.0
lon = -6.8
tz = "Africa/Casablanca"
region = "region_{index}"
cluster.nodes = 0
battery.kwh = 100
pv.series = {{ file = "sun.csv", column = "site_{index}" }}
other = {{ kind = "csv", series = {{ file = "load.csv", column = "site_{index}" }} }}
"""


def _write_series(folder: Path, days: int, sites: int = 12, step_s: int = 300) -> None:
    """Two CSV files with a column for each site: sun and load every five minutes [kW]."""
    rng, per_day = np.random.default_rng(1), 86_400 // step_s
    hours = (np.arange(days * per_day) + 0.5) * step_s / HOUR_S
    sky = np.repeat(rng.uniform(0.3, 1.0, (days, sites)), per_day, axis=0)
    sun = 100.0 * np.maximum(np.sin((hours / 24 - 0.25) * 2 * np.pi), 0.0)[:, None] * sky
    load = 25.0 + 5.0 * np.sin(hours / 24 * 2 * np.pi)[:, None] + rng.uniform(-3.0, 3.0, sun.shape)
    times = np.datetime64("2025-01-01T00:00:00") + step_s * np.arange(len(hours)).astype("timedelta64[s]")
    for name, kilowatts in (("sun", sun), ("load", load)):
        rows = zip(times.astype(str).tolist(), kilowatts.round(3).astype(str).tolist(), strict=True)
        head = ",".join(["time", *(f"site_{index}" for index in range(sites))])
        lines = (f"{time}Z,{','.join(values)}\n" for time, values in rows)
        (folder / f"{name}.csv").write_text(f"{head}\n{''.join(lines)}", encoding="utf-8")


def energy_only_rows(days: int = 365) -> list[Row]:
    """A year of twelve sites of energy alone, sun and load from two CSV files: a whole command, cold and again."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        _write_series(Path(place), days)
        text = ENERGY_ONLY.format(days=days) + "".join(ENERGY_SITE.format(index=index) for index in range(12))
        Path(f"{place}/energy.toml").write_text(text, encoding="utf-8")
        compiled = {"PYTHONPYCACHEPREFIX": f"{place}/compiled", "PYTHONDONTWRITEBYTECODE": ""}
        child(
            ["run", f"{place}/energy.toml", "-o", f"{place}/short", "--quiet", "--set", "days=1"],
            f"{place}/other",
            compiled,
        )
        for name in ("files read the first time", "again"):
            command = ["run", f"{place}/energy.toml", "-o", f"{place}/{name.split()[0]}", "--quiet"]
            spent, peak = child(command, f"{place}/cache", compiled)
            what = f"12 energy-only sites from two CSV files, a year, {name}"
            rows += [Row(what, spent, "s", 2.1), Row(f"{what}, peak memory", peak, "GB", 0.3)]
    return rows


SMALL = """
name = "many"
start = 2025-12-01T00:00:00Z
days = 1
policies = ["fifo"]
bound = false
[sites]
use = ["rabat", "dakhla", "fes"]
[matrix]
sites.all.pv.kwp = {kwp}
sites.all.battery.kwh = {kwh}
"""


def many_runs_rows(kwp: int = 40, kwh: int = 50) -> list[Row]:
    """A matrix of 2,000 scenarios: a run, then report, compare, a run with nothing to do, and one task of an array."""
    with tempfile.TemporaryDirectory() as place:
        file, out, cache = f"{place}/many.toml", f"{place}/out", f"{place}/cache"
        sizes = [20 + 0.5 * i for i in range(kwp)], [20 + 5 * i for i in range(kwh)]
        Path(file).write_text(SMALL.format(kwp=sizes[0], kwh=sizes[1]), encoding="utf-8")
        whole, _ = child(["run", file, "-o", out, "--quiet", "--workers", "1"], cache)
        rows = [Row(f"matrix of {kwp * kwh:,} runs, a run", whole / (kwp * kwh), "s", 0.035, "the simulation in it")]
        for name, command in (
            ("report", ["report", out]),
            ("compare", ["compare", out]),
            ("run, nothing to do", ["run", file, "-o", out, "--quiet"]),
            ("run --index", ["run", file, "-o", f"{place}/task", "--quiet", "--index", str(min(7, kwp * kwh - 1))]),
        ):
            spent, peak = child(command, cache)
            rows.append(Row(f"matrix of {kwp * kwh:,} runs, {name}", spent, "s", 3.0, f"{peak:.2f} GB"))
    return rows


CHEAP = ["fifo", "easy", "solar", "fcfs", "sjf", "least-loaded", "edf", "greenest"]


def report_rows(*more: str) -> list[Row]:
    """The report of a month of twelve sites under eight policies and five seeds; `more` settings may shorten it."""
    with tempfile.TemporaryDirectory() as place:
        cache, settings = f"{place}/cache", [f"policies={CHEAP}", "seeds=[1, 2, 3, 4, 5]", "bound=false", *more]
        asked = [word for setting in settings for word in ("--set", setting)]
        child(["run", "morocco_month", "-o", f"{place}/month", "--quiet", *asked], cache)
        spent, peak = child(["report", f"{place}/month"], cache)
    return [
        Row("report of a month, 12 sites, 8 policies, 5 seeds", spent, "s", 5.0),
        Row("report of a month, peak memory", peak, "GB", 0.5),
    ]


def quick_rows() -> list[Row]:
    """Ratios within one run that say whether something has begun to grow faster than it should."""
    few, many = (many_sites(count, 20) for count in (10, 100))
    a, b = (_spent_s(scenario, jobs_for(scenario, 100 * len(scenario.sites), 10)) for scenario in (few, many))
    return [Row("growth, 10 to 100 sites, 10 days", b / a, "times", 13.0, f"{a:.2f} s to {b:.2f} s under fifo")]


def rows() -> list[Row]:
    """Every figure at ten times the size."""
    sizes = [*site_rows(), one_large_site_row(), years_row()]
    return [*energy_only_rows(), *sizes, *many_runs_rows(), *report_rows()]
