"""Public traces are fetched whole or not at all; from a server of the test's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.traces import trace_folder
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.traces import public
from tafukt.workloads.traces.formats import load_table

SWF = gzip.compress(b"; UnixStartTime: 0\n1 0 -1 3600 4 -1 -1 4 7200 -1 1 1 1 1 1 -1 -1 -1\n", mtime=0)
PHILLY = [
    {
        "status": "Pass", "vc": "ee9e8c", "jobid": "application_1", "submitted_time": "2017-10-07 01:11:39",
        "attempts": [
            {"start_time": "2017-10-07 01:12:09", "end_time": "2017-10-07 01:13:09",
             "detail": [{"ip": "m47", "gpus": ["gpu0", "gpu1"]}]},
            {"start_time": "2017-10-07 01:13:30", "end_time": "2017-10-07 02:13:30",
             "detail": [{"ip": "m1", "gpus": ["gpu0", "gpu1"]}, {"ip": "m2", "gpus": ["gpu3", "gpu4"]}]},
        ],
    },
    {"status": "Killed", "vc": "a", "jobid": "application_2", "submitted_time": "2017-10-08 00:00:00", "attempts": []},
    {"status": "Failed", "vc": "a", "jobid": "application_3", "submitted_time": "2017-10-08 00:00:00",
     "attempts": [{"start_time": "2017-10-08 00:00:10", "end_time": None, "detail": [{"ip": "m", "gpus": ["gpu0"]}]}]},
    {"status": "Failed", "vc": "b", "jobid": "application_4", "submitted_time": "2017-10-08 10:00:00",
     "attempts": [{"start_time": "2017-10-08 10:00:00", "end_time": "2017-10-08 10:10:00",
                   "detail": [{"ip": "m", "gpus": ["gpu0"]}]}]},
]  # fmt: skip


def philly_archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in (("cluster_mem_util", b"x" * 50_000), ("cluster_job_log", json.dumps(PHILLY).encode())):
            item = tarfile.TarInfo(f"trace-data/{name}")
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return out.getvalue()


class Publisher(ThreadingHTTPServer):
    """Serves whatever bytes stand under a path; a path that ends in `cut` promises more than it sends."""

    files: dict[str, bytes]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Publisher)
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + (100 if self.path.endswith("cut") else 0)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(("127.0.0.1", 0), _Handler) as server:
        server.files = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Publisher, path: str, data: bytes) -> str:
    server.files[path] = data
    return f"http://127.0.0.1:{server.server_port}{path}"


def knowing(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """The catalogue with another hash or size of one trace."""
    known = public.public_traces()
    monkeypatch.setattr(public, "public_traces", lambda: known | {name: known[name].model_copy(update=changes)})


def test_a_trace_arrives_with_its_hash(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(SWF).hexdigest()
    knowing(monkeypatch, "nasa", sha256=digest)
    fetched = public.fetch("nasa", tmp_path / "new", url(publisher, "/log", SWF))
    assert fetched.path.read_bytes() == SWF
    assert (fetched.sha256, fetched.was_known) == (digest, True)
    table, _ = load_table(fetched.path.name, "swf", fetched.path.parent)
    assert table.units.tolist() == [4]


def test_what_is_not_known_is_trusted_once(publisher: Publisher, tmp_path: Path) -> None:
    first = public.fetch("nasa", tmp_path, url(publisher, "/log", SWF))
    assert not first.was_known
    assert public.fetch("nasa", tmp_path, url(publisher, "/log", SWF)).was_known
    with pytest.raises(WorkloadError, match=r"is not the expected file: SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        public.fetch("nasa", tmp_path, url(publisher, "/log", SWF + b"!"))
    assert first.path.read_bytes() == SWF


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("/other", b"not the trace", "not the expected file"),
        ("/cut", b"half of it", "could not be downloaded: the download stopped after 10 of 110 bytes"),
        ("/large", b"0" * 6_000_000, r"it is larger than 5\.6 MB"),
        ("/none", None, "could not be downloaded: Not Found"),
    ],
)
def test_nothing_is_kept_of_what_is_not_it(
    publisher: Publisher, tmp_path: Path, path: str, data: bytes | None, said: str
) -> None:
    address = url(publisher, path, data or b"")
    if data is None:
        del publisher.files[path]
    with pytest.raises(WorkloadError, match=said) as caught:
        public.fetch("pai", tmp_path, address)
    assert list(tmp_path.iterdir()) == []
    assert 'workload.file with format = "pai"' in str(caught.value) or "nothing was kept" in str(caught.value)


def test_nobody_there_and_no_address_of_the_net(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="could not be downloaded"):
        public.fetch("pai", tmp_path, "http://127.0.0.1:9/nobody")
    with pytest.raises(WorkloadError, match="should begin with http"):
        public.fetch("pai", tmp_path, (tmp_path / "x").as_uri())
    with pytest.raises(WorkloadError, match="did you mean 'philly'"):
        public.fetch("phily", tmp_path)


def test_of_phillys_archive_the_job_log_is_kept_as_a_table(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = philly_archive()
    knowing(monkeypatch, "philly", sha256=hashlib.sha256(archive).hexdigest())
    fetched = public.fetch("philly", tmp_path, url(publisher, "/trace-data.tar.gz", archive))
    assert fetched.notes.startswith("2 of 4 jobs")
    table, report = load_table("philly.csv", "own", tmp_path)
    report.settle("refuse")
    assert table.ids == ("application_1", "application_4")
    assert table.runtime_s.tolist() == [60 + 3600, 600]  # all attempts
    assert table.units.tolist() == [4, 1]  # the last one's
    assert table.status.tolist() == [0, 1]
    assert table.clusters == ("b", "ee9e8c")
    assert {path.name for path in tmp_path.iterdir()} == {"philly.csv", "philly.csv.json"}
    broken = tarfile.TarInfo("trace-data/cluster_job_log")
    broken.size = 3
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(broken, io.BytesIO(b"[{,"))
    with pytest.raises(WorkloadError, match="the job log is not JSON"):
        public.fetch("philly", tmp_path, url(publisher, "/broken", out.getvalue()))


README_ENTRY = """
{
    "status": "Pass",
    "vc": "ee9e8c",
    "jobid": "application_1506638472019_14199",
    "attempts": [
        {"start_time": "2017-10-07 01:12:09", "end_time": "2017-10-07 01:13:23", "detail": [{"ip": "m47", "gpus":
            ["gpu0", "gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6", "gpu7"]}]},
        {"start_time": "2017-10-07 01:13:30", "end_time": "2017-10-09 06:53:12", "detail": [{"ip": "m412", "gpus":
            ["gpu0", "gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6", "gpu7"]}]}
    ],
    "submitted_time": "2017-10-07 01:11:39",
    "user": "ce2f4c"
}
"""
"""The entry that the README of msr-fiddle/philly-traces shows."""


@pytest.mark.parametrize("none", [None, "None"])
def test_phillys_jobs_are_read_as_its_readme_describes_them(none: str | None) -> None:
    entry = json.loads(README_ENTRY)
    job, submit, start, runtime, gpus, vc, status = public._philly_row(entry)  # type: ignore[misc]
    assert (job, vc, gpus, status) == ("application_1506638472019_14199", "ee9e8c", 8, "done")
    assert (submit, start) == ("2017-10-07T01:11:39", "2017-10-07T01:12:09")
    assert runtime == 74 + 2 * 86_400 + 5 * 3600 + 39 * 60 + 42
    entry["attempts"][0]["end_time"] = none  # an error of logging: the attempt's time is not known
    assert public._philly_row(entry)[3] == 193_182  # type: ignore[index]
    entry["attempts"][1]["end_time"] = none  # the job was still running when the snapshot was taken
    assert public._philly_row(entry) is None
    assert public._philly_row({**entry, "attempts": []}) is None


EXPERIMENT = """
name = "named"
start = 2025-06-01T00:00:00Z
days = 1
step_min = 60
policies = ["fifo"]
bound = false
[sites]
use = ["rabat"]
[workload]
kind = "trace"
trace = "nasa"
start_day = 0
gpu_cap = 16
load_factor = 1
slack_h = 6
estimates = "column"
"""


def tafukt(*words: str) -> int:
    return guarded(lambda: app(list(words), standalone_mode=False))


def test_an_experiment_names_a_trace_not_a_path(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAFUKT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    assert tafukt("validate", "e.toml") == 2
    assert "'nasa' is not here yet: `tafukt fetch nasa` downloads it (0.2 MB; free to use" in capsys.readouterr().err
    assert tafukt("fetch", "nasa", "--from", url(publisher, "/log", SWF)) == 0
    said = capsys.readouterr().out
    assert "licence: free to use; acknowledge Bill Nitzberg" in said
    assert f"SHA-256 {hashlib.sha256(SWF).hexdigest()}: not known beforehand" in said
    assert (trace_folder() / "nasa.swf.gz").read_bytes() == SWF
    assert tafukt("fetch", "nasa") == 0  # it is here: nobody is asked
    assert tafukt("run", "e.toml", "--workers", "1", "--quiet") == 0
    written = (tmp_path / "results" / "named" / "experiment.toml").read_text()
    assert 'trace = "nasa"' in written
    assert str(tmp_path) not in written
    assert tafukt("replay", "results/named", "--workers", "1") == 0
    assert tafukt("fetch") == 0
    assert "nasa     here" in capsys.readouterr().out
    (tmp_path / "e.toml").write_text(EXPERIMENT.replace('"nasa"', '"nassa"'))
    assert tafukt("validate", "e.toml") == 2
    assert "no public trace \"nassa\"; known: nasa, pai, philly; did you mean 'nasa'?" in capsys.readouterr().err


def test_another_file_in_the_cache_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAFUKT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    trace_folder().mkdir(parents=True)
    names = []
    for runtime in (b"3600", b"1800"):
        data = gzip.decompress(SWF).replace(b" 3600 ", b" " + runtime + b" ")
        (trace_folder() / "nasa.swf.gz").write_bytes(gzip.compress(data))
        assert tafukt("run", "e.toml", "--workers", "1", "--quiet", "-o", f"out{len(names)}") == 0
        names += [path.name for path in (tmp_path / f"out{len(names)}" / "runs").iterdir()]
    assert len(set(names)) == 2


def test_every_public_trace_says_what_it_is() -> None:
    assert set(public.public_traces()) == {"nasa", "pai", "philly"}
    for trace in public.public_traces().values():
        assert trace.licence
        assert trace.source
        assert len(trace.sha256) in (0, 64)
