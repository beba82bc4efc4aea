"""Every key of the schema at its largest and its smallest allowed value: it runs, or a message says why not."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.fuzz import no_hang
from builders.schema_keys import Key, every_key, put

from tafukt.experiments.config.load import check
from tafukt.experiments.errors import InputError
from tafukt.experiments.runs import session
from tafukt.problems import Mistakes, Problem

BASE: dict[str, Any] = {
    "name": "keys",
    "start": "2025-06-01T00:00:00Z",
    "days": 1,
    "step_min": 60,
    "policies": ["fifo", "wait-for-sun"],
    "sites": {"own": {"x": {"like": "dakhla", "weather": {"kind": "clear-sky"}, "cluster": {"nodes": 2}}}},
    "workload": {"kind": "generator", "load": 0.2, "runtime_cap_h": 2, "gang_cap": 4},
}
MORE_WORK = ("days", "drain_days", "best_known.steps")
OTHER_CLASS = ("workload.classes.fine_tuning.runtime_quantiles_h",)
"""Keys that this class of jobs cannot have beside those that it has."""
"""Keys that ask for more work the larger they are; `validate` says how long it takes."""
SAID: dict[str, list[Any]] = {
    "output.step_min": [60, 1440],
    "sites.own.x.cooling.pue": [[1.0] * 3, [6.0] * 3],
    "sites.own.x.battery.soc_start": [0.05, 0.95],
    "sites.own.x.climate.tmax_c": [[15.0] * 12, [60.0] * 12],
    "sites.own.x.climate.tmin_c": [[-80.0] * 12, [25.0] * 12],
    "engine.power_caps": [[[5e-324, 5e-324], [1.0, 1.0]], [[0.5, 0.999], [1.0, 1.0]]],
}
"""Extremes of keys whose values are no plain numbers, or only some."""
NUMBERS = {int, float}
KEYS = [
    replace(key, path=("quotas", "DOD", *key.path[2:])) if key.path[0] == "quotas" else key
    for key in every_key()
    if key.types & NUMBERS and key.dotted not in (*MORE_WORK, *OTHER_CLASS)
]
SERIES = {"file": "s.csv", "column": "v"}
BESIDE: dict[str, dict[str, Any]] = {
    "SeriesModel": SERIES,
    "SeriesCarbon": {"series": SERIES},
    "WeatherCSV": {"file": "w.csv"},
    "TraceModel": {
        "file": "t.csv",
        "format": "own",
        "start_day": 0,
        "gpu_cap": 8,
        "load_factor": 1,
        "slack_h": 1,
        "estimates": "exact",
    },
    "LinkTable": {"a": "x", "b": "y", "gbit_s": 1.0},
    "TariffModel": {"bands": [{"name": "a", "mad_per_kwh": 1.0, "winter": "0-24", "summer": "0-24"}]},
    "Band": {"name": "a", "mad_per_kwh": 1.0, "winter": "0-24", "summer": "0-24"},
    "OutageModel": {"start": "2025-06-01T12:00:00Z", "hours": 1},
    "HeatWave": {"start": "2025-06-01T12:00:00Z", "days": 1, "warmer_c": 1.0},
    "DustStorm": {"date": "2025-06-01T12:00:00Z", "loss": 0.1},
    "GridEventModel": {"start": "2025-06-01T12:00:00Z", "hours": 2.0, "cut": 0.5},
    "NodeModel": {"idle_kw": 1.0, "loaded_kw": 5.0, "sleep_kw": 0.1},
    "MeterModel": SERIES,
    "ClimateModel": {"ghi_kwh_m2_d": [5.0] * 12, "tmax_c": [25.0] * 12, "tmin_c": [15.0] * 12},
    "ElasticModel": {"share": 0.5},
}
"""What a table needs beside the key that is looked at."""
ORDERED = {
    "idle_kw": {"sleep_kw": 0.0, "loaded_kw": 250.0},
    "sleep_kw": {"idle_kw": 250.0, "loaded_kw": 250.0},
    "loaded_kw": {"sleep_kw": 0.0, "idle_kw": 0.0},
    "estimate_factor": {"estimates": "factor"},
}
"""Keys that lie between others, or go with one alone."""
LONG = {
    "workload.classes.fine_tuning.gpus": {"gpus_weights": [1.0]},
    "workload.classes.fine_tuning.gpus_weights": {"gpus": [4]},
}
"""Keys whose lists are as long as those of others."""
INSTEAD = {"load": "load_factor", "slack_factor": "slack_h", "to_kw": "cut", "per_year": "start"}
"""Keys of `BESIDE` in place of which another stands."""


def document(key: Key, value: Any) -> dict[str, Any]:
    """An experiment with a value at a key, and what it needs beside it."""
    base = copy.deepcopy(BASE)
    kind = dict(key.kinds).get(("workload",))
    if kind is not None and kind != "generator":
        del base["workload"]
    if key.path[-1] == "jobs_per_day_per_million":
        del base["workload"]["load"]
    *table, name = key.path if isinstance(key.path[-1], str) else key.path[:-1]
    if key.path[0] == "network":
        base["sites"]["own"] |= {"y": {"like": "dakhla"}}
        base["sites"]["own"]["x"]["is_root"] = True
    near = BESIDE.get(key.model.__name__, {}) | ORDERED.get(str(name), {}) | LONG.get(key.dotted, {})
    for beside, given in near.items():
        if beside not in (name, INSTEAD.get(str(name))):
            base = put(base, replace(key, path=(*table, beside)), copy.deepcopy(given))
    return put(base, key, value)


def shapes(value: float) -> list[Any]:
    """A number, and lists and tables of it, as keys of several numbers take it."""
    return [value, [value] * 12, [value] * 24, [value] * 7, [value], {"one": value}, [value, value]]


def files(folder: Path) -> None:
    """What the experiments of these tests read."""
    days = [(d, h) for d in (31, 1, 2, 3, 4, 5, 6) for h in range(24)]
    times = [f"2025-{5 if d == 31 else 6:02d}-{d:02d}T{h:02d}:00Z" for d, h in days]
    (folder / "s.csv").write_text("time,v\n" + "".join(f"{t},1.5\n" for t in times))
    rows = [f"{t},{500 if 8 <= h < 16 else 0},20\n" for t, (_, h) in zip(times, days, strict=True)]
    (folder / "w.csv").write_text("time,ghi,temp_air\n" + "".join(rows))
    jobs = [f"j{i},{times[24 + i]},{600 * (i + 1)},{1 + i % 8},{900 * (i + 1)}\n" for i in range(12)]
    (folder / "t.csv").write_text("job_id,submit,runtime_s,gpus,estimate_s\n" + "".join(jobs))


def bounds(annotation: Any, metadata: Any) -> Iterator[float]:
    """Every number that stands as a bound in a field's annotation, and its neighbours."""
    for part in metadata:
        for name in ("ge", "le"):
            if getattr(part, name, None) is not None:
                yield getattr(part, name)
        if getattr(part, "gt", None) is not None:
            yield from (part.gt + 1, math.nextafter(part.gt, math.inf))
        if getattr(part, "lt", None) is not None:
            yield from (part.lt - 1, math.nextafter(part.lt, -math.inf))
        within = getattr(getattr(part, "func", None), "__self__", None)
        yield from (v for v in (getattr(within, name, None) for name in ("low", "high", "least")) if v is not None)
        yield from bounds(None, getattr(part, "metadata", ()))
    for inner in getattr(annotation, "__args__", ()):
        yield from bounds(inner, getattr(inner, "__metadata__", ()))


def extremes(key: Key) -> list[Any]:
    """The least and the largest value of a key that its tables take, and the one next to zero."""
    if key.dotted in SAID:
        return SAID[key.dotted]
    field = key.model.model_fields[key.path[-1] if isinstance(key.path[-1], str) else key.path[-2]]
    given = {*bounds(field.annotation, field.metadata), 0, 1, -1, 5e-324, 1e-9, 1e9, 1e15, -1e15, 2**63 - 1, -(2**63)}
    tried: set[Any] = {float(v) for v in given if float in key.types}
    tried |= {int(v) for v in given if int in key.types and (float in key.types or v == int(v))}
    taken = {v: fitting for v in sorted(tried) if (fitting := accepted(key, v)) is not None}
    small = [v for v in taken if v > 0][:1]
    return [taken[v] for v in dict.fromkeys([*list(taken)[:1], *small, *list(taken)[-1:]])]


def accepted(key: Key, value: float) -> Any:
    """The value in the shape that a key takes; `None` where it takes it in none."""
    for shape in shapes(value):
        try:
            check(document(key, shape), "keys.toml", Path("/nowhere"))
        except InputError as error:
            if any(is_of(problem, key) for problem in error.problems):
                continue
        return shape
    return None


def is_of(problem: Problem, key: Key) -> bool:
    """Whether a problem is one of a key: told at it, inside it, or at its table by its name."""
    name = next(part for part in reversed(key.path) if isinstance(part, str))
    at_it = f"{problem.key}[".startswith((f"{key.dotted}.", f"{key.dotted}["))
    return at_it or (f"{key.dotted}.".startswith(f"{problem.key}.") and name in problem.message)


def fault(key: Key, value: Any, folder: Path) -> str:
    """What goes wrong with a value; empty where it runs, or is refused with a message."""
    what = f"{key.title} = {value!r}"
    try:
        with no_hang():
            loaded = check(document(key, value), "keys.toml", folder)
            done = session.carry_out(session.plan_runs(loaded, folder / "out"), 1)
    except Mistakes as error:
        return "" if str(error) else f"{what}: refused without a word"
    except BaseException as error:
        return f"{what}: {type(error).__name__}: {error}"
    reasons = [str(row["reason"]) for row in done.rows if row["status"] != "complete"]
    return f"{what}: {reasons[0]}" if reasons else "".join(done.faults)


def faults(keys: list[Key], folder: Path) -> list[str]:
    found = []
    for number, key in enumerate(keys):
        values = extremes(key)
        assert values, f"{key.title} takes no value at all"
        for place, value in enumerate(values):
            here = folder / f"{number}-{place}"
            here.mkdir()
            files(here)
            if told := fault(key, value, here):
                found.append(told)
    return found


def test_keys_run_at_their_extremes_or_say_why_not(tmp_path: Path) -> None:
    """A systematic part of all keys; the others in the slow run."""
    assert faults(KEYS[::25], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 25))
def test_every_key_runs_at_its_extremes_or_says_why_not(part: int, tmp_path: Path) -> None:
    assert faults(KEYS[part::25], tmp_path) == []
