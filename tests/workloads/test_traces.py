"""Trace readers and scaling: real formats, every kind of nonsense, and that no job goes silently."""

from __future__ import annotations

import gzip
import resource
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders.workloads import mistakes, workload_from
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tafukt.workloads.build import build
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.schema import Demand, Place
from tafukt.workloads.traces import files as unpack
from tafukt.workloads.traces.column_map import ColumnMap, column_map
from tafukt.workloads.traces.formats import sniff
from tafukt.workloads.traces.readers import read_table
from tafukt.workloads.traces.swf import read_swf

START = datetime(2025, 12, 1, tzinfo=UTC)
PLACES = [Place("casablanca", "CSE", 7.7e6, 80), Place("rabat", "RSK", 5.1e6, 80), Place("fes", "FME", 4.5e6, 80)]
OWN = "job_id,submit,runtime_s,gpus,estimate_s,cluster,class,status\n"
ROWS = [
    "a,2024-05-06T10:00:00,3600,4,7200,lab,training,done",
    "b,2024-05-06T11:30:00,60,1,600,lab,test,failed",
    "c,2024-05-07T00:00:00,7200,16,7000,office,training,cancelled",
    "d,2024-05-08T23:59:59,10,8,100,office,test,done",
]
BASE: dict[str, object] = {
    "kind": "trace",
    "file": "own.csv",
    "format": "own",
    "start_day": 0,
    "gpu_cap": 32,
    "load_factor": 1,
    "slack_h": 6,
    "estimates": "column",
}


def write(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    data = text.encode() if isinstance(text, str) else text
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def own(folder: Path, rows: list[str], **keys: object) -> Demand:
    write(folder, OWN + "\n".join(rows) + "\n")
    return replay(folder, **keys)


def replay(folder: Path, days: float = 7, seed: int = 1, places: list[Place] = PLACES, **keys: object) -> Demand:
    table = {name: value for name, value in {**BASE, **keys}.items() if value is not None}
    return build(workload_from(table), places, START, days, seed, folder)


def refused(folder: Path, rows: list[str], **keys: object) -> str:
    with pytest.raises(WorkloadError) as caught:
        own(folder, rows, **keys)
    return str(caught.value)


def test_own_log_comes_out_as_it_is(tmp_path: Path) -> None:
    jobs = {job.ask.job_id: job for job in own(tmp_path, ROWS).jobs}
    assert {name: job.ask.submit_s for name, job in jobs.items()} == {
        "a": 36_000.0,
        "b": 41_400.0,
        "c": 86_400.0,
        "d": 3 * 86_400.0 - 1,
    }
    assert {name: job.runtime_s for name, job in jobs.items()} == {"a": 3600, "b": 60, "c": 7200, "d": 10}
    assert {name: job.ask.gpus for name, job in jobs.items()} == {"a": 4, "b": 1, "c": 16, "d": 8}
    assert {name: job.ask.estimate_s for name, job in jobs.items()} == {"a": 7200, "b": 600, "c": 7000, "d": 100}
    assert [jobs[name].truth.ending for name in "abcd"] == ["done", "failed", "cancelled", "done"]
    assert jobs["a"].ask.job_class == "training"
    assert jobs["a"].ask.tenant.programme == "lab"
    assert jobs["a"].ask.home == jobs["b"].ask.home
    assert {job.ask.slack_s for job in jobs.values()} == {6 * 3600.0}


def test_notes_say_what_was_done(tmp_path: Path) -> None:
    notes = own(tmp_path, ROWS, days=1).notes
    assert notes["rows_read"] == 4
    assert notes["scaling"]["rows_in_window"] == 2
    assert notes["scaling"]["rows_after_window"] == 2
    assert notes["scaling"]["jobs"] == 2
    assert set(notes["scaling"]["homes"]) == {"lab", "office"}
    assert own(tmp_path, ROWS).notes["estimates_below_runtime"] == 1


def test_parquet_and_gzip_give_the_same_jobs(tmp_path: Path) -> None:
    import pandas as pd

    jobs = own(tmp_path, ROWS).jobs
    write(tmp_path, OWN + "\n".join(ROWS), "own.csv.gz")
    pd.read_csv(tmp_path / "own.csv", parse_dates=["submit"]).to_parquet(tmp_path / "own.parquet")
    assert replay(tmp_path, file="own.csv.gz").jobs == jobs
    assert replay(tmp_path, file="own.parquet").jobs == jobs
    assert sniff(tmp_path / "own.parquet") == sniff(tmp_path / "own.csv.gz") == "own"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,2024-05-06T12:00:00,-5,1,9,lab,t,done", "negative runtime: 1 row (3)"),
        ("x,2024-05-06T12:00:00,60,0,9,lab,t,done", "no GPUs: 1 row (3)"),
        ("x,2024-05-06T12:00:00,60,-2,9,lab,t,done", "negative GPUs: 1 row (3)"),
        ("x,yesterday,60,1,9,lab,t,done", "column 'submit' needs a date: 1 row (3): 'yesterday'"),
        ("x,2024-05-06T12:00:00,long,1,9,lab,t,done", "column 'runtime_s' needs a finite number: 1 row (3): 'long'"),
        ("x,2024-05-06T12:00:00,inf,1,9,lab,t,done", "column 'runtime_s' needs a finite number: 1 row (3): 'inf'"),
        ("x,2024-05-06T12:00:00,,1,9,lab,t,done", "nothing there"),
        ("a,2024-05-06T12:00:00,60,1,9,lab,t,done", "duplicate id: 1 row (3): 'a'"),
        ("x,2024-05-06T12:00:00,60,1,9,lab,t,dnoe", "unknown status: 1 row (3): 'dnoe'; known: done"),
        ("x,2024-05-06T12:00:00,1e12,1,9,lab,t,done", "more than ten years: 1 row (3)"),
        ("x,2024-05-06T12:00:00,60,1e9,9,lab,t,done", "more than a million GPUs"),
    ],
)
def test_bad_row_is_refused_with_its_number_or_dropped_and_counted(tmp_path: Path, row: str, said: str) -> None:
    rows = [ROWS[0], row, *ROWS[1:]]
    message = refused(tmp_path, rows)
    assert said in message
    assert 'bad_rows = "drop"' in message
    result = own(tmp_path, rows, bad_rows="drop")
    assert [job.ask.job_id for job in result.jobs] == ["a", "b", "c", "d"]
    assert result.notes["rows_dropped"] == 1
    assert result.notes["rows_read"] == 5


def test_several_mistakes_are_named_at_once(tmp_path: Path) -> None:
    bad = ["x,2024-05-06T12:00:00,-5,1,9,lab,t,done", "y,never,60,1,9,lab,t,done"]
    message = refused(tmp_path, bad + ROWS)
    assert "negative runtime" in message
    assert "needs a date" in message


def test_negative_relative_times(tmp_path: Path) -> None:
    write(tmp_path, "arrival_time,length,cpus\n0,1,1\n-3,1,1\n", "pai.csv")
    with pytest.raises(WorkloadError, match=r"negative submission time: 1 row \(3\)"):
        replay(tmp_path, file="pai.csv", format="pai", estimates="exact")


def test_wrong_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "job_id,submitted,runtime_s,gpu\na,2024-05-06,1,1\n")
    with pytest.raises(WorkloadError) as caught:
        replay(tmp_path)
    assert "no column 'submit'; did you mean 'submitted'" in str(caught.value)
    assert "no column 'gpus'; did you mean 'gpu'" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "own.csv", "empty"),
        (OWN.encode(), "own.csv", "there are no rows below the header"),
        ((OWN + ROWS[0] + ",5,6\n").encode(), "own.csv", r"not the 8 fields of the header: 1 row \(2\)"),
        ((OWN + '"' + ROWS[0] + "\n" + ROWS[1] + '"\n').encode(), "own.csv", r"not the 8 fields of the header: 2 rows"),
        ((OWN + "\n\n").encode(), "own.csv", "there are only blank lines"),
        (bytes(range(256)) * 50, "own.csv", "no column 'submit'"),
        (b"PAR1 this is not parquet", "own.parquet", "not a Parquet file"),
        (b"\x1f\x8b" + b"nonsense" * 9, "own.csv.gz.raw", "damaged"),
        (gzip.compress((OWN + "\n".join(ROWS * 500)).encode())[:-400], "own.csv.gz.raw", "cut off"),
    ],
)
def test_broken_files(tmp_path: Path, data: bytes, name: str, said: str) -> None:
    path = tmp_path / name.removesuffix(".raw")
    path.write_bytes(data)
    with pytest.raises(WorkloadError, match=said):
        replay(tmp_path, file=path.name)


def test_missing_file_and_format(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    with pytest.raises(WorkloadError, match=r"no file .*that folder holds: own\.csv"):
        replay(tmp_path, file="owm.csv")
    with pytest.raises(WorkloadError, match="there is no folder"):
        replay(tmp_path, file="nowhere/own.csv")
    with pytest.raises(WorkloadError, match="did you mean 'philly'"):
        replay(tmp_path, format="phily")


def test_compression_bomb_is_stopped_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 20_000_000)
    row = b"a,2024-05-06T10:00:00,3600,4,7200,lab,training,done\n"
    write(tmp_path, OWN.encode() + row * 600_000, "rows.csv.gz")
    write(tmp_path, OWN.encode() + b"0" * 30_000_000, "line.csv.gz")
    write(tmp_path, b"1 " * 15_000_000, "bomb.swf.gz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WorkloadError, match="unpacks to more than 20000000 bytes"):
        replay(tmp_path, file="rows.csv.gz")
    for name, kind in (("line.csv.gz", "own"), ("bomb.swf.gz", "swf")):
        with pytest.raises(WorkloadError, match="a line is longer"):
            replay(tmp_path, file=name, format=kind)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"slack_factor": 1.0}, "give slack_h or slack_factor, not both"),
        ({"load_factor": None}, "either load_factor or load"),
        ({"estimates": None}, "workload.estimates: is missing"),
        ({"estimates": "factor"}, "needs estimate_factor"),
        ({"gpu_cap": None}, "workload.gpu_cap: is missing"),
        ({"start_day": None}, "needs start_day"),
    ],
)
def test_nothing_is_filled_silently(keys: dict[str, object], said: str) -> None:
    table = {name: value for name, value in {**BASE, **keys}.items() if value is not None}
    assert said in mistakes(table)
    assert mistakes(BASE) == ""


def test_column_estimates_need_a_column(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1].replace(",600,", ",,")]
    assert "1 rows of own.csv have no estimate (rows 3)" in refused(tmp_path, rows)
    jobs = own(tmp_path, rows, estimates="factor", estimate_factor=2.0, slack_h=None, slack_factor=3.0).jobs
    assert [job.ask.estimate_s for job in jobs] == [7200, 120]
    assert [job.ask.slack_s for job in jobs] == [21_600, 360]


def test_gang_cap_is_explicit(tmp_path: Path) -> None:
    assert "1 jobs of own.csv ask for more than gpu_cap = 8 GPUs (rows 4; the largest for 16)" in refused(
        tmp_path, ROWS, gpu_cap=8
    )
    cut = {j.ask.job_id: j for j in own(tmp_path, ROWS, gpu_cap=8, over_cap="cut").jobs}
    spread = {j.ask.job_id: j for j in own(tmp_path, ROWS, gpu_cap=8, over_cap="spread").jobs}
    dropped = own(tmp_path, ROWS, gpu_cap=8, over_cap="drop")
    assert (cut["c"].ask.gpus, cut["c"].runtime_s) == (8, 7200)
    assert (spread["c"].ask.gpus, spread["c"].runtime_s, spread["c"].ask.estimate_s) == (8, 14_400, 14_000)
    assert [j.ask.job_id for j in dropped.jobs] == ["a", "b", "d"]
    assert dropped.notes["rows_dropped"] == 1


def test_gpus_per_unit_rounds_up_and_says_so(tmp_path: Path) -> None:
    result = own(tmp_path, ROWS, gpus_per_unit=0.125)
    assert [job.ask.gpus for job in result.jobs] == [1, 1, 2, 1]
    assert result.notes["repaired"]["GPUs rounded up to a whole number"] == "2 rows (2, 3)"


def test_long_jobs_are_chained_and_none_is_lost(tmp_path: Path) -> None:
    rows = ["long,2024-05-06T10:00:00,36000,4,36000,lab,t,failed"]
    jobs = own(tmp_path, rows, runtime_cap_h=3).jobs
    assert [job.ask.job_id for job in jobs] == ["long.1", "long.2", "long.3", "long.4"]
    assert [job.truth.ending for job in jobs] == ["done", "done", "done", "failed"]
    assert [job.ask.submit_s - jobs[0].ask.submit_s for job in jobs] == [0, 9000, 18_000, 27_000]
    assert sum(job.truth.due_gpu_s for job in jobs) == 4 * 36_000
    short = own(tmp_path, rows, runtime_cap_h=3, days=0.6)
    assert len(short.jobs) + short.notes["scaling"]["segments_submitted_after_the_window"] == 4


def many(n: int = 4000) -> list[str]:
    rng = np.random.default_rng(5)
    seconds = np.sort(rng.integers(0, 7 * 86_400, n))
    stamps = (np.datetime64("2024-05-06T00:00:00") + seconds).astype(str)
    return [
        f"j{i},{stamp},{int(rng.integers(60, 7200))},{int(rng.choice([1, 2, 4, 8]))},9000,vc{i % 40},t,done"
        for i, stamp in enumerate(stamps)
    ]


def test_load_factor_thins_and_copies(tmp_path: Path) -> None:
    rows = many()
    full = own(tmp_path, rows)
    ids = {job.ask.job_id for job in full.jobs}
    thin = replay(tmp_path, load_factor=0.4)
    assert {job.ask.job_id for job in thin.jobs} < ids
    assert len(thin.jobs) == pytest.approx(0.4 * len(rows), rel=0.06)
    thick = replay(tmp_path, load_factor=2.5)
    assert ids < {job.ask.job_id for job in thick.jobs}
    assert len(thick.jobs) == pytest.approx(2.5 * len(rows), rel=0.02)
    originals = {job.ask.job_id: job.ask.submit_s for job in full.jobs}
    for job in thick.jobs:
        assert abs(job.ask.submit_s - originals[job.ask.job_id.partition("~")[0]]) <= 3600
        assert 0 <= job.ask.submit_s < 7 * 86_400
    loaded = replay(tmp_path, load_factor=None, load=0.5)
    assert loaded.notes["scaling"]["load_offered"] == pytest.approx(0.5, rel=0.05)


def test_window_keeps_what_it_shares_with_a_longer_one(tmp_path: Path) -> None:
    own(tmp_path, many())
    long = replay(tmp_path, load_factor=0.5, homes="jobs", days=5).jobs
    short = replay(tmp_path, load_factor=0.5, homes="jobs", days=2).jobs
    assert short == tuple(job for job in long if job.ask.submit_s < 2 * 86_400)


def test_homes_follow_population_and_new_sites_take_only_to_themselves(tmp_path: Path) -> None:
    own(tmp_path, many())
    jobs = replay(tmp_path, homes="jobs").jobs
    share = Counter(job.ask.home for job in jobs)
    people = sum(place.population for place in PLACES)
    for place in PLACES:
        assert share[place.site] / len(jobs) == pytest.approx(place.population / people, abs=0.03)
    more = [*PLACES, Place("dakhla", "DOD", 2e6, 80)]
    for homes in ("jobs", "population"):
        old = {job.ask.job_id: job.ask.home for job in replay(tmp_path, homes=homes).jobs}
        new = {job.ask.job_id: job.ask.home for job in replay(tmp_path, homes=homes, places=more).jobs}
        assert all(new[name] in (home, "dakhla") for name, home in old.items())
        assert "dakhla" in new.values()


def test_homes_by_table(tmp_path: Path) -> None:
    jobs = own(tmp_path, ROWS, homes={"lab": "fes", "office": "rabat"}).jobs
    assert [(job.ask.home, job.ask.tenant.region) for job in jobs] == [("fes", "FME")] * 2 + [("rabat", "RSK")] * 2
    assert "did you mean 'rabat'" in refused(tmp_path, ROWS, homes={"lab": "fes", "office": "rabatt"})
    assert "no home for virtual cluster 'office'" in refused(tmp_path, ROWS, homes={"lab": "fes"})
    assert "did you mean 'lab'" in refused(tmp_path, ROWS, homes={"labb": "fes"})


def test_window_outside_the_trace_is_said(tmp_path: Path) -> None:
    assert "it covers day 0.42 to 3.00" in refused(tmp_path, ROWS, start_day=10)


HELIOS = (
    "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n"
    "1,u1,vcA,8,64,1,COMPLETED,2020-04-01 00:10:00,2020-04-01 00:10:05,2020-04-01 01:10:05,3600,5\n"
    "2,u1,vcA,0,4,1,COMPLETED,2020-04-01 00:11:00,2020-04-01 00:11:00,2020-04-01 00:12:00,60,0\n"
    "3,u2,vcB,1,4,1,CANCELLED,2020-04-02 00:11:00,2020-04-02 00:11:00,2020-04-02 00:11:00,0,0\n"
)
ACME = (
    "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,queue,gpu_time\n"
    "x1,u1,4,32,256,Pretrain,FAILED,2023-03-01 08:00:00+08:00,2023-03-01 08:00:09+08:00,,1800,9,57600\n"
    "x2,u1,1,1,8,Evaluation,COMPLETED,2023-03-01 09:00:00+08:00,2023-03-01 09:00:00+08:00,,120,0,120\n"
)


@pytest.mark.parametrize(("name", "text"), [("helios", HELIOS), ("acme", ACME)])
def test_published_forms(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, text, "log.csv")
    assert sniff(tmp_path / "log.csv") == name
    result = replay(tmp_path, file="log.csv", format=name, estimates="exact")
    table = [(j.ask.job_id, j.ask.gpus, j.runtime_s, j.truth.ending, j.ask.submit_s) for j in result.jobs]
    if name == "helios":
        assert table == [("1", 8, 3600, "done", 600), ("3", 1, 1, "cancelled", 87_060)]
        assert result.notes["dropped"] == {"no GPUs": "1 row (3)"}
        assert "set to 1 s" in next(iter(result.notes["repaired"]))
    else:
        assert table == [("x1", 32, 1800, "failed", 28_800), ("x2", 1, 120, "done", 32_400)]  # 8 and 9 h on their clock
        assert [j.ask.job_class for j in result.jobs] == ["Pretrain", "Evaluation"]


def test_every_bundled_map_is_valid_and_says_its_source(tmp_path: Path) -> None:
    assert set(bundled("traces")) == {"acme", "helios", "own", "pai", "philly"}
    for name in bundled("traces"):
        mapping = column_map(name, tmp_path)
        assert mapping.title
        assert mapping.source


def test_map_of_ones_own_with_start_and_end(tmp_path: Path) -> None:
    text = 'submit = {column = "q", unit = "min"}\ngpus = {column = "g", unit = "count"}\n'
    (tmp_path / "mine.toml").write_text(
        text + 'start = {column = "s", unit = "min"}\nend = {column = "e", unit = "min"}\n'
    )
    write(tmp_path, "q,s,e,g\n0,1,3,2\n5,6,6.5,1\n", "mine.csv")
    table, _ = read_table(tmp_path / "mine.csv", column_map("mine.toml", tmp_path))
    assert table.runtime_s.tolist() == [120, 30]
    assert table.submit_s.tolist() == [0, 300]
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(WorkloadError, match="needs runtime, or both start and end"):
        column_map("mine.toml", tmp_path)
    (tmp_path / "mine.toml").write_text("submit = [")
    with pytest.raises(WorkloadError, match="not a TOML file"):
        column_map("mine.toml", tmp_path)


def swf_row(job: int, submit: int, run: int, alloc: int, req: int = -1, asked: int = -1, status: int = 1) -> str:
    return f"{job} {submit} -1 {run} {alloc} -1 -1 {req} {asked} -1 {status} 1 1 -1 2 -1 -1 -1"


def test_swf_fields(tmp_path: Path) -> None:
    rows = [
        "; Version: 2.2",
        "; Note: a test",
        swf_row(1, 0, 100, 4, req=8, asked=500),
        swf_row(2, 10, 0, 4),
        swf_row(3, 20, 50, 16, status=0),
        "",
        swf_row(4, 30, -1, -1, status=5),
        swf_row(5, 40, 70, 2, status=5),
        swf_row(6, 50, 70, 2, status=3),
    ]
    table, report = read_swf(write(tmp_path, "\n".join(rows), "log.swf.gz"))
    assert table.row.tolist() == [3, 4, 5, 8]
    assert table.units.tolist() == [8, 4, 16, 2]
    assert table.runtime_s.tolist() == [100, 1, 50, 70]
    assert table.estimate_s[0] == 500
    assert np.isnan(table.estimate_s[1:]).all()
    assert table.status.tolist() == [0, 0, 1, 2]
    notes = report.notes()
    assert notes["rows_read"] == 6
    assert notes["rows_dropped"] == 2
    assert notes["header"] == {"Version": "2.2", "Note": "a test"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1 2 3", r"not 18 fields: 1 row \(2\)"),
        (swf_row(9, 1, 1, 1).replace("9", "nine", 1), r"a field is not a number: 1 row \(2\)"),
        (swf_row(9, 1, 1, 1).replace(" 1 1 -1 2", " nan 1 -1 nan"), "not a finite number"),
        (swf_row(1, 5, 10, 1), "duplicate id"),
        (swf_row(9, 5, -1, 1), r"runtime unknown \(-1\): 1 row"),
        (swf_row(9, 5, 10, -1), "processors unknown"),
        (swf_row(9, 5, 10, 0), "no GPUs"),
        (swf_row(9, -5, 10, 1), "negative submission time"),
    ],
)
def test_bad_swf_rows(tmp_path: Path, row: str, said: str) -> None:
    write(tmp_path, swf_row(1, 0, 10, 1) + "\n" + row + "\n", "log.swf")
    keys: dict[str, object] = {"file": "log.swf", "format": "swf", "estimates": "exact"}
    with pytest.raises(WorkloadError, match=said):
        replay(tmp_path, **keys)
    result = replay(tmp_path, **keys, bad_rows="drop")
    assert len(result.jobs) + result.notes["rows_dropped"] == result.notes["rows_read"] == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=300), st.text(alphabet="0123456789,-.;\nabeinNT: ", max_size=300)))
def test_no_nonsense_gets_past_the_one_exception(tmp_path: Path, data: bytes | str) -> None:
    """Whatever follows the header, the outcome is jobs that add up, or one clear error."""
    body = data if isinstance(data, bytes) else data.encode()
    for name, head, keys in (
        ("x.csv", b"arrival_time,length,cpus\n0,1,1\n", {"format": "pai"}),
        ("x.swf", swf_row(1, 0, 10, 1).encode() + b"\n", {"format": "swf"}),
    ):
        write(tmp_path, head + body, name)
        try:
            result = replay(tmp_path, file=name, bad_rows="drop", estimates="exact", over_cap="cut", **keys)
        except WorkloadError:
            continue
        scaling = result.notes["scaling"]
        outside = scaling["rows_before_window"] + scaling["rows_after_window"]
        assert len(result.jobs) + result.notes["rows_dropped"] + outside == result.notes["rows_read"]


def test_philly_week(shared_data: Path) -> None:
    keys: dict[str, object] = {"file": "traces/philly_2017.csv.gz", "format": "philly", "estimates": "exact"}
    result = replay(shared_data, **keys, start_day=30, gpu_cap=32, over_cap="cut", homes="jobs")
    assert result.notes["rows_read"] == 52_412
    scaling = result.notes["scaling"]
    outside = scaling["rows_before_window"] + scaling["rows_after_window"]
    assert len(result.jobs) + outside + result.notes["rows_dropped"] == 52_412
    assert max(job.ask.gpus for job in result.jobs) <= 32


def test_pai_year_is_read_within_seconds(shared_data: Path) -> None:
    begun = time.process_time()
    keys: dict[str, object] = {"file": "traces/pai_100k.csv.gz", "format": "pai", "estimates": "exact", "gpu_cap": 8}
    places = [Place(f"s{i}", f"R{i}", 1e6, 8) for i in range(12)]
    result = replay(shared_data, days=366, places=places, **keys, over_cap="cut")
    assert time.process_time() - begun < 10
    assert len(result.jobs) == result.notes["rows_read"] == 99_998
    assert 0.6 < result.notes["scaling"]["load_offered"] < 0.7


def test_nasa_log_is_whole(shared_data: Path) -> None:
    table, report = read_swf(shared_data / "traces/nasa_ipsc_1993.swf.gz")
    assert len(table) == report.read == int(report.remarks["header"]["MaxJobs"]) == 18_239
    assert table.units.max() == 128
    assert not report.dropped
    assert not report.bad


def test_column_map_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match="colour"):
        ColumnMap.model_validate({"colour": 1})
