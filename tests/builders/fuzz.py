"""Inputs with mistakes put in at random: experiments, weather files and traces, each from a base that is valid.

Every input follows from a seed and its number alone, so that one that finds a fault can be made again.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from builders.weather_files import begins, clear, epw
from tafukt.experiments.config import toml
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.runs import session
from tafukt.problems import Mistakes

HANG_S = 10
"""No input takes longer than this to be refused, or to be made ready to run [s of processor time]."""
RUNS_S = 5.0
"""What is estimated to take longer is not run [s]."""
START = datetime(2025, 6, 1, tzinfo=UTC)
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Base:
    """Files that make a valid experiment, and which of them is spoilt by what."""

    name: str
    files: dict[str, bytes]
    target: str
    spoil: Callable[[random.Random, bytes], Spoilt]


@dataclass(frozen=True)
class Spoilt:
    """A file with a mistake, in words what it is, and whether it can be no valid input."""

    data: bytes
    what: str
    wrong: bool = False


# --- Experiments

PLACE = """
lat = 33.0
lon = -7.0
tz = "UTC"
cluster = { nodes = 2 }
"""
HEAD = """
name = "fuzz"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 60
policies = ["fifo"]
bound = false
"""
GENERATOR = """
[workload]
kind = "generator"
load = 0.3
runtime_cap_h = 2.0
gang_cap = 4
"""
PLAIN = f"{HEAD}[sites.own.x]{PLACE}weather = {{ kind = 'clear-sky' }}{GENERATOR}"
RICH = f"""
{HEAD}
seeds = [1, 2]
drain_days = 1
coordination = "federated"
question = "Does it?"
quotas = {{ "RSK" = {{ gpus = 12, gpus_outside = 4 }} }}
[sites]
use = ["rabat"]
[sites.all]
fixed_kw = 1.5
[sites.change.rabat]
weather.kind = "clear-sky"
cluster.nodes = 2
[sites.own.x]{PLACE}
population = 1000000
country = "MA"
weather = {{ kind = "clear-sky", temp_air_c = 25.0 }}
battery = {{ kwh = 30.0, c_rate = 0.5, soc_min = 0.1, soc_max = 0.9, strategy = "tariff" }}
cooling = {{ kind = "chiller", base = 0.1, supply_c = 18.0, cop_max = 7.0 }}
other = {{ kind = "constant", kw = 2.0 }}
islandable = true
[sites.own.x.pv]
kwp = 20.0
tilt_deg = 25.0
mount = "fixed"
dc_ac_ratio = 1.1
backtrack = true
[sites.own.x.pv.soiling]
kind = "accumulating"
rate_per_day = 0.002
cleaning_days = 10
[sites.own.x.grid]
import_limit_kw = 40.0
export_limit_kw = 10.0
tariff = {{ bands = [{{ name = "all", mad_per_kwh = 1.2, winter = "0-24", summer = "0-24" }}] }}
carbon = {{ kind = "constant", g_per_kwh = 500.0 }}
outages = {{ per_year = 10.0, mean_hours = 1.0 }}
events = [{{ start = 2025-06-01T10:00:00Z, hours = 2.0, cut = 0.3, notice_min = 15.0 }}]
[workload]
kind = "generator"
jobs_per_day_per_million = 4.0
gang_cap = 4
runtime_cap_h = 4.0
estimates = "factor"
estimate_factor = 1.5
elastic = {{ share = 0.3, exponent = 0.8 }}
[engine]
hold_min = 10.0
remainder = "whole"
[faults]
node_mtbf_days = 50.0
repair_h = 4.0
retries = 3
[network]
star_gbit_s = 1.0
kwh_per_gb = 0.01
[service]
use = "citizens"
users_share = 0.1
[forecast]
sun = "noisy"
error = 0.2
horizon_h = 48
[account]
warm_up_days = 0.25
[output]
step_min = 60
events = "all"
[matrix]
"sites.all.pv.kwp" = [5.0, 10.0]
"""
TRACE = f"""{HEAD}
[sites.own.x]{PLACE}weather = {{ kind = "clear-sky" }}
[workload]
kind = "trace"
file = "FILE"
format = "FORMAT"
start_day = 0
gpu_cap = 8
load_factor = 1
slack_h = 2.0
estimates = "exact"
over_cap = "cut"
runtime_cap_h = 24.0
"""
WEATHER = f"{HEAD}[sites.own.x]{PLACE}weather = {{ kind = 'KIND', file = 'FILE', repeat = false }}{GENERATOR}"
SERIES = (
    f"{HEAD}[sites.own.x]{PLACE}weather = {{ kind = 'clear-sky' }}\n"
    f"grid.price_mad_per_kwh = {{ file = 's.csv', column = 'price' }}{GENERATOR}"
)

NO_NUMBERS: list[Any] = [NAN, INF, -INF, True, False, "5", "nan", "", "inf", [], ["x"], {}, {"a": 1}, 10**400, 1e300]
WRONG: dict[type, list[Any]] = {
    float: NO_NUMBERS,
    int: [*NO_NUMBERS, 0.37],
    bool: [1, 0, 0.5, "true", "no", NAN, [], ["x"]],
    str: [5, 1.5, NAN, INF, True, False, START],
    datetime: [5, NAN, True, "yesterday", "2025-13-45", [], {}],
}
"""What is no value of a type, whatever key it stands at."""
RARE: list[Any] = [
    0,
    -1,
    1,
    0.5,
    1e-9,
    1e9,
    5e-324,
    -0.0,
    2**63 - 1,
    "x",
    "../../etc/passwd",
    "a" * 5000,
    "=1+1",
    "\u0000é",
    [],
]
TAKES_MORE = ("best_known", "quotas", "matrix", "seeds", "sites.use", "policies", "service", "sites.own.x.grid.tariff")
"""Keys whose values are lists, tables of the user's own names, or of several types."""
NAMED = ("quotas", "matrix", "sites.own", "sites.change", "workload.classes", "sites.own.x.sources")
"""Tables whose keys are the user's."""


def spoilt_experiment(rng: random.Random, data: bytes) -> Spoilt:
    """An experiment with a value of another type, a number that is none, a key misspelt, left out, or bytes damaged."""
    if rng.random() < 0.15:
        return Spoilt(damaged(rng, data), "bytes")
    document = toml.parse(data, "e.toml")
    what, wrong = [], False
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        leaves = list(_leaves(document))
        path, value = leaves[rng.randrange(len(leaves))]
        key = ".".join(map(str, path))
        table = _at(document, path[:-1])
        known = key.startswith(TAKES_MORE)
        match rng.randrange(6):
            case 0 | 1 | 2:
                kinds = WRONG.get(type(value), [])
                table[path[-1]] = rng.choice(kinds) if kinds else NAN
                wrong = wrong or (not known and bool(kinds))
                what.append(f"{key} = {table[path[-1]]!r}"[:80])
            case 3:
                table[path[-1]] = rng.choice(RARE)
                what.append(f"{key} = {table[path[-1]]!r}"[:80])
            case 4 if isinstance(table, dict):
                del table[path[-1]]
                what.append(f"no {key}")
            case 5 if isinstance(table, dict):
                parent = ".".join(map(str, path[:-1]))
                table[f"{path[-1]}_"] = table.pop(path[-1])
                wrong = wrong or parent not in NAMED
                what.append(f"{key}_")
    try:
        return Spoilt(toml.text(document).encode(), "; ".join(what), wrong and len(what) == 1)
    except (TypeError, ValueError):  # TOML has no way to write it
        return Spoilt(b"days = " + str(rng.choice(RARE))[:50].encode() + b"\n" + data, "days twice", True)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*path, place))
    elif path:
        yield path, value


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


# --- Files of rows

NO_CELLS = [
    "nan",
    "inf",
    "-inf",
    "Infinity",
    "1e999",
    "abc",
    "true",
    "0x1F",
    "--",
    "#REF!",
    "12:00",
    "1,2.3",
    "9" * 400,
]
"""No number of a weather file or a log, and no time."""


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to four of: a part cut out, doubled, overwritten, or replaced by nonsense."""
    nonsense = [
        b"\x00",
        b"\xff\xfe",
        b"nan",
        b"inf",
        b"-",
        b"1e999",
        b"9" * 400,
        b",,,",
        b"\n\n",
        b'"',
        b"=1+1",
        b"../",
    ]
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(at + rng.choice([1, 3, 40, 400]), len(data))
        put = (b"", data[at:end] * 2, rng.randbytes(end - at), rng.choice(nonsense))[rng.randrange(4)]
        data = data[:at] + put + data[end:]
    return data


def spoilt_rows(
    separator: str, first: int, last: int, columns: tuple[int, ...]
) -> Callable[[random.Random, bytes], Spoilt]:
    """A spoiler of a text file: rows `first` to `last` have, in `columns`, what has to be a number or a time."""

    def spoil(rng: random.Random, data: bytes) -> Spoilt:
        if rng.random() < 0.25:
            return Spoilt(damaged(rng, data), "bytes")
        lines = data.decode().split("\n")
        row = rng.randrange(first, last)
        match rng.randrange(6):
            case 0 | 1 | 2 | 3:
                cells = lines[row].split(separator) if separator != " " else lines[row].split()
                column = rng.choice(columns)
                cells[column] = rng.choice([c for c in NO_CELLS if separator not in c])
                lines[row] = separator.join(cells)
                return Spoilt("\n".join(lines).encode(), f"row {row + 1}, column {column}: {cells[column][:20]}", True)
            case 4:
                other = rng.randrange(first, last)
                lines[row], lines[other] = lines[other], lines[row]
                return Spoilt("\n".join(lines).encode(), f"rows {row + 1} and {other + 1} exchanged")
            case _:
                lines[row : row + 1] = rng.choice([[], [lines[row]] * 2, [lines[row][: len(lines[row]) // 2]]])
                return Spoilt("\n".join(lines).encode(), f"row {row + 1} doubled, lost or cut")

    return spoil


def spoilt_json(rng: random.Random, data: bytes) -> Spoilt:
    """A JSON file of rows with a value that is no number, a key missing, or bytes damaged."""
    if rng.random() < 0.25:
        return Spoilt(damaged(rng, data), "bytes")
    value = json.loads(data)
    rows = value["outputs"]["hourly"]
    row, key = rng.randrange(24, 60), rng.choice(["G(h)", "T2m"])
    match rng.randrange(4):
        case 0 | 1:
            rows[row][key] = rng.choice(["nan", None, "x", [], {}, True, NAN, INF, 1e300])
            # what has no value is filled by nobody
            return Spoilt(json.dumps(value).encode(), f"row {row}, {key}: {rows[row][key]!r}", True)
        case 2:
            del rows[row][key]
            return Spoilt(json.dumps(value).encode(), f"row {row} has no {key}", True)
        case _:
            part = rng.choice(["inputs", "outputs"])
            value[part] = rng.choice([[], None, 5, {}, "x", [1]])
            return Spoilt(json.dumps(value).encode(), f"{part}: {value[part]!r}")


# --- Bases


def bases() -> list[Base]:
    """Every base, by what is spoilt in it."""
    first = START - timedelta(days=1)
    hours = [t.strftime("%Y-%m-%dT%H:%MZ") for t in begins(first, 96)]
    ghi = clear(first, 4)[0]
    csv = ("time,ghi,temp_air\n" + "".join(f"{t},{g:.1f},20.5\n" for t, g in zip(hours, ghi, strict=True))).encode()
    price = ("time,price\n" + "".join(f"{t},1.25\n" for t in hours)).encode()
    with tempfile.TemporaryDirectory() as folder:
        energyplus = epw(Path(folder) / "w.epw", first, ghi).read_bytes()
    found = [
        Base("plain", {}, "e.toml", spoilt_experiment),
        Base("rich", {}, "e.toml", spoilt_experiment),
        Base("trace", {"t.csv": own_log()}, "e.toml", spoilt_experiment),
        Base("csv", {"w.csv": csv}, "w.csv", spoilt_rows(",", 26, 46, (0, 1, 2))),
        Base("epw", {"w.epw": energyplus}, "w.epw", spoilt_rows(",", 34, 52, (6, 13))),
        Base("pvgis", {"w.json": pvgis(first, ghi)}, "w.json", spoilt_json),
        Base("series", {"s.csv": price}, "s.csv", spoilt_rows(",", 26, 46, (0, 1))),
        Base("own", {"t.csv": own_log()}, "t.csv", spoilt_rows(",", 1, 40, (1, 2, 3))),
        Base("swf", {"t.swf": swf_log()}, "t.swf", spoilt_rows(" ", 1, 39, (1, 3, 4, 7))),
        Base("sacct", {"t.txt": sacct_log()}, "t.txt", spoilt_rows("|", 1, 30, (1, 4))),
    ]
    texts = {
        "plain": PLAIN,
        "rich": RICH,
        "trace": TRACE.replace("FILE", "t.csv").replace("FORMAT", "own"),
        "csv": WEATHER.replace("KIND", "csv").replace("FILE", "w.csv"),
        "epw": WEATHER.replace("KIND", "epw").replace("FILE", "w.epw"),
        "pvgis": WEATHER.replace("KIND", "pvgis").replace("FILE", "w.json"),
        "series": SERIES,
        "own": TRACE.replace("FILE", "t.csv").replace("FORMAT", "own"),
        "swf": TRACE.replace("FILE", "t.swf").replace("FORMAT", "swf"),
        "sacct": TRACE.replace("FILE", "t.txt").replace("FORMAT", "sacct"),
    }
    return [Base(b.name, {"e.toml": texts[b.name].encode(), **b.files}, b.target, b.spoil) for b in found]


def own_log() -> bytes:
    head = "job_id,submit,runtime_s,gpus,estimate_s,cluster,class,status\n"
    rows = [
        f"j{i},2025-06-01T{i // 2:02d}:{i % 2 * 30:02d}:00Z,{600 + i},{1 + i % 8},7200,lab,train,done\n"
        for i in range(44)
    ]
    return (head + "".join(rows)).encode()


def swf_log() -> bytes:
    fields = "{} {} 0 {} 4 -1 -1 4 900 -1 1 1 1 1 1 1 -1 -1"
    rows = [fields.format(i, 1500 * i, 600 + i) for i in range(1, 42)]
    return ("; UnixStartTime: 0\n" + "\n".join(rows) + "\n").encode()


def sacct_log() -> bytes:
    head = "JobID|Submit|Start|End|Elapsed|AllocTRES|State\n"
    rows = [
        f"{i}|2025-06-01T{i // 2:02d}:00:00|2025-06-01T{i // 2:02d}:05:00|2025-06-01T{i // 2:02d}:35:00|00:30:00"
        f"|billing=8,cpu=8,gres/gpu={1 + i % 4},node=1|COMPLETED\n"
        for i in range(34)
    ]
    return (head + "".join(rows)).encode()


def pvgis(first: datetime, ghi: Any) -> bytes:
    rows = [
        {"time": f"{t + timedelta(minutes=30):%Y%m%d:%H%M}", "G(h)": round(float(g), 1), "T2m": 20.0, "WS10m": 2.0}
        for t, g in zip(begins(first, 96), ghi, strict=True)
    ]
    place = {"location": {"latitude": 33.0, "longitude": -7.0, "elevation": 0.0}}
    return json.dumps({"inputs": place, "outputs": {"hourly": rows}}).encode()


# --- What comes of an input


class Hang(BaseException):
    """Something that takes longer than anybody would wait, and that nothing on the way may catch."""


@contextmanager
def no_hang(seconds: float = HANG_S) -> Iterator[None]:
    """Stop what takes longer: by its own processor time, or six times as long beside other work."""

    def stop(*_: Any) -> None:
        raise Hang(f"takes more than {seconds} s")

    clocks = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 6 * seconds))
    before = [signal.signal(number, stop) for number, _, _ in clocks]
    for _, clock, most in clocks:
        signal.setitimer(clock, most)
    try:
        yield
    finally:
        for (number, clock, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """What came of an input: `ran`, `large` (accepted, too large to run here) or `refused`, or a fault in words.

    `notes` is what is told of an input that is accepted.
    """

    kind: str
    fault: str = ""
    notes: frozenset[str] = frozenset()


def tried(files: dict[str, bytes], folder: Path) -> Outcome:
    """Load and run what the files say, as `tafukt run` does."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    try:
        with no_hang():
            loaded = load_experiment(folder / "e.toml")
            plan = session.plan_runs(loaded, folder / "out")
            inputs = session.check_inputs(plan)
            told = frozenset(notes(loaded, inputs)) if inputs is not None else frozenset()
            large = sum(session.costs_s(plan, inputs).values()) > RUNS_S
        if large:
            return Outcome("large", notes=told)
        with no_hang(6 * HANG_S):
            done = session.carry_out(plan, 1)
    except Mistakes as error:
        said = str(error)
        if not said.strip() or len(said) > 100_000 or "Traceback" in said:
            return Outcome("fault", f"refused with {said[:200]!r}")
        return Outcome("refused")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome("fault", f"{type(error).__name__}: {error}"[:300])
    reasons = [str(row["reason"]) for row in done.rows if row["status"] != "complete"] + done.faults
    bad = [row["run"] for row in done.rows if any(isinstance(v, float) and math.isinf(v) for v in row.values())]
    if reasons or bad:
        return Outcome("fault", f"run fails: {reasons[0]}"[:300] if reasons else f"infinite: {bad}")
    return Outcome("ran", notes=told)


def spoilt(base: Base, seed: int, number: int) -> tuple[dict[str, bytes], Spoilt]:
    """The input of a number: the base's files with one of them spoilt."""
    rng = random.Random(f"{seed}/{number}")
    packed = base.target.endswith((".csv", ".swf")) and base.target != "s.csv" and rng.random() < 0.1
    change = base.spoil(rng, base.files[base.target])
    files = copy.copy(base.files)
    if packed:
        files[f"{base.target}.gz"] = gzip.compress(change.data, mtime=0)
        files["e.toml"] = files["e.toml"].replace(base.target.encode(), f"{base.target}.gz".encode())
    else:
        files[base.target] = change.data
    return files, change


def faults(seed: int, numbers: range, folder: Path, tally: dict[str, int] | None = None) -> list[str]:
    """What is wrong with how inputs of these numbers are taken."""
    known, found = bases(), []
    usual: dict[str, frozenset[str]] = {}
    for number in numbers:
        base = known[number % len(known)]
        files, change = spoilt(base, seed, number)
        with tempfile.TemporaryDirectory(dir=folder) as here:
            outcome = tried(files, Path(here))
        if base.name not in usual:
            with tempfile.TemporaryDirectory(dir=folder) as here:
                usual[base.name] = tried(base.files, Path(here)).notes
        silent = change.wrong and outcome.kind in ("ran", "large") and outcome.notes <= usual[base.name]
        told = f"{seed}/{number} {base.name}: {change.what}"
        if outcome.fault:
            found.append(f"{told}: {outcome.fault}")
        elif silent:
            found.append(f"{told}: accepted in silence")
        if tally is not None:
            key = "fault" if outcome.fault or silent else outcome.kind
            tally[key] = tally.get(key, 0) + 1
    return found
