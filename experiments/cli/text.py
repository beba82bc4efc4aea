"""Text for the terminal: the console, tables in one style, the notes, the next command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

from tafukt.experiments.cli.lines import in_lines, width
from tafukt.problems import cut
from tafukt.workloads.job_table import numbers_of

if TYPE_CHECKING:
    from rich.table import Table

    from tafukt.experiments.config.scenario import Inputs

WIDTH = 120
FIRST_MARK = 0xF0000  # of the private use area: no text holds it
NOTES_SHOWN = 12


class Terminal(Console):
    """A console that breaks text between words alone, and leaves tables as they are."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text in lines that fit, all else as it stands."""
        file: Any = self.file
        super().print(*(_fitting(one, file) for one in objects), **options)


def _fitting(one: Any, file: TextIO) -> Any:
    """A text in lines that fit, its styles kept."""
    if isinstance(one, str):
        return in_lines(one, file)
    if not isinstance(one, Text) or (broken := in_lines(one.plain, file)) == one.plain:
        return one
    lines: list[Text] = []
    place = 0
    for line in broken.split("\n"):
        piece = line.strip() if lines else line
        place = one.plain.index(piece, place)
        lines.append(Text(" " * (len(line) - len(piece))).append_text(one[place : place + len(piece)]))
        place += len(piece)
    return Text("\n").join(lines)


@lru_cache(maxsize=2)
def console(stderr: bool = False) -> Console:
    """The console, which takes text as it stands; a table is wide rather than cut short, whatever the terminal."""
    made = Terminal(stderr=stderr, highlight=False, soft_wrap=True, markup=False)
    if not made.is_terminal or not stderr:
        made.width = max(made.width, WIDTH)
    return made


def plural(number: int, word: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {word if number == 1 else many or word + 's'}"


def new_table(title: str) -> Table:
    """An empty table in the one style that the commands use."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )


def heading_mark(number: int) -> str:
    """Mark for the heading of a block in a table, so that a long one makes no column wide."""
    return chr(FIRST_MARK + number)


def print_blocks(table: Table, headings: Sequence[str] = ()) -> None:
    """Print a table whose blocks have headings, each in place of its mark; its title and caption in lines that fit."""
    out = console()
    title, caption = str(table.title or ""), str(table.caption or "")
    table.title = table.caption = None
    out.print(title, style="bold")
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        mark = line.strip()
        if len(mark) == 1 and 0 <= (place := ord(mark) - FIRST_MARK) < len(headings):
            out.print(f" {headings[place]}", style="bold")
        else:
            out.out(line.rstrip(), highlight=False)
    if caption:
        out.print(caption, style="dim")


def fitted(build: Callable[[Sequence[str]], Table], names: Sequence[str], ranked: Sequence[str]) -> Table:
    """A table with as many of its columns as fit; those `ranked` are given up, the first of them first."""
    kept = list(names)
    table = build(kept)
    for name in ranked:
        if _width_of(table) <= width():
            break
        if name in kept:
            kept.remove(name)
            table = build(kept)
    if len(kept) < len(names):
        hidden = [name for name in names if name not in kept]
        table.caption = " ".join(filter(None, [str(table.caption or ""), f"(not shown: {', '.join(hidden)})"]))
    return table


def _width_of(table: Table) -> int:
    from rich.console import Console as Wide
    from rich.measure import Measurement

    wide = Wide(width=1000)
    return Measurement.get(wide, wide.options, table).maximum


def next_command(path: Path) -> str:
    """The command that comes next."""
    return f"tafukt report {path}"


def scenario_lines(inputs: Inputs) -> list[str]:
    """A scenario in a few lines."""
    sites = inputs.scenario.sites
    gpus = sum(site.gpus for site in sites)
    submitted = sum(numbers_of(inputs.jobs, "due_gpu_s").tolist()) / 3600.0
    return [
        f"{plural(len(sites), 'site')} with {plural(gpus, 'GPU')}; with the first seed there are "
        f"{plural(len(inputs.jobs), 'job')} of {submitted:,.0f} GPU-hours",
        f"accounting window: {inputs.scenario.end_s / 86_400:.0f} days from {inputs.experiment.start.isoformat()}",
    ]


def tell_notes(lines: Sequence[str]) -> None:
    """Notes on stderr, the first of them in full."""
    err = console(stderr=True)
    told, hidden = cut(lines, NOTES_SHOWN)
    for line in told:
        err.print(f"Note: {line}", style="yellow")
    if hidden:
        err.print(f"Note: and {hidden} more; tafukt validate tells all", style="yellow")
