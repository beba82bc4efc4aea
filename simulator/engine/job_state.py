"""State of one job: where it stands, how far it is, and what it holds. The truth about it is kept elsewhere."""

from __future__ import annotations

from math import ceil, inf, sqrt
from typing import Literal

from simpy.events import Event

from tafukt.simulator.engine.cluster import Allocation
from tafukt.simulator.power_caps import Caps
from tafukt.workloads.job import Ask, Checkpoint

Phase = Literal["queued", "fetching", "waking", "restarting", "running", "saving", "moving", "ended"]


class JobState:
    """A job as policies see it: its `ask`, and what anyone can observe of it.

    Attributes
    ----------
    index : int
        Its place in the order of submission; what ties are broken by.
    phase : str
        One of `queued fetching waking restarting running saving moving ended`.
    sites : tuple of int
        Indices of the sites that may ever have it.
    site : int
        Index of the site that it is on or was last on; -1 before it ever started.
    queued_at : int
        Under `federated`, the institute in whose queue it waits; -1 for its own.
    gpus, held, cap : int, int, float
        GPUs that it runs on, GPUs that it holds (more where the rest of a node is lost), and the share of
        its power above idle that it may draw.
    done_gpu_s, safe_gpu_s : float
        Work done when the present phase began, and what a kill at that moment would have left of it
        [reference GPU-s].
    since_s, until_s : float
        When the present phase began [s]; when it ends, where that is known: not while it runs.
    started_s : float
        When its present stay on a site began [s].
    caps : tuple of (float, float)
        Its speed under a power cap on the nodes that it is or was last on, see `simulator.power_caps`.
    rate : float
        Work per second while it runs [reference GPU-s per s].
    interval_s, write_s : float
        Running time between periodic checkpoints, and what each takes [s].
    into_s : float
        How far into such an interval the present phase began [s].
    saved_at : int
        The site where its last checkpoint lies; -1 for none.
    """

    __slots__ = (
        "active",
        "allocation",
        "arrives",
        "ask",
        "at_risk",
        "cap",
        "caps",
        "done_gpu_s",
        "event",
        "expected_s",
        "fault_s",
        "faults",
        "first_start_s",
        "gpus",
        "held",
        "held_until_s",
        "index",
        "interval_s",
        "into_s",
        "phase",
        "power_w",
        "queued_at",
        "rate",
        "resizing",
        "safe_gpu_s",
        "saved_at",
        "since_s",
        "site",
        "sites",
        "started_s",
        "target",
        "until_s",
        "write_s",
    )  # fmt: skip

    def __init__(self, index: int, ask: Ask, sites: tuple[int, ...] = ()) -> None:
        self.index = index
        self.ask = ask
        self.sites = sites
        self.phase: Phase = "queued"
        self.site = self.queued_at = self.saved_at = -1
        self.gpus = self.held = ask.gpus
        self.cap = 1.0
        self.caps: Caps = ()
        self.allocation: Allocation = ()
        self.done_gpu_s = self.safe_gpu_s = self.into_s = 0.0
        self.since_s = self.started_s = self.until_s = ask.submit_s
        self.first_start_s = -1.0
        self.held_until_s = -1.0  # until when its policy has put it off
        self.expected_s = -1.0  # its expected end in the present run; below zero before anybody has asked
        self.rate = 0.0
        self.power_w = 0.0
        self.interval_s = inf
        self.write_s = ask.checkpoint.write_s
        self.event: Event | None = None
        self.target = -1  # the site where a move is to end; the new size where a resize is under way
        self.resizing = False
        self.arrives = False  # whether it starts at once where its move ends
        self.active = 0.0  # GPUs x intensity that it adds to its nodes' idle power now
        self.faults = 0  # how often something that broke has killed it
        self.fault_s = -1.0  # running time left to the next software fault; below zero before it is drawn
        self.at_risk: list[int] = []  # the journal's rows whose work no checkpoint holds

    @property
    def running(self) -> bool:
        """Whether it holds GPUs and works on its task."""
        return self.phase == "running"

    @property
    def must_start_s(self) -> float:
        """The latest time at which it can start, or go on where it has run before, and meet its deadline [s]."""
        if not self.has_run:
            return self.ask.latest_start_s
        return self.ask.deadline_s - self.left_s(self.since_s) - self.ask.checkpoint.restart_s

    @property
    def has_run(self) -> bool:
        """Whether it has ever started."""
        return self.first_start_s >= 0.0

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint to restart from."""
        return self.saved_at >= 0

    def progress_gpu_s(self, now_s: float) -> float:
        """Work done by now [reference GPU-s], periodic checkpoints taken off."""
        if self.phase != "running":
            return self.done_gpu_s
        if self.interval_s == inf:
            return self.done_gpu_s + self.rate * (now_s - self.since_s)
        return self.done_gpu_s + self.rate * (self._worked_s(self.into_s + now_s - self.since_s) - self._before_s)

    def checkpoint_s(self, now_s: float) -> float:
        """Time at which the last periodic checkpoint of this phase was complete [s]; -1 if there was none."""
        if self.phase != "running" or self.interval_s == inf:
            return -1.0
        cycle = self.interval_s + self.write_s
        cycles = (self.into_s + now_s - self.since_s) // cycle
        return self.since_s + cycles * cycle - self.into_s if cycles >= 1 else -1.0

    def saved_gpu_s(self, now_s: float) -> float:
        """Work that a kill at this moment would leave [reference GPU-s]."""
        if self.checkpoint_s(now_s) < 0:
            return self.safe_gpu_s
        cycles = (self.into_s + now_s - self.since_s) // (self.interval_s + self.write_s)
        return self.done_gpu_s + self.rate * (cycles * self.interval_s - self._before_s)

    def time_for_s(self, work_gpu_s: float) -> float:
        """Time that this much further work takes from the start of a phase [s], with its checkpoints."""
        worked = work_gpu_s / self.rate
        if self.interval_s == inf:
            return worked
        worked += self._before_s
        # None is written once the work is done; the hair keeps a rounding error from paying for one more.
        writes = max(ceil(worked / self.interval_s - 1e-9) - 1, 0)
        return worked + writes * self.write_s - self.into_s

    def left_s(self, now_s: float, speed: float = 1.0) -> float:
        """Time left by the user's estimate on the asked size [s], never below zero."""
        return max(self.ask.estimate_s - self.progress_gpu_s(now_s) / self.ask.gpus, 0.0) / speed

    def expected_end_s(self, now_s: float) -> float:
        """Expected end by the user's estimate [s]; a job past it is expected to end at once."""
        if self.expected_s >= 0.0 and self.phase == "running":
            return self.expected_s if self.expected_s > now_s else now_s
        if self.phase == "saving":
            return self.until_s
        if not self.rate:
            return now_s
        work = max(self.ask.estimate_s * self.ask.gpus - self.done_gpu_s, 0.0)
        if self.phase == "running":
            self.expected_s = self.since_s + self.time_for_s(work)
            return max(self.expected_s, now_s)
        restart = self.ask.checkpoint.restart_s if self.saved and self.phase != "restarting" else 0.0
        return max(self.until_s, now_s) + restart + self.time_for_s(work)

    @property
    def _before_s(self) -> float:
        return self._worked_s(self.into_s) if self.into_s else 0.0

    def _worked_s(self, elapsed_s: float) -> float:
        """Time worked in a stretch that began with an interval [s]."""
        cycles, rest = divmod(elapsed_s, self.interval_s + self.write_s)
        return cycles * self.interval_s + min(rest, self.interval_s)


# --- How often a running job saves itself, where its user has not said


def interval_s(checkpoint: Checkpoint, failures_per_s: float) -> float:
    """Running time between two periodic checkpoints [s]; infinite where there are none.

    What the user states counts. Else, where something may fail, the optimum to first order

        interval = sqrt(2 * write_s / failures_per_s)

    (Young 1974, 10.1145/361147.361115; Daly 2006, 10.1016/j.future.2004.11.016, eq. 20 without its shift
    by `write_s`), and never less than it takes to write one. A job that states no cost of writing is taken
    to have no checkpoints.

    Parameters
    ----------
    checkpoint : Checkpoint
    failures_per_s : float
        Rate of everything that may end the job's stay against its will [1/s].
    """
    if checkpoint.interval_s is not None:
        return checkpoint.interval_s if checkpoint.interval_s > 0 else inf
    if failures_per_s <= 0 or checkpoint.write_s <= 0:
        return inf
    return max(sqrt(2.0 * checkpoint.write_s / failures_per_s), checkpoint.write_s)
