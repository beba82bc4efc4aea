"""What a run amounts to: from the record of a simulation to the metrics of `summary.csv`.

Pure functions on the simulator's record; seconds, watts and joules become h, kW and kWh here. The names are
those of the data dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.attribution import G_PER_KG, KWH_J, jobs_columns
from experiments.costs import SiteCosts, battery_wear_mad, demand_charge_mad
from simulator.record import Record, SiteEnergy
from workloads.job import Job

Floats = NDArray[np.float64]

HOUR_S = 3600.0
SLOWDOWN_THRESHOLD_S = 10.0
# Event times are rounded to 1/1024 s, so a deadline is met within two such steps.
DEADLINE_TOLERANCE_S = 2.0 / 1024.0
# Under this share of the baseline's draw, `captured` would divide by noise.
CAPTURED_FLOOR = 0.01
ENDED = ("done", "failed", "cancelled")


def summary(
    record: Record,
    costs: Mapping[str, SiteCosts] | None = None,
    attributed: Mapping[str, Floats] | None = None,
) -> dict[str, float | int]:
    """Every metric of one run but the three comparisons; NaN where one has no meaning.

    Parameters
    ----------
    record : Record
    costs : mapping of site name to SiteCosts, optional
        Demand charge and battery replacement; without it both are zero.
    attributed : mapping, optional
        The result of `attribution.jobs_columns`, where it is at hand already.
    """
    if attributed is None:
        attributed = jobs_columns(record)
    return {
        **energy_metrics(record),
        **money_metrics(record, costs or {}),
        **job_metrics(record),
        "energy_lost_kwh": float(np.sum(attributed["energy_lost_kwh"])),
        "network_kwh": record.network_j / KWH_J,
        "network_gb": float(sum(transfer.size_gb for transfer in record.transfers)),
        "balance_residual_kwh": _residual_kwh(record),
        "window_h": record.scenario.end_s / HOUR_S,
    }


def comparison(
    run: Mapping[str, Any], baseline: Mapping[str, Any] | None, bound_draw_kwh: float | None
) -> dict[str, float]:
    """`grid_cut`, `bound_draw_kwh` and `captured` of a run against its baseline and bound; NaN for blank.

    Parameters
    ----------
    run, baseline : mapping
        Metrics of the run and of the baseline of the same scenario and seed (`None` where it is missing).
    bound_draw_kwh : float or None
        The bound that the run is held against [kWh].
    """
    bound = math.nan if bound_draw_kwh is None else float(bound_draw_kwh)
    blank = {"grid_cut": math.nan, "bound_draw_kwh": bound, "captured": math.nan}
    if baseline is None or _undone(run) or _undone(baseline):
        return blank
    draw, base = float(run["draw_kwh"]), float(baseline["draw_kwh"])
    saving = base - draw
    grid_cut = saving / base if base > 0 else math.nan
    room = base - bound
    captured = saving / room if base > 0 and room >= CAPTURED_FLOOR * base else math.nan
    return {"grid_cut": grid_cut, "bound_draw_kwh": bound, "captured": captured}


def _undone(run: Mapping[str, Any]) -> bool:
    return bool(run["jobs_left"] > 0 or run["work_left_gpu_hours"] > 0)


# --- energy ------------------------------------------------------------------------------------------


def draw_kwh(record: Record) -> float:
    """Grid import + unserved + what the batteries gave up, at what it takes to put it back [kWh].

    draw = grid_import + unserved + max(0, stored_start - stored_end) / eta_charge, summed over sites.
    """
    total = 0.0
    for site, energy in zip(record.scenario.sites, record.energy, strict=True):
        total += sum(energy.flow_j(name) for name in ("import_to_load", "import_to_battery", "unserved"))
        if site.battery is not None:
            total += max(0.0, float(energy.stored_j[0] - energy.stored_j[-1])) / site.battery.eta_charge
    return total / KWH_J


def energy_metrics(record: Record) -> dict[str, float]:
    """The energy part of the summary."""
    books = record.energy

    def flow(name: str) -> float:
        return sum(energy.flow_j(name) for energy in books) / KWH_J

    def total(values: Sequence[float]) -> float:
        return sum(values) / KWH_J

    pv_to_load, pv_to_battery = flow("pv_to_load"), flow("pv_to_battery")
    available = total([energy.total_j(energy.pv_w) for energy in books])
    it = total([energy.total_j(energy.it_w) for energy in books])
    load = total([energy.total_j(energy.site_w) for energy in books])
    other = total([energy.total_j(energy.other_w) for energy in books])
    from_sun = total([energy.total_j(energy.flows_w["discharge"] * energy.pool_solar) for energy in books])
    cycles, fade = _battery_use(record)
    quarter = import_means_kw(books, 900.0)
    return {
        "grid_import_kwh": flow("import_to_load") + flow("import_to_battery"),
        "draw_kwh": draw_kwh(record),
        "pv_available_kwh": available,
        "pv_used_kwh": pv_to_load + pv_to_battery,
        "curtailed_kwh": flow("curtailed"),
        "export_kwh": flow("export"),
        "unserved_kwh": flow("unserved"),
        "it_kwh": it,
        "site_kwh": load,
        "other_kwh": other,
        "stored_start_kwh": total([float(energy.stored_j[0]) for energy in books]),
        "stored_end_kwh": total([float(energy.stored_j[-1]) for energy in books]),
        "battery_cycles": cycles,
        "battery_fade": fade,
        "peak_import_kw": float(quarter.max()),
        "import_ramp_1min_kw": _largest_change(import_means_kw(books, 60.0)),
        "import_ramp_15min_kw": _largest_change(quarter),
        "pue": _ratio(load - other, it),
        "renewable_fraction": _ratio(pv_to_load + from_sun, load),
        "self_consumption": _ratio(pv_to_load + pv_to_battery, available),
        "sun_to_load": _ratio(available, load),
    }


def import_means_kw(books: Sequence[SiteEnergy], bin_s: float) -> Floats:
    """Means of the import of all sites together over bins of `bin_s` [s], in kW."""
    end = float(books[0].edges_s[-1])
    edges = np.append(np.arange(0.0, end, bin_s), end)
    joules = np.zeros(len(edges) - 1)
    for energy in books:
        power = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
        joules += energy.binned_j(power, edges)
    return np.asarray(joules / np.diff(edges) / 1000.0)


def _largest_change(values: Floats) -> float:
    return float(np.abs(np.diff(values)).max()) if len(values) > 1 else 0.0


def _battery_use(record: Record) -> tuple[float, float]:
    """Cycles (energy taken out over usable capacity) and fade of all batteries together; NaN for none."""
    taken = usable = new = now = 0.0
    for site, energy in zip(record.scenario.sites, record.energy, strict=True):
        battery = site.battery
        if battery is None or battery.capacity_j <= 0:
            continue
        taken += energy.flow_j("discharge") / battery.eta_discharge
        usable += (battery.soc_max - battery.soc_min) * battery.capacity_j
        new += battery.capacity_j
        now += energy.capacity_j
    return _ratio(taken, usable), 1.0 - now / new if new else math.nan


def _residual_kwh(record: Record) -> float:
    """The relative residual of the ledger's checks, as energy of the load [kWh]."""
    load = sum(energy.total_j(energy.site_w) for energy in record.energy)
    return record.balance_residual * load / KWH_J


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


# --- carbon and money ----------------------------------------------------------------------------------


def money_metrics(record: Record, costs: Mapping[str, SiteCosts]) -> dict[str, float]:
    """Emissions [kg] and cost [MAD] of the whole network."""
    emissions = charge = income = demand = wear = 0.0
    for site, energy in zip(record.scenario.sites, record.energy, strict=True):
        power = energy.flows_w["import_to_load"] + energy.flows_w["import_to_battery"]
        emissions += energy.total_j(power * energy.carbon) / G_PER_KG
        charge += energy.total_j(power * energy.price)
        income += energy.total_j(energy.flows_w["export"] * energy.export_price)
        if site.name in costs:
            demand += demand_charge_mad(energy, costs[site.name])
            wear += battery_wear_mad(energy, site.battery, costs[site.name])
    return {
        "emissions_kg": emissions,
        "cost_mad": charge + demand - income,
        "energy_charge_mad": charge,
        "demand_charge_mad": demand,
        "export_income_mad": income,
        "battery_wear_mad": wear,
    }


# --- jobs ----------------------------------------------------------------------------------------------


def job_times(record: Record) -> dict[str, NDArray[Any]]:
    """Times and states of the jobs as arrays: seconds, NaN where something never happened.

    Keys: `state, submit_s, start_s, end_s, wait_s, jct_s, runtime_s, deadline_s, ended, slowdown, missed`.
    """
    asks = [job.ask for job in record.jobs]
    outcomes = record.outcomes
    state = np.array([outcome.state for outcome in outcomes], dtype="<U9")
    submit = np.array([ask.submit_s for ask in asks], dtype=np.float64)
    start = np.array([outcome.start_s for outcome in outcomes], dtype=np.float64)
    end = np.array([outcome.end_s for outcome in outcomes], dtype=np.float64)
    ended = np.isin(state, ENDED)
    end = np.where(ended, end, np.nan)
    runtime = np.array([job.runtime_s for job in record.jobs], dtype=np.float64)
    deadline = np.array([ask.deadline_s for ask in asks], dtype=np.float64)
    jct = end - submit
    on_time = ended & (np.where(ended, end, np.inf) <= deadline + DEADLINE_TOLERANCE_S)
    return {
        "state": state,
        "submit_s": submit,
        "start_s": start,
        "end_s": end,
        "wait_s": start - submit,
        "jct_s": jct,
        "runtime_s": runtime,
        "deadline_s": deadline,
        "ended": ended,
        "slowdown": np.maximum(1.0, jct / np.maximum(runtime, SLOWDOWN_THRESHOLD_S)),
        "missed": np.isfinite(deadline) & ~on_time,
    }


def job_metrics(record: Record) -> dict[str, float | int]:
    """The job part of the summary."""
    times, outcomes = job_times(record), record.outcomes
    ended, started = times["ended"], np.isfinite(times["start_s"])
    wait, jct = times["wait_s"][started], times["jct_s"][ended]
    has_deadline = np.isfinite(times["deadline_s"])
    count = {name: int(np.sum(times["state"] == name)) for name in (*ENDED, "rejected", "left")}
    span = float(np.max(times["end_s"][ended]) - np.min(times["submit_s"])) if ended.any() else math.nan

    def gpu_hours(name: str) -> float:
        return float(sum(getattr(outcome, name) for outcome in outcomes)) / HOUR_S

    return {
        "jobs_submitted": len(outcomes),
        **{f"jobs_{name}": number for name, number in count.items()},
        "work_left_gpu_hours": gpu_hours("work_left_gpu_s"),
        "wait_mean_h": _mean(wait) / HOUR_S,
        "wait_p95_h": _p95(wait) / HOUR_S,
        "jct_mean_h": _mean(jct) / HOUR_S,
        "jct_p95_h": _p95(jct) / HOUR_S,
        "bounded_slowdown_mean": _mean(times["slowdown"][ended]),
        "makespan_h": span / HOUR_S,
        "gpu_hours": gpu_hours("busy_gpu_s"),
        "gpu_hours_lost": gpu_hours("lost_gpu_s"),
        **{name: sum(getattr(outcome, name) for outcome in outcomes) for name in _COUNTS},
        "deadline_miss_rate": _mean(times["missed"][has_deadline].astype(np.float64)),
        "utilisation": utilisation(record),
        "fairness_jain": fairness_jain(record.jobs, times),
    }


_COUNTS = ("pauses", "moves", "kills", "resizes")


def utilisation(record: Record) -> float:
    """Busy over online GPU-time, up to the last arrival; NaN where that is no time at all."""
    last = max((job.ask.submit_s for job in record.jobs), default=0.0)
    stints = record.stints
    overlap = np.clip(np.minimum(stints.end_s, last) - stints.start_s, 0.0, None)
    busy = float(np.sum(overlap * stints.gpus))
    online = sum(site.gpus * max(0.0, last - site.online_s) for site in record.scenario.sites)
    return _ratio(busy, online)


def fairness_jain(jobs: Sequence[Job], times: Mapping[str, NDArray[Any]]) -> float:
    """Jain's index over regions of the mean of ideal runtime / time from submission to end.

    J = (sum x)^2 / (n sum x^2), 1 where all regions are served alike, 1/n where one has it all [1]_. A job
    that the window's end left behind counts as 0; a rejected one does not count.

    References
    ----------
    .. [1] R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984, https://doi.org/10.48550/arXiv.cs/9809099
    """
    counted = times["state"] != "rejected"
    if not counted.any():
        return math.nan
    speed = np.zeros(len(jobs))
    np.divide(times["runtime_s"], times["jct_s"], out=speed, where=times["ended"] & (times["jct_s"] > 0))
    regions, index = np.unique([job.ask.tenant.region for job in jobs], return_inverse=True)
    number = np.bincount(index[counted], minlength=len(regions))
    total = np.bincount(index[counted], speed[counted], minlength=len(regions))
    means = total[number > 0] / number[number > 0]
    return _ratio(float(np.sum(means)) ** 2, len(means) * float(np.sum(means**2)))


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _p95(values: NDArray[Any]) -> float:
    return float(np.percentile(values, 95)) if len(values) else math.nan
