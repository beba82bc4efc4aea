"""What makes a run the run it is: hashes of resolved inputs, of input files and of the source code."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.errors import InputError, Problem

PACKAGES = ("sites", "workloads", "simulator", "experiments")
WITHOUT_EFFECT = {
    "experiments": (
        "cli",
        "estimate",
        "explain",
        "figures",
        "ladder",
        "load",
        "replay",
        "report",
        "schema",
        "selftest",
        "sizing",
        "statistics",
    ),
    "simulator": ("conformance",),
    "sites": ("describe", "explain", "portrait"),
    "workloads": ("describe", "fit"),
}
"""Starts of the names of files that show results and change none, by package."""


def canonical(value: Any) -> str:
    """A value as JSON that is the same text for the same value, whatever the order of its keys.

    Whole floats are written as integers, moments in UTC: `7` and `7.0` are one value, and so are
    `13:00+01:00` and `12:00Z`.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else repr(value)
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


def source_files() -> Iterator[Path]:
    """Every file of ours that can change a result: code, and catalogues."""
    root = Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            shows_only = path.name.startswith(WITHOUT_EFFECT.get(package, ("/",)))
            catalogue = path.suffix == ".toml" and package != "experiments"
            if (path.suffix == ".py" and not shows_only) or catalogue:
                yield path


@lru_cache(maxsize=1)
def source_digest() -> str:
    """SHA-256 over names and contents of `source_files`, in hexadecimal."""
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for path in source_files():
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
