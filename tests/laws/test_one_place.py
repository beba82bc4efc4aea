"""One idea, one place: where two parts need the same thing, they get the same thing."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.simulator import random_streams
from tafukt.simulator.bound.supply import down_s, gpu_power_w, node_base_w
from tafukt.simulator.failures import FaultSettings
from tafukt.simulator.scenario import Battery, NodeType
from tafukt.sites import time_grid
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
