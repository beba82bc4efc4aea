"""Columns as Parquet bytes.

Arrow's arrays are made from their buffers here: `pyarrow.array` would import pandas to see whether it was given
something of it, a quarter of a second in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.dictionary import TABLES, Column, arrow_schema

TEXT_MOST = 2**31 - 1
"""Bytes of text that one array of Arrow's strings holds."""


def parquet(table: str, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """A table of the data dictionary as Parquet bytes: its columns in order, NaN as null where it may be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table, metadata)
    arrays = [_array(c, columns[c.name], field.type) for c, field in zip(TABLES[table], schema, strict=True)]
    words = [column.name for column in TABLES[table] if column.dtype == "string"]
    # A dictionary of measured values costs more time and space than it saves, statistics of one row group serve
    # nobody, and LZ4 takes an eighth more space than Zstandard but half the time.
    whole, sink = pa.Table.from_arrays(arrays, schema=schema), pa.BufferOutputStream()
    pq.write_table(whole, sink, compression="lz4", use_dictionary=words, write_statistics=False)
    return bytes(sink.getvalue().to_pybytes())


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


def _texts(values: Sequence[str], kind: Any) -> Any:
    """Texts one after another, and where each begins."""
    import pyarrow as pa

    joined = "".join(values)
    data, pieces = joined.encode(), values
    if len(data) > TEXT_MOST:
        half = len(values) // 2
        return pa.chunked_array([_texts(values[:half], kind), _texts(values[half:], kind)])
    if len(data) != len(joined):
        pieces = [value.encode() for value in values]  # type: ignore[misc]
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, pieces), np.int32, len(values)), out=offsets[1:])
    return _made(kind, len(values), [None, _buffer(offsets), pa.py_buffer(data)])


def _bits(values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(values, bitorder="little")


def _buffer(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.ascontiguousarray(values))


def _made(kind: Any, number: int, buffers: list[Any]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(kind, number, buffers)
