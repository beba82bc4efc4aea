"""The conformance kit: runs any policy through small scenarios and says what it broke.

`check` looks for impossible actions, jobs where their data may not go, decisions that rest on the future, on
the order of a dictionary, on ids, on chance or on an earlier run, and for jobs that never get their turn.
What it finds is wrong; that it finds nothing proves little more than that these scenarios went well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import numpy as np

from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.engine.view import Policy, View
from tafukt.simulator.errors import BreachError, PolicyCrash, PolicyEndless, PolicyError, PolicyWrote
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.record import Record
from tafukt.simulator.scenario import Battery, Grid, GridEvent, Link, NodeType, Quota, Scenario, Site
from tafukt.simulator.units import DAY_S, HOUR_S, Floats
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Elasticity, Job, Residency, SpeedUp, Tenant, Truth
from tafukt.workloads.job_table import in_order

# --- Small scenarios for the conformance kit: a few sites, three days, every kind of job and of limit


STEP_S = 900.0
DAYS = 4
ARRIVE_H = 40.0  # jobs come for so long; then the queue must drain
NODE = NodeType("node", 4, 400.0, 3000.0, 50.0, wake_s=120.0, sleep_after_s=600.0)
REGIONS = ("north", "south", "abroad")
# Nothing but the past: whoever looks further than these forecasts has looked into the future.
_PAST = ForecastSettings(sun="persistence", load="persistence", carbon="persistence", price="persistence")
HONEST = Settings(forecast=_PAST)


@dataclass(frozen=True)
class Case:
    """A scenario with its jobs, by a name that says what is in it."""

    name: str
    scenario: Scenario
    jobs: Sequence[Job]
    settings: Settings = field(default=HONEST)


def cases() -> list[Case]:
    """Everything that a policy is run through."""
    plain = Case("three sites with sun", Scenario(_sites(1), DAYS * DAY_S, STEP_S), _jobs(1, 60))
    crowded = replace(plain, name="more jobs than room", jobs=_jobs(2, 340, bursts_h=5.0))
    links = (Link("a", "b", 0.1), Link("a", "c", 0.02))
    linked = replace(plain.scenario, links=links, network_j_per_gb=1000.0)
    limited = _sites(3, import_limit_w=9000.0, outages=((30 * HOUR_S, 31 * HOUR_S),), online_s=10 * HOUR_S)
    return [
        plain,
        crowded,
        replace(plain, name="elastic jobs", jobs=_jobs(3, 50, elastic=True)),
        Case("data on the way", linked, _jobs(4, 40)),
        Case("short of supply", replace(plain.scenario, sites=limited), _jobs(5, 40)),
        Case("quotas", replace(plain.scenario, quotas={"north": Quota(gpus=10, gpus_outside=4)}), _jobs(6, 40)),
        Case("every institute for itself", replace(plain.scenario, coordination="regional"), _jobs(7, 40)),
        Case("asked for less", replace(plain.scenario, sites=_asked()), _bending(_jobs(8, 40))),
    ]


def _asked() -> tuple[Site, ...]:
    """Sites whose nodes take power caps: one is asked for less twice, another may import little and slowly."""
    first, second, third = (replace(site, node=replace(site.node, caps=MEASURED)) for site in _sites(4))
    events = tuple(
        GridEvent(start_h * HOUR_S, (start_h + 3.0) * HOUR_S, (start_h - 0.25) * HOUR_S, 900.0, 1800.0, cut=0.25)
        for start_h in (18.0, 42.0)
    )
    limited = replace(second.grid, import_limit_w=9000.0, ramp_up_w=2000.0, ramp_down_w=4000.0)
    return replace(first, grid=replace(first.grid, events=events)), replace(second, grid=limited), third


def _bending(jobs: Sequence[Job]) -> Sequence[Job]:
    """The same jobs, with the floors that there are by turns."""
    floors = (1.0, 0.75, 0.5, 0.0)
    return tuple(replace(job, ask=replace(job.ask, event_floor=floors[i % 4])) for i, job in enumerate(jobs))


def other_future(case: Case, after_s: float, running: frozenset[str]) -> Case:
    """The same until `after_s` [s], and other sun, carbon, prices, arrivals and runtimes from then on.

    `running` are the ids of the jobs that have not ended by then: only their truth may change unseen, and
    they run longer, so that nobody ends sooner than before.
    """
    sites = []
    for i, (mine, other) in enumerate(zip(case.scenario.sites, _sites(99), strict=True)):
        grid = replace(
            mine.grid,
            carbon=_spliced(mine.grid.carbon, other.grid.carbon, after_s),
            price=_spliced(mine.grid.price, other.grid.price, after_s),
        )
        sites.append(replace(mine, pv=_spliced(mine.pv, other.pv, after_s, 0.2 + i), grid=grid))
    jobs = []
    for number, job in enumerate(case.jobs):
        if job.ask.submit_s < after_s:
            factor = (1.1, 4.0)[number % 2] if job.ask.job_id in running else 1.0
            jobs.append(replace(job, truth=replace(job.truth, work_gpu_s=job.truth.work_gpu_s * factor)))
    later = [job for job in _jobs(98, len(case.jobs)) if job.ask.submit_s >= after_s]
    jobs += [replace(job, ask=replace(job.ask, job_id=f"later {job.ask.job_id}")) for job in later]
    return replace(case, scenario=replace(case.scenario, sites=tuple(sites)), jobs=in_order(jobs))


def renamed(case: Case) -> tuple[Case, Mapping[str, str]]:
    """The same jobs under other ids; no two are submitted at one time, so that ids decide nothing."""
    ids = [job.ask.job_id for job in case.jobs]
    order = np.random.default_rng(5).permutation(len(ids)).tolist()
    new = {name: f"renamed-{number * 7919 % 1000:03d}-{number}" for name, number in zip(ids, order, strict=True)}
    jobs = [replace(job, ask=replace(job.ask, job_id=new[job.ask.job_id])) for job in case.jobs]
    return replace(case, jobs=in_order(jobs)), {there: here for here, there in new.items()}


def _spliced(mine: StepProfile, other: StepProfile, after_s: float, factor: float = 1.0) -> StepProfile:
    first = round(after_s / mine.step_s)
    return StepProfile(np.concatenate((mine.values[:first], factor * other.values[first:])), mine.step_s)


def _sites(
    seed: int,
    import_limit_w: float = float("inf"),
    outages: tuple[tuple[float, float], ...] = (),
    online_s: float = 0.0,
) -> tuple[Site, ...]:
    """Two sites in the country and one abroad; the second is limited where limits are given."""
    rng = np.random.default_rng(seed)
    steps = int(DAYS * DAY_S / STEP_S)
    hour = np.arange(steps) * STEP_S / HOUR_S % 24
    found = []
    for i, region in enumerate(REGIONS):
        clouds = np.repeat(rng.uniform(0.2, 1.0, DAYS * 24), steps // (DAYS * 24))
        sun = np.maximum(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0) * clouds * (9000.0 + 3000.0 * i)
        grid = Grid(
            price=_profile(np.where((hour >= 17) & (hour < 22), 4e-7, 2e-7)),
            carbon=_profile(1.6e-4 + 2e-5 * np.cos(hour / 24 * 2 * np.pi) + 1e-6 * rng.standard_normal(steps)),
            export_price=_profile(np.full(steps, 5e-8)),
            import_limit_w=import_limit_w if i == 1 else float("inf"),
            outages=outages if i == 1 else (),
        )
        found.append(
            Site(
                name="abc"[i],
                region=region,
                node=NODE,
                nodes=3 + i,
                pv=_profile(sun),
                overhead=_profile(np.full(steps, 0.2 + 0.02 * i)),
                other=_profile(np.full(steps, 100.0)),
                grid=grid,
                battery=Battery(5e7, 3000.0, 3000.0) if i != 2 else None,
                fixed_w=50.0,
                country="XX" if region == "abroad" else "MA",
                is_root=i == 0,
                islandable=True,
                online_s=online_s if i == 1 else 0.0,
            )
        )
    return tuple(found)


def _profile(values: Floats) -> StepProfile:
    return StepProfile(np.asarray(values, dtype=np.float64), STEP_S)


def _jobs(seed: int, count: int, bursts_h: float = 0.0, elastic: bool = False) -> Sequence[Job]:
    """Jobs of every kind: any residency, with and without slack, that can and cannot be interrupted.

    With `bursts_h` they all come shortly before every so many hours are full.
    """
    rng = np.random.default_rng(seed)
    hours = rng.uniform(0.0, ARRIVE_H, count)
    if bursts_h:
        hours = np.ceil(hours / bursts_h) * bursts_h - rng.uniform(0.8, 1.6, count)
    submits = np.sort(hours * HOUR_S).round(2) + np.arange(count) * 0.01
    return in_order(_job(rng, float(submit), i, elastic) for i, submit in enumerate(submits))


def _job(rng: np.random.Generator, submit_s: float, number: int, elastic: bool) -> Job:
    home = int(rng.integers(0, 2))
    gpus = int(rng.choice([1, 2, 4, 8], p=[0.5, 0.25, 0.15, 0.1]))
    runtime_s = float(rng.lognormal(np.log(2400.0), 0.8))
    residencies: tuple[Residency, ...] = ("regional", "national", "open")
    residency = residencies[int(rng.integers(0, 3))]
    slack_s = float(rng.choice([0.0, 2.0, 8.0, 24.0])) * HOUR_S
    ask = Ask(
        job_id=f"job-{number:03d}",
        submit_s=submit_s,
        gpus=gpus,
        estimate_s=runtime_s * float(rng.uniform(1.0, 1.6)),
        slack_s=slack_s,
        tenant=Tenant(REGIONS[home]),
        home="ab"[home],
        dataset=Dataset(f"data-{number % 7}", 5.0, "ab"[home], residency),
        checkpoint=Checkpoint(2.0, 20.0, 60.0, 1800.0),
        interruptible=bool(rng.uniform() < 0.7),
        intensity=0.9,
        job_class=("short", "long")[runtime_s > 2400.0],
    )
    if elastic and gpus in (2, 4) and number % 3:
        sizes = (1, 2, 4, 8)
        curve = SpeedUp(sizes, tuple(n**0.9 for n in sizes))
        kind: Elasticity = "malleable" if number % 2 else "moldable"
        ask = replace(ask, elasticity=kind, gpus_min=1, gpus_max=2 * gpus, speedup=curve)
    return Job(ask, Truth(runtime_s * gpus))


# --- The checks


SPLIT_S = 30 * HOUR_S  # until then two futures are one
ROUNDS_MOST = 100_000
CHECKS = {
    "impossible": "asks only for what is possible",
    "residency": "keeps jobs where their data may be",
    "crash": "does not fail",
    "writes": "writes into nothing that it is handed",
    "endless": "comes to an end",
    "future": "decides by the past alone",
    "order": "does not depend on the order of dictionaries",
    "ids": "does not depend on how jobs are called",
    "chance": "decides the same twice",
    "memory": "forgets an earlier run",
    "starvation": "lets every job have its turn",
}
Decision = tuple[Any, ...]


@dataclass(frozen=True)
class Finding:
    """One thing that a policy broke: which of `CHECKS`, in which scenario, and how it showed."""

    check: str
    case: str
    message: str


class Shuffled(Mapping[int, JobState]):
    """A live window on a dictionary, which is walked in an order of its own."""

    def __init__(self, jobs: Mapping[int, JobState]) -> None:
        self._jobs = jobs

    def __getitem__(self, index: int) -> JobState:
        return self._jobs[index]

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._jobs, key=lambda index: hashlib.sha256(str(index).encode()).digest()))


class _Watched:
    """A policy whose rounds are counted and looked after, and which may see jobs in another order."""

    def __init__(self, policy: Policy, shuffle: bool) -> None:
        self._policy = policy
        self._shuffle = shuffle
        self._rounds = 0
        self.name = policy.name
        self.waiting, self.freed = policy.waiting, policy.freed

    def begin(self, view: View) -> None:
        """As the policy."""
        self._view = view.reordered(Shuffled) if self._shuffle else view
        self._policy.begin(self._view)

    def round(self, view: View) -> Iterator[Any]:
        """As the policy, which must have changed nothing between two actions; an error after too many rounds."""
        self._rounds += 1
        if self._rounds > ROUNDS_MOST:
            raise PolicyEndless(f"{ROUNDS_MOST:,} rounds by {view.now_s / HOUR_S:.1f} h")
        before = _handed(view)
        for action in self._policy.round(self._view):
            self._compare(before, view)
            yield action
            before = _handed(view)
        self._compare(before, view)

    def _compare(self, before: Any, view: View) -> None:
        if _handed(view) != before:
            raise PolicyWrote(f"policy {self.name!r} has written into a job or into nodes at {view.now_s:g} s")


_OF_A_JOB = attrgetter(
    "index", "ask", "phase", "site", "sites", "gpus", "held", "cap", "allocation", "done_gpu_s", "safe_gpu_s",
    "held_until_s", "queued_at", "saved_at", "since_s", "started_s", "rate", "interval_s", "power_w", "active",
)  # fmt: skip


def _handed(view: View) -> Any:
    """All that jobs and nodes are, to be compared."""
    jobs = [_OF_A_JOB(job) for jobs in (view.waiting, view.running) for job in jobs.values()]
    nodes = [
        (*c.free, *c.level, c.asleep, c.down, c.offline, c.awake, c.active, c.free_gpus, c.busy_gpus)
        for c in (site.nodes for site in view.sites)
    ]
    return jobs, nodes


def check(factory: Callable[[], Policy]) -> list[Finding]:
    """Run a policy through every scenario; returns what it broke, and nothing if all went well.

    Parameters
    ----------
    factory : callable
        Makes a fresh policy each time it is called.
    """
    found: list[Finding] = []
    for case in cases():
        record, finding = _attempt(factory(), case)
        if record is None:
            found += [finding] if finding else []
            if finding and finding.check == "writes":  # after this nothing else can be relied on
                break
            continue
        found += _starved(case, record)
        found += _repeated(factory, case, record)
        if case.name not in _ONLY_ONCE:
            found += _varied(factory, case, record)
    return list({(f.check, f.message): f for f in found}.values())


# Where supply is short the engine itself foresees it, and quotas or links add nothing to these checks.
_ONLY_ONCE = ("short of supply", "quotas", "data on the way")


def _attempt(policy: Policy, case: Case, shuffle: bool = False) -> tuple[Record | None, Finding | None]:
    """One run; what it broke where it did not come to its end."""
    try:
        watched = _Watched(policy, shuffle)
        return simulate(case.scenario, case.jobs, watched, seed=1, settings=case.settings), None
    except (PolicyCrash, PolicyEndless, PolicyWrote) as error:
        kind = {PolicyCrash: "crash", PolicyEndless: "endless", PolicyWrote: "writes"}[type(error)]
        return None, Finding(kind, case.name, str(error))
    except PolicyError as error:
        kind = "residency" if "may not run on" in str(error) or "cannot move to" in str(error) else "impossible"
        return None, Finding(kind, case.name, str(error))
    except BreachError:
        raise  # ours, not the policy's
    except Exception as error:
        return None, Finding("crash", case.name, f"{type(error).__name__}: {error}")


def _repeated(factory: Callable[[], Policy], case: Case, record: Record) -> Iterator[Finding]:
    """Twice the same, by a new policy and by one that has run before."""
    again, _ = _attempt(factory(), case)
    message = _differs(record, again)
    if message:
        yield Finding("chance", case.name, message)
        return
    used = factory()
    _attempt(used, case)
    message = _differs(record, _attempt(used, case)[0])
    if message:
        yield Finding("memory", case.name, message)


def _varied(factory: Callable[[], Policy], case: Case, record: Record) -> Iterator[Finding]:
    """The same decisions whatever comes later, however dictionaries are walked and jobs are called."""
    unended = frozenset(
        job.ask.job_id for job, o in zip(record.jobs, record.outcomes, strict=True) if not o.end_s < SPLIT_S
    )
    message = _differs(record, _attempt(factory(), other_future(case, SPLIT_S, unended))[0], until_s=SPLIT_S)
    if message:
        yield Finding("future", case.name, f"with another future from {SPLIT_S / HOUR_S:.0f} h on, {message}")
    message = _differs(record, _attempt(factory(), case, shuffle=True)[0])
    if message:
        yield Finding("order", case.name, f"with waiting and running jobs in another order, {message}")
    other, names = renamed(case)
    message = _differs(record, _attempt(factory(), other)[0], names)
    if message:
        yield Finding("ids", case.name, f"with jobs called otherwise, {message}")


def _starved(case: Case, record: Record) -> Iterator[Finding]:
    left = [
        (job.ask, outcome) for job, outcome in zip(record.jobs, record.outcomes, strict=True) if outcome.state == "left"
    ]
    if left:
        ask, outcome = left[0]
        what = "had not ended" if outcome.start_s == outcome.start_s else "had never started"
        end_h = case.scenario.end_s / HOUR_S
        yield Finding(
            "starvation",
            case.name,
            f"{len(left)} of {len(record.jobs)} jobs {what} at {end_h:.0f} h; {ask.job_id!r} waited from "
            f"{ask.submit_s / HOUR_S:.1f} h on, for {ask.gpus} GPUs",
        )


# --- comparing ------------------------------------------------------------------------------------------


def _differs(
    one: Record, other: Record | None, names: Mapping[str, str] | None = None, until_s: float = float("inf")
) -> str:
    """First difference of two runs, in words; empty if there is none."""
    if other is None:
        return "it fails"
    mine, theirs = (list(_decisions(record, until_s)) for record in (one, other))
    if names is not None:
        theirs = [(time, kind, names.get(job, job), *rest) for time, kind, job, *rest in theirs]
    for here, there in zip(mine, theirs, strict=False):
        if here != there:
            return f"it parts at {min(here[0], there[0]) / HOUR_S:.2f} h: {_told(here)}, or {_told(there)}"
    if len(mine) != len(theirs):
        more = (mine if len(mine) > len(theirs) else theirs)[min(len(mine), len(theirs))]
        return f"it parts at {more[0] / HOUR_S:.2f} h: {_told(more)}, or nothing"
    return ""


def _decisions(record: Record, until_s: float) -> Iterable[Decision]:
    for event in record.events:
        if event.time_s >= until_s:
            return
        if event.job >= 0 and event.kind in ("start", "hold", "pause", "move", "resize", "cap", "refuse"):
            until = round(float(event.detail.get("until_s", 0.0)), 3)
            yield event.time_s, event.kind, record.jobs[event.job].ask.job_id, event.site, until


def _told(decision: Decision) -> str:
    _, kind, job, site, until = decision
    return f"{kind} of {job} at site {site}" + (f" until {until / HOUR_S:.2f} h" if until else "")
