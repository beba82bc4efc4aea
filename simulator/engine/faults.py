"""Failures and repairs of nodes as events, and nodes that are withdrawn as planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tafukt.simulator.engine.event_queue import Kind
from tafukt.simulator.engine.job_phases import JobPhases
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.state import State
from tafukt.simulator.failures import node_outages
from tafukt.simulator.units import on_grid

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent


class NodeFaults:
    """Lets every node fail and be repaired at the times that are drawn for it."""

    def __init__(self, state: State, phases: JobPhases, seed: int) -> None:
        self.state = state
        self.phases = phases
        self.seed = seed
        self._broken: set[tuple[int, int]] = set()
        self._withdrawn: set[tuple[int, int]] = set()

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
        self._broken.add((site, node))
        if (site, node) in self._withdrawn:  # it is down already, and nobody is the worse for it
            return
        for job in self.on_nodes(site, 1 << node):
            self.phases.kill(job, f"failure of node {node}", fault=True)
        state.clusters[site].fail(node)
        state.power_changed(site)
        state.policy.freed(None, site)  # what it has planned on this node no longer holds
        if state.log.changes:
            state.log.note(state.clock.now, "outage", -1, site, "node failure", {"node": node})

    def repair(self, site: int, node: int) -> None:
        """A node is back, empty."""
        state = self.state
        self._broken.discard((site, node))
        if (site, node) in self._withdrawn:
            return
        state.clusters[site].repair(node)
        if state.log.changes:
            state.log.note(state.clock.now, "repair", -1, site, "node repaired", {"node": node})
        state.more_room(site)

    # --- nodes that are withdrawn as planned ---------------------------------------------------------

    def on_nodes(self, site: int, nodes: int) -> list[JobState]:
        """The jobs that hold GPUs on any of some nodes, given as a set of bits."""
        jobs = self.state.running_at[site].values()
        return [job for job in jobs if any(nodes >> node & 1 for node, _ in job.allocation)]

    def withdraw(self, site: int, nodes: Sequence[int]) -> None:
        """Take nodes out of service; whoever still holds GPUs on them is stopped as by a failure."""
        state, bits = self.state, sum(1 << node for node in nodes)
        for job in self.on_nodes(site, bits):
            self.phases.kill(job, "its nodes are withdrawn")
        for node in nodes:
            self._withdrawn.add((site, node))
            state.clusters[site].fail(node)
        state.power_changed(site)
        state.policy.freed(None, site)
        state.ask_for_round()
        if state.log.changes:
            state.log.note(state.clock.now, "outage", -1, site, "nodes withdrawn as planned", {"nodes": len(nodes)})

    def give_back(self, site: int, nodes: Sequence[int]) -> None:
        """Nodes are in service again, empty, but for those that are broken."""
        state = self.state
        for node in nodes:
            self._withdrawn.discard((site, node))
            if (site, node) not in self._broken:
                state.clusters[site].repair(node)
        if state.log.changes:
            state.log.note(state.clock.now, "repair", -1, site, "nodes back in service", {"nodes": len(nodes)})
        state.more_room(site)


# --- Nodes in service over time, as planned: who has to leave saves itself beforehand, and is stopped else
# Nodes leave and come back at the times of `Site.nodes_online`, the highest numbers first, and draw nothing in between.
# A running job that may be interrupted is checkpointed so that this ends when its nodes go; any other is stopped with
# them, as by a failure. Whoever may not be interrupted is put on nodes that stay for as long as its user's estimate,
# where there are any.


class NodeCapacity:
    """Withdraws nodes and gives them back at the planned times."""

    def __init__(self, state: State, phases: JobPhases, faults: NodeFaults) -> None:
        self.state = state
        self.phases = phases
        self.faults = faults

    def begin(self) -> None:
        """Put every change among the events, and before it the moment at which the first may have to save itself."""
        clock, jobs = self.state.clock, self.state.jobs
        lead_s = max((job.ask.checkpoint.write_s for job in jobs if job.ask.interruptible), default=0.0)
        for site, spec in enumerate(self.state.scenario.sites):
            before = spec.nodes
            for at_s, count in spec.nodes_online:
                if count < before and lead_s > 0.0 and at_s > 0.0:
                    early_s = max(on_grid(at_s - lead_s), 0.0)
                    clock.at(early_s, Kind.FAULT, site << 16, self._warn, (site, count, before, at_s))
                clock.at(at_s, Kind.FAULT, site << 16, self._change, (site, count, before))
                before = count

    def leaving(self, site: int, until_s: float) -> int:
        """The nodes that are withdrawn by `until_s` [s], as a set of bits."""
        spec = self.state.scenario.sites[site]
        least = spec.least_nodes(self.state.clock.now, until_s)
        return ((1 << spec.nodes) - 1) & ~((1 << least) - 1)

    def _warn(self, event: SimEvent) -> None:
        """Let everybody who is on nodes that go begin to save itself no later than it must."""
        site, count, before, time_s = event._value
        for job in self._who_leaves(site, count, before):
            at_s = max(on_grid(time_s - job.write_s), self.state.clock.now)
            self.state.clock.at(at_s, Kind.FAULT, site << 16, self._save, (job, site, count, before))

    def _who_leaves(self, site: int, count: int, before: int) -> list[JobState]:
        bits = ((1 << before) - 1) & ~((1 << count) - 1)
        return [job for job in self.faults.on_nodes(site, bits) if job.running and job.ask.interruptible]

    def _save(self, event: SimEvent) -> None:
        job, site, count, before = event._value
        if job in self._who_leaves(site, count, before):  # else it has ended or gone since
            self.phases.pause(job, "its nodes will be withdrawn", {"write_s": job.write_s})

    def _change(self, event: SimEvent) -> None:
        site, count, before = event._value
        if count < before:
            self.faults.withdraw(site, range(count, before))
        else:
            self.faults.give_back(site, range(before, count))
