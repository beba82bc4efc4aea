"""Requests of the grid along a run, from the form that a user gives them in."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from tafukt.sites.errors import SiteError
from tafukt.sites.schema.grid import hours as clock_hours
from tafukt.sites.schema.grid_events import GridEventModel
from tafukt.sites.time_grid import DAY_S, HOUR_S, MINUTE_S, YEAR_S, Span, local_hour_and_month, stream, utc_offsets


@dataclass(frozen=True)
class PlannedEvent:
    """One request: times from the start of the run [s], power [kW] or share of the baseline, and its terms."""

    start_s: float
    end_s: float
    notice_s: float
    terms: GridEventModel
    cut: float | None
    to_kw: float | None


def grid_events(
    models: Sequence[GridEventModel], site: str, least_kw: float, tz: str, span: Span, seed: int
) -> tuple[PlannedEvent, ...]:
    """Every request that starts in the span, in order.

    Drawn ones are keyed by site, entry and month, so that a longer run keeps its earlier ones; one that would begin
    before another is over is left out.

    Raises
    ------
    SiteError
        If listed ones overlap, begin before the run, or ask for less than what is drawn always, `least_kw` [kW].
    """
    listed: list[PlannedEvent] = []
    drawn: list[PlannedEvent] = []
    for number, model in enumerate(models):
        where = f"grid.events[{number}]"
        if model.to_kw is not None and not model.shared and model.to_kw < least_kw:
            raise SiteError(
                f"{where}.to_kw = {model.to_kw:g}: {least_kw:g} kW are drawn at {site} at all times (fixed_kw "
                "and sleeping nodes); ask for no less"
            )
        if model.per_year is not None:
            name, clock = (f"shared/{model.shared}", "UTC") if model.shared else (f"{site}/{number}", tz)
            drawn += _drawn(model, f"grid_events/{name}", clock, span, seed)
        else:
            listed += [event for event in _listed(model, where, span) if not _is_after(event, span)]
    listed.sort(key=lambda event: event.start_s)
    for first, second in pairwise(listed):
        told = f"grid.events of {site}: the request of {_said(second, span)}"
        if second.start_s < _over_s(first):
            before = f"that of {_said(first, span)} is over ({first.terms.ramp_up_min:g} min of ramp_up_min count)"
            raise SiteError(f"{told} begins before {before}; move one of them, or make them one request")
        if second.notice_s < first.end_s:
            most = (second.start_s - first.end_s) / MINUTE_S
            given = (
                f"notice_min = {second.terms.notice_min:g} announces it before the end of that of {_said(first, span)}"
            )
            raise SiteError(f"{told}: {given}; give {most:g} or less")
    kept = list(listed)
    for event in sorted(drawn, key=lambda event: event.start_s):
        if all(event.start_s >= _over_s(other) or _over_s(event) <= other.start_s for other in kept):
            kept.append(replace(event, notice_s=_clear(event, kept)))
    return tuple(sorted(kept, key=lambda event: event.start_s))


def never_reached(models: Sequence[GridEventModel], span: Span) -> list[str]:
    """The listed requests that would begin after the span, by their start in UTC."""
    listed = [event for number, model in enumerate(models) if model.per_year is None
              for event in _listed(model, f"grid.events[{number}]", span)]  # fmt: skip
    return [_said(event, span) for event in listed if _is_after(event, span)]


def _is_after(event: PlannedEvent, span: Span) -> bool:
    return event.start_s >= span.end_unix - span.start_unix


def _said(event: PlannedEvent, span: Span) -> str:
    """The start of a request in UTC."""
    return datetime.fromtimestamp(span.start_unix + event.start_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _over_s(event: PlannedEvent) -> float:
    return event.end_s + event.terms.ramp_up_min * MINUTE_S


def _clear(event: PlannedEvent, others: Sequence[PlannedEvent]) -> float:
    """The notice of a drawn request, no earlier than the end of the one before."""
    return max([event.notice_s, *(other.end_s for other in others if other.end_s <= event.start_s)])


def _planned(model: GridEventModel, start_s: float, hours: float) -> PlannedEvent:
    notice_s = max(start_s - model.notice_min * MINUTE_S, 0.0)
    return PlannedEvent(start_s, start_s + hours * HOUR_S, notice_s, model, model.cut, model.to_kw)


def _listed(model: GridEventModel, where: str, span: Span) -> Iterator[PlannedEvent]:
    rows = [(model, model.start, model.hours)] if model.file is None else _read(model, model.file, where)
    for each, start, hours in rows:
        assert start is not None
        assert hours is not None
        start_s = start.timestamp() - span.start_unix
        if start_s < 0.0:
            begun = datetime.fromtimestamp(span.start_unix, UTC).isoformat()
            raise SiteError(f"{where}: {start.isoformat()} is before the start of the run, {begun}; leave it out")
        yield _planned(each, start_s, hours)


def _read(model: GridEventModel, file: Path, where: str) -> Iterator[tuple[GridEventModel, datetime, float]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream_:
            rows = list(csv.DictReader(stream_))
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"{where}.file: {file} cannot be read: {error}") from None
    for line, row in enumerate(rows, 2):
        told = {key: value.strip() for key, value in row.items() if key and value and value.strip()}
        unknown = set(told) - {"start", "hours", "cut", "to_kw", "notice_min"}
        if unknown:
            raise SiteError(
                f"{where}.file: {file} has a column {sorted(unknown)[0]!r}; start, hours, cut, to_kw, notice_min"
            )
        terms = model.model_dump(exclude={"file"}, exclude_unset=True)
        try:
            values = {key: value if key == "start" else float(value) for key, value in told.items()}
            one = GridEventModel.model_validate({**terms, **values})
        except ValueError as error:
            raise SiteError(f"{where}.file: line {line} of {file}: {str(error).splitlines()[-2].strip()}") from None
        assert one.start is not None
        assert one.hours is not None
        yield one, one.start, one.hours


def _drawn(model: GridEventModel, name: str, tz: str, span: Span, seed: int) -> Iterator[PlannedEvent]:
    assert model.per_year is not None
    assert model.hours is not None
    months = np.arange(
        np.datetime64(span.start_unix, "s").astype("datetime64[M]"),
        np.datetime64(span.end_unix, "s").astype("datetime64[M]") + 1,
    )
    for month in months:
        begin, end = (int((month + k).astype("datetime64[s]").astype(np.int64)) for k in (0, 1))
        minutes = _minutes(model, tz, begin, end)
        rng = stream(seed, f"{name}/{month}")
        count = min(int(rng.poisson(model.per_year * (end - begin) / YEAR_S)), len(minutes))
        for minute in np.sort(rng.choice(minutes, size=count, replace=False)):
            start_s = float(minute) - span.start_unix
            if 0.0 <= start_s < span.end_unix - span.start_unix:
                yield _planned(model, start_s, model.hours)


def _minutes(model: GridEventModel, tz: str, begin: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The minutes of a month in which a request may start, as Unix times [s]."""
    times = np.arange(begin, end, 60, dtype=np.int64)
    hour, month = local_hour_and_month(tz, times)
    allowed = np.zeros(len(times), dtype=bool)
    for first, last in clock_hours(model.between, "grid.events.between"):
        allowed |= (hour >= first) & (hour < last)
    allowed &= np.isin(month, model.months)
    if model.weekdays_only:
        days = (times + utc_offsets(tz, times)) // int(DAY_S)
        allowed &= (days + 3) % 7 < 5  # 1970-01-01 was a Thursday
    return times[allowed]
