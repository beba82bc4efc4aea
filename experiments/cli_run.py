"""`tafukt run`, `validate` and `init`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments import session
from experiments.cli_text import answer, comparison_table, console, next_command, notes_lines, plural
from experiments.config_load import Loaded, load
from experiments.config_toml import find
from experiments.errors import InputError, Problem
from experiments.estimate import costs_s
from experiments.summary import failed, least_possible
from experiments.validated import outside
from experiments.work import processors


def run_command(
    experiment: str,
    output: Path | None,
    settings: Sequence[str],
    workers: int,
    cluster: str,
    index: int | None,
    quiet: bool,
) -> int:
    """Run what is missing; show the table, the answer, the folder and the next command."""
    loaded = load(find(experiment), settings)
    path = output or session.default_folder(loaded)
    plan = session.plan(loaded, path, index)
    err = console(stderr=True)
    if not quiet:
        _caution(loaded)
    inputs = session.check(plan)
    if inputs is not None:
        estimated = sum(costs_s(plan, inputs).values())
        workers = workers or session.workers_for(plan, estimated, processors())
        if not quiet:
            err.print(_announced(plan, estimated, workers, cluster, index))
    with progress_bar(quiet) as progress:
        outcome = session.carry_out(plan, workers, cluster, progress)
    if not quiet:
        out = console()
        out.print(comparison_table(outcome.rows, loaded))
        out.print(answer(outcome.rows, loaded))
        if least := least_possible(outcome.rows, loaded.axis_keys):
            out.print(least)
        out.print(f"Results: {path}")
        out.print(f"Next:    {next_command(path)}")
    for row in failed(outcome.rows):
        err.print(f"failed: {row['run']}: {row['reason']}", style="red")
    for fault in outcome.faults:
        err.print(f"failed: {fault}", style="red")
    return 0 if outcome.ok else 1


def _caution(loaded: Loaded) -> None:
    err = console(stderr=True)
    for line in outside(loaded):
        err.print(line, style="yellow")


def _announced(plan: session.Plan, estimated_s: float, workers: int, cluster: str, index: int | None) -> str:
    """What is about to run, and about how long it will take."""
    done = len(plan.runs) - len(plan.missing)
    kept = f", {done} of them complete already" if done and index is None else ""
    runs = plural(len(plan.runs), "run") if index is None else f"run {index} of {len(plan.runs)}"
    where = f"on {cluster}" if cluster else f"in {plural(workers, 'process', 'processes')}"
    about = f", about {_duration(estimated_s / workers)}" if not cluster else ""
    return f"{plan.loaded.experiment.name}: {runs}{kept} {where}{about} -> {plan.folder.path}"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


@contextlib.contextmanager
def progress_bar(quiet: bool = False) -> Iterator[session.Progress | None]:
    """A progress bar on stderr with the time that remains; none where stderr is no terminal.

    It begins, with a thread of its own, when it is first told something: workers are forked before.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("running"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # what is left is told by the pace so far, of estimated time, since runs differ
    bar = Progress(*columns, console=console(stderr=True), transient=True, speed_estimate_period=600.0)
    task = bar.add_task("runs", total=1.0, count="")

    def show(done: int, total: int, share: float) -> None:
        bar.start()
        bar.update(task, completed=share, count=f"{done} of {total}")

    try:
        yield show
    finally:
        bar.stop()


def validate_command(experiment: str, settings: Sequence[str]) -> int:
    """Say what an experiment would run; everything wrong with it is raised, all at once."""
    loaded = load(find(experiment), settings)
    plan = session.plan(loaded, session.default_folder(loaded))
    inputs = session.check_inputs(plan)
    _caution(loaded)
    out = console()
    name = loaded.experiment.name
    out.print(f"{loaded.file} is valid: {name}")
    if loaded.experiment.question:
        out.print(f"  {loaded.experiment.question}")
    policies = ", ".join(policy.label for policy in loaded.policies)
    seeds = len(loaded.experiment.seeds)
    scenarios = plural(plan.cells // seeds, "scenario")
    times = f"{scenarios} x {plural(seeds, 'seed')} x {plural(len(loaded.policies), 'policy', 'policies')}"
    out.print(f"  {plural(len(plan.runs), 'run')}: {times} ({policies})")
    for axis in loaded.axes:
        for position, key in enumerate(axis.keys):
            out.print(f"  axis {key}: {', '.join(str(row[position]) for row in axis.rows)}")
    for line in notes_lines(inputs):
        out.print(f"  {line}")
    if not plan.missing:
        out.print(f"  all of it is complete in {plan.folder.path}")
    return 0


def init_command(file: Path) -> int:
    """Write a commented first experiment; an existing file is never overwritten."""
    text = (Path(__file__).parent / "templates" / "first_experiment.toml").read_text(encoding="utf-8")
    if file.is_dir():
        file = file / "experiment.toml"
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(Problem(str(file), "", "is there already; name another file")) from None
    except OSError as error:
        raise InputError(Problem(str(file), "", f"cannot be written: {error.strerror}")) from None
    console().print(f"Wrote {file}. Next: tafukt validate {file}, then tafukt run {file}")
    return 0
