"""What an entry of `policies` means: a preset's name, `file.py:name`, or `module:name`."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import InputError, Problem, listed, nearest, shown
from experiments.identity import bytes_digest

SOURCE_LIMIT = 1 << 20


@dataclass(frozen=True)
class PolicyRef:
    """A policy as an experiment names it.

    `label` is its name in tables and figures, the same wherever the file lies; `absolute` is what means
    the same policy from any folder; `source` is the text of a policy of the user's own, which travels with
    the run, and empty for a preset.
    """

    given: str
    label: str
    absolute: str
    source: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the user's source, empty for a preset."""
        return bytes_digest(self.source.encode()) if self.source else ""

    def load(self) -> Any:
        """The policy itself.

        Raises
        ------
        InputError
            If the source does not hold such a policy, or fails when it is read.
        """
        if ":" not in self.given:
            from simulator.policies.presets import policy

            return policy(self.given)
        origin, _, name = self.absolute.rpartition(":")
        module = _from_source(origin, self.source) if origin.endswith(".py") else _installed(origin, self.given)
        if not hasattr(module, name):
            public = [key for key in vars(module) if not key.startswith("_")]
            raise InputError(Problem(origin, "", f"holds no {name!r}", nearest(name, public)))
        return _as_policy(getattr(module, name), self)


def policy_refs(
    values: Any, file: str, folder: Path, key: str = "policies"
) -> tuple[tuple[PolicyRef, ...], list[Problem]]:
    """The policies that a list names, and what is wrong with it."""
    refs: list[PolicyRef] = []
    problems: list[Problem] = []
    entries = values if isinstance(values, list) else []
    for position, given in enumerate(entries):
        where = f"{key}[{position}]" if key == "policies" else key
        if isinstance(given, str):
            found = _ref(given, file, where, folder)
            if isinstance(found, PolicyRef):
                refs.append(found)
            else:
                problems.append(found)
    labels = [ref.label for ref in refs]
    for ref in refs:
        if labels.count(ref.label) > 1 and len({r.absolute for r in refs if r.label == ref.label}) > 1:
            problems.append(Problem(file, key, f"two policies would both be called {ref.label!r}"))
    return tuple(refs), list(dict.fromkeys(problems))


def _ref(given: str, file: str, where: str, folder: Path) -> PolicyRef | Problem:
    from simulator.policies.presets import PRESETS

    if ":" not in given:
        if given in PRESETS:
            return PolicyRef(given, given, given)
        own = "; a policy of your own is written as file.py:name"
        return Problem(file, where, f"no policy {shown(given)}; known: {listed(PRESETS)}{own}", nearest(given, PRESETS))
    origin, _, name = given.rpartition(":")
    if not name.isidentifier():
        return Problem(file, where, f"{shown(given)}: the part after ':' should be the name of a function or class")
    if not origin.endswith(".py"):
        if not all(part.isidentifier() for part in origin.split(".")):
            return Problem(file, where, f"{shown(given)}: should be file.py:name or module:name")
        return PolicyRef(given, given, given)
    path = (folder / origin).resolve()
    try:
        with path.open("rb") as stream:
            data = stream.read(SOURCE_LIMIT + 1)
        if len(data) > SOURCE_LIMIT:
            return Problem(file, where, f"{path} is larger than {SOURCE_LIMIT // 1024} KiB")
        return PolicyRef(given, f"{path.stem}:{name}", f"{path}:{name}", data.decode("utf-8"))
    except OSError as error:
        return Problem(file, where, f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return Problem(file, where, f"{path} is not UTF-8 text")


def _from_source(origin: str, source: str) -> types.ModuleType:
    """Run a policy's source as a module of its own; the one place where a user's code is run."""
    module = types.ModuleType(f"tafukt_policy_{bytes_digest(source.encode())[:12]}")
    module.__file__ = origin
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, origin, "exec"), vars(module))
    except Exception as error:
        line = _line_of(error, origin)
        raise InputError(Problem(origin, line, f"{type(error).__name__}: {error}")) from error
    return module


class _FunctionPolicy:
    """A policy that is one function, from the view to the actions of a round."""

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        self.name = name
        self.round = function

    def begin(self, view: Any) -> None:
        """A function keeps nothing between runs."""

    def waiting(self, job: Any) -> None:
        """It looks at `view.waiting` itself."""

    def freed(self, site: int) -> None:
        """It looks at the sites itself."""


def _as_policy(thing: Any, ref: PolicyRef) -> Any:
    """A policy from what a user's source holds: parts, a class, an object with `round`, or a function."""
    from simulator.policies.scheduler import ListScheduler, Parts

    if isinstance(thing, Parts):
        return ListScheduler(ref.label, thing)
    if isinstance(thing, type):
        thing = thing()
    if callable(getattr(thing, "round", None)):
        for name in ("begin", "waiting", "freed"):
            if not callable(getattr(thing, name, None)):
                raise InputError(Problem(ref.given, "", f"has `round` but no method `{name}`"))
        thing.name = ref.label
        return thing
    if callable(thing):
        return _FunctionPolicy(ref.label, thing)
    what = "should be a function view -> actions, a class with `round`, or Parts of the list scheduler"
    raise InputError(Problem(ref.given, "", f"{what}, not {type(thing).__name__}"))


def _line_of(error: Exception, origin: str) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}"
    lines: Iterable[int] = ()
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == origin:
            lines = [*lines, trace.tb_lineno]
        trace = trace.tb_next
    return f"line {[*lines][-1]}" if lines else ""


def _installed(origin: str, given: str) -> types.ModuleType:
    try:
        return importlib.import_module(origin)
    except ImportError as error:
        raise InputError(Problem("", "policies", f"{shown(given)}: {error}")) from None
