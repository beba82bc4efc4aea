"""Public traces that an experiment names: where they lie once they are fetched."""

from __future__ import annotations

from pathlib import Path

from tafukt.sites.cache import default_folder
from tafukt.workloads.schema import GeneratorModel, TraceModel
from tafukt.workloads.traces.public import path_of, public_trace


def trace_folder() -> Path:
    """The folder of fetched traces in the cache."""
    return default_folder() / "traces"


def trace_path(name: str) -> Path:
    """Path of a public trace, once it is fetched."""
    return path_of(name, trace_folder())


def with_its_file(workload: GeneratorModel | TraceModel) -> GeneratorModel | TraceModel:
    """A workload whose public trace, if it names one, is a file with a format.

    Raises
    ------
    WorkloadError
        If there is no such trace.
    """
    if workload.kind != "trace" or not workload.trace:
        return workload
    file = str(trace_path(workload.trace))
    form = workload.format or public_trace(workload.trace).format
    return workload.model_copy(update={"file": file, "format": form})
