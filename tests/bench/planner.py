"""How long the planners take for one scheduling round of the Morocco week, 48 hours ahead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.jobs import Row
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.simulator.engine.actions import Action
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.planner.budget import BudgetPlanner
from tafukt.simulator.policies.planner.planner import Planner
from tafukt.simulator.units import HOUR_S

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "bundled" / "morocco_week.toml"
LIMIT_MS = 50.0
TURN_MS, LONGEST_MS = {"planner": 50.0, "budget-planner": 40.0}, {"planner": 80.0, "budget-planner": 80.0}
"""What a round at the turn of an hour may take: in the mean, and the longest."""


class Watch(Planner):
    """A planner with a watch: processor time of each round that plans everybody, and of all others [s]."""

    def begin(self, view: View) -> None:
        """Forget what was measured before."""
        super().begin(view)
        self.spent_s: list[float] = []
        self.hourly_s: list[float] = []

    def round(self, view: View) -> Iterator[Action]:
        """One round; time that the engine spends on its actions does not count."""
        turn = int(view.now_s // HOUR_S) != self._hour
        spent, actions = 0.0, super().round(view)
        while True:
            begin = time.process_time()
            action = next(actions, None)
            spent += time.process_time() - begin
            if action is None:
                break
            yield action
        self.spent_s.append(spent)
        if turn:
            self.hourly_s.append(spent)


class TimedPlanner(Watch, Planner):
    """The planner."""


class TimedBudgetPlanner(Watch, BudgetPlanner):
    """The planner with a linear programme."""


def rows() -> list[Row]:
    """Mean and largest processor time of a round."""
    inputs = build(load_experiment(EXPERIMENT, []), 1)
    found = []
    for policy in (TimedPlanner("planner"), TimedBudgetPlanner("budget-planner")):
        simulate(inputs.scenario, inputs.jobs, policy, settings=inputs.settings)
        spent_ms = [1e3 * s for s in policy.spent_s]
        mean_ms = sum(spent_ms) / len(spent_ms)
        hourly_ms = 1e3 * sum(policy.hourly_s) / len(policy.hourly_s)
        note = f"{len(spent_ms)} rounds"
        everybody = f"{len(policy.hourly_s)} rounds at the turn of an hour"
        found += [
            Row(f"{policy.name}, 48 hours ahead, mean round", mean_ms, "ms", LIMIT_MS, note),
            Row(f"{policy.name}, 48 hours ahead, all jobs anew", hourly_ms, "ms", TURN_MS[policy.name], everybody),
            Row(f"{policy.name}, 48 hours ahead, longest round", max(spent_ms), "ms", LONGEST_MS[policy.name], note),
        ]
    return found


if __name__ == "__main__":
    for row in rows():
        print(f"{row.name}: {row.value:.1f} {row.unit} (at most {row.limit:g}); {row.note}")
