"""A small simulation record that satisfies the ledger's equations, made without the engine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from tafukt.experiments.results import metrics
from tafukt.experiments.results import tables as results
from tafukt.simulator.record import FLOWS, Event, Occupancy, Outcome, Record, SiteEnergy
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, Tenant, Truth

Floats = NDArray[np.float64]

NODE = NodeType("a100", gpus=8, idle_w=1500.0, loaded_w=5500.0, sleep_w=100.0, wake_s=60.0, sleep_after_s=600.0)
BATTERY = Battery(capacity_j=50 * 3.6e6, charge_w=25e3, discharge_w=25e3, soc_min=0.1, soc_max=0.9, soc_start=0.85)
STEP_S = 300.0


def scenario(sites: int = 2, days: float = 2.0) -> Scenario:
    """Sites with a half-sine sun, a two-level price, and a fixed, an overhead and an office load."""
    n = round(days * 86_400 / STEP_S)
    hour = (np.arange(n) + 0.5) * STEP_S / 3600.0 % 24
    made = []
    for i in range(sites):
        sun = np.clip(np.sin((hour - 6.0 - 0.3 * i) / 12.0 * np.pi), 0.0, None) * (60e3 + 15e3 * i)
        grid = Grid(
            price=StepProfile(np.where((hour > 17) & (hour < 22), 1.4, 0.8) / 3.6e6, STEP_S),
            carbon=StepProfile((600.0 + 50 * np.sin(hour / 24 * 2 * np.pi)) / 3.6e6, STEP_S),
            export_price=StepProfile(np.full(n, 0.2 / 3.6e6), STEP_S),
            export_limit_w=5e3,
        )
        made.append(
            Site(
                name=f"site{i}",
                region=f"R{i}",
                node=NODE,
                nodes=4,
                pv=StepProfile(sun, STEP_S),
                overhead=StepProfile(0.15 + 0.05 * np.clip(np.sin((hour - 9) / 12 * np.pi), 0, None), STEP_S),
                other=StepProfile(np.full(n, 1000.0 * i), STEP_S),
                grid=grid,
                battery=BATTERY if i % 2 == 0 else None,
                fixed_w=400.0,
                is_root=i == 0,
            )
        )
    return Scenario(sites=tuple(made), end_s=n * STEP_S, step_s=STEP_S)


def jobs_and_occupancy(what: Scenario, count: int, seed: int) -> tuple[tuple[Job, ...], list[Outcome], Occupancy]:
    """Jobs of which most run in two occupancy with a pause between; one is rejected and one is left."""
    rng = np.random.default_rng(seed)
    jobs, outcomes, rows = [], [], []
    for j in range(count):
        site = int(rng.integers(len(what.sites)))
        gpus = int(rng.choice([1, 2, 4, 8]))
        runtime = float(rng.integers(1800, 5 * 3600))
        submit = float(np.sort(rng.integers(0, int(what.end_s * 0.6), count))[j]) if count else 0.0
        start = submit + float(rng.integers(0, 7200))
        pause = float(rng.integers(600, 5400)) if j % 3 == 0 else 0.0
        home = what.sites[site].name
        ask = Ask(
            job_id=f"job-{j:03d}",
            submit_s=submit,
            gpus=gpus,
            estimate_s=runtime * 1.2,
            slack_s=float("inf") if j % 5 == 4 else 5000.0,
            tenant=Tenant(what.sites[j % len(what.sites)].region, "research"),
            home=home,
            dataset=Dataset(f"data{j % 4}", 50.0, home),
            checkpoint=Checkpoint(10.0, 30.0, 240.0),
            job_class="fine-tuning" if gpus > 2 else "evaluation",
        )
        jobs.append(Job(ask, Truth(runtime * gpus, "done" if j % 7 else "failed", 1.0 if j % 7 else 0.5)))
        if j == 1:
            outcomes.append(Outcome(state="rejected"))
            continue
        power = 200.0 + 687.5 * gpus
        half = start + round(runtime / 2)
        end = half + pause + round(runtime / 2)
        left = end > what.end_s or j == 2
        rows.append((j, site, start, half, gpus, power, 4 if j % 6 == 0 else 0))
        if left:
            outcomes.append(Outcome("left", site, start, work_left_gpu_s=gpus * runtime / 2))
        else:
            rows.append((j, site, half + pause, end, gpus, power, 0))
            outcomes.append(Outcome("done" if j % 7 else "failed", site, start, end))
        outcomes[-1] = replace(outcomes[-1], pauses=int(pause > 0))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    occupancy = Occupancy(
        *(columns[i].astype(float if i in (2, 3, 5) else np.int64) for i in range(7)),
    )
    for j, outcome in enumerate(outcomes):
        mask = occupancy.job == j
        busy_gpu_s = float(np.sum((occupancy.end_s - occupancy.start_s)[mask] * occupancy.gpus[mask]))
        outcomes[j] = replace(outcome, busy_gpu_s=busy_gpu_s)
    return tuple(jobs), outcomes, occupancy


def settle(what: Scenario, site: int, occupancy: Occupancy, unserved_from_s: float = np.inf) -> SiteEnergy:
    """The flows of one site: sun first, then battery, then grid; no grid from `unserved_from_s` on."""
    place = what.sites[site]
    mask = occupancy.site == site
    steps = np.arange(round(what.end_s / STEP_S) + 1) * STEP_S
    edges = np.unique(np.concatenate((steps, occupancy.start_s[mask], occupancy.end_s[mask])))
    starts, duration = edges[:-1], np.diff(edges)
    step = (starts // STEP_S).astype(int)
    on = (occupancy.start_s[mask][:, None] <= starts) & (starts < occupancy.end_s[mask][:, None])
    idle = place.nodes * NODE.sleep_w
    it = idle + (occupancy.power_w[mask][:, None] * on).sum(axis=0)
    load = it * (1 + place.overhead.values[step]) + place.fixed_w + place.other.values[step]
    pv = place.pv.values[step]
    flows = {name: np.zeros(len(starts)) for name in FLOWS}
    price, carbon = place.grid.price.values[step], place.grid.carbon.values[step]
    pool = {name: np.zeros(len(starts)) for name in ("solar", "carbon", "cost")}
    stored, held, battery = [0.0], np.zeros(3), place.battery
    if battery:
        stored = [battery.soc_start * battery.capacity_j]
    for i, dt in enumerate(duration):
        flows["pv_to_load"][i] = direct = min(pv[i], load[i])
        surplus, need = pv[i] - direct, load[i] - direct
        now = stored[-1]
        if battery:
            room = (battery.soc_max * battery.capacity_j - now) / battery.eta_charge / dt
            flows["pv_to_battery"][i] = min(surplus, battery.charge_w, room)
            give = (now - battery.soc_min * battery.capacity_j) * battery.eta_discharge / dt
            flows["discharge"][i] = out = min(need, battery.discharge_w, give)
            if 2 * 3600 < starts[i] % 86_400 < 3 * 3600 and need > 0:
                flows["discharge"][i] = out = 0.0
                flows["import_to_battery"][i] = min(3000.0, room)
            carried = held / now / battery.eta_discharge if now else np.zeros(3)
            pool["solar"][i], pool["carbon"][i], pool["cost"][i] = carried
            bought = flows["import_to_battery"][i] * dt
            put_in = np.array(
                [battery.eta_charge * flows["pv_to_battery"][i] * dt, bought * carbon[i], bought * price[i]]
            )
            held = held + put_in - out * dt * carried
            charge = flows["pv_to_battery"][i] + flows["import_to_battery"][i]
            now += (charge * battery.eta_charge - out / battery.eta_discharge) * dt
            need -= out
        stored.append(now)
        served = 0.0 if starts[i] >= unserved_from_s else need
        flows["import_to_load"][i], flows["unserved"][i] = served, need - served
        left = surplus - flows["pv_to_battery"][i]
        buys = served > 0 or flows["import_to_battery"][i] > 0
        flows["export"][i] = 0.0 if buys else min(left, place.grid.export_limit_w)
        flows["curtailed"][i] = left - flows["export"][i]
    # What a discharged joule carries of the sun is a share: per joule delivered, not per joule stored.
    pool["solar"] *= battery.eta_discharge if battery else 1.0
    return SiteEnergy(
        edges_s=edges,
        it_w=it,
        site_w=load,
        other_w=place.other.values[step],
        pv_w=pv,
        flows_w=flows,
        stored_j=np.array(stored if battery else np.zeros(len(edges))),
        price=price,
        export_price=place.grid.export_price.values[step],
        carbon=carbon,
        mix_solar=pool["solar"],
        mix_carbon=pool["carbon"],
        mix_cost=pool["cost"],
        capacity_j=battery.capacity_j if battery else 0.0,
    )


def record(
    sites: int = 2, days: float = 2.0, count: int = 24, seed: int = 1, unserved_from_s: float = np.inf
) -> Record:
    """A whole record."""
    what = scenario(sites, days)
    jobs, outcomes, occupancy = jobs_and_occupancy(what, count, seed)
    books = [settle(what, i, occupancy, unserved_from_s) for i in range(sites)]
    events = []
    for j, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True)):
        events.append(Event(job.ask.submit_s, "submit", j))
        if outcome.site >= 0:
            detail = {"surplus_kw": 3.5, "until_h": outcome.start_s / 3600}
            events.append(Event(outcome.start_s, "start", j, outcome.site, "surplus covers it", detail))
        if outcome.state == "done":
            events.append(Event(outcome.end_s, "end", j, outcome.site, "done"))
    events.sort(key=lambda event: event.time_s)
    return Record(what, "fifo", jobs, outcomes, occupancy, books, events, balance_residual=1e-13)


# --- a result folder ---------------------------------------------------------------------------------


def write_folder(
    path: Path,
    policies: tuple[str, ...] = ("fifo", "solar", "wait-for-sun"),
    seeds: tuple[int, ...] = (1, 2),
    axis: dict[str, list[float]] | None = None,
    name: str = "small",
    question: str = "How much less is drawn?",
    sites: int = 2,
    days: float = 2.0,
    count: int = 24,
) -> Path:
    """A result folder of synthetic runs, in which each later policy draws less."""
    start = datetime(2025, 12, 1, tzinfo=UTC)
    rows, axes = [], axis or {}
    for values in product(*axes.values()):
        for seed in seeds:
            base: dict[str, Any] | None = None
            for place, policy in enumerate(policies):
                made = record(sites, days, count, seed + 10 * place)
                made = dataclasses.replace(made, policy=policy)
                metrics_row: dict[str, Any] = metrics.summary(made)
                metrics_row["draw_kwh"] *= (1.0 - 0.17 * place) * (1 + 0.03 * seed) / (1 + sum(values) / 10)
                metrics_row |= {"jobs_left": 0, "work_left_gpu_hours": 0.0}
                base = base or metrics_row
                metrics_row |= metrics.comparison(metrics_row, base, 0.45 * base["draw_kwh"], 0.5 * base["draw_kwh"])
                run = f"{policy}-s{seed}-{'-'.join(map(str, values)) or 'x'}"
                head = {"run": run, "status": "complete", "policy": policy, "seed": seed}
                head |= dict(zip(axes, values, strict=True))
                rows.append(head | results.metric_values(metrics_row))
                (path / "runs" / run).mkdir(parents=True)
                about = {"run": run, "policy": policy, "start": start.isoformat(), "tz": "Africa/Casablanca"}
                for file, data in results.table_files(made, start, 900.0, {}, about=about).items():
                    (path / "runs" / run / file).write_bytes(data)
    (path / "summary.csv").write_bytes(results.csv_bytes(list(rows[0]), [list(row.values()) for row in rows]))
    manifest = {"experiment": name, "versions": {"tafukt": "0.1.0", "python": "3.11"}, "runs": {}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    own = {
        f"site{i}": {
            "title": f"Site {i}",
            "lat": 34.0 - 1.1 * i,
            "lon": -6.8 - 0.9 * (i % 4),
            "sources": [{"key": "lat", "source": "a map", "confidence": "high"}],
        }
        for i in range(sites)
    }
    experiment = {"name": name, "question": question, "start": start, "days": int(days), "baseline": policies[0]}
    (path / "experiment.toml").write_text(tomli_w.dumps(experiment | {"sites": {"own": own}}))
    return path
