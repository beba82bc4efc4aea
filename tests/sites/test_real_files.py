"""Files as people have them: several years, other places, codes for missing values, encodings, dates, units.

Each test makes its own small file from the clear sky of a place, so that what is right follows from the sun.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.weather_files import LAT, LON, begins, clear, epw

from tafukt.sites.inherited import inherited
from tafukt.sites.site import SiteError, SiteModel, catalogue, site_from
from tafukt.sites.supply import SiteSupply, supply
from tafukt.sites.time_grid import span
from tafukt.sites.weather.clearsky import sky
from tafukt.sites.weather.files import source_of

SUMMER = datetime(2025, 6, 1, tzinfo=UTC)
Rows = dict[str, Any]


def site(weather: Rows | str, **more: Any) -> SiteModel:
    table: Rows = {"name": "x", "lat": LAT, "lon": LON, "tz": "UTC", "pv": {"kwp": 1.0}, "weather": weather}
    return site_from(table | more, None, "t")


def run(model: SiteModel, cache: Path, start: datetime = SUMMER, days: float = 2, step_s: int = 900) -> SiteSupply:
    return supply([model], start, days, step_s, 1, cache)["x"]


def csv_of(
    path: Path, times: list[str], ghi: np.ndarray, head: str = "time,ghi,temp_air", **columns: np.ndarray
) -> Path:
    more = list(columns.values())
    rows = [
        ",".join([t, f"{g:.2f}", "20.0", *(f"{c[i]:.2f}" for c in more)])
        for i, (t, g) in enumerate(zip(times, ghi, strict=True))
    ]
    path.write_text(",".join(["time,ghi,temp_air", *columns]) + "\n" + "\n".join(rows) + "\n")
    return path


def csv_site(path: Path, **weather: Any) -> SiteModel:
    return site({"kind": "csv", "file": str(path)} | weather)


def iso(times: list[datetime]) -> list[str]:
    return [t.strftime("%Y-%m-%dT%H:%MZ") for t in times]


# --- Years


def several_years(tmp_path: Path) -> Path:
    """2023 at a fifth of a clear sky, 2024 clear, to the end of September."""
    first, second = clear(datetime(2023, 1, 1, tzinfo=UTC), 365), clear(datetime(2024, 1, 1, tzinfo=UTC), 274)
    ghi = np.concatenate([0.2 * first[0], second[0]])
    return csv_of(tmp_path / "w.csv", iso(begins(datetime(2023, 1, 1, tzinfo=UTC), len(ghi))), ghi)


def test_where_the_file_covers_the_run_its_own_rows_hold(tmp_path: Path) -> None:
    path = several_years(tmp_path)
    start = datetime(2024, 6, 1, tzinfo=UTC)
    own = run(csv_site(path), tmp_path, start)
    assert np.array_equal(own.ghi.values, run(csv_site(path, repeat=False), tmp_path, start).ghi.values)
    assert own.ghi.values.mean() == pytest.approx(clear(start, 2)[0].mean(), rel=0.01)
    before = run(csv_site(path), tmp_path, datetime(2023, 6, 1, tzinfo=UTC))
    assert before.ghi.values.mean() == pytest.approx(0.2 * own.ghi.values.mean(), rel=0.02)


def test_only_what_the_file_does_not_cover_takes_its_first_year(tmp_path: Path) -> None:
    path = several_years(tmp_path)
    found = run(csv_site(path), tmp_path, datetime(2024, 9, 30, tzinfo=UTC), 2)
    inside, outside = found.ghi.values.reshape(2, -1).mean(axis=1)
    assert outside == pytest.approx(0.2 * inside, rel=0.03)
    assert any("96 steps from 2024-10-01 00:00 on lie outside" in note for note in found.notes)


def test_a_leap_day_of_the_file_is_its_own(tmp_path: Path) -> None:
    ghi = clear(datetime(2024, 1, 1, tzinfo=UTC), 366)[0]
    ghi[59 * 24 : 60 * 24] *= 0.5  # 29 February is dull
    path = csv_of(tmp_path / "w.csv", iso(begins(datetime(2024, 1, 1, tzinfo=UTC), len(ghi))), ghi)
    for year in (2024, 2028):
        daily = (
            run(csv_site(path), tmp_path, datetime(year, 2, 28, tzinfo=UTC), 3).ghi.values.reshape(3, -1).mean(axis=1)
        )
        assert daily[1] == pytest.approx(0.5 * daily[0], rel=0.02), year
        assert daily[2] == pytest.approx(daily[0], rel=0.03), year
    common = run(csv_site(path), tmp_path, datetime(2027, 2, 28, tzinfo=UTC), 2).ghi.values.reshape(2, -1).mean(axis=1)
    assert common[1] == pytest.approx(common[0], rel=0.03)


def test_a_short_file_that_covers_the_run_is_used_and_one_that_does_not_is_told(tmp_path: Path) -> None:
    ghi = clear(SUMMER - timedelta(days=1), 9)[0]
    path = csv_of(tmp_path / "w.csv", iso(begins(SUMMER - timedelta(days=1), len(ghi))), ghi)
    assert run(csv_site(path), tmp_path).ghi.values.max() > 800.0
    with pytest.raises(SiteError, match=r"covers 2025-05-31 00:00 to 2025-06-09 00:00 UTC, which is neither the run"):
        run(csv_site(path), tmp_path, datetime(2025, 8, 1, tzinfo=UTC))


def test_a_gap_outside_the_run_is_no_concern_of_it(tmp_path: Path) -> None:
    ghi = clear(datetime(2025, 1, 1, tzinfo=UTC), 365)[0]
    times = iso(begins(datetime(2025, 1, 1, tzinfo=UTC), len(ghi)))
    july = 24 * 190
    path = csv_of(tmp_path / "w.csv", times[:july] + times[july + 50 :], np.delete(ghi, range(july, july + 50)))
    assert run(csv_site(path), tmp_path).notes == run(csv_site(path), tmp_path, SUMMER + timedelta(days=9)).notes
    with pytest.raises(SiteError, match=r"missing rows \(2025-07-10"):
        run(csv_site(path), tmp_path, datetime(2025, 7, 9, tzinfo=UTC), 3)


# --- Codes, parts, units


@pytest.mark.parametrize("code", [-999.0, -9999.0, 9999.0, 99999.0, -99999.0])
@pytest.mark.parametrize("column", ["dhi", "dni", "temp", "wind", "ghi"])
def test_a_code_for_missing_is_no_number_in_any_column(code: float, column: str, tmp_path: Path) -> None:
    ghi, dni, dhi, _ = clear(SUMMER, 3)
    values = {"ghi2": ghi, "dni": dni, "dhi": dhi, "temp": np.full(72, 20.0), "wind": np.full(72, 2.0)}
    spoilt = "ghi2" if column == "ghi" else column
    values[spoilt] = np.where(np.arange(72) % 24 == 12, code, values[spoilt])
    path = csv_of(tmp_path / "w.csv", iso(begins(SUMMER, 72)), ghi, **values)
    columns = {"ghi": "ghi2", "dni": "dni", "dhi": "dhi", "temp_air": "temp", "wind_speed": "wind"}
    name = {"temp": "temp_air", "wind": "wind_speed"}.get(column, column)
    if column == "ghi":  # its parts are there
        found = run(csv_site(path, columns=columns), tmp_path)
        assert any("ghi of 3 rows is computed as dhi + dni x cosine" in note for note in found.notes)
        return
    with pytest.raises(SiteError, match=rf"2 missing values of {name} \(2025-06-01, 2025-06-02\)"):
        run(csv_site(path, columns=columns), tmp_path)


def test_ghi_is_worked_out_from_beam_and_diffuse(tmp_path: Path) -> None:
    ghi, dni, dhi, cosine = clear(SUMMER, 3)
    path = tmp_path / "w.csv"
    rows = [f"{t},{b:.3f},{d:.3f},20" for t, b, d in zip(iso(begins(SUMMER, 72)), dni, dhi, strict=True)]
    path.write_text("time,dni,dhi,temp_air\n" + "\n".join(rows) + "\n")
    found = run(csv_site(path, columns={"dni": "dni", "dhi": "dhi"}), tmp_path, step_s=3600)
    assert found.ghi.values.mean() == pytest.approx((dhi + dni * cosine)[:48].mean(), rel=0.005)
    assert found.ghi.values.mean() == pytest.approx(ghi[:48].mean(), rel=0.03)
    assert any("ghi of 72 rows" in note for note in found.notes)
    with pytest.raises(SiteError, match=r"columns\.ghi = 'ghi' is not a column"):
        run(csv_site(path, columns={"dni": "dni"}), tmp_path)


@pytest.mark.parametrize(
    ("factor", "unit", "scale"),
    [(1e-3, "kW/m2", 1000.0), (3.6e-3, "MJ/m2", 277.778), (3.6, "kJ/m2", 0.277778), (3600.0, "J/m2", 0.000277778)],
)
def test_irradiance_in_another_unit_is_told_with_the_factor(
    factor: float, unit: str, scale: float, tmp_path: Path
) -> None:
    ghi = clear(SUMMER, 3)[0] * 0.8
    path = tmp_path / "w.csv"
    times = iso(begins(SUMMER, 72))
    path.write_text(
        "time,ghi,temp_air\n" + "".join(f"{t},{g * factor:.6g},20\n" for t, g in zip(times, ghi, strict=True))
    )
    with pytest.raises(SiteError, match=f"in {unit}.*ghi_scale = {scale:g}"):
        run(csv_site(path), tmp_path)
    mended = run(csv_site(path, ghi_scale=scale), tmp_path, step_s=3600)
    assert mended.ghi.values.mean() == pytest.approx(ghi[:48].mean(), rel=0.01)


@pytest.mark.parametrize(("unit", "shown"), [("K", 293.15), ("degF", 68.0)])
def test_temperature_in_another_unit_is_told(unit: str, shown: float, tmp_path: Path) -> None:
    ghi = clear(SUMMER, 3)[0]
    path = csv_of(tmp_path / "w.csv", iso(begins(SUMMER, 72)), ghi, t=np.full(72, shown))
    columns = {"temp_air": "t"}
    found = run(csv_site(path, columns=columns, temp_unit=unit), tmp_path)
    assert found.temp_air_c.values.mean() == pytest.approx(20.0)
    if unit == "K":
        with pytest.raises(SiteError, match=r"kelvin; set weather\.temp_unit = 'K'"):
            run(csv_site(path, columns=columns), tmp_path)


# --- Place, plane, hemisphere


def test_a_file_of_another_place_is_told(tmp_path: Path) -> None:
    path = epw(tmp_path / "w.epw", SUMMER, clear(SUMMER, 3)[0], lat=43.0, name="Elsewhere")
    told = run(site({"kind": "epw", "file": str(path)}), tmp_path).notes
    assert any("is for Elsewhere (43.0 N, 7.0 W)" in n and "the site (33.0 N, 7.0 W)" in n for n in told)
    near = epw(tmp_path / "near.epw", SUMMER, clear(SUMMER, 3)[0], lat=33.2)
    assert not any("is for" in note and "km from" in note for note in run(_epw_site(near), tmp_path).notes)


def _epw_site(path: Path, **weather: Any) -> SiteModel:
    return site({"kind": "epw", "file": str(path)} | weather)


@pytest.mark.parametrize("records", [1, 2, 4, 6])
def test_an_epw_has_as_many_records_an_hour_as_it_says(records: int, tmp_path: Path) -> None:
    minutes = 60 // records
    ghi = clear(SUMMER, 3, minutes)[0]
    found = run(_epw_site(epw(tmp_path / "w.epw", SUMMER, ghi, records), repeat=False), tmp_path, step_s=600)
    truth = clear(SUMMER, 2, 10)[0]
    hours = (np.arange(144) + 0.5) / 6.0
    for day in (0, 1):
        mine, true = (values.reshape(2, -1)[day] for values in (found.ghi.values, truth))
        assert (mine * hours).sum() / mine.sum() == pytest.approx((true * hours).sum() / true.sum(), abs=0.02)
        assert mine.sum() == pytest.approx(true.sum(), rel=0.005)


def test_an_epw_of_a_leap_year_holds_on_its_own_dates(tmp_path: Path) -> None:
    start = datetime(2024, 2, 27, tzinfo=UTC)
    ghi = clear(start, 4)[0]
    ghi[48:72] *= 0.5
    found = run(_epw_site(epw(tmp_path / "w.epw", start, ghi), repeat=False), tmp_path, start, 4)
    daily = found.ghi.values.reshape(4, -1).mean(axis=1)
    assert daily[2] == pytest.approx(0.5 * daily[1], rel=0.02)
    with pytest.raises(SiteError, match=r"covers 2024-02-27 00:00 to 2024-03-02 00:00"):
        run(_epw_site(tmp_path / "w.epw", repeat=False), tmp_path, datetime(2023, 2, 27, tzinfo=UTC))


def test_an_epw_of_months_from_different_years_stands_for_any(tmp_path: Path) -> None:
    ghi = clear(datetime(2023, 1, 1, tzinfo=UTC), 365)[0]
    path = epw(tmp_path / "w.epw", datetime(2023, 1, 1, tzinfo=UTC), ghi)
    lines = path.read_text().splitlines()
    typical = [line.replace("2023,", f"{1990 + int(line.split(',')[1])},", 1) for line in lines[8:]]
    path.write_text("\n".join(lines[:8] + typical) + "\n")
    found = run(_epw_site(path), tmp_path)
    assert found.ghi.values.mean() == pytest.approx(clear(SUMMER, 2)[0].mean(), rel=0.01)
    with pytest.raises(SiteError, match="is a typical year, with months of different years"):
        run(_epw_site(path, repeat=False), tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16"])
def test_an_epw_is_read_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = epw(tmp_path / "w.epw", SUMMER, clear(SUMMER, 3)[0], name="Al Hoceïma", encoding=encoding)
    assert run(_epw_site(path), tmp_path).ghi.values.max() > 800.0


def test_a_number_of_hundreds_of_digits_is_none(tmp_path: Path) -> None:
    """Whole numbers of any size are read into those of Python, which no float holds."""
    path = epw(tmp_path / "w.epw", SUMMER, clear(SUMMER, 3)[0])
    lines = path.read_text().splitlines()
    said = []
    for day in ("x", "9" * 400):
        lines[12] = ",".join([*lines[12].split(",")[:2], day, *lines[12].split(",")[3:]])
        path.write_text("\n".join(lines))
        with pytest.raises(SiteError, match="1 missing rows") as caught:
            run(_epw_site(path, repeat=False), tmp_path)
        said.append(str(caught.value))
    assert said[0] == said[1]


def tmy3(path: Path, start: datetime, ghi: np.ndarray, minutes: int) -> Path:
    """A TMY3 file in UTC: `ghi` is the mean over each interval, written at its end; midnight is 24:00."""
    lines = [f"723170,Here,NC,0.0,{LAT},{LON},0"]
    lines.append("Date (MM/DD/YYYY),Time (HH:MM),GHI (W/m^2),DNI (W/m^2),DHI (W/m^2),Dry-bulb (C),Wspd (m/s)")
    for i, value in enumerate(ghi):
        day, end = divmod((i + 1) * minutes, 1440)
        date, hours = (day - 1, "24:00") if end == 0 else (day, f"{end // 60:02d}:{end % 60:02d}")
        lines.append(f"{start + timedelta(days=date):%m/%d/%Y},{hours},{value:.2f},0,{value:.2f},20.0,2.0")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("minutes", [10, 15, 30, 60])
def test_a_tmy3_file_has_the_step_of_its_rows(minutes: int, tmp_path: Path) -> None:
    path = tmy3(tmp_path / "w.csv", SUMMER, clear(SUMMER, 3, minutes)[0], minutes)
    found = run(site({"kind": "tmy3", "file": str(path), "repeat": False}), tmp_path, step_s=600)
    truth = clear(SUMMER, 2, 10)[0]
    hours = (np.arange(144) + 0.5) / 6.0
    for day in (0, 1):
        mine, true = (values.reshape(2, -1)[day] for values in (found.ghi.values, truth))
        assert (mine * hours).sum() / mine.sum() == pytest.approx((true * hours).sum() / true.sum(), abs=0.02)
        assert mine.sum() == pytest.approx(true.sum(), rel=0.005)


@pytest.mark.parametrize(
    ("field", "code", "name"),
    [(6, 99.9, "temp_air"), (21, 999, "wind_speed"), (14, 9999, "dni"), (15, 9999, "dhi")],
)
def test_energyplus_own_codes_are_no_numbers(field: int, code: float, name: str, tmp_path: Path) -> None:
    """The codes that its manual gives for what is missing: 99.9 degC, 999 m/s, 9999 Wh/m2."""
    path = epw(tmp_path / "w.epw", SUMMER, clear(SUMMER, 3)[0])
    lines = path.read_text().splitlines()
    cells = lines[8 + 36].split(",")
    cells[field] = str(code)
    lines[8 + 36] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(SiteError, match=rf"1 missing values of {name} \(2025-06-02\)"):
        run(_epw_site(path, repeat=False), tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_is_read_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    """The station's name stands above the header, and a column's heading has a degree sign."""
    ghi = clear(SUMMER, 3)[0]
    rows = [f"{t},{g:.2f},20.0" for t, g in zip(iso(begins(SUMMER, 72)), ghi, strict=True)]
    path = tmp_path / "w.csv"
    path.write_bytes(("Al Hoceïma\ntime,ghi,air °C\n" + "\n".join(rows) + "\n").encode(encoding))
    found = run(csv_site(path, columns={"temp_air": "air °C"}, repeat=False), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, ghi[:48], rtol=0.05, atol=3.0)
    price = tmp_path / "p.csv"
    price.write_bytes(("time,coût\n" + "".join(f"{t},1.5\n" for t in iso(begins(SUMMER, 72)))).encode(encoding))
    grid = {"price_mad_per_kwh": {"file": str(price), "column": "coût"}}
    assert (run(site("clear-sky", grid=grid), tmp_path).price_mad_per_kwh.values == 1.5).all()


def pvgis_rows(start: datetime, days: int, past_s: float) -> list[Rows]:
    """Hourly rows of PVGIS: instants, `past_s` after the full hour [s]."""
    times = span(start, days, 3600).begins
    found = sky(LAT, LON, 0.0, times + past_s)
    ghi = found.full(found.ghi_clear)
    stamps = [datetime.fromtimestamp(int(t), UTC) for t in times]
    return [
        {"time": f"{t:%Y%m%d:%H%M}", "T2m": 20.0, "G(h)": g, "Gb(n)": 0.0, "Gd(h)": g, "WS10m": 2.0}
        for t, g in zip(stamps, ghi, strict=True)
    ]


@pytest.mark.parametrize("place", ["location", "inputs"])
@pytest.mark.parametrize("offset_h", [0.0, 0.25, 0.5, -0.25])
def test_the_time_offset_of_pvgis_json_is_heeded(offset_h: float, place: str, tmp_path: Path) -> None:
    rows = pvgis_rows(SUMMER, 3, offset_h * 3600.0)
    inputs: Rows = {"location": {"latitude": LAT, "longitude": LON, "elevation": 0.0}}
    (inputs["location"] if place == "location" else inputs)["irradiance_time_offset"] = offset_h
    table = [{("time(UTC)" if key == "time" else key): value for key, value in row.items()} for row in rows]
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"inputs": inputs, "outputs": {"tmy_hourly": table}}))
    found = run(site({"kind": "pvgis", "file": str(path)}), tmp_path, SUMMER + timedelta(days=1), 1, 300)
    hours = (np.arange(288) + 0.5) / 12.0
    truth = clear(SUMMER + timedelta(days=1), 1, 5)[0]
    centre = [(values * hours).sum() / values.sum() for values in (found.ghi.values, truth)]
    assert centre[0] == pytest.approx(centre[1], abs=0.04)


@pytest.mark.parametrize(
    "system",
    [
        {"two_axis": {"slope": {"value": "-"}, "azimuth": {"value": "-"}}},
        {"vertical_axis": {"slope": {"value": 30}}},
        {"inclined_axis": {"slope": {"value": 0}}},
        {"fixed": {"slope": {"value": 35, "optimal": True}, "azimuth": {"value": 0}}},
    ],
)
def test_planes_that_track_or_tilt_are_no_horizontal(system: Rows, tmp_path: Path) -> None:
    rows = [{"time": row["time"], "G(i)": row["G(h)"], "T2m": 20.0} for row in pvgis_rows(SUMMER, 2, 0.0)]
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"inputs": {"mounting_system": system}, "outputs": {"hourly": rows}}))
    with pytest.raises(SiteError, match=r"track the sun|slope of 35"):
        run(site({"kind": "pvgis", "file": str(path)}), tmp_path)


def test_modules_face_the_equator(tmp_path: Path) -> None:
    south = {"lat": -33.9, "lon": 18.4, "weather": {"kind": "clear-sky"}, "tz": "Africa/Johannesburg"}
    winter = datetime(2025, 6, 21, tzinfo=UTC)
    model = site_from({"name": "x", "pv": {"kwp": 10.0}} | south, None, "t")
    assert model.pv is not None
    assert model.pv.azimuth_deg == 0.0
    right = run(model, tmp_path, winter, 1).pv_w.values.sum()
    wrong = site_from({"name": "x", "pv": {"kwp": 10.0, "azimuth_deg": 180.0}} | south, None, "t")
    assert right > 2.0 * run(wrong, tmp_path, winter, 1).pv_w.values.sum()
    assert any("faces the pole" in note or "faces away" in note for note in inherited(wrong))
    assert all(pv.azimuth_deg == 180.0 for each in catalogue().values() if (pv := each.pv))


# --- What is inherited


def test_a_climate_with_more_sun_than_a_clear_sky_is_refused(tmp_path: Path) -> None:
    north = {"like": "dakhla", "lat": 45.0, "lon": 8.0, "tz": "Europe/Rome"}
    with pytest.raises(SiteError, match=r"ghi_kwh_m2_d: 4\.438 in month 1 .* clear sky at 45 N, 8 E, 1\.9"):
        run(site_from(north | {"name": "x"}, None, "t"), tmp_path)
    for each in catalogue().values():
        supply([each], SUMMER, 1, 3600, 1, tmp_path)


def test_what_is_inherited_from_another_country_is_told(tmp_path: Path) -> None:
    here = {
        "like": "dakhla",
        "name": "x",
        "lat": 45.0,
        "lon": 8.0,
        "tz": "Europe/Rome",
        "weather": {"kind": "clear-sky"},
    }
    told = " | ".join(run(site_from(here, None, "t"), tmp_path).notes)
    for words in (
        "climate: taken from dakhla",
        "grid.tariff: 'mv_default'",
        "grid.carbon: the table",
        "country: 'MA'",
    ):
        assert words in told
    own = {
        "country": "IT",
        "climate": None,
        "grid": {"tariff": {"bands": [_band()]}, "carbon": {"kind": "constant", "g_per_kwh": 250.0}},
    }
    assert run(site_from(here | own, None, "t"), tmp_path).notes == ()
    for each in catalogue().values():
        assert inherited(each) == ()


def _band(**more: Any) -> Rows:
    return {"name": "all", "mad_per_kwh": 1.0, "winter": "0-24", "summer": "0-24"} | more


# --- Text


HOURS = begins(SUMMER - timedelta(days=1), 96)


@pytest.mark.parametrize(
    ("separator", "decimal", "form"),
    [
        (";", ",", "%Y-%m-%d %H:%M"),
        (";", ".", "%d.%m.%Y %H:%M"),
        ("\t", ",", "%d/%m/%Y %H:%M"),
        (",", ".", "%m/%d/%Y %H:%M"),
        (",", ".", "%m/%d/%y %H:%M:%S"),
        ("|", ".", "%Y%m%d:%H%M"),
        (",", ".", "%m/%d/%Y %I:%M %p"),
    ],
)
@pytest.mark.parametrize("lines_above", [0, 1, 7])
def test_tables_of_any_make_are_read_alike(
    separator: str, decimal: str, form: str, lines_above: int, tmp_path: Path
) -> None:
    ghi = clear(HOURS[0], 4)[0]
    rows = [f"{t.strftime(form)}{separator}{g:.1f}{separator}20.5" for t, g in zip(HOURS, ghi, strict=True)]
    text = separator.join(("time", "ghi", "temp_air")) + "\n" + "\n".join(rows).replace(".5", decimal + "5") + "\n"
    if decimal == ",":
        text = "\n".join(_commas(line, separator) for line in text.splitlines()) + "\n"
    path = tmp_path / "w.csv"
    path.write_text("".join(f"Station; no. {i}, of somewhere\n" for i in range(lines_above)) + text)
    found = run(csv_site(path, repeat=False), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, np.round(ghi[24:72], 1), rtol=0.05, atol=3.0)
    assert found.temp_air_c.values == pytest.approx(20.5)


def _commas(line: str, separator: str) -> str:
    first, *rest = line.split(separator)
    return separator.join([first, *(cell.replace(".", ",") for cell in rest)])


def test_decimal_commas_between_commas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("time,ghi,temp_air\n" + "".join(f"{t:%Y-%m-%dT%H:%MZ},0,5,20,1\n" for t in HOURS))
    with pytest.raises(SiteError, match=r"more fields than its header.*semicolons"):
        run(csv_site(path), tmp_path)


def test_every_time_has_its_own_offset(tmp_path: Path) -> None:
    start = datetime(2025, 3, 29, tzinfo=UTC)
    ghi = clear(start, 4)[0]
    change = datetime(2025, 3, 30, 1, tzinfo=UTC)
    texts = []
    for t in begins(start, 96):
        hours = 2 if t >= change else 1
        texts.append((t + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + f"+0{hours}:00")
    path = csv_of(tmp_path / "w.csv", texts, ghi)
    found = run(csv_site(path, repeat=False), tmp_path, start, 4, 3600)
    assert np.allclose(found.ghi.values, ghi, atol=2.0)


@pytest.mark.parametrize("form", ["%Y-%m-%d 24:00", "%Y-%m-%dT24:00:00", "%d.%m.%Y 24:00"])
def test_24_00_is_the_next_day(form: str, tmp_path: Path) -> None:
    ghi = clear(HOURS[0], 4)[0]
    plain = form.replace("24:00", "%H:%M").replace("%M:00", "%M:%S") if "T24" not in form else "%Y-%m-%dT%H:%M:%S"
    texts = []
    for t in HOURS:
        end = t + timedelta(hours=1)
        texts.append((end - timedelta(days=1)).strftime(form) if end.hour == 0 else end.strftime(plain))
    path = csv_of(tmp_path / "w.csv", texts, ghi)
    found = run(csv_site(path, repeat=False, label="right"), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, ghi[24:72], rtol=0.02, atol=2.0)


def test_times_that_cannot_be_read_are_called_so(tmp_path: Path) -> None:
    ghi = clear(HOURS[0], 4)[0]
    texts = [t.strftime("%Y-%m-%dT%H:%MZ") for t in HOURS]
    texts[40] = "midnight"
    path = csv_of(tmp_path / "w.csv", texts, ghi)
    with pytest.raises(SiteError, match=r"1 times cannot be read.*'midnight' \(row 41\)"):
        run(csv_site(path, repeat=False), tmp_path)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%d.%m.%y %H:%M"])
def test_a_date_that_may_be_read_both_ways_is_asked_about(form: str, tmp_path: Path) -> None:
    texts = [datetime(2025, 6, d, tzinfo=UTC).strftime(form) for d in range(1, 7)]
    path = csv_of(tmp_path / "w.csv", texts, np.zeros(6))
    with pytest.raises(SiteError, match="begin with the day or the month"):
        run(csv_site(path), tmp_path)


# --- Publishers' tables


def published(tmp_path: Path, above: str, head: str, row: str, start: datetime = SUMMER, **shift: float) -> Path:
    """A publisher's file of three days: `row` is formatted with its local time `t` and values g, b, d."""
    ghi, dni, dhi, _ = clear(start, 3)
    path = tmp_path / "w.csv"
    lines = []
    for i, t in enumerate(begins(start, 72)):
        local = t + timedelta(hours=shift.get("hours", 0.0), minutes=shift.get("minutes", 0.0))
        lines.append(row.format(t=local, g=ghi[i], b=dni[i], d=dhi[i], mj=ghi[i] * 3.6e-3, j=ghi[i] * 3600.0))
    path.write_text(above + head + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


PUBLISHED = {
    "nsrdb": (
        f"Source,Location ID,City,Latitude,Longitude,Time Zone,Elevation\nNSRDB,1,-,{LAT},{LON},-1,0\n",
        "Year,Month,Day,Hour,Minute,GHI,DNI,DHI,Temperature,Wind Speed",
        "{t:%Y,%m,%d,%H,%M},{g:.1f},{b:.1f},{d:.1f},20,3.6",
        {"hours": -1.0, "minutes": 30.0},
    ),
    "solaranywhere": (
        f'0,Here,NA,-1,{LAT},{LON},0,"Type: Timeseries / LatLon Resolution: 0.1 / Averaging Method: End of Period"\n',
        "ObservationTime(LST),Global Horizontal Irradiance (GHI) W/m2,Direct Normal Irradiance (DNI) W/m2,"
        "Diffuse Horizontal Irradiance (DIF) W/m2,AmbientTemperature (deg C),WindSpeed (m/s)",
        "{t:%m/%d/%Y %H:%M},{g:.1f},{b:.1f},{d:.1f},20,3.6",
        {"hours": 0.0},
    ),
    "nasa-power": (
        f"-BEGIN HEADER-\nNASA/POWER Hourly Data\nLocation: latitude {LAT} longitude {LON}\n"
        "time in UTC\nmissing: -999\n-END HEADER-\n",
        "YEAR,MO,DY,HR,ALLSKY_SFC_SW_DWN,T2M,WS10M",
        "{t:%Y,%m,%d,%H},{g:.2f},20,3.6",
        {},
    ),
    "open-meteo": (
        f"latitude,longitude,elevation,utc_offset_seconds,timezone,timezone_abbreviation\n{LAT},{LON},0.0,3600,X,GMT+1\n\n",
        "time,temperature_2m (°C),shortwave_radiation (W/m²),diffuse_radiation (W/m²),wind_speed_10m (km/h)",
        "{t:%Y-%m-%dT%H:%M},20,{g:.1f},{d:.1f},12.96",
        {"hours": 2.0},
    ),
    "era5": (
        "",
        "valid_time,latitude,longitude,ssrd,t2m",
        "{t:%Y-%m-%d %H:%M:%S},33.0,-7.0,{j:.0f},293.15",
        {"hours": 1},
    ),
    "solcast": (
        "",
        "ghi,dni,dhi,air_temp,wind_speed_10m,period_end,period",
        "{g:.0f},{b:.0f},{d:.0f},20,3.6,{t:%Y-%m-%dT%H:%M:%SZ},PT60M",
        {"hours": 1},
    ),
}


@pytest.mark.parametrize("kind", list(PUBLISHED))
def test_publishers_files_are_read_as_they_come(kind: str, tmp_path: Path) -> None:
    above, head, row, shift = PUBLISHED[kind]
    path = published(tmp_path, above, head, row, **shift)
    found = run(site({"kind": kind, "file": str(path), "repeat": False}), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, clear(SUMMER, 2)[0], rtol=0.02, atol=3.0)
    assert found.temp_air_c.values == pytest.approx(20.0)
    assert not any("noon is" in note or "km from" in note for note in found.notes)


def test_a_publishers_file_is_known_by_its_columns_or_the_lines_above_them(tmp_path: Path) -> None:
    for kind in PUBLISHED:
        above, head, row, shift = PUBLISHED[kind]
        path = published(tmp_path, above, head, row, **shift)
        if kind == "solaranywhere":  # its time has no usual name without the column of GMT
            continue
        found = run(csv_site(path, repeat=False), tmp_path, step_s=3600)
        assert np.allclose(found.ghi.values, clear(SUMMER, 2)[0], rtol=0.02, atol=3.0), kind
        assert any("read as a" in note for note in found.notes)


def test_a_file_of_another_kind_is_told_with_the_kind_that_it_looks_like(tmp_path: Path) -> None:
    files = {kind: published(tmp_path, *PUBLISHED[kind][:3]) for kind in ("nsrdb",)}
    files["epw"] = epw(tmp_path / "w.epw", SUMMER, clear(SUMMER, 2)[0])
    for kind, path in files.items():
        for wrong in ("tmy3", "pvgis", "solaranywhere", "epw"):
            if wrong == kind or (kind == "epw" and wrong == "pvgis"):  # PVGIS writes EPW files, too
                continue
            with pytest.raises(SiteError, match=f"another kind: set weather.kind = '{kind}'"):
                run(site({"kind": wrong, "file": str(path)}), tmp_path)
    (tmp_path / "notes.txt").write_text("nothing\nof the kind\n")
    with pytest.raises(SiteError) as told:
        run(site({"kind": "epw", "file": str(tmp_path / "notes.txt")}), tmp_path)
    assert "another kind" not in str(told.value)


def test_the_wind_of_era5_has_two_components(tmp_path: Path) -> None:
    head, row = "valid_time,ssrd,t2m,u10,v10", "{t:%Y-%m-%d %H:%M:%S},{j:.0f},293.15,-3.0,4.0"
    path = published(tmp_path, "", head, row, hours=1)
    source, _ = source_of(site({"kind": "era5", "file": str(path)}), tmp_path)
    assert source.columns["wind_speed"] == pytest.approx(5.0)


def test_a_tmy3_file_of_solaranywhere_is_read(tmp_path: Path) -> None:
    """Its midnight is 00:00 of the next day, where NREL's files say 24:00, and two commas end each line."""
    ghi = clear(SUMMER, 3)[0]
    rows = [
        f"{t + timedelta(hours=1):%m/%d/%Y,%H:%M},{g:.1f},0,{g:.1f},20,3.6,,"
        for t, g in zip(begins(SUMMER, 72), ghi, strict=True)
    ]
    head = "Date (MM/DD/YYYY),Time (HH:MM),GHI (W/m^2),DNI (W/m^2)),DHI (W/m^2),Dry-bulb (C),Wspd (m/s),Hvis,Pwat"
    place = f'0,Here,NA,0,{LAT},{LON},0,"Averaging Method: End of Period",,,'
    path = tmp_path / "w.csv"
    path.write_text("\n".join([place, head, *rows]) + "\n")
    found = run(site({"kind": "tmy3", "file": str(path), "repeat": False}), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, ghi[:48], rtol=0.02, atol=3.0)


def test_a_year_of_nsrdb_months_is_a_typical_one(tmp_path: Path) -> None:
    above, head, row, _ = PUBLISHED["nsrdb"]
    path = tmp_path / "w.csv"
    first = datetime(2023, 1, 1, tzinfo=UTC)
    lines = []
    for i, g in enumerate(clear(first, 365)[0]):
        t = first + timedelta(hours=i - 1, minutes=30)
        month_year = 2000 + t.month
        lines.append(row.format(t=t.replace(year=month_year), g=g, b=0.0, d=g))
    path.write_text(above + head + "\n" + "\n".join(lines[1:] + lines[:1]) + "\n")
    found = run(site({"kind": "nsrdb", "file": str(path)}), tmp_path, step_s=3600)
    assert np.allclose(found.ghi.values, clear(SUMMER, 2)[0], rtol=0.03, atol=5.0)
