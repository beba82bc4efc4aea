"""The whole input format of an experiment: every key, its default, what it may be, and what it means.

Sites and workloads are validated by their own packages; the descriptions here are what `tafukt schema`,
the messages for mistakes and the reference are made of.
"""

import re
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tafukt.simulator.engine.settings import Respond
from tafukt.simulator.power_caps import A100, A100_IDLE_W, A100_SOURCE, CURVES, MEASURED, SOURCE
from tafukt.simulator.units import DAY_S
from tafukt.sites.schema.fields import site_name
from tafukt.sites.site import SiteModel, catalogue
from tafukt.strict import Strict
from tafukt.workloads.schema import GeneratorModel, WorkloadModel

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
RUNS_LIMIT = 100_000
STEPS_LIMIT = 50_000_000
FIXED_KEYS = (
    "name",
    "question",
    "seeds",
    "policies",
    "baseline",
    "matrix",
    "bound",
    "best_known",
    "baseline_scenario",
    "currency",
)
"""Keys that are no part of a scenario, and so cannot be an axis of a matrix."""


class Table(Strict):
    """A table of an experiment file: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(validate_default=True)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            "letters, digits, '.', '_' and '-' only, starting with a letter or digit, at most 80 characters"
        )
    return value


def _moment(value: Any) -> Any:
    """Take a date and time, or its ISO 8601 text; a number or a bare date would be a guess."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        raise ValueError("a date without time and zone; write it as 2025-12-01T00:00:00Z")
    if not isinstance(value, str):
        raise ValueError("should be a date and time with its zone, as 2025-12-01T00:00:00Z")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("should be a date and time with its zone, as 2025-12-01T00:00:00Z") from None


def _kind(value: Any) -> Any:
    """A workload that does not say its kind is a generator; `workload = "none"` is one without jobs."""
    if value == "none":
        return {"kind": "none"}
    return {"kind": "generator", **value} if isinstance(value, dict) else value


DEFAULT_POLICIES = ("fifo", "easy", "solar", "wait-for-sun")

Workload = Annotated[WorkloadModel, BeforeValidator(_kind)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class SitesTable(Table):
    """The sites, and changes to them: each site as it is, then `all`, then `change`."""

    use: str | list[str] = Field(
        default="",
        description="`morocco` for the twelve sites of the catalogue, the name of one, or a list of names; default: "
        "`morocco`, unless there are sites in `own`",
    )
    all: dict[str, Any] = Field(default={}, description="Values set at every site")
    own: dict[str, dict[str, Any]] = Field(
        default={},
        description="Your own sites by name; `like` names a catalogue site that everything not set is taken from",
    )
    change: dict[str, dict[str, Any]] = Field(
        default={}, description="Values set at one site, by its name; they override `all`"
    )

    @field_validator("own")
    @classmethod
    def _names(cls, own: dict[str, Any]) -> dict[str, Any]:
        for name in own:
            site_name(name)
        return own


CapTable = Literal["a100", "a100-pre-training", "a100-fine-tuning", "a100-inference", "v100"]


class EngineTable(Table):
    """Rules and settings of the simulation."""

    remainder: Literal["share", "whole"] = Field(
        default="share",
        description="What the last part of a gang larger than a node occupies: a share of its node, or all of it",
    )
    overrun: Literal["extend", "kill"] = Field(
        default="extend", description="What happens to a job that runs longer than its estimate"
    )
    respond: Respond = Field(
        default="least-loss",
        description="What gives way first when the grid asks for less: whatever costs the least work, power "
        "caps, pauses, the battery, or jobs moving to sites that were not asked; none: nothing does",
    )
    at_limit: Literal["wait", "bend"] = Field(
        default="wait",
        description="What happens under an import limit. wait: a job waits until there is power for it; bend: "
        "running jobs make room by power caps, as `respond` says and within their `flexibility`",
    )
    hold_min: float = Field(
        default=30.0,
        ge=0.0,
        le=1440.0,
        description="How long the battery of a site short of power must be able to carry a job before it starts [min]",
    )
    information_age_min: float = Field(
        default=15.0, ge=0.0, le=1440.0, description="Under `federated`: age of what the root knows [min]"
    )
    power_caps: CapTable | list[tuple[Share, Share]] = Field(
        default=[],
        description="How fast a GPU runs under a power cap. a100: by the `power_curve` of each job's class; "
        f"{', '.join(f'a100-{name}' for name in A100)}: one of these curves for all jobs ({A100_SOURCE}; an idle "
        f"power of {A100_IDLE_W:g} W per GPU is assumed); v100: {[list(point) for point in MEASURED]} for all jobs "
        f"({SOURCE}); or your own points [share of the power above idle, share of the speed], rising to [1, 1]; "
        "default: none, power is not capped",
    )

    @field_validator("power_caps")
    @classmethod
    def _rising(cls, caps: str | list[tuple[float, float]]) -> str | list[tuple[float, float]]:
        if isinstance(caps, str):
            return caps
        rising = all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(caps))
        if caps and (not rising or tuple(caps[-1]) != (1.0, 1.0)):
            raise ValueError("both shares should rise from point to point, up to [1, 1]")
        return caps

    @property
    def caps(self) -> tuple[tuple[float, float], ...]:
        """The table of speeds under power caps."""
        if not isinstance(self.power_caps, str):
            return tuple((float(power), float(speed)) for power, speed in self.power_caps)
        return CURVES[self.power_caps]

    @property
    def other_caps(self) -> tuple[tuple[str, tuple[tuple[float, float], ...]], ...]:
        """The tables of jobs of another curve, where each has its own."""
        return (
            tuple((name, caps) for name, caps in A100.items() if caps != self.caps) if self.power_caps == "a100" else ()
        )


class FaultsTable(Table):
    """Rates of failure and repair."""

    preset: Literal["none", "rsc-1", "rsc-2", "llama-3"] = Field(
        default="none", description="Published rates; other keys of this table override them"
    )
    node_mtbf_days: float | None = Field(
        default=None, ge=0.01, le=1e6, description="Mean time between failures of a node [days]"
    )
    repair_h: float | None = Field(default=None, gt=0.0, le=87_600, description="Mean time to repair a node [h]")
    hazard_per_day: float | None = Field(
        default=None, ge=0.0, le=100.0, description="Rate at which software faults kill a running job [1/day]"
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        strict=True,
        description="Number of faults after which a job is abandoned; default: never",
    )


class LinkTable(Table):
    """A link between two sites."""

    a: str = Field(description="One site")
    b: str = Field(description="The other site")
    gbit_s: float = Field(ge=1e-6, le=1e6, description="Capacity in each direction [Gbit/s]")


class NetworkTable(Table):
    """Links that carry data sets and checkpoints between sites; without any, data is everywhere at no cost."""

    star_gbit_s: float | None = Field(
        default=None, ge=1e-6, le=1e6, description="Capacity of a link from every site to the root hub [Gbit/s]"
    )
    links: list[LinkTable] = Field(default=[], description="Additional links")
    kwh_per_gb: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Energy needed to transfer a gigabyte [kWh/GB]"
    )


class QuotaTable(Table):
    """Limits on the GPUs that the tenants of a region may hold at once."""

    gpus: int | None = Field(default=None, ge=0, strict=True, description="At all sites together")
    gpus_outside: int | None = Field(default=None, ge=0, strict=True, description="Outside their own region")


ForecastKind = Literal["perfect", "persistence", "climatology", "noisy", "white"]


class ForecastTable(Table):
    """The forecasts that policies are given."""

    sun: ForecastKind = Field(default="noisy", description="How the sun is forecast")
    load: ForecastKind = Field(
        default="persistence", description="How the overhead and all load other than jobs are forecast"
    )
    carbon: ForecastKind = Field(default="noisy", description="How the grid's carbon intensity is forecast")
    price: ForecastKind = Field(
        default="perfect", description="How the price is forecast; a tariff is known in advance"
    )
    error: float = Field(
        default=0.1,
        ge=0.0,
        le=2.0,
        description="noisy: relative standard error one day ahead; white: standard error of every slot, relative "
        "to the mean",
    )
    autocorrelation: float = Field(
        default=0.8, ge=0.0, lt=1.0, description="Correlation of that error from one hour to the next"
    )
    horizon_h: int = Field(default=72, ge=1, le=720, description="How far ahead forecasts reach [h]")
    issue_h: int = Field(default=1, ge=1, le=48, description="Time between one forecast and the next [h]")
    slot_min: Literal["auto"] | Literal[1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60] = Field(
        default="auto",
        description="Slots in which policies plan ahead [min]; `auto`: `step_min`, where steps shorter than 15 min are "
        "merged as long as price and carbon stay the same",
    )
    class_mean_h: Literal["learned", "workload"] | dict[str, Annotated[float, Field(gt=0.0, le=1e5)]] = Field(
        default="learned",
        description='Mean runtime of a class, for `duration = "class-mean"`: learned from jobs that have ended; '
        "known in advance from the workload; or given here, by class [h]",
    )


class OutputTable(Table):
    """The tables that are written for each run."""

    step_min: Literal["auto"] | int = Field(
        default="auto",
        description="Time from one row of energy.parquet to the next [min], a multiple of the experiment's `step_min`; "
        "`auto`: that step in runs of up to 31 days, otherwise an hour",
    )
    events: Literal["all", "changes", "none"] = Field(
        default="all",
        description="What events.parquet holds: everything; changes only (starts, pauses, moves, resizes, kills, ends, "
        "faults); or nothing",
    )

    @field_validator("step_min")
    @classmethod
    def _positive(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 1440:
            raise ValueError('from 1 to 1440 minutes, or "auto"')
        return value


class AccountTable(Table):
    """A second account, of the steady state: the middle part of the arrivals, and the energy that these jobs cause."""

    warm_up_days: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Arrivals left out at the beginning, while the sites fill up [days]"
    )
    cool_down_days: float = Field(default=0.0, ge=0.0, le=1000.0, description="Arrivals left out at the end [days]")


class BestKnownTable(Table):
    """Search for the best known schedule."""

    search: bool = Field(
        default=True,
        strict=True,
        description="Whether to search, in compiled code, in addition to planning; needs the extra `tafukt[search]`",
    )
    steps: int = Field(
        default=500_000,
        ge=1,
        le=1_000_000_000,
        strict=True,
        description="Steps of the search: about 2,500 per second for twelve sites; a week needs about 500,000",
    )


class MatrixTable(Table):
    """Axes: dotted keys of the experiment, each with the list of values that it takes.

    A table instead of the list, `{ values = [0, 60], label = "battery", unit = "kWh" }`, also gives the axis a name.
    """

    model_config = ConfigDict(extra="allow")

    zip: list[dict[str, Any]] = Field(
        default=[],
        description="Tables of axes that vary together: the first values of all their lists, then the second, "
        "and so on",
    )


class Experiment(Table):
    """An experiment: one scenario, crossed with policies, seeds and the axes of a matrix."""

    name: Annotated[str, Field(description="Name of the experiment and of its result folder")]
    question: str = Field(default="", max_length=2000, description="What the experiment asks, in one sentence")
    start: Moment = Field(description="Date and time at which it starts, with a time zone")
    days: int | float = Field(
        gt=0, le=11_000, description="How long jobs arrive [days], in whole steps of `step_min`: 0.25 is six hours"
    )
    drain_days: int | None = Field(
        default=None,
        ge=0,
        le=3650,
        strict=True,
        description="Days accounted for after arrivals end; default: as many as the jobs need",
    )
    step_min: Literal[1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60] = Field(
        default=5, description="Time step of sun, price and carbon [min]"
    )
    seeds: list[Seed] = Field(
        default=[1], min_length=1, description="Random seeds; each gives other jobs and another sky"
    )
    policies: list[str | dict[str, Any]] = Field(
        default=list(DEFAULT_POLICIES),
        min_length=1,
        description='Policies to run: names, or "all"; tables of parts, such as {name = "mine", order = "fair", when = '
        '"lowest-window", signal = "carbon"}; your own as `file.py:name` or `module:name`',
    )
    baseline: str = Field(default="fifo", description="The policy that the others are compared with")
    baseline_scenario: dict[str, Any] = Field(
        default={},
        description="The scenario that the others are compared with: keys of the matrix, with one value each",
    )
    coordination: Literal["regional", "federated", "root"] = Field(
        default="root",
        description="Who decides: each institute on its own; the institutes, with the root taking overflow; or "
        "the root",
    )
    currency: str = Field(
        default="MAD",
        pattern="^[A-Z]{3}$",
        description="Currency of all prices, such as EUR; `mad` in the names of keys and columns then stands for "
        "it. Nothing is converted: the catalogue's prices, which are in MAD, are refused in another currency",
    )
    objective: Literal["draw", "emissions", "cost"] = Field(
        default="draw",
        description="What the bound, the best known schedule and `captured` refer to: grid draw, emissions or cost",
    )
    bound: bool = Field(
        default=True, strict=True, description="Whether to compute the clairvoyant lower bound of the objective"
    )
    best_known: Annotated[bool, Field(strict=True)] | BestKnownTable = Field(
        default=False,
        description="Whether to compute, in addition to the bound, the best known schedule: planned with perfect "
        "knowledge, then simulated; takes longer than a run. `{ search = true }` searches for a better one",
    )
    sites: SitesTable = Field(default=SitesTable(), description="The data centres")
    workload: Workload = Field(
        default=GeneratorModel.model_validate({"kind": "generator"}),
        description="The jobs: drawn by a generator, by default from the institutes' mix; replayed from a trace; "
        "or none, for sites without GPUs",
    )
    engine: EngineTable = Field(default=EngineTable(), description="Rules and settings of the simulation")
    faults: FaultsTable = Field(default=FaultsTable(), description="What fails, and how often")
    network: NetworkTable = Field(default=NetworkTable(), description="The links that carry data between sites")
    quotas: dict[str, QuotaTable] = Field(default={}, description="Quotas, by region code")
    service: dict[str, Any] | None = Field(
        default=None,
        description="A service for citizens, load at every site that cannot wait: `use` names one in the "
        "catalogue, other keys change it",
    )
    forecast: ForecastTable = Field(default=ForecastTable(), description="What policies know of the future")
    account: AccountTable | None = Field(
        default=None, description="A second account, of the steady state (`account_draw_kwh`); default: none"
    )
    output: OutputTable = Field(default=OutputTable(), description="What is written for each run")
    matrix: MatrixTable = Field(default=MatrixTable(), description="Keys to vary, and the values they take")

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        return _name(value)

    @field_validator("start")
    @classmethod
    def _plausible(cls, value: datetime) -> datetime:
        if not 1950 <= value.year <= 2150:
            raise ValueError("from 1950 to 2150")
        return value.astimezone(UTC)  # one moment, one experiment, however it is written

    @field_validator("seeds", "policies")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return values

    @model_validator(mode="after")
    def _account_lasts(self) -> Self:
        if self.account and self.account.warm_up_days + self.account.cool_down_days >= self.days:
            raise ValueError(f"account: nothing of the {self.days} days of arrivals lies between warm-up and cool-down")
        return self

    @property
    def account_s(self) -> tuple[float, float] | None:
        """From when to when the account of the steady state lasts [s]; `None` where there is none."""
        if self.account is None:
            return None
        return self.account.warm_up_days * DAY_S, (self.days - self.account.cool_down_days) * DAY_S

    @property
    def step_s(self) -> float:
        """Step of the supply [s]."""
        return self.step_min * 60.0

    @property
    def output_step_s(self) -> float:
        """Step of the rows of energy.parquet [s]."""
        if self.output.step_min == "auto":
            return self.step_s if self.days <= 31 else 3600.0
        return self.output.step_min * 60.0


# --- The JSON Schema of experiment files, made from the models that validate them


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12; a TOML editor (Taplo, Even Better TOML) helps along with it.

    In an experiment file, name it in the first line: `#:schema ./tafukt.schema.json`.
    """
    result = Experiment.model_json_schema()
    site = SiteModel.model_json_schema(ref_template="#/$defs/{model}")
    definitions = result["$defs"] | site.pop("$defs", {})
    # a change of a site, or a site of one's own that is `like` another, may leave out any key at any depth
    partial = {name: _partial(model) for name, model in definitions.items() if name in _reached(site, definitions)}
    changes = _renamed(_partial(site), set(partial))
    definitions |= {f"{name}Change": _renamed(model, set(partial)) for name, model in partial.items()}
    definitions["SiteChange"] = changes
    like = {
        "type": "string",
        "enum": list(catalogue()),
        "description": "catalogue site that everything not set is taken from",
    }
    definitions["OwnSite"] = changes | {"properties": {**changes["properties"], "like": like}}
    sites = definitions["SitesTable"]["properties"]
    sites["all"] |= {"$ref": "#/$defs/SiteChange"}
    sites["own"] |= {"additionalProperties": {"$ref": "#/$defs/OwnSite"}}
    sites["change"] |= {"additionalProperties": {"$ref": "#/$defs/SiteChange"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tafukt experiment",
        **{key: value for key, value in result.items() if key not in ("title", "$defs")},
        "$defs": definitions,
    }


def _partial(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "required"}


def _reached(value: Any, definitions: dict[str, Any], seen: set[str] | None = None) -> set[str]:
    """Names of all definitions that a schema refers to, directly or not."""
    seen = set() if seen is None else seen
    if isinstance(value, dict):
        name = str(value.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions and name not in seen:
            seen.add(name)
            _reached(definitions[name], definitions, seen)
        for inner in value.values():
            _reached(inner, definitions, seen)
    elif isinstance(value, list):
        for inner in value:
            _reached(inner, definitions, seen)
    return seen


def _renamed(value: Any, names: set[str]) -> Any:
    """The schema with its references led to the partial definitions."""
    if isinstance(value, dict):
        return {
            key: _reference(inner, names) if key == "$ref" else _renamed(inner, names) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return _reference(value, names) if isinstance(value, str) and value.startswith("#/$defs/") else value


def _reference(value: str, names: set[str]) -> str:
    return f"{value}Change" if value.removeprefix("#/$defs/") in names else value
