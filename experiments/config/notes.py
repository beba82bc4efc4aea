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
    ]
    return list(dict.fromkeys(found))
