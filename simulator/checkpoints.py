"""How often a running job saves itself, where its user has not said."""

from __future__ import annotations

from math import inf, sqrt

from workloads.job import Checkpoint


def interval_s(checkpoint: Checkpoint, failures_per_s: float) -> float:
    """Running time between two periodic checkpoints [s]; infinite where there are none.

    What the user states counts. Else, where something may fail, the optimum to first order

        interval = sqrt(2 * write_s / failures_per_s)

    (Young 1974, 10.1145/361147.361115; Daly 2006, 10.1016/j.future.2004.11.016, eq. 20 without its shift
    by `write_s`), and never less than it takes to write one. A job that states no cost of writing is taken
    to have no checkpoints.

    Parameters
    ----------
    checkpoint : Checkpoint
    failures_per_s : float
        Rate of everything that may end the job's stay against its will [1/s].
    """
    if checkpoint.interval_s is not None:
        return checkpoint.interval_s if checkpoint.interval_s > 0 else inf
    if failures_per_s <= 0 or checkpoint.write_s <= 0:
        return inf
    return max(sqrt(2.0 * checkpoint.write_s / failures_per_s), checkpoint.write_s)
