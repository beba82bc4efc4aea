"""Tables of a TOML file: the strict base of their models, and what is wrong with one, in words.

A misspelt key is a mistake; so is a value of another type than is meant (`nodes = true`, `online = 0`), and a number
that is infinite, not a number, or beyond all measure.
"""

import copy
import itertools
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from tafukt.problems import Problem, listed, nearest, shown

LARGEST_INT = 2**63 - 1
LARGEST = 1e15
"""No quantity of any table, in its own unit, is larger."""
Location = tuple[int | str, ...]


def known_zone(name: str) -> str:
    """The name of a time zone of the IANA.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("no time zone of this name; they are written as in Africa/Casablanca") from None
    return name


Zone = Annotated[str, AfterValidator(known_zone)]


class Strict(BaseModel):
    """A table whose keys and types are taken at their word."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _of_their_types(cls, table: Any) -> Any:
        """Each value that would pass as another type replaced by a `Misfit`, which pydantic refuses at its key."""
        if not isinstance(table, dict):
            return table
        fields = _kinds(cls)
        return {key: _fitted(value, *fields[key]) if key in fields else value for key, value in table.items()}


@dataclass(frozen=True)
class Misfit:
    """A value of a type that its key does not take, and what it should be."""

    value: Any
    message: str


def _fitted(value: Any, kinds: frozenset[Any], has_tables: bool) -> Any:
    kind = type(value)
    if kind is str and str in kinds:
        return value
    if kind is list or kind is tuple:
        return [_fitted(item, kinds, has_tables) for item in value]
    if kind is dict:
        return value if has_tables else {key: _fitted(item, kinds, has_tables) for key, item in value.items()}
    message = _unfit(value, kinds) if kind in _PLAIN else ""
    return Misfit(value, message) if message else value


_PLAIN = (bool, int, float, str)


@lru_cache(maxsize=256)
def _kinds(model: type[BaseModel]) -> dict[str, tuple[frozenset[Any], bool]]:
    """The scalar types that each field takes, and whether it takes tables that have a model of their own."""
    return {
        name: (frozenset(_types_in(field.annotation)), bool(_models_in(field.annotation)))
        for name, field in model.model_fields.items()
    }


def _types_in(annotation: Any) -> Iterator[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        yield from (type(value) for value in arguments)
    elif origin is typing.Annotated:
        yield from _types_in(arguments[0])
    elif origin is dict:
        yield from _types_in(arguments[1])
    elif origin is not None:
        for argument in arguments:
            yield from _types_in(argument)
    elif annotation is Any or annotation in (bool, int, float, str, datetime, date, Path):
        yield annotation


def _unfit(value: Any, kinds: frozenset[Any] = frozenset()) -> str:
    """Reason for which a value cannot be of any of some types, though pydantic would turn it into one; else empty."""
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        return "is too large a number"
    if isinstance(value, float) and not abs(value) <= LARGEST:
        return "is too large a number" if math.isfinite(value) else "should be a finite number"
    if not kinds or Any in kinds:
        return ""
    if isinstance(value, bool):
        return "" if bool in kinds else f"should be {_wanted(kinds)}, not true or false"
    if isinstance(value, int | float):
        return "" if kinds & {int, float, str} else f"should be {_wanted(kinds)}, not a number"
    if isinstance(value, str):
        return "" if kinds & {str, Path, datetime, date} else f"should be {_wanted(kinds)}, not text"
    return ""


def _wanted(kinds: frozenset[Any]) -> str:
    if kinds & {int, float}:
        return "a number" if float in kinds else "a valid integer"
    if bool in kinds:
        return "a valid boolean, true or false"
    if kinds & {datetime, date}:
        return "a date and time with its zone, as 2025-12-01T00:00:00Z"
    return "text"


def sound(value: Any, file: str, key: str = "") -> Iterator[Problem]:
    """Numbers of a document that no table can hold, wherever they stand."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from sound(inner, file, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from sound(inner, file, f"{key}[{position}]")
    else:
        message = _unfit(value)
        if message:
            yield Problem(file, key, f"{shown(value)} is not allowed: {message}")


# --- What of a table is valid, so that all that is wrong with it is told at once


Model = TypeVar("Model", bound=BaseModel)
ROUNDS = 4


def valid_part(
    model: type[Model],
    table: Mapping[str, Any],
    file: str,
    fill: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> tuple[Model | None, list[Problem]]:
    """A table validated, and all that is wrong with it: `None` where too little of it is valid.

    What is wrong is taken out and the rest validated again, since pydantic looks at what belongs together only where
    each part is valid. `fill` stands for required keys of the table itself that are missing or taken out.
    """
    problems: dict[str, Problem] = {}
    part: dict[str, Any] = dict(table)
    for _ in range(ROUNDS):
        try:
            return model.model_validate(part, context=dict(context or {})), list(problems.values())
        except ValidationError as error:
            for problem in problems_of(error, model, file):
                problems.setdefault(problem.key, problem)
            places = {walk(model, finding["loc"]).path for finding in error.errors(include_url=False)}
            part = dict(fill or {}) | _without(part, sorted(places, key=len, reverse=True))
            if () in places:
                break
    return None, list(problems.values())


def _without(table: dict[str, Any], places: Sequence[Location]) -> dict[str, Any]:
    """A table without what stands at some places; a list goes whole, and so does a table that lacks a key."""
    result = copy.deepcopy(table)
    for place in places:
        keys = list(itertools.takewhile(lambda part: isinstance(part, str), place))
        while keys:
            inner: Any = result
            for key in keys[:-1]:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(inner, dict) and keys[-1] in inner:
                del inner[keys[-1]]
                break
            keys.pop()
    return result


def in_file_order(problems: Iterable[Problem], document: Mapping[str, Any]) -> list[Problem]:
    """Problems in the order in which a document says what they are about; what it lacks comes first in its table."""

    def place(problem: Problem) -> list[int]:
        """Positions of a problem's key in the document, from the outermost table to the innermost."""
        found: list[int] = []
        value: Any = document
        key = problem.key.removeprefix("matrix: ")
        for part in re.findall(r"[^.\[\]]+", key if key == problem.key else "matrix"):
            if isinstance(value, Mapping):
                found.append(list(value).index(part) if part in value else -1)
                value = value.get(part)
            elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
                found.append(int(part))
                value = value[int(part)]
            else:
                break
        return found

    return sorted(problems, key=place)


# --- What pydantic found, in the words of the file: key, value, what is allowed, the nearest known key


def dotted(location: Iterable[int | str]) -> str:
    """A location as a dotted key, list positions in brackets."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def problems_of(error: ValidationError, model: type[BaseModel], file: str, prefix: Location = ()) -> list[Problem]:
    """Every finding of a validation as a `Problem`; `prefix` is where the model stands in the file."""
    found: dict[str, Problem] = {}
    for finding, walked in _nearest_members([(f, walk(model, f["loc"])) for f in error.errors(include_url=False)]):
        problem = _problem(finding, walked.owners, file, prefix + walked.path)
        found.setdefault(problem.key or problem.message, problem)
    return list(found.values())


@typing.no_type_check
def _nearest_members(findings):
    """The findings without those of members of a union that are further from what was written than another is.

    Nearest is who takes the value's shape, so that its findings are not of its type; of several, who knows most of its
    keys, and then who has least to say.
    """
    groups = {}
    for finding, walked in findings:
        for place, member in walked.members:
            other_shape = walked.path == place and finding["type"].endswith("_type")
            unknown = finding["type"] == "extra_forbidden"
            groups.setdefault(place, {}).setdefault(member, []).append((other_shape, unknown))

    def distance(told):
        shapes, unknown = zip(*told, strict=True)
        return all(shapes), sum(unknown), len(told)

    best = {place: min(members, key=lambda m: distance(members[m])) for place, members in groups.items()}
    return [pair for pair in findings if all(best[place] == member for place, member in pair[1].members)]


class Walked(typing.NamedTuple):
    """A location of pydantic's, followed: models that own its last part, and the location as the file has it.

    `members` are the members of unions that it goes through, each with the place where the union stands.
    """

    owners: list[type[BaseModel]]
    path: Location
    members: tuple[tuple[Location, str], ...]


def walk(model: type[BaseModel], location: Sequence[int | str]) -> Walked:
    """Follow a location: pydantic puts a union's tag, a member's type or a validator's name between the file's keys."""
    current, owners = [model], [model]
    path: list[int | str] = []
    members: list[tuple[Location, str]] = []
    for part in location:
        tagged = _tag_of(current, part)
        holding = [m for m in current if isinstance(part, str) and part in m.model_fields]
        if tagged:
            current = owners = tagged
            members.append((tuple(path), str(part)))
        elif holding:
            path.append(part)
            owners = holding
            current = [n for m in holding for n in _models_in(m.model_fields[str(part)].annotation)]
        elif isinstance(part, int) or not _ADDED.match(part):
            path.append(part)
            owners = current
        elif not part.startswith("tagged-union"):
            members.append((tuple(path), part))
    return Walked(owners, tuple(path), tuple(members))


_ADDED = re.compile(
    r"(function-|tagged-union|str$|int$|float$|bool$|datetime$|date$|list\[|dict\[|tuple\[|literal\[|lax-or-strict"
    r"|constrained-|nullable)"
)


def _tag_of(models: list[type[BaseModel]], tag: int | str) -> list[type[BaseModel]]:
    """The models of a union that a tag chooses: by a literal that is their `kind`, or by their name in it."""
    words = re.findall(r"\w+", str(tag))
    chosen = []
    for model in models:
        kind = model.model_fields.get("kind")
        literals = typing.get_args(kind.annotation) if kind and len(models) > 1 else ()
        if model.__name__ in words or tag in literals:
            chosen.append(model)
    return chosen


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _problem(finding: dict[str, Any], models: list[type[BaseModel]], file: str, location: Location) -> Problem:
    kind, value, context = finding["type"], finding.get("input"), finding.get("ctx", {})
    key, name = dotted(location), str(location[-1]) if location else ""
    if isinstance(value, Misfit):
        message = f"{shown(value.value)} is not allowed: {value.message}"
        return Problem(file, key, message + _described(models, name))
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
    message = message.replace("input should", "should").replace("a valid string", "text")
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
    """Values that a missing discriminator may have."""
    tags = [
        str(value)
        for model in models
        for field in (model.model_fields.get(str(location[-1])) if location else None,)
        if field
        for inner in _models_in(field.annotation)
        if "kind" in inner.model_fields
        for value in typing.get_args(inner.model_fields["kind"].annotation)
    ]
    return f"; allowed: {listed(tags)}" if tags else ""
