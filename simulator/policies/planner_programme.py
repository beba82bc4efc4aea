"""What a rolling planner shares the hours out by: the bound's linear programme, on forecasts in place of the truth.

Jobs that could run at several times or sites, and the work that is expected yet to come, are spread over
sites and slots such that least is drawn from the grid. Parts of jobs may run anywhere in it, so its plan is
no schedule; it says how much power each site should spend on whom in which hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.bound.plan import plan_of
from simulator.bound.relaxation import Supply, build
from simulator.bound.solve import attempt
from simulator.bound.work import Demand, work_of
from simulator.forecast import HOUR_S
from simulator.policies.planner_book import Book
from simulator.record import Floats, Ints
from simulator.view import View

# Slots are hours for a day and a half, then three hours (choices).
FINE_H, COARSE_H = 36, 3

# A plan that is made anew in an hour need not be exact.
ITERATIONS, TOLERANCE = 60, 1e-4


@dataclass(frozen=True)
class Wish:
    """Work that may be done at any of some sites, at any time within a window counted from now.

    Attributes
    ----------
    sites : tuple of int
    release_s, end_s : float
        The window [s from now].
    gpu_s, gpus : float
        Work, and the most GPUs that it keeps busy, of the reference type.
    intensity : float
    """

    sites: tuple[int, ...]
    release_s: float
    end_s: float
    gpu_s: float
    gpus: float
    intensity: float


@dataclass(frozen=True)
class Share:
    """The power that a wish is to have: IT power [W], shape (sites, hours of the book's span)."""

    sites: Ints
    watts: Floats


def shares(view: View, book: Book, wishes: Sequence[Wish]) -> list[Share]:
    """The share of each wish in the power of sites and hours that the plans in the book leave."""
    edges = _edges(book.span_h)
    supply = _supply(view, book, edges)
    demand = _demand(wishes, supply.speed)
    edges_s: Floats = edges.astype(np.float64) * HOUR_S
    work, own = work_of(demand, edges_s, len(wishes) * len(edges))
    programme = build(supply, work)
    found = attempt(programme, ITERATIONS, TOLERANCE, presolve=True)
    plan = plan_of(programme, supply, work, found.x, edges_s, own)
    busy = np.zeros((len(wishes), len(edges) - 1))
    np.add.at(busy, (plan.job, plan.job_slot), np.maximum(plan.job_gpus, 0.0))
    at = np.maximum(plan.gpus, 0.0) * supply.speed[None, :, None]
    split = at / np.maximum(at.sum(axis=1, keepdims=True), 1e-9) / supply.speed[None, :, None]
    made = []
    for row, wish in enumerate(wishes):
        sites = np.array(wish.sites, dtype=np.int64)
        per_gpu = np.array([view.sites[site].nodes.draws_w(1, wish.intensity) for site in wish.sites])
        watts = split[demand.kind[row]][sites] * busy[row] * per_gpu[:, None]
        made.append(Share(sites, np.repeat(watts, np.diff(edges), axis=1)))
    return made


def _edges(span_h: int) -> Ints:
    fine, coarse = np.arange(min(FINE_H, span_h)), np.arange(FINE_H, span_h, COARSE_H)
    return np.concatenate((fine, coarse, [span_h])).astype(np.int64)


def _demand(wishes: Sequence[Wish], speed: Floats) -> Demand:
    """The wishes as the bound's programme takes them."""
    kinds: dict[tuple[int, ...], int] = {}
    kind = np.array([kinds.setdefault(wish.sites, len(kinds)) for wish in wishes], dtype=np.int64)
    allowed = np.zeros((len(kinds), len(speed)), dtype=bool)
    for sites, row in kinds.items():
        allowed[row, list(sites)] = True
    columns = [(wish.release_s, wish.end_s, wish.gpu_s, wish.gpus, wish.intensity) for wish in wishes]
    release, end, gpu_s, gpus, intensity = np.array(columns, dtype=np.float64).T
    return Demand(np.arange(len(wishes)), kind, release, end, gpu_s, gpus, intensity, allowed)


def _supply(view: View, book: Book, edges: Ints) -> Supply:
    """What is left at every site, slot by slot, of sun, GPUs and battery."""
    slots = np.diff(edges).astype(np.float64)

    def mean(hourly: Floats) -> Floats:
        return np.asarray(np.add.reduceat(hourly, edges[:-1], axis=1) / slots)

    free_w, gpus, stored_j = book.left()
    none = np.zeros((len(free_w), len(slots)))
    nodes = [site.spec.node for site in view.sites]
    batteries = [site.spec.battery for site in view.sites]

    def of(name: str, without: float) -> Floats:
        return np.array([float(getattr(battery, name)) if battery else without for battery in batteries])

    high_j = (of("soc_max", 0.0) - of("soc_min", 0.0)) * of("capacity_j", 0.0)
    return Supply(
        duration_s=slots * HOUR_S,
        free_w=mean(free_w),
        import_w=np.full_like(none, np.inf),
        shed_w=none,
        export_w=none,
        import_weight=none + 1.0,
        unserved_weight=none,
        export_weight=none,
        per_it=mean(book.per_it),
        gpus=np.maximum(mean(gpus), 0.0),
        off_nodes=none,
        off_w=none,
        node_gpus=np.array([float(node.gpus) for node in nodes]),
        gpu_w=np.array([node.idle_w / node.gpus for node in nodes]),
        dynamic_w=np.array([(node.loaded_w - node.idle_w) / node.gpus for node in nodes]),
        speed=np.array([node.speed for node in nodes]),
        high_j=high_j,
        start_j=np.minimum(stored_j, high_j),
        charge_w=of("charge_w", 0.0),
        discharge_w=of("discharge_w", 0.0),
        eta_charge=of("eta_charge", 1.0),
        eta_discharge=of("eta_discharge", 1.0),
        leak_per_s=of("self_discharge_per_s", 0.0),
        missing_weight=0.0,
    )
