"""Commands about logs of real clusters: a mix fitted to one, an experiment made from one."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from tafukt.experiments.cli.text import console
from tafukt.experiments.errors import InputError, Problem, listed, nearest


def fit_command(name: str, output: Path | None) -> int:
    """Fit a mix to a trace, write it beside, and say how far jobs drawn from it are from the trace."""
    from tafukt.workloads.fit import fit_trace
    from tafukt.workloads.traces.formats import load_table, sniff

    path = Path(name)
    if not path.is_file():
        raise InputError(Problem(name, "--fit", "no such file; --fit needs a trace to fit a mix to"))
    table, report = load_table(path.name, sniff(path), path.parent)
    report.settle("drop")
    fit = fit_trace(table, path.name)
    written = output or Path(f"{path.name.partition('.')[0]}_mix.toml")
    if written.exists():
        raise InputError(Problem(str(written), "", "already exists; choose another file with -o"))
    written.write_text(fit.toml(), encoding="utf-8")
    out = console()
    out.print(f"{path.name}: {len(table):,} jobs, {fit.jobs_per_day:,.1f} a day, over {table.days:,.1f} days")
    out.print(
        "Jobs drawn from the mix against the trace (Kolmogorov-Smirnov distance, 0: alike, 1: nothing in common):"
    )
    for key, what in (("duration", "runtime"), ("gpus", "GPUs"), ("inter_arrival", "time between arrivals")):
        out.print(f"  {what}: {fit.quality[f'ks_{key}']:.3f}")
    out.print(f"  GPU-hours, drawn / trace: {fit.quality['gpu_hours_ratio']:.3f}")
    out.print("Slack and interruptible jobs are assumptions: traces do not record them.")
    out.print(f'Wrote {written}: workload = {{ mix = "{written}", load = 0.5 }}', markup=False)
    return 0


def import_command(kind: str, file: Path, output: Path | None, like: str, zone: str) -> int:
    """Write a first experiment that replays a log; an existing file is never overwritten."""
    from tafukt.experiments.cli.sacct_import import first_experiment
    from tafukt.sites.site import catalogue

    if kind != "sacct":
        raise InputError(Problem("", kind, "is not a kind of log that can be imported; known: sacct", "sacct"))
    if like not in catalogue():
        known = catalogue()
        raise InputError(Problem("--like", like, f"no such site; known: {listed(known)}", nearest(like, known)))
    if zone:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise InputError(Problem("--tz", zone, "no such time zone; they are written as in Europe/Rome")) from None
    written = output or Path(f"{file.name.partition('.')[0]}.toml")
    if written.exists():
        raise InputError(Problem(str(written), "", "already exists; choose another file with -o"))
    text, lines = first_experiment(file, written, like, zone)
    written.write_text(text, encoding="utf-8")
    out = console()
    for line in lines:
        out.print(line, markup=False)
    out.print(f"Wrote {written}. Next: tafukt validate {written}, then tafukt run {written}", markup=False)
    return 0


def fetch_command(name: str, mirror: str, again: bool) -> int:
    """Download a public trace into the cache, or list which there are."""
    from tafukt.experiments.config.traces import trace_folder
    from tafukt.workloads.traces import public

    out, folder = console(), trace_folder()
    if not name:
        for known, trace in public.public_traces().items():
            state = "here" if (folder / trace.file).is_file() else public.size(trace.bytes)
            out.print(f"{known:8} {state:9} {trace.title} ({trace.licence})", markup=False)
        out.print("tafukt fetch NAME downloads one from its publisher; an experiment says workload.trace = NAME.")
        return 0
    trace = public.public_trace(name)
    path = public.path_of(name, folder)
    if path.is_file() and not again:
        out.print(f"{name} is here already: {path}; --again fetches it anew", markup=False)
        return 0
    out.print(f"{trace.title}\n  from: {trace.source}\n  licence: {trace.licence}", markup=False)
    out.print(f"  {public.size(trace.bytes)} from {mirror or trace.url}", markup=False)
    if trace.kept:
        out.print(f"  {trace.kept}", markup=False)
    fetched = public.fetch(name, folder, mirror)
    if fetched.notes:
        out.print(f"  {fetched.notes}", markup=False)
    known_by = trace.sha256_from or "the first download"
    verdict = f"as it should be ({known_by})" if fetched.was_known else "not known beforehand; later ones must have it"
    out.print(f"  SHA-256 {fetched.sha256}: {verdict}", markup=False)
    out.print(
        f'Wrote {fetched.path}. An experiment names it: [workload] kind = "trace", trace = "{name}"', markup=False
    )
    return 0
