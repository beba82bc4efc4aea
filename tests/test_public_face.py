"""`import tafukt`: what is offered is there, typed, light to import, and works as the examples use it."""

from __future__ import annotations

import ast
import inspect
import re
import resource
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tafukt

ROOT = Path(__file__).resolve().parents[1]
TINY: dict[str, Any] = {
    "name": "tiny",
    "start": "2025-06-01T00:00:00Z",
    "days": 1,
    "step_min": 60,
    "seeds": [1],
    "policies": ["fifo"],
    "bound": False,
    "sites": {"use": ["rabat"], "all": {"cluster": {"nodes": 2}}},
    "workload": {"load": 0.3, "runtime_cap_h": 4, "gang_cap": 8},
}


def test_every_offered_name_is_there_and_documented() -> None:
    for name in tafukt.__all__:
        thing = getattr(tafukt, name)
        if name != "__version__":
            assert inspect.getdoc(thing), name
    assert set(tafukt.__all__) <= set(dir(tafukt))
    assert sorted(tafukt.__all__) == list(tafukt.__all__)


def test_every_offered_name_is_typed() -> None:
    """What type checkers see are the imports under TYPE_CHECKING and the functions themselves."""
    tree = ast.parse((ROOT / "tafukt" / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        name.asname or name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
    }
    seen |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    seen |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert set(tafukt.__all__) <= seen


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, tafukt; print([m for m in ('numpy', 'pandas', 'pydantic', 'simpy', 'rich') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    assert min(cpu_s(code) for _ in range(3)) - min(cpu_s("pass") for _ in range(3)) < 0.1


def cpu_s(code: str) -> float:
    """Processor time of a Python process, since the clock on the wall is others' too [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulte'"):
        tafukt.simulte  # noqa: B018


def test_catalogues_are_told() -> None:
    assert tafukt.sites()["dakhla"].lat == pytest.approx(23.7, abs=0.2)
    assert "institutes" in tafukt.workloads()
    assert "fifo" in tafukt.policies()


def test_a_mapping_runs_is_found_complete_and_loads(tmp_path: Path) -> None:
    first = tafukt.run(TINY, set={"workload.load": 0.2}, output=tmp_path / "out", workers=1)
    stamp = next((tmp_path / "out" / "runs").glob("*/energy.parquet")).stat().st_mtime_ns
    again = tafukt.run(TINY, set=["workload.load=0.2"], output=tmp_path / "out")
    assert list(first.complete["policy"]) == ["fifo"]
    assert next((tmp_path / "out" / "runs").glob("*/energy.parquet")).stat().st_mtime_ns == stamp
    assert tafukt.load(tmp_path / "out").summary.equals(again.summary)


def test_an_experiment_is_checked_without_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = tafukt.validate(TINY, set={"seeds": [1, 2, 3]})
    assert (found.name, found.runs, found.sites, found.policies) == ("tiny", 3, ("rabat",), ("fifo",))
    assert found.estimated_s > 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(tafukt.InputError, match="wrkload"):
        tafukt.validate({**TINY, "wrkload": {}})


def test_a_failed_run_is_raised_and_the_others_kept(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def bad(view):\n    raise ValueError('no idea')\n")
    policies = ["fifo", f"{tmp_path / 'bad.py'}:bad"]
    with pytest.raises(tafukt.RunError, match="no idea") as raised:
        tafukt.run({**TINY, "policies": policies}, output=tmp_path / "out", workers=1)
    assert list(tafukt.load(raised.value.folder).complete["policy"]) == ["fifo"]


def test_one_site_ten_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "one_site_ten_jobs.py"), run_name="__main__")
    imports = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert len(imports) == 2
    assert imports[1] < imports[0]


def test_the_example_sweep_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = runpy.run_path(str(ROOT / "examples" / "sweep.py"))
    space["main"](str(tmp_path / "sweep"))
    assert "10.0" in capsys.readouterr().out


def test_the_example_policy_keeps_the_rules() -> None:
    from tafukt.simulator.conformance import check

    policy = runpy.run_path(str(ROOT / "examples" / "my_policy.py"))["TakeTurns"]
    assert check(policy) == []


def test_a_policy_may_be_a_name_parts_a_class_or_a_function() -> None:
    space = runpy.run_path(str(ROOT / "examples" / "one_site_ten_jobs.py"))

    def at_once(view: Any) -> Any:
        for job in list(view.waiting.values()):
            for site in view.fitting(job, view.sites_for(job), job.ask.gpus)[:1]:
                yield tafukt.Start(job, site)

    own = runpy.run_path(str(ROOT / "examples" / "my_policy.py"))["TakeTurns"]
    names = [
        tafukt.simulate(space["scenario"], space["jobs"], policy).policy
        for policy in ("fifo", tafukt.Parts(), at_once, own, own())
    ]
    assert names == ["fifo", "parts", "at_once", "take-turns", "take-turns"]
    with pytest.raises(TypeError, match="not int"):
        tafukt.simulate(space["scenario"], space["jobs"], 3)


@pytest.mark.parametrize("name", ["load", "policies", "run", "simulate", "validate"])
def test_functions_of_the_public_face_say_what_they_take_and_give(name: str) -> None:
    function = getattr(tafukt, name)
    said = inspect.getdoc(function) or ""
    assert "Returns\n-------" in said
    takes = inspect.signature(function).parameters
    assert bool(takes) == ("Parameters\n----------" in said)
    assert bool(takes) == ("Raises\n------" in said)  # whoever takes something may be given something wrong
    head = said.partition("Returns")[0]
    assert [parameter for parameter in takes if not re.search(rf"^(.*, )?{parameter}\b.*$", head, re.M)] == []
