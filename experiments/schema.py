"""The JSON Schema of experiment files, made from the models that validate them."""

from __future__ import annotations

from typing import Any

from experiments.config import Experiment
from sites.site import SiteModel, catalogue


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12; a TOML editor (Taplo, Even Better TOML) helps along with it.

    In an experiment file, name it in the first line: `#:schema ./tafukt.schema.json`.
    """
    result = Experiment.model_json_schema()
    site = SiteModel.model_json_schema(ref_template="#/$defs/{model}")
    definitions = result["$defs"] | site.pop("$defs", {})
    # a change of a site, or a site of one's own that is `like` another, may leave out any key at any depth
    partial = {name: _partial(model) for name, model in definitions.items() if name in _reached(site, definitions)}
    changes = _renamed(_partial(site), set(partial))
    definitions |= {f"{name}Change": _renamed(model, set(partial)) for name, model in partial.items()}
    definitions["SiteChange"] = changes
    like = {"type": "string", "enum": list(catalogue()), "description": "site of the catalogue to start from"}
    definitions["OwnSite"] = changes | {"properties": {**changes["properties"], "like": like}}
    sites = definitions["SitesTable"]["properties"]
    sites["all"] |= {"$ref": "#/$defs/SiteChange"}
    sites["own"] |= {"additionalProperties": {"$ref": "#/$defs/OwnSite"}}
    sites["change"] |= {"additionalProperties": {"$ref": "#/$defs/SiteChange"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tafukt experiment",
        **{key: value for key, value in result.items() if key not in ("title", "$defs")},
        "$defs": definitions,
    }


def _partial(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "required"}


def _reached(value: Any, definitions: dict[str, Any], seen: set[str] | None = None) -> set[str]:
    """Names of all definitions that a schema refers to, directly or not."""
    seen = set() if seen is None else seen
    if isinstance(value, dict):
        name = str(value.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions and name not in seen:
            seen.add(name)
            _reached(definitions[name], definitions, seen)
        for inner in value.values():
            _reached(inner, definitions, seen)
    elif isinstance(value, list):
        for inner in value:
            _reached(inner, definitions, seen)
    return seen


def _renamed(value: Any, names: set[str]) -> Any:
    """The schema with its references led to the partial definitions."""
    if isinstance(value, dict):
        return {
            key: _reference(inner, names) if key == "$ref" else _renamed(inner, names) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return _reference(value, names) if isinstance(value, str) and value.startswith("#/$defs/") else value


def _reference(value: str, names: set[str]) -> str:
    return f"{value}Change" if value.removeprefix("#/$defs/") in names else value
