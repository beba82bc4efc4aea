"""The conformance kit: runs any policy through small scenarios and says what it broke.

`check` looks for impossible actions, jobs where their data may not go, decisions that rest on the future, on
the order of a dictionary, on ids, on chance or on an earlier run, and for jobs that never get their turn.
What it finds is wrong; that it finds nothing proves little more than that these scenarios went well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.conformance_scenarios import HOUR_S, Case, cases, other_future, renamed
from simulator.engine import Engine, Policy
from simulator.errors import BreachError, PolicyError
from simulator.life import Life
from simulator.record import Record
from simulator.view import View

SPLIT_S = 30 * HOUR_S  # until then two futures are one
ROUNDS_MOST = 100_000
CHECKS = {
    "impossible": "asks only for what is possible",
    "residency": "keeps jobs where their data may be",
    "crash": "does not fail",
    "endless": "comes to an end",
    "future": "decides by the past alone",
    "order": "does not depend on the order of dictionaries",
    "ids": "does not depend on how jobs are called",
    "chance": "decides the same twice",
    "memory": "forgets an earlier run",
    "starvation": "lets every job have its turn",
}
Decision = tuple[Any, ...]


@dataclass(frozen=True)
class Finding:
    """One thing that a policy broke: which of `CHECKS`, in which scenario, and how it showed."""

    check: str
    case: str
    message: str


class Endless(Exception):
    """A policy asks for round after round without end."""


class Shuffled(dict[int, Life]):
    """A dictionary that is walked in an order of its own."""

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(super().__iter__(), key=lambda index: hashlib.sha256(str(index).encode()).digest()))

    def keys(self) -> Any:
        """Keys in that order."""
        return list(self)

    def values(self) -> Any:
        """Values in that order."""
        return [self[index] for index in self]

    def items(self) -> Any:
        """Both in that order."""
        return [(index, self[index]) for index in self]


class _Counted:
    """A policy whose rounds are counted."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rounds = 0
        self.name = policy.name
        self.begin, self.waiting, self.freed = policy.begin, policy.waiting, policy.freed

    def round(self, view: View) -> Any:
        """As the policy; an error after too many."""
        self._rounds += 1
        if self._rounds > ROUNDS_MOST:
            raise Endless(f"{ROUNDS_MOST:,} rounds by {view.now_s / HOUR_S:.1f} h")
        return self._policy.round(view)


def check(factory: Callable[[], Policy]) -> list[Finding]:
    """Run a policy through every scenario; returns what it broke, and nothing if all went well.

    Parameters
    ----------
    factory : callable
        Makes a fresh policy each time it is called.
    """
    found: list[Finding] = []
    for case in cases():
        record, finding = _attempt(factory(), case)
        if record is None:
            found += [finding] if finding else []
            continue
        found += _starved(case, record)
        found += _repeated(factory, case, record)
        if case.name not in _ONLY_ONCE:
            found += _varied(factory, case, record)
    return list({(f.check, f.message): f for f in found}.values())


# Where supply is short the engine itself foresees it, and quotas or links add nothing to these checks.
_ONLY_ONCE = ("short of supply", "quotas", "data on the way")


def _attempt(policy: Policy, case: Case, shuffle: bool = False) -> tuple[Record | None, Finding | None]:
    """One run; what it broke where it did not come to its end."""
    try:
        engine = Engine(case.scenario, case.jobs, _Counted(policy), 1, case.settings)
        if shuffle:
            engine.waiting, engine.running = Shuffled(), Shuffled()
        return engine.run(), None
    except PolicyError as error:
        kind = "residency" if "may not run on" in str(error) or "cannot move to" in str(error) else "impossible"
        return None, Finding(kind, case.name, str(error))
    except Endless as error:
        return None, Finding("endless", case.name, str(error))
    except BreachError:
        raise  # ours, not the policy's
    except Exception as error:
        return None, Finding("crash", case.name, f"{type(error).__name__}: {error}")


def _repeated(factory: Callable[[], Policy], case: Case, record: Record) -> Iterator[Finding]:
    """Twice the same, by a new policy and by one that has run before."""
    again, _ = _attempt(factory(), case)
    message = _differs(record, again)
    if message:
        yield Finding("chance", case.name, message)
        return
    used = factory()
    _attempt(used, case)
    message = _differs(record, _attempt(used, case)[0])
    if message:
        yield Finding("memory", case.name, message)


def _varied(factory: Callable[[], Policy], case: Case, record: Record) -> Iterator[Finding]:
    """The same decisions whatever comes later, however dictionaries are walked and jobs are called."""
    unended = frozenset(
        job.ask.job_id for job, o in zip(record.jobs, record.outcomes, strict=True) if not o.end_s < SPLIT_S
    )
    message = _differs(record, _attempt(factory(), other_future(case, SPLIT_S, unended))[0], until_s=SPLIT_S)
    if message:
        yield Finding("future", case.name, f"with another future from {SPLIT_S / HOUR_S:.0f} h on, {message}")
    message = _differs(record, _attempt(factory(), case, shuffle=True)[0])
    if message:
        yield Finding("order", case.name, f"with waiting and running jobs in another order, {message}")
    other, names = renamed(case)
    message = _differs(record, _attempt(factory(), other)[0], names)
    if message:
        yield Finding("ids", case.name, f"with jobs called otherwise, {message}")


def _starved(case: Case, record: Record) -> Iterator[Finding]:
    left = [
        (job.ask, outcome) for job, outcome in zip(record.jobs, record.outcomes, strict=True) if outcome.state == "left"
    ]
    if left:
        ask, outcome = left[0]
        what = "had not ended" if outcome.start_s == outcome.start_s else "had never started"
        end_h = case.scenario.end_s / HOUR_S
        yield Finding(
            "starvation",
            case.name,
            f"{len(left)} of {len(record.jobs)} jobs {what} at {end_h:.0f} h; {ask.job_id!r} waited from "
            f"{ask.submit_s / HOUR_S:.1f} h on, for {ask.gpus} GPUs",
        )


# --- comparing ------------------------------------------------------------------------------------------


def _differs(
    one: Record, other: Record | None, names: Mapping[str, str] | None = None, until_s: float = float("inf")
) -> str:
    """Where two runs part, in words; empty where they do not."""
    if other is None:
        return "it fails"
    mine, theirs = (list(_decisions(record, until_s)) for record in (one, other))
    if names is not None:
        theirs = [(time, kind, names.get(job, job), *rest) for time, kind, job, *rest in theirs]
    for here, there in zip(mine, theirs, strict=False):
        if here != there:
            return f"it parts at {min(here[0], there[0]) / HOUR_S:.2f} h: {_told(here)}, or {_told(there)}"
    if len(mine) != len(theirs):
        more = (mine if len(mine) > len(theirs) else theirs)[min(len(mine), len(theirs))]
        return f"it parts at {more[0] / HOUR_S:.2f} h: {_told(more)}, or nothing"
    return ""


def _decisions(record: Record, until_s: float) -> Iterable[Decision]:
    for event in record.events:
        if event.time_s >= until_s:
            return
        if event.job >= 0 and event.kind in ("start", "hold", "pause", "move", "resize", "cap"):
            until = round(float(event.detail.get("until_s", 0.0)), 3)
            yield event.time_s, event.kind, record.jobs[event.job].ask.job_id, event.site, until


def _told(decision: Decision) -> str:
    _, kind, job, site, until = decision
    return f"{kind} of {job} at site {site}" + (f" until {until / HOUR_S:.2f} h" if until else "")
