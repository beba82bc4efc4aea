"""Contents of a result folder: its manifest, its runs and their summaries, read and never written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import FolderError, Problem
from tafukt.experiments.hashing import bytes_digest, digest
from tafukt.experiments.results.dictionary import COMPARISON_METRICS

MANIFEST = "manifest.json"
EXPERIMENT = "experiment.toml"
SUMMARY_FILE = "summary.csv"
RUN_SUMMARY = "summary.json"
TABLE_FILES = ("jobs.parquet", "energy.parquet", "events.parquet")


FILES = "files.json"
"""Of a run: how long each of its files is, its SHA-256, and the SHA-256 of its metrics."""
METRICS_KEY = "metrics"
Row = Mapping[Any, Any]
"""One row of a result table, by its columns."""
COMPARED_COLUMNS = frozenset(column.name for column in COMPARISON_METRICS)
"""What a row has from other runs, and so may change."""


def files_json(files: Mapping[str, bytes]) -> bytes:
    """Names and hashes that a complete run keeps of its own files."""
    about: dict[str, Any] = {
        name: {"bytes": len(data), "sha256": bytes_digest(data)}
        for name, data in sorted(files.items())
        if name != RUN_SUMMARY
    }
    about[METRICS_KEY] = metrics_digest(json.loads(files[RUN_SUMMARY]))
    return (json.dumps(about, indent=2) + "\n").encode()


def metrics_digest(summary: Mapping[str, Any]) -> str:
    """SHA-256 of a run's summary, without what comes from other runs."""
    return digest({key: value for key, value in summary.items() if key not in COMPARED_COLUMNS})


class StoredResults:
    """A result folder at `path`, as it stands on the disk now."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises
        ------
        FolderError
            If there is none, or it cannot be read.
        """
        file = self.path / MANIFEST
        try:
            manifest = json.loads(file.read_bytes())
        except FileNotFoundError:
            what = "is not a result folder" if self.path.is_dir() else "no such folder"
            raise FolderError(Problem(str(self.path), "", f"{what}: there is no {MANIFEST}")) from None
        except (OSError, ValueError) as error:
            raise FolderError(Problem(str(file), "", f"cannot be read: {error}")) from None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("runs"), dict):
            raise FolderError(Problem(str(file), "", "is not a manifest of Tafukt"))
        for name, entry in manifest["runs"].items():
            if not is_plain(name) or not isinstance(entry, dict):
                raise FolderError(Problem(str(file), "runs", f"{name!r} is not the name of a run"))
        return manifest

    def run_path(self, run_id: str) -> Path:
        """The folder of a run.

        Raises
        ------
        FolderError
            If the name would lead out of the folder.
        """
        if not is_plain(run_id):
            raise FolderError(Problem(str(self.path), "", f"{run_id!r} is not the name of a run"))
        return self.path / "runs" / run_id

    def run_summary(self, run_id: str) -> dict[str, Any] | None:
        """The summary of a run that is there, complete or failed; `None` where it is missing."""
        summary = self.json(f"runs/{run_id}/{RUN_SUMMARY}")
        return summary if summary is not None and isinstance(summary.get("status"), str) else None

    def is_complete(self, run_id: str) -> bool:
        """Whether a run is there and did not fail."""
        summary = self.run_summary(run_id)
        return summary is not None and summary["status"] == "complete"

    def fault_of(self, run_id: str, verify: bool = False) -> str:
        """Fault in the files of a complete run; empty if there is none.

        Sizes are compared with what the run wrote; with `verify` so are the SHA-256 of every file and the metrics.
        """
        place = self.run_path(run_id)
        kept = self.json(f"runs/{run_id}/{FILES}") or {name: {} for name in TABLE_FILES}
        for name, about in kept.items():
            path = place / name
            if name == METRICS_KEY:
                if verify and about != metrics_digest(self.run_summary(run_id) or {}):
                    return "the numbers in summary.json are not those that the run wrote"
                continue
            if not is_plain(name) or not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if about and size != about.get("bytes"):
                return f"{name} has {size:,} bytes, not {about.get('bytes'):,}"
            if about and verify and bytes_digest(path.read_bytes()) != about.get("sha256"):
                return f"{name} does not hold the bytes that the run wrote"
        return ""

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; `None` where it is missing or unreadable."""
        try:
            value = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None


def is_plain(name: Any) -> bool:
    """Whether a name is that of one thing within a folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
