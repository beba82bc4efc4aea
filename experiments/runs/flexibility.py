"""`tafukt flexibility`: how much less the sites of an experiment can draw, how fast, for how long and how often.

Each is found by probing: the experiment is run again with requests of the grid of our own in place of its own. A probe
asks a site for a cut of its load net of the sun for up to `longest_h`; how long it was kept, minute by minute, is read
from the run. Probes of one site follow one another by a day and `every_h`, so that in time they come at every hour of
the day, and those of different sites begin at different hours. How often is found by requests that come again and
again, at different distances. Everything is the experiment's: jobs, sun, batteries, policy, `engine.respond`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.runs.processes import Pool, WorkFailed, begin_worker
from tafukt.simulator.scenario import GridEvent, Scenario
from tafukt.simulator.units import DAY_S, HOUR_S, MINUTE_S

if TYPE_CHECKING:
    from tafukt.experiments.config.load import Loaded
    from tafukt.experiments.config.policies import PolicyRef
    from tafukt.experiments.config.scenario import Inputs

CUTS = (0.1, 0.25, 0.5)
LENGTHS_H = (0.5, 1.0, 2.0, 4.0, 8.0)
SPACINGS_H = (4.0, 6.0, 12.0, 24.0)
# A probe gives so long to fall and to come back [s]; the first comes after so long, when sites have filled: choices.
RAMP_DOWN_S, RAMP_UP_S, FIRST_S = 60.0, 900.0, DAY_S / 2
# So many probes at each hour of each site are wanted of a seed: a choice.
PROBES_WANTED = 4
# What comes again and again is a cut of this share for so long [h]: choices.
AGAIN_CUT, AGAIN_H = 0.25, 2.0
# A length or a spacing is said to be kept where this share of its probes was.
KEPT_SHARE = 0.95
ProbeProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """Plan of the probes: policy, cuts, the longest request [h], hours between probes, minutes of notice."""

    policy: PolicyRef
    cuts: tuple[float, ...] = CUTS
    longest_h: float = 8.0
    every_h: int = 3
    notice_min: float = 15.0

    @property
    def lengths_h(self) -> tuple[float, ...]:
        """The lengths that are reported: those up to the longest, and the longest itself [h]."""
        return (*(length for length in LENGTHS_H if length < self.longest_h), self.longest_h)


@dataclass(frozen=True)
class Work:
    """One simulation: the seed's position, and either the round of probes of a cut, or how far requests lie apart."""

    position: int
    cut: float
    round: int = 0
    spacing_h: float = 0.0


@dataclass
class Flexibility:
    """Result of the probes, a row for each; those with a `spacing_h` came again and again."""

    plan: Plan
    seeds: tuple[int, ...]
    sites: tuple[str, ...]
    respond: str
    probes: list[dict[str, Any]] = field(default_factory=list)


def plan_of(
    loaded: Loaded,
    policy: str = "",
    cuts: Sequence[float] = (),
    longest_h: float = 8.0,
    every_h: int = 3,
    notice_min: float = 15.0,
) -> Plan:
    """A plan of probes, checked.

    Raises
    ------
    InputError
        If there is no such policy, the experiment has a matrix, nothing in it can bend, or a value makes no sense.
    """
    if loaded.axes:
        raise InputError(Problem(loaded.file, "matrix", "probes are for one scenario; remove the matrix"))
    if loaded.experiment.engine.respond == "none":
        message = "'none' gives nothing, so there is nothing to probe; least-loss and others give"
        raise InputError(Problem(loaded.file, "engine.respond", message))
    if wrong := [cut for cut in cuts if not 0.0 < cut <= 1.0]:
        raise InputError(Problem("--cut", f"{wrong[0]:g}", "a cut is a share of the load, above 0 and at most 1"))
    if not 0.25 <= longest_h <= 16.0:
        raise InputError(Problem("--longest", f"{longest_h:g}", "from 0.25 to 16 hours"))
    if not 1 <= every_h <= 12:
        raise InputError(Problem("--every", str(every_h), "from 1 to 12 hours"))
    if loaded.experiment.days < 2:
        message = f"{loaded.experiment.days:g}: probes begin after half a day and come once a day; give 2 or more"
        raise InputError(Problem(loaded.file, "days", message))
    return Plan(_policy(loaded, policy), tuple(sorted(set(cuts or CUTS))), longest_h, every_h, notice_min)


def _policy(loaded: Loaded, name: str) -> PolicyRef:
    known = {policy.label: policy for policy in loaded.policies}
    if name and name not in known:
        raise InputError(Problem(loaded.file, "policies", f"no policy {name!r} in it", nearest(name, list(known))))
    return known[name] if name else loaded.policies[-1]


def works_of(plan: Plan, days: float, seeds: int) -> list[Work]:
    """Every simulation that is needed, those of one seed together."""
    hours = 24 // plan.every_h
    a_run = max((days * DAY_S - FIRST_S) / (DAY_S + plan.every_h * HOUR_S), 1.0)
    rounds = min(math.ceil(PROBES_WANTED * hours / a_run), hours + 1)
    spacings = [spacing for spacing in SPACINGS_H if spacing * HOUR_S * 2 < days * DAY_S]
    return [
        work
        for position in range(seeds)
        for work in (
            *(Work(position, cut, number) for cut in plan.cuts for number in range(rounds)),
            *(Work(position, AGAIN_CUT, spacing_h=spacing) for spacing in spacings),
        )
    ]


def asked_of(plan: Plan, work: Work, scenario: Scenario, site: int, days: float) -> tuple[GridEvent, ...]:
    """The requests of one site in one simulation."""
    apart_s = work.spacing_h * HOUR_S or DAY_S + plan.every_h * HOUR_S
    length_s = AGAIN_H * HOUR_S if work.spacing_h else plan.longest_h * HOUR_S
    # Sites in turn, so that neighbours in the list are not asked at one time; rounds fill the hours between.
    places = max(round(min(apart_s, DAY_S + plan.every_h * HOUR_S) / (plan.every_h * HOUR_S)), 1)
    shift_s = (site * 5 + work.round * 7) % places * plan.every_h * HOUR_S
    starts = np.arange(FIRST_S + shift_s, days * DAY_S, apart_s)
    return tuple(
        GridEvent(
            start_s=float(start),
            end_s=float(start) + length_s,
            notice_s=max(float(start) - plan.notice_min * MINUTE_S, 0.0),
            ramp_down_s=RAMP_DOWN_S,
            ramp_up_s=RAMP_UP_S,
            cut=work.cut,
        )
        for start in starts
        if start + length_s + RAMP_UP_S < scenario.end_s
    )


def probed(plan: Plan, work: Work, inputs: Inputs, seed: int) -> list[dict[str, Any]]:
    """The probes of one simulation, a row for each."""
    from tafukt.experiments.results.grid_events import grid_event_rows
    from tafukt.simulator.engine.engine import simulate

    scenario, days = inputs.scenario, float(inputs.experiment.days)
    sites = tuple(
        replace(site, grid=replace(site.grid, events=asked_of(plan, work, scenario, index, days)))
        for index, site in enumerate(scenario.sites)
    )
    quiet = replace(inputs.settings, events="none")
    policy, guarded = plan.policy.load(), not plan.policy.is_ours
    probing = replace(scenario, sites=sites)
    record = simulate(probing, inputs.jobs, policy, seed=seed, settings=quiet, check_handed=guarded)
    return [
        {
            "seed": seed,
            "site": row["site"],
            "cut": work.cut,
            "spacing_h": work.spacing_h,
            "start_utc": row["start_utc"],
            "baseline_kw": row["baseline_kw"],
            "asked_kw": row["baseline_kw"] - row["target_kw"],
            "held_h": row["held_h"],
            "reached_min": row["reached_min"],
            "delivered_kwh": row["delivered_kwh"],
            "cost_gpu_hours_per_kwh": row["cost_gpu_hours_per_kwh"],
            "floors_broken": row["floors_broken"],
        }
        for row in grid_event_rows(record, inputs.experiment.start)
    ]


def probe(loaded: Loaded, plan: Plan, progress: ProbeProgress | None = None, workers: int = 1) -> Flexibility:
    """Probe an experiment; the result is the same from one process or many.

    Raises
    ------
    SiteError, WorkloadError
        If the experiment's inputs cannot be used.
    """
    from tafukt.experiments.config.scenario import build

    seeds = tuple(loaded.experiment.seeds)
    inputs = [build(loaded, seed) for seed in seeds]
    works = works_of(plan, float(loaded.experiment.days), len(seeds))
    found = Flexibility(plan, seeds, tuple(loaded.sites), loaded.experiment.engine.respond)
    rows: dict[Work, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        for work, some in _simulated(stack, plan, seeds, inputs, works, workers):
            rows[work] = some
            if progress is not None:
                progress(len(rows), len(works))
    zones = {name: site.tz for name, site in loaded.sites.items()}
    found.probes = [row | {"hour": _local_hour(row, zones)} for work in works for row in rows[work]]
    return found


def _local_hour(row: dict[str, Any], zones: dict[str, str]) -> int:
    from datetime import UTC
    from zoneinfo import ZoneInfo

    return int(row["start_utc"].replace(tzinfo=UTC).astimezone(ZoneInfo(zones[row["site"]])).hour)


def _simulated(
    stack: contextlib.ExitStack,
    plan: Plan,
    seeds: Sequence[int],
    inputs: Sequence[Inputs],
    works: Sequence[Work],
    workers: int,
) -> Iterator[tuple[Work, list[dict[str, Any]]]]:
    if workers == 1:
        for work in works:
            yield work, probed(plan, work, inputs[work.position], seeds[work.position])
        return
    pool = stack.enter_context(Pool(workers, begin=_begin, given=(plan, seeds, inputs)))
    for done in pool.work(_in_process, works):
        if done.error is not None or done.result is None:
            raise WorkFailed(f"a cut of {done.item.cut:g} cannot be simulated: {done.error}")
        yield done.item, done.result


_HELD: list[tuple[Plan, Sequence[int], Sequence[Inputs]]] = []
"""In a process that simulates: what it was begun with."""


def _begin(plan: Plan, seeds: Sequence[int], inputs: Sequence[Inputs]) -> None:
    begin_worker()
    _HELD[:] = [(plan, seeds, inputs)]


def _in_process(work: Work) -> list[dict[str, Any]]:
    plan, seeds, inputs = _HELD[0]
    return probed(plan, work, inputs[work.position], seeds[work.position])


# --- What `tafukt flexibility` says and writes


def probe_table(found: Flexibility) -> Any:
    """Every probe as a data frame."""
    import pandas as pd

    return pd.DataFrame(found.probes)


def hour_table(found: Flexibility) -> Any:
    """By site, cut, length and local hour of the start: share of probes kept, and power, with intervals over seeds.

    A seed counts with its own mean; the half-width of the interval is blank for less than three seeds.
    """
    import pandas as pd

    frame = probe_table(found)
    frame = frame[frame["spacing_h"] == 0.0]
    rows = []
    for (site, cut, hour), part in frame.groupby(["site", "cut", "hour"], sort=True):
        for length in found.plan.lengths_h:
            rows.append({"site": site, "cut": cut, "hour": hour, "length_h": length, **_kept(part, length)})
    return pd.DataFrame(rows)


def card_table(found: Flexibility) -> Any:
    """The card of each site: by cut, how much, how fast and how long."""
    import pandas as pd

    frame = probe_table(found)
    frame = frame[frame["spacing_h"] == 0.0]
    rows = []
    for (site, cut), part in frame.groupby(["site", "cut"], sort=True):
        given = part[part["asked_kw"] > 0.0]
        lengths = {f"kept_{length:g}_h": _kept(part, length)["kept"] for length in found.plan.lengths_h}
        power = _over_seeds(given, "asked_kw")
        rows.append(
            {
                "site": site,
                "cut": cut,
                "probes": len(part),
                "asked_kw": power[0],
                "asked_half_kw": power[1],
                "reached_min": float(given["reached_min"].median()) if len(given) else math.nan,
                **lengths,
                "lasts_h": _longest_kept(part, found.plan.lengths_h),
                "cost_gpu_hours_per_kwh": _mean(given["cost_gpu_hours_per_kwh"]),
                "floors_broken": int(part["floors_broken"].sum()),
            }
        )
    return pd.DataFrame(rows)


def often_table(found: Flexibility) -> Any:
    """By site and distance, the share kept of requests that came again and again."""
    import pandas as pd

    frame = probe_table(found)
    again = frame[(frame["spacing_h"] > 0.0) & (frame["asked_kw"] > 0.0)]
    rows = []
    for (site, spacing), part in again.groupby(["site", "spacing_h"], sort=True):
        share, half = _over_seeds(part.assign(kept=_holds(part, AGAIN_H)), "kept")
        each = {"site": site, "every_h": spacing, "requests": len(part), "kept": share, "kept_half": half}
        rows.append(each | {"asked_kw": float(part["asked_kw"].mean())})
    return pd.DataFrame(rows)


def cards(found: Flexibility) -> list[dict[str, Any]]:
    """The cards as plain data, for JSON: what cannot be told is `None`."""
    hours, often = hour_table(found), often_table(found)
    return [
        {
            "site": site,
            "policy": found.plan.policy.label,
            "respond": found.respond,
            "seeds": list(found.seeds),
            "notice_min": found.plan.notice_min,
            "cuts": _records(part.drop(columns="site")),
            "hours": _records(hours[hours["site"] == site].drop(columns="site")),
            "again": {
                "cut": AGAIN_CUT,
                "hours": AGAIN_H,
                "spacings": _records(often[often["site"] == site].drop(columns="site")) if len(often) else [],
            },
        }
        for site, part in card_table(found).groupby("site", sort=True)
    ]


def _records(frame: Any) -> list[dict[str, Any]]:
    return [{key: None if value != value else value for key, value in row.items()} for row in frame.to_dict("records")]


def flexibility_lines(found: Flexibility) -> list[str]:
    """Result of the probes, in a few lines."""
    card, often = card_table(found), often_table(found)
    lines = []
    for cut in found.plan.cuts:
        part = card[card["cut"] == cut]
        able = part[part["lasts_h"] >= min(2.0, found.plan.longest_h)]
        kw = float(part["asked_kw"].sum())
        lines.append(
            f"{cut:.0%} less, {kw:,.1f} kW of all sites on the mean: {len(able)} of {len(part)} sites keep it for "
            f"{min(2.0, found.plan.longest_h):g} h or more at nearly all hours ({KEPT_SHARE:.0%} of the probes)"
        )
    if len(often):
        kept = often.groupby("every_h")["kept"].mean()
        told = ", ".join(f"every {spacing:g} h {share:.0%}" for spacing, share in kept.items())
        lines.append(f"{AGAIN_CUT:.0%} less for {AGAIN_H:g} h, again and again: kept {told}")
    broken = int(card["floors_broken"].sum())
    lines.append("No job did less than its floor." if not broken else f"{broken} jobs did less than their floors.")
    return lines


def _kept(part: Any, length_h: float) -> dict[str, float]:
    """Share of some probes that were kept for so long, and their power; means over seeds with half their intervals.

    Where the sun carried all there was nothing to cut: such a probe counts for the power, and not for the share.
    """
    given = part[part["asked_kw"] > 0.0]
    share, half = _over_seeds(given.assign(kept=_holds(given, length_h)), "kept")
    power, power_half = _over_seeds(part, "asked_kw")
    return {"probes": len(given), "kept": share, "kept_half": half, "asked_kw": power, "asked_half_kw": power_half}


def _holds(part: Any, length_h: float) -> Any:
    """Whether each probe was kept for so long, its ramp included."""
    return part["held_h"] >= length_h - RAMP_DOWN_S / HOUR_S - 1e-9


def _over_seeds(part: Any, column: str) -> tuple[float, float]:
    from tafukt.experiments.results.statistics import mean_interval

    mean, half, _ = mean_interval(part.groupby("seed")[column].mean().to_numpy(dtype=float))
    return mean, half


def _mean(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _longest_kept(part: Any, lengths_h: Sequence[float]) -> float:
    """The greatest length that nearly all probes were kept for [h]; 0 for none."""
    kept = [length for length in lengths_h if _kept(part, length)["kept"] >= KEPT_SHARE]
    return max(kept, default=0.0)
