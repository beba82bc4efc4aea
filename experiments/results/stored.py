"""What stands in a result folder: its manifest, its runs and their summaries, read and never written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import FolderError, Problem

MANIFEST = "manifest.json"
EXPERIMENT = "experiment.toml"
SUMMARY = "summary.csv"
TABLE_FILES = ("jobs.parquet", "energy.parquet", "events.parquet")


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
            what = "is no result folder" if self.path.is_dir() else "no such folder"
            raise FolderError(Problem(str(self.path), "", f"{what}: there is no {MANIFEST}")) from None
        except (OSError, ValueError) as error:
            raise FolderError(Problem(str(file), "", f"cannot be read: {error}")) from None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("runs"), dict):
            raise FolderError(Problem(str(file), "", "is not a manifest of Tafukt"))
        for name, entry in manifest["runs"].items():
            if not is_plain(name) or not isinstance(entry, dict):
                raise FolderError(Problem(str(file), "runs", f"{name!r} is no name of a run"))
        return manifest

    def run_path(self, run_id: str) -> Path:
        """The folder of a run.

        Raises
        ------
        FolderError
            If the name would lead out of the folder.
        """
        if not is_plain(run_id):
            raise FolderError(Problem(str(self.path), "", f"{run_id!r} is no name of a run"))
        return self.path / "runs" / run_id

    def run_summary(self, run_id: str) -> dict[str, Any] | None:
        """The summary of a run that is there, complete or failed; `None` where it is missing."""
        summary = self.json(f"runs/{run_id}/summary.json")
        return summary if summary is not None and isinstance(summary.get("status"), str) else None

    def is_complete(self, run_id: str) -> bool:
        """Whether a run is there and did not fail."""
        summary = self.run_summary(run_id)
        return summary is not None and summary["status"] == "complete"

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
