"""TOML in and out: reading with limits, dotted keys, `--set key=value`, writing."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import InputError, Problem, listed, nearest

SIZE_LIMIT = 1 << 20
DEPTH_LIMIT = 20
ENTRY_LIMIT = 10_000
Document = dict[str, Any]


def bundled() -> dict[str, Path]:
    """The experiments that come with Tafukt, by their bare name."""
    return {path.stem: path for path in sorted(Path(str(files("tafukt.experiments") / "bundled")).glob("*.toml"))}


def find(name: str) -> Path:
    """The file that the user means: a path, with or without `.toml`, or the bare name of a bundled one.

    Raises
    ------
    InputError
        If there is none.
    """
    for path in (Path(name), Path(f"{name}.toml")):
        if path.is_file():
            return path
    if Path(name).is_dir():
        from tafukt.experiments.results.stored import EXPERIMENT

        if (Path(name) / EXPERIMENT).is_file():
            return Path(name) / EXPERIMENT
    known = bundled()
    if name.removesuffix(".toml") in known:
        return known[name.removesuffix(".toml")]
    close = nearest(Path(name).stem, known)
    raise InputError(Problem(name, "", f"no such file, and no bundled experiment; bundled: {listed(known)}", close))


def read(path: Path) -> Document:
    """A TOML file as a dictionary.

    Raises
    ------
    InputError
        If it cannot be read, is too large, nested too deeply, or is not TOML.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise InputError(Problem(file, "", f"cannot be read: {error.strerror}")) from None
    if len(data) > SIZE_LIMIT:
        raise InputError(Problem(file, "", f"is larger than {SIZE_LIMIT // 1024} KiB, the limit for such a file"))
    return parse(data, file)


def parse(data: bytes, file: str) -> Document:
    """TOML bytes as a dictionary; `file` is what a message calls them.

    Raises
    ------
    InputError
        If they are not UTF-8, not TOML, nested too deeply, or too many.
    """
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(Problem(file, "", f"is not UTF-8 text (byte {error.start})")) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(Problem(file, "", f"is not valid TOML: {error}")) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise InputError(Problem(file, "", f"is not usable TOML: {type(error).__name__}")) from None
    depth, entries = _extent(document)
    if depth > DEPTH_LIMIT:
        raise InputError(Problem(file, "", f"is nested more than {DEPTH_LIMIT} tables deep"))
    if entries > ENTRY_LIMIT:
        raise InputError(Problem(file, "", f"holds {entries} keys and values; at most {ENTRY_LIMIT} are allowed"))
    return document


def _extent(value: Any) -> tuple[int, int]:
    """Depth of a document, and the number of its keys and values."""
    deepest, entries, stack = 0, 0, [(value, 0)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        entries += len(inner)
        stack.extend((part, depth + 1) for part in inner)
    return deepest, entries


def with_overrides(document: Document, settings: Sequence[str]) -> Document:
    """The document with every `key=value` of `--set` put in; a value that is no TOML is taken as text.

    Raises
    ------
    InputError
        If a setting has no `=`, or leads through something that is not a table.
    """
    document = copy.deepcopy(document)
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(Problem("--set", setting, "should be key=value, as in --set workload.load=0.6"))
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text.strip()
        put(document, key, value, f"--set {setting}")
    return document


def put(document: Document, key: str, value: Any, where: str) -> None:
    """Set a dotted key, in place.

    Raises
    ------
    InputError
        If it leads through something that is not a table.
    """
    *parents, last = key.split(".")
    table = document
    for depth, part in enumerate(parents):
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(Problem(where, ".".join(parents[: depth + 1]), "is a value, not a table"))
        table = inner
    table[last] = value


def get(document: Document, key: str) -> Any:
    """The value at a dotted key; `None` where there is none."""
    value: Any = document
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def flat(document: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document with its dotted key; an empty table counts as a value."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merged(base: Document, over: Document) -> Document:
    """`base` with the values of `over` put over it, table by table."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def without_none(value: Any) -> Any:
    """The value with every `None` left out of its tables, since TOML has none."""
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_none(inner) for inner in value]
    return value


def text(document: Document) -> str:
    """A document as TOML."""
    import tomli_w

    return str(tomli_w.dumps(without_none(document)))
