"""Local processes that work through a list of items; what a dying one held is tried once more, alone."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Generic, TypeVar

POLL_S = 0.2
Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[], None]


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """One item that is done: its result, or the error that it ended with."""

    item: Item
    result: Result | None
    error: BaseException | None


class WorkFailed(RuntimeError):
    """Work that could not be done, though nothing was wrong with what the user gave: exit code 1."""


class WorkerDied(WorkFailed):
    """A process died twice over one item."""

    def __init__(self) -> None:
        super().__init__("its worker died twice (out of memory?)")


class Pool:
    """So many local processes, made when they are first needed and again after one has died.

    `begin` is called with `given` in each new process.
    """

    def __init__(
        self,
        workers: int,
        report: Report = lambda: None,
        begin: Callable[..., None] | None = None,
        given: tuple[Any, ...] = (),
    ) -> None:
        self.workers = workers
        self._report = report
        self._start = (begin or begin_worker, given)
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close(kill=error is not None)

    def work(
        self,
        call: Callable[[Item], Result],
        items: Sequence[Item],
        apart: Callable[[Item], list[Item]] = lambda item: [item],
    ) -> Iterator[Done[Item, Result]]:
        """Call for every item; each with what became of it, as it comes.

        A process that dies takes its pool along. What was not done then is taken `apart`, and each part is tried in a
        pool of its own; a part that is there when a pool dies for the second time ends with `WorkerDied`.
        """
        broken: list[Item] = []
        for done in self._once(call, items, self.workers):
            if isinstance(done.error, BrokenProcessPool):
                broken.append(done.item)
            else:
                yield done
        for part in [part for item in broken for part in apart(item)]:
            for done in self._once(call, [part], 1):
                died = isinstance(done.error, BrokenProcessPool)
                yield Done(part, None, WorkerDied()) if died else done

    def _once(self, call: Callable[[Item], Result], items: Sequence[Item], most: int) -> Iterator[Done[Item, Result]]:
        if not items:
            return
        if self._executor is None:
            begin, given = self._start
            number = min(self.workers, most)
            self._executor = ProcessPoolExecutor(number, mp_context=start_method(), initializer=begin, initargs=given)
        futures: dict[Future[Result], Item] = {}
        dead = False
        for item in items:
            try:
                futures[self._executor.submit(call, item)] = item
            except BrokenProcessPool as error:
                dead = True
                yield Done(item, None, error)
        for future in _as_done(set(futures), self._report):
            failed = future.exception()
            dead = dead or isinstance(failed, BrokenProcessPool)
            yield Done(futures[future], None if failed else future.result(), failed)
        if dead:
            self._close()

    def _close(self, kill: bool = False) -> None:
        """End the processes; those that are at work are waited for, or killed."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if kill:
            for process in list((executor._processes or {}).values()):
                process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def start_method() -> BaseContext:
    """Start method of workers: forks, which have all that is imported and made here; else spawned, from nothing.

    Threads do not survive a fork, so that there must be none but this one; and only Linux's libraries are made for it.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return multiprocessing.get_context("spawn")
    import pyarrow.parquet  # noqa: F401  (once for all workers)

    import tafukt.experiments.runs.run  # noqa: F401

    return multiprocessing.get_context("fork")


def _as_done(futures: set[Future[Result]], report: Report) -> Iterator[Future[Result]]:
    """Futures as they are done; `report` is called while waiting."""
    while futures:
        done, futures = wait(futures, timeout=POLL_S, return_when=FIRST_COMPLETED)
        report()
        yield from done


def begin_worker() -> None:
    """First steps of a worker: leave Ctrl-C to its parent, and follow it into death.

    What is there already stays, so the collector of rubbish need not go through it after every few runs (25 ms).
    """
    gc.freeze()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _die_with_parent() -> None:
    """Ask Linux to kill this process once its parent has ended, however that ended and whatever this one is doing."""
    if sys.platform != "linux":
        return
    import ctypes

    death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # it has ended already
        os._exit(1)
