"""`tafukt pack`: a result folder made whole, with a copy of every file that its experiment reads."""

from __future__ import annotations

from pathlib import Path

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import FolderError, Problem
from tafukt.experiments.hashing import bytes_digest, file_digest
from tafukt.experiments.results.stored import EXPERIMENT, MANIFEST
from tafukt.experiments.results.tables import json_bytes
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.manifest import experiment_text, input_files, place_in_pack


def pack(path: Path) -> list[str]:
    """Copy every input file of a result folder into it, so that it can be moved and replayed; returns their places.

    Raises
    ------
    FolderError
        If it is no result folder, or an input is not what it was.
    InputError
        If its experiment cannot be read any more.
    """
    folder = Folder(path)
    manifest = folder.manifest()
    loaded = load_experiment(path / EXPERIMENT)
    places = []
    for key, file in loaded.input_files.items():
        if manifest.get("inputs", {}).get(key, {}).get("sha256") != file_digest(file, key):
            raise FolderError(Problem(str(path), key, f"the contents of {file} have changed since the runs"))
        folder.write(place := place_in_pack(file, key), file.read_bytes())
        places.append(place)
    with folder.locked():
        text = experiment_text(loaded, folder).encode()
        folder.write(EXPERIMENT, text)
        now = {"inputs": input_files(loaded, folder), "experiment_sha256": bytes_digest(text)}
        folder.write(MANIFEST, json_bytes(folder.manifest() | now))
    return list(dict.fromkeys(places))
