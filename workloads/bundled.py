"""Files that come with the package, by kind and name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

Kind = Literal["mixes", "public", "services", "traces"]
"""Folders of `workloads/catalogue`: job mixes, public traces, services, column maps of trace formats."""


def bundled(kind: Kind) -> dict[str, Path]:
    """The bundled files of one kind, by name."""
    folder = Path(str(resources.files("tafukt.workloads"))) / "catalogue" / kind
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
