"""An experiment file as validated values, with everything wrong in it told at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tafukt.experiments.config import toml
from tafukt.experiments.config.currency import foreign_prices
from tafukt.experiments.config.known_matrix import SCENARIOS_LEAST, KnownMatrix, recall
from tafukt.experiments.config.policies import PolicyRef, policy_refs
from tafukt.experiments.config.schema import (
    DEFAULT_POLICIES,
    FIXED_KEYS,
    RUNS_LIMIT,
    STEPS_LIMIT,
    Experiment,
)
from tafukt.experiments.config.sites import resolve
from tafukt.experiments.errors import InputError, Problem, listed, nearest, shown
from tafukt.experiments.hashing import canonical
from tafukt.experiments.results.axes import columns_of, in_currency_of
from tafukt.problems import TOLD_MOST
from tafukt.sites.site import SiteModel
from tafukt.strict import in_file_order, sound, valid_part
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.mix import load_mix
from tafukt.workloads.schema import NoJobsModel


@dataclass(frozen=True)
class Axis:
    """One axis of the matrix: the keys that it sets, and their values together, row by row."""

    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Loaded:
    """A validated experiment, with what it refers to: resolved once, and handed on as it is.

    `raw` is the file as written, `--set` put in; `folder` is what its relative paths start from. `scenarios` keeps
    what `at` has resolved; `known` is what is known of all scenarios from before, where they are many.
    """

    file: str
    folder: Path
    raw: toml.Document
    experiment: Experiment
    sites: dict[str, SiteModel]
    policies: tuple[PolicyRef, ...]
    baseline: PolicyRef
    axes: tuple[Axis, ...] = ()
    base: dict[str, Any] = field(default_factory=dict)
    scenarios: dict[str, Loaded] = field(default_factory=dict, compare=False, repr=False)
    known: KnownMatrix | None = field(default=None, compare=False, repr=False)

    def at(self, values: Mapping[str, Any]) -> Loaded:
        """The experiment without its matrix, with the values of one scenario put in; each is resolved once.

        Raises
        ------
        InputError
            If the values do not go together.
        """
        key = canonical(values)
        if key not in self.scenarios:
            found, problems = _changed(self, values)
            if problems or found is None:
                at = ", ".join(f"{key} = {value}" for key, value in values.items())
                raise InputError([Problem(p.file, p.key, f"{p.message} (at {at})", p.nearest) for p in problems])
            self.scenarios[key] = found
        return self.scenarios[key]

    @property
    def axis_keys(self) -> list[str]:
        """The keys of all axes, in order."""
        return [in_currency_of(key, self.experiment.currency) for axis in self.axes for key in axis.keys]

    @property
    def is_large(self) -> bool:
        """Whether its scenarios are so many that they are worth keeping."""
        return _scenarios(self.axes) >= SCENARIOS_LEAST

    def document(self) -> toml.Document:
        """The experiment with every default written out; loads to the same thing from any folder."""
        document = self.experiment.model_dump(exclude={"sites", "matrix"})
        document["policies"] = [policy.written for policy in self.policies]
        document["baseline"] = self.baseline.absolute
        own = {name: _site_table(site) for name, site in self.sites.items()}
        changes = copy.deepcopy(self.experiment.sites)
        document["sites"] = {"use": [], "all": changes.all, "own": own, "change": changes.change}
        if any(key == "sites.use" for axis in self.axes for key in axis.keys):
            document["sites"] = changes.model_dump()  # which sites there are is not settled here
        for key, path in self.files.items():
            if key == "workload.trace":
                continue  # it goes by its name
            for place in _places(key):
                if toml.get(document, place) is not None:
                    toml.put(document, place, str(path.resolve()), self.file)
        if self.axes:
            document["matrix"] = self.raw["matrix"]
        plain: toml.Document = _plain(document)
        return plain

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Every file that the experiment reads, by the key that names it."""
        workload = self.experiment.workload
        names = [("file", workload.file), ("format", workload.format)] if workload.kind == "trace" else []
        names = [(key, value) for key, value in names if value]
        names += [("mix", workload.mix)] if workload.kind == "generator" else []
        found = {
            f"workload.{key}": Path(value)
            for key, value in names
            if key == "file" or value.endswith(".toml")  # else it names something of the catalogue
        }
        if workload.kind == "trace" and workload.trace and not _trace_problems(workload.trace, ""):
            from tafukt.experiments.config.traces import trace_path

            found["workload.trace"] = trace_path(workload.trace)
        for name, site in self.sites.items():
            found |= {f"sites.own.{name}.{key}": path for key, path in _paths(site)}
        return {key: self.folder / path for key, path in found.items()}

    @cached_property
    def input_files(self) -> Mapping[str, Path]:
        """Every file that any scenario reads, by the key that names it (and by its axes where they choose it)."""
        if self.known is not None:
            return self.known.files
        files = dict(self.files)
        for axis in self.axes:
            for row in axis.rows:
                for key, path in self.at(dict(zip(axis.keys, row, strict=True))).files.items():
                    files[key if files.get(key, path) == path else f"{key} {row}"] = path
        return files


def load_experiment(path: Path, settings: Sequence[str] = ()) -> Loaded:
    """Read and validate an experiment file, with the `key=value` settings of `--set` put in.

    Raises
    ------
    InputError
        With everything that is wrong.
    """
    raw = toml.with_overrides(toml.read(path), settings)
    return check(raw, str(path), path.resolve().parent)


def check(raw: toml.Document, file: str, folder: Path) -> Loaded:
    """Validate a document as an experiment.

    Raises
    ------
    InputError
        With everything that is wrong, in the document itself and at each value of each axis.
    """
    loaded, problems = _checked(raw, file, folder)
    told_at = {problem.key for problem in problems}
    problems += [problem for problem in sound(raw, file) if problem.key not in told_at]
    axes, more = axes_of(raw.get("matrix", {}), file)
    problems += more
    known = recall(raw, folder) if not problems and _scenarios(axes) >= SCENARIOS_LEAST else None
    resolved, more = ({}, []) if known else _at_each_value(loaded, axes, problems)
    problems += more
    problems += _too_many(loaded, axes, file)
    base, more = _base_of(loaded.experiment.baseline_scenario, axes, file)
    problems += more
    if problems:
        raise InputError(in_file_order(problems, raw))
    scenarios = resolved if axes else {canonical({}): loaded}
    return replace(loaded, axes=tuple(axes), base=base, scenarios=scenarios, known=known)


def _scenarios(axes: Sequence[Axis]) -> int:
    """Number of scenarios of a matrix."""
    return prod(len(axis.rows) for axis in axes)


def _at_each_value(
    loaded: Loaded, axes: Sequence[Axis], problems: Sequence[Problem]
) -> tuple[dict[str, Loaded], list[Problem]]:
    """The experiment at each value of each axis alone, and what is wrong there beyond `problems` of the file itself."""
    told = {(problem.key, problem.message) for problem in problems}
    resolved: dict[str, Loaded] = {}
    found_there: list[Problem] = []
    for axis in axes:
        for row in axis.rows:
            if len(problems) + len(found_there) > TOLD_MOST:
                break
            values = dict(zip(axis.keys, row, strict=True))
            found, more = _changed(loaded, values)
            for problem in more:
                if (problem.key, problem.message) not in told:
                    told.add((problem.key, problem.message))
                    found_there.append(replace(problem, key=f"matrix: {problem.key}"))
            if found is not None:
                resolved[canonical(values)] = found
    return resolved, found_there


def _base_of(given: Mapping[str, Any], axes: Sequence[Axis], file: str) -> tuple[dict[str, Any], list[Problem]]:
    """The values of all axes that the baseline scenario settles: an axis whole, also where one key of it is named."""
    base: dict[str, Any] = {}
    problems: list[Problem] = []
    known = [key for axis in axes for key in axis.keys]
    wanted = dict(toml.flat(dict(given)))
    for key in wanted:
        if key not in known:
            message = f"is not an axis of the matrix; its axes: {listed(known)}"
            problems.append(Problem(file, f"baseline_scenario.{key}", message, nearest(key, known)))
    for axis in axes:
        named = {key: wanted[key] for key in axis.keys if key in wanted}
        rows = [dict(zip(axis.keys, row, strict=True)) for row in axis.rows]
        fitting = [row for row in rows if all(canonical(row[key]) == canonical(v) for key, v in named.items())]
        if named and not fitting:
            key, value = next(iter(named.items()))
            message = (
                f"{shown(value)} is not one of the values in the matrix: {listed(shown(row[key]) for row in rows)}"
            )
            problems.append(Problem(file, f"baseline_scenario.{key}", message))
        elif named:
            base |= fitting[0]
    return base, problems


def _changed(loaded: Loaded, values: Mapping[str, Any]) -> tuple[Loaded | None, list[Problem]]:
    """The experiment with other values at some dotted keys; what they do not touch is taken over as it is."""
    changed = {key.split(".")[0] for key in values}
    document = {key: copy.deepcopy(v) if key in changed else v for key, v in loaded.raw.items() if key != "matrix"}
    try:
        for key, value in values.items():
            toml.put(document, key, value, loaded.file)
    except InputError as error:
        return None, list(error.problems)
    return _checked(document, loaded.file, loaded.folder, loaded, changed)


FILL = {"name": "unnamed", "start": datetime(2025, 6, 1, tzinfo=UTC), "days": 1}
"""Stands for the required keys of a file that lacks them, so that the rest of it can be looked at."""


def _checked(
    raw: toml.Document, file: str, folder: Path, base: Loaded | None = None, changed: Iterable[str] = ()
) -> tuple[Loaded, list[Problem]]:
    """A document as an experiment, as far as it is valid, and all that is wrong with it.

    What stands as in `base`, all but the keys `changed`, is not validated again.
    """
    kept = {key: getattr(base.experiment, key, None) for key in raw if key not in changed} if base else {}
    given = {key: value for key, value in {**raw, **kept}.items() if value is not None}
    given, lacking = _with_stand_ins(given)
    experiment, problems = valid_part(Experiment, given, file, FILL)
    problems += _asked_by_a_log(given.get("workload"), lacking, problems, file, folder)
    if experiment is None:
        experiment = Experiment.model_validate(FILL)
    sites, more = resolve(experiment.sites, file, folder, (base.experiment.sites, base.sites) if base else None)
    problems += more
    if "workload" not in raw and sites and not any(site.gpus for site in sites.values()):
        experiment = experiment.model_copy(update={"workload": NoJobsModel()})
    if base is None:
        policies, more = policy_refs(raw.get("policies", list(DEFAULT_POLICIES)), file, folder)
        baseline, others = _baseline(raw.get("baseline", "fifo"), policies, file, folder)
        problems += more + others
    else:
        policies, baseline = base.policies, base.baseline
    loaded = Loaded(file, folder, raw, experiment, sites, policies, baseline)
    if not any(problem.key.startswith("sites") for problem in problems):  # else what is missing here is told there
        problems += _unknown_places(experiment, sites, file)
        problems += foreign_prices(experiment.currency, sites, file)
    problems += _steps_unfit(experiment, file)
    if base is None or {"workload", "service"} & set(changed):
        problems += _of_catalogue(experiment, file, folder)
    workload = experiment.workload
    if workload.kind == "trace" and workload.trace:
        problems += _trace_problems(workload.trace, file)
    absent = [(key, path) for key, path in loaded.files.items() if not path.is_file()]
    problems += [Problem(file, key, _absent(key, path, experiment)) for key, path in absent]
    if not problems:
        problems += _requests_unfit(raw, experiment, sites, file)
    return loaded, problems


def _requests_unfit(raw: toml.Document, experiment: Experiment, sites: Mapping[str, Any], file: str) -> list[Problem]:
    """Problems of requests of the grid that do not go together; what is set at all sites is told once."""
    if not any(site.grid.events for site in sites.values()):
        return []
    from tafukt.sites.errors import SiteError
    from tafukt.sites.grid_events import grid_events
    from tafukt.sites.time_grid import span

    flat = raw.get("sites", {})
    whole = isinstance(flat, dict) and "events" in flat.get("all", {}).get("grid", {})
    problems: dict[str, Problem] = {}
    for name, site in sites.items():
        key = "sites.all.grid.events" if whole else f"sites.{name}.grid.events"
        try:
            window = span(experiment.start, float(experiment.days), experiment.step_s)
            grid_events(site.grid.events, name, site.least_kw, site.tz, window, experiment.seeds[0])
        except SiteError as error:
            problems.setdefault(key, Problem(file, key, str(error)))
    return [*problems.values(), *_shared_unfit(sites, file)]


def _shared_unfit(sites: Mapping[str, Any], file: str) -> Iterator[Problem]:
    """Problems of requests that sites share: their terms differ, or they ask for less than is drawn always."""
    first: dict[str, tuple[str, Any]] = {}
    least_kw: dict[str, float] = {}
    for name, site in sites.items():
        named: dict[str, list[Any]] = {}
        for event in site.grid.events:
            if event.shared:
                named.setdefault(event.shared, []).append(event)
        for shared, events in named.items():
            least_kw[shared] = least_kw.get(shared, 0.0) + site.least_kw
            other, terms = first.setdefault(shared, (name, events))
            if terms != events:
                why = f"the request {shared!r} differs from that of {other}; all sites that share it need the same"
                yield Problem(file, f"sites.{name}.grid.events", why)
    for shared, (name, events) in first.items():
        to_kw = min((event.to_kw for event in events if event.to_kw is not None), default=None)
        if to_kw is not None and to_kw < least_kw[shared]:
            why = (
                f"to_kw = {to_kw:g} of {shared!r}: its sites draw {least_kw[shared]:g} kW at all times; ask for no less"
            )
            yield Problem(file, f"sites.{name}.grid.events", why)


def _with_stand_ins(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The document with values for keys that a log needs and does not have, and what is to be told of each."""
    workload = given.get("workload")
    if not isinstance(workload, dict) or workload.get("kind") != "trace":
        return given, {}
    from tafukt.workloads.traces.asked import PLAIN, asked

    lacking = asked(workload)
    stand_ins = {key: PLAIN[key] for key in lacking if key in PLAIN}
    return {**given, "workload": {**workload, **stand_ins}}, lacking


def _asked_by_a_log(
    workload: Any, lacking: Mapping[str, str], problems: Sequence[Problem], file: str, folder: Path
) -> list[Problem]:
    """Problems of what a log's table lacks; where anything is wrong with it, what the rows of its file ask for, too."""
    if not isinstance(workload, dict) or workload.get("kind") != "trace":
        return []
    told = dict(lacking)
    if told or any(problem.key.startswith("workload") for problem in problems):
        from tafukt.workloads.traces.asked import asked_by_rows

        own = {key: value for key, value in workload.items() if key not in lacking}
        told |= asked_by_rows(own, folder)
    known = {problem.key for problem in problems}
    return [Problem(file, f"workload.{key}", text) for key, text in told.items() if f"workload.{key}" not in known]


def _trace_problems(name: str, file: str) -> list[Problem]:
    """Problems with the name of a public trace."""
    from tafukt.workloads.traces.public import public_traces

    known = public_traces()
    if name in known:
        return []
    message = f"no public trace {shown(name)}; known: {listed(known)}"
    return [Problem(file, "workload.trace", message, nearest(name, known))]


def _absent(key: str, path: Path, experiment: Experiment) -> str:
    if key == "workload.trace" and experiment.workload.kind == "trace":
        from tafukt.workloads.traces.public import missing

        return missing(experiment.workload.trace)
    return f"no such file: {path}"


def _baseline(name: Any, policies: Sequence[PolicyRef], file: str, folder: Path) -> tuple[PolicyRef, list[Problem]]:
    """The policy that all others are compared with: one that is listed, by its label, or any other by its name."""
    for policy in policies:
        if policy.label == name and ":" not in name:
            return (replace(policy, given=name, absolute=name) if policy.parts else policy), []
    refs, problems = policy_refs([name] if isinstance(name, str) else [], file, folder, key="baseline")
    return refs[0] if refs else PolicyRef(str(name), str(name), str(name)), problems


def _steps_unfit(experiment: Experiment, file: str) -> list[Problem]:
    """Lengths that are no whole number of steps."""
    problems, step_min, output = [], experiment.step_min, experiment.output.step_min
    if not (experiment.days * 1440 / step_min).is_integer():
        message = f"{experiment.days} days are not a whole number of steps of step_min = {step_min}"
        problems.append(Problem(file, "days", message))
    if isinstance(output, int) and output % step_min:
        problems.append(Problem(file, "output.step_min", f"{output} is not a multiple of step_min = {step_min}"))
    return problems


def _unknown_places(experiment: Experiment, sites: dict[str, SiteModel], file: str) -> list[Problem]:
    """Problems with places that the network, the quotas and the service name, and that are not there."""
    problems = []
    for position, link in enumerate(experiment.network.links):
        for end, name in (("a", link.a), ("b", link.b)):
            if name not in sites:
                key = f"network.links[{position}].{end}"
                problems.append(Problem(file, key, f"no site {name!r}; known: {listed(sites)}", nearest(name, sites)))
    if experiment.network.star_gbit_s is not None and not any(site.is_root for site in sites.values()):
        problems.append(Problem(file, "network.star_gbit_s", "needs a root hub, but none of the sites is one"))
    regions = [site.region for site in sites.values()]
    for region in experiment.quotas:
        if region not in regions:
            message = f"no region {region!r}; known: {listed(regions)}"
            problems.append(Problem(file, f"quotas.{region}", message, nearest(region, regions)))
    return problems


def _of_catalogue(experiment: Experiment, file: str, folder: Path) -> list[Problem]:
    """Problems in a service and in the classes of a mix, which change tables of the catalogue or of a file."""
    problems: list[Problem] = []
    if experiment.service is not None:
        from tafukt.workloads.service import service_from

        try:
            service_from(experiment.service)
        except WorkloadError as error:
            for found in error.problems:
                key = f"service.{found.key}" if found.key else "service"
                problems.append(Problem(file, key, found.message.removeprefix("service: "), found.nearest))
    workload = experiment.workload
    if workload.kind == "generator" and (not workload.mix.endswith(".toml") or (folder / workload.mix).is_file()):
        try:
            load_mix(workload.mix, folder, workload.classes)
        except WorkloadError as error:
            for found in error.problems:
                ours = found.key.split(".")[:1] == ["classes"] and workload.classes
                where = Problem(file, f"workload.{found.key}", found.message, found.nearest) if ours else found
                problems.append(where if found.key else Problem(file, *_split(found.message)))
    return problems


def _split(message: str) -> tuple[str, str]:
    """A key of the workload and what is said of it."""
    key, colon, rest = message.partition(": ")
    return (key, rest) if colon and key.startswith("workload.") else ("workload", message)


def axes_of(matrix: Any, file: str) -> tuple[list[Axis], list[Problem]]:
    """The axes of a `[matrix]` table: one for each dotted key, one for each table of `zip`."""
    if not isinstance(matrix, dict):
        return [], []
    problems: list[Problem] = []
    axes = [
        axis
        for key, values in columns_of({k: v for k, v in matrix.items() if k != "zip"})
        if (axis := _axis({key: values}, f"matrix.{key}", file, problems))
    ]
    tables = matrix.get("zip", [])
    for position, table in enumerate(tables if isinstance(tables, list) else []):
        if isinstance(table, dict) and (
            axis := _axis(dict(columns_of(table)), f"matrix.zip[{position}]", file, problems)
        ):
            axes.append(axis)
    keys = [key for axis in axes for key in axis.keys]
    problems += [Problem(file, f"matrix.{key}", "is an axis twice") for key in sorted(set(keys)) if keys.count(key) > 1]
    return axes, problems


def _axis(columns: dict[str, Any], where: str, file: str, problems: list[Problem]) -> Axis | None:
    before = len(problems)
    for key, values in columns.items():
        if key.rpartition(".")[2] in ("label", "unit") and not isinstance(values, list):
            message = "describes an axis: write { values = [...], label = ..., unit = ... } in place of its list"
            problems.append(Problem(file, f"matrix.{key}", message))
            continue
        for name in ("label", "unit"):
            if not isinstance(getattr(key, name, "") or "", str):
                problems.append(Problem(file, f"matrix.{key}", f"{name} should be text"))
        if key.split(".")[0] in FIXED_KEYS:
            problems.append(Problem(file, where, f"{key} cannot be an axis"))
        if not isinstance(values, list) or not values:
            problems.append(Problem(file, where, f"{key} should be a list of the values that it takes"))
    lengths = {len(values) for values in columns.values() if isinstance(values, list)}
    if len(lengths) > 1:
        problems.append(Problem(file, where, "lists that run together must have the same length"))
    if not columns or len(problems) > before:
        return None
    rows = tuple(zip(*columns.values(), strict=True))
    if any(row in rows[:i] for i, row in enumerate(rows)):
        problems.append(Problem(file, where, "holds a value twice"))
    return Axis(tuple(columns), rows)


def _too_many(loaded: Loaded, axes: Sequence[Axis], file: str) -> list[Problem]:
    runs = len(loaded.experiment.seeds) * len(loaded.policies)
    for axis in axes:
        runs *= len(axis.rows)
    problems = []
    if runs > RUNS_LIMIT:
        problems.append(Problem(file, "matrix", f"makes {runs} runs; at most {RUNS_LIMIT} are allowed"))
    experiment, drained = loaded.experiment, loaded.experiment.drain_days or 0
    problem = too_many_steps(loaded, experiment.days + drained)
    return problems + ([problem] if problem else [])


def too_many_steps(loaded: Loaded, days: float) -> Problem | None:
    """The problem with an accounting window of so many days: its steps would fill any memory."""
    steps = round(len(loaded.sites) * days * 1440 / loaded.experiment.step_min)
    if steps <= STEPS_LIMIT:
        return None
    window = f"an accounting window of {days:.0f} days at step_min = {loaded.experiment.step_min}"
    message = f"{window} makes {steps} steps of {len(loaded.sites)} sites; at most {STEPS_LIMIT} are allowed"
    return Problem(loaded.file, "drain_days" if loaded.experiment.drain_days else "days", message)


def _paths(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Every file that a model names, by its key."""
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, Path):
            yield prefix + key, value
        elif isinstance(value, BaseModel):
            yield from _paths(value, f"{prefix}{key}.")


def _site_table(site: SiteModel) -> toml.Document:
    """A site with everything written out, what its catalogue says of its nodes and tariff included."""
    table = site.model_dump(exclude_none=True)
    for key in ("pv", "battery"):
        if getattr(site, key) is None:
            table[key] = False  # TOML has no null
    table["cluster"]["node"] = site.node.model_dump(exclude_none=True)
    table["grid"]["tariff"] = site.tariff.model_dump(exclude_none=True)
    return table


def _places(key: str) -> list[str]:
    """Keys at which a document may name a file: at the site itself, and in what is changed on it."""
    section, _, rest = key.partition(".")
    if section != "sites":
        return [key]
    name, _, rest = rest.removeprefix("own.").partition(".")
    return [key, f"sites.all.{rest}", f"sites.change.{name}.{rest}"]


# Types that stand for themselves: looked at before the call, since a matrix has millions of such values.
_AS_THEY_ARE = frozenset((str, int, float, bool))


def _plain(value: Any) -> Any:
    """The value in the types of TOML, which knows no null."""
    if isinstance(value, dict):
        return {
            key: inner if type(inner) in _AS_THEY_ARE else _plain(inner)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list | tuple):
        return [inner if type(inner) in _AS_THEY_ARE else _plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
