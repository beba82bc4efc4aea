"""Running and checking an experiment from Python; `tafukt` itself offers these as its public face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tafukt.experiments.config import toml
from tafukt.experiments.config.load import Loaded, check, load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.results.load import Results
from tafukt.experiments.results.load import load as load_folder
from tafukt.experiments.results.summary import failed
from tafukt.experiments.runs import session

Overrides = Mapping[str, Any] | Sequence[str]


class RunError(RuntimeError):
    """Runs of an experiment failed; the others are complete in `folder`."""

    def __init__(self, folder: Path, reasons: Sequence[str]) -> None:
        self.folder = folder
        self.reasons = tuple(reasons)
        shown = "; ".join(self.reasons[:3]) + (" ..." if len(self.reasons) > 3 else "")
        super().__init__(f"{len(self.reasons)} failed ({shown}); what is complete is in {folder}")


@dataclass(frozen=True)
class ExperimentCheck:
    """The runs that a valid experiment makes, and what they rest on.

    Attributes
    ----------
    name, question : str
    policies, sites : tuple of str
    seeds : tuple of int
    axes : tuple of str
        Keys over which the matrix goes.
    runs : int
    estimated_s : float
        Processor time that they will take, roughly [s].
    notes : tuple of str
        What is worth knowing before it runs.
    """

    name: str
    question: str
    policies: tuple[str, ...]
    sites: tuple[str, ...]
    seeds: tuple[int, ...]
    axes: tuple[str, ...]
    runs: int
    estimated_s: float
    notes: tuple[str, ...]


def loaded_of(experiment: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Loaded:
    """The validated experiment that a user means.

    Raises
    ------
    InputError
        With everything that is wrong with it.
    """
    texts = () if isinstance(overrides, Mapping) else tuple(overrides)
    values = dict(overrides) if isinstance(overrides, Mapping) else {}
    if not isinstance(experiment, Mapping):
        path = toml.find(str(experiment))
        if not values:
            return load_experiment(path, texts)
        raw, file, folder = toml.read(path), str(path), path.resolve().parent
    else:
        raw, file, folder = deepcopy(dict(experiment)), "experiment", Path.cwd()
    document = toml.with_overrides(raw, texts)
    for key, value in values.items():
        toml.put(document, key, value, file)
    return check(document, file, folder)


def run(
    experiment: str | Path | Mapping[str, Any], overrides: Overrides, output: str | Path | None, workers: int
) -> Results:
    """See `tafukt.run`."""
    loaded = loaded_of(experiment, overrides)
    path = Path(output) if output is not None else session.default_folder(loaded)
    plan = session.plan_runs(loaded, path)
    inputs = session.check_plan(plan)
    if inputs is not None and not workers:
        workers = session.workers_for(plan, sum(session.costs_s(plan, inputs).values()), session.processors())
    outcome = session.carry_out(plan, max(workers, 1))
    if not outcome.ok:
        raise RunError(path, [f"{row['run']}: {row['reason']}" for row in failed(outcome.rows)] + outcome.faults)
    return load_folder(path)


def validate(experiment: str | Path | Mapping[str, Any], overrides: Overrides) -> ExperimentCheck:
    """See `tafukt.validate`."""
    loaded = loaded_of(experiment, overrides)
    plan = session.plan_runs(loaded, session.default_folder(loaded))
    inputs = session.check_inputs(plan)
    return ExperimentCheck(
        loaded.experiment.name,
        loaded.experiment.question,
        tuple(policy.label for policy in loaded.policies),
        tuple(loaded.sites),
        tuple(loaded.experiment.seeds),
        tuple(loaded.axis_keys),
        len(plan.runs),
        sum(session.costs_s(plan, inputs).values()),
        tuple(notes(loaded, inputs)),
    )
