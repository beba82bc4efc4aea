"""Import limits over time as a user writes them: by clock hours and season, as a series; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from builders.experiments import run, tiny

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.notes import notes
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.results.load import load as results_of
from tafukt.sites.profile import StepProfile

BANDS = [
    {"name": "evening", "kw": 20.0, "winter": "17-22", "summer": "18-23", "weekend": ""},
    {"name": "rest", "kw": 80.0, "winter": "22-17", "summer": "23-18", "weekend": "0-24"},
]


JUNE = "2025-06-01T00:00:00Z"


def written(folder: Path, limit: Any, start: str = JUNE, days: int = 2, fixed_kw: float = 0.0) -> Path:
    table = tomli_w.dumps({"import_limit_kw": limit})
    text = tiny(policies=("fifo",)).replace(JUNE, start).replace("days = 1", f"days = {days}")
    text = text.replace("all.cluster.nodes = 2", f"all.cluster.nodes = 2\nall.fixed_kw = {fixed_kw}")
    inline = table if not isinstance(limit, dict) else ""
    nested = tomli_w.dumps({"sites": {"all": {"grid": {"import_limit_kw": limit}}}}) if isinstance(limit, dict) else ""
    path = folder / "e.toml"
    path.write_text(text + (f"\n[sites.all.grid]\n{inline}" if inline else f"\n{nested}"))
    return path


def limit_of(path: Path) -> StepProfile | float:
    return build(load_experiment(path), 1).scenario.sites[0].grid.import_limit_w


def test_a_table_holds_by_the_local_clock_the_season_and_the_day(tmp_path: Path) -> None:
    """Monday 1 December at UTC+1: evening is 16 to 21 h UTC; Saturdays have none; in June it is an hour later."""
    limit = limit_of(written(tmp_path, {"bands": BANDS}, "2025-12-01T00:00:00Z", days=7))
    assert isinstance(limit, StepProfile)
    kw = (limit.values[: 7 * 24] / 1000.0).reshape(7, 24)
    evening = np.where((np.arange(24) >= 16) & (np.arange(24) < 21), 20.0, 80.0)
    assert kw[:5].tolist() == [evening.tolist()] * 5
    assert (kw[5:] == 80.0).all()
    june = limit_of(written(tmp_path, {"bands": BANDS}, "2025-06-02T00:00:00Z"))
    assert isinstance(june, StepProfile)
    assert np.flatnonzero(june.values[:24] == 20e3).tolist() == [17, 18, 19, 20, 21]


def test_a_series_of_limits(tmp_path: Path) -> None:
    """Half-hours in MW, on steps of an hour: the mean of each hour in kW."""
    times = [f"2025-06-{1 + k // 48:02d}T{k // 2 % 24:02d}:{30 * (k % 2):02d}:00Z" for k in range(30 * 48)]
    rows = [f"{time},{0.05 + 0.01 * (k % 2)}" for k, time in enumerate(times)]
    (tmp_path / "limit.csv").write_text("time,mw\n" + "\n".join(rows) + "\n")
    given = {"file": "limit.csv", "column": "mw", "scale": 1000.0}
    limit = limit_of(written(tmp_path, given))
    assert isinstance(limit, StepProfile)
    assert limit.values[:48] == pytest.approx(np.full(48, 55e3), abs=1e-3)


def test_a_number_stays_one(tmp_path: Path) -> None:
    assert limit_of(written(tmp_path, 50.0)) == 50e3


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"bands": [BANDS[0]]}, "no band covers 0 h in winter"),
        ({"bands": [*BANDS, BANDS[0]]}, "overlaps"),
        ({"bands": [{**BANDS[1], "kw": -5.0}]}, "-5.0 is not allowed"),
        ({"bands": [{**BANDS[1], "kw": 5e6}]}, "5e+06 kW is not plausible"),
        ({"bands": [{**BANDS[1], "winter": "17 to 22"}]}, "is not a range of clock hours"),
        ({"bands": [{**BANDS[1], "mad_per_kwh": 1.0}]}, "unknown key"),
        ({"file": "nowhere.csv", "column": "kw"}, "no such file"),
        ("50 kW", '"50 kW" is not allowed: should be a number'),
        (-1.0, "-1.0 is not allowed"),
        (True, "should be a number"),
    ],
)
def test_mistakes_are_told_with_their_key(tmp_path: Path, limit: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(written(tmp_path, limit))
    assert said in str(error.value)
    assert "grid.import_limit_kw" in str(error.value)


def test_what_cannot_be_kept_is_told_with_its_hours_and_booked(tmp_path: Path) -> None:
    """60 kW are drawn always; in the evenings of June, from 17 to 22 h UTC, 20 may be imported."""
    path = written(tmp_path, {"bands": BANDS}, "2025-06-02T00:00:00Z", days=1, fixed_kw=60.0)
    given = ("sites.all.pv=false", "sites.all.battery=false", "workload.load=0.01")
    assert run(path, tmp_path / "out", *given).ok
    loaded = load_experiment(path, given)
    (told,) = (note for note in notes(loaded, build(loaded, 1)) if note.startswith("rabat: grid.import_limit_kw"))
    assert "of 20, which is below fixed_kw = 60, cannot be kept even without any job" in told
    assert "2025-06-02 18:00 to 23:00" in told
    results = results_of(tmp_path / "out")
    energy = results["fifo"].energy
    first = energy[(energy["site"] == "rabat") & (energy["time_h"] < 24)]
    at = first.set_index("time_h")["unserved_kwh"]
    assert (at.loc[17:21] > 39.0).all()
    assert at.drop(index=range(17, 22)).sum() == 0.0
    limits = results["fifo"].limits
    assert limits[limits["site"] == "rabat"]["import_limit_kw"].tolist()[:3] == [80.0, 20.0, 80.0]
    assert limits[limits["site"] == "rabat"]["time_h"].tolist()[:3] == [0.0, 17.0, 22.0]
    (planned, *_) = figures.plan(results, ["import_limit"])
    labels = {text.get_text() for text in figures.draw(planned).axes[0].get_legend().get_texts()}
    assert labels == {"grid import", "unserved", "import limit"}


def test_a_site_without_a_limit_has_one_row_beside_one_that_has(tmp_path: Path) -> None:
    text = tiny(policies=("fifo",)).replace("[workload]", "change.rabat.grid.import_limit_kw = 50.0\n[workload]")
    (tmp_path / "tiny.toml").write_text(text)
    assert run(tmp_path / "tiny.toml", tmp_path / "out").ok
    limits = results_of(tmp_path / "out")["fifo"].limits
    assert limits["site"].value_counts().to_dict() == {"rabat": 1, "dakhla": 1}
    shown = limits.set_index("site")["import_limit_kw"]
    assert shown["rabat"] == 50.0
    assert np.isnan(shown["dakhla"])


def test_a_run_without_limits_has_neither_table_nor_figure(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny(policies=("fifo",)))
    assert run(tmp_path / "tiny.toml", tmp_path / "out").ok
    results = results_of(tmp_path / "out")
    assert not results["fifo"].limited
    with pytest.raises(InputError, match="no data for the figure 'import_limit'"):
        figures.plan(results, ["import_limit"])
