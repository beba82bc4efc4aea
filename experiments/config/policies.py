"""Entries of `policies`: a preset's name, a table of parts, `file.py:name`, or `module:name`.

An installed package may also offer policies by name, as entry points of the group `tafukt.policies`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import InputError, Problem, listed, nearest, shown
from tafukt.experiments.hashing import bytes_digest

SOURCE_LIMIT = 1 << 20
POLICIES_MOST = 256
GROUP = "tafukt.policies"
EVERY = "all"


@dataclass(frozen=True)
class PolicyRef:
    """A policy as an experiment names it.

    `label` is its name in tables and figures, the same wherever the file lies; `absolute` is what means
    the same policy from any folder; `source` is the text of a policy of the user's own, which travels with
    the run, and empty for a preset; `parts` is the table of a policy put together from parts, as JSON, and
    empty for all others; `module_digest` is the SHA-256 of the code of an installed policy's package.
    """

    given: str
    label: str
    absolute: str
    source: str = ""
    parts: str = ""
    module_digest: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the user's source or table, or of an installed package's code; empty for a preset."""
        text = self.source or self.parts
        return bytes_digest(text.encode()) if text else self.module_digest

    @property
    def is_ours(self) -> bool:
        """Whether it is a preset or put together from our parts, whose code is known to write into nothing."""
        from tafukt.simulator.policies.presets import PRESETS

        return bool(self.parts) or self.given in PRESETS

    @property
    def written(self) -> str | dict[str, Any]:
        """The policy as an experiment file names it, from whatever folder."""
        return dict(json.loads(self.parts)) if self.parts else self.absolute

    def load(self) -> Any:
        """The policy itself.

        Raises
        ------
        InputError
            If the source does not hold such a policy, or fails when it is read.
        """
        from tafukt.simulator.policies.presets import PRESETS, policy

        if self.parts:
            return _composed(json.loads(self.parts), self.label)
        if ":" not in self.given:
            return policy(self.given) if self.given in PRESETS else _as_policy(_offered(self.given), self)
        origin, _, name = self.absolute.rpartition(":")
        module = _from_source(origin, self.source) if origin.endswith(".py") else _installed(origin, self.given)
        if not hasattr(module, name):
            public = [key for key in vars(module) if not key.startswith("_")]
            raise InputError(Problem(origin, "", f"holds no {name!r}", nearest(name, public)))
        return _as_policy(getattr(module, name), self)


def policy_refs(
    values: Any, file: str, folder: Path, key: str = "policies"
) -> tuple[tuple[PolicyRef, ...], list[Problem]]:
    """The policies that a list names, and what is wrong with it; `all` is every one that comes with Tafukt."""
    from tafukt.simulator.policies.presets import PRESETS

    refs: list[PolicyRef] = []
    problems: list[Problem] = []
    entries = values if isinstance(values, list) else []
    if len(entries) > POLICIES_MOST:
        problems.append(Problem(file, key, f"lists {len(entries)} policies; at most {POLICIES_MOST} are allowed"))
    for position, given in enumerate(entries[:POLICIES_MOST]):
        where = f"{key}[{position}]" if key == "policies" else key
        if isinstance(given, str | dict):
            if given == EVERY and key == "policies":
                refs += [PolicyRef(name, name, name) for name in PRESETS]
                continue
            found = _ref(given, file, where, folder) if isinstance(given, str) else _table(given, file, where)
            if isinstance(found, PolicyRef):
                refs.append(found)
            else:
                problems.append(found)
    refs = list(dict.fromkeys(refs))
    labels = [ref.label for ref in refs]
    for ref in refs:
        if labels.count(ref.label) > 1 and len({r.absolute for r in refs if r.label == ref.label}) > 1:
            problems.append(Problem(file, key, f"two policies would both be called {ref.label!r}"))
    return tuple(refs), list(dict.fromkeys(problems))


def _table(table: Mapping[str, Any], file: str, where: str) -> PolicyRef | Problem:
    """A policy put together from parts; its name is its label."""
    from tafukt.simulator.policies.presets import PRESETS
    from tafukt.simulator.policies.registry import PartError, maker_of

    label = table.get("name")
    if not isinstance(label, str) or not label or ":" in label:
        return Problem(file, f"{where}.name", "a policy made of parts needs a name, without ':'")
    if label in PRESETS:
        return Problem(file, f"{where}.name", f"{shown(label)} is the name of a policy that comes with Tafukt")
    try:
        maker_of(table)
    except PartError as error:
        key = f"{where}.{error.key}" if error.key else where
        message = f"{error} {shown(error.value)}" if error.value else str(error)
        if not error.known:
            return Problem(file, key, message)
        return Problem(file, key, f"{message}; known: {listed(error.known)}", nearest(error.value, error.known))
    text = json.dumps(dict(table), sort_keys=True)
    return PolicyRef(text, label, text, parts=text)


def _composed(table: Mapping[str, Any], label: str) -> Any:
    from tafukt.simulator.policies.registry import maker_of

    return maker_of(table)(label)


def _entry_points() -> dict[str, EntryPoint]:
    """The policies that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _offered(name: str) -> Any:
    try:
        return _entry_points()[name].load()
    except (ImportError, AttributeError, KeyError) as error:
        raise InputError(Problem("", "policies", f"{shown(name)}: {error}")) from None


def _ref(given: str, file: str, where: str, folder: Path) -> PolicyRef | Problem:
    from tafukt.simulator.policies.presets import PRESETS

    if ":" not in given:
        if given in PRESETS:
            return PolicyRef(given, given, given)
        if given in (points := _entry_points()):
            return PolicyRef(given, given, given, module_digest=_code_digest(points[given].module))
        own = "; a policy of your own is written as file.py:name"
        return Problem(file, where, f"no policy {shown(given)}; known: {listed(PRESETS)}{own}", nearest(given, PRESETS))
    origin, _, name = given.rpartition(":")
    if not name.isidentifier():
        return Problem(file, where, f"{shown(given)}: the part after ':' should be the name of a function or class")
    if not origin.endswith(".py"):
        if not all(part.isidentifier() for part in origin.split(".")):
            return Problem(file, where, f"{shown(given)}: should be file.py:name or module:name")
        return PolicyRef(given, given, given, module_digest=_code_digest(origin))
    path = (folder / origin).resolve()
    try:
        with path.open("rb") as stream:
            data = stream.read(SOURCE_LIMIT + 1)
        if len(data) > SOURCE_LIMIT:
            return Problem(file, where, f"{path} is larger than {SOURCE_LIMIT // 1024} KiB")
        source = data.decode("utf-8")
        return PolicyRef(given, _own_name(source, name) or f"{path.stem}:{name}", f"{path}:{name}", source)
    except OSError as error:
        return Problem(file, where, f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return Problem(file, where, f"{path} is not UTF-8 text")


def _code_digest(module: str) -> str:
    """SHA-256 over the code of a module: its own file, or every file of code in its package; empty if there is none.

    The module itself is not run for it.
    """
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    files = [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []
    for folder in spec.submodule_search_locations or ():
        files += [path for path in Path(folder).rglob("*") if path.suffix in (".py", ".pyd", ".so")]
    if module.partition(".")[0] == "tafukt":
        return ""  # counted among the source of every run
    total = hashlib.sha256()
    for path in sorted(set(files)):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest() if files else ""


def _own_name(source: str, name: str) -> str:
    """The name that a class of the user's own gives itself, in its body or its `__init__`; the code is not run.

    Empty where it gives none, or that of a policy that comes with Tafukt.
    """
    from tafukt.simulator.policies.presets import PRESETS

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):  # told of when it is run
        return ""
    own = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if own is None:
        return ""
    within = [
        node for part in own.body if isinstance(part, ast.FunctionDef) and part.name == "__init__" for node in part.body
    ]
    for node in (*within, *own.body):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(ast.unparse(target) in ("name", "self.name") for target in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value if value.value not in PRESETS and ":" not in value.value else ""
    return ""


def _from_source(origin: str, source: str) -> types.ModuleType:
    """Run a policy's source as a module of its own; the one place where a user's code is run."""
    module = types.ModuleType(f"tafukt_policy_{bytes_digest(source.encode())[:12]}")
    module.__file__ = origin
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, origin, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        line = _line_of(error, origin)
        raise InputError(Problem(origin, line, f"{type(error).__name__}: {error}")) from error
    return module


def _as_policy(thing: Any, ref: PolicyRef) -> Any:
    """A policy from what a user's source holds: parts, a class, an object with `round`, or a function."""
    from tafukt.simulator.policies.registry import policy_from

    try:
        return policy_from(None if isinstance(thing, str) else thing, ref.label)
    except TypeError as error:
        raise InputError(Problem(ref.given, "", str(error))) from None


def _line_of(error: BaseException, origin: str) -> str:
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
