"""Reads job tables in CSV or Parquet by a column map."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tafukt.problems import hint
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import TIERS
from tafukt.workloads.traces.cells import LogClock, numbers, text_of
from tafukt.workloads.traces.column_map import ColumnMap, ColumnModel, status_code
from tafukt.workloads.traces.files import MAX_ROWS, MAX_UNPACKED_BYTES, TraceStream, opened
from tafukt.workloads.traces.table import UNFINISHED, Integrity, TraceTable, gpu_hours, table_of
from tafukt.workloads.units import Ints

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 200_000
SEPARATORS = (",", ";", "|", "\t")
# A header is looked for in so many lines: above it stand titles, notes, units.
HEADER_LINES = 40
# What the fields of a line are divided by once its blanks have been taken as separators.
UNIT_SEPARATOR = "\x1f"
NEEDED = ("submit", "gpus", "runtime")
TEXTS = ("id", "cluster", "kind", "tier", "home", "dataset", "place")


@dataclass(frozen=True)
class Layout:
    """Layout of a CSV file: the line of its header, the separator, and the names of the fields.

    `spans` are the places of the fields in a line, where they have fixed ones; `quoted`: whether quotes mean anything.
    """

    line: int
    separator: str
    header: tuple[str, ...]
    spans: tuple[tuple[int, int | None], ...] = ()
    quoted: bool = True

    def divided(self, line: bytes) -> bytes:
        """A line in which one character divides the fields."""
        if self.separator != UNIT_SEPARATOR or not line.strip():
            return line
        fields = [line[a:b].strip() for a, b in self.spans] if self.spans else line.split()
        return UNIT_SEPARATOR.encode().join(fields)


def read_table(path: Path, mapping: ColumnMap, zone: str = "") -> tuple[TraceTable, Integrity]:
    """Read a CSV (gzipped or not) or Parquet file by a column map.

    Rows that make no sense are left out of the table and stand in the report as bad: `Integrity.settle` says
    whether that is an error.

    Parameters
    ----------
    path : Path
    mapping : ColumnMap
    zone : str
        Time zone of times that are written without one; empty where it is not known.

    Raises
    ------
    WorkloadError
        If the file cannot be read, lacks a column, or its times cannot be in the unit that the map says.
    """
    columns = {role: (model.column, str(model.unit)) for role, model in mapping.columns.items()}
    report = Integrity(path.name, columns=columns)
    clock = LogClock(zone)
    parts = []
    if path.suffix == ".parquet":
        for frame, rows in _parquet_chunks(path, mapping, report):
            parts.append(_parse(frame, rows, mapping, report, clock, decimal_comma=mapping.decimal == ","))
    else:
        with opened(path) as stream:
            layout, lines = _layout(path, mapping, stream)
            comma = mapping.decimal == "," or (mapping.decimal == "auto" and layout.separator != ",")
            wanted = _check_header(path, list(layout.header), mapping, layout.line)
            for frame, rows in chunks(path, wanted, report, layout, lines, stream):
                parts.append(_parse(frame, rows, mapping, report, clock, decimal_comma=comma))
    if not report.read:
        raise WorkloadError(f"{path}: there are no rows below the header")
    if not parts:
        report.settle("refuse")
        raise WorkloadError(f"{path}: there are only blank lines below the header")
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return table_of(merged, report, mapping.zero_gpus, clock.clock()), report


def _layout(path: Path, mapping: ColumnMap, stream: TraceStream) -> tuple[Layout, Iterator[bytes]]:
    """The header, the first line that has the columns that the map needs, and the lines that follow it.

    Raises
    ------
    WorkloadError
        Naming every column that is missing, with the nearest that is there.
    """
    head = list(itertools.islice(stream, HEADER_LINES))
    layouts = [
        Layout(number, separator, tuple(fields_of(_decoded(line), separator)))
        for number, line in enumerate(head, 1)
        if line.strip()
        for separator in _separators(mapping)
    ]
    needed = {model.column for model in mapping.columns.values() if not model.optional}
    fits = [layout for layout in layouts if needed <= set(layout.header)]
    if fits:
        return fits[0], itertools.chain(head[fits[0].line :], stream)
    first = [layout for layout in layouts if layout.line == layouts[0].line] if layouts else [Layout(1, ",", ())]
    layout = max(first, key=lambda one: (len(one.header), one.separator == ","))
    _check_header(path, list(layout.header), mapping, layout.line)
    return layout, itertools.chain(head[layout.line :], stream)


def _separators(mapping: ColumnMap) -> tuple[str, ...]:
    if mapping.separator == "auto":
        return SEPARATORS
    return (UNIT_SEPARATOR if mapping.separator == "spaces" else mapping.separator,)


def _decoded(line: bytes) -> str:
    return line.decode("utf-8-sig", errors="replace")


class MissingColumns(WorkloadError):
    """A file without the columns that its format needs."""


def _check_header(path: Path, header: list[str], mapping: ColumnMap, line: int = 1) -> list[str]:
    """The columns to read.

    Raises
    ------
    WorkloadError
        Naming every column that is missing, with the nearest that is there, or that is there twice.
    """
    wanted = [m.column for m in mapping.columns.values() if m.column in header]
    missing = [m for m in mapping.columns.values() if m.column not in header and not m.optional]
    if missing:
        lines = [f"{path}: row {line}: no column {m.column!r}; {hint(m.column, header)}" for m in missing]
        raise MissingColumns("\n".join(lines))
    twice = sorted({name for name in wanted if header.count(name) > 1})
    if twice:
        raise WorkloadError(f"{path}: row {line}: two columns are called {twice[0]!r}")
    return list(dict.fromkeys(wanted))


def chunks(
    path: Path, wanted: list[str], report: Integrity, layout: Layout, stream: Iterator[bytes], source: TraceStream
) -> Iterator[tuple[pd.DataFrame, Ints]]:
    """Rows as text, with their line numbers. A record is one line; one of another shape is reported, not read."""
    first = layout.line + 1
    while lines := list(itertools.islice(stream, CHUNK_ROWS)):
        rows = np.arange(first, first + len(lines))
        first += len(lines)
        report.read += len(lines)
        source.check_rows(report.read)
        lines = [layout.divided(line.rstrip(b"\r\n")) for line in lines]
        blank = np.array([not line.strip() for line in lines])
        report.drop("blank line", rows[blank])
        whole = np.array([_is_whole(line, layout) for line in lines])
        report.reject(f"not the {len(layout.header)} fields of the header", rows[~whole & ~blank])
        good = whole & ~blank
        if not good.any():
            continue
        data = b"\n".join(line for line, is_good in zip(lines, good.tolist(), strict=True) if is_good)
        frame = _frame(data, layout, wanted, f"{path}: rows {rows[0]} to {rows[-1]}", report)
        if len(frame) != good.sum():
            raise WorkloadError(f"{path}: rows {rows[0]} to {rows[-1]}: quoted fields must not span lines")
        yield frame, rows[good]


def _frame(data: bytes, layout: Layout, wanted: list[str], where: str, report: Integrity) -> pd.DataFrame:
    """Lines as a table of text; bytes that are no UTF-8 are taken as Latin-1, and that is said."""
    import pandas as pd

    encoding = "utf-8"
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"
        report.remarks["encoding"] = "not UTF-8: read as Latin-1"
    positions = sorted(layout.header.index(name) for name in wanted)
    try:
        frame = pd.read_csv(
            io.BytesIO(data), header=None, names=range(len(layout.header)), usecols=positions, dtype=str,
            sep=layout.separator, lineterminator="\n", skip_blank_lines=False, encoding=encoding,
            quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE, keep_default_na=False, na_values=[""],
        )  # fmt: skip
    except pd.errors.ParserError as error:
        raise WorkloadError(f"{where}: not a table: {error}") from None
    return frame.set_axis([layout.header[position] for position in positions], axis=1)


def fields_of(line: str, separator: str = ",") -> list[str]:
    """One line of a CSV file, split, quotes off; nothing if that cannot be done."""
    if separator in (UNIT_SEPARATOR, " "):
        return line.split()
    try:
        return [name.strip() for name in next(csv.reader([line.strip("\r\n ")], delimiter=separator), [])]
    except csv.Error:
        return []


def _is_whole(line: bytes, layout: Layout) -> bool:
    """Whether a line has the right number of fields, and every quote its partner."""
    if b'"' not in line or not layout.quoted:
        return line.count(layout.separator.encode()) == len(layout.header) - 1
    fields = fields_of(line.decode("utf-8", errors="replace"), layout.separator)
    return line.count(b'"') % 2 == 0 and len(fields) == len(layout.header)


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
            if file.metadata.num_rows > MAX_ROWS:
                raise WorkloadError(f"{path}: {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are read")
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=wanted):
                first = report.read + 1
                report.read += batch.num_rows
                yield batch.to_pandas(), np.arange(first, first + batch.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise WorkloadError(f"{path}: not a Parquet file: {error}") from None


def _parse(
    frame: pd.DataFrame, rows: Ints, mapping: ColumnMap, report: Integrity, clock: LogClock, decimal_comma: bool
) -> dict[str, Any]:
    """The rows of a chunk that make sense cell by cell, as numbers by role; every other one is reported once."""
    fine = np.ones(len(rows), dtype=bool)
    found: list[tuple[str, NDArray[np.bool_], str]] = []

    def reject(reason: str, wrong: NDArray[np.bool_], column: pd.Series[Any] | None = None, hint: str = "") -> None:
        first_time = wrong & fine
        if first_time.any():
            example = "" if column is None else _shown(column.iloc[int(np.argmax(first_time))]) + hint
            found.append((reason, first_time, example))
            fine[first_time] = False

    out: dict[str, Any] = {"row": rows}
    ended = np.ones(len(rows), dtype=bool)
    roles = sorted(mapping.columns, key=lambda role: role != "status")
    for role in roles:
        model = mapping.columns[role]
        if model.column not in frame:
            continue
        column = frame[model.column]
        if role == "status":
            out[role], known = _statuses(column, model)
            ended = out[role] != UNFINISHED
            words = f"; known: {', '.join(known)}"
            reject(f"column {model.column!r} holds an unknown status", out[role] < 0, column, words)
        elif role in TEXTS:
            out[role] = text_of(column, model.pattern)
            if role == "tier":
                unknown = ~np.isin(out[role].astype(str), ("", *TIERS))
                reject(
                    f"column {model.column!r} holds an unknown tier", unknown, column, f"; known: {', '.join(TIERS)}"
                )
        else:
            out[role] = numbers(column, model, clock, decimal_comma)
            needed = role in NEEDED
            there = (text_of(column) != "") & (role not in ("start", "end"))  # they may say "Unknown"
            what = {"datetime": "a date", "hms": "a time as 1-02:03:04", "flag": "true or false"}
            reason = f"column {model.column!r} needs {what.get(model.unit, 'a finite number')}"
            reject(reason, np.isnan(out[role]) & ended & (needed | there), column)
    if "runtime" not in out:
        out["runtime"] = out["end"] - out["start"]
        reject("start or end is missing", np.isnan(out["runtime"]) & ended)
    for role in NEEDED:
        out[role] = np.where(ended, out[role], np.nan_to_num(out[role]))
    work = gpu_hours(out["gpus"], out["runtime"])
    for reason, wrong, example in found:
        report.reject(reason, rows[wrong], example, gpu_h=work[wrong])
    return {role: values[fine] for role, values in out.items() if role != "end"}


def _statuses(column: pd.Series[Any], model: ColumnModel) -> tuple[NDArray[np.int8], dict[str, int]]:
    known = model.status_codes
    words = text_of(column, model.pattern).tolist()
    meaning = {word: status_code(word, known) for word in set(words)}
    return np.array([meaning[word] for word in words], dtype=np.int8), known


def _shown(value: object) -> str:
    """A cell as an error message quotes it."""
    return "nothing there" if value is None or value != value else repr(str(value)[:40])
