"""Named combinations of parts, each with the paper or the choice that it comes from."""

from __future__ import annotations

from typing import Any

from simulator.policies.classic import CLASSIC
from simulator.policies.place import sunniest
from simulator.policies.preset import Preset
from simulator.policies.scheduler import Parts
from simulator.policies.when import LowestGridWindow

PRESETS: dict[str, Preset] = {
    "fifo": Preset(
        Parts(),
        "Starts jobs in order of arrival wherever they fit, at home first; looks at no energy.",
        "the baseline, a choice: first-fit backfilling, so that no large gang stops everybody behind it",
    ),
    "easy": Preset(
        Parts(backfill="easy"),
        "As fifo, but the first job that does not fit gets a reservation that no later job may delay.",
        "EASY backfilling, Mu'alem and Feitelson 2001, https://doi.org/10.1109/71.932708",
    ),
    "solar": Preset(
        Parts(place=sunniest),
        "As fifo, but starts each job at the site where the sun leaves most over at that moment.",
        "follow-the-renewables placement, as in Liu et al. 2011, https://doi.org/10.1145/1993744.1993767",
    ),
    "wait-for-sun": Preset(
        Parts(when=LowestGridWindow),
        "As fifo, but holds each deferrable job, within its slack, for the window and site in which the"
        " forecast sun leaves it the least to draw from the grid.",
        "lowest carbon window, Wiesner et al. 2021 (Let's Wait Awhile), https://doi.org/10.1145/3464298.3493399",
    ),
    **CLASSIC,
}


def policy(name: str) -> Any:
    """The preset policy of this name.

    Raises
    ------
    KeyError
        If there is none.
    """
    return PRESETS[name].make(name)
