"""When supply falls short: outages and import limits, and who gives way first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.clock import Kind, on_grid
from simulator.ledger import Supply

if TYPE_CHECKING:
    from simpy.events import Event as SimEvent

    from simulator.engine import Engine


class Guard:
    """Watches every site whose grid is limited or fails."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def begin(self) -> None:
        """Put the outages among the events."""
        for index, site in enumerate(self.engine.scenario.sites):
            for start, end in site.grid.outages:
                out = Supply.ISLAND if site.islandable else Supply.NONE
                for time, supply in ((start, out), (end, Supply.GRID)):
                    self.engine.clock.at(on_grid(time), Kind.FAULT, index, self._supply, (index, supply))

    def _supply(self, event: SimEvent) -> None:
        site, supply = event._value
        self.engine.ledgers[site].set_supply(self.engine.clock.now, supply)

    def load_changed(self, site: int) -> None:
        """The load of a site has changed."""

    def accepts(self, site: int) -> bool:
        """Whether a site takes new jobs now."""
        return self.engine.ledgers[site].supply is Supply.GRID
