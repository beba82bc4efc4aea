"""Means with confidence intervals over seeds, and paired differences: what a comparison may claim.

Runs of one seed share jobs and sky under every policy, so policies are compared by the differences within each
seed: most of the spread between seeds cancels. Runs start and end with empty sites; the accounting window,
start-up and drain included, is the same for all, so nothing is cut off as warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tafukt.experiments.results.axes import scenario
from tafukt.problems import cut

if TYPE_CHECKING:
    import pandas as pd

    from tafukt.experiments.results.load import Results

CONFIDENCE = 0.95
FEW_SEEDS = 5
POLICIES_NAMED = 4
FEWEST_SEEDS = 3
"""From so many seeds on there is an interval: with two it is 13 times as wide as the spread, and hides all."""

DEFAULT_METRICS = ("draw_kwh", "grid_cut", "captured", "renewable_fraction", "wait_mean_h", "deadline_miss_rate")


@dataclass(frozen=True, slots=True)
class Paired:
    """One metric of one policy against another, over the seeds that both have.

    `difference` is the mean of (policy - other), `low` and `high` its confidence interval, `p` the two-sided
    p-value of the paired t-test, `p_holm` the same after Holm's correction; NaN for fewer than `FEWEST_SEEDS`.
    """

    group: str
    policy: str
    other: str
    metric: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = math.nan

    @property
    def includes_zero(self) -> bool:
        """Whether the interval includes zero, so that the sign of the difference is not shown."""
        return not (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float] | NDArray[Any], confidence: float = CONFIDENCE) -> tuple[float, float, int]:
    """Mean, half-width of its Student-t confidence interval, and the number of values; blanks are left out.

    The half-width is t(n - 1) s / sqrt(n), NaN for fewer than `FEWEST_SEEDS` values [1]_.

    References
    ----------
    .. [1] Student, Biometrika 6 (1908) 1-25, https://doi.org/10.1093/biomet/6.1.1
    """
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    n = len(found)
    if n == 0:
        return math.nan, math.nan, 0
    mean = float(np.mean(found))
    if n < FEWEST_SEEDS:
        return mean, math.nan, n
    from scipy.special import stdtrit

    spread = float(np.std(found, ddof=1))
    return mean, float(stdtrit(n - 1, 0.5 + confidence / 2)) * spread / math.sqrt(n), n


def paired_p(differences: NDArray[Any]) -> float:
    """Two-sided p-value of the hypothesis that paired differences have mean zero; NaN where there is no interval."""
    n = len(differences)
    if n < FEWEST_SEEDS:
        return math.nan
    from scipy.special import stdtr

    spread, mean = float(np.std(differences, ddof=1)), float(np.mean(differences))
    if spread == 0:
        return 0.0 if mean else 1.0
    return float(2.0 * stdtr(n - 1, -abs(mean) / (spread / math.sqrt(n))))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are, by Holm's step-down procedure; NaN stays NaN [1]_.

    References
    ----------
    .. [1] S. Holm, Scand. J. Statist. 6 (1979) 65-70, https://www.jstor.org/stable/4615733
    """
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    corrected = [math.nan] * len(p_values)
    running = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(known) - rank) * p_values[i]))
        corrected[i] = running
    return corrected


@dataclass(frozen=True, slots=True)
class ScenarioRows:
    """The rows of one combination of the axes: its name in words, and the places of each policy's rows in the table."""

    name: str
    policies: Mapping[str, Sequence[int]]


def rows_by_scenario(summary: pd.DataFrame, axes: Sequence[str]) -> list[ScenarioRows]:
    """The scenarios of a summary and their policies, each in order of appearance.

    Rows are sorted by plain lists: pandas takes a millisecond for each of some thousand groups.
    """
    columns = [summary[axis].tolist() for axis in axes]
    found: dict[tuple[Any, ...], dict[str, list[int]]] = {}
    names: dict[tuple[Any, ...], str] = {}
    for place, policy in enumerate(summary["policy"].tolist()):
        values = tuple(column[place] for column in columns)
        key = tuple(None if value != value else value for value in values)  # a blank is no NaN like any other
        if key not in found:
            found[key], names[key] = {}, scenario(axes, values)
        found[key].setdefault(policy, []).append(place)
    return [ScenarioRows(names[key], policies) for key, policies in found.items()]


def means(summary: pd.DataFrame, axes: Sequence[str], metrics: Sequence[str] = DEFAULT_METRICS) -> pd.DataFrame:
    """One row per scenario and policy: each metric's mean, and its interval's half-width as `<metric>_half`."""
    import pandas as pd

    seeds = summary["seed"].tolist()
    measured = {metric: summary[metric].to_numpy() for metric in metrics}
    rows = []
    for one in rows_by_scenario(summary, axes):
        for policy, places in one.policies.items():
            own = {seeds[place] for place in places}
            row: dict[str, Any] = {"group": one.name, "policy": policy, "seeds": len(own)}
            for metric, values in measured.items():
                row[metric], row[f"{metric}_half"], _ = mean_interval(values[places])
            rows.append(row)
    return pd.DataFrame(rows)


def paired_differences(
    summary: pd.DataFrame, axes: Sequence[str], baseline: str, metrics: Sequence[str] = ("draw_kwh", "wait_mean_h")
) -> list[Paired]:
    """Every policy against the baseline, seed by seed; Holm's correction runs over the policies of a group."""
    found: list[Paired] = []
    by_seed = {metric: _BySeed(summary, metric) for metric in metrics}
    for one in rows_by_scenario(summary, axes):
        others = [policy for policy in one.policies if policy != baseline]
        base = one.policies.get(baseline, ())
        for metric in metrics:
            known = by_seed[metric].of(base) if others else {}
            row = [
                _pair(one.name, by_seed[metric].of(one.policies[policy]), known, metric, policy, baseline)
                for policy in others
            ]
            found += _with_holm([pair for pair in row if pair is not None])
    return found


def between(first: Results, other: Results, metrics: Sequence[str] = ("draw_kwh", "wait_mean_h")) -> list[Paired]:
    """Every policy of another folder against the same policy of the first, seed by seed.

    Only scenarios that carry the same axis values in both are set against one another.
    """
    theirs = {one.name: one.policies for one in rows_by_scenario(other.complete, other.axes)}
    found: list[Paired] = []
    by_seed = {metric: (_BySeed(first.complete, metric), _BySeed(other.complete, metric)) for metric in metrics}
    for one in rows_by_scenario(first.complete, first.axes):
        if one.name not in theirs:
            continue
        for metric, (mine, its) in by_seed.items():
            row = [
                _pair(
                    one.name,
                    its.of(theirs[one.name].get(policy, ())),
                    mine.of(places),
                    metric,
                    f"{policy} ({_name(other)})",
                    _name(first),
                )
                for policy, places in one.policies.items()
            ]
            found += _with_holm([pair for pair in row if pair is not None])
    return found


def _name(results: Results) -> str:
    return results.folder.name or str(results.folder)


class _BySeed:
    """One metric of a summary, to be looked up by seed."""

    def __init__(self, summary: pd.DataFrame, metric: str) -> None:
        self._seeds = summary["seed"].tolist()
        self._values = summary[metric].to_numpy(dtype=np.float64).tolist()

    def of(self, places: Sequence[int]) -> dict[Any, float]:
        """The value of each seed among some rows, of several the first; blanks are left out."""
        found = {self._seeds[place]: self._values[place] for place in reversed(places)}
        return {seed: value for seed, value in found.items() if not math.isnan(value)}


def _pair(
    group: str, one: Mapping[Any, float], other: Mapping[Any, float], metric: str, label: str, other_label: str
) -> Paired | None:
    """The paired difference of two policies, each by seed; `None` where they share no seed."""
    gaps = np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])
    if not len(gaps):
        return None
    mean, half, n = mean_interval(gaps)
    return Paired(group, label, other_label, metric, n, mean, mean - half, mean + half, paired_p(gaps))


def _with_holm(pairs: list[Paired]) -> list[Paired]:
    from dataclasses import replace

    return [replace(pair, p_holm=p) for pair, p in zip(pairs, holm([pair.p for pair in pairs]), strict=True)]


def warnings(summary: pd.DataFrame, axes: Sequence[str], pairs: Sequence[Paired]) -> list[str]:
    """Warnings for whoever reads the table."""
    found = []
    seeds = summary["seed"].tolist()
    fewest = min(
        (
            len({seeds[place] for place in rows})
            for one in rows_by_scenario(summary, axes)
            for rows in one.policies.values()
        ),
        default=0,
    )
    if fewest < FEW_SEEDS:
        what = "seed" if fewest == 1 else "seeds"
        found.append(
            f"only {fewest} {what}: intervals over fewer than {FEW_SEEDS} seeds are wide or missing; "
            "add `seeds = [1, 2, 3, 4, 5]` or more to the experiment"
        )
    unclear = [pair for pair in pairs if pair.seeds >= FEWEST_SEEDS and pair.includes_zero]
    if unclear:
        names = [f"{pair.metric} of {pair.policy}{' at ' + pair.group if pair.group else ''}" for pair in unclear]
        told, hidden = cut(names, POLICIES_NAMED)
        more = f" and {hidden} more" if hidden else ""
        found.append(
            f"the interval of {len(unclear)} of {len(pairs)} differences includes zero, so their sign is not shown: "
            f"{'; '.join(told)}{more}"
        )
    left = summary[summary["jobs_left"] > 0]
    if len(left):
        whose = ", ".join(sorted(set(left["policy"])))
        found.append(f"{len(left)} runs left work undone ({whose}): they have no grid cut and compare with nothing")
    found.append(
        "runs start and end with empty sites; start-up and drain are part of the window, the same for every policy"
    )
    return found
