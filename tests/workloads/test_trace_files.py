"""How logs are written: clocks, separators, encodings, units, columns of what users asked for."""

from __future__ import annotations

import gzip
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.workloads import mistakes, workload_from

from tafukt.workloads.build import build
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.job import Job
from tafukt.workloads.schema import Demand, Place, TraceModel
from tafukt.workloads.traces import files
from tafukt.workloads.traces.formats import load_table, sniff

START = datetime(2025, 6, 1, tzinfo=UTC)
PLACES = [Place("rabat", "RSK", 5.1e6, 80), Place("fes", "FME", 4.5e6, 80)]
HEAD = "job_id,submit,runtime_s,gpus"
ROWS = ["a,2024-05-06T10:00:00,3600,4", "b,2024-05-07T11:30:00,1800,1"]
BASE: dict[str, Any] = {
    "kind": "trace",
    "file": "log.csv",
    "format": "own",
    "start_day": 0,
    "gpu_cap": 64,
    "load_factor": 1,
    "slack_h": 6,
    "estimates": "exact",
}


def write(folder: Path, rows: list[str], head: str = HEAD, name: str = "log.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(("\n".join([head, *rows]) + "\n").encode(encoding))
    return path


def replay(
    folder: Path, days: float = 7, places: list[Place] = PLACES, start: datetime = START, **keys: object
) -> Demand:
    table = {name: value for name, value in {**BASE, **keys}.items() if value is not None}
    return build(workload_from(table), places, start, days, 1, folder)


def jobs(folder: Path, **keys: Any) -> dict[str, Job]:
    return {job.ask.job_id: job for job in replay(folder, **keys).jobs}


# --- columns of what users asked for


def test_what_a_row_says_wins_over_the_experiment(tmp_path: Path) -> None:
    head = HEAD + ",slack_h,interruptible,priority,checkpoint_gb,home,dataset,dataset_gb,class,estimate_s"
    rows = [
        "a,2024-05-06T10:00:00,3600,4,2.5,false,7,12,fes,web,900,training,4000",
        "b,2024-05-06T11:00:00,3600,1,,yes,,,rabat,web,,test,5000",
        "c,2024-05-06T12:00:00,3600,1,0,no,-1,0,fes,,,test,5000",
    ]
    write(tmp_path, rows, head)
    found = jobs(tmp_path, estimates="column")
    asks = [found[name].ask for name in "abc"]
    assert [ask.slack_s for ask in asks] == [2.5 * 3600, 6 * 3600, 0.0]
    assert [ask.interruptible for ask in asks] == [False, True, False]
    assert [ask.priority for ask in asks] == [7, 0, -1]
    assert [ask.checkpoint.size_gb for ask in asks] == [12.0, 20.0, 0.0]
    assert [ask.home for ask in asks] == ["fes", "rabat", "fes"]
    assert [(ask.dataset.name, ask.dataset.size_gb, ask.dataset.home) for ask in asks] == [
        ("web", 900.0, "fes"),
        ("web", 900.0, "fes"),  # one data set, at the home of the first job that reads it
        ("own@fes", 0.0, "fes"),
    ]
    assert [ask.job_class for ask in asks] == ["training", "test", "test"]


def test_a_deadline_leaves_slack_once_the_estimate_is_taken_off(tmp_path: Path) -> None:
    rows = [
        "a,2024-05-06T10:00:00,3600,4,3600,2024-05-06T15:00:00",
        "b,2024-05-06T10:00:00,3600,4,3600,2024-05-06T10:30:00",
    ]
    write(tmp_path, rows, HEAD + ",estimate_s,deadline")
    found = jobs(tmp_path, estimates="column", slack_h=None)
    assert found["a"].ask.slack_s == 4 * 3600
    assert found["a"].ask.deadline_s == 15 * 3600
    assert found["b"].ask.slack_s == 0
    told = " ".join(replay(tmp_path, estimates="column", slack_h=None).told)
    assert "deadline too early even for a start at submission: no slack: 1 row (3)" in told


def test_a_row_without_slack_asks_for_a_key(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    with pytest.raises(WorkloadError, match=r"2 rows of log.csv give neither slack nor deadline \(rows 2, 3\)"):
        replay(tmp_path, slack_h=None)


def test_a_home_that_is_no_site_is_named(tmp_path: Path) -> None:
    write(tmp_path, [ROWS[0] + ",fez"], HEAD + ",home")
    with pytest.raises(WorkloadError, match="'fez', but there is no such site; did you mean 'fes'"):
        replay(tmp_path)
    assert len(replay(tmp_path, homes="population").jobs) == 1


def test_rows_without_an_estimate_take_the_factor(tmp_path: Path) -> None:
    write(tmp_path, [ROWS[0] + ",", ROWS[1] + ",2000"], HEAD + ",estimate_s")
    found = jobs(tmp_path, estimates="column", estimate_factor=2)
    assert [found[name].ask.estimate_s for name in "ab"] == [7200, 2000]


# --- clocks and dates


SWF = "; UnixStartTime: 1717246800\n; TimeZoneString: Europe/Rome\n"  # 1 June 2024, 13:00 UTC, 15:00 in Rome


def swf_row(job: int, submit: int) -> str:
    return f"{job} {submit} 60 3600 4 -1 -1 4 7200 -1 1 1 1 1 1 -1 -1 -1\n"


def test_the_time_of_day_of_an_swf_log_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text(SWF + swf_row(1, 0) + swf_row(2, 3600) + swf_row(3, 68_400))
    found = jobs(tmp_path, file="log.swf", format="swf")
    assert [found[name].ask.submit_s / 3600 for name in "123"] == [15, 16, 34]
    assert found["1"].ask.logged_start_s == 15 * 3600 + 60
    told = replay(tmp_path, file="log.swf", format="swf").told[0]
    assert "Saturday 2024-06-01" in told
    assert "Europe/Rome" in told
    keys: dict[str, Any] = {"file": "log.swf", "format": "swf", "align": "dates", "start_day": None}
    found = {j.ask.job_id: j for j in replay(tmp_path, start=datetime(2024, 6, 1, tzinfo=UTC), **keys).jobs}
    assert [found[name].ask.submit_s / 3600 for name in "123"] == [13, 14, 32]


def test_an_swf_log_without_a_date_says_that_its_time_of_day_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text("; UnixStartTime: 0\n" + swf_row(1, 0))
    result = replay(tmp_path, file="log.swf", format="swf")
    assert result.jobs[0].ask.submit_s == 0
    assert "whose time of day is not known" in result.told[0]
    with pytest.raises(WorkloadError, match=r"'dates', but log\.swf has no dates"):
        replay(tmp_path, file="log.swf", format="swf", align="dates", start_day=None)


def test_times_with_offsets_and_without_stand_on_the_logs_own_clock(tmp_path: Path) -> None:
    plain = ["a,2024-05-06T10:00:00,3600,4", "b,2024-05-06T23:30:00,3600,4"]
    write(tmp_path, plain)
    wanted = [job.ask.submit_s for job in replay(tmp_path).jobs]
    assert wanted == [36_000, 84_600]
    for rows in (
        ["a,2024-05-06T10:00:00+08:00,3600,4", "b,2024-05-06T23:30:00+08:00,3600,4"],
        ["a,2024-05-06T10:00:00+08:00,3600,4", "b,2024-05-06T15:30:00Z,3600,4"],  # two offsets in one column
    ):
        write(tmp_path, rows)
        assert [job.ask.submit_s for job in replay(tmp_path).jobs] == wanted
        keys: dict[str, Any] = {"align": "dates", "start_day": None}
        dated = replay(tmp_path, start=datetime(2024, 5, 6, tzinfo=UTC), **keys).jobs
        assert [job.ask.submit_s for job in dated] == [2 * 3600, 15.5 * 3600]


def test_dates_of_a_log_in_local_time_need_its_zone(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    keys: dict[str, Any] = {"align": "dates", "start_day": None, "start": datetime(2024, 5, 6, tzinfo=UTC)}
    assert replay(tmp_path, **keys).jobs[0].ask.submit_s == 10 * 3600
    assert replay(tmp_path, **keys, tz="Europe/Rome").jobs[0].ask.submit_s == 8 * 3600
    assert "no time zone of this name" in mistakes(BASE | {"tz": "Rome"})
    with pytest.raises(WorkloadError, match="it covers 2024-05-06T10:00Z to 2024-05-07T11:30Z"):
        replay(tmp_path, align="dates", start_day=None)


def test_24_00_is_the_beginning_of_the_next_day(tmp_path: Path) -> None:
    write(tmp_path, ["a,2024-05-06 24:00,60,1", "b,2024-05-06T00:00:00,60,1"])
    assert [job.ask.submit_s for job in replay(tmp_path).jobs] == [0, 86_400]


@pytest.mark.parametrize("never", ["9999-12-31T00:00:00Z", "0001-01-01T00:00:00", "1" * 400, "31.02.2024"])
def test_a_date_that_means_never_is_a_date_wrong(tmp_path: Path, never: str) -> None:
    write(tmp_path, [ROWS[0], f"z,{never},60,1"])
    with pytest.raises(WorkloadError, match=r"column 'submit' needs a date: 1 row \(3\)"):
        replay(tmp_path)


def test_a_log_that_is_too_short_begins_again_in_whole_weeks(tmp_path: Path) -> None:
    write(tmp_path, [f"j{day},2024-05-{6 + day:02d}T10:00:00,3600,4" for day in range(10)])
    once = replay(tmp_path, days=30)
    assert len(once.jobs) == 10
    assert any("ends after 9.4 of the 30 days" in line for line in once.told)
    again = replay(tmp_path, days=30, repeat=True)
    assert [job.ask.submit_s for job in again.jobs] == [day * 86_400 + 36_000 for day in range(30)]
    assert {"j0", "j0@2", "j6@4", "j1@5"} <= {job.ask.job_id for job in again.jobs}
    assert "j7" not in {job.ask.job_id for job in again.jobs}  # the second week has but three days
    assert any("its 7 days are repeated 5 times" in line for line in again.told)
    assert len(replay(tmp_path, days=0.5).jobs) == 1


# --- how the file is written


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_separators_and_decimal_commas_are_found(tmp_path: Path, separator: str) -> None:
    rows = [f"{row},1,5".replace(",", separator, 4).replace(separator + "1,5", separator + "1,5") for row in ROWS]
    write(tmp_path, rows, (HEAD + ",slack_h").replace(",", separator))
    assert sniff(tmp_path / "log.csv") == "own"
    assert [job.ask.slack_s for job in replay(tmp_path).jobs] == [5400, 5400]


def test_lines_above_the_header_and_a_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path, ["printed by hand", "", HEAD, *ROWS], "\ufeffJobs of May")
    assert [job.ask.job_id for job in replay(tmp_path).jobs] == ["a", "b"]
    write(tmp_path, [*ROWS, "x,soon,1,1"], "\ufeff" + HEAD)
    with pytest.raises(WorkloadError, match=r"needs a date: 1 row \(4\)"):
        replay(tmp_path)


def test_latin_1_is_read_and_said_and_utf_16_refused(tmp_path: Path) -> None:
    write(tmp_path, [ROWS[0] + ",Größe"], HEAD + ",class", encoding="latin-1")
    result = replay(tmp_path)
    assert result.jobs[0].ask.job_class == "Größe"
    assert any("read as Latin-1" in line for line in result.told)
    write(tmp_path, ROWS, encoding="utf-16")
    with pytest.raises(WorkloadError, match="UTF-16; save it as UTF-8"):
        replay(tmp_path)


def test_a_map_with_patterns_needs_no_code_for_another_log(tmp_path: Path) -> None:
    (tmp_path / "pbs.toml").write_text(
        """
separator = "spaces"
submit = { column = "qtime", unit = "unix" }
runtime = { column = "walltime", unit = "hms" }
gpus = { column = "resources", unit = "count", pattern = 'ngpus=(\\d+)', default = 0 }
status = { column = "exit", unit = "text", pattern = '^[a-z]+', done = ["ok"], failed = ["err"], unfinished = ["run"] }
zero_gpus = "drop"
"""
    )
    rows = [
        "1714989600   01:30:00  select=1:ngpus=4   ok",
        "1714993200  1-00:00:30 select=2:ncpus=8   ok",
        "1714993200  30:00      select=1:ngpus=2   err137",
        "1714996800  -          select=1:ngpus=2   run",
    ]
    write(tmp_path, rows, "qtime walltime resources exit")
    result = replay(tmp_path, format="pbs.toml")
    assert [(job.ask.gpus, job.runtime_s, job.truth.ending) for job in result.jobs] == [
        (4, 5400, "done"),
        (2, 1800, "failed"),
    ]
    assert result.notes["rows_dropped"] == 2
    assert result.jobs[0].ask.submit_s == 10 * 3600  # 1714989600 is 6 May 2024, 10:00 UTC
    (tmp_path / "pbs.toml").write_text('submit = { column = "q", unit = "s", pattern = "(" }\n')
    with pytest.raises(WorkloadError, match="not a regular expression"):
        replay(tmp_path, format="pbs.toml")


# --- units


def test_a_runtime_in_milliseconds_or_hours_is_refused(tmp_path: Path) -> None:
    stamps = [f"2024-05-{6 + i:02d}T10:00:00" for i in range(12)]
    write(tmp_path, [f"j{i},{stamp},{3_600_000 + i},4" for i, stamp in enumerate(stamps)])
    with pytest.raises(WorkloadError, match=r'is in another unit than .* is it "ms"'):
        replay(tmp_path)
    write(tmp_path, [f"j{i},{stamp},0.{5 + i % 3},4" for i, stamp in enumerate(stamps)])
    with pytest.raises(WorkloadError, match=r'less than 0.6 s, so column .* is it "h"'):
        replay(tmp_path)


def test_seconds_under_a_format_in_hours_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [f"{600 * i},1,1" for i in range(1010)], "arrival_time,length,cpus")
    with pytest.raises(WorkloadError, match="submissions span 69 years, so column 'arrival_time' is in another unit"):
        replay(tmp_path, format="pai")


def test_a_log_of_faster_nodes_keeps_its_runtimes_on_them(tmp_path: Path) -> None:
    write(tmp_path, [ROWS[0] + ",5000"], HEAD + ",estimate_s")
    job = replay(tmp_path, recorded_on=3.17, estimates="column").jobs[0]
    assert job.runtime_s == pytest.approx(3.17 * 3600)
    assert job.ask.estimate_s == pytest.approx(3.17 * 5000)


# --- what is told


def test_what_was_dropped_is_told_with_its_gpu_hours(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, "c,2024-05-07T12:00:00,7200,8,", "a,2024-05-08T12:00:00,3600,10"])
    result = replay(tmp_path, bad_rows="drop")
    assert result.notes["gpu_hours_dropped"] == 10.0  # one row has a field too many, the other an id twice
    told = next(line for line in result.told if "left out" in line)
    assert "2 of 4 rows left out, 10.0 GPU-hours (69.0% of all)" in told  # beside 4 and 0.5


def test_jobs_that_fit_nowhere_and_the_load_are_told(tmp_path: Path) -> None:
    write(tmp_path, ["a,2024-06-01T10:00:00,3600,32", "b,2024-06-01T11:00:00,60,2"])
    told = replay(tmp_path, days=2, places=[Place("here", "H", 1, 16)]).told
    assert any("1 of 2 jobs (99.9% of the work) asks for up to 32 GPUs and no site has more than 16" in s for s in told)
    assert any("load: the jobs ask for 4.2% of the GPU time available in 2 days" in s for s in told)


def test_every_state_of_slurm_is_known(tmp_path: Path) -> None:
    endings = {
        "COMPLETED": "done", "TIMEOUT": "failed", "OUT_OF_MEMORY": "failed", "NODE_FAIL": "failed", "FAILED": "failed",
        "BOOT_FAIL": "failed", "DEADLINE": "failed", "CANCELLED by 1000": "cancelled", "PREEMPTED": "cancelled",
        "REVOKED": "cancelled", "OUT_OF_ME+": "failed", "done": "done", "completed": "done",
    }  # fmt: skip
    rows = [f"{i},2024-05-06T10:00:00,3600,4,{state}" for i, state in enumerate(endings)]
    rows += [f"r{i},2024-05-06T10:00:00,,4,{state}" for i, state in enumerate(["RUNNING", "PENDING", "SUSPENDED"])]
    write(tmp_path, rows, HEAD + ",status")
    result = replay(tmp_path)
    assert [j.truth.ending for j in sorted(result.jobs, key=lambda j: int(j.ask.job_id))] == list(endings.values())
    assert result.notes["dropped"] == {"had not ended when the log was written": "3 rows (15, 16, 17)"}


def test_too_many_rows_are_refused_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ROWS", 50_000)
    monkeypatch.setattr(files, "ROWS_FOR_A_GUESS", 10_000)
    rng = np.random.default_rng(1)
    lines = [f"{i},2024-05-06T10:00:00,{run},4" for i, run in enumerate(rng.integers(60, 90_000, 400_000).tolist())]
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(("\n".join([HEAD, *lines])).encode(), 1))
    begun = time.process_time()
    with pytest.raises(WorkloadError, match=r"about [34]\d\d,\d\d\d rows; at most 50,000 are read"):
        load_table("log.csv.gz", "own", tmp_path)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    "keys",
    [
        {"load_factor": "inf"}, {"load_factor": "1e18"}, {"slack_h": "inf"}, {"runtime_cap_h": "inf"},
        {"gpu_cap": True}, {"start_day": "1e18"}, {"estimate_factor": "nan", "estimates": "factor"},
        {"recorded_on": 1e9}, {"recorded_on": "nan"}, {"restart_s": "inf"}, {"gpu_cap": 2**63},
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(keys: dict[str, Any]) -> None:
    number = {"inf": np.inf, "nan": np.nan, "1e18": 1e18}
    assert mistakes(BASE | {key: number.get(str(value), value) for key, value in keys.items()})


def test_what_the_grid_may_ask_is_said_by_the_row_its_class_or_for_all(tmp_path: Path) -> None:
    rows = [
        "a,2024-05-06T10:00:00,3600,4,training,0.9",
        "b,2024-05-06T11:00:00,3600,1,training,",
        "c,2024-05-06T12:00:00,3600,1,test,pausable",
        "d,2024-05-06T13:00:00,3600,1,test,",
    ]
    write(tmp_path, rows, HEAD + ",class,tier")
    classes = {"training": {"flexibility": "0.5", "power_curve": "fine-tuning"}}
    found = jobs(tmp_path, flexibility="0.75", classes=classes, power_curve="inference")
    assert [found[name].ask.event_floor for name in "abcd"] == [0.9, 0.5, 0.0, 0.75]
    assert [found[name].ask.power_curve for name in "abcd"] == ["fine-tuning"] * 2 + ["inference"] * 2
    assert {job.ask.event_floor for job in jobs(tmp_path, bad_rows="drop").values()} == {0.9, 1.0, 0.0}


def test_an_unknown_tier_or_class_is_told(tmp_path: Path) -> None:
    write(tmp_path, [ROWS[0] + ",training,0.8", ROWS[1] + ",training,firm"], HEAD + ",class,tier")
    known = "'0.8'; known: firm, 0.9, 0.75, 0.5, pausable"
    with pytest.raises(WorkloadError, match=re.escape(f"column 'tier' holds an unknown tier: 1 row (2): {known}")):
        replay(tmp_path)
    write(tmp_path, [ROWS[0] + ",training"], HEAD + ",class")
    with pytest.raises(WorkloadError, match=r"workload.classes: the trace has no class 'trainin'; .*'training'"):
        replay(tmp_path, classes={"trainin": {"flexibility": "firm"}})
    told = mistakes({**BASE, "classes": {"training": {"flexibility": "0.8"}}})
    assert "workload.classes.training.flexibility" in told
    assert "pausable" in told


def test_a_log_copied_a_thousand_times_is_refused(tmp_path: Path) -> None:
    rows = [f"j{i},2025-06-01T{i:02d}:00:00Z,3600,8" for i in range(12)]
    (tmp_path / "t.csv").write_text("job_id,submit,runtime_s,gpus\n" + "\n".join(rows) + "\n")
    table = {"kind": "trace", "file": "t.csv", "format": "own", "start_day": 0, "gpu_cap": 8, "slack_h": 1}
    places = [Place("x", "X", 1, 8, "MA")]
    start = datetime(2025, 6, 1, tzinfo=UTC)
    model = TraceModel.model_validate({**table, "estimates": "exact", "load_factor": 1000})
    with pytest.raises(WorkloadError, match=r"workload\.load_factor = 1000: the 12,000 jobs ask for 500 times"):
        build(model, places, start, 1.0, 1, tmp_path)
    as_it_is = TraceModel.model_validate({**table, "estimates": "exact", "load_factor": 1})
    assert len(build(as_it_is, places, start, 1e-4, 1, tmp_path).jobs) == 1
