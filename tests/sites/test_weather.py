"""Weather from files: noon where it belongs, energy kept, faults counted and dated, plain messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pvlib
import pytest

from tafukt.sites.describe import weather_report
from tafukt.sites.site import SiteError, SiteModel, site_from
from tafukt.sites.supply import supply
from tafukt.sites.time_grid import span
from tafukt.sites.weather.clearsky import sky
from tafukt.sites.weather.files import source_of
from tafukt.sites.weather.quality import bounds, findings, noon_error_min
from tafukt.sites.weather.readers import read

PVLIB_DATA = Path(pvlib.__file__).parent / "data"
LAT, LON = 33.0, -7.0
Rows = dict[str, Any]


def clear_hours(minutes: int = 60, days: int = 365) -> tuple[list[datetime], np.ndarray]:
    """Begins of the hours of 2023 in UTC, and the mean clear-sky GHI in each."""
    grid = span(datetime(2023, 1, 1, tzinfo=UTC), days, 600)
    ghi = sky(LAT, LON, 0.0, grid.mids)
    parts = minutes // 10
    means = ghi.full(ghi.ghi_clear).reshape(-1, parts).mean(axis=1)
    begins = [datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes * i) for i in range(len(means))]
    return begins, means


def site(weather: Rows, **more: Any) -> SiteModel:
    table: Rows = {"name": "x", "lat": LAT, "lon": LON, "tz": "UTC", "pv": {"kwp": 1.0}, "weather": weather}
    return site_from(table | more, None, "t")


def csv_site(path: Path, **weather: Any) -> SiteModel:
    return site({"kind": "csv", "file": str(path)} | weather)


def write(path: Path, times: list[str], ghi: np.ndarray, extra: str = "") -> Path:
    rows = [f"{t},{g:.3f},20.0" for t, g in zip(times, ghi, strict=True)]
    path.write_text("time,ghi,temp_air\n" + "\n".join(rows) + "\n" + extra)
    return path


def noon(model: SiteModel) -> float:
    source = read(model.weather, model.lat, model.lon, model.altitude_m)  # type: ignore[arg-type]
    return noon_error_min(source, model.lat, model.lon, model.altitude_m)


def test_noon_of_tmy3() -> None:
    weather = {"kind": "tmy3", "file": str(PVLIB_DATA / "723170TYA.CSV")}
    model = site(weather, lat=36.1, lon=-79.95, altitude_m=273.0)
    assert abs(noon(model)) < 5.0


def test_noon_of_an_epw_written_by_pvgis(shared_data: Path) -> None:
    weather = {"kind": "epw", "file": str(shared_data / "weather" / "pvgis_tmy_45.000_8.000.epw.gz")}
    assert abs(noon(site(weather, lat=45.0, lon=8.0, altitude_m=250.0))) < 5.0


def test_noon_of_measured_tetouan(shared_data: Path) -> None:
    weather = tetouan(shared_data)
    assert abs(noon(site(weather, lat=35.57, lon=-5.37))) < 12.0


def tetouan(shared_data: Path) -> Rows:
    columns = {"time": "Date", "ghi": "general diffuse flows", "dhi": "diffuse flows", "temp_air": "Temperature"}
    return {
        "kind": "csv",
        "file": str(shared_data / "weather" / "tetouan_2017_10min.csv.gz"),
        "time_format": "%m/%d/%y %H:%M",
        "tz": "+01:00",
        "columns": columns,
    }


def epw_text(zone: int, ghi_by_local_hour: np.ndarray) -> str:
    head = [f"LOCATION,Here,-,-,TEST,0,{LAT},{LON},{zone},0.0"] + ["X"] * 6 + ["DATA PERIODS,1,1,Data,Sunday,1/1,12/31"]
    rows = []
    for i, ghi in enumerate(ghi_by_local_hour):
        day = datetime(2023, 1, 1) + timedelta(days=i // 24)
        fields = [day.year, day.month, day.day, i % 24 + 1, 0, "?", 20.0, 10.0, 50, 100000, 0, 0, 300, f"{ghi:.2f}"]
        rows.append(",".join(map(str, [*fields, 0, f"{ghi:.2f}", *[0] * 5, 2.0, *[0] * 13])))
    return "\n".join(head + rows) + "\n"


def test_noon_of_an_ordinary_epw(tmp_path: Path) -> None:
    _, ghi = clear_hours()
    path = tmp_path / "w.epw"
    path.write_text(epw_text(1, np.roll(ghi, 1)))  # local standard time is an hour later than UTC
    assert abs(noon(site({"kind": "epw", "file": str(path)}))) < 3.0


def test_noon_of_pvgis_hourly_and_typical_year(tmp_path: Path) -> None:
    grid = span(datetime(2023, 1, 1, tzinfo=UTC), 365, 60)
    instants = grid.begins[10::60].astype(float)  # the satellite looks at ten past
    found = sky(LAT, LON, 0.0, instants)
    ghi = found.full(found.ghi_clear)
    stamps = [datetime.fromtimestamp(t, UTC) for t in instants]
    head = f"Latitude (decimal degrees): {LAT}\nLongitude (decimal degrees): {LON}\nElevation (m): 0\n"
    hourly = tmp_path / "hourly.csv"
    for columns, values in (
        ("G(i),T2m,WS10m,Int", "{:.2f},20,2,0"),
        ("Gb(i),Gd(i),Gr(i),T2m,WS10m,Int", "{:.2f},0,0,20,2,0"),
    ):
        rows = [f"{t:%Y%m%d:%H%M}," + values.format(g) for t, g in zip(stamps, ghi, strict=True)]
        for slope in (0, 35):
            top = f"{head}Radiation database:\tX\nSlope: {slope} deg. (optimum)\n\n"
            hourly.write_text(top + f"time,{columns}\n" + "\n".join(rows) + "\n\nT2m: air\n")
            if slope == 0:
                assert abs(noon(site({"kind": "pvgis", "file": str(hourly)}))) < 5.0
            else:
                with pytest.raises(SiteError, match="slope of 35 deg"):
                    noon(site({"kind": "pvgis", "file": str(hourly)}))
    months = "".join(f"{m},{2005 + m}\n" for m in range(1, 13))
    rows = [f"{t:%Y%m%d:%H}00,20.0,50,{g:.2f},0.0,{g:.2f},300,2.0,0,100000" for t, g in zip(stamps, ghi, strict=True)]
    typical = tmp_path / "typical.csv"
    names = "time(UTC),T2m,RH,G(h),Gb(n),Gd(h),IR(h),WS10m,WD10m,SP\n"
    offset = "Irradiance Time Offset (h): 0.1667\n"
    typical.write_text(head + offset + "month,year\n" + months + names + "\n".join(rows) + "\nT2m: x\n")
    assert abs(noon(site({"kind": "pvgis", "file": str(typical)}))) < 5.0


@pytest.mark.parametrize(("label", "shift"), [("left", 0), ("mid", 30), ("right", 60)])
@pytest.mark.parametrize("tz", ["UTC", "+01:00", "Africa/Algiers"])
def test_noon_of_csv_in_every_zone_and_label(label: str, shift: int, tz: str, tmp_path: Path) -> None:
    begins, ghi = clear_hours(days=60)
    local = timedelta(0) if tz == "UTC" else timedelta(hours=1)
    times = [(t + local + timedelta(minutes=shift)).strftime("%Y-%m-%d %H:%M") for t in begins]
    assert abs(noon(csv_site(write(tmp_path / "w.csv", times, ghi), label=label, tz=tz))) < 3.0


def test_a_wrong_zone_is_noticed(tmp_path: Path) -> None:
    begins, ghi = clear_hours(days=60)
    path = write(tmp_path / "w.csv", [t.strftime("%Y-%m-%dT%H:%M") for t in begins], ghi)
    wrong = csv_site(path, tz="+03:00", fill="interpolate")
    assert noon(wrong) == pytest.approx(-180.0, abs=5.0)
    with pytest.raises(SiteError, match="sun below the horizon"):
        source_of(csv_site(path, tz="+03:00"), None)
    slight = csv_site(path, tz="+01:00", fill="interpolate")
    assert any("noon is" in note and "early" in note for note in weather_report(slight))
    assert weather_report(csv_site(path)) == []


@pytest.mark.parametrize("step_s", [300, 900, 3600])
def test_the_files_energy_is_kept_on_finer_and_coarser_steps(step_s: int, tmp_path: Path) -> None:
    for minutes in (10, 60):
        begins, ghi = clear_hours(minutes)
        cloudy = ghi * np.random.default_rng(1).uniform(0.3, 0.95, len(ghi))
        path = write(tmp_path / f"{minutes}.csv", [t.isoformat() for t in begins], cloudy)
        found = supply([csv_site(path)], datetime(2026, 1, 1, tzinfo=UTC), 365, step_s, 1, tmp_path)["x"]
        assert found.ghi.values.mean() == pytest.approx(cloudy.mean(), rel=0.005), minutes
        assert found.temp_air_c.values.mean() == pytest.approx(20.0)
        # hour by hour at midday
        mine = found.ghi.values.reshape(365, 24, -1).mean(axis=2)[100:120, 9:16]
        true = cloudy.reshape(365, 24, -1).mean(axis=2)[100:120, 9:16]
        assert np.allclose(mine, true, rtol=0.02)


def test_a_year_stands_for_every_year_only_if_asked(tmp_path: Path) -> None:
    begins, ghi = clear_hours()
    path = write(tmp_path / "w.csv", [t.isoformat() for t in begins], ghi)
    start = datetime(2024, 2, 27, tzinfo=UTC)
    found = supply([csv_site(path)], start, 4, 3600, 1, tmp_path)["x"].ghi.values.reshape(4, 24)
    assert np.array_equal(found[1] > 0, found[2] > 0)
    assert np.abs(found[2] - found[1]).max() < 15.0  # the 29th of February takes the 28th's
    with pytest.raises(SiteError, match=r"covers 2023-01-01 00:00 to 2024-01-01 00:00 UTC.*repeat = true"):
        supply([csv_site(path, repeat=False)], start, 4, 3600, 1, tmp_path)
    own_year = supply([csv_site(path, repeat=False)], datetime(2023, 5, 1, tzinfo=UTC), 2, 3600, 1, tmp_path)
    assert own_year["x"].ghi.values.max() > 800.0


def spoilt(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    begins, ghi = clear_hours(days=40)
    bad = ghi.copy()
    bad[24 * 3 + 12] = 1700.0
    bad[24 * 5 + 1] = 80.0
    bad[24 * 6 + 11] = -50.0
    keep = np.ones(len(bad), dtype=bool)
    keep[24 * 10 : 24 * 10 + 30] = False
    times = [t.isoformat() for t in begins]
    rows = [f"{t},{g:.3f},20.0" for t, g, k in zip(times, bad, keep, strict=True) if k]
    rows.insert(30, rows[30])
    path = tmp_path / "spoilt.csv"
    path.write_text("time,ghi,temp_air\n" + "\n".join(rows) + "\n")
    return path, {"missing rows": 30, "above the extraterrestrial irradiance": 1, "below the horizon": 1, "negative": 1}


def test_faults_are_counted_dated_and_refused(tmp_path: Path) -> None:
    path, expected = spoilt(tmp_path)
    model = csv_site(path, repeat=False)
    source = read(model.weather, LAT, LON, 0.0)  # type: ignore[arg-type]
    found, _ = findings(source, bounds(source, LAT, LON, 0.0))
    text = {f.what: f for f in found}
    for words, count in expected.items():
        (fault,) = [f for what, f in text.items() if words in what]
        assert fault.count == count
    assert "2023-01-04" in str(next(f for f in found if "extraterrestrial" in f.what))
    assert "2023-01-11" in str(next(f for f in found if "missing rows" in f.what))
    assert any("was there before" in what for what in text)
    with pytest.raises(SiteError) as caught:
        source_of(model, None)
    for words in ("weather.file", "spoilt.csv", "30 missing rows", "2023-01-11", "weather.fill", "previous-day"):
        assert words in str(caught.value)


@pytest.mark.parametrize("fill", ["interpolate", "previous-day", "clear-sky"])
def test_faults_are_filled_as_chosen(fill: str, tmp_path: Path) -> None:
    path, _ = spoilt(tmp_path)
    _, true = clear_hours(days=40)
    source, _ = source_of(csv_site(path, repeat=False, fill=fill), None)
    assert np.isfinite(source.columns["ghi"]).all()
    assert source.columns["ghi"].sum() == pytest.approx(true.sum(), rel=0.01)
    assert source.columns["ghi"][24 * 3 + 12] == pytest.approx(true[24 * 3 + 12], rel=0.05)
    assert source.columns["ghi"][24 * 5 + 1] == 0.0
    assert sum(f"filled: {fill}" in note for note in source.notes) == 5


def test_measured_tetouan_runs_once_it_is_told_how_to_fill(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="above the extraterrestrial"):
        source_of(site(tetouan(shared_data), lat=35.57, lon=-5.37), None)
    model = site(tetouan(shared_data) | {"fill": "interpolate"}, lat=35.57, lon=-5.37)
    found = supply([model], datetime(2025, 1, 1, tzinfo=UTC), 365, 3600, 1, tmp_path)["x"]
    assert found.ghi.values.sum() / 1000 == pytest.approx(1596, rel=0.01)
    assert found.temp_air_c.values.mean() == pytest.approx(18.8, abs=0.2)
    assert 1200 < found.pv_w.values.sum() / 1000 < 1600


def test_a_ready_power_series_takes_the_models_place(tmp_path: Path) -> None:
    path = tmp_path / "pv.csv"
    path.write_text("when,kw\n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z,2\n2025-01-01T02:00:00Z,3\n")
    series = {"file": str(path), "time": "when", "column": "kw"}
    model = site({"kind": "clear-sky"}, pv={"kwp": 1.0, "series": series})
    found = supply([model], datetime(2025, 1, 1, 0, 30, tzinfo=UTC), 2 / 24, 1800, 1, tmp_path)["x"]
    assert found.pv_w.values.tolist() == [1000.0, 2000.0, 2000.0, 3000.0]
    path.write_text("when,kw\n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z,\n2025-01-01T02:00:00Z,3\n")
    with pytest.raises(SiteError, match=r"pv\.series.*1 missing, the first at 2025-01-01 01:30"):
        supply([model], datetime(2025, 1, 1, tzinfo=UTC), 2 / 24, 1800, 1, tmp_path)


def binary(path: Path, begin: bytes) -> Path:
    path.write_bytes(begin + bytes(40))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "nothere.csv", ["weather.file", "nothere.csv", "no such file", "did you mean 'nothing.csv'?"]),
        (lambda p: binary(p / "a.nc", b"\x89HDF"), ["a.nc", "a NetCDF or HDF5 file, which is not read", "as CSV"]),
        (lambda p: binary(p / "a.xlsx", b"PK\x03\x04"), ["an Excel or zip file, which is not read"]),
        (lambda p: write(p / "a.csv", ["soon", "later"], np.ones(2)), ["'soon' is not a time", "ISO 8601"]),
        (lambda p: write(p / "a.csv", ["2023-01-01T00:00:00Z"], np.ones(1)), ["fewer than two rows"]),
        (
            lambda p: write(p / "a.csv", [f"2023-01-01T00:{m:02d}:00Z" for m in (0, 7, 14)], np.ones(3)),
            ["rows are 420 s apart", "allowed"],
        ),
    ],
)
def test_bad_files_get_a_plain_message(make: Callable[[Path], Path], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "nothing.csv").write_text("")
    with pytest.raises(SiteError) as caught:
        supply([csv_site(make(tmp_path))], datetime(2025, 1, 1, tzinfo=UTC), 1, 3600, 1, tmp_path)
    for word in ["site x", *words]:
        assert word in str(caught.value)


def test_a_wrong_column_and_a_wrong_format_are_named(tmp_path: Path) -> None:
    begins, ghi = clear_hours(days=2)
    path = write(tmp_path / "w.csv", [t.isoformat() for t in begins], ghi)
    with pytest.raises(SiteError, match=r"columns\.ghi = 'ghj' is not a column; did you mean 'ghi'\?"):
        source_of(csv_site(path, columns={"ghi": "ghj"}), None)
    for kind in ("epw", "tmy3", "pvgis"):
        with pytest.raises(SiteError, match=r"weather\.file: .*w\.csv: (cannot be read|no horizontal irradiance)"):
            source_of(site({"kind": kind, "file": str(path)}), None)
    empty = tmp_path / "empty.epw"
    empty.write_text("")
    with pytest.raises(SiteError, match="cannot be read"):
        source_of(site({"kind": "epw", "file": str(empty)}), None)


def test_pvgis_is_asked_once_and_then_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, ghi = clear_hours()
    index = pd.DatetimeIndex([t.replace(year=2005 + t.month) for t in begins])
    data = pd.DataFrame({"ghi": ghi, "dni": 0.0, "dhi": ghi, "temp_air": 20.0, "wind_speed": 2.0}, index=index)
    calls = []

    def answer(lat: float, lon: float, **_: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        calls.append((lat, lon))
        return data, {"inputs": {"irradiance time offset": 0.5}}

    monkeypatch.setattr(pvlib.iotools, "get_pvgis_tmy", answer)
    model = site({"kind": "pvgis-download"})
    start = datetime(2025, 1, 1, tzinfo=UTC)
    first = supply([model], start, 20, 3600, 1, tmp_path)["x"]
    supply([model], start, 30, 3600, 1, tmp_path)
    assert calls == [(LAT, LON)]
    assert first.ghi.values.mean() == pytest.approx(ghi[: 20 * 24].mean(), rel=0.01)

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(pvlib.iotools, "get_pvgis_tmy", unreachable)
    with pytest.raises(SiteError, match=r"pvgis-download.*no route.*kind = 'pvgis'"):
        supply([site({"kind": "pvgis-download"}, lat=30.0)], start, 2, 3600, 1, tmp_path)
