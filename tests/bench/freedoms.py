"""What the best known schedule could draw if jobs and nodes were as free as the bound supposes: one freedom at a time.

    python -m bench.freedoms [--seeds 1 2 ...] [--start DATE ...] [--steps N] [--kept DIR]

The bound parts gangs at will, lets jobs stop and move for nothing, and has nodes awake for just as long as something
runs on them. Each row gives the search one freedom more than the row above it, so that what no schedule can reach
is told from what a longer search might find. Each schedule is simulated in a world with those freedoms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.saving_breakdown import BUNDLED, Ladder, Row
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.workloads.job import Checkpoint, Job

Change = Callable[[Inputs], Inputs]


def free_moves(inputs: Inputs) -> Inputs:
    """Neither saving nor restarting nor data takes time."""

    def free(job: Job) -> Job:
        here = replace(job.ask.dataset, size_gb=0.0)
        return replace(job, ask=replace(job.ask, checkpoint=Checkpoint(), dataset=here))

    return replace(inputs, jobs=[free(job) for job in inputs.jobs])


def parted_gangs(inputs: Inputs) -> Inputs:
    """Jobs of several nodes become jobs of one node each."""
    node = inputs.scenario.sites[0].node.gpus

    def parts(job: Job) -> list[Job]:
        pieces = job.ask.gpus // node
        if pieces < 2 or job.ask.gpus % node:
            return [job]
        ask, truth = job.ask, job.truth
        piece = replace(truth, work_gpu_s=truth.work_gpu_s / pieces)
        return [Job(replace(ask, job_id=f"{ask.job_id}-{k}", gpus=node), piece) for k in range(pieces)]

    return replace(inputs, jobs=[part for job in inputs.jobs for part in parts(job)])


def instant_nodes(inputs: Inputs) -> Inputs:
    """Nodes wake and sleep at once."""
    scenario = inputs.scenario
    sites = tuple(replace(s, node=replace(s.node, wake_s=0.0, sleep_after_s=0.0)) for s in scenario.sites)
    return replace(inputs, scenario=replace(scenario, sites=sites))


FREEDOMS: dict[str, Change | None] = {
    "as things are": None,
    "stops and moves cost nothing": free_moves,
    "and gangs may be parted into nodes": parted_gangs,
    "and nodes wake and sleep at once": instant_nodes,
}


def rows_of(start: str, seed: int, steps: int, kept: Path) -> dict[str, Row]:
    """Every freedom's row, with `bound` and `fifo` as things are; what is kept is read."""
    path = kept / f"freedoms-{start}-{seed}-{steps}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    inputs = build(load_experiment(BUNDLED / "morocco_week.toml", [f"start={start}T00:00:00Z"]), seed)
    ladder = Ladder(inputs, seed, steps)
    made = {"bound": ladder.bound, "fifo": ladder.steps["nobody waits: fifo"]}
    for name, change in FREEDOMS.items():
        inputs = change(inputs) if change else inputs
        freed = Ladder(inputs, seed, steps)
        made[name] = lambda freed=freed, name=name: freed.row(name, freed.searched())  # type: ignore[misc]
    for name, make in made.items():
        if name not in known:
            known[name] = asdict(make())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(known, indent=1))
            print(f"{start} seed {seed}: {name}: {known[name]['draw_kwh']:,.0f} kWh", flush=True)
    return {name: Row(**known[name]) for name in made}


def table(found: dict[str, Sequence[dict[str, Row]]]) -> str:
    """Means over seeds: the draw [kWh] of each row, and its distance from the bound as a share of that of fifo."""
    starts = list(found)
    head = ["what is free", *(f"from {start} [kWh]" for start in starts), *("above the bound" for _ in starts)]
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    for name in ("bound", *FREEDOMS, "fifo"):
        draws, shares = [], []
        for runs in found.values():
            draws.append(sum(run[name].draw_kwh for run in runs) / len(runs))
            rooms = [run["fifo"].draw_kwh - run["bound"].draw_kwh for run in runs]
            above = [run[name].draw_kwh - run["bound"].draw_kwh for run in runs]
            shares.append(sum(a / room for a, room in zip(above, rooms, strict=True)) / len(runs))
        lines.append(f"| {name} | {' | '.join([*(f'{d:,.0f}' for d in draws), *(f'{s:.3f}' for s in shares)])} |")
    return "\n".join(lines)


def main() -> None:
    """Search and print the table."""
    parser = argparse.ArgumentParser(description="What the best known schedule could draw with more freedom.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--start", nargs="+", default=["2025-12-01", "2025-06-02"])
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--kept", type=Path, default=Path("build/freedoms"))
    asked = parser.parse_args()
    found: dict[str, list[dict[str, Row]]] = {start: [] for start in asked.start}
    for seed in asked.seeds:
        for start in asked.start:
            found[start].append(rows_of(start, seed, asked.steps, asked.kept))
    print(table(found))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
