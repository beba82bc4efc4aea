"""The answer of an experiment in a few sentences: what the best policy saves, and what that costs in lateness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tafukt.experiments.errors import listed
from tafukt.experiments.results.axes import scenario
from tafukt.experiments.results.numbers import number_text
from tafukt.experiments.results.objective import DRAW, Objective, objective_of
from tafukt.experiments.results.stored import Row

HalfWidth = Callable[[Sequence[float]], float]
"""Of the confidence interval of a mean; NaN where there is none."""
AGAINST_MOST = 12
"""Sentences on scenarios against the baseline scenario; the rest is in the table."""
YEAR_MOST_DAYS = 350.0
"""A shorter window is said where a year's worth of it is."""
SCENARIO_MOST = 60
"""Characters in which a scenario is named."""


@dataclass(frozen=True)
class Contender:
    """One policy in one scenario: means over its seeds; a metric without a value is NaN."""

    policy: str
    seeds: int
    draw_kwh: float
    grid_cut: float
    cut_half: float
    wait_h: float
    late: float
    captured: float
    rejected: int
    refused: int
    per_work: float


def scenarios(rows: Iterable[Row], axes: Sequence[str]) -> dict[str, list[Row]]:
    """Complete rows by their scenario, which is named by the values of its axes."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "complete":
            found.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    return {scenario(axes, values): members for values, members in found.items()}


def contenders(rows: Sequence[Row], half: HalfWidth | None = None) -> dict[str, Contender]:
    """The policies of one scenario that left no work undone, by name, in order."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        if row["jobs_left"] == 0:
            runs.setdefault(row["policy"], []).append(row)
    return {policy: _contender(policy, mine, half) for policy, mine in runs.items()}


def _contender(policy: str, runs: Sequence[Row], half: HalfWidth | None) -> Contender:
    cuts = [row["grid_cut"] for row in runs if row["grid_cut"] is not None]
    return Contender(
        policy=policy,
        seeds=len({row["seed"] for row in runs}),
        draw_kwh=mean(runs, "draw_kwh"),
        grid_cut=mean(runs, "grid_cut"),
        cut_half=half(cuts) if half else math.nan,
        wait_h=mean(runs, "wait_mean_h"),
        late=mean(runs, "deadline_miss_rate"),
        captured=mean(runs, "captured"),
        rejected=sum(int(row.get("jobs_rejected") or 0) for row in runs),
        refused=sum(int(row.get("jobs_refused") or 0) for row in runs),
        per_work=mean(runs, "grid_cut_per_work"),
    )


def mean(rows: Sequence[Row], name: str) -> float:
    """Mean of a metric over the rows that have it; NaN where none has."""
    values = [row[name] for row in rows if row.get(name) is not None and row[name] == row[name]]
    return math.fsum(values) / len(values) if values else math.nan


def answer(rows: Sequence[Row], baseline: str, axes: Sequence[str] = (), half: HalfWidth | None = None) -> list[str]:
    """The answer in sentences, the number first; over several scenarios how far it ranges, never a mean over them.

    With `half` the cut has its confidence interval.
    """
    found = scenarios(rows, axes)
    if not found:
        return ["No run is complete, so there is no answer yet."]
    if len(found) == 1:
        return _of_one(next(iter(found.values())), baseline, half)
    return _of_many({name: contenders(members) for name, members in found.items()}, baseline)


def _of_one(rows: Sequence[Row], baseline: str, half: HalfWidth | None) -> list[str]:
    found = contenders(rows, half)
    undone = [policy for policy in dict.fromkeys(row["policy"] for row in rows) if policy not in found]
    told = [f"{_and(undone)} left jobs undone and cannot be compared."] if undone else []
    if not found:
        return ["Every run left jobs undone within its accounting window, so no draw can be compared."]
    best = min(found.values(), key=lambda one: one.draw_kwh)
    over = f", mean over {best.seeds} seeds" if best.seeds > 1 else ""
    base = found.get(baseline)
    if base is None:
        least = "draws least" if len(found) > 1 else "draws"
        return [f"{best.policy} {least}: {best.draw_kwh:,.0f} kWh from the grid{over}.", *_refused(best), *told]
    if len(found) == 1:
        return [f"{baseline} draws {base.draw_kwh:,.0f} kWh from the grid{over}.", *_refused(base), *told]
    if not _saves(best):
        others = [one for one in found.values() if one is not base]
        near = min(others, key=lambda one: one.draw_kwh)
        more = number_text("{:.1%}", max(0.0, near.draw_kwh / base.draw_kwh - 1.0) if base.draw_kwh else 0.0)
        what = "as much" if not any(digit in more for digit in "123456789") else f"{more} more"
        nearest = f"the closest, {near.policy}, draws {what}{over}"
        return [f"No policy draws less grid electricity than {baseline}; {nearest}.", *_refused(base), *told]
    objective = objective_of(rows)
    mine = [] if objective is DRAW else _of_objective(rows, found, baseline, objective)
    head = _headline(best, base, over, objective is DRAW)
    return [head, *mine, *_punctual(found.values(), best, base), *_refused(best), *told]


def _of_objective(
    rows: Sequence[Row], found: Mapping[str, Contender], baseline: str, objective: Objective
) -> list[str]:
    """Sentence on the policy with the least of an objective that is not the draw, and the share that it captures."""
    values = {name: mean([row for row in rows if row["policy"] == name], objective.metric) for name in found}
    best, unit = min(values, key=lambda name: values[name]), objective.unit
    if best == baseline:
        return [f"No policy has {objective.fewer} than {baseline}: {values[best]:,.0f} {unit}."]
    told = f"{best} has the lowest {objective.name}: {values[best]:,.0f} instead of {values[baseline]:,.0f} {unit}"
    share = found[best].captured
    return [f"{told}, which captures {share:.0%} of the largest possible saving." if share > 0 else f"{told}."]


def _saves(one: Contender) -> bool:
    """Whether a policy draws less than the baseline by what can be shown."""
    return one.grid_cut >= 0.0005


def _headline(best: Contender, base: Contender, over: str, shared: bool) -> str:
    kwh = f"{best.draw_kwh:,.0f} instead of {base.draw_kwh:,.0f} kWh{over}"
    costs = []
    if not math.isnan(best.wait_h) and not math.isnan(base.wait_h):
        costs.append(f"jobs wait {best.wait_h:.1f} h instead of {base.wait_h:.1f} h")
    if best.late > 0 or base.late > 0:
        costs.append(f"{_share(best.late)} of the deadlines are missed instead of {_share(base.late)}")
    spread = "" if math.isnan(best.cut_half) else f" (± {best.cut_half * 100:.1f} points, 95 %)"
    cut = f"{best.policy} draws {best.grid_cut:.1%}{spread} less grid electricity than {base.policy}: {kwh}"
    share = f" It captures {best.captured:.0%} of the largest possible saving." if best.captured > 0 and shared else ""
    return (f"{cut}; {', and '.join(costs)}." if costs else f"{cut}.") + share


def _share(value: float) -> str:
    return "none" if not value > 0 else "less than 0.1%" if value < 0.0005 else f"{value:.1%}"


def _punctual(found: Iterable[Contender], best: Contender, base: Contender) -> list[str]:
    """The best of those that are late no more often than the baseline, where that is another one."""
    if not _later(best, base):
        return []
    kept = [one for one in found if one is not base and not _later(one, base) and _saves(one)]
    if not kept:
        return [f"Every policy that draws less misses more deadlines than {base.policy}."]
    good = max(kept, key=lambda one: one.grid_cut)
    return [f"Of those that miss no more deadlines than {base.policy}, {good.policy} draws {good.grid_cut:.1%} less."]


def _later(one: Contender, base: Contender) -> bool:
    return one.late > (0.0 if math.isnan(base.late) else base.late) + 1e-12


def _refused(one: Contender) -> list[str]:
    """Sentence on work that is not in the headline: jobs that no site could hold, or that the policy turned away."""
    told = []
    if one.refused:
        refused = f"{one.refused:,} jobs" if one.refused > 1 else "1 job"
        beside = (
            ""
            if math.isnan(one.per_work)
            else f", for the work done {abs(one.per_work):.1%} {'less' if one.per_work >= 0 else 'more'}"
        )
        told.append(f"{one.policy} refuses {refused}, which draw nothing: {one.grid_cut:.1%} less in all{beside}.")
    if not one.rejected:
        return told
    many = one.rejected > 1
    jobs, it = (f"{one.rejected:,} jobs were", "them; they draw") if many else ("1 job was", "it; it draws")
    return [*told, f"{jobs} refused, because no allowed site can hold {it} nothing."]


def _of_many(found: Mapping[str, Mapping[str, Contender]], baseline: str) -> list[str]:
    """Range of the best cut over scenarios; of the draw, if there is no baseline."""
    best: dict[str, Contender] = {}
    for name, policies in found.items():
        base = policies.get(baseline)
        others = [one for one in policies.values() if one is not base and not math.isnan(one.grid_cut)]
        if base is not None and others:
            best[name] = max(others, key=lambda one: one.grid_cut)
    if not best:
        return _range_of_draw({name: policies for name, policies in found.items() if policies}, len(found))
    low, high = min(best, key=lambda name: best[name].grid_cut), max(best, key=lambda name: best[name].grid_cut)
    cuts = " to ".join(dict.fromkeys(number_text("{:.1%}", best[name].grid_cut) for name in (low, high)))
    head = f"Over {len(best)} scenarios the best policy of each draws {cuts} less grid electricity than {baseline}."
    if len(best) < len(found):
        head += f" {len(found) - len(best)} more cannot be compared."
    most, least = (f"{_short(name)} ({best[name].policy})" for name in (high, low))
    where = f"The saving is largest at {most}, smallest at {least}."
    late = [name for name, one in best.items() if _later(one, found[name][baseline])]
    said = f"In {len(late)} of them it misses more deadlines than {baseline}." if late else ""
    return [head, where, *([said] if said else [])]


def _range_of_draw(found: Mapping[str, Mapping[str, Contender]], number: int) -> list[str]:
    if not found:
        return [f"In none of {number} scenarios was all work done, so no draw can be compared."]
    least = {name: min(policies.values(), key=lambda one: one.draw_kwh) for name, policies in found.items()}
    low, high = min(least, key=lambda name: least[name].draw_kwh), max(least, key=lambda name: least[name].draw_kwh)
    return [
        f"Over {number} scenarios the lowest grid draw ranges from {least[low].draw_kwh:,.0f} kWh "
        f"({least[low].policy} at {_short(low)}) to {least[high].draw_kwh:,.0f} kWh ({least[high].policy} at "
        f"{_short(high)})."
    ]


def against_base_lines(rows: Iterable[Row], base: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """Draw, cost and emissions of each scenario against the baseline scenario in a year, by policy."""
    units = (
        ("draw_against_base_kwh", "kWh"),
        ("cost_against_base_mad", "MAD"),
        ("emissions_against_base_kg", "kg CO2e"),
    )
    told = []
    for name, members in (scenarios(rows, axes) if base else {}).items():
        if all(members[0][axis] == value or str(members[0][axis]) == str(value) for axis, value in base.items()):
            continue
        other = scenario(base, base.values())
        days = mean(members, "window_h") / 24.0
        year = "a year" if days > YEAR_MOST_DAYS else f"a year, from a window of {days:.0f} days"
        for policy in dict.fromkeys(row["policy"] for row in members):
            mine = [row for row in members if row["policy"] == policy]
            means = [(mean(mine, f"{metric}_per_year"), unit) for metric, unit in units]
            known = [number_text("{:+,.0f}", value) + f" {unit}" for value, unit in means if not math.isnan(value)]
            if known:
                told.append(f"{name} against {other} under {policy}: {_and(known)} {year}.")
    more = [f"{len(told) - AGAINST_MOST} more in summary.csv."] if len(told) > AGAINST_MOST else []
    return told[:AGAINST_MOST] + more


def _short(text: str) -> str:
    """A scenario in few characters."""
    return text if len(text) <= SCENARIO_MOST else text[: SCENARIO_MOST - 3] + "..."


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{listed(words[:-1])} and {words[-1]}"
