"""Experiment files: every mistake is told, with its key and what is allowed; what is valid round-trips."""

from __future__ import annotations

import copy
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config import toml
from tafukt.experiments.config.load import check, load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.hashing import canonical, digest
from tafukt.experiments.runs.matrix import runs_of, scenario_inputs
from tafukt.sites.errors import SiteError
from tafukt.workloads.errors import WorkloadError

TINY: dict[str, Any] = {
    "name": "tiny",
    "start": "2025-06-01T00:00:00Z",
    "days": 1,
    "step_min": 60,
    "seeds": [1],
    "policies": ["fifo", "wait-for-sun"],
    "sites": {"use": ["rabat", "dakhla"], "all": {"cluster": {"nodes": 2}}},
    "workload": {"kind": "generator", "load": 0.3, "runtime_cap_h": 4, "gang_cap": 8},
}


def tiny(**changes: Any) -> dict[str, Any]:
    """The tiny experiment, with dotted keys changed (`__` for a dot); `None` takes a key away."""
    document = copy.deepcopy(TINY)
    for key, value in changes.items():
        toml.put(document, key.replace("__", "."), value, "test")
    return toml.without_none(document)


def problems(document: dict[str, Any], folder: Path = Path("/nowhere")) -> dict[str, str]:
    """The mistakes of a document by key."""
    with pytest.raises(InputError) as caught:
        check(document, "tiny.toml", folder)
    return {problem.key: str(problem) for problem in caught.value.problems}


MISTAKES = [
    ({"name": "../evil"}, "name", "letters"),
    ({"name": None}, "name", "missing"),
    ({"start": "2025-06-01T00:00:00"}, "start", "time zone"),
    ({"start": "2025-06-01"}, "start", "time zone"),
    ({"start": 5}, "start", "2025-12-01T00:00:00Z"),
    ({"start": "1890-01-01T00:00:00Z"}, "start", "1950"),
    ({"days": 0}, "days", "greater than 0"),
    ({"days": 0.1234}, "days", "whole number of steps"),
    ({"days": "1"}, "days", "number"),
    ({"days": None}, "days", "missing"),
    ({"step_min": 7}, "step_min", "allowed: 1, 2, 3"),
    ({"stepmin": 5}, "stepmin", "did you mean 'step_min'"),
    ({"seeds": []}, "seeds", "at least 1"),
    ({"seeds": [1, 1]}, "seeds", "listed twice: 1"),
    ({"seeds": [-1]}, "seeds[0]", "greater than or equal to 0"),
    ({"seeds": [True]}, "seeds[0]", "integer"),
    ({"policies": ["fifo", "wait-for-sum"]}, "policies[1]", "did you mean 'wait-for-sun'"),
    ({"policies": ["nowhere.py:best"]}, "policies[0]", "No such file"),
    ({"policies": ["a b:c"]}, "policies[0]", "module:name"),
    ({"policies": []}, "policies", "at least 1"),
    ({"baseline": "fofo"}, "baseline", "did you mean 'fifo'"),
    ({"coordination": "rot"}, "coordination", "did you mean 'root'"),
    ({"bound": "yes"}, "bound", "boolean"),
    ({"sites__use": ["rabat", "dakla"]}, "sites.use[1]", "did you mean 'dakhla'"),
    ({"sites__use": ["rabat", "rabat"]}, "sites.use[1]", "twice"),
    ({"sites__use": "maroc"}, "sites.use", "did you mean 'morocco'"),
    ({"sites__use": []}, "sites.use", "no site"),
    ({"sites__uses": "rabat"}, "sites.uses", "did you mean 'use'"),
    ({"sites__all__battery": {"kwh_per_nod": 1}}, "sites.all.battery.kwh_per_nod", "did you mean 'kwh_per_node'"),
    ({"sites__all__cluster": {"nodes": -1}}, "sites.all.cluster.nodes", "greater than or equal to 0"),
    ({"sites__all__cooling": {"kind": "chiler"}}, "sites.all.cooling.kind", "did you mean 'chiller'"),
    ({"sites__change__dakhla": {"lat": 95}}, "sites.change.dakhla.lat", "90"),
    ({"sites__change__daklha": {"lat": 5}}, "sites.change.daklha", "did you mean 'dakhla'"),
    ({"sites__own__mine": {"like": "dakla"}}, "sites.own.mine.like", "did you mean 'dakhla'"),
    ({"sites__own__mine": {"title": "No place"}}, "sites.own.mine.lat", "missing"),
    ({"sites__own__rabat": {"like": "rabat"}}, "sites.own.rabat", "another name"),
    ({"sites": 5}, "sites", "not a table"),
    ({"workload__kind": "generater"}, "workload.kind", "did you mean 'generator'"),
    ({"workload__laod": 0.5}, "workload.laod", "did you mean 'load'"),
    ({"workload__load": -0.5}, "workload.load", "greater than 0"),
    ({"workload": {"kind": "trace", "file": "x.csv"}}, "workload.gpu_cap", "missing"),
    ({"engine__overrun": "kil"}, "engine.overrun", "did you mean 'kill'"),
    ({"engine__hold_min": float("nan")}, "engine.hold_min", "finite"),
    ({"forecast__error": -1}, "forecast.error", "greater than or equal to 0"),
    ({"output__step_min": 0}, "output.step_min", "1 to 1440"),
    ({"output__events": "som"}, "output.events", "allowed: all, changes, none"),
    ({"output__step_min": 90}, "output.step_min", "multiple"),
    ({"matrix": {"workload.load": [0.3, -1]}}, "matrix: workload.load", "greater than 0"),
    ({"matrix": {"workload.laod": [0.3]}}, "matrix: workload.laod", "did you mean 'load'"),
    ({"matrix": {"seeds": [1, 2]}}, "matrix.seeds", "cannot be an axis"),
    ({"matrix": {"workload.load": 0.3}}, "matrix.workload.load", "list"),
    ({"matrix": {"workload.load": []}}, "matrix.workload.load", "list"),
    ({"matrix": {"workload.load": [0.3, 0.3]}}, "matrix.workload.load", "twice"),
    ({"matrix": {"zip": [{"days": [1, 2], "workload.load": [0.3]}]}}, "matrix.zip[0]", "the same length"),
    ({"matrix": {"days": [1], "zip": [{"days": [1]}]}}, "matrix.days", "twice"),
    (
        {"matrix": {f"sites.change.dakhla.{k}": list(range(1, 80)) for k in ("lat", "lon", "fixed_kw")}},
        "matrix",
        "runs",
    ),
]


@pytest.mark.parametrize(("change", "key", "words"), MISTAKES, ids=[str(m[0])[:60] for m in MISTAKES])
def test_a_mistake_is_told_with_its_key(change: dict[str, Any], key: str, words: str) -> None:
    found = problems(tiny(**change))
    assert key in found, found
    assert "tiny.toml" in found[key]
    assert words in found[key], found[key]


def test_everything_wrong_is_told_at_once() -> None:
    change = {"days": -1, "polices": [], "sites__use": ["rabatt"], "workload__load": "x", "baseline": "nobody"}
    found = problems(tiny(**change))
    assert {"days", "polices", "sites.use[0]", "workload.load"} <= set(found)


def test_what_only_the_context_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    trace = {"kind": "trace", "file": "nothing.csv", "format": "philly", "start_day": 0, "gpu_cap": 8}
    trace |= {"over_cap": "drop", "load": 0.5, "slack_h": 1, "estimates": "exact"}
    found = problems(tiny(workload=trace), tmp_path)
    assert str(tmp_path / "nothing.csv") in found["workload.file"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "TOML"),
        (b"x = 1\n" * 200_000, "KiB"),
        (b"a." * 30 + b"b = 1", "deep"),
    ],
)
def test_files_that_are_no_experiment(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        load_experiment(path)


def test_a_resolved_experiment_loads_to_the_same_thing(tmp_path: Path) -> None:
    document = tiny(
        sites__own__mine={"like": "dakhla", "battery": False, "population": 100},
        sites__change__rabat={"pv": {"kwp": 50}},
        matrix={"workload.load": [0.2, 0.3], "sites.all.battery.kwh_per_node": [5, 10]},
    )
    loaded = check(document, "a", tmp_path)
    text = toml.text(loaded.document())
    again = check(toml.parse(text.encode(), "b"), "b", Path("/elsewhere"))
    assert toml.text(again.document()) == text
    assert [run.run_id for run in runs_of(again)] == [run.run_id for run in runs_of(loaded)]
    assert again.sites["mine"].battery is None
    assert again.sites["rabat"].pv_kwp == 50


def test_paths_stay_what_they_are_in_a_resolved_experiment(tmp_path: Path) -> None:
    weather = {"kind": "csv", "file": "w.csv", "columns": {"ghi": "ghi"}}
    (tmp_path / "w.csv").write_text("time,ghi\n")
    loaded = check(tiny(sites__all__weather=weather), "a", tmp_path)
    again = check(toml.parse(toml.text(loaded.document()).encode(), "b"), "b", Path("/elsewhere"))
    assert set(again.files.values()) == {tmp_path / "w.csv"}
    before = scenario_inputs(loaded)
    (tmp_path / "w.csv").write_text("time,ghi\n2025-01-01,0\n")
    assert scenario_inputs(loaded) != before


def test_sites_are_changed_from_the_general_to_the_special() -> None:
    loaded = check(
        tiny(
            sites__own__mine={"like": "dakhla", "fixed_kw": 1},
            sites__all__fixed_kw=2,
            sites__change__rabat={"fixed_kw": 3},
        ),
        "a",
        Path(),
    )
    assert {name: site.fixed_kw for name, site in loaded.sites.items()} == {"rabat": 3, "dakhla": 2, "mine": 2}


def test_settings_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(toml.text(tiny()))
    loaded = load_experiment(
        path, ["workload.load=0.6", "policies=['fifo']", "coordination=regional", "sites.all.pv.kwp=9"]
    )
    assert loaded.experiment.workload.load == 0.6
    assert [policy.label for policy in loaded.policies] == ["fifo"]
    assert loaded.experiment.coordination == "regional"
    assert loaded.sites["dakhla"].pv_kwp == 9
    for setting in ("nothing", "days.hours=3"):
        with pytest.raises(InputError, match="--set"):
            load_experiment(path, [setting])


def test_a_matrix_crosses_axes_and_runs_zipped_lists_together() -> None:
    matrix = {"workload": {"load": [0.2, 0.3]}, "zip": [{"days": [1, 2], "step_min": [60, 30]}]}
    runs = runs_of(check(tiny(matrix=matrix, seeds=[1, 2]), "a", Path()))
    assert len(runs) == 2 * 2 * 2 * 2
    assert len({run.run_id for run in runs}) == len(runs)
    assert {(run.cell.axes["days"], run.cell.axes["step_min"]) for run in runs} == {(1, 60), (2, 30)}
    assert [run.policy.label for run in runs[:2]] == ["fifo", "wait-for-sun"]
    assert runs[0].cell == runs[1].cell


def test_identity_does_not_depend_on_how_a_value_is_written() -> None:
    assert canonical({"b": 1.0, "a": (1, 2)}) == canonical({"a": [1, 2], "b": 1})
    same = [tiny(start="2025-06-01T00:00:00Z"), tiny(start="2025-06-01T01:00:00+01:00"), tiny(question="?")]
    keys = {runs_of(check(document, "a", Path()))[0].run_id for document in same}
    assert len(keys) == 1
    others = [tiny(days=2), tiny(seeds=[2]), tiny(sites__all__pv={"kwp": 1}), tiny(workload__load=0.31)]
    assert len(keys | {runs_of(check(document, "a", Path()))[0].run_id for document in others}) == 5
    assert digest({"x": float("inf")}) != digest({"x": 1})


# --- mutated files: valid, or refused with the key; never anything else --------------------------------

VALUES: list[Any] = [
    -1, 0, 10**9, 10**30, 0.5, float("nan"), float("inf"), -float("inf"), True, "", "x", "../../etc/passwd", "=1+1",
    "<script>alert(1)</script>", "\u0000", "a" * 5000, [], [[]], [1, "a"], {}, {"a": {"b": 1}}, "2025-13-45",
]  # fmt: skip


def mutated(rng: random.Random) -> dict[str, Any]:
    """The tiny experiment with one to three random changes."""
    document = tiny(
        sites__own__mine={"like": "fes", "lat": 34.0},
        sites__change__rabat={"weather": {"kind": "clear-sky"}},
        engine={"hold_min": 30},
        forecast={"sun": "noisy", "error": 0.1},
        output={"step_min": 60, "events": "all"},
        matrix={"workload.load": [0.2, 0.3]},
    )
    for _ in range(rng.randint(1, 3)):
        key, _ = rng.choice(list(toml.flat(document)))
        *parents, last = key.split(".") if not key.startswith("matrix") else ["matrix", "workload.load"]
        table = document
        for parent in parents:
            table = table[parent]
        match rng.randrange(5):
            case 0:
                table[last] = rng.choice(VALUES)
            case 1:
                table.pop(last)
                break
            case 2:
                table[last + rng.choice("xs_")] = table.pop(last)
                break
            case 3:
                table[rng.choice(["kind", "nodes", "load", "extra", "like"])] = rng.choice(VALUES)
            case 4:
                parent_key = ".".join(key.split(".")[:1])
                document[parent_key] = rng.choice(VALUES)
                break
    return document


@pytest.mark.parametrize("block", range(6))
def test_mutated_files_are_valid_or_refused_with_a_key(block: int) -> None:
    rng = random.Random(block)
    valid = 0
    for _ in range(50):
        document = mutated(rng)
        try:
            loaded = check(document, "m.toml", Path("/nowhere"))
        except InputError as error:
            for problem in error.problems:
                assert problem.file
                assert problem.key, str(problem)
                assert len(str(problem)) < 1500
                assert "Traceback" not in str(problem)
        except (SiteError, WorkloadError) as error:
            pytest.fail(f"not gathered with the others: {error}")
        else:
            valid += 1
            toml.parse(toml.text(loaded.document()).encode(), "again")
    assert 0 < valid < 50


MUTANTS = int(os.environ.get("TAFUKT_MUTANTS", "300"))
"""How many the slow test validates."""


@pytest.mark.slow
def test_mutated_files_are_told_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As above, through files and the command: exit code 0, or 2 with a message that names the file and the key."""
    rng, codes = random.Random(1), []
    for _ in range(MUTANTS):
        path = tmp_path / "m.toml"
        path.write_text(toml.text(mutated(rng)), encoding="utf-8")
        code = guarded(lambda: app(["validate", str(path)], standalone_mode=False))  # noqa: B023
        said = capsys.readouterr()
        assert code in (0, 2), said.err
        assert "Traceback" not in said.out + said.err
        if code == 2:
            for line in said.err.strip().splitlines():
                assert re.match(rf"{re.escape(str(path))}: (\S+: )|\.\.\. and", line), said.err
        codes.append(code)
    print(f"{codes.count(0)} valid, {codes.count(2)} refused")
    assert 0 < codes.count(2) < len(codes)
