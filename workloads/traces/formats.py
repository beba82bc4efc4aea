"""Every format of a trace behind one call: SWF, `sacct` and what column maps describe."""

from __future__ import annotations

import itertools
from pathlib import Path

from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.column_map import ColumnMap, column_map
from tafukt.workloads.traces.files import opened
from tafukt.workloads.traces.readers import HEADER_LINES, SEPARATORS, MissingColumns, fields_of, read_table
from tafukt.workloads.traces.sacct import DELIMITERS, is_sacct, read_sacct
from tafukt.workloads.traces.swf import read_swf
from tafukt.workloads.traces.table import Integrity, TraceTable

DIVIDERS = tuple(dict.fromkeys((*SEPARATORS, *DELIMITERS, " ")))


def formats() -> list[str]:
    """The names that `workload.format` may have, beside a path to a column map."""
    return ["swf", "sacct", *bundled("traces")]


def load_table(file: str, format_name: str, folder: Path, zone: str = "") -> tuple[TraceTable, Integrity]:
    """Read a trace in any known format; `zone` is the time zone of times that are written without one.

    Raises
    ------
    WorkloadError
        If the format is unknown or the file cannot be read.
    """
    path = folder / file
    if format_name == "swf":
        return read_swf(path)
    if format_name == "sacct":
        return read_sacct(path, zone)
    try:
        return read_table(path, column_map(format_name, folder), zone)
    except MissingColumns as error:
        raise WorkloadError(f"{error}{_other(path)}") from None


def _other(path: Path) -> str:
    """The format that a file seems to be of, as advice; empty where none fits."""
    try:
        return f'\nits columns look like workload.format = "{sniff(path)}"'
    except WorkloadError:
        return ""


def sniff(path: Path) -> str:
    """The bundled format whose columns a file has.

    Raises
    ------
    WorkloadError
        If none fits.
    """
    if path.name.removesuffix(".gz").endswith(".swf"):
        return "swf"
    headers = _headers(path)
    if path.suffix != ".parquet" and any(is_sacct(header) for header in headers):
        return "sacct"
    fits = {}
    for name in bundled("traces"):
        mapping = column_map(name, path.parent)
        fits[name] = max((_fit(mapping, header) for header in headers), default=0)
    best = max(sorted(fits), key=lambda name: fits[name])
    if not fits[best]:
        known = ", ".join(sorted(formats()))
        columns = ", ".join(max(headers, key=len, default=[])[:12])
        raise WorkloadError(f"{path}: its columns ({columns}) fit no bundled format ({known})")
    return best


def _fit(mapping: ColumnMap, header: list[str]) -> int:
    """Number of a map's columns that a header has; 0 if it lacks one that is needed."""
    columns = mapping.columns.values()
    return sum(m.column in header for m in columns) if all(m.column in header or m.optional for m in columns) else 0


def _headers(path: Path) -> list[list[str]]:
    """Candidates for the header of a file: its first lines, divided in every way."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet as pq

        try:
            return [list(pq.read_schema(path).names)]
        except (pyarrow.ArrowException, OSError) as error:
            raise WorkloadError(f"{path}: not a Parquet file: {error}") from None
    with opened(path) as stream:
        head = itertools.islice(stream, HEADER_LINES)
        lines = [line.decode("utf-8-sig", errors="replace") for line in head]
    found = [fields_of(line, separator) for line in lines if line.strip() for separator in DIVIDERS]
    return [header for header in found if len(header) > 1]
