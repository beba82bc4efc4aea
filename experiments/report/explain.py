"""`tafukt explain DIR JOB`: the story of one job in words, with the numbers that each decision rested on.

All is read from the run's `jobs`, `events` and `energy` tables; nothing is simulated again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.results.axes import UNITS
from tafukt.experiments.results.numbers import in_currency
from tafukt.simulator.units import HOUR_S
from tafukt.sites.time_grid import zone_of

if TYPE_CHECKING:
    from rich.text import Text

    from tafukt.experiments.results.load import Results, RunData
    from tafukt.experiments.results.stored import Row

TIMELINE_COLUMNS = 72
BLOCKS = " ▁▂▃▄▅▆▇█"
MARKS = {"waits": "·", "runs": "█", "is held": "-", "is paused": "░"}
STYLES = {"·": "dim", "█": "green", "-": "yellow", "░": "magenta"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to the job: when [h from the experiment's start], what it was, in words."""

    time_h: float
    kind: str
    site: str
    text: str


@dataclass(frozen=True)
class Story:
    """A job under one policy: who it was, what happened, one line for each step, and a timeline."""

    headline: str
    lines: tuple[str, ...]
    timeline: tuple[str, ...]


def story(job: Row, events: Sequence[Row], tz: str, timeline: bool = True) -> Story:
    """A job's story from its row of jobs.parquet and its rows of events.parquet, in local time of `tz`.

    Where only its words are wanted, of thousands of jobs, `timeline` is better false.
    """
    kind = " · ".join(str(job[name]) for name in ("job_class", "function", "programme", "residency") if job[name])
    found = steps(job, events, tz)
    lines = [f"{moment(job, step.time_h, tz)}  {step.text}" for step in found]
    if not known(job["end_h"]):
        lines.append(f"{'':18}{ended(job, events)}")
    end_h = job["end_h"] if known(job["end_h"]) else found[-1].time_h
    bar = _bar(found, float(job["submit_h"]), float(end_h)) if timeline else ""
    return Story(
        f"{job['job']}  {kind}  (tenant of {job['region']})",
        tuple(lines),
        (bar, _clock(job, float(end_h), tz)) if bar else (),
    )


def steps(job: Row, events: Sequence[Row], tz: str) -> list[Step]:
    """Steps of a job's life, in order; from its row alone where no events were written."""
    found = [Step(float(job["submit_h"]), "submit", "", submitted(job, tz))]
    told: set[str] = set()
    for event in events:
        if event["kind"] not in ("submit", "end", "reject", "refuse"):
            text = event_words(event, job, tz, again=event["reason"] in told)
            told.add(event["reason"])
            found.append(Step(float(event["time_h"]), str(event["kind"]), str(event["site"]), text))
    if not events and known(job["start_h"]):
        text = f"started on {job['site']}, after {hours(job['wait_h'])} of waiting"
        found.append(Step(float(job["start_h"]), "start", str(job["site"]), text))
    if known(job["end_h"]):
        found.append(Step(float(job["end_h"]), "end", str(job["site"]), ended(job, events)))
    return found


# --- the timeline --------------------------------------------------------------------------------------


def _times(begin: float, end: float) -> list[float]:
    """The middles of the timeline's columns [h]."""
    return [begin + (end - begin) * (column + 0.5) / TIMELINE_COLUMNS for column in range(TIMELINE_COLUMNS)]


def _bar(found: Sequence[Step], begin: float, end: float) -> str:
    """The job from submission to end as a bar, a mark for each column."""
    if end <= begin:
        return ""
    return "".join(MARKS[state_at(time, found)] for time in _times(begin, end))


def state_at(time_h: float, found: Sequence[Step]) -> str:
    """State of the job at a time: one of `MARKS`."""
    state = "waits"
    for step in found:
        if step.time_h > time_h:
            break
        state = {"hold": "is held", "start": "runs", "resize": "runs", "pause": "is paused"}.get(
            step.kind, "waits" if step.kind in ("kill", "move") else state
        )
    return state


def _clock(job: Row, end_h: float, tz: str) -> str:
    """The line under a timeline: when it begins and ends."""
    left, right = moment(job, job["submit_h"], tz), moment(job, end_h, tz)
    return f"{left}{right:>{TIMELINE_COLUMNS - len(left)}}"


def _sun(run: RunData, site: str, begin: float, end: float) -> tuple[str, float]:
    """The sun of a site over the timeline as blocks, and its largest power [kW]."""
    import numpy as np

    here = run.energy[run.energy["site"] == site]
    power = here["pv_available_kwh"] / here["step_h"]
    peak = float(power.max())
    if not peak > 0:
        return " " * TIMELINE_COLUMNS, 0.0
    values = np.interp(_times(begin, end), here["time_h"] + here["step_h"] / 2, power)
    return "".join(BLOCKS[math.ceil(8 * value / peak)] for value in values), peak


# --- under one policy in full, under the others in a line ----------------------------------------------


def explain(results: Results, job: str, policy: str = "", seed: int | None = None) -> list[Text]:
    """The story of a job as lines to print: under one policy in full, under the others in one line each.

    Without a policy it is the one that drew least.

    Raises
    ------
    InputError
        If there is no such job or run.
    """
    run = _chosen(results, policy, seed)
    row = job_row(run, job)
    told = [*_told(run, row), *_energy(row), *_others(results, run, job)]
    for line in told:
        line.plain = in_currency(
            line.plain, run.currency
        )  # codes of currencies are of one length: styles stay in place
    return told


def _chosen(results: Results, policy: str, seed: int | None) -> RunData:
    """The run asked for, else that of the policy which draws least."""
    from tafukt.experiments.figures.catalogue import example_runs

    if policy or seed is not None:
        return results.run(policy=policy or None, seed=seed)
    return example_runs(results)[-1]


def job_row(run: RunData, job: str) -> dict[str, Any]:
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
    return {str(key): value for key, value in rows.iloc[0].items()}


def events_of(run: RunData, job: str) -> list[dict[str, Any]]:
    """The rows of a job's events, in order."""
    rows = run.events[run.events["job"] == job].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _told(run: RunData, row: Row) -> Iterator[Text]:
    from rich.text import Text

    told = story(row, events_of(run, str(row["job"])), run.tz)
    name, _, rest = told.headline.partition("  ")
    yield Text.assemble((name, "bold"), f"  {rest}")
    yield Text(f"under {run.row['policy']}, seed {run.row['seed']}; local time ({run.tz})", style="dim")
    yield Text("")
    for line in told.lines:
        yield Text.assemble((line[:18], "cyan"), line[18:])
    yield Text("")
    if not told.timeline:
        return
    bar, clock = told.timeline
    legend = ", ".join(f"{mark} {name}" for name, mark in MARKS.items() if mark in bar)
    if row["site"]:
        end = row["end_h"] if known(row["end_h"]) else float(run.energy["time_h"].max())
        sun, peak = _sun(run, str(row["site"]), float(row["submit_h"]), float(end))
        yield Text.assemble(("sun  ", "dim"), (sun, "yellow"))
        legend = f"sun at {row['site']}: up to {peak:.0f} kW, {legend}"
    yield Text.assemble(("job  ", "dim"), *((mark, STYLES[mark]) for mark in bar))
    yield Text(f"     {clock}", style="dim")
    yield Text(f"     {legend}", style="dim")
    yield Text("")


def _energy(row: Row) -> Iterator[Text]:
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
        yield Text(f"{row['energy_lost_kwh']:.1f} kWh of it went into work that was lost when the job was killed.")


def _others(results: Results, run: RunData, job: str) -> Iterator[Text]:
    """The same job under the other policies of the same scenario and seed, a line each."""
    from rich.text import Text

    rows = results.complete
    for key in (*results.axes, "seed"):
        rows = rows[rows[key] == run.row[key]]
    others = [str(name) for name in rows["run"] if name != run.name]
    if others:
        yield Text("")
        yield Text("The same job under the other policies:", style="bold")
    for name in others:
        other = results.run(name)
        row = job_row(other, job)
        if not known(row["start_h"]):
            yield Text(f"  {other.row['policy']}: {row['state']}, never started")
            continue
        yield Text(
            f"  {other.row['policy']}: on {row['site']} after {hours(row['wait_h'])}, {row['state']}; "
            f"{row['grid_kwh']:.1f} kWh from the grid, {row['emissions_kg']:.2f} kg CO2e"
        )


# --- Words for what happens to a job: events, reasons, and the numbers that a decision rested on


WORDS = {
    "grid_kwh": "expected from the grid:",
    "emissions_kg": "expected emissions:",
    "cost_mad": "expected cost:",
    "grid_kwh_on": "if it had run on:",
    "grid_kwh_now": "if started at once:",
    "emissions_kg_now": "if started at once:",
    "cost_mad_now": "if started at once:",
    "gpus": "GPUs:",
    "missing_w": "still missing:",
    "from_gpus": "before:",
    "most_gpus": "most GPUs:",
}
DETAIL_UNITS = {f"_{e}": UNITS[e] for e in ("g_per_kwh", "gpu_s", "kwh", "mad", "kw", "w", "gb", "kg", "h")}
ENDINGS = {
    "done": "done",
    "failed": "failed by itself",
    "cancelled": "cancelled by its user",
    "left": "still not ended when the accounting window closed",
    "refused": "refused by its policy",
    "rejected": "rejected: no site that may run it is large enough",
}


def known(value: Any) -> bool:
    """Whether a number is there: not null, not NaN."""
    return value is not None and not math.isnan(value)


def hours(value: float) -> str:
    """A duration [h] as a person would say it."""
    minutes = round(value * 60)
    if minutes < 1:
        return f"{value * HOUR_S:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{value:.1f} h"


def moment(job: Row, time_h: float, tz: str) -> str:
    """A time in hours from the experiment's start, as local time."""
    at = job["submit_utc"] + timedelta(hours=float(time_h) - float(job["submit_h"]))
    return str(at.astimezone(_zone(tz)).strftime("%a %d %b %H:%M"))


_zone = lru_cache(maxsize=64)(zone_of)


def submitted(job: Row, tz: str) -> str:
    """The request of the job in words."""
    gpus = f"{job['gpus']} GPU{'s' if job['gpus'] != 1 else ''}"
    text = f"submitted at {job['home']}: {gpus} for an estimated {hours(job['estimate_h'])}"
    if math.isinf(job["slack_h"]):
        return f"{text}; it has no deadline"
    if job["slack_h"] <= 0:
        return f"{text}; it should start at once"
    latest = moment(job, job["submit_h"] + job["slack_h"], tz)
    deadline = moment(job, job["deadline_h"], tz)
    return f"{text}; it may wait {hours(job['slack_h'])}, so start by {latest} and end by {deadline}"


def ended(job: Row, events: Sequence[Row]) -> str:
    """The job's end, and how that lies to its deadline."""
    state = str(job["state"])
    text = ENDINGS.get(state, state)
    reasons = [str(event["reason"]) for event in events if event["kind"] in ("end", "reject", "refuse")]
    if reasons and reasons[-1] not in ("", state):
        text += f" ({reasons[-1]})"
    if not known(job["end_h"]):
        return text
    text += f", {hours(job['jct_h'])} after submission"
    if math.isinf(job["deadline_h"]):
        return text
    verdict = "late: the deadline is missed" if job["deadline_missed"] else "before its deadline"
    return f"{text}, {hours(abs(job['deadline_h'] - job['end_h']))} {verdict}"


def event_words(event: Row, job: Row, tz: str, again: bool = False) -> str:
    """One event of a job: what was done, why, and on what numbers; a reason given `again` is only named."""
    kind, site = str(event["kind"]), str(event["site"])
    detail, time_h = json.loads(event["detail"] or "{}"), float(event["time_h"])
    until = detail.pop("until_s", None)
    text = {
        "start": f"started on {site}",
        "hold": f"held{' for ' + site if site else ''}",
        "pause": f"paused on {site}: a checkpoint is written",
        "move": f"sent away from {site}: a checkpoint is written and carried over",
        "resize": f"given another number of GPUs on {site}",
        "kill": f"killed on {site}",
        "offload": f"handed to the root, which may send it to {site}" if site else "handed to the root",
        "cap": _cap_words(site, detail.pop("cap", None)) if kind == "cap" else "",
    }.get(kind, f"{kind} on {site}" if site else kind)
    if kind == "hold" and until is not None:
        text += f" until {moment(job, until / HOUR_S, tz)}"
    if kind == "start" and known(job["start_h"]) and math.isclose(time_h, job["start_h"]) and job["wait_h"] >= 1 / 60:
        text += f" after {hours(job['wait_h'])} of waiting"
    reason = str(event["reason"])
    why = reason.replace("_", " ") if again else reason_words(reason)
    numbers = ", ".join(quantity(key, value) for key, value in detail.items())
    return "; ".join(part for part in (text + (f": {why}" if why else ""), numbers) if part)


def _cap_words(site: str, cap: float | None) -> str:
    """A change of a job's power cap in words; 1 is no cap."""
    if cap is None:
        return f"its power was capped on {site}"
    if cap >= 1.0:
        return f"its power was no longer capped on {site}"
    return f"its power was capped on {site} at {cap:.0%} of what it draws above idle"


def reason_words(reason: str) -> str:
    """A reason in words: the name of a part of a policy with the first sentence of its documentation, else itself."""
    if not reason or " " in reason:
        return reason
    said = _said_of(_bare(reason))
    return f"{reason.replace('_', ' ')} ({said[:1].lower()}{said[1:]})" if said else reason.replace("_", " ")


@lru_cache(maxsize=1)
def _parts() -> dict[str, tuple[str, str]]:
    """Module and name of each part of a policy, by its bare name: from the sources, as importing all takes 0.25 s."""
    from tafukt.simulator import policies

    folder, found = Path(str(files(policies))), {}
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder).with_suffix("").parts
        module = ".".join((policies.__name__, *inner)).removesuffix(".__init__")
        for name in re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[_bare(name)] = (module, name)
    return found


@lru_cache(maxsize=256)
def _said_of(bare: str) -> str:
    """First sentence of the documentation of a part of a policy; empty where no part is called so."""
    if bare not in _parts():
        return ""
    module, name = _parts()[bare]
    first = (getattr(import_module(module), name).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split()).split(". ")[0].rstrip(".")


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def quantity(key: str, value: Any) -> str:
    """A number with its unit, from the unit in its name."""
    for suffix, unit in DETAIL_UNITS.items():
        if key.endswith(suffix) or f"{suffix}_" in key:
            return f"{WORDS.get(key, key.replace(suffix, '', 1).replace('_', ' '))} {_round(value)} {unit}"
    if key.endswith("_s") and isinstance(value, int | float):
        return f"{WORDS.get(key, key[:-2].replace('_', ' '))} {hours(value / HOUR_S)}"
    return f"{WORDS.get(key, key.replace('_', ' '))} {_round(value)}"


def _round(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value}"
