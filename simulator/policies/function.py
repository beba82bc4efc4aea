"""A policy that is one function, from the view to the actions of a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simulator.actions import Action
from simulator.life import Life
from simulator.view import View

RoundFunction = Callable[[View], "Iterable[Action] | None"]


class FunctionPolicy:
    """Calls its function in every round; a generator sees the effect of each action before the next."""

    def __init__(self, name: str, function: RoundFunction) -> None:
        self.name = name
        self._function = function

    def begin(self, view: View) -> None:
        """A function keeps nothing between runs."""

    def waiting(self, job: Life) -> None:
        """It looks at `view.waiting` itself."""

    def freed(self, job: Life | None, site: int) -> None:
        """It looks at the sites itself."""

    def round(self, view: View) -> Iterable[Action]:
        """The actions that the function asks for."""
        return self._function(view) or ()
