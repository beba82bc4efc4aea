"""The account of the grid's requests, on the case that `tests/simulator/engine/grid_requests` works out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders.experiments import tiny
from builders.jobs import flat, job, run, scenario, site

import tafukt
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.toml import find
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.report.explain import explain
from tafukt.experiments.report.report import page, template_variables
from tafukt.experiments.results.grid_events import grid_event_metrics, grid_event_rows
from tafukt.experiments.results.load import Results
from tafukt.experiments.results.metrics import capped_metrics
from tafukt.simulator.power_caps import MEASURED
from tafukt.simulator.scenario import Grid, GridEvent, NodeType

HOUR, KWH = 3600.0, 3.6e6
NODE = NodeType("n", 8, 1000.0, 5000.0, 100.0, caps=MEASURED)
EVENT = GridEvent(2 * HOUR, 5 * HOUR, 2 * HOUR - 900.0, cut=0.25, pay_per_j=2.0 / KWH, penalty_per_j=5.0 / KWH)


def record(floors: list[float], event: GridEvent = EVENT):  # type: ignore[no-untyped-def]
    zero = flat(0.0, 86_400.0)
    place = replace(site("s0", 1, NODE), grid=Grid(zero, zero, zero, events=(event,)))
    jobs = [job(f"j{i}", 0.0, 1, 10 * HOUR, event_floor=floor) for i, floor in enumerate(floors)]
    return run(jobs, scenario([place]))


def test_the_account_by_hand() -> None:
    """4000 W less 1000 W for three hours: 3 kWh asked and delivered, 6 MAD; speeds as worked out there."""
    (row,) = grid_event_rows(record([0.75] * 6), datetime(2025, 1, 1, tzinfo=UTC))
    assert row["asked_kwh"] == pytest.approx(3.0, rel=1e-12)
    assert row["delivered_kwh"] == pytest.approx(3.0, rel=1e-9)
    assert (row["met"], row["minutes_above"], row["shortfall_kwh"], row["reached_min"]) == (True, 0, 0.0, 0.0)
    assert row["income_mad"] == pytest.approx(6.0, rel=1e-9)
    speeds = [0.85] * 4 + [0.936 - 0.02 * 0.086 / 0.21, 0.936]
    assert row["throughput_75"] == pytest.approx(float(np.mean(speeds)), rel=1e-9)
    assert np.isnan(row["throughput_firm"])
    assert row["gpu_hours_delayed"] == pytest.approx(3.0 * sum(1.0 - s for s in speeds), rel=1e-9)
    assert row["floors_broken"] == 0


def test_a_shortfall_is_counted_and_owed() -> None:
    found = grid_event_metrics(record([1.0] * 6))
    assert found["grid_events_met"] == 0.0
    assert found["grid_shortfall_kwh"] == pytest.approx(3.0, rel=1e-9)
    assert found["grid_income_mad"] == pytest.approx(-15.0, rel=1e-9)


def test_a_run_without_requests_has_a_blank_account() -> None:
    zero = flat(0.0, 86_400.0)
    plain = run([job("j", 0.0, 1, HOUR)], scenario([replace(site("s0", 1, NODE), grid=Grid(zero, zero, zero))]))
    found = grid_event_metrics(plain)
    assert found["grid_events"] == 0
    assert np.isnan(found["grid_events_met"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return tafukt.run(
        "demand_response",
        set={"days": 3, "policies": ["fifo"], "sites.use": ["rabat", "dakhla", "fes"], "sites.all.grid.events": [
            {"per_year": 730.0, "between": "19-21", "hours": 3.0, "cut": 0.25, "ramp_down_min": 15.0}
        ]},
        output=tmp_path_factory.mktemp("requests") / "out",
        workers=1,
    )  # fmt: skip


def test_an_experiment_with_requests_keeps_most_of_them(results: Results) -> None:
    row = results.complete.iloc[0]
    events = results["fifo"].grid_events
    assert len(events) == row["grid_events"] >= 3
    assert row["grid_events_met"] == pytest.approx(events["met"].mean())
    assert row["grid_events_met"] >= 0.9
    assert row["floors_broken"] == 0
    assert row["balance_residual_kwh"] < 1e-6


def test_the_report_has_a_row_for_each_request(results: Results) -> None:
    (shown,) = template_variables(results)["grid_requests"]
    asked = results["fifo"].grid_events.sort_values(["start_h", "site"], kind="stable")
    assert (shown["number"], shown["met"], shown["left_out"]) == (len(asked), int(asked["met"].sum()), 0)
    for cells, (_, row) in zip(shown["rows"], asked.iterrows(), strict=True):
        begin = row["start_utc"].tz_convert("Africa/Casablanca")
        assert [cell["text"] for cell in cells[:2]] == [row["site"], f"{begin:%Y-%m-%d %H:%M}"]
        assert [float(cell["key"]) for cell in (*cells[2:5], cells[-1])] == [
            row[name] for name in ("asked_kwh", "delivered_kwh", "shortfall_kwh", "income_mad")
        ]
        assert (cells[5]["text"] == "yes") == row["met"]
    assert '<h2 id="grid">Grid requests</h2>' in page(results)


def test_the_figure_shows_import_target_and_baseline_of_the_largest_request(results: Results) -> None:
    asked = results["fifo"].grid_events
    row = asked.sort_values("asked_kwh").iloc[-1]
    (planned,) = figures.plan(results, ["grid_requests"])
    ax = figures.draw(planned).axes[0]
    assert row["site"] in ax.get_title(loc="left")
    assert {"grid import", "load", "baseline", "target"} == {text.get_text() for text in ax.get_legend().get_texts()}
    (target,) = (line for line in ax.lines if line.get_label() == "target")
    assert target.get_ydata().tolist() == [row["baseline_kw"], row["target_kw"], row["target_kw"]]
    days = np.diff(target.get_xdata())
    assert days * 1440 == pytest.approx([15.0, 165.0], abs=1e-3), "a ramp of 15 minutes in a request of three hours"
    (bought,) = (patch for patch in ax.patches if patch.get_label() == "grid import")
    energy = results["fifo"].energy
    here = energy[(energy["site"] == row["site"]) & (energy["time_h"] + energy["step_h"] > row["start_h"] - 1.0)]
    first = here.iloc[: len(bought.get_data().values)]
    assert bought.get_data().values == pytest.approx(first["grid_import_kwh"] / first["step_h"])


def test_a_run_without_requests_has_neither_section_nor_figure(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny(policies=("fifo",)))
    plain = tafukt.run(tmp_path / "tiny.toml", set={"bound": False}, output=tmp_path / "out", workers=1)
    assert template_variables(plain)["grid_requests"] == []
    with pytest.raises(InputError, match="no data for the figure 'grid_requests'"):
        figures.plan(plain, ["grid_requests"])


def test_the_story_of_a_job_says_that_the_grid_asked(results: Results) -> None:
    events = results["fifo"].events
    capped = events[(events["kind"] == "cap") & (events["reason"] == "the grid asks for less")]
    told = "\n".join(str(line) for line in explain(results, str(capped["job"].iloc[0])))
    assert "its power was capped on" in told
    assert "of what it draws above idle: the grid asks for less; still missing:" in told
    assert "its power was no longer capped on" in told


def test_hours_under_caps_and_the_work_they_delay() -> None:
    """All six jobs are capped for the three hours of the request, at the speeds of `test_the_account_by_hand`."""
    found = capped_metrics(record([0.75] * 6))
    speeds = [0.85] * 4 + [0.936 - 0.02 * 0.086 / 0.21, 0.936]
    assert found["capped_h"] == pytest.approx(3.0, rel=1e-9)
    assert found["capped_gpu_hours"] == pytest.approx(3.0 * sum(1.0 - s for s in speeds), rel=1e-9)
    assert capped_metrics(record([1.0] * 6)) == {"capped_h": 0.0, "capped_gpu_hours": 0.0}


LISTED = 'start="2025-12-02T18:00:00Z",hours=3.0'


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (f"[{{{LISTED},cut=0.2}},{{start='2025-12-02T20:00:00Z',hours=1.0,cut=0.2}}]", "begins before that of"),
        ("[{start='2025-11-02T18:00:00Z',hours=3.0,cut=0.2}]", "is before the start of the run, 2025-12-01"),
        (f"[{{{LISTED},cut=1.2}}]", "cut: 1.2 is not allowed: should be less than or equal to 1"),
        (
            f"[{{{LISTED},cut=0.2}},{{start='2025-12-03T18:00:00Z',hours=3.0,cut=0.2,notice_min=2000.0}}]",
            "give 1260 or less",
        ),
        (f"[{{{LISTED},cut=0.2,ramp_down_min=0.0}}]", "ramp_down_min: 0.0 is not allowed"),
        (f"[{{{LISTED},to_kw=0.1}}]", "to_kw = 0.1: 1 kW are drawn at"),
    ],
)
def test_requests_that_make_no_sense_are_told_with_file_and_key(events: str, said: str) -> None:
    with pytest.raises(InputError) as told:
        load_experiment(find("demand_response"), [f"sites.all.grid.events={events}"])
    (problem,) = told.value.problems
    assert str(problem).split(": ")[0].endswith("demand_response.toml")
    assert problem.key.startswith("sites.all.grid.events")
    assert said in str(problem)


def test_an_unknown_tier_is_told() -> None:
    with pytest.raises(InputError, match=r'flexibility: "0.8" is not allowed; allowed: firm, 0.9, 0.75, 0.5, pausable'):
        load_experiment(find("demand_response"), ['workload.classes.evaluation.flexibility="0.8"'])


TOGETHER = '{shared="network",start="2025-11-25T15:30:00Z",hours=2.0,cut=0.25}'


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The bundled experiment, shortened to two days of three sites with one request."""
    changes = ["days=2", "drain_days=1", 'policies=["fifo"]', f"sites.all.grid.events=[{TOGETHER}]"]
    changes.append('sites.use=["rabat","fes","dakhla"]')
    return tafukt.run("shared_request", set=changes, output=tmp_path_factory.mktemp("shared") / "out", workers=1)


def test_a_shared_request_has_one_row_and_its_figure_the_sum_of_its_sites(together: Results) -> None:
    asked = together["fifo"].grid_events
    (row,) = asked.to_dict("records")
    assert (row["site"], sorted(row["members"].split(";"))) == ("network", ["dakhla", "fes", "rabat"])
    assert row["target_kw"] == pytest.approx(0.75 * row["baseline_kw"], rel=1e-9)
    (planned,) = figures.plan(together, ["grid_requests"])
    ax = figures.draw(planned).axes[0]
    (bought,) = (patch for patch in ax.patches if patch.get_label() == "grid import")
    energy = together["fifo"].energy
    here = energy[energy["time_h"] + energy["step_h"] > row["start_h"] - 1.0]
    sums = (here["grid_import_kwh"] / here["step_h"]).groupby(here["time_utc"]).sum()
    assert bought.get_data().values == pytest.approx(sums.iloc[: len(bought.get_data().values)].to_numpy())
    assert '<h2 id="grid">Grid requests</h2>' in page(together)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"sites.change.fes.grid.events=[{TOGETHER.replace('0.25', '0.3')}]", "'network' differs from that of"),
        (
            f"sites.all.grid.events=[{TOGETHER.replace('cut=0.25', 'to_kw=2.0')}]",
            "draw 12 kW at all times",
        ),
    ],
)
def test_a_shared_request_that_makes_no_sense_is_told(change: str, said: str) -> None:
    with pytest.raises(InputError) as told:
        load_experiment(find("shared_request"), [change])
    assert said in str(told.value.problems[0])
    assert "grid.events" in told.value.problems[0].key


def test_a_request_after_the_end_is_told() -> None:
    event = TOGETHER.replace("2025-11-25", "2026-02-01")
    changes = ["days=1", "drain_days=1", 'sites.use=["rabat"]', f"sites.all.grid.events=[{event}]"]
    found = [note for note in tafukt.validate("shared_request", set=changes).notes if "grid.events" in note]
    assert found == [
        "rabat: grid.events: begins after the end of the window, 2025-11-26T00:00+0000, and is left out: "
        "2026-02-01T15:30Z"
    ]
