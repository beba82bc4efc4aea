"""Jobs of a workload, whatever its kind.

Errors:

    ValueError
    +-- WorkloadError      anything wrong in a description or a file
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.schema import Demand, GeneratorModel, Place, TraceModel


def build(
    model: GeneratorModel | TraceModel,
    places: Sequence[Place],
    start: datetime,
    days: float,
    seed: int,
    folder: Path,
) -> Demand:
    """The jobs of a workload.

    Parameters
    ----------
    model : GeneratorModel or TraceModel
    places : sequence of Place
        Every site, also those not yet online.
    start : datetime
        Start of the experiment, with a time zone.
    days : float
        How long jobs are submitted [days].
    seed : int
    folder : Path
        What relative paths in the model are relative to.

    Raises
    ------
    WorkloadError
        If the model, its files or the places do not fit together.
    """
    if start.tzinfo is None:
        raise WorkloadError(f"start: {start.isoformat()} has no time zone")
    if not (days > 0 and math.isfinite(days)):
        raise WorkloadError(f"days: must be above zero, got {days}")
    if not any(place.population > 0 for place in places):
        raise WorkloadError("no site has inhabitants, so nobody submits jobs; give one a population")
    if isinstance(model, GeneratorModel):
        from tafukt.workloads.generator import generate

        return generate(model, places, start, days, seed, folder)
    from tafukt.workloads.traces.replay import replay

    return replay(model, places, start, days, seed, folder)
