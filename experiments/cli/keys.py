"""`tafukt schema KEY`: the keys of a table of an experiment file as text, from the models that validate them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tafukt.experiments.errors import InputError, Problem, nearest

Schema = Mapping[str, Any]
TEXT_COLUMNS = 80
TYPE_WORDS = {
    "object": "table",
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "true | false",
}
"""Types of JSON Schema, as people call them."""


def key_lines(key: str) -> list[str]:
    """Lines on the keys of a table, as in `workload.trace` or `sites.own.here.pv`; a single key is explained alone.

    Raises
    ------
    InputError
        If there is no such key.
    """
    from tafukt.experiments.config.schema import json_schema

    whole = json_schema()
    definitions: Schema = whole["$defs"]
    nodes: list[Schema] = [whole]
    for part in key.split("."):
        found = [inner for node in nodes for inner in _step(node, part, definitions)]
        if not found:
            known = sorted({name for node in nodes for name in _names(node, definitions)})
            message = f"no such key; here are {', '.join(known[:30])}" if known else "has no keys below it"
            raise InputError(Problem("", key, message, nearest(part, known)))
        nodes = found
    lines: list[str] = []
    for node in nodes:
        for member in _members(node, definitions):
            if "properties" in member:
                lines += [*_title(key, member), *_properties(member, definitions)]
    if not lines:
        for node in nodes:
            lines += _described(key.rpartition(".")[2], node, False, definitions)
    return lines


def _step(node: Schema, part: str, definitions: Schema) -> Iterator[Schema]:
    """The schema under a part of a key: a property, a kind of a union, or any name where names are free."""
    members = list(_members(node, definitions))
    tagged = [m for m in members if _kind(m) == part]
    if tagged:  # a kind wins over a key of the same name, which its own table explains
        yield from tagged
        return
    for member in members:
        if part in member.get("properties", {}):
            yield member["properties"][part]
        elif isinstance(member.get("additionalProperties"), dict):
            yield member["additionalProperties"]


def _names(node: Schema, definitions: Schema) -> Iterator[str]:
    for member in _members(node, definitions):
        yield from member.get("properties", {})
        if _kind(member):
            yield _kind(member)


def _members(node: Schema, definitions: Schema) -> Iterator[Schema]:
    """A node with its references followed and its unions taken apart."""
    if "$ref" in node:
        yield from _members(definitions[node["$ref"].rpartition("/")[2]], definitions)
        return
    several = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    for inner in several:
        yield from _members(inner, definitions)
    if not several:
        if node.get("type") == "array" and isinstance(node.get("items"), dict):
            yield from _members(node["items"], definitions)
        else:
            yield node


def _kind(member: Schema) -> str:
    kind = member.get("properties", {}).get("kind", {})
    return str(kind.get("const", ""))


def _title(key: str, member: Schema) -> list[str]:
    kind = _kind(member)
    name = f"[{key}]" + (f'  with kind = "{kind}"' if kind and not key.endswith(f".{kind}") else "")
    return [name, *textwrap.wrap(" ".join(str(member.get("description", "")).split()), TEXT_COLUMNS), ""]


def _properties(member: Schema, definitions: Schema) -> Iterator[str]:
    required = member.get("required", ())
    for name, node in member["properties"].items():
        yield from _described(name, node, name in required, definitions)


def _described(name: str, node: Schema, required: bool, definitions: Schema) -> list[str]:
    default = "required" if required else _default(node)
    head = f"  {name}: {_type(node, definitions)}" + (f" ({default})" if default else "")
    text = " ".join(str(node.get("description", "")).split())
    return [head, *textwrap.wrap(text, TEXT_COLUMNS, initial_indent="      ", subsequent_indent="      ")]


def _default(node: Schema) -> str:
    if "default" not in node or node["default"] is None:
        return ""
    text = json.dumps(node["default"], ensure_ascii=False)
    return f"default {text}" if len(text) <= 40 else ""


def _type(node: Schema, definitions: Schema) -> str:
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return " | ".join(json.dumps(value) for value in node["enum"])
    several = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if several:
        kinds = dict.fromkeys(_type(inner, definitions) for inner in several if inner.get("type") != "null")
        return " | ".join(kinds)
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return "table" if "properties" in target else _type(target, definitions)
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}), definitions)}"
    return TYPE_WORDS.get(str(node.get("type", "")), "any value") + _range(node)


def _range(node: Schema) -> str:
    names = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    found = [f"{sign} {node[name]:g}" for name, sign in names.items() if isinstance(node.get(name), int | float)]
    return f" {', '.join(found)}" if found else ""
