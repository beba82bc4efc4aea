"""What is worth knowing before one believes a result: all that was made up, dropped, taken over or never compared."""

from __future__ import annotations

from collections.abc import Iterator

from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.config.validated_range import outside

NAMED = 3


def notes(loaded: Loaded, inputs: Inputs) -> list[str]:
    """The notes on a scenario, one line each; `validate`, `run`, manifest and report tell them."""
    found = [
        *outside(loaded),
        *(f"{site}: {note}" for site, lines in inputs.weather_notes.items() for note in lines),
        *inputs.notes.get("told", ()),
        *_without_place(inputs),
    ]
    return list(dict.fromkeys(found))


def _without_place(inputs: Inputs) -> Iterator[str]:
    """Jobs that ask for more GPUs than any site has: they will be refused."""
    most = max((site.gpus for site in inputs.scenario.sites), default=0)
    asks = [job.ask for job in inputs.jobs if (job.ask.gpus_min or job.ask.gpus) > most]
    if not asks:
        return
    names = ", ".join(ask.job_id for ask in asks[:NAMED]) + (", ..." if len(asks) > NAMED else "")
    largest = max(ask.gpus_min or ask.gpus for ask in asks)
    what = f"asks for {largest} GPUs" if len(asks) == 1 else f"ask for up to {largest} GPUs"
    jobs = f"{len(inputs.jobs):,} {'job' if len(inputs.jobs) == 1 else 'jobs'}"
    yield f"workload: {len(asks):,} of {jobs} {what} and no site has more than {most}, so none will run: {names}"
