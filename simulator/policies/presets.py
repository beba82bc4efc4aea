"""Named combinations of parts, each with the paper or the choice that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from simulator.policies import signals
from simulator.policies.classic import CLASSIC
from simulator.policies.duration import ClassMean, Duration
from simulator.policies.place import cheapest, greenest, least_loaded, nearest_data, sunniest
from simulator.policies.planner import Planner
from simulator.policies.preset import Preset
from simulator.policies.review import PauseAtSunset
from simulator.policies.scheduler import Parts
from simulator.policies.signals import Signal
from simulator.policies.size_elastic import Elastic
from simulator.policies.when import LowestGridWindow
from simulator.policies.when_parts import (
    When,
    budget_threshold,
    lowest_slot,
    lowest_slots,
    lowest_window,
    saving_per_wait,
    threshold,
)
from simulator.policies.when_signal import BySignal


def by(part: When, signal: Signal = signals.grid, duration: type[Duration] | None = None) -> Callable[[], BySignal]:
    """What makes a `when` part by a signal, one for each run."""
    return lambda: BySignal(part, signal, duration() if duration else None)


def _budget_planner(name: str) -> Any:
    """Brings the solver along, which other policies need not wait for."""
    from simulator.policies.planner_budget import BudgetPlanner

    return BudgetPlanner(name)


_WAIT_AWHILE = "Let's Wait Awhile, Wiesner et al. 2021, https://doi.org/10.1145/3464298.3493399"
_GAIA = "GAIA, Hanafy et al. 2024, https://doi.org/10.1145/3620666.3651374"
_ECOVISOR = "Ecovisor, Souza et al. 2023, https://doi.org/10.1145/3575693.3575709"
_SCALER = "CarbonScaler, Hanafy et al. 2023, https://doi.org/10.1145/3626788"
_LIU = "follow-the-renewables placement, as in Liu et al. 2011, https://doi.org/10.1145/1993744.1993767"
_ON_GRID = "; by expected grid draw in place of the grid's carbon (a choice)"

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
        _LIU,
    ),
    "wait-for-sun": Preset(
        Parts(when=LowestGridWindow),
        "As fifo, but holds each deferrable job, within its slack, for the window and site in which the"
        " forecast sun leaves it the least to draw from the grid; what share of users' estimates jobs usually run is"
        " learned.",
        "lowest carbon window, Wiesner et al. 2021 (Let's Wait Awhile), https://doi.org/10.1145/3464298.3493399",
    ),
    "planner": Preset(
        Planner,
        "Plans every job's hours and sites anew each hour, by the grid energy it would add to what all others"
        " plan; stops and moves jobs where that saves more than checkpoint and restart cost.",
        "a choice: rolling best response over a shared plan, each job by dynamic programming;"
        " Kaplan and Meier 1958, https://doi.org/10.1080/01621459.1958.10501452, for how long jobs really take",
    ),
    "budget-planner": Preset(
        _budget_planner,
        "As planner, but each hour a linear programme over known jobs and expected arrivals first gives every site"
        " power to spend, hour by hour; jobs are fitted into it one after another.",
        "a choice: the bound's relaxation over the forecast horizon, rounded job by job",
    ),
    # By expected grid draw, after sun and battery.
    "sun-threshold": Preset(
        Parts(when=by(threshold)),
        "Starts a job in the first hour whose expected grid draw is among the lowest of the next day.",
        _GAIA + _ON_GRID,
    ),
    "sun-slot": Preset(
        Parts(when=by(lowest_slot)), "Starts a job in the hour with the lowest expected grid draw.", _GAIA + _ON_GRID
    ),
    "sun-window": Preset(
        Parts(when=by(lowest_window)),
        "Starts a job so that its whole run is expected to draw least from the grid, after sun and battery.",
        _WAIT_AWHILE + _ON_GRID,
    ),
    "sun-slots": Preset(
        Parts(when=by(lowest_slots)),
        "Runs a job in the hours with the lowest expected grid draw, pausing where that pays for the restart.",
        _WAIT_AWHILE + _ON_GRID,
    ),
    "sun-per-wait": Preset(
        Parts(when=by(saving_per_wait)),
        "Starts a job where the grid energy saved per hour until its completion is largest.",
        _GAIA + _ON_GRID,
    ),
    "sun-budget": Preset(
        Parts(when=by(budget_threshold)),
        "Pauses a job whenever its expected grid draw is not among the lowest of a day, until its slack is spent.",
        _ECOVISOR + _ON_GRID,
    ),
    "sunset": Preset(
        Parts(when=by(lowest_window), review=PauseAtSunset),
        "As sun-window, and saves running jobs at sunset just before the battery is empty.",
        "a choice",
    ),
    "sun-elastic": Preset(
        Parts(size=Elastic(signals.grid), when=by(lowest_window)),
        "Gives elastic jobs most GPUs in the hours with the lowest expected grid draw; the others as sun-window.",
        _SCALER + _ON_GRID,
    ),
    # As published, by the carbon of the grid.
    "carbon-slot": Preset(
        Parts(when=by(lowest_slot, signals.carbon)), "Starts a job in the hour with the lowest grid carbon.", _GAIA
    ),
    "carbon-window": Preset(
        Parts(when=by(lowest_window, signals.carbon)),
        "Starts a job so that its whole run has the lowest grid carbon.",
        _WAIT_AWHILE,
    ),
    "wait-awhile": Preset(
        Parts(when=by(partial(lowest_slots, pay=False), signals.carbon)),
        "Runs a job in the hours with the lowest grid carbon before its deadline, pausing in between.",
        _WAIT_AWHILE,
    ),
    "carbon-time": Preset(
        Parts(when=by(saving_per_wait, signals.carbon, ClassMean)),
        "Starts a job where the grid carbon saved per hour until its completion is largest.",
        _GAIA,
    ),
    "ecovisor": Preset(
        Parts(when=by(budget_threshold, signals.carbon)),
        "Runs a job while grid carbon is below a day's 30th percentile, until its slack is spent.",
        _ECOVISOR + ", as restated by " + _GAIA,
    ),
    "carbon-scaler": Preset(
        Parts(size=Elastic(signals.carbon)),
        "Gives elastic jobs the GPUs whose marginal work has the least grid carbon; the others start at once.",
        _SCALER,
    ),
    # By price.
    "cheap-window": Preset(
        Parts(when=by(lowest_window, signals.grid_price)),
        "Starts a job so that its whole run is expected to cost least, after sun and battery.",
        _WAIT_AWHILE + "; by price (a choice)",
    ),
    # By place alone.
    "greenest": Preset(Parts(place=greenest), "As fifo, but starts each job where it would emit least now.", _LIU),
    "cheapest": Preset(
        Parts(place=cheapest),
        "As fifo, but starts each job where its electricity would cost least now.",
        "Qureshi et al. 2009, https://doi.org/10.1145/1594977.1592584",
    ),
    "least-loaded": Preset(
        Parts(place=least_loaded), "As fifo, but starts each job where the largest share is free.", "a choice"
    ),
    "nearest-data": Preset(
        Parts(place=nearest_data),
        "As fifo, but starts each job where its data are, or arrive soonest.",
        "data-aware placement, Ranganathan and Foster 2002, https://doi.org/10.1109/HPDC.2002.1029935",
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
