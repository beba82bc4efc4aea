"""Sources of an experiment: every value of its resolved file that names one, gathered and merged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tafukt.problems import cut
from tafukt.workloads.bundled import bundled

if TYPE_CHECKING:
    from tafukt.sites.site import SiteModel

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


def assumptions(experiment: Mapping[str, Any], sites: Mapping[str, SiteModel] | None = None) -> list[Assumption]:
    """Every sourced value of a resolved experiment; what has one source at several sites is one row.

    Parameters
    ----------
    experiment : mapping
        The resolved experiment.
    sites : mapping of name to SiteModel, optional
        Its sites, validated: they tell where their defaults come from, too.
    """
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    tables = experiment.get("sites", {}).get("own", {})
    for site, table in tables.items():
        told = _site_facts(sites[site]) if sites is not None and site in sites else _sourced(table, "")
        for key, value, source, confidence in told:
            rows.setdefault((key, source, confidence), {})[str(site)] = value
    others = {part: table for part, table in experiment.items() if part != "sites"} | _catalogue_of(experiment)
    for part, table in others.items():
        if isinstance(table, dict):
            for key, value, source, confidence in _sourced(table, part):
                rows.setdefault((key, source, confidence), {})[""] = value
    return [
        Assumption(key, _merged(list(values.values())), _where(list(values), len(tables)), source, confidence)
        for (key, source, confidence), values in rows.items()
    ]


def _site_facts(site: SiteModel) -> Iterator[tuple[str, str, str, str]]:
    from tafukt.sites.describe import facts

    for fact in facts(site):
        if fact.source:
            meaning = f" ({fact.meaning})" if fact.meaning else ""
            yield f"{fact.key}{meaning}", fact.value, fact.source, fact.confidence


def _catalogue_of(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The file of the catalogue that the workload is made from, by its name."""
    workload = experiment.get("workload", {})
    name = str(workload.get("mix", "") or workload.get("format", ""))
    path = (bundled("traces") | bundled("mixes")).get(name)
    return {name: tomllib.loads(path.read_text(encoding="utf-8"))} if path else {}


def _merged(values: list[str]) -> str:
    """One value, or the range of several."""
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return different[0]
    try:
        numbers = [float(value) for value in different]
    except ValueError:
        return "; ".join(different) if len(different) <= 3 else f"{len(different)} different values"
    return f"{min(numbers):.10g} to {max(numbers):.10g}"


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
        told, hidden = cut(list(values.items()), SHOWN_VALUES)
        text = ", ".join(f"{key} = {_shown(value)}" for key, value in told)
        more = f", and {hidden} more" if hidden else ""
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
