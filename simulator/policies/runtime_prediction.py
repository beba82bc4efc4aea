"""Predictions of run time, as far as a policy can know it: each part predicts what is left of a job.

None reads a true runtime before the job has ended; what has ended is learned from in the order of its ending.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import ceil
from typing import Protocol

from tafukt.simulator.engine.job_state import JobState

ENOUGH = 5  # endings seen before a mean is trusted (a choice)
ENOUGH_FOR_SHARES = 20  # and before a share of them is (a choice)
# A share of the estimate is usual if so many have ended within it (a choice: over ten seeds of a week the draw under
# shares from 0.3 to 0.6 differs by half a percent).
USUAL_SHARE = 0.5


class Duration(Protocol):
    """A predictor; one object for each run."""

    def left_s(self, job: JobState, now_s: float) -> float:
        """Remaining run time on the GPUs that a job asked for, of the reference type [s]."""

    def freed(self, job: JobState) -> None:
        """A job has left its site; it may have ended."""

    def know(self, class_mean_s: Mapping[str, float]) -> None:
        """Be told how long the jobs of each class run on the mean, where that is known beforehand [s]."""


class Estimate:
    """The user's estimate."""

    def left_s(self, job: JobState, now_s: float) -> float:
        """The rest of the estimate."""
        return job.left_s(now_s)

    def freed(self, job: JobState) -> None:
        """Nothing is learned."""

    def know(self, class_mean_s: Mapping[str, float]) -> None:
        """Users' estimates need no means."""


class _Learning(ABC):
    """Means over what has ended, by a key; where too little has, the user's estimate.

    A job that has outlived its prediction is expected to last as long as its user's estimate says.
    """

    def __init__(self) -> None:
        self._freed: list[JobState] = []
        self._sums: dict[object, tuple[int, float]] = {}

    def left_s(self, job: JobState, now_s: float) -> float:
        """The rest of the predicted runtime."""
        self._learn()
        count, total = self._sums.get(self._key(job), (0, 0.0))
        if count < ENOUGH:
            return job.left_s(now_s)
        left = self._predicted_s(job, total / count) - job.progress_gpu_s(now_s) / job.ask.gpus
        return left if left > 0 else job.left_s(now_s)

    def freed(self, job: JobState) -> None:
        """It may have ended: looked at when the next prediction is asked for."""
        self._freed.append(job)

    def _learn(self) -> None:
        for job in self._freed:
            if job.phase == "ended" and job.done_gpu_s > 0:
                key = self._key(job)
                count, total = self._sums.get(key, (0, 0.0))
                self._sums[key] = count + 1, total + self._value(job)
        self._freed.clear()

    @abstractmethod
    def _key(self, job: JobState) -> object:
        """The key by which jobs are grouped."""

    @abstractmethod
    def _value(self, job: JobState) -> float:
        """The value that a job that has ended adds to its group."""

    @abstractmethod
    def _predicted_s(self, job: JobState, mean: float) -> float:
        """The runtime that a group's mean stands for [s]."""


class ClassMean(_Learning):
    """The mean runtime of its class: of all jobs where it is known beforehand, else of those that have ended.

    GAIA knows the means of its queues from the past: Hanafy et al. 2024, 10.1145/3620666.3651374.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: Mapping[str, float] = {}

    def know(self, class_mean_s: Mapping[str, float]) -> None:
        """Known means count, whatever is seen."""
        self._known = class_mean_s

    def left_s(self, job: JobState, now_s: float) -> float:
        """The rest of the mean runtime."""
        mean = self._known.get(job.ask.job_class)
        if mean is None:
            return super().left_s(job, now_s)
        left = mean - job.progress_gpu_s(now_s) / job.ask.gpus
        return left if left > 0 else job.left_s(now_s)

    def _key(self, job: JobState) -> object:
        return job.ask.job_class

    def _value(self, job: JobState) -> float:
        return job.done_gpu_s / job.ask.gpus

    def _predicted_s(self, job: JobState, mean: float) -> float:
        return mean


class UserFactor(_Learning):
    """The user's estimate times the mean of actual over estimated runtime of the same tenant's ended jobs.

    After Tsafrir, Etsion and Feitelson 2007 (10.1109/TPDS.2007.70606), who take the user's last two runtimes.
    """

    def know(self, class_mean_s: Mapping[str, float]) -> None:
        """Tenants are no classes."""

    def _key(self, job: JobState) -> object:
        return job.ask.tenant

    def _value(self, job: JobState) -> float:
        return job.done_gpu_s / job.ask.gpus / max(job.ask.estimate_s, 1.0)

    def _predicted_s(self, job: JobState, mean: float) -> float:
        return job.ask.estimate_s * mean


class UsualShare:
    """The user's estimate times the share of it within which most jobs so far have ended, in hundredths.

    Users ask for a little more than they need, and some jobs fail: who counts on whole estimates plans for windows
    that are too long, and around others who will be gone by then.

    Parameters
    ----------
    most : float
        How many of those that have ended (a choice: 0.5).
    """

    def __init__(self, most: float = USUAL_SHARE) -> None:
        self._most = most
        self._freed: list[JobState] = []
        self._ended = [0] * 101
        self._count = 0
        self._again = ENOUGH_FOR_SHARES
        self._share = 1.0

    def left_s(self, job: JobState, now_s: float) -> float:
        """The rest of the usual share of the estimate, or, where it has been outlived, of the estimate."""
        if self._freed:
            self._learn()
        left = job.left_s(now_s)
        usual = left - (1.0 - self._share) * job.ask.estimate_s
        return usual if usual > 0.0 else left

    def freed(self, job: JobState) -> None:
        """It may have ended: looked at when the next prediction is asked for."""
        self._freed.append(job)

    def know(self, class_mean_s: Mapping[str, float]) -> None:
        """Shares of estimates need no means."""

    def _learn(self) -> None:
        for job in self._freed:
            if job.phase == "ended" and job.done_gpu_s > 0:
                used = job.done_gpu_s / job.ask.gpus / max(job.ask.estimate_s, 1.0)
                self._ended[min(ceil(100.0 * used), 100)] += 1
                self._count += 1
        self._freed.clear()
        if self._count >= self._again:
            # The more have ended, the less do a few more change.
            self._again = ceil(1.02 * self._count)
            below = bisect_left(list(accumulate(self._ended)), self._most * self._count)
            self._share = below / 100.0


DURATIONS: dict[str, type[Duration]] = {
    "estimate": Estimate,
    "class-mean": ClassMean,
    "user-factor": UserFactor,
    "usual-share": UsualShare,
}
