"""Every key of an experiment file, as the schema has it: for tests that must miss none."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from tafukt.experiments.config.schema import Experiment
from tafukt.sites.site import SiteModel
from tafukt.strict import _kinds, _models_in
from tafukt.workloads.mix import ClassModel
from tafukt.workloads.service import ServiceModel

SITE = "sites.own.x"


@dataclass(frozen=True)
class Key:
    """A key: its path in the file, list positions as numbers; the kinds of the tables that it lies in; its types."""

    path: tuple[str | int, ...]
    kinds: tuple[tuple[tuple[str | int, ...], str], ...]
    types: frozenset[Any]
    model: type[BaseModel]

    @property
    def dotted(self) -> str:
        """As a message says it."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
        return text

    @property
    def title(self) -> str:
        """The key with the kinds that it needs."""
        return " ".join([self.dotted, *(kind for _, kind in self.kinds)])


def every_key() -> list[Key]:
    """Every key of the schema that holds a value, once for each kind of table that it stands in."""
    keys = [*_of(Experiment, (), ())]
    keys += _of(SiteModel, ("sites", "own", "x"), ())
    keys += _of(ServiceModel, ("service",), ())
    keys += _of(ClassModel, ("workload", "classes", "fine_tuning"), ())
    return keys


def _of(model: type[BaseModel], path: tuple[str | int, ...], kinds: tuple[Any, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        types, _ = _kinds(model)[name]
        place = (*path, name)
        inner = _models_in(field.annotation)
        if types - {str} or not inner:
            yield Key(place, kinds, types, model)
        for member in inner:
            tag = member.model_fields.get("kind")
            chosen = [] if tag is None or len(inner) == 1 else list(typing.get_args(tag.annotation))[:1]
            where = place if not _in_list(field.annotation) else (*place, 0)
            where = (*place, "one") if typing.get_origin(field.annotation) is dict else where
            yield from _of(member, where, (*kinds, *((where, kind) for kind in chosen)))


def _in_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (list, tuple)


def put(document: dict[str, Any], key: Key, value: Any) -> dict[str, Any]:
    """A document with a value at a key, and the kinds of tables that it needs."""
    for place, kind in (*((((*place, "kind")), kind) for place, kind in key.kinds), (key.path, value)):
        inner: Any = document
        for part, following in itertools.pairwise(place):
            empty: Any = [] if isinstance(following, int) else {}
            if isinstance(part, int):
                if not inner:
                    inner.append(empty)
                inner = inner[part]
            else:
                inner = inner.setdefault(part, empty)
        inner[place[-1]] = kind
    return document
