"""The linear relaxation that the bound and the rolling planner share: sites, work and slots as plain arrays.

Variables are means over a slot. At each site the bus must be served,

    free + import + unserved + discharge >= charge + export + per_it (gpu_w gpus + dynamic_w load) - off

the battery keeps its law of motion, and the work of every job, or of every group of small jobs, is put
into slots of its window. Jobs that may run at several sites have no site index: the sum of a class of
them is split over the sites in each slot, which has the same optimum at a fraction of the size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tafukt.simulator.units import HOUR_S, Floats, Ints

# The programme is written in kW, h and kWh, so that its numbers lie near one and the solver's absolute
# tolerances mean something.
W_PER_KW = 1e3
J_PER_KWH = W_PER_KW * HOUR_S


@dataclass(frozen=True)
class SlotSupply:
    """Supply and needs of the sites in each slot; arrays are (sites, slots) unless said otherwise.

    Attributes
    ----------
    duration_s : array, shape (slots,)
        Length of each slot [s].
    free_w : array
        Sun less every load but that of busy GPUs [W]; negative at night.
    import_w : array
        Largest mean import [W].
    most_load_w : array
        Load that no schedule exceeds [W]: where import earns something, as much of it is imported.
    shed_w : array
        Load that can go unserved [W]; 0 where no shortage is possible.
    export_w : array
        Largest mean export [W].
    import_weight, unserved_weight, export_weight : array
        What a joule costs, or earns, in the objective.
    per_it : array
        Watts at the meter per watt of IT load, the least in the slot.
    gpus : array
        Mean number of GPUs online.
    off_nodes, off_w : array
        Nodes that a shortage can switch off, and what each then saves at the meter at most [W].
    node_gpus, gpu_w, dynamic_w, speed : array, shape (sites,)
        GPUs per node; power of a busy GPU at intensity 0 above the base load, and what intensity 1 adds [W];
        work per GPU relative to the reference GPU.
    high_j, start_j, charge_w, discharge_w, eta_charge, eta_discharge, leak_per_s : array, shape (sites,)
        The battery, its energy counted from its floor; zeros (and efficiencies 1) where there is none.
    missing_weight : float
        What a joule of import that would refill the battery to its start costs in the objective.
    """

    duration_s: Floats
    free_w: Floats
    import_w: Floats
    most_load_w: Floats
    shed_w: Floats
    export_w: Floats
    import_weight: Floats
    unserved_weight: Floats
    export_weight: Floats
    per_it: Floats
    gpus: Floats
    off_nodes: Floats
    off_w: Floats
    node_gpus: Floats
    gpu_w: Floats
    dynamic_w: Floats
    speed: Floats
    high_j: Floats
    start_j: Floats
    charge_w: Floats
    discharge_w: Floats
    eta_charge: Floats
    eta_discharge: Floats
    leak_per_s: Floats
    missing_weight: float

    @property
    def sites(self) -> int:
        """Number of sites."""
        return len(self.gpu_w)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.duration_s)


@dataclass(frozen=True)
class Starts:
    """Rigid jobs by site and start; a share of one of their runs is one column.

    Attributes
    ----------
    alone_j : array, shape (sites,)
        What each site draws without any job [J].
    row : array, shape (jobs,)
        Rows in the demand.
    gpu_s, intensity : array, shape (jobs,)
        Work of each [GPU-s of the reference GPU], and its intensity.
    job, site, extra_j : array, shape (columns,)
        Whose run it is, where, and what it draws at least beyond `alone_j` [J].
    cell_column, cell_slot, cell_gpus : array, shape (cells,)
        The slots of each run and the site's GPUs that it keeps busy, as a mean over the slot.
    """

    alone_j: Floats
    row: Ints
    gpu_s: Floats
    intensity: Floats
    job: Ints
    site: Ints
    extra_j: Floats
    cell_column: Ints
    cell_slot: Ints
    cell_gpus: Floats


@dataclass(frozen=True)
class Work:
    """Work to be done, in GPU-seconds of the reference GPU, at the best size of an elastic job.

    Attributes
    ----------
    allowed : array of bool, shape (classes, sites)
        Where the jobs of a class may run.
    own_class, own_gpu_s, own_intensity : array, shape (jobs with variables of their own,)
    cell_own, cell_slot, cell_gpus : array, shape (cells,)
        The slots of each such job's window and the most reference GPUs that it can keep busy in each, as
        a mean over the slot.
    group_class, group_gpu_s, group_intensity, group_code : array, shape (groups,)
        The code tells a group from others by what its jobs have in common.
    step_group, step_slot : array, shape (steps,)
        The slots of each group, consecutive, group by group.
    step_low_gpu_s, step_high_gpu_s, step_gpus : array, shape (steps,)
        Work that must and that can have been done by the end of the slot, and the most GPUs in it.
    starts : Starts, optional
        Rigid jobs whose start times are variables; they are none of the above.
    """

    allowed: Bools
    own_class: Ints
    own_gpu_s: Floats
    own_intensity: Floats
    cell_own: Ints
    cell_slot: Ints
    cell_gpus: Floats
    group_class: Ints
    group_gpu_s: Floats
    group_intensity: Floats
    group_code: Ints
    step_group: Ints
    step_slot: Ints
    step_low_gpu_s: Floats
    step_high_gpu_s: Floats
    step_gpus: Floats
    starts: Starts | None = None

    @property
    def step_codes(self) -> Ints:
        """A number for each step that tells it from others of the same slots, shape (steps,)."""
        return self.group_code[self.step_group] * 2**32 + self.step_slot


@dataclass(frozen=True)
class _Rows:
    """The rows that work and sites meet in, shape (sites, slots)."""

    bus: Ints
    room: Ints


def build(supply: SlotSupply, work: Work, beyond: bool = False) -> LinearProgram:
    """The programme of a supply and the work to be done with it.

    Work that no schedule can fit into its windows is done by GPUs that do not exist (block `overflow`), at
    a price that no saving repays: so the programme always has a solution, and it shows where it was forced.
    Classes that may run at several sites use such GPUs only `beyond` what there is: the tighter boxes without
    make the safe dual bound a little better.
    """
    dearest = max(np.abs(supply.import_weight).max(), supply.export_weight.max(), supply.missing_weight)
    assembly = ProgramBuilder(unit=float(dearest) * J_PER_KWH or 1.0)
    rows = _add_sites(assembly, supply, work)
    _add_batteries(assembly, supply, rows)
    totals = _add_classes(assembly, supply, work, rows, beyond)
    _add_own(assembly, supply, work, rows, totals)
    _add_pools(assembly, supply, work, rows, totals)
    if work.starts is not None:
        _add_starts(assembly, supply, work.starts, rows)
    return assembly.programme()


def gpu_kw(supply: SlotSupply) -> tuple[Floats, Floats]:
    """Power at the meter of a busy GPU at intensity 0, and what intensity 1 adds [kW], (sites, slots)."""
    per_it = supply.per_it / W_PER_KW
    return per_it * supply.gpu_w[:, None], per_it * supply.dynamic_w[:, None]


def intensity_range(work: Work) -> tuple[Floats, Floats]:
    """The least and the largest intensity in each class, shape (classes,); 0 for a class without jobs."""
    least, most = np.full(len(work.allowed), np.inf), np.zeros(len(work.allowed))
    for kind, intensity in ((work.own_class, work.own_intensity), (work.group_class, work.group_intensity)):
        np.minimum.at(least, kind, intensity)
        np.maximum.at(most, kind, intensity)
    return np.minimum(least, most), most


def _add_sites(assembly: ProgramBuilder, supply: SlotSupply, work: Work) -> _Rows:
    """Grid, shortage and overflow of every site; the rows of its bus and of its GPUs."""
    hours = supply.duration_s / HOUR_S
    still, moving = gpu_kw(supply)
    slot = np.arange(supply.slots)
    everywhere = np.ones(supply.free_w.shape, dtype=bool)
    rows = _Rows(
        bus=assembly.add_rows("bus", everywhere, slot, -supply.free_w / W_PER_KW, np.inf),
        room=assembly.add_rows("room", everywhere, slot, -np.inf, supply.gpus),
    )
    scale = J_PER_KWH / assembly.unit
    largest = np.maximum(0.0, -supply.free_w / W_PER_KW) + supply.gpus * (still + moving)
    largest = largest + supply.export_w / W_PER_KW
    # Power that a schedule wastes (nodes partly full, awake for nothing) is none of the programme's, unless it earns.
    earns = supply.import_weight < 0
    largest = np.where(earns, np.maximum(largest, supply.most_load_w / W_PER_KW), largest)
    largest = largest + (supply.charge_w / W_PER_KW)[:, None]
    grid = assembly.add_columns(
        "import",
        everywhere,
        slot,
        supply.import_weight * scale * hours,
        np.minimum(largest, supply.import_w / W_PER_KW),
    )
    assembly.put(rows.bus, grid, 1.0)
    shed = assembly.add_columns(
        "unserved", supply.shed_w > 0, slot, supply.unserved_weight * scale * hours, supply.shed_w / W_PER_KW
    )
    assembly.put(rows.bus, shed, 1.0)
    sold = assembly.add_columns(
        "export",
        (supply.export_w > 0) & (supply.export_weight > 0),
        slot,
        -supply.export_weight * scale * hours,
        supply.export_w / W_PER_KW,
    )
    assembly.put(rows.bus, sold, -1.0)
    off = assembly.add_columns("off", supply.off_nodes > 0, slot, 0.0, supply.off_nodes)
    assembly.put(rows.bus, off, supply.off_w / W_PER_KW)
    assembly.put(rows.room, off, supply.node_gpus[:, None])
    # No joule weighs more than one unit, so this outweighs whatever a GPU-hour can save.
    price = 20.0 * float(np.max(still + moving)) + 1e-3
    wanted = _all_gpus(supply, work)
    over = assembly.add_columns("overflow", everywhere & (wanted > 0), slot, price * hours, wanted)
    assembly.put(rows.room, over, -1.0)
    # GPUs that do not exist draw nothing, so that a lack of power can be overflow as well.
    assembly.put(rows.bus, over, still + moving)
    return rows


def _all_gpus(supply: SlotSupply, work: Work) -> Floats:
    """GPUs of each site on which all work of a slot could be done at once, shape (sites, slots)."""
    demand = np.bincount(work.cell_slot, work.cell_gpus, supply.slots)
    demand = demand + np.bincount(work.step_slot, work.step_gpus, supply.slots)
    if work.starts is not None:
        most = np.zeros((len(work.starts.row), supply.slots))
        np.maximum.at(most, (work.starts.job[work.starts.cell_column], work.starts.cell_slot), work.starts.cell_gpus)
        demand = demand + most.sum(axis=0) * supply.speed.max()
    return np.asarray(demand / supply.speed[:, None])


def _add_batteries(assembly: ProgramBuilder, supply: SlotSupply, rows: _Rows) -> None:
    """stored' <= keep stored + eta_charge charge - keep discharge / eta_discharge; what the end lacks.

    `keep` is what self-discharge leaves over a slot. Energy may be thrown away, charge is spared the
    slot's self-discharge and discharge is given it: each in the battery's favour.
    """
    slot = np.arange(supply.slots)
    exists = np.broadcast_to((supply.high_j > 0)[:, None], supply.free_w.shape)
    if not exists.any():
        return
    hours = supply.duration_s / HOUR_S
    charge = assembly.add_columns("charge", exists, slot, 0.0, (supply.charge_w / W_PER_KW)[:, None])
    give = assembly.add_columns("discharge", exists, slot, 0.0, (supply.discharge_w / W_PER_KW)[:, None])
    stored = assembly.add_columns("stored", exists, slot, 0.0, (supply.high_j / J_PER_KWH)[:, None])
    assembly.put(rows.bus, charge, -1.0)
    assembly.put(rows.bus, give, 1.0)
    keep = np.exp(-supply.leak_per_s[:, None] * supply.duration_s)
    start = supply.start_j / J_PER_KWH
    first = np.zeros(supply.free_w.shape)
    first[:, 0] = keep[:, 0] * start
    motion = assembly.add_rows("motion", exists, slot, -np.inf, first)
    assembly.put(motion, stored, 1.0)
    assembly.put(motion[:, 1:], stored[:, :-1], -keep[:, 1:])
    assembly.put(motion, charge, -supply.eta_charge[:, None] * hours)
    assembly.put(motion, give, keep / supply.eta_discharge[:, None] * hours)
    owed = (start > 0) & (supply.missing_weight > 0)
    price = supply.missing_weight * J_PER_KWH / assembly.unit / supply.eta_charge
    missing = assembly.add_columns("missing", owed, slot[-1:], price, start)
    refill = assembly.add_rows("refill", owed, slot[-1:], start, np.inf)
    assembly.put(refill, missing, 1.0)
    assembly.put(refill, stored[:, -1], 1.0)


@dataclass(frozen=True)
class _Totals:
    """Rows that the work of a class enters: of one pinned site (-1: several) or of totals per slot.

    `load` totals intensity above the class's least, `least`, times GPUs; absent where all are alike.
    """

    pinned: Ints
    gpus: Ints
    load: Ints
    least: Floats


def _add_classes(assembly: ProgramBuilder, supply: SlotSupply, work: Work, rows: _Rows, beyond: bool) -> _Totals:
    """Split the work of every class that may run at several sites over them, slot by slot."""
    classes = len(work.allowed)
    slot = np.arange(supply.slots)
    pinned = np.where(work.allowed.sum(axis=1) == 1, work.allowed.argmax(axis=1), -1)
    least, most = intensity_range(work)
    busy = np.zeros((classes, supply.slots), dtype=bool)
    busy[work.own_class[work.cell_own], work.cell_slot] = True
    busy[work.group_class[work.step_group], work.step_slot] = True
    split = busy & (pinned < 0)[:, None]
    varied = split & (most > least)[:, None]
    gpus_row = assembly.add_rows("gpus", split, slot, 0.0, np.inf)  # sum over sites of speed x gpus >= the class's work
    load_row = assembly.add_rows("load", varied, slot, 0.0, np.inf)
    still, moving = gpu_kw(supply)
    at = work.allowed[:, :, None]
    gpus = supply.gpus + (_all_gpus(supply, work) if beyond else 0.0)
    x = assembly.add_columns("gpus", at & split[:, None, :], slot, 0.0, gpus[None])
    spread = (most - least)[:, None, None]
    z = assembly.add_columns("load", at & varied[:, None, :], slot, 0.0, spread * gpus[None])
    speed = supply.speed[None, :, None]
    assembly.put(gpus_row[:, None, :], x, speed)
    assembly.put(load_row[:, None, :], z, speed)
    assembly.put(rows.room[None], x, 1.0)
    assembly.put(rows.bus[None], x, -(still[None] + least[:, None, None] * moving[None]))
    assembly.put(rows.bus[None], z, np.broadcast_to(-moving[None], z.shape))
    within = assembly.add_rows("within", z >= 0, slot, -np.inf, 0.0)
    assembly.put(within, z, 1.0)
    assembly.put(within, x, -spread)
    return _Totals(pinned, gpus_row, load_row, least)


def _enter(
    assembly: ProgramBuilder,
    supply: SlotSupply,
    rows: _Rows,
    totals: _Totals,
    kind: Ints,
    slot: Ints,
    intensity: Floats,
    column: Ints,
    factor: Floats,
) -> None:
    """Let columns of `factor` reference GPUs each draw on their class's totals, or on their one site."""
    many = totals.pinned[kind] < 0
    k, t = kind[many], slot[many]
    assembly.put(totals.gpus[k, t], column[many], -factor[many])
    assembly.put(totals.load[k, t], column[many], -factor[many] * (intensity[many] - totals.least[k]))
    one = ~many
    site, t = totals.pinned[kind[one]], slot[one]
    still, moving = gpu_kw(supply)
    gpus = factor[one] / supply.speed[site]
    assembly.put(rows.room[site, t], column[one], gpus)
    assembly.put(rows.bus[site, t], column[one], -gpus * (still[site, t] + intensity[one] * moving[site, t]))


def _add_own(assembly: ProgramBuilder, supply: SlotSupply, work: Work, rows: _Rows, totals: _Totals) -> None:
    """Reference GPUs of each large job in each slot of its window."""
    hours = supply.duration_s / HOUR_S
    y = assembly.add_columns("own", np.ones(len(work.cell_own), dtype=bool), work.cell_slot, 0.0, work.cell_gpus)
    last = np.zeros(len(work.own_gpu_s), dtype=np.int64)
    np.maximum.at(last, work.cell_own, work.cell_slot)
    done = assembly.add_rows("work", np.ones(len(last), dtype=bool), last, work.own_gpu_s / HOUR_S, np.inf)
    assembly.put(done[work.cell_own], y, hours[work.cell_slot])
    _enter(
        assembly,
        supply,
        rows,
        totals,
        work.own_class[work.cell_own],
        work.cell_slot,
        work.own_intensity[work.cell_own],
        y,
        np.ones(len(y)),
    )


def _add_starts(assembly: ProgramBuilder, supply: SlotSupply, starts: Starts, rows: _Rows) -> None:
    """Every rigid job runs through from one of its starts; what a site draws grows with each by what it draws alone."""
    column = assembly.add_columns("starts", np.ones(len(starts.job), dtype=bool), np.zeros_like(starts.job), 0.0, 1.0)
    last = np.full(len(starts.row), supply.slots - 1)
    once = assembly.add_rows("once", np.ones(len(starts.row), dtype=bool), last, 1.0, 1.0)
    assembly.put(once[starts.job], column, 1.0)
    still, moving = gpu_kw(supply)
    site, slot = starts.site[starts.cell_column], starts.cell_slot
    intensity = starts.intensity[starts.job[starts.cell_column]]
    cells = column[starts.cell_column]
    assembly.put(rows.room[site, slot], cells, starts.cell_gpus)
    assembly.put(rows.bus[site, slot], cells, -starts.cell_gpus * (still[site, slot] + intensity * moving[site, slot]))
    everywhere = np.ones(supply.sites, dtype=bool)
    alone = assembly.add_rows("alone", everywhere, last[:1], starts.alone_j / J_PER_KWH, np.inf)
    assembly.put(alone[:, None], assembly.columns["import"], supply.duration_s / HOUR_S)
    assembly.put(alone[starts.site], column, -starts.extra_j / J_PER_KWH)


def _add_pools(assembly: ProgramBuilder, supply: SlotSupply, work: Work, rows: _Rows, totals: _Totals) -> None:
    """Work of each group done by the end of each slot [GPU-h], between what is due and what has arrived."""
    count = len(work.step_group)
    if not count:
        return
    hours = supply.duration_s[work.step_slot] / HOUR_S
    everywhere = np.ones(count, dtype=bool)
    done = assembly.add_columns(
        "group", everywhere, work.step_slot, 0.0, work.step_high_gpu_s / HOUR_S, work.step_low_gpu_s / HOUR_S
    )
    before = np.where(np.diff(work.step_group, prepend=-1) == 0, done - 1, -1)
    rate = assembly.add_rows("rate", everywhere, work.step_slot, 0.0, work.step_gpus * hours)
    assembly.put(rate, done, 1.0)
    assembly.put(rate, before, -1.0)
    kind, intensity = work.group_class[work.step_group], work.group_intensity[work.step_group]
    _enter(assembly, supply, rows, totals, kind, work.step_slot, intensity, done, 1.0 / hours)
    later = before >= 0
    _enter(
        assembly,
        supply,
        rows,
        totals,
        kind[later],
        work.step_slot[later],
        intensity[later],
        before[later],
        -1.0 / hours[later],
    )


# --- A sparse linear programme, put together from named blocks of columns and rows


Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class LinearProgram:
    """minimise cost x subject to row_low <= matrix x <= row_high, low <= x <= high; every box is finite.

    `unit` is what one unit of the programme's objective means: J of draw, MAD or g. `columns` and `rows`
    name blocks of variables and rows by their numbers, -1 where one does not exist; `column_slot` and
    `row_slot` say which slot each belongs to (a row over many slots: its last).
    """

    cost: Floats
    low: Floats
    high: Floats
    matrix: sp.csc_matrix
    row_low: Floats
    row_high: Floats
    columns: dict[str, Ints]
    rows: dict[str, Ints]
    column_slot: Ints
    row_slot: Ints
    unit: float


@dataclass
class ProgramBuilder:
    """Collects blocks of columns, rows and entries."""

    cost: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    row_low: list[Floats] = field(default_factory=list)
    row_high: list[Floats] = field(default_factory=list)
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    columns: dict[str, Ints] = field(default_factory=dict)
    rows: dict[str, Ints] = field(default_factory=dict)
    column_slot: list[Ints] = field(default_factory=list)
    row_slot: list[Ints] = field(default_factory=list)
    width: int = 0
    height: int = 0
    unit: float = 1.0

    def add_columns(
        self,
        name: str,
        exists: Bools,
        slot: Ints,
        cost: Floats | float,
        high: Floats | float,
        low: Floats | float = 0.0,
    ) -> Ints:
        """One column wherever `exists`; the block of their numbers has its shape, the rest fits it."""
        number = _numbers(exists, self.width)
        self.width += int(exists.sum())
        self.columns[name] = number
        for target, value in ((self.cost, cost), (self.low, low), (self.high, high)):
            target.append(_where(exists, value))
        self.column_slot.append(np.broadcast_to(slot, exists.shape)[exists])
        return number

    def add_rows(self, name: str, exists: Bools, slot: Ints, low: Floats | float, high: Floats | float) -> Ints:
        """One row wherever `exists`."""
        number = _numbers(exists, self.height)
        self.height += int(exists.sum())
        self.rows[name] = number
        for target, value in ((self.row_low, low), (self.row_high, high)):
            target.append(_where(exists, value))
        self.row_slot.append(np.broadcast_to(slot, exists.shape)[exists])
        return number

    def put(self, rows: Ints, columns: Ints, values: Floats | float) -> None:
        """Entries wherever both the row and the column exist; the three are broadcast together."""
        r, c, v = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=np.float64))
        here = (r >= 0) & (c >= 0) & (v != 0)
        self.entries.append((r[here], c[here], v[here]))

    def programme(self) -> LinearProgram:
        """All of it as one sparse programme."""
        row, column, value = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = sp.coo_matrix((value, (row, column)), shape=(self.height, self.width)).tocsc()
        return LinearProgram(
            np.concatenate(self.cost),
            np.concatenate(self.low),
            np.concatenate(self.high),
            matrix,
            np.concatenate(self.row_low),
            np.concatenate(self.row_high),
            self.columns,
            self.rows,
            np.concatenate(self.column_slot),
            np.concatenate(self.row_slot),
            self.unit,
        )


def _numbers(exists: Bools, first: int) -> Ints:
    """Consecutive numbers from `first` wherever `exists`, -1 elsewhere."""
    number = np.full(exists.shape, -1, dtype=np.int64)
    number[exists] = first + np.arange(int(exists.sum()))
    return number


def _where(exists: Bools, value: Floats | float) -> Floats:
    """A value, broadcast, wherever `exists`."""
    return np.asarray(np.broadcast_to(np.asarray(value, dtype=np.float64), exists.shape)[exists])
