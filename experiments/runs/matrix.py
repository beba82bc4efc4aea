"""The matrix of an experiment: scenario x axes x seeds x policies, as cells and runs with their identity."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

from tafukt.experiments.config import toml
from tafukt.experiments.config.known_matrix import forget, keep
from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.policies import PolicyRef
from tafukt.experiments.config.scenario import Inputs, build
from tafukt.experiments.config.schema import FIXED_KEYS
from tafukt.experiments.errors import InputError, Problem, shown
from tafukt.experiments.hashing import canonical, digest, file_digest, source_digest


@dataclass(frozen=True)
class Case:
    """One scenario and seed: the jobs and the sky that all its policies share.

    `key` is the hash of all that makes its inputs, and so stands for them; `whole` is the experiment with its matrix.
    """

    key: str
    seed: int = field(compare=False)
    axes: dict[str, Any] = field(compare=False)
    whole: Loaded | None = field(compare=False, repr=False)

    @cached_property
    def loaded(self) -> Loaded:
        """Its experiment without matrix.

        Raises
        ------
        InputError
            If it is not what its key was made from.
        """
        assert self.whole is not None, "it is handed on with its experiment"
        found = self.whole.at(self.axes)
        if self.whole.known is not None and _key(_inputs_digest(found), self.seed) != self.key:
            forget(self.whole.raw, self.whole.folder)
            raise InputError(Problem(found.file, "matrix", "has scenarios that are not what they were; run it again"))
        return found

    def __getstate__(self) -> dict[str, Any]:
        """State for another process: its own experiment, without the others of the matrix."""
        return {"key": self.key, "seed": self.seed, "axes": self.axes, "whole": None, "loaded": self.loaded}


@lru_cache(maxsize=2)
def inputs_of(cell: Case) -> Inputs:
    """The scenario and jobs of a cell; kept, since its runs come one after another."""
    return build(cell.loaded, cell.seed)


@dataclass(frozen=True)
class Run:
    """One cell under one policy: all that a worker needs, wherever it works.

    `index` is its place in the matrix, `run_id` its folder under `runs/`.
    """

    index: int
    run_id: str
    cell: Case
    policy: PolicyRef


def runs_of(loaded: Loaded) -> list[Run]:
    """Every run of an experiment, in the order of the summary: axes, seeds, policies.

    Raises
    ------
    InputError
        If the values of a cell do not go together, or an input file cannot be read.
    """
    runs: list[Run] = []
    for cell in cells_of(loaded):
        for policy in loaded.policies:
            runs.append(Run(len(runs), run_id(cell, policy), cell, policy))
    return runs


def cells_of(loaded: Loaded) -> list[Case]:
    """Every cell of an experiment, axes first, then seeds; those of a large matrix are kept for the next time.

    Raises
    ------
    InputError
        If two of them are one and the same: a table would hold one row for both.
    """
    seeds = loaded.experiment.seeds
    places = [(axes, seed) for axes in _scenarios_of(loaded) for seed in seeds]
    if loaded.known is not None and len(loaded.known.cells) == len(places):
        return [Case(key, seed, axes, loaded) for key, (axes, seed) in zip(loaded.known.cells, places, strict=True)]
    seen: dict[str, dict[str, Any]] = {}
    cells: list[Case] = []
    for axes in _scenarios_of(loaded):
        inputs = _inputs_digest(loaded.at(axes))
        for seed in seeds:
            key = _key(inputs, seed)
            if key in seen:
                raise InputError(Problem(loaded.file, "matrix", _same(seen[key], axes)))
            seen[key] = axes
            cells.append(Case(key, seed, axes, loaded))
    if loaded.is_large:
        keep(loaded.raw, loaded.folder, list(seen), loaded.input_files)
    return cells


def _scenarios_of(loaded: Loaded) -> Iterator[dict[str, Any]]:
    """The values of all axes in each scenario."""
    for rows in product(*(axis.rows for axis in loaded.axes)):
        yield {
            key: value
            for axis, row in zip(loaded.axes, rows, strict=True)
            for key, value in zip(axis.keys, row, strict=True)
        }


def _inputs_digest(scenario: Loaded) -> str:
    """Hash of all that makes the inputs of a scenario but its seed and our source."""
    return digest(scenario_inputs(scenario))


def _key(inputs: str, seed: int) -> str:
    return digest({"inputs": inputs, "seed": seed, "source": source_digest()})


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    pairs = [f"{key} = {shown(one[key])} and {shown(value)}" for key, value in other.items() if one[key] != value]
    return f"two values of an axis are one and the same scenario: {', '.join(pairs)}; take one of them out"


def scenario_inputs(loaded: Loaded) -> toml.Document:
    """Document of a scenario, with each input file by its contents: names and places do not matter."""
    document = {key: value for key, value in loaded.document().items() if key not in FIXED_KEYS}
    files = loaded.files
    hashes = {str(path.resolve()): file_digest(path, key) for key, path in files.items()}
    if "workload.trace" in files:  # it goes by its name, not by its place
        document["workload"]["trace"] = str(files["workload.trace"].resolve())
    return {key: _by_contents(value, hashes) for key, value in document.items()} if hashes else document


def _by_contents(value: Any, hashes: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _by_contents(inner, hashes) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_by_contents(inner, hashes) for inner in value]
    return f"sha256:{hashes[value]}" if isinstance(value, str) and value in hashes else value


def axis_value(value: Any) -> Any:
    """The value of an axis as it stands in a summary."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, int | float | str) else canonical(value)


def run_id(cell: Case, policy: PolicyRef) -> str:
    """A run's folder name: readable, and different for whatever is different."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", policy.label).strip("-").lower()[:40] or "policy"
    own = digest({"cell": cell.key, "policy": policy.label, "policy_source": policy.digest})
    return f"{name}-s{cell.seed}-{own[:10]}"
