"""Failures of nodes and of software: how often they come, and when, drawn in absolute time.

The engine lets them happen and the bound counts on them: both read the same draws here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from tafukt.simulator.random_streams import stream
from tafukt.simulator.units import DAY_S, on_grid


@dataclass(frozen=True)
class FaultSettings:
    """Rates of failures, and what follows one.

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

FAULT_PRESETS: dict[str, FaultSettings] = {
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


def node_outages(settings: FaultSettings, seed: int, site: str, node: int) -> Iterator[tuple[float, float]]:
    """Times at which a node fails and is repaired, one after the other, without end [s].

    Nothing where nodes never fail. A draw depends on the seed and on the names of site and node alone.
    """
    if settings.node_mtbf_s == inf:
        return
    draws = _exponential(seed, f"faults/{site}/{node}")
    repaired_s = 0.0
    while True:
        failed_s = on_grid(repaired_s + next(draws) * settings.node_mtbf_s)
        repaired_s = on_grid(failed_s + next(draws) * settings.repair_s)
        yield failed_s, repaired_s


def software_faults(settings: FaultSettings, seed: int, job_id: str) -> Iterator[float]:
    """Running time from one software fault of a job to its next, without end [s]."""
    if settings.hazard_per_s <= 0:
        while True:
            yield inf
    for draw in _exponential(seed, f"faults/job/{job_id}"):
        yield draw / settings.hazard_per_s


def _exponential(seed: int, name: str) -> Iterator[float]:
    generator = stream(seed, name)
    while True:
        yield float(generator.exponential())
