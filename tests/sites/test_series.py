"""Series from CSV files, carbon files of providers, and tariffs by kind of day."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tafukt.sites.grid import kind_of_day
from tafukt.sites.schema.grid import DAYS, TariffModel, day_tables
from tafukt.sites.site import SiteError, SiteModel, catalogue, node_types, site_from
from tafukt.sites.supply import SiteSupply, supply

START = datetime(2025, 6, 1, tzinfo=UTC)  # a Sunday
DAY_BEFORE = START - timedelta(days=1)
Table = dict[str, Any]


def site(**more: Any) -> SiteModel:
    table: Table = {"name": "x", "lat": 33.0, "lon": -7.0, "tz": "UTC", "pv": False, "weather": {"kind": "clear-sky"}}
    carbon = {"kind": "constant", "g_per_kwh": 500.0}
    grid = {"tariff": {"bands": [_all_day()]}, "carbon": carbon} | more.pop("grid", {})
    return site_from(table | {"country": "XX", "grid": grid} | more, None, "t")


def _all_day(**more: Any) -> Table:
    return {"name": "all", "mad_per_kwh": 1.0, "winter": "0-24", "summer": "0-24"} | more


def run(model: SiteModel, cache: Path, days: float = 2, step_s: int = 900, start: datetime = START) -> SiteSupply:
    return supply([model], start, days, step_s, 1, cache)["x"]


def series(path: Path, rows: list[tuple[str, Any]], column: str = "price") -> Table:
    path.write_text(f"time,{column}\n" + "".join(f"{time},{value}\n" for time, value in rows))
    return {"file": str(path), "column": column}


def hourly(count: int = 96, start: datetime = DAY_BEFORE, minutes: int = 60) -> list[str]:
    return [(start + timedelta(minutes=minutes * i)).strftime("%Y-%m-%dT%H:%MZ") for i in range(count)]


# --- Steps


@pytest.mark.parametrize(("coarse", "fine"), [(60, 15), (60, 30), (30, 15), (15, 60), (60, 5)])
@pytest.mark.parametrize("label", ["left", "right"])
def test_a_price_holds_until_the_next_one_when_the_step_changes(
    coarse: int, fine: int, label: str, tmp_path: Path
) -> None:
    """Two days of one step, then two of another; values count hours of the day."""
    change = DAY_BEFORE + timedelta(days=2)
    times = [DAY_BEFORE + timedelta(minutes=coarse * i) for i in range(2880 // coarse)]
    times += [change + timedelta(minutes=fine * i) for i in range(2880 // fine)]
    steps = [coarse] * (2880 // coarse) + [fine] * (2880 // fine)
    rows = []
    for begin, minutes in zip(times, steps, strict=True):
        named = begin + timedelta(minutes=minutes if label == "right" else 0)
        rows.append((named.strftime("%Y-%m-%dT%H:%MZ"), 1 + begin.hour % 2))
    prices = series(tmp_path / "p.csv", rows) | {"label": label}
    found = run(site(grid={"price_mad_per_kwh": prices}), tmp_path, 2, 300)
    hours = np.arange(576) // 12
    assert np.array_equal(found.price_mad_per_kwh.values, 1.0 + hours % 24 % 2)
    assert any(f"changes from {coarse} to {fine} min" in note for note in found.notes)


def test_missing_rows_are_no_change_of_step(tmp_path: Path) -> None:
    rows = [(t, 1.0) for i, t in enumerate(hourly()) if i not in (30, 50, 51)]
    with pytest.raises(SiteError, match=r"3 missing, the first at 2025-06-01 06:30"):
        run(site(grid={"price_mad_per_kwh": series(tmp_path / "p.csv", rows)}), tmp_path)


def test_a_gap_outside_the_run_does_not_matter(tmp_path: Path) -> None:
    rows = [(t, 1.0) for i, t in enumerate(hourly()) if i not in (3, 90)]
    assert run(site(grid={"price_mad_per_kwh": series(tmp_path / "p.csv", rows)}), tmp_path).notes == ()


def test_what_is_filled_is_told(tmp_path: Path) -> None:
    rows = [(t, i) for i, t in enumerate(hourly()) if i != 30]
    told = {}
    for fill, value in (("interpolate", 30.0), ("previous-day", 6.0)):
        prices = series(tmp_path / "p.csv", rows) | {"fill": fill}
        found = run(site(grid={"price_mad_per_kwh": prices}), tmp_path, step_s=3600)
        assert found.price_mad_per_kwh.values[6] == value
        told[fill] = found.notes
    assert all(any("1 missing" in n and f"filled: {fill}" in n for n in notes) for fill, notes in told.items())


# --- Values


@pytest.mark.parametrize("value", ["-inf", "inf", "nan", "1" * 400, "", "n/a", "abc"])
@pytest.mark.parametrize("where", ["price", "carbon", "other", "pv"])
def test_what_is_no_number_is_missing_in_every_series(value: str, where: str, tmp_path: Path) -> None:
    rows = [(t, value if i == 30 else 1.0) for i, t in enumerate(hourly())]
    table = series(tmp_path / "p.csv", rows)
    model = {
        "price": lambda: site(grid={"price_mad_per_kwh": table}),
        "carbon": lambda: site(grid={"carbon": {"kind": "csv", "series": table}}),
        "other": lambda: site(other={"kind": "csv", "series": table}),
        "pv": lambda: site(pv={"series": table}),
    }[where]()
    with pytest.raises(SiteError, match="1 missing, the first at 2025-06-01 06:30"):
        run(model, tmp_path)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("other", -3.0, r"other\.series: p\.csv: 1 values below 0 kW, the first at 2025-06-01 06:30, the lowest -3"),
        ("carbon", -20.0, r"grid\.carbon\.series: p\.csv: 1 values below 0 g/kWh"),
        ("price", 850.0, r"1 values above 200 MAD/kWh, the highest 850; is it in MAD/MWh\? then set scale = 0\.001"),
        ("carbon", 450_000.0, r"1 values above 3000 g/kWh, the highest 450000; is it in .*scale = 0\.001"),
        ("other", 2e7, r"1 values above 5e\+06 kW, the highest 2e\+07; is it in W\? then set scale = 0\.001"),
    ],
)
def test_values_that_cannot_be_are_refused_with_the_unit_that_would_fit(
    where: str, value: float, words: str, tmp_path: Path
) -> None:
    rows = [(t, value if i == 30 else 1.0) for i, t in enumerate(hourly())]
    table = series(tmp_path / "p.csv", rows)
    model = {
        "price": lambda: site(grid={"price_mad_per_kwh": table}),
        "carbon": lambda: site(grid={"carbon": {"kind": "csv", "series": table}}),
        "other": lambda: site(other={"kind": "csv", "series": table}),
    }[where]()
    with pytest.raises(SiteError, match=words):
        run(model, tmp_path)


def test_what_an_inverter_draws_at_night_is_told(tmp_path: Path) -> None:
    rows = [(t, -0.01 if i % 24 < 6 else 2.0) for i, t in enumerate(hourly())]
    found = run(site(pv={"series": series(tmp_path / "p.csv", rows, "kw")}), tmp_path, step_s=3600)
    assert found.pv_w.values.min() == 0.0
    assert any("12 steps below 0" in note for note in found.notes)


def test_export_prices_may_be_a_series(tmp_path: Path) -> None:
    rows = [(t, i % 24) for i, t in enumerate(hourly())]
    found = run(site(grid={"export_mad_per_kwh": series(tmp_path / "p.csv", rows)}), tmp_path, step_s=3600)
    assert np.array_equal(found.export_price_mad_per_kwh.values, np.arange(48) % 24)
    assert set(run(site(grid={"export_mad_per_kwh": 0.3}), tmp_path).export_price_mad_per_kwh.values) == {0.3}


@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%Y%m%d%H%M"])
def test_dates_that_are_no_iso_are_read_in_a_series(form: str, tmp_path: Path) -> None:
    times = [(DAY_BEFORE + timedelta(hours=i)).strftime(form) for i in range(96)]
    found = run(
        site(grid={"price_mad_per_kwh": series(tmp_path / "p.csv", list(zip(times, range(96), strict=True)))}), tmp_path
    )
    assert found.price_mad_per_kwh.values[0] == 24.0


def test_a_file_is_read_once_for_all_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tafukt.sites.weather import parsing

    path = tmp_path / "p.csv"
    path.write_text("time,a,b,c\n" + "".join(f"{t},1,2,3\n" for t in hourly()))
    read = []
    original = parsing.frame
    monkeypatch.setattr(parsing, "frame", lambda *a, **k: (read.append(1), original(*a, **k))[1])
    sites = []
    for name, column in (("u", "a"), ("v", "b"), ("w", "c")):
        table = site(other={"kind": "csv", "series": {"file": str(path), "column": column}}).model_dump(mode="json")
        sites.append(site_from(table | {"name": name}, None, "t"))
    found = supply(sites, START, 1, 3600, 1, tmp_path)
    assert [each.other_w.values[0] for each in found.values()] == [1000.0, 2000.0, 3000.0]
    assert len(read) == 1
    path.write_text(path.read_text().replace(",1,2,3", ",4,5,6"))
    changed = supply(sites, START, 1, 3600, 1, tmp_path)
    assert [each.other_w.values[0] for each in changed.values()] == [4000.0, 5000.0, 6000.0]


def kept_series(folder: Path) -> list[Path]:
    return sorted((folder / "series").iterdir())


def test_a_series_is_kept_under_a_hash_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tafukt.sites.weather import series as resampling

    rows = [(time, i) for i, time in enumerate(hourly())]
    priced = site(grid={"price_mad_per_kwh": {**series(tmp_path / "p.csv", rows), "fill": "interpolate"}})
    first = run(priced, tmp_path).price_mad_per_kwh.values
    assert len(kept_series(tmp_path)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(resampling, "read_table", lambda *a, **k: pytest.fail("the file is read again"))
        assert np.array_equal(run(priced, tmp_path).price_mad_per_kwh.values, first)
    for other in ({"days": 1}, {"step_s": 300}):  # what is kept is of one span
        run(priced, tmp_path, **other)
    assert len(kept_series(tmp_path)) == 3
    about = os.stat(tmp_path / "p.csv")
    series(tmp_path / "p.csv", [(time, 95 - i) for i, time in enumerate(hourly())])  # as long as before
    os.utime(tmp_path / "p.csv", ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert os.stat(tmp_path / "p.csv").st_size == about.st_size
    assert np.array_equal(run(priced, tmp_path).price_mad_per_kwh.values, 95 - first)


def test_what_was_filled_is_told_from_the_cache_too(tmp_path: Path) -> None:
    rows: list[tuple[str, Any]] = [(time, "" if i == 30 else 1) for i, time in enumerate(hourly())]
    priced = site(grid={"price_mad_per_kwh": {**series(tmp_path / "p.csv", rows), "fill": "interpolate"}})
    assert "1 missing" in " ".join(run(priced, tmp_path).notes)
    assert run(priced, tmp_path).notes == run(priced, tmp_path / "other").notes


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "another's", "a folder"])
def test_a_broken_entry_of_the_cache_is_made_again(damage: str, tmp_path: Path) -> None:
    rows = [(time, i) for i, time in enumerate(hourly())]
    priced = site(grid={"price_mad_per_kwh": series(tmp_path / "p.csv", rows)})
    cache = tmp_path / "cache"
    first, other = run(priced, cache), run(priced, cache, start=DAY_BEFORE)
    files = kept_series(cache)
    whole = [file.read_bytes() for file in files]
    for file, data, another in zip(files, whole, reversed(whole), strict=True):
        if damage == "a folder":
            file.unlink()
            file.mkdir()
            continue
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        file.write_bytes({"empty": b"", "cut": data[:-9], "changed": changed, "another's": another}[damage])
    for begun, found in ((START, first), (DAY_BEFORE, other)):
        again = run(priced, cache, start=begun)
        assert np.array_equal(again.price_mad_per_kwh.values, found.price_mad_per_kwh.values)
        assert again.notes == found.notes
    if damage != "a folder":
        assert [file.read_bytes() for file in files] == whole


# --- Providers


MAPS_2021 = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),Carbon Intensity gCO₂eq/kWh (LCA),"
    "Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,Data Estimation Method"
)
MAPS_2024 = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
    "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method"
)
"""Headers of the yearly files, as public code and notes that work with them have them."""


@pytest.mark.parametrize(
    ("head", "scope", "value"),
    [
        (MAPS_2021, "direct", 300.0),
        (MAPS_2021, "lifecycle", 400.0),
        (MAPS_2024, "direct", 300.0),
        (MAPS_2024, "lifecycle", 400.0),
    ],
)
def test_electricity_maps_as_it_comes(head: str, scope: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "MA_2025_hourly.csv"
    rows = [
        f"{(DAY_BEFORE + timedelta(hours=i)):%Y-%m-%d %H:%M:%S},M,M,MA,{300 + i % 24},{400 + i % 24},20,18,x,false,"
        for i in range(96)
    ]
    path.write_text(f"{head}\n" + "\n".join(rows) + "\n", encoding="utf-8")
    carbon = {"kind": "electricity-maps", "file": str(path), "scope": scope}
    found = run(site(grid={"carbon": carbon}), tmp_path, step_s=3600)
    assert np.array_equal(found.carbon_g_per_kwh.values, value + np.arange(48) % 24)


@pytest.mark.parametrize("head", ["timestamp,MOER", "point_time,value"])
def test_watttime_as_it_comes(head: str, tmp_path: Path) -> None:
    path = tmp_path / "moer.csv"
    times = [DAY_BEFORE + timedelta(minutes=5 * i) for i in range(4 * 288)]
    path.write_text(head + "\n" + "".join(f"{t:%Y-%m-%d %H:%M:%S}+00:00,1000\n" for t in times))
    found = run(site(grid={"carbon": {"kind": "watttime", "file": str(path)}}), tmp_path)
    assert found.carbon_g_per_kwh.values == pytest.approx(453.59237)  # g in a pound: 1959 agreement


def test_a_file_of_another_provider_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    series(path, [(t, 1.0) for t in hourly()])
    for kind in ("watttime", "electricity-maps"):
        with pytest.raises(SiteError, match=f"has no column of kind '{kind}'"):
            run(site(grid={"carbon": {"kind": kind, "file": str(path)}}), tmp_path)


# --- Kinds of day


def week(bands: list[Table], tmp_path: Path, tz: str = "UTC", **tariff: Any) -> np.ndarray:
    """Prices from Monday 2 June 2025 on, by day and hour, shape (14, 24)."""
    model = site(grid={"tariff": {"bands": bands} | tariff}, tz=tz)
    monday = datetime(2025, 6, 2, tzinfo=UTC)
    return run(model, tmp_path, 14, 3600, monday).price_mad_per_kwh.values.reshape(14, 24)


def dear_and_cheap(**dear: Any) -> list[Table]:
    return [
        {"name": "dear", "mad_per_kwh": 2.0, "winter": "8-20", "summer": "8-20"} | dear,
        {"name": "cheap", "mad_per_kwh": 1.0, "winter": "20-8", "summer": "20-8"},
    ]


def test_weekends_have_their_own_hours(tmp_path: Path) -> None:
    bands = dear_and_cheap()
    bands[1]["weekend"] = "0-24"
    found = week(bands, tmp_path)
    assert [(row == 2.0).sum() for row in found] == [12] * 5 + [0, 0] + [12] * 5 + [0, 0]
    bands = dear_and_cheap(saturday="10-14")
    bands[1] |= {"saturday": "14-10", "sunday": "0-24"}
    assert [(row == 2.0).sum() for row in week(bands, tmp_path)[:7]] == [12] * 5 + [4, 0]


def test_days_are_those_of_the_local_clock(tmp_path: Path) -> None:
    bands = dear_and_cheap()
    bands[0] |= {"winter": "0-24", "summer": "0-24"}
    bands[1] |= {"winter": "", "summer": "", "weekend": "0-24"}
    utc, tokyo = (week(bands, tmp_path, tz)[:7].ravel() for tz in ("UTC", "Asia/Tokyo"))
    assert np.flatnonzero(utc == 1.0)[0] == 5 * 24
    assert np.flatnonzero(tokyo == 1.0)[0] == 5 * 24 - 9


def test_holidays_are_sundays_unless_bands_say_more(tmp_path: Path) -> None:
    bands = dear_and_cheap()
    bands[1]["weekend"] = "0-24"
    for days in (["2025-06-04"], ["06-04"]):
        found = week(bands, tmp_path, holidays=days)
        assert [(row == 2.0).sum() for row in found[:7]] == [12, 12, 0, 12, 12, 0, 0]
    bands[0]["holiday"], bands[1]["holiday"] = "10-12", "12-10"
    assert (week(bands, tmp_path, holidays=["2025-06-04"])[2] == 2.0).sum() == 2
    tariff = TariffModel.model_validate({"bands": dear_and_cheap(), "holidays": ["2025-06-04"]})
    assert np.array_equal(day_tables(tariff)[:, DAYS.index("holiday")], day_tables(tariff)[:, 0])


def test_kinds_of_day() -> None:
    tariff = TariffModel.model_validate({"bands": [_all_day()], "holidays": ["01-01", "2024-12-25"]})
    days = np.array(
        [np.datetime64(d, "D").astype(np.int64) for d in ("2024-12-25", "2025-01-01", "2025-01-04", "2025-12-25")]
    )
    assert [DAYS[k] for k in kind_of_day(tariff, days)] == ["holiday", "holiday", "saturday", "weekday"]


@pytest.mark.parametrize(
    ("bands", "more", "words"),
    [
        (dear_and_cheap(weekend="0-12"), {}, r"no band covers 12 h on a saturday"),
        (dear_and_cheap(weekend="0-25"), {}, r"band 'dear', saturday: '0-25' is not a range of clock hours"),
        (dear_and_cheap(winter="8:10-20"), {}, r"band 'dear', winter: '8:10-20' is not a range of clock hours"),
        (dear_and_cheap(), {"holidays": ["2025-02-30"]}, r"'2025-02-30' is not a date"),
        (dear_and_cheap(), {"holidays": ["Christmas"]}, r"'Christmas' is not a date"),
    ],
)
def test_mistakes_in_a_tariff_are_told(bands: list[Table], more: Table, words: str) -> None:
    with pytest.raises(SiteError, match=words) as caught:
        site(grid={"tariff": {"bands": bands} | more})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("text", ["17-22", "17:00-22:00", "17:00 - 22:00", "17.0-22.0", "17–22"])
def test_clock_hours_are_written_in_many_ways(text: str) -> None:
    bands = [_all_day(winter=text), {"name": "b", "mad_per_kwh": 2.0, "winter": "22-17", "summer": ""}]
    assert (day_tables(TariffModel.model_validate({"bands": bands}))[0, 0] == 0).sum() == 20


def test_nodes_and_tariffs_take_like() -> None:
    model = site(
        cluster={"node": {"like": "a100", "gpus": 4}}, grid={"tariff": {"like": "mv_default", "title": "mine"}}
    )
    assert model.node.gpus == 4
    assert model.node.loaded_kw == node_types()["a100"].loaded_kw
    assert model.tariff.title == "mine"
    assert model.tariff.bands == catalogue()["rabat"].tariff.bands
    with pytest.raises(SiteError, match=r"cluster\.node\.like: 'a10' is not in the catalogue; did you mean 'a100'"):
        site(cluster={"node": {"like": "a10"}})
