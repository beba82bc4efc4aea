"""Arrays kept on disk under a hash of what they were made from; a damaged entry is made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from tafukt.sites.profile import Floats

_HASH_BYTES = hashlib.sha256().digest_size


def default_folder() -> Path:
    """Folder of the cache: `TAFUKT_CACHE`, or the platform's place for a user's caches."""
    named = os.environ.get("TAFUKT_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tafukt"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tafukt" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tafukt"


@lru_cache(maxsize=64)
def installed_version(name: str) -> str:
    """Version of an installed package, from the head of what it says of itself.

    The standard library's `version` reads the whole of it, a package's handbook, as an e-mail: some 1 ms for each of
    ten packages.

    Raises
    ------
    PackageNotFoundError
        If it is not installed.
    """
    package = distribution(name)
    for line in (package.read_text("METADATA") or "").splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ").strip()
        if not line:
            break
    found: str | None = package.version
    if not found:
        raise PackageNotFoundError(name)
    return found


@lru_cache(maxsize=1)
def _code_hash() -> str:
    """A hash of this package and of the libraries whose arithmetic its results rest on."""
    digest = hashlib.sha256()
    folder = Path(str(files("tafukt.sites")))
    for file in sorted([*folder.rglob("*.py"), *folder.glob("catalogue/_*.toml")]):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    digest.update("/".join(installed_version(name) for name in ("numpy", "pvlib", "scipy", "pandas")).encode())
    return digest.hexdigest()


def key_of(inputs: Any) -> str:
    """A name for what is made from these inputs, which must be plain data."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(f"{_code_hash()}/{text}".encode()).hexdigest()


def file_hash(path: Path) -> str:
    """A hash of a file's content, or `absent`."""
    try:
        about = path.stat()
        return _file_hash(path, about.st_mtime_ns, about.st_size)
    except OSError:
        return "absent"


@lru_cache(maxsize=64)
def _file_hash(path: Path, changed_ns: int, size: int) -> str:
    """The hash of a file that has not changed since: a file that feeds many sites is read for it once."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """An array, and what is to be told of how it was made."""

    values: Floats
    notes: tuple[str, ...] = ()


def kept(folder: Path, key: str, shape: tuple[int, ...] | None, make: Callable[[], Entry]) -> Entry:
    """The entry under a key, read from the folder, or made and written there.

    Parameters
    ----------
    folder : Path
        Made if need be; where it cannot be written to, nothing is kept.
    key : str
        From `key_of`.
    shape : tuple of int, optional
        What the array must have; default: what was written.
    make : callable
        Makes the entry.
    """
    path = folder / f"{key[:40]}.f64"
    found = _read(path, key, shape)
    if found is not None:
        return found
    made = make()
    values = np.ascontiguousarray(made.values, dtype="<f8")
    if shape is not None and values.shape != shape:
        raise ValueError(f"made an array of shape {values.shape}, not {shape}")
    with contextlib.suppress(OSError):
        _write(path, key, values, made.notes)
    return Entry(values, made.notes)


def _digest(key: str, body: bytes | memoryview) -> bytes:
    """A hash of an entry bound to its key, so that one entry cannot pass for another."""
    digest = hashlib.sha256(key.encode())
    digest.update(body)
    return digest.digest()


def _read(path: Path, key: str, shape: tuple[int, ...] | None) -> Entry | None:
    """The entry of a file: hash, length of what is told [bytes], that as JSON, values; nothing if it is damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    body = memoryview(raw)[_HASH_BYTES:]
    if len(body) < 8 or raw[:_HASH_BYTES] != _digest(key, body):
        return None
    begin = 8 + int.from_bytes(body[:8], "little")
    about = json.loads(bytes(body[8:begin]))
    if shape is not None and tuple(about["shape"]) != shape:
        return None
    values = np.frombuffer(body[begin:], dtype="<f8").reshape(about["shape"])
    return Entry(values, tuple(about["notes"]))


def _write(path: Path, key: str, values: Floats, notes: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"shape": values.shape, "notes": notes}).encode()
    text += b" " * (-len(text) % 8)  # numbers on whole words
    body = len(text).to_bytes(8, "little") + text + values.tobytes()
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_digest(key, body))
            file.write(body)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
