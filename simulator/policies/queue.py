"""The waiting jobs that may start, kept so that a round costs the same with ten or ten thousand of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from tafukt.simulator.engine.job_state import JobState

Key = tuple[Any, ...]
# What decides where a job fits: the smallest gang that it accepts, the sites that may have it, and the
# region whose quota it counts against.
Group = tuple[int, tuple[int, ...], str]
_BLOCK = 256


class SortedJobs:
    """Jobs sorted by key, in blocks that know their least estimate.

    Insertion, removal and "the first in order whose estimate is at most w" take time in the order of the
    square root of the number of jobs.
    """

    __slots__ = ("_blocks", "_least")

    def __init__(self) -> None:
        self._blocks: list[list[tuple[Key, JobState]]] = []
        self._least: list[float] = []

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks)

    def __iter__(self) -> Iterator[tuple[Key, JobState]]:
        for block in self._blocks:
            yield from block

    def head(self) -> tuple[Key, JobState]:
        """The first job and its key."""
        return self._blocks[0][0]

    def add(self, key: Key, job: JobState) -> None:
        """Put a job in its place; keys are unique because they end in the job's index."""
        blocks = self._blocks
        if not blocks:
            blocks.append([(key, job)])
            self._least.append(job.ask.estimate_s)
            return
        b = max(self._block_of(key), 0)
        block = blocks[b]
        if key > block[-1][0]:
            block.append((key, job))
        else:
            block.insert(bisect_left(block, (key,)), (key, job))
        if job.ask.estimate_s < self._least[b]:
            self._least[b] = job.ask.estimate_s
        if len(block) > 2 * _BLOCK:
            blocks[b : b + 1] = [block[:_BLOCK], block[_BLOCK:]]
            self._least[b : b + 1] = [_least(block[:_BLOCK]), _least(block[_BLOCK:])]

    def remove(self, key: Key) -> None:
        """Take out the job with this key."""
        b = self._block_of(key)
        block = self._blocks[b]
        _, job = block.pop(bisect_left(block, (key,)))  # keys differ, so no two jobs are ever compared
        if not block:
            del self._blocks[b], self._least[b]
        elif job.ask.estimate_s <= self._least[b]:
            self._least[b] = _least(block)

    def _block_of(self, key: Key) -> int:
        """The last block that does not begin after a key; -1 if all do, unless there is but one."""
        if len(self._blocks) == 1:
            return 0
        return bisect_right(self._blocks, key, key=lambda block: block[0][0]) - 1

    def sort_again(self, key_of: Callable[[Key, JobState], Key]) -> None:
        """Give every job a new key from its old one, and sort them anew."""
        # Among keys that have hardly moved a sort finds long runs; one insertion for each would not.
        jobs = sorted([(key_of(key, job), job) for key, job in self], key=itemgetter(0))
        self._blocks = [jobs[i : i + _BLOCK] for i in range(0, len(jobs), _BLOCK)]
        self._least = [_least(block) for block in self._blocks]

    def first_within(self, estimate_s: float, after: Key | None = None) -> tuple[Key, JobState] | None:
        """The first job after `after` in order whose estimate is at most `estimate_s` [s]."""
        for least, block in zip(self._least, self._blocks, strict=True):
            if least <= estimate_s and (after is None or block[-1][0] > after):
                for key, job in block:
                    if job.ask.estimate_s <= estimate_s and (after is None or key > after):
                        return key, job
        return None


def _least(block: list[tuple[Key, JobState]]) -> float:
    return min(job.ask.estimate_s for _, job in block)


class ReadyQueue:
    """Jobs that may start now, grouped by what decides where they fit: their size and their sites."""

    def __init__(self) -> None:
        self.groups: dict[Group, SortedJobs] = {}
        self._at: dict[int, tuple[Group, Key]] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, index: int) -> bool:
        return index in self._at

    def add(self, key: Key, job: JobState, group: Group) -> None:
        """Let a job in."""
        jobs = self.groups.get(group)
        if jobs is None:
            jobs = self.groups[group] = SortedJobs()
        jobs.add(key, job)
        self._at[job.index] = (group, key)

    def remove(self, index: int) -> Group:
        """Take a job out; returns its group."""
        group, key = self._at.pop(index)
        jobs = self.groups[group]
        jobs.remove(key)
        if not jobs:
            del self.groups[group]
        return group

    def sort_again(self, key_of: Callable[[Key, JobState], Key]) -> None:
        """Give every job a new key from its old one, and sort them anew."""
        for group, jobs in self.groups.items():
            jobs.sort_again(key_of)
            for key, job in jobs:
                self._at[job.index] = (group, key)

    def in_order(self) -> list[tuple[Key, JobState]]:
        """Everybody, by key."""
        return sorted((entry for jobs in self.groups.values() for entry in jobs), key=lambda entry: entry[0])
