"""Completion of what a user types on the command line: names of experiments, sites, workloads and policies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def experiment_names(typed: str) -> list[str]:
    """Bundled experiments, and files and folders that may be one."""
    from tafukt.experiments.config.toml import bundled

    return [*_those(typed, bundled()), *_paths(typed, ".toml")]


def site_names(typed: str) -> list[str]:
    """Sites of the catalogue."""
    from tafukt.sites.site import catalogue

    return _those(typed, catalogue())


def workload_names(typed: str) -> list[str]:
    """Mixes, formats of traces, and files."""
    from tafukt.workloads.bundled import bundled

    return [*_those(typed, (*bundled("mixes"), "swf", "sacct", *bundled("traces"))), *_paths(typed, "")]


def public_trace_names(typed: str) -> list[str]:
    """Public traces that can be fetched."""
    from tafukt.workloads.bundled import bundled

    return _those(typed, bundled("public"))


def policy_names(typed: str) -> list[str]:
    """Presets."""
    from tafukt.simulator.policies.presets import PRESETS

    return _those(typed, PRESETS)


def _those(typed: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(typed)]


def _paths(typed: str, ending: str) -> list[str]:
    """Files with this ending, and folders on the way to others."""
    head, found = typed[: typed.rfind("/") + 1], Path(typed[: typed.rfind("/") + 1] or ".")
    try:
        names = [path.name + "/" * path.is_dir() for path in sorted(found.iterdir()) if path.name[0] != "."]
    except OSError:
        return []
    return _those(typed, [head + name for name in names if name.endswith((ending, "/"))])
