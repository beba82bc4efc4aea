"""The bound for very many sites: prices of GPU time from a sample of them, then each site by itself.

Sites meet only where the work of a class of jobs is split over them. With a price on each class's GPU time in each
slot (the dual of that row) the programme falls apart,

    bound = sum over jobs of (price of the cheapest slots for its work)
          + sum over sites of min (import, unserved, ... - price x work done there),

which holds for any prices (Lagrangian relaxation; Geoffrion 1974, doi:10.1007/BFb0120690), and with the best ones is
the optimum of the whole. The price of a GPU-hour hangs on what thousands of jobs and all sites do together, so that a
sample of the sites, scaled up to all of them, gives it nearly as well as the whole. The solver's work grows faster than
the number of sites that it sees at once: a sample of constant size and a small programme for each site make it linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

import numpy as np
import scipy.sparse as sp

from tafukt.simulator.bound.program import LinearProgram, SlotSupply, Work, build
from tafukt.simulator.bound.solve import Solution, mended, solve, sweep
from tafukt.simulator.units import Floats, Ints

# Sites in a sample, in proportion to the strata; at least so many of each, and two at the least, or a class would
# seem to have one site; and samples. Choices: with one sample a hundred sites that differ in everything lose twice as
# much, 1.1 instead of 0.6 %.
SAMPLED_SITES, LEAST_OF_STRATUM, SAMPLES = 24, 4, 2

# With a larger share of the sites the sample saves little time, and gives less than the whole.
MOST_SAMPLED = 1 / 4

# Blocks of rows and columns that belong to one site, and the axis of the sites.
_SITE_ROWS = {"bus": 0, "room": 0, "motion": 0, "refill": 0, "within": 1}
_SITE_COLUMNS = {"import": 0, "unserved": 0, "export": 0, "off": 0, "overflow": 0, "charge": 0, "discharge": 0}
_SITE_COLUMNS |= {"stored": 0, "missing": 0, "gpus": 1, "load": 1}

# What is summed over sites, and what is a mean over them.
_OF_GRID = ("import_w", "most_load_w", "shed_w", "export_w", "gpus", "off_nodes")
_AMOUNTS = (*_OF_GRID, "high_j", "start_j", "charge_w", "discharge_w")
_RATIOS = ("per_it", "off_w", "gpu_w", "dynamic_w")
_WEIGHTS = ("import_weight", "unserved_weight", "export_weight")
_PLAIN = ("node_gpus", "speed", "eta_charge", "eta_discharge", "leak_per_s")


def strata_of(supply: SlotSupply, work: Work) -> Ints:
    """A number for each site: the same for sites that take the same classes of jobs at the same speed."""
    alike = np.vstack((work.allowed.astype(np.float64), supply.speed))
    return np.asarray(np.unique(alike.T, axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)


def samples_of(supply: SlotSupply, work: Work) -> list[Ints]:
    """Samples of sites that stand for all, each by itself; none where they would have to be too large.

    In each stratum the sites of a sample are spread evenly over what a GPU-hour from the grid costs, and for like
    costs over the energy that sites have to spare per GPU.
    """
    picked = [_sample_of(supply, work, (index + 0.5) / SAMPLES) for index in range(SAMPLES)]
    return picked if max(len(sample) for sample in picked) <= MOST_SAMPLED * supply.sites else []


def _sample_of(supply: SlotSupply, work: Work, offset: float) -> Ints:
    """One sample; `offset` from 0 to 1 tells it from others."""
    count, strata = supply.sites, strata_of(supply, work)
    gpu_s = np.maximum(supply.gpus @ supply.duration_s, 1e-9)
    spare = supply.free_w @ supply.duration_s / gpu_s
    power_w = supply.per_it * (supply.gpu_w + supply.dynamic_w)[:, None] / supply.speed[:, None]
    dear = (supply.import_weight * power_w) @ supply.duration_s
    picked = []
    for stratum in range(int(strata.max()) + 1):
        sites = np.flatnonzero(strata == stratum)
        most = min(len(sites), max(LEAST_OF_STRATUM, round(SAMPLED_SITES * len(sites) / count)))
        groups = max(1, isqrt(most))
        by_cost = np.array_split(sites[np.argsort(dear[sites], kind="stable")], groups)
        for group, wanted in zip(by_cost, np.array_split(np.arange(most), groups), strict=True):
            places = ((np.arange(len(wanted)) + offset) * len(group) / len(wanted)).astype(np.int64)
            picked.append(group[np.argsort(spare[group], kind="stable")][places])
    return np.sort(np.concatenate(picked))


def scaled_up(supply: SlotSupply, strata: Ints, sample: Ints) -> SlotSupply:
    """The supply of a sample that has, in every slot, the totals and the means of each stratum."""
    fields = {
        name: getattr(supply, name)[sample].copy() for name in ("free_w", *_AMOUNTS, *_RATIOS, *_WEIGHTS, *_PLAIN)
    }
    for stratum in np.unique(strata):
        every, here = np.flatnonzero(strata == stratum), np.flatnonzero(strata[sample] == stratum)
        if len(every) == len(here):
            continue
        factor = len(every) / len(here)
        for name in _AMOUNTS:
            whole, part = getattr(supply, name)[every], fields[name][here]
            fields[name][here] = part * (_ratio(whole.sum(axis=0), part.sum(axis=0), factor))
        for name in _RATIOS:
            whole, part = getattr(supply, name)[every], fields[name][here]
            fields[name][here] = part * _ratio(whole.mean(axis=0), part.mean(axis=0), 1.0)
        # Sun less load has either sign, and so have prices: they are shifted.
        free_w = fields["free_w"][here] * factor
        fields["free_w"][here] = free_w + (supply.free_w[every].sum(axis=0) - free_w.sum(axis=0)) / len(here)
        for name in _WEIGHTS:
            whole, part = getattr(supply, name)[every], fields[name][here]
            fields[name][here] = part + (whole.mean(axis=0) - part.mean(axis=0))
    return replace(supply, **fields)


def _ratio(whole: Floats, part: Floats, otherwise: float) -> Floats:
    """One by the other, where that means something."""
    known = np.isfinite(whole) & np.isfinite(part) & (part > 0)
    return np.asarray(np.where(known, np.where(known, whole, 1.0) / np.where(known, part, 1.0), otherwise))


def solve_by_prices(
    programme: LinearProgram,
    supply: SlotSupply,
    work: Work,
    samples: Sequence[Ints],
    cuts: list[tuple[int, int]],
    iterations: int,
    beyond: bool = False,
) -> Solution:
    """Duals of the programme by the mean prices of some samples, and what each site does at these prices.

    Sites and jobs decide apart, so that `x` need not be a feasible point of the whole; `estimate` is the mean optimum
    of the scaled samples. `cuts` are the blocks in which these are solved, `beyond` is as for `program.build`.
    """
    # The one site of a class has that class's work in its own rows; it stands in each sample for itself.
    pinned = np.unique(work.allowed[work.allowed.sum(axis=1) == 1].argmax(axis=1))
    strata, steps, optimal, estimate = strata_of(supply, work), 0, True, 0.0
    x, over, y = np.zeros(len(programme.cost)), np.zeros(len(programme.cost)), np.zeros(len(programme.row_low))
    for sample in samples:
        small = build(scaled_up(supply, strata, sample), replace(work, allowed=work.allowed[:, sample]), beyond)
        found = solve(small, iterations) if len(cuts) <= 1 else sweep(small, cuts, iterations)
        steps, optimal = steps + found.iterations, optimal and found.optimal
        estimate += float(small.cost @ found.x) * small.unit / programme.unit / len(samples)
        share_x, share_y = found.x / len(samples), found.y / len(samples)
        for name in ("gpus", "load", "work", "rate"):
            _add(y, programme.rows, share_y, small.rows, name)
        for name, axis in _SITE_ROWS.items():
            _add(y, programme.rows, share_y, small.rows, name, sample, axis, pinned)
        for name in ("own", "group"):
            _add(x, programme.columns, share_x, small.columns, name)
        _add(over, programme.columns, share_x, small.columns, "overflow", sample)
    others = np.setdiff1d(np.arange(supply.sites), pinned)
    more, solved = _each_site(programme, others, x, y, iterations)
    fitting_nowhere = programme.columns["overflow"]
    fitting_nowhere = fitting_nowhere[fitting_nowhere >= 0]
    x[fitting_nowhere] = over[fitting_nowhere]  # what a site would do at such a price says nothing of the work
    return Solution(x, mended(programme, y), optimal and solved, steps + more, estimate)


def _add(
    target: Floats,
    numbers: dict[str, Ints],
    source: Floats,
    known: dict[str, Ints],
    name: str,
    sample: Ints | None = None,
    axis: int = 0,
    only: Ints | None = None,
) -> None:
    """Add the values of one block of a sample's programme, or of `only` some sites of it, to those of the whole."""
    if name not in numbers or name not in known:
        return
    to, of = numbers[name], known[name]
    if sample is not None:
        kept = np.arange(len(sample)) if only is None else np.flatnonzero(np.isin(sample, only))
        to, of = np.take(to, sample[kept], axis=axis), np.take(of, kept, axis=axis)
    both = (to >= 0) & (of >= 0)
    target[to[both]] += source[of[both]]


def _owners(blocks: dict[str, Ints], axes: dict[str, int], size: int) -> Ints:
    """The site that each row, or column, belongs to; -1 for none."""
    owner = np.full(size, -1, dtype=np.int64)
    for name, axis in axes.items():
        number = blocks.get(name)
        if number is None:
            continue
        shape = [1] * number.ndim
        shape[axis] = number.shape[axis]
        site = np.broadcast_to(np.arange(number.shape[axis]).reshape(shape), number.shape)
        owner[number[number >= 0]] = site[number >= 0]
    return owner


def _each_site(programme: LinearProgram, sites: Ints, x: Floats, y: Floats, iterations: int) -> tuple[int, bool]:
    """Solve each of the sites at the prices in `y`; put its point and its duals into `x` and `y`."""
    row_site = _owners(programme.rows, _SITE_ROWS, len(y))
    column_site = _owners(programme.columns, _SITE_COLUMNS, len(x))
    cost = programme.cost - programme.matrix.T @ np.where(row_site < 0, y, 0.0)
    everything = np.arange(sites.max(initial=0) + 2)
    row_order, column_order = np.argsort(row_site, kind="stable"), np.argsort(column_site, kind="stable")
    row_at = np.searchsorted(row_site[row_order], everything)
    column_at = np.searchsorted(column_site[column_order], everything)
    steps, optimal = 0, True
    for site in sites.tolist():
        rows = row_order[row_at[site] : row_at[site + 1]]
        columns = column_order[column_at[site] : column_at[site + 1]]
        part = _part(programme, rows, columns, cost, row_site)
        found = solve(part, iterations)
        x[columns], y[rows] = found.x, found.y
        steps, optimal = steps + found.iterations, optimal and found.optimal
    return steps, optimal


def _part(programme: LinearProgram, rows: Ints, columns: Ints, cost: Floats, row_site: Ints) -> LinearProgram:
    """The programme of some rows and columns at other costs."""
    block = programme.matrix[:, columns].tocoo()
    kept = row_site[block.row] >= 0  # the rest are priced
    local = np.searchsorted(rows, block.row[kept])  # the rows are in order
    shape = (len(rows), len(columns))
    return replace(
        programme,
        cost=cost[columns],
        low=programme.low[columns],
        high=programme.high[columns],
        matrix=sp.coo_matrix((block.data[kept], (local, block.col[kept])), shape=shape).tocsc(),
        row_low=programme.row_low[rows],
        row_high=programme.row_high[rows],
    )
