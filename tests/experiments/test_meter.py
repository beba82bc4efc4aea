"""The model's power against a meter's: what is right follows from the power of one node by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.experiments import run

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.scenario import build
from tafukt.experiments.report.report import template_variables
from tafukt.experiments.results.load import load
from tafukt.experiments.results.meter import agreements
from tafukt.sites.errors import SiteError

EXPERIMENT = """
name = "metered"
start = 2025-06-01T00:00:00Z
days = 1
drain_days = 1
step_min = {step}
policies = {policies}
baseline = "fifo"
bound = false
[sites.own.here]
lat = 45.0
lon = 7.6
tz = "UTC"
weather = "clear-sky"
pv = false
battery = false
cooling = {{ kind = "constant", overhead = 0.2 }}
fixed_kw = 0.5
cluster.nodes = 1
cluster.node = {{ gpus = 8, idle_kw = 1.0, loaded_kw = 5.0, sleep_kw = 0.1, can_sleep = false, wake_s = 0 }}
meter = {{ file = "m.csv", column = "power", {meter} }}
[workload]
kind = "trace"
file = "t.csv"
format = "own"
start_day = 0
gpu_cap = 8
load_factor = 1
slack_h = 12
estimates = "exact"
"""
LOG = "job_id,submit,start,runtime_s,gpus\na,2025-06-01T01:00:00Z,2025-06-01T06:00:00Z,7200,8\n"


def it_kw(hour: int) -> float:
    """One node of 1 kW idle and 5 kW loaded, at work from 6 to 8."""
    return 5.0 if 6 <= hour < 8 else 1.0


def written(
    folder: Path,
    shown: dict[int, float],
    meter: str = 'of = "it"',
    policies: str = '["fifo", "as-logged"]',
    step: int = 15,
) -> Path:
    rows = [f"2025-06-{1 + hour // 24:02d}T{hour % 24:02d}:00Z,{kw}" for hour, kw in sorted(shown.items())]
    (folder / "m.csv").write_text("\n".join(["time,power", *rows]) + "\n")
    (folder / "t.csv").write_text(LOG)
    path = folder / "e.toml"
    path.write_text(EXPERIMENT.format(policies=policies, meter=meter, step=step))
    return path


def test_a_model_that_is_right_agrees_with_its_meter(tmp_path: Path) -> None:
    assert run(written(tmp_path, {hour: it_kw(hour) for hour in range(48)}), tmp_path / "out").ok
    results = load(tmp_path / "out")
    (one,) = agreements(results["as-logged"].meter)
    assert (one.site, one.of, one.hours) == ("here", "it", 48.0)
    assert one.measured_kwh == pytest.approx(46 * 1.0 + 2 * 5.0)
    assert one.modelled_kwh == pytest.approx(one.measured_kwh)
    assert one.rmse_kw == pytest.approx(0.0, abs=1e-9)
    (other,) = agreements(results["fifo"].meter)  # it starts the job at 1 o'clock: four hours are wrong by 4 kW
    assert other.bias_kw == pytest.approx(0.0, abs=1e-9)
    assert other.rmse_kw == pytest.approx(np.sqrt(4 * 4.0**2 / 48))
    assert other.rmse == pytest.approx(other.rmse_kw / (56 / 48))


@pytest.mark.parametrize(
    ("of", "factor", "more"), [("it", 1.0, 0.0), ("site", 1.2, 0.5), ("import", 1.2, 0.5), ("net", 1.2, 0.5)]
)
def test_bias_and_error_by_hand(of: str, factor: float, more: float, tmp_path: Path) -> None:
    """The meter shows 0.25 kW more than there is, in W; two hours of it are lost, and a day is not measured."""
    shown = {hour: 1000 * (factor * it_kw(hour) + more + 0.25) for hour in range(24) if hour not in (7, 12)}
    path = written(tmp_path, shown, f'of = "{of}", scale = 0.001', '["as-logged"]')
    assert run(path, tmp_path / "out", "baseline=as-logged").ok
    table = load(tmp_path / "out")["as-logged"].meter
    assert table["measured_h"].sum() == pytest.approx(22.0)
    assert (table["measured_h"] == 0.25).all()
    assert table["difference_kwh"].to_numpy() == pytest.approx(-0.25 * 0.25)
    (one,) = agreements(table)
    assert one.bias_kw == pytest.approx(-0.25)
    assert one.rmse_kw == pytest.approx(0.25)
    mean_kw = sum(shown.values()) / 1000 / 22
    assert one.bias == pytest.approx(-0.25 / mean_kw)
    assert one.modelled_kwh == pytest.approx(one.measured_kwh - 0.25 * 22)


def test_output_steps_hold_what_was_measured_of_them(tmp_path: Path) -> None:
    path = written(tmp_path, {6: 5.0, 7: 5.0, 8: 1.0, 9: 1.0}, policies='["as-logged"]')
    assert run(path, tmp_path / "out", "baseline=as-logged", "output.step_min=180").ok
    table = load(tmp_path / "out")["as-logged"].meter
    assert table["time_h"].tolist() == [6.0, 9.0]
    assert table["measured_h"].tolist() == [3.0, 1.0]
    assert table["measured_kwh"].tolist() == pytest.approx([11.0, 1.0])
    assert table["difference_kwh"].tolist() == pytest.approx([0.0, 0.0])
    assert [str(t) for t in table["time_utc"]] == ["2025-06-01 06:00:00+00:00", "2025-06-01 09:00:00+00:00"]


def test_what_a_meter_cannot_say_is_told(tmp_path: Path) -> None:
    shown = {hour: it_kw(hour) for hour in range(24) if hour not in (3, 4)}
    loaded = load_experiment(written(tmp_path, shown, policies='["fifo"]'))
    told = notes(loaded, build(loaded, 1))
    assert any("meter: m.csv: 104 of 192 steps have no measurement" in note for note in told)
    assert any('only "as-logged" starts jobs as the log did' in note for note in told)
    path = written(tmp_path, dict.fromkeys(range(480, 490), 2.0))
    with pytest.raises(SiteError, match=r"meter: m\.csv: covers 2025-06-21 .*, no part of 2025-06-01"):
        build(load_experiment(path), 1)
    with pytest.raises(SiteError, match=r"meter: m\.csv: .* values below 0 kW"):
        build(load_experiment(written(tmp_path, {0: -1.0, 1: 2.0, 2: 2.0})), 1)
    with pytest.raises(SiteError, match=r"meter: m\.csv: .*is it in W\? then set scale = 0\.001"):
        build(load_experiment(written(tmp_path, {0: 9e6, 1: 9e6, 2: 9e6})), 1)


def test_no_policy_sees_the_meter_and_no_result_changes(tmp_path: Path) -> None:
    path = written(tmp_path, {hour: it_kw(hour) for hour in range(48)})
    assert run(path, tmp_path / "with").ok
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("meter")))
    assert run(path, tmp_path / "without").ok
    one, other = ((tmp_path / name) for name in ("with", "without"))
    for here, there in zip(sorted(one.glob("runs/*")), sorted(other.glob("runs/*")), strict=True):
        for table in ("energy", "jobs", "events"):
            assert (here / f"{table}.parquet").read_bytes() == (there / f"{table}.parquet").read_bytes()
        assert not (there / "meter.parquet").exists()


def test_report_and_figure_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, {hour: it_kw(hour) + 0.1 for hour in range(48) if hour not in (20, 21)})
    assert run(path, tmp_path / "out").ok
    results = load(tmp_path / "out")
    (held,) = template_variables(results)["meters"]
    assert held["policy"] == "as-logged"
    assert [cell["text"] for cell in held["rows"][0]] == [
        "here", "IT power", "46.0", "58.6", "54.0", "\N{MINUS SIGN}0.1", "\N{MINUS SIGN}7.8%", "0.1", "8%"
    ]  # fmt: skip
    for command in (["report", str(results.folder)], ["plot", str(results.folder), "--figure", "meter"]):
        assert guarded(lambda c=command: app(c, standalone_mode=False)) == 0, capsys.readouterr()
    assert "Model and meter" in (results.folder / "report.html").read_text()
    assert list((results.folder / "figures").glob("meter*"))
