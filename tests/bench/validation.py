"""Writes `docs/validation.md`: what was compared with what, the threshold set beforehand, what was found.

`python -m bench.validation` makes every comparison anew; `--fast` those that take under a second, and writes nothing.
Comparisons with tables that are not part of the repository need the data folder (`TAFUKT_DATA`).
"""

from __future__ import annotations

import csv
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench import others
from bench.others import Held
from tafukt.simulator.bound.lower_bound import lower_bound
from tafukt.simulator.energy.battery import stepper
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Dataset, Job, Tenant, Truth

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAFUKT_DATA", ROOT.parent / "shared" / "data"))
Found = TypeVar("Found")
PARTS = Path(__file__).resolve().parent
HOUR, DAY, KWH = 3600.0, 86_400.0, 3.6e6


@dataclass(frozen=True)
class Row:
    """One comparison: `found` must not exceed `limit`; both in `unit`."""

    what: str
    against: str
    measure: str
    found: float
    limit: float
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether what was found keeps to the threshold."""
        return self.found <= self.limit


# --- queues -------------------------------------------------------------------------------------------


def _pool(gpus: int, end_s: float) -> Scenario:
    zero = StepProfile.constant(0.0, end_s, HOUR)
    node = NodeType("pool", gpus, 100.0, 200.0, 10.0)
    return Scenario((Site("s", "r", node, 1, zero, zero, zero, Grid(zero, zero, zero)),), end_s, HOUR)


def _jobs(submits: np.ndarray, runtimes: np.ndarray, gpus: np.ndarray | None = None) -> list[Job]:
    sizes = np.ones(len(submits), dtype=int) if gpus is None else gpus
    return [
        Job(
            Ask(f"{i:06d}", float(t), int(g), float(r), 0.0, Tenant("r"), "s", Dataset("d", 0.0, "s")),
            Truth(float(r) * int(g)),
        )
        for i, (t, r, g) in enumerate(zip(submits, runtimes, sizes, strict=True))
    ]


def _starts(jobs: list[Job], gpus: int) -> np.ndarray:
    end_s = math.ceil((jobs[-1].ask.submit_s + 30 * DAY) / DAY) * DAY
    record = simulate(_pool(gpus, end_s), jobs, policy("fcfs"), settings=Settings(events="none"))
    return np.array([outcome.start_s for outcome in record.outcomes])


def _queue(what: str, formula_s: float, rate: float, runtimes: np.ndarray, servers: int, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    submits = np.cumsum(rng.exponential(1 / rate, len(runtimes)))
    waits = (_starts(_jobs(submits, runtimes), servers) - submits)[1000:]
    means = np.array([part.mean() for part in np.array_split(waits, 20)])
    half = 3.883 * float(means.std(ddof=1)) / math.sqrt(20)
    found = abs(float(means.mean()) - formula_s)
    note = f"formula {formula_s:.1f} s, simulated {means.mean():.1f} s"
    return Row(what, "queueing theory", "mean wait of 20,000 jobs, within its 99.9 % interval", found, half, "s", note)


def queues() -> Iterator[Row]:
    """Waits of M/M/1, M/M/4 and M/G/1."""
    rng, mean = np.random.default_rng(2), 100.0
    for servers in (1, 4):
        rate = 0.7 * servers / mean
        load = rate * mean
        tail = load**servers / math.factorial(servers) * servers / (servers - load)
        head = sum(load**k / math.factorial(k) for k in range(servers))
        wait = tail / (head + tail) * mean / (servers - load)
        yield _queue(f"M/M/{servers} at load 0.7", wait, rate, rng.exponential(mean, 20_000), servers, servers)
    runtimes = np.where(rng.random(20_000) < 0.9, 50.0, 550.0)
    moment = 0.9 * 50.0**2 + 0.1 * 550.0**2
    yield _queue("M/G/1 at load 0.6 (Pollaczek-Khinchine)", 0.006 * moment / 0.8, 0.006, runtimes, 1, 9)


def nasa() -> Iterator[Row]:
    """Strict first come, first served on a real log, against ten lines of Python."""
    import gzip
    import heapq

    with gzip.open(DATA / "traces" / "nasa_ipsc_1993.swf.gz", "rt") as file:
        fields = [line.split() for line in file if not line.startswith(";")]
    rows = sorted((float(f[1]), int(f[4]), float(f[3])) for f in fields if float(f[3]) > 0 and int(f[4]) > 0)
    free, now, running, starts = 128, 0.0, [], []
    for submit, gpus, runtime in rows:
        now = max(now, submit)
        while running and (running[0][0] <= now or free < gpus):
            end, given = heapq.heappop(running)
            now, free = max(now, end), free + given
        free -= gpus
        heapq.heappush(running, (now + runtime, gpus))
        starts.append(now)
    submits, gpus, runtimes = (np.array(column) for column in zip(*rows, strict=True))
    other = int(np.sum(_starts(_jobs(submits, runtimes, gpus), 128) != np.array(starts)))
    what = f"FCFS on the NASA iPSC log of 1993, {len(rows):,} jobs"
    yield Row(what, "a reference loop", "jobs that start at another second", other, 0, "jobs")


# --- battery and bound --------------------------------------------------------------------------------


def battery() -> Iterator[Row]:
    """Closed forms against small Runge-Kutta steps of the equation of motion."""
    worst = 0.0
    for k in (0.0, 1e-6, 1e-5):
        cell = Battery(50 * KWH, 20e3, 15e3, 0.95, 0.9, k, 0.05, 0.95, taper_soc=0.1)
        advance = stepper(cell, cell.capacity_j)
        for offer in (25e3, 6e3, 500.0, -500.0, -6e3, -25e3):
            stored, left = 0.5 * cell.capacity_j, 6 * HOUR
            while left > 0:
                _, stored, used = advance(stored, offer, left, ())
                left -= used
            worst = max(worst, abs(stored - _integrated(cell, offer)) / cell.capacity_j)
    yield Row("Battery: limits, losses, self-discharge, taper", "fourth-order Runge-Kutta in steps of 1 s",
              "difference of what is stored after 6 h, of the capacity", worst, 1e-6)  # fmt: skip


def _integrated(cell: Battery, offer: float) -> float:
    band, low, high = (x * cell.capacity_j for x in (cell.taper_soc, cell.soc_min, cell.soc_max))

    def slope(s: float) -> float:
        up = min(max(offer, 0.0), cell.charge_w * max(min((high - s) / band, 1.0), 0.0))
        down = min(max(-offer, 0.0), cell.discharge_w * max(min((s - low) / band, 1.0), 0.0))
        return cell.eta_charge * up - down / cell.eta_discharge - cell.self_discharge_per_s * s

    s = 0.5 * cell.capacity_j
    for _ in range(int(6 * HOUR)):
        a = slope(s)
        b = slope(s + 0.5 * a)
        c = slope(s + 0.5 * b)
        s += (a + 2 * b + 2 * c + slope(s + c)) / 6.0
    return s


def bound() -> Iterator[Row]:
    """The lower bound against every schedule of two jobs in whole hours."""
    hour = np.arange(48) + 0.5
    sun = StepProfile(6000.0 * np.clip(np.sin((hour % 24 - 6) / 12 * np.pi), 0, None), HOUR)
    one, zero = StepProfile.constant(1.0, 2 * DAY, HOUR), StepProfile.constant(0.0, 2 * DAY, HOUR)
    node = NodeType("n", 8, 1000.0, 5000.0, 100.0, 0.0, 0.0)
    where = Scenario((Site("s", "r", node, 2, sun, zero, zero, Grid(one, one, zero)),), 2 * DAY, HOUR)
    best = math.inf
    for first in range(19):
        for second in range(19):
            jobs = [_at("a", first * HOUR, 8, 9 * HOUR), _at("b", second * HOUR, 4, 7 * HOUR)]
            energy = simulate(where, jobs, policy("fifo"), settings=Settings(events="none")).energy[0]
            best = min(best, energy.flow_j("import_to_load") / KWH)
    jobs = [_at("a", 0.0, 8, 9 * HOUR, 18 * HOUR), _at("b", 0.0, 4, 7 * HOUR, 18 * HOUR)]
    least = lower_bound(where, jobs).draw_j / KWH
    note = f"best schedule {best:.2f} kWh, bound {least:.2f} kWh"
    yield Row(
        "Lower bound", "all 361 schedules of two jobs", "bound above the best schedule", least - best, 1e-6, "kWh", note
    )
    yield Row("Lower bound", "all 361 schedules of two jobs", "bound below the best schedule, relative",
              1 - least / best, 0.25, "", "it pauses, splits and sleeps for nothing")  # fmt: skip


def _at(name: str, submit_s: float, gpus: int, runtime_s: float, slack_s: float = 0.0) -> Job:
    ask = Ask(name, submit_s, gpus, runtime_s, slack_s, Tenant("r"), "s", Dataset("d", 0.0, "s"))
    return Job(ask, Truth(gpus * runtime_s))


# --- sun, sky, clock ----------------------------------------------------------------------------------


def sun() -> Iterator[Row]:
    """Position and clear sky against pvlib's own functions; the middle of a clear day against solar noon."""
    import pandas as pd
    import pvlib

    from tafukt.sites.site import catalogue, site_from
    from tafukt.sites.supply import supply
    from tafukt.sites.time_grid import span
    from tafukt.sites.weather.clearsky import sky

    site, start = catalogue()["dakhla"], datetime(2025, 1, 1, tzinfo=UTC)
    grid = span(start, 365, 3600)
    found = sky(site.lat, site.lon, site.altitude_m, grid.mids)
    times = pd.DatetimeIndex(grid.mids.astype("datetime64[s]"), tz="UTC")
    true = pvlib.solarposition.get_solarposition(times, site.lat, site.lon, altitude=site.altitude_m)
    gap = float(np.abs(found.zenith - true["zenith"].to_numpy()[found.rows]).max())
    yield Row("Sun's zenith, a year at Dakhla", "NREL's algorithm in pvlib", "largest difference", gap, 1e-3, "deg")
    clear = pvlib.location.Location(site.lat, site.lon, altitude=site.altitude_m).get_clearsky(times)
    gap = float(np.abs(found.full(found.ghi_clear) - clear["ghi"].to_numpy()).max())
    yield Row(
        "Clear-sky irradiance, a year at Dakhla", "Ineichen and Perez in pvlib", "largest difference", gap, 0.05, "W/m2"
    )
    worst = 0.0
    for name in ("rabat", "dakhla"):
        for day in (datetime(2025, 3, 15, tzinfo=UTC), datetime(2025, 7, 15, tzinfo=UTC)):
            model = site_from({"weather": {"kind": "clear-sky"}, "pv": {"azimuth_deg": 180.0}}, name, "validation")
            with tempfile.TemporaryDirectory() as folder:
                pv = supply([model], day, 1, 300.0, 1, Path(folder))[name].pv_w.values
            centre_h = float(np.sum((np.arange(288) + 0.5) / 12 * pv) / np.sum(pv))
            angle = 2 * np.pi * ((day - datetime(day.year, 1, 1, tzinfo=UTC)) / timedelta(days=1) - 80.5) / 364
            equation_h = (9.87 * np.sin(2 * angle) - 7.53 * np.cos(angle) - 1.5 * np.sin(angle)) / 60
            worst = max(worst, 60 * abs(centre_h - (12.0 - model.lon / 15.0 - equation_h)))
    yield Row("Middle of a clear day's generation, 2 sites, 2 days", "solar noon by the equation of time",
              "largest difference", worst, 4.0, "min", "warm afternoons shift it a little")  # fmt: skip


def yields() -> Iterator[Row]:
    """A drawn year of all twelve sites against the Global Solar Atlas, and irradiation by month."""
    from tafukt.sites.site import catalogue, site_from
    from tafukt.sites.supply import supply

    every = list(catalogue().values())
    with tempfile.TemporaryDirectory() as folder:
        found = supply(every, datetime(2025, 1, 1, tzinfo=UTC), 365, 1800, 1, Path(folder))
        gaps = {
            s.name: found[s.name].pv_w.values.sum() / 2000.0 / s.pv_kwp / s.climate.pv_yield_kwh_kwp_y - 1.0
            for s in every
            if s.climate is not None
        }
        worst = max(gaps, key=lambda name: abs(gaps[name]))
        yield Row(
            f"PV yield of {len(gaps)} sites, the drawn year 2025",
            "Global Solar Atlas",
            "largest relative difference",
            abs(gaps[worst]),
            0.06,
            "",
            f"{worst}: {gaps[worst]:+.1%}",
        )
        few = [site_from({}, name, "validation") for name in ("agadir", "dakhla", "fes")]
        start, days = datetime(2020, 1, 1, tzinfo=UTC), 2922
        long = supply(few, start, days, 3600, 3, Path(folder))
        month = (np.datetime64("2020-01-01") + np.repeat(np.arange(days), 24)).astype("datetime64[M]").astype(int) % 12
        gap = 0.0
        for site in few:
            ghi = long[site.name].ghi.values
            for m in range(12):
                mean = ghi[month == m].sum() / 1000.0 / (np.sum(month == m) / 24)
                gap = max(gap, abs(mean / site.climate.ghi_kwh_m2_d[m] - 1.0))  # type: ignore[union-attr]
        yield Row("Irradiation by month, 3 sites, 8 drawn years", "the catalogue's monthly means (NASA, GSA)",
                  "largest relative difference", gap, 0.02)  # fmt: skip


def clock() -> Iterator[Row]:
    """The tariff's peak hours by Morocco's clock, which stands at UTC+0 in Ramadan."""
    from zoneinfo import ZoneInfo

    from tafukt.sites.site import site_from
    from tafukt.sites.supply import supply

    wrong = 0
    for month, date, peak in ((1, 15, (17, 21)), (3, 15, (17, 21)), (4, 3, (18, 22)), (7, 15, (18, 22))):
        day = datetime(2025, month, date, tzinfo=UTC)
        with tempfile.TemporaryDirectory() as folder:
            model = site_from({"weather": {"kind": "clear-sky"}}, "rabat", "validation")
            price = supply([model], day, 1, 900.0, 1, Path(folder))["rabat"].price_mad_per_kwh
        for quarter in range(96):
            hour = (day + timedelta(minutes=15 * quarter)).astimezone(ZoneInfo("Africa/Casablanca")).hour
            wrong += (price.at(900.0 * quarter) == price.values.max()) != (peak[0] <= hour < peak[1])
    yield Row("Peak tariff on four days, Ramadan among them", "ONEE's hours by the local clock",
              "quarter hours priced wrongly", wrong, 0, "of 384")  # fmt: skip


# --- published numbers ----------------------------------------------------------------------------------


def published() -> Iterator[Row]:
    """Energy of a training run and mean power of a fleet, as others have measured them."""
    from tafukt.sites.site import node_types

    with (DATA / "training_runs.csv").open() as file:
        (run,) = [row for row in csv.DictReader(file) if row["run"].startswith("GemMaroc")]
    mine = float(run["gpu_hours"]) / 8 * node_types()["h100"].loaded_kw
    with (DATA / "a100_power_measured.csv").open() as file:
        table = {row["what"]: row for row in csv.DictReader(file)}
    theirs = float(run["energy_kwh"])
    per_gpu_w = 1000 * theirs / float(run["gpu_hours"])
    share = 8 * float(table["GPU (Seren)"]["p90_or_p95"]) / 1000 / float(table["8xA100 server IPMI"]["p90_or_p95"])
    node = node_types()["h100"]
    intensity = (8 * per_gpu_w / 1000 - node.idle_kw) / (node.loaded_kw - node.idle_kw)
    note = (
        f"{mine:.0f} kWh is the whole node, {node.loaded_kw:g} kW for six hours; {theirs:.0f} are published, or"
        f" {per_gpu_w:.0f} W per GPU, and what they cover is not stated: the node at its meter, or the boards (limit"
        " 700 W) as software reads them. In measured A100 servers under load the boards draw"
        f" {share:.0%} of the node; by that share ours would draw {share * mine:.0f} kWh,"
        f" {share * mine / theirs - 1:+.0%}. If theirs is the node, the job's `intensity` was {intensity:.2f}."
        " The source settles neither, so the row stays as it was set"
    )
    yield Row("Energy of GemMaroc-27B: 48 GPU-hours, 8 x H100", run["source"], "relative difference, whole node",
              abs(mine / theirs - 1), 0.3, "", note)  # fmt: skip
    gpu, server = float(table["GPU (Seren)"]["mean"]), float(table["8xA100 server IPMI"]["mean"])
    node = node_types()["a100"]
    mine = node.idle_kw + (node.loaded_kw - node.idle_kw) * (gpu - 60.0) / (400.0 - 60.0)
    yield Row("Mean power of a server of 8 x A100", "Acme's meters (Hu et al. 2024)", "relative difference",
              abs(mine / server - 1), 0.15, "", f"{mine:.2f} kW at the fleet's mean GPU power, {server:.2f} measured; "
              "idle and loaded power come from the same meters, so this tests the line between them only")  # fmt: skip


FAST: tuple[Callable[[], Iterator[Row]], ...] = (battery, published)
ALL: tuple[Callable[[], Iterator[Row]], ...] = (queues, nasa, battery, bound, sun, yields, clock, published)


def rows(which: tuple[Callable[[], Iterator[Found]], ...]) -> Iterator[Found]:
    """The comparisons, one after another; those that need data which are not there are left out and said."""
    for compare in which:
        try:
            yield from compare()
        except FileNotFoundError as error:
            print(f"left out: {compare.__name__}: no {error.filename}", file=sys.stderr)


def others_text(held: list[Held]) -> str:
    """The section on what others compute: a table, and remarks."""
    lines = ["## Held against others", ""]
    lines += [
        "The right values are computed from the source named, by `tests/bench/others.py`; the data are public.",
        "",
    ]
    lines += [
        "| compared | with | measure | Tafukt | theirs | difference | allowed | |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for row in held:
        apart = f"{row.gap:.2%}" if row.gap > 5e-5 else f"{row.gap:.0e}" if row.gap else "0"
        allowed = f"{row.limit:.1%}" if row.limit > 5e-5 else f"{row.limit:.0e}"
        verdict = "pass" if row.holds else "**FAIL**"
        cells = (row.what, row.source, row.measure, f"{row.mine:,.6g}", f"{row.theirs:,.6g}", apart, allowed, verdict)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {note}." for note in dict.fromkeys(row.note for row in held if row.note)), ""]
    return "\n".join(lines)


def text(found: list[Row], held: list[Held]) -> str:
    """The page."""
    lines = [(PARTS / "validation_head.md").read_text().rstrip(), ""]
    lines += ["| compared | with | measure | found | threshold | |", "|---|---|---|---|---|---|"]
    for row in found:
        unit = f" {row.unit}" if row.unit else ""
        verdict = "pass" if row.holds else "**FAIL**"
        cells = (row.what, row.against, row.measure, f"{row.found:.3g}{unit}", f"{row.limit:.3g}{unit}", verdict)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {row.what}: {row.note}." for row in found if row.note), ""]
    return "\n".join(lines) + "\n" + others_text(held) + "\n" + (PARTS / "validation_tail.md").read_text()


def main() -> int:
    """Make every comparison and write the page; with --fast only those that take seconds, and no page."""
    fast = "--fast" in sys.argv[1:]
    found = []
    for row in rows(FAST if fast else ALL):
        found.append(row)
        print(
            f"{'pass' if row.holds else 'FAIL'}  {row.what}: {row.found:.3g} (at most {row.limit:.3g}) {row.note}",
            flush=True,
        )
    if not fast:
        (ROOT / "docs" / "validation.md").write_text(text(found, list(rows(others.ALL))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
