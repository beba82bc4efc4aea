"""Commands that show: results (`report`, `compare`, `plot`, `explain`) and what there is to choose from."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tafukt.experiments.cli.text import console, fitted, new_table, print_blocks
from tafukt.experiments.errors import InputError, Problem, listed, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from tafukt.experiments.results.load import Results
    from tafukt.workloads.describe import Workload

SITE_HEADINGS = {
    "population": "people",
    "gpus": "GPUs",
    "pv_kwp": "PV\nkWp",
    "battery_kwh": "battery\nkWh",
    "ghi_kwh_m2_y": "sun\nkWh/m2",
    "pv_yield_kwh_kwp_y": "yield\nkWh/kWp",
}
SITES_GIVEN_UP = ("population", "region", "pv_yield_kwh_kwp_y", "status")
"""Columns that a narrow terminal does without, the first of them first."""
EXAMPLE_START = datetime(2025, 12, 1, tzinfo=UTC)
EXAMPLE_DAYS = 7


# --- results ---------------------------------------------------------------------------------------------


def report_command(folder: Path, output: Path | None) -> int:
    """Write the page of a result folder."""
    from tafukt.experiments.report.report import write_report

    with _figures_left_out() as left_out:
        path = write_report(folder, output)
    console().print(f"Wrote {path}")
    return _told(left_out)


@contextmanager
def _figures_left_out() -> Iterator[list[warnings.WarningMessage]]:
    """Reasons of the figures that could not be drawn, gathered from warnings."""
    from tafukt.experiments.figures.catalogue import FigureWarning

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", FigureWarning)
        yield found


def _told(left_out: Sequence[warnings.WarningMessage]) -> int:
    """Say which figures were left out; 1 where one failed, which is never the user's mistake."""
    lines = [str(item.message) for item in left_out if item.category.__name__ == "FigureWarning"]
    for line in lines:
        console(stderr=True).print(f"Note: {line}")
    return int(any("could not be drawn" in line for line in lines))


def plot_command(
    folder: Path,
    figures: Sequence[str],
    kind: str,
    chosen: Mapping[str, Any],
    paper: int = 0,
    fonts: str = "sans",
) -> int:
    """Draw the figures of a result folder, or of what is `chosen` of it (`Results.only`)."""
    from tafukt.experiments.figures.catalogue import save_all
    from tafukt.experiments.figures.style import FONTS
    from tafukt.experiments.results.load import load

    if fonts not in FONTS:
        message = f"no fonts {fonts!r}; there are {listed(FONTS)}"
        raise InputError(Problem("", "--fonts", message, nearest(fonts, FONTS)))
    with _figures_left_out() as left_out:
        paths = save_all(load(folder).only(**chosen), figures, kind, paper=paper, fonts=fonts)
    for path in paths:
        console().print(f"Wrote {path}")
    return _told(left_out)


def explain_command(folder: Path, job: str, policy: str, seed: int | None, where: Sequence[str] = ()) -> int:
    """Tell the story of a job; without one, say which jobs are worth asking about."""
    from tafukt.experiments.report.explain import explain
    from tafukt.experiments.results.load import load

    results = load(folder).only(where)
    lines = explain(results, job, policy, seed) if job else _worth_asking(results, policy, seed)
    for line in lines:
        console().print(line)
    return 0


def _worth_asking(results: Results, policy: str, seed: int | None) -> list[str]:
    """The jobs of a run that waited longest, were late, or moved."""
    from tafukt.experiments.figures.catalogue import example_runs

    chosen = bool(policy) or seed is not None
    run = results.run(policy=policy or None, seed=seed) if chosen else example_runs(results)[-1]
    jobs = run.jobs
    late = jobs[jobs["deadline_missed"].fillna(False).astype(bool)]
    kinds = {
        "waited longest": (jobs.dropna(subset="wait_h").nlargest(5, "wait_h"), "wait_h", "{:.1f} h"),
        "late": (late.assign(late_h=late["end_h"] - late["deadline_h"]).nlargest(5, "late_h"), "late_h", "{:.1f} h"),
        "moved": (jobs[jobs["moves"] > 0].nlargest(5, "moves"), "moves", "{:.0f} x"),
    }
    lines = [f"{run.row['policy']}, seed {run.row['seed']}: {len(jobs):,} jobs, {len(late):,} of them late"]
    for title, (rows, column, text) in kinds.items():
        named = ", ".join(f"{row['job']} ({text.format(row[column])})" for row in rows.to_dict("records"))
        lines.append(f"  {title}: {named or 'none'}")
    return [*lines, f"tafukt explain {results.folder} JOB explains one of them."]


# --- what there is to choose from ------------------------------------------------------------------------


def sites_command(name: str, plot: bool) -> int:
    """List the sites of the catalogue, or show one with its sources."""
    from tafukt.sites import describe
    from tafukt.sites.site import catalogue

    out, known = console(), catalogue()
    if name and name not in known:
        raise InputError(Problem("", name, f"no such site; known: {listed(known)}", nearest(name, known)))
    if not name:
        rows = describe.listing()

        def build(kept: Sequence[str]) -> Table:
            table = new_table("Sites; * is the root hub")
            for key in kept:
                words = key in ("name", "region", "status")
                heading = SITE_HEADINGS.get(key, key)
                table.add_column(heading, justify="left" if words else "right", no_wrap=True)
            for row in rows:
                table.add_row(*(_status(row[key]) if key == "status" else _compact(row[key]) for key in kept))
            return table

        print_blocks(fitted(build, describe.COLUMNS, SITES_GIVEN_UP))
        return 0
    out.print(known[name].title or name, style="bold")
    for fact in describe.facts(known[name]):
        out.print(f"{fact.key} = {fact.value}")
        source = f"{fact.source} ({fact.confidence})" if fact.confidence else fact.source
        for line in filter(None, (fact.meaning, source)):
            out.print(f"    {line}")
    if plot:
        from tafukt.experiments.figures.site import figure

        path = Path(f"{name}.png")
        figure(known[name]).savefig(path, dpi=130)
        out.print(f"Wrote {path}")
    return 0


def _status(text: str) -> str:
    """The status without its occasion, which the site's own page tells."""
    return text.partition(":")[0].partition(" (")[0]


def _compact(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, int) and value >= 100_000:
        return f"{value / 1e6:.2f} M"
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def workloads_command(name: str, plot: bool) -> int:
    """List the mixes and trace formats, or describe a mix or a trace."""
    from tafukt.workloads import describe
    from tafukt.workloads.bundled import bundled
    from tafukt.workloads.traces import formats as traces

    out, mixes = console(), bundled("mixes")
    if not name:
        out.print(f"Mixes: {listed(mixes)}")
        out.print(f"Trace formats: {listed(traces.formats())}")
        out.print("tafukt workloads NAME describes a mix, tafukt workloads FILE a trace.")
        return 0
    if name in mixes or name.endswith(".toml"):
        workload, notes = _example(name)
    elif name in traces.formats():
        for line in _columns(name):
            out.print(line)
        return 0
    elif Path(name).is_file():
        workload, notes = describe.of_file(Path(name))
    else:
        known = [*mixes, *traces.formats()]
        raise InputError(
            Problem(name, "", f"no such file, mix or format; known: {listed(known)}", nearest(name, known))
        )
    _tell(describe.facts(workload) | {"notes": notes})
    if plot:
        from tafukt.experiments.figures.workload import save_page

        path = save_page(workload, Path(f"{Path(name).name.partition('.')[0]}.png"))
        out.print(f"Wrote {path}")
    return 0


OWN_MAP = (
    'If your columns have other names or units, say so in a column map, format = "mine.toml":',
    '  submit = { column = "queued at", unit = "datetime" }',
    '  gpus = { column = "n_gpu", unit = "count" }',
    '  runtime = { column = "elapsed", unit = "min" }',
)


def _columns(name: str) -> list[str]:
    """The columns of a trace format, as its map has them."""
    from tafukt.workloads.bundled import bundled
    from tafukt.workloads.traces.column_map import ColumnModel, column_map

    if name not in bundled("traces"):
        return [f"{name}: its columns are defined by its publisher; no column map is needed"]
    found = column_map(name, Path())
    lines = [f"{name}: {found.title} ({found.source})", f"  {'column':20} {'unit':9} what it is"]
    for role, field in type(found).model_fields.items():
        column = getattr(found, role)
        if isinstance(column, ColumnModel):
            need = "" if not column.optional else " (may be missing)"
            lines.append(f"  {column.column:20} {column.unit:9} {field.description}{need}")
    return [*lines, *OWN_MAP]


def _example(mix: str) -> tuple[Workload, dict[str, Any]]:
    """A week of a mix on the catalogue's sites."""
    from tafukt.sites.site import catalogue
    from tafukt.workloads import describe
    from tafukt.workloads.build import build
    from tafukt.workloads.schema import GeneratorModel, Place

    places = [Place(s.name, s.region, s.population, s.gpus, s.country) for s in catalogue().values()]
    model = GeneratorModel.model_validate({"kind": "generator", "mix": mix})
    demand = build(model, places, EXAMPLE_START, EXAMPLE_DAYS, 1, Path())
    return describe.of_jobs(demand.jobs, EXAMPLE_START, f"{mix}, a week on twelve sites"), demand.notes


def _tell(values: dict[str, Any], indent: str = "") -> None:
    """Plain data as indented lines."""
    for key, value in values.items():
        if isinstance(value, dict):
            if value:
                console().print(f"{indent}{key}:")
                _tell(value, indent + "  ")
        else:
            shown = f"{value:,.6g}" if isinstance(value, float) else str(value)
            console().print(f"{indent}{key}: {shown}")


def schema_command(key: str = "") -> int:
    """Print the JSON Schema of experiment files, or the keys of one table as text."""
    if key:
        from tafukt.experiments.cli.keys import key_lines

        for line in key_lines(key):
            console().print(line)
        return 0
    from tafukt.experiments.config.schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


# --- The command `tafukt policies`: lists policies and parts, explains one, or checks one


def policies_command(name: str) -> int:
    """List the presets and the parts, or explain one of them."""
    from tafukt.simulator.policies.registry import PARTS, QUESTIONS, details, rows

    out = console()
    if name:
        known = [row.name for kind in ("", *PARTS) for row in rows(kind)]
        if name not in known:
            message = f"no such policy, nor a part of one; known: {listed(known)}"
            raise InputError(Problem("", name, message, nearest(name, known)))
        for line in details(name):
            out.print(line)
        return 0
    for kind in ("", *PARTS):
        if kind:
            out.print(f"\n{kind}: {QUESTIONS[kind]}", markup=False, style="bold")
        width = max(len(row.name) for row in rows(kind))
        for row in rows(kind):
            out.print(f"{row.name:{width}}  {row.does}")
    out.print(
        '\nA policy of your own: policies = [{ name = "mine", order = "fair", when = "lowest-window" }], or '
        '["my_policy.py:name"], relative to the experiment file. `tafukt policies --check my_policy.py:name` tries it.',
        markup=False,
    )
    return 0


def check_command(name: str) -> int:
    """Run a policy through the conformance kit; 1 where it broke something."""
    from tafukt.experiments.config.policies import policy_refs
    from tafukt.simulator.conformance import CHECKS, check

    refs, problems = policy_refs([name], "", Path.cwd(), key="--check")
    if problems:
        raise InputError(problems)
    found = check(refs[0].load)
    out = console()
    broken = {finding.check for finding in found}
    stopped = {"impossible", "residency", "crash", "endless"} & broken  # then nothing could be compared
    for kind, good in CHECKS.items():
        verdict = "no " if kind in broken else "?  " if stopped else "yes"
        out.print(f"{verdict}  {good}")
        for finding in found:
            if finding.check == kind:
                out.print(f"       {finding.case}: {finding.message}")
    if stopped:
        out.print("?  where it stopped there was nothing to compare")
    return 1 if found else 0
