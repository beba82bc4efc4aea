"""What `sacct` prints, in its several forms; made from the manual page, slurm.schedmd.com/sacct.html."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces.cells import elapsed_s
from tafukt.workloads.traces.formats import load_table, sniff
from tafukt.workloads.traces.sacct import nodes_of

HEAD = "JobID|Submit|Start|End|Elapsed|Timelimit|AllocTRES|NodeList|Partition|Account|State"
DUMP = """
101|2024-06-03T10:00:00|2024-06-03T10:05:00|2024-06-04T12:08:04|1-02:03:04|2-00:00:00|billing=8,cpu=8,gres/gpu:a100=4,gres/gpu=4,node=1|gpu01|big|lab|COMPLETED
101.batch|2024-06-03T10:05:00|2024-06-03T10:05:00|2024-06-04T12:08:04|1-02:03:04||cpu=8,gres/gpu=4,node=1|gpu01||lab|COMPLETED
102|2024-06-03T11:00:00|2024-06-03T11:05:00|2024-06-03T11:35:00|00:30:00|UNLIMITED|billing=8,cpu=8,gres/gpu:a100=2,node=1|gpu02|big|lab|CANCELLED by 1000
103|2024-06-03T12:00:00|Unknown|Unknown|00:00:00|01:00:00|||big|lab|PENDING
104|2024-06-03T12:10:00|2024-06-03T12:10:00|2024-06-03T12:20:00|00:10:00|01:00:00|cpu=8,node=1|cpu01|small|lab|COMPLETED
105_1|2024-06-03T12:20:00|2024-06-03T12:20:00|2024-06-03T13:20:00|01:00:00|02:00:00|gres/gpu=8,node=2|gpu[01-02]|big|ai|TIMEOUT
105_2|2024-06-03T12:20:00|2024-06-03T12:30:00|2024-06-03T13:30:00|01:00:00|02:00:00|gres/gpu=8,node=2|gpu[01-02]|big|ai|COMPLETED
105_[3-9%2]|2024-06-03T12:20:00|Unknown|Unknown|00:00:00|02:00:00|||big|ai|PENDING
106|2024-06-03T14:00:00|2024-06-03T14:00:00|2024-06-03T14:20:00|00:20:00|02:00:00|gres/gpu=1,node=1|gpu01|big|ai|NODE_FAIL
106|2024-06-03T14:21:00|2024-06-03T15:00:00|2024-06-03T16:00:00|01:00:00|02:00:00|gres/gpu=1,node=1|gpu02|big|ai|COMPLETED
106|2024-06-03T14:21:00|2024-06-03T15:00:00|2024-06-03T16:00:00|01:00:00|02:00:00|gres/gpu=1,node=1|gpu02|big|ai|COMPLETED
107|2024-06-03T15:00:00|None|2024-06-03T15:10:00|00:00:00|02:00:00||None assigned|big|ai|CANCELLED by 1000
""".strip()  # noqa: E501
HOUR = 3600.0


def check(path: Path) -> None:
    table, report = load_table(path.name, "sacct", path.parent)
    report.settle("refuse")
    assert table.ids == ("101", "102", "105_1", "105_2", "106", "106#2")
    assert table.units.tolist() == [4, 2, 8, 8, 1, 1]
    assert table.runtime_s.tolist() == [26 * HOUR + 184, 1800, HOUR, HOUR, 1200, HOUR]
    assert table.submit_s.tolist() == [10 * HOUR, 11 * HOUR, *[12 * HOUR + 1200] * 2, 14 * HOUR, 14 * HOUR + 1260]
    assert table.start_s is not None
    assert (table.start_s - table.submit_s).tolist() == [300, 300, 0, 600, 0, 2340]
    assert table.status.tolist() == [0, 2, 1, 0, 1, 0]
    assert table.estimate_s[[0, 2]].tolist() == [48 * HOUR, 2 * HOUR]
    assert np.isnan(table.estimate_s[1])  # UNLIMITED
    assert table.clusters == ("ai", "lab")
    assert {reason: tally.count for reason, tally in report.dropped.items()} == {
        "step of a job": 1,
        "cancelled before it started": 1,
        "duplicates of the same job and start": 1,
        "had not ended when the log was written": 2,
        "no GPUs": 1,
    }
    assert len(table) + report.rows_dropped == report.read == 12
    assert next(iter(report.repaired)).startswith("attempts of requeued jobs")


@pytest.mark.parametrize("separator", ["|", ";", "\t", "^"])
@pytest.mark.parametrize("tail", [False, True])
def test_dumps_with_any_delimiter(tmp_path: Path, separator: str, tail: bool) -> None:
    text = f"{HEAD}\n{DUMP}\n"
    text = text.replace("|", separator)
    if tail:  # `-p` ends each line with one
        text = text.replace("\n", f"{separator}\n")
    path = tmp_path / "dump.txt"
    path.write_text(text)
    assert sniff(path) == "sacct"
    check(path)


def test_a_dump_with_spaces(tmp_path: Path) -> None:
    rows = [line.split("|") for line in f"{HEAD}\n{DUMP}".splitlines()]
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [" ".join(cell.rjust(w) for cell, w in zip(row, width, strict=True)) for row in rows]
    lines.insert(1, " ".join("-" * w for w in width))
    path = tmp_path / "dump.txt"
    path.write_text("\n".join(lines) + " \n")
    assert sniff(path) == "sacct"
    check(path)


def test_gpus_of_older_versions_are_per_node(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_text(
        "JobIDRaw|Submit|ElapsedRaw|ReqGRES|NNodes|State\n"
        "1|2018-06-03T10:00:00|600|gpu:2|3|COMPLETED\n2|2018-06-03T10:00:00|600|gpu:v100:4(S:0)|1|COMPLETED\n"
    )
    table, _ = load_table(path.name, "sacct", tmp_path)
    assert table.units.tolist() == [6, 4]


def test_a_dump_that_lacks_columns_says_how_to_print_it(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_text("JobID|JobName|State\n1|a|COMPLETED\n")
    with pytest.raises(WorkloadError, match=r"no column Submit, AllocTRES or .*; print it with: sacct -a -P --format="):
        load_table(path.name, "sacct", tmp_path)
    path.write_text(f"{HEAD}\n")
    with pytest.raises(WorkloadError, match="there are no jobs in it"):
        load_table(path.name, "sacct", tmp_path)


def test_times_as_slurm_writes_them() -> None:
    words = [
        "1-02:03:04",
        "00:30:00",
        "30:00",
        "90",
        "2-12",
        "2-12:30",
        "00:00:01.5",
        "UNLIMITED",
        "Partition_Limit",
        "",
    ]
    seconds = elapsed_s(np.array(words, dtype=object)).tolist()
    assert seconds[:7] == [93_784, 1800, 1800, 5400, 60 * HOUR, 60.5 * HOUR, 1.5]
    assert np.isnan(seconds[7:]).all()


def test_lists_of_nodes() -> None:
    assert nodes_of("gpu[01-03,07],login1") == ["gpu01", "gpu02", "gpu03", "gpu07", "login1"]
    assert nodes_of("rack[1-2]-n") == ["rack1-n", "rack2-n"]
    assert nodes_of("None assigned") == nodes_of("") == []


def test_a_dump_under_another_formats_name_is_told_its_own(tmp_path: Path) -> None:
    (tmp_path / "dump.txt").write_text(f"{HEAD}\n")
    with pytest.raises(WorkloadError, match=r'its columns look like workload\.format = "sacct"'):
        load_table("dump.txt", "own", tmp_path)


def test_a_runtime_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    text = "JobID|Submit|Start|End|Elapsed|AllocTRES|State\n"
    text += "1|2025-06-01T10:00:00|2025-06-01T10:05:00|2025-06-01T10:35:00|abc|gres/gpu=4|COMPLETED\n"
    text += "2|2025-06-01T10:00:00|2025-06-01T10:05:00|2025-06-01T10:35:00|00:30:00|gres/gpu=4|COMPLETED\n"
    (tmp_path / "dump.txt").write_text(text)
    table, report = load_table("dump.txt", "sacct", tmp_path)
    assert table.runtime_s.tolist() == [1800.0, 1800.0]
    assert any("Elapsed is not a time" in what for what in report.notes()["repaired"])


@pytest.mark.parametrize("wrong", ["12345", "9" * 400, "nan", "1e999"])
@pytest.mark.parametrize("unix", [False, True])
def test_one_time_that_is_none_is_refused_as_one(wrong: str, unix: bool, tmp_path: Path) -> None:
    """Also where it looks like seconds among dates, and the other way round."""
    times = ["1748772000", "1748775600", "1748779200"] if unix else [f"2025-06-01T1{i}:00:00" for i in range(3)]
    if unix and wrong == "12345":
        wrong = "2025-06-01T10:00:00"
    rows = [f"{i}|{t}|{t}|{t}|00:30:00|gres/gpu=4|COMPLETED" for i, t in enumerate([*times, wrong])]
    (tmp_path / "dump.txt").write_text("JobID|Submit|Start|End|Elapsed|AllocTRES|State\n" + "\n".join(rows) + "\n")
    _, report = load_table("dump.txt", "sacct", tmp_path)
    with pytest.raises(WorkloadError, match=r"1 row \(5\)"):
        report.settle("refuse")
