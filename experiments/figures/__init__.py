"""Figures made from result folders.

Each is a function `(data, ax=None, *, title=None, legend=True) -> Axes`; those that compare policies take `policies`,
the ones to highlight, too. They are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tafukt.experiments.figures.catalogue import FigureWarning, draw, plan, save_all
    from tafukt.experiments.figures.compare import matrix_heatmap, matrix_lines, pareto, policies, size_front
    from tafukt.experiments.figures.energy import (
        battery_state,
        energy_by_site,
        grid_heatmap,
        network_balance,
        power_balance,
        sun_and_load,
    )
    from tafukt.experiments.figures.grid import grid_request
    from tafukt.experiments.figures.jobs import attribution, gantt, waiting_cdf, waiting_rows
    from tafukt.experiments.figures.map import site_map
    from tafukt.experiments.figures.meters import meter
    from tafukt.experiments.figures.style import paper, save

_WHERE = {
    "catalogue": ("FigureWarning", "draw", "plan", "save_all"),
    "compare": ("matrix_heatmap", "matrix_lines", "pareto", "policies", "size_front"),
    "energy": (
        "battery_state", "energy_by_site", "grid_heatmap", "network_balance", "power_balance", "sun_and_load",
    ),
    "grid": ("grid_request",),
    "jobs": ("attribution", "gantt", "waiting_cdf", "waiting_rows"),
    "map": ("site_map",),
    "meters": ("meter",),
    "style": ("paper", "save"),
}  # fmt: skip
_MODULES = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "FigureWarning",
    "attribution",
    "battery_state",
    "draw",
    "energy_by_site",
    "gantt",
    "grid_heatmap",
    "grid_request",
    "matrix_heatmap",
    "matrix_lines",
    "meter",
    "network_balance",
    "paper",
    "pareto",
    "plan",
    "policies",
    "power_balance",
    "save",
    "save_all",
    "site_map",
    "size_front",
    "sun_and_load",
    "waiting_cdf",
    "waiting_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
