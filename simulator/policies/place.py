"""Where: each part orders the sites that could take a job now, best first; it may leave some out.

All break ties by the site's index, and all put the site that a hold was planned for first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.life import Life
from simulator.view import View

Place = Callable[[Life, Sequence[int], View], Sequence[int]]


def home(job: Life, fitting: Sequence[int], view: View) -> Sequence[int]:
    """At the tenant's own institute if it fits, else where the largest share of GPUs is free."""
    own = view.scenario.site_index(job.ask.home)
    if own in fitting:
        return (own,)
    return (min(fitting, key=lambda i: (-view.sites[i].free_gpus / view.sites[i].spec.gpus, i)),)


def sunniest(job: Life, fitting: Sequence[int], view: View) -> Sequence[int]:
    """Where the sun leaves most over now; without any surplus as `home` does."""
    surplus, _, best = max((view.sites[i].surplus_w, -i, i) for i in fitting)
    return (best,) if surplus > 0 else home(job, fitting, view)
