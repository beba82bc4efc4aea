"""The shared state of one simulation: plain data that all parts of the engine hold, and two callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tafukt.simulator.energy.ledger import SiteLedger
from tafukt.simulator.energy.ramp import ledger_of
from tafukt.simulator.engine.cluster import Cluster
from tafukt.simulator.engine.event_log import Journal
from tafukt.simulator.engine.event_queue import Clock
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.scenario import GridEvent, Scenario
from tafukt.workloads.job import Job


class Listener(Protocol):
    """The part of a policy that is told what happens."""

    name: str

    def waiting(self, job: JobState) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free at a site, by a job's leaving or otherwise."""


@dataclass(eq=False, slots=True)
class State:
    """Everything that stands and runs now.

    Attributes
    ----------
    power_changed : callable
        To be called with the index of a site where something has changed that draws power or takes room.
    ask_for_round : callable
        To be called where a scheduling round should follow when all else at this instant has happened.
    clusters, ledgers, room : list
        By site: its nodes, its books, and the largest gang that it has room for now.
    waiting, running, moving : dict
        The jobs that have not ended, by index: each is in exactly one of the three.
    running_at : list of dict
        The running ones again, by site.
    announced : list of list
        By site: requests of the grid whose notice has been given and which are not over; one that has begun has its
        power as `to_w`.
    requests_told : int
        How often these have changed.
    longest_request_s : float
        The longest request whose notice has been given so far [s].
    """

    scenario: Scenario
    jobs: Sequence[Job]
    settings: Settings
    policy: Listener
    power_changed: Callable[[int], None]
    ask_for_round: Callable[[], None]
    new_cluster: Callable[..., Cluster] = Cluster
    clock: Clock = field(default_factory=Clock)
    clusters: list[Cluster] = field(init=False)
    ledgers: list[SiteLedger] = field(init=False)
    room: list[int] = field(init=False)
    log: Journal = field(init=False)
    waiting: dict[int, JobState] = field(default_factory=dict)
    running: dict[int, JobState] = field(default_factory=dict)
    running_at: list[dict[int, JobState]] = field(init=False)
    moving: dict[int, JobState] = field(default_factory=dict)
    announced: list[list[GridEvent]] = field(init=False)
    requests_told: int = 0
    longest_request_s: float = 0.0

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.clusters = [self.new_cluster(site.node, site.nodes, self.settings.remainder) for site in scenario.sites]
        self.ledgers = [ledger_of(site, scenario.end_s) for site in scenario.sites]
        self.room = [0] * len(scenario.sites)
        self.log = Journal(self.jobs, self.settings.events)
        self.running_at = [{} for _ in scenario.sites]
        self.announced = [[] for _ in scenario.sites]

    def more_room(self, site: int) -> None:
        """Tell the books, the policy and the next round that a site can take more than before."""
        self.power_changed(site)
        self.policy.freed(None, site)
        self.ask_for_round()
