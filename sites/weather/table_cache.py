"""Tables of numbers with times, each file parsed once for all that ask, and kept under a hash of its content."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tafukt.sites.cache import Entry, default_folder, file_hash, kept, key_of
from tafukt.sites.errors import SiteError
from tafukt.sites.weather.tables import Table, Times, opened


def read_table(
    file: Path,
    where: str,
    time: str = "time",
    form: str | None = None,
    tz: str = "UTC",
    wanted: tuple[str, ...] = (),
    cache: Path | None = None,
) -> Table:
    """A table of numbers with times, read once for all that ask for it, and kept under a hash of its content.

    Parameters
    ----------
    time : str
        Column of the times; where it is left at its default, a publisher's usual name or parts of a date serve too.
    form : str, optional
        strptime format of the times.
    tz : str
        Zone of times that carry none.
    wanted : tuple of str
        Columns asked for, by which the header is found.
    cache : Path, optional
        Folder of the cache.

    Raises
    ------
    SiteError
        If there is no such file, or it is no table, or most of its times cannot be read.
    """
    if not file.is_file():
        with opened(file, f"{where}.file"):
            pass
    folder = default_folder() if cache is None else cache
    key = (file, file_hash(file), time, form, tz)
    try:
        table = _table(*key, (), folder)
        return table if set(wanted) & set(table.numbers) or not wanted else _table(*key, wanted, folder)
    except SiteError as error:
        raise SiteError([f"{where}{problem}" for problem in error.problems]) from error


@lru_cache(maxsize=8)
def _table(
    file: Path, content: str, time: str, form: str | None, tz: str, wanted: tuple[str, ...], folder: Path
) -> Table:
    """The table of a file with this content; its mistakes are told without the key that names the file."""
    key = key_of(["table", content, time, form, tz, wanted])

    def parsed() -> Entry:
        from tafukt.sites.weather.parsing import entry_of  # pandas is loaded for what is not in the cache only

        return entry_of(file, time, form, tz, wanted)

    entry = kept(folder / "tables", key, None, parsed)
    names, above, unread, example = json.loads(entry.notes[0])
    numbers = {name: entry.values[row + 1] for row, name in enumerate(names)}
    return Table(file.name.removesuffix(".gz"), Times(entry.values[0], unread, example), numbers, tuple(above))
