"""Public traces by name: where their publishers keep them, and how one is fetched into the cache.

A download is read once, hashed as it passes, and put in its place only when it is whole and its SHA-256 is right. Where
the catalogue knows no hash, that of the first download is kept beside the trace, and later ones must have it (trust on
first use).
"""

import contextlib
import csv
import hashlib
import json
import os
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, cast

from pydantic import Field

from tafukt.problems import hint
from tafukt.strict import Strict
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60.0
SPARE = 1.5  # of the size that the catalogue names, before a download is taken for something else
PHILLY_STATUS = {"Pass": "done", "Failed": "failed", "Killed": "cancelled"}
OWN_COLUMNS = ("job_id", "submit", "start", "runtime_s", "gpus", "cluster", "status")


class PublicTrace(Strict):
    """A trace that its publisher offers for download."""

    title: str
    source: str
    licence: str
    url: str
    bytes: int = Field(ge=1, description="size of the download")
    sha256: str = Field("", description="of the download; empty: that of the first one is kept")
    sha256_from: str = ""
    member: str = Field("", description="the one file of the archive that is wanted")
    convert: Literal["", "philly"] = ""
    file: str = Field(description="its name in the cache")
    format: str
    kept: str = ""


@dataclass(frozen=True)
class Fetched:
    """A trace that is in the cache: the hash of the download, and whether it was known beforehand."""

    path: Path
    sha256: str
    was_known: bool
    notes: str = ""


@cache
def public_traces() -> dict[str, PublicTrace]:
    """The public traces by name."""
    return {
        name: PublicTrace.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        for name, path in bundled("public").items()
    }


def public_trace(name: str) -> PublicTrace:
    """The public trace of this name.

    Raises
    ------
    WorkloadError
        If there is none.
    """
    known = public_traces()
    if name not in known:
        raise WorkloadError(f"workload.trace: no public trace {name!r}; {hint(name, known)}")
    return known[name]


def path_of(name: str, folder: Path) -> Path:
    """Path of a trace once it has been fetched."""
    return folder / public_trace(name).file


def missing(name: str) -> str:
    """Message on a trace that has not been fetched."""
    trace = public_trace(name)
    return f"{name!r} is not here yet: `tafukt fetch {name}` downloads it ({size(trace.bytes)}; {trace.licence})"


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def fetch(name: str, folder: Path, url: str = "", progress: Callable[[int], None] | None = None) -> Fetched:
    """Download a trace into a folder; nothing is left there if it does not arrive whole.

    Parameters
    ----------
    name : str
    folder : Path
        Made if need be.
    url : str
        A mirror; the hash must be the same.
    progress : callable, optional
        Is told the bytes that have arrived.

    Raises
    ------
    WorkloadError
        If it cannot be reached, is cut off, or is not the file that is meant.
    """
    trace = public_trace(name)
    address = url or trace.url
    if not address.startswith(("http://", "https://")):
        raise WorkloadError(f"{name}: {address}: an address should begin with http:// or https://")
    record = folder / f"{trace.file}.json"
    expected = trace.sha256 or _recorded(record)
    folder.mkdir(parents=True, exist_ok=True)
    with _part(folder) as part:
        try:
            with contextlib.closing(_open(address)) as response:
                stream = _Hashed(response, int(trace.bytes * SPARE), progress)
                notes = _keep(trace, stream, part)
                stream.drain()
        except (OSError, HTTPException, tarfile.TarError) as error:
            reason = getattr(error, "reason", error)
            raise WorkloadError(
                f"{name}: {address}: could not be downloaded: {reason}; get the file some other way, and give it as "
                f'workload.file with format = "{trace.format}"'
            ) from None
        found = stream.sha256()
        if expected and found != expected:
            raise WorkloadError(
                f"{name}: {address}: is not the expected file: SHA-256 {found}, not {expected}; nothing was kept"
            )
        os.replace(part, folder / trace.file)
    about = {"name": name, "url": address, "sha256": found, "fetched": datetime.now(UTC).isoformat(timespec="seconds")}
    record.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Fetched(folder / trace.file, found, bool(expected), notes)


def _recorded(record: Path) -> str:
    """The hash of an earlier download."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _open(address: str) -> Any:
    request = urllib.request.Request(address, headers={"User-Agent": "tafukt"})
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """A file aside, which is gone afterwards unless it was put in its place."""
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _Hashed:
    """A response that is hashed as it is read; stops at a limit, and where it ends too soon."""

    def __init__(self, source: Any, limit: int, progress: Callable[[int], None] | None) -> None:
        self._source = source
        self._limit = limit
        self._progress = progress
        self._digest = hashlib.sha256()
        self._passed = 0
        length = source.headers.get("Content-Length", "")
        self._length = int(length) if length.isdigit() else None

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """Read so many bytes, and take them into the hash.

        Raises
        ------
        OSError
            If the file is larger than it may be, or ends before its announced length.
        """
        data = bytes(self._source.read(count))
        self._digest.update(data)
        self._passed += len(data)
        if self._passed > self._limit:
            raise OSError(f"it is larger than {size(self._limit)}, so it is not the expected file")
        if not data and self._length is not None and self._passed < self._length:
            raise OSError(f"the download stopped after {self._passed} of {self._length} bytes")
        if self._progress is not None:
            self._progress(self._passed)
        return data

    def drain(self) -> None:
        """Read to the end, so that the hash is that of all of it."""
        while self.read():
            pass

    def sha256(self) -> str:
        return self._digest.hexdigest()


def _keep(trace: PublicTrace, stream: _Hashed, part: Path) -> str:
    """Write what is wanted of a download; gives what is to be said of it."""
    if not trace.member:
        with part.open("wb") as out:
            while data := stream.read():
                out.write(data)
        return ""
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|gz") as archive:
        for item in archive:
            if item.isfile() and item.name.rpartition("/")[2] == trace.member:
                content = archive.extractfile(item)
                assert content is not None
                return _philly(content, part) if trace.convert == "philly" else _copied(content, part)
    raise OSError(f"the archive holds no {trace.member}")


def _copied(content: IO[bytes], part: Path) -> str:
    with part.open("wb") as out:
        while data := content.read(CHUNK_BYTES):
            out.write(data)
    return ""


def _philly(content: IO[bytes], part: Path) -> str:
    """Philly's job log as a table in the form of logs of one's own.

    The log is a list of jobs as the README of msr-fiddle/philly-traces describes it: `status`, `vc`, `jobid`,
    `submitted_time` and `attempts` with `start_time`, `end_time` and `detail`, whose entries list their `gpus`; a time
    that was not logged is None, and a job whose last attempt has no end was still running. A job's runtime is that of
    all its attempts, its GPUs are those of the last one; a job without an attempt that has begun and ended never ran,
    and is left out as one that was still running is.
    """
    try:
        entries = json.load(content)
    except ValueError:
        raise OSError("the job log is not JSON") from None
    left_out = 0
    with part.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(OWN_COLUMNS)
        for job in entries:
            row = _philly_row(job)
            left_out += row is None
            if row is not None:
                writer.writerow(row)
    return (
        f"{len(entries) - left_out:,} of {len(entries):,} jobs; the others have no attempt with both a start and an end"
    )


def _philly_row(job: dict[str, Any]) -> tuple[Any, ...] | None:
    spans = []
    gpus = 0
    attempts = job.get("attempts") or []
    if attempts and _moment(attempts[-1].get("start_time")) and not _moment(attempts[-1].get("end_time")):
        return None
    for attempt in attempts:
        begun, ended = _moment(attempt.get("start_time")), _moment(attempt.get("end_time"))
        if begun is not None and ended is not None and ended >= begun:
            spans.append((begun, ended))
            gpus = sum(len(node.get("gpus", [])) for node in attempt.get("detail", [])) or gpus
    submit = _moment(job.get("submitted_time"))
    if not spans or not gpus or submit is None:
        return None
    runtime = sum((ended - begun).total_seconds() for begun, ended in spans)
    status = PHILLY_STATUS.get(str(job.get("status")), "failed")
    return job.get("jobid", ""), submit.isoformat(), spans[0][0].isoformat(), runtime, gpus, job.get("vc", ""), status


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
