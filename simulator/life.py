"""One job's life: where it stands, how far it is, and what it holds. The truth about it is kept elsewhere."""

from __future__ import annotations

from math import inf
from typing import Literal

from simpy.events import Event

from simulator.cluster import Allocation
from workloads.job import Ask

Phase = Literal["queued", "fetching", "waking", "restarting", "running", "saving", "moving", "ended"]


class Life:
    """A job as policies see it: its `ask`, and what anyone can observe of it.

    Attributes
    ----------
    index : int
        Its place in the order of submission; what ties are broken by.
    phase : str
        One of `queued fetching waking restarting running saving moving ended`.
    site : int
        Index of the site that it is on or was last on; -1 before it ever started.
    gpus, cap : int, float
        GPUs that it runs on, and the share of its loaded power that it may draw.
    done_gpu_s : float
        Work done up to `since_s`, and safe from anything but a kill [reference GPU-s].
    since_s : float
        When the present phase began [s].
    rate : float
        Work per second while it runs [reference GPU-s per s].
    interval_s, write_s : float
        Running time between periodic checkpoints, and what each takes [s].
    """

    __slots__ = (
        "allocation", "ask", "cap", "done_gpu_s", "draws", "event", "first_start_s", "gpus", "index", "interval_s",
        "phase", "power_w", "rate", "saved", "since_s", "site", "started_s", "target", "up_s", "write_s",
    )  # fmt: skip

    def __init__(self, index: int, ask: Ask) -> None:
        self.index = index
        self.ask = ask
        self.phase: Phase = "queued"
        self.site = -1
        self.gpus = ask.gpus
        self.cap = 1.0
        self.allocation: Allocation = ()
        self.done_gpu_s = 0.0
        self.since_s = ask.submit_s
        self.started_s = 0.0  # when its present stay on a site began
        self.first_start_s = -1.0
        self.up_s = 0.0
        self.rate = 0.0
        self.power_w = 0.0
        self.interval_s = inf
        self.write_s = ask.checkpoint.write_s
        self.event: Event | None = None
        self.saved = False  # whether there is a checkpoint to restart from
        self.target = -1  # where a move is to end
        self.draws = False  # whether it draws more than its nodes' idle power

    @property
    def running(self) -> bool:
        """Whether it holds GPUs and works on its task."""
        return self.phase == "running"

    def progress_gpu_s(self, now_s: float) -> float:
        """Work done by now [reference GPU-s], periodic checkpoints taken off."""
        if self.phase != "running":
            return self.done_gpu_s
        return self.done_gpu_s + self.rate * self._worked_s(now_s - self.since_s)

    def saved_gpu_s(self, now_s: float) -> float:
        """Work that a kill at this moment would leave [reference GPU-s]."""
        if self.phase != "running" or self.interval_s == inf:
            return self.done_gpu_s
        cycles = (now_s - self.since_s) // (self.interval_s + self.write_s)
        return self.done_gpu_s + self.rate * cycles * self.interval_s

    def time_for_s(self, work_gpu_s: float) -> float:
        """How long this much further work takes from the start of a phase [s], with its checkpoints."""
        worked = work_gpu_s / self.rate
        if self.interval_s == inf:
            return worked
        writes = max(-(-worked // self.interval_s) - 1.0, 0.0)
        return worked + writes * self.write_s

    def left_s(self, now_s: float, speed: float = 1.0) -> float:
        """What is left by the user's estimate on the asked size [s], never below zero."""
        return max(self.ask.estimate_s - self.progress_gpu_s(now_s) / self.ask.gpus, 0.0) / speed

    def expected_end_s(self, now_s: float) -> float:
        """When it will end by the user's estimate [s]; a job past it is expected to end at once."""
        work = self.ask.estimate_s * self.ask.gpus - self.progress_gpu_s(now_s)
        start = max(now_s, self.up_s)
        return start + max(work, 0.0) / self.rate if self.rate else start

    def _worked_s(self, elapsed_s: float) -> float:
        if self.interval_s == inf:
            return elapsed_s
        cycle = self.interval_s + self.write_s
        cycles, rest = divmod(elapsed_s, cycle)
        return cycles * self.interval_s + min(rest, self.interval_s)
