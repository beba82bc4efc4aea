"""The axes of a matrix in words: a label with its unit from a dotted key, values as people write them.

A column of `summary.csv` that is neither a key nor a metric is an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tafukt.experiments.results.dictionary import KEYS, METRICS

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
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
    "mad": "MAD",
}
"""Units that a key may end in, longer ones first."""

GROUPS = ("sites", "all", "own", "change", "workload", "grid", "cluster", "engine", "forecast")
"""Tables whose name tells a reader nothing that the key does not; kept where the key alone would be one word."""

_NAMED = {"pv": "PV", "battery": "battery", "load": "GPU load", "error": "forecast error", "sun": "forecast of the sun"}


def axes_of(summary: pd.DataFrame) -> list[str]:
    """The columns of a summary that are axes of the matrix."""
    known = {column.name for column in (*KEYS, *METRICS)}
    return [str(name) for name in summary if name not in known]


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


def value_text(value: Any) -> str:
    """A value as people write it: a date without its midnight, a number without needless digits."""
    if isinstance(value, str) and len(value) >= 19 and value[4:5] == "-" == value[7:8]:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        clock = "" if (moment.hour, moment.minute) == (0, 0) else f" {moment:%H:%M}"
        return f"{moment.day} {moment:%b %Y}{clock}"
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    others = [axis for axis in axes_of(summary) if axis not in shown]
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


def named_axis(name: str, axes: Sequence[str]) -> str:
    """The one axis that a name means: its key or the end of it, or a word of its label; "" for none or several."""
    for means in (
        lambda axis: name in (axis, label(axis)),
        lambda axis: axis.endswith("." + name),
        lambda axis: name in (*axis.split("."), *label(axis).split()),
    ):
        found = [axis for axis in axes if means(axis)]
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


def axis_values(values: pd.Series[Any]) -> list[Any]:
    """The values of an axis: numbers in order, all else as they come."""
    found = list(dict.fromkeys(values))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return sorted(found) if numeric else found
