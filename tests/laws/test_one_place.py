"""One idea, one place: where two parts need the same thing, they get the same thing."""

from __future__ import annotations

import ast
import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.figures.style import GRID, INK, SUN
from tafukt.experiments.results.dictionary import METRICS
from tafukt.experiments.results.metrics import draw_kwh
from tafukt.simulator import random_streams
from tafukt.simulator.bound.starts import _Storage
from tafukt.simulator.bound.supply import down_s, gpu_power_w, node_base_w, supply_of
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.policies.lookahead.battery_course import battery_flows, imports_kwh
from tafukt.simulator.scenario import Battery, NodeType
from tafukt.simulator.search.course import _after, _store
from tafukt.simulator.search.world import world_of
from tafukt.sites import time_grid
from tafukt.sites.profile import StepProfile
from tafukt.workloads import streams

HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize(("seed", "name"), [(0, ""), (1, "faults/agadir/0"), (2**40, "ⵜⴰⴼⵓⴽⵜ")])
def test_a_named_stream_is_the_same_in_all_packages(seed: int, name: str) -> None:
    """Philox, keyed by the first 16 bytes of SHA-256 of `seed/name`: draws never hang on who asks."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    expected = np.random.Generator(np.random.Philox(key=key)).random(5).tolist()
    assert random_streams.stream(seed, name).random(5).tolist() == expected
    assert time_grid.stream(seed, name).random(5).tolist() == expected
    assert streams.stream(streams.key(seed, name)).random(5).tolist() == expected


def test_nodes_fail_in_the_run_when_the_bound_says_they_do() -> None:
    """If one drew otherwise than the other, the bound would silently stop being one."""
    end_s, faults = 6 * DAY, FaultSettings(node_mtbf_s=DAY, repair_s=5 * HOUR)
    where = kit.scenario([kit.site("s0", 3, end_s=end_s), kit.site("s1", 2, end_s=end_s)], end_s)
    events = kit.run([], where, seed=9, faults=faults).events
    for index, site in enumerate(where.sites):
        seen = []
        for node in range(site.nodes):
            mine = [e for e in events if e.site == index and e.detail.get("node") == node]
            failed = [e.time_s for e in mine if e.kind == "outage"]
            repaired = [e.time_s for e in mine if e.kind == "repair"] + [end_s]
            seen += list(zip(failed, repaired, strict=False))
        assert len(seen) > 5
        assert down_s(site, end_s, faults, 9) == seen


SLEEPY = NodeType("sleepy", 4, 1000.0, 5000.0, 100.0, wake_s=60.0, sleep_after_s=0.0)
AWAKE = replace(SLEEPY, sleep_after_s=math.inf)


@pytest.mark.parametrize(("node", "empty_w"), [(SLEEPY, 100.0), (AWAKE, 1000.0)])
def test_an_empty_node_and_a_busy_gpu_draw_the_same_for_all(node: NodeType, empty_w: float) -> None:
    """Ledger, bound and node type agree on a node that never sleeps, too."""
    where = kit.scenario([kit.site("s0", 2, node)])
    assert node.empty_w == empty_w
    assert node_base_w(where.sites[0]) == empty_w
    assert kit.it_j(kit.run([], where)) == pytest.approx(2 * empty_w * DAY, rel=1e-12)
    busy = kit.run([kit.job("a", 0.0, 8, DAY, intensity=0.5)], where).energy[0].it_w[-1]
    assert node.dynamic_w == 1000.0
    assert busy == pytest.approx(2 * 1000.0 + 8 * 0.5 * node.dynamic_w)
    still, dynamic = gpu_power_w(where.sites[0])
    assert 2 * node_base_w(where.sites[0]) + 8 * (still + 0.5 * dynamic) == pytest.approx(busy)


def test_a_cycle_is_the_energy_between_the_ends_of_the_window() -> None:
    battery = Battery(100.0, 1.0, 1.0, soc_min=0.1, soc_max=0.9)
    assert battery.usable_j == pytest.approx(80.0)


NET_W = (40e3, 100e3, 90e3, -30e3, -80e3, 60e3, 0.0, 20e3, -10e3, -40e3, -60e3, -70e3)
CELL = Battery(
    200 * 3.6e6, 50e3, 60e3, eta_charge=0.9, eta_discharge=0.8, soc_min=0.1, soc_max=0.9, soc_start=0.3, taper_soc=0.0
)


def test_a_battery_takes_the_same_course_for_all() -> None:
    """Ledger, forecasts of policies, search and bound, without what some of them leave out: taper, leak, ageing."""
    end_s = len(NET_W) * HOUR
    off = replace(AWAKE, idle_w=0.0, sleep_w=0.0)
    sun, load = (StepProfile(np.maximum(np.multiply(sign, NET_W), 0.0), HOUR) for sign in (1.0, -1.0))
    site = replace(kit.site("s0", 1, off, end_s), pv=sun, other=load, battery=CELL)
    where = kit.scenario([site], end_s)
    record = kit.run([], where)
    energy, low_j = record.energy[0], CELL.soc_min * CELL.capacity_j
    edges = np.arange(len(NET_W) + 1.0) * HOUR
    stored_j = np.interp(edges, energy.edges_s, energy.stored_j)
    assert stored_j.min() == pytest.approx(low_j)
    assert stored_j.max() == pytest.approx(low_j + CELL.usable_j)
    drawn_j = energy.flow_j("import_to_load")

    _, given, after = battery_flows(NET_W, CELL, stored_j[0] - low_j)
    assert np.multiply(after, HOUR) + low_j == pytest.approx(stored_j[1:])
    assert sum(given) * HOUR == pytest.approx(energy.flow_j("discharge"))
    left_kwh = (stored_j[-1] - low_j) * CELL.eta_discharge / 3.6e6
    alone = imports_kwh(np.array([NET_W]), CELL, stored_j[0] - low_j)
    assert alone[0] == pytest.approx(drawn_j / 3.6e6 - left_kwh)

    world = world_of(where, [])
    stored_kwh, drawn_kwh = [world.sites.start[0]], []
    for net_kw in world.sites.free_kw[0]:
        after_kwh, missing = _after(_store(world, 0), net_kw, stored_kwh[-1])
        stored_kwh.append(after_kwh)
        drawn_kwh.append(missing)
    assert np.multiply(stored_kwh, 3.6e6) == pytest.approx(stored_j)
    assert sum(drawn_kwh) * 3.6e6 == pytest.approx(drawn_j)

    storage = _Storage(supply_of(where, edges, "draw"), edges)
    assert storage.stored_j[0] + low_j == pytest.approx(stored_j)
    assert storage.drawn_w.sum() * HOUR == pytest.approx(drawn_j)

    back_j = max(0.0, stored_j[0] - stored_j[-1]) / CELL.eta_charge
    assert back_j > 0.0
    assert record.draw_j == pytest.approx(drawn_j + back_j)
    assert draw_kwh(record) == pytest.approx(record.draw_j / 3.6e6)


def test_the_search_knows_what_empty_nodes_and_busy_gpus_draw() -> None:
    where = kit.scenario([kit.site("s0", 3, SLEEPY), kit.site("s1", 2, AWAKE)])
    sites = world_of(where, []).sites
    assert (-sites.free_kw[:, 0]).tolist() == [0.3, 2.0]
    assert sites.rise_kw.tolist() == [0.9, 0.0]
    assert sites.gpu_kw.tolist() == [1.0, 1.0]


UNITS = {"MINUTE_S", "HOUR_S", "DAY_S", "YEAR_S", "DAY_H", "KWH_J", "KW_W", "Floats", "Ints"}
UNIT_FILES = {"simulator/units.py", "workloads/units.py", "sites/time_grid.py", "sites/profile.py"}
"""One for each package; `experiments` takes the simulator's."""


def test_units_and_types_of_arrays_are_defined_once_in_each_package() -> None:
    root = Path(__file__).parents[2]
    found = {}
    for package in ("sites", "workloads", "simulator", "experiments"):
        for path in sorted((root / package).rglob("*.py")):
            text, name = path.read_text(encoding="utf-8"), str(path.relative_to(root))
            if name not in UNIT_FILES:
                found[name] = UNITS & set(re.findall(r"^(\w+)(?:: \w+)? = ", text, flags=re.MULTILINE))
    assert not {name: units for name, units in found.items() if units}


# --- What a second copy of an idea would have to name: it may stand in these files alone


ROOT = Path(__file__).parents[2]
MODULES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("tafukt", "sites", "workloads", "simulator", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def where_imported(name: str) -> set[str]:
    """Modules that import a name, or from a module of that name."""
    found = set()
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""} | {alias.name for alias in node.names}
            else:
                continue
            if name in names:
                found.add(path)
    return found


def where_text(pattern: str) -> set[str]:
    """Modules in which a text matches as a whole; docstrings and the pieces of f-strings among them."""
    return {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(pattern, node.value)
    }


def where_attribute(name: str) -> set[str]:
    return {p for p, t in MODULES.items() for n in ast.walk(t) if isinstance(n, ast.Attribute) and n.attr == name}


def test_the_nearest_known_word_is_looked_up_in_one_place() -> None:
    assert where_imported("difflib") == {"tafukt/problems.py"}


def test_findings_of_pydantic_are_put_into_words_in_one_place() -> None:
    """Others hand the error on; only here is it taken apart."""
    taken_apart = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "errors"
    }
    assert taken_apart == {"tafukt/strict.py"}


def test_one_base_model_refuses_unknown_keys() -> None:
    models = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("BaseModel") for base in node.bases)
    }
    assert models == {"tafukt/strict.py"}


def test_runs_are_handed_to_processes_in_one_place() -> None:
    """The pool that survives a dead worker: `tests/experiments/test_run.py`."""
    pools = where_imported("concurrent.futures") | where_imported("multiprocessing")
    assert pools == {"experiments/runs/processes.py"}


def test_files_of_a_result_folder_are_named_in_one_place() -> None:
    assert where_text(r"manifest\.json|files\.json|summary\.json") == {"experiments/results/stored.py"}
    # The dictionary says what stands in them; `init` writes a file of that name.
    assert where_text(r"summary\.csv") <= {"experiments/results/stored.py", "experiments/results/dictionary.py"}
    written = {"experiments/results/stored.py", "experiments/cli/app.py", "experiments/cli/first.py"}
    assert where_text(r"experiment\.toml") == written


def test_colours_are_chosen_in_one_place() -> None:
    """A figure with a scale of its own says so beside it: bands of a workload, the ground of a lane."""
    own = {"experiments/figures/site.py": 4, "experiments/figures/jobs.py": 1}
    found = {
        path: len(
            [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and re.fullmatch("#[0-9a-fA-F]{6}", str(n.value))]
        )
        for path, tree in MODULES.items()
    }
    assert {path: count for path, count in found.items() if count and not path.endswith("/style.py")} == own
    script = (ROOT / "experiments/templates/explorer.js").read_text(encoding="utf-8")
    assert not re.findall("#[0-9a-fA-F]{6}", script), "the page is handed the figures' colours"
    sheet = (ROOT / "experiments/templates/report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", sheet.splitlines()[0]))
    assert (light["sun"], light["grid"], light["ink"]) == (SUN.lower(), GRID.lower(), INK.lower())


def test_the_answer_is_put_into_a_sentence_in_one_place() -> None:
    """Terminal, list of folders and report say what `answer` says."""
    saying = {path for path, tree in MODULES.items() for node in ast.walk(tree)
              if isinstance(node, ast.Constant) and "less grid electricity" in str(node.value)
              and not any(word in str(node.value) for word in ("Simulates", "Tafukt"))}  # fmt: skip
    assert saying == {"experiments/results/answer.py"}
    users = where_imported("answer") | where_imported("tafukt.experiments.results.answer")
    assert {"experiments/cli/run.py", "experiments/cli/compare.py", "experiments/report/report.py"} <= users


def test_headings_of_columns_come_from_the_dictionary() -> None:
    """No table of metrics and their headings stands beside it."""
    metrics = {column.name for column in METRICS}
    tables = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        and all(isinstance(value, ast.Constant) and isinstance(value.value, str) for value in node.values)
        and not any("_" in value.value for value in node.values)  # names of other columns
        and len(metrics & {key.value for key in node.keys if isinstance(key, ast.Constant)}) > 2
    }
    assert tables == {"experiments/results/dictionary.py"}


def test_a_forecast_is_continued_in_one_place() -> None:
    """Its last day again: whoever counts days by a remainder continues one (the forecast itself: persistence)."""
    days = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if path.startswith("simulator/") and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)
        if getattr(node.right, "id", getattr(node.right, "attr", "")) in ("day", "DAY_H", "day_slots")
    }
    assert days == {"simulator/engine/forecast.py", "simulator/policies/lookahead/forecast_end.py"}


def test_costs_of_windows_are_summed_in_one_place() -> None:
    """Sums of the hours before, from which the cost of any run is read."""
    running = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "accumulate" and getattr(node.value, "attr", "") == "add"
    }
    summed = running | where_attribute("sliding_window_view")
    assert {path for path in summed if "policies" in path} == {"simulator/policies/lookahead/windows.py"}
