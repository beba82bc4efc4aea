"""Thousands of inputs with mistakes: no traceback, no hang, and nothing that is no value is taken in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders.fuzz import bases, faults, tried

FUZZ = int(os.environ.get("TAFUKT_FUZZ", "1000"))
"""How many inputs the slow test tries."""
SEED = int(os.environ.get("TAFUKT_FUZZ_SEED", "1"))


@pytest.mark.parametrize("base", bases(), ids=lambda base: base.name)
def test_what_is_spoilt_was_valid(base: object, tmp_path: Path) -> None:
    assert tried(base.files, tmp_path).kind == "ran"  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [60, pytest.param(FUZZ, marks=pytest.mark.slow)])
def test_no_input_does_worse_than_be_refused(count: int, tmp_path: Path) -> None:
    tally: dict[str, int] = {}
    found = faults(SEED, range(count), tmp_path, tally)
    print(tally)
    assert found == []
    assert min(tally["refused"], tally["ran"]) > count // 10
