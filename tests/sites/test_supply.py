"""Supply as others call it: the grid, the cache, the time it takes, the figure."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tafukt.sites.cache import default_folder
from tafukt.sites.site import SiteError, catalogue, site_from
from tafukt.sites.supply import supply

START = datetime(2025, 12, 1, tzinfo=UTC)


def test_all_profiles_share_one_grid(tmp_path: Path) -> None:
    found = supply(list(catalogue().values()), START, 7, 300, 1, tmp_path)
    assert list(found) == list(catalogue())
    for site in found.values():
        for name in ("pv_w", "overhead", "other_w", "temp_air_c", "ghi", "price_mad_per_kwh", "carbon_g_per_kwh"):
            profile = getattr(site, name)
            assert (profile.start_s, profile.step_s, len(profile.values)) == (0.0, 300.0, 2016), name
        assert (site.pv_w.values >= 0).all()
        assert (site.overhead.values > 0).all()
        assert site.outages == ()


def test_the_cache_gives_the_same_bytes_and_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    site = [catalogue()["agadir"]]
    first = supply(site, START, 3, 300, 1, tmp_path)["agadir"].pv_w.values.tobytes()
    (entry,) = (tmp_path / "supply").iterdir()
    good = entry.read_bytes()
    for damage in (good[:-100], b"", good[:5000] + b"\x01" + good[5001:], good[8:] + good[:8], b"x" * len(good)):
        entry.write_bytes(damage)
        assert supply(site, START, 3, 300, 1, tmp_path)["agadir"].pv_w.values.tobytes() == first
        assert entry.read_bytes() == good
    assert [p.suffix for p in (tmp_path / "supply").iterdir()] == [".f64"]


def test_an_entry_that_stands_under_another_key_or_whose_values_change_places_is_made_again(tmp_path: Path) -> None:
    right = {}
    for name in ("agadir", "fes"):
        right[name] = supply([catalogue()[name]], START, 3, 300, 1, tmp_path / name)[name].pv_w.values
    entries = [next((tmp_path / name / "supply").iterdir()) for name in ("agadir", "fes")]
    texts = [entry.read_bytes() for entry in entries]
    entries[0].write_bytes(texts[1])
    entries[1].write_bytes(texts[0])
    for name in right:
        found = supply([catalogue()[name]], START, 3, 300, 1, tmp_path / name)[name].pv_w.values
        assert np.array_equal(found, right[name])
    begin = len(texts[0]) // 2  # two values of the file change places, which no sum over it shows
    for near, far in ((0, 8), (0, 56), (8, 1008)):
        swapped = bytearray(texts[0])
        for at, to in ((near, far), (far, near)):
            swapped[begin + at : begin + at + 8] = texts[0][begin + to : begin + to + 8]
        entries[0].write_bytes(bytes(swapped))
        found = supply([catalogue()["agadir"]], START, 3, 300, 1, tmp_path / "agadir")["agadir"].pv_w.values
        assert np.array_equal(found, right["agadir"])
        assert entries[0].read_bytes() == texts[0]


def test_what_is_in_the_cache_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supply([catalogue()["agadir"]], START, 2, 300, 1, tmp_path)

    def fail(*_: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("tafukt.sites.modelled.modelled", fail)
    supply([catalogue()["agadir"]], START, 2, 300, 1, tmp_path)
    cheaper = site_from({"grid": {"export_limit_kw": 5}, "battery": {"kwh": 9}, "fixed_kw": 2}, "agadir", "t")
    supply([cheaper], START, 2, 300, 1, tmp_path)
    for other in ({"pv": {"tilt_deg": 11}}, {"lat": 30.0}, {"cooling": {"kind": "constant"}}):
        with pytest.raises(AssertionError, match="made again"):
            supply([site_from(other, "agadir", "t")], START, 2, 300, 1, tmp_path)
    with pytest.raises(AssertionError, match="made again"):
        supply([catalogue()["agadir"]], START, 2, 300, 2, tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "pv.csv"
    model = site_from({"pv": {"series": {"file": "pv.csv", "column": "kw"}}}, "agadir", "t", folder=tmp_path)
    for power in (1.0, 2.0):
        path.write_text("time,kw\n" + "".join(f"2025-12-0{d}T00:00:00Z,{power}\n" for d in range(1, 6)))
        found = supply([model], START, 2, 3600, 1, tmp_path)["agadir"]
        assert set(found.pv_w.values) == {1000.0 * power}


def test_a_cache_that_cannot_be_written_to_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = supply([catalogue()["agadir"]], START, 1, 3600, 1, tmp_path / "file")
    assert found["agadir"].pv_w.values.max() > 0


def test_the_default_cache_is_the_one_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAFUKT_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    supply([catalogue()["agadir"]], START, 1, 3600, 1)
    assert len(list((tmp_path / "supply").iterdir())) == 1


@pytest.mark.parametrize(
    ("start", "days", "step_s", "words"),
    [
        (datetime(2025, 12, 1), 1, 300, "no time zone"),
        (datetime(2025, 12, 1, 0, 2, tzinfo=UTC), 1, 300, "not a whole number of steps"),
        (START, 1, 420, "does not divide an hour"),
        (START, 0, 300, "not a positive number of days"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(start: datetime, days: float, step_s: float, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        supply([catalogue()["agadir"]], start, days, step_s, 1)


def test_supply_loads_no_pvlib_when_all_is_cached(tmp_path: Path) -> None:
    code = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from tafukt.sites.site import catalogue; from tafukt.sites.supply import supply\n"
        f"s = supply([catalogue()['agadir']], datetime(2025, 12, 1, tzinfo=UTC), 1, 3600, 1, Path({str(tmp_path)!r}))\n"
        "print('pvlib' in sys.modules, 'pandas' in sys.modules, s['agadir'].pv_w.values.sum().hex())\n"
    )
    root = Path(__file__).resolve().parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    cold, warm = (line.split() for line in runs)
    assert cold[:2] == ["True", "True"]
    assert warm[:2] == ["False", "False"]
    assert cold[2] == warm[2]


def test_different_steps_agree_on_the_day(tmp_path: Path) -> None:
    """The sky of a day is the same whatever the step: its energy agrees, its minutes need not."""
    site = [catalogue()["fes"]]
    energy = {}
    for step in (300, 900, 3600):
        ghi = supply(site, START, 10, step, 1, tmp_path)["fes"].ghi.values
        energy[step] = ghi.reshape(10, -1).mean(axis=1)
    assert np.allclose(energy[300], energy[900], rtol=2e-3)
    assert np.allclose(energy[300], energy[3600], rtol=2e-2)


def test_the_portrait_of_a_site_can_be_drawn(tmp_path: Path) -> None:
    from tafukt.experiments.figures.site import figure, year_of

    site = catalogue()["dakhla"]
    data = year_of(site, 2025, 1, tmp_path)
    assert data.ghi.shape == (365, 96)
    assert np.isfinite(data.ghi).all()
    assert data.yield_kwh_kwp.sum() == pytest.approx(1893, rel=0.06)
    drawn = figure(site, 2025, 1, tmp_path)
    drawn.savefig(tmp_path / "dakhla.png", dpi=50)
    assert (tmp_path / "dakhla.png").stat().st_size > 20_000
    titles = {text.get_text() for axes in drawn.axes for text in axes.texts} | {t.get_text() for t in drawn.texts}
    assert {"Dakhla", "Yield by month", "Tariff clock", "Heat, and what cooling takes"} <= titles


@pytest.mark.slow
def test_twelve_site_years_take_two_seconds_cold_and_a_fifth_of_one_warm(tmp_path: Path) -> None:
    import pvlib  # noqa: F401

    everyone = list(catalogue().values())
    supply(everyone, START, 1, 3600, 1, tmp_path)  # imports
    for limit in (2.0, 0.2):
        best = np.inf
        for attempt in range(3):
            folder = tmp_path / (f"cold{attempt}" if limit > 1 else "cold0")
            before = time.process_time()
            supply(everyone, datetime(2025, 1, 1, tzinfo=UTC), 365, 300, 1, folder)
            best = min(best, time.process_time() - before)
        assert best < limit
