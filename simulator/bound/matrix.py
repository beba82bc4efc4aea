"""A sparse linear programme, put together from named blocks of columns and rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from simulator.record import Floats, Ints

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Programme:
    """minimise cost x subject to row_low <= matrix x <= row_high, low <= x <= high; every box is finite.

    `unit` is what one unit of the programme's objective means: J of draw, MAD or g. `columns` and `rows`
    name blocks of variables and rows by their numbers, -1 where one does not exist; `column_slot` and
    `row_slot` say which slot each belongs to (a row over many slots: its last).
    """

    cost: Floats
    low: Floats
    high: Floats
    matrix: sp.csc_matrix
    row_low: Floats
    row_high: Floats
    columns: dict[str, Ints]
    rows: dict[str, Ints]
    column_slot: Ints
    row_slot: Ints
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
    rows: dict[str, Ints] = field(default_factory=dict)
    column_slot: list[Ints] = field(default_factory=list)
    row_slot: list[Ints] = field(default_factory=list)
    width: int = 0
    height: int = 0
    unit: float = 1.0

    def add_columns(
        self,
        name: str,
        exists: Bools,
        slot: Ints,
        cost: Floats | float,
        high: Floats | float,
        low: Floats | float = 0.0,
    ) -> Ints:
        """One column wherever `exists`; the block of their numbers has its shape, the rest fits it."""
        number = _numbers(exists, self.width)
        self.width += int(exists.sum())
        self.columns[name] = number
        for target, value in ((self.cost, cost), (self.low, low), (self.high, high)):
            target.append(_where(exists, value))
        self.column_slot.append(np.broadcast_to(slot, exists.shape)[exists])
        return number

    def add_rows(self, name: str, exists: Bools, slot: Ints, low: Floats | float, high: Floats | float) -> Ints:
        """One row wherever `exists`."""
        number = _numbers(exists, self.height)
        self.height += int(exists.sum())
        self.rows[name] = number
        for target, value in ((self.row_low, low), (self.row_high, high)):
            target.append(_where(exists, value))
        self.row_slot.append(np.broadcast_to(slot, exists.shape)[exists])
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
            self.rows,
            np.concatenate(self.column_slot),
            np.concatenate(self.row_slot),
            self.unit,
        )


def _numbers(exists: Bools, first: int) -> Ints:
    """Consecutive numbers from `first` wherever `exists`, -1 elsewhere."""
    number = np.full(exists.shape, -1, dtype=np.int64)
    number[exists] = first + np.arange(int(exists.sum()))
    return number


def _where(exists: Bools, value: Floats | float) -> Floats:
    """A value, broadcast, wherever `exists`."""
    return np.asarray(np.broadcast_to(np.asarray(value, dtype=np.float64), exists.shape)[exists])
