"""Jobs and nodes that a policy can look at and not write into: what runs of users' policies are made of.

They are those of the engine, which is slower by these checks; so presets, which are tested not to write, do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tafukt.simulator.engine.cluster import Cluster, Remainder
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.view import Policy, View
from tafukt.simulator.errors import PolicyWrote
from tafukt.simulator.scenario import NodeType
from tafukt.workloads.job import Ask


class Hands:
    """Hands that the run is in: the policy's while its own code goes, else the engine's."""

    __slots__ = ("of_policy", "policy")

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.of_policy = False

    def written(self, what: str) -> PolicyWrote:
        """The error of a policy that writes into something."""
        return PolicyWrote(
            f"policy {self.policy!r} has written into {what}; what a policy is handed is there to be read"
        )


class GuardedPolicy:
    """A policy whose code runs with its own hands."""

    def __init__(self, policy: Policy, hands: Hands) -> None:
        self.name = policy.name
        self._policy, self._hands = policy, hands

    def _told(self, call: Callable[..., None], *given: Any) -> None:
        self._hands.of_policy = True
        try:
            call(*given)
        finally:
            self._hands.of_policy = False

    def begin(self, view: View) -> None:
        """As the policy."""
        self._told(self._policy.begin, view)

    def waiting(self, job: JobState) -> None:
        """As the policy."""
        self._told(self._policy.waiting, job)

    def freed(self, job: JobState | None, site: int) -> None:
        """As the policy."""
        self._told(self._policy.freed, job, site)

    def round(self, view: View) -> Iterator[Any]:
        """The policy's actions; what the engine does upon each is not the policy's writing."""
        hands = self._hands
        hands.of_policy = True
        try:
            actions = iter(self._policy.round(view))
        finally:
            hands.of_policy = False
        while True:
            hands.of_policy = True
            try:
                action = next(actions, _NO_MORE)
            finally:
                hands.of_policy = False
            if action is _NO_MORE:
                return
            yield action


_NO_MORE = object()


class GuardedList(list[Any]):
    """A list that only the engine's hands change."""

    __slots__ = ("_hands", "_what")

    def __init__(self, values: Iterable[Any], hands: Hands, what: str) -> None:
        super().__init__(values)
        self._hands, self._what = hands, what


def _checked(name: str) -> Callable[..., Any]:
    change = getattr(list, name)

    def guarded(self: GuardedList, *given: Any, **more: Any) -> Any:
        if self._hands.of_policy:
            raise self._hands.written(self._what)
        return change(self, *given, **more)

    return guarded


for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend", "insert", "pop",
              "remove", "reverse", "sort"):  # fmt: skip
    setattr(GuardedList, _name, _checked(_name))


_set = object.__setattr__


class GuardedJob(JobState):
    """A job that only the engine's hands change."""

    __slots__ = ("_hands",)
    _hands: Hands

    def __init__(self, hands: Hands, index: int, ask: Ask, sites: tuple[int, ...] = ()) -> None:
        object.__setattr__(self, "_hands", hands)
        object.__setattr__(self, "ask", ask)
        super().__init__(index, ask, sites)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._hands.of_policy and name != "expected_s":  # which is kept by whoever asks first
            raise self._hands.written(f"job {self.ask.job_id!r}: its {name}")
        if type(value) is list:
            value = GuardedList(value, self._hands, f"job {self.ask.job_id!r}: its {name}")
        _set(self, name, value)


class GuardedCluster(Cluster):
    """Nodes that only the engine's hands change."""

    _hands: Hands

    def __init__(self, hands: Hands, node: NodeType, count: int, remainder: Remainder = "share") -> None:
        object.__setattr__(self, "_hands", hands)
        super().__init__(node, count, remainder)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._hands.of_policy:
            raise self._hands.written(f"nodes: their {name}")
        if type(value) is list:
            value = GuardedList(value, self._hands, f"nodes: their {name}")
        _set(self, name, value)
