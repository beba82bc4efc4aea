"""`tafukt replay`: does it come out again."""

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
            out.print(f"  {line}", markup=False)
    return 0 if found.agrees else 1
