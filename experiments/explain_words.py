"""Words for what happens to a job: events, reasons, and the numbers that a decision rested on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Row = Mapping[str, Any]

HOUR_S = 3600.0
WORDS = {
    "grid_kwh": "expected from the grid:",
    "emissions_kg": "expected emissions:",
    "cost_mad": "expected cost:",
    "grid_kwh_on": "had it run on:",
    "grid_kwh_now": "had it started at once:",
    "emissions_kg_now": "had it started at once:",
    "cost_mad_now": "had it started at once:",
    "gpus": "GPUs:",
    "from_gpus": "before:",
    "most_gpus": "most GPUs:",
}
UNITS = {
    "_g_per_kwh": "g/kWh",
    "_gpu_s": "GPU-s",
    "_kwh": "kWh",
    "_mad": "MAD",
    "_kw": "kW",
    "_gb": "GB",
    "_kg": "kg CO2e",
    "_h": "h",
}
ENDINGS = {
    "done": "done",
    "failed": "failed of itself",
    "cancelled": "cancelled by its user",
    "left": "still not ended when the accounting window closed",
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
    return str(at.astimezone(ZoneInfo(tz)).strftime("%a %d %b %H:%M"))


def submitted(job: Row, tz: str) -> str:
    """What was asked for."""
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
    """How it ended, and how that lies to its deadline."""
    state = str(job["state"])
    text = ENDINGS.get(state, state)
    reasons = [str(event["reason"]) for event in events if event["kind"] in ("end", "reject")]
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
        "cap": f"its power was capped on {site}",
    }.get(kind, f"{kind} on {site}" if site else kind)
    if kind == "hold" and until is not None:
        text += f" until {moment(job, until / HOUR_S, tz)}"
    if kind == "start" and known(job["start_h"]) and math.isclose(time_h, job["start_h"]) and job["wait_h"] >= 1 / 60:
        text += f" after {hours(job['wait_h'])} of waiting"
    reason = str(event["reason"])
    why = reason.replace("_", " ") if again else reason_words(reason)
    numbers = ", ".join(quantity(key, value) for key, value in detail.items())
    return "; ".join(part for part in (text + (f": {why}" if why else ""), numbers) if part)


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


def quantity(key: str, value: Any) -> str:
    """A number with its unit, from the unit in its name."""
    for suffix, unit in UNITS.items():
        if key.endswith(suffix) or f"{suffix}_" in key:
            return f"{WORDS.get(key, key.replace(suffix, '', 1).replace('_', ' '))} {_round(value)} {unit}"
    if key.endswith("_s") and isinstance(value, int | float):
        return f"{WORDS.get(key, key[:-2].replace('_', ' '))} {hours(value / HOUR_S)}"
    return f"{WORDS.get(key, key.replace('_', ' '))} {_round(value)}"


def _round(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value}"
