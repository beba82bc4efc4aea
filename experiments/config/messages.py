"""pydantic's findings in the words of the file: key, value, what is allowed, the nearest known key."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError
from tafukt.experiments.errors import Problem, listed, nearest, shown

Location = tuple[int | str, ...]


def dotted(location: Iterable[int | str]) -> str:
    """A location as a dotted key, list positions in brackets."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def problems_of(error: ValidationError, model: type[BaseModel], file: str, prefix: Location = ()) -> list[Problem]:
    """Every finding of a validation as a `Problem`; `prefix` is where the model stands in the file."""
    found: dict[str, Problem] = {}
    for finding in error.errors(include_url=False):
        models, location = walk(model, finding["loc"])
        problem = _problem(dict(finding), models, file, prefix + location)
        # of the members of a union only the first that complains about a key is told
        found.setdefault(problem.key or problem.message, problem)
    return list(found.values())


def walk(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[type[BaseModel]], Location]:
    """The models that own the last part of a location, and the location without what pydantic adds to it.

    pydantic puts a union's tag, a member's type or a validator's name between the keys of the file.
    """
    current, owners, path = [model], [model], []
    for part in location:
        tagged = _tag_of(current, part)
        holding = [m for m in current if isinstance(part, str) and part in m.model_fields]
        if tagged:
            current = owners = tagged
        elif holding:
            path.append(part)
            owners = holding
            current = [n for m in holding for n in _models_in(m.model_fields[str(part)].annotation)]
        elif isinstance(part, int) or not _ADDED.match(part):
            path.append(part)
            owners = current
    return owners, tuple(path)


_ADDED = re.compile(r"(function-|tagged-union|str$|int$|float$|bool$|list\[|dict\[|tuple\[|literal\[|lax-or-strict)")


def _tag_of(models: list[type[BaseModel]], tag: int | str) -> list[type[BaseModel]]:
    """The models of a union that a tag chooses: by their name, or by a literal that is their `kind`."""
    chosen = []
    for model in models:
        literals = [
            value
            for field in model.model_fields.values()
            for value in typing.get_args(field.annotation)
            if typing.get_origin(field.annotation) is typing.Literal
        ]
        if tag == model.__name__ or tag in literals:
            chosen.append(model)
    return chosen


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _problem(finding: dict[str, Any], models: list[type[BaseModel]], file: str, location: Location) -> Problem:
    kind, value, context = finding["type"], finding.get("input"), finding.get("ctx", {})
    key, name = dotted(location), str(location[-1]) if location else ""
    known = [field for model in models for field in model.model_fields]
    if kind == "extra_forbidden":
        return Problem(file, key, f"unknown key; known here: {listed(known)}", nearest(name, known))
    if kind == "missing":
        return Problem(file, key, f"is missing{_described(models, name)}")
    if kind in ("literal_error", "enum"):
        allowed = [part.strip("' ") for part in context["expected"].replace(" or ", ", ").split(",")]
        return Problem(
            file, key, f"{shown(value)} is not allowed; allowed: {listed(allowed)}", nearest(str(value), allowed)
        )
    if kind == "union_tag_invalid":
        allowed = [part.strip("' ") for part in context["expected_tags"].split(",")]
        key = dotted((*location, context["discriminator"].strip("'")))
        tag = context["tag"]
        return Problem(file, key, f"{shown(tag)} is not allowed; allowed: {listed(allowed)}", nearest(tag, allowed))
    if kind == "union_tag_not_found":
        key = dotted((*location, context["discriminator"].strip("'")))
        return Problem(file, key, f"is missing{_tags(models, location)}")
    if kind == "timezone_aware" and isinstance(value, datetime):
        return Problem(file, key, f"{value} has no time zone; write it as {value.isoformat()}Z or with an offset")
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return Problem(file, key, f"{shown(value)} is not a table{_described(models, name)}")
    message = finding["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:].replace("Input should", "should")
    message = message.replace("input should", "should")
    if isinstance(value, dict):
        return Problem(file, key, message)
    return Problem(file, key, f"{shown(value)} is not allowed: {message}{_described(models, name)}")


def _described(models: list[type[BaseModel]], name: str) -> str:
    for model in models:
        field = model.model_fields.get(name)
        if field and field.description:
            return f" ({field.description.rstrip('.')})"
    return ""


def _tags(models: list[type[BaseModel]], location: Location) -> str:
    """What a missing discriminator may be."""
    tags = [
        str(value)
        for model in models
        for field in (model.model_fields.get(str(location[-1])) if location else None,)
        if field
        for inner in _models_in(field.annotation)
        for value in typing.get_args(inner.model_fields["kind"].annotation)
        if "kind" in inner.model_fields
    ]
    return f"; allowed: {listed(tags)}" if tags else ""
