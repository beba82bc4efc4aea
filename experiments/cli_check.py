"""`tafukt replay`, `selftest` and `size`: does it come out again, does it hold, how large should it be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.cli_run import progress_bar
from experiments.cli_text import console, plural
from experiments.work import processors

SHOWN = 20


def replay_command(folder: Path, workers: int) -> int:
    """Run a folder's experiment again; exit code 1 where the results do not agree."""
    from experiments.replay import TOLERANCE, replay

    with progress_bar() as progress:
        found = replay(folder, workers or processors(), progress)
    out = console()
    for what in found.changed:
        out.print(f"Changed since: {what}")
    if not found.close and not found.different:
        out.print(f"The results agree to the byte: {plural(found.identical, 'file')}.")
    elif found.agrees:
        out.print(f"The results agree to {TOLERANCE:g}; {plural(len(found.close), 'file')} not to the byte:")
        for name in found.close[:SHOWN]:
            out.print(f"  {name}")
    else:
        out.print("The results do not agree:")
        for line in found.different[:SHOWN]:
            out.print(f"  {line}", markup=False)
    return 0 if found.agrees else 1


def selftest_command(experiment: str) -> int:
    """Check an experiment, or the bundled Morocco week; exit code 1 where a check fails."""
    from experiments import selftest
    from experiments.config_load import load
    from experiments.config_toml import find

    path = find(experiment) if experiment else selftest.default_experiment()
    out, err = console(), console(stderr=True)
    failed = number = 0
    policy = ""
    told = (lambda what: err.print(f"... {what}")) if err.is_terminal else (lambda what: None)
    for check in selftest.checks(load(path), told):
        if check.policy != policy:
            policy = check.policy
            out.print(f"[bold]{policy}[/bold]")
        mark = "[green]ok[/green]  " if check.holds else "[red]FAIL[/red]"
        out.print(f"  {mark}  {check.name}", end="")
        out.print(f"  ({check.measure})", style="dim", markup=False)
        number += 1
        failed += not check.holds
    out.print(f"{failed} of {number} checks failed." if failed else f"All {number} checks hold.")
    return 1 if failed else 0


def size_command(experiment: str, target: str, settings: Sequence[str], policy: str, output: Path | None) -> int:
    """Search the cheapest PV and battery for a target; exit code 1 where no size meets it."""
    from experiments import sizing
    from experiments.config_load import load
    from experiments.config_toml import find, text
    from experiments.figures_compare import size_front
    from experiments.figures_style import new_figure, save, style
    from experiments.folder import Folder

    wanted = sizing.parse_target(target)
    loaded = load(find(experiment), settings)
    err = console(stderr=True)
    told = (lambda n: err.print(f"{n} sizes simulated", end="\r")) if err.is_terminal else None
    found = sizing.search(loaded, wanted, policy, progress=told)
    out = console()
    for line in sizing.summary_lines(found):
        out.print(line, markup=False)
    folder = Folder(output or Path("results") / f"{loaded.experiment.name}-size")
    folder.write("sizes.csv", sizing.table(found).to_csv(index=False, lineterminator="\n").encode())
    if found.chosen is not None:
        folder.write("experiment.toml", text(sizing.sized_document(loaded, found.chosen)).encode())
    with style():
        figure, axes = new_figure(5.8, 3.8)
        size_front(sizing.table(found), ax=axes, metric=wanted.metric, target=wanted.value)
    save(figure, folder.path / "front.png", "png")
    out.print(f"Results: {folder.path}")
    return 0 if found.chosen is not None else 1
