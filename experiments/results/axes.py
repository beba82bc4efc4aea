"""The axes of a matrix in words: a label with its unit from a dotted key, values as people write them.

A column of `summary.csv` that is neither a key nor a metric is an axis. An experiment may say the label and unit of one
itself: `"sites.all.pv.kwp" = { values = [90, 180], label = "PV", unit = "kWp" }`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tafukt.experiments.results.dictionary import KEYS, METRICS
from tafukt.experiments.results.numbers import in_currency

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "kw_per_min": "kW/min",
    "kwh_per_node": "kWh per node",
    "kwp_per_node": "kWp per node",
    "mad_per_kwh": "MAD/kWh",
    "g_per_kwh": "g/kWh",
    "kwh": "kWh",
    "kwp": "kWp",
    "kw": "kW",
    "c": "°C",
    "h": "h",
    "s": "s",
    "min": "min",
    "days": "days",
    "pct": "%",
    "gbit_s": "Gbit/s",
    "gpu_s": "GPU-s",
    "gb": "GB",
    "kg": "kg CO2e",
    "w": "W",
    "mad": "MAD",
}
"""Units that a key may end in, longer ones first."""

GROUPS = ("sites", "all", "own", "change", "workload", "grid", "cluster", "engine", "forecast")
"""Tables whose name tells a reader nothing that the key does not; kept where the key alone would be one word."""

_NAMED = {"pv": "PV", "battery": "battery", "load": "GPU load", "error": "forecast error", "sun": "forecast of the sun"}


class NamedAxis(str):
    """The key of an axis whose label or unit is said in the experiment; where one is `None`, it comes from the key."""

    __slots__ = ("label", "unit")
    label: str | None
    unit: str | None

    def __new__(cls, key: str, label: str | None = None, unit: str | None = None) -> NamedAxis:
        made = super().__new__(cls, key)
        made.label, made.unit = label, unit
        return made

    def __reduce__(self) -> tuple[type[NamedAxis], tuple[str, str | None, str | None]]:
        return NamedAxis, (str(self), self.label, self.unit)


DESCRIBED = frozenset(("values", "label", "unit"))
"""Keys of the table that stands for the list of an axis which has a label or unit of its own."""


def columns_of(matrix: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every axis of a `[matrix]` table, or of one of its `zip`, with what it is given: dotted key and list of values.

    The key is a `NamedAxis` where a table gives label or unit.
    """
    for key, value in matrix.items():
        if isinstance(value, dict) and "values" in value and DESCRIBED.issuperset(value):
            yield NamedAxis(f"{prefix}{key}", value.get("label"), value.get("unit")), value["values"]
        elif isinstance(value, dict) and value:
            yield from columns_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


NAMED = "axes"
"""Of a summary's `attrs`: the keys of its axes, with the labels and units that the experiment gives them."""


def named_axes(matrix: Mapping[str, Any]) -> dict[str, NamedAxis]:
    """The axes of a `[matrix]` table whose label or unit is said, by their keys."""
    zipped = [table for table in matrix.get("zip", []) if isinstance(table, dict)]
    tables = [{key: value for key, value in matrix.items() if key != "zip"}, *zipped]
    return {str(key): key for table in tables for key, _ in columns_of(table) if isinstance(key, NamedAxis)}


def in_currency_of(key: str, currency: str) -> str:
    """The key of an axis, its unit in the currency of the experiment."""
    found = unit(key)
    own = in_currency(found, currency)
    return key if own == found else NamedAxis(key, key.label if isinstance(key, NamedAxis) else None, own)


def axis_columns(summary: pd.DataFrame) -> list[str]:
    """The columns of a summary that are axes of the matrix."""
    known = {column.name for column in (*KEYS, *METRICS)}
    return [with_name(str(name), summary) for name in summary if name not in known]


def with_name(key: str, summary: pd.DataFrame) -> str:
    """The key of an axis with the label and unit that the experiment gives it."""
    named: Mapping[str, str] = summary.attrs.get(NAMED, {})
    return in_currency_of(named.get(key, key), currency_of(summary))


CURRENCY = "currency"
"""Of a summary's `attrs`: the currency of its prices."""


def currency_of(summary: pd.DataFrame) -> str:
    """The currency of a summary's prices; MAD where it does not say."""
    return str(summary.attrs.get(CURRENCY, "MAD"))


def label(key: str) -> str:
    """An axis in words without its unit: `sites.all.battery.kwh_per_node` is "battery"."""
    stem, _ = _parted(key)
    return stem


def unit(key: str) -> str:
    """The unit of an axis, "" for none."""
    return _parted(key)[1]


def axis_label(key: str) -> str:
    """An axis in words with its unit, as figures have it."""
    stem, found = _parted(key)
    return f"{stem} [{found}]" if found else stem


def _parted(key: str) -> tuple[str, str]:
    stem, found = _parted_key(key)
    if isinstance(key, NamedAxis):
        return (stem if key.label is None else key.label), (found if key.unit is None else key.unit)
    return stem, found


def _parted_key(key: str) -> tuple[str, str]:
    parts = key.split(".")
    last, found = parts[-1], ""
    for suffix, in_words in UNITS.items():
        if last == suffix or last.endswith("_" + suffix):
            last, found = last.removesuffix(suffix).removesuffix("_"), in_words
            break
    groups = [part for part in parts[:-1] if part not in GROUPS]
    names = ([*groups[-1:], last] if last else groups[-1:]) or parts[-2:-1]
    words = [_NAMED.get(name, name.replace("_", " ")) for name in names if name]
    return " ".join(words) or key, found


GROUPED_FROM = 10_000
"""Whole numbers from here on have commas; smaller ones may be years."""


def value_text(value: Any) -> str:
    """A value as people write it: a date without its midnight, a number without needless digits, a list in commas."""
    if str(value) in ("True", "False"):
        return "yes" if str(value) == "True" else "no"
    if isinstance(value, str):
        return _moment_text(value) if value[4:5] == "-" == value[7:8] and len(value) >= 19 else _list_text(value)
    if not isinstance(value, int | float) or (isinstance(value, float) and not value.is_integer()):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{value:,.0f}" if abs(value) >= GROUPED_FROM else f"{value:.0f}"


def _moment_text(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    clock = "" if (moment.hour, moment.minute) == (0, 0) else f" {moment:%H:%M}"
    return f"{moment.day} {moment:%b %Y}{clock}"


def _list_text(value: str) -> str:
    """Lists and tables, which a summary holds as JSON, in words."""
    try:
        found = json.loads(value) if value[:1] in ("[", "{") else value
    except ValueError:
        return value
    if isinstance(found, list):
        return ", ".join(value_text(each) for each in found) or "none"
    if isinstance(found, dict):
        return ", ".join(f"{key} {value_text(each)}" for key, each in found.items()) or "none"
    return value


def at(key: str, value: Any) -> str:
    """One axis at one value: "battery 10 kWh per node"."""
    stem, found = _parted(key)
    return f"{stem} {value_text(value)}{' ' + found if found else ''}"


def scenario(axes: Iterable[str], values: Iterable[Any]) -> str:
    """A combination of the axes in words; empty where there are none."""
    return ", ".join(at(key, value) for key, value in zip(axes, values, strict=True))


def of_row(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    """The combination of the axes that a row of the summary stands for."""
    return scenario(axes, (row[axis] for axis in axes))


def pooled(summary: pd.DataFrame, shown: Sequence[str] = ()) -> list[str]:
    """The axes that would be averaged over if rows were told apart by the axes `shown` alone."""
    others = [axis for axis in axis_columns(summary) if axis not in shown]
    if not shown:
        return [axis for axis in others if summary[axis].nunique(dropna=False) > 1]
    cells = summary.groupby(list(shown), dropna=False)
    return [axis for axis in others if int(cells[axis].nunique(dropna=False).max()) > 1]


def refuse_pooling(summary: pd.DataFrame, shown: Sequence[str] = ()) -> None:
    """See that rows of different scenarios are not averaged.

    Raises
    ------
    ValueError
        If they would be; the message names the axes and how one value is chosen.
    """
    for axis in pooled(summary, shown):
        values = ", ".join(repr(value) for value in list(dict.fromkeys(summary[axis]))[:6])
        raise ValueError(
            f"the rows hold several values of {axis!r} ({values}), which this figure would average over: choose one, "
            f"as in summary[summary[{axis!r}] == {summary[axis].iloc[0]!r}]"
        )


def meant_axes(name: str, axes: Sequence[str]) -> list[str]:
    """The axes that a name may mean: by their key or label, the end of the key, or a word of the label."""
    for means in (
        lambda axis: name in (axis, label(axis)),
        lambda axis: axis.endswith("." + name),
        lambda axis: name in (*axis.split("."), *label(axis).split()),
    ):
        found = [axis for axis in axes if means(axis)]
        if found:
            return found
    return []


def short_names(axes: Sequence[str]) -> list[str]:
    """The shortest end of each axis' key that means no other axis."""
    names = []
    for axis in axes:
        parts = axis.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        names.append(next((end for end in ends if meant_axes(end, axes) == [axis]), str(axis)))
    return names


def axis_values(values: pd.Series[Any]) -> list[Any]:
    """The values of an axis: numbers in order, all else as they come."""
    found = list(dict.fromkeys(values))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return sorted(found) if numeric else found
