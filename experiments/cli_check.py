"""`tafukt replay` and `selftest`: does it come out again, and does it hold."""

from __future__ import annotations

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
            out.print(f"  {line}")
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
    loaded = load(path)
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
