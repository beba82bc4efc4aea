"""Figures at ten times the size: many sites, one large site, many years, many runs, and what whole commands hold."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.jobs import DAY_S, HOUR_S, Row, apart, small_sites
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Scenario
from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth

MONTH = 30
COMMAND = "import sys; from tafukt.experiments.cli.app import main; sys.argv[0] = 'tafukt'; main()"


def child(arguments: Sequence[str], cache: str) -> tuple[float, float]:
    """Processor time [s] and peak memory [GB] of a command as a process of its own."""
    return apart(COMMAND, arguments, {"TAFUKT_CACHE": cache})


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


def site_rows() -> list[Row]:
    """A month of 10, 100 and 1,000 sites with 200 jobs each, under `fifo` with ledger and bound; growth in n log n."""
    spent, rows = {}, []
    for count in (10, 100, 1000):
        scenario = many_sites(count, MONTH + 10)
        spent[count] = _spent_s(scenario, jobs_for(scenario, 200 * count, MONTH), bound=True)
    for few, many in ((10, 100), (100, 1000)):
        limit = 10 * math.log(200 * many) / math.log(200 * few)
        note = f"{spent[few]:.1f} s to {spent[many]:.1f} s with ledger and bound; the limit is n log n"
        rows.append(Row(f"growth, {few} to {many} sites", spent[many] / spent[few], "times", limit, note))
    return [Row("1,000 sites, a month, 200,000 jobs, fifo and bound", spent[1000], "s", 120.0), *rows]


def one_large_site_row(nodes: int = 10_000, jobs: int = 100_000) -> Row:
    """One site of so many nodes against twelve that have as many between them."""
    times = []
    for count, each in ((1, nodes), (12, nodes // 12)):
        scenario = many_sites(count, MONTH + 10, each)
        times.append(_spent_s(scenario, jobs_for(scenario, jobs, MONTH)))
    note = f"{times[0]:.1f} s against {times[1]:.1f} s"
    return Row(f"one site of {nodes:,} nodes against 12 x {nodes // 12:,}", times[0] / times[1], "ratio", 1.5, note)


def years_row() -> Row:
    """Ten years of twelve sites without jobs against one year; 10 is linear."""
    times = [_spent_s(many_sites(12, 365 * years), []) for years in (1, 10)]
    return Row("10 years of 12 sites against 1", times[1] / times[0], "times", 11.0, f"{times[1]:.1f} s")


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
            ("run --index", ["run", file, "-o", f"{place}/task", "--quiet", "--index", "7"]),
        ):
            spent, peak = child(command, cache)
            rows.append(Row(f"matrix of {kwp * kwh:,} runs, {name}", spent, "s", 3.0, f"{peak:.2f} GB"))
    return rows


CHEAP = ["fifo", "easy", "solar", "fcfs", "sjf", "least-loaded", "edf", "greenest"]


def report_rows() -> list[Row]:
    """The report of a month of twelve sites under eight policies and five seeds."""
    with tempfile.TemporaryDirectory() as place:
        cache, settings = f"{place}/cache", [f"policies={CHEAP}", "seeds=[1, 2, 3, 4, 5]", "bound=false"]
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
    return [*site_rows(), one_large_site_row(), years_row(), *many_runs_rows(), *report_rows()]
