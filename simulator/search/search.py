"""Large neighbourhood search for the schedule that draws least, with everything known in advance.

From the jobs placed greedily, largest first, the search takes out one job or several that have to do with
one another (of a site and day, of the same hours, large ones, any), puts each back where it costs least, and
keeps the change where it draws less or, while the search is hot, not much more. Seeds and numbers of steps
decide what is found, never the time that it takes. A search goes in chunks: what is known between two of them
is all that it takes to go on from there.

References
----------
.. [1] P. Shaw, CP98, 1998, https://doi.org/10.1007/3-540-49481-2_30 (large neighbourhoods)
.. [2] S. Ropke, D. Pisinger, Transportation Science 40, 2006, https://doi.org/10.1287/trsc.1050.0135 (annealed)
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tafukt.simulator.random_streams import stream
from tafukt.simulator.scenario import Scenario
from tafukt.simulator.search import moves
from tafukt.simulator.search.course import Segments, World
from tafukt.simulator.search.world import no_segments, world_of
from tafukt.simulator.units import Ints
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import in_order

CHUNK = 50_000
"""Steps from one point to go on from to the next."""


TIGHT = 0.5
"""Share of its window from which on a job that runs through is hard to place among others."""


@dataclass(frozen=True)
class SearchSettings:
    """Length of a search, and its temperatures at the beginning and end [kWh]."""

    steps: int = 500_000
    hot_kwh: float = 1.0
    cold_kwh: float = 0.03


@dataclass(frozen=True)
class Stay:
    """A job on a site, on one of its virtual nodes, from `start_s` [s] for so much work at full size [s]."""

    site: int
    slot: int
    start_s: float
    work_s: float


Placements = tuple[tuple[Stay, ...], ...]
"""The stays of every job in order of submission; none for a job that no place was found for."""


@dataclass(frozen=True)
class Found:
    """Progress of a search: steps done, the plan at hand, the best so far, and what that one draws [kWh]."""

    steps: int
    now: Segments
    best: Segments
    least_kwh: float

    def to_bytes(self) -> bytes:
        """All of it, to go on from later."""
        file = io.BytesIO()
        tables = {
            f"{kind}_{name}": array for kind in ("now", "best") for name, array in getattr(self, kind)._asdict().items()
        }
        np.savez_compressed(file, steps=self.steps, least_kwh=self.least_kwh, **tables)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Found:
        """Progress as `to_bytes` wrote it."""
        with np.load(io.BytesIO(data)) as file:
            now, best = (
                Segments(**{name: file[f"{kind}_{name}"] for name in Segments._fields}) for kind in ("now", "best")
            )
            return cls(int(file["steps"]), now, best, float(file["least_kwh"]))


def search(
    scenario: Scenario,
    jobs: Sequence[Job],
    seed: int,
    settings: SearchSettings,
    begun: Found | None = None,
    margins_min: Mapping[int, float] | None = None,
) -> Iterator[Found]:
    """Search in chunks; each time all that is found so far.

    Parameters
    ----------
    scenario : Scenario
    jobs : sequence of Job
    seed : int
        Names the random streams: one for each chunk, so that a search may be resumed.
    settings : SearchSettings
    begun : Found, optional
        An earlier search to go on from.
    margins_min : mapping, optional
        Longer margins before the deadlines of some jobs, by index [min].
    """
    world = world_of(scenario, in_order(jobs), margins_min)
    count = len(world.jobs.gpus)
    found = begun or Found(0, no_segments(count), no_segments(count), float("inf"))
    while found.steps < settings.steps:
        rng = stream(seed, f"search/{found.steps}")
        _rebuild(world, found.now, rng)
        steps = min(CHUNK, settings.steps - found.steps)
        hot, cold = (_heat(settings, found.steps + done) for done in (0, steps))
        best = _copied(found.best)
        least = moves.anneal(world, best, found.least_kwh, steps, hot, cold, rng)
        found = Found(found.steps + steps, _copied(world.plan, count), best, float(least))
        yield found


def _rebuild(world: World, plan: Segments, rng: np.random.Generator) -> None:
    """Make a plan the world's, but for jobs that it ends after their deadline."""
    count = len(world.jobs.gpus)
    for mine, other in zip(world.plan, plan, strict=True):
        mine[:count] = other
    for j in range(count):
        n = world.plan.number[j]
        if n and world.plan.b[j, n - 1] > world.jobs.deadline[j]:
            world.plan.number[j] = 0
    moves.rebuild(world, _order(world), rng)


def _order(world: World) -> Ints:
    """Jobs in the order in which they are first placed: those with little room for their one stay, then by weight."""
    jobs = world.jobs
    window = np.maximum(jobs.deadline - jobs.submit, 1)
    tight = ~jobs.stops & (jobs.work > TIGHT * window)
    return np.argsort(-jobs.weight - np.where(tight, jobs.weight.max(), 0.0), kind="stable")


def _copied(plan: Segments, rows: int | None = None) -> Segments:
    """A copy of a plan's first rows."""
    whole = plan.number, plan.site, plan.a, plan.b, plan.slot
    number, site, a, b, slot = (table[:rows].copy() for table in whole)
    return Segments(number, site, a, b, slot, plan.work[:rows].copy())


def _heat(settings: SearchSettings, steps: int) -> float:
    return float(settings.hot_kwh * (settings.cold_kwh / settings.hot_kwh) ** (steps / settings.steps))


def again(found: Found) -> Found:
    """The best plan of a search as the beginning of another one."""
    return replace(found, steps=0, now=found.best, least_kwh=float("inf"))


def schedule_of(found: Found) -> Placements:
    """The best plan of a search."""
    plan = found.best
    return tuple(
        tuple(
            Stay(int(plan.site[j, i]), int(plan.slot[j, i]), float(plan.a[j, i]) * 60.0, float(plan.work[j, i]) * 60.0)
            for i in range(plan.number[j])
        )
        for j in range(len(plan.number))
    )
