"""The best schedule that is known: everything known in advance, and still simulated like any other.

The bound says what no schedule can draw less than; this says what one that knows the future does draw. The
truth lies between the two. The truth is given to it here, by whoever asks for the schedule: a policy that is
run in the ordinary way has no means to get at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.planner.planner import Planner, PlannerSettings
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.units import HOUR_S, Floats
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import in_order, numbers_of

# How often the plans of all jobs that are yet to come are improved in turn, before the first one comes.
SWEEPS = 3


@dataclass(frozen=True)
class Known:
    """Knowledge that a planner is given beside what it sees: true durations, and who will come."""

    jobs: Sequence[Job]
    durations: bool = True
    arrivals: bool = True


class Clairvoyant(Planner):
    """The rolling planner that knows, as far as `known` says, how long jobs will run and who will come."""

    def __init__(self, name: str, settings: PlannerSettings, known: Known) -> None:
        super().__init__(name, settings)
        self._known = replace(known, jobs=in_order(known.jobs))
        self._due_gpu_s = numbers_of(self._known.jobs, "due_gpu_s").tolist()

    def begin(self, view: View) -> None:
        """Plan everybody who will come, several times over."""
        super().begin(view)
        if not self._known.arrivals:
            return
        self._book.begin_hour()
        known = [JobState(i, job.ask, view.allowed(job.ask)) for i, job in enumerate(self._known.jobs)]
        coming = [job for job in known if job.sites]
        coming.sort(key=lambda job: (-self._energy_kwh(job), job.index))
        for _ in range(SWEEPS):
            for job in coming:
                self._plan(job)

    def left_h(self, job: JobState, speed: float) -> float:
        """Its true duration, where that is known."""
        if not self._known.durations:
            return super().left_h(job, speed)
        due = self._due_gpu_s[job.index] - job.progress_gpu_s(self._view.now_s)
        return float(max(due, 0.0) / job.ask.gpus / speed / HOUR_S)

    def chances(self, job: JobState, hours: Floats, speed: float) -> Floats:
        """Certainty, where its duration is known."""
        return np.ones(len(hours)) if self._known.durations else super().chances(job, hours, speed)


def best_known(scenario: Scenario, jobs: Sequence[Job], settings: Settings | None = None, seed: int = 0) -> Record:
    """A schedule made with everything known in advance, carried out in the simulator.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
    settings : Settings, optional
        The engine's; the forecast is replaced by a perfect one.
    seed : int
        Names the random streams of the faults.
    """
    settings = settings or Settings()
    hours = ceil(scenario.end_s / HOUR_S)
    perfect = replace(settings, forecast=ForecastSettings(sun="perfect", horizon_h=hours))
    planner = PlannerSettings(horizon_h=hours, scarcity=0.0, margin_s=600.0, sites=4)
    policy = Clairvoyant("best-known", planner, Known(tuple(jobs)))
    return simulate(scenario, jobs, policy, seed=seed, settings=perfect, check_handed=False)
