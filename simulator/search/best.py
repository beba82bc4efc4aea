"""The best schedule that is known of a scenario: searched for, carried out, and mended where jobs are late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.record import Outcomes, Record
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.search.compiled import AVAILABLE
from tafukt.simulator.search.follow import Follow
from tafukt.simulator.search.search import Found, SearchSettings, again, schedule_of, search
from tafukt.simulator.search.world import MARGIN_MIN, obstacle
from tafukt.simulator.units import Floats
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import numbers_of

MENDED = 4
"""How often late jobs are given longer margins, and the search goes on from the best plan."""
MEND_SHARE = 0.05
"""Steps of each time, as a share of the search's own."""
MEND_HOT_KWH = 0.2
ON_TIME_S = 1.0
"""Lateness that is none: a deadline met to the second."""
MISSING = "needs the extra [search]: pip install 'tafukt[search]'"


class Carried:
    """A schedule as it was carried out: what it drew [J], and how late each job ended [s], 0 for one in time."""

    def __init__(self, record: Record) -> None:
        self.record = record
        ends_s = Outcomes.of(record.outcomes).column("end_s")
        deadlines_s = numbers_of(record.jobs, "deadline_s")
        due = np.isfinite(deadlines_s)
        self.late_s: Floats = np.zeros(len(ends_s))
        self.late_s[due] = np.maximum(ends_s[due] - deadlines_s[due], 0.0)
        self.late_s[np.isnan(ends_s)] = np.inf
        self.draw_j = record.draw_j

    @property
    def late(self) -> int:
        """Jobs that were late or not done."""
        return int(np.sum(self.late_s > ON_TIME_S))


def why_not(scenario: Scenario, jobs: Sequence[Job], settings: Settings) -> str:
    """Reason for which no schedule can be searched for; empty if one can."""
    found = obstacle(scenario, jobs, settings)
    if found:
        return f"the search cannot be trusted where {found}"
    return "" if AVAILABLE else MISSING


def carried_out(
    scenario: Scenario, jobs: Sequence[Job], settings: Settings, seed: int, found: Found, how: SearchSettings
) -> Record:
    """Simulate what a search has found; late jobs get longer margins and the search goes on, up to `MENDED` times.

    Of all that was carried out, the schedule with the fewest late jobs, and among those the one that draws least.
    """
    margins: dict[int, float] = {}
    steps = max(int(how.steps * MEND_SHARE), 1)
    best = now = _carried(scenario, jobs, settings, seed, found)
    for turn in range(MENDED):
        if not now.late:
            break
        for index in np.flatnonzero(now.late_s > ON_TIME_S):
            late_min = min(float(now.late_s[index]), 3600.0) / 60.0
            margins[int(index)] = margins.get(int(index), MARGIN_MIN) + late_min + 1.0
        mend = SearchSettings(steps, MEND_HOT_KWH, how.cold_kwh)
        *_, found = search(scenario, jobs, seed + turn + 1, mend, again(found), margins)
        now = _carried(scenario, jobs, settings, seed, found)
        if (now.late, now.draw_j) < (best.late, best.draw_j):
            best = now
    return best.record


def better(
    planned: Record,
    scenario: Scenario,
    jobs: Sequence[Job],
    settings: Settings,
    seed: int,
    found: Found,
    how: SearchSettings,
) -> tuple[Record, str]:
    """The better of a planned schedule and of what a search has found, and how it came about.

    A schedule with more late jobs than `fifo` has is not yet a best known one: of two such, the more punctual.
    """
    accepted = Carried(simulate(scenario, jobs, policy("fifo"), seed=seed, settings=settings, check_handed=False)).late
    searched = Carried(carried_out(scenario, jobs, settings, seed, found, how))
    other = Carried(planned)
    lates = [max(one.late - accepted, 0) for one in (searched, other)]
    if (lates[0], searched.draw_j) <= (lates[1], other.draw_j):
        return searched.record, f"searched in {how.steps:,} steps"
    return planned, "planned knowing all; what was searched is no better"


def _carried(scenario: Scenario, jobs: Sequence[Job], settings: Settings, seed: int, found: Found) -> Carried:
    follow = Follow("best-known", schedule_of(found), [site.name for site in scenario.sites])
    return Carried(simulate(scenario, jobs, follow, seed=seed, settings=settings, check_handed=False))
