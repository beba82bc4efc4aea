"""Bad and hostile input: refused or harmless, in bounded time and memory; and no code runs that nobody named.

Mutated experiments, bad weather and bad traces, one fault at a time, are tested where they are read; here is what is
made to do harm, and random damage to files that were fine.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders.fuzz import damaged

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import check, load_experiment
from tafukt.experiments.errors import InputError
from tafukt.simulator.policies.presets import PRESETS
from tafukt.sites.errors import SiteError
from tafukt.sites.site import site_from
from tafukt.sites.supply import supply
from tafukt.sites.weather import tables
from tafukt.workloads.build import build
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.schema import Place, TraceModel

START = datetime(2025, 6, 1, tzinfo=UTC)
PLAIN = """
name = "plain"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 60
policies = ["fifo"]
bound = false
[sites]
use = ["rabat"]
all.cluster.nodes = 1
all.weather.kind = "clear-sky"
[workload]
kind = "generator"
load = 0.2
runtime_cap_h = 2
gang_cap = 4
"""


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- large ------------------------------------------------------------------------------------------------

FLOODS = {
    "keys": "".join(f"k{i}=1\n" for i in range(1_000_000)),
    "keys within the size": "".join(f"k{i}=1\n" for i in range(90_000)),
    "tables": "".join(f"[a{i}]\n" for i in range(90_000)),
    "sites": "[sites.own]\n" + "".join(f"s{i}.like='rabat'\n" for i in range(40_000)),
    "names of sites": "[sites]\nuse=[" + "'rabatt'," * 90_000 + "]\n",
    "axes": "[matrix]\n" + "".join(f"'workload.l{i}'=[1]\n" for i in range(4_900)),
    "policies": "policies=[" + ",".join(f"'fofo{i}'" for i in range(9_900)) + "]\n",
    "seeds": "seeds=[" + ",".join(map(str, range(9_900))) + "]\n",
    "a long name": "name='" + "a" * 1_000_000 + "'\n",
    "a deep key": ".".join("a" * 900) + "=1\n",
    "a long number": "days=" + "9" * 900_000 + "\n",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_refused_soon_and_briefly(flood: str, tmp_path: Path) -> None:
    path = tmp_path / "flood.toml"
    path.write_text(FLOODS[flood])
    begin, memory = time.process_time(), peak_kb()
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert time.process_time() - begin < 5.0
    assert peak_kb() - memory < 300_000
    assert len(str(caught.value)) < 200_000


@pytest.mark.parametrize("tail", [b"", b"\x00" * 40, b"garbage"])
def test_a_compression_bomb_for_weather_is_stopped(
    tail: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 20_000_000)
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"time,ghi\n" + b"0" * 80_000_000) + tail)
    assert bomb.stat().st_size < 200_000
    memory = peak_kb()
    with pytest.raises(SiteError, match="unpacks to more than 20000000 bytes"):
        weather_of(bomb, tmp_path)
    assert peak_kb() - memory < 60_000


def weather_of(path: Path, cache: Path) -> Any:
    table = {"name": "x", "lat": 34.0, "lon": -6.8, "tz": "UTC", "pv": {"kwp": 1.0}}
    model = site_from(table | {"weather": {"kind": "csv", "file": str(path)}}, None, "t")
    return supply([model], START, 1, 3600.0, 1, cache)


# --- damaged ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_weather_is_read_or_refused_by_its_name(packed: bool, tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [f"2025-06-{d:02d}T{h:02d}:00:00Z,{500 if 6 <= h < 18 else 0},20" for d in (1, 2) for h in range(24)]
    good = ("time,ghi,temp_air\n" + "\n".join(rows) + "\n").encode()
    path = tmp_path / ("w.csv.gz" if packed else "w.csv")
    messages = []
    for _ in range(30):
        path.write_bytes(damaged(rng, gzip.compress(good, mtime=0) if packed else good))
        try:
            pv = weather_of(path, tmp_path / "cache")["x"].pv_w.values
            assert (pv >= 0).all()
            assert (pv < 2000).all()
        except SiteError as error:
            messages.append(str(error))
    assert all("w.csv" in message and len(message) < 5000 for message in messages)
    assert len(messages) > 15


@pytest.mark.parametrize("kind", ["own", "swf"])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_traces_are_read_or_refused_by_their_name(kind: str, packed: bool, tmp_path: Path) -> None:
    rng = random.Random(6)
    if kind == "own":
        rows = [f"j{i},2025-06-01T{i % 24:02d}:00:00Z,3600,{1 + i % 8},7200,lab,training,done" for i in range(40)]
        good = ("job_id,submit,runtime_s,gpus,estimate_s,tenant,class,status\n" + "\n".join(rows) + "\n").encode()
    else:
        fields = "{} {} 0 600 4 -1 -1 4 900 -1 1 1 1 1 1 1 -1 -1"
        good = ("; UnixStartTime: 0\n" + "\n".join(fields.format(i, 60 * i) for i in range(1, 40)) + "\n").encode()
    path = tmp_path / f"t.{'csv' if kind == 'own' else 'swf'}{'.gz' if packed else ''}"
    table = {"kind": "trace", "file": path.name, "format": kind, "start_day": 0, "gpu_cap": 8, "load_factor": 1}
    model = TraceModel.model_validate(table | {"slack_h": 1, "estimates": "exact", "gpus_per_unit": 1})
    messages = []
    for turn in range(41):
        path.write_bytes(damaged(rng, gzip.compress(good, mtime=0) if packed else good) if turn else good)
        try:
            demand = build(model, [Place("x", "X", 1000, 8, "MA")], START, 1.0, 1, tmp_path)
            assert all(job.ask.gpus > 0 and job.truth.work_gpu_s >= 0 for job in demand.jobs)
        except WorkloadError as error:
            messages.append((turn, str(error)))
    assert all(turn > 0 and len(message) < 5000 for turn, message in messages), messages[0]
    assert len(messages) > 5


def test_damaged_experiments_are_valid_or_refused(tmp_path: Path) -> None:
    rng = random.Random(7)
    messages = []
    for _ in range(150):
        data = damaged(rng, PLAIN.encode())
        try:
            check(toml.parse(data, "d.toml"), "d.toml", tmp_path)
        except InputError as error:
            messages.append(str(error))
    assert all("d.toml" in message for message in messages)
    assert 50 < len(messages) < 150


# --- names --------------------------------------------------------------------------------------------------

EVIL = ["../../evil", "/etc/evil", "=1+1", "<script>alert(1)</script>", "a\x00b", "a\nb", "..", "con:", "a" * 300]


@pytest.mark.parametrize("name", EVIL)
def test_names_that_become_files_are_plain(name: str) -> None:
    document = toml.parse(PLAIN.encode(), "p")
    for change in ({"name": name}, {"sites": {"use": ["rabat"], "own": {name: {"like": "rabat"}}}}):
        with pytest.raises(InputError):
            check(document | change, "p.toml", Path())


def test_names_that_come_from_a_trace_stay_text(tmp_path: Path) -> None:
    """Jobs, tenants and titles may be called anything: no file, no formula and no script comes of it."""
    import csv
    import io

    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["job_id", "submit", "runtime_s", "gpus", "estimate_s", "tenant", "class", "status"])
    for name in EVIL[:5]:
        table.writerow([name, "2025-06-01T02:00:00Z", 600, 1, 600, name, name, "done"])
    name = "=1+<script>alert(1)</script>../.."
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "t.csv").write_text(rows.getvalue().replace("\0", ""))
    workload = (
        'kind = "trace"\nfile = "t.csv"\nformat = "own"\nstart_day = 0\ngpu_cap = 8\n'
        'load_factor = 1\nslack_h = 1\nestimates = "exact"\n'
    )
    text = PLAIN.partition("[workload]")[0].replace("[sites]", f"question = {json.dumps(name)}\n[sites]")
    (inside / "e.toml").write_text(f"{text}all.title = {json.dumps(name)}\n[workload]\n{workload}")
    done = tafukt(inside, "run", "e.toml", "-o", "out", "--quiet")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert tafukt(inside, "report", "out").returncode == 0
    for page in inside.glob("out/*.html"):
        assert "<script>alert(1)" not in page.read_text()
    for sheet in inside.glob("out/**/*.csv"):
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(sheet.open()) for cell in row)


def tafukt(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", "from tafukt.experiments.cli.app import main; main()", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


# --- code ---------------------------------------------------------------------------------------------------

BOOBY_TRAP = "from pathlib import Path\nPath(__file__).with_name(Path(__file__).stem + '.ran').touch()\n"


def test_no_code_runs_that_the_experiment_does_not_name(tmp_path: Path) -> None:
    """Files beside an experiment that are called like something one might import, or like a policy."""
    (tmp_path / "e.toml").write_text(PLAIN.replace('["fifo"]', '["fifo", "mine.py:best"]'))
    for name in ("other.py", "policies.py", "fifo.py", "conftest.py", "setup.py", "catalogue.py"):
        (tmp_path / name).write_text(BOOBY_TRAP)
    best = "\ndef best(view):\n    from tafukt.simulator.engine.actions import Start\n    for job in list(view.waiting.values()):\n"  # noqa: E501
    best += "        for site in view.fitting(job, view.sites_for(job), job.ask.gpus)[:1]:\n            yield Start(job, site)\n"  # noqa: E501
    (tmp_path / "mine.py").write_text(BOOBY_TRAP.replace("__file__", "'mine.py'") + best)
    loaded = load_experiment(tmp_path / "e.toml")
    assert not list(tmp_path.glob("*.ran")), "loading reads a policy's text, and runs none of it"
    assert [policy.label for policy in loaded.policies] == ["fifo", "mine:best"]
    done = tafukt(tmp_path, "run", "e.toml", "-o", "out", "--quiet")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.ran")] == ["mine.ran"]


def test_policies_are_names_not_expressions() -> None:
    document = toml.parse(PLAIN.encode(), "p")
    for given in ("os:system('x')", "__import__('os'):system", "os;x:y", "a.b.c:__class__.x", "lambda:0", ":", "a:"):
        assert given not in PRESETS
        with pytest.raises(InputError, match="policies"):
            check(document | {"policies": [given]}, "p.toml", Path())


def test_a_poisoned_cache_is_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    model = site_from({"weather": {"kind": "clear-sky"}}, "rabat", "t")
    cache = tmp_path / "cache"
    right = supply([model], START, 1, 3600.0, 1, cache)["rabat"].pv_w.values
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(pickle.dumps(Trap()))
    again = supply([model], START, 1, 3600.0, 1, cache)["rabat"].pv_w.values
    assert (again == right).all()
    assert not (tmp_path / "sprung").exists()
