"""A job: the `ask`, which is all that a policy sees, and the `truth`, which only the engine knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Residency = Literal["regional", "national", "open"]
Ending = Literal["done", "failed", "cancelled"]
Elasticity = Literal["rigid", "moldable", "malleable"]
PowerCurve = Literal["pre-training", "fine-tuning", "inference"]
"""What a job does, as far as its speed under a power cap depends on it."""
Tier = Literal["firm", "0.9", "0.75", "0.5", "pausable"]
"""What the grid may ask of a job: nothing, a minimum mean throughput during a request, or that it pauses."""
TIERS: dict[Tier, float] = {"firm": 1.0, "0.9": 0.9, "0.75": 0.75, "0.5": 0.5, "pausable": 0.0}
"""The least mean throughput of each tier while the grid asks for less, as a share of the full speed."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Tenant of a job: a region's code, an institute's function, a programme."""

    region: str
    function: str = "research"
    programme: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Named data that a job reads: size [GB], the site where it lives, and how far it may travel.

    `regional` data stays in its home's region, `national` data in its home's country, `open` data may
    go to a partner abroad.
    """

    name: str
    size_gb: float
    home: str
    residency: Residency = "national"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Costs of saving and restoring a job.

    `size_gb` is what a move transfers; `write_s` and `restart_s` are powered time [s]; `interval_s` is
    the running time between periodic checkpoints [s], `None` for Young's and Daly's optimum.
    """

    size_gb: float = 0.0
    write_s: float = 0.0
    restart_s: float = 0.0
    interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """Throughput against GPUs, as strictly increasing `gpus` and the throughput at each, relative to one GPU.

    Between the points it is linear.
    """

    gpus: tuple[int, ...]
    throughput: tuple[float, ...]

    def at(self, gpus: int) -> float:
        """Throughput on this many GPUs, relative to one.

        Raises
        ------
        ValueError
            If the curve does not reach so far.
        """
        if gpus in self.gpus:
            return self.throughput[self.gpus.index(gpus)]
        for (g0, g1), (y0, y1) in zip(
            zip(self.gpus, self.gpus[1:], strict=False),
            zip(self.throughput, self.throughput[1:], strict=False),
            strict=True,
        ):
            if g0 < gpus < g1:
                return y0 + (y1 - y0) * (gpus - g0) / (g1 - g0)
        raise ValueError(f"the speed-up curve covers {self.gpus[0]} to {self.gpus[-1]} GPUs, not {gpus}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A job as its user states it, and all that a policy ever sees.

    Attributes
    ----------
    job_id : str
        Unique in the workload.
    submit_s : float
        Submission, in simulation time [s].
    gpus : int
        GPUs asked for, taken as a whole gang.
    estimate_s : float
        The user's estimate of the runtime on `gpus` GPUs of the reference type (A100) [s].
    slack_s : float
        How long the start may be put off [s]; infinite where there is no deadline.
    home : str
        The site of the tenant's own institute.
    intensity : float
        Power drawn, as a share of the loaded power of its part of the node [0..1].
    event_floor : float
        Least mean throughput while the grid asks for less, as a share of the full speed: 1 firm, 0 may be paused.
    power_curve : str
        Whose speed under a power cap it has: `pre-training`, `fine-tuning` or `inference`.
    elasticity, gpus_min, gpus_max, speedup
        For elastic jobs: the sizes it can take and the throughput at each. `gpus_min` and `gpus_max` of
        0 mean `gpus`.
    logged_start_s, logged_site
        When and where a replayed log says that it ran [s]; `None` and empty where it does not say.
    """

    job_id: str
    submit_s: float
    gpus: int
    estimate_s: float
    slack_s: float
    tenant: Tenant
    home: str
    dataset: Dataset
    checkpoint: Checkpoint = Checkpoint()
    interruptible: bool = True
    priority: int = 0
    intensity: float = 1.0
    job_class: str = ""
    event_floor: float = 1.0
    power_curve: PowerCurve = "pre-training"
    elasticity: Elasticity = "rigid"
    gpus_min: int = 0
    gpus_max: int = 0
    speedup: SpeedUp | None = None
    logged_start_s: float | None = None
    logged_site: str = ""

    @property
    def latest_start_s(self) -> float:
        """Submission plus slack [s]."""
        return self.submit_s + self.slack_s

    @property
    def deadline_s(self) -> float:
        """Latest start plus estimate [s]; infinite where there is none."""
        return self.submit_s + self.slack_s + self.estimate_s

    @property
    def deferrable(self) -> bool:
        """Whether the start may be put off at all."""
        return self.slack_s > 0

    def rate(self, gpus: int) -> float:
        """Work done per second on `gpus` reference GPUs [reference GPU-seconds per s]."""
        if gpus == self.gpus or self.speedup is None:
            return float(gpus)
        return self.gpus * self.speedup.at(gpus) / self.speedup.at(self.gpus)


@dataclass(frozen=True, slots=True)
class Truth:
    """Truth about a job that only the engine knows: the whole work, and how far it gets.

    Attributes
    ----------
    work_gpu_s : float
        GPU-seconds on the reference GPU at the asked size, if nothing cuts the job short.
    ending : {'done', 'failed', 'cancelled'}
        How the job ends of itself; drawn once, so that every policy does the same work.
    ends_at : float
        The share of `work_gpu_s` after which it ends so; 1 for `done`.
    """

    work_gpu_s: float
    ending: Ending = "done"
    ends_at: float = 1.0

    @property
    def due_gpu_s(self) -> float:
        """The work that will be done before the job ends of itself [GPU-s]."""
        return self.work_gpu_s * self.ends_at


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what was asked, and what is true."""

    ask: Ask
    truth: Truth

    @property
    def runtime_s(self) -> float:
        """True runtime at the asked size on the reference GPU, up to the job's own end [s]."""
        return self.truth.due_gpu_s / self.ask.gpus
