"""The command line: exit codes, messages without tracebacks, what is written where, and how soon."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from builders.experiments import tiny

from tafukt.experiments.cli.app import app, guarded, narrowed
from tafukt.experiments.config import toml as config_toml
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.runs import session
from tafukt.experiments.runs.manifest import LIBRARIES
from tafukt.sites.cache import installed_version
from tafukt.strict import Strict

ROOT = Path(__file__).resolve().parents[2]
TINY = tiny(policies=("fifo", "wait-for-sun"), seeds=(1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder of the tiny experiment."""
    base = tmp_path_factory.mktemp("cli")
    (base / "tiny.toml").write_text(TINY)
    assert tafukt("run", str(base / "tiny.toml"), "-o", str(base / "out"), "--workers", "1", "--quiet") == 0
    return base / "out"


def tafukt(*words: str) -> int:
    """Run a command in this process; its exit code."""
    return guarded(lambda: app(list(words), standalone_mode=False))


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=120,
    )


def test_help_is_there_at_once() -> None:
    python("-m", "tafukt", "--help")
    times = []
    for _ in range(3):
        before = os.times()
        done = python("-m", "tafukt", "--help")
        after = os.times()  # of processor time: others may use the machine
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert done.returncode == 0
    assert "validate" in done.stdout
    heavy = "import sys, tafukt.experiments.cli.app; print([m for m in "
    heavy += "('numpy', 'pandas', 'pvlib', 'pydantic', 'rich', 'simpy') "
    loaded = python("-c", heavy + "if m in sys.modules])").stdout.strip()
    assert loaded == "[]"
    assert min(times) < 0.5


def test_a_run_imports_only_what_it_needs(folder: Path, tmp_path: Path) -> None:
    """Each of these takes longer to import than a short run takes."""
    words = ["run", str(folder.parent / "tiny.toml"), "-o", str(tmp_path / "out"), "--quiet", "--workers", "1"]
    words += ["--set", "bound=false"]
    call = f"import sys; from tafukt.experiments.cli.app import app; app({words}, standalone_mode=False); "
    said = python("-c", call + "print([m for m in ('pandas', 'scipy', 'pvlib', 'matplotlib') if m in sys.modules])")
    assert said.stdout.strip() == "[]", said.stderr
    assert list((tmp_path / "out").glob("runs/*/energy.parquet"))


def test_validate_loads_nothing_that_simulates_or_measures(folder: Path) -> None:
    """Each of these costs a command that only looks some hundredth of its time."""
    needless = [
        *("tafukt.simulator.engine.engine", "tafukt.workloads.service", "tafukt.sites.weather.series"),
        *("tafukt.experiments.results.metrics", "tafukt.experiments.results.tables"),
        *("concurrent.futures.process", "numpy.ma", "pyarrow", "pandas", "scipy", "rich.table"),
    ]
    call = "import sys, tafukt.experiments.cli.app as command; sys.argv = ['tafukt', 'validate', "
    call += f"{str(folder.parent / 'tiny.toml')!r}]\ntry:\n    command.main()\nfinally:\n"
    call += f"    print([m for m in {needless} if m in sys.modules])"
    said = python("-c", call)
    assert "is valid" in said.stdout, said.stderr
    assert said.stdout.strip().endswith("[]")


def test_a_command_line_is_given_its_own_command_alone() -> None:
    """Typer reads the signature of every command that it is given."""
    names = [info.name or info.callback.__name__ for info in app.registered_commands]
    (only,) = narrowed(["validate", "x.toml"]).registered_commands
    assert only.callback.__name__ == "validate"
    assert len(narrowed(["rnu"]).registered_commands) == len(narrowed(["--version"]).registered_commands) == len(names)
    listed = narrowed(["--help"]).registered_commands
    assert [info.name for info in listed] == names
    assert [info.help for info in listed] == [info.help or info.callback.__doc__ for info in app.registered_commands]
    assert not any(inspect.signature(info.callback).parameters for info in listed)


def test_models_of_files_say_their_types_and_no_texts_of_them() -> None:
    """Pydantic compiles and evaluates every annotation that is a text: a hundredth of the time of a short command."""
    from tafukt.workloads.traces import column_map, public  # models that no experiment needs

    assert column_map.ColumnMap
    assert public.public_traces
    modules, todo = set(), [Strict]
    while todo:
        found = todo.pop().__subclasses__()
        modules |= {model.__module__ for model in found if model.__module__.startswith("tafukt.")}
        todo += found
    assert len(modules) >= 10
    assert not {name for name in modules if "annotations" in vars(sys.modules[name])}


def test_versions_are_those_that_the_standard_library_reads() -> None:
    for name in (*LIBRARIES, "tafukt"):
        assert installed_version(name) == metadata.version(name)
    with pytest.raises(metadata.PackageNotFoundError):
        installed_version("no-such-package")


def test_commands_answer_with_exit_code_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["policies"],
        ["policies", "wait-for-sun"],
        ["sites"],
        ["sites", "dakhla"],
        ["workloads"],
        ["workloads", "institutes"],
        ["compare", str(folder)],
        ["compare", str(folder), str(folder)],
        ["replay", str(folder), "--workers", "1"],
        ["report", str(folder)],
        ["plot", str(folder), "--figure", "policies", "--format", "svg"],
    ):
        assert tafukt(*words) == 0, words
        assert capsys.readouterr().out.strip(), words
    assert (folder / "report.html").is_file()
    assert list((folder / "figures").glob("*.svg"))


def test_a_finished_run_prints_its_table_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tafukt("run", str(folder.parent / "tiny.toml"), "-o", str(folder)) == 0
    out = capsys.readouterr().out
    assert "wait-for-sun draws" in out
    assert "less grid electricity than fifo" in out
    assert "Next:" in out
    assert str(folder) in out


def test_a_job_is_explained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.parquet as pq

    job = pq.read_table(next((folder / "runs").glob("wait-for-sun-s1*")) / "jobs.parquet")["job"][3].as_py()
    assert tafukt("explain", str(folder), job, "--policy", "wait-for-sun") == 0
    assert job in capsys.readouterr().out
    assert tafukt("explain", str(folder), job[:-1]) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nothing_here"], "no such file"),
        (["run", "morocco_wek"], "did you mean 'morocco_week'"),
        (["validate", "{bad}"], "workload.laod: unknown key"),
        (["run", "{bad}"], "workload.laod: unknown key"),
        (["run", "{tiny}", "-o", "{out}", "--set", "days=2"], "days: was 1 in these results, is 2 now"),
        (["run", "{tiny}", "--set", "x"], "key=value"),
        (["run", "{tiny}", "--index", "9"], "0 to 3"),
        (["run", "{tiny}", "--workers", "-1"], "--workers"),
        (["run"], "Missing argument"),
        (["runn"], "No such command"),
        (["report", "nowhere"], "no such folder"),
        (["compare", "{here}"], "not a result folder"),
        (["replay", "nowhere"], "nowhere"),
        (["plot", "{out}", "--figure", "gant"], "did you mean 'gantt'"),
        (["plot", "{out}", "--format", "gif"], "no format"),
        (["explain", "{out}", "nobody"], "no job"),
        (["sites", "daklha"], "did you mean 'dakhla'"),
        (["workloads", "institute"], "did you mean 'institutes'"),
        (["policies", "fofo"], "did you mean 'fifo'"),
        (["init", "{tiny}"], "already exists"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = folder.parent / "bad.toml"
    bad.write_text(TINY.replace("load = 0.3", "laod = 0.3"))
    names = {"bad": bad, "tiny": folder.parent / "tiny.toml", "out": folder, "here": folder.parent}
    assert tafukt(*(word.format(**names) for word in words)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_failed_run_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("def broken(view):\n    return 1 / 0\n")
    (tmp_path / "e.toml").write_text(TINY.replace('"wait-for-sun"', '"mine.py:broken"'))
    assert tafukt("run", str(tmp_path / "e.toml"), "-o", str(tmp_path / "out"), "--workers", "1") == 1
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.err
    assert "Traceback" not in captured.err


def test_validate_simulates_nothing_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.toml").write_text(TINY)
    assert tafukt("validate", "e") == 0
    out = capsys.readouterr().out
    assert "4 runs: 1 scenario x 2 seeds x 2 policies" in out
    assert [path.name for path in tmp_path.iterdir()] == ["e.toml"]


def test_init_writes_a_valid_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tafukt("init", str(tmp_path / "first.toml")) == 0
    loaded = load_experiment(tmp_path / "first.toml")
    assert loaded.experiment.name == "first"
    assert list(loaded.sites) == ["rabat", "dakhla"]


def test_schema_knows_what_the_loader_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert tafukt("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    from tafukt.experiments.config.schema import Experiment

    assert list(schema["properties"]) == list(Experiment.model_fields)
    assert schema["additionalProperties"] is False
    for part in (schema, *schema["$defs"].values()):
        for key, value in part.get("properties", {}).items():
            assert key == "kind" or value.get("description"), key
    change = schema["$defs"]["SiteChange"]
    assert "required" not in change
    assert "battery" in change["properties"]
    assert set(schema["required"]) == {"name", "start", "days"}


@pytest.mark.parametrize("name", sorted(config_toml.bundled()))
def test_bundled_experiments_are_valid_and_say_what_they_ask(name: str) -> None:
    path = config_toml.bundled()[name]
    document = tomllib.loads(path.read_text())
    assert document["name"] == name
    assert document["question"].endswith("?")
    assert path.read_text().startswith("# ")
    if trace := document.get("workload", {}).get("trace"):
        pytest.skip(f"{trace} is fetched when a user asks")
    assert load_experiment(path).experiment.name == name


def test_every_policy_is_compared() -> None:
    from tafukt.simulator.policies.presets import PRESETS

    loaded = load_experiment(config_toml.bundled()["policies_compared"])
    assert [policy.label for policy in loaded.policies] == list(PRESETS)


@pytest.mark.parametrize("name", sorted(config_toml.bundled()))
def test_bundled_experiments_run_in_a_shortened_form(name: str, tmp_path: Path) -> None:
    path = config_toml.bundled()[name]
    document = tomllib.loads(path.read_text())
    if trace := document.get("workload", {}).get("trace"):
        pytest.skip(f"{trace} is fetched when a user asks")
    short = ["days=1", "step_min=60", "seeds=[1]", "bound=false", "drain_days=3"]
    document.pop("account", None)  # a day has no weeks to leave out
    document["policies"] = document["policies"][:8]  # each policy has its own tests
    axes = dict(config_toml.flat({key: value for key, value in document.get("matrix", {}).items() if key != "zip"}))
    for key, values in axes.items():
        config_toml.put(document, f"matrix.{key}", values[:: max(1, len(values) - 1)][:2], name)
    jobs = "workload" in document  # else its sites have no nodes
    if jobs and not any(
        key.endswith("cluster.nodes") for key in axes
    ):  # else the axis would be without effect, and refused
        document["sites"].setdefault("all", {}).setdefault("cluster", {})["nodes"] = 4
    if jobs and "runtime_cap_h" not in document["workload"]:
        document["workload"]["runtime_cap_h"] = 12
    copy = tmp_path / "short.toml"
    copy.write_text(config_toml.text(document))
    outcome = session.carry_out(session.plan_runs(load_experiment(copy, short), tmp_path / "out"))
    assert outcome.ok, [row.get("reason") for row in outcome.rows]
    assert all(row["balance_residual_kwh"] < 1e-6 for row in outcome.rows)


def test_an_experiment_is_checked_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.toml").write_text(TINY)
    assert tafukt("selftest", str(tmp_path / "e.toml")) == 0
    out = capsys.readouterr().out
    assert "checks hold" in out
    assert "jobs killed" in out
    monkeypatch.setattr("tafukt.experiments.runs.selftest.attribution_gap", lambda record: 1e-6)
    assert tafukt("selftest", str(tmp_path / "e.toml")) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_quiet_is_quiet(workers: str, tmp_path: Path) -> None:
    """A real process: whatever a library prints below Python is seen, too, also in workers."""
    (tmp_path / "e.toml").write_text(tiny(policies=("fifo", "budget-planner")))
    command = ("-m", "tafukt", "run", str(tmp_path / "e.toml"), "-o", str(tmp_path / "out"), "--workers", workers)
    done = python(*command, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "out").glob("cells/*.bound.json")), "a bound was solved"
    loud = python(*command)
    assert "HiGHS" not in loud.stdout + loud.stderr
    assert "Results:" in loud.stdout


def test_a_table_of_many_scenarios_is_cut_and_says_where_the_rest_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from builders.experiments import run as run_file
    from builders.experiments import tiny as tiny_text

    from tafukt.experiments.cli import compare

    file = tmp_path / "many.toml"
    file.write_text(tiny_text(policies=("fifo", "easy")) + "[matrix]\nsites.all.pv.kwp = [10, 20, 30]\n", "utf-8")
    assert run_file(file, tmp_path / "out", "bound=false").ok
    monkeypatch.setattr(compare, "TABLE_ROWS_MOST", 2)
    compare.compare_command([tmp_path / "out"], (), "", (), "text")
    told = capsys.readouterr().out
    assert "and 4 more rows" in told
    means = told.split("Paired differences")[0]
    assert "10 kWp" in means
    assert "20 kWp" not in means


@pytest.mark.parametrize(("typed", "offered"), [
    ("co", {"compare"}),
    ("run morocco_", {name for name in config_toml.bundled() if name.startswith("morocco_")}),
    ("run m", {name for name in config_toml.bundled() if name[0] == "m"} | {"mine.toml"}),
    ("sites dak", {"dakhla"}),
    ("workloads ph", {"philly"}),
    ("fetch n", {"nasa"}),
    ("policies wait-for", {"wait-for-sun"}),
])  # fmt: skip
def test_the_shell_completes_commands_and_names(
    typed: str, offered: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("")
    (tmp_path / "mine.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_TAFUKT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"tafukt {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    with pytest.raises(SystemExit):
        app(prog_name="tafukt")
    found = set(capsys.readouterr().out.split())
    assert offered <= found
    assert all(name.startswith(typed.split()[-1]) for name in found)
    assert "mine.csv" not in found
