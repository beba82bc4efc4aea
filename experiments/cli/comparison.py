"""The comparison of policies on the terminal: means over seeds, one block for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from tafukt.experiments.cli.text import fitted, heading_mark, new_table, print_blocks
from tafukt.experiments.results.answer import mean
from tafukt.experiments.results.axes import scenario
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.numbers import in_currency, number_text
from tafukt.experiments.results.objective import DRAW, OBJECTIVES
from tafukt.experiments.results.stored import Row
from tafukt.experiments.results.summary import AGAINST_BASE_COLUMNS
from tafukt.problems import cut

if TYPE_CHECKING:
    from tafukt.experiments.config.load import Loaded

USUAL = ("draw_kwh", "grid_cut", "captured", "renewable_fraction", "wait_mean_h", "deadline_miss_rate")
"""Metrics by which policies are compared where nobody names others."""
SHOWN: tuple[str, ...] = (*USUAL, "cost_mad", "emissions_kg")
KEPT = {name: ("captured", OBJECTIVES[name].metric) for name in OBJECTIVES}
"""Columns that a narrow terminal keeps, where they are what the experiment is about."""
GIVEN_UP = (
    "captured", "emissions_kg", "cost_mad", "renewable_fraction", "emissions_against_base_kg", "wait_mean_h",
    "cost_against_base_mad", "draw_against_base_kwh",
)  # fmt: skip
"""Columns that a narrow terminal does without, the first of them first."""
ROWS_SHOWN = 60


def pattern_of(metric: str) -> str:
    """Format in which a metric stands in a table of means; a difference has its sign."""
    known = column("summary", metric)
    if known.percent:
        return "{:.0%}" if metric == "captured" else "{:.1%}"
    if metric in AGAINST_BASE_COLUMNS:
        return "{:+,.0f}"
    return "{:.2f}" if known.unit == "h" else "{:,.0f}" if known.unit in ("kWh", "MAD", "kg") else "{:,.4g}"


def print_comparison(rows: Sequence[Row], loaded: Loaded) -> None:
    """Policies compared: means over seeds, one block under the name of each scenario."""
    axes = loaded.axis_keys
    currency = loaded.experiment.currency
    seeds = len({row["seed"] for row in rows})
    title = loaded.experiment.name + (f", means over {seeds} seeds" if seeds > 1 else "")
    blocks = list(_blocks(rows, axes).items())
    rows_in_all = sum(len(policies) for _, policies in blocks)
    shown = len(cut(range(rows_in_all), ROWS_SHOWN)[0])
    objective = OBJECTIVES[loaded.experiment.objective]
    columns = SHOWN if objective is DRAW else (*SHOWN[:2], objective.cut, *SHOWN[2:])
    columns += AGAINST_BASE_COLUMNS if loaded.base else ()
    given_up = GIVEN_UP if objective is DRAW else [name for name in GIVEN_UP if name not in KEPT[objective.name]]

    def build(kept: Sequence[str]) -> Table:
        """The table with these metrics as columns."""
        table = new_table(title)
        table.add_column("policy", no_wrap=True)
        for name in kept:
            table.add_column(in_currency(column("summary", name).heading, currency), justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        left_over = shown
        for number, (key, policies) in enumerate(blocks):
            if left_over <= 0:
                break
            if key:
                table.add_row(heading_mark(number))
            for policy, members in list(policies.items())[:left_over]:
                done = [row for row in members if row["status"] == "complete"]
                means = [(mean(done, name), pattern_of(name)) for name in kept]
                cells = [number_text(text, value) if value == value else "" for value, text in means]
                left = "failed" if not done else str(sum(row["jobs_left"] for row in done))
                table.add_row(f"  {policy}" if key else policy, *cells, left)
            left_over -= len(policies)
        if rows_in_all > shown:
            table.caption = f"and {rows_in_all - shown} more rows in summary.csv"
        return table

    print_blocks(fitted(build, columns, given_up), [key for key, _ in blocks])


def _blocks(rows: Sequence[Row], axes: Sequence[str]) -> dict[str, dict[str, list[Row]]]:
    """Rows by their scenario, then by their policy, in order."""
    blocks: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        named = scenario(axes, [row[axis] for axis in axes])
        blocks.setdefault(named, {}).setdefault(row["policy"], []).append(row)
    return blocks
