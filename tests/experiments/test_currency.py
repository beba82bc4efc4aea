"""One currency for an experiment: stated, shown in headings and sentences, never mixed with the catalogue's prices."""

from __future__ import annotations

from pathlib import Path

import pytest

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures.compare import label_of
from tafukt.experiments.results.numbers import in_currency

FILE = """
name = "euros"
currency = "EUR"
start = 2025-06-02T00:00:00Z
days = 1
step_min = 60
policies = ["fifo", "wait-for-sun"]
objective = "cost"
[sites]
use = []
[sites.own.torino]
like = "dakhla"
tz = "Europe/Rome"
cluster = { nodes = 2 }
battery = { kwh = 20.0, replacement_mad_per_kwh = 130.0 }
[sites.own.torino.grid.tariff]
bands = [{ name = "all", mad_per_kwh = 0.25, export_mad_per_kwh = 0.05, winter = "0-24", summer = "0-24" }]
[workload]
gang_cap = 8
runtime_cap_h = 6
[matrix]
"sites.own.torino.grid.demand_mad_per_kw_month" = [0.0, 9.0]
"""


def _command(*line: str) -> int:
    return guarded(lambda: app(list(line), standalone_mode=False))


def test_prices_are_told_in_the_currency_of_the_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.toml").write_text(FILE)
    assert _command("run", "e.toml", "--workers", "1") == 0
    text = capsys.readouterr().out
    assert "EUR" in text
    assert "MAD" not in text
    results = tafukt.load("results/euros")
    assert results.currency == "EUR"
    job = results["fifo"].jobs["job"].iloc[0]
    for line in (["compare", "results/euros", "--metric", "cost_mad"], ["explain", "results/euros", job]):
        assert _command(*line) == 0
        text = capsys.readouterr().out
        assert "EUR" in text
        assert "MAD" not in text
    assert label_of("cost_mad", results.complete) == "cost [EUR]"
    assert _command("report", "results/euros") == 0
    page = Path("results/euros/report.html").read_text()
    assert '<span class="unit">EUR</span>' in page
    assert '<span class="unit">MAD</span>' not in page


def test_a_card_of_flexibility_names_no_other_currency(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.toml").write_text(FILE.partition("[matrix]")[0].replace("days = 1", "days = 2"))
    for form in ("text", "csv", "json"):
        line = ["flexibility", "e.toml", "--longest", "2", "--cut", "0.25", "--every", "12", "--format", form]
        assert _command(*line, "--workers", "1", "-o", form) == 0
        told = capsys.readouterr()
        assert "torino" in told.out
        assert "MAD" not in told.out + told.err
        assert "mad" not in told.out.replace("_mad", "")


def test_nothing_is_converted(tmp_path: Path) -> None:
    """The same prices under another name: the same numbers."""
    draws = []
    for currency in ("EUR", "MAD"):
        path = tmp_path / f"{currency}.toml"
        path.write_text(FILE.replace('"EUR"', f'"{currency}"'))
        results = tafukt.run(path, output=tmp_path / currency, workers=1)
        draws.append(results.complete[["draw_kwh", "cost_mad"]].to_numpy().tolist())
    assert draws[0] == draws[1]


def test_prices_of_the_catalogue_are_refused_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(FILE.replace(", replacement_mad_per_kwh = 130.0", "").partition("[sites.own.torino.grid")[0])
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    told = str(caught.value)
    assert "sites.own.torino.grid.tariff: is in MAD, but this experiment is in EUR; give a tariff of your own" in told
    assert "battery.replacement_mad_per_kwh: is in MAD" in told
    path.write_text(FILE.replace('"EUR"', '"euro"'))
    with pytest.raises(InputError, match="currency"):
        load_experiment(path)


def test_only_the_unit_is_replaced() -> None:
    assert in_currency("12 MAD/kWh under NOMAD", "EUR") == "12 EUR/kWh under NOMAD"
