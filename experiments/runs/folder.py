"""The result folder: whose it is, what is complete in it, and writing so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tafukt.experiments.errors import FolderError, Problem
from tafukt.experiments.results.stored import FILES, MANIFEST, RUN_SUMMARY, StoredResults, files_json

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
            message = f"holds files but no {MANIFEST}, so it is not a result folder; choose another with -o"
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
        if json.loads(files[RUN_SUMMARY])["status"] == "complete":
            files = {FILES: files_json(files), **files}
        with self._scratch(Path.mkdir) as ready:
            for name, data in files.items():
                _write_synced(ready / name, data)
            if target.exists() and not self.is_complete(run_id):
                self.discard(run_id)
            with contextlib.suppress(OSError):  # another process has put the same run there meanwhile
                os.replace(ready, target)
        if not (target / RUN_SUMMARY).is_file():
            raise OSError(f"{target} could not be put in place")

    def discard(self, run_id: str) -> None:
        """Take a run out of the folder, all at once."""
        with self._scratch(Path.mkdir) as away, contextlib.suppress(FileNotFoundError):
            os.replace(self.run_path(run_id), away / "discarded")

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
