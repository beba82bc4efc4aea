"""Settings of the engine, beside scenario, jobs and policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tafukt.simulator.engine.cluster import Remainder
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.failures import FaultSettings

Respond = Literal["least-loss", "caps-first", "pause-first", "battery-first", "move-first", "none"]
"""What gives way first when the grid asks a site to draw less; see `simulator.engine.grid_requests.respond`."""


@dataclass(frozen=True)
class Settings:
    """Rules and settings of the engine.

    `remainder` says what a gang larger than a node does with a part of a node; `overrun` what happens
    to a job past its estimate; `events` how much is written down; `respond` what gives way first where the grid asks
    for less; `at_limit` whether jobs wait for power under an import limit, or others bend for them; `faults` what
    breaks and how often.
    """

    remainder: Remainder = "share"
    overrun: Literal["extend", "kill"] = "extend"
    events: Literal["all", "changes", "none"] = "all"
    respond: Respond = "least-loss"
    at_limit: Literal["wait", "bend"] = "wait"
    forecast: ForecastSettings = field(default_factory=ForecastSettings)
    faults: FaultSettings = field(default_factory=FaultSettings)
