"""The clairvoyant bound: the least that anyone could have drawn, by the linear programme with everything known."""

from simulator.bound.lower import Bound, lower_bound

__all__ = ["Bound", "lower_bound"]
