"""Failures and repairs of nodes, as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.state import State
from tafukt.simulator.failures import node_outages

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent


class NodeFaults:
    """Lets every node fail and be repaired at the times that are drawn for it."""

    def __init__(self, state: State, phases: JobPhases, seed: int) -> None:
        self.state = state
        self.phases = phases
        self.seed = seed

    def begin(self) -> None:
        """Put the first failure of every node among the events."""
        settings = self.state.settings.faults
        for index, site in enumerate(self.state.scenario.sites):
            for node in range(site.nodes):
                self._next(index, node, node_outages(settings, self.seed, site.name, node))

    def _next(self, site: int, node: int, outages: Iterator[tuple[float, float]]) -> None:
        for failed_s, repaired_s in outages:
            value = (site, node, repaired_s, outages)
            self.state.clock.at(failed_s, Kind.FAULT, (site << 16) + node, self._fail, value)
            return

    def _fail(self, event: SimEvent) -> None:
        site, node, repaired_s, _ = event._value
        self.state.clock.at(repaired_s, Kind.FAULT, (site << 16) + node, self._repair, event._value)
        self.fail(site, node)

    def _repair(self, event: SimEvent) -> None:
        site, node, _, outages = event._value
        self.repair(site, node)
        self._next(site, node, outages)

    def fail(self, site: int, node: int) -> None:
        """A node breaks: whoever holds GPUs on it is killed, and it is down until it is repaired."""
        state = self.state
        for job in [job for job in state.running_at[site].values() if any(n == node for n, _ in job.allocation)]:
            self.phases.kill(job, f"failure of node {node}", fault=True)
        state.clusters[site].fail(node)
        state.power_changed(site)
        state.policy.freed(None, site)  # what it has planned on this node no longer holds
        if state.log.changes:
            state.log.note(state.clock.now, "outage", -1, site, "node failure", {"node": node})

    def repair(self, site: int, node: int) -> None:
        """A node is back, empty."""
        state = self.state
        state.clusters[site].repair(node)
        if state.log.changes:
            state.log.note(state.clock.now, "repair", -1, site, "node repaired", {"node": node})
        state.more_room(site)
