"""What a result folder says of itself, and whether it may take the runs of an experiment."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments import config_toml as toml
from experiments.config_load import Loaded, axes_of
from experiments.errors import FolderError, InputError, Problem, shown
from experiments.folder import EXPERIMENT, MANIFEST, Folder
from experiments.identity import bytes_digest, canonical, file_digest, source_digest
from experiments.matrix import Run, input_files
from experiments.policy import PolicyRef, policy_refs

PACKAGES = ("highspy", "numpy", "pandas", "pvlib", "pyarrow", "pydantic", "scipy", "simpy")
MAY_DIFFER = ("question", "seeds", "policies", "matrix", "baseline")
"""Keys of the document that are not compared as they stand: text, what may be extended, and places."""


def version() -> str:
    """Tafukt's version."""
    try:
        return metadata.version("tafukt")
    except metadata.PackageNotFoundError:
        return "unknown"


def manifest_of(loaded: Loaded, runs: Sequence[Run], folder: Folder) -> dict[str, Any]:
    """The manifest as it should stand now; the same for the same runs, with no clock in it."""
    summaries = {run.run_id: folder.run_summary(run.run_id) for run in runs}
    states = [summary["status"] if summary else "missing" for summary in summaries.values()]
    status = "incomplete" if "missing" in states else "failed" if "failed" in states else "complete"
    return {
        "name": loaded.experiment.name,
        "status": status,
        "tafukt": version(),
        "python": platform.python_version(),
        "platform": {"system": platform.system(), "machine": platform.machine(), "byteorder": sys.byteorder},
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "source_sha256": source_digest(),
        "experiment_sha256": bytes_digest(_text(loaded).encode()),
        "inputs": _inputs(loaded),
        "policies": {ref.label: {"given": ref.given, "sha256": ref.digest} for ref in loaded.policies},
        "baseline": _baseline_label(loaded),
        "seeds": loaded.experiment.seeds,
        "axes": [list(axis.keys) for axis in loaded.axes],
        "runs": {run.run_id: _entry(run, summaries[run.run_id]) for run in runs},
        "cells": {run.cell.key[:16]: folder.json(f"cells/{run.cell.key[:16]}.json") for run in runs},
    }


def _entry(run: Run, summary: dict[str, Any] | None) -> dict[str, Any]:
    entry = {
        "status": summary["status"] if summary else "missing",
        "policy": run.policy.label,
        "seed": run.cell.seed,
        "axes": run.cell.axes,
        "cell": run.cell.key[:16],
    }
    return entry | ({"reason": summary["reason"]} if summary and "reason" in summary else {})


def _inputs(loaded: Loaded) -> dict[str, dict[str, str]]:
    return {
        key: {"file": str(path.resolve()), "sha256": file_digest(path, key)}
        for key, path in input_files(loaded).items()
    }


def _baseline_label(loaded: Loaded) -> str:
    refs, _ = policy_refs([loaded.experiment.baseline], loaded.file, loaded.folder)
    return refs[0].label if refs else loaded.experiment.baseline


def _text(loaded: Loaded) -> str:
    """The resolved experiment as the folder keeps it: one's own policies lie beside it."""
    document = loaded.document()
    kept = {ref.absolute: f"{_kept(ref)}:{ref.absolute.rpartition(':')[2]}" for ref in loaded.policies if ref.source}
    document["policies"] = [kept.get(n, n) if isinstance(n, str) else n for n in document["policies"]]
    document["baseline"] = kept.get(document["baseline"], document["baseline"])
    ours = "# The experiment with every default written out; `tafukt run` on this file gives the same results.\n"
    return ours + toml.text(document)


def _kept(ref: PolicyRef) -> str:
    """Where a folder keeps the source of a policy of the user's own."""
    return f"policies/{ref.digest[:8]}/{Path(ref.absolute.rpartition(':')[0]).name}"


def begin(folder: Folder, loaded: Loaded, runs: Sequence[Run]) -> None:
    """Make a folder ready for an experiment's runs: a new one, or one that `refuse_other` let pass.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    from experiments.results import json_bytes

    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Problem(str(folder.path), "", f"cannot be made: {error.strerror}")) from None
    folder.sweep()
    folder.write(MANIFEST, json_bytes(manifest_of(loaded, runs, folder)))
    folder.write(EXPERIMENT, _text(loaded).encode())
    for ref in loaded.policies:
        if ref.source:
            folder.write(_kept(ref), ref.source.encode())


def refuse_other(folder: Folder, loaded: Loaded) -> None:
    """Do nothing where a folder is new or of this very experiment.

    Raises
    ------
    FolderError
        If it belongs to another experiment, with every key that differs.
    """
    if folder.is_new():
        return
    differing = differences(folder, loaded)
    if differing:
        hint = "choose another folder with -o, or put the experiment back as it was"
        raise FolderError([*differing, Problem(str(folder.path), "", f"holds another experiment: {hint}")])


def differences(folder: Folder, loaded: Loaded) -> list[Problem]:
    """Every key in which an experiment differs from a folder's, other than by more runs."""
    file, manifest = str(folder.path), folder.manifest()
    found: list[Problem] = []
    if manifest.get("source_sha256") != source_digest():
        theirs = f"{manifest.get('tafukt')}, {str(manifest.get('source_sha256'))[:8]}"
        message = f"the results are of other code than this ({theirs}; now {version()}, {source_digest()[:8]})"
        found.append(Problem(file, "tafukt", message))
    for key, entry in _inputs(loaded).items():
        before = manifest.get("inputs", {}).get(key, {})
        if before.get("sha256") != entry["sha256"]:
            found.append(Problem(file, key, f"the contents of {entry['file']} have changed"))
    for label, entry in manifest.get("policies", {}).items():
        now = {ref.label: ref.digest for ref in loaded.policies}
        if label not in now:
            found.append(Problem(file, "policies", f"{label!r} is in the folder but not in the experiment"))
        elif now[label] != entry["sha256"]:
            found.append(Problem(file, "policies", f"the source of {label!r} has changed"))
    if manifest.get("baseline") != _baseline_label(loaded):
        found.append(_changed(file, "baseline", manifest.get("baseline"), _baseline_label(loaded)))
    if (folder.path / EXPERIMENT).is_file():
        found += _differing_keys(file, toml.read(folder.path / EXPERIMENT), loaded)
    return found


def _differing_keys(file: str, before: toml.Document, loaded: Loaded) -> list[Problem]:
    now = toml.parse(_text(loaded).encode(), file)
    places = input_files(loaded)
    old, new = (dict(toml.flat({k: v for k, v in d.items() if k not in MAY_DIFFER})) for d in (before, now))
    found = [
        _changed(file, key, old.get(key), new.get(key))
        for key in dict.fromkeys([*old, *new])
        if key not in places and canonical(old.get(key)) != canonical(new.get(key))
    ]
    found += [
        Problem(file, "seeds", f"{seed} is in the folder but not in the experiment")
        for seed in before.get("seeds", [])
        if seed not in now["seeds"]
    ]
    return found + _differing_axes(file, before, loaded)


def _differing_axes(file: str, before: toml.Document, loaded: Loaded) -> list[Problem]:
    old = {axis.keys: axis.rows for axis in axes_of(before.get("matrix", {}), file)[0]}
    new = {axis.keys: axis.rows for axis in loaded.axes}
    found = [
        Problem(file, f"matrix.{', '.join(keys)}", "is an axis in only one of the folder and the experiment")
        for keys in {**old, **new}
        if (keys in old) != (keys in new)
    ]
    for keys in old.keys() & new.keys():
        rows = {canonical(row) for row in new[keys]}
        found += [
            Problem(file, f"matrix.{', '.join(keys)}", f"{shown(list(row))} is in the folder but not here")
            for row in old[keys]
            if canonical(row) not in rows
        ]
    return found


def _changed(file: str, key: str, before: Any, now: Any) -> Problem:
    return Problem(file, key, f"was {shown(before)} in these results, is {shown(now)} now")
