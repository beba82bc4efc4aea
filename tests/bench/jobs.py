"""How fast the job half is, against a unit that moves with the machine: a million bare SimPy timeouts.

U is the processor time of 1,000,000 timeouts from 12 processes in the same process. Machines change speed
within seconds, so every measurement stands between two of U, and the median of the ratios counts.
"""

from __future__ import annotations

import gzip
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simpy

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth
from tafukt.workloads.job_table import JobTable, accounting_end_s

COMMAND = "import sys; from tafukt.experiments.cli.app import main; sys.argv[0] = 'tafukt'; main()"
SITES, STEP_S, DAY_S, HOUR_S = 12, 300.0, 86_400.0, 3600.0


@dataclass(frozen=True)
class Row:
    """One figure of the benchmark: what was measured, its value and unit, and the value it must stay under."""

    name: str
    value: float
    unit: str
    limit: float
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure stays under its limit."""
        return self.value <= self.limit


def unit_s(events: int = 1_000_000, processes: int = 12) -> float:
    """Processor time of a million bare timeouts from twelve processes [s]."""
    env = simpy.Environment()

    def ticker(delay: float) -> object:
        for _ in range(events // processes):
            yield env.timeout(delay)

    for index in range(processes):
        env.process(ticker(1.0 + 0.01 * index))  # type: ignore[arg-type]
    begin = time.process_time()
    env.run()
    return time.process_time() - begin


def in_units(work: Callable[[], object], repeats: int) -> tuple[float, tuple[float, float]]:
    """Median of the ratios of `work` to the mean of the units before and after it, and the range of U [s]."""
    units, ratios = [unit_s()], []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        spent = time.process_time() - begin
        units.append(unit_s())
        ratios.append(spent / (0.5 * (units[-2] + units[-1])))
    return statistics.median(ratios), (min(units), max(units))


def small_sites(end_s: float, nodes: int = 1) -> Scenario:
    """Twelve sites with sun and battery, of `nodes` 8-GPU nodes each, nodes sleeping when empty."""
    n = math.ceil(end_s / STEP_S)
    hours = (np.arange(n) + 0.5) * STEP_S / HOUR_S
    sun = np.maximum(np.sin((hours / 24.0 - 0.25) * 2.0 * np.pi), 0.0) * 10_000.0 * nodes

    def flat(value: float) -> StepProfile:
        return StepProfile(np.full(n, value), STEP_S)

    node = NodeType("a100", 8, 1510.0, 5040.0, 150.0, 180.0, 600.0)
    grid = Grid(flat(1.0 / 3.6e6), flat(600.0 / 3.6e6), flat(0.0))
    battery = Battery(10 * 3.6e6 * nodes, 5_000.0 * nodes, 5_000.0 * nodes)
    sites = tuple(
        Site(f"s{i}", f"r{i}", node, nodes, StepProfile(sun, STEP_S), flat(0.15), flat(0.0), grid, battery)
        for i in range(SITES)
    )
    return Scenario(sites, n * STEP_S, STEP_S)


def pai_jobs(data: Path) -> list[Job]:
    """The 100,000 jobs of a year at Alibaba: one GPU per cpu, at most 8, submitted round the sites."""
    with gzip.open(data / "traces" / "pai_100k.csv.gz", "rt") as file:
        rows = np.genfromtxt(file, delimiter=",", names=True)
    jobs = []
    tenants = [Tenant(f"r{i}") for i in range(SITES)]
    data_sets = [Dataset(f"d{i}", 0.0, f"s{i}") for i in range(SITES)]
    for index, (arrival_h, length_h, cpus) in enumerate(rows.tolist()):
        home, gpus, runtime = index % SITES, int(min(max(round(cpus), 1), 8)), length_h * HOUR_S
        ask = Ask(f"p{index:06d}", arrival_h * HOUR_S, gpus, runtime, 0.0, tenants[home], f"s{home}", data_sets[home])
        jobs.append(Job(ask, Truth(gpus * runtime)))
    return jobs


def replay(data: Path, repeats: int = 5) -> list[Row]:
    """A year of Alibaba's jobs on twelve sites of one node, energy ledger included."""
    jobs = pai_jobs(data)
    scenario = small_sites(accounting_end_s(jobs, SITES * 8.0))
    rows = []
    for name, limit in (("fifo", 4.0), ("easy", 5.5)):
        ratio, (low, high) = in_units(
            lambda name=name: simulate(scenario, jobs, policy(name), check_handed=False), repeats
        )  # type: ignore[misc]
        rows.append(Row(f"pai_100k {name}", ratio, "U", limit, f"U from {low:.2f} to {high:.2f} s"))
    return rows


def long_queue(waiting: int) -> tuple[float, float]:
    """Median time of a round with so many jobs waiting [us]: after an arrival, and after an end."""
    rng = np.random.default_rng(1)
    scenario = small_sites(20 * DAY_S)
    tenants = [Tenant(f"r{i}") for i in range(SITES)]
    jobs = []
    for index in range(waiting + 2000):
        home, gpus = index % SITES, int(rng.choice([1, 2, 4, 8]))
        submit = 0.0 if index < waiting else 10.0 * (index - waiting)
        runtime, data = float(rng.uniform(2 * HOUR_S, 20 * HOUR_S)), Dataset("d", 0.0, f"s{home}")
        ask = Ask(f"q{index:06d}", submit, gpus, runtime, 0.0, tenants[home], f"s{home}", data)
        jobs.append(Job(ask, Truth(gpus * runtime)))
    watch = _Stopwatch("easy")
    simulate(scenario, jobs, watch)
    return watch.median_us("arrival"), watch.median_us("end")


class _Stopwatch:
    """A preset whose rounds are timed, apart by what has led to them."""

    def __init__(self, name: str) -> None:
        self.inner = policy(name)
        self.name = name
        self.spent: dict[str, list[float]] = {"arrival": [], "end": [], "both": []}

    def begin(self, view: object) -> None:
        self.inner.begin(view)
        self._why: set[str] = set()

    def waiting(self, job: object) -> None:
        self._why.add("arrival")
        self.inner.waiting(job)

    def freed(self, job: object, site: int) -> None:
        self._why.add("end")
        self.inner.freed(job, site)

    def round(self, view: object) -> Iterator[object]:
        begin = time.perf_counter()
        yield from self.inner.round(view)
        self.spent["both" if len(self._why) > 1 else next(iter(self._why), "both")].append(time.perf_counter() - begin)
        self._why.clear()

    def median_us(self, why: str) -> float:
        """Median of the rounds that followed an arrival alone, or an end alone [us]."""
        return 1e6 * statistics.median(self.spent[why][1:])


def queue() -> list[Row]:
    """Rounds of EASY with ten and twenty thousand jobs waiting."""
    rows = []
    for waiting in (10_000, 20_000):
        arrival, end = long_queue(waiting)
        rows.append(Row(f"round, {waiting} waiting, after an arrival", arrival, "us", 100.0))
        rows.append(Row(f"round, {waiting} waiting, after an end", end, "us", 100.0, "starts included"))
    return rows


def _million() -> None:
    """What the subprocess of `memory` does: a million jobs, made one by one into a table, through `fifo`."""
    rng = np.random.default_rng(1)
    count, span = 1_000_000, 60 * DAY_S
    homes = [f"s{i}" for i in range(SITES)]
    tenants = [Tenant(f"r{i}") for i in range(SITES)]
    data_sets = [Dataset("d", 0.0, home) for home in homes]
    submits, runtimes = np.sort(rng.uniform(0, span, count)), rng.exponential(HOUR_S, count)

    def each() -> Iterator[Job]:
        for index in range(count):
            home, runtime = index % SITES, float(runtimes[index])
            submit = float(submits[index])
            ask = Ask(f"m{index:07d}", submit, 1, runtime, 0.0, tenants[home], homes[home], data_sets[home])
            yield Job(ask, Truth(runtime))

    jobs = JobTable.of(each())
    simulate(small_sites(70 * DAY_S, nodes=12), jobs, policy("fifo"), check_handed=False)


def memory() -> list[Row]:
    """Peak memory of a run of a million jobs, every event kept, in a process of its own."""
    _, peak_gb = apart("from bench.jobs import _million; _million()")
    return [Row("peak memory, a million jobs", peak_gb, "GB", 0.7)]


# A process begins with the peak memory of whoever started it, so it is started by one that holds next to nothing.
STARTER = """
import os, subprocess, sys
begun = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(begun.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)
"""


def apart(
    code: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Processor time [s] and peak memory [GB] of some Python as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", STARTER, code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, **(environment or {})},
    )
    ended, spent_s, peak_gb = done.stdout.split()
    if ended != "0":
        raise RuntimeError(f"{code} {' '.join(arguments)} ends with {ended}: {done.stderr}")
    return float(spent_s), float(peak_gb)


def rows(data: Path, repeats: int = 5) -> list[Row]:
    """Every figure of the job half; `data` is the folder that holds `traces`."""
    return [*replay(data, repeats), *queue(), *memory()]
