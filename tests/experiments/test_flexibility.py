"""Flexibility of sites by probing: what is asked when, cards by arithmetic, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.experiments import tiny as text

from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import Loaded, load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures.flexibility import flexibility_map
from tafukt.experiments.figures.style import style
from tafukt.experiments.runs import flexibility

HOUR = 3600.0
TINY = text(step_min=30, policies=("fifo",)).replace("days = 1", "days = 4") + '[engine]\npower_caps = "a100"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(file: Path) -> Loaded:
    return load_experiment(file)


def test_probes_of_a_site_are_apart_and_come_at_every_hour(tiny: Loaded) -> None:
    """Rounds of one cut: a request starts 27 hours after the one before, and at each of the eight hours of the day."""
    plan = flexibility.plan_of(tiny)
    scenario = build(tiny, 1).scenario
    rounds = [work for work in flexibility.works_of(plan, 4.0, 1) if work.cut == 0.1]
    assert len(rounds) == 9, "of four days each has some three probes, and four are wanted at each of eight hours"
    hours: list[int] = []
    for work in rounds:
        events = flexibility.asked_of(plan, work, scenario, 0, 4.0)
        starts = [event.start_s for event in events]
        assert all(np.diff(starts) == 27 * HOUR)
        assert all((event.end_s - event.start_s, event.cut) == (8 * HOUR, 0.1) for event in events)
        assert all(event.notice_s == event.start_s - 900.0 for event in events)
        hours += [int(start / HOUR) % 24 for start in starts]
    assert set(hours) == set(range(0, 24, 3))
    (again,) = (w for w in flexibility.works_of(plan, 4.0, 1) if w.spacing_h == 6.0)
    starts = [event.start_s for event in flexibility.asked_of(plan, again, scenario, 1, 4.0)]
    assert all(np.diff(starts) == 6 * HOUR)


def probed(rows: list[tuple[int, str, float, float]]) -> flexibility.Flexibility:
    """Probes given as seed, site, kW asked and hours held."""
    plan = flexibility.Plan(policy=None, cuts=(0.25,), longest_h=4.0)  # type: ignore[arg-type]
    found = flexibility.Flexibility(plan, (1, 2, 3), ("a", "b"), "least-loss")
    found.probes = [
        {
            "seed": seed, "site": site, "cut": 0.25, "spacing_h": 0.0, "hour": 19, "asked_kw": kw, "held_h": held,
            "reached_min": 1.0, "cost_gpu_hours_per_kwh": 2.0, "floors_broken": 0,
        }
        for seed, site, kw, held in rows
    ]  # fmt: skip
    return found


def test_the_card_by_hand() -> None:
    """Three seeds keep 1, 1/2 and 0 of their probes for two hours: 0.5 +- 4.303 x 0.5 / sqrt(3), Student's t with 2."""
    whole, ramp = 4.0 - 1 / 60, 1 / 60
    rows = [(1, "a", 10.0, whole), (1, "a", 20.0, 2.0 - ramp), (2, "a", 30.0, 3.0), (2, "a", 30.0, 1.0)]
    rows += [(3, "a", 45.0, 0.0), (1, "b", 0.0, 0.0), (1, "b", 8.0, whole)]
    hours = flexibility.hour_table(probed(rows)).set_index(["site", "length_h"])
    found = hours.loc[("a", 2.0)]
    assert (found["kept"], found["probes"]) == (0.5, 5)
    assert found["kept_half"] == pytest.approx(4.302653 * 0.5 / math.sqrt(3), rel=1e-6)
    assert found["asked_kw"] == pytest.approx((15.0 + 30.0 + 45.0) / 3)
    assert hours.loc[("a", 4.0)]["kept"] == pytest.approx((0.5 + 0.0 + 0.0) / 3)
    card = flexibility.card_table(probed(rows)).set_index("site")
    assert card.loc["b"]["kept_4_h"] == 1.0, "where the sun carried all there was nothing to cut"
    assert (card.loc["b"]["lasts_h"], card.loc["a"]["lasts_h"]) == (4.0, 0.0)


def test_the_command_writes_cards_that_do_not_depend_on_processes(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(workers: int) -> dict[str, bytes]:
        folder = tmp_path / f"out{workers}"
        words = ["flexibility", str(file), "--cut", "0.2", "--longest", "2", "--every", "12", "--json"]
        assert guarded(lambda: app([*words, "--workers", str(workers), "-o", str(folder)], standalone_mode=False)) == 0
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    files = run(1)
    shown = capsys.readouterr()
    assert shown.err.startswith("tiny, fifo: ")
    assert "about" in shown.err
    assert json.loads(shown.out) == json.loads(files["cards.json"])
    assert {card["site"] for card in json.loads(shown.out)} == {"rabat", "dakhla"}
    assert run(2) == files
    probes = pd.read_csv(tmp_path / "out1" / "probes.csv")
    assert set(probes["cut"]) == {0.2, flexibility.AGAIN_CUT}
    assert probes["asked_kw"].tolist() == pytest.approx((probes["cut"] * probes["baseline_kw"]).tolist())
    with style():
        figure = flexibility_map(probes, 2.0, "tiny")
    panel = figure.axes[0]
    assert panel.get_title(loc="left") == "20% less"
    hours = sorted(probes["hour"][probes["spacing_h"] == 0.0].unique())
    first = probes[(probes["spacing_h"] == 0.0) & (probes["asked_kw"] > 0.0) & (probes["site"] == "dakhla")]
    means = first.groupby("hour")["held_h"].mean()
    drawn = panel.images[0].get_array()
    for column, hour in enumerate(hours):
        if hour in means.index:
            assert drawn[0, column] == pytest.approx(means[hour])


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ("", {"policy": "fif"}, "no policy 'fif' in it"),
        ("", {"cuts": [1.5]}, "--cut: 1.5: a cut is a share"),
        ("", {"longest_h": 30.0}, "--longest: 30: from 0.25 to 16"),
        ("", {"every_h": 0}, "--every: 0: from 1 to 12"),
        ("days=1", {}, "days: 1: probes begin after half a day"),
        ('engine.respond="none"', {}, "engine.respond: 'none' gives nothing"),
        ("matrix={days=[2,3]}", {}, "matrix: probes are for one scenario"),
    ],
)
def test_what_cannot_be_probed_is_told(file: Path, change: str, words: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        flexibility.plan_of(load_experiment(file, [change] if change else []), **words)  # type: ignore[arg-type]
