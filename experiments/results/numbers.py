"""Numbers as text."""

from __future__ import annotations

import re


def number_text(pattern: str, value: float) -> str:
    """A number by its format, as in `{:.1%}`; what rounds to zero has no sign."""
    text = pattern.format(value)
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-−")


MAD = re.compile(r"\bMAD\b")


def in_currency(text: str, currency: str) -> str:
    """A unit or a sentence with the currency of the experiment in place of MAD; nothing is converted."""
    return MAD.sub(currency, text)
