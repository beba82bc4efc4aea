"""The wheel as a user gets it: in an environment of its own, beside folders of theirs that are called like ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sites", "workloads", "simulator", "experiments")
SHIPPED = {".py", ".toml", ".jinja", ".css", ".js", ".html", ".csv", ".txt", ".typed"}
TINY = """
name = "tiny"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 60
policies = ["fifo", "my_policy.py:first"]
[sites]
use = ["rabat"]
all.cluster.nodes = 1
[workload]
load = 0.3
runtime_cap_h = 4
gang_cap = 8
"""
POLICY = """
from tafukt.simulator.engine.actions import Start


def first(view):
    for job in sorted(view.waiting.values(), key=lambda job: job.index):
        for site in view.fitting(job, view.sites_for(job), job.ask.gpus)[:1]:
            yield Start(job, site)
"""


def call(*words: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | environment,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources without a network."""
    base = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*FOLDERS, "tafukt"):
        shutil.copytree(ROOT / name, base / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, base / "source" / name)
    plain = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    call(*plain, "--wheel-dir", base, base / "source", cwd=base)
    return next(base.glob("tafukt-*.whl"))


def test_the_wheel_holds_tafukt_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tafukt"}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SHIPPED and "__pycache__" not in path.parts:
                assert f"tafukt/{path.relative_to(ROOT).as_posix()}" in names, path


def test_it_runs_beside_packages_of_the_users_own_that_are_called_like_ours(wheel: Path, tmp_path: Path) -> None:
    """Their `experiments`, `sites`, `simulator` and `workloads` raise when they are imported: nobody may."""
    venv = tmp_path / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    call(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path
    )
    theirs = [path for path in {sysconfig.get_path("purelib"), *sys.path} if path.endswith("site-packages")]
    inside = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(inside) / "libraries.pth").write_text("\n".join(theirs))  # the libraries; not our own editable install
    work = tmp_path / "work"
    for name in FOLDERS:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    (work / "tiny.toml").write_text(TINY)
    (work / "my_policy.py").write_text(POLICY)
    (work / "mine.py").write_text(
        "import tafukt\n"
        f"assert {str(tmp_path)!r} in tafukt.__file__, tafukt.__file__\n"
        "print(sorted(tafukt.load('results/tiny').complete.policy))\n"
    )
    cache = str(tmp_path / "cache")
    call(venv / "bin" / "tafukt", "run", "tiny.toml", cwd=work, TAFUKT_CACHE=cache, PYTHONPATH=str(work))
    assert "first" in call(python, "mine.py", cwd=work, TAFUKT_CACHE=cache)
