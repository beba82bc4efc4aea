"""Manifest of a result folder, and the check that it may take the runs of an experiment."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import Loaded, axes_of
from tafukt.experiments.config.policies import PolicyRef
from tafukt.experiments.errors import FolderError, InputError, Problem, listed, shown
from tafukt.experiments.hashing import bytes_digest, canonical, file_digest, source_digest
from tafukt.experiments.results.stored import EXPERIMENT, MANIFEST, RUN_SUMMARY, SUMMARY_FILE, Row
from tafukt.experiments.results.summary import header, run_rows
from tafukt.experiments.results.tables import csv_bytes, json_bytes
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.matrix import Run, axis_value
from tafukt.problems import cut
from tafukt.sites.cache import installed_version

LIBRARIES = ("highspy", "numpy", "pandas", "pvlib", "pyarrow", "pydantic", "scipy", "simpy")
NOTES_MOST = 200
DIFFERENCES_TOLD = 8
MAY_DIFFER = ("question", "seeds", "policies", "matrix", "baseline", "baseline_scenario")
"""Keys of the document that are not compared as they stand: text, what may be extended, and places."""


def version() -> str:
    """Tafukt's version."""
    try:
        return installed_version("tafukt")
    except metadata.PackageNotFoundError:
        return "unknown"


def manifest_of(loaded: Loaded, runs: Sequence[Run], folder: Folder) -> dict[str, Any]:
    """The manifest as it should stand now; the same for the same runs, with no clock in it."""
    summaries = {run.run_id: folder.run_summary(run.run_id) for run in runs}
    cells = {run.cell.key[:16]: folder.json(f"cells/{run.cell.key[:16]}.json") for run in runs}
    status = _status([summary["status"] if summary else "missing" for summary in summaries.values()])
    return {
        "name": loaded.experiment.name,
        "status": status,
        "tafukt": version(),
        "python": platform.python_version(),
        "platform": {"system": platform.system(), "machine": platform.machine(), "byteorder": sys.byteorder},
        "packages": {name: installed_version(name) for name in LIBRARIES},
        "source_sha256": source_digest(),
        "experiment_sha256": bytes_digest(experiment_text(loaded, folder).encode()),
        "inputs": input_files(loaded, folder),
        "policies": {ref.label: {"given": ref.given, "sha256": ref.digest} for ref in loaded.policies},
        "baseline": loaded.baseline.label,
        "objective": loaded.experiment.objective,
        "baseline_scenario": {key: axis_value(value) for key, value in loaded.base.items()},
        "seeds": loaded.experiment.seeds,
        "axes": [list(axis.keys) for axis in loaded.axes],
        "runs": {run.run_id: _entry(run, summaries[run.run_id]) for run in runs},
        "cells": cells,
        "notes": _notes(cells),
    }


def _notes(cells: Mapping[str, dict[str, Any] | None]) -> list[str]:
    """The notes on all scenarios, each once."""
    found = [note for cell in cells.values() if cell for note in cell.get("notes", [])]
    return list(dict.fromkeys(found))[:NOTES_MOST]


def _entry(run: Run, summary: dict[str, Any] | None) -> dict[str, Any]:
    entry = {
        "status": summary["status"] if summary else "missing",
        "policy": run.policy.label,
        "seed": run.cell.seed,
        "axes": run.cell.axes,
        "cell": run.cell.key[:16],
    }
    return entry | ({"reason": summary["reason"]} if summary and "reason" in summary else {})


def input_files(loaded: Loaded, folder: Folder) -> dict[str, dict[str, str]]:
    """Every input file by the key that names it: where it lies, once packed in the folder itself, and its hash."""
    return {
        key: {"file": packed_copy(folder, path, key) or str(path.resolve()), "sha256": file_digest(path, key)}
        for key, path in loaded.input_files.items()
    }


def packed_copy(folder: Folder, path: Path, key: str) -> str:
    """Path of a folder's own copy of an input file; empty if it keeps none."""
    place = place_in_pack(path, key)
    return place if (folder.path / place).is_file() else ""


def place_in_pack(path: Path, key: str) -> str:
    """Path of an input file in a packed folder."""
    return f"inputs/{file_digest(path, key)[:8]}/{path.name}"


def _document(loaded: Loaded, folder: Folder) -> toml.Document:
    """The resolved experiment as the folder keeps it: one's own policies, and packed inputs, lie beside it."""
    document = loaded.document()
    kept = {ref.absolute: f"{_kept(ref)}:{ref.absolute.rpartition(':')[2]}" for ref in loaded.policies if ref.source}
    document["policies"] = [kept.get(n, n) if isinstance(n, str) else n for n in document["policies"]]
    document["baseline"] = kept.get(document["baseline"], document["baseline"])
    inside = {
        name: place
        for key, path in loaded.input_files.items()
        if (place := packed_copy(folder, path, key))
        for name in (str(path), str(path.resolve()), *_as_written(loaded, key))
    }
    return _replaced(document, inside) if inside else document


def _as_written(loaded: Loaded, key: str) -> list[str]:
    """The values of an axis that name the file of a key."""
    return [
        str(value)
        for axis in loaded.axes
        for row in axis.rows
        for name, value in zip(axis.keys, row, strict=True)
        if isinstance(value, str) and key.startswith(name)
    ]


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A document with some texts put in place of others."""
    if isinstance(value, dict):
        return {key: _replaced(inner, texts) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, texts) for inner in value]
    return texts.get(value, value) if isinstance(value, str) else value


def experiment_text(loaded: Loaded, folder: Folder) -> str:
    """The resolved experiment as a file of the folder."""
    ours = "# The experiment with every default written out; `tafukt run` on this file gives the same results.\n"
    return ours + toml.text(_document(loaded, folder))


def _kept(ref: PolicyRef) -> str:
    """Path at which a folder keeps the source of a policy of the user's own."""
    return f"policies/{ref.digest[:8]}/{Path(ref.absolute.rpartition(':')[0]).name}"


def begin(folder: Folder, loaded: Loaded, runs: Sequence[Run]) -> None:
    """Make a folder ready for an experiment's runs: a new one, or one that `refuse_other` let pass.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Problem(str(folder.path), "", f"cannot be made: {error.strerror}")) from None
    folder.sweep()
    with folder.locked():
        refuse_other(folder, loaded)  # again, since another process may have begun or extended it meanwhile
        for ref in loaded.policies:
            if ref.source:
                folder.write(_kept(ref), ref.source.encode())
        folder.write(MANIFEST, json_bytes(manifest_of(loaded, runs, folder)))
        folder.write(EXPERIMENT, experiment_text(loaded, folder).encode())


def rebuild(folder: Folder, loaded: Loaded, runs: Sequence[Run]) -> list[Row]:
    """Write summary.csv, each run's comparisons and the manifest anew; returns the rows of `runs`.

    The folder is locked meanwhile. Where another process has extended the experiment since this one began, what it
    wrote stays, and only the state of the runs is brought up to date.
    """
    with folder.locked():
        manifest = _merged(manifest_of(loaded, runs, folder), folder)
        rows = run_rows(folder, manifest)
        for row in rows:
            if row["status"] == "complete":
                folder.write(f"runs/{row['run']}/{RUN_SUMMARY}", json_bytes(row))
        columns = header(manifest)
        folder.write(SUMMARY_FILE, csv_bytes(columns, [[row.get(name) for name in columns] for row in rows]))
        folder.write(MANIFEST, json_bytes(manifest))
    ours = {run.run_id for run in runs}
    return [row for row in rows if row["run"] in ours]


def _merged(ours: dict[str, Any], folder: Folder) -> dict[str, Any]:
    """The manifest of a process, or that of one which has extended the experiment meanwhile, with runs as they are."""
    theirs = folder.json(MANIFEST) or {}
    more = [run for run in theirs.get("runs", {}) if run not in ours["runs"]]
    if not more or theirs.get("source_sha256") != ours["source_sha256"]:
        return ours
    runs = {**theirs["runs"], **ours["runs"]}
    for run in more:
        summary = folder.run_summary(run)
        runs[run] = runs[run] | {"status": summary["status"] if summary else "missing"}
        if summary and "reason" in summary:
            runs[run] |= {"reason": summary["reason"]}
    keys = {**theirs.get("cells", {}), **ours["cells"]}
    cells = {key: folder.json(f"cells/{key}.json") for key in keys}
    policies, inputs = {**theirs["policies"], **ours["policies"]}, {**theirs["inputs"], **ours["inputs"]}
    seeds = list(dict.fromkeys([*theirs["seeds"], *ours["seeds"]]))
    merged = {
        "policies": policies,
        "inputs": inputs,
        "seeds": seeds,
        "runs": runs,
        "cells": cells,
        "notes": _notes(cells),
    }
    return theirs | merged | {"status": _status([entry["status"] for entry in runs.values()])}


def _status(states: Sequence[str]) -> str:
    return "incomplete" if "missing" in states else "failed" if "failed" in states else "complete"


def refuse_other(folder: Folder, loaded: Loaded) -> None:
    """Do nothing where a folder is new or of this very experiment.

    Raises
    ------
    FolderError
        If it belongs to another experiment: the first differences, how many more there are, and what can be done.
    """
    if folder.is_new():
        return
    told, hidden = cut(differences(folder, loaded), DIFFERENCES_TOLD)
    if not told:
        return
    what = "these results cannot be continued: choose another folder with -o"
    if of_other_code(folder) is None:
        what = "holds another experiment: choose another folder with -o, or change the experiment back"
    more = [Problem(str(folder.path), "", f"and {hidden} more differences")] if hidden else []
    raise FolderError([*told, *more, Problem(str(folder.path), "", what)])


def of_other_code(folder: Folder) -> Problem | None:
    """That a folder's results are of other code than this, and what can still be done with them."""
    manifest = folder.manifest()
    if manifest.get("source_sha256") == source_digest():
        return None
    theirs = f"{manifest.get('tafukt')}, {str(manifest.get('source_sha256'))[:8]}"
    message = f"the results were made by other code than this ({theirs}; now {version()}, {source_digest()[:8]}); "
    message += "they can still be shown (tafukt report, compare, plot, explain), and replay says what differs"
    return Problem(str(folder.path), "tafukt", message)


def differences(folder: Folder, loaded: Loaded) -> list[Problem]:
    """Every key in which an experiment differs from a folder's, other than by more runs."""
    file, manifest = str(folder.path), folder.manifest()
    other = of_other_code(folder)
    found = [] if other is None else [other]
    for key, entry in input_files(loaded, folder).items():
        before = manifest.get("inputs", {}).get(key, {})
        if before.get("sha256") != entry["sha256"]:
            found.append(Problem(file, key, f"the contents of {entry['file']} have changed"))
    for label, entry in manifest.get("policies", {}).items():
        now = {ref.label: ref.digest for ref in loaded.policies}
        if label not in now:
            found.append(Problem(file, "policies", f"{label!r} is in the folder but not in the experiment"))
        elif now[label] != entry["sha256"]:
            found.append(Problem(file, "policies", f"the source of {label!r} has changed"))
    if manifest.get("baseline") != loaded.baseline.label:
        found.append(_changed(file, "baseline", manifest.get("baseline"), loaded.baseline.label))
    if (folder.path / EXPERIMENT).is_file():
        found += _differing_keys(folder, toml.read(folder.path / EXPERIMENT), loaded, same_code=other is None)
    return found


def _differing_keys(folder: Folder, before: toml.Document, loaded: Loaded, same_code: bool) -> list[Problem]:
    """Keys that differ; what one code writes and the other does not know says nothing of the experiment."""
    file, now = str(folder.path), _document(loaded, folder)
    places = loaded.input_files
    old, new = (dict(toml.flat({k: v for k, v in d.items() if k not in MAY_DIFFER})) for d in (before, now))
    theirs, ours = (document.get("sites", {}).get("own", {}) for document in (before, now))
    found = [
        Problem(file, "sites", f"{listed(names, 6)} {'is' if len(names) == 1 else 'are'} {where}")
        for names, where in (
            ([name for name in theirs if name not in ours], "in the folder but not in the experiment"),
            ([name for name in ours if name not in theirs], "in the experiment but not in the folder"),
        )
        if names
    ]
    changes = [
        (key, old.get(key), new.get(key))
        for key in dict.fromkeys([*old, *new])
        if key not in places and canonical(old.get(key)) != canonical(new.get(key))
        if same_code or (key in old and key in new)
        if (site := _site_and_rest(key)[0]) == "" or (site in theirs and site in ours)
    ]
    found += _changed_once(file, changes)
    found += [
        Problem(file, "seeds", f"{seed} is in the folder but not in the experiment")
        for seed in before.get("seeds", [])
        if seed not in now["seeds"]
    ]
    return found + _differing_axes(file, before, now)


def _site_and_rest(key: str) -> tuple[str, str]:
    """The site whose table a dotted key is in, "" for none, and the key within it."""
    parts = key.split(".", 3)
    return (parts[2], parts[3]) if len(parts) == 4 and parts[:2] == ["sites", "own"] else ("", key)


def _changed_once(file: str, changes: Sequence[tuple[str, Any, Any]]) -> list[Problem]:
    """The changes of keys, each that is the same at several sites told once."""
    alike: dict[str, list[tuple[str, Any, Any]]] = {}
    for key, before, now in changes:
        site, rest = _site_and_rest(key)
        alike.setdefault(canonical([bool(site), rest, before, now]), []).append((key, before, now))
    found = []
    for same in alike.values():
        key, before, now = same[0]
        name = key if len(same) == 1 else f"sites.own.*.{_site_and_rest(key)[1]} of {len(same)} sites"
        found.append(_changed(file, name, before, now))
    return found


def _differing_axes(file: str, before: toml.Document, now: toml.Document) -> list[Problem]:
    old, new = ({a.keys: a.rows for a in axes_of(at.get("matrix", {}), file)[0]} for at in (before, now))
    found = [
        Problem(file, f"matrix.{', '.join(keys)}", "is an axis in only one of the folder and the experiment")
        for keys in {**old, **new}
        if (keys in old) != (keys in new)
    ]
    for keys in old.keys() & new.keys():
        rows = {canonical(row) for row in new[keys]}
        found += [
            Problem(file, f"matrix.{', '.join(keys)}", f"{shown(list(row))} is in the folder but not in the experiment")
            for row in old[keys]
            if canonical(row) not in rows
        ]
    return found


def _changed(file: str, key: str, before: Any, now: Any) -> Problem:
    was = "was not set in these results" if before is None else f"was {shown(before)} in these results"
    return Problem(file, key, f"{was}, {'is not set now' if now is None else f'is {shown(now)} now'}")
