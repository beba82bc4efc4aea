"""Every block of code of README and docs does what its page says, from the page's own text.

A page is followed from top to bottom in an empty folder, as a reader would: files are saved under the names that the
text gives them, Python is executed, experiments are run. What would take long is made short: an experiment of the
page's own by `SHORT`, a bundled one by `--dry-run`, and where a later line looks at its results, by `BUNDLED`.
"""

from __future__ import annotations

import re
import shlex
import tomllib
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import pytest
import tomli_w
import typer
from builders import weather_files
from builders.pages import LANGUAGES, ROOT, Block, blocks, pages, spans

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment

matplotlib.use("Agg")

WITH_CODE = [page for page in pages() if blocks(page)]
TINY = {"sites.all.cluster.nodes": 2, "workload.gang_cap": 8, "workload.runtime_cap_h": 6, "bound": False}
SHORT = TINY | {"days": 1, "step_min": 60, "seeds": [1, 2]}
BUNDLED = TINY | {"days": 4, "step_min": 60, "sites.use": ["rabat", "dakhla"]}
"""Four days, since the pages show days of them."""

POLICIES = {"morocco_week": {"policies": ["fifo", "wait-for-sun", "planner"]}}
SHORTER = {
    "flexibility": ["--set", "days=2", "--set", 'sites.use=["rabat"]', "--longest", "2"],
    "plot": ["--figure", "network", "--figure", "site"],  # where the line names none
}
"""What is added to a line to make it short."""

ONCE = {"report"}
"""Commands that take seconds on any folder: one line of them is run, the others are checked for their options."""

ELSEWHERE = {
    "python3 -m venv": "makes the environment in which the tests run",
    ". .venv": "the same",
    "pip install": "needs a network; the extras that it names are looked up",
    "dask ": "starts servers that do not end; `tests/experiments/test_cluster.py` has its own",
    "#": "a comment, or a line for SLURM",
    "export ": "sets a variable for the lines after it",
    "make ": "takes minutes, and `.ci/run` makes them; the target is looked up",
    "cp ": "copies",
}
VARIABLES = {"$SCRATCH": "scratch", "$SLURM_ARRAY_TASK_ID": "0"}


def command_lines(block: Block) -> list[str]:
    """The lines of a block of shell, those that end in a backslash joined with the next."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def words_of(line: str) -> list[str]:
    for name, value in VARIABLES.items():
        line = line.replace(name, value)
    return shlex.split(line, comments=True)


def known_words(line: str) -> None:
    """The command is one of ours and knows each option: for commands named in the prose, which may be cut short."""
    rest = words_of(line)[1:]
    group: Any = typer.main.get_command(app)
    command = group
    if rest and not rest[0].startswith("-"):
        command = group.commands.get(rest[0])
        assert command is not None, f"no such command: {line}"
    options = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= options, line


def test_there_are_blocks_and_each_says_what_it_is() -> None:
    assert len(WITH_CODE) >= 12
    odd = [f"{page}:{block.line}: {block.language!r}" for page in WITH_CODE for block in blocks(page)]
    assert [each for each in odd if each.rpartition(": ")[2].strip("'") not in LANGUAGES] == []
    for page in pages():  # a block by indentation would go unseen
        prose = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
        assert re.findall(r"\n\n {4}\S.*", prose) == [], page


@pytest.mark.parametrize("page", pages())
def test_every_command_in_the_prose_of_a_page_exists(page: str) -> None:
    for span in spans(page):
        if span.startswith("tafukt "):
            known_words(span)
        elif span.startswith("make "):
            assert_target(span)
        elif module := re.match(r"python -m (bench\.\w+)", span):
            assert (ROOT / "tests" / f"{module[1].replace('.', '/')}.py").exists(), span
        elif script := re.match(r"python (\w[\w/]+\.py)", span):
            assert (ROOT / script[1]).exists(), span


def assert_target(line: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    assert line.split()[1] in targets, line


class Reader:
    """Who follows a page: a folder, and the last whole experiment that the page has shown."""

    done: ClassVar[set[str]] = set()
    """Commands that any reader has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own: list[str] = []
        self.experiment: dict[str, Any] = tomllib.loads(
            'name = "any"\nstart = 2025-12-01T00:00:00Z\ndays = 1\npolicies = ["fifo"]\nsites.use = ["dakhla"]\n'
        )

    def csv(self, block: Block) -> None:
        (self.folder / named(block, "csv")).write_text(block.text)

    def python(self, block: Block) -> None:
        if "(view)" in block.text or "(job, " in block.text:
            with (self.folder / named(block, "py", "my_policy.py")).open("a") as file:
                file.write(block.text + "\n\n")
        if missing := re.search(r'load\("results/(\w+)"\)', block.text):
            self.results(missing[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            exec(compile(block.text, f"line {block.line}", "exec"), {"__name__": "__main__"})

    def toml(self, block: Block) -> None:
        table = tomllib.loads(block.text)
        for file in re.findall(r'file = "([\w.]+)"', block.text):
            self.needs(file)
        if "name" in table:
            self.experiment = table
            (self.folder / named(block, "toml", f"{table['name']}.toml")).write_text(block.text)
            load_experiment(self.folder / named(block, "toml", f"{table['name']}.toml"))
            self.own.append(table["name"])
            return
        into = block.note.removeprefix("in ").split(".") if block.note.startswith("in ") else []
        for key in reversed(into):
            table = {key: table}
        (self.folder / "fragment.toml").write_text(tomli_w.dumps(merged(self.experiment, table)))
        load_experiment(self.folder / "fragment.toml")

    def sh(self, block: Block) -> None:
        for line in command_lines(block):
            if line.startswith("tafukt "):
                self.command(line)
            elif line.startswith("make "):
                assert_target(line)
            elif extras := re.match(r"pip install .*\[([\w,]+)\]", line):
                known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
                assert set(extras[1].split(",")) <= set(known), line
            else:
                assert any(line.startswith(start) for start in ELSEWHERE), f"what would run this? {line}"

    def command(self, line: str) -> None:
        _, name, *rest = words_of(line)
        for folder in re.findall(r"results/(\w+)", " ".join(rest)):
            if name not in ("run", "size"):
                self.results(folder)
        if name == "run":
            rest = self.shortened(rest)
        if "--figure" not in rest:
            rest += SHORTER.get(name, [])
        rest = [self.first_job(rest[0]) if word == "JOB" else word for word in rest]
        for word in rest:
            if word.endswith((".txt", ".epw")):
                self.needs(word)
        known_words(line)
        if name in ONCE & self.done:
            return
        assert guarded(lambda: app([name, *rest], standalone_mode=False)) == 0, line
        self.done.add(name)

    def shortened(self, rest: list[str]) -> list[str]:
        """The words after `run`: an experiment of the page's own in little, of any other only what would run."""
        file = self.folder / rest[0]
        if "--cluster" in rest or not file.exists():
            return [rest[0].removesuffix(".toml"), *rest[1:], "--dry-run"]
        return [*rest, *(word for key, value in less_of(file).items() for word in ("--set", f"{key}={said(value)}"))]

    def results(self, name: str) -> None:
        """Results of a bundled experiment, or of the page's own, in little, where the page has run it."""
        output = self.folder / "results" / name
        if output.exists():
            return
        own = self.folder / f"{name}.toml"
        assert own.exists() or name in bundled(), f"nothing is called {name}"
        less = less_of(own) if own.exists() else BUNDLED | POLICIES.get(name, {})
        results = tafukt.run(own if own.exists() else name, set=less, output=output, workers=1)
        assert len(results.complete) == len(results.summary) > 0

    def first_job(self, folder: str) -> str:
        return str(tafukt.load(folder)["fifo"].jobs["job"].iloc[0])

    def needs(self, file: str) -> None:
        """A file that the reader is said to have."""
        path = self.folder / file
        if path.exists():
            return
        if path.suffix == ".epw":
            site = next(iter(self.experiment.get("sites", {}).get("own", {}).values()), {"lat": 45.0, "lon": 8.0})
            start = datetime(2025, 1, 1, tzinfo=UTC)
            ghi, dni, dhi, _ = weather_files.clear(start, 365, lat=site["lat"])
            weather_files.epw(path, start, ghi, lat=site["lat"], dni=dni, dhi=dhi)
            path.write_text(path.read_text().replace(f",{weather_files.LON},", f",{site['lon']},"))
        elif file == "meter.csv":
            begin = datetime(2025, 6, 2, tzinfo=UTC)
            times = [begin + timedelta(hours=hour) for hour in range(24 * 7)]
            path.write_text("time,power_w\n" + "".join(f"{t:%Y-%m-%dT%H:%M:%SZ},5000\n" for t in times))
        elif file == "dump.txt":
            path.write_text(
                "JobID|JobName|Submit|Start|End|State|ElapsedRaw|AllocTRES|NodeList|Partition|Account|User|Timelimit\n"
                "1|a|2025-06-02T07:30:00|2025-06-02T07:31:00|2025-06-02T09:31:00|COMPLETED|7200|gres/gpu=4,cpu=8|n1|g|x|y"
                "|05:00:00\n"
            )
        else:
            pytest.fail(f"the page uses {file}, which it never makes")


def bundled() -> list[str]:
    return [path.stem for path in (ROOT / "experiments" / "bundled").glob("*.toml")]


def named(block: Block, suffix: str, default: str = "") -> str:
    """The name that the text before a block gives the file."""
    names = re.findall(rf"`([\w]+\.{suffix})`", block.before)
    assert names or default, f"line {block.line}: the text does not say under which name to save this"
    return str(names[-1] if names else default)


def less_of(file: Path) -> dict[str, Any]:
    """What makes an experiment of a page's own short; a log is short as it is."""
    drawn = tomllib.loads(file.read_text()).get("workload", {}).get("kind") != "trace"
    return SHORT if drawn else {"seeds": [1], "bound": False}


def said(value: Any) -> str:
    """A value as it is written in TOML."""
    return tomli_w.dumps({"x": value}).partition(" = ")[2].strip().replace("\n", "")


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in more.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


@pytest.mark.parametrize("page", WITH_CODE)
def test_a_page_can_be_followed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path)
    steps: dict[str, Callable[[Block], None]] = {
        "csv": reader.csv,
        "python": reader.python,
        "toml": reader.toml,
        "sh": reader.sh,
    }
    for block in blocks(page):
        if block.language != "text" and not block.left_out:
            steps[block.language](block)
    for name in reader.own:  # those that no line of the page has run
        reader.results(name)
