"""Arrays kept on disk under a hash of what they were made from; a damaged entry is made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from tafukt.sites.profile import Floats


def default_folder() -> Path:
    """Where the cache lies: `TAFUKT_CACHE`, or the platform's place for a user's caches."""
    named = os.environ.get("TAFUKT_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tafukt"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tafukt" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tafukt"


@lru_cache(maxsize=1)
def _code_hash() -> str:
    """A hash of this package and of the libraries whose arithmetic its results rest on."""
    digest = hashlib.sha256()
    folder = Path(str(files("tafukt.sites")))
    for file in sorted([*folder.rglob("*.py"), *folder.glob("catalogue/_*.toml")]):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    digest.update("/".join(version(name) for name in ("numpy", "pvlib", "scipy", "pandas")).encode())
    return digest.hexdigest()


def key_of(inputs: Any) -> str:
    """A name for what is made from these inputs, which must be plain data."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(f"{_code_hash()}/{text}".encode()).hexdigest()


def file_hash(path: Path) -> str:
    """A hash of a file's content, or `absent`."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "absent"


def kept(folder: Path, key: str, shape: tuple[int, ...], make: Callable[[], Floats]) -> Floats:
    """The array under a key, read from the folder, or made and written there.

    Parameters
    ----------
    folder : Path
        Made if need be; where it cannot be written to, nothing is kept.
    key : str
        From `key_of`.
    shape : tuple of int
        What the array must have.
    make : callable
        Makes the array.
    """
    path = folder / "supply" / f"{key[:40]}.f64"
    found = _read(path, int(np.prod(shape)))
    if found is not None:
        return found.reshape(shape)
    values = np.ascontiguousarray(make(), dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"made an array of shape {values.shape}, not {shape}")
    with contextlib.suppress(OSError):
        _write(path, values)
    return values


def _check(values: Floats) -> float:
    """A number that changes with any bit of the values and with their places."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    lanes = int(np.add.reduce(bits)), int(np.add.reduce(bits[::7])), int(np.bitwise_xor.reduce(bits[::2]))
    digest = hashlib.sha256(repr(lanes).encode()).digest()[:6]
    return float(int.from_bytes(digest, "little"))


def _read(path: Path, size: int) -> Floats | None:
    try:
        raw = np.fromfile(path, dtype="<f8")
    except OSError:
        return None
    if len(raw) != size + 1 or raw[-1] != _check(raw[:-1]):
        return None
    return raw[:-1]


def _write(path: Path, values: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(values.astype("<f8", copy=False).tobytes())
            file.write(np.array([_check(values.ravel())], dtype="<f8").tobytes())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
