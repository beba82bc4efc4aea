"""`tafukt run`, `validate` and `init`."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tafukt.experiments.cli.pace import Pace
from tafukt.experiments.cli.stop import Stopped
from tafukt.experiments.cli.text import console, next_command, plural, scenario_lines, tell_notes
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.toml import find
from tafukt.experiments.results.numbers import in_currency
from tafukt.experiments.runs import session
from tafukt.experiments.runs.matrix import axis_value
from tafukt.experiments.runs.session import costs_s, processors
from tafukt.problems import cut

if TYPE_CHECKING:
    from tafukt.experiments.config.load import Loaded
    from tafukt.experiments.runs.sizing import Sizing


def run_command(
    experiment: str,
    output: Path | None,
    settings: Sequence[str],
    workers: int,
    cluster: str,
    index: int | None,
    quiet: bool,
    verify: bool = False,
) -> int:
    """Run what is missing; show the table, the answer, the folder and the next command."""
    loaded = load_experiment(find(experiment), settings)
    path = output or session.default_folder(loaded)
    plan = session.plan_runs(loaded, path, index, verify)
    err = console(stderr=True)
    inputs = session.check_plan(plan)
    if not quiet:
        tell_notes(notes(loaded, inputs) if inputs else plan.folder.manifest().get("notes", []))
        for run_id, fault in plan.damaged.items():
            err.print(f"{run_id}: {fault}; it is run again", style="yellow")
    estimated = 0.0
    if inputs is not None:
        estimated = sum(costs_s(plan, inputs).values())
        workers = workers or session.workers_for(plan, estimated, processors())
        if not quiet:
            err.print(_announced(plan, estimated, workers, cluster, index))
    try:
        with progress_bar(quiet, estimated / max(workers, 1)) as progress:
            outcome = session.carry_out(plan, workers, cluster, progress)
    except KeyboardInterrupt as stop:
        done = sum(plan.folder.is_complete(run.run_id) for run in plan.chosen)
        far = f"stopped, {done} of {plural(len(plan.chosen), 'run')} done"
        raise Stopped(f"{far}; the same command resumes", stop) from None
    if not quiet:
        _show_outcome(outcome, loaded)
    for row in outcome.failed:
        err.print(f"failed: {row['run']}: {row['reason']}", style="red")
    for fault in outcome.faults:
        err.print(f"failed: {fault}", style="red")
    return 0 if outcome.ok else 1


def _show_outcome(outcome: session.SessionOutcome, loaded: Loaded) -> None:
    """Show the table, the answer, the folder and the next command."""
    from tafukt.experiments.cli.comparison import print_comparison
    from tafukt.experiments.results.answer import against_base_lines, answer
    from tafukt.experiments.results.summary import least_possible

    out, folder = console(), outcome.plan.folder
    print_comparison(outcome.rows, loaded)
    sentences = answer(outcome.rows, loaded.baseline.label, loaded.axis_keys)
    sentences += against_base_lines(outcome.rows, folder.manifest()["baseline_scenario"], loaded.axis_keys)
    for sentence in sentences:
        out.print(in_currency(sentence, loaded.experiment.currency))
    if least := least_possible(outcome.rows, loaded.axis_keys):
        out.print(least)
    out.print(f"Results: {folder.path}")
    out.print(f"Next:    {next_command(folder.path)}")


def dry_run_command(
    experiment: str, output: Path | None, settings: Sequence[str], index: int | None, verify: bool
) -> int:
    """Say which runs are missing and how long they will take; nothing is simulated and nothing written."""
    loaded = load_experiment(find(experiment), settings)
    plan = session.plan_runs(loaded, output or session.default_folder(loaded), index, verify)
    inputs = session.check_plan(plan)
    out = console()
    costs = costs_s(plan, inputs) if inputs else {}
    processes = session.workers_for(plan, sum(costs.values()), processors())
    out.print(_announced(plan, sum(costs.values()), processes, "", index))
    told, hidden = cut(plan.missing, RUNS_SHOWN)
    for run in told:
        why = f" ({plan.damaged[run.run_id]})" if run.run_id in plan.damaged else ""
        out.print(f"  {run.run_id}{why}")
    if hidden:
        out.print(f"  and {hidden} more")
    if plan.wanted:
        out.print(f"  {plural(len(plan.wanted), 'bound or best schedule', 'bounds or best schedules')}")
    out.print("Nothing was run." if costs else "Nothing is missing.")
    return 0


def _announced(plan: session.RunPlan, estimated_s: float, workers: int, cluster: str, index: int | None) -> str:
    """Announcement of a run: its size, and about how long it will take."""
    done = len(plan.runs) - len(plan.missing)
    kept = f", {done} of them complete already" if done and index is None else ""
    runs = plural(len(plan.runs), "run") if index is None else f"run {index} of {len(plan.runs)}"
    where = f"on {cluster}" if cluster else f"in {plural(workers, 'process', 'processes')}"
    about = f", {_about(estimated_s / workers)}" if not cluster else ""
    return f"{plan.loaded.experiment.name}: {runs}{kept} {where}{about} -> {plan.folder.path}"


def duration(seconds: float) -> str:
    """A time in the unit that fits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 0.5 else "less than 1 s"


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}" if seconds >= 0.5 else duration(seconds)


@contextlib.contextmanager
def progress_bar(quiet: bool = False, estimated_s: float = 0.0) -> Iterator[session.RunProgress | None]:
    """A progress bar on stderr with the time that remains; none where stderr is no terminal.

    Between two runs it goes on by the clock, as far as the runs under way may go by the estimate. It begins, with a
    thread of its own, when it is first told something: workers are forked before.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("running"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    task = bar.add_task("runs", total=1.0, count="", left="")
    pace = Pace(estimated_s)
    ended = threading.Event()

    def move() -> None:
        while not ended.wait(0.5):
            share, left_s = pace.now(time.monotonic())
            bar.update(task, completed=share, left=f"{duration(left_s)} left" if left_s else "")

    def show(done: int, total: int, share: float) -> None:
        if not bar.live.is_started:
            bar.start()
            threading.Thread(target=move, daemon=True).start()
        pace.told(share, time.monotonic())
        bar.update(task, count=f"{done} of {plural(total, 'run')}")

    try:
        yield show
    finally:
        ended.set()
        bar.stop()


def validate_command(experiment: str, settings: Sequence[str]) -> int:
    """Say what an experiment would run; everything wrong with it is raised, all at once."""
    loaded = load_experiment(find(experiment), settings)
    plan = session.plan_runs(loaded, session.default_folder(loaded))
    inputs = session.check_inputs(plan)
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
    for line in _axis_lines(loaded):
        out.print(f"  {line}")
    for line in scenario_lines(inputs):
        out.print(f"  {line}")
    for line in notes(loaded, inputs):
        out.print(f"  Note: {line}")
    estimated = sum(costs_s(plan, inputs).values())
    if plan.missing:
        processes = session.workers_for(plan, estimated, processors())
        what = f"{plural(len(plan.missing), 'run')} to do" if len(plan.missing) < len(plan.runs) else "all of it"
        out.print(f"  {what}: {_about(estimated / processes)} in {plural(processes, 'process', 'processes')}")
    else:
        out.print(f"  all of it is complete in {plan.folder.path}")
    return 0


def _axis_lines(loaded: Loaded) -> list[str]:
    """Each axis in words with its values: "axis battery: 60, 120 kWh"."""
    from tafukt.experiments.results.axes import label, unit, value_text

    keys = iter(loaded.axis_keys)
    told = []
    for axis in loaded.axes:
        for position in range(len(axis.keys)):
            key = next(keys)
            values = ", ".join(value_text(axis_value(row[position])) for row in axis.rows)
            told.append(f"axis {label(key)}: {values} {unit(key)}".rstrip())
    return told


# --- `tafukt replay` and `selftest`: does it come out again, and does it hold


LINES_SHOWN = 20
RUNS_SHOWN = 40


def replay_command(folder: Path, workers: int) -> int:
    """Run a folder's experiment again; exit code 1 where the results do not agree."""
    from tafukt.experiments.runs.replay import TOLERANCE, replay

    with progress_bar() as progress:
        found = replay(folder, workers or processors(), progress)
    out = console()
    for what in found.changed:
        out.print(f"Changed since: {what}")
    if not found.close and not found.different:
        out.print(f"The results agree byte for byte: {plural(found.identical, 'file')}.")
    elif found.agrees:
        out.print(f"The results agree to {TOLERANCE:g}; {plural(len(found.close), 'file')} not to the byte:")
    else:
        out.print("The results do not agree:")
    told, hidden = cut(found.different or found.close, LINES_SHOWN)
    for line in told:
        out.print(f"  {line}")
    if hidden:
        out.print(f"  and {hidden} more")
    return 0 if found.agrees else 1


def pack_command(folder: Path) -> int:
    """Make a result folder whole."""
    from tafukt.experiments.runs.pack import pack

    places = pack(folder)
    for place in places:
        console().print(f"  {place}")
    console().print(f"{folder} holds {plural(len(places), 'input file')} and needs no other.")
    return 0


def selftest_command(experiment: str) -> int:
    """Check an experiment, or the bundled Morocco week; exit code 1 where a check fails."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.toml import find
    from tafukt.experiments.runs import selftest

    path = find(experiment) if experiment else selftest.default_experiment()
    out, err = console(), console(stderr=True)
    failed = number = 0
    policy = ""
    told = (lambda what: err.print(f"... {what}")) if err.is_terminal else (lambda what: None)
    loaded = load_experiment(path)
    days = min(selftest.days_checked(loaded), loaded.experiment.days)
    out.print(f"Checks {days} of {loaded.experiment.days} days, with the first seed.")
    for check in selftest.checks(loaded, told):
        if check.policy != policy:
            policy = check.policy
            out.print(policy, style="bold")
        out.print("  ok  " if check.holds else "  FAIL", style="green" if check.holds else "red", end="")
        out.print(f"  {check.name}", end="")
        out.print(f"  ({check.measure})", style="dim")
        number += 1
        failed += not check.holds
    out.print(f"{failed} of {number} checks failed." if failed else f"All {number} checks hold.")
    return 1 if failed else 0


# --- `tafukt size`: the cheapest sun and battery that meet a target


def size_command(
    experiment: str,
    target: str,
    settings: Sequence[str],
    policy: str,
    pv_mad_per_kwp: float | None,
    output: Path | None,
    workers: int = 1,
) -> int:
    """Find the cheapest sizes that meet a target; write every point, the front, and the sized experiment."""
    from tafukt.experiments.runs import sizing

    wanted = sizing.parse_target(target)
    loaded = load_experiment(find(experiment), settings)
    err = console(stderr=True)
    seeds = plural(len(loaded.experiment.seeds), "seed")
    err.print(
        f"Simulates sizes of PV and battery until {wanted}, each under {seeds}: some 40 to {sizing.POINTS_LIMIT}."
    )
    begun = time.monotonic()

    def told(done: int) -> None:
        pace = (time.monotonic() - begun) / done
        status.update(f"sizing: {plural(done, 'size')} simulated, {duration(pace)} each")
        if not err.is_terminal and done % 10 == 0:
            left = duration(pace * (sizing.POINTS_LIMIT - done))
            err.print(f"{plural(done, 'size')} simulated, {duration(pace)} each; at most {left} left")

    with err.status("sizing") as status:
        found = sizing.search(loaded, wanted, policy, pv_mad_per_kwp, told, workers or processors())
    folder = output or Path("results") / f"{loaded.experiment.name}-size"
    files = _written_sizes(found, loaded, folder)
    out = console()
    for line in sizing.sizing_lines(found):
        out.print(in_currency(line, loaded.experiment.currency))
    out.print(f"Results: {folder} ({', '.join(files)})")
    if found.chosen is None:
        return 1
    out.print(f"Next:    tafukt run {folder / 'sized.toml'}")
    return 0


def _written_sizes(found: Sizing, loaded: Loaded, folder: Path) -> list[str]:
    """Names of the files that a search for sizes leaves: its points, their front, and the sized experiment."""
    from tafukt.experiments.config.toml import text
    from tafukt.experiments.figures.compare import size_front
    from tafukt.experiments.figures.style import new_figure, save, style
    from tafukt.experiments.results.axes import CURRENCY
    from tafukt.experiments.runs import sizing

    folder.mkdir(parents=True, exist_ok=True)
    points = sizing.table(found)
    points.attrs[CURRENCY] = loaded.experiment.currency
    points.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
    with style():
        figure, axes = new_figure(6.6, 3.9)
        size_front(points, axes, metric=found.target.metric, target=found.target.value)
        save(figure, folder / "front.png", "png")
    if found.chosen is None:
        return ["sizes.csv", "front.png"]
    (folder / "sized.toml").write_text(text(sizing.sized_document(loaded, found.chosen)), encoding="utf-8")
    return ["sizes.csv", "front.png", "sized.toml"]
