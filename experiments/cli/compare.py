"""`tafukt compare`, `ls` and `export`: results as tables, on the terminal or as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tafukt.experiments.cli.comparison import USUAL, pattern_of
from tafukt.experiments.cli.text import console, fitted, heading_mark, new_table, print_blocks
from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.numbers import in_currency, number_text

if TYPE_CHECKING:
    import pandas as pd

    from tafukt.experiments.results.load import Results, RunData

MEANS_GIVEN_UP = (
    "captured", "renewable_fraction", "emissions_against_base_kg", "emissions_against_base_kg_per_year",
    "cost_against_base_mad", "draw_against_base_kwh", "deadline_miss_rate", "cost_against_base_mad_per_year",
    "draw_against_base_kwh_per_year", "wait_mean_h",
)  # fmt: skip
"""Columns that a narrow terminal does without, the first of them first."""
FORMATS = ("text", "markdown", "latex", "csv")
TABLE_ROWS_MOST = 400
"""Rows of a table on the terminal: whoever wants thousands takes them as CSV."""
MORE = "and {} more rows: --where AXIS=VALUE chooses, --format csv has them all"
EXPORTED = ("summary", "jobs", "energy", "events", "grid_events", "limits", "meter")
EXPORTS = ("csv", "json")


def compare_command(
    folders: Sequence[Path], metrics: Sequence[str], against: str, where: Sequence[str], form: str
) -> int:
    """Means with their intervals for each folder, paired differences, and what a reader must know."""
    from tafukt.experiments.results import statistics
    from tafukt.experiments.results.answer import against_base_lines
    from tafukt.experiments.results.load import load

    if form not in FORMATS:
        raise InputError(Problem("--format", form, f"there are {', '.join(FORMATS)}", nearest(form, FORMATS)))
    shown = _metrics(metrics)
    opened = [load(folder).only(where) for folder in folders]
    if form != "text":
        for results in opened:
            _write(results, shown, form)
        return 0
    pairs: list[Any] = []
    told: list[str] = []
    paired = shown if metrics else ("draw_kwh", "wait_mean_h")
    for results in opened:
        _means(results, shown)
        base = against or results.baseline
        if against and against not in set(results.complete["policy"]):
            known = list(dict.fromkeys(results.complete["policy"]))
            raise InputError(Problem("--against", against, f"there are {', '.join(known)}", nearest(against, known)))
        mine = statistics.paired_differences(results.complete, results.axes, base, paired)
        told += statistics.warnings(results.complete, results.axes, mine)
        pairs += mine
    currencies = sorted({results.currency for results in opened})
    if len(currencies) > 1:
        told.append(f"prices are in {' and '.join(currencies)}: costs of these folders cannot be compared")
    for other in opened[1:]:
        pairs += statistics.between(opened[0], other, paired)
    if pairs:
        _pairs(pairs)
    for results in opened:
        rows = results.complete.to_dict(orient="records")
        for line in against_base_lines(rows, results.baseline_scenario, results.axes):
            console().print(in_currency(line, results.currency))
    for line in dict.fromkeys(told):
        console().print(f"Note: {line}")
    return 0


def _metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that are asked for; the usual ones where none are."""
    from tafukt.experiments.results.dictionary import METRICS

    known = [column.name for column in METRICS]
    for name in names:
        if name not in known:
            raise InputError(Problem("--metric", name, "no such metric", nearest(name, known)))
    return tuple(names) or USUAL


def _value(metric: str, value: float, half: float) -> str:
    if value != value:
        return ""
    small = abs(value) < 100 and not column("summary", metric).percent and not metric.endswith("_h")
    pattern = "{:,.4g}" if small else "{:,.0f}" if abs(value) >= 100 else pattern_of(metric)
    return number_text(pattern, value) + (f" ± {pattern.format(half)}" if half == half else "")


def _frame(results: Results, metrics: Sequence[str]) -> Any:
    from tafukt.experiments.results import statistics
    from tafukt.experiments.results.objective import limits_of
    from tafukt.experiments.results.summary import AGAINST_BASE_COLUMNS

    usual, rows = tuple(metrics) == USUAL, results.complete
    more: tuple[str, ...] = limits_of(rows) if usual else ()
    more += AGAINST_BASE_COLUMNS if usual and rows["draw_against_base_kwh"].notna().any() else ()
    shown = tuple(dict.fromkeys((*metrics, *more)))
    return statistics.means(results.complete, results.axes, shown), shown


def _means(results: Results, metrics: Sequence[str]) -> None:
    from tafukt.experiments.results.objective import DRAW, OBJECTIVES

    frame, shown = _frame(results, metrics)
    groups = frame["group"].unique().tolist()

    def build(kept: Sequence[str]) -> Table:
        """The table with these metrics as columns."""
        table = new_table(f"{results.title} ({results.folder})\nmeans over seeds, 95 % confidence")
        table.add_column("policy", no_wrap=True)
        for heading in ("seeds", *(in_currency(column("summary", name).heading, results.currency) for name in kept)):
            table.add_column(heading, justify="right", no_wrap=True)
        group = ""
        for row in frame.head(TABLE_ROWS_MOST).to_dict("records"):
            if row["group"] != group:
                group = row["group"]
                table.add_row(heading_mark(groups.index(group)))
            cells = [_value(name, row[name], row[f"{name}_half"]) for name in kept]
            table.add_row(f"  {row['policy']}" if group else row["policy"], str(row["seeds"]), *cells)
        if len(frame) > TABLE_ROWS_MOST:
            table.caption = MORE.format(f"{len(frame) - TABLE_ROWS_MOST:,}")
        return table

    other = any(one.cut in shown for one in OBJECTIVES.values() if one is not DRAW)
    given_up = (*MEANS_GIVEN_UP[1:], "grid_cut", MEANS_GIVEN_UP[0]) if other else MEANS_GIVEN_UP
    print_blocks(fitted(build, shown, given_up), groups)


def _pairs(pairs: Sequence[Any]) -> None:
    """Paired differences, seed by seed, with Student's interval and Holm's p."""
    table = new_table("Paired differences within seeds: Student's t, Holm's correction")
    table.add_column("policy", no_wrap=True)
    for heading in ("seeds", "difference", "95 % interval", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    headings: list[str] = []
    for pair in pairs[:TABLE_ROWS_MOST]:
        title = f"{pair.metric}, against {pair.other}" + (f", {pair.group}" if pair.group else "")
        if title not in headings:
            table.add_row(heading_mark(len(headings)))
            headings.append(title)
        low, high = number_text("{:,.2f}", pair.low), number_text("{:,.2f}", pair.high)
        interval = f"{low} to {high}" if pair.low == pair.low else "too few seeds"
        p = f"{pair.p_holm:.2g}" if pair.p_holm == pair.p_holm else ""
        table.add_row(f"  {pair.policy}", str(pair.seeds), number_text("{:+,.2f}", pair.difference), interval, p)
    if len(pairs) > TABLE_ROWS_MOST:
        table.caption = MORE.format(f"{len(pairs) - TABLE_ROWS_MOST:,}")
    print_blocks(table, headings)


def _write(results: Results, metrics: Sequence[str], form: str) -> None:
    """The means as a table for a paper, a page or a spreadsheet."""
    frame, shown = _frame(results, metrics)
    grouped = bool(results.axes)
    header = [*(["scenario"] if grouped else []), "policy", "seeds", *shown]
    rows = [
        [*([row["group"]] if grouped else []), row["policy"], str(row["seeds"])]
        + [_value(name, row[name], row[f"{name}_half"]) for name in shown]
        for row in frame.to_dict("records")
    ]
    if form == "csv":
        from tafukt.experiments.results.tables import csv_bytes

        numbers = [name for metric in shown for name in (metric, f"{metric}_half")]
        head = [*header[: len(header) - len(shown)], *numbers]
        records = frame.to_dict("records")
        values = [
            [*line[: len(line) - len(shown)], *(None if row[n] != row[n] else float(row[n]) for n in numbers)]
            for line, row in zip(rows, records, strict=True)
        ]
        sys.stdout.write(csv_bytes(head, values).decode())
        return
    lines = _latex(header, rows, len(shown)) if form == "latex" else _markdown(header, rows, len(shown))
    sys.stdout.write("\n".join(lines) + "\n")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    words = len(header) - numbers - 1
    yield "|" + "|".join([" --- "] * words + [" ---: "] * (numbers + 1)) + "|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> Iterator[str]:
    yield "% \\usepackage{booktabs}"
    yield f"\\begin{{tabular}}{{{'l' * (len(header) - numbers - 1)}{'r' * (numbers + 1)}}}"
    yield "\\toprule"
    yield " & ".join(map(_escaped, header)) + " \\\\"
    yield "\\midrule"
    for row in rows:
        yield " & ".join(map(_escaped, row)) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _escaped(text: str) -> str:
    marks = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    }  # fmt: skip
    return "".join(marks.get(letter, letter) for letter in text)


# --- what folders there are, and their tables as files -------------------------------------------------------


def ls_command(root: Path) -> int:
    """The result folders below a folder: name, date, state and answer."""
    from tafukt.experiments.results.answer import answer
    from tafukt.experiments.results.axes import named_axes
    from tafukt.experiments.results.load import load
    from tafukt.experiments.results.stored import MANIFEST, SUMMARY_FILE, StoredResults
    from tafukt.experiments.results.summary import run_rows

    found = sorted({path.parent for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}{MANIFEST}")})
    if not found:
        console().print(f"No result folders in {root} or the two levels below it.")
        return 0
    for folder in found:
        stored = StoredResults(folder)
        try:
            manifest = stored.manifest()
            rows = run_rows(stored, manifest)
        except InputError as error:
            console().print(f"{folder}: {error}")
            continue
        summary = folder / SUMMARY_FILE
        changed = (summary if summary.is_file() else folder / MANIFEST).stat().st_mtime
        day = datetime.fromtimestamp(changed).astimezone().strftime("%Y-%m-%d %H:%M")
        done = sum(row["status"] == "complete" for row in rows)
        console().print(f"{folder}  {day}  {done} of {len(manifest['runs'])} runs", style="bold")
        named = named_axes(load(folder).experiment.get("matrix", {}))
        axes = [named.get(key, key) for keys in manifest["axes"] for key in keys]
        console().print(f"  {answer(rows, manifest['baseline'], axes)[0]}")
    return 0


def export_command(
    folder: Path, table: str, policy: str, seed: int | None, where: Sequence[str], form: str, local: bool = False
) -> int:
    """A table of a result folder on stdout; of a run the first that is meant; its times in UTC, or each site's own."""
    from tafukt.experiments.results.load import load

    if table not in EXPORTED:
        raise InputError(
            Problem("", table, f"no such table; there are {', '.join(EXPORTED)}", nearest(table, EXPORTED))
        )
    if form not in EXPORTS:
        raise InputError(Problem("--format", form, f"there are {', '.join(EXPORTS)}", nearest(form, EXPORTS)))
    results = load(folder).only(where, [policy] if policy else [], seed)
    frame = results.summary if table == "summary" else _table_of(results.run(policy=policy or None, seed=seed), table)
    if local:
        frame = _in_local_time(frame, {name: site["tz"] for name, site in results.sites.items() if "tz" in site})
    if form == "csv":
        from tafukt.experiments.results.tables import csv_bytes

        rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False)
        sys.stdout.write(csv_bytes(list(map(str, frame.columns)), map(_plain, rows)).decode())
    else:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        plain = [dict(zip(row, _plain(row.values()), strict=True)) for row in records]
        json.dump(plain, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    return 0


def _table_of(run: RunData, table: str) -> pd.DataFrame:
    """One of the tables of a run, if it has it."""
    asked_for = {"grid_events": run.grid_asked, "limits": run.limited, "meter": run.metered}
    if not asked_for.get(table, True):
        why = {
            "grid_events": "the grid asked for nothing",
            "limits": "nothing is limited",
            "meter": "no site has a meter",
        }
        raise InputError(Problem(str(run.folder), table, f"there is no such table: {why[table]} in this run"))
    frame: pd.DataFrame = getattr(run, table)
    return frame


def _in_local_time(frame: pd.DataFrame, zones: Mapping[str, str]) -> pd.DataFrame:
    """Its times as those of each row's site, or a job's home where it has none, in columns that end in `_local`.

    What belongs to no site is in the zone of the first.
    """
    import pandas as pd

    site = frame.get("site", pd.Series("", frame.index)).replace("", None)
    site = site.fillna(frame["home"]) if "home" in frame else site
    zone = site.map(zones).fillna(next(iter(zones.values()), "UTC"))
    local = frame.copy()
    for name in [str(name) for name in frame.columns if str(name).endswith("_utc")]:
        moments = zip(frame[name], zone, strict=True)
        times = [None if pd.isna(moment) else moment.tz_convert(there) for moment, there in moments]
        local[name] = pd.Series(times, frame.index, dtype=object)
    return local.rename(columns=lambda name: f"{name.removesuffix('_utc')}_local" if name.endswith("_utc") else name)


def _plain(values: Any) -> list[Any]:
    """Values in Python's own types, moments as ISO 8601."""
    return [
        value.isoformat() if hasattr(value, "isoformat") else value.item() if hasattr(value, "item") else value
        for value in values
    ]
