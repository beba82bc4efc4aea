"""Text in lines that fit the terminal, broken between words alone."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from typing import TextIO

NARROW = 80
COLUMN_MOST = 34
"""A first column that is wider does not indent the lines that go on from its line."""
TWO_COLUMNS = re.compile(r"\s*\S+(?: \S+)*?\s{2,}(?=\S)")


def width() -> int:
    """Columns that a table may take: `COLUMNS` where it is set, else those of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((NARROW, 24)).columns


def wraps(stream: TextIO) -> bool:
    """Whether text is broken into lines: for a terminal, or where `COLUMNS` says how wide it is; not for a file."""
    return "COLUMNS" in os.environ or stream.isatty()


def in_lines(text: str, stream: TextIO) -> str:
    """A text whose lines fit; what goes on is indented, under the second column where there are two."""
    return "\n".join(_broken(line) for line in text.split("\n")) if wraps(stream) else text


def _broken(line: str) -> str:
    if len(line) <= width():
        return line
    columns = TWO_COLUMNS.match(line)
    leading = len(line) - len(line.lstrip())
    under = len(columns.group()) if columns and len(columns.group()) <= COLUMN_MOST else leading + 2 if leading else 0
    return textwrap.fill(
        line,
        width(),
        subsequent_indent=" " * under,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
