"""What is worth knowing before one believes a result: all that was made up, dropped, taken over or never compared."""

from __future__ import annotations

from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.config.validated_range import outside


def notes(loaded: Loaded, inputs: Inputs) -> list[str]:
    """The notes on a scenario, one line each; `validate`, `run`, manifest and report tell them."""
    found = [
        *outside(loaded),
        *(f"{site}: {note}" for site, lines in inputs.weather_notes.items() for note in lines),
        *inputs.notes.get("told", ()),
        *_not_searched(loaded, inputs),
    ]
    return list(dict.fromkeys(found))


def _not_searched(loaded: Loaded, inputs: Inputs) -> list[str]:
    """That no best schedule is searched for, though one is asked for, and why."""
    wanted = loaded.experiment.best_known
    if isinstance(wanted, bool) or not wanted.search:
        return []
    from tafukt.simulator.search.best import why_not

    why = why_not(inputs.scenario, inputs.jobs, inputs.settings)
    return [f"best_known: {why}; the best schedule known is that of a planner told everything"] if why else []
