"""Models of a workload in an experiment file: `generator` draws jobs from a mix, `trace` replays a log."""

from collections.abc import Sequence
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

    jobs: Sequence[Job]
    notes: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()


class ElasticModel(Strict):
    """Jobs whose size may differ from what was requested.

    The speed-up law is a choice; Amdahl (1967), doi 10.1145/1465482.1465560: S(n) = 1 / (f + (1 - f) / n).
    """

    share: float = Field(0.0, ge=0, le=1, description="share of the jobs with two or more GPUs that are elastic")
    kind: Elasticity = Field(
        "malleable", description="moldable: size chosen at the start; malleable: it can change later, too"
    )
    least: float = Field(0.5, gt=0, le=1, description="smallest size, relative to the size requested")
    most: float = Field(
        2.0, ge=1, le=1024, description="largest size, relative to the size requested, up to the gang cap"
    )
    law: Literal["amdahl", "power", "table"] = Field("power", description="how throughput grows with the GPUs")
    serial: float = Field(0.01, ge=0, lt=1, description="amdahl: serial fraction f")
    exponent: float = Field(0.9, gt=0, le=1, description="power: throughput = gpus ** exponent")
    gpus: tuple[int, ...] = Field((), description="table: numbers of GPUs, rising from 1")
    throughput: tuple[float, ...] = Field((), description="table: throughput with each, relative to one GPU")

    @model_validator(mode="after")
    def _table(self) -> Self:
        if self.kind == "rigid":
            raise ValueError("kind must be moldable or malleable; share = 0 makes all jobs rigid")
        if self.law == "table":
            rising = all(a < b for a, b in zip(self.gpus, self.gpus[1:], strict=False))
            faster = all(a < b for a, b in zip(self.throughput, self.throughput[1:], strict=False))
            complete = len(self.gpus) == len(self.throughput) >= 2 and self.gpus[0] == 1
            if not (rising and faster and complete and self.throughput[0] > 0):
                raise ValueError("law = 'table' needs gpus (from 1) and throughput, both rising and of equal length")
        return self


class GeneratorModel(Strict):
    """Jobs drawn from a mix of classes.

    The demand is absolute: it follows from `load` and the GPUs of all sites (or from
    `jobs_per_day_per_million`), never from the length of the run, so that a longer run keeps the jobs of a
    shorter one; another rate adds or removes jobs and leaves the others as they were. The load is the mean over
    whole weeks with all sites online.
    """

    kind: Literal["generator"] = "generator"
    mix: str = Field("institutes", description="a bundled mix, or the path of a TOML file")
    load: float | None = Field(
        None,
        gt=0,
        le=10,
        description="work submitted, as a share of the GPU time available in the mix's country; default: 0.55",
    )
    jobs_per_day_per_million: float | None = Field(
        None, gt=0, le=1e6, description="instead of load: jobs per day per million inhabitants"
    )
    gang_cap: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="largest gang [GPUs]; default: the largest power of two within half the smallest site",
    )
    runtime_cap_h: float = Field(
        72.0, ge=0.001, le=87_600, description="longest job; longer ones are split into chained segments [h]"
    )
    segments_max: int = Field(4, ge=1, le=1000, description="most segments in a chain; the rest is cut off")
    include: tuple[str, ...] = Field((), description="classes to put back that the mix leaves out by default")
    leave_out: tuple[str, ...] = Field((), description="classes to leave out")
    classes: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to the mix's classes, by class"
    )
    estimates: Literal["steps", "limits", "exact", "factor"] = Field(
        "steps",
        description="steps: 1 to 1.2 times the runtime, as estimated from steps and seconds per step; limits: 1 to 2 "
        "times, rounded up to common limits; exact; or a factor",
    )
    estimate_factor: float = Field(1.5, gt=0, le=1000, description="estimate / true runtime, for estimates = 'factor'")
    draws: Literal["stratified", "independent"] = Field(
        "stratified",
        description="stratified: evenly spread draws, so that weeks are alike; independent: Poisson arrivals",
    )
    elastic: ElasticModel = Field(default=ElasticModel.model_validate({}), description="jobs of variable size")
    growth_per_year: float = Field(0.0, gt=-1, le=10, description="share by which demand grows each year")
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
    """Settings for the jobs of one class of a trace."""

    flexibility: Tier | None = Field(None, description="what the grid may ask of it; default: as for all jobs")
    power_curve: PowerCurve | None = Field(
        None, description="the curve of its speed under a power cap; default: as for all jobs"
    )


class TraceModel(Strict):
    """Jobs that a real cluster ran. What the trace does not say must be said here: nothing is filled in silently.

    If the trace has a column for slack or deadline, interruptible, priority, checkpoint, tier, home or data set, it
    overrides the key here, which is then for rows that leave it empty.
    """

    kind: Literal["trace"] = "trace"
    file: str = Field("", description="the trace, relative to the experiment file; .gz is unpacked on the fly")
    trace: str = Field("", description="instead of file: a public trace that `tafukt fetch` has downloaded")
    format: str = Field(
        "",
        description="format of file: swf, sacct, philly, helios, pai, acme, own, or the path of a column map (.toml)",
    )
    align: Literal["first midnight", "dates"] = Field(
        "first midnight",
        description="first midnight: day start_day of the trace, by its own clock, is the experiment's first; dates: "
        "every job is submitted at the very time that the trace says",
    )
    start_day: float | None = Field(
        None, ge=0, le=36_525, description="days from the trace's first midnight to the start of the experiment"
    )
    tz: str = Field("", description="time zone of times that carry none, such as Europe/Rome")
    repeat: bool = Field(
        False, description="whether a trace shorter than the run starts over, after whole weeks if it has one"
    )
    recorded_on: float | str | None = Field(
        None,
        description="the kind of node the trace was recorded on, or its work per GPU relative to an A100; needed "
        "if nodes here are not A100, whose runtimes would otherwise be taken to be those of the trace",
    )
    gpu_cap: int = Field(ge=1, le=1_000_000, description="largest gang that is kept as it is [GPUs]")
    over_cap: Literal["cut", "spread", "drop"] | None = Field(
        None,
        description="larger gangs. cut: to the cap, with the same runtime; spread: to the cap, with the same "
        "work; drop",
    )
    gpus_per_unit: float = Field(
        1.0, ge=0.001, le=10_000, description="GPUs for each processor or GPU of the trace, rounded up"
    )
    load_factor: float | None = Field(
        None, gt=0, le=1000, description="jobs relative to the trace: some are left out (below 1) or copied (above 1)"
    )
    load: float | None = Field(None, gt=0, le=10, description="instead of load_factor: the load to reach")
    homes: Literal["population", "jobs", "column"] | dict[str, str] | None = Field(
        None,
        description="where jobs come from. population: each virtual cluster gets a home site, by population; "
        "jobs: each job does, for traces without virtual clusters; column: the trace says; or a table of virtual "
        "cluster = site; "
        "default: column if there is one, otherwise population",
    )
    slack_h: float | None = Field(
        None, ge=0, le=87_600, description="how long the start of each job may be put off [h]"
    )
    slack_factor: float | None = Field(
        None, ge=0, le=1000, description="instead of slack_h: the same, as a multiple of the estimate"
    )
    estimates: Literal["exact", "factor", "column"] = Field(
        description="runtime estimates: the true runtime, a factor times it, or a column of the trace"
    )
    estimate_factor: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="estimate / runtime, for estimates = 'factor'; with 'column', for rows that have none",
    )
    runtime_cap_h: float | None = Field(
        None,
        ge=0.001,
        le=87_600,
        description="longest job; longer ones are split into chained segments [h]; default: no limit",
    )
    bad_rows: Literal["refuse", "drop"] = Field(
        "refuse", description="rows that make no sense: refuse the trace, or drop them"
    )
    interruptible_share: float = Field(0.7, ge=0, le=1, description="share of the jobs that may be paused (choice)")
    residency: Residency = Field("national", description="how far the jobs' data may travel (choice)")
    dataset_gb: float = Field(0.0, ge=0, le=1e9, description="size of the data set at each home site (choice) [GB]")
    checkpoint_gb: float = Field(20.0, ge=0, le=1e9, description="data transferred when a job moves (choice) [GB]")
    checkpoint_write_s: float = Field(30.0, ge=0, le=1e6, description="time to write a checkpoint (choice) [s]")
    restart_s: float = Field(240.0, ge=0, le=1e6, description="time to start again from a checkpoint (choice) [s]")
    intensity: float = Field(
        1.0, ge=0, le=1.5, description="power above idle, as a share of that of a busy GPU (choice)"
    )
    flexibility: Tier = Field(
        "firm",
        description="what the grid may ask of a job: nothing (firm), slowing to a mean throughput of 0.9, 0.75 "
        "or 0.5, or pausing",
    )
    power_curve: PowerCurve = Field(
        "pre-training",
        description="the curve of its speed under a power cap, if `engine.power_caps` has several (choice)",
    )
    classes: dict[str, TraceClassModel] = Field(
        default={}, description="the two keys above by class, as named in the trace's column of classes"
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
            raise ValueError(
                "give either file, with its format, or trace, the name of a public one (`tafukt fetch` lists them)"
            )
        if self.file and not self.format:
            raise ValueError("file needs format: swf, sacct, philly, helios, pai, acme, own, or a column map (.toml)")
        if self.slack_h is not None and self.slack_factor is not None:
            raise ValueError("give slack_h or slack_factor, not both")
        if (self.load_factor is None) == (self.load is None):
            raise ValueError("give either load_factor or load (load_factor = 1 keeps the trace as it is)")
        if self.estimates == "factor" and self.estimate_factor is None:
            raise ValueError("estimates = 'factor' needs estimate_factor")
        if self.estimates == "exact" and self.estimate_factor is not None:
            raise ValueError("estimate_factor is for estimates = 'factor' or 'column'")
        if self.align == "first midnight" and self.start_day is None:
            raise ValueError("align = 'first midnight' needs start_day: which day of the trace comes first")
        if self.align == "dates" and self.start_day is not None:
            raise ValueError("start_day is for align = 'first midnight'; with 'dates', the trace's own dates count")
        return self


class NoJobsModel(Strict):
    """No jobs at all: sites of sun, battery and other load alone."""

    kind: Literal["none"] = "none"


WorkloadModel = Annotated[GeneratorModel | TraceModel | NoJobsModel, Field(discriminator="kind")]
