"""What `docs/writing_a_policy.md` shows works as it stands there."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from builders.pages import blocks

from tafukt.experiments.config.policies import policy_refs
from tafukt.simulator.conformance import cases, check
from tafukt.simulator.engine.engine import simulate

PAGE = "docs/writing_a_policy.md"


def code(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE, language)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_policy.py").write_text("\n\n".join(code("python")), encoding="utf-8")
    return tmp_path


def policies(folder: Path, entries: list[Any]) -> list[Any]:
    refs, problems = policy_refs(entries, "page", folder)
    assert problems == []
    return [ref.load() for ref in refs]


def test_the_tables_of_the_page_are_policies(folder: Path) -> None:
    (block,) = code("toml")
    named = tomllib.loads(block)["policies"]
    loaded = policies(folder, named)
    assert [policy.name for policy in loaded] == ["fifo", "green-and-fair", "patient", "picky"]
    case = cases()[0]
    for policy in loaded:
        record = simulate(case.scenario, case.jobs, policy, settings=case.settings)
        assert all(outcome.state == "done" for outcome in record.outcomes)


@pytest.mark.parametrize("name", ["morning", "cool"])
def test_the_policies_of_the_page_break_nothing(folder: Path, name: str) -> None:
    refs, problems = policy_refs([f"my_policy.py:{name}"], "page", folder)
    assert problems == []
    assert check(refs[0].load) == []


def test_the_function_of_the_page_holds_for_the_sun_and_says_why(folder: Path) -> None:
    (policy,) = policies(folder, ["my_policy.py:morning"])
    case = cases()[0]
    events = simulate(case.scenario, case.jobs, policy, settings=case.settings).events
    reasons = {(event.kind, event.reason) for event in events if event.reason}
    assert {("hold", "no sun to spare"), ("start", "the sun carries it"), ("start", "last call")} <= reasons
    assert all("surplus_kw" in event.detail for event in events if event.kind == "start")


def test_the_function_of_the_page_has_about_twenty_lines() -> None:
    lines = [line for line in code("python")[0].splitlines() if line.strip() and not line.startswith("from")]
    assert len(lines) <= 20
