"""Tafukt held against published algorithms, another library's whole chain and textbook rules of dispatch.

Every right value is computed here, from the source that is cited; thresholds were set before the first run.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import builders.jobs as kit
import numpy as np
import pandas as pd
from builders.backfilling import ConservativeProfile, Row, easy, figures, ours, replayed, swf

from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.policies.presets import policy
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.sites.profile import Floats, StepProfile

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAFUKT_DATA", ROOT.parent / "shared" / "data"))
HOUR, KWH = 3600.0, 3.6e6


@dataclass(frozen=True)
class Held:
    """One comparison: both figures, and how far apart they may be, as a share of the other's."""

    what: str
    source: str
    measure: str
    mine: float
    theirs: float
    limit: float
    note: str = ""

    @property
    def gap(self) -> float:
        """Difference as a share of the other's figure."""
        return abs(self.mine / self.theirs - 1.0)

    @property
    def holds(self) -> bool:
        """Whether the difference keeps to the threshold."""
        return self.gap <= self.limit


# --- backfilling ------------------------------------------------------------------------------------------


def backfilling() -> Iterator[Held]:
    """EASY and conservative backfilling on a published log, against the algorithms as their paper gives them."""
    log = DATA / "traces" / "nasa_ipsc_1993.swf.gz"
    paper = "Mu'alem and Feitelson 2001, doi:10.1109/71.932708"
    rows = swf(log, 20_000, squeeze=0.6)
    theirs = figures(rows, replayed(rows, 128, easy))
    for node_gpus, nodes in ((128, "one node of 128"), (1, "128 nodes of one")):
        yield from _waits("EASY", nodes, rows, ours(rows, 128, "easy", node_gpus), theirs, paper, 0.001, 0.01)
    rows = swf(log, 1500, first=9000, squeeze=0.45)
    theirs = figures(rows, replayed(rows, 128, ConservativeProfile()))
    for node_gpus, nodes in ((128, "one node of 128"), (1, "128 nodes of one")):
        mine = ours(rows, 128, "conservative", node_gpus)
        yield from _waits("Conservative", nodes, rows, mine, theirs, paper, 0.03, 0.03)


def _waits(
    name: str, nodes: str, rows: list[Row], starts: list[float], theirs: tuple[float, float], paper: str,
    wait: float, slowdown: float,
) -> Iterator[Held]:  # fmt: skip
    mine = figures(rows, starts)
    what = f"{name}, {nodes}, {len(rows):,} jobs of the NASA iPSC log"
    yield Held(what, paper, "mean wait [s]", mine[0], theirs[0], wait)
    yield Held(what, paper, "mean bounded slowdown", mine[1], theirs[1], slowdown)


# --- waiting for a better hour ----------------------------------------------------------------------------


def windows() -> Iterator[Held]:
    """Carbon of lone jobs under a perfect forecast: at once, in the best window, in the best hours."""
    paper = "Wiesner et al. 2021, doi:10.1145/3464298.3493399"
    rng = np.random.default_rng(11)
    foresight = ForecastSettings("perfect", load="perfect", carbon="perfect", price="perfect", horizon_h=72)
    names = {"fifo": "at once", "carbon-window": "in one window", "wait-awhile": "in pieces"}
    found = {name: np.zeros(2) for name in names}
    for _ in range(60):
        hours = np.arange(120)
        grams = np.maximum(400.0 + 150.0 * np.sin(hours * 2 * np.pi / 24) + rng.normal(0.0, 60.0, 120), 20.0)
        begin, run, slack = (int(rng.integers(*ends)) for ends in ((0, 24), (2, 5), (4, 20)))
        open_h = grams[begin : begin + run + slack]
        best = {
            "fifo": open_h[:run].sum(),
            "carbon-window": min(open_h[wait : wait + run].sum() for wait in range(slack + 1)),
            "wait-awhile": np.sort(open_h)[:run].sum(),
        }
        for name, least in best.items():
            job = kit.job("j", begin * HOUR, 8, run * HOUR, slack_s=slack * HOUR, interruptible=name == "wait-awhile")
            books = kit.run([job], _on_the_grid(grams), policy(name), forecast=foresight).energy[0]
            found[name] += (books.total_j(books.flows_w["import_to_load"] * books.carbon), 8.0 * least)
    for name, (mine, theirs) in found.items():
        yield Held(f"60 lone jobs of 8 kW, {names[name]} (`{name}`)", paper, "emissions [g]", mine, theirs, 1e-9)


def _on_the_grid(grams_per_kwh: Floats) -> Scenario:
    """One node of 8 kW on a grid without sun, whose carbon changes from hour to hour."""
    end_s = len(grams_per_kwh) * HOUR
    flat = StepProfile.constant(0.0, end_s, HOUR)
    grid = Grid(flat, StepProfile(grams_per_kwh / KWH, HOUR), flat)
    node = NodeType("n", 8, 0.0, 8000.0, 0.0)
    return Scenario((Site("s0", "r0", node, 1, flat, flat, flat, grid),), end_s, HOUR)


# --- sun and battery --------------------------------------------------------------------------------------


def dispatch() -> Iterator[Held]:
    """Self-consumption over a year of hours, as tools for microgrids have it: surplus charges, want discharges."""
    rule = "greedy dispatch hour by hour, as in Luthander et al. 2015, doi:10.1016/j.apenergy.2014.12.028"
    rng, n = np.random.default_rng(12), 8760
    hour = np.arange(n) % 24
    sun = 50e3 * np.clip(np.sin((hour - 6) / 12 * np.pi), 0.0, None) * np.repeat(rng.uniform(0.2, 1.0, 365), 24)
    load = 8e3 + 6e3 * np.sin((hour - 9) / 24 * 2 * np.pi) + rng.uniform(0.0, 4e3, n)
    cell = Battery(80 * KWH, 20e3, 15e3, 0.94, 0.92, 0.0, 0.1, 0.9, 0.1)
    stored, bought, sold = cell.soc_start * cell.capacity_j, 0.0, 0.0
    for offer in (sun - load).tolist():
        if offer > 0.0:
            room_w = (cell.soc_max * cell.capacity_j - stored) / cell.eta_charge / HOUR
            into = min(offer, cell.charge_w, room_w)
            stored += into * cell.eta_charge * HOUR
            sold += (offer - into) * HOUR
        else:
            there_w = (stored - cell.soc_min * cell.capacity_j) * cell.eta_discharge / HOUR
            out = min(-offer, cell.discharge_w, there_w)
            stored -= out / cell.eta_discharge * HOUR
            bought += (-offer - out) * HOUR
    flat = StepProfile.constant(0.0, n * HOUR, HOUR)
    pv, other = StepProfile(sun, HOUR), StepProfile(load, HOUR)
    site = Site(
        "s0", "r0", NodeType("none", 8, 0.0, 1.0, 0.0), 0, pv, flat, other, Grid(flat, flat, flat), battery=cell
    )
    books = kit.run([], Scenario((site,), n * HOUR, HOUR), policy("fifo")).energy[0]
    what = "A site without GPUs, sun and battery, a year of hours"
    yield Held(what, rule, "bought [kWh]", books.flow_j("import_to_load") / KWH, bought / KWH, 1e-9)
    yield Held(what, rule, "fed in [kWh]", books.flow_j("export") / KWH, sold / KWH, 1e-9)


def pvwatts() -> Iterator[Held]:
    """A typical year's yield in Piedmont, fixed and tracking, by PVWatts as pvlib's model chain puts it together."""
    import pvlib
    from pvlib.modelchain import ModelChain

    from tafukt.sites.site import site_from
    from tafukt.sites.supply import supply

    file = DATA / "weather" / "pvgis_tmy_45.000_8.000.epw.gz"
    note = (
        "PVWatts has the sky of Perez and loses light to reflection; ours the sky of Hay and Davies, no reflection, and"
        " means over the hour"
    )
    source = "PVWatts 5 (Dobos 2014, doi:10.2172/1158421) by pvlib's ModelChain"
    heat = pvlib.temperature.TEMPERATURE_MODEL_PARAMETERS["sapm"]["open_rack_glass_polymer"]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "year.epw"
        plain.write_bytes(gzip.decompress(file.read_bytes()))
        table, about = pvlib.iotools.read_epw(str(plain), coerce_year=2025)
        # The publisher's hours are instants of UTC; irradiance lies a part of an hour off them, as its comment says.
        (late_h,) = re.findall(r"Irradiance Time Offset \(h\):(-?[\d.]+)", plain.read_text())
        table.index = table.index.tz_localize(None).tz_localize("UTC") + pd.Timedelta(hours=float(late_h) % 1.0)
        mounts = {
            "fixed": pvlib.pvsystem.FixedMount(30.0, 180.0),
            "tracking": pvlib.pvsystem.SingleAxisTrackerMount(0.0, 180.0, 60.0, True, 0.4),
        }
        for name, mount in mounts.items():
            array = pvlib.pvsystem.Array(
                mount, 0.2, module_parameters={"pdc0": 100e3, "gamma_pdc": -0.0037}, temperature_model_parameters=heat
            )
            system = pvlib.pvsystem.PVSystem(
                [array], inverter_parameters={"pdc0": 100e3 / 1.2 / 0.98, "eta_inv_nom": 0.98}
            )
            place = pvlib.location.Location(about["latitude"], about["longitude"], altitude=about["altitude"])
            chain = ModelChain.with_pvwatts(system, place).run_model(
                table[["ghi", "dni", "dhi", "temp_air", "wind_speed"]]
            )
            site = site_from(
                {
                    "lat": about["latitude"], "lon": about["longitude"], "tz": "UTC", "region": "piedmont",
                    "like": "rabat", "weather": {"kind": "epw", "file": str(plain)},
                    "pv": {"kwp": 100.0, "mount": name, "degradation_per_year": 0.0, "soiling": {"kind": "constant"}},
                },
                None, "validation", name="piedmont",
            )  # fmt: skip
            start = datetime(2025, 1, 1, tzinfo=UTC)
            mine = supply([site], start, 365, 3600.0, 1, Path(folder))["piedmont"].pv_w.values.sum() / 1000.0
            theirs = float(chain.results.ac.clip(lower=0.0).sum()) / 1000.0
            what = f"A typical year in Piedmont, 100 kWp, {name}"
            yield Held(what, source, "yield [kWh]", float(mine), theirs, 0.02, note)


ALL = (backfilling, windows, dispatch, pvwatts)
