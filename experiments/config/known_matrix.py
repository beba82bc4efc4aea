"""Scenarios of a large matrix as they were found before, kept in the cache, so that each need not be resolved again.

Two thousand scenarios of twelve sites take a quarter of a minute to validate and to hash. A task of an array that does
one run, or a command that finds all of them done, need not spend it: what is kept stands under a hash of the file as it
is written and of our source, and holds only while every input file has the contents that it had then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from tafukt.experiments.config.toml import Document
from tafukt.experiments.errors import InputError
from tafukt.experiments.hashing import file_digest, source_digest
from tafukt.sites.cache import default_folder

SCENARIOS_LEAST = 50
"""From how many scenarios on they are kept; fewer are resolved as fast as the entry is looked for and checked."""


@dataclass(frozen=True)
class KnownMatrix:
    """Keys of the cells of a matrix in their order, all of them valid, and every input file by what names it."""

    cells: tuple[str, ...]
    files: Mapping[str, Path]


def recall(raw: Document, folder: Path) -> KnownMatrix | None:
    """Known matrix of an experiment; `None` where none is kept, or an input file is not what it was.

    Parameters
    ----------
    raw : dict
        The experiment as written, settings put in.
    folder : Path
        What relative paths in it start from.
    """
    try:
        kept = json.loads(_place(raw, folder).read_bytes())
        cells, files = tuple(kept["cells"]), {key: Path(name) for key, (name, _) in kept["files"].items()}
        same = all(file_digest(Path(name), key) == sha256 for key, (name, sha256) in kept["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return None
    return KnownMatrix(cells, files) if same and all(isinstance(key, str) for key in cells) else None


def keep(raw: Document, folder: Path, cells: Sequence[str], files: Mapping[str, Path]) -> None:
    """Keep the keys of all cells of an experiment; where the cache cannot be written, nothing is kept."""
    contents = {key: (str(path), file_digest(path, key)) for key, path in files.items()}
    place = _place(raw, folder)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"cells": list(cells), "files": contents}), encoding="utf-8")
        part.replace(place)


def forget(raw: Document, folder: Path) -> None:
    """Keep nothing of an experiment any more."""
    with contextlib.suppress(OSError):
        _place(raw, folder).unlink(missing_ok=True)


def _place(raw: Document, folder: Path) -> Path:
    """File of the cache for an experiment: 7 and 7.0 are two, since a key may take only one of them."""
    about: Any = [raw, str(folder), source_digest(), pydantic.VERSION]
    text = json.dumps(about, sort_keys=False, default=repr)
    return default_folder() / "matrices" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
