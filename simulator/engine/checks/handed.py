"""Prints of what policies are handed, so that a policy which writes into it is found out.

Frozen dataclasses keep honest code from it; these prints find the rest, before another policy is handed the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tafukt.simulator.errors import PolicyWrote
from tafukt.simulator.scenario import Scenario
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Job


@dataclass(frozen=True)
class Prints:
    """Jobs, one print each, and the scenario as it was."""

    jobs: tuple[int, ...]
    scenario: Any


def prints_of(jobs: Sequence[Job], scenario: Scenario) -> Prints:
    """Hashes of jobs and scenario as they are now."""
    return Prints(tuple(map(hash, jobs)), _printed(scenario))


def check_untouched(before: Prints, jobs: Sequence[Job], scenario: Scenario, policy: str) -> None:
    """Whether jobs and scenario are as they were.

    Raises
    ------
    PolicyWrote
        If they are not; the message names the policy and the first job, or the scenario.
    """
    now = prints_of(jobs, scenario)
    if now == before:
        return
    changed = [job.ask.job_id for job, old, new in zip(jobs, before.jobs, now.jobs, strict=True) if old != new]
    what = f"{len(changed)} of the jobs, {changed[0]!r} first" if changed else "the scenario"
    raise PolicyWrote(f"policy {policy!r} has written into {what}; what a policy is handed is there to be read")


def _printed(value: Any) -> Any:
    """A value as plain tuples, profiles by their checksums."""
    if isinstance(value, StepProfile):
        return zlib.crc32(value.values.data), len(value.values), value.step_s, value.start_s
    if isinstance(value, Mapping):
        return tuple((key, _printed(inner)) for key, inner in sorted(value.items()))
    if isinstance(value, tuple | list):
        return tuple(map(_printed, value))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(_printed(getattr(value, field.name)) for field in fields(value) if field.compare)
    return value
