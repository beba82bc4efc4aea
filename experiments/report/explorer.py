"""Data of the page's charts in the browser: some runs whole, their time series thinned, jobs with stories.

Thinning keeps steps as they were, never means: of each stretch of time the steps at which the load, the import of all
and of each site, the sun, or the stored energy is least or largest. So every peak is there, and flows of one step
add up. Each run is packed on its own (zlib, base64) and unpacked when it is chosen.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.figures.catalogue import example_runs
from tafukt.experiments.figures.energy import STACK
from tafukt.experiments.figures.jobs import by_site, lanes, stays
from tafukt.experiments.figures.style import FLOWS, INK, SERIES, dates
from tafukt.experiments.figures.thinning import extremes
from tafukt.experiments.figures.window import Window, inside, shared
from tafukt.experiments.report.explain import hours, known, story
from tafukt.experiments.results import axes as words
from tafukt.experiments.results.numbers import in_currency
from tafukt.simulator.units import Floats

if TYPE_CHECKING:
    import pandas as pd

    from tafukt.experiments.results.load import Results, RunData


RUNS_MOST, RUNS_LEAST = 24, 12
ROWS_MOST = 1_500_000
"""Rows of energy that are read for a page: where runs are long it holds fewer of them, each the finer."""
BYTES_MOST = 2_000_000
"""Of all packed runs together; a page with its figures stays under 5 MB."""

STEPS_MOST, STEPS_LEAST = 2500, 300
NUMBERS_MOST = 1_100_000
"""Of all time series together, which pack to some 1.3 bytes a number."""

JOBS_MOST, STORIES_MOST = 20_000, 4_000
"""Of all runs together: jobs that are drawn, and jobs whose story is told."""

NEEDED_COLUMNS = {
    "energy": [
        *("site", "time_h", "time_utc", "step_h", "site_kwh", "stored_kwh", "busy_gpus", "online_gpus"),
        *(f"{key}_kwh" for key in STACK),
    ],
    "events": ["time_utc", *("time_h", "kind", "job", "site", "reason", "detail")],
    "jobs": [
        *("job", "job_class", "function", "programme", "residency", "region", "home", "gpus", "estimate_h", "slack_h"),
        *("state", "site", "submit_h", "start_h", "end_h", "submit_utc", "start_utc", "end_utc", "wait_h", "jct_h"),
        *("deadline_h", "deadline_missed", "energy_kwh", "pv_kwh", "battery_pv_kwh"),
    ],
}
"""What the page says of a run, of the hundred columns that there are."""


def embedded(results: Results) -> dict[str, Any]:
    """The runs that go into the page, packed, and how many are left out."""
    chosen = _chosen(results)
    names = results.run(chosen[0]).some_columns("energy", ["site"])["site"]
    sites, most = names.nunique(), int(np.clip(ROWS_MOST // len(names), RUNS_LEAST, RUNS_MOST))
    chosen = chosen[:most]
    each = NUMBERS_MOST // (len(chosen) * (sites + 1) * (len(STACK) + 2))
    steps = int(np.clip(each, STEPS_LEAST, STEPS_MOST))
    runs: list[dict[str, Any]] = []
    size = 0
    for name in chosen:
        run = results.run(name).narrow(NEEDED_COLUMNS)  # one by one: a year's tables fill hundreds of megabytes
        data = packed(payload(run, steps, JOBS_MOST // len(chosen), STORIES_MOST // len(chosen)))
        size += len(data)
        if size > BYTES_MOST and runs:
            break
        at = words.of_row(run.row, results.axes)
        where = [f"{axis}={run.row[axis]}" for axis in results.axes]
        head = {"policy": str(run.row["policy"]), "seed": int(run.row["seed"]), "scenario": at, "where": where}
        runs.append(head | {"data": data})
    return {
        "flows": [{"key": key, "label": FLOWS[key].label, "colour": FLOWS[key].colour} for key in STACK],
        "load": INK,
        "lines": SERIES[1:7],  # those that show on dark paper, too
        "runs": runs,
        "left_out": len(results.complete) - len(runs),
    }


def _chosen(results: Results) -> list[str]:
    """The names of the runs, the most worth a place first: examples, their seed by policy and scenario, other seeds."""
    rows = results.complete
    examples = {run.name: rank for rank, run in enumerate(reversed(example_runs(results)))}
    scenarios = list(zip(*(rows[axis].tolist() for axis in results.axes), strict=True)) or [()] * len(rows)
    runs, seeds = rows["run"].tolist(), rows["seed"].tolist()
    order = [
        ((examples.get(run, len(examples)), seed != seeds[0], scenario != scenarios[0], place), str(run))
        for place, (run, seed, scenario) in enumerate(zip(runs, seeds, scenarios, strict=True))
    ]
    return [name for _, name in sorted(order)]


def packed(value: Any) -> str:
    """Plain data as text that a browser unpacks."""
    raw = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(raw, 7)).decode()


def kept(columns: Floats, most: int) -> NDArray[np.intp]:
    """Steps kept of so many columns (steps, columns): at most about `most`, and every peak and trough.

    The steps are cut into stretches of equal length; of each, those are kept at which a column is least or largest.
    """
    count, width = columns.shape
    if count <= most:
        return np.arange(count)
    stretches = max(1, most // (2 * width))
    rows = extremes(columns, stretches)
    while True:  # columns often peak together, which leaves room for more stretches
        more = extremes(columns, stretches := 2 * stretches)
        if len(more) > most:
            return rows
        rows = more


@dataclass(frozen=True)
class _Course:
    """The energy table of a run as far as it is shown: the sites by name, and for each column a row a site."""

    table: pd.DataFrame
    sites: list[str]
    order: NDArray[np.intp]

    def of(self, column: str) -> Floats:
        """A column as an array of sites and steps."""
        values = self.table[column].to_numpy()[self.order]
        return np.asarray(values, dtype=np.float64).reshape(len(self.sites), -1)

    def gpus(self) -> list[int]:
        """The GPUs of each site, at most."""
        return [int(most) for most in self.of("online_gpus").max(axis=1)]


def _course(energy: pd.DataFrame, window: Window) -> _Course:
    """The course of a run's energy within a window."""
    import pandas as pd

    rows = inside(energy, window)
    codes, names = pd.factorize(energy["site"])
    order = np.argsort(codes[rows], kind="stable")
    return _Course(energy, [str(name) for name in names], np.arange(len(energy))[rows][order])


def payload(run: RunData, steps: int, jobs: int, stories: int) -> dict[str, Any]:
    """One run as plain data: times in minutes from its start, powers in tenths of a kW, energies in tenths of a kWh."""
    window = shared([run])
    course = _course(run.energy, window)
    times = course.table["time_utc"].iloc[course.order[: len(course.order) // len(course.sites)]]
    start, last = times.iloc[0], times.iloc[-1]
    hours_each, time_h = course.of("step_h")[0], course.of("time_h")[0]
    flows = {key: course.of(f"{key}_kwh") / hours_each for key in STACK}
    load, stored = course.of("site_kwh") / hours_each, course.of("stored_kwh")
    imports = flows["import_to_load"] + flows["import_to_battery"]
    sun = flows["pv_to_load"] + flows["pv_to_battery"] + flows["export"] + flows["curtailed"]
    seen = [load.sum(0), imports.sum(0), sun.sum(0), stored.sum(0), *(imports if len(course.sites) > 1 else ())]
    rows = kept(np.column_stack(seen), steps)
    series = {
        key: _tenths(values[:, rows])
        for key, values in (*flows.items(), ("load", load), ("stored", stored))
        if values.any()
    }
    return {
        "tz": run.tz,
        "start": int(start.timestamp()),
        "steps": len(time_h),
        "minutes": np.rint(time_h[rows] * 60 - time_h[0] * 60).astype(int).tolist(),
        "end": round(float(time_h[-1] + hours_each[-1] - time_h[0]) * 60),
        "arrivals_end": _minutes(window.arrivals_end, start) if window.arrivals_end is not None else None,
        "sites": course.sites,
        "gpus": course.gpus(),
        "series": series,
        "jobs": _jobs(run, (start, last), course.sites, course.gpus(), jobs, stories),
    }


def _tenths(values: Floats) -> list[list[int]]:
    """Whole tenths, a list for each site."""
    rounded: list[list[int]] = np.rint(values * 10).astype(int).tolist()
    return rounded


def _minutes(moment: Any, start: Any) -> int:
    return round(float((moment - start).total_seconds()) / 60)


STORY_COLUMNS = [
    *("job", "job_class", "function", "programme", "residency", "region", "home", "gpus", "estimate_h", "slack_h"),
    *("state", "site", "submit_h", "start_h", "end_h", "submit_utc", "wait_h", "jct_h"),
    *("deadline_h", "deadline_missed"),
]
TOLD_COLUMNS = ["time_h", "kind", "job", "site", "reason", "detail"]
"""Of the events of a job whose story is told."""
SAID_COLUMNS = [
    *("job_class", "gpus", "wait_h", "energy_kwh", "pv_kwh", "battery_pv_kwh", "deadline_missed", "state"),
]


def _rows(table: pd.DataFrame, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of a table row by row, as plain Python: `to_dict` takes three times as long."""
    columns = [_plain(table[name]) for name in names]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _plain(column: pd.Series[Any]) -> list[Any]:
    """The values of a column as plain Python; moments as `datetime`, which is quicker to reckon with and to write."""
    if column.name == "submit_utc":
        return list(column.dt.to_pydatetime())
    return column.to_numpy(dtype=object).tolist()


def _among(column: pd.Series[str], names: Sequence[str]) -> Any:
    """A mask of what is among some names: by way of `isin` each of them costs as much as a hundred rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(pa.array(column), value_set=pa.array(names, pa.string())).to_numpy(zero_copy_only=False)


def _jobs(
    run: RunData, shown_from_to: tuple[Any, Any], names: list[str], gpus: list[int], most: int, stories: int
) -> dict[str, Any]:
    """The jobs with most energy and longest waits, their boxes on the sites, the stories of the first of them."""
    jobs = run.jobs
    rank = (
        jobs["energy_kwh"].rank(pct=True) + jobs["wait_h"].fillna(0).rank(pct=True) + jobs["deadline_missed"]
    ).to_numpy()
    shown = jobs.iloc[np.argsort(-rank, kind="stable")[:most]]
    place = {name: index for index, name in enumerate(_plain(shown["job"]))}
    events = run.events[_among(run.events["job"], list(place))]
    boxes = [[place[job], site, *box] for site, job, box in _boxes(shown, events, shown_from_to, names, gpus)]
    by_job: dict[str, list[dict[str, Any]]] = {}
    for event in _rows(events[_among(events["job"], list(place)[:stories])], TOLD_COLUMNS):
        by_job.setdefault(event["job"], []).append(event)
    told = []
    for row in _rows(shown.head(stories), STORY_COLUMNS):
        found = story(row, by_job.get(row["job"], []), run.tz, timeline=False)
        told.append([in_currency(line, run.currency) for line in (found.headline, *found.lines)])
    return {
        "id": list(place),
        "said": [_said(row) for row in _rows(shown, SAID_COLUMNS)],
        "boxes": boxes,
        "stories": told,
        "left_out": len(jobs) - len(shown),
    }


def _boxes(
    jobs: pd.DataFrame, events: pd.DataFrame, shown_from_to: tuple[Any, Any], names: list[str], gpus: list[int]
) -> Iterator[tuple[int, str, list[int]]]:
    """Every stay of a job on a site as [begin, end (minutes), lowest lane, one past the highest, sun's share in %]."""
    start, last = shown_from_to
    origin = float(dates().date2num(start))
    here = by_site(stays(jobs, events, last))
    for site, (name, most) in enumerate(zip(names, gpus, strict=True)):
        for job, begin, end, low, high, share in lanes(here.get(name, ()), max(most, 1)):
            first = round((begin - origin) * 1440)
            yield site, job, [first, max(round((end - origin) * 1440), first + 1), low, high, round(100 * share)]


def _said(row: Any) -> str:
    """A job in a line, with the units of its numbers."""
    gpus = f"{row['gpus']} GPU{'s' if row['gpus'] != 1 else ''}"
    parts = [str(row["job_class"]) or "job", gpus]
    if known(row["wait_h"]):
        parts.append(f"waited {hours(row['wait_h'])}")
    if row["energy_kwh"] > 0:
        parts.append(
            f"{row['energy_kwh']:.1f} kWh, {(row['pv_kwh'] + row['battery_pv_kwh']) / row['energy_kwh']:.0%} sun"
        )
    parts.append("late" if row["deadline_missed"] else str(row["state"]))
    return ", ".join(parts)
