"""Running a result folder again from what it says of itself, and comparing: bytes first, then values."""

from __future__ import annotations

import csv
import math
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import FolderError, InputError, Problem, shown
from tafukt.experiments.hashing import file_digest, source_digest
from tafukt.experiments.results.stored import EXPERIMENT, RUN_SUMMARY, SUMMARY_FILE, TABLE_FILES, Row
from tafukt.experiments.runs import session
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.manifest import LIBRARIES, of_other_code

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Replay:
    """Findings of a replay: how many files agree to the byte, and the first difference of each other.

    `close` lists files whose values agree to `TOLERANCE` though their bytes do not; `different` says, for
    each file that does not agree, where it first differs; `changed` what is not as it was: code, inputs.
    """

    identical: int
    close: tuple[str, ...]
    different: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all values agree."""
        return not self.different


def replay(path: Path, workers: int = 1, progress: session.RunProgress | None = None) -> Replay:
    """Run a folder's experiment again in a temporary folder and compare.

    Raises
    ------
    FolderError
        If it is no result folder, or holds no complete run.
    InputError
        If its experiment cannot be run any more.
    """
    folder = Folder(path)
    manifest = folder.manifest()
    try:
        loaded = load_experiment(path / EXPERIMENT)
    except InputError as error:
        other = of_other_code(folder)
        raise InputError([*([other] if other else []), *error.problems]) from None
    changed = tuple(_changed(manifest, loaded))
    with tempfile.TemporaryDirectory(prefix="tafukt-replay-") as scratch:
        again = session.plan_runs(loaded, Path(scratch) / "again")
        outcome = session.carry_out(again, workers, progress=progress)
        new = {_key(row): row["run"] for row in outcome.rows if row["status"] == "complete"}
        old = {_key(entry): run for run, entry in manifest["runs"].items() if entry["status"] == "complete"}
        if not old:
            raise FolderError(Problem(str(path), "", "holds no complete run to compare with"))
        identical = 0
        close: list[str] = []
        different: list[str] = []
        for key, run in old.items():
            if key not in new:
                different.append(f"runs/{run}: did not complete this time")
                continue
            for name in (*TABLE_FILES, RUN_SUMMARY):
                before, after = folder.run_path(run) / name, again.folder.run_path(new[key]) / name
                said = _compare(before, after, f"runs/{run}/{name}")
                identical += said == ""
                (different if said.startswith("differs") else close).extend([_without(said)] if said else [])
        said = _compare(path / SUMMARY_FILE, again.folder.path / SUMMARY_FILE, SUMMARY_FILE)
        identical += said == ""
        (different if said.startswith("differs") else close).extend([_without(said)] if said else [])
    return Replay(identical, tuple(close), tuple(different), changed)


def _changed(manifest: dict[str, Any], loaded: Any) -> Iterator[str]:
    if manifest.get("source_sha256") != source_digest():
        yield f"Tafukt's code (the results are of version {manifest.get('tafukt')})"
    for key, file in loaded.input_files.items():
        if manifest.get("inputs", {}).get(key, {}).get("sha256") != file_digest(file, key):
            yield f"the contents of {file}"
    yield from _packages(manifest)


def _packages(manifest: dict[str, Any]) -> Iterator[str]:
    """The packages whose versions are not those of the results."""
    was = manifest.get("packages", {}) | {"python": manifest.get("python")}
    now = {name: metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    for name, version in now.items():
        if was.get(name) is not None and was[name] != version:
            yield f"{name} (was {was[name]}, is {version})"


def _key(row: Row) -> tuple[str, int, str]:
    known = {"run", "status", "policy", "seed", "cell", "axes", "reason"}
    axes = row.get("axes") or {key: value for key, value in row.items() if key not in known and "." in key}
    return row["policy"], row["seed"], str(sorted(axes.items()))


def _without(said: str) -> str:
    return said.partition(": ")[2]


def _compare(before: Path, after: Path, name: str) -> str:
    """Empty where the bytes agree, `close: ...` where the values do, else `differs: ...`."""
    if not before.is_file() or not after.is_file():
        return f"differs: {name}: is missing {'here' if after.is_file() else 'this time'}"
    if before.read_bytes() == after.read_bytes():
        return ""
    try:
        was = _table(before)
    except (OSError, ValueError) as error:
        return f"differs: {name}: cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    first = _first_difference(was, _table(after))
    return f"differs: {name}: {first}" if first else f"close: {name}"


def _table(path: Path) -> dict[str, list[Any]]:
    """A table as columns of values, without the names of runs, which hold the hash of the code."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return dict(pq.read_table(path).to_pydict())
    if path.suffix == ".json":
        import json

        return {key: [value] for key, value in json.loads(path.read_bytes()).items() if key != "run"}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {key: [_number(row[key]) for row in rows] for key in (rows[0] if rows else {}) if key != "run"}


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _first_difference(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> str:
    """First difference of two tables that is above the tolerance; empty if there is none."""
    if list(before) != list(after):
        return f"other columns: {', '.join(sorted(set(before) ^ set(after)))}"
    for name, values in before.items():
        if len(values) != len(after[name]):
            return f"{len(values)} rows before, {len(after[name])} now"
        row = _first_row(values, after[name])
        if row is not None:
            return f"column {name}, row {row}: was {shown(values[row])}, is {shown(after[name][row])}"
    return ""


def _first_row(before: Sequence[Any], after: Sequence[Any]) -> int | None:
    numbers = [abs(v) for v in before if isinstance(v, float) and math.isfinite(v)]
    scale = max(numbers, default=0.0)
    for row, (one, two) in enumerate(zip(before, after, strict=True)):
        if one == two or (isinstance(one, float) and isinstance(two, float) and _close(one, two, scale)):
            continue
        return row
    return None


def _close(one: float, two: float, scale: float) -> bool:
    """Whether two values agree to the tolerance, of themselves or of their column's largest."""
    if math.isnan(one) or math.isnan(two):
        return math.isnan(one) and math.isnan(two)
    return math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE * max(scale, 1.0))
