"""Compilation of the search's inner loops, where the extra `tafukt[search]` is installed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

AVAILABLE = find_spec("numba") is not None
"""Whether there is a compiler: without one the loops run as plain Python, a thousand times slower."""
PLAIN = "TAFUKT_PLAIN_SEARCH"
"""Environment variable that, set to anything, leaves the loops plain: small cases need no minute of compiling."""


def compiled(function: Function) -> Function:
    """A function in machine code, kept on disk from one process to the next; itself where there is no compiler."""
    if not AVAILABLE or os.environ.get(PLAIN):
        return function
    import numba

    numba.config.CACHE_DIR = _kept()
    return cast(Function, numba.njit(cache=True)(function))


@cache
def _kept() -> str:
    """Folder of machine code: by the hash of all files that it is made of, since functions call across files."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return given
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        total.update(content if b"@compiled" in content else b"")
    root = os.environ.get("TAFUKT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tafukt"
    return str(Path(root) / "compiled" / total.hexdigest()[:16])
