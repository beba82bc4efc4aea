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
    """The sites, and changes on them: a site, then `all`, then `change` over it."""

    use: str | list[str] = Field(
        default="",
        description="`morocco` for the twelve of the catalogue, one name, or a list of names; `morocco` "
        "where nothing is said and there are no sites of one's own",
    )
    all: dict[str, Any] = Field(default={}, description="Values set at every site")
    own: dict[str, dict[str, Any]] = Field(
        default={}, description="Sites of one's own by name; `like` names a site of the catalogue to start from"
    )
    change: dict[str, dict[str, Any]] = Field(
        default={}, description="Values set at one site, by its name; they win over `all`"
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
        default="share", description="What a gang larger than a node takes at its end: part of a node, or all of it"
    )
    overrun: Literal["extend", "kill"] = Field(
        default="extend", description="What happens to a job that runs past its estimate"
    )
    respond: Respond = Field(
        default="least-loss",
        description="What gives way first where the grid asks for less: what costs the least work, caps, pauses, the "
        "battery, or jobs that move to sites that were asked for nothing; none: nothing",
    )
    at_limit: Literal["wait", "bend"] = Field(
        default="wait",
        description="Under an import limit a job waits until there is power for it; or jobs bend for it by power caps, "
        "as `respond` says and within their `flexibility`",
    )
    hold_min: float = Field(
        default=30.0,
        ge=0.0,
        le=1440.0,
        description="How long a battery must carry an added load before a site short of power starts jobs [min]",
    )
    information_age_min: float = Field(
        default=15.0, ge=0.0, le=1440.0, description="Under `federated`: how old the root's knowledge is [min]"
    )
    power_caps: CapTable | list[tuple[Share, Share]] = Field(
        default=[],
        description="Speed of a GPU under a power cap. a100: each job by the `power_curve` of its class; "
        f"{', '.join(f'a100-{name}' for name in A100)}: one of these curves for all jobs ({A100_SOURCE}; idle of "
        f"{A100_IDLE_W:g} W a GPU is a choice); v100: {[list(point) for point in MEASURED]} for all ({SOURCE}); or "
        "points [share of the power above idle, share of the speed], rising to [1, 1]; empty, the default: nodes "
        "take no cap",
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
    """Rates of failures and repairs."""

    preset: Literal["none", "rsc-1", "rsc-2", "llama-3"] = Field(
        default="none", description="Published rates; what else stands in this table changes them"
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
        description="Faults after which a job is abandoned; default: never",
    )


class LinkTable(Table):
    """A line between two sites."""

    a: str = Field(description="A site")
    b: str = Field(description="Another site")
    gbit_s: float = Field(ge=1e-6, le=1e6, description="What it carries in each direction [Gbit/s]")


class NetworkTable(Table):
    """Lines that carry data sets and checkpoints between sites; without any they are everywhere at no cost."""

    star_gbit_s: float | None = Field(
        default=None, ge=1e-6, le=1e6, description="A line of this capacity from every site to the root hub [Gbit/s]"
    )
    links: list[LinkTable] = Field(default=[], description="Further lines")
    kwh_per_gb: float = Field(default=0.0, ge=0.0, le=1000.0, description="Energy of moving a gigabyte [kWh/GB]")


class QuotaTable(Table):
    """Limits on the GPUs that the tenants of a region hold at once."""

    gpus: int | None = Field(default=None, ge=0, strict=True, description="In all")
    gpus_outside: int | None = Field(default=None, ge=0, strict=True, description="Outside their own region")


ForecastKind = Literal["perfect", "persistence", "climatology", "noisy", "white"]


class ForecastTable(Table):
    """Forecasts that the policies are given."""

    sun: ForecastKind = Field(default="noisy", description="Kind of the forecast of the sun")
    load: ForecastKind = Field(
        default="persistence", description="Kind of the forecast of the load beside the jobs, and of the overhead"
    )
    carbon: ForecastKind = Field(default="noisy", description="Kind of the forecast of the grid's carbon intensity")
    price: ForecastKind = Field(
        default="perfect", description="Kind of the forecast of the price; a tariff is known beforehand"
    )
    error: float = Field(
        default=0.1,
        ge=0.0,
        le=2.0,
        description="Relative standard error a day ahead of noisy forecasts; of white ones that of every slot, "
        "against the mean",
    )
    autocorrelation: float = Field(default=0.8, ge=0.0, lt=1.0, description="Of that error from one hour to the next")
    horizon_h: int = Field(default=72, ge=1, le=720, description="How far it looks ahead [h]")
    issue_h: int = Field(default=1, ge=1, le=48, description="Hours between one forecast and the next [h]")
    slot_min: Literal["auto"] | Literal[1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60] = Field(
        default="auto",
        description="Slots in which policies that plan ahead do so [min]; `auto`: the smaller of `step_min` and "
        "an hour; steps under 15 min are taken together as far as price and carbon are the same in them",
    )
    class_mean_h: Literal["learned", "workload"] | dict[str, Annotated[float, Field(gt=0.0, le=1e5)]] = Field(
        default="learned",
        description='How long the jobs of a class run on the mean, for `duration = "class-mean"`: learned from those '
        "that have ended; known beforehand from the workload, as a trace's are; or given, by class [h]",
    )


class OutputTable(Table):
    """Tables that are written of each run."""

    step_min: Literal["auto"] | int = Field(
        default="auto",
        description="Rows of energy.parquet [min], a whole multiple of `step_min`; `auto`: the supply step up "
        "to 31 days, else one hour",
    )
    events: Literal["all", "changes", "none"] = Field(
        default="all",
        description="Rows of events.parquet: all; only changes (starts, pauses, moves, resizes, kills, ends, "
        "faults); or none",
    )

    @field_validator("step_min")
    @classmethod
    def _positive(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 1440:
            raise ValueError('from 1 to 1440 minutes, or "auto"')
        return value


class AccountTable(Table):
    """An account of the steady state beside that of the whole window: a part of the arrivals, and what they cause."""

    warm_up_days: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Arrivals before the account begins, while the sites fill [days]"
    )
    cool_down_days: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Arrivals that go on after the account has ended [days]"
    )


class BestKnownTable(Table):
    """Search for the best known schedule."""

    search: bool = Field(
        default=True,
        strict=True,
        description="Whether to search for it, in compiled code, beside planning it; needs the extra `tafukt[search]`",
    )
    steps: int = Field(
        default=500_000,
        ge=1,
        le=1_000_000_000,
        strict=True,
        description="Steps of the search: some 2,500 a second for twelve sites, of which a week needs some 500,000",
    )


class MatrixTable(Table):
    """Axes: dotted keys of the experiment, each with the list of values that it takes.

    Or with a table, `{ values = [0, 60], label = "battery", unit = "kWh" }`, which says how tables and figures call it.
    """

    model_config = ConfigDict(extra="allow")

    zip: list[dict[str, Any]] = Field(
        default=[], description="Tables of axes whose lists run together, position by position"
    )


class Experiment(Table):
    """An experiment: one scenario, crossed with policies, seeds and the axes of a matrix."""

    name: Annotated[str, Field(description="Name of the experiment and of its result folder")]
    question: str = Field(default="", max_length=2000, description="What the experiment asks, in a sentence")
    start: Moment = Field(description="When it begins, with a time zone")
    days: int | float = Field(
        gt=0, le=11_000, description="For how long jobs arrive [days], whole steps of `step_min`: 0.25 is six hours"
    )
    drain_days: int | None = Field(
        default=None,
        ge=0,
        le=3650,
        strict=True,
        description="Days accounted after the arrivals end; not given: as long as the jobs themselves need",
    )
    step_min: Literal[1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60] = Field(
        default=5, description="Step of sun, price and carbon [min]"
    )
    seeds: list[Seed] = Field(default=[1], min_length=1, description="One scenario of jobs and sky for each seed")
    policies: list[str | dict[str, Any]] = Field(
        default=list(DEFAULT_POLICIES),
        min_length=1,
        description='Policies to run: names, or all; tables of parts, as in {name = "mine", order = "fair", when = '
        '"lowest-window", signal = "carbon"}; `file.py:name` and `module:name` of one\'s own',
    )
    baseline: str = Field(default="fifo", description="The policy that all others are compared with")
    baseline_scenario: dict[str, Any] = Field(
        default={},
        description="The scenario that the others are compared with: keys of the matrix and a value of each",
    )
    coordination: Literal["regional", "federated", "root"] = Field(
        default="root",
        description="Who decides: each institute alone, institutes with the root taking overflow, or the root",
    )
    currency: str = Field(
        default="MAD",
        pattern="^[A-Z]{3}$",
        description="Currency of all prices of the experiment, as in EUR: what `mad` in the names of keys and columns "
        "then stands for. Nothing is converted; prices of the catalogue, which are in MAD, are refused beside another",
    )
    objective: Literal["draw", "emissions", "cost"] = Field(
        default="draw",
        description="What bound, best known schedule and `captured` speak of: grid draw, emissions, or cost",
    )
    bound: bool = Field(
        default=True, strict=True, description="Whether to compute the clairvoyant lower bound on the objective"
    )
    best_known: Annotated[bool, Field(strict=True)] | BestKnownTable = Field(
        default=False,
        description="Whether to compute, beside the bound, the draw of the best schedule known: planned knowing all, "
        "then simulated; it takes longer than a run. `{ search = true }` searches for a better one",
    )
    sites: SitesTable = Field(default=SitesTable(), description="The data centres")
    workload: Workload = Field(
        default=GeneratorModel.model_validate({"kind": "generator"}),
        description="The jobs: a generator, by default of the institutes' own mix; a trace; or none, as "
        "where there are no GPUs",
    )
    engine: EngineTable = Field(default=EngineTable(), description="How the simulation goes about it")
    faults: FaultsTable = Field(default=FaultsTable(), description="What breaks, and how often")
    network: NetworkTable = Field(default=NetworkTable(), description="The links that carry data between sites")
    quotas: dict[str, QuotaTable] = Field(default={}, description="Quotas by the code of the region")
    service: dict[str, Any] | None = Field(
        default=None,
        description="A service for citizens that cannot wait, as load of every site: `use` names one of the "
        "catalogue, other keys change it",
    )
    forecast: ForecastTable = Field(default=ForecastTable(), description="What policies know of the future")
    account: AccountTable | None = Field(
        default=None, description="An account of the steady state, `account_draw_kwh`; none where it is not given"
    )
    output: OutputTable = Field(default=OutputTable(), description="What is written for each run")
    matrix: MatrixTable = Field(default=MatrixTable(), description="Axes that are varied")

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
    like = {"type": "string", "enum": list(catalogue()), "description": "site of the catalogue to start from"}
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
