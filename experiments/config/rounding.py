"""Continuous inputs on grids: what enters the decision maker does not hang on the last bits of a library.

Another version of numpy or pvlib gives another last bit, some 1e-16 of a value, and a decision at a tie then falls
the other way. Each input is rounded once, here, to a grid that is far coarser than such differences and far finer
than anything that is known of it. Steps are powers of two, so that sums and differences on a grid are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from tafukt.simulator.units import TICKS_PER_S, on_grid
from tafukt.sites.profile import StepProfile
from tafukt.sites.supply import SiteSupply
from tafukt.workloads.job import Job, Truth
from tafukt.workloads.units import SHARE_STEP

STEPS = {
    "pv_w": 2.0**-10,  # a milliwatt: at 100 kW a change by 1e-14 meets an edge once in a million values
    "other_w": 2.0**-10,
    "overhead": 2.0**-30,
    "temp_air_c": 2.0**-20,
    "price_mad_per_kwh": 2.0**-30,
    "export_price_mad_per_kwh": 2.0**-30,
    "carbon_g_per_kwh": 2.0**-20,
}
"""Grid of each of a site's profiles, in its unit."""


def rounded(profile: StepProfile, step: float) -> StepProfile:
    """A profile with its values on a grid."""
    return StepProfile(np.asarray(np.round(profile.values / step) * step), profile.step_s, profile.start_s)


def rounded_supplies(given: Mapping[str, SiteSupply]) -> dict[str, SiteSupply]:
    """The supply of each site with every profile on its grid; a profile that sites share they share still."""
    made: dict[tuple[str, int], StepProfile] = {}

    def one(name: str, profile: StepProfile) -> StepProfile:
        key = (name, id(profile))
        if key not in made:
            made[key] = rounded(profile, STEPS[name])
        return made[key]

    def whole(found: SiteSupply) -> SiteSupply:
        profiles: dict[str, Any] = {name: one(name, getattr(found, name)) for name in STEPS}
        return replace(found, **profiles)

    return {site: whole(found) for site, found in given.items()}


def rounded_job(job: Job) -> Job:
    """A job whose times, and the runtime that its work takes at the asked size, are whole ticks of the clock."""
    ask, truth = job.ask, job.truth
    times = (on_grid(ask.submit_s), _ticks(ask.estimate_s), on_grid(ask.slack_s) if ask.slack_s < inf else inf)
    work = (ask.gpus * _ticks(truth.work_gpu_s / ask.gpus), _share(truth.ends_at))
    if times == (ask.submit_s, ask.estimate_s, ask.slack_s) and work == (truth.work_gpu_s, truth.ends_at):
        return job
    asked = replace(ask, submit_s=times[0], estimate_s=times[1], slack_s=times[2])
    return Job(asked, Truth(work[0], truth.ending, work[1]))


def _ticks(time_s: float) -> float:
    """A duration on the clock's grid, never nothing [s]."""
    return max(1.0 / TICKS_PER_S, on_grid(time_s))


def _share(share: float) -> float:
    return share if share == 1.0 else max(SHARE_STEP, round(share / SHARE_STEP) * SHARE_STEP)
