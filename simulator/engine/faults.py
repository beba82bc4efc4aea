"""What breaks: nodes, in absolute time, and the software of running jobs, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from tafukt.simulator.engine.event_queue import Kind, on_grid
from tafukt.simulator.random_streams import stream

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent
    from tafukt.simulator.engine.engine import Engine

DAY_S = 86_400.0


@dataclass(frozen=True)
class FaultSettings:
    """How often things break, and what happens then.

    `node_mtbf_s` is a node's mean time between failures, up or idle or asleep [s], `repair_s` its mean time
    to repair [s]; both are exponential. `hazard_per_s` is the rate at which a running job is killed by
    faults that no node is to blame for, whatever its size [1/s]. A job that faults have killed more than
    `retries` times is given up as failed; `None` for never.
    """

    node_mtbf_s: float = inf
    repair_s: float = DAY_S
    hazard_per_s: float = 0.0
    retries: int | None = None
    source: str = ""
    confidence: str = ""

    def rate_per_s(self, nodes: int) -> float:
        """Rate of everything that may kill a job on so many nodes [1/s]."""
        return self.hazard_per_s + nodes / self.node_mtbf_s


_KOKOLIS = "Kokolis et al. 2025, HPCA, https://doi.org/10.1109/HPCA61900.2025.00096"
# A job on one node (8 GPUs) lived 47.7 days on average; what its node's own failures leave is the software's.
_SOFTWARE_PER_DAY = 1.0 / 47.7 - 6.50e-3

PRESETS: dict[str, FaultSettings] = {
    "none": FaultSettings(source="a choice", confidence="exact"),
    "rsc-1": FaultSettings(
        node_mtbf_s=1000.0 / 6.50 * DAY_S,
        hazard_per_s=_SOFTWARE_PER_DAY / DAY_S,
        source=f"{_KOKOLIS}: 6.50 failures per 1000 node-days; mean life of 8-GPU jobs 47.7 days",
        confidence="node rate high; hazard derived from two of its numbers; repair of a day is a choice",
    ),
    "rsc-2": FaultSettings(
        node_mtbf_s=1000.0 / 2.34 * DAY_S,
        hazard_per_s=_SOFTWARE_PER_DAY / DAY_S,
        source=f"{_KOKOLIS}: 2.34 failures per 1000 node-days; hazard as in rsc-1",
        confidence="node rate high; hazard borrowed from rsc-1; repair of a day is a choice",
    ),
    "llama-3": FaultSettings(
        node_mtbf_s=54.0 * 2048.0 / (419.0 - 54.0) * DAY_S,
        hazard_per_s=54.0 / 54.0 / DAY_S,
        source="Llama Team 2024, The Llama 3 Herd of Models, https://doi.org/10.48550/arXiv.2407.21783, table 5:"
        " 419 unexpected interruptions in 54 days on 2048 nodes of 8 H100, 54 of them by software",
        confidence="counts high; one job of 16,384 GPUs, so its software hazard is high for small jobs;"
        " repair of a day is a choice",
    ),
}


class Faults:
    """Draws the failures and repairs of every node, and the software faults of every job."""

    def __init__(self, engine: Engine, settings: FaultSettings, seed: int) -> None:
        self.engine = engine
        self.settings = settings
        self.seed = seed
        self._software: dict[int, Iterator[float]] = {}

    def begin(self) -> None:
        """Put the first failure of every node among the events."""
        if self.settings.node_mtbf_s == inf:
            return
        for index, site in enumerate(self.engine.scenario.sites):
            for node in range(site.nodes):
                draws = _exponential(self.seed, f"faults/{site.name}/{node}")
                self._next(index, node, next(draws) * self.settings.node_mtbf_s, draws)

    def _next(self, site: int, node: int, after_s: float, draws: Iterator[float]) -> None:
        time = on_grid(self.engine.clock.now + after_s)
        self.engine.clock.at(time, Kind.FAULT, (site << 16) + node, self._fail, (site, node, draws))

    def _fail(self, event: SimEvent) -> None:
        site, node, draws = event._value
        repair_s = next(draws) * self.settings.repair_s
        at = on_grid(self.engine.clock.now + repair_s)
        self.engine.clock.at(at, Kind.FAULT, (site << 16) + node, self._repair, event._value)
        self.engine.node_fails(site, node)

    def _repair(self, event: SimEvent) -> None:
        site, node, draws = event._value
        self.engine.node_repaired(site, node)
        self._next(site, node, next(draws) * self.settings.node_mtbf_s, draws)

    def until_next_s(self, job: int) -> float:
        """Running time from one software fault of a job to its next [s]."""
        if self.settings.hazard_per_s <= 0:
            return inf
        if job not in self._software:
            name = self.engine.jobs[job].ask.job_id
            self._software[job] = _exponential(self.seed, f"faults/job/{name}")
        return next(self._software[job]) / self.settings.hazard_per_s


def _exponential(seed: int, name: str) -> Iterator[float]:
    generator = stream(seed, name)
    while True:
        yield float(generator.exponential())
