"""What is wrong with a site, in words for the person who wrote its file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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
