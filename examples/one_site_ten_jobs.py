"""One site, ten jobs: a scenario built in Python, under two policies.

Run it with `python examples/one_site_ten_jobs.py`. Inside the simulator everything is in s, W and J.
"""

import numpy as np

import tafukt

HOUR_S, KWH_J, DAYS = 3600.0, 3.6e6, 3
END_S = DAYS * 24 * HOUR_S


def hourly(values: np.ndarray) -> tafukt.StepProfile:
    """A day of 24 hourly values, again on each day."""
    return tafukt.StepProfile(np.tile(values, DAYS), HOUR_S)


hour = np.arange(24) + 0.5
nothing = hourly(np.zeros(24))
site = tafukt.Site(
    name="dakhla",
    region="dakhla-oued-ed-dahab",
    node=tafukt.NodeType(
        "a100", gpus=8, idle_w=1500.0, loaded_w=5500.0, sleep_w=100.0, wake_s=180.0, sleep_after_s=600.0
    ),
    nodes=2,
    pv=hourly(np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None) * 20_000.0),
    overhead=hourly(np.full(24, 0.2)),
    other=nothing,
    grid=tafukt.Grid(
        price=hourly(np.full(24, 1.1 / KWH_J)),
        carbon=hourly(np.full(24, 610.0 / KWH_J)),
        export_price=nothing,
    ),
    battery=tafukt.Battery(capacity_j=20 * KWH_J, charge_w=10_000.0, discharge_w=10_000.0),
)
scenario = tafukt.Scenario(sites=(site,), end_s=END_S, step_s=HOUR_S)

jobs = [
    tafukt.Job(
        tafukt.Ask(
            job_id=f"job-{number}",
            submit_s=number * 2 * HOUR_S,
            gpus=4,
            estimate_s=3 * HOUR_S,
            slack_s=24 * HOUR_S,  # the start may be put off by a day
            tenant=tafukt.Tenant(site.region),
            home=site.name,
            dataset=tafukt.Dataset("corpus", 0.0, site.name, "national"),
            checkpoint=tafukt.Checkpoint(),
        ),
        tafukt.Truth(work_gpu_s=4 * 3 * HOUR_S),
    )
    for number in range(10)
]


def main() -> None:
    for policy in ("fifo", "wait-for-sun"):
        record = tafukt.simulate(scenario, jobs, policy)
        energy = record.energy[0]
        import_kwh = (energy.flow_j("import_to_load") + energy.flow_j("import_to_battery")) / KWH_J
        wait_h = (
            np.mean([o.start_s - j.ask.submit_s for o, j in zip(record.outcomes, record.jobs, strict=True)]) / HOUR_S
        )
        print(f"{policy:14} grid import {import_kwh:6.1f} kWh, mean wait {wait_h:4.1f} h")


if __name__ == "__main__":
    main()
