"""The way into a result folder from Python: `tafukt.load("DIR")` gives its tables as data frames."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tafukt.experiments.errors import FolderError, Problem, nearest
from tafukt.experiments.results.axes import CURRENCY, NAMED, axis_columns, meant_axes, named_axes, short_names
from tafukt.experiments.results.dictionary import KEYS, METRICS, TABLES, Column
from tafukt.experiments.results.stored import EXPERIMENT, SUMMARY_FILE, StoredResults
from tafukt.experiments.results.tables import unguarded

if TYPE_CHECKING:
    import pandas as pd

KEPT_OPEN = 2
"""Runs whose tables stay read: those two that figures show side by side; a year's fill hundreds of megabytes."""

LOCAL_TZ = "Africa/Casablanca"
HEAD = ("policy", "seed", "draw_kwh", "grid_cut", "captured", "renewable_fraction", "wait_mean_h", "jobs_left")


@dataclass(frozen=True)
class Part:
    """A part of a result folder: some policies, one site, a stretch of time; empty: all of it.

    `begin` and `end` are days or moments as ISO 8601, by the clock of the run where they name no zone; the day `end`
    is shown whole.
    """

    policies: tuple[str, ...] = ()
    site: str = ""
    begin: str = ""
    end: str = ""

    @property
    def within_runs(self) -> bool:
        """Whether it is a part of each run, and not of the list of runs alone."""
        return bool(self.site or self.begin or self.end)

    def of(self, table: pd.DataFrame, column: str, tz: str, where: Path) -> pd.DataFrame:
        """The rows of this site whose moment in a column lies in the stretch.

        Raises
        ------
        FolderError
            If a moment cannot be read, or there is no such site.
        """
        kept = table
        if self.site:
            known = table["site"].unique().tolist()
            if self.site not in known:
                message = f"no site called {self.site!r}; there are {', '.join(known)}"
                raise FolderError(Problem(str(where), "--site", message, nearest(self.site, known)))
            kept = kept[kept["site"] == self.site]
        if self.begin:
            kept = kept[kept[column] >= _moment("--from", self.begin, tz)]
        if self.end:
            kept = kept[kept[column] < _moment("--to", self.end, tz, last=True)]
        return kept


def _moment(option: str, text: str, tz: str, last: bool = False) -> pd.Timestamp:
    """A moment in UTC from ISO 8601; a day without a time is its first moment, or its `last`."""
    import pandas as pd

    try:
        moment = pd.Timestamp(text)
        whole_day = len(text) <= len("2025-12-31")
        if whole_day and last:
            moment += pd.Timedelta(days=1)
        local = moment.tz_localize(tz, nonexistent="shift_forward", ambiguous=True) if moment.tz is None else moment
        return local.tz_convert("UTC")
    except (ValueError, OverflowError):
        raise FolderError(
            Problem(option, text, "should be a day or a moment, as 2025-12-03 or 2025-12-03T18:00")
        ) from None


class RunData(Mapping[str, "pd.DataFrame"]):
    """One run: its row of the summary as `row`, its tables as `jobs`, `energy` and `events`.

    It is a mapping from the table's name to the table, too, which is what figures take. Of a `part`, the energy and
    the requests of the grid are those of its site and stretch of time; jobs and events are whole.
    """

    TABLES = ("jobs", "energy", "events")

    def __init__(
        self,
        folder: Path,
        row: Mapping[str, Any],
        part: Part | None = None,
        currency: str = "MAD",
        columns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.folder = folder
        self._columns = columns or {}
        self.row = dict(row)
        self.currency = currency
        self.part = part or Part()

    def __repr__(self) -> str:
        return f"RunData({self.name!r}, policy={self.row.get('policy')!r}, seed={self.row.get('seed')})"

    def __getitem__(self, table: str) -> pd.DataFrame:
        if table not in self.TABLES:
            raise KeyError(f"{table!r}; a run has {', '.join(self.TABLES)}")
        frame: pd.DataFrame = getattr(self, table)
        return frame

    def __iter__(self) -> Iterator[str]:
        return iter(self.TABLES)

    def __len__(self) -> int:
        return len(self.TABLES)

    @property
    def name(self) -> str:
        """The run's id, which is its folder's name."""
        return self.folder.name

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """One row per job."""
        return self._read("jobs")

    @cached_property
    def energy(self) -> pd.DataFrame:
        """One row per site and output step.

        Raises
        ------
        FolderError
            If there is none, or the run has no such site, or nothing in the stretch of time that is asked for.
        """
        whole = self._read("energy")
        found = self.part.of(whole, "time_utc", self.tz, self._results_folder)
        if found.empty:
            first, last = (whole["time_utc"].agg(each).tz_convert(self.tz) for each in ("min", "max"))
            message = f"nothing lies between {self.part.begin or 'the start'} and {self.part.end or 'the end'}"
            message += f"; the run goes from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} ({self.tz})"
            raise FolderError(Problem(str(self._results_folder), "--from, --to", message))
        return found if not self.part.within_runs else found.reset_index(drop=True)

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per event."""
        return self._read("events")

    @cached_property
    def grid_events(self) -> pd.DataFrame:
        """One row per request of the grid and site.

        Raises
        ------
        FolderError
            If the grid asked for nothing in this run.
        """
        return self.part.of(self._read("grid_events"), "start_utc", self.tz, self._results_folder)

    @cached_property
    def limits(self) -> pd.DataFrame:
        """Import limits and nodes in service: one row per site and change.

        Raises
        ------
        FolderError
            If no import is limited and no node withdrawn in this run.
        """
        return self._read("limits")

    @property
    def limited(self) -> bool:
        """Whether an import is limited or nodes are withdrawn in this run."""
        return (self.folder / "limits.parquet").is_file()

    @property
    def grid_asked(self) -> bool:
        """Whether the grid asked for anything in this run."""
        return (self.folder / "grid_events.parquet").is_file()

    @cached_property
    def meter(self) -> pd.DataFrame:
        """One row per site with a meter and output step in which it measured.

        Raises
        ------
        FolderError
            If no site has a meter.
        """
        return self._read("meter")

    @property
    def metered(self) -> bool:
        """Whether a site of this run has a meter."""
        return (self.folder / "meter.parquet").is_file()

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Metadata of the run's tables: start, time zone, policy."""
        import pyarrow.parquet as pq

        schema = pq.read_schema(self._path("energy"))
        return {
            key.decode(): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key not in (b"pandas", b"ARROW:schema")
        }

    @property
    def tz(self) -> str:
        """Time zone in which the run's figures are drawn."""
        return self.metadata.get("tz", LOCAL_TZ)

    @property
    def _results_folder(self) -> Path:
        return self.folder.parent.parent

    def _path(self, table: str) -> Path:
        path = self.folder / f"{table}.parquet"
        if not path.is_file():
            raise FolderError(Problem(str(path), "", "is missing: the run is not complete"))
        return path

    def narrow(self, columns: Mapping[str, Sequence[str]]) -> RunData:
        """The same run, of whose tables only some columns are read; tables that are not named are whole."""
        return RunData(self.folder, self.row, self.part, self.currency, columns)

    def some_columns(self, table: str, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of a table, read without the others, which a long run has many of."""
        return self._read(table, names)

    def _read(self, table: str, names: Sequence[str] | None = None) -> pd.DataFrame:
        try:
            chosen = self._columns.get(table) if names is None else names
            return _table(self._path(table), table, chosen, to_look_at=bool(self._columns))
        except (OSError, ValueError) as error:
            raise FolderError(Problem(str(self._path(table)), "", f"cannot be read: {error}")) from None


class Results:
    """A result folder: `summary` (one row per run), `manifest`, `experiment`, and the runs themselves.

    `results["wait-for-sun"]` is the first complete run of that policy; `results.run(policy=..., seed=...)`
    chooses more closely; `results.complete` has the rows that did not fail.
    """

    def __init__(self, folder: Path, part: Part | None = None) -> None:
        self.folder = folder
        self.part = part or Part()
        self._stored = StoredResults(folder)
        self._opened: dict[str, RunData] = {}
        self.manifest = self._stored.manifest()
        self.experiment = _toml(folder / EXPERIMENT)

    def __repr__(self) -> str:
        return (
            f"{self.title}: {len(self.complete)} of {len(self.summary)} runs complete, "
            f"{self.summary['policy'].nunique()} policies, {self.summary['seed'].nunique()} seeds "
            f"({self.folder})\n{self.complete[self._head()].to_string(index=False, max_rows=20)}"
        )

    def _repr_html_(self) -> str:
        question = f"<p>{escape(self.question)}</p>" if self.question else ""
        table = self.complete[self._head()].to_html(index=False, max_rows=20, escape=True, float_format="{:.4g}".format)
        return f"<h3>{escape(self.title)}</h3>{question}{table}<p><code>{escape(str(self.folder))}</code></p>"

    def _head(self) -> list[str]:
        return [*self.axes, *HEAD]

    @property
    def title(self) -> str:
        """The experiment's name."""
        return str(self.experiment.get("name", self.folder.name))

    @property
    def question(self) -> str:
        """The experiment's question."""
        return str(self.experiment.get("question", ""))

    @property
    def currency(self) -> str:
        """The currency of the experiment's prices, for which `mad` stands in names of columns."""
        return str(self.experiment.get("currency", "MAD"))

    @property
    def baseline(self) -> str:
        """The policy that all others are compared with."""
        return str(self.manifest.get("baseline", self.experiment.get("baseline", "fifo")))

    @property
    def baseline_scenario(self) -> dict[str, Any]:
        """The values of axes that scenarios are held against; empty without `baseline_scenario`."""
        return dict(self.manifest.get("baseline_scenario") or {})

    @cached_property
    def summary(self) -> pd.DataFrame:
        """`summary.csv`: one row per run."""
        frame = self._rows_on_disk() if self._unsummed() else _summary_csv(self.folder / SUMMARY_FILE)
        frame = _with_all_metrics(frame)
        frame.attrs[CURRENCY] = self.currency
        frame.attrs[NAMED] = named_axes(self.experiment.get("matrix", {}))
        missing = {"run", "status", "policy", "seed"} - set(frame)
        if missing:
            path = self.folder / SUMMARY_FILE
            raise FolderError(Problem(str(path), "", f"has no column {', '.join(sorted(missing))}"))
        return frame

    def _unsummed(self) -> bool:
        """Whether runs are there that the summary does not know yet, as after a stop."""
        if not (self.folder / SUMMARY_FILE).is_file():
            return True
        runs = self.manifest["runs"]
        return self.manifest.get("status") == "incomplete" and any(
            entry.get("status") == "missing" and self._stored.is_complete(run) for run, entry in runs.items()
        )

    def _rows_on_disk(self) -> pd.DataFrame:
        """The summary as it would be written now."""
        import pandas as pd

        from tafukt.experiments.results.summary import header, run_rows

        rows = run_rows(self._stored, self.manifest)
        if not rows:
            raise FolderError(Problem(str(self.folder), "", "nothing has run here yet"))
        columns = header(self.manifest)
        return pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns).astype(
            {column.name: float for column in METRICS if column.nullable}
        )

    @property
    def complete(self) -> pd.DataFrame:
        """The rows of the runs that did not fail."""
        return self._complete.copy(deep=False)

    @cached_property
    def _complete(self) -> pd.DataFrame:
        return self.summary[self.summary["status"] == "complete"].reset_index(drop=True)

    @cached_property
    def axes(self) -> list[str]:
        """The columns of the summary that are axes of the matrix."""
        return axis_columns(self.summary)

    @property
    def sites(self) -> dict[str, dict[str, Any]]:
        """The sites of the experiment by name, with every value written out."""
        own = self.experiment.get("sites", {}).get("own", {})
        return {str(name): dict(site) for name, site in own.items()}

    def only(
        self,
        where: Sequence[str] = (),
        policies: Sequence[str] = (),
        seed: int | None = None,
        *,
        site: str = "",
        begin: str = "",
        end: str = "",
    ) -> Results:
        """The same folder with some of its runs: of these values of axes, policies and seed; or a part of each.

        Parameters
        ----------
        where : sequence of str
            As in `battery.kwh=1000`; of an axis' key its last parts are enough.
        policies : sequence of str
            In figures of single runs all of these are shown, not two examples.
        seed : int, optional
            Of one seed.
        site : str
            Energy of this site alone.
        begin, end : str
            Energy from and to a day or moment, as in `2025-12-03` or `2025-12-03T18:00` by the clock of the run; the
            day `end` is shown whole.

        Raises
        ------
        FolderError
            If there is no such axis, value, policy or seed.
        """
        frame = self.summary
        for text in where:
            name, equals, value = (part.strip() for part in text.partition("="))
            meant = meant_axes(name, self.axes) if equals else []
            if len(meant) > 1:  # of several axes with one label, the one that has the value
                meant = [axis for axis in meant if any(_same(cell, value) for cell in frame[axis])] or meant
            if len(meant) != 1:
                raise FolderError(Problem("--where", text, self._no_axis(name, bool(equals), meant)))
            frame = self._chosen(frame, meant[0], value)
        for column, values in (("policy", policies), ("seed", [] if seed is None else [seed])):
            parts = [self._chosen(frame, column, str(value)) for value in values]
            frame = frame[frame["run"].isin({run for part in parts for run in part["run"]})] if parts else frame
        narrowed = Results(self.folder, Part(tuple(policies), site, begin, end))
        narrowed.__dict__["summary"] = frame.reset_index(drop=True)
        return narrowed

    def _no_axis(self, name: str, equals: bool, meant: Sequence[str]) -> str:
        if not self.axes:
            return "this experiment has no [matrix], so there are no axes to choose from"
        if meant:
            return f"{name!r} could mean {' or '.join(short_names(meant))}; say which"
        what = f"there is no axis {name!r}" if equals else "should be AXIS=VALUE"
        return f"{what}; axes: {', '.join(short_names(self.axes))}"

    def _chosen(self, frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
        found = frame[[_same(cell, value) for cell in frame[column]]]
        if found.empty:
            known = list(dict.fromkeys(str(cell) for cell in frame[column]))
            message = f"no run of {column} = {value}; there are {', '.join(known[:20])}"
            raise FolderError(Problem(str(self.folder), "", message, nearest(value, known)))
        return found

    def run(self, run_id: str | None = None, *, policy: str | None = None, seed: int | None = None) -> RunData:
        """One complete run: by its id, or the first of a policy and seed.

        Raises
        ------
        FolderError
            If there is none.
        """
        if run_id in self._opened and policy is None and seed is None:
            return self._kept_open(self._opened[run_id])
        rows = self._complete
        wanted = {"run": run_id, "policy": policy, "seed": seed}
        for key, value in wanted.items():
            if value is not None:
                rows = rows[rows[key] == value]
        if rows.empty:
            said = ", ".join(f"{key} {value!r}" for key, value in wanted.items() if value is not None)
            raise FolderError(Problem(str(self.folder), "", f"no complete run{' of ' + said if said else ''}"))
        row = {str(key): value for key, value in rows.iloc[0].items()}
        run_path = self._stored.run_path(str(row["run"]))
        return self._kept_open(self._opened.get(run_path.name) or RunData(run_path, row, self.part, self.currency))

    def _kept_open(self, run: RunData) -> RunData:
        """A run, which is now the last of those whose tables stay read."""
        self._opened.pop(run.name, None)
        self._opened[run.name] = run
        if len(self._opened) > KEPT_OPEN:
            del self._opened[next(iter(self._opened))]
        return run

    def __getitem__(self, policy: str) -> RunData:
        return self.run(policy=policy)


def load(folder: str | Path) -> Results:
    """A result folder as data frames and metadata.

    Raises
    ------
    FolderError
        If it is none.
    """
    return Results(Path(folder))


def _same(cell: Any, value: str) -> bool:
    """Whether a cell of a table is what a text says: `1000` is 1000.0, `true` is True."""
    if str(cell) == value or str(cell).lower() == value.lower():
        return True
    try:
        return float(cell) == float(value.replace(",", ""))
    except (TypeError, ValueError):
        return False


def _summary_csv(path: Path) -> pd.DataFrame:
    """`summary.csv` as it was written: words stay words, also `NA`, `None` and `nan`."""
    import pandas as pd

    words = {column.name: str for column in KEYS if column.dtype == "string"}
    try:
        frame = pd.read_csv(path, dtype=words, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise FolderError(Problem(str(path), "", f"cannot be read: {error}")) from None
    for name in frame:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = frame[name].map(unguarded)
    return frame


def _with_all_metrics(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary in which metrics that its version did not know yet are blank."""
    missing = {column.name: _blank(column) for column in METRICS if column.name not in frame}
    return frame.assign(**missing) if missing else frame


def _table(path: Path, table: str, chosen: Sequence[str] | None, to_look_at: bool = False) -> pd.DataFrame:
    """Columns of a table, or all of them; those that its version did not know yet are blank.

    What is read `to_look_at` alone is not copied into memory that can be written to, and has the names of sites as
    categories, which takes half the time. By way of `pandas.read_parquet` it would all take twice as long.
    """
    import pyarrow.parquet as pq

    known = {column.name: column for column in TABLES[table]}
    categories = ["site"] if to_look_at else None
    with pq.ParquetFile(path, read_dictionary=categories, memory_map=to_look_at) as file:
        there = file.schema_arrow.names
        wanted = list(dict.fromkeys([*there, *known])) if chosen is None else list(chosen)
        lacking = [name for name in wanted if name not in there and name in known]
        names = [name for name in wanted if name not in lacking]
        frame: pd.DataFrame = file.read(names, use_threads=False).select(names).to_pandas(split_blocks=to_look_at)
    return frame.assign(**{name: _blank(known[name]) for name in lacking})[wanted] if lacking else frame


def _blank(column: Column) -> Any:
    """Value in rows of a version that did not know a column: of what it counts there was nothing, else a blank."""
    if column.dtype in ("int64", "bool") and not column.nullable:
        return 0 if column.dtype == "int64" else False
    return None if column.dtype in ("string", "timestamp", "bool") else math.nan


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderError(Problem(str(path), "", f"cannot be read: {error}")) from None
