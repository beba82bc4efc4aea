"""Columns as Parquet bytes: a table at once, or growing by rows.

Arrow's arrays are made from their buffers here: `pyarrow.array` would import pandas to see whether it was given
something of it, a quarter of a second in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results.dictionary import TABLES, Column, arrow_schema
from tafukt.simulator.units import Floats, Ints

TEXT_MOST = 2**31 - 1
"""Bytes of text that one array of Arrow's strings holds."""


class Taken(NamedTuple):
    """A column of texts that come again: those at some places."""

    texts: Sequence[str]
    places: Ints


class Repeated(NamedTuple):
    """A column of texts, each so many times in a row."""

    texts: Sequence[str]
    times: int


class ParquetTable:
    """A table of the data dictionary that grows by groups of rows; its bytes are there when it is closed.

    `metadata` goes into the schema.
    """

    def __init__(self, table: str, metadata: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._columns, self._schema = TABLES[table], arrow_schema(table, metadata)
        self._sink = pa.BufferOutputStream()
        words = [column.name for column in self._columns if column.dtype == "string"]
        # A dictionary of measured values costs more time and space than it saves, statistics of one row group serve
        # nobody, and LZ4 takes an eighth more space than Zstandard but half the time. Batches as long as most tables
        # take a seventh less time than those of 1,024 values.
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="lz4",
            use_dictionary=words,
            write_statistics=False,
            write_batch_size=1 << 16,
        )

    def add(self, columns: Mapping[str, Any]) -> None:
        """Write some rows as a group of their own: the dictionary's columns, NaN as null where it may be."""
        import pyarrow as pa

        arrays = [_array(c, columns[c.name], field.type) for c, field in zip(self._columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> bytes:
        """The bytes of the whole."""
        self._writer.close()
        return bytes(self._sink.getvalue().to_pybytes())


def parquet(table: str, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """A table of the data dictionary as Parquet bytes, all its rows in one group."""
    whole = ParquetTable(table, metadata)
    whole.add(columns)
    return whole.close()


def _array(column: Column, values: Any, kind: Any) -> Any:
    """A column's values as an array of Arrow's type `kind`."""
    if column.dtype == "string":
        return _texts(values, kind)
    known: NDArray[np.bool_] | None = None
    if column.dtype == "timestamp":
        values = np.asarray(values, dtype="datetime64[ms]")
        known, values = ~np.isnat(values), values.view(np.int64)
    else:
        values = np.asarray(values, dtype=column.dtype)
        if column.dtype == "float64" and column.nullable:
            known = ~np.isnan(values)
    number = len(values)
    if column.dtype == "bool":
        values = _bits(values)
    bits = None if known is None or known.all() else _buffer(_bits(known))
    return _made(kind, number, [bits, _buffer(values)])


def _texts(values: Sequence[str] | Taken | Repeated, kind: Any) -> Any:
    """Texts one after another, and where each begins."""
    if isinstance(values, Repeated):
        known = [text.encode() for text in values.texts]
        data = b"".join(text * values.times for text in known)
        sizes = np.repeat(_sizes(known), values.times)
    elif isinstance(values, Taken):
        known = [text.encode() for text in values.texts]
        data = b"".join(map(known.__getitem__, values.places.tolist()))
        sizes = _sizes(known)[values.places]
    else:
        values = [*values]  # those of a table of jobs are made each time that they are asked for
        joined = "".join(values)
        data = joined.encode()
        sizes = _sizes(values if len(data) == len(joined) else [value.encode() for value in values])
    return _from_text(data, sizes, kind)


def _sizes(texts: Sequence[str] | Sequence[bytes]) -> Ints:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _from_text(data: bytes, sizes: Ints, kind: Any) -> Any:
    """Texts of some sizes in bytes, in as many arrays as it takes to hold them."""
    import pyarrow as pa

    ends = np.cumsum(sizes)
    if len(data) > TEXT_MOST:
        half = len(sizes) // 2
        cut = int(ends[half - 1])
        return pa.chunked_array(
            [_from_text(data[:cut], sizes[:half], kind), _from_text(data[cut:], sizes[half:], kind)]
        )
    offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
    offsets[1:] = ends
    return _made(kind, len(sizes), [None, _buffer(offsets), pa.py_buffer(data)])


def _bits(values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(values, bitorder="little")


def _buffer(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.ascontiguousarray(values))


def _made(kind: Any, number: int, buffers: list[Any]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(kind, number, buffers)


def moments(start: datetime, seconds: Floats) -> NDArray[np.datetime64]:
    """Moments in UTC, to the millisecond, where a time is NaN none."""
    origin = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "ms")
    found = np.full(len(seconds), np.datetime64("NaT"), dtype="datetime64[ms]")
    known = np.isfinite(seconds)
    found[known] = origin + np.round(seconds[known] * 1000.0).astype("timedelta64[ms]")
    return found
