"""`tafukt size`: the cheapest PV and battery with which an experiment meets a target.

All sites are scaled together: PV to `pv_factor` and batteries to `battery_factor` times what the experiment gives
them. An array's output is proportional to its size (its inverter grows with it), so a size needs no new weather, but
every point that is reported has been simulated. For each battery the least PV that meets the target is found by
climbing and bisection, and the batteries beside the cheapest are tried until they lie close. Batteries are searched
side by side, a step of each at a time, so that what is found does not depend on how many processes simulate.
"""

from __future__ import annotations

import contextlib
import math
import tomllib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.errors import InputError, Problem, nearest
from tafukt.experiments.results.dictionary import COMPARISON_METRICS, METRICS
from tafukt.experiments.runs.processes import Pool, WorkFailed, begin_worker
from tafukt.sites.profile import StepProfile

if TYPE_CHECKING:
    from tafukt.experiments.config.load import Loaded
    from tafukt.experiments.config.policies import PolicyRef
    from tafukt.experiments.config.scenario import Inputs
    from tafukt.simulator.scenario import Scenario

RISING = ("renewable_fraction", "self_consumption", "sun_to_load")
"""Metrics of which more is wanted; of all others less is."""
BATTERY_FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
PV_LADDER = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
PV_STEP = 1.04
"""The search for the least PV ends when it is known to so large a ratio."""
POINTS_LIMIT = 120
SizingProgress = Callable[[int], None]
Size = tuple[float, float]
"""Factors of PV and battery."""


@dataclass(frozen=True)
class Target:
    """A metric and the value that it must reach: at least where more is better, else at most."""

    metric: str
    value: float

    @property
    def at_least(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric in RISING

    def met(self, value: float) -> bool:
        """Whether a value meets the target."""
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Point:
    """One simulated size: factors, sizes of all sites together, price, and the metric's mean over the seeds."""

    pv_factor: float
    battery_factor: float
    pv_kwp: float
    battery_kwh: float
    capital_mad: float
    value: float
    jobs_left: int


@dataclass
class Sizing:
    """Result of a search for sizes.

    `points` are all simulated sizes, `front` the least PV that meets the target for each battery, `chosen`
    the cheapest that meets it, `None` where none does.
    """

    target: Target
    policy: str
    seeds: tuple[int, ...]
    prices: dict[str, str]
    points: list[Point] = field(default_factory=list)
    front: list[Point] = field(default_factory=list)
    chosen: Point | None = None


def parse_target(text: str) -> Target:
    """A target from `METRIC=VALUE`.

    Raises
    ------
    InputError
        If there is no such metric, it cannot be a target, or the value is no number.
    """
    metric, equals, number = (part.strip() for part in text.partition("="))
    known = [column.name for column in METRICS if column not in COMPARISON_METRICS]
    if not equals:
        raise InputError(Problem("--target", text, "should be METRIC=VALUE, as in renewable_fraction=0.8"))
    if metric not in known:
        message = f"no metric {metric!r} that can be a target"
        raise InputError(Problem("--target", text, message, nearest(metric, known)))
    try:
        value = float(number)
    except ValueError:
        raise InputError(Problem("--target", text, f"{number!r} is not a number")) from None
    if not math.isfinite(value):
        raise InputError(Problem("--target", text, "the value must be finite"))
    if metric in ("renewable_fraction", "self_consumption") and not 0 <= value <= 1:
        raise InputError(Problem("--target", text, "a share lies from 0 to 1"))
    return Target(metric, value)


def search(
    loaded: Loaded,
    target: Target,
    policy: str = "",
    pv_mad_per_kwp: float | None = None,
    progress: SizingProgress | None = None,
    workers: int = 1,
) -> Sizing:
    """The cheapest size that meets a target, for one policy (the last of the experiment where none is named).

    `workers` processes simulate; the result is the same from one or many.

    Raises
    ------
    InputError
        If there is no such policy, the experiment has a matrix, or its sites have neither PV nor nodes.
    SiteError, WorkloadError
        If the experiment's inputs cannot be used.
    """
    bench = _Bench(loaded, target, policy, pv_mad_per_kwp, progress)
    found = bench.sizing
    with bench.processes(workers):
        if not bench.met(bench.try_sizes([(0.0, 0.0)])[0]):
            bench.least_pv(BATTERY_FACTORS)
            while (between := _halves(found)) and len(found.points) < POINTS_LIMIT:
                bench.least_pv(between)
    found.points.sort(key=lambda point: (point.capital_mad, point.pv_factor))
    found.front.sort(key=lambda point: point.battery_factor)
    return found


def _halves(found: Sizing) -> list[float]:
    """Battery sizes half way from the chosen one to its neighbours on the front; none once they are near."""
    if found.chosen is None:
        return []
    best = found.chosen.battery_factor
    tried = sorted({point.battery_factor for point in found.points})
    place = tried.index(best)
    neighbours = [tried[i] for i in (place - 1, place + 1) if 0 <= i < len(tried)]
    return [(best + other) / 2 for other in neighbours if abs(best - other) > 0.15 * max(best, 0.5)]


class _Bench:
    """The inputs of every seed, built once, on which sizes are tried."""

    def __init__(
        self, loaded: Loaded, target: Target, policy: str, pv_mad_per_kwp: float | None, progress: SizingProgress | None
    ) -> None:
        from tafukt.experiments.config.scenario import build

        if loaded.axes:
            raise InputError(
                Problem(loaded.file, "matrix", "an experiment with a matrix cannot be sized; remove the matrix")
            )
        loaded = with_something_to_scale(loaded)
        self.policy = _policy(loaded, policy)
        self.inputs = [build(loaded, seed) for seed in loaded.experiment.seeds]
        self.pv_kwp = sum(site.pv_kwp for site in loaded.sites.values())
        self.battery_kwh = sum(site.battery_kwh for site in loaded.sites.values())
        self.battery_mad = sum(
            site.battery_kwh * site.battery.replacement_mad_per_kwh for site in loaded.sites.values() if site.battery
        )
        if loaded.experiment.currency != "MAD" and pv_mad_per_kwp is None:
            message = f"the default price of PV is in MAD; give one in {loaded.experiment.currency}"
            raise InputError(Problem(loaded.file, "--pv-mad-per-kwp", message))
        prices = pv_price()
        self.pv_mad = self.pv_kwp * (prices["mad_per_kwp"] if pv_mad_per_kwp is None else pv_mad_per_kwp)
        if pv_mad_per_kwp is not None:
            prices = {"mad_per_kwp": pv_mad_per_kwp, "source": "given by the user", "confidence": ""}
        self.sizing = Sizing(
            target,
            self.policy.label,
            tuple(loaded.experiment.seeds),
            {key: str(value) for key, value in prices.items()},
        )
        self._known: dict[Size, Point] = {}
        self._progress = progress
        self._pool: Pool | None = None

    @contextlib.contextmanager
    def processes(self, workers: int) -> Iterator[None]:
        """Simulate in so many processes for a while."""
        if workers == 1:
            yield
            return
        held = (self.sizing.seeds, self.inputs, self.policy)
        with Pool(workers, begin=_begin, given=held) as self._pool:
            yield

    def try_sizes(self, sizes: Sequence[Size]) -> list[Point]:
        """Simulate sizes under every seed, those that are not known yet."""
        new = [size for size in dict.fromkeys(sizes) if size not in self._known]
        held = (self.sizing.seeds, self.inputs, self.policy)
        runs = [(size, position) for size in new for position in range(len(self.inputs))]
        if self._pool is None:
            rows = [_simulated(*held, size, position) for size, position in runs]
        else:
            rows = _rows(self._pool, runs)
        each = len(self.inputs)
        for place, size in enumerate(new):
            self._add(size, rows[place * each : (place + 1) * each])
        return [self._known[size] for size in sizes]

    def _add(self, size: Size, rows: Sequence[dict[str, Any]]) -> None:
        pv, battery = size
        point = Point(
            pv_factor=pv,
            battery_factor=battery,
            pv_kwp=pv * self.pv_kwp,
            battery_kwh=battery * self.battery_kwh,
            capital_mad=pv * self.pv_mad + battery * self.battery_mad,
            value=float(np.mean([row[self.sizing.target.metric] for row in rows])),
            jobs_left=sum(row["jobs_left"] for row in rows),
        )
        self._known[size] = point
        self.sizing.points.append(point)
        if self._progress is not None:
            self._progress(len(self.sizing.points))
        best = self.sizing.chosen
        if self.met(point) and (best is None or point.capital_mad < best.capital_mad):
            self.sizing.chosen = point

    def met(self, point: Point) -> bool:
        """Whether a size meets the target with all work done."""
        return point.jobs_left == 0 and self.sizing.target.met(point.value)

    def least_pv(self, batteries: Sequence[float]) -> None:
        """Find the least PV that meets the target with each battery; what is found joins the front.

        A battery that costs more by itself than what was found before is given up.
        """
        searches = {battery: self._climb(battery) for battery in batteries}
        wanted = {battery: next(search) for battery, search in searches.items()}
        while wanted:
            self.try_sizes(list(wanted.values()))
            best = self.sizing.chosen
            asked, wanted = wanted, {}
            for battery, size in asked.items():
                dear = best is not None and battery > 0 and battery * self.battery_mad >= best.capital_mad
                following = None if dear else _send(searches[battery], self._known[size])
                if following is not None:
                    wanted[battery] = following

    def _climb(self, battery: float) -> Generator[Size, Point, None]:
        """The sizes to try for a battery: up to the first PV that meets the target, then between.

        From below, since more sun does not always help: a policy may send all jobs to where it is most.
        """
        low, high = 0.0, PV_LADDER[0]
        for high in PV_LADDER:
            if self.met((yield high, battery)):
                break
            low = high
        else:
            return
        while high > max(low, PV_LADDER[0] / 4) * PV_STEP:
            middle = math.sqrt(low * high) if low > 0 else high / 2
            if self.met((yield middle, battery)):
                high = middle
            else:
                low = middle
        self.sizing.front.append(self._known[high, battery])


def _send(search: Generator[Size, Point, None], point: Point) -> Size | None:
    """Next point that a search wants to try; `None` at its end."""
    try:
        return search.send(point)
    except StopIteration:
        return None


def _simulated(
    seeds: Sequence[int], inputs: Sequence[Inputs], policy: PolicyRef, size: Size, position: int
) -> dict[str, Any]:
    """The metrics of one size under the seed at `position`."""
    from tafukt.experiments.results.metrics import summary
    from tafukt.simulator.engine.engine import simulate

    given = inputs[position]
    scenario, quiet = scaled(given.scenario, *size), replace(given.settings, events="none")
    record = simulate(
        scenario, given.jobs, policy.load(), seed=seeds[position], settings=quiet, check_handed=not policy.is_ours
    )
    return summary(record, given.costs)


_HELD: list[tuple[Sequence[int], Sequence[Inputs], PolicyRef]] = []
"""In a process that simulates: what it was begun with."""


def _begin(seeds: Sequence[int], inputs: Sequence[Inputs], policy: PolicyRef) -> None:
    begin_worker()
    _HELD[:] = [(seeds, inputs, policy)]


def _in_process(run: tuple[Size, int]) -> dict[str, Any]:
    return _simulated(*_HELD[0], *run)


def _rows(pool: Pool, runs: Sequence[tuple[Size, int]]) -> list[dict[str, Any]]:
    """The metrics of sizes and seeds, in their order.

    Raises
    ------
    WorkFailed
        If a size cannot be simulated.
    """
    found: dict[tuple[Size, int], dict[str, Any]] = {}
    for done in pool.work(_in_process, runs):
        if done.error is not None or done.result is None:
            (pv, battery), _ = done.item
            raise WorkFailed(f"PV x {pv:g} with battery x {battery:g} cannot be simulated: {done.error}")
        found[done.item] = done.result
    return [found[run] for run in runs]


def _policy(loaded: Loaded, name: str) -> PolicyRef:
    if not name:
        return loaded.policies[-1]
    for policy in loaded.policies:
        if policy.label == name:
            return policy
    known = [policy.label for policy in loaded.policies]
    raise InputError(Problem(loaded.file, "policies", f"no policy {name!r} in it", nearest(name, known)))


def with_something_to_scale(loaded: Loaded) -> Loaded:
    """The experiment with the default PV or battery at all sites, if none has one."""
    from tafukt.sites.schema.equipment import BatteryModel, PVModel

    sites = dict(loaded.sites)
    if not any(site.pv_kwp > 0 for site in sites.values()):
        sites = {name: site.model_copy(update={"pv": PVModel.model_validate({})}) for name, site in sites.items()}
    if not any(site.battery_kwh > 0 for site in sites.values()):
        sites = {
            name: site.model_copy(update={"battery": BatteryModel.model_validate({})}) for name, site in sites.items()
        }
    if not any(site.pv_kwp > 0 for site in sites.values()):
        raise InputError(Problem(loaded.file, "sites", "no site has a node or a PV array, so there is nothing to size"))
    return replace(loaded, sites=sites)


def scaled(scenario: Scenario, pv: float, battery: float) -> Scenario:
    """A scenario with every array and every battery at a multiple of its size; a factor of zero takes it away."""
    sites = []
    for site in scenario.sites:
        store = site.battery
        if store is not None:
            sizes = {name: getattr(store, name) * battery for name in ("capacity_j", "charge_w", "discharge_w")}
            store = replace(store, **sizes) if battery > 0 else None
        array = StepProfile(np.asarray(site.pv.values * pv), site.pv.step_s, site.pv.start_s)
        sites.append(replace(site, pv=array, battery=store))
    return replace(scenario, sites=tuple(sites))


def pv_price() -> dict[str, Any]:
    """The price of PV, with its source."""
    path = Path(str(files("tafukt.experiments") / "templates" / "prices.toml"))
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["pv"])


# --- What `tafukt size` writes: every simulated size as a table, the sized experiment, and a few lines


def table(found: Sizing) -> Any:
    """Every simulated size as a data frame, cheapest first; `front`: the least PV for its battery that meets it."""
    import pandas as pd

    frame = pd.DataFrame([vars(point) for point in found.points]).rename(columns={"value": found.target.metric})
    frame["meets"] = [point.jobs_left == 0 and found.target.met(point.value) for point in found.points]
    frame["front"] = [any(point is other for other in found.front) for point in found.points]
    frame["chosen"] = [point is found.chosen for point in found.points]
    return frame


def sized_document(loaded: Loaded, point: Point) -> dict[str, Any]:
    """The experiment with the sizes of a point written into every site."""
    resolved = with_something_to_scale(loaded)
    sites = {}
    for name, site in resolved.sites.items():
        update: dict[str, Any] = {}
        if site.pv is not None:
            update["pv"] = site.pv.model_copy(update={"kwp": round(site.pv_kwp * point.pv_factor, 3)})
        if site.battery is not None:
            kwh = round(site.battery_kwh * point.battery_factor, 3)
            update["battery"] = site.battery.model_copy(update=_battery_sizes(site.battery, kwh, point.battery_factor))
        sites[name] = site.model_copy(update=update)
    document = replace(resolved, sites=sites).document()
    document["name"] = f"{loaded.experiment.name}_sized"[:80]
    return document


def _battery_sizes(battery: Any, kwh: float, factor: float) -> dict[str, float]:
    powers = {name: getattr(battery, name) for name in ("charge_kw", "discharge_kw")}
    return {"kwh": kwh} | {name: value * factor for name, value in powers.items() if value is not None}


def sizing_lines(found: Sizing) -> list[str]:
    """Result of the search, in a few lines."""
    points = found.points
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else f"seed {found.seeds[0]}"
    head = f"{found.policy}, {seeds}: {len(points)} sizes simulated"
    best = found.chosen
    if best is None:
        reached = [point.value for point in points if point.jobs_left == 0]
        if not reached:
            return [head, f"No size finishes all jobs in the accounting window, so {found.target} cannot be judged."]
        nearest_value = max(reached) if found.target.at_least else min(reached)
        return [
            head,
            f"No size up to {PV_LADDER[-1]:g} times the PV meets {found.target}; the best reached {nearest_value:.4g}.",
        ]
    return [
        head,
        f"Cheapest with {found.target}: {best.pv_kwp:,.0f} kWp of PV ({best.pv_factor:.2f} x) and "
        f"{best.battery_kwh:,.0f} kWh of battery ({best.battery_factor:.2f} x), {best.capital_mad / 1e6:,.2f} "
        f"million MAD; it reaches {best.value:.4g}.",
        f"PV at {float(found.prices['mad_per_kwp']):,.0f} MAD/kWp ({found.prices['source']}).",
    ]
