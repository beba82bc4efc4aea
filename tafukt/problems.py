"""A mistake in what the user gave, and the words for it: shared by all packages, which do not see each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

# How many mistakes a message tells; the others are counted.
TOLD_MOST = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what is wrong with it, and the nearest thing that would be right."""

    file: str
    key: str
    message: str
    nearest: str = ""

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{where}: {self.message}{hint}" if where else f"{self.message}{hint}"


class Mistakes(ValueError):
    """Mistakes in what the user gave, all of them at once.

    Parameters
    ----------
    problems : Problem, str, or sequence of them
        Everything that was found, in the order in which it is to be told.
    """

    def __init__(self, problems: Problem | str | Sequence[Problem | str]) -> None:
        given = [problems] if isinstance(problems, Problem | str) else list(problems)
        self.problems = tuple(Problem("", "", one) if isinstance(one, str) else one for one in given)
        told, hidden = cut(self.problems, TOLD_MOST)
        lines = [*map(str, told), *([f"... and {hidden} more"] if hidden else [])]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[Mistakes], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like `word`; empty where none does."""
    known = list(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    if not close:
        lower = {name.lower(): name for name in known}
        close = [lower[name] for name in difflib.get_close_matches(str(word).lower(), lower, n=1, cutoff=0.5)]
    return close[0] if close else ""


def hint(word: str, known: Iterable[str]) -> str:
    """All known words, and the one that was meant most probably, to end a message with."""
    known = sorted(known)
    close = nearest(word, known)
    meant = f"did you mean {close!r}? " if close else ""
    return f"{meant}known: {', '.join(known)}"


def cut(items: Sequence[T], limit: int) -> tuple[Sequence[T], int]:
    """The first of a long list, and how many are left out: never one alone, whose place its count would take."""
    return (items, 0) if len(items) <= limit + 1 else (items[:limit], len(items) - limit)


def listed(words: Iterable[str], limit: int = 24) -> str:
    """Words in a line, cut off after `limit` where more than one would be left out."""
    told, hidden = cut(list(words), limit)
    return ", ".join(told) + (f", ... ({hidden} more)" if hidden else "")


def shown(value: object, limit: int = 60) -> str:
    """A value as it would stand in a file, cut off after `limit` characters."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."
