"""Record of a simulation: one outcome per job, every occupancy of GPUs, every flow of energy."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from operator import eq
from struct import Struct
from typing import Any, Literal, NamedTuple, get_args, overload

import numpy as np
from numpy.typing import NDArray

from tafukt.simulator.scenario import Scenario, Site
from tafukt.simulator.units import Floats, Ints
from tafukt.workloads.job import Job

# What an event without numbers carries: one for all, never written to.
NOTHING: Mapping[str, Any] = {}

EndState = Literal["done", "failed", "cancelled", "rejected", "refused", "left"]
END_STATES: tuple[EndState, ...] = get_args(EndState)
LEFT = END_STATES.index("left")
# The time of what never happened: one for all, so that lists of outcomes that are alike are equal.
NO_TIME = float("nan")

FLOWS = (
    "pv_to_load",
    "pv_to_battery",
    "export",
    "curtailed",
    "discharge",
    "import_to_load",
    "import_to_battery",
    "unserved",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one job; times in simulation seconds, NaN if it never happened.

    `rejected` is whom no allowed site can hold, `refused` whom the policy has turned away.
    `site` is the index of the last site that it ran on, -1 for none. `busy_gpu_s` counts every
    GPU-second that it held, `lost_gpu_s` those whose work was lost to a kill, `work_left_gpu_s` what was
    still to do at the end of the window.
    """

    state: EndState = "left"
    site: int = -1
    start_s: float = NO_TIME
    end_s: float = NO_TIME
    busy_gpu_s: float = 0.0
    lost_gpu_s: float = 0.0
    work_left_gpu_s: float = 0.0
    pauses: int = 0
    moves: int = 0
    kills: int = 0
    resizes: int = 0


class Outcomes(Sequence[Outcome]):
    """The outcomes of a run in columns, one for each field of `Outcome`: a million are 70 MB, as objects 250.

    An engine writes into the columns as jobs end; `state` holds places in `END_STATES`.

    Parameters
    ----------
    number : int
        Of the jobs, to none of which anything has happened yet.
    """

    __slots__ = tuple(item.name for item in fields(Outcome))

    def __init__(self, number: int) -> None:
        self.state = array("b", [LEFT]) * number
        self.site = array("i", [-1]) * number
        self.start_s, self.end_s = (array("d", [NO_TIME]) * number for _ in range(2))
        self.busy_gpu_s, self.lost_gpu_s, self.work_left_gpu_s = (array("d", [0.0]) * number for _ in range(3))
        self.pauses, self.moves, self.kills, self.resizes = (array("i", [0]) * number for _ in range(4))

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Outcomes:
        """Outcomes in columns, from a list of them."""
        if isinstance(outcomes, Outcomes):
            return outcomes
        made = cls(len(outcomes))
        for place, outcome in enumerate(outcomes):
            made.state[place] = END_STATES.index(outcome.state)
            for name in cls.__slots__[1:]:
                getattr(made, name)[place] = getattr(outcome, name)
        return made

    def __len__(self) -> int:
        return len(self.state)

    @overload
    def __getitem__(self, place: int) -> Outcome: ...

    @overload
    def __getitem__(self, place: slice) -> list[Outcome]: ...

    def __getitem__(self, place: int | slice) -> Outcome | list[Outcome]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        columns = (getattr(self, name)[place] for name in self.__slots__[1:])
        values: tuple[Any, ...] = tuple(value if value == value else NO_TIME for value in columns)
        return Outcome(END_STATES[self.state[place]], *values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> Any:
        """One column as an array; `state` in words."""
        values = np.frombuffer(getattr(self, name), dtype=getattr(self, name).typecode)
        return np.array(END_STATES)[values] if name == "state" else values


@dataclass(frozen=True)
class Occupancy:
    """Every interval in which a job held GPUs at one power, as columns of one length.

    `job` and `site` are indices; `power_w` is the job's IT power with its GPUs' part of node idle.
    `kind` is an index into `KINDS`; `lost` is a run whose work a kill has undone, `wake` any waiting for
    nodes or data with GPUs in hand.
    """

    KINDS = ("run", "wake", "restart", "checkpoint", "lost")

    job: Ints
    site: Ints
    start_s: Floats
    end_s: Floats
    gpus: Ints
    power_w: Floats
    kind: Ints


OCCUPANCY_CODES = {kind: code for code, kind in enumerate(Occupancy.KINDS)}


@dataclass(frozen=True)
class PerStep:
    """A column that hangs on the supply step alone: the value in each step, and the step of each segment."""

    values: Floats
    step: NDArray[np.int32]


class Column:
    """A column of `SiteEnergy` that may be given as `PerStep`: its array is made when it is asked for.

    That takes a tenth of a millisecond a year, and a third of the books need not be held.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, books: None, owner: type) -> Column: ...

    @overload
    def __get__(self, books: object, owner: type) -> Floats: ...

    def __get__(self, books: object, owner: type) -> Column | Floats:
        """The array."""
        if books is None:  # as the class is made: a column has no default
            raise AttributeError(self._name)
        kept: Floats | PerStep = vars(books)[self._name]
        return kept.values[kept.step] if isinstance(kept, PerStep) else kept

    def __set__(self, books: object, value: Floats | PerStep) -> None:
        vars(books)[self._name] = value


@dataclass(frozen=True)
class SiteEnergy:
    """The settled ledger of one site, as segments in which every flow is constant or is its mean.

    `edges_s` has n + 1 times from 0 to the window's end and holds every event and every supply step;
    every other column has n values. Powers are means over their segment [W]; `stored_j` has n + 1
    values, at the edges. `mix_solar` is the share of the energy discharged in a segment that came from
    the sun; `mix_carbon` and `mix_cost` are what a discharged joule carries [g/J] and [MAD/J], as
    `price`, `export_price` [MAD/J] and `carbon` [g/J] are what a joule from or to the grid does.
    """

    edges_s: Floats
    it_w: Floats
    site_w: Floats
    flows_w: dict[str, Floats]
    stored_j: Floats
    mix_solar: Floats
    mix_carbon: Floats
    mix_cost: Floats
    other_w: Column = Column()
    pv_w: Column = Column()
    price: Column = Column()
    export_price: Column = Column()
    carbon: Column = Column()
    capacity_j: float = 0.0
    extra_j: dict[str, float] = field(default_factory=dict)

    @cached_property
    def duration_s(self) -> Floats:
        """Length of each segment [s]."""
        return np.diff(self.edges_s)

    def total_j(self, power_w: Floats) -> float:
        """A column of powers, integrated over the window [J]."""
        return float(np.sum(power_w * self.duration_s))

    def flow_j(self, name: str) -> float:
        """One of `FLOWS`, integrated over the window [J]."""
        return self.total_j(self.flows_w[name])

    def binned_j(self, power_w: Floats, edges_s: Floats) -> Floats:
        """A column of powers, integrated over each bin of `edges_s` (n + 1 times) [J], shape (n,)."""
        cumulative = np.concatenate(([0.0], np.cumsum(power_w * self.duration_s)))
        return np.diff(np.interp(edges_s, self.edges_s, cumulative))


PIECE = 1 << 14  # so many segments are worked on at once


def in_pieces(size: int) -> Iterator[slice]:
    """The segments, so many at a time that a dozen columns of them stay in the processor's cache."""
    return (slice(first, first + PIECE) for first in range(0, size, PIECE))


class Event(NamedTuple):
    """One thing that happened, with the reason that the policy gave and the numbers it rested on.

    `job` and `site` are indices, -1 for none. `kind` is one of `submit reject refuse hold start pause move
    resize kill end outage repair offload cap`.
    """

    time_s: float
    kind: str
    job: int = -1
    site: int = -1
    reason: str = ""
    detail: Mapping[str, Any] = NOTHING


class Events(Sequence[Event]):
    """The events of a run in columns: a million jobs have three million, and as objects they fill most of the memory.

    `kind`, `reason` and `detail` are places in `kinds`, `reasons` and `details`; `job` and `site` are indices.
    """

    def __init__(
        self,
        rows: NDArray[np.void],
        kinds: Sequence[str],
        reasons: Sequence[str],
        details: Sequence[Mapping[str, Any]],
        places: Ints | None = None,
    ) -> None:
        self._rows = rows
        self._places = places  # index of each site in another order, the last that of none: rows are not copied for it
        self.kinds, self.reasons, self.details = kinds, reasons, details

    @classmethod
    def of(cls, events: Sequence[Event]) -> Events:
        """Events in columns, from a list of them."""
        if isinstance(events, Events):
            return events
        kinds: dict[str, int] = {}
        reasons: dict[str, int] = {}
        rows = [
            (time_s, kinds.setdefault(kind, len(kinds)), job, site, reasons.setdefault(reason, len(reasons)), place)
            for place, (time_s, kind, job, site, reason, _) in enumerate(events)
        ]
        return cls(np.array(rows, dtype=EVENT_ROW), [*kinds], [*reasons], [event.detail for event in events])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Event: ...

    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...

    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        if isinstance(place, slice):
            return [*self._made(self._rows[place])]
        return next(self._made(self._rows[[place]]))

    def __iter__(self) -> Iterator[Event]:
        for begin in range(0, len(self._rows), AT_ONCE):
            yield from self._made(self._rows[begin : begin + AT_ONCE])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def _made(self, rows: NDArray[np.void]) -> Iterator[Event]:
        kinds, reasons, details = self.kinds, self.reasons, self.details
        sites = rows["site"] if self._places is None else self._places[rows["site"]]
        columns = (rows["time_s"], rows["kind"], rows["job"], sites, rows["reason"], rows["detail"])
        for time_s, kind, job, site, reason, detail in zip(*(column.tolist() for column in columns), strict=True):
            yield Event(time_s, kinds[kind], job, site, reasons[reason], details[detail])

    def column(self, name: str) -> Any:
        """One column: times [s], or indices."""
        values = self._rows[name]
        return self._places[values] if name == "site" and self._places is not None else values

    def only(self, kinds: Sequence[str]) -> Events:
        """The events of some kinds."""
        wanted = [code for code, kind in enumerate(self.kinds) if kind in kinds]
        kept = self._rows[np.isin(self.column("kind"), wanted)]
        return Events(kept, self.kinds, self.reasons, self.details, self._places)

    def at_other_places(self, places: Ints) -> Events:
        """The same with other indices of sites, by the old ones; the last is that of none, -1."""
        known = places if self._places is None else places[self._places]
        return Events(self._rows, self.kinds, self.reasons, self.details, known)


# Twenty-five bytes an event; packed by hand it is written three times as fast as numbers are added to an array.
EVENT_PACK = Struct("<dbiiii")
EVENT_ROW = np.dtype([*zip(Event._fields, ("<f8", "i1", "<i4", "<i4", "<i4", "<i4"), strict=True)])
# Events that are made of their columns at once.
AT_ONCE = 10_000


class Transfer(NamedTuple):
    """One data set or checkpoint that travelled; `job`, `source`, `target` are indices. Not in any site's books."""

    start_s: float
    end_s: float
    kind: str
    name: str
    job: int
    source: int
    target: int
    size_gb: float
    energy_j: float


class GridRequest(NamedTuple):
    """One request of the grid as it came about at a site: what was asked, of which baseline.

    `site` and `number` are indices, of the site and of its event; `baseline_w` is the mean load net of the sun that
    the cut refers to, `target_w` what the import is not to exceed from `start_s + ramp_down_s` to `end_s` [W].
    """

    site: int
    number: int
    baseline_w: float
    target_w: float


@dataclass(frozen=True)
class Record:
    """All of one simulation; `jobs` and `outcomes` share their order, `energy` that of the sites."""

    scenario: Scenario
    policy: str
    jobs: Sequence[Job]
    outcomes: Sequence[Outcome]
    occupancy: Occupancy
    energy: Sequence[SiteEnergy]
    events: Sequence[Event]
    balance_residual: float
    rounds: int = 0
    transfers: Sequence[Transfer] = ()
    requests: Sequence[GridRequest] = ()

    def arranged_as(self, scenario: Scenario) -> Record:
        """The same before its books are settled, with the sites as another scenario of the same sites has them."""
        assert not self.energy, "books stand in the order of the sites"
        places = [*(scenario.site_index(site.name) for site in self.scenario.sites), -1]
        at = np.array(places, dtype=np.int64)
        outcomes = Outcomes.of(self.outcomes)
        sites = outcomes.column("site")
        sites[:] = at[sites]
        return replace(
            self,
            scenario=scenario,
            outcomes=outcomes,
            occupancy=replace(self.occupancy, site=at[self.occupancy.site]),
            events=Events.of(self.events).at_other_places(at),
            transfers=[t._replace(source=places[t.source], target=places[t.target]) for t in self.transfers],
            requests=[request._replace(site=places[request.site]) for request in self.requests],
        )

    @property
    def draw_j(self) -> float:
        """Grid import + unserved + what the batteries gave up, at what it takes to put it back, of all sites [J]."""
        return draw_j(
            (site, {name: energy.flow_j(name) for name in DRAWN}, float(energy.stored_j[0] - energy.stored_j[-1]))
            for site, energy in zip(self.scenario.sites, self.energy, strict=True)
        )

    @property
    def network_j(self) -> float:
        """Energy of everything that travelled between sites [J]; beside the sites' books, not in them."""
        return float(sum(transfer.energy_j for transfer in self.transfers))


DRAWN = ("import_to_load", "import_to_battery", "unserved")


def draw_j(sites: Iterable[tuple[Site, Mapping[str, float], float]]) -> float:
    """Draw of some sites, each with its flows [J] and what its battery holds less in the end than it began with [J]."""
    total = 0.0
    for site, flows_j, less_j in sites:
        total += sum(flows_j[name] for name in DRAWN)
        if site.battery is not None:
            total += max(0.0, less_j) / site.battery.eta_charge
    return total


BooksReader = Callable[[Record, int, SiteEnergy], None]
"""Is handed a record without its books, the place of a site in its scenario, and the books of that site."""
