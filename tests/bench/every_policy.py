"""Every policy over four weeks, both seasons: the tables of docs/policies_compared.md, from result folders.

    python -m bench.every_policy FOLDER ... [--seeds 1 2 ...] [--write docs/policies_compared.md]

Results may lie in several folders, one for each season or for some of the policies or seeds; of a run that is in two of
them the first is taken. What is compared with fifo is compared seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from tafukt import load
from tafukt.experiments.results.statistics import mean_interval

BASE = "fifo"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
Rows = dict[tuple[str, str, int], dict[str, Any]]
"""Complete runs by start, policy and seed."""


@dataclass(frozen=True)
class Line:
    """A policy in a season: means over seeds, with the halves of their intervals."""

    policy: str
    seeds: int
    draw_kwh: float
    cut: tuple[float, float]
    captured: tuple[float, float]
    wait_h: float
    late: int
    jobs: int
    cost_mad: float


def runs(folders: Sequence[Path]) -> Rows:
    """The complete runs of all folders."""
    found: Rows = {}
    for folder in folders:
        results = load(folder)
        for row in results.complete.to_dict("records"):
            start = str(row.get("start", results.experiment["start"]))[:10]
            found.setdefault((start, str(row["policy"]), int(row["seed"])), row)
    return found


def lines(found: Rows, start: str) -> list[Line]:
    """One season's policies, the one that saves most first."""
    of_season = {key: row for key, row in found.items() if key[0] == start}
    bounds = {
        seed: row["bound_draw_kwh"] for (_, _, seed), row in of_season.items() if not isnan(row["bound_draw_kwh"])
    }
    made = []
    for policy in dict.fromkeys(name for _, name, _ in of_season):
        own = {seed: row for (_, name, seed), row in of_season.items() if name == policy}
        base = {seed: found[start, BASE, seed]["draw_kwh"] for seed in own}
        draws = np.array([row["draw_kwh"] for row in own.values()])
        less = np.array(list(base.values())) - draws
        possible = np.array([base[seed] - bounds[seed] for seed in own])
        late = [round(row["deadline_miss_rate"] * row["jobs_submitted"]) for row in own.values()]
        made.append(
            Line(
                policy,
                len(own),
                float(draws.mean()),
                mean_interval(less / np.array(list(base.values())))[:2],
                mean_interval(less / possible)[:2],
                float(np.mean([row["wait_mean_h"] for row in own.values()])),
                sum(late),
                int(sum(row["jobs_submitted"] for row in own.values())),
                float(np.mean([row["cost_mad"] for row in own.values()])),
            )
        )
    return sorted(made, key=lambda line: -line.cut[0])


def table(made: Sequence[Line]) -> str:
    """One season's policies as a Markdown table."""

    def share(value: tuple[float, float], policy: str) -> str:
        half = "" if isnan(value[1]) else f" ± {100 * value[1]:.1f}"  # for fewer than five seeds
        return "" if policy == BASE else f"{round(100 * value[0], 1) + 0.0:.1f}{half} %"  # no minus before a zero

    text = [
        "| policy | seeds | grid draw [kWh] | cut | share of the possible | wait [h] | late, of 10,000 | cost [MAD] |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    text += [
        f"| `{line.policy}` | {line.seeds} | {line.draw_kwh:,.0f} | {share(line.cut, line.policy)} "
        f"| {share(line.captured, line.policy)} | {line.wait_h:.1f} | {1e4 * line.late / line.jobs:.1f} "
        f"| {line.cost_mad:,.0f} |"
        for line in made
    ]
    return "\n".join(text)


def main() -> None:
    """Print the tables, or put them into a page between its two marks."""
    parser = argparse.ArgumentParser(description="Every policy over four weeks, from result folders.")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", help="of these seeds only")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    found = {key: row for key, row in runs(asked.folders).items() if not asked.seeds or key[2] in asked.seeds}
    starts = dict.fromkeys(start for start, _, _ in found)
    text = "\n\n".join(f"## From {start}\n\n{table(lines(found, start))}" for start in starts)
    if not asked.write:
        print(text)
        return
    before, _, rest = asked.write.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    asked.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
