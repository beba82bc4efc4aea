"""Small inputs that each showed a fault once, as they were handed on: the value that is right, read from the tables.

Each folder is `NAME/` with an experiment; why its value is right stands in `NAME/README.md`. They are not part of this
repository; the tests named in `ELSEWHERE` and the kinds in tests/sites/test_real_files.py need none of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.experiments import run
from conftest import DATA

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.scenario import build

FOLDER = DATA.parent / "cases"
ELSEWHERE = {
    "dask-other-code": "tests/experiments/test_cluster.py::test_a_worker_of_other_code_is_refused",
    "lower-bounds": "tests/lowest.py",
}


@dataclass
class Case:
    """A copy of a case's folder, and what comes of it."""

    folder: Path

    def draw(self, *settings: str, file: str = "e.toml") -> dict[str, dict[str, Any]]:
        """The rows of the summary by policy, of a run that must be whole."""
        out = self.folder / f"out-{file}-{'-'.join(settings)}"
        done = run(self.folder / file, out, *settings)
        assert done.ok, done.rows
        self.out = out
        return {str(row["policy"]): row for row in done.rows}

    def sun(self, hours: int, *settings: str) -> tuple[float, float]:
        """PV of the first hours [kWh], and its centre of gravity by the beginnings of steps [h after midnight UTC]."""
        self.draw(*settings)
        table = pq.read_table(next(self.out.glob("runs/*/energy.parquet"))).to_pandas()
        since = (table["time_utc"] - table["time_utc"].iloc[0]).dt.total_seconds().to_numpy() / 3600.0
        first = since < hours
        pv = table["pv_available_kwh"].to_numpy()[first]
        return float(pv.sum()), float((pv * (since[first] % 24.0)).sum() / pv.sum())

    def starts(self, file: str) -> dict[str, dict[str, float]]:
        """When jobs start [s from the experiment's start], by policy and job."""
        self.draw(file=file)
        found: dict[str, dict[str, float]] = {}
        begin = load_experiment(self.folder / file).experiment.start
        for path in self.out.glob("runs/*/jobs.parquet"):
            table = pq.read_table(path)
            policy = (table.schema.metadata or {})[b"policy"].decode()
            times = [(t - begin).total_seconds() for t in table["start_utc"].to_pylist()]
            found[policy] = dict(zip(table["job"].to_pylist(), times, strict=True))
        return found

    def notes(self) -> str:
        """All that `validate` and `run` say."""
        loaded = load_experiment(self.folder / "e.toml")
        return "\n".join(notes(loaded, build(loaded, 1)))

    def refused(self, capfd: pytest.CaptureFixture[str], *settings: str) -> str:
        """What is said, with exit code 2, by `validate` and by `run`."""
        said = []
        for command in (["validate"], ["run", "-o", str(self.folder / "none"), "--quiet"]):
            code = guarded(lambda c=command: app([c[0], str(self.folder / "e.toml"), *c[1:]], standalone_mode=False))
            said.append(capfd.readouterr().err)
            assert code == 2, said
        assert said[0] == said[1]
        assert "Traceback" not in said[0]
        return said[0]


Check = Callable[[Case, pytest.CaptureFixture[str]], None]


def repeat_first_year(case: Case, _: Any) -> None:
    assert case.sun(48) == (pytest.approx(343.4, rel=0.01), pytest.approx(11.405, abs=0.01))


def pvgis(case: Case, _: Any) -> None:
    assert case.sun(24) == (pytest.approx(164.88, rel=0.005), pytest.approx(11.399, abs=0.02))


def missing_diffuse(case: Case, capfd: Any) -> None:
    assert "15 missing values of dhi" in case.refused(capfd)


def as_the_plain_file(case: Case, _: Any) -> None:
    """One sky in three spellings."""
    assert case.sun(48) == (pytest.approx(339.0, rel=0.003), pytest.approx(11.41, abs=0.03))


def epw(case: Case, _: Any) -> None:
    assert case.sun(24)[1] == pytest.approx(11.39, abs=0.03)


def leap_day(case: Case, _: Any) -> None:
    days = [case.sun(24 * n)[0] for n in (1, 2)]
    assert days[1] - days[0] == pytest.approx(days[0], rel=0.06)  # more sun by 1.4 %, and cleaned in the night


def another_place(case: Case, _: Any) -> None:
    assert "is for Elsewhere (50.0 N, 8.0 E), 1557 km from the site (36.0 N, 8.0 E)" in case.notes()


def beam_and_diffuse(case: Case, _: Any) -> None:
    epw(case, None)
    assert "ghi of 144 rows is computed as dhi + dni x cosine of the zenith" in case.notes()


def two_offsets(case: Case, _: Any) -> None:
    assert case.sun(48)[0] > 50.0
    assert "missing" not in case.notes()
    assert "before" not in case.notes()


def lines_above(case: Case, _: Any) -> None:
    assert "read as a file from NSRDB" in case.notes()
    ghi = build(load_experiment(case.folder / "e.toml"), 1)
    assert max(ghi.scenario.sites[0].pv.values) > 10e3


def silent_solver(case: Case, capfd: Any) -> None:
    argv = ["run", str(case.folder / "e.toml"), "-o", str(case.folder / "out"), "--quiet"]
    assert guarded(lambda: app(argv, standalone_mode=False)) == 0
    assert capfd.readouterr() == ("", "")


def fits_nowhere(case: Case, _: Any) -> None:
    assert "1 of 2 jobs" in case.notes()
    assert "asks for up to 32 GPUs and no site has more than 16" in case.notes()


def foreign_climate(case: Case, capfd: Any) -> None:
    said = case.refused(capfd)
    assert "climate.ghi_kwh_m2_d" in said
    assert "more than under a clear sky at 45 N, 8 E" in said


def no_minus_zero(case: Case, capfd: Any) -> None:
    argv = ["run", str(case.folder / "e.toml"), "-o", str(case.folder / "out")]
    assert guarded(lambda: app(argv, standalone_mode=False)) == 0
    said = capfd.readouterr()
    assert "draws as much" in said.out
    assert "-0.0" not in said.out + said.err


def told_at_run(case: Case, capfd: Any) -> None:
    argv = ["run", str(case.folder / "e.toml"), "-o", str(case.folder / "out")]
    assert guarded(lambda: app(argv, standalone_mode=False)) == 0
    said = capfd.readouterr().err
    assert "noon is 120 min late" in said
    assert "filled: clear-sky" in said


def negative_load(case: Case, capfd: Any) -> None:
    assert "other.series: o.csv: 25 values below 0 kW" in case.refused(capfd)


def price_holds(case: Case, _: Any) -> None:
    price = build(load_experiment(case.folder / "e.toml"), 1).scenario.sites[0].grid.price.values * 3.6e6
    per_hour = price[: 48 * 12].reshape(48, 12)
    assert (per_hour == per_hour[:, :1]).all(), "no ramps within an hour"
    assert per_hour[:, 0] == pytest.approx(np.resize([1.0, 2.0], 48))


def institutes(case: Case, _: Any) -> None:
    for starts in case.starts("two.toml").values():
        assert starts["B1"] == 2.0
    assert case.starts("easy2.toml")["easy"]["B2"] == 102.0


def reservations(case: Case, _: Any) -> None:
    for file in ("min_nodes.toml", "min_part.toml"):
        assert case.starts(file)["easy"]["B"] == 12.0


def first_in_the_file(case: Case, _: Any) -> None:
    for starts in case.starts("ties.toml").values():
        assert starts["9"] < starts["10"]


def sacct(case: Case, capfd: Any) -> None:
    assert 'columns look like workload.format = "sacct"' in case.refused(capfd)
    jobs = build(load_experiment(case.folder / "e.toml", ["workload.format=sacct", "workload.start_day=0"]), 1).jobs
    assert [(job.ask.gpus, job.runtime_s) for job in jobs] == [(4, 93_784.0), (2, 1800.0)]


def dates_of_a_series(case: Case, _: Any) -> None:
    case.draw("name=other", file="with_format.toml")
    case.draw()


def equator(case: Case, _: Any) -> None:
    assert case.sun(24)[0] == pytest.approx(92.4, rel=0.01)


def time_of_day(case: Case, _: Any) -> None:
    """The first midnight of the log's clock is the run's start: 15:00 there is 15 h after it."""
    jobs = build(load_experiment(case.folder / "e.toml"), 1).jobs
    assert [job.ask.submit_s / 3600.0 for job in jobs] == [15.0, 16.0, 34.0]


def weekend(case: Case, _: Any) -> None:
    case.draw()


def byte_order_mark(case: Case, _: Any) -> None:
    case.draw()


def never(case: Case, capfd: Any) -> None:
    assert "column 'submit' needs a date: 1 row (3)" in case.refused(capfd)


CASES: dict[str, Check] = {
    "code-999-dhi": missing_diffuse,
    "csv-lines-above-header": lines_above,
    "csv-semicolon-comma": as_the_plain_file,
    "csv-two-offsets": two_offsets,
    "easy": reservations,
    "epw-latin-1": epw,
    "epw-leap-year": leap_day,
    "epw-of-elsewhere": another_place,
    "epw-quarter-hours": epw,
    "ghi-from-its-parts": beam_and_diffuse,
    "highs-banner": silent_solver,
    "job-no-site-can-hold": fits_nowhere,
    "like-elsewhere": foreign_climate,
    "minus-zero": no_minus_zero,
    "notes-not-told-at-run": told_at_run,
    "other-load-negative": negative_load,
    "price-hourly-then-quarters": price_holds,
    "pvgis-csv-offset": pvgis,
    "pvgis-json-offset": pvgis,
    "regional": institutes,
    "repeat-false-same-file": repeat_first_year,
    "repeat-first-year": repeat_first_year,
    "sacct-dump": sacct,
    "series-time-format": dates_of_a_series,
    "short-file-that-covers": as_the_plain_file,
    "south-faces-south": equator,
    "swf-time-of-day": time_of_day,
    "tariff-weekend": weekend,
    "ties": first_in_the_file,
    "time-24-00": as_the_plain_file,
    "toml-bom": byte_order_mark,
    "trace-year-9999": never,
}


def test_every_case_has_a_test() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no folder of cases at {FOLDER}")
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == {*CASES, *ELSEWHERE}


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_its_right_value(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not (FOLDER / name).is_dir():
        pytest.skip(f"no folder {FOLDER / name}")
    shutil.copytree(FOLDER / name, tmp_path / name)
    CASES[name](Case(tmp_path / name), capfd)
