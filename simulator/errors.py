"""What can go wrong inside a simulation.

SimulationError
 ├── BreachError    an invariant does not hold: a fault of Tafukt's own
 └── PolicyError    a policy asked for something impossible
"""

from __future__ import annotations


class SimulationError(Exception):
    """Base of all errors of the simulator."""


class BreachError(SimulationError):
    """Energy, GPU-seconds or a job's state do not add up; the message names the event."""


class PolicyError(SimulationError):
    """A policy's action is impossible; the message names the policy, the action and why."""
