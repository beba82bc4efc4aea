"""Models of a workload in an experiment file: `generator` draws jobs from a mix, `trace` replays a log."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tafukt.strict import Strict, known_zone
from tafukt.workloads.job import Elasticity, Job, PowerCurve, Residency, Tier

DEFAULT_LOAD = 0.55


@dataclass(frozen=True)
class Place:
    """A site as a workload sees it.

    Attributes
    ----------
    site, region : str
        The site's name and its region's code.
    population : float
        People of the region; 0 where nobody submits (a partner abroad).
    gpus : int
        All GPUs of the site.
    country : str
        ISO code.
    online_s : float
        When the site comes online, in simulation time [s].
    speed : float
        Work per GPU relative to the reference GPU: a faster site bears more load.
    """

    site: str
    region: str
    population: float
    gpus: int
    country: str = "MA"
    online_s: float = 0.0
    speed: float = 1.0


@dataclass(frozen=True)
class Demand:
    """The jobs, in order, and what is to be said about how they came about.

    `notes` are plain data for the manifest, `told` sentences for the user.
    """

    jobs: tuple[Job, ...]
    notes: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()


class ElasticModel(Strict):
    """Jobs whose size may differ from what was asked.

    The speed-up law is a choice; Amdahl (1967), doi 10.1145/1465482.1465560: S(n) = 1 / (f + (1 - f) / n).
    """

    share: float = Field(0.0, ge=0, le=1, description="share of the jobs of two GPUs or more that are elastic")
    kind: Elasticity = Field("malleable", description="moldable: chosen at the start; malleable: changed later too")
    least: float = Field(0.5, gt=0, le=1, description="smallest size, relative to the size asked for")
    most: float = Field(
        2.0, ge=1, le=1024, description="largest size, relative to the size asked for; the gang cap holds"
    )
    law: Literal["amdahl", "power", "table"] = "power"
    serial: float = Field(0.01, ge=0, lt=1, description="serial share f of Amdahl's law")
    exponent: float = Field(0.9, gt=0, le=1, description="throughput = gpus ** exponent")
    gpus: tuple[int, ...] = Field((), description="table: GPUs, rising, from 1")
    throughput: tuple[float, ...] = Field((), description="table: throughput at each, relative to one GPU")

    @model_validator(mode="after")
    def _table(self) -> Self:
        if self.kind == "rigid":
            raise ValueError("kind must be moldable or malleable; share = 0 makes all jobs rigid")
        if self.law == "table":
            rising = all(a < b for a, b in zip(self.gpus, self.gpus[1:], strict=False))
            faster = all(a < b for a, b in zip(self.throughput, self.throughput[1:], strict=False))
            complete = len(self.gpus) == len(self.throughput) >= 2 and self.gpus[0] == 1
            if not (rising and faster and complete and self.throughput[0] > 0):
                raise ValueError("law = 'table' needs gpus (from 1) and throughput, both rising, of one length")
        return self


class GeneratorModel(Strict):
    """Jobs drawn from a mix of classes.

    The demand is absolute: it follows from `load` and the GPUs of all sites (or from
    `jobs_per_day_per_million`), never from the length of the run, so that a longer run keeps its earlier
    jobs; another rate adds or takes away jobs and leaves the others as they were. The load asked for is
    the mean over whole weeks with all sites online.
    """

    kind: Literal["generator"] = "generator"
    mix: str = Field("institutes", description="a bundled mix, or a path to a TOML file")
    load: float | None = Field(
        None, gt=0, le=10, description="work offered / (GPUs of the mix's country x time); default 0.55"
    )
    jobs_per_day_per_million: float | None = Field(
        None, gt=0, le=1e6, description="instead of load: jobs a day per million inhabitants"
    )
    gang_cap: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="largest gang [GPUs]; default: a power of two within half the smallest site",
    )
    runtime_cap_h: float = Field(
        72.0, ge=0.001, le=87_600, description="longest job; longer ones come as chained segments [h]"
    )
    segments_max: int = Field(4, ge=1, le=1000, description="most segments in a chain; what is longer is cut there")
    include: tuple[str, ...] = Field((), description="classes that the mix leaves out by default, to put back")
    leave_out: tuple[str, ...] = Field((), description="classes to leave out")
    classes: dict[str, dict[str, Any]] = Field(default_factory=dict, description="changes to the mix's classes")
    estimates: Literal["steps", "limits", "exact", "factor"] = Field(
        "steps",
        description="steps: 1 to 1.2 times the runtime, as known from steps and seconds a step; limits: 1 to 2 times,"
        " rounded up to usual limits; exact; or a factor",
    )
    estimate_factor: float = Field(
        1.5, gt=0, le=1000, description="estimate / true runtime, where estimates = 'factor'"
    )
    draws: Literal["stratified", "independent"] = Field(
        "stratified", description="stratified: evenly spread draws, so that weeks are alike; or Poisson arrivals"
    )
    elastic: ElasticModel = Field(default=ElasticModel.model_validate({}))
    growth_per_year: float = Field(0.0, gt=-1, le=10, description="demand grows by this share every year")
    before_online: Literal["none", "submit"] = Field(
        "none", description="whether a region submits jobs before its own site is online"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_rate(cls, table: Any) -> Any:
        if isinstance(table, dict):
            load, rate = table.get("load"), table.get("jobs_per_day_per_million")
            if load is not None and rate is not None:
                raise ValueError("give load or jobs_per_day_per_million, not both")
            if load is None and rate is None:
                return {**table, "load": DEFAULT_LOAD}
        return table


class TraceClassModel(Strict):
    """Statements on the jobs of one class of a trace."""

    flexibility: Tier | None = Field(None, description="what the grid may ask of it; default: that of all jobs")
    power_curve: PowerCurve | None = Field(None, description="its speed under a power cap; default: that of all jobs")


class TraceModel(Strict):
    """Jobs that a real cluster ran. What the trace does not say is stated here: nothing is filled silently.

    Where the trace has a column for slack or deadline, interruptible, priority, checkpoint, tier, home or data set,
    what a row says there holds, and the key here is for rows that say nothing.
    """

    kind: Literal["trace"] = "trace"
    file: str = Field("", description="the trace, relative to the experiment; .gz is unpacked on the fly")
    trace: str = Field("", description="instead of file: a public trace that `tafukt fetch` has put into the cache")
    format: str = Field(
        "", description="of file: swf, sacct, philly, helios, pai, acme, own, or a path to a column map (.toml)"
    )
    align: Literal["first midnight", "dates"] = Field(
        "first midnight",
        description="first midnight: day start_day of the trace, on its own clock, is the experiment's first; dates: "
        "every job is submitted at the instant that the trace says",
    )
    start_day: float | None = Field(
        None, ge=0, le=36_525, description="the window starts so many days after the trace's first midnight"
    )
    tz: str = Field("", description="time zone of times that the trace writes without one, as in Europe/Rome")
    repeat: bool = Field(
        False, description="a trace that is shorter than the run begins again, in whole weeks if it has one"
    )
    recorded_on: float | str | None = Field(
        None,
        description="the node that the trace was recorded on, or its work per GPU relative to an A100; needed where "
        "nodes here are no A100: runtimes would else be taken as theirs",
    )
    gpu_cap: int = Field(ge=1, le=1_000_000, description="largest gang that is kept as it is [GPUs]")
    over_cap: Literal["cut", "spread", "drop"] | None = Field(
        None, description="larger gangs: cut to the cap, runtime kept; spread: work kept, runtime longer; drop"
    )
    gpus_per_unit: float = Field(
        1.0, ge=0.001, le=10_000, description="GPUs per processor or GPU of the trace, rounded up"
    )
    load_factor: float | None = Field(
        None, gt=0, le=1000, description="keep (below 1) or copy (above 1) jobs at this rate"
    )
    load: float | None = Field(
        None, gt=0, le=10, description="instead of load_factor: the load that the window is to offer"
    )
    homes: Literal["population", "jobs", "column"] | dict[str, str] | None = Field(
        None,
        description="population: each virtual cluster gets a home site by population and hash; jobs: each job "
        "does, as where the trace has no virtual clusters; column: the trace says it; or a table of virtual cluster = "
        "site; default: column where there is one, else population",
    )
    slack_h: float | None = Field(None, ge=0, le=87_600, description="how long every start may be put off [h]")
    slack_factor: float | None = Field(None, ge=0, le=1000, description="the same, as a multiple of the estimate")
    estimates: Literal["exact", "factor", "column"] = Field(description="where runtime estimates come from")
    estimate_factor: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="estimate / runtime, where estimates = 'factor'; of rows that have none, where it is 'column'",
    )
    runtime_cap_h: float | None = Field(
        None,
        ge=0.001,
        le=87_600,
        description="longer jobs come as chained segments of at most this [h]; default: as they are",
    )
    bad_rows: Literal["refuse", "drop"] = Field("refuse", description="rows that make no sense: an error, or left out")
    interruptible_share: float = Field(0.7, ge=0, le=1, description="share of the jobs that may be paused (choice)")
    residency: Residency = Field("national", description="how far the jobs' data may travel (choice)")
    dataset_gb: float = Field(0.0, ge=0, le=1e9, description="size of each home's data set (choice) [GB]")
    checkpoint_gb: float = Field(20.0, ge=0, le=1e9, description="what a move transfers (choice) [GB]")
    checkpoint_write_s: float = Field(30.0, ge=0, le=1e6, description="choice [s]")
    restart_s: float = Field(240.0, ge=0, le=1e6, description="choice [s]")
    intensity: float = Field(1.0, ge=0, le=1.5, description="power as a share of the loaded power (choice)")
    flexibility: Tier = Field(
        "firm",
        description="what the grid may ask of a job: firm, a minimum mean throughput (0.9, 0.75, 0.5), or pausable",
    )
    power_curve: PowerCurve = Field(
        "pre-training",
        description="whose speed under a power cap its jobs have, where `engine.power_caps` knows several: a choice",
    )
    classes: dict[str, TraceClassModel] = Field(
        default={}, description="the two above by class, as the trace's column of classes calls it"
    )

    @field_validator("tz")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return known_zone(name) if name else name

    @field_validator("recorded_on")
    @classmethod
    def _plausible(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0.001 <= value <= 1000:
            raise ValueError("a speed relative to an A100 lies between 0.001 and 1000")
        return value

    @model_validator(mode="after")
    def _explicit(self) -> Self:
        if bool(self.file) == bool(self.trace):
            raise ValueError("give file, with its format, or trace, a public one by name (`tafukt fetch` lists them)")
        if self.file and not self.format:
            raise ValueError("file needs format: swf, sacct, philly, helios, pai, acme, own, or a column map (.toml)")
        if self.slack_h is not None and self.slack_factor is not None:
            raise ValueError("give slack_h or slack_factor, not both")
        if (self.load_factor is None) == (self.load is None):
            raise ValueError("give exactly one of load_factor and load (load_factor = 1 keeps the trace as it is)")
        if self.estimates == "factor" and self.estimate_factor is None:
            raise ValueError("estimates = 'factor' needs estimate_factor")
        if self.estimates == "exact" and self.estimate_factor is not None:
            raise ValueError("estimate_factor goes with estimates = 'factor' or 'column'")
        if self.align == "first midnight" and self.start_day is None:
            raise ValueError("align = 'first midnight' needs start_day: which day of the trace comes first")
        if self.align == "dates" and self.start_day is not None:
            raise ValueError("start_day goes with align = 'first midnight'; with 'dates' the start of the run says it")
        return self


class NoJobsModel(Strict):
    """No jobs at all: sites of sun, battery and other load alone."""

    kind: Literal["none"] = "none"


WorkloadModel = Annotated[GeneratorModel | TraceModel | NoJobsModel, Field(discriminator="kind")]
