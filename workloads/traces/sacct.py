"""Reader of what Slurm's `sacct` prints: `sacct -P` with any delimiter, `-p`, or columns of fixed width.

One row is one job: steps (`12.batch`) are left out, tasks of an array (`12_3`) and components of a heterogeneous
job (`12+1`) are jobs of their own, and so is every attempt of a job that was requeued (`--duplicates`). GPUs are those
allocated (`AllocTRES`), the estimate is the time limit. https://slurm.schedmd.com/sacct.html
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.cells import LogClock, elapsed_s, text_of
from tafukt.workloads.traces.column_map import SLURM, status_code
from tafukt.workloads.traces.files import TraceStream, opened
from tafukt.workloads.traces.readers import HEADER_LINES, UNIT_SEPARATOR, Layout, chunks, fields_of
from tafukt.workloads.traces.table import STATUS, UNFINISHED, Clock, Integrity, TraceTable, gpu_hours, table_of
from tafukt.workloads.units import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

# What `--format` must have named; of each group one is enough.
NEEDED_FIELDS = (
    ("JobID", "JobIDRaw"),
    ("Submit",),
    ("State",),
    ("AllocTRES", "ReqTRES", "AllocGRES", "ReqGRES"),
    ("Elapsed", "ElapsedRaw", "End"),
)
ADVICE = "sacct -a -P --format=JobID,Submit,Start,End,Elapsed,Timelimit,AllocTRES,NodeList,Partition,Account,State"
READ = (
    *itertools.chain(*NEEDED_FIELDS), "Start", "Timelimit", "TimelimitRaw", "Partition", "Account", "User", "NodeList",
    "NNodes", "AllocNodes", "Cluster",
)  # fmt: skip
WORDS = {name: code for code, kind in enumerate((*STATUS, "unfinished")) for name in SLURM[kind]}
DELIMITERS = "|,;\t@^~"
_GPUS = re.compile(r"gres/gpu=(\d+)")
_TYPED = re.compile(r"gres/gpu:([^=,]+)=(\d+)")
_GRES = re.compile(r"gpu(?::[A-Za-z][^:,()]*)?[:=](\d+)")
_NODES = re.compile(r"([^\[,]+)(?:\[([^\]]*)\])?([^\[,]*)(?:,|$)")


@dataclass(frozen=True)
class SacctLog:
    """Rows of jobs, steps left out, and what was found on the way; `columns` are text."""

    columns: dict[str, NDArray[Any]]
    row: Ints
    report: Integrity
    clock: LogClock

    def first_of(self, *names: str) -> NDArray[Any]:
        """The first of some columns that is there; empty text where none is."""
        for name in names:
            if name in self.columns:
                return self.columns[name]
        return np.full(len(self.row), "", dtype=object)

    def instants(self, name: str) -> Floats:
        """A column of times on the log's own clock [s since 1970]; NaN for `Unknown` and `None`."""
        import pandas as pd

        words = self.first_of(name)
        given = [word for word in words[:1000].tolist() if word not in ("", "Unknown", "None")]
        if given and 2 * sum(word.isdigit() for word in given) > len(given):  # SLURM_TIME_FORMAT=%s
            seconds = pd.to_numeric(pd.Series(words), errors="coerce").to_numpy(np.float64)
            self.clock.dated = True
            return np.asarray(np.where(seconds < LAST_UNIX_S, seconds, np.nan))
        return self.clock.instants(pd.Series(words), "")


LAST_UNIX_S = 4_102_444_800.0
"""The year 2100: what counts more seconds is no time of a log."""


def is_sacct(header: list[str]) -> bool:
    """Whether these are columns that `sacct` prints and that make a workload."""
    return all(any(name in header for name in group) for group in NEEDED_FIELDS)


def read_sacct(path: Path, zone: str = "") -> tuple[TraceTable, Integrity]:
    """Read what `sacct` printed (see `workloads.traces.readers.read_table`).

    Raises
    ------
    WorkloadError
        If the file cannot be read, or lacks a column.
    """
    log = sacct_log(path, zone)
    report, row = log.report, log.row
    data = _data(log)
    work = gpu_hours(data["gpus"], np.nan_to_num(data["runtime"]))
    ended = data["status"] != UNFINISHED
    fine = np.ones(len(row), dtype=bool)
    never = ended & np.isnan(data["start"]) & ~(data["runtime"] > 0) & (data["status"] != 0)
    report.drop("cancelled before it started", row[never])
    fine &= ~never
    for what, wrong in (
        ("unknown state", data["status"] < 0),
        ("Submit is not a date", np.isnan(data["submit"]) & ended),
        ("no runtime, neither from Elapsed nor from Start and End", np.isnan(data["runtime"]) & ended),
    ):
        report.reject(what, row[wrong & fine], gpu_h=work[wrong & fine])
        fine &= ~wrong
    for role in ("submit", "runtime"):
        data[role] = np.nan_to_num(data[role])
    kept = _attempts({role: values[fine] for role, values in data.items()}, report)
    clock = log.clock.clock()
    if log.clock.offset_s is None and not zone:
        clock = Clock(True, 0.0, "local time of the cluster, as sacct prints it; workload.tz sets the zone")
    return table_of(kept, report, "drop", clock), report


def _data(log: SacctLog) -> dict[str, Any]:
    """The columns with their meaning."""
    submit, start, end = (log.instants(name) for name in ("Submit", "Start", "End"))
    runtime = elapsed_s(log.first_of("Elapsed"))
    if "ElapsedRaw" in log.columns:
        raw = np.array([float(word) if word.isdigit() else np.nan for word in log.columns["ElapsedRaw"].tolist()])
        runtime = np.where(np.isnan(runtime), raw, runtime)
    unread = np.isnan(runtime) & np.array([bool(word.strip()) for word in log.first_of("Elapsed").tolist()], dtype=bool)
    log.report.repair(
        "Elapsed is not a time; End minus Start is used instead", log.row[unread & ~np.isnan(end - start)]
    )
    runtime = np.where(np.isnan(runtime), end - start, runtime)
    limit = elapsed_s(log.first_of("Timelimit"))
    if "TimelimitRaw" in log.columns:
        limit = np.where(np.isnan(limit), elapsed_s(log.columns["TimelimitRaw"]), limit)
    states = log.columns["State"].tolist()
    meaning = {word: status_code(word, WORDS) for word in set(states)}
    data = {
        "row": log.row,
        "id": log.first_of("JobID", "JobIDRaw"),
        "submit": submit,
        "start": start,
        "runtime": runtime,
        "estimate": limit,
        "gpus": gpus_of(log),
        "status": np.array([meaning[word] for word in states], dtype=np.int8),
        "cluster": log.first_of("Account", "User", "Partition"),
        "kind": log.first_of("Partition"),
    }
    return data | ({"place": log.columns["Cluster"]} if "Cluster" in log.columns else {})


def gpus_of(log: SacctLog) -> Floats:
    """GPUs of each job: of TRES the total, of GRES (older versions) the number per node times its nodes."""
    tres = log.first_of("AllocTRES", "ReqTRES").tolist()
    if "AllocTRES" in log.columns or "ReqTRES" in log.columns:
        return np.array([_of_tres(words) for words in tres])
    log.report.remarks["gpus"] = "GRES gives GPUs per node, times the nodes of the job"
    nodes = [max(1, int(word)) if word.isdigit() else 1 for word in log.first_of("NNodes", "AllocNodes").tolist()]
    gres = log.first_of("AllocGRES", "ReqGRES").tolist()
    per_node = [sum(int(number) for number in _GRES.findall(words)) for words in gres]
    return np.array([float(a * b) for a, b in zip(per_node, nodes, strict=True)])


def _of_tres(words: str) -> float:
    total = _GPUS.search(words)
    return float(total.group(1)) if total else float(sum(int(number) for _, number in _TYPED.findall(words)))


def gpu_types(log: SacctLog) -> dict[str, int]:
    """Types of GPUs that jobs were given, and the GPUs of each."""
    found: dict[str, int] = {}
    for words in log.first_of("AllocTRES", "ReqTRES").tolist():
        for name, number in _TYPED.findall(words):
            found[name] = found.get(name, 0) + int(number)
    return found


def _attempts(data: dict[str, Any], report: Integrity) -> dict[str, Any]:
    """Every attempt of a requeued job as a job of its own; the same attempt twice, as in dumps that overlap, once."""
    ids, starts = data["id"].tolist(), data["start"].tolist()
    seen: dict[tuple[str, str], int] = {}
    count: dict[str, int] = {}
    keep = np.ones(len(ids), dtype=bool)
    names = list(ids)
    for i, (name, start) in enumerate(zip(ids, starts, strict=True)):
        if (name, str(start)) in seen:
            keep[i] = False
            continue
        seen[name, str(start)] = i
        count[name] = count.get(name, 0) + 1
        if count[name] > 1:
            names[i] = f"{name}#{count[name]}"
    again = np.array([name != old for name, old in zip(names, ids, strict=True)], dtype=bool) & keep
    report.repair("attempts of requeued jobs, each counted as a job", data["row"][again])
    report.drop("duplicates of the same job and start", data["row"][~keep])
    data["id"] = np.array(names, dtype=object)
    return {role: values[keep] for role, values in data.items()}


# --- The file


def sacct_log(path: Path, zone: str = "") -> SacctLog:
    """Read the rows of jobs as text.

    Raises
    ------
    WorkloadError
        If the file cannot be read, or lacks a column.
    """
    report = Integrity(path.name, columns={"runtime": ("Elapsed", "hms"), "submit": ("Submit", "datetime")})
    parts: list[pd.DataFrame] = []
    rows: list[Ints] = []
    with opened(path) as stream:
        layout, lines = _layout(path, stream)
        wanted = [name for name in layout.header if name in READ]
        for frame, at in chunks(path, wanted, report, layout, lines, stream):
            parts.append(frame)
            rows.append(at)
    if not parts:
        raise WorkloadError(f"{path}: there are no jobs in it")
    row = np.concatenate(rows)
    columns = {name: np.concatenate([text_of(part[name]) for part in parts]) for name in wanted}
    ids = columns["JobID" if "JobID" in columns else "JobIDRaw"]
    steps = np.array(["." in word for word in ids.tolist()], dtype=bool)
    report.drop("step of a job", row[steps])
    log = SacctLog({name: values[~steps] for name, values in columns.items()}, row[~steps], report, LogClock(zone))
    if not len(log.row):
        raise WorkloadError(f"{path}: there are no jobs in it, only steps of jobs")
    return log


def _layout(path: Path, stream: TraceStream) -> tuple[Layout, Iterator[bytes]]:
    """The header: divided by one character, or above a line of dashes that shows the columns."""
    head = list(itertools.islice(stream, HEADER_LINES))
    for number, raw in enumerate(head, 1):
        line = raw.decode("utf-8-sig", errors="replace").rstrip("\r\n")
        dashes = head[number].decode("ascii", errors="replace").rstrip() if number < len(head) else ""
        if dashes and set(dashes) <= {"-", " "} and is_sacct(line.split()):
            ends = [match.span() for match in re.finditer("-+", dashes)]
            spans = tuple((a, None if (a, b) == ends[-1] else b) for a, b in ends)
            header = tuple(line[a:b].strip() for a, b in spans)
            return Layout(number + 1, UNIT_SEPARATOR, header, spans, quoted=False), _rest(head, number + 1, stream)
        for separator in DELIMITERS:
            header = tuple(fields_of(line, separator))
            if is_sacct(list(header)):
                return Layout(number, separator, header, quoted=False), _rest(head, number, stream)
    first = next((line.decode("utf-8-sig", errors="replace").strip() for line in head if line.strip()), "")
    words = re.split(r"[|,;\t\s]+", first)
    missing = [" or ".join(group) for group in NEEDED_FIELDS if not any(name in words for name in group)]
    wrong = f"no column {', '.join(missing)}" if missing else "no columns that can be told apart"
    raise WorkloadError(f"{path}: row 1: {wrong}; print it with: {ADVICE}")


def _rest(head: list[bytes], number: int, stream: TraceStream) -> Iterator[bytes]:
    return itertools.chain(head[number:], stream)


def nodes_of(words: str) -> list[str]:
    """The nodes of a list as Slurm writes it: `gpu[01-03,07],login1` are five."""
    found: list[str] = []
    for prefix, inside, suffix in _NODES.findall(words):
        if not inside:
            found += [prefix + suffix] if prefix + suffix not in ("None assigned", "None", "") else []
            continue
        for part in inside.split(","):
            low, dash, high = part.partition("-")
            if dash and low.isdigit() and high.isdigit() and int(high) - int(low) < 100_000:
                found += [f"{prefix}{n:0{len(low)}d}{suffix}" for n in range(int(low), int(high) + 1)]
            else:
                found.append(prefix + part + suffix)
    return found
