"""Scenario of a simulation, all but its jobs: sites with their supply, all in seconds, watts and joules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np

from tafukt.simulator.power_caps import Caps
from tafukt.simulator.units import Floats
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask

Coordination = Literal["regional", "federated", "root"]


@dataclass(frozen=True)
class NodeType:
    """A kind of GPU node.

    `speed` is the work per GPU relative to the reference GPU; `sleep_after_s` is how long an empty node
    idles before it sleeps [s], infinite where nodes never sleep; `wake_s` is what waking takes [s], at
    idle power. `caps` is the speed under a power cap: (share of the power above idle, share of the full
    speed), from the lowest cap that it takes to (1, 1); empty where it takes none. `other_caps` are the same of jobs
    of another power curve, by its name.
    """

    name: str
    gpus: int
    idle_w: float
    loaded_w: float
    sleep_w: float
    wake_s: float = 0.0
    sleep_after_s: float = math.inf
    speed: float = 1.0
    caps: Caps = ()
    other_caps: tuple[tuple[str, Caps], ...] = ()

    def caps_of(self, ask: Ask) -> Caps:
        """Speed of a job under a power cap, as `caps`."""
        for name, caps in self.other_caps:
            if name == ask.power_curve:
                return caps
        return self.caps

    @property
    def can_sleep(self) -> bool:
        """Whether an empty node ever sleeps."""
        return math.isfinite(self.sleep_after_s)

    @property
    def empty_w(self) -> float:
        """Power of a node that has long been empty: asleep where nodes sleep, idle where they never do [W]."""
        return self.sleep_w if self.can_sleep else self.idle_w

    @property
    def dynamic_w(self) -> float:
        """Power above idle of one GPU at full intensity [W]."""
        return (self.loaded_w - self.idle_w) / self.gpus


@dataclass(frozen=True)
class Battery:
    """A battery as the ledger sees it, at its AC terminals.

    Attributes
    ----------
    capacity_j : float
        Energy between empty and full when new [J].
    charge_w, discharge_w : float
        Largest power in and out, at the AC bus [W].
    eta_charge, eta_discharge : float
        Efficiencies in (0, 1].
    self_discharge_per_s : float
        Share of the stored energy that is lost per second [1/s].
    soc_min, soc_max, soc_start : float
        Window of the state of charge, and where it starts; shares of the capacity.
    taper_soc : float
        Width of the band below `soc_max` in which the charging limit falls linearly to zero, and of the
        one above `soc_min` in which the discharging limit does; 0 for none.
    strategy : Strategy, optional
        When it charges and discharges; `None` for self-consumption.
    fade_per_cycle, fade_per_s : float
        Share of the capacity lost per full cycle, and per second at 25 degC [1/s].
    fade_doubling_c : float
        Warming that doubles the fade by age [degC].
    """

    capacity_j: float
    charge_w: float
    discharge_w: float
    eta_charge: float = 0.95
    eta_discharge: float = 0.95
    self_discharge_per_s: float = 0.0
    soc_min: float = 0.05
    soc_max: float = 0.95
    soc_start: float = 0.05
    taper_soc: float = 0.0
    strategy: Strategy | None = None
    fade_per_cycle: float = 0.0
    fade_per_s: float = 0.0
    fade_doubling_c: float = 10.0

    @property
    def usable_j(self) -> float:
        """Energy between the ends of the window when new [J]."""
        return (self.soc_max - self.soc_min) * self.capacity_j


@dataclass(frozen=True)
class GridEvent:
    """A request of the grid that a site draw less for a while; times in simulation time [s].

    From `start_s` the import is to fall within `ramp_down_s` to `to_w` [W], or by the share `cut` below a baseline: the
    mean load net of the sun in the quarter of an hour `before` the start, or in the same hours of ten `days` before.
    It is to stay there until `end_s`, and may be back where it was `ramp_up_s` later. Nobody knows of it before
    `notice_s`. Every joule less than the baseline, as far as it was asked, earns `pay_per_j`, every joule above the
    request costs `penalty_per_j` [MAD/J]. Sites whose requests begin together under one name, `shared`, answer them
    together: cut, baseline and `to_w` are then of the sum of their imports.
    """

    start_s: float
    end_s: float
    notice_s: float
    ramp_down_s: float = 0.0
    ramp_up_s: float = 0.0
    to_w: float | None = None
    cut: float = 0.0
    baseline: Literal["before", "days"] = "before"
    pay_per_j: float = 0.0
    penalty_per_j: float = 0.0
    shared: str = ""


def part_w(to_w: float, own_w: float, loads_w: Sequence[float]) -> float:
    """Part of one site in what several may import together, by the load of each; all have alike of what is over [W]."""
    whole_w = sum(loads_w)
    return to_w * own_w / whole_w if whole_w > to_w else own_w + (to_w - whole_w) / len(loads_w)


@dataclass(frozen=True)
class Grid:
    """A site's connection: price [MAD/J], carbon [g/J], limits [W], outages [s] and requests.

    `export_price` is what a fed-in joule earns [MAD/J]; `import_limit_w` and `export_limit_w` may be infinite, and
    the former may change from step to step, on the scenario's grid, which everybody knows beforehand;
    `ramp_up_w` and `ramp_down_w` are how much more and less than the minute before it a minute may import on the mean;
    `export_cap_share` is the share of the window's generation up to which export is paid, 1 for no cap;
    what goes beyond it is exported unpaid, up to the limit;
    `outages` are disjoint, ordered (start, end) pairs of simulation time.
    """

    price: StepProfile
    carbon: StepProfile
    export_price: StepProfile
    import_limit_w: float | StepProfile = math.inf
    export_limit_w: float = math.inf
    export_cap_share: float = 1.0
    outages: tuple[tuple[float, float], ...] = ()
    events: tuple[GridEvent, ...] = ()
    ramp_up_w: float = math.inf
    ramp_down_w: float = math.inf

    @property
    def has_ramp_limit(self) -> bool:
        """Whether the import may move only so fast."""
        return min(self.ramp_up_w, self.ramp_down_w) < math.inf

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit on the import."""
        return isinstance(self.import_limit_w, StepProfile) or self.import_limit_w < math.inf

    def import_limits_w(self, begin_s: Floats) -> Floats | float:
        """The import limit at some times [W]: one number where it never changes."""
        limit = self.import_limit_w
        return _sampled(limit, begin_s) if isinstance(limit, StepProfile) else limit


@dataclass(frozen=True)
class Site:
    """One data centre: its nodes, its sun, its battery, its grid.

    `overhead` is the power for cooling and conversion per watt of IT load; `fixed_w` is drawn always;
    `other` is what else the site runs (offices, services) [W]. All profiles share the scenario's grid.
    While the grid is out, sun and battery serve the load only where the site is `islandable`. The battery's
    fade is applied at `midnights_s` [s], by the ambient temperature `temp_air` [degC] (25 degC without one).
    `nodes_online` says from when [s] how many of its nodes are in service, in order, where that is not always all of
    them; the node with the highest number goes first. It is planned, so everybody knows it beforehand.
    """

    name: str
    region: str
    node: NodeType
    nodes: int
    pv: StepProfile
    overhead: StepProfile
    other: StepProfile
    grid: Grid
    battery: Battery | None = None
    fixed_w: float = 0.0
    country: str = "MA"
    is_root: bool = False
    islandable: bool = False
    online_s: float = 0.0
    nodes_online: tuple[tuple[float, int], ...] = ()
    temp_air: StepProfile | None = None
    midnights_s: tuple[float, ...] = ()

    @property
    def gpus(self) -> int:
        """All GPUs of the site."""
        return self.node.gpus * self.nodes

    def nodes_at(self, time_s: float) -> int:
        """Nodes in service at a time, by plan."""
        before = [count for at_s, count in self.nodes_online if at_s <= time_s]
        return before[-1] if before else self.nodes

    def least_nodes(self, begin_s: float, end_s: float) -> int:
        """The fewest nodes that are in service at any time from `begin_s` up to `end_s` [s], by plan."""
        return min([self.nodes_at(begin_s), *(count for at_s, count in self.nodes_online if begin_s < at_s < end_s)])

    def withdrawn(self, node: int, end_s: float) -> list[tuple[float, float]]:
        """Times at which a node is out of service, by plan, up to `end_s` [s]: disjoint and in order."""
        found: list[tuple[float, float]] = []
        out_s = -1.0
        for at_s, count in self.nodes_online:
            if count <= node and out_s < 0:
                out_s = at_s
            elif count > node and out_s >= 0:
                found.append((out_s, at_s))
                out_s = -1.0
        if out_s >= 0:
            found.append((out_s, end_s))
        return [(begin, min(stop, end_s)) for begin, stop in found if begin < end_s]

    def withdrawn_gpu_s(self, times_s: Floats) -> Floats:
        """GPU-seconds withdrawn by plan from the site's coming online up to each of some times."""
        total = np.zeros(len(times_s))
        for node in range(min((count for _, count in self.nodes_online), default=self.nodes), self.nodes):
            for begin, stop in self.withdrawn(node, math.inf):
                begin, stop = max(begin, self.online_s), max(stop, self.online_s)
                total += np.clip(times_s, begin, stop) - begin
        return total * self.node.gpus


@dataclass(frozen=True)
class Link:
    """A line between two sites, by name, that carries `gb_per_s` [GB/s] in each direction at once."""

    a: str
    b: str
    gb_per_s: float


@dataclass(frozen=True)
class Quota:
    """Limits on the GPUs that the tenants of a region hold at once: in all, and outside their own region."""

    gpus: float = math.inf
    gpus_outside: float = math.inf


@dataclass(frozen=True)
class Scenario:
    """Everything but the jobs and the policy.

    `end_s` is the end of the accounting window, `step_s` the supply step; every profile of every site
    covers 0 to `end_s` at least. Without `links` data are wherever they are needed, at no cost; with them
    data sets and checkpoints travel over them, at `network_j_per_gb` [J/GB] from end to end.
    `information_age_s` is how old what the root knows of the sites' free GPUs is, under `federated` [s].
    `quotas` go by region.

    Raises
    ------
    ValueError
        If two sites share a name, or a profile does not cover the window.
    """

    sites: tuple[Site, ...]
    end_s: float
    step_s: float
    country: str = "MA"
    coordination: Coordination = "root"
    hold_min_s: float = 1800.0
    links: tuple[Link, ...] = ()
    network_j_per_gb: float = 0.0
    information_age_s: float = 900.0
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {site.name: i for i, site in enumerate(self.sites)}
        if len(index) != len(self.sites):
            raise ValueError("two sites share a name")
        for site in self.sites:
            profiles = {name: getattr(site, name) for name in ("pv", "overhead", "other")}
            if isinstance(site.grid.import_limit_w, StepProfile):
                profiles["import_limit_w"] = site.grid.import_limit_w
            for name, profile in profiles.items():
                if profile.start_s > 0 or profile.end_s < self.end_s or profile.step_s != self.step_s:
                    raise ValueError(f"{site.name}: {name} does not cover the window in steps of {self.step_s} s")
        object.__setattr__(self, "_index", index)

    def site_index(self, name: str) -> int:
        """Position of the site called `name`; -1 where there is none."""
        return self._index.get(name, -1)

    def may_run(self, ask: Ask, site: Site) -> bool:
        """Whether the residency of the job's data and its size allow this site at all."""
        if (ask.gpus_min or ask.gpus) > site.gpus:
            return False
        area = self.data_area(ask)
        return not area or area == (site.country if ask.dataset.residency == "national" else site.region)

    def data_area(self, ask: Ask) -> str:
        """The country or the region that the job's data may not leave; empty where they may."""
        residency = ask.dataset.residency
        if residency == "open":
            return ""
        home = self.site_index(ask.dataset.home)
        if residency == "national":
            return self.sites[home].country if home >= 0 else self.country
        return self.sites[home].region if home >= 0 else ask.tenant.region


# --- When a battery charges and discharges: each strategy is the import that it steers the site towards
# A strategy gives, for every supply step, a band of grid import [W]. Below the band the battery charges with
# what is missing, above it the battery discharges what is too much, and inside it rests. What the sun leaves
# over is charged whatever the band, and the battery never gives more than the load takes, so it does not
# export. From the grid it charges only where the band's lower edge is above zero. A band changes with the
# supply step alone, so that the battery's motion between events stays a closed form.


Band = tuple[Floats, Floats]


@dataclass(frozen=True)
class PeakShaving:
    """Import is held at `peak_w` [W]: what exceeds it is discharged, what it leaves open recharges."""

    peak_w: float


@dataclass(frozen=True)
class Tariff:
    """Charge from the grid at a low price, discharge at a high one, and hold in between [MAD/J].

    Without thresholds: the lowest and the highest price of the window.
    """

    charge_below: float | None = None
    discharge_above: float | None = None


@dataclass(frozen=True)
class Carbon:
    """Charge from the grid at a low carbon intensity, discharge at a high one, hold in between [g/J].

    Without thresholds: the lower and the upper quartile of the window.
    """

    charge_below: float | None = None
    discharge_above: float | None = None


Strategy = PeakShaving | Tariff | Carbon


def import_band(strategy: Strategy | None, grid: Grid, starts_s: Floats) -> Band | None:
    """The import band of every supply step [W], given where the steps start [s].

    `None` for self-consumption, whose band is zero everywhere.

    Raises
    ------
    ValueError
        If a strategy would charge and discharge at the same signal.
    """
    match strategy:
        case None:
            return None
        case PeakShaving(peak_w):
            return np.full(len(starts_s), peak_w), np.full(len(starts_s), peak_w)
        case Tariff(below, above):
            return by_signal(_sampled(grid.price, starts_s), below, above, (0.0, 1.0))
        case Carbon(below, above):
            return by_signal(_sampled(grid.carbon, starts_s), below, above, (0.25, 0.75))


def by_signal(signal: Floats, below: float | None, above: float | None, quantiles: tuple[float, float]) -> Band | None:
    """The band of a strategy that buys at a low signal and saves for a high one.

    At or under `below` the battery charges all it can, at or over `above` it takes over all load, in
    between it keeps what it has and takes only surplus sun. A threshold that is not given is that quantile
    of the signal; a signal that never changes leaves nothing to gain: self-consumption, `None`.
    """
    low = float(np.quantile(signal, quantiles[0])) if below is None else below
    high = float(np.quantile(signal, quantiles[1])) if above is None else above
    if low >= high:
        if below is None and above is None:
            return None
        raise ValueError(f"the battery would charge at {low:g} and below, and discharge at {high:g} and above")
    charging, discharging = signal <= low, signal >= high
    return np.where(charging, inf, 0.0), np.where(discharging, 0.0, inf)


def _sampled(profile: StepProfile, times_s: Floats) -> Floats:
    index = np.floor((times_s - profile.start_s) / profile.step_s + 1e-9).astype(np.int64)
    return np.asarray(profile.values[index])
