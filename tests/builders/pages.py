"""The pages of README and docs, and the blocks of code on them, for the tests that do what a page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("toml", "python", "csv", "sh", "text")
"""What a block may be; `text` is none of the others, as an equation, and is not run."""

_BLOCK = re.compile(r"(?:<!-- test: (?P<note>[^>]*?) -->\n+)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the prose between it and the block before, and a note for the test.

    The note stands in an HTML comment above the block, which no reader sees: `<!-- test: not run: WHY -->`, or
    `<!-- test: in sites.own.torino -->` for a fragment of TOML that belongs into that table.
    """

    language: str
    text: str
    before: str
    note: str
    line: int

    @property
    def left_out(self) -> bool:
        """Whether the page says that this block cannot be run, and why."""
        return self.note.startswith("not run: ") and len(self.note) > len("not run: ")


def pages() -> list[str]:
    """Paths of all pages that are written by hand or by a benchmark, from the repository's top."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
    made = ROOT / "docs" / "reference"
    found += [path for path in sorted((ROOT / "docs").rglob("*.md")) if made not in path.parents]
    return [str(path.relative_to(ROOT)) for path in found]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page, in order; of some languages only."""
    return [block for block in _blocks(text_of(page)) if not languages or block.language in languages]


def _blocks(text: str) -> Iterator[Block]:
    end = 0
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(found["language"], found["text"], text[end : found.start()], found["note"] or "", line)
        end = found.end()


def spans(page: str) -> list[str]:
    """What stands between single backticks in the prose of a page, in one line each."""
    prose = _BLOCK.sub("", text_of(page))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
