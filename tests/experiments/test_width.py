"""What every command says fits 80 columns, and no word is broken to make it fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.cli.lines import in_lines

FILE = """
name = "sweep"
question = "What does a larger battery save where jobs wait for the sun, and what where they do not wait at all?"
start = 2025-12-01T00:00:00Z
days = 1
step_min = 60
seeds = [1, 2, 3]
policies = ["fifo", "wait-for-sun", "sun-threshold"]
[sites]
use = ["rabat", "dakhla"]
[sites.all]
cluster = { nodes = 2 }
[workload]
gang_cap = 8
runtime_cap_h = 6
[baseline_scenario]
"sites.all.battery.kwh" = 0
[matrix]
"sites.all.battery.kwh" = { values = [0, 1000], label = "the battery that each of the two sites has", unit = "kWh" }
"workload.load" = { values = [0.3, 0.5], label = "share of all GPUs that the jobs ask for" }
"""
ONE = FILE.partition("[baseline_scenario]")[0].replace('"sweep"', '"one"')
SMALL = ONE.replace('"one"', '"small"').replace("days = 1", "days = 2")
LOG = "job_id,submit,runtime_s,gpus\n" + "".join(f"j{n},2025-06-02T{n:02d}:30:00Z,7200,4\n" for n in range(12))
SACCT = (
    "JobID|JobName|Submit|Start|End|State|ElapsedRaw|AllocTRES|NodeList|Partition|Account|User|Timelimit\n"
    "1|a|2025-06-02T07:30:00|2025-06-02T07:31:00|2025-06-02T09:31:00|COMPLETED|7200|gres/gpu=4,cpu=8|n1|gpu|x|y|05:00:00\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("wide")
    for name, text in (
        ("sweep.toml", FILE),
        ("one.toml", ONE),
        ("small.toml", SMALL),
        ("log.csv", LOG),
        ("dump.txt", SACCT),
    ):
        (made / name).write_text(text)
    for name in ("sweep", "one"):
        tafukt.run(made / f"{name}.toml", output=made / "results" / name, workers=1)
    return made


@pytest.fixture(autouse=True)
def _narrow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")


COMMANDS = [
    "--help", "--version", "run --help", "plot --help", "size --help", "workloads --help", "export --help",
    "run sweep.toml", "run sweep.toml --dry-run", "run one.toml", "run nosuch.toml", "run sweep.toml --set days=2",
    "validate sweep.toml", "validate one.toml", "validate sweep.toml --set workload.lod=3",
    "init first.toml", "init own.toml --trace log.csv --at 45.07,7.69",
    "replay results/one", "pack results/one", "report results/sweep", "ls", "ls nowhere",
    "size one.toml --target renewable_fraction=0.5 --policy fifo -o results/size",
    "compare results/sweep", "compare results/sweep results/one", "compare results/sweep --metric draw_kwh",
    "compare results/sweep --metric nosuch",
    "explain results/sweep", "explain results/one --policy wait-for-sun", "explain results/one nosuch",
    "plot results/one --figure network --figure heatmap", "plot results/one --figure nosuch",
    "sites", "sites dakhla", "sites nosuch", "policies", "policies wait-for-sun", "policies planner", "policies order",
    "policies --check fifo", "workloads", "workloads institutes", "workloads own", "workloads log.csv",
    "workloads log.csv --fit", "fetch", "import sacct dump.txt --tz Europe/Rome",
    "flexibility small.toml --longest 2 --cut 0.25", "flexibility one.toml",
    "flexibility sweep.toml", "flexibility --help",
    "schema workload.trace", "schema sites.own.here.grid", "schema days", "selftest --help",
]  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_what_a_command_says_fits_eighty_columns(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    guarded(lambda: app(line.split(), standalone_mode=False))
    said = capfd.readouterr()
    wide = [text for text in (said.out + said.err).splitlines() if len(text) > 80]
    assert wide == []
    assert said.out + said.err


def test_the_story_of_every_job_fits(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for job in tafukt.load(folder / "results" / "one")["wait-for-sun"].jobs["job"].head(12):
        guarded(lambda job=job: app(["explain", "results/one", job, "--policy", "wait-for-sun"], standalone_mode=False))
    said = capfd.readouterr().out
    assert "submitted" in said
    assert [text for text in said.splitlines() if len(text) > 80] == []


def test_only_spaces_are_broken_and_columns_stay_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    text = "wait-for-sun  holds a job until the sun of a site can carry all of it, as long as its own slack lasts"
    lines = in_lines(text, sys.stdout).split("\n")
    assert " ".join(line.strip() for line in lines) == text
    assert lines[1].startswith(" " * 14 + "as its")
    path = "results/" + 90 * "x"
    assert path in in_lines(f"Wrote {path}", sys.stdout).split("\n")
    monkeypatch.delenv("COLUMNS")
    assert in_lines(text, open("/dev/null")) == text  # noqa: SIM115
