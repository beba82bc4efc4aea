"""The validation page: its fast part is made anew, and the page holds what its generator says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def validation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("bench", None)
    return importlib.import_module("bench.validation")


def test_the_fast_comparisons_hold_or_are_known_to_fail(validation: Any, shared_data: Path) -> None:
    page = (ROOT / "docs" / "validation.md").read_text()
    found = list(validation.rows(validation.FAST))
    assert len(found) == 3
    for row in found:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {row.what} | ")]
        assert line.endswith("| pass |" if row.holds else "| **FAIL** |")
        assert f"| {row.limit:.3g}" in line


def test_waiting_and_dispatch_are_what_others_compute(validation: Any) -> None:
    """Best windows of lone jobs and greedy dispatch of a battery, by a few lines of arithmetic each."""
    held = [*validation.others.windows(), *validation.others.dispatch()]
    assert len(held) == 5
    assert all(row.holds for row in held), [row for row in held if not row.holds]


def test_the_page_tells_failures_and_limits() -> None:
    page = (ROOT / "docs" / "validation.md").read_text()
    assert page.count("| pass |") >= 12
    assert "## Not validated" in page
    assert "@" not in page


def test_what_lies_outside_is_said_at_run_time(tmp_path: Path) -> None:
    from tafukt.experiments.config.load import check
    from tafukt.experiments.config.validated_range import outside

    document: dict[str, Any] = {
        "name": "x", "start": "2025-06-01T00:00:00Z", "days": 1, "policies": ["fifo"],
        "sites": {"use": ["rabat"]}, "workload": {"kind": "generator", "load": 0.3},
    }  # fmt: skip
    assert outside(check(document, "x.toml", tmp_path)) == []
    far = {f"s{i}": {"like": "rabat", "lat": 60.0} for i in range(60)}
    measured = [[0.81, 0.936], [1.0, 1.0]]
    assert outside(check(document | {"engine": {"power_caps": measured}}, "x.toml", tmp_path)) == []
    strange = document | {
        "days": 400,
        "sites": {"use": ["rabat"], "all": {"cluster": {"node": "h100"}}, "own": far},
        "engine": {"power_caps": [[0.6, 0.85], *measured]},
    }
    said = "\n".join(outside(check(strange, "x.toml", tmp_path)))
    for words in ("latitude of s0, s1", "61 sites", "days = 400", "power_caps down to 0.6", "kind h100"):
        assert words in said


def test_selftest_compares_the_tables_themselves_and_cuts_many_policies_shorter(tmp_path: Path) -> None:
    from tafukt.experiments.config.load import check
    from tafukt.experiments.runs import selftest

    document: dict[str, Any] = {
        "name": "x", "start": "2025-06-01T00:00:00Z", "days": 3, "policies": ["fifo"], "step_min": 60,
        "sites": {"use": ["rabat"]}, "workload": {"kind": "generator", "load": 0.2},
    }  # fmt: skip
    found = list(selftest.checks(check(document, "x.toml", tmp_path)))
    assert all(one.holds for one in found)
    (size,) = [one.measure for one in found if one.name.endswith("to the byte")]
    assert int(size.removesuffix(" bytes").replace(",", "")) > 10_000
    assert selftest.shortened(check(document, "x.toml", tmp_path)).experiment.days == selftest.DAYS
    assert selftest.shortened(check(document, "x.toml", tmp_path), 1).experiment.days == 1


def test_every_file_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "validation.md").read_text()
    named = {word for word in page.split("`") if word.startswith("tests/")}
    assert len(named) >= 10
    assert all((ROOT / name).is_file() for name in named)


def test_speed_is_compared_with_the_last_commit_that_measured_it(tmp_path: Path, validation: Any) -> None:
    history, row = importlib.import_module("bench.history"), importlib.import_module("bench.jobs").Row
    file = tmp_path / "history.csv"
    assert history.changes([row("a", 1.0, "U", 2.0)], file) == []
    history.append([row("a", 1.0, "U", 2.0), row("b", 3.0, "s", 9.0)], file)
    history.append([row("a", 1.25, "U", 2.0)], file)
    (change,) = history.changes([row("a", 1.5, "U", 2.0), row("b", 9.0, "s", 9.0), row("new", 1.0, "U", 2.0)], file)
    assert (change.before, change.ratio) == (1.25, 1.2)  # seconds are of one machine, and are not compared
    assert len(file.read_text().splitlines()) == 4
