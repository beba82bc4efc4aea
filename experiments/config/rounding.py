"""Continuous inputs on grids: what enters the decision maker does not hang on the last bits of a library.

Another version of numpy or pvlib gives another last bit, some 1e-16 of a value, and a decision at a tie then falls
the other way. Each input is rounded once, here, to a grid that is far coarser than such differences and far finer
than anything that is known of it. Steps are powers of two, so that sums and differences on a grid are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tafukt.simulator.units import TICKS_PER_S, Floats
from tafukt.sites.profile import StepProfile
from tafukt.sites.supply import SiteSupply
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import JobTable
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


OWN = ("pv_w", "overhead", "temp_air_c")
"""Profiles that no two sites share."""


def rounded_supplies(given: Iterable[tuple[str, SiteSupply]]) -> Iterator[tuple[str, SiteSupply]]:
    """The supply of each site with every profile on its grid; a profile that sites share they share still."""
    made: dict[tuple[str, int], tuple[StepProfile, StepProfile]] = {}

    def one(name: str, profile: StepProfile) -> StepProfile:
        if name in OWN:
            return rounded(profile, STEPS[name])
        key = (name, id(profile))
        if key not in made:  # the profile itself is kept beside it, or its id could come again
            made[key] = profile, rounded(profile, STEPS[name])
        return made[key][1]

    for site, found in given:
        profiles: dict[str, Any] = {name: one(name, getattr(found, name)) for name in STEPS}
        yield site, replace(found, **profiles)
        del found, profiles  # before the next one is made


def rounded_jobs(jobs: Sequence[Job]) -> JobTable:
    """Jobs whose times, and the runtimes that their work takes at the asked size, are whole ticks of the clock."""
    table = JobTable.of(jobs)
    shares = np.maximum(np.rint(table.ends_at / SHARE_STEP) * SHARE_STEP, SHARE_STEP)
    return replace(
        table,
        submit_s=_on_grid(table.submit_s),
        estimate_s=_ticks(table.estimate_s),
        slack_s=_on_grid(table.slack_s),  # what is infinite stays so
        work_gpu_s=table.gpus * _ticks(table.work_gpu_s / table.gpus),
        ends_at=np.where(table.ends_at == 1.0, 1.0, shares),
    )


def _on_grid(time_s: Floats) -> Floats:
    return np.asarray(np.rint(time_s * TICKS_PER_S) / TICKS_PER_S)


def _ticks(time_s: Floats) -> Floats:
    """Durations on the clock's grid, never nothing [s]."""
    return np.maximum(1.0 / TICKS_PER_S, _on_grid(time_s))
