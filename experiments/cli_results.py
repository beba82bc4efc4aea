"""`tafukt report`, `plot`, `compare`, `explain` and `size`: what is made of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import statistics
from experiments.cli_text import console, plural
from experiments.dictionary import column
from experiments.load import Results, load

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = (
    ("draw_kwh", "draw kWh", "{:,.0f}"),
    ("grid_cut", "cut %", "{:.1%}"),
    ("captured", "captured", "{:.0%}"),
    ("renewable_fraction", "sun in load", "{:.1%}"),
    ("wait_mean_h", "mean wait h", "{:.2f}"),
    ("deadline_miss_rate", "late", "{:.1%}"),
)
ROWS_SHOWN = 60


def report_command(folder: Path) -> int:
    """Write a folder's report, and say where."""
    from experiments.report import write_report

    console().print(f"Wrote {write_report(folder)}", markup=False)
    return 0


def plot_command(folder: Path, figure: str, kind: str) -> int:
    """Draw one kind of figure, or all that there is data for."""
    from experiments.figures import save_all

    for path in save_all(load(folder), [figure] if figure else (), kind):
        console().print(str(path), markup=False)
    return 0


def explain_command(folder: Path, job: str, policy: str, seed: int | None) -> int:
    """Tell the story of one job."""
    from experiments.explain import explain

    for line in explain(load(folder), job, policy, seed):
        console().print(line)
    return 0


def compare_command(folders: Sequence[Path]) -> int:
    """Compare the policies of each folder, and each further folder with the first."""
    out = console()
    loaded = [load(folder) for folder in folders]
    for results in loaded:
        if results.complete.empty:
            out.print(f"{results.folder}: no run is complete", markup=False)
            continue
        pairs = statistics.differences(results.complete, results.axes, results.baseline)
        out.print(_means_table(results))
        if pairs:
            out.print(_pairs_table(f"{results.title}: against {results.baseline}, seed by seed", pairs))
        _say(statistics.warnings(results.complete, results.axes, pairs))
    for other in loaded[1:]:
        pairs = statistics.between(loaded[0], other)
        if pairs:
            out.print(_pairs_table(f"{other.folder} against {loaded[0].folder}, seed by seed", pairs))
        else:
            out.print(f"{other.folder} and {loaded[0].folder} share no scenario, policy and seed.", markup=False)
    return 0


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console().print(f"Note: {line}.", markup=False)
    console().print()


def _means_table(results: Results) -> Table:
    """Means over seeds with their intervals, a row for each scenario and policy."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = statistics.means(results.complete, results.axes, [name for name, _, _ in SHOWN])
    seeds = int(table["seeds"].max())
    title = f"{results.title}: " + (f"means over {seeds} seeds, ± 95 % interval" if seeds > 1 else "one seed")
    shown = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    if results.axes:
        shown.add_column("scenario")
    shown.add_column("policy", no_wrap=True)
    for _, heading, _ in SHOWN:
        shown.add_column(heading, justify="right", no_wrap=True)
    for _, row in table.head(ROWS_SHOWN).iterrows():
        cells = [Text(str(row["policy"]))]
        if results.axes:
            cells.insert(0, Text(str(row["group"])))
        enough = row["seeds"] >= statistics.FEWEST_SEEDS
        cells += [Text(_measured(row[name], row[f"{name}_half"] if enough else None, text)) for name, _, text in SHOWN]
        shown.add_row(*cells)
    if len(table) > ROWS_SHOWN:
        shown.caption = f"and {len(table) - ROWS_SHOWN} more rows"
    return shown


def _measured(value: float, half: float | None, text: str) -> str:
    if value != value:  # NaN: no meaning here
        return ""
    spread = f" ± {text.format(half)}" if half is not None and half == half and half > 0 else ""
    return text.format(value) + spread


def _pairs_table(title: str, pairs: Sequence[statistics.Paired]) -> Table:
    """Paired differences with their intervals."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    groups = any(pair.group for pair in pairs)
    for heading in (["scenario"] if groups else []) + ["policy", "what"]:
        table.add_column(heading)
    for heading in ("difference", "95 % interval", "p (Holm)", "seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs[:ROWS_SHOWN]:
        unit = column("summary", pair.metric).unit
        known = pair.seeds >= 2
        cells: list[Any] = [pair.group] if groups else []
        cells += [pair.policy, pair.metric, f"{pair.difference:+,.4g} {unit}"]
        cells += [f"{pair.low:+,.4g} to {pair.high:+,.4g}" if known else "", f"{pair.p_holm:.3f}" if known else ""]
        table.add_row(*(Text(str(cell)) for cell in cells), str(pair.seeds))
    if len(pairs) > ROWS_SHOWN:
        table.caption = f"and {len(pairs) - ROWS_SHOWN} more"
    return table


def size_command(
    experiment: str,
    target: str,
    settings: Sequence[str],
    policy: str,
    pv_mad_per_kwp: float | None,
    output: Path | None,
) -> int:
    """Find the cheapest sizes that meet a target; write every point, the front, and the sized experiment."""
    from experiments import sizing
    from experiments.config_load import load as load_experiment
    from experiments.config_toml import find
    from experiments.config_toml import text as toml_text
    from experiments.figures import save, size_front
    from experiments.figures_style import new_figure, style

    wanted = sizing.parse_target(target)
    loaded = load_experiment(find(experiment), settings)
    with console(stderr=True).status("sizing") as status:
        found = sizing.search(
            loaded,
            wanted,
            policy,
            pv_mad_per_kwp,
            lambda done: status.update(f"sizing: {plural(done, 'size')} simulated"),
        )
    folder = output or Path("results") / f"{loaded.experiment.name}-size"
    folder.mkdir(parents=True, exist_ok=True)
    points = sizing.table(found)
    points.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
    with style():
        figure, axes = new_figure(6.6, 3.9)
        size_front(points, axes, metric=wanted.metric, target=wanted.value)
        save(figure, folder / "front.png", "png")
    out = console()
    for line in sizing.summary_lines(found):
        out.print(line, markup=False)
    if found.chosen is not None:
        document = sizing.sized_document(loaded, found.chosen)
        (folder / "sized.toml").write_text(toml_text(document), encoding="utf-8")
        out.print(f"Results: {folder} (sizes.csv, front.png, sized.toml)", markup=False)
        out.print(f"Next:    tafukt run {folder / 'sized.toml'}", markup=False)
    else:
        out.print(f"Results: {folder} (sizes.csv, front.png)", markup=False)
    return 0 if found.chosen is not None else 1
