"""Named combinations of parts, each with the paper or the choice that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tafukt.simulator.policies import order
from tafukt.simulator.policies.as_logged import AsLogged
from tafukt.simulator.policies.deferral import signals
from tafukt.simulator.policies.deferral.by_signal import BySignal
from tafukt.simulator.policies.deferral.elastic import Elastic
from tafukt.simulator.policies.deferral.signals import Signal
from tafukt.simulator.policies.deferral.slots import (
    StartRule,
    budget_threshold,
    lowest_slot,
    lowest_slots,
    lowest_window,
    saving_per_wait,
    threshold,
)
from tafukt.simulator.policies.deferral.window import LowestGridWindow
from tafukt.simulator.policies.list_scheduler import ListScheduler, Parts
from tafukt.simulator.policies.place import cheapest, greenest, least_loaded, nearest_data, open_nodes, sunniest
from tafukt.simulator.policies.planner.planner import BUDGET_SETTINGS, Planner, PlannerSettings
from tafukt.simulator.policies.preemptive import LeastAttained, Preemptive, ShortestRemaining
from tafukt.simulator.policies.review import PauseAtSunset
from tafukt.simulator.policies.runtime_prediction import ClassMean, Duration

# --- What a preset is


@dataclass(frozen=True)
class Preset:
    """A policy by name: its parts, or what makes it; one line of what it does; where it comes from."""

    parts: Parts | Callable[[str], Any]
    does: str
    source: str

    def make(self, name: str) -> Any:
        """A fresh policy."""
        return ListScheduler(name, self.parts) if isinstance(self.parts, Parts) else self.parts(name)


# --- The policies that everybody compares with, as whole presets
# All place jobs at home if they fit there, else where the largest share of GPUs is free, and none looks at
# energy. Those with `backfill="none"` start strictly in their order; those that only rank use first fit.


_MUALEM = "Mu'alem and Feitelson 2001, https://doi.org/10.1109/71.932708"
_TSAFRIR = "Tsafrir, Etsion and Feitelson 2007, https://doi.org/10.1109/TPDS.2007.70606"
_TANG = "Tang et al. 2009, https://doi.org/10.1109/CLUSTR.2009.5289206"
_CARASTAN = "Carastan-Santos and de Camargo 2017, https://doi.org/10.1145/3126908.3126955"
_FEITELSON = "Feitelson, Rudolph and Schwiegelshohn 2005, https://doi.org/10.1007/11407522_1"

CLASSIC: dict[str, Preset] = {
    "fcfs": Preset(Parts(backfill="none"), "Strict first come, first served: nobody overtakes anybody.", _FEITELSON),
    "sjf": Preset(Parts(order.shortest), "Shortest estimate first, whoever fits.", _FEITELSON),
    "ljf": Preset(Parts(order.longest), "Longest estimate first, whoever fits.", _FEITELSON),
    "edf": Preset(
        Parts(order.deadline),
        "Earliest deadline first, whoever fits.",
        "Liu and Layland 1973, https://doi.org/10.1145/321738.321743",
    ),
    "easy-sjbf": Preset(
        Parts(backfill="easy", ahead=order.shortest),
        "As easy, but of those who may go ahead the shortest goes first.",
        _TSAFRIR,
    ),
    "conservative": Preset(
        Parts(backfill="conservative"),
        "Everybody who waits has a reservation that nobody may delay.",
        _MUALEM,
    ),
    "fair": Preset(
        Parts(order.FairShare),
        "The region that has used the fewest GPU hours of late goes first.",
        "decayed usage as in Slurm's multifactor priority, https://slurm.schedmd.com/priority_multifactor.html",
    ),
    "wfp3": Preset(Parts(order.WFP3), "Largest (wait / estimate)^3 x GPUs first, whoever fits.", _TANG),
    "unicep": Preset(Parts(order.UNICEP), "Largest wait / (log2 GPUs x estimate) first, whoever fits.", _TANG),
    "f1": Preset(Parts(order.f1), "Least log10(estimate) x GPUs + 870 log10(submission) first.", _CARASTAN),
    "srtf": Preset(
        lambda name: Preemptive(name, ShortestRemaining()),
        "Shortest remaining estimate first; pauses longer jobs for shorter ones.",
        "Schrage 1968, https://doi.org/10.1287/opre.16.3.687",
    ),
    "las": Preset(
        lambda name: Preemptive(name, LeastAttained()),
        "Jobs that have had less than a GPU-hour go before all others, which are paused for them.",
        "Tiresias; Gu et al. 2019, https://www.usenix.org/conference/nsdi19/presentation/gu",
    ),
}


# --- Presets


def defer_by(
    part: StartRule, signal: Signal = signals.grid, duration: type[Duration] | None = None
) -> Callable[[], BySignal]:
    """Maker of a `when` part by a signal, of one for each run."""
    return lambda: BySignal(part, signal, duration() if duration else None)


# The planners, each with the settings that it has where an experiment says nothing.
PLANNERS: dict[str, PlannerSettings] = {"planner": PlannerSettings(), "budget-planner": BUDGET_SETTINGS}


def planner_like(like: str, name: str, changes: Mapping[str, Any]) -> Any:
    """A planner with other settings; the solver is brought along only where it is needed."""
    settings = replace(PLANNERS[like], **changes)
    if like == "planner":
        return Planner(name, settings)
    from tafukt.simulator.policies.planner.budget import BudgetPlanner

    return BudgetPlanner(name, settings)


def _budget_planner(name: str) -> Any:
    return planner_like("budget-planner", name, {})


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
        Parts(place=open_nodes, when=LowestGridWindow),
        "As fifo, but holds each deferrable job, within its slack, for the window and site in which the"
        " forecast sun leaves it the least to draw from the grid; small jobs that start at once go where a node is open"
        " already; what share of users' estimates jobs usually run is learned.",
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
    "as-logged": Preset(
        AsLogged,
        "Starts every job when and where the replayed log says that it ran; without a log as fifo.",
        "the log's own schedule, the natural baseline of whoever has one: a choice",
    ),
    # By expected grid draw, after sun and battery.
    "sun-threshold": Preset(
        Parts(when=defer_by(threshold)),
        "Starts a job in the first hour whose expected grid draw is among the lowest of the next day.",
        _GAIA + _ON_GRID,
    ),
    "sun-slot": Preset(
        Parts(when=defer_by(lowest_slot)),
        "Starts a job in the hour with the lowest expected grid draw.",
        _GAIA + _ON_GRID,
    ),
    "sun-window": Preset(
        Parts(when=defer_by(lowest_window)),
        "Starts a job so that its whole run is expected to draw least from the grid, after sun and battery.",
        _WAIT_AWHILE + _ON_GRID,
    ),
    "sun-slots": Preset(
        Parts(when=defer_by(lowest_slots)),
        "Runs a job in the hours with the lowest expected grid draw, pausing where that pays for the restart.",
        _WAIT_AWHILE + _ON_GRID,
    ),
    "sun-per-wait": Preset(
        Parts(when=defer_by(saving_per_wait)),
        "Starts a job where the grid energy saved per hour until its completion is largest.",
        _GAIA + _ON_GRID,
    ),
    "sun-budget": Preset(
        Parts(when=defer_by(budget_threshold)),
        "Pauses a job whenever its expected grid draw is not among the lowest of a day, until its slack is spent.",
        _ECOVISOR + _ON_GRID,
    ),
    "sunset": Preset(
        Parts(when=defer_by(lowest_window), review=PauseAtSunset),
        "As sun-window, and saves running jobs at sunset just before the battery is empty.",
        "a choice",
    ),
    "sun-elastic": Preset(
        Parts(size=Elastic(signals.grid), when=defer_by(lowest_window)),
        "Gives elastic jobs most GPUs in the hours with the lowest expected grid draw; the others as sun-window.",
        _SCALER + _ON_GRID,
    ),
    # As published, by the carbon of the grid.
    "carbon-slot": Preset(
        Parts(when=defer_by(lowest_slot, signals.carbon)),
        "Starts a job in the hour with the lowest grid carbon.",
        _GAIA,
    ),
    "carbon-window": Preset(
        Parts(when=defer_by(lowest_window, signals.carbon)),
        "Starts a job so that its whole run has the lowest grid carbon.",
        _WAIT_AWHILE,
    ),
    "wait-awhile": Preset(
        Parts(when=defer_by(partial(lowest_slots, pay=False), signals.carbon)),
        "Runs a job in the hours with the lowest grid carbon before its deadline, pausing in between.",
        _WAIT_AWHILE,
    ),
    "carbon-time": Preset(
        Parts(when=defer_by(saving_per_wait, signals.carbon, ClassMean)),
        "Starts a job where the grid carbon saved per hour until its completion is largest.",
        _GAIA,
    ),
    "ecovisor": Preset(
        Parts(when=defer_by(budget_threshold, signals.carbon)),
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
        Parts(when=defer_by(lowest_window, signals.grid_price)),
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
