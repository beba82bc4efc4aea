"""Axes in words: from their keys, or as the experiment says; values as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

import tafukt
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.results import axes

FILE = """
name = "named"
start = 2025-12-01T00:00:00Z
days = 1
step_min = 60
policies = ["fifo", "wait-for-sun"]
bound = false
[sites]
use = ["dakhla"]
[sites.all]
cluster = { nodes = 2 }
[workload]
gang_cap = 8
runtime_cap_h = 6
[matrix]
"sites.all.battery.kwh" = { values = [0, 60], label = "storage", unit = "kilowatt-hours" }
[[matrix.zip]]
"workload.load" = { values = [0.3, 0.5], label = "GPUs asked for" }
"sites.all.pv.kwp" = [30.0, 60.0]
"""


def test_an_experiment_names_its_axes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table of the terminal, in figures, and when the folder is opened again."""
    from tafukt.experiments.cli.app import app, guarded
    from tafukt.experiments.figures import catalogue

    (tmp_path / "e.toml").write_text(FILE)
    out = tmp_path / "out"
    assert guarded(lambda: app(["run", str(tmp_path / "e.toml"), "-o", str(out)], standalone_mode=False)) == 0
    assert "storage 60 kilowatt-hours, GPUs asked for 0.5, PV 60 kWp" in capsys.readouterr().out
    assert guarded(lambda: app(["validate", str(tmp_path / "e.toml")], standalone_mode=False)) == 0
    told = capsys.readouterr().out.splitlines()
    for line in ("axis storage: 0, 60 kilowatt-hours", "axis GPUs asked for: 0.3, 0.5", "axis PV: 30, 60 kWp"):
        assert f"  {line}" in told
    results = tafukt.load(out)
    assert results.axes == ["sites.all.battery.kwh", "workload.load", "sites.all.pv.kwp"]
    assert [axes.axis_label(key) for key in results.axes] == [
        "storage [kilowatt-hours]", "GPUs asked for", "PV [kWp]",
    ]  # fmt: skip
    drawn = catalogue.draw(catalogue.plan(results, ["lines"])[0]).axes[0]
    assert drawn.get_xlabel().startswith("storage [kilowatt-hours]")
    assert len(results.only(["storage=60"]).complete) == 4


def test_a_described_axis_is_the_same_axis(tmp_path: Path) -> None:
    plain = FILE.replace('{ values = [0, 60], label = "storage", unit = "kilowatt-hours" }', "[0, 60]")
    plain = plain.replace('{ values = [0.3, 0.5], label = "GPUs asked for" }', "[0.3, 0.5]")
    loaded = []
    for text in (FILE, plain):
        (tmp_path / "e.toml").write_text(text)
        loaded.append(load_experiment(tmp_path / "e.toml"))
    assert loaded[0].axes == loaded[1].axes


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('{ label = "storage" }', "write { values = [...], label = ..., unit = ... }"),
        ('{ values = 60, label = "storage" }', "should be a list of the values"),
        ("{ values = [0, 60], label = 3 }", "label should be text"),
    ],
)
def test_a_table_that_describes_no_axis_is_told(tmp_path: Path, table: str, told: str) -> None:
    (tmp_path / "e.toml").write_text(
        FILE.replace('{ values = [0, 60], label = "storage", unit = "kilowatt-hours" }', table)
    )
    with pytest.raises(InputError) as caught:
        load_experiment(tmp_path / "e.toml")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000.0, "1000"), (25_000.0, "25,000"), (2030, "2030"),
        (0.30000000000000004, "0.3"), (True, "yes"), ("2025-12-01T00:00:00+00:00", "1 Dec 2025"),
        ('["rabat","fes"]', "rabat, fes"), ('{"kwp":30.5}', "kwp 30.5"), ("[draft", "[draft"), (1e-05, "1e-05"),
        (12_000, "12,000"), ("fifo", "fifo"),
    ],
)  # fmt: skip
def test_values_are_written_as_people_write_them(value: object, text: str) -> None:
    assert axes.value_text(value) == text
