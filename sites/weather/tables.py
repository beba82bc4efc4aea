"""A table of numbers with times, as data, and the files it comes from."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tafukt.problems import hint
from tafukt.sites.errors import SiteError
from tafukt.sites.profile import Floats
from tafukt.sites.schema.fields import Label
from tafukt.sites.time_grid import DAY_S, HOUR_S
from tafukt.sites.weather.source import Placing

# A year of measurements by the minute has some 50 MB; what unpacks to more is no weather.
MAX_UNPACKED_BYTES = 500_000_000


@contextmanager
def opened(path: Path, where: str) -> Iterator[Path]:
    """The path of a readable file; a `.gz` is unpacked into a temporary one. Mistakes become messages."""
    if not path.is_file():
        folder = path.parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        others = f"; {hint(path.name, names[:20])}" if names else f"; there is no folder {folder}"
        raise SiteError(f"{where}: {path}: no such file{others}")
    try:
        if path.suffix == ".gz":
            with tempfile.TemporaryDirectory() as folder_name:
                plain = Path(folder_name) / path.stem
                _unpack(path, plain, where)
                yield plain
        else:
            yield path
    except SiteError:
        raise
    except OverflowError as error:
        raise SiteError(f"{where}: {path}: cannot be read: it has a number with hundreds of digits") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, zlib.error) as error:
        first = str(error).strip().splitlines()
        what = f": {first[0]}" if first else ""
        raise SiteError(f"{where}: {path}: cannot be read: {type(error).__name__}{what}") from error


def _unpack(path: Path, plain: Path, where: str) -> None:
    """Write out a packed file piece by piece, so that one that swells without end costs neither memory nor disk."""
    with gzip.open(path) as packed, plain.open("wb") as out:
        while piece := packed.read(1 << 20):
            if out.tell() + len(piece) > MAX_UNPACKED_BYTES:
                raise SiteError(f"{where}: {path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            out.write(piece)


def moments(years: Floats, months: Floats, days: Floats, hours: Floats) -> Floats:
    """Seconds since 1970 of dates and hours by a clock that never changes; not-a-number where there is no such date."""
    parts = (years, months, days, hours)
    with np.errstate(invalid="ignore"):
        lows, highs = (1900.0, 1.0, 1.0, -1.0), (2200.0, 12.0, 31.0, 25.0)
        within = [(part >= low) & (part <= high) for part, low, high in zip(parts, lows, highs, strict=True)]
    good = np.logical_and.reduce(within)
    year, month, day = (np.where(good, part, 1.0).astype(np.int64) for part in parts[:3])
    begin = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    whole = begin.astype("datetime64[D]").astype(np.int64) + (day - 1)
    return np.where(good, whole * float(DAY_S) + np.where(good, hours, 0.0) * HOUR_S, np.nan)


@dataclass(frozen=True)
class Times:
    """Times of rows [s since 1970, UTC], missing ones as not-a-number, and which of the texts could not be read."""

    unix: Floats
    unread: int = 0
    example: str = ""

    def note(self, where: str) -> tuple[str, ...]:
        """Note on rows whose time cannot be read or does not exist."""
        if not self.unread:
            return ()
        return (
            f"{where}: {self.unread} times cannot be read or do not exist on the local clock, the first {self.example}",
        )


def column_named(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of some names that is among the wanted, whatever its case."""
    known = {name.lower(): name for name in reversed(list(names))}
    return next((known[name.lower()] for name in wanted if name.lower() in known), None)


@dataclass(frozen=True)
class Table:
    """A file's rows: times, every column of numbers, and what was told on the way.

    `numbers` holds not-a-number where a cell is empty or is no number. `placings` is where its rows lie on a regular
    grid, by the label of their times: worked out for the first column that is asked for, and good for all of them.
    """

    name: str
    times: Times
    numbers: Mapping[str, Floats]
    above: tuple[str, ...] = ()
    placings: dict[Label, Placing] = field(default_factory=dict, compare=False, repr=False)

    def column(self, key: str, column: str, where: str) -> Floats:
        """The values of a column.

        Raises
        ------
        SiteError
            If the file has no such column.
        """
        if column not in self.numbers:
            raise SiteError(f"{where}: {self.name}: {key} = {column!r} is not a column; {hint(column, self.numbers)}")
        return self.numbers[column]
