"""`tafukt flexibility`: a card for each site, found by probing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tafukt.experiments.cli.run import duration
from tafukt.experiments.cli.text import console, new_table, plural
from tafukt.experiments.errors import InputError, Problem, nearest

if TYPE_CHECKING:
    from tafukt.experiments.runs.flexibility import Flexibility, Plan

CARD_FORMATS = ("text", "csv", "json")
# A run with many requests takes so many times the time of one without.
TIMES = 3.0


def flexibility_command(
    experiment: str,
    settings: Sequence[str],
    policy: str,
    cuts: Sequence[float],
    longest_h: float,
    every_h: int,
    notice_min: float,
    output: Path | None,
    workers: int,
    form: str,
) -> int:
    """Probe an experiment; write every probe, the cards and their picture, and print the cards."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.scenario import build
    from tafukt.experiments.config.toml import find
    from tafukt.experiments.runs import flexibility, session
    from tafukt.experiments.runs.session import processors

    if form not in CARD_FORMATS:
        raise InputError(Problem("--format", form, f"there are {', '.join(CARD_FORMATS)}", nearest(form, CARD_FORMATS)))
    loaded = load_experiment(find(experiment), settings)
    plan = flexibility.plan_of(loaded, policy, cuts, longest_h, every_h, notice_min)
    seeds = loaded.experiment.seeds
    works = flexibility.works_of(plan, float(loaded.experiment.days), len(seeds))
    workers = min(workers or processors(), len(works))
    each_s = TIMES * session.run_s(plan.policy, build(loaded, seeds[0]))
    err = console(stderr=True)
    err.print(
        f"{loaded.experiment.name}, {plan.policy.label}: {plural(len(works), 'simulation')} of probes under "
        f"{plural(len(seeds), 'seed')} in {plural(workers, 'process', 'processes')}, about "
        f"{duration(each_s * len(works) / workers)}"
    )
    begun = time.monotonic()
    with err.status("probing") as status:

        def told(done: int, total: int) -> None:
            left = duration((time.monotonic() - begun) / done * (total - done))
            status.update(f"probing: {done} of {plural(total, 'simulation')}, {left} left")
            if not err.is_terminal and done % max(total // 4, 1) == 0 and done < total:
                err.print(f"{done} of {plural(total, 'simulation')}, {left} left")

        found = flexibility.probe(loaded, plan, told, workers)
    folder = output or Path("results") / f"{loaded.experiment.name}-flexibility"
    _write(found, folder, f"{loaded.experiment.name}, {plan.policy.label}, {found.respond}")
    if form == "json":
        json.dump(flexibility.cards(found), sys.stdout, indent=1)
        print()
    elif form == "csv":
        sys.stdout.write(flexibility.card_table(found).to_csv(index=False, lineterminator="\n"))
    else:
        _show(found)
        console().print(f"Results: {folder} (probes.csv, hours.csv, again.csv, cards.csv, cards.json, flexibility.png)")
    return 0


def _write(found: Flexibility, folder: Path, title: str) -> None:
    from tafukt.experiments.figures.flexibility import flexibility_map
    from tafukt.experiments.figures.style import save, style
    from tafukt.experiments.runs import flexibility

    folder.mkdir(parents=True, exist_ok=True)
    probes = flexibility.probe_table(found)
    tables = {
        "probes": probes,
        "hours": flexibility.hour_table(found),
        "again": flexibility.often_table(found),
        "cards": flexibility.card_table(found),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    (folder / "cards.json").write_text(json.dumps(flexibility.cards(found), indent=1) + "\n", encoding="utf-8")
    with style():
        save(flexibility_map(probes, found.plan.longest_h, title), folder / "flexibility.png", "png")


def _show(found: Flexibility) -> None:
    """The cards as one table, how often as another, and what they come to."""
    from tafukt.experiments.runs import flexibility

    out, card, often = console(), flexibility.card_table(found), flexibility.often_table(found)
    table = new_table("Share of probes met, all hours of the day")
    lengths = found.plan.lengths_h
    for name in ("site", "cut", "kW", "", "min", *(f"{length:g} h" for length in lengths), "GPU-h/kWh"):
        table.add_column(name, justify="left" if name == "site" else "right")
    for row in card.to_dict("records"):
        shares = (_share(row[f"kept_{length:g}_h"]) for length in lengths)
        half = row["asked_half_kw"]
        table.add_row(
            row["site"], f"{row['cut']:.0%}", f"{row['asked_kw']:.1f}", f"± {half:.1f}" if half == half else "",
            _number(row["reached_min"], 0), *shares, _number(row["cost_gpu_hours_per_kwh"], 2),
        )  # fmt: skip
    out.print(table)
    if len(often):
        _show_often(found.plan, often)
    for line in flexibility.flexibility_lines(found):
        out.print(line)


def _show_often(plan: Plan, often: Any) -> None:
    from tafukt.experiments.runs.flexibility import AGAIN_CUT, AGAIN_H

    table = new_table(f"{AGAIN_CUT:.0%} less for {AGAIN_H:g} h, repeatedly: share met")
    spacings = sorted(often["every_h"].unique())
    table.add_column("site")
    for spacing in spacings:
        table.add_column(f"every {spacing:g} h", justify="right")
    for site, part in often.groupby("site", sort=True):
        kept = part.set_index("every_h")["kept"]
        table.add_row(site, *(_share(kept.get(spacing, float("nan"))) for spacing in spacings))
    console().print(table)


def _share(value: float) -> str:
    return f"{value:.0%}" if value == value else "-"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "-"
