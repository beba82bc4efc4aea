"""Mistakes in a site's description, in words for the person who wrote its file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError


class SiteError(ValueError):
    """Something in a site's description or its files cannot be used.

    Attributes
    ----------
    problems : tuple of str
        One line per mistake: where, key, value, what is allowed.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the nearest known word and all that are allowed, to end a message with."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Allowed: {', '.join(names)}"


# --- Turns what pydantic found wrong into lines a person can act on: where, key, value, what is allowed


def problems(error: ValidationError, model: type[BaseModel], where: str) -> list[str]:
    """One line per mistake.

    Parameters
    ----------
    error : ValidationError
    model : type of BaseModel
        What was validated.
    where : str
        File and table, put in front of each line.
    """
    lines = []
    for item in error.errors(include_url=False):
        key, section = _follow(model, item["loc"])
        value, message = item.get("input"), item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = [name for m in section for name in m.model_fields]
            message = f"unknown key; {nearest(str(item['loc'][-1]), known)}"
        elif item["type"] == "missing":
            message = "missing; it has no default"
        elif item["type"] == "union_tag_invalid":
            context = item.get("ctx", {})
            known = [word.strip().strip("'") for word in str(context.get("expected_tags", "")).split(",")]
            message = f"no such kind {context.get('tag')!r}; {nearest(str(context.get('tag')), known)}"
        elif not isinstance(value, dict | BaseModel):
            message = f"got {value!r}: {message[:1].lower()}{message[1:]}"
        lines.append(f"{where}: {key}: {message}" if key else f"{where}: {message}")
    return lines


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _models(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType, tuple, list):
        for part in typing.get_args(annotation):
            yield from _models(part)
    elif origin is dict:
        yield from _models(typing.get_args(annotation)[1])


def _tag(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return typing.get_args(field.annotation) if field is not None else ()


def _follow(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """The dotted key as the user would write it, and the models that hold its last part."""
    section, key = [model], ""
    holder = section
    for part in loc:
        tagged = [m for m in section if part in _tag(m)]
        if tagged:  # pydantic puts the union's tag into the location; the user never wrote it as a key
            section = tagged
            continue
        if any(part == m.__name__ for m in section) or part in ("str", "function-before"):
            section = [m for m in section if part == m.__name__] or section
            continue
        holder = section
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        key += f".{part}" if key else str(part)
        found = [m.model_fields[part] for m in section if part in m.model_fields]
        section = [inner for field in found for inner in _models(cast(Any, field.annotation))]
    return key, holder
