"""The account of the steady state: it adds up, and who came before it or comes after it is not in it."""

from __future__ import annotations

import csv
from pathlib import Path

import builders.jobs as kit
import pytest
from builders.experiments import run, tiny

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.errors import InputError
from tafukt.experiments.results.metrics import draw_kwh, summary

H = 3600.0


def test_an_account_of_everything_is_the_draw() -> None:
    """What jobs cause and what nobody causes add up to all that is drawn."""
    jobs = [kit.job(f"j{i}", i * H, 4 + 4 * (i % 2), 2 * H) for i in range(6)]
    record = kit.run(jobs, kit.scenario(2))
    found = summary(record, account_s=(0.0, 86_400.0))["account_draw_kwh"]
    assert found == pytest.approx(draw_kwh(record), rel=1e-12)


def test_a_job_is_charged_where_it_arrived_and_not_where_it_runs() -> None:
    """A node idles at 1 kW and runs at 5; the hour of 8 GPUs is 5 kWh, of which the idle node is part.

    The account lasts from 2 to 10 o'clock. One job comes and runs before it, one comes before and would run in it,
    one comes in it and runs after it: 5 kWh of the last, and an idle node for the hours without a job.
    """
    jobs = [kit.job("before", 0.0, 8, H), kit.job("into", 1 * H, 8, 3 * H), kit.job("out", 9.5 * H, 8, 1 * H)]
    record = kit.run(jobs)
    assert [(o.start_s / H, o.end_s / H) for o in record.outcomes] == [(0, 1), (1, 4), (9.5, 10.5)]
    drawn = summary(record, account_s=(2 * H, 10 * H))["account_draw_kwh"]
    idle_h = 9.5 - 4  # from 2 to 4 "into" runs, which is not charged
    assert drawn == pytest.approx(idle_h * 1.0 + 5.0)


def test_a_run_tells_draw_and_cut_of_its_account(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny() + "\n[account]\nwarm_up_days = 0.25\ncool_down_days = 0.25\n")
    assert run(path, tmp_path / "out", "days=2").ok
    with (tmp_path / "out" / "summary.csv").open() as stream:
        rows = {row["policy"]: row for row in csv.DictReader(stream)}
    fifo, solar = (float(rows[name]["account_draw_kwh"]) for name in ("fifo", "solar"))
    assert 0 < fifo < float(rows["fifo"]["draw_kwh"])
    assert float(rows["solar"]["account_cut"]) == pytest.approx(1 - solar / fifo)


def test_an_account_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny() + "\n[account]\nwarm_up_days = 1\n")
    with pytest.raises(InputError, match="between warm-up and cool-down"):
        load_experiment(path, ())
