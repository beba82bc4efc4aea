"""What an experiment rests on: every value of its resolved file that names a source, gathered and merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NOTES = ("source", "basis", "confidence")
SHOWN_VALUES = 6


@dataclass(frozen=True, slots=True)
class Assumption:
    """One value or group of values, where it is used, and where it comes from.

    `choice` says that it is a modelling choice rather than a fact.
    """

    key: str
    value: str
    where: str
    source: str
    confidence: str

    @property
    def choice(self) -> bool:
        """Whether its source says that it is a choice, or that no document was read for it."""
        text = f"{self.source} {self.confidence}".lower()
        return "choice" in text or "background knowledge" in text


def assumptions(experiment: Mapping[str, Any]) -> list[Assumption]:
    """Every sourced value of a resolved experiment; what is the same at several sites is one row."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    sites = experiment.get("sites", {}).get("own", {})
    for site, table in sites.items():
        for key, value, source, confidence in _sourced(table, ""):
            rows.setdefault((key, value, source, confidence), []).append(str(site))
    for part, table in experiment.items():
        if part != "sites" and isinstance(table, dict):
            for key, value, source, confidence in _sourced(table, part):
                rows.setdefault((key, value, source, confidence), []).append("")
    return [
        Assumption(key, value, _where(names, len(sites)), source, confidence)
        for (key, value, source, confidence), names in rows.items()
    ]


def _where(names: list[str], all_sites: int) -> str:
    named = [name for name in names if name]
    if not named:
        return ""
    if len(named) == all_sites and all_sites > 1:
        return "all sites"
    return ", ".join(named) if len(named) <= 3 else f"{len(named)} sites"


def _sourced(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """Pairs of a key and its value with source and confidence, at any depth of a table."""
    sources = table.get("sources")
    if isinstance(sources, dict):
        for keys, note in sources.items():
            if isinstance(note, dict):
                value = "; ".join(_shown(_at(table, key.strip())) for key in str(keys).split(","))
                yield _join(path, str(keys)), value, str(note.get("source", "")), str(note.get("confidence", ""))
    yield from _named(table, path)
    for key, inner in table.items():
        if key == "sources":
            continue
        children = inner if isinstance(inner, list) else [inner]
        for child in children:
            if isinstance(child, dict):
                yield from _sourced(child, _join(path, str(key)))


def _named(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """The table's own `source`, and each `<key>_source` in it."""
    own = table.get("source", table.get("basis"))
    if isinstance(own, str):
        values = {
            key: value
            for key, value in table.items()
            if not isinstance(value, dict | list) and not key.endswith(NOTES) and key not in ("title", "name")
        }
        text = ", ".join(f"{key} = {_shown(value)}" for key, value in list(values.items())[:SHOWN_VALUES])
        more = f", and {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
        name = str(table.get("title", table.get("name", "")))
        yield _join(path, name, " "), text + more, own, str(table.get("confidence", ""))
    for key, value in table.items():
        if key.endswith("_source") and isinstance(value, str):
            stem = key.removesuffix("_source")
            related = {
                name: inner for name, inner in table.items() if name.startswith(stem) and not name.endswith(NOTES)
            }
            text = ", ".join(f"{name} = {_shown(inner)}" for name, inner in related.items())
            yield _join(path, stem), text, value, str(table.get(f"{stem}_confidence", ""))


def _at(table: Mapping[str, Any], key: str) -> Any:
    value: Any = table
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _join(path: str, key: str, between: str = ".") -> str:
    return f"{path}{between}{key}" if path and key else path or key


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        items = ", ".join(_shown(item) for item in value[:12])
        return items + (", …" if len(value) > 12 else "")
    return f"{value:g}" if isinstance(value, float) else str(value)
