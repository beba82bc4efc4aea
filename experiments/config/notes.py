"""Notes to read before one believes a result: all that was made up, dropped, taken over or never compared."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import numpy as np

from tafukt.experiments.config.idle import idle
from tafukt.experiments.config.load import Loaded
from tafukt.experiments.config.scenario import Inputs
from tafukt.experiments.config.validated_range import outside
from tafukt.problems import cut
from tafukt.sites.grid_events import never_reached
from tafukt.sites.profile import StepProfile
from tafukt.sites.time_grid import DAY_S, span, zone_of
from tafukt.workloads.job_table import numbers_of


def notes(loaded: Loaded, inputs: Inputs, varied: Collection[str] = ()) -> list[str]:
    """The notes on a scenario, one line each; `validate`, `run`, manifest and report tell them.

    `varied` are the keys whose values another scenario of the same experiment changes.
    """
    found = [
        *outside(loaded),
        *idle(loaded, {*varied, *loaded.axis_keys}),
        *(f"{site}: {note}" for site, lines in inputs.weather_notes.items() for note in lines),
        *inputs.notes.get("told", ()),
        *_unkept_limits(loaded, inputs),
        *_never_reached(loaded, inputs),
        *_paid_export(inputs),
        *_not_searched(loaded, inputs),
        *_not_looked_at(loaded, inputs),
        *_not_as_metered(loaded, inputs),
    ]
    return list(dict.fromkeys(found))


def _never_reached(loaded: Loaded, inputs: Inputs) -> list[str]:
    """Listed requests of the grid that would begin after the end of the window."""
    window, found = inputs.scenario.end_s, []
    whole = span(loaded.experiment.start, window / DAY_S, loaded.experiment.step_s)
    for name, site in loaded.sites.items():
        late, hidden = cut(never_reached(site.grid.events, whole), SPELLS_TOLD)
        if late:
            more = f" and {hidden} more" if hidden else ""
            end = loaded.experiment.start + timedelta(seconds=window)
            told = f"{name}: grid.events: begins after the end of the window, {end:%Y-%m-%dT%H:%M%z}, and is left out"
            found.append(f"{told}: {', '.join(late)}{more}")
    return found


SPELLS_TOLD = 3
"""Of the times at which a limit cannot be kept, so many are told."""


def _unkept_limits(loaded: Loaded, inputs: Inputs) -> list[str]:
    """Limits below what a site draws without any job, and when: that stays unserved whatever the schedule."""
    from tafukt.simulator.energy.adequacy import unserved_without_jobs

    found = []
    for site in inputs.scenario.sites:
        spells, lacking_j = unserved_without_jobs(site, inputs.scenario.end_s)
        if not spells:
            continue
        zone = zone_of(loaded.sites[site.name].tz)
        start = loaded.experiment.start.astimezone(zone)
        told, hidden = cut(spells, SPELLS_TOLD)
        shown = [
            f"{start + timedelta(seconds=begin):%Y-%m-%d %H:%M} to {start + timedelta(seconds=end):%H:%M}"
            for begin, end in told
        ]
        more = f" and {hidden} more" if hidden else ""
        fixed = site.grid.import_limit_w
        least_w = float(fixed.values.min()) if isinstance(fixed, StepProfile) else fixed
        below = f", which is below fixed_kw = {site.fixed_w / 1000.0:g}" if least_w < site.fixed_w else ""
        found.append(
            f"{site.name}: grid.import_limit_kw of {least_w / 1000.0:g}{below}, cannot be kept even without any job: "
            f"{lacking_j / 3.6e6:,.1f} kWh stay unserved, {', '.join(shown)}{more} (local time); raise the limit, or "
            "give more sun or battery"
        )
    return found


def _paid_export(inputs: Inputs) -> list[str]:
    """Note on the share of the export that is paid, if a site may feed in at all."""
    feeding = [site for site in inputs.scenario.sites if site.grid.export_limit_w > 0 and site.pv.values.any()]
    shares = {site.grid.export_cap_share for site in feeding}
    if not shares:
        return []
    if shares == {1.0}:
        return ["export: all of it is paid for; grid.export_cap_share can limit that"]
    told = " or ".join(f"{share:.0%}" for share in sorted(shares))
    return [f"export: paid up to {told} of the window's generation; anything above that earns nothing"]


def _not_searched(loaded: Loaded, inputs: Inputs) -> list[str]:
    """That no best schedule is searched for, though one is asked for, and why."""
    wanted = loaded.experiment.best_known
    if isinstance(wanted, bool) or not wanted.search:
        return []
    from tafukt.simulator.search.best import why_not

    why = why_not(inputs.scenario, inputs.jobs, inputs.settings)
    return [f"best_known: {why}; the best known schedule is that of a planner with perfect knowledge"] if why else []


def _not_as_metered(loaded: Loaded, inputs: Inputs) -> list[str]:
    """Note on meters whose jobs no policy starts as they were logged."""
    if not inputs.meters or any(policy.given == "as-logged" for policy in loaded.policies):
        return []
    told = (
        'what a meter showed is held against the model under every policy, and only "as-logged" starts jobs as the log'
    )
    return [f"meter: {told} did: add it to policies, and a log with its starts"]


def _not_looked_at(loaded: Loaded, inputs: Inputs) -> list[str]:
    """Notes on the horizons of policies, if some jobs may wait for longer."""
    from tafukt.simulator.policies.presets import PLANNERS
    from tafukt.simulator.units import HOUR_S

    slack_s = numbers_of(inputs.jobs, "slack_s")
    longest_h = float(np.max(slack_s, initial=0.0, where=np.isfinite(slack_s))) / HOUR_S
    horizon_h = inputs.settings.forecast.horizon_h
    told = []
    if longest_h > horizon_h:
        what = f"jobs may wait for up to {longest_h:,.0f} h, and forecasts show {horizon_h} h"
        told.append(f"forecast.horizon_h: {what}: no start is planned later than that")
    for policy in loaded.policies:
        written: Any = policy.written
        table: dict[str, Any] = written if isinstance(written, dict) else {"like": policy.label}
        like = table.get("like")
        if like not in PLANNERS:
            continue
        planned_h = int(table.get("horizon_h", PLANNERS[like].horizon_h))
        if min(longest_h, horizon_h) > planned_h:
            key = f'{{ like = "{like}", horizon_h = ... }}'
            told.append(
                f"{policy.label} plans {planned_h} h ahead of the forecast's {horizon_h}: `horizon_h`, as in {key}"
            )
    return told
