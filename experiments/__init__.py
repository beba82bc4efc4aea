"""Experiment files in; runs, tables, figures and reports out. `experiments.load("DIR")` opens a result folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.loading import Results


def load(folder: str | Path) -> Results:
    """A result folder as data frames and metadata.

    Raises
    ------
    FolderError
        If it is none.
    """
    from experiments.loading import load as load_folder

    return load_folder(folder)
