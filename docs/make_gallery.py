"""Pictures and answers of the gallery: `python docs/make_gallery.py [NAME ...]` runs the bundled experiments anew.

Each leaves `docs/gallery/NAME.png` and an entry in `docs/gallery/answers.json`, which `make_reference.py` puts on the
page and by which a test tells when they are stale. Runs are kept in `build/gallery`, so that what was stopped goes on.
A trace that is not in the cache is looked for in the folder that `TAFUKT_DATA` names.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from PIL import Image, PngImagePlugin

import tafukt
from tafukt.experiments.config import toml
from tafukt.experiments.figures import style
from tafukt.experiments.results.answer import answer

DOCS = Path(__file__).resolve().parent
GALLERY = DOCS / "gallery"
ANSWERS = GALLERY / "answers.json"
RUNS = DOCS.parent / "build" / "gallery"
COLOURS = 96
"""Of the palette of a picture: as many as its lines and letters need, at a third of the size."""

Results = Any
Drawer = Callable[[Results, Any], Any]


@dataclass(frozen=True)
class Picture:
    """How one experiment is shown: its figure, and what is changed so that it is made in a minute or so."""

    draw: Drawer
    caption: str
    less: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[float, float] = (7.2, 3.8)


def lines(x: str, metric: str = "draw_kwh", **only: Any) -> Drawer:
    """A metric along an axis of the matrix, at one value of another where there are two."""

    def draw(results: Results, ax: Any) -> None:
        rows = results.complete
        for axis, value in only.items():
            rows = rows[rows[axis].astype(str).str.startswith(str(value))]
        tafukt.figures.matrix_lines(rows, ax, x=x, metric=metric, title="")

    return draw


def cells(x: str, y: str, metric: str, policy: str) -> Drawer:
    """A metric over two axes of the matrix, under one policy."""
    return lambda results, ax: tafukt.figures.matrix_heatmap(
        results.complete, ax, x=x, y=y, metric=metric, policy=policy, title=""
    )


def run_figure(name: str, policy: str) -> Drawer:
    """One of the figures of a single run."""
    return lambda results, ax: getattr(tafukt.figures, name)(results[policy], ax, title="")


def whole(name: str) -> Drawer:
    """One of the figures that compare the policies."""
    return lambda results, ax: getattr(tafukt.figures, name)(results.complete, ax, title="")


TOLD_APART = (
    "fifo", "solar", "wait-for-sun", "planner", "budget-planner", "sun-threshold", "sun-slot", "sun-slots",
    "wait-awhile",
)  # fmt: skip
"""Of the policies compared; all others lie near fifo."""

PER_NODE = "sites.all.battery.kwh_per_node"
PICTURES: dict[str, Picture] = {
    "morocco_week": Picture(whole("policies"), "Grid draw of each policy, and the bound"),
    "morocco_month": Picture(
        run_figure("sun_and_load", "wait-for-sun"), "The mean day of the month under `wait-for-sun`", {"bound": False}
    ),
    "morocco_month_june": Picture(
        run_figure("sun_and_load", "wait-for-sun"), "The mean day of the month under `wait-for-sun`", {"bound": False}
    ),
    "policies_compared": Picture(
        whole("pareto"),
        "Grid draw against mean waiting, with the bound and the best known schedule",
        {"policies": list(TOLD_APART), "seeds": [1], "best_known": True},
        (8.0, 4.6),
    ),
    "battery_sizes": Picture(lines(PER_NODE), "Grid draw along the size of the batteries", {"seeds": [1]}),
    "connection_limit": Picture(
        cells("sites.all.cluster.nodes", "engine.at_limit", "wait_mean_h", "fifo"),
        "Mean waiting by the number of nodes, and by what happens at the limit",
    ),
    "dakhla_year": Picture(
        run_figure("grid_heatmap", "wait-for-sun"), "Grid import by local hour and day under `wait-for-sun`"
    ),
    "demand_response": Picture(
        run_figure("grid_request", "fifo"), "The largest request: import, target and baseline under `fifo`"
    ),
    "dust": Picture(lines("sites.all.pv.soiling.cleaning_days"), "Grid draw along the days between two cleanings"),
    "elastic_share": Picture(
        lines("workload.elastic.share"), "Grid draw along the share of elastic jobs", {"seeds": [1]}
    ),
    "forecast_value": Picture(
        lines("forecast.error", "captured", start="2025-12"),
        "Share of the possible saving that is captured, along the error of the forecast, in December",
        {"seeds": [1]},
    ),
    "grid_outage": Picture(lines(PER_NODE, "gpu_hours_lost"), "Work lost along the size of the batteries"),
    "heat_wave": Picture(
        lines("sites.all.heat_waves.chergui.warmer_c"), "Grid draw along the warmth of the six hot days"
    ),
    "microgrid": Picture(
        cells("sites.change.workshop.battery.kwh", "start", "draw_kwh", "fifo"),
        "Grid draw of the workshop by battery and season",
    ),
    "philly_alike": Picture(whole("policies"), "Grid draw of each policy, and the bound"),
    "philly_week": Picture(whole("policies"), "Grid draw of each policy, and the bound"),
    "ramp_limit": Picture(
        cells("sites.all.grid.ramp_limit_kw_per_min", PER_NODE, "ramp_breach_min", "fifo"),
        "Minutes in which the import moves too fast under `fifo`",
    ),
    "real_trace": Picture(lines("workload.slack_h", "grid_cut"), "What is saved along the slack"),
    "rollout_2030": Picture(
        run_figure("grid_heatmap", "wait-for-sun"),
        "Grid import by local hour and day under `wait-for-sun`",
        {"bound": False},
    ),
    "root_or_regional": Picture(lines("coordination"), "Grid draw by who coordinates", {"seeds": [1]}),
    "shared_request": Picture(
        run_figure("grid_request", "fifo"), "The largest request: import of all sites, target and baseline under `fifo`"
    ),
    "solar_share": Picture(
        cells("sites.all.pv.kwp_per_node", "workload.load", "grid_cut", "wait-for-sun"),
        "What `wait-for-sun` saves, by PV and by load",
    ),
    "sovereignty": Picture(
        lines("sites.own.seville.cluster.nodes", "emissions_kg"), "Emissions along the size of the partner's site",
        {"seeds": [1]},
    ),
}  # fmt: skip


def source(name: str) -> str:
    """The experiment to run: the bundled one, or a copy of it that reads its trace from the folder of data."""
    data, text = os.environ.get("TAFUKT_DATA"), toml.bundled()[name].read_text(encoding="utf-8")
    if not data or 'trace = "philly"' not in text:
        return name
    file = Path(data).resolve() / "traces" / "philly_2017.csv.gz"
    copy = RUNS / f"{name}.toml"
    copy.write_text(text.replace('trace = "philly"', f'format = "philly"\nfile = "{file}"'), encoding="utf-8")
    return str(copy)


def ran(name: str, output: Path, less: Mapping[str, Any]) -> float:
    """Run an experiment as a user would; returns the processor time that it took [s]."""
    words = [sys.executable, "-m", "tafukt", "run", source(name), "-o", str(output), "--quiet"]
    for key, value in less.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def entry(name: str, results: Results) -> dict[str, Any]:
    """What the page says of an experiment, and the draws by which a test finds it stale."""
    rows = results.complete.to_dict("records")
    draws = results.complete.groupby("policy", sort=False)["draw_kwh"].mean()
    return {
        "answer": answer(rows, results.baseline, results.axes),
        "changed": dict(PICTURES[name].less),
        "mean_draw_kwh": {str(policy): float(f"{draw:.6g}") for policy, draw in draws.items()},
    }


def draw(name: str, results: Results) -> None:
    """Draw the picture of an experiment, with its caption as alternative text and few colours."""
    picture = PICTURES[name]
    drawn = io.BytesIO()
    with style.style():
        figure, ax = plt.subplots(figsize=picture.size, layout="constrained")
        picture.draw(results, ax)
        style.save(figure, drawn, "png", dpi=110)
        plt.close(figure)
    note = PngImagePlugin.PngInfo()
    note.add_text("Description", picture.caption)
    all_colours = Image.open(drawn).convert("RGB")
    few = all_colours.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(GALLERY / f"{name}.png", optimize=True, pnginfo=note)


def made(name: str) -> dict[str, Any]:
    """Run one experiment, draw its picture; returns its entry."""
    output, clock = RUNS / name, RUNS / f"{name}.seconds"
    seconds = ran(name, output, PICTURES[name].less)
    if clock.exists():  # a run that was there already took its time then
        seconds = max(seconds, float(clock.read_text()))
    clock.write_text(f"{seconds:.2f}")
    results = tafukt.load(output)
    draw(name, results)
    return entry(name, results) | {"processor_s": float(f"{seconds:.2g}")}


def answers() -> dict[str, Any]:
    """The entries of all experiments that have one."""
    found: dict[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}
    return found


def main(names: list[str]) -> None:
    """Make those that are named, or all."""
    GALLERY.mkdir(exist_ok=True)
    RUNS.mkdir(parents=True, exist_ok=True)
    for name in names or list(toml.bundled()):
        print(name, flush=True)
        try:
            found = answers() | {name: made(name)}
        except subprocess.CalledProcessError:
            print(f"  {name} could not be run: its entry stays as it was", file=sys.stderr)
            continue
        text = json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"
        ANSWERS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
