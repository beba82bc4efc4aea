"""Every key of the schema: no number that is none, no type for another, and no key without effect."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from builders.schema_keys import Key, every_key, put

from tafukt.experiments.config.load import check
from tafukt.experiments.errors import InputError

BASE: dict[str, Any] = {
    "name": "keys",
    "start": "2025-06-01T00:00:00Z",
    "days": 1,
    "step_min": 60,
    "policies": ["fifo"],
    "sites": {"own": {"x": {"like": "dakhla"}}},
}
KEYS = every_key()
NUMBERS = (float("nan"), float("inf"), -float("inf"), 10**400)


def base(key: Key) -> dict[str, Any]:
    """A document in which a key may stand."""
    document = copy.deepcopy(BASE)
    if key.path[0] == "workload" and ("workload",) in [place for place, _ in key.kinds]:
        document["workload"] = {}
    return document


def told(key: Key, value: Any) -> list[str]:
    """What is said of a value at a key; empty where it is accepted."""
    try:
        check(put(base(key), key, value), "keys.toml", Path("/nowhere"))
    except InputError as error:
        return [str(problem) for problem in error.problems if f"{problem.key}.".startswith(f"{key.dotted}.")]
    return []


def test_the_walk_over_the_schema_finds_what_is_known_to_be_there() -> None:
    found = {key.dotted for key in KEYS}
    known = ["days", "engine.hold_min", "faults.hazard_per_day", "workload.gang_cap", "workload.load_factor",
             "sites.own.x.pv.kwp", "sites.own.x.pv.soiling.cleaning_days", "sites.own.x.grid.import_limit_kw",
             "sites.own.x.climate.ghi_kwh_m2_d", "sites.own.x.grid.tariff.bands[0].mad_per_kwh",
             "network.links[0].gbit_s",
             "sites.own.x.grid.outages.listed[0].hours", "quotas.one.gpus", "service.wh_per_request",
             "workload.classes.fine_tuning.runtime_median_h"]  # fmt: skip
    assert set(known) <= found
    assert len(KEYS) > 230


@pytest.mark.parametrize("value", NUMBERS, ids=["nan", "inf", "-inf", "10**400"])
def test_no_key_takes_a_number_that_is_none(value: float) -> None:
    silent = [key.title for key in KEYS if not told(key, value)]
    assert silent == []


def test_no_key_takes_true_for_a_number_or_a_number_for_true_or_a_date() -> None:
    silent = []
    for value, taking in ((True, {bool, Any}), (1, {int, float, Any})):
        silent += [(key.title, value) for key in KEYS if key.types and not key.types & taking and not told(key, value)]
    assert silent == []


def test_text_and_lists_are_no_numbers() -> None:
    silent = []
    for key in KEYS:
        if key.types and not key.types - {int, float, bool}:
            silent += [key.title for value in ("", "5", "nan") if not told(key, value)]
    assert silent == []
    for key in KEYS:  # an empty list is right for some; it is never a traceback
        told(key, [])
        told(key, "")


def test_a_time_zone_that_is_none_is_told() -> None:
    zones = [key for key in KEYS if key.path[-1] in ("tz", "timezone")]
    zones = [key for key in zones if "label" not in key.model.model_fields]  # a series tells it when it is read
    assert len(zones) >= 3
    assert [key.title for key in zones if not any("zone" in line for line in told(key, "Moon/Copernicus"))] == []


def test_no_bound_stands_twice() -> None:
    """Of two, pydantic takes the type's own and forgets the field's in silence."""
    twice = []
    for key in KEYS:
        field = key.model.model_fields[next(part for part in reversed(key.path) if isinstance(part, str))]
        bounds = [type(part).__name__ for part in field.metadata if type(part).__name__ in ("Ge", "Gt", "Le", "Lt")]
        if len(bounds) > len({name[0] for name in bounds}):
            twice.append(key.dotted)
    assert twice == []
