"""Commands about logs of real clusters: a mix fitted to one."""

from __future__ import annotations

from pathlib import Path

from tafukt.experiments.cli.text import console
from tafukt.experiments.errors import InputError, Problem


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
        raise InputError(Problem(str(written), "", "is there already; name another file with -o"))
    written.write_text(fit.toml(), encoding="utf-8")
    out = console()
    out.print(f"{path.name}: {len(table):,} jobs, {fit.jobs_per_day:,.1f} a day, over {table.days:,.1f} days")
    out.print(
        "Jobs drawn from the mix against the trace (Kolmogorov-Smirnov distance, 0: alike, 1: nothing in common):"
    )
    for key, what in (("duration", "runtime"), ("gpus", "GPUs"), ("inter_arrival", "time between arrivals")):
        out.print(f"  {what}: {fit.quality[f'ks_{key}']:.3f}")
    out.print(f"  GPU-hours, drawn / trace: {fit.quality['gpu_hours_ratio']:.3f}")
    out.print("Slack and interruptible jobs are choices: no trace knows them.")
    out.print(f'Wrote {written}: workload = {{ mix = "{written}", load = 0.5 }}', markup=False)
    return 0
