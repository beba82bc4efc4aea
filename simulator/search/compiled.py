"""Compilation of the search's inner loops, where the extra `tafukt[search]` is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

AVAILABLE = find_spec("numba") is not None
"""Whether there is a compiler: without one the loops run as plain Python, a thousand times slower."""


def compiled(function: Function) -> Function:
    """A function in machine code, kept on disk from one process to the next; itself where there is no compiler.

    What is kept goes by the file that a function stands in, not by those that it calls into: functions that
    call one another stand in one file.
    """
    if not AVAILABLE:
        return function
    from numba import njit

    return cast(Function, njit(cache=True)(function))
