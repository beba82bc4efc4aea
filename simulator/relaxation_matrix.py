"""A sparse linear programme, put together from named blocks of columns and rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Programme:
    """minimise cost x subject to row_low <= matrix x <= row_high, low <= x <= high; every box is finite.

    `unit` is what one unit of the programme's objective means: J of draw, MAD or g.

    `columns` names the blocks of variables: column numbers, -1 where a variable does not exist.
    """

    cost: Floats
    low: Floats
    high: Floats
    matrix: sp.csc_matrix
    row_low: Floats
    row_high: Floats
    columns: dict[str, Ints]
    unit: float


@dataclass
class Assembly:
    """Collects blocks of columns, rows and entries."""

    cost: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    row_low: list[Floats] = field(default_factory=list)
    row_high: list[Floats] = field(default_factory=list)
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    columns: dict[str, Ints] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    unit: float = 1.0

    def add_columns(
        self, name: str, exists: Bools, cost: Floats | float, high: Floats | float, low: Floats | float = 0.0
    ) -> Ints:
        """One column wherever `exists`; the block of their numbers has its shape."""
        number = np.full(exists.shape, -1, dtype=np.int64)
        count = int(exists.sum())
        number[exists] = self.width + np.arange(count)
        for target, value in ((self.cost, cost), (self.low, low), (self.high, high)):
            target.append(np.broadcast_to(np.asarray(value, dtype=np.float64), exists.shape)[exists])
        self.width += count
        self.columns[name] = number
        return number

    def add_rows(self, exists: Bools, low: Floats | float, high: Floats | float) -> Ints:
        """One row wherever `exists`."""
        number = np.full(exists.shape, -1, dtype=np.int64)
        count = int(exists.sum())
        number[exists] = self.height + np.arange(count)
        for target, value in ((self.row_low, low), (self.row_high, high)):
            target.append(np.broadcast_to(np.asarray(value, dtype=np.float64), exists.shape)[exists])
        self.height += count
        return number

    def put(self, rows: Ints, columns: Ints, values: Floats | float) -> None:
        """Entries wherever both the row and the column exist; the three are broadcast together."""
        r, c, v = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=np.float64))
        here = (r >= 0) & (c >= 0) & (v != 0)
        self.entries.append((r[here], c[here], v[here]))

    def programme(self) -> Programme:
        """All of it as one sparse programme."""
        row, column, value = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = sp.coo_matrix((value, (row, column)), shape=(self.height, self.width)).tocsc()
        return Programme(
            np.concatenate(self.cost),
            np.concatenate(self.low),
            np.concatenate(self.high),
            matrix,
            np.concatenate(self.row_low),
            np.concatenate(self.row_high),
            self.columns,
            self.unit,
        )
