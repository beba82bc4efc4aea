"""What a preset is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.policies.scheduler import ListScheduler, Parts


@dataclass(frozen=True)
class Preset:
    """A policy by name: its parts, or what makes it; one line of what it does; where it comes from."""

    parts: Parts | Callable[[str], Any]
    does: str
    source: str

    def make(self, name: str) -> Any:
        """A fresh policy."""
        return ListScheduler(name, self.parts) if isinstance(self.parts, Parts) else self.parts(name)
