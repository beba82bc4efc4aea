"""What a policy may ask of the engine; each action carries its reason and the numbers it rested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cluster import Allocation
from simulator.life import Life


@dataclass(slots=True)
class Start:
    """Start a waiting job on a site now, on `gpus` GPUs (0: as asked), at `cap` of its power above idle.

    `avoid` is a set of node bits that must be left alone (another job's reservation); `nodes` says which
    nodes to take, and how many GPUs of each, where the policy has planned that itself.
    """

    job: Life
    site: int
    gpus: int = 0
    cap: float = 1.0
    avoid: int = 0
    nodes: Allocation = ()
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Hold:
    """Leave a waiting job alone until `until_s` [s]; a round is promised at that time."""

    job: Life
    until_s: float
    site: int = -1
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pause:
    """Checkpoint a running job and put it back among the waiting."""

    job: Life
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Move:
    """Checkpoint a running job, carry the checkpoint to another site, and let it wait there."""

    job: Life
    site: int
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Resize:
    """Checkpoint a running malleable job and restart it at once on the same site with `gpus` GPUs."""

    job: Life
    gpus: int
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Cap:
    """Let a running job draw `cap` of its power above idle from now on; needs no checkpoint."""

    job: Life
    cap: float
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Wake:
    """Ask for a round at `until_s` [s]."""

    until_s: float


Action = Start | Hold | Pause | Move | Resize | Cap | Wake
