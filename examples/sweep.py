"""A sweep in Python: how the cut grows with the battery; `python examples/sweep.py [FOLDER]`."""

import sys

import tafukt

EXPERIMENT = {
    "name": "battery_sweep",
    "start": "2025-06-02T00:00:00Z",
    "days": 2,
    "step_min": 30,
    "policies": ["fifo", "wait-for-sun"],
    "seeds": [1, 2],
    "bound": False,
    "sites": {"use": ["rabat", "dakhla"], "all": {"cluster": {"nodes": 4}}},
    "workload": {"load": 0.4, "runtime_cap_h": 12, "gang_cap": 16},
    "matrix": {"sites.all.battery.kwh_per_node": [2.0, 10.0]},
}


def main(folder: str = "results/battery_sweep") -> None:
    results = tafukt.run(EXPERIMENT, output=folder)
    cuts = results.complete.groupby(["sites.all.battery.kwh_per_node", "policy"])["grid_cut"].mean().unstack()
    print(cuts["wait-for-sun"].map("{:.1%}".format).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:2])
