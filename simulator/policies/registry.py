"""All parts and presets by name, what each does and where it comes from; and policies put together from names.

A part is registered where it stands, in the dictionary of its kind; what is said of it is the first sentence
of its documentation, and its references are the DOIs that its documentation names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from tafukt.simulator.engine.actions import Action
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies import order
from tafukt.simulator.policies.deferral.by_signal import BySignal
from tafukt.simulator.policies.deferral.elastic import Elastic
from tafukt.simulator.policies.deferral.signals import SIGNALS
from tafukt.simulator.policies.deferral.slots import WHEN
from tafukt.simulator.policies.deferral.window import LowestGridWindow
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.place import PLACES
from tafukt.simulator.policies.planner.planner import PlannerSettings
from tafukt.simulator.policies.presets import PLANNERS, PRESETS, Preset, planner_like
from tafukt.simulator.policies.review import REVIEWS
from tafukt.simulator.policies.runtime_prediction import DURATIONS
from tafukt.simulator.policies.size import SIZES

ORDERS: dict[str, Any] = {
    "arrival": order.arrival,
    "shortest": order.shortest,
    "longest": order.longest,
    "deadline": order.deadline,
    "wfp3": order.WFP3,
    "unicep": order.UNICEP,
    "f1": order.f1,
    "fair": order.FairShare,
}
BACKFILLS = {
    "none": "Nobody overtakes anybody.",
    "first-fit": "Whoever fits starts, in order; nothing is kept for those who do not.",
    "easy": "The first that does not fit has a reservation that nobody may delay "
    "(Mu'alem and Feitelson 2001, 10.1109/71.932708).",
    "conservative": "Everybody who waits has a reservation (Mu'alem and Feitelson 2001, 10.1109/71.932708).",
}
PARTS: dict[str, Mapping[str, Any]] = {
    "order": ORDERS,
    "place": PLACES,
    "when": {**WHEN, "wait-for-sun": LowestGridWindow},
    "size": {**SIZES, "elastic": Elastic},
    "review": REVIEWS,
    "backfill": BACKFILLS,
    "signal": SIGNALS,
    "duration": DURATIONS,
}
QUESTIONS = {
    "order": "who next",
    "place": "where",
    "when": "when",
    "size": "how large",
    "review": "what becomes of running jobs",
    "backfill": "who may overtake whom",
    "signal": "what `when` and `size` go by; grid if not given",
    "duration": "how long jobs are taken to run; if not given the user's estimate, its usual share for wait-for-sun",
}
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;)]*[^\s,;).:]")


class PartError(ValueError):
    """A policy's table does not name parts as it should.

    Attributes
    ----------
    key : str
        The key of the table, empty for the table itself.
    value : str
        What stands there, where a name was looked up.
    known : sequence of str
        What could stand there.
    """

    def __init__(self, key: str, message: str, value: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.key, self.value, self.known = key, value, known


@dataclass(frozen=True)
class CatalogueRow:
    """One line of a list: `kind` is empty for a preset."""

    kind: str
    name: str
    does: str
    source: str


def rows(kind: str = "") -> list[CatalogueRow]:
    """Every preset, or every part of a kind, in the order in which they are registered."""
    if not kind:
        return [CatalogueRow("", name, preset.does, preset.source) for name, preset in PRESETS.items()]
    return [CatalogueRow(kind, name, says(part), ", ".join(references(part))) for name, part in PARTS[kind].items()]


def details(name: str) -> list[str]:
    """A preset or part explained, in lines.

    Raises
    ------
    KeyError
        If nothing has this name.
    """
    lines: list[str] = []
    if name in PRESETS:
        preset = PRESETS[name]
        lines += [name, f"  {preset.does}", f"  Source: {preset.source}"]
        lines += [f"  {kind:9} {what}" for kind, what in made_of(preset).items()]
    if name in PLANNERS:
        lines += [f"  Key {key}, default {value!r}" for key, value in vars(PLANNERS[name]).items()]
    for kind, parts in PARTS.items():
        if name in parts:
            part = parts[name]
            doc = part if isinstance(part, str) else inspect.getdoc(part) or ""
            lines += [f"{kind} = {name!r}  ({QUESTIONS[kind]})", *(f"  {line}".rstrip() for line in doc.splitlines())]
            lines += [f"  Option {key}, default {value!r}" for key, value in options(part).items()]
    if not lines:
        raise KeyError(name)
    return lines


def made_of(preset: Preset) -> dict[str, str]:
    """The parts of a preset, by kind, each with what it says of itself; its whole where it has no parts."""
    parts = preset.parts
    if not isinstance(parts, Parts):
        return {"whole": "a policy of its own"}
    told: dict[str, str] = {}
    for kind, value in vars(parts).items():
        if value is not None:
            for key, part in _unwrapped(kind, value).items():
                name = next((n for n, known in PARTS.get(key, {}).items() if known is part or n == part), "")
                shown = name or getattr(part, "__name__", type(part).__name__)
                told[key] = f"{shown}: {says(BACKFILLS.get(part, part) if isinstance(part, str) else part)}"
    return told


def says(part: Any) -> str:
    """The first sentence of what a part says of itself."""
    doc = part if isinstance(part, str) else inspect.getdoc(getattr(part, "func", part)) or ""
    first = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<!\bal)\.(?=\s[A-Z0-9])", first)[0].rstrip(".") + "."


def references(part: Any) -> list[str]:
    """The DOIs that a part's documentation names, as links."""
    doc = part if isinstance(part, str) else inspect.getdoc(part) or ""
    return [f"https://doi.org/{doi}" for doi in dict.fromkeys(_DOI.findall(doc))]


def options(part: Any) -> dict[str, float | bool]:
    """The numbers that a part can be given, with their defaults."""
    if isinstance(part, str):
        return {}
    found = inspect.signature(part).parameters.values()
    return {p.name: p.default for p in found if isinstance(p.default, int | float)}


# --- policies from names ------------------------------------------------------------------------------


def parts_of(table: Mapping[str, Any]) -> Parts:
    """The parts of a policy, from a table of names.

    `order`, `place`, `when`, `size`, `review`, `backfill`, `signal`, `duration` each name a part, or are a
    table `{ part = "threshold", quantile = 0.2 }` of a part with its options. `like` names a preset whose
    parts hold where the table names none.

    Raises
    ------
    PartError
        If something is not known, or does not go together.
    """
    given = {key: value for key, value in table.items() if key not in ("name", "like")}
    for key in given:
        if key not in PARTS:
            raise PartError(key, "unknown key", key, (*PARTS, "name", "like"))
    base = _base(table.get("like"))
    made = {key: _part(key, value) for key, value in given.items() if key not in ("signal", "duration")}
    signal, duration = (_part(key, given.get(key, default)) for key, default in _DEFAULTS.items())
    changes: dict[str, Any] = {key: made[key] for key in ("order", "place") if key in made}
    if "backfill" in given:
        changes["backfill"] = given["backfill"]
    if "when" in made:
        by_sun = isinstance(_bare(made["when"]), type)  # a part that keeps a frame, and a signal, of its own
        if by_sun and "signal" in given and "size" not in made:
            raise PartError("signal", "is not used by this `when`, which goes by grid draw alone")
        if not by_sun:
            changes["when"] = _when(made["when"], signal, duration)
        else:
            changes["when"] = partial(_with, made["when"], duration) if "duration" in given else made["when"]
    if "size" in made:
        elastic = _bare(made["size"]) is Elastic
        changes["size"] = made["size"](signal, duration()) if elastic else made["size"]
    if "review" in made:
        changes["review"] = made["review"]
        if changes.get("when", base.when) is None:  # else who is paused would start again at once
            changes["when"] = _when(WHEN["lowest-window"], signal, duration)
    asked = [key for key in ("signal", "duration") if key in given]
    if asked and not {"when", "size", "review"} & made.keys():
        changes |= _changed(base, {key: _part(key, given[key]) for key in asked}, asked[0])
    return replace(base, **changes)


def maker_of(table: Mapping[str, Any]) -> Callable[[str], Any]:
    """Maker of the policy of a table of names, which is given its own name: see `parts_of`.

    With `like = "planner"` or `"budget-planner"` the other keys are those of `PlannerSettings`.

    Raises
    ------
    PartError
        If something is not known, or does not go together.
    """
    if table.get("like") not in PLANNERS:
        parts = parts_of(table)
        return lambda name: ListScheduler(name, parts)
    like, changes = str(table["like"]), {key: value for key, value in table.items() if key not in ("name", "like")}
    known = {f.name: f.default for f in fields(PlannerSettings)}
    for key, value in changes.items():
        if key not in known:
            raise PartError(key, "unknown key", key, (*known, "name", "like"))
        whole, yes = isinstance(known[key], int), isinstance(known[key], bool)
        if isinstance(value, bool) != yes or not isinstance(value, int if whole else (int, float)):
            raise PartError(key, f"should be of the kind of its default, {known[key]!r}")
        if not yes and not (1 if key in LEAST_ONE else 0) <= value <= 1e9:
            raise PartError(key, f"should be at least {1 if key in LEAST_ONE else 0}, not {value!r}")
    return lambda name: planner_like(like, name, changes)


LEAST_ONE = ("horizon_h", "sites", "every_h")


def _changed(base: Parts, parts: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The `when` and the `size` of a preset with another signal, another duration, or both."""
    changes: dict[str, Any] = {}
    by_sun = isinstance(_bare(base.when), type)
    if by_sun and "signal" in parts:
        raise PartError("signal", "is not used by this `when`, which goes by grid draw alone")
    if by_sun:
        changes["when"] = partial(_with, base.when, parts["duration"])
    elif base.when is not None:
        old: Any = base.when()
        changes["when"] = _when(old.part, parts.get("signal", old.signal), parts.get("duration", type(old.duration)))
    if isinstance(base.size, Elastic):
        duration = parts.get("duration", type(base.size.duration))
        changes["size"] = Elastic(parts.get("signal", base.size.signal), duration())
    if not changes:
        raise PartError(key, "is used by `when` and `size`; give one of them too")
    return changes


_DEFAULTS = {"signal": "grid", "duration": "estimate"}


def _when(part: Any, signal: Any, duration: Any) -> Callable[[], Any]:
    return lambda: BySignal(part, signal, duration())


def _with(part: Any, duration: Any) -> Any:
    return part(duration=duration())


def _base(like: Any) -> Parts:
    if like is None:
        return Parts()
    preset = PRESETS.get(like) if isinstance(like, str) else None
    composed = tuple(name for name, known in PRESETS.items() if isinstance(known.parts, Parts))
    if preset is None or not isinstance(preset.parts, Parts):
        raise PartError("like", "should be a preset that is made of parts", str(like), composed)
    return preset.parts


def _part(key: str, value: Any) -> Any:
    """A part by its name, with its options if it has been given any."""
    settings: dict[str, Any] = {}
    if isinstance(value, Mapping):
        settings = {name: inner for name, inner in value.items() if name != "part"}
        value = value.get("part")
    known = PARTS[key]
    if not isinstance(value, str) or value not in known:
        raise PartError(key, "no such part", value if isinstance(value, str) else str(value), tuple(known))
    part = known[value]
    allowed = options(part)
    for name, inner in settings.items():
        if name not in allowed:
            raise PartError(f"{key}.{name}", "unknown option", name, tuple(allowed))
        like = bool if isinstance(allowed[name], bool) else (int, float)
        if not isinstance(inner, like) or isinstance(inner, bool) != isinstance(allowed[name], bool):
            raise PartError(f"{key}.{name}", f"should be of the kind of its default, {allowed[name]!r}")
    return partial(part, **settings) if settings else part


def _bare(part: Any) -> Any:
    return getattr(part, "func", part)


def _unwrapped(kind: str, value: Any) -> dict[str, Any]:
    """A part of `Parts`, and what it was built from where it is a frame around others."""
    if kind == "when" and not isinstance(value, type):
        value = value()
    if isinstance(value, Elastic):
        return {kind: Elastic, "signal": _bare(value.signal), "duration": type(value.duration)}
    if isinstance(value, BySignal):
        return {kind: _bare(value.part), "signal": _bare(value.signal), "duration": type(value.duration)}
    return {kind: _bare(value)}


# --- A policy that is one function, from the view to the actions of a round


RoundFunction = Callable[[View], "Iterable[Action] | None"]


class FunctionPolicy:
    """Calls its function in every round; a generator sees the effect of each action before the next."""

    def __init__(self, name: str, function: RoundFunction) -> None:
        self.name = name
        self._function = function

    def begin(self, view: View) -> None:
        """A function keeps nothing between runs."""

    def waiting(self, job: JobState) -> None:
        """It looks at `view.waiting` itself."""

    def freed(self, job: JobState | None, site: int) -> None:
        """It looks at the sites itself."""

    def round(self, view: View) -> Iterable[Action]:
        """The actions that the function asks for."""
        return self._function(view) or ()


def policy_from(thing: Any, name: str = "") -> Any:
    """A policy from whatever may be one: a preset's name, `Parts`, a class or object with `round`, or a function.

    Parameters
    ----------
    thing : str, Parts, type, object or function
    name : str
        What the policy is told by; by default what it calls itself, or the function's name.

    Raises
    ------
    KeyError
        If no preset has this name.
    TypeError
        If it cannot be a policy; the message says why.
    """
    if isinstance(thing, str):
        return PRESETS[thing].make(name or thing)
    if isinstance(thing, Parts):
        return ListScheduler(name or "parts", thing)
    if isinstance(thing, type):
        thing = thing()
    if callable(getattr(thing, "round", None)):
        for method in ("begin", "waiting", "freed"):
            if not callable(getattr(thing, method, None)):
                raise TypeError(f"has `round` but no method `{method}`")
        thing.name = name or getattr(thing, "name", "") or type(thing).__name__
        return thing
    if callable(thing):
        return FunctionPolicy(name or getattr(thing, "__name__", "function"), thing)
    what = "should be a function view -> actions, a class with `round`, or Parts of the list scheduler"
    raise TypeError(f"{what}, not {type(thing).__name__}")
