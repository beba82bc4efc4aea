"""The one exception of this package, and the sentence that helps with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkloadError(ValueError):
    """A workload's description or file is wrong; the message says where, what, and what is allowed."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known names, with the one meant most probably: for the end of an error message."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}known: {', '.join(names)}"


def sentences(error: Exception, where: str, known: Iterable[str] = ()) -> str:
    """A pydantic validation error as one line per mistake, each naming its key and value.

    `known` are the keys that an unknown one may have been meant for.
    """
    errors = getattr(error, "errors", None)
    if errors is None:
        return f"{where}: {error}"
    lines = []
    for item in errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "(all)"
        shown = f" (got {item['input']!r})" if not isinstance(item["input"], dict) else ""
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"unknown key; {nearest(str(item['loc'][-1]), known)}" if known else "unknown key"
        lines.append(f"{where}: {key}: {message}{shown}")
    return "\n".join(lines)
