"""Tafukt: AI training jobs scheduled across solar-powered data centres."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tafukt.experiments.results.load import Results


def load(folder: str | Path) -> Results:
    """A result folder as data frames and metadata.

    Raises
    ------
    FolderError
        If it is none.
    """
    from tafukt.experiments.results.load import load as load_folder

    return load_folder(folder)
