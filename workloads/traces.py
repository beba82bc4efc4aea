"""Reads job tables in CSV or Parquet by a column map, a TOML file that says which column is what.

Bundled maps: `catalogue/trace_*.toml` (philly, helios, pai, acme, own). SWF has its own reader, `swf`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workloads.errors import WorkloadError, nearest, sentences
from workloads.integrity import Integrity
from workloads.job import Ending
from workloads.unpack import MAX_UNPACKED_BYTES, opened

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_ROWS = 200_000
MAX_ROWS = 20_000_000
MAX_RUNTIME_S = 10 * 366 * 86_400.0
DAY_S = 86_400.0
UNIT_S = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S}
STATUS: tuple[Ending, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class TraceTable:
    """A trace as it was read, rows in the file's order.

    `submit_s` counts from midnight of the day of the first submission [s]; `units` are the GPUs or
    processors asked for; `estimate_s` is NaN where there is none; `status` indexes `STATUS`; `cluster` and
    `kind` index their names; `row` is the line number in the file. `epoch_day` is the first day, counted from
    1970-01-01, where the trace has dates.
    """

    row: Ints
    submit_s: Floats
    runtime_s: Floats
    units: Floats
    estimate_s: Floats
    status: NDArray[np.int8]
    cluster: Ints
    clusters: tuple[str, ...]
    kind: Ints
    kinds: tuple[str, ...]
    ids: tuple[str, ...] | None
    epoch_day: int | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def days(self) -> float:
        """From the first midnight to the last submission [days]."""
        return float(self.submit_s.max(initial=0.0)) / DAY_S


class ColumnModel(BaseModel):
    """One column of the file: its name, its unit, and whether the file may lack it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str
    unit: Literal["ms", "s", "min", "h", "d", "datetime", "count", "text"]
    optional: bool = False
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()


class ColumnMap(BaseModel):
    """A format: which column holds what. The runtime is a column of its own, or end minus start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
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
    folder = Path(str(resources.files("workloads"))) / "catalogue"
    return {path.stem.removeprefix("trace_"): path for path in sorted(folder.glob("trace_*.toml"))}


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
        raise WorkloadError(f"workload.format: no format {format_name!r}; {nearest(format_name, names)}")
    try:
        return ColumnMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a TOML file: {error}") from None
    except ValidationError as error:
        raise WorkloadError(sentences(error, path.name)) from None


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
    for frame, first_row in reader(path, mapping):
        report.read += len(frame)
        if report.read > MAX_ROWS:
            raise WorkloadError(f"{path}: more than {MAX_ROWS} rows; raise workloads.traces.MAX_ROWS if that is meant")
        parts.append(_parse(frame, first_row, mapping, report))
    if not report.read:
        raise WorkloadError(f"{path}: no row below the header")
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
        lines = [f"{path}: row 1: no column {m.column!r}; {nearest(m.column, header)}" for m in missing]
        raise WorkloadError("\n".join(lines))
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise WorkloadError(f"{path}: row 1: two columns are called {twice[0]!r}")
    return [m.column for m in mapping.columns.values() if m.column in header]


def _csv_chunks(path: Path, mapping: ColumnMap) -> Iterator[tuple[pd.DataFrame, int]]:
    import csv

    import pandas as pd

    with opened(path) as stream:
        first = stream.readline().decode("utf-8-sig", errors="replace").strip()
        header = [name.strip() for name in next(csv.reader([first]), [])]
        wanted = _check_header(path, header, mapping)
        row = 2
        try:
            chunks = pd.read_csv(
                stream, header=None, names=header, usecols=wanted, dtype=str, index_col=False, chunksize=CHUNK_ROWS,
                skip_blank_lines=False, encoding_errors="replace", on_bad_lines="error",
            )  # fmt: skip
            for chunk in chunks:
                yield chunk, row
                row += len(chunk)
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, csv.Error) as error:
            text = str(error).removeprefix("Error tokenizing data. C error: ").strip()
            raise WorkloadError(f"{path}: not a table, after row {row - 1} (header not counted): {text}") from None


def _parquet_chunks(path: Path, mapping: ColumnMap) -> Iterator[tuple[pd.DataFrame, int]]:
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
            row = 1
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=wanted):
                yield batch.to_pandas(), row
                row += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise WorkloadError(f"{path}: not a Parquet file: {error}") from None


def _parse(frame: pd.DataFrame, first_row: int, mapping: ColumnMap, report: Integrity) -> dict[str, Any]:
    """One chunk as numbers: NaN where a value is missing or wrong; wrong ones are reported."""
    import pandas as pd

    rows = np.arange(first_row, first_row + len(frame))
    blank = frame.isna().all(axis=1).to_numpy()
    report.drop("blank line", rows[blank])
    frame, rows = frame[~blank], rows[~blank]
    out: dict[str, Any] = {"row": rows}
    for role, model in mapping.columns.items():
        if model.column not in frame:
            continue
        column = frame[model.column]
        if model.unit == "text":
            out[role] = column.astype("object").where(column.notna(), "").astype(str).to_numpy(dtype=object)
            continue
        if model.unit == "datetime":
            parsed = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
            values = ((parsed - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
        else:
            values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            values = values * UNIT_S.get(model.unit, 1.0)
        wrong = ~np.isfinite(values)
        if wrong.any() and role in ("submit", "gpus", "runtime"):
            example = column.to_numpy()[int(np.argmax(wrong))]
            shown = "nothing there" if pd.isna(example) else repr(str(example)[:40])
            what = "a date" if model.unit == "datetime" else "a finite number"
            report.reject(f"column {model.column!r} needs {what}", rows[wrong], shown)
        out[role] = np.where(wrong, np.nan, values)
    if "runtime" not in out:
        out["runtime"] = out["end"] - out["start"]
        report.reject("start or end is missing", rows[np.isnan(out["runtime"])])
    out.pop("start", None)
    out.pop("end", None)
    if "status" in out:
        assert mapping.status is not None
        out["status"] = _statuses(out["status"], mapping.status, rows, report)
    return out


def _statuses(words: NDArray[Any], model: ColumnModel, rows: Ints, report: Integrity) -> NDArray[np.int8]:
    known = {word: code for code, name in enumerate(STATUS) for word in getattr(model, name)}
    codes = np.array([known.get(word, -1) for word in words.tolist()], dtype=np.int8)
    if (codes < 0).any():
        example = f"{words[int(np.argmax(codes < 0))]!r}; {nearest(str(words[int(np.argmax(codes < 0))]), known)}"
        report.reject(f"column {model.column!r} holds an unknown status", rows[codes < 0], example)
    return codes


def table_of(data: dict[str, Any], report: Integrity, zero_gpus: str, dated: bool = False) -> TraceTable:
    """Check parsed columns, and put what makes sense into a table.

    `data` holds `row submit gpus runtime` and, where the file has them, `estimate status cluster kind id`.
    """
    row = data["row"]
    keep = np.isfinite(data["submit"]) & np.isfinite(data["gpus"]) & np.isfinite(data["runtime"])
    if "status" in data:
        keep &= data["status"] >= 0
    checks = (
        ("negative submission time", data["submit"] < 0),
        ("negative runtime", data["runtime"] < 0),
        ("runtime of more than ten years", data["runtime"] > MAX_RUNTIME_S),
        ("negative GPUs", data["gpus"] < 0),
        ("more than a million GPUs", data["gpus"] > 1e6),
    )
    for reason, wrong in checks:
        report.reject(reason, row[wrong & keep])
        keep = keep & ~wrong
    without = (data["gpus"] == 0) & keep
    (report.drop if zero_gpus == "drop" else report.reject)("no GPUs", row[without])
    keep = keep & ~without
    if "id" in data:
        _, first = np.unique(data["id"].astype(str), return_index=True)
        again = np.ones(len(row), dtype=bool)
        again[first] = False
        again &= keep
        if again.any():
            report.reject("duplicate id", row[again], repr(str(data["id"][int(np.argmax(again))])))
        keep = keep & ~again
    instant = (data["runtime"] == 0) & keep
    report.repair("runtime of 0, below the log's resolution, set to 1 s", row[instant])
    return _selected(data, keep, dated)


def _selected(data: dict[str, Any], keep: NDArray[np.bool_], dated: bool) -> TraceTable:
    n = int(keep.sum())
    submit = data["submit"][keep]
    midnight = DAY_S * np.floor(submit.min() / DAY_S) if n else 0.0
    names: dict[str, tuple[str, ...]] = {}
    codes: dict[str, Ints] = {}
    for role in ("cluster", "kind"):
        if role in data:
            unique, inverse = np.unique(data[role][keep].astype(str), return_inverse=True)
            names[role], codes[role] = tuple(str(name) for name in unique), inverse.astype(np.int64)
        else:
            names[role], codes[role] = ("",), np.zeros(n, dtype=np.int64)
    return TraceTable(
        row=data["row"][keep],
        submit_s=submit - midnight,
        runtime_s=np.where(data["runtime"][keep] == 0, 1.0, data["runtime"][keep]),
        units=data["gpus"][keep],
        estimate_s=data["estimate"][keep] if "estimate" in data else np.full(n, np.nan),
        status=data["status"][keep].astype(np.int8) if "status" in data else np.zeros(n, dtype=np.int8),
        cluster=codes["cluster"],
        clusters=names["cluster"],
        kind=codes["kind"],
        kinds=names["kind"],
        ids=tuple(str(name) for name in data["id"][keep]) if "id" in data else None,
        epoch_day=int(midnight // DAY_S) if dated else None,
    )


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
        first = stream.readline().decode("utf-8-sig", errors="replace").strip()
    return [name.strip().strip('"') for name in first.split(",")]
