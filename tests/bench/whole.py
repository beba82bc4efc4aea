"""Figures of the whole: supply, start-up, the default experiment, the bound, a year, a million jobs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.jobs import COMMAND, Row, apart, in_units

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "experiments" / "bundled"
WEEK = BUNDLED / "morocco_week.toml"


def _spent(call: Callable[[], object]) -> float:
    """Processor time of a call [s]."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def supply_rows() -> list[Row]:
    """Supply of twelve site-years at five minutes, through pvlib and from the cache."""
    import pvlib  # noqa: F401  (importing it is not what is measured)

    from tafukt.sites.site import catalogue
    from tafukt.sites.supply import supply

    sites, start = list(catalogue().values()), datetime(2025, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        cold = _spent(lambda: supply(sites, start, 365, 300.0, 1, Path(folder)))
        warm = _spent(lambda: supply(sites, start, 365, 300.0, 1, Path(folder)))
    return [
        Row("supply, 12 site-years, cold", cold, "s", 2.0, "beyond importing pvlib"),
        Row("supply, 12 site-years, cached", warm, "s", 0.2),
    ]


def start_rows() -> list[Row]:
    """What a user waits for: help, import, and the week and the month with a cold and a warm cache.

    Python keeps what it compiles, as it does of an installed package.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        compiled = {"PYTHONPYCACHEPREFIX": f"{folder}/compiled", "PYTHONDONTWRITEBYTECODE": ""}
        for name, code, words in (
            ("tafukt --help", COMMAND, ["--help"]),
            ("import tafukt", "import tafukt", []),
        ):
            least = min(apart(code, words, compiled)[0] for _ in range(5))
            rows.append(Row(name, least, "s", 0.1, "the least of five"))
        cache = {"TAFUKT_CACHE": f"{folder}/cache"}
        for name, cold, warm in (("morocco_week", 15.0, 6.0), ("morocco_month", 25.0, 15.0)):
            for state, limit in (("cold", cold), ("warm", warm)):
                spent = _wall(
                    ["run", str(BUNDLED / f"{name}.toml"), "-o", f"{folder}/{name}-{state}", "--quiet"], cache
                )
                rows.append(Row(f"{name}, {state}", spent, "s wall", limit, f"{os.cpu_count()} processors"))
    return rows


def _wall(arguments: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


def bound_rows() -> list[Row]:
    """The bound of the default week, and of a year."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.scenario import build
    from tafukt.simulator.bound.lower_bound import lower_bound

    rows = []
    for name, days, limit in (("a week", 7, 2.0), ("a year", 365, 120.0)):
        inputs = build(load_experiment(WEEK, [f"days={days}"]), 1)
        spent = _spent(lambda inputs=inputs: lower_bound(inputs.scenario, inputs.jobs))  # type: ignore[misc]
        rows.append(Row(f"bound, {name}", spent, "s", limit, f"{len(inputs.jobs):,} jobs"))
    return rows


def year_rows(repeats: int = 1) -> list[Row]:
    """The full Morocco year, 100,000 jobs."""
    return _morocco("Morocco year", 365, {"fifo": 14.0, "wait-for-sun": 10.0}, repeats)


def month_rows(repeats: int = 3) -> list[Row]:
    """Four weeks of the Morocco sites under policies of each kind."""
    return _morocco("Morocco, 28 days", 28, {"fifo": 0.8, "easy": 0.8, "wait-for-sun": 1.5}, repeats)


def _morocco(what: str, days: int, limits: dict[str, float], repeats: int) -> list[Row]:
    """So many days of the Morocco sites under each policy, in units of a million timeouts."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.scenario import build
    from tafukt.simulator.engine.engine import simulate
    from tafukt.simulator.policies.presets import policy

    inputs = build(load_experiment(WEEK, [f"days={days}"]), 1)
    rows = []
    for name, limit in limits.items():

        def work(name: str = name) -> None:
            simulate(inputs.scenario, inputs.jobs, policy(name), settings=inputs.settings, check_handed=False)

        ratio, (low, high) = in_units(work, repeats)
        note = f"{len(inputs.jobs):,} jobs, 12 sites, 5 min; U from {low:.2f} to {high:.2f} s"
        rows.append(Row(f"{what}, {name}", ratio, "U", limit, note))
    return rows


MATRIX = """
name = "matrix"
start = 2025-12-01T00:00:00Z
days = {days}
seeds = [{seeds}]
policies = ["fifo", "wait-for-sun"]
bound = false
[sites]
use = {sites}
"""
THREE = '["rabat", "dakhla", "fes"]'
MATRICES = (
    ("2 days, 3 sites", 2, THREE, 1.8),  # where the start of the command weighs as much as a dozen runs
    ("7 days, 3 sites", 7, THREE, 1.8),
    ("the Morocco week", 7, '"morocco"', 1.9),
)


def matrix_rows(seeds: int = 32, repeats: int = 2) -> list[Row]:
    """Whole commands that run a matrix with one worker and with two, on a warm cache, and a run's overhead.

    Python keeps what it compiles, as it does of an installed package: not to do so would cost each start 0.1 s.
    """
    rows = []
    for name, days, sites, gain in MATRICES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "matrix.toml"
            kept = {"TAFUKT_CACHE": f"{folder}/cache", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
            kept["PYTHONDONTWRITEBYTECODE"] = ""
            file.write_text(MATRIX.format(days=days, sites=sites, seeds=", ".join(map(str, range(1, seeds + 1)))))
            _wall(["run", str(file), "-o", f"{folder}/first", "--quiet"], kept)
            best = {1: math.inf, 2: math.inf}
            for repeat in range(repeats):
                for n in best:
                    command = ["run", str(file), "-o", f"{folder}/{n}-{repeat}", "--quiet", "--workers", str(n)]
                    best[n] = min(best[n], _wall(command, kept))
        note = f"{2 * seeds} runs: {best[1]:.1f} s wall with one worker, {best[2]:.1f} s with two"
        rows.append(Row(f"matrix, {name}: two workers against one", best[2] / best[1], "ratio", 1 / gain, note))
    return [*rows, overhead_row()]


def overhead_row(repeats: int = 15) -> Row:
    """What a run of the Morocco week costs beside its simulation: metrics, attribution, tables, writing."""
    import gc
    import statistics

    from tafukt.experiments.cli.app import COLLECT
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.runs import run, session
    from tafukt.experiments.runs import workers as work

    simulate, simulated = run.simulate, []

    def timed(*given: Any, read: Callable[..., None], **more: Any) -> Any:
        """A simulation, and its time without that of reading its books."""
        begin, reading = time.process_time(), []
        record = simulate(*given, read=lambda *books: reading.append(_spent(lambda: read(*books))), **more)
        simulated.append(time.process_time() - begin - sum(reading))
        return record

    before = gc.get_threshold()
    with tempfile.TemporaryDirectory() as folder:
        first = session.plan_runs(load_experiment(WEEK, ["bound=false"]), Path(folder)).runs[0]
        run.inputs_of(first.cell)
        try:
            run.simulate = timed
            gc.set_threshold(*COLLECT)  # as a worker has it
            gc.freeze()
            beside = []
            for repeat in range(repeats):
                whole = _spent(lambda: work.do(f"{folder}/{repeat}", work.WorkUnit(first.cell, (first,))))  # noqa: B023
                beside.append(whole - simulated[-1])
        finally:
            run.simulate = simulate
            gc.set_threshold(*before)
            gc.unfreeze()
    note = f"{first.policy.label}; at least {1e3 * min(beside):.0f} ms"
    return Row("overhead of a run, Morocco week", statistics.median(beside), "s", 0.035, note)


def growth_rows() -> list[Row]:
    """How time grows with ten times as many jobs, sites and steps; 10 is linear."""
    import numpy as np

    from bench.jobs import DAY_S, small_sites
    from tafukt.simulator.engine.engine import simulate
    from tafukt.simulator.policies.presets import policy
    from tafukt.simulator.scenario import Scenario
    from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth

    def jobs(count: int, days: float, sites: int) -> list[Job]:
        """Jobs of one offered load, spread over the sites."""
        rng = np.random.default_rng(1)
        submits = np.sort(rng.uniform(0, days * DAY_S, count)).tolist()
        # The offered load stays the same, two thirds of the GPUs.
        mean_s = 0.66 * sites * 8 * days * DAY_S / count / 2
        runtimes = rng.exponential(mean_s, count).tolist()
        made = []
        for k, (submit, runtime) in enumerate(zip(submits, runtimes, strict=True)):
            name = f"s{k % sites}"
            ask = Ask(f"j{k:07d}", submit, 2, runtime, 0.0, Tenant(f"r{k % sites}"), name, Dataset("d", 0.0, name))
            made.append(Job(ask, Truth(2 * runtime)))
        return made

    def timed(count: int, days: float, sites: int) -> float:
        whole = small_sites((days + 30) * DAY_S)
        chosen = Scenario(whole.sites[:sites], whole.end_s, whole.step_s)
        drawn = jobs(count, days, sites)
        return _spent(lambda: simulate(chosen, drawn, policy("fifo")))

    timed(1_000, 30, 12)
    rows = []
    for name, small, large in (
        ("10x jobs, 12 sites, 90 days", (5_000, 90, 12), (50_000, 90, 12)),
        ("10x steps, 5,000 jobs, 12 sites", (5_000, 30, 12), (5_000, 300, 12)),
        ("10x sites, 500 jobs a site, 90 days", (500, 90, 1), (5_000, 90, 10)),
    ):
        a, b = timed(*small), timed(*large)
        rows.append(Row(f"growth, {name}", b / a, "times", 12.0, f"{a:.2f} s to {b:.2f} s under fifo"))
    return rows
