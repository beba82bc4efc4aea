"""What a person may write: a byte order mark, an offset for a zone, hours for days, a lone site without people."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.experiments import contents, run

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config import toml
from tafukt.experiments.config.load import check, load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.workloads.errors import WorkloadError

HOURS = """
name = "hours"
start = 2025-06-01T08:00:00Z
days = {days}
drain_days = 0
step_min = 15
policies = ["fifo", "solar"]
[sites.own.here]
lat = 45.0
lon = 7.6
tz = "{tz}"
weather.kind = "clear-sky"
cluster.nodes = 4
[workload]
load = 0.4
gang_cap = 8
runtime_cap_h = 2
"""


def written(folder: Path, days: float = 0.25, tz: str = "+01:00", mark: bytes = b"") -> Path:
    """The experiment of some hours in a file."""
    path = folder / "hours.toml"
    path.write_bytes(mark + HOURS.format(days=days, tz=tz).encode())
    return path


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    plain = load_experiment(written(tmp_path)).document()
    assert load_experiment(written(tmp_path, mark=b"\xef\xbb\xbf")).document() == plain


def test_an_experiment_of_hours_ends_after_hours(tmp_path: Path) -> None:
    inputs = build(load_experiment(written(tmp_path)), 1)
    assert inputs.scenario.end_s == 6 * 3600.0
    assert len(inputs.scenario.sites[0].pv.values) == 6 * 4
    assert all(job.ask.submit_s < 6 * 3600.0 for job in inputs.jobs)
    assert inputs.jobs


def test_an_offset_is_a_zone_as_a_name_with_that_offset_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """POSIX counts the other way round: Etc/GMT-1 is an hour ahead of UTC, with prices and midnights of +01:00."""
    offset, name = (
        build(load_experiment(written(tmp_path, days=1, tz=tz)), 1).scenario.sites[0] for tz in ("+01:00", "Etc/GMT-1")
    )
    assert offset.midnights_s == name.midnights_s == (15 * 3600.0,)
    assert (offset.grid.price.values == name.grid.price.values).all()
    assert len(set(offset.grid.price.values)) > 1
    assert run(written(tmp_path), tmp_path / "offset").ok
    assert guarded(lambda: app(["report", str(tmp_path / "offset")], standalone_mode=False)) == 0
    assert "could not be drawn" not in "".join(capsys.readouterr())


def test_a_zone_that_is_none_is_told_with_what_is_allowed(tmp_path: Path) -> None:
    for tz in ("", "+25:00", "Torino"):
        with pytest.raises(InputError, match=r"sites\.own\.here\.tz: .*\+01:00"):
            load_experiment(written(tmp_path, tz=tz))


def test_a_lone_site_of_ones_own_needs_no_population(tmp_path: Path) -> None:
    assert load_experiment(written(tmp_path)).sites["here"].population == 0
    assert {job.ask.home for job in build(load_experiment(written(tmp_path)), 1).jobs} == {"here"}


def test_what_is_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    """Missing keys, types, bounds, what does not go together, and what is not there: in one round."""
    text = """
name = "x"
days = 0.3
step_min = 60
polices = []
[sites.own.a]
lat = 95
battery = { soc_min = 0.9, soc_max = 0.2, kwh = true }
grid.tariff.bands = [{ name = "x", mad_per_kwh = 1, winter = "25-26", summer = "0-24" }]
[workload]
load = -1
gang_cap = 1e99
[network]
links = [{ a = "a", b = "nowhere" }]
[service]
users_share = 2
"""
    with pytest.raises(InputError) as caught:
        check(toml.parse(text.encode(), "f"), "f", Path())
    keys = [problem.key for problem in caught.value.problems]
    known = ["start", "days", "polices", "sites.own.a.lon", "sites.own.a.lat", "sites.own.a.battery.kwh",
             "sites.own.a.grid.tariff", "workload.load", "workload.gang_cap", "network.links[0].gbit_s",
             "service.users_share"]  # fmt: skip
    assert [key for key in keys if key in known] == known
    assert "sites.own.a.battery" in keys  # soc_min above soc_max, beside kwh that is no number
    assert "25-26" in str(caught.value)
    assert "valid string" not in str(caught.value)


def test_a_union_speaks_for_its_nearest_member() -> None:
    """A tariff may be a name or a table: what is wrong inside a table is told, not that a table is no name."""
    document = toml.parse(HOURS.format(days=1, tz="UTC").encode(), "f")
    for tariff, key, words in (
        ({"bands": [{"name": "x"}]}, "grid.tariff.bands[0].mad_per_kwh", "missing"),
        ({"band": []}, "grid.tariff.band", "did you mean 'bands'"),
        (5, "grid.tariff", "text"),
    ):
        toml.put(document, "sites.own.here.grid", {"tariff": tariff}, "f")
        with pytest.raises(InputError) as caught:
            check(document, "f", Path())
        told = {problem.key: str(problem) for problem in caught.value.problems}
        assert words in told[f"sites.own.here.{key}"]
        assert not any("valid string" in message for message in told.values()), told


FARM = """
name = "farm"
start = 2025-06-01T00:00:00Z
days = 7
policies = ["fifo"]
[sites.own.farm]
like = "dakhla"
cluster.nodes = 0
pv.kwp = {kwp}
battery = {battery}
other = {{ kind = "constant", kw = 10 }}
"""


def test_a_site_of_energy_alone_is_said_in_ten_lines(tmp_path: Path) -> None:
    """Without sun it draws 10 kW for 168 h; with it, what it draws, sun and battery give the same 1,680 kWh."""
    assert len(FARM.strip().splitlines()) == 10
    rows = {}
    for kwp, battery in ((0, "false"), (60, "false"), (60, "{ kwh = 100 }")):
        path = tmp_path / "farm.toml"
        path.write_text(FARM.format(kwp=kwp, battery=battery), encoding="utf-8")
        outcome = run(path, tmp_path / f"{kwp}{battery[:1]}")
        assert outcome.ok
        rows[kwp, battery[:1]] = outcome.rows[0]
    assert rows[0, "f"]["grid_import_kwh"] == pytest.approx(10 * 168)
    assert {row["jobs_submitted"] for row in rows.values()} == {0}
    with_sun, with_both = rows[60, "f"], rows[60, "{"]
    to_load = with_sun["pv_used_kwh"]
    assert with_sun["grid_import_kwh"] + to_load == pytest.approx(10 * 168)
    assert with_both["grid_import_kwh"] < 0.5 * with_sun["grid_import_kwh"]
    assert with_both["site_kwh"] == pytest.approx(10 * 168)


def test_no_jobs_may_be_asked_for_where_there_are_gpus(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = (
        path.read_text().partition("[workload]")[0].replace("[sites.own.here]", 'workload = "none"\n[sites.own.here]')
    )
    path.write_text(text, encoding="utf-8")
    inputs = build(load_experiment(path), 1)
    assert inputs.jobs == ()
    assert inputs.scenario.sites[0].nodes == 4
    text = text.replace('workload = "none"', "workload.load = 0.5").replace("cluster.nodes = 4", "cluster.nodes = 0")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="GPUs"):
        build(load_experiment(path), 1)


def test_one_moment_is_one_experiment_however_it_is_written(tmp_path: Path) -> None:
    """The same run id stands for the same bytes, in tables and their metadata."""
    for name, start in (("utc", "2025-06-01T08:00:00Z"), ("paris", "2025-06-01T10:00:00+02:00")):
        path = written(tmp_path)
        path.write_text(path.read_text().replace("2025-06-01T08:00:00Z", start), encoding="utf-8")
        assert run(path, tmp_path / name).ok
    utc, paris = contents(tmp_path / "utc"), contents(tmp_path / "paris")
    assert sum(name.endswith(".parquet") for name in utc) == 6
    assert [name for name in utc if utc[name] != paris.get(name)] == []


LOGGED = """
name = "logged"
start = 2025-06-01T00:00:00Z
days = 1
policies = ["fifo"]
[sites]
use = ["rabat"]
[workload]
kind = "trace"
file = "t.csv"
format = "own"
"""


def test_what_a_log_needs_is_asked_for_at_once(tmp_path: Path) -> None:
    """Also what its rows need: here one has a gang above the cap, and none says how long it may wait."""
    (tmp_path / "t.csv").write_text("job_id,submit,runtime_s,gpus\na,2025-06-01T01:00:00Z,600,16\n")
    with pytest.raises(InputError) as caught:
        check(toml.parse(LOGGED.encode(), "f"), "f", tmp_path)
    keys = ["workload.gpu_cap", "workload.load_factor", "workload.start_day", "workload.estimates", "workload.slack_h"]
    assert [problem.key for problem in caught.value.problems] == keys
    text = LOGGED + 'gpu_cap = 8\nload_factor = 1\nalign = "dates"\n'
    with pytest.raises(InputError) as caught:
        check(toml.parse(text.encode(), "f"), "f", tmp_path)
    assert [problem.key.removeprefix("workload.") for problem in caught.value.problems] == [
        "estimates", "over_cap", "slack_h"
    ]  # fmt: skip
    loaded = check(toml.parse((text + 'estimates = "exact"\n').encode(), "f"), "f", tmp_path)
    with pytest.raises(WorkloadError) as both:
        build(loaded, 1)
    assert [str(problem).split(":")[0] for problem in both.value.problems] == ["workload.over_cap", "workload.slack_h"]
    whole = text + 'estimates = "exact"\nover_cap = "cut"\nslack_factor = 2\n'
    assert len(build(check(toml.parse(whole.encode(), "f"), "f", tmp_path), 1).jobs) == 1


def test_a_log_that_says_its_slack_is_not_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("job_id,submit,runtime_s,gpus,slack_h\na,2025-06-01T01:00:00Z,600,2,1\n")
    with pytest.raises(InputError) as caught:
        check(toml.parse(LOGGED.encode(), "f"), "f", tmp_path)
    assert "workload.slack_h" not in [problem.key for problem in caught.value.problems]


def test_a_wrong_value_is_told_though_another_table_overrides_it(tmp_path: Path) -> None:
    text = """
name = "x"
start = 2025-06-01T00:00:00Z
days = 1
policies = ["fifo"]
[sites]
use = ["rabat"]
own.mine = { like = "dakhla", lat = 24.0, lon = -15.0, battery = { kwh = "much" }, pv = { tilt_deg = 20.0 } }
all.battery.kwh = nan
all.pv.tilt_deg = 30.0
change.rabat.battery.kwh = 5.0
change.mine.battery.kwh = 6.0
"""
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InputError) as told:
        load_experiment(path)
    assert {problem.key for problem in told.value.problems} == {"sites.own.mine.battery.kwh", "sites.all.battery.kwh"}
