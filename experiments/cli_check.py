"""`tafukt replay` and `explain`: does it come out again, and why did it come out so."""

from __future__ import annotations

from pathlib import Path

from experiments.cli_run import progress_bar
from experiments.cli_text import console, plural
from experiments.errors import FolderError, Problem, nearest
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


def explain_command(folder: Path, job: str, policy: str) -> int:
    """Tell the story of one job under each policy, or under one."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from experiments.explain import story
    from experiments.folder import Folder

    manifest = Folder(folder).manifest()
    runs = {run: entry for run, entry in manifest["runs"].items() if entry["status"] == "complete"}
    known = list(dict.fromkeys(entry["policy"] for entry in runs.values()))
    if policy and policy not in known:
        raise FolderError(Problem(str(folder), "", f"holds no complete run of {policy!r}", nearest(policy, known)))
    out = console()
    told: set[str] = set()
    for run, entry in runs.items():
        if entry["policy"] in told or (policy and entry["policy"] != policy):
            continue
        path = folder / "runs" / run
        jobs = pq.read_table(path / "jobs.parquet")
        rows = jobs.filter(pc.equal(jobs["job"], job)).to_pylist()
        if not rows:
            continue
        told.add(entry["policy"])
        events = pq.read_table(path / "events.parquet", filters=[("job", "=", job)]).to_pylist()
        tz = (jobs.schema.metadata or {}).get(b"tz", b"UTC").decode()
        found = story(rows[0], events, tz)
        where = f", seed {entry['seed']}" + "".join(f", {key} = {value}" for key, value in entry["axes"].items())
        out.print(f"[bold]{entry['policy']}[/bold]{where}")
        for line in (found.headline, *found.lines, *found.timeline):
            out.print(f"  {line}", markup=False)
        out.print()
    if not told:
        ids = [str(name) for run in list(runs)[:1] for name in _ids(folder / "runs" / run)]
        raise FolderError(Problem(str(folder), "", f"no job is called {job!r} in its runs", nearest(job, ids)))
    return 0


def _ids(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_table(path / "jobs.parquet", columns=["job"])["job"].to_pylist())
