"""Tafukt: AI training jobs scheduled across solar-powered data centres, and the grid electricity that is saved.

The public face. `run` an experiment file and `load` its results; or build a `Scenario` and `Job`s in Python and
`simulate` them. Everything in `__all__` is meant to be used and stays; whatever else is imported from below
`tafukt.` may move. Nothing heavy is imported before it is used.

Examples
--------
>>> import tafukt
>>> "wait-for-sun" in tafukt.policies()
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tafukt.experiments import figures
    from tafukt.experiments.api import ExperimentCheck, RunError
    from tafukt.experiments.config.schema import Experiment
    from tafukt.experiments.errors import InputError
    from tafukt.experiments.results.load import Results, RunData
    from tafukt.simulator.engine.actions import Cap, Hold, Move, Pause, Refuse, Resize, Start, Wake
    from tafukt.simulator.engine.forecast import ForecastSettings
    from tafukt.simulator.engine.job_state import JobState
    from tafukt.simulator.engine.settings import Settings
    from tafukt.simulator.engine.view import View
    from tafukt.simulator.errors import PolicyError
    from tafukt.simulator.failures import FaultSettings
    from tafukt.simulator.policies.deferral.slots import StartOptions, lowest_window
    from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
    from tafukt.simulator.policies.presets import defer_by
    from tafukt.simulator.record import Record
    from tafukt.simulator.scenario import Battery, Grid, Link, NodeType, Scenario, Site
    from tafukt.sites.profile import StepProfile
    from tafukt.sites.site import SiteModel
    from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, Tenant, Truth

# What stands where; a name is imported when it is first used.
_PLACES = {
    "experiments.api": "ExperimentCheck RunError",
    "experiments.config.schema": "Experiment",
    "experiments.errors": "InputError",
    "experiments.results.load": "Results RunData",
    "simulator.engine.actions": "Cap Hold Move Pause Refuse Resize Start Wake",
    "simulator.engine.forecast": "ForecastSettings",
    "simulator.engine.job_state": "JobState",
    "simulator.engine.settings": "Settings",
    "simulator.engine.view": "View",
    "simulator.errors": "PolicyError",
    "simulator.failures": "FaultSettings",
    "simulator.policies.deferral.slots": "StartOptions lowest_window",
    "simulator.policies.list_scheduler": "ListScheduler Parts",
    "simulator.policies.presets": "defer_by",
    "simulator.record": "Record",
    "simulator.scenario": "Battery Grid Link NodeType Scenario Site",
    "sites.profile": "StepProfile",
    "sites.site": "SiteModel",
    "workloads.job": "Ask Checkpoint Dataset Job Tenant Truth",
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = [
    "Ask",
    "Battery",
    "Cap",
    "Checkpoint",
    "Dataset",
    "Experiment",
    "ExperimentCheck",
    "FaultSettings",
    "ForecastSettings",
    "Grid",
    "Hold",
    "InputError",
    "Job",
    "JobState",
    "Link",
    "ListScheduler",
    "Move",
    "NodeType",
    "Parts",
    "Pause",
    "PolicyError",
    "Record",
    "Refuse",
    "Resize",
    "Results",
    "RunData",
    "RunError",
    "Scenario",
    "Settings",
    "Site",
    "SiteModel",
    "Start",
    "StartOptions",
    "StepProfile",
    "Tenant",
    "Truth",
    "View",
    "Wake",
    "__version__",
    "defer_by",
    "figures",
    "load",
    "lowest_window",
    "policies",
    "run",
    "simulate",
    "sites",
    "validate",
    "workloads",
]


def __getattr__(name: str) -> Any:
    if name == "figures":
        return import_module("tafukt.experiments.figures")
    if name in ("sites", "workloads"):  # packages that can be called, too: see their docstrings
        return import_module(f"tafukt.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("tafukt")
    if name in _PLACE_OF:
        return getattr(import_module(f"tafukt.{_PLACE_OF[name]}"), name)
    raise AttributeError(f"module 'tafukt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def run(
    experiment: str | Path | Mapping[str, Any],
    *,
    set: Mapping[str, Any] | Sequence[str] = (),
    output: str | Path | None = None,
    workers: int = 0,
) -> Results:
    """Run an experiment, as `tafukt run` does: what is complete in the folder is kept, what is missing is run.

    Parameters
    ----------
    experiment : str, Path or mapping
        A file, the bare name of a bundled experiment, or the content of an experiment file. Paths in a mapping are
        relative to the current folder.
    set : mapping or sequence of str
        Values over the experiment's own: `{"workload.load": 0.4}` or `["workload.load=0.4"]`.
    output : str or Path, optional
        The result folder; `results/NAME` by default.
    workers : int
        Processes; 0 for as many as the work is worth.

    Returns
    -------
    Results
        As from `load`.

    Raises
    ------
    InputError
        With everything that is wrong with the experiment.
    RunError
        If runs failed; all others are kept in the folder.
    """
    from tafukt.experiments import api

    return api.run(experiment, set, output, workers)


def validate(
    experiment: str | Path | Mapping[str, Any], *, set: Mapping[str, Any] | Sequence[str] = ()
) -> ExperimentCheck:
    """Check of an experiment: what it would run, and what is worth knowing before it does; nothing is simulated.

    Parameters
    ----------
    experiment, set
        As for `run`.

    Returns
    -------
    ExperimentCheck
        Its runs by policies, seeds and axes, its sites, the processor time that all takes, roughly [s], and notes.

    Raises
    ------
    InputError
        With everything that is wrong with it.
    """
    from tafukt.experiments import api

    return api.validate(experiment, set)


def load(folder: str | Path) -> Results:
    """A result folder as data frames and metadata.

    Parameters
    ----------
    folder : str or Path
        What `run` or `tafukt run` has written; finished or not.

    Returns
    -------
    Results
        `summary` and `complete`, one row a run with units in the names of columns, and `run(id)` for its tables.

    Raises
    ------
    InputError
        If it is none.
    """
    from tafukt.experiments.results.load import load as load_folder

    return load_folder(folder)


def simulate(
    scenario: Scenario,
    jobs: Sequence[Job],
    policy: str | Parts | Callable[[View], Any] | Any = "fifo",
    *,
    seed: int = 1,
    settings: Settings | None = None,
) -> Record:
    """Run one policy on a scenario that was built in Python.

    Parameters
    ----------
    scenario : Scenario
        Sites, in s, W and J, and the end of the accounting window [s].
    jobs : sequence of Job
        In any order.
    policy : str, Parts, function or policy
        A preset's name, parts for the list scheduler, one function of a `View`, or an object with the methods
        `begin`, `waiting`, `freed` and `round`.
    seed : int
        Names the random streams of forecasts and faults.
    settings : Settings, optional
        How the engine goes about it.

    Returns
    -------
    Record
        What became of every job [s], and every site's books: power in W between edges in s, energy in J.

    Raises
    ------
    KeyError
        If no preset has this name.
    PolicyError
        If the policy asks for something impossible.
    """
    from tafukt.simulator.engine.engine import simulate as simulate_policy
    from tafukt.simulator.policies.registry import policy_from

    guarded = not isinstance(policy, str)  # presets are tested to write into nothing, others are watched
    return simulate_policy(scenario, jobs, policy_from(policy), seed=seed, settings=settings, check_handed=guarded)


def policies() -> dict[str, str]:
    """Every preset policy: its name, and what it does in a sentence.

    Returns
    -------
    dict of str to str
    """
    from tafukt.simulator.policies.presets import PRESETS

    return {name: preset.does for name, preset in PRESETS.items()}


if TYPE_CHECKING:
    __version__: str

    def sites() -> dict[str, SiteModel]:
        """The sites of the catalogue, by name."""

    def workloads() -> dict[str, str]:
        """Sources of jobs, by name: mixes, trace formats and services, each with its title."""
