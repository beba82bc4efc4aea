"""Reads job tables in CSV or Parquet by a column map, a TOML file that says which column is what.

Bundled maps: `catalogue/traces/*.toml` (philly, helios, pai, acme, own). SWF has its own reader, `swf`.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import tomllib
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.table import STATUS, Integrity, TraceTable, table_of
from tafukt.workloads.units import DAY_S, Floats, Ints

from tafukt.problems import hint
from tafukt.strict import Strict, problems_of

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 200_000
MAX_ROWS = 20_000_000
UNIT_S = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S}


class ColumnModel(Strict):
    """One column of the file: its name, its unit, and whether the file may lack it."""

    column: str
    unit: Literal["ms", "s", "min", "h", "d", "datetime", "count", "text"]
    optional: bool = False
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()


class ColumnMap(Strict):
    """A format: which column holds what. The runtime is a column of its own, or end minus start."""

    title: str = ""
    source: str = ""
    terms: str = ""
    zero_gpus: Literal["drop", "refuse"] = Field("refuse", description="jobs without GPUs: CPU jobs, or a mistake")
    submit: ColumnModel
    gpus: ColumnModel
    runtime: ColumnModel | None = None
    start: ColumnModel | None = None
    end: ColumnModel | None = None
    id: ColumnModel | None = None
    cluster: ColumnModel | None = None
    kind: ColumnModel | None = None
    estimate: ColumnModel | None = None
    status: ColumnModel | None = None

    @model_validator(mode="after")
    def _has_runtime(self) -> ColumnMap:
        if self.runtime is None and (self.start is None or self.end is None):
            raise ValueError("needs runtime, or start and end")
        return self

    @property
    def columns(self) -> dict[str, ColumnModel]:
        """The columns by their role."""
        names = ("submit", "gpus", "runtime", "start", "end", "id", "cluster", "kind", "estimate", "status")
        return {name: model for name in names if (model := getattr(self, name)) is not None}


def catalogue() -> dict[str, Path]:
    """The bundled column maps, by format name."""
    folder = Path(str(resources.files("tafukt.workloads"))) / "catalogue" / "traces"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def column_map(format_name: str, folder: Path) -> ColumnMap:
    """The column map of a format: a bundled name, or a path to a TOML file.

    Raises
    ------
    WorkloadError
        If there is no such format, or its file is wrong.
    """
    known = catalogue()
    path = folder / format_name if format_name.endswith(".toml") else known.get(format_name)
    if path is None or not path.is_file():
        names = [*known, "swf"]
        raise WorkloadError(f"workload.format: no format {format_name!r}; {hint(format_name, names)}")
    try:
        return ColumnMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a TOML file: {error}") from None
    except ValidationError as error:
        raise WorkloadError(problems_of(error, ColumnMap, path.name)) from None


def read_table(path: Path, mapping: ColumnMap) -> tuple[TraceTable, Integrity]:
    """Read a CSV (gzipped or not) or Parquet file by a column map.

    Rows that make no sense are left out of the table and stand in the report as bad: `Integrity.settle` says
    whether that is an error.

    Raises
    ------
    WorkloadError
        If the file cannot be read, or lacks a column.
    """
    report = Integrity(path.name)
    reader = _parquet_chunks if path.suffix == ".parquet" else _csv_chunks
    parts = []
    for frame, rows in reader(path, mapping, report):
        parts.append(_parse(frame, rows, mapping, report))
    if not report.read:
        raise WorkloadError(f"{path}: no row below the header")
    if not parts:
        report.settle("refuse")
        raise WorkloadError(f"{path}: nothing but blank lines below the header")
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return table_of(merged, report, mapping.zero_gpus, mapping.submit.unit == "datetime"), report


def _check_header(path: Path, header: list[str], mapping: ColumnMap) -> list[str]:
    """The columns to read.

    Raises
    ------
    WorkloadError
        Naming every column that is missing, with the nearest that is there.
    """
    missing = [m for m in mapping.columns.values() if m.column not in header and not m.optional]
    if missing:
        lines = [f"{path}: row 1: no column {m.column!r}; {hint(m.column, header)}" for m in missing]
        raise WorkloadError(lines)
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise WorkloadError(f"{path}: row 1: two columns are called {twice[0]!r}")
    return [m.column for m in mapping.columns.values() if m.column in header]


def _csv_chunks(path: Path, mapping: ColumnMap, report: Integrity) -> Iterator[tuple[pd.DataFrame, Ints]]:
    """Rows as text, with their line numbers. A record is one line; one of another shape is reported, not read."""
    import pandas as pd

    with opened(path) as stream:
        header = _fields(stream.readline().decode("utf-8-sig", errors="replace"))
        wanted = _check_header(path, header, mapping)
        first = 2
        while lines := list(itertools.islice(stream, CHUNK_ROWS)):
            rows = np.arange(first, first + len(lines))
            first += len(lines)
            _count(report, len(lines), path)
            lines = [line.rstrip(b"\r\n") for line in lines]
            blank = np.array([not line.strip() for line in lines])
            report.drop("blank line", rows[blank])
            commas = len(header) - 1
            whole = np.array([_is_whole(line, commas) for line in lines])
            report.reject(f"not the {len(header)} fields of the header", rows[~whole & ~blank])
            good = whole & ~blank
            if not good.any():
                continue
            data = b"\n".join(line for line, is_good in zip(lines, good.tolist(), strict=True) if is_good)
            try:
                frame = pd.read_csv(
                    io.BytesIO(data), header=None, names=header, usecols=wanted, dtype=str,
                    lineterminator="\n", skip_blank_lines=False, encoding_errors="replace",
                )  # fmt: skip
            except pd.errors.ParserError as error:
                raise WorkloadError(f"{path}: rows {rows[0]} to {rows[-1]}: not a table: {error}") from None
            if len(frame) != good.sum():
                raise WorkloadError(f"{path}: rows {rows[0]} to {rows[-1]}: quotes that span lines cannot be read")
            yield frame, rows[good]


def _count(report: Integrity, rows: int, path: Path) -> None:
    report.read += rows
    if report.read > MAX_ROWS:
        raise WorkloadError(f"{path}: more than {MAX_ROWS} rows; raise workloads.traces.MAX_ROWS if that is meant")


def _fields(line: str) -> list[str]:
    """One line of a CSV file, split, quotes off; nothing if that cannot be done."""
    try:
        return [name.strip() for name in next(csv.reader([line.strip()]), [])]
    except csv.Error:
        return []


def _is_whole(line: bytes, commas: int) -> bool:
    """Whether a line has the right number of fields, and every quote its partner."""
    if b'"' not in line:
        return line.count(b",") == commas
    return line.count(b'"') % 2 == 0 and len(_fields(line.decode("utf-8", errors="replace"))) == commas + 1


def _parquet_chunks(path: Path, mapping: ColumnMap, report: Integrity) -> Iterator[tuple[pd.DataFrame, Ints]]:
    import pyarrow
    import pyarrow.parquet as pq

    with opened(path):
        pass
    try:
        with pq.ParquetFile(path) as file:
            wanted = _check_header(path, list(file.schema_arrow.names), mapping)
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > MAX_UNPACKED_BYTES:
                raise WorkloadError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=wanted):
                first = report.read + 1
                _count(report, batch.num_rows, path)
                yield batch.to_pandas(), np.arange(first, first + batch.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise WorkloadError(f"{path}: not a Parquet file: {error}") from None


def _parse(frame: pd.DataFrame, rows: Ints, mapping: ColumnMap, report: Integrity) -> dict[str, Any]:
    """The rows of a chunk that make sense cell by cell, as numbers by role; every other one is reported once."""
    fine = np.ones(len(rows), dtype=bool)

    def reject(reason: str, wrong: NDArray[np.bool_], column: pd.Series[Any] | None = None, hint: str = "") -> None:
        first_time = wrong & fine
        if first_time.any():
            example = "" if column is None else _shown(column.iloc[int(np.argmax(first_time))]) + hint
            report.reject(reason, rows[first_time], example)
            fine[first_time] = False

    out: dict[str, Any] = {"row": rows}
    for role, model in mapping.columns.items():
        if model.column not in frame:
            continue
        column = frame[model.column]
        if role == "status":
            known = {word: code for code, name in enumerate(STATUS) for word in getattr(model, name)}
            codes = np.array([known.get(word, -1) for word in _text(column).tolist()], dtype=np.int8)
            reject(
                f"column {model.column!r} holds an unknown status", codes < 0, column, f"; known: {', '.join(known)}"
            )
            out[role] = codes
        elif model.unit == "text":
            out[role] = _text(column)
        else:
            out[role] = _numbers(column, model.unit)
            if role in ("submit", "gpus", "runtime"):
                what = "a date" if model.unit == "datetime" else "a finite number"
                reject(f"column {model.column!r} needs {what}", np.isnan(out[role]), column)
    if "runtime" not in out:
        out["runtime"] = out["end"] - out["start"]
        reject("start or end is missing", np.isnan(out["runtime"]))
    return {role: values[fine] for role, values in out.items() if role not in ("start", "end")}


def _shown(value: object) -> str:
    """A cell as an error message quotes it."""
    return "nothing there" if value is None or value != value else repr(str(value)[:40])


def _text(column: pd.Series[Any]) -> NDArray[Any]:
    return column.astype("object").where(column.notna(), "").astype(str).to_numpy(dtype=object)


def _numbers(column: pd.Series[Any], unit: str) -> Floats:
    """A column in seconds or as counts; NaN where a cell is missing, wrong or infinite."""
    import pandas as pd

    if unit == "datetime":
        parsed = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
        values = ((parsed - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        values = values * UNIT_S.get(unit, 1.0)
    return np.where(np.isfinite(values), values, np.nan)


def sniff(path: Path) -> str:
    """The bundled format whose columns a file has.

    Raises
    ------
    WorkloadError
        If none fits.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".swf"):
        return "swf"
    header = _header(path)
    fits = {}
    for format_name in catalogue():
        mapping = column_map(format_name, path.parent)
        columns = mapping.columns.values()
        if all(m.column in header or m.optional for m in columns):
            fits[format_name] = sum(m.column in header for m in columns)
    if not fits:
        known = ", ".join(sorted(catalogue()))
        raise WorkloadError(f"{path}: its columns ({', '.join(header[:12])}) fit no bundled format ({known}, swf)")
    return max(sorted(fits), key=lambda name: fits[name])


def _header(path: Path) -> list[str]:
    stream: BinaryIO
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)
        except (pyarrow.ArrowException, OSError) as error:
            raise WorkloadError(f"{path}: not a Parquet file: {error}") from None
    with opened(path) as stream:
        return _fields(stream.readline().decode("utf-8-sig", errors="replace"))


# --- Reads the Standard Workload Format of the Parallel Workloads Archive
# Chapin et al. 1999, doi 10.1007/3-540-47954-6_4: comment lines start with a semicolon; 18 fields a line, -1 where
# unknown. The requested processors count (the allocated ones where none were requested), the requested
# time is the estimate, the queue is the virtual cluster.


FIELDS = 18
# Fields that are read, by their number in the format, from 1.
JOB, SUBMIT, WAIT, RUNTIME, ALLOCATED, REQUESTED, REQUESTED_TIME, STATUS_FIELD, GROUP, QUEUE = (
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    11,
    13,
    15,
)
USED = (JOB, SUBMIT, RUNTIME, ALLOCATED, REQUESTED, REQUESTED_TIME, STATUS_FIELD, GROUP, QUEUE)
CANCELLED, FAILED, PARTIAL = 5, 0, (2, 3, 4)


def read_swf(path: Path) -> tuple[TraceTable, Integrity]:
    """Read an SWF file, gzipped or not (see `workloads.traces.read_table`).

    Raises
    ------
    WorkloadError
        If the file cannot be read or holds no job.
    """
    report = Integrity(path.name)
    header: dict[str, str] = {}
    rows, values = array("q"), array("d")
    short, wrong = array("q"), array("q")
    with opened(path) as stream:
        for number, raw in enumerate(stream, 1):
            if raw.startswith(b";"):
                key, colon, text = raw[1:].decode("utf-8", errors="replace").partition(":")
                if colon and len(header) < 64:
                    header.setdefault(key.strip(), text.strip()[:200])
                continue
            parts = raw.split()
            if not parts:
                continue
            report.read += 1
            if report.read > MAX_ROWS:
                raise WorkloadError(f"{path}: more than {MAX_ROWS} rows")
            if len(parts) != FIELDS:
                short.append(number)
                continue
            try:
                values.extend([float(parts[field - 1]) for field in USED])
            except ValueError:
                wrong.append(number)
                del values[len(rows) * len(USED) :]
                continue
            rows.append(number)
    report.reject(f"not {FIELDS} fields", np.array(short, dtype=np.int64))
    report.reject("a field is not a number", np.array(wrong, dtype=np.int64))
    if not report.read:
        raise WorkloadError(f"{path}: no job in it")
    report.remarks["header"] = header
    columns = np.array(values).reshape(-1, len(USED)).T
    row = np.array(rows, dtype=np.int64)
    finite = np.isfinite(columns).all(axis=0)
    report.reject("a field is not a finite number", row[~finite])
    return _table(row[finite], dict(zip(USED, columns[:, finite], strict=True)), report), report


def _table(row: Any, field: dict[int, Any], report: Integrity) -> TraceTable:
    """Give the fields their meaning."""
    status = field[STATUS_FIELD]
    never = (field[RUNTIME] <= 0) & (status == CANCELLED)
    report.drop("cancelled before it started", row[never])
    partial = np.isin(status, PARTIAL) & ~never
    report.drop("partial execution, counted in its job's summary line", row[partial])
    unknown = (field[RUNTIME] == -1) & ~never & ~partial
    report.reject("runtime unknown (-1)", row[unknown])
    keep = ~(never | partial | unknown)
    requested = field[REQUESTED]
    processors = np.where(requested > 0, requested, field[ALLOCATED])
    report.repair("no processors requested: those allocated taken", row[keep & (requested <= 0) & (processors > 0)])
    nobody = keep & (processors < 0)
    report.reject("processors unknown (-1)", row[nobody])
    keep &= ~nobody
    queue = field[QUEUE].astype(np.int64)
    data = {
        "row": row,
        "submit": field[SUBMIT],
        "gpus": processors,
        "runtime": field[RUNTIME],
        "estimate": np.where(field[REQUESTED_TIME] > 0, field[REQUESTED_TIME], np.nan),
        "status": np.where(status == FAILED, 1, np.where(status == CANCELLED, 2, 0)).astype(np.int8),
        "cluster": np.array([f"queue {n}" if n >= 0 else "" for n in queue.tolist()], dtype=object),
        "id": np.array([str(int(n)) if n.is_integer() else str(n) for n in field[JOB].tolist()], dtype=object),
    }
    return table_of({name: values[keep] for name, values in data.items()}, report, "refuse")


# --- Opens a trace, gzipped or plain, and never unpacks more than a stated amount: no file can fill the memory


# The largest full GPU trace in use unpacks to some 0.5 GB; raise this for larger ones.
MAX_UNPACKED_BYTES = 1 << 30
# No line of a trace is longer; a bomb of one endless line is stopped here.
MAX_LINE_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


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
                "if that is meant, raise workloads.unpack.MAX_UNPACKED_BYTES"
            )
        newline = data.rfind(b"\n")
        self._line = self._line + len(data) if newline < 0 else len(data) - newline - 1
        if self._line > MAX_LINE_BYTES:
            raise WorkloadError(f"{self._path}: a line is longer than {MAX_LINE_BYTES} bytes, so this is no trace")
        view[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
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
            raw.seek(0)
            source = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if magic == GZIP_MAGIC else cast(BinaryIO, raw)
            yield io.BufferedReader(_Limited(source, path), 1 << 16)
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error}") from None
