"""What counts as the code of a result: meanings, not words; and only files that can change one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tafukt.experiments import hashing

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_that_is_left_out_is_there() -> None:
    """A rule that hangs on the name of a file breaks in silence when the file moves."""
    for name in hashing.WITHOUT_EFFECT:
        assert (ROOT / name).exists(), name


def test_what_runs_a_simulation_is_counted() -> None:
    names = {name for name, _ in hashing.source_files()}
    assert {
        "simulator/engine/engine.py",
        "sites/weather/readers.py",
        "workloads/catalogue/mixes/institutes.toml",
    } <= names
    assert {"experiments/results/metrics.py", "experiments/config/scenario.py", "tafukt/strict.py"} <= names
    assert not {name for name in names if name.startswith(("experiments/cli/", "experiments/figures/"))}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ('"""Another word."""\n\n\ndef f(x):\n    """And here."""\n    return x + 1  # a remark\n', True),
        ("def f(x):\n    return (x\n            + 1)\n", False),  # without a docstring it is another tree
        ('"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    return x + 2\n', False),
    ],
)
def test_comments_and_docstrings_do_not_count(other: str, same: bool) -> None:
    code = '"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    return x + 1\n'
    assert (hashing._meaning(code.encode()) == hashing._meaning(other.encode())) is same
