"""Requests of the grid in a site's file: listed, from a CSV file, drawn; and what is wrong with one."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from tafukt.sites.errors import SiteError
from tafukt.sites.grid_events import PlannedEvent, grid_events
from tafukt.sites.schema.grid_events import GridEventModel
from tafukt.sites.time_grid import span

START = datetime(2025, 12, 1, tzinfo=UTC)
LISTED = {"start": "2025-12-02T18:00:00Z", "hours": 3.0, "cut": 0.25}


def planned(*tables: dict[str, Any], days: int = 28, fixed_kw: float = 1.0, seed: int = 1) -> tuple[PlannedEvent, ...]:
    models = [GridEventModel.model_validate(table) for table in tables]
    return grid_events(models, "rabat", fixed_kw, "Africa/Casablanca", span(START, days, 900), seed)


def test_a_listed_request_in_seconds_from_the_start() -> None:
    (event,) = planned({**LISTED, "notice_min": 30.0})
    assert (event.start_s, event.end_s, event.notice_s) == (42 * 3600.0, 45 * 3600.0, 42 * 3600.0 - 1800.0)


def test_drawn_requests_keep_hours_days_and_months_and_come_at_the_rate() -> None:
    table = {"per_year": 730.0, "between": "19-21", "weekdays_only": True, "hours": 0.05, "ramp_down_min": 0.5}
    table |= {"ramp_up_min": 0.5, "cut": 0.3, "notice_min": 0.0}
    events = planned(table, days=365)
    # two a day are drawn, less those that would begin before another is over
    assert 0.85 * 730 < len(events) < 730 + 4 * 730**0.5
    for event in events:
        when = datetime.fromtimestamp(START.timestamp() + event.start_s, UTC)
        local = datetime.fromtimestamp(when.timestamp(), ZoneInfo("Africa/Casablanca"))
        assert 19 <= local.hour < 21
        assert local.weekday() < 5
    assert planned({**table, "months": [1]}, days=31) == ()


def test_a_longer_run_keeps_its_earlier_requests() -> None:
    table = {"per_year": 200.0, "hours": 2.0, "cut": 0.2}
    assert planned(table, days=28) == planned(table, days=300)[: len(planned(table, days=28))]
    assert planned(table, seed=2) != planned(table)


def test_drawn_requests_never_overlap() -> None:
    events = planned({"per_year": 5000.0, "hours": 3.0, "cut": 0.2}, {**LISTED}, days=60)
    for first, second in pairwise(events):
        assert second.start_s >= first.end_s + 60.0 * first.terms.ramp_up_min
        assert second.notice_s >= first.end_s
    assert any(event.start_s == 42 * 3600.0 for event in events)


def test_a_file_of_requests(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("start,hours,cut,to_kw\n2025-12-02T18:00:00Z,3,0.25,\n2025-12-04T18:00:00Z,1,,20\n")
    first, second = planned({"file": str(tmp_path / "e.csv"), "notice_min": 60.0})
    assert (first.cut, first.to_kw, second.cut, second.to_kw) == (0.25, None, None, 20.0)
    assert second.notice_s == second.start_s - 3600.0
    (tmp_path / "e.csv").write_text("start,hours,cutt\n2025-12-02T18:00:00Z,3,0.25\n")
    with pytest.raises(SiteError, match="'cutt'"):
        planned({"file": str(tmp_path / "e.csv")})
    (tmp_path / "e.csv").write_text("start,hours,cut\n2025-12-02T18:00:00Z,3,1.25\n")
    with pytest.raises(SiteError, match="line 2"):
        planned({"file": str(tmp_path / "e.csv")})
    with pytest.raises(SiteError, match="cannot be read"):
        planned({"file": str(tmp_path / "none.csv")})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cut": 1.5}, "less than or equal to 1"),
        ({"to_kw": 3.0}, "either cut"),
        ({"per_year": 3.0}, "one of start, file and per_year"),
        ({"ramp_down_min": 0.0}, "greater than or equal to 0.001"),
        ({"ramp_down_min": 200.0}, "is as long as hours"),
        ({"hours": None}, "give hours"),
        ({"start": "2025-12-02T18:00:00"}, "zone"),
        ({"baseline": "weeks"}, "before"),
    ],
)
def test_a_wrong_request_is_told(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GridEventModel.model_validate({**LISTED, **change})


def test_requests_that_do_not_go_together_are_told() -> None:
    with pytest.raises(SiteError, match=r"2025-12-02T20:00Z begins before that of 2025-12-02T18:00Z is over \(15 min"):
        planned(LISTED, {**LISTED, "start": "2025-12-02T20:00:00Z"})
    with pytest.raises(
        SiteError,
        match=r"notice_min = 2000 announces it before the end of that of 2025-12-02T18:00Z; give 1260 or less",
    ):
        planned(LISTED, {**LISTED, "start": "2025-12-03T18:00:00Z", "notice_min": 2000.0})
    with pytest.raises(SiteError, match=r"is before the start of the run, 2025-12-01T00:00:00\+00:00; leave it out"):
        planned({**LISTED, "start": "2025-11-02T20:00:00Z"})
    with pytest.raises(SiteError, match="1 kW are drawn at rabat at all times"):
        planned({"start": LISTED["start"], "hours": 1.0, "to_kw": 0.5})
