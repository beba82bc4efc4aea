"""Pictures of single pages: `python docs/make_pictures.py` draws them from what the pages themselves say.

`length` and `validation` show tables of their pages, `cluster` the formula on its page; `torino` is the experiment of
the engineer's tutorial, `ten_jobs` the script of the Python tutorial, `own_policy` the function on the page about
policies, `flexibility` a short version of the command on its page. Each file notes what it shows, by which a test finds
it stale.
"""

from __future__ import annotations

import io
import re
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from PIL import Image, PngImagePlugin

import tafukt
from tafukt.experiments.figures import style

DOCS = Path(__file__).resolve().parent
OUT = DOCS / "pictures"
HOUR_S, KWH_J = 3600.0, 3.6e6
LEAST_SHARE = 1e-4


def length_rows() -> list[tuple[int, int, float, float]]:
    """Days, seed, cut over the whole window [%] and cut of the account [%], as `length.md` has them."""
    page = (DOCS / "length.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) % \|.*\| ([\d.]+) % \|$", page, flags=re.M)
    return [(int(days), int(seed), float(whole), float(part)) for days, seed, whole, part in found]


def length(ax: Any) -> str:
    """Draw the cuts along the days; returns the note on what is shown."""
    rows = length_rows()
    for column, name, mark in ((2, "whole window", "o"), (3, "account only", "s")):
        means = {days: [row[column] for row in rows if row[0] == days] for days in sorted({row[0] for row in rows})}
        line = ax.plot(list(means), [sum(each) / len(each) for each in means.values()], label=f"{name}, mean")[0]
        ax.plot([row[0] for row in rows], [row[column] for row in rows], mark, color=line.get_color(), alpha=0.6)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted({row[0] for row in rows}), [str(days) for days in sorted({row[0] for row in rows})])
    ax.set_xlabel("days of arrivals; each point is one seed")
    ax.set_ylabel("cut of wait-for-sun [%]")
    ax.set_ylim(0, None)
    ax.legend(frameon=False)
    return repr(rows)


def tutorial_results(folder: Path) -> Any:
    """Results of the engineer's tutorial, from the files on its page."""
    page = (DOCS / "tutorials" / "engineer.md").read_text(encoding="utf-8")
    for kind, name in (("csv", "log.csv"), ("toml", "torino.toml")):
        text = re.search(rf"```{kind}\n(.*?)```", page, flags=re.S)
        assert text is not None
        (folder / name).write_text(text[1], encoding="utf-8")
    return tafukt.run(folder / "torino.toml", output=folder / "out", workers=1)


def torino_note(results: Any) -> str:
    """The draws that the picture of the tutorial shows."""
    draws = results.complete.groupby(["policy", *results.axes], sort=False)["draw_kwh"].mean()
    return ", ".join(f"{value:.1f}" for value in draws)


def torino(ax: Any) -> str:
    """Draw the grid draw along the size of the battery, with fixed modules; returns the note on what is shown."""
    with tempfile.TemporaryDirectory() as folder:
        results = tutorial_results(Path(folder))
        rows = results.complete[results.complete["sites.own.torino.pv.mount"] == "fixed"]
        tafukt.figures.matrix_lines(rows, ax, x="sites.own.torino.battery.kwh", title="")
        return torino_note(results)


def ten_jobs_records() -> dict[str, Any]:
    """The runs of the Python tutorial's script by policy."""
    made = runpy.run_path(str(DOCS.parent / "examples" / "one_site_ten_jobs.py"))
    return {name: tafukt.simulate(made["scenario"], made["jobs"], name) for name in ("fifo", "wait-for-sun")}


def _import_kwh(record: Any) -> float:
    energy = record.energy[0]
    return float(energy.flow_j("import_to_load") + energy.flow_j("import_to_battery")) / KWH_J


def ten_jobs_note(records: dict[str, Any]) -> str:
    """The grid imports that the picture of the Python tutorial shows."""
    return ", ".join(f"{name} {_import_kwh(record):.2f}" for name, record in records.items())


def ten_jobs(axes: Any) -> str:
    """Draw GPUs busy under each policy, above the sun; returns the note on what is shown."""
    records = ten_jobs_records()
    hours = np.arange(0.0, 72.0, 0.1)
    for ax, (name, record) in zip(axes, records.items(), strict=True):
        sun = record.scenario.sites[0].pv
        ax.fill_between(hours, [sun.at(h * HOUR_S) / 1000.0 for h in hours], color=style.SUN, alpha=0.35, linewidth=0)
        ax.set_title(f"{name}: {_import_kwh(record):.0f} kWh from the grid", loc="left")
        ax.set_xlabel("hour")
        ax.set_xticks(range(0, 49, 12))
        ax.set_xlim(0, 48)
        ax.set_ylim(0, 21)
        beside = ax.twinx()
        busy = sum((hours >= o.start_s / HOUR_S) & (hours < o.end_s / HOUR_S) for o in record.outcomes) * 4
        beside.step(hours, busy, where="post", color=style.INK)
        beside.set_ylim(0, 16.8)
        beside.set_yticks(range(0, 17, 4))
        beside.grid(visible=False)
    axes[0].set_ylabel("sun [kW], shaded")
    beside.set_ylabel("busy GPUs, line")
    return ten_jobs_note(records)


def own_policy_results(folder: Path) -> Any:
    """Results of the policy on the page about policies, beside presets, for four days of the Morocco week."""
    page = (DOCS / "writing_a_policy.md").read_text(encoding="utf-8")
    text = next(block for block in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "def morning(" in block)
    (folder / "my_policy.py").write_text(text, encoding="utf-8")
    own = f"{folder / 'my_policy.py'}:morning"
    less = {"days": 4, "bound": False, "policies": ["fifo", "solar", own, "wait-for-sun"]}
    return tafukt.run("morocco_week", set=less, output=folder / "out", workers=1)


def own_policy_note(results: Any) -> str:
    """The draws that the picture of the page about policies shows."""
    return ", ".join(f"{value:.1f}" for value in results.complete["draw_kwh"])


def own_policy(ax: Any) -> str:
    """Draw grid draw against waiting; returns the note on what is shown."""
    with tempfile.TemporaryDirectory() as folder:
        results = own_policy_results(Path(folder))
        rows = results.complete.assign(policy=[name.rpartition(":")[2] for name in results.complete["policy"]])
        rows.attrs = results.complete.attrs
        tafukt.figures.pareto(rows, ax, title="")
        return own_policy_note(results)


def cluster_constants() -> tuple[float, list[tuple[str, float, float]]]:
    """Start-up [s]; what runs are, length of one and what it costs the command [s], as `cluster.md` has them."""
    page = (DOCS / "cluster.md").read_text(encoding="utf-8")
    formula = re.search(r">  (\d+) s \+ n · max\(t / W, c\)", page)
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) s \| (\d+) ms \|", page, re.MULTILINE)
    assert formula is not None
    return float(formula[1]), [(what, float(length_s), float(ms) / 1000.0) for what, length_s, ms in rows]


def cluster(axes: Any) -> str:
    """Draw the time on two processors and on twenty workers along the number of runs; returns the note."""
    start_s, kinds = cluster_constants()
    runs = np.geomspace(1, 1000, 200)
    for ax, (what, length_s, each_s) in zip(axes, kinds, strict=True):
        ax.plot(runs, runs * length_s / 2.0, label="2 processors of your own")
        ax.plot(runs, start_s + runs * max(length_s / 20.0, each_s), label="20 workers")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
        ax.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        ax.minorticks_off()
        ax.set_title(f"{what[0].upper()}{what[1:]}, {length_s:g} s each", loc="left")
        ax.set_xlabel("runs")
        ax.set_ylabel("time [s]")
    axes[0].legend(frameon=False)
    return repr(cluster_constants())


def probed() -> Any:
    """Probes of three sites over three days of the bundled experiment of requests."""
    from tafukt.experiments.config.load import load_experiment
    from tafukt.experiments.config.toml import find
    from tafukt.experiments.runs import flexibility as probing

    less = ["days=3", "seeds=[1]", "policies=['fifo']", "sites.use=['rabat', 'fes', 'dakhla']", "step_min=15"]
    loaded = load_experiment(find("demand_response"), less)
    return probing.probe(loaded, probing.plan_of(loaded))


def flexibility_note(probes: Any) -> str:
    """How long each cut was sustained on the mean [h], as the picture of flexibility shows it."""
    lone = probes[(probes["spacing_h"] == 0.0) & (probes["asked_kw"] > 0.0)]
    return ", ".join(f"{cut:g}: {held:.2f}" for cut, held in lone.groupby("cut")["held_h"].mean().items())


def validation_rows() -> list[tuple[str, float]]:
    """What was compared, and what was found as a share of its threshold, by the first table of `validation.md`."""
    page = (DOCS / "validation.md").read_text(encoding="utf-8")
    table = page.partition("## Compared\n")[2].partition("\n- ")[0]
    rows = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        numbers = [re.match(r"-?[\d.]+(?:e-?\d+)?", cell) for cell in cells[3:5]]
        if len(cells) == 6 and all(numbers):
            found, allowed = (float(number[0]) for number in numbers if number)
            measure = f"{cells[0].partition(':')[0].partition(', ')[0]}: {cells[2].partition(', ')[0]}"
            rows.append((measure, max(found, 0.0) / allowed if allowed else found))
    return rows


def validation(ax: Any) -> str:
    """Draw what was found against its threshold; returns the note on what is shown."""
    rows = validation_rows()
    shares = [max(share, LEAST_SHARE) for _, share in rows]
    colours = [style.SUN if share <= 1.0 else "#b3261e" for share in shares]
    ax.barh(range(len(rows)), shares, color=colours)
    for place, (_, share) in enumerate(rows):
        ax.annotate(
            f"{share:.2g}",
            (max(share, LEAST_SHARE), place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(LEAST_SHARE, 10)
    ax.set_xticks([0.001, 0.01, 0.1, 1, 10], ["0.001", "0.01", "0.1", "1", "10"])
    ax.minorticks_off()
    ax.axvline(1.0, color=style.INK, linewidth=1.0)
    ax.set_xlabel("found, as a share of its threshold (beyond the line: fails)")
    ax.grid(visible=False, axis="y")
    return repr(rows)


ONE_PANEL = {"length": length, "torino": torino, "own_policy": own_policy, "validation": validation}
TWO_PANELS = {"ten_jobs": ten_jobs, "cluster": cluster}
HEIGHTS = {"validation": 4.0}


def _saved(name: str, figure: Any, note: str) -> None:
    drawn = io.BytesIO()
    style.save(figure, drawn, "png", dpi=110)
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", note)
    few = Image.open(drawn).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(OUT / f"{name}.png", optimize=True, pnginfo=about)


def main(names: list[str]) -> None:
    """Draw all, or those that are named."""
    from tafukt.experiments.figures.flexibility import flexibility_map
    from tafukt.experiments.runs import flexibility as probing

    OUT.mkdir(exist_ok=True)
    for name, draw in {**ONE_PANEL, **TWO_PANELS}.items():
        if names and name not in names:
            continue
        with style.style():
            panels = {"ncols": 2} if name in TWO_PANELS else {}
            figure, ax = plt.subplots(figsize=(7.2, HEIGHTS.get(name, 3.4)), layout="constrained", **panels)
            _saved(name, figure, draw(ax))
            plt.close(figure)
    if not names or "flexibility" in names:
        found = probed()
        probes = probing.probe_table(found)
        with style.style():
            figure = flexibility_map(probes, found.plan.longest_h, "Three sites, three days in December, under fifo")
            _saved("flexibility", figure, flexibility_note(probes))


if __name__ == "__main__":
    main(sys.argv[1:])
