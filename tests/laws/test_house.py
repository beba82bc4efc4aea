"""The plan of the house: arrows between modules point one way, folders stay small, nobody but a few runs the engine."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sites", "workloads", "simulator", "experiments")
FILES_MOST = 16
# Who runs simulations: `simulate` is theirs to call. All other code is handed what it needs.
RUNS_SIMULATIONS = {
    "tafukt.simulator.conformance",
    "tafukt.simulator.policies.planner.clairvoyant",
    "tafukt.simulator.search.best",
}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(("tafukt", *parts[: -1 if parts[-1] == "__init__" else None]))] = path
    return found


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names of everything that a module imports, wherever in it, also for typing alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def arrows(known: dict[str, Path]) -> dict[str, frozenset[str]]:
    """From each module to those of the same package that it imports."""
    return {
        name: {other for other in imports(path) if other in known and other != name} for name, path in known.items()
    }


def circles(graph: Mapping[str, Set[str]]) -> Iterator[set[str]]:
    """Sets of modules that reach one another (Tarjan 1972, 10.1137/0201010)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[set[str]]:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                yield from visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            ring = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(ring) > 1:
                yield ring

    for name in graph:
        if name not in number:
            yield from visit(name)


def test_a_circle_is_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})) == [{"b", "c"}]
    assert not list(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    known = modules(package)
    assert len(known) > 10
    assert not list(circles(arrows(known)))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_holds_no_more_than_can_be_seen_at_once(package: str) -> None:
    folders = [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]
    counts = {folder: len([p for p in folder.glob("*.py") if p.stem != "__init__"]) for folder in folders}
    assert max(counts.values()) > 3
    assert not {str(folder): count for folder, count in counts.items() if count > FILES_MOST}


def test_nobody_but_who_runs_simulations_imports_the_engine() -> None:
    engine = "tafukt.simulator.engine.engine"
    users = {name for name, path in modules("simulator").items() if engine in imports(path)}
    assert users == RUNS_SIMULATIONS
    reached = {
        name: sorted(taken)
        for package in PACKAGES
        for name, path in modules(package).items()
        if (taken := {n for n in imports(path) if n.startswith(f"{engine}.")} - {f"{engine}.simulate"})
    }
    assert not reached, "others call `simulate`; the engine itself is nobody's"


def test_every_sub_package_has_its_plan() -> None:
    """`make lint` holds every folder to its layers in pyproject.toml; here, that none is forgotten."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = [c for c in settings["importlinter"]["contracts"] if c["type"] == "layers"]
    plans = {container: contract["layers"] for contract in contracts for container in contract["containers"]}
    packages = {
        name for name in settings["setuptools"]["packages"] if not name.startswith("tafukt.simulator.policies.")
    }
    assert plans.keys() == packages
    known = {name for package in PACKAGES for name in modules(package)}
    for container, layers in plans.items():
        named = [name for layer in layers for name in layer.split(" | ")]
        assert len(named) == len(set(named))
        firm = {f"{container}.{name}" for name in named if not name.startswith("(")}
        assert firm <= known, "`make lint` cannot hold to its place what does not exist"


QUESTIONS = {"What", "Who", "Whom", "Whose", "Where", "When", "Which", "Why", "How"}
NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def trees() -> Iterator[tuple[str, ast.Module]]:
    """The syntax tree of every module, by its path."""
    for folder in ("tafukt", *PACKAGES):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def test_docstrings_say_what_a_thing_is_in_the_words_of_the_field() -> None:
    """`Battery state equation in closed form`, not `How the battery moves`; a truth value may begin with `Whether`."""
    texts = [
        (f"{path}: {getattr(node, 'name', '')}", text)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, *NAMED)) and (text := ast.get_docstring(node))
    ]
    assert len(texts) > 1000
    assert not [place for place, text in texts if text.split()[0].strip(",:;") in QUESTIONS]


def test_every_public_function_and_class_says_what_it_is() -> None:
    silent = []
    for path, tree in trees():
        for outer in tree.body:
            members = outer.body if isinstance(outer, ast.ClassDef) and outer.name[0] != "_" else []
            for node in (outer, *members):
                if isinstance(node, NAMED) and node.name[0] != "_" and not ast.get_docstring(node):
                    silent.append(f"{path}: {node.name}")
    assert not silent


SAME_MEANING = {
    "sites": {},
    "workloads": {},
    "simulator": {},
    "experiments": {
        "explain": "the command and the function that it stands for",
        "pack": "the command and the function that it stands for",
        "replay": "the command and the function that it stands for",
        "run": "the command and the function that it stands for",
        "validate": "the command and the function that it stands for",
    },
}
"""Names that two modules of a package may both define, with what they mean in each."""


def public_names(tree: ast.Module) -> set[str]:
    """Classes, functions and constants that a module defines at its top."""
    found = set()
    for node in tree.body:
        if isinstance(node, NAMED):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n for target in targets for n in (target.elts if isinstance(target, ast.Tuple) else [target])]
            found |= {name.id for name in names if isinstance(name, ast.Name)}
    return {name for name in found if name[0] != "_"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_has_one_meaning_in_a_package(package: str) -> None:
    places: dict[str, list[str]] = {}
    for module, path in modules(package).items():
        for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
            places.setdefault(name, []).append(module)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert len(places) > 50
    assert not {name: where for name, where in twice.items() if name not in SAME_MEANING[package]}
    assert SAME_MEANING[package].keys() <= twice.keys(), "these stand only once by now"
