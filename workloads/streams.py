"""Named random streams: what one part draws never depends on how much another drew."""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, name: str) -> int:
    """The 128-bit key of a named stream, from SHA-256 of `seed/name`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")


def stream(stream_key: int, block: int = 0) -> np.random.Generator:
    """The generator of one block of a named stream; blocks are disjoint (Philox counters 2**192 apart)."""
    return np.random.Generator(np.random.Philox(key=stream_key, counter=[0, 0, 0, block]))


def uniform(seed: int, name: str) -> float:
    """One draw in [0, 1) that belongs to a name alone."""
    return key(seed, name) / 2.0**128
