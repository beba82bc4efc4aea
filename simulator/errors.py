"""Errors of a simulation, by whose fault they are.

SimulationError
 ├── BreachError    an invariant does not hold: a fault of Tafukt's own
 └── PolicyError    a policy asked for something impossible
      ├── PolicyCrash      it failed of itself
      ├── PolicyEndless    it comes to no end
      └── PolicyWrote      it changed what it was handed to look at
"""

from __future__ import annotations


class SimulationError(Exception):
    """Base of all errors of the simulator."""


class BreachError(SimulationError):
    """Energy, GPU-seconds or a job's state do not add up; the message names the event."""


class PolicyError(SimulationError):
    """A policy's action is impossible; the message names the policy, the action and why."""


class PolicyCrash(PolicyError):
    """A policy raised an error of its own; the cause is chained."""


class PolicyEndless(PolicyError):
    """A policy asks for round after round, or gives action after action, without end."""


class PolicyWrote(PolicyError):
    """A policy changed a job or the scenario, which it is handed to look at and which others are handed after it."""
