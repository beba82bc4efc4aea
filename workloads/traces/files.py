"""A trace's bytes, gzipped or plain, never more of them than a stated amount: no file can fill the memory."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from tafukt.workloads.errors import WorkloadError

# As many as a workload may have jobs: five million objects take some 4 GB.
MAX_ROWS = 5_000_000
# The largest full GPU trace in use unpacks to some 0.5 GB; raise this for larger ones.
MAX_UNPACKED_BYTES = 1 << 30
# No line of a trace is longer; a bomb of one endless line is stopped here.
MAX_LINE_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
ROWS_FOR_A_GUESS = 100_000
REMEDY = "cut out the months to be replayed"


class _Limited(io.RawIOBase):
    """A readable stream that counts what passes and stops at the limits, naming the file."""

    def __init__(self, source: BinaryIO, path: Path) -> None:
        self._source = source
        self._path = path
        self._passed = 0
        self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the source; raises `WorkloadError` past a limit, or where the file is damaged."""
        view = memoryview(buffer).cast("B")
        try:
            data = self._source.read(min(len(view), MAX_LINE_BYTES // 4))
        except EOFError:
            raise WorkloadError(
                f"{self._path}: the gzip file is cut off, after {self._passed} bytes of its contents"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise WorkloadError(f"{self._path}: the gzip file is damaged: {error}") from None
        self._passed += len(data)
        if self._passed > MAX_UNPACKED_BYTES:
            raise WorkloadError(
                f"{self._path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes; "
                "if that is right, unpack only the part you need"
            )
        newline = data.rfind(b"\n")
        self._line = self._line + len(data) if newline < 0 else len(data) - newline - 1
        if self._line > MAX_LINE_BYTES:
            raise WorkloadError(f"{self._path}: a line is longer than {MAX_LINE_BYTES} bytes; this is not a trace")
        view[: len(data)] = data
        return len(data)


class TraceStream(io.BufferedReader):
    """The lines of a trace, and how much of the file they have taken so far."""

    def __init__(self, source: BinaryIO, raw: BinaryIO, path: Path) -> None:
        super().__init__(_Limited(source, path), 1 << 16)
        self._file = raw
        self._path = path
        self._bytes = max(os.fstat(raw.fileno()).st_size, 1)

    def check_rows(self, read: int) -> None:
        """Refuse a file that has too many rows, as soon as that can be told from the part that was read.

        Raises
        ------
        WorkloadError
            If more than `MAX_ROWS` rows were read, or by this part of the file far more are to come.
        """
        to_come = read * self._bytes / max(self._file.tell(), 1)
        if read >= ROWS_FOR_A_GUESS and to_come > 1.5 * MAX_ROWS:
            raise WorkloadError(f"{self._path}: about {to_come:,.0f} rows; at most {MAX_ROWS:,} are read; {REMEDY}")
        if read > MAX_ROWS:
            raise WorkloadError(f"{self._path}: more than {MAX_ROWS:,} rows; {REMEDY}")


@contextmanager
def opened(path: Path) -> Iterator[TraceStream]:
    """A trace's bytes, unpacked on the fly.

    Raises
    ------
    WorkloadError
        If the file is missing, a folder, empty, damaged, cut off, or unpacks to too much.
    """
    if not path.exists():
        near = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        hint = f"; that folder holds: {', '.join(near[:8])}" if near else f"; there is no folder {path.parent}"
        raise WorkloadError(f"workload.file: no file {path}{hint}")
    if not path.is_file():
        raise WorkloadError(f"workload.file: {path} is not a file")
    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            if not magic:
                raise WorkloadError(f"{path}: the file is empty")
            if magic in UTF_16:
                raise WorkloadError(f"{path}: is in UTF-16; save it as UTF-8")
            raw.seek(0)
            source = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if magic == GZIP_MAGIC else cast(BinaryIO, raw)
            yield TraceStream(source, cast(BinaryIO, raw), path)
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error}") from None
