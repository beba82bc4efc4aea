"""Figures of the whole: supply, start-up, the default experiment, the bound, a year, a million jobs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.jobs import Row, in_units

ROOT = Path(__file__).resolve().parent.parent
WEEK = ROOT / "experiments" / "morocco_week.toml"


def _spent(call: Callable[[], object]) -> float:
    """Processor time of a call [s]."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def supply_rows() -> list[Row]:
    """Supply of twelve site-years at five minutes, through pvlib and from the cache."""
    import pvlib  # noqa: F401  (importing it is not what is measured)

    from sites.site import catalogue
    from sites.supply import supply

    sites, start = list(catalogue().values()), datetime(2025, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        cold = _spent(lambda: supply(sites, start, 365, 300.0, 1, Path(folder)))
        warm = _spent(lambda: supply(sites, start, 365, 300.0, 1, Path(folder)))
    return [
        Row("supply, 12 site-years, cold", cold, "s", 2.0, "beyond importing pvlib"),
        Row("supply, 12 site-years, cached", warm, "s", 0.2),
    ]


def start_rows() -> list[Row]:
    """What a user waits for: help, and the default experiment with a cold and a warm cache [s of wall time]."""
    rows = [Row("tafukt --help", _wall(["--help"], {}), "s wall", 0.5)]
    with tempfile.TemporaryDirectory() as folder:
        cache = {"TAFUKT_CACHE": f"{folder}/cache"}
        for name, limit in (("cold", 15.0), ("warm", 6.0)):
            spent = _wall(["run", str(WEEK), "-o", f"{folder}/{name}", "--quiet"], cache)
            rows.append(Row(f"morocco_week, {name}", spent, "s wall", limit, f"{os.cpu_count()} processors"))
    return rows


def _wall(arguments: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    code = "import sys; from experiments.cli import main; sys.argv[0] = 'tafukt'; main()"
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


def bound_rows() -> list[Row]:
    """The bound of the default week, and of a year."""
    from experiments.build import build
    from experiments.config_load import load
    from simulator.bound import lower_bound

    rows = []
    for name, days, limit in (("a week", 7, 2.0), ("a year", 365, 120.0)):
        inputs = build(load(WEEK, [f"days={days}"]), 1)
        spent = _spent(lambda inputs=inputs: lower_bound(inputs.scenario, inputs.jobs))  # type: ignore[misc]
        rows.append(Row(f"bound, {name}", spent, "s", limit, f"{len(inputs.jobs):,} jobs"))
    return rows


def year_rows(repeats: int = 1) -> list[Row]:
    """The full Morocco year, 100,000 jobs, under `fifo` and `wait-for-sun`, in units of a million timeouts."""
    from experiments.build import build
    from experiments.config_load import load
    from simulator.engine import simulate
    from simulator.policies.presets import policy

    inputs = build(load(WEEK, ["days=365"]), 1)
    rows = []
    for name, limit in (("fifo", 14.0), ("wait-for-sun", 14.0)):
        ratio, (low, high) = in_units(
            lambda name=name: simulate(inputs.scenario, inputs.jobs, policy(name), settings=inputs.settings),  # type: ignore[misc]
            repeats,
        )
        note = f"{len(inputs.jobs):,} jobs, 12 sites, 5 min; U from {low:.2f} to {high:.2f} s"
        rows.append(Row(f"Morocco year, {name}", ratio, "U", limit, note))
    return rows


def memory_rows() -> list[Row]:
    """Peak memory of a process that generates a million jobs [GB]."""
    code = (
        "import resource; from datetime import datetime, UTC; from pathlib import Path;"
        "from workloads.workload import GeneratorModel, Place, build;"
        "places = [Place(f's{i}', f'r{i}', 3e6, 80) for i in range(12)];"
        "model = GeneratorModel(kind='generator', load=None, jobs_per_day_per_million=77.0);"
        "jobs = build(model, places, datetime(2025, 1, 1, tzinfo=UTC), 365, 1, Path('.')).jobs;"
        "print(len(jobs), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    jobs, kib = (int(word) for word in found.stdout.split())
    return [Row("a million generated jobs", kib * 1024 / 1e9, "GB", 2.0, f"{jobs:,} jobs")]


def peak_gb() -> float:
    """Peak memory of this process so far [GB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
