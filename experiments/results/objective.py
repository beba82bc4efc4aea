"""The objective that schedules are compared by: its metrics and its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Name = Literal["draw", "emissions", "cost"]


@dataclass(frozen=True)
class Objective:
    """One thing to have little of.

    Attributes
    ----------
    name : {'draw', 'emissions', 'cost'}
    metric : str
        Metric of a run that it is.
    cut : str
        Metric that compares it with the baseline's.
    unit : str
    per_unit : float
        The simulator's unit (J, g, MAD) in one of it.
    fewer : str
        Less of it, in a sentence.
    least : str
        What the least of it is called, in a sentence.
    bounded, known : str
        What the bound and the best known value say of it, for a legend.
    """

    name: Name
    metric: str
    cut: str
    unit: str
    per_unit: float
    fewer: str
    least: str
    bounded: str
    known: str

    @property
    def bound(self) -> str:
        """Metric that holds the lower bound."""
        return f"bound_{self.metric}"

    @property
    def best_known(self) -> str:
        """Metric that holds the least known to be possible."""
        return f"best_known_{self.metric}"

    @property
    def limits(self) -> tuple[str, str]:
        """Between which the least possible lies."""
        return self.bound, self.best_known


DRAW = Objective(
    "draw", "draw_kwh", "grid_cut", "kWh", 3.6e6, "less draw",
    "The least that any schedule could draw", "lower bound: no schedule can draw less",
    "best known schedule, found with perfect knowledge",
)  # fmt: skip
EMISSIONS = Objective(
    "emissions", "emissions_kg", "emissions_cut", "kg", 1e3, "lower emissions",
    "The least that any schedule could emit", "lower bound: no schedule can emit less",
    "lowest known to be possible",
)  # fmt: skip
COST = Objective(
    "cost", "cost_mad", "cost_cut", "MAD", 1.0, "a lower cost",
    "The least that any schedule could cost", "lower bound: no schedule can cost less",
    "lowest known to be possible",
)  # fmt: skip
OBJECTIVES: dict[str, Objective] = {one.name: one for one in (DRAW, EMISSIONS, COST)}
OBJECTIVE_LIMITS = tuple(limit for one in OBJECTIVES.values() for limit in one.limits)
"""The bounds and the best known values of every objective."""

OBJECTIVE_CUTS = tuple(one.cut for one in OBJECTIVES.values() if one is not DRAW)
"""What compares emissions and cost with the baseline's."""


def limits_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """Columns beside the usual ones of a comparison: bound and best known value where one was asked for.

    Of emissions or cost the bound stands beside how much lower each is than the baseline's, too.
    """
    for one in OBJECTIVES.values():
        known = rows[one.best_known].notna().any()
        if one is DRAW and known:
            return one.limits
        if one is not DRAW and (known or rows[one.bound].notna().any()):
            return (one.metric, one.cut, *(one.limits if known else (one.bound,)))
    return ()


def objective_of(rows: Iterable[Mapping[Any, Any]]) -> Objective:
    """The objective that rows of a summary have a bound or a best known value of; the draw where they have none."""
    for row in rows:
        for one in OBJECTIVES.values():
            if any(row.get(name) is not None and row[name] == row[name] for name in one.limits):
                return one
    return DRAW
