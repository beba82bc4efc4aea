"""What the terminal says: the comparison table, the notes, the next command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.results.answer import mean
from tafukt.experiments.results.numbers import number_text
from tafukt.experiments.results.summary import Row

COLUMNS = (
    ("draw_kwh", "draw\nkWh", "{:,.0f}"),
    ("grid_cut", "grid\ncut", "{:.1%}"),
    ("captured", "cap-\ntured", "{:.0%}"),
    ("renewable_fraction", "renew-\nable", "{:.1%}"),
    ("wait_mean_h", "wait\nh", "{:.2f}"),
    ("deadline_miss_rate", "late", "{:.1%}"),
    ("cost_mad", "cost\nMAD", "{:,.0f}"),
    ("emissions_kg", "CO2e\nkg", "{:,.0f}"),
)
WIDTH = 120
ROWS_SHOWN = 60
NOTES_SHOWN = 12


@lru_cache(maxsize=2)
def console(stderr: bool = False) -> Console:
    """The console, which takes text as it stands; a table is wide rather than cut short, whatever the terminal."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False)
    if not made.is_terminal or not stderr:
        made.width = max(made.width, WIDTH)
    return made


def plural(number: int, word: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {word if number == 1 else many or word + 's'}"


def new_table(title: str) -> Table:
    """An empty table in the one style that the commands use."""
    return Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )


def comparison_table(rows: Sequence[Row], loaded: Loaded) -> Table:
    """Policies compared: means over seeds, one block for each combination of axes."""
    axes = loaded.axis_keys
    seeds = len({row["seed"] for row in rows})
    title = loaded.experiment.name + (f", means over {seeds} seeds" if seeds > 1 else "")
    table = new_table(title)
    for axis in axes:
        table.add_column(axis.rpartition(".")[2])
    table.add_column("policy", no_wrap=True)
    for _, heading, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    groups = grouped(rows, axes)
    for position, (key, members) in enumerate(groups.items()):
        if position == ROWS_SHOWN:
            table.caption = f"and {len(groups) - ROWS_SHOWN} more rows in summary.csv"
            break
        done = [row for row in members if row["status"] == "complete"]
        means = [(mean(done, name), text) for name, _, text in COLUMNS]
        cells = [number_text(text, value) if value == value else "" for value, text in means]
        left = "failed" if not done else str(sum(row["jobs_left"] for row in done))
        table.add_row(*(str(value) for value in key), *cells, left)
    return table


def grouped(rows: Sequence[Row], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their axes and policy, in order."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((*(row[axis] for axis in axes), row["policy"]), []).append(row)
    return groups


def next_command(path: Path) -> str:
    """What to do next."""
    return f"tafukt report {path}"


def scenario_lines(inputs: Inputs) -> list[str]:
    """What a scenario holds, in a few lines."""
    sites = inputs.scenario.sites
    gpus = sum(site.gpus for site in sites)
    submitted = sum(job.truth.due_gpu_s for job in inputs.jobs) / 3600.0
    return [
        f"{plural(len(sites), 'site')} with {plural(gpus, 'GPU')}; with the first seed there are "
        f"{plural(len(inputs.jobs), 'job')} of {submitted:,.0f} GPU-hours",
        f"accounting window: {inputs.scenario.end_s / 86_400:.0f} days from {inputs.experiment.start.isoformat()}",
        *_export_note(inputs),
    ]


def tell_notes(lines: Sequence[str]) -> None:
    """Notes on stderr, the first of them in full."""
    err = console(stderr=True)
    for line in lines[:NOTES_SHOWN]:
        err.print(f"Note: {line}", style="yellow")
    if len(lines) > NOTES_SHOWN:
        err.print(f"Note: and {len(lines) - NOTES_SHOWN} more; tafukt validate tells all", style="yellow")


def _export_note(inputs: Inputs) -> list[str]:
    """What of the export is paid, where a site may feed in at all."""
    feeding = [site for site in inputs.scenario.sites if site.grid.export_limit_w > 0 and site.pv.values.any()]
    shares = {site.grid.export_cap_share for site in feeding}
    if not shares:
        return []
    if shares == {1.0}:
        return ["export: all of it is paid; grid.export_cap_share says otherwise"]
    told = " or ".join(f"{share:.0%}" for share in sorted(shares))
    return [f"export: paid up to {told} of the window's generation; what is above it is exported unpaid"]
