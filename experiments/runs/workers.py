"""Doing the missing runs: in this process, in local ones, or on a Dask cluster; the bytes are the same.

A piece of work is all the runs of one cell that go to one worker, or a cell's bound. Each piece writes its
results as it goes, so that a stop loses what is in flight and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from tafukt.experiments.errors import InputError, Problem
from tafukt.experiments.hashing import source_digest
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.manifest import LIBRARIES
from tafukt.experiments.runs.matrix import Case, Run
from tafukt.experiments.runs.processes import Pool, Report, WorkerDied, begin_worker
from tafukt.sites.cache import installed_version

CONNECT_S = 10.0


@dataclass(frozen=True)
class WorkUnit:
    """Runs of one cell, or, where there are none, what is `wanted` of it."""

    cell: Case
    runs: tuple[Run, ...]
    wanted: str = ""

    @property
    def name(self) -> str:
        """Name in messages."""
        return ", ".join(run.run_id for run in self.runs) or f"{self.wanted} of {self.cell.key[:16]}"


def do(path: str, piece: WorkUnit) -> None:
    """Do one piece of work and put its results into the folder at `path`."""
    begun = Path(path) / "cells" / f"{piece.cell.key[:16]}.search.npz"
    for name, files in results_of(piece, begun.read_bytes() if piece.wanted == "best" and begun.is_file() else b""):
        store(Folder(Path(path)), name, files)


def results_of(piece: WorkUnit, begun: bytes = b"") -> Iterator[tuple[str, dict[str, bytes]]]:
    """The results of a piece, one after another: a run's id, or `cells`, and its files.

    `begun` is how far a search for the best schedule was when it was stopped.
    """
    from tafukt.experiments.runs.run import cell_best, cell_bound, cell_notes, execute

    cell = piece.cell.key[:16]
    if piece.wanted == "bound":
        yield "cells", {f"{cell}.bound.json": cell_bound(piece.cell)}
    elif piece.wanted:
        for files in cell_best(piece.cell, begun):
            yield "cells", {f"{cell}.{name}": data for name, data in files.items()}
    for run in piece.runs:
        files = execute(run)
        yield run.run_id, files
        if "error.txt" not in files:
            yield "cells", {f"{cell}.json": cell_notes(run.cell)}


def store(folder: Folder, name: str, files: dict[str, bytes]) -> None:
    """Put the files of a run, or of a cell, into a folder."""
    if name == "cells":
        for file, data in files.items():
            folder.write(f"cells/{file}", data)
    else:
        folder.write_run(name, files)


def pieces_of(runs: Sequence[Run], wanted: Sequence[tuple[str, Case]], workers: int) -> list[WorkUnit]:
    """The runs in pieces, cell after cell, each after its bound; the best schedules, which take longest, come first.

    Pieces are whole cells, so that a worker makes a cell's inputs once. The last cells, one for each worker, are
    taken apart, so that none stands idle at the end: their runs in turn, so that each worker meets its own cell
    again, and backwards, since what takes longest tends to be named last.
    """
    cells: dict[Case, list[Run]] = {cell: [] for cell in (*(run.cell for run in runs), *(cell for _, cell in wanted))}
    for run in runs:
        cells[run.cell].append(run)
    pieces = [WorkUnit(cell, (), kind) for kind, cell in wanted if kind == "best"]
    bounds = {cell: WorkUnit(cell, (), kind) for kind, cell in wanted if kind == "bound"}
    whole = len(cells) if workers == 1 else max(0, len(cells) - workers)
    for cell, members in islice(cells.items(), whole):
        pieces += [bounds.pop(cell)] if cell in bounds else []
        pieces += [WorkUnit(cell, tuple(members))] if members else []
    turns = zip_longest(*(reversed(members) for members in islice(cells.values(), whole, None)))
    single = [WorkUnit(run.cell, (run,)) for turn in turns for run in turn if run is not None]
    return [*pieces, *bounds.values(), *single]


def here(folder: Folder, pieces: Sequence[WorkUnit], report: Report) -> list[str]:
    """Do the work in this process; returns what went wrong."""
    faults = []
    for piece in pieces:
        fault = _tried(partial(do, str(folder.path)), piece)
        faults += [fault] if fault else []
        report()
    return faults


def _tried(call: Callable[[WorkUnit], Any], piece: WorkUnit) -> str:
    try:
        call(piece)
    except InputError:
        raise
    except Exception as error:
        return _told(piece, error)
    return ""


def _told(piece: WorkUnit, error: BaseException) -> str:
    kind = "" if isinstance(error, WorkerDied) else f"{type(error).__name__}: "
    return f"{piece.name}: {kind}{error}"


# --- local processes -------------------------------------------------------------------------------


def in_processes(folder: Folder, pieces: Sequence[WorkUnit], workers: int, report: Report) -> list[str]:
    """Do the work in local processes; returns what went wrong.

    A piece that is there when a worker dies is tried again, each of its runs alone.
    """

    def apart(task: Task) -> list[Task]:
        """The runs of a piece that are not done yet, one by one."""
        piece = pieces[task[0]]
        left = [place for place, run in enumerate(piece.runs) if not folder.is_complete(run.run_id)]
        return [(task[0], (place,)) for place in left] if piece.runs else [task]

    tasks: list[Task] = [(number, None) for number in range(len(pieces))]
    with Pool(min(workers, len(pieces)), report, _begin, (str(folder.path), pieces)) as pool:
        done = pool.work(_do_task, tasks, apart)
        return [_told(_piece_of(pieces, one.item), one.error) for one in done if one.error is not None]


# The number of a piece, and the places of those of its runs that are meant; all of them where there are none.
Task = tuple[int, tuple[int, ...] | None]


def _piece_of(pieces: Sequence[WorkUnit], task: Task) -> WorkUnit:
    number, places = task
    piece = pieces[number]
    return piece if places is None else WorkUnit(piece.cell, tuple(piece.runs[place] for place in places))


# What a worker has from its start: a fork inherits it, and a scenario is then resolved by whoever runs it.
_given: list[tuple[str, Sequence[WorkUnit]]] = []


def _begin(path: str, pieces: Sequence[WorkUnit]) -> None:
    begin_worker()
    _given[:] = [(path, pieces)]


def _do_task(task: Task) -> None:
    path, pieces = _given[0]
    do(path, _piece_of(pieces, task))


# --- a Dask cluster --------------------------------------------------------------------------------


def on_cluster(
    folder: Folder,
    runs: Sequence[Run],
    wanted: Sequence[tuple[str, Case]],
    address: str,
    report: Report,
    whole: bool = True,
) -> list[str]:
    """Do the work on an existing Dask cluster; results come back here, workers need not see the folder.

    A cell that goes to a worker as a `whole` is made there once, but its results come back all together.

    Raises
    ------
    InputError
        If `distributed` is not installed, there is no scheduler at the address, or a worker runs other code.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        message = "needs the extra [cluster]: pip install 'tafukt[cluster]'"
        raise InputError(Problem("--cluster", "", message)) from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        message = f"no Dask scheduler answers there ({type(error).__name__})"
        raise InputError(Problem("--cluster", address, message)) from None
    faults = []
    with client:
        for worker, theirs in client.run(_identity, on_error="return").items():
            _refuse_other_code(worker, theirs)
        # more workers than there are now may come later
        workers = max(2, sum(client.nthreads().values())) if whole else len(runs) + len(wanted)
        pieces = pieces_of(runs, wanted, workers)
        futures = {client.submit(_listed, piece, pure=False, retries=1): piece for piece in pieces}
        for future in as_completed(list(futures), loop=client.loop):
            fault = _tried(partial(_store_all, folder, future, address), futures[future])
            faults += [fault] if fault else []
            future.release()
            report()
    return faults


def _identity() -> dict[str, str]:
    """Identity of a process: the digest of our source, as it was when it first said so, and packages."""
    packages = {name: installed_version(name) for name in LIBRARIES}
    return {"source": source_digest()} | packages


def _refuse_other_code(worker: str, theirs: Any) -> None:
    """Do nothing where a worker computes with what this process computes with.

    Raises
    ------
    InputError
        If it does not, since its numbers would stand under the names of ours.
    """
    ours = _identity()
    if theirs == ours:
        return
    if not isinstance(theirs, dict):  # code so old that it cannot say
        differing = "code that cannot say what it is"
    else:
        differing = ", ".join(
            f"{name} {str(theirs.get(name))[:8]} (here {value[:8]})"
            for name, value in ours.items()
            if theirs.get(name) != value
        )
    message = f"runs other code than this process: {differing}; give all workers the same version, then start them anew"
    raise InputError(Problem("--cluster", f"worker {worker}", message))


def _listed(piece: WorkUnit) -> tuple[dict[str, str], list[tuple[str, dict[str, bytes]]]]:
    return _identity(), list(results_of(piece))


def _store_all(folder: Folder, future: Any, address: str, piece: WorkUnit) -> None:
    theirs, results = future.result()
    _refuse_other_code(address, theirs)
    for name, files in results:
        store(folder, name, files)
