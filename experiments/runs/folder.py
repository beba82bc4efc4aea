"""The result folder: whose it is, what is complete in it, and writing so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import Loaded, axes_of
from tafukt.experiments.config.policies import PolicyRef
from tafukt.experiments.errors import FolderError, InputError, Problem, shown
from tafukt.experiments.hashing import bytes_digest, canonical, file_digest, source_digest
from tafukt.experiments.results.stored import EXPERIMENT, MANIFEST, SUMMARY, StoredResults
from tafukt.experiments.results.summary import Row, header, rows_of
from tafukt.experiments.results.tables import csv_bytes, json_bytes
from tafukt.experiments.runs.matrix import Run, input_files

SCRATCH = ".tmp"
STALE_S = 86_400.0


class Folder(StoredResults):
    """A result folder that is written, too; every write is one rename, so a reader sees the old or the new, whole."""

    def is_new(self) -> bool:
        """Whether there is nothing in it yet, or nothing but what a stopped start left behind.

        Raises
        ------
        FolderError
            If the path is no folder, or holds something that is not Tafukt's.
        """
        if not self.path.exists():
            return True
        if not self.path.is_dir():
            raise FolderError(Problem(str(self.path), "", "is a file, not a folder"))
        if (self.path / MANIFEST).is_file():
            return False
        if any(entry.name != SCRATCH for entry in self.path.iterdir()):
            message = f"holds files but no {MANIFEST}, so it is no result folder; choose another with -o"
            raise FolderError(Problem(str(self.path), "", message))
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write one file; where it holds the same bytes already, nothing happens."""
        target = self.path / name
        if target.is_file() and target.read_bytes() == data:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._scratch(Path.touch) as ready:
            ready.write_bytes(data)
            os.replace(ready, target)

    def write_run(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Put a whole run in place; a run that is complete already stays as it is."""
        target = self.run_path(run_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._scratch(Path.mkdir) as ready:
            for name, data in files.items():
                _write_synced(ready / name, data)
            if target.exists() and not self.is_complete(run_id):
                with self._scratch(Path.mkdir) as away:
                    os.replace(target, away / "failed")
            with contextlib.suppress(OSError):  # another process has put the same run there meanwhile
                os.replace(ready, target)
        if not (target / "summary.json").is_file():
            raise OSError(f"{target} could not be put in place")

    @contextlib.contextmanager
    def _scratch(self, make: Callable[[Path], None]) -> Iterator[Path]:
        """A new file or folder for what is not ready yet, on the same file system; its name says whose it is."""
        root = self.path / SCRATCH
        place = None
        while place is None:
            try:
                root.mkdir(parents=True, exist_ok=True)
                make(new := root / f"{_host()}-{os.getpid()}-{os.urandom(6).hex()}")
                place = new
            except (FileNotFoundError, FileExistsError):  # another process has just swept the empty root away
                if root.is_file():
                    raise
        try:
            yield place
        finally:
            _remove(place)

    def sweep(self) -> None:
        """Remove what processes that are no more left unfinished, and the place for it where that is all."""
        root = self.path / SCRATCH
        for entry in root.iterdir() if root.is_dir() else ():
            host, _, rest = entry.name.rpartition("-")[0].rpartition("-")
            ours = host == _host() and rest.isdigit()
            with contextlib.suppress(OSError):
                gone = not _alive(int(rest)) if ours else time.time() - entry.stat().st_mtime > STALE_S
                if gone:
                    _remove(entry)
        with contextlib.suppress(OSError):
            root.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes, where the system has such locks."""
        try:
            import fcntl
        except ImportError:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; one that has been moved away is no mistake."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    """Write a file through to the disk: a run's tables must be there before its summary says so."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname()) or "host"


def _alive(pid: int) -> bool:
    if os.name == "nt":  # signal 0 is no mere question there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# --- What a result folder says of itself, and whether it may take the runs of an experiment


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
        "baseline": loaded.baseline.label,
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


def _document(loaded: Loaded) -> toml.Document:
    """The resolved experiment as the folder keeps it: one's own policies lie beside it."""
    document = loaded.document()
    kept = {ref.absolute: f"{_kept(ref)}:{ref.absolute.rpartition(':')[2]}" for ref in loaded.policies if ref.source}
    document["policies"] = [kept.get(n, n) if isinstance(n, str) else n for n in document["policies"]]
    document["baseline"] = kept.get(document["baseline"], document["baseline"])
    return document


def _text(loaded: Loaded) -> str:
    ours = "# The experiment with every default written out; `tafukt run` on this file gives the same results.\n"
    return ours + toml.text(_document(loaded))


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


def rebuild(folder: Folder, manifest_now: Callable[[], Mapping[str, Any]]) -> list[Row]:
    """Write summary.csv, each run's comparisons and the manifest anew; returns the rows.

    `manifest_now` is called once the folder is locked, so that of several processes the last one to write
    knows of all runs.
    """
    with folder.locked():
        manifest = manifest_now()
        rows = rows_of(folder, manifest)
        for row in rows:
            if row["status"] == "complete":
                folder.write(f"runs/{row['run']}/summary.json", json_bytes(row))
        columns = header(manifest)
        folder.write(SUMMARY, csv_bytes(columns, [[row.get(name) for name in columns] for row in rows]))
        folder.write(MANIFEST, json_bytes(manifest))
    return rows


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
    if manifest.get("baseline") != loaded.baseline.label:
        found.append(_changed(file, "baseline", manifest.get("baseline"), loaded.baseline.label))
    if (folder.path / EXPERIMENT).is_file():
        found += _differing_keys(file, toml.read(folder.path / EXPERIMENT), loaded)
    return found


def _differing_keys(file: str, before: toml.Document, loaded: Loaded) -> list[Problem]:
    now = _document(loaded)
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
