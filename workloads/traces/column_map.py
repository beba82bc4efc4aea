"""Column maps: TOML files that say which column of a log holds what, and in which unit.

Bundled maps: `catalogue/traces/*.toml` (philly, helios, pai, acme, own).
"""

import re
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from tafukt.problems import hint
from tafukt.strict import Strict, problems_of
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.table import STATUS
from tafukt.workloads.units import DAY_S, HOUR_S

UNIT_S = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S}
SIZES_GB = {"MB": 1e-3, "GB": 1.0}
# Every state of a job that Slurm's accounting knows (slurm.schedmd.com/job_state_codes.html), by what it is to us: a
# job that its time limit, its memory or a node ended did the work that it did; one that was preempted or revoked
# was taken away.
SLURM: dict[str, tuple[str, ...]] = {
    "done": ("COMPLETED",),
    "failed": (
        "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED", "RECONFIG_FAIL",
    ),
    "cancelled": ("CANCELLED", "PREEMPTED", "REVOKED"),
    "unfinished": (
        "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED",
        "REQUEUE_HOLD", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "POWER_UP_NODE",
        "UPDATE_DB", "EXPEDITING",
    ),
}  # fmt: skip
ROLES = (
    "submit", "gpus", "runtime", "start", "end", "id", "cluster", "kind", "estimate", "status", "slack", "deadline",
    "interruptible", "priority", "checkpoint", "tier", "home", "dataset", "dataset_gb", "place",
)  # fmt: skip


class ColumnModel(Strict):
    """One column of the file: its name, its unit, and whether it may be missing."""

    column: str = Field(description="its name in the file")
    unit: Literal["ms", "s", "min", "h", "d", "hms", "datetime", "unix", "count", "text", "flag", "MB", "GB"] = Field(
        description="its unit; hms: 1-02:03:04; unix: seconds since 1970; flag: true or false"
    )
    optional: bool = Field(False, description="whether the file may lack it")
    pattern: str = Field("", description="regular expression; the value is its first group, or all that it matches")
    time_format: str = Field("", description='strptime format of times that are not ISO 8601, such as "%d.%m.%Y %H:%M"')
    default: float | None = Field(None, description="number to use if a cell is empty or the pattern matches nothing")
    states: Literal["", "slurm"] = Field("", description="slurm: all job states of Slurm are known")
    done: tuple[str, ...] = Field((), description="words for jobs that were completed")
    failed: tuple[str, ...] = Field((), description="words for jobs that failed")
    cancelled: tuple[str, ...] = Field((), description="words for jobs that were cancelled")
    unfinished: tuple[str, ...] = Field(
        (), description="words for jobs that had not ended when the log was written; they are left out, and counted"
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @property
    def status_codes(self) -> dict[str, int]:
        """Words of a status column, and what each means (an index of `STATUS`, or `UNFINISHED`)."""
        found: dict[str, int] = {}
        for code, name in enumerate((*STATUS, "unfinished")):
            words = getattr(self, name) + (SLURM[name] if self.states == "slurm" else ())
            found |= dict.fromkeys(words, code)
        return found


class ColumnMap(Strict):
    """A format: which column holds what. The runtime is a column of its own, or end minus start."""

    title: str = Field("", description="name of the format")
    source: str = Field("", description="where such files come from")
    terms: str = Field("", description="terms of their use")
    zero_gpus: Literal["drop", "refuse"] = Field(
        "refuse", description="jobs without GPUs: drop them, as CPU jobs, or refuse the log"
    )
    separator: str = Field(
        "auto",
        description='what divides columns: "auto" finds commas, semicolons, bars or tabs; "spaces"; or one character',
    )
    decimal: Literal["auto", ".", ","] = Field(
        "auto", description='decimal mark; "auto": a comma, unless commas divide the columns'
    )
    submit: ColumnModel = Field(description="when it was submitted")
    gpus: ColumnModel = Field(description="GPUs requested")
    runtime: ColumnModel | None = Field(None, description="how long it ran")
    start: ColumnModel | None = Field(None, description="when it started")
    end: ColumnModel | None = Field(None, description="when it ended")
    id: ColumnModel | None = Field(None, description="unique name of the job")
    cluster: ColumnModel | None = Field(None, description="virtual cluster, group or institute")
    kind: ColumnModel | None = Field(None, description="class of the job")
    estimate: ColumnModel | None = Field(None, description="runtime that the user requested")
    status: ColumnModel | None = Field(None, description="how it ended")
    slack: ColumnModel | None = Field(None, description="how long its start could have been put off")
    deadline: ColumnModel | None = Field(None, description="when it had to be done, if no slack is given")
    interruptible: ColumnModel | None = Field(None, description="whether it may be paused")
    priority: ColumnModel | None = Field(None, description="priority; higher is more important")
    checkpoint: ColumnModel | None = Field(None, description="size of its checkpoint")
    tier: ColumnModel | None = Field(None, description="what the grid may ask of it: firm, 0.9, 0.75, 0.5 or pausable")
    home: ColumnModel | None = Field(None, description="site that it belongs to")
    dataset: ColumnModel | None = Field(None, description="name of the data set that it read")
    dataset_gb: ColumnModel | None = Field(None, description="size of that data set")
    place: ColumnModel | None = Field(None, description="site where it ran, for the policy as-logged")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.runtime is None and (self.start is None or self.end is None):
            raise ValueError("needs runtime, or both start and end")
        if self.separator not in ("auto", "spaces") and len(self.separator) != 1:
            raise ValueError('separator should be "auto", "spaces" or one character')
        return self

    @property
    def columns(self) -> dict[str, ColumnModel]:
        """The columns by their role."""
        return {name: model for name in ROLES if (model := getattr(self, name)) is not None}


def status_code(word: str, known: dict[str, int]) -> int:
    """Code of a status; -1 if it is not known.

    A word is taken as it is, else its first part in capitals (`CANCELLED by 1000`), which may be cut off by a narrow
    column (`CANCELLED+`, `OUT_OF_ME+`).
    """
    if word in known:
        return known[word]
    first = word.split(maxsplit=1)[0].upper() if word.split() else ""
    if first.endswith("+"):
        meant = {code for name, code in known.items() if name.upper().startswith(first[:-1])}
        return meant.pop() if len(meant) == 1 else -1
    return next((code for name, code in known.items() if name.upper() == first), -1)


def column_map(format_name: str, folder: Path) -> ColumnMap:
    """The column map of a format: a bundled name, or a path to a TOML file.

    Raises
    ------
    WorkloadError
        If there is no such format, or its file is wrong.
    """
    known = bundled("traces")
    path = folder / format_name if format_name.endswith(".toml") else known.get(format_name)
    if path is None or not path.is_file():
        names = [*known, "swf", "sacct"]
        raise WorkloadError(f"workload.format: no format {format_name!r}; {hint(format_name, names)}")
    try:
        return ColumnMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a TOML file: {error}") from None
    except ValidationError as error:
        raise WorkloadError(problems_of(error, ColumnMap, path.name)) from None
