"""The story of a job: what is told, in which order, on what numbers."""

from __future__ import annotations

import builders.records as records_of
import pytest

from tafukt.experiments.errors import InputError
from tafukt.experiments.report import explain
from tafukt.experiments.report import explain as explain_words
from tafukt.experiments.results import load as loading


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> loading.Results:
    folder = records_of.write_folder(tmp_path_factory.mktemp("folder"), seeds=(1,), count=12)
    return loading.load(folder)


def test_story_runs_from_submission_to_end(results: loading.Results) -> None:
    run = results["solar"]
    row = explain.job_row(run, "job-003")
    story = explain.steps(row, explain.events_of(run, "job-003"), run.tz)
    assert [step.kind for step in story] == ["submit", "start", "end"]
    assert [step.time_h for step in story] == sorted(step.time_h for step in story)
    assert "surplus covers it; surplus 3.5 kW" in story[1].text
    assert f"started on {row['site']}" in story[1].text
    assert story[2].text.startswith("done")


def test_lines_name_policy_clock_energy_and_the_other_runs(results: loading.Results) -> None:
    text = "\n".join(line.plain for line in explain.explain(results, "job-003", policy="solar"))
    assert "under solar, seed 1; local time (Africa/Casablanca)" in text
    assert "kWh from the sun" in text
    assert "kg CO2e" in text
    assert "  fifo: on site" in text
    assert "  wait-for-sun: on site" in text
    assert "█ runs" in text
    assert "sun  " in text


def test_without_a_policy_it_is_the_one_that_drew_least(results: loading.Results) -> None:
    text = "\n".join(line.plain for line in explain.explain(results, "job-003"))
    least = results.complete.sort_values("draw_kwh")["policy"].iloc[0]
    assert least != "fifo"
    assert f"under {least}" in text


@pytest.mark.parametrize(("job", "said"), [("job-001", "rejected"), ("job-002", "still not ended")])
def test_jobs_that_did_not_end_are_told(results: loading.Results, job: str, said: str) -> None:
    text = "\n".join(line.plain for line in explain.explain(results, job, policy="fifo"))
    assert said in text


def test_an_unknown_job_names_the_nearest(results: loading.Results) -> None:
    with pytest.raises(InputError, match="did you mean 'job-003'"):
        explain.explain(results, "job003")


def test_state_follows_the_steps() -> None:
    kinds = [(0.0, "submit"), (1.0, "hold"), (2.0, "start"), (3.0, "pause"), (4.0, "start"), (5.0, "kill")]
    story = [explain.Step(time, kind, "a", "") for time, kind in kinds]
    states = [explain.state_at(time + 0.5, story) for time, _ in kinds]
    assert states == ["waits", "is held", "runs", "is paused", "runs", "waits"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("grid_kwh", 3.14159, "expected from the grid: 3.14 kWh"),
        ("grid_kwh_now", 12.0, "if started at once: 12 kWh"),
        ("battery_left_s", 5400.0, "battery left 90 min"),
        ("carbon_g_per_kwh", 604.0, "carbon 604 g/kWh"),
        ("rank", 4, "rank 4"),
    ],
)
def test_numbers_carry_their_units(key: str, value: float, words: str) -> None:
    assert explain_words.quantity(key, value) == words


def test_reasons_are_explained_by_the_part_that_gave_them() -> None:
    assert "draw least from the grid" in explain_words.reason_words("lowest-grid-window")
    assert explain_words.reason_words("some_own_reason") == "some own reason"
    assert explain_words.reason_words("surplus covers it") == "surplus covers it"


def test_a_story_needs_no_more_than_rows(results: loading.Results) -> None:
    """Without events it is told from the job's row alone; nulls may be `None` as well as NaN."""
    run = results["fifo"]
    told = explain.story(explain.job_row(run, "job-003"), [], run.tz)
    assert "started on site" in told.lines[1]
    assert len(told.timeline[0]) == explain.TIMELINE_COLUMNS == len(told.timeline[1])
    row = explain.job_row(run, "job-001") | {"start_h": None, "end_h": None, "wait_h": None}
    assert "rejected" in explain.story(row, [], run.tz).lines[-1]
