"""Identity of runs: hashes of resolved inputs, of input files and of the source code."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import InputError, Problem
from tafukt.sites.cache import default_folder

OWN_PACKAGES = ("sites", "workloads", "simulator", "experiments")
WITHOUT_EFFECT = (
    "sites/describe.py",
    "workloads/describe.py",
    "workloads/fit.py",
    "simulator/conformance.py",
    "experiments/__init__.py",
    "experiments/api.py",
    "experiments/cli/",
    "experiments/figures/",
    "experiments/report/",
    "experiments/results/answer.py",
    "experiments/results/axes.py",
    "experiments/results/load.py",
    "experiments/results/numbers.py",
    "experiments/results/statistics.py",
    "experiments/runs/pack.py",
    "experiments/runs/replay.py",
    "experiments/runs/selftest.py",
    "experiments/runs/sizing.py",
)
"""Files and folders that show results and change none."""


def canonical(value: Any) -> str:
    """A value as JSON that is the same text for the same value, whatever the order of its keys.

    Whole floats are written as integers, moments in UTC: `7` and `7.0` are one value, and so are
    `13:00+01:00` and `12:00Z`.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


# Types that stand for themselves: looked at before the call, since a matrix has millions of such values.
_AS_THEY_ARE = frozenset((str, int, bool, type(None)))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {str(key): inner if type(inner) in _AS_THEY_ARE else _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [inner if type(inner) in _AS_THEY_ARE else _plain(inner) for inner in value]
    if isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, date | Path):
        return str(value)
    return value


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def bytes_digest(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(path: Path, key: str) -> str:
    """SHA-256 of a file, in hexadecimal; read once as long as it does not change.

    Raises
    ------
    InputError
        If it cannot be read; `key` is what names it in the experiment.
    """
    try:
        status = path.stat()
        return _file_digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(Problem(str(path), key, f"cannot be read: {error.strerror}")) from None


def _root(package: str) -> Path:
    return Path(str(files(f"tafukt.{package}")))


def source_files() -> Iterator[tuple[str, Path]]:
    """Every file of ours that can change a result, code and catalogues: its name in the house, and its path."""
    for package in OWN_PACKAGES:
        root = str(_root(package))
        found = [os.path.join(folder, file) for folder, _, inside in os.walk(root) for file in inside]
        names = {package + path.removeprefix(root).replace(os.sep, "/"): path for path in found}
        for name in sorted(names):
            shows_only = name.startswith(WITHOUT_EFFECT)
            catalogue = name.endswith(".toml") and package != "experiments"
            if (name.endswith(".py") and not shows_only) or catalogue:
                yield name, Path(names[name])
    yield "tafukt/strict.py", Path(str(files("tafukt") / "strict.py"))


@lru_cache(maxsize=1)
def source_digest() -> str:
    """SHA-256 over names and meanings of `source_files`, in hexadecimal.

    Code counts by its syntax tree without docstrings, so that a word in a comment or docstring leaves every result
    folder valid. Parsing all of it takes a second: what it gave is kept in the cache under a hash of the plain bytes.
    """
    contents = [(name, path.read_bytes()) for name, path in source_files()]
    plain = hashlib.sha256()
    for name, content in contents:
        plain.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    known = default_folder() / "source" / f"{plain.hexdigest()}.txt"
    with contextlib.suppress(OSError):
        text = known.read_text(encoding="ascii")
        if len(text) == 64:
            return text
    total = hashlib.sha256()
    for name, content in contents:
        meaning = _meaning(content) if name.endswith(".py") else content
        total.update(name.encode() + b"\0" + hashlib.sha256(meaning).digest())
    with contextlib.suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        part = known.with_suffix(f".{os.getpid()}.part")
        part.write_text(total.hexdigest(), encoding="ascii")
        part.replace(known)
    return total.hexdigest()


def _meaning(source: bytes) -> bytes:
    """Code as its syntax tree says it: without comments, line breaks and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body[0] = ast.Expr(ast.Constant(None))
    return ast.unparse(tree).encode()
