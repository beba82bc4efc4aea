"""A tiny experiment, and looking at result folders, for the tests of `experiments`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.runs import session

TINY = """
name = "tiny"
question = "Is it small?"
start = 2025-06-01T00:00:00Z
days = 1
step_min = {step_min}
seeds = {seeds}
policies = {policies}
[sites]
use = ["rabat", "dakhla"]
all.cluster.nodes = 2
[workload]
load = 0.3
runtime_cap_h = 4
gang_cap = 8
"""


def tiny(policies: Sequence[str] = ("fifo", "solar"), seeds: Sequence[int] = (1,), step_min: int = 60) -> str:
    """The text of an experiment whose runs take a blink."""
    return TINY.format(policies=json.dumps(list(policies)), seeds=list(seeds), step_min=step_min)


def run(experiment: Path, output: Path, *settings: str, workers: int = 1) -> session.SessionOutcome:
    """Run an experiment file into a folder."""
    return session.carry_out(session.plan_runs(load_experiment(experiment, settings), output), workers)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name, but for the traceback of a failure, which names its process."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "error.txt"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
