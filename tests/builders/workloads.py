"""Workloads from the table of an experiment file, and the mistakes that such a table is told to have."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from tafukt.experiments.config.schema import Experiment
from tafukt.strict import problems_of
from tafukt.workloads.schema import GeneratorModel, TraceModel, WorkloadModel

_MODEL: TypeAdapter[GeneratorModel | TraceModel] = TypeAdapter(WorkloadModel)


def workload_from(table: dict[str, Any]) -> GeneratorModel | TraceModel:
    """A workload's table, validated; `kind` is `generator` where it is not given."""
    return _MODEL.validate_python({"kind": "generator"} | table)


def mistakes(table: dict[str, Any]) -> str:
    """What a user is told of an experiment with this workload; empty where nothing is wrong with it."""
    try:
        Experiment.model_validate({"name": "e", "start": "2025-12-01T00:00:00Z", "days": 1, "workload": table})
    except ValidationError as error:
        return "\n".join(str(problem) for problem in problems_of(error, Experiment, "e.toml"))
    return ""
