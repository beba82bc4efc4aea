"""When supply falls short: outages and import limits, and who gives way first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.clock import Kind, on_grid

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
                for time, limit in ((start, 0.0), (end, site.grid.import_limit_w)):
                    self.engine.clock.at(on_grid(time), Kind.FAULT, index, self._limit, (index, limit))

    def _limit(self, event: SimEvent) -> None:
        site, limit = event._value
        self.engine.ledgers[site].set_limit(self.engine.clock.now, limit)

    def load_changed(self, site: int) -> None:
        """The load of a site has changed."""

    def accepts(self, site: int) -> bool:
        """Whether a site takes new jobs now."""
        return self.engine.ledgers[site].limit_w > 0
