"""Mutation check: does some test fail when an operator or a constant of the code is changed?

`python -m bench.mutants [-n 80] [--seed 1] [--file simulator/energy/battery.py]` works on a copy of the repository.
Each mutant changes one comparison, arithmetic or boolean operator, or one number; it survives if the tests named for
its file still pass. What survives is listed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The tests that are to notice, those that fail soonest first.
TESTS = {
    "simulator/energy/battery.py": ["simulator/energy/test_battery.py", "simulator/energy/test_ledger.py"],
    "simulator/energy/ledger.py": [
        "laws/test_books.py",
        "simulator/energy/test_ledger.py",
        "simulator/engine/test_power_shortage.py",
        "laws/test_bugs.py",
    ],
    "simulator/energy/flows.py": ["simulator/energy/test_ledger.py", "laws/test_bugs.py"],
    "simulator/energy/balance.py": ["simulator/energy/test_ledger.py", "laws/test_bugs.py"],
    "simulator/engine/checks/invariants.py": [
        "laws/test_invariants.py",
        "simulator/engine/test_faults.py",
        "simulator/engine/test_engine.py",
    ],
    "simulator/engine/engine.py": [
        "laws/test_bugs.py",
        "simulator/engine/test_engine.py",
        "simulator/engine/test_faults.py",
        "laws/test_chaos.py",
    ],
    "simulator/engine/job_phases.py": [
        "simulator/engine/test_engine.py",
        "simulator/engine/test_faults.py",
        "laws/test_chaos.py",
    ],
    "experiments/results/metrics.py": ["laws/test_metrics.py", "experiments/test_metrics.py", "laws/test_bugs.py"],
}
MAIN = (
    "simulator/energy/battery.py",
    "simulator/energy/ledger.py",
    "simulator/engine/engine.py",
    "experiments/results/metrics.py",
)
TIMEOUT_S = 120.0

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.USub: ast.UAdd,
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Every mutant of a source: (line, what was changed, the new source)."""
    count = sum(1 for _ in _places(ast.parse(source)))
    for index in range(count):
        tree = ast.parse(source)
        node = next(place for i, place in enumerate(_places(tree)) if i == index)
        what = _change(node)
        yield node.lineno, what, ast.unparse(tree)  # type: ignore[attr-defined]


def _places(tree: ast.AST) -> Iterator[ast.AST]:
    """Where something can be changed; annotations, docstrings, messages and default texts are left alone."""
    skip = {id(part) for node in ast.walk(tree) for part in _untouched(node)}
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if id(node) in skip:
            continue
        operators = [*getattr(node, "ops", ())[:1], getattr(node, "op", None)]
        number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        if hasattr(node, "lineno") and (number or any(type(op) in _SWAPS for op in operators)):
            yield node
        stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _untouched(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.Assert):
        yield from ast.iter_child_nodes(node)
    for name in ("annotation", "returns"):
        if getattr(node, name, None) is not None:
            yield getattr(node, name)


def _change(node: ast.AST) -> str:
    before = ast.unparse(node)
    if isinstance(node, ast.Constant):
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.5  # type: ignore[operator]
    elif isinstance(node, ast.Compare):
        node.ops[0] = _SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
    else:
        node.op = _SWAPS[type(node.op)]()  # type: ignore[attr-defined]
    return f"{before}  ->  {ast.unparse(node)}"


def survives(copy: Path, file: str, source: str, tests: list[str]) -> tuple[bool, float]:
    """Whether the tests pass on a mutant, and how long they took [s]; one that hangs is noticed."""
    (copy / file).write_text(source)
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(copy, tests)
    while time.monotonic() - begin < TIMEOUT_S:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0, time.monotonic() - begin
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, TIMEOUT_S


def _in_child(copy: Path, tests: list[str]) -> None:
    """A process that has the heavy packages loaded, but nothing of ours."""
    code = 1
    try:
        import pytest

        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = True
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = pytest.main(
                ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
            )
    finally:
        os._exit(int(code))


def main() -> int:
    """Make mutants, run the tests that should notice them, and print who survived; 2 if the tests fail as it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=80, help="how many mutants, spread over the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", action="append", choices=sorted(TESTS))
    given = parser.parse_args()
    import hypothesis  # noqa: F401  (loaded once, before the forks)
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import simpy  # noqa: F401

    rng = random.Random(given.seed)
    files = given.file or list(MAIN)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        hidden = shutil.ignore_patterns(".*", "results", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, copy, ignore=hidden)
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
        alive = total = 0
        for file in files:
            source = (copy / file).read_text()
            if not survives(copy, file, source, TESTS[file])[0]:
                print(f"{file}: its tests fail as it is")
                return 2
            every = list(mutants(source))
            chosen = sorted(rng.sample(range(len(every)), min(given.n // len(files), len(every))))
            for line, what, text in (every[i] for i in chosen):
                lives, spent = survives(copy, file, text, TESTS[file])
                alive, total = alive + lives, total + 1
                if lives:
                    print(f"SURVIVES {file}:{line}: {what}  ({spent:.0f} s)", flush=True)
            (copy / file).write_text(source)
            print(f"{file}: {len(chosen)} of {len(every)} mutants tried", flush=True)
    print(f"{total - alive} of {total} mutants were noticed, {alive} survived")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
