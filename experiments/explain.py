"""`tafukt explain DIR JOB`: the story of one job in words, with the numbers that each decision rested on.

All is read from the run's `jobs`, `events` and `energy` tables; nothing is simulated again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError, Problem, nearest

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from experiments.load import Results, RunData

HOUR_S = 3600.0
WIDTH = 72
BLOCKS = " ▁▂▃▄▅▆▇█"
WORDS = {
    "grid_kwh": "expected from the grid then",
    "grid_kwh_now": "if it started at once",
    "until_s": "until",
}
ENDINGS = {
    "done": "done",
    "failed": "failed of itself",
    "cancelled": "cancelled by its user",
    "left": "still not ended when the accounting window closed",
    "rejected": "rejected: no site that may run it is large enough",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to the job: when [h from the experiment's start], what it was, in words."""

    time_h: float
    kind: str
    site: str
    text: str


def explain(results: Results, job: str, policy: str = "", seed: int | None = None) -> list[Text]:
    """The story of a job as lines to print: under one policy in full, under the others in one line each.

    Without a policy it is the one that drew least.

    Raises
    ------
    InputError
        If there is no such job or run.
    """
    from experiments.figures import example_runs

    run = results.run(policy=policy or None, seed=seed) if policy or seed is not None else example_runs(results)[-1]
    row = find(run, job)
    return [*_heading(run, row), *_lines(run, row), *_energy(row), *_others(results, run, job)]


def find(run: RunData, job: str) -> pd.Series[Any]:
    """The row of a job.

    Raises
    ------
    InputError
        If the run has no such job.
    """
    rows = run.jobs[run.jobs["job"] == job]
    if rows.empty:
        message = f"no job called {job!r} among the {len(run.jobs):,} of run {run.name}"
        raise InputError(Problem("", "JOB", message, nearest(job, run.jobs["job"])))
    return rows.iloc[0]


def steps(run: RunData, row: pd.Series[Any]) -> list[Step]:
    """What happened to a job, in order; from its row alone where no events were written."""
    events = run.events[run.events["job"] == row["job"]]
    found = [Step(float(row["submit_h"]), "submit", "", _submitted(row, run.tz))]
    for _, event in events.iterrows():
        if event["kind"] not in ("submit", "end", "reject"):
            text = _event_words(event, row, run.tz)
            found.append(Step(float(event["time_h"]), str(event["kind"]), str(event["site"]), text))
    if events.empty and not math.isnan(row["start_h"]):
        text = f"started on {row['site']}, after {_hours(row['wait_h'])} of waiting"
        found.append(Step(float(row["start_h"]), "start", str(row["site"]), text))
    if not math.isnan(row["end_h"]):
        found.append(Step(float(row["end_h"]), "end", str(row["site"]), _ended(row, events)))
    return found


# --- words ---------------------------------------------------------------------------------------------


def _submitted(row: pd.Series[Any], tz: str) -> str:
    gpus = f"{row['gpus']} GPU{'s' if row['gpus'] != 1 else ''}"
    text = f"submitted at {row['home']}: {gpus} for an estimated {_hours(row['estimate_h'])}"
    if math.isinf(row["slack_h"]):
        return f"{text}; it has no deadline"
    if row["slack_h"] <= 0:
        return f"{text}; it should start at once"
    latest = _moment(row, row["submit_h"] + row["slack_h"], tz)
    deadline = _moment(row, row["deadline_h"], tz)
    return f"{text}; it may wait {_hours(row['slack_h'])}, so start by {latest} and end by {deadline}"


def _ended(row: pd.Series[Any], events: pd.DataFrame) -> str:
    text = ENDINGS.get(str(row["state"]), str(row["state"]))
    reasons = [str(reason) for reason in events.loc[events["kind"] == "end", "reason"]]
    if reasons and reasons[-1] not in ("", str(row["state"])):
        text += f" ({reasons[-1]})"
    text += f", {_hours(row['jct_h'])} after submission"
    if math.isinf(row["deadline_h"]):
        return text
    early = row["deadline_h"] - row["end_h"]
    verdict = "late: the deadline is missed" if row["deadline_missed"] else "before its deadline"
    return f"{text}, {_hours(abs(early))} {verdict}"


def _event_words(event: pd.Series[Any], row: pd.Series[Any], tz: str) -> str:
    """One event of a job: what was done, why, and on what numbers."""
    kind, site, reason = (str(event[name]) for name in ("kind", "site", "reason"))
    detail, time_h = json.loads(event["detail"] or "{}"), float(event["time_h"])
    until = detail.pop("until_s", None)
    text = {
        "start": f"started on {site}",
        "hold": f"held{' for ' + site if site else ''}",
        "pause": f"paused on {site}: a checkpoint is written",
        "move": f"sent away from {site}: a checkpoint is written and carried over",
        "resize": f"given another number of GPUs on {site}",
        "kill": f"killed on {site}",
    }.get(kind, f"{kind} on {site}" if site else kind)
    if kind == "hold" and until is not None:
        text += f" until {_moment(row, until / HOUR_S, tz)}"
    if kind == "start" and math.isclose(time_h, row["start_h"]) and row["wait_h"] >= 1 / 60:
        text += f" after {_hours(row['wait_h'])} of waiting"
    why = reason_words(reason)
    numbers = ", ".join(_quantity(key, value) for key, value in detail.items())
    return text + (f": {why}" if why else "") + (f" ({numbers})" if numbers else "")


def reason_words(reason: str) -> str:
    """A reason in words: the name of a part of a policy with the first sentence of its documentation, else itself."""
    if not reason or " " in reason:
        return reason
    said = _parts().get(_bare(reason), "")
    return f"{reason.replace('_', ' ')} ({said[:1].lower()}{said[1:]})" if said else reason.replace("_", " ")


@lru_cache(maxsize=1)
def _parts() -> dict[str, str]:
    """What each part of a policy says of itself in its first sentence, by its bare name."""
    import importlib
    import pkgutil

    import simulator.policies

    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(simulator.policies.__path__):
        for name, value in vars(importlib.import_module(f"simulator.policies.{module.name}")).items():
            doc = getattr(value, "__doc__", None)
            if callable(value) and isinstance(doc, str) and not name.startswith("_"):
                first = " ".join(doc.strip().split("\n\n")[0].split())
                found[_bare(name)] = first.split(". ")[0].rstrip(".")
    return found


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _quantity(key: str, value: Any) -> str:
    """A number with its unit, from the unit in its name."""
    units = {"_kwh": "kWh", "_kw": "kW", "_w": "W", "_h": "h", "_g_per_kwh": "g/kWh", "_mad": "MAD", "_gpu_s": "GPU-s"}
    for suffix in sorted(units, key=len, reverse=True):
        if key.endswith(suffix) or f"{suffix}_" in key:
            name = WORDS.get(key, key.replace(suffix, "", 1).replace("_", " "))
            return f"{name} {_round(value)} {units[suffix]}"
    if key.endswith("_s") and isinstance(value, int | float):
        return f"{WORDS.get(key, key[:-2].replace('_', ' '))} {_hours(value / HOUR_S)}"
    return f"{WORDS.get(key, key.replace('_', ' '))} {_round(value)}"


def _round(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value}"


def _hours(hours: float) -> str:
    minutes = round(hours * 60)
    if minutes < 1:
        return f"{hours * HOUR_S:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{hours:.1f} h"


def _moment(row: pd.Series[Any], time_h: float, tz: str) -> str:
    """A time in hours from the start, as local time."""
    import pandas as pd

    moment = row["submit_utc"] + pd.Timedelta(hours=time_h - row["submit_h"])
    return str(moment.tz_convert(tz).strftime("%a %d %b %H:%M"))


# --- lines ---------------------------------------------------------------------------------------------


def _heading(run: RunData, row: pd.Series[Any]) -> Iterator[Text]:
    from rich.text import Text

    kind = " · ".join(str(row[name]) for name in ("job_class", "function", "programme", "residency") if str(row[name]))
    yield Text.assemble((str(row["job"]), "bold"), f"  {kind}  (tenant of {row['region']})")
    yield Text(f"under {run.row['policy']}, seed {run.row['seed']}; local time ({run.tz})", style="dim")
    yield Text("")


def _lines(run: RunData, row: pd.Series[Any]) -> Iterator[Text]:
    from rich.text import Text

    story = steps(run, row)
    for step in story:
        yield Text.assemble((f"{_moment(row, step.time_h, run.tz)}  ", "cyan"), step.text)
    if math.isnan(row["end_h"]):
        yield Text(f"{'':18}{ENDINGS.get(str(row['state']), str(row['state']))}", style="yellow")
    yield Text("")
    yield from timeline(run, row, story)
    yield Text("")


def timeline(run: RunData, row: pd.Series[Any], story: list[Step]) -> Iterator[Text]:
    """Two rows of blocks: the sun where the job ran last, and what the job did, from submission to end."""
    import numpy as np
    from rich.text import Text

    begin = float(row["submit_h"])
    window_end = float(run.energy["time_h"].max() + run.energy["step_h"].iloc[-1])
    end = window_end if math.isnan(row["end_h"]) else float(row["end_h"])
    site = str(row["site"])
    if end <= begin or not site:
        return
    edges = np.linspace(begin, end, WIDTH + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    here = run.energy[run.energy["site"] == site]
    power = np.interp(middles, here["time_h"] + here["step_h"] / 2, here["pv_available_kwh"] / here["step_h"])
    peak = float((here["pv_available_kwh"] / here["step_h"]).max()) or 1.0
    sun = "".join(BLOCKS[int(np.ceil(8 * value / peak))] for value in power)
    state = [_state_at(time, story) for time in middles]
    marks = {"waits": ("·", "dim"), "runs": ("█", "green"), "is held": ("-", "yellow"), "is paused": ("░", "magenta")}
    line = Text("")
    for name in state:
        line.append(*marks[name])
    yield Text.assemble(("sun  ", "dim"), (sun, "yellow"), f"  at {site}, up to {peak:.0f} kW")
    legend = ", ".join(f"{marks[name][0]} {name}" for name in marks if name in state)
    yield Text.assemble(("job  ", "dim"), line, f"  {legend}")
    gap = " " * max(1, WIDTH - 32)
    yield Text(f"     {_moment(row, begin, run.tz)}{gap}{_moment(row, end, run.tz)}", style="dim")


def _state_at(time_h: float, story: list[Step]) -> str:
    state = "waits"
    for step in story:
        if step.time_h > time_h:
            break
        state = {"hold": "is held", "start": "runs", "resize": "runs", "pause": "is paused"}.get(
            step.kind, "waits" if step.kind in ("kill", "move") else state
        )
    return state


def _energy(row: pd.Series[Any]) -> Iterator[Text]:
    from rich.text import Text

    if not row["energy_kwh"] > 0:
        return
    parts = {"the sun": row["pv_kwh"], "the battery": row["battery_kwh"], "the grid": row["grid_kwh"]}
    shares = ", ".join(
        f"{value:.1f} kWh from {name} ({value / row['energy_kwh']:.0%})" for name, value in parts.items()
    )
    yield Text(
        f"Its share of the energy: {row['energy_kwh']:.1f} kWh, with cooling and base load: {shares}; "
        f"{row['emissions_kg']:.2f} kg CO2e, {row['cost_mad']:.1f} MAD."
    )
    if row["energy_lost_kwh"] > 0:
        yield Text(f"{row['energy_lost_kwh']:.1f} kWh of it went into work that kills undid.")


def _others(results: Results, run: RunData, job: str) -> Iterator[Text]:
    """The same job under the other policies of the same scenario and seed, a line each."""
    from rich.text import Text

    rows = results.complete
    for key in (*results.axes, "seed"):
        rows = rows[rows[key] == run.row[key]]
    others = [name for name in rows["run"] if name != run.name]
    if others:
        yield Text("")
        yield Text("The same job under the other policies:", style="bold")
    for name in others:
        other = results.run(str(name))
        row = find(other, job)
        if math.isnan(row["start_h"]):
            yield Text(f"  {other.row['policy']}: {row['state']}, never started")
            continue
        yield Text(
            f"  {other.row['policy']}: on {row['site']} after {_hours(row['wait_h'])}, {row['state']}; "
            f"{row['grid_kwh']:.1f} kWh from the grid, {row['emissions_kg']:.2f} kg CO2e"
        )
