"""Metrics of a run: from the record of a simulation to a row of `summary.csv`.

Pure functions on the record and on what was read from its books (`books/reading.py`); seconds, watts and joules
become h, kW and kWh here. The names are those of the data dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results.attribution import jobs_draw_kwh
from tafukt.experiments.results.books.ramps import ramp_metrics
from tafukt.experiments.results.books.reading import Reading
from tafukt.experiments.results.costs import SiteCosts
from tafukt.experiments.results.grid_events import grid_event_metrics
from tafukt.experiments.results.objective import DRAW, OBJECTIVE_LIMITS, OBJECTIVES, Objective
from tafukt.simulator.record import OCCUPANCY_CODES, Outcomes, Record, draw_j
from tafukt.simulator.units import HOUR_S, KWH_J, Floats
from tafukt.workloads.job import Job
from tafukt.workloads.job_table import numbers_of, values_of

Times = Mapping[str, NDArray[Any]]

SLOWDOWN_THRESHOLD_S = 10.0
# Event times are rounded to 1/1024 s, so a deadline is met within two such steps.
DEADLINE_TOLERANCE_S = 2.0 / 1024.0
# Under this share of the baseline's draw, `captured` would divide by noise.
CAPTURED_FLOOR = 0.01
ENDED = ("done", "failed", "cancelled")
# Whoever no site can hold, and whoever the policy refuses: their work is told apart from work left undone.
TURNED_AWAY = ("rejected", "refused")


def summary(
    record: Record,
    costs: Mapping[str, SiteCosts] | None = None,
    account_s: tuple[float, float] | None = None,
    reading: Reading | None = None,
    times: Times | None = None,
) -> dict[str, float | int]:
    """Every metric of one run but the comparisons; NaN where one has no meaning.

    Parameters
    ----------
    record : Record
    costs : mapping of site name to SiteCosts, optional
        Demand charge and battery replacement; without it both are zero.
    account_s : tuple, optional
        From when to when the account of the steady state lasts [s].
    reading : Reading, optional
        What was read from the books of the sites as they were settled; default: it is read from the record now.
    times : mapping, optional
        The result of `job_times`, where it is at hand already.
    """
    reading = reading or Reading(costs, account_s).of(record)
    attributed = reading.attributed(record)
    return {
        **energy_metrics(reading),
        "account_draw_kwh": _account_draw_kwh(record, reading, attributed),
        **money_metrics(reading),
        **job_metrics(record, times),
        **grid_event_metrics(record, reading.import_meters),
        **ramp_metrics(reading.ramps),
        **capped_metrics(record),
        "energy_lost_kwh": float(np.sum(attributed["energy_lost_kwh"])),
        "network_kwh": record.network_j / KWH_J,
        "network_gb": float(sum(transfer.size_gb for transfer in record.transfers)),
        "balance_residual_kwh": _residual_kwh(record, reading),
        "window_h": record.scenario.end_s / HOUR_S,
    }


def _account_draw_kwh(record: Record, reading: Reading, attributed: Mapping[str, Floats]) -> float:
    """Draw of the account of the steady state, of jobs and sites [kWh]; NaN without one."""
    if reading.account_s is None:
        return math.nan
    return sum((site.rest_draw_kwh for site in reading.sites), jobs_draw_kwh(record, attributed, *reading.account_s))


def comparison(
    run: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    bound: float | None,
    best_known: float | None = None,
    objective: Objective = DRAW,
) -> dict[str, float]:
    """The columns `dictionary.COMPARISON_METRICS` of a run against its baseline and bound; NaN for blank.

    Parameters
    ----------
    run, baseline : mapping
        Metrics of the run and of the baseline of the same scenario and seed (`None` where it is missing).
    bound : float or None
        The bound that the run is held against, in the unit of the objective.
    best_known : float or None
        The least known to be possible.
    objective : Objective
        What `bound`, `best_known` and `captured` speak of.
    """
    least, best = (math.nan if value is None else float(value) for value in (bound, best_known))
    blank = {
        "grid_cut": math.nan,
        "grid_cut_per_work": math.nan,
        "account_cut": math.nan,
        "emissions_cut": math.nan,
        "cost_cut": math.nan,
        **dict.fromkeys(OBJECTIVE_LIMITS, math.nan),
        objective.bound: least,
        objective.best_known: best,
        "captured": math.nan,
    }
    if baseline is None or _undone(run) or _undone(baseline):
        return blank
    draw, base = float(run["draw_kwh"]), float(baseline["draw_kwh"])
    captured = _captured(run, baseline, least, objective)
    if run.get("jobs_refused") or baseline.get(
        "jobs_refused"
    ):  # the bound of less work is no measure of a cut against more
        captured = math.nan
    # Folders of earlier versions do not know how much work was done.
    done, base_done = (float(each.get("work_done_gpu_hours") or 0.0) for each in (run, baseline))
    per_work = 1.0 - draw / done * base_done / base if base > 0 and done > 0 and base_done > 0 else math.nan
    account, base_account = (float(each.get("account_draw_kwh") or math.nan) for each in (run, baseline))
    account_cut = 1.0 - account / base_account  # NaN without an account
    cuts = {one.cut: _cut(run.get(one.metric), baseline.get(one.metric)) for one in OBJECTIVES.values()}
    cuts |= {"grid_cut_per_work": per_work, "account_cut": account_cut}
    return blank | cuts | {"captured": captured}


def _cut(value: float | None, base: float | None) -> float:
    """Cut against the baseline's value, as a share of it; NaN if that one is not above zero."""
    return 1.0 - float(value) / float(base) if value is not None and base is not None and base > 0 else math.nan


def _captured(run: Mapping[str, Any], baseline: Mapping[str, Any], least: float, objective: Objective) -> float:
    """The share that a run saves of what the bound leaves to save; NaN where that is next to nothing.

    A cost may be negative, where export earns more than import costs.
    """
    value, base = (row.get(objective.metric) for row in (run, baseline))
    if value is None or base is None:
        return math.nan
    room = float(base) - least
    return (float(base) - float(value)) / room if room > 0 and room >= CAPTURED_FLOOR * abs(base) else math.nan


YEAR_H = 8766.0
AGAINST_BASE = {
    "draw_against_base_kwh": "draw_kwh",
    "cost_against_base_mad": "cost_mad",
    "emissions_against_base_kg": "emissions_kg",
}


def against_base(run: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, float]:
    """The columns of a run against the same policy and seed in the baseline scenario; NaN for blank.

    A year's worth is the window's, as often as a year holds it, which means something where it stands for the year.
    """
    known = base is not None and not _undone(run) and not _undone(base)
    found: dict[str, float] = {}
    for name, metric in AGAINST_BASE.items():
        one, other = (run.get(metric), base.get(metric)) if known and base is not None else (None, None)
        change = math.nan if one is None or other is None else float(one) - float(other)
        found |= {name: change, f"{name}_per_year": change * YEAR_H / float(run.get("window_h") or math.nan)}
    return found


def _undone(run: Mapping[str, Any]) -> bool:
    return bool(run["jobs_left"] > 0 or run["work_left_gpu_hours"] > 0)


# --- energy ------------------------------------------------------------------------------------------


def draw_kwh(record: Record) -> float:
    """Grid import + unserved + what the batteries gave up, at what it takes to put it back [kWh].

    draw = grid_import + unserved + max(0, stored_start - stored_end) / eta_charge, summed over sites.
    """
    return record.draw_j / KWH_J


def energy_metrics(reading: Reading) -> dict[str, float]:
    """The energy part of the summary."""
    sites = reading.sites
    sums = {name: sum(site.powers_j[name] for site in sites) / KWH_J for name in sites[0].powers_j}
    imported, used = sums["import_to_load"] + sums["import_to_battery"], sums["pv_to_load"] + sums["pv_to_battery"]
    cycles, fade = _battery_use(reading)
    quarter, minute = reading.import_means_kw()
    return {
        "grid_import_kwh": imported,
        "draw_kwh": draw_j((s.site, s.powers_j, s.stored_j[0] - s.stored_j[1]) for s in sites) / KWH_J,
        "pv_available_kwh": sums["pv"],
        "pv_used_kwh": used,
        "curtailed_kwh": sums["curtailed"],
        "export_kwh": sums["export"],
        "unserved_kwh": sums["unserved"],
        "it_kwh": sums["it"],
        "site_kwh": sums["site"],
        "other_kwh": sums["other"],
        "stored_start_kwh": sum(site.stored_j[0] for site in sites) / KWH_J,
        "stored_end_kwh": sum(site.stored_j[1] for site in sites) / KWH_J,
        "battery_cycles": cycles,
        "battery_fade": fade,
        "peak_import_kw": float(quarter.max()),
        "import_ramp_1min_kw": _largest_change(minute),
        "import_ramp_15min_kw": _largest_change(quarter),
        "pue": _ratio(sums["site"] - sums["other"], sums["it"]),
        "renewable_fraction": _ratio(sums["pv_to_load"] + sums["from_sun"], sums["site"]),
        "self_consumption": _ratio(used, sums["pv"]),
        "sun_to_load": _ratio(sums["pv"], sums["site"]),
    }


def _largest_change(values: Floats) -> float:
    return float(np.abs(np.diff(values)).max()) if len(values) > 1 else 0.0


def _battery_use(reading: Reading) -> tuple[float, float]:
    """Cycles (energy taken out over usable capacity) and fade of all batteries together; NaN for none."""
    taken = usable = new = now = 0.0
    for site in reading.sites:
        battery = site.site.battery
        if battery is None or battery.capacity_j <= 0:
            continue
        taken += site.powers_j["discharge"] / battery.eta_discharge
        usable += battery.usable_j
        new += battery.capacity_j
        now += site.capacity_j
    return _ratio(taken, usable), 1.0 - now / new if new else math.nan


def _residual_kwh(record: Record, reading: Reading) -> float:
    """The relative residual of the ledger's checks, as energy of the load [kWh]."""
    return record.balance_residual * sum(site.powers_j["site"] for site in reading.sites) / KWH_J


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


# --- carbon and money ----------------------------------------------------------------------------------


def money_metrics(reading: Reading) -> dict[str, float]:
    """Emissions [kg] and cost [MAD] of the whole network."""
    emissions, charge, income, demand, wear = (
        sum(getattr(site, name) for site in reading.sites)
        for name in ("emissions_kg", "charge_mad", "income_mad", "demand_mad", "wear_mad")
    )
    return {
        "emissions_kg": emissions,
        "cost_mad": charge + demand - income,
        "energy_charge_mad": charge,
        "demand_charge_mad": demand,
        "export_income_mad": income,
        "battery_wear_mad": wear,
    }


# --- jobs ----------------------------------------------------------------------------------------------


def job_times(record: Record) -> Times:
    """Times, counts and states of the jobs as arrays: seconds, NaN where something never happened.

    Keys: `state, submit_s, start_s, end_s, wait_s, jct_s, runtime_s, deadline_s, ended, slowdown, missed`, the
    GPU-seconds of `GPU_HOURS` and the counts of `COUNTS`.
    """
    jobs, outcomes = record.jobs, Outcomes.of(record.outcomes)
    state = outcomes.column("state")
    submit, runtime, deadline = (numbers_of(jobs, name) for name in ("submit_s", "runtime_s", "deadline_s"))
    names = ("start_s", "end_s", *GPU_HOURS.values(), *COUNTS)
    found: dict[str, NDArray[Any]] = {name: outcomes.column(name) for name in names}
    ended = np.isin(state, ENDED)
    end = np.where(ended, found["end_s"], np.nan)
    jct = end - submit
    on_time = ended & (np.where(ended, end, np.inf) <= deadline + DEADLINE_TOLERANCE_S)
    return found | {
        "state": state,
        "submit_s": submit,
        "end_s": end,
        "wait_s": found["start_s"] - submit,
        "jct_s": jct,
        "runtime_s": runtime,
        "deadline_s": deadline,
        "ended": ended,
        "slowdown": np.maximum(1.0, jct / np.maximum(runtime, SLOWDOWN_THRESHOLD_S)),
        "missed": np.isfinite(deadline) & ~on_time,
        **{name: found[name].astype(np.int64) for name in COUNTS},
    }


GPU_HOURS = {"gpu_hours": "busy_gpu_s", "gpu_hours_lost": "lost_gpu_s", "work_left_gpu_hours": "work_left_gpu_s"}
COUNTS = ("pauses", "moves", "kills", "resizes")


def job_metrics(record: Record, times: Times | None = None) -> dict[str, float | int]:
    """The job part of the summary."""
    times = times or job_times(record)
    ended, started = times["ended"], np.isfinite(times["start_s"])
    wait, jct = times["wait_s"][started], times["jct_s"][ended]
    has_deadline = np.isfinite(times["deadline_s"])
    count = {name: int(np.sum(times["state"] == name)) for name in (*ENDED, *TURNED_AWAY, "left")}
    turned_away = np.isin(times["state"], TURNED_AWAY)
    left_gpu_s = times["work_left_gpu_s"]
    due_gpu_s = numbers_of(record.jobs, "due_gpu_s")
    span = float(np.max(times["end_s"][ended]) - np.min(times["submit_s"])) if ended.any() else math.nan
    return {
        "jobs_submitted": len(record.outcomes),
        **{f"jobs_{name}": number for name, number in count.items()},
        **{name: float(np.sum(times[key])) / HOUR_S for name, key in GPU_HOURS.items()},
        "work_left_gpu_hours": float(np.sum(left_gpu_s[~turned_away])) / HOUR_S,
        "work_refused_gpu_hours": float(np.sum(left_gpu_s[turned_away])) / HOUR_S,
        "work_done_gpu_hours": float(np.sum(due_gpu_s - left_gpu_s)) / HOUR_S,
        "wait_mean_h": _mean(wait) / HOUR_S,
        "wait_p95_h": _p95(wait) / HOUR_S,
        "jct_mean_h": _mean(jct) / HOUR_S,
        "jct_p95_h": _p95(jct) / HOUR_S,
        "bounded_slowdown_mean": _mean(times["slowdown"][ended]),
        "makespan_h": span / HOUR_S,
        **{name: int(np.sum(times[name])) for name in COUNTS},
        "deadline_miss_rate": _mean(times["missed"][has_deadline].astype(np.float64)),
        "utilisation": utilisation(record, times),
        "fairness_jain": fairness_jain(record.jobs, times),
    }


def utilisation(record: Record, times: Times) -> float:
    """Busy over online GPU-time, up to the last arrival; NaN where that is no time at all."""
    last = float(np.max(times["submit_s"], initial=0.0))
    occupancy = record.occupancy
    overlap = np.clip(np.minimum(occupancy.end_s, last) - occupancy.start_s, 0.0, None)
    busy = float(np.sum(overlap * occupancy.gpus))
    sites = record.scenario.sites
    online = sum(site.gpus * max(0.0, last - site.online_s) for site in sites)
    online -= sum(float(site.withdrawn_gpu_s(np.array([last]))[0]) for site in sites if site.nodes_online)
    return _ratio(busy, online)


def fairness_jain(jobs: Sequence[Job], times: Times) -> float:
    """Jain's index over regions of the mean of ideal runtime / time from submission to end.

    J = (sum x)^2 / (n sum x^2), 1 where all regions are served alike, 1/n where one has it all [1]_. A job
    that the window's end left behind, or that the policy refused, counts as 0; a rejected one does not count.

    References
    ----------
    .. [1] R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984, https://doi.org/10.48550/arXiv.cs/9809099
    """
    counted = times["state"] != "rejected"
    if not counted.any():
        return math.nan
    speed = np.zeros(len(jobs))
    np.divide(times["runtime_s"], times["jct_s"], out=speed, where=times["ended"] & (times["jct_s"] > 0))
    regions, index = np.unique(values_of(jobs, "tenant.region"), return_inverse=True)
    number = np.bincount(index[counted], minlength=len(regions))
    total = np.bincount(index[counted], speed[counted], minlength=len(regions))
    means = total[number > 0] / number[number > 0]
    return _ratio(float(np.sum(means)) ** 2, len(means) * float(np.sum(means**2)))


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _p95(values: NDArray[Any]) -> float:
    return float(np.percentile(values, 95)) if len(values) else math.nan


# --- Power caps over a run: for how long sites held jobs back, and the work that this delayed


_RUN = OCCUPANCY_CODES["run"]
# A job is capped where it draws less than this share of what it draws without a cap: rounding.
WHOLE = 1.0 - 1e-6


def capped_metrics(record: Record) -> dict[str, float]:
    """Site-hours in which a job ran under a power cap, and the work of the reference GPU that caps delayed."""
    rows, held_s, delayed_gpu_s = record.occupancy, 0.0, 0.0
    capping = [(index, site.node) for index, site in enumerate(record.scenario.sites) if site.node.caps]
    if not capping:
        return {"capped_h": 0.0, "capped_gpu_hours": 0.0}
    loaded = numbers_of(record.jobs, "gpus") * numbers_of(record.jobs, "intensity")
    rigid = np.array([curve is None for curve in values_of(record.jobs, "speedup")], dtype=bool)
    for index, node in capping:
        mine = np.flatnonzero((rows.site == index) & (rows.kind == _RUN))
        job = rows.job[mine]
        full_w = loaded[job] * node.dynamic_w
        above_w = rows.power_w[mine] - rows.gpus[mine] * node.idle_w / node.gpus
        capped = (above_w < WHOLE * full_w) & (full_w > 0.0) & rigid[job]  # a resized job draws less, too
        starts, ends = rows.start_s[mine][capped], rows.end_s[mine][capped]
        held_s += _covered_s(starts, ends)
        for at, lasted_s in zip(np.flatnonzero(capped).tolist(), (ends - starts).tolist(), strict=True):
            ask = record.jobs[int(job[at])].ask
            power, does = zip(*node.caps_of(ask), strict=True)
            speed = float(np.interp(above_w[at] / full_w[at], power, does))
            delayed_gpu_s += (1.0 - speed) * ask.gpus * lasted_s
    return {"capped_h": held_s / HOUR_S, "capped_gpu_hours": delayed_gpu_s / HOUR_S}


def _covered_s(starts_s: Floats, ends_s: Floats) -> float:
    """Time that intervals cover together [s]."""
    if not len(starts_s):
        return 0.0
    order = np.argsort(starts_s, kind="stable")
    starts, reach = starts_s[order], np.maximum.accumulate(ends_s[order])
    before = np.concatenate(([-np.inf], reach[:-1]))
    return float(np.sum(np.maximum(reach - np.maximum(starts, before), 0.0)))
